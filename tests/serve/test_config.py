"""Config files and what they ask for: every refusal is one sentence that says what to change."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
from uvicorn.protocols.http.h11_impl import H11Protocol

from app import serve, server
from app.replica import Loading
from app.serve_config import read_config
from jointdit_core import JointDiTOutput
from jointdit_core.presets import PRESETS

ROOT = Path(__file__).resolve().parents[2]


def read(tmp_path, text, preset="mini"):
    path = tmp_path / "serve.toml"
    path.write_text(text)
    return read_config(path, preset)


def begin(config, tmp_path):
    return serve.start([(config, Loading.by(config, PRESETS[config.preset], 60.0))], tmp_path)


@pytest.mark.parametrize(("preset", "device", "workers"), [("mini", "cpu", 2), ("flux-dev", "cuda", 8)])
def test_the_documented_file_is_read(preset, device, workers):
    config = read_config(ROOT / "app" / "serve.toml", preset)
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
        ("ray = 3\n[mini]", r"ray must be a table, \{ name = value \}, not 3\."),
        *[
            (f"[ray]\nstart_s = {value}\n[mini]", "start_s in seconds")
            for value in ("'long'", "0", "true", "nan", "inf")
        ],
        ("[mini]\nnum_replicas = 0", "whole number of at least 1, not 0"),
        ("[mini]\nnum_replicas = 1.5", "whole number of at least 1, not 1.5"),
        ("[mini]\nmax_queued_requests = -1", "max_queued_requests of .* at least 1, not -1"),
        ("[mini]\nautoscaling_config = { max_replicas = 'many' }", "at least 1, not 'many'"),
        ("[mini]\nautoscaling_config = { min_replicas = 0 }", "min_replicas of .* at least 1, not 0"),
        *[
            (f"[mini]\nray_actor_options = {{ {what} }}", r"of \[mini\] must be a number from 0 to 1e\+14, not ")
            for what in ("num_cpus = -1", "num_cpus = nan", "num_cpus = true", "num_gpus = 'all'", "memory = 'lots'")
        ],
        ("[mini]\nray_actor_options = { memory = 1e15 }", "memory of .* must be a number from 0 to 1e.14"),
        ("[mini]\nray_actor_options = { resources = { slot = 1e15 } }", "slot of .* must be a number from 0 to 1e.14"),
        ("[mini]\nray_actor_options = { resources = 2 }", "resources must be a table"),
        ("[mini]\nray_actor_options = 2", "ray_actor_options must be a table"),
        ("[mini]\nautoscaling_config = 8", "autoscaling_config must be a table"),
    ],
)
def test_a_config_that_cannot_be_meant_is_refused_with_what_to_change(tmp_path, text, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        read(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_told_with_one_to_look_at(tmp_path):
    with pytest.raises(ValueError, match=r"absent.toml cannot be read .*: name one like app/serve.toml\.$"):
        read_config(tmp_path / "absent.toml", "mini")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("autoscaling_config = { min_replica = 2 }", "autoscaling_config of .* knows no min_replica; it takes min_rep"),
        ("health_check_period_s = 0", r"\[mini\] asks for .*: health_check_period_s: Input should be greater than 0"),
        ("ray_actor_options = { num_cpu = 1 }", "Specifying 'num_cpu' in ray_actor_options is not allowed"),
        ("ray_actor_options = { accelerator_type = 3 }", "'accelerator_type' must be "),
    ],
)
def test_what_ray_serve_does_not_take_is_told_before_ray_starts(tmp_path, monkeypatch, options, sentence):
    from app import replicas

    monkeypatch.setattr(replicas.ray, "init", lambda **_: pytest.fail("Ray was started"))
    monkeypatch.setattr(os, "environ", dict(os.environ))  # for Ray, which does not start
    with pytest.raises(ValueError, match=sentence) as caught:
        begin(read(tmp_path, f"[mini]\n{options}"), tmp_path)
    assert "\n" not in str(caught.value)


MACHINES = [{"CPU": 8.0, "memory": 64e9}, {"CPU": 4.0, "memory": 16e9, "slot": 2.0}, {"CPU": 99.0, "memory": 999e9}]


@pytest.mark.parametrize(
    ("options", "room", "most"),
    [
        ("ray_actor_options = { memory = 9e13 }", "0 of 1", r"8 CPU, 6\.4e\+10 memory"),
        ("ray_actor_options = { num_cpus = 1, num_gpus = 1 }", "0 of 1", "8 CPU, 0 GPU"),
        ("ray_actor_options = { resources = { slot = 3 } }", "0 of 1", "2 slot, 8 CPU"),
        ("ray_actor_options = { accelerator_type = 'H1' }", "0 of 1", "8 CPU, 0 accelerator_type:H1"),
        ("num_replicas = 6\nray_actor_options = { memory = 16e9 }", "5 of 6", r"8 CPU, 6\.4e\+10 memory"),
        ("num_replicas = 5\nray_actor_options = { memory = 16e9 }", None, None),
        ("num_replicas = 99\nray_actor_options = { num_cpus = 0 }", None, None),
    ],
)
def test_replicas_without_room_are_refused_here_and_told_where_machines_may_join(
    tmp_path, monkeypatch, caplog, options, room, most
):
    from app import replicas

    nodes = [{"Alive": has is not MACHINES[2], "Resources": has} for has in MACHINES]
    monkeypatch.setattr(replicas.ray, "nodes", lambda: nodes)
    here, elsewhere = (read(tmp_path, f"[ray]\naddress = '{at}'\n[mini]\n{options}") for at in ("local", "a:1"))
    replicas._check_machines(elsewhere)
    if room is None:
        replicas._check_machines(here)
        assert not caplog.text
        return
    with pytest.raises(ValueError, match=f"there is room for {room}, since no machine has more than {most}: ask for"):
        replicas._check_machines(here)
    assert f"room for {room}," in caplog.text and "may join within start_s = 120" in caplog.text


def test_nobody_listens_to_a_replica_any_more_when_its_run_has_ended():
    from app import replicas

    class Response:  # as Ray Serve's: it ends a little after the last that it gives, or after it is cancelled
        cancelled = threading.Event()

        def __iter__(self):
            yield output
            self.cancelled.wait()
            time.sleep(0.1)

        def cancel(self):
            self.cancelled.set()

    output, remote = JointDiTOutput(None, None, 0, ()), SimpleNamespace(remote=lambda request: Response())
    handle = SimpleNamespace(options=lambda stream: SimpleNamespace(run=remote))
    report = SimpleNamespace(beat=lambda: None)
    assert replicas.Replicas._stream(SimpleNamespace(handle=handle), None, report) is output
    assert "listener" not in [thread.name for thread in threading.enumerate()]


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (
            "ValueError: the cause\n\nTraceback:\n  File x\nOSError: The file a is damaged.",
            r"^The file a is damaged\.$",
        ),
        (
            "Error:\nTraceback:\nray.ActorDiedError: ray\n  File x\nModuleNotFoundError: No module named 'app'\n",
            r"^The replicas of \[mini\] cannot start: ModuleNotFoundError: No module named 'app'$",
        ),
        ("It failed.\nNo actor.", r"^The replicas of \[mini\] cannot start: No actor\.$"),
    ],
)
def test_a_replica_that_cannot_start_is_told_by_what_its_error_ends_with(tmp_path, monkeypatch, said, sentence):
    from app import replicas

    application = SimpleNamespace(status="DEPLOY_FAILED", message=said, deployments={})
    monkeypatch.setattr(replicas.serve, "status", lambda: SimpleNamespace(applications={"mini": application}))
    with pytest.raises(ValueError, match=sentence):
        replicas._await_replicas(read(tmp_path, "[mini]"))


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
