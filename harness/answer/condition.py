"""How the models are asked: the frozen settings that an answer's condition_id stands for.

Enters: settings. Leaves: the same, checked. Light: standard library only.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Decoding:
    """Greedy, or sampling with all its settings named. The same for the base and the fine-tuned model.

    `max_new_tokens` counts the end of the turn. `temperature` > 0 divides the logits, `top_p` in (0, 1] keeps the
    smallest set of tokens that has this much probability, `seed` starts every answer's own generator.

    Raises:
        ConfigError: sampling without temperature or seed, greedy with either, or a value out of range.
    """

    max_new_tokens: int
    do_sample: bool = False
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        problems = []
        if self.max_new_tokens < 1:
            problems.append(f"max_new_tokens must be at least 1, got {self.max_new_tokens}")
        if self.do_sample:
            if self.temperature is None or not self.temperature > 0:
                problems.append(f"sampling needs a temperature above 0, got {self.temperature}")
            if self.seed is None:
                problems.append("sampling needs a seed")
            if self.top_p is not None and not 0 < self.top_p <= 1:
                problems.append(f"top_p must lie in (0, 1], got {self.top_p}")
        elif (self.temperature, self.top_p, self.seed) != (None, None, None):
            problems.append("greedy decoding takes no temperature, top_p or seed")
        if problems:
            raise ConfigError("decoding: " + "; ".join(problems), hint="correct [answer] or [decoding.NAME]")


@dataclass(frozen=True, slots=True)
class Condition:
    """One way of asking. `n0` is the standard one: clean picture, canonical prompt, greedy."""

    condition_id: str
    decoding: Decoding
    prompt: str = "canonical"
    noise: str = "clean"
