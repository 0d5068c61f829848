"""The `Recipe`: everything that may change a byte of a shard, a table a stage, each default with its source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, Field, model_validator

from selfinstruct.model_recipe import ModelRecipe, inherited
from selfinstruct.schema import Lang, Noun, Sector
from selfinstruct.stage_recipes import (
    ROUNDS,
    AlpacaRecipe,
    BelleRecipe,
    BinarizeRecipe,
    BootstrapRecipe,
    ClassifyRecipe,
    CritiqueRecipe,
    DialogueRecipe,
    Entry,
    ExpandRecipe,
    InstancesRecipe,
    InstructionsRecipe,
    OpenersRecipe,
    RateRecipe,
    SampleRecipe,
    TopicsRecipe,
    shipped_rules,
)

Method = Literal["self-instruct", "alpaca", "belle", "ultrachat", "ultrafeedback"]

STAGES: dict[str, tuple[str, ...]] = {
    "self-instruct": ("bootstrap", "classify", "instances"),
    "alpaca": ("alpaca",),
    "belle": ("belle",),
    "ultrachat": ("topics", "openers", "expand", "dialogue"),
    "ultrafeedback": ("instructions", "sample", "rate", "critique", "binarize"),
}
"""The tables each method reads, in the order of its stages."""

ENTRIES: dict[Sector, Entry] = {"world": "topics", "writing": "types", "materials": "materials"}
"""Where the openers of each sector come from, unless it is said."""

JUDGE = "gpt-4"
"""Who rates, unless it is said: UltraFeedback's judge (systems §6.4)."""

_ROUNDS_OF_TALK: dict[str, int] = {"round_size": 1, "lag": 8}
"""An answer holds ten openers, each the beginning of a dialogue of ten calls: a round is one such answer."""


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
    judge: ModelRecipe | None = None  # who rates, where that is not `model`
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
    instructions: InstructionsRecipe = InstructionsRecipe()
    sample: SampleRecipe = Field(default_factory=SampleRecipe)
    rate: RateRecipe = Field(default_factory=RateRecipe)
    critique: CritiqueRecipe = Field(default_factory=CritiqueRecipe)
    binarize: BinarizeRecipe = BinarizeRecipe()

    @property
    def pool_role(self) -> str:
        """Whom a pool stands for: the one that answers."""
        return "assistant" if self.method in ("ultrachat", "ultrafeedback") else "teacher"

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
        return {"user": self.user, "assistant": self.assistant, "judge": self.judge}.get(role) or self.model

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
                filled[stage] = {**fresh, **table, "rules": {**shipped_rules(stage, spoken), **table.get("rules", {})}}
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
    judge = given.get("judge", {})
    if given.get("method") == "ultrafeedback" and isinstance(judge, dict) and isinstance(model, dict):
        filled["judge"] = _judge(model, judge)
    return filled


def _judge(model: Mapping[str, Any], table: Mapping[str, Any]) -> dict[str, Any]:
    """Who rates: as for any role, but where nothing is said of it UltraFeedback's judge, and not the run's model."""
    if not {"api", "endpoint", "name"} & model.keys() and "endpoint" not in table:
        table = {"api": "chat", **table}
    judge = {**inherited(model, table), **table}
    if judge.get("api") in ("chat", "completion") and not (judge.get("name") or judge.get("endpoint")):
        judge["name"] = JUDGE
    return judge


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
