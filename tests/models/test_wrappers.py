"""What stands between a stage and a backend: the gate, the ledger's wrappers, a recorded run, the table of backends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from selfinstruct import wire
from selfinstruct.config import ModelRecipe, Settings
from selfinstruct.errors import (
    AccessDenied,
    BadData,
    ConfigProblem,
    MaybeExecuted,
    RequestRefused,
    UnknownModel,
    Withdrawn,
)
from selfinstruct.ledger import Ledger, LedgerReader
from selfinstruct.models import weights
from selfinstruct.models.admitted import Admitted, Gate
from selfinstruct.models.opening import named, open_model, rendering_of
from selfinstruct.models.recorded import Recorded
from selfinstruct.models.replay import ReplayModel
from selfinstruct.schema import Completion, Draw, Endpoint, Request

ENDPOINT = Endpoint(identity="tests", model="m")


def request(slot: int = 0, *, round: int = 0, prompt: str = "p", stage: str = "words") -> Request:
    """A request of one draw."""
    return Request(draw=Draw(stage=stage, round=round, slot=slot), prompt=prompt)


def answer(text: str) -> Completion:
    """A completion with the bytes a server would have sent."""
    choice = {"text": text, "finish_reason": "stop"}
    usage = {"prompt_tokens": 5, "completion_tokens": 2}
    return wire.completion(orjson.dumps({"model": "served", "choices": [choice], "usage": usage}), chat=False)


class Scripted:
    """Answers with the prompt, or raises what it was given; waits for ``door`` where there is one."""

    def __init__(self, failure: Exception | None = None, door: asyncio.Event | None = None) -> None:
        self.asked: list[Request] = []
        self.in_flight = self.most_in_flight = self.closed = 0
        self.on_send: Callable[[Request], None] = lambda request: None
        self._failure, self._door = failure, door

    async def complete(self, request: Request) -> Completion:
        """An echo."""
        self.asked.append(request)
        self.on_send(request)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        await (self._door.wait() if self._door else asyncio.sleep(0))
        self.in_flight -= 1
        if self._failure is not None:
            raise self._failure
        return answer(f"echo of {request.prompt}")

    async def aclose(self) -> None:
        """Count."""
        self.closed += 1


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """An empty ledger."""
    with Ledger(tmp_path / "ledger.sqlite3") as opened:
        yield opened


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until something is so; the test's own assertions say what it should have been."""
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.001)


# --- Gate -----------------------------------------------------------------------------------------------------------


def test_an_open_gate_lets_everything_out_and_a_closed_one_nothing() -> None:
    """Closing is for the whole run."""
    gate = Gate()
    assert gate.lets(request().draw) is True
    gate.close()
    assert gate.lets(request().draw) is False


@pytest.mark.parametrize(("stage", "round", "lets"), [("words", 4, True), ("words", 5, False), ("other", 5, True)])
def test_a_stage_that_has_ended_lets_out_its_rounds_up_to_the_last(stage: str, round: int, lets: bool) -> None:
    """Only that stage, and only its later rounds, are held back."""
    gate = Gate()
    gate.end("words", 4)
    assert gate.lets(request(stage=stage, round=round).draw) is lets


# --- Admitted -------------------------------------------------------------------------------------------------------


async def test_a_call_is_reserved_on_disk_before_it_leaves(ledger: Ledger) -> None:
    """Another connection sees the reservation, with draw, path and body, at the moment the model is asked."""
    model = Scripted()
    seen: list[tuple[str, str, bytes, int]] = []

    def look(asked: Request) -> None:
        reader = LedgerReader(ledger.path)
        call = reader.find(wire.call_key(ENDPOINT, asked))
        assert call is not None
        seen.append((call.state, call.draw, call.body, reader.attempts("reserved")))
        reader.close()

    model.on_send = look
    await Admitted(model, ledger, ENDPOINT, Gate(), 2).complete(request(3))
    body = wire.canonical(wire.body(ENDPOINT, request(3)))
    assert seen == [("open", "words/0/3/0/0", body, 1)]


@pytest.mark.parametrize(("limit", "reserved"), [(1, 2), (4, 5), (8, 10)])
async def test_the_limit_holds_and_a_few_more_are_reserved_ahead(ledger: Ledger, limit: int, reserved: int) -> None:
    """``limit`` calls fly, a quarter more (at least one) are on disk already, the rest wait in memory."""
    door = asyncio.Event()
    model = Scripted(door=door)
    admitted = Admitted(model, ledger, ENDPOINT, Gate(), limit)
    calls = [asyncio.create_task(admitted.complete(request(slot))) for slot in range(3 * limit + 4)]
    await until(lambda: ledger.rows.attempts("reserved") >= reserved and model.in_flight >= limit)
    await asyncio.sleep(0.02)
    assert (ledger.rows.attempts("reserved"), model.in_flight) == (reserved, limit)
    door.set()
    await asyncio.gather(*calls)
    assert model.most_in_flight == limit
    assert len(model.asked) == 3 * limit + 4


async def test_a_call_that_is_not_wanted_leaves_no_trace(ledger: Ledger) -> None:
    """Neither a row nor a request."""
    gate, model = Gate(), Scripted()
    gate.close()
    with pytest.raises(Withdrawn):
        await Admitted(model, ledger, ENDPOINT, gate, 2).complete(request())
    assert model.asked == []
    assert ledger.rows.find(wire.call_key(ENDPOINT, request())) is None


async def test_a_call_withdrawn_after_its_reservation_is_closed_as_such(ledger: Ledger) -> None:
    """It waited for a slot when the gate closed: nothing was sent, so the attempt is not ambiguous later."""
    gate, door = Gate(), asyncio.Event()
    model = Scripted(door=door)
    admitted = Admitted(model, ledger, ENDPOINT, gate, 1)
    calls = [asyncio.create_task(admitted.complete(request(slot))) for slot in range(2)]
    await until(lambda: ledger.rows.attempts("reserved") == 2 and model.in_flight == 1)
    gate.close()
    door.set()
    first, second = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(first, Completion)
    assert isinstance(second, Withdrawn)
    assert [asked.draw.slot for asked in model.asked] == [0]
    assert (ledger.rows.attempts("failed"), ledger.rows.attempts("reserved")) == (1, 1)


async def test_a_failed_attempt_is_closed_with_its_kind_and_the_call_stays_open(ledger: Ledger) -> None:
    """The next start may ask again."""
    admitted = Admitted(Scripted(MaybeExecuted("gone")), ledger, ENDPOINT, Gate(), 1)
    with pytest.raises(MaybeExecuted, match="gone"):
        await admitted.complete(request())
    assert ledger.rows.attempts("failed") == 1
    call = ledger.rows.find(wire.call_key(ENDPOINT, request()))
    assert call is not None
    assert call.state == "open"


async def test_closing_a_wrapper_closes_the_model_inside(ledger: Ledger) -> None:
    """Once, through both wrappers."""
    model = Scripted()
    await Recorded(Admitted(model, ledger, ENDPOINT, Gate(), 1), ledger, ENDPOINT).aclose()
    assert model.closed == 1


# --- Recorded -------------------------------------------------------------------------------------------------------


async def test_a_recorded_call_is_never_asked_again(ledger: Ledger) -> None:
    """The second time the whole completion comes from the ledger, and progress is told of new answers only."""
    model, told = Scripted(), list[Completion]()
    recorded = Recorded(Admitted(model, ledger, ENDPOINT, Gate(), 1), ledger, ENDPOINT, told.append)
    first = await recorded.complete(request(prompt="hello"))
    second = await recorded.complete(request(prompt="hello"))
    assert first == second == answer("echo of hello").model_copy(update={"call": first.call})
    assert first.call == wire.call_key(ENDPOINT, request(prompt="hello"))
    assert (len(model.asked), len(told)) == (1, 1)
    assert ledger.rows.attempts("settled") == 1


async def test_the_same_words_in_another_draw_are_another_call(ledger: Ledger) -> None:
    """Two samples of one prompt are two calls."""
    model = Scripted()
    recorded = Recorded(Admitted(model, ledger, ENDPOINT, Gate(), 1), ledger, ENDPOINT)
    calls = {(await recorded.complete(request(slot))).call for slot in (0, 1, 0)}
    assert (len(calls), len(model.asked)) == (2, 2)


async def test_a_refusal_is_recorded_and_raised_again(ledger: Ledger) -> None:
    """A verdict on the request costs one call, ever; message and status are kept."""
    model = Scripted(RequestRefused("too long", status=400))
    recorded = Recorded(Admitted(model, ledger, ENDPOINT, Gate(), 1), ledger, ENDPOINT)
    for _ in range(2):
        with pytest.raises(RequestRefused, match=r"\Atoo long\Z") as refusal:
            await recorded.complete(request())
        assert refusal.value.status == 400
        assert ledger.rows.find(refusal.value.call) is not None  # so its reject can name the call
    assert len(model.asked) == 1
    assert (ledger.rows.attempts("refused"), ledger.rows.attempts("reserved")) == (1, 0)


async def test_a_call_cut_off_by_a_crash_is_asked_again(ledger: Ledger, tmp_path: Path) -> None:
    """Reserved by a process that died: ambiguous, and the one kind of call that may be paid for twice."""
    asked = request()
    await ledger.reserve(wire.call_key(ENDPOINT, asked), str(asked.draw), wire.COMPLETIONS, b"{}")
    ledger.close()
    with Ledger(ledger.path) as reopened:
        model = Scripted()
        completion = await Recorded(Admitted(model, reopened, ENDPOINT, Gate(), 1), reopened, ENDPOINT).complete(asked)
        assert completion.text == "echo of p"
        assert len(model.asked) == 1
        assert (reopened.rows.attempts("ambiguous"), reopened.rows.attempts("settled")) == (1, 1)


async def test_a_slot_is_free_when_the_answer_is_there_not_when_it_is_on_disk(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the first answer waits for its commit, the second call flies although the limit is one."""
    model, disk, settle = Scripted(), asyncio.Event(), ledger.settle

    async def slow_settle(*row: Any) -> None:
        await disk.wait()
        await settle(*row)

    monkeypatch.setattr(ledger, "settle", slow_settle)
    recorded = Recorded(Admitted(model, ledger, ENDPOINT, Gate(), 1), ledger, ENDPOINT)
    calls = [asyncio.create_task(recorded.complete(request(slot))) for slot in range(2)]
    await until(lambda: len(model.asked) == 2)
    assert (len(model.asked), any(call.done() for call in calls)) == (2, False)
    disk.set()
    assert [completion.text for completion in await asyncio.gather(*calls)] == ["echo of p", "echo of p"]


# --- replay ---------------------------------------------------------------------------------------------------------


async def _replay_of(ledger: Ledger, *requests: Request) -> ReplayModel:
    recorded = Recorded(Admitted(Scripted(), ledger, ENDPOINT, Gate(), 1), ledger, ENDPOINT)
    for asked in requests:
        await recorded.complete(asked)
    return ReplayModel(ENDPOINT, LedgerReader(ledger.path))


async def test_a_replay_gives_the_recorded_answer(ledger: Ledger) -> None:
    """Word for word, tokens and raw bytes included."""
    replay = await _replay_of(ledger, request(prompt="hello"))
    completion = await replay.complete(request(prompt="hello"))
    assert completion.model_copy(update={"call": ""}) == answer("echo of hello")
    await replay.aclose()


async def test_a_replay_of_a_changed_prompt_shows_the_line_that_changed(ledger: Ledger) -> None:
    """One line out, one line in, and not the whole prompt."""
    long = "\n".join(f"line {n}" for n in range(50))
    replay = await _replay_of(ledger, request(prompt=long))
    with pytest.raises(ConfigProblem) as problem:
        await replay.complete(request(prompt=long.replace("line 25", "row 25")))
    lines = str(problem.value).splitlines()
    assert lines[0].endswith("holds no answer for words/0/0/0/0; the call recorded there differs:")
    assert [line for line in lines[3:] if line[0] in "-+"] == ["-line 25", "+row 25"]
    assert len(lines) < 10


async def test_a_replay_of_a_draw_that_was_never_made_says_so(ledger: Ledger) -> None:
    """Most likely the recorded run was smaller."""
    replay = await _replay_of(ledger, request())
    with pytest.raises(ConfigProblem, match="no answer for words/9/0/0/0, nor any call of that draw"):
        await replay.complete(request(round=9))


async def test_a_replay_has_no_answer_for_a_call_that_was_cut_off(ledger: Ledger) -> None:
    """Reserved is not answered."""
    asked = request()
    body = wire.canonical(wire.body(ENDPOINT, asked))
    await ledger.reserve(wire.call_key(ENDPOINT, asked), str(asked.draw), wire.COMPLETIONS, body)
    with pytest.raises(ConfigProblem, match="holds no answer for words/0/0/0/0"):
        await ReplayModel(ENDPOINT, LedgerReader(ledger.path)).complete(asked)


# --- opening --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "name", "base_url"),
    [
        ({"api": "local", "base_url": "http://ignored.example"}, "smollm2-135m-instruct", ""),
        ({"api": "chat"}, "gpt-3.5-turbo", "https://api.openai.com/v1"),
        ({"api": "completion", "name": "x"}, "x", "https://api.openai.com/v1"),
        ({"api": "chat", "base_url": "http://LOCALHOST:80/"}, "gpt-3.5-turbo", "http://localhost/v1"),
        ({"api": "fake"}, "fake", ""),
        ({"api": "replay"}, "", ""),
    ],
)
def test_an_api_fills_in_its_defaults(given: dict[str, Any], name: str, base_url: str) -> None:
    """Model and address as they are written into stage.json and compared on resume."""
    resolved = named(ModelRecipe(**given))
    assert (resolved.name, resolved.base_url) == (name, base_url)


@pytest.mark.parametrize(
    ("api", "rendering"),
    [("local", "completion"), ("completion", "completion"), ("chat", "chat"), ("fake", "completion")],
)
def test_only_a_chat_api_gets_messages(api: Any, rendering: str) -> None:
    """Everything else continues a text."""
    assert rendering_of(ModelRecipe(api=api)) == rendering


@pytest.mark.parametrize("key", ["", "   "])
def test_openai_without_a_key_is_refused_before_any_call(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    """The message names the variable and the two ways around it."""
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(AccessDenied, match=r"OPENAI_API_KEY.*--base-url.*embedded model"):
        open_model(named(ModelRecipe(api="chat")), Settings())


async def test_a_server_of_ones_own_needs_no_key() -> None:
    """What may change an answer is in the endpoint; concurrency is not, and falls back to 32."""
    recipe = named(
        ModelRecipe(
            api="chat",
            name="mine",
            base_url="http://127.0.0.1:9/v1",
            token_field="max_completion_tokens",
            omit=("stop",),
            extra_body={"k": 1},
            send_seed=True,
        )
    )
    opened = open_model(recipe, Settings())
    assert opened.endpoint == Endpoint(
        identity="http://127.0.0.1:9/v1",
        model="mine",
        token_field="max_completion_tokens",
        omit=("stop",),
        extra_body={"k": 1},
        send_seed=True,
    )
    assert (opened.rendering, opened.concurrency) == ("chat", 32)
    assert open_model(recipe, Settings(concurrency=7)).concurrency == 7
    await opened.model.aclose()


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("gpt-4o", UnknownModel, "--api local has no model 'gpt-4o'.*--api chat"),
        ("/no/such/model.gguf", UnknownModel, "/no/such/model.gguf: no such file"),
        ("", ConfigProblem, "selfinstruct models fetch"),
    ],
)
def test_an_embedded_model_that_is_not_here_is_one_clear_line(
    monkeypatch: pytest.MonkeyPatch, name: str, error: type[Exception], message: str
) -> None:
    """A name of somebody's API, a path to nothing, weights not yet fetched."""
    monkeypatch.setattr(weights, "find", lambda: None)
    with pytest.raises(error, match=message):
        open_model(named(ModelRecipe(api="local", name=name)), Settings())


def test_an_embedded_model_is_known_by_its_bytes(tmp_path: Path) -> None:
    """The same file elsewhere is the same model; the seed of each draw is always sent."""
    pytest.importorskip("xllamacpp")
    identities = []
    for folder in ("here", "there"):
        path = tmp_path / folder / "m.gguf"
        path.parent.mkdir()
        path.write_bytes(b"weights")
        opened = open_model(named(ModelRecipe(api="local", name=str(path))), Settings())
        identities.append(opened.endpoint.identity)
        assert (opened.endpoint.send_seed, opened.rendering, opened.concurrency) == (True, "completion", 1)
    # printf weights | sha256sum
    assert identities == ["gguf:9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c"] * 2


def test_the_script_is_opened_for_what_it_is() -> None:
    """Its identity says that nothing it wrote is data."""
    opened = open_model(named(ModelRecipe(api="fake")), Settings())
    assert (opened.endpoint.identity, opened.endpoint.model, opened.rendering) == ("fake", "fake", "completion")


def test_a_replay_needs_the_folder_of_a_recorded_run(tmp_path: Path) -> None:
    """Not named, or nothing recorded there."""
    with pytest.raises(ConfigProblem, match="--replay-from"):
        open_model(named(ModelRecipe(api="replay")), Settings())
    with pytest.raises(BadData, match="no run is recorded here"):
        open_model(named(ModelRecipe(api="replay")), Settings(replay_from=tmp_path))


async def test_a_replay_takes_endpoint_and_rendering_from_the_recorded_run(tmp_path: Path) -> None:
    """Both are part of every call's key, so the user does not have to spell them again."""
    Ledger(tmp_path / "ledger.sqlite3").close()
    (tmp_path / "words").mkdir()
    model = {"api": "chat", **ENDPOINT.model_dump(mode="json"), "rendering": "chat"}
    (tmp_path / "words" / "stage.json").write_bytes(orjson.dumps({"identity": {"model": model}}))
    opened = open_model(named(ModelRecipe(api="replay")), Settings(replay_from=tmp_path))
    assert (opened.endpoint, opened.rendering) == (ENDPOINT, "chat")
    await opened.model.aclose()
