"""What every model promises, whoever answers: a script, a server, llama.cpp in this process."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Iterator
from typing import Any

import pytest

from selfinstruct import wire
from selfinstruct.base_url import ApiKey
from selfinstruct.errors import RequestRefused
from selfinstruct.models import weights
from selfinstruct.models.fake import FakeModel
from selfinstruct.models.llama_cpp import LlamaModel
from selfinstruct.models.openai_api import OpenAIModel
from selfinstruct.protocols import Model
from selfinstruct.schema import Completion, Draw, Endpoint, Message, Request, Sampling
from tests.models.loopback import Loopback, Reply, chat, continuation, problem

ENDPOINT = Endpoint(identity="contract", model="smollm2-135m-instruct")
CONTEXT = 512  # tokens; a word of TOO_LONG is one
TOO_LONG = "word " * 600


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


@pytest.fixture(params=["fake", "openai_api", pytest.param("llama_cpp", marks=pytest.mark.model)])
def model(request: pytest.FixtureRequest) -> Iterator[Model]:
    """Each backend in turn; closing it is the test's business, since it belongs to the test's event loop."""
    match request.param:
        case "fake":
            yield FakeModel(ENDPOINT, scripted)
        case "openai_api":
            with Loopback(served) as server:
                yield OpenAIModel(ENDPOINT, server.url, timeout=20)
        case "llama_cpp":
            gguf = weights.find()
            if gguf is None or importlib.util.find_spec("xllamacpp") is None:
                pytest.skip("the embedded model is not installed: selfinstruct models fetch")
            yield LlamaModel(ENDPOINT, gguf, threads=1, context=CONTEXT)


def counts_on(completion: Completion) -> bool:
    """Whether the text is the one every backend here is asked for."""
    return completion.text.startswith(" four, five, six")


async def test_a_prompt_is_answered_with_text(model: Model) -> None:
    """With the name of who wrote it, why it ended, a price, and the bytes it can be read from again."""
    completion = await model.complete(request())
    await model.aclose()
    assert counts_on(completion)
    assert completion.finish_reason in ("stop", "length")
    assert completion.model in ("smollm2-135m-instruct", "served")
    assert completion.prompt_tokens > 0
    assert completion.completion_tokens > 0
    assert completion.call == ""
    assert wire.completion(completion.raw, chat=False) == completion


async def test_a_request_that_was_written_down_before_is_answered_the_same(model: Model) -> None:
    """Its path and its bytes are the whole request, as a line of a request file is."""
    asked = request()
    written = Request(draw=asked.draw, path=wire.path(asked), body=wire.written(ENDPOINT, asked))
    completion = await model.complete(written)
    await model.aclose()
    assert counts_on(completion)
    assert wire.completion(completion.raw, chat=False) == completion


async def test_a_stop_string_ends_the_text_and_is_not_in_it(model: Model) -> None:
    """The parsers of the stages count on it."""
    completion = await model.complete(request(stop=("five",)))
    await model.aclose()
    assert completion.text == " four, "
    assert completion.finish_reason == "stop"


async def test_a_request_that_can_never_be_answered_is_refused(model: Model) -> None:
    """With the same error everywhere, since it becomes a reject; the next request is answered."""
    with pytest.raises(RequestRefused, match="context size"):
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
