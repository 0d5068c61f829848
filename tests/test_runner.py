"""The loop, with stages and a model made for it: what is started, in which order it is screened, how it stops."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from selfinstruct.admission import gate as gates
from selfinstruct.admission.gate import Gate
from selfinstruct.errors import (
    REFUSALS,
    AccessDenied,
    ConfigProblem,
    DamagedRun,
    Interrupted,
    OutputFailed,
    RequestRefused,
    Verdict,
    Withdrawn,
)
from selfinstruct.protocols import Drop, Filter, Job, Model, Stage
from selfinstruct.runner import GIVE_UP_AFTER, Runner, StageRun
from selfinstruct.schema import Completion, Draw, Neighbour, Provenance, Record, Reject, Request
from selfinstruct.store import StageStore

JOBS = 4  # in a round

Answer = Callable[[Request], str | Exception]


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting for the disk: what survives a power cut is the store's business, not the loop's."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


# --- stages, a filter and a model small enough to read ------------------------------------------------------------


class Word(Record):
    """What both stages write."""

    word: str


class Words:
    """Asks for a list of words; the prompt tells the pool that was shown, so a leaking order changes the answers."""

    name = "words"
    reads = None
    writes = Word
    roles = ("teacher",)

    def __init__(self) -> None:
        self.shown: dict[int, list[str]] = {}

    def plan(self, round: int, inputs: Sequence[Any], accepted: Sequence[Word]) -> list[Job]:
        """`JOBS` jobs that depend on the whole pool."""
        self.shown[round] = [record.id for record in accepted]
        pool = hashlib.sha256(" ".join(record.word for record in accepted).encode()).hexdigest()
        return [Job(self.name, round, slot, pool) for slot in range(JOBS)]

    async def run(self, job: Job, models: Mapping[str, Model]) -> list[Record | Reject]:
        """Every word of the answer is a candidate; "?" alone is an answer nobody can read."""
        answer = await models["teacher"].complete(Request(draw=job.draw(), prompt=job.material))
        if answer.text == "?":
            return [_unreadable(job)]
        return [_word(job, index, word) for index, word in enumerate(answer.text.split())]


class Echoes:
    """Asks once about each word of the stage before."""

    name = "echoes"
    reads = Word
    writes = Word
    roles = ("teacher",)

    def plan(self, round: int, inputs: Sequence[Word], accepted: Sequence[Any]) -> list[Job]:
        """One job a word."""
        return [Job(self.name, round, slot, record.word) for slot, record in enumerate(inputs)]

    async def run(self, job: Job, models: Mapping[str, Model]) -> list[Record | Reject]:
        """The first word of the answer."""
        answer = await models["teacher"].complete(Request(draw=job.draw(), prompt=job.material))
        return [_word(job, 0, answer.text.split()[0])]


class Roots(Words):
    """Ten jobs, and then nothing more to ask: what a later stage can wait for."""

    name = "roots"

    def plan(self, round: int, inputs: Sequence[Any], accepted: Sequence[Word]) -> list[Job]:
        """`JOBS` jobs, twice, and two."""
        return super().plan(round, inputs, accepted)[: 10 - round * JOBS] if round < 3 else []


class Gathered(Words):
    """Asks for words as long as it has any root to ask about, in a way that depends on all of them, and its pool."""

    reads = Word  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()
        self.read: dict[int, list[str]] = {}

    def plan(self, round: int, inputs: Sequence[Word], accepted: Sequence[Word]) -> list[Job]:
        """`JOBS` jobs that depend on all it reads."""
        self.read[round] = [record.id for record in inputs]
        roots = hashlib.sha256(" ".join(record.word for record in inputs).encode()).hexdigest()
        jobs = super().plan(round, inputs, accepted) if inputs else []
        return [Job(job.stage, job.round, job.slot, roots + job.material) for job in jobs]


def plain_chain() -> list[Stage]:
    """A first stage that goes on as long as it is asked to, and one that it feeds."""
    return [Words(), Echoes()]


def waiting_chain() -> list[Stage]:
    """A first stage that ends by itself, one that waits for it and is counted, and one that this feeds."""
    return [Roots(), Gathered(), Echoes()]


class Unseen:
    """Drops a word seen before: what it keeps depends on the order it is asked in. Writes that order down."""

    def __init__(self) -> None:
        self.judged: list[str] = []
        self._first: dict[str, str] = {}

    def check(self, record: Word) -> Drop | None:
        """A repeat, with the word it repeats."""
        self.judged.append(record.id)
        first = self._first.get(record.word)
        return Drop("seen", record.word, (Neighbour(id=first, score=1.0),)) if first else None

    def admit(self, record: Word) -> Word:
        """Remember the word; write it without its exclamation marks."""
        self._first[record.word] = record.id
        return record.model_copy(update={"word": record.word.rstrip("!")})


class Desk:
    """A model that asks the gate as `Admitted` does, then takes some turns of the event loop to answer."""

    def __init__(self, gate: Gate, answer: Answer, limit: int, turns: Callable[[Draw], int]) -> None:
        self.sent: list[Draw] = []
        self.answered: list[Draw] = []
        self._gate, self._answer, self._turns = gate, answer, turns
        self._slots = asyncio.Semaphore(limit)

    async def complete(self, request: Request) -> Completion:
        """The scripted answer, later."""
        async with self._slots:
            if not self._gate.lets(request.draw):
                raise Withdrawn("no longer needed")
            self.sent.append(request.draw)
            for _ in range(self._turns(request.draw)):
                await asyncio.sleep(0)
            self.answered.append(request.draw)
            said = self._answer(request)
            if isinstance(said, Exception):
                raise said
            return Completion(text=said)

    async def aclose(self) -> None:
        """Nothing to let go of."""


def _word(job: Job, index: int, word: str) -> Word:
    return Word(id=job.id(index), provenance=Provenance(seeds=("s",)), word=word)


def _unreadable(job: Job) -> Reject:
    return Reject(id=job.id(), provenance=Provenance(), stage=job.stage, reason="garbled", unusable=True)


def four_words(request: Request) -> str:
    """A function of prompt and draw, out of few enough words that many repeat."""
    rng = random.Random(f"{request.draw} {request.prompt}")
    return " ".join(f"w{rng.randrange(150)}" for _ in range(4))


def four_new_words(request: Request) -> str:
    """Words nobody else says."""
    return " ".join(f"{request.draw}:{n}" for n in range(4))


def at_once(draw: Draw) -> int:
    """No latency."""
    return 1


def shuffled(seed: int) -> Callable[[Draw], int]:
    """Latencies between 0 and 30 turns, out of a seed."""
    return lambda draw: random.Random(f"{seed} {draw}").randrange(30)


@dataclass
class Bench:
    """A runner and everything around it that a test wants to look at."""

    runner: Runner
    gate: Gate
    desk: Desk
    stages: list[StageRun]

    @property
    def words(self) -> StageRun:
        """The run of the stage whose records are counted: the first, or that behind the roots."""
        return next(run for run in self.stages if run.stage.name == "words")

    def rounds_asked(self) -> list[int]:
        """The rounds of the counted stage that sent anything, in the order of their first call."""
        return list(dict.fromkeys(draw.round for draw in self.desk.sent if draw.stage == "words"))


Watch = Callable[[Bench], None]


def close_when(condition: Callable[[Bench], bool]) -> Watch:
    """What a signal does, at a chosen moment."""

    def watch(made: Bench) -> None:
        if condition(made):
            made.gate.close()

    return watch


def bench(
    folder: Path,
    answer: Answer = four_words,
    *,
    target: int | None = 60,
    lag: int = 3,
    limit: int = 50,
    turns: Callable[[Draw], int] = at_once,
    **more: Any,
) -> Bench:
    """A chain in ``folder``, taken up where an earlier one left it.

    ``more``: ``chain``, ``room``, ``in_step``, ``screened``, and ``goes_on``, False to take up the last shards too.
    """
    gate = Gate()
    desk = Desk(gate, answer, limit, turns)
    stages = []
    for stage in more.get("chain") or plain_chain():
        run = _stage_run(stage, folder / stage.name, desk, goes_on=more.get("goes_on", True))
        run.room = more.get("room", run.room)
        stages.append(run)
    screened: Watch = more.get("screened", lambda made: None)
    in_step: bool = more.get("in_step", False)
    runner = Runner(stages, gate, target=target, lag=lag, in_step=in_step, screened=lambda: screened(made))
    made = Bench(runner, gate, desk, stages)
    return made


def _stage_run(stage: Stage, folder: Path, desk: Desk, *, goes_on: bool) -> StageRun:
    folder.mkdir(parents=True, exist_ok=True)
    store = StageStore(folder, Word, rounds_per_shard=2)
    store.load(whole_shards_only=goes_on)
    filters: list[Filter[Any]] = [] if stage.name == "echoes" else [Unseen()]
    for record in store.upto(store.rounds):
        for item in filters:
            item.admit(record)
    return StageRun(stage, filters, store, {"teacher": desk}, waits=isinstance(stage, Gathered))


async def finished(folder: Path, answer: Answer = four_words, **options: Any) -> Bench:
    """A bench whose run is over."""
    made: Bench = bench(folder, answer, **options)
    await made.runner.run()
    return made


def files(folder: Path) -> dict[str, bytes]:
    """Every byte a run wrote."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.json*"))}


def records(stage: StageRun) -> list[str]:
    """The words a stage has kept."""
    return [record.word for record in stage.store.upto(stage.screened)]


# --- order ----------------------------------------------------------------------------------------------------------


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**16),
    limit=st.sampled_from([1, 3, 50]),
    in_step=st.booleans(),
    room=st.sampled_from([1, 5, 100]),
    chain=st.sampled_from([plain_chain, waiting_chain]),
)
def test_the_files_depend_on_neither_concurrency_nor_latency(
    seed: int, limit: int, in_step: bool, room: int, chain: Callable[[], list[Stage]]
) -> None:
    """Whatever the order in which calls come back, every shard, reject and manifest has the same bytes."""
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        asyncio.run(_run(Path(one), chain=chain()))
        faster = {"limit": limit, "turns": shuffled(seed), "in_step": in_step, "room": room}
        asyncio.run(_run(Path(other), chain=chain(), **faster))
        assert files(Path(other)) == files(Path(one))
        assert len(files(Path(one))) > 6


async def _run(folder: Path, **options: Any) -> None:
    await finished(folder, **options)


async def test_candidates_are_judged_in_round_job_and_answer_order(tmp_path: Path) -> None:
    """Calls come back shuffled; the filter sees round 0 slot 0 first and each id once, in order."""
    made = await finished(tmp_path, turns=shuffled(7))
    judged = made.words.filters[0].judged  # type: ignore[attr-defined]
    places = [tuple(int(part) for part in id.split("-")[1:]) for id in judged]
    assert places == [(r, s, i) for r in range(made.words.screened) for s in range(JOBS) for i in range(4)]
    assert made.desk.answered != sorted(made.desk.answered, key=lambda d: (d.stage, d.round, d.slot))


async def test_a_survivor_is_admitted_before_the_next_candidate_is_looked_at(tmp_path: Path) -> None:
    """An answer that says the same word twice gives one record and one reject that names the record."""
    made = await finished(tmp_path, lambda request: "same same", target=1, chain=[Words()])
    assert records(made.words) == ["same"]
    first = (tmp_path / "words" / "rejects-0.jsonl").read_text().splitlines()[0]
    reject = Reject.model_validate_json(first)
    assert reject == Reject(
        id="words-0-0-1",
        provenance=Provenance(seeds=("s",)),
        stage="words",
        reason="seen",
        detail="same",
        candidate={"word": "same"},
        nearest=(Neighbour(id="words-0-0-0", score=1.0),),
    )


async def test_what_a_filter_admits_is_what_is_written(tmp_path: Path) -> None:
    """`admit` may write what it measured into the record; the shard and the pool hold that version."""
    made = await finished(tmp_path, lambda request: f"{request.draw.slot}!!!", target=4, chain=[Words()])
    assert records(made.words) == ["0", "1", "2", "3"]


async def test_a_filter_that_foresees_is_told_the_candidates_of_a_round_before_it_judges_them(tmp_path: Path) -> None:
    """All of them at once, in order, without the rejects that a stage made itself."""
    told: list[list[str]] = []

    class Foresees(Unseen):
        def foresee(self, records: Sequence[Word]) -> None:
            told.append([record.id for record in records])
            assert self.judged == [id for ids in told[:-1] for id in ids]

    def one_unreadable(request: Request) -> str:
        return "?" if request.draw.slot == 1 else "up down"

    made: Bench = bench(tmp_path, one_unreadable, target=2, chain=[Words()])
    made.words.filters = [Foresees()]
    await made.runner.run()
    assert told == [[f"words-0-{slot}-{index}" for slot in (0, 2, 3) for index in (0, 1)]]


@pytest.mark.parametrize("lag", [1, 2, 5])
async def test_a_round_is_shown_the_pool_as_it_stood_lag_rounds_before(tmp_path: Path, lag: int) -> None:
    """Round r sees the records of the rounds up to r − lag and no others, at any latency."""
    words = Words()
    made = await finished(tmp_path, lag=lag, target=150, turns=shuffled(3), chain=[words])
    kept = [record.id for record in made.words.store.upto(made.words.screened)]
    assert made.words.screened > lag
    for number, shown in words.shown.items():
        assert shown == [id for id in kept if int(id.split("-")[1]) <= number - lag]


async def test_a_round_is_no_barrier(tmp_path: Path) -> None:
    """With a lag of 3, one slow call keeps its own round back and not the two after it."""

    def slow(draw: Draw) -> int:
        return 300 if (draw.stage, draw.round, draw.slot) == ("words", 1, 0) else 1

    made = await finished(tmp_path, turns=slow, target=150)
    answered = [draw.round for draw in made.desk.answered if draw.stage == "words"]
    before_the_slow_one = answered[: len(answered) - 1 - answered[::-1].index(1)]
    assert before_the_slow_one == [0] * 4 + [1] * 3 + [2] * 4 + [3] * 4


async def test_at_most_lag_rounds_are_under_way(tmp_path: Path) -> None:
    """The pool a round is shown has to exist, so no more than ``lag`` rounds of the first stage fly at once."""
    most = 0

    def count(request: Request) -> str:
        nonlocal most
        open_rounds = {d.round for d in made.desk.sent if d.stage == "words"}
        most = max(most, len([n for n in open_rounds if n >= made.words.screened]))
        return four_words(request)

    made: Bench = bench(tmp_path, count, lag=3, target=200, turns=shuffled(1))
    await made.runner.run()
    assert most == 3


# --- how much is started --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("target", "rounds"), [(1, 1), (16, 1), (17, 2), (48, 3), (100, 7)])
async def test_no_round_starts_that_the_yield_so_far_makes_unnecessary(
    tmp_path: Path, target: int, rounds: int
) -> None:
    """At 16 kept a round, a target costs exactly the rounds it needs, although 8 could fly at once."""
    made = await finished(tmp_path, four_new_words, target=target, lag=8)
    assert made.rounds_asked() == list(range(rounds))
    assert made.words.store.accepted == 16 * rounds
    assert made.runner.exhausted is False


async def test_a_first_round_that_yields_nothing_opens_the_whole_lag(tmp_path: Path) -> None:
    """With no yield to go by, all that may fly does."""

    def late(request: Request) -> str:
        return "" if request.draw.round == 0 else four_new_words(request)

    made = await finished(tmp_path, late, target=16, lag=4, chain=[Words()])
    assert made.rounds_asked() == [0, 1, 2, 3, 4]
    assert made.words.screened == 2


async def test_when_the_target_is_reached_queued_calls_are_withdrawn_and_flying_ones_come_home(tmp_path: Path) -> None:
    """A round turned out to be enough: nothing of the later ones leaves any more, nothing sent is cancelled."""

    def late(request: Request) -> str:
        return "" if request.draw.round == 0 else four_new_words(request)

    def slow(draw: Draw) -> int:
        return 100 if draw.round > 1 else 1

    made = await finished(tmp_path, late, target=16, lag=4, limit=6, turns=slow, chain=[Words()])
    assert len(made.desk.sent) == 8 + 6  # two rounds, and a call in each of the six slots when the second was screened
    assert sorted(map(str, made.desk.answered)) == sorted(map(str, made.desk.sent))
    assert made.words.screened == 2
    assert made.words.store.manifest.state == "complete"


async def test_a_round_of_the_next_stage_starts_as_soon_as_its_round_is_screened(tmp_path: Path) -> None:
    """Round 0 of the second stage is answered while round 1 of the first still flies."""

    def slow(draw: Draw) -> int:
        return 200 if draw.stage == "words" and draw.round else 1

    made = await finished(tmp_path, four_new_words, turns=slow, target=32, lag=1)
    order = list(dict.fromkeys((draw.stage, draw.round) for draw in made.desk.answered))
    assert order == [("words", 0), ("echoes", 0), ("words", 1), ("echoes", 1)]


async def test_in_step_keeps_the_first_stage_back_until_the_last_is_through(tmp_path: Path) -> None:
    """One round, one stage after the other: what a model with a prompt cache wants."""

    def slow(draw: Draw) -> int:
        return 50 if draw.stage == "echoes" else 1

    made = await finished(tmp_path, four_new_words, turns=slow, target=48, lag=1, in_step=True)
    order = [(draw.round, draw.stage) for draw in made.desk.sent]
    assert order == sorted(order, key=lambda place: (place[0], place[1] != "words"))


async def test_without_in_step_the_first_stage_runs_ahead_but_not_without_end(tmp_path: Path) -> None:
    """A slow last stage that has room for a round holds the first one back at ``lag`` + 16 more: memory is bounded."""
    ahead = 0

    def slow(draw: Draw) -> int:
        return 3000 if draw.stage == "echoes" else 1

    def watch(request: Request) -> str:
        nonlocal ahead
        ahead = max(ahead, made.words.next_round - made.stages[1].screened)
        return four_new_words(request)

    made: Bench = bench(tmp_path, watch, turns=slow, target=16 * 30, lag=2)
    await made.runner.run()
    assert ahead == 2 + 16 + 1


async def test_progress_is_told_after_every_screened_round(tmp_path: Path) -> None:
    """``screened`` is called once for each round of each stage."""
    told: list[tuple[int, int]] = []
    made: Bench = bench(
        tmp_path,
        four_new_words,
        target=32,
        screened=lambda made: told.append((made.words.screened, made.stages[1].screened)),
    )
    await made.runner.run()
    assert len(told) == 4
    assert told[-1] == (2, 2)


# --- how it ends ----------------------------------------------------------------------------------------------------


async def test_the_first_failure_lets_nothing_more_out(tmp_path: Path) -> None:
    """A wrong key costs the calls in flight, not one more, and the error itself is raised."""

    def denied(request: Request) -> AccessDenied:
        return AccessDenied(f"wrong key at {request.draw}")

    made: Bench = bench(tmp_path, denied, limit=3, turns=lambda draw: 5 + draw.slot)
    with pytest.raises(AccessDenied, match="wrong key at words/0/0/0/0"):
        await made.runner.run()
    assert len(made.desk.sent) == 3
    assert made.gate.closed is True
    assert made.words.screened == 0


async def test_a_failed_round_is_never_screened_and_earlier_rounds_stay(tmp_path: Path) -> None:
    """Rounds 0 to 3 are kept, 4 failed, 5 was answered and waits for the next start, 6 still comes home."""

    def fails_late(request: Request) -> str | Exception:
        if (request.draw.stage, request.draw.round, request.draw.slot) == ("words", 4, 1):
            return ConfigProblem("something is wrong")
        return four_new_words(request)

    def slow(draw: Draw) -> int:
        return {(4, 1): 400, (6, 0): 800}.get((draw.round, draw.slot), 2) if draw.stage == "words" else 2

    made: Bench = bench(tmp_path, fails_late, target=16 * 9, turns=slow)
    with pytest.raises(ConfigProblem, match="something is wrong"):
        await made.runner.run()
    assert made.words.screened == 4
    assert made.rounds_asked() == [0, 1, 2, 3, 4, 5, 6]
    assert sorted(map(str, made.desk.answered)) == sorted(map(str, made.desk.sent))
    assert sorted(p.name for p in (tmp_path / "words").glob("shard-*")) == ["shard-0.jsonl", "shard-1.jsonl"]
    assert made.words.store.manifest.state == "running"


async def test_a_failure_of_the_next_stage_stops_the_first_one_too(tmp_path: Path) -> None:
    """One gate for the whole chain."""

    def no_echo(request: Request) -> str | Exception:
        return AccessDenied("no") if request.draw.stage == "echoes" else four_new_words(request)

    made: Bench = bench(tmp_path, no_echo, target=16 * 9, limit=1)
    with pytest.raises(AccessDenied, match="no"):
        await made.runner.run()
    assert [draw.stage for draw in made.desk.sent].count("echoes") == 1
    assert made.stages[1].screened == 0


@pytest.mark.parametrize(
    ("method", "error"), [("add_round", OutputFailed("disk full")), ("upto", DamagedRun("a shard has become shorter"))]
)
async def test_a_disk_that_fails_is_a_failure_like_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, error: Exception
) -> None:
    """When a round is written or its pool is read: nothing more leaves, what is in flight comes home."""
    made: Bench = bench(tmp_path, four_new_words, target=16 * 9, lag=1, turns=shuffled(8))
    works = getattr(made.words.store, method)

    def fails_in_the_third_round(*args: Any) -> Any:
        if made.words.screened >= 2:
            raise error
        return works(*args)

    monkeypatch.setattr(made.words.store, method, fails_in_the_third_round)
    with pytest.raises(type(error), match=str(error)):
        await made.runner.run()
    assert made.words.screened == 2
    assert made.gate.closed is True
    assert sorted(map(str, made.desk.answered)) == sorted(map(str, made.desk.sent))


async def test_nothing_is_written_after_a_write_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rounds in flight come home and are left to the next start, which derives them from the ledger."""

    def slow(draw: Draw) -> int:
        return 50 if draw.round == 3 else 1

    made: Bench = bench(tmp_path, four_new_words, target=16 * 9, turns=slow, chain=[Words()])
    add_round = made.words.store.add_round

    def written_and_failed(jobs: Any) -> None:
        add_round(jobs)
        if made.words.screened == 3:
            raise OutputFailed("disk full")

    monkeypatch.setattr(made.words.store, "add_round", written_and_failed)
    with pytest.raises(OutputFailed):
        await made.runner.run()
    assert made.words.screened == 3
    assert [draw.round for draw in made.desk.answered][-JOBS:] == [3] * JOBS


async def test_a_bug_in_a_stage_ends_the_run_with_that_bug(tmp_path: Path) -> None:
    """An exception that is not one of ours is not swallowed, and the calls in flight still come home."""
    made: Bench = bench(tmp_path, lambda request: "", target=16, turns=shuffled(2))
    made.stages[0].models = {}
    with pytest.raises(KeyError, match="teacher"):
        await made.runner.run()
    assert made.gate.closed is True


async def test_a_refused_request_is_a_reject_and_the_run_goes_on(tmp_path: Path) -> None:
    """A verdict on one request is no failure of the run: it is kept with its reason, and counts as unusable."""

    def refuses_one(request: Request) -> str | Exception:
        if (request.draw.stage, request.draw.round, request.draw.slot) == ("words", 0, 2):
            return RequestRefused("this prompt is too long", status=400)
        return four_new_words(request)

    made = await finished(tmp_path, refuses_one, target=12, chain=[Words()])
    assert made.words.store.tally.rejects == {"request_refused": 1}
    assert made.words.store.tally.unusable == 1
    reject = Reject.model_validate_json((tmp_path / "words" / "rejects-0.jsonl").read_text())
    assert reject == Reject(
        id="words-0-2",
        provenance=Provenance(),
        stage="words",
        reason="request_refused",
        detail="this prompt is too long",
        unusable=True,
    )


@pytest.mark.parametrize(
    ("verdict", "reason"),
    [("refused", "request_refused"), ("unusable", "unusable_response"), ("skipped", "skipped")],
)
async def test_a_reject_says_who_gave_the_call_up_and_names_it(tmp_path: Path, verdict: Verdict, reason: str) -> None:
    """The server, the response gate after the last try, or a person."""

    def gives_one_up(request: Request) -> str | Exception:
        if request.draw.slot == 2:
            refusal = RequestRefused("never")
            refusal.call, refusal.verdict = "c0ffee", verdict
            return refusal
        return four_new_words(request)

    assert verdict in REFUSALS
    made = await finished(tmp_path, gives_one_up, target=12, chain=[Words()])
    assert made.words.store.tally.rejects == {reason: 1}
    reject = Reject.model_validate_json((tmp_path / "words" / "rejects-0.jsonl").read_text())
    assert (reject.reason, reject.provenance.calls, reject.detail) == (reason, ("c0ffee",), "never")


class ThreeRounds(Words):
    """Has nothing more to ask after three rounds."""

    def plan(self, round: int, inputs: Sequence[Any], accepted: Sequence[Word]) -> list[Job]:
        """`JOBS` jobs, three times."""
        return super().plan(round, inputs, accepted) if round < 3 else []


async def test_a_stage_with_no_more_to_ask_ends_the_run_below_its_target(tmp_path: Path) -> None:
    """An empty plan is the end, however far the target is: the chain runs to it and is complete."""
    made = await finished(tmp_path, four_new_words, target=10_000, chain=[ThreeRounds(), Echoes()])
    assert [run.store.manifest.rounds for run in made.runner.chain] == [3, 3]
    assert [run.store.manifest.state for run in made.runner.chain] == ["complete", "complete"]
    assert made.runner.exhausted is False


async def test_a_model_none_of_whose_answers_can_be_read_is_stopped(tmp_path: Path) -> None:
    """After the first 20 unreadable answers the run halts and says what was wrong with them."""
    made: Bench = bench(tmp_path, lambda request: "?", lag=1, chain=[Words()])
    with pytest.raises(ConfigProblem, match=r"words: none of the first 20 answers could be read \(garbled 20\)"):
        await made.runner.run()
    assert len(made.desk.sent) == GIVE_UP_AFTER == 20


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (
            RequestRefused("the prompt is too long for it"),
            "the last one: the prompt is too long for it; the server ref",
        ),
        ("?", r"\(garbled 20\); can this model follow the prompt\?"),
    ],
    ids=["refused", "garbled"],
)
async def test_what_to_do_about_answers_nobody_can_read_follows_from_the_last(
    answer: str | RequestRefused, told: str, tmp_path: Path
) -> None:
    """What the server says of a refused request is shown, and is not blamed on the model."""
    made: Bench = bench(tmp_path, lambda request: answer, lag=1, chain=[Words()])
    with pytest.raises(ConfigProblem, match=told):
        await made.runner.run()


class Twice(Words):
    """Asks again where an answer cannot be read, and keeps both as rejects: only the last one counts as unusable."""

    async def run(self, job: Job, models: Mapping[str, Model]) -> list[Record | Reject]:
        """Two answers."""
        [first] = await super().run(job, models)
        [second] = await super().run(job, models)
        return [first.model_copy(update={"id": job.id(0), "unusable": False}), second]


async def test_answers_that_were_asked_for_again_in_vain_count_as_unreadable_jobs(tmp_path: Path) -> None:
    """Two rejects a job, one of which says that nothing of it could be used: after 20 such jobs the run halts."""
    made: Bench = bench(tmp_path, lambda request: "?", lag=1, chain=[Twice()])
    with pytest.raises(ConfigProblem, match=r"words: none of the first 20 answers could be read \(garbled 40\)"):
        await made.runner.run()
    assert made.words.screened == GIVE_UP_AFTER // JOBS


async def test_one_answer_that_can_be_read_is_enough_to_go_on(tmp_path: Path) -> None:
    """Nineteen of twenty unreadable answers are bad luck or a bad model, which the exit code tells at the end."""

    def rarely(request: Request) -> str:
        return four_new_words(request) if request.draw.slot == 0 and request.draw.round % 5 == 4 else "?"

    made = await finished(tmp_path, rarely, target=8, chain=[Words()])
    assert made.words.store.accepted == 8
    assert made.words.store.tally.rejects == {"garbled": 38}


class Nothing(Unseen):
    """Drops all."""

    def check(self, record: Word) -> Drop | None:
        """Whatever it is."""
        return Drop("seen")


async def test_answers_that_could_be_read_count_even_where_filters_kept_nothing_of_them(tmp_path: Path) -> None:
    """One answer in four cannot be read: that is no wrong model, and the run goes on until it is exhausted."""

    def mostly(request: Request) -> str:
        return "?" if request.draw.slot == 1 else "up down"

    made: Bench = bench(tmp_path, mostly, chain=[Words()])
    made.words.filters = [Nothing()]
    await made.runner.run()
    assert (made.runner.exhausted, made.words.store.accepted) == (True, 0)
    assert made.words.store.tally.rejects == {"garbled": 72, "seen": 72 * 6}


async def test_a_run_without_new_candidates_is_exhausted(tmp_path: Path) -> None:
    """Four words, then only repeats: after 500 candidates the run ends below its target, and the next start at once."""

    def repeats(request: Request) -> str:
        return "north east south west"

    made = await finished(tmp_path, repeats, turns=shuffled(4))
    assert made.runner.exhausted is True
    assert (made.words.store.accepted, made.words.screened) == (4, 32)  # 32 rounds x 4 jobs x 4 words = 512
    assert [stage.store.manifest.state for stage in made.stages] == ["exhausted", "exhausted"]

    again = await finished(tmp_path, repeats, goes_on=False)
    assert again.runner.exhausted is True
    assert again.desk.sent == []


async def test_a_target_reached_in_the_exhausting_round_is_reached(tmp_path: Path) -> None:
    """Reaching the target wins over running dry."""

    def one_more(request: Request) -> str:
        return "up" if (request.draw.round, request.draw.slot) == (31, 3) else "north east south west"

    made = await finished(tmp_path, one_more, target=5)
    assert (made.runner.exhausted, made.words.screened) == (False, 32)
    assert [stage.store.manifest.state for stage in made.stages] == ["complete", "complete"]


async def test_a_gate_closed_from_outside_drains_the_run(tmp_path: Path) -> None:
    """A signal closes the gate: what is in flight comes home, the run says it was withdrawn, screened rounds stay."""
    made: Bench = bench(
        tmp_path,
        four_new_words,
        target=16 * 9,
        limit=2,
        turns=shuffled(6),
        screened=close_when(lambda made: made.words.screened >= 3),
    )
    with pytest.raises(Withdrawn, match="asked to stop"):
        await made.runner.run()
    assert made.words.screened == 3
    assert made.rounds_asked() == [0, 1, 2, 3]  # of round 3, two calls at most; the others were withdrawn
    assert sorted(map(str, made.desk.answered)) == sorted(map(str, made.desk.sent))


async def test_the_reason_a_gate_was_closed_for_is_what_the_run_ends_with(tmp_path: Path) -> None:
    """A signal, the deadline, a server that counts otherwise: the exit code is theirs."""
    reason = Interrupted("stopped", 2)

    def watch(made: Bench) -> None:
        if made.words.screened == 1:
            made.gate.close(reason)

    made: Bench = bench(tmp_path, four_new_words, target=16 * 9, screened=watch)
    with pytest.raises(Interrupted) as raised:
        await made.runner.run()
    assert raised.value is reason


async def test_a_failure_becomes_the_reason_of_the_gate(tmp_path: Path) -> None:
    """So that whoever else looks at the gate knows how patient to be; a bug of ours is no reason it could give."""
    denied = AccessDenied("wrong key")
    made: Bench = bench(tmp_path, lambda request: denied)
    with pytest.raises(AccessDenied):
        await made.runner.run()
    assert made.gate.reason is denied
    made = bench(tmp_path, lambda request: ZeroDivisionError("a bug"))
    with pytest.raises(ZeroDivisionError):
        await made.runner.run()
    assert (made.gate.closed, made.gate.reason) == (True, None)


async def test_calls_that_do_not_come_home_are_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the patience of a closed gate is over they are cancelled; what was screened stays, their round is not."""
    monkeypatch.setattr(gates, "DRAIN_SECONDS", 0.05)

    def never(draw: Draw) -> int:
        return 10**9 if (draw.round, draw.slot) == (2, 1) else 1

    def watch(made: Bench) -> None:
        if made.words.screened == 2:
            asyncio.get_running_loop().call_later(0.05, made.gate.close, Interrupted("stopped", 15))

    made: Bench = bench(tmp_path, four_new_words, target=16 * 9, turns=never, chain=[Words()], screened=watch)
    with pytest.raises(Interrupted):
        await made.runner.run()
    assert made.words.screened == 2
    missing = {(draw.round, draw.slot) for draw in made.desk.sent} - {(d.round, d.slot) for d in made.desk.answered}
    assert missing == {(2, 1)}


async def test_a_gate_closed_when_all_is_done_changes_nothing(tmp_path: Path) -> None:
    """A signal that comes with the last round finds a finished run."""
    made: Bench = bench(
        tmp_path,
        four_new_words,
        target=16,
        screened=close_when(lambda made: made.stages[1].done),
    )
    await made.runner.run()
    assert made.gate.closed is True
    assert made.stages[1].store.manifest.state == "complete"


async def test_what_a_person_has_to_mend_is_said_even_when_all_is_done(tmp_path: Path) -> None:
    """The last answer used more than its bound: every round is screened and kept, and the run ends with the problem."""
    problem = ConfigProblem("the server counts otherwise")

    def watch(made: Bench) -> None:
        if made.stages[1].done:
            made.gate.close(problem)

    made: Bench = bench(tmp_path, four_new_words, target=16, screened=watch)
    with pytest.raises(ConfigProblem) as raised:
        await made.runner.run()
    assert raised.value is problem
    assert [stage.store.manifest.state for stage in made.stages] == ["complete", "complete"]


# --- going on -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stop_after", [1, 2, 3, 4, 5])
async def test_a_run_cut_short_goes_on_to_the_same_bytes(tmp_path: Path, stop_after: int) -> None:
    """Stopped after any round, in the middle of a shard or at its end, the second start writes what one start does."""
    await finished(tmp_path / "whole", target=90)
    made: Bench = bench(
        tmp_path / "cut",
        target=90,
        turns=shuffled(stop_after),
        screened=close_when(lambda made: made.words.screened >= stop_after),
    )
    with pytest.raises(Withdrawn):
        await made.runner.run()
    await finished(tmp_path / "cut", target=90)
    assert files(tmp_path / "cut") == files(tmp_path / "whole")


@pytest.mark.parametrize("rounds", [1, 2, 3, 4])
async def test_an_extended_run_equals_a_direct_one(tmp_path: Path, rounds: int) -> None:
    """To some rounds and then to five is to five at once, whether or not the first run ended with a full shard."""
    await finished(tmp_path / "direct", four_new_words, target=16 * 5)
    early = await finished(tmp_path / "extended", four_new_words, target=16 * rounds)
    late = await finished(tmp_path / "extended", four_new_words, target=16 * 5)
    assert (early.words.screened, late.words.screened) == (rounds, 5)
    assert files(tmp_path / "extended") == files(tmp_path / "direct")


async def test_a_finished_chain_asks_nobody(tmp_path: Path) -> None:
    """The same target again is nothing to do."""
    await finished(tmp_path)
    before = files(tmp_path)
    made = await finished(tmp_path, goes_on=False)
    assert made.desk.sent == []
    assert files(tmp_path) == before


async def test_a_follower_left_behind_catches_up_alone(tmp_path: Path) -> None:
    """The first stage is complete, the second lost its shards: only the second is asked, and writes the same bytes."""
    await finished(tmp_path)
    before = files(tmp_path)
    for path in (tmp_path / "echoes").iterdir():
        path.unlink()
    made = await finished(tmp_path, goes_on=False)
    assert {draw.stage for draw in made.desk.sent} == {"echoes"}
    assert files(tmp_path) == before


async def test_a_round_without_a_single_survivor_feeds_an_empty_round(tmp_path: Path) -> None:
    """The next stage counts the round and has nothing to do in it, so both stay in step on disk."""

    def second_is_empty(request: Request) -> str:
        return "" if (request.draw.stage, request.draw.round) == ("words", 1) else four_new_words(request)

    made = await finished(tmp_path, second_is_empty, target=32)
    assert [stage.screened for stage in made.stages] == [3, 3]
    assert [len(made.stages[1].store.of_round(number)) for number in range(3)] == [16, 0, 16]


# --- a stage that waits ---------------------------------------------------------------------------------------------


async def test_a_stage_that_waits_reads_all_of_the_stage_before_once_that_is_through(tmp_path: Path) -> None:
    """Nothing of it leaves before the last root is screened; each of its rounds, numbered from 0, is shown them all."""
    gathered = Gathered()

    def slow(draw: Draw) -> int:
        return 300 if (draw.stage, draw.round, draw.slot) == ("roots", 1, 0) else 1

    made = await finished(tmp_path, turns=slow, chain=[Roots(), gathered, Echoes()])
    stages = [draw.stage for draw in made.desk.answered]
    assert stages[:10] == ["roots"] * 10
    assert made.desk.sent[10] == Draw(stage="words", round=0, slot=0)
    kept = [record.id for record in made.stages[0].store.upto(3)]
    assert gathered.read == {number: kept for number in range(made.words.screened)}
    assert 30 < len(kept) < 41


async def test_the_target_counts_the_stage_that_waits(tmp_path: Path) -> None:
    """The stage before it asks all it has, however few are wanted; those behind end with the round that is enough."""
    made = await finished(tmp_path, four_new_words, target=17, lag=8, chain=waiting_chain())
    assert [run.screened for run in made.stages] == [3, 2, 2]
    assert made.rounds_asked() == [0, 1]
    assert [run.store.manifest.state for run in made.stages] == ["complete"] * 3
    assert (made.words.store.accepted, made.stages[0].store.accepted) == (32, 40)
    assert (made.runner.through, made.runner.exhausted) == (False, False)


async def test_a_stage_that_waits_draws_from_its_own_pool_with_the_lag(tmp_path: Path) -> None:
    """As any first stage does: no more than ``lag`` rounds are under way, each shown the pool ``lag`` rounds before."""
    gathered = Gathered()
    made = await finished(tmp_path, lag=2, target=150, turns=shuffled(5), chain=[Roots(), gathered])
    kept = [record.id for record in made.words.store.upto(made.words.screened)]
    assert made.words.screened > 4
    for number, shown in gathered.shown.items():
        assert shown == [id for id in kept if int(id.split("-")[1]) <= number - 2]


async def test_a_stage_that_waits_for_nothing_is_through_at_once(tmp_path: Path) -> None:
    """Where no root was kept there is nothing to ask about: the chain is complete, and empty behind them."""
    made = await finished(tmp_path, lambda request: "", chain=waiting_chain())
    assert [run.screened for run in made.stages] == [3, 0, 0]
    assert [run.store.manifest.state for run in made.stages] == ["complete"] * 3
    assert {draw.stage for draw in made.desk.sent} == {"roots"}
    assert made.runner.through is True


async def test_a_counted_stage_without_more_to_ask_is_through(tmp_path: Path) -> None:
    """That is told apart from a target that was reached, and from a stage before it that came to its end."""
    short = await finished(tmp_path / "short", four_new_words, target=49, chain=[ThreeRounds(), Echoes()])
    enough = await finished(tmp_path / "enough", four_new_words, target=48, chain=[ThreeRounds(), Echoes()])
    assert (short.runner.through, enough.runner.through) == (True, False)


async def test_without_a_target_a_stage_asks_all_it_has(tmp_path: Path) -> None:
    """However little of it is new: nothing is exhausted, and no round is held back."""
    made = await finished(tmp_path, lambda request: "north", target=None, chain=[Roots(), Echoes()])
    assert [run.screened for run in made.stages] == [3, 3]
    assert (made.runner.through, made.runner.exhausted) == (True, False)
    assert made.stages[0].store.accepted == 1


async def test_a_failure_before_a_stage_that_waits_keeps_it_from_starting(tmp_path: Path) -> None:
    """What it would read is not whole."""

    def fails(request: Request) -> str | Exception:
        return AccessDenied("no") if request.draw.round == 2 else four_new_words(request)

    made: Bench = bench(tmp_path, fails, chain=waiting_chain())
    with pytest.raises(AccessDenied):
        await made.runner.run()
    assert {draw.stage for draw in made.desk.sent} == {"roots"}
    assert made.stages[0].store.manifest.state == "running"


@pytest.mark.parametrize(("stage", "rounds"), [(0, 1), (0, 2), (0, 3), (1, 1), (1, 2), (1, 3), (2, 1), (2, 3)], ids=str)
async def test_a_chain_that_waits_goes_on_to_the_same_bytes(tmp_path: Path, stage: int, rounds: int) -> None:
    """Stopped after any round of any stage, the second start writes what one start does."""
    await finished(tmp_path / "whole", target=90, chain=waiting_chain())
    made: Bench = bench(
        tmp_path / "cut",
        target=90,
        turns=shuffled(rounds),
        room=100,
        chain=waiting_chain(),
        screened=close_when(lambda made: made.stages[stage].screened >= rounds),
    )
    with pytest.raises(Withdrawn):
        await made.runner.run()
    assert files(tmp_path / "cut") != files(tmp_path / "whole")
    await finished(tmp_path / "cut", target=90, chain=waiting_chain(), turns=shuffled(9))
    assert files(tmp_path / "cut") == files(tmp_path / "whole")


@pytest.mark.parametrize("rounds", [1, 2, 3, 4])
async def test_an_extended_chain_that_waits_equals_a_direct_one(tmp_path: Path, rounds: int) -> None:
    """The roots are what they were, and nobody is asked for them again where they are left on disk."""
    await finished(tmp_path / "direct", four_new_words, target=16 * 5, chain=waiting_chain())
    early = await finished(tmp_path / "extended", four_new_words, target=16 * rounds, chain=waiting_chain())
    late: Bench = bench(tmp_path / "extended", four_new_words, target=16 * 5, chain=waiting_chain())
    late.stages[0] = _stage_run(late.stages[0].stage, tmp_path / "extended" / "roots", late.desk, goes_on=False)
    late.runner.chain = late.stages
    await late.runner.run()
    assert (early.words.screened, late.words.screened) == (rounds, 5)
    assert {draw.stage for draw in late.desk.sent} == {"words", "echoes"}
    assert files(tmp_path / "extended") == files(tmp_path / "direct")


async def test_a_finished_chain_that_waits_asks_nobody(tmp_path: Path) -> None:
    """The same target again is nothing to do."""
    await finished(tmp_path, chain=waiting_chain())
    before = files(tmp_path)
    made = await finished(tmp_path, goes_on=False, chain=waiting_chain())
    assert (made.desk.sent, files(tmp_path)) == ([], before)


async def test_only_the_part_of_the_chain_that_ran_dry_is_exhausted(tmp_path: Path) -> None:
    """The roots were all asked for; so they are when they are derived again behind the end of the others."""

    def repeats(request: Request) -> str:
        return "north east south west"

    made = await finished(tmp_path, repeats, chain=waiting_chain())
    assert made.runner.exhausted is True
    assert [run.store.manifest.state for run in made.stages] == ["complete", "exhausted", "exhausted"]
    before = files(tmp_path)
    for path in (tmp_path / "roots").iterdir():
        path.unlink()
    again = await finished(tmp_path, repeats, goes_on=False, chain=waiting_chain())
    assert {draw.stage for draw in again.desk.sent} == {"roots"}
    assert files(tmp_path) == before


# --- a stage that is fed --------------------------------------------------------------------------------------------


async def most_under_way(folder: Path, room: int, lag: int = 2) -> int:
    """How many rounds of 16 jobs a slow stage has under way at once, fed by a fast one."""
    most = 0

    def slow(draw: Draw) -> int:
        return 400 if draw.stage == "echoes" else 1

    def count(request: Request) -> str:
        nonlocal most
        most = max(most, len(made.stages[1].under_way))
        return four_new_words(request)

    made: Bench = bench(folder, count, target=16 * 12, lag=lag, limit=1000, turns=slow, room=room)
    await made.runner.run()
    assert [run.screened for run in made.stages] == [12, 12]
    return most


@pytest.mark.parametrize(("room", "rounds"), [(1, 1), (16, 1), (17, 2), (33, 3), (80, 5), (10_000, 12)])
async def test_a_fed_stage_starts_a_round_while_its_jobs_leave_room(tmp_path: Path, room: int, rounds: int) -> None:
    """A round is started while fewer jobs than ``room`` are under way, and whole; the lag has no say in it."""
    assert await most_under_way(tmp_path, room) == rounds


async def test_rounds_that_nothing_fed_take_no_room(tmp_path: Path) -> None:
    """They have no jobs, and yet they are rounds: the one behind them is not held back."""

    def often_empty(request: Request) -> str:
        empty = request.draw.stage == "words" and request.draw.round in (1, 2)
        return "" if empty else four_new_words(request)

    made = await finished(tmp_path, often_empty, target=48, room=1)
    assert [run.screened for run in made.stages] == [5, 5]
    assert [len(made.stages[1].store.of_round(number)) for number in range(5)] == [16, 0, 0, 16, 16]


async def test_a_fed_stage_is_screened_in_order_however_its_rounds_come_back(tmp_path: Path) -> None:
    """Its first round is the last to come home; the files have it first."""

    def slow(draw: Draw) -> int:
        return 500 - 100 * draw.round if draw.stage == "echoes" else 1

    made = await finished(tmp_path, four_new_words, target=64, limit=1000, turns=slow, room=10_000)
    answered = list(dict.fromkeys(draw.round for draw in made.desk.answered if draw.stage == "echoes"))
    assert answered == [3, 2, 1, 0]
    ids = [record.id for record in made.stages[1].store.upto(4)]
    assert ids == [f"echoes-{number}-{slot}-0" for number in range(4) for slot in range(16)]
