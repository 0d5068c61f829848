"""The gate `wire.completion`: out of it comes a `Completion` or one of our errors that names its reason, nothing else.

``C`` is a chat answer, ``T`` a continued text; what stands for %b in them is what is wrong with them.
"""

from __future__ import annotations

import codecs
from collections import Counter
from random import Random
from typing import Any

import orjson
import pytest

from selfinstruct import wire
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
from tests.hostile_answers import OF_A_RESPONSE, mutated

C = b'{"choices":[{"message":%b,"finish_reason":"stop"}]}'
T = b'{"choices":[{"text":%b}]}'
U = b'{"choices":[{"text":"a","message":{"content":"a"}}],"usage":%b}'
M = b'{"choices":[{"message":{"content":"a"},"text":"a"}],"model":%b}'
GOOD = b'{"choices":[{"text":"a","message":{"content":"a"}}]}'
DEEP = b"[" * 900 + b"]" * 900  # within what the JSON library reads, beyond what it writes
DEEPER = b"[" * 1020 + b"]" * 1020  # beyond what Python's own repr can follow

Row = tuple[bytes, type[SelfinstructError], str]


def unusable(reason: str, *answers: bytes) -> list[Row]:
    """Rows that share their reason."""
    return [(answer, UnusableResponse, reason) for answer in answers]


def error(value: bytes, kind: type[SelfinstructError], reason: str) -> list[Row]:
    """An error object, at the top (also beside a good answer), and inside the choice."""
    bodies = (
        b'{"error":%b}' % value,
        b'{"error":%b,"choices":[{"text":"a"}]}' % value,
        b'{"choices":[{"error":%b}]}' % value,
    )
    return [(body, kind, reason) for body in bodies]


NOT_JSON: list[Row] = [
    *unusable("is empty", b"", b" ", b"\n\r\t \n"),
    *unusable("is not JSON: <!doctype html>", b"<!doctype html><title>Sign in</title>"),
    *unusable("is not JSON: <html>", b"<html><body>502 Bad Gateway</body></html>"),
    *unusable("is not JSON: Service Unavailable", b"Service Unavailable"),
    *unusable("is not JSON: data:", b'data: {"choices":[{"text":"a"}]}\n\ndata: [DONE]\n\n', b"data: [DONE]"),
    *unusable("is not JSON: :", b": keep-alive\n\n"),
    *unusable("is not JSON: event:", b"event: message\ndata: {}\n\n"),
    *unusable("is not JSON", GOOD + b"\n" + GOOD, GOOD + GOOD, GOOD + b"}", GOOD + b"\x00", GOOD + b" x", b"," + GOOD),
    *unusable("is not JSON", b"\x00" + GOOD, b"\x00" * 64, codecs.BOM_UTF8 + GOOD, b")]}'\n" + GOOD),
    *unusable("is not JSON", GOOD.replace(b'"', b"'"), GOOD[:-1] + b",}", b"// a\n" + GOOD, b"undefined", b"None"),
    *unusable("is not JSON", T % b'"a\nb"', T % b'"\x00"', T % b'"\\x41"', T % b'"\\ud8"', T % b'"\\u{41}"'),
    *unusable("is not UTF-8", b"\xff" + GOOD, T % b'"\xff"', T % b'"\xc0\xaf"', T % b'"\xe4\xbd"', T % b'"caf\xe9"'),
    *unusable("is not UTF-8", T % b'"\xf4\x90\x80\x80"', T % b'"\xed\xa0\x80"', T % b'"\xed\xb0\x80"', b"\x80" * 9),
    *unusable("is not UTF-8", GOOD.decode().encode("utf-16"), GOOD.decode().encode("utf-32"), b"\x1f\x8b\x08\x00"),
    *unusable("is not JSON", GOOD.decode().encode("utf-16-le"), GOOD.decode().encode("utf-16-be")),
    *unusable("half a surrogate pair", T % rb'"\ud800"', T % rb'"\uD800"', T % rb'"\udc00"', T % rb'"\uDFFFa"'),
    *unusable("half a surrogate pair", T % rb'"\ud800\ud800"', T % rb'"\udc00\ud800"', T % rb'"\ud800A"'),
    *unusable("half a surrogate pair", T % rb'"\ud83d \ude00"', T % rb'"\uDBFF\uE000"', T % rb'"a","\ud800":1'),
    *unusable(
        "half a surrogate pair", C % rb'{"content":"\ud800"}', M % rb'"\udfff"', b'{"error":{"message":"\\ud800"}}'
    ),
    *unusable("nested too deep", b"[" * 100_000, b'{"a":' * 100_000, b'[{"a":' * 50_000, b"[" * 1100 + b"]" * 1100),
    *unusable("nested too deep", T % (b"[" * 5000 + b"]" * 5000), U % (b'{"a":' * 5000 + b"1" + b"}" * 5000)),
]

CUT: list[Row] = unusable(
    "is not JSON",
    *(GOOD[:end] for end in (1, 2, 9, 10, 11, 12, 13, 19, 20, 22, 33, 45, len(GOOD) - 2, len(GOOD) - 1)),
    *(U[:-3] + usage for usage in (b"", b"{", b'{"prompt_tokens"', b'{"prompt_tokens":', b'{"prompt_tokens":1')),
    *(T[:19] + text for text in (b"t", b"tr", b"-", b"1.", b"1e", b'"\\', b'"\\u', b'"\\ud83d', b'"\\ud83d\\u')),
)

NO_ANSWER: list[Row] = [
    *unusable("is no JSON object", b"[]", b"[%b]" % GOOD, b'"a"', b"1", b"-0", b"true", b"null", DEEP, DEEPER),
    *unusable("has no choices", b"{}", b'{"choices":null}', b'{"choices":[]}', b'{"choices":{}}', b'{"choices":"a"}'),
    *unusable("has no choices", b'{"choices":1}', b'{"choices":[null]}', b'{"choices":["a"]}', b'{"choices":[[]]}'),
    *unusable("has no choices", b'{"choices":{"0":{"text":"a"}}}', b'{"Choices":[{"text":"a"}]}', b'{"message":"hi"}'),
    *unusable("has no choices", b'{"object":"error","code":404,"message":"x"}', b'{"detail":"Not Found"}'),
    *unusable("has no choices", b'{"choices":[{"text":"a"}],"choices":[]}', b'{"choices":%b}' % DEEP),
]

NO_TEXT: list[Row] = [
    *unusable("has no text", b'{"choices":[{}]}', T % b"null", T % b"1", T % b"true", T % b'["a"]', T % b'{"a":1}'),
    *unusable("has no text", C % b'{"content":"a"}', b'{"choices":[{"delta":{"content":"a"}}]}', T % DEEP, T % DEEPER),
    *unusable("has no text", b'{"choices":[{"text":"a","text":null}]}'),
]

NO_MESSAGE: list[Row] = [
    *unusable("has no message", b'{"choices":[{}]}', C % b"null", C % b'"a"', C % b"1", C % b"[]", C % b"{}", C % DEEP),
    *unusable(
        "has no message", C % b'[{"content":"a"}]', C % b'{"role":"assistant"}', C % b'{"reasoning":"a"}', T % b'"a"'
    ),
    *unusable("has no message", b'{"choices":[{"delta":{"content":"a"}}]}', C % b'{"Content":"a"}'),
    *unusable("content is no text", C % b'{"content":1}', C % b'{"content":true}', C % b'{"content":{"text":"a"}}'),
    *unusable("content is no text", C % b'{"content":-0.5}', C % b'{"content":"a","content":0}'),
]

BAD_USAGE: list[Row] = [
    *unusable("is not JSON", *(U % b'{"prompt_tokens":%b}' % n for n in (b"NaN", b"Infinity", b"-Infinity", b"nan"))),
    *unusable("is not JSON", *(U % b'{"prompt_tokens":%b}' % n for n in (b"1e309", b"-1e309", b"01", b"+1", b"0x1"))),
    *unusable("is no token count: -1", U % b'{"prompt_tokens":-1}', U % b'{"completion_tokens":-1}', U % b"-1"),
    *unusable("is no token count: true", U % b'{"prompt_tokens":true}', U % b"true"),
    *unusable("is no token count: false", U % b'{"completion_tokens":false}'),
    *unusable("is no token count: 5", U % b'{"prompt_tokens":"5"}', U % b'{"prompt_tokens":5.0}', U % b'"5"'),
    *unusable("is no token count: 2147483648", U % b'{"prompt_tokens":2147483648}'),
    *unusable("is no token count: -9223372036854775808", U % b'{"prompt_tokens":-9223372036854775808}'),
    *unusable("is no token count: 1.84", U % b'{"prompt_tokens":18446744073709551616}'),
    *unusable("is no token count: 1e+40", U % (b'{"completion_tokens":%b}' % (b"9" * 40))),
    *unusable("is no token count: 1e+308", U % b'{"completion_tokens":1e308}'),
    *unusable("is no token count: []", U % b"[]", U % b'{"prompt_tokens":[]}'),
    *unusable("is no token count: {}", U % b'{"prompt_tokens":{}}'),
    *unusable("is no token count: many", U % b'{"completion_tokens":"many"}'),
    *unusable("is no token count: -1", U % b'{"prompt_tokens":7,"prompt_tokens":-1}'),
    *unusable("nested too deep to show", U % (b'{"prompt_tokens":%b}' % DEEP)),
]

ERRORS: list[Row] = [
    *error(b'{"code":429,"message":"slow down"}', Rejected, "answered 429: slow down"),
    *error(b'{"code":"429"}', Rejected, "answered 429"),
    *error(b'{"code":"rate_limit_exceeded","message":"slow"}', Rejected, "answered 429: slow"),
    *error(b'{"type":"overloaded_error"}', Rejected, "answered 503"),
    *error(b'{"code":500,"message":"oops"}', MaybeExecuted, "answered 500: oops"),
    *error(b'{"code":502}', MaybeExecuted, "answered 502"),
    *error(b'{"code":"insufficient_quota"}', AccessDenied, "quota or credit is used up"),
    *error(b'{"code":402,"message":"pay"}', AccessDenied, "quota or credit is used up"),
    *error(b'{"code":401,"message":"who?"}', AccessDenied, "OPENAI_API_KEY"),
    *error(b'{"type":"invalid_api_key"}', AccessDenied, "OPENAI_API_KEY"),
    *error(b'{"code":404,"message":"model m not found"}', UnknownModel, "model m not found"),
    *error(b'{"code":"model_not_found","message":"m?"}', UnknownModel, "answered 404: m?"),
    *error(b'{"code":404,"message":"lost"}', ConfigProblem, "--base-url"),
    *error(b'{"code":"context_length_exceeded","message":"long"}', RequestRefused, "answered 400: long"),
    *error(b'{"code":400,"message":"no"}', RequestRefused, "answered 400: no"),
    *error(b'{"code":"content_filter","message":"no"}', RequestRefused, "answered 400: no"),
    *error(b'{"message":"something"}', UnusableResponse, "the model: something"),
    *error(b'{"code":301,"message":"moved"}', UnusableResponse, "the model: moved"),
    *error(b'{"code":99999,"message":"odd"}', UnusableResponse, "the model: odd"),
    *error(b'{"code":[429],"type":{"a":1},"message":"odd"}', UnusableResponse, "the model: odd"),
    *error(b'{"code":%b,"message":"odd"}' % DEEPER[2:-2], UnusableResponse, "the model: odd"),
    *error(b'{"type":%b,"message":"odd"}' % DEEPER[2:-2], UnusableResponse, "the model: odd"),
    *error(b'{"message":%b}' % DEEP, UnusableResponse, "nested too deep to show"),
    *error(b'"something"', UnusableResponse, "the model: something"),
    *error(b"true", UnusableResponse, "the model: true"),
    *error(b"429", UnusableResponse, "the model: 429"),
    *error(b'["something"]', UnusableResponse, "something"),
    *error(rb'{"message":"a\nb\u001b[31m\u202e\u0000c"}', UnusableResponse, "the model: a b [31m c"),
]

EITHER = [*NOT_JSON, *CUT, *NO_ANSWER, *BAD_USAGE, *ERRORS]
TABLE = [(False, *row) for row in EITHER + NO_TEXT] + [(True, *row) for row in EITHER + NO_MESSAGE]


@pytest.mark.parametrize(
    ("chat", "raw", "kind", "reason"), TABLE, ids=[f"{n}-{row[3][:30]}" for n, row in enumerate(TABLE)]
)
def test_a_bad_answer_is_the_error_it_should_be(
    chat: bool, raw: bytes, kind: type[SelfinstructError], reason: str
) -> None:
    """The very class, and a message that says what is wrong in one short printable line."""
    with pytest.raises(SelfinstructError) as raised:
        wire.completion(raw, chat=chat)
    assert type(raised.value) is kind
    assert reason in str(raised.value)
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 600


def test_the_table_is_long_enough_to_mean_something() -> None:
    """At least 120 different answers, each written by hand."""
    assert len({raw for _, raw, _, _ in TABLE}) >= 120


ODD: list[tuple[bool, bytes, dict[str, Any]]] = [
    (False, T % b'""', {"text": ""}),
    (False, T % rb'"\u0000\ufffe\ufeff"', {"text": "\x00\ufffe\ufeff"}),  # a verdict on content, not the gate's
    (False, T % rb'"\ud83c\udfde"', {"text": "🏞"}),
    (False, T % rb'"\u003cthink>a</think>b"', {"text": "b", "reasoning": "a"}),
    (False, b" \r\n" + GOOD + b"\t\n", {"text": "a"}),
    (False, b'{"choices":[],"choices":[{"text":"a"}]}', {"text": "a"}),  # of two equal keys the last one counts
    (False, b'{"error":null,"choices":[{"text":"a","error":{}}]}', {"text": "a"}),
    (False, b'{"choices":[{"text":"a"},null,"b"]}', {"text": "a"}),
    (False, b'{"choices":[{"text":"a","finish_reason":7}]}', {"text": "a", "finish_reason": None}),
    (False, b'{"choices":[{"text":"a","finish_reason":["stop"]}]}', {"text": "a", "finish_reason": None}),
    (False, b'{"choices":[{"text":"a","finish_reason":"%b"}]}' % (b"s" * 99), {"finish_reason": "s" * 59 + "…"}),
    (False, M % b"null", {"model": ""}),
    (False, M % b'["m"]', {"model": ""}),
    (False, M % b"7", {"model": ""}),
    (False, M % (b'"%b"' % (b"m" * 100_000)), {"model": "m" * 199 + "…"}),
    (False, M % rb'"m\u001b[31m\u0000\n\u202e"', {"model": "m [31m"}),
    (False, U % b"null", {"prompt_tokens": 0}),
    (False, U % b"{}", {"completion_tokens": 0}),
    (False, U % b'{"prompt_tokens":null,"completion_tokens":3}', {"prompt_tokens": 0, "completion_tokens": 0}),
    (False, U % b'{"prompt_tokens":9}', {"prompt_tokens": 0, "completion_tokens": 0}),  # half an account is none
    (False, U % b'{"prompt_tokens":2147483647,"completion_tokens":0}', {"prompt_tokens": 2**31 - 1}),
    (False, b'{"choices":[{"text":"a"}],"id":%b}' % DEEPER[2:-2], {"text": "a"}),
    (True, C % b'{"content":null}', {"text": "", "finish_reason": "stop"}),
    (True, C % b'{"tool_calls":[{"id":"t"}]}', {"text": "", "finish_reason": "stop"}),
    (True, C % b'{"content":null,"refusal":"no"}', {"text": "", "finish_reason": "refusal"}),
    (True, C % b'{"content":null,"reasoning_content":"hm"}', {"text": "", "reasoning": "hm"}),
    (True, C % b'{"content":"a","reasoning":{"b":1}}', {"text": "a", "reasoning": ""}),
    (True, C % b'{"content":[]}', {"text": ""}),
    (True, C % b'{"content":[null,1,"b",{"text":2},{"text":"a"}]}', {"text": "a"}),
]


@pytest.mark.parametrize(("chat", "raw", "fields"), ODD)
def test_an_odd_answer_is_still_an_answer(chat: bool, raw: bytes, fields: dict[str, Any]) -> None:
    """It was paid for, and nothing in it can do harm: a name becomes a printable line, what is no name none."""
    completion = wire.completion(raw, chat=chat)
    assert {name: getattr(completion, name) for name in fields} == fields
    assert completion.raw == raw


def test_an_endless_text_is_read_without_being_printed() -> None:
    """Eight megabytes, the cap of a body, come through whole; in a message they are one line."""
    text = "ab " * (8 * 2**20 // 3)
    assert wire.completion(T % orjson.dumps(text), chat=False).text == text
    with pytest.raises(UnusableResponse) as raised:
        wire.completion(orjson.dumps({"error": {"message": text}}), chat=False)
    assert len(str(raised.value)) < 400


def test_twenty_thousand_damaged_answers_end_in_a_completion_or_in_our_error() -> None:
    """No other exception, text that UTF-8 can carry, tokens the ledger can hold; and each kind of end is reached."""
    rng, ends = Random(20), Counter[str]()
    for number in range(20_000):
        raw = mutated(rng)
        try:
            completion = wire.completion(raw, chat=number % 2 == 0)
        except OF_A_RESPONSE as problem:
            assert str(problem).isprintable()
            ends[type(problem).__name__] += 1
        else:
            for text in (completion.text, completion.reasoning, completion.model, completion.finish_reason or ""):
                text.encode()
            assert all(0 <= count < 2**31 for count in (completion.prompt_tokens, completion.completion_tokens))
            assert completion.raw == raw
            ends["Completion"] += 1
    assert ends.total() == 20_000
    assert ends.keys() >= {
        "Completion",
        "AccessDenied",
        "MaybeExecuted",
        "Rejected",
        "UnknownModel",
        "UnusableResponse",
    }
    assert min(ends["Completion"], ends["Rejected"], ends["MaybeExecuted"]) > 300
