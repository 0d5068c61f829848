"""An audit in words: its table and facts for people, and a warning for each thing that speaks against training."""

from __future__ import annotations

import shlex
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from selfinstruct.sources import for_evaluation

MOST_MISSING: Final = 0.05
"""Share of annotations or scores that are missing: what is left is then what was easy to judge, and no sample."""
MOST_ALIKE: Final = 0.9
"""Share of one and the same rating: an aspect that is rated so tells no two answers apart."""
MOST_NA: Final = 0.5
"""Share of N/A: most answers are then compared by the other aspects alone."""
LENGTH_BIAS: Final = 0.3
"""Correlation of length and rating within instructions: length then explains a tenth (r squared) of what decides."""
POSITION_EFFECT: Final = 0.1
"""Of a rating from 1 to 5; less than this moves few means past each other."""
POSITION_Z: Final = 3.0
"""Standard errors; chance passes them once in 370 times, and there are sixteen places to look at."""
SWAP_EXACT: Final = 0.6
"""Share of ratings that are the same in another order: with less, much of a rating is where its text stood."""
MOST_DISAGREE: Final = 0.1
"""Share of overall scores far from the ratings: that of UltraFeedback's known scoring bug was 1 % (systems §6.5)."""
MOST_REFUSALS: Final = 0.1
"""Share of answers that only decline: pairs then teach when to decline, and little else."""
MOST_TRUNCATED: Final = 0.1
"""Share of answers that were cut off: what is rated is then the token limit."""
MOST_REPLACED: Final = 0.05
"""Share of a model's places that others took: the mix of models is then not the one that the design drew."""
FEWEST_OF_EXPECTED: Final = 0.5
"""Of its even share a model's answers should be more than half, or the pool is not the one that was named."""
MOST_TIES: Final = 0.3
"""Share of pairs that are tied: UltraFeedback's were 11 % (340 000 of 384 000 pairs were left; systems §6.1)."""
FEW: Final = 30
"""Instructions, ratings or answers below which a share says nothing: its standard error is up to nine points."""

_PERCENT: Final = "{:.1%}"
_LONGEST_LIST: Final = 5
_HEADS: Final = {"instruction_following": "following", "truthfulness": "truth", "helpfulness": "helpful"}


# --- warnings -------------------------------------------------------------------------------------------------------


def warnings(row: Mapping[str, Any]) -> list[str]:
    """A line for each thing of an audit's row that should stop someone from training on its records."""
    found = (*_of_size(row), *_of_judge(row), *_of_order(row), *_of_answers(row), *_of_models(row))
    return [_plain(line) for line in found]


def _of_size(row: Mapping[str, Any]) -> Iterator[str]:
    if row["instructions"] < FEW:
        told = "1 instruction is" if row["instructions"] == 1 else f"{row['instructions']} instructions are"
        yield f"{told} too few to say anything by (fewer than {FEW})"
    if found := {source: count for source, count in row["sources"].items() if for_evaluation(source)}:
        left_out = " ".join(f"--exclude-source {shlex.quote(source)}" for source in found)
        many = sum(found.values())
        told = "1 instruction is" if many == 1 else f"{many} instructions are"
        yield f"{told} TruthfulQA's, which models are evaluated with: {left_out}"


def _of_judge(row: Mapping[str, Any]) -> Iterator[str]:
    aspects = {name: of for name, of in row["aspects"].items() if _asked(of) >= FEW}
    missing = {name: of["missing_share"] for name, of in aspects.items() if of["missing_share"] > MOST_MISSING}
    if missing:
        yield f"annotations are missing: {_shares(missing)}; the rejects of 'rate' say why"
    if alike := dict(_alike(aspects)):
        yield f"nearly always the same rating: {_shares(alike)}"
    if na := {name: of["na_share"] for name, of in aspects.items() if of["na_share"] > MOST_NA}:
        yield f"mostly N/A: {_shares(na)}"
    overall = row["overall"]
    if overall is None or overall["completions"] < FEW:
        return
    if overall["missing_share"] > MOST_MISSING:
        yield f"overall scores are missing: {_PERCENT.format(overall['missing_share'])}"
    if overall["compared"] >= FEW and (share := overall["disagree"] / overall["compared"]) > MOST_DISAGREE:
        yield f"overall scores disagree with the ratings: {_PERCENT.format(share)} of {overall['compared']}"


def _alike(aspects: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name, of in aspects.items():
        rating, most = max(of["ratings"].items(), key=lambda item: item[1])
        rated = sum(of["ratings"].values())
        if rated >= FEW and most / rated > MOST_ALIKE:
            yield f"{name} {rating}", most / rated


def _of_order(row: Mapping[str, Any]) -> Iterator[str]:
    within = row["length"]["within_instructions"]
    if row["instructions"] >= FEW and within is not None and abs(within) >= LENGTH_BIAS:
        better = "longer" if within > 0 else "shorter"
        yield f"{better} answers are rated higher: length and rating correlate at {within:.2f} within instructions"
    places = [
        f"{aspect} slot {of['slot']} {of['effect']:+.2f} (z {of['z']:+.1f})"
        for aspect, slots in row["positions"].items()
        for of in slots
        if of["z"] is not None and abs(of["effect"]) >= POSITION_EFFECT and abs(of["z"]) >= POSITION_Z
    ]
    if places and row["instructions"] >= FEW:
        yield f"where a text stands moves its rating: {_some(places)}"
    swap = row["swap"]
    if swap["ratings"] >= FEW and swap["exact"] < SWAP_EXACT:
        share = _PERCENT.format(swap["exact"])
        yield f"in another order the judge gives the same rating in {share} of {swap['ratings']} cases only"
    for name, of in row["comparisons"].items():
        if of is not None and of["tie_share"] is not None and of["tie_share"] > MOST_TIES and of["theoretical"] >= FEW:
            by = "mean ratings" if name == "mean" else "overall scores"
            yield f"{_PERCENT.format(of['tie_share'])} of the pairs are tied by {by}"


def _of_answers(row: Mapping[str, Any]) -> Iterator[str]:
    for key, most, what in (
        ("refusals", MOST_REFUSALS, "only decline"),
        ("truncations", MOST_TRUNCATED, "are cut off at the token limit"),
    ):
        count = sum(of[key] for of in row["models"].values())
        if row["completions"] >= FEW and count / row["completions"] > most:
            worst = max(row["models"].items(), key=lambda item: _share(item[1][key], item[1]["completions"]))
            of_worst = f"{worst[1][key]} of {worst[1]['completions']}"
            yield f"{_PERCENT.format(count / row['completions'])} of the answers {what}, most {worst[0]}'s ({of_worst})"
    baits = row["judge_baiting"]
    if baits["completions"]:
        first = ", ".join(f"{one['id']} ({one['model']})" for one in baits["first"])
        more = ", …" if baits["completions"] > len(baits["first"]) else ""
        told = "1 answer speaks" if baits["completions"] == 1 else f"{baits['completions']} answers speak"
        yield f"{told} to the judge: {first}{more}"


def _of_models(row: Mapping[str, Any]) -> Iterator[str]:
    for name, of in row["models"].items():
        if of["replaced"] and not of["completions"]:
            reasons = ", ".join(f"{reason} {count}" for reason, count in of["replaced"].items())
            yield f"{name} never answered, and others took its places: {reasons}"
    replaced = {}
    for name, of in row["models"].items():
        times = sum(of["replaced"].values())
        if (
            of["completions"]
            and times + of["completions"] >= FEW
            and times / (times + of["completions"]) > MOST_REPLACED
        ):
            replaced[name] = times / (times + of["completions"])
    if replaced:
        yield f"others answered in the place of {_shares(replaced)}"
    even = _share(row["completions"], len(row["models"]))
    few = {name: of["completions"] for name, of in row["models"].items()}
    few = {name: count for name, count in few.items() if even >= FEW and count < FEWEST_OF_EXPECTED * even}
    if few:
        names = _some([f"{name} {count}" for name, count in few.items()])
        yield f"models with fewer than half of the {even:.0f} answers expected of each: {names}"


def _asked(aspect: Mapping[str, Any]) -> int:
    rated: int = sum(aspect["ratings"].values())
    return rated + int(aspect["na"]) + int(aspect["missing"])


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _shares(shares: Mapping[str, float]) -> str:
    """Names with their shares, the largest first."""
    worst = sorted(shares.items(), key=lambda item: (-item[1], item[0]))
    return _some([f"{name} {_PERCENT.format(share)}" for name, share in worst])


def _some(words: Sequence[str]) -> str:
    more = len(words) - _LONGEST_LIST
    return ", ".join(words[:_LONGEST_LIST]) + (f" and {more} more" if more > 0 else "")


# --- for people -----------------------------------------------------------------------------------------------------


def lines(row: Mapping[str, Any]) -> list[str]:
    """The table of models, then one line a fact."""
    return [*_table(row), "", *_facts(row)]


def _table(row: Mapping[str, Any]) -> list[str]:
    aspects = list(row["aspects"])
    heads = [_HEADS.get(aspect, aspect) for aspect in aspects]
    cells = [["model", "answers", *heads, "mean", "overall", "refused", "cut off", "replaced"]]
    # The best first; a model without any rating last.
    for name, of in sorted(row["models"].items(), key=lambda item: (-(item[1]["mean"] or 0), item[0])):
        ratings = [_number(of["aspects"][aspect]["mean"]) for aspect in aspects]
        counts = (of["refusals"], of["truncations"], sum(of["replaced"].values()))
        scores = [_number(of["mean"]), _number(of["overall_score"])]
        cells.append([_plain(name), str(of["completions"]), *ratings, *scores, *map(str, counts)])
    widths = [max(map(_width, column)) for column in zip(*cells, strict=True)]
    return [_padded(line, widths) for line in cells]


def _padded(cells: Sequence[str], widths: Sequence[int]) -> str:
    gaps = [" " * (width - _width(cell)) for cell, width in zip(cells, widths, strict=True)]
    numbers = [gap + cell for gap, cell in zip(gaps[1:], cells[1:], strict=True)]
    return "  ".join([cells[0] + gaps[0], *numbers])


def _facts(row: Mapping[str, Any]) -> Iterator[str]:
    facts = [
        ("records", f"{_many(row['instructions'], 'instruction')}, {_many(row['completions'], 'answer')}"),
        ("sources", ", ".join(f"{_plain(source)} {count}" for source, count in row["sources"].items())),
        *((_HEADS.get(aspect, aspect), _ratings(of)) for aspect, of in row["aspects"].items()),
        ("overall", _overall(row["overall"])),
        ("length", _length(row["length"])),
        *((f"slots, {_HEADS.get(aspect, aspect)}", _slots(of)) for aspect, of in row["positions"].items() if of),
        ("swapped", _swapped(row["swap"])),
        *((f"pairs, {name}", _compared(of)) for name, of in row["comparisons"].items() if of),
        ("models met", _met(row["pairs"])),
        ("to the judge", _many(row["judge_baiting"]["completions"], "answer")),
    ]
    width = max(len(name) for name, _ in facts)
    for name, told in facts:
        yield f"{name:<{width}}  {told}"
    for one in row["judge_baiting"]["first"]:
        yield f"{'':<{width}}  {one['id']} ({_plain(one['model'])}): {one['excerpt']}"


def _ratings(of: Mapping[str, Any]) -> str:
    counts = ", ".join(f"{rating}: {count}" for rating, count in of["ratings"].items())
    return f"mean {_number(of['mean'])} ({counts}, N/A: {of['na']}, missing: {of['missing']})"


def _overall(of: Mapping[str, Any] | None) -> str:
    if of is None:
        return "not asked for"
    return (
        f"mean {_number(of['mean'])}, against twice the mean of the ratings {_number(of['difference'], '+.2f')} with"
        f" correlation {_number(of['correlation'])}; missing {of['missing']}, disagree {of['disagree']},"
        f" asked again {of['reasked']}"
    )


def _length(of: Mapping[str, Any]) -> str:
    return (
        f"correlates with the mean rating at {_number(of['within_instructions'])} within instructions,"
        f" at {_number(of['correlation'])} over all answers"
    )


def _slots(slots: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(f"{of['slot']}: {_number(of['effect'], '+.2f')} (z {_number(of['z'], '+.1f')})" for of in slots)


def _swapped(of: Mapping[str, Any]) -> str:
    if not of["ratings"]:
        return "not checked (--swap-check)"
    return (
        f"{_many(of['ratings'], 'rating')} in another order: {_PERCENT.format(of['exact'])} the same,"
        f" {_PERCENT.format(of['within_one'])} within one, difference {_number(of['difference'], '+.2f')},"
        f" correlation {_number(of['correlation'])}"
    )


def _compared(of: Mapping[str, Any]) -> str:
    all_tied = f"; {_many(of['all_tied'], 'instruction')} with all tied"
    return f"{of['made']} of {of['theoretical']}, {of['ties']} tied, {of['missing']} without a score{all_tied}"


def _met(of: Mapping[str, Any]) -> str:
    if not of["possible"]:
        return f"{_many(of['models'], 'model')}, no pairs"
    never = f"; {_many(of['never_met'], 'pair')} never" if of["never_met"] else ""
    times = _many(of["max"], "time") if of["min"] == of["max"] else f"{of['min']} to {_many(of['max'], 'time')}"
    return f"{times}, {of['expected']:.1f} expected of each of {_many(of['possible'], 'pair')}{never}"


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _number(value: float | None, form: str = ".2f") -> str:
    if value is None:
        return "-"
    told = format(value, form)
    return told if float(told) else format(0.0, form)  # never -0.00


def _plain(name: str) -> str:
    """A name from a file, on one line and without what a terminal would obey."""
    return "".join(character if character.isprintable() else " " for character in name)


def _width(text: str) -> int:
    """Columns on a terminal: Chinese characters take two."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)
