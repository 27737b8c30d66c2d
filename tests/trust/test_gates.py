"""The gates for uploads: a corpus of bad files, and fuzzing; all refused in one sentence or read as documented."""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jointdit_core.decoding import InputError
from jointdit_core.reading import KINDS, NEAR_IS_BRIGHT, POLARITIES, RELATIVE, read_depth, read_image
from tests.trust.corpus import DONE, File, calls, depth_maps, noise, npy, npy_header, pictures, ramp, saved

FILES = [*pictures(), *depth_maps()]


def examples(number: int) -> settings:
    """Settings for many cheap examples."""
    return settings(max_examples=number, deadline=None, database=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def folder():
    """A folder in memory where there is one, since 20,000 files are written."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as path:
        yield Path(path)


def read(task: str, path: Path, kind: str = RELATIVE, polarity: str = NEAR_IS_BRIGHT) -> str | None:
    """Read a file; return the refusal, None if it was read. Any other exception fails the test."""
    try:
        if task == "depth_estimation":
            image = read_image(path).image
            assert image.mode == "RGB" and not image.info
        else:
            disparity = read_depth(path, kind, polarity)
            assert disparity.dtype == np.float32 and np.isfinite(disparity).all()
            assert disparity.min() == 0 and disparity.max() == 1
    except InputError as error:
        return str(error)
    return None


def is_plain(sentence: str) -> bool:
    """One sentence or two, nothing of the machine in it."""
    return sentence.endswith(".") and "\n" not in sentence and "/" not in sentence.replace("1 / ", "")


def test_the_corpus_is_large_and_its_names_differ():
    names = [case.name for case in (*FILES, *calls())]
    assert len(names) >= 130 and len(set(names)) == len(names)


@pytest.mark.parametrize("case", FILES, ids=lambda case: case.name)
def test_each_kind_of_file_ends_as_it_must(case: File, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(case.content)
    sentence = read(case.task, path, case.kind, case.polarity)
    assert (sentence is None) == (case.ends == DONE), sentence
    assert sentence is None or is_plain(sentence), sentence


def test_no_kind_of_file_takes_much_memory(tmp_path):
    """In a process of its own, whose peak is measured."""
    script = """
import resource, sys
from pathlib import Path
from tests.trust.test_gates import FILES, read
path = Path(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for case in FILES:
    path.write_bytes(case.content)
    read(case.task, path, case.kind, case.polarity)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""
    command = [sys.executable, "-c", script, str(tmp_path / "file")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 300


SEEDS = {
    "depth_estimation": [
        saved(noise(20, 18)),
        saved(noise(20, 18, "P"), transparency=0),
        saved(noise(20, 18, "RGBA")),
        saved(noise(20, 18), "JPEG"),
        saved(noise(20, 18), "WEBP"),
        saved(noise(20, 18), "WEBP", lossless=True),
    ],
    "depth_to_image": [
        npy(ramp(16, 16)),
        npy(ramp(16, 16, ">i2")),
        saved(noise(16, 16, "L")),
        npy_header("{'descr': '<f2', 'fortran_order': True, 'shape': (16, 16), }\n", bytes(512), (2, 0)),
    ],
}


def damaged(content: bytes, seed: int, number: int) -> Iterator[bytes]:
    """Files with some bytes replaced, their ends cut off and something else in their place.

    Hypothesis draws the seed, which it can report and shrink; drawing every byte would take ten times as long.
    """
    random = np.random.default_rng(seed)
    for _ in range(number):
        data = bytearray(content)
        for place in random.integers(0, len(data), random.integers(0, 7)):
            data[place] = random.integers(0, 256)
        cut = random.integers(0, len(data)) if random.random() < 0.4 else 0
        yield bytes(data[: len(data) - cut]) + random.bytes(random.integers(0, 9))


@examples(500)
@given(st.sampled_from(SEEDS["depth_estimation"]), st.integers(0, 2**32 - 1))
def test_10_000_damaged_pictures_are_read_or_refused(folder, content, seed):
    path = folder / "picture"
    for file in damaged(content, seed, 20):
        path.write_bytes(file)
        sentence = read("depth_estimation", path)
        assert sentence is None or is_plain(sentence), sentence


@examples(450)
@given(
    st.sampled_from(SEEDS["depth_to_image"]),
    st.integers(0, 2**32 - 1),
    st.sampled_from(KINDS),
    st.sampled_from(POLARITIES),
)
def test_9_000_damaged_depth_maps_are_read_or_refused(folder, content, seed, kind, polarity):
    path = folder / "depth"
    for file in damaged(content, seed, 20):
        path.write_bytes(file)
        sentence = read("depth_to_image", path, kind, polarity)
        assert sentence is None or is_plain(sentence), sentence


HEADERS = st.fixed_dictionaries(
    {
        "descr": st.sampled_from(["<f4", ">f8", "|u1", "<i8", "|O", "<U4", "<c8", "|b1", "<M8[s]", "<f16", "x", "", 7]),
        "fortran_order": st.sampled_from([True, False, 1, None]),
        "shape": st.lists(st.one_of(st.integers(-2, 40), st.integers(0, 2**70)), max_size=4).map(tuple),
    }
)


@examples(1500)
@given(HEADERS, st.binary(max_size=64), st.sampled_from([(1, 0), (2, 0), (3, 0)]))
def test_any_npy_header_is_read_or_refused_before_its_data(folder, header, data, version):
    path = folder / "header"
    path.write_bytes(npy_header(repr(header) + "\n", data, version))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sentence = read("depth_to_image", path)
    assert sentence is not None and is_plain(sentence)  # 64 bytes are no map of 16 x 16
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000
