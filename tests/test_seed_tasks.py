"""Seed files: the published ones are read unchanged; whatever is wrong names file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from selfinstruct import seed_tasks
from selfinstruct.errors import BadData
from selfinstruct.schema import Instance, SeedTask

# The shape Self-Instruct published (systems §1.5) and BELLE's Chinese file shares (§3.2), in words of our own.
ENGLISH = """\
{"id": "seed_task_0", "name": "jar_uses", "instruction": "Name three uses for old jars.", \
"instances": [{"input": "", "output": "Candles, nails, jam."}], "is_classification": false}
{"id": "seed_task_1", "name": "review_tone", "instruction": "Is the review kind or rude?", \
"instances": [{"input": "What a lovely café!", "output": "kind"}], "is_classification": true}
"""
CHINESE = """\
{"id": "seed_task_9", "name": "shorten_memo", "instruction": "把这份通知缩短到一句话。", \
"instances": [{"input": "因检修，周三全天停水。", "output": "周三因检修停水。"}], "is_classification": false}
"""
GOOD = b'{"id": "a", "instruction": "Name a tree.", "instances": [{"input": "", "output": "Oak."}]}'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the test's seed file is."""
    return tmp_path / "seeds.jsonl"


def load(path: Path, content: bytes | str) -> list[SeedTask]:
    """The seed tasks of a file with this content."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return seed_tasks.load(path)


def test_a_published_english_file_is_read_unchanged(path: Path) -> None:
    """Every field, in the file's order."""
    assert load(path, ENGLISH) == [
        SeedTask(
            id="seed_task_0",
            name="jar_uses",
            instruction="Name three uses for old jars.",
            instances=(Instance(input="", output="Candles, nails, jam."),),
        ),
        SeedTask(
            id="seed_task_1",
            name="review_tone",
            instruction="Is the review kind or rude?",
            instances=(Instance(input="What a lovely café!", output="kind"),),
            is_classification=True,
        ),
    ]


def test_a_published_chinese_file_is_read_unchanged(path: Path) -> None:
    """Also under the name it was published with, ``zh_seed_tasks.json``, although its content is JSON Lines."""
    (task,) = load(path.with_name("zh_seed_tasks.json"), CHINESE)
    assert (task.id, task.instruction) == ("seed_task_9", "把这份通知缩短到一句话。")
    assert task.instances == (Instance(input="因检修，周三全天停水。", output="周三因检修停水。"),)


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + CHINESE.encode() + ENGLISH.encode(),
        (CHINESE + ENGLISH).replace("\n", "\r\n").encode(),
        b"\n  \n" + CHINESE.encode() + b"\r\n\t\n" + ENGLISH.encode().rstrip(b"\n"),
    ],
    ids=["byte order mark", "CRLF", "blank lines and no last line feed"],
)
def test_what_editors_do_to_a_file_changes_nothing(path: Path, content: bytes) -> None:
    """A byte order mark, Windows line ends, blank lines, a missing last line feed."""
    assert load(path, content) == load(path.with_name("clean.jsonl"), CHINESE + ENGLISH)


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1e"])
def test_a_line_ends_at_a_line_feed_only(path: Path, separator: str) -> None:
    """JSON allows U+2028 and others as they are within a string; below U+0020 they come escaped."""
    shown = separator if separator >= " " else f"\\u{ord(separator):04x}"
    content = GOOD.decode().replace("Oak.", f"Oak{shown}Elm").replace('"a"', '"b"') + "\n" + GOOD.decode()
    tasks = load(path, content)
    assert [task.id for task in tasks] == ["b", "a"]
    assert tasks[0].instances[0].output == f"Oak{separator}Elm"


def test_unknown_keys_are_kept(path: Path) -> None:
    """Of a file with more columns than ours nothing is lost, and nothing of it is read."""
    (task,) = load(path, GOOD.replace(b"{", b'{"motivation_app": "Grammarly", "tags": [1, {"a": null}], ', 1))
    assert task.model_extra == {"motivation_app": "Grammarly", "tags": [1, {"a": None}]}
    assert (task.name, task.is_classification) == ("", False)


BAD_LINES: list[tuple[str, bytes, str]] = [
    ("cut off", GOOD[:-9], "not a JSON object: line contains invalid json"),
    ("two objects", GOOD + GOOD, "not a JSON object: line contains invalid json"),
    ("half a surrogate pair", GOOD.replace(b"Oak", b"\\ud83d"), "not a JSON object: line contains invalid json"),
    ("nested too deep", b"[" * 5000, "not a JSON object: line contains invalid json"),
    ("a list", b"[1]", "not a JSON object but list"),
    ("a number", b"7", "not a JSON object but int"),
    ("null", b"null", "not a JSON object: line contains null value"),
    ("no id", GOOD.replace(b'"id": "a", ', b""), "'id': Field required"),
    ("a number as id", GOOD.replace(b'"a"', b"1"), "'id': Input should be a valid string"),
    ("no instruction", GOOD.replace(b"instruction", b"Instruction"), "'instruction': Field required"),
    ("an empty instruction", GOOD.replace(b"Name a tree.", b""), "'instruction': String should have at least 1 char"),
    ("no instances", GOOD.replace(b"instances", b"examples"), "'instances': Field required"),
    ("instances that are none", GOOD[: GOOD.index(b"[")] + b"[]}", "'instances': Tuple should have at least 1 item"),
    ("an instance that is text", GOOD[: GOOD.index(b"[")] + b'["Oak"]}', "'instances.0': Input should be"),
    ("an instance without input", GOOD.replace(b'"input": "", ', b""), "'instances.0.input': Field required"),
    ("an instance with a typo", GOOD.replace(b"output", b"outputs"), "'instances.0.output': Field required"),
    ("a class that is neither", GOOD.replace(b"{", b'{"is_classification": "perhaps", ', 1), "'is_classification': "),
    ("an id twice", GOOD, "the id 'a' stands in line 1 already"),
]


@pytest.mark.parametrize(("line", "why"), [bad[1:] for bad in BAD_LINES], ids=[bad[0] for bad in BAD_LINES])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
def test_what_is_wrong_names_file_and_line(path: Path, line: bytes, why: str, end: bytes) -> None:
    """Counted as editors count, blank lines too."""
    with pytest.raises(BadData) as problem:
        load(path, GOOD + end + end + line + end)
    assert str(problem.value).startswith(f"{path}:3: {why}")


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("把".encode("gb18030"), 1),
        (GOOD + b"\n\n" + CHINESE.encode("gb18030"), 3),
        (b"\xef\xbb\xbf" + GOOD + b"\n" + b"\xff", 2),
        (CHINESE.encode("utf-16"), 1),
    ],
)
def test_a_file_that_is_not_utf_8_says_so(path: Path, content: bytes, line: int) -> None:
    """Chinese files often come as GB 18030; the message has the command that converts them."""
    with pytest.raises(BadData) as problem:
        load(path, content)
    assert str(problem.value) == f"{path}:{line}: not UTF-8; convert the file, for instance with iconv -t UTF-8"


@pytest.mark.parametrize("content", [b"", b"\n \n", b"\xef\xbb\xbf"])
def test_a_file_without_a_task_is_no_seed_file(path: Path, content: bytes) -> None:
    """It would start a run that has nothing to show."""
    with pytest.raises(BadData, match="holds no seed task; expected one JSON object a line"):
        load(path, content)


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    """Missing, or a folder."""
    with pytest.raises(BadData, match=r"gone\.jsonl: cannot read the seed file: No such file"):
        seed_tasks.load(tmp_path / "gone.jsonl")
    with pytest.raises(BadData, match="cannot read the seed file: Is a directory"):
        seed_tasks.load(tmp_path)
