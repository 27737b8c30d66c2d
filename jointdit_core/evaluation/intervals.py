"""Means with their confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def mean_and_ci(values: Sequence[float]) -> tuple[float, float]:
    """Average independent values.

    Args:
        values: Any number.

    Returns:
        The mean and the half-width of its 95 % confidence interval; NaN where there are too few for it.
    """
    if len(values) < 2:
        return float(values[0]) if len(values) else math.nan, math.nan
    return float(np.mean(values)), float(1.96 * np.std(values, ddof=1) / math.sqrt(len(values)))
