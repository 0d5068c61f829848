"""What a run is, settled before it spends anything: compared with what its folder says, or written there."""

from __future__ import annotations

from collections.abc import Collection
from itertools import zip_longest
from typing import TYPE_CHECKING, Final

from selfinstruct import __version__, identity
from selfinstruct.errors import ConfigProblem
from selfinstruct.ledger_reader import LedgerReader
from selfinstruct.store_manifest import read_manifest

if TYPE_CHECKING:
    from selfinstruct.launch import Account, Plan

FEW: Final = 20, 4
"""Up to so many answers of a judge, and so many more for each that may be in flight, are let go for another judge: one
that never follows the form is stopped before."""


def settle(plan: Plan, account: Account, *, started_before: bool, hardly_begun: Collection[str] = ()) -> None:
    """Compare with, or write, every stage's ``stage.json``. Raises `IdentityChanged` before anything is spent.

    A run without a single recorded answer has no bytes to protect: a mistaken address or parameter can be mended. Nor
    have the stages that were ``hardly_begun``.
    """
    _check_method(plan)
    upstream: identity.StageIdentity | None = None
    pending = []
    for link, refiltered in zip_longest(plan.links, plan.refiltered):
        folder = plan.path / link.stage.name
        now = identity.of_stage(link, plan.recipe, plan.seeds, plan.asked, upstream, account.target)
        now = now.of(refiltered) if refiltered else now
        before = identity.read(folder) if started_before else None
        if before is not None:
            if link.stage.name not in hardly_begun:
                identity.compare(folder, before, now)
            elif before.digest != now.digest and link.stage.roles:
                account.notes.append(f"{folder}: begins anew with other settings; nothing of it was kept yet")
            if before.selfinstruct != now.selfinstruct:
                account.notes.append(f"{folder}: started by selfinstruct {before.selfinstruct}, this is {__version__}")
        pending.append((folder, now))
        upstream = now
    for folder, now in pending:
        folder.mkdir(mode=0o700, exist_ok=True)
        identity.write(folder, now)


def hardly_begun(plan: Plan, rows: LedgerReader) -> set[str]:
    """The stages from a judge's first one on, where none of them has a shard and next to nothing was answered.

    Another judge may begin them anew, over the answers that it is to judge.
    """
    first = next((place for place, link in enumerate(plan.links) if "judge" in link.stage.roles), None)
    if first is None:
        return set()
    few = FEW[0] + FEW[1] * plan.answering["judge"].concurrency
    names = {link.stage.name for link in plan.links[first:]}
    answers = sum(row.attempts for row in rows.spending() if row.stage in names and row.state == "settled")
    manifests = (read_manifest(plan.path / name) for name in names)
    return names if answers <= few and not any(manifest and manifest.shards for manifest in manifests) else set()


def _check_method(plan: Plan) -> None:
    """Raise `ConfigProblem` where the folder is another method's run: two chains in one folder hide each other."""
    started = identity.of_run(plan.path)
    before, now = started[0].identity.get("method", "self-instruct") if started else "", plan.recipe.method
    if started and before != now:
        raise ConfigProblem(
            f"{plan.path}: is a run of the method {before}, and not of {now}: give this one a name of its own (--run)"
        )
