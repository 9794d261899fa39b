"""The command line: one function a command, which parses the arguments, calls one function and prints.

Enters: argv. Leaves: data on stdout, everything else on stderr, and an exit code: 0 done, 1 an error told in one line
with a hint, 2 wrong usage, 3 a check failed, 4 a gate is inconclusive, 130 interrupted.
Every command imports what it needs when it runs, so that `harness --help` stays quick and the light commands never
load torch.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from harness.console import print_card, print_rows, print_table, print_trends, say
from harness.errors import CheckFailed, ConfigError, HarnessError, Interrupted

if TYPE_CHECKING:
    from harness.config import CycleConfig
    from harness.store import Ledger

app = typer.Typer(
    name="harness",
    help="Raise a vision-language model into a visual inspector, one DMAICS cycle at a time, and prove that it got "
    "better.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="Make records: from photo pairs, or the demo data.", rich_markup_mode=None)
app.add_typer(data_app, name="data", no_args_is_help=True)

Runs = Annotated[Path, typer.Option("--runs", envvar="HARNESS_RUNS", help="Folder of the ledger.")]
Config = Annotated[Path | None, typer.Option("--config", help="Settings; default ./harness.toml where it exists.")]
Reports = Annotated[Path, typer.Option("--reports", help="Folder of the HTML reports.")]
Settings = Annotated[list[str] | None, typer.Option("--set", help="Override a setting, as in train.epochs=2.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Data = Annotated[list[str], typer.Option("--data", help="SRC: a folder, a file, a Hub data set, or demo:cubes?n=300.")]
MoreData = Annotated[list[str] | None, typer.Option("--data", help="SRC: folder, file, Hub data set or demo:cubes.")]
TestData = Annotated[list[str] | None, typer.Option("--test-data", help="SRC whose records are all test records.")]
Cycle = Annotated[str, typer.Argument(help="Cycle id, as in c0001.")]
Cycles = Annotated[list[str] | None, typer.Argument(help="Cycle ids; all where none is named.")]

RUNS, REPORTS = Path("runs"), Path("reports")
#: columns of gates that a narrow table leaves out first: the reason says them in words
SPARE_OF_GATES = ("direction", "records_to_decide", "value", "bound", "n")


def _version(asked: bool) -> None:
    if asked:
        from harness import __version__

        print(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    pass


@app.command()
def init(
    data: MoreData = None,
    out: Annotated[Path, typer.Option("--out", help="File to write.")] = Path("harness.toml"),
    product: Annotated[str, typer.Option("--product", help="Name of the product.")] = "default",
    runs: Runs = RUNS,
    config: Config = None,
) -> None:
    """Write a commented harness.toml, with the defect names that the references of SRC use."""
    from harness.stages.draft import draft_config

    if out.exists():
        raise ConfigError(f"{out} exists already", hint="edit it, remove it, or write elsewhere: --out FILE")
    draft = draft_config(list(data or []), product=product, runs=runs, config=_config(config))
    out.write_text(draft.text, encoding="utf-8")
    for note in draft.notes:
        say(note)
    say(f"wrote {out}; next: harness cycle --data SRC")


@app.command()
def cycle(
    data: MoreData = None,
    test_data: TestData = None,
    model: Annotated[str | None, typer.Option("--model", help="Hub id, folder, or tiny.")] = None,
    recipe: Annotated[str | None, typer.Option("--recipe", help="default, seed, tiny, or a TOML file.")] = None,
    product: Annotated[str | None, typer.Option("--product", help="The product that is raised.")] = None,
    train_cap: Annotated[int | None, typer.Option("--train-cap", help="Most training + validation records.")] = None,
    test_cap: Annotated[int | None, typer.Option("--test-cap", help="Most test records.")] = None,
    grow: Annotated[str | None, typer.Option("--grow", help="Nested sizes, as in 50,100,200: a cycle each.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of training and sampling, not of the split.")] = None,
    settings: Settings = None,
    resume: Annotated[str | None, typer.Option("--resume", metavar="CYCLE", help="Go on with a stopped cycle.")] = None,
    gate: Annotated[bool, typer.Option("--gate", help="Exit 3 or 4 where the gate does not pass.")] = False,
    new_split: Annotated[bool, typer.Option("--new-split", help="Close a new test split.")] = False,
    runs: Runs = RUNS,
    reports: Reports = REPORTS,
    config: Config = None,
) -> None:
    """Run one DMAICS cycle: data, base model, fine-tuning, comparison, gate, report."""
    from harness.cycle import Place, resume_cycle, run_cycle
    from harness.stages.compare import trends
    from harness.stages.run import CycleRequest
    from harness.store import read

    place = Place(runs, reports, say)
    if resume is not None:
        asked = (data, test_data, model, recipe, product, train_cap, test_cap, grow, seed, settings, new_split or None)
        if any(value is not None for value in asked):
            raise ConfigError(
                "--resume goes on with what the cycle was asked for: no other data, model or setting",
                hint=f"harness cycle --resume {resume} alone; or start a new cycle",
            )
        done = resume_cycle(resume, place)
    else:
        chosen = _cycle_config(
            config,
            recipe,
            settings,
            {
                "model.id": model,
                "product": product,
                "data.train_cap": train_cap,
                "data.test_cap": test_cap,
                "seed": seed,
            },
        )
        request = CycleRequest(tuple(data or ()), tuple(test_data or ()), new_split, _sizes(grow))
        done = run_cycle(request, chosen, place)
    ledger = _ledger(runs)
    print_rows(read.summary(ledger, done), as_json=False, spare=("cycle",))
    print_trends(trends(ledger, done))
    say(f"report: {reports / 'index.html'}")
    if gate:
        _exit_by_gate(ledger, done[-1])


@app.command()
def report(
    cycles: Cycles = None,
    standalone: Annotated[bool, typer.Option("--standalone", help="One self-contained file a page.")] = False,
    runs: Runs = RUNS,
    reports: Reports = REPORTS,
    config: Config = None,
) -> None:
    """Render the HTML report of cycles, and the index page."""
    from harness.report import render_reports
    from harness.store import read

    ledger = _ledger(runs)
    for cycle_id in cycles or []:
        read.cycle(ledger, cycle_id)
    for page in render_reports(ledger, cycles or None, reports, standalone=standalone):
        print(page)


@app.command()
def sql(
    query: Annotated[str, typer.Argument(help="One SQL query; harness schema lists tables and views.")],
    form: Annotated[
        Literal["table", "csv", "json", "parquet"], typer.Option("--format", help="Of the rows.")
    ] = "table",
    out: Annotated[Path | None, typer.Option("--out", help="File to write; needed for parquet.")] = None,
    runs: Runs = RUNS,
    config: Config = None,
) -> None:
    """Ask the ledger in SQL: read-only, and it sees nothing but the ledger."""
    from harness.store.query import ask, write_answer

    answer = ask(_ledger(runs), query)
    if form == "table" and out is None:
        print_table(answer.columns, answer.rows)
        return
    text = write_answer(answer, "csv" if form == "table" else form, out)
    if text:
        print(text, end="" if text.endswith("\n") else "\n")
    else:
        say(f"wrote {len(answer.rows)} rows to {out}")


@app.command()
def runs(as_json: AsJson = False, runs: Runs = RUNS, config: Config = None) -> None:
    """List the cycles of the ledger."""
    from harness.store import read

    ledger = _ledger(runs)
    rows = read.overview(ledger)
    if not as_json:  # a promotion is a status to people
        rows = [{**row, "status": "promoted" if row["promoted"] else row["status"]} for row in rows]
        rows = [{k: v for k, v in row.items() if k not in ("promoted", "note")} for row in rows]
    one = ("product",) if len({row["product"] for row in rows}) == 1 else ()
    spare = ("created_at", "split_id", "recipe", *one, "model", "test_records", "exact_accuracy", "location_accuracy")
    print_rows(rows, as_json, spare=spare)
    for release in read.releases(ledger):
        say(release.sentence)


@app.command()
def show(cycle: Cycle, as_json: AsJson = False, runs: Runs = RUNS, config: Config = None) -> None:
    """Show one cycle: records, figures with intervals, comparisons, gates, stages."""
    from harness.store import read

    shown = read.cycle_card(_ledger(runs), cycle)
    if as_json:
        print(json.dumps(shown, ensure_ascii=False, default=str, indent=1))
        return
    spare = {
        "models": ("adapter", "base"),
        "test figures at n0": ("method",),
        "comparisons": ("detectable", "p_value", "fixed", "broken", "baseline_value", "candidate_value"),
        "gates": SPARE_OF_GATES,
        "stages": ("peak_memory_gib", "peak_rss_gib"),
    }
    for title, rows in shown.items():
        if not rows and title == "promotions":
            continue
        print(f"\n{title}")
        if title == "cycle":
            print_card(rows[0])
        else:
            print_rows(rows, as_json=False, spare=spare.get(title, ()))


@app.command()
def compare(first: Cycle, second: Cycle, as_json: AsJson = False, runs: Runs = RUNS, config: Config = None) -> None:
    """Compare the fine-tuned models of two cycles on the same test records."""
    from dataclasses import asdict

    from harness.stages.compare import compare_cycles

    rows = [asdict(c) for c in compare_cycles(_ledger(runs), first, second)]
    print_rows(rows, as_json, spare=("method", "detectable", "p_value", "fixed", "broken"))


@app.command()
def gate(
    cycle: Cycle, settings: Settings = None, as_json: AsJson = False, runs: Runs = RUNS, config: Config = None
) -> None:
    """Judge a cycle by its targets, or those of harness.toml and --set: exit 0 pass, 3 fail, 4 inconclusive."""
    from dataclasses import asdict

    from harness.stages.control import gate_cycle
    from harness.store import read

    ledger = _ledger(runs)
    own = json.loads(read.cycle(ledger, cycle).config)["targets"]
    rows = gate_cycle(ledger, cycle, _config(config, settings=settings, targets=own).targets)
    shown = [{k: v for k, v in asdict(row).items() if k not in ("cycle_id", "judged_at")} for row in rows]
    print_rows(shown, as_json, spare=SPARE_OF_GATES)
    _exit_by_gate(ledger, cycle)


@app.command()
def promote(
    cycle: Cycle,
    note: Annotated[str, typer.Option("--note", help="Why, for the record.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Although its gate did not pass; needs --note.")] = False,
    runs: Runs = RUNS,
    config: Config = None,
) -> None:
    """Make a cycle's model the product's incumbent."""
    from harness.stages.control import promote_cycle

    row = promote_cycle(_ledger(runs), cycle, note=note, force=force)
    say(f"{row.product}: {row.cycle_id} (model {row.model_id}) is the incumbent now")
    say(row.sentence)


@app.command()
def rescore(cycles: Cycles = None, as_json: AsJson = False, runs: Runs = RUNS, config: Config = None) -> None:
    """Parse and score the stored texts again; prints what changed. No model is needed."""
    from dataclasses import asdict

    from harness.stages.rescore import rescore as rescore_cycles

    changes = rescore_cycles(_ledger(runs), cycles or [], say=say)
    print_rows([asdict(change) for change in changes], as_json)
    say(f"{len(changes)} scores changed" + ("; judge them again: harness gate CYCLE" if changes else ""))


@app.command()
def predict(
    cycle: Cycle,
    pictures: Annotated[list[Path], typer.Argument(help="Picture files.")],
    runs: Runs = RUNS,
    config: Config = None,
) -> None:
    """Inspect pictures with a cycle's model: one JSON line a picture."""
    from dataclasses import asdict

    from harness.stages.predict import predict as predict_pictures

    for prediction in predict_pictures(_ledger(runs), cycle, pictures, say=say):
        print(json.dumps(asdict(prediction), ensure_ascii=False), flush=True)


@app.command()
def curve(
    cycles: Annotated[list[str] | None, typer.Argument(help="Cycle ids; else all comparable with the newest.")] = None,
    product: Annotated[str | None, typer.Option("--product", help="Whose newest cycle; default: of all.")] = None,
    metric: Annotated[str | None, typer.Option("--metric", help="As in miss_rate; default: the charter's.")] = None,
    target: Annotated[float | None, typer.Option("--target", help="Of --metric, as in 0.02.")] = None,
    as_json: AsJson = False,
    runs: Runs = RUNS,
    config: Config = None,
) -> None:
    """Fit the learning curve over comparable cycles: training records needed for each target, with interval."""
    from dataclasses import asdict

    from harness.stages.curve import learning_curves

    found = learning_curves(_ledger(runs), cycles or (), product=product, metric=metric, target=target)
    if as_json:
        print(json.dumps(asdict(found), ensure_ascii=False, indent=1))
        return
    shown = ("metric", "target", "records", "value", "n", "answer")
    print_rows([{name: getattr(line, name) for name in shown} for line in found.lines], as_json=False)
    joined = ", ".join(f"{c.cycle_id} ({c.train_records})" for c in found.family.joined)
    say(f"product {found.family.product}, cycles (training records): {joined}")
    for method in dict.fromkeys(line.method for line in found.lines if line.method):
        say(f"fit: {method}")
    for out in found.family.left_out:
        say(f"left out: {out.cycle_id}: {out.why}")


@app.command()
def gauge(
    cycle: Cycle,
    repeats: Annotated[int, typer.Option("--repeats", min=1, help="Trials a test picture.")] = 3,
    temperature: Annotated[float, typer.Option("--temperature", min=0, help="Of the sampling; 0 is greedy.")] = 0.3,
    others: Annotated[
        list[str] | None, typer.Option("--with", metavar="CYCLE", help="Another appraiser; may be repeated.")
    ] = None,
    as_json: AsJson = False,
    runs: Runs = RUNS,
    config: Config = None,
) -> None:
    """Study a cycle's model as an attribute gauge: repeated trials on test, against the truth and other cycles."""
    from dataclasses import asdict

    from harness.stages.gauge import gauge_cycle

    names = [name for word in others or () for name in word.split(",") if name]
    study = gauge_cycle(_ledger(runs), cycle, repeats=repeats, temperature=temperature, others=names, say=say)
    hidden = ("cycle_id", "condition_id", "repeats", "temperature", "parser_version", "studied_at")
    print_rows([{k: v for k, v in asdict(row).items() if k not in hidden} for row in study.figures], as_json)
    for note in study.notes:
        say(note)


@app.command()
def suggest(
    cycle: Cycle,
    pool: Annotated[str, typer.Option("--pool", metavar="SRC", help="Folder of pictures, or a SRC; no labels needed.")],
    n: Annotated[int, typer.Option("--n", min=1, help="Most pictures to suggest.")] = 50,
    out: Annotated[Path | None, typer.Option("--out", help="File to write: .csv or .json.")] = None,
    settings: Settings = None,
    as_json: AsJson = False,
    runs: Runs = RUNS,
    config: Config = None,
) -> None:
    """Rank unlabelled pictures by how unsure a cycle's model is of them: what to label next."""
    from dataclasses import asdict

    if out is not None and out.suffix not in (".csv", ".json"):
        raise ConfigError(f"--out {out} is neither .csv nor .json", hint="for example --out label-next.csv")
    from harness.stages.suggest import suggest as suggest_pictures

    columns = _config(config, settings=settings).data.columns
    found = suggest_pictures(_ledger(runs), cycle, pool, n=n, columns=columns, say=say)
    rows = [asdict(suggestion) for suggestion in found]
    if out is None:
        print_rows(rows, as_json)
        return
    from harness.store.query import Answer, write_answer

    answer = Answer(tuple(rows[0]), tuple(tuple(row.values()) for row in rows))
    write_answer(answer, "csv" if out.suffix == ".csv" else "json", out)
    say(f"wrote {len(rows)} pictures to label to {out}")


@app.command()
def threshold(
    cycle: Cycle,
    max_escape: Annotated[
        float | None, typer.Option("--max-escape", help="Tolerated share of the defective; default: target miss_rate.")
    ] = None,
    max_overkill: Annotated[
        float | None,
        typer.Option("--max-overkill", help="Tolerated share of the passed; default: target false_reject_rate."),
    ] = None,
    split: Annotated[str, typer.Option("--split", help="Where to choose: validation and nothing else.")] = "validation",
    as_json: AsJson = False,
    runs: Runs = RUNS,
    config: Config = None,
) -> None:
    """Choose on validation where P(defective) passes, rejects or asks for review; report the result on test."""
    from dataclasses import asdict

    from harness.stages.threshold import choose_threshold

    chosen = choose_threshold(_ledger(runs), cycle, max_escape=max_escape, max_overkill=max_overkill, split=split)
    shown = [{k: v for k, v in asdict(row).items() if k != "cycle_id"} for row in chosen.figures]
    if as_json:
        row = chosen.threshold
        card = {"cycle_id": row.cycle_id, "low": row.low, "high": row.high, "max_escape": row.max_escape,
                "max_overkill": row.max_overkill, "notes": json.loads(row.notes), "figures": shown}  # fmt: skip
        print(json.dumps(card, ensure_ascii=False, indent=1))
    else:
        print_rows(shown, as_json=False)
        for note in json.loads(chosen.threshold.notes):
            say(note)
    if chosen.reason:
        hint = "run a cycle whose validation records have both classes and P(defective): harness cycle --data SRC"
        raise CheckFailed(f"no threshold for {cycle}: {chosen.reason}", hint=hint)


@app.command()
def robustness(
    cycle: Cycle,
    reference: Annotated[
        str | None, typer.Option("--reference", help="Signal of sn_base: base, a cycle or a model id.")
    ] = None,
    change_reference: Annotated[
        bool, typer.Option("--change-reference", help="Replace the recorded one; scores on both.")
    ] = False,
    as_json: AsJson = False,
    runs: Runs = RUNS,
    reports: Reports = REPORTS,
    config: Config = None,
) -> None:
    """Study a cycle's models under noise: L8 on validation, N1 and N2 on test, SN ratios with intervals."""
    from dataclasses import asdict

    from harness.cycle import Place, study_robustness
    from harness.report.robustness import sn_lines

    found = study_robustness(cycle, Place(runs, reports, say), reference=reference, change_reference=change_reference)
    if as_json:
        print(json.dumps(found.as_json(), ensure_ascii=False, default=str, indent=1))
        return
    lines = [asdict(line) for line in sn_lines(_ledger(runs), cycle)]
    print_rows([{k: v for k, v in line.items() if k != "meaning"} for line in lines], as_json=False)


@app.command()
def watch(
    cycle: Cycle,
    data: MoreData = None,
    lot: Annotated[str | None, typer.Option("--lot", help="Name of the lot; default: SRC as typed.")] = None,
    again: Annotated[bool, typer.Option("--replace", help="Watch a lot of this name anew, in its place.")] = False,
    settings: Settings = None,
    as_json: AsJson = False,
    runs: Runs = RUNS,
    config: Config = None,
) -> None:
    """Watch a frozen model on a new labelled lot, exit 3 on an alarm; without --data, show the lots and charts."""
    from harness.stages.watch import chart_notes, chart_rows, lot_line, watch_lot, watched

    ledger = _ledger(runs)
    if not data:
        if lot is not None or again:
            raise ConfigError("--lot and --replace go with --data", hint=f"harness watch {cycle} --data NEWLOT")
        seen = watched(ledger, cycle)
        lots, points = [lot_line(row) for row in seen.lots], chart_rows(seen)
    else:
        named = config or settings or Path("harness.toml").is_file()
        columns = _config(config, settings=settings).data if named else None
        seen = watch_lot(ledger, cycle, data, lot=lot, again=again, columns=columns, say=say)
        lots = [lot_line(row) for row in seen.lots if row.lot == seen.lot]
        points = [row for row in chart_rows(seen) if row["lot"] == seen.lot]
    if as_json:
        print(json.dumps({"lots": lots, "points": points}, ensure_ascii=False, default=str, indent=1))
    else:
        print_rows(lots, as_json=False)
        print_rows(points, as_json=False)
    for note in chart_notes(seen):
        say(f"watch: {note}")
    if data and seen.alarms:
        quoted = "'" + seen.lot.replace("'", "''") + "'"  # as SQL has it
        raise CheckFailed(
            f"alarm at lot {seen.lot!r} of {cycle}: {'; '.join(seen.alarms)}",
            hint='look at its wrong answers: harness sql "SELECT * FROM lot_answers WHERE NOT verdict_correct AND '
            f"cycle_id = '{cycle}' AND lot = {quoted}\"; "
            "wrong labels? correct them and watch it anew with --replace",
        )


@app.command()
def parse(
    text: Annotated[str | None, typer.Argument(help="An answer.")] = None,
    jsonl: Annotated[bool, typer.Option("--jsonl", help='Read {"id","text"} lines on stdin.')] = False,
    vocabulary: Annotated[Path | None, typer.Option("--vocabulary", help="Grid and aliases, JSON or TOML.")] = None,
    runs: Runs = RUNS,
    config: Config = None,
) -> None:
    """Show how a text is read: verdict, findings, and the words that decided."""
    from harness.parse import generic_vocabulary, load_vocabulary_file, merge_vocabulary, parse_to_json

    if (text is None) == (not jsonl):
        raise ConfigError("parse takes either TEXT or --jsonl", hint='harness parse "3C is missing, NG"')
    if vocabulary is not None:
        words, grid = load_vocabulary_file(vocabulary)
    else:
        chosen = _config(config)
        words, grid = merge_vocabulary(chosen.vocabulary, generic_vocabulary()), chosen.as_grid()
    if text is not None:
        print(json.dumps(parse_to_json(text, words, grid), ensure_ascii=False, indent=1))
        return
    sys.stdin.reconfigure(encoding="utf-8", errors="replace")  # type: ignore[union-attr]  # stdin is a text stream
    for number, line in enumerate(sys.stdin, start=1):
        if line.strip():
            case = _jsonl_case(line, number)
            said = parse_to_json(case["text"], words, grid)
            print(json.dumps({"id": case.get("id"), **said}, ensure_ascii=False), flush=True)


@app.command()
def audit(
    data: Data,
    test_data: TestData = None,
    settings: Settings = None,
    as_json: AsJson = False,
    runs: Runs = RUNS,
    config: Config = None,
) -> None:
    """Check data without a model: exit 3 on errors, 0 with warnings."""
    from dataclasses import asdict

    from harness.stages.audit import audit_sources

    report = audit_sources(data, test_data or [], _config(config, settings=settings), say=say)
    print_rows([asdict(finding) for finding in report.findings], as_json)
    if report.has_errors:
        errors = sum(finding.severity == "error" for finding in report.findings)
        raise CheckFailed(f"the audit found {errors} kinds of errors", hint="correct the records named above")


@data_app.command("demo")
def data_demo(
    out: Annotated[Path, typer.Option("--out", help="Folder to write; must not exist.")],
    n: Annotated[int, typer.Option("--n", min=1, help="Records.")] = 300,
    seed: Annotated[int, typer.Option("--seed", help="Same seed, same bytes.")] = 0,
    runs: Runs = RUNS,
    config: Config = None,
) -> None:
    """Write the demo data set, trays of cubes, as a folder that datasets.load_dataset loads."""
    from harness.dataset.cubes import write_folder

    if out.exists():
        raise ConfigError(f"{out} exists already", hint="name a new folder: --out DIR")
    write_folder(out, n=n, seed=seed)
    say(f"wrote {n} records to {out}")


@data_app.command("stack")
def data_stack(
    source: Annotated[Path, typer.Argument(help="CSV with a line a pair, or a folder of photos.")],
    out: Annotated[Path, typer.Option("--out", help="Folder to write; must not exist.")],
    align: Annotated[Literal["resize", "crop", "register"], typer.Option("--align", help="Photo -> panel.")] = "resize",
    language: Annotated[Literal["en", "ja"], typer.Option("--language", help="Of question and answers.")] = "en",
    cell: Annotated[int, typer.Option("--cell", min=8, help="Pixels a side of a grid cell.")] = 44,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave bad rows out instead of stopping.")] = False,
    runs: Runs = RUNS,
    config: Config = None,
) -> None:
    """Make two-panel records of photo pairs, with the grid drawn and the answers written."""
    from harness.dataset.stack import stack_pairs

    grid = _config(config).as_grid()
    made = stack_pairs(source, out, grid=grid, align=align, language=language, cell=cell, skip_bad=skip_bad)
    for row in made.left_out:
        say(f"line {row.line} left out: {row.reason}")
    say(f"wrote {made.records} records to {made.out}; look at {made.out / 'contact.png'}")


@app.command()
def doctor(as_json: AsJson = False, runs: Runs = RUNS, config: Config = None) -> None:
    """Tell what this machine and installation can do, and whether the ledger is sound."""
    from harness.doctor import examine

    checks = examine(_ledger(runs), config)
    print_rows([{"check": c.name, "status": c.status, "found": c.found, "advice": c.advice} for c in checks], as_json)
    broken = [c.name for c in checks if c.status == "broken"]
    if broken:
        raise CheckFailed(f"broken: {', '.join(broken)}", hint="follow the advice in the table above")


@app.command()
def schema(as_json: AsJson = False, runs: Runs = RUNS, config: Config = None) -> None:
    """Print the ledger's tables and views, and what each column means."""
    from harness.store.schema import describe

    rows = describe()
    print_rows(rows, as_json)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and exit; HarnessErrors become two lines on stderr."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # worker processes are forked after tokenising
    try:
        app(args=argv if argv is None else list(argv))
    except HarnessError as error:
        say(f"error: {error.message}")
        say(f"hint: {error.hint}")
        sys.exit(error.exit_code)
    except Interrupted as stop:
        say(f"interrupted; resume with: {stop.command} {stop.cycle_id}")
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output (head, less) went away: nothing is wrong, and nothing more can be said.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _ledger(runs: Path) -> Ledger:
    from harness.store import Ledger

    return Ledger(runs, tell=say)


def _config(
    file: Path | None,
    *,
    recipe: str | None = None,
    settings: Sequence[str] | None = None,
    flags: dict[str, Any] | None = None,
    targets: dict[str, float] | None = None,
) -> CycleConfig:
    from harness.config import load_config

    return load_config(file, recipe=recipe, flags=flags, settings=settings or (), targets=targets)


def _cycle_config(
    file: Path | None, recipe: str | None, settings: Sequence[str] | None, flags: dict[str, Any]
) -> CycleConfig:
    """The settings of a new cycle: the model is settled here, and with it the recipe where none is named."""
    from harness.config import names_recipe

    first = _config(file, recipe=recipe, settings=settings, flags=flags)
    model = first.model.id
    if model is None:
        from harness.vlm.load import default_model

        model = default_model()
        say(f"model: {model}, chosen because " + ("no CUDA device is here" if model == "tiny" else "CUDA is here"))
    if recipe is None and not names_recipe(file, settings or ()):
        recipe = "tiny" if model == "tiny" else "default"
    return _config(file, recipe=recipe, settings=settings, flags={**flags, "model.id": model})


def _sizes(grow: str | None) -> tuple[int, ...]:
    if grow is None:
        return ()
    try:
        return tuple(int(part) for part in grow.split(","))
    except ValueError as error:
        raise ConfigError(f"--grow takes sizes, got {grow!r}", hint="for example --grow 50,100,200") from error


def _jsonl_case(line: str, number: int) -> dict[str, Any]:
    try:
        case = json.loads(line)
    except ValueError:
        case = None
    if not isinstance(case, dict) or not isinstance(case.get("text"), str):
        raise ConfigError(f"stdin line {number} is no JSON object with a text: {line.strip()[:60]!r}",
                          hint='each line is like {"id": "1", "text": "3C is missing, NG"}')  # fmt: skip
    return case


def _exit_by_gate(ledger: Ledger, cycle_id: str) -> None:
    from harness.store import read

    overall = read.gates(ledger, cycle_id)[-1]
    if overall.status != "pass":
        advice = {
            "inconclusive": "more test records decide: add some with --test-data and --new-split",
            "fail": "add the data that Analyze names and run another cycle",
        }[overall.status]
        raise CheckFailed(
            f"the gate of {cycle_id}: {overall.status}: {overall.reason}",
            hint=f"{advice}; or release it all the same: harness promote {cycle_id} --force --note WHY",
            inconclusive=overall.status == "inconclusive",
        )
