"""What an error answer of an OpenAI-compatible server means: a status and a body become one of our exceptions.

Read in this order; what matters is whether the request may have been executed, and so billed:

    402; 400, 403, 429 that speak of quota or credit   `AccessDenied`     a person has to pay
    401; 403 unless it is about the content            `AccessDenied`     no key, wrong key
    any about a chat template that is missing          `ConfigProblem`    the model answers no messages
    400, 404 about the model                           `UnknownModel`
    404, 405, 407, 410, every 3xx                      `ConfigProblem`    the base URL (or a proxy) is wrong
    409, 425, 429, 503, 529                            `Rejected`         surely not executed
    408, every other 5xx (500, 502, 504, 52x)          `MaybeExecuted`    a gateway cannot know
    400, 422 about a body field we sent                `ConfigProblem`    with the recipe line that cures it
    every other 4xx, 500 about the context's size      `RequestRefused`   a verdict on this very request

An error object inside a 200 is read by the status it names; one that names none is an `UnusableResponse`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import orjson

from selfinstruct.errors import (
    AccessDenied,
    ConfigProblem,
    MaybeExecuted,
    Rejected,
    RequestRefused,
    SelfinstructError,
    UnknownModel,
    UnusableResponse,
)

NOT_EXECUTED = frozenset({409, 425, 429, 503, 529})

# Not "billing" or "exceeded your current quota" alone: servers say that of a per-minute limit, too.
_QUOTA = re.compile(
    r"insufficient[_ ](quota|balance|funds|credit)|billing_(hard_limit|not_active)|billing hard limit|credit balance|"
    r"exceeded_current_quota_error|balance is insufficient|overdue|arrearage|in good standing|free_?tier_?only|"
    r"余额不足|欠费",
    re.I,
)
# Alibaba Cloud says "insufficient_quota" of its tokens per minute; of money it speaks with 400 and 403.
_ONLY_A_PACE = re.compile(r"https?://[^/]*\.aliyuncs\.com(:\d+)?/")
_CONTENT = re.compile(r"content[_ ](policy|filter|management)|moderation|flagged|data_?inspection_?failed", re.I)
_NO_MODEL = re.compile(
    r"model_not_found|model\b.{0,120}\b(does not exist|not exist|not found)|not found the model|unknown model|"
    r"not a valid model|模型不存在",
    re.I | re.S,
)
# vLLM; transformers, and whoever serves with it (SGLang, oMLX); TGI; OpenAI, of a model to be continued; Ollama.
_NO_TEMPLATE = re.compile(
    r"chat[_ ]template is no longer allowed|tokenizer\.chat_template is not set|must provide a chat[_ ]template|"
    r"(\bno|not have a|without a) chat[_ ]template\b|template error: template not found|not a chat model|"
    r"does not support chat\b(?! template)",
    re.I,
)
# The second line: vLLM; TGI; Alibaba Cloud; Moonshot; Volcengine; Gemini.
_CONTEXT = re.compile(
    r"context[_ ](length|size|window)|too many tokens|reduce the length|prompt is too long|got -\d|超长|"
    r"maximum model length|`?inputs`? tokens \+|range of input length|model token limit|max message tokens|"
    r"input token count",
    re.I,
)
_OVERFLOW = re.compile(r"context[_ ](length|size|window)", re.I)  # said by older llama.cpp with a 500
_UNSUPPORTED = re.compile(
    r"unsupported|(not|n't) (be )?support|unrecogni[sz]ed|unknown|not permitted|extra_forbidden|unexpected|not allowed|"
    r"unavailable|不支持",
    re.I,
)
# How a sentence says of a field, which stands for %s, that its value is wrong; `re.ASCII`, as Chinese has no spaces.
_WRONG_VALUE = (
    r"(range of|invalid|parameter|参数)[ .:'\"`]{0,3}%s\b|"
    r"(?<![\w-])%s['\"`]?(参数|[ :]{1,2}(must|should|has to|is (out|too|in)|最))"
)
# 400s that need another cure than to leave out the field they name, if they name one.
_CURES = (
    (
        re.compile(r"enable_thinking.{0,60}(stream|流式)", re.I | re.S),
        "write extra_body = {enable_thinking = false} under [model] in the recipe, or choose another model",
    ),
    (
        re.compile(r"only supports? stream", re.I),
        "this model answers by streaming only, which is not supported here: choose another",
    ),
    (
        re.compile(r"always (engages in thinking|thinks)|始终思考", re.I),
        'this model always thinks: under [model] in the recipe write extra_body = {reasoning_effort = "low"},'
        " without thinking or enable_thinking",
    ),
    (
        re.compile(r"response_format\b.{0,80}(unavailable|n[o']t support|unsupported)|contain the word 'json'", re.I),
        'write json_mode = "json_object", or "none", under [model] in the recipe',
    ),
    (
        re.compile(r"调用参数有误|invalid api parameter", re.I),
        'it does not say which: write omit = ["…"] under [model] in the recipe for what this server does not know',
    ),
)
# An error object inside a 200 often has no number: its type or code says what it is.
_STATUS_BY_NAME = (
    (429, re.compile(r"rate_?limit|too_?many_?requests|insufficient_quota", re.I)),
    (503, re.compile(r"overloaded|unavailable", re.I)),
    (401, re.compile(r"authentication|invalid_api_key", re.I)),
    (404, re.compile(r"model_not_found", re.I)),
    (400, re.compile(r"invalid_request|context|bad_?request|content_(policy|filter)", re.I)),
)
_AS_TEXT = (
    "this model takes no messages: ask it with --api completion, which sends plain text, or start its server with a"
    " chat template (vLLM: --chat-template FILE)"
)
_CONTENT_FIELDS = frozenset({"model", "messages", "prompt"})
_SAMPLING_FIELDS = frozenset({"temperature", "top_p", "presence_penalty", "frequency_penalty"})
_OTHER_TOKEN_FIELD = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}


def one_line(text: str | bytes, limit: int = 300) -> str:
    """Foreign text made safe to print: one line, no control, format or surrogate characters, at most ``limit`` long."""
    if isinstance(text, bytes):
        text = text[: 4 * limit].decode("utf-8", "replace")
    seen = "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in text[: 4 * limit])
    line = " ".join(seen.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def first_line(error: BaseException, limit: int = 300) -> str:
    """The first line of a foreign error's text, as `one_line`."""
    return one_line(str(error).strip().partition("\n")[0], limit) or "no reason given"


def shown(value: object, limit: int = 300) -> str:
    """A parsed JSON value as `one_line`."""
    try:
        return one_line(value if isinstance(value, str) else orjson.dumps(value), limit)
    except TypeError:  # orjson reads deeper nesting than it writes
        return "(nested too deep to show)"


def fault(
    status: int,
    answer: bytes | dict[str, Any],
    *,
    where: str = "the model",
    fields: Collection[str] = (),
    retry_after: float | None = None,
    key: str = "OPENAI_API_KEY",
) -> SelfinstructError:
    """The exception an error answer, as bytes or parsed, stands for; see the table above.

    ``where`` is what the message calls the server, ``fields`` the keys of the body that was sent, ``retry_after`` the
    server's own wish in seconds, ``key`` the variable that holds its key. ``answer`` must not hold the key itself: the
    message quotes it.
    """
    problem = _read(answer)
    status = problem.status if status < 300 and problem.status else status
    said = f"{where} answered {status}: {problem.message}" if status >= 300 else f"{where}: {problem.message}"
    by_the_minute = status == 429 and _ONLY_A_PACE.match(where)
    if status == 402 or (status in (400, 403, 429) and not by_the_minute and _QUOTA.search(problem.words)):
        return AccessDenied(f"the account's quota or credit is used up ({said}); top it up and run again")
    if status in (401, 403) and not _CONTENT.search(problem.words):
        return AccessDenied(f"{said}; is {key} set, right, and allowed to use this model?")
    if _NO_TEMPLATE.search(problem.words):
        return ConfigProblem(f"{said}; {_AS_TEXT}")
    if status in (400, 404) and _NO_MODEL.search(problem.words):
        return UnknownModel(said)
    if status in (404, 405, 407, 410) or 300 <= status < 400:
        return ConfigProblem(f"nothing to ask there ({said}); is --base-url right, and does it speak this API?")
    if status in NOT_EXECUTED:
        return Rejected(said, status=status, retry_after=retry_after)
    if status == 408 or (status >= 500 and not (status == 500 and _OVERFLOW.search(problem.words))):
        return MaybeExecuted(said, status=status, retry_after=retry_after)
    if status < 300:
        return UnusableResponse(said, status=status)
    fix = _fix(problem, fields) if status in (400, 422) else ""
    if _CONTEXT.search(problem.words):
        said += "; prompt and max_tokens together are too long for this model: lower max_tokens or the number of demos,"
        said += " or what a dialogue goes by (dialogue.user_context, dialogue.assistant_context)"
    return ConfigProblem(f"{said}; {fix}") if fix else RequestRefused(said, status=status)


@dataclass(frozen=True)
class _Problem:
    """What servers agree on in an error body. ``words`` is everything a pattern may look at."""

    message: str
    words: str
    param: str = ""
    status: int = 0


def _read(answer: bytes | dict[str, Any]) -> _Problem:
    data = _parsed(answer) if isinstance(answer, bytes) else answer
    if isinstance(data, list) and data:  # Gemini wraps its error object in a list
        data = data[0]
    error = (data.get("error") or data) if isinstance(data, dict) else data
    if not isinstance(error, dict):
        return _Problem(message=shown(error), words=shown(error))
    message = shown(error.get("message") or error.get("detail") or error)
    code, kind, param = (error.get(name) for name in ("code", "type", "param"))
    code, kind = (str(name) if isinstance(name, str | int | float) else "" for name in (code, kind))
    names = one_line(f"{code} {kind}")
    return _Problem(
        message=message,
        words=f"{names} {message}",
        param=param if isinstance(param, str) else "",
        status=_own_status(code, names),
    )


def _parsed(answer: bytes) -> Any:
    """The JSON of an error answer, or else its text without tags: gateways answer in HTML."""
    try:
        return orjson.loads(answer)
    except orjson.JSONDecodeError:
        return one_line(re.sub(rb"<[^>]{0,200}>", b" ", answer[:4000])) or "an empty body"


def _own_status(code: str, names: str) -> int:
    if re.fullmatch(r"[45][0-9][0-9]", code):
        return int(code)
    return next((status for status, pattern in _STATUS_BY_NAME if pattern.search(names)), 0)


def _fix(problem: _Problem, fields: Collection[str]) -> str:
    """The recipe line that cures a 400 about what we sent; empty when it is about the content."""
    if not fields or _CONTEXT.search(problem.words):
        return ""
    for pattern, cure in _CURES:
        if pattern.search(problem.words):
            return cure
    ours = [field for field in fields if field not in _CONTENT_FIELDS]
    if _UNSUPPORTED.search(problem.words):
        return _without(_named(problem, ours, r"(?<![\w-])%s(?![\w-])"))
    return _otherwise(_named(problem, ours, _WRONG_VALUE))


def _named(problem: _Problem, ours: list[str], pattern: str) -> str:
    """The field a 400 is about: the one it points to, else the first of ours that its message names like that."""
    if problem.param in ours:
        return problem.param
    said = (field for field in ours if re.search(pattern.replace("%s", re.escape(field)), problem.message, re.A | re.I))
    return next(said, "")


def _without(field: str) -> str:
    if field in _OTHER_TOKEN_FIELD:
        return f'write token_field = "{_OTHER_TOKEN_FIELD[field]}" under [model] in the recipe'
    if field and field not in _SAMPLING_FIELDS | {"stop", "seed", "response_format"}:  # put in, by hand or by a preset
        return f'take {field} out of extra_body under [model] in the recipe, or write omit = ["{field}"] there'
    return f'write omit = ["{field}"] under [model] in the recipe (or add it to the list there)' if field else ""


def _otherwise(field: str) -> str:
    cure = f"change {field} in the recipe" if field else ""
    return f'{cure}, or write omit = ["{field}"] under [model] there' if field in _SAMPLING_FIELDS else cure
