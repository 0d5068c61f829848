"""How the executed checks read Chinese: lengths, clauses, tones and rhymes, numbered items, turns, words to keep."""

from __future__ import annotations

import re
from collections.abc import Iterable

# Characters of one rhyme of modern Mandarin each (the thirteen tracks of folk verse), wide enough for other answers.
RHYMES = {
    "a": "芽家茶花霞沙瓜华纱涯麻下画话马",
    "ang": "长慌光忙行霜香阳方房堂强场量窗床芳旁张上响亮账唱样让坊详畅康当乡汤",
    "eng": "凝登灯层声明生行成城风情程冰星庭轻青停迎醒静胜梦",
    "ei": "归飞围回灰微辉非肥追谁吹杯梅眉岁醉",
}
# The level (平) tone characters of the verses checked for tone, and the oblique (仄) ones.
LEVEL = set("归车窗飞推门香围人宾明街")
OBLIQUE = set("一路雪片处满屋饺客梦路")

DIGITS = "一二三四五六七八九十"


def length_of(text: str) -> int:
    """Count the characters of a text with its punctuation, without white space."""
    return len(re.sub(r"\s", "", text))


def hanzi_in(text: str) -> str:
    """Return the Chinese characters of a text."""
    return "".join(re.findall(r"[\u4e00-\u9fff]", text))


def clauses_of(text: str) -> list[str]:
    """Split a text at its full-width punctuation and its line breaks."""
    return [clause for clause in re.split(r"[，。？！；：、\s]+", text) if clause]


def in_range(text: str, least: int, most: int) -> None:
    """Assert that the length lies in the range, however punctuation is counted."""
    characters = len(re.findall(r"\w", text))
    assert least <= characters <= length_of(text) <= most


def keeps(input: str, output: str, facts: Iterable[str]) -> None:
    """Assert that the facts stand in the input and in the output."""
    assert [fact for fact in facts if fact not in input or fact not in output] == []


def avoids(output: str, words: Iterable[str]) -> None:
    """Assert that something is said and none of the words occurs."""
    assert output
    assert [word for word in words if word in output] == []


def rhymes(characters: Iterable[str]) -> None:
    """Assert that the characters differ and belong to one rhyme."""
    finals = list(characters)
    assert len(set(finals)) == len(finals) > 1
    assert any(set(finals) <= set(group) for group in RHYMES.values())


def numbered_items(output: str) -> list[str]:
    """Return what stands behind 一、 二、 三、 … at the head of the lines, which must count up."""
    items = [line for line in output.splitlines() if re.match(rf"[{DIGITS}]、", line)]
    assert [item[0] for item in items] == list(DIGITS[: len(items)])
    return [item[2:] for item in items]


def turns_of(output: str) -> list[tuple[str, str]]:
    """Return speaker and words of each line of a conversation."""
    turns = [line.partition("：") for line in output.splitlines()]
    assert all(colon and words for _, colon, words in turns)
    return [(speaker, words) for speaker, _, words in turns]
