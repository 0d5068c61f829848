"""JSON as models write it: in prose and fences, cut off anywhere, with line breaks in strings, commas too many, and
quotes of other kinds (a Python dictionary's, Chinese ones).

Read without recursion and in one pass: ten thousand opening brackets are no harder than ten.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Final, Literal

NodeKind = Literal["object", "array", "string", "literal"]
Flaw = Literal["truncated", "not_json"]


@dataclass(slots=True)
class Node:
    """A value: what a string or a literal ``says``, or an object's members; an array's members have empty keys.

    ``flaw`` says that it is not whole: the text ended in it, or went on with something that is not JSON.
    """

    kind: NodeKind
    says: str = ""
    start: int = 0  # of an object or array: where its JSON text begins …
    end: int = 0  # … and ends
    members: list[tuple[str, Node]] = field(default_factory=list)
    flaw: Flaw | None = None


@dataclass(slots=True)
class _Open:
    """An object or array not closed yet: its key so far, and what may come next."""

    node: Node
    key: str | None = None
    wants: Literal["key", "colon", "value", "comma"] = "value"


_OPENING: Final = re.compile(r"\{\s*+(?:[\"'“}]|\Z)|\[\s*+(?:[\[\]{]|\Z)")
_TOKENS: Final = {  # by the mark that opens a string
    opening: re.compile(
        rf"(?P<string>{opening}[^{closing}\\]*+(?:\\.[^{closing}\\]*+)*+(?P<quote>{closing}|\\?\Z))"
        r"|(?P<mark>[{}\[\],:，：])|(?P<literal>[-+\w.]++)",
        re.DOTALL,
    )
    for opening, closing in ('""', "''", "“”")
}
_SPACE: Final = re.compile(r"\s*+")
_ESCAPE: Final = re.compile(r"""\\(?:(?P<known>u[0-9a-fA-F]{4}|["\\/bfnrt])|(?P<single>')|u?)|(?P<double>")""")
_CUT_ESCAPE: Final = re.compile(r"(?<!\\)(?P<whole>(?:\\\\)*+)\\(?:u[0-9a-fA-F]{0,3})?\Z")
_LITERAL: Final = re.compile(r"true|false|null|-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?|-?Infinity|NaN|None|True|False")
_PYTHON: Final = {"None": "null", "True": "true", "False": "false"}
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def json_values(text: str) -> list[Node]:
    """Every object, and every array of objects or arrays, that stands in the text, in order."""
    values = []
    opening = _OPENING.search(text)
    while opening:
        value, end = _read(text, opening.start())
        values.append(value)
        opening = _OPENING.search(text, end)
    return values


def _read(text: str, start: int) -> tuple[Node, int]:
    """The value that begins with the bracket at ``start``, and where it ends; broken off where it is not JSON."""
    root = _begun(text[start], start)
    stack = [_opened(root)]
    position = start + 1
    while stack:
        position = _skipped(text, position)
        token = _TOKENS.get(text[position : position + 1], _TOKENS['"']).match(text, position)
        if not token or not _take(token, stack):
            flaw: Flaw = "truncated" if position == len(text) or (token and _ends(token)) else "not_json"
            end = len(text) if flaw == "truncated" else position
            for level in stack:
                level.node.flaw = flaw
                level.node.end = end
            return root, max(end, start + 1)
        position = token.end()
    return root, position


def _skipped(text: str, position: int) -> int:
    space = _SPACE.match(text, position)
    return space.end() if space else position


def _ends(token: re.Match[str]) -> bool:
    """Whether the text ends in this token, so that more of it may be missing."""
    return token.end() == len(token.string) and (token["literal"] is not None or token["quote"] in ("", "\\"))


def _closed(token: re.Match[str]) -> bool:
    """Whether the token is a whole string."""
    return token["quote"] not in (None, "", "\\")


def _begun(mark: str, start: int) -> Node:
    return Node("object" if mark == "{" else "array", start=start)


def _opened(node: Node) -> _Open:
    return _Open(node, wants="key" if node.kind == "object" else "value")


def _take(token: re.Match[str], stack: list[_Open]) -> bool:
    """Puts a token where it belongs; False where it belongs nowhere, or is cut (what it says is kept then)."""
    top = stack[-1]
    mark = {"，": ",", "：": ":"}.get(token["mark"], token["mark"])
    if mark in ("}", "]"):
        return _close(token, stack)
    if mark == ",":
        if top.wants == "comma":
            top.wants = "key" if top.node.kind == "object" else "value"
        return top.wants == "key" or (top.node.kind == "array" and top.wants == "value")
    if mark == ":":
        expected = top.wants == "colon"
        top.wants = "value"
        return expected
    if top.wants == "comma" and top.node.kind == "array" and mark == "{":
        top.wants = "value"  # a comma forgotten between two objects
    if mark:
        return _open(token, stack)
    if top.wants == "key" and _closed(token):
        top.key, top.wants = _unescaped(token["string"][1:-1]), "colon"
        return True
    return top.wants == "value" and _plain(token, top)


def _open(token: re.Match[str], stack: list[_Open]) -> bool:
    top = stack[-1]
    if top.wants != "value":
        return False
    node = _begun(token["mark"], token.start())
    top.node.members.append((top.key or "", node))
    top.wants = "comma"
    stack.append(_opened(node))
    return True


def _close(token: re.Match[str], stack: list[_Open]) -> bool:
    top = stack[-1]
    matches = (token["mark"] == "}") == (top.node.kind == "object")
    if not matches or top.wants == "colon" or (top.wants == "value" and top.node.kind == "object"):
        return False
    top.node.end = token.end()
    stack.pop()
    return True


def _plain(token: re.Match[str], top: _Open) -> bool:
    """Takes a string or a literal as the next value; of a string that is cut, what is there."""
    if token["string"] is None:
        if not _LITERAL.fullmatch(token["literal"]) or _ends(token):
            return False
        node = Node("literal", _PYTHON.get(token["literal"], token["literal"]))
    else:
        whole = _closed(token)
        said = _unescaped(token["string"][1:-1] if whole else _CUT_ESCAPE.sub(r"\g<whole>", token["string"][1:]))
        node = Node("string", said if whole else said.rstrip("\ufffd"))  # half of an emoji, cut
    top.node.members.append((top.key or "", node))
    top.wants = "comma"
    return token["string"] is None or _closed(token)


def _unescaped(inner: str) -> str:
    """What a string says; a backslash that escapes nothing known ("\\d") stands for itself."""
    known = _ESCAPE.sub(
        lambda found: found[0] if found["known"] else "'" if found["single"] else "\\" + found[0], inner
    )
    said = json.loads(f'"{known}"', strict=False)
    return _SURROGATE.sub("\ufffd", said) if _SURROGATE.search(said) else str(said)
