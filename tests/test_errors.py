"""The exception tree: each error has the exit code the design promises, and the drawing in the docstring is true."""

from __future__ import annotations

import inspect
import re
import signal

import pytest

from selfinstruct import errors

EXIT_CODES = {
    "SelfinstructError": 1,
    "UsageProblem": 2,
    "UnusableAnswers": 3,
    "LimitReached": 4,
    "CapReached": 4,
    "DamagedRun": 5,
    "BadData": 65,
    "OutputFailed": 74,
    "RunLocked": 75,
    "ModelError": 75,
    "NotSent": 75,
    "Rejected": 75,
    "MaybeExecuted": 75,
    "UnusableResponse": 75,
    "RequestRefused": 75,
    "AccessDenied": 77,
    "ConfigProblem": 78,
    "IdentityChanged": 78,
    "UnknownModel": 78,
}
NO_CODE_OF_THEIR_OWN = {"Interrupted", "Withdrawn", "ParseError"}  # 128 + signal; two that never reach the user


def raised() -> dict[str, type[Exception]]:
    """Every exception the module defines."""
    members = vars(errors).items()
    return {name: kind for name, kind in members if isinstance(kind, type) and issubclass(kind, Exception)}


def drawn() -> dict[str, tuple[str, str]]:
    """Name → parent and exit code, as the docstring draws them."""
    tree: dict[str, tuple[str, str]] = {}
    above: list[str] = []
    for line in inspect.cleandoc(errors.__doc__ or "").splitlines():
        found = re.match(r"(?P<branch>(?:[│├└ ][ ─]{3})*)(?P<name>[A-Z]\w+) {2,}(?P<code>[0-9/]*)", line)
        if found:
            depth = len(found["branch"]) // 4
            above[depth:] = [found["name"]]
            tree[found["name"]] = (above[depth - 1] if depth else "Exception", found["code"])
    return tree


def test_every_exit_code_is_the_designs() -> None:
    """Scripts and cron decide by the number; no error is without one."""
    assert EXIT_CODES.keys() | NO_CODE_OF_THEIR_OWN == raised().keys()
    assert {name: getattr(errors, name).exit_code for name in EXIT_CODES} == EXIT_CODES


def test_the_drawn_tree_is_the_real_one() -> None:
    """Each class stands in the docstring, below its parent, with its code."""
    tree = drawn()
    assert {name: parent for name, (parent, _) in tree.items()} == {
        name: kind.__bases__[0].__name__ for name, kind in raised().items()
    }
    codes = {name: str(code) for name, code in EXIT_CODES.items()}
    assert {name: code for name, (_, code) in tree.items()} == codes | {
        "Interrupted": "129/130/143",
        "Withdrawn": "",
        "ParseError": "",
    }


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_ends_with_the_signals_code(number: signal.Signals, code: int) -> None:
    """The shell's own convention, 128 + signal."""
    assert errors.Interrupted("stopped", number).exit_code == code
    assert str(errors.Interrupted("stopped", number)) == "stopped"


def test_a_model_error_says_what_the_server_said() -> None:
    """Status and wished wait travel with it; without an answer there are none."""
    busy = errors.Rejected("busy", status=429, retry_after=1.5)
    assert (str(busy), busy.status, busy.retry_after) == ("busy", 429, 1.5)
    lost = errors.NotSent("no route")
    assert (lost.status, lost.retry_after) == (None, None)


def test_a_refusal_says_who_decided() -> None:
    """The server, unless somebody else is named; it becomes the reason of the reject."""
    refusal = errors.RequestRefused("too long", status=400)
    assert (refusal.verdict, refusal.call, refusal.status) == ("refused", "", 400)
    odd = errors.RequestRefused.unusable("HTML with 200", "c0ffee")
    assert (str(odd), odd.verdict, odd.call, odd.status) == ("HTML with 200", "unusable", "c0ffee", None)
    assert errors.RequestRefused("again").verdict == "refused"


def test_a_parse_error_names_the_reject_it_becomes() -> None:
    """It is no error of the user's: it is not among those that end a command."""
    error = errors.ParseError("no_label", "expected one line")
    assert (error.reason, error.detail, str(error)) == ("no_label", "expected one line", "no_label: expected one line")
    assert str(errors.ParseError("no_label")) == "no_label"
    assert not isinstance(error, errors.SelfinstructError)
