"""RougeLNovelty: held against a plain dynamic programme and against the rouge-score package."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score import rouge_scorer

from selfinstruct.filters import rouge_l
from selfinstruct.filters.rouge_l import RougeLNovelty
from selfinstruct.protocols import Drop, Filter
from selfinstruct.schema import ClassifiedInstruction, Instruction, Neighbour, Novelty, Provenance, TaskInstance
from selfinstruct.similarity import postings, rouge_index, spelling
from selfinstruct.similarity.tokens import Tokenizer, tokens

MODES = ("exact", "above:0.5", "above:0", "above:1/3", "above:0.9", "off")


def _instruction(text: str, id: str = "candidate") -> Instruction:
    return Instruction(id=id, provenance=Provenance(), instruction=text, lang="en")


def _pool(*texts: str, **options: Any) -> RougeLNovelty:
    novelty = RougeLNovelty(**options)
    for number, text in enumerate(texts):
        novelty.add(f"seed-{number}", text)
    return novelty


def _counted(count: int, letter: str) -> str:
    """``count`` different words."""
    return " ".join(f"{letter}{number}" for number in range(count))


# --- against a plain dynamic programme ------------------------------------------------------------------------------


def _lcs(left: Sequence[str], right: Sequence[str]) -> int:
    """The longest common subsequence, by the textbook table."""
    row = [0] * (len(right) + 1)
    for token in left:
        above = row[:]
        for column, other in enumerate(right, 1):
            row[column] = above[column - 1] + 1 if token == other else max(above[column], row[column - 1])
    return row[-1]


class Plain(NamedTuple):
    """The specification, written the slow way: exact fractions, every pair, nothing skipped."""

    threshold: Fraction
    tokenizer: Tokenizer
    similar: str
    pool: list[tuple[str, str]]

    def scores(self, text: str) -> list[tuple[Fraction, str]]:
        """The score with each text of the pool, best first; the sort is stable, so equal ones keep their order."""
        mine = tokens(text, self.tokenizer)
        scored = []
        for id, other in self.pool:
            theirs = tokens(other, self.tokenizer)
            scored.append((Fraction(2 * _lcs(mine, theirs), max(len(mine) + len(theirs), 1)), id))
        return sorted(scored, key=lambda pair: -pair[0])

    def reason(self, text: str) -> str | None:
        """The verdict."""
        if text.strip() in [other.strip() for _, other in self.pool]:
            return "duplicate_text"
        return "too_similar" if any(score > self.threshold for score, _ in self.scores(text)) else None

    def nearest(self, text: str) -> tuple[Neighbour, ...]:
        """What is told of the pool in this mode."""
        if self.similar == "off":
            return ()
        floor = Fraction(-1) if self.similar == "exact" else Fraction(self.similar.removeprefix("above:"))
        near = [(score, id) for score, id in self.scores(text) if score > floor][:10]
        return tuple(Neighbour(id=id, score=round(float(score), 4)) for score, id in near)

    def told(self, text: str) -> tuple[Neighbour, ...]:
        """What a refusal tells: the text that decided, then the nearest."""
        twins = [id for id, other in self.pool if other.strip() == text.strip()]
        score, best = self.scores(text)[0]
        decided = Neighbour(id=twins[0], score=1.0) if twins else Neighbour(id=best, score=round(float(score), 4))
        return (decided, *(near for near in self.nearest(text) if near != decided))[:10]

    def mean(self, text: str) -> float | None:
        """The mean over the pool, known in one mode."""
        if self.similar != "exact" or not self.pool:
            return None
        return float(sum(score for score, _ in self.scores(text)) / len(self.pool))


THRESHOLDS = st.sampled_from([f"0.{hundredths}" for hundredths in range(30, 96)] + ["1/3", "2/3", "7/10", "1"])
PIECES = {"en": ["ox ", "elk ", "hen ", "Ox-", "gnu ", "?"], "zh": ["牛", "鹿", "鸡", "Ox ", "。", "马"]}
PIECES["auto"] = PIECES["en"] + PIECES["zh"]


@st.composite
def _runs(draw: st.DrawFn) -> tuple[Tokenizer, list[str], int]:
    """A tokenizer, texts in the order they come, and how many of them are seeds."""
    tokenizer: Tokenizer = draw(st.sampled_from(["en", "zh", "auto"]))
    text = st.lists(st.sampled_from(PIECES[tokenizer]), max_size=14).map("".join)
    texts = draw(st.lists(text, min_size=1, max_size=16))
    return tokenizer, texts, draw(st.integers(0, len(texts)))


class Way(NamedTuple):
    """How a run is fed: how many records are foreseen at once (0: none), how often another filter drops a new one."""

    foreseen: int = 0
    dropped_every: int = 0
    checked: bool = True


WAYS = st.builds(Way, st.sampled_from([0, 1, 3, 16]), st.sampled_from([0, 2, 3]), st.booleans())


def _assert_as_specified(run: tuple[Tokenizer, list[str], int], threshold: str, similar: str, way: Way) -> None:
    """Feed the run to both and compare every verdict, every neighbour and every mean."""
    tokenizer, texts, seeds = run
    novelty = RougeLNovelty(threshold, tokenizer, similar)
    plain = Plain(Fraction(threshold), tokenizer, similar, [])
    for number, text in enumerate(texts):
        id = f"text-{number}"
        if number < seeds:
            novelty.add(id, text)
            plain.pool.append((id, text))
            continue
        if way.foreseen and (number - seeds) % way.foreseen == 0:
            novelty.foresee([_instruction(one) for one in texts[number : number + way.foreseen]])
        record = _instruction(text, id)
        verdict = plain.reason(text)
        if way.checked:
            drop = novelty.check(record)
            assert (drop and drop.reason) == verdict
            assert drop is None or drop.nearest == plain.told(text)
        elsewhere_dropped = way.dropped_every and number % way.dropped_every == 0
        if not elsewhere_dropped and (verdict is None or not way.checked):
            kept = novelty.admit(record).novelty
            assert kept is not None
            assert (kept.mode, kept.nearest) == (similar, plain.nearest(text))
            assert kept.mean == (None if plain.mean(text) is None else pytest.approx(plain.mean(text), abs=0.51e-4))
            plain.pool.append((id, text))


@given(run=_runs(), threshold=THRESHOLDS, similar=st.sampled_from(MODES), way=WAYS)
def test_verdicts_and_neighbours_are_those_of_the_slow_specification(
    run: tuple[Tokenizer, list[str], int], threshold: str, similar: str, way: Way
) -> None:
    """For any texts in any order, foreseen or not, checked before admit or not, in every mode and tokenizer."""
    _assert_as_specified(run, threshold, similar, way)


SQUEEZED: list[tuple[Any, str, int]] = [
    (rouge_l, "BLOCK", 3),
    (rouge_l, "_BLOCK_CHARACTERS", 40),
    (rouge_index, "LONGEST", 5),
    (rouge_index, "TOKEN_MASK", 1),
    (rouge_index, "_AT_ONCE", 3),
    (rouge_index, "_MOST_FREQUENT", 1),
    (postings, "TILE", 4),
    (spelling, "FIRST", 0x10FFFF - 1),
    (rouge_index, "_SMALL", 0),
]
"""Every size the index is built with, so small that a few texts reach beyond it."""


@given(run=_runs(), threshold=THRESHOLDS, similar=st.sampled_from(MODES), way=WAYS)
@settings(max_examples=200)
def test_no_size_the_index_is_built_with_changes_a_verdict(
    run: tuple[Tokenizer, list[str], int], threshold: str, similar: str, way: Way
) -> None:
    """Long texts, shared keys, many tiles, several threads, tokens beyond the last character: all decided the same."""
    with pytest.MonkeyPatch.context() as patch:
        for module, name, small in SQUEEZED:
            patch.setattr(module, name, small)
        _assert_as_specified(run, threshold, similar, way)


def test_tokens_that_fall_on_surrogates_are_told_apart() -> None:
    """Code points from 0xD800 on are no characters, yet stand for tokens like any other."""
    words = [f"w{number}" for number in range(0xD900)]
    texts = [" ".join(words[start : start + 10]) for start in range(0xD7F0, 0xD810, 4)]
    novelty = _pool(" ".join(words), *texts, similar="exact")
    drop = novelty.check(_instruction(texts[3] + " end"))
    assert drop is not None
    assert [(near.id, near.score) for near in drop.nearest[:3]] == [
        ("seed-4", 0.9524),
        ("seed-3", 0.5714),
        ("seed-5", 0.5714),
    ]


# --- against rouge-score --------------------------------------------------------------------------------------------


@given(st.lists(st.lists(st.sampled_from("ox elk hen gnu It's a 3.5".split()), max_size=12), min_size=2, max_size=8))
def test_english_scores_are_those_of_rouge_score(texts: list[list[str]]) -> None:
    """The score with each text is rouge-score's F1, and the verdict is its verdict wherever floats decide."""
    *pool, candidate = [" ".join(text) for text in texts]
    scorer = rouge_scorer.RougeScorer(["rougeL"])
    theirs = {f"seed-{number}": scorer.score(text, candidate)["rougeL"].fmeasure for number, text in enumerate(pool)}
    assert [rouge_l.rouge_l(text, candidate, "en") for text in pool] == pytest.approx(list(theirs.values()), abs=1e-12)
    novelty = _pool(*pool, similar="exact")
    verdict = novelty.check(_instruction(candidate))
    kept = novelty.admit(_instruction(candidate)).novelty
    assert kept is not None
    assert {near.id: near.score for near in kept.nearest} == pytest.approx(theirs, abs=0.51e-4)
    if candidate not in pool and all(abs(score - 0.7) > 1e-9 for score in theirs.values()):
        assert (verdict is not None) == (max(theirs.values()) > 0.7)


@pytest.mark.parametrize(("m", "n"), [(10, 10), (7, 13), (13, 7), (9, 11)])
def test_exactly_the_threshold_is_kept(m: int, n: int) -> None:
    """LCS 7 of 20 tokens in all is F1 = 7/10, which is not above 0.7, whatever floats make of it."""
    seven = _counted(7, "same")
    pool, candidate = f"{seven} {_counted(m - 7, 'x')}".strip(), f"{seven} {_counted(n - 7, 'y')}".strip()
    novelty = _pool(pool, similar="exact")
    assert novelty.check(_instruction(candidate)) is None
    assert novelty.admit(_instruction(candidate)).novelty == Novelty(
        mode="exact", nearest=(Neighbour(id="seed-0", score=0.7),), mean=0.7
    )
    stricter = _pool(pool, threshold="0.69999")
    assert stricter.check(_instruction(candidate)) == Drop(
        "too_similar", "0.7000 with seed-0", (Neighbour(id="seed-0", score=0.7),)
    )


def test_one_token_above_the_threshold_is_refused() -> None:
    """LCS 8 with lengths 10 and 10 is 0.8; the drop names the text it is similar to."""
    eight = _counted(8, "same")
    novelty = _pool("something else entirely", f"{eight} x1 x2")
    assert novelty.check(_instruction(f"{eight} y1 y2")) == Drop(
        "too_similar", "0.8000 with seed-1", (Neighbour(id="seed-1", score=0.8),)
    )


# --- duplicates and texts without tokens ----------------------------------------------------------------------------


@pytest.mark.parametrize("similar", MODES)
@pytest.mark.parametrize("text", ["Name four old trees.", "翻译这句话", "？！", ""])
def test_an_equal_text_is_a_duplicate_with_or_without_tokens(text: str, similar: str) -> None:
    """Equality after stripping is found even where ROUGE-L sees nothing to compare."""
    drop = _pool("Count to ten.", text, similar=similar).check(_instruction(f" {text}\n"))
    assert drop is not None
    assert (drop.reason, drop.detail) == ("duplicate_text", "equals seed-1")


def test_a_text_without_tokens_is_similar_to_nothing() -> None:
    """Chinese under the English tokenizer scores 0, so only equality can refuse it."""
    novelty = _pool("翻译这句话", "？", similar="exact")
    assert novelty.check(_instruction("翻译这句诗")) is None
    assert novelty.admit(_instruction("翻译这句诗")).novelty == Novelty(
        mode="exact", nearest=(Neighbour(id="seed-0", score=0.0), Neighbour(id="seed-1", score=0.0)), mean=0.0
    )


def test_chinese_near_duplicates_are_refused_by_the_chinese_tokenizer() -> None:
    """One character of eight changed: 2·7/16 = 0.875; without characters as tokens nothing would be seen."""
    assert _pool("写一首春天的诗歌", tokenizer="zh").check(_instruction("写一首秋天的诗歌")) == Drop(
        "too_similar", "0.8750 with seed-0", (Neighbour(id="seed-0", score=0.875),)
    )
    assert _pool("写一首春天的诗歌", tokenizer="en").check(_instruction("写一首秋天的诗歌")) is None


def test_a_threshold_of_one_refuses_equal_texts_only() -> None:
    """No score is above 1; equal tokens in another spelling pass."""
    novelty = _pool("Name four old trees.", threshold="1")
    assert novelty.check(_instruction("name four old trees")) is None
    assert novelty.check(_instruction("Name four old trees.")) is not None


# --- memory, order, modes -------------------------------------------------------------------------------------------


def test_seeds_are_never_refused() -> None:
    """Equal seeds are both kept, and a later duplicate is told of the first."""
    novelty = _pool("Count to ten.", "Count to ten.", similar="exact")
    drop = novelty.check(_instruction("Count to ten."))
    assert drop == Drop(
        "duplicate_text", "equals seed-0", (Neighbour(id="seed-0", score=1.0), Neighbour(id="seed-1", score=1.0))
    )


def test_check_remembers_nothing() -> None:
    """A record that was checked and not admitted does not make its repetition a duplicate."""
    novelty = _pool("Count to ten.")
    assert [novelty.check(_instruction("Name four old trees.")) for _ in range(2)] == [None, None]


def test_an_admitted_record_is_compared_with_at_once() -> None:
    """Within one answer the second of two similar candidates is refused."""
    novelty = RougeLNovelty()
    first = novelty.admit(_instruction("Name four very old trees.", "bootstrap-0-0-0"))
    assert first.novelty == Novelty(mode="above:0.5")
    drop = novelty.check(_instruction("Name four quite old trees.", "bootstrap-0-0-1"))
    assert drop == Drop("too_similar", "0.8000 with bootstrap-0-0-0", (Neighbour(id="bootstrap-0-0-0", score=0.8),))


def test_check_then_admit_compares_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Admit reuses the comparison of the check before it, and no other."""
    novelty = _pool("Count up to ten.", similar="exact")
    calls = itertools.count()
    measure = novelty._pool.measure
    monkeypatch.setattr(novelty._pool, "measure", lambda text: (next(calls), measure(text))[1])
    novelty.check(_instruction("Name four old trees."))
    novelty.admit(_instruction("Name four old trees.", "one"))
    assert next(calls) == 1
    novelty.check(_instruction("Count up to nine."))
    kept = novelty.admit(_instruction("Count up to eight.", "two")).novelty
    assert next(calls) == 4
    assert kept is not None
    assert [near.id for near in kept.nearest] == ["seed-0", "one"]


def test_a_check_before_an_addition_is_not_reused_after_it() -> None:
    """The comparison that is remembered belongs to the pool it was made with."""
    novelty = RougeLNovelty()
    assert novelty.check(_instruction("Name four old trees.")) is None
    novelty.add("seed-9", "Name four old trees.")
    drop = novelty.check(_instruction("Name four old trees."))
    assert drop is not None
    assert drop.detail == "equals seed-9"


def test_at_most_ten_neighbours_best_first_and_equal_ones_in_order_of_entry() -> None:
    """Twelve similar texts: the two best lead, then the earliest of the equal ones, across lengths."""
    equal = [f"ox elk hen gnu {letter}" for letter in "abcdefghij"]
    novelty = _pool(*equal, "ox elk hen gnu", "ox elk hen", threshold="0.95")
    kept = novelty.admit(_instruction("ox elk hen gnu")).novelty
    assert kept is not None
    assert [near.id for near in kept.nearest] == ["seed-10", *(f"seed-{number}" for number in range(9))]
    assert [near.score for near in kept.nearest] == [1.0] + [0.8889] * 9


def test_above_leaves_out_a_neighbour_exactly_at_its_floor() -> None:
    """The floor is strict: 0.5 is not above 0.5."""
    kept = _pool("ox elk", "ox elk hen gnu").admit(_instruction("ox cow elk pig ram ewe")).novelty
    assert kept == Novelty(mode="above:0.5")
    lower = _pool("ox elk", "ox elk hen gnu", similar="above:0.49").admit(_instruction("ox cow elk pig ram ewe"))
    assert lower.novelty == Novelty(mode="above:0.49", nearest=(Neighbour(id="seed-0", score=0.5),))


def test_a_threshold_below_the_floor_still_refuses() -> None:
    """The floor only says what else is told; the text that decided always is."""
    assert _pool("ox elk", threshold="0.4").check(_instruction("ox cow elk pig ram ewe")) == Drop(
        "too_similar", "0.5000 with seed-0", (Neighbour(id="seed-0", score=0.5),)
    )


def test_off_tells_nothing_but_the_verdict() -> None:
    """The mode is written even so, and a drop says with what."""
    novelty = _pool("Name four very old trees.", similar="off")
    drop = novelty.check(_instruction("Name four quite old trees."))
    assert drop == Drop("too_similar", "0.8000 with seed-0", (Neighbour(id="seed-0", score=0.8),))
    assert novelty.admit(_instruction("Count to ten.")).novelty == Novelty(mode="off")


def test_an_empty_pool_has_no_mean() -> None:
    """The first record of a run without seeds was compared with nothing."""
    assert RougeLNovelty(similar="exact").admit(_instruction("Count to ten.")).novelty == Novelty(mode="exact")


def test_admit_keeps_everything_else_of_a_record() -> None:
    """Novelty is written into a copy; kind and other fields stay."""
    record = ClassifiedInstruction(
        id="classify-0-0-0", provenance=Provenance(), instruction="Count to ten.", lang="en", is_classification=True
    )
    admitted = RougeLNovelty().admit(record)
    assert admitted == record.model_copy(update={"novelty": Novelty(mode="above:0.5")})
    assert record.novelty is None


def test_a_record_from_a_shard_is_put_back_as_it_is() -> None:
    """Its novelty was measured against the pool of its own time, and later candidates are compared with it."""
    novelty: Filter[Instruction] = _pool("Name four old trees.")
    known = Novelty(mode="above:0.5", nearest=(Neighbour(id="bootstrap-0-0-0", score=0.6),))
    record = _instruction("Name four old bridges.").model_copy(update={"novelty": known})
    assert novelty.admit(record) == record
    drop = novelty.check(_instruction("Name four old bridges."))
    assert drop is not None
    assert drop.reason == "duplicate_text"


def test_whole_tasks_are_filtered_by_their_instruction() -> None:
    """A one-shot stage writes tasks rather than instructions; input and output are not compared."""
    novelty: Filter[TaskInstance] = _pool("Name four old trees.")
    task = TaskInstance(
        id="alpaca-0-0-0",
        provenance=Provenance(),
        instruction="Count to ten.",
        input="Name four old trees.",
        output="Name four old trees.",
        lang="en",
        is_classification=False,
    )
    assert novelty.check(task) is None
    assert novelty.admit(task).novelty == Novelty(mode="above:0.5")


# --- constructor ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("threshold", "message"),
    [
        ("0", "above 0 and at most 1, not 0"),
        ("-0.5", "above 0 and at most 1, not -0.5"),
        ("1.01", "above 0 and at most 1, not 1.01"),
        ("high", "a number such as '0.7' or '7/10', not 'high'"),
        ("7/0", "a number such as '0.7' or '7/10', not '7/0'"),
        ("nan", "a number such as '0.7' or '7/10', not 'nan'"),
        (0.7, "must be text such as '0.7' or '7/10', or a Fraction, not 0.7"),
    ],
)
def test_a_threshold_outside_its_range_is_refused(threshold: Any, message: str) -> None:
    """The message names the option, the rule and the value; floats are refused because they are not exact."""
    with pytest.raises(ValueError, match="threshold must be") as caught:
        RougeLNovelty(threshold)
    assert message in str(caught.value)


@pytest.mark.parametrize("threshold", ["0.7", "7/10", ".70", Fraction(7, 10)])
def test_a_threshold_is_the_exact_fraction_its_text_says(threshold: str | Fraction) -> None:
    """Seven tenths, not the float nearest to it."""
    assert RougeLNovelty(threshold).threshold == Fraction(7, 10)


@pytest.mark.parametrize("similar", ["", "above", "above:", "above:1", "above:-0.1", "above:x", "below:0.5", "Exact"])
def test_an_unknown_mode_is_refused(similar: str) -> None:
    """The message shows what was written."""
    with pytest.raises(ValueError, match="must be") as caught:
        RougeLNovelty(similar=similar)
    assert repr(similar) in str(caught.value)


def test_an_unknown_tokenizer_is_refused() -> None:
    """The message lists the known ones."""
    unknown: Any = "de"
    with pytest.raises(ValueError, match="tokenizer must be en, zh or auto, not 'de'"):
        RougeLNovelty(tokenizer=unknown)


# --- what a pool costs ----------------------------------------------------------------------------------------------


def _strained(texts: list[str], threshold: str) -> str:
    """What is said once these texts, none of which is refused, have been checked and kept."""
    novelty = RougeLNovelty(threshold, similar="off")
    for start in range(0, len(texts), 50):
        records = [_instruction(text) for text in texts[start : start + 50]]
        novelty.foresee(records)
        for record in records:
            assert novelty.check(record) is None
            novelty.add(record.id, record.instruction)
    return novelty.strain()


def test_texts_that_defeat_the_index_are_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """What makes them slow: few different tokens, likeness or length; ordinary texts are not spoken of."""
    alike = [" ".join(text) for text in itertools.permutations("abcdef")][:300]
    long = [_counted(120, f"{letter}x") for letter in "abcdefghij"]
    long += [" ".join(reversed(text.split())) for text in long]  # all tokens of another text, and nothing in order
    ordinary = [_counted(12, letter) for letter in "abcdefghij"]
    assert [_strained(texts, "0.9") for texts in (alike, long, ordinary)] == ["", "", ""]
    monkeypatch.setattr(rouge_l, "_STRAIN_CELLS", 1000)
    monkeypatch.setattr(rouge_l, "_STRAIN_CELLS_EACH", 1000)
    assert re.match(
        r"texts so alike are slow to tell apart: \d\d+ comparisons in full for each", _strained(alike, "0.9")
    )
    assert re.match(r"texts so long are slow to compare: 14400 steps for a pair", _strained(long, "0.9"))
    assert _strained(ordinary, "0.9") == _pool("a", similar="exact").strain() == ""
    monkeypatch.setattr(rouge_l, "_STRAIN", 1000)
    assert re.match(r"texts of so few different tokens are slow .* \d\d+ of 250 had to be", _strained(alike, "0.9"))
    assert _strained(ordinary, "0.9") == ""


def test_blocks_of_long_texts_hold_fewer_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that what is made for a block stays small; a text longer than that is a block of its own."""
    monkeypatch.setattr(rouge_l, "_BLOCK_CHARACTERS", 10)
    assert list(rouge_l._blocks(["12345", "12345", "1", "1" * 30, "1"])) == [
        ["12345", "12345"],
        ["1"],
        ["1" * 30],
        ["1"],
    ]


# --- lists of texts -------------------------------------------------------------------------------------------------


@given(run=_runs(), threshold=THRESHOLDS)
def test_deduplicate_keeps_what_is_new(run: tuple[Tokenizer, list[str], int], threshold: str) -> None:
    """In order, by the slow specification."""
    tokenizer, texts, _ = run
    plain = Plain(Fraction(threshold), tokenizer, "off", [])
    for text in texts:
        if plain.reason(text) is None:
            plain.pool.append(("", text))
    assert rouge_l.deduplicate(texts, threshold, tokenizer) == [text for _, text in plain.pool]


def test_scores_of_chinese_are_by_character() -> None:
    """One character of eight changed; the English tokenizer sees nothing."""
    assert rouge_l.rouge_l("写一首春天的诗歌", "写一首秋天的诗歌") == 0.875
    assert rouge_l.rouge_l("写一首春天的诗歌", "写一首秋天的诗歌", "en") == rouge_l.rouge_l("", "") == 0


def test_foreseen_blocks_that_nobody_asks_for_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another filter may refuse a whole block before this one is asked."""
    monkeypatch.setattr(rouge_l, "BLOCK", 2)
    novelty = _pool("Name four old trees.")
    texts = ["Count to ten.", "Count to nine.", "Name five old trees.", "Sing."]
    novelty.foresee([_instruction(text) for text in texts])
    assert novelty.check(_instruction("Sing.")) is None
    drop = novelty.check(_instruction("Name five old trees."))
    assert drop is not None
    assert drop.detail == "0.7500 with seed-0"


def test_texts_are_added_unseen_a_block_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Taking up a run's records costs no look-up, and each is found afterwards."""
    monkeypatch.setattr(rouge_l, "BLOCK", 2)
    texts = [_counted(5, letter) for letter in "abcdefg"]
    novelty = _pool(*texts)
    assert isinstance(novelty._pool, rouge_l._Indexed)
    assert (len(novelty._pool._index), novelty._pool._index.looked_up) == (6, 0)
    drops = [novelty.check(_instruction(text)) for text in texts]
    assert [drop and drop.detail for drop in drops] == [f"equals seed-{number}" for number in range(7)]
