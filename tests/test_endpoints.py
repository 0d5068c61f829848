"""Endpoint presets: what is shipped is whole and dated, and a key goes to the company it belongs to."""

from __future__ import annotations

import datetime
import re
from fnmatch import translate
from pathlib import Path
from typing import Any

import pytest

from selfinstruct import endpoints, resources, wire
from selfinstruct.base_url import ApiKey, normal_base_url
from selfinstruct.endpoints import ModelOddities, Preset
from selfinstruct.errors import AccessDenied, ConfigProblem
from selfinstruct.schema import Draw, Endpoint, Message, Request, Sampling

SHIPPED = ["dashscope", "deepseek", "moonshot", "openai", "siliconflow", "volcengine", "zhipu"]
FIXED = ("temperature", "top_p", "presence_penalty", "frequency_penalty")
EACH = pytest.mark.parametrize("preset", [endpoints.load(name) for name in SHIPPED], ids=SHIPPED)
ENOUGH = """
checked = 2026-11-22
source = ["https://example.com"]
base_url = "https://api.example.com/v1"
key_variable = "EXAMPLE_API_KEY"
key_page = "https://example.com/keys"
default_model = "m-1"
json_mode = "none"
"""


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that stands for the shipped presets."""
    monkeypatch.setattr(resources, "recipes_dir", lambda: tmp_path)
    folder = tmp_path / "endpoints"
    folder.mkdir()
    return folder


# --- what we ship -------------------------------------------------------------------------------------------------


def test_the_endpoints_that_chinese_users_have_are_shipped() -> None:
    """Each loads, under the name of its file."""
    assert endpoints.names() == SHIPPED
    assert [endpoints.load(name).name for name in SHIPPED] == SHIPPED


@EACH
def test_a_preset_says_when_and_where_it_was_read(preset: Preset) -> None:
    """A date that is past, at least two pages, and for every oddity a note."""
    assert datetime.date(2026, 11, 1) <= preset.checked <= datetime.date.today()
    assert len(preset.source) >= 2
    assert all(page.startswith("https://") for page in preset.source)
    assert all(len(row.note) > 20 for row in preset.models)


@EACH
def test_a_preset_is_spelled_as_the_program_spells_it(preset: Preset) -> None:
    """Addresses in their one spelling and encrypted, a variable of the provider's own, a model by name."""
    assert [normal_base_url(url, key=True) for url in preset.urls] == list(preset.urls)
    assert all(url.startswith("https://") for url in preset.urls)
    assert re.fullmatch(r"[A-Z]+_API_KEY", preset.key_variable)
    assert (preset.key_variable == "OPENAI_API_KEY") == (preset.name == "openai")
    assert preset.key_page.startswith("https://")
    assert preset.default_model


@EACH
def test_every_row_says_something_and_within_what_can_be_sent(preset: Preset) -> None:
    """No row only takes up room; patterns are patterns, ranges have their ends in order."""
    for row in preset.models:
        assert row.model_dump(exclude={"match", "unless", "note"}, exclude_defaults=True)
        assert all(re.compile(translate(pattern)) for pattern in (*row.match, *row.unless))
        assert all(low < high for low, high in row.limits.values())


def test_no_address_belongs_to_two_presets() -> None:
    """Or a key would depend on the order of files."""
    urls = [url for name in SHIPPED for url in endpoints.load(name).urls]
    assert len(urls) == len(set(urls))


OFF = {"thinking": {"type": "disabled"}}
MODELS: list[tuple[str, str, dict[str, Any]]] = [
    ("openai", "gpt-3.5-turbo", {"json_mode": "json_object"}),
    ("openai", "gpt-3.5-turbo-instruct", {"json_mode": "none"}),
    ("openai", "gpt-4.1-mini", {}),
    ("openai", "gpt-4o-2024-08-06", {}),
    ("openai", "gpt-5-chat-latest", {}),
    *(
        ("openai", model, {"token_field": "max_completion_tokens", "omit": (*FIXED, "stop"), "thinks": True})
        for model in ("o3-mini", "gpt-5", "gpt-5.4-nano", "gpt-6-luna")
    ),
    ("dashscope", "qwen-plus", {"json_mode": "json_schema", "limits": {"top_p": (0.01, 0.99)}}),
    ("dashscope", "qwen-turbo", {"json_mode": "json_object", "limits": {"top_p": (0.01, 0.99)}}),
    *(
        (
            "dashscope",
            model,
            {
                "json_mode": "json_object",
                "limits": {"top_p": (0.01, 0.99)},
                "extra_body": {"enable_thinking": False},
            },
        )
        for model in ("qwen3-8b", "qwen3-235b-a22b", "qwen3.5-plus", "qwen3.8-flash", "glm-4.7")
    ),
    ("dashscope", "qwen3-235b-a22b-instruct-2507", {"json_mode": "json_object", "limits": {"top_p": (0.01, 0.99)}}),
    ("dashscope", "qwq-plus", {"json_mode": "json_object", "limits": {"top_p": (0.01, 0.99)}, "thinks": True}),
    ("deepseek", "deepseek-flash", {"json_mode": "json_object", "limits": {"top_p": (0.01, 1.0)}, "extra_body": OFF}),
    ("deepseek", "deepseek-chat", {"json_mode": "json_object", "limits": {"top_p": (0.01, 1.0)}}),
    ("moonshot", "kimi-k2.6", {"token_field": "max_completion_tokens", "omit": FIXED, "extra_body": OFF}),
    ("moonshot", "kimi-k2.7-code", {"token_field": "max_completion_tokens", "omit": FIXED, "thinks": True}),
    *(
        (
            "moonshot",
            model,
            {
                "token_field": "max_completion_tokens",
                "omit": FIXED,
                "extra_body": {"reasoning_effort": "low"},
                "thinks": True,
            },
        )
        for model in ("kimi-k3", "kimi-k3.1-pro")
    ),
    ("moonshot", "moonshot-v1-8k", {"limits": {"temperature": (0.0, 1.0)}}),
    ("siliconflow", "Qwen/Qwen3-8B", {"json_mode": "json_object", "extra_body": {"enable_thinking": False}}),
    ("siliconflow", "Qwen/Qwen3-VL-32B-Instruct", {"json_mode": "json_object"}),
    ("siliconflow", "deepseek-ai/DeepSeek-R1-0528-Qwen3-8B", {"json_mode": "json_object", "thinks": True}),
    ("siliconflow", "Pro/zai-org/GLM-5.1", {"json_mode": "none", "thinks": True}),
    ("volcengine", "doubao-seed-2-1-lite-260915", {"json_mode": "none", "extra_body": OFF}),
]
ZHIPU: dict[str, Any] = {
    "json_mode": "json_object",
    "omit": ("presence_penalty", "frequency_penalty", "stop", "seed"),
    "limits": {"temperature": (0.01, 0.99), "top_p": (0.01, 0.99)},
}
MODELS += [
    ("zhipu", "glm-4-plus", ZHIPU),
    ("zhipu", "GLM-4.5-Air", ZHIPU | {"extra_body": OFF}),
    ("zhipu", "glm-5.2", ZHIPU | {"extra_body": OFF}),
    ("zhipu", "glm-5.3", ZHIPU | {"extra_body": {"reasoning_effort": "low"}, "thinks": True}),
]


@pytest.mark.parametrize(("name", "model", "oddities"), MODELS, ids=[f"{row[0]}-{row[1]}" for row in MODELS])
def test_each_model_has_its_own_oddities_and_no_others(name: str, model: str, oddities: dict[str, Any]) -> None:
    """Row by row, in any case of letters; a model nobody listed has none beyond its provider's."""
    assert endpoints.load(name).for_model(model) == ModelOddities(**oddities)


def test_greedy_classification_is_asked_for_within_the_limits() -> None:
    """The papers' temperature 0 and top_p 0 are refused by four of these servers; each gets the least it takes."""
    request = Request(
        draw=Draw(stage="classify", round=0, slot=0),
        messages=(Message(role="user", content="?"),),
        sampling=Sampling(temperature=0.0, top_p=0.0, presence_penalty=0.0, frequency_penalty=0.0, max_tokens=3),
        stop=("<task 1>", "</tasks>"),
    )
    sent = {}
    for name in SHIPPED:
        preset = endpoints.load(name)
        spelled = preset.for_model(preset.default_model).model_dump(exclude={"thinks"})
        body = wire.body(Endpoint(identity=preset.base_url, model=preset.default_model, **spelled), request)
        sent[name] = [body.get(field) for field in ("temperature", "top_p", "stop")]
    both = ["<task 1>", "</tasks>"]
    assert sent == {
        "dashscope": [0.0, 0.01, both],
        "deepseek": [0.0, 0.01, both],
        "moonshot": [None, None, both],
        "openai": [0.0, 0.0, both],
        "siliconflow": [0.0, 0.0, both],
        "volcengine": [0.0, 0.0, both],
        "zhipu": [0.01, 0.01, None],
    }


# --- finding one --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("deepsek", "; did you mean 'deepseek'?"),
        ("Moonshot", "; did you mean 'moonshot'?"),
        ("zhipuai", "; did you mean 'zhipu'?"),
        ("", ""),
        ("../demo", ""),
        ("quite-another", ""),
    ],
)
def test_an_unknown_preset_is_told_with_those_there_are(name: str, hint: str) -> None:
    """A name is a name, never a path."""
    with pytest.raises(ConfigProblem) as raised:
        endpoints.load(name)
    assert str(raised.value) == f"no endpoint preset '{name}'{hint} (there are {', '.join(SHIPPED)})"


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://api.deepseek.com", "deepseek"),
        ("https://api.deepseek.com/", "deepseek"),
        ("HTTPS://API.DeepSeek.com:443/v1/", "deepseek"),
        ("https://api.openai.com/v1", "openai"),
        ("https://dashscope-intl.aliyuncs.com/compatible-mode/v1/", "dashscope"),
        ("https://open.bigmodel.cn/api/paas/v4", "zhipu"),
        ("https://api.z.ai/api/paas/v4/", "zhipu"),
        ("https://api.moonshot.ai/v1", "moonshot"),
        ("https://api.siliconflow.cn/v1", "siliconflow"),
        ("http://api.deepseek.com/v1", None),
        ("https://api.deepseek.com.example.org/v1", None),
        ("https://proxy.example.org/api.deepseek.com/v1", None),
        ("https://eu.api.openai.com/v1", None),
        ("http://127.0.0.1:8000/v1", None),
    ],
)
def test_a_known_address_has_its_preset_however_it_is_spelled(url: str, name: str | None) -> None:
    """And an address that only looks like one has none."""
    preset = endpoints.preset_of(url)
    assert (preset and preset.name) == name


# --- its key ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHIPPED)
def test_no_company_is_sent_the_key_of_another(name: str) -> None:
    """With every other key set, and its own blank, a preset has none."""
    every = {variable: f"key of {other}" for other in SHIPPED for variable in variables(other)}
    assert endpoints.key_of(endpoints.load(name), every) == ApiKey(f"key of {name}", variables(name)[0])
    others = {variable: key for variable, key in every.items() if variable not in variables(name)}
    assert endpoints.key_of(endpoints.load(name), others | dict.fromkeys(variables(name), " \n")) is None


def variables(name: str) -> tuple[str, ...]:
    """Where a preset's key may stand."""
    preset = endpoints.load(name)
    return (preset.key_variable, *preset.other_key_variables)


def test_a_second_name_of_a_variable_counts_when_the_first_is_not_set() -> None:
    """Zhipu's own client reads another variable than its guide names."""
    zhipu = endpoints.load("zhipu")
    assert endpoints.key_of(zhipu, {"ZAI_API_KEY": " b\n"}) == ApiKey("b", "ZAI_API_KEY")
    assert endpoints.key_of(zhipu, {"ZAI_API_KEY": "b", "ZHIPUAI_API_KEY": "a"}) == ApiKey("a", "ZHIPUAI_API_KEY")
    assert endpoints.key_of(zhipu, {}) is None


def test_a_missing_key_is_told_by_its_variable_and_where_to_get_one() -> None:
    """A person has to act: exit code 77."""
    problem = endpoints.no_key(endpoints.load("deepseek"))
    assert isinstance(problem, AccessDenied)
    assert problem.exit_code == 77
    assert str(problem) == (
        "no API key for deepseek: set DEEPSEEK_API_KEY; keys are made at https://platform.deepseek.com/api_keys"
        " (a key in another variable is not sent there)"
    )
    assert "set MOONSHOT_API_KEY or KIMI_API_KEY; keys" in str(endpoints.no_key(endpoints.load("moonshot")))


# --- the file -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (ENOUGH + "colour = 1", "colour: Extra inputs are not permitted"),
        (ENOUGH.replace('"none"', '"yes"'), "json_mode: Input should be"),
        (ENOUGH.replace("checked", "# checked"), "checked: Field required"),
        (ENOUGH + '[[models]]\nmatch = ["*"]', "models.0.note: Field required"),
        (
            ENOUGH + '[[models]]\nmatch = ["*"]\nnote = ""\nlimits = {top_k = [0, 1]}',
            "models.0.limits.top_k.[key]: ",
        ),
        (ENOUGH + '[[models]]\nmatch = ["*"]\nnote = ""\nlimits = {top_p = [0]}', "models.0.limits.top_p.1: Field"),
        (ENOUGH + "name = 'another'", "cannot be read: "),
        (ENOUGH + "[[", "cannot be read: "),
        ("\udcff", "cannot be read: 'utf-8'"),
    ],
)
def test_a_broken_preset_is_one_clear_line_with_its_file(shipped: Path, text: str, complaint: str) -> None:
    """Also where somebody else mends it."""
    file = shipped / "mine.toml"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigProblem) as raised:
        endpoints.load("mine")
    assert str(raised.value).startswith(f"{file}: {complaint}")


def test_rows_add_up_in_their_order(shipped: Path) -> None:
    """Lists and tables grow, single values are overruled, and a row may make exceptions."""
    rows = """
    [[models]]
    match = ["m-*", "n-1"]
    unless = ["m-9*"]
    omit = ["stop", "seed"]
    limits = { top_p = [0.1, 0.9], temperature = [0, 1] }
    extra_body = { a = 1, b = 1 }
    thinks = true
    note = "first"
    [[models]]
    match = ["*-1"]
    omit = ["seed", "top_p"]
    limits = { top_p = [0.2, 0.8] }
    extra_body = { b = 2 }
    token_field = "max_completion_tokens"
    json_mode = "json_object"
    thinks = false
    note = "second"
    """
    (shipped / "mine.toml").write_text(ENOUGH + rows)
    mine = endpoints.load("mine")
    first = ModelOddities(
        omit=("stop", "seed"),
        limits={"top_p": (0.1, 0.9), "temperature": (0.0, 1.0)},
        extra_body={"a": 1, "b": 1},
        json_mode="none",
        thinks=True,
    )
    assert mine.for_model("m-2") == first
    assert mine.for_model("m-1") == ModelOddities(
        omit=("stop", "seed", "top_p"),
        limits={"top_p": (0.2, 0.8), "temperature": (0.0, 1.0)},
        extra_body={"a": 1, "b": 2},
        token_field="max_completion_tokens",
        json_mode="json_object",
    )
    assert mine.for_model("m-91") == mine.for_model("") == ModelOddities(json_mode="none")
