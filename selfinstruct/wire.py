"""The OpenAI wire format without a wire: a request becomes a path and a body, bytes become a completion.

Everything here is pure. `call_key` names a call by all that may change its answer; `completion` is the one gate
through which answers enter, whoever gave them: a server, llama.cpp in this process, the ledger.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

import orjson

from selfinstruct.errors import BadData, MaybeExecuted, UnusableResponse
from selfinstruct.schema import Completion, Draw, Endpoint, Limits, Request
from selfinstruct.wire_errors import fault, one_line, shown

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"

_THOUGHT = re.compile(r"\s*(?:<(?P<tag>think|thinking)>|◁think▷)")  # the last is Kimi's
_END_OF_THOUGHT = "</think>"
_CHANNEL = "<|channel|>"
# What ends an answer inside the model, and should have stayed there.
_LONGEST_END = 400  # characters in which such marks are looked for: a few of them
_ENDS_OF_TEXT = ("<|im_end|>", "<|endoftext|>", "<|end_of_text|>", "<|eot_id|>", "<|return|>", "<｜end▁of▁sentence｜>")
# Why an answer ended, where a server has a word of its own for it.
_FINISH_REASONS = {"sensitive": "content_filter", "model_context_window_exceeded": "length", "null": None}
# Words for an answer that the server itself broke off: DeepSeek's, Zhipu's, OpenRouter's.
_BROKEN_OFF = frozenset({"insufficient_system_resource", "network_error", "error"})


# --- request → path, body, key ------------------------------------------------------------------------------------


def path(request: Request) -> str:
    """The API path a request goes to: messages are chat, a prompt is a completion."""
    if request.path:
        return request.path
    if (request.prompt is None) == (request.messages is None):
        raise ValueError("a request has a prompt or messages, and not both")
    return CHAT if request.messages is not None else COMPLETIONS


def body(endpoint: Endpoint, request: Request) -> dict[str, Any]:
    """The JSON body, as the endpoint wants it spelled; what the endpoint's ``omit`` names is left out.

    A prompt to be continued is never asked for JSON: the older API has no word for it.
    """
    if request.body is not None:
        parsed: dict[str, Any] = orjson.loads(request.body)
        return parsed
    fields: dict[str, Any] = {"model": endpoint.model}
    sampling = _within(endpoint.limits, request.sampling.model_dump(exclude_none=True))
    max_tokens = sampling.pop("max_tokens")
    if path(request) == CHAT:
        fields["messages"] = [message.model_dump() for message in request.messages or ()]
        fields[endpoint.token_field] = max_tokens
        fields |= _response_format(endpoint, request)
    else:
        fields["prompt"] = request.prompt
        fields["max_tokens"] = max_tokens  # the older API knows no other name
    fields |= sampling
    if request.stop:
        fields["stop"] = list(request.stop)
    if endpoint.send_seed:
        fields["seed"] = seed(request.draw)
    return {name: value for name, value in fields.items() if name not in endpoint.omit} | endpoint.extra_body


def _within(limits: Limits, values: dict[Any, Any]) -> dict[str, Any]:
    """The values, each moved into its range; a whole number stays one."""
    return {
        name: type(value)(min(max(value, limits[name][0]), limits[name][1])) if name in limits else value
        for name, value in values.items()
    }


def _response_format(endpoint: Endpoint, request: Request) -> dict[str, Any]:
    schema: Any = request.answer_schema
    if schema is None or endpoint.json_mode == "none":
        return {}
    if endpoint.json_mode == "json_object":
        return {"response_format": {"type": "json_object"}}
    if request.schema_in_order:
        schema = orjson.Fragment(orjson.dumps(schema))  # whose keys `canonical` leaves as they stand
    described = {"name": "tasks", "strict": True, "schema": schema}
    return {"response_format": {"type": "json_schema", "json_schema": described}}


def seed(draw: Draw) -> int:
    """A sampling seed that belongs to the draw: 31 bits, because some servers keep it in a signed 32-bit integer."""
    return int.from_bytes(hashlib.sha256(str(draw).encode()).digest()[:4], "big") >> 1


def canonical(body: dict[str, Any]) -> bytes:
    """The bytes of a body: what is sent, and what the call's key is made of.

    Raises `BadData` for text that UTF-8 cannot carry (half a surrogate pair, from a seed file).
    """
    try:
        return orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
    except TypeError as problem:
        raise BadData(f"a request cannot be written as JSON: {problem}; look for broken text in the seeds") from problem


def written(endpoint: Endpoint, request: Request) -> bytes:
    """The request as the bytes that are sent; one that was written before stays as it is."""
    return request.body if request.body is not None else canonical(body(endpoint, request))


def written_down(endpoint: Endpoint, request: Request) -> Request:
    """The request with the body and the path it is sent with, for who needs them more than once."""
    if request.body is not None:
        return request
    return request.model_copy(update={"body": written(endpoint, request), "path": path(request)})


def call_key(endpoint: Endpoint, request: Request) -> str:
    """The key of a call, 64 hex digits: sha256 over canonical body, API path, endpoint identity and draw."""
    return key_of(written(endpoint, request), endpoint, request)


def key_of(body: bytes, endpoint: Endpoint, request: Request) -> str:
    """The same, for who has the canonical body at hand already."""
    parts = (body, path(request).encode(), endpoint.identity.encode(), str(request.draw).encode())
    # Each with its length before it, so no two lists of parts give the same bytes.
    return hashlib.sha256(b"".join([len(part).to_bytes(8, "big") + part for part in parts])).hexdigest()


# --- bytes → completion -------------------------------------------------------------------------------------------


def completion(raw: bytes, *, chat: bool) -> Completion:
    """The completion in a response body, or `UnusableResponse` saying what is wrong with it.

    A body that is an error object raises what the error stands for (see `wire_errors`): llama.cpp in process reports
    a full context that way. An answer that the server says it broke off raises `MaybeExecuted`. Text of ``None`` is an
    empty text; ``finish_reason`` is "refusal" where the model says so. Both names a server gives, that one and the
    model's, are made one short printable line: they reach records and terminals.
    """
    data = _object(raw)
    choice = _first_choice(data)
    text, reasoning, refused = _chat_text(choice) if chat else (_raw_text(choice), "", False)
    # Who hands thoughts over apart may leave some in the text, but none that began before it.
    text, aloud = _split_reasoning(text, begun=chat and not reasoning)
    text = _without_end(text, chat=chat)
    prompt_tokens, completion_tokens = _usage(data)
    model = data.get("model")
    return Completion(
        text=text,
        finish_reason="refusal" if refused else _finish_reason(choice),
        reasoning="\n".join(filter(None, (reasoning, aloud))),
        model=one_line(model, 200) if isinstance(model, str) else "",
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        raw=raw,
    )


def _object(raw: bytes) -> dict[str, Any]:
    try:
        data = orjson.loads(raw)
    except orjson.JSONDecodeError as problem:
        raise UnusableResponse(f"{_why_not_json(raw, str(problem))}: {one_line(raw, 200)}") from problem
    if not isinstance(data, dict):
        raise UnusableResponse(f"the answer is no JSON object: {one_line(raw, 200)}")
    if data.get("error"):
        raise fault(200, data)
    return data


def _why_not_json(raw: bytes, complaint: str) -> str:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return "the answer is not UTF-8"
    if "surrogate" in complaint:
        return "the answer holds half a surrogate pair"
    if "depth" in complaint or "recursion" in complaint.lower():
        return "the answer is nested too deep"
    return "the answer is not JSON" if raw.strip() else "the answer is empty"


def _first_choice(data: dict[str, Any]) -> dict[str, Any]:
    choices = data.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise UnusableResponse(f"the answer has no choices: {shown(data, 200)}")
    choice: dict[str, Any] = choices[0]
    if choice.get("error"):  # a router's way to say that the provider behind it failed
        raise fault(200, choice)
    return choice


def _raw_text(choice: dict[str, Any]) -> str:
    text = choice.get("text")
    if not isinstance(text, str):
        raise UnusableResponse(f"the choice has no text: {shown(choice, 200)}")
    return text


def _chat_text(choice: dict[str, Any]) -> tuple[str, str, bool]:
    """Text, reasoning, and whether the model marked its answer as a refusal."""
    message = choice.get("message")
    if not isinstance(message, dict) or not message.keys() & {"content", "refusal", "tool_calls"}:
        raise UnusableResponse(f"the choice has no message: {shown(choice, 200)}")
    content = message.get("content")
    if isinstance(content, list):
        parts = [part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)]
        content = "".join(parts)
    if not isinstance(content, str | None):
        raise UnusableResponse(f"the message's content is no text: {shown(content, 200)}")
    thoughts = (message.get("reasoning_content"), message.get("reasoning"))
    reasoning = next((thought for thought in thoughts if isinstance(thought, str) and thought), "")
    return content or "", reasoning, bool(message.get("refusal"))


def _finish_reason(choice: dict[str, Any]) -> str | None:
    reason = choice.get("finish_reason")
    if not isinstance(reason, str):
        return None
    if reason in _BROKEN_OFF:
        raise MaybeExecuted(f"the server broke its answer off ({reason})", status=200)
    return _FINISH_REASONS.get(reason, one_line(reason, 60))


def _split_reasoning(text: str, *, begun: bool) -> tuple[str, str]:
    """Text and reasoning of an answer that thinks aloud in front; an unclosed thought leaves no text, and is never "".

    Chat templates of reasoning models may open the thought in the prompt: with ``begun``, a text that only closes one
    began with it.
    """
    if text.lstrip().startswith(_CHANNEL):  # gpt-oss: each part names its channel, the last is the answer, if "final"
        before, _, last = text.rpartition("<|message|>")
        final = before.rpartition(_CHANNEL)[2].strip().startswith("final")
        return (last, before.strip()) if final else ("", text.strip())
    thoughts: list[str] = []
    at = 0
    while opened := _THOUGHT.match(text, at):
        closing = f"</{opened['tag']}>" if opened["tag"] else "◁/think▷"
        thought, closed, at = _until(closing, text, opened.end())
        thoughts.append(thought if thought or closed else opened[0].strip())
    if not at and begun and _END_OF_THOUGHT in text and "<think>" not in text:
        thought, _, at = _until(_END_OF_THOUGHT, text, 0)
        thoughts.append(thought)
    return text[at:].lstrip() if at else text, "\n".join(filter(None, thoughts))


def _without_end(text: str, *, chat: bool) -> str:
    """The text without marks of its end that leaked out; a text that is continued may go on behind one, to be cut."""
    at = [] if chat else [place for mark in _ENDS_OF_TEXT if (place := text.find(mark)) >= 0]
    text = text[: min(at)].rstrip() if at else text
    tail = text[-_LONGEST_END:]
    while tail.rstrip().endswith((*_ENDS_OF_TEXT, "</s>")):
        tail = tail[: tail.rindex("<")].rstrip()
    return text[:-_LONGEST_END] + tail


def _until(closing: str, text: str, start: int) -> tuple[str, bool, int]:
    """What stands before the closing tag, whether there is one, and where the text goes on."""
    end = text.find(closing, start)
    return (text[start:end].strip(), True, end + len(closing)) if end >= 0 else (text[start:].strip(), False, len(text))


def _usage(data: dict[str, Any]) -> tuple[int, int]:
    """Tokens read and written; 0 and 0, which is unknown, unless the server says both: half an account is none."""
    prompt, completion = (_tokens(data, name) for name in ("prompt_tokens", "completion_tokens"))
    return (0, 0) if prompt is None or completion is None else (prompt, completion)


def _tokens(data: dict[str, Any], name: str) -> int | None:
    """A token count the ledger can hold; None where the server gave none."""
    usage = data.get("usage")
    count = usage.get(name) if isinstance(usage, dict) else usage
    if count is None:
        return None
    if type(count) is not int or not 0 <= count < 2**31:  # a cost is computed from it: no guesses
        raise UnusableResponse(f"usage.{name} is no token count: {shown(count, 60)}")
    return count
