"""Weight files on disk: which there are, and whether they are whole."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open


def find_weights(folder: Path) -> list[Path]:
    """List one model's weight files.

    Args:
        folder: Of one model in diffusers' layout.

    Returns:
        All shards of its index, present or not, or its single file; a pattern as the only element where there is none.
    """
    indices = sorted(folder.glob("*.safetensors.index.json"))
    shards = {name for index in indices for name in json.loads(index.read_bytes())["weight_map"].values()}
    files = [folder / name for name in sorted(shards)] or sorted(folder.glob("*.safetensors"))
    return files or [folder / "*.safetensors"]


def check_weights_file(path: Path, cure: str) -> None:
    """Refuse a weight file that is missing or not whole, without reading more than its header.

    Args:
        path: Of a safetensors file.
        cure: Sentence on what to do.

    Raises:
        OSError: The message names the file and ends with `cure`.
    """
    if not path.is_file():
        raise OSError(f"The model file {path} is missing. {cure}")
    try:
        with safe_open(path, framework="pt"):  # compares the header with the file's length
            pass
    except SafetensorError as error:
        raise OSError(f"The model file {path} is damaged ({error}). {cure}") from error
