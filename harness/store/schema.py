"""The tables and views of the ledger, with what each column means, and the migrations that make them.

Enters: a writable DuckDB connection. Leaves: the same, at SCHEMA_VERSION.
Primary and foreign keys are not relied on (DuckLake has only NOT NULL): a stage deletes and inserts its own rows in
one transaction. Times are TIMESTAMP in UTC. A migration is never edited once released: a change is a new one, appended.

The key of an answer is (model_id, sample_id, condition_id, repeat, engine_id). `engine_id` names everything else that
can change a text (library versions, dtype, attention, token budget, verdict openings), so that a reused answer is one
that would come out the same, and an answer from other circumstances stands beside it instead of replacing it.
"""

from __future__ import annotations

from dataclasses import dataclass

import duckdb

#: table or view -> {column: (SQL type, what it means)}; views carry their types for the reader only.
TABLES: dict[str, dict[str, tuple[str, str]]] = {
    "products": {
        "product": ("VARCHAR NOT NULL", "name given by --product"),
        "created_at": ("TIMESTAMP NOT NULL", "when its first cycle was defined"),
        "split_id": ("VARCHAR", "the frozen test split in force"),
        "question": ("VARCHAR", "the commonest question of its records; predict asks it"),
        "vocabulary": ("JSON", "defect name -> aliases"),
        "grid": ("JSON", "columns and rows printed at the panels"),
        "openings": ("JSON", "the two verdict continuations that P(defective) compares"),
        "forms": ("JSON", "sentence forms of the training answers, for style_rate"),
        "reference_model_id": ("VARCHAR", "the frozen model that sn_base refers to"),
    },
    "cycles": {
        "cycle_id": ("VARCHAR NOT NULL", "c0001, c0002, ...; unique in the ledger"),
        "product": ("VARCHAR NOT NULL", "the product it raises"),
        "status": ("VARCHAR NOT NULL", "running | done"),
        "created_at": ("TIMESTAMP NOT NULL", "UTC"),
        "finished_at": ("TIMESTAMP", "UTC; NULL while running"),
        "harness_version": ("VARCHAR NOT NULL", "version of this package"),
        "recipe": ("VARCHAR NOT NULL", "recipe name or file"),
        "seed": ("BIGINT NOT NULL", "seed of training and sampling; the split does not depend on it"),
        "config": ("JSON NOT NULL", "the whole resolved configuration"),
        "sources": ("JSON NOT NULL", "each SRC as named, with its resolved revision and counts"),
        "grow_id": ("VARCHAR", "first cycle of the --grow series it belongs to"),
        "split_id": ("VARCHAR", "the frozen test split it is scored on"),
        "train_records": ("BIGINT", "training + validation records"),
        "fit_records": ("BIGINT", "records that made gradients"),
        "validation_records": ("BIGINT", "records that chose the checkpoint and any threshold"),
        "test_records": ("BIGINT", "records of the frozen test split"),
        "model": ("VARCHAR", "base model as named"),
        "device": ("VARCHAR", "where it ran"),
        "trainable_parameters": ("BIGINT", "parameters of the adapter"),
        "trainable_share": ("DOUBLE", "adapter parameters / base parameters"),
    },
    "samples": {
        "product": ("VARCHAR NOT NULL", "whose pool holds it"),
        "sample_id": ("VARCHAR NOT NULL", "hash of decoded pixels + question"),
        "image_id": ("VARCHAR NOT NULL", "hash of decoded pixels"),
        "image_file": ("VARCHAR NOT NULL", "path below the ledger's pool folder"),
        "width": ("INTEGER NOT NULL", "pixels"),
        "height": ("INTEGER NOT NULL", "pixels"),
        "question": ("VARCHAR NOT NULL", "as asked"),
        "group_id": ("VARCHAR NOT NULL", "physical part or lot; the picture itself where none is given"),
        "severity": ("DOUBLE", "0 hardly visible .. 1 plain, where the source says"),
        "source": ("VARCHAR NOT NULL", "the SRC it first came from"),
        "role": ("VARCHAR NOT NULL", "train | validation | test, fixed at first sight by its group"),
        "first_cycle": ("VARCHAR NOT NULL", "the cycle that brought it"),
        "added_at": ("TIMESTAMP NOT NULL", "UTC"),
    },
    "truths": {
        "product": ("VARCHAR NOT NULL", "whose truth"),
        "sample_id": ("VARCHAR NOT NULL", "the record"),
        "truth_version": ("INTEGER NOT NULL", "1, 2, ...; a corrected label is a new version"),
        "verdict": ("VARCHAR NOT NULL", "passed | defective"),
        "findings": ("STRUCT(location VARCHAR, defect VARCHAR)[] NOT NULL", "where and what"),
        "reference": ("VARCHAR NOT NULL", "the reference answer in words"),
        "origin": ("VARCHAR NOT NULL", "columns | reference: where the truth was read"),
        "added_at": ("TIMESTAMP NOT NULL", "UTC"),
    },
    "memberships": {
        "cycle_id": ("VARCHAR NOT NULL", "the cycle"),
        "sample_id": ("VARCHAR NOT NULL", "the record"),
        "split": ("VARCHAR NOT NULL", "train | validation | test | reserve | excluded"),
        "truth_version": ("INTEGER NOT NULL", "the truth that the cycle goes by; rescore moves it to the latest"),
        "reason": ("VARCHAR", "why it is in reserve or excluded"),
    },
    "models": {
        "model_id": ("VARCHAR NOT NULL", "hash of base id + revision + adapter weights"),
        "kind": ("VARCHAR NOT NULL", "base | cycle | merge | import | hosted"),
        "base": ("VARCHAR NOT NULL", "base model as named"),
        "revision": ("VARCHAR", "resolved revision, where it has one"),
        "adapter_hash": ("VARCHAR", "hash of the adapter's weights; NULL for a base model"),
        "adapter": ("VARCHAR", "folder of the adapter below the ledger"),
        "created_at": ("TIMESTAMP NOT NULL", "UTC"),
    },
    "roles": {
        "cycle_id": ("VARCHAR NOT NULL", "the cycle"),
        "model_role": ("VARCHAR NOT NULL", "base | finetuned | incumbent"),
        "model_id": ("VARCHAR NOT NULL", "the model in that role"),
        "engine_id": ("VARCHAR NOT NULL", "the circumstances of its answers in this cycle"),
        "reused": ("BIGINT NOT NULL", "answers that were already in the ledger"),
        "answered": ("BIGINT NOT NULL", "answers generated by this cycle"),
    },
    "conditions": {
        "condition_id": ("VARCHAR NOT NULL", "n0 = clean picture, canonical prompt, greedy"),
        "engine_id": ("VARCHAR NOT NULL", "hash of the column engine"),
        "prompt": ("VARCHAR NOT NULL", "canonical | a paraphrase's name"),
        "decoding": ("JSON NOT NULL", "token budget, sampling"),
        "noise": ("VARCHAR NOT NULL", "clean | a noise level's name"),
        "engine": ("JSON NOT NULL", "versions, dtype, attention, openings: all that can change a text"),
    },
    "answers": {
        "model_id": ("VARCHAR NOT NULL", "who answered"),
        "sample_id": ("VARCHAR NOT NULL", "what was asked"),
        "condition_id": ("VARCHAR NOT NULL", "under which condition"),
        "repeat": ("INTEGER NOT NULL", "0, 1, ... repeated decodes"),
        "engine_id": ("VARCHAR NOT NULL", "under which circumstances"),
        "text": ("VARCHAR NOT NULL", "the answer as given"),
        "p_defective": ("DOUBLE", "P(defective) in [0, 1] from the two verdict openings"),
        "prompt_tokens": ("INTEGER NOT NULL", "tokens in, without padding"),
        "new_tokens": ("INTEGER NOT NULL", "tokens out, the stop token included"),
        "finish_reason": ("VARCHAR NOT NULL", "stop | length"),
        "seconds": ("DOUBLE NOT NULL", "its share of the batch"),
        "answered_at": ("TIMESTAMP NOT NULL", "UTC"),
    },
    "findings": {
        "product": ("VARCHAR NOT NULL", "whose vocabulary read it"),
        "model_id": ("VARCHAR NOT NULL", "who answered"),
        "sample_id": ("VARCHAR NOT NULL", "what was asked"),
        "condition_id": ("VARCHAR NOT NULL", "under which condition"),
        "repeat": ("INTEGER NOT NULL", "repeated decode"),
        "engine_id": ("VARCHAR NOT NULL", "under which circumstances"),
        "parser_version": ("INTEGER NOT NULL", "who read it"),
        "location": ("VARCHAR", "cell, as in 5U; NULL where unsaid"),
        "defect": ("VARCHAR", "canonical name; NULL where unsaid"),
    },
    "scores": {
        "product": ("VARCHAR NOT NULL", "whose truth it is held against"),
        "model_id": ("VARCHAR NOT NULL", "who answered"),
        "sample_id": ("VARCHAR NOT NULL", "what was asked"),
        "condition_id": ("VARCHAR NOT NULL", "under which condition"),
        "repeat": ("INTEGER NOT NULL", "repeated decode"),
        "engine_id": ("VARCHAR NOT NULL", "under which circumstances"),
        "parser_version": ("INTEGER NOT NULL", "who read it"),
        "truth_version": ("INTEGER NOT NULL", "which truth"),
        "parsed": ("BOOLEAN NOT NULL", "a decision could be read"),
        "reason": ("VARCHAR NOT NULL", "why not, else empty"),
        "verdict": ("VARCHAR", "passed | defective | NULL"),
        "outcome": ("VARCHAR NOT NULL", "true_pass | true_defect | escape | overkill | unreadable"),
        "verdict_correct": ("BOOLEAN NOT NULL", "unreadable counts as wrong"),
        "location_correct": ("BOOLEAN NOT NULL", "the set of cells is exactly right"),
        "location_tp": ("INTEGER NOT NULL", "cells rightly named"),
        "location_fp": ("INTEGER NOT NULL", "cells wrongly named"),
        "location_fn": ("INTEGER NOT NULL", "cells not named"),
        "defect_names_correct": ("BOOLEAN NOT NULL", "the set of defect names is exactly right"),
        "finding_tp": ("INTEGER NOT NULL", "(cell, name) pairs rightly named"),
        "finding_fp": ("INTEGER NOT NULL", "pairs wrongly named"),
        "finding_fn": ("INTEGER NOT NULL", "pairs not named"),
        "exact": ("BOOLEAN NOT NULL", "verdict, cells and names all right"),
        "rouge_l": ("DOUBLE NOT NULL", "ROUGE-L F1 against the reference, 0..1"),
        "sentence_bleu": ("DOUBLE NOT NULL", "0..100"),
        "sentence_chrf": ("DOUBLE NOT NULL", "0..100"),
        "in_style": ("BOOLEAN NOT NULL", "the answer has the form of a training answer"),
    },
    "metrics": {
        "cycle_id": ("VARCHAR NOT NULL", "the cycle"),
        "model_role": ("VARCHAR NOT NULL", "base | finetuned | incumbent"),
        "split": ("VARCHAR NOT NULL", "validation | test"),
        "condition_id": ("VARCHAR NOT NULL", "n0, ..."),
        "slice": ("VARCHAR NOT NULL", "all, or axis=value as in defect=missing"),
        "parser_version": ("INTEGER NOT NULL", "who read the answers"),
        "metric": ("VARCHAR NOT NULL", "the names of MEASUREMENT"),
        "value": ("DOUBLE", "NULL where it cannot be computed; method says why"),
        "ci_low": ("DOUBLE", "95 % interval"),
        "ci_high": ("DOUBLE", "95 % interval"),
        "n": ("BIGINT NOT NULL", "records it rests on"),
        "method": ("VARCHAR NOT NULL", "how the interval was made"),
    },
    "comparisons": {
        "cycle_id": ("VARCHAR NOT NULL", "the candidate's cycle"),
        "baseline": ("VARCHAR NOT NULL", "base | incumbent"),
        "candidate": ("VARCHAR NOT NULL", "finetuned"),
        "split": ("VARCHAR NOT NULL", "test"),
        "condition_id": ("VARCHAR NOT NULL", "n0"),
        "parser_version": ("INTEGER NOT NULL", "who read the answers"),
        "metric": ("VARCHAR NOT NULL", "verdict_accuracy | exact_accuracy | ..."),
        "n": ("BIGINT NOT NULL", "paired records"),
        "baseline_value": ("DOUBLE NOT NULL", "of the baseline"),
        "candidate_value": ("DOUBLE NOT NULL", "of the candidate"),
        "difference": ("DOUBLE NOT NULL", "candidate - baseline"),
        "ci_low": ("DOUBLE NOT NULL", "paired 95 % interval"),
        "ci_high": ("DOUBLE NOT NULL", "paired 95 % interval"),
        "fixed": ("BIGINT NOT NULL", "only the candidate is right"),
        "broken": ("BIGINT NOT NULL", "only the baseline is right"),
        "p_value": ("DOUBLE NOT NULL", "exact McNemar, two-sided"),
        "p_holm": ("DOUBLE NOT NULL", "corrected over the metrics compared together"),
        "detectable": ("DOUBLE", "smallest difference shown with 80 % power"),
        "method": ("VARCHAR NOT NULL", "how the interval was made"),
    },
    "training_log": {
        "cycle_id": ("VARCHAR NOT NULL", "the cycle"),
        "step": ("BIGINT NOT NULL", "optimizer step"),
        "epoch": ("DOUBLE", "passes over the training records"),
        "loss": ("DOUBLE", "training loss, nats per answer token"),
        "eval_loss": ("DOUBLE", "validation loss, nats per answer token"),
        "learning_rate": ("DOUBLE", "at that step"),
        "grad_norm": ("DOUBLE", "before clipping"),
        "seconds": ("DOUBLE", "since training began"),
    },
    "stages": {
        "cycle_id": ("VARCHAR NOT NULL", "the cycle"),
        "stage": ("VARCHAR NOT NULL", "define | measure | analyze | improve | control | share"),
        "started_at": ("TIMESTAMP NOT NULL", "UTC"),
        "finished_at": ("TIMESTAMP NOT NULL", "UTC"),
        "seconds": ("DOUBLE NOT NULL", "wall clock"),
        "peak_memory_gib": ("DOUBLE", "peak allocated on the device; NULL on the CPU"),
        "peak_rss_gib": ("DOUBLE NOT NULL", "peak resident memory of the process so far"),
        "manifest": ("JSON NOT NULL", "what the stage left"),
    },
    "gates": {
        "cycle_id": ("VARCHAR NOT NULL", "the cycle"),
        "gate": ("VARCHAR NOT NULL", "a metric of [targets], regression, or overall"),
        "direction": ("VARCHAR", "at_most | at_least"),
        "target": ("DOUBLE", "the limit"),
        "value": ("DOUBLE", "the point value"),
        "bound": ("DOUBLE", "one-sided 95 % bound that must meet the limit"),
        "n": ("BIGINT", "records it rests on"),
        "status": ("VARCHAR NOT NULL", "pass | fail | inconclusive"),
        "records_to_decide": ("BIGINT", "further records of the class at the rate seen"),
        "reason": ("VARCHAR NOT NULL", "in words"),
        "judged_at": ("TIMESTAMP NOT NULL", "UTC"),
    },
    "releases": {
        "product": ("VARCHAR NOT NULL", "the product"),
        "cycle_id": ("VARCHAR NOT NULL", "the promoted cycle"),
        "model_id": ("VARCHAR NOT NULL", "its fine-tuned model"),
        "released_at": ("TIMESTAMP NOT NULL", "UTC"),
        "gate_status": ("VARCHAR NOT NULL", "of the gate at that time"),
        "note": ("VARCHAR NOT NULL", "why, in the promoter's words"),
    },
    "probabilities": {
        "model_id": ("VARCHAR NOT NULL", "who was asked"),
        "sample_id": ("VARCHAR NOT NULL", "about what"),
        "condition_id": ("VARCHAR NOT NULL", "n0, or noise-1122112: a level (0 as in n0, 1, 2) for each noise factor"),
        "engine_id": ("VARCHAR NOT NULL", "under which circumstances"),
        "p_defective": ("DOUBLE NOT NULL", "P(defective) in [0, 1], asked for without a text"),
        "seconds": ("DOUBLE NOT NULL", "its share of the batch"),
        "answered_at": ("TIMESTAMP NOT NULL", "UTC"),
    },
    "noise_studies": {
        "cycle_id": ("VARCHAR NOT NULL", "the cycle"),
        "n1_condition": ("VARCHAR NOT NULL", "compound noise that pushes s = 2 P(defective) - 1 down"),
        "n2_condition": ("VARCHAR NOT NULL", "compound noise that pushes s up"),
        "compound": ("VARCHAR NOT NULL", "factors | plan runs: how N1 and N2 were made"),
        "reason": ("VARCHAR NOT NULL", "in words"),
        "reference_model_id": ("VARCHAR NOT NULL", "the frozen model that sn_base refers to"),
        "validation_records": ("BIGINT NOT NULL", "records of the L8 plan"),
        "test_records": ("BIGINT NOT NULL", "records under N1 and N2"),
        "engine_id": ("VARCHAR NOT NULL", "circumstances of the answers under noise"),
        "studied_at": ("TIMESTAMP NOT NULL", "UTC"),
    },
    "noise_effects": {
        "cycle_id": ("VARCHAR NOT NULL", "the cycle"),
        "model_role": ("VARCHAR NOT NULL", "base | finetuned"),
        "slice": ("VARCHAR NOT NULL", "all, truth=passed or truth=defective"),
        "factor": ("VARCHAR NOT NULL", "brightness, gaussian_noise, jpeg_quality, shift, blur, rotation, prompt"),
        "low_level": ("VARCHAR NOT NULL", "level 1 in words"),
        "high_level": ("VARCHAR NOT NULL", "level 2 in words"),
        "low_mean": ("DOUBLE NOT NULL", "mean score s = 2 P(defective) - 1 at level 1, validation records"),
        "high_mean": ("DOUBLE NOT NULL", "mean score s at level 2"),
        "effect": ("DOUBLE NOT NULL", "high_mean - low_mean"),
        "ci_low": ("DOUBLE", "bootstrap 95 % interval of the effect"),
        "ci_high": ("DOUBLE", "bootstrap 95 % interval of the effect"),
        "up": ("BIGINT NOT NULL", "records whose s rises from level 1 to level 2 by .001 or more"),
        "down": ("BIGINT NOT NULL", "records whose s falls by .001 or more"),
        "p_value": ("DOUBLE NOT NULL", "two-sided sign test of up against down"),
        "steady": (
            "BOOLEAN NOT NULL",
            "it pushes the slice's records the same way; finetuned, all: it is in N1 and N2",
        ),
        "n": ("BIGINT NOT NULL", "validation records"),
    },
    "noise_sn": {
        "cycle_id": ("VARCHAR NOT NULL", "the cycle"),
        "model_role": ("VARCHAR NOT NULL", "base | finetuned"),
        "model_id": ("VARCHAR NOT NULL", "the model in that role"),
        "metric": (
            "VARCHAR NOT NULL",
            "sn_base, sn_truth (energy ratios), n0_sn_base, n0_sn_truth, overall_sn, overall_energy_sn: dB; "
            "noise_false_reject_rate, noise_miss_rate: P(defective) is on the wrong side of .5 under N1 or N2",
        ),
        "reference_model_id": ("VARCHAR NOT NULL", "whose scores at n0 are the signal; truth where the signal is +-1"),
        "value": ("DOUBLE", "may be infinite, and NULL where not defined; method names it"),
        "ci_low": ("DOUBLE", "95 % interval, ends may be infinite"),
        "ci_high": ("DOUBLE", "95 % interval, ends may be infinite"),
        "beta": ("DOUBLE", "slope on the signal; below 0 the model runs against it"),
        "n": ("BIGINT NOT NULL", "test records"),
        "method": ("VARCHAR NOT NULL", "how the interval was made, or the name of what is infinite or not defined"),
    },
    "lots": {
        "product": ("VARCHAR NOT NULL", "the product"),
        "cycle_id": ("VARCHAR NOT NULL", "the cycle whose frozen model is watched"),
        "model_id": ("VARCHAR NOT NULL", "that model"),
        "engine_id": ("VARCHAR NOT NULL", "the circumstances of its answers"),
        "lot": ("VARCHAR NOT NULL", "name of the lot, unique in the cycle"),
        "number": ("INTEGER NOT NULL", "1, 2, ...: the order on the charts"),
        "sources": ("JSON NOT NULL", "each SRC as named, with its resolved revision and rows"),
        "passed": ("BIGINT NOT NULL", "records truly passed"),
        "defective": ("BIGINT NOT NULL", "records truly defective"),
        "misses": ("BIGINT NOT NULL", "of the truly defective: not called so, unreadable included"),
        "false_rejects": ("BIGINT NOT NULL", "of the truly passed: not called so, unreadable included"),
        "unreadable": ("BIGINT NOT NULL", "answers in which no decision could be read"),
        "left_out": (
            "BIGINT NOT NULL",
            "rows without a usable picture, question or truth, twins, and records trained on",
        ),
        "parser_version": ("INTEGER NOT NULL", "who read the answers"),
        "released": ("BOOLEAN NOT NULL", "the cycle was promoted when the lot was watched"),
        "alarms": ("VARCHAR[] NOT NULL", "what the charts said when the lot was watched; empty where they were quiet"),
        "watched_at": ("TIMESTAMP NOT NULL", "UTC"),
    },
    "lot_answers": {
        "cycle_id": ("VARCHAR NOT NULL", "the cycle whose model answered"),
        "lot": ("VARCHAR NOT NULL", "the lot"),
        "sample_id": ("VARCHAR NOT NULL", "hash of decoded pixels + question; no record of the pool"),
        "image_file": ("VARCHAR NOT NULL", "path below the ledger"),
        "group_id": ("VARCHAR NOT NULL", "physical part; the picture itself where none is given"),
        "question": ("VARCHAR NOT NULL", "as asked"),
        "reference": ("VARCHAR NOT NULL", "the reference answer in words"),
        "true_verdict": ("VARCHAR NOT NULL", "passed | defective"),
        "true_findings": ("STRUCT(location VARCHAR, defect VARCHAR)[] NOT NULL", "where and what is wrong"),
        "text": ("VARCHAR NOT NULL", "the answer as given"),
        "p_defective": ("DOUBLE", "P(defective) in [0, 1] from the two verdict openings"),
        "prompt_tokens": ("INTEGER NOT NULL", "tokens in, without padding"),
        "new_tokens": ("INTEGER NOT NULL", "tokens out, the stop token included"),
        "finish_reason": ("VARCHAR NOT NULL", "stop | length"),
        "seconds": ("DOUBLE NOT NULL", "its share of the batch"),
        "answered_at": ("TIMESTAMP NOT NULL", "UTC"),
        "parser_version": ("INTEGER NOT NULL", "who read it"),
        "verdict": ("VARCHAR", "passed | defective | NULL"),
        "reason": ("VARCHAR NOT NULL", "why no decision could be read, else empty"),
        "outcome": ("VARCHAR NOT NULL", "true_pass | true_defect | escape | overkill | unreadable"),
        "verdict_correct": ("BOOLEAN NOT NULL", "unreadable counts as wrong"),
        "location_correct": ("BOOLEAN NOT NULL", "the set of cells is exactly right"),
        "exact": ("BOOLEAN NOT NULL", "verdict, cells and names all right"),
    },
    "gauge_figures": {
        "cycle_id": ("VARCHAR NOT NULL", "the cycle whose test pictures and truths were used"),
        "condition_id": ("VARCHAR NOT NULL", "n0 where greedy, else the sampling condition of the trials"),
        "rater": ("VARCHAR NOT NULL", "the cycle whose model decided, a pair as in c0001 and c0002, or all"),
        "metric": ("VARCHAR NOT NULL", "effectiveness, cohen_kappa, ... of MEASUREMENT section 4"),
        "value": ("DOUBLE", "NULL where it cannot be computed; method says why"),
        "ci_low": ("DOUBLE", "95 % interval"),
        "ci_high": ("DOUBLE", "95 % interval"),
        "n": ("BIGINT NOT NULL", "decisions or pictures it rests on"),
        "method": ("VARCHAR NOT NULL", "how the interval was made"),
        "rule": ("VARCHAR NOT NULL", "the rule of thumb's word for the value, else empty"),
        "repeats": ("INTEGER NOT NULL", "trials a picture"),
        "temperature": ("DOUBLE", "of the sampling; NULL where greedy"),
        "parser_version": ("INTEGER NOT NULL", "who read the answers"),
        "studied_at": ("TIMESTAMP NOT NULL", "UTC"),
    },
    "thresholds": {
        "cycle_id": ("VARCHAR NOT NULL", "the cycle; its latest choice"),
        "model_id": ("VARCHAR NOT NULL", "its fine-tuned model"),
        "engine_id": ("VARCHAR NOT NULL", "the circumstances of the answers that it was chosen on"),
        "max_escape": ("DOUBLE NOT NULL", "tolerated share of the truly defective that pass, on validation"),
        "max_overkill": ("DOUBLE NOT NULL", "tolerated share of the truly passed called defective, on validation"),
        "low": ("DOUBLE", "pass where P(defective) is below; NULL where none could be chosen"),
        "high": ("DOUBLE", "defective from here on, review between; NULL where nothing is rejected unseen"),
        "notes": ("JSON NOT NULL", "what a reader must know of it, in sentences"),
        "curves": ("JSON NOT NULL", "split -> mistakes over the threshold, scores by class, reliability"),
        "chosen_at": ("TIMESTAMP NOT NULL", "UTC"),
    },
    "threshold_figures": {
        "cycle_id": ("VARCHAR NOT NULL", "the cycle"),
        "split": ("VARCHAR NOT NULL", "validation: chosen on it | test: the honest result"),
        "rule": ("VARCHAR NOT NULL", "threshold: no review | band: with review | score: of P itself"),
        "metric": ("VARCHAR NOT NULL", "escape_rate, overkill_rate, review_rate, auroc, calibration_error, ..."),
        "value": ("DOUBLE", "NULL where it cannot be computed; method says why"),
        "ci_low": ("DOUBLE", "95 % interval"),
        "ci_high": ("DOUBLE", "95 % interval"),
        "n": ("BIGINT NOT NULL", "records it rests on"),
        "method": ("VARCHAR NOT NULL", "how the interval was made"),
    },
}

#: metrics that v_accuracy and v_learning_curve show as columns, in MEASUREMENT's order.
ACCURACY_METRICS = (
    "pass_accuracy", "defect_accuracy", "location_accuracy", "defect_name_accuracy", "verdict_accuracy",
    "balanced_accuracy", "exact_accuracy", "location_f1", "escape_rate", "overkill_rate", "miss_rate",
    "false_reject_rate", "parsed_rate", "style_rate", "digital_sn", "auroc",
)  # fmt: skip

#: what the figures mean, in MEASUREMENT's words
METRIC_MEANINGS: dict[str, str] = {
    "pass_accuracy": "of the truly passed: called passed",
    "defect_accuracy": "of the truly defective: called defective",
    "location_accuracy": "of the truly defective: the set of cells exactly right",
    "defect_name_accuracy": "of the truly defective: the set of defect names exactly right",
    "verdict_accuracy": "of all: verdict right",
    "balanced_accuracy": "mean of pass and defect accuracy",
    "exact_accuracy": "of all: verdict, cells and names all right",
    "location_f1": "micro F1 over cells",
    "escape_rate": "of the truly defective: called passed",
    "overkill_rate": "of the truly passed: called defective",
    "miss_rate": "1 - defect_accuracy: unreadable answers included",
    "false_reject_rate": "1 - pass_accuracy: unreadable answers included",
    "parsed_rate": "of all: a decision could be read",
    "style_rate": "of all: the answer has the form of a training answer",
    "digital_sn": "dB; of false_reject_rate and miss_rate together",
    "auroc": "area under the ROC curve of P(defective)",
}

#: columns that only views have
VIEW_COLUMNS: dict[str, str] = {
    "answer": "the answer as given",
    "true_verdict": "passed | defective, by the truth that the cycle goes by",
    "true_locations": "cells that truly differ, sorted",
    "true_defects": "defect names that are true, sorted",
    "locations": "cells read from the answer, sorted",
    "defects": "defect names read from the answer, sorted",
    "flip": "fixed: only the fine-tuned model is exactly right; broken: only the base is",
    "base_answer": "the base model's text",
    "finetuned_answer": "the fine-tuned model's text",
    "base_outcome": "outcome of the base model",
    "finetuned_outcome": "outcome of the fine-tuned model",
    "records": "test records with this defect",
    "missed": "of these, not called defective (v_pareto); truly defective here but not named (v_grid)",
    "defective": "test records truly defective at this cell",
    "found": "of these, the answer names the cell",
    "wrongly_named": "answers that name the cell though nothing is wrong there",
}

_PIVOT = ",\n       ".join(f"max(m.value) FILTER (m.metric = '{name}') AS {name}" for name in ACCURACY_METRICS)

#: A cycle is read at the newest parser version that scored it; `harness rescore` brings all to the same one.
VIEWS: dict[str, tuple[str, str]] = {
    "v_answers": (
        "a row per cycle, role, sample, condition, repeat: texts, truth, outcome",
        """
SELECT c.product, r.cycle_id, r.model_role, ms.split, a.sample_id, a.condition_id, a.repeat,
       s.question, t.reference, a.text AS answer, t.verdict AS true_verdict,
       list_sort(list_distinct(list_filter([f.location FOR f IN t.findings], lambda x: x IS NOT NULL)))
           AS true_locations,
       list_sort(list_distinct(list_filter([f.defect FOR f IN t.findings], lambda x: x IS NOT NULL))) AS true_defects,
       sc.verdict,
       coalesce(fd.locations, []) AS locations, coalesce(fd.defects, []) AS defects,
       sc.outcome, sc.reason, sc.parsed, sc.verdict_correct, sc.location_correct, sc.defect_names_correct, sc.exact,
       sc.location_tp, sc.location_fp, sc.location_fn, sc.finding_tp, sc.finding_fp, sc.finding_fn,
       sc.rouge_l, sc.sentence_bleu, sc.sentence_chrf, sc.in_style,
       a.p_defective, a.prompt_tokens, a.new_tokens, a.finish_reason, a.seconds, a.answered_at,
       s.group_id, s.severity, s.source, s.image_file, t.truth_version, sc.parser_version, a.model_id, a.engine_id
FROM roles r
JOIN cycles c USING (cycle_id)
JOIN memberships ms ON ms.cycle_id = r.cycle_id AND ms.split IN ('test', 'validation')
JOIN answers a ON a.model_id = r.model_id AND a.engine_id = r.engine_id AND a.sample_id = ms.sample_id
JOIN samples s ON s.product = c.product AND s.sample_id = a.sample_id
JOIN truths t ON t.product = c.product AND t.sample_id = a.sample_id AND t.truth_version = ms.truth_version
JOIN (SELECT cycle_id, max(parser_version) AS parser_version FROM metrics GROUP BY cycle_id) cp
     ON cp.cycle_id = r.cycle_id
JOIN scores sc ON sc.product = c.product AND sc.model_id = a.model_id AND sc.sample_id = a.sample_id
     AND sc.condition_id = a.condition_id AND sc.repeat = a.repeat AND sc.engine_id = a.engine_id
     AND sc.parser_version = cp.parser_version AND sc.truth_version = ms.truth_version
LEFT JOIN LATERAL (
    -- by answer, not once for all findings: a query of one cycle then sums up its own alone
    SELECT list_sort(list_distinct(list(f.location) FILTER (f.location IS NOT NULL))) AS locations,
           list_sort(list_distinct(list(f.defect) FILTER (f.defect IS NOT NULL))) AS defects
    FROM findings f
    WHERE f.product = c.product AND f.model_id = a.model_id AND f.sample_id = a.sample_id
      AND f.condition_id = a.condition_id AND f.repeat = a.repeat AND f.engine_id = a.engine_id
      AND f.parser_version = cp.parser_version
) fd ON true
""",
    ),
    "v_accuracy": (
        "a row per cycle and role on test at n0: the accuracies",
        f"""
SELECT m.cycle_id, m.model_role, c.product, c.train_records, c.test_records,
       {_PIVOT},
       m.parser_version, c.split_id, c.model, c.recipe, c.created_at
FROM metrics m JOIN cycles c USING (cycle_id)
WHERE m.split = 'test' AND m.condition_id = 'n0' AND m.slice = 'all'
  AND m.parser_version = (SELECT max(m2.parser_version) FROM metrics m2 WHERE m2.cycle_id = m.cycle_id)
GROUP BY m.cycle_id, m.model_role, c.product, c.train_records, c.test_records, m.parser_version, c.split_id, c.model,
         c.recipe, c.created_at
""",
    ),
    "v_learning_curve": (
        "a row per cycle, role and metric on test at n0, with its interval, to be drawn over train_records",
        """
SELECT c.product, c.split_id, c.model, c.recipe, m.cycle_id, m.model_role, c.train_records, m.metric, m.value,
       m.ci_low, m.ci_high, m.n, m.method
FROM metrics m JOIN cycles c USING (cycle_id)
WHERE m.split = 'test' AND m.condition_id = 'n0' AND m.slice = 'all'
  AND m.parser_version = (SELECT max(m2.parser_version) FROM metrics m2 WHERE m2.cycle_id = m.cycle_id)
""",
    ),
    "v_flips": (
        "test records on which base and fine-tuned differ in being exactly right: fixed or broken",
        """
SELECT f.product, f.cycle_id, f.sample_id, CASE WHEN f.exact THEN 'fixed' ELSE 'broken' END AS flip, f.true_verdict,
       f.true_locations, f.true_defects, f.reference, b.answer AS base_answer, f.answer AS finetuned_answer,
       b.outcome AS base_outcome, f.outcome AS finetuned_outcome
FROM v_answers f
JOIN v_answers b ON b.cycle_id = f.cycle_id AND b.sample_id = f.sample_id AND b.condition_id = f.condition_id
     AND b.repeat = f.repeat AND b.split = f.split AND b.model_role = 'base'
WHERE f.model_role = 'finetuned' AND f.split = 'test' AND f.condition_id = 'n0' AND f.repeat = 0 AND f.exact <> b.exact
""",
    ),
    "v_pareto": (
        "missed defects by name, most missed first: a record counts once for each of its defect names",
        """
SELECT product, cycle_id, model_role, defect, count(*) AS records,
       count(*) FILTER (NOT verdict_correct) AS missed,
       count(*) FILTER (NOT verdict_correct) / count(*) AS miss_rate
FROM (SELECT *, unnest(true_defects) AS defect FROM v_answers
      WHERE split = 'test' AND condition_id = 'n0' AND repeat = 0 AND true_verdict = 'defective')
GROUP BY ALL
ORDER BY product, cycle_id, model_role, missed DESC, defect
""",
    ),
    "v_grid": (
        "by cell: how often it was truly defective, found, missed, and wrongly named",
        """
WITH answer AS (
    SELECT product, cycle_id, model_role, true_locations, locations FROM v_answers
    WHERE split = 'test' AND condition_id = 'n0' AND repeat = 0
), cell AS (
    SELECT product, cycle_id, model_role, true_locations, locations,
           unnest(list_distinct(list_concat(true_locations, locations))) AS location FROM answer
)
SELECT product, cycle_id, model_role, location,
       count(*) FILTER (list_contains(true_locations, location)) AS defective,
       count(*) FILTER (list_contains(true_locations, location) AND list_contains(locations, location)) AS found,
       count(*) FILTER (list_contains(true_locations, location) AND NOT list_contains(locations, location)) AS missed,
       count(*) FILTER (NOT list_contains(true_locations, location)) AS wrongly_named
FROM cell GROUP BY ALL
""",
    ),
}


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema, from version - 1 to version."""

    version: int
    statements: tuple[str, ...]


def _create(*tables: str) -> tuple[str, ...]:
    return tuple(
        f"CREATE TABLE {table} ({', '.join(f'{name} {kind}' for name, (kind, _) in TABLES[table].items())})"
        for table in tables
    )


MIGRATIONS: tuple[Migration, ...] = (
    Migration(
        1,
        _create(
            "products", "cycles", "samples", "truths", "memberships", "models", "roles", "conditions", "answers",
            "findings", "scores", "metrics", "comparisons", "training_log", "stages", "gates", "releases",
        ),
    ),
    Migration(2, _create("probabilities", "noise_studies", "noise_effects", "noise_sn")),
    Migration(3, _create("gauge_figures", "thresholds", "threshold_figures")),
    Migration(5, _create("lots", "lot_answers")),
    Migration(6, ()),  # the views alone, which every migration makes anew
)  # fmt: skip
SCHEMA_VERSION = MIGRATIONS[-1].version


def schema_version(connection: duckdb.DuckDBPyConnection) -> int:
    """The version of the open ledger; 0 for a file that no ledger has written yet."""
    try:
        # Asking information_schema first would bind every view: 5 ms at each opening of the ledger.
        found = connection.execute("SELECT coalesce(max(version), 0) FROM migrations").fetchone()
    except duckdb.CatalogException:
        return 0
    return int(found[0]) if found else 0


def migrate(connection: duckdb.DuckDBPyConnection) -> None:
    """Bring the ledger to SCHEMA_VERSION in one transaction; views are made anew each time."""
    current = schema_version(connection)
    if current == SCHEMA_VERSION:
        return
    connection.execute("BEGIN")
    try:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS migrations (version INTEGER NOT NULL, applied_at TIMESTAMP NOT NULL)"
        )
        for migration in MIGRATIONS:
            if migration.version > current:
                for statement in migration.statements:
                    connection.execute(statement)
                connection.execute(f"INSERT INTO migrations VALUES ({migration.version}, now() AT TIME ZONE 'UTC')")
        for name, (_, body) in VIEWS.items():
            connection.execute(f"CREATE OR REPLACE VIEW {name} AS {body}")
        connection.execute("COMMIT")
    except duckdb.Error:
        connection.execute("ROLLBACK")
        raise


def describe() -> list[dict[str, str]]:
    """Every table with its columns, then every view: what `harness schema` prints."""
    rows = [
        {"name": table, "kind": "table", "column": column, "type": kind.removesuffix(" NOT NULL"), "meaning": meaning}
        for table, columns in TABLES.items()
        for column, (kind, meaning) in columns.items()
    ]
    meanings = {column: meaning for columns in TABLES.values() for column, (_, meaning) in columns.items()}
    with duckdb.connect(":memory:") as connection:
        migrate(connection)
        for view, (meaning, _) in VIEWS.items():
            rows.append({"name": view, "kind": "view", "column": "", "type": "", "meaning": meaning})
            for column, kind in connection.execute(
                f"SELECT column_name, data_type FROM information_schema.columns WHERE table_name = '{view}' "
                "ORDER BY ordinal_position"
            ).fetchall():
                told = VIEW_COLUMNS.get(column) or meanings.get(column) or METRIC_MEANINGS.get(column, "")
                rows.append({"name": view, "kind": "view", "column": column, "type": kind, "meaning": told})
    return rows
