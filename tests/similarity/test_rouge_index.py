"""RougeIndex on thousands of texts: what it finds is what comparing every text with every other finds."""

from __future__ import annotations

import random
from fractions import Fraction

import numpy as np
import pytest
from rapidfuzz import process
from rapidfuzz.distance import LCSseq

from selfinstruct.similarity import postings, rouge_index
from selfinstruct.similarity.rouge_index import BLOCK, RougeIndex

Found = set[tuple[int, int, int]]  # text, number, lcs


def _texts(count: int, words: int, longest: int, seed: int) -> list[list[str]]:
    """Texts of Zipf-distributed words; each third one is an earlier one, edited in a few places."""
    rng = random.Random(seed)
    weights = [1 / (rank + 2) for rank in range(words)]
    texts: list[list[str]] = []
    for number in range(count):
        if number % 3 == 2:
            text = list(rng.choice(texts))
            for _ in range(1 + len(text) // 6):
                text[rng.randrange(len(text))] = f"w{rng.randrange(words)}"
        else:
            text = [f"w{word}" for word in rng.choices(range(words), weights, k=rng.randint(1, longest))]
        texts.append(text)
    return texts


def _all_pairs(texts: list[list[str]], floor: Fraction) -> Found:
    """Every pair above the floor, each once, with the later text first."""
    codes = {word: chr(code) for code, word in enumerate(sorted({word for text in texts for word in text}), 1)}
    spelled = ["".join(codes[word] for word in text) for text in texts]
    lcs = process.cdist(spelled, spelled, scorer=LCSseq.similarity, dtype=np.int32)
    lengths = np.array([len(text) for text in texts])
    above = 2 * floor.denominator * lcs > floor.numerator * (lengths[:, None] + lengths)
    later, earlier = np.nonzero(np.tril(above, -1))
    return {(int(i), int(j), int(lcs[i, j])) for i, j in zip(later, earlier, strict=True)}


def _found(texts: list[list[str]], floor: Fraction, block: int, workers: int) -> Found:
    """The same from the index, which takes in every text."""
    index = RougeIndex(floor, best=len(texts), workers=workers)
    found: Found = set()
    for start in range(0, len(texts), block):
        looked_up = index.look(texts[start : start + block])
        for text, hits in looked_up.kept.by_text().items():
            found |= {(start + text, number, lcs) for number, lcs, _ in hits}
        for text, hits in looked_up.inside.by_text().items():
            found |= {(start + text, start + place, lcs) for place, lcs, _ in hits if place < text}
        index.take(looked_up, range(len(looked_up.shelf.texts)))
    return found


@pytest.mark.parametrize("floor", [Fraction(3, 10), Fraction(1, 2), Fraction(7, 10), Fraction(95, 100)])
@pytest.mark.parametrize(
    ("words", "longest", "block"), [(6000, 16, BLOCK), (60, 40, 100), (7, 12, 64)], ids=["en", "zh", "few-tokens"]
)
def test_it_finds_every_pair_above_the_floor_and_no_other(
    floor: Fraction, words: int, longest: int, block: int
) -> None:
    """Whatever the alphabet, from thousands of words to seven."""
    texts = _texts(800, words, longest, seed=words)
    assert _found(texts, floor, block, workers=1) == _all_pairs(texts, floor)


def test_threads_and_tiles_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles shared out among threads, a few pairs measured at a time: the same pairs."""
    texts = _texts(600, 30, 20, seed=5)
    for module, name, small in ((rouge_index, "_AT_ONCE", 50), (postings, "TILE", 16)):
        monkeypatch.setattr(module, name, small)
    assert _found(texts, Fraction(1, 2), 64, workers=3) == _all_pairs(texts, Fraction(1, 2))


def test_texts_longer_than_the_longest_kept_length_are_compared_like_others() -> None:
    """Around and beyond 1023 tokens, where lengths and signatures say nothing more."""
    base = _texts(24, 5000, 1, seed=1)
    texts = [
        [f"{word}-{place}" for place in range(length)] for length, (word,) in zip(range(1010, 1034), base, strict=True)
    ]
    texts += [[*text[: len(text) * 4 // 5], *(f"new-{place}" for place in range(200))] for text in texts]
    assert _found(texts, Fraction(7, 10), 16, workers=1) == _all_pairs(texts, Fraction(7, 10))


def test_loading_is_taking_without_looking() -> None:
    """What was loaded is found like what was looked up first."""
    texts = _texts(300, 60, 20, seed=9)
    loaded = RougeIndex(Fraction(1, 2), workers=1)
    loaded.load(texts[:200])
    looked_up = RougeIndex(Fraction(1, 2), workers=1)
    looked_up.take(looked_up.look(texts[:200]), range(200))
    assert (len(loaded), loaded.looked_up) == (200, 0)
    assert loaded.look(texts[200:]).kept.by_text() == looked_up.look(texts[200:]).kept.by_text() != {}


def test_of_many_hits_the_best_are_told() -> None:
    """The nearest ten, best first, equal ones in the order they were kept."""
    index = RougeIndex(Fraction(1, 2), best=3, workers=1)
    index.load([["a", "b", "c", "x"], ["a", "b", "c"], ["a", "b", "c", "y"], ["a", "b"], ["a", "b", "c", "z"]])
    assert index.look([["a", "b", "c"]]).kept.by_text() == {0: [(1, 3, 6), (0, 3, 7), (2, 3, 7)]}


def test_it_says_what_it_did() -> None:
    """Texts looked up, postings looked at, pairs measured, and the bytes of what it keeps."""
    index = RougeIndex(Fraction(7, 10), workers=1)
    index.load([["a", "b", "c"], ["d", "e", "f"]])
    index.look([["a", "b", "c"], ["x", "y", "z"]])
    assert (index.looked_up, index.compared) == (2, 1)
    assert index.scanned > 0
    before = index.memory
    index.load([["a", "b", "c"]])
    assert index.memory - before == 3 * 25 + 3 * 4 + 8 + 8 * (1 + 8)  # postings, tokens, end, length and signature


def test_a_block_has_a_limit() -> None:
    """Its places are packed into a few bits."""
    with pytest.raises(ValueError, match="at most 1024 texts, not 1025"):
        RougeIndex(Fraction(7, 10)).look([["a"]] * 1025)
