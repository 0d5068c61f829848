"""Which of several local models may work now: a set of GPUs holds one at a time, and changing it takes minutes.

A model is worked off: as long as calls for it come, it stays; once nobody inside it is left and others wait, the one
most calls wait for takes its place. So a stage over several models asks each in turn, whatever order its jobs are in,
and the order of work never reaches the data. Where there are as many places as models, each has its own, or several.
"""

from __future__ import annotations

import asyncio
from typing import Literal, Protocol

from selfinstruct.admission.gate import Gate
from selfinstruct.errors import Withdrawn
from selfinstruct.schema import Draw

LINGER = 1.0
"""Seconds an idle model keeps its place while others wait: the next call for it may be about to come, and a change
costs far more."""


class Guest(Protocol):
    """A model that has to be at a place to work."""

    async def arrive(self, place: int) -> None:
        """Load at a place; raises what went wrong."""
        ...

    async def depart(self) -> None:
        """Free every place."""
        ...


class _Chair:
    """Where a model stands: the calls that wait for it in order, those inside it, and what is being done about it."""

    def __init__(self) -> None:
        self.state: Literal["away", "arriving", "there", "departing"] = "away"
        self.calls: dict[asyncio.Future[None], Draw] = {}
        self.inside = 0
        self.moving: asyncio.Task[None] | None = None
        self.leaves: asyncio.TimerHandle | None = None

    def keep(self) -> None:
        """It has been asked to leave, and need not."""
        if self.leaves is not None:
            self.leaves.cancel()
            self.leaves = None

    def wake(self, problem: BaseException | None) -> None:
        """Let everybody in who waits, or tell them why not."""
        calls, self.calls = self.calls, {}
        for call in calls:
            if call.done():
                continue
            if problem is None:
                self.inside += 1
                call.set_result(None)
            else:
                call.set_exception(problem)


class Seats:
    """``places`` for ``guests``. A call is let in once its model is at work, and must `leave` it again.

    Who waits is sent away with `Withdrawn` when the gate closes or no longer wants its draw, so that no model is loaded
    for nothing.
    """

    def __init__(self, places: int, guests: list[Guest], gate: Gate, linger: float = LINGER) -> None:
        self._places = places
        self._guests = list({id(guest): guest for guest in guests}.values())
        self._gate = gate
        self._linger = linger
        self._of = {id(guest): _Chair() for guest in self._guests}
        self._at: dict[int, Guest] = {}
        gate.watchers.append(self._gate_changed)

    async def enter(self, guest: Guest, draw: Draw) -> None:
        """Wait until the model is at work. Raises what its start raises, or `Withdrawn`."""
        if not self._gate.lets(draw):
            raise Withdrawn(f"call {draw} is no longer needed")
        chair = self._of[id(guest)]
        if chair.state == "there":
            chair.inside += 1
            chair.keep()
            self._consider()  # whoever waits for its place may get another
            return
        call = asyncio.get_running_loop().create_future()
        chair.calls[call] = draw
        self._consider()
        try:
            await call
        except asyncio.CancelledError:
            chair.calls.pop(call, None)
            if call.done() and not call.cancelled() and call.exception() is None:
                self.leave(guest)  # let in at this very moment, and nobody comes
            raise

    def leave(self, guest: Guest) -> None:
        """A call is through with its model."""
        self._of[id(guest)].inside -= 1
        self._consider()

    async def aclose(self) -> None:
        """Stop whatever is being moved, and send away who waits; the models are closed by whoever opened them."""
        moving = [chair.moving for chair in self._of.values() if chair.moving is not None]
        for chair in self._of.values():
            chair.wake(Withdrawn("the run is over"))
        for task in moving:
            task.cancel()
        await asyncio.gather(*moving, return_exceptions=True)

    # --- inside -----------------------------------------------------------------------------------------------------

    def _consider(self, last: Guest | None = None) -> None:
        """Give places to models that calls wait for, those most are waiting for first; ``last`` has just been there."""
        for guest in sorted(self._wanted(), key=lambda guest: (guest is last, -len(self._of[id(guest)].calls))):
            if places := self._places_for(guest):
                self._move(guest, places)
            elif idle := self._idle():
                self._ask_to_leave(idle)

    def _wanted(self) -> list[Guest]:
        """The models that calls wait for, and that have no place."""
        return [guest for guest in self._guests if (chair := self._of[id(guest)]).state == "away" and chair.calls]

    def _places_for(self, guest: Guest) -> list[int]:
        """Those it may have now: its own, where there is one for each model, else the first that is free."""
        count = len(self._guests)
        if self._places >= count:
            return list(range(self._guests.index(guest), self._places, count))
        return [place for place in range(self._places) if place not in self._at][:1]

    def _idle(self) -> Guest | None:
        """A model that nobody is inside of, and that has not been asked to leave."""
        for guest in self._at.values():
            chair = self._of[id(guest)]
            if chair.state == "there" and not (chair.inside or chair.leaves):
                return guest
        return None

    def _ask_to_leave(self, guest: Guest) -> None:
        """It leaves after a while, unless somebody comes, or enough others do for those who wait for a place."""
        chair = self._of[id(guest)]

        def leave() -> None:
            chair.leaves = None
            departing = sum(other.state == "departing" for other in self._of.values())
            if len(self._wanted()) > departing:
                chair.state = "departing"
                chair.moving = asyncio.create_task(self._free(guest), name="a model leaves")

        chair.leaves = asyncio.get_running_loop().call_later(self._linger, leave)

    async def _free(self, guest: Guest) -> None:
        (problem,) = await asyncio.gather(guest.depart(), return_exceptions=True)
        self._gone(guest)
        if problem is not None:  # whoever comes next may find no room: nobody is left to wait for it
            for chair in self._of.values():
                chair.wake(problem)
        self._consider(guest)

    def _move(self, guest: Guest, places: list[int]) -> None:
        self._at |= dict.fromkeys(places, guest)
        chair = self._of[id(guest)]
        chair.state = "arriving"
        chair.moving = asyncio.create_task(self._load(guest, places), name="a model arrives")

    async def _load(self, guest: Guest, places: list[int]) -> None:
        came = await asyncio.gather(*(guest.arrive(place) for place in places), return_exceptions=True)
        problem = next((one for one in came if one is not None), None)
        chair = self._of[id(guest)]
        if problem is None:
            chair.state, chair.moving = "there", None
        else:
            await asyncio.gather(guest.depart(), return_exceptions=True)  # at other places it may have come
            self._gone(guest)
        chair.wake(problem)
        self._consider()

    def _gone(self, guest: Guest) -> None:
        chair = self._of[id(guest)]
        chair.state, chair.moving = "away", None
        self._at = {place: there for place, there in self._at.items() if there is not guest}

    def _gate_changed(self) -> None:
        for chair in self._of.values():
            for call, draw in list(chair.calls.items()):
                if not self._gate.lets(draw):
                    del chair.calls[call]
                    if not call.done():
                        call.set_exception(Withdrawn(f"call {draw} is no longer needed"))
