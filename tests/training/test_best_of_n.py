"""Best of n: the best answer is kept, the first of equals; the curve is exact; the same answers give the same bytes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfinstruct.schema import Message
from selfinstruct.training import best_of_n
from selfinstruct.training.best_of_n import Answer, Curve, Drawn, Judged, ScoreBook, expected_best, judge, write

JUDGE = {"name": "rm", "sha256": "0" * 64}


def drawn(id: str, *answers: str | None) -> Drawn:
    """A prompt with these answers; None is one that was cut."""
    given = [
        Answer(text or "", f"{id}-{k}", "some-model", "" if text else "truncated") for k, text in enumerate(answers)
    ]
    return Drawn(id, (Message(role="user", content=f"Say {id}."),), f"mine.txt:{id}", tuple(given))


class Counting:
    """Scores an answer by how many letters it has, and knows how often it was asked and with how much."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __call__(self, conversations: Sequence[Sequence[Message]]) -> list[float]:
        """The letters of each answer."""
        self.asked.append(len(conversations))
        return [float(len(one[-1].content)) for one in conversations]


def judged(folder: Path, prompts: Sequence[Drawn], score: best_of_n.Score | None = None) -> list[Judged]:
    """The prompts, judged with a book in that folder."""
    return list(judge(prompts, score or Counting(), ScoreBook(folder, "rm"), lambda done: None))


def rows(path: Path) -> list[dict[str, Any]]:
    """The lines of a file, parsed."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


# --- the curve --------------------------------------------------------------------------------------------------------

SCORES = st.lists(st.none() | st.integers(-1000, 1000).map(float), min_size=1, max_size=7)


@given(SCORES, st.data())
def test_the_expected_best_is_the_mean_over_every_choice(scores: list[float | None], data: st.DataObject) -> None:
    """As counted one by one: over the choices that hold an answer which can be kept, and their share of all."""
    n = data.draw(st.integers(1, len(scores)))
    best = [max(held) for chosen in combinations(scores, n) if (held := [one for one in chosen if one is not None])]
    expected, chance = expected_best(scores, n)
    assert chance == pytest.approx(len(best) / len(list(combinations(scores, n))))
    if best:
        assert expected == pytest.approx(sum(best) / len(best), abs=1e-9)
    else:
        assert expected is None


@given(SCORES)
def test_more_answers_never_make_the_expected_best_worse(scores: list[float | None]) -> None:
    """Nor the chance that there is one to keep; of one it is the mean, of all of them the best."""
    points = [expected_best(scores, n) for n in range(1, len(scores) + 1)]
    usable = [score for score in scores if score is not None]
    if not usable:
        assert points == [(None, 0.0)] * len(scores)
        return
    means = [mean for mean, _ in points if mean is not None]
    assert len(means) == len(points)
    assert all(before <= after + 1e-9 for before, after in pairwise(means))
    assert [chance for _, chance in points] == sorted(chance for _, chance in points)
    assert [means[0], means[-1]] == pytest.approx([sum(usable) / len(usable), max(usable)])


def test_the_expected_best_of_many_answers_overflows_nothing() -> None:
    """Of 3000 answers there are more choices than a float can count; with scores 1 … N it is n (N + 1) / (n + 1)."""
    scores = [float(score) for score in range(1, 3001)]
    for n in (1, 2, 1500, 3000):
        expected, chance = expected_best(scores, n)
        assert chance == 1.0
        assert expected == pytest.approx(n * 3001 / (n + 1))


def test_the_curve_doubles_up_to_n() -> None:
    """1, 2, 4 … and n itself, whatever it is."""
    assert {n: [point.n for point in Curve(n).points()] for n in (1, 2, 3, 4, 6, 16)} == {
        1: [1],
        2: [1, 2],
        3: [1, 2, 3],
        4: [1, 2, 4],
        6: [1, 2, 4, 6],
        16: [1, 2, 4, 8, 16],
    }


def test_a_prompt_without_an_answer_lowers_the_share_and_not_the_score() -> None:
    """The score is a mean over prompts that have one."""
    curve = Curve(2)
    curve.add([1.0, 3.0])
    curve.add([None, None])
    assert curve.points() == ((1, 2.0, 0.5), (2, 3.0, 0.5))


# --- scores -----------------------------------------------------------------------------------------------------------


def test_only_answers_that_can_be_kept_are_scored(tmp_path: Path) -> None:
    """One that was cut has no score, wherever it stands."""
    [one, none] = judged(tmp_path, [drawn("a", "four", None, "sixsix"), drawn("b", None, None, None)])
    assert (one.scores, one.best) == ((4.0, None, 6.0), 2)
    assert (none.scores, none.best) == ((None, None, None), None)


def test_of_equal_answers_the_first_is_best(tmp_path: Path) -> None:
    """Also where they differ by less than a score is known to."""
    values = {"one": 1.0, "two": 2.0, "six": 2.0000001}
    [one] = judged(tmp_path, [drawn("a", "one", "two", "six", "two")], lambda all: [values[c[-1].content] for c in all])
    assert (one.scores, one.best) == ((1.0, 2.0, 2.0, 2.0), 1)


def test_a_negative_score_can_be_the_best(tmp_path: Path) -> None:
    """An answer that can be kept beats one that cannot, whatever it scores."""
    [one] = judged(tmp_path, [drawn("a", None, "bad", None)], lambda all: [-7.5 for _ in all])
    assert (one.scores, one.best) == ((None, -7.5, None), 1)


def test_what_was_scored_is_not_scored_again(tmp_path: Path) -> None:
    """A start that was killed between two groups of prompts scores the second one alone, in the same company."""
    prompts = [drawn(str(n), "x" * (n + 1), "y") for n in range(2 * best_of_n.PROMPTS_AT_ONCE + 3)]
    killed, again, third = Counting(), Counting(), Counting()
    first = judge(prompts, killed, ScoreBook(tmp_path, "rm"), lambda done: None)
    begun = [next(first) for _ in range(5)]
    del first
    whole = judged(tmp_path, prompts, again)
    assert judged(tmp_path, prompts, third) == whole
    assert whole[:5] == begun
    assert (killed.asked, again.asked, third.asked) == ([32], [32, 6], [])


@pytest.mark.parametrize("cut", [2, 20, 90])
def test_a_line_that_a_kill_cut_short_is_scored_again(tmp_path: Path, cut: int) -> None:
    """And what is written behind it can be read the next time."""
    book = tmp_path / best_of_n.SCORES
    prompts = [drawn(str(n), "x" * (n + 1)) for n in range(best_of_n.PROMPTS_AT_ONCE + 1)]
    whole = judged(tmp_path, prompts)
    book.write_bytes(book.read_bytes()[:-cut])
    again, third = Counting(), Counting()
    assert judged(tmp_path, prompts, again) == whole
    assert judged(tmp_path, prompts, third) == whole
    assert (again.asked, third.asked) == ([1], [])


def test_another_reward_model_scores_anew(tmp_path: Path) -> None:
    """Its scores lie in the same book; going back to the first one finds what that has said."""
    prompts = [drawn("a", "four", "sixsix")]
    other, first = Counting(), Counting()
    judged(tmp_path, prompts)
    list(judge(prompts, other, ScoreBook(tmp_path, "another"), lambda done: None))
    list(judge(prompts, first, ScoreBook(tmp_path, "rm"), lambda done: None))
    assert (other.asked, first.asked) == ([2], [])


# --- files ------------------------------------------------------------------------------------------------------------


def test_the_best_answer_is_kept_as_sft_reads_it(tmp_path: Path) -> None:
    """A conversation, with all scores and the calls behind them; a prompt without an answer is not there."""
    prompts = [drawn("a", "four", None, "sixsix"), drawn("b", None, None, None)]
    outcome = write(tmp_path, judged(tmp_path, prompts), 3, JUDGE)
    assert rows(tmp_path / "kept.jsonl") == [
        {
            "id": "a",
            "messages": [{"role": "user", "content": "Say a."}, {"role": "assistant", "content": "sixsix"}],
            "score": 6.0,
            "scores": [4.0, None, 6.0],
            "n": 3,
            "best": 2,
            "source": "mine.txt:a",
            "provenance": {"models": ["some-model"], "calls": ["a-0", "a-1", "a-2"]},
        }
    ]
    assert outcome[:4] == (2, 1, 6, {"truncated": 4})


def test_every_answer_is_in_the_samples_with_its_score_or_its_problem(tmp_path: Path) -> None:
    """Those of a prompt that kept none, too."""
    write(tmp_path, judged(tmp_path, [drawn("a", "four", None), drawn("b", None, None)]), 2, JUDGE)
    first, second = rows(tmp_path / "samples.jsonl")
    assert first == {
        "id": "a",
        "source": "mine.txt:a",
        "prompt": [{"role": "user", "content": "Say a."}],
        "best": 0,
        "samples": [
            {"k": 0, "text": "four", "score": 4.0, "problem": None, "call": "a-0"},
            {"k": 1, "text": "", "score": None, "problem": "truncated", "call": "a-1"},
        ],
    }
    assert (second["best"], [one["problem"] for one in second["samples"]]) == (None, ["truncated", "truncated"])


def test_the_curve_file_says_what_it_is_of(tmp_path: Path) -> None:
    """Counts, points, and which reward model; no time and no place of this machine."""
    write(tmp_path, judged(tmp_path, [drawn("a", "four", "sixsix")]), 2, JUDGE)
    assert json.loads((tmp_path / "curve.json").read_text()) == {
        "n": 2,
        "prompts": 1,
        "kept": 1,
        "answers": 2,
        "problems": {},
        "curve": [{"n": 1, "score": 5.0, "answered": 1.0}, {"n": 2, "score": 6.0, "answered": 1.0}],
        "reward_model": JUDGE,
    }


def test_no_prompt_leaves_empty_files(tmp_path: Path) -> None:
    """And a curve without a score."""
    outcome = write(tmp_path, judged(tmp_path, []), 2, JUDGE)
    assert ((tmp_path / "kept.jsonl").read_bytes(), (tmp_path / "samples.jsonl").read_bytes()) == (b"", b"")
    assert outcome.curve == ((1, None, 0.0), (2, None, 0.0))


def test_the_same_answers_give_the_same_bytes(tmp_path: Path) -> None:
    """Written over files of an earlier start, and drawn, too."""
    pytest.importorskip("matplotlib")
    prompts = [drawn(str(n), "x" * (n + 1), None, "yy") for n in range(20)]
    written = []
    for _ in range(2):
        outcome = write(tmp_path, judged(tmp_path, prompts), 3, JUDGE)
        best_of_n.plot(tmp_path, outcome)
        written.append({path.name: path.read_bytes() for path in tmp_path.iterdir()})
    assert written[0] == written[1]
    assert written[0]["best-of-n.png"].startswith(b"\x89PNG")
    assert sorted(written[0]) == ["best-of-n.png", "curve.json", "kept.jsonl", "samples.jsonl", "scores.jsonl"]
