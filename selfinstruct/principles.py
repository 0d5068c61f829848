"""What a model is told before it answers: a principle, drawn by where the instruction comes from (systems §6.3).

Two tables are published, which differ: the README's, and the one the code of UltraFeedback draws from. Shares are
fractions, so a draw is exact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import lcm
from random import Random
from typing import Any, Final, Literal, get_args

from selfinstruct.errors import ConfigProblem
from selfinstruct.feedback_schema import Principle
from selfinstruct.sources import family

Table = Literal["readme", "code", "none"]
Shares = Mapping[Principle, Fraction]

PRINCIPLES: Final[tuple[Principle, ...]] = get_args(Principle)
"""The principles, in their order; no published table has ``harmlessness``."""

_HELPFUL: Final[Shares] = {"helpfulness": Fraction(1)}

_DIALOGUE: Final[Shares] = {
    "helpfulness": Fraction(60, 100),
    "truthfulness": Fraction(20, 100),
    "honesty": Fraction(18, 100),
    "verbalized_calibration": Fraction(2, 100),
}

_README_FLAN: Final[Shares] = {
    "helpfulness": Fraction(60, 100),
    "truthfulness": Fraction(20, 100),
    "verbalized_calibration": Fraction(20, 100),
}

_CODE_FLAN: Final[Shares] = {"helpfulness": Fraction(4, 5), "verbalized_calibration": Fraction(1, 5)}

_README_QA: Final[Shares] = {"truthfulness": Fraction(1)}

_CODE_QA: Final[Shares] = {
    "truthfulness": Fraction(50, 100),
    "honesty": Fraction(45, 100),
    "verbalized_calibration": Fraction(5, 100),
}

_OURS: Final[Mapping[str, Shares]] = {"self-instruct": _HELPFUL, "alpaca": _HELPFUL, "belle": _HELPFUL}
"""What runs of this package are the source of; dialogues of theirs are ``ultrachat``."""

SHARES: Final[Mapping[str, Mapping[str, Shares]]] = {
    "readme": {
        "evol_instruct": _HELPFUL,
        "sharegpt": _DIALOGUE,
        "ultrachat": _DIALOGUE,
        "flan": _README_FLAN,
        "truthful_qa": _README_QA,
        "false_qa": _README_QA,
        **_OURS,
    },
    "code": {
        "evol_instruct": _HELPFUL,
        "sharegpt": _DIALOGUE,
        "ultrachat": _DIALOGUE,
        "flan": _CODE_FLAN,
        "truthful_qa": _CODE_QA,
        "false_qa": _CODE_QA,
        **_OURS,
    },
}
"""The share of each principle by table and source, as UltraFeedback's README and its ``sampling.py`` have it."""


def shares_of(table: Table, source: str, own: Mapping[str, Mapping[Principle, float]]) -> Shares | None:
    """The shares of the principles for instructions of a source; None where nothing is said beforehand.

    ``own`` are a user's shares by source, which come before those of any table. A source is its family, as FLAN's part
    ``flan_v2_cot`` is ``flan``, unless its own name is there. One that is not known gets helpfulness.

    Raises `ConfigProblem` for own shares that are below 0 or do not sum to 1 within 1e-9.
    """
    for name in (source, family(source)):
        if name in own:
            return _exact(name, own[name])
    return None if table == "none" else SHARES[table].get(family(source), _HELPFUL)


def known(table: Table, source: str, own: Mapping[str, Mapping[Principle, float]]) -> bool:
    """Is it said what a source gets? Else it gets helpfulness because nobody knows better."""
    return table == "none" or any(name in own or name in SHARES[table] for name in (source, family(source)))


def draw(rng: Random, shares: Shares) -> Principle:
    """A principle by its share, exactly: a whole number below the common denominator is drawn."""
    whole = lcm(*(share.denominator for share in shares.values()))
    left = rng.randrange(whole)
    for principle in PRINCIPLES:
        left -= int(shares.get(principle, Fraction(0)) * whole)
        if left < 0:
            return principle
    raise ValueError(f"shares that do not sum to 1: {dict(shares)}")


def wording(rng: Random, principle: Principle, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One of a principle's wordings, each as likely; ``rows`` are all there are, with their ``principle``.

    Raises `ConfigProblem` where there is none.
    """
    mine = [row for row in rows if row["principle"] == principle]
    if not mine:
        raise ConfigProblem(f"the prompt file has no wording of the principle {principle}; add a row for it")
    return rng.choice(mine)


def _exact(source: str, shares: Mapping[Principle, float]) -> Shares:
    exact = {principle: Fraction(repr(float(share))) for principle, share in shares.items()}
    total = sum(exact.values(), Fraction(0))
    if abs(total - 1) > Fraction(1, 10**9) or min(exact.values()) < 0:
        raise ConfigProblem(
            f"shares of the source {source!r}: {', '.join(f'{p} {shares[p]}' for p in shares) or 'none'}; "
            "they have to be 0 or more and sum to 1"
        )
    return {principle: share / total for principle, share in exact.items()}
