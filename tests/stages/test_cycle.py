"""Whole cycles on drawn pictures with a real (tiny) model: what the ledger must hold afterwards."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command import run
from tests.stages.conftest import Raised, cycle, frozen_split, rows
from tests.tiny_vlm import checkpoint


def test_every_cycle_exits_0(raised: Raised) -> None:
    for told in raised.told:
        assert told.code == 0, told.err


def test_both_roles_answer_every_test_record(raised: Raised) -> None:
    found = rows(raised.runs, "SELECT cycle_id, model_role, test_records FROM v_accuracy ORDER BY 1, 2")
    assert [(r["cycle_id"], r["model_role"]) for r in found] == [
        (cycle_id, role) for cycle_id in ("c0001", "c0002", "c0003") for role in ("base", "finetuned")
    ]
    assert {r["test_records"] for r in found} == {8}
    counted = rows(
        raised.runs,
        "SELECT count(*) AS n FROM v_answers WHERE split = 'test' AND condition_id = 'n0' AND repeat = 0 "
        "AND cycle_id = 'c0001'",
    )
    assert counted[0]["n"] == 16


def test_stored_figures_are_those_of_the_stored_answers(raised: Raised) -> None:
    """v_accuracy comes from the metrics table, v_answers from the scores: the two must agree."""
    by_hand = rows(
        raised.runs,
        """
        SELECT cycle_id, model_role,
               avg(verdict_correct::int) AS verdict_accuracy, avg(parsed::int) AS parsed_rate,
               avg(exact::int) AS exact_accuracy,
               avg(verdict_correct::int) FILTER (true_verdict = 'defective') AS defect_accuracy,
               avg((outcome = 'escape')::int) FILTER (true_verdict = 'defective') AS escape_rate,
               avg(location_correct::int) FILTER (true_verdict = 'defective') AS location_accuracy
        FROM v_answers WHERE split = 'test' AND condition_id = 'n0' AND repeat = 0 GROUP BY ALL ORDER BY ALL
        """,
    )
    stored = rows(
        raised.runs,
        "SELECT cycle_id, model_role, verdict_accuracy, parsed_rate, exact_accuracy, defect_accuracy, escape_rate, "
        "location_accuracy FROM v_accuracy ORDER BY ALL",
    )
    assert len(by_hand) == len(stored) == 6
    for one, other in zip(by_hand, stored, strict=True):
        assert one == pytest.approx(other)


def test_the_second_cycle_trains_on_the_union_and_keeps_the_split(raised: Raised) -> None:
    assert frozen_split(raised.runs, "c0001") == frozen_split(raised.runs, "c0002")
    sources = rows(
        raised.runs,
        "SELECT DISTINCT s.group_id[:6] AS lot FROM memberships m JOIN samples s USING (sample_id) "
        "WHERE m.cycle_id = 'c0002' AND m.split = 'train' ORDER BY 1",
    )
    assert [r["lot"] for r in sources] == ["tray-1", "tray-2"]
    late = rows(
        raised.runs,
        "SELECT m.split, count(*) AS n FROM memberships m JOIN samples s USING (sample_id) "
        "WHERE m.cycle_id = 'c0002' AND s.first_cycle = 'c0002' AND s.role = 'test' GROUP BY ALL",
    )
    assert [r["split"] for r in late] == ["reserve"], "later test records wait in reserve"
    assert "wait in reserve, untrained, until --new-split" in raised.told[1].err


def test_base_answers_are_reused_and_counted(raised: Raised) -> None:
    found = rows(raised.runs, "SELECT cycle_id, reused, answered FROM roles WHERE model_role = 'base' ORDER BY 1")
    assert found[0]["reused"] == 0
    assert isinstance(found[1]["reused"], int)
    assert found[1]["reused"] >= 8, "the test split at least"
    assert f"base answered {found[1]['answered']} records, {found[1]['reused']} answers reused" in raised.told[1].err


def test_a_corrected_label_is_a_second_truth_and_rescore_changes_that_record_alone(
    raised: Raised, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(raised.runs, runs)
    twice = rows(runs, "SELECT sample_id FROM truths GROUP BY 1 HAVING max(truth_version) = 2")
    assert len(twice) == 1
    changed = twice[0]["sample_id"]
    kept = rows(runs, "SELECT count(*) AS n FROM truths WHERE truth_version = 1 AND sample_id = '" + str(changed) + "'")
    assert kept[0]["n"] == 1, "the first truth stays"
    told = run("rescore", "c0001", "--json", "--runs", runs)
    assert told.code == 0, told.err
    changes = json.loads(told.out)
    assert {c["sample_id"] for c in changes} == {changed}
    assert {c["cause"] for c in changes} == {"truth"}
    again = run("rescore", "c0001", "--json", "--runs", runs)
    assert json.loads(again.out) == [], "a second rescore finds nothing more to change"


def test_the_report_and_the_commands_read_it(raised: Raised, tmp_path: Path) -> None:
    assert (raised.reports / "index.html").is_file()
    assert (raised.reports / "c0001" / "index.html").is_file()
    assert run("report", "c0002", "--runs", raised.runs, "--reports", tmp_path).code == 0
    for words in (["runs"], ["show", "c0001"], ["compare", "c0001", "c0003"], ["runs", "--json"]):
        told = run(*words, "--runs", raised.runs)
        assert told.code == 0, told.err
        assert "c0001" in told.out or "verdict_accuracy" in told.out
    gate = run("gate", "c0001", "--runs", raised.runs)
    assert gate.code in (3, 4), "a random model passes no gate"
    assert "hint:" in gate.err


def test_promote_needs_a_gate_or_force(raised: Raised, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(raised.runs, runs)
    refused = run("promote", "c0001", "--runs", runs)
    assert refused.code == 1
    assert rows(runs, "SELECT * FROM releases") == []
    assert run("promote", "c0001", "--force", "--note", "a test", "--runs", runs).code == 0
    released = rows(runs, "SELECT cycle_id, note FROM releases")
    assert released == [{"cycle_id": "c0001", "note": "a test"}]
    # The next cycle is held against it.
    told = cycle(runs, tmp_path / "reports", "--data", raised.first, "--train-cap", 16)
    assert told.code == 0, told.err
    against = rows(runs, "SELECT DISTINCT baseline FROM comparisons WHERE cycle_id = 'c0004' ORDER BY 1")
    assert [r["baseline"] for r in against] == ["base", "incumbent"]
    gates = rows(runs, "SELECT gate FROM gates WHERE cycle_id = 'c0004' AND gate = 'regression'")
    assert len(gates) == 1


def test_predict_answers_one_json_line_a_picture(raised: Raised) -> None:
    pictures = sorted(raised.first.rglob("*.jpg"))[:2] or sorted(raised.first.rglob("*.png"))[:2]
    told = run("predict", "c0001", *pictures, "--runs", raised.runs)
    assert told.code == 0, told.err
    lines = [json.loads(line) for line in told.out.splitlines()]
    assert [line["picture"] for line in lines] == [str(path) for path in pictures]
    assert all(0 <= line["p_defective"] <= 1 for line in lines)


def test_predict_answers_the_others_where_a_picture_is_bad(raised: Raised, tmp_path: Path) -> None:
    good = sorted(path for path in raised.first.iterdir() if path.suffix in (".png", ".jpg"))[:2]
    fake, absent = tmp_path / "fake.png", tmp_path / "absent.png"
    fake.write_text("no picture")
    folder, long = tmp_path, tmp_path / f"{'long' * 70}.png"
    told = run("predict", "c0001", fake, good[0], absent, folder, long, good[1], "--runs", raised.runs)
    assert told.code == 1
    assert [json.loads(line)["picture"] for line in told.out.splitlines()] == [str(path) for path in good]
    assert f"predict: {absent}: No such file or directory" in told.err
    assert f"predict: {fake}: no readable picture: " in told.err
    assert f"predict: {folder}: Is a directory" in told.err
    assert f"predict: {long}: File name too long" in told.err
    assert "error: 4 of 6 pictures cannot be read" in told.err


def test_a_killed_cycle_resumes_where_it_stopped_and_ends_the_same(raised: Raised, tmp_path: Path) -> None:
    """Manifests of the last stages gone is what a kill leaves; the grow series then goes on as well."""
    runs, reports = tmp_path / "runs", tmp_path / "reports"
    whole = cycle(runs, reports, "--data", raised.first, "--grow", "12,20")
    assert whole.code == 0, whole.err
    answers = "SELECT cycle_id, model_role, sample_id, answer FROM v_answers ORDER BY ALL"
    before = rows(runs, answers)
    adapter = (runs / "c0001" / "improve" / "adapter" / "adapter_model.safetensors").read_bytes()
    for stage in ("improve", "control", "share"):
        (runs / "c0001" / stage / "manifest.json").unlink()
    shutil.rmtree(runs / "c0002")
    resumed = run("cycle", "--resume", "c0001", "--runs", runs, "--reports", reports)
    assert resumed.code == 0, resumed.err
    assert "c0001 measure" not in resumed.err, "finished stages are not done again"
    assert (runs / "c0001" / "improve" / "adapter" / "adapter_model.safetensors").read_bytes() == adapter
    done = rows(runs, "SELECT cycle_id, train_records, status FROM cycles ORDER BY 1")
    assert [(r["train_records"], r["status"]) for r in done if r["cycle_id"] != "c0002"] == [(12, "done"), (20, "done")]
    assert [r for r in rows(runs, answers) if r["cycle_id"] == "c0001"] == [
        r for r in before if r["cycle_id"] == "c0001"
    ]


def test_grow_is_nested_over_one_split(raised: Raised, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    assert cycle(runs, tmp_path / "reports", "--data", raised.first, "--grow", "14,24").code == 0
    chosen = [
        {r["sample_id"] for r in rows(runs, f"SELECT sample_id FROM memberships WHERE cycle_id = '{c}' "
                                            "AND split IN ('train', 'validation')")}
        for c in ("c0001", "c0002")
    ]  # fmt: skip
    assert len(chosen[0]) == 14
    assert len(chosen[1]) == 24
    assert chosen[0] < chosen[1]
    assert frozen_split(runs, "c0001") == frozen_split(runs, "c0002")


@pytest.mark.slow
def test_deeppcb_as_the_readme_says(shared: Path, tmp_path: Path) -> None:
    told = run(
        "cycle", "--data", shared / "data" / "deeppcb-train", "--test-data", shared / "data" / "deeppcb-test",
        "--train-cap", 200, "--test-cap", 100, "--model", checkpoint("idefics3"), "--recipe", "tiny",
        "--runs", tmp_path / "runs", "--reports", tmp_path / "reports",
    )  # fmt: skip
    assert told.code == 0, told.err
    counted = rows(
        tmp_path / "runs",
        "SELECT count(*) AS n FROM v_answers WHERE split = 'test' AND condition_id = 'n0' AND repeat = 0",
    )
    assert counted[0]["n"] == 200


def test_sigint_ends_with_the_resume_line(raised: Raised, tmp_path: Path) -> None:
    runs, reports = tmp_path / "runs", tmp_path / "reports"
    words = [
        sys.executable, "-m", "harness", "cycle", "--data", raised.first, "--train-cap", "16", "--test-cap", "8",
        "--model", checkpoint("idefics3"), "--recipe", "tiny", "--set", "train.epochs=1",
        "--set", "answer.max_new_tokens=8", "--runs", runs, "--reports", reports,
    ]  # fmt: skip
    with subprocess.Popen([str(word) for word in words], stderr=subprocess.PIPE, text=True) as child:
        assert child.stderr is not None
        while not child.stderr.readline().startswith("c0001 measure"):
            assert child.poll() is None, "the cycle ended before Measure"
        child.send_signal(signal.SIGINT)
        rest = child.stderr.read()
    assert child.returncode == 130, rest
    assert "interrupted; resume with: harness cycle --resume c0001" in rest
    assert "Traceback" not in rest
    assert run("cycle", "--resume", "c0001", "--runs", runs, "--reports", reports).code == 0
