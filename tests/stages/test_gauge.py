"""Gauge studies: from stored trials without any model, and whole with the tests' tiny model."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from harness.config import CycleConfig
from harness.errors import Interrupted
from harness.parse import PARSER_VERSION
from harness.report import render_reports
from harness.report.gauge import gauge_part
from harness.stages.gauge import gauge_condition, gauge_cycle
from harness.stages.rescore import rescore
from harness.stages.trials import known_trials
from harness.store import Ledger, read, write
from harness.store.rows import AnswerRow
from tests.command import run
from tests.ledger_builder import NOW, PASSED, defective
from tests.stages.conftest import Raised, rows

DEFECTIVE = defective("3C", "missing")
MUTE = "I cannot tell."


def _condition(ledger: Ledger, temperature: float) -> str:
    config = CycleConfig.model_validate(json.loads(read.cycle(ledger, "c0001").config))
    return gauge_condition(config, temperature).condition_id


def _say_always(ledger: Ledger, cycle_id: str, text: str | None, *, repeats: int = 3, temperature: float = 0.3) -> None:
    """Store trials of a cycle's model on the test pictures: one text always, or (None) the right verdict always."""
    role = read.roles(ledger, cycle_id)["finetuned"]
    truths = {r["sample_id"]: r["verdict"] for r in read.judged_records(ledger, cycle_id) if r["split"] == "test"}
    condition = _condition(ledger, temperature)
    answers = [
        AnswerRow(role.model_id, sample_id, condition, repeat, role.engine_id,
                  text if text is not None else PASSED if verdict == "passed" else DEFECTIVE,
                  None, 100, 12, "stop", 0.01, NOW)
        for sample_id, verdict in truths.items() for repeat in range(repeats)
    ]  # fmt: skip
    with ledger.writing() as connection:
        write.insert(connection, answers)


def _values(ledger: Ledger, cycle_id: str = "c0001") -> dict[tuple[str, str], float | None]:
    return {(row.rater, row.metric): row.value for row in read.gauge_figures(ledger, cycle_id)}


@pytest.mark.parametrize(
    ("text", "miss", "alarm", "unreadable", "kappa"),
    [(PASSED, 1, 0, 0, 0), (DEFECTIVE, 0, 1, 0, 0), (MUTE, 1, 1, 1, 0), (None, 0, 0, 0, 1)],
    ids=["always passed", "always defective", "mute", "perfect"],
)
def test_degenerate_models_have_right_figures_and_pages(
    text: str | None, miss: float, alarm: float, unreadable: float, kappa: float, ledger_folder: Path, tmp_path: Path
) -> None:
    ledger = Ledger(ledger_folder, tell=lambda _: None)
    _say_always(ledger, "c0001", text)
    told = run("gauge", "c0001", "--repeats", 3, "--temperature", 0.3, "--runs", ledger_folder)
    assert told.code == 0, told.err
    assert "all 72 trials are in the ledger" in told.err
    values = _values(ledger)
    assert values["c0001", "miss_rate"] == miss
    assert values["c0001", "false_alarm_rate"] == alarm
    assert values["c0001", "unreadable_rate"] == unreadable
    assert values["c0001", "repeatability"] == 1
    assert values["c0001", "cohen_kappa"] == pytest.approx(kappa)
    assert values["c0001", "fleiss_kappa"] == (1 if text is None else None)
    page = render_reports(ledger, ["c0001"], tmp_path / "reports")[0].read_text("utf-8")
    assert "Gauge study" in page
    assert "trivially near 100 %" in page
    assert ("every decision is the same" in page) == (text is not None)


def test_rescore_judges_the_trials_again(ledger_folder: Path) -> None:
    """A gauge study that an older parser read, its figures spoilt here, is what a study today gives; no model."""
    ledger = Ledger(ledger_folder, tell=lambda _: None)
    _say_always(ledger, "c0001", None)
    _say_always(ledger, "c0002", PASSED)
    gauge_cycle(ledger, "c0001", repeats=3, temperature=0.3, others=["c0002"], say=lambda _: None)
    wanted = [replace(row, studied_at=NOW) for row in read.gauge_figures(ledger, "c0001")]
    assert run("rescore", "--runs", ledger_folder).err.count("gauge study") == 0, "what is up to date stays"
    with ledger.writing() as connection:
        connection.execute("UPDATE gauge_figures SET parser_version = 0, value = 0.5, rule = ''")
    told = run("rescore", "--runs", ledger_folder)
    assert told.code == 0, told.err
    assert f"rescore: c0001: its gauge study {_condition(ledger, 0.3)} is judged again" in told.err
    assert [replace(row, studied_at=NOW) for row in read.gauge_figures(ledger, "c0001")] == wanted
    part = gauge_part(ledger, "c0001")
    assert part is not None
    assert f"Read by parser version {PARSER_VERSION}; harness rescore judges the trials again." in part.studies[0].notes


def test_two_appraisers(ledger_folder: Path) -> None:
    """One says the truth, the other always passed: they agree on the 12 passed pictures of 24."""
    ledger = Ledger(ledger_folder, tell=lambda _: None)
    _say_always(ledger, "c0001", None)
    _say_always(ledger, "c0002", PASSED)
    told = run("gauge", "c0001", "--with", "c0002", "--json", "--runs", ledger_folder)
    assert told.code == 0, told.err
    found = {(row["rater"], row["metric"]): row for row in json.loads(told.out)}
    assert found["c0001 and c0002", "reproducibility"]["value"] == 0.5
    assert found["c0001 and c0002", "cohen_kappa"]["value"] == pytest.approx(0)
    assert found["all", "all_trials_effectiveness"]["value"] == 0.5
    # Fleiss by hand: within a picture 3 + 3 of 15 pairs agree on the defective; shares are .75 and .25.
    within = 0.5 + 0.5 * 6 / 15
    assert found["all", "fleiss_kappa"]["value"] == pytest.approx((within - 0.625) / 0.375)
    assert "On 12 of 24 pictures not all trials decide the same." in told.err
    part = gauge_part(ledger, "c0001")
    assert part is not None
    assert part.studies[0].title.startswith("c0001, c0002: 3 trials a test picture, sampled at temperature 0.3")


def test_greedy_trials_are_the_cycles_own_answers_and_said_to_be_trivial(ledger_folder: Path) -> None:
    """At temperature 0 one trial is there already: kappa and rates are those of the cycle, and no model is asked."""
    told = run("gauge", "c0001", "--repeats", 1, "--temperature", 0, "--with", "c0002", "--runs", ledger_folder)
    assert told.code == 0, told.err
    assert "repeatability is trivially near 100 %" in told.err
    ledger = Ledger(ledger_folder)
    stored = read.table(
        ledger,
        "SELECT model_role, miss_rate, false_reject_rate FROM v_accuracy "
        "WHERE cycle_id = 'c0001' AND model_role = 'finetuned'",
    )[0]
    values = _values(ledger)
    assert values["c0001", "miss_rate"] == pytest.approx(stored["miss_rate"])
    assert values["c0001", "false_alarm_rate"] == pytest.approx(stored["false_reject_rate"])
    assert ("c0001", "repeatability") not in values


def test_studies_of_other_temperatures_stand_beside(ledger_folder: Path) -> None:
    ledger = Ledger(ledger_folder, tell=lambda _: None)
    for temperature in (0.3, 0.9):
        _say_always(ledger, "c0001", None, temperature=temperature, repeats=2)
        gauge_cycle(ledger, "c0001", repeats=2, temperature=temperature, say=lambda _: None)
    gauge_cycle(ledger, "c0001", repeats=2, temperature=0.3, say=lambda _: None)
    part = gauge_part(ledger, "c0001")
    assert part is not None
    assert ["temperature 0.3" in study.title for study in part.studies] == [True, False], "the newest first"


def test_the_page_names_the_pictures_whose_trials_disagree(ledger_folder: Path) -> None:
    ledger = Ledger(ledger_folder, tell=lambda _: None)
    _say_always(ledger, "c0001", None, repeats=2)
    answers = read.answers(ledger, model_id="c0001", engine_id="engine", condition_id=_condition(ledger, 0.3), repeat=1)
    turned = replace(answers[5], text=MUTE)
    with ledger.writing() as connection:
        write.upsert(connection, [turned], ("model_id", "sample_id", "condition_id", "repeat", "engine_id"))
    study = gauge_cycle(ledger, "c0001", repeats=2, temperature=0.3, say=lambda _: None)
    assert study.unsteady == [turned.sample_id]
    part = gauge_part(ledger, "c0001")
    assert part is not None
    query = part.studies[0].query.removeprefix('harness sql "').removesuffix('"')
    assert rows(ledger_folder, query) == [{"sample_id": turned.sample_id}]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--with", "c0001"], "named twice"), (["--with", "c0077"], "no cycle c0077"),
        (["--with", "c0002,c0002"], "named twice"),
    ],
)  # fmt: skip
def test_other_appraisers_that_cannot_be(words: list[str], message: str, ledger_folder: Path) -> None:
    told = run("gauge", "c0001", *words, "--runs", ledger_folder)
    assert told.code == 1
    assert message in told.err
    assert len(told.err.splitlines()) == 2


@pytest.mark.parametrize("field", ["split_id", "product"])
def test_another_split_or_product_is_refused(field: str, ledger_folder: Path) -> None:
    ledger = Ledger(ledger_folder, tell=lambda _: None)
    other = read.cycle(ledger, "c0002")
    moved = replace(other, split_id="split-2") if field == "split_id" else replace(other, product="other")
    with ledger.writing() as connection:
        write.replace(connection, "cycles", [moved], cycle_id="c0002")
    told = run("gauge", "c0001", "--with", "c0002", "--runs", ledger_folder)
    assert told.code == 1
    assert "cannot be appraisers of the same pictures" in told.err


def test_stored_trials_need_no_torch(ledger_folder: Path) -> None:
    ledger = Ledger(ledger_folder, tell=lambda _: None)
    _say_always(ledger, "c0001", None)
    code = (
        "import sys\nfrom harness.cli import main\ntry:\n    main(['gauge', 'c0001', '--runs', sys.argv[1]])\n"
        "except SystemExit as stop:\n    assert not stop.code, stop.code\n"
        "print([name for name in ('torch', 'transformers', 'peft', 'datasets', 'evaluate') if name in sys.modules])"
    )
    child = subprocess.run([sys.executable, "-c", code, str(ledger_folder)], capture_output=True, text=True, check=True)
    assert child.stdout.splitlines()[-1] == "[]"


def _trials(runs: Path, cycle_id: str) -> list[dict[str, object]]:
    return rows(
        runs,
        "SELECT a.repeat, a.sample_id, a.text FROM answers a JOIN roles r ON r.model_id = a.model_id "
        f"AND r.engine_id = a.engine_id WHERE r.cycle_id = '{cycle_id}' AND r.model_role = 'finetuned' "
        "AND a.condition_id LIKE 'gauge-%' ORDER BY ALL",
    )


def test_a_whole_study_resumes_and_ends_the_same(raised: Raised, tmp_path: Path) -> None:
    """c0001 and c0002 on 8 test pictures, 2 trials at a high temperature; then once more from half a journal."""
    runs = tmp_path / "runs"
    shutil.copytree(raised.runs, runs)
    words = ["gauge", "c0001", "--repeats", 2, "--temperature", 5, "--with", "c0002", "--json", "--runs", runs]
    told = run(*words)
    assert told.code == 0, told.err
    assert "c0001 answered 16 trials, 0 reused" in told.err
    assert "c0002 answered 16 trials, 0 reused" in told.err
    before = _trials(runs, "c0001")
    assert len(before) == 16
    texts = {(r["repeat"], r["sample_id"]): r["text"] for r in before}
    assert any(texts[0, s] != texts[1, s] for (_, s) in texts), "repeats are drawn anew"
    assert {(row["rater"], row["metric"]) for row in json.loads(told.out)} > {
        ("c0001", "effectiveness"), ("c0002", "cohen_kappa"), ("c0001 and c0002", "reproducibility"),
        ("all", "fleiss_kappa"),
    }  # fmt: skip
    scored = rows(runs, "SELECT count(*) AS n FROM v_answers WHERE cycle_id = 'c0001' AND condition_id LIKE 'gauge-%'")
    assert scored[0]["n"] == 16, "the trials are scored, and stand in v_answers"
    assert rows(runs, "SELECT verdict_accuracy FROM v_accuracy ORDER BY ALL") == rows(
        raised.runs, "SELECT verdict_accuracy FROM v_accuracy ORDER BY ALL"
    ), "no figure of a cycle moves"

    # A kill in the second trial of c0001: half its journal, and nothing of the trial in the ledger.
    condition = rows(runs, "SELECT DISTINCT condition_id FROM answers WHERE condition_id LIKE 'gauge-%'")
    with Ledger(runs).writing() as connection:
        write.delete(connection, "answers", **condition[0])
        write.delete(connection, "gauge_figures", cycle_id="c0001")
    journal = next((runs / "c0001" / "gauge").glob("*-r1-*.jsonl"))
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(lines[:3]) + lines[3][:20])
    again = run(*words)
    assert again.code == 0, again.err
    assert "trial 1: 8 answers reused" in again.err
    assert "trial 2: 3 answers reused" in again.err
    assert _trials(runs, "c0001") == before
    assert json.loads(again.out) == json.loads(told.out)

    more = run("gauge", "c0001", "--repeats", 3, "--temperature", 5, "--runs", runs)
    assert more.code == 0, more.err
    assert "c0001 answered 8 trials, 16 reused from the ledger" in more.err


def test_an_interrupted_study_tells_the_command_that_goes_on(raised: Raised, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(raised.runs, runs)

    def stop_in_the_second_trial(line: str) -> None:
        if line.startswith("gauge: c0001, trial 2"):
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted) as stop:
        gauge_cycle(Ledger(runs), "c0001", repeats=2, temperature=0.5, say=stop_in_the_second_trial)
    command = f"{stop.value.command} {stop.value.cycle_id}"
    assert command == "harness gauge --repeats 2 --temperature 0.5 c0001"
    assert rows(runs, "SELECT * FROM gauge_figures") == []
    told = run(*command.split()[1:], "--runs", runs)
    assert told.code == 0, told.err
    assert "trial 2: 8 answers reused" in told.err
    assert "c0001 answered 8 trials, 8 reused from the ledger" in told.err


def test_predict_decides_by_the_stored_thresholds(raised: Raised, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(raised.runs, runs)
    pictures = sorted(raised.first.rglob("*.jpg"))[:3] or sorted(raised.first.rglob("*.png"))[:3]
    told = run("predict", "c0002", *pictures, "--runs", runs)
    assert told.code == 0, told.err
    assert "c0002 has no thresholds, so that the decision is null" in told.err
    lines = [json.loads(line) for line in told.out.splitlines()]
    assert [line["decision"] for line in lines] == [None] * 3
    chosen = run("threshold", "c0002", "--max-escape", 0.02, "--runs", runs)
    assert chosen.code == 0, chosen.err
    # Bands around what the model says of these pictures: each decision is met once.
    p = sorted(line["p_defective"] for line in lines)
    ledger = Ledger(runs)
    row = read.threshold(ledger, "c0002")
    assert row is not None
    with ledger.writing() as connection:
        band = replace(row, low=(p[0] + p[1]) / 2, high=(p[1] + p[2]) / 2)
        write.replace(connection, "thresholds", [band], cycle_id="c0002")
    decided = run("predict", "c0002", *pictures, "--runs", runs)
    by_p = sorted((json.loads(line) for line in decided.out.splitlines()), key=lambda line: line["p_defective"])
    assert [line["decision"] for line in by_p] == ["pass", "review", "defective"]
    assert "thresholds" not in decided.err
    with ledger.writing() as connection:
        other = replace(band, model_id="another")
        write.replace(connection, "thresholds", [other], cycle_id="c0002")
    refused = run("predict", "c0002", pictures[0], "--runs", runs)
    assert json.loads(refused.out)["decision"] is None
    assert "another model's" in refused.err


def test_rescore_judges_trials_of_another_engine_and_passes_over_lost_ones(
    ledger_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trials made after an upgrade stand under that day's engine, not under the cycle's."""
    ledger = Ledger(ledger_folder, tell=lambda _: None)
    _say_always(ledger, "c0001", None)
    with ledger.writing() as connection:
        connection.execute("UPDATE answers SET engine_id = 'later' WHERE condition_id LIKE 'gauge%'")
    monkeypatch.setattr(
        "harness.stages.gauge.ask_trials",
        lambda seat, inspector, condition, ids, repeats: known_trials(
            seat.ledger, inspector.role, condition.condition_id, "later", repeats
        ),
    )
    gauge_cycle(ledger, "c0001", repeats=3, temperature=0.3, say=lambda _: None)
    before = rows(ledger_folder, "SELECT rater, metric, value FROM gauge_figures ORDER BY ALL")
    for lost, told in ((False, "is judged again"), (True, "lacks trials and stays as it was: harness gauge c0001")):
        with ledger.writing() as connection:
            connection.execute("UPDATE gauge_figures SET parser_version = 0")
            if lost:
                connection.execute("DELETE FROM answers WHERE condition_id LIKE 'gauge%' AND repeat = 2")
        said: list[str] = []
        rescore(ledger, [], say=said.append)
        assert any(told in line for line in said)
        assert rows(ledger_folder, "SELECT rater, metric, value FROM gauge_figures ORDER BY ALL") == before
