"""Files from the hub: its client and its answers are real, its place is this machine."""

from __future__ import annotations

import hashlib
import json
import logging
import os

import pytest
import torch
from huggingface_hub.errors import HTTPError
from safetensors.torch import save_file

from jointdit_core.hub import VERIFIED, fetch, split_revision, verify
from tests.hub_server import COMMIT, serve

PATTERNS = ["*.json", "*.safetensors"]


@pytest.fixture
def repository(tmp_path):
    """A folder as it will be on the hub."""
    folder = tmp_path / "origin"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "pickle.bin").write_bytes(b"code")
    save_file({"a": torch.arange(1000.0)}, folder / "model.safetensors")
    return folder


@pytest.fixture
def hub(repository, tmp_path, monkeypatch):
    with serve(tmp_path / "home", monkeypatch) as one:
        one.add("maker/model", repository)
        yield one


def test_files_are_fetched_once_and_are_what_the_hub_tells(hub, repository, tmp_path):
    for _ in range(2):
        folder = fetch("maker/model", PATTERNS, None)
        assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors"}
        verify(folder, [folder / "model.safetensors"])
    assert (folder / "model.safetensors").read_bytes() == (repository / "model.safetensors").read_bytes()
    assert hub.fetched("model.safetensors") == ["model.safetensors"]
    [facts] = json.loads((tmp_path / "home" / VERIFIED).read_bytes()).values()
    assert facts[2] == hashlib.sha256((repository / "model.safetensors").read_bytes()).hexdigest()


def test_another_file_of_the_same_size_is_refused_by_name(hub, repository):
    whole = (repository / "model.safetensors").read_bytes()
    hub.damaged["model.safetensors"] = whole[:-1] + bytes([whole[-1] ^ 1])
    folder = fetch("maker/model", PATTERNS, None)
    with pytest.raises(
        OSError, match="is not the one that was published: its SHA-256 differs. Fetch it again"
    ) as refusal:
        verify(folder, [folder / "model.safetensors"])
    assert str(folder / "model.safetensors") in str(refusal.value)


def test_partial_download_is_told(hub, repository):
    hub.damaged["model.safetensors"] = (repository / "model.safetensors").read_bytes()[:-4]
    with pytest.raises(OSError, match="A file of maker/model came only in part"):
        fetch("maker/model", PATTERNS, None)


def test_pinned_revision_needs_the_hub_once(hub, tmp_path, monkeypatch):
    first = fetch("maker/model", PATTERNS, COMMIT)
    hub.asked.clear()
    assert fetch("maker/model", PATTERNS, COMMIT) == first and first.name == COMMIT
    assert hub.asked == []


@pytest.mark.parametrize(
    "source, revision, said",
    [
        ("maker/model", "v9", "maker/model has no revision v9."),
        ("maker/nothing", None, "maker/nothing is neither a folder here nor a repository this HF_TOKEN may read."),
        ("no/such/name", None, "no/such/name is neither a folder here nor a repository's name."),
        ("maker/gated", None, "maker/gated is open only to those who accepted its licence: accept it at"),
    ],
)
def test_refusals_are_one_sentence(hub, repository, source, revision, said):
    hub.add("maker/gated", repository)
    hub.gated.add("maker/gated")
    with pytest.raises(OSError) as refusal:
        fetch(source, PATTERNS, revision)
    assert str(refusal.value).startswith(said) and "\n" not in str(refusal.value)


def test_unreachable_hub_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(OSError, match="maker/model is neither a folder here nor all downloaded, and the hub is out of"):
        fetch("maker/model", PATTERNS, None)


def test_broken_connection_is_told(hub, monkeypatch):
    def breaks(*_: object, **__: object) -> None:
        raise HTTPError("no answer")  # what all of the client's own errors of the network are

    monkeypatch.setattr("huggingface_hub.file_download.http_get", breaks)
    with pytest.raises(OSError, match="The connection broke while maker/model was fetched"):
        fetch("maker/model", PATTERNS, None)


def test_token_comes_from_the_environment_only_and_is_nowhere_written(hub, monkeypatch, tmp_path, caplog, capfd):
    stored = tmp_path / "token"
    stored.write_text("hf_stored")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(stored))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with caplog.at_level(logging.DEBUG):
        fetch("maker/model", ["*.json"], None)
        assert hub.tokens == {None}
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        folder = fetch("maker/model", PATTERNS, None)
        verify(folder, [folder / "model.safetensors"])
        for source in ("maker/nothing", "maker/model"):
            with pytest.raises(OSError) as refusal:
                fetch(source, PATTERNS, "v9")
            assert "hf_secret" not in str(refusal.value)
    assert "Bearer hf_secret" in hub.tokens
    written = [path for path in tmp_path.rglob("*") if path.is_file() and b"hf_secret" in path.read_bytes()]
    assert written == [] and "hf_secret" not in caplog.text and "hf_secret" not in "".join(capfd.readouterr())


def test_local_folder_may_list_its_sums(repository, monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(tmp_path))
    weights = repository / "model.safetensors"
    assert fetch(str(repository), PATTERNS, None) == repository
    verify(repository, [weights])  # nothing listed, nothing to compare
    listed = hashlib.sha256(weights.read_bytes()).hexdigest()
    (repository / "SHA256SUMS").write_text(f"{listed}  ./model.safetensors\n{'0' * 64} *other.safetensors\n")
    verify(repository, [weights])
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + b"x")
    os.utime(weights, ns=(1, 1))
    with pytest.raises(OSError, match="model.safetensors is not the one that was published"):
        verify(repository, [weights])


def test_revision_is_split_off(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flux@home").mkdir()
    assert split_revision("maker/model@v1") == ("maker/model", "v1")
    assert split_revision("maker/model") == ("maker/model", None)
    assert split_revision("flux@home") == ("flux@home", None)
