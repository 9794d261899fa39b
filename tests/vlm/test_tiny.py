"""The embedded tiny model: its size, its way of talking, and that it sees what it was not told to look for."""

from __future__ import annotations

import torch

from harness.dataset.cubes import QUESTION
from harness.parse import generic_vocabulary, parse_answer
from harness.records import Grid
from harness.vlm.load import Vlm, load_vlm
from harness.vlm.tiny import checkpoint
from harness.vlm.tiny.build import load_tokenizer, train_tokenizer
from harness.vlm.tiny.pretrain.dense import Geometry, paper, pictures
from harness.vlm.tiny.pretrain.scenes import CELLS, Draw, Scenes, objects
from harness.vlm.tiny.pretrain.vocabulary import used_pieces
from harness.vlm.tiny.pretrain.words import cell_name


def test_its_size_and_its_parts() -> None:
    weights = checkpoint() / "model.safetensors"
    assert weights.stat().st_size <= 8_000_000
    assert 2e6 <= sum(p.numel() for p in load_vlm("tiny", device="cpu").base.parameters()) <= 4e6


def test_its_tokenizer_is_what_the_script_trains() -> None:
    assert train_tokenizer().get_vocab() == load_tokenizer().get_vocab()


def test_words_that_no_lesson_used_can_be_told_apart() -> None:
    table = load_vlm("tiny", device="cpu").base.get_input_embeddings().weight.detach()
    unused = sorted(set(range(len(table))) - set(used_pieces(load_tokenizer(), talks=4000)))
    one, other = table[unused[:-1]], table[unused[1:]]
    assert torch.cosine_similarity(one, other).mean() < 0.7


def test_it_tells_which_cells_changed() -> None:
    """On scenes of its own kind, of full difficulty, drawn from a seed that no run used."""
    vlm = load_vlm("tiny", device="cpu")
    draw = Draw(torch.Generator().manual_seed(123_456))
    scenes = objects(32, draw)
    said = _answers(vlm, scenes, "Which cells changed?")
    named = torch.tensor([[cell_name(cell) in text for cell in range(CELLS)] for text in said])
    truth = scenes.kind > 0
    right = (named.any(1) == truth.any(1)).float().mean()
    assert right >= 0.8  # .94 on 1,024 scenes (README); always one verdict: about .55
    assert ((named & truth).sum() / truth.sum()) >= 0.6


def test_it_talks_but_does_not_inspect() -> None:
    vlm = load_vlm("tiny", device="cpu")
    said = _answers(vlm, objects(4, Draw(torch.Generator().manual_seed(5))), QUESTION)
    assert all(len(text.split()) > 5 for text in said)
    assert {parse_answer(text, generic_vocabulary(), Grid()).verdict for text in said} == {None}


def _answers(vlm: Vlm, scenes: Scenes, question: str) -> list[str]:
    """By the very tensors of the pretraining: the scenes need no files then."""
    values, _ = pictures(scenes, paper(torch.device("cpu")), Geometry())
    sizes = torch.zeros(len(values), 2, dtype=torch.long)
    with torch.no_grad():
        features = vlm.base.get_image_features(values[:, None], sizes)
        prompt = f"<|user|>\n<|image_1|>\n{question}<|end|>\n<|assistant|>\n"
        inputs = vlm.processor.text_inputs([prompt] * len(values), [[len(one)] for one in features])
        output = vlm.base.generate(
            **inputs, image_features=features, max_new_tokens=32, do_sample=False,
            eos_token_id=list(vlm.stop_token_ids), pad_token_id=vlm.pad_token_id,
        )  # fmt: skip
    width = inputs["input_ids"].shape[1]
    return [vlm.processor.tokenizer.decode(row[width:], skip_special_tokens=True) for row in output]
