"""What an export holds, byte for byte."""

from __future__ import annotations

import json
from typing import Any

import pytest

from selfinstruct.errors import UsageProblem
from selfinstruct.feedback_schema import CritiquedInstruction, PreferencePair, RatedInstruction
from selfinstruct.formats import FORMATS, KINDS, Final, writer_of
from selfinstruct.schema import Dialogue, Neighbour, Novelty, Provenance, TaskInstance
from selfinstruct.store_files import line_of
from tests.formats.dialogues import dialogue
from tests.judged_answers import critiqued, pair, rated

PROVENANCE = Provenance(seeds=("s1",), prompts=("p@1:00000000",), models=("m",), calls=("c1", "c2", "c3"))
NOVELTY = Novelty(mode="above:0.5", nearest=(Neighbour(id="s1", score=0.5),))


def instance(number: int, **changes: Any) -> TaskInstance:
    """A record whose every field says something."""
    fields: dict[str, Any] = {
        "id": f"instances-0-{number}-0",
        "provenance": PROVENANCE,
        "instruction": f"Name {number} rivers.",
        "input": "",
        "output": "Rhine – 莱茵河",
        "lang": "en",
        "is_classification": False,
        "novelty": NOVELTY,
    }
    return TaskInstance(**fields | changes)


def export(format: str, *records: Final) -> bytes:
    """The whole file."""
    return b"".join(FORMATS[format].write(records))


def one_of(kind: type[Final], number: int) -> Final:
    """A record of a kind, about so many rivers."""
    asked = f"Name {number} rivers."
    made: dict[type[Final], Final] = {
        TaskInstance: instance(number),
        Dialogue: dialogue(asked, "Rhine."),
        PreferencePair: pair(instruction=asked),
        CritiquedInstruction: critiqued((7.0, (4, 4, 4, 4)), instruction=asked),
        RatedInstruction: rated((4, 4, 4, 4), instruction=asked),
    }
    return made[kind]


def test_alpaca_is_an_array_of_exactly_three_keys() -> None:
    """Instruction, input, output, in that order, as Stanford Alpaca's file has them; text is not escaped."""
    assert export("alpaca", instance(1), instance(2, input='a "b"\n')).decode() == (
        '[\n{\n  "instruction": "Name 1 rivers.",\n  "input": "",\n  "output": "Rhine – 莱茵河"\n},\n'
        '{\n  "instruction": "Name 2 rivers.",\n  "input": "a \\"b\\"\\n",\n  "output": "Rhine – 莱茵河"\n}\n]\n'
    )


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_alpaca_is_one_json_value_for_any_number_of_records(count: int) -> None:
    """Commas between, none behind; nothing is an empty array."""
    rows = json.loads(export("alpaca", *(instance(number) for number in range(count))))
    assert [row["instruction"] for row in rows] == [f"Name {number} rivers." for number in range(count)]


def test_jsonl_lines_are_the_lines_of_the_shard() -> None:
    """An export of whole records has the bytes that are on disk, of tasks as of dialogues."""
    records = (instance(1), instance(2, novelty=None))
    assert export("jsonl", *records) == line_of(records[0]) + line_of(records[1])
    said = dialogue("Hello.", "Hi.", id="dialogue-0-1-0")
    assert Dialogue.model_validate_json(export("jsonl", said)) == said
    assert export("jsonl", said) == line_of(said)


def test_a_line_has_every_key_in_the_documented_order() -> None:
    """Also those without a value: readers of JSON Lines take the first line for the schema."""
    line = json.loads(export("jsonl", instance(1, novelty=None)))
    keys = "id instruction input output lang is_classification novelty provenance".split()
    assert list(line) == keys
    assert list(line["provenance"]) == ["seeds", "parents", "prompts", "models", "calls"]
    assert (line["novelty"], line["input"]) == (None, "")


@pytest.mark.parametrize(
    ("format", "kind"),
    [pytest.param(name, kind, id=f"{name}-{kind.__name__}") for name in FORMATS for kind in FORMATS[name].takes],
)
def test_a_format_never_holds_more_than_one_record(format: str, kind: type[Final]) -> None:
    """Pieces come as records are asked for, so a million of them need no memory."""
    taken: list[int] = []

    def records() -> Any:
        for number in range(3):
            taken.append(number)
            yield one_of(kind, number)

    pieces = iter(FORMATS[format].write(records()))
    for number in range(3):
        assert f"Name {number} rivers.".encode() in next(pieces)
        assert taken == list(range(number + 1))


def test_formats_are_known_by_their_names_and_say_what_they_take() -> None:
    """The names --format takes, and the kinds of record behind each."""
    both, tasks, dialogues, pairs = (TaskInstance, Dialogue), (TaskInstance,), (Dialogue,), (PreferencePair,)
    annotated = (CritiquedInstruction, RatedInstruction)
    assert {name: format.takes for name, format in FORMATS.items()} == {
        "jsonl": (*both, *pairs, *annotated),
        "alpaca": tasks,
        "belle": tasks,
        "belle-instruction": tasks,
        "belle-conversations": tasks,
        "messages": both,
        "sharegpt": both,
        "ultrachat": dialogues,
        "trl": pairs,
        "h4": pairs,
        "argilla": pairs,
        "ultrafeedback": annotated,
    }
    assert {kind for format in FORMATS.values() for kind in format.takes} == KINDS.keys()


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_a_format_that_fits_gives_its_writer(name: str) -> None:
    """For every kind it takes."""
    format = FORMATS[name]
    assert [writer_of(name, kind) for kind in format.takes] == [format.write for _ in format.takes]


@pytest.mark.parametrize(
    ("name", "kind", "told"),
    [
        (
            "ultrachat",
            TaskInstance,
            "--format ultrachat takes dialogues, and the run holds tasks: choose one of jsonl, alpaca, belle,"
            " belle-instruction, belle-conversations, messages, sharegpt",
        ),
        *(
            (
                name,
                Dialogue,
                f"--format {name} takes tasks, and the run holds dialogues: choose one of jsonl, messages, sharegpt,"
                " ultrachat",
            )
            for name in ("alpaca", "belle", "belle-instruction", "belle-conversations")
        ),
        (
            "messages",
            PreferencePair,
            "--format messages takes tasks, and the run holds preference pairs: choose one of jsonl, trl, h4, argilla",
        ),
        (
            "trl",
            CritiquedInstruction,
            "--format trl takes preference pairs, and the run holds annotated answers: choose one of jsonl,"
            " ultrafeedback",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and " " not in value else "",
)
def test_a_format_that_does_not_fit_names_those_that_do(name: str, kind: type[Final], told: str) -> None:
    """One line, and an error of use."""
    with pytest.raises(UsageProblem) as raised:
        writer_of(name, kind)
    assert str(raised.value) == told


def test_belle_is_lines_of_input_and_target() -> None:
    """``Belle.train.json``: instruction and input are one text, an instruction alone stands alone; no escapes."""
    assert export("belle", instance(1), instance(2, input="莱茵河\n长江")).decode() == (
        '{"input":"Name 1 rivers.","target":"Rhine – 莱茵河"}\n'
        '{"input":"Name 2 rivers.\\n莱茵河\\n长江","target":"Rhine – 莱茵河"}\n'
    )


def test_belle_instruction_is_lines_of_the_three_keys() -> None:
    """The layout of the 1M set."""
    assert export("belle-instruction", instance(1, input="x")).decode() == (
        '{"instruction":"Name 1 rivers.","input":"x","output":"Rhine – 莱茵河"}\n'
    )


def test_belle_conversations_are_lines_of_two_turns_with_an_id() -> None:
    """The layout of BELLE's training scripts; the id is the record's, so it is known where a line came from."""
    assert export("belle-conversations", instance(1, input="x")).decode() == (
        '{"id":"instances-0-1-0","conversations":[{"from":"human","value":"Name 1 rivers.\\nx"},'
        '{"from":"assistant","value":"Rhine – 莱茵河"}]}\n'
    )


TALK = dialogue("Why do cats purr?", "They are content.\n", "And “ill” ones?", "也会。", id="dialogue-3-1-0")


def test_ultrachat_is_lines_of_an_id_and_the_texts_of_the_turns() -> None:
    """As the released set has them: user and assistant in turn, and nothing else."""
    assert export("ultrachat", TALK).decode() == (
        '{"id":"dialogue-3-1-0","data":["Why do cats purr?","They are content.\\n","And “ill” ones?","也会。"]}\n'
    )


def test_sharegpt_says_who_each_turn_is_from() -> None:
    """A human and gpt."""
    assert export("sharegpt", TALK).decode() == (
        '{"id":"dialogue-3-1-0","conversations":[{"from":"human","value":"Why do cats purr?"},'
        '{"from":"gpt","value":"They are content.\\n"},{"from":"human","value":"And “ill” ones?"},'
        '{"from":"gpt","value":"也会。"}]}\n'
    )


def test_messages_are_what_a_chat_trainer_takes() -> None:
    """One key, a list of role and content: a further column would be handed to the trainer as well."""
    assert export("messages", TALK).decode() == (
        '{"messages":[{"role":"user","content":"Why do cats purr?"},'
        '{"role":"assistant","content":"They are content.\\n"},{"role":"user","content":"And “ill” ones?"},'
        '{"role":"assistant","content":"也会。"}]}\n'
    )


def test_a_task_is_a_conversation_of_one_round() -> None:
    """The input stands behind a blank line, where there is one."""
    assert export("messages", instance(1), instance(2, input="In Asia.")).decode() == (
        '{"messages":[{"role":"user","content":"Name 1 rivers."},{"role":"assistant","content":"Rhine – 莱茵河"}]}\n'
        '{"messages":[{"role":"user","content":"Name 2 rivers.\\n\\nIn Asia."},'
        '{"role":"assistant","content":"Rhine – 莱茵河"}]}\n'
    )
    assert export("sharegpt", instance(2, input="In Asia.")).decode() == (
        '{"id":"instances-0-2-0","conversations":[{"from":"human","value":"Name 2 rivers.\\n\\nIn Asia."},'
        '{"from":"gpt","value":"Rhine – 莱茵河"}]}\n'
    )
