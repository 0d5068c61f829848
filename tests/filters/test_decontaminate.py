"""Decontaminate: planted evaluation items are found, as they are or edited; what only looks like them is kept.

The items, ``sentences/decontaminate.<lang>.jsonl``, are our own and stand in no published set.
"""

from __future__ import annotations

import gzip
import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfinstruct import resources, seed_tasks
from selfinstruct.errors import BadData
from selfinstruct.eval_items import EvalItem, load
from selfinstruct.filters import decontaminate
from selfinstruct.filters.decontaminate import Decontaminate
from selfinstruct.protocols import Drop, Filter
from selfinstruct.schema import Instruction, Lang, Neighbour, Provenance, TaskInstance
from selfinstruct.similarity.ngrams import weight
from selfinstruct.similarity.tokens import tokens
from tests.filters.records import task_of
from tests.hostile_texts import read_in_time

SENTENCES = Path(__file__).parent / "sentences"
SHARED = Path(__file__).parents[3] / "shared" / "data"
LANGS: tuple[Lang, ...] = get_args(Lang)
SETS = {lang: list(load(str(SENTENCES / f"decontaminate.{lang}.jsonl"))) for lang in LANGS}
FILTERS = {lang: Decontaminate(items) for lang, items in SETS.items()}


def _verdict(items: list[str], text: str) -> tuple[str, float] | None:
    drop = Decontaminate(EvalItem(f"set:{n}", item) for n, item in enumerate(items, 1)).check(task_of(text))
    return (drop.reason, drop.nearest[0].score) if drop else None


# --- what is done to an item before it is planted --------------------------------------------------------------------

OTHER_WORDS = {
    "en": "quickly several maybe however river carefully because small house number often green before never".split(),
    "zh": "非常 已经 我们 城市 老师 可以 然后 比较 重要 左右 一下 那么 因此 这里".split(),
}
_WORDS = {"en": re.compile(r"[A-Za-z]+"), "zh": re.compile(r"[\u4e00-\u9fff]{2}")}


def _words_changed(share: float, how: str) -> Callable[[str, Lang, random.Random], str]:
    """At least one word, else that share of them, is replaced, joined by another, or left out."""

    def edit(text: str, lang: Lang, rng: random.Random) -> str:
        words = list(_WORDS[lang].finditer(text))
        for word in sorted(rng.sample(words, max(1, int(share * len(words)))), key=lambda w: -w.start()):
            other = {"replaced": "", "inserted": word.group()}.get(how)
            put = "" if other is None else other + (" " if lang == "en" else "") + rng.choice(OTHER_WORDS[lang])
            text = text[: word.start()] + put + text[word.end() :]
        return text

    return edit


def _repunctuated(text: str, lang: Lang, rng: random.Random) -> str:
    """Chinese marks become ASCII ones or go, others go or change; white space becomes line ends here and there."""
    ascii_marks = dict(zip("。，？！：；（）“”、", '.,?!:;()"",', strict=True))
    edited = []
    for char in text:
        if char in ascii_marks:
            char = rng.choice([ascii_marks[char], ""])
        elif char in '.,;:?!"()':
            char = rng.choice([char, " ", "!"])
        elif char == " ":
            char = rng.choice([" ", "  ", "\n"])
        edited.append(char)
    return "".join(edited)


EDITS: dict[str, Callable[[str, Lang, random.Random], str]] = {
    "verbatim": lambda text, lang, rng: text,
    "upper case": lambda text, lang, rng: text.upper(),
    "full width": lambda text, lang, rng: "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text),
    "repunctuated": _repunctuated,
    "spaced": lambda text, lang, rng: re.sub(r"(?<=[\u4e00-\u9fff])(?=[\u4e00-\u9fff])", " ", f" {text}\n"),
    **{
        f"{share:.0%} {how}": _words_changed(share, how)
        for share in (0.0, 0.05, 0.1, 0.15)
        for how in ("replaced", "inserted", "left out")
    },
}
UNCHANGED = ("verbatim", "upper case", "full width", "repunctuated", "spaced")

AROUND = {
    "en": (
        "I have been preparing lessons for a class of adults, and they keep asking for exercises. Here is one: ",
        " Please answer in one paragraph and say how you came to the answer, so that I can explain it to them.",
    ),
    "zh": (
        "我最近在给夜校的学员备课，他们总想多做一些练习，下面是其中一道：",
        "请用一段话回答，并写出思考过程，方便我讲解。",
    ),
}


def _plant(text: str, lang: Lang, place: int) -> TaskInstance:
    """The text alone in a field, or within others, in each of the fields in turn."""
    before, after = AROUND[lang]
    fields = [before, "", after]
    fields[place % 3] = text if place % 2 else before + text + after
    return task_of(fields[0], fields[1], fields[2], lang)


@pytest.mark.parametrize("lang", LANGS)
@pytest.mark.parametrize("edit", EDITS)
def test_planted_items_are_found(edit: str, lang: Lang) -> None:
    """Unchanged but for marks, case, width and spaces all items are found; with up to 15 % other words, 95 in 100."""
    rng = random.Random(f"{edit} {lang}")
    found = []
    for place, item in enumerate(SETS[lang] * 3):
        drop = FILTERS[lang].check(_plant(EDITS[edit](item.text, lang, rng), lang, place))
        found.append(drop is not None and drop.nearest[0].id == item.where)
    assert sum(found) / len(found) >= (1.0 if edit in UNCHANGED else 0.95)


@pytest.mark.parametrize("lang", LANGS)
def test_planted_verbatim_items_are_exact(lang: Lang) -> None:
    """An item that is there word for word has score 1, and the reason says so."""
    for place, item in enumerate(SETS[lang]):
        drop = FILTERS[lang].check(_plant(item.text, lang, place))
        assert drop is not None
        assert (drop.reason, drop.nearest) == ("contaminated_exact", (Neighbour(id=item.where, score=1.0),))


@given(st.sampled_from(LANGS), st.integers(0, 75), st.text(max_size=80), st.text(max_size=80), st.integers(0, 2))
def test_a_verbatim_item_is_found_whatever_surrounds_it(
    lang: Lang, number: int, before: str, after: str, field: int
) -> None:
    """Any text may stand before and behind it, in any field."""
    item = SETS[lang][number]
    fields = ["", "", ""]
    fields[field] = f"{before} {item.text} {after}"
    drop = FILTERS[lang].check(task_of(fields[0], fields[1], fields[2]))
    assert drop is not None
    assert drop.nearest == (Neighbour(id=item.where, score=1.0),)


# --- what is kept ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lang", LANGS)
def test_our_seed_tasks_hold_none_of_the_items(lang: Lang) -> None:
    """No seed, with its instances, is refused in its own language's set or the other's."""
    for seed in seed_tasks.load(resources.seeds_dir() / f"{lang}_seed_tasks.jsonl"):
        for instance in seed.instances:
            record = task_of(seed.instruction, instance.input, instance.output)
            assert [filter.check(record) for filter in FILTERS.values()] == [None, None]


@pytest.mark.parametrize("lang", LANGS)
def test_no_item_is_another_one(lang: Lang) -> None:
    """Held against all others, none of the items is refused: asking in the same form is no contamination."""
    for item in SETS[lang]:
        others = Decontaminate(other for other in SETS[lang] if other != item)
        assert others.check(task_of(item.text)) is None


@pytest.mark.parametrize("lang", LANGS)
def test_at_most_one_real_row_in_two_hundred_is_refused(lang: Lang) -> None:
    """No published row holds an item of ours, and at most 0.5 % are taken to."""
    path = SHARED / f"instructions_{lang}.jsonl.gz"
    if not path.exists():
        pytest.skip("needs ../shared/data")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    records = (task_of(row["instruction"], row["input"], row["output"]) for row in rows)
    assert sum(FILTERS[lang].check(record) is not None for record in records) <= 0.005 * len(rows)


FARM = (
    "A farmer keeps 14 hens and 6 ducks; each hen lays 5 eggs a week and each duck 4. How many eggs a week are there?"
)
NEAR_MISSES = [
    ("Which metal is liquid at room temperature?", "Which gas is heaviest at room pressure?"),
    ("常温下呈液态的金属是哪一种？", "常温下密度最大的气体是哪一种？"),
    (FARM, "A farmer keeps 20 hens and 9 ducks; each hen lays 6 eggs a week and each duck 3. How many eggs a week?"),
    (FARM, "A farmer keeps hens and ducks. How many eggs a week are there if each hen lays one egg every day?"),
    (
        "小红有12本书，小刚的书是小红的3倍，两人一共有多少本书？",
        "小红有15支笔，小刚的笔是小红的4倍，小刚比小红多几支笔？",
    ),
    ("Who wrote the novel about a whale and a captain with one leg?", "Who wrote the novel about a mouse and a cat?"),
    ("What do bees collect from flowers in spring?", "Bees collect nectar from flowers, and what they do in spring"),
    ("2+2?", "What is 2+2?"),
    ("2+2?", "2*2?"),
    ("1.5 + 1?", "15 + 1?"),
    ("法国的首都是哪里？", "请问法国的首都是哪里？"),
    ("法国的首都是哪里？", "德国的首都是哪里？"),
    ("Столица Франции?", "Столица Германии?"),
]


@pytest.mark.parametrize(("item", "text"), NEAR_MISSES)
def test_near_misses_are_kept(item: str, text: str) -> None:
    """Other questions of the same form, other numbers, and short items inside of longer texts are no contamination."""
    assert _verdict([item], text) is None
    assert _verdict([item], item) == ("contaminated_exact", 1.0)


# --- which reason, which item ----------------------------------------------------------------------------------------

STORY = (
    "The lighthouse keeper counted the ships each evening and wrote their names into a green book. One night the lamp "
    "went out, and for the first time in nineteen years no name was written. What did the keeper do every evening?"
)


@pytest.mark.parametrize(
    ("item", "text", "verdict"),
    [
        (STORY, f"Read this. {STORY}", ("contaminated_exact", 1.0)),
        (STORY, " ".join(STORY.split()[:25]) + " and so on", ("contaminated_ngram", 0.6098)),
        (STORY, " ".join(STORY.split()[:15]) + " and so on", None),
        (STORY, re.sub(r"ships|night|first|written", "x", STORY), ("contaminated_fuzzy", 0.9024)),
        ("Name three uses of a paper clip.", "Name three other uses of a paper clip.", ("contaminated_fuzzy", 1.0)),
        ("Name three uses of a paper clip.", "Name three uses of a rubber band.", None),
        ("Name a planet with two moons.", "Name a planet with two large moons.", None),
        ("Name a planet with two moons.", "Quick: name a planet with two moons!", ("contaminated_exact", 1.0)),
        ("说出回形针的三种用途", "请说出曲别针的三种用途。", ("contaminated_fuzzy", 0.8)),
        ("回形针的三种用途", "回形针的三种用途！", ("contaminated_exact", 1.0)),
        ("２＋２ = ？", "2+2=?", ("contaminated_exact", 1.0)),
        ("Столица Франции?", "столица франции", ("contaminated_exact", 1.0)),
    ],
)
def test_reasons_and_scores(item: str, text: str, verdict: tuple[str, float] | None) -> None:
    """The share of the item in long runs or in order is the score; short items are found unchanged or alone only."""
    assert _verdict([item], text) == verdict


def test_a_long_run_is_enough_where_words_are_missing() -> None:
    """Half of an item in one run refuses; the same words strewn over the text do not."""
    words = STORY.split()
    assert _verdict([STORY], " ".join(words[:21])) == ("contaminated_ngram", 0.5122)
    assert _verdict([STORY], " and then, as I said before, ".join(words[:21])) is None


def test_the_strongest_evidence_names_the_item() -> None:
    """An item that is there whole comes before one that is there in part, an earlier one before its equal."""
    edited = STORY.replace("green", "small")
    assert _nearest([edited, STORY, STORY], STORY) == Neighbour(id="set:2", score=1.0)
    assert _nearest([edited, edited.replace("ships", "boats")], STORY).id == "set:1"


def _nearest(items: list[str], text: str) -> Neighbour:
    drop = Decontaminate(EvalItem(f"set:{n}", item) for n, item in enumerate(items, 1)).check(task_of(text))
    assert drop is not None
    return drop.nearest[0]


def test_the_detail_says_how_much_and_where() -> None:
    """The field in which the item starts is named, and no word of the item is repeated."""
    filter = Decontaminate([EvalItem("set:1", STORY), EvalItem("set:2", "2+2?")])
    for fields, detail in (
        ((STORY, "", ""), "100% of the item, from the instruction on"),
        (("Read.", "", f"Well: {STORY}"), "100% of the item, from the output on"),
        (("Read.", " ".join(STORY.split()[:25]), ""), "61% of the item, from the input on"),
        (("Add.", "2 + 2", "4"), "the input is the item"),
    ):
        drop = filter.check(task_of(*fields))
        assert drop is not None
        assert drop.detail == detail


def test_an_item_split_over_two_fields_is_found() -> None:
    """A question in the instruction and its text in the input are searched together."""
    filter = Decontaminate([EvalItem("set:1", f"Who counted the ships in this story? {STORY}")])
    drop = filter.check(task_of("Who counted the ships in this story?", STORY))
    assert drop == Drop(
        "contaminated_exact", "100% of the item, from the instruction on", (Neighbour(id="set:1", score=1.0),)
    )


def test_the_form_that_all_items_share_is_no_item() -> None:
    """A preface that stands before every question refuses nobody else who uses it, in English or Chinese."""
    forms = [
        ("The following is a multiple choice question about {}. Read it with care and choose the one right answer. ",),
        ("以下是一道关于{}的单项选择题，请仔细阅读题目，从四个选项中选出唯一正确的答案，只写字母。",),
    ]
    for (form,), lang in zip(forms, LANGS, strict=True):
        preface = form.format("geography" if lang == "en" else "地理")
        filter = Decontaminate(EvalItem(item.where, preface + item.text) for item in SETS[lang])
        assert filter.check(task_of(preface + ("Name a lake in Peru." if lang == "en" else "秘鲁有哪些湖泊？"))) is None
        for item in SETS[lang]:
            assert filter.check(task_of(preface + item.text)) is not None


# --- the filter as such ----------------------------------------------------------------------------------------------


def test_it_is_a_filter_that_remembers_nothing() -> None:
    """A record that was admitted twice is as welcome as before, and comes back as it was."""
    filter: Filter[Instruction] = FILTERS["en"]
    record = Instruction(id="a", provenance=Provenance(), instruction="Sing a song about a lighthouse.", lang="en")
    assert [filter.check(record), filter.admit(record), filter.admit(record), filter.check(record)] == [
        None,
        record,
        record,
        None,
    ]


def test_files_are_read_in_their_order(tmp_path: Path) -> None:
    """Several files make one filter; a neighbour names the file and line; a broken file stops it."""
    one, two = tmp_path / "one.txt", tmp_path / "two.jsonl"
    one.write_text(f"Sing a song about the sea and the moon.\n{STORY}\n")
    two.write_text(json.dumps({"stem": "2+2?"}) + "\n")
    filter = Decontaminate.of_files([str(one), f"{two}#stem"])
    drops = [filter.check(task_of(text)) for text in (STORY, "2 + 2?")]
    assert [drop and drop.nearest[0].id for drop in drops] == ["one.txt:2", "two.jsonl:1"]
    with pytest.raises(BadData, match=r"two.jsonl:1: no field"):
        Decontaminate.of_files([str(two)])


def test_no_items_are_an_error() -> None:
    """A filter that can refuse nothing is not made."""
    with pytest.raises(BadData, match="without items"):
        Decontaminate([])


DIGEST = "51df462c3f5d0a6903acca984c6907b26c3bb478fc833cc59389e322838fcebc"
"""Of the one line ``["set:1", "2+2?"]``, line end included."""


def test_the_digest_is_that_of_the_items() -> None:
    """It is known in advance, and another text, name or order is another digest."""
    items = [EvalItem("set:1", "2+2?"), EvalItem("set:2", STORY)]
    digests = [
        Decontaminate(some).digest for some in (items, items[::-1], items[:1], [items[0], EvalItem("set:3", STORY)])
    ]
    assert digests[0] == Decontaminate(iter(items)).digest
    assert len(set(digests)) == 4
    assert Decontaminate(items[:1]).digest == DIGEST


def test_sizes_are_those_of_the_docstring() -> None:
    """Six words or nine characters are searched for, seven or ten may be edited, and 13 or 20 make a long run."""
    for size, words, characters in (
        (decontaminate.SEARCHED, 6, 9),
        (decontaminate.EDITED, 7, 10),
        (decontaminate.RUN, 13, 20),
    ):
        for text in (words * "word ", characters * "字"):
            assert weight(tokens(text, "auto")) >= size > weight(tokens(text[5 if " " in text else 1 :], "auto"))


def test_hostile_records_are_read_in_linear_time() -> None:
    """A hundred thousand characters of an item's own pieces, over and over, are read at once."""
    readers = """
from selfinstruct.eval_items import EvalItem
from selfinstruct.filters.decontaminate import Decontaminate
from selfinstruct.schema import Instruction, Provenance
from tests.filters import records
items = [f"{a} of the {b} in the house of the man and of the {c}?" for a in "ab" for b in "cde" for c in "xyz"]
items += ["哈" * 40, "a " * 300, "的" * 9 + "了" * 9]
held = Decontaminate(EvalItem(f"s:{n}", item) for n, item in enumerate(items))
def read(text):
    held.check(Instruction(id="a", provenance=Provenance(), instruction=text, lang="en"))
READERS = [read]
"""
    read_in_time(["哈", "a ", "of the ", "的了", ".", "\\u200b", "in the house of the man and "], 100_000, [], readers)
