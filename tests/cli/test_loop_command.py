"""`selfinstruct loop`, as a shell sees it; its servers and commands are stood in for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from selfinstruct import looping, serving
from selfinstruct.serving import Served, Wish
from tests.command import invoke


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The words of each command that was run; `generate` is run for real, with scripted answers."""
    commands: list[list[str]] = []

    @contextmanager
    def started(model: str, wish: Wish, tell: Callable[[str], None]) -> Iterator[SimpleNamespace]:
        url = f"http://127.0.0.1:{wish.port}/v1"
        yield SimpleNamespace(served=Served(url, Path(model).name, "transformers", "chat", 1, Path("log")))

    def command(words: Sequence[str]) -> int:
        commands.append(list(words))
        if words[0] == "finetune":
            out = Path(words[words.index("--out") + 1])
            out.mkdir()
            (out / "log.jsonl").write_text('{"loss": 3.0}\n{"loss": 1.5}\n')
            return 0
        named = {option: words[words.index(option) + 1] for option in ("-n", "--run", "--output-dir")}
        return invoke("generate", "--api", "fake", "--quiet", *(word for one in named.items() for word in one)).code

    monkeypatch.setattr(serving, "started", started)
    monkeypatch.setattr(looping, "command", command)
    return commands


def test_it_ends_with_a_table_of_the_rounds(tmp_path: Path, asked: list[list[str]]) -> None:
    """What was kept and rejected, the losses, and where the models are."""
    ended = invoke("loop", "--model", "smollm2", "-n", 2, "--output-dir", tmp_path)
    assert ended.code == 0, ended.err
    header, *rows = ended.out.splitlines()
    assert header.split() == ["round", "accepted", "rejected", "loss", "before", "after", "model"]
    counts = [looping.tally(tmp_path / f"loop-smollm2-r{number}") for number in (1, 2)]
    assert min(accepted for accepted, _ in counts) > 0
    assert [row.split() for row in rows] == [
        [str(number), *map(str, counts[number - 1]), "3.0000", "1.5000", f"{tmp_path}/loop-smollm2-r{number}-model"]
        for number in (1, 2)
    ]
    assert [words[0] for words in asked] == ["generate", "finetune", "generate", "finetune"]


def test_its_words_reach_the_commands(tmp_path: Path, asked: list[list[str]]) -> None:
    """They are split as a shell does; --json gives the rounds as they are written down."""
    (tmp_path / "base").mkdir()
    options = ("--run", "tale", "--recipe", "alpaca", "--generate", "--lang en", "--finetune", "--mix 'a b:1'")
    ended = invoke("loop", "-m", tmp_path / "base", "--rounds", 1, *options, "--output-dir", tmp_path, "--json")
    assert ended.code == 0, ended.err
    assert asked[0][-4:] == ["--recipe", "alpaca", "--lang", "en"]
    assert asked[1][-2:] == ["--mix", "a b:1"]
    (row,) = json.loads(ended.out)
    assert (row["run"], row["tuned"], row["loss_after"]) == ("tale-r1", True, 1.5)
    assert row["model"] == str(tmp_path / "tale-r1-model")


def test_words_that_no_shell_could_split_are_a_usage_error(tmp_path: Path) -> None:
    """The message names the option."""
    ended = invoke("loop", "-m", "smollm2", "--generate", "'", "--output-dir", tmp_path)
    assert ended.code == 2
    assert "--generate" in ended.err


def test_a_step_that_fails_gives_the_loop_its_exit_code(
    tmp_path: Path, asked: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the round and the command."""
    monkeypatch.setattr(looping, "command", lambda words: 77)
    ended = invoke("loop", "-m", "smollm2", "--output-dir", tmp_path)
    assert ended.code == 77
    assert "round 1: 'selfinstruct generate --api chat" in ended.err
    assert asked == []


def test_rounds_with_too_many_unusable_answers_end_it_with_3(
    tmp_path: Path, asked: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the table, as of `generate` alone."""
    monkeypatch.setattr(looping, "command", lambda words: 3 if words[0] == "generate" else 0)
    ended = invoke("loop", "-m", "smollm2", "--run", "tale", "--rounds", 1, "--output-dir", tmp_path)
    assert ended.code == 3
    assert len(ended.out.splitlines()) == 2
    assert "too many answers could not be used in tale-r1" in ended.err
    assert asked == []
