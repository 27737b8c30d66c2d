"""Visitors' folders: apart, unguessable by path tricks, cleaned without touching anyone else's."""

import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.session import RESULTS_KEPT, Sessions, slug


@pytest.fixture
def sessions(tmp_path):
    return Sessions(tmp_path / "deep" / "root")


def test_each_visitor_has_one_private_folder(sessions):
    first, second = sessions.folder("abc123xyz"), sessions.folder("9e107d9d-3720-4d1a")
    assert first != second and first.parent == second.parent == sessions.root
    assert sessions.folder("abc123xyz") == first
    assert all(path.stat().st_mode & 0o77 == 0 for path in (first, second, sessions.root))


@pytest.mark.parametrize(
    "key", ["", ".", "..", "../x", "a/b", "a\\b", "/etc", ".hidden", "-x", "a b", "a\n", "a\0", "ä", "a" * 65, None, 7]
)
def test_keys_that_could_be_paths_are_refused(sessions, key):
    for function in (sessions.folder, sessions.delete, lambda key: sessions.new_result(key, "x")):
        with pytest.raises(ValueError, match="^key: got"):
            function(key)
    assert not sessions.root.exists()


def test_results_have_readable_names_in_order(sessions):
    names = [sessions.new_result("visitor", label).name for label in ("A red ball, left!", "日本", "x" * 99)]
    assert names == ["0001-a-red-ball-left", "0002-result", "0003-" + "x" * 40]


def test_results_at_the_same_moment_never_share_a_folder(sessions):
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: sessions.new_result("visitor", "ball"), range(RESULTS_KEPT)))
    assert len(set(made)) == RESULTS_KEPT and all(path.is_dir() for path in made)


def test_the_oldest_results_make_room(sessions):
    made = [sessions.new_result("visitor", "ball") for _ in range(RESULTS_KEPT + 3)]
    assert [path.exists() for path in made] == [False] * 3 + [True] * RESULTS_KEPT
    assert made[-1].name.startswith(f"{RESULTS_KEPT + 3:04d}")


def test_delete_takes_one_visitor_only(sessions):
    (sessions.new_result("mine", "ball") / "depth.png").write_bytes(b"x")
    other = sessions.new_result("other", "ball")
    sessions.delete("mine")
    sessions.delete("mine")
    assert other.is_dir() and [path.name for path in sessions.root.iterdir()] == ["other"]
    assert sessions.new_result("mine", "ball").name == "0001-ball"


def test_delete_of_a_link_leaves_its_target(sessions, tmp_path):
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").touch()
    (sessions.folder("mine") / "link").symlink_to(kept)
    sessions.delete("mine")
    assert (kept / "file").exists()


def test_old_folders_go_and_used_ones_stay(sessions):
    for key in ("old", "used", "new"):
        sessions.new_result(key, "ball")
    trash = sessions.root / ".trash-left-by-a-crash"
    trash.mkdir()
    hours_ago = time.time() - 7200
    for name in ("old", "used", trash.name):
        os.utime(sessions.root / name, (hours_ago, hours_ago))
    sessions.folder("used")
    assert sessions.delete_older_than(3600) == 2
    assert sorted(path.name for path in sessions.root.iterdir()) == ["new", "used"]


def test_cleaning_before_the_first_visitor_is_fine(sessions):
    assert sessions.delete_older_than(0) == 0


def test_slug_is_safe_and_short():
    assert slug("../../etc/passwd") == "etc-passwd"
    assert slug("CON.txt\0 ; rm -rf") == "con-txt-rm-rf"
    assert slug("") == "result" and len(slug("ab " * 99)) <= 40
