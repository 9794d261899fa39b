"""The Hub form of SRC, against a loopback server: the seed's own name, a single split, resolved revisions, errors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.dataset.cubes import generate
from tests.hub_server import Repository, serve
from tests.imagefolder import write_imagefolder

NAME = "YxBxRyXJx/VMLimages_0924"

READ = """
import json, sys
from harness.dataset.sources import open_source
from harness.errors import HarnessError
try:
    source = open_source(sys.argv[1])
    rows = list(source.records())
    print(json.dumps({"kind": source.kind, "revision": source.revision, "splits": source.splits, "rows": len(rows),
                      "answer": rows[0].answer, "bytes": len(rows[0].image), "where": rows[-1].where}))
except HarnessError as error:
    print(json.dumps({"error": error.message, "hint": error.hint}))
"""


@dataclass(frozen=True)
class Hub:
    """The server's address, the commit of its data set, and a fresh cache."""

    address: str
    commit: str
    home: Path

    def read(self, src: str) -> dict[str, object]:
        """What open_source makes of SRC, in a process that has this server for its Hub."""
        environment = {
            key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGINGFACE_"))
        } | {"HF_ENDPOINT": self.address, "HF_HOME": str(self.home), "HF_HUB_DISABLE_XET": "1"}
        child = subprocess.run(
            [sys.executable, "-c", READ, src], env=environment, capture_output=True, text=True, check=False, timeout=120
        )
        assert child.returncode == 0, child.stderr
        return dict(json.loads(child.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A Hub that holds one data set of two-panel pictures with the columns image, question, answer and one split."""
    folder = tmp_path_factory.mktemp("repository") / "data"
    write_imagefolder(folder / "train", generate(6, 3))
    lines = [json.loads(line) for line in (folder / "train" / "metadata.jsonl").read_text().splitlines()]
    kept = [{key: line[key] for key in ("file_name", "question", "answer")} for line in lines]
    (folder / "train" / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in kept))
    commit = Repository(NAME, folder).commit
    with serve(datasets={NAME: folder}) as address:
        yield Hub(address, commit, tmp_path_factory.mktemp("hf"))


def test_the_seeds_data_set_loads_and_its_revision_is_recorded(hub: Hub) -> None:
    read = hub.read(NAME)
    assert read["kind"] == "hub"
    assert read["revision"] == hub.commit
    assert read["splits"] == ["train"]
    assert read["rows"] == 6
    first = next(generate(1, 3))
    assert first.image is not None
    assert read["bytes"] == len(first.image), "the encoded bytes pass through untouched"
    assert read["answer"] == first.answer
    assert read["where"] == f"{NAME}[train] row 5 (0005.jpg)"


def test_a_revision_and_a_split_may_be_named(hub: Hub) -> None:
    read = hub.read(f"{NAME}@{hub.commit}:train")
    assert read["rows"] == 6
    assert read["revision"] == hub.commit


@pytest.mark.parametrize(
    ("src", "told"),
    [
        (f"{NAME}@nosuchrevision", "has no revision 'nosuchrevision'"),
        (f"{NAME}:test", "has no split 'test'; it has train"),
        ("YxBxRyXJx/nothing", "neither a path here nor a data set on the Hub"),
    ],
)
def test_mistakes_are_one_line_and_a_hint(hub: Hub, src: str, told: str) -> None:
    read = hub.read(src)
    assert told in str(read["error"])
    assert read["hint"]
    assert "\n" not in str(read["error"])


def test_a_hub_that_does_not_answer(hub: Hub) -> None:
    silent = Hub("http://127.0.0.1:9", hub.commit, hub.home)
    read = silent.read("somebody/something")
    assert "does not answer" in str(read["error"])
