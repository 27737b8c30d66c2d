"""Each visitor's own folder under one root, its results, and their clean-up."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

PREFIX = "jointdit-studio"
RESULTS_KEPT = 20  # of each visitor; older ones make room for new ones
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")  # session hashes and UUIDs; never a path, never hidden
_LABEL_CHARS = 40


@dataclass(frozen=True)
class Sessions:
    """The folders of all visitors.

    Attributes:
        root: folder that holds them, made when first needed and readable by this user only.
    """

    root: Path

    def folder(self, key: str) -> Path:
        """Return a visitor's own folder, made if need be; using it keeps it young.

        Args:
            key: what tells visitors apart, letters, digits, - and _ only.

        Returns:
            An existing folder under `root`.

        Raises:
            ValueError: if the key could be anything but a plain name.
        """
        folder = self._path(key)
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        os.utime(folder)
        return folder

    def new_result(self, key: str, label: str) -> Path:
        """Make a new folder for one result and drop the visitor's oldest beyond `RESULTS_KEPT`.

        Args:
            key: as for `folder`.
            label: what the result is, such as the prompt; becomes a readable part of the name.

        Returns:
            A new empty folder such as "0007-a-red-ball" in the visitor's folder.

        Raises:
            ValueError: for a bad key.
        """
        folder = self.folder(key)
        results = sorted(folder.glob("[0-9]*-*"), key=_number)
        for path in results[: max(0, len(results) - RESULTS_KEPT + 1)]:
            self._remove(path)
        number = _number(results[-1]) + 1 if results else 1
        while True:
            result = folder / f"{number:04d}-{slug(label)}"
            try:
                result.mkdir(mode=0o700)
                return result
            except FileExistsError:  # another request of the same visitor came first
                number += 1

    def delete(self, key: str) -> None:
        """Delete everything of one visitor; nothing to delete is fine.

        Args:
            key: as for `folder`.

        Raises:
            ValueError: for a bad key.
        """
        self._remove(self._path(key))

    def delete_older_than(self, seconds: float) -> int:
        """Delete the visitors' folders that were not used for a time, and what an interrupted deletion left.

        Args:
            seconds: age in seconds of the last use from which a folder goes.

        Returns:
            How many were deleted.
        """
        before = time.time() - seconds
        old = [path for path in (self.root.iterdir() if self.root.exists() else ()) if _last_use(path) < before]
        return sum(self._remove(path) for path in old)

    def _path(self, key: str) -> Path:
        if not isinstance(key, str) or not _KEY.fullmatch(key):
            raise ValueError(f"key: got {key!r:.80}, allowed are 1 to 64 letters, digits, - and _")
        return self.root / key

    def _remove(self, path: Path) -> bool:
        """Delete a folder so that it disappears at once and whole; return whether it was there."""
        trash = self.root / f".trash-{uuid.uuid4().hex}"
        try:
            path.rename(trash)
        except FileNotFoundError:
            return False
        shutil.rmtree(trash, ignore_errors=True)
        return True


def own_root() -> Path:
    """Make the folder that holds everything this process keeps for visitors, readable by this user only.

    What processes that were killed have left behind is deleted first, half-written or not.

    Returns:
        A new empty folder among the temporary ones; its name holds the process's id and cannot be guessed.
    """
    for left in Path(tempfile.gettempdir()).glob(f"{PREFIX}-*-*"):
        number = left.name.split("-")[2]
        if number.isdigit() and left.lstat().st_uid == os.getuid() and not _is_running(int(number)):
            shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{PREFIX}-{os.getpid()}-"))


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)  # sends nothing
    except ProcessLookupError:
        return False
    except PermissionError:  # someone else's
        return True
    return True


def slug(text: str) -> str:
    """Turn any text into a short readable part of a file name: lower-case letters, digits and single hyphens."""
    words = re.findall(r"[a-z0-9]+", text.lower())
    return "-".join(words)[:_LABEL_CHARS].strip("-") or "result"


def _number(result: Path) -> int:
    return int(result.name.split("-")[0])


def _last_use(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # deleted by its owner meanwhile
        return float("inf")
