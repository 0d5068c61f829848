"""The READMEs are true: their commands run, in order; what they name exists; both languages say the same."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
import typer

from selfinstruct import errors
from selfinstruct.cli import app
from selfinstruct.engine import server as engine_server
from selfinstruct.feedback_schema import ASPECTS
from selfinstruct.recipe import Recipe, known_keys
from selfinstruct.training.recipe import Tuning
from tests.command import CANARY, ROOT
from tests.judges import rating_of, score_of
from tests.models.loopback import Loopback, Received
from tests.readme_pages import (
    BOTH,
    CHINESE,
    ENGLISH,
    blocks,
    commands,
    options,
    pools_of,
    questions_of,
    read,
    recipe_keys,
    section,
    sections,
    spans,
    tables,
)
from tests.readme_world import A_ROUND, ENOUGH, RUN, Provider, Session, at_this_machine, listed, machine, model
from tests.stub_engine import starts

NOT_RUN = {
    "make demo": "tests/cli/test_demo.py goes the same way on the real model",
    "make test": "it would run this test again",
    "make generate": "it builds an environment first, then runs `selfinstruct generate`, which is run here",
    "make dialogue": "the same for `selfinstruct dialogue`",
    "make feedback": "the same for `selfinstruct feedback`",
    "pip install": "it builds an environment; tests/test_wheel.py installs the package",
    "make setup-vllm": "it installs several GB; `make test-vllm` works with what it makes",
    "selfinstruct models convert": "it needs vLLM's own environment; tests/models/test_conversion.py converts",
    "make finetune-demo": "it builds an environment with torch first, then runs what tests/training/ runs",
    "selfinstruct finetune sft first --model smollm2": "it needs torch; tests/training/ tunes in `make test-slow`",
    "selfinstruct finetune dpo": "the same",
    "selfinstruct finetune reward": "the same",
    "selfinstruct finetune critique": "the same",
    "selfinstruct best-of-n": "it needs a reward model, so torch; tests/cli/test_best_of_n_command.py asks and keeps",
    "selfinstruct serve": "it needs a tuned model; tests/test_serving.py serves one",
    "selfinstruct loop": "it needs torch; tests/test_looping.py goes round",
    "selfinstruct models fetch": "it downloads 98 MB; tests/models/test_weights.py tries it with a pip of its own",
    "cd": "the cron line's folder; all commands run in one here",
    ".": "the cron line's key file; the key is in the environment here",
}
"""Commands that are not run, by their first words, and why not."""

EXITS: dict[str, int] = {}
"""Commands that end with another code than 0, by their first words; at present none does."""


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


def test_both_readmes_show_the_same_pools() -> None:
    """Comments aside; that of feedback has more models than answer an instruction."""
    english, chinese = ([tomllib.loads(pool) for pool in pools_of(name)] for name in BOTH)
    assert chinese == english
    assert [len(pool["model"]) for pool in english] == [3, 5]


def test_both_tables_of_figures_have_the_same_numbers() -> None:
    """Row by row, in any order within a row, since languages differ in theirs."""

    def numbers(row: str) -> list[str]:
        return sorted(re.findall(r"-?\d+(?:\.\d+)?", re.sub(r"(?<=\d) (?=\d{3})", "", row)))

    (english,), (chinese,) = (tables(section(name, "Figures")) for name in BOTH)
    assert list(map(numbers, chinese)) == list(map(numbers, english))
    assert sum(len(numbers(row)) for row in english) > 40


# --- the commands run -------------------------------------------------------------------------------------------------


POOL = "gpt-4.1-mini-and-2-more"
"""What the README's pool is called in the names of runs."""

TALKS = {
    f"dialogue-world-en-{POOL}",
    "dialogue-world-en-gpt-3.5-turbo",
    "dialogue-writing-zh-gpt-3.5-turbo",
    "dialogue-materials-en-gpt-3.5-turbo",
    "dialogue-world-openers-en-gpt-3.5-turbo",
    "talks",
}
"""The README's dialogues."""

JUDGED = {"judged": 3, "feedback-en-gpt-4.1": 3, "checked": A_ROUND, "feedback-zh-qwen-plus": A_ROUND}
"""The README's runs of feedback, and how many instructions each has: those of the page, or of another run."""


def test_every_command_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order of the page, in one folder, at servers that answer; each ends as documented."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(engine_server, "LOOK_EVERY", 0.02)
    environment = machine(tmp_path / "machine")
    provider = Provider(sorted(set(re.findall(r"--model (\S+)", read(ENGLISH)))), _names(pools_of(ENGLISH)[1]))
    with Loopback(provider) as server:
        _write_the_users_files(server.url)
        base = f"{server.url}/v1"
        # The table knows the price of gpt-3.5-turbo at its own host, and the answers come from another.
        environment |= {"OPENAI_BASE_URL": base, "SELFINSTRUCT_PRICE": "in=0.5,out=1.5", "OUR_KEY": f"{CANARY}-OUR_KEY"}
        session = Session(base, provider, environment, NOT_RUN)
        for command in commands(read(ENGLISH)):
            ended = session.enter(command)
            if ended is not None:
                expected = EXITS.get(listed(EXITS, command) or "", 0)
                assert ended.code == expected, f"{command}\n{ended.out}\n{ended.err}"
    _was_asked_as_the_page_says([one for one in server.received if one.body])
    _runs_are_whole()
    _files_are_what_they_are_called()
    _vllm_was_started_as_the_page_says(tmp_path / "machine")
    _pools_were_drawn_from()
    _answers_were_judged()


def _names(pool: str) -> list[str]:
    """The models of a pool's text."""
    return [model["name"] for model in tomllib.loads(pool)["model"]]


def _write_the_users_files(url: str) -> None:
    """What the commands read."""
    (example,) = re.findall(r'(?m)^\{"custom_id".*$', read(ENGLISH))
    messages = orjson.dumps([{"role": "user", "content": "Name a tree."}]).decode()
    line = example.replace("[…]", messages) + "\n"
    Path("requests.jsonl").write_text(line, "utf-8")
    named = [line.replace('"q1"', f'"{name}"').replace("gpt-4o-mini", name) for name in ("gpt-4.1-mini", "qwen3-8b")]
    Path("mixed.jsonl").write_text("".join(named), "utf-8")
    for name, pool in zip(("mine.toml", "five.toml"), pools_of(ENGLISH), strict=True):
        Path(name).write_text(at_this_machine(pool, url), "utf-8")
    Path("questions.jsonl").write_text(questions_of(ENGLISH), "utf-8")
    model(Path("my-model"), Path("machine").absolute())
    Path("notes").mkdir()
    Path("notes/pond.md").write_text(
        "# The pond\n\nIt froze in the first week of January and thawed in March.\n", "utf-8"
    )
    Path("openers.txt").write_text("Why do ponds freeze from above?\nHow thick must ice be to walk on?\n", "utf-8")
    Path("eval.jsonl").write_text('{"question": "How many legs have seven spiders that lost one leg each?"}\n', "utf-8")


def _was_asked_as_the_page_says(received: Sequence[Received]) -> None:
    """Each server with its own key, and in its own words."""
    asked = {one.json["model"]: one for one in received}
    keys = {name: one.headers.get("Authorization", "").removeprefix(f"Bearer {CANARY}-") for name, one in asked.items()}
    assert keys["gpt-3.5-turbo"] == keys["gpt-4.1-mini"] == "OPENAI_API_KEY"
    assert keys["qwen-plus"] == "DASHSCOPE_API_KEY"
    assert keys["ours"] == "OUR_KEY"
    assert {one.path.split("/")[1] for one in received if one.json["model"] == "ours"} == {"gpu1", "gpu2"}
    assert asked["qwen3-8b"].json["chat_template_kwargs"] == {"enable_thinking": False}
    assert asked["deepseek-r1"].json["max_tokens"] == 8192
    assert any("response_format" in one.json for one in received)


def _runs_are_whole() -> None:
    """Every run has the shards of its stages; every dialogue whole rounds."""
    runs = {path.parent.name for path in Path("output").glob("*/ledger.sqlite3")}
    assert {"self-instruct-zh-gpt-3.5-turbo", "alpaca-en-gpt-4.1-mini", "belle-zh-qwen-plus", RUN} <= runs
    assert runs > TALKS | JUDGED.keys()
    for run in runs - TALKS - JUDGED.keys():
        assert len(list(Path("output", run).glob("*/shard-0.jsonl"))) == (3 if run.startswith("self") else 1)
    for run in TALKS:
        talks = rows(f"output/{run}/dialogue/shard-0.jsonl")
        assert talks, run
        assert all(len(talk["messages"]) % 2 == 0 for talk in talks)


def _files_are_what_they_are_called() -> None:
    """What is exported, filtered and completed."""
    assert len(rows("talks.jsonl")) >= ENOUGH
    tasks = orjson.loads(Path("data.json").read_bytes())
    assert [set(task) for task in tasks] == [{"instruction", "input", "output"}] * len(tasks)
    assert [set(line) for line in rows("Belle.train.json")] == [{"input", "target"}] * len(tasks)
    assert len(tasks) >= ENOUGH
    kept = orjson.loads(Path("new-only/summary.json").read_bytes())["kept"]
    assert 0 < kept <= len(tasks)
    assert len(rows("new-only/kept.jsonl")) == kept
    assert [row["custom_id"] for row in rows("answers/results.jsonl")] == ["q1"]


def _vllm_was_started_as_the_page_says(machine: Path) -> None:
    """Once for each command and set of GPUs, under the model's name or its name in the pool; and nothing is left."""
    found = starts(machine / "starts")
    served = Counter(f"{word_after('--served-model-name', start.arguments)} on {start.gpus}" for start in found)
    assert served == {
        "Qwen/Qwen3-8B on None": 2,
        "my-model on 0,1": 1,
        "my-model on 2,3": 1,
        "smollm2-135m-instruct on None": 1,
        "qwen3-8b on None": 3,
    }
    for start in found:
        if start.gpus:
            assert "--max-model-len=8192" in start.arguments
            assert "--tensor-parallel-size=2" in start.arguments
    assert len(list((machine / "state").rglob("*.log"))) == len(served)
    assert list((machine / "state").rglob("*.json")) == []


def _pools_were_drawn_from() -> None:
    """All of its models are at work, one in each task and each conversation, and lines name theirs."""
    pool = set(_names(pools_of(ENGLISH)[0]))
    tasks = [row["provenance"]["models"] for row in rows(f"output/alpaca-en-{POOL}/alpaca/shard-0.jsonl")]
    talks = [row["provenance"]["models"] for row in rows(f"output/dialogue-world-en-{POOL}/dialogue/shard-0.jsonl")]
    assert {name for (name,) in tasks} == pool
    assert {frozenset(names) for names in talks} == {frozenset({"gpt-4.1-mini", name}) for name in pool}
    answers = rows("answers-pool/results.jsonl")
    assert [row["response"]["body"]["model"] for row in answers] == [row["custom_id"] for row in answers]


def _answers_were_judged() -> None:
    """Four of the five models an instruction, all by the rule of the judge that plays here; and pairs come of it."""
    pool, answers = set(_names(pools_of(ENGLISH)[1])), 0
    for run, count in JUDGED.items():
        records = rows(f"output/{run}/critique/shard-0.jsonl")
        assert len(records) == count, run
        for record in records:
            names = {answer["model"] for answer in record["completions"]}
            assert len(names) == 4, run
            assert names < pool, run
            for answer in record["completions"]:
                given = {aspect: annotation["rating"] for aspect, annotation in answer["annotations"].items()}
                assert given == {aspect: rating_of(answer["response"], aspect) for aspect in ASPECTS}
                assert (answer["first_score"] or answer["overall_score"]) == score_of(answer["response"])
                answers += 1
    assert answers == 4 * sum(JUDGED.values())
    pairs = rows("output/judged/binarize/shard-0.jsonl")
    assert [row["chosen"][0]["content"] for row in rows("pairs.jsonl")] == [row["chosen"]["response"] for row in pairs]
    assert {
        row["score_chosen"] > row["score_rejected"] for row in (*rows("lowest.jsonl"), *rows("every-pair.jsonl"))
    } == {True}
    assert [row["source"] for row in rows("feedback.jsonl")] == ["evol_instruct", "flan_v2_flan2021", "truthful_qa"]


def word_after(option: str, words: Sequence[str]) -> str:
    """An option's value."""
    return words[words.index(option) + 1]


def rows(path: str) -> list[Any]:
    """The lines of a file, parsed."""
    return [orjson.loads(line) for line in Path(path).read_bytes().splitlines()]


@pytest.mark.parametrize("name", BOTH)
def test_the_lines_of_python_run(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Two of four texts are new: the others share four of five words, or eight of nine characters."""
    (program,) = [block for block in blocks(read(name)) if block.startswith("from selfinstruct")]
    exec(program, {})
    assert capsys.readouterr().out == "['Name four old trees.', '写一首关于春天的诗。']\n"


def test_no_exception_is_listed_for_nothing() -> None:
    """Every entry of `NOT_RUN` and `EXITS` is about a command that the README has."""
    found = commands(read(ENGLISH))
    unused = [name for name in [*NOT_RUN, *EXITS] if not any(listed([name], command) for command in found)]
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
    """As a key, as a table of keys, or as a field of a key that takes any; or as one of a tuning's values."""
    every = [*known_keys(Recipe), *Tuning.model_fields]
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
    assert {(target, variable) for target, variable in given if f"{variable}=" not in described[target]} == set()
    assert len(given) >= 6


@pytest.mark.parametrize("name", BOTH)
def test_every_link_to_a_section_has_one(name: str) -> None:
    """GitHub's anchor of a heading: lower case, spaces as hyphens."""
    anchors = {re.sub(r"[^\w -]", "", one.title.lower()).replace(" ", "-") for one in sections(read(name))}
    linked = set(re.findall(r"\]\(#([^)]+)\)", read(name)))
    assert linked - anchors == set()
    assert len(linked) == 1
