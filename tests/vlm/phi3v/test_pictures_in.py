"""Pictures in the prompt: batches, features in place of pixels, and what does not fit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from harness.vlm.phi3v.modeling import Phi3VForConditionalGeneration, pictures_of_rows
from harness.vlm.phi3v.processing import Phi3VProcessor
from harness.vlm.phi3v.vision import merge_patches
from tests.vlm.phi3v.build import pictures, prompt, tiny_config, tiny_model, tiny_processor

QUESTIONS = ("What?", "Is the product in the bottom image passed or defective?", "Where?", "a", "Explain the location.")


@pytest.fixture(scope="module")
def model() -> Phi3VForConditionalGeneration:
    return tiny_model()


@pytest.fixture(scope="module")
def processor() -> Phi3VProcessor:
    return tiny_processor()


@pytest.fixture(scope="module")
def batch(processor: Phi3VProcessor) -> Any:
    """Five rows of differing pictures and lengths, padded on the left."""
    return processor(text=[prompt(q) for q in QUESTIONS], images=[[picture] for picture in pictures()])


def _logits(model: Phi3VForConditionalGeneration, **inputs: Any) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(**inputs).logits
    return found


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_batch_equals_its_rows(processor: Phi3VProcessor, side: str, attention: str) -> None:
    model = tiny_model(attention=attention)
    texts = [prompt(q) for q in QUESTIONS]
    batch = processor(text=texts, images=[[picture] for picture in pictures()], padding_side=side)
    assert len(set(batch["attention_mask"].sum(-1).tolist())) > 3
    together = _logits(model, **batch)
    for row, (text, picture) in enumerate(zip(texts, pictures(), strict=True)):
        alone = _logits(model, **processor(text=text, images=picture))[0]
        assert (together[row][batch["attention_mask"][row].bool()] - alone).abs().max() < 1e-4


def test_a_row_is_turned_as_alone_when_its_neighbour_takes_the_long_rope(processor: Phi3VProcessor) -> None:
    # The original takes the long factors for a whole batch as soon as one row needs them.
    model = tiny_model(original_max_position_embeddings=45)
    texts = [prompt(q) for q in QUESTIONS]
    batch = processor(text=texts, images=[[picture] for picture in pictures()])
    lengths = batch["attention_mask"].sum(-1)
    assert (lengths > 45).any()
    assert (lengths <= 45).any()
    together = _logits(model, **batch)
    for row, (text, picture) in enumerate(zip(texts, pictures(), strict=True)):
        alone = _logits(model, **processor(text=text, images=picture))[0]
        assert (together[row, -len(alone) :] - alone).abs().max() < 1e-4


def test_packed_sequences_equal_their_rows(model: Phi3VForConditionalGeneration) -> None:
    # 250 tokens are beyond the short rope of 200, 60 are not.
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randint(3, 500, (1, length), generator=generator) for length in (250, 60)]
    alone = torch.cat([_logits(model, input_ids=row) for row in rows], dim=1)
    position_ids = torch.cat([torch.arange(250), torch.arange(60)])[None]
    packed = _logits(model, input_ids=torch.cat(rows, dim=1), position_ids=position_ids, use_cache=False)
    assert (packed - alone).abs().max() < 1e-4


def test_features_in_place_of_pixels(model: Phi3VForConditionalGeneration, batch: Any) -> None:
    pixels = {key: batch[key] for key in ("pixel_values", "image_sizes")}
    text = {key: batch[key] for key in ("input_ids", "attention_mask")}
    with torch.no_grad():
        features = model.get_image_features(**pixels)
    assert [len(one) for one in features] == (batch["input_ids"] < 0).sum(-1).tolist()
    assert all(one.shape[1] == model.config.hidden_size for one in features)
    assert (_logits(model, **text, image_features=features) - _logits(model, **text, **pixels)).abs().max() < 1e-4


def test_features_do_not_depend_on_neighbours_or_chunks(model: Phi3VForConditionalGeneration, batch: Any) -> None:
    values, sizes = batch["pixel_values"], batch["image_sizes"]
    embedding = model.model.vision_embed_tokens
    with torch.no_grad():
        together = model.get_image_features(values, sizes)
        embedding.max_crops = 2
        chunked = model.get_image_features(values, sizes)
        embedding.max_crops = None
        alone = [model.get_image_features(values[n : n + 1], sizes[n : n + 1])[0] for n in range(len(values))]
        trimmed = model.get_image_features([row[row.flatten(1).any(1)] for row in values], sizes)
        del embedding.max_crops
    for others in (chunked, alone, trimmed):
        assert all((a - b).abs().max() < 1e-5 for a, b in zip(together, others, strict=True))


def test_only_crops_that_exist_and_layers_that_count_are_run(model: Phi3VForConditionalGeneration, batch: Any) -> None:
    tower = model.get_encoder("image")
    seen: list[int] = []
    hooks = [
        layer.register_forward_hook(lambda _, given, __, n=n: seen.append(100 * n + len(given[0])))
        for n, layer in enumerate(tower.encoder.layers)
    ]
    values = batch["pixel_values"].clone()
    tiles = (batch["image_sizes"] // 56).prod(-1)
    for row, count in zip(values, tiles, strict=True):
        row[1 + count :] = float("nan")  # padding crops
    with torch.no_grad():
        features = model.get_image_features(values, batch["image_sizes"])
    for hook in hooks:
        hook.remove()
    crops = int(tiles.sum()) + len(tiles)
    assert seen == [crops, 100 + crops]  # two layers of three
    assert all(one.isfinite().all() for one in features)


def test_pictures_are_laid_out_as_published() -> None:
    # An identity projection shows which patch comes where: patches carry their own coordinates.
    config = tiny_config(hidden_size=64, clip_config=tiny_config().vision_config.to_dict() | {"hidden_size": 16})
    embedding = Phi3VForConditionalGeneration(config).model.vision_embed_tokens
    rows, cols, side = 1, 2, 2
    tiles = torch.arange(3 * side * side, dtype=torch.float).view(3, side, side, 1).expand(-1, -1, -1, 64)
    with torch.no_grad():
        embedding.sub_GN.fill_(-1)
        embedding.glb_GN.fill_(-2)
        placed = embedding._lay_out(tiles, rows, cols)[:, 0].tolist()
        embedding.order = "glb_sub"
        turned = embedding._lay_out(tiles, rows, cols)[:, 0].tolist()
    whole, overview = [4, 5, 8, 9, -1, 6, 7, 10, 11, -1], [0, 1, -1, 2, 3, -1]
    assert placed == [*whole, -2, *overview]
    assert turned == [*overview, -2, *whole]


@pytest.mark.parametrize("size", [2, 3])
def test_patches_are_merged_with_their_neighbours(size: int) -> None:
    side = 2 * size
    patches = torch.arange(side * side, dtype=torch.float).view(1, side * side, 1)
    merged = merge_patches(patches, size)
    picture = patches.view(side, side)
    for row in range(2):
        for col in range(2):
            block = picture[row * size : (row + 1) * size, col * size : (col + 1) * size]
            assert merged[0, row, col].tolist() == block.flatten().tolist()


def test_other_tiles_and_merging() -> None:
    tower = tiny_config().vision_config.to_dict() | {"image_size": 84, "patch_size": 7}
    model = tiny_model(clip_config=tower, merge_size=3, original_max_position_embeddings=1600)
    assert model.config.tile_tokens == 4
    processor = tiny_processor()
    processor.image_processor.tile_size, processor.image_processor.tile_tokens = 84, 4
    batch = processor(text=prompt("What?"), images=pictures(1))
    assert int((batch["input_ids"] < 0).sum()) == (2 * 2 + 1) * 4**2 + 1 + (2 + 1) * 4
    assert _logits(model, **batch).isfinite().all()


def test_input_ids_are_not_changed(model: Phi3VForConditionalGeneration, batch: Any) -> None:
    before = {key: value.clone() for key, value in batch.items()}
    _logits(model, **batch)
    model.generate(**batch, max_new_tokens=2, do_sample=False)
    assert all(torch.equal(before[key], batch[key]) for key in before)


def test_two_pictures_a_row(model: Phi3VForConditionalGeneration, processor: Phi3VProcessor) -> None:
    first, second, third = pictures(3)
    texts = [prompt("Compare.", 2), prompt("What?"), prompt("Say something.", 0)]
    batch = processor(text=texts, images=[[first, second], [third], []])
    together = _logits(model, **batch)
    for row, own in enumerate(([first, second], [third], None)):
        alone = _logits(model, **processor(text=texts[row], images=own))[0]
        assert (together[row, -len(alone) :] - alone).abs().max() < 1e-4
    swapped = _logits(model, **processor(text=texts[0], images=[second, first]))
    assert swapped.shape[1] == int(batch["attention_mask"][0].sum())
    assert (swapped[0, -1] - together[0, -1]).abs().max() > 1e-2


@pytest.mark.parametrize(
    ("drop", "message"),
    [
        ("one", r"row 4 has 21 places for picture tokens, but only 4 pictures are given"),
        ("all", r"row 0 has 27 places for picture tokens, but no pictures are given"),
        ("order", r"row 0 has 27 places for picture tokens, but pictures 1 to 2 of the 5 given have 52"),
        ("extra", r"6 pictures are given, but the input_ids have places for 5"),
        ("sizes", r"5 pictures in pixel_values, 4 in image_sizes"),
        ("crops", r"picture 1 of 112 x 112 pixels has only 4 crops"),
        ("tile", r"picture 1 of 112 x 100 pixels is no whole number of 56"),
        ("none", r"pixel_values need image_sizes"),
    ],
)
def test_pictures_that_do_not_fit_are_told(
    model: Phi3VForConditionalGeneration, batch: Any, drop: str, message: str
) -> None:
    given = dict(batch)
    values, sizes = given.pop("pixel_values"), given.pop("image_sizes")
    if drop == "one":
        given |= {"pixel_values": values[:4], "image_sizes": sizes[:4]}
    elif drop == "order":
        order = [1, 0, 2, 3, 4]
        given |= {"pixel_values": values[order], "image_sizes": sizes[order]}
    elif drop == "extra":
        given |= {"pixel_values": torch.cat([values, values[:1]]), "image_sizes": torch.cat([sizes, sizes[:1]])}
    elif drop == "sizes":
        given |= {"pixel_values": values, "image_sizes": sizes[:4]}
    elif drop == "crops":
        given |= {"pixel_values": values[:, :4], "image_sizes": sizes}
    elif drop == "tile":
        given |= {"pixel_values": values, "image_sizes": sizes - torch.tensor([[0, 12]])}
    elif drop == "none":
        given |= {"pixel_values": values}
    with pytest.raises(ValueError, match=message):
        model(**given)
    with pytest.raises(ValueError, match=message):
        model.generate(**given, max_new_tokens=2)


def test_pictures_of_rows_counts() -> None:
    places = torch.tensor([[1, 1, 1, 0], [0, 0, 0, 0], [1, 1, 0, 0]], dtype=torch.bool)
    assert pictures_of_rows(places, [1, 2, 2]) == [2, 0, 1]


def test_the_last_logits_alone(model: Phi3VForConditionalGeneration, batch: Any) -> None:
    everything = _logits(model, **batch)
    assert (_logits(model, **batch, logits_to_keep=3) - everything[:, -3:]).abs().max() < 1e-5
    places = torch.tensor([40, 45, 46])
    assert (_logits(model, **batch, logits_to_keep=places) - everything[:, places]).abs().max() < 1e-5


def test_loss_leaves_pictures_out_and_divides_by_what_trainer_counts(
    model: Phi3VForConditionalGeneration, batch: Any
) -> None:
    labels = batch["input_ids"].clone()  # with the negative ids, as a careless collator leaves them
    labels[batch["attention_mask"] == 0] = -100
    with torch.no_grad():
        output = model(**batch, labels=labels)
        summed = model(**batch, labels=labels, num_items_in_batch=torch.tensor(7))
    targets = labels[:, 1:].clamp(min=-100)
    targets[targets < 0] = -100
    flat = output.logits[:, :-1].double().flatten(0, 1)
    expected = torch.nn.functional.cross_entropy(flat, targets.flatten(), reduction="sum")
    assert abs(float(output.loss) - float(expected / (targets >= 0).sum())) < 1e-4
    assert abs(float(summed.loss) - float(expected / 7)) < 1e-3
    assert int(labels.min()) < 0  # not changed in place
