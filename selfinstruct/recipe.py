"""The `Recipe`: everything that may change a byte of a shard, a table a stage, each default with its source."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, field_validator

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
