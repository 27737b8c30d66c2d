"""What the tests of the page's handlers share."""

from __future__ import annotations

import gradio as gr

from app.shown import Panel

LOOK = (55.0, 8.0, 0.0, 65536, False, False)  # field of view, far / near, edge cut, points, no sky, smooth


def visitor(name: str = "visitor") -> gr.Request:
    return gr.Request(session_hash=name)


def last_of(run) -> Panel:
    *_, panel = run
    return panel


def generate(
    studio,
    prompt="a red ball",
    seed=7,
    randomize=False,
    steps=3,
    guidance=3.5,
    name="visitor",
    size="64x64",
    variants=1,
):
    how = steps, guidance, size, variants
    return studio.joint_generation(prompt, seed, randomize, *how, "spectral", visitor(name))
