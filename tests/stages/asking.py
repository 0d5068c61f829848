"""How the stages before a dialogue ask in tests: by chat, in English, four jobs a round, if a test says no other."""

from __future__ import annotations

from selfinstruct.schema import Lang, Rendering, Sampling
from selfinstruct.stages.lists import Lists


def lists(
    max_tokens: int, *, rendering: Rendering = "chat", lang: Lang = "en", seed: int = 1, round_size: int = 4
) -> Lists:
    """Answers of at most so many tokens, the number by which a test knows its stage's request."""
    return Lists(rendering, Sampling(max_tokens=max_tokens), lang, seed, round_size)
