"""What dialogues start from, beside a model: meta topics, types of text, personas, templates, entities.

Each is a JSON Lines file in ``seeds/dialogue/``; a user's own file of the same form takes its place. Keys we do not
know are ignored; a wrong file is one `BadData` that names file, line and what to do.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import orjson
from pydantic import ConfigDict, StringConstraints, field_validator

from selfinstruct import jsonl_file, resources
from selfinstruct.errors import BadData
from selfinstruct.schema import Lang, Noun

Phrase = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
"""A text with at least one character, and no white space around it."""

_PLACEHOLDER = re.compile(r"\{(passage|request)\}")


class Seed(Noun):
    """A line of such a file; keys we do not know are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: Phrase


class MetaTopic(Seed):
    """One of the fields that together cover the world; ``scope`` is what it ranges over."""

    topic: Phrase
    scope: str = ""


class TextType(Seed):
    """A kind of text that people have written for them; ``purpose`` is what it is for and what makes it good."""

    type: Phrase
    purpose: str = ""


class Persona(Seed):
    """Somebody the user's model plays: each value is a predicate, what the user knows, feels, wants, how they write."""

    expertise: Phrase
    mood: Phrase
    goal: Phrase
    style: Phrase


class Join(Seed):
    """How a passage and a request about it become one turn: a text with ``{passage}`` and ``{request}`` in it."""

    text: Phrase

    @field_validator("text")
    @classmethod
    def _has_both_places_once(cls, text: str) -> str:
        if sorted(_PLACEHOLDER.findall(text)) != ["passage", "request"]:
            raise ValueError("expected {passage} and {request} in it, each exactly once")
        return text

    def fill(self, passage: str, request: str) -> str:
        """The turn. Both texts stand in it as they are, braces too."""
        given = {"passage": passage, "request": request}
        return _PLACEHOLDER.sub(lambda place: given[place[1]], self.text)


class Entity(Seed):
    """The name of a thing in the world to ask about: a person, a place, a work, an animal."""

    entity: Phrase


Entities = tuple[Entity, ...]

S = TypeVar("S", bound=Seed)


def topics(lang: Lang, path: Path | None = None) -> tuple[MetaTopic, ...]:
    """Our meta topics of a language, or those of a file: JSON Lines, or .txt with a topic a line. Raises `BadData`."""
    if path and _is_plain(path):
        return tuple(MetaTopic(id=f"line-{number}", topic=topic) for number, topic in _plain(path, "topic"))
    return _load(path or _shipped(lang, "topics"), MetaTopic, "topic")


def text_types(lang: Lang, path: Path | None = None) -> tuple[TextType, ...]:
    """Our types of text of a language, or those of a file: JSON Lines, or .txt with a type a line. Raises `BadData`."""
    if path and _is_plain(path):
        return tuple(TextType(id=f"line-{number}", type=kind) for number, kind in _plain(path, "text type"))
    return _load(path or _shipped(lang, "text_types"), TextType, "text type")


def personas(lang: Lang, path: Path | None = None) -> tuple[Persona, ...]:
    """Our personas of a language, or those of a JSON Lines file. Raises `BadData`."""
    return _load(path or _shipped(lang, "personas"), Persona, "persona")


def joins(lang: Lang) -> tuple[Join, ...]:
    """Our templates of a language that put a passage and a request about it into one turn."""
    return _load(_shipped(lang, "joins"), Join, "template")


def entities(path: Path) -> Entities:
    """The entities of a user's file: .txt with one a line, or JSON Lines with the key ``entity``. Raises `BadData`.

    An entity that stands there twice is kept once. Its id has the number of its line: ``entity-7``.
    """
    if _is_plain(path):
        named = _plain(path, "entity")
    else:
        rows = jsonl_file.records(path, _EntityRow, "entity list")
        named = _distinct(path, [(number, row.entity) for number, row in rows], "entity")
    return tuple(Entity(id=f"entity-{number}", entity=entity) for number, entity in named)


def digest(items: Sequence[Seed]) -> str:
    """How many there are, and the sha256 of what they say, in their order: ``72, sha256 5f…``."""
    content = orjson.dumps([item.model_dump() for item in items], option=orjson.OPT_SORT_KEYS)
    return f"{len(items)}, sha256 {hashlib.sha256(content).hexdigest()}"


class _EntityRow(Noun):
    # Its own ``id``, if it has one, is not ours: Wikidata's is a word, somebody else's a number.
    model_config = ConfigDict(frozen=True, extra="ignore")

    entity: Phrase


def _shipped(lang: Lang, name: str) -> Path:
    return resources.seeds_dir() / "dialogue" / f"{lang}_{name}.jsonl"


def _load(path: Path, noun: type[S], one: str) -> tuple[S, ...]:
    found = jsonl_file.records(path, noun, f"{one} list")
    if not found:
        raise BadData(f"{path}: holds no {one}; expected one JSON object a line")
    jsonl_file.refuse_twins(path, ((number, item.id) for number, item in found))
    return tuple(item for _, item in found)


def _is_plain(path: Path) -> bool:
    return path.suffix.lower() == ".txt"


def _plain(path: Path, one: str) -> list[tuple[int, str]]:
    lines = jsonl_file.lines(path, f"{one} list")
    for number, line in lines:
        if line.startswith("{"):
            raise BadData(f"{path}:{number}: a .txt file holds one {one} a line; name a file of JSON Lines .jsonl")
    return _distinct(path, lines, one)


def _distinct(path: Path, named: list[tuple[int, str]], one: str) -> list[tuple[int, str]]:
    if not named:
        raise BadData(f"{path}: holds no {one}; expected one a line")
    first: dict[str, int] = {}
    for number, name in named:
        first.setdefault(name, number)
    return [(number, name) for name, number in first.items()]
