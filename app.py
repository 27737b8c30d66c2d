"""Start JointDiT Studio: `python app.py`, then open the printed address."""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import shlex
import shutil
import sys
from typing import TYPE_CHECKING

from app import limits

if TYPE_CHECKING:
    from pathlib import Path

    from app.engine import Engine
    from app.lane import Check
    from jointdit_core.presets import Preset

M_ARENA_MAX = -8  # of mallopt(3)

os.environ.update(  # read when gradio is imported
    GRADIO_ANALYTICS_ENABLED="False",
    GRADIO_ANALYTICS_MAX_EVENTS="100",  # kept for the monitoring page, which is closed
    GRADIO_ANALYTICS_CACHE_FREQUENCY="1000000000",  # its summary would take pandas at the end of every request
)


def read_flags() -> argparse.Namespace:
    """Parse the command line; what only the libraries know is checked later."""
    parser = argparse.ArgumentParser(description="JointDiT Studio: a picture and its depth, made together.")
    parser.add_argument(
        "--preset",
        default="mini",
        help="mini (embedded, default) or flux-dev (released weights); with --serve also mini,flux-dev, the "
        "first one's page first",
    )
    parser.add_argument("--device", default=None, help="cpu or cuda; default: cuda if there is one")
    weights = parser.add_argument_group("for flux-dev")
    weights.add_argument(
        "--base", metavar="REPO[@REVISION]", help="another FLUX of FLUX.1-dev's shape; or a local folder"
    )
    weights.add_argument("--addons", metavar="REPO[@REVISION]", help="other JointDiT add-ons; or a local folder")
    weights.add_argument(
        "--lora",
        action="append",
        default=[],
        metavar="REPO[/FILE][@REVISION][:SCALE]",
        help="merge a LoRA made for FLUX; or a local file; again for more",
    )
    weights.add_argument("--largest", type=int, metavar="PIXELS", help="longest side offered and worked at")
    here = os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1")  # hosts of Gradio pages set it
    parser.add_argument("--host", default=here, help="address to listen on; 0.0.0.0 for the whole network")
    parser.add_argument("--mcp", action="store_true", help="serve the three tasks as tools for assistants, too")
    parser.add_argument("--port", type=int, default=None, help="port to listen on; default: the first free from 7860")
    parser.add_argument(
        "--serve", default=None, metavar="FILE", help="run replicas on Ray Serve, as a config file says"
    )
    guard = parser.add_argument_group("for a server that others reach")
    guard.add_argument(
        "--public-host", default=os.environ.get("SPACE_HOST"), help="name by which a proxy on this machine serves it"
    )
    guard.add_argument(
        "--auth",
        action="append",
        default=[],
        metavar="USER:PASSWORD",
        help="ask for a log-in; again for more, or @file with one a line",
    )
    guard.add_argument("--filter", default=None, metavar="MODULE:FUNCTION", help="looks at each picture first")
    guard.add_argument("--offline", action="store_true", help="refuse every connection to another machine")
    guard.add_argument("--log-prompts", action="store_true", help="write prompts and error messages to the log, too")
    guard.add_argument(
        "--places", type=int, default=None, help=f"runs that may wait; more are told so (default: {limits.PLACES})"
    )
    guard.add_argument("--time-limit", type=float, default=limits.TIME_LIMIT_S, help="seconds a run may take")
    guard.add_argument(
        "--posts-per-minute", type=float, default=limits.POSTS_PER_MINUTE, help="requests from one address"
    )
    memory = weights.add_argument("--memory", help="how it fits the card; default: the first of these that does")
    parser.add_argument("--compile", action="store_true", help="compile the blocks: faster steps, a slower first one")
    parser.add_argument(
        "--cache",
        default=None,
        help="skip parts of steps (approximate): first-block or taylorseer (steps that change little), clean-branch "
        "(what is given, after the first step), half-depth (depth in every second step of joint generation)",
    )
    if {"-h", "--help"} & set(sys.argv[1:]):  # only then worth the seconds that the arithmetic takes
        from jointdit_core.memory import describe_plans

        memory.help += f". Needs at 1024x1024: {describe_plans(1024)}"
    return parser.parse_args([*shlex.split(os.environ.get("JOINTDIT_FLAGS", "")), *sys.argv[1:]])


def share_memory() -> None:
    """Let threads share two of glibc's heaps: with one for each, what they free is scattered and never given back."""
    with contextlib.suppress(AttributeError, OSError):  # another C library, or another system
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 2)


def load_here(flags: argparse.Namespace, preset: Preset, check: Check | None, root: Path) -> tuple[Engine, float]:
    """Load the model into this process; return its engine and the seconds of a step."""
    from app import zero
    from app.engine import Engine, Resident
    from app.lane import Lane
    from app.loading import load_asked

    pipe = load_asked(flags, preset, root)
    pipe.set_progress_bar_config(disable=True)
    model = zero.Leased(pipe, preset, with_previews=check is None) if zero.ON else Resident(pipe, preset.name)
    return Engine(model, Lane(flags.places or limits.PLACES, flags.time_limit, check)), model.warm_up()


def serve_replicas(
    flags: list[argparse.Namespace], presets: list[Preset], check: Check | None, root: Path
) -> list[tuple[Engine, float]]:
    """Start replicas of each model as the config file says; return their engines and the seconds of a step of each."""
    from app import serve
    from app.engine import Engine
    from app.lane import Lane
    from app.replica import Loading
    from app.serve_config import LOCAL, read_config

    wanted = []
    for one, preset in zip(flags, presets, strict=True):
        for flag in ("device", "places"):
            if getattr(one, flag) is not None:
                raise ValueError(f"--{flag} and --serve exclude each other: {one.serve} says it.")
        config = read_config(one.serve, one.preset)
        if one.offline and config.address != LOCAL:
            raise ValueError(f'--offline allows no other machine: set address = "{LOCAL}" in {one.serve}.')
        loading = Loading.by(
            config,
            preset,
            one.time_limit,
            memory=one.memory,
            compiled=one.compile,
            cache=one.cache,
            loras=tuple(one.lora),
            with_previews=check is None,
            is_offline=one.offline,
            with_prompts=one.log_prompts,
        )
        wanted.append((config, loading))
    return [
        (
            Engine(model, Lane(model.config.places, flags[0].time_limit, check, workers=model.config.workers)),
            model.step_s,
        )
        for model in serve.start(wanted, root / "ray")
    ]


def main() -> int:
    """Load the model and serve the page."""
    arguments = read_flags()
    share_memory()

    from app.logs import set_up

    set_up(arguments.log_prompts)
    if arguments.offline:
        from app.offline import go_offline

        go_offline()
    from app.session import Sessions, own_root

    root = own_root()
    os.environ["GRADIO_TEMP_DIR"] = str(root / "gradio")  # uploads and what is shown; read when the page is built

    from app import server
    from app.examples import FOLDER, find_examples
    from app.filtering import load_filter
    from app.handlers import Studio
    from app.loading import asked_preset, each_model
    from app.theme import CSS, JS, theme
    from app.ui import build
    from app.words import seconds

    try:
        models = each_model(arguments)
        presets = [asked_preset(flags) for flags in models.values()]
        accounts = server.read_accounts(arguments.auth)
        if accounts and arguments.mcp:
            raise ValueError("--mcp cannot ask for a log-in; leave --auth or --mcp out.")
        check = load_filter(arguments.filter) if arguments.filter else None
        server.check_port(arguments.host, arguments.port)
        if arguments.serve:
            engines = serve_replicas(list(models.values()), presets, check, root)
        else:
            engines = [load_here(arguments, presets[0], check, root)]
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        shutil.rmtree(root, ignore_errors=True)
        return 1

    sessions, examples, studios, status = Sessions(root / "visitors"), find_examples(), {}, {}
    for name, preset, (engine, step_s) in zip(models, presets, engines, strict=True):
        path = name if studios else ""  # the first one's page is the address itself
        studios[path] = Studio(engine, preset, examples, sessions)
        run_s = step_s * preset.tasks["joint_generation"].steps["standard"]
        status[path] = f"{engine.model.device} · about {seconds(run_s)} a picture"
    page = build(studios, status)
    page.queue(max_size=40, default_concurrency_limit=4, api_open=False)
    ended = server.serve(
        page,
        studios,
        arguments.host,
        arguments.port,
        server.policy(
            arguments.host, arguments.public_host, arguments.posts_per_minute, arguments.mcp, frozenset(studios) - {""}
        ),
        theme=theme(),
        css_paths=CSS,
        js=JS,
        allowed_paths=[str(FOLDER)],
        footer_links=["api"],
        auth=accounts,
    )
    shutil.rmtree(root, ignore_errors=True)
    server.leave_now(ended)


if __name__ == "__main__":
    sys.exit(main())
