"""A frozen model on new lots: what is kept, what stays untouched, what is refused, and when it alarms."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import duckdb
import pytest

from harness.dataset.cubes import generate
from tests.command import Ran, run
from tests.imagefolder import read_metadata, write_imagefolder, write_metadata
from tests.stages.conftest import Raised, rows


@pytest.fixture(scope="module")
def watched(raised: Raised, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Ran]:
    """A copy of the raised runs after one watched lot of eight records, the lot, and what the command told."""
    home = tmp_path_factory.mktemp("watched")
    shutil.copytree(raised.runs, home / "runs")
    write_imagefolder(home / "lot", generate(8, 31))
    told = run("watch", "c0001", "--data", home / "lot", "--lot", "may", "--json", "--runs", home / "runs")
    return home / "runs", home / "lot", told


def _copy(runs: Path, tmp_path: Path) -> Path:
    shutil.copytree(runs, tmp_path / "runs")
    return tmp_path / "runs"


def _forgiving(runs: Path) -> None:
    """Targets that a random model keeps, so that no CUSUM speaks."""
    with duckdb.connect(str(runs / "harness.duckdb")) as connection:
        config = json.loads(connection.execute("SELECT config FROM cycles WHERE cycle_id = 'c0001'").fetchall()[0][0])
        config["targets"] = {"miss_rate": 0.98, "false_reject_rate": 0.98}
        connection.execute("UPDATE cycles SET config = ? WHERE cycle_id = 'c0001'", [json.dumps(config)])


def test_a_lot_is_kept_with_its_answers(watched: tuple[Path, Path, Ran]) -> None:
    runs, folder, told = watched
    assert told.code in (0, 3), told.err
    assert "c0001 was never promoted: its frozen model is watched all the same, as a trial" in told.err
    (lot,) = rows(runs, "SELECT * FROM lots")
    assert (lot["lot"], lot["number"], lot["released"], lot["left_out"]) == ("may", 1, False, 0)
    truths = [line["verdict"] for line in read_metadata(folder)]
    assert (lot["passed"], lot["defective"]) == (truths.count("passed"), truths.count("defective"))
    counted = rows(
        runs,
        "SELECT count(*) FILTER (true_verdict = 'defective' AND NOT verdict_correct) AS misses, "
        "count(*) FILTER (true_verdict = 'passed' AND NOT verdict_correct) AS false_rejects, "
        "count(*) FILTER (verdict IS NULL) AS unreadable, count(DISTINCT sample_id) AS n FROM lot_answers",
    )[0]
    assert counted["n"] == 8
    assert {name: lot[name] for name in ("misses", "false_rejects", "unreadable")} == {
        name: counted[name] for name in ("misses", "false_rejects", "unreadable")
    }
    for row in rows(runs, "SELECT image_file, text, p_defective FROM lot_answers"):
        assert (runs / str(row["image_file"])).is_file()
    points = json.loads(told.out)["points"]
    assert [(p["metric"], p["chart"]) for p in points] == [
        (metric, chart) for metric in ("miss_rate", "false_reject_rate") for chart in ("p", "laney_p", "ewma", "cusum")
    ]
    assert bool(lot["alarms"]) == (told.code == 3) == any(p["alarm"] for p in points)


def test_an_alarm_tells_the_query_for_its_own_lot(watched: tuple[Path, Path, Ran], tmp_path: Path) -> None:
    copy = _copy(watched[0], tmp_path)
    alarm = run("watch", "c0001", "--data", watched[1], "--lot", "o'clock", "--runs", copy)
    assert alarm.code == 3, "a random model misses more than the 2 % of its target"
    query = alarm.err.partition('harness sql "')[2].partition('"')[0]
    assert {row["lot"] for row in rows(copy, query)} == {"o'clock"}


def test_the_adapter_is_not_counted_into_the_model(watched: tuple[Path, Path, Ran], raised: Raised) -> None:
    said = [re.search(r"[\d,]+ parameters", told.err) for told in (watched[2], raised.told[0])]
    assert said[0] is not None
    assert said[1] is not None
    assert said[0][0] == said[1][0]


def test_pool_split_and_every_figure_stay_untouched(watched: tuple[Path, Path, Ran], raised: Raised) -> None:
    runs = watched[0]
    for table in ("samples", "truths", "memberships", "answers", "scores", "metrics", "gates", "models", "roles",
                  "products", "cycles", "conditions", "findings", "comparisons"):  # fmt: skip
        assert rows(runs, f"SELECT * FROM {table} ORDER BY ALL") == rows(
            raised.runs, f"SELECT * FROM {table} ORDER BY ALL"
        ), table
    for path in (raised.runs / "pool").rglob("*"):
        if path.is_file():
            assert (runs / path.relative_to(raised.runs)).read_bytes() == path.read_bytes()
    assert {p.name for p in (runs / "pool").rglob("*")} == {p.name for p in (raised.runs / "pool").rglob("*")}
    adapter = Path("c0001") / "improve" / "adapter" / "adapter_model.safetensors"
    assert (runs / adapter).read_bytes() == (raised.runs / adapter).read_bytes()


def test_answers_are_those_that_predict_gives(watched: tuple[Path, Path, Ran]) -> None:
    runs = watched[0]
    found = rows(runs, "SELECT image_file, text, verdict FROM lot_answers ORDER BY sample_id LIMIT 2")
    told = run("predict", "c0001", *[runs / str(row["image_file"]) for row in found], "--runs", runs)
    said = [json.loads(line) for line in told.out.splitlines()]
    assert [(s["text"], s["verdict"]) for s in said] == [(row["text"], row["verdict"]) for row in found]


def test_a_name_twice_is_refused_or_replaced_on_purpose(watched: tuple[Path, Path, Ran], tmp_path: Path) -> None:
    runs, folder = _copy(watched[0], tmp_path), watched[1]
    before = rows(runs, "SELECT * FROM lots")
    refused = run("watch", "c0001", "--data", folder, "--lot", "may", "--runs", runs)
    assert refused.code == 1
    assert "c0001 was watched on lot 'may' already" in refused.err
    assert "--replace" in refused.err.splitlines()[-1]
    assert rows(runs, "SELECT * FROM lots") == before
    lines = read_metadata(folder)
    corrected = tmp_path / "corrected"
    shutil.copytree(folder, corrected)
    write_metadata(corrected, lines[:-1])
    again = run("watch", "c0001", "--data", corrected, "--lot", "may", "--replace", "--runs", runs)
    assert again.code in (0, 3), again.err
    assert "watch: 7 answers reused" in again.err
    (lot,) = rows(runs, "SELECT number, passed + defective AS n FROM lots")
    assert lot == {"number": 1, "n": 7}
    assert rows(runs, "SELECT count(*) AS n FROM lot_answers") == [{"n": 7}]


def test_quiet_charts_exit_0_and_a_promoted_model_is_released(watched: tuple[Path, Path, Ran], tmp_path: Path) -> None:
    runs = _copy(watched[0], tmp_path)
    assert run("promote", "c0001", "--force", "--note", "a test", "--runs", runs).code == 0
    _forgiving(runs)
    write_imagefolder(tmp_path / "june", generate(6, 32))
    told = run("watch", "c0001", "--data", tmp_path / "june", "--lot", "june", "--runs", runs)
    assert told.code == 0, told.err
    assert "never promoted" not in told.err
    assert "provisional" in told.err
    assert rows(runs, "SELECT lot, number, released, len(alarms) AS alarms FROM lots WHERE number = 2") == [
        {"lot": "june", "number": 2, "released": True, "alarms": 0}
    ]


def test_an_alarm_is_exit_3_in_one_line_with_a_hint(watched: tuple[Path, Path, Ran], tmp_path: Path) -> None:
    """A random model misses or rejects far more than targets of 2 % and 5 % allow."""
    runs, folder = _copy(watched[0], tmp_path), watched[1]
    told = run("watch", "c0001", "--data", folder, "--lot", "again", "--runs", runs)
    assert told.code == 3, told.err
    error, hint = told.err.splitlines()[-2:]
    assert error.startswith("error: alarm at lot 'again' of c0001: ")
    assert "CUSUM" in error
    assert hint.startswith("hint: ")
    assert "watch: 8 of the 8 records are in lot 'may' as well" in told.err
    assert "watch: 8 answers reused" in told.err


def test_what_the_model_was_trained_on_is_left_out(
    watched: tuple[Path, Path, Ran], raised: Raised, tmp_path: Path
) -> None:
    runs = _copy(watched[0], tmp_path)
    trained = rows(
        runs, "SELECT count(*) AS n FROM memberships WHERE cycle_id = 'c0001' AND split IN ('train', 'validation')"
    )[0]["n"]
    told = run("watch", "c0001", "--data", raised.first, "--runs", runs)
    assert told.code in (0, 3), told.err
    assert f"watch: {trained} rows left out: the model was trained on it" in told.err
    assert "are test records of c0001: they are not new" in told.err
    (lot,) = rows(runs, "SELECT lot, left_out, passed + defective AS n FROM lots WHERE number = 2")
    assert lot == {"lot": str(raised.first), "left_out": trained, "n": 60 - int(str(trained))}


def test_unlabelled_twins_and_contradictions(watched: tuple[Path, Path, Ran], tmp_path: Path) -> None:
    runs, folder = _copy(watched[0], tmp_path), tmp_path / "odd"
    shutil.copytree(watched[1], folder)
    lines = read_metadata(folder)
    unlabelled = [{"file_name": x["file_name"], "question": x["question"], "answer": "I see cubes."} for x in lines]
    write_metadata(folder, unlabelled)
    told = run("watch", "c0001", "--data", folder, "--lot", "x", "--runs", runs)
    assert told.code == 1
    assert "8 of 8 truths of the lot cannot be read" in told.err
    good = next(line for line in lines if line["verdict"] == "passed")
    bad = next(line for line in lines if line["verdict"] == "defective")
    write_metadata(folder, [good, bad, bad, {**bad, "file_name": good["file_name"]}])
    told = run("watch", "c0001", "--data", folder, "--lot", "x", "--runs", runs)
    assert told.code in (0, 3), told.err
    assert "2 rows left out: contradicting labels" in told.err
    assert "1 rows left out: the same picture and question again" in told.err
    assert rows(runs, "SELECT passed, defective, left_out FROM lots WHERE lot = 'x'") == [
        {"passed": 0, "defective": 1, "left_out": 3}
    ]


def test_a_changed_adapter_is_not_the_released_model(watched: tuple[Path, Path, Ran], tmp_path: Path) -> None:
    runs = _copy(watched[0], tmp_path)
    other = runs / "c0002" / "improve" / "adapter" / "adapter_model.safetensors"
    shutil.copy(other, runs / "c0001" / "improve" / "adapter" / "adapter_model.safetensors")
    told = run("watch", "c0001", "--data", watched[1], "--lot", "x", "--runs", runs)
    assert told.code == 1
    assert "the adapter on disk is not the one that c0001 left" in told.err
    assert len(rows(runs, "SELECT * FROM lots")) == 1


def test_the_history_needs_no_model(watched: tuple[Path, Path, Ran], tmp_path: Path) -> None:
    runs = _copy(watched[0], tmp_path)
    shutil.rmtree(runs / "c0001" / "improve")
    shown = run("watch", "c0001", "--json", "--runs", runs)
    assert shown.code == 0, shown.err
    assert json.loads(shown.out)["points"] == json.loads(watched[2].out)["points"]
    assert run("watch", "c0001", "--runs", runs).code == 0
    assert run("watch", "c0002", "--runs", runs).code == 1, "c0002 was watched on no lot"
    assert run("watch", "c0001", "--lot", "x", "--runs", runs).code == 1
    assert run("watch", "c0009", "--data", "demo:cubes?n=2", "--runs", runs).code == 1


def test_a_newer_parser_reads_the_lots_again(watched: tuple[Path, Path, Ran], tmp_path: Path) -> None:
    runs = _copy(watched[0], tmp_path)
    lots, answers = rows(runs, "SELECT * FROM lots"), rows(runs, "SELECT * FROM lot_answers ORDER BY sample_id")
    with duckdb.connect(str(runs / "harness.duckdb")) as connection:
        connection.execute("UPDATE lots SET parser_version = 0, misses = 0, false_rejects = 0, unreadable = 0")
        connection.execute("UPDATE lot_answers SET parser_version = 0, verdict = NULL, verdict_correct = false")
    assert run("rescore", "c0001", "--runs", runs).code == 0
    assert rows(runs, "SELECT * FROM lots") == lots
    assert rows(runs, "SELECT * FROM lot_answers ORDER BY sample_id") == answers
