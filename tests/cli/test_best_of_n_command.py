"""`selfinstruct best-of-n`: n answers a prompt, each asked for once whatever happens, and the best of them kept."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest

from selfinstruct.ledger_reader import LedgerReader
from selfinstruct.models import retrying
from selfinstruct.schema import Message
from selfinstruct.training import best_of_n, extra, scoring
from tests import command
from tests.command import Ended, invoke, spawn, until, wait
from tests.models.loopback import Loopback, Reply, chat, problem
from tests.request_files import rows

TEXTS = ("Name a tree.", "Name a bird.", "Name a river.")


class ByLength:
    """Stands in for a reward model: the longer, the better. ``asked`` counts what it has scored."""

    asked = 0

    def __init__(self, folder: Path) -> None:
        assert folder.name == "rm"

    def scores(self, conversations: Sequence[Sequence[Message]]) -> list[float]:
        """How many characters each answer has."""
        type(self).asked += len(conversations)
        return [float(len(one[-1].content)) for one in conversations]


# The same in a process of its own, which no monkeypatch of this one reaches.
PROGRAM = """
from selfinstruct.training import best_of_n, extra, scoring
from tests.cli.test_best_of_n_command import ByLength
scoring.RewardScorer, extra.required, best_of_n.plot = ByLength, (lambda *more: None), (lambda *drawn: None)
from selfinstruct.cli.start import main
main()
"""


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """What needs torch is left out."""
    monkeypatch.setattr(ByLength, "asked", 0)
    monkeypatch.setattr(scoring, "RewardScorer", ByLength)
    monkeypatch.setattr(extra, "required", lambda *more: None)
    monkeypatch.setattr(best_of_n, "plot", lambda *drawn: None)
    monkeypatch.setattr(retrying, "FIRST_WAIT", 0.001)


@pytest.fixture
def reward_model(tmp_path: Path) -> Path:
    """A folder that looks like a reward model's."""
    folder = tmp_path / "rm"
    folder.mkdir()
    config = {"architectures": ["LlamaForSequenceClassification"], "id2label": {"0": "LABEL_0"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of three prompts."""
    path = tmp_path / "prompts.txt"
    path.write_text("".join(f"{text}\n" for text in TEXTS))
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """The folder of the answers."""
    return tmp_path / "out"


def answering(lengths: Callable[[int], str] = lambda k: "ha" * (k % 3 + 1)) -> Callable[[str, Any, int], Reply]:
    """A server's script: what it says depends on how often it was asked that prompt before."""
    before: Counter[str] = Counter()

    def script(path: str, body: Any, number: int) -> Reply:
        text = body["messages"][-1]["content"]
        before[text] += 1
        return 200, {}, chat(lengths(before[text] - 1))

    return script


@pytest.fixture
def server() -> Iterator[Loopback]:
    """A server that answers each prompt with "ha", "haha", "hahaha" and from the beginning again."""
    with Loopback(answering()) as started:
        yield started


def options(server: Loopback, file: Path, out: Path, *more: object) -> tuple[object, ...]:
    """``best-of-n`` against the server, one call at a time."""
    judged = ("--reward-model", out.parent / "rm", "--out", out)
    at = ("--api", "chat", "--base-url", f"{server.url}/v1", "--model", "some-model", "--concurrency", 1)
    return ("best-of-n", file, *judged, *at, *more)


def best(server: Loopback, file: Path, out: Path, *more: object) -> Ended:
    """The same, run."""
    return invoke(*options(server, file, out, *more))


def written(out: Path) -> Mapping[str, bytes]:
    """What a folder holds beside its ledger and lock."""
    paths = [path for path in out.rglob("*") if path.is_file() and "ledger" not in path.name and path.name != ".lock"]
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(paths)}


def settled(out: Path) -> int:
    """How many answers are recorded."""
    if not (out / "ledger.sqlite3").exists():
        return 0
    with closing(LedgerReader(out / "ledger.sqlite3")) as reader:
        return reader.attempts("settled")


# --- what is asked and kept -------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("reward_model")
def test_the_best_of_n_answers_is_kept(server: Loopback, file: Path, out: Path) -> None:
    """Each prompt is asked n times, as it was told to; the answer that scores best, the first of equals, is kept."""
    ended = best(server, file, out, "-n", 5, "--max-tokens", 77, "--top-p", 0.9)
    assert ended.code == 0
    assert [one["messages"] for one in rows(out / "kept.jsonl")] == [
        [{"role": "user", "content": text}, {"role": "assistant", "content": "hahaha"}] for text in TEXTS
    ]
    assert {(one["best"], tuple(one["scores"])) for one in rows(out / "kept.jsonl")} == {(2, (2, 4, 6, 2, 4))}
    asked = [one.json for one in server.received]
    assert [body["messages"][0]["content"] for body in asked] == list(TEXTS) * 5
    assert {(body["model"], body["temperature"], body["top_p"], body["max_tokens"]) for body in asked} == {
        ("some-model", 0.7, 0.9, 77)
    }


@pytest.mark.usefixtures("reward_model")
def test_the_curve_is_printed(server: Loopback, file: Path, out: Path) -> None:
    """What 1, 2 and 4 answers come to: of 2, 4, 6 and 2, the best of two is 4.33 on average."""
    ended = best(server, file, out, "-n", 4)
    assert "3 prompts, 12 answers\n" in ended.out
    assert [line.split() for line in ended.out.splitlines() if line.startswith("    ")][1:] == [
        ["1", "3.5000", "100.0%"],
        ["2", "4.6667", "100.0%"],
        ["4", "6.0000", "100.0%"],
    ]
    assert f"next     selfinstruct finetune sft {out}/kept.jsonl --model MODEL\n" in ended.out


@pytest.mark.usefixtures("reward_model")
def test_json_holds_the_same(server: Loopback, file: Path, out: Path) -> None:
    """For machines: counts, the curve, what was spent, what comes next."""
    told = json.loads(best(server, file, out, "-n", 2, "--json").out)
    assert (told["prompts"], told["kept"], told["answers"], told["problems"]) == (3, 3, 6, {})
    assert told["curve"] == [{"n": 1, "score": 3.0, "answered": 1.0}, {"n": 2, "score": 4.0, "answered": 1.0}]
    assert (told["n"], told["new_calls"], told["stopped_by"]) == (2, 6, None)


@pytest.mark.usefixtures("reward_model")
def test_every_answer_leads_to_its_call(server: Loopback, file: Path, out: Path) -> None:
    """The keys in the records are those of the ledger, in the order of the draws."""
    best(server, file, out, "-n", 2)
    [first, *_] = rows(out / "kept.jsonl")
    for call, text in zip(first["provenance"]["calls"], ("ha", "haha"), strict=True):
        shown = invoke("show", call, "--run", out.name, "--output-dir", out.parent, "--json")
        assert json.loads(shown.out)["calls"][0]["answer"]["text"] == text


@pytest.mark.usefixtures("reward_model")
def test_answers_that_cannot_be_kept_are_counted_by_their_reason(file: Path, out: Path) -> None:
    """Cut, empty, refused: none of them is scored; above --max-unusable the exit code is 3, and all is written."""
    cut = orjson.loads(chat("a very long answer, cut"))
    cut["choices"][0]["finish_reason"] = "length"

    def script(path: str, body: Any, number: int) -> Reply:
        replies: list[Reply] = [(200, {}, orjson.dumps(cut)), (200, {}, chat(" ")), (200, {}, chat("fine"))]
        name = TEXTS.index(body["messages"][0]["content"])
        return (400, {}, problem("flagged")) if number >= len(TEXTS) and name == 1 else replies[name]

    with Loopback(script) as server:
        ended = best(server, file, out, "-n", 2)
    assert ended.code == 3
    assert "3 prompts, 6 answers: 1 empty, 1 request_refused, 2 truncated\n" in ended.out
    assert "4 of 6 answers could not be kept" in ended.err
    assert [one["scores"] for one in rows(out / "kept.jsonl")] == [[4.0, 4.0]]
    assert [[one["problem"] for one in row["samples"]] for row in rows(out / "samples.jsonl")] == [
        ["truncated", "truncated"],
        ["empty", "request_refused"],
        [None, None],
    ]
    assert ByLength.asked == 2


# --- nothing twice ----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("reward_model")
def test_run_again_nothing_is_asked_and_nothing_scored(server: Loopback, file: Path, out: Path) -> None:
    """And every file is the same to the byte."""
    first = best(server, file, out, "-n", 3)
    before, scored = written(out), ByLength.asked
    again = best(server, file, out, "-n", 3)
    assert (first.code, again.code, len(server.received), scored, ByLength.asked) == (0, 0, 9, 9, 9)
    assert written(out) == before
    assert sorted(before) == [
        "best-of-n-requests.jsonl",
        "complete/requests.json",
        "complete/results.json",
        "complete/stage.json",
        "curve.json",
        "kept.jsonl",
        "results.jsonl",
        "samples.jsonl",
        "scores.jsonl",
    ]


@pytest.mark.usefixtures("reward_model")
def test_a_larger_n_and_more_prompts_ask_for_what_is_new(server: Loopback, file: Path, out: Path) -> None:
    """From 2 to 4 answers, then a prompt more in front; back to 2 answers nothing is asked, and the files are those."""
    best(server, file, out, "-n", 2)
    before = written(out)
    counts = [len(server.received)]
    best(server, file, out, "-n", 4)
    counts.append(len(server.received))
    best(server, file, out, "-n", 2)
    counts.append(len(server.received))
    assert {name: written(out)[name] for name in ("kept.jsonl", "samples.jsonl", "curve.json")} == {
        name: before[name] for name in ("kept.jsonl", "samples.jsonl", "curve.json")
    }
    file.write_text("Name a lake.\n" + file.read_text())
    best(server, file, out, "-n", 4)
    counts.append(len(server.received))
    assert counts == [6, 12, 12, 16]
    assert [one["source"] for one in rows(out / "kept.jsonl")] == [f"prompts.txt:{line}" for line in (1, 2, 3, 4)]
    assert {one["n"] for one in rows(out / "kept.jsonl")} == {4}


@pytest.mark.usefixtures("reward_model")
def test_nothing_that_was_recorded_is_asked_again_after_a_kill(
    file: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed with 5 answers recorded and one call in flight, again at 11: only what was in flight is sent twice."""
    monkeypatch.setattr(command, "PROGRAM", (sys.executable, "-c", PROGRAM))
    answered, patience = answering(), [0]

    async def script(path: str, body: Any, number: int) -> Reply:
        while number >= patience[0]:
            await asyncio.sleep(0.01)
        return answered(path, body, number)

    with Loopback(script) as server:
        for stop_at in (5, 11):
            patience[0] = len(server.received) + stop_at - settled(out)
            process = spawn(*options(server, file, out, "-n", 8))
            until(lambda: len(server.received) > patience[0] and settled(out) == stop_at, process)  # noqa: B023
            process.kill()
            assert (wait(process).code, settled(out)) == (-9, stop_at)
        assert len(server.received) == 11 + 2
        patience[0] = 1000
        assert wait(spawn(*options(server, file, out, "-n", 8))).code == 0
        assert (len(server.received), settled(out)) == (24 + 2, 24)
        first = written(out)
        assert wait(spawn(*options(server, file, out, "-n", 8))).code == 0
        assert len(server.received) == 24 + 2
    assert written(out) == first
    assert [len(one["scores"]) for one in rows(out / "kept.jsonl")] == [8, 8, 8]


@pytest.mark.usefixtures("reward_model")
def test_a_cap_ends_the_run_before_anything_is_kept(server: Loopback, file: Path, out: Path) -> None:
    """Exit 4; without the cap the same command goes on."""
    stopped = best(server, file, out, "-n", 3, "--max-calls", 4)
    assert (stopped.code, len(server.received), (out / "kept.jsonl").exists()) == (4, 4, False)
    assert (best(server, file, out, "-n", 3).code, len(server.received)) == (0, 9)
    assert len(rows(out / "kept.jsonl")) == 3


@pytest.mark.usefixtures("reward_model")
def test_answers_drawn_otherwise_are_not_mixed_with_these(server: Loopback, file: Path, out: Path) -> None:
    """Another temperature or another model stops it before a call, with what has changed."""
    best(server, file, out, "-n", 2)
    hotter = best(server, file, out, "-n", 3, "--temperature", 1)
    other = best(server, file, out, "-n", 3, "--model", "another-model")
    assert ([one.code for one in (hotter, other)], len(server.received)) == ([78, 78], 6)
    assert "(temperature: 0.7 -> 1.0)" in hotter.err
    assert "(model: 'some-model' -> 'another-model')" in other.err


@pytest.mark.usefixtures("reward_model")
def test_prompts_that_are_gone_are_left_out(server: Loopback, file: Path, out: Path) -> None:
    """Their answers stay recorded for when they come back; where some are still to be drawn, none is drawn instead."""
    best(server, file, out, "-n", 2)
    file.write_text("".join(f"{text}\n" for text in TEXTS[1:]))
    assert (best(server, file, out, "-n", 3).code, len(server.received)) == (0, 8)
    assert [one["source"] for one in rows(out / "kept.jsonl")] == ["prompts.txt:1", "prompts.txt:2"]
    file.write_text("".join(f"{text}\n" for text in TEXTS))
    assert (best(server, file, out, "-n", 2).code, len(server.received), len(rows(out / "kept.jsonl"))) == (0, 8, 3)
    best(server, file, out, "-n", 9, "--max-calls", 9)
    file.write_text("".join(f"{text}\n" for text in TEXTS[1:]))
    stopped = best(server, file, out, "-n", 9)
    assert (stopped.code, len(server.received)) == (78, 9)
    assert "was begun with prompts that are missing now, and not done" in stopped.err


@pytest.mark.usefixtures("reward_model")
def test_a_folder_where_nothing_was_answered_may_be_begun_anew(file: Path, out: Path) -> None:
    """A server that knows no such model: the next one may be named in the same folder."""
    with Loopback(lambda path, body, number: (404, {}, problem("no such model"))) as server:
        assert best(server, file, out, "-n", 2).code == 78
    with Loopback(answering()) as server:
        assert best(server, file, out, "-n", 3, "--model", "another-model", "--temperature", 1).code == 0


# --- what stops it before a call --------------------------------------------------------------------------------------


def test_what_is_no_reward_model_is_found_before_a_call(
    server: Loopback, file: Path, out: Path, reward_model: Path
) -> None:
    """Nothing is asked, and no folder made."""
    (reward_model / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    ended = best(server, file, out)
    assert (ended.code, len(server.received), out.exists()) == (78, 0, False)
    assert "holds LlamaForCausalLM, and no reward model" in ended.err


@pytest.mark.usefixtures("reward_model")
@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--temperature", 0), "gives the same answer 16 times"),
        (("--api", "completion"), "take --api chat"),
        (("-n", 0), "-n"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    server: Loopback, file: Path, out: Path, more: Sequence[object], told: str
) -> None:
    """Exit 2, and nothing asked."""
    ended = best(server, file, out, *more)
    assert (ended.code, len(server.received)) == (2, 0)
    assert told in ended.err


@pytest.mark.usefixtures("reward_model")
def test_the_folder_of_another_command_is_left_alone(server: Loopback, file: Path, out: Path) -> None:
    """The results of `complete` would be written over."""
    requests = out.parent / "requests.jsonl"
    body = {"model": "some-model", "messages": [{"role": "user", "content": "Hello"}]}
    line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": body}
    requests.write_bytes(orjson.dumps(line))
    assert invoke("complete", requests, "--out", out, "--base-url", f"{server.url}/v1").code == 0
    before = written(out)
    ended = best(server, file, out)
    assert (ended.code, len(server.received)) == (78, 1)
    assert "holds a run of another command" in ended.err
    assert written(out) == before


@pytest.mark.usefixtures("reward_model")
def test_a_dry_run_counts_what_is_left_and_sends_nothing(server: Loopback, file: Path, out: Path) -> None:
    """Of 9 answers 6 are recorded."""
    assert best(server, file, out, "-n", 2, "--dry-run").code == 0
    assert (len(server.received), out.exists()) == (0, False)
    best(server, file, out, "-n", 2)
    before = written(out)
    ended = best(server, file, out, "-n", 3, "--dry-run")
    assert (ended.code, len(server.received)) == (0, 6)
    assert next(line.split()[1:] for line in ended.out.splitlines() if " calls " in line) == ["calls", "3", "3", "3"]
    assert written(out) == before
