"""Refuses a task that text alone cannot do: it links to a page, or speaks of a picture or a file that nobody gave.

The words are data, ``rules/links.en.toml`` and ``rules/links.zh.toml``; both always apply.
"""

from __future__ import annotations

import html
import re
from typing import Final, TypeVar

from selfinstruct import rules
from selfinstruct.protocols import Drop
from selfinstruct.schema import Instruction, TaskInstance

Instructed = TypeVar("Instructed", bound=Instruction | TaskInstance)

_LANGUAGES: Final = ("en", "zh")
_STANDS_FOR: Final = {"MEDIA": "media", "FILES": "files", "END": "boundary", "DOMAINS": "domains"}
_QUOTED: Final = re.compile(
    r"“[^“”]*”|‘[^‘’]*’|「[^「」]*」|『[^『』]*』|《[^《》]*》|\"[^\"\n]*\"|(?<!\w)'[^'\n]*'(?!\w)|```.*?(?:```|\Z)|`[^`\n]*`",
    re.S,
)
_COLON: Final = re.compile(r"[:：]|\n")
_BESIDE_HANZI: Final = re.compile(r"(?<=[\u4e00-\u9fff])[^\S\n]+(?=[\u4e00-\u9fff])")
_VISIBLE: Final = re.compile(r"\w")
_HANZI: Final = re.compile("[\u4e00-\u9fff]")
_SHOWN: Final = 80
_LONGEST_LEAD: Final = 2000
_LONGEST_STAND_IN: Final = 200

LONG: Final = 100
"""So many letters behind a colon, a Chinese character counting as two, may be the text that was attached; fewer are a
question about it (ours)."""

DESCRIBED: Final = 2
"""So many letters, or one Chinese character, may name what is shown: "Describe this painting: Guernica" (ours)."""


class Links:
    """Refuses what a text model would have to open, download or look at; a `TaskInstance` is judged with its input.

    * ``url``: the instruction or the input holds an address: http, https, ftp, www, mailto, a Markdown link or picture,
      a host with a path (``t.co/x``), a bare host that one is told to visit. Any such address counts, because whether
      it has to be opened cannot be told; in code, in a task that asks for code, and in the output they are allowed.
    * ``attachment_claim``: the instruction speaks of an attached, uploaded or shown file, picture, recording or figure
      that is given neither by the input nor behind its colon; or the whole input is a stand-in for one
      (``[image]``, ``report.pdf``, 见附件); or the output points at a figure of its own.

    Who asks how files are attached or pages visited, quotes such words, or writes a letter with an enclosure, is kept.
    """

    def __init__(self) -> None:
        self._address = _any_of("addresses")
        self._visit = _any_of("visits")
        self._code = _any_of("in_code", re.S)
        self._beside = _any_of("beside")
        self._label = re.compile(rf"\A\s*(?:{_any_of('labels').pattern})\s*[:：]\s*", re.I)
        self._attached = _any_of("attached")
        self._picture = _any_of("pictures")
        self._drawn = _any_of("drawn", re.M)
        self._in_output = _any_of("shown_in_output", re.M)
        self._stand_in = re.compile(rf"(?:[\w ]{{1,20}}[:：]\s*)?(?:{_any_of('placeholders').pattern})", re.I)
        self._names = _any_of("about_names")
        self._for_code = _any_of("asks_for_code")
        self._nothing = re.compile(rf"[\W_]*(?:{_any_of('nothing').pattern})?[\W_]*", re.I)

    def check(self, record: Instruction | TaskInstance) -> Drop | None:
        """The first address or claim, with its field and its words."""
        texts = record.texts
        input, output = texts.get("input", ""), texts.get("output", "")
        for field in () if self._for_code.search(record.instruction) else ("instruction", "input"):
            text = self._code.sub(" ", texts.get(field, ""))
            if address := self._address.search(text) or self._visit.search(self._beside.sub(" ", text)):
                return Drop("url", f"{field}: {_shown(address)}")
        stands_in = self._stands_in(input, record.instruction)
        if (stands_in or self._nothing.fullmatch(input)) and (claim := self._claim(record.instruction)):
            return Drop("attachment_claim", f"instruction: {_shown(claim)}")
        if stands_in:
            return Drop("attachment_claim", f"input: {input.strip()[:_SHOWN]}")
        pointed = None if self._drawn.search(output) else self._in_output.search(_QUOTED.sub(" ", output))
        return Drop("attachment_claim", f"output: {_shown(pointed)}") if pointed else None

    def admit(self, record: Instructed) -> Instructed:
        """The record as it came: this filter remembers nothing."""
        return record

    def _claim(self, instruction: str) -> re.Match[str] | None:
        """Where an instruction says that something is attached or shown which it does not give."""
        text = _BESIDE_HANZI.sub("", self._label.sub("", instruction, count=1))
        lead, *given = _COLON.split(text.strip(), maxsplit=1)
        letters = len(_VISIBLE.findall(given[0])) + len(_HANZI.findall(given[0])) if given else 0
        frame = self._beside.sub(" ", _QUOTED.sub(" ", lead[:_LONGEST_LEAD]))
        claim = self._attached.search(frame) if letters < LONG else None
        return claim or (self._picture.search(frame) if letters < DESCRIBED else None)

    def _stands_in(self, input: str, instruction: str) -> bool:
        """True for an input that is there, and is nothing but the mention of something else."""
        if len(input) > _LONGEST_STAND_IN:
            return False
        text = _BESIDE_HANZI.sub("", html.unescape(input).strip())
        about_names = self._names.search(instruction) or self._for_code.search(instruction)
        return self._stand_in.fullmatch(text) is not None and not about_names


def _any_of(key: str, flags: int = 0) -> re.Pattern[str]:
    """A pattern of all the entries of a rule, in every language that has it; see rules/links.en.toml."""
    entries: list[str] = []
    for lang in _LANGUAGES:
        values = {name: rule.value for name, rule in rules.explained(f"links.{lang}").items()}
        for entry in values.get(key, []):
            for word, name in _STANDS_FOR.items():
                entry = entry.replace(word, f"(?:{'|'.join(values.get(name, []))})")
            entries.append(entry)
    return re.compile("|".join(f"(?:{entry})" for entry in entries), re.IGNORECASE | flags)


def _shown(match: re.Match[str]) -> str:
    start, end = match.span()
    return " ".join(match.string[start : max(end, start + 40)].split())[:_SHOWN]
