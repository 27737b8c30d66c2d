"""Fast decimal text is what Python's own formatting writes."""

import numpy as np
import pytest

from jointdit_core.geometry import digits

RNG = np.random.default_rng(5)


@pytest.mark.parametrize("scale", [1e-7, 1.0, 300.0, 2e6])
def test_decimals_are_those_of_python(scale):
    values = np.concatenate([RNG.normal(size=500) * scale, [0.0, 9999.9999996, -0.25, 0.9999996]])
    text = digits.lines("v ", digits.decimals(values)).decode().splitlines()
    assert [abs(float(line[2:])) for line in text] == [float(f"{abs(v):.6f}") for v in values]
    assert all(line.startswith("v -") == (v < 0) for line, v in zip(text, values, strict=True))
    assert not any(line[2:].lstrip("-").startswith("00") for line in text)


@pytest.mark.parametrize("most", [9, 9999, 10_000, 99_999_999])
def test_whole_numbers_are_those_of_python(most):
    values = np.concatenate([RNG.integers(0, most + 1, 500), [0, most]])
    text = digits.lines("f ", digits.integers(values), "/", digits.integers(values)).decode()
    assert text == "".join(f"f {value}/{value}\n" for value in values)
