"""Long dialogues cut into pieces of whole rounds: none is lost, none is cut."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfinstruct.dialogue_cuts import PER_TURN, Cutter
from selfinstruct.schema import Dialogue
from tests.formats.dialogues import dialogue


def talk(*rounds: int) -> Dialogue:
    """A dialogue whose rounds cost so many tokens each, a character being one: both turns' texts, and 6 for each."""
    turns = [text * (cost - 2 * PER_TURN - 1) for cost in rounds for text in ("u", "a")]
    return dialogue(*(turn if number % 2 else "u" for number, turn in enumerate(turns)))


def cut(dialogue: Dialogue, most: int) -> tuple[list[Dialogue], int]:
    """The pieces, and how many rounds were too long."""
    cutter = Cutter(most, len)
    return list(cutter.pieces(dialogue)), cutter.too_long


def costs(pieces: Sequence[Dialogue]) -> list[list[int]]:
    """What the rounds of each piece cost."""
    sizes = [[len(turn.content) + PER_TURN for turn in piece.messages] for piece in pieces]
    return [[sum(size[first : first + 2]) for first in range(0, len(size), 2)] for size in sizes]


@pytest.mark.parametrize(
    ("rounds", "most", "pieces"),
    [
        ([20, 20, 60], 100, [[20, 20, 60]]),  # exactly as much as fits
        ([20, 20, 61], 100, [[20, 20], [61]]),  # the overflow happens at the last round
        ([20, 20, 100], 100, [[20, 20], [100]]),
        ([20, 20, 101], 100, [[20, 20], [101]]),
        ([101, 20, 20], 100, [[101], [20, 20]]),  # the first round alone is too long
        ([20, 101, 20], 100, [[20], [101], [20]]),
        ([101, 102, 103], 100, [[101], [102], [103]]),
        ([60, 40, 40, 60, 20], 100, [[60, 40], [40, 60], [20]]),
        ([101], 100, [[101]]),
        ([20], 1, [[20]]),
    ],
    ids=str,
)
def test_pieces_hold_as_many_whole_rounds_as_fit(rounds: list[int], most: int, pieces: list[list[int]]) -> None:
    """Greedily; a round that is too long by itself is a piece of its own, and counted."""
    said, too_long = cut(talk(*rounds), most)
    assert costs(said) == pieces
    assert too_long == sum(cost > most for cost in rounds)


def test_a_turn_costs_six_tokens_more_than_its_text() -> None:
    """Two rounds of 1 + 6 + 1 + 6 tokens are 28: they fit into 28 and not into 27."""
    said = dialogue("a", "b", "c", "d")
    assert (len(cut(said, 28)[0]), len(cut(said, 27)[0])) == (1, 2)


def test_a_piece_is_named_by_the_index_of_its_first_turn() -> None:
    """As UltraChat's own cutting names it; a dialogue that needs no cut is the very record."""
    said = talk(60, 40, 40, 60, 20)
    assert [piece.id for piece in cut(said, 100)[0]] == ["dialogue-0-0-0_0", "dialogue-0-0-0_4", "dialogue-0-0-0_8"]
    whole, too_long = cut(said, 220)
    assert (len(whole), whole[0] is said, too_long) == (1, True, 0)
    long = talk(101)
    assert (cut(long, 100)[0][0] is long, cut(long, 100)[1]) == (True, 1)


def test_what_was_planned_and_never_said_is_told_of_the_last_piece() -> None:
    """The numbers of the pieces add up; the rest of the record is the dialogue's."""
    said = talk(20, 20, 20).model_copy(update={"planned": 5, "ended": "farewell"})
    pieces, _ = cut(said, 40)
    assert [(piece.rounds, piece.planned, piece.ended) for piece in pieces] == [(2, 2, ""), (1, 3, "farewell")]
    own = {"id", "messages", "rounds", "planned", "ended"}
    assert [piece.model_dump(exclude=own) for piece in pieces] == [said.model_dump(exclude=own)] * 2
    assert [Dialogue.model_validate(piece.model_dump()) for piece in pieces] == pieces


@given(st.lists(st.integers(15, 120), min_size=1, max_size=12), st.integers(1, 200))
def test_joined_the_pieces_are_the_dialogue(rounds: list[int], most: int) -> None:
    """Whatever is cut: every turn once and in order, even pieces, none longer than allowed but single rounds."""
    said = talk(*rounds)
    pieces, too_long = cut(said, most)
    assert sum((piece.messages for piece in pieces), ()) == said.messages
    assert [len(piece.messages) for piece in pieces] == [2 * piece.rounds for piece in pieces]
    assert min(piece.rounds for piece in pieces) >= 1
    sizes = costs(pieces)
    assert [piece for piece in sizes if sum(piece) > most and len(piece) > 1] == []
    assert [one for one, other in pairwise(sizes) if sum(one) + other[0] <= most] == []
    assert too_long == sum(len(piece) == 1 and sum(piece) > most for piece in sizes)
    if len(pieces) > 1:
        starts = [int(piece.id.removeprefix(f"{said.id}_")) for piece in pieces]
        assert [said.messages[start] for start in starts] == [piece.messages[0] for piece in pieces]
