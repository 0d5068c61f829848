"""`selfinstruct complete`: a file of requests through the call path, and its results in the order of the requests.

requests.jsonl ─► Request ─► ledger.reserve ─► send ─► ledger.settle ─► results.jsonl
                  draw = number of the request            + errors.jsonl: those that will never be answered, and why

The thinnest user of the path. Results are derived from the file and the ledger when a start ends that brought something
new, so they are the same bytes whatever happened in between. Memory does not grow with the file.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selfinstruct import __version__, batch_file, call_path, identity, results, run_folder
from selfinstruct.admission.budget import Budget
from selfinstruct.batch import STAGE, Batch, Requests, lines, waiting
from selfinstruct.batch_file import Checked, RequestLine
from selfinstruct.call_path import CallPath
from selfinstruct.errors import (
    BadData,
    ConfigProblem,
    ModelError,
    RequestRefused,
    SelfinstructError,
    UnusableAnswers,
    Withdrawn,
)
from selfinstruct.identity import StageIdentity
from selfinstruct.ledger import Ledger
from selfinstruct.ledger_reader import LedgerReader, Spending
from selfinstruct.model_recipe import ModelRecipe
from selfinstruct.models.opening import Opened
from selfinstruct.schema import Completion
from selfinstruct.store_files import pretty, write_whole

GIVE_UP_AFTER = 20
"""So many requests refused and none answered mean a wrong model, parameter or address, not so many bad requests."""


@dataclass
class Account:
    """What has been done.

    ``done`` counts, while it works, the requests that need no further call; ``answered`` and ``failed`` (``skipped``
    of them by hand) tell them apart once the results are written; ``unanswered`` failed in transit and stay open.
    """

    path: Path
    total: int = 0
    done: int = 0
    answered: int = 0
    failed: int = 0
    skipped: int = 0
    unanswered: int = 0
    new_calls: int = 0
    new_failures: int = 0
    new_tokens: int = 0
    seconds: float = 0.0
    stopping: bool = False
    spending: list[Spending] = field(default_factory=list)
    budget: Budget | None = None
    currency: str = "usd"


Seen = tuple[Account, Callable[[], None]]
"""The account to keep, and whom to tell that it changed."""


def run(batch: Batch, account: Account, watch: Callable[[], None]) -> None:
    """Send what has no answer yet, then write the results. Raises what stopped it; the results are true either way."""
    started = time.monotonic()
    with run_folder.held(batch.out, allow_network=batch.settings.allow_network_fs):
        folder = batch.out / STAGE
        requests = _checked(batch, folder)
        with Ledger(batch.out / "ledger.sqlite3", sync=batch.settings.sync) as ledger:
            requests = _settle_identity(batch, folder, requests, ledger.rows)
            account.total = requests.requests
            try:
                with asyncio.Runner(loop_factory=call_path.loop_factory()) as loop:
                    loop.run(_run(batch, requests, ledger, (account, watch)))
            finally:
                account.spending, account.currency = ledger.rows.spending(), ledger.rows.currency()
                _settle_results(batch, requests, ledger.rows, account)
                account.seconds = time.monotonic() - started
    unusable = account.failed - account.skipped  # what a person gave up is no surprise to anybody
    if unusable > batch.settings.max_unusable * account.total:
        raise UnusableAnswers(
            f"done, but {unusable} of {account.total} requests have no answer and will get none"
            f" (--max-unusable is {batch.settings.max_unusable:.0%}); {batch.out}/{results.ERRORS} says why"
        )


# --- before anything is sent ----------------------------------------------------------------------------------------


def _checked(batch: Batch, folder: Path) -> Requests:
    """Read the file whole, once; a resumed start only hashes what was read before, and reads what was appended."""
    before = _checked_before(folder)
    path = str(batch.requests.absolute())
    same = before is not None and batch_file.same_beginning(batch.requests, before.size, before.sha256)
    if before is not None and same and batch.requests.stat().st_size == before.size:
        requests = before.model_copy(update={"path": path})
    else:
        checked: Checked = batch_file.check(batch.requests, batch.model)
        edited = before is not None and (before.edited or not same)
        requests = Requests(path=path, edited=edited, **checked._asdict())
    if requests.pool != (names := tuple(batch.pool)):
        for line in lines(batch) if names else ():
            batch.role_of(line)
        requests = requests.model_copy(update={"pool": names})
    return requests if requests.bounded else requests.model_copy(update={"bounded": _check_bounds(batch)})


def _checked_before(folder: Path) -> Requests | None:
    try:
        return Requests.model_validate_json((folder / "requests.json").read_bytes())
    except (OSError, ValueError):
        return None


def _check_bounds(batch: Batch) -> bool:
    """Under a cap that rests on bounds, see that every request has one; False where none is needed.

    Raises `BadData` or `ConfigProblem` naming the line, before anything is paid for.
    """
    tariffs = {role: call_path.tariff_of(one, batch.settings, role) for role, one in batch.answering.items()}
    if not any(tariff.required for tariff in tariffs.values()):
        return False
    for line in lines(batch):
        body = batch.request(line).body or b""
        tariff = tariffs[batch.role_of(line)]
        try:
            bound = tariff.bound(body)
        except BadData as error:
            raise BadData(f"{batch.requests}:{line.line}: {error}") from error
        except ConfigProblem as error:
            raise ConfigProblem(f"{batch.requests}:{line.line}: {error}") from error
        weight = tariff.weight(body, bound)
        if batch.settings.tpm and weight > batch.settings.tpm:
            raise ConfigProblem(
                f"{batch.requests}:{line.line}: may need {weight} tokens, more than --tpm {batch.settings.tpm:g} lets"
                " through in a minute; raise --tpm, or lower max_tokens"
            )
    return True


def _settle_identity(batch: Batch, folder: Path, requests: Requests, rows: LedgerReader) -> Requests:
    """Compare with, or write, ``stage.json``. The lines of the file are data; who answers them decides the bytes.

    Where nothing but refusals is recorded there are no bytes to protect: the settings may be what was refused.
    """
    now = StageIdentity(
        stage=STAGE,
        selfinstruct=__version__,
        target=requests.requests,
        seed_tasks="",
        identity={
            "method": STAGE,
            "max_tokens": batch.max_tokens,
            "model": _who(batch.recipe, batch.opened),
            **_pooled(batch),
            "upstream": None,
        },
        prompts={},
    )
    before = identity.read(folder) if rows.has_answers() else None
    if before is not None and before.identity != now.identity:
        if rows.attempts("settled"):
            identity.compare(folder, before, now)
        requests = requests.model_copy(update={"edited": True})
    folder.mkdir(mode=0o700, exist_ok=True)
    if requests != _checked_before(folder):
        write_whole(folder / "requests.json", pretty(requests.model_dump()))
    if before != now:
        identity.write(folder, now)
    return requests


def _who(recipe: ModelRecipe, opened: Opened) -> dict[str, Any]:
    return {
        **recipe.model_dump(include={"api", "context", "reproducible"}),
        **opened.endpoint.model_dump(mode="json"),
        "rendering": "chat",
    }


def _pooled(batch: Batch) -> dict[str, Any]:
    """Who answers of a pool, and what is laid over every body."""
    if not batch.pool:
        return {}
    roles = {role: _who(batch.recipe, one) for role, one in batch.answering.items()}
    return {"roles": roles, "extra_body": batch.recipe.extra_body}


# --- sending --------------------------------------------------------------------------------------------------------


async def _run(batch: Batch, requests: Requests, ledger: Ledger, seen: Seen) -> None:
    account, watch = seen

    def answered(completion: Completion) -> None:
        account.new_calls += 1
        account.new_tokens += completion.prompt_tokens + completion.completion_tokens
        watch()

    path = call_path.build_roles(batch.answering, ledger, batch.settings, answered)
    account.budget = path.budget

    def noticed() -> None:
        account.stopping = True
        watch()

    def passed() -> None:
        account.done += 1

    # Each model has a reader of its own: one that is worked off later must not hold up the others.
    readers = {
        role: waiting(batch, ledger.rows, requests, passed if not number else _unheard, role)
        for number, role in enumerate(batch.answering)
    }
    workers = _Workers(batch, path, readers, seen)
    with call_path.stopping(path.gate, batch.settings.deadline, noticed):
        try:
            await workers.run()
        finally:
            await path.aclose()


def _unheard() -> None:
    """A line that has its answer is counted by one of the readers."""


class _Workers:
    """So many that the wire never waits for one: each takes the next line, asks, and sees the answer recorded."""

    def __init__(self, batch: Batch, path: CallPath, waiting: Mapping[str, Iterator[RequestLine]], seen: Seen) -> None:
        self._batch = batch
        self._path = path
        self._waiting = waiting
        self._account, self._watch = seen
        self._stuck: tuple[RequestLine, ModelError] | None = None
        self._answered_before = path.budget.spent.tokens > 0

    async def run(self) -> None:
        """Until every line was asked, or the gate is closed. Raises what stopped it, or that lines stay unanswered."""
        # Beside those in flight some wait for their turn and some for the disk.
        tasks = {
            asyncio.create_task(self._work(role), name=f"worker {number} of {role}")
            for role, one in self._batch.answering.items()
            for number in range(2 * one.concurrency + 16)
        }
        while tasks:
            for task in await self._path.gate.first_of(tasks):
                tasks.remove(task)
                if not task.cancelled():
                    task.result()
        if self._path.gate.closed:
            raise self._path.gate.reason or Withdrawn("the run was asked to stop")
        if self._stuck is not None:
            raise self._left_over(*self._stuck)

    async def _work(self, role: str) -> None:
        try:
            for line in self._waiting[role]:
                if self._path.gate.closed:
                    return
                await self._ask(line, role)
        except Withdrawn:
            return
        except SelfinstructError as error:  # of the file of requests, too; what is in flight still comes home
            self._path.gate.close(error)

    async def _ask(self, line: RequestLine, role: str) -> None:
        try:
            await self._path.models[role].complete(self._batch.request(line))
            self._account.done += 1
        except RequestRefused as refusal:
            self._refused(refusal)
        except ModelError as error:
            self._unanswered(line, error)
        except BadData as error:
            raise BadData(f"{self._batch.requests}:{line.line}: {error}") from error

    def _refused(self, refusal: RequestRefused) -> None:
        account = self._account
        account.done += 1
        account.new_failures += 1
        self._watch()
        if account.new_failures >= GIVE_UP_AFTER and not account.new_calls and not self._answered_before:
            self._path.gate.close(
                ConfigProblem(
                    f"the first {account.new_failures} requests were refused and none answered; the last: {refusal};"
                    " is this the right model and address, and does it know every field of these bodies?"
                )
            )

    def _unanswered(self, line: RequestLine, error: ModelError) -> None:
        """A call that failed in transit stays open for the next start; a provider that is gone ends this one."""
        if type(error) is ModelError:
            self._path.gate.close(error)
            return
        self._account.unanswered += 1
        self._stuck = line, error

    def _left_over(self, line: RequestLine, error: ModelError) -> ModelError:
        key = next(self._batch.keys(line))
        return ModelError(
            f"{self._account.unanswered} requests have no answer yet; line {line.line}: {error}; run the same command"
            f" again, or give this one up with  selfinstruct skip {self._batch.out} {key[:12]}"
        )


# --- results --------------------------------------------------------------------------------------------------------


def _settle_results(batch: Batch, requests: Requests, rows: LedgerReader, account: Account) -> None:
    """Write the results, unless they are there as they were written last, and nothing is new since."""
    written = results.read(batch.out / STAGE)
    # Verdicts by hand are no new calls; they show in how many are done.
    new = account.new_calls or account.new_failures
    if written is None or new or not written.holds(batch.out, requests.sha256, account.done):
        written = results.derive(batch, rows, requests)
    account.answered, account.failed, account.skipped = written.answered, written.failed, written.skipped
