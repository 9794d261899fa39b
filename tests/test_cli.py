"""Every command's mistakes: one line of error, one hint, exit 1 (or the code of a check), and nothing half written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness import __version__
from harness.dataset.cubes import generate
from tests.command import run
from tests.imagefolder import read_metadata, write_imagefolder, write_metadata


def assert_one_line_and_a_hint(err: str) -> None:
    lines = [
        line
        for line in err.splitlines()
        if not line.startswith(("define:", "audit:", "predict:", "model", "c0001", "measure"))
    ]
    assert len(lines) == 2, err
    assert lines[0].startswith("error: ")
    assert lines[1].startswith("hint: ")
    assert "Traceback" not in err


@pytest.fixture
def records(tmp_path: Path) -> Path:
    folder = tmp_path / "records"
    write_imagefolder(folder, generate(12, 5))
    return folder


@pytest.mark.parametrize(
    "words",
    [
        ["runs"], ["show", "c0001"], ["compare", "c0001", "c0002"], ["gate", "c0001"], ["promote", "c0001"],
        ["rescore"], ["sql", "SELECT 1"], ["report"], ["predict", "c0001", "x.png"], ["cycle", "--resume", "c0001"],
        ["gauge", "c0001"], ["threshold", "c0001"],
        ["curve"], ["suggest", "c0001", "--pool", "."],
    ],
    ids=lambda words: words[0],
)  # fmt: skip
def test_an_empty_place(words: list[str], tmp_path: Path) -> None:
    told = run(*words, "--runs", tmp_path / "runs")
    assert told.code == 1
    assert_one_line_and_a_hint(told.err)
    assert not (tmp_path / "runs" / "harness.duckdb").exists(), "reading makes no ledger"


@pytest.mark.parametrize(
    "words", [["show", "c0009"], ["gate", "c0009"], ["promote", "c0009"], ["rescore", "c0009"], ["report", "c0009"],
              ["compare", "c0001", "c0009"], ["predict", "c0009", "x.png"], ["gauge", "c0009"], ["threshold", "c0009"],
              ["curve", "c0009"], ["suggest", "c0009", "--pool", "."]],
    ids=lambda words: words[0],
)  # fmt: skip
def test_an_unknown_cycle(words: list[str], ledger_folder: Path, tmp_path: Path) -> None:
    more = ["--reports", tmp_path / "reports"] if words[0] == "report" else []
    told = run(*words, "--runs", ledger_folder, *more)
    assert told.code == 1
    assert_one_line_and_a_hint(told.err)
    assert "c0009" in told.err
    assert not (tmp_path / "reports").exists()


@pytest.mark.parametrize(
    "query",
    ["DELETE FROM answers", "SELECT * FROM read_csv('/etc/hostname')", "COPY answers TO '{tmp}/x.csv'", "SELEC 1",
     "SELECT * FROM answer", "SELECT nothing FROM answers"],
)  # fmt: skip
def test_sql_that_may_not_or_cannot(query: str, ledger_folder: Path, tmp_path: Path) -> None:
    before = (ledger_folder / "harness.duckdb").read_bytes()
    told = run("sql", query.replace("{tmp}", str(tmp_path)), "--runs", ledger_folder)
    assert told.code == 1
    assert_one_line_and_a_hint(told.err)
    assert told.out == ""
    assert (ledger_folder / "harness.duckdb").read_bytes() == before
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("source", ["./absent", "absent.csv", "/no/such/folder", "demo:spheres", "demo:cubes?m=3"])
@pytest.mark.parametrize("command", ["cycle", "audit", "init"])
def test_unknown_data(command: str, source: str, tmp_path: Path) -> None:
    more = {
        "cycle": ["--model", "tiny", "--reports", tmp_path / "reports"],
        "init": ["--out", tmp_path / "harness.toml"],
    }.get(command, [])
    told = run(command, "--data", source, "--runs", tmp_path / "runs", *more)
    assert told.code == 1
    assert_one_line_and_a_hint(told.err)
    assert list(tmp_path.iterdir()) == [], "a SRC that cannot be read leaves no trace"


@pytest.mark.parametrize("emptied", ["absent", "no rows", "no answers", "no pictures"])
def test_a_source_without_a_usable_record_takes_no_cycle_id(
    emptied: str, records: Path, ledger_folder: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad"
    if emptied == "no rows":
        bad.with_suffix(".csv").write_text("image,question,answer\n")
    elif emptied != "absent":
        write_imagefolder(bad, generate(3, 6))
        lines = read_metadata(bad)
        for line in lines if emptied == "no pictures" else []:
            (bad / line["file_name"]).write_bytes(b"no picture")
        write_metadata(bad, [{**line, "answer": ""} for line in lines] if emptied == "no answers" else lines)
    src = bad.with_suffix(".csv") if emptied == "no rows" else bad
    before = sorted(path for path in ledger_folder.rglob("*"))
    told = run("cycle", "--data", records, "--data", src, "--model", "tiny", "--runs", ledger_folder,
               "--reports", tmp_path / "reports")  # fmt: skip
    assert told.code == 1
    assert_one_line_and_a_hint(told.err)
    assert str(src) in told.err
    assert sorted(path for path in ledger_folder.rglob("*")) == before


def test_a_wrong_column_names_the_columns_seen(records: Path, tmp_path: Path) -> None:
    lines = read_metadata(records)
    write_metadata(records, [{**{k: v for k, v in line.items() if k != "answer"}, "caption": "x"} for line in lines])
    told = run("cycle", "--data", records, "--model", "tiny", "--runs", tmp_path / "runs")
    assert told.code == 1
    assert_one_line_and_a_hint(told.err)
    assert "columns seen:" in told.err
    assert "caption" in told.err
    assert "--set data.columns.answer=caption" in told.err
    assert not (tmp_path / "runs" / "harness.duckdb").exists()


@pytest.mark.parametrize(
    ("phrasing", "readable"),
    [
        (lambda line: line["answer"], True),
        (lambda line: f"NG. {line['defects'][0]} at {line['locations'][0]}" if line["defects"] else "OK", True),
        (lambda line: "The cubes are of many colours.", False),
    ],
    ids=["the house style", "short", "says nothing"],
)
def test_answer_only_data(phrasing, readable: bool, records: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """Truth is read from the answers alone; references that cannot be read stop Define and are listed."""
    lines = [
        {"file_name": line["file_name"], "question": line["question"], "answer": phrasing(line)}
        for line in read_metadata(records)
    ]
    write_metadata(records, lines)
    told = run("cycle", "--data", records, "--model", tmp_path / "no-model", "--runs", tmp_path / "runs")
    assert told.code == 1, "the model is absent, so that the cycle ends after Define"
    listed = json.loads((tmp_path / "runs" / "c0001" / "define" / "unread.json").read_text())
    if readable:
        assert listed == []
        assert "no-model" in told.err
    else:
        assert len(listed) == 12
        assert "12 of 12 references cannot be read" in told.err
        assert not (tmp_path / "runs" / "pool" / "default" / "index.jsonl").exists(), "nothing entered the pool"


def test_a_picture_that_is_no_picture(records: Path, ledger_folder: Path, tmp_path: Path) -> None:
    fake = tmp_path / "fake.png"
    fake.write_text("no picture")
    told = run("predict", "c0001", fake, "--runs", ledger_folder)
    assert told.code == 1
    assert_one_line_and_a_hint(told.err)
    assert told.out == ""
    (records / read_metadata(records)[3]["file_name"]).write_bytes(b"no picture")
    audit = run("audit", "--data", records, "--json")
    assert audit.code == 3
    found = {finding["section"]: finding for finding in json.loads(audit.out)}
    assert found["pictures"]["severity"] == "error"
    name = read_metadata(records)[3]["file_name"]
    assert found["pictures"]["examples"][0].endswith(f"row 3 ({name})"), "the row and the picture's file"


@pytest.mark.parametrize("note", [[], ["--note", ""], ["--note", "  "]], ids=str)
def test_a_forced_promotion_says_why(note: list[str], ledger_folder: Path) -> None:
    told = run("promote", "c0001", "--force", *note, "--runs", ledger_folder)
    assert told.code == 1
    assert_one_line_and_a_hint(told.err)
    assert "--note" in told.err
    assert json.loads(run("sql", "SELECT * FROM releases", "--format", "json", "--runs", ledger_folder).out) == []


def test_the_note_of_a_promotion_is_seen(ledger_folder: Path, tmp_path: Path) -> None:
    why = "line 3 <stands> still; quality agreed"
    told = run("promote", "c0001", "--force", "--note", why, "--runs", ledger_folder)
    assert told.code == 0, told.err
    listed = run("runs", "--runs", ledger_folder)
    assert "promoted" in listed.out
    for said in (told.err, listed.err):
        assert f"by force: its gate was fail; {why}" in said
    assert json.loads(run("runs", "--json", "--runs", ledger_folder).out)[0]["note"] == why
    assert why in run("show", "c0001", "--runs", ledger_folder).out
    assert "promotions" not in run("show", "c0002", "--runs", ledger_folder).out
    assert run("report", "--runs", ledger_folder, "--reports", tmp_path).code == 0
    for page in ("index.html", "c0001/index.html"):
        assert "its gate was fail; line 3 &lt;stands&gt; still; quality agreed" in (tmp_path / page).read_text("utf-8")


def test_audit_is_quiet_on_sound_data(records: Path) -> None:
    told = run("audit", "--data", records, "--json")
    assert told.code == 0, told.err
    assert all(finding["severity"] != "error" for finding in json.loads(told.out))


def test_contradicting_labels_are_an_error(records: Path) -> None:
    lines = read_metadata(records)
    one = next(line for line in lines if line["verdict"] == "passed")
    other = {**one, "verdict": "defective", "locations": ["5C"], "defects": ["stain"],
             "answer": "The product in the bottom image is defective. Location: 5C, Defect: stain."}  # fmt: skip
    write_metadata(records, [*lines, other])
    told = run("audit", "--data", records, "--json")
    assert told.code == 3
    found = next(f for f in json.loads(told.out) if f["section"] == "labels" and f["severity"] == "error")
    assert found["examples"][0].count(f"({one['file_name']})") == 2, "each row is named with its picture's file"


@pytest.mark.parametrize(
    "words",
    [["cycle"], ["cycle", "--data", "demo:cubes", "--grow", "5,3"], ["cycle", "--data", "demo:cubes", "--grow", "x"],
     ["cycle", "--data", "demo:cubes", "--set", "train.epoch=3"], ["cycle", "--data", "demo:cubes", "--recipe", "tny"],
     ["parse"], ["parse", "NG", "--vocabulary", "absent.json"], ["runs", "--config", "absent.toml"][:1]],
    ids=str,
)  # fmt: skip
def test_wrong_words(words: list[str], tmp_path: Path) -> None:
    told = run(*words, "--runs", tmp_path / "runs")
    assert told.code == 1
    assert_one_line_and_a_hint(told.err)
    assert not (tmp_path / "runs" / "harness.duckdb").exists()


def test_wrong_usage_is_exit_2() -> None:
    assert run("fly").code == 2
    assert run("show").code == 2
    assert run("sql", "SELECT 1", "--format", "xml").code == 2


def test_init_writes_a_file_that_loads_and_proposes_names(records: Path, tmp_path: Path) -> None:
    from harness.config import load_config

    out = tmp_path / "harness.toml"
    told = run("init", "--data", records, "--out", out, "--product", "cubes")
    assert told.code == 0, told.err
    config = load_config(out)
    assert config.product == "cubes"
    used = {name for line in read_metadata(records) for name in line["defects"]}
    assert used == set(config.vocabulary)
    again = run("init", "--out", out)
    assert again.code == 1
    assert_one_line_and_a_hint(again.err)


def test_parse_reads_lines(tmp_path: Path) -> None:
    lines = [{"id": "a", "text": "NG: 5U is missing."}, {"id": "b", "text": "OK"}, {"id": "c", "text": ""}]
    child = subprocess.run(
        [sys.executable, "-m", "harness", "parse", "--jsonl"], input="\n".join(map(json.dumps, lines)),
        capture_output=True, text=True, check=True, cwd=tmp_path,
    )  # fmt: skip
    said = [json.loads(line) for line in child.stdout.splitlines()]
    assert [(s["id"], s["verdict"]) for s in said] == [("a", "defective"), ("b", "passed"), ("c", None)]
    assert said[0]["findings"] == [{"location": "5U", "defect": "missing"}]
    assert said[0]["evidence"]


def test_schema_and_doctor_tell(tmp_path: Path) -> None:
    told = run("schema", "--json")
    described = json.loads(told.out)
    assert {row["name"] for row in described} >= {"answers", "v_accuracy", "v_flips"}
    assert all(row["meaning"] for row in described if row["column"]), "every column says what it means"
    doctor = run("doctor", "--json", "--runs", tmp_path / "runs")
    assert doctor.code == 0, doctor.err
    assert {check["check"] for check in json.loads(doctor.out)} >= {"torch", "duckdb", "ledger"}


@pytest.mark.parametrize(
    "words", [["--model", "tiny"], ["--set", "train.epochs=2"], ["--test-cap", "9"], ["--new-split"], ["--seed", "1"]]
)
def test_a_resume_takes_nothing_else(words: list[str], tmp_path: Path) -> None:
    told = run("cycle", "--resume", "c0001", *words, "--runs", tmp_path)
    assert told.code == 1
    assert "no other data, model or setting" in told.err
    assert "harness cycle --resume c0001 alone" in told.err


def test_version() -> None:
    assert run("--version").out.strip() == __version__
