"""What every model promises, whoever answers: a script, a recorded run, a server, llama.cpp in this process, a vLLM."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import orjson
import pytest

from selfinstruct import wire
from selfinstruct.base_url import ApiKey
from selfinstruct.engine.launch import Launch
from selfinstruct.engine.server import Address, EngineServer
from selfinstruct.errors import RequestRefused
from selfinstruct.ledger import Ledger
from selfinstruct.ledger_reader import LedgerReader
from selfinstruct.models import conversion, weights
from selfinstruct.models.fake import FakeModel
from selfinstruct.models.llama_cpp import LlamaModel
from selfinstruct.models.openai_api import OpenAIModel
from selfinstruct.models.recorded import Recorded
from selfinstruct.models.replay import ReplayModel
from selfinstruct.models.vllm_server import VllmModel
from selfinstruct.money import UNBOUNDED
from selfinstruct.protocols import Model
from selfinstruct.schema import Completion, Draw, Endpoint, Message, Request, Sampling
from tests.models.loopback import Loopback, Reply, chat, continuation, problem
from tests.stub_engine import model_folder, stands_in

ENDPOINT = Endpoint(identity="contract", model="smollm2-135m-instruct")
CONTEXT = 512  # tokens; a word of TOO_LONG is one
TOO_LONG = "word " * 600
YES_OR_NO = {
    "type": "object",
    "properties": {"answer": {"type": "string", "enum": ["yes", "no"]}},
    "required": ["answer"],
    "additionalProperties": False,
}

# Read before a test hides the developer's variables.
VLLM_PYTHON = Path(os.environ.get("SELFINSTRUCT_VLLM_PYTHON") or ".venv-vllm/bin/python").absolute()
REAL_ENGINE = {"dtype": "bfloat16", "max_model_len": CONTEXT, "enforce_eager": True}
LLAMA_CPP = pytest.param("llama_cpp", marks=pytest.mark.model)
VLLM = pytest.param("vllm", marks=pytest.mark.vllm)


def request(prompt: str = "One, two, three,", *, slot: int = 0, stop: tuple[str, ...] = ()) -> Request:
    """A short completion request, always continued the same way."""
    sampling = Sampling(temperature=0.0, max_tokens=12)
    return Request(draw=Draw(stage="s", round=0, slot=slot), prompt=prompt, sampling=sampling, stop=stop)


def scripted(asked: Request) -> str:
    """Counts on, unless the prompt is too long for it."""
    if asked.prompt == TOO_LONG:
        raise RequestRefused("exceeds the context size")
    return " four, five, six"


async def served(path: str, body: Any, n: int) -> Reply:
    """The same as a server, which takes its time."""
    await asyncio.sleep(0.02)
    if body["prompt"] == TOO_LONG:
        return 400, {}, problem("exceeds the context size", code="context_length_exceeded")
    text = " four, five, six"
    return 200, {}, continuation(text[: min((text.find(stop) for stop in body.get("stop", ())), default=len(text))])


# --- who answers ----------------------------------------------------------------------------------------------------


class Lasting:
    """A server that goes on when its model is closed: the real one takes a minute to start."""

    def __init__(self, one: EngineServer) -> None:
        self.address, self.ended, self.check_schema = one.address, one.ended, one.check_schema

    async def stop(self) -> None:
        """Whoever started it stops it."""


@pytest.fixture(scope="module")
def real_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineServer]:
    """A real vLLM with the embedded model's weights, once for all tests of this module."""
    gguf, folder = weights.find(), conversion.default_folder()
    if not VLLM_PYTHON.is_file() or (gguf is None and not conversion.is_whole(folder)):
        pytest.skip("there is no vLLM here (make setup-vllm), or no embedded model (selfinstruct models fetch)")
    if not conversion.is_whole(folder):
        assert gguf is not None
        conversion.convert(gguf, folder, VLLM_PYTHON)
    state = tmp_path_factory.mktemp("state")
    one = EngineServer(Launch(VLLM_PYTHON, str(folder), ENDPOINT.model, REAL_ENGINE, state=state, patience=600))
    asyncio.run(one.address())
    yield one
    asyncio.run(one.stop())


@contextmanager
def stand_in(folder: Path) -> Iterator[EngineServer]:
    """A server that only looks like vLLM; closing the model stops it."""
    model_folder(folder, context=CONTEXT)
    with pytest.MonkeyPatch.context() as patch:
        stands_in(patch, folder.parent / "state")
        yield EngineServer(Launch(Path(sys.executable), str(folder), ENDPOINT.model))


def vllm(one: Any) -> Model:
    """The model on a server."""

    def client_at(address: Address) -> Model:
        return OpenAIModel(ENDPOINT, address.url, address.key, timeout=60)

    return VllmModel(lambda place: cast(EngineServer, one), client_at, ENDPOINT.model)


async def record(ledger: Ledger) -> None:
    """What the script says to all that is asked here of every model."""
    asked = [request(stop=("five",)), request(TOO_LONG), *(request(slot=slot) for slot in range(8))]
    model = Recorded(FakeModel(ENDPOINT, scripted), ledger, ENDPOINT)
    for one in asked:
        body = wire.written(ENDPOINT, one)
        await ledger.reserve(wire.call_key(ENDPOINT, one), one.draw, wire.path(one), body, UNBOUNDED)
        with suppress(RequestRefused):
            await model.complete(one)


def replay(ledger_file: Path) -> Model:
    """A run in which the script answered."""
    with Ledger(ledger_file, sync=False) as ledger:
        asyncio.run(record(ledger))
    return ReplayModel(ENDPOINT, LedgerReader(ledger_file))


@pytest.fixture(params=["fake", "replay", "openai_api", "vllm_stub", LLAMA_CPP, VLLM])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Model]:
    """Each backend in turn; closing it is the test's business, since it belongs to the test's event loop."""
    match request.param:
        case "fake":
            yield FakeModel(ENDPOINT, scripted)
        case "replay":
            yield replay(tmp_path / "ledger.sqlite3")
        case "openai_api":
            with Loopback(served) as loopback:
                yield OpenAIModel(ENDPOINT, loopback.url, timeout=20)
        case "vllm_stub":
            with stand_in(tmp_path / "model") as one:
                yield vllm(one)
        case "vllm":
            yield vllm(Lasting(request.getfixturevalue("real_engine")))
        case "llama_cpp":
            gguf = weights.find()
            if gguf is None or importlib.util.find_spec("xllamacpp") is None:
                pytest.skip("the embedded model is not installed: selfinstruct models fetch")
            yield LlamaModel(ENDPOINT, gguf, threads=1, context=CONTEXT, cache_prompt=False)


def only(*backends: Any) -> pytest.MarkDecorator:
    """For what a script cannot show."""
    return pytest.mark.parametrize("model", backends, indirect=True)


# --- what they promise ----------------------------------------------------------------------------------------------


def counts_on(completion: Completion) -> bool:
    """Whether the text is the one every backend here is asked for."""
    return completion.text.startswith(" four, five, six")


def as_read_again(completion: Completion) -> Completion:
    """What its bytes say."""
    return wire.completion(completion.raw, chat=False).model_copy(update={"call": completion.call})


async def test_a_prompt_is_answered_with_text(model: Model) -> None:
    """With the name of who wrote it, why it ended, a price, and the bytes it can be read from again."""
    completion = await model.complete(request())
    await model.aclose()
    assert counts_on(completion)
    assert completion.finish_reason in ("stop", "length")
    assert completion.model in ("smollm2-135m-instruct", "served")
    assert completion.prompt_tokens > 0
    assert completion.completion_tokens > 0
    assert completion.call in ("", wire.call_key(ENDPOINT, request()))  # which a recorded one has
    assert as_read_again(completion) == completion


async def test_a_request_that_was_written_down_before_is_answered_the_same(model: Model) -> None:
    """Its path and its bytes are the whole request, as a line of a request file is."""
    asked = request()
    written = Request(draw=asked.draw, path=wire.path(asked), body=wire.written(ENDPOINT, asked))
    completion = await model.complete(written)
    await model.aclose()
    assert counts_on(completion)
    assert as_read_again(completion) == completion


async def test_a_stop_string_ends_the_text_and_is_not_in_it(model: Model) -> None:
    """The parsers of the stages count on it."""
    completion = await model.complete(request(stop=("five",)))
    await model.aclose()
    assert completion.text == " four, "
    assert completion.finish_reason == "stop"


async def test_a_request_that_can_never_be_answered_is_refused(model: Model) -> None:
    """With the same error everywhere, since it becomes a reject; the next request is answered."""
    with pytest.raises(RequestRefused, match=r"context (size|length)"):
        await model.complete(request(TOO_LONG))
    assert counts_on(await model.complete(request()))
    await model.aclose()


async def test_many_requests_at_once_are_all_answered(model: Model) -> None:
    """However many the backend really runs at a time."""
    completions = await asyncio.gather(*(model.complete(request(slot=slot)) for slot in range(8)))
    await model.aclose()
    assert [counts_on(completion) for completion in completions] == [True] * 8


async def test_a_cancelled_request_leaves_the_model_usable(model: Model) -> None:
    """Cancelled before it starts, and in the middle."""
    for pause in (0.0, 0.01):
        task = asyncio.ensure_future(model.complete(request()))
        await asyncio.sleep(pause)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert counts_on(await model.complete(request()))
    await model.aclose()


def written(**fields: Any) -> Request:
    """A body as somebody wrote it down, to be drawn at random."""
    body = {"model": ENDPOINT.model, "prompt": "Once upon a time", "max_tokens": 24, "temperature": 1, **fields}
    return Request(draw=Draw(stage="s", round=0, slot=0), path=wire.COMPLETIONS, body=orjson.dumps(body))


@only("vllm_stub", LLAMA_CPP, VLLM)
async def test_a_seed_decides_what_is_drawn(model: Model) -> None:
    """The same seed, asked alone, the same text; another one another."""
    texts = [(await model.complete(written(seed=seed))).text for seed in (7, 7, 8)]
    await model.aclose()
    assert texts[0] == texts[1]
    assert texts[1] != texts[2]


@only("vllm_stub", VLLM)
async def test_several_answers_can_be_drawn_by_one_request(model: Model) -> None:
    """The first is the completion's text, the others are in its bytes."""
    completion = await model.complete(written(n=3, seed=7))
    await model.aclose()
    choices = orjson.loads(completion.raw)["choices"]
    assert [choice["index"] for choice in choices] == [0, 1, 2]
    assert len({choice["text"] for choice in choices}) == 3
    assert completion.text == choices[0]["text"]


@only("vllm_stub", LLAMA_CPP, VLLM)
async def test_an_answer_keeps_to_the_schema_it_is_given(model: Model) -> None:
    """Whatever the model would have liked to say."""
    sampling = Sampling(temperature=1.0, max_tokens=64)
    draw = Draw(stage="s", round=0, slot=0)
    messages = (Message(role="user", content="Tell me a story."),)
    asked = Request(draw=draw, messages=messages, sampling=sampling, answer_schema=YES_OR_NO)
    answers = [orjson.loads((await model.complete(asked)).text) for _ in range(2)]
    await model.aclose()
    assert [list(answer) for answer in answers] == [["answer"]] * 2
    assert {answer["answer"] for answer in answers} <= {"yes", "no"}


async def test_closing_twice_or_unused_is_no_error(model: Model) -> None:
    """Whoever opened it may close it without asking what happened."""
    await model.aclose()
    await model.aclose()


async def test_a_body_that_was_written_down_before_reaches_the_server_byte_for_byte() -> None:
    """Spaces, order and fields nobody knows: what was recorded is what is sent."""
    body = b'{"prompt": "x",  "zeta": 1, "alpha": null, "model": "other"}'
    with Loopback(lambda path, body, n: (200, {}, continuation("y"))) as server:
        model = OpenAIModel(ENDPOINT, server.url)
        await model.complete(Request(draw=Draw(stage="s", round=0, slot=0), path=wire.COMPLETIONS, body=body))
        await model.aclose()
    (received,) = server.received
    assert (received.path, received.body) == ("/v1/completions", body)


# --- the official client --------------------------------------------------------------------------------------------

SAMPLING = Sampling(temperature=0.7, top_p=0.5, presence_penalty=2.0, frequency_penalty=0.0, max_tokens=64)
MESSAGES = (Message(role="system", content="Be brief."), Message(role="user", content='Say "你好" \u2028 twice.'))


@pytest.mark.parametrize(
    "ours",
    [
        Request(draw=Draw(stage="s", round=0, slot=0), messages=MESSAGES, sampling=SAMPLING, stop=("\n\n", "END")),
        Request(draw=Draw(stage="s", round=0, slot=0), prompt="1. Name a tree.\n2.", sampling=SAMPLING, stop=("16.",)),
    ],
    ids=["chat", "completion"],
)
async def test_the_official_client_sends_and_reads_the_same(ours: Request) -> None:
    """One request through both: the server sees the same path and body, the caller the same text and price."""
    openai = pytest.importorskip("openai")
    text = 'a "quoted" text,\n\twith 你好, \U0001f333 and \u2028'
    with Loopback(lambda path, body, n: (200, {}, chat(text) if "messages" in body else continuation(text))) as server:
        model = OpenAIModel(ENDPOINT, server.url, ApiKey("sk-0123456789"))
        completion = await model.complete(ours)
        await model.aclose()
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="sk-0123456789", max_retries=0) as client:
            options = {**SAMPLING.model_dump(), "model": ENDPOINT.model, "stop": list(ours.stop)}
            if ours.messages:
                messages = [message.model_dump() for message in ours.messages]
                theirs = await client.chat.completions.create(messages=messages, **options)
                said = theirs.choices[0].message.content
            else:
                theirs = await client.completions.create(prompt=ours.prompt, **options)
                said = theirs.choices[0].text
    first, second = server.received
    assert (first.path, first.json) == (second.path, second.json)
    assert first.headers["Authorization"] == second.headers["Authorization"] == "Bearer sk-0123456789"
    assert completion.text == said == text
    assert (completion.prompt_tokens, completion.completion_tokens) == (
        theirs.usage.prompt_tokens,
        theirs.usage.completion_tokens,
    )
