"""The command `ranking`: which of several models' pictures for the same prompts ImageReward prefers."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch
from PIL import Image
from tqdm.auto import tqdm

from . import reward
from .generation import read_prompts
from .paper import RANKING


def add_ranking(parser: argparse.ArgumentParser) -> None:
    """Add the options of `ranking`."""
    parser.add_argument("--made", type=Path, nargs="+", required=True, metavar="FOLDER", help="`generation --out`s")
    parser.add_argument("--prompts", type=Path, required=True, help="the list they were made for")
    parser.add_argument("--reward", type=Path, required=True, help="ImageReward.pt, as published")
    parser.add_argument("--tokenizer", default="google-bert/bert-base-uncased", help="(default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=16, help="(default: %(default)s)")
    parser.add_argument("--limit", type=int, help="only the first prompts")
    parser.add_argument("--out", type=Path, required=True, help="folder for table and JSON")


def ranking(args: argparse.Namespace) -> None:
    """Run `ranking`."""
    first = args.prompts.read_text(encoding="utf-8").lstrip().partition("\n")[0]
    prompts = [prompt.text for prompt in read_prompts(args.prompts, "\t" in first)][: args.limit]
    files = [[folder / "pictures" / f"{i:06d}.png" for i in range(len(prompts))] for folder in args.made]
    if missing := [file for column in files for file in column if not file.is_file()]:
        raise ValueError(f"{missing[0]} is missing, as {len(missing)} pictures are; let `generation` make them first")
    network = reward.load_reward(args.reward).to("cuda" if torch.cuda.is_available() else "cpu")
    scores = torch.stack([_score(network, args, column, prompts) for column in files]).numpy()  # (n, B)
    shares = reward.rank_shares(scores)
    rows = [
        {"folder": str(folder), "reward": float(own.mean()), "ranks": share.tolist()}
        for folder, own, share in zip(args.made, scores, shares, strict=True)
    ]
    args.out.mkdir(parents=True, exist_ok=True)
    table = ranking_table(rows)
    (args.out / "ranking.json").write_text(json.dumps({"pictures": len(prompts), "rows": rows}, indent=1))
    (args.out / "ranking.md").write_text(table + "\n")
    sys.stdout.write(table + "\n")


def _score(
    network: reward.ImageReward, args: argparse.Namespace, files: list[Path], prompts: list[str]
) -> torch.Tensor:
    """Rewards (B,) of one folder's pictures."""
    parts = []
    for i in tqdm(range(0, len(files), args.batch_size), desc=str(files[0].parent.parent), unit="batch"):
        images = []
        for file in files[i : i + args.batch_size]:
            try:
                with Image.open(file) as stored:
                    images.append(stored.convert("RGB"))
            except Exception as error:  # decoders raise nearly anything on damaged data
                raise OSError(f"the picture {file} is damaged: {error}") from error
        parts.append(reward.rewards(network, args.tokenizer, images, prompts[i : i + args.batch_size]))
    return torch.cat(parts)


def ranking_table(rows: list[dict]) -> str:
    """Set the shares of ranks beside the paper's, which rank the four forms of its ablation.

    Args:
        rows: As the command's JSON holds them.

    Returns:
        Markdown.
    """
    columns = max(len(rows), 4)
    titles = " | ".join(f"rank {i + 1} %" for i in range(columns))
    lines = [f"| pictures | mean reward ↑ | {titles} |", "|---" * (columns + 2) + "|"]

    def line(name: str, mean: str, shares: list[float]) -> str:
        cells = [f"{share:.2f}" for share in shares] + ["—"] * (columns - len(shares))
        return f"| {name} | {mean} | " + " | ".join(cells) + " |"

    lines += [line(f"{form} (paper, of four)", "—", shares) for form, shares in RANKING.items()]
    return "\n".join([*lines, *(line(f"**{r['folder']}**", f"{r['reward']:.3f}", r["ranks"]) for r in rows)])
