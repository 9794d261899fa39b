"""P(defective): how sure the model is of its verdict, from two continuations of the prompt.

Enters: the prompts of a batch, and the commonest opening of each verdict's training answers, fixed in Define.
Leaves: softmax of the two openings' summed log-probabilities, in [0, 1].
Costs: with the prompts' keys and values at hand (prefix.py) one pass over the tokens of an opening, or two where one
opening says more than the other's last token; else as many passes over prompt and opening. The sum favours the
opening with fewer tokens, which shifts all records alike, so that ranks and a tuned threshold do not suffer. No
sampling setting enters.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.answer.prefix import CachedPrompts
from harness.errors import ModelError
from harness.records import Truth
from harness.vlm.batch import IGNORED, append_completions, to_device
from harness.vlm.prompt import opening_ids

if TYPE_CHECKING:
    from torch import Tensor

    from harness.vlm.load import Vlm


@dataclass(frozen=True, slots=True)
class VerdictOpenings:
    """How an answer of each verdict begins, through the word that states the verdict."""

    passed: str
    defective: str


def choose_openings(answers: Iterable[tuple[str, Truth, int]]) -> VerdictOpenings | None:
    """The commonest opening of each verdict's training answers.

    Args:
        answers: (answer, its truth, end of the verdict word in the answer as a character offset).

    Returns:
        The openings; of equally common ones the shortest, then the first by code points. None where a verdict is absent
        or both begin alike: the caller then needs openings of its own.
    """
    counts: dict[str, Counter[str]] = {"passed": Counter(), "defective": Counter()}
    for text, truth, end in answers:
        if opening := text[:end].strip():
            counts[truth.verdict][opening] += 1
    if not all(counts.values()):
        return None
    passed, defective = (
        min(found, key=lambda opening: (-found[opening], len(opening), opening))
        for found in (counts["passed"], counts["defective"])
    )
    return VerdictOpenings(passed, defective) if passed != defective else None


def longest_opening(vlm: Vlm, questions: Iterable[str], openings: VerdictOpenings) -> int:
    """Tokens of the longest opening behind any of the questions."""
    both = (openings.passed, openings.defective)
    return max(len(opening_ids(vlm.processor, question, opening)) for question in set(questions) for opening in both)


def defective_probabilities(
    vlm: Vlm,
    inputs: Mapping[str, Any],
    questions: Sequence[str],
    openings: VerdictOpenings,
    prompts: CachedPrompts | None = None,
) -> list[float]:
    """P(defective) of each row of a batch of prompts.

    Args:
        inputs: from `prompt_batch`, padded on either side, on the CPU.
        questions: the rows' questions; a chat template may write before an answer what depends on them.
        prompts: their keys and values, as answering left them; None computes the prompts again.

    Raises:
        ModelError: a log-probability is not a number.
    """
    import torch

    # Records mostly ask the same question.
    passed_ids, defective_ids = (
        {question: opening_ids(vlm.processor, question, opening) for question in set(questions)}
        for opening in (openings.passed, openings.defective)
    )
    passed, defective = ([ids[question] for question in questions] for ids in (passed_ids, defective_ids))
    # Openings mostly part at their last word: the pass over the longer one then says all of the other's tokens too.
    longer, shorter = sorted((passed, defective), key=lambda rows: sum(map(len, rows)), reverse=True)
    logits = _logits(vlm, inputs, longer, prompts)
    scores = [_summed(logits, longer)]
    if any(one[: len(other) - 1] != other[:-1] for one, other in zip(longer, shorter, strict=True)):
        logits = _logits(vlm, inputs, shorter, prompts)
    scores.append(_summed(logits, shorter))
    if longer is defective:
        scores.reverse()
    probabilities = torch.stack(scores, dim=-1).softmax(-1)[:, 1]
    if not torch.isfinite(probabilities).all():
        raise ModelError(
            f"{vlm.model_ref} gives no verdict probability: its logits are not finite",
            hint="load it in another dtype: --set model.dtype=fp32",
        )
    return [float(p) for p in probabilities]


def log_probabilities(
    vlm: Vlm,
    inputs: Mapping[str, Any],
    continuations: Sequence[Sequence[int]],
    prompts: CachedPrompts | None = None,
) -> Tensor:
    """Summed log-probability of each row's continuation after its prompt, teacher-forced.

    Returns:
        float32 [B] on the CPU, in nats. The log-softmax runs in fp32 over the whole vocabulary, whatever the dtype.
    """
    return _summed(_logits(vlm, inputs, continuations, prompts), continuations)


def _logits(
    vlm: Vlm, inputs: Mapping[str, Any], continuations: Sequence[Sequence[int]], prompts: CachedPrompts | None
) -> Tensor:
    """[B, K, V]: row by row what the model expects at each place of the continuation; K is the longest one's length."""
    import torch

    if prompts is not None and (prompts.room is None or max(map(len, continuations)) <= prompts.room):
        return prompts.logits(vlm, continuations)
    batch = append_completions(inputs, continuations, pad_token_id=vlm.pad_token_id)
    labels = batch.pop("labels")
    # The logits at place t speak of the token at t + 1.
    wanted = labels[:, 1:] != IGNORED
    places = wanted.any(dim=0).nonzero().squeeze(1)
    device_inputs = to_device(batch, device=vlm.device, dtype=vlm.dtype)
    # With a vocabulary of 32,000 and prompts of 1,000 tokens, logits at every place would take 128 MB a row.
    only = "logits_to_keep" in inspect.signature(vlm.base.forward).parameters
    kept = {"logits_to_keep": places.to(vlm.device)} if only else {}
    with torch.no_grad():
        logits: Tensor = vlm.base(**device_inputs, use_cache=False, **kept).logits
    if not only:
        logits = logits[:, places.to(vlm.device)]
    first = wanted[:, places].int().argmax(dim=1)
    longest = max(map(len, continuations))
    rows = (first.unsqueeze(1) + torch.arange(longest)).clamp(max=len(places) - 1)
    return logits[torch.arange(len(first)).unsqueeze(1), rows.to(vlm.device)]


def _summed(logits: Tensor, continuations: Sequence[Sequence[int]]) -> Tensor:
    """float32 [B] on the CPU: the continuations' log-probabilities, summed; logits are [B, K, V]."""
    import torch

    longest = max(map(len, continuations))
    targets = torch.full((len(continuations), longest), IGNORED)
    for row, tokens in enumerate(continuations):
        targets[row, : len(tokens)] = torch.tensor(tokens)
    targets = targets.to(logits.device)
    logs = logits[:, :longest].float().log_softmax(-1).gather(-1, targets.clamp(min=0).unsqueeze(-1)).squeeze(-1)
    return logs.masked_fill(targets == IGNORED, 0.0).sum(-1).cpu()
