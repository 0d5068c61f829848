"""The scripted model: a function dressed as a model, and the script we ship."""

from __future__ import annotations

import re
from typing import Literal

import pytest

from selfinstruct import guards, wire
from selfinstruct.errors import RequestRefused
from selfinstruct.models.fake import FakeModel, scripted_answer
from selfinstruct.protocols import Turn
from selfinstruct.schema import Completion, Draw, Endpoint, Lang, Message, Request

ENDPOINT = Endpoint(identity="fake", model="fake")
LIST = "<tasks>\n<task 1> Name a tree.\n<task 2> Name a bird.\n<task 3>\n"


def drawn(stage: str, slot: int = 0, prompt: str = LIST) -> Request:
    """A request of that stage, with a prompt to continue."""
    return Request(draw=Draw(stage=stage, round=0, slot=slot), prompt=prompt)


def asked(stage: str, message: str) -> Request:
    """A request of that stage, with a message to answer."""
    draw = Draw(stage=stage, round=0, slot=0)
    return Request(draw=draw, messages=(Message(role="user", content=message),))


async def test_a_text_comes_back_as_a_server_would_send_it() -> None:
    """The bytes are read by the same gate as every answer, so a ledger can hold them."""
    completion = await FakeModel(ENDPOINT, lambda request: "four score").complete(drawn("s"))
    assert (completion.text, completion.finish_reason, completion.model) == ("four score", "stop", "fake")
    assert (completion.prompt_tokens, completion.completion_tokens) == (1 + len(LIST) // 4, 3)
    assert wire.completion(completion.raw, chat=False) == completion


async def test_a_completion_can_be_scripted_whole() -> None:
    """For what a text cannot say: a cut answer, a price, reasoning."""
    said = Completion(text="a", finish_reason="length", reasoning="hm", model="x", prompt_tokens=5, completion_tokens=6)
    completion = await FakeModel(ENDPOINT, lambda request: said).complete(asked("s", "Hi"))
    assert completion.model_copy(update={"raw": b""}) == said


async def test_an_error_can_be_returned_or_raised() -> None:
    """A table of answers may hold errors, and a function may raise them."""

    def raising(request: Request) -> str:
        raise RequestRefused("raised")

    for answer, message in ((lambda request: RequestRefused("returned"), "returned"), (raising, "raised")):
        with pytest.raises(RequestRefused, match=message):
            await FakeModel(ENDPOINT, answer).complete(drawn("s"))


async def test_a_request_that_was_written_down_is_read_from_its_body() -> None:
    """A line of a request file has no other prompt; where one stands beside the body, the script sees that."""
    seen: list[Request] = []

    def script(request: Request) -> str:
        seen.append(request)
        return "four score"

    model = FakeModel(ENDPOINT, script)
    for sent in (drawn("s"), asked("s", "Hi")):
        written = Request(draw=sent.draw, path=wire.path(sent), body=wire.written(ENDPOINT, sent))
        completion = await model.complete(written)
        assert completion.text == "four score"
        assert wire.completion(completion.raw, chat=sent.prompt is None) == completion
        await model.complete(sent.model_copy(update={"body": b"{}"}))
    from_file, beside, from_chat_file, chat_beside = seen
    assert (from_file.draw, from_file.prompt) == (drawn("s").draw, LIST)
    assert beside.prompt == LIST
    assert "Hi" in (from_chat_file.prompt or "")
    assert chat_beside.messages == asked("s", "Hi").messages


async def test_a_text_ends_before_the_first_stop_string() -> None:
    """Whichever stands first in the text, not in the list."""
    request = drawn("s").model_copy(update={"stop": ("three", "two")})
    assert (await FakeModel(ENDPOINT, lambda request: "one two three").complete(request)).text == "one "


# --- the shipped script ---------------------------------------------------------------------------------------------


def test_the_script_depends_on_the_draw_alone() -> None:
    """The same draw is the same text in every process and version; another draw is another text."""
    first = "Illustrate plainly apprentice carpenters' mistakes"
    assert scripted_answer(drawn("bootstrap")) == scripted_answer(drawn("bootstrap"))
    assert scripted_answer(drawn("bootstrap")).split("\n")[0].startswith(f" {first}")
    assert len({scripted_answer(drawn("bootstrap", slot)) for slot in range(50)}) == 50


def test_a_list_goes_on_where_the_prompt_stops() -> None:
    """Seven instructions, each marked as scripted, each of another wording."""
    lines = scripted_answer(drawn("bootstrap")).split("\n")
    assert [re.match(r"<task (\d+)> |", line)[1] for line in lines] == [None, *"456789"]  # type: ignore[index]
    instructions = [re.sub(r"^<task \d+>", "", line).strip() for line in lines]
    assert len(set(instructions)) == 7
    assert all(text.endswith(" (scripted).") and 10 <= len(text.split()) <= 25 for text in instructions)


def test_a_chat_list_opens_its_first_tag_itself() -> None:
    """Nothing was left open, so the number after the last one shown begins it."""
    answer = scripted_answer(asked("bootstrap", "<task 1> Name a tree.\n\nAdd more; begin with <task 2>."))
    assert answer.startswith("<task 2> ")
    assert scripted_answer(asked("bootstrap", "Write tasks.")).startswith("<task 1> ")


def test_the_script_does_not_run_dry() -> None:
    """Of 3 500 instructions hardly one is a copy; the novelty filter's own threshold is tested with the filter."""
    lines = [line for slot in range(500) for line in scripted_answer(drawn("bootstrap", slot)).split("\n")]
    texts = [re.sub(r"^<task \d+>", "", line).strip() for line in lines]
    assert len(texts) == 3500
    assert len(set(texts)) >= 3495


def test_a_verdict_is_yes_or_no() -> None:
    """About as often the one as the other."""
    verdicts = [scripted_answer(drawn("classify", slot)) for slot in range(200)]
    assert set(verdicts) == {"Yes", "No"}
    assert 70 <= verdicts.count("Yes") <= 130


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        (
            "<task>\nName a tree.\n<example 1>\n<input>\n",
            "\nThis input is scripted, #\n<output>\nThis output is scripted, #",
        ),
        ("<task>\nOdd or even?\n<example 1>\n<label>\n", "\nscripted\n<input>\nThis input is scripted, #"),
    ],
)
def test_an_example_continues_the_tag_left_open(prompt: str, answer: str) -> None:
    """Input first or label first, as the prompt has it."""
    said = scripted_answer(drawn("instances", prompt=prompt))
    assert re.sub(r"number [0-9a-f]{6}\.", "#", said) == answer


def test_a_chat_example_has_all_its_tags() -> None:
    """Nothing was left open."""
    shown = "<example 1>\n<input>\na\n<output>\nb\n\nNow do the same."
    assert scripted_answer(asked("instances", shown)).startswith("<example 1>\n<input>\nThis input is scripted")


# --- dialogues and what they begin with -----------------------------------------------------------------------------


def numbered(text: str, left_open: bool) -> list[str]:
    """The items of a numbered list, whose first number may stand in the prompt; the numbers have to be right."""
    lines = (f"1.{text}" if left_open else text).split("\n")
    assert [line.partition(". ")[0] for line in lines] == [str(number) for number in range(1, len(lines) + 1)]
    return [line.partition(". ")[2] for line in lines]


@pytest.mark.parametrize("stage", ["topics", "openers"])
@pytest.mark.parametrize("count", [1, 9, 37])
def test_as_many_items_come_as_the_prompt_asks_for(stage: str, count: int) -> None:
    """The number behind the last one is the stop; a list that the prompt began is gone on with."""
    chat = asked(stage, f"Write {count} questions.").model_copy(update={"stop": (f"\n{count + 1}.",)})
    transcript = drawn(stage, prompt="Topic: 5 trees\n\n1.").model_copy(update={"stop": (f"\n{count + 1}.",)})
    items = numbered(scripted_answer(chat), left_open=False)
    assert len(items) == len(set(items)) == count
    assert numbered(scripted_answer(transcript), left_open=True) == items
    assert all(item.endswith(" (scripted).") for item in items)


def test_a_list_without_a_stop_has_seven_items() -> None:
    """An endpoint may know of no stops."""
    assert len(numbered(scripted_answer(asked("openers", "Write questions.")), left_open=False)) == 7


def test_subtopics_are_shorter_than_openers() -> None:
    """Two phrases against five."""
    topics, openers = (
        numbered(scripted_answer(asked(stage, "Go.")), left_open=False) for stage in ("topics", "openers")
    )
    assert max(len(item.split()) for item in topics) < min(len(item.split()) for item in openers)


def test_items_are_in_the_language_of_the_prompt() -> None:
    """By a single Chinese character in it."""
    items = numbered(scripted_answer(asked("openers", "写问题")), left_open=False)
    assert all(re.fullmatch(r"[\u4e00-\u9fff，]+（脚本）。", item) for item in items)


def test_an_expanded_instruction_is_one_line() -> None:
    """No list and no number."""
    said = scripted_answer(asked("expand", "Write a poem."))
    assert (said.count("\n"), said.endswith(" (scripted)."), said[0].isupper()) == (0, True, True)
    assert scripted_answer(asked("expand", "写一首诗")).endswith("（脚本）。")


def turn(step: int, k: int = 0, message: str = "Hello") -> str:
    """What is said at a step of a dialogue."""
    draw = Draw(stage="dialogue", round=0, slot=0, step=step, k=k)
    return scripted_answer(Request(draw=draw, messages=(Message(role="user", content=message),)))


def test_sides_take_turns() -> None:
    """Even steps answer, odd ones ask for something; each turn is another text, and so is a second try."""
    answers, turns = [turn(step) for step in (0, 2, 4)], [turn(step) for step in (1, 3, 5)]
    assert all(re.fullmatch(r"This output is scripted, number [0-9a-f]{6}\.", said) for said in answers)
    assert all(said.endswith(" (scripted).") for said in turns)
    assert len({*answers, *turns, turn(0, 1), turn(1, 1)}) == 8
    assert turn(0, message="你好").startswith("这段输出是脚本写的，编号")


@pytest.mark.parametrize(("lang", "message"), [("en", "Hello"), ("zh", "你好")], ids=["en", "zh"])
def test_no_guard_takes_offence_at_a_scripted_turn(lang: Lang, message: str) -> None:
    """So that a dry run goes through all rounds."""
    said: list[Message] = [Message(role="user", content=message)]
    for step in range(14):
        role: Literal["user", "assistant"] = "user" if step % 2 else "assistant"
        spoken = Turn(role, turn(step, message=message), said, lang)
        assert [drop for guard in guards.guards(lang) if (drop := guard.check(spoken))] == []
        said.append(Message(role=role, content=spoken.text))
