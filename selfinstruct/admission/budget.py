"""The budget of a run: no call is sent that could cost more than is left.

A call is *reserved* at its upper bound before it is sent. Then it is *settled* at what the server counted, *released*
if it was surely not executed, or *lost* if its answer was: it may have been billed, so it stays at its bound. What is
settled, reserved and lost together never exceeds a cap, so the last call that fits is the last one sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from selfinstruct.errors import ConfigProblem
from selfinstruct.money import Amount, Bound, show_money


@dataclass(frozen=True, slots=True)
class Caps:
    """What a run may use over all its starts and stages; None is no limit."""

    cost: Amount | None = None
    calls: int | None = None
    tokens: int | None = None  # read and written

    @property
    def any(self) -> bool:
        """Whether there is a limit at all."""
        return self != Caps()

    @property
    def rest_on_bounds(self) -> bool:
        """Whether a call must have an upper bound: a cap on calls alone needs none."""
        return self.cost is not None or self.tokens is not None


class Totals(NamedTuple):
    """Calls, their tokens (read and written), and their cost in pico-units of the price's currency."""

    calls: int = 0
    tokens: int = 0
    cost: int = 0

    def plus(self, other: Totals, sign: int = 1) -> Totals:
        """The sum, or with ``sign`` -1 the difference."""
        return Totals(self.calls + sign * other.calls, self.tokens + sign * other.tokens, self.cost + sign * other.cost)


class Queue(Protocol):
    """Where calls wait, among other things for a budget that can pay for them."""

    @property
    def short(self) -> bool:
        """Whether a call waits there for money and for nothing else."""
        ...

    def look(self) -> None:
        """Grant what can be granted now."""
        ...

    def give_up(self) -> None:
        """Send away what waits for money that will not come."""
        ...


class Budget:
    """The account of a run, in memory: starts with what the ledger counts, and follows each call from then on.

    ``spent`` is settled, earlier starts included (with their lost calls, at their bounds); ``reserved`` is in flight;
    ``ambiguous`` was lost in this start. Without a price, costs are 0; a call without a bound counts once it is
    answered, which happens only where no cap is set. ``queues`` are all that wait for it: one for each backend.
    """

    def __init__(self, caps: Caps, spent: Totals, currency: str = "usd") -> None:
        self.caps = caps
        self._capped = caps.any
        self.currency = currency
        self.spent = spent
        self.reserved = Totals()
        self.ambiguous = Totals()
        self.queues: list[Queue] = []

    @property
    def committed(self) -> Totals:
        """All that the caps are held against: spent, reserved and ambiguous."""
        return self.spent.plus(self.reserved).plus(self.ambiguous)

    def fits(self, bound: Bound) -> bool:
        """Whether a call may be reserved now."""
        return not self._capped or self._breach(self.committed.plus(self._totals(bound))) is None

    def never_fits(self, bound: Bound) -> str | None:
        """Why a call could not be sent even if nothing were spent, or None."""
        match self._breach(self._totals(bound)):
            case None:
                return None
            case "calls":
                return f"--max-calls {self.caps.calls} allows no call"
            case "tokens":
                tokens = self._totals(bound).tokens
                what = f"--max-tokens-total {self.caps.tokens} is less than one call may use ({tokens})"
            case _:
                what = f"--max-cost {self.caps.cost} is less than one call may cost ({self._shown_cost(bound)})"
        return f"{what}; raise it, or lower max_tokens"

    def exhausted(self, bound: Bound) -> str | None:
        """Why the run ends here: the call does not fit, and no answer is awaited that could make room. Else None."""
        breach = self._breach(self.committed.plus(self._totals(bound)))
        if breach is None or self.reserved.calls:
            return None
        used = self.committed
        if breach == "calls":
            return f"--max-calls {self.caps.calls} is reached: {used.calls} calls made"
        if breach == "tokens":
            return (
                f"--max-tokens-total {self.caps.tokens} is reached: {used.tokens} tokens used,"
                f" and the next call may use up to {self._totals(bound).tokens}"
            )
        return (
            f"--max-cost {self.caps.cost} is reached: {self._shown(used.cost)} spent,"
            f" and the next call may cost up to {self._shown_cost(bound)}"
        )

    def reserve(self, bound: Bound) -> None:
        """Set the bound of a call aside before it is sent; `ValueError` if it does not fit."""
        if not self.fits(bound):
            raise ValueError("a call was reserved that does not fit")
        self.reserved = self.reserved.plus(self._totals(bound))

    def release(self, bound: Bound) -> None:
        """Give back the bound of a call that was surely not executed: it costs nothing and is no call."""
        self._take_back(bound)

    def refuse(self, bound: Bound) -> None:
        """Count a call that the server refused: a call, and free."""
        self._take_back(bound)
        self.spent = self.spent.plus(Totals(1, 0, 0))

    def lose(self, bound: Bound) -> None:
        """Keep the bound of a call whose answer is lost: it may have been billed."""
        self._take_back(bound)
        self.ambiguous = self.ambiguous.plus(self._totals(bound))

    def settle(self, bound: Bound, prompt_tokens: int, completion_tokens: int) -> ConfigProblem | None:
        """Replace the bound of an answered call by what the server counted (0 and 0: nothing, so the bound stays).

        Usage above the bound is recorded as it is; if a cap rests on bounds, the run must end with the `ConfigProblem`
        that is returned. The frame of a short prompt may be larger than reckoned, as long as the call costs no more
        than was set aside.
        """
        self._take_back(bound)
        held, used = self._totals(bound), self._totals(bound.charged(prompt_tokens, completion_tokens))
        self.spent = self.spent.plus(used)
        if bound.tokens is None or not self.caps.rest_on_bounds:
            return None  # nothing rests on this bound
        if used.cost > held.cost or used.tokens > held.tokens or completion_tokens > bound.tokens.completion:
            return ConfigProblem(
                f"the server counts {prompt_tokens} + {completion_tokens} tokens (prompt + completion) for a call of at"
                f" most {bound.tokens.prompt} + {bound.tokens.completion}: it counts otherwise than we do or ignores"
                " max_tokens, so the price may not hold either and no cap can; the run stops here."
                " Check the model and its price, or run without --max-cost and --max-tokens-total"
            )
        return None

    def freed(self, by: Queue) -> None:
        """A call of one queue came back: it looks again, and so does every other that is short of money.

        Only then do they give up: the last call that fits is sent, whichever model it is for.
        """
        for queue in self.queues:
            if queue is by or queue.short:
                queue.look()
        for queue in self.queues:
            queue.give_up()

    def _take_back(self, bound: Bound) -> None:
        left = self.reserved.plus(self._totals(bound), -1)
        if left.calls < 0 or left.tokens < 0 or left.cost < 0:
            raise ValueError("a call ended that was not reserved")
        self.reserved = left

    def _totals(self, bound: Bound) -> Totals:
        return Totals(1, sum(bound.tokens or ()), bound.cost or 0)

    def _breach(self, totals: Totals) -> str | None:
        """The cap that these totals exceed: "cost", "calls", "tokens", or None."""
        caps = self.caps
        if caps.cost is not None and totals.cost > caps.cost.pico:
            return "cost"
        if caps.calls is not None and totals.calls > caps.calls:
            return "calls"
        if caps.tokens is not None and totals.tokens > caps.tokens:
            return "tokens"
        return None

    def _shown(self, pico: int) -> str:
        return show_money(pico, self.currency)

    def _shown_cost(self, bound: Bound) -> str:
        return self._shown(self._totals(bound).cost)
