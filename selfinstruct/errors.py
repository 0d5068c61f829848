"""Everything this package raises on purpose, and the exit code each ends a command with.

SelfinstructError            1   (never raised itself)
├── UsageProblem             2   an option's value, or a combination of options, is wrong
├── UnusableAnswers          3   done, but too many answers could not be used
├── LimitReached             4   a set limit, or exhaustion; running again goes on
│   └── CapReached           4   a cap on cost, calls or tokens: goes on when it is raised
├── DamagedRun               5   recorded bytes are not what they were
├── BadData                 65   a seed file, a data file
├── OutputFailed            74   disk full, folder not writable
├── RunLocked               75   another process works on this run
├── AccessDenied            77   no key, wrong key, quota used up
├── ConfigProblem           78   unknown recipe key, missing extra
│   ├── IdentityChanged     78   this run was started with other settings
│   └── UnknownModel        78   the endpoint has no such model
├── Interrupted    129/130/143   a signal; drained, running again goes on
├── Withdrawn                    a call the run no longer needs, before it was sent (never reaches the user)
└── ModelError              75   a model gave no completion
    ├── NotSent             75   surely not executed: free to send again
    ├── Rejected            75   surely refused by the server for now (429, 503)
    ├── MaybeExecuted       75   the answer is lost; it may have been billed
    ├── UnusableResponse    75   the bytes that came back are not a completion
    └── RequestRefused      75   this very request is refused for ever (a 4xx): becomes a reject
ParseError                       a completion's text does not hold what the prompt asked for: becomes a reject
"""

from __future__ import annotations

from typing import Literal

Verdict = Literal["refused", "unusable", "skipped", "replaced"]
"""Why a call will never be answered: the server refuses it, its answers were no completions, a person said so, or the
model was away and another took its place."""

REFUSALS: dict[str, str] = {
    "refused": "request_refused",
    "unusable": "unusable_response",
    "skipped": "skipped",
    "replaced": "down",
}
"""The reject reasons of calls that will never be answered, by verdict."""


class SelfinstructError(Exception):
    """One clear line for the user: what, where, and what to do."""

    exit_code = 1


class UsageProblem(SelfinstructError):
    """An option's value, or a combination of options, is wrong."""

    exit_code = 2


class UnusableAnswers(SelfinstructError):
    """The run is done, but more answers than ``--max-unusable`` could not be used."""

    exit_code = 3


class LimitReached(SelfinstructError):
    """A set limit or exhaustion stopped the run; running again goes on."""

    exit_code = 4


class CapReached(LimitReached):
    """No further call fits under a cap; the run goes on when it is raised."""


class DamagedRun(SelfinstructError):
    """Recorded bytes are not what they were when they were written."""

    exit_code = 5


class BadData(SelfinstructError):
    """A file of the user's is missing or malformed; the message names file and line."""

    exit_code = 65


class OutputFailed(SelfinstructError):
    """Writing failed: disk full, folder not writable, a file system we refuse."""

    exit_code = 74


class RunLocked(SelfinstructError):
    """Another process works on this run, or took it over."""

    exit_code = 75


class AccessDenied(SelfinstructError):
    """No key, a wrong key, or a used-up quota: a person has to act."""

    exit_code = 77


class ConfigProblem(SelfinstructError):
    """A recipe, an environment variable or the installation is wrong."""

    exit_code = 78


class IdentityChanged(ConfigProblem):
    """A run's settings that decide its bytes differ from those it was started with."""


class UnknownModel(ConfigProblem):
    """The endpoint answers, but knows no model of that name."""


class Interrupted(SelfinstructError):
    """A signal ended the run after the calls in flight had been recorded."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number


class Withdrawn(SelfinstructError):
    """The run no longer needs this call: it is draining, or the stage has reached its target. Nothing was sent."""


class ModelError(SelfinstructError):
    """A model gave no completion. ``retry_after`` is the server's own wish in seconds, where it gave one."""

    exit_code = 75

    def __init__(self, message: str, *, status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


class NotSent(ModelError):
    """The request surely never reached the server (connection refused, name not found)."""


class Rejected(ModelError):
    """The server surely did not execute the request, for now (429, 503, overloaded)."""

    @property
    def too_many(self) -> bool:
        """True where the server refuses for our pace, and is not in trouble itself (503, 529)."""
        return self.status in (409, 425, 429)


class MaybeExecuted(ModelError):
    """The request left and no answer came back (timeout, connection lost): it may have been billed."""


class UnusableResponse(ModelError):
    """A response came that is no completion (HTML with 200, an error body with 200, no choices)."""


class RequestRefused(ModelError):
    """The server refuses this very request for good (context too long, content policy): a verdict on content.

    ``call`` is the ledger key of the refused call, empty until it is recorded. ``verdict`` is who decided: the server
    (``refused``), the response gate after the last try (``unusable``), a person (``skipped``), or a stage that could go
    on without this model (``replaced``).
    """

    call = ""
    verdict: Verdict = "refused"

    @classmethod
    def unusable(cls, message: str, call: str) -> RequestRefused:
        """The verdict on a call whose answers, each time it was asked, were no completions."""
        refusal = cls(message)
        refusal.call, refusal.verdict = call, "unusable"
        return refusal


class ParseError(Exception):
    """A completion's text does not hold what was asked for; ``reason`` is the reject reason it becomes."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail
