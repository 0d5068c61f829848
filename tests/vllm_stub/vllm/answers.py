"""What the stand-in says: a function of prompt, seed and model, so a test can tell who answered, and ask again."""

from __future__ import annotations

import json
import random
import re
from typing import Any, NamedTuple

COUNTED = "One, two, three,"  # the prompt of the tests that every backend passes
WORDS = (
    "amber basin cedar delta ember fjord grove harbor island juniper kettle lantern meadow north orchard pebble quarry "
    "river saddle timber upland valley willow yonder"
).split()
# A word is a token, with the space before it; a Chinese character is one too.
_TOKEN = re.compile(r"\s*(?:[\u3040-\u30ff\u3400-\u9fff]|[^\s\u3040-\u30ff\u3400-\u9fff]+)")


class Answer(NamedTuple):
    """One choice of a response."""

    text: str
    tokens: int
    finish_reason: str
    stop_reason: str | None


def count(text: str) -> int:
    """How many tokens a text has."""
    return sum(1 for _ in _TOKEN.finditer(text))


def answer(prompt: str, model: str, body: dict[str, Any], index: int, room: int) -> Answer:
    """Choice ``index`` for a prompt, of at most ``room`` tokens, ended where the body's ``stop`` says."""
    draw = random.Random(f"{model}|{body.get('seed')}|{index}|{prompt}")
    wanted = body.get("response_format") or {}
    match wanted.get("type"):
        case "json_schema":
            text = json.dumps(_fitting(wanted["json_schema"]["schema"], model, draw), ensure_ascii=False)
        case "json_object":
            text = json.dumps({"model": model, "text": _words(draw, 4)})
        case _:
            text = " four, five, six" if prompt == COUNTED else f" {model} says {_words(draw, draw.randint(4, 24))}."
    return _cut(text, body.get("stop") or [], room)


def _cut(text: str, stop: str | list[str], room: int) -> Answer:
    pieces = _TOKEN.findall(text)
    kept, reason = "".join(pieces[:room]), "length" if len(pieces) > room else "stop"
    ends = [(kept.find(end), end) for end in ([stop] if isinstance(stop, str) else stop) if end in kept]
    if not ends:
        return Answer(kept, min(len(pieces), room), reason, None)
    place, end = min(ends)
    return Answer(kept[:place], max(count(kept[: place + len(end)]), 1), "stop", end)


def _words(draw: random.Random, number: int) -> str:
    return " ".join(draw.choice(WORDS) for _ in range(number))


def _fitting(schema: dict[str, Any], model: str, draw: random.Random, root: dict[str, Any] | None = None) -> Any:
    """A value that fits a JSON schema of the plain kinds; patterns and formats are not looked at."""
    root = schema if root is None else root
    if "$ref" in schema:
        return _fitting(_referred(root, schema["$ref"]), model, draw, root)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return draw.choice(schema["enum"])
    for choice in ("anyOf", "oneOf", "allOf"):
        if choice in schema:
            return _fitting(schema[choice][0], model, draw, root)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    match kind[0] if isinstance(kind, list) else kind:
        case "object":
            return {name: _fitting(of, model, draw, root) for name, of in schema.get("properties", {}).items()}
        case "array":
            length = min(max(2, schema.get("minItems", 0)), schema.get("maxItems", 99))
            return [_fitting(schema.get("items", {}), model, draw, root) for _ in range(length)]
        case "boolean":
            return draw.random() < 0.5
        case "null":
            return None
        case "integer" | "number" as number:
            return _number(schema, draw, whole=number == "integer")
        case _:
            text = f"{model} says {_words(draw, 3)}".ljust(schema.get("minLength", 0), ".")
            return text[: schema.get("maxLength", len(text))]


def _number(schema: dict[str, Any], draw: random.Random, *, whole: bool) -> int | float:
    if whole:
        low = int(schema.get("minimum", schema.get("exclusiveMinimum", -1) + 1))
        return draw.randint(low, int(schema.get("maximum", schema.get("exclusiveMaximum", low + 10) - 1)))
    least: float = schema.get("minimum", schema.get("exclusiveMinimum", 0))
    most: float = schema.get("maximum", schema.get("exclusiveMaximum", least + 10))
    return draw.uniform(0.25, 0.75) * (most - least) + least  # between the bounds, whether or not they belong to it


def _referred(root: dict[str, Any], reference: str) -> dict[str, Any]:
    for name in reference.removeprefix("#/").split("/"):
        root = root[name]
    return root
