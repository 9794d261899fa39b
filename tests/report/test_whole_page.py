"""A cycle with every study there is, seen in a real browser: each section is there, says what it must, and is whole."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from harness.config import CycleConfig
from harness.dataset.split import NEARLY_EQUAL
from harness.report import render_reports
from harness.stages.gauge import gauge_condition, gauge_cycle
from harness.stages.threshold import choose_threshold
from harness.store import Ledger, read, write
from harness.store.rows import MembershipRow
from tests.grown_ledger import add_cycle
from tests.ledger_builder import PASSED, add_lots, build_ledger
from tests.report.conftest import open_page
from tests.report.test_robustness import write_study

PLOTS = {
    "pareto", "confusion_base", "confusion_finetuned", "grid_base", "grid_finetuned", "training",
    "curve_verdict_accuracy", "curve_location_accuracy", "curve_exact_accuracy",
    "noise_effects_base", "noise_effects_finetuned",
    "threshold_curve", "threshold_roc", "threshold_scores", "threshold_calibration",
    *(f"lots_{rate}_{chart}" for rate in ("miss_rate", "false_reject_rate") for chart in ("p", "ewma", "cusum")),
}  # fmt: skip


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of c0002 after every study; c0003 and c0004 make its learning curve."""
    home = tmp_path_factory.mktemp("whole")
    ledger = build_ledger(home / "runs")
    add_cycle(ledger, "c0003", 200, 23)
    add_cycle(ledger, "c0004", 400, 24)
    write_study(ledger, "c0002", "shy")
    choose_threshold(ledger, "c0002", max_escape=0.02)
    add_trials(ledger, "c0002", repeats=2)
    gauge_cycle(ledger, "c0002", repeats=2, temperature=0.3, say=lambda _: None)
    lots = [(f"a lot with a rather long name, number {n}", 40, 40, n % 3, n % 2) for n in range(1, 12)]
    add_lots(ledger, "c0002", [*lots, ("the bad one", 40, 40, 20, 0)])
    _keep_one_back(ledger)
    return render_reports(ledger, ["c0002"], home / "reports")[0].as_uri()


def add_trials(ledger: Ledger, cycle_id: str, *, repeats: int) -> None:
    """Sampled trials on test that repeat the answer at n0, but that the second calls every fourth picture passed."""
    config = CycleConfig.model_validate(json.loads(read.cycle(ledger, cycle_id).config))
    condition = gauge_condition(config, 0.3).condition_id
    test = {member.sample_id for member in read.memberships(ledger, cycle_id, ("test",))}
    given = [answer for answer in read.cycle_answers(ledger, cycle_id, "finetuned") if answer.sample_id in test]
    trials = [
        replace(
            answer, condition_id=condition, repeat=repeat, p_defective=None,
            text=PASSED if repeat and place % 4 == 0 else answer.text,
        )
        for repeat in range(repeats)
        for place, answer in enumerate(given)
    ]  # fmt: skip
    with ledger.writing() as connection:
        write.insert(connection, trials)


def _keep_one_back(ledger: Ledger) -> None:
    """Let a record be kept out of c0002's training because it nearly equals a test record."""
    validation = read.memberships(ledger, "c0002", ("validation",))[0]
    test = read.memberships(ledger, "c0002", ("test",))[0]
    kept = MembershipRow("c0002", validation.sample_id, "excluded", 1, NEARLY_EQUAL + test.sample_id)
    with ledger.writing() as connection:
        write.upsert(connection, [kept], ("cycle_id", "sample_id"))


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_cut_or_covered_in_the_index(browser: Any, page: str, width: int) -> None:
    open_page(browser, page.replace("c0002/", ""), width)
    assert browser.execute_script(FAULTS) == []


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "light"), (1280, "dark")])
def test_nothing_is_cut_or_covered(browser: Any, page: str, width: int, scheme: str) -> None:
    open_page(browser, page, width, scheme)
    assert browser.get_log("browser") == []
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    drawn = browser.execute_script("return [...document.querySelectorAll('.plot')].map(p => p.dataset.plot)")
    assert set(drawn) == PLOTS
    assert browser.execute_script(FAULTS) == []
    ink, paper = browser.execute_script(
        "const s = getComputedStyle(document.body); return [s.color, s.backgroundColor].map(c => "
        "c.match(/\\d+/g).slice(0, 3).map(Number).reduce((a, b) => a + b))"
    )
    assert (ink > paper) == (scheme == "dark")


#: Words of a figure that leave it, lie on one another, or on which its legend lies; a table cell squeezed to a column
#: of single words; a picture that is not there.
FAULTS = """
const found = [], box = e => e.getBoundingClientRect();
const meet = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 2
  && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 2;
for (const plot of document.querySelectorAll('.plot')) {
  const frame = box(plot), name = plot.dataset.plot, area = plot.querySelector('.cartesianlayer .bg, .bglayer .bg');
  const words = [...plot.querySelectorAll('text')].filter(t => t.textContent.trim());
  for (const word of words) {
    const b = box(word);
    if (b.left < frame.left - 1 || b.right > frame.right + 1 || b.top < frame.top - 1 || b.bottom > frame.bottom + 1)
      found.push([name, 'leaves the figure', word.textContent]);
  }
  for (const [i, word] of words.entries())
    for (const other of words.slice(i + 1))
      if (word.textContent !== other.textContent && meet(box(word), box(other)))
        found.push([name, 'lie on one another', word.textContent, other.textContent]);
  const legend = plot.querySelector('.legend'), lines = plot.querySelector('.gridlayer, .plot > .cartesianlayer');
  const title = plot.querySelector('.gtitle');
  if (legend && title && meet(box(legend), box(title))) found.push([name, 'the legend lies on the title']);
  if (legend && lines && box(lines).height && meet(box(legend), box(lines)))
    found.push([name, 'the legend lies on the drawing']);
}
for (const cell of document.querySelectorAll('td'))
  if (cell.textContent.trim().length > 12 && box(cell).width && box(cell).height > 7 * box(cell).width)
    found.push(['a table', 'is squeezed', cell.textContent.trim().slice(0, 40)]);
for (const picture of document.images) if (picture.complete && !picture.naturalWidth) found.push(['no picture']);
return found;
"""


def _table(browser: Any, heading: str) -> list[list[str]]:
    """The cells of the first table after a heading, header included."""
    rows: list[list[str]] = browser.execute_script(
        """
const heading = [...document.querySelectorAll('h3')].find(h => h.textContent.trim() === arguments[0]);
let place = heading;
while (place && !(place.matches('.scroll') && place.querySelector('table'))) place = place.nextElementSibling;
return [...place.querySelectorAll('tr')].map(r => [...r.children].map(c => c.innerText.trim()));
""",
        heading,
    )
    return rows


@pytest.mark.browser
def test_each_section_says_what_it_must(browser: Any, page: str) -> None:
    open_page(browser, page, 1280)
    text = browser.execute_script("return document.body.innerText")

    statements = re.findall(r"^(\w+): (The fine-tuned model .*|No difference .*)$", text, re.MULTILINE)
    assert [metric for metric, _ in statements] == ["exact_accuracy", "location_accuracy", "verdict_accuracy"]
    for _, said in statements:
        assert re.search(
            r"[+−]\d+\.\d points, 95 % interval \[[+−]\d+\.\d, [+−]\d+\.\d\], n = \d+, exact McNemar p = ", said
        )

    ratios = {row[0]: row for row in _table(browser, "Noise study")[1:]}
    # S_beta = 12, S_N = 4.32 of scores .8 and -.2 (both noises): 10 log10 of their ratio
    assert ratios["sn_truth"][2].startswith("4.44 dB [")
    assert ratios["sn_truth"][2:4] == [ratios["sn_truth"][2]] * 2, "base and fine-tuned, here the same scores"
    assert "digital_sn" in ratios
    assert {"miss_rate", "false_reject_rate"} <= set(ratios), "p and q beside it"

    gauge = {row[1]: row for row in _table(browser, "Gauge study")[1:]}
    # 6 of 24 pictures are called passed in the second trial; which of them that turns over, the answers say
    assert re.fullmatch(r"\d+\.\d% \[\d+\.\d%, \d+\.\d%\]", gauge["repeatability"][2])
    assert gauge["repeatability"][2] != "100.0% [85.8%, 100.0%]"
    assert gauge["effectiveness"][3] == "48"

    threshold = _table(browser, "Threshold of P(defective)")
    assert threshold[0][2:4] == ["validation, chosen on it", "test, honest"]
    escapes = next(row for row in threshold if row[1] == "escape_rate")
    assert escapes[2].endswith("n = 2")
    assert escapes[3].endswith("n = 12")

    needs = _table(browser, "Learning curve")
    assert [row[0] for row in needs[1:]] == ["miss_rate", "false_reject_rate", "parsed_rate"]
    assert all(row[4] for row in needs[1:])
    assert _table(browser, "What to add next")[1][5].endswith("points")

    lots = _table(browser, "Watched lots")
    assert [row[2] for row in lots[1:]] == ["quiet"] * 11 + ["alarm"]

    marked = browser.execute_script(
        "return [...document.querySelectorAll('.answer mark')].map(m => [m.className, m.textContent])"
    )
    assert {kind for kind, _ in marked} == {"verdict", "location", "defect"}
    assert ["verdict", "defective"] in marked


@pytest.mark.browser
def test_a_record_kept_back_stands_beside_the_test_record(browser: Any, page: str) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    open_page(browser, page, 1280)
    assert (
        browser.execute_script("return [...document.images].filter(i => i.getBoundingClientRect().height < 40)") == []
    ), "a picture that is not loaded yet has its room, so that links into the page lead where they say"
    shown = "return [...document.querySelectorAll('.record.pair img')]"
    browser.execute_script(f"{shown}.forEach(i => i.scrollIntoView())")
    WebDriverWait(browser, 10).until(lambda d: d.execute_script(f"{shown}.every(i => i.naturalWidth > 0)"))
    assert browser.execute_script(f"{shown}.length") == 2
