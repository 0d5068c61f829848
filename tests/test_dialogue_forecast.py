"""What dialogues would come to: rounds as they are drawn, history sent again each turn, lengths guessed or measured."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from selfinstruct import dialogue_forecast, estimating, launch, naming
from selfinstruct.config import settings
from selfinstruct.dialogue_forecast import MEASURED, NOTHING, SCALE, Sides, SoFar, of_dialogues, so_far, still
from selfinstruct.forecast import Estimate, Use
from selfinstruct.launch import Plan
from selfinstruct.ledger_reader import LedgerReader, StepUsage
from selfinstruct.money import LIKELY_ANSWER, Price
from selfinstruct.recipe import Recipe
from selfinstruct.schema import Opener, Topic
from selfinstruct.store_manifest import read_manifest
from selfinstruct.token_estimate import estimate
from tests.command import invoke

CHAT = {"api": "chat", "name": "m", "base_url": "http://127.0.0.1:1/v1"}
FREE = Sides(None, None)


def plan(folder: Path, rounds: tuple[int, int] = (2, 3), text: str = "Why?", **more: Any) -> Plan:
    """Dialogues from a file of one opener; ``more``: settings, and keys of the table ``dialogue``."""
    file = folder / "openers.txt"
    file.write_text(f"{text}\n")
    told: dict[str, Any] = {name: more.pop(name) for name in ("answer_tokens", "turn_tokens") if name in more}
    tables = {"openers": {"entry": "file", "source": [str(file)]}, "dialogue": {"rounds": rounds, **more}}
    return planned(folder, told, **tables)


def planned(folder: Path, told: dict[str, Any], **tables: Any) -> Plan:
    """The plan of a recipe with these tables."""
    recipe = naming.named_roles(Recipe.model_validate({"method": "ultrachat", "model": CHAT, **tables}))
    given = settings(told)
    roles = estimating.unopened_roles(recipe, given, ("user", "assistant"))
    return launch.plan(recipe, given, estimating.unopened(recipe.model, given), folder / "run", roles)


class Real:
    """Dialogues as a run would have them, each turn of the same length: what the ledger then says, step by step."""

    def __init__(self, *, opening: int = 30, answer: int = 90, turn: int = 20, prompts: tuple[int, int] = (11, 77)):
        self.said = (opening, answer, turn)
        self.prompts = prompts

    def usage(self, rounds: list[int]) -> list[StepUsage]:
        """Of dialogues with so many rounds each; a message takes 4 tokens beside its text."""
        opening, answer, turn = self.said
        calls = Counter(step for many in rounds for step in range(2 * many - 1))
        steps = []
        for step, count in sorted(calls.items()):
            history = opening + (step + 1) // 2 * answer + step // 2 * turn + 4 * (step + 1)
            read, written = history + self.prompts[step % 2], (answer, turn)[step % 2]
            steps.append(StepUsage(step, count, count * read, count * written))
        return steps

    def so_far(self, rounds: list[int]) -> SoFar:
        """All of them through."""
        return SoFar(self.usage(rounds), self.usage(rounds), len(rounds))


def total(steps: list[StepUsage]) -> tuple[int, int, int]:
    """Calls, tokens in, tokens out."""
    return (
        sum(step.calls for step in steps),
        sum(step.prompt_tokens for step in steps),
        sum(step.completion_tokens for step in steps),
    )


# --- how many calls -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rounds", "calls"), [((1, 1), 1000), ((2, 2), 3000), ((2, 3), 4000), ((1, 4), 4000), ((3, 7), 9000)]
)
def test_a_dialogue_of_r_rounds_is_r_answers_and_a_turn_less(
    tmp_path: Path, rounds: tuple[int, int], calls: int
) -> None:
    """Rounds are drawn evenly, so a thousand dialogues have so many calls; at most each is asked again as allowed."""
    told, _ = of_dialogues(plan(tmp_path, rounds, resamples=2), NOTHING, FREE)
    assert [use.calls for use in told] == [calls, calls, 3 * calls]


@pytest.mark.parametrize(("cut", "tells"), [(0, False), (2, False), (3, True), (15, True)])
def test_how_far_dialogues_came_counts_where_it_is_guards_that_end_them(tmp_path: Path, cut: int, tells: bool) -> None:
    """A turn refused in ten dialogues tells more than the draw; a few that nothing ended were drawn short by chance."""
    known = Real().so_far([1] * 15 + [3] * 10)._replace(cut=cut)
    told, _ = of_dialogues(plan(tmp_path, (3, 3), resamples=0), known, FREE)
    assert [use.calls for use in told] == ([2600, 2600, 5000] if tells else [5000, 5000, 5000])


def test_how_far_dialogues_came_counts_where_they_are_many_and_not_where_they_are_few(tmp_path: Path) -> None:
    """A hundred are enough without a cut; with cuts it takes fifty calls."""
    many, fewer = Real().so_far([1] * 60 + [3] * 40), Real().so_far([1] * 60 + [3] * 39)
    few = Real().so_far([1] * 15 + [3] * 6)._replace(cut=15)
    assert sum(step.calls for step in few.through) == 45 < MEASURED
    told = [of_dialogues(plan(tmp_path, (3, 3)), known, FREE)[0].likely.calls for known in (many, fewer, few)]
    assert told == [2600, 5000, 5000]


# --- how many tokens ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prompts", [(11, 77), (77, 11), (0, 0)], ids=str)
def test_measured_lengths_reckon_with_the_history_to_the_token(tmp_path: Path, prompts: tuple[int, int]) -> None:
    """A thousand dialogues as long as twenty that were measured read and write fifty times as much."""
    rounds = [2, 3] * 10
    real = Real(prompts=prompts)
    told, where = of_dialogues(plan(tmp_path), real.so_far(rounds), FREE)
    fifty = total(real.usage(rounds * 50))
    assert (told.likely.calls, told.likely.prompt_tokens, told.likely.completion_tokens) == fifty
    assert told.low == told.likely
    assert where == "answers of 90 tokens, turns of the user of 20: as measured in this run"


def test_tokens_grow_with_the_square_of_the_rounds(tmp_path: Path) -> None:
    """Twice the rounds are more than three times the tokens read."""
    known = Real().so_far([8] * 10)
    assert sum(step.calls for step in known.steps) >= MEASURED
    real, short, long = Real(), total(Real().usage([4] * 1000)), total(Real().usage([8] * 1000))
    told = {most: of_dialogues(plan(tmp_path, (most, most)), SoFar(known.steps), FREE)[0].likely for most in (4, 8)}
    assert (told[4].prompt_tokens, told[8].prompt_tokens) == (short[1], long[1])
    assert told[8].prompt_tokens > 3 * told[4].prompt_tokens
    assert real.prompts == (11, 77)


def test_fifty_answered_turns_are_enough_and_forty_nine_are_not(tmp_path: Path) -> None:
    """Before that a guess is better than a few that happened to come first."""
    usage = [StepUsage(0, 25, 25 * 40, 25 * 90), StepUsage(1, 24, 24 * 140, 24 * 20)]
    told, where = of_dialogues(plan(tmp_path), SoFar(usage), FREE)
    assert "tell better" in where
    usage[1] = StepUsage(1, 25, 25 * 140, 25 * 20)
    told, where = of_dialogues(plan(tmp_path), SoFar(usage), FREE)
    assert where.startswith("answers of 90 tokens, turns of the user of 20: as measured")
    assert told.likely.calls == 4000


def test_where_turns_of_the_user_are_to_come_and_none_came_nothing_is_measured_yet(tmp_path: Path) -> None:
    """Sixty first answers say nothing of turns; of dialogues of one round they say all."""
    usage = [StepUsage(0, 60, 60 * 40, 60 * 90)]
    _, where = of_dialogues(plan(tmp_path, (2, 3)), SoFar(usage), FREE)
    assert "tell better" in where
    told, where = of_dialogues(plan(tmp_path, (1, 1)), SoFar(usage), FREE)
    assert where.startswith("answers of 90 tokens, ")
    assert where.endswith("as measured in this run")
    assert (told.likely.prompt_tokens, told.likely.completion_tokens) == (40_000, 90_000)


def test_before_there_is_anything_to_measure_lengths_are_guessed(tmp_path: Path) -> None:
    """Likely answers and turns, a quarter of that, and as long as they may be."""
    told, where = of_dialogues(plan(tmp_path, (2, 2), resamples=0, max_tokens=2000), NOTHING, FREE)
    assert where.startswith(f"answers of {LIKELY_ANSWER} tokens, turns of the user of 40: low: a quarter")
    assert [use.completion_tokens for use in told] == [1000 * (2 * 100 + 10), 1000 * (2 * 400 + 40), 1000 * 4256]
    short, _ = of_dialogues(plan(tmp_path, (2, 2), max_tokens=100, user_max_tokens=30), NOTHING, FREE)
    assert short.likely.completion_tokens == 1000 * (2 * 50 + 15)


def test_a_user_who_knows_the_model_is_believed(tmp_path: Path) -> None:
    """Then low is likely, too; what was measured is better still."""
    known = plan(tmp_path, (2, 2), answer_tokens=150, turn_tokens=25)
    told, where = of_dialogues(known, NOTHING, FREE)
    assert where.startswith("answers of 150 tokens, turns of the user of 25")
    assert told.low == told.likely
    assert told.likely.completion_tokens == 1000 * (2 * 150 + 25)
    _, where = of_dialogues(known, Real().so_far([2] * 20), FREE)
    assert where.startswith("answers of 90 tokens")


def test_what_a_side_reads_is_its_prompt_and_all_that_was_said(tmp_path: Path) -> None:
    """The opening as it stands in the file; the assistant's system prompt; the user's instruction behind it all."""
    asked = "x" * 4000
    known = plan(tmp_path, (1, 1), text=asked)
    told, _ = of_dialogues(known, NOTHING, FREE)
    [system, user] = known.links[-1].stage.prompt(dialogue_forecast.first_job(known)).messages  # type: ignore[attr-defined]
    assert user.content == asked
    assert told.likely.prompt_tokens == 1000 * (estimate(system.content) + 1000 + 2 * 4)


def test_no_call_reads_more_than_its_context_leaves_room_for(tmp_path: Path) -> None:
    """Rounds are left out where they do not fit: many rounds are many calls and not endless ones."""
    table: dict[str, Any] = {"max_tokens": 500, "user_max_tokens": 100, "assistant_context": 1500, "user_context": 1200}
    told, _ = of_dialogues(plan(tmp_path, (40, 40), resamples=0, **table), NOTHING, FREE)
    assert told.likely.calls == 79_000
    assert told.likely.prompt_tokens <= 40_000 * 1000 + 39_000 * 1100
    assert told.high.prompt_tokens > 0.95 * (40_000 * 1000 + 39_000 * 1100)


def test_each_side_is_paid_at_its_own_price(tmp_path: Path) -> None:
    """Pico-units for a token in and out."""
    cheap, dear = (Price(i, o, "usd", "a test", "2026") for i, o in ((1, 2), (100, 1000)))
    known = Real().so_far([2] * 20)
    told, _ = of_dialogues(plan(tmp_path, (2, 2)), known, Sides(dear, cheap))
    steps = Real().usage([2] * 1000)
    parts = [(step.prompt_tokens, step.completion_tokens, (dear, cheap)[step.step % 2]) for step in steps]
    assert told.likely.cost == sum(price.cost(read, written) for read, written, price in parts)


# --- what is left to do ---------------------------------------------------------------------------------------------


def test_what_is_left_is_what_the_dialogues_that_are_not_through_still_need() -> None:
    """Those through are not counted again, nor are the calls of those under way."""
    thousand = Estimate(Use(4000, 40_000), Use(4000, 80_000), Use(8000, 160_000))
    steps, through = Real().usage([2] * 12), Real().usage([2] * 10)
    known = SoFar(steps, through, 10)
    assert known.open_calls == 6
    left = still(thousand, (20, 20, 30), known)
    assert [use.calls for use in left] == [34, 34, 154]
    assert [use.prompt_tokens for use in left] == [340, 680, 3080]
    assert [use.calls for use in still(thousand, (10, 10, 5), known)] == [0, 0, 0]


def test_a_ledger_tells_how_far_its_run_is(tmp_path: Path) -> None:
    """Calls of each step, of the dialogues that are through in shards, and of all."""
    openers = tmp_path / "openers.txt"
    openers.write_text("".join(f"What is behind the door with the number {n}?\n" for n in range(6)))
    where = ("--api", "fake", "--output-dir", tmp_path, "--run", "r", "-q", "--rounds", 2)
    assert invoke("dialogue", *where, "--openers", openers).code == 0
    manifest = read_manifest(tmp_path / "r" / "dialogue")
    with closing(LedgerReader(tmp_path / "r" / "ledger.sqlite3")) as rows:
        known, begun = so_far(rows, manifest), so_far(rows, None)
    assert [(step.step, step.calls) for step in known.steps] == [(0, 6), (1, 6), (2, 6)]
    assert (known.through, known.jobs, known.cut, known.open_calls) == (known.steps, 6, 0, 0)
    assert (begun.through, begun.jobs, begun.open_calls) == ([], 0, 18)


# --- the first request, and what stands for others ------------------------------------------------------------------


def test_the_first_request_is_about_the_first_opener_that_is_given(tmp_path: Path) -> None:
    """Where a model is to write it, a mark stands for it."""
    given = dialogue_forecast.first_job(plan(tmp_path, text="Why do bees dance?"))
    made = dialogue_forecast.first_job(planned(tmp_path, {}))
    assert [job.material.instruction for job in (given, made)] == ["Why do bees dance?", "…"]
    assert made.material.sector == "world"


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_records_that_stand_for_others_fit_the_stage_they_feed(tmp_path: Path, lang: str) -> None:
    """A sub-topic for questions, an instruction for its expansion."""
    world, writing = planned(tmp_path, {}, lang=lang), planned(tmp_path, {}, lang=lang, dialogue={"sector": "writing"})
    [topic] = dialogue_forecast.like(Topic, world)
    [opener] = dialogue_forecast.like(Opener, writing)
    assert isinstance(topic, Topic)
    assert isinstance(opener, Opener)
    assert (topic.lang, opener.lang, opener.sector) == (lang, lang, "writing")
    for known, record in ((world, topic), (writing, opener)):
        stage: Any = known.links[1].stage
        assert stage.prompt(stage.plan(0, [record], ())[0]).messages


def test_the_opening_of_each_sector_is_guessed_by_what_it_is_made_of(tmp_path: Path) -> None:
    """A question; an instruction, mostly expanded; a passage with a request; the mean of what is given."""
    (tmp_path / "text.txt").write_text("The river is long. " * 40 + "\n")
    tables: dict[str, dict[str, Any]] = {
        "world": {},
        "writing": {"dialogue": {"sector": "writing"}},
        "materials": {"dialogue": {"sector": "materials"}, "openers": {"source": [str(tmp_path / "text.txt")]}},
    }
    read = {}
    for sector, table in tables.items():
        table["dialogue"] = {**table.get("dialogue", {}), "rounds": (1, 1)}
        told, _ = of_dialogues(planned(tmp_path, {}, **table), NOTHING, FREE)
        read[sector] = told.likely.prompt_tokens // SCALE
    assert read["writing"] - read["world"] == 0.8 * 120 + 0.2 * 35 - 20
    assert read["materials"] - read["world"] == estimate("The river is long. " * 40)
