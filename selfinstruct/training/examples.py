"""What a model learns from: a conversation, two answers of which one is better, an answer with its critique."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import orjson

from selfinstruct.schema import Message, Noun


def group_of(prompt: Sequence[Message]) -> str:
    """Hex sha256 of the turns' roles and contents: examples of one group have the same prompt."""
    return hashlib.sha256(orjson.dumps([[turn.role, turn.content] for turn in prompt])).hexdigest()


class Conversation(Noun):
    """Turns of which the assistant's are learnt: user and assistant alternate, the last one is the assistant's.

    A system message may stand before them. ``weight`` says how much the whole counts; ``weights``, where there are
    any, how much each message counts. ``condition`` is the class it is of, such as GPT4 (OpenChat, systems §7.3),
    ``rationale`` why the answer is right (distilling step by step, systems §13). ``source`` is the label of the file
    or run it comes from, ``place`` its file and line, or its record's id.
    """

    messages: tuple[Message, ...]
    weight: float = 1.0
    weights: tuple[float, ...] = ()
    condition: str = ""
    rationale: str = ""
    source: str
    place: str

    @property
    def prompt(self) -> tuple[Message, ...]:
        """What is said before the first answer."""
        roles = [turn.role for turn in self.messages]
        return self.messages[: roles.index("assistant")]

    @property
    def group(self) -> str:
        """The same for all conversations that begin with the same prompt."""
        return group_of(self.prompt)


class Preference(Noun):
    """Two answers to the same turns, the last of which is the user's: ``chosen`` is better than ``rejected``.

    ``margin`` is how much better, where the data tell.
    """

    prompt: tuple[Message, ...]
    chosen: str
    rejected: str
    margin: float | None = None
    source: str
    place: str

    @property
    def group(self) -> str:
        """The same for all pairs with the same prompt."""
        return group_of(self.prompt)


class Critiqued(Noun):
    """An answer, what a judge wrote of it, and the score it gave, where it gave one."""

    prompt: tuple[Message, ...]
    response: str
    critique: str
    score: float | None = None
    source: str
    place: str

    @property
    def group(self) -> str:
        """The same for all answers to the same prompt."""
        return group_of(self.prompt)
