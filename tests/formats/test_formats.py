"""What an export holds, byte for byte."""

from __future__ import annotations

import json
from typing import Any

import pytest

from selfinstruct.formats import FORMATS
from selfinstruct.schema import Neighbour, Novelty, Provenance, TaskInstance
from selfinstruct.store_files import line_of

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


def export(format: str, *records: TaskInstance) -> bytes:
    """The whole file."""
    return b"".join(FORMATS[format](records))


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
    """An export of whole records has the bytes that are on disk."""
    records = (instance(1), instance(2, novelty=None))
    assert export("jsonl", *records) == line_of(records[0]) + line_of(records[1])


def test_a_line_has_every_key_in_the_documented_order() -> None:
    """Also those without a value: readers of JSON Lines take the first line for the schema."""
    line = json.loads(export("jsonl", instance(1, novelty=None)))
    keys = "id instruction input output lang is_classification novelty provenance".split()
    assert list(line) == keys
    assert list(line["provenance"]) == ["seeds", "parents", "prompts", "models", "calls"]
    assert (line["novelty"], line["input"]) == (None, "")


@pytest.mark.parametrize("format", sorted(FORMATS))
def test_a_format_never_holds_more_than_one_record(format: str) -> None:
    """Pieces come as records are asked for, so a million of them need no memory."""
    taken: list[int] = []

    def records() -> Any:
        for number in range(3):
            taken.append(number)
            yield instance(number)

    pieces = iter(FORMATS[format](records()))
    for number in range(3):
        assert f"Name {number} rivers.".encode() in next(pieces)
        assert taken == list(range(number + 1))


def test_formats_are_known_by_their_names() -> None:
    """The names --format takes."""
    assert set(FORMATS) == {"jsonl", "alpaca", "belle", "belle-instruction", "belle-conversations"}


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
