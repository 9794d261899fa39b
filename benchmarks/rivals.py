"""The seed's loop and TRL's, as their users write them, on the same native model class, records and targets.

Enters: a checkpoint's folder and samples. Leaves: seconds by step, evaluation, save and answer. Each run loads a model
of its own and leaves none behind. What costs no time is set alike for all, so that the losses can be compared: LoRA
rank and targets, learning rate 1e-4 constant, weight decay, the order of the records, one log a step.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from PIL import Image
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

from benchmarks.gpu import Clock, now, peak_memory, say
from harness.records import Sample
from harness.train.recipe import TrainRecipe
from harness.vlm.phi3v import register

#: the seed's accumulation, and how often it evaluates and saves, in steps
SEED_STEP, SEED_EVERY = 6, 10


class PictureCollator:
    """The image collator of TRL's cookbook: pictures are opened and cut, texts written and padded, batch by batch.

    The prompt is masked, so that the targets are those that harness trains on; the cookbook trains on prompts too.
    """

    def __init__(self, processor: Any) -> None:
        self.processor = processor
        self.answer_begins = processor.tokenizer.convert_tokens_to_ids("<|assistant|>")

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """`input_ids`, `attention_mask` and `labels` [B, L], and the pictures' pixels."""
        texts = []
        for row in rows:
            question = [{"type": "image"}, {"type": "text", "text": row["question"]}]
            turns = [{"role": "user", "content": question}, {"role": "assistant", "content": row["answer"]}]
            texts.append(self.processor.apply_chat_template(turns, tokenize=False).rstrip())
        pictures = [[Image.open(row["image"]).convert("RGB")] for row in rows]
        batch = self.processor(text=texts, images=pictures, padding=True, padding_side="right", return_tensors="pt")
        labels = batch["input_ids"].clone()
        labels[batch["attention_mask"] == 0] = -100
        for row, ids in zip(labels, batch["input_ids"], strict=True):
            row[: int((ids == self.answer_begins).nonzero()[-1]) + 1] = -100
        return {**batch, "labels": labels}


def rows_of(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """What a data set of pictures holds."""
    return [{"image": str(s.image_path), "question": s.question, "answer": s.reference} for s in samples]


class _Marks(TrainerCallback):  # type: ignore[misc, unused-ignore]
    """Tells the clock when steps, evaluations and saves end."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start."""
        self.clock.restart()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """A step, unless it is an evaluation's log."""
        if logs and "loss" in logs:
            self.clock.step(float(logs["loss"]))

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """An evaluation."""
        self.clock.mark(self.clock.evaluations)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """A save."""
        self.clock.mark(self.clock.saves)


def _lora(recipe: TrainRecipe, targets: Sequence[str]) -> LoraConfig:
    return LoraConfig(
        r=recipe.lora_r, lora_alpha=recipe.lora_alpha, lora_dropout=recipe.lora_dropout,
        target_modules=list(targets), task_type="CAUSAL_LM",
    )  # fmt: skip


def load(checkpoint: Path) -> Any:
    """As users load: the checkpoint's dtype, the default attention (sdpa)."""
    register()
    cuda = torch.cuda.is_available()
    auto: Any = AutoModelForImageTextToText
    model = auto.from_pretrained(checkpoint, dtype=torch.bfloat16 if cuda else torch.float32)
    return model.to("cuda" if cuda else "cpu")


def answer_alone(
    model: Any, processor: Any, samples: Sequence[Sample], *, new_tokens: int, never: int
) -> dict[str, Any]:
    """`generate`, one record after another; the first one once more before, as a warm-up.

    Args:
        never: a token that the model never writes, as the end of an answer.
    """
    texts: list[str] = []
    seconds: list[float] = []
    model.eval()
    for number, sample in enumerate([samples[0], *samples]):
        start = now()
        question = [{"type": "image"}, {"type": "text", "text": sample.question}]
        turns = [{"role": "user", "content": question}]
        prompt = processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        picture = Image.open(sample.image_path).convert("RGB")
        inputs = processor(text=prompt, images=[picture], return_tensors="pt").to(model.device)
        with torch.no_grad():
            ids = model.generate(**inputs, max_new_tokens=new_tokens, do_sample=False, eos_token_id=never)
        new = ids[0, inputs["input_ids"].shape[1] :]
        assert len(new) == new_tokens, f"{len(new)} tokens"
        text = processor.decode(new, skip_special_tokens=True, clean_up_tokenization_spaces=False).strip()
        if number:
            texts.append(text)
            seconds.append(now() - start)
    return {"records": len(samples), "seconds": sum(seconds), "texts": texts}


def seed_loop(
    checkpoint: Path,
    samples: Sequence[Sample],
    validation: Sequence[Sample],
    tests: Sequence[Sample],
    recipe: TrainRecipe,
    targets: Sequence[str],
    *,
    folder: Path,
    steps: int,
    warmup: int,
    new_tokens: int,
    seed: int,
) -> dict[str, Any]:
    """Batch 1, accumulation 6, checkpointing, evaluation and save every 10 steps; batch-1 answers of two models."""
    every = min(SEED_EVERY, steps)
    auto: Any = AutoProcessor
    with peak_memory() as peak:
        start = now()
        processor = auto.from_pretrained(checkpoint)
        model = load(checkpoint)
        loading = now() - start
        set_seed(seed)
        peft_model = get_peft_model(model, _lora(recipe, targets))
        arguments = TrainingArguments(
            output_dir=str(folder), max_steps=steps, per_device_train_batch_size=1, per_device_eval_batch_size=1,
            gradient_accumulation_steps=SEED_STEP, gradient_checkpointing=True,
            gradient_checkpointing_kwargs={"use_reentrant": False}, learning_rate=1e-4, lr_scheduler_type="constant",
            weight_decay=0.01, max_grad_norm=1.0, bf16=torch.cuda.is_available(),
            use_cpu=not torch.cuda.is_available(), train_sampling_strategy="sequential", eval_strategy="steps",
            eval_steps=every, save_steps=every, logging_steps=1, load_best_model_at_end=True, save_total_limit=2,
            remove_unused_columns=False, label_names=["labels"], report_to="none", disable_tqdm=True, seed=seed,
        )  # fmt: skip
        clock = Clock()
        trainer = Trainer(
            model=peft_model, args=arguments, data_collator=PictureCollator(processor),
            train_dataset=rows_of(samples), eval_dataset=rows_of(validation), callbacks=[_Marks(clock)],
        )  # fmt: skip
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        fact = {"variant": "seed", "records_a_step": SEED_STEP, **clock.summary(warmup)}
        fact |= {"peak_gib": peak(), "loading_seconds": 2 * loading, "evaluations": len(clock.evaluations)}
        fact["evaluation_seconds_a_record"] = sum(clock.evaluations) / len(clock.evaluations) / len(validation)
        fact["seconds_a_save"] = sum(clock.saves) / len(clock.saves)
        say(f"seed: {fact['seconds_a_step']:.2f} s a step; answering")
        base = load(checkpoint)
        never = model.config.vocab_size - 1
        for name, one in (("base", base), ("finetuned", peft_model)):
            found = answer_alone(one, processor, tests, new_tokens=new_tokens, never=never)
            fact[f"{name}_seconds_an_answer"] = found["seconds"] / found["records"]
        fact["peak_gib_answering"] = peak()
    return fact


def trl_loop(
    checkpoint: Path,
    samples: Sequence[Sample],
    recipe: TrainRecipe,
    targets: Sequence[str],
    *,
    tuned: bool,
    folder: Path,
    steps: int,
    warmup: int,
    seed: int,
) -> dict[str, Any]:
    """SFTTrainer at its defaults (batch 8, checkpointing, no workers), or tuned (batch 6, none, 8 workers)."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    settings: dict[str, Any] = {}
    if tuned:
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        settings = {"per_device_train_batch_size": TRL_STEP[True], "gradient_checkpointing": False}
        settings |= {"dataloader_num_workers": 8, "bf16": torch.cuda.is_available()}
    if not torch.cuda.is_available():
        settings |= {"use_cpu": True, "bf16": False}
    auto: Any = AutoProcessor
    with peak_memory() as peak:
        start = now()
        processor = auto.from_pretrained(checkpoint)
        model = load(checkpoint)
        loading = now() - start
        clock = Clock()
        trainer = SFTTrainer(
            model=model,
            args=SFTConfig(
                output_dir=str(folder), max_steps=steps, learning_rate=1e-4, lr_scheduler_type="constant",
                weight_decay=0.01, train_sampling_strategy="sequential", logging_steps=1, max_length=None,
                remove_unused_columns=False, report_to="none", disable_tqdm=True, seed=seed, **settings,
            ),
            data_collator=PictureCollator(processor),
            train_dataset=Dataset.from_list(rows_of(samples)),
            processing_class=processor,
            peft_config=_lora(recipe, targets),
            callbacks=[_Marks(clock)],
        )  # fmt: skip
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        fact = {"variant": "trl-tuned" if tuned else "trl", "records_a_step": TRL_STEP[tuned], **clock.summary(warmup)}
        return fact | {"peak_gib": peak(), "loading_seconds": loading, "trl": trl_version()}


#: records a step, by whether it is tuned
TRL_STEP = {False: 8, True: 6}


def trl_version() -> str | None:
    """The version installed, None where TRL or what it needs is not."""
    from importlib import metadata, util

    if util.find_spec("trl") is None or util.find_spec("datasets") is None:
        return None
    return metadata.version("trl")
