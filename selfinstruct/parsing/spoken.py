"""One turn of a conversation, out of what a model wrote for it: without its label, its quotation marks, or the rest."""

from __future__ import annotations

import re
from typing import Final, Literal

_LABELS: Final = {
    "user": r"(?:user|human|me|用户|使用者|我)",
    "assistant": r"(?:assistant|ai|bot|chatbot|助手|助理)",
}
_OWN: Final = {
    role: re.compile(rf"\s*[*_#\[(【]{{0,4}}\s?{names}\s?[\])】*_]{{0,4}}\s?[:：][*_]{{0,4}}", re.IGNORECASE)
    for role, names in _LABELS.items()
}
_NEXT: Final = re.compile(
    rf"\n[^\S\n]*[*_#\[(【]{{0,4}}(?:{'|'.join(_LABELS.values())})\s?[\])】*_]{{0,4}}\s?[:：]", re.IGNORECASE
)
_PAIRS: Final = (('"', '"'), ("“", "”"), ("「", "」"))


def spoken(text: str, role: Literal["user", "assistant"], *, continues: bool) -> str:
    """The turn in an answer. ``continues`` where the answer goes on with a transcript, which it may do for both sides.

    A label of the speaker's own and quotation marks around all of a user's turn are no part of it; a label of the other
    side is left for others to judge, except in a transcript, where the turn ends before the next label.
    """
    label = _OWN[role].match(text)
    text = text[label.end() :] if label else text
    following = _NEXT.search(text) if continues else None
    text = (text[: following.start()] if following else text).strip()
    for opens, closes in _PAIRS if role == "user" else ():
        inner = text[1:-1]
        if len(text) > 1 and text[0] == opens and text[-1] == closes and opens not in inner and closes not in inner:
            return inner.strip()
    return text
