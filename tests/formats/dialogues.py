"""Dialogues for tests."""

from __future__ import annotations

from typing import Any

from selfinstruct.schema import Dialogue, Lineage, Message, Provenance


def dialogue(*turns: str, **changes: Any) -> Dialogue:
    """One of these turns, the user's first, that ended as it was planned."""
    roles = ("user", "assistant") * len(turns)
    messages = tuple(Message(role=role, content=turn) for role, turn in zip(roles, turns, strict=False))  # type: ignore[arg-type]
    fields: dict[str, Any] = {
        "id": "dialogue-0-0-0",
        "provenance": Provenance(calls=("c1", "c2")),
        "messages": messages,
        "lang": "en",
        "sector": "world",
        "persona": "p1",
        "opener": Lineage(id="openers-0-0-0", origin="question"),
        "rounds": len(turns) // 2,
        "planned": len(turns) // 2,
    }
    return Dialogue(**fields | changes)
