"""A conversation as a model reads it: token ids, and for each the assistant's message it is learned for, if any.

Learned are the text of every answer and the token that ends it, nothing else. Where they stand is found without help of
the template, so that any model's own will do: a conversation is rendered once as it is and once with a private mark on
either side of each message's text; a template that treats both alike has told where it puts what.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile
from typing import Any, Final, NamedTuple, Protocol

from jinja2 import TemplateError

from selfinstruct.errors import BadData, ConfigProblem
from selfinstruct.schema import Message

_PRIVATE: Final = range(0xF0000, 0x10FFFE)
"""Code points that Unicode leaves to private use, and no template knows."""

_BLOCK: Final = 1 << 14  # of them at a time stand for special tokens; no tokenizer has as many
_REMEDY: Final = "choose one of ours: --chat-template"


class Rendered(NamedTuple):
    """``turns`` has, for each of ``ids``, the index in the messages of the answer it is learned for; -1 for none."""

    ids: list[int]
    turns: list[int]


class Chat(Protocol):
    """What has messages and a class, as `data.Conversation`."""

    @property
    def messages(self) -> tuple[Message, ...]:
        """The turns."""
        ...

    @property
    def condition(self) -> str:
        """The class of the data that a template may show, as OpenChat's; "" for none."""
        ...


class _Span(NamedTuple):
    start: int
    stop: int
    message: int


class _Written(NamedTuple):
    """A rendered conversation, and where in it the text of each message stands."""

    text: str
    contents: list[_Span]
    roles: list[str]


class Renderer:
    """Writes conversations with a tokenizer's chat template. The ids are those of ``apply_chat_template``.

    One difference: what looks like a special token in the text of a message stays text.
    """

    def __init__(self, tokenizer: Any) -> None:
        """Raises `ConfigProblem` for a tokenizer without a template, or one that cannot say where tokens stand."""
        if not getattr(tokenizer, "is_fast", False):
            raise ConfigProblem("the model's tokenizer has no tokenizer.json, so nobody can say where its tokens stand")
        if not tokenizer.chat_template:
            raise ConfigProblem(f"the model has no chat template; {_REMEDY}")
        self._tokenizer = tokenizer
        added = tokenizer.added_tokens_decoder.values()
        self._armed = _Armed(tokenizer.backend_tokenizer, sorted({token.content for token in added if token.special}))
        self._ends = _any_of({token.content for token in added if not token.content.isspace()})
        self._opening = self._opening_tokens()

    @property
    def shows_condition(self) -> bool:
        """Whether the template shows a conversation's class."""
        return "condition" in str(self._tokenizer.chat_template)

    def encode(self, conversation: Chat | Sequence[Message], condition: str = "") -> Rendered:
        """One conversation; ``condition`` is its class where it bears none itself. Raises as `encode_many`."""
        return self._encoded([self._learned(conversation, condition)])[0]

    def encode_many(self, conversations: Sequence[Chat | Sequence[Message]]) -> list[Rendered]:
        """Conversations, tokenized together, which is faster.

        Raises `ConfigProblem` for a template that refuses a conversation, that does not write an answer as it is, or
        that ends none.
        """
        return self._encoded([self._learned(conversation, "") for conversation in conversations])

    def prompt(self, messages: Sequence[Message], condition: str = "") -> list[int]:
        """The ids of a conversation up to where the assistant's next answer begins. Raises as `encode_many`."""
        written = self._written(messages, condition, ask=True)
        ids: list[int] = self._armed.encodings([written])[0].ids
        return ids

    # --- what is learned --------------------------------------------------------------------------------------------

    def _learned(self, conversation: Chat | Sequence[Message], condition: str) -> tuple[_Written, list[_Span]]:
        messages: Sequence[Message]
        if isinstance(conversation, Sequence):
            messages = conversation
        else:
            messages, condition = conversation.messages, conversation.condition or condition
        written = self._written(messages, condition)
        return written, list(self._answers(written))

    def _answers(self, written: _Written) -> Iterator[_Span]:
        """Each answer with what ends it."""
        for place, span in enumerate(written.contents):
            if written.roles[span.message] != "assistant":
                continue
            last = place + 1 == len(written.contents)
            next_text = len(written.text) if last else written.contents[place + 1].start
            end = self._ends.search(written.text, span.stop, next_text)
            if end and end[0] not in self._opening:
                yield span._replace(stop=end.end())
            elif last:
                raise ConfigProblem(
                    f"the model's chat template writes no token that ends an answer, so it would never stop; {_REMEDY}"
                )
            else:
                yield span

    def _encoded(self, learned: Sequence[tuple[_Written, list[_Span]]]) -> list[Rendered]:
        encodings = self._armed.encodings([written for written, _ in learned])
        return [_rendered(encoding, spans) for encoding, (_, spans) in zip(encodings, learned, strict=True)]

    # --- what is written --------------------------------------------------------------------------------------------

    def _written(self, messages: Sequence[Message], condition: str, ask: bool = False) -> _Written:
        turns = [(message.role, message.content) for message in messages]
        plain = self._text(turns, condition, ask)
        marks = _marks(turns)
        for mark in (_around, _inside):  # a template that cuts off blanks finds those outside the marks
            pairs = zip(turns, marks, strict=True)
            marked = [(role, mark(content, *pair) if content else content) for (role, content), pair in pairs]
            text, contents = _without_marks(self._text(marked, condition, ask), marks)
            if text == plain and _all_answers(turns, contents):
                return _Written(text, contents, [role for role, _ in turns])
        raise ConfigProblem(f"the model's chat template does not write every answer as it is; {_REMEDY}")

    def _text(self, turns: Sequence[tuple[str, str]], condition: str, ask: bool) -> str:
        messages = [{"role": role, "content": content} for role, content in turns]
        shown = {"condition": condition} if condition else {}
        try:
            text = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=ask, **shown)
        except TemplateError as error:
            raise ConfigProblem(f"the model's chat template refuses a conversation: {error}; {_REMEDY}") from error
        return str(text)

    def _opening_tokens(self) -> set[str]:
        """The special tokens an answer's header is made of: they do not end the answer before."""
        asking, told = (self._text([("user", "a")], "", ask) for ask in (True, False))
        same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(asking, told, strict=False)))
        return {found[0] for found in self._ends.finditer(asking) if found.end() > same}


class _Armed:
    """A tokenizer proof against forged special tokens: what stands in a message is text, whatever it looks like.

    Messages that hold such text are tokenized by a copy in which each special token has another name, as long as its
    own, that stands in none of them. So all else stays as it is: borders, offsets, ids.
    """

    def __init__(self, backend: Any, special: Sequence[str]) -> None:
        self._backend, self._special = backend, special
        self._forged = _any_of(special)
        self._copies: dict[int, Any] = {}

    def encodings(self, conversations: Sequence[_Written]) -> list[Any]:
        """The encoding of each, as the library `tokenizers` has it."""
        forged = [self._is_forged(written) for written in conversations]
        honest = [written.text for written, yes in zip(conversations, forged, strict=True) if not yes]
        made = iter(self._copy(0, {}).encode_batch(honest, add_special_tokens=False))
        return [
            self._disarmed(written) if yes else next(made) for written, yes in zip(conversations, forged, strict=True)
        ]

    def _is_forged(self, written: _Written) -> bool:
        return any(self._forged.search(written.text, span.start, span.stop) for span in written.contents)

    def _disarmed(self, written: _Written) -> Any:
        base = _unused_block(written.text)
        names = {token: chr(base + place) * len(token) for place, token in enumerate(self._special)}
        pieces: list[str] = []
        done = 0
        for start, stop, _ in [*sorted(written.contents), _Span(len(written.text), len(written.text), -1)]:
            pieces.append(self._forged.sub(lambda found: names[found[0]], written.text[done:start]))
            pieces.append(written.text[start:stop])
            done = stop
        return self._copy(base, names).encode("".join(pieces), add_special_tokens=False)

    def _copy(self, base: int, names: dict[str, str]) -> Any:
        """Made when it is needed: it takes half a second, or several with a large vocabulary."""
        if base not in self._copies:
            self._copies[base] = _copy(self._backend, names)
        return self._copies[base]


def _unused_block(text: str) -> int:
    """Where private code points begin that the text does not use, enough of them for any tokenizer."""
    used = {ord(character) // _BLOCK for character in set(text)}
    for block in range(_PRIVATE.start // _BLOCK, _PRIVATE.stop // _BLOCK):
        if block not in used:
            return block * _BLOCK
    raise BadData("a conversation uses private characters of every kind, and text of the form of a special token")


def _copy(backend: Any, names: dict[str, str]) -> Any:
    """The tokenizer, with other names for some tokens under the same ids.

    It never pads or cuts, and says where blanks stand, too: a post-processor may leave them out of the offsets.
    """
    made = json.loads(backend.to_str())
    made["post_processor"] = made["padding"] = made["truncation"] = None
    for token in made["added_tokens"]:
        token["content"] = names.get(token["content"], token["content"])
    model = made["model"]
    if isinstance(model["vocab"], dict):
        model["vocab"] = {names.get(token, token): place for token, place in model["vocab"].items()}
    else:
        model["vocab"] = [[names.get(token, token), score] for token, score in model["vocab"]]
    if "unk_token" in model:
        model["unk_token"] = names.get(model["unk_token"], model["unk_token"])
    if "merges" in model:  # pieces of plain text do not merge into a special token either
        model["merges"] = [pair for pair in model["merges"] if _merged(pair) not in names]
    return type(backend).from_str(json.dumps(made))


def _merged(pair: str | list[str]) -> str:
    """What a merge makes; older files write its two parts as one text with a space."""
    return "".join(pair.split(" ") if isinstance(pair, str) else pair)


def _rendered(encoding: Any, spans: list[_Span]) -> Rendered:
    """A token is learned with an answer if it holds a character of it, or of what ends it."""
    offsets: list[tuple[int, int]] = encoding.offsets
    turns = [-1] * len(offsets)
    for span in spans:
        first = bisect_right(offsets, span.start, key=lambda offset: offset[1])
        after = bisect_left(offsets, span.stop, key=lambda offset: offset[0])
        turns[first:after] = [span.message] * (after - first)
    return Rendered(encoding.ids, turns)


def _marks(turns: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """A pair of private characters for each turn, which none of the texts holds."""
    text = "".join(content for _, content in turns)
    free = (character for character in map(chr, _PRIVATE) if character not in text)
    return [(next(free), next(free)) for _ in turns]


def _around(content: str, opening: str, closing: str) -> str:
    return f"{opening}{content}{closing}"


def _inside(content: str, opening: str, closing: str) -> str:
    """Marks within the blanks at either end."""
    core = content.strip()
    before, _, after = content.partition(core) if core else (content, "", "")
    return f"{before}{opening}{core}{closing}{after}"


def _all_answers(turns: Sequence[tuple[str, str]], contents: Sequence[_Span]) -> bool:
    """Whether each of the assistant's texts was found once, in order."""
    answers = [place for place, (role, content) in enumerate(turns) if role == "assistant" and content]
    return [span.message for span in contents if turns[span.message][0] == "assistant"] == answers


def _without_marks(marked: str, marks: list[tuple[str, str]]) -> tuple[str, list[_Span]]:
    """The text itself, and what stood between the marks of each turn, in the order of the text."""
    opened = {opening: place for place, (opening, _) in enumerate(marks)}
    closed = {closing: place for place, (_, closing) in enumerate(marks)}
    pieces: list[str] = []
    spans: list[_Span] = []
    starts: dict[int, int] = {}
    at = 0
    for piece in re.split(f"([{''.join(map(''.join, marks))}])", marked):
        if piece in opened:
            starts[opened[piece]] = at
        elif piece not in closed:
            pieces.append(piece)
            at += len(piece)
        elif closed[piece] in starts:  # or the template has left out the beginning
            spans.append(_Span(starts.pop(closed[piece]), at, closed[piece]))
    return "".join(pieces), spans


def _any_of(tokens: Iterable[str]) -> re.Pattern[str]:
    """Finds any of them, the longest that is there; nothing where there are none."""
    longest_first = sorted(tokens, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")
