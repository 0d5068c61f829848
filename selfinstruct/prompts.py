"""Find, render and hash a prompt file: ``prompts/<stage>/<lang>/<name>.md``.

A prompt file is TOML front matter between two ``+++`` lines, then Jinja blocks::

    +++
    version = 1
    stop = ["<task {{ demos|length + new_tasks + 1 }}>"]   # rendered with the same variables, and `rendering`;
                                                           # one that comes out empty is left out
    opens = "task"                                         # the delimiter the completion rendering leaves open
    +++
    {% block completion %}…{% endblock %}      text for a model that continues it
    {% block system %}…{% endblock %}          messages for a model that answers (system may be absent)
    {% block user %}…{% endblock %}            a block that comes out empty sends no message
    {% block rules %}…{% endblock %}           what both renderings say, filled in with {{ self.rules() }}; any name

A dialogue's ``history`` stands between the system and the user block, message by message; the completion block has it
as a variable and writes it out. Worked examples, if there are any, stand beside the file in ``<name>.jsonl``, one JSON
object a line, most telling first.
An undefined variable is an error, never an empty string. Version and hash go into every record's provenance.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import jinja2
import orjson
from jinja2.runtime import Context

from selfinstruct.errors import ConfigProblem
from selfinstruct.schema import Message, Rendering

_ENVIRONMENT = jinja2.Environment(
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    autoescape=False,  # prompts are plain text, never HTML
)


def _json(value: object) -> str:
    """The value as JSON on one line, every character as itself; Jinja's own ``tojson`` escapes what HTML would misread.

    Raises `jinja2.UndefinedError` for a missing variable, which says so when it is made a string.
    """
    return json.dumps(value, ensure_ascii=False, default=str)


_ENVIRONMENT.filters["json"] = _json


@dataclass(frozen=True)
class Rendered:
    """A prompt ready to send: ``prompt`` for a model that continues, or ``messages`` for one that answers."""

    prompt: str | None
    messages: tuple[Message, ...] | None
    stop: tuple[str, ...]
    opens: str | None


@dataclass(frozen=True)
class Frame:
    """The chat rendering of a prompt without a history: what comes before and behind one, and the stops."""

    before: tuple[Message, ...]
    after: tuple[Message, ...]
    stop: tuple[str, ...]

    def around(self, history: Sequence[Message]) -> Rendered:
        """The prompt with that history."""
        return Rendered(None, (*self.before, *history, *self.after), self.stop, None)


@dataclass(frozen=True)
class Prompt:
    """A prompt file, read and checked. ``text`` is the whole source, kept so that a change can be shown."""

    name: str
    version: int
    text: str
    demos: tuple[dict[str, Any], ...]
    stop: tuple[jinja2.Template, ...]
    opens: str | None
    template: jinja2.Template

    @cached_property
    def digest(self) -> str:
        """Hex sha256 of the source, demos included."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def ref(self) -> str:
        """What provenance carries: name, version and the first eight hex digits of the hash."""
        return f"{self.name}@{self.version}:{self.digest[:8]}"

    def render(self, rendering: Rendering, history: Sequence[Message] = (), **variables: Any) -> Rendered:
        """The prompt with its variables and history filled in. Raises `ConfigProblem` naming a missing one."""
        if rendering == "chat":
            return self.frame(**variables).around(history)
        try:
            text = self._block("completion", self.template.new_context({**variables, "history": history}))
            return Rendered(text, None, self._stops(rendering, variables), self.opens)
        except jinja2.UndefinedError as error:
            raise ConfigProblem(f"prompt {self.name}: {error.message}") from error

    def frame(self, **variables: Any) -> Frame:
        """The chat rendering with its variables filled in, for histories to come. Raises as `render` does."""
        try:
            context = self.template.new_context(variables)
            system, user = self._message("system", context), self._message("user", context)
            return Frame(system, user, self._stops("chat", variables))
        except jinja2.UndefinedError as error:
            raise ConfigProblem(f"prompt {self.name}: {error.message}") from error

    def _stops(self, rendering: Rendering, variables: dict[str, Any]) -> tuple[str, ...]:
        stops = (template.render(variables, rendering=rendering) for template in self.stop)
        return tuple(text for text in stops if text)

    def _message(self, role: Literal["system", "user"], context: Context) -> tuple[Message, ...]:
        """The block of that name as a message; none where there is no such block, or nothing in it."""
        content = self._block(role, context).strip() if role in self.template.blocks else ""
        return (Message(role=role, content=content),) if content else ()

    def _block(self, name: str, context: Context) -> str:
        text = "".join(self.template.blocks[name](context))
        # A final line break would make a base model start a new line instead of filling the open delimiter.
        return text.rstrip("\n")


def load(root: Path, name: str) -> Prompt:
    """The prompt ``name`` (such as ``bootstrap/en/list``) below ``root``. Raises `ConfigProblem` for a broken file."""
    path = root / f"{name}.md"
    text = _read(path)
    head, body = _split(path, text)
    demo_text, demos = _demos(path.with_suffix(".jsonl"))
    return Prompt(
        name=name,
        version=head["version"],
        text=text + demo_text,
        demos=demos,
        stop=tuple(_compile(path, stop) for stop in head.get("stop", [])),
        opens=head.get("opens"),
        template=_blocks(path, body),
    )


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise ConfigProblem(f"{path}: cannot read the prompt: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigProblem(f"{path}: not UTF-8; convert the file, for instance with iconv -t UTF-8") from error


def _split(path: Path, text: str) -> tuple[dict[str, Any], str]:
    _, _, rest = text.partition("+++\n")
    front, fence, body = rest.partition("\n+++\n")
    try:
        head = tomllib.loads(front)
    except tomllib.TOMLDecodeError as error:
        raise ConfigProblem(f"{path}: front matter: {error}") from error
    if not text.startswith("+++\n") or not fence or type(head.get("version")) is not int:
        raise ConfigProblem(
            f"{path}: starts with front matter between two '+++' lines that holds 'version = <integer>'"
        )
    unknown = head.keys() - {"version", "stop", "opens"}
    if unknown:
        raise ConfigProblem(f"{path}: unknown front matter key '{min(unknown)}'; known: opens, stop, version")
    stop, opens = head.get("stop", []), head.get("opens", "")
    if not isinstance(stop, list) or not all(isinstance(item, str) for item in [*stop, opens]):
        raise ConfigProblem(f"{path}: front matter: 'stop' is a list of strings, 'opens' a string")
    return head, body


def _compile(path: Path, source: str) -> jinja2.Template:
    try:
        template = _ENVIRONMENT.from_string(source)
    except jinja2.TemplateSyntaxError as error:
        raise ConfigProblem(f"{path}: template line {error.lineno}: {error.message}") from error
    template.globals = dict(template.globals)  # Jinja copies them each time: a ChainMap takes longer than the rest
    return template


def _blocks(path: Path, body: str) -> jinja2.Template:
    template = _compile(path, body)
    missing = {"completion", "user"} - template.blocks.keys()
    if missing:
        raise ConfigProblem(f"{path}: has no block '{min(missing)}'; a prompt has a completion and a chat rendering")
    return template


def _demos(path: Path) -> tuple[str, tuple[dict[str, Any], ...]]:
    if not path.exists():
        return "", ()
    text = _read(path)
    demos = []
    # Cut at line feeds only: JSON may hold U+2028 and other characters that str.splitlines takes for line ends.
    for number, line in enumerate(text.removesuffix("\n").split("\n"), 1):
        try:
            demo = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise ConfigProblem(f"{path}:{number}: not a JSON object: {error}") from error
        if not isinstance(demo, dict):
            raise ConfigProblem(f"{path}:{number}: not a JSON object but {type(demo).__name__}")
        demos.append(demo)
    return text, tuple(demos)
