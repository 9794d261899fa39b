"""Pretrains the tiny model: `python -m harness.vlm.tiny.pretrain.train --out DIR`, 9 minutes on one H100.

Enters: a folder and a time. Leaves: a checkpoint, log.jsonl (a row every 100 steps, an evaluation every minute) and
settings.json there. Scenes are drawn anew on the GPU all the time, and each is shown three times with other texts. All
are talked about, and all are dense lessons of the tower's patches and of the projected tokens; the curriculum begins
with plain changes. `--start` goes on from the weights of an earlier run.
Cost: the time decides the number of steps, so that two runs differ by what the machine did meanwhile; and sums on a GPU
have no fixed order. The weights in the package are one such run's.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from harness.vlm import phi3v
from harness.vlm.phi3v.modeling import Phi3VForConditionalGeneration
from harness.vlm.tiny.build import configuration, save, train_tokenizer
from harness.vlm.tiny.pretrain.begin import begin
from harness.vlm.tiny.pretrain.dense import IGNORE, Geometry, Heads, Lesson, dense_loss, lesson, paper, pictures, shaken
from harness.vlm.tiny.pretrain.lines import lines
from harness.vlm.tiny.pretrain.scenes import CELLS, KINDS, Draw, Scenes, fields, join, objects
from harness.vlm.tiny.pretrain.vocabulary import spread_unused
from harness.vlm.tiny.pretrain.words import Told, cell_name, talk

#: tokens of a question and its answer; a longer talk is drawn again
LENGTH = 128
HEADS = "heads.safetensors"


@dataclass(frozen=True, slots=True)
class Settings:
    """Of a run. `objects`, `lines` and `fields` are scenes drawn at once; each is shown `shows` times, `batch` a
    step."""

    seconds: float = 540.0
    objects: int = 160
    lines: int = 160
    fields: int = 64
    shows: int = 3
    batch: int = 128
    learning_rate: float = 1.2e-3
    last_rate: float = 0.01
    warmup: int = 300
    weight_decay: float = 0.03
    max_grad_norm: float = 1.0
    curriculum: float = 0.15
    writers: int = 6
    seed: int = 7

    @property
    def drawn(self) -> int:
        """Scenes drawn at once."""
        return self.objects + self.lines + self.fields


@dataclass(slots=True)
class Batch:
    """One step's pictures [B, 3, 336, 336], their dense labels, and texts about them [B, LENGTH]."""

    pixels: Tensor
    patches: Lesson
    tokens: Lesson
    ids: Tensor
    labels: Tensor


class Student(nn.Module):
    """The model as the pretraining runs it: pictures through tower and projection, texts behind them."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        # As Phi3VProcessor writes a prompt: the pieces before and after the picture, each with its own <s>.
        self.register_buffer("before", torch.tensor(tokenizer("<|user|>\n").input_ids), persistent=False)

    def forward(self, pixels: Tensor, ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Patches [B, 576, C], picture tokens [B, 157, D], and logits [B, L, V] at the texts' places."""
        patches, tokens = self.see(pixels)
        return patches, tokens, self.read(tokens, ids)

    def see(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """[B, 3, 336, 336] -> patches [B, 576, C] and picture tokens [B, 157, D]."""
        vision = self.model.model.vision_embed_tokens
        patches = vision.img_processor.vision_model(pixels)
        count, side = len(patches), 24
        grid = patches.view(count, side // 2, 2, side // 2, 2, -1).permute(0, 1, 3, 2, 4, 5)
        grid = grid.reshape(count, side // 2, side // 2, -1)
        rows = torch.cat([grid, vision.sub_GN.expand(count, side // 2, 1, -1)], 2).flatten(1, 2)
        whole = torch.cat([vision.glb_GN.expand(count, 1, -1), rows], 1)
        return patches, vision.img_projection(whole)

    def read(self, tokens: Tensor, ids: Tensor) -> Tensor:
        """Logits [B, L, V] at the texts' places."""
        embed = self.model.model.embed_tokens
        before = embed(self.before).expand(len(ids), -1, -1)
        whole = torch.cat([before, tokens.to(before.dtype), embed(ids)], 1)
        hidden = self.model.model(inputs_embeds=whole, use_cache=False).last_hidden_state
        logits: Tensor = self.model.lm_head(hidden[:, -ids.shape[1] :])
        return logits

    @torch.no_grad()
    def answer(self, tokens: Tensor, question: str, length: int) -> list[str]:
        """Greedy answers to one question about many pictures."""
        asked = torch.tensor(self.tokenizer(f"\n{question}<|end|>\n<|assistant|>\n").input_ids, device=tokens.device)
        ids = asked.expand(len(tokens), -1)
        for _ in range(length):
            ids = torch.cat([ids, self.read(tokens, ids)[:, -1:].argmax(-1)], 1)
        end = self.tokenizer.convert_tokens_to_ids("<|end|>")
        texts = []
        for row in ids[:, len(asked) :].tolist():
            texts.append(self.tokenizer.decode(row[: row.index(end)] if end in row else row))
        return texts


class Writer:
    """Turns what is true of scenes into questions and answers, as token ids."""

    def __init__(self) -> None:
        self.tokenizer = train_tokenizer()

    def write(self, scenes: list[Told], seed: int) -> tuple[Tensor, Tensor]:
        """Ids [B, LENGTH] of what follows the picture, and labels [B, LENGTH], IGNORE outside the answers."""
        dice = random.Random(seed)
        ids = torch.full((len(scenes), LENGTH), self.tokenizer.pad_token_id)
        labels = torch.full((len(scenes), LENGTH), IGNORE)
        for row, scene in enumerate(scenes):
            asked, answered = self._talk(scene, dice)
            end = len(asked) + len(answered)
            ids[row, :end] = torch.tensor(asked + answered)
            labels[row, len(asked) : end] = torch.tensor(answered)
        return ids, labels

    def _talk(self, scene: Told, dice: random.Random) -> tuple[list[int], list[int]]:
        while True:
            question, answer = talk(scene, dice)
            asked = self.tokenizer(f"\n{question}<|end|>\n<|assistant|>\n").input_ids
            answered = self.tokenizer(f"{answer}<|end|>", add_special_tokens=False).input_ids
            if len(asked) + len(answered) <= LENGTH:
                return asked, answered


_writers: list[Writer] = []


def write(scenes: list[Told], seed: int) -> tuple[Tensor, Tensor]:
    """`Writer.write`, by this process's own writer."""
    if not _writers:
        torch.set_num_threads(1)
        _writers.append(Writer())
    return _writers[0].write(scenes, seed)


class Rounds:
    """Rounds of fresh scenes; other processes write a round's texts while the round before it is learned."""

    def __init__(self, draw: Draw, settings: Settings, sheet: Tensor, *, eased: bool) -> None:
        self.draw, self.settings, self.sheet, self.eased = draw, settings, sheet, eased
        self.dice = random.Random(settings.seed)
        self.pool = ProcessPoolExecutor(settings.writers, mp_context=get_context("spawn"))
        self.next = self._begin(0.0)

    def batches(self, done: float) -> Iterator[Batch]:
        """The steps of the next round; `done` is the share of the run that is over."""
        scenes, texts = self.next
        self.next = self._begin(done)
        for written in texts:
            ids, labels = (one.to(self.draw.device, non_blocking=True) for one in written.result())
            with torch.no_grad():
                at = shaken(self.draw) if self.dice.random() < 0.4 else Geometry()
                pixels, mask = pictures(scenes, self.sheet, at)
                patches, tokens = (lesson(scenes, mask, at, step=step) for step in (14, 28))
            order = torch.randperm(self.settings.drawn, generator=self.draw.generator, device=self.draw.device)
            for chosen in order.split(self.settings.batch):
                yield Batch(pixels[chosen], patches.rows(chosen), tokens.rows(chosen), ids[chosen], labels[chosen])

    def _begin(self, done: float) -> tuple[Scenes, list[Future[tuple[Tensor, Tensor]]]]:
        ease = 0.6 * max(0.0, 1 - done / self.settings.curriculum) if self.eased else 0.0
        with torch.no_grad():
            scenes = draw_scenes(self.draw, self.settings, ease)
        facts = told(scenes)
        return scenes, [
            self.pool.submit(write, facts, self.dice.randrange(1 << 30)) for _ in range(self.settings.shows)
        ]


def draw_scenes(draw: Draw, settings: Settings, ease: float) -> Scenes:
    """One round's scenes."""
    families = ((objects, settings.objects), (lines, settings.lines), (fields, settings.fields))
    return join([family(count, draw, ease=ease) for family, count in families])


def told(scenes: Scenes) -> list[Told]:
    """What is true of the scenes, for the texts."""
    parts = (getattr(scenes, name).tolist() for name in ("family", "kind", "shape", "color", "light"))
    return [Told(*one) for one in zip(*parts, strict=True)]


def losses(student: Any, heads: Heads, batch: Batch) -> dict[str, Tensor]:
    """The losses of one step."""
    with torch.autocast(batch.pixels.device.type, torch.bfloat16):
        patches, tokens, logits = student(batch.pixels, batch.ids)
        squares = tokens[:, 1:].view(len(tokens), 12, 13, -1)[:, :, :12].flatten(1, 2)
        parts = {f"patch_{name}": loss for name, loss in dense_loss(heads.patch, patches, batch.patches).items()}
        parts |= {f"token_{name}": loss for name, loss in dense_loss(heads.token, squares, batch.tokens).items()}
    guesses = logits[:, :-1].flatten(0, 1).float()
    return parts | {"language": functional.cross_entropy(guesses, batch.labels[:, 1:].flatten(), ignore_index=IGNORE)}


@torch.no_grad()
def evaluate(student: Student, heads: Heads, sheet: Tensor, draw: Draw, count: int) -> dict[str, Any]:
    """On fresh scenes of full difficulty: is the scene changed, and which cells, by the dense head and in words."""
    found: dict[str, Any] = {}
    for name, family in (("objects", objects), ("lines", lines), ("fields", fields)):
        scenes, at = family(count, draw), Geometry()
        pixels, mask = pictures(scenes, sheet, at)
        with torch.autocast(draw.device.type, torch.bfloat16):
            patches, tokens = student.see(pixels)
            chance = 1 - heads.patch["kind"](patches).float().softmax(-1)[:, :, 0]
            said = student.answer(tokens, "Which cells changed?", 16)
        places = lesson(scenes, mask, at, step=14).cell[0]
        seen = torch.stack([chance[:, places == CELLS + cell].amax(1) for cell in range(CELLS)], 1) > 0.5
        truth = (scenes.kind > 0).cpu()
        named = torch.tensor([[cell_name(cell) in text for cell in range(CELLS)] for text in said])
        found[name] = {
            f"{how}_{what}": round(float(right.float().mean()), 4)
            for how, cells in (("dense", seen.cpu()), ("said", named))
            for what, right in (("verdict", cells.any(1) == truth.any(1)), ("cells", (cells == truth).all(1)))
        }
    return found


def pretrain(
    out: Path, settings: Settings, device: torch.device, *, start: Path | None = None, max_steps: int | None = None
) -> None:
    """Train and write the checkpoint; also every two minutes, so that a run cut short leaves one."""
    out.mkdir(parents=True, exist_ok=True)
    phi3v.register()
    torch.manual_seed(settings.seed)
    torch.backends.cuda.enable_cudnn_sdp(False)  # it plans anew for every shape
    torch.set_float32_matmul_precision("high")
    tokenizer = train_tokenizer()
    config = configuration(tokenizer)
    sheet, draw = paper(device), Draw(torch.Generator(device).manual_seed(settings.seed))
    heads = Heads(config.vision_config.hidden_size, config.hidden_size).to(device)
    if start is None:
        student = Student(Phi3VForConditionalGeneration(config), tokenizer).to(device)
        first = draw_scenes(Draw(torch.Generator(device).manual_seed(0)), settings, 0.0)
        begin(student.model, pictures(first, sheet, Geometry())[0])
    else:
        weights = Phi3VForConditionalGeneration.from_pretrained(start, dtype=torch.float32)
        student = Student(weights, tokenizer).to(device)
        heads.load_state_dict(load_file(start / HEADS))
    student.train()
    compiled = torch.compile(student) if device.type == "cuda" else student
    parameters = [*student.parameters(), *heads.parameters()]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.98), fused=device.type == "cuda")
    facts = {
        **asdict(settings), "start": start is not None, "torch": torch.__version__, "kinds": KINDS,
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "parameters": sum(p.numel() for p in student.parameters()),
    }  # fmt: skip
    (out / "settings.json").write_text(json.dumps(facts, indent=1) + "\n")

    def keep() -> None:
        save(student.model, tokenizer, out)
        save_file(heads.state_dict(), out / HEADS)

    rounds = Rounds(draw, settings, sheet, eased=start is None)
    began = saved = evaluated = time.monotonic()
    step = 0
    sums: defaultdict[str, Any] = defaultdict(float)
    with (out / "log.jsonl").open("w", encoding="utf-8") as log:

        def note(row: dict[str, Any]) -> None:
            line = json.dumps({"step": step, "seconds": round(time.monotonic() - began, 1), **row})
            print(line, file=log, flush=True)
            print(line, flush=True)

        def share_done() -> float:
            return (time.monotonic() - began) / settings.seconds if max_steps is None else step / max_steps

        while share_done() < 1:
            for batch in rounds.batches(share_done()):
                rate = settings.last_rate + (1 - settings.last_rate) * 0.5 * (
                    1 + math.cos(math.pi * min(1, share_done()))
                )
                for group in optimizer.param_groups:
                    group["lr"] = settings.learning_rate * rate * min(1.0, (step + 1) / settings.warmup)
                parts = losses(compiled, heads, batch)
                optimizer.zero_grad(set_to_none=True)
                torch.stack([*parts.values()]).sum().backward()
                nn.utils.clip_grad_norm_(parameters, settings.max_grad_norm)
                optimizer.step()
                step += 1
                for name, value in parts.items():
                    sums[name] += value.detach()
                if step % 100 == 0:
                    note({name: round(float(value) / 100, 4) for name, value in sums.items()})
                    sums.clear()
            if time.monotonic() - evaluated > 60:
                note({"evaluation": evaluate(student, heads, sheet, Draw(torch.Generator(device).manual_seed(1)), 256)})
                evaluated = time.monotonic()
            if time.monotonic() - saved > 120:
                keep()
                saved = time.monotonic()
        last = Draw(torch.Generator(device).manual_seed(2))
        note({"evaluation": evaluate(student, heads, sheet, last, 1024 if device.type == "cuda" else 4)})
    spread_unused(student.model, tokenizer)
    keep()
    rounds.pool.shutdown(cancel_futures=True)


def main() -> None:
    """Parse the arguments and train."""
    usual = Settings()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint")
    parser.add_argument("--start", type=Path, help="folder of an earlier run to go on from")
    parser.add_argument("--seconds", type=float, default=usual.seconds)
    parser.add_argument("--learning-rate", type=float, default=usual.learning_rate)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--max-steps", type=int, help="in place of --seconds")
    parser.add_argument("--small", action="store_true", help="a few scenes a step: to see that it runs")
    given = parser.parse_args()
    sizes = {"objects": 3, "lines": 3, "fields": 2, "batch": 4, "writers": 1} if given.small else {}
    settings = Settings(seconds=given.seconds, learning_rate=given.learning_rate, **sizes)
    pretrain(given.out, settings, torch.device(given.device), start=given.start, max_steps=given.max_steps)


if __name__ == "__main__":
    main()
