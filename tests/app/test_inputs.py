"""Words and numbers: checked on the server, refused in one plain sentence."""

import pytest

from app import inputs
from tests.app.uploads import refused


def test_prompts_become_one_clean_line():
    assert (
        inputs.check_prompt("  a red\tball,\r\n left\x00 of\x1b[31m \ud800a cube ") == "a red ball, left of[31m a cube"
    )
    assert inputs.check_prompt("ein Würfel 🎲 赤い") == "ein Würfel 🎲 赤い"
    assert inputs.check_prompt(None, required=False) == inputs.check_prompt(" \n", required=False) == ""
    assert len(inputs.check_prompt("a" * 1000)) == 1000


@pytest.mark.parametrize("text", [None, "", "  \n\t", "\x00\x07"])
def test_empty_prompts_are_refused(text):
    assert refused(inputs.check_prompt, text) == "Please type a prompt first."


def test_long_and_odd_prompts_are_refused():
    assert refused(inputs.check_prompt, "a" * 1001) == "The prompt has 1001 characters; at most 1000 are allowed."
    assert "must be text" in refused(inputs.check_prompt, ["a"])


def test_good_numbers_come_back_in_their_type():
    assert inputs.check_seed(7.0) == 7 and isinstance(inputs.check_seed(7.0), int)
    assert inputs.check_seed(2**32 - 1) == 2**32 - 1
    assert inputs.check_steps(1) == 1 and inputs.check_guidance(3, 20) == 3.0
    assert isinstance(inputs.check_guidance(3, 20), float)
    assert inputs.check_number("Field of view", 5, 5, 150) == 5


@pytest.mark.parametrize("value", [None, "7", float("nan"), float("inf"), -1, 2**32, 0.5, True, [1], 10**400])
def test_bad_seeds_are_refused(value):
    assert refused(inputs.check_seed, value) == "The seed must be a whole number from 0 to 4294967295."


def test_bad_numbers_are_refused():
    assert refused(inputs.check_steps, 0) == "The number of steps must be a whole number from 1 to 100."
    assert refused(inputs.check_steps, 51, 50).endswith("from 1 to 50.")
    assert refused(inputs.check_guidance, 6.5, 6) == "The guidance must be a number from 0 to 6."
    assert refused(inputs.check_guidance, float("nan"), 20)
