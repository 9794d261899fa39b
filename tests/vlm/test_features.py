"""Cached picture features: the same as pixels in every use, never another picture's, and bounded on disk."""

from __future__ import annotations

import json
import os
import resource
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig

from harness.answer.condition import Condition, Decoding
from harness.answer.generate import answer_batches
from harness.answer.verdict import VerdictOpenings
from harness.errors import DataError
from harness.records import RawAnswer, Sample
from harness.train.collate import InspectionCollator
from harness.train.lora import lora_targets
from harness.train.recipe import TrainRecipe
from harness.train.run import TrainResult, train_adapter
from harness.vlm import features as features_module
from harness.vlm.adapters import attach_adapter, check_adapter, detach_adapters, load_adapter, use_adapter
from harness.vlm.batch import open_picture, prompt_batch
from harness.vlm.features import FeatureCache, features_are_frozen, open_features, picture_features, prepare_features
from harness.vlm.load import Vlm, load_vlm
from tests import tiny_vlm

GREEDY = Condition("n0", decoding=Decoding(max_new_tokens=12))
OPENINGS = VerdictOpenings("The product in the bottom image is passed", "The product in the bottom image is defective")
RECIPE = TrainRecipe(
    lora_r=4, lora_alpha=8, epochs=2, batch_size=2, accumulation=2, learning_rate=5e-3, gradient_checkpointing=False,
    log_every=1,
)  # fmt: skip
GIB = 2**30


@pytest.fixture
def phi3v() -> Vlm:
    return load_vlm(str(tiny_vlm.checkpoint("phi3v")), device="cpu")


@pytest.fixture
def cached(tmp_path: Path) -> Vlm:
    """The same model with a feature cache."""
    vlm = load_vlm(str(tiny_vlm.checkpoint("phi3v")), device="cpu")
    vlm.features = open_features(vlm, tmp_path / "features", limit=GIB)
    return vlm


@pytest.fixture
def towers(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pictures went through the tower, a number a call."""
    from harness.vlm.phi3v.vision import Phi3VImageEmbedding

    calls: list[int] = []
    forward = Phi3VImageEmbedding.forward

    def watched(self: Any, pixel_values: Any, image_sizes: Any) -> Any:
        calls.append(len(pixel_values))
        return forward(self, pixel_values, image_sizes)

    monkeypatch.setattr(Phi3VImageEmbedding, "forward", watched)
    return calls


def _files(vlm: Vlm) -> list[Path]:
    assert vlm.features is not None
    return sorted(vlm.features.folder.glob("*/*.safetensors"))


def _ask(vlm: Vlm, samples: Sequence[Sample], **settings: Any) -> dict[str, RawAnswer]:
    settings = {"model_id": "m", "batch_size": 4, "condition": GREEDY, "openings": OPENINGS} | settings
    return {answer.sample_id: answer for batch in answer_batches(vlm, samples, **settings) for answer in batch}


def _attach(vlm: Vlm, targets: str) -> None:
    torch.manual_seed(0)
    attach_adapter(vlm, LoraConfig(r=4, target_modules=lora_targets(vlm.base, targets), task_type="CAUSAL_LM"))
    with torch.no_grad():
        for name, parameter in vlm.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)


def test_logits_are_those_of_pixels(phi3v: Vlm, cached: Vlm, samples: list[Sample]) -> None:
    pixels = prompt_batch(phi3v.processor, samples)
    for _ in ("computed", "read"):
        features = picture_features(cached, samples)
        inputs = prompt_batch(cached.processor, samples, features=features)
        assert "pixel_values" not in inputs
        for name in ("input_ids", "attention_mask"):
            assert torch.equal(inputs[name], pixels[name])
        with torch.no_grad():
            found, wanted = cached.base(**inputs).logits, phi3v.base(**pixels).logits
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
        assert torch.equal(found.argmax(-1), wanted.argmax(-1))


def test_the_text_side_needs_no_picture(phi3v: Vlm, cached: Vlm, samples: list[Sample], tmp_path: Path) -> None:
    picture_features(cached, samples)
    gone = [replace(sample, image_path=tmp_path / "gone.png") for sample in samples]
    for side in ("left", "right"):
        found = prompt_batch(cached.processor, gone, padding_side=side, features=picture_features(cached, gone))  # type: ignore[arg-type]
        wanted = prompt_batch(phi3v.processor, samples, padding_side=side)  # type: ignore[arg-type]
        assert torch.equal(found["input_ids"], wanted["input_ids"])
        assert torch.equal(found["attention_mask"], wanted["attention_mask"])
    with pytest.raises(ValueError, match="2 pictures for 1 tags"):
        cached.processor.text_inputs(["<|user|>\n<|image_1|>\nWhat?"], [[3, 4]])


def test_answers_and_probabilities_are_those_of_pixels(
    phi3v: Vlm, cached: Vlm, samples: list[Sample], towers: list[int]
) -> None:
    for adapted in (False, True):
        if adapted:
            _attach(phi3v, "decoder")
            _attach(cached, "decoder")
        wanted = _ask(phi3v, samples)
        towers.clear()
        found = _ask(cached, samples)
        # Once a picture for the base, not at all for the adapter.
        assert towers == ([] if adapted else [1] * len(samples))
        for sample_id, answer in wanted.items():
            other = found[sample_id]
            assert (other.text, other.new_tokens, other.prompt_tokens) == (
                answer.text, answer.new_tokens, answer.prompt_tokens,
            )  # fmt: skip
            assert other.p_defective == pytest.approx(answer.p_defective, rel=2e-5)
        assert len({answer.text for answer in found.values()}) > len(samples) // 2


def test_loss_and_gradients_are_those_of_pixels(phi3v: Vlm, cached: Vlm, samples: list[Sample]) -> None:
    def gradients(vlm: Vlm) -> tuple[float, dict[str, torch.Tensor]]:
        _attach(vlm, "decoder")
        collator = InspectionCollator(vlm.processor, stop_token_ids=vlm.stop_token_ids, pad_token_id=vlm.pad_token_id)
        if prepare_features(vlm, samples):
            collator.features = vlm.features
        batch = collator(samples)
        assert ("image_features" in batch) == (vlm.features is not None)
        vlm.model.train()
        loss = vlm.model(**batch).loss
        loss.backward()
        return float(loss.detach()), {n: p.grad for n, p in vlm.model.named_parameters() if p.grad is not None}

    (loss, wanted), (other, found) = gradients(phi3v), gradients(cached)
    assert other == pytest.approx(loss, rel=1e-6)
    assert found.keys() == wanted.keys()
    assert found
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6, msg=name)


def _train(vlm: Vlm, samples: Sequence[Sample], folder: Path, **changes: Any) -> TrainResult:
    recipe = replace(RECIPE, **changes)
    return train_adapter(vlm, samples[:8], samples[8:], recipe, folder, seed=7, say=lambda _: None)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_training_run_is_that_of_pixels(
    phi3v: Vlm, cached: Vlm, samples: list[Sample], tmp_path: Path, towers: list[int], workers: int
) -> None:
    wanted = _train(phi3v, samples, tmp_path / "pixels")
    towers.clear()
    found = _train(cached, samples, tmp_path / "features", workers=workers)
    assert towers == [1] * len(samples)
    for row, other in zip(wanted.log, found.log, strict=True):
        assert (other.loss or other.eval_loss) == pytest.approx(row.loss or row.eval_loss, rel=1e-4)
    # A second run of the same records computes nothing, and ends with the very same adapter.
    towers.clear()
    again = _train(cached, samples, tmp_path / "again")
    assert towers == []
    assert again.adapter_hash == found.adapter_hash
    load_adapter(cached, found.adapter, "c0001")
    assert check_adapter(cached, samples[0], "c0001") > 0
    assert towers == []


def test_an_adapter_on_the_tower_goes_by_pixels(
    cached: Vlm, samples: list[Sample], tmp_path: Path, towers: list[int]
) -> None:
    _attach(cached, "decoder+vision")
    assert not features_are_frozen(cached)
    assert picture_features(cached, samples) is None
    assert not prepare_features(cached, samples)
    detach_adapters(cached)
    assert features_are_frozen(cached)
    result = _train(cached, samples, tmp_path / "run", lora_targets="decoder+vision")
    assert _files(cached) == []
    assert towers
    load_adapter(cached, result.adapter, "c0001")
    with use_adapter(cached, "c0001"):
        assert not features_are_frozen(cached)
        adapted = _ask(cached, samples)
        assert _files(cached) == []
    assert check_adapter(cached, samples[0], "c0001") > 0
    # The base, adapter off, still goes by features, and they are the base's own.
    with use_adapter(cached, None):
        assert features_are_frozen(cached)
        base = _ask(cached, samples)
        assert len(_files(cached)) == len(samples)
    # With both loaded, each goes its own way.
    with use_adapter(cached, "c0001"):
        again = _ask(cached, samples)
    plain = load_vlm(cached.model_ref, device="cpu")
    wanted = _ask(plain, samples)
    for sample_id, answer in wanted.items():
        assert base[sample_id].text == answer.text
        assert base[sample_id].p_defective == pytest.approx(answer.p_defective, rel=2e-5)
        assert again[sample_id].text == adapted[sample_id].text
        assert again[sample_id].p_defective == adapted[sample_id].p_defective


def test_an_adapter_on_the_projector_goes_by_pixels(cached: Vlm, samples: list[Sample]) -> None:
    attach_adapter(cached, LoraConfig(r=4, target_modules=["img_projection.0"], task_type="CAUSAL_LM"))
    assert picture_features(cached, samples[:1]) is None
    with use_adapter(cached, None):
        off = picture_features(cached, samples[:1])
    detach_adapters(cached)
    assert cached.features is not None
    cached.features.path(samples[0].image_id).unlink()
    base = picture_features(cached, samples[:1])
    assert off is not None
    assert base is not None
    assert torch.equal(off[0], base[0])


def test_other_families_go_by_pixels(idefics3: Vlm, llava: Vlm, samples: list[Sample], tmp_path: Path) -> None:
    for vlm in (idefics3, llava):
        assert open_features(vlm, tmp_path, limit=GIB) is None
        assert picture_features(vlm, samples) is None
    assert list(tmp_path.iterdir()) == []


def test_no_limit_no_cache(phi3v: Vlm, tmp_path: Path) -> None:
    assert open_features(phi3v, tmp_path / "features", limit=0) is None
    assert not (tmp_path / "features").exists()


def _torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-50] ^= 1
    path.write_bytes(data)


def _garbage(path: Path) -> None:
    path.write_bytes(b"\xff" * 3000)


@pytest.mark.parametrize("damage", [_torn, _empty, _flipped, _garbage])
def test_a_damaged_entry_is_computed_again(
    cached: Vlm, samples: list[Sample], towers: list[int], damage: Callable[[Path], None]
) -> None:
    whole = picture_features(cached, samples[:3])
    assert whole is not None
    assert cached.features is not None
    path = cached.features.path(samples[1].image_id)
    damage(path)
    # As another process opens it: what a process has checked, it checks no more.
    cached.features = open_features(cached, cached.features.folder, limit=GIB)
    # A loader's process cannot compute: its batch goes by pixels.
    collator = InspectionCollator(
        cached.processor, stop_token_ids=cached.stop_token_ids, pad_token_id=cached.pad_token_id
    )
    collator.features = cached.features
    assert "pixel_values" in collator(samples[:3])
    assert not path.exists()
    assert "image_features" in collator([samples[0], samples[2]])
    towers.clear()
    found = picture_features(cached, samples[:3])
    assert found is not None
    assert towers == [1]
    assert all(torch.equal(one, other) for one, other in zip(found, whole, strict=True))
    assert path.is_file()


def test_a_process_checks_an_entry_once(cached: Vlm, samples: list[Sample], monkeypatch: pytest.MonkeyPatch) -> None:
    summed: list[torch.Tensor] = []
    checksum = features_module._checksum
    monkeypatch.setattr(features_module, "_checksum", lambda features: summed.append(features) or checksum(features))
    assert prepare_features(cached, samples[:3])
    assert len(summed) == 3  # to be written with the entries
    first = picture_features(cached, samples[:3])
    assert len(summed) == 3
    assert cached.features is not None
    cached.features = open_features(cached, cached.features.folder, limit=GIB)
    for _ in range(2):
        again = picture_features(cached, samples[:3])
        assert len(summed) == 6
        assert first is not None
        assert again is not None
        assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))


def test_the_folder_stays_below_its_limit(phi3v: Vlm, samples: list[Sample], tmp_path: Path) -> None:
    def opened(limit: int) -> Vlm:
        phi3v.features = open_features(phi3v, tmp_path / "features", limit=limit)
        return phi3v

    picture_features(opened(GIB), samples)
    sizes = {path.stem: path.stat().st_size for path in _files(phi3v)}
    for age, sample in enumerate(samples):
        assert phi3v.features is not None
        os.utime(phi3v.features.path(sample.image_id), (1e9 - age, 1e9 - age))
    for path in _files(phi3v):
        assert sizes[path.stem] == path.stat().st_size
    # Another process with a limit of about five entries: what was unused for longest goes, what it uses stays.
    limit = 5 * max(sizes.values()) + 1024
    vlm = opened(limit)
    assert vlm.features is not None
    picture_features(vlm, samples[:2])
    other = replace(samples[0], sample_id="new", image_id="new")
    picture_features(vlm, [other])
    left = {path.stem for path in _files(vlm)}
    assert {samples[0].image_id, samples[1].image_id, "new"} <= left
    assert samples[-1].image_id not in left
    assert sum(path.stat().st_size for path in _files(vlm)) <= limit
    # More in use than the limit allows: all are right, some are not kept.
    wanted = picture_features(opened(GIB), samples)
    vlm = opened(limit)
    found = picture_features(vlm, [replace(s, image_id=f"again-{s.image_id}") for s in samples])
    assert found is not None
    assert wanted is not None
    assert all(torch.equal(one, another) for one, another in zip(found, wanted, strict=True))
    assert sum(path.stat().st_size for path in _files(vlm)) <= limit


def test_the_key_holds_what_features_depend_on(phi3v: Vlm, tmp_path: Path) -> None:
    def key() -> str:
        cache = open_features(phi3v, tmp_path, limit=GIB)
        assert cache is not None
        return cache.key

    first = key()
    assert key() == first
    facts = json.loads((tmp_path / first / "key.json").read_text())
    assert facts["base"] == phi3v.base_hash
    assert facts["torch"] == torch.__version__
    phi3v.processor.image_processor.num_crops += 1
    crops = key()
    phi3v.dtype = torch.bfloat16
    half = key()
    phi3v.base_hash = "another"
    assert len({first, crops, half, key()}) == 4


def test_features_do_not_depend_on_their_neighbours(phi3v: Vlm, samples: list[Sample], tmp_path: Path) -> None:
    phi3v.features = open_features(phi3v, tmp_path / "all", limit=GIB)
    together = picture_features(phi3v, samples)
    phi3v.features = open_features(phi3v, tmp_path / "one", limit=GIB)
    assert together is not None
    for sample, wanted in zip(samples, together, strict=True):
        alone = picture_features(phi3v, [sample])
        assert alone is not None
        assert torch.equal(alone[0], wanted)


def test_a_picture_that_cannot_be_read_is_named(cached: Vlm, samples: list[Sample], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="record gone cannot be read"):
        picture_features(cached, [replace(samples[0], sample_id="gone", image_id="g", image_path=tmp_path / "no.png")])
    from PIL import Image

    Image.new("RGB", (5000, 1)).save(tmp_path / "long.png")
    long = replace(samples[0], sample_id="long", image_id="l", image_path=tmp_path / "long.png")
    with pytest.raises(DataError, match=r"too long.* records long"):
        picture_features(cached, [long])
    assert _files(cached) == []


def _entries_are(vlm: Vlm, samples: Sequence[Sample]) -> None:
    """On disk lie the samples' features, bit by bit those of each alone, and nothing else."""
    assert vlm.features is not None
    cache = open_features(vlm, vlm.features.folder, limit=GIB)
    assert cache is not None
    for sample in samples:
        inputs = vlm.processor.image_processor(open_picture(sample))
        with torch.no_grad():
            (wanted,) = vlm.base.get_image_features(inputs["pixel_values"].to(vlm.device), inputs["image_sizes"])
        found = cache.read(sample.image_id)
        assert found is not None
        assert torch.equal(found, wanted.cpu())
    assert {path.name for path in cache.path("any").parent.iterdir()} == {
        "key.json", *(cache.path(sample.image_id).name for sample in samples),
    }  # fmt: skip


def test_pictures_that_are_cut_out_of_order_keep_their_places(
    cached: Vlm, samples: list[Sample], towers: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features_module, "AT_ONCE", 3)
    monkeypatch.setattr(features_module.os, "cpu_count", lambda: 5)
    third = threading.Event()
    pixels, write = features_module._pixels, FeatureCache.write
    written: list[str] = []

    def cut(vlm: Vlm, sample: Sample) -> dict[str, torch.Tensor]:
        made = pixels(vlm, sample)
        if sample is samples[2]:
            third.set()
        assert sample is not samples[0] or third.wait(60), "the first is cut behind the third"
        return made

    def noted(self: FeatureCache, image_id: str, features: torch.Tensor) -> bool:
        written.append(image_id)
        return write(self, image_id, features)

    monkeypatch.setattr(features_module, "_pixels", cut)
    monkeypatch.setattr(FeatureCache, "write", noted)
    twice = [*samples, samples[0], samples[4]]
    assert prepare_features(cached, twice)
    assert towers == [1] * len(samples)
    assert written == [sample.image_id for sample in samples]
    _entries_are(cached, samples)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_nothing_is_written_before_it_is_copied(samples: list[Sample], tmp_path: Path) -> None:
    vlm = load_vlm(str(tiny_vlm.checkpoint("phi3v")), device="cuda", dtype="bf16")
    vlm.features = open_features(vlm, tmp_path / "features", limit=GIB)
    many = [replace(sample, image_id=f"{sample.image_id}-{number}") for number in range(20) for sample in samples]
    assert prepare_features(vlm, many)
    _entries_are(vlm, many)


@pytest.mark.parametrize("slow", ["tower", "writer"])
def test_what_waits_is_bounded(
    cached: Vlm, samples: list[Sample], towers: list[int], monkeypatch: pytest.MonkeyPatch, slow: str
) -> None:
    """The slow step holds its first picture until more wait than may, or for a moment in which they would."""
    bound = 3
    monkeypatch.setattr(features_module, "AT_ONCE", bound)
    monkeypatch.setattr(features_module.os, "cpu_count", lambda: 5)
    pixels, write, tower = features_module._pixels, FeatureCache.write, type(cached.base).get_image_features
    opened: list[str] = []
    too_many = threading.Event()

    def cut(vlm: Vlm, sample: Sample) -> dict[str, torch.Tensor]:
        opened.append(sample.image_id)
        if slow == "tower" and len(opened) > bound:
            too_many.set()
        return pixels(vlm, sample)

    def through(self: Any, *inputs: Any) -> Any:
        if slow == "tower" and not towers:
            assert not too_many.wait(0.3), f"{len(opened)} pictures wait"
        made = tower(self, *inputs)
        # One is being written, `bound` more wait.
        if slow == "writer" and len(towers) > bound + 1:
            too_many.set()
        return made

    def held(self: FeatureCache, image_id: str, features: torch.Tensor) -> bool:
        if slow == "writer" and not self.used:
            assert not too_many.wait(0.3), f"{len(towers)} features wait"
        return write(self, image_id, features)

    monkeypatch.setattr(features_module, "_pixels", cut)
    monkeypatch.setattr(type(cached.base), "get_image_features", through)
    monkeypatch.setattr(FeatureCache, "write", held)
    assert prepare_features(cached, samples)
    assert len(_files(cached)) == len(samples)


@pytest.mark.parametrize("stop", ["unreadable", "interrupted"])
def test_what_was_made_before_a_stop_is_kept(
    cached: Vlm, samples: list[Sample], tmp_path: Path, towers: list[int], monkeypatch: pytest.MonkeyPatch, stop: str
) -> None:
    threads = threading.active_count()
    asked = list(samples)
    pixels = features_module._pixels

    def cut(vlm: Vlm, sample: Sample) -> dict[str, torch.Tensor]:
        if sample is samples[6]:
            time.sleep(0.3)  # a thread is at it when the rest stops
        return pixels(vlm, sample)

    monkeypatch.setattr(features_module, "_pixels", cut)
    if stop == "unreadable":
        data = samples[5].image_path.read_bytes()
        (tmp_path / "torn.png").write_bytes(data[: len(data) // 2])
        asked[5] = replace(samples[5], image_path=tmp_path / "torn.png")
        with pytest.raises(DataError, match=f"record {samples[5].sample_id} cannot be read"):
            prepare_features(cached, asked)
    else:
        tower, ctrl_c = type(cached.base).get_image_features, iter([signal.SIGINT])

        def interrupted(self: Any, *inputs: Any) -> Any:
            if len(towers) == 5:
                for number in ctrl_c:
                    signal.raise_signal(number)
            return tower(self, *inputs)

        monkeypatch.setattr(type(cached.base), "get_image_features", interrupted)
        with pytest.raises(KeyboardInterrupt):
            prepare_features(cached, asked)
    assert threading.active_count() == threads
    assert len(towers) == 5
    _entries_are(cached, samples[:5])
    assert prepare_features(cached, samples)
    _entries_are(cached, samples)


@pytest.mark.parametrize("way", [prepare_features, picture_features])
def test_a_disk_that_takes_no_more_ends_no_run(
    cached: Vlm, samples: list[Sample], towers: list[int], caplog: pytest.LogCaptureFixture, way: Callable[..., Any]
) -> None:
    threads = threading.active_count()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        found = way(cached, samples)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert threading.active_count() == threads
    assert len(towers) == len(samples)
    assert caplog.text.count("picture features cannot be kept in") == 1, "said once"
    _entries_are(cached, [])
    if way is picture_features:
        assert len(found) == len(samples)
    assert picture_features(cached, samples[:1]) is not None, "computed each time"


def test_other_noise_than_clean_goes_by_pixels(
    cached: Vlm, samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A picture under noise has its record's image_id, but other pixels."""
    from harness.answer import generate
    from harness.answer.slots import Slots

    monkeypatch.setattr(features_module, "_compute", lambda *_: pytest.fail("features of a picture under noise"))
    noisy = replace(GREEDY, noise="blur")
    answers = generate._answer(cached, samples[:2], "m", noisy, 0, None, Slots())
    assert len(answers) == 2
