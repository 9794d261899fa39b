"""The noise study of a real (tiny) model, from the command line: rows, reuse, the frozen reference, the page.

The three cycles that tests/stages shares come first; what asks a model more than a study does is marked slow.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from harness.answer.probability import probability_batches
from harness.stages import probing
from harness.stages.answering import model_id
from harness.vlm.identity import folder_hash
from tests.command import Ran, run
from tests.stages.conftest import Raised, cycle, rows
from tests.tiny_vlm import checkpoint


def _study(runs: Path, *words: object, cycle_id: str = "c0002") -> Ran:
    return run("robustness", cycle_id, *words, "--runs", runs, "--reports", runs.parent / "reports")


def _change(runs: Path, *statements: str) -> None:
    with duckdb.connect(str(runs / "harness.duckdb")) as connection:
        for statement in statements:
            connection.execute(statement)


def _digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def studied(raised: Raised, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A runs folder after the study of c0002; read it, never change it."""
    runs = tmp_path_factory.mktemp("studied") / "runs"
    shutil.copytree(raised.runs, runs)
    told = _study(runs)
    assert told.code == 0, told.err
    (runs.parent / "told.txt").write_text(told.out + told.err)
    return runs


@pytest.fixture
def copied(studied: Path, tmp_path: Path) -> Path:
    """A copy of it for one test."""
    runs = tmp_path / "runs"
    shutil.copytree(studied, runs)
    return runs


def _scores(runs: Path, model: object, condition: object, split: str) -> dict[str, float]:
    """Record -> 2 P - 1, straight from the two tables that hold probabilities."""
    found = rows(
        runs,
        f"""SELECT sample_id, p_defective FROM (SELECT model_id, sample_id, condition_id, p_defective FROM answers
            UNION SELECT model_id, sample_id, condition_id, p_defective FROM probabilities)
            JOIN memberships m USING (sample_id)
            WHERE model_id = '{model}' AND condition_id = '{condition}' AND m.cycle_id = 'c0002'
            AND m.split = '{split}'""",
    )
    return {str(row["sample_id"]): 2 * float(str(row["p_defective"])) - 1 for row in found}


def test_every_run_is_a_condition_over_the_right_records(studied: Path) -> None:
    counted = rows(
        studied,
        """SELECT c.condition_id, c.prompt, c.noise, m.split, count(*) AS n, count(DISTINCT p.model_id) AS models
           FROM probabilities p JOIN conditions c USING (condition_id, engine_id)
           JOIN memberships m ON m.sample_id = p.sample_id AND m.cycle_id = 'c0002'
           GROUP BY ALL ORDER BY 1, 4""",
    )
    sizes = {
        row["split"]: row["n"]
        for row in rows(studied, "SELECT split, count(*) AS n FROM memberships WHERE cycle_id = 'c0002' GROUP BY ALL")
    }
    plan = [row for row in counted if row["split"] == "validation"]
    assert [row["n"] for row in plan] == [2 * int(str(sizes["validation"]))] * 8
    assert {row["models"] for row in counted} == {2}
    compound = [row for row in counted if row["split"] == "test"]
    assert [row["n"] for row in compound] == [2 * int(str(sizes["test"]))] * 2
    study = rows(studied, "SELECT * FROM noise_studies")[0]
    assert {study["n1_condition"], study["n2_condition"]} == {row["condition_id"] for row in compound}
    assert (study["validation_records"], study["test_records"]) == (sizes["validation"], sizes["test"])
    for row in counted:
        assert ("paraphrased" in str(row["noise"])) == (row["prompt"] == "paraphrased")
        assert str(row["condition_id"]).removeprefix("noise-").strip("012") == ""


def test_stored_ratios_are_those_of_the_stored_probabilities(studied: Path) -> None:
    study = rows(studied, "SELECT * FROM noise_studies")[0]
    truth = {
        str(row["sample_id"]): 1.0 if row["true_verdict"] == "defective" else -1.0
        for row in rows(studied, "SELECT sample_id, true_verdict FROM v_answers WHERE cycle_id = 'c0002'")
    }
    base = rows(studied, "SELECT model_id FROM roles WHERE cycle_id = 'c0002' AND model_role = 'base'")[0]["model_id"]
    reference = _scores(studied, base, "n0", "test")
    stored = rows(studied, "SELECT * FROM noise_sn WHERE cycle_id = 'c0002'")
    checked = 0
    for row in stored:
        if row["metric"] not in ("sn_truth", "sn_base", "n0_sn_truth", "n0_sn_base"):
            continue
        noisy = [_scores(studied, row["model_id"], study[name], "test") for name in ("n1_condition", "n2_condition")]
        signal = truth if str(row["metric"]).endswith("truth") else reference
        assert row["reference_model_id"] == ("truth" if signal is truth else base)
        y0 = np.array([signal[key] for key in sorted(noisy[0])])
        y = np.array([[run_[key] for key in sorted(noisy[0])] for run_ in noisy])
        r, total = (y0**2).sum(), (y**2).sum()
        s_beta = (y @ y0).sum() ** 2 / (2 * r)
        s_noise = total - s_beta
        wanted = s_beta / s_noise if str(row["metric"]).startswith("sn") else 2 * r / (s_noise / (y.size - 1))
        assert row["value"] == pytest.approx(10 * math.log10(wanted), abs=1e-3)
        assert row["n"] == len(y0)
        checked += 1
    assert checked == 8
    for row in stored:
        if row["metric"] in ("sn_truth", "sn_base"):
            assert float(str(row["ci_low"])) <= float(str(row["value"])) <= float(str(row["ci_high"]))


def test_stored_effects_are_those_of_the_stored_probabilities(studied: Path) -> None:
    means = {
        (row["model_role"], str(row["condition_id"]).removeprefix("noise-")): float(str(row["s"]))
        for row in rows(
            studied,
            """SELECT r.model_role, p.condition_id, avg(2 * p.p_defective - 1) AS s FROM probabilities p
               JOIN roles r USING (model_id) JOIN memberships m USING (cycle_id, sample_id)
               WHERE cycle_id = 'c0002' AND m.split = 'validation' GROUP BY ALL""",
        )
    }
    assert len(means) == 16
    factors = ("brightness", "gaussian_noise", "jpeg_quality", "shift", "blur", "rotation", "prompt")
    effects = rows(studied, "SELECT * FROM noise_effects WHERE slice = 'all'")
    assert [e["factor"] for e in effects] == [*factors, *factors]
    for effect in effects:
        place = factors.index(str(effect["factor"]))
        for level, column in (("1", "low_mean"), ("2", "high_mean")):
            four = [s for (role, code), s in means.items() if role == effect["model_role"] and code[place] == level]
            assert len(four) == 4
            assert effect[column] == pytest.approx(sum(four) / 4)


def test_the_compound_pushes_as_the_effects_say(studied: Path) -> None:
    study = rows(studied, "SELECT * FROM noise_studies")[0]
    effects = rows(studied, "SELECT * FROM noise_effects WHERE slice = 'all' AND model_role = 'finetuned'")
    codes = [str(study[name]).removeprefix("noise-") for name in ("n1_condition", "n2_condition")]
    if study["compound"] == "factors":
        for effect, down, up in zip(effects, *codes, strict=True):
            rises = int(str(effect["up"])) > int(str(effect["down"]))
            assert (down, up) == (("1", "2") if rises else ("2", "1")) if effect["steady"] else ("0", "0")
    else:
        assert not any(effect["steady"] for effect in effects)


def test_the_pool_stays_as_it_was(raised: Raised, studied: Path) -> None:
    assert _digests(studied / "pool") == _digests(raised.runs / "pool")


def test_the_page_shows_it(studied: Path) -> None:
    pages = studied.parent / "reports"
    text = (pages / "c0002" / "index.html").read_text("utf-8")
    assert '<h3 id="robustness">Noise study</h3>' in text
    assert text.index("<h2>Control</h2>") < text.index("Noise study") < text.index("<h2>Share</h2>")
    for words in ("sn_truth", "sn_base", "noise_effects_finetuned", "noise_effects_base", "miss_rate"):
        assert words in text
    told = (studied.parent / "told.txt").read_text()
    assert "sn_truth" in told
    assert "robustness: L8 on validation" in told


def test_a_second_study_asks_nothing(copied: Path) -> None:
    before = rows(copied, "SELECT * EXCLUDE answered_at FROM probabilities ORDER BY ALL")
    figures = rows(copied, "SELECT * FROM noise_sn ORDER BY ALL")
    told = _study(copied, "--json")
    assert told.code == 0, told.err
    assert f"N1 and N2 on test: {6 * 8} probabilities reused" in told.err
    assert not re.search(r"\d+ of \d+,", told.err), "no progress, because nothing is asked"
    assert rows(copied, "SELECT * EXCLUDE answered_at FROM probabilities ORDER BY ALL") == before
    assert rows(copied, "SELECT * FROM noise_sn ORDER BY ALL") == figures
    found = json.loads(told.out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert {row["metric"] for row in found["figures"]} >= {"sn_truth", "sn_base", "overall_sn", "noise_miss_rate"}


def test_the_reference_is_frozen_and_a_change_is_refused_unless_asked_for(copied: Path) -> None:
    base = rows(copied, "SELECT model_id FROM roles WHERE cycle_id = 'c0001' AND model_role = 'base'")[0]["model_id"]
    recorded = "SELECT reference_model_id FROM products"
    assert rows(copied, recorded) == [{"reference_model_id": base}]
    refused = _study(copied, "--reference", "c0001")
    assert refused.code == 1
    assert f"the reference of default is model {base}, not" in refused.err
    assert "harness robustness c0002 --reference c0001 --change-reference" in refused.err
    assert rows(copied, recorded) == [{"reference_model_id": base}]

    told = _study(copied, "--reference", "c0001", "--change-reference")
    assert told.code == 0, told.err
    tuned = rows(copied, "SELECT model_id FROM roles WHERE cycle_id = 'c0001' AND model_role = 'finetuned'")
    new = tuned[0]["model_id"]
    assert rows(copied, recorded) == [{"reference_model_id": new}]
    assert f"is model {new} now, no longer {base}" in told.err
    scored = rows(
        copied, "SELECT model_role, reference_model_id AS r FROM noise_sn WHERE metric = 'sn_base' ORDER BY ALL"
    )
    assert {(row["model_role"], row["r"]) for row in scored} == {
        (role, reference) for role in ("base", "finetuned") for reference in (base, new)
    }
    # The next study goes by the new one without being told, and the page does not join the two.
    later = _study(copied, cycle_id="c0003")
    assert later.code == 0, later.err
    after = rows(copied, "SELECT DISTINCT reference_model_id AS r FROM noise_sn WHERE cycle_id = 'c0003' "
                         "AND metric = 'sn_base'")  # fmt: skip
    assert after == [{"r": new}]
    page = (copied.parent / "reports" / "c0003" / "index.html").read_text("utf-8")
    if "noise_history" in page:
        assert f"model {str(new)[:8]}" in page


@pytest.mark.slow
def test_a_reference_without_scores_is_asked_and_must_be_the_same_by_its_hash(copied: Path) -> None:
    """The fine-tuned model of c0001 lost its answers: it is loaded beside the others and gives the same scores."""
    tuned = rows(copied, "SELECT model_id FROM roles WHERE cycle_id = 'c0001' AND model_role = 'finetuned'")
    reference = tuned[0]["model_id"]
    before = _scores(copied, reference, "n0", "test")
    _change(
        copied, f"DELETE FROM answers WHERE model_id = '{reference}'", "UPDATE products SET reference_model_id = NULL"
    )
    told = _study(copied, "--reference", str(reference))
    assert told.code == 0, told.err
    assert _scores(copied, reference, "n0", "test") == pytest.approx(before, abs=1e-6)

    weights = copied / "c0001" / "improve" / "adapter" / "adapter_config.json"
    weights.write_text(weights.read_text().replace('"lora_alpha": 32', '"lora_alpha": 16'))
    _change(copied, f"DELETE FROM probabilities WHERE model_id = '{reference}' AND condition_id = 'n0'")
    swapped = _study(copied)
    assert swapped.code == 1
    assert f"the reference {reference} cannot be asked" in swapped.err


@pytest.mark.slow
def test_a_reference_on_another_base_is_loaded_for_itself(copied: Path) -> None:
    other = checkpoint("llava")
    reference = model_id(folder_hash(other))
    now = datetime(2026, 1, 1)
    _change(copied, f"INSERT INTO models VALUES ('{reference}', 'base', '{other}', NULL, NULL, NULL, '{now}')")
    told = _study(copied, "--reference", reference, "--change-reference")
    assert told.code == 0, told.err
    assert f"loading the reference's own base {other}" in told.err
    assert len(_scores(copied, reference, "n0", "test")) == 8


def test_an_interrupted_study_goes_on(raised: Raised, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(raised.runs, runs)
    asked = 0

    def stops(*arguments: Any, **settings: Any) -> Iterator[Any]:
        nonlocal asked
        for batch in probability_batches(*arguments, **settings):
            if asked == 3:
                raise KeyboardInterrupt
            asked += 1
            yield batch

    monkeypatch.setattr(probing, "probability_batches", stops)
    stopped = _study(runs)
    assert stopped.code == 130
    assert stopped.err.splitlines()[-1] == "interrupted; resume with: harness robustness c0002"
    kept = int(str(rows(runs, "SELECT count(*) AS n FROM probabilities")[0]["n"]))
    assert kept > 0
    assert rows(runs, "SELECT * FROM noise_sn") == []
    assert rows(runs, "SELECT reference_model_id AS r FROM products") == [{"r": None}], "nothing is frozen by half"
    monkeypatch.undo()
    resumed = _study(runs)
    assert resumed.code == 0, resumed.err
    assert f"L8 on validation: {kept} probabilities reused" in resumed.err


def test_what_cannot_be_studied(copied: Path) -> None:
    unknown = _study(copied, cycle_id="c0077")
    assert (unknown.code, "no cycle c0077" in unknown.err) == (1, True)
    nobody = _study(copied, "--reference", "c0099")
    assert (nobody.code, "no reference 'c0099'" in nobody.err) == (1, True)
    _change(copied, "DELETE FROM roles WHERE cycle_id = 'c0001' AND model_role = 'finetuned'")
    unfinished = _study(copied, cycle_id="c0001")
    assert unfinished.code == 1
    assert "hint: finish it: harness cycle --resume c0001" in unfinished.err
    _change(copied, "UPDATE memberships SET split = 'excluded' WHERE cycle_id = 'c0002' AND split = 'validation'")
    alone = _study(copied)
    assert alone.code == 1
    assert "c0002 has no validation record" in alone.err
    _change(copied, "UPDATE roles SET model_id = 'other' WHERE cycle_id = 'c0003' AND model_role = 'base'")
    changed = _study(copied, cycle_id="c0003")
    assert changed.code == 1
    assert "was other in c0003" in changed.err


@pytest.mark.slow
def test_the_switch_runs_it_inside_a_cycle(raised: Raised, tmp_path: Path) -> None:
    runs, reports = tmp_path / "runs", tmp_path / "reports"
    told = cycle(runs, reports, "--data", raised.first, "--train-cap", 40, "--set", "robustness=true",
                 "--set", "noise.paraphrase='Look well. {question}'")  # fmt: skip
    assert told.code == 0, told.err
    found = rows(runs, "SELECT metric, model_role FROM noise_sn WHERE metric IN ('sn_base', 'sn_truth') ORDER BY ALL")
    assert [(row["metric"], row["model_role"]) for row in found] == [
        ("sn_base", "base"), ("sn_base", "finetuned"), ("sn_truth", "base"), ("sn_truth", "finetuned"),
    ]  # fmt: skip
    engines = rows(
        runs, "SELECT DISTINCT engine->>'$.noise.paraphrase' AS p FROM conditions WHERE condition_id <> 'n0'"
    )
    assert engines == [{"p": "Look well. {question}"}]
    assert "Noise study" in (reports / "c0001" / "index.html").read_text("utf-8")
    notes = rows(runs, "SELECT manifest->>'$.notes[1]' AS note FROM stages WHERE stage = 'control'")
    assert str(notes[0]["note"]).startswith("noise study: ")


def test_a_cycle_without_the_switch_has_no_study(raised: Raised) -> None:
    assert rows(raised.runs, "SELECT * FROM noise_studies") == []
    assert "Noise study" not in (raised.reports / "c0001" / "index.html").read_text("utf-8")


def test_rescore_holds_the_study_against_corrected_truths(copied: Path) -> None:
    """Without a model, from what is stored, the same rows as a new study gives after the correction."""
    query = "SELECT * FROM {} WHERE cycle_id = 'c0002' ORDER BY ALL"
    before = [rows(copied, query.format(table)) for table in ("noise_sn", "noise_effects")]
    told = run("rescore", "c0002", "--runs", copied)
    assert told.code == 0, told.err
    assert "rescore: c0002: its noise study is held against the newest truths" in told.err
    after = [rows(copied, query.format(table)) for table in ("noise_sn", "noise_effects")]
    assert after[0] != before[0], "one test record's label was corrected"
    assert after[1] == before[1], "no validation record's was"
    assert _study(copied).code == 0
    again = [rows(copied, query.format(table)) for table in ("noise_sn", "noise_effects")]
    assert again == after
