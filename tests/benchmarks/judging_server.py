"""A server that is seventeen models and their judge: each answer is a function of the request, and comes at once.

python -m tests.benchmarks.judging_server ASKED     prints its port, serves until its stdin closes
GET /stats, GET /mark    as tests/benchmarks/lean_server.py answers them

Into the file ASKED it writes `mark_of` each body as it comes. A text is as good as its bytes have it, from 2 to 4: the
judge rates it so, an aspect up or down by one, and its overall score is twice that, so that the two never disagree.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
import sys
import zlib
from typing import Any, BinaryIO

import orjson

from tests.benchmarks.lean_server import HEAD, Answering, State
from tests.benchmarks.talking_server import SAYS, SENTENCES, WORDS

JUDGE = "judge"
MARK = 8
"""Bytes of a `mark_of`."""

_CRITERION = re.compile(r"# (?:Criterion: |评分标准：)(.+)")
_TEXT = re.compile(r"^[\[【]\w{8}(?:: text |：文本)\d.\n(.+?)\n[\[【]\w{8}(?:: end of text |：文本\d结束)", re.M | re.S)
_ANSWER = re.compile(r"^[\[【]\w{8}(?:: answer|：回答).\n(.+?)\n[\[【]\w{8}(?:: end of |：回答结束)", re.M | re.S)
_TYPED = frozenset({"truthfulness", "helpfulness", "真实", "有用"})
_REASON = {
    "en": "It answers what was asked and gives its reasons, but the second of them does not follow from the first.",
    "zh": "它回答了问题，也说明了理由，但第二个理由并不能由第一个推出来。",
}
_LABELS = {
    "en": ("#### Output for Text {}", "Type: 1", "Rationale: {}", "Rating: {}", "Feedback: {}", "Overall Score: {}"),
    "zh": ("#### 文本{}的输出", "类型：1", "理由：{}", "评分：{}", "反馈：{}", "总分：{}"),
}


def mark_of(body: bytes) -> bytes:
    """What a body is known again by."""
    return hashlib.blake2b(body, digest_size=MARK).digest()


class Judging(Answering):
    """Answers each request at once, by what was asked, and notes it."""

    def __init__(self, state: State, asked: BinaryIO) -> None:
        super().__init__(state)
        self.asked = asked

    def reply(self, sent: bytes) -> bytes:
        """What the model that is asked would say."""
        self.asked.write(mark_of(sent))
        body = orjson.loads(sent)
        text = verdict(body) if body["model"] == JUDGE else answer(body, sent)
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        usage = {"prompt_tokens": len(sent) // 4, "completion_tokens": len(text) // 4 + 1}
        reply = {"id": "c", "object": "chat.completion", "model": body["model"], "choices": [choice], "usage": usage}
        written = orjson.dumps(reply)
        return HEAD % len(written) + written


def answer(body: dict[str, Any], sent: bytes) -> str:
    """Of a model of the pool: about 150 tokens, never the same twice."""
    lang, rng = _lang(body["messages"][-1]["content"]), random.Random(zlib.crc32(sent))
    return " ".join(SAYS[lang].format(*rng.choices(WORDS[lang], k=4)) for _ in range(SENTENCES))


def verdict(body: dict[str, Any]) -> str:
    """Of the judge, in the form it is asked for: ratings of all texts in one aspect, or a critique and a score."""
    prompt: str = body["messages"][-1]["content"]
    lang = _lang(prompt)
    head, types, reason, rating, feedback, score = _LABELS[lang]
    why, criterion = _REASON[lang], _CRITERION.match(prompt)
    if criterion is None:
        said = _ANSWER.search(prompt)
        assert said is not None, prompt
        return f"{feedback.format(' '.join([why] * 4))}\n\n{score.format(2 * _worth(said[1]))}"
    typed = f"{types}\n{reason.format(why)}\n" if criterion[1] in _TYPED else ""
    swing = zlib.crc32(criterion[1].encode())
    sections = []
    for number, text in enumerate(_TEXT.findall(prompt), 1):
        value = _worth(text) + (swing + len(text)) % 3 - 1
        sections.append(f"{head.format(number)}\n{typed}{rating.format(value)}\n{reason.format(why)}")
    return "\n\n".join(sections)


def _worth(text: str) -> int:
    return 2 + zlib.crc32(text.encode()) % 3


def _lang(text: str) -> str:
    return "zh" if "。" in text or "？" in text else "en"


async def serve(asked: str) -> None:
    """Until stdin closes."""
    loop = asyncio.get_running_loop()
    state = State(0.0, 0.0)
    with open(asked, "ab", buffering=0) as file:  # each is there before it is answered
        server = await loop.create_server(lambda: Judging(state, file), "127.0.0.1", 0, backlog=4096)
        print(server.sockets[0].getsockname()[1], flush=True)
        await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    import uvloop

    uvloop.run(serve(sys.argv[1]))
