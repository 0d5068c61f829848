"""Rows through a chain: every row gets its verdict, in order, whatever the blocks; what is counted adds up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfinstruct import screening
from selfinstruct.errors import BadData
from selfinstruct.protocols import Drop
from selfinstruct.rows import Row, row_of
from selfinstruct.schema import Lang, TaskInstance
from selfinstruct.screening import BLOCK, Reading, Screen, Verdict, language_of
from selfinstruct.suite import Chosen, Entry, choose


@dataclass
class Without:
    """Refuses a text that holds a letter; remembers nothing."""

    letter: str
    seen: list[str] = field(default_factory=list)

    def check(self, record: TaskInstance) -> Drop | None:
        """Whether the letter is there."""
        self.seen.append(record.instruction)
        return Drop(f"has_{self.letter}") if self.letter in record.instruction else None

    def admit(self, record: TaskInstance) -> TaskInstance:
        """The record as it came."""
        return record


@dataclass
class Fresh:
    """Refuses a text whose first letter it has admitted before; writes down what it is told."""

    told: list[tuple[str, Any]] = field(default_factory=list)
    known: set[str] = field(default_factory=set)

    def foresee(self, records: Sequence[TaskInstance]) -> None:
        """Remember which records may come."""
        self.told.append(("foresee", [record.instruction for record in records]))

    def check(self, record: TaskInstance) -> Drop | None:
        """Whether the first letter is known."""
        return Drop("stale") if record.instruction[:1] in self.known else None

    def admit(self, record: TaskInstance) -> TaskInstance:
        """Learn the first letter."""
        self.told.append(("admit", record.instruction))
        self.known.add(record.instruction[:1])
        return record


def link(item: Any, name: str, *, compares: bool = False) -> Chosen:
    """A filter of the test's own, as a part of a chain."""
    return Chosen(name, Entry("", lambda *_: item, compares=compares), item)


def rows_of(*texts: str) -> list[Row]:
    """Rows whose instruction is one of these texts."""
    return [row_of("t.jsonl", at, orjson.dumps({"instruction": text})) for at, text in enumerate(texts, start=1)]


def judged(screen: Screen, rows: Sequence[Row]) -> list[Verdict]:
    """Every verdict, one after the other."""
    return [verdict for block in screen.judge(rows) for verdict in block]


def reasons(verdicts: Sequence[Verdict]) -> list[str | None]:
    """Why each was refused."""
    return [one.drop.reason if one.drop else None for one in verdicts]


def by_hand(chain: Sequence[Any], texts: Sequence[str]) -> list[str | None]:
    """What a chain comes to, told in the plainest way: each record through all filters before the next."""
    found: list[str | None] = []
    for row in rows_of(*texts):
        record = Reading().record(row)
        drop = next((drop for item in chain if (drop := item.check(record))), None)
        found.append(drop.reason if drop else None)
        for item in chain if drop is None else ():
            item.admit(record)
    return found


@given(
    st.lists(st.text("abcd", min_size=1, max_size=4), max_size=30),
    st.permutations(["a", "b", "fresh"]),
    st.integers(1, 7),
)
def test_blocks_and_the_order_of_the_chain_change_no_verdict(texts: list[str], order: list[str], block: int) -> None:
    """A chain over blocks of any size decides as one that takes each record through all filters before the next."""

    def chain() -> list[Chosen]:
        return [link(Fresh(), name, compares=True) if name == "fresh" else link(Without(name), name) for name in order]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(screening, "BLOCK", block)
        screen = Screen(chain(), Reading())
        verdicts = judged(screen, rows_of(*texts))
    assert reasons(verdicts) == by_hand([chosen.filter for chosen in chain()], texts)
    assert [one.row for one in verdicts] == rows_of(*texts)
    counts = screen.counts
    assert counts.rows == len(texts) == counts.kept + sum(counts.reasons.values())
    assert sum(counts.refused.values()) == sum(counts.reasons.values())
    refused_by = {"a": "has_a", "b": "has_b", "fresh": "stale"}
    assert {order[place]: count for place, count in counts.refused.items() if count} == {
        name: counts.reasons[reason] for name, reason in refused_by.items() if counts.reasons[reason]
    }


def test_a_filter_that_compares_is_told_a_block_at_a_time_what_may_come() -> None:
    """Only what the filters before it let pass, before any of it is checked; what is kept is admitted once."""
    fresh = Fresh()
    screen = Screen([link(Without("x"), "x"), link(fresh, "fresh", compares=True)], Reading())
    judged(screen, rows_of("a", "x", "b", "ab", "cx"))
    assert fresh.told == [("foresee", ["a", "b", "ab"]), ("admit", "a"), ("admit", "b")]
    fresh.told.clear()
    judged(screen, rows_of(*"d" * (BLOCK + 1)))
    assert [what for what, _ in fresh.told] == ["foresee", "admit", "foresee"]


def test_a_filter_after_one_that_refused_is_not_asked() -> None:
    """Neither in the part of the chain that goes over blocks, nor behind it."""
    first, last = Without("b"), Without("c")
    chain = [link(Without("a"), "a"), link(first, "b"), link(Fresh(), "fresh", compares=True), link(last, "c")]
    found = reasons(judged(Screen(chain, Reading()), rows_of("a", "b", "x", "xy", "c")))
    assert found == ["has_a", "has_b", None, "stale", "has_c"]
    assert first.seen == ["b", "x", "xy", "c"]
    assert last.seen == ["x", "c"]


def test_a_pool_is_compared_with_and_never_judged() -> None:
    """Its rows are taken into memory whole; what is like one of them is refused, and it counts nowhere."""
    (chosen,) = choose(["rouge-l:0.7"], "en")
    screen = Screen([chosen], Reading())
    pool = rows_of("Name a tall tree.", "Name a tall tree.", "Sing.")
    assert list(screen.own(pool)) == [3]
    verdicts = judged(screen, rows_of("Name a tall tree.", "Bake two loaves of bread."))
    assert reasons(verdicts) == ["duplicate_text", None]
    assert verdicts[0].drop is not None
    assert verdicts[0].drop.nearest[0].id == "t.jsonl:1"
    assert screen.counts.rows == 2


# --- from a row to a record -------------------------------------------------------------------------------------------


def test_a_record_is_valid_and_holds_the_text_of_the_field() -> None:
    """Input and output are the row's own, what is no text as the JSON it is; nothing else of it is looked at."""
    row = row_of("t.jsonl", 1, b'{"id": 5, "prompt": "Name a tree.", "input": ["x"], "output": "Oak."}')
    record = Reading(("prompt",), "en").record(row)
    assert record == TaskInstance.model_validate(record.model_dump())
    assert (record.id, record.instruction, record.input, record.output) == ("5", "Name a tree.", '["x"]', "Oak.")
    assert record.texts == {"instruction": "Name a tree.", "input": '["x"]', "output": "Oak."}


def test_the_answer_may_stand_in_another_field() -> None:
    """As a file of ``input`` and ``target`` has it; a row without an answer is told, one where it is null is empty."""
    reading = Reading(("input",), answer="target")
    record = reading.record(row_of("t.jsonl", 1, b'{"input": "Name a tree.", "target": "Oak."}'))
    assert record.texts == {"instruction": "Name a tree.", "input": "", "output": "Oak."}
    assert reading.record(row_of("t.jsonl", 2, b'{"input": "Name a tree.", "target": null}')).output == ""
    with pytest.raises(BadData) as caught:
        reading.record(row_of("t.jsonl", 3, b'{"input": "Name a tree.", "output": "Oak."}'))
    assert str(caught.value) == "t.jsonl:3: no field 'target'; the row has: input, output (say --answer NAME)"


@pytest.mark.parametrize(
    ("text", "lang"),
    [
        ("Name a tree.", "en"),
        ("说出一种树。", "zh"),
        ("", "en"),
        ("12 + 30 = ?", "en"),
        ("¿Cómo está?", "en"),
        ("请用Python写一个quicksort函数，并说明它的复杂度。", "zh"),
        ("Translate 你好 into English, please.", "en"),
        ("给 “Jack received a present from his old aunt” 加主语。", "zh"),
        ("改正这个句子：“She go to school every day with her friends.”", "zh"),
    ],
)
def test_auto_takes_a_text_for_what_its_reader_would(text: str, lang: Lang) -> None:
    """A few terms of the other language do not make it a text of that language."""
    assert language_of(text) == lang
    assert Reading(("instruction",), "auto").record(rows_of(text)[0]).lang == lang


def test_languages_are_counted_and_a_given_one_is_not_doubted() -> None:
    """``--lang zh`` means all rows."""
    texts = ("Name a tree.", "说出一种树。", "再说一种。")
    for lang, counted in (("auto", {"en": 1, "zh": 2}), ("zh", {"zh": 3})):
        screen = Screen([], Reading(lang=lang))  # type: ignore[arg-type]
        judged(screen, rows_of(*texts))
        assert screen.counts.languages == counted


# --- rows that cannot be read -----------------------------------------------------------------------------------------

BAD = [row_of("t.jsonl", 2, b"{"), row_of("t.jsonl", 3, b"[]"), row_of("t.jsonl", 4, b'{"x": "y"}')]


@pytest.mark.parametrize("bad", BAD)
def test_a_row_that_cannot_be_read_stops_everything(bad: Row) -> None:
    """With its place; also in a pool."""
    for read in (lambda screen: judged(screen, [bad]), lambda screen: list(screen.own([bad]))):
        with pytest.raises(BadData, match=bad.place):
            read(Screen([], Reading()))


def test_rows_that_cannot_be_read_are_refused_where_that_is_asked_for() -> None:
    """As ``bad_row``, by no filter, in their order; one of a pool is passed over."""
    screen = Screen([link(Without("x"), "x")], Reading(), reject_bad_rows=True)
    verdicts = judged(screen, [*rows_of("a"), *BAD, *rows_of("x")])
    assert reasons(verdicts) == [None, "bad_row", "bad_row", "bad_row", "has_x"]
    assert [one.by for one in verdicts] == [None, None, None, None, 0]
    assert verdicts[3].drop == Drop("bad_row", "t.jsonl:4: no field 'instruction'; the row has: x (say --field NAME)")
    assert screen.counts.reasons == {"bad_row": 3, "has_x": 1}
    assert list(screen.own([*BAD, *rows_of("a")])) == [1]
    assert (screen.counts.owned, screen.counts.unread) == (1, 3)
