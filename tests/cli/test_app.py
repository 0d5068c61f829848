"""The outermost frame and what is seen while a run works."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from selfinstruct import __version__, launch
from selfinstruct.cli import report
from tests.command import PROGRAM, ROOT, invoke


def test_the_version_is_printed() -> None:
    """And nothing else."""
    assert invoke("--version") == (0, f"selfinstruct {__version__}\n", "")


def test_help_lists_the_commands_and_the_exit_codes() -> None:
    """Also without any argument, where it is a usage error."""
    for args in (["--help"], ["-h"]):
        ended = invoke(*args)
        assert ended.code == 0
        assert [word for word in ("generate", "status", "show", "export", "models") if word not in ended.out] == []
        assert "65 bad data" in ended.out
    assert invoke().code == 2


def test_a_bug_of_ours_shows_its_traceback_and_says_whose_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1, the only code with a traceback."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(launch, "plan", broken)
    ended = invoke("generate", "--api", "fake", "--output-dir", tmp_path)
    assert ended.code == 1
    assert ended.err.startswith("Traceback (most recent call last)")
    assert ended.err.splitlines()[-2:] == [
        "ZeroDivisionError: a bug",
        "selfinstruct: this is a bug of ours; what was recorded is safe, running again goes on",
    ]


def test_a_keyboard_interrupt_outside_a_run_is_quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """130, as after a drained run."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(launch, "plan", interrupted)
    assert invoke("generate", "--api", "fake", "--output-dir", tmp_path) == (130, "", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_report_that_cannot_be_printed_is_one_line() -> None:
    """74 for a full disk behind standard output, whatever the command."""
    command = '"$@" generate --dry-run > /dev/full'
    ended = subprocess.run(
        ["/bin/sh", "-c", command, "sh", *PROGRAM], capture_output=True, text=True, cwd=ROOT, timeout=60, check=False
    )
    assert (ended.returncode, ended.stderr) == (74, "selfinstruct: [Errno 28] No space left on device\n")


# --- progress -------------------------------------------------------------------------------------------------------


def _stage(accepted: int, rejects: int) -> Any:
    tally = SimpleNamespace(accepted=accepted, rejects={"too_similar": rejects})
    return SimpleNamespace(store=SimpleNamespace(accepted=accepted, tally=tally))


def _account() -> launch.Account:
    return launch.Account("run", 40, new_calls=9, new_tokens=800)


def test_without_a_terminal_progress_is_one_plain_line_a_minute(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Cron mails what is printed: nothing before the first minute is over, then counts, on standard error."""
    now = [1000.0]
    monkeypatch.setattr("selfinstruct.cli.report.time", SimpleNamespace(monotonic=lambda: now[0]))
    with report.Progress(_account(), quiet=False) as progress:
        for seconds in (0, 59, 61, 62, 122):
            now[0] = 1000.0 + seconds
            progress.update([_stage(12, 4), _stage(10, 0)])
            progress.update([])
    line = "run: accepted 12/40, 10 instances, 9 calls, 800 tokens, 75% kept\n"
    assert capsys.readouterr() == ("", 2 * line)


@pytest.mark.parametrize(("accepted", "rejects", "words"), [(0, 0, "nothing screened yet"), (50, 50, "50% kept")])
def test_on_a_terminal_progress_is_a_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], accepted: int, rejects: int, words: str
) -> None:
    """Towards the target and never beyond; quiet shows none."""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    for quiet in (False, True):
        with report.Progress(_account(), quiet=quiet) as progress:
            progress.update([_stage(accepted, rejects), _stage(3, 0)])
            progress.close()
        shown = capsys.readouterr().err
        assert (f"{min(accepted, 40)}/40" in shown) is not quiet
        assert (words in shown) is not quiet
