"""What people and programs see of a run: the bar or the lines while it works, the account and the money at its end."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from selfinstruct import completing, launch
from selfinstruct.admission.budget import Budget, Caps, Totals
from selfinstruct.cli import report
from selfinstruct.cli.report import Progress, Shown
from selfinstruct.errors import AccessDenied, ConfigProblem, LimitReached, ModelError
from selfinstruct.ledger_reader import Spending
from selfinstruct.money import Bound, TokenBound, parse_price
from selfinstruct.store import Tally

USD = 10**12
Captured = pytest.CaptureFixture[str]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that `report` believes it is; move them by hand."""
    now = [1000.0]
    monkeypatch.setattr(report, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """`report` believes that standard error is one."""
    monkeypatch.setattr(report, "sys", SimpleNamespace(stderr=SimpleNamespace(isatty=lambda: True)))


def at(done: int, total: int = 400, words: str = "9 calls", **fields: Any) -> Shown:
    """So far is the run."""
    return Shown(done, total, words, fields)


def shown_at(progress: Progress, clock: list[float], *moments: tuple[float, int]) -> None:
    """Update it at these seconds after the start, so much being done."""
    for seconds, done in moments:
        clock[0] = 1000.0 + seconds
        progress.update(lambda done=done: at(done))  # type: ignore[misc]


# --- lines ----------------------------------------------------------------------------------------------------------


def test_without_a_terminal_progress_is_one_plain_line_a_minute(clock: list[float], capsys: Captured) -> None:
    """Cron mails what is printed: nothing before the first minute is over, then counts, on standard error."""
    with Progress("run", "task", quiet=False) as progress:
        shown_at(progress, clock, (0, 0), (59, 4), (61, 4), (62, 4), (120, 4), (122, 4))
        progress.stopped(None)
    assert capsys.readouterr() == (
        "",
        "run: 4/400 tasks, 9 calls, about 1.7 h left\nrun: 4/400 tasks, 9 calls, about 3.4 h left\n",
    )


def test_the_time_left_follows_the_pace_of_this_start(clock: list[float], capsys: Captured) -> None:
    """What earlier starts have done, and the time before the first answer, say nothing of how fast it goes now."""
    with Progress("run", "request", quiet=False) as progress:
        shown_at(progress, clock, (40, 300), (60, 310), (120, 340))
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "run: 310/400 requests, 9 calls, about 3 min left",  # 10 in 20 s: 90 in 180 s
        "run: 340/400 requests, 9 calls, about 2 min left",  # 40 in 80 s: 60 in 120 s
    ]


@pytest.mark.parametrize("done", [0, 400])
def test_no_time_is_left_where_none_can_be_told(clock: list[float], capsys: Captured, done: int) -> None:
    """Before anything was done, and when all is."""
    with Progress("run", "request", quiet=False) as progress:
        shown_at(progress, clock, (0, 0), (60, done))
    assert capsys.readouterr().err == f"run: {done}/400 requests, 9 calls\n"


def test_how_far_a_run_is_is_looked_up_only_to_be_shown(clock: list[float], capsys: Captured) -> None:
    """It may be told of every one of a million answers."""
    looks: list[float] = []

    def look() -> Shown:
        looks.append(clock[0])
        return at(1)

    with Progress("run", "request", quiet=False) as progress:
        for second in range(0, 130, 5):
            clock[0] = 1000.0 + second
            progress.update(look)
    assert looks == [1000.0, 1060.0, 1120.0]


def test_quiet_shows_nothing_and_looks_at_nothing(clock: list[float], capsys: Captured) -> None:
    """Not even that it is stopping."""
    with Progress("run", "request", quiet=True) as progress:
        for second in (0, 61):
            clock[0] = 1000.0 + second
            progress.update(lambda: pytest.fail("looked"), stopping=True)
        progress.stopped(LimitReached("enough"))
    assert capsys.readouterr() == ("", "")


def test_stopping_is_said_once_and_at_once(clock: list[float], capsys: Captured) -> None:
    """With what is waited for, and what a second signal does."""
    with Progress("run", "request", quiet=False) as progress:
        for _ in range(3):
            progress.update(lambda: at(1), stopping=True)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("stopping: waiting for the calls in flight")
    assert "a second signal ends at once" in said


# --- events ---------------------------------------------------------------------------------------------------------


def test_events_are_one_json_object_a_line(clock: list[float], capsys: Captured) -> None:
    """Start, progress once a minute with its numbers, stopping, end; each with its time and its run."""
    before = datetime.now().astimezone() - timedelta(seconds=1)
    with Progress("my run", "request", quiet=False, as_json=True) as progress:
        progress.update(lambda: at(300, new_calls=0))
        clock[0] += 60
        progress.update(lambda: at(320, new_calls=20))
        clock[0] += 1
        progress.update(lambda: at(321), stopping=True)
        progress.stopped(ModelError("the provider\nis gone"))
    out, err = capsys.readouterr()
    events = [json.loads(line) for line in err.splitlines()]
    times = [datetime.fromisoformat(event.pop("time")) for event in events]
    assert out == ""
    assert events == [
        {"event": "started", "run": "my run"},
        {"event": "progress", "run": "my run", "done": 320, "total": 400, "eta_seconds": 240, "new_calls": 20},
        {"event": "stopping", "run": "my run"},
        {"event": "stopped", "run": "my run", "exit_code": 75, "reason": "the provider\nis gone"},
    ]
    assert all(time.utcoffset() == timedelta(0) and time >= before for time in times)


def test_events_need_no_terminal_and_draw_no_bar_on_one(terminal: None, clock: list[float], capsys: Captured) -> None:
    """A program reads them, whatever standard error is."""
    with Progress("run", "request", quiet=False, as_json=True) as progress:
        shown_at(progress, clock, (0, 1), (60, 2))
        progress.stopped(None)
    events = [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()]
    assert events == ["started", "progress", "stopped"]


# --- the bar --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("unit", "name"), [("task", "accepted"), ("request", "done")])
def test_on_a_terminal_progress_is_a_bar(terminal: None, capsys: Captured, unit: str, name: str) -> None:
    """Towards the target and never beyond; it is gone when asked to, once or twice."""
    with Progress("run", unit, quiet=False) as progress:
        progress.update(lambda: at(50, 40, "7 instances, 50% kept"))
        progress.close()
        progress.close()
    shown = capsys.readouterr().err
    assert f"{name}: 100%" in shown
    assert "40/40" in shown
    assert "7 instances, 50% kept" in shown


def test_a_quiet_bar_is_none(terminal: None, capsys: Captured) -> None:
    """On a terminal, too."""
    with Progress("run", "task", quiet=True) as progress:
        progress.update(lambda: at(1))
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("wait", [0, 1800])
def test_a_bar_s_pace_is_that_of_this_start_without_its_wait_for_a_model(
    terminal: None, capsys: Captured, monkeypatch: pytest.MonkeyPatch, wait: int
) -> None:
    """A resumed run that found 300 done and did 20 in 20 seconds needs 80 more for the last 80; loading is no pace."""
    now = [1000.0]
    with Progress("run", "request", quiet=False) as progress:
        assert progress._bar is not None
        monkeypatch.setattr(progress._bar, "_time", lambda: now[0])
        monkeypatch.setattr(progress._bar, "write", lambda line, file: None)
        progress._bar.start_t = now[0]
        progress.update(lambda: at(300))
        if wait:
            now[0] += wait
            progress.say("m: vLLM answers")
            progress.update(lambda: at(300))
        now[0] += 20
        progress._next = 0
        progress.update(lambda: at(320))
        capsys.readouterr()
        progress._bar.refresh()
        shown = capsys.readouterr().err
    assert "320/400 [00:20<01:20" in shown


def test_stopping_is_said_below_the_bar(terminal: None, capsys: Captured) -> None:
    """Not within its line."""
    with Progress("run", "request", quiet=False) as progress:
        progress.update(lambda: at(1), stopping=True)
    assert "\nstopping: waiting for the calls in flight" in capsys.readouterr().err


# --- how far --------------------------------------------------------------------------------------------------------


def stage(accepted: int, rejects: int = 0, rounds: int = 1) -> Any:
    """A stage that has screened so much."""
    tally = SimpleNamespace(accepted=accepted, rejects={"too_similar": rejects} if rejects else {}, rounds=rounds)
    store = SimpleNamespace(accepted=accepted, tally=tally)
    return SimpleNamespace(store=store, stage=SimpleNamespace(name="instances"))


@pytest.mark.parametrize(
    ("accepted", "rejects", "rate"), [(0, 0, "nothing screened yet"), (50, 50, "50% kept"), (12, 4, "75% kept")]
)
def test_how_far_a_chain_is(accepted: int, rejects: int, rate: str) -> None:
    """Accepted instructions of the first stage, instances of the last, and how many candidates are kept."""
    account = launch.Account("run", 40, new_calls=9, new_tokens=800)
    chain = [stage(accepted, rejects), stage(10)]
    account.tallies["bootstrap"] = chain[0].store.tally
    shown = report.generating(account, chain)
    assert shown[:3] == (accepted, 40, f"10 instances, 9 calls, 800 tokens, {rate}")
    candidates = accepted + rejects
    assert shown.fields == {"instances": 10, "candidates": candidates, "new_calls": 9, "new_tokens": 800}


def test_how_far_a_file_of_requests_is() -> None:
    """Failures are said where there are any."""
    account = completing.Account(Path("o"), total=9, done=5, new_calls=3, new_tokens=70)
    fields = {"new_calls": 3, "new_tokens": 70, "failed": 0}
    assert report.completing(account) == Shown(5, 9, "3 calls, 70 tokens", fields)
    account.new_failures = 2
    assert report.completing(account) == Shown(5, 9, "3 calls, 70 tokens, 2 failed", fields | {"failed": 2})


def test_what_a_run_costs_is_seen_while_it_works() -> None:
    """What is spent, and what calls in flight and lost answers may yet cost; nothing where no price is known."""
    price = parse_price("in=1,out=2")
    budget = Budget(Caps(), Totals(calls=1, tokens=5, cost=3 * USD))
    account = completing.Account(Path("o"), total=9, budget=budget)
    assert report.completing(account).words == "0 calls, 0 tokens, $3.00 spent, $0 reserved"
    for _ in range(2):
        budget.reserve(Bound(TokenBound(10**5, 10**5), price))
    assert report.completing(account).words.endswith(", $3.00 spent, $0.60 reserved")
    budget.lose(Bound(TokenBound(10**5, 10**5), price))
    assert report.completing(account).words.endswith(", $3.00 spent, $0.60 reserved")
    budget.settle(Bound(TokenBound(10**5, 10**5), price), 10**5, 0)
    assert report.completing(account).words.endswith(", $3.10 spent, $0.30 reserved")
    account.budget = Budget(Caps(), Totals())
    assert report.completing(account).words == "0 calls, 0 tokens"


# --- the account of `complete` --------------------------------------------------------------------------------------


def completed(**counts: Any) -> completing.Account:
    """An account of a folder ``o``."""
    return completing.Account(Path("o"), seconds=1.26, **counts)


def test_a_finished_file_is_told_in_three_lines(capsys: Captured) -> None:
    """Counts, this start, where the results are."""
    report.print_completed(completed(total=9, answered=9, new_calls=4, new_tokens=70), None, as_json=False)
    assert capsys.readouterr().out.splitlines() == [
        "9 of 9 requests answered, 0 failed, 0 waiting",
        "1.3 s, 4 new calls, 70 tokens",
        "results  o/results.jsonl",
    ]


def test_an_unfinished_file_is_told_with_the_next_step(capsys: Captured) -> None:
    """And where the errors are, and what was spent."""
    account = completed(
        total=9, answered=4, failed=2, spending=[Spending("complete", "settled", None, 4, 40, 4, USD, 0)]
    )
    report.print_completed(account, LimitReached("--max-cost"), as_json=False)
    assert capsys.readouterr().out.splitlines() == [
        "4 of 9 requests answered, 2 failed, 3 waiting",
        "1.3 s, 0 new calls, 0 tokens",
        "spent $1.00",
        "results  o/results.jsonl",
        "errors   o/errors.jsonl",
        "next     run the same command again to go on",
    ]


@pytest.mark.parametrize("stop", [ConfigProblem("a wrong model"), AccessDenied("no key")])
def test_what_only_a_person_can_mend_is_not_simply_to_be_run_again(
    capsys: Captured, stop: ConfigProblem | AccessDenied
) -> None:
    """As JSON, with the reason."""
    report.print_completed(completed(total=9), stop, as_json=True)
    account = json.loads(capsys.readouterr().out)
    assert account["next"] == "mend what the last line says; then the same command goes on"
    assert (account["waiting"], account["stopped_by"], account["seconds"]) == (9, str(stop), 1.26)


# --- the account of `generate` --------------------------------------------------------------------------------------


def generated(**fields: Any) -> launch.Account:
    """An account of a chain of two stages."""
    tallies = {"bootstrap": Tally(), "instances": Tally()}
    vars(tallies["bootstrap"]).update(rounds=2, accepted=20, rejects={"too_short": 1, "too_similar": 7, "blacklist": 1})
    vars(tallies["instances"]).update(rounds=2, jobs=20, accepted=31, barren=2)
    spending = [
        Spending("bootstrap", "settled", None, 16, 1600, 320, USD // 10, 0),
        Spending("instances", "settled", None, 20, 2000, 400, USD // 5, 0),
        Spending("instances", "unusable", "UnusableResponse", 1, 100, 20, USD // 100, 0),
    ]
    return launch.Account("run", 20, "", tallies, spending, seconds=2.5, new_calls=36, **fields)


def test_a_chain_is_told_stage_by_stage() -> None:
    """Rejects by reason, the commonest first; calls and tokens of answers alone; then the money."""
    assert report.account_table(generated()) == [
        "stage        accepted  rejects   calls  tokens in tokens out",
        "bootstrap          20        9      16       1600        320",
        "instances          31        0      20       2000        400",
        "bootstrap rejects: too_similar 7, blacklist 1, too_short 1",
        "2 of 20 instructions have no valid record of instances",
        "2.5 s, 36 new calls",
        "spent $0.30; perhaps billed in vain, at most $0.01",
        "attempts that may have been billed in vain: unusable answer 1 ($0.01)",
    ]
