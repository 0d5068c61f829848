"""What feedback would come to: several answers to each instruction, and what a judge reads and says of them.

    sample    a call a seat: the instruction, what was said before it and a principle ─► an answer
    rate      a call an aspect, and once more where the order is checked: all answers ─► their ratings
    critique  a call an answer ─► feedback and a score

Prompts are rendered for a few of the instructions that are left to do, without answers, which are then reckoned in by
their length; how long instructions are is looked up in more of them. What a call of a stage reads and writes is, as
soon as the stage has had `MEASURED` answers, what the run's ledger says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from math import ceil
from typing import NamedTuple

from selfinstruct import feedback_stand_ins, pricing, role_prices, wire
from selfinstruct.dialogue_forecast import MEASURED
from selfinstruct.feedback_schema import ASPECTS
from selfinstruct.forecast import BYTES_A_TOKEN, Estimate, Measure, Use, use_of
from selfinstruct.launch import Plan
from selfinstruct.ledger_reader import LedgerReader
from selfinstruct.links import Link
from selfinstruct.money import Price, TokenBound
from selfinstruct.stages.critique import Critiques
from selfinstruct.stages.rate import Ratings
from selfinstruct.stages.sample import Samples
from selfinstruct.store_manifest import Manifest

_REPAIR = 2000  # tokens, at most, of what a judge is told that is asked again: the prompt files have no more bytes
_KEPT = {"instructions": 300, "sample": 1000, "rate": 2900, "critique": 3500, "binarize": 1900}
"""Bytes of a record of each stage beside its texts, with four answers: mostly the keys of the calls that made it."""

ASSUMPTIONS = (
    "instructions: each is new; low and likely: each answer can be used and read; high: each is asked for again as"
    " often as it may be, and each overall score once more; a stage with 50 answers goes by what was recorded of it"
)


class Feedback(NamedTuple):
    """What is left to do: instructions, the calls of each stage, how many of those have no known price; and in words,
    how long the models' answers are.
    """

    instructions: int
    stages: dict[str, Estimate]
    unpriced: int
    lengths: str


class Recorded(NamedTuple):
    """What a ledger holds of a stage: ``first`` counts what was asked for the first time, ``answers`` what came of that
    and of what was asked again; the tokens are theirs.
    """

    first: int = 0
    answers: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def tells(self) -> bool:
        """Whether it is enough to go by."""
        return self.first > 0 and self.answers >= MEASURED

    @property
    def answer(self) -> Fraction:
        """Tokens of an answer, on average."""
        return Fraction(self.completion_tokens, self.answers)


class _Lengths(NamedTuple):
    """Tokens of an answer."""

    low: Fraction
    likely: Fraction
    high: Fraction


class _Asking(NamedTuple):
    """How a stage asks: its calls for an instruction; how many answers stand in the prompt of each; how many calls may
    follow each; and how many steps of a job are asked in any case.
    """

    calls: Fraction
    texts: int
    more: int
    steps: int


class _Shown(NamedTuple):
    """A call of a stage, on average, before an answer stands in its prompt: tokens read, bytes of its body, and the
    tokens it writes.
    """

    read: _Lengths
    body: Fraction
    written: _Lengths


class _Sum(NamedTuple):
    """What a number of calls come to: tokens read and written, bytes on disk."""

    calls: int
    read: Fraction
    written: Fraction
    disk: Fraction


class _Priced(NamedTuple):
    """What a call to any of several models costs on average, and the share of calls whose price is not known."""

    price: Price | None
    unknown: Fraction


def of_feedback(
    plan: Plan,
    whole: int,
    manifests: Sequence[Manifest | None],
    prices: Mapping[str, Price | None],
    rows: LedgerReader | None,
    measure: Measure,
) -> Feedback:
    """What is left to do until ``whole`` instructions are through.

    ``prices`` are by role, ``rows`` the ledger's, where there is one; ``measure`` reckons calls.
    """
    reckoning = _Reckoning(plan, whole, manifests[-1], measure)
    stages, left, unpriced, arriving = {}, 0, 0, whole
    for link, manifest in zip(plan.links, manifests, strict=True):
        if not link.stage.roles:
            continue
        asking = reckoning.asking[link.stage.name]
        known = _recorded(rows, link.stage.name, asking.steps)
        first = max(0, ceil(arriving * asking.calls) - known.first)
        priced = _priced(plan, link, prices)
        stages[link.stage.name] = estimate = reckoning.stage(link, first, known, priced.price)
        left = max(left, ceil(first / asking.calls))
        unpriced += ceil(estimate.likely.calls * priced.unknown)
        arriving -= sum(shard.barren for shard in manifest.shards) if manifest else 0
    return Feedback(left, stages, unpriced, reckoning.lengths)


def instructions(plan: Plan, manifest: Manifest | None, target: int) -> int:
    """How many there will be: whole rounds of them, up to ``target`` or the end of where they come from.

    ``manifest`` is that of the stage that brings them.
    """
    accepted = manifest.accepted if manifest else 0
    asked = sum(shard.jobs for shard in manifest.shards) if manifest else 0
    rounds = -(-max(0, target - accepted) // plan.recipe.round_size)
    there_are_more = len(feedback_stand_ins.brought(plan).brought) - asked
    return accepted + max(0, min(rounds * plan.recipe.round_size, there_are_more))


# --- a stage --------------------------------------------------------------------------------------------------------


class _Reckoning:
    """Reckons the stages of a plan in their order: those of the judge read as much as the models before have written.

    What stands for all is looked up behind the instructions that are through, as the ``last`` stage's manifest has it.
    """

    def __init__(self, plan: Plan, whole: int, last: Manifest | None, measure: Measure) -> None:
        self.lengths = ""
        self._plan, self._whole, self._measure = plan, whole, measure
        through = sum(shard.jobs for shard in last.shards) if last else 0
        self._stand_ins = feedback_stand_ins.stand_ins(plan, through, whole)
        self._answer = _Lengths(Fraction(0), Fraction(0), Fraction(0))
        self.asking = {link.stage.name: self._asks(link) for link in plan.links if link.stage.roles}

    def stage(self, link: Link, first: int, known: Recorded, price: Price | None) -> Estimate:
        """A stage that has so many first calls left to make."""
        shown = self._shown(link)
        low, likely, high = (_use(each, price) for each in self._guessed(link, shown, first))
        written = shown.written
        if known.tells:
            low = likely = _use(self._as_recorded(link, known, first), price)
            high = Use(*map(max, high, likely))
            written = _Lengths(known.answer, known.answer, max(known.answer, written.high))
        if isinstance(link.stage, Samples):
            self._answer = written
            self.lengths = self._in_words(known)
        return Estimate(low, likely, high)

    def _asks(self, link: Link) -> _Asking:
        stage, models = link.stage, self._plan.recipe.sample.models
        if isinstance(stage, Samples):
            return _Asking(Fraction(models), 0, stage.resamples, models)
        if isinstance(stage, Ratings):
            return _Asking(self._turns(stage), models, stage.max_reasks, 2 * len(ASPECTS))
        assert isinstance(stage, Critiques)
        return _Asking(Fraction(models), 1, stage.max_reasks + 1, models)

    def _guessed(self, link: Link, shown: _Shown, first: int) -> Iterator[_Sum]:
        """Low, likely, high; of a judge that is asked again, what it said and what is wrong with that is read, too."""
        asking = self.asking[link.stage.name]
        most = first * (1 + asking.more)
        lengths = zip((first, first, most), shown.read, self._answer, shown.written, strict=True)
        for calls, read, answer, each in lengths:
            again = (each + _REPAIR) * (calls - first) if asking.texts else 0
            body = shown.body + BYTES_A_TOKEN * asking.texts * answer
            disk = calls * _row(body, each) + self._kept(link, first, each)
            yield _Sum(calls, calls * (read + asking.texts * answer) + again, calls * each, disk)

    def _as_recorded(self, link: Link, known: Recorded, first: int) -> _Sum:
        """As long, and asked again as often, as what was recorded of the stage."""
        calls = ceil(Fraction(first * known.answers, known.first))
        read = Fraction(known.prompt_tokens, known.answers)
        disk = calls * _row(BYTES_A_TOKEN * read, known.answer) + self._kept(link, first, known.answer)
        return _Sum(calls, calls * read, calls * known.answer, disk)

    def _shown(self, link: Link) -> _Shown:
        """What is asked about the instructions that are rendered, put right for those that are not."""
        told = self._plan.settings.answer_tokens if isinstance(link.stage, Samples) else None
        asked, sizes, total = 0, 0, Estimate()
        for record in self._stand_ins.asked_about:
            for endpoint, request in feedback_stand_ins.requests(self._plan, link.stage, record):
                body = wire.body(endpoint, request)
                asked, sizes = asked + 1, sizes + len(wire.canonical(body))
                total = total.plus(self._measure.call(body, None, f"stage {link.stage.name}", link.answer))
        likely = Fraction(total.likely.prompt_tokens, asked) + self._stand_ins.tokens
        read = _Lengths(likely * 3 / 4, likely, Fraction(total.high.prompt_tokens, asked) + self._stand_ins.bytes)
        written = _Lengths(*(Fraction(use.completion_tokens, asked) for use in total))
        if told is not None:
            answer = min(Fraction(told), written.high)
            written = _Lengths(answer, answer, written.high)
        return _Shown(read, Fraction(sizes, asked) + self._stand_ins.bytes, written)

    def _turns(self, stage: Ratings) -> Fraction:
        """Calls for an instruction, some of which are rated twice: of few instructions it is known which."""
        if not 0 < stage.swap_check < 1 or self._whole > feedback_stand_ins.LOOKED_AT:
            return len(ASPECTS) * (1 + Fraction(str(stage.swap_check)))
        size, one = self._plan.recipe.round_size, self._stand_ins.asked_about[0]
        ids = (f"sample-{place // size}-{place % size}-0" for place in range(self._whole))
        turns = sum(len(stage.turns(one.model_copy(update={"id": id}))) for id in ids)
        return Fraction(turns, max(1, self._whole))

    def _kept(self, link: Link, first: int, each: Fraction) -> Fraction:
        """Bytes of a stage's records, and of its answers in the records of later stages, which have them all again.

        The records of a stage that asks nobody are counted with the one beside it.
        """
        names, name = [one.stage.name for one in self._plan.links], link.stage.name
        models = self._plan.recipe.sample.models
        behind = names[names.index(name) + 1 :]
        written = [name, *(["instructions"] if name == "sample" else []), *(behind if behind == ["binarize"] else [])]
        frames = sum(_KEPT[one] * Fraction(models, 4) + self._stand_ins.size for one in written)
        copies = Fraction(len(behind))
        if behind[-1:] == ["binarize"]:  # of answers alone, and not of all of them
            every = self._plan.recipe.binarize.rejected == "all"
            of_answer = models - 1 if every else Fraction(2, models)
            copies += of_answer - 1 if name == "sample" else -1
        return first * (frames / self.asking[name].calls + copies * BYTES_A_TOKEN * each)

    def _in_words(self, known: Recorded) -> str:
        guessed = "low: an eighth of that; --answer-tokens tells better"
        told = "as told" if self._plan.settings.answer_tokens is not None else guessed
        why = "as measured in this run" if known.tells else told
        return f"answers of {float(self._answer.likely):.0f} tokens: {why}"


def _use(spent: _Sum, price: Price | None) -> Use:
    tokens = TokenBound(ceil(spent.read), ceil(spent.written))
    return Use(spent.calls, *tokens, price.cost(*tokens) if price else 0, ceil(spent.disk))


def _row(body: Fraction, answer: Fraction) -> int:
    """Bytes of a call and its answer in the ledger, and of the answer in a record."""
    return use_of(TokenBound(0, ceil(answer)), None, ceil(body)).disk


def _recorded(rows: LedgerReader | None, stage: str, steps: int) -> Recorded:
    """What a ledger holds of a stage of whose jobs the first ``steps`` are asked in any case."""
    if rows is None:
        return Recorded()
    first = 0
    before: tuple[int, int, int] | None = None
    for draw, _ in rows.answered(stage):
        asked = draw.round, draw.slot, draw.step
        first += draw.k == 0 and draw.step < steps and asked != before  # the same again: another took the seat
        before = asked
    used = [row for row in rows.spending() if row.stage == stage and row.state == "settled"]
    return Recorded(
        first,
        sum(row.attempts for row in used),
        sum(row.prompt_tokens for row in used),
        sum(row.completion_tokens for row in used),
    )


def _priced(plan: Plan, link: Link, prices: Mapping[str, Price | None]) -> _Priced:
    """The price of who is asked: of a pool, whose models are asked equally often, the mean of those that are known."""
    roles = plan.recipe.pool_roles if isinstance(link.stage, Samples) else link.stage.roles
    known = [price for role in roles if (price := prices[role])]
    if not known:
        return _Priced(None, Fraction(1))
    missing = pricing.nothing(known[0].currency)
    mean = role_prices.mean([prices[role] or missing for role in roles])
    return _Priced(mean, Fraction(len(roles) - len(known), len(roles)))
