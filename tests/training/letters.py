"""A tokenizer in the manner of `transformers`, without it: each letter is a token, and each special token is one."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import jinja2

SPECIAL = 0x200000
"""Special tokens are counted from here; a letter is its code point."""


class Encoding(NamedTuple):
    """What `tokenizers` calls so."""

    ids: list[int]
    offsets: list[tuple[int, int]]


class Backend:
    """The part that `tokenizers` plays."""

    def __init__(self, written: str) -> None:
        self._written = written
        self._ids = {token["content"]: token["id"] for token in json.loads(written)["added_tokens"]}

    def to_str(self) -> str:
        """Itself as JSON."""
        return self._written

    @classmethod
    def from_str(cls, written: str) -> Backend:
        """What `to_str` gave."""
        return cls(written)

    def encode(self, text: str, add_special_tokens: bool) -> Encoding:
        """Letters, and special tokens, the longest first."""
        assert not add_special_tokens
        names = sorted(map(re.escape, self._ids), key=len, reverse=True)
        found = list(re.finditer("|".join([*names, "."]), text, re.DOTALL))
        return Encoding([self._ids.get(one[0]) or ord(one[0]) for one in found], [one.span() for one in found])

    def encode_batch(self, texts: Sequence[str], add_special_tokens: bool) -> list[Encoding]:
        """Each of them."""
        return [self.encode(text, add_special_tokens) for text in texts]


class Letters:
    """The part that `transformers` plays. The first special token begins a sequence, the second ends it."""

    is_fast = True
    unk_token: str | None = None

    def __init__(self, template: str | None, special: Sequence[str] = ("<s>", "</s>"), *, begins: bool = False) -> None:
        self.chat_template, self.begins = template, begins
        self.special: list[str] = []
        self.add_tokens(list(special), special_tokens=True)
        self.bos_token, self.eos_token = (*special, None, None)[:2]
        self.pad_token = self.eos_token

    def add_tokens(self, tokens: list[str], special_tokens: bool) -> None:
        """More special tokens."""
        assert special_tokens
        self.special += [token for token in tokens if token not in self.special]

    def get_vocab(self) -> dict[str, int]:
        """The special tokens; the letters are too many."""
        return {token: SPECIAL + place for place, token in enumerate(self.special)}

    @property
    def bos_token_id(self) -> int | None:
        """The beginning of a sequence."""
        return self.get_vocab().get(self.bos_token or "")

    @property
    def added_tokens_decoder(self) -> dict[int, Any]:
        """The special tokens by id."""
        return {place: SimpleNamespace(content=token, special=True) for token, place in self.get_vocab().items()}

    @property
    def backend_tokenizer(self) -> Backend:
        """What does the work."""
        added = [{"id": place, "content": token} for token, place in self.get_vocab().items()]
        return Backend(json.dumps({"added_tokens": added, "model": {"vocab": {}, "merges": []}}))

    def __call__(self, text: str) -> dict[str, list[int]]:
        """The ids, and before them the beginning of a sequence if that is this tokenizer's way."""
        ids = self.backend_tokenizer.encode(text, add_special_tokens=False).ids
        begin = self.bos_token_id
        return {"input_ids": [begin, *ids] if self.begins and begin is not None else ids}

    def apply_chat_template(self, messages: list[dict[str, str]], tokenize: bool = False, **more: Any) -> str:
        """The conversation as text; marks of what the assistant writes are left out."""
        assert not tokenize
        environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
        environment.globals["raise_exception"] = _refuse
        source = re.sub(r"\{%(-?)\s*(?:end)?generation\s*(-?)%\}", r"{{\1 '' \2}}", self.chat_template or "")
        named = {"bos_token": self.bos_token, "eos_token": self.eos_token}
        return environment.from_string(source).render(messages=messages, **named, **more)

    def text(self, ids: Sequence[int]) -> str:
        """What the tokens stand for."""
        return "".join(self.special[one - SPECIAL] if one >= SPECIAL else chr(one) for one in ids)


def _refuse(message: str) -> None:
    raise jinja2.TemplateError(message)
