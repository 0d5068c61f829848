"""Prompt files a test can read at a glance, and a model that answers in turn."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from selfinstruct import prompts
from selfinstruct.prompts import Prompt
from selfinstruct.schema import Completion, Request


def prompt_file(folder: Path, head: str, completion: str, user: str, demos: Sequence[Any] = ()) -> Prompt:
    """A prompt file of version 3, with its demos beside it."""
    blocks = f"{{% block completion %}}\n{completion}\n{{% endblock %}}\n{{% block user %}}\n{user}\n{{% endblock %}}\n"
    (folder / "own.md").write_text(f"+++\nversion = 3\n{head}\n+++\n{blocks}")
    if demos:
        (folder / "own.jsonl").write_text("".join(json.dumps(demo) + "\n" for demo in demos))
    return prompts.load(folder, "own")


class Answers:
    """A model that gives its answers in turn and keeps what it was asked."""

    def __init__(self, *texts: str) -> None:
        self.asked: list[Request] = []
        self._texts = list(texts)

    async def complete(self, request: Request) -> Completion:
        """The next answer, known by its number as call."""
        self.asked.append(request)
        return answer(self._texts[len(self.asked) - 1], call=f"call-{len(self.asked)}")

    async def aclose(self) -> None:
        """Nothing to let go of."""


def answer(text: str, finish_reason: str = "stop", call: str = "call-1") -> Completion:
    """A completion of the model "served"."""
    return Completion(text=text, finish_reason=finish_reason, model="served", call=call)
