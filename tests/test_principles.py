"""What a model is told beforehand: the published tables, a user's own shares, and draws that follow them exactly."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from random import Random
from typing import Any

import pytest

from selfinstruct.errors import ConfigProblem
from selfinstruct.feedback_schema import Principle
from selfinstruct.principles import PRINCIPLES, SHARES, Shares, Table, draw, known, shares_of, wording

HELPFUL: Shares = {"helpfulness": Fraction(1)}


class Told(Random):
    """A generator whose next whole number is told beforehand."""

    number = 0
    below = 0

    def randrange(self, start: int, stop: int | None = None, step: int = 1) -> int:
        """The number that was told."""
        self.below = start
        return self.number


def percent(shares: Shares | None) -> dict[str, Fraction]:
    """Shares in percent."""
    return {principle: share * 100 for principle, share in (shares or {}).items()}


# --- the tables -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", SHARES)
def test_the_shares_of_every_source_sum_to_one(table: str) -> None:
    """Exactly, and each is above 0 and of a principle there is."""
    for shares in SHARES[table].values():
        assert sum(shares.values()) == 1
        assert min(shares.values()) > 0
        assert set(shares) <= set(PRINCIPLES)


@pytest.mark.parametrize("table", ["readme", "code"])
def test_both_tables_agree_on_evol_instruct_sharegpt_and_ultrachat(table: Table) -> None:
    """Systems §6.3."""
    assert shares_of(table, "evol_instruct", {}) == HELPFUL
    for source in ("sharegpt", "ultrachat"):
        assert percent(shares_of(table, source, {})) == {
            "helpfulness": 60,
            "truthfulness": 20,
            "honesty": 18,
            "verbalized_calibration": 2,
        }


def test_the_readme_gives_flan_truthfulness_and_the_code_does_not() -> None:
    """Systems §6.3."""
    assert percent(shares_of("readme", "flan", {})) == {
        "helpfulness": 60,
        "truthfulness": 20,
        "verbalized_calibration": 20,
    }
    assert percent(shares_of("code", "flan", {})) == {"helpfulness": 80, "verbalized_calibration": 20}


@pytest.mark.parametrize("source", ["truthful_qa", "false_qa"])
def test_the_readme_gives_questions_truthfulness_alone_and_the_code_half_of_it(source: str) -> None:
    """Systems §6.3."""
    assert percent(shares_of("readme", source, {})) == {"truthfulness": 100}
    assert percent(shares_of("code", source, {})) == {"truthfulness": 50, "honesty": 45, "verbalized_calibration": 5}


@pytest.mark.parametrize("table", ["readme", "code"])
@pytest.mark.parametrize("part", ["flan_v2_cot", "flan_v2_flan2021", "flan_v2_niv2", "flan_v2_p3", "flan_cot"])
def test_the_parts_of_flan_are_flan(table: Table, part: str) -> None:
    """As the published data names them."""
    assert shares_of(table, part, {}) == SHARES[table]["flan"]
    assert known(table, part, {})


@pytest.mark.parametrize("table", ["readme", "code"])
@pytest.mark.parametrize("source", ["self-instruct", "alpaca", "belle"])
def test_instructions_of_our_own_runs_get_helpfulness(table: Table, source: str) -> None:
    """They are known, and so nothing to warn of."""
    assert shares_of(table, source, {}) == HELPFUL
    assert known(table, source, {})


@pytest.mark.parametrize("table", ["readme", "code"])
@pytest.mark.parametrize("source", ["", "my_data", "flange_catalogue", "my_flan"])
def test_any_other_source_gets_helpfulness_and_is_not_known(table: Table, source: str) -> None:
    """Systems §6.3, "other"."""
    assert shares_of(table, source, {}) == HELPFUL
    assert not known(table, source, {})


def test_no_table_gives_harmlessness() -> None:
    """Its eleven wordings are in the original's prompts, and its code never draws one."""
    assert not [source for table in SHARES.values() for source, shares in table.items() if "harmlessness" in shares]


@pytest.mark.parametrize("source", ["flan", "my_data"])
def test_none_is_no_principle_at_all(source: str) -> None:
    """And no source of it falls back on anything."""
    assert shares_of("none", source, {}) is None
    assert known("none", source, {})


# --- a user's own ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", ["readme", "code", "none"])
@pytest.mark.parametrize("source", ["flan", "my_data"])
def test_own_shares_come_before_any_table(table: Table, source: str) -> None:
    """Also before the one that has none, and they are exactly what was written."""
    own: dict[str, dict[Principle, float]] = {source: {"honesty": 0.1, "harmlessness": 0.9}}
    assert percent(shares_of(table, source, own)) == {"honesty": 10, "harmlessness": 90}
    assert known(table, source, own)


def test_own_shares_of_flan_are_for_its_parts_but_a_part_of_its_own_comes_first() -> None:
    """The more exact name wins."""
    own: dict[str, dict[Principle, float]] = {"flan": {"honesty": 1.0}, "flan_v2_cot": {"harmlessness": 1.0}}
    assert shares_of("readme", "flan_v2_p3", own) == {"honesty": Fraction(1)}
    assert shares_of("readme", "flan_v2_cot", own) == {"harmlessness": Fraction(1)}
    assert shares_of("readme", "ultrachat", own) == SHARES["readme"]["ultrachat"]


def test_own_shares_that_miss_one_by_a_rounding_are_made_to_sum_to_one() -> None:
    """Three thirds as floats, to ten digits."""
    third = 0.3333333333
    own: dict[str, dict[Principle, float]] = {"s": {"helpfulness": third, "honesty": third, "truthfulness": third}}
    shares = shares_of("readme", "s", own)
    assert shares == dict.fromkeys(("helpfulness", "honesty", "truthfulness"), Fraction(1, 3))


@pytest.mark.parametrize(
    "shares",
    [{}, {"honesty": 0.5}, {"honesty": 0.5, "helpfulness": 0.500001}, {"honesty": 1.5, "helpfulness": -0.5}],
)
def test_own_shares_that_are_none_name_their_source(shares: dict[Principle, float]) -> None:
    """They sum to something else, or one is below 0."""
    with pytest.raises(ConfigProblem, match="shares of the source 'my_data'"):
        shares_of("readme", "my_data", {"my_data": shares})


# --- draws ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("table", "source"), [(table, source) for table in SHARES for source in SHARES[table]])
def test_draws_are_exactly_the_shares(table: str, source: str) -> None:
    """Of all numbers that a generator can give, so many fall on each principle."""
    shares, rng = SHARES[table][source], Told()
    draw(rng, shares)
    drawn: Counter[str] = Counter()
    for number in range(rng.below):
        rng.number = number
        drawn[draw(rng, shares)] += 1
    assert {principle: Fraction(count, rng.below) for principle, count in drawn.items()} == shares


def test_many_draws_come_close_to_the_shares() -> None:
    """10 000 draws of a real generator: chi-square, 3 degrees of freedom, below the 99.9 % point."""
    shares = SHARES["readme"]["ultrachat"]
    rng = Random(8)
    drawn = Counter(draw(rng, shares) for _ in range(10_000))
    assert sum((drawn[one] - share * 10_000) ** 2 / (share * 10_000) for one, share in shares.items()) < 16.27


def test_a_draw_does_not_depend_on_the_order_in_which_shares_are_written() -> None:
    """A recipe's table is a set of shares."""
    shares = SHARES["code"]["truthful_qa"]
    backwards = dict(reversed(list(shares.items())))
    assert list(backwards) != list(shares)
    one, other = Random(3), Random(3)
    assert [draw(one, shares) for _ in range(200)] == [draw(other, backwards) for _ in range(200)]


# --- wordings -------------------------------------------------------------------------------------------------------


def rows() -> list[dict[str, Any]]:
    """Eleven wordings of honesty between others."""
    return [
        {"id": f"{principle}-{number}", "principle": principle, "text": "…"}
        for number in range(1, 12)
        for principle in ("helpfulness", "honesty", "truthfulness")
    ]


def test_every_wording_of_a_principle_is_as_likely_and_none_of_another_is_drawn() -> None:
    """11 000 draws of eleven wordings: chi-square, 10 degrees of freedom, below the 99.9 % point."""
    rng, all_rows = Random(5), rows()
    drawn = Counter(wording(rng, "honesty", all_rows)["id"] for _ in range(11_000))
    assert set(drawn) == {f"honesty-{number}" for number in range(1, 12)}
    assert sum((count - 1000) ** 2 / 1000 for count in drawn.values()) < 29.59


def test_a_wording_is_the_whole_row() -> None:
    """Also what else it says, which other stages need."""
    row = {"id": "c-1", "principle": "verbalized_calibration", "text": "…", "without_example": "."}
    assert wording(Random(1), "verbalized_calibration", [*rows(), row]) == row


def test_a_principle_without_a_wording_is_named() -> None:
    """A prompt file of the user's may lack it."""
    with pytest.raises(ConfigProblem, match="no wording of the principle harmlessness"):
        wording(Random(1), "harmlessness", rows())
