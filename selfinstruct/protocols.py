"""The verbs: who answers (`Model`), what we ask for (`Stage`), what we refuse (`Filter`, and `Guard` in a dialogue)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

from selfinstruct.schema import Completion, Draw, Lang, Message, Neighbour, Record, Reject, Request

R = TypeVar("R", bound=Record)
Seen = TypeVar("Seen", bound=Record, contravariant=True)


@dataclass(frozen=True)
class Job:
    """One unit of a stage's work. ``material`` is what its prompt is made of; only its own stage reads it."""

    stage: str
    round: int
    slot: int
    material: Any

    def draw(self, step: int = 0, k: int = 0) -> Draw:
        """The draw of this job's ``step``-th call, ``k``-th sample."""
        return Draw(stage=self.stage, round=self.round, slot=self.slot, step=step, k=k)

    def id(self, index: int | None = None) -> str:
        """The id of the ``index``-th candidate of this job's answer, or of the answer as a whole."""
        whole = f"{self.stage}-{self.round}-{self.slot}"
        return whole if index is None else f"{whole}-{index}"


@dataclass(frozen=True)
class Drop:
    """A filter's verdict: not this one, and why."""

    reason: str
    detail: str = ""
    nearest: tuple[Neighbour, ...] = ()


class Model(Protocol):
    """Something that answers. Wrappers (recorded, retrying, admitted) have the same two methods."""

    async def complete(self, request: Request) -> Completion:
        """Text, or one of the `ModelError` family; a backend never retries, caches or logs."""
        ...

    async def aclose(self) -> None:
        """Let go of connections, threads, child processes."""
        ...


@runtime_checkable
class Replaceable(Protocol):
    """A model that a stage may go on without; what it then says of the call is as good as an answer for ever."""

    async def forgo(self, request: Request, reason: str) -> None:
        """This call will not be asked, or not again: another model has taken its place."""
        ...


class Stage(Protocol):
    """What we ask for.

    ``plan`` is pure; ``inputs`` are the records that feed this round (seeds excepted: a stage is made with them), or
    all of the stage before for one that waits until that is through. ``accepted`` is the stage's own pool as the
    recipe's ``lag`` shows it; a stage that is fed round by round is shown none. ``run`` awaits between two pure halves,
    ``prompt(job)`` and ``parse(completion, job)``. The runner turns `RequestRefused` into a reject.
    """

    @property
    def name(self) -> str:
        """Its folder, its recipe table and the first part of its records' ids."""
        ...

    @property
    def reads(self) -> type[Record] | None:
        """The kind of record that feeds it; None for a stage that starts from seeds."""
        ...

    @property
    def writes(self) -> type[Record]:
        """The kind of record it makes."""
        ...

    @property
    def roles(self) -> tuple[str, ...]:
        """Which of ``teacher user assistant judge`` it asks."""
        ...

    def plan(self, round: int, inputs: Sequence[Any], accepted: Sequence[Any]) -> list[Job]:
        """The jobs of a round, in the order they will be screened; ``[]`` when there is nothing to do."""
        ...

    async def run(self, job: Job, models: Mapping[str, Model]) -> list[Record | Reject]:
        """Every candidate of the job's answers, kept or not, in order."""
        ...


class Filter(Protocol[R]):
    """What we refuse. ``check`` changes nothing; ``admit`` is called once for a record that passed the whole chain.

    ``admit`` returns the record as it will be written: a filter that measured something (novelty) writes it in.
    """

    def check(self, record: R) -> Drop | None:
        """Why not, or None."""
        ...

    def admit(self, record: R) -> R:
        """Take the record into the filter's memory; return it with what the filter knows of it."""
        ...


@runtime_checkable
class Foreseeing(Protocol[Seen]):
    """A filter that is faster when it is told what comes: it compares many records with its memory at once."""

    def foresee(self, records: Sequence[Seen]) -> None:
        """These are the next records that may be checked, in this order; says nothing on whether they will be admitted.

        Changes no verdict: every `check` is answered as if nothing had been foreseen.
        """
        ...


@runtime_checkable
class Straining(Protocol):
    """A filter whose memory some data can make slow, and which says so while it is at work."""

    def strain(self) -> str:
        """A line for people: what makes it slow; empty as long as nothing does."""
        ...


@runtime_checkable
class Summing(Protocol):
    """A filter that has something to tell of all records it was given, in the manifest of a finished stage."""

    def summary(self) -> dict[str, Any]:
        """JSON values, the same for the same records."""
        ...


@dataclass(frozen=True)
class Turn:
    """What one side of a dialogue just said. ``history`` is all that was said before, the opener first."""

    role: Literal["user", "assistant"]
    text: str
    history: Sequence[Message]
    lang: Lang


class Guard(Protocol):
    """What a turn may not say. Looked at before the next turn is asked for, so that nothing is paid for in vain."""

    def check(self, turn: Turn) -> Drop | None:
        """Why the dialogue cannot go on with this turn, or None."""
        ...
