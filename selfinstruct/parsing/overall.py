"""A critique with its overall score from 1 to 10, and such a score alone, out of a judge's answer.

A number counts only where it plainly is the score: behind its label at the start of a line, alone on a first or last
line that is no rest of a sentence, or in ``[[7]]``. Numbers in the feedback ("3 examples", "10 out of 10 people") are
no scores.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from selfinstruct.errors import ParseError
from selfinstruct.parsing.chatter import is_closing
from selfinstruct.parsing.json_nodes import Node
from selfinstruct.parsing.markup import clean, is_rule, trim, unwrap
from selfinstruct.parsing.one_value import one_value
from selfinstruct.parsing.rating_values import plain, score_of, unmarked

_LOOKED_AT: Final = 300  # characters of a line that the patterns for labels see
_LEAD: Final = r"(?:[\s>#•·◦▪+-]|\*(?=\s))*+(?:\d{1,2}[.)、]\s*+)?[*_`\[(]*+"
_SURE: Final = (
    r"(?:(?:my|the)\s+)?(?:(?:overall|final|total|revised|corrected|updated|adjusted|amended|new)\s+){0,3}"
    r"(?:quality\s+)?(?:score|rating|grade)"
    r"|(?:(?:(?:最终|最后|(?:修改|修正|更正|调整|更新)后?)的?)(?=总|评|得|分|打|综|整))?+(?:总分|总?(?:评分|得分|分数|打分)|(?:总体|整体|综合|最终|总的?)的?(?:评分|得分|分数|打分|评价分数?))"
)
_VAGUE: Final = (
    r"overall(?:\s+(?:assessment|evaluation|verdict|quality))?|final\s+verdict|总体|总评|总体评价|综合评价|整体评价"
)
_CLOSE: Final = r"[*_`\])]*+(?:\s*+\([^()\n]{0,40}\)[*_`]*+)?\s*+"
_LABEL: Final = re.compile(
    rf"{_LEAD}(?:(?P<sure>{_SURE})|(?P<vague>{_VAGUE})){_CLOSE}(?:(?:[:=]|[–—-]+\s|is\b|为|是)|(?P<end>$)|(?=[*_`\[(]*\d))"
)
_AT_END: Final = re.compile(
    rf"[.!?;)]\s*[*_`]*(?:(?:overall|final|total)\s+(?:score|rating)|总分|(?:总体|整体|综合|最终)(?:评分|得分)){_CLOSE}[:=]\s*(?P<said>[^:\n]{{1,40}})$"
)
_DOUBLE: Final = re.compile(
    rf"(?:(?:\b(?:{_SURE})|\b(?:{_VAGUE}))\s*[*_]*:?\s*[*_]*)?"
    r"\[\[(?P<said>[^\[\]\n]{1,20})\]\](?:\s*(?:/|out of)\s*10\b)?"
)
_NUMBER: Final = re.compile(r"\s*[-−]?\d+(?:\.\d+)?\s*(?:(?:/|out of)\s*\d+\s*)?")
_ALONE: Final = re.compile(
    r"[-−]?\d+(?:\.\d+)?\s*(?:分|points?)?\s*(?P<scale>(?:/|out of)\s*\d+\s*分?)?\s*(?:\([^()]{0,40}\))?"
    r"(?P<stop>\.?)[。!]?|[一二三四五六七八九十]分[。.]?"
)
_BEFORE_GLOSS: Final = re.compile(r"^[\s*_`\[\]\d./]*+(?:out of\s*+\d+)?[\s*_`\]分:,;.。，–—-]*+")
_SENTENCE_END: Final = re.compile(r"[.!?][\"')]*\s|[。！？]")
_ENDS_SENTENCE: Final = re.compile(r"[.!?。！？…][\"')”’）*_`]*\s*$")
_BARE_VALUE: Final = re.compile(r"[-\d\s./*_`\[\]()]+分?")
_SPOKEN: Final = re.compile(
    r"\b(?:rate|score|give|giving|rating|deserves?|scores)\b[^\n.!?\d]{0,80}"
    r"(?P<said>\d+(?:\.\d+)?\s*(?:/|out of)\s*10\b)"
    r"|(?:给|打|评)[^\n。\d]{0,20}(?P<zh>\d+(?:\.\d+)?\s*分(?:\s*/\s*10\s*分?)?)"
)
_FEEDBACK: Final = re.compile(
    rf"{_LEAD}(?:(?:my|the|specific|constructive)\s+)*(?:feedback|critique|反馈(?:意见)?|评语|点评|批评|意见|改进建议){_CLOSE}(?:[:=][\s*_`]*+|$)"
)
_PREAMBLE: Final = re.compile(
    r"(?:sure|certainly|of course|ok(?:ay)?\b|here(?:'s| is| are)|below|thank|好的?|当然|以下|这是|下面)"
    r".{0,160}[:.!。]\s*"
)


class _Score(NamedTuple):
    """Where a score is said: lines ``first`` to ``last``, from the character ``start`` of the first."""

    said: str
    first: int
    last: int
    start: int = 0
    rest: str = ""  # what stands behind it on its line
    inside: bool = False  # it may stand in the middle of the line


def overall_score(text: str) -> float:
    """The score of an answer that was asked for nothing else, from 1 to 10; also as JSON (``{"overall_score": 7}``).

    Raises ParseError: ``missing_score``, ``doubled_score`` (two that differ), ``score_out_of_range`` ("0", "85/100"),
    ``not_json`` and ``wrong_shape`` where it is JSON.
    """
    source = unwrap(clean(text)).strip()
    if source.startswith("{"):
        return _json_score(one_value(source))
    lines = source.split("\n")
    found = _labelled(lines) or _alone(lines, stops=True)
    spoken = [] if found else [_Score(match["said"] or match["zh"], 0, 0) for match in _SPOKEN.finditer(plain(source))]
    return _the_one(found or spoken)


def critique(text: str) -> tuple[str, float]:
    """The feedback of an answer, without its heading and without the line of the score, and the overall score.

    Raises ParseError ``missing_critique`` where nothing but a score stands there, and as `overall_score`.
    """
    lines = unwrap(clean(text)).split("\n")
    found = _labelled(lines) or _alone(lines, stops=False)
    score = _the_one(found)
    feedback = _feedback(lines, found)
    if not re.search(r"\w", feedback):
        raise ParseError("missing_critique", "nothing but a score")
    return feedback, score


def critique_json(text: str) -> tuple[str, float]:
    """As `critique`, of ``{"feedback": "…", "overall_score": 7}``, whatever prose and fences stand around it.

    Raises ParseError ``not_json``, ``wrong_shape``, ``missing_critique``, and as `overall_score`.
    """
    root = one_value(text)
    score = _json_score(root)
    said = _members(root, "feedback", "critique")
    if any(node.kind != "string" and node.says != "null" for node in said):
        raise ParseError("wrong_shape", "the feedback is no text")
    texts = {node.says.strip() for node in said if node.kind == "string"}
    if len(texts) > 1:
        raise ParseError("wrong_shape", "two feedbacks")
    if not any(texts):
        raise ParseError("missing_critique")
    return texts.pop(), score


def _members(root: Node, *names: str) -> list[Node]:
    return [node for key, node in root.members if key.strip().casefold() in names]


def _json_score(root: Node) -> float:
    if root.kind != "object":
        raise ParseError("wrong_shape", "no object")
    said = _members(root, "overall_score", "score")
    if any(node.kind not in ("string", "literal") or node.says in ("true", "false") for node in said):
        raise ParseError("wrong_shape", "the score is no number")
    return _the_one([_Score(node.says, 0, 0) for node in said])


def _the_one(found: Sequence[_Score]) -> float:
    """The score that all of them say."""
    if not found:
        raise ParseError("missing_score", "no score is marked in it")
    said = {score_of(score.said) for score in found}
    if len(said) > 1:
        raise ParseError("doubled_score", " and ".join(f"{score:g}" for score in sorted(said)))
    return said.pop()


def _labelled(lines: Sequence[str]) -> list[_Score]:
    """Every score behind a label or in double brackets."""
    following = _next_filled(lines)
    found: list[_Score] = []
    for number, raw in enumerate(lines):
        doubled = list(_in_brackets(raw, number))
        labelled = None if doubled else _behind_label(raw, number, lines, following[number])
        found += doubled or ([labelled] if labelled else [])
    return found


def _next_filled(lines: Sequence[str]) -> list[int]:
    """For each line, the number of the next one that has anything in it; the number of lines where there is none."""
    following = [len(lines)] * len(lines)
    for number in range(len(lines) - 2, -1, -1):
        following[number] = number + 1 if lines[number + 1].strip() else following[number + 1]
    return following


def _in_brackets(raw: str, number: int) -> Iterator[_Score]:
    for match in _DOUBLE.finditer(plain(raw)) if "[[" in plain(raw) else ():
        if _NUMBER.fullmatch(match["said"]):
            rest = raw[match.end() : match.end() + _LOOKED_AT]
            start = match.start() if re.search(r"\w", rest) else _sentence(raw, match.start())
            yield _Score(match["said"], number, number, start, rest, inside=True)


def _sentence(raw: str, end: int) -> int:
    """Where the sentence that leads to a score begins: "I would rate it [[7]]." is no part of the feedback."""
    nearest = max(0, end - _LOOKED_AT)
    stops = [match.end() for match in _SENTENCE_END.finditer(raw, nearest, end)]
    return stops[-1] if stops else end if nearest else 0


def _behind_label(raw: str, number: int, lines: Sequence[str], following: int) -> _Score | None:
    """The score that a line gives, or that its label announces for the next line."""
    line = plain(raw[:_LOOKED_AT])
    label = _LABEL.match(line)
    if label and not line[label.end() :].strip(" \t*_`:"):
        alone = following < len(lines) and _ALONE.fullmatch(unmarked(lines[following]))
        return _Score(lines[following], number, following) if alone else None
    if label:
        said = raw[label.end() :]
        return _Score(said, number, number, 0, said) if _counts(said, sure=label["sure"] is not None) else None
    last = _AT_END.search(plain(raw[-_LOOKED_AT:])) if following == len(lines) else None
    if last and _counts(last["said"], sure=True):
        return _Score(last["said"], number, number, max(0, len(raw) - _LOOKED_AT) + last.start() + 1)
    return None


def _counts(said: str, *, sure: bool) -> bool:
    """Whether what follows a label is a score, be it a wrong one; behind "Overall:" prose may follow as well."""
    try:
        score_of(said)
    except ParseError as error:
        return error.reason != "missing_score" and (sure or _BARE_VALUE.fullmatch(plain(said[:_LOOKED_AT])) is not None)
    return sure or re.fullmatch(r"[^a-z]*(?:out of[^a-z]*)?", plain(said)) is not None


def _alone(lines: Sequence[str], *, stops: bool) -> list[_Score]:
    """A first and a last line that are nothing but a number, and not the rest of a sentence.

    ``stops``: in an answer that is asked for nothing else, where also "7." is a score, and a line leads up to it.
    """
    filled = [number for number, line in enumerate(lines) if line.strip()]
    found = []
    for number in sorted({*filled[:1], *filled[-1:]}):
        value = _ALONE.fullmatch(unmarked(lines[number]).lstrip("# "))
        if value and (stops or ((not value["stop"] or value["scale"]) and _stands_alone(lines, filled, number))):
            found.append(_Score(lines[number], number, number))
    return found


def _stands_alone(lines: Sequence[str], filled: Sequence[int], number: int) -> bool:
    """Whether the line before, rules aside, ends a sentence, and the one after begins one."""
    at = filled.index(number) if number == filled[0] else len(filled) - 1
    before = next((lines[one] for one in reversed(filled[:at]) if not is_rule(lines[one])), "")
    after = lines[filled[at + 1]] if at + 1 < len(filled) else ""
    begins = number + 1 < len(lines) and not lines[number + 1].strip()
    return (not before or _ENDS_SENTENCE.search(before) is not None) and (begins or not after[:1].islower())


def _feedback(lines: Sequence[str], found: Sequence[_Score]) -> str:
    """The lines without those of the scores, the headings, and what is said around it."""
    kept = list(lines)
    behind = max(score.last for score in found)
    for score in found:
        if score.inside and re.search(r"\w", score.rest):
            continue  # more of the feedback follows on the line
        kept[score.first] = lines[score.first][: score.start].rstrip()
        kept[score.first + 1 : score.last + 1] = [""] * (score.last - score.first)
    _drop_headings(kept, lines)
    parts = ["\n".join(_without_rules(kept[: behind + 1])), _without_farewell("\n".join(kept[behind + 1 :]))]
    return _without_heading("\n\n".join(part for part in parts if part.strip())) or _gloss(found)


def _drop_headings(kept: list[str], lines: Sequence[str]) -> None:
    """Takes out the headings of the score that stand above its line ("### Overall Score")."""
    for number, line in enumerate(lines):
        label = _LABEL.match(plain(line[:_LOOKED_AT]))
        if label and label["sure"] and not plain(line[label.end() :]).strip(" \t*_`:"):
            kept[number] = ""


def _without_farewell(after: str) -> str:
    """What follows the score, unless it takes leave."""
    paragraphs = re.split(r"\n[^\S\n]*\n", after)
    while paragraphs and (not paragraphs[-1].strip() or is_rule(paragraphs[-1]) or is_closing(paragraphs[-1].lstrip())):
        paragraphs.pop()
    return trim("\n\n".join(paragraphs))


def _without_heading(text: str) -> str:
    """The feedback without "Feedback:", a line that announces it, and rules around it."""
    lines = _without_rules(text.split("\n"))
    starts = [number for number, line in enumerate(lines) if line.strip()][:2]
    for number in starts:
        label = _FEEDBACK.match(plain(lines[number][:_LOOKED_AT]))
        if label and all(_announces(lines[before]) for before in starts[: starts.index(number)]):
            return trim(
                "\n".join(_without_rules([lines[number][label.end() :].lstrip(), *lines[number + 1 :]]))
            ).strip()
    if starts and plain(lines[starts[0]]).rstrip().endswith(":") and _announces(lines[starts[0]]) and len(starts) > 1:
        lines = lines[starts[0] + 1 :]
    return trim("\n".join(_without_rules(lines))).strip()


def _announces(line: str) -> bool:
    return _PREAMBLE.fullmatch(plain(line[:_LOOKED_AT]).replace("’", "'").strip(" *_#")) is not None


def _without_rules(lines: Sequence[str]) -> list[str]:
    """The lines without blank ones and rules at either end."""
    kept = [number for number, line in enumerate(lines) if line.strip() and not is_rule(line)]
    return list(lines[kept[0] : kept[-1] + 1]) if kept else []


def _gloss(found: Sequence[_Score]) -> str:
    """The words behind a score on its line, where the answer has no others ("Score: 7. Too long …")."""
    glosses = (_BEFORE_GLOSS.sub("", score.rest).strip() for score in found if not score.inside)
    return next((gloss for gloss in glosses if re.search(r"\w", gloss)), "")
