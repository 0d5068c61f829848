"""The seed files as their tests read them: tasks, reviews, and how near two instructions are."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rapidfuzz.distance import LCSseq

SEEDS = Path(__file__).parents[2] / "seeds"

DOMAINS = {
    "business",
    "classification",
    "code",
    "creative writing",
    "culture",
    "daily life",
    "dialogue",
    "education",
    "extraction",
    "humour",
    "law",
    "maths",
    "medicine",
    "planning",
    "reasoning",
    "rewriting",
    "science",
    "tables and formats",
}


def lines(path: Path) -> list[dict[str, Any]]:
    """Read a JSON Lines file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def tasks_of(lang: str) -> list[dict[str, Any]]:
    """Return the seed tasks of a language."""
    return lines(SEEDS / f"{lang}_seed_tasks.jsonl")


def reviews_of(lang: str) -> list[dict[str, Any]]:
    """Return the second reader's verdicts, in the order of the tasks."""
    return lines(SEEDS / f"{lang}_seed_reviews.jsonl")


def fingerprint(task: dict[str, Any]) -> str:
    """Return the sha256 of a task's canonical JSON: sorted keys, no spaces, no escapes."""
    canonical = json.dumps(task, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def alike(read: Mapping[str, Sequence[str]]) -> list[tuple[str, str]]:
    """Return the pairs of texts, given with their tokens, whose ROUGE-L F1 is 0.6 or more."""
    found = []
    for one, other in itertools.combinations(read, 2):
        shared, length = LCSseq.similarity(read[one], read[other]), len(read[one]) + len(read[other])
        if 2 * shared * 10 >= 6 * length:  # F1 = 2 · LCS / (m + n), compared in integers
            found.append((one, other))
    return found
