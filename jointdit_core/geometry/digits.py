"""Numbers to decimal text, millions a second: four digits at a time out of a table.

A cell is a table of bytes (N, w), one text for each row, filled up with zero bytes, which `lines` leaves out.
"""

from __future__ import annotations

import numpy as np

_FULL = np.frombuffer(b"".join(b"%04d" % n for n in range(10_000)), np.uint32)
_SHORT = np.frombuffer(b"".join((b"%d" % n).rjust(4, b"\0") for n in range(10_000)), np.uint32)
_MILLION = 1_000_000
BELOW = 100_000_000  # numbers of more than eight digits before the point are not written


def integers(values: np.ndarray) -> np.ndarray:
    """Write whole numbers, without leading zeros.

    Args:
        values: int (N,), from 0 to below `BELOW`.

    Returns:
        uint8 (N, 4), or (N, 8) if any has more than four digits.
    """
    values = values.astype(np.uint32)
    if values.max(initial=0) < 10_000:
        return _SHORT[values][:, None].view(np.uint8)
    high = values // np.uint32(10_000)
    low = values - high * np.uint32(10_000)
    digits = np.empty((len(values), 2), np.uint32)
    digits[:, 0] = np.where(high > 0, _SHORT[high], np.uint32(0))
    digits[:, 1] = np.where(high > 0, _FULL[low], _SHORT[low])
    return digits.view(np.uint8)


def decimals(values: np.ndarray) -> np.ndarray:
    """Write numbers with six decimals.

    Args:
        values: float (N,), their magnitude below `BELOW`.

    Returns:
        uint8 (N, w).
    """
    millionths = np.rint(np.abs(values, dtype=np.float64) * _MILLION).astype(np.uint64)
    whole = millionths // np.uint64(_MILLION)
    rest = (millionths - whole * np.uint64(_MILLION)).astype(np.uint32)
    high = rest // np.uint32(100)
    before = integers(whole)
    wide = before.shape[1]
    cell = np.empty((len(values), wide + 8), np.uint8)
    cell[:, 0] = (values < 0).view(np.uint8) * np.uint8(ord("-"))
    cell[:, 1 : 1 + wide] = before
    cell[:, 1 + wide] = ord(".")
    cell[:, 2 + wide : 6 + wide] = _FULL[high][:, None].view(np.uint8)
    cell[:, 6 + wide :] = _FULL[rest - high * np.uint32(100)][:, None].view(np.uint8)[:, 2:]
    return cell


def lines(*cells: np.ndarray | str) -> bytes:
    """Write a table.

    Args:
        cells: from left to right, uint8 (N, w), or a text that stands in every line.

    Returns:
        N lines, each with its end.
    """
    parts = [np.frombuffer(cell.encode(), np.uint8) if isinstance(cell, str) else cell for cell in (*cells, "\n")]
    count = max(len(part) for part in parts if part.ndim == 2)
    whole = np.concatenate([np.broadcast_to(part, (count, part.shape[-1])) for part in parts], axis=1)
    return whole.tobytes().translate(None, b"\0")
