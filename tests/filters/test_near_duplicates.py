"""JaccardNear and MinHashNear: verdicts, whatever is foreseen, and how they name what they compare with."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfinstruct.filters import jaccard
from selfinstruct.filters.jaccard import JaccardNear
from selfinstruct.filters.minhash import MinHashNear, bands, sketches
from selfinstruct.protocols import Drop
from selfinstruct.schema import Instruction, Neighbour, Provenance
from selfinstruct.similarity.shingles import Shingler
from selfinstruct.similarity.tokens import tokens


class Near(Protocol):
    """Either filter."""

    def foresee(self, records: Sequence[Instruction]) -> None:
        """Measure together."""
        ...

    def check(self, record: Instruction) -> Drop | None:
        """Why not, or None."""
        ...

    def admit(self, record: Instruction) -> Instruction:
        """Remember."""
        ...


MAKERS: list[Callable[..., Near]] = [JaccardNear, MinHashNear]
both = pytest.mark.parametrize("make", MAKERS)


def records(*texts: str) -> list[Instruction]:
    """One record a text, named by its place."""
    return [
        Instruction(id=f"row-{place}", provenance=Provenance(), instruction=text, lang="en")
        for place, text in enumerate(texts)
    ]


def screened(near: Near, rows: Sequence[Instruction], block: int | None) -> list[Drop | None]:
    """The verdicts on these records, admitting what passes; foreseen ``block`` at a time, or not at all."""
    verdicts = []
    for place, record in enumerate(rows):
        if block and place % block == 0:
            near.foresee(rows[place : place + block])
        verdicts.append(near.check(record))
        if verdicts[-1] is None:
            assert near.admit(record) is record
    return verdicts


def plain(rows: Sequence[Instruction], threshold: Fraction, n: int, fates: Sequence[str]) -> list[Drop | None]:
    """The specification: each record against every one kept before; of some another filter decides the fate."""
    kept: list[tuple[str, set[tuple[str, ...]]]] = []
    verdicts: list[Drop | None] = []
    for record, fate in zip(rows, fates, strict=True):
        words = tokens(record.instruction, "auto")
        grams = {tuple(words[i : i + n]) for i in range(max(len(words) - n + 1, 1))} if words else set()
        near = [(id, Fraction(len(grams & other), len(grams | other))) for id, other in kept if grams and other]
        hit = next(((id, score) for id, score in near if score >= threshold), None)
        if fate == "loaded" or (fate == "" and hit is None):
            kept.append((record.id, grams))
        if fate in ("unchecked", "loaded"):
            continue
        score = round(float(hit[1]), 4) if hit else 0.0
        nearest = (Neighbour(id=hit[0], score=score),) if hit else ()
        verdicts.append(Drop("near_duplicate", f"{score:.4f} with {hit[0]}", nearest) if hit else None)
    return verdicts


@st.composite
def corpora(draw: st.DrawFn) -> list[str]:
    """Texts, half of them an edit or two away from an earlier one; some equal, some without tokens."""
    rng = random.Random(draw(st.integers(0, 2**32)))
    words = [f"w{number}" for number in range(draw(st.sampled_from([2, 30, 500])))]
    texts: list[list[str]] = [[], ["?"]]
    for _ in range(draw(st.integers(0, 30))):
        text = rng.choices(words, k=rng.choice([0, 1, 2, 8, 25]))
        if rng.random() < 0.5:
            text = list(rng.choice(texts))
            for _ in range(rng.choice([0, 1, 1, 2])):
                text.insert(rng.randrange(len(text) + 1), rng.choice(words))
        texts.append(text)
    return [" ".join(text) for text in texts]


@settings(max_examples=100, deadline=None)
@given(
    texts=corpora(),
    threshold=st.sampled_from(["0.3", "0.5", "2/3", "0.8", "0.9", "1"]),
    n=st.sampled_from([1, 3]),
    block=st.sampled_from([None, 1, 3, 100]),
    sizes=st.sampled_from([(1024, 1 << 18), (4, 1 << 18), (1024, 40)]),
    seed=st.integers(0, 99),
)
def test_jaccard_decides_as_comparing_with_every_kept_record(
    texts: list[str], threshold: str, n: int, block: int | None, sizes: tuple[int, int], seed: int
) -> None:
    """In blocks of any size, foreseen or not.

    Other filters refuse some records before this one sees them, or after it passed them; some are loaded unchecked.
    """
    rows, rng = records(*texts), random.Random(seed)
    fates = rng.choices(["", "unchecked", "unkept", "loaded"], [7, 1, 1, 1], k=len(rows))
    near = JaccardNear(threshold, n=n)
    verdicts = []
    with mock.patch.multiple(jaccard, BLOCK=sizes[0], BLOCK_LENGTH=sizes[1]):
        for place, (record, fate) in enumerate(zip(rows, fates, strict=True)):
            if block and place % block == 0:
                near.foresee(rows[place : place + block])
            if fate in ("", "unkept"):
                verdicts.append(near.check(record))
            if fate == "loaded" or (fate == "" and verdicts[-1] is None):
                near.admit(record)
    assert verdicts == plain(rows, Fraction(threshold), n, fates)


def forest(count: int, seed: int = 0) -> list[str]:
    """Texts of 20 to 60 words, a third of them edits of earlier ones."""
    rng = random.Random(seed)
    words = [f"{a}{b}" for a in "bdfgklmnprstvz" for b in ("a", "e", "ir", "ol", "un")]
    texts: list[list[str]] = []
    for _ in range(count):
        if texts and rng.random() < 0.33:
            text = list(rng.choice(texts))
            for _ in range(rng.randrange(4)):
                text[rng.randrange(len(text))] = rng.choice(words)
        else:
            text = rng.choices(words, k=rng.randint(20, 60))
        texts.append(text)
    return [" ".join(text) for text in texts]


@pytest.mark.parametrize("threshold", ["0.5", "0.7", "0.8", "0.9", "1"])
def test_minhash_finds_at_least_98_of_100_and_nothing_wrong(threshold: str) -> None:
    """Of the hundreds that `JaccardNear` refuses, at every threshold; each refusal is true by exact count."""
    rows = records(*forest(2000))
    exact = screened(JaccardNear(threshold), rows, 512)
    near = screened(MinHashNear(threshold), rows, 128)
    refused = [place for place, drop in enumerate(exact) if drop]
    assert sum(near[place] is not None for place in refused) >= 0.98 * len(refused) > 98
    shingler = Shingler()
    shingles = {record.id: set(shingler([record.instruction]).values.tolist()) for record in rows}
    for record, drop in zip(rows, near, strict=True):
        if drop:
            left, right = shingles[record.id], shingles[drop.nearest[0].id]
            score = Fraction(len(left & right), len(left | right))
            assert score >= Fraction(threshold)
            assert drop.nearest[0].score == round(float(score), 4)


@both
def test_foreseeing_changes_no_verdict(make: Callable[..., Near]) -> None:
    """Alone, in blocks of 7, and all at once: the same drops, of the same records, with the same scores."""
    rows = records(*forest(300, seed=1))
    alone = screened(make(), rows, None)
    assert [drop for drop in alone if drop]
    assert screened(make(), rows, 7) == screened(make(), rows, 300) == alone


@both
def test_a_foreseen_record_that_is_not_admitted_counts_for_nothing(make: Callable[..., Near]) -> None:
    """Another filter refused the first two; the third is the first of its kind."""
    near = make()
    rows = records(*["the quick brown fox jumps over the lazy dog"] * 2, "the quick brown fox jumps over the lazy dog!")
    near.foresee(rows)
    assert near.check(rows[0]) is None
    assert near.check(rows[2]) is None
    near.admit(rows[2])
    assert near.check(rows[1]) == Drop("near_duplicate", "1.0000 with row-2", (Neighbour(id="row-2", score=1.0),))


@both
def test_records_nobody_foresaw_may_come_between(make: Callable[..., Near]) -> None:
    """What is admitted out of order is remembered, and so is what was admitted of the block before it."""
    near = make()
    first, second, third = records("one two three four five", "un deux trois quatre cinq", "eins zwei drei vier")
    near.foresee([first, second])
    near.admit(first)
    near.admit(third)
    for record in (first, third):
        assert near.check(record) == Drop(
            "near_duplicate", f"1.0000 with {record.id}", (Neighbour(id=record.id, score=1.0),)
        )
    assert near.check(second) is None


@both
def test_records_are_loaded_without_a_check(make: Callable[..., Near]) -> None:
    """A resumed run admits what it kept, near-duplicates too; the first of them is named."""
    near = make()
    text = "list five animals that live in the desert and what they eat"
    rows = records(text, text + "?", text)
    for record in rows[:2]:
        near.admit(record)
    drop = near.check(rows[2])
    assert drop is not None
    assert drop.nearest == (Neighbour(id="row-0", score=1.0),)


@both
def test_checking_twice_changes_nothing(make: Callable[..., Near]) -> None:
    """The same verdict again, and none before admission."""
    near = make()
    row, *_ = records("name three rivers of Asia and their length")
    near.foresee([row])
    assert [near.check(row), near.check(row)] == [None, None]
    near.admit(row)
    assert near.check(row) == near.check(row) != None  # noqa: E711 - both must be drops, and equal


@both
@pytest.mark.parametrize(
    ("first", "second", "score"),
    [
        ("Write a poem about the sea at night.", "write a poem, about the SEA at night", 1.0),
        ("写一首关于秋天和落叶的七言诗。", "写一首关于秋天和落叶的七言诗！", 1.0),
        ("写一首关于秋天的诗，要押韵，不超过八行。", "请写一首关于秋天的诗，要押韵，不超过八行。", 0.9375),
        ("Ｗｒｉｔｅ ｉｔ ｄｏｗｎ", "write it down", 1.0),
        ("Yes", "yes!", 1.0),
        ("用Python写一个排序函数", "用 python 写一个排序函数", 1.0),
    ],
)
def test_what_a_reader_takes_for_the_same_is_refused(
    make: Callable[..., Near], first: str, second: str, score: float
) -> None:
    """Tokens are compared, English words and Chinese characters, not case, width, spaces and punctuation."""
    rows = records(first, second)
    near = make()
    assert near.check(rows[0]) is None
    near.admit(rows[0])
    assert near.check(rows[1]) == Drop(
        "near_duplicate", f"{score:.4f} with row-0", (Neighbour(id="row-0", score=score),)
    )


@both
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("？？？", "？？？"),
        ("", ""),
        ("dog bites man today", "man bites dog today"),
        ("写一首关于春天的诗", "写一首关于秋天的诗"),
        ("Yes", "No"),
    ],
)
def test_texts_without_tokens_or_with_other_ones_pass(make: Callable[..., Near], first: str, second: str) -> None:
    """Equal texts without a token are `ExactDuplicates`' business; a short text differs by one word."""
    rows = records(first, second)
    near = make()
    near.admit(rows[0])
    assert near.check(rows[1]) is None


@both
def test_hostile_texts_are_measured(make: Callable[..., Near]) -> None:
    """10 000 tokens, one repeated, lone surrogates, emoji: no error, and the long ones are told apart."""
    rng = random.Random(3)
    long = " ".join(str(rng.randrange(10**6)) for _ in range(10_000))
    rows = records(long, "the " * 10_000, "\ud800 a \udfff", "🙂" * 500, long + " end", "the " * 9_000, "a" * 100_000)
    verdicts = screened(make(), rows, 4)
    assert [drop and drop.nearest[0].id for drop in verdicts] == [None, None, None, None, "row-0", "row-1", None]


def test_long_texts_are_measured_a_few_at_a_time() -> None:
    """So that the pairs within a block stay few: 60 texts of 9 000 characters come in blocks of 29."""
    rng = random.Random(4)
    rows = records(*(" ".join(str(rng.randrange(10**5, 10**6)) for _ in range(1286)) for _ in range(60)))
    near = JaccardNear()
    near.foresee(rows)
    sizes = []
    for row in rows:
        assert near.check(row) is None
        near.admit(row)
        sizes.append(len(near._block.rows))
    assert sizes == [29] * 58 + [2] * 2


def test_a_block_of_one_text_many_times_is_measured_once() -> None:
    """A thousand copies are one row of the block, and all but the first are refused."""
    rows = records(*["say the same thing over and over again"] * 1000)
    near = JaccardNear()
    near.foresee(rows)
    verdicts = screened(near, rows, None)
    assert len(near._block.rows) == 1
    assert verdicts[0] is None
    assert {drop.nearest[0].id for drop in verdicts[1:] if drop} == {"row-0"}
    assert None not in verdicts[1:]


@both
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": "0"}, "threshold must be above 0 and at most 1, not 0"),
        ({"threshold": "1.01"}, "threshold must be above 0 and at most 1, not"),
        ({"threshold": "near"}, "threshold must be a number such as '0.7' or '7/10', not 'near'"),
        ({"tokenizer": "fr"}, "tokenizer must be en, zh or auto, not 'fr'"),
        ({"n": 0}, "at least one token, not 0"),
    ],
)
def test_options_that_mean_nothing_are_refused(
    make: Callable[..., Near], options: dict[str, Any], message: str
) -> None:
    """With what was given, when the filter is made."""
    with pytest.raises(ValueError, match=message):
        make(**options)


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [(0.01, (128, 1)), (0.3, (64, 2)), (0.5, (42, 3)), (0.7, (25, 5)), (0.8, (16, 8)), (0.9, (10, 12)), (1.0, (2, 64))],
)
def test_bands_follow_from_the_threshold(threshold: float, expected: tuple[int, int]) -> None:
    """16 bands of 8 at 0.8; everywhere the longest bands that find 94 of 100 pairs right at the threshold."""
    assert bands(threshold) == expected


@pytest.mark.parametrize("threshold", [0.1, 0.25, 0.4, 0.55, 0.65, 0.8, 0.95, 0.98, 0.99])
def test_bands_find_985_of_1000_pairs_above_the_threshold(threshold: float) -> None:
    """Computed from the chance that two sketches agree in a band, for pairs spread evenly up to 1."""
    count, length = bands(threshold)
    assert count * length <= 128
    steps = [threshold + (1 - threshold) * step / 1000 for step in range(1001)]
    assert sum(1 - (1 - s**length) ** count for s in steps) / 1001 >= 0.985


def test_datasketch_is_loaded_when_a_filter_needs_it() -> None:
    """Importing both filters, as every command does, loads neither it nor scipy."""
    script = "import sys, selfinstruct.filters.minhash, selfinstruct.filters.jaccard; print(*sorted(sys.modules))"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True)
    assert not {"datasketch", "scipy"} & set(done.stdout.split())


def test_sketches_are_those_of_datasketch() -> None:
    """Measured together they equal datasketch's own, updated shingle by shingle."""
    from datasketch import MinHash

    sets = Shingler()(["count to ten in French", "", "one", "?"])
    for shingles, sketch in zip(sets.split(), sketches(sets), strict=True):
        single = MinHash(num_perm=128, hashfunc=int)
        for shingle in shingles.tolist():
            single.update(shingle >> 32)
        assert sketch.hashvalues.tolist() == single.hashvalues.tolist()
