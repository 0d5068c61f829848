"""A server that talks like both sides of a dialogue: its answer is a function of the request, after a latency.

python -m tests.benchmarks.talking_server MEDIAN_SECONDS SIGMA LANG     prints its port, serves until its stdin closes
GET /stats, GET /mark    as tests/benchmarks/lean_server.py answers them
"""

from __future__ import annotations

import asyncio
import random
import sys
import zlib

import orjson

from tests.benchmarks.lean_server import HEAD, Answering, State

WORDS = {
    "en": (
        "harbour winter kettle market signal garden ladder copper orchard violin tunnel pepper ribbon lantern glacier"
        " pocket timber meadow saddle compass feather basket thunder velvet anchor cellar marble willow engine mirror"
    ).split(),
    "zh": (
        "港口 冬天 水壶 集市 信号 花园 梯子 铜器 果园 提琴 隧道 胡椒 丝带 灯笼 冰川 口袋 木材 草地 罗盘 羽毛 篮子 雷声"
    ).split(),
}
ASKS = {
    "en": "What would happen to the {} if the {} and the {} were exchanged in case {}?",
    "zh": "如果把{}换成{}，那么第{}种情况下的{}会怎么样？",
}
SAYS = {"en": "The {} rests on the {} because every {} has a {} behind it.", "zh": "{}要靠{}，因为每个{}后面都有{}。"}
SENTENCES = 12
"""Of an answer: about 150 tokens."""


class Talking(Answering):
    """Answers each request after its own latency, by what was asked."""

    def __init__(self, state: State, lang: str) -> None:
        super().__init__(state)
        self.lang = lang

    def reply(self, sent: bytes) -> bytes:
        """What the side that is asked would say."""
        answer = answer_to(sent, self.lang)
        return HEAD % len(answer) + answer


def answer_to(body: bytes, lang: str) -> bytes:
    """A question where the instruction to the user stands behind the history, else an answer; nothing comes twice."""
    messages = orjson.loads(body)["messages"]
    rng = random.Random(zlib.crc32(body))
    asked = len(messages) > 1 and messages[-1]["role"] == "user" and messages[0]["role"] == "user"
    if asked:
        text = ASKS[lang].format(*rng.sample(WORDS[lang], 3), rng.randrange(10**6))
    else:
        text = " ".join(SAYS[lang].format(*rng.sample(WORDS[lang], 4)) for _ in range(SENTENCES))
    sent = sum(len(message["content"]) for message in messages) // 4
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": sent, "completion_tokens": len(text) // 4 + 1}
    return orjson.dumps(
        {"id": "c", "object": "chat.completion", "model": "talking", "choices": [choice], "usage": usage}
    )


async def serve(median: float, sigma: float, lang: str) -> None:
    """Until stdin closes."""
    loop = asyncio.get_running_loop()
    state = State(median, sigma)
    server = await loop.create_server(lambda: Talking(state, lang), "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    import uvloop

    uvloop.run(serve(float(sys.argv[1]), float(sys.argv[2]), sys.argv[3]))
