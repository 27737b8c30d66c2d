"""The hook that looks at every picture before a visitor sees it (`--filter module:function`).

A filter is a function `(picture, prompt) -> sentence or None`: an RGB `PIL.Image.Image` as it would be shown and the
prompt as it was typed ("" where there is none); a sentence withholds the picture and is what the visitor reads. It runs
on the lane, so it may use the GPU; before replicas that is the page's process, for several runs at once. With a filter
there are no previews, and a filter that fails withholds.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable

import numpy as np
from PIL import Image

from app.lane import Check
from jointdit_core import JointDiTOutput
from jointdit_core.results import Settings

Filter = Callable[[Image.Image, str], str | None]


def load_filter(name: str) -> Check:
    """Find a filter and fit it to the lane.

    Args:
        name: such as "my_filters:no_faces"; the module must be importable from where the server is started.

    Returns:
        The lane's check.

    Raises:
        ValueError: there is no such function; the message says what is missing.
    """
    module, _, function = name.partition(":")
    try:
        look: Filter = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"--filter {name}: {error}; it must be module:function.") from error
    if not callable(look):
        raise ValueError(f"--filter {name}: {function} is not a function.")

    def check(output: JointDiTOutput, asked: Settings) -> str | None:
        return look(Image.fromarray(np.asarray(output.image)), asked.prompt)

    return check
