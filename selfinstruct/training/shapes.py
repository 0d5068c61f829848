"""The shapes of rows that can be learnt from, each told by its keys: a row of anybody's data ─► examples.

conversation  messages · conversations · items · data · prompt or instruction (input) and completion or output …
preference    chosen and rejected, with their prompt or as whole conversations
critique      response and critique · completions, each with a critique
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final, Literal, NamedTuple

from selfinstruct.errors import BadData
from selfinstruct.rows import Row, text_of
from selfinstruct.schema import Message
from selfinstruct.training.examples import Conversation, Critiqued, Preference
from selfinstruct.training.turns import (
    QUESTIONS,
    Turn,
    asked_of,
    first_of,
    in_order,
    number_or_none,
    object_of,
    text_or_empty,
    turns_of,
    with_system,
)

Shape = Literal["conversation", "preference", "critique", "ratings"]

_TURNS: Final = ("messages", "conversations", "items", "data")  # TRL, ShareGPT and BELLE, OpenChat, UltraChat
_ANSWERS: Final = ("output", "completion", "label", "target")
_JUDGED: Final = ("response", "completion", "output")
_SCORES: Final = ("score", "overall_score")
_SIDES: Final = (("chosen", "rejected"), ("chosen_response", "rejected_response"))  # all the world, Argilla
_SIDE_SCORES: Final = (("score_chosen", "score_rejected"), ("chosen_avg_rating", "rejected_avg_rating"))
_SHOWN: Final = 20  # of a row's keys, in a message

WHAT: Final[dict[Shape, str]] = {
    "conversation": "conversations (messages, or a prompt and its answer)",
    "preference": "preference pairs (prompt, chosen, rejected)",
    "critique": "answers with critiques",
    "ratings": "several answers to an instruction, without critiques",
}
WHERE_TO: Final[dict[Shape, str]] = {
    "conversation": "give them to 'finetune sft'",
    "preference": "give them to 'finetune dpo' or 'finetune reward'",
    "critique": "give them to 'finetune critique'; 'selfinstruct binarize' makes pairs of a run's",
    "ratings": "make pairs of them first: 'selfinstruct binarize' does so for a run's",
}


class Reading(NamedTuple):
    """Whose rows are read, the place the present one has, and how many had to be left out or cut, by reason.

    ``empty_answer`` and ``empty_prompt`` hold nothing but white space, ``no_answer`` is a conversation without one,
    ``last_turn_cut`` one that ended with the user and is kept without that turn, ``no_weight`` one that counts for
    nothing, ``same_answer`` a pair of equal answers, ``no_critique`` an answer nobody wrote one of.
    """

    source: str
    place: str
    skipped: Counter[str]


def shape_of(row: Row) -> Shape:
    """What a row is, by its keys. Raises `BadData` where nothing can be learnt from it, with what it lacks."""
    value = object_of(row)
    question = first_of(value, QUESTIONS)
    if any(side in value for sides in _SIDES for side in sides):
        return "preference"
    if isinstance(value.get("completions"), list):
        critiqued = all(isinstance(one, dict) and "critique" in one for one in value["completions"])
        return "critique" if critiqued else "ratings"
    if "critique" in value:
        return "critique"
    if first_of(value, _TURNS) or (question and first_of(value, _ANSWERS)):
        return "conversation"
    shown = [*list(value)[:_SHOWN], *(["…"] if len(value) > _SHOWN else [])]
    if question:
        raise BadData(
            f"{row.place}: has '{question}' and no answer to it ({', '.join(_ANSWERS)}); the row has:"
            f" {', '.join(shown)}"
        )
    raise BadData(
        f"{row.place}: nothing to learn from; the row has: {', '.join(shown) or 'no fields at all'}. Expected:"
        " messages; prompt, completion; instruction, input, output; prompt, chosen, rejected; or prompt, response,"
        " critique"
    )


def check_shape(row: Row, wanted: Shape) -> None:
    """Raises `BadData` where a row is not of this shape, and says what takes it."""
    found = shape_of(row)
    if found != wanted:
        raise BadData(f"{row.place}: these rows are {WHAT[found]}: {WHERE_TO[found]}")


# --- conversations ----------------------------------------------------------------------------------------------------


def conversations(row: Row, reading: Reading) -> Iterator[Conversation]:
    """The conversation a row is; nothing where it cannot be learnt from, which is counted."""
    check_shape(row, "conversation")
    turns = _without_last_question(in_order(row, _said(row)), reading)
    reason = _left_out(turns)
    weights = _weights(row, turns)
    weight = number_or_none(row, "weight")
    if not reason and (weight == 0 or (weights and not any(weights))):
        reason = "no_weight"
    if reason:
        reading.skipped[reason] += 1
        return
    if weight is not None and weight < 0:
        raise BadData(f"{row.place}: the field 'weight' is {weight:g}, and must not be negative")
    yield Conversation(
        messages=tuple(turn.message for turn in turns),
        weight=1.0 if weight is None else weight,
        weights=weights,
        condition=text_or_empty(row, "condition"),
        rationale=text_or_empty(row, "rationale"),
        source=reading.source,
        place=reading.place,
    )


def _said(row: Row) -> list[Turn]:
    """All turns: of the first list of them there is, else of a prompt and its answer."""
    value = object_of(row)
    lists = [key for key in _TURNS if isinstance(value.get(key), list)]
    if not lists and first_of(value, QUESTIONS) and first_of(value, _ANSWERS):
        return _answered(row)
    return with_system(row, turns_of(row, (lists or [first_of(value, _TURNS) or ""])[0]))


def _answered(row: Row) -> list[Turn]:
    """A prompt and its answer. Of turns in the prompt none is learnt: the data set them apart from the completion."""
    value = object_of(row)
    asked = asked_of(row)
    key = first_of(value, _ANSWERS) or ""
    if isinstance(value.get("label"), bool):
        raise BadData(
            f"{row.place}: the field 'label' is a truth value: good and bad answers, one at a time (as KTO's), are"
            " not taken; keep the good ones, and leave out the field"
        )
    answer = turns_of(row, key) if isinstance(value[key], list) else [Turn("assistant", text_or_empty(row, key))]
    if any(turn.role == "assistant" for turn in asked):
        asked = [turn._replace(weight=0.0) for turn in asked]
        answer = [turn._replace(weight=float(turn.role == "assistant")) for turn in answer]
    return [*asked, *answer]


def _without_last_question(turns: list[Turn], reading: Reading) -> list[Turn]:
    if turns and turns[-1].role == "user" and any(turn.role == "assistant" for turn in turns):
        reading.skipped["last_turn_cut"] += 1
        return turns[:-1]
    return turns


def _left_out(turns: Sequence[Turn]) -> str:
    empty = {turn.role for turn in turns if not turn.content.strip()}
    if turns[-1].role != "assistant":
        return "no_answer"
    if "assistant" in empty:
        return "empty_answer"
    return "empty_prompt" if "user" in empty else ""


def _weights(row: Row, turns: Sequence[Turn]) -> tuple[float, ...]:
    if all(turn.weight is None for turn in turns):
        return ()
    for number, turn in enumerate(turns, start=1):
        if turn.role == "assistant" and turn.weight is None:
            raise BadData(f"{row.place}: turn {number} has no weight, and others have one")
        if turn.role != "assistant" and turn.weight:
            raise BadData(f"{row.place}: turn {number} is the {turn.role}'s, and only answers can have a weight")
    return tuple(turn.weight or 0.0 for turn in turns)


# --- preference pairs -------------------------------------------------------------------------------------------------


def preferences(row: Row, reading: Reading) -> Iterator[Preference]:
    """The pair a row is; nothing where its answers are empty or the same, which is counted."""
    check_shape(row, "preference")
    value = object_of(row)
    better, worse = next(sides for sides in _SIDES if any(side in value for side in sides))
    for side, other in ((better, worse), (worse, better)):
        if side not in value:
            raise BadData(f"{row.place}: has '{other}' and no '{side}'")
    (prompt, chosen), (other_prompt, rejected) = _side(row, better), _side(row, worse)
    if [turn.message for turn in prompt] != [turn.message for turn in other_prompt]:
        raise BadData(f"{row.place}: '{better}' and '{worse}' differ before their last turn: they need one prompt")
    turns = in_order(row, [*prompt, Turn("assistant", chosen)])
    reason = _left_out([*turns, Turn("assistant", rejected)]) or ("same_answer" if chosen == rejected else "")
    if reason:
        reading.skipped[reason] += 1
        return
    yield Preference(
        prompt=tuple(turn.message for turn in prompt),
        chosen=chosen,
        rejected=rejected,
        margin=_margin(row),
        source=reading.source,
        place=reading.place,
    )


def chosen_side(row: Row, reading: Reading) -> Iterator[Conversation]:
    """The better answer of a pair as a conversation."""
    for pair in preferences(row, reading):
        answer = Message(role="assistant", content=pair.chosen)
        yield Conversation(messages=(*pair.prompt, answer), source=reading.source, place=reading.place)


def _side(row: Row, side: str) -> tuple[list[Turn], str]:
    """The turns before the last one, and that: ``side`` holds the answer alone, or a whole conversation."""
    value = object_of(row)
    if isinstance(value[side], list):
        turns = _whole(row, side)
        if turns[-1].role != "assistant":
            raise BadData(f"{row.place}: '{side}' does not end with an answer: its last turn is the {turns[-1].role}'s")
        return turns[:-1], turns[-1].content
    if not first_of(value, QUESTIONS):
        raise BadData(f"{row.place}: '{side}' needs a 'prompt', or to be a list of turns with the prompt in it")
    answer = text_of(row, [f"{side}.response"]) if isinstance(value[side], dict) else text_or_empty(row, side)
    return asked_of(row), answer


def _whole(row: Row, side: str) -> list[Turn]:
    """All turns of a list that holds those after the prompt, or all; H4's has a text of them for its ``prompt``."""
    turns = turns_of(row, side)
    if turns[0].role == "assistant":
        return [*asked_of(row), *turns]
    turns = with_system(row, turns)
    if isinstance(object_of(row).get("prompt"), list):
        asked = asked_of(row)
        if turns[: len(asked)] != asked:
            raise BadData(f"{row.place}: '{side}' does not begin with the turns of 'prompt'")
    return turns


def _margin(row: Row) -> float | None:
    if (margin := number_or_none(row, "margin")) is not None:
        return margin
    for better, worse in _SIDE_SCORES:
        scores = number_or_none(row, better), number_or_none(row, worse)
        if scores[0] is not None and scores[1] is not None:
            return scores[0] - scores[1]
    return None


# --- critiques --------------------------------------------------------------------------------------------------------


def critiques(row: Row, reading: Reading) -> Iterator[Critiqued]:
    """The answers of a row that have a critique; the others are counted."""
    check_shape(row, "critique")
    value = object_of(row)
    asked = asked_of(row)
    in_order(row, [*asked, Turn("assistant", "")])
    prompt = tuple(turn.message for turn in asked)
    answers = _judged(row)
    if not answers:
        reading.skipped["no_answer"] += 1
    for number, answer in enumerate(answers):
        place = reading.place if "critique" in value else f"{reading.place}/{number}"
        text, critique = text_or_empty(answer, _judged_key(answer)), text_or_empty(answer, "critique")
        if not text.strip() or not critique.strip():
            reading.skipped["no_critique" if text.strip() else "empty_answer"] += 1
            continue
        score = next((found for key in _SCORES if (found := number_or_none(answer, key)) is not None), None)
        yield Critiqued(
            prompt=prompt, response=text, critique=critique, score=score, source=reading.source, place=place
        )


def _judged(row: Row) -> list[Row]:
    """The row itself, or each of its completions, at the same place."""
    value = object_of(row)
    return [row] if "critique" in value else [row._replace(value=one) for one in value["completions"]]


def _judged_key(row: Row) -> str:
    if key := first_of(object_of(row), _JUDGED):
        return key
    raise BadData(f"{row.place}: has a critique and no answer that it is of ({', '.join(_JUDGED)})")
