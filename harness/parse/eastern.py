"""Japanese, and more thinly Chinese and Korean: the same questions put to languages whose "not" stands behind.

Enters: sentences with kana, Han or Hangul. Leaves: statements for the hearing and items for the findings.
Cost: a sentence is cut at its commas and judged by patterns; a negation reaches back to the nearest word before it within
the same stretch.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from harness.records import Verdict

from .clauses import Sentence
from .defects import DefectFinder
from .locations import Place, places_between
from .mentions import Item, Mentions
from .normalise import PlainText
from .verdict import Hearing, Statement

_FAIL = re.compile(
    r"不合格品?|不良品|欠陥品|不適合品?|不採用|不可(?!能|欠|避|逆)|出荷(?:でき(?:ません|ない|ず)|不可|不能)|検査(?:に|を)(?:は)?(?:通(?:り|ら|過し)|パスし)(?:ません|ない|ず|なかった|ていません|ませんでした)|却下|廃棄|リジェクト|フェイル|失格|アウト(?!プット|ライン)|次品|废品|残次|不良(?!箇所|個所|の有無|内容|名|項目|モード|の種類|部位|位置|率|点)|不通过|未通过|没通过|通不过|"
    r"불합격|불량품?|부적합|탈락|(?<![a-z])(?:ng|defective|fail(?:s|ed)?|rejected?|nok)(?![a-z])"
)
_PASS = re.compile(
    r"合格(?!基準|条件|ライン|率|点|範囲|判定|品?かどうか|品?か否か|の基準)品?|良品(?!質|率)|(?<![a-z])ok(?![a-z])|オーケー|オッケー|出荷(?:可能|できます|してよい|して差し支え|して問題な|OK)|検査(?:に|を)(?:通り|通過し|パスし)(?:ました|ます|た|ています)|パス(?!ワード|し忘|ポート)|(?<!不)適合品?(?!性)|及第|通过|합격품?|양품|통과|적합|(?<![a-z])(?:pass(?:ed|es)?|accept(?:ed|able)?)(?![a-z])"
)
_AS_REFERENCE = re.compile(
    r"^(?:が(?:写|示|表示|置|並|映)|の(?!です|だ|よう|はず)|と(?:は)?(?:同|比|一致|異|違|見比|並べ|照|の|変わ|遜色|等し|区別|差)|に比|より|に対|を基準|との|画像|写真|サンプル|见本|相比|图)"
)
_NEGATED = re.compile(
    r"^(?P<gap>[^。、,;|]{0,16}?)(?:では?(?:ない|なく|なかっ|ありませ|ございませ)|じゃ(?:ない|なく|ありませ)|(?<![くし])(?:ない|なく(?!て?はな)|なかった|無い|無く)(?!わけ|こと[もは])|ません|(?<=[しきめけえれきらさかわじせ])ず(?!れ|つ|に済)|(?<![あい])なし(?!と)|無し|ぬ(?=[。、]|$)|(?:言い|いい|認め|呼び|判断し|判定し)(?:難い|がたい|難く)|못|않|아니|아닙|없|안\s)"
)
_NEGATED_TWICE = re.compile(
    r"^[^。、]{0,4}(?:ない|なく|なし|ません)[^。、]{0,4}(?:言え|いえ|限ら|認め|判断でき|判定でき|呼べ)[^。、]{0,3}(?:ない|ません)"
)
_STILL = re.compile(
    r"^[^。]{0,10}?(?:に|で|と)?(?:間違い|まちがい|違い|相違|疑い|疑う余地|異論|問題)(?:は|も|が)?(?:ない|なく|ありません|なし|無い|ございません)|^[^。]{0,12}(?:ざるを得|せざるをえ|しかな|ほかな|他な|なければな|ねばな|なくてはな|틀림없)"
)
_OPEN = re.compile(
    r"^[^。、]{0,12}(?:断定|確定|言い切|断言)(?:は|が)?(?:でき|し(?:ません|ない)|しかね)|^か(?:どうか|否か|、|不|は|を|$)|^(?:の)?(?:可能性|おそれ|恐れ|疑い)|^かもしれ|^[^。、]{0,6}(?:かもしれ|可能性|恐れ|おそれ|でしょうか|だろうか|일 수|가능성)"
)
_BEFORE_NOT = re.compile(r"(?:不是|不算|不能算|不能视为|没有|没|并非|未|非|不能判定为|不)(?:一个|完全|是|被|为)?$")
_FLAW = r"(?:欠陥|異常|不具合|問題点?|差異|差(?!し|別)|違い|相違点?|不良箇所|不良個所|不良|欠点|キズ|傷|変化|異なる(?:点|箇所|部分|ところ)|違う(?:点|箇所|部分|ところ)|違っ(?:た|ている)(?:点|箇所|部分|ところ)|おかしな(?:点|ところ|箇所)|不一致|破損|損傷|瑕疵|変わった(?:点|ところ)|気になる(?:点|ところ)|指摘(?:事項|点)?|不備|変わ(?:り|る)(?:ところ|点)?)"
_NO_FLAW = re.compile(
    rf"{_FLAW}(?:は|が|も|を|など|等|に該当するもの|のような|らしい|となる|、|に|と|として|の)*[^。、;|]{{0,14}}?(?:な(?:い|く|かっ|し)|無(?:い|し|く|か)|ありませ|見(?:られ|つかり|当た(?:り|ら)|出(?:せ|され)|受けられ)(?:ませ|な|ず)|見つから(?:な|ず)|認め(?:られ)?(?:ませ|な|ず)|(?:確認|検出|発見)(?:でき|され|し)?(?:ませ|な|ず)|ゼロ|0件|皆無)"
    r"|(?:没有|无(?!法)|未(?:发现|见|检测到|检出|找到)|不存在|没)(?:任何|发现|明显|其他|什么|出现|看到|存在|检测到){0,3}[^。，,;]{0,4}?(?:缺陷|异常|差异|问题|不同|瑕疵|区别|不良|差別|缺点|偏差)"
    r"|(?:결함|이상|차이점?|문제|불량|하자)(?:이|가|은|는|도|점이|을|를)?\s*(?:전혀\s*)?(?:없|발견되지 않|보이지 않|찾을 수 없|발견하지 못|관찰되지 않|확인되지 않)"
)
_HAS_FLAW = re.compile(
    rf"{_FLAW}(?:は|が|も|を|、|箇所が|個所が)*[^。、;|]{{0,8}}?(?:あり|有り|ある|あった|見られ(?:ます|る|た|ました)|見つか(?:り|っ)|認め(?:られ)?(?:ます|る|た|ました)|(?:確認|検出|発見)(?:され|し|でき)(?:ます|る|た|まし|ています))"
    r"|(?:存在|有|发现)(?:明显|一处|一个|以下|了){0,2}[^。，,;]{0,4}?(?:缺陷|异常|差异|问题|瑕疵|不良)|(?:결함|이상|차이|문제)(?:이|가)?\s*(?:있|발견되었|보입|확인되)"
    r"|(?:合格品|良品|基準品?|見本|上の(?:画像|製品|写真|もの))と(?:は)?(?:異な(?:り|る|って)|違(?:い|う|って))"
)
_SAME = re.compile(
    r"同じ(?:です|である|であり|だ|でした|ように|に見え|状態|もの|で|と)|同一|一致し|差し支え|変わ(?:り|ら)(?:は|が)?(?:な|あり)|等しい|遜色|相同|一致|동일|일치|正常(?:です|である|だ|と|品|に|。|$)|問題な(?:い|く|し)|良好|完璧|正常|정상"
)
_MEETS = re.compile(
    r"(?:基準|要件|規格|仕様|条件|要求|标准|要求|기준)(?:を|に|符合)?(?:すべて|全て|十分に)?(?:満た|適合|達|合致|クリア|符合|충족)|符合(?:标准|要求|规格)"
)
_SCOPED = re.compile(
    r"他(?:に|の|は|には)|ほかに|その他|それ以外|以外|残り|[UCDucd]?行(?!っ|う|い)|列|部分的|色の|角度|形状は|色は|位置は|それぞれの|ほとんど|概ね|其他|除|나머지|다른|명도|明るさ|背景|照明"
)
_IF = re.compile(
    r"もし|仮に|万一|(?<![よと])(?:場合|ときは|時は)|であれば|(?<![見べよすけ])れば(?!、?わか)|ならば|(?<!ば)なら(?![びべな])|ていたら|だったら|であったら|とすれば|としたら|とすると|でなければ|如果|若|假如|倘若|만약|라면|경우|면\s|例えば|たとえば|例[::]|の例|例如|比如|예를"
)
_MAYBE = re.compile(
    r"かもしれ|可能性|おそれ|恐れ|疑いが|疑わ|か否か|かどうか|でしょうか|だろうか|ですか|ますか|とも言え|とも取れ|(?<!出荷)(?<!使用)可能|也许|或许|아마|수 있|수도|是否"
)
_ECHO = re.compile(
    r"(?:して|答えて|選んで|述べて|書いて|示して|比較して|評価して|判定して|見つけて|説明して|提示して|送って|見せて|教えて)(?:ください|下さい|くれ|ほしい|欲しい|いただ|頂)|しなさい|せよ|求められ|という(?:課題|タスク|問い|質問|指示)|请(?:回答|判断|比较|评估|提供|描述|上传)|하세요|하십시오|주세요"
)
_UNDECIDED = re.compile(
    r"(?:判断|判定|判別|断定|決定|評価|決め|判明|特定|見分け|識別|区別|確定|結論)(?:[をはがもに]|することが|することは|付け|づけ|を出すことが|を下すことが|を行うことが|すること){0,3}(?:でき(?:ま|な|ず|かね)|られま|られな|困難|不能|不可|しかね|保留|難し|むずかし|つか|つき(?:ま|か)|付か|不明|控え|差し控え|見送)|わかりません|分かりません|わからない|分からない|わかりかね|何とも言え|なんとも言え|どちらとも|言えません(?!が)|不明|無理です|"
    r"无法(?:判断|确定|判定|看清|识别|得出|评估|作出)|不能(?:判断|确定)|不确定|难以|판단할 수 없|알 수 없|판정할 수 없|어렵|불가능"
)
_REFUSES = re.compile(
    r"申し訳|すみませんが|お手伝い(?:は)?でき|お答え(?:は)?でき|ai(?:モデル|言語|です|なので|として)|言語モデル|画像(?:を|が|は)[^。]{0,12}(?:見(?:る|られ|え)|確認|表示|処理|閲覧|認識|分析|解析)[^。]{0,12}(?:でき|ません|ない)|抱歉|很遗憾|对不起|作为(?:一个)?ai|죄송"
)
_WITHDRAWN = re.compile(
    r"(?:と|かと|のかと)(?:思(?:い|っ|われ)|考え|疑(?:い|っ)|判断し|見え|感じ)[^。、]{0,8}(?:が|けれど|けど|ものの)|疑(?:い|っ)[^。、]{0,4}(?:が|けれど|けど|ものの)|(?:ように|かに|見えま?す?)(?:も)?見え[^。、]{0,6}(?:が|けれど|けど|ものの)|見え(?:ました|ます|た|る)(?:が|けれど|けど|ものの)|^(?:最初|当初|初め|はじめ|一見|先ほど|前回|初見)|以为|起初|最初看|처음에는|언뜻"
)
_RETRACTS = re.compile(
    r"訂正|失礼|間違え|間違って|間違いで|誤り|誤って|取り消|撤回|見直す|見直し|再確認|再度|もう一度|よく見る|よく見ると|いや[、,]|いえ[、,]|やはり|やっぱり|実際に?は|改め|更正|不对|仔细看|重新|정정|다시|아니[,、 ]"
)
_MARK = re.compile(
    r"(?:判定|結果|合否|評価|结果|判断|결과|판정)\s*(?::|=|は)?\s*([○◯✓×✗x良可否適]|不可|不適)(?![a-z品好否合])"
)
_ALONE = re.compile(r"[\s「『【\"'*]*([○◯✓×✗良可適否]|不可|不適)[\s」』】\"'*]*")
_EXISTS = re.compile(rf"(?:{_FLAW}|差异|缺陷)の?有無\s*(?::|=|は|が)?\s*(無し?|なし|否|有り?|あり)")
_FINAL = re.compile(r"最終|結論|総合|以上から|以上より|最终|结论|综上|최종|결론")
_CONTRAST = re.compile(
    r"(?:ですが|ますが|したが|せんが|ないが|だが|るが|たが|けれども?|けど|ものの|しかし|ただし|一方|但是|但|然而|不过|지만|그러나)[、,]?$|^(?:しかし|ただし|ただ|一方|だが|けれど|でも|実際|但|然而|不过|하지만|그러나)"
)
_REF = re.compile(
    r"上(?:の|側|部|段|方|半分|半)(?!下)(?:の)?|(?<!比)基準(?:品|画像|の|写真)|参照(?:品|画像|写真|の)?|見本|お手本|マスター|リファレンス|標準(?:品|サンプル|画像)|(?:1|一|左)(?:枚|つ|番|個)目の?(?:画像|写真|図|製品)|合格品(?=の)|良品(?=の(?!です|だ|よう))|上図|上面|上方|上图|参考(?:图|品|样)|상단|위쪽|위의|기준"
)
_TEST = re.compile(
    r"下(?:の|側|部|段|方|半分|半)(?:の)?|検査(?:品|対象|物|する)|対象品|被検査|テスト(?:品|画像|対象)|試料|サンプル|(?:2|二|右)(?:枚|つ|番|個)目の?(?:画像|写真|図|製品)|下図|下面|下方|下图|测试|待检|被测|하단|아래|검사|本品|この製品|当該|(?<![上側段方準]の)製品(?=は)"
)
_COMPARED = re.compile(
    r"^[^、。はがも]{0,12}?(?:と(?:同|比|一致|異|違|見比|並べ|照|の差|の違|は異|変わ|遜色|等し|区別|も|、|(?:は)?(?:色|形|位置|向き|角度|大きさ|状態|寸法))|に比|に対し|より|と$|との|같|와|과|相比|一样|一致|相同)"
)
_FINE = re.compile(
    r"正常|同じ|同一|同様|一致|問題(?:は|が)?(?:な|ありませ|見)|異常(?:は|が)?(?:な|ありませ|見|認め)|良好|(?<![a-z])ok(?![a-z])|変わ(?:ら|り)な|変わりはな|(?<!不)合格|良品|正し|揃って|適切|影(?:です|であり|で|だ|に過ぎ)|反射|光の|見間違|気のせい|違い(?:は|が)?(?:な|ありませ)|相同|정상|동일|문제 없"
)
_COMPARED_WITH = re.compile(r"(?:合格品?|良品|基準品?|正常品)(?=と(?:比|異|違|の差)|に比|より|に対)")
_ILL = re.compile(
    rf"{_FLAW}|不良|(?<![a-z])ng(?![a-z])|不合格|異な|違[いうっ]|おかし|壊|割れ|無い|ない|ありません|なくな|なくなって|缺|没有|不同|异常|损|다르|없|파손|손상"
)
_NAME_NOT = re.compile(
    r"^(?:[はがもやをに]|など|等|は一切|して(?:は)?|てい?|で(?:は)?|した(?:もの|部品|箇所)|や[^。、]{1,6}|している(?:部品|もの|箇所)|られ|の(?:は|もの)|があるもの)*[^。、;|一-龠]{0,4}?(?:も|は|が)?(?:見当たら|見られ(?:ませ|な|ず)|見つから|見つかりませ|認め(?:られ)?(?:ませ|な|ず)|(?:確認|検出|発見)(?:され|でき)(?:ませ|な|ず)|な(?:い|く|かっ|し)|無(?:い|し|く|か)|ありませ|ませ[んぬ]|していませ|ておらず|てな|ず(?=[、。]|に)|없|않|아니)"
)


@dataclass(frozen=True, slots=True)
class _Part:
    start: int
    end: int
    text: str


def add_eastern(
    sentences: Sequence[Sentence],
    plain: PlainText,
    places: Sequence[Place],
    defects: DefectFinder,
    hearing: Hearing,
    mentions: Mentions,
) -> None:
    """Reads the eastern sentences and adds what they say to `hearing` and `mentions`."""
    serial = 1_000_000
    section = ""
    last_said: Verdict | None = None
    previous_cells: list[Item] = []
    conditional = False
    for number, sentence in enumerate(sentences):
        if not sentence.eastern:
            continue
        text = plain.low[sentence.start : sentence.end]
        parts = _parts(text, sentence.start)
        question = "?" in sentence.end_mark
        echo = _ECHO.search(text) is not None
        hearing.undecided = hearing.undecided or _UNDECIDED.search(text) is not None
        hearing.refused = hearing.refused or _REFUSES.search(text) is not None
        hearing.echoed = hearing.echoed or echo
        side = section
        unreal_from_if = False
        withdrawn = False
        inside = places_between(places, sentence.start, sentence.end)
        names = defects.east(text)
        western = _western_names(text, defects)
        flags: list[tuple[_Part, bool, str]] = []
        for part in parts:
            if _CONTRAST.search(part.text) and part.text[:2] in (
                "しか",
                "ただ",
                "一方",
                "だが",
                "けれ",
                "でも",
                "実際",
                "但是",
                "然而",
                "不过",
                "하지",
                "그러",
            ):
                unreal_from_if = withdrawn = False
            if _IF.search(part.text):
                unreal_from_if = True
            dead = (
                question
                or echo
                or unreal_from_if
                or _WITHDRAWN.search(part.text) is not None
                or withdrawn
                or _MAYBE.search(part.text) is not None
            )
            if _MAYBE.search(part.text) or _IF.search(part.text):
                hearing.hedged = True
            if _RETRACTS.search(part.text):
                hearing.retractions.append(part.start)
            if re.search(
                r"(?:と|に)(?:し|判定し|判断し|回答し|答え|評価し)(?:てい)?(?:まし)?た(?:が|けれど|けど|ものの)|(?:いったん|一旦|一度は)",
                part.text,
            ):
                hearing.retractions.append(part.end)
            side, sides = _sides(part.text, side)
            said = _statements(part, sides, dead, sentence, hearing, text, plain.low)
            last_said = said or last_said
            flags.append((part, dead, side))
            if _WITHDRAWN.search(part.text) and not _CONTRAST.search(part.text):
                withdrawn = True
            if _CONTRAST.search(part.text):
                unreal_from_if = withdrawn = False
        added = _items(flags, inside, names, western, number, serial, sentence, plain, mentions)
        serial += len(parts)
        cells = [i for i in added if i.kind == "cells"]
        if (
            not cells
            and re.search(r"(?:これ|それ|その|実際|よく見)", text)
            and _FINE.search(text)
            and re.search(r"影|反射|見間違|気のせい|同じ|問題な|正常", text)
        ):
            for item in previous_cells:
                item.status = "off"
        previous_cells = cells or previous_cells
        section = side if sentence.heading else ""
    _ = last_said, conditional


def _parts(text: str, offset: int) -> list[_Part]:
    """Stretches between commas; a stretch that only names a topic or lists cells goes with the next one."""
    parts: list[_Part] = []
    begin = 0
    for m in re.finditer(
        r"[、,;|()\n]|(?:ですが|ますが|したが|せんが)(?=[^、,])|\s[-—]\s|\s+(?=[A-Za-z0-9]{2,3}\s?:)| -> ", text + "、"
    ):
        stop = m.end()
        piece = text[begin:stop]
        head = text[begin : m.start()]
        if m.start() < len(text) and (
            (re.search(r"(?:は|も|では|について|に|で|と|や|を|の)$", head) and m.group() in "、," and len(head) < 30)
            or (
                re.fullmatch(r"[\s\w(（]{0,6}", head)
                and m.group() in "、,"
                and not (_FINE.search(head) or _ILL.search(head))
            )
        ):
            continue
        if piece.strip():
            parts.append(_Part(offset + begin, offset + min(stop, len(text)), piece))
        begin = stop
    if begin < len(text) and text[begin:].strip():
        parts.append(_Part(offset + begin, offset + len(text), text[begin:]))
    return parts


def _sides(text: str, current: str) -> tuple[str, list[tuple[int, str]]]:
    sides: list[tuple[int, str]] = [(-1, current)]
    marks = [(m.start(), m.end(), "ref") for m in _REF.finditer(text)] + [
        (m.start(), m.end(), "test") for m in _TEST.finditer(text)
    ]
    names_both = re.search(
        r"上下(?:の|とも|で|両)|両(?:方|者|製品|画像)|どちらも|いずれも|双方|2つの(?:画像|写真|製品)(?:は|に|とも)|两(?:张|个|者)|都|두 ",
        text,
    )
    names_no_cell = re.search(r"\d\s?[ucd]|[ucd]\s?\d", text) is None
    if names_both and (names_no_cell or "上下" in text or "両" in text):
        return current, [(-1, "both")]
    for start, end, name in sorted(marks):
        if name == "ref" and _COMPARED.match(text[end:]):
            continue
        sides.append((start, name))
    return sides[-1][1], sides


def _side_at(sides: Sequence[tuple[int, str]], at: int) -> str:
    return next((name for start, name in reversed(sides) if start <= at), "")


def _statements(
    part: _Part,
    sides: list[tuple[int, str]],
    dead: bool,
    sentence: Sentence,
    hearing: Hearing,
    whole: str,
    plain_low: str,
) -> Verdict | None:
    text = part.text
    found: list[tuple[int, int, Verdict, int, bool]] = []
    hits = [(m.start(), m.end(), False) for m in _FAIL.finditer(text)]
    hits += [
        (m.start(), m.end(), True) for m in _PASS.finditer(text) if not any(a <= m.start() < b for a, b, _ in hits)
    ]
    hits.sort()
    if _is_options(text, hits):
        hearing.echoed = True
        return None
    for index, (start, end, passing) in enumerate(hits):
        tail = text[end : hits[index + 1][0] if index + 1 < len(hits) else len(text)]
        if (
            passing
            and text[start:end] in ("合格品", "良品", "適合品", "합격품", "양품", "合格")
            and _AS_REFERENCE.match(tail)
        ):
            continue
        if not passing and re.match(r"(?:の有無|率|を示す|があるか|かどうか|の(?:場合|基準|定義))", tail):
            continue
        if passing and re.match(r"(?:の有無|率|かどうか|の(?:場合|基準|定義|条件|要件))", tail):
            rest = _MEETS.search(text[start:])
            if rest is None:
                continue
            end = start + rest.end()
            tail = text[end:]
        if _OPEN.match(tail) or (
            re.fullmatch(r"(?:では?(?:あ(?:り(?:ま(?:せ)?)?)?|な)?|とは?(?:言|い)?|には|じゃ(?:あり|な)?)", tail)
            and part.end == len(plain_low)
        ):
            hearing.hedged = True
            continue
        twice = _NEGATED_TWICE.match(tail) is not None
        negated = (_NEGATED.match(tail) is not None and not _STILL.match(tail) and not twice) != (
            _BEFORE_NOT.search(text[:start]) is not None
        )
        found.append((start, end, "passed" if passing != negated else "defective", 3, False))
    if not found:
        scoped = _SCOPED.search(text) is not None or re.search(r"\d\s?[ucd]\b|[ucd]\s?\d", text) is not None
        for m in _NO_FLAW.finditer(text):
            if not scoped:
                found.append((m.start(), m.end(), "passed", 2, False))
        for m in _MEETS.finditer(text):
            found.append(
                (
                    m.start(),
                    m.end(),
                    "defective"
                    if _NEGATED.match(text[m.end() :]) or text[max(0, m.start() - 1) : m.start()] == "不"
                    else "passed",
                    3,
                    False,
                )
            )
        if not found:
            for m in _HAS_FLAW.finditer(text):
                found.append((m.start(), m.end(), "defective", 2, True))
            for m in _SAME.finditer(text):
                if scoped:
                    break
                negated = _NEGATED.match(text[m.end() :]) is not None and not m.group().startswith(("変わ", "問題"))
                found.append((m.start(), m.end(), "defective" if negated else "passed", 2, True))
    last: Verdict | None = None
    final = _FINAL.search(whole) is not None
    for start, end, verdict, rank, weak in found:
        if _side_at(sides, start) == "ref":
            continue
        last = verdict
        if dead:
            continue
        hearing.statements.append(
            Statement(verdict, rank, part.start + start, min(part.start + end, part.end), weak, final)
        )
    if not found:
        for m in [*_MARK.finditer(text), *filter(None, [_ALONE.fullmatch(whole)])]:
            verdict = "passed" if m[1] in "○◯✓良可適" else "defective"
            hearing.statements.append(Statement(verdict, 3, part.start + m.start(1), part.start + m.end(1)))
        for m in _EXISTS.finditer(text):
            verdict = "passed" if m[1][0] in "無な否" else "defective"
            hearing.statements.append(Statement(verdict, 2, part.start + m.start(1), part.start + m.end(1)))
    return last


def _is_options(text: str, hits: Sequence[tuple[int, int, bool]]) -> bool:
    if len(hits) < 2 or len({h[2] for h in hits}) < 2:
        return False
    return any(
        a[2] != b[2]
        and re.fullmatch(
            r"[\s\"'」』]*(?:か、?|または|もしくは|あるいは|/|or|と|還是|还是|或者?|이나|또는|인지)[\s\"'「『]*",
            text[a[1] : b[0]],
        )
        is not None
        for a, b in itertools.pairwise(hits)
    )


def _western_names(text: str, defects: DefectFinder) -> list[tuple[int, int, str | None]]:
    """Names of defects written in Latin letters inside an eastern sentence."""
    words = [(m.group(), m.start(), m.end()) for m in re.finditer(r"[a-z]+|[^\sa-z]", text)]
    return [(words[m.first][1], words[m.last - 1][2], m.name) for m in defects.west([w[0] for w in words])]


def _spread_negation(names: Sequence[Item], low: str) -> None:
    """ "欠品も色違いもなく": what is denied of the last of a list is denied of all."""
    for item, following in reversed(list(itertools.pairwise(names))):
        if following.status == "off" and re.fullmatch(
            r"(?:や|も|と|、|,|または|および|及び|か|は|\s)*", low[item.end : following.start]
        ):
            item.status = "off"


def _items(
    flags: Sequence[tuple[_Part, bool, str]],
    places: Sequence[Place],
    names: Sequence[object],
    western: Sequence[tuple[int, int, str | None]],
    number: int,
    serial: int,
    sentence: Sentence,
    plain: PlainText,
    mentions: Mentions,
) -> list[Item]:
    from .defects import Mention

    added: list[Item] = []
    named = [(m.first, m.last, m.name) for m in names if isinstance(m, Mention)] + list(western)
    statuses: list[str] = []
    for index, (part, dead, side) in enumerate(flags):
        asserted = False
        for first, last, name in sorted(named):
            at = sentence.start + first
            if not part.start <= at < part.end:
                continue
            tail = plain.low[sentence.start + last : sentence.end][:24]
            negated = (
                _NAME_NOT.match(tail) is not None
                or re.search(r"(?:没有|无|未见|未发现|没)[^。，、]{0,4}$", plain.low[part.start : at]) is not None
            )
            status = "off" if dead or negated or side in ("ref", "both") else "on"
            asserted = asserted or status == "on"
            added.append(
                Item("name", at, sentence.start + last, number, serial + index, status, name=name, refers=True)
            )
        _spread_negation([i for i in added if i.kind == "name" and i.clause == serial + index], plain.low)
        asserted = any(i.status == "on" for i in added if i.kind == "name" and i.clause == serial + index)
        text = part.text
        fine = _FINE.search(_COMPARED_WITH.sub("", text)) is not None
        if dead:
            status = "off"
        elif asserted:
            status = "off" if re.search(r"同じ|同様|一致", text) and side == "both" else "on"
        elif side == "ref":
            status = "ref"
        elif any(i.clause == serial + index and i.kind == "name" for i in added) or (
            fine and not re.search(r"(?:同じ|一致|正常|正し)[^。、]{0,6}(?:ない|ませ|ず)", text)
        ):
            status = "off"
        else:
            status = "on"
        statuses.append(status)
    for place in places:
        if not place.cells:
            continue
        index = next(
            (k for k, (part, _, _) in enumerate(flags) if part.start <= place.start < part.end), len(flags) - 1
        )
        status = statuses[index]
        part = flags[index][0]
        bare = re.fullmatch(r"[\s、,・とやからまで~()\d\w]{0,40}", plain.low[place.end : part.end]) is not None
        if (
            bare
            and status == "on"
            and index + 1 < len(flags)
            and not any(i.kind == "name" and i.clause == serial + index for i in added)
        ):
            status = statuses[index + 1] if statuses[index + 1] != "ref" else status
        besides = part.text.find("以外は")
        if besides >= 0 and _FINE.search(part.text, besides):
            # "1C to 9C are equal except for 5C": only the cell before the "except" differs.
            later = [p for p in places if place.start < p.start < part.start + besides]
            status = "on" if place.start < part.start + besides and not later and not flags[index][1] else "off"
        tail = plain.low[place.end : place.end + 8]
        if re.match(r"(?:では|じゃ)な|ではあり", tail):
            status = "off"
        if status == "off" and not flags[index][1] and flags[index][2] != "ref" and _FINE.search(part.text):
            mentions.cleared.append((place.start, frozenset(place.cells)))
        added.append(
            Item(
                "cells",
                place.start,
                place.end,
                number,
                serial + index,
                status,
                cells=place.cells,
                flawed=status == "on" and _ILL.search(part.text) is not None,
            )
        )
    added.sort(key=lambda i: i.start)
    mentions.items.extend(added)
    return added
