"""Settings that come back: out of a picture that was made here, out of a link, out of this browser's earlier runs."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app import words
from app.handlers import Studio, restored
from app.inputs import size_name
from app.shown import SAME, checked
from jointdit_core.geometry.camera import FOV_DEG
from jointdit_core.reading import read_image
from jointdit_core.results import Result, Settings, read_settings

KEPT_RUNS = 20  # that a browser remembers


class Memory:
    """The handlers that restore settings, over a `Studio`, which says which it would take."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio

    def opened(self, path: str) -> tuple:
        """Take over what a picture that was dropped on the page says of itself.

        Returns:
            The field of view that the photo's camera wrote into the file, else the usual one; then the controls as
            `restored` gives them, for a picture that was made here.
        """
        fov_deg, made = checked(read_image, path).fov_deg, self._believed(read_settings(path))
        if fov_deg is not None:
            gr.Info(f"Field of view set to {fov_deg:.0f}°, as the photo's camera wrote it.")
        if made is not None:
            gr.Info(f"This picture was made here: its settings are back in “{words.TASK_TITLES[made.task]}”.")
        return FOV_DEG if fov_deg is None else round(fov_deg), *restored(made)

    def reopen(self, text: str | None) -> tuple:
        """Take over settings out of a link or of this browser's earlier runs.

        Returns:
            The tab, and the controls as `restored` gives them.
        """
        asked = self._believed(Settings.parse(text or ""))
        return SAME if asked is None else gr.Tabs(selected=asked.task), *restored(asked)

    def remember(self, result: Result | None, earlier: list[str]) -> tuple:
        """Put a run's settings first among the earlier ones.

        Returns:
            The list that the browser keeps, and its menu; for a ready example, which was not run, nothing changes.
        """
        if result is None or not result.seconds:
            return SAME, SAME
        newest = result.settings.text()
        earlier = [newest, *(text for text in earlier if text != newest)][:KEPT_RUNS]
        return earlier, self.recall(earlier)

    def recall(self, earlier: list[str]) -> Any:
        """Return the menu of the runs that this browser has kept."""
        known = [(text, self._believed(Settings.parse(text))) for text in earlier[:KEPT_RUNS] if isinstance(text, str)]
        choices = [(words.run_title(asked), text) for text, asked in known if asked is not None]
        return gr.update(choices=choices, value=None, visible=bool(choices))

    def _believed(self, asked: Settings | None) -> Settings | None:
        """Return settings that came from outside if they could have been made here today, else None."""
        try:
            if asked is not None:
                how = asked.steps, asked.guidance, asked.looseness
                size = None if asked.width is None else size_name(asked.width, asked.height)
                self.studio.settings(asked.task, asked.prompt, asked.seed, False, *how, size)
        except gr.Error:
            return None
        return asked
