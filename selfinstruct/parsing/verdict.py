"""Yes or no, read from a model's answer; whatever is not plainly one of them is an error, never a no."""

from __future__ import annotations

import re
from typing import Final

from selfinstruct.errors import ParseError
from selfinstruct.parsing.markup import clean

# The question repeated, or no decision: "yes or no", "Yes/No", "是或否".
_EITHER: Final = re.compile(
    r"\b(?:yes|no)\b\W{0,3}(?:\b(?:or|and)\b|[/|&-])\W{0,3}\b(?:yes|no)\b"
    r"|是\W{0,3}(?:还是|或者?|和|与)?\W{0,3}否|否\W{0,3}(?:还是|或者?|和|与)\W{0,3}是"
)
# A verdict opens the text, a line or a clause, or follows "is": "Answer: no.", "… a classification? Yes".
_VERDICT: Final = re.compile(
    r"""(?:^|[^\w\s]|\n|\b(?:is|be|say|think)\s)\s{0,4}[\"'“‘*_`(\[]{0,4}
        (?:\b(?P<yes>yes)\b
          |\b(?P<no>no)\b(?![^\S\n][a-z]|\W?(?:idea|one|way)\b)
          |\b(?P<no_it>no)\b(?=\s(?:it|this|that|the|these|because|since|as|i|not|you|we|a|an)\b)
          |(?:这|它|[该此]任务|这个任务)?(?:(?P<shi>是)|(?P<fou>不是|否))(?=的|(?:一[个项种])?分类|\W|$))
    """,
    re.VERBOSE,
)
_UNSURE: Final = re.compile(
    r"\b(?:not (?:sure|certain|clear)|unsure|uncertain|unclear|cannot|can't|depends|maybe|perhaps|not enough)\b"
    r"|不确定|不一定|不清楚|无法|可能|也许"
)


def yes_no(text: str) -> bool:
    """True for yes, False for no; the first plain verdict counts.

    Case, Markdown, labels, and what is said after the verdict do not matter: "Yes, it is …", "**No**", "Is it
    classification? Yes", 是, 否, 不是.

    Raises ParseError ``unknown_verdict`` when the answer is empty, unsure, names both, or says something else.
    """
    plain = _EITHER.sub("…", clean(text).replace("’", "'").strip().lower())
    verdict = _VERDICT.search(plain)
    if not verdict or _UNSURE.search(plain[: verdict.start()]):
        raise ParseError("unknown_verdict", "neither yes nor no")
    return verdict["yes"] is not None or verdict["shi"] is not None
