"""`selfinstruct best-of-n`: each prompt asked n times through the call path, the answers scored, the best ones kept.

prompts ─► requests ─► completing.run ─► ledger ─► Drawn ─► reward model ─► best_of_n.write

The requests are a batch like that of `selfinstruct complete`, in an order that only ever grows at its end: first every
prompt's first answer, then every second one. So more answers a prompt, or more prompts, ask for what is new alone. The
rest is derived from the ledger.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import orjson

from selfinstruct import completing, run_folder, wire
from selfinstruct.batch import STAGE, Batch, draw_of
from selfinstruct.batch_file import RequestLine
from selfinstruct.completing import Account
from selfinstruct.config import Settings
from selfinstruct.errors import (
    REFUSALS,
    BadData,
    ConfigProblem,
    DamagedRun,
    IdentityChanged,
    RequestRefused,
    UnusableAnswers,
)
from selfinstruct.instruction_file import Brought, InstructionFile
from selfinstruct.instruction_run import InstructionRun
from selfinstruct.ledger import Ledger
from selfinstruct.ledger_reader import Call, LedgerReader
from selfinstruct.model_recipe import ModelRecipe
from selfinstruct.models.opening import Opened
from selfinstruct.schema import Message, Request, Sampling
from selfinstruct.store_files import Spool
from selfinstruct.training import best_of_n, scoring
from selfinstruct.training.best_of_n import Answer, Drawn, Outcome, ScoreBook

REQUESTS: Final = "best-of-n-requests.jsonl"
LEDGER: Final = "ledger.sqlite3"

_ID_DIGITS = 16  # of a prompt's sha256: 64 bits
_AT_ONCE = 2**20  # bytes that are written together


class Prompts:
    """What is asked, each prompt once, in the order of the file or run; ``repeated`` counts those that came again."""

    def __init__(self, brought: Sequence[Brought]) -> None:
        self._brought = brought
        self._places: dict[str, int] = {}
        for place, one in enumerate(brought):
            self._places.setdefault(_id(_messages(one)), place)
        self.repeated = len(brought) - len(self._places)

    @classmethod
    def open(cls, name: str, output_dir: Path) -> Prompts:
        """The prompts of a ``.txt`` or ``.jsonl`` file, or of a run, by its name or folder. Raises `BadData`."""
        path = Path(name)
        if path.is_file():
            return cls(InstructionFile.open(path))
        try:
            run = run_folder.find(output_dir, name)
        except BadData as error:
            raise BadData(f"{name}: no such file, and no run of that name below {output_dir}") from error
        return cls(InstructionRun.open(run))

    @property
    def ids(self) -> Sequence[str]:
        """The prompts' names: they belong to the words, wherever those stand."""
        return list(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, id: str) -> bool:
        return id in self._places

    def messages(self, id: str) -> tuple[Message, ...]:
        """What is asked, after what was said before it."""
        return _messages(self._brought[self._places[id]])

    def source(self, id: str) -> str:
        """Where a prompt stands first: ``mine.jsonl:12``, or a run and a record."""
        return self._brought[self._places[id]].where


@dataclass(frozen=True)
class Sought:
    """What is to be done: so many answers to each prompt, drawn so by that model, judged by that reward model."""

    prompts: Prompts
    n: int
    sampling: Sampling
    out: Path
    reward_model: Path
    recipe: ModelRecipe
    settings: Settings
    opened: Opened

    @cached_property
    def batch(self) -> Batch:
        """The requests as `completing` takes them."""
        # What is unusable is counted here, where cut and empty answers are seen, too.
        settings = self.settings.model_copy(update={"max_unusable": 1.0})
        return Batch(self.out / REQUESTS, self.out, self.recipe, None, settings, self.opened)


def sample(sought: Sought, account: Account, watch: Callable[[], None]) -> None:
    """Write the requests down, and ask what has no answer yet. Raises what stopped it; running again goes on."""
    with run_folder.held(sought.out, allow_network=sought.settings.allow_network_fs):
        if (sought.out / LEDGER).exists():
            Ledger(sought.out / LEDGER, sync=sought.settings.sync).close()  # brought up to date, or to its end
        _write_requests(sought, sought.out / REQUESTS)
    completing.run(sought.batch, account, watch)


def planned(sought: Sought, folder: Path) -> Batch:
    """The requests written into another folder, for who reckons what they would cost. Sends nothing."""
    _write_requests(sought, folder / REQUESTS)
    return replace(sought.batch, requests=folder / REQUESTS)


def choose(sought: Sought, done: Callable[[int], None]) -> Outcome:
    """Score what was answered and write what came of it; ``done`` hears how many prompts are scored.

    Loads the reward model only where a score is not known yet. Too many unusable answers are no error here: see
    `check_usable`.
    """
    judge = scoring.fingerprint(sought.reward_model)
    loaded: list[scoring.RewardScorer] = []

    def score(conversations: Sequence[Sequence[Message]]) -> list[float]:
        if not loaded:
            loaded.append(scoring.RewardScorer(sought.reward_model))
        return loaded[0].scores(conversations)

    with run_folder.held(sought.out, allow_network=sought.settings.allow_network_fs):
        book = ScoreBook(sought.out, judge)
        judged = best_of_n.judge(_drawn(sought), score, book, done)
        about = {"name": sought.reward_model.resolve().name, "sha256": judge}
        outcome = best_of_n.write(sought.out, judged, sought.n, about)
        best_of_n.plot(sought.out, outcome)
    return outcome


def check_usable(sought: Sought, outcome: Outcome) -> None:
    """Raise `UnusableAnswers` where more answers than ``--max-unusable`` could not be kept."""
    unusable, limit = sum(outcome.problems.values()), sought.settings.max_unusable
    if unusable > limit * outcome.answers:
        reasons = ", ".join(f"{count} {reason}" for reason, count in outcome.problems.items())
        raise UnusableAnswers(
            f"done, but {unusable} of {outcome.answers} answers could not be kept ({reasons}; --max-unusable is"
            f" {limit:.0%}); {sought.out / best_of_n.SAMPLES} shows them"
        )


# --- what is asked --------------------------------------------------------------------------------------------------


def _messages(brought: Brought) -> tuple[Message, ...]:
    return (*brought.history, Message(role="user", content=brought.instruction))


def _id(messages: Sequence[Message]) -> str:
    said = orjson.dumps([[message.role, message.content] for message in messages])
    return hashlib.sha256(said).hexdigest()[:_ID_DIGITS]


def _name(id: str, k: int) -> str:
    return f"{id}-{k}"


def _id_of(name: str) -> str:
    return name.rpartition("-")[0]


def continued(before: Sequence[str], wanted: Sequence[str], answered: Container[int] = ()) -> list[str]:
    """The order of requests: as it was, then what is new.

    A request's place in its file is part of its call's key, so none may move. One that is wanted no longer stays where
    its place is ``answered``, which costs nothing; else it and all behind it are left out. Raises `ValueError` where
    one that is wanted stands there.
    """
    asked = set(wanted)
    idle = (place for place, name in enumerate(before) if name not in asked and place not in answered)
    kept = next(idle, len(before))
    if not asked.isdisjoint(before[kept:]):
        raise ValueError(before[kept])
    known = set(before[:kept])
    return [*before[:kept], *(name for name in wanted if name not in known)]


def _order(sought: Sought) -> list[str]:
    path = sought.out / REQUESTS
    if not path.exists() and (sought.out / LEDGER).exists():
        raise ConfigProblem(f"{sought.out}: holds a run of another command; give the answers a folder of their own")
    ids = sought.prompts.ids
    wanted = [_name(id, k) for k in range(sought.n) for id in ids]
    answered = _answered(sought.out)
    if not answered:  # there are no bytes to protect
        return wanted
    try:
        return continued([row["custom_id"] for row in _rows(path)], wanted, answered)
    except ValueError as error:
        raise IdentityChanged(
            f"{sought.out}: was begun with prompts that are missing now, and not done (the first is {error}): give"
            " them again, or give these prompts a folder of their own (another --out)"
        ) from error


def _write_requests(sought: Sought, path: Path) -> None:
    """Write the requests. Raises `IdentityChanged` where those that were answered were others."""
    order = _order(sought)
    recorded = _rows(sought.out / REQUESTS) if _answered(sought.out) else iter(())
    spool, buffer = Spool(path), bytearray()
    for number, name in enumerate(order):
        before = next(recorded, None)
        row = before if before is not None and _id_of(name) not in sought.prompts else _request(sought, number, name)
        line = orjson.dumps(row) + b"\n"
        if before is not None and before != orjson.loads(line):
            raise _drawn_otherwise(sought.out, before["body"], row["body"])
        buffer += line
        if len(buffer) >= _AT_ONCE:
            spool.append(bytes(buffer))
            buffer.clear()
    spool.append(bytes(buffer))
    spool.publish()


def _request(sought: Sought, number: int, name: str) -> dict[str, Any]:
    """A line of the file of requests: spelled as the endpoint wants it, with a seed of its own where it takes one."""
    messages = sought.prompts.messages(_id_of(name))
    request = Request(draw=draw_of(number), messages=messages, sampling=sought.sampling)
    body = wire.body(sought.opened.endpoint, request)
    return {"custom_id": name, "method": "POST", "url": wire.CHAT, "body": body}


def _drawn_otherwise(out: Path, before: dict[str, Any], now: dict[str, Any]) -> IdentityChanged:
    changed = [key for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key)]
    told = ", ".join(f"{key}: {before.get(key)!r} -> {now.get(key)!r}" for key in changed if key != "messages")
    return IdentityChanged(
        f"{out}: its answers were drawn otherwise ({told or 'other messages'}): undo the change, or give the new"
        " settings a folder of their own (another --out)"
    )


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                yield orjson.loads(line)
            except orjson.JSONDecodeError as error:
                raise DamagedRun(f"{path}:{number}: is not as it was written; restore it, or begin anew") from error


def _answered(out: Path) -> frozenset[int]:
    """The places of the requests that have an answer or a verdict; none where there are verdicts alone."""
    if not (out / LEDGER).exists():
        return frozenset()
    with closing(LedgerReader(out / LEDGER)) as rows:
        if not rows.attempts("settled"):
            return frozenset()
        return frozenset(draw.slot for draw, _ in rows.answered(STAGE))


# --- what was answered ----------------------------------------------------------------------------------------------


def _drawn(sought: Sought) -> Iterator[Drawn]:
    """The prompts with their answers. Raises `DamagedRun` where one is not recorded as it was."""
    lines = {row["custom_id"]: number for number, row in enumerate(_rows(sought.out / REQUESTS))}
    with closing(LedgerReader(sought.out / LEDGER)) as rows:
        for id in sought.prompts.ids:
            prompt, source = sought.prompts.messages(id), sought.prompts.source(id)
            names = [_name(id, k) for k in range(sought.n)]
            answers = tuple(_answer(_call(sought, rows, lines[name], name)) for name in names)
            yield Drawn(id, prompt, source, answers)


def _call(sought: Sought, rows: LedgerReader, number: int, name: str) -> Call:
    request = _request(sought, number, name)
    line = RequestLine(number, number + 1, name, request["url"], request["body"], 0)
    found = (rows.find(draw_of(number), key) for key in sought.batch.keys(line))
    call = next((call for call in found if call is not None and call.state != "open"), None)
    if call is None:
        raise DamagedRun(f"{rows.path}: the answer to request {name} is gone; run again to ask for it")
    return call


def _answer(call: Call) -> Answer:
    try:
        completion = call.completion()
    except RequestRefused as refusal:
        return Answer("", call.key, problem=REFUSALS[refusal.verdict])
    text = completion.text.strip()
    problem = completion.withheld or ("truncated" if completion.truncated else "" if text else "empty")
    return Answer(text, call.key, completion.model, problem)
