"""Is what the user brought in the language of the run? Looked at before anything is asked, or paid for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from selfinstruct.errors import BadData
from selfinstruct.filters.language import LanguageMatch
from selfinstruct.schema import Instruction, Lang, Provenance

_SAMPLE = 200
"""Texts whose language is looked at."""


class Text(Protocol):
    """A text, and where it stands."""

    @property
    def text(self) -> str:
        """What shows its language."""
        ...

    @property
    def where(self) -> str:
        """For people."""
        ...


def check_language(texts: Sequence[Text], lang: Lang, what: str = "instructions") -> None:
    """Raise `BadData` where most of the texts are in another language; ``what`` they are, for the message.

    About 200 are looked at, spread over all of them. A text that shows no language is in any.
    """
    spoken = LanguageMatch(lang)
    sample = [texts[place] for place in range(0, len(texts), max(1, len(texts) // _SAMPLE))]
    foreign = [text for text in sample if not _is_in(spoken, text.text, lang)]
    if 2 * len(foreign) > len(sample):
        raise BadData(
            f"{foreign[0].where}: {len(foreign)} of {len(sample)} {what} looked at are not in the language of the run"
            f" ({lang}), such as this one: add --lang {'zh' if lang == 'en' else 'en'}, or take others"
        )


def _is_in(spoken: LanguageMatch, text: str, lang: Lang) -> bool:
    return spoken.check(Instruction(id="", provenance=Provenance(), instruction=text, lang=lang)) is None
