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
            'write omit = ["top_k"]',
        ),
        (400, problem("temperature is out of range", param="temperature"), "change temperature in the recipe"),
    ],
)
def test_a_400_about_a_field_we_sent_prints_its_cure(status: int, answer: bytes, fix: str) -> None:
    """It would be refused for every request of the run, so it is the recipe that is wrong."""
    error = fault(status, answer, fields=FIELDS)
    assert type(error) is ConfigProblem
    assert f"; {fix}" in str(error)


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
