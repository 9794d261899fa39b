"""Decodings that make sense, and those that do not."""

from __future__ import annotations

from typing import Any

import pytest

from harness.answer.condition import Condition, Decoding
from harness.errors import ConfigError


def test_the_standard_condition() -> None:
    condition = Condition("n0", decoding=Decoding(max_new_tokens=128))
    assert (condition.prompt, condition.noise, condition.decoding.do_sample) == ("canonical", "clean", False)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens must be at least 1, got 0"),
        ({"do_sample": True, "seed": 1}, "needs a temperature above 0, got None"),
        ({"do_sample": True, "seed": 1, "temperature": 0.0}, "needs a temperature above 0, got 0.0"),
        ({"do_sample": True, "temperature": 0.3}, "sampling needs a seed"),
        ({"do_sample": True, "temperature": 0.3, "seed": 1, "top_p": 1.5}, r"top_p must lie in \(0, 1\], got 1.5"),
        ({"temperature": 0.3}, "greedy decoding takes no temperature"),
        ({"seed": 1}, "greedy decoding takes no temperature, top_p or seed"),
    ],
)
def test_decodings_that_contradict_themselves(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Decoding(**({"max_new_tokens": 8} | settings))
