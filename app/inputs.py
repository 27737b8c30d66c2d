"""Prompts and numbers that a visitor hands in, checked; every refusal is an `InputError` with one plain sentence."""

from __future__ import annotations

import math
import unicodedata

from jointdit_core.decoding import InputError

MAX_PROMPT_CHARS = 1000
MAX_SEED = 2**32 - 1
MAX_STEPS = 100
MAX_VARIANTS = 4


def check_prompt(text: str | None, required: bool = True, max_chars: int = MAX_PROMPT_CHARS) -> str:
    """Check a prompt on the server and make it one line.

    Args:
        text: what the visitor typed.
        required: whether an empty prompt is refused.
        max_chars: largest allowed number of characters.

    Returns:
        The prompt without control characters, white space collapsed.

    Raises:
        InputError: if it is no text, empty though required, or too long.
    """
    if not isinstance(text, str | None):
        raise InputError("The prompt must be text.")
    text = (text or "").strip()
    if len(text) > max_chars:
        raise InputError(f"The prompt has {len(text)} characters; at most {max_chars} are allowed.")
    # Cc: control characters (tabs and line ends are white space); Cs: lone surrogates, which no encoder accepts.
    visible = (c for c in text if c.isspace() or unicodedata.category(c) not in ("Cc", "Cs"))
    text = " ".join("".join(visible).split())
    if required and not text:
        raise InputError("Please type a prompt first.")
    return text


def check_number(name: str, value: float, low: float, high: float, integer: bool = False) -> float:
    """Check a number on the server.

    Args:
        name: what the visitor knows it by, the start of the sentence.
        value: what came.
        low: smallest allowed value.
        high: largest allowed value.
        integer: whether it must be a whole number.

    Returns:
        The value as float, or as int if `integer`.

    Raises:
        InputError: if it is no finite number from `low` to `high`, or not whole though it must be.
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not low <= value <= high or (integer and value != math.floor(value)):
        raise InputError(f"{name} must be a {'whole ' if integer else ''}number from {low:.12g} to {high:.12g}.")
    return int(value) if integer else float(value)


def check_seed(value: float) -> int:
    """Return the seed as int in [0, 2^32), else raise an InputError."""
    return int(check_number("The seed", value, 0, MAX_SEED, integer=True))


def check_steps(value: float, most: int = MAX_STEPS) -> int:
    """Return the number of denoising steps as int in [1, most], else raise an InputError."""
    return int(check_number("The number of steps", value, 1, most, integer=True))


def check_looseness(value: float) -> float:
    """Return the start sigma of what is given as float in [0, 1], else raise an InputError."""
    return check_number("The looseness", value, 0, 1)


def check_guidance(value: float, most: float) -> float:
    """Return the guidance scale as float in [0, most], else raise an InputError."""
    return check_number("The guidance", value, 0, most)


def check_variants(value: float) -> int:
    """Return the number of variants as int in [1, `MAX_VARIANTS`], else raise an InputError."""
    return int(check_number("The number of variants", value, 1, MAX_VARIANTS, integer=True))


def size_name(width: int, height: int) -> str:
    """Return a size as its control holds it."""
    return f"{width}x{height}"


def check_size(value: str, sizes: tuple[tuple[int, int], ...]) -> tuple[int, int]:
    """Return the (width, height) among `sizes` that a control holds, else raise an InputError."""
    known = {size_name(*size): size for size in sizes}
    if not isinstance(value, str) or value not in known:
        raise InputError(f"The size must be one of {', '.join(known)}.")
    return known[value]
