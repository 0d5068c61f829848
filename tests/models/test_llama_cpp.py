"""llama.cpp in this process: what it needs, and, where the weights are installed, how it answers."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from selfinstruct.errors import ConfigProblem, RequestRefused
from selfinstruct.models import weights
from selfinstruct.models.llama_cpp import LlamaModel, default_threads, gguf_identity
from selfinstruct.schema import Draw, Endpoint, Message, Request, Sampling

ENDPOINT = Endpoint(identity="gguf:test", model="smollm2-135m-instruct", send_seed=True)
RAW = Request(
    draw=Draw(stage="s", round=0, slot=0),
    prompt="Once upon a time",
    sampling=Sampling(temperature=0.7, max_tokens=16),
)
CHAT = Request(draw=RAW.draw, messages=(Message(role="user", content="Say hello."),), sampling=RAW.sampling)


def test_all_cores_but_one_compute() -> None:
    """One thread at least, and one core left for everything else."""
    assert [default_threads(cores) for cores in (1, 2, 3, 8)] == [1, 1, 2, 7]
    assert default_threads() >= 1


def test_a_model_file_is_known_by_its_bytes(tmp_path: Path) -> None:
    """Not by its name or place: a ledger moves with the run."""
    path = tmp_path / "a.gguf"
    path.write_bytes(b"weights")
    assert gguf_identity(path) == f"gguf:{hashlib.sha256(b'weights').hexdigest()}"


def test_without_the_extra_the_command_to_install_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything else is done."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigProblem, match=r"pip install 'selfinstruct\[local\]'.*selfinstruct models fetch"):
        LlamaModel(ENDPOINT, tmp_path / "a.gguf", threads=1)


# --- with the embedded model ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gguf() -> Path:
    """The default model's weights, or a skip."""
    path = weights.find()
    if path is None or importlib.util.find_spec("xllamacpp") is None:
        pytest.skip("the embedded model is not installed: pip install 'selfinstruct[local]'; selfinstruct models fetch")
    return path


@pytest.fixture(scope="module")
def model(gguf: Path) -> Iterator[LlamaModel]:
    """One loaded model for all tests of this file, without its prompt cache so that their order does not matter."""
    model = LlamaModel(ENDPOINT, gguf, threads=1, context=512, cache_prompt=False)
    yield model
    asyncio.run(model.aclose())


@pytest.mark.model
def test_the_installed_weights_are_the_published_ones(gguf: Path) -> None:
    """And so have the identity that is in every ledger made with them."""
    weights.check(gguf)
    assert gguf_identity(gguf) == f"gguf:{weights.SHA256}"


@pytest.mark.model
async def test_it_continues_a_prompt(model: LlamaModel) -> None:
    """Under the endpoint's model name, not the path of a file on this machine; what may vary stays in the raw bytes."""
    completion = await model.complete(RAW)
    assert (completion.model, completion.finish_reason) == ("smollm2-135m-instruct", "length")
    assert (completion.prompt_tokens, completion.completion_tokens) == (4, 16)
    assert len(completion.text.split()) > 5
    assert {"id", "created", "timings"} <= orjson.loads(completion.raw).keys()


@pytest.mark.model
async def test_it_answers_a_message(model: LlamaModel) -> None:
    """Through the chat template in the file."""
    completion = await model.complete(CHAT)
    assert "ello" in completion.text
    assert completion.prompt_tokens > 10


@pytest.mark.model
async def test_a_draw_is_a_text_and_another_draw_another(model: LlamaModel) -> None:
    """With the seed sent and the cache off, at temperature 0.7."""
    requests = [RAW.model_copy(update={"draw": Draw(stage="s", round=0, slot=slot)}) for slot in (1, 2, 1, 2)]
    texts = [(await model.complete(request)).text for request in requests]
    assert texts[:2] == texts[2:]
    assert texts[0] != texts[1]


@pytest.mark.model
async def test_what_cannot_fit_into_the_context_is_refused(model: LlamaModel) -> None:
    """It is a verdict on this request, and the next one is answered."""
    with pytest.raises(RequestRefused, match="exceeds the available context size"):
        await model.complete(RAW.model_copy(update={"prompt": "word " * 600}))
    assert (await model.complete(RAW)).completion_tokens == 16


@pytest.mark.model
async def test_a_conversation_its_template_cannot_render_is_refused(model: LlamaModel) -> None:
    """As a server would."""
    twice = (Message(role="assistant", content="a"), Message(role="assistant", content="b"))
    with pytest.raises(RequestRefused, match=r"llama\.cpp: "):
        await model.complete(CHAT.model_copy(update={"messages": twice}))


@pytest.mark.model
async def test_the_event_loop_runs_on_while_it_computes(model: LlamaModel) -> None:
    """The ledger is written and signals are heard meanwhile."""
    answer = asyncio.ensure_future(model.complete(RAW))
    turns = 0
    while not answer.done():
        await asyncio.sleep(0.001)
        turns += 1
    assert (await answer).completion_tokens == 16
    assert turns > 5


@pytest.mark.model
async def test_nothing_is_printed(gguf: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Loading, answering and closing: llama.cpp would log to this process's own streams."""
    model = LlamaModel(ENDPOINT, gguf, threads=1, context=256)
    await model.complete(RAW)
    await model.aclose()
    assert capfd.readouterr() == ("", "")


@pytest.mark.model
async def test_a_file_that_is_no_model_is_named(gguf: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """When it is loaded; a missing one at once."""
    path = tmp_path / "half.gguf"
    with pytest.raises(ConfigProblem, match=r"half\.gguf: no such model file"):
        LlamaModel(ENDPOINT, path, threads=1)
    path.write_bytes(gguf.read_bytes()[:1_000_000])
    model = LlamaModel(ENDPOINT, path, threads=1)
    with pytest.raises(ConfigProblem, match=r"half\.gguf: llama\.cpp cannot load it"):
        await model.complete(RAW)
    await model.aclose()
    assert capfd.readouterr() == ("", "")
