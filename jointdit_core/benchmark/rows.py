"""What is measured of the modes, compared and laid out as tables."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from .modes import BASELINE, BASELINE_COMPILED, MODES, REFERENCE

FIRST_STEPS = 4  # of the loop that compiles: enough for a cache to leave out a step
HEAD = (
    f"| mode | px | ms/step | images/s | first {FIRST_STEPS} steps s "
    "| peak GiB | / FLUX eager | / FLUX compiled | error | on |",
    "|---|---|---|---|---|---|---|---|---|---|",
)


@dataclass
class DepthRequest:
    """A whole request for the depth of a picture.

    Attributes:
        steps: Denoising steps; 0 for the autoencoder's part alone.
        frozen: Whether the picture's branch was computed in the first step only.
        ms: Best of two, in milliseconds.
        error: Of a frozen one: L2 distance of the depth tokens from those of the other, over their norm.
        ratio_to_picture: ms over that of 20 steps of FLUX compiled, which make a picture; None where that was not run.
    """

    steps: int
    frozen: bool
    ms: float
    error: float | None = None
    ratio_to_picture: float | None = None


@dataclass
class Row:
    """What was measured of one mode.

    Attributes:
        mode: Name in `MODES`.
        size: Side of the picture in pixels.
        device: Where it ran.
        ms_per_step: The loop over its steps, in milliseconds.
        images_per_s: Pictures, or pictures with their depth, per second: transformer only, at the steps run.
        first_s: Seconds of the first `FIRST_STEPS` steps, compilation included.
        peak_gib: Peak memory on the card in GiB; None on a CPU.
        error: L2 distance of the final tokens from those of the plain transformer, over how far that moved them, for
            every mode of JointDiT; None for FLUX.
        ratio_to_flux: ms_per_step over that of diffusers' FLUX, eager; None where that was not run.
        ratio_to_flux_compiled: The same over FLUX compiled.
        depth_requests: Whole requests, where asked for.
        kernels: Where asked for, what `list_kernels` gives.
    """

    mode: str
    size: int
    device: str
    ms_per_step: float
    images_per_s: float
    first_s: float
    peak_gib: float | None
    error: float | None
    ratio_to_flux: float | None = None
    ratio_to_flux_compiled: float | None = None
    depth_requests: list[DepthRequest] = field(default_factory=list)
    kernels: list[dict] = field(default_factory=list)


def compare(rows: list[Row], ends: dict[str, torch.Tensor]) -> None:
    """Fill in errors and ratios of one size's rows.

    Args:
        rows: Measured, changed in place.
        ends: What the loop of each mode gave.
    """
    speed = {row.mode: row.ms_per_step for row in rows}
    for row in rows:
        if MODES[row.mode].joint and row.mode != REFERENCE and REFERENCE in ends:
            row.error = float((ends[row.mode] - ends[REFERENCE]).norm() / ends[REFERENCE].norm())
        if BASELINE in speed:
            row.ratio_to_flux = row.ms_per_step / speed[BASELINE]
        if BASELINE_COMPILED in speed:
            row.ratio_to_flux_compiled = row.ms_per_step / speed[BASELINE_COMPILED]
            for request in row.depth_requests:
                request.ratio_to_picture = request.ms / (20 * speed[BASELINE_COMPILED])


def _show(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def format_table(rows: list[Row]) -> str:
    """Lay the rows out for reading.

    Args:
        rows: Measured and compared.

    Returns:
        A Markdown table.
    """
    return "\n".join([*HEAD, *map(format_row, rows)])


def format_row(row: Row) -> str:
    """Lay out one row.

    Args:
        row: Measured and compared, to those that were measured before it at least.

    Returns:
        A line of the table.
    """
    error = "-" if row.error is None else f"{row.error:.1e}{' (approximate)' * MODES[row.mode].approximate}"
    cells = [
        row.mode,
        str(row.size),
        _show(row.ms_per_step, 1),
        _show(row.images_per_s, 3),
        _show(row.first_s, 1),
        _show(row.peak_gib, 1),
        _show(row.ratio_to_flux, 2),
        _show(row.ratio_to_flux_compiled, 2),
        error,
        row.device,
    ]
    return f"| {' | '.join(cells)} |"


def format_requests(rows: list[Row]) -> str:
    """Lay out the whole requests.

    Args:
        rows: Measured and compared.

    Returns:
        A Markdown table.
    """
    lines = [
        "| depth of a picture | px | steps | ms | / FLUX compiled, 20 steps | error |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        for request in row.depth_requests:
            ratio = _show(request.ratio_to_picture, 3)
            error = "-" if request.error is None else f"{request.error:.1e} (approximate)"
            what = f"{row.mode}{', frozen branch' * request.frozen}"
            steps = request.steps or "autoencoder alone"
            lines.append(f"| {what} | {row.size} | {steps} | {request.ms:.1f} | {ratio} | {error} |")
    return "\n".join(lines)


def format_kernels(row: Row) -> str:
    """Lay out the kernels of one row.

    Args:
        row: Measured with its kernels.

    Returns:
        A Markdown table.
    """
    lines = [f"| {row.mode}, {row.size} px: kernel | ms/step | calls/step |", "|---|---|---|"]
    lines += [f"| {kernel['kernel']} | {kernel['ms']:.2f} | {kernel['calls']:.1f} |" for kernel in row.kernels]
    return "\n".join(lines)
