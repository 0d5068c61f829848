"""What the providers of today answer, in their own shapes, and what becomes of it: written down by us, not recorded.

Successes, thoughts, thoughts that were cut, and each way to be refused: by class, exit code and the advice it prints.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson
import pytest

from selfinstruct import endpoints, wire
from selfinstruct.errors import (
    AccessDenied,
    ConfigProblem,
    MaybeExecuted,
    Rejected,
    RequestRefused,
    SelfinstructError,
    UnknownModel,
)
from selfinstruct.wire_errors import fault

# --- answers ------------------------------------------------------------------------------------------------------


def answer(message: dict[str, Any], finish_reason: str | None = "stop", **more: Any) -> bytes:
    """A chat answer as all of them shape it, with what a provider adds of its own."""
    choice = {"index": 0, "message": {"role": "assistant"} | message, "finish_reason": finish_reason}
    return orjson.dumps({"id": "c-1", "object": "chat.completion", "created": 1, "choices": [choice]} | more)


def usage(prompt: int, completion: int, thoughts: int, **more: Any) -> dict[str, Any]:
    """Tokens, those of the thoughts among the completion's."""
    counts = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return counts | {"completion_tokens_details": {"reasoning_tokens": thoughts}} | more


class Read(NamedTuple):
    """What is read from an answer."""

    text: str
    reasoning: str = ""
    finish_reason: str | None = "stop"
    tokens: tuple[int, int] = (0, 0)
    thought_only: bool = False


ANSWERS: dict[str, tuple[bytes, Read]] = {
    "openai": (
        answer(
            {"content": '{"tasks":[]}', "refusal": None, "annotations": []},
            model="gpt-4.1-mini-2025-04-14",
            usage=usage(20, 5, 0, prompt_tokens_details={"cached_tokens": 0}),
            service_tier="default",
            system_fingerprint="fp_1",
        ),
        Read('{"tasks":[]}', tokens=(20, 5)),
    ),
    "openai declines": (
        answer({"content": None, "refusal": "I can't help with that."}, usage=usage(20, 9, 0)),
        Read("", finish_reason="refusal", tokens=(20, 9)),
    ),
    "openai thinks until the limit, and keeps it to itself": (
        answer({"content": "", "refusal": None}, "length", usage=usage(20, 350, 350)),
        Read("", finish_reason="length", tokens=(20, 350), thought_only=True),
    ),
    "dashscope": (
        answer({"content": "1. 写一首诗。"}, model="qwen-plus", usage=usage(31, 8, 0), system_fingerprint=None),
        Read("1. 写一首诗。", tokens=(31, 8)),
    ),
    "dashscope thinks": (
        answer({"content": "好的。", "reasoning_content": "用户在问好。"}, usage=usage(9, 12, 9)),
        Read("好的。", "用户在问好。", tokens=(9, 12)),
    ),
    "dashscope has not ended": (
        answer({"content": "好"}, "null"),
        Read("好", finish_reason=None),
    ),
    "deepseek": (
        answer(
            {"content": "你好！", "reasoning_content": None},
            usage=usage(7, 3, 0, prompt_cache_hit_tokens=0, prompt_cache_miss_tokens=7),
        ),
        Read("你好！", tokens=(7, 3)),
    ),
    "deepseek thinks until the limit": (
        answer({"content": "", "reasoning_content": "先看题目，"}, "length", usage=usage(40, 2048, 2048)),
        Read("", "先看题目，", "length", (40, 2048), True),
    ),
    "zhipu": (
        answer({"content": "\n答：可以。"}, model="glm-4.7", request_id="r-1", usage=usage(6, 5, 0)),
        Read("\n答：可以。", tokens=(6, 5)),
    ),
    "zhipu withholds": (
        answer({"content": ""}, "sensitive"),
        Read("", finish_reason="content_filter"),
    ),
    "zhipu's window is full": (
        answer({"content": "一、二、"}, "model_context_window_exceeded"),
        Read("一、二、", finish_reason="length"),
    ),
    "zhipu thinks all the same": (
        answer({"content": "<think>\n关不掉。</think>\n可以。", "reasoning_content": "再想。"}),
        Read("可以。", "再想。\n关不掉。"),
    ),
    "moonshot thinks": (
        answer(
            {"content": "行。", "reasoning_content": "简短。"}, model="kimi-k3", usage=usage(8, 4, 2, cached_tokens=8)
        ),
        Read("行。", "简短。", tokens=(8, 4)),
    ),
    "siliconflow thinks": (
        answer(
            {"content": "你好。", "reasoning_content": "\n打招呼。"}, usage=usage(15, 1540, 1190), system_fingerprint=""
        ),
        Read("你好。", "\n打招呼。", tokens=(15, 1540)),
    ),
    "an open model told not to think": (
        answer({"content": "<think>\n\n</think>\n\n你好。"}),
        Read("你好。"),
    ),
    "an open model whose thought began in the prompt": (
        answer({"content": "打招呼。\n</think>\n\n你好。"}),
        Read("你好。", "打招呼。"),
    ),
    "an open model cut while it thinks": (
        answer({"content": "<think>\n先打招呼，"}, "length"),
        Read("", "先打招呼，", "length", thought_only=True),
    ),
    "a router": (
        answer({"content": "Yes.", "reasoning": "Short.", "reasoning_details": []}, native_finish_reason="end_turn"),
        Read("Yes.", "Short."),
    ),
}


@pytest.mark.parametrize(("raw", "read"), ANSWERS.values(), ids=ANSWERS)
def test_an_answer_is_read_and_its_thoughts_apart(raw: bytes, read: Read) -> None:
    """The text is what was asked for, with nothing thought aloud; tokens are those billed, the thoughts among them."""
    completion = wire.completion(raw, chat=True)
    tokens = (completion.prompt_tokens, completion.completion_tokens)
    found = Read(completion.text, completion.reasoning, completion.finish_reason, tokens, completion.thought_only)
    assert found == read


@pytest.mark.parametrize("said", ["insufficient_system_resource", "network_error"])
def test_an_answer_its_server_could_not_finish_is_asked_for_again(said: str) -> None:
    """DeepSeek and Zhipu send what there is, with 200: it is not recorded, and may have cost."""
    with pytest.raises(MaybeExecuted) as raised:
        wire.completion(answer({"content": "1. 写一首"}, said, usage=usage(9, 4, 0)), chat=True)
    assert raised.value.exit_code == 75


# --- refusals -----------------------------------------------------------------------------------------------------


def openai(message: str, code: str | None = None, param: str | None = None) -> dict[str, Any]:
    """As OpenAI shapes an error, and DeepSeek, and Alibaba Cloud in its compatible mode."""
    return {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}


def alibaba(code: str, message: str, kind: str | None = None) -> dict[str, Any]:
    """Alibaba Cloud's, with its own codes."""
    return {"error": {"code": code, "param": None, "message": message, "type": kind or code}, "request_id": "r-1"}


def zhipu(code: str, message: str) -> dict[str, Any]:
    """Zhipu's: a code of four digits, as text."""
    return {"error": {"code": code, "message": message}}


def kimi(kind: str, message: str) -> dict[str, Any]:
    """Moonshot's: a type and no code."""
    return {"error": {"message": message, "type": kind}}


def flow(code: int, message: str) -> dict[str, Any]:
    """SiliconFlow's: no error object at all."""
    return {"code": code, "message": message, "data": None}


KEY, PAY, OMIT = "_API_KEY set, right", "; top it up and run again", "write omit = "
CHANGE, JSON_MODE = ", or write omit = ", 'write json_mode = "json_object"'
NO_THINKING, LITTLE = "write extra_body = {enable_thinking = false}", 'extra_body = {reasoning_effort = "low"}'
Refusal = tuple[str, int, object, type[SelfinstructError], str]
REFUSALS: list[Refusal] = [
    # OpenAI
    ("openai", 400, openai("'max_tokens' is not supported: use 'max_completion_tokens'", param="max_tokens"),
     ConfigProblem, 'write token_field = "max_completion_tokens"'),
    ("openai", 400, openai("'temperature' does not support 0 with this model.", "unsupported_value", "temperature"),
     ConfigProblem, 'write omit = ["temperature"]'),
    ("openai", 400, openai("Unsupported parameter: 'presence_penalty'", "unsupported_parameter", "presence_penalty"),
     ConfigProblem, 'write omit = ["presence_penalty"]'),
    ("openai", 400, openai("Unsupported parameter: 'stop'", "unsupported_parameter", "stop"), ConfigProblem, OMIT),
    ("openai", 401, openai("Incorrect API key provided", "invalid_api_key"), AccessDenied, "OPENAI" + KEY),
    ("openai", 404, openai("The model `m` does not exist", "model_not_found"), UnknownModel, "does not exist"),
    ("openai", 429, openai("Rate limit reached for requests", "rate_limit_exceeded"), Rejected, "Rate limit"),
    ("openai", 429, openai("You exceeded your current quota", "insufficient_quota"), AccessDenied, PAY),
    ("openai", 500, openai("The server had an error"), MaybeExecuted, "had an error"),
    # Alibaba Cloud
    ("dashscope", 400, alibaba("invalid_parameter_error", "Range of top_p should be (0.0, 1.0)"),
     ConfigProblem, "change top_p in the recipe" + CHANGE),
    ("dashscope", 400, alibaba("invalid_parameter_error", "Range of max_tokens should be [1, 8192]"),
     ConfigProblem, "change max_tokens in the recipe"),
    ("dashscope", 400, alibaba("InvalidParameter", "parameter.enable_thinking only support stream call"),
     ConfigProblem, NO_THINKING),
    ("dashscope", 400, alibaba("invalid_parameter_error", "parameter.enable_thinking必须设置为false才能进行非流式调用"),
     ConfigProblem, NO_THINKING),
    ("dashscope", 400, alibaba("InvalidParameter", "This model only support stream mode"), ConfigProblem, "another"),
    ("dashscope", 400, alibaba("InvalidParameter", "'messages' must contain the word 'json' in some form"),
     ConfigProblem, JSON_MODE),
    ("dashscope", 400, alibaba("InvalidParameter", "Range of input length should be [1, 129024]"), RequestRefused, ""),
    ("dashscope", 400, alibaba("data_inspection_failed", "Input data may contain inappropriate content."),
     RequestRefused, "inappropriate"),
    ("dashscope", 400, alibaba("DataInspectionFailed", "Output data may contain inappropriate content."),
     RequestRefused, "inappropriate"),
    ("dashscope", 400, alibaba("Arrearage", "Access denied, please make sure your account is in good standing."),
     AccessDenied, PAY),
    ("dashscope", 401, alibaba("invalid_api_key", "Incorrect API key provided."), AccessDenied, "DASHSCOPE" + KEY),
    ("dashscope", 403, alibaba("AllocationQuota.FreeTierOnly", "The free tier of the model has been exhausted."),
     AccessDenied, PAY),
    ("dashscope", 404, alibaba("model_not_found", "The model `m` does not exist."), UnknownModel, "does not exist"),
    ("dashscope", 429, alibaba("Throttling.RateQuota", "Requests rate limit exceeded"), Rejected, "rate limit"),
    ("dashscope", 429, alibaba("Throttling.AllocationQuota", "Allocated quota exceeded"), Rejected, "Allocated"),
    ("dashscope", 429, alibaba("insufficient_quota", "You exceeded your current quota"), Rejected, "current quota"),
    ("dashscope", 500, alibaba("InternalError", "An internal error has occured"), MaybeExecuted, "internal"),
    ("dashscope", 503, alibaba("ModelServingError", "Too many requests in route"), Rejected, "Too many"),
    # DeepSeek
    ("deepseek", 400, openai("Invalid top_p value, the valid range of top_p is (0, 1.0]", "invalid_request_error"),
     ConfigProblem, "change top_p in the recipe" + CHANGE),
    ("deepseek", 400, openai("This response_format type is unavailable now", "invalid_request_error"),
     ConfigProblem, JSON_MODE),
    ("deepseek", 422, openai("Failed to deserialize: response_format.type `json_schema` is unavailable now"),
     ConfigProblem, JSON_MODE),
    ("deepseek", 400, openai("Content Exists Risk", "invalid_request_error"), RequestRefused, "Risk"),
    ("deepseek", 400, openai("Model Not Exist", "invalid_request_error"), UnknownModel, "Not Exist"),
    ("deepseek", 401, openai("Authentication Fails", "invalid_request_error"), AccessDenied, "DEEPSEEK" + KEY),
    ("deepseek", 402, openai("Insufficient Balance", "invalid_request_error"), AccessDenied, PAY),
    ("deepseek", 429, openai("Rate limit reached"), Rejected, "Rate limit"),
    ("deepseek", 503, openai("Server overloaded"), Rejected, "overloaded"),
    # Zhipu
    ("zhipu", 400, zhipu("1210", "API 调用参数有误，请检查文档。"), ConfigProblem, "it does not say which: " + OMIT),
    ("zhipu", 400, zhipu("1210", "该模型始终思考，不支持关闭思考；请使用 low、high 或 max。"), ConfigProblem, LITTLE),
    ("zhipu", 400, zhipu("1214", "temperature参数非法。请检查文档。"), ConfigProblem, "change temperature in"),
    ("zhipu", 400, zhipu("1214", "stop:最大只能有4个停止词"), ConfigProblem, "change stop in the recipe"),
    ("zhipu", 400, zhipu("1214", "messages 参数非法。请检查文档。"), RequestRefused, "messages"),
    ("zhipu", 400, zhipu("1211", "模型不存在，请检查模型代码。"), UnknownModel, "模型不存在"),
    ("zhipu", 400, zhipu("1261", "Prompt 超长"), RequestRefused, "超长"),
    ("zhipu", 400, zhipu("1301", "系统检测到输入或生成内容可能包含不安全或敏感内容"), RequestRefused, "敏感"),
    ("zhipu", 401, zhipu("1002", "Authentication Token 非法"), AccessDenied, "ZHIPUAI" + KEY),
    ("zhipu", 429, zhipu("1113", "余额不足或无可用资源包,请充值。"), AccessDenied, PAY),
    ("zhipu", 429, zhipu("1113", "您的账户已欠费，请充值后重试"), AccessDenied, PAY),
    ("zhipu", 429, zhipu("1113", "Insufficient balance or no resource package. Please recharge."), AccessDenied, PAY),
    ("zhipu", 429, zhipu("1302", "您当前使用该 API 的并发数过高，请降低并发"), Rejected, "并发"),
    ("zhipu", 429, zhipu("1303", "您当前使用该 API 的频率过高，请降低频率"), Rejected, "频率"),
    ("zhipu", 429, zhipu("1305", "该 API 已触发流量限制"), Rejected, "流量"),
    ("zhipu", 500, zhipu("500", "内部错误"), MaybeExecuted, "内部错误"),
    # Moonshot
    ("moonshot", 400, kimi("invalid_request_error", "invalid temperature: only 1 is allowed for this model"),
     ConfigProblem, "change temperature in the recipe" + CHANGE),
    ("moonshot", 400, kimi("content_filter", "The request was rejected because it was considered high risk"),
     RequestRefused, "high risk"),
    ("moonshot", 400, kimi("invalid_request_error", "Your request exceeded model token limit : 8192"),
     RequestRefused, "token limit"),
    ("moonshot", 401, kimi("invalid_authentication_error", "Invalid Authentication"), AccessDenied, "MOONSHOT" + KEY),
    ("moonshot", 404, kimi("resource_not_found_error", "Not found the model m or Permission denied"),
     UnknownModel, "Not found"),
    ("moonshot", 429, kimi("exceeded_current_quota_error", "Your account is suspended due to insufficient balance"),
     AccessDenied, PAY),
    ("moonshot", 429, kimi("rate_limit_reached_error", "request reached max RPM: 3"), Rejected, "max RPM"),
    ("moonshot", 429, kimi("engine_overloaded_error", "The engine is currently overloaded"), Rejected, "overloaded"),
    # SiliconFlow
    ("siliconflow", 400, flow(20015, "Value error, current model does not support parameter `enable_thinking`."),
     ConfigProblem, "take enable_thinking out of extra_body"),
    ("siliconflow", 400, flow(20012, "Model does not exist. Please check it carefully."), UnknownModel, "not exist"),
    ("siliconflow", 401, "Invalid token", AccessDenied, "SILICONFLOW" + KEY),
    ("siliconflow", 403, flow(30001, "Sorry, your account balance is insufficient"), AccessDenied, PAY),
    ("siliconflow", 403, flow(30003, "The model needs real-name authentication"), AccessDenied, "SILICONFLOW" + KEY),
    ("siliconflow", 429, {"message": "Request was rejected due to rate limiting. TPM limit reached.", "data": None},
     Rejected, "TPM limit"),
    ("siliconflow", 503, flow(50505, "Model service overloaded. Please try again later."), Rejected, "overloaded"),
    ("siliconflow", 504, "", MaybeExecuted, "answered 504"),
    # Volcengine
    ("volcengine", 403, openai("The request failed because your account has an overdue balance", "AccountOverdueError"),
     AccessDenied, PAY),
    ("volcengine", 404, openai("The model or endpoint m does not exist", "InvalidEndpointOrModel.NotFound"),
     UnknownModel, "does not exist"),
]  # fmt: skip
SENT = ("model", "messages", "temperature", "top_p", "presence_penalty", "max_tokens", "stop", "response_format")
EXIT = {AccessDenied: 77, ConfigProblem: 78, UnknownModel: 78, MaybeExecuted: 75, Rejected: 75, RequestRefused: 75}


@pytest.mark.parametrize(
    ("name", "status", "said", "kind", "advice"),
    REFUSALS,
    ids=[f"{n}-{row[0]}-{row[1]}" for n, row in enumerate(REFUSALS)],
)
def test_a_refusal_means_what_its_provider_means(
    name: str, status: int, said: object, kind: type[SelfinstructError], advice: str
) -> None:
    """The class decides what the run does, the exit code what a script does, and the advice what a person does."""
    preset = endpoints.load(name)
    where = f"{preset.base_url}/chat/completions"
    fields = (*SENT, *preset.for_model(preset.default_model).extra_body)
    error = fault(status, orjson.dumps(said), where=where, fields=fields, key=preset.key_variable)
    assert type(error) is kind
    assert error.exit_code == EXIT[kind]
    assert f"{where} answered {status}: " in str(error)
    assert advice in str(error)
    assert ("in the recipe" in str(error) or "choose another" in str(error)) is (kind is ConfigProblem)
