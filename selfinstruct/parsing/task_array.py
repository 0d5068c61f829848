"""Whole tasks from an answer written as JSON, read as far as it goes: what was cut off is never made up."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final

from selfinstruct.errors import ParseError
from selfinstruct.parsing.json_nodes import Node, json_values
from selfinstruct.parsing.markup import clean, simplified
from selfinstruct.parsing.whole_task import WholeTask, whole_task

_INSTRUCTION: Final = frozenset("instruction task prompt question 指令 任务 任务指令 问题 题目 提示".split())
_INPUT: Final = frozenset("input context 输入 上下文 材料 内容 原文 输入内容".split())
_OUTPUT: Final = frozenset("output response answer completion 输出 回答 答案 回复 回应 响应 输出内容".split())
_COUNTED: Final = re.compile(r"\d{1,4}\s?[.、)）:：]\s?|[\s_]*\d{1,4}\Z")


def task_array(text: str, *, truncated: bool) -> list[WholeTask]:
    """The tasks of an answer in order; at least one.

    The tasks may stand in an array, in an object under any key, alone, one a line, or in a string that holds such JSON;
    prose and fences around them do not matter. An object that breaks off is flawed ``truncated`` and holds only what is
    there; the JSON itself shows that, whatever the server says. An object broken in its middle is flawed ``not_json``
    (``truncated`` where the token limit ended the answer and nothing follows it), one that names its instruction twice
    ``merged_tasks``.

    Raises ParseError ``not_json`` when the answer holds no object or array, ``no_tasks`` when none of them is a task.
    """
    text = clean(text)
    values = json_values(text)
    if not values:
        raise ParseError("not_json", "no object or array found" if text.strip() else "the answer is empty")
    tasks = [task for value in values for node, source in _task_nodes(value, text) if (task := _task(node, source))]
    if not tasks:
        raise ParseError("no_tasks", "the JSON holds no task")
    if truncated and tasks[-1].flaw == "not_json":
        tasks[-1] = WholeTask(tasks[-1].instruction, tasks[-1].input, tasks[-1].output, "truncated")
    return tasks


def _task_nodes(root: Node, source: str) -> Iterator[tuple[Node, str]]:
    """The objects that are tasks, in order, however deep, or in a string; and the text that each was read from."""
    waiting = [(root, source)]
    while waiting:
        node, source = waiting.pop()
        if _is_task(node):
            yield node, source
        elif node.kind == "string" and node.says.lstrip().startswith(("[", "{")):
            waiting += [(value, node.says) for value in reversed(json_values(node.says))]
        else:
            waiting += [(child, source) for _, child in reversed(node.members)]


def _is_task(node: Node) -> bool:
    """True for an object that has an instruction, or an output, which is not itself a place for tasks."""
    if node.kind != "object":
        return False
    fields = [child for key, child in node.members if _name(key) in _INSTRUCTION | _OUTPUT]
    return any(child.kind not in ("object", "array") or _says_plainly(child) for child in fields)


def _says_plainly(node: Node) -> bool:
    """True for a list of plain values, and for an object that holds none but plain values and is no task itself."""
    plain = all(child.kind in ("string", "literal") for _, child in node.members)
    return plain and not any(_name(key) in _INSTRUCTION for key, _ in node.members)


def _name(key: str) -> str:
    return _COUNTED.sub("", simplified(key.strip().casefold()))


def _task(node: Node, source: str) -> WholeTask | None:
    """The object's task; nothing for one that broke off before it said anything."""
    told = [child for key, child in node.members if _name(key) in _INSTRUCTION]
    instruction, given, output = (_text(_field(node, names), source) for names in (_INSTRUCTION, _INPUT, _OUTPUT))
    if node.flaw and not (instruction + given + output).strip():
        return None
    twice = "merged_tasks" if len(told) > 1 and len({key for key, _ in node.members}) < len(node.members) else None
    return whole_task(instruction, given, output, node.flaw or twice)


def _field(node: Node, names: frozenset[str]) -> Node | None:
    """The first member of one of these names; the name our prompts use before its other words."""
    found = {_name(key): child for key, child in reversed(node.members) if _name(key) in names}
    best = next((name for name in ("instruction", "input", "output", "指令", "输入", "输出") if name in found), None)
    return found[best] if best else next(reversed(found.values()), None)


def _text(node: Node | None, source: str) -> str:
    """A value as text: a list of plain values a line each, other values as JSON text, null and nothing as no text."""
    if node is None or (node.kind == "literal" and node.says == "null"):
        return ""
    if node.kind in ("string", "literal"):
        return node.says
    if node.kind == "array" and all(child.kind in ("string", "literal") for _, child in node.members):
        return "\n".join(child.says for _, child in node.members)
    written = source[node.start : node.end]
    try:
        return json.dumps(json.loads(written, strict=False), ensure_ascii=False)
    except (ValueError, RecursionError):
        return written
