"""The views for people, at the newest parser version of each cycle, with what their columns mean.

Views are made anew whenever the schema moves, so they may change freely.
"""

from __future__ import annotations

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
       sc.rouge_l, sc.sentence_bleu, sc.sentence_chrf, sc.in_style, sc.evidence,
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
