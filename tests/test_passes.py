"""Local models one after the other: each is loaded once, and the run finds its answers in the ledger."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import groupby, pairwise
from pathlib import Path
from random import Random
from typing import Any, cast
from zlib import crc32

import pytest

from selfinstruct import call_path
from selfinstruct.admission.seats import Seats
from selfinstruct.config import Settings
from selfinstruct.errors import (
    AccessDenied,
    ConfigProblem,
    DamagedRun,
    Interrupted,
    ModelError,
    OutputFailed,
    RequestRefused,
    SelfinstructError,
)
from selfinstruct.feedback_schema import SampledInstruction, SourcedInstruction
from selfinstruct.filters.numbered import Numbered
from selfinstruct.instruction_file import Brought
from selfinstruct.ledger import Ledger
from selfinstruct.models.opening import Opened
from selfinstruct.models.vllm_server import VllmModel
from selfinstruct.passes import Passes, needed
from selfinstruct.protocols import Model
from selfinstruct.runner import Runner, StageRun
from selfinstruct.sampling_design import Balanced
from selfinstruct.schema import Completion, Endpoint, Request, Sampling
from selfinstruct.stages.brought import Instructions
from selfinstruct.stages.sample import Samples, Wording
from selfinstruct.store import StageStore
from tests.models.scripted import Script, Scripted, answer, without_naps
from tests.stages.feedback_parts import shipped

NAMES = ("ash", "birch", "cedar", "elm", "fir", "gum")
INSTRUCTIONS = 22


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """An idle model leaves at once, and no test waits."""
    without_naps(monkeypatch)
    monkeypatch.setattr(call_path, "Seats", partial(Seats, linger=0.0))


class Guest:
    """A model that has to be loaded; tells ``log`` when it comes and goes."""

    def __init__(self, name: str, log: list[str], problem: SelfinstructError | None) -> None:
        self._name, self._log, self._problem = name, log, problem

    async def arrive(self, place: int) -> None:
        """Come after a while, or say why not."""
        await asyncio.sleep(0)
        self._log.append(f"+{self._name}")
        if self._problem is not None:
            raise self._problem

    async def depart(self) -> None:
        """Go after a while."""
        await asyncio.sleep(0)
        self._log.append(f"-{self._name}")


class World:
    """One start of a run of six models, local but for ``remote``, over the ledger in ``place``.

    ``scripts`` are what models say otherwise, ``broken`` why some do not start. ``log`` has "+ash" for a model that
    comes, "-ash" for one that goes, "ash" for each call it was sent.
    """

    def __init__(
        self,
        place: Path,
        *,
        scripts: Mapping[str, Script] | None = None,
        broken: Mapping[str, SelfinstructError] | None = None,
        remote: Sequence[str] = (),
        places: int = 1,
    ) -> None:
        self.place, self.places = place, places
        self.log: list[str] = []
        self.models: dict[str, Scripted] = {}
        self.opened: dict[str, Opened] = {}
        for name in NAMES:
            model = self.models[name] = Scripted((scripts or {}).get(name, partial(speaks, name)))
            model.on_send = lambda request, name=name: self.log.append(name)  # type: ignore[misc]
            guest = None if name in remote else Guest(name, self.log, (broken or {}).get(name))
            endpoint = Endpoint(identity=f"vllm:{name}@1", model=name)
            self.opened[f"assistant/{name}"] = Opened(model, endpoint, "completion", 2, cast(VllmModel | None, guest))
        judge = Guest("judge", self.log, None)
        self.opened["judge"] = Opened(Scripted(), Endpoint(identity="j", model="j"), "chat", 2, cast(VllmModel, judge))

    def stage(self) -> Samples:
        """Four of the six, by a balanced design."""
        return Samples(
            design=Balanced(NAMES, 4, 42),
            wording=lambda source, rng: Wording("honesty", f"wording {Random(rng.random()).randrange(1000)}"),
            prompt_file=shipped("sample/en/answer"),
            renderings=dict.fromkeys(NAMES, "completion"),
            sampling=Sampling(max_tokens=10),
            models=4,
            resamples=1,
            seed=42,
        )

    async def run(
        self, *, go_on: bool = True, from_round: int = 0, during: Callable[[call_path.CallPath], None] = lambda _: None
    ) -> list[SampledInstruction]:
        """Instructions, passes and, if it is to go on, the run itself, as `launch` does it; the records of that."""
        with Ledger(self.place / "ledger.sqlite3", sync=False) as ledger:
            gpus = tuple(str(number) for number in range(self.places))
            path = call_path.build_roles(self.opened, ledger, Settings(gpus=gpus), lambda completion: None)
            during(path)
            folder = self.place / f"start-{len(list(self.place.iterdir()))}"
            for name in ("instructions", "sample"):
                (folder / name).mkdir(parents=True)
            chain = [
                StageRun(
                    Instructions([Brought(f"Tell {n}.", "x", f"in:{n}") for n in range(INSTRUCTIONS)], "en", 4),
                    [Numbered()],
                    StageStore(folder / "instructions", SourcedInstruction, 8),
                    path.models,
                ),
                StageRun(self.stage(), [], StageStore(folder / "sample", SampledInstruction, 8), path.models),
            ]
            runner = partial(Runner, gate=path.gate, target=INSTRUCTIONS, lag=4, in_step=False, screened=lambda: None)
            try:
                await runner(chain[:1]).run()
                chain[0].last_round = None  # the whole chain finds its end itself
                stage = cast(Samples, chain[1].stage)
                passes = Passes(stage, chain[0].store, path.models, self.opened, self.places, path.gate)
                await passes.run(from_round)
                self.log.append("|")
                if go_on:
                    await runner(chain).run()
            finally:
                await path.aclose()
            return list(chain[1].store.upto(chain[1].store.rounds))

    def asked(self) -> Counter[str]:
        """How often each model was asked."""
        return Counter({name: len(model.asked) for name, model in self.models.items()})

    @property
    def meant(self) -> Counter[str]:
        """How often the design asks each."""
        design = Balanced(NAMES, 4, 42)
        return Counter(name for place in range(INSTRUCTIONS) for name in design.order(place)[:4])


def speaks(name: str, request: Request, n: int) -> Completion:
    """An answer that tells who was asked what."""
    return answer(f"{name}: {request.draw}")


def loads(log: Sequence[str]) -> list[str]:
    """Who came, in order."""
    return [event[1:] for event in log if event.startswith("+")]


async def test_each_model_is_loaded_once_and_asked_all_there_is_for_it(tmp_path: Path) -> None:
    """One after the other, in the pool's order; then the run finds every answer and loads nobody."""
    world = World(tmp_path)
    records = await world.run()
    passes, _, after = " ".join(world.log).partition("|")
    runs = [(name, len(list(group))) for name, group in groupby(passes.split()) if name in NAMES]
    assert runs == [(name, world.meant[name]) for name in NAMES]
    assert loads(world.log) == list(NAMES)
    assert [event for event in after.split() if not event.startswith("-")] == []
    assert len(records) == INSTRUCTIONS
    for record in records:
        names = Balanced(NAMES, 4, 42).order(record.place)[:4]
        _, round, slot, _ = record.id.split("-")
        assert [one.response for one in record.completions] == [
            f"{name}: sample/{round}/{slot}/{seat}/0" for seat, name in enumerate(names)
        ]
        assert record.replaced == ()


async def test_records_do_not_depend_on_passes(tmp_path: Path) -> None:
    """The same as where all models are at hand, byte for byte."""
    for name in ("local", "remote"):
        (tmp_path / name).mkdir()
    one = await World(tmp_path / "local").run()
    other = await World(tmp_path / "remote", remote=NAMES).run()
    assert [record.model_dump_json() for record in one] == [record.model_dump_json() for record in other]


async def test_two_places_work_side_by_side(tmp_path: Path) -> None:
    """Never more than two are there, at times both are asked, and each still comes once."""
    world = World(tmp_path, places=2)
    await world.run()
    there: set[str] = set()
    most = 0
    calls = [event for event in world.log if event in NAMES]
    for event in world.log:
        if event.startswith("+"):
            there.add(event[1:])
        elif event.startswith("-"):
            there.discard(event[1:])
        elif event != "|":
            assert event in there
        most = max(most, len(there))
    alternations = sum(a != b for a, b in pairwise(calls))
    assert most == 2
    assert sorted(loads(world.log)) == sorted(NAMES)
    assert alternations > len(NAMES)
    assert world.asked() == world.meant


async def test_a_model_that_does_not_start_is_passed_over_and_replaced_by_the_run(tmp_path: Path) -> None:
    """It is tried once; the others are asked all the same, those that take its seats too, before the run goes on."""
    problem = ConfigProblem("birch: out of memory")
    world = World(tmp_path, broken={"birch": problem})
    records = await world.run()
    assert world.log.count("+birch") == 1 and world.asked()["birch"] == 0
    passes = world.log[: world.log.index("|")]
    taken = Counter(one.model for record in records for one in record.completions)
    assert Counter(event for event in passes if event in NAMES) == taken
    assert all(loads(world.log).count(name) <= 2 for name in NAMES), "once, and once more for those it stands in for"
    meant = [record for record in records if "birch" in Balanced(NAMES, 4, 42).order(record.place)[:4]]
    assert len(records) == INSTRUCTIONS and len(meant) == world.meant["birch"] > 0
    for record in records:
        order = Balanced(NAMES, 4, 42).order(record.place)
        names = [order[4] if name == "birch" else name for name in order[:4]]
        assert [one.model for one in record.completions] == names
        assert [one.model for one in record.replaced] == (["birch"] if record in meant else [])
    with Ledger(tmp_path / "ledger.sqlite3", sync=False) as ledger:
        states = Counter(call.state for call in ledger.rows.calls())
    assert states == {"settled": 4 * INSTRUCTIONS, "replaced": len(meant)}


async def test_empty_answers_cost_a_load_a_wave_and_not_one_each(tmp_path: Path) -> None:
    """One answer in ten is empty: the seats are given away wave by wave, and nothing is loaded after the passes."""

    def some(name: str, request: Request, n: int) -> Completion:
        place = f"{name}{request.draw.round}/{request.draw.slot}/{request.draw.step}"
        return answer("" if crc32(place.encode()) % 10 == 0 else f"{name}: {request.draw}")

    world = World(tmp_path, scripts={name: partial(some, name) for name in NAMES})
    records = await world.run()
    replaced = [len(record.replaced) for record in records]
    assert 3 < sum(map(bool, replaced)) < len(records)
    behind = world.log[world.log.index("|") :]
    assert [event for event in behind if event.startswith("+")] == []
    assert max(Counter(loads(world.log)).values()) <= 1 + max(replaced)


async def test_a_model_that_is_replaced_stays_so_when_it_starts_the_next_time(tmp_path: Path) -> None:
    """What was decided is on record: the same bytes, and nobody is asked or loaded again."""
    first = await World(tmp_path, broken={"birch": ModelError("birch: out of memory")}).run()
    again = World(tmp_path)
    second = await again.run()
    assert [record.model_dump_json() for record in second] == [record.model_dump_json() for record in first]
    assert (loads(again.log), again.asked().total()) == ([], 0)


async def test_a_resumed_run_asks_nothing_twice(tmp_path: Path) -> None:
    """Stopped in the middle of the third model: what was answered is not asked again, and the rest is."""
    whole = tmp_path / "whole"
    whole.mkdir()
    expected = await World(whole).run()
    (tmp_path / "stopped").mkdir()
    seen: list[call_path.CallPath] = []

    def stops(request: Request, n: int) -> Completion:
        if n == 5:
            seen[0].gate.close(Interrupted("stopped", 15))
        return speaks("cedar", request, n)

    first = World(tmp_path / "stopped", scripts={"cedar": stops})
    with pytest.raises(Interrupted, match="stopped"):
        await first.run(during=seen.append)
    asked = first.asked()
    assert asked["ash"] == first.meant["ash"] and asked["birch"] == first.meant["birch"]
    assert 6 <= asked["cedar"] <= 8 and asked["elm"] == asked["fir"] == asked["gum"] == 0
    second = World(tmp_path / "stopped")
    records = await second.run()
    assert [record.model_dump_json() for record in records] == [record.model_dump_json() for record in expected]
    assert first.asked() + second.asked() == first.meant
    assert loads(second.log) == ["cedar", "elm", "fir", "gum"]


async def test_the_closing_of_the_gate_drains(tmp_path: Path) -> None:
    """What is in flight comes home and is recorded, no model is loaded any more, and nothing hangs."""
    seen: list[call_path.CallPath] = []

    def stops(request: Request, n: int) -> Completion:
        seen[0].gate.close()
        return speaks("ash", request, n)

    world = World(tmp_path, scripts={"ash": stops})
    await asyncio.wait_for(world.run(go_on=False, during=seen.append), 20)
    assert loads(world.log) == ["ash"]
    with Ledger(tmp_path / "ledger.sqlite3", sync=False) as ledger:
        assert ledger.rows.attempts("settled") == world.asked().total() >= 1
        assert ledger.rows.attempts("ambiguous") == 0


class Failing:
    """A model whose seventh call fails before it is sent."""

    def __init__(self, inner: Model, error: SelfinstructError) -> None:
        self.calls = 0
        self._inner, self._error = inner, error

    async def complete(self, request: Request) -> Completion:
        """The answer of the model inside."""
        self.calls += 1
        if self.calls == 7:
            raise self._error
        return await self._inner.complete(request)

    async def aclose(self) -> None:
        """Close the model inside."""
        await self._inner.aclose()


@pytest.mark.parametrize("error", [AccessDenied("no key"), DamagedRun("other bytes"), OutputFailed("disk full")])
async def test_what_stops_a_run_stops_the_passes_at_once(tmp_path: Path, error: SelfinstructError) -> None:
    """Nobody begins another call, which may cost: neither this model nor the next; what is in flight comes home."""
    failing: list[Failing] = []

    def wrap(path: call_path.CallPath) -> None:
        models = cast(dict[str, Any], path.models)
        failing.append(Failing(models["assistant/birch"], error))
        models["assistant/birch"] = failing[0]

    world = World(tmp_path)
    with pytest.raises(type(error), match=str(error)):
        await world.run(during=wrap)
    assert loads(world.log) == ["ash", "birch"]
    assert failing[0].calls <= 10 < world.meant["birch"]


async def test_verdicts_and_empty_answers_of_a_pass_are_those_of_the_run(tmp_path: Path) -> None:
    """An empty answer is asked again in the pass, a refusal is on record; the run asks for neither again."""

    def refuses(request: Request, n: int) -> Completion:
        if request.draw.slot == 1:
            raise RequestRefused("too long")
        return answer("" if request.draw.k == 0 else "second")

    world = World(tmp_path, scripts={"birch": refuses})
    records = await world.run()
    calls = Counter(str(request.draw) for model in world.models.values() for request in model.asked)
    assert len(records) == INSTRUCTIONS
    birch = [str(request.draw) for request in world.models["birch"].asked]
    assert len(birch) == len(set(birch))
    for record in records:
        meant = "birch" in Balanced(NAMES, 4, 42).order(record.place)[:4]
        refused = meant and record.id.split("-")[2] == "1"
        assert [(one.model, one.reason) for one in record.replaced] == ([("birch", "request_refused")] * refused)
        assert [one.response for one in record.completions if one.model == "birch"] == ["second"] * (meant - refused)
    assert max(calls.values()) <= 2  # a seat that was given away is asked of another model by the same draw


async def test_models_elsewhere_are_asked_beside_the_passes_and_the_judge_is_not(tmp_path: Path) -> None:
    """They wait for no place; who has to stand in for whom is known only when all have been asked."""
    world = World(tmp_path, remote=("ash", "elm"))
    await world.run()
    passes = world.log[: world.log.index("|")]
    assert {event for event in passes if event in NAMES} == set(NAMES)
    assert [name for name in ("ash", "elm", "judge") if f"+{name}" in world.log] == []
    assert world.asked() == world.meant


@pytest.mark.parametrize("from_round", [0, 2, 5, 6])
async def test_rounds_that_are_through_have_no_pass(tmp_path: Path, from_round: int) -> None:
    """What is on disk is not looked up again; a model without anything to do is not loaded."""
    world = World(tmp_path)
    await world.run(go_on=False, from_round=from_round)
    design = Balanced(NAMES, 4, 42)
    expected = Counter(name for place in range(4 * from_round, INSTRUCTIONS) for name in design.order(place)[:4])
    assert +world.asked() == expected
    assert loads(world.log) == [name for name in NAMES if expected[name]]


def of_guests(**guests: Any) -> dict[str, Opened]:
    """Models of a pool, and a judge, by who has to be loaded for them."""
    roles = {name if name == "judge" else f"assistant/{name}": guest for name, guest in guests.items()}
    endpoint = Endpoint(identity="x", model="x")
    return {role: Opened(Scripted(), endpoint, "chat", 1, guest) for role, guest in roles.items()}


A, B, C = object(), object(), object()


@pytest.mark.parametrize(
    ("guests", "places", "expected"),
    [
        ({"ash": A, "elm": B, "judge": C}, 1, True),
        ({"ash": A, "elm": B, "judge": C}, 2, True),
        ({"ash": A, "elm": B, "judge": C}, 3, False),
        ({"ash": A, "elm": B, "judge": None}, 2, False),
        ({"ash": A, "elm": None, "judge": B}, 1, True),
        ({"ash": A, "elm": None, "judge": None}, 1, False),
        ({"ash": A, "elm": None, "judge": A}, 1, False),
        ({"ash": None, "elm": None, "judge": A}, 1, False),
    ],
)
def test_passes_are_needed_where_local_models_outnumber_the_places(
    guests: dict[str, Any], places: int, expected: bool
) -> None:
    """The judge needs a place, too; one that plays two roles needs one; a pool of models elsewhere has no passes."""
    assert needed(of_guests(**guests), places) is expected
