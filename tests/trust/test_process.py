"""What concerns the whole process: no way out, a log without secrets, a filter, folders of processes that are gone."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from app import logs
from app.filtering import load_filter
from app.plain import PlainBlocks
from app.session import own_root
from jointdit_core import JointDiTOutput
from jointdit_core.presets import check_files
from jointdit_core.results import Settings

ROOT = Path(__file__).resolve().parents[2]


def test_offline_refuses_every_way_to_another_machine_and_none_to_this_one():
    script = """
        import asyncio, socket, urllib.request
        from app.offline import OfflineError, go_offline
        go_offline()
        ways = [
            lambda: socket.create_connection(("192.0.2.1", 80), 5),
            lambda: socket.socket().connect(("192.0.2.1", 80)),
            lambda: socket.socket().connect_ex(("192.0.2.1", 80)),
            lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("192.0.2.1", 53)),
            lambda: socket.socket(socket.AF_INET6).connect(("2001:db8::1", 80)),
            lambda: socket.getaddrinfo("example.org", 80),
            lambda: socket.gethostbyname("example.org"),
            lambda: asyncio.run(asyncio.open_connection("192.0.2.1", 80)),
            lambda: asyncio.run(asyncio.open_connection("example.org", 80)),
        ]
        for number, way in enumerate(ways):
            try:
                way()
            except OfflineError:
                continue
            raise SystemExit(f"way {number} is open")
        server = socket.create_server(("127.0.0.1", 0))
        for name in ("127.0.0.1", "localhost"):
            socket.create_connection((name, server.getsockname()[1]), 5).close()
        print("closed")
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout == "closed\n", done.stderr


def line_of(record: logging.LogRecord, with_prompts: bool = False) -> dict:
    """A record as it is written."""
    text = logs.JsonLines(with_prompts).format(record)
    assert "\n" not in text
    return json.loads(text)


def record(message: str, error: BaseException | None = None, **facts) -> logging.LogRecord:
    """A record of ours."""
    info = (type(error), error, error.__traceback__) if error else None
    one = logging.LogRecord("app.lane", logging.ERROR, __file__, 1, message, None, info)
    one.__dict__.update(facts)
    return one


def test_the_log_names_errors_and_requests_but_quotes_nobody():
    try:
        raise KeyError("a secret prompt in /home/ann with hf_token")
    except KeyError as error:
        one = record("job failed", error, request="1a2b", prompt="a secret prompt", seconds=0.5)
    quiet = line_of(one)
    assert "secret" not in json.dumps(quiet) and "hf_token" not in json.dumps(quiet)
    assert quiet["request"] == "1a2b" and quiet["seconds"] == 0.5 and quiet["error"]["type"] == "KeyError"
    assert quiet["error"]["at"][-1].startswith("test_process.py:")
    asked = line_of(one, with_prompts=True)
    assert asked["prompt"] == "a secret prompt" and "hf_token" in asked["error"]["message"]


def test_other_libraries_messages_are_logged_without_what_they_insert():
    one = logging.LogRecord("httpx", logging.WARNING, __file__, 1, "got %s", ("https://secret",), None)
    assert line_of(one)["event"] == "got %s"


def test_visitors_are_told_apart_without_their_session():
    assert logs.visitor_tag("session1") != logs.visitor_tag("session2")
    assert "session1" not in logs.visitor_tag("session1")


def test_a_filter_sees_the_picture_and_the_prompt(tmp_path, monkeypatch):
    (tmp_path / "my_filters.py").write_text(
        "def no_red(picture, prompt):\n"
        "    red = picture.getpixel((0, 0)) == (255, 0, 0)\n"
        "    return f'This picture is withheld: {prompt}.' if red else None\n"
        "number = 7\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    check = load_filter("my_filters:no_red")
    asked = Settings("joint_generation", "a ball", 1, 1, 1.0, "mini")
    for color, reason in (("red", "This picture is withheld: a ball."), ("blue", None)):
        output = JointDiTOutput(Image.new("RGB", (8, 8), color), np.zeros((8, 8), np.float32), 1, ())
        assert check(output, asked) == reason
    for wrong in ("my_filters:absent", "absent:x", "my_filters", "my_filters:number", ""):
        with pytest.raises(ValueError, match=f"--filter {wrong}"):
            load_filter(wrong)


def test_folders_of_processes_that_are_gone_are_deleted_and_others_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    names = [
        f"jointdit-studio-{ended.pid}-a1",
        f"jointdit-studio-{os.getpid()}-b2",
        "jointdit-studio-x-c3",
        "other-1-d4",
    ]
    for name in names:
        (tmp_path / name / "visitors").mkdir(parents=True)
        (tmp_path / name / "visitors" / "half.zip").write_bytes(b"half")
    (tmp_path / f"jointdit-studio-{ended.pid}-link").symlink_to(tmp_path / names[3])
    root = own_root()
    assert root.parent == tmp_path and root.stat().st_mode & 0o77 == 0 and str(os.getpid()) in root.name
    assert not (tmp_path / names[0]).exists()
    assert all((tmp_path / name / "visitors" / "half.zip").exists() for name in names[1:])


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(28, "No space left", "/secret/path"), "disk is full"),
        (RuntimeError("/secret/path"), "Something went wrong"),
        (ValueError("/secret/path"), "Something went wrong"),
        (gr.Error("Please choose a picture first.", print_exception=False), "Please choose"),
    ],
)
def test_whatever_a_handler_raises_is_a_sentence(error, words, capfd):
    def fail():
        raise error

    with PlainBlocks() as page:
        gr.Button().click(fail, None, None)
    with pytest.raises(gr.Error, match=words) as caught:
        asyncio.run(page.process_api(0, [], request=gr.Request(session_hash="x")))
    assert not caught.value.print_exception and "secret" not in str(caught.value)
    assert "Traceback" not in capfd.readouterr().err


def test_weights_cut_by_four_bytes_are_refused_by_name(tmp_path):
    shutil.copytree(ROOT / "assets" / "jointdit-mini", tmp_path / "mini")
    check_files(tmp_path / "mini")
    for path in sorted((tmp_path / "mini").rglob("*.safetensors")):
        whole = path.read_bytes()
        path.write_bytes(whole[:-4])
        with pytest.raises(OSError, match=path.name) as caught:
            check_files(tmp_path / "mini")
        assert "damaged" in str(caught.value)
        path.write_bytes(whole)
