"""Fixtures that several rooms use. Tests that need ../shared skip where it is absent."""

from __future__ import annotations

import os
from pathlib import Path

# Before anything imports Triton, whose kernels run in its interpreter where there is no NVIDIA device.
if not Path("/dev/nvidiactl").exists():
    os.environ["TRITON_INTERPRET"] = "1"

import pytest

from tests.ledger_builder import build_ledger

SHARED = Path(__file__).resolve().parent.parent.parent / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of third-party records and reference files that lies beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip("../shared is absent: it holds third-party records that are not part of this repository")
    return SHARED


@pytest.fixture(scope="session")
def built_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A runs folder with the ledger of ledger_builder; read it, never change it."""
    runs = tmp_path_factory.mktemp("built") / "runs"
    build_ledger(runs)
    return runs


@pytest.fixture
def ledger_folder(built_ledger: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of that runs folder for one test."""
    import shutil

    runs = tmp_path_factory.mktemp("ledger") / "runs"
    shutil.copytree(built_ledger, runs)
    return runs
