"""The nouns: every record that crosses a module border or touches disk. Frozen; unknown keys are errors.

A record's id says where it came from: ``<stage>-<round>-<slot>-<index>``, the index counting the candidates of
one answer. Accepted records and rejects share that numbering, so an id never means two things.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat

Lang = Literal["en", "zh"]
Rendering = Literal["completion", "chat"]
TokenField = Literal["max_tokens", "max_completion_tokens"]
JsonMode = Literal["json_schema", "json_object", "none"]
AnswerForm = Literal["text", "json"]
Sector = Literal["world", "writing", "materials"]


def _in_order(ends: tuple[float, float]) -> tuple[float, float]:
    if ends[0] > ends[1]:
        raise ValueError(f"no value is at least {ends[0]:g} and at most {ends[1]:g}")
    return ends


Limits = dict[
    Literal["temperature", "top_p", "presence_penalty", "frequency_penalty", "max_tokens"],
    Annotated[tuple[FiniteFloat, FiniteFloat], AfterValidator(_in_order)],
]
"""The range of each sampling value that an API takes, ends included."""


class Noun(BaseModel):
    """Frozen, and strict about its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


# --- what we start from -------------------------------------------------------------------------------------------


class Instance(Noun):
    """One worked example of a seed task; ``input`` is empty for a task that needs none."""

    model_config = ConfigDict(frozen=True, extra="allow")

    input: str
    output: str


class SeedTask(Noun):
    """A line of a seed file, in the schema Self-Instruct published; unknown keys are kept, never read."""

    model_config = ConfigDict(frozen=True, extra="allow")

    id: str
    name: str = ""
    instruction: str = Field(min_length=1)
    instances: tuple[Instance, ...] = Field(min_length=1)
    is_classification: bool = False


# --- what we send and what comes back -----------------------------------------------------------------------------


class Message(Noun):
    """One turn of a chat request."""

    role: Literal["system", "user", "assistant"]
    content: str


class Draw(Noun):
    """Which sample of the run a call is: set by the plan, never by arrival, and part of the call's key."""

    stage: str
    round: int
    slot: int
    step: int = 0
    k: int = 0

    def __str__(self) -> str:
        return f"{self.stage}/{self.round}/{self.slot}/{self.step}/{self.k}"


class Sampling(Noun):
    """How the next token is chosen; names, ranges and meanings are those of the OpenAI API."""

    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, ge=0, le=1)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    max_tokens: int = Field(default=1024, ge=1)


class Request(Noun):
    """What a stage asks of a model: a prompt to continue, or messages to answer. Names no vendor and no model.

    ``answer_schema`` is the JSON Schema that the answer has to fit; None asks for text. A model held to it writes
    its keys in the schema's order, which is kept where ``schema_in_order`` says so, and else the alphabet's. ``body``,
    with the ``path`` it goes to, is the request as it is sent: a line of somebody's request file, or what became of the
    other fields once it was written down.
    """

    draw: Draw
    prompt: str | None = None
    messages: tuple[Message, ...] | None = None
    sampling: Sampling = Sampling()
    stop: tuple[str, ...] = ()
    answer_schema: dict[str, Any] | None = None
    schema_in_order: bool = False
    path: str = ""
    body: bytes | None = None


class Endpoint(Noun):
    """Where requests go and how their bodies are spelled; everything here may change an answer.

    ``identity`` is the configured base URL, ``gguf:<sha256>``, or ``vllm:<model>@<revision>``: never a port we
    chose, a header or a key. ``omit`` names body fields an API refuses; ``extra_body`` fields it wants added;
    ``limits`` is the range, ends included, that it takes of a sampling value. ``json_mode`` is the most that it knows
    of asking for JSON: by a schema, as any object, or not at all.
    """

    identity: str
    model: str
    token_field: TokenField = "max_tokens"
    omit: tuple[str, ...] = ()
    extra_body: dict[str, Any] = {}
    limits: Limits = {}
    json_mode: JsonMode = "json_schema"
    send_seed: bool = False


class Completion(Noun):
    """A model's answer. ``reasoning`` is text the model thought aloud: kept in the ledger, never parsed.

    ``model`` is the name the server gave, ``call`` the ledger key (empty until recorded), ``raw`` the body as it came.
    """

    text: str
    finish_reason: str | None = None
    reasoning: str = ""
    model: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    raw: bytes = b""
    call: str = ""

    @property
    def withheld(self) -> str | None:
        """The reject reason of an answer that the provider cut, or the model declined or only thought of."""
        if self.finish_reason in ("content_filter", "refusal"):
            return self.finish_reason
        return "thinking_cut" if self.thought_only else None

    @property
    def truncated(self) -> bool:
        """True when the token limit cut the text."""
        return self.finish_reason == "length"

    @property
    def thought_only(self) -> bool:
        """True when the model thought and came to no answer, mostly because the token limit cut the thought.

        Some servers keep thoughts to themselves: there, an answer cut before its first character was one.
        """
        return not self.text.strip() and (bool(self.reasoning) or (self.truncated and not self.text))


# --- what we keep -------------------------------------------------------------------------------------------------


class Neighbour(Noun):
    """An earlier record and how similar it is, 0 to 1: by ROUGE-L F1, or the measure of the filter that tells of it."""

    id: str
    score: float


class Novelty(Noun):
    """How new an instruction was when it was judged: the most similar earlier ones, best first.

    ``mean`` over seeds and everything accepted before (Self-Instruct's ``avg_similarity_score``) is known only in
    the mode ``similar = "exact"``; ``mode`` names the mode, so an empty list is not read as "nothing is similar".
    """

    mode: str
    nearest: tuple[Neighbour, ...] = ()
    mean: float | None = None


class Provenance(Noun):
    """Which seeds and machine-made parents were shown, and which prompts, models and calls made the record.

    Lists follow the chain of stages: the first prompt, model and call are the bootstrap's.
    """

    seeds: tuple[str, ...] = ()
    parents: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()

    def then(self, prompt: str, *completions: Completion) -> Provenance:
        """This provenance, one stage further."""
        return self.model_copy(
            update={
                "prompts": (*self.prompts, prompt),
                "models": (*self.models, *dict.fromkeys(c.model for c in completions)),
                "calls": (*self.calls, *(c.call for c in completions)),
            }
        )


class Record(Noun):
    """What every kept record has."""

    id: str
    provenance: Provenance


class Instruction(Record):
    """``bootstrap`` writes it: a new instruction, and how new."""

    instruction: str
    lang: Lang
    novelty: Novelty | None = None

    @property
    def texts(self) -> dict[str, str]:
        """Every text of the record, by the name of its field."""
        return {"instruction": self.instruction}


class ClassifiedInstruction(Instruction):
    """``classify`` writes it: is the task one of choosing from a small set of labels?"""

    is_classification: bool


class TaskInstance(Record):
    """The final record: one worked example of a machine-made task; ``instances``, ``alpaca`` and ``belle`` write it.

    ``is_classification`` is None where nobody asked.
    """

    instruction: str
    input: str
    output: str
    lang: Lang
    is_classification: bool | None
    novelty: Novelty | None = None

    @property
    def texts(self) -> dict[str, str]:
        """Every text of the record, by the name of its field."""
        return {"instruction": self.instruction, "input": self.input, "output": self.output}


class Topic(Record):
    """``topics`` writes it: a part of a meta topic, narrow enough for a handful of questions (as UltraChat's)."""

    topic: str
    subtopic: str
    lang: Lang
    novelty: Novelty | None = None

    @property
    def instruction(self) -> str:
        """What filters compare."""
        return self.subtopic

    @property
    def texts(self) -> dict[str, str]:
        """Every text of the record, by the name of its field."""
        return {"subtopic": self.subtopic}


class Opener(Instruction):
    """``openers`` and ``expand`` write it: what a user asks first.

    ``topic`` and ``subtopic`` are what it is about: a meta topic and a part of it, an entity, a type of text, or the
    file and line of a passage. ``passage`` is the material that the request is about, ``join`` the id of the template
    that puts both together; empty outside of materials. ``origin`` says how it came about.
    """

    sector: Sector
    origin: Literal["question", "related", "writing", "request", "given", "run"]
    topic: str = ""
    subtopic: str = ""
    passage: str = ""
    join: str = ""

    @property
    def texts(self) -> dict[str, str]:
        """The request; the passage is the user's own."""
        return {"instruction": self.instruction}


class Lineage(Noun):
    """Of a dialogue: the opener it began with, and what that is about."""

    id: str
    origin: str
    topic: str = ""
    subtopic: str = ""


class Dialogue(Record):
    """``dialogue`` writes it: turns of two models, user first, assistant last, each as long as it was said.

    ``persona`` is the id of the one the user was played by, ``rounds`` how many pairs of turns there are, ``planned``
    how many were drawn; where there are fewer, ``ended`` is why, the reason of the reject that ended it.
    """

    messages: tuple[Message, ...] = Field(min_length=2)
    lang: Lang
    sector: Sector
    persona: str
    opener: Lineage
    rounds: int = Field(ge=1)
    planned: int = Field(ge=1)
    ended: str = ""


class Reject(Record):
    """A candidate that was not kept, or a whole answer that held none, and why.

    ``unusable`` marks a verdict on the whole answer (nothing in it could be read); a filter's drop is not unusable.
    """

    stage: str
    reason: str
    detail: str = ""
    unusable: bool = False
    candidate: dict[str, Any] = {}
    nearest: tuple[Neighbour, ...] = ()
