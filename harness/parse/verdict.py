"""From clauses to a verdict: every statement about the product's fate, ranked, and the last word among equals.

Enters: clauses that know how they are meant, statements from structured parts and from eastern sentences.
Leaves: a verdict, or None with a reason. Ranks: 3 a stated decision ("passed", "fails inspection"), 2 an equivalent
statement ("no defects were found"), 1 a flaw merely described. A higher rank outvotes a lower one; two of rank 3 that
disagree are a contradiction unless the text takes the earlier one back.
Cost: irony, and decisions told only by their consequences ("it goes back to the supplier"), are not understood.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.records import Verdict

from . import lexicon as lx
from .clauses import Clause, Sentence
from .reading import side_at


@dataclass(frozen=True, slots=True)
class Statement:
    """One thing said about the product's fate, at plain text [start:end].

    `rank` as in the module's docstring; `weak` equivalents are outvoted without a contradiction; `final` statements
    announce themselves as the last word.
    """

    verdict: Verdict
    rank: int
    start: int
    end: int
    weak: bool = False
    final: bool = False


@dataclass(slots=True)
class Hearing:
    """All that was heard about the verdict: statements, where earlier ones are taken back, and why nothing was said."""

    statements: list[Statement]
    retractions: list[int]
    undecided: bool = False
    refused: bool = False
    echoed: bool = False
    hedged: bool = False


_PASS = re.compile(rf" ({lx.PASS_WORDS})(?= )")
_FAIL = re.compile(rf" ({lx.FAIL_WORDS})(?= )")
_FLAW = re.compile(rf" ({lx.FLAW_NOUN})(?= )")
_SAME = re.compile(
    rf" ({lx.SAME}|match|matches|matched|agree|agrees|agreed|coincide|coincides|correspond|corresponds|equals|resembles|entspricht|stimmt|corresponde|corrisponde|überein)(?= )"
)
_DIFFERS = re.compile(
    r" (speak against|speaks against|wrong|missing|unusual|suspicious|abnormal|amiss|strange|odd|weicht|differ|differs|differed|different|differing|deviate|deviates|deviated|deviating|out of place|stands out|complain|object|criticise|criticize|report|remarkable|striking|conspicuous|auszusetzen|auffällig|to fix|to reject)(?= )"
)
_GOOD = re.compile(
    r" (good|present|fine|correct|perfect|intact|complete|normal|undamaged|asitshould|inplace|usable|healthy|sound|clean|gut|bueno|buena|bon|bonne|buono|goed|bra|korrekt|correct|correcte|correcto|corretto|within (?:the )?(?:spec|specs|specification|specifications|tolerance|tolerances|limits))(?= )"
)
_GOOD_ONE = re.compile(
    r" (good|conforming|saleable|sellable|flawless|perfect|faultless) (product|one|part|item|sample|unit|piece|specimen|board|tray|article|goods)(?= )"
)
_GIVES = re.compile(
    r" (?:my|an|our|its|the|your|full|his|her|get|gets|give|gives|deserves|receives|earns) (?:approval|green light|go - ahead|thumbs up|clearance|blessing)(?= )"
)
_BAD_ONE = re.compile(
    r" (bad|faulty|flawed|poor|nonconforming) (product|one|part|item|sample|unit|piece|specimen|board|tray|article)(?= )| (is bad|is flawed|is out of (?:spec|specification|tolerance)|is unfit|is unusable|is not fit|is defect(?= (?:$|,|:)))(?= )"
)
_MEETS = re.compile(
    r" (meet|meets|met|meeting|fulfil|fulfill|fulfils|fulfills|fulfilled|satisfy|satisfies|satisfied|reach|reaches|achieves) (?:all )?(?:of )?(?:the |our |its |any |every |these |those )?(?:\w+ )?(requirement|requirements|criterion|criteria|specification|specifications|spec|specs|standard|standards|expectations|conditions|quality|level|demands)(?= )"
    r"| (?:cumple|cumplen|satisface|remplit|respecte|satisfait|soddisfa|rispetta|atende|erfüllt|erfüllen|voldoet aan|uppfyller|spełnia)"
    r"(?: (?:con|los|las|la|le|les|i|gli|aos|às|os|as|die|alle|alla|de|kraven|wszystkie|toutes|todos|tutti))*"
    r" (?:requisitos|especificaciones|especificación|norma|normas|exigences|critères|criterios|requisiti|criteri|anforderungen|kriterien|vorgaben|eisen|kraven|wymagania)(?= )"
)
_SHIP = re.compile(
    r" (?:be|is|ready to be|ready for|fit for|suitable for|cleared for) (shipped|released|delivered|sold|shipment|release|delivery|sale|dispatched|dispatch|used|use|let through|sent to the customer|sent out|put into stock|approved|production)(?= )| (released|cleared) (?:for|to)(?= )"
)
_SORT_OUT = re.compile(
    r" (?:must|should|has to|have to|needs to|need to|shall|is to|will|can only|had to|was|is|be) (?:be )?(sorted out|scrapped|reworked|repaired|returned|sent back|discarded|thrown away|withheld|blocked|quarantined|weeded out|held back|rejected)(?= )"
)
_NEG = re.compile(
    rf" ({lx.NEG_WORDS}|0(?= (?:\w+ ){{0,2}}(?:{lx.FLAW_NOUN}|DEF|UNK) )|prevents|prevent|forbids|prohibits|excludes|precludes|insteadof|free of|free from|frei von|absence of|wrong to|incorrect to|false to|mistake to|error to|unjustified to|unfair to|misleading to|no need to|rule out|ruled out|exclude that|refute|exempt de|libre de|esente da|isento de|vrij van|fri från|devoid of|too \w+ to be|impossible to(?= (?:\w+ ){{0,2}}$)|unable|unfit|unsuitable|unworthy|undeserving|deny|denied|instead)(?= )"
)
_ATTRIBUTE = re.compile(
    r" (?:colou?rs?|shapes?|sizes?|geometr(?:y|ies)|layout|brightness|lighting|light|exposure|background|order|number|count|angles?|orientations?|alignment|structure|arrangement|edges?|surfaces?|textures?|focus|quality|sharpness|contrast|fonts?|diameter|heights?|widths?|shade|shadows?|reflections?|wording|legend|scale|perspective|camera|table|temperature|package|packaging|rows?|materials?|dimensions?) (?:\w+ ){0,6}$"
)
_SCOPED = re.compile(
    r" (?:LOC|LINE|other|others|further|additional|more|else|remaining|rest|(?<! nor )(?<! or )elsewhere|except|most(?! likely| probably)|mostly|almost|nearly|many|some|somewhere|partly|partially|autres?|otros?|otras|altri|altre|andere|anderen|weitere|weiteren|übrigen|outros?|overige) "
)
# "no defect at 5U or anywhere else" is said of the whole product.
_OR_IS_IT = re.compile(r"^ (?:or|but) (?:is|was|does|did|has) (?:it|this|that) ")
_EVERYWHERE = re.compile(
    r" (?:at|in|on|near) LOC (?:, )?(?:or|nor|and) (?:at |in )?(?:any other|anywhere|elsewhere|everywhere)(?: else)?(?= )"
)
_IN_ATTRIBUTE = re.compile(
    r"^ (?:in|of|regarding|as to|concerning|between the) (?:the |their |its )?(?:colou?rs?|shapes?|sizes?|geometry|layout|brightness|lighting|light|exposure|background|order|number|count|angle|orientation|alignment|structure|arrangement|surface|texture|focus|quality|sharpness|contrast|design|style|general|position|positions|row|rows|shade|hue|material|dimensions) "
)
_HOLISTIC = re.compile(
    rf" (?:{lx.PRODUCT}|TEST|bottom|lower|second|every \w+|each \w+|each of the \w+|all (?:of )?(?:the |27 |its |\d+ )*\w+|alles|alle|tout|todo|tutto) "
)
_NOT_SURE = re.compile(
    r" (?:(?<! you can )(?<! one can )(?<! nobody can )(?:not)|never|neither|unable to|hard to|impossible to|difficult to|hardly) (?:really |quite |completely |definitely |possibly |yet |be |me |us |to )*(?:sure|certain|clear|convinced|say|tell|confirm|determine|decide|decided|know|exclude|excluded|rule out|guarantee|judge|verify|deny|evident|necessarily|possible to say) "
)
_FINAL_NEAR = re.compile(
    r" (?:final|finally|conclusion|ultimately|in the end|conclude|overall|summary|sum up|all in all|endergebnis|fazit|corrected|definitive|result|therefore|thus|hence|so) "
)
_YES = re.compile(r"^ (?:, )?(?:yes|true|y|found|present|detected|ja|oui|sí|si|sì|sim|da|✓|positive)(?= )")
_NO = re.compile(
    r"^ (?:, )?(?:no|false|none|nil|zero|0|not found|not detected|not present|not any|n|nein|keine|keiner|non|aucun|ninguno|nessuno|nenhum|geen|✗|negative|n / a|na|- )(?= |$)"
)
_ELLIPSIS_NOT = re.compile(
    r" (?:is|are|does|do|has|did|was|can|will|ist|est|es|è) (?:not|nicht|pas)(?: so)?(?: ,| :| \.)? $"
)
_ELLIPSIS_SAME = re.compile(
    r" (?:so|as|neither|nor) (?:is|are|does|do|has|did|was) | (?:is|does|has|was)(?: ,)? (?:too|as well|likewise|also)(?: ,)? $| (?:the same (?:goes|applies|holds|is true) (?:for|to|of)) "
)


def hear(sentences: Sequence[Sentence]) -> Hearing:
    """Collects what western sentences say about the verdict."""
    hearing = Hearing([], [])
    since = 0
    said: Verdict | None = None  # the last decision, of whichever product, for "the other one is not"
    asked: Verdict | None = None
    for sentence in sentences:
        if sentence.eastern:
            asked = None
            continue
        for index, clause in enumerate(sentence.clauses):
            following = sentence.clauses[index + 1] if index + 1 < len(sentence.clauses) else None
            line = clause.line
            if (
                lx.RETRACTS.search(line)
                or (re.match(r"^ (?:no|sorry) , ", line) and index == 0)
                or line == " no "
                or _OR_IS_IT.match(line)
            ):
                hearing.retractions.append(clause.tokens[0].start)
            for m in re.finditer(r" , no ,(?= )", line):  # "Defective, no, passed"
                hearing.retractions.append(clause.tokens[clause.token_at(m.start() + 1)].start)
            hearing.refused = hearing.refused or lx.REFUSES.search(line) is not None
            hearing.undecided = hearing.undecided or lx.UNDECIDED.search(line) is not None
            hearing.echoed = hearing.echoed or clause.unreal == "echo"
            if asked is not None and index == 0 and (_YES.match(line) or _NO.match(line)):
                answer: Verdict = asked if _YES.match(line) else _other(asked)
                hearing.statements.append(_statement(answer, 3, clause, 0, 4, sentence))
            found = _clause_statements(clause, following, sentence, hearing)
            if not found and said is not None and since <= 1 and clause.unreal in ("",) and not clause.withdrawn:
                found = _ellipsis(clause, said, sentence)
            for statement, side in found:
                said, since = (statement.verdict if side == "ref" else None), 0
                if side == "ref":
                    continue
                if clause.unreal or clause.withdrawn:
                    hearing.hedged = hearing.hedged or clause.unreal in ("if", "maybe")
                    continue
                hearing.statements.append(statement)
        asked = _asked(sentence)
        since += 1
    return hearing


def _other(verdict: Verdict) -> Verdict:
    return "defective" if verdict == "passed" else "passed"


def _asked(sentence: Sentence) -> Verdict | None:
    """What "yes" would mean after this question."""
    if "?" not in sentence.end_mark or not sentence.clauses:
        return None
    whole = "".join(c.line for c in sentence.clauses)
    passing, failing = _PASS.search(whole) is not None, _FAIL.search(whole) is not None
    if passing and not failing:
        return "passed"
    if (failing and not passing) or (not passing and (_FLAW.search(whole) or _DIFFERS.search(whole))):
        return "defective"
    if not failing and (_SAME.search(whole) or _GOOD.search(whole)):
        return "passed"
    return None


def _statement(
    verdict: Verdict, rank: int, clause: Clause, start: int, end: int, sentence: Sentence, weak: bool = False
) -> Statement:
    first, last = clause.span(start, end)
    whole = "".join(c.line for c in sentence.clauses)
    return Statement(verdict, rank, first, last, weak, lx.FINAL.search(whole) is not None)


def _ellipsis(clause: Clause, said: Verdict, sentence: Sentence) -> list[tuple[Statement, str]]:
    if not (clause.side == "test" or any(n == "test" for _, n in clause.sides)) or " LOC " in clause.line:
        return []
    m = _ELLIPSIS_NOT.search(clause.line)
    if m is not None:
        return [(_statement(_other(said), 3, clause, m.start(), m.end(), sentence), "test")]
    m = _ELLIPSIS_SAME.search(clause.line)
    if m is not None:
        return [(_statement(said, 3, clause, m.start(), m.end(), sentence), "test")]
    return []


def _clause_statements(
    clause: Clause, following: Clause | None, sentence: Sentence, hearing: Hearing
) -> list[tuple[Statement, str]]:
    line = clause.line
    taken: list[tuple[int, int]] = []
    found: list[tuple[Statement, str]] = []

    def add(verdict: Verdict, rank: int, start: int, end: int, weak: bool = False) -> None:
        taken.append((start, end))
        found.append((_statement(verdict, rank, clause, start, end, sentence, weak), side_at(clause, start)))

    label = _label(clause, following)
    if label is not None:
        add(label[0], label[1], 0, len(line))
        return found
    if _is_options(clause, hearing):
        return []
    hits = [(m.start(1) - 1, m.end(1), True) for m in _PASS.finditer(line)] + [
        (m.start(1) - 1, m.end(1), False) for m in _FAIL.finditer(line)
    ]
    hits += [(m.start(), m.end(), True) for p in (_GOOD_ONE, _MEETS, _SHIP, _GIVES) for m in p.finditer(line)]
    hits += [(m.start(), m.end(), False) for p in (_BAD_ONE, _SORT_OUT) for m in p.finditer(line)]
    for start, end, passing in sorted(hits):
        if _labels_cell(clause, sentence) and passing:
            continue
        if any(a < end and start < b for a, b in taken) or _is_decoy(clause, start, end, passing, following):
            continue
        negated = _negations(line, start, end)
        if negated is None:
            hearing.hedged = True
            taken.append((start, end))
            continue
        positive = passing != bool(negated % 2)
        if positive and _is_local(clause, start, end):
            continue
        rank = 3 if positive or not _names_a_part(line, start) else 2
        if not positive and _labels_cell(clause, sentence):
            rank = 2
        if positive and not passing and _names_a_part(line, start):
            continue
        add("passed" if positive else "defective", rank, start, end)
    if len(sentence.clauses) == 1 and line in (
        " good ",
        " fine ",
        " perfect ",
        " gut ",
        " bon ",
        " correct ",
        " all good ",
        " all fine ",
        " all correct ",
        " all clear ",
    ):
        add("passed", 2, 0, len(line), weak=True)
    found.extend(_equivalents(clause, following, sentence, taken))
    return found


def _labels_cell(clause: Clause, sentence: Sentence) -> bool:
    """Whether the clause is the value behind a cell ("1U: ok", "2U - NG"), so that it judges the cell."""
    index = next(k for k, c in enumerate(sentence.clauses) if c is clause)
    if not index or clause.lead not in (":", "-", "("):
        return False
    words = sentence.clauses[index - 1].line.split()
    return any(w in ("LOC", "LINE") for w in words) and all(
        w in ("LOC", "LINE", ",", "and", ":", "=", "position", "cell", "at", "row", "column", "no", "number", ".")
        for w in words
    )


def _names_a_part(line: str, at: int) -> bool:
    """Whether a cell is named before the word: "the part at 3C is defective" speaks of the part first."""
    return " LOC " in line[: at + 1]


def _is_local(clause: Clause, start: int, end: int) -> bool:
    """Whether a good word is said of a cell, a row or a rest, not of the product."""
    line = clause.line
    segment_end = line.find(" , ", end)
    segment = line[: segment_end + 1] if segment_end >= 0 else line
    scoped = _SCOPED.search(segment)
    if scoped is not None:
        first = line.split()[0]
        if first in ("passed", "pass", "ok", "okay", "accepted", "accept") and scoped.start() > end:
            return " except " in segment or segment[end:].startswith((" : ", " = "))
        return True
    return (
        _ATTRIBUTE.search(line[: start + 1]) is not None
        and re.search(r" (?:inspection|product|sample|item) ", line[:start]) is None
    )


def _negations(line: str, start: int, end: int) -> int | None:
    """How many negations reach a word; None where the words before leave it undecided ("not sure that it is passed")."""
    head = line[: start + 1]
    head = head[_scope_start(head) :]
    if _NOT_SURE.search(head) and not re.search(r" not (?:be )?(?:said|called) ", head):
        return None
    count = sum(1 for _ in _NEG.finditer(head))
    if " neither " in head:
        count -= head.count(" nor ")  # "neither tilted nor shifted" denies each once
    if re.search(r" (?:doubt|doubts|doubted|doubting|question) (?:\w+ ){0,2}(?:that|if|whether|about|of) ", head):
        if not count:
            return None
        count -= 1  # "no reason to doubt that it is passed"
    if head.startswith((" no , ", " no . ")):
        count -= 1
    instead = re.search(r" (?:insteadof|instead) ", head)
    if instead is not None and (len(head[instead.end() :].split()) > 5 or " , " in head[instead.end() :]):
        count -= 1
    if _CLAIM.search(head) and _FALSE.search(line[end:]):
        count += 1
    if count == 0:
        # "passed it is not", and languages whose "not" stands behind ("besteht die Prüfung nicht")
        tail = line[end : end + 60].rpartition(" ")[0] + " "
        stop = re.search(r" (?:,|:|but|because|weil) ", tail)
        tail = tail[: stop.start() + 1] if stop else tail
        count += re.match(r"^ (?:it|this|that|the \w+) (?:is|does|was|has|did) not ", tail) is not None
        count += re.match(r"^ (?:\w+ )?(?:in|on|at) (?:neither|none of) ", tail) is not None
        count += len(re.findall(r" (?:nicht|niet|inte|ikke|pas|değil|не|нет|yok)(?= )", tail))
    return count


_CLAIM = re.compile(r" (?:claim|claims|statement|assertion|assumption|idea|notion|opinion|say|call|saying|hypothesis) ")
_FALSE = re.compile(
    r" (?:is|would be|was) (?:simply |clearly |just )?(?:false|untrue|wrong|incorrect|not true|not correct|unfounded|mistaken|not right) "
)
_SEPARATOR = re.compile(
    r" (?:,|/|but|instead|rather|sondern|sino|and|so|therefore|hence|thus|given (?:the|that|its)|due to|because of|owing to|on account of|"
    r"in view of|considering|as a result of|caused by|thanks to|with|for|as|at|on|in|that|or)(?= )"
)
_ASIDE = re.compile(
    r"^ (?:, )?(?:(?:with|at|in) )?(?:no|not|without|none|zero|insteadof|ohne|sans|sin|senza|sem|zonder|keine?|unlike) "
)
_AUXILIARY = re.compile(r" (?:is|are|was|were|has|have|can|could|do|does|did|will|would|be|been) ")
_NEXT_VERB = re.compile(
    r"(?:therefore |thus |so |hence |it |i |can |must |should |is |was |has |pass |passes |passed |accept |accepted |approve |call |the )"
)


_NEXT_NEG = re.compile(r"(?:no|not|neither|nor|none|without|kein|keine|aucun|aucune|ningún|sin|nessun) ")


def _scope_start(head: str) -> int:
    """Where the reach of negations begins.

    It ends at "but" and at a reason ("not accepted due to dirt"), after the thing it denies ("no defect, so it passes",
    "not passed, with dirt at 5U"), and with an aside ("without defects, the product ...").
    """
    cut = 0
    for m in _SEPARATOR.finditer(head):
        segment = head[cut : m.start() + 1]
        mark = m.group().strip()
        if mark in (",", "and", "or") and _NEXT_NEG.match(head[m.end() + 1 :]):
            done = True  # "no stain at 2U, no stain at 2C": each "no" has its own thing
        elif mark == "or":
            done = False
        elif mark in ("and", "so", "therefore", "hence", "thus"):
            done = _CLOSED.search(segment) is not None and _NEXT_VERB.match(head[m.end() + 1 :]) is not None
        elif mark in ("with", "for", "as", "at", "on", "in", "that"):
            done = _CLOSED_BY_VERDICT.search(segment) is not None
        elif mark in (",", "/"):
            aside = _ASIDE.match(segment) is not None and _AUXILIARY.search(segment) is None
            done = aside or _NEG.search(segment) is None or _CLOSED_BY_VERDICT.search(segment) is not None
        else:
            done = True
        if done:
            cut = m.end()
    return cut


_CLOSED_BY_VERDICT = re.compile(
    rf" (?:not|never|no|nobody|none|nothing|hardly|barely|nicht|pas|non|no longer) (?:\w+ ){{0,5}}(?:{lx.PASS_WORDS}|good|usable|perfect) "
)
_CLOSED = re.compile(rf" (?:no|not|any|without|zero|none|single) (?:\w+ ){{0,4}}(?:{lx.FLAW_NOUN}|DEF|UNK) ")
PAST = re.compile(
    r" (?:last (?:year|week|month|time|season|summer|winter|spring|autumn|night|monday|tuesday|wednesday|thursday|friday)|ago|in the past|back then|formerly|previously|in former times|years before|in an earlier|yesterday) "
)
_ANOTHER_TIME = re.compile(
    r"^ [^\W\d]+ [^\W\d]+ (?:from|of) (?:last|yesterday|the (?:day|week|month) before|the previous|an? (?:earlier|previous|other)|another) "
)
_CALLED = re.compile(
    r" (?:is|are|be|was|were|as|considered|regarded|called|constitutes?|means?|count as|counts as|represents?|call it|call this|call that|calling it|name it|take it for) (?:(?:not|no|a|an|any|really|considered|regarded|to be|as|real|actual|true|the|counted|seen) )*$"
)
_DECOY_PASS = re.compile(
    r"^ (?:pass|passing|fail|reject|accept) (?:/ (?:fail|reject) )?(?:criteri\w+|conditions?|limits?|thresholds?|standards?|requirements?|rules?) |^ (?:fail|fails|failed) to (?:be (?:visible|seen|shown|mentioned|recorded|sharp)|mention|load|appear|display|show)|^ (?:pass|passes|passed|passing) (?:through|by (?!the |inspection|me |us |my |our |qc|qa|this|a )|over|along|on |onto|between|under|into|around|across|beyond|away|down|behind|light|current|rate|rates|mark|marks|the light|the current|a current|filter|word|it on|en|to the next|from hand)"
    r"|^ (?:conform|conforms) (?:coating)|^ besteht (?:aus|darin)|^ superat\w+ (?:da|dal)|^ accept(?:ed|s)? (?:as (?:the )?reference|the (?:task|request))|^ (?:ok|okay) (?:, )?(?:let|so|i (?:will|am|see|have|can)|here|now|first|we|the task|looking|this is|to|well|then)|^ qualif\w+ (?:as|for) (?!passed|good|accept)|^ reject (?:bin|box|rate)|^ rejection (?:rate|bin)|^ failure (?:analysis|mode|rate)|^ scrap (?:of|paper|rate|bin)|^ acceptable (?:variation|deviation|tolerance|range|difference)s?"
    r"|^ (?:accept|accepts) (?:that|the fact)|^ (?:passed|accepted|released) (?:earlier|before|previously|yesterday|last)"
)
_BEFORE_DECOY = re.compile(
    r" (?:first|second|third|quick|another|single|last|each|by|se|bay|time|times|years|decade|without|mountain|boarding|in) $| band pass $| low $| high $| bypass $"
)


def _is_decoy(clause: Clause, start: int, end: int, passing: bool, following: Clause | None) -> bool:
    line = clause.line
    tail, head = line[start:], line[: start + 1]
    word = line[start:end].strip()
    if PAST.search(line) and re.search(r" (?:was|were|had|been|got|did) (?:\w+ ){0,4}$", line[:end] + " "):
        return True
    if _DECOY_PASS.match(tail) or _ANOTHER_TIME.match(tail):
        return True
    if word in ("pass", "passes", "passing") and _BEFORE_DECOY.search(head):
        return True
    if word == "fail" and head.endswith(" without "):
        return True
    if re.search(r" (?:fails?|failed|failing) to (?:\w+ )?$", head):
        return True  # "fails to meet": the failing has been heard already
    if (
        word in ("pass", "conform", "comply")
        and head.endswith(" to ")
        and not re.search(
            rf" (?:able|allowed|deemed|declared|impossible|likely|found|ready|good enough|seems|appears|has|unable|not|happy|glad|pleased|willing|inclined|prepared|going|want|decided|decide|like|{lx.FAIL_WORDS}) to $",
            head,
        )
    ):
        return True
    if (
        word in ("pass", "fail")
        and re.search(r" (?:must|has to|have to|needs to|need to) (?:\w+ )?$", head)
        and passing
    ):
        return True
    if passing and any(
        a <= start < a + len("  passed product and more") and n in ("ref", "cref") and _inside_reference(line, a, start)
        for a, n in clause.sides
    ):
        return True
    # "Passed: 3C, 4C" lists the cells that are fine.
    if passing and tail[len(word) + 1 :] in (" : ", " = ") and following is not None and " LOC " in following.line:
        return True
    if word in ("correcto", "conforme", "pasa", "passe", "good") and _SCOPED.search(line):
        return passing
    return False


def _inside_reference(line: str, at: int, start: int) -> bool:
    m = lx.REFERENCE.match(line, at)
    return m is not None and m.start() <= start < m.end()


def _is_options(clause: Clause, hearing: Hearing) -> bool:
    """ "passed or defective", "OK / NG": both offered, none taken."""
    line = clause.line
    p, f = _PASS.search(line), _FAIL.search(line)
    if p is None or f is None:
        return False
    first, second = sorted((p, f), key=lambda m: m.start())
    between = line[first.end() : second.start() + 1]
    if (
        len(between.split()) <= 7
        and re.search(r" (?:or|/|\||vs|versus|oder|ou|o|y / o|of|and / or|eller|или|lub) ", between)
        and not re.search(r" (?:not|rather|no) ", between)
    ):
        rest = line[second.end() :]
        if re.match(r"^(?: \w+)? : $", rest) or not (_PASS.search(rest) or _FAIL.search(rest)):
            hearing.echoed = True
            return True
    return False


_LABEL_FAIL = re.compile(
    rf" (?:{lx.FAIL_WORDS}|(?:{lx.FLAW_NOUN})(?: (?:found|detected|present|seen|observed|count|visible|identified|names?|types?|list|locations?))?) (?:: |= |\? )?$"
)
_LABEL_PASS = re.compile(rf" (?:{lx.PASS_WORDS}|good|free of (?:{lx.FLAW_NOUN})) (?:: |= )$")
_LABEL_MARK = re.compile(
    r"(?:verdict|result|decision|judge?ment|status|answer|conclusion|outcome|evaluation|quality|inspection|ergebnis|résultat|resultado|risultato|urteil) (?:: |= )$"
)


def _label(clause: Clause, following: Clause | None) -> tuple[Verdict, int] | None:
    """A label with a yes or no behind it: "Defective: yes", "Passed: no", "Defects: none", "Verdict: ✗"."""
    line = clause.line
    if not line.endswith((" : ", " = ")) or following is None or len(clause.tokens) > 7:
        return None
    if _SCOPED.search(line):
        return None
    value = following.line
    if len(following.tokens) > 4 and not re.match(r"^ (?:yes|no|none|true|false|nein|ja) (?:,|\.|DEF|UNK)", value):
        return None
    yes, no = _YES.match(value) is not None, _NO.match(value) is not None
    if _LABEL_MARK.search(line):
        mark = value.strip()
        if mark in ("✓", "○", "o", "go", "good", "fine"):
            return ("passed", 3)
        if mark in ("✗", "×", "x", "bad"):
            return ("defective", 3)
        return None
    if _LABEL_PASS.search(line) and (yes or no):
        return ("passed" if yes else "defective", 3)
    if _LABEL_FAIL.search(line) and (yes or no):
        by_word = _FAIL.search(line) is not None
        return ("defective" if yes else "passed", 3 if by_word else 2)
    return None


def _equivalents(
    clause: Clause, following: Clause | None, sentence: Sentence, taken: list[tuple[int, int]]
) -> list[tuple[Statement, str]]:
    line = clause.line
    found: list[tuple[Statement, str]] = []

    def add(verdict: Verdict, start: int, end: int, weak: bool) -> None:
        if not any(a < end and start < b for a, b in taken):
            taken.append((start, end))
            found.append((_statement(verdict, 2, clause, start, end, sentence, weak), side_at(clause, start)))

    followed_by_except = following is not None and following.line.startswith(" except ")
    index = sentence.clauses.index(clause)
    led_by_except = any(c.line.startswith(" except ") for c in sentence.clauses[max(0, index - 1) : index])
    scoped = _SCOPED.search(_EVERYWHERE.sub(" ", line)) is not None or followed_by_except or led_by_except
    for m in _FLAW.finditer(line):
        start, end = m.start(1) - 1, m.end(1)
        negated = _negations(line, start, end)
        if negated is None:
            continue
        if _CALLED.search(line[: start + 1]) and not re.search(
            r" there (?:is|are|was|were|be) (?:\w+ ){0,3}$", line[: start + 1]
        ):
            continue  # "this isn't a defect" is about a thing, not about the product
        if negated % 2 and line[: start + 1].endswith((" this ", " that ")):
            continue  # "I have no name for this defect"
        attribute = _IN_ATTRIBUTE.match(line[end:]) is not None or _ATTRIBUTE.search(line[: start + 1]) is not None
        if negated % 2:
            if not scoped and not attribute and " DEF " not in line[start:]:
                add(
                    "passed",
                    start,
                    end,
                    weak=re.search(
                        r" (?:visible|obvious|major|significant|serious|big|great|apparent) $", line[: start + 1]
                    )
                    is not None
                    and False,
                )
        elif not attribute and _asserted(line, start, negated):
            add("defective", start, end, weak=True)
    for m in _DIFFERS.finditer(line):
        start, end = m.start(1) - 1, m.end(1)
        negated = _negations(line, start, end)
        if negated is None or _ATTRIBUTE.search(line[: start + 1]) is not None or _IN_ATTRIBUTE.match(line[end:]):
            continue
        if negated % 2 and not scoped:
            add("passed", start, end, weak=False)
        elif (
            negated % 2 == 0
            and re.match(r"^ (?:differs?|deviates?|weicht|is different|wrong|differed) ", line[start:])
            and m[1] not in ("report", "object", "complain")
        ):
            add("defective", start, end, weak=True)
    for m in _SAME.finditer(line):
        start, end = m.start(1) - 1, m.end(1)
        word = m[1]
        negated = _negations(line, start, end)
        if (
            negated is None
            or (scoped and not negated % 2)
            or _ATTRIBUTE.search(line[: start + 1])
            or _IN_ATTRIBUTE.match(line[end:])
        ):
            continue
        if re.match(r"^ (?:agree|agrees) with (?:those|you|him|her|people|the opinion|this|that|anyone)", line[start:]):
            continue
        if (
            word == "same"
            and not re.match(r"^ same (?:as|asitshould|in|,|on|for|to|$)", line[start:])
            and not line.endswith(" same ")
        ):
            continue
        if word in ("identical", "equal", "same", "alike") and re.match(
            r"^ (?:in (?:colou?r|size|shape)|\w+s (?:of|in) )", line[end:]
        ):
            continue
        verb = re.search(
            r" (?:is|are|was|were|be|look|looks|looked|match|matches|matched|agree|agrees|agreed|coincides?|corresponds?|equals|resembles|appear|appears|seem|seems|remain|remains|show|shows|have|has|ist|sind|est|sont|es|son|è|sono|é|são|entspricht|stimmt|zijn|är) ",
            line,
        )
        short = (
            len(clause.tokens) <= 6 and len(sentence.clauses) == 1 and sentence.end_mark.startswith((".", "!", "\n"))
        )
        if not ((verb and _HOLISTIC.search(line)) or short):
            continue
        add("defective" if negated % 2 else "passed", start, end, weak=bool(negated % 2) or len(clause.tokens) > 40)
    for m in _GOOD.finditer(line):
        start, end = m.start(1) - 1, m.end(1)
        negated = _negations(line, start, end)
        if negated is None or scoped or _ATTRIBUTE.search(line[: start + 1]):
            continue
        subject = re.search(
            rf" (?:(?:{lx.PRODUCT})(?: in the \w+ \w+| under test| at the bottom| below)?|bottom \w+|lower \w+|every \w+|each \w+|each of the \w+|all (?:of )?(?:the |27 )?\w+|alles|tout|todo|tutto) "
            r"(?:(?:is|are|looks|look|seems|appears|was|were|remains|as|ist|est|es|è|har|är) )(?:(?:not|also|all|completely|perfectly|exactly|therefore|thus|totally|absolutely|still|just|in|a|very|too|to be|quite|really|muy|ganz|nicht|pas|no|non|very|perfect|fully|as|present and|intact and|clean and|complete and|there and) )*$",
            line[: start + 1],
        )
        if subject is None or re.match(
            r"^ (?:good|fine|perfect|normal) (?!,|with |on |about |as |quality |condition |order |shape |state |and |enough |to |for )[^\W\d]+ ",
            line[start:],
        ):
            continue
        said_of_product = m[1] == "good" and re.search(rf" (?:{lx.PRODUCT}) (?:is|was) (?:not )?$", line[: start + 1])
        add("defective" if negated % 2 else "passed", start, end, weak=said_of_product is None)
    return found


def _asserted(line: str, start: int, negated: int) -> bool:
    head = line[: start + 1]
    if negated:
        return True
    if re.search(
        r" (?:ignored?|disregard|due to the|apart|look(?:ed|ing)? for|search(?:ed|ing)? for|check(?:ed|ing)? for|find|for|type of|kind of|name|allowed|typical|common|usual|possible|potential|any) (?:\w+ ){0,2}$",
        head,
    ):
        return False
    return (
        re.search(
            r" (?:is|are|was|were|has|have|had|shows?|shown|found|see|noticed?|detected?|observed?|identified|contains?|exhibits?|with|reveals?|due to|because of|presents?|one|two|three|four|several|some|ein|eine|einen|un|une|una|uno|hay|há|een|ett|com|con|avec|mit|обнаружен|обнаружена|обнаружено|обнаружены|найден|найдены|имеется|есть|clear|a|an) (?:\w+ ){0,4}$",
            head,
        )
        is not None
    )


# ---------------------------------------------------------------- the judgement


@dataclass(frozen=True, slots=True)
class Decision:
    """A verdict with the statements that decided it, or None with a reason."""

    verdict: Verdict | None
    reason: str
    deciders: tuple[Statement, ...] = ()


def decide(hearing: Hearing, has_findings: bool, has_located: bool, blank: bool) -> Decision:
    """Ranks what was heard.

    Args:
        hearing: all statements, in any order.
        has_findings: whether the text asserts any flaw, with a cell or a name.
        has_located: whether it asserts one with both.
        blank: whether the text has no letter and no digit.
    """
    live = _after_corrections(sorted(hearing.statements, key=lambda s: s.start), hearing.retractions)
    stated = [s for s in live if s.rank == 3]
    if stated:
        verdicts = {s.verdict for s in stated}
        if len(verdicts) == 2:
            return Decision(None, "contradiction")
        verdict = stated[-1].verdict
        against = [s for s in live if s.rank == 2 and s.verdict != verdict and not s.weak]
        if against and verdict == "defective" and not has_located:
            return Decision(None, "contradiction")
        return Decision(verdict, "", tuple(stated))
    equivalent = [s for s in live if s.rank == 2]
    if equivalent:
        strong = [s for s in equivalent if not s.weak] or equivalent
        verdicts = {s.verdict for s in strong}
        if len(verdicts) == 2:
            return Decision(None, "contradiction")
        if strong[-1].verdict == "passed" or not hearing.undecided:
            return Decision(strong[-1].verdict, "", tuple(strong))
    if has_findings and not (hearing.undecided or hearing.refused):
        return Decision("defective", "")
    if blank:
        return Decision(None, "empty")
    if hearing.refused:
        return Decision(None, "refusal")
    if hearing.undecided or hearing.hedged or equivalent:
        return Decision(None, "undecided")
    if hearing.echoed:
        return Decision(None, "echo")
    return Decision(None, "no_decision")


def _after_corrections(ordered: Sequence[Statement], retractions: Iterable[int]) -> list[Statement]:
    """Drops statements that a later retraction followed by the opposite takes back, and those before a final word."""
    live = list(ordered)
    for at in sorted(retractions):
        later = [s for s in live if s.start >= at and s.rank >= 2]
        if not later:
            continue
        rank = max(s.rank for s in later)
        verdict = [s for s in later if s.rank == rank][-1].verdict
        live = [s for s in live if s.start >= at or s.verdict == verdict]
    finals = [s for s in live if s.final and s.rank == 3]
    if finals:
        last = finals[-1]
        live = [s for s in live if s.verdict == last.verdict or s.start > last.start or (s.final and s.rank == 3)]
    return live
