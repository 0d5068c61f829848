"""What a turn of a dialogue may not say: guards look at each turn before the next one is asked for.

The first guard of the chain that refuses a turn ends the dialogue there. The rounds before it are kept, so a false
alarm shortens a good dialogue that was paid for, and a miss lets a bad turn into the training data.

==================  ====================================================================================
reason              the turn
==================  ====================================================================================
``empty``           says nothing: no letter and no digit
``repeated``        was said before, by the same side or just now by the other
``role_inversion``  is said from the other side's part
``answers``         is a user's, and answers instead of asking
``farewell``        is a user's, and closes the conversation
``refusal``         is an assistant's that only declines, or a user's in which the model gives up playing
``as_an_ai``        speaks of itself as a language model
``language``        is in another language than the dialogue
==================  ====================================================================================
"""

from __future__ import annotations

from typing import Final

from selfinstruct.guards.answering import Answering
from selfinstruct.guards.declining import Declining
from selfinstruct.guards.drift import Drift
from selfinstruct.guards.farewell import Farewell
from selfinstruct.guards.nothing_new import Empty, Repeated
from selfinstruct.guards.role_inversion import RoleInversion
from selfinstruct.protocols import Guard
from selfinstruct.schema import Lang

_OF_BOTH_LANGUAGES: Final = ("answering", "declines", "declining", "drift", "farewell", "nothing_new", "role_inversion")

RULES: Final[tuple[str, ...]] = (
    *(f"{name}.{lang}" for name in _OF_BOTH_LANGUAGES for lang in ("en", "zh")),
    "languages",
)
"""The names of all the rule files the guards go by, for the identity of a run."""


def guards(lang: Lang) -> tuple[Guard, ...]:
    """The chain for dialogues in a language, in the order in which they are asked: the surest and cheapest first."""
    return (Empty(), Repeated(), RoleInversion(), Answering(), Farewell(), Declining(), Drift(lang))
