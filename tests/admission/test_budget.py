"""The budget: nothing is sent that could cost more than is left, and what is left can be used."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from selfinstruct.admission.budget import Budget, Caps, Totals
from selfinstruct.errors import ConfigProblem
from selfinstruct.money import Amount, Bound, Price, TokenBound

PRICE = Price(1_000_000, 3_000_000, "usd", "--price", "")  # in=1,out=3
USD = 10**12


NOTHING = Totals()


def budget(
    cost: int | None = None, calls: int | None = None, tokens: int | None = None, spent: Totals = NOTHING
) -> Budget:
    """A budget at PRICE; the cap on the cost is in pico-usd."""
    return Budget(Caps(Amount("usd", cost) if cost else None, calls, tokens), spent)


def bound_of(prompt: int, completion: int) -> Bound:
    """A bound at PRICE."""
    return Bound(TokenBound(prompt, completion), PRICE)


def tokens_of(bound: Bound) -> TokenBound:
    """The tokens of a bound that has some."""
    assert bound.tokens is not None
    return bound.tokens


# --- one call -----------------------------------------------------------------------------------------------------


def test_a_call_moves_from_reserved_to_spent() -> None:
    """Reserved at its bound, settled at its usage."""
    account = budget(cost=USD)
    account.reserve(bound_of(100, 10))
    assert (account.spent, account.reserved) == (Totals(), Totals(1, 110, 130_000_000))
    account.settle(bound_of(100, 10), 40, 5)
    assert (account.spent, account.reserved, account.ambiguous) == (Totals(1, 45, 55_000_000), Totals(), Totals())


def test_a_call_surely_not_executed_leaves_no_trace() -> None:
    """Released is free, and no call."""
    account = budget(calls=1)
    account.reserve(bound_of(100, 10))
    assert not account.fits(bound_of(1, 1))
    account.release(bound_of(100, 10))
    assert account.committed == Totals()
    assert account.fits(bound_of(1, 1))


def test_a_lost_call_stays_at_its_bound() -> None:
    """It may have been billed, so it counts as a call and against every cap."""
    account = budget(calls=1)
    account.reserve(bound_of(100, 10))
    account.lose(bound_of(100, 10))
    assert account.ambiguous == account.committed == Totals(1, 110, 130_000_000)
    assert not account.fits(bound_of(1, 1))


def test_a_server_that_does_not_count_is_charged_the_bound() -> None:
    """Usage 0 and 0 is unknown, not free."""
    account = budget(cost=USD)
    account.reserve(bound_of(100, 10))
    account.settle(bound_of(100, 10), 0, 0)
    assert account.spent == Totals(1, 110, 130_000_000)


@pytest.mark.parametrize("end", ["release", "lose", "settle"])
def test_a_call_ends_once(end: str) -> None:
    """Ending a call that is not reserved is a bug of the caller, and changes nothing."""
    account = budget(cost=USD)
    account.reserve(bound_of(50, 5))
    with pytest.raises(ValueError, match="not reserved"):
        getattr(account, end)(bound_of(100, 10), *((1, 1) if end == "settle" else ()))
    assert (account.reserved, account.committed) == (Totals(1, 55, 65_000_000), Totals(1, 55, 65_000_000))


def test_a_call_that_does_not_fit_cannot_be_reserved() -> None:
    """The check cannot be forgotten."""
    with pytest.raises(ValueError, match="does not fit"):
        budget(tokens=10).reserve(bound_of(10, 1))


# --- caps ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("account", "room"),
    [(budget(cost=260_000_000), 2), (budget(calls=3), 3), (budget(tokens=120), 1), (budget(), 9)],
)
def test_each_cap_holds_for_itself(account: Budget, room: int) -> None:
    """A cap admits exactly as many calls as fit, the last to the digit; without caps all do."""
    sent = 0
    while sent < 9 and account.fits(bound_of(100, 10)):
        account.reserve(bound_of(100, 10))
        sent += 1
    assert sent == room


def test_caps_know_whether_there_are_any() -> None:
    """Without one nobody needs a bound."""
    assert [Caps().any, Caps(calls=1).any, Caps(cost=Amount("usd", 1)).any, Caps(tokens=0).any] == [
        False,
        True,
        True,
        True,
    ]


def test_what_earlier_starts_spent_counts() -> None:
    """A cap is for the run: all its starts, all its stages."""
    assert not budget(cost=USD, spent=Totals(5, 1000, USD - 1)).fits(bound_of(1, 0))
    assert budget(cost=USD, spent=Totals(5, 1000, USD - 1_000_000)).fits(bound_of(1, 0))


def test_the_run_ends_only_when_no_answer_can_make_room() -> None:
    """While a call is in flight its settlement may free most of its bound."""
    account = budget(tokens=150)
    account.reserve(bound_of(100, 10))
    assert not account.fits(bound_of(100, 10))
    assert account.exhausted(bound_of(100, 10)) is None
    account.settle(bound_of(100, 10), 40, 5)
    assert account.exhausted(bound_of(100, 6)) == (
        "--max-tokens-total 150 is reached: 45 tokens used, and the next call may use up to 106"
    )
    assert account.exhausted(bound_of(100, 5)) is None


def test_the_reason_names_cap_spending_and_the_next_call() -> None:
    """What was lost counts as spent, since it may have been."""
    account = budget(cost=20 * USD, spent=Totals(9, 0, 19_970_000_000_000))
    assert account.exhausted(bound_of(20_000, 10_000)) == (
        "--max-cost 20 usd is reached: $19.97 spent, and the next call may cost up to $0.05"
    )
    assert budget(calls=2, spent=Totals(2)).exhausted(bound_of(1, 1)) == "--max-calls 2 is reached: 2 calls made"


def test_a_call_larger_than_the_whole_cap_is_told_apart() -> None:
    """Waiting or raising the cap by a little never helps: the message says what does."""
    assert budget(cost=1000).never_fits(bound_of(20_000, 10_000)) == (
        "--max-cost 0.000000001 usd is less than one call may cost ($0.05); raise it, or lower max_tokens"
    )
    assert budget(tokens=9).never_fits(bound_of(8, 2)) == (
        "--max-tokens-total 9 is less than one call may use (10); raise it, or lower max_tokens"
    )
    assert budget(calls=0).never_fits(bound_of(8, 2)) == "--max-calls 0 allows no call"
    assert budget(tokens=10, spent=Totals(1, 9)).never_fits(bound_of(8, 2)) is None


def test_money_is_shown_in_the_currency_that_is_counted_in() -> None:
    """Cap, spending and next call alike."""
    price = Price(1_000_000, 1_000_000, "cny", "", "")
    account = Budget(Caps(cost=Amount("cny", USD)), Totals(1, 0, USD), "cny")
    assert account.exhausted(Bound(TokenBound(1000, 0), price)) == (
        "--max-cost 1 cny is reached: ¥1.00 spent, and the next call may cost up to ¥0.001"
    )


def test_without_a_price_tokens_are_counted_and_costs_are_not() -> None:
    """Caps on calls and tokens need no price."""
    account = Budget(Caps(tokens=200), Totals())
    account.reserve(Bound(TokenBound(100, 10)))
    assert account.reserved == Totals(1, 110, 0)
    assert not account.fits(Bound(TokenBound(90, 1)))


def test_each_call_counts_at_the_price_of_its_own_model() -> None:
    """A file of requests may name a cheap model and a dear one."""
    account = budget(cost=USD)
    account.reserve(Bound(TokenBound(10, 0), Price(5, 0, "usd", "", "")))
    account.reserve(Bound(TokenBound(10, 0), Price(7, 0, "usd", "", "")))
    assert account.reserved == Totals(2, 20, 120)


def test_a_call_without_a_bound_counts_once_it_is_answered() -> None:
    """Which happens only where no cap is set: then nothing rests on it."""
    account = budget()
    account.reserve(Bound(None, PRICE))
    assert account.reserved == Totals(1, 0, 0)
    assert account.settle(Bound(None, PRICE), 10, 10) is None
    assert account.committed == Totals(1, 20, 40_000_000)
    account.reserve(Bound(None, PRICE))
    account.lose(Bound(None, PRICE))
    assert account.ambiguous == Totals(1, 0, 0)


# --- usage above the bound ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("usage", [(111, 0), (5000, 10), (100, 11), (1, 11)])
def test_usage_above_the_bound_is_recorded_and_ends_the_run(usage: tuple[int, int]) -> None:
    """The bound was none, so no cap holds; what was used is in the account all the same."""
    account = budget(cost=USD)
    account.reserve(bound_of(100, 10))
    problem = account.settle(bound_of(100, 10), *usage)
    assert isinstance(problem, ConfigProblem)
    assert f"counts {usage[0]} + {usage[1]} tokens" in str(problem)
    assert "at most 100 + 10" in str(problem)
    assert account.spent == Totals(1, sum(usage), PRICE.cost(*usage))
    assert account.reserved == Totals()


def test_a_larger_frame_that_costs_no_more_than_was_set_aside_is_no_alarm() -> None:
    """A template may put a preamble before a short prompt; the cap holds as long as the sum does."""
    account = budget(cost=USD)
    account.reserve(bound_of(20, 100))
    assert account.settle(bound_of(20, 100), 70, 8) is None
    assert account.spent == Totals(1, 78, PRICE.cost(70, 8))


def test_without_a_cap_on_bounds_usage_above_them_ends_nothing() -> None:
    """A run without caps, or with one on calls alone, rests on no bound."""
    account = budget(calls=5)
    account.reserve(bound_of(100, 10))
    assert account.settle(bound_of(100, 10), 5000, 500) is None
    assert account.spent == Totals(1, 5500, PRICE.cost(5000, 500))


# --- any order of events --------------------------------------------------------------------------------------------

bounds = st.builds(bound_of, st.integers(1, 400), st.integers(0, 100))


def total(parts: list[Totals]) -> Totals:
    """Their sum."""
    return Totals(*(sum(column) for column in zip(*parts, strict=True))) if parts else NOTHING


class AnyOrder(RuleBasedStateMachine):
    """Calls begin and end in any order, with usage up to their bounds."""

    def __init__(self) -> None:
        super().__init__()
        self.earlier = Totals(3, 500, 700_000_000)
        self.caps = Caps(Amount("usd", 4_000_000_000), 25, 3000)
        self.account = Budget(self.caps, self.earlier)
        self.flying: list[Bound] = []
        self.used = [self.earlier]  # what the calls that ended count for, by the test's own books

    @rule(bound=bounds)
    def begin(self, bound: Bound) -> None:
        """Send a call if it fits, as a run does; where nothing flies, not to fit is the end."""
        if self.account.fits(bound):
            self.account.reserve(bound)
            self.flying.append(bound)
        assert (self.account.exhausted(bound) is None) == (bool(self.flying) or self.account.fits(bound))

    @precondition(lambda self: self.flying)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        """End any call in flight in any way."""
        bound = self.flying.pop(data.draw(st.integers(0, len(self.flying) - 1)))
        match data.draw(st.sampled_from(["settle", "release", "lose"])):
            case "settle":
                usage = data.draw(
                    st.tuples(st.integers(1, tokens_of(bound).prompt), st.integers(0, tokens_of(bound).completion))
                )
                self.account.settle(bound, *usage)
                self.used.append(Totals(1, sum(usage), PRICE.cost(*usage)))
            case "lose":
                self.account.lose(bound)
                self.used.append(Totals(1, sum(tokens_of(bound)), PRICE.cost(*tokens_of(bound))))
            case _:
                self.account.release(bound)

    @invariant()
    def books_agree(self) -> None:
        """The account says what the test's own books say."""
        flying = [Totals(1, sum(tokens_of(bound)), PRICE.cost(*tokens_of(bound))) for bound in self.flying]
        assert self.account.reserved == total(flying)
        assert self.account.spent.plus(self.account.ambiguous) == total(self.used)

    @invariant()
    def caps_hold(self) -> None:
        """No cap is ever exceeded, and nothing is ever negative."""
        all_in_all = self.account.committed
        assert self.caps.cost is not None
        assert self.caps.calls is not None
        assert self.caps.tokens is not None
        assert all_in_all.cost <= self.caps.cost.pico
        assert all_in_all.calls <= self.caps.calls
        assert all_in_all.tokens <= self.caps.tokens
        for part in (self.account.spent, self.account.reserved, self.account.ambiguous):
            assert min(part.calls, part.tokens, part.cost) >= 0


TestAnyOrder = AnyOrder.TestCase


# --- usability ----------------------------------------------------------------------------------------------------


@settings(max_examples=40)  # each is a whole run of some thousand calls
@given(st.integers(0, 2**32), st.integers(1, 64), st.floats(1, 4))
def test_a_cap_can_be_used_to_95_percent_though_bounds_are_four_times_the_usage(
    seed: int, in_flight: int, excess: float
) -> None:
    """Calls small against the cap, sent while they fit: none overshoots, and little is left when the run ends."""
    random = Random(seed)
    cap = PRICE.cost(100_000, 100_000)
    account = budget(cost=cap)
    flying: list[tuple[Bound, tuple[int, int]]] = []
    while True:
        usage = random.randint(50, 200), random.randint(50, 200)
        bound = bound_of(int(usage[0] * excess), int(usage[1] * excess))
        assert PRICE.cost(*tokens_of(bound)) < cap // 100
        while not account.fits(bound) or len(flying) == in_flight:
            if account.exhausted(bound):
                assert 0.95 * cap <= account.spent.cost <= cap
                return
            done, counted = flying.pop(random.randrange(len(flying)))
            account.settle(done, *counted)
        account.reserve(bound)
        flying.append((bound, usage))
