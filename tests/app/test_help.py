"""Every control of the page says in a line what it does."""

from __future__ import annotations

import gradio as gr

from app.ui import build
from app.words import BUTTON_HELP

OBVIOUS = {  # by what they say
    *("Generate RGB + depth", "Estimate depth", "Generate image"),
    *("Variant", "New seed each run", "All depth maps · ZIP"),
}
CONTROLS = (gr.Button, gr.DownloadButton, gr.Slider, gr.Number, gr.Checkbox, gr.Radio, gr.Dropdown, gr.Textbox)


def test_every_control_says_what_it_does(studio):
    page = build({"": studio}, {"": "somewhere"})
    controls = [block for block in page.blocks.values() if isinstance(block, CONTROLS) and shown(block)]
    names = {block: getattr(block, "label", None) or block.value for block in controls}
    silent = {
        name
        for block, name in names.items()
        if not getattr(block, "info", None) and block.elem_id not in BUTTON_HELP and name not in OBVIOUS
    }
    assert silent == set() and len(controls) > 40
    assert set(BUTTON_HELP) <= {block.elem_id for block in page.blocks.values()}


def shown(block) -> bool:
    """Whether it is in sight sometimes: not in a part of the page that is for programs, and no silent carrier."""
    while block is not None:
        if block.visible is False and not isinstance(block, gr.DownloadButton | gr.Dropdown):
            return False
        block = block.parent
    return True
