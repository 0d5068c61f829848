"""ExactDuplicates: equal texts, with and without folding, in little memory."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfinstruct.feedback_schema import SourcedInstruction
from selfinstruct.filters.exact import ExactDuplicates, folded, whole_request
from selfinstruct.protocols import Drop, Filter
from selfinstruct.schema import Instruction, Message, Neighbour, Provenance, TaskInstance


def instruction(text: str, id: str = "candidate") -> Instruction:
    """A record with this text."""
    return Instruction(id=id, provenance=Provenance(), instruction=text, lang="en")


def equals(id: str) -> Drop:
    """The verdict on a text that the record of this id has."""
    return Drop("duplicate_text", f"equals {id}", (Neighbour(id=id, score=1.0),))


@pytest.mark.parametrize("fold", [False, True])
@given(texts=st.lists(st.text(st.sampled_from("aA. \n,1中Ａ\ud800"), max_size=4)))
def test_a_text_is_refused_exactly_when_an_earlier_one_equals_it(fold: bool, texts: list[str]) -> None:
    """The first record with the text is the one that is named, however many slots the table has."""
    near: Filter[Instruction] = ExactDuplicates(fold)
    first: dict[str, str] = {}
    for place, text in enumerate(texts):
        key = folded(text) if fold else text.strip()
        record = instruction(text, f"row-{place}")
        assert near.check(record) == (equals(first[key]) if key in first else None)
        assert near.admit(record) is record
        first.setdefault(key, record.id)


def test_thousands_of_texts_are_remembered_while_the_table_grows() -> None:
    """5 000 texts: none is taken for another, each is found under its own id, whatever its script."""
    near = ExactDuplicates()
    ids = [f"行-{number}-é" for number in range(5000)]
    for number, id in enumerate(ids):
        record = instruction(f"count to {number}", id)
        assert near.check(record) is None
        near.admit(record)
    assert [near.check(instruction(f"count to {number}")) for number in range(5000)] == [equals(id) for id in ids]
    assert near.check(instruction("count to 5000")) is None


def test_a_record_takes_less_than_40_bytes_and_its_id() -> None:
    """Digests are kept, not texts: 20 000 texts of 300 characters, measured by tracemalloc."""
    near = ExactDuplicates()
    ids = [f"row-{number:06}" for number in range(20_000)]
    tracemalloc.start()
    for id in ids:
        near.admit(instruction("long " * 60 + id, id))
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 16 < taken / len(ids) - len(ids[0]) < 40


def test_a_checked_record_that_is_not_admitted_is_forgotten() -> None:
    """Another filter of the chain refused it, so the next one with its text is the first."""
    near = ExactDuplicates()
    assert near.check(instruction("Name a colour.")) is None
    assert near.check(instruction("Name a colour.")) is None


def test_only_the_instruction_is_compared() -> None:
    """Two tasks with one instruction are duplicates here, whatever their inputs: several may be wanted, or not."""
    near = ExactDuplicates()
    one, two = (
        TaskInstance(
            id=id,
            provenance=Provenance(),
            instruction="Translate the word.",
            input=word,
            output="",
            lang="en",
            is_classification=None,
        )
        for id, word in (("a", "cat"), ("b", "dog"))
    )
    near.admit(one)
    assert near.check(two) == equals("a")


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("Hello,  World!", "hello world"),
        ("List three fruits.", "List three fruits"),
        ("“Why?” he asked", '"Why?" he asked'),
        ("写一首诗，关于秋天。", "写一首诗关于秋天"),
        ("用 Python 写一个循环", "用Python写一个循环！"),
        ("ＡＢＣ１２３", "abc123"),
        ("Don't", "don’t"),
        ("first line\n\nsecond line", "First line second line"),
    ],
)
def test_folding_forgets_what_writers_vary(left: str, right: str) -> None:
    """Case, width, spacing, quotes and sentence punctuation; without folding all of these differ."""
    assert folded(left) == folded(right)
    assert left.strip() != right.strip()


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("What is 5 + 3?", "What is 5 - 3?"),
        ("What is 5 * 3?", "What is 5 / 3?"),
        ("Round 3.14", "Round 314"),
        ("a != b", "a = b"),
        ("x := 1", "x = 1"),
        ("Explain C++", "Explain C#"),
        ("now here", "nowhere"),
        ("它有10米", "它有1 0米"),
        ("？？！", "……"),
        ("🙂", "🙃"),
        ("Sort: 1, 2", "Sort: 12"),
    ],
)
def test_folding_keeps_what_says_something(left: str, right: str) -> None:
    """Signs of sums and names, punctuation within numbers, spaces between words, texts of nothing else."""
    assert folded(left) != folded(right)


def test_folding_is_idempotent_on_its_own_results() -> None:
    """A folded text folds to itself, so a corpus may be folded beforehand."""
    for text in ("Hello,  World!", "写一首诗， 关于 autumn。", "3.14 and 12:30.", "a != b"):
        assert folded(folded(text)) == folded(text)


@pytest.mark.parametrize("piece", [".", " ", "1.", "中 ", "!=", "ﷺ", "'\"", "\u0301"])
def test_hostile_texts_fold_in_linear_time(piece: str) -> None:
    """100 000 characters of what patterns like least; it ends, which a quadratic one would not do here."""
    assert len(folded(piece * (100_000 // len(piece)))) <= 18 * 100_000


def asked(id: str, text: str, *said: str) -> SourcedInstruction:
    """An instruction behind turns of user and assistant."""
    history = [Message(role="assistant" if n % 2 else "user", content=one) for n, one in enumerate(said)]
    return SourcedInstruction(
        id=id, provenance=Provenance(), instruction=text, lang="zh", source=id, where=id, history=tuple(history)
    )


def test_whole_requests_are_compared_where_a_dialogue_goes_before() -> None:
    """The same question behind other turns is another; behind the same ones it is refused, whatever its source."""
    near: Filter[SourcedInstruction] = ExactDuplicates(key=whole_request)
    for record in (
        asked("a", "为什么？"),
        asked("b", "为什么？", "海水咸。", "对。"),
        asked("c", "为什么？", "海水咸。对。"),
    ):
        assert near.check(record) is None
        near.admit(record)
    assert near.check(asked("d", " 为什么？\n")) == equals("a")
    assert near.check(asked("e", "为什么？", "海水咸。", "对。")) == equals("b")
    assert near.check(asked("f", "为什么？", "海水咸", "。对。")) is None
    assert near.check(asked("g", "对。为什么？", "海水咸。")) is None


def test_of_instructions_with_a_history_the_text_alone_is_compared_unless_said_otherwise() -> None:
    """The key is the instruction's text."""
    near = ExactDuplicates()
    near.admit(asked("a", "为什么？", "海水咸。", "对。"))
    assert near.check(asked("b", "为什么？")) == equals("a")
