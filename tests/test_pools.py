"""Pools of models: what is shipped is whole, honest about its age, and asked as UltraFeedback asked."""

from __future__ import annotations

import datetime
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from selfinstruct import endpoints, pools, resources
from selfinstruct.errors import ConfigProblem
from selfinstruct.pools import Pool, PoolModel

SHIPPED = ["modern-17", "ultrafeedback-17"]
EACH = pytest.mark.parametrize("pool", [pools.load(name) for name in SHIPPED], ids=SHIPPED)
TEMPLATES = Path(pools.__file__).parent / "recipes" / "pools" / "templates"

# In the order of UltraFeedback's sampling.py.
ULTRAFEEDBACK = [
    *("gpt-4", "gpt-3.5-turbo", "bard", "ultralm-65b", "wizardlm-30b", "vicuna-33b", "llama-2-70b-chat", "ultralm-13b"),
    *("wizardlm-13b", "llama-2-13b-chat", "wizardlm-7b", "alpaca-7b", "llama-2-7b-chat", "falcon-40b-instruct"),
    *("starchat", "mpt-30b-chat", "pythia-12b"),
]
THREE = """
[[model]]
name = "a"
hub = "maker/A-7B"
[[model]]
name = "b"
model = "/models/b"
template = "mine.jinja"
[[model]]
name = "c"
base_url = "http://127.0.0.1:8000/v1"
replicas = ["http://127.0.0.1:8001/v1"]
key_variable = "MY_KEY"
price = "in=0.5,out=1.5,currency=cny"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A pool of the user's, with a model of each kind."""
    path = tmp_path / "ours.toml"
    path.write_text(THREE)
    return path


def names(pool: Pool) -> list[str]:
    """The names in a pool, in its order."""
    return [model.name for model in pool.models]


# --- what we ship -------------------------------------------------------------------------------------------------


def test_two_pools_are_shipped() -> None:
    """Each loads, under the name of its file."""
    assert pools.names() == SHIPPED
    assert [pools.load(name).name for name in SHIPPED] == SHIPPED


@EACH
def test_a_shipped_pool_has_seventeen_models_of_distinct_names(pool: Pool) -> None:
    """And each says who made it, under which licence, and what a reader should know."""
    assert len(set(names(pool))) == len(pool.models) == 17
    for model in pool.models:
        assert min(len(said) for said in (model.family, model.maker, model.country, model.licence)) >= 2, model.name
        assert len(model.note) > 10, model.name


@EACH
def test_a_shipped_pool_says_when_and_where_it_was_read(pool: Pool) -> None:
    """A date that is past, and at least three pages."""
    assert pool.checked is not None
    assert datetime.date(2026, 11, 1) <= pool.checked <= datetime.date.today()
    assert len(pool.source) >= 3
    assert all(page.startswith("https://") for page in pool.source)


@EACH
def test_what_a_shipped_model_names_is_there(pool: Pool) -> None:
    """Its preset of an endpoint, and its template; and weights have a Hub id and a size."""
    for model in pool.models:
        assert model.endpoint in ["", *endpoints.names()], model.name
        assert bool(pools.template_path(model, pool.folder)) == bool(model.template), model.name
        assert bool(model.hub) == (model.api == "vllm") == (model.parameters > 0), model.name
        assert bool(model.layers) == bool(model.kv_heads) == bool(model.head_dim), model.name


def test_the_pool_of_ultrafeedback_has_its_names() -> None:
    """Those of the script that drew them; the README's other WizardLM is told beside its name."""
    pool = pools.load("ultrafeedback-17")
    assert names(pool) == ULTRAFEEDBACK
    (wizard,) = pools.load("ultrafeedback-17:wizardlm-30b").models
    assert "WizardLM-70B-v1.0" in wizard.note
    assert "WizardLM-70B-v1.0" in (pool.folder / "ultrafeedback-17.toml").read_text("utf-8").split("checked =")[0]


def test_what_nobody_can_ask_any_more_is_retired() -> None:
    """APIs that were shut down, weights that are gone or only a difference; each tells what stands nearest."""
    retired = {model.name: model.retired for model in pools.load("ultrafeedback-17").models if model.retired}
    assert sorted(retired) == ["bard", "gpt-3.5-turbo", "gpt-4", "mpt-30b-chat", "ultralm-65b"]
    assert [name for name, why in retired.items() if "nearest" not in why] == []


def test_the_modern_pool_is_of_many_makers_countries_and_sizes() -> None:
    """Seventeen families, each of another maker; six are Chinese, four are mixtures, and sizes go from 1B past 70B."""
    models = pools.load("modern-17").models
    assert len({model.hub for model in models}) == len({model.family for model in models}) == 17
    makers = {model.maker: model.country for model in models}
    assert Counter(makers.values()) == {"CN": 6, "US": 5, "FR": 1, "KR": 1, "AE": 1, "CH": 1, "IL": 1, "CA": 1}
    assert len(makers) == 17
    assert min(model.parameters for model in models) < 1.5
    assert sum(model.parameters >= 70 for model in models) == 2
    assert sum(model.active is not None for model in models) == 4
    assert {(model.api, model.retired, model.template) for model in models} == {("vllm", "", "")}


def test_most_of_the_modern_pool_is_permissive() -> None:
    """Those with terms of their own are the ones that the head of the file names."""
    models = pools.load("modern-17").models
    own_terms = [model.name for model in models if model.licence not in ("Apache-2.0", "MIT")]
    head = (resources.recipes_dir() / "pools" / "modern-17.toml").read_text("utf-8").split("checked =")[0]
    assert f"modern-17:-{',-'.join(own_terms)}" in head
    assert [model.name for model in models if model.gated] == ["llama-3.3-70b", "apertus-8b", "command-r7b"]


# --- templates ----------------------------------------------------------------------------------------------------

SYSTEM = {"role": "system", "content": "Be brief."}
TURNS = [
    {"role": "user", "content": "Who wrote it?"},
    {"role": "assistant", "content": "Nobody knows."},
    {"role": "user", "content": "And when?\n\nRoughly."},
]
VICUNA = (
    "A chat between a curious user and an artificial intelligence assistant."
    " The assistant gives helpful, detailed, and polite answers to the user's questions."
)
ALPACA = "Below is an instruction that describes a task. Write a response that appropriately completes the request."
ULTRALM = (
    "A one-turn chat between a curious user and an artificial intelligence assistant."
    " The assistant gives helpful, very detailed, and polite answers to the user's questions."
)
MPT = "A conversation between a user and an LLM-based AI assistant. The assistant gives helpful and honest answers."
LLAMA = (
    "You are a helpful, respectful and honest assistant. Always answer as helpfully as possible, while being safe."
    " Your answers should not include any harmful, unethical, racist, sexist, toxic, dangerous, or illegal content."
    " Please ensure that your responses are socially unbiased and positive in nature.\n\n"
    "If a question does not make any sense, or is not factually coherent, explain why instead of answering something"
    " not correct. If you don't know the answer to a question, please don't share false information."
)
RENDERED = {
    "vicuna": (
        f"<s>{VICUNA} Be brief. USER: Who wrote it? ASSISTANT: Nobody knows.</s>USER: And when?\n\nRoughly. ASSISTANT:"
    ),
    "alpaca": (
        f"<s>{ALPACA} Be brief.\n\n### Instruction: Who wrote it?\n\n### Response: Nobody knows.</s>"
        "### Instruction: And when?\n\nRoughly.\n\n### Response:"
    ),
    "wizardlm-7b": (
        "<s>Be brief.\n\nWho wrote it?\n\n### Response:Nobody knows.</s>\n\nAnd when?\n\nRoughly.\n\n### Response:"
    ),
    "ultralm": (
        f"<s>User: {ULTRALM}</s>User: Be brief.</s>\nUser: Who wrote it?</s>\nAssistant: Nobody knows.</s>\n"
        "User: And when?\n\nRoughly.</s>\nAssistant: "
    ),
    "starchat": (
        "<|system|>Be brief.<|end|>\n<|user|>Who wrote it?<|end|>\n<|assistant|>Nobody knows.<|end|>\n"
        "<|user|>And when?\n\nRoughly.<|end|>\n<|assistant|>"
    ),
    "falcon-instruct": (
        "Be brief.\n\nUser: Who wrote it?\n\nAssistant: Nobody knows.\n\nUser: And when?\nRoughly.\n\nAssistant:"
    ),
    "mpt-chat": (
        f"<|im_start|>system\n{MPT} Be brief.<|im_end|>\n<|im_start|>user\nWho wrote it?<|im_end|>\n"
        "<|im_start|>assistant\nNobody knows.<|im_end|>\n<|im_start|>user\nAnd when?\n\nRoughly.<|im_end|>\n"
        "<|im_start|>assistant\n"
    ),
    "llama-2": (
        f"<s>[INST] <<SYS>>\n{LLAMA} Be brief.\n<</SYS>>\n\nWho wrote it? [/INST] Nobody knows. </s>"
        "<s>[INST] And when?\n\nRoughly. [/INST]"
    ),
    "pythia": "Be brief.\n\nUser: Who wrote it?\nAssistant: Nobody knows.\nUser: And when?\n\nRoughly.\nAssistant:",
}
SYSTEM_PART = dict.fromkeys(["vicuna", "alpaca", "mpt-chat", "llama-2"], " Be brief.")
SYSTEM_PART |= dict.fromkeys(["wizardlm-7b", "falcon-instruct", "pythia"], "Be brief.\n\n")
SYSTEM_PART |= {"ultralm": "User: Be brief.</s>", "starchat": "Be brief."}
OPENINGS = {"ASSISTANT:", "### Response:", "Assistant:", "<|assistant|>", "<|im_start|>assistant"}
EACH_TEMPLATE = pytest.mark.parametrize("name", sorted(RENDERED))


def render(name: str, messages: list[dict[str, str]], *, answer: bool = True, **options: Any) -> str:
    """What a template makes of a conversation, in the environment that chat templates run in."""
    environment = ImmutableSandboxedEnvironment(**options)
    template = environment.from_string((TEMPLATES / f"{name}.jinja").read_text("utf-8"))
    return template.render(messages=messages, add_generation_prompt=answer, bos_token="<s>", eos_token="</s>")


@EACH_TEMPLATE
def test_a_template_renders_a_conversation_of_several_turns(name: str) -> None:
    """To the last character, whatever the environment does to the line breaks behind tags."""
    assert render(name, [SYSTEM, *TURNS]) == RENDERED[name]
    assert render(name, [SYSTEM, *TURNS], trim_blocks=True, lstrip_blocks=True) == RENDERED[name]


@EACH_TEMPLATE
def test_a_template_needs_no_system_message(name: str) -> None:
    """Without one only the default text remains, and nothing stands where it would have stood."""
    before, its_part, after = RENDERED[name].partition(SYSTEM_PART[name])
    assert its_part
    assert render(name, TURNS) == before + after


@EACH_TEMPLATE
def test_a_template_asks_for_an_answer_only_where_one_is_wanted(name: str) -> None:
    """The rest of the text is the same; LLaMA-2 answers what ends with its tag, and has no opening."""
    asked, told = render(name, TURNS), render(name, TURNS, answer=False)
    assert asked.startswith(told)
    assert asked[len(told) :].strip() in ({""} if name == "llama-2" else OPENINGS)


def test_every_template_is_used_and_says_where_it_comes_from() -> None:
    """A file that no shipped model names is one nobody would miss."""
    used = {model.template for name in SHIPPED for model in pools.load(name).models} - {""}
    shipped = {path.stem: path.read_text("utf-8") for path in TEMPLATES.glob("*.jinja")}
    assert used == set(shipped) == set(RENDERED)
    assert [name for name, text in shipped.items() if not text.startswith("{# ")] == []


# --- a pool of the user's -----------------------------------------------------------------------------------------


def test_a_model_of_the_users_needs_a_name_and_a_place(file: Path) -> None:
    """A Hub id or a folder is for our vLLM, an address is asked by chat; the rest has harmless values."""
    pool = pools.load(str(file))
    assert (pool.name, pool.checked, pool.source, pool.folder) == ("ours", None, (), file.parent)
    assert [(model.name, model.api, model.asked_as, model.context) for model in pool.models] == [
        ("a", "vllm", "maker/A-7B", 4096),
        ("b", "vllm", "/models/b", 4096),
        ("c", "chat", "c", 4096),
    ]
    assert pool.models[0] == PoolModel(name="a", hub="maker/A-7B")
    assert [model.urls for model in pool.models] == [
        (),
        (),
        ("http://127.0.0.1:8000/v1", "http://127.0.0.1:8001/v1"),
    ]


def test_where_a_pool_lies_is_no_part_of_its_data(file: Path) -> None:
    """The same pool in another folder is written down alike, and read again."""
    pool = pools.load(str(file))
    written = pool.model_dump(mode="json")
    assert "folder" not in written
    assert Pool.model_validate(written).models == pool.models


def test_a_pool_may_name_itself_and_lie_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name of the file is only what is taken otherwise."""
    (tmp_path / "x.toml").write_text('name = "Ours, 2026"' + THREE)
    (tmp_path / "a:b.toml").write_text(THREE)
    monkeypatch.chdir(tmp_path)
    assert names(pools.load("a:b.toml:c")) == ["c"]
    assert pools.load("a:b.toml").name == "a:b"
    assert pools.load("x.toml").name == pools.load("./x.toml").name == "Ours, 2026"


def test_a_template_is_one_of_ours_or_a_file_beside_the_pool(file: Path) -> None:
    """And none for a model that brings its own."""
    pool = pools.load(str(file))
    (file.parent / "mine.jinja").write_text("{{ messages[0].content }}")
    assert pools.template_path(pool.models[0], pool.folder) is None
    assert pools.template_path(pool.models[1], pool.folder) == file.parent / "mine.jinja"
    ours = PoolModel(name="d", hub="maker/D", template="vicuna")
    assert pools.template_path(ours, pool.folder) == TEMPLATES / "vicuna.jinja"


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        ("Vicunas", "no chat template 'Vicunas'; did you mean 'vicuna'? (there are alpaca, "),
        ("../templates/vicuna", "no chat template '../templates/vicuna'"),
        ("lost.jinja", "no chat template /nowhere/lost.jinja"),
    ],
)
def test_a_template_that_is_not_there_is_told(template: str, complaint: str) -> None:
    """With the model that wants it; the name of one of ours is a name, never a path."""
    model = PoolModel(name="d", hub="maker/D", template=template)
    with pytest.raises(ConfigProblem) as raised:
        pools.template_path(model, Path("/nowhere"))
    assert str(raised.value).startswith(f"model 'd': {complaint}")


# --- a choice of its models ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("choice", "chosen"),
    [
        ("", ["a", "b", "c"]),
        (":c,a", ["c", "a"]),
        (":b", ["b"]),
        (": a , b", ["a", "b"]),
        (":-b", ["a", "c"]),
        (":-c,-a", ["b"]),
    ],
)
def test_a_choice_is_taken_in_its_own_order(file: Path, choice: str, chosen: list[str]) -> None:
    """Those left over by a minus keep the order of the pool."""
    assert names(pools.load(f"{file}{choice}")) == chosen


def test_a_choice_works_on_a_shipped_pool_too() -> None:
    """A pool of two, under the same name and with the same folder for its templates."""
    pool = pools.load("ultrafeedback-17:vicuna-33b,starchat")
    assert (pool.name, names(pool)) == ("ultrafeedback-17", ["vicuna-33b", "starchat"])
    assert pools.template_path(pool.models[1], pool.folder) == TEMPLATES / "starchat.jinja"


@pytest.mark.parametrize(
    ("choice", "complaint"),
    [
        ("a,d", "pool 'ours' has no model 'd' (it has a, b, c)"),
        ("A", "pool 'ours' has no model 'A'; did you mean 'a'? (it has a, b, c)"),
        ("-B", "pool 'ours' has no model 'B'; did you mean 'b'? (it has a, b, c)"),
        ("", "pool 'ours' has no model '' (it has a, b, c)"),
        ("a,b,a", "pool 'ours:a,b,a': 'a' is named twice"),
        ("a,-b", "pool 'ours:a,-b': either those that are asked, or '-' before each that is not"),
        ("-a,b", "pool 'ours:-a,b': either those that are asked, or '-' before each that is not"),
        ("-a,-b,-c", "pool 'ours:-a,-b,-c': no model is left"),
    ],
)
def test_a_choice_that_cannot_be_is_told(file: Path, choice: str, complaint: str) -> None:
    """Nothing is left out that was asked for, and nothing guessed."""
    with pytest.raises(ConfigProblem) as raised:
        pools.load(f"{file}:{choice}")
    assert str(raised.value) == complaint


# --- what is wrong with a file ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "hint"),
    [
        ("ultrafeedback", "; did you mean 'ultrafeedback-17'?"),
        ("Modern-17", "; did you mean 'modern-17'?"),
        ("modern17:gpt-oss-20b", "; did you mean 'modern-17'?"),
        ("", ""),
        ("mine", ""),
    ],
)
def test_an_unknown_pool_is_told_with_those_there_are(source: str, hint: str) -> None:
    """And how a file of one's own is named."""
    with pytest.raises(ConfigProblem) as raised:
        pools.load(source)
    name = source.partition(":")[0]
    there = "there are modern-17, ultrafeedback-17; a file of your own ends in .toml"
    assert str(raised.value) == f"no pool '{name}'{hint} ({there})"


MODEL = '[[model]]\nname = "m"\nhub = "maker/M"\n'


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "no model in it; each is a [[model]] table"),
        (MODEL + MODEL, "two models are called 'm'"),
        ("colour = 1\n" + MODEL, "colour: no such key"),
        ("checked = 5.5\n" + MODEL, "checked: "),
        ("models = []\n" + MODEL, "models: not a key of a pool; each model is a [[model]] table"),
        ("folder = '/'\n" + MODEL, "folder: not a key of a pool"),
        ("model = 3", "model: each model is a [[model]] table, in two pairs of brackets"),
        (MODEL.replace("[[model]]", "[model]"), "model: each model is a [[model]] table, in two pairs of brackets"),
        ("model = [3]", "model 1: Input should be a valid dictionary"),
        (MODEL + '[[model]]\nhub = "maker/N"', "model 2: name: Field required"),
        (MODEL + 'license = "MIT"', "model 1 ('m'): license: no such key; did you mean 'licence'?"),
        (MODEL + "context = 0", "model 1 ('m'): context: Input should be greater than or equal to 1"),
        (MODEL + "parameters = nan", "model 1 ('m'): parameters: Input should be a finite number"),
        (MODEL + 'api = "tgi"', "model 1 ('m'): api: Input should be 'vllm'"),
        (MODEL + 'price = "cheap"', "model 1 ('m'): price: 'cheap': it must look like in=0.5,out=1.5"),
        (MODEL.replace('"m"', '"a b"'), "model 1 ('a b'): name: a name is letters, digits, '.', '_' and '-', the f"),
        (MODEL.replace('"m"', '"a:b"'), "model 1 ('a:b'): name: a name is letters, digits, '.', '_' and '-', the f"),
        (MODEL.replace("maker/M", "/maker/M"), "model 1 ('m'): hub: a Hub id is MAKER/NAME, both of letters, digits"),
        (MODEL.replace("hub", "note"), "model 1 ('m'): name its Hub id (hub), its folder (model), or the server"),
        (MODEL + 'base_url = "ftp://h/v1"', "model 1 ('m'): base_url: "),
        (MODEL + 'api = "vllm"\nbase_url = "http://h/v1"', "model 1 ('m'): api 'vllm' starts a server of ours"),
        (MODEL + 'api = "chat"', "model 1 ('m'): api 'chat' needs the preset (endpoint) or the address (base_url)"),
        (MODEL + 'replicas = ["http://h/v1"]', "model 1 ('m'): replicas are further addresses of base_url"),
        (MODEL + 'key_variable = "K"', "model 1 ('m'): key_variable is for the server at base_url"),
        ("[[", "cannot be read: "),
        ("\udcff", "cannot be read: 'utf-8'"),
    ],
)
def test_a_broken_pool_is_one_clear_line_with_its_file_and_key(tmp_path: Path, text: str, complaint: str) -> None:
    """And with the model's number and name, since a pool has many."""
    path = tmp_path / "mine.toml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigProblem) as raised:
        pools.load(str(path))
    assert str(raised.value).startswith(f"{path}: {complaint}")
    assert "\n" not in str(raised.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    """By its path, also where a choice follows."""
    with pytest.raises(ConfigProblem) as raised:
        pools.load(f"{tmp_path}/lost.toml:a")
    assert str(raised.value).startswith(f"{tmp_path}/lost.toml: cannot be read: ")
