"""Depth for many pictures in one go, one archive at the end."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
from PIL import Image

from app import words
from app.checks import RIGHT, verdict
from app.engine import Request
from app.handlers import STOP_OFF, STOP_ON, Studio
from app.lane import Busy, Ended, LaneError, Stopped
from app.plain import request_name
from app.shown import SAME, checked, colored, owner_of
from jointdit_core import JointDiTOutput
from jointdit_core.decoding import InputError
from jointdit_core.geometry.export import write_png16
from jointdit_core.reading import read_image
from jointdit_core.results import Settings

MAX_PICTURES = 100


class Row(NamedTuple):
    """What the batch changes on the page; `SAME` leaves a part as it is."""

    bar: Any = SAME
    stop: Any = SAME
    archive: Any = SAME


class Batch:
    """The handler of "Estimate all" over a `Studio`."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio

    def depth_estimation(
        self,
        paths: list[str] | None,
        seed: float,
        randomize: bool,
        steps: float,
        looseness: float,
        colormap: str,
        request: gr.Request,
    ) -> Iterator[Row]:
        """Estimate the depth of every picture, all with one seed; what cannot be used is named in the archive.

        A stop, a full queue or a server that ends ends the batch, too; the archive then holds what was made until then.
        """
        checked(_check_count, paths)
        asked = self.studio.settings("depth_estimation", "", seed, randomize, steps, None, looseness)
        folder = self.studio.sessions.new_result(owner_of(request), "many pictures")
        archive = folder / "jointdit-depth.zip"
        try:
            done = yield from self._pack(archive, paths, asked, colormap, request)
        except OSError:  # the disk is full: no half archive
            shutil.rmtree(folder, ignore_errors=True)
            raise
        text = f"{done} of {len(paths)} pictures done; the archive's report names each."
        yield Row(words.run_bar(text, 1.0), STOP_OFF, gr.update(value=str(archive), visible=True))

    def _pack(
        self, archive: Path, paths: list[str], asked: Settings, colormap: str, request: gr.Request
    ) -> Generator[Row, None, int]:
        """Run every picture and write its maps into the archive; return how many could be used."""
        studio, owner, report, done = self.studio, owner_of(request), [], 0
        with zipfile.ZipFile(archive, "w") as packed:
            for number, path in enumerate(map(Path, paths), 1):
                name = f"{number:03d}-{path.stem}"
                yield Row(words.run_bar(f"{number} of {len(paths)}: {path.name}", (number - 1) / len(paths)), STOP_ON)
                try:
                    given = read_image(path).image
                    for news in studio.engine.run(Request(owner, asked, given, request_name(request))):
                        if not isinstance(news, JointDiTOutput):
                            yield Row()  # shows that the run is alive
                except (Stopped, Busy, Ended) as end:
                    report.append(f"{path.name}: {str(end) or 'Stopped.'} Nothing was made from here on.")
                    break
                except (InputError, LaneError) as error:  # of this picture alone, such as one that a filter withholds
                    report.append(f"{path.name}: {error}")
                    continue
                shown = archive.with_name("shown.png")
                Image.fromarray(colored(news.disparity, colormap)).save(shown)
                packed.write(write_png16(archive.with_name("depth.png"), news.disparity), f"{name}-depth16.png")
                packed.write(shown, f"{name}-depth.png")
                done += 1
                report.append(f"{path.name}: done, seed {asked.seed}, {asked.steps} steps")
            packed.writestr("report.txt", "\n".join(report) + "\n")
        return done


def _check_count(paths: list[str] | None) -> None:
    if not paths:
        raise InputError("Please choose some pictures first.")
    if len(paths) > MAX_PICTURES:
        raise InputError(f"These are {len(paths)} pictures; at most {MAX_PICTURES} go at once.")


def check(paths: list[str] | None, *others: Any) -> tuple:
    """Tell beside the control that no or too many pictures were chosen; a verdict for each input."""
    return verdict(_check_count, paths), *[RIGHT] * len(others)
