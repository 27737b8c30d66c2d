"""Files from the Hugging Face hub: fetched once, at a revision that may be pinned, compared with their checksums."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from tqdm.auto import tqdm

PICKLES = ["*.bin", "*.pt", "*.pth", "*.ckpt", "*.msgpack", "*.h5"]  # never fetched: they could run code, or weigh much
SUMS = "SHA256SUMS"  # beside a local folder's files, as sha256sum writes it
VERIFIED = "jointdit-verified.json"  # what was read through once, in the hub's own folder
AGAIN = "Fetch it again."


def split_revision(source: str) -> tuple[str, str | None]:
    """Split "maker/model@revision".

    Args:
        source: Repository, perhaps with its commit, tag or branch; or a local path, which is left whole.

    Returns:
        The source and the revision, None where there is none.
    """
    name, _, revision = source.rpartition("@")
    return (name, revision) if name and revision and not Path(source).exists() else (source, None)


def fetch(source: str, patterns: list[str], revision: str | None) -> Path:
    """Return a local folder as it is, or fetch a hub repository's files that are not here yet.

    The token is read from HF_TOKEN and from nowhere else. Downloads show their progress and are checked for their size.

    Args:
        source: Folder or repository.
        patterns: Which files of a repository.
        revision: Commit, tag or branch of a repository; None for its newest.

    Returns:
        The folder.

    Raises:
        OSError: It is not to be had; the message is one sentence on what to do.
    """
    if Path(source).is_dir():
        return Path(source)
    token = os.environ.get("HF_TOKEN") or False  # False: not the one that a log-in may have left on the disk
    try:
        found = snapshot_download(
            source, revision=revision, allow_patterns=patterns, ignore_patterns=PICKLES, token=token
        )
    except GatedRepoError as error:  # a kind of RepositoryNotFoundError, so it comes first
        raise OSError(
            f"{source} is open only to those who accepted its licence: accept it at https://huggingface.co/{source}, "
            "then set HF_TOKEN to a token of that account."
        ) from error
    except RevisionNotFoundError as error:
        raise OSError(f"{source} has no revision {revision}.") from error
    except RepositoryNotFoundError as error:
        raise OSError(f"{source} is neither a folder here nor a repository this HF_TOKEN may read.") from error
    except HFValidationError as error:
        raise OSError(f"{source} is neither a folder here nor a repository's name.") from error
    except LocalEntryNotFoundError as error:
        raise OSError(f"{source} is neither a folder here nor all downloaded, and the hub is out of reach.") from error
    except HfHubHTTPError as error:
        raise OSError(f"The hub did not give {source} (status {error.response.status_code}); try again.") from error
    except HTTPError as error:
        raise OSError(
            f"The connection broke while {source} was fetched; start again, what is whole is kept."
        ) from error
    except OSError as error:
        if "Consistency check failed" not in str(error):
            raise
        raise OSError(f"A file of {source} came only in part; start again, what is whole is kept.") from error
    return Path(found)


def verify(folder: Path, files: Iterable[Path]) -> None:
    """Compare files with their SHA-256 sums: the hub's own, or those of `SHA256SUMS` in a local folder.

    Files without a known sum pass. A file is read through once; after that only its size and date are looked at.

    Args:
        folder: As `fetch` gave it.
        files: In that folder.

    Raises:
        OSError: A file is not what it should be; the message names it.
    """
    listed = _listed(folder)
    wanted = {path: _hub_sum(path) or listed.get(path.relative_to(folder).as_posix()) for path in files}
    wanted = {path: total for path, total in wanted.items() if total}
    record = Path(constants.HF_HOME) / VERIFIED
    try:
        seen = json.loads(record.read_bytes())
    except (OSError, ValueError):
        seen = {}
    fresh = {path: total for path, total in wanted.items() if seen.get(str(path.resolve())) != _state(path, total)}
    if not fresh:
        return
    with ThreadPoolExecutor(4) as pool:
        sums = tqdm(pool.map(_sum, fresh), total=len(fresh), desc="Checking files", unit="file")
        for (path, total), found in zip(fresh.items(), sums, strict=True):
            if found != total:
                raise OSError(f"The file {path} is not the one that was published: its SHA-256 differs. {AGAIN}")
    seen |= {str(path.resolve()): _state(path, total) for path, total in fresh.items()}
    with contextlib.suppress(OSError):  # read again next time
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_text(json.dumps(seen))


def _hub_sum(path: Path) -> str | None:
    """The hub's cache names large files by the SHA-256 that the hub tells of them, and links to them."""
    name = path.resolve().name
    return name if path.is_symlink() and re.fullmatch("[0-9a-f]{64}", name) else None


def _listed(folder: Path) -> dict[str, str]:
    """Relative name -> SHA-256, as a local folder lists them."""
    if not (folder / SUMS).is_file():
        return {}
    lines = re.findall(r"^([0-9a-fA-F]{64})[ \t]+\*?(?:\./)?(.+?)\s*$", (folder / SUMS).read_text(), re.MULTILINE)
    return {name: total.lower() for total, name in lines}


def _state(path: Path, total: str) -> list:
    facts = path.stat()
    return [facts.st_size, facts.st_mtime_ns, total]


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
