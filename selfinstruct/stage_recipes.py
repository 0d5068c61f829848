"""The tables of a recipe, one a stage: what it asks and how, each default with its source."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from selfinstruct import rules
from selfinstruct.feedback_schema import Aspect, Principle, ScoreOf
from selfinstruct.rules import Rules
from selfinstruct.schema import AnswerForm, Lang, Noun, Sampling, Sector

Entry = Literal["topics", "entities", "types", "materials", "file", "run"]

ROUNDS: dict[Sector, tuple[int, int]] = {"world": (3, 7), "writing": (2, 4), "materials": (2, 4)}
"""Least and most rounds of a dialogue, by sector: UltraChat (systems §5.1)."""

# The ranges of `Sampling`, which a field that states its own default does not inherit.
Temperature = Annotated[float | None, Field(ge=0, le=2)]
Mass = Annotated[float | None, Field(ge=0, le=1)]
Penalty = Annotated[float | None, Field(ge=-2, le=2)]
Share = Annotated[float, Field(ge=0, le=1)]


@cache
def shipped_rules(stage: str, lang: Lang) -> dict[str, Any]:
    """The rules that come with a stage in a language."""
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
    rules: Rules = Field(default_factory=lambda: Rules(**shipped_rules("bootstrap", "en")))
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
    rules: Rules = Field(default_factory=lambda: Rules(**shipped_rules("alpaca", "en")))
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
    rules: Rules = Field(default_factory=lambda: Rules(**shipped_rules("belle", "zh")))


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


class InstructionsRecipe(Noun):
    """What several models are asked: the lines of a file, or the records of a run of ours; ``source`` names it."""

    entry: Literal["file", "run"] = "file"
    source: str = ""


class SampleRecipe(Sampling):
    """Several models answer each instruction. Numbers: UltraFeedback, ``sampling.py`` and README (systems §6.2, §6.3).

    ``principles`` names the table of what each model is told beforehand: the README's, the code's, or nothing at all.
    ``shares`` gives sources shares of their own, which come before the table's. An answer that is empty or withheld is
    asked for again ``resamples`` times; then another model takes the place.
    """

    temperature: Temperature = 1.0
    top_p: Mass = 1.0
    max_tokens: int = Field(default=1024, ge=1)
    models: int = Field(default=4, ge=2)  # an instruction
    design: Literal["uniform", "balanced"] = "uniform"
    principles: Literal["readme", "code", "none"] = "readme"
    shares: dict[str, dict[Principle, Share]] = {}
    resamples: int = Field(default=1, ge=0)


class RateRecipe(Sampling):
    """A judge rates the answers to an instruction, all in one call an aspect (systems §6.4).

    UltraFeedback's 500 tokens cut the ratings of four texts. ``swap_check`` is the share of instructions that are rated
    a second time in another order, ``not_applicable`` the aspects in which N/A is an answer.
    """

    temperature: Temperature = 0.0
    top_p: Mass = 0.6
    max_tokens: int = Field(default=2048, ge=1)
    format: AnswerForm = "text"
    rationale_first: bool = False
    max_reasks: int = Field(default=2, ge=0)
    swap_check: float = Field(default=0.0, ge=0, le=1)
    not_applicable: tuple[Aspect, ...] = ("honesty",)


class CritiqueRecipe(Sampling):
    """The judge gives each answer feedback and an overall score (systems §6.5). Without ``enabled`` it is left out."""

    temperature: Temperature = 0.0
    top_p: Mass = 0.6
    max_tokens: int = Field(default=1024, ge=1)
    enabled: bool = True
    format: AnswerForm = "text"
    max_reasks: int = Field(default=2, ge=0)


class BinarizeRecipe(Noun):
    """Which pairs annotated answers make: by the mean of their ratings, or by the overall score (systems §6.8)."""

    score: ScoreOf = "mean"
    rejected: Literal["random", "lowest", "all"] = "random"
    exclude_source: tuple[str, ...] = ()
