"""Named points at every durable step, where a test lets the process die or the disk fail; without effect otherwise.

SELFINSTRUCT_FAILPOINTS="ledger.commit=kill@3;store.rename=ENOSPC@2" kills the process at the third commit, and lets the
disk be full at the second rename and all after it. Unset, as always outside of tests, a point costs one look into the
environment.
"""

from __future__ import annotations

import errno
import os
import signal
from collections import Counter
from functools import lru_cache

VARIABLE = "SELFINSTRUCT_FAILPOINTS"

POINTS = (
    "ledger.begin",  # before a group is written
    "ledger.commit",  # written, not yet durable
    "ledger.committed",  # durable, nobody knows yet
    "store.append",  # before bytes are added to a shard being filled
    "store.flush",  # before a whole file is flushed
    "store.rename",  # flushed, not yet visible
    "store.renamed",  # visible, the folder not yet flushed
)
"""Every point there is; a sweep strikes each of them."""


def failpoint(name: str) -> None:
    """Strike here if the environment says so: kill this process, or raise the `OSError` of an errno's name."""
    plan = os.environ.get(VARIABLE)
    if plan:
        _strike(name, plan)


@lru_cache(maxsize=1)
def _visits(plan: str) -> Counter[str]:
    """How often each point was passed under this plan."""
    return Counter()


def _strike(name: str, plan: str) -> None:
    visits = _visits(plan)
    visits[name] += 1
    for item in plan.split(";"):
        point, _, what = item.partition("=")
        action, _, nth = what.partition("@")
        if point != name or visits[name] < int(nth or 1) or (action == "kill" and visits[name] != int(nth or 1)):
            continue
        if action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        code = getattr(errno, action)
        raise OSError(code, os.strerror(code))
