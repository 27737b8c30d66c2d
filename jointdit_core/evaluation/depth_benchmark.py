"""Depth estimation on the benchmarks of the paper's Table 1, and the table with our row in it.

Letters: H x W pixels.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm

from ..geometry.disparity import normalise_disparity
from ..pipeline import JointDiTPipeline
from .datasets import DATASETS, DepthDataset, Fault, Pair, Sample, find_pairs, read_sample
from .depth_metrics import DepthMetrics, depth_metrics
from .intervals import mean_and_ci
from .mini import SHEET_COLUMNS, SHEET_ROWS, sheet
from .paper import DEPTH, DEPTH_DATASETS

SHEET_WIDTH = 256  # of a picture on a sheet, in pixels
READERS = 2  # processes that read ahead


@dataclass(frozen=True)
class BenchmarkRow:
    """Means over a data set's images in percent, with the half-width of their 95 % confidence interval.

    Attributes:
        crop: What of each image counts, "" for all.
        images: How many were measured.
        abs_rel: Mean AbsRel.
        abs_rel_ci: Half-width of its interval.
        delta1: Mean delta1.
        delta1_ci: Half-width of its interval.
    """

    crop: str
    images: int
    abs_rel: float
    abs_rel_ci: float
    delta1: float
    delta1_ci: float


@dataclass(frozen=True)
class Benchmark:
    """What one run measured.

    Attributes:
        dataset: A name in `DATASETS`.
        steps: Denoising steps.
        rows: One a crop, the paper's first.
        per_image: Picture -> crop -> (AbsRel, delta1) in percent.
        faults: Files that were left out, each with its reason.
    """

    dataset: str
    steps: int
    rows: list[BenchmarkRow]
    per_image: dict[str, dict[str, tuple[float, float]]]
    faults: list[Fault]


class _Samples(Dataset):
    """Pairs read in worker processes."""

    def __init__(self, dataset: DepthDataset, folder: Path, pairs: list[Pair]):
        self.dataset, self.folder, self.pairs = dataset, folder, pairs

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[int, Sample | Fault]:
        return index, read_sample(self.dataset, self.folder, self.pairs[index])


def benchmark_depth(
    pipe: JointDiTPipeline,
    name: str,
    folder: Path,
    steps: int,
    batch_size: int,
    listing: Path | None = None,
    limit: int | None = None,
) -> tuple[Benchmark, Image.Image]:
    """Estimate depth on a data set and compare it with the truth, affine-invariantly.

    Args:
        pipe: The model.
        name: A name in `DATASETS`.
        folder: Where the data set lies.
        steps: Denoising steps.
        batch_size: Pictures at once; only neighbours of equal size share a batch.
        listing: File list in Marigold's form, or None for the whole folder.
        limit: Measure this many pairs from the start; None for all.

    Returns:
        The measurement, and a sheet of pictures, true and estimated disparity.

    Raises:
        OSError: The folder or list is not there.
        ValueError: There is no pair, or none could be measured; the message names what is wrong with the first files.
    """
    dataset = DATASETS[name]
    pairs, faults = find_pairs(dataset, folder, listing)
    pairs = pairs[:limit]
    measured: dict[str, dict[str, DepthMetrics]] = {}
    shown: list[list] = [[], [], []]
    loader = DataLoader(_Samples(dataset, folder, pairs), batch_size=None, num_workers=READERS)
    with tqdm(total=len(pairs), desc=dataset.title, unit="image") as bar:
        for batch in _equal_sizes(loader, batch_size, faults, bar):
            indices, samples = zip(*batch, strict=True)
            images = [sample.image for sample in samples]
            # Each picture has the seed of its place in the list, so results do not depend on the batches.
            maps = pipe.depth_estimation(images, [" "] * len(images), num_inference_steps=steps, seed=list(indices))
            for index, sample, disparity in zip(indices, samples, maps.disparity, strict=True):
                measured[pairs[index].image] = {
                    crop: depth_metrics(disparity, sample.depth, valid, dataset.depth_range, dataset.fit_side)
                    for crop, valid in sample.valid.items()
                }
                if len(shown[0]) < SHEET_ROWS * SHEET_COLUMNS:
                    _show(shown, sample, disparity)
            bar.update(len(batch))
    if not measured:
        named = "; ".join(f"{fault.file}: {fault.reason}" for fault in faults[:3])
        raise ValueError(f"no pair of {dataset.title} in {folder} could be measured ({len(faults)} faults). {named}")
    rows = [_row(crop, [metrics[crop] for metrics in measured.values()]) for crop in dataset.crops]
    per_image = {
        image: {crop: (m.abs_rel, m.delta1) for crop, m in metrics.items()} for image, metrics in measured.items()
    }
    return Benchmark(name, steps, rows, per_image, faults), sheet(shown)


def _equal_sizes(
    loader: DataLoader, batch_size: int, faults: list[Fault], bar: tqdm
) -> Iterator[list[tuple[int, Sample]]]:
    """Gather neighbours of one size; faults go into their list."""
    batch: list[tuple[int, Sample]] = []
    for index, read in loader:
        if isinstance(read, Fault):
            faults.append(read)
            bar.update()
            continue
        if batch and (len(batch) == batch_size or batch[0][1].image.size != read.image.size):
            yield batch
            batch = []
        batch.append((index, read))
    if batch:
        yield batch


def _row(crop: str, metrics: list[DepthMetrics]) -> BenchmarkRow:
    abs_rel, delta1 = ([getattr(m, name) for m in metrics] for name in ("abs_rel", "delta1"))
    return BenchmarkRow(crop, len(metrics), *mean_and_ci(abs_rel), *mean_and_ci(delta1))


def _show(columns: list[list], sample: Sample, disparity: np.ndarray) -> None:
    """Add a picture, its true and its estimated disparity, all of the first picture's shape, to a sheet's columns."""
    first = columns[0][0].size if columns[0] else sample.image.size
    size = SHEET_WIDTH, round(SHEET_WIDTH * first[1] / first[0])
    known = np.any(list(sample.valid.values()), axis=0)
    true = np.zeros(known.shape, np.float32)
    true[known] = normalise_disparity(1 / sample.depth[known][None])[0]
    columns[0].append(sample.image.resize(size))
    # Scattered points of a laser would vanish between the pixels of a small map, so the truth takes their largest.
    columns[1].append(_largest(true, size))
    columns[2].append(np.asarray(Image.fromarray(disparity).resize(size, Image.Resampling.BILINEAR)))


def _largest(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Scale a map (H, W) down to (width, height), taking the largest value in each cell."""
    width, height = size
    rows, columns = np.arange(height) * values.shape[0] // height, np.arange(width) * values.shape[1] // width
    if height >= values.shape[0] or width >= values.shape[1]:
        return values[rows[:, None], columns]
    return np.maximum.reduceat(np.maximum.reduceat(values, rows, axis=0), columns, axis=1)


def save_benchmark(benchmark: Benchmark, picture: Image.Image, model: str, out: Path) -> str:
    """Write a measurement's JSON and sheet, and the table of all that this model has in the folder.

    Args:
        benchmark: The measurement.
        picture: Its sheet.
        model: What was measured, for the files.
        out: Folder for depth-<data set>.json and .png, and depth.md.

    Returns:
        The table as Markdown.
    """
    out.mkdir(parents=True, exist_ok=True)
    stem = f"depth-{benchmark.dataset}"
    (out / f"{stem}.json").write_text(json.dumps({"model": model, **asdict(benchmark)}, indent=1))
    picture.save(out / f"{stem}.png")
    files = [out / f"depth-{name}.json" for name in DEPTH_DATASETS]
    found = [json.loads(file.read_text()) for file in files if file.exists()]
    table = depth_table([run for run in found if (run["model"], run["steps"]) == (model, benchmark.steps)])
    (out / "depth.md").write_text(table + "\n")
    return table


def depth_table(runs: list[dict]) -> str:
    """Set the paper's Table 1 with our row last, of the data sets that were measured.

    Args:
        runs: The JSON of measurements of one model, by different data sets.

    Returns:
        Markdown; below the table, other crops, and what was left out.
    """
    names = [run["dataset"] for run in runs]
    titles = " | ".join(f"{DATASETS[name].title}: AbsRel ↓ | delta1 ↑" for name in names)
    lines = [f"| method | {titles} |", "|---" * (1 + 2 * len(names)) + "|"]
    for method, figures in DEPTH.items():
        cells = [f"{figures[name][0]} | {figures[name][1]}" if name in figures else "— | —" for name in names]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    cells = [f"{_cell(run['rows'][0], 'abs_rel')} | {_cell(run['rows'][0], 'delta1')}" for run in runs]
    lines.append(f"| **{runs[0]['model']}, {runs[0]['steps']} steps** | " + " | ".join(cells) + " |")
    notes = []
    for run in runs:
        title, left_out = DATASETS[run["dataset"]].title, len(run["faults"])
        notes.append(f"{title}: {run['rows'][0]['images']} images measured, {left_out} left out.")
        notes += [
            f"{title} with the {row['crop']} crop: AbsRel {_cell(row, 'abs_rel')}, delta1 {_cell(row, 'delta1')}."
            for row in run["rows"][1:]
        ]
    return "\n".join([*lines, "", *notes])


def _cell(row: dict, key: str) -> str:
    return f"{row[key]:.1f} ± {row[f'{key}_ci']:.1f}"
