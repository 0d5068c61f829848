"""A conversation as one text, for layouts that have a text where we have messages."""

from __future__ import annotations

from collections.abc import Sequence

from selfinstruct.schema import Lang, Message

_NAMES: dict[Lang, dict[str, str]] = {
    "en": {"system": "System: ", "user": "User: ", "assistant": "Assistant: "},
    "zh": {"system": "系统：", "user": "用户：", "assistant": "助手："},
}


def transcript(history: Sequence[Message], instruction: str, lang: Lang) -> str:
    """The instruction alone, or, where something was said before it, every turn behind the name of who says it."""
    if not history:
        return instruction
    turns = (*history, Message(role="user", content=instruction))
    return "\n\n".join(_NAMES[lang][turn.role] + turn.content for turn in turns)
