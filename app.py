"""Start JointDiT Studio: `python app.py`, then open the printed address."""

from __future__ import annotations

import argparse
import os
import sys

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when gradio is imported


def main() -> int:
    """Parse flags, load the pipeline, launch."""
    parser = argparse.ArgumentParser(description="JointDiT Studio: a picture and its depth, made together.")
    parser.add_argument("--preset", default="mini", help="mini (embedded, default) or flux-dev (released weights)")
    parser.add_argument("--device", default=None, help="cpu or cuda; default: cuda if there is one")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 for the whole network")
    parser.add_argument("--port", type=int, default=None, help="port to listen on; default: the first free from 7860")
    memory = parser.add_argument(
        "--memory", default=None, help="how flux-dev fits the card; default: the fastest that does"
    )
    parser.add_argument("--compile", action="store_true", help="compile the blocks: faster steps, a slower first one")
    parser.add_argument("--cache", default=None, help="skip parts of steps (approximate): first-block or taylorseer")
    if {"-h", "--help"} & set(sys.argv[1:]):  # only then worth the seconds that the arithmetic takes
        from jointdit_core.memory import describe_plans

        memory.help += f". Needs at 1024x1024: {describe_plans(1024)}"
    arguments = parser.parse_args()

    import torch

    from app.examples import FOLDER, find_examples
    from app.handlers import Studio
    from app.theme import CSS, theme
    from app.ui import build
    from app.words import seconds
    from jointdit_core.memory import PLANS
    from jointdit_core.presets import PRESETS, load
    from jointdit_core.speed import CACHES

    if arguments.preset not in PRESETS:
        parser.error(f"--preset must be one of {', '.join(PRESETS)}")
    for flag, value, known in (("--memory", arguments.memory, PLANS), ("--cache", arguments.cache, CACHES)):
        if value is not None and value not in known:
            parser.error(f"{flag} must be one of {', '.join(known)}")
    device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    preset = PRESETS[arguments.preset]
    try:
        pipe = load(preset, device, arguments.memory, arguments.compile, arguments.cache)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    pipe.set_progress_bar_config(disable=True)

    studio = Studio(pipe, preset, find_examples())
    name = torch.cuda.get_device_name(pipe.device) if pipe.device.type == "cuda" else "CPU"
    run_s = studio.warm_up() * preset.tasks["joint_generation"].steps["standard"]
    page = build(studio, f"{name} · about {seconds(run_s)} a picture")
    page.queue(max_size=16, default_concurrency_limit=4)
    page.launch(
        server_name=arguments.host,
        server_port=arguments.port,
        theme=theme(),
        css_paths=CSS,
        allowed_paths=[str(FOLDER)],
        max_file_size="40mb",
        footer_links=["api"],
        run_history=False,
        enable_monitoring=False,
        show_error=False,
        ssr_mode=False,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
