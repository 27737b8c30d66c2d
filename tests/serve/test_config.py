"""Config files and what they ask for: every refusal is one sentence that says what to change."""

from __future__ import annotations

import asyncio
import os
import time
from importlib import metadata
from pathlib import Path

import pytest
from uvicorn.protocols.http.h11_impl import H11Protocol

from app import serve, server
from app.replica import Loading
from jointdit_core.presets import PRESETS

ROOT = Path(__file__).resolve().parents[2]


def read(tmp_path, text, preset="mini"):
    path = tmp_path / "serve.toml"
    path.write_text(text)
    return serve.read_config(path, preset)


def begin(config, tmp_path):
    return serve.start([(config, Loading.by(config, PRESETS[config.preset], 60.0))], tmp_path)


@pytest.mark.parametrize(("preset", "device", "workers"), [("mini", "cpu", 2), ("flux-dev", "cuda", 8)])
def test_the_documented_file_is_read(preset, device, workers):
    config = serve.read_config(ROOT / "app" / "serve.toml", preset)
    loading = Loading.by(config, PRESETS[config.preset], 60.0)
    assert (loading.device, config.workers, loading.is_local) == (device, workers, True)
    assert config.places >= 1 and loading.threads >= 1


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[mini", "is not valid TOML"),
        ("[flux-dev]", r"has no section \[mini\]; add one"),
        ("[mini]\nnum_replica = 2", r"\[mini\] knows no num_replica; it takes num_replicas, "),
        ("[ray]\nadress = 'local'\n[mini]", r"\[ray\] knows no adress; it takes address, start_s"),
        ("[ray]\nstart_s = 'long'\n[mini]", "start_s in seconds"),
        ("[mini]\nnum_replicas = 0", "whole number of at least 1, not 0"),
        ("[mini]\nnum_replicas = 1.5", "whole number of at least 1, not 1.5"),
        ("[mini]\nmax_queued_requests = -1", "max_queued_requests of .* at least 1, not -1"),
        ("[mini]\nautoscaling_config = { max_replicas = 'many' }", "at least 1, not 'many'"),
        ("[mini]\nray_actor_options = { num_cpus = -1 }", "num_cpus of .* must be a number, not -1"),
        ("[mini]\nray_actor_options = { num_gpus = 'all' }", "num_gpus of .* must be a number, not 'all'"),
        ("[mini]\nray_actor_options = 2", "ray_actor_options"),
        ("[mini]\nautoscaling_config = 8", "autoscaling_config"),
    ],
)
def test_a_config_that_cannot_be_meant_is_refused_with_what_to_change(tmp_path, text, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        read(tmp_path, text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("num_replicas = 1000", r"asks for 1000 replicas with 1 CPU each, and this machine has \d+: set their number"),
        ("ray_actor_options = { num_cpus = 1000 }", r"with 1000 CPU each, .*: set num_cpus to at most \d+\."),
        (
            "ray_actor_options = { num_gpus = 64 }",
            r"with 64 GPU each, and this machine has \d+: set num_gpus to at most",
        ),
    ],
)
def test_resources_that_this_machine_has_not_are_refused_before_anything_starts(tmp_path, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        begin(read(tmp_path, f"[mini]\n{options}"), tmp_path)


def test_models_side_by_side_share_what_this_machine_has(tmp_path):
    text = f"[mini]\nray_actor_options = {{ num_cpus = {os.cpu_count() - 0.5} }}\n"
    text += "[flux-dev]\nray_actor_options = { num_cpus = 1 }"
    configs = [read(tmp_path, text, preset) for preset in ("mini", "flux-dev")]
    wanted = [(config, Loading.by(config, PRESETS[config.preset], 60.0)) for config in configs]
    sentence = r"\[flux-dev\] asks for 1 .* has \d+ and 0\.5 of them left: set num_cpus to at most 0\.5\."
    with pytest.raises(ValueError, match=sentence):
        serve.start(wanted, tmp_path)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nowhere", "127.0.0.1:many", ""])
def test_a_cluster_that_does_not_answer_is_told_at_once(tmp_path, address):
    config = read(tmp_path, f"[ray]\naddress = '{address}'\n[mini]")
    before = time.monotonic()
    with pytest.raises(ValueError, match=f'No Ray cluster answers at "{address}": start one there, or set address'):
        begin(config, tmp_path)
    assert time.monotonic() - before < 10


def test_a_missing_ray_and_another_version_are_told_with_the_line_that_installs_it(tmp_path, monkeypatch):
    config, install = read(tmp_path, "[mini]"), r"pip install 'ray\[serve\]==2\.60\.0'"

    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    with pytest.raises(ValueError, match=f"Ray, which is not installed: {install}"):
        begin(config, tmp_path)
    monkeypatch.setattr(metadata, "version", lambda name: "2.9.0")
    with pytest.raises(ValueError, match=rf"Ray 2\.9\.0 is installed, and this was made with 2\.60\.0: {install}"):
        begin(config, tmp_path)


def test_beside_ray_the_server_parses_and_loops_as_without_it():
    config = server.uvicorn_config.Config(lambda scope, receive, send: None)
    config.load()
    assert config.http_protocol_class is H11Protocol
    assert config.get_loop_factory() is asyncio.SelectorEventLoop


def test_the_pinned_ray_is_the_one_that_the_readme_installs():
    line = f"ray[serve]=={serve.RAY_VERSION}"
    assert line in (ROOT / "README.md").read_text(encoding="utf-8")
    assert line in (ROOT / "tests" / "requirements.txt").read_text().splitlines()
