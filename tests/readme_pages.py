"""The READMEs read: their sections, code blocks, commands and words of code."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from pydantic import BaseModel

from selfinstruct.recipe import Recipe
from tests.command import ROOT

ENGLISH, CHINESE = "README.md", "README.zh-CN.md"
BOTH = [ENGLISH, CHINESE]

SHELL = ("selfinstruct", "make", "pip", "export", "cd", ".")
_CRON = re.compile(r"(?:[\d*/,-]+ +){5}")


class Section(NamedTuple):
    """A heading and what stands under it, up to the next heading."""

    level: int
    title: str
    text: str


def read(name: str) -> str:
    """A README's text."""
    return (ROOT / name).read_text("utf-8")


def sections(text: str) -> list[Section]:
    """The sections of a README, in order; a ``#`` in a code block is no heading."""
    found = [Section(0, "", "")]
    in_block = False
    for line in text.splitlines():
        in_block ^= line.startswith("```")
        heading = None if in_block else re.match(r"(#+) (.*)", line)
        if heading:
            found.append(Section(len(heading[1]), heading[2], ""))
        else:
            found[-1] = found[-1]._replace(text=f"{found[-1].text}{line}\n")
    return found[1:]


def section(name: str, title: str) -> str:
    """The text under the heading that stands where the English one of that title does."""
    (place,) = [at for at, one in enumerate(sections(read(ENGLISH))) if one.title == title]
    return sections(read(name))[place].text


def blocks(text: str) -> list[str]:
    """The code blocks."""
    return re.findall(r"(?ms)^```\n(.*?)^```$", text)


def prose(text: str) -> str:
    """Everything but the code blocks."""
    return re.sub(r"(?ms)^```\n.*?^```$", "", text)


def tables(text: str) -> list[list[str]]:
    """The rows of every table, its head and rule left out."""
    found = re.findall(r"(?m)(?:^\|.*\n)+", prose(text))
    return [table.splitlines()[2:] for table in found]


def commands(text: str) -> list[str]:
    """Every shell command in code blocks, in order: without its comment, prompt and cron times, ``&&`` taken apart."""
    found = []
    for block in blocks(text):
        for line in block.replace("\\\n", " ").splitlines():
            bare = _CRON.sub("", re.sub(r"\s#.*", "", line).removeprefix("$ "))
            parts = [" ".join(part.split()) for part in bare.split(" && ")]
            found += parts if parts[0].partition(" ")[0] in SHELL else []
    return found


def spans(text: str) -> list[str]:
    """Everything in back quotes, outside of code blocks."""
    return re.findall(r"`([^`\n]+)`", prose(text))


def options(text: str) -> set[str]:
    """Every long option of ours that is named anywhere; ``vllm serve`` is another's command."""
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", re.sub("`vllm serve [^`]*`", "", text)))


def pools_of(name: str) -> list[str]:
    """The texts of the pools that a README shows, in order."""
    return [block for block in blocks(read(name)) if block.startswith(("[[model]]", "model = ["))]


def questions_of(name: str) -> str:
    """The lines of the file of instructions that a README shows."""
    (text,) = [block for block in blocks(read(name)) if block.startswith('{"instruction"')]
    return text


def recipe_keys(text: str) -> set[str]:
    """Every recipe key that is set, or named alone in back quotes."""
    own = [name for name, kind in Recipe.model_fields.items() if _is_table(kind.annotation)]
    dotted = re.compile(rf"(?:{'|'.join(own)})(?:\.[a-z_]+)+|round_size|lag")
    return set(re.findall(r"--set '?([\w.]+)=", text)) | set(filter(dotted.fullmatch, spans(text)))


def _is_table(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
