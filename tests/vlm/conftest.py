"""Fixtures for the rooms that run a model: a tiny checkpoint of each family, loaded as by a user, and drawn records."""

from __future__ import annotations

import pytest
import torch

from harness.records import Sample
from harness.vlm.load import Vlm, load_vlm
from tests import tiny_vlm


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """The machine's cores are shared, and tiny matrices gain nothing from threads."""
    torch.set_num_threads(1)


@pytest.fixture(params=["idefics3", "llava", "phi3v"])
def vlm(request: pytest.FixtureRequest) -> Vlm:
    """A freshly loaded tiny model, of each family in turn."""
    return load_vlm(str(tiny_vlm.checkpoint(request.param)), device="cpu")


@pytest.fixture
def idefics3() -> Vlm:
    """A freshly loaded tiny Idefics3."""
    return load_vlm(str(tiny_vlm.checkpoint("idefics3")), device="cpu")


@pytest.fixture
def llava() -> Vlm:
    """A freshly loaded tiny LLaVA."""
    return load_vlm(str(tiny_vlm.checkpoint("llava")), device="cpu")


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    """Eleven drawn records, of pictures of differing size."""
    return tiny_vlm.draw_samples(tmp_path_factory.mktemp("pictures"), 11)
