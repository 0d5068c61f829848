"""What an error answer means, and what the user reads of it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from selfinstruct.errors import (
    AccessDenied,
    ConfigProblem,
    MaybeExecuted,
    ModelError,
    Rejected,
    RequestRefused,
    SelfinstructError,
    UnknownModel,
    UnusableResponse,
)
from selfinstruct.wire_errors import fault, one_line, shown

FIELDS = ("model", "messages", "temperature", "max_tokens", "stop", "top_k")


def problem(message: str, **more: Any) -> bytes:
    """An error body as OpenAI shapes it."""
    return orjson.dumps({"error": {"message": message} | more})


@pytest.mark.parametrize(
    ("status", "answer", "kind"),
    [
        (429, problem("slow down", code="rate_limit_exceeded"), Rejected),
        (429, problem("Too fast. A payment method raises your limit: see /account/billing"), Rejected),
        (429, problem("You have spent it all", code="insufficient_quota"), AccessDenied),
        (429, problem("余额不足，请充值"), AccessDenied),
        (402, problem("pay first"), AccessDenied),
        (400, problem("Access denied, make sure your account is in good standing.", code="Arrearage"), AccessDenied),
        (403, orjson.dumps({"code": 30001, "message": "Sorry, your account balance is insufficient"}), AccessDenied),
        (400, problem("Your credit balance is too low"), AccessDenied),
        (401, problem("wrong key"), AccessDenied),
        (403, problem("not for you"), AccessDenied),
        (403, problem("Your input was flagged", code="moderation"), RequestRefused),
        (404, problem("no such model", code="model_not_found"), UnknownModel),
        (404, problem("The model `m` does not exist."), UnknownModel),
        (404, problem('model "m" not found, pull it first'), UnknownModel),
        (400, problem("Model Not Exist"), UnknownModel),
        (400, problem("m is not a valid model ID"), UnknownModel),
        (400, problem("模型不存在", code="1211"), UnknownModel),
        (404, orjson.dumps({"detail": "Not Found"}), ConfigProblem),
        (405, b"", ConfigProblem),
        (407, b"", ConfigProblem),
        (410, b"gone", ConfigProblem),
        (301, b"", ConfigProblem),
        (307, b"<html>moved</html>", ConfigProblem),
        (409, b"", Rejected),
        (425, b"", Rejected),
        (503, problem("overloaded"), Rejected),
        (529, b"", Rejected),
        (408, b"", MaybeExecuted),
        (500, problem("oops"), MaybeExecuted),
        (502, b"<html>Bad Gateway</html>", MaybeExecuted),
        (504, b"", MaybeExecuted),
        (524, b"", MaybeExecuted),
        (
            400,
            problem("The prompt is too long for the context window of this model", param="max_tokens"),
            RequestRefused,
        ),
        (400, problem("blocked", code="content_filter", param="prompt"), RequestRefused),
        (400, problem("unsupported image", param="messages"), RequestRefused),
        (413, b"", RequestRefused),
        (422, orjson.dumps({"detail": "no"}), RequestRefused),
        (451, b"", RequestRefused),
        (200, problem("hm"), UnusableResponse),
    ],
)
def test_each_error_answer_has_one_meaning(status: int, answer: bytes, kind: type[SelfinstructError]) -> None:
    """Who has to act, and whether it may have cost: the whole table."""
    error = fault(status, answer, fields=FIELDS)
    assert type(error) is kind
    if isinstance(error, ModelError):
        assert error.status == status


@pytest.mark.parametrize(
    ("status", "answer", "fix"),
    [
        (
            400,
            problem("'max_tokens' is not supported here, use 'max_completion_tokens'", param="max_tokens"),
            'write token_field = "max_completion_tokens" under [model] in the recipe',
        ),
        (400, problem("Unsupported parameter: 'stop'"), 'write omit = ["stop"] under [model] in the recipe'),
        (
            400,
            problem("only the default is supported; unsupported", param="temperature"),
            'write omit = ["temperature"]',
        ),
        (
            422,
            orjson.dumps({"detail": [{"type": "extra_forbidden", "loc": ["body", "top_k"], "msg": "Extra inputs"}]}),
            'take top_k out of extra_body under [model] in the recipe, or write omit = ["top_k"] there',
        ),
        (400, problem("temperature is out of range", param="temperature"), "change temperature in the recipe"),
    ],
)
def test_a_400_about_a_field_we_sent_prints_its_cure(status: int, answer: bytes, fix: str) -> None:
    """It would be refused for every request of the run, so it is the recipe that is wrong."""
    error = fault(status, answer, fields=FIELDS)
    assert type(error) is ConfigProblem
    assert f"; {fix}" in str(error)


ZH_NO_VALUE = "temperature参数非法。请检查文档。"


@pytest.mark.parametrize(
    ("message", "fix"),
    [
        ("Range of top_p should be (0.0, 1.0)", 'change top_p in the recipe, or write omit = ["top_p"] under [model]'),
        ("Invalid top_p value, the valid range of top_p is (0, 1.0]", "change top_p in the recipe, or write omit = "),
        ("top_p must be in (0, 1], got 0.0.", "change top_p in the recipe, or write omit = "),
        ("invalid temperature: only 1 is allowed for this model", "change temperature in the recipe, or write omit = "),
        (ZH_NO_VALUE, "change temperature in the recipe, or write omit = "),
        ("该模型不支持temperature参数", 'write omit = ["temperature"] under [model]'),
        ("stop:最大只能有4个停止词", "change stop in the recipe"),
        ("Range of max_tokens should be [1, 8192]", "change max_tokens in the recipe"),
        (
            "parameter.enable_thinking must be set to false for non-streaming calls",
            "write extra_body = {enable_thinking = false} under [model] in the recipe, or choose another model",
        ),
        ("parameter.enable_thinking必须设置为false才能进行非流式调用", "write extra_body = {enable_thinking = false}"),
        (
            "This model only support stream mode, please enable the stream parameter",
            "by streaming only, which is",
        ),
        ("该模型始终思考，不支持关闭思考；请使用 low、high 或 max。", 'extra_body = {reasoning_effort = "low"}'),
        ("This model always engages in thinking and cannot be disabled", 'extra_body = {reasoning_effort = "low"}'),
        ("This response_format type is unavailable now", 'write json_mode = "json_object", or "none", under [model]'),
        ("response_format.type `json_schema` is unavailable now", 'write json_mode = "json_object"'),
        ("'messages' must contain the word 'json' in some form", 'write json_mode = "json_object", or "none"'),
        ("API 调用参数有误，请检查文档。", 'it does not say which: write omit = ["…"] under [model]'),
        ("current model does not support parameter `enable_thinking`.", "take enable_thinking out of extra_body"),
    ],
)
def test_a_refusal_in_a_providers_own_words_prints_its_cure(message: str, fix: str) -> None:
    """In English or Chinese, and without pointing to the field; but not where the request was the user's own."""
    sent = (*FIELDS, "top_p", "enable_thinking")
    error = fault(400, problem(message), fields=sent)
    assert type(error) is ConfigProblem
    assert fix in str(error)
    assert type(fault(400, problem(message))) is RequestRefused


@pytest.mark.parametrize(
    "message",
    [
        "max_tokens must be at least 1, got -234",
        "Prompt 超长",
        "系统检测到输入或生成内容可能包含不安全或敏感内容",
        "Content Exists Risk",
        "Please stop asking, the temperature of the matter is too high",
        "messages 参数非法。请检查文档。",
    ],
)
def test_a_refusal_of_the_very_request_is_no_matter_of_the_recipe(message: str) -> None:
    """Too long, or not wanted: the next request is another one."""
    assert type(fault(400, problem(message), fields=FIELDS)) is RequestRefused


def test_a_limit_by_the_minute_is_no_empty_account() -> None:
    """Alibaba Cloud uses OpenAI's word for it, at its own addresses alone."""
    answer = problem("You exceeded your current quota, please check your plan", code="insufficient_quota")
    for host in ("dashscope.aliyuncs.com", "dashscope-intl.aliyuncs.com", "ws-1.cn-beijing.maas.aliyuncs.com"):
        assert type(fault(429, answer, where=f"https://{host}/compatible-mode/v1/chat/completions")) is Rejected
        assert type(fault(403, answer, where=f"https://{host}/compatible-mode/v1/chat/completions")) is AccessDenied
    for where in ("https://api.openai.com/v1/completions", "https://evil.example/.aliyuncs.com/v1/completions"):
        assert type(fault(429, answer, where=where)) is AccessDenied


def test_a_refused_key_is_named_by_the_variable_it_came_from() -> None:
    """Each provider's key has its own."""
    assert "; is OPENAI_API_KEY set, right, and" in str(fault(401, problem("who?")))
    assert "; is DEEPSEEK_API_KEY set, right, and" in str(fault(401, problem("who?"), key="DEEPSEEK_API_KEY"))


def test_a_400_about_a_field_we_did_not_send_is_about_the_request() -> None:
    """``n`` in a sentence is not the field n."""
    assert type(fault(400, problem("unsupported top_p"), fields=FIELDS)) is RequestRefused
    assert type(fault(400, problem("unsupported stop-sign"), fields=FIELDS)) is RequestRefused


def test_the_message_says_where_and_what_in_one_line() -> None:
    """Foreign text cannot move the cursor, forge a second line or fill the screen."""
    error = fault(500, problem("a\nb\x1b[31m\u202ec" + "x" * 1000), where="https://api.example.com/v1/completions")
    text = str(error)
    assert text.startswith("https://api.example.com/v1/completions answered 500: a b [31m cxxx")
    assert text.endswith("x…")
    assert len(text) < 400


def test_an_error_wrapped_in_a_list_is_unwrapped() -> None:
    """One provider's habit."""
    answer = orjson.dumps([{"error": {"code": 400, "message": "wrapped"}}])
    assert str(fault(400, answer)) == "the model answered 400: wrapped"


def test_the_servers_wish_is_handed_on() -> None:
    """The one who retries reads it from the error."""
    error = fault(429, b"", retry_after=7.5)
    assert isinstance(error, Rejected)
    assert error.retry_after == 7.5


def test_html_is_shown_without_its_tags() -> None:
    """What a gateway says is worth reading, how it says it is not."""
    assert str(fault(502, b"<html><h1>Bad</h1>\n<p>gateway</p></html>")) == "the model answered 502: Bad gateway"
    assert str(fault(502, b"")) == "the model answered 502: an empty body"


def test_foreign_text_becomes_one_printable_line() -> None:
    """Bytes that are no UTF-8 and values that cannot be written are shown, not raised."""
    assert one_line(b"\xffabc\r\n\td\x00e") == "\ufffdabc d e"
    assert one_line("a\u2028b\ud800c") == "a b c"
    assert one_line("a" * 10, 5) == "aaaa…"
    deep: list[Any] = []
    for _ in range(500):
        deep = [deep]
    assert shown(deep) == "(nested too deep to show)"
    assert shown({"a": [1, None]}) == '{"a":[1,null]}'


def test_a_prompt_that_does_not_fit_says_what_to_lower() -> None:
    """The server names its limit; what a user can do about it is in the recipe."""
    said = str(
        fault(400, problem("This model's maximum context length is 4096 tokens", code="context_length_exceeded"))
    )
    assert "4096 tokens; prompt and max_tokens together are too long for this model: lower max_tokens" in said
    assert "too long for this model" not in str(fault(400, problem("blocked", code="content_filter")))


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (400, "'max_tokens' is too large: 900. The maximum context length is 4096 tokens, your request has 4000"),
        (400, "The decoder prompt (length 5000) is longer than the maximum model length of 4096."),
        (400, "The input (61709 tokens) is longer than the model's context length (40960 tokens)."),
        (422, "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 2048. Given: 1244 and 1000"),
        (400, "request (25837 tokens) exceeds the available context size (25088 tokens), try increasing it"),
        (500, "the request exceeds the available context size. try increasing the context size"),
        (400, "<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 30720]"),
        (400, "Invalid request: Your request exceeded model token limit: 8192"),
        (400, "Total tokens of image and text exceed max message tokens."),
        (400, "The input token count (461428) exceeds the maximum number of tokens allowed (131072)."),
    ],
    ids="vllm vllm-prompt sglang tgi llama.cpp older-llama.cpp dashscope moonshot volcengine gemini".split(),
)
def test_each_servers_way_to_say_too_long_refuses_one_request(status: int, said: str) -> None:
    """However it is put, and though some of them name a field we sent: the next request may be shorter."""
    error = fault(status, problem(said), fields=FIELDS)
    assert type(error) is RequestRefused
    assert "too long for this model: lower max_tokens or the number of demos, or what a dialogue" in str(error)


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (
            400,
            problem(
                "As of transformers v4.44, default chat template is no longer allowed, so you must provide a chat"
                " template if the tokenizer does not define one. None"
            ),
        ),
        (
            500,
            problem("Cannot use chat template functions because tokenizer.chat_template is not set and no template"),
        ),
        (422, orjson.dumps({"error": "Template error: template not found", "error_type": "template_error"})),
        (404, problem("This is not a chat model and thus not supported in the v1/chat/completions endpoint.")),
        (400, problem('"old-base" does not support chat')),
        (400, problem("The model `base` does not exist as one for chat: no chat template was found")),
    ],
    ids="vllm transformers tgi openai ollama others".split(),
)
def test_a_model_without_a_chat_template_is_a_mistake_of_the_settings(status: int, answer: bytes) -> None:
    """Every request of the run would be refused alike; both ways out are named."""
    error = fault(status, answer, fields=FIELDS)
    assert type(error) is ConfigProblem
    assert "ask it with --api completion, which sends plain text, or start its server with a" in str(error)
    assert "(vLLM: --chat-template FILE)" in str(error)


@pytest.mark.parametrize(
    "said",
    [
        "Conversation roles must alternate user/assistant/user/assistant/...",
        "Jinja Exception: No user query found in messages.",
        "Failed to apply chat template to messages due to error: 'list object' has no attribute",
        "The text does not support chat_template_kwargs of that kind",
    ],
    ids="order query object kwargs".split(),
)
def test_a_chat_template_that_refuses_a_conversation_is_there(said: str) -> None:
    """It is a verdict on these messages."""
    assert type(fault(400, problem(said), fields=FIELDS)) is RequestRefused
