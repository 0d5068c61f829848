"""The world in which the READMEs' commands run: one folder, a provider on this machine, vLLM and GPUs stood in for.

All answer with what the script behind ``--api fake`` says, so that every command gets on as it would with a model.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import orjson

from selfinstruct.ledger_reader import LedgerReader
from selfinstruct.models import conversion
from selfinstruct.models.fake import scripted_answer
from selfinstruct.schema import Draw, Message, Request
from tests import judges
from tests.command import CANARY, ROOT, Ended, invoke
from tests.models.loopback import Reply, chat, problem
from tests.stub_engine import STUB, model_folder

ENOUGH = 24
"""A round of the scripted model brings more, so every stage is gone through; larger targets are lowered to it."""

A_ROUND = 8
"""Of feedback, whose instructions are there already, a round is enough: each of them is asked about twelve times."""

COUNTS = ("-n", "--num-instructions")
RUN = "self-instruct-en-gpt-3.5-turbo"
"""What the README's RUN stands for: its first run, by the name that a run has by default."""

CONTEXT = 32768
"""Tokens that the stand-in's models take, as those they stand in for do."""


def fewer(count: str, enough: int = ENOUGH) -> str:
    """A target that a test can wait for."""
    return f"{'+' * count.startswith('+')}{min(int(count), enough)}"


# --- who answers ------------------------------------------------------------------------------------------------------


class Provider:
    """Answers as a provider would: with its models, with what the script says to a prompt, or that the key is wrong.

    Whoever is asked to judge does, and ``judged`` are models whose answers differ, as there is something to judge then.
    """

    refuses = False

    def __init__(self, models: Sequence[str], judged: Sequence[str] = ()) -> None:
        self._models = models
        self._judged = judged

    def __call__(self, path: str, body: Any, number: int) -> Reply:
        """The reply to one request."""
        if self.refuses:
            return 401, {}, problem("no such key")
        if body is None:
            return 200, {}, orjson.dumps({"object": "list", "data": [{"id": name} for name in self._models]})
        if body["model"] in self._judged:
            said, _ = judges.speak(body, Random(orjson.dumps(body)))
        else:
            said = judges.judged(body) if _is_to_judge(body) else scripted(body)
        reply = orjson.loads(chat(said))
        return 200, {}, orjson.dumps(reply | {"model": body["model"]})


def scripted(body: Mapping[str, Any]) -> str:
    """What the script says to a prompt or messages; it is told the stage by what it is shown."""
    messages = tuple(Message(role=one["role"], content=one["content"]) for one in body.get("messages", ()))
    shown = body.get("prompt") or "\n".join(message.content for message in messages)
    slot = int.from_bytes(hashlib.sha256(shown.encode()).digest()[:6], "big")
    said = scripted_answer(
        Request(
            draw=Draw(stage=stage_of(shown), round=0, slot=slot, step=int(_plays_the_user(shown))),
            prompt=body.get("prompt"),
            messages=messages or None,
            answer_schema={"type": "object"} if _ARRAY in shown else None,
            stop=tuple(body.get("stop") or ()),
        )
    )
    ends = [said.find(stop) for stop in body.get("stop") or () if stop in said]
    return said[: min(ends, default=len(said))]


def _is_to_judge(body: Mapping[str, Any]) -> bool:
    """Whether a request shows what a judge is to go by."""
    return (
        re.search("(?m)^# (Criterion: |评分标准：|Feedback on an answer|评阅一份回答)", judges.asked(dict(body)))
        is not None
    )


_ARRAY = '{"tasks": ['
_TAGS = {
    "classify": "<is_classification>",
    "instances": "<example 1>",
    "bootstrap": r"<task \d+>",
    "alpaca": rf"\d\. (?:Instruction:|指令：)|{re.escape(_ARRAY)}",
    "dialogue": "You are a helpful assistant|Switch sides now|你是一位|现在换",
    "openers": r'"1\." to "|“1\.”到“',
    "expand": "如果他多花点工夫|代笔|say in detail",
}


def _plays_the_user(shown: str) -> bool:
    """Told what to do behind the conversation."""
    return re.search("Switch sides now|现在换", shown) is not None


def stage_of(shown: str) -> str:
    """The stage that asks so, told by the tags of its prompt."""
    return next((stage for stage, tag in _TAGS.items() if re.search(tag, shown)), "complete")


# --- this machine -----------------------------------------------------------------------------------------------------

# The stand-in for vLLM, with the script in place of its own answers: a package that has all its modules but one name.
_SPEAKING = f"""
__version__, __path__ = "0.32.0", [{str(STUB / "vllm")!r}]
from vllm import server
from vllm.answers import Answer, count
from tests.readme_world import scripted
def answer(prompt, model, body, index, room):
    said = scripted(body)
    return Answer(said, count(said), "stop", None)
server.answer = answer
"""
_NVIDIA_SMI = """#!/bin/sh
for gpu in 0 1 2 3; do echo "$gpu, Example 80, 81920, 0"; done
"""


def machine(folder: Path) -> dict[str, str]:
    """A machine with four GPUs, a vLLM, Qwen3-8B in the Hub's cache and the embedded model converted: its variables.

    ``starts`` in the folder notes each start of a vLLM.
    """
    speaking, programs = folder / "speaking/vllm", folder / "programs"
    for path in (speaking, programs):
        path.mkdir(parents=True)
    (speaking / "__init__.py").write_text(_SPEAKING)
    (programs / "nvidia-smi").write_text(_NVIDIA_SMI)
    (programs / "nvidia-smi").chmod(0o755)
    model(folder / "hub/hub/models--Qwen--Qwen3-8B/snapshots/main", folder)
    _convert(folder / "cache/selfinstruct/models/smollm2-135m-instruct", folder)
    return {
        "PATH": os.pathsep.join([str(programs), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join([str(speaking.parent), str(ROOT)]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "SELFINSTRUCT_VLLM_PYTHON": sys.executable,
        "HF_HOME": str(folder / "hub"),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "XDG_STATE_HOME": str(folder / "state"),
    }


def model(path: Path, machine: Path) -> Path:
    """A model that the stand-in loads."""
    return model_folder(path, context=CONTEXT, starts=str(machine / "starts"))


def _convert(path: Path, machine: Path) -> None:
    """What `models convert` leaves behind, as far as anybody looks."""
    files = {file.name: file.stat().st_size for file in model(path, machine).iterdir()}
    (path / "tokenizer.json").touch()
    record = {"format": 1, "source_sha256": "0" * 64, "dtype": "bfloat16", "versions": {}}
    (path / conversion.RECORD).write_bytes(orjson.dumps(record | {"files": files | {"tokenizer.json": 0}}))
    assert conversion.is_whole(path)


def at_this_machine(pool: str, url: str) -> str:
    """A pool file's text, with every server of the user's and every preset of ours at ``url``, told apart by a path."""
    there = re.sub(r'"https://(\w+)\.example\.org/v1"', rf'"{url}/\1/v1"', pool)
    there = re.sub(r'(?m)^endpoint = "(\w+)"$', rf'\g<0>\nbase_url = "{url}/\1/v1"', there)
    assert "example.org" not in there
    return there


# --- who types --------------------------------------------------------------------------------------------------------


@dataclass
class Session:
    """A user who types the README's commands one after the other, in one folder, at a server of this machine."""

    url: str
    provider: Provider
    environment: dict[str, str]
    not_run: Mapping[str, str] = field(default_factory=dict)

    def enter(self, command: str) -> Ended | None:
        """Run a command, its placeholders filled; None for one of ``not_run``, and for an ``export``."""
        if named := re.fullmatch(r"export (\w+)=…", command):
            self.environment[named[1]] = f"{CANARY}-{named[1]}"
            return None
        if listed(self.not_run, command):
            return None
        program, *words = shlex.split(command)
        assert program == "selfinstruct", f"{command!r} is neither run nor listed in NOT_RUN"
        return invoke(*self._here(words), **self.environment)

    def _here(self, words: list[str]) -> list[str]:
        """The words of a command as they are entered here: placeholders filled, less wanted, at our server."""
        words = [RUN if word == "RUN" else self._unanswered() if word == "CALL" else word for word in words]
        if words[0] in ("generate", "dialogue", "feedback"):
            enough = A_ROUND if words[0] == "feedback" else ENOUGH
            words = [fewer(word, enough) if words[at - 1] in COUNTS else word for at, word in enumerate(words)]
        for whose in ("", "judge-"):
            if f"--{whose}base-url" in words:
                words[words.index(f"--{whose}base-url") + 1] = self.url
            if f"--{whose}endpoint" in words:
                words += [f"--{whose}base-url", self.url]
        return words

    def _unanswered(self) -> str:
        """A call without an answer: the run was extended, and the provider refused the key."""
        self.provider.refuses = True
        ended = invoke("generate", "--api", "chat", "-n", f"+{ENOUGH}", "-q", **self.environment)
        self.provider.refuses = False
        assert ended.code == 77, ended.err
        with closing(LedgerReader(Path("output", RUN, "ledger.sqlite3"))) as reader:
            return next(call.key for call in reader.calls() if call.state == "open")


def listed(names: Mapping[str, Any] | Sequence[str], command: str) -> str | None:
    """The first of the names that a command begins with, word by word."""
    return next((name for name in names if f"{command} ".startswith(f"{name} ")), None)
