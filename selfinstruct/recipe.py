"""The `Recipe`: everything that may change a byte of a shard, a table a stage, each default with its source."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, model_validator

from selfinstruct import rules
from selfinstruct.model_recipe import ModelRecipe, inherited
from selfinstruct.rules import Rules
from selfinstruct.schema import AnswerForm, Lang, Noun, Sampling, Sector

Method = Literal["self-instruct", "alpaca", "belle", "ultrachat"]
Entry = Literal["topics", "entities", "types", "materials", "file", "run"]

STAGES: dict[str, tuple[str, ...]] = {
    "self-instruct": ("bootstrap", "classify", "instances"),
    "alpaca": ("alpaca",),
    "belle": ("belle",),
    "ultrachat": ("topics", "openers", "expand", "dialogue"),
}
"""The tables each method reads, in the order of its stages."""

ENTRIES: dict[Sector, Entry] = {"world": "topics", "writing": "types", "materials": "materials"}
"""Where the openers of each sector come from, unless it is said."""

ROUNDS: dict[Sector, tuple[int, int]] = {"world": (3, 7), "writing": (2, 4), "materials": (2, 4)}
"""Least and most rounds of a dialogue, by sector: UltraChat (systems §5.1)."""

_ROUNDS_OF_TALK: dict[str, int] = {"round_size": 1, "lag": 8}
"""An answer holds ten openers, each the beginning of a dialogue of ten calls: a round is one such answer."""

# The ranges of `Sampling`, which a field that states its own default does not inherit.
Temperature = Annotated[float | None, Field(ge=0, le=2)]
Mass = Annotated[float | None, Field(ge=0, le=1)]
Penalty = Annotated[float | None, Field(ge=-2, le=2)]


@cache
def _shipped(stage: str, lang: Lang) -> dict[str, Any]:
    return rules.shipped(stage, lang)


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
    rules: Rules = Field(default_factory=lambda: Rules(**_shipped("bootstrap", "en")))
    use: tuple[str, ...] = ()  # more filters, `selfinstruct filter --list` names them; novelty comes after them


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
    use: tuple[str, ...] = ()


class AlpacaRecipe(Sampling):
    """The one stage of Alpaca: whole tasks. Numbers: Stanford Alpaca, ``generate_instruction.py``.

    ``tasks`` is the number of the last task asked for, demos included: Alpaca says 20 and BELLE 10, which is what fits
    into an answer in Chinese. Alpaca's demos are seeds only; ``machine_demos`` of them may be accepted tasks.
    """

    temperature: Temperature = 1.0
    top_p: Mass = 1.0
    presence_penalty: Penalty = 0.0
    frequency_penalty: Penalty = 0.0
    max_tokens: int = Field(default=3072, ge=1)
    format: AnswerForm = "text"
    num_demos: int = Field(default=3, ge=1)
    machine_demos: int = Field(default=0, ge=0)
    tasks: int = Field(default=20, ge=2)
    threshold: str = Field(default="0.7", coerce_numbers_to_str=True)  # reject above this ROUGE-L F1
    similar: str = "above:0.5"
    rules: Rules = Field(default_factory=lambda: Rules(**_shipped("alpaca", "en")))
    min_output_words: int = Field(default=0, ge=0)
    max_ngram_repeats: int | None = Field(default=None, ge=1)
    use: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _asks_for_something(self) -> Self:
        if self.tasks <= self.num_demos:
            raise ValueError(f"{self.num_demos} demos leave nothing to ask for up to task {self.tasks}")
        return self


class BelleRecipe(AlpacaRecipe):
    """The one stage of BELLE. Numbers: its ``generate_instruction.py`` of 2023-03-17 (later versions: 1024 tokens)."""

    tasks: int = Field(default=10, ge=2)
    rules: Rules = Field(default_factory=lambda: Rules(**_shipped("belle", "zh")))


class TopicsRecipe(Sampling):
    """Of the world: meta topics → sub-topics. UltraChat has 30 meta topics and 1100 sub-topics (systems §5.1)."""

    temperature: Temperature = 1.0
    top_p: Mass = 1.0
    max_tokens: int = Field(default=1024, ge=1)
    file: str = ""  # meta topics of the user's own; empty: the 30 shipped ones of the language
    subtopics: int = Field(default=37, ge=1)  # asked for of each meta topic: 30 times 37 is 1110
    threshold: str = Field(default="0.7", coerce_numbers_to_str=True)  # reject at this ROUGE-L F1 and above
    similar: str = "above:0.5"


class OpenersRecipe(Sampling):
    """What users ask first. Numbers: UltraChat (systems §5.1), where it tells them.

    ``entry`` is where openers come from, ``source`` the user's files or run for those that need them. Of all jobs the
    share ``related_share`` asks for questions related to an accepted one, the others ask about the next sub-topic.
    """

    temperature: Temperature = 1.0
    top_p: Mass = 1.0
    max_tokens: int = Field(default=1024, ge=1)
    entry: Entry = "topics"
    source: tuple[str, ...] = ()
    questions: int = Field(default=10, ge=1)  # a sub-topic; of an entity UltraChat asks for 5
    related: int = Field(default=10, ge=1)  # a question
    related_share: float = Field(default=0.25, ge=0, lt=1)
    types: str = ""  # types of text of the user's own; empty: the 20 shipped ones of the language
    instructions: int = Field(default=10, ge=1)  # an answer; 20 types times 200 are asked for little by little
    requests: int = Field(default=5, ge=1)  # a passage
    passage_tokens: int = Field(default=600, ge=50)
    too_long: Literal["error", "skip"] = "error"  # a sentence that is longer than a passage may be
    threshold: str = Field(default="0.7", coerce_numbers_to_str=True)
    similar: str = "above:0.5"
    use: tuple[str, ...] = ()


class ExpandRecipe(Sampling):
    """Of writing: instructions expanded with detail. Numbers: 80 % in UltraChat (systems §5.1)."""

    temperature: Temperature = 1.0
    top_p: Mass = 1.0
    max_tokens: int = Field(default=400, ge=1)
    share: float = Field(default=0.8, ge=0, le=1)


class DialogueRecipe(Sampling):
    """Two models talk. The table's own sampling is the assistant's; UltraChat's was never published.

    ``rounds`` are the least and the most of a dialogue, UltraChat's by sector where they are not said. A turn that a
    guard refuses is asked for again ``resamples`` times, a farewell never. A model is shown no more of a dialogue than
    fits into its ``context`` beside its answer: the oldest rounds are left out whole, never the opener.
    """

    temperature: Temperature = 0.7
    top_p: Mass = 1.0
    max_tokens: int = Field(default=1024, ge=1)
    sector: Sector = "world"
    rounds: tuple[int, int] = ROUNDS["world"]
    user_temperature: Temperature = 1.0
    user_top_p: Mass = 1.0
    user_max_tokens: int = Field(default=256, ge=1)
    assistant_context: int = Field(default=16384, ge=256)  # gpt-3.5-turbo's
    user_context: int = Field(default=16384, ge=256)
    resamples: int = Field(default=1, ge=0)
    personas: str = ""  # a file of the user's own; empty: the shipped ones of the language

    @model_validator(mode="after")
    def _some_rounds(self) -> Self:
        least, most = self.rounds
        if not 1 <= least <= most:
            raise ValueError(f"rounds {least} to {most}: a dialogue has at least one round, and at most no fewer")
        return self


class Recipe(Noun):
    """Everything that may change a byte of a shard. Written resolved, as JSON, into every ``stage.json``.

    Where ``lang`` is not said it is the method's; rules that are not said are those shipped for stage and language.
    """

    method: Method = "self-instruct"
    lang: Lang = "en"
    seed: int = 42
    seed_tasks: str = ""  # empty: the shipped file of the language
    round_size: int = Field(default=8, ge=1)
    rounds_per_shard: int = Field(default=128, ge=1)
    lag: int = Field(default=4, ge=1)
    in_step: bool = False  # a round waits until every stage is through with the round `lag` before it
    model: ModelRecipe = ModelRecipe()
    user: ModelRecipe | None = None  # who plays a role in a dialogue, where that is not `model`
    assistant: ModelRecipe | None = None
    pool: tuple[ModelRecipe, ...] = ()  # one of them, drawn for each job, answers as `pool_role`; by alias, in order
    bootstrap: BootstrapRecipe = Field(default_factory=BootstrapRecipe)
    classify: ClassifyRecipe = Field(default_factory=ClassifyRecipe)
    instances: InstancesRecipe = Field(default_factory=InstancesRecipe)
    alpaca: AlpacaRecipe = Field(default_factory=AlpacaRecipe)
    belle: BelleRecipe = Field(default_factory=BelleRecipe)
    topics: TopicsRecipe = Field(default_factory=TopicsRecipe)
    openers: OpenersRecipe = Field(default_factory=OpenersRecipe)
    expand: ExpandRecipe = Field(default_factory=ExpandRecipe)
    dialogue: DialogueRecipe = Field(default_factory=DialogueRecipe)

    @property
    def pool_role(self) -> str:
        """Whom a pool stands for: the one that answers."""
        return "assistant" if self.method == "ultrachat" else "teacher"

    @property
    def pool_roles(self) -> tuple[str, ...]:
        """The roles of the pool's models, such as ``teacher/llama-2-7b-chat``."""
        return tuple(f"{self.pool_role}/{model.alias}" for model in self.pool)

    def played_by(self, role: str) -> ModelRecipe:
        """Who plays a role: a model of the pool by its own; else whom the recipe names, else the run's own model.

        The role that a pool stands for is played, for what must be one model, by the first.
        """
        if role in self.pool_roles:
            return self.pool[self.pool_roles.index(role)]
        if self.pool and role == self.pool_role:
            return self.pool[0]
        return {"user": self.user, "assistant": self.assistant}.get(role) or self.model

    @model_validator(mode="after")
    def _pool_in_order(self) -> Self:
        names = [model.alias for model in self.pool]
        if names != sorted(set(names)) or not all(names):
            raise ValueError("the models of a pool have distinct aliases, and stand in their order")
        return self

    @model_validator(mode="before")
    @classmethod
    def _completed(cls, given: Any) -> Any:
        """What was given, and what follows from method and language."""
        lang = given.get("lang", "zh" if given.get("method") == "belle" else "en")
        if lang not in ("en", "zh"):
            return given  # told by its field
        rounds = _ROUNDS_OF_TALK if given.get("method") == "ultrachat" else {}
        filled = {**rounds, **given, "lang": lang}
        for stage, spoken in (("bootstrap", lang), ("alpaca", lang), ("belle", "zh")):
            table = given.get(stage, {})
            if isinstance(table, dict) and isinstance(table.get("rules", {}), dict):
                fresh = {"tasks": 10} if (stage, spoken) == ("alpaca", "zh") else {}
                filled[stage] = {**fresh, **table, "rules": {**_shipped(stage, spoken), **table.get("rules", {})}}
        return filled | _of_roles(given) | _of_sector(given)

    @model_validator(mode="after")
    def _known_entry(self) -> Self:
        entry, sector = self.openers.entry, self.dialogue.sector
        if entry not in (ENTRIES[sector], "file", "run") and (entry, sector) != ("entities", "world"):
            raise ValueError(f"openers of the sector {sector} do not come from {entry}")
        return self

    @model_validator(mode="after")
    def _spoken(self) -> Self:
        if self.method == "belle" and self.lang != "zh":
            raise ValueError("the method belle is Chinese: leave --lang out, or take --method alpaca")
        return self


def _of_roles(given: Mapping[str, Any]) -> dict[str, Any]:
    """Who plays a role: the run's model but for what is said of the role; at another address, of the same kind."""
    model = given.get("model", {})
    filled = {}
    for role in ("user", "assistant"):
        table = given.get(role)
        if isinstance(table, dict) and isinstance(model, dict):  # else told by its field
            filled[role] = {**inherited(model, table), **table}
    return filled


def _of_sector(given: Mapping[str, Any]) -> dict[str, Any]:
    """Rounds, entry and length, where they are not said: those of the sector."""
    dialogue, openers = given.get("dialogue", {}), given.get("openers", {})
    sector = dialogue.get("sector", "world") if isinstance(dialogue, dict) else ""
    if sector not in ENTRIES or not isinstance(openers, dict):
        return {}  # told by its field
    longer = {"max_tokens": 2048} if sector == "writing" else {}  # a text grows with each wish
    return {
        "dialogue": {"rounds": ROUNDS[sector], **longer, **dialogue},
        "openers": {"entry": ENTRIES[sector], **openers},
    }


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
