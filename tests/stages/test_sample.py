"""Several models answer an instruction: who is asked, what they are told, and who takes an empty seat."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfinstruct.errors import (
    AccessDenied,
    CapReached,
    ConfigProblem,
    MaybeExecuted,
    ModelError,
    NotSent,
    RequestRefused,
    SelfinstructError,
    UnknownModel,
    Verdict,
    Withdrawn,
)
from selfinstruct.feedback_schema import Replaced, Sample, SampledInstruction, SourcedInstruction
from selfinstruct.schema import Completion, Message, Record, Reject, Rendering, Sampling
from selfinstruct.stages.sample import Samples, Wording
from tests.stages.feedback_parts import BEFORE, HISTORY, Said, Voice, job, kept, shipped, shown, sourced

NAMES = ("ash", "birch", "cedar", "elm", "fir", "gum")


class Row:
    """A design in which the models stand in one order everywhere."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = tuple(names)

    def order(self, place: int) -> tuple[str, ...]:
        """That order."""
        return self._names


def worded(source: str, rng: Random) -> Wording:
    """One of a million wordings, with the source in it."""
    return Wording("honesty", f"{source} {rng.randrange(10**6)}")


def stage(**changes: Any) -> Samples:
    """Four of six models by chat, each empty answer asked for once more."""
    made: dict[str, Any] = {
        "design": Row(NAMES),
        "wording": worded,
        "prompt_file": shipped("sample/en/answer"),
        "renderings": dict.fromkeys(NAMES, "chat"),
        "sampling": Sampling(temperature=1.0, max_tokens=77),
        "models": 4,
        "resamples": 1,
        "seed": 42,
    }
    return Samples(**{**made, **changes})


def voices(**said: Said | Sequence[Said]) -> dict[str, Voice]:
    """The six models; those that are named say what is given."""
    return {
        name: Voice(name, *([one] if isinstance(one := said.get(name, ()), str | Completion | Exception) else one))
        for name in NAMES
    }


async def asked(by: Samples, pool: dict[str, Voice], record: SourcedInstruction | None = None) -> list[Record | Reject]:
    """What comes of an instruction."""
    return await by.run(job("sample", record or sourced()), {f"assistant/{name}": one for name, one in pool.items()})


async def made(by: Samples, pool: dict[str, Voice], record: SourcedInstruction | None = None) -> SampledInstruction:
    """The record that comes of it, and nothing beside it."""
    (one,) = await asked(by, pool, record)
    assert isinstance(one, SampledInstruction), one
    return one


def models(record: SampledInstruction) -> list[str]:
    """Who answered, seat by seat."""
    return [one.model for one in record.completions]


def draws(voice: Voice) -> list[str]:
    """The draws that a model was asked."""
    return [str(request.draw) for request in voice.asked]


# --- what a record is made of ---------------------------------------------------------------------------------------


async def test_the_first_four_of_the_design_answer_and_nobody_else_is_asked() -> None:
    """Each at a seat of its own, once; the record keeps all that was known of the instruction."""
    by, pool = stage(), voices()
    before = sourced(history=HISTORY[1:], correct_answers=("pine",), incorrect_answers=("iron",))
    record = await made(by, pool, before)
    assert models(record) == ["ash", "birch", "cedar", "elm"]
    assert {name: draws(one) for name, one in pool.items()} == {
        "ash": ["sample/4/2/0/0"],
        "birch": ["sample/4/2/1/0"],
        "cedar": ["sample/4/2/2/0"],
        "elm": ["sample/4/2/3/0"],
        "fir": [],
        "gum": [],
    }
    assert {request.sampling for one in pool.values() for request in one.asked} == {by.sampling}
    told = {name: getattr(record, name) for name in SourcedInstruction.model_fields if name not in ("id", "provenance")}
    assert told == {name: getattr(before, name) for name in told}
    assert (record.id, record.replaced) == ("sample-4-2-0", ())
    assert record.provenance == BEFORE.then(by.prompt_file.ref).model_copy(
        update={
            "models": ("old", "ash", "birch", "cedar", "elm"),
            "calls": ("c0", "ash-0.0", "birch-1.0", "cedar-2.0", "elm-3.0"),
        }
    )


async def test_a_completion_says_by_whom_it_is_and_what_that_was_told() -> None:
    """Model, principle, wording and text."""
    pool = voices(ash=" Pine does. ")
    record = await made(stage(), pool)
    wording = (pool["ash"].asked[0].messages or ())[0].content
    assert record.completions[0] == Sample(
        model="ash", principle="honesty", custom_system_prompt=wording, response="Pine does.", flags=()
    )


def test_every_instruction_of_a_round_is_a_job() -> None:
    """In their order."""
    records = [sourced(slot=0), sourced(slot=1)]
    assert [(one.round, one.slot, one.material) for one in stage().plan(3, records, ())] == [
        (3, 0, records[0]),
        (3, 1, records[1]),
    ]
    assert stage().plan(3, [], ()) == []


# --- what a model is told ---------------------------------------------------------------------------------------------


def wordings(by: Samples, record: SourcedInstruction) -> list[str]:
    """What each seat is told."""
    return [(by.prompt(job("sample", record), seat).messages or ())[0].content for seat in range(4)]


def test_the_wording_is_drawn_anew_for_each_seat_instruction_and_seed() -> None:
    """And is the same whenever it is asked for."""
    first = wordings(stage(), sourced())
    assert wordings(stage(), sourced()) == first
    others = [wordings(stage(), sourced(slot=3)), wordings(stage(seed=43), sourced()), first]
    assert len({text for texts in others for text in texts}) == 12
    assert {text.split()[0] for text in first} == {"sharegpt"}


async def test_a_principle_stays_with_the_seat_when_another_model_takes_it() -> None:
    """Who is next is told what the one before was told."""
    by, pool = stage(), voices(birch=RequestRefused("no"), cedar=["", ""])
    record = await made(by, pool)
    assert models(record) == ["ash", "fir", "gum", "elm"]
    texts = wordings(by, sourced())
    assert [one.custom_system_prompt for one in record.completions] == texts
    told = {name: {shown(request)[0] for request in one.asked} for name, one in pool.items()}
    assert told["fir"] == told["birch"] == {f"system: {texts[1]}"}
    assert told["gum"] == told["cedar"] == {f"system: {texts[2]}"}


def test_a_system_message_of_the_history_comes_before_the_principle() -> None:
    """In one message, the first; the rest of the history stands between it and the instruction."""
    by = stage(wording=lambda source, rng: Wording("honesty", "Be honest."))
    assert shown(by.prompt(job("sample", sourced(history=HISTORY)))) == [
        "system: You sell boats.\n\nBe honest.",
        "user: Is oak heavy?",
        "assistant: Heavier than pine.",
        "user: Which wood floats?",
    ]


@pytest.mark.parametrize(("history", "expected"), [(HISTORY[:1], ["system: You sell boats."]), ((), [])])
def test_without_a_principle_nothing_is_added(history: tuple[Message, ...], expected: list[str]) -> None:
    """No system message, but for the history's own."""
    by = stage(wording=lambda source, rng: Wording(None, ""))
    request = by.prompt(job("sample", sourced(history=history)))
    assert shown(request) == [*expected, "user: Which wood floats?"]


async def test_a_pool_may_mix_models_that_answer_and_models_that_continue() -> None:
    """Each is asked its own way, about the same; a base model's transcript ends with its first turn."""
    renderings: dict[str, Rendering] = {**dict.fromkeys(NAMES, "chat"), "birch": "completion"}
    by = stage(renderings=renderings, wording=lambda source, rng: Wording("honesty", "Be honest."))
    going_on = " Pine.\nIt is light.\n\nUser: And iron?\nAssistant: No."
    pool = voices(ash="A scene:\nUser: hello", birch=going_on)
    record = await made(by, pool, sourced(history=HISTORY))
    assert [one.response for one in record.completions[:2]] == ["A scene:\nUser: hello", "Pine.\nIt is light."]
    (request,) = pool["birch"].asked
    assert (request.messages, request.stop) == (None, ("\n\n\n\n", "\nUser:", "\nAssistant:"))
    prompt = request.prompt or ""
    parts = [
        "You sell boats.\n\nBe honest.",
        "User: Is oak heavy?",
        "Assistant: Heavier than pine.",
        "User: Which wood",
    ]
    places = [prompt.index(part) for part in parts]
    assert places == sorted(places) and prompt.endswith("Assistant:")
    assert pool["ash"].asked[0].stop == ("\n\n\n\n",)


async def test_a_seat_that_another_kind_of_model_takes_is_asked_in_that_ones_way() -> None:
    """The rendering is the model's, not the seat's."""
    renderings: dict[str, Rendering] = {**dict.fromkeys(NAMES, "chat"), "fir": "completion"}
    pool = voices(ash=RequestRefused("no"))
    record = await made(stage(renderings=renderings), pool)
    assert models(record)[0] == "fir"
    assert (pool["fir"].asked[0].messages, str(pool["fir"].asked[0].draw)) == (None, "sample/4/2/0/0")


# --- what becomes of an answer ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("rendering", ["chat", "completion"])
@pytest.mark.parametrize(
    ("text", "kept_text"),
    [
        ("One.\n\n\n\nTwo.", "One."),
        ("\n\n\n\n\n One. \n\n\n\n\n\n", "One."),
        ("One.\n\n\nTwo.", "One.\n\n\nTwo."),
        ("One. \n\n\n\nTwo.\n\n\n\nThree.", "One."),
    ],
)
def test_a_text_ends_at_four_line_ends(text: str, kept_text: str, rendering: Rendering) -> None:
    """As the published data is cut, and not at three."""
    assert stage().parse(Completion(text=text, finish_reason="stop"), rendering) == kept_text


async def test_truncations_and_refusals_are_kept_and_flagged() -> None:
    """They are what the model said; whoever trains decides."""
    declines = "I'm sorry, but I cannot help with that."
    pool = voices(
        ash=Completion(text="Pine, and", finish_reason="length"),
        birch=declines,
        cedar=Completion(text=declines, finish_reason="length"),
    )
    record = await made(stage(), pool)
    assert [one.flags for one in record.completions] == [("truncated",), ("refusal",), ("truncated", "refusal"), ()]
    assert record.replaced == ()


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("", "empty"),
        ("  \n", "empty"),
        ("\n\n\n\n\n\n", "empty"),
        (Completion(text="Pi", finish_reason="content_filter"), "content_filter"),
        (Completion(text="", finish_reason="refusal"), "refusal"),
        (Completion(text="", finish_reason="length", reasoning="let me see"), "thinking_cut"),
    ],
)
@pytest.mark.parametrize("resamples", [0, 2])
async def test_an_empty_or_withheld_answer_is_asked_for_again_and_then_another_model(
    said: Said, reason: str, resamples: int
) -> None:
    """As often as ``resamples`` says, each a draw of its own; the reason is the last answer's."""
    pool = voices(birch=said)
    record = await made(stage(resamples=resamples), pool)
    assert draws(pool["birch"]) == [f"sample/4/2/1/{k}" for k in range(1 + resamples)]
    assert draws(pool["fir"]) == ["sample/4/2/1/0"]
    assert (models(record), record.replaced) == (
        ["ash", "fir", "cedar", "elm"],
        (Replaced(model="birch", reason=reason),),
    )
    assert pool["birch"].forgone == []


async def test_a_second_answer_that_says_something_is_taken() -> None:
    """Both calls are in the record's descent."""
    record = await made(stage(), voices(birch=["", "Pine."]))
    assert (record.completions[1].response, record.replaced) == ("Pine.", ())
    assert record.provenance.calls == ("c0", "ash-0.0", "birch-1.0", "birch-1.1", "cedar-2.0", "elm-3.0")


# --- who takes an empty seat ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verdict", "reason"),
    [
        ("refused", "request_refused"),
        ("unusable", "unusable_response"),
        ("skipped", "skipped"),
        ("replaced", "down"),
    ],
)
async def test_a_verdict_on_a_call_gives_its_seat_to_the_next(verdict: Verdict, reason: str) -> None:
    """It is not asked again, and nothing is forgone: the ledger knows already."""
    refusal = RequestRefused("too long")
    refusal.verdict = verdict
    pool = voices(cedar=refusal)
    record = await made(stage(), pool)
    assert (models(record), record.replaced) == (
        ["ash", "birch", "fir", "elm"],
        (Replaced(model="cedar", reason=reason),),
    )
    assert (len(pool["cedar"].asked), pool["cedar"].forgone) == (1, [])


@pytest.mark.parametrize(
    "error", [ModelError("gone"), NotSent("gone"), MaybeExecuted("gone"), ConfigProblem("gone"), UnknownModel("gone")]
)
async def test_a_model_that_is_away_is_replaced_and_its_call_forgone(error: SelfinstructError) -> None:
    """The very call that could not be asked, for the reason it could not."""
    pool = voices(birch=error)
    record = await made(stage(), pool)
    assert (models(record), record.replaced) == (
        ["ash", "fir", "cedar", "elm"],
        (Replaced(model="birch", reason="down"),),
    )
    assert pool["birch"].forgone == [(pool["birch"].asked[0], "gone")]


async def test_a_model_that_goes_away_after_an_empty_answer_forgoes_its_second_call() -> None:
    """The first has its answer."""
    pool = voices(birch=["", ModelError("gone")])
    record = await made(stage(), pool)
    assert record.replaced == (Replaced(model="birch", reason="down"),)
    assert [str(request.draw) for request, _ in pool["birch"].forgone] == ["sample/4/2/1/1"]


async def test_a_model_that_knows_nothing_of_replacement_is_replaced_all_the_same() -> None:
    """Nothing is recorded where nobody keeps records."""

    class Gone:
        async def complete(self, request: object) -> Completion:
            raise ModelError("gone")

        async def aclose(self) -> None:
            """Nothing."""

    pool: dict[str, Any] = {**voices(), "ash": Gone()}
    assert models(await made(stage(), pool)) == ["fir", "birch", "cedar", "elm"]


async def test_calls_are_forgone_in_their_order_once_all_seats_are_filled() -> None:
    """Whoever is away first, and whoever takes a seat and is away too; not before the last seat has its completion."""
    order: list[str] = []

    class Telling(Voice):
        async def complete(self, request: Any) -> Completion:
            try:
                completion = await super().complete(request)
            finally:
                order.append(f"{self._name} asked")
            return completion

        async def forgo(self, request: Any, reason: str) -> None:
            order.append(f"{self._name} forgone: {reason}")

    gone = {name: ModelError(f"{name} is gone") for name in ("birch", "elm", "fir")}
    pool: dict[str, Voice] = {
        name: Telling(name, *([gone[name]] if name in gone else ["said"])) for name in (*NAMES, "hazel")
    }
    renderings: dict[str, Rendering] = dict.fromkeys(pool, "chat")
    record = await made(stage(design=Row(tuple(pool)), renderings=renderings), pool)
    assert models(record) == ["ash", "hazel", "cedar", "gum"]
    assert [one.model for one in record.replaced] == ["birch", "elm", "fir"]
    assert order[-4:] == [
        "hazel asked",
        "birch forgone: birch is gone",
        "elm forgone: elm is gone",
        "fir forgone: fir is gone",
    ]
    assert sum("forgone" in one for one in order) == 3


@pytest.mark.parametrize(
    "error",
    [Withdrawn("the run is stopping"), CapReached("no more money"), AccessDenied("no key"), RuntimeError("bug")],
)
async def test_what_stops_a_run_replaces_nobody_and_nothing_is_forgone(error: Exception) -> None:
    """The run asks the same models again; that another one was away is not recorded either."""
    for second in (voices(ash=ModelError("gone"), cedar=error), voices(ash=ModelError("gone"), fir=error)):
        with pytest.raises(type(error), match=str(error)):
            await asked(stage(), second)
        assert [one.forgone for one in second.values()] == [[]] * 6


FAILING: dict[str, Said | Sequence[Said]] = {
    "ash": ModelError("gone"),
    "cedar": ["", ""],
    "elm": RequestRefused("no"),
    "fir": ["", "late"],
    "hazel": ModelError("gone too"),
}
POOL = (*NAMES, "hazel", "ivy", "juniper")


async def test_who_takes_whose_seat_does_not_depend_on_which_answer_comes_first() -> None:
    """Forty orders of arrival, one record."""
    by = stage(design=Row(POOL), renderings=dict.fromkeys(POOL, "chat"))
    found = []
    for order in itertools.islice(itertools.permutations(range(0, 18, 2), 9), 0, 40 * 8000, 8000):
        pool = {}
        for name, naps in zip(POOL, order, strict=True):
            said = FAILING.get(name, ())
            pool[name] = Voice(name, *([said] if isinstance(said, str | Completion | Exception) else said), naps=naps)
        found.append(await made(by, pool))
    assert len(found) == 40
    assert {one.model_dump_json() for one in found} == {found[0].model_dump_json()}
    assert models(found[0]) == ["fir", "birch", "gum", "ivy"]
    assert [tuple(one) for one in (one.model_dump().values() for one in found[0].replaced)] == [
        ("ash", "down"),
        ("cedar", "empty"),
        ("elm", "request_refused"),
        ("hazel", "down"),
    ]


@given(
    order=st.permutations(POOL),
    kinds=st.lists(st.sampled_from(["says", "empty", "refused", "away"]), min_size=9, max_size=9),
)
async def test_no_model_answers_twice_and_whoever_is_replaced_does_not_answer(
    order: list[str], kinds: list[str]
) -> None:
    """Whatever fails: a record has four models in the design's order of standing in, or there is none."""
    said: dict[str, Said] = {"says": "said", "empty": "", "refused": RequestRefused("no"), "away": ModelError("gone")}
    of = dict(zip(order, kinds, strict=True))
    pool = {name: Voice(name, said[of[name]]) for name in order}
    by = stage(design=Row(order), renderings=dict.fromkeys(order, "chat"))
    able = [name for name in order if of[name] == "says"]
    if len(able) < 4:
        try:
            (reject,) = await asked(by, pool)
        except ModelError:
            assert any(pool[name].asked for name in order if of[name] == "away")
        else:
            assert isinstance(reject, Reject)
            assert not any(pool[name].asked for name in order if of[name] == "away")
        assert [one.forgone for one in pool.values()] == [[]] * 9
        return
    record = await made(by, pool)
    assert sorted(models(record)) == sorted(able[:4])
    upto = order[: order.index(able[3]) + 1]
    assert [one.model for one in record.replaced] == [name for name in upto if of[name] != "says"]
    assert [name for name in order if pool[name].asked] == upto


# --- nobody is left -------------------------------------------------------------------------------------------------


async def test_where_all_have_answered_and_too_few_said_anything_there_is_a_reject() -> None:
    """It names who was replaced and why, and the calls of those who did answer."""
    by = stage()
    pool = voices(ash=RequestRefused("no"), birch="", fir=Completion(text="", finish_reason="content_filter"))
    (reject,) = await asked(by, pool)
    assert isinstance(reject, Reject)
    assert (reject.id, reject.stage, reject.reason, reject.unusable) == (
        "sample-4-2-0",
        "sample",
        "too_few_completions",
        True,
    )
    assert reject.detail == "ash (request_refused), birch (empty), fir (content_filter)"
    assert reject.candidate == {"instruction": "Which wood floats?", "where": "in.jsonl:3"}
    assert reject.provenance.prompts == (*BEFORE.prompts, by.prompt_file.ref)
    assert reject.provenance.calls == ("c0", "gum-1.0", "cedar-2.0", "elm-3.0")


@pytest.mark.parametrize(
    ("errors", "kind", "code"),
    [
        ((ModelError("gone"), "", ""), ModelError, 75),
        (("", "", NotSent("gone")), ModelError, 75),
        ((ConfigProblem("gone"), "", ""), ConfigProblem, 78),
        ((UnknownModel("gone"), "", ""), UnknownModel, 78),
        (("", RequestRefused("no"), MaybeExecuted("gone")), ModelError, 75),
    ],
)
async def test_where_a_model_is_away_and_nobody_is_left_the_run_ends_with_why(
    errors: tuple[Said, ...], kind: type[SelfinstructError], code: int
) -> None:
    """It may come back: no record, no reject, nothing forgone."""
    pool = voices(**dict(zip(("ash", "elm", "fir"), errors, strict=True)))
    with pytest.raises(kind, match=r"in.jsonl:3: 4 models are to answer, and too few.*: gone\Z") as raised:
        await asked(stage(), pool)
    assert (type(raised.value), raised.value.exit_code) == (kind, code)
    assert not isinstance(raised.value, RequestRefused)  # which would be a verdict
    assert [one.forgone for one in pool.values()] == [[]] * 6


async def test_a_pool_of_four_has_nobody_to_stand_in() -> None:
    """One that is away ends the run; one that refuses is a reject."""
    by = stage(design=Row(NAMES[:4]))
    with pytest.raises(ModelError, match="birch: gone"):
        await asked(by, voices(birch=ModelError("gone")))
    (reject,) = await asked(by, voices(birch=RequestRefused("no")))
    assert isinstance(reject, Reject) and reject.reason == "too_few_completions"


async def test_a_resumed_job_comes_to_the_same_record() -> None:
    """What was forgone is a verdict the next time: the model is back, and the seat stays taken."""
    first = await made(stage(), voices(birch=ModelError("gone")))
    verdict = RequestRefused("gone")
    verdict.verdict = "replaced"
    assert kept(await asked(stage(), voices(birch=verdict))) == first
