"""P(defective) alone is the P(defective) of an answer, and noise is shown to the model, not to the pool."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.answer import probability
from harness.answer.condition import Condition, Decoding
from harness.answer.generate import answer_batches
from harness.answer.noise import disturb, paraphrase
from harness.answer.probability import VerdictProbability, probability_batches
from harness.answer.verdict import VerdictOpenings
from harness.errors import ConfigError, ModelError
from harness.records import Sample
from harness.score.noise_plan import NoiseLevels, noise_plan
from harness.vlm.batch import open_picture
from harness.vlm.load import Vlm

OPENINGS = VerdictOpenings("The product in the bottom image is passed", "The product in the bottom image is defective")


def _ask(vlm: Vlm, samples: Sequence[Sample], batch_size: int = 4, **settings: Any) -> dict[str, float]:
    batches = probability_batches(vlm, samples, OPENINGS, batch_size=batch_size, **settings)
    return {found.sample_id: found.p_defective for batch in batches for found in batch}


def test_equals_the_answers_own(vlm: Vlm, samples: list[Sample]) -> None:
    condition = Condition("n0", decoding=Decoding(max_new_tokens=2))
    answers = answer_batches(vlm, samples[:6], model_id="m", condition=condition, batch_size=3, openings=OPENINGS)
    wanted = {answer.sample_id: answer.p_defective for batch in answers for answer in batch}
    assert _ask(vlm, samples[:6]) == pytest.approx(wanted, rel=2e-5)


def test_noise_is_that_of_a_picture_so_changed(idefics3: Vlm, samples: list[Sample], tmp_path: Path) -> None:
    """The same pictures, changed beforehand and written to files without loss, give the same probabilities."""
    levels = noise_plan()[3]
    assert levels.value("prompt") == 0
    changed = []
    for sample in samples[:4]:
        path = tmp_path / f"{sample.sample_id}.png"
        disturb(open_picture(sample), levels, sample.sample_id).save(path)
        changed.append(replace(sample, image_path=path))
    found = _ask(idefics3, samples[:4], levels=levels)
    assert found == _ask(idefics3, changed)
    assert found != _ask(idefics3, samples[:4])


def test_a_paraphrased_question_is_asked(idefics3: Vlm, samples: list[Sample]) -> None:
    levels = NoiseLevels((0, 0, 0, 0, 0, 0, 2))
    for template in (None, "Say it in one word. {question}"):
        asked = [replace(sample, question=paraphrase(sample.question, template)) for sample in samples[:4]]
        assert _ask(idefics3, samples[:4], levels=levels, paraphrased=template) == _ask(idefics3, asked)
    assert _ask(idefics3, samples[:4], levels=levels) != _ask(idefics3, samples[:4])


def test_a_batch_that_does_not_fit_is_halved(
    idefics3: Vlm, samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = _ask(idefics3, samples)
    real, told, sizes = probability._ask, [], []

    def small_memory(vlm: Vlm, batch: Sequence[Sample], *rest: Any) -> list[VerdictProbability]:
        if len(batch) > 3:
            raise torch.OutOfMemoryError
        sizes.append(len(batch))
        return real(vlm, batch, *rest)

    monkeypatch.setattr(probability, "_ask", small_memory)
    assert _ask(idefics3, samples, batch_size=11, say=told.append) == pytest.approx(wanted, rel=2e-5)
    assert told == [
        "out of memory with 11 records a batch: going on with 5",
        "out of memory with 5 records a batch: going on with 2",
    ]
    assert max(sizes) == 2


def test_one_record_too_large_is_told(idefics3: Vlm, samples: list[Sample], monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*_: Any) -> list[VerdictProbability]:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(probability, "_ask", no_memory)
    with pytest.raises(ModelError, match=f"record {samples[0].sample_id} alone does not fit"):
        _ask(idefics3, samples[:1])


def test_no_batch_of_none(idefics3: Vlm, samples: list[Sample]) -> None:
    with pytest.raises(ConfigError, match="batch_size must be at least 1, got 0"):
        _ask(idefics3, samples, batch_size=0)
    assert _ask(idefics3, []) == {}
