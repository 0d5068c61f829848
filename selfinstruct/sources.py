"""Where an instruction comes from: which data set a source is, however it is spelled.

A source decides the principles that models are told, what the judge is told of the world, and a warning of the audit.
Files spell it as they like: "TruthfulQA" is ``truthful_qa``, and "flan_v2_cot" a part of ``flan``.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection
from typing import Final

FAMILIES: Final = (
    *("evol_instruct", "sharegpt", "ultrachat", "flan", "truthful_qa", "false_qa"),  # UltraFeedback's (systems §6.1)
    *("self-instruct", "alpaca", "belle"),  # runs of this package; dialogues of theirs are ``ultrachat``
)
"""The data sets that something is known of."""

_FLAN: Final = re.compile(r"flan(?:[\W_]?v?\d+)?(?:[\W_]|\Z)")  # "flan_v2_niv2", "FLAN-CoT", not "flange"
_WITH_PARTS: Final = ("truthful_qa", "false_qa")  # "truthful_qa/generation", "TruthfulQA-zh"
_TOLD: Final = 10  # sources of a list of them


def family(source: str) -> str:
    """The data set of `FAMILIES` that a source is, or is a part of; the source itself where it is none of them.

    Case and whatever is no letter or digit make no difference.
    """
    if _FLAN.match(source.lower()):
        return "flan"
    key = _key(source)
    for one in FAMILIES:
        if key == _key(one) or (one in _WITH_PARTS and key.startswith(_key(one))):
            return one
    return source


def for_evaluation(source: str) -> bool:
    """Whether a source is TruthfulQA: models are evaluated with it (systems §6.8)."""
    return family(source) == "truthful_qa"


def instead(source: str, there: Collection[str]) -> str:
    """What to name in place of a source that there is not: the one that is meant, or those there are."""
    keys = {_key(one): one for one in there}
    if close := difflib.get_close_matches(_key(source), keys, n=1):
        return f"did you mean '{keys[close[0]]}'?"
    names = sorted(there)
    return f"sources: {', '.join(names[:_TOLD])}{' …' if len(names) > _TOLD else ''}" if names else "there is none yet"


def _key(source: str) -> str:
    return "".join(filter(str.isalnum, source.lower()))
