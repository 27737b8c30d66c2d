"""Time the transformer in every mode against diffusers' FLUX: `python -m jointdit_core.benchmark`.

Weights are random: the time of a step does not depend on them, but for a first-block cache, which skips by what it
sees and finds nothing to skip in a random network (its error is then that of rounding, its time that of looking). An
approximate mode's error does depend on them: read it as a check of the mode, not as what happens to pictures.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from accelerate import init_empty_weights
from diffusers import FluxTransformer2DModel, ModelMixin

from .denoise import denoise
from .encode import PromptEmbeds, image_ids, text_ids
from .model.fp8 import quantize_float8
from .model.fused import fuse_projections
from .model.transformer import JointDiTTransformer2DModel
from .speed import speed_up

FULL = {"guidance_embeds": True}
TINY = {
    **FULL,
    "in_channels": 16,
    "num_layers": 2,
    "num_single_layers": 3,
    "attention_head_dim": 32,
    "num_attention_heads": 2,
    "joint_attention_dim": 32,
    "pooled_projection_dim": 32,
    "axes_dims_rope": (8, 12, 12),
}
TEXT_TOKENS = 512
PIXELS_PER_LATENT = 8
GUIDANCE = 3.5


@dataclass(frozen=True)
class Mode:
    """One row of the table.

    Attributes:
        joint: JointDiT rather than diffusers' FLUX.
        fuse: None, or `merge_lora` of `fuse_projections`.
        float8: Linears in float8.
        compiled: Repeated blocks compiled.
        cache: A name in `speed.CACHES`, or None.
        text_tokens: T5 tokens read.
        approximate: Whether the result differs by more than rounding, so that its error is to be told.
    """

    joint: bool = True
    fuse: bool | None = None
    float8: bool = False
    compiled: bool = False
    cache: str | None = None
    text_tokens: int = TEXT_TOKENS
    approximate: bool = False


REFERENCE, BASELINE, BASELINE_COMPILED = "plain", "flux", "flux-compiled"
MODES = {
    BASELINE: Mode(joint=False),
    BASELINE_COMPILED: Mode(joint=False, compiled=True),
    REFERENCE: Mode(),
    "plain-compiled": Mode(compiled=True),
    "fused": Mode(fuse=False),
    "fused-compiled": Mode(fuse=False, compiled=True),
    "merged": Mode(fuse=True),
    "merged-compiled": Mode(fuse=True, compiled=True),
    "text256-compiled": Mode(fuse=False, compiled=True, text_tokens=256, approximate=True),
    "float8": Mode(fuse=False, float8=True, approximate=True),
    "float8-compiled": Mode(fuse=False, float8=True, compiled=True, approximate=True),
    "first-block-cache": Mode(fuse=False, cache="first-block", approximate=True),
    "taylorseer": Mode(fuse=False, cache="taylorseer", approximate=True),
    "float8-compiled-taylorseer": Mode(fuse=False, float8=True, compiled=True, cache="taylorseer", approximate=True),
    "float8-compiled-first-block-cache": Mode(
        fuse=False, float8=True, compiled=True, cache="first-block", approximate=True
    ),
}


@dataclass
class Row:
    """What was measured of one mode.

    Attributes:
        mode: Name in `MODES`.
        size: Side of the picture in pixels.
        device: Where it ran.
        ms_per_step: Best whole loop over its steps, in milliseconds.
        images_per_s: Pictures, or pictures with their depth, per second: transformer only, at the steps run.
        first_s: Seconds of the first loop, compilation included.
        peak_gib: Peak memory on the card in GiB; None on a CPU.
        error: L2 distance of the final tokens from those of the plain transformer, over how far that moved them, for
            every mode of JointDiT; None for FLUX.
        ratio_to_flux: ms_per_step over that of diffusers' FLUX, eager; None where that was not run.
        ratio_to_flux_compiled: The same over FLUX compiled.
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


def build(config: dict, joint: bool, device: torch.device, dtype: torch.dtype) -> ModelMixin:
    """Build a transformer of seeded random weights on the device, with no copy elsewhere.

    Args:
        config: Of `FluxTransformer2DModel`.
        joint: JointDiT rather than FLUX.
        device: Where.
        dtype: Of all weights.

    Returns:
        The transformer in evaluation mode; the same call gives the same weights.
    """
    with init_empty_weights():
        model = (JointDiTTransformer2DModel if joint else FluxTransformer2DModel)(**config)
    # The plain `to`: diffusers' own warns of modules to keep in float32, of which FLUX has none.
    torch.nn.Module.to(model, dtype)
    model = model.to_empty(device=device).eval().requires_grad_(False)
    generator = torch.Generator(device).manual_seed(0)
    for name, parameter in model.named_parameters():
        if ".norm_" in name and parameter.ndim == 1 and "linear" not in name:
            parameter.fill_(1.0)
        else:
            parameter.normal_(std=parameter.shape[-1] ** -0.5, generator=generator)  # keeps the scale of activations
    return model


def prepare(model: ModelMixin, mode: Mode) -> None:
    """Bring a transformer into a mode.

    Args:
        model: From `build`, changed in place.
        mode: The mode.
    """
    if mode.fuse is not None:
        fuse_projections(model, merge_lora=mode.fuse)
    if mode.float8:
        quantize_float8(model)
    speed_up(model, mode.compiled, mode.cache)


def make_loop(model: ModelMixin, mode: Mode, size: int, steps: int) -> Callable[[], torch.Tensor]:
    """Make the denoising loop to be timed.

    Args:
        model: In its mode.
        mode: The mode.
        size: Side in pixels.
        steps: Denoising steps.

    Returns:
        A function that runs the loop from the same noise and gives how far it moved the tokens: rgb's and, of JointDiT,
        depth's.
    """
    config, device = model.config, model.device
    generator = torch.Generator().manual_seed(0)
    side = size // PIXELS_PER_LATENT
    ids = image_ids(side, side).to(device)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator).to(device)

    start_rgb, start_depth = (draw(1, len(ids), config.in_channels) for _ in range(2))
    pooled, text = draw(1, config.pooled_projection_dim), draw(1, TEXT_TOKENS, config.joint_attention_dim)
    text = text[:, : mode.text_tokens]
    sigmas = torch.linspace(1, 0, steps + 1).tolist()

    @torch.no_grad()
    def run_joint() -> torch.Tensor:
        embeds = PromptEmbeds(pooled=pooled, tokens=text)
        with model.cache_context("benchmark"):
            ends = denoise(model, start_rgb, start_depth, sigmas, sigmas, ids, embeds, None, GUIDANCE, lambda *_: None)
        return torch.cat(ends) - torch.cat([start_rgb, start_depth])

    @torch.no_grad()
    def run_flux() -> torch.Tensor:
        tokens = start_rgb
        for sigma, following in zip(sigmas[:-1], sigmas[1:], strict=True):
            v = model(
                hidden_states=tokens.to(model.dtype),
                encoder_hidden_states=text.to(model.dtype),
                pooled_projections=pooled.to(model.dtype),
                timestep=tokens.new_full((1,), sigma),
                img_ids=ids,
                txt_ids=text_ids(text.shape[1]).to(device),
                guidance=tokens.new_full((1,), GUIDANCE),
            ).sample
            tokens = tokens + (following - sigma) * v.float()
        return tokens - start_rgb

    return run_joint if mode.joint else run_flux


def measure(
    name: str, config: dict, size: int, steps: int, device: torch.device, dtype: torch.dtype
) -> tuple[Row, torch.Tensor]:
    """Build, run and time one mode.

    Args:
        name: In `MODES`.
        config: Of the transformer.
        size: Side in pixels.
        steps: Denoising steps.
        device: Where.
        dtype: Of the weights.

    Returns:
        The row, without what compares it to others, and what the loop gave, on the CPU.
    """
    mode, on_card = MODES[name], device.type == "cuda"
    gc.collect()
    torch._dynamo.reset()
    model = build(config, mode.joint, device, dtype)
    prepare(model, mode)
    if on_card:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    loop, times = make_loop(model, mode, size, steps), []
    for _ in range(3):
        if mode.cache is not None:
            model._reset_stateful_cache()
        began = time.perf_counter()
        end = loop().cpu()  # waits for the card
        times.append(time.perf_counter() - began)
    step_s = min(times[1:]) / steps
    row = Row(
        mode=name,
        size=size,
        device=torch.cuda.get_device_name(device) if on_card else "CPU",
        ms_per_step=step_s * 1000,
        images_per_s=1 / (step_s * steps),
        first_s=times[0],
        peak_gib=torch.cuda.max_memory_allocated(device) / 2**30 if on_card else None,
        error=None,
    )
    return row, end


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


def format_table(rows: list[Row]) -> str:
    """Lay the rows out for reading.

    Args:
        rows: Measured and compared.

    Returns:
        A Markdown table.
    """

    def show(value: float | None, digits: int) -> str:
        return "-" if value is None else f"{value:.{digits}f}"

    lines = [
        "| mode | px | ms/step | images/s | first loop s | peak GiB | / FLUX eager | / FLUX compiled | error | on |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        error = "-" if row.error is None else f"{row.error:.1e}{' (approximate)' * MODES[row.mode].approximate}"
        cells = [
            row.mode,
            str(row.size),
            show(row.ms_per_step, 1),
            show(row.images_per_s, 3),
            show(row.first_s, 1),
            show(row.peak_gib, 1),
            show(row.ratio_to_flux, 2),
            show(row.ratio_to_flux_compiled, 2),
            error,
            row.device,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line.

    Args:
        arguments: Without the program's name.

    Returns:
        The options.
    """
    parser = argparse.ArgumentParser(prog="python -m jointdit_core.benchmark", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=None, help="sides in pixels; default: 512 1024")
    parser.add_argument("--steps", type=int, default=20, help="denoising steps of a loop (default: 20)")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES), help="rows to measure; default: all")
    parser.add_argument("--device", default=None, help="cpu or cuda; default: cuda if there is one")
    parser.add_argument("--tiny", action="store_true", help="a network of a few thousand weights, to try the command")
    parser.add_argument("--json", type=Path, default=Path("benchmark.json"), help="where to write the rows")
    options = parser.parse_args(arguments)
    options.device = torch.device(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if options.device.type == "cpu" and not options.tiny:
        parser.error("the full-size model needs a GPU with 40 GiB free; --tiny tries the command on a CPU")
    if options.steps < 2 or any(size < 16 or size % 16 for size in options.sizes or []):
        parser.error("--steps must be at least 2 and --sizes multiples of 16")
    options.sizes = options.sizes or ([64] if options.tiny else [512, 1024])
    return options


def main(arguments: list[str]) -> None:
    """Measure, print the table, write the JSON.

    Args:
        arguments: Without the program's name.
    """
    options = parse(arguments)
    config = TINY if options.tiny else FULL
    dtype = torch.float32 if options.device.type == "cpu" else torch.bfloat16
    about = {
        "network": "tiny" if options.tiny else "full size",
        "weights": "random",
        "dtype": str(dtype).removeprefix("torch."),
        "steps": options.steps,
        "torch": torch.__version__,
    }
    done: list[Row] = []
    for size in options.sizes:
        rows, ends = [], {}
        for name in options.modes:
            sys.stderr.write(f"{name}, {size} px ...\n")
            try:
                row, ends[name] = measure(name, config, size, options.steps, options.device, dtype)
            except torch.OutOfMemoryError:
                sys.stderr.write(f"{name}, {size} px: not enough memory on this card, left out\n")
                continue
            rows.append(row)
            compare(rows, ends)
            # Row by row, so that a run cut short keeps what it measured.
            content = {**about, "rows": [asdict(row) for row in [*done, *rows]]}
            options.json.write_text(json.dumps(content, indent=1) + "\n")
        done += rows
    sys.stdout.write(format_table(done) + "\n\n")
    sys.stdout.write(f"All rows measured in this run: {', '.join(f'{key} {value}' for key, value in about.items())}.\n")


if __name__ == "__main__":
    main(sys.argv[1:])
