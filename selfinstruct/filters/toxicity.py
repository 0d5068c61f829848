"""Refuses hate, sexual text, incitement and threats, encouragement of self-harm, and abuse, in English and Chinese.

The lists are data, ``rules/toxicity.en.toml`` and ``rules/toxicity.zh.toml``; how an entry is written is said in
`selfinstruct.lexicon`. A word list alone has false alarms, so entries have strengths, and what only speaks about such
language is spared. It is a sieve for what is plain, no classifier: what is meant without being said passes.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TypeVar

from pydantic import TypeAdapter, ValidationError

from selfinstruct import rules
from selfinstruct.errors import BadData, UsageProblem
from selfinstruct.lexicon import HAN, QUOTES, Entry, Grammar, Reading, Scout, fold, in_atoms
from selfinstruct.protocols import Drop
from selfinstruct.schema import Instruction, TaskInstance

Instructed = TypeVar("Instructed", bound=Instruction | TaskInstance)
Strength = Literal["strong", "weak", "requests"]

CATEGORIES: Final = ("toxic_hate", "toxic_sexual", "toxic_violence", "toxic_self_harm", "toxic_abuse")
LISTED: Final = "toxic_listed"
"""The reason of an entry of a plain list, which names none."""

COMPANY: Final = 80
"""Two weak entries this near to each other (about 15 English words, 40 Chinese characters) count together."""

CONTEXT: Final = 90
"""So far on either side of an entry are the words looked for that speak about it."""

QUOTED: Final = 200
"""A quotation that goes further than this on either side of an entry is not seen as one."""

MOST_HITS: Final = 100
"""An entry that was spared so often in one text is spoken about; the rest of the text is not searched for it."""

_REPORTED: Final = frozenset({"toxic_violence", "toxic_self_harm", "toxic_abuse"})
_FILES: Final = ("toxicity.en", "toxicity.zh")
_ENTRIES: Final = TypeAdapter[Any](dict[Strength, list[str]])
_TABLES: Final = {
    **dict.fromkeys(CATEGORIES, _ENTRIES),
    **dict.fromkeys(("common", "exceptions", "reports", "moderation"), TypeAdapter[Any](list[str])),
    **dict.fromkeys(("classes", "mentions"), TypeAdapter[Any](dict[str, list[str]])),
    "variants": TypeAdapter[Any](dict[str, str]),
}
_AT_LINE: Final = re.compile(r"at line (\d+)")

_DISGUISED: Final = re.compile(r"[@$0-9!|*+](?:[a-z]|(?<=[@$])[^\d\s])")
_THRICE: Final = re.compile(r"([a-z])\1\1+")
_MARKED: Final = re.compile(
    "[\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u0300-\u036f\u0370-\u03ff\u0400-\u04ff\u1e00-\u1eff]"
)
_SPELT_SIGN: Final = re.compile(r"[a-z][ .*_-]{1,3}[a-z][ .*_-]{1,3}[a-z](?![a-z])")
_SPELT: Final = re.compile(r"(?: [a-z]){3,}(?= )")
_CHUNK: Final = re.compile(rf"[^\s.,;:?()\[\]{{}}{QUOTES}{HAN}]+")
_DIGITS: Final = str.maketrans("0134578@$!|+", "oieastbasiit"), str.maketrans("0134578@$!|+", "oleastbaslit")
_LOOKALIKES: Final = str.maketrans("авеікмнорстухјѕһαεικνορτυχ", "abeikmhopctyxjshaeikvoptux")

_HANZI: Final = re.compile(f"[{HAN}]")
_QUOTE: Final = re.compile(f"[{QUOTES}]")
_LAST_QUOTE: Final = re.compile(f"[{QUOTES}](?=[^{QUOTES}]*$)")


class Toxicity:
    """Refuses a record that holds plainly unacceptable text in any of its fields; the category is the reason.

    * ``toxic_hate``: slurs, and sentences that deny a group its worth.
    * ``toxic_sexual``: pornographic wording, and anything sexual about minors.
    * ``toxic_violence``: threats to the reader, calls to attack people, requests for help with it.
    * ``toxic_self_harm``: telling somebody to die or hurt themselves; asking for methods.
    * ``toxic_abuse``: degrading a person who is spoken to. An oath or a mild insult alone passes.
    * ``toxic_listed``: an entry of a plain list of the user's own.

    Some entries suffice alone; weak ones need another within `COMPANY` characters. Case, full-width letters, invisible
    characters, digits for letters, a starred letter, letters repeated or spelt one by one, separators between Chinese
    characters and traditional forms are seen through. A hit does not count inside a listed exception, beside words
    that speak about it (slur, hotline, convicted, 歧视, 热线), or, for threats and insults, in quoted speech; and a
    record whose instruction asks to judge, filter or soften toxic text passes whole.

    ``categories`` are those that apply. ``extra`` is a file with entries of the user's own: a ``.toml`` like ours,
    whose tables need no source and reason, or else plain lines, each a word or phrase that suffices alone (``#``
    begins a comment line). Raises `UsageProblem` for an unknown category, `BadData` for a file that cannot be read.
    """

    def __init__(self, categories: Sequence[str] = CATEGORIES, extra: Path | None = None) -> None:
        if unknown := [name for name in categories if name not in CATEGORIES]:
            raise UsageProblem(f"no category '{unknown[0]}'; there are: {', '.join(CATEGORIES)}")
        lists = [_List({key: rule.value for key, rule in rules.explained(name).items()}) for name in _FILES]
        if extra is not None:
            lists.append(_own_list(extra))
        grammar = Grammar(each.tables for each in lists)
        entries = [entry for each in lists for entry in _entries(each, grammar, (*categories, LISTED))]
        entries.sort(key=lambda entry: entry.strength == "weak")
        self._scout = Scout(entries, grammar.frequency)
        self._context = _Context(lists, grammar)
        self._disguises = _Disguises(grammar.words)

    def check(self, record: Instruction | TaskInstance) -> Drop | None:
        """The first hit, half masked, with the field where it stands; or None."""
        for field, text in record.texts.items():
            if hit := self._first(text):
                if self._context.is_moderation(in_atoms(fold(record.instruction))):
                    return None
                return Drop(hit.reason, f"{_masked(hit.words)} in the {field}")
        return None

    def admit(self, record: Instructed) -> Instructed:
        """The record as it came: this filter remembers nothing."""
        return record

    def _first(self, text: str) -> _Hit | None:
        if not text:
            return None
        folded = fold(text)
        return self._judged(folded) or self._judged(self._disguises.undone(folded))

    def _judged(self, folded: str) -> _Hit | None:
        found = self._scout.entries(folded)
        text = in_atoms(folded) if found else ""
        company = Counter(entry.name for entry in found if entry.strength == "weak")
        weak: dict[str, list[_Hit]] = defaultdict(list)
        for entry in found:
            if entry.strength == "weak" and company[entry.name] < 2:
                continue
            for match in islice(entry.pattern.finditer(text), MOST_HITS):
                if self._context.spares(text, match, entry):
                    continue
                hit = _Hit(entry.name, match.start(), match.end(), match.group(), entry)
                if entry.strength != "weak":
                    return hit
                weak[entry.name].append(hit)
        return next((pair for hits in weak.values() if (pair := _together(hits))), None)


class _Hit(NamedTuple):
    reason: str
    start: int
    end: int
    words: str
    entry: Entry


class _List(NamedTuple):
    """The tables of a file by name; ``text`` and ``path`` are given where it is the user's, to name the line."""

    tables: Mapping[str, Any]
    text: str = ""
    path: Path | None = None

    def wrong(self, where: str, why: object) -> BadData:
        """The error that names the line where something stands."""
        return BadData(f"{self.path}:{1 + self.text[: max(0, self.text.find(where))].count(chr(10))}: {why}")

    def read(self, entry: str, grammar: Grammar) -> Reading:
        """An entry of this list, or `BadData` with its line."""
        try:
            return grammar.literal(entry) if LISTED in self.tables else grammar.read(entry)
        except ValueError as error:
            raise self.wrong(entry, error) from error


def _entries(source: _List, grammar: Grammar, reasons: Sequence[str]) -> Iterator[Entry]:
    for reason in reasons:
        for strength, lines in source.tables.get(reason, {}).items():
            for line in lines:
                yield Entry(reason, strength, source.read(line, grammar))


class _Context:
    """What stands around a hit and takes it back: exceptions, words that speak about it, quoted speech."""

    def __init__(self, lists: Sequence[_List], grammar: Grammar) -> None:
        def either(table: str, *reasons: str) -> re.Pattern[str]:
            """One pattern for all entries of a table, the longest first; of a table by reasons, for those of these."""
            patterns = []
            for each in lists:
                lines = each.tables.get(table, {} if reasons else [])
                for line in (line for reason in reasons for line in lines.get(reason, ())) if reasons else lines:
                    patterns.append(each.read(line, grammar).pattern)
            return re.compile(f"(?:{'|'.join(sorted(patterns, key=len, reverse=True))})(?= )")

        self._exceptions, self._reports, self._moderation = map(either, ("exceptions", "reports", "moderation"))
        self._mentions = {reason: either("mentions", "any", reason) for reason in (*CATEGORIES, LISTED)}

    def is_moderation(self, instruction: str) -> bool:
        """True where the task is to judge, filter or soften toxic text."""
        return self._moderation.search(instruction) is not None

    def spares(self, text: str, match: re.Match[str], entry: Entry) -> bool:
        """True where the entry is part of an innocent phrase, is spoken about, or is somebody's quoted speech."""
        start, end = match.span()
        near, far = max(0, start - CONTEXT), end + CONTEXT
        innocent = self._exceptions.finditer(text, near, far)
        if any(phrase.start() < end and start < phrase.end() for phrase in innocent):
            return True
        if entry.strength != "requests" and self._mentions[entry.name].search(text, near, far):
            return True
        return entry.name in _REPORTED and self._is_reported(
            text[max(0, start - QUOTED) : start], text[end : end + QUOTED]
        )

    def _is_reported(self, before: str, after: str) -> bool:
        opening, closing = _LAST_QUOTE.search(before), _QUOTE.search(after)
        if not (opening and closing):
            return False
        lead = before[max(0, opening.start() - CONTEXT) : opening.start() + 1]
        return bool(self._reports.search(lead) or self._reports.search(after, closing.end(), closing.end() + CONTEXT))


class _Disguises:
    """Writes words out plainly that digits, stars, marks, repeated or single letters hide."""

    def __init__(self, words: Iterable[str]) -> None:
        self._words = frozenset(word for word in words if len(word) > 2)
        self._longest = max(map(len, self._words))
        long = sorted(word for word in self._words if len(word) > 3)
        self._starred = {f"{word[:at]}*{word[at + 1 :]}": word for word in long for at in range(1, len(word) - 1)}

    def undone(self, text: str) -> str:
        """The folded text without disguise; empty where it wears none."""
        plain = text
        if _DISGUISED.search(text) or _THRICE.search(text) or _MARKED.search(text):
            plain = _CHUNK.sub(self._plain, text)
        if _SPELT_SIGN.search(plain):
            plain = _SPELT.sub(self._respelt, in_atoms(plain))
        return plain if plain != text else ""

    def _plain(self, match: re.Match[str]) -> str:
        chunk = match.group()
        if len(chunk) > 2 * self._longest or (chunk.isascii() and chunk.isalpha() and not _THRICE.search(chunk)):
            return chunk
        bare = chunk.rstrip("!|+")
        if not bare.isascii():
            marked = unicodedata.normalize("NFKD", bare)
            bare = "".join(char for char in marked if not unicodedata.combining(char)).translate(_LOOKALIKES)
        if bare in self._starred:
            return self._starred[bare]
        if not any(map(str.isalpha, bare)):
            return chunk
        for form in (bare, *(bare.translate(digits) for digits in _DIGITS)):
            for word in (form, _THRICE.sub(r"\1\1", form), _THRICE.sub(r"\1", form)):
                if word in self._words:
                    return word
        return bare if bare.isascii() else chunk

    def _respelt(self, match: re.Match[str]) -> str:
        letters, words, at = match.group().replace(" ", ""), [], 0
        while at < len(letters):
            ends = range(min(len(letters), at + self._longest), at + 2, -1)
            end = next((end for end in ends if letters[at:end] in self._words), at + 1)
            words.append(letters[at:end])
            at = end
        return "".join(f" {word}" for word in words)


def _together(hits: Sequence[_Hit]) -> _Hit | None:
    """Two hits of different entries, near each other, as one."""
    for one, other in pairwise(sorted(hits, key=lambda hit: hit.start)):
        if one.entry is not other.entry and one.end <= other.start <= one.end + COMPANY:
            return one._replace(words=f"{one.words} …{other.words}")
    return None


def _masked(words: str) -> str:
    """Recognisable, but not repeated: long words keep their ends, Chinese every other character."""
    atoms = [atom if len(atom) < 4 else f"{atom[:2]}{'*' * (len(atom) - 3)}{atom[-1]}" for atom in words.split()]
    for at in range(1, len(atoms)):
        if _HANZI.match(atoms[at]) and _HANZI.match(atoms[at - 1]):
            atoms[at] = "*"
    return " ".join(atoms)


def _own_list(path: Path) -> _List:
    """A list of the user's own: TOML like ours, or plain lines."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadData(f"{path}: cannot read the list of words: {error.strerror}") from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadData(f"{path}:{1 + data[: error.start].count(10)}: not UTF-8") from error
    if path.suffix != ".toml":
        lines = [line.strip() for line in text.splitlines()]
        return _List({LISTED: {"strong": [line for line in lines if line and not line.startswith("#")]}}, text, path)
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = _AT_LINE.search(str(error))
        raise BadData(f"{path}:{place[1] if place else 1 + text.count(chr(10))}: not TOML: {error}") from error
    return _List({name: _value(name, table, _List({}, text, path)) for name, table in tables.items()}, text, path)


def _value(name: str, table: Any, source: _List) -> Any:
    """The value of a table, of the shape that tables of this name have; a bare list of entries is strong."""
    if name not in _TABLES:
        raise source.wrong(name, f"no table is called '{name}'; there are: {', '.join(_TABLES)}")
    value = table.get("value") if isinstance(table, dict) else None
    if name in CATEGORIES and isinstance(value, list):
        value = {"strong": value}
    try:
        return _TABLES[name].validate_python(value, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(str(part) for part in (name, "value", *first["loc"]))
        raise source.wrong(name, f"{at}: {first['msg']}") from error
