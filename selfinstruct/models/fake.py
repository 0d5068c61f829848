"""A model that is a function: for tests, and behind ``--api fake`` for dry runs. Never a default, never data.

`FakeModel` turns what a function says into the bytes a server would send, and reads them like any other answer.
`scripted_answer` is the function we ship: English, endless, and marked as scripted in every text.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable

import orjson

from selfinstruct import wire
from selfinstruct.schema import Completion, Draw, Endpoint, Request

Answer = Callable[[Request], str | Completion | Exception]

_CHARACTERS_PER_TOKEN = 4  # a rule of thumb for English; no tokenizer is at hand


class FakeModel:
    """Answers with what ``answer`` returns for the request: a text, a whole `Completion`, or an exception to raise.

    A text ends before the request's first stop string, as a real one would.
    """

    def __init__(self, endpoint: Endpoint, answer: Answer) -> None:
        self._endpoint = endpoint
        self._answer = answer

    async def complete(self, request: Request) -> Completion:
        """What the function says; its exceptions, returned or raised, pass."""
        chat = wire.path(request) == wire.CHAT
        request = _readable(request)
        said = self._answer(request)
        if isinstance(said, Exception):
            raise said
        if isinstance(said, str):
            said = self._completion(request, said)
        return wire.completion(_as_sent(said, chat=chat), chat=chat)

    async def aclose(self) -> None:
        """Nothing to let go of."""

    def _completion(self, request: Request, text: str) -> Completion:
        ends = [text.find(stop) for stop in request.stop if stop in text]
        text = text[: min(ends, default=len(text))]
        return Completion(
            text=text,
            finish_reason="stop",
            model=self._endpoint.model,
            prompt_tokens=1 + len(_shown(request)) // _CHARACTERS_PER_TOKEN,
            completion_tokens=1 + len(text) // _CHARACTERS_PER_TOKEN,
        )


def _readable(request: Request) -> Request:
    """A request that came as a body, with the prompt or the messages that stand in it."""
    if request.body is None or request.prompt is not None or request.messages is not None:
        return request
    body = orjson.loads(request.body)
    return Request(draw=request.draw, prompt=str(body.get("prompt", body.get("messages"))))


def _as_sent(said: Completion, *, chat: bool) -> bytes:
    """The body a server would have sent for this completion."""
    message = {"role": "assistant", "content": said.text, "reasoning_content": said.reasoning or None}
    choice = {"message": message} if chat else {"text": said.text}
    usage = {"prompt_tokens": said.prompt_tokens, "completion_tokens": said.completion_tokens}
    answer = {"model": said.model, "choices": [choice | {"finish_reason": said.finish_reason}], "usage": usage}
    return orjson.dumps(answer)


def _shown(request: Request) -> str:
    """Everything the model gets to read."""
    return request.prompt or "\n".join(message.content for message in request.messages or ())


# --- the shipped script -------------------------------------------------------------------------------------------

_NEW_TASKS = 7

# One phrase of each column makes an instruction: 24^5, about eight million. The phrases have hardly a word in common,
# so two instructions are as similar (ROUGE-L) as the share of the phrases they share.
_COLUMNS = tuple(
    tuple(phrase.strip() for phrase in column.split("/"))
    for column in (
        """Explain briefly/Compare honestly/Summarise fairly/Rank carefully/Question politely/Defend calmly/
        Outline first/Rehearse aloud/Translate loosely/Invent freely/Estimate roughly/Criticise gently/
        Illustrate plainly/Contrast sharply/Predict boldly/Retell slowly/Justify fully/Simplify further/
        Advertise cheerfully/Paraphrase twice/Investigate quietly/Review strictly/Imagine vividly/Narrate backwards""",
        """how lighthouses warned ships/why bread dough rises/what bees remember/three chess openings/
        seven Nordic proverbs/two rival bakeries/ancient tax laws/modern tram tickets/my grandmother's garden/
        compound interest rates/lunar eclipse superstitions/recycled glass bottles/homemade ginger lemonade/
        jury duty excuses/forgotten radio serials/early printing presses/migrating arctic terns/urban noise limits/
        apprentice carpenters' mistakes/silent film comedians/school lunch budgets/volcanic island soils/
        winter bicycle maintenance/county fair pumpkins""",
        """for retired sailors/to curious toddlers/with sceptical accountants/before nervous graduates/
        among night nurses/near stranded tourists/at amateur astronomers/like seasoned beekeepers/
        through busy commuters/facing impatient landlords/beside homesick exchange students/without expert farmers/
        under watchful librarians/toward rookie firefighters/alongside deaf musicians/past weary referees/
        against stubborn neighbours/from novice potters/behind hungry hikers/opposite shy violinists/
        between feuding cousins/inside overworked kitchens/across distant villages/around lonely shepherds""",
        """using only questions/in ninety words/as numbered steps/over four stanzas/by telegram/via dialogue/
        avoiding adjectives entirely/citing imaginary witnesses/mixing humour generously/quoting no celebrities/
        ending each line differently/starting every sentence alike/keeping verbs present/adding one footnote/
        leaving room for doubt/naming five examples/giving both sides/measuring everything twice/
        sounding slightly old-fashioned/staying under budget/rhyming whenever possible/repeating nothing/
        admitting gaps openly/converting metric units""",
        """and close hopefully/then invite replies/plus list risks/but skip introductions/yet remain neutral/
        so children laugh/while dates stay vague/because Monday looms/although evidence conflicts/
        unless someone objects/until patience ends/if weather permits/when asked again/once agreement exists/
        lest trust erodes/since deadlines slipped/though money matters/whereas rivals boast/provided sources exist/
        hence warn readers/otherwise stop early/thus persuade voters/instead praise teamwork/meanwhile thank donors""",
    )
)


def scripted_answer(request: Request) -> str:
    """What ``--api fake`` says: a function of the request's draw, and of its prompt only in how the answer begins.

    For ``classify`` yes or no, for ``instances`` one worked example, for any other stage a list of seven instructions.
    """
    match request.draw.stage:
        case "classify":
            return "Yes" if _number(request.draw, "verdict") % 2 else "No"
        case "instances":
            return _scripted_example(request)
        case _:
            return _scripted_list(request)


def _scripted_list(request: Request) -> str:
    """Seven instructions, numbered on from the last in the prompt; its tag is not said again where it is left open."""
    shown = _shown(request).rstrip()
    last = int((re.findall(r"(?m)^<task (\d+)>", shown) or [0])[-1])
    left_open = shown.endswith(f"<task {last}>")
    first = last if left_open else last + 1
    lines = [f"<task {number}> {_instruction(request.draw, number)}" for number in range(first, first + _NEW_TASKS)]
    return "\n".join(lines).removeprefix(f"<task {first}>" if left_open else "")


def _scripted_example(request: Request) -> str:
    """One example in the order of the prompt's tags, continuing the tag that is left open."""
    shown = _shown(request).rstrip()
    mark = f"{_number(request.draw, 'example') % 16**6:06x}"
    given = f"This input is scripted, number {mark}."
    parts = {"label": "scripted", "input": given}
    if "<label>" not in shown:
        parts = {"input": given, "output": f"This output is scripted, number {mark}."}
    opening = f"<example 1>\n<{next(iter(parts))}>"
    example = "<example 1>\n" + "\n".join(f"<{tag}>\n{text}" for tag, text in parts.items())
    return example.removeprefix(opening if shown.endswith(opening) else "")


def _instruction(draw: Draw, number: int) -> str:
    """One phrase of each column, chosen by the draw."""
    choice = _number(draw, str(number))
    phrases = []
    for column in _COLUMNS:
        choice, place = divmod(choice, len(column))
        phrases.append(column[place])
    return f"{' '.join(phrases)} (scripted)."


def _number(draw: Draw, what: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{draw} {what}".encode()).digest(), "big")
