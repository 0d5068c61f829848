"""Cuts long dialogues into pieces of whole rounds, for trainers that drop whatever exceeds their length."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

from selfinstruct.schema import Dialogue

PER_TURN = 6
"""Tokens that a trainer's template puts around a turn: as many as UltraChat's own cutting counts (systems §5.4)."""


class Cutter:
    """Cuts dialogues into pieces of at most ``most`` tokens, counted by ``tokens``; never a round, and loses none.

    ``too_long`` counts the rounds met so far that are longer by themselves: each is kept, as a piece of its own.
    """

    def __init__(self, most: int, tokens: Callable[[str], int]) -> None:
        self.too_long = 0
        self._most = most
        self._tokens = tokens

    def pieces(self, dialogue: Dialogue) -> Iterator[Dialogue]:
        """As many rounds at a time as fit; a dialogue that fits as a whole comes as it is.

        A piece's id is the dialogue's, ``_``, and the index of its first turn. The rounds that were planned and never
        said, and why, are told of the last piece: what the pieces say adds up to what the dialogue says.
        """
        starts = self._starts(dialogue)
        if len(starts) == 1:
            yield dialogue
            return
        for start, end in pairwise([*starts, len(dialogue.messages)]):
            is_last = end == len(dialogue.messages)
            rounds = (end - start) // 2
            update = {
                "id": f"{dialogue.id}_{start}",
                "messages": dialogue.messages[start:end],
                "rounds": rounds,
                "planned": rounds + (dialogue.planned - dialogue.rounds if is_last else 0),
                "ended": dialogue.ended if is_last else "",
            }
            yield dialogue.model_copy(update=update)

    def _starts(self, dialogue: Dialogue) -> list[int]:
        """The indices of the turns that pieces begin with."""
        starts, size = [0], 0
        for first in range(0, len(dialogue.messages), 2):
            cost = sum(self._tokens(turn.content) + PER_TURN for turn in dialogue.messages[first : first + 2])
            self.too_long += cost > self._most
            if size and size + cost > self._most:
                starts.append(first)
                size = 0
            size += cost
        return starts
