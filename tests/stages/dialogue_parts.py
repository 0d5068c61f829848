"""What tests of the dialogue and of the stages before it are made of: prompts, a scripted model, scripted guards."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from selfinstruct import prompts
from selfinstruct.dialogue_seeds import Join, Persona
from selfinstruct.prompts import Prompt
from selfinstruct.protocols import Drop, Job, Turn
from selfinstruct.schema import Completion, Opener, Provenance, Record, Reject, Rendering, Request, Sampling
from selfinstruct.stages.dialogue import Dialogues, Side

CONTEXT = 10_000
BEFORE = Provenance(seeds=("topic-1",), parents=("topics-0-0-0",), prompts=("q@1:aa",), models=("old",), calls=("c0",))

_HISTORY = "{% for turn in history %}\n{{ turn.role }}> {{ turn.content }}\n{% endfor %}\n"
_ASSISTANT = f"""+++
version = 4
stop = ["{{{{ '\\nuser>' if rendering == 'completion' }}}}"]
+++
{{% block completion %}}
{_HISTORY}
assistant>
{{% endblock %}}
{{% block system %}}Be brief.{{% endblock %}}
{{% block user %}}
{{% endblock %}}
"""
_USER = f"""+++
version = 5
+++
{{% block completion %}}
{_HISTORY}
({{{{ persona.mood }}}}, {{{{ round }}}} of {{{{ rounds }}}})
user>
{{% endblock %}}
{{% block user %}}You are {{{{ persona.mood }}}}; write message {{{{ round }}}} of {{{{ rounds }}}}.{{% endblock %}}
"""


class Script:
    """A model that says, or raises, what is written for a call's step and sample; else a text that names both."""

    def __init__(self, said: Mapping[tuple[int, int], str | Completion | Exception] | None = None, name: str = "m"):
        self.asked: list[Request] = []
        self._said = said or {}
        self._name = name

    async def complete(self, request: Request) -> Completion:
        """Known by step and sample as call: "call-3.0"."""
        self.asked.append(request)
        step, k = request.draw.step, request.draw.k
        said = self._said.get((step, k), f"text {step}.{k}")
        if isinstance(said, Exception):
            raise said
        if isinstance(said, str):
            said = Completion(text=said, finish_reason="stop")
        return said.model_copy(update={"model": self._name, "call": f"call-{step}.{k}"})

    async def aclose(self) -> None:
        """Nothing to let go of."""


class Refuses:
    """A guard that refuses the turns of its table, text by text, and keeps what it was shown."""

    def __init__(self, reasons: Mapping[str, str] | None = None) -> None:
        self.turns: list[Turn] = []
        self._reasons = reasons or {}

    def check(self, turn: Turn) -> Drop | None:
        """The reason of this text, if it has one."""
        self.turns.append(Turn(turn.role, turn.text, tuple(turn.history), turn.lang))
        reason = self._reasons.get(turn.text)
        return Drop(reason, f"about {turn.text!r}") if reason else None


def prompt(folder: Path, name: str, text: str) -> Prompt:
    """A prompt file of that name."""
    (folder / f"{name}.md").write_text(text, "utf-8")
    return prompts.load(folder, name)


def persona(mood: str) -> Persona:
    """Somebody of that mood; its id is the mood's."""
    return Persona(id=f"p-{mood}", expertise="farms", mood=mood, goal="wants a reason", style="writes briefly")


def sides(
    folder: Path, *, renderings: tuple[Rendering, Rendering] = ("chat", "chat"), contexts: tuple[int, int] | None = None
) -> tuple[Side, Side]:
    """The assistant, who may write 100 tokens, and the user, who may write 50."""
    contexts = contexts or (CONTEXT, CONTEXT)
    return (
        Side("assistant", prompt(folder, "a", _ASSISTANT), renderings[0], Sampling(max_tokens=100), contexts[0]),
        Side("user", prompt(folder, "u", _USER), renderings[1], Sampling(max_tokens=50), contexts[1]),
    )


def dialogues(
    folder: Path, guards: Mapping[str, str] | None = None, *, rounds: int = 3, resamples: int = 0, seed: int = 1
) -> Dialogues:
    """A stage whose one guard refuses the texts of ``guards``; one mood, and as many rounds as are said."""
    return Dialogues(
        sides=sides(folder),
        personas=(persona("calm"),),
        joins={"behind": Join(id="behind", text="{request}\n\n{passage}")},
        guards=(Refuses(guards),),
        rounds=(rounds, rounds),
        resamples=resamples,
        seed=seed,
    )


def opener(text: str = "Why do bees dance?", id: str = "openers-0-2-1", passage: str = "") -> Opener:
    """A first turn, with something before it."""
    return Opener(
        id=id,
        provenance=BEFORE,
        instruction=text,
        lang="en",
        sector="materials" if passage else "world",
        origin="question",
        topic="Animals",
        subtopic="Insects",
        passage=passage,
        join="behind" if passage else "",
    )


def job(about: Opener | None = None) -> Job:
    """The third job of the fifth round of dialogues."""
    return Job("dialogue", 4, 2, about or opener())


async def talked(stage: Dialogues, *scripts: Script, about: Opener | None = None) -> list[Record | Reject]:
    """What comes of one dialogue; one script says both sides, two say assistant and user."""
    assistant, user = scripts if len(scripts) == 2 else (scripts or (Script(),)) * 2
    return await stage.run(job(about), {"assistant": assistant, "user": user})
