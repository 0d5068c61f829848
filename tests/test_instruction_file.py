"""A user's own instructions are read from text and the usual layouts of JSON Lines; a bad row is told with its line."""

from __future__ import annotations

import hashlib
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from selfinstruct.errors import BadData
from selfinstruct.instruction_file import FIELDS, Brought, InstructionFile
from selfinstruct.schema import Message

WHY = "Why is the sea salty?"
SALT = "Rivers carry it there."
MORE = "And why is rain not?"
TEA = "怎么泡一壶好茶？"
POT = "先烫壶，再投茶。"
COOL = "水要多热？"
Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a file of that name and text."""

    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_bytes(text.encode())
        return path

    return write


def rows(*values: object) -> str:
    """JSON Lines."""
    return "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values)


def user(text: str) -> Message:
    """A turn of the user."""
    return Message(role="user", content=text)


def assistant(text: str) -> Message:
    """A turn of the assistant."""
    return Message(role="assistant", content=text)


def openai(*turns: tuple[str, str]) -> list[dict[str, str]]:
    """Turns as OpenAI spells them."""
    return [{"role": role, "content": text} for role, text in turns]


def sharegpt(*turns: tuple[str, str]) -> list[dict[str, str]]:
    """Turns as ShareGPT spells them."""
    return [{"from": speaker, "value": text} for speaker, text in turns]


def test_text_has_an_instruction_a_line(write: Write) -> None:
    """Blank lines are none; byte order mark, line ends and white space around are not part of it."""
    brought = InstructionFile.open(write("mine.txt", f"\ufeff\r\n  {WHY}\t\r\n\r\n{TEA}"))
    assert list(brought) == [Brought(WHY, "other", "mine.txt:2"), Brought(TEA, "other", "mine.txt:4")]


@pytest.mark.parametrize(
    ("row", "text"),
    [
        *(({"id": 1, name: WHY, "answer": SALT}, WHY) for name in FIELDS),
        ({"instruction": "把下面的词译成英文。", "input": "好茶"}, "把下面的词译成英文。\n\n好茶"),
        ({"instruction": " Sing.\n", "input": " "}, "Sing."),
        ({"instruction": "Sing.", "input": None, "output": "La."}, "Sing."),
        ({"prompt": WHY, "input": "not of a prompt"}, WHY),
        ({"instruction": "", "messages": [], "prompt": WHY}, WHY),
        ({"instruction": WHY, "prompt": TEA, "data": [TEA]}, WHY),
        ({"prompt": openai(("user", TEA))}, TEA),
        ({"prompt": WHY, "messages": openai(("user", TEA), ("assistant", POT))}, TEA),
        ({"data": [f" {TEA}\n"]}, TEA),
        ({"instruction": WHY, "history": [], "models": ["a"], "completions": [{"model": "a"}]}, WHY),
    ],
)
def test_a_row_holds_its_instruction_in_one_of_the_usual_ways(write: Write, row: object, text: str) -> None:
    """A field of that name, an instruction and its input, or a dialogue of one turn; other fields are not looked at."""
    path = write("mine.jsonl", "\ufeff\n" + rows({"instruction": TEA}) + "\r\n" + rows(row))
    wanted = [Brought(TEA, "other", "mine.jsonl:2"), Brought(text, "other", "mine.jsonl:4")]
    assert list(InstructionFile.open(path)) == wanted


TALK = (user(WHY), assistant(SALT), user(MORE))
CHA = (user(TEA), assistant(POT), user(COOL))


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"messages": openai(("user", WHY), ("assistant", SALT), ("user", MORE))}, TALK),
        ({"messages": openai(("user", WHY), ("assistant", SALT), ("user", MORE), ("assistant", "Sun."))}, TALK),
        ({"messages": openai(("user", TEA), ("assistant", POT), ("user", COOL), ("assistant", ""))}, CHA),
        ({"conversations": sharegpt(("human", TEA), ("gpt", POT), ("human", COOL), ("gpt", "九十度。"))}, CHA),
        ({"conversations": sharegpt(("Human", WHY), ("ChatGPT", SALT), ("user", MORE))}, TALK),
        ({"messages": sharegpt(("prompter", WHY), ("assistant", SALT), ("prompter", MORE))}, TALK),
        ({"data": [TEA, POT, COOL]}, CHA),
        ({"data": [TEA, POT, COOL, "九十度。"]}, CHA),
        ({"prompt": openai(("user", WHY), ("assistant", SALT), ("user", MORE)), "chosen": []}, TALK),
        ({"instruction": MORE, "history": openai(("user", WHY), ("assistant", SALT))}, TALK),
        ({"instruction": COOL, "history": [[TEA, POT]]}, CHA),
        ({"instruction": COOL, "history": [TEA, POT]}, CHA),
        (
            {"messages": openai(("system", "Be brief."), ("user", WHY), ("assistant", SALT))},
            (Message(role="system", content="Be brief."), user(WHY)),
        ),
        (
            {"conversations": sharegpt(("system", "说短一点。"), *(("human", TEA), ("gpt", POT), ("human", COOL)))},
            (Message(role="system", content="说短一点。"), *CHA),
        ),
        ({"messages": openai(("system", " "), ("user", WHY))}, (user(WHY),)),
        ({"messages": [{"role": "system", "content": None}, *openai(("user", WHY))]}, (user(WHY),)),
        (
            {"instruction": WHY, "history": openai(("developer", "Be brief."))},
            (Message(role="system", content="Be brief."), user(WHY)),
        ),
    ],
)
def test_of_a_dialogue_the_last_turn_of_the_user_is_asked(write: Write, row: object, said: tuple[Message, ...]) -> None:
    """What was said before is its history, a system message the first of it; a closing answer is dropped unread."""
    [brought] = InstructionFile.open(write("talk.jsonl", rows(row)))
    assert (*brought.history, user(brought.instruction)) == said


def test_what_was_said_before_is_kept_to_the_letter(write: Write) -> None:
    """Only what is asked loses the white space around it."""
    [brought] = InstructionFile.open(write("talk.jsonl", rows({"data": [f" {WHY}", f"{SALT}\n", f"\t{MORE} "]})))
    assert brought.history == (user(f" {WHY}"), assistant(f"{SALT}\n"))
    assert brought.instruction == MORE


@pytest.mark.parametrize(
    ("said", "source"),
    [({}, "other"), ({"source": None}, "other"), ({"source": " "}, "other"), ({"source": " 自 拟　表 "}, "自 拟　表")],
)
def test_the_source_is_what_the_row_says(write: Write, said: dict[str, object], source: str) -> None:
    """Without one it is other; a space within is part of it, in any script."""
    [brought] = InstructionFile.open(write("mine.jsonl", rows({"instruction": TEA, **said})))
    assert brought.source == source


@pytest.mark.parametrize(
    ("row", "correct", "incorrect"),
    [
        ({"correct_answers": ["Salt.", " Rivers. "], "incorrect_answers": ["Fish."]}, ("Salt.", "Rivers."), ("Fish.",)),
        ({"correct_answers": "盐。", "incorrect_answers": []}, ("盐。",), ()),
        ({"correct_answers": None, "incorrect_answers": ["", "鱼。", " "]}, (), ("鱼。",)),
        ({"Correct Answers": "Salt.", "Incorrect Answers": ["Fish."]}, ("Salt.",), ("Fish.",)),
        ({"correct_answers": ["None"], "incorrect_answers": "None"}, (), ()),
        ({"correct_answers": ["None", "Nobody."]}, ("None", "Nobody."), ()),
    ],
)
def test_answers_known_to_be_right_or_wrong_come_along(
    write: Write, row: dict[str, Any], correct: tuple[str, ...], incorrect: tuple[str, ...]
) -> None:
    """As a list or one; a lone "None" is how UltraFeedback says that there are none."""
    [brought] = InstructionFile.open(write("mine.jsonl", rows({"instruction": WHY, "source": "truthful_qa", **row})))
    assert brought == Brought(WHY, "truthful_qa", "mine.jsonl:1", (), correct, incorrect)


NO_TEXT = "holds no text; mend or drop the line"


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (
            {"title": WHY, "instruction": ""},
            "no instruction in a field instruction, messages, conversations, prompt, question, data;"
            " the row has: title, instruction",
        ),
        ({}, "no instruction in a field .* the row has: none at all"),
        ([WHY], "not a JSON object but list; one JSON object a line"),
        (WHY, "not a JSON object but str; one JSON object a line"),
        ({"instruction": " \n"}, f"'instruction' {NO_TEXT}"),
        ({"instruction": 7}, f"'instruction' {NO_TEXT}"),
        ({"prompt": {"text": WHY}}, f"'prompt' {NO_TEXT}"),
        ({"messages": {"role": "user", "content": WHY}}, f"'messages' {NO_TEXT}"),
        ({"instruction": WHY, "input": ["a"]}, f"'input' {NO_TEXT}"),
        ({"instruction": WHY, "source": 3}, f"'source' {NO_TEXT}"),
        ({"instruction": WHY, "source": "a\nb"}, "'source' is the name of a data set, and has no line ends or control"),
        ({"instruction": WHY, "source": "a\x1b[2Jb"}, "'source' is the name of a data set"),
        ({"instruction": WHY, "correct_answers": {"a": 1}}, "'correct_answers' is no list of texts; mend or drop"),
        ({"instruction": WHY, "incorrect_answers": [3]}, "'incorrect_answers' is no list of texts; mend or drop"),
        ({"instruction": WHY, "history": TEA}, "'history' is no list of turns; mend or drop the line"),
        (
            {"instruction": WHY, "history": [[TEA, POT], [COOL, None]]},
            "'history': turn 4 is no turn, but NoneType; mend or drop the line",
        ),
        (
            {"instruction": MORE, "history": openai(("user", WHY))},
            "'history': turns 1 and 2 are both of the user; join them, or drop the line",
        ),
        (
            {"messages": openai(("system", "Be kind."))},
            "'messages' has no turn of the user that could be answered; mend or drop the line",
        ),
        ({"conversations": sharegpt(("gpt", "Hi."))}, "'conversations' has no turn of the user"),
        (
            {"conversations": sharegpt(("gpt", "Hi."), ("human", WHY))},
            "'conversations': begins with a turn of the assistant, and not of the user; drop that turn, or the line",
        ),
        (
            {"messages": openai(("user", WHY), ("assistant", SALT), ("assistant", SALT), ("user", MORE))},
            "'messages': turns 2 and 3 are both of the assistant; join them, or drop the line",
        ),
        (
            {"messages": openai(("system", "Be kind."), ("user", TEA), ("user", COOL))},
            "'messages': turns 2 and 3 are both of the user; join them, or drop the line",
        ),
        (
            {"messages": openai(("user", WHY), ("system", "Be kind."))},
            "'messages': turn 2 is of the system, which speaks only before all others; mend or drop the line",
        ),
        (
            {"messages": openai(("user", WHY), ("tool", "7"), ("user", MORE))},
            "'messages': turn 2 is of 'tool', and only system, user and assistant can be told to a model; mend or drop",
        ),
        ({"messages": [{"content": WHY}]}, "'messages': turn 1 is of 'None', and only"),
        ({"messages": [{"role": ["user"], "content": WHY}]}, r"'messages': turn 1 is of '\['user'\]', and only"),
        ({"messages": [{"role": "user"}]}, f"'messages': turn 1 {NO_TEXT}"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, f"'messages': turn 1 {NO_TEXT}"),
        ({"data": [TEA, " ", COOL]}, f"'data': turn 2 {NO_TEXT}"),
        ({"data": [[TEA]]}, "'data': turn 1 is no turn, but list; mend or drop the line"),
    ],
)
def test_a_row_that_asks_nothing_is_told_with_its_line(write: Write, row: object, why: str) -> None:
    """And what to do about it."""
    path = write("mine.jsonl", rows({"instruction": TEA}) + "\n" + rows(row))
    with pytest.raises(BadData, match=rf"^{path}:3: {why}"):
        InstructionFile.open(path)


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("a.txt", b"", ": is empty; write one instruction a line$"),
        ("a.jsonl", b"\xef\xbb\xbf\r\n \n", ": is empty; write one instruction a line$"),
        ("a.csv", b"a", r": not a file of instructions; convert it to jsonl or txt \(one a line\)$"),
        ("a.json", b"[]", r": not a file of instructions; convert it to jsonl or txt \(one a line\)$"),
        ("a.txt", b"fine\nca\xe9", ":2: not UTF-8; convert the file"),
        ("a.jsonl", b'{"instruction": "a"}\n{"instruction": "ca\xe9"}', ":2: not UTF-8"),
        ("a.jsonl", b'{"instruction": "a"}\n\n{"instruction"\n', ":3: not JSON: .*; mend or drop the line$"),
        ("a.jsonl", b'{"instruction": "\\ud800"}\n', ":1: not JSON: "),
    ],
)
def test_what_is_wrong_with_a_file_of_instructions_is_one_line(
    tmp_path: Path, name: str, data: bytes, why: str
) -> None:
    """Empty, of another kind, not UTF-8, not JSON."""
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(BadData, match=rf"^{path}{why}"):
        InstructionFile.open(path)


def test_a_missing_file_of_instructions_and_a_folder_are_one_line(tmp_path: Path) -> None:
    """A folder is no file of instructions."""
    with pytest.raises(BadData, match=r"/none\.jsonl: cannot be read: No such file or directory$"):
        InstructionFile.open(tmp_path / "none.jsonl")
    with pytest.raises(BadData, match=r"not a file of instructions; convert it to jsonl"):
        InstructionFile.open(tmp_path)


def test_a_row_that_changes_while_it_is_in_use_is_told(write: Write) -> None:
    """Also where it asks the same, and only an answer known to be right is another."""
    row = {"instruction": WHY, "correct_answers": ["Salt."]}
    brought = InstructionFile.open(write("a.jsonl", rows(row)))
    write("a.jsonl", rows({**row, "correct_answers": ["Lime."]}))
    with pytest.raises(BadData, match=r"a\.jsonl: was changed while it was in use; put it back as it was"):
        brought[0]


def test_the_digest_of_instructions_is_that_of_all_that_matters(write: Write) -> None:
    """Text, source, history, answers, order, line and file name; what is not read does not count."""
    row: dict[str, Any] = {"instruction": MORE, "source": "flan", "history": [[WHY, SALT]]}
    digests = [
        InstructionFile.open(write(name, text)).digest
        for name, text in [
            ("a.jsonl", rows(row, {"instruction": TEA})),
            ("a.jsonl", rows({"models": ["x"], **row}, {"data": [TEA, POT]})),
            ("a.jsonl", rows({"instruction": TEA}, row)),
            ("a.jsonl", "\n" + rows(row, {"instruction": TEA})),
            ("a.jsonl", rows({**row, "source": "sharegpt"}, {"instruction": TEA})),
            ("a.jsonl", rows({**row, "history": [[WHY, POT]]}, {"instruction": TEA})),
            ("a.jsonl", rows({**row, "correct_answers": ["Sun."]}, {"instruction": TEA})),
            ("a.jsonl", rows({**row, "incorrect_answers": ["Sun."]}, {"instruction": TEA})),
            ("b.jsonl", rows(row, {"instruction": TEA})),
        ]
    ]
    assert digests[0].startswith("2 instructions, sha256 ")
    assert digests[0] == digests[1]
    assert len(set(digests)) == 8


def test_the_digest_of_instructions_is_the_same_in_every_release(write: Write) -> None:
    """Else no run could go on: the sha256 of a JSON list a line, in the order of the fields."""
    row = {"instruction": COOL, "source": "flan", "history": [[TEA, POT]], "correct_answers": "九十度。"}
    path = write("a.jsonl", rows(row, {"prompt": WHY}))
    content = (
        f'["{COOL}","flan","a.jsonl:1",[["user","{TEA}"],["assistant","{POT}"]],["九十度。"],[]]\n'
        f'["{WHY}","other","a.jsonl:2",[],[],[]]\n'
    )
    wanted = f"2 instructions, sha256 {hashlib.sha256(content.encode()).hexdigest()}"
    assert InstructionFile.open(path).digest == wanted


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30), max_size=9),
    st.sampled_from(["txt", "row", "turns"]),
)
def test_any_instruction_comes_back_and_twice_the_same(tmp_path: Path, texts: list[str], how: str) -> None:
    """Each line, row or dialogue, in order, in slices and from the end."""
    wanted = [text.strip().replace("\n", " ").strip("\ufeff").strip() for text in texts]
    wanted = [text for text in wanted if text] + [WHY]
    path = tmp_path / ("a.txt" if how == "txt" else "a.jsonl")
    made: list[object] = [{"instruction": text} if how == "row" else {"data": [text, POT]} for text in wanted]
    path.write_bytes(("\n".join(wanted) if how == "txt" else rows(*made)).encode())
    brought = InstructionFile.open(path)
    assert [one.instruction for one in brought] == wanted
    assert brought[::-1] == [brought[index] for index in range(-1, -len(wanted) - 1, -1)]
    with pytest.raises(IndexError):
        brought[len(wanted)]


def test_a_long_file_of_instructions_takes_20_bytes_an_instruction(write: Write) -> None:
    """20 000 rows of 600 characters: what is kept is where they stand, measured by tracemalloc."""
    path = write("long.jsonl", rows(*({"instruction": f"{n} " + "long " * 120} for n in range(20_000))))
    tracemalloc.start()
    try:
        brought = InstructionFile.open(path)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken < 20_000 * 30
    assert [brought[n].instruction.split()[0] for n in (0, 9_999, -1)] == ["0", "9999", "19999"]
