"""What the pages show, filled from the ledger (page.py has the shapes). Templates compute nothing.

Enters: a Ledger and a cycle id. Leaves: a CyclePage or an IndexPage, with numbers as the text that people read. What
the ledger does not hold (a stage that has not run, a figure that is not defined) is said in words, never left blank.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from harness.config import DECIBELS
from harness.report import figures
from harness.report.evidence import Piece, pieces
from harness.report.figures import Figure, Point
from harness.report.gauge import gauge_part
from harness.report.learning_curve import CURVES, curve_part
from harness.report.lookalikes import SHOWN as SHOWN_PAIRS
from harness.report.lookalikes import pairs_shown
from harness.report.lots import lots_part
from harness.report.page import (
    AnswerShown,
    AuditLine,
    ComparisonLine,
    CycleLine,
    CyclePage,
    Field,
    FigureLine,
    GateLine,
    IndexPage,
    PictureShown,
    ProductPart,
    SourceLine,
    SplitLine,
)
from harness.report.robustness import robustness_part
from harness.report.strata import strata_part
from harness.report.threshold import threshold_part
from harness.store import Ledger, pages, read
from harness.store.rows import CycleRow

#: pictures a page shows
GALLERY = 60
NOT_RECORDED = "not recorded"

#: figures in the order of the table of accuracies, with what each says
SHOWN_FIGURES = {
    "verdict_accuracy": "of all: verdict right",
    "balanced_accuracy": "mean of the accuracies on passed and on defective",
    "pass_accuracy": "of the truly passed: called passed",
    "defect_accuracy": "of the truly defective: called defective",
    "miss_rate": "of the truly defective: not called so, unreadable included",
    "false_reject_rate": "of the truly passed: not called so, unreadable included",
    "escape_rate": "of the truly defective: called passed",
    "overkill_rate": "of the truly passed: called defective",
    "location_accuracy": "of the truly defective: all cells right",
    "location_f1": "micro F1 over cells",
    "defect_name_accuracy": "of the truly defective: all names right",
    "exact_accuracy": "of all: verdict, cells and names right",
    "parsed_rate": "of all: a decision could be read",
    "style_rate": "of all: in the form of a training answer",
    "digital_sn": "dB, both kinds of mistakes in one ratio",
    "auroc": "of P(defective)",
}


def cycle_page(ledger: Ledger, cycle_id: str, *, made_at: datetime, version: str) -> CyclePage:
    """Everything that the page of a cycle shows.

    Raises:
        UnknownCycle: the ledger does not hold it.
    """
    cycle = read.cycle(ledger, cycle_id)
    left = pages.manifests(ledger, cycle_id)
    define, measure, improve = left.get("define", {}), left.get("measure", {}), left.get("improve", {})
    gates = read.gates(ledger, cycle_id)
    shown = pages.gallery(ledger, cycle_id, GALLERY)
    stages = read.stages(ledger, cycle_id)
    robustness = robustness_part(ledger, cycle_id)
    lots = lots_part(ledger, cycle)
    threshold = threshold_part(ledger, cycle_id)
    curve = curve_part(ledger, cycle)
    pairs = pairs_shown(ledger, cycle_id)
    return CyclePage(
        cycle_id=cycle_id,
        product=cycle.product,
        status=cycle.status,
        gate=gates[-1].status if gates else "not judged",
        facts=_facts(cycle),
        unfinished=tuple(s for s in ("define", "measure", "analyze", "improve", "control", "share") if s not in left),
        charter=tuple(Field(str(k), str(v)) for k, v in (define.get("charter") or {}).items() if v),
        sources=tuple(_source(source) for source in define.get("sources") or ()),
        splits=tuple(_split(name, counts) for name, counts in (define.get("splits") or {}).items()),
        kept_back=tuple(Field(str(why), _count(n)) for why, n in (define.get("kept_back") or {}).items()),
        definitions=_definitions(define),
        vocabulary=tuple(Field(str(k), ", ".join(v) or "–") for k, v in (define.get("vocabulary") or {}).items()),
        audit=tuple(_audit(finding) for finding in measure.get("audit") or ()),
        figures=_figure_lines(pages.figures(ledger, cycle_id)),
        reuse=_reuse(ledger, cycle_id),
        notes={stage: tuple(map(str, manifest.get("notes") or ())) for stage, manifest in left.items()},
        comparisons=tuple(_comparison(row) for row in pages.comparisons(ledger, cycle_id)),
        training=_training(cycle, improve),
        gates=tuple(_gate(row) for row in gates),
        promotions=tuple(row.sentence for row in read.releases(ledger, cycle_id=cycle_id)),
        lots=lots,
        stages=tuple(
            Field(
                s.stage, f"{s.seconds:.1f} s, {_memory(s.peak_memory_gib)}peak process memory {s.peak_rss_gib:.2f} GiB"
            )
            for s in stages
        ),
        sharing=_sharing(cycle, improve, passed=bool(gates) and gates[-1].status == "pass"),
        plots={
            **_cycle_plots(ledger, cycle),
            **(curve.plots if curve else {}),
            **(threshold.plots if threshold else {}),
            **(robustness.plots if robustness else {}),
            **(lots.figures if lots else {}),
        },
        curve=curve,
        strata=strata_part(ledger, cycle, left.get("analyze", {})),
        gauge=gauge_part(ledger, cycle_id),
        threshold=threshold,
        robustness=robustness,
        gallery=tuple(_picture(row) for row in shown),
        gallery_total=int(shown[0]["total"]) if shown else 0,
        evidence_note=_evidence_note(cycle_id, shown),
        lookalikes=pairs,
        lookalikes_shown=pairs[:SHOWN_PAIRS],
        made_at=f"{made_at:%Y-%m-%d %H:%M} UTC",
        version=version,
    )


def index_page(ledger: Ledger, *, made_at: datetime, version: str) -> IndexPage:
    """Everything that the index page shows."""
    rows = pages.index(ledger)
    products = []
    for number, name in enumerate(dict.fromkeys(row["product"] for row in rows)):
        own = [row for row in rows if row["product"] == name]
        incumbent = read.incumbent(ledger, name)
        products.append(
            ProductPart(
                name=name,
                key=f"product{number}",
                cycles=tuple(_cycle_lines(own, incumbent)),
                promotions=tuple(row.sentence for row in read.releases(ledger, product_name=name)),
                incumbent=incumbent or "none yet: no cycle was promoted or passed its gates",
                plots=_index_plots(own),
            )
        )
    return IndexPage(tuple(products), f"{made_at:%Y-%m-%d %H:%M} UTC", version)


def _facts(cycle: CycleRow) -> tuple[Field, ...]:
    return (
        Field("Product", cycle.product),
        Field("Base model", cycle.model or NOT_RECORDED),
        Field("Recipe", f"{cycle.recipe}, seed {cycle.seed}"),
        Field(
            "Records",
            f"{_count(cycle.train_records)} training (of them {_count(cycle.validation_records)} validation), "
            f"{_count(cycle.test_records)} test",
        ),
        Field("Test split", cycle.split_id or NOT_RECORDED),
        Field("Device", cycle.device or NOT_RECORDED),
        Field("Begun", f"{cycle.created_at:%Y-%m-%d %H:%M} UTC"),
        Field("Finished", f"{cycle.finished_at:%Y-%m-%d %H:%M} UTC" if cycle.finished_at else "not yet"),
    )


def _count(value: Any) -> str:
    return NOT_RECORDED if value is None else f"{value:,}"


def _memory(gib: float | None) -> str:
    return "" if gib is None else f"peak device memory {gib:.2f} GiB, "


def _source(source: Mapping[str, Any]) -> SourceLine:
    dropped = source.get("dropped")
    return SourceLine(
        name=str(source.get("name", NOT_RECORDED)),
        kind=str(source.get("kind", NOT_RECORDED)),
        revision=str(source.get("revision") or "–"),
        rows=_count(source.get("rows")),
        added=_count(source.get("added")),
        corrected=_count(source.get("corrected")),
        known=_count(source.get("known")),
        dropped=_count(len(dropped) if isinstance(dropped, list) else dropped),
    )


def _split(name: str, counts: Mapping[str, int]) -> SplitLine:
    passed, defective = counts.get("passed", 0), counts.get("defective", 0)
    return SplitLine(name, _count(passed), _count(defective), _count(passed + defective))


def _definitions(define: Mapping[str, Any]) -> tuple[Field, ...]:
    openings = define.get("openings") or {}
    targets = define.get("targets") or {}
    return (
        Field("Question", str(define.get("question") or NOT_RECORDED)),
        Field("Opening of a passed answer", str(openings.get("passed") or NOT_RECORDED)),
        Field("Opening of a defective answer", str(openings.get("defective") or NOT_RECORDED)),
        Field("Openings taken from", str(openings.get("origin") or NOT_RECORDED)),
        Field("Targets", ", ".join(f"{name} {_of_gate(name, limit)}" for name, limit in targets.items()) or "none"),
    )


def _audit(finding: Mapping[str, Any]) -> AuditLine:
    return AuditLine(
        severity=str(finding.get("severity", "info")),
        section=str(finding.get("section", "")),
        message=str(finding.get("message", "")),
        count=_count(finding.get("count")),
        examples=", ".join(map(str, finding.get("examples") or ())),
        hint=str(finding.get("hint", "")),
    )


def _figure_lines(rows: Sequence[Mapping[str, Any]]) -> tuple[FigureLine, ...]:
    found = {(row["metric"], row["model_role"]): row for row in rows}
    return tuple(
        FigureLine(
            name, meaning, _in_words(name, found.get((name, "base"))), _in_words(name, found.get((name, "finetuned")))
        )
        for name, meaning in SHOWN_FIGURES.items()
        if (name, "base") in found or (name, "finetuned") in found
    )


def _in_words(name: str, row: Mapping[str, Any] | None) -> str:
    if row is None:
        return "not yet answered"
    if row["value"] is None:
        return str(row["method"])
    if name == "digital_sn":
        sign = {">=": "≥ ", "<=": "≤ "}.get(str(row["method"])[:2], "")
        rates = str(row["method"]).partition("; ")[2]
        return f"{sign}{row['value']:.2f} dB {_range(row, '.2f')}{rates}"
    if name in ("auroc", "location_f1"):
        return f"{row['value']:.3f} {_range(row, '.3f')}n = {row['n']}"
    return f"{row['value']:.1%} {_range(row, '.1%')}n = {row['n']}"


def _range(row: Mapping[str, Any], form: str) -> str:
    if row["ci_low"] is None or row["ci_high"] is None:
        return ""
    return f"[{row['ci_low']:{form}}, {row['ci_high']:{form}}], "


def _reuse(ledger: Ledger, cycle_id: str) -> tuple[Field, ...]:
    return tuple(
        Field(figures.ROLE_NAMES.get(name, name), f"{role.answered:,} answered, {role.reused:,} reused from the ledger")
        for name, role in read.roles(ledger, cycle_id).items()
    )


def _comparison(row: Mapping[str, Any]) -> ComparisonLine:
    better = "better" if row["difference"] > 0 else "worse"
    baseline = "base model" if row["baseline"] == "base" else row["baseline"]
    difference, ends = _points(row["difference"]), f"[{_points(row['ci_low'])}, {_points(row['ci_high'])}]"
    said = (
        f"The fine-tuned model is {better} than the {baseline}"
        if row["p_holm"] < 0.05
        else f"No difference to the {baseline} is shown"
    )
    return ComparisonLine(
        metric=row["metric"],
        against=row["baseline"],
        before=f"{row['baseline_value']:.1%}",
        after=f"{row['candidate_value']:.1%}",
        difference=f"{difference} {ends}",
        pairs=f"n = {row['n']}: {row['fixed']} fixed, {row['broken']} broken",
        p_value=f"{row['p_value']:.2g}",
        p_holm=f"{row['p_holm']:.2g}",
        detectable="–" if row["detectable"] is None else f"{100 * row['detectable']:.1f}",
        sentence=f"{said}: {difference} points, 95 % interval {ends}, n = {row['n']}, exact McNemar p = "
        f"{row['p_value']:.2g} (Holm {row['p_holm']:.2g}).",
    )


def _points(share: float) -> str:
    """A difference of shares in percentage points."""
    return f"{100 * share:+.1f}".replace("-", "−")


def _training(cycle: CycleRow, improve: Mapping[str, Any]) -> tuple[Field, ...]:
    if cycle.trainable_parameters is None:
        return ()
    loss = improve.get("best_eval_loss")
    return (
        Field(
            "Adapter", f"{cycle.trainable_parameters:,} parameters, {cycle.trainable_share or 0:.4%} of the base model"
        ),
        Field("Steps", f"{_count(improve.get('steps'))} over {improve.get('epochs', NOT_RECORDED)} epochs"),
        Field(
            "Kept",
            f"step {improve.get('best_step')}, validation loss {loss:.4f}" if loss is not None else "the last step",
        ),
        Field("Adapter check", f"largest change of a logit {_number(improve.get('logit_change'))}"),
    )


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else NOT_RECORDED


def _gate(row: Any) -> GateLine:
    sign = {"at_most": "≤ ", "at_least": "≥ "}.get(row.direction or "", "")
    return GateLine(
        gate=row.gate,
        status=row.status,
        target="–" if row.target is None else f"{sign}{_of_gate(row.gate, row.target)}",
        value="–" if row.value is None else _of_gate(row.gate, row.value),
        bound="–" if row.bound is None else _of_gate(row.gate, row.bound),
        reason=row.reason,
        to_decide="–" if row.records_to_decide is None else f"{row.records_to_decide:,}",
    )


def _of_gate(name: str, value: float) -> str:
    return (f"{value:.2f} dB" if name in DECIBELS else f"{value:.2%}").replace("-", "−")


def _sharing(cycle: CycleRow, improve: Mapping[str, Any], *, passed: bool) -> tuple[Field, ...]:
    promote = f"harness promote {cycle.cycle_id}"
    return (
        Field("Model id", str(improve.get("model_id") or NOT_RECORDED)),
        Field("Adapter", str(improve.get("adapter") or NOT_RECORDED)),
        Field("Inspect a picture", f"harness predict {cycle.cycle_id} PICTURE"),
        Field("Promote it", promote if passed else f"{promote} --force --note WHY (its gate did not pass)"),
        Field("Every answer", f"harness sql \"SELECT * FROM v_answers WHERE cycle_id = '{cycle.cycle_id}'\""),
        Field("Every figure", f"harness show {cycle.cycle_id}"),
    )


def _picture(row: Mapping[str, Any]) -> PictureShown:
    where = ", ".join(row["true_locations"] or ())
    names = ", ".join(row["true_defects"] or ())
    truth = row["true_verdict"] if row["true_verdict"] == "passed" else f"defective: {where or '?'} {names}".strip()
    return PictureShown(
        sample_id=row["sample_id"],
        image_file=row["image_file"],
        picture=None,
        change=row["change"],
        question=row["question"],
        reference=row["reference"],
        truth=truth,
        base=_answer(row, "base"),
        finetuned=_answer(row, "finetuned"),
    )


def _evidence_note(cycle_id: str, shown: Sequence[Mapping[str, Any]]) -> str:
    """What to say where an older harness kept a verdict and not the words that decided it."""
    bare = any(
        row[f"{role}_outcome"] and row[f"{role}_evidence"] is None for row in shown for role in ("base", "finetuned")
    )
    return f"Some were scored before these words were kept: harness rescore {cycle_id} marks them." if bare else ""


def _answer(row: Mapping[str, Any], role: str) -> AnswerShown:
    text, p = row[f"{role}_answer"], row[f"{role}_p"]
    if text is None:
        return AnswerShown((Piece("not yet answered", ""),), "absent", "", "")
    return AnswerShown(
        pieces=pieces(text, row[f"{role}_evidence"]) or (Piece("(empty)", ""),),
        mark="right" if row[f"{role}_exact"] else "wrong",
        outcome=(row[f"{role}_outcome"] or "").replace("_", " "),
        p_defective="" if p is None else f"P(defective) {p:.2f}",
    )


def _cycle_plots(ledger: Ledger, cycle: CycleRow) -> dict[str, Figure]:
    """The figures for which there is data, by the place where the page shows them."""
    plots: dict[str, Figure] = {}
    roles = list(read.roles(ledger, cycle.cycle_id))
    missed = pages.pareto(ledger, cycle.cycle_id)
    if missed:
        plots["pareto"] = figures.pareto(missed)
    grid = json.loads(cycle.config).get("grid") or {}
    table = pages.confusion(ledger, cycle.cycle_id)
    for role in ("base", "finetuned"):
        if role in roles and table:
            cells = pages.grid(ledger, cycle.cycle_id, role)
            title = f"Defects found by cell, {figures.ROLE_NAMES[role]}"
            plots[f"grid_{role}"] = figures.heat_map(cells, grid.get("columns", ()), grid.get("rows", ()), title=title)
            plots[f"confusion_{role}"] = figures.confusion(table, role)
    log = pages.training_log(ledger, cycle.cycle_id)
    if log:
        plots["training"] = figures.training(log)
    return plots


def _cycle_lines(rows: Sequence[Mapping[str, Any]], incumbent: str | None) -> list[CycleLine]:
    lines = []
    of_cycles: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        of_cycles.setdefault(row["cycle_id"], []).append(row)
    for cycle_id, own in of_cycles.items():
        first = own[0]
        values = {(row["model_role"], row["metric"]): row for row in own}

        def show(role: str, metric: str, values: Mapping[tuple[str, str], Mapping[str, Any]] = values) -> str:
            row = values.get((role, metric))
            return (
                "–" if row is None or row["value"] is None else f"{row['value']:.1%} {_range(row, '.1%').rstrip(', ')}"
            )

        marks = [mark for mark, on in (("promoted", first["promoted"]), ("incumbent", cycle_id == incumbent)) if on]
        lines.append(
            CycleLine(
                cycle_id=cycle_id,
                status=first["status"],
                created=f"{first['created_at']:%Y-%m-%d %H:%M}",
                model=f"{first['model'] or '–'}, {first['recipe']}",
                records=f"{_count(first['train_records'])} / {_count(first['test_records'])}",
                split_id=first["split_id"] or "–",
                base_verdict=show("base", "verdict_accuracy"),
                verdict=show("finetuned", "verdict_accuracy"),
                location=show("finetuned", "location_accuracy"),
                exact=show("finetuned", "exact_accuracy"),
                gate=first["gate"] or "not judged",
                mark=", ".join(marks),
            )
        )
    return lines


def _index_plots(rows: Sequence[Mapping[str, Any]]) -> dict[str, Figure]:
    """Accuracies by cycle; joined by a line only where split, model and recipe stay the same."""
    setups = {(row["split_id"], row["model"], row["recipe"]) for row in rows}
    plots = {}
    for metric, title in CURVES.items():
        series = {
            role: [
                Point(
                    row["cycle_id"], row["value"], row["ci_low"], row["ci_high"], f"{row['cycle_id']}, {row['model']}"
                )
                for row in rows
                if row["metric"] == metric and row["model_role"] == role
            ]
            for role in ("base", "finetuned")
        }
        if any(series.values()):
            figure = figures.intervals_over(series, title=title, x="cycle", joined=len(setups) == 1)
            figure["layout"]["xaxis"]["type"] = "category"
            plots[metric] = figure
    return plots
