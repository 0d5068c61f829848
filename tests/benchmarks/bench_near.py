"""Near-duplicates at Jaccard 0.8: our exact join, our MinHash-LSH, and a common loop over datasketch, in one run.

    PYTHONPATH=. python tests/benchmarks/bench_near.py --docs 100000

The loop makes a MinHash of each text shingle by shingle and asks MinHashLSH(threshold=0.8), which decides; nothing is
counted exactly. All three start from the texts, see them in the same order, and keep the first of what is alike.

Texts are made, not taken: half English, half Chinese, of 65 tokens on average, by a Markov chain over the words
(characters) of our seed tasks that jumps to a random word every third time, so frequencies are natural and phrases
recur. A fifth of them are edits of earlier ones: 0 to 10 % of their tokens replaced, added or dropped.

Each method runs in a process of its own and is charged its CPU time and the memory it adds. Truth is what the exact
join refuses; how exact it is, is checked on a sample, against all earlier texts, by Python's sets and fractions.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import pairwise

from selfinstruct import resources, seed_tasks
from selfinstruct.filters.jaccard import JaccardNear
from selfinstruct.filters.minhash import MinHashNear
from selfinstruct.schema import Instruction, Lang, Provenance
from selfinstruct.similarity.tokens import tokens

THRESHOLD = Fraction(4, 5)
BLOCK = 1024
SAMPLE = 1000
METHODS = ("datasketch loop", "MinHashNear", "JaccardNear")

Shingles = set[tuple[str, ...]]


class Writer:
    """Writes texts of one language that look like our seed tasks from afar."""

    def __init__(self, lang: Lang, rng: random.Random) -> None:
        self.rng = rng
        self.space = " " if lang == "en" else ""
        self.words: list[str] = []
        self.after: dict[str, list[str]] = defaultdict(list)
        self.written: list[list[str]] = []
        for task in seed_tasks.load(resources.seeds_dir() / f"{lang}_seed_tasks.jsonl"):
            for text in [task.instruction, *(t for i in task.instances for t in (i.input, i.output))]:
                words = text.split() if lang == "en" else tokens(text, "zh")
                self.words += words
                for word, follower in pairwise(words):
                    self.after[word].append(follower)

    def text(self) -> str:
        """A new text, or one time in five an edited copy."""
        if self.written and self.rng.random() < 0.2:
            return self.space.join(self._edited(self.rng.choice(self.written)))
        words = [self.rng.choice(self.words)]
        for _ in range(max(3, round(self.rng.lognormvariate(3.99, 0.6)))):
            followers = self.after[words[-1]] if self.rng.random() < 0.67 else None
            words.append(self.rng.choice(followers or self.words))
        self.written.append(words)
        return self.space.join(words)

    def _edited(self, words: Sequence[str]) -> list[str]:
        edited = list(words)
        for _ in range(round(self.rng.random() * 0.1 * len(words))):
            place = self.rng.randrange(len(edited))
            edited[place : place + self.rng.randrange(2)] = self.rng.choice(([], [self.rng.choice(self.words)]))
        return edited or list(words)


def texts(count: int) -> list[str]:
    """The corpus, the same in every process."""
    rng = random.Random(0)
    writers = Writer("en", rng), Writer("zh", rng)
    return [writers[place % 2].text() for place in range(count)]


def shingles(text: str) -> Shingles:
    """Three tokens in a row, by definition."""
    words = tokens(text, "auto")
    return {tuple(words[place : place + 3]) for place in range(max(len(words) - 2, 1))} if words else set()


# --- the methods: for each text the earlier one that it is refused for, or -1 -----------------------------------------


def datasketch_loop(corpus: Sequence[str]) -> Callable[[], list[int]]:
    """What most pipelines do."""
    from datasketch import MinHash, MinHashLSH

    lsh = MinHashLSH(threshold=float(THRESHOLD), num_perm=128)

    def run() -> list[int]:
        verdicts = []
        for place, text in enumerate(corpus):
            sketch = MinHash(num_perm=128)
            for shingle in shingles(text):
                sketch.update(" ".join(shingle).encode())
            found = lsh.query(sketch)
            if not found:
                lsh.insert(place, sketch)
            verdicts.append(min(found, default=-1))
        return verdicts

    return run


def ours(near: JaccardNear | MinHashNear, corpus: Sequence[str]) -> Callable[[], list[int]]:
    """One of our filters, foreseeing blocks."""
    # Not validated: making records is not the filter's work.
    rows = [
        Instruction.model_construct(id=str(place), provenance=Provenance(), instruction=text, lang="en")
        for place, text in enumerate(corpus)
    ]

    def run() -> list[int]:
        verdicts = []
        for start in range(0, len(rows), BLOCK):
            near.foresee(rows[start : start + BLOCK])
            for row in rows[start : start + BLOCK]:
                drop = near.check(row)
                if drop is None:
                    near.admit(row)
                verdicts.append(int(drop.nearest[0].id) if drop else -1)
        return verdicts

    return run


def measure(method: str, count: int) -> None:
    """Run one method, and print its seconds of CPU, MB and verdicts as JSON; what it needs is loaded before."""
    corpus = texts(count)
    if method == METHODS[0]:
        run = datasketch_loop(corpus)
    else:
        run = ours(JaccardNear(THRESHOLD) if method == "JaccardNear" else MinHashNear(THRESHOLD), corpus)
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    verdicts = run()
    seconds = time.process_time() - start
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(json.dumps({"seconds": seconds, "memory": memory, "verdicts": verdicts}))


# --- the truth --------------------------------------------------------------------------------------------------------


def differing(corpus: Sequence[str], verdicts: Sequence[int]) -> int:
    """How many of a sample of the exact join's verdicts differ from those of plain sets over all texts kept earlier."""
    sets = [shingles(text) for text in corpus]
    kept = [place for place, verdict in enumerate(verdicts) if verdict < 0]
    holders: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for place in kept:
        for shingle in sets[place]:
            holders[shingle].append(place)
    wrong = 0
    for place in random.Random(1).sample(range(len(corpus)), min(SAMPLE, len(corpus))):
        common = Counter(other for shingle in sets[place] for other in holders[shingle] if other < place)
        near = [o for o, c in common.items() if Fraction(c, len(sets[place]) + len(sets[o]) - c) >= THRESHOLD]
        wrong += min(near, default=-1) != verdicts[place]
    return wrong


def true(corpus: Sequence[str], place: int, other: int) -> bool:
    """Whether a refusal names a text that is near enough."""
    left, right = shingles(corpus[place]), shingles(corpus[other])
    return bool(left) and Fraction(len(left & right), len(left | right)) >= THRESHOLD


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--docs", type=int, default=100_000)
    parser.add_argument("--only", choices=METHODS, help="run this method alone and print JSON")
    options = parser.parse_args()
    if options.only:
        return measure(options.only, options.docs)
    results = {}
    for method in METHODS:
        command = [sys.executable, __file__, "--only", method, "--docs", str(options.docs)]
        results[method] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    corpus = texts(options.docs)
    truth = results["JaccardNear"]["verdicts"]
    print(f"{options.docs} texts, {sum(len(tokens(t, 'auto')) for t in corpus[:2000]) / 2000:.0f} tokens on average")
    print(f"{'':16} {'docs/s':>8} {'ratio':>6} {'MB':>6} {'refused':>8} {'recall':>7} {'precision':>9}")
    for method, result in results.items():
        refused = {place: other for place, other in enumerate(result["verdicts"]) if other >= 0}
        recall = sum(truth[place] >= 0 for place in refused) / max(sum(other >= 0 for other in truth), 1)
        precision = sum(true(corpus, *pair) for pair in refused.items()) / max(len(refused), 1)
        ratio = results[METHODS[0]]["seconds"] / result["seconds"]
        speed = f"{options.docs / result['seconds']:8.0f} {ratio:6.1f} {result['memory']:6.0f}"
        print(f"{method:16} {speed} {len(refused):8} {recall:7.4f} {precision:9.4f}")
    print(f"JaccardNear against sets and fractions: {differing(corpus, truth)} of {SAMPLE} verdicts differ")
    return None


if __name__ == "__main__":
    main()
