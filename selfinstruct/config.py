"""What a run is started with: the `Recipe` (changes bytes; compared on resume) and the `Settings` (do not).

*If changing it may change a byte of a shard it is in the recipe; otherwise in the settings.* Precedence, per value:
flag, then environment, then recipe file, then default. Defaults are the papers' values, each with its source.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from selfinstruct import resources
from selfinstruct.errors import ConfigProblem, UsageProblem
from selfinstruct.money import Amount, Price, parse_amount, parse_duration, parse_price
from selfinstruct.schema import Lang, Noun, Sampling

Api = Literal["local", "chat", "completion", "fake", "replay"]
Method = Literal["self-instruct"]

DEFAULT_MODELS: dict[str, str] = {
    "local": "smollm2-135m-instruct",
    "chat": "gpt-3.5-turbo",
    "completion": "gpt-3.5-turbo-instruct",
    "fake": "fake",
    "replay": "",
}
DEFAULT_BASE_URL = "https://api.openai.com/v1"

# The ranges of `Sampling`, which a field that states its own default does not inherit.
Temperature = Annotated[float | None, Field(ge=0, le=2)]
Mass = Annotated[float | None, Field(ge=0, le=1)]
Penalty = Annotated[float | None, Field(ge=-2, le=2)]


class ModelRecipe(Noun):
    """Who answers, and how its API wants to be asked.

    ``name`` and ``base_url`` left empty mean the API's default. ``reproducible`` turns the embedded model's prompt
    cache off, which makes equal requests give equal text (8 of 8 tries; with the cache 3-5 of 8) at half the speed.
    """

    api: Api = "local"
    name: str = ""
    base_url: str = ""
    token_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    omit: tuple[str, ...] = ()
    extra_body: dict[str, Any] = {}
    send_seed: bool = False
    reproducible: bool = False
    context: int = Field(default=4096, ge=256)


class BootstrapRecipe(Sampling):
    """Stage 1: continue a list of instructions. Numbers: Self-Instruct, ``bootstrap_instructions.py``."""

    temperature: Temperature = 0.7
    top_p: Mass = 0.5
    presence_penalty: Penalty = 2.0
    frequency_penalty: Penalty = 0.0
    max_tokens: int = Field(default=1024, ge=1)
    num_demos: int = Field(default=8, ge=1)  # of which at most `machine_demos` from the machine pool
    machine_demos: int = Field(default=2, ge=0)
    new_tasks: int = Field(default=7, ge=1)  # the list is continued up to item 15
    threshold: str = Field(default="0.7", coerce_numbers_to_str=True)  # reject above this ROUGE-L F1
    similar: str = "above:0.5"
    min_words: int = Field(default=4, ge=1)  # 3 words or fewer are too short
    max_words: int = Field(default=150, ge=1)
    # Words for things a text model can neither see nor make.
    blacklist: tuple[str, ...] = tuple(
        [*"image images graph graphs picture pictures file files map maps draw plot".split(), "go to"]
    )


class ClassifyRecipe(Sampling):
    """Stage 2: is it classification? Numbers: Self-Instruct, ``identify_clf_or_not.py``."""

    temperature: Temperature = 0.0
    top_p: Mass = 0.0
    presence_penalty: Penalty = 0.0
    frequency_penalty: Penalty = 0.0
    max_tokens: int = Field(default=3, ge=1)
    demos: int = Field(default=31, ge=0)  # 12 yes, 19 no
    resamples: int = Field(default=2, ge=0)  # an unknown verdict is not a no: it is asked again, this often
    resample_temperature: float = Field(default=0.7, ge=0, le=2)  # at 0 the same question gives the same answer


class InstancesRecipe(Sampling):
    """Stage 3: instances, output first for classification, else input first. Numbers: ``generate_instances.py``."""

    temperature: Temperature = 0.0
    top_p: Mass = 0.0
    presence_penalty: Penalty = 1.5
    frequency_penalty: Penalty = 0.0
    max_tokens: int = Field(default=350, ge=1)
    max_tokens_classification: int = Field(default=300, ge=1)
    demos_output_first: int = Field(default=16, ge=0)
    demos_input_first: int = Field(default=11, ge=0)
    max_instances: int = Field(default=5, ge=1)  # asked for in one answer
    keep: int = Field(default=5, ge=1)  # kept, drawn at random from the valid ones
    min_output_words: int = Field(default=0, ge=0)
    max_ngram_repeats: int | None = Field(default=None, ge=1)


class Recipe(Noun):
    """Everything that may change a byte of a shard. Written resolved, as JSON, into every ``stage.json``."""

    method: Method = "self-instruct"
    lang: Lang = "en"
    seed: int = 42
    seed_tasks: str = ""  # empty: the shipped file of the language
    round_size: int = Field(default=8, ge=1)
    rounds_per_shard: int = Field(default=128, ge=1)
    lag: int = Field(default=4, ge=1)
    in_step: bool = False  # a round waits until every stage is through with the round `lag` before it
    model: ModelRecipe = ModelRecipe()
    bootstrap: BootstrapRecipe = BootstrapRecipe()
    classify: ClassifyRecipe = ClassifyRecipe()
    instances: InstancesRecipe = InstancesRecipe()

    @field_validator("lang")
    @classmethod
    def _known(cls, lang: str) -> str:
        if lang != "en":
            raise ValueError("no prompts and seeds for 'zh' yet; only 'en' is served")
        return lang


def _read_by(parse: Callable[[str], Any]) -> Callable[[Any], Any]:
    """A validator that reads text as its option would be read."""
    return lambda value: parse(value) if isinstance(value, str) else value


def _read_patience(text: str) -> float:
    return parse_duration(text, "--give-up-after")


Seconds = Annotated[float, Field(gt=0)]


class Settings(BaseSettings):
    """What does not change a byte: keys, paths, concurrency. Read from ``SELFINSTRUCT_*`` and OpenAI's variables."""

    model_config = SettingsConfigDict(env_prefix="SELFINSTRUCT_", extra="ignore", validate_default=True)

    output_dir: Path = Path("output")
    concurrency: int | None = Field(default=None, ge=1)
    rpm: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    tpm: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    timeout: float = Field(default=600.0, gt=0, allow_inf_nan=False)
    give_up_after: Annotated[Seconds | None, BeforeValidator(_read_by(_read_patience))] = None
    deadline: Annotated[Seconds | None, BeforeValidator(_read_by(parse_duration))] = None
    # NoDecode: 20 is an amount, too, and no JSON.
    max_cost: Annotated[Amount | None, NoDecode, BeforeValidator(_read_by(parse_amount))] = None
    max_calls: int | None = Field(default=None, ge=1)
    max_tokens_total: int | None = Field(default=None, ge=1)
    price: Annotated[Price | None, NoDecode, BeforeValidator(_read_by(parse_price))] = None
    sync: bool = True
    max_unusable: float = Field(default=0.2, ge=0, le=1)
    threads: int | None = Field(default=None, ge=1)
    gguf: Path | None = None
    replay_from: Path | None = None
    allow_network_fs: bool = False
    openai_api_key: SecretStr | None = Field(default=None, validation_alias="OPENAI_API_KEY")
    openai_base_url: str = Field(default="", validation_alias="OPENAI_BASE_URL")


def settings(overrides: Mapping[str, Any]) -> Settings:
    """The settings, flags (those not None) over environment.

    Raises `UsageProblem` naming the option, or `ConfigProblem` naming the variable, whose value is wrong.
    """
    try:
        return Settings(**{key: value for key, value in overrides.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        field = str(first["loc"][0])
        if overrides.get(field) is not None:
            raise UsageProblem(f"--{field.replace('_', '-')} {first['input']}: {first['msg']}") from error
        name = "_".join(str(part) for part in first["loc"]).upper()
        prefix = "" if name.startswith("OPENAI") else "SELFINSTRUCT_"
        raise ConfigProblem(f"{prefix}{name}={first['input']!r}: {first['msg']}") from error


def resolve(source: str | None, sets: Iterable[str], flags: Mapping[str, Any]) -> Recipe:
    """The recipe: defaults, then the file or shipped name, then ``--set key=value``, then flags (those not None).

    Flags have dotted keys. Raises `ConfigProblem` for an unknown key, wherever it stands, with a suggestion, and for a
    bad value in the file; `UsageProblem` for a bad value of ``--set`` or a flag.
    """
    data = _read(source) if source else {}
    _check(data, source or "")
    for item in sets:
        key, equals, text = item.partition("=")
        if not equals:
            raise UsageProblem(f"--set '{item}': expected key=value, such as instances.temperature=0.5")
        _put(data, key.strip(), _value(text.strip()))
        _check(data, f"--set '{item}'")
    for key, value in flags.items():
        if value is not None:
            _put(data, key, value)
            _check(data, "--" + key.rpartition(".")[2].replace("_", "-"))
    return Recipe.model_validate(data)


def _read(source: str) -> dict[str, Any]:
    path = Path(source)
    if not path.suffix and not path.is_file():
        path = resources.recipes_dir() / f"{source}.toml"
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        shipped = ", ".join(sorted(p.stem for p in resources.recipes_dir().glob("*.toml")))
        raise ConfigProblem(
            f"{source}: cannot read the recipe: {error.strerror}; shipped recipes: {shipped}"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigProblem(f"{path}: not TOML: {error}") from error


def _check(data: dict[str, Any], where: str) -> None:
    """Raise one clear line for the first thing that is wrong with ``data``."""
    try:
        Recipe.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise ConfigProblem(f"{where}: unknown recipe key '{key}'{_suggest(key)}") from error
        kind = UsageProblem if where.startswith("--") else ConfigProblem
        raise kind(f"{where}: {key}: {first['msg'].removeprefix('Value error, ')} (got {first['input']!r})") from error


def _suggest(key: str) -> str:
    """Names are compared without their table, or ``bootstrap.keep`` would look like ``bootstrap.top_p``."""
    known = known_keys(Recipe) if "." in key else [*Recipe.model_fields, *known_keys(Recipe)]
    names = {name: name.rpartition(".")[2] for name in known}
    closest = difflib.get_close_matches(key.rpartition(".")[2], names.values(), n=1)
    close = difflib.get_close_matches(key, [name for name in known if names[name] in closest], n=1, cutoff=0)
    return f"; did you mean '{close[0]}'?" if close else ""


def known_keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Every dotted key a recipe may hold."""
    keys: list[str] = []
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            keys += known_keys(kind, f"{prefix}{name}.")
        else:
            keys.append(prefix + name)
    return keys


def _put(data: dict[str, Any], key: str, value: Any) -> None:
    *tables, last = key.split(".")
    for table in tables:
        data = data.setdefault(table, {})
        if not isinstance(data, dict):
            raise UsageProblem(f"'{key}': '{table}' is a value, not a table")
    data[last] = value


def _value(text: str) -> Any:
    """A TOML value; a bare word is a string."""
    try:
        return tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        return text
