"""Models that answer and a judge that rates, played by one server: what a rating must be is a function of the text.

So a test recomputes every rating from the response it stands beside, and a shift by one place cannot go unseen. These
are no opinions about anything, and no score of them means anything.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from random import Random
from typing import Any

from selfinstruct.feedback_schema import Aspect
from tests.pools_at_work import Voices, pool_file, remote

JUDGE = "judge"

_CRITERIA: dict[str, Aspect] = {
    "instruction following": "instruction_following",
    "honesty": "honesty",
    "truthfulness": "truthfulness",
    "helpfulness": "helpfulness",
    "遵循指令": "instruction_following",
    "诚实": "honesty",
    "真实": "truthfulness",
    "有用": "helpfulness",
}
_CRITERION = re.compile(r"^# (?:Criterion: |评分标准：)(.+)$", re.MULTILINE)
_TEXT = re.compile(r"^\[(\w{8}): text (\d+)\]\n(.*?)\n\[\1: end of text \2\]$", re.MULTILINE | re.DOTALL)
_TEXT_ZH = re.compile(r"^【(\w{8})：文本(\d+)】\n(.*?)\n【\1：文本\2结束】$", re.MULTILINE | re.DOTALL)
_ANSWER = re.compile(r"^\[(\w{8}): answer\]\n(.*?)\n\[\1: end of answer\]$", re.MULTILINE | re.DOTALL)
_ANSWER_ZH = re.compile(r"^【(\w{8})：回答】\n(.*?)\n【\1：回答结束】$", re.MULTILINE | re.DOTALL)


def rating_of(text: str, aspect: Aspect) -> int | None:
    """What the judge gives a text: 1 to 5, and in honesty sometimes N/A."""
    drawn = int.from_bytes(hashlib.sha256(f"{aspect}/{text}".encode()).digest()[:4], "big")
    return None if aspect == "honesty" and drawn % 7 == 0 else 1 + drawn % 5


def score_of(text: str) -> int:
    """The overall score that the judge gives a text, 1 to 10."""
    return 1 + int.from_bytes(hashlib.sha256(f"overall/{text}".encode()).digest()[:4], "big") % 10


def asked(body: dict[str, Any]) -> str:
    """All that a request says, as one text."""
    return str(body.get("prompt") or "\n".join(str(message["content"]) for message in body["messages"]))


def speak(body: dict[str, Any], rng: Random) -> tuple[str, str]:
    """An answer of the model that is asked: the judge's in the form it is asked for, another's with its name in it."""
    if body["model"] != JUDGE:
        mark = rng.getrandbits(24)
        return f"I am {body['model']}, and this is answer {mark:x}.\n\n" + "It goes on. " * rng.randint(0, 6), "stop"
    return judged(body), "stop"


def judged(body: dict[str, Any]) -> str:
    """What the judge says, whole and readable; asked about its score once more, it says the same score."""
    prompt, as_json = asked(body), "response_format" in body
    criterion = _CRITERION.search(prompt)
    if criterion is None:
        said = _ANSWER.search(prompt) or _ANSWER_ZH.search(prompt)
        assert said is not None, prompt
        chinese = "评阅一份回答" in prompt
        score = score_of(said[2])
        feedback = "答非所问的地方要改。" if chinese else "Say what you mean, and say it once."
        if as_json:
            return json.dumps({"feedback": feedback, "overall_score": score}, ensure_ascii=False)
        return f"反馈：{feedback}\n总分：{score}" if chinese else f"Feedback: {feedback}\n\nOverall Score: {score}"
    aspect = _CRITERIA[criterion[1].strip()]
    texts = [match[3] for match in (*_TEXT.finditer(prompt), *_TEXT_ZH.finditer(prompt))]
    chinese = "# 评分标准" in prompt
    values = [(number, rating_of(text, aspect)) for number, text in enumerate(texts, 1)]
    if as_json:
        return json.dumps({"texts": [_row(number, rating, aspect) for number, rating in values]})
    return "\n\n".join(_section(number, rating, aspect, chinese=chinese) for number, rating in values)


def judge_pool(server: Voices, path: Path, names: tuple[str, ...]) -> Path:
    """A pool of these models, all of that server."""
    return pool_file(path, *(remote(server, name) for name in names))


def _typed(aspect: Aspect) -> bool:
    return aspect in ("truthfulness", "helpfulness")


def _row(number: int, rating: int | None, aspect: Aspect) -> dict[str, Any]:
    types = {"type": [1], "type_rationale": "the first of them"} if _typed(aspect) else {}
    return {"text": number, **types, "rating": rating or "N/A", "rationale": "by the rule"}


def _section(number: int, rating: int | None, aspect: Aspect, *, chinese: bool) -> str:
    value = rating or "N/A"
    if chinese:
        types = "类型：1\n理由：第一种\n" if _typed(aspect) else ""
        return f"#### 文本{number}的输出\n{types}评分：{value}\n理由：按规则评的"
    types = "Type: 1\nRationale: the first of them\n" if _typed(aspect) else ""
    return f"#### Output for Text {number}\n{types}Rating: {value}\nRationale: by the rule"
