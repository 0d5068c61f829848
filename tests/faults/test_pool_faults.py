"""A run over a pool, killed between its models and among them: nothing is asked twice, and the bytes are the same."""

from __future__ import annotations

import shutil
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.command import data_files, invoke, spawn, until, wait
from tests.faults.answer_server import middling
from tests.faults.campaign import digest, prove_sound
from tests.faults.campaign import rows as committed
from tests.faults.dialogue_server import DialogueServer
from tests.pools_at_work import Voices, at_home, attempts, hurry, local, pool_file, remote, settled
from tests.request_files import answers, request, write
from tests.stub_engine import starts

pytestmark = pytest.mark.faults

TREES = ("ash", "birch", "cedar")
Killed = list[tuple[set[str], Counter[str]]]
"""For each kill: the bodies that had their answer then, and how often each body had been asked."""


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the starts in this process; those that are killed wait as they do for everybody."""
    hurry(monkeypatch)


def started(place: Path) -> list[str]:
    """The names of the models that vLLM was started with, in order."""
    return [Path(start.arguments[1]).name for start in starts(place / "starts")]


def kill_when(ready: Callable[[], bool], words: Sequence[object], place: Path) -> None:
    """SIGKILL a command as soon as it is ready for it."""
    process = spawn(*words, **at_home(place))
    until(ready, process)
    process.kill()
    ended = wait(process)
    assert ended.code == -signal.SIGKILL, ended.err


def kill_often(words: Sequence[object], run: Path, asked: Callable[[], Counter[str]], kills: int, total: int) -> Killed:
    """SIGKILL a command again and again, each time when another part of its ``total`` answers is recorded."""
    killed: Killed = []
    for number in range(1, kills + 1):
        kill_when(lambda number=number: settled(run) >= number * total // (kills + 2), words, run.parent)  # type: ignore[misc]
        sql = "SELECT c.body FROM calls c JOIN answers a ON a.call = c.id"
        killed.append(({digest(body) for (body,) in committed(run, sql)}, asked()))
    return killed


def tried(run: Path) -> Counter[str]:
    """How often the ledger has each body as attempted: of a vLLM of ours nobody else counts."""
    return Counter(
        digest(body) for (body,) in committed(run, "SELECT body FROM attempts JOIN calls ON calls.id = call")
    )


def check_nothing_was_asked_again(killed: Killed, asked: Counter[str]) -> None:
    """What was recorded at a kill has been asked no more often since."""
    assert len({len(bodies) for bodies, _ in killed}) == len(killed), "the moments were not spread"
    for bodies, then in killed:
        assert all(then[body] for body in bodies), "what has its answer was asked for"
        assert {body: asked[body] for body in bodies} == {body: then[body] for body in bodies}


def test_a_kill_between_two_models_repeats_nothing_and_starts_the_first_no_more(tmp_path: Path) -> None:
    """The first has answered all of its lines, the second none: what is left is the second's alone."""
    with Voices() as server:
        pool = pool_file(
            tmp_path / "p.toml", local(tmp_path / "ash"), local(tmp_path / "birch"), remote(server, "cedar")
        )
        requests = [request(f"r-{n}", f"Question {n}?", model=TREES[n % 3]) for n in range(60)]
        write(tmp_path / "requests.jsonl", requests)
        out = tmp_path / "out"
        words = ("complete", tmp_path / "requests.jsonl", "--pool", pool, "--out", out)
        kill_when(lambda: settled(out) >= 40, words, tmp_path)
        first = started(tmp_path)
        assert (len(first), settled(out), server.posts) == (1, 40, {"cedar": 20})

        assert invoke(*words, **at_home(tmp_path)).code == 0
        assert started(tmp_path) == [*first, *({"ash", "birch"} - set(first))]
        assert (attempts(out), server.posts) == ({(name, "settled"): 20 for name in TREES}, {"cedar": 20})
        assert [text.split()[0] for text in answers(out).values()] == list(TREES) * 20

        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir(mode=0o700)
        shutil.copy(out / "ledger.sqlite3", elsewhere)
        assert invoke(*words[:-1], elsewhere, **at_home(tmp_path)).code == 0
        assert data_files(elsewhere) == data_files(out)
    assert (elsewhere / "results.jsonl").read_bytes() == (out / "results.jsonl").read_bytes()
    assert len(started(tmp_path)) == 2
    prove_sound(out)


@pytest.mark.slow
def test_a_run_of_stages_over_a_pool_killed_at_random_ends_with_the_same_bytes(tmp_path: Path) -> None:
    """Self-Instruct over three models of an API, four times SIGKILL."""
    with Voices(middling, latency=lambda rng: rng.uniform(0, 0.02)) as server:
        models = [remote(server, name, api="completion", extra_body={"tree": name}) for name in TREES]
        pool = pool_file(tmp_path / "p.toml", *models)
        words = (
            "generate",
            "--pool",
            pool,
            "--output-dir",
            tmp_path,
            "-n",
            120,
            "--set",
            "rounds_per_shard=2",
            "--run",
        )
        assert invoke(*words, "whole").code == 0
        total = settled(tmp_path / "whole")
        server.asked.clear()
        killed = kill_often([*words, "killed"], tmp_path / "killed", server.by_body, 4, total)
        assert invoke(*words, "killed").code == 0
        check_nothing_was_asked_again(killed, server.by_body())
    assert data_files(tmp_path / "killed") == data_files(tmp_path / "whole")
    prove_sound(tmp_path / "killed")


def test_local_models_in_turn_survive_kills_too(tmp_path: Path) -> None:
    """Alpaca by a schema over two vLLMs of ours and an API, killed twice wherever it is."""
    with Voices() as server:
        models = local(tmp_path / "ash"), remote(server, "cedar"), local(tmp_path / "birch")
        pool = pool_file(tmp_path / "p.toml", *models)
        words: list[Any] = [*"generate --method alpaca --format json --max-tokens 512 -n 40 --pool".split(), pool]
        words += ["--output-dir", tmp_path, "--run"]
        assert invoke(*words, "whole", **at_home(tmp_path)).code == 0
        total, run = settled(tmp_path / "whole"), tmp_path / "killed"
        killed = kill_often([*words, "killed"], run, lambda: tried(run), 2, total)
        assert invoke(*words, "killed", **at_home(tmp_path)).code == 0
    check_nothing_was_asked_again(killed, tried(run))
    assert data_files(tmp_path / "killed") == data_files(tmp_path / "whole")
    found = attempts(tmp_path / "killed")
    assert sum(count for (_, state), count in found.items() if state == "settled") == total
    prove_sound(tmp_path / "killed")


@pytest.mark.slow
def test_dialogues_over_a_pool_survive_kills(tmp_path: Path) -> None:
    """Whoever answers in a dialogue answers in it to its end, whatever happens in between."""
    with DialogueServer(latency=lambda rng: rng.uniform(0, 0.02)) as server:
        pool = pool_file(tmp_path / "p.toml", *(remote(server, name) for name in TREES))
        words: list[Any] = [
            *"dialogue --api chat --model own --rounds 1-3 -n 60 --set topics.subtopics=5 --pool".split(),
            pool,
        ]
        words += ["--base-url", server.url, "--output-dir", tmp_path, "--run"]
        assert invoke(*words, "whole").code == 0
        total = settled(tmp_path / "whole")
        server.asked.clear()
        killed = kill_often([*words, "killed"], tmp_path / "killed", server.asked.copy, 3, total)
        assert invoke(*words, "killed").code == 0
        check_nothing_was_asked_again(killed, server.asked)
    assert data_files(tmp_path / "killed") == data_files(tmp_path / "whole")
    prove_sound(tmp_path / "killed")


def test_a_run_that_is_told_to_stop_does_not_wait_for_a_model_that_loads(tmp_path: Path) -> None:
    """SIGTERM in the middle of a start that takes ten minutes: it ends, with what others have answered."""
    with Voices() as server:
        slow = local(tmp_path / "ash", start_seconds=590)
        pool = pool_file(tmp_path / "p.toml", slow, remote(server, "cedar"))
        write(
            tmp_path / "requests.jsonl",
            [request(f"r-{n}", f"Question {n}?", model=("ash", "cedar")[n % 2]) for n in range(20)],
        )
        words = ("complete", tmp_path / "requests.jsonl", "--pool", pool, "--out", tmp_path / "out")
        process = spawn(*words, **at_home(tmp_path))
        until(lambda: settled(tmp_path / "out") >= 10 and bool(started(tmp_path)), process)
        process.send_signal(signal.SIGTERM)
        ended = wait(process, 60)
    assert ended.code == 143
    assert "10 of 20 requests answered, 0 failed, 10 waiting" in ended.out
    assert attempts(tmp_path / "out") == {("cedar", "settled"): 10}
