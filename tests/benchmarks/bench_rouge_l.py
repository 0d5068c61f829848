"""How much faster is our novelty check than rouge_score, the reference, over the same pool? A ratio within one run.

    make bench-rouge-l

Both decide whether each candidate's ROUGE-L F1 with any of ``POOL`` instructions is above 0.7. The reference is given
its texts tokenised once (Alpaca's way; Self-Instruct tokenises both texts of every pair again, which is slower still).
Texts are made from the seed tasks' words, so lengths and word frequencies are those of real instructions.
"""

from __future__ import annotations

import random
import time

from rouge_score import rouge_scorer

from selfinstruct import resources, seed_tasks
from selfinstruct.filters.rouge_l import RougeLNovelty
from selfinstruct.similarity.tokens import tokens
from selfinstruct.schema import Instruction, Provenance

POOL = 5_000
CANDIDATES = 500
REFERENCE_CANDIDATES = 5  # the reference needs seconds for each
ALTERNATIONS = 3


def texts(count: int, rng: random.Random) -> list[str]:
    """Instructions of real lengths, of words drawn from the seed tasks as often as they occur there."""
    seeds = [task.instruction for task in seed_tasks.load(resources.seeds_dir() / "en_seed_tasks.jsonl")]
    words = [word for seed in seeds for word in seed.split()]
    return [" ".join(rng.choices(words, k=len(rng.choice(seeds).split()))) for _ in range(count)]


def ours(pool: list[str], candidates: list[str]) -> tuple[float, list[bool]]:
    """Seconds of CPU a candidate, and the decisions."""
    novelty = RougeLNovelty("0.7", similar="above:0.5")
    for number, text in enumerate(pool):
        novelty.add(str(number), text)
    records = [
        Instruction(id=str(i), provenance=Provenance(), instruction=c, lang="en") for i, c in enumerate(candidates)
    ]
    start = time.process_time()
    decisions = [novelty.check(record) is not None for record in records]
    return (time.process_time() - start) / len(candidates), decisions


def reference(pool: list[str], candidates: list[str]) -> tuple[float, list[bool]]:
    """The same with rouge_score's own LCS."""
    tokenised = [tokens(text) for text in pool]
    start = time.process_time()
    decisions = []
    for candidate in candidates:
        spelling = tokens(candidate)
        # Scored by the package's own table, as both originals do it, once for each member of the pool.
        best = max(rouge_scorer._score_lcs(member, spelling).fmeasure for member in tokenised)
        decisions.append(best > 0.7)
    return (time.process_time() - start) / len(candidates), decisions


def main() -> None:
    """Print the median ratio of alternated runs."""
    rng = random.Random(0)
    pool = texts(POOL, rng)
    candidates = [*texts(CANDIDATES - 2, rng), pool[7], pool[11] + " today"]
    ratios = []
    for _ in range(ALTERNATIONS):
        few = candidates[-REFERENCE_CANDIDATES:]
        theirs, expected = reference(pool, few)
        mine, decided = ours(pool, candidates)
        assert decided[-REFERENCE_CANDIDATES:] == expected, "the two do not agree"
        ratios.append(theirs / mine)
        print(
            f"ms a candidate: rouge_score {theirs * 1e3:.1f}, ours (above:0.5) {mine * 1e3:.3f}; ratio {ratios[-1]:.0f}"
        )
    print(f"median ratio {sorted(ratios)[ALTERNATIONS // 2]:.0f} (pool {POOL}, CPU time, one process)")


if __name__ == "__main__":
    main()
