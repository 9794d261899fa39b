"""Samples become answers, in batches; the base and the fine-tuned model are asked in the same way.

Enters: a Vlm with the adapter that is to answer, samples, a condition. Leaves: RawAnswers, batch by batch.
Rows are padded on the left and sorted by length, the longest first, so that a batch that does not fit the memory shows
at the start; it is then halved, and that is said.
Costs: greedy answers of a row do not depend on its batch in fp32 but for ties; in bf16 rounding differs with the batch,
so a text may. Sampled answers draw from a generator of each (seed, sample, repeat), whatever the batch.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from harness.answer.batches import in_batches
from harness.answer.condition import Condition, Decoding
from harness.answer.decode import decode, decodes
from harness.answer.prefix import CachedPrompts, cached_prompts, read_prompts
from harness.answer.slots import Slots
from harness.answer.verdict import VerdictOpenings, defective_probabilities, longest_opening
from harness.errors import ConfigError
from harness.records import FinishReason, RawAnswer, Sample
from harness.vlm.batch import by_length, prompt_batch, to_device
from harness.vlm.features import picture_features, takes_features
from harness.vlm.fused import kernels_for
from harness.vlm.prompt import prompt_digest

if TYPE_CHECKING:
    import torch

    from harness.vlm.load import Vlm

#: Goes up whenever the same model may answer the same question otherwise; stored answers are then not reused.
ANSWER_VERSION: int = 2

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Text:
    """One generated answer. `new_tokens` counts the end of the turn, but no padding."""

    text: str
    new_tokens: int
    finish_reason: FinishReason


def engine_fingerprint(vlm: Vlm, decoding: Decoding, openings: VerdictOpenings | None) -> dict[str, Any]:
    """Everything beside model, picture and question that an answer depends on; the caller hashes it.

    The device's make is not part of it (answers may move between machines of one type), the batch size neither.
    """
    import torch
    import transformers

    # Kernels round otherwise than PyTorch's operations; where there are none, nothing is said of them.
    tensor = torch.empty(0, dtype=vlm.dtype, device=vlm.device)
    kernels = kernels_for(tensor) if takes_features(vlm) else None
    return ({} if kernels is None else {"kernels": kernels.VERSION}) | {
        "answer_version": ANSWER_VERSION,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "dtype": str(vlm.dtype).removeprefix("torch."),
        "attention": vlm.attention,
        "device": vlm.device.type,
        "prompt": prompt_digest(vlm.processor),
        "stop_token_ids": list(vlm.stop_token_ids),
        "decoding": asdict(decoding),
        "openings": None if openings is None else asdict(openings),
    }


def answer_batches(
    vlm: Vlm,
    samples: Sequence[Sample],
    *,
    model_id: str,
    condition: Condition,
    batch_size: int,
    repeat: int = 0,
    openings: VerdictOpenings | None = None,
    say: Callable[[str], None] = logger.warning,
) -> Iterator[list[RawAnswer]]:
    """Ask the model every sample's question about its picture.

    Which adapter answers is the caller's choice (`use_adapter`), the same to the last batch. Text is the answer without
    special tokens and without white space around it; `new_tokens` counts the end-of-turn token; `finish_reason` is
    "length" where the budget ended before the answer did.

    Args:
        batch_size: records a batch, at most; halved for good when the memory does not hold one.
        repeat: which repetition this is; sampled answers of different repeats differ.
        openings: verdict openings for P(defective); None leaves it out.
        say: told, in one line, when the batch is halved.

    Yields:
        The answers of each batch, in the order in which they were made; they carry their sample_id.

    Raises:
        ConfigError: the condition's prompt or noise is not known here, or batch_size is below 1.
        DataError: a picture cannot be read or the processor refuses it.
        ModelError: one record alone does not fit the memory, or the logits are not finite.
    """
    if condition.prompt != "canonical" or condition.noise != "clean":
        raise ConfigError(
            f"condition {condition.condition_id} is unknown: prompt {condition.prompt!r}, noise {condition.noise!r}",
            hint="the conditions answered here have the canonical prompt and clean pictures",
        )

    slots = Slots()

    def answer(batch: Sequence[Sample]) -> list[RawAnswer]:
        return _answer(vlm, batch, model_id, condition, repeat, openings, slots)

    ordered = sorted(samples, key=by_length(vlm.processor), reverse=True)
    yield from in_batches(vlm, ordered, answer, batch_size=batch_size, say=say)


def _answer(
    vlm: Vlm,
    batch: Sequence[Sample],
    model_id: str,
    condition: Condition,
    repeat: int,
    openings: VerdictOpenings | None,
    slots: Slots,
) -> list[RawAnswer]:
    start = time.perf_counter()
    features = picture_features(vlm, batch) if condition.noise == "clean" else None
    inputs = prompt_batch(vlm.processor, batch, padding_side="left", features=features)
    texts, p_defective = _texts_and_verdicts(vlm, inputs, batch, condition.decoding, repeat, openings, slots)
    prompt_tokens = inputs["attention_mask"].sum(dim=1).tolist()
    seconds = (time.perf_counter() - start) / len(batch)
    now = datetime.now(UTC).replace(tzinfo=None)
    return [
        RawAnswer(
            model_id=model_id,
            sample_id=sample.sample_id,
            condition_id=condition.condition_id,
            repeat=repeat,
            text=text.text,
            p_defective=p,
            prompt_tokens=int(tokens),
            new_tokens=text.new_tokens,
            finish_reason=text.finish_reason,
            seconds=seconds,
            answered_at=now,
        )
        for sample, text, p, tokens in zip(batch, texts, p_defective, prompt_tokens, strict=True)
    ]


def _texts_and_verdicts(
    vlm: Vlm,
    inputs: Mapping[str, Any],
    batch: Sequence[Sample],
    decoding: Decoding,
    repeat: int,
    openings: VerdictOpenings | None,
    slots: Slots,
) -> tuple[list[_Text], list[float | None]]:
    """The answers and P(defective), of prompts that are read once where the model allows it."""
    questions = [sample.question for sample in batch]

    def verdicts(prompts: CachedPrompts | None) -> list[float | None]:
        if openings is None:
            return [None] * len(batch)
        return [*defective_probabilities(vlm, inputs, questions, openings, prompts)]

    device_inputs = to_device(inputs, device=vlm.device, dtype=vlm.dtype)
    processors, budget = _processors(decoding, batch, repeat), decoding.max_new_tokens
    prompts = None
    if decodes(vlm):
        opened = 0 if openings is None else longest_opening(vlm, questions, openings)
        prompts = read_prompts(vlm, device_inputs, slots, answered=budget, opened=opened)
    if prompts is not None:
        p_defective = verdicts(prompts)  # first: the answers use the cache up
        rows = decode(vlm, prompts, budget, _chooser(processors))
    else:
        rows, prompts = _generate(vlm, device_inputs, decoding, processors)
        p_defective = verdicts(prompts)
    return [_read(vlm, row) for row in rows], p_defective


def _processors(decoding: Decoding, batch: Sequence[Sample], repeat: int) -> list[Any]:
    """What turns logits into those whose largest is the next token; nothing where the answer is greedy."""
    from transformers import TemperatureLogitsWarper, TopPLogitsWarper

    if not decoding.do_sample:
        return []
    assert decoding.temperature is not None
    assert decoding.seed is not None
    nucleus = [] if decoding.top_p is None else [TopPLogitsWarper(decoding.top_p)]
    seeds = [_row_seed(decoding.seed, sample.sample_id, repeat) for sample in batch]
    return [TemperatureLogitsWarper(decoding.temperature), *nucleus, _GumbelNoise(seeds)]


def _chooser(processors: Sequence[Any]) -> Callable[[torch.Tensor], torch.Tensor] | None:
    if not processors:
        return None

    def choose(logits: torch.Tensor) -> torch.Tensor:
        for process in processors:
            logits = process(None, logits)
        return logits.argmax(-1)

    return choose


def _generate(
    vlm: Vlm, inputs: Mapping[str, Any], decoding: Decoding, processors: Sequence[Any]
) -> tuple[list[list[int]], CachedPrompts | None]:
    """The answers by transformers' own loop, and what they leave for other continuations of the same prompts."""
    import torch
    import transformers
    from transformers import LogitsProcessorList

    config_class: Any = transformers.GenerationConfig
    config = config_class(
        max_new_tokens=decoding.max_new_tokens,
        do_sample=False,
        use_cache=True,
        eos_token_id=list(vlm.stop_token_ids),
        pad_token_id=vlm.pad_token_id,
        return_dict_in_generate=True,
    )
    with torch.no_grad(), _only_this_config(vlm.base, config):
        output = vlm.base.generate(**inputs, generation_config=config, logits_processor=LogitsProcessorList(processors))
    width = inputs["input_ids"].shape[1]
    prompts = cached_prompts(vlm, inputs, output, answered=decoding.max_new_tokens)
    return output.sequences[:, width:].tolist(), prompts


def _read(vlm: Vlm, row: list[int]) -> _Text:
    """A generated row up to its first stop token; what lies behind is padding."""
    stop = next((place for place, token in enumerate(row) if token in vlm.stop_token_ids), None)
    ids = row if stop is None else row[:stop]
    text = vlm.processor.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return _Text(text.strip(), len(row) if stop is None else stop + 1, "length" if stop is None else "stop")


@contextlib.contextmanager
def _only_this_config(model: Any, config: Any) -> Iterator[None]:
    """generate() fills what a config leaves open from the checkpoint's own, which may hold penalties and sampling
    flags; within the block the checkpoint's is out of the way."""
    own = model.generation_config
    model.generation_config = config
    try:
        yield
    finally:
        model.generation_config = own


def _row_seed(seed: int, sample_id: str, repeat: int) -> int:
    digest = hashlib.sha256(f"{seed}\n{sample_id}\n{repeat}".encode()).digest()
    return int.from_bytes(digest[:8]) >> 1


class _GumbelNoise:
    """Turns the largest-logit rule into sampling: argmax(logits + Gumbel noise) is a draw from softmax(logits).

    So each row can have its own generator, and its answer does not depend on the rows beside it, which
    torch.multinomial over a batch cannot offer. (Gumbel 1954; Maddison et al. 2014, "A* Sampling".)
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        import torch

        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Add noise to `scores` [B, V]."""
        import torch

        # Drawn on the CPU, so that the draws are the same on every device.
        noise = torch.stack(
            [-torch.empty(scores.shape[1]).exponential_(generator=own).log() for own in self.generators]
        )
        return scores.float() + noise.to(scores.device)
