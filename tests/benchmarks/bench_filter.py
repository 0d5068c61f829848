"""The filters against what others use, in one run: rouge_score, rapidfuzz brute force, datasketch. Draws the curve.

    make bench-filter                                    # about six minutes
    make bench-filter BENCH='--upto 52000'               # the first rows only
    make bench-filter BENCH='--texts en=instructions.txt' # texts of yours, one a line, before the made ones

Each row says how many candidates a second of CPU are decided once the pool holds so many texts (the stretch before that
size is timed, tokens given, one thread), and how many times that is what the others do at this size:

* the Alpaca loop: `rouge_score`'s own table, tokens given, over the whole pool; timed on a sample of its pairs;
* brute force: `rapidfuzz.process.cdist` over the whole pool, tokens spelled as characters, one thread.

The mode ``off`` finds what is above 0.7; ``above:0.5`` also what is told of each record. Texts are made from the seed
tasks: chains of three words, or characters, of them, and each tenth an edited copy of an earlier one.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import time
from array import array
from collections import defaultdict
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rapidfuzz import process
from rapidfuzz.distance import LCSseq
from rouge_score import rouge_scorer

from selfinstruct import resources, seed_tasks
from selfinstruct.similarity.rouge_index import BLOCK, Block, RougeIndex
from selfinstruct.similarity.spelling import Alphabet, spelling
from selfinstruct.similarity.tokens import Tokenizer, tokens

SIZES = {"en": (10_000, 52_000, 200_000, 500_000, 1_000_000), "zh": (10_000, 52_000, 200_000, 500_000)}
THRESHOLD = Fraction(7, 10)
STRETCH = 8  # blocks before each size are timed
SAMPLE_CANDIDATES, SAMPLE_POOL = 20, 500  # pairs timed of the Alpaca loop, which would take hours


class Row(NamedTuple):
    """What one size of the pool gave."""

    size: int
    rate: float  # candidates a second of CPU
    alpaca: float  # the same of the Alpaca loop
    brute: float  # and of brute force
    total: float  # seconds of CPU so far
    memory: int  # MiB of the index's arrays


def made_texts(lang: Tokenizer, rng: random.Random) -> Iterator[str]:
    """Texts of the seed tasks' words and lengths, without end; each tenth an edited copy."""
    tasks = seed_tasks.load(resources.seeds_dir() / f"{lang}_seed_tasks.jsonl")
    sources = [text for task in tasks for one in task.instances for text in (task.instruction, one.input, one.output)]
    split = str.split if lang == "en" else list
    pieces = [split(line) for text in sources for line in text.split("\n") if len(split(line)) > 3]
    following: dict[str, list[str]] = defaultdict(list)
    for piece in pieces:
        for left, right in pairwise(piece):
            following[left].append(right)
    lengths = [len(split(task.instruction)) for task in tasks]
    words = [word for piece in pieces for word in piece]
    earlier: list[list[str]] = []
    while True:
        if earlier and rng.random() < 0.1:
            text = list(rng.choice(earlier))
            for _ in range(1 + len(text) // 8):
                text[rng.randrange(len(text))] = rng.choice(words)
        else:
            text, length = [rng.choice(words)], rng.choice(lengths)
            while len(text) < length:
                # A fifth of the steps leave the chain, or so few seeds would say the same again and again.
                nexts = following.get(text[-1])
                text.append(rng.choice(nexts) if nexts and rng.random() < 0.8 else rng.choice(words))
                if rng.random() < 1 / 30:  # real texts never stop bringing names and numbers; of 15 000 instructions
                    text[-1] = str(int(10 ** rng.uniform(0, 6)))  # 2 % of the words are none of the 5 000 commonest
            if len(earlier) < 200_000:
                earlier.append(text)
        yield (" " if lang == "en" else "").join(text)


def decide(index: RougeIndex, block: Block, texts: list[list[str]]) -> list[int]:
    """The places of the texts that are new, taken into the index."""
    unit, most = 2 * THRESHOLD.denominator, THRESHOLD.numerator
    kept, inside = block.kept.by_text(), block.inside.by_text()
    new: dict[int, None] = {}
    for place in range(len(texts)):
        close = any(unit * lcs > most * lengths for _, lcs, lengths in kept.get(place, ()))
        beside = (hit for hit in inside.get(place, ()) if hit[0] in new)
        if not close and not any(unit * lcs > most * lengths for _, lcs, lengths in beside):
            new[place] = None
    index.take(block, list(new))
    return list(new)


class Others:
    """The pool as the others hold it, and what they take for a candidate."""

    def __init__(self) -> None:
        self.tokens: list[list[str]] = []
        self._alphabet = Alphabet()
        self._spelled: list[str | list[int]] = []

    def add(self, texts: list[list[str]]) -> None:
        """Texts that were kept."""
        self.tokens += texts
        self._spelled += [spelling(array("I", self._alphabet.spell(text))) for text in texts]

    def alpaca(self, candidates: list[list[str]], rng: random.Random) -> float:
        """Candidates a second of CPU in the Alpaca loop."""
        members = rng.sample(self.tokens, SAMPLE_POOL)
        start = time.process_time()
        for candidate in candidates[:SAMPLE_CANDIDATES]:
            max(rouge_scorer._score_lcs(member, candidate).fmeasure for member in members)
        pairs = SAMPLE_CANDIDATES * SAMPLE_POOL / (time.process_time() - start)
        return pairs / len(self.tokens)

    def brute(self, candidates: list[list[str]]) -> float:
        """Candidates a second of CPU when rapidfuzz compares each with the whole pool."""
        some = [spelling(array("I", self._alphabet.spell(text))) for text in candidates[:32]]
        start = time.process_time()
        process.cdist(some, self._spelled, scorer=LCSseq.similarity, dtype=np.int32)
        return len(some) / (time.process_time() - start)


def curve(lang: Tokenizer, texts: Iterator[str], sizes: tuple[int, ...], mode: str) -> Iterator[Row]:
    """A row for each size, as soon as the pool has it."""
    floor = THRESHOLD if mode == "off" else Fraction(mode.removeprefix("above:"))
    index, others, rng = RougeIndex(floor, workers=1), Others(), random.Random(0)
    total = 0.0
    lately: list[tuple[int, float]] = []
    for size in sizes:
        block: list[list[str]] = []
        while len(index) < size:
            block = [tokens(text, lang) for text in islice(texts, BLOCK)]
            start = time.process_time()
            new = decide(index, index.look(block), block)
            seconds = time.process_time() - start
            total += seconds
            lately = [*lately, (len(block), seconds)][-STRETCH:]
            others.add([block[place] for place in new])
        rate = sum(count for count, _ in lately) / sum(seconds for _, seconds in lately)
        yield Row(size, rate, others.alpaca(block, rng), others.brute(block), total, index.memory >> 20)


def report(lang: Tokenizer, texts: Iterator[str], sizes: tuple[int, ...], mode: str) -> list[Row]:
    """Print the rows, and the exponent with which the time grows."""
    rows = []
    print(f"\n{lang}, mode {mode}: candidates a second of CPU, one thread")
    print(f"{'pool':>10}{'ours':>10}{'x Alpaca loop':>16}{'x brute force':>16}{'CPU s so far':>14}{'MiB':>6}")
    for row in curve(lang, texts, sizes, mode):
        ratios = f"{row.rate / row.alpaca:>16,.0f}{row.rate / row.brute:>16,.1f}"
        print(f"{row.size:>10,}{row.rate:>10,.0f}{ratios}{row.total:>14.1f}{row.memory:>6}", flush=True)
        rows.append(row)
    later = [row for row in rows if row.size >= 52_000]
    if len(later) > 1:
        growth = np.log(later[-1].total / later[0].total) / np.log(later[-1].size / later[0].size)
        print(f"total time grows with the size to the power {growth:.2f} from {later[0].size:,} to {later[-1].size:,}")
    return rows


def draw(curves: dict[str, list[Row]], path: Path) -> None:
    """Candidates a second against the size of the pool, both axes logarithmic."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7.2, 4.4), layout="constrained")
    for (lang, rows), colour in zip(curves.items(), ("#1f6fb4", "#c8502d"), strict=False):
        sizes = [row.size for row in rows]
        for name, style, rates in (
            ("selfinstruct", "-o", [row.rate for row in rows]),
            ("rapidfuzz, all pairs", "--", [row.brute for row in rows]),
            ("rouge_score loop", ":", [row.alpaca for row in rows]),
        ):
            axes.plot(sizes, rates, style, color=colour, label=f"{name}, {lang}")
    axes.set(xscale="log", yscale="log", xlabel="instructions in the pool", ylabel="candidates a second, one core")
    axes.set_title("Exact ROUGE-L at 0.7: the same decisions, three ways")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, ncols=2)
    figure.savefig(path, dpi=130)


def main() -> None:
    """Run it all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--upto", type=int, default=1_000_000, help="the largest pool")
    parser.add_argument("--texts", action="append", default=[], metavar="LANG=FILE", help="texts, one a line")
    parser.add_argument("--png", type=Path, help="draw the curve (needs matplotlib)")
    arguments = parser.parse_args()
    given = dict(one.split("=", 1) for one in arguments.texts)
    curves: dict[str, list[Row]] = {}
    orders: list[tuple[Tokenizer, str]] = [("en", "off"), ("zh", "off"), ("en", "above:0.5"), ("zh", "above:0.5")]
    for lang, mode in orders:
        sizes = tuple(size for size in SIZES[lang] if size <= arguments.upto and (mode == "off" or size <= 52_000))
        rng = random.Random(lang)
        first = iter(Path(given[lang]).read_text("utf-8").split("\n")) if lang in given else iter(())
        texts = (text for source in (first, made_texts(lang, rng)) for text in source)
        rows = report(lang, texts, sizes, mode)
        if mode == "off":
            curves[lang] = rows
    if arguments.png:
        draw(curves, arguments.png)
    sys.stdout.flush()
    subprocess.run([sys.executable, str(Path(__file__).with_name("bench_near.py"))], check=True)


if __name__ == "__main__":
    main()
