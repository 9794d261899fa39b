"""The numbers of the published code: tests/data/phi3v/goldens, compared by tests/data/phi3v/check.py."""

from __future__ import annotations

import importlib.util
import json
from types import ModuleType

import pytest
import torch
from transformers import AutoModelForImageTextToText

from harness.vlm import phi3v
from harness.vlm.phi3v.image_processing import Phi3VImageProcessor
from tests.vlm import phi3v_check
from tests.vlm.phi3v.build import DEV, GOLDENS

# check.py leaves the pictures that it opens to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")

CASES = {case["name"]: case for case in json.loads((DEV / "cases.json").read_text("utf-8"))["cases"]}
PROCESSOR = json.loads((GOLDENS / "processor.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def check() -> ModuleType:
    """check.py as a module."""
    spec = importlib.util.spec_from_file_location("phi3v_golden_check", GOLDENS.parent / "check.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("case", CASES)
def test_model(check: ModuleType, case: str, attention: str, capsys: pytest.CaptureFixture[str]) -> None:
    forward = getattr(phi3v_check, f"forward_{attention}")
    assert check.check_model(forward, "dev", {case}, atol=5e-5, rtol=5e-6), capsys.readouterr().out
    compared = capsys.readouterr().out
    for quantity in ("inputs_embeds", "last_hidden", "logits", "logsumexp"):
        assert quantity in compared
    assert ("loss" in compared) == ("loss" in CASES[case])
    assert ("grad norms" in compared) == ("grad_norms" in CASES[case])


def test_image_processor(check: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert check.check_processor(phi3v_check.process, "dev"), capsys.readouterr().out
    assert capsys.readouterr().out.count("processor dev_") == len(PROCESSOR["images"])


def test_sizes_and_token_counts() -> None:
    processor = Phi3VImageProcessor()
    assert len(PROCESSOR["size_table"]) == 500
    for width, height, num_crops, padded_width, padded_height, tokens in PROCESSOR["size_table"]:
        _, padded = processor.padded_size(width, height, num_crops)
        assert padded == (padded_height, padded_width), (width, height, num_crops)
        assert processor.tokens_of_size(*padded) == tokens, (width, height, num_crops)


def test_token_counts_without_cutting() -> None:
    for name, meta in PROCESSOR["images"].items():
        processor = Phi3VImageProcessor(num_crops=meta["num_crops"])
        assert processor.calc_num_image_tokens_from_image_size(*meta["size_wh"]) == meta["calc_from_size"], name


def test_from_pretrained_gives_the_same_numbers(check: ModuleType) -> None:
    # Built on the meta device, where what no checkpoint holds (positions, frequencies) is easily forgotten.
    phi3v.register()
    inputs, gold = check.load_case(CASES["img_a_nc4"], DEV)
    model = AutoModelForImageTextToText.from_pretrained(DEV, dtype=torch.float32)
    with torch.no_grad():
        logits = model(**inputs).logits[:, gold["positions"]]
    assert (logits - gold["logits"]).abs().max() < 5e-5
