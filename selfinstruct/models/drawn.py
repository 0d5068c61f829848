"""`Drawn`: one of several models answers each job, drawn by the job's place in the run, never by arrival."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence

from selfinstruct.protocols import Model
from selfinstruct.schema import Completion, Draw, Request


class Drawn:
    """A pool as one model. All calls of a job go to the same one: a dialogue does not change who answers in it."""

    def __init__(self, models: Mapping[str, Model], seed: int) -> None:
        self._models = models
        self._names = sorted(models)
        self._seed = seed

    async def complete(self, request: Request) -> Completion:
        """The answer of the model that is drawn for the request's job."""
        return await self._models[drawn(self._names, request.draw, self._seed)].complete(request)

    async def aclose(self) -> None:
        """Close every model."""
        await asyncio.gather(*(model.aclose() for model in self._models.values()))


def drawn(names: Sequence[str], draw: Draw, seed: int) -> str:
    """The name that is drawn for a job, uniformly: a function of the run's seed, stage, round and slot."""
    job = f"{seed}/{draw.stage}/{draw.round}/{draw.slot}".encode()
    return names[int.from_bytes(hashlib.sha256(job).digest()[:8], "big") % len(names)]
