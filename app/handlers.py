"""One function per button: check, run on the engine, show.

The three runs are generators, so that progress shows and closing the page stops them. They change the shared result
panel through `Panel`; what follows from a result without the device is in `shown`.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Generator, Iterator
from dataclasses import replace
from typing import Any

import gradio as gr
import numpy as np

from app import inputs, words
from app.engine import Engine, Request
from app.examples import Example
from app.lane import LaneError, Stopped
from app.plain import request_name
from app.session import Sessions
from app.shown import SAME, Panel, Shown, checked, colored, owner_of, refusal, variant_names
from jointdit_core import JointDiTOutput, reading
from jointdit_core.presets import Preset
from jointdit_core.results import Result, Settings
from jointdit_core.worlds import captions, sample_scene

VISIT_S = 6 * 3600  # files of a page that never said goodbye are kept this long
STOPPED = "Stopped"  # how the run bar begins to tell of a stop
STOP_ON, STOP_OFF = gr.update(interactive=True), gr.update(interactive=False)


class Studio(Shown):
    """The handlers of one page over one engine; holds nothing of a request."""

    def __init__(self, engine: Engine, preset: Preset, examples: list[Example], sessions: Sessions) -> None:
        super().__init__(sessions)
        self.engine, self.preset, self.examples = engine, preset, examples
        self.knows_words = preset.name == "mini"  # a word-level model, which its procedural worlds can prompt

    # The three runs.

    def joint_generation(
        self,
        prompt: str,
        seed: float,
        randomize: bool,
        steps: float,
        guidance: float,
        size: str,
        variants: float,
        colormap: str,
        request: gr.Request,
    ) -> Iterator[Panel]:
        """Text -> RGB + depth."""
        count = checked(inputs.check_variants, variants)
        asked = self.settings("joint_generation", prompt, seed, randomize, steps, guidance, size=size)
        yield from self._run(request, asked, colormap, count=count)

    def depth_estimation(
        self,
        image_path: str | None,
        seed: float,
        randomize: bool,
        steps: float,
        looseness: float,
        colormap: str,
        request: gr.Request,
    ) -> Iterator[Panel]:
        """Image -> depth; the picture stays as it was given unless it is to be loose."""
        upload = checked(reading.read_image, image_path)
        asked = self.settings("depth_estimation", "", seed, randomize, steps, None, looseness)
        yield from self._run(request, asked, colormap, np.asarray(upload.image), upload.fov_deg)

    def depth_to_image(
        self,
        prompt: str,
        depth_path: str | None,
        kind: str,
        polarity: str,
        seed: float,
        randomize: bool,
        steps: float,
        guidance: float,
        looseness: float,
        variants: float,
        colormap: str,
        request: gr.Request,
    ) -> Iterator[Panel]:
        """Depth -> image; the depth stays as it was given unless it is to be loose."""
        count = checked(inputs.check_variants, variants)
        disparity = checked(reading.read_depth, depth_path, kind, polarity)
        asked = self.settings("depth_to_image", prompt, seed, randomize, steps, guidance, looseness)
        yield from self._run(request, asked, colormap, disparity, count=count)

    def _run(
        self,
        request: gr.Request,
        asked: Settings,
        colormap: str,
        given: np.ndarray | None = None,
        fov_deg: float | None = None,
        count: int = 1,
    ) -> Iterator[Panel]:
        """Run what was asked for on the engine, as often as it is asked for, and show its progress.

        A picture (H, W, 3) or disparity (H, W) that was given is shown at once, and previewed only if it may change.
        Variants have seeds that follow each other. Each is a job of its own: other visitors' go between, and a stop
        keeps those that are done.
        """
        owner = owner_of(request)
        given_rgb, given_depth = (asked.task == task for task in ("depth_estimation", "depth_to_image"))
        kept = Panel(rgb=given_rgb and asked.looseness == 0, depth=given_depth and asked.looseness == 0)
        yield Panel(
            rgb=given if given_rgb else SAME,
            depth=colored(given, colormap) if given_depth else SAME,
            bar=words.run_bar("Starting …"),
            stop=STOP_ON,
            variants=[],
            chosen=chooser([]),
            seed=asked.seed,
        )
        made: list[Result] = []
        for number in range(1, count + 1):
            one = replace(asked, seed=(asked.seed + number - 1) % (inputs.MAX_SEED + 1))
            which = f"Variant {number} of {count} · " if count > 1 else ""
            started = time.monotonic()
            output = yield from self._job(request, one, given, which, colormap, kept)
            if output is None:  # stopped: `stop` shows what there is
                return
            seconds = time.monotonic() - started
            one = replace(one, model=output.model or one.model)
            result = Result(np.asarray(output.image), output.disparity, one, seconds, output.notes, fov_deg=fov_deg)
            done = "Done" if number == count else "done"
            bar = words.run_bar(f"{which}{done} in {words.seconds(seconds)}.", number / count)
            panel = self._show(result, owner, colormap, bar)
            made.append(panel.result)
            stop = STOP_OFF if number == count else SAME
            yield panel._replace(stop=stop, variants=list(made), chosen=chooser(made))

    def _job(
        self, request: gr.Request, asked: Settings, given: np.ndarray | None, which: str, colormap: str, kept: Panel
    ) -> Generator[Panel, None, JointDiTOutput | None]:
        """Run one job and show its progress; what is `kept` needs no previews. None if it was stopped."""
        shown = None
        try:
            for news in self.engine.run(Request(owner_of(request), asked, given, request_name(request))):
                if isinstance(news, JointDiTOutput):
                    return news
                fresh = news.image is not None and news.image is not shown
                shown = news.image
                yield Panel(
                    rgb=news.image if fresh and not kept.rgb else SAME,
                    depth=colored(news.disparity, colormap) if fresh and not kept.depth else SAME,
                    bar=words.running(news, which),
                )
        except Stopped:
            return None
        except LaneError as error:
            raise refusal(error) from None

    def waiting(self, *_: Any) -> tuple:
        """Tell a visitor whose run is in the queue so; returns the run bar and the Stop button."""
        return words.run_bar("Waiting for the model …"), STOP_ON

    def rest(self, result: Result | None, colormap: str, bar: str) -> tuple:
        """Show the result again that was there before a run that did not end well, and put bar and Stop to rest.

        To the page, a run that was stopped before it began is one of these, too: what `stop` has told of it stays.
        """
        if STOPPED in bar:
            return (SAME,) * 4
        return self._still(result, colormap, "That did not work. Your settings are kept.")[:4]

    def stop(self, result: Result | None, colormap: str, request: gr.Request) -> tuple:
        """Stop the visitor's run; its last preview becomes the result, and without one the result before it stays.

        Returns:
            The panel's parts without the seed.
        """
        owner = owner_of(request)
        stopped = self.engine.stop(owner)
        if stopped is None or stopped[1].image is None:
            return self._still(result, colormap, f"{STOPPED}.")[:-1]
        asked, progress = stopped
        unfinished = replace(asked, stopped_at=progress.step)
        result = Result(progress.image, progress.disparity, unfinished, progress.elapsed_s)
        text = f"{STOPPED} after step {progress.step} of {progress.total}: what you see is unfinished."
        panel = self._show(result, owner, colormap, words.run_bar(text, progress.step / progress.total))
        return panel._replace(chosen=gr.update(value=None))[:-1]  # it is none of the variants that are done

    def _still(self, result: Result | None, colormap: str, text: str) -> Panel:
        """Show the result that there still is in place of what a run has shown, or nothing."""
        depth = None if result is None else colored(result.disparity, colormap)
        return Panel(result and result.image, depth, words.run_bar(text), STOP_OFF)

    def _show(self, result: Result, owner: str, colormap: str, bar: str) -> Panel:
        """Show a finished result; its files will go to a new folder of the visitor's."""
        folder = self.sessions.new_result(owner, result.settings.prompt or result.settings.task)
        return Panel(
            rgb=result.image,
            depth=colored(result.disparity, colormap),
            bar=bar,
            stop=STOP_OFF,
            caption=words.caption(result),
            result=replace(result, folder=folder),
        )

    def settings(
        self,
        task: str,
        prompt: str,
        seed: float,
        randomize: bool,
        steps: float,
        guidance: float | None,
        looseness: float = 0.0,
        size: str | None = None,
    ) -> Settings:
        """Check what a run was given and draw its seed; a size of None is the model's own, or that of what is given."""
        prompt = checked(inputs.check_prompt, prompt, task == "joint_generation")
        used = secrets.randbelow(inputs.MAX_SEED + 1) if randomize else checked(inputs.check_seed, seed)
        guidance = None if guidance is None else checked(inputs.check_guidance, guidance, self.preset.max_guidance)
        steps, looseness = checked(inputs.check_steps, steps), checked(inputs.check_looseness, looseness)
        width, height = (None, None) if size is None else checked(inputs.check_size, size, self.preset.sizes)
        return Settings(task, prompt, used, steps, guidance, self.preset.name, looseness, None, width, height)

    # Beside the runs.

    def surprise(self) -> str:
        """Return a prompt out of the embedded model's world."""
        return max(captions(sample_scene(secrets.randbelow(2**31)), 3), key=len)

    def open_example(self, picked: gr.SelectData, colormap: str, request: gr.Request) -> tuple:
        """Show the ready example whose thumbnail was clicked and restore everything that made it.

        Returns:
            The panel's parts, the tab, the inputs (picture, depth, its kind and polarity), then the controls as
            `_restored` gives them.
        """
        example = self.examples[picked.index]
        asked = example.settings
        image = str(example.rgb) if asked.task == "depth_estimation" else SAME
        depth = (SAME, SAME, SAME)
        if asked.task == "depth_to_image":
            depth = (str(example.depth), reading.RELATIVE, reading.NEAR_IS_BRIGHT)
        panel = self._ready(example, colormap, request)
        return *panel, gr.Tabs(selected=asked.task), image, *depth, *restored(asked)

    def welcome(self, colormap: str, request: gr.Request) -> tuple:
        """Show the first example when the page opens, and touch nothing that the visitor may be typing already."""
        self.sessions.delete_older_than(VISIT_S)
        if not self.examples:
            return Panel()[:-1]
        return self._ready(self.examples[0], colormap, request)

    def _ready(self, example: Example, colormap: str, request: gr.Request) -> tuple:
        bar = words.run_bar("A ready example: change anything and run it yourself.")
        panel = self._show(example.result(), owner_of(request), colormap, bar)
        return panel._replace(variants=[], chosen=chooser([]))[:-1]

    def leave(self, request: gr.Request) -> None:
        """Stop the run and delete the files of a visitor who closed the page."""
        self.engine.stop(owner_of(request))
        self.sessions.delete(owner_of(request))


def restored(asked: Settings | None) -> list:
    """Prompt, seed, randomize, steps, guidance, looseness and size of each task in the order of `words.TASK_TITLES`.

    All stay as they are, but for those of the settings' own task.
    """
    if asked is None:
        return [SAME] * 7 * len(words.TASK_TITLES)
    guidance = SAME if asked.guidance is None else asked.guidance
    size = SAME if asked.width is None else inputs.size_name(asked.width, asked.height)
    values = asked.prompt, asked.seed, False, asked.steps, guidance, asked.looseness, size
    return [value for task in words.TASK_TITLES for value in (values if task == asked.task else (SAME,) * 7)]


def chooser(variants: list[Result]) -> dict:
    """Return the choice between variants, the newest chosen; hidden where there is nothing to choose from."""
    names = variant_names(variants)
    return gr.update(choices=names, value=names[-1] if names else None, visible=len(names) > 1)
