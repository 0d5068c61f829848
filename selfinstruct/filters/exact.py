"""Refuses an instruction whose text was admitted before."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from operator import attrgetter
from typing import Any, TypeVar

from selfinstruct.feedback_schema import SourcedInstruction
from selfinstruct.protocols import Drop
from selfinstruct.schema import Instruction, Neighbour, TaskInstance
from selfinstruct.similarity.digests import Digests, Names, digest_of

Instructed = TypeVar("Instructed", bound=Instruction | TaskInstance | SourcedInstruction)

_MARKS = r"""[.,;:!?'"`()\[\]{}。、「」『』《》〈〉【】〔〕“”‘’…·]"""
_PUNCTUATION = re.compile(rf"(?<![0-9]){_MARKS}(?!=)|{_MARKS}(?![0-9=])")
_CHINESE = r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]"
_SPACE_AT_CHINESE = re.compile(rf"(?<={_CHINESE}) | (?={_CHINESE})")


class ExactDuplicates:
    """Refuses an instruction that equals one admitted earlier.

    Equal means: the same characters, but for white space at both ends. With ``folded`` the texts are compared as
    `folded` gives them: without regard to case, full width, spacing and sentence punctuation. ``key`` tells the text
    that is compared, where that is another than the instruction: `whole_request`, where a dialogue goes before it.

    Memory is about 40 bytes a record, and its id: a digest of 128 bits and where it stands, not the text.
    Reason: ``duplicate_text``, with the earlier record.
    """

    def __init__(self, folded: bool = False, key: Callable[[Any], str] = attrgetter("instruction")) -> None:
        self.folded = folded
        self._key = key
        self._known = Digests()
        self._ids = Names()

    def check(self, record: Instruction | TaskInstance | SourcedInstruction) -> Drop | None:
        """The record that has this text, or None."""
        number = self._known.number_of(self._digest(self._key(record)))
        if number is None:
            return None
        id = self._ids[number]
        return Drop("duplicate_text", f"equals {id}", (Neighbour(id=id, score=1.0),))

    def admit(self, record: Instructed) -> Instructed:
        """Remember the text, where it is new; the record comes back as it was."""
        digest = self._digest(self._key(record))
        if self._known.number_of(digest) is None:
            self._known.add(digest, len(self._ids))
            self._ids.append(record.id)
        return record

    def _digest(self, text: str) -> bytes:
        return digest_of(folded(text) if self.folded else text)


def whole_request(record: SourcedInstruction) -> str:
    """The instruction behind all that was said before it, and by whom."""
    said = [text for message in record.history for text in (message.role, message.content)]
    return "\0".join([*said, record.instruction])


def folded(text: str) -> str:
    """The text without what writers vary freely.

    Unicode's NFKC (full-width forms become plain ones), no case, no sentence punctuation (except between digits and
    before an equals sign), and runs of white space as one space, or none beside a Chinese character. A text that is
    nothing else keeps its punctuation.
    """
    plain = unicodedata.normalize("NFKC", text).casefold()
    words = _PUNCTUATION.sub(" ", plain).split() or plain.split()
    return _SPACE_AT_CHINESE.sub("", " ".join(words))
