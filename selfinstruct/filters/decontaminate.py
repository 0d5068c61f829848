"""Refuses what holds an item of an evaluation set, so that a model is not trained on the test it will sit.

Published practice calls a text contaminated that shares a run of 13 words with an item (GPT-3, appendix C: 8 to 13, by
the length of the set's items). That misses an item in which every tenth word was changed, and fires at any common
phrase of that length; so we ask how much of the item is there, in long runs or in order.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Final, NamedTuple, TypeVar

from selfinstruct import eval_items
from selfinstruct.errors import BadData
from selfinstruct.eval_items import EvalItem
from selfinstruct.protocols import Drop
from selfinstruct.schema import Instruction, Neighbour, TaskInstance
from selfinstruct.similarity.ngrams import IDEOGRAPH, WORD, Found, Passages, weight
from selfinstruct.similarity.tokens import tokens

Instructed = TypeVar("Instructed", bound=Instruction | TaskInstance)

SEARCHED: Final = 6 * WORD
"""Shorter items (6 words, 9 Chinese characters) may be anybody's question: only a whole field is held against them."""

EDITED: Final = 10 * IDEOGRAPH
"""Shorter items (7 words, 10 characters) are found word for word only: with another word, they ask something else."""

RUN: Final = 13 * WORD
"""13 words in a row (GPT-3, appendix C), or 20 characters: `IDEOGRAPH` says why."""

IN_RUNS: Final = 0.5
"""The share of an item in such runs that refuses a record. Ours: of tasks published in one set, 7 in 10 000 English
ones hold that much of another's, and 3 in 1 000 Chinese ones, all of them the same passage or nearly the same task."""

IN_ORDER: Final = 0.8
"""The share of an item's words, or characters, found in order that refuses a record. Ours: every sixth word changed
leaves more, and at 0.75 half as many unlike tasks again would be refused."""

IN_ORDER_SHORT: Final = 0.83
"""The same for an item shorter than `RUN`, of which two words in ten are too many …"""

ONE_WORD: Final = 2 * IDEOGRAPH
"""… but one, or two Chinese characters, may always be another."""

_REASONS: Final = ("contaminated_exact", "contaminated_ngram", "contaminated_fuzzy")  # strongest first

_ROUNDING: Final = 1e-9

# Spaces and the marks of sentences; a point or comma between digits is part of a number.
_MARKS: Final = re.compile(r"[\s;!?。、“”‘’\"'《》「」]|(?<!\d)[.,:]|[.,:](?!\d)")


class Decontaminate:
    """Refuses a record that contains, or is, an item of an evaluation set, in any of its fields or across them.

    Case, punctuation, white space and the width of characters count for nothing. Reasons, the strongest first:

    * ``contaminated_exact``: all words of the item stand there in a row; score 1.
    * ``contaminated_ngram``: at least `IN_RUNS` of the item stands there in runs of 13 words or 20 Chinese characters;
      the score is that share. Runs that many items have in common, such as "choose the right answer", do not count.
    * ``contaminated_fuzzy``: at least `IN_ORDER` of the item's words (`IN_ORDER_SHORT` of an item of fewer than 13)
      stand there in order, in a window hardly longer than the item; the score is that share, see `Found.order`.

    Items of fewer than 7 words or 10 characters are found unchanged only, and those of fewer than 6 words or 9
    characters, like those in scripts other than Latin, Chinese, Japanese and Korean, only where a whole field is
    nothing else. Another question in the item's form, with a few other words, passes for an edit; a paraphrase or a
    translation is not found.

    ``nearest`` holds the item that decided, "<file name>:<line>". ``digest`` is the SHA-256 of all items: it changes
    when a decision may. Memory grows with the items alone, about 25 bytes for each of their words.
    """

    def __init__(self, items: Iterable[EvalItem]) -> None:
        self._names: list[str] = []
        self._sizes: list[int] = []
        self._short: dict[str, str] = {}
        digest = hashlib.sha256()
        self._passages = Passages(self._searched(items, digest), RUN)
        self.digest = digest.hexdigest()
        if not self._names and not self._short:
            raise BadData("an evaluation set without items: nothing would be refused")

    @classmethod
    def of_files(cls, sources: Sequence[str]) -> Decontaminate:
        """The filter for files of items, ``FILE`` or ``FILE#FIELD`` each: see `eval_items.load`. Raises `BadData`."""
        return cls(item for source in sources for item in eval_items.load(source))

    def check(self, record: Instruction | TaskInstance) -> Drop | None:
        """The item that the record holds most of, how much of it, and the field where it starts."""
        fields = [_Field(name, text, tokens(text, "auto")) for name, text in record.texts.items()]
        return self._is_item(fields) or self._holds_item(fields)

    def admit(self, record: Instructed) -> Instructed:
        """The record as it came: only the items are remembered."""
        return record

    def _searched(self, items: Iterable[EvalItem], digest: hashlib._Hash) -> Iterator[list[str]]:
        """The words of the items that are searched for inside of texts; the others are put into ``_short``."""
        known: set[bytes] = set()
        for item in items:
            digest.update(json.dumps(item).encode() + b"\n")
            words = tokens(item.text, "auto")
            size = weight(words)
            if size < SEARCHED:
                self._short.setdefault(_folded(item.text), item.where)
                continue
            key = hashlib.blake2b(" ".join(words).encode(), digest_size=16).digest()
            if key not in known:
                known.add(key)
                self._names.append(item.where)
                self._sizes.append(size)
                yield words

    def _is_item(self, fields: Sequence[_Field]) -> Drop | None:
        for field in fields:
            if weight(field.words[:SEARCHED]) < SEARCHED and (item := self._short.get(_folded(field.text))):
                return Drop("contaminated_exact", f"the {field.name} is the item", (Neighbour(id=item, score=1),))
        return None

    def _holds_item(self, fields: Sequence[_Field]) -> Drop | None:
        words = [word for field in fields for word in field.words]
        verdicts = [
            (*verdict, found.passage, found.start)
            for found in self._passages.find(words, IN_ORDER)
            if (verdict := _verdict(found, self._sizes[found.passage]))
        ]
        if not verdicts:
            return None
        rank, missing, passage, start = min(verdicts)
        ends = list(accumulate(len(field.words) for field in fields))
        field = fields[bisect_right(ends, max(0, start), hi=len(fields) - 1)].name
        detail = f"{1 - missing:.0%} of the item, from the {field} on"
        return Drop(_REASONS[rank], detail, (Neighbour(id=self._names[passage], score=round(1 - missing, 4)),))


class _Field(NamedTuple):
    name: str
    text: str
    words: list[str]


def _verdict(found: Found, size: int) -> tuple[int, float] | None:
    """Which of the reasons, and the share of the item that is missing; None where too much of it is."""
    if found.whole:
        return 0, 0.0
    if found.runs >= IN_RUNS:
        return 1, 1 - found.runs
    missing = 1 - found.order
    allowed = 1 - IN_ORDER if size >= RUN else max(1 - IN_ORDER_SHORT, ONE_WORD / size)
    if size >= EDITED and missing <= allowed + _ROUNDING:
        return 2, missing
    return None


def _folded(text: str) -> str:
    return _MARKS.sub("", unicodedata.normalize("NFKC", text).casefold())
