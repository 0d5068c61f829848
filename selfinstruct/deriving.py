"""A run derived anew from the answers in a ledger: the same loop as the run's own, and nobody is asked.

`rebuild` puts what comes out in the place of the run's files; `refilter` draws from it the candidates it judges anew.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from selfinstruct import config, identity, launch, verifying, wire
from selfinstruct.admission.gate import Gate
from selfinstruct.errors import DamagedRun, OutputFailed, Withdrawn
from selfinstruct.ledger_reader import LedgerReader
from selfinstruct.links import Link
from selfinstruct.models.opening import Opened
from selfinstruct.protocols import Model
from selfinstruct.runner import Runner, StageRun
from selfinstruct.schema import Completion, Draw, Endpoint, Request
from selfinstruct.store import StageStore


class AsRecorded:
    """A ledger as a model: what is not recorded there is `Withdrawn`, and its draw noted in ``lost``.

    With ``calls``, only the calls up to that number are looked at. Several that answer in roles share their ``lost``.
    """

    def __init__(
        self, rows: LedgerReader, endpoint: Endpoint, calls: int | None = None, lost: list[Draw] | None = None
    ) -> None:
        self.lost: list[Draw] = [] if lost is None else lost
        self._rows = rows
        self._endpoint = endpoint
        self._calls = calls

    async def complete(self, request: Request) -> Completion:
        """The recorded answer. Raises `Withdrawn` where there is none, `RequestRefused` for a recorded verdict."""
        call = self._rows.find(request.draw, wire.call_key(self._endpoint, request))
        if call is None or call.state == "open" or (self._calls is not None and call.id > self._calls):
            self.lost.append(request.draw)
            raise Withdrawn(f"the ledger holds no answer for {request.draw}")
        return call.completion()

    async def aclose(self) -> None:
        """The ledger belongs to the run."""


@dataclass(frozen=True)
class Derived:
    """The stages of a run as its answers make them, and the calls at which they end: those that are ``lost``."""

    plan: launch.Plan
    chain: list[StageRun]
    lost: list[Draw]


@contextmanager
def workplace(path: Path, name: str) -> Iterator[Path]:
    """A folder ``name`` below the run's, empty, gone afterwards; what a crash leaves of it the next one removes."""
    place = path / name
    try:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(mode=0o700)
        yield place
    except OSError as error:
        raise OutputFailed(f"{error.filename}: cannot write: {error.strerror}; nothing recorded is lost") from error
    finally:
        shutil.rmtree(place, ignore_errors=True)


async def derive(
    path: Path,
    place: Path,
    rows: LedgerReader,
    target: int | None,
    calls: int | None = None,
    rewire: Callable[[launch.Plan, Model], Iterable[Link]] = lambda plan, model: plan.links,
) -> Derived:
    """Derive the run that the folder ``path`` was started with, below ``place``, from the first ``calls`` of a ledger.

    It ends at ``target`` (None: with its last job), or as far as the ledger reaches; its stages go through ``rewire``.

    Raises `DamagedRun` for a ``stage.json`` that is not as it was written, and `IdentityChanged` where prompts, rules
    or seeds are no longer those of the run.
    """
    recipe, _ = identity.recipe_of(path)
    started = identity.of_run(path)
    lost: list[Draw] = []
    answering = {
        role: Opened(AsRecorded(rows, endpoint, calls, lost), endpoint, rendering, 1)
        for role, (endpoint, rendering) in identity.answering(started).items()
    }
    opened = answering.pop("teacher")
    until = started[-1].stage if started and started[-1].stage in get_args(config.Until) else None
    plan = launch.plan(recipe, config.settings({"until": until}), opened, path, answering)
    models = launch.drawn({role: one.model for role, one in plan.answering.items()}, recipe)
    chain: list[StageRun] = []
    for link in unchanged(plan, rewire(plan, opened.model), target or 0):
        (place / link.stage.name).mkdir(mode=0o700)
        store = StageStore(place / link.stage.name, link.stage.writes, recipe.rounds_per_shard)
        chain.append(StageRun(link.stage, link.filters, store, models, waits=link.waits))
    runner = Runner(chain, Gate(), target=target, lag=recipe.lag, in_step=recipe.in_step, screened=lambda: None)
    with suppress(Withdrawn):  # as far as the ledger reaches
        await runner.run()
    return Derived(plan, chain, lost)


def unchanged(plan: launch.Plan, links: Iterable[Link], target: int = 0) -> Iterator[Link]:
    """A run's stages, each as soon as it is known to be what the run was started with. Raises as `derive` does."""
    upstream = None
    for link in links:
        folder = plan.path / link.stage.name
        then = identity.read(folder)
        if then is None or not identity.is_intact(folder):
            raise DamagedRun(f"{folder}/stage.json: is not what was written; {verifying.WRITE_ANEW}")
        upstream = identity.of_stage(link, plan.recipe, plan.seeds, plan.asked, upstream, target)
        upstream = upstream.of(then.refiltered) if then.refiltered else upstream
        identity.compare(folder, then, upstream)
        yield link
