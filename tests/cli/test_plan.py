"""`selfinstruct plan`, and --dry-run, which it stands for: what is printed, and that nothing happens."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.command import invoke
from tests.faults.answer_server import AnswerServer

NO_KEY = {"OPENAI_API_KEY": ""}


@pytest.fixture
def requests(tmp_path: Path) -> Path:
    """Ten requests of a model that has a price."""
    body = {
        "model": "gpt-4o-mini",
        "messages": [{"role": "user", "content": "Why is the sky blue?"}],
        "max_tokens": 100,
    }
    rows = ({"custom_id": str(n), "method": "POST", "url": "/v1/chat/completions", "body": body} for n in range(10))
    path = tmp_path / "requests.jsonl"
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return path


def rows(out: str) -> dict[str, list[str]]:
    """The table's rows by their last label: low, likely, high, as printed."""
    found = (re.split(r"\s{2,}", line.strip()) for line in out.splitlines())
    return {cells[-4]: cells[-3:] for cells in found if len(cells) >= 4}


# --- complete -------------------------------------------------------------------------------------------------------


def test_a_plan_of_a_batch_says_what_it_would_come_to(requests: Path) -> None:
    """Without a key and without --out: calls, tokens, cost and disk, three times, and where the price is from."""
    ended = invoke("plan", "complete", requests, **NO_KEY)
    assert (ended.code, ended.err) == (0, "")
    table = rows(ended.out)
    assert table["calls"] == ["10", "10", "10"]
    # 20 bytes: 5 tokens and 4 for the frame, or three quarters of that, or 20 + 16.
    assert table["tokens in"] == ["60", "90", "360"]
    assert table["tokens out"] == ["60", "500", "1 000"]
    # 0.15 and 0.60 usd a million.
    assert table["cost"] == ["$0.000045", "$0.0003135", "$0.000654"]
    assert re.search(
        r"^price     gpt-4o-mini: \$0\.15 in, \$0\.60 out per million tokens \(https://\S+, 20", ended.out, re.M
    )
    assert ended.out.endswith("Nothing was sent.\n")


def test_plan_is_the_command_with_dry_run(requests: Path) -> None:
    """The same bytes, for either command and whatever its options."""
    for command, *options in (
        ["complete", requests, "--rpm", 5, "--price", "in=1,out=2"],
        ["generate", "--api", "fake", "-n", 50, "--json"],
    ):
        assert invoke("plan", command, *options) == invoke(command, *options, "--dry-run")


def test_a_batch_that_was_sent_has_nothing_left(requests: Path, tmp_path: Path) -> None:
    """--out is where the answers are looked for."""
    out = ("--out", tmp_path / "out", "--api", "fake", "--price", "in=1,out=2")
    assert invoke("complete", requests, *out, "--quiet").code == 0
    ended = invoke("plan", "complete", requests, *out)
    assert ended.code == 0
    assert rows(ended.out)["calls"] == ["0", "0", "0"]
    assert re.search(r"^recorded  10 calls, \$0\.\d+; none of them is made again$", ended.out, re.M)


def test_caps_and_limits_show_how_far_and_how_long(requests: Path) -> None:
    """The cap in instances of what is wanted, the time at ten requests a minute."""
    ended = invoke("plan", "complete", requests, "--max-calls", 4, "--rpm", 10)
    assert rows(ended.out)["time"] == ["60 s", "60 s", "60 s"]
    assert (
        "caps      --max-calls 4: enough for 4 (at the high reckoning) to 4 (low) of 10 requests, likely 4" in ended.out
    )


def test_a_price_that_is_not_known_is_a_line_and_under_a_cap_on_cost_an_error(requests: Path) -> None:
    """As the run would: 78, with how to give one."""
    asked = ("plan", "complete", requests, "--model", "nobodys", "--base-url", "http://127.0.0.1:9")
    ended = invoke(*asked)
    assert ended.code == 0
    assert "price     nobodys: unknown: give --price in=…,out=… (per million tokens)" in ended.out.splitlines()
    assert "cost" not in rows(ended.out)
    capped = invoke(*asked, "--max-cost", "5usd")
    assert (capped.code, capped.out) == (78, "")
    assert "is not known: give --price in=…,out=…" in capped.err


def test_json_is_one_value(requests: Path) -> None:
    """Costs as decimal strings, nothing rounded."""
    ended = invoke("plan", "complete", requests, "--json", "--max-cost", "0.0002usd")
    plan = json.loads(ended.out)
    assert (ended.code, ended.err) == (0, "")
    assert (plan["unit"], plan["wanted"], plan["currency"], plan["unpriced_calls"]) == ("requests", 10, "usd", 0)
    high = {"calls": 10, "prompt_tokens": 360, "completion_tokens": 1000, "cost": "0.000654"}
    assert {key: plan["total"]["high"][key] for key in high} == high
    assert plan["stages"]["complete"]["high"]["cost"] == "0.000654"
    # 654 in all, 65.4 each: three fit into 200.
    assert (plan["reach"]["high"], plan["caps"]["max-cost"]) == (3, "0.0002 usd")
    assert plan["prices"]["gpt-4o-mini"]["in"] == "0.15"


# --- generate -------------------------------------------------------------------------------------------------------


def test_a_plan_of_a_run_shows_the_first_prompt_and_every_stage(tmp_path: Path) -> None:
    """Nothing is written and nobody is called."""
    with AnswerServer() as server:
        where = ("--api", "completion", "--base-url", server.url, "--output-dir", tmp_path / "output")
        ended = invoke("plan", "generate", *where, "-n", 100, "--price", "in=1,out=1", **NO_KEY)
        assert (server.counts.requests, list(tmp_path.iterdir())) == (0, [])
    assert (ended.code, ended.err) == (0, "")
    assert re.search(r"^<task 9>$", ended.out, re.MULTILINE)
    stages = [line.split() for line in ended.out.splitlines() if re.match(r"\w+\s+calls ", line)]
    assert [stage[0] for stage in stages] == ["bootstrap", "classify", "instances", "total"]
    assert stages[0] == ["bootstrap", "calls", "16", "32", "104"]
    assert len(re.findall(r"(?m)^ +cost  ", ended.out)) == 4


def test_an_extension_is_planned_from_what_is_there(tmp_path: Path) -> None:
    """+N of a finished run is N more; a run that is done says so."""
    flags: tuple[Any, ...] = ("--api", "fake", "--run", "run", "--output-dir", tmp_path)
    assert invoke("generate", *flags, "-n", 40, "--quiet").code == 0
    done = invoke("plan", "generate", *flags, "-n", 40)
    assert "note      this run is done: nothing would be sent" in done.out
    more = json.loads(invoke("plan", "generate", *flags, "-n", "+100", "--json").out)
    assert (more["wanted"], more["unit"]) == (100, "instructions")
    assert more["total"]["likely"]["calls"] > 0


# --- usage ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["plan"], "Missing argument 'generate|dialogue|feedback|complete'"),
        (["plan", "export"], "'export' is not one of 'generate', 'dialogue', 'feedback', 'complete'"),
        (["plan", "generate", "--modle", "x"], "No such option: --modle"),
        (["plan", "generate", "-n", "many"], "--num-instructions 'many': expected a number"),
        (["plan", "complete"], "Missing argument 'REQUESTS.jsonl'"),
        (["complete", "r.jsonl"], "--out is missing"),
    ],
)
def test_a_usage_error_is_the_commands_own(words: list[str], said: str) -> None:
    """One line on standard error, exit code 2."""
    ended = invoke(*words)
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err


def test_help_behind_the_command_is_the_commands() -> None:
    """And before it, plan's own."""
    assert "--num-instructions" in invoke("plan", "generate", "--help").out
    own = invoke("plan", "--help")
    assert own.code == 0
    assert "--num-instructions" not in own.out


def test_a_file_that_is_not_there_is_bad_data(tmp_path: Path) -> None:
    """65, the file named, as for the run."""
    ended = invoke("plan", "complete", tmp_path / "none.jsonl")
    assert ended.code == 65
    assert "none.jsonl: cannot read the requests" in ended.err
