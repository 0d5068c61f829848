"""A server of this machine that plays both sides of dialogues, in English and Chinese, and writes lists of openers.

What it says is a function of the request's body, and shaped like what chat models say: questions that rest on a word,
answers of several sentences. Whose turn it is it tells as a model does, by the instruction behind the history. A
dialogue whose opener is named goes wrong as it is told to. Speaks ``/v1/chat/completions`` and ``/v1/completions``.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any, Final, NamedTuple

import orjson
from aiohttp import web

from tests.faults.answer_server import Counts, Fault, Latency, body_hash
from tests.serving import Api


class Misdeed(NamedTuple):
    """What goes wrong: in which turn of the dialogue (1 is the first answer, 2 what the user says to it), and how.

    ``often`` is the share of the askings in which it does: a turn that is asked for again may be good.
    """

    turn: int
    kind: str
    often: float = 1.0


class Said(NamedTuple):
    """An answer: its text, why it stopped, and, for none, the status and message of the error in its place."""

    text: str
    finish: str = "stop"
    status: int = 200


class Wanted(NamedTuple):
    """What a body asks for: ``kind`` is user, assistant, list or expand; ``said`` are the turns so far."""

    kind: str
    lang: str
    said: Sequence[str] = ()
    many: int = 0


_CUES: Final = {"en": "Switch sides now:", "zh": "现在换个位置"}
_LIST: Final = re.compile(r'numbered from "1\." to "(\d+)\."|“1\.”到“(\d+)\.”')
_EXPAND: Final = {"en": "Rewrite this request", "zh": "请替他重新写一遍"}
_LABELS: Final = re.compile(r"^(User: |Assistant: |用户：|助手：)", re.MULTILINE)
_HAN: Final = re.compile(r"[\u4e00-\u9fff]")
_PIECE: Final = re.compile(r"[\u4e00-\u9fff，。？！：、]|[^\W\u4e00-\u9fff]+|[^\w\s]")

_NOUNS: Final = {
    "en": (
        "lighthouse tide kiln ferry orchard glacier lantern canal harvest bridge copper violin market desert compass"
        " printing-press railway monsoon granary cathedral beehive telescope vineyard harbour loom windmill meadow"
        " aqueduct caravan chimney foundry greenhouse island jetty kitchen library marble nursery observatory pasture"
        " quarry reservoir saddle tannery umbrella valley workshop barley cellar dune estuary forge gallery hedge ink"
    ).split(),
    "zh": (
        "灯塔 潮汐 砖窑 渡船 果园 冰川 灯笼 运河 秋收 石桥 铜矿 提琴 集市 沙漠 罗盘 印刷 铁路 季风 粮仓 教堂 蜂箱"
        " 望远镜 葡萄园 港口 织机 风车 草甸 水渠 商队 烟囱 铸造 温室 海岛 码头 厨房 书院 大理石 苗圃 天文台 牧场"
    ).split(),
}
_QUESTIONS: Final = {
    "en": (
        "Why did the {0} matter more than the {1} back then?",
        "How long does a {0} last if nobody looks after the {1}?",
        "what happens to the {0} when the {1} is gone",
        "Is a {0} near the {1} worth the money, or should I look at the {2} first?",
        "Could you give me an example of a {0} that had to be moved because of a {1}?",
        "And who paid for the {0}, the owner of the {1} or the town?",
        "Which came first, the {0} or the {1}?",
        "I don't quite get the part about the {0}. What has it to do with the {1}?",
        "Compare the {0} with the {1} in two or three sentences.",
        "Suppose the {0} fails in winter. What would people do about the {1}?",
    ),
    "zh": (
        "为什么当时{0}比{1}更要紧？",
        "要是没人照看{1}，{0}能用多久？",
        "{1}没了以后，{0}会怎么样",
        "{1}旁边的{0}值得花这个钱吗，还是先看看{2}？",
        "能举个例子吗，有没有因为{1}而不得不搬走的{0}？",
        "那{0}的钱是谁出的，{1}的主人还是镇上？",
        "先有{0}还是先有{1}？",
        "关于{0}的那一段我没太明白，它跟{1}有什么关系？",
        "请用两三句话比较一下{0}和{1}。",
        "假如冬天{0}坏了，{1}那边该怎么办？",
    ),
}
_STATEMENTS: Final = {
    "en": (
        "The {0} was built close to the {1}, because carrying water by hand took half of every working day.",
        "Most people think of the {0} first, but the {1} decided how much could be stored before the frost.",
        "In the north the {0} is older by about {3} years, and the {1} followed as soon as iron became cheap.",
        "A typical {0} needs {3} hours of work each month, a good deal less than a {1} of the same size.",
        "Records from the {0} show that prices rose by {3} percent whenever the {1} stood still.",
        "This is also the reason why every {0} has a door that faces the {1}.",
        "Where the {0} is missing, a {1} can take its place for a season or two, though at a higher cost.",
    ),
    "zh": (
        "{0}建在{1}附近，因为那时候人工挑水要占去每天一半的工夫。",
        "多数人先想到的是{0}，可是霜冻之前能存下多少，其实由{1}决定。",
        "北方的{0}要早{3}年左右，铁便宜下来之后，{1}也就跟着有了。",
        "一座普通的{0}每个月要花{3}个小时打理，比同样大小的{1}少得多。",
        "从{0}留下的账本看，只要{1}停下来，价钱就会涨百分之{3}。",
        "这也是每一处{0}的门都朝着{1}开的原因。",
        "没有{0}的地方，用{1}顶替一两季也行，只是花费高一些。",
    ),
}
_ASKED: Final = {
    "en": "Tell me how {0}, {1} and {2} go together with {3}, {4} and {5}.",
    "zh": "{0}、{1}和{2}，跟{3}、{4}还有{5}，到底是怎么配合起来的？",
}
_TOPICS: Final = {"en": "{0} and {1} by the {2}", "zh": "{0}、{1}与{2}"}

_MISSAID: Final[Mapping[str, Mapping[str, Said]]] = {
    "en": {
        "goodbye": Said("Thank you so much for all your help! I really appreciate it. Have a great day, goodbye!"),
        "swap": Said("I'm glad to hear that! Is there anything else I can help you with today?"),
        "foreign": Said("那么这座灯塔后来是怎么保存下来的，今天还能上去看看吗？"),
        "nothing": Said(""),
        "answers": Said(
            "Certainly! Here are the main reasons why the lighthouse was moved: the cliff had become unsafe, the new"
            " harbour lay further north, and the keeper's house was too damp. I hope this helps!"
        ),
        "declines": Said("I'm sorry, but as an AI language model I cannot pretend to be the user."),
        "feelings": Said(
            "As an AI language model, I don't have feelings, but the lighthouse is a century older than that."
        ),
        "refuses": Said("I'm sorry, but I can't help with that."),
        "cut": Said("The lighthouse was built close to the harbour, because carrying", "length"),
        "filtered": Said("", "content_filter"),
        "script": Said("The tower is older by a century.\n\nUser: And who paid for it?\n\nAssistant: The town did."),
    },
    "zh": {
        "goodbye": Said("太感谢您的帮助了，这些内容对我很有用！祝您生活愉快，再见！"),
        "swap": Said("很高兴听您这么说！请问还有什么可以帮您的吗？"),
        "foreign": Said("So how was this lighthouse kept up afterwards, and can people still climb it today?"),
        "nothing": Said(""),
        "answers": Said(
            "好的，以下是灯塔搬迁的主要原因：悬崖已经不安全，新的港口在更北边，守塔人的屋子也太潮湿。希望对您有帮助！"
        ),
        "declines": Said("很抱歉，作为一个人工智能语言模型，我无法扮演用户。"),
        "feelings": Said("作为一个人工智能语言模型，我没有个人感受，不过灯塔确实比它早了一百年，账本上也是这么写的。"),
        "refuses": Said("很抱歉，我无法帮助您完成这个请求。"),
        "cut": Said("灯塔建在港口附近，因为那时候人工", "length"),
        "filtered": Said("", "content_filter"),
        "script": Said("塔要早一百年。\n\n用户：那钱是谁出的？\n\n助手：镇上出的。"),
    },
}
_REFUSED: Final = {
    "refused": "The request was rejected as a result of our safety system.",
    "context": "This model's maximum context length is 4096 tokens. Please reduce the length of the messages.",
}


class DialogueServer(Api):
    """Starts on ``with``, stops at its end. ``url`` is a base URL; ``asked`` counts each body by its sha256.

    ``misdeeds`` go by opener. A request with another key than ``key`` is refused, where there is one. ``used`` sums up
    the tokens in and out that this server has counted, by model; ``kinds`` what it was asked for.
    """

    def __init__(
        self,
        misdeeds: Mapping[str, Misdeed] | None = None,
        *,
        latency: Latency = lambda rng: 0.0,
        fault: Fault = lambda path, number: None,
        key: str = "",
    ) -> None:
        super().__init__()
        self.asked: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self.keys: Counter[str] = Counter()
        self.models: Counter[str] = Counter()
        self.used: Counter[tuple[str, str]] = Counter()
        self.bodies: list[dict[str, Any]] = []
        self.in_flight = 0
        self.fault = fault
        self._misdeeds, self._latency, self._key = misdeeds or {}, latency, key

    @property
    def counts(self) -> Counts:
        """The account so far."""
        return Counts(self.asked.total(), len(self.asked), max(self.asked.values(), default=0))

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        sent = await request.read()
        if request.method != "POST":
            return web.json_response({"data": [{"id": "played"}]})
        before, key = self.asked.total(), request.headers.get("Authorization", "").removeprefix("Bearer ")
        self.asked[body_hash(sent)] += 1
        self.keys[key] += 1
        if self._key and key != self._key:
            return web.json_response({"error": {"message": "who are you?"}}, status=401)
        if fault := self.fault(request.path, before):
            return web.Response(status=fault[0], body=fault[1], content_type="application/json")
        body = orjson.loads(sent)
        asked = wanted(body)
        # By what was said, not by how a prompt is worded: figures of a test are not to change with a comma.
        told = f"{asked.kind} {asked.said} {body.get('seed')}"
        rng = Random(told if asked.said else body_hash(sent))
        self.models[body["model"]] += 1
        self.bodies.append(body)
        self.in_flight += 1
        try:
            await asyncio.sleep(self._latency(rng))
        finally:
            self.in_flight -= 1
        said = self._said(asked, rng)
        if said.status != 200:
            problem = {"message": said.text, "type": "invalid_request_error", "code": None}
            return web.json_response({"error": problem}, status=said.status)
        return web.json_response(self._answer(body, said))

    def _said(self, asked: Wanted, rng: Random) -> Said:
        self.kinds[asked.kind] += 1
        if asked.kind == "list":
            return Said("\n".join(f"{n}. {_item(asked, rng)}" for n in range(1, asked.many + 1)))
        if asked.kind == "expand":
            return Said(f"{_line(_QUESTIONS, asked.lang, rng)} {_line(_QUESTIONS, asked.lang, rng)}")
        misdeed = self._misdeeds.get(asked.said[0])
        if misdeed and misdeed.turn == len(asked.said) and rng.random() < misdeed.often:
            return _missaid(asked, misdeed.kind)
        if asked.kind == "user":
            return Said(_line(_QUESTIONS, asked.lang, rng))
        sentences = min(14, 1 + round(rng.lognormvariate(1.4, 0.5)))
        gap = " " if asked.lang == "en" else ""
        return Said(gap.join(_line(_STATEMENTS, asked.lang, rng) for _ in range(sentences)))

    def _answer(self, body: Mapping[str, Any], said: Said) -> dict[str, Any]:
        shown = [message["content"] for message in body["messages"]] if "messages" in body else [body["prompt"]]
        usage = {
            "prompt_tokens": sum(map(tokens, shown)) + 4 * len(shown) + 3,
            "completion_tokens": tokens(said.text),
        }
        for name, count in usage.items():
            self.used[body["model"], name] += count
        told = {"message": {"role": "assistant", "content": said.text}} if "messages" in body else {"text": said.text}
        choice = {"index": 0, **told, "finish_reason": said.finish}
        return {"object": "chat.completion", "model": body["model"], "choices": [choice], "usage": usage}


def openers(lang: str, many: int, seed: str = "openers") -> list[str]:
    """So many questions that dialogues may begin with, all different."""
    rng, found = Random(f"{seed}/{lang}"), dict[str, None]()
    while len(found) < many:
        found[_line(_QUESTIONS, lang, rng)] = None
    return list(found)


def wanted(body: Mapping[str, Any]) -> Wanted:
    """What a body asks for."""
    if "prompt" in body:
        return _continued(str(body["prompt"]))
    messages = [message for message in body["messages"] if message["role"] != "system"]
    last = messages[-1]["content"]
    is_told = body["messages"][0]["role"] == "system"
    lang = "zh" if _HAN.search(body["messages"][0]["content"] if is_told else last) else "en"
    said = [message["content"] for message in messages]
    if last.startswith(_CUES[lang]):
        assert [message["role"] for message in messages] == ["user", "assistant"] * (len(said) // 2) + ["user"]
        return Wanted("user", lang, said[:-1])
    if is_told:
        return Wanted("assistant", lang, said)
    if many := _LIST.search(last):
        return Wanted("list", lang, said, int(next(filter(None, many.groups()))))
    assert _EXPAND[lang] in last, f"what would a model answer to {last!r}?"
    return Wanted("expand", lang, said)


def tokens(text: str) -> int:
    """Tokens of a text, more or less as a tokenizer counts them: by words and signs, not by bytes."""
    han = len(_HAN.findall(text))
    return round(0.9 * han + 1.2 * (len(_PIECE.findall(text)) - han))


def _continued(prompt: str) -> Wanted:
    """What a transcript, or the beginning of a list, goes on with."""
    lang = "zh" if _HAN.search(prompt) else "en"
    end = prompt.rstrip().rpartition("\n")[2]
    parts = _LABELS.split(prompt)
    said = [text.strip() for text in parts[2::2]]
    if end in ("Assistant:", "助手："):
        return Wanted("assistant", lang, said)
    if end in ("User:", "用户："):
        said[-1] = re.split(r"^[\[【]", said[-1], maxsplit=1, flags=re.MULTILINE)[0].strip()
        return Wanted("user", lang, said)
    raise AssertionError(f"a prompt that ends with {end!r}: what would a model continue it with?")


def _missaid(asked: Wanted, kind: str) -> Said:
    if kind == "again":
        return Said(asked.said[-2])
    if kind in _REFUSED:
        return Said(_REFUSED[kind], status=400)
    return _MISSAID[asked.lang].get(kind) or Said(kind)


def _item(asked: Wanted, rng: Random) -> str:
    is_topic = re.search("Divide this topic|把这个主题拆成", asked.said[-1])
    nouns = [noun.replace("-", " ") for noun in rng.sample(_NOUNS[asked.lang], 6)]
    return (_TOPICS if is_topic else _ASKED)[asked.lang].format(*nouns)


def _line(lines: Mapping[str, Sequence[str]], lang: str, rng: Random) -> str:
    nouns = [noun.replace("-", " ") for noun in rng.sample(_NOUNS[lang], 3)]
    return rng.choice(lines[lang]).format(*nouns, rng.randint(3, 90))
