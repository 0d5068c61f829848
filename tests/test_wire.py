"""The wire format: what is sent, what names a call, and the gate every answer passes."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfinstruct import wire
from selfinstruct.errors import (
    AccessDenied,
    BadData,
    MaybeExecuted,
    Rejected,
    RequestRefused,
    SelfinstructError,
    UnusableResponse,
)
from selfinstruct.schema import Completion, Draw, Endpoint, Message, Request, Sampling

ENDPOINT = Endpoint(identity="https://api.example.com/v1", model="m-1")
DRAW = Draw(stage="bootstrap", round=2, slot=3)
RAW = Request(draw=DRAW, prompt="Once", sampling=Sampling(max_tokens=5))
CHAT = Request(
    draw=DRAW,
    messages=(Message(role="system", content="Be brief."), Message(role="user", content="你好")),
    sampling=Sampling(temperature=0.7, top_p=0.5, max_tokens=5),
    stop=("\n\n",),
)


# --- request → path, body, key ------------------------------------------------------------------------------------


def test_messages_go_to_chat_and_a_prompt_to_completions() -> None:
    """The path follows from what the request holds."""
    assert [wire.path(CHAT), wire.path(RAW)] == ["/v1/chat/completions", "/v1/completions"]


@pytest.mark.parametrize("request_", [RAW.model_copy(update={"prompt": None}), CHAT.model_copy(update={"prompt": "a"})])
def test_a_request_with_both_or_neither_is_a_bug(request_: Request) -> None:
    """A request is one of the two kinds."""
    with pytest.raises(ValueError, match="a prompt or messages"):
        wire.path(request_)


def test_a_request_that_was_written_down_keeps_its_path_and_its_bytes() -> None:
    """It needs no prompt and no messages, and whatever stands beside the body no longer counts."""
    raw = b'{"model": "other",  "n": 1}'
    for beside in (RAW, CHAT, Request(draw=DRAW)):
        request = beside.model_copy(update={"path": "/v1/completions", "body": raw})
        assert wire.path(request) == "/v1/completions"
        assert wire.written(ENDPOINT, request) == raw
        assert wire.body(ENDPOINT, request) == {"model": "other", "n": 1}


@pytest.mark.parametrize("request_", [RAW, CHAT])
def test_writing_a_request_down_does_not_change_its_call(request_: Request) -> None:
    """The same bytes under the same key, however often it is done."""
    body = wire.written(ENDPOINT, request_)
    assert body == wire.canonical(wire.body(ENDPOINT, request_))
    again = request_.model_copy(update={"path": wire.path(request_), "body": body})
    assert wire.written(ENDPOINT, again) == body
    assert wire.call_key(ENDPOINT, again) == wire.call_key(ENDPOINT, request_) == wire.key_of(body, ENDPOINT, request_)


def test_a_chat_body_holds_what_is_set_and_nothing_else() -> None:
    """Fields left at None are not sent: the server's own default holds."""
    assert wire.body(ENDPOINT, CHAT) == {
        "model": "m-1",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "你好"}],
        "temperature": 0.7,
        "top_p": 0.5,
        "max_tokens": 5,
        "stop": ["\n\n"],
    }


def test_a_completion_body_holds_what_is_set_and_nothing_else() -> None:
    """The same for a prompt to be continued."""
    assert wire.body(ENDPOINT, RAW) == {"model": "m-1", "prompt": "Once", "max_tokens": 5}


def test_the_token_field_is_renamed_for_chat_only() -> None:
    """The older API knows ``max_tokens`` alone."""
    endpoint = ENDPOINT.model_copy(update={"token_field": "max_completion_tokens"})
    assert wire.body(endpoint, CHAT)["max_completion_tokens"] == 5
    assert "max_tokens" not in wire.body(endpoint, CHAT)
    assert wire.body(endpoint, RAW)["max_tokens"] == 5


def test_an_endpoint_can_leave_fields_out_and_put_fields_in() -> None:
    """``omit`` for what an API refuses, ``extra_body`` for what it wants, also in place of one of ours."""
    endpoint = ENDPOINT.model_copy(update={"omit": ("top_p", "stop"), "extra_body": {"top_k": 20, "temperature": 1.0}})
    assert wire.body(endpoint, CHAT).keys() == {"model", "messages", "max_tokens", "temperature", "top_k"}
    assert wire.body(endpoint, CHAT)["temperature"] == 1.0


SCHEMA = {"type": "object", "properties": {"tasks": {"type": "array"}}}
ASKED = CHAT.model_copy(update={"answer_schema": SCHEMA})


def test_an_answer_by_a_schema_is_asked_for_as_the_endpoint_knows_how() -> None:
    """By the schema, as any JSON, or not at all; an older API, that only continues text, has no word for it."""
    by_schema = {"type": "json_schema", "json_schema": {"name": "tasks", "strict": True, "schema": SCHEMA}}
    modes = {"json_schema": by_schema, "json_object": {"type": "json_object"}, "none": None}
    for mode, form in modes.items():
        endpoint = ENDPOINT.model_copy(update={"json_mode": mode})
        assert wire.body(endpoint, ASKED).get("response_format") == form
        assert wire.body(endpoint, CHAT) == wire.body(ENDPOINT, CHAT)
    assert wire.body(ENDPOINT, RAW.model_copy(update={"answer_schema": SCHEMA})) == wire.body(ENDPOINT, RAW)
    omitting = ENDPOINT.model_copy(update={"omit": ("response_format",)})
    assert wire.body(omitting, ASKED) == wire.body(ENDPOINT, CHAT)


def test_sampling_is_moved_into_the_limits_of_the_endpoint() -> None:
    """To the nearest value it takes, ends included; what is not sent, or not limited, stays."""
    limits = {"temperature": (0.01, 0.99), "top_p": (0.6, 0.9), "presence_penalty": (0.0, 1.0), "max_tokens": (8, 64.0)}
    endpoint = ENDPOINT.model_copy(update={"limits": limits})
    assert wire.body(endpoint, CHAT) == wire.body(ENDPOINT, CHAT) | {"top_p": 0.6, "max_tokens": 8}
    assert wire.body(endpoint, RAW) == {"model": "m-1", "prompt": "Once", "max_tokens": 8}
    hot = CHAT.model_copy(update={"sampling": Sampling(temperature=2, top_p=0.9, frequency_penalty=-2, max_tokens=99)})
    assert wire.body(endpoint, hot) == wire.body(ENDPOINT, hot) | {"temperature": 0.99, "max_tokens": 64}
    assert b'"max_tokens":64,' in wire.written(endpoint, hot)


def test_a_seed_is_sent_on_request_and_belongs_to_the_draw() -> None:
    """It is the same in every process and version, fits 31 bits, and differs between samples."""
    assert "seed" not in wire.body(ENDPOINT, RAW)
    assert wire.body(ENDPOINT.model_copy(update={"send_seed": True}), RAW)["seed"] == wire.seed(DRAW) == 315681889
    seeds = {wire.seed(DRAW.model_copy(update={"k": k})) for k in range(100)}
    assert len(seeds) == 100
    assert max(seeds) < 2**31


def test_a_body_is_written_with_sorted_keys() -> None:
    """Equal bodies are equal bytes, in whatever order they were put together."""
    assert wire.canonical({"b": "é", "a": {"d": 1, "c": 0.5}}) == '{"a":{"c":0.5,"d":1},"b":"é"}'.encode()


def test_text_that_utf8_cannot_carry_is_bad_data() -> None:
    """Half a surrogate pair in a seed file is the user's to mend, and named as that."""
    with pytest.raises(BadData, match="look for broken text in the seeds"):
        wire.canonical({"prompt": "\ud800"})


REQUEST_CHANGES: dict[str, Request] = {
    "draw": CHAT.model_copy(update={"draw": DRAW.model_copy(update={"k": 1})}),
    "prompt": CHAT.model_copy(update={"prompt": "Once", "messages": None}),
    "messages": CHAT.model_copy(update={"messages": (Message(role="user", content="你好"),)}),
    "sampling": CHAT.model_copy(update={"sampling": Sampling(temperature=0.7, top_p=0.5, max_tokens=6)}),
    "stop": CHAT.model_copy(update={"stop": ()}),
    "answer_schema": ASKED,
    "schema_in_order": ASKED.model_copy(update={"schema_in_order": True}),
    "path": CHAT.model_copy(update={"path": "/v1/completions"}),
    "body": CHAT.model_copy(update={"body": b"{}"}),
}
ENDPOINT_CHANGES: dict[str, Endpoint] = {
    "identity": ENDPOINT.model_copy(update={"identity": "https://api.example.org/v1"}),
    "model": ENDPOINT.model_copy(update={"model": "m-2"}),
    "token_field": ENDPOINT.model_copy(update={"token_field": "max_completion_tokens"}),
    "omit": ENDPOINT.model_copy(update={"omit": ("top_p",)}),
    "extra_body": ENDPOINT.model_copy(update={"extra_body": {"top_k": 20}}),
    "limits": ENDPOINT.model_copy(update={"limits": {"top_p": (0.6, 1.0)}}),
    "json_mode": ENDPOINT.model_copy(update={"json_mode": "json_object"}),
    "send_seed": ENDPOINT.model_copy(update={"send_seed": True}),
}
SAMPLING_CHANGES: dict[str, Any] = {
    "temperature": 0.8,
    "top_p": 0.6,
    "presence_penalty": 2.0,
    "frequency_penalty": 0.0,
    "max_tokens": 6,
}
DRAW_CHANGES: dict[str, Any] = {"stage": "classify", "round": 3, "slot": 4, "step": 1, "k": 1}


def test_every_field_of_request_and_endpoint_is_in_the_key() -> None:
    """A key that forgets a field serves yesterday's answer to today's question; a new field must get a line here."""
    assert REQUEST_CHANGES.keys() == Request.model_fields.keys()
    assert ENDPOINT_CHANGES.keys() == Endpoint.model_fields.keys()
    assert SAMPLING_CHANGES.keys() == Sampling.model_fields.keys()
    assert DRAW_CHANGES.keys() == Draw.model_fields.keys()
    samplings = [CHAT.sampling.model_copy(update={name: value}) for name, value in SAMPLING_CHANGES.items()]
    draws = [DRAW.model_copy(update={name: value}) for name, value in DRAW_CHANGES.items()]
    every = [
        *REQUEST_CHANGES.values(),
        *(CHAT.model_copy(update={"sampling": sampling}) for sampling in samplings),
        *(CHAT.model_copy(update={"draw": draw}) for draw in draws),
    ]
    requests = {request.model_dump_json(): request for request in every}
    keys = {wire.call_key(ENDPOINT, request) for request in requests.values()}
    keys |= {wire.call_key(endpoint, ASKED) for endpoint in ENDPOINT_CHANGES.values()}
    assert len(keys) == len(requests) + len(ENDPOINT_CHANGES)
    assert wire.call_key(ENDPOINT, CHAT) not in keys


def test_the_key_of_a_call_never_changes_between_versions() -> None:
    """Ledgers outlive releases: this exact value was written to disk by the first one."""
    assert wire.call_key(ENDPOINT, CHAT) == "9e9320a00dda23c4d85086cf9911ab3c6a56775d1b18bc4ad1c79b4e9cbbcb30"


def test_parts_of_a_key_cannot_run_into_each_other() -> None:
    """Text that moves from one part to the next makes another key."""
    one = wire.call_key(
        ENDPOINT.model_copy(update={"identity": "ab"}),
        RAW.model_copy(update={"draw": Draw(stage="c", round=0, slot=0)}),
    )
    two = wire.call_key(
        ENDPOINT.model_copy(update={"identity": "a"}),
        RAW.model_copy(update={"draw": Draw(stage="bc", round=0, slot=0)}),
    )
    assert one != two


# --- bytes → completion -------------------------------------------------------------------------------------------


def chat_body(message: Any, **choice: Any) -> bytes:
    """A chat answer with this message."""
    return orjson.dumps({"model": "m", "choices": [{"message": message, "finish_reason": "stop"} | choice]})


def raw_body(text: Any, **answer: Any) -> bytes:
    """A completion answer with this text."""
    return orjson.dumps({"model": "m", "choices": [{"text": text, "finish_reason": "length"}]} | answer)


def test_a_chat_answer_is_read_whole() -> None:
    """Text, why it ended, who wrote it, what it cost, and the bytes it was read from."""
    raw = orjson.dumps(
        {
            "model": "m-1-2024",
            "choices": [{"message": {"role": "assistant", "content": " Hi \n"}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 12, "completion_tokens": 2, "total_tokens": 14},
        }
    )
    assert wire.completion(raw, chat=True) == Completion(
        text=" Hi \n", finish_reason="stop", model="m-1-2024", prompt_tokens=12, completion_tokens=2, raw=raw
    )


def test_a_completion_answer_is_read_whole() -> None:
    """The same for a continued prompt; what a server leaves out stays empty."""
    raw = raw_body(" upon a time", usage=None)
    assert wire.completion(raw, chat=False) == Completion(
        text=" upon a time", finish_reason="length", model="m", raw=raw
    )
    assert wire.completion(raw, chat=False).truncated is True


@pytest.mark.parametrize(
    ("message", "text", "finish_reason"),
    [
        ({"content": None, "tool_calls": []}, "", "stop"),
        ({"content": ""}, "", "stop"),
        ({"content": None, "refusal": "I would rather not."}, "", "refusal"),
        ({"content": [{"type": "text", "text": "a"}, {"type": "image"}, {"type": "text", "text": "b"}]}, "ab", "stop"),
    ],
)
def test_an_answer_without_plain_text_is_still_an_answer(message: Any, text: str, finish_reason: str) -> None:
    """It was paid for; what it says about itself decides what becomes of it later."""
    completion = wire.completion(chat_body(message), chat=True)
    assert (completion.text, completion.finish_reason) == (text, finish_reason)


@pytest.mark.parametrize(
    ("message", "text", "reasoning"),
    [
        ({"content": "4", "reasoning_content": "2+2"}, "4", "2+2"),
        ({"content": "4", "reasoning": "2+2"}, "4", "2+2"),
        ({"content": "4", "reasoning": None, "reasoning_content": ""}, "4", ""),
        ({"content": "<think>\n2+2\n</think>\n\n4\n"}, "4\n", "2+2"),
        ({"content": "\n<think></think>4"}, "4", ""),
        ({"content": "<think>2+2 is"}, "", "2+2 is"),
        ({"content": "◁think▷2+2◁/think▷4"}, "4", "2+2"),  # Kimi
        ({"content": "◁think▷2+2"}, "", "2+2"),
        (
            {"content": "<|channel|>analysis<|message|>2+2<|end|><|channel|>final<|message|>4<|return|>"},
            "4",
            "<|channel|>analysis<|message|>2+2<|end|><|channel|>final",
        ),
        ({"content": "<|channel|>analysis<|message|>2+2 is"}, "", "<|channel|>analysis<|message|>2+2 is"),
        ({"content": "<think>\n\n</think>\n\n4"}, "4", ""),  # Qwen3, told not to think
        ({"content": "<thinking>2+2</thinking>\n4"}, "4", "2+2"),
        ({"content": "<think>2+2</think>\n<think>=</think>4"}, "4", "2+2\n="),
        ({"content": "<think>2+2</thinking>4"}, "", "2+2</thinking>4"),
        ({"content": "<think>"}, "", "<think>"),
        ({"content": "\n<think>\n"}, "", "<think>"),
        ({"content": "2+2\n</think>\n4"}, "4", "2+2"),  # the chat template had opened the thought
        ({"content": "</think>\n\n4"}, "4", ""),
        ({"content": "<think>=</think>4", "reasoning_content": "2+2"}, "4", "2+2\n="),
        ({"content": "An end, </think>, is a tag.", "reasoning": "2+2"}, "An end, </think>, is a tag.", "2+2"),
        ({"content": [{"type": "thinking", "thinking": [{"text": "2+2"}]}, {"type": "text", "text": "4"}]}, "4", ""),
        (
            {"content": "The tags <think> and </think> mark thoughts."},
            "The tags <think> and </think> mark thoughts.",
            "",
        ),
    ],
)
def test_thinking_aloud_is_split_off(message: Any, text: str, reasoning: str) -> None:
    """Reasoning is kept apart and never part of the text that is parsed."""
    completion = wire.completion(chat_body(message), chat=True)
    assert (completion.text, completion.reasoning) == (text, reasoning)


@pytest.mark.parametrize(
    ("said", "chat_text", "raw_text"),
    [
        ("4<|im_end|>", "4", "4"),
        ("4\n<|endoftext|>\n", "4", "4"),
        ("4</s>", "4", "4"),
        ("4<|eot_id|><|end_of_text|>", "4", "4"),
        ("4<｜end▁of▁sentence｜>", "4", "4"),
        ("4<|endoftext|>Some other page", "4<|endoftext|>Some other page", "4"),
        ("<s>old</s> price", "<s>old</s> price", "<s>old</s> price"),
        ("The mark <|im_end|> ends a turn.", "The mark <|im_end|> ends a turn.", "The mark"),
        ("4\n", "4\n", "4\n"),
    ],
)
def test_marks_of_the_end_that_leak_are_no_text(said: str, chat_text: str, raw_text: str) -> None:
    """At the end anywhere; a model that continues text goes on behind one with something else, which is cut."""
    assert wire.completion(chat_body({"content": said}), chat=True).text == chat_text
    assert wire.completion(raw_body(said), chat=False).text == raw_text


@pytest.mark.parametrize(
    ("message", "finish_reason", "thought_only"),
    [
        ({"content": "", "reasoning_content": "2+2"}, "length", True),
        ({"content": None, "reasoning_content": "2+2"}, "stop", True),
        ({"content": "<think>2+2 is"}, "length", True),
        ({"content": "<think>"}, "length", True),
        ({"content": "<think>2+2</think> \n"}, "length", True),
        ({"content": ""}, "length", True),  # thoughts that are kept back
        ({"content": ""}, "stop", False),
        ({"content": " "}, "length", False),
        ({"content": "4", "reasoning_content": "2+2"}, "length", False),
        ({"content": "<think></think>4"}, "length", False),
    ],
)
def test_a_thought_without_an_answer_is_told_apart(message: Any, finish_reason: str, thought_only: bool) -> None:
    """Its reader learns that the token limit was too low to think with, not that the model said nothing."""
    completion = wire.completion(chat_body(message, finish_reason=finish_reason), chat=True)
    assert completion.thought_only is thought_only
    assert completion.truncated is (finish_reason == "length")


def test_eight_megabytes_of_thoughts_are_read_in_one_pass() -> None:
    """However many there are, and however they end; each is gone over once."""
    many = "<think>a</think>" * (8 * 2**20 // 16)
    assert wire.completion(raw_body(many + "b"), chat=False).text == "b"
    assert wire.completion(raw_body("<think>" * (8 * 2**20 // 7)), chat=False).text == ""


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("content_filter", "content_filter"),
        ("sensitive", "content_filter"),
        ("model_context_window_exceeded", "length"),
        ("null", None),
        (None, None),
        ("tool_calls", "tool_calls"),
        ("error_of_mine", "error_of_mine"),
    ],
)
def test_the_reasons_for_an_end_are_read_in_each_providers_words(said: str | None, read: str | None) -> None:
    """Withheld is withheld, and cut is cut, whoever says so."""
    assert wire.completion(chat_body({"content": "a"}, finish_reason=said), chat=True).finish_reason == read


@pytest.mark.parametrize("said", ["insufficient_system_resource", "network_error", "error"])
def test_an_answer_the_server_broke_off_is_no_answer(said: str) -> None:
    """It reads like a whole one, may have been billed, and is asked for again."""
    with pytest.raises(MaybeExecuted, match=rf"the server broke its answer off \({said}\)") as raised:
        wire.completion(chat_body({"content": "1. Name a"}, finish_reason=said), chat=True)
    assert raised.value.status == 200


def test_a_continued_text_may_close_a_tag_it_did_not_open() -> None:
    """A raw prompt can hold anything; only a thought at the very start is split off there."""
    assert wire.completion(raw_body("b</think>c"), chat=False).text == "b</think>c"
    assert wire.completion(raw_body("<think>b</think>c"), chat=False).text == "c"


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"\xff{}", "is not UTF-8"),
        (b"<html><body>Welcome</body></html>", "is not JSON: <html>"),
        (b'{"choices": [{"text": NaN}]}', "is not JSON"),
        (b"[" * 5000, "is nested too deep"),
        (b'{"choices": [{"text": "\\ud800"}]}', "half a surrogate pair"),
        (b"[]", "is no JSON object"),
        (b'"text"', "is no JSON object"),
        (b"{}", "has no choices"),
        (b'{"choices": null}', "has no choices"),
        (b'{"choices": []}', "has no choices"),
        (b'{"choices": ["text"]}', "has no choices"),
        (b'{"choices": [{}]}', "has no text"),
        (raw_body(None), "has no text"),
        (raw_body(["a"]), "has no text"),
        (raw_body("a", usage={"prompt_tokens": -1}), "usage.prompt_tokens is no token count: -1"),
        (raw_body("a", usage={"completion_tokens": 1.5}), "usage.completion_tokens is no token count: 1.5"),
        (raw_body("a", usage={"completion_tokens": "many"}), "usage.completion_tokens is no token count: many"),
        (raw_body("a", usage={"completion_tokens": True}), "usage.completion_tokens is no token count"),
        (raw_body("a", usage={"completion_tokens": 2**31}), "usage.completion_tokens is no token count"),
        (raw_body("a", usage="free"), "usage.prompt_tokens is no token count: free"),
        (b'{"choices": [{"text": "a"}], "usage": {"prompt_tokens": NaN}}', "is not JSON"),
    ],
)
def test_bytes_that_are_no_completion_are_unusable_and_say_why(raw: bytes, reason: str) -> None:
    """Each way to be wrong has a name; none becomes an empty text."""
    with pytest.raises(UnusableResponse, match="(?s)" + reason.replace("(", "\\(")):
        wire.completion(raw, chat=False)


@pytest.mark.parametrize("message", [None, "text", {}, {"role": "assistant"}, {"content": 4}, {"content": {"a": 1}}])
def test_a_chat_choice_without_a_message_is_unusable(message: Any) -> None:
    """The same for chat."""
    with pytest.raises(UnusableResponse, match=r"has no message|content is no text"):
        wire.completion(chat_body(message), chat=True)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (
            {"code": 400, "type": "exceed_context_size_error", "message": "6001 tokens exceed the context"},
            RequestRefused,
        ),
        ({"code": "429", "message": "slow down"}, Rejected),
        ({"type": "rate_limit_error", "message": "slow down"}, Rejected),
        ({"type": "insufficient_quota", "message": "no credit"}, AccessDenied),
        ({"type": "overloaded_error", "message": "busy"}, Rejected),
        ({"code": 502, "message": "upstream"}, MaybeExecuted),
        ({"message": "something"}, UnusableResponse),
        ("something", UnusableResponse),
        (["something"], UnusableResponse),
    ],
)
def test_an_error_inside_a_200_is_read_as_the_error_it_is(error: Any, kind: type[SelfinstructError]) -> None:
    """Some servers, and llama.cpp in process, report failures in a successful answer."""
    with pytest.raises(kind):
        wire.completion(orjson.dumps({"error": error}), chat=True)
    with pytest.raises(kind):
        wire.completion(orjson.dumps({"choices": [{"error": error}]}), chat=True)


NAMES = st.sampled_from(["choices", "message", "content", "text", "usage", "prompt_tokens", "error", "code", "type"])
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text() | st.integers(-(2**63), 2**64 - 1),
    lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner),
)


@given(st.binary() | JSON.map(orjson.dumps), st.booleans())
def test_any_bytes_are_a_completion_or_one_of_our_errors(raw: bytes, chat: bool) -> None:
    """Nothing a server sends can end a run with a traceback, or print more than a line."""
    try:
        completion = wire.completion(raw, chat=chat)
    except SelfinstructError as error:
        assert "\n" not in str(error)
    else:
        assert completion.raw == raw


@pytest.mark.parametrize("depth", [200, 260, 1000])
def test_deep_nesting_where_text_should_be_is_unusable_at_any_depth(depth: int) -> None:
    """The JSON library reads deeper than it writes; quoting such an answer must not fail."""
    deep = b"[" * depth + b"]" * depth
    for raw in (b'{"choices": %b}' % deep, b'{"choices": [{"text": %b}]}' % deep, b'{"error": {"message": %b}}' % deep):
        with pytest.raises(UnusableResponse):
            wire.completion(raw, chat=False)
