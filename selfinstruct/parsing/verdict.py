"""Yes or no, read from a model's answer; whatever is not plainly one of them is an error, never a no."""

from __future__ import annotations

import re
from typing import Final

from selfinstruct.errors import ParseError
from selfinstruct.parsing.markup import clean

# The question repeated, or no decision: "yes or no", "Yes/No", "是或否", "这是分类任务吗？".
_EITHER: Final = re.compile(
    r"\b(?:yes|no)\b\W{0,3}(?:\b(?:or|and)\b|[/|&-])\W{0,3}\b(?:yes|no)\b"
    r"|是\W{0,3}(?:还是|或者?|和|与)?\W{0,3}否(?:属于|是|为)?|否\W{0,3}(?:还是|或者?|和|与)\W{0,3}是"
    r"|是\W{0,2}[也又]不是|[^。！？!?：:\n]{0,60}吗\W{0,2}[？?]"
)
_LEADS_ZH: Final = (
    r"(?:(?:所以|因此|因而|综上)|我(?:认为|觉得|判断)|(?:答案|结论|结果)(?:是|为)"
    r"|(?:这|它|任务|[这该此]?(?:[个条道项]?(?:任务|题目?|指令|问题)))(?:明显|显然|确实|肯定|的确)?)"
)
_CLASSIFIES_ZH: Final = (
    r"(?:一?[个项种道条])?(?:(?:典型|标准|明确|简单)的)?(?:文本|情感|主题|意图|二元?|多(?:类|标签)?)?分类"
)
# A verdict opens the text, a line or a clause, or follows "is": "Answer: no.", "… a classification? Yes".
_VERDICT: Final = re.compile(
    rf"""(?:^|[^\w\s]|\n|\b(?:is|be|say|think)\s)\s{{0,4}}[\"'“‘*_`(\[]{{0,4}}
        (?:\b(?P<yes>yes)\b
          |\b(?P<no>no)\b(?![^\S\n][a-z]|\W?(?:idea|one|way)\b)
          |\b(?P<no_it>no)\b(?=\s(?:it|this|that|the|these|because|since|as|i|not|you|we|a|an)\b)
          |{_LEADS_ZH}{{0,2}}(?:(?P<shi>是|属于)|(?P<fou>并?不(?:是|属于|算)|并非|否))(?=的|{_CLASSIFIES_ZH}|\W|$)
          |{_LEADS_ZH}{{0,2}}(?P<fei>非)(?={_CLASSIFIES_ZH})
          |(?<!.)(?:(?P<dui>对的?)|(?P<bu>不对?))(?=\W|$))
    """,
    re.VERBOSE,
)
# A sentence may state what the question asks: "This is not a classification task." A condition, a question, or a word
# between ("probably", "not only") states nothing.
_SUBJECT: Final = r"(?:(?:this|that|the)(?:\s(?:given|above|last))?\s(?:task|one|instruction)|this|that|it)"
_STATEMENT: Final = re.compile(
    rf"""(?:^|[\n.:!])[\s"'“‘(>-]{{0,6}}(?:(?:i\sthink|i(?:'d|\swould)\ssay)\s(?:that\s)?)?
        (?:(?P<is_not>(?:{_SUBJECT}(?:'s|\sis)\s)?(?:definitely\s|clearly\s|really\s)?not\s|{_SUBJECT}\sisn't\s)
          |{_SUBJECT}(?:'s|\sis)\s(?:definitely\s|clearly\s|indeed\s)?)
        (?:really\s)?(?:an?\s)?(?:(?:binary|text|topic|sentiment|multi-?class)\s)?
        classification(?:\s(?:task|problem|question)s?)?
        (?=[^\w?]{{0,4}}\Z|[.!;\n]|,?\s(?:because|since|as)\b|(?(is_not)(?:,|\sbut\b)|(?!)))
    """,
    re.VERBOSE,
)
_MARKS: Final = re.compile(r"[*_`]+")
_UNSURE: Final = re.compile(
    r"\b(?:not (?:sure|certain|clear)|unsure|uncertain|unclear|cannot|can't|depends|maybe|perhaps|not enough)\b"
    r"|不确定|不一定|不清楚|不好说|无法|难以|取决于|可能|也许|或许|大概"
)


def yes_no(text: str) -> bool:
    """True for yes, False for no; the first plain verdict counts.

    Case, Markdown, labels, and what is said after the verdict do not matter: "Yes, it is …", "**No**", "Is it
    classification? Yes", 是, 否, 不是, 属于分类任务. "This is not a classification task." is a no.

    Raises ParseError ``unknown_verdict`` when the answer is empty, unsure, names both, or says something else.
    """
    plain = _EITHER.sub("…", clean(text).replace("’", "'").strip().lower())
    verdict = _VERDICT.search(plain)
    begins = verdict.start() if verdict else len(plain)
    stated = {match["is_not"] is None for match in _STATEMENT.finditer(_MARKS.sub("", plain[:begins]))}
    if verdict:
        stated.add(any(verdict[word] is not None for word in ("yes", "shi", "dui")))
    if len(stated) != 1 or _UNSURE.search(plain[:begins]):
        raise ParseError("unknown_verdict", "neither yes nor no")
    return stated.pop()
