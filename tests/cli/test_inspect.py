"""`selfinstruct status`: what a run has."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from selfinstruct.cli import inspect
from selfinstruct.yields import Span
from tests.cli.two_runs import STAGES, ask, rows, two_runs, unchanged
from tests.command import Ended, invoke
from tests.faults.answer_server import AnswerServer

MILLI = 10**9  # pico-units


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two finished runs: ``served``, with rejects of every kind, and after it ``scripted``."""
    return two_runs(tmp_path_factory.mktemp("output"))


@pytest.fixture(autouse=True)
def only_read(output: Path) -> Iterator[None]:
    """`status` never writes."""
    with unchanged(output):
        yield


# --- status ---------------------------------------------------------------------------------------------------------


def test_status_counts_what_is_in_the_shards(output: Path) -> None:
    """Stage by stage, in the order of the chain, with the calls and tokens of the ledger."""
    ended = invoke("status", "served", "--output-dir", output, "--json")
    (run,) = json.loads(ended.out)
    assert (ended.code, ended.err) == (0, "")
    assert (run["run"], run["target"], run["money"]["waste"]) == ("served", 80, {})
    assert [stage["stage"] for stage in run["stages"]] == STAGES
    for stage in run["stages"]:
        rejects = [row["reason"] for row in rows(output, stage["stage"], "rejects")]
        assert stage["state"] == "complete"
        assert stage["accepted"] == len(rows(output, stage["stage"]))
        assert stage["rejects"] == {reason: rejects.count(reason) for reason in sorted(set(rejects))}
        assert stage["tokens"] > 100 * stage["calls"] > 0


def test_status_lists_every_run_the_latest_last(output: Path) -> None:
    """Names, targets, counts and reasons, for people."""
    ended = invoke("status", "--output-dir", output)
    lines = ended.out.splitlines()
    assert [line for line in lines if not line.startswith(" ")] == ["served  (target 80)", "scripted  (target 10)"]
    assert f"{len(rows(output, 'instances'))} in shards" in ended.out
    assert "too_similar " in ended.out
    assert "not finished" not in ended.out


def test_status_keeps_the_order_of_the_chain_after_many_starts(output: Path) -> None:
    """Each start writes the stages' files anew."""
    for _ in range(3):
        assert (
            invoke("generate", "--api", "fake", "-n", 10, "--run", "scripted", "--output-dir", output, "-q").code == 0
        )
        (run,) = json.loads(invoke("status", "scripted", "--output-dir", output, "--json").out)
        assert [stage["stage"] for stage in run["stages"]] == STAGES


def test_status_says_what_to_do_with_an_unfinished_run(tmp_path: Path) -> None:
    """The answers that are in no shard yet are not lost."""
    with AnswerServer() as server:
        server.fault = lambda path, number: (401, b'{"error": {"message": "bad key"}}') if number >= 20 else None
        where = ("--api", "completion", "--base-url", server.url, "--output-dir", tmp_path, "--run", "cut")
        assert invoke("generate", *where, "-q").code == 77
    ended = invoke("status", "--output-dir", tmp_path)
    assert ended.code == 0
    assert "bootstrap   running          0 in shards" in ended.out
    assert "run the same command again to go on" in ended.out


def test_status_of_nothing(tmp_path: Path) -> None:
    """An empty folder, or none at all, is no error; a run that is not there is."""
    for folder in (tmp_path, tmp_path / "none"):
        ended = invoke("status", "--output-dir", folder)
        assert (ended.code, ended.out) == (0, f"no runs in {folder}; 'selfinstruct generate' starts one\n")
        assert invoke("status", "--json", "--output-dir", folder).out == "[]\n"
    ended = invoke("status", "gone", "--output-dir", tmp_path)
    assert (ended.code, ended.out) == (65, "")
    assert ended.err == f"selfinstruct: {tmp_path}/gone: no such run; 'selfinstruct status' lists them\n"


# --- the yield over time --------------------------------------------------------------------------------------------


def status(folder: Path, *args: object) -> Ended:
    """``status`` of the run ``r`` in a folder."""
    return invoke("status", "r", "--output-dir", folder, *args)


@pytest.fixture
def fake(tmp_path: Path) -> Callable[..., Path]:
    """A run ``r`` of scripted answers, one round after the other, in a folder of its own."""

    def generated(*args: object) -> Path:
        where = ("--output-dir", tmp_path, "--run", "r", "-q", "--set", "lag=1", "--set", "round_size=1")
        assert invoke("generate", "--api", "fake", *where, *args).code == 0
        return tmp_path

    return generated


def test_the_yield_of_a_named_run_adds_up_to_what_status_says_of_it(fake: Callable[..., Path]) -> None:
    """Whatever the shards: what was accepted, rejected, asked and spent is that of some span, and of one."""
    price = ("--price", "in=0.5,out=1.5,currency=cny")
    folder = fake("-n", 80, "--set", "rounds_per_shard=1", *price)
    (run,) = json.loads(status(folder, "--json").out)
    first, *_, last = run["stages"]
    spans = run["yield"]
    rounds = [round for span in spans for round in range(span["first_round"], span["last_round"] + 1)]
    assert (rounds, len(spans)) == (list(range(len(rounds))), 6)
    assert rounds[-1] > 10
    assert sum(span["accepted"] for span in spans) == first["accepted"]
    assert sum(span["final"] for span in spans) == last["accepted"]
    assert sum(span["calls"] for span in spans) == sum(stage["calls"] for stage in run["stages"])
    assert sum(Decimal(span["spent"]) for span in spans) == Decimal(run["money"]["spent"]) > 0
    for span in spans:
        assert span["accepted_per_100_calls"] == 100 * span["accepted"] / span["calls"]
        assert span["accepted_per_unit"] == pytest.approx(span["accepted"] / float(span["spent"]))
        assert span["unpriced_calls"] == 0


def test_the_yield_is_told_below_what_status_says(fake: Callable[..., Path]) -> None:
    """A line for each span, and one that compares the first with the last; of one named run, not of a list."""
    folder = fake("-n", 20, "--price", "in=0.5,out=1.5,currency=cny")
    listed = invoke("status", "--output-dir", folder).out
    text = status(folder).out
    assert text.startswith(listed)
    (run,) = json.loads(status(folder, "--json").out)
    title, head, *table, told = text.removeprefix(listed).splitlines()
    assert title == "  yield over time (accepted by bootstrap, final by instances, calls of all stages)"
    assert " ".join(head.split()) == "rounds calls accepted final per 100 calls spent per ¥1.00 largest reject"
    assert [[int(n) for n in line.split()[:4]] for line in table] == [
        [span[name] for name in ("first_round", "calls", "accepted", "final")] for span in run["yield"]
    ]
    assert told.startswith("  100 calls brought ")
    assert "; ¥1.00 brought " in told
    assert "yield" not in json.loads(invoke("status", "--output-dir", folder, "--json").out)[0]


def test_a_run_of_one_round_has_no_time_to_speak_of(fake: Callable[..., Path]) -> None:
    """Nothing is added where there is nothing to compare."""
    folder = fake("-n", 2)
    assert json.loads(status(folder, "--json").out)[0]["yield"] == []
    assert status(folder).out == invoke("status", "--output-dir", folder).out


def test_a_damaged_shard_hides_the_yield_and_nothing_else(fake: Callable[..., Path]) -> None:
    """The rest is shown, and why the yield is not."""
    folder = fake("-n", 20)
    shard = folder / "r" / "bootstrap" / "shard-0.jsonl"
    shard.write_bytes(shard.read_bytes()[1:])
    said = f"no yield over time: {shard}: is not as its manifest says; run again to derive it anew\n"
    assert status(folder) == (0, invoke("status", "--output-dir", folder).out, said)
    ended = status(folder, "--json")
    assert (ended.code, ended.err, json.loads(ended.out)[0].get("yield")) == (0, said, None)


def test_answered_requests_have_no_yield(tmp_path: Path) -> None:
    """`complete` accepts and rejects nothing."""
    with AnswerServer() as server:
        server.fault = lambda path, number: (401, b'{"error": {"message": "no"}}')
        ask(server, tmp_path / "c", {"role": "user", "content": "<task 1>"})
    ended = invoke("status", tmp_path / "c", "--json")
    (run,) = json.loads(ended.out)
    assert (ended.code, run["stages"][0]["stage"], "yield" in run) == (0, "complete", False)
    assert "yield" not in invoke("status", tmp_path / "c").out


def account(state: str, *stages: str) -> dict[str, Any]:
    """What status knows of a run's stages."""
    return {"stages": [{"stage": stage, "state": state} for stage in stages]}


def test_the_table_of_a_chain() -> None:
    """Numbers stand below each other; what is unknown is a dash, what is missing is named, and zero is zero."""
    spans = [
        Span(0, 9, 1200, 310 * MILLI, 0, 540, 520, Counter(cut=60)),
        Span(10, 19, 900, 200 * MILLI, 7, 250, 240, Counter(cut=350, too_short=150)),
        Span(20, 20, 80, 1250 * MILLI, 0, 10, 9, Counter(cut=90)),
    ]
    assert inspect._yield_lines(spans, account("running", *STAGES), "usd") == [
        "  yield over time (accepted by bootstrap, final by instances, calls of all stages;"
        " rounds not yet in shards are not counted)",
        "    rounds  calls  accepted  final  per 100 calls               spent  per $1.00  largest reject",
        "    0-9      1200       540    520             45               $0.31       1742  cut, 10% of candidates",
        "    10-19     900       250    240           27.8  $0.20 + 7 unpriced          -  cut, 47% of candidates",
        "    20         80        10      9           12.5               $1.25          8  cut, 90% of candidates",
        "  100 calls brought 45 accepted at first, 12.5 at last; $1.00 brought 1742 accepted at first, 8 at last",
    ]


def test_the_table_of_a_lone_stage() -> None:
    """What it accepts is final; here nobody knows a price, and then it is free."""
    spans = [Span(0, 0, 8, None, 8, 40, 40), Span(1, 1, 8, 0, 0, 0, 0, Counter(echoed=3))]
    assert inspect._yield_lines(spans, account("complete", "belle"), "cny") == [
        "  yield over time (accepted by belle)",
        "    rounds  calls  accepted  per 100 calls  spent  per ¥1.00  largest reject",
        "    0           8        40            500      -          -  -",
        "    1           8         0              0     ¥0          -  echoed, 100% of candidates",
        "  100 calls brought 500 accepted at first, 0 at last",
    ]


def test_nothing_is_compared_where_nothing_was_asked() -> None:
    """A ledger may have lost its calls; the shards are still shown."""
    spans = [Span(0, 0, accepted=4), Span(1, 1, accepted=3)]
    told = inspect._yield_lines(spans, account("complete", "alpaca"), "usd")
    assert [" ".join(line.split()) for line in told[2:]] == ["0 0 4 - - - -", "1 0 3 - - - -"]
