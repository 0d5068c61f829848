"""`selfinstruct filter` as a shell sees it: what it writes, prints and ends with, what is left when it is killed."""

from __future__ import annotations

import io
import os
import pty
import re
import signal
import subprocess
import sys
import termios
from pathlib import Path
from types import SimpleNamespace

import orjson
import pytest

from selfinstruct.filters import rouge_l
from selfinstruct.suite import SUITE
from tests.command import PROGRAM, ROOT, Ended, invoke, spawn, until, wait

DATA = (
    b'{"instruction": "Name a tall tree."}\n'
    b'{"instruction": "Name a tall tree!"}\n'
    b'{"instruction": "Bake two loaves of bread."}\n'
)
NAMES = ["kept.jsonl", "rejects.jsonl", "summary.json"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with a file of three rows, the second like the first."""
    monkeypatch.chdir(tmp_path)
    Path("data.jsonl").write_bytes(DATA)


def filtered(*words: object) -> Ended:
    """``selfinstruct filter data.jsonl --out out`` and these words."""
    return invoke("filter", "data.jsonl", "--out", "out", *words)


# --- what it does ---------------------------------------------------------------------------------------------------


def test_it_writes_three_files_and_ends_with_a_table() -> None:
    """Each filter with what it refused, the reasons, and where to look."""
    ended = filtered("--use", "wording", "--use", "rouge-l:0.7")
    assert (ended.code, ended.err) == (0, "")
    table = [line.split() for line in ended.out.splitlines()]
    assert table[0] == ["filter", "refused", "seconds"]
    assert [line[:2] for line in table[1:4]] == [["wording", "0"], ["rouge-l:0.7", "1"], ["too_similar", "1"]]
    assert "2 of 3 rows kept, 66.67%; en 3" in ended.out
    assert "rows/s" in ended.out
    assert "MiB of memory" in ended.out
    assert "kept     out/kept.jsonl\nrejects  out/rejects.jsonl\nsummary  out/summary.json\n" in ended.out
    assert sorted(path.name for path in Path("out").glob("[!.]*")) == NAMES
    assert Path("out/kept.jsonl").read_bytes() == b"".join(DATA.splitlines(keepends=True)[::2])


def test_texts_that_are_slow_to_tell_apart_are_told_of_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """On standard error, once for each filter, and in the summary."""
    monkeypatch.setattr(rouge_l, "_STRAIN", 0)
    monkeypatch.setattr(rouge_l, "_STRAIN_SHARE", 0)
    ended = filtered("--use", "wording", "--use", "rouge-l:0.7", "--json")
    assert ended.err.startswith("selfinstruct: texts of so few different tokens are slow to tell apart: ")
    assert ended.err.count("\n") == 1
    assert [link["warning"] for link in orjson.loads(ended.out)["chain"]] == [None, ended.err.strip()[14:]]


def test_json_is_the_summary_and_quiet_is_silent() -> None:
    """Nothing else on standard output."""
    ended = filtered("--use", "rouge-l", "--json")
    assert orjson.loads(ended.out) == orjson.loads(Path("out/summary.json").read_bytes())
    assert filtered("--use", "rouge-l", "--quiet", "--force") == Ended(0, "", "")


def test_the_list_has_every_filter() -> None:
    """A line each, and nothing else is needed."""
    ended = invoke("filter", "--list")
    assert ended.code == 0
    assert [re.split(r"\W*:", line.split()[0])[0] for line in ended.out.splitlines()] == list(SUITE)


def test_order_on_the_command_line_is_the_order_of_the_chain() -> None:
    """The first that refuses is named, and the next is not asked."""
    for uses in (["rouge-l:0.7", "rouge-l:0.5"], ["rouge-l:0.5", "rouge-l:0.7"]):
        ended = filtered("--use", uses[0], "--use", uses[1], "--json", "--force")
        assert [(one["use"], one["refused"]) for one in orjson.loads(ended.out)["chain"]] == [
            (uses[0], 1),
            (uses[1], 0),
        ]


def test_fields_language_and_pool_are_heard() -> None:
    """Two fields are joined; what is in the pool is refused against its own name."""
    Path("chat.jsonl").write_text('{"messages": [{"content": "请写一首关于秋天的诗歌"}], "note": ""}\n', "utf-8")
    Path("own.jsonl").write_text(
        '{"id": "mine", "messages": [{"content": "请写一首关于春天的诗歌"}], "note": ""}\n', "utf-8"
    )
    words = ["filter", "chat.jsonl", "--field", "messages.0.content", "--field", "note", "--use", "rouge-l:0.7"]
    for lang, against in (("zh", ["mine"]), ("auto", ["mine"]), ("en", [])):
        ended = invoke(*words, "--lang", lang, "--pool", "own.jsonl", "--out", lang, "-q")
        assert ended.code == 0
        rejects = Path(lang, "rejects.jsonl").read_bytes().splitlines()
        assert [orjson.loads(line)["against"] for line in rejects] == against


def test_rows_of_a_pool_that_cannot_be_read_are_counted() -> None:
    """They are no rejects, since nobody asked for them to be judged; but they are told."""
    Path("own.jsonl").write_bytes(DATA[: DATA.index(b"\n") + 1] + b"[]\n")
    ended = filtered("--use", "rouge-l", "--pool", "own.jsonl", "--on-bad-row", "reject")
    assert (ended.code, ended.err) == (0, "")
    assert "compared with 1 rows of the pool, 1 that cannot be read\n1 of 3 rows kept" in ended.out
    summary = orjson.loads(Path("out/summary.json").read_bytes())
    assert (summary["pool_rows"], summary["pool_bad_rows"]) == (1, 1)


def test_answers_are_judged_wherever_they_stand() -> None:
    """By ``--answer``; a filter that judges outputs refuses no row for having none, but asks where it is."""
    Path("belle.jsonl").write_text(
        '{"input": "Name a tall tree.", "target": "A redwood."}\n{"input": "Name a river.", "target": ""}\n', "utf-8"
    )
    words = ["filter", "belle.jsonl", "--field", "input", "--use", "output", "--out", "out", "-q"]
    ended = invoke(*words)
    assert (ended.code, ended.err) == (
        65,
        "selfinstruct: belle.jsonl:1: no field 'output'; the row has: input, target (say --answer NAME)\n",
    )
    assert invoke(*words, "--answer", "target").code == 0
    (reject,) = map(orjson.loads, Path("out/rejects.jsonl").read_bytes().splitlines())
    assert (reject["reason"], reject["line"]) == ("empty_output", "belle.jsonl:2")
    assert orjson.loads(Path("out/summary.json").read_bytes())["answer"] == "target"


def test_standard_input_is_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """``cat … | selfinstruct filter - …``."""
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(DATA)))
    assert invoke("filter", "-", "--use", "rouge-l", "--out", "out", "-q").code == 0
    (reject,) = Path("out/rejects.jsonl").read_bytes().splitlines()
    assert (orjson.loads(reject)["line"], orjson.loads(reject)["against"]) == ("stdin:2", "stdin:1")


def test_a_terminal_shows_how_much_is_read() -> None:
    """In bytes, with the rows kept so far; the bar is gone at the end."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    words = [*PROGRAM, "filter", "data.jsonl", "--use", "rouge-l", "--out", "out"]
    with subprocess.Popen(
        words,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        env={**os.environ, "TQDM_MININTERVAL": "0", "PYTHONPATH": str(ROOT)},
    ) as process:
        assert process.wait(timeout=120) == 0
    os.close(theirs)
    shown = os.read(ours, 2**16).decode()
    os.close(ours)
    assert f"/{len(DATA)} [" in shown.replace(".00", "")
    assert "2 of 3 rows kept" in shown
    assert shown.rpartition("\r")[2] == ""


def test_a_run_is_filtered_by_its_name() -> None:
    """Its final records, as they are in the shards."""
    assert invoke("generate", "--api", "fake", "-n", 20, "--run", "r", "-q").code == 0
    ended = invoke("filter", "r", "--use", "rouge-l:0.2", "--out", "out", "--json")
    summary = orjson.loads(ended.out)
    shard = Path("output/r/instances/shard-0.jsonl").read_bytes().splitlines(keepends=True)
    kept = Path("out/kept.jsonl").read_bytes().splitlines(keepends=True)
    assert summary["rows"] == len(shard)
    assert 0 < len(kept) < len(shard)
    assert [line for line in shard if line in kept] == kept


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["filter"], "say what to filter, by what and into what"),
        (["filter", "data.jsonl", "--out", "o"], "say what to filter, by what and into what"),
        (["filter", "data.jsonl", "--use", "wording"], "say what to filter, by what and into what"),
        (["filter", "data.jsonl", "--out", "o", "--use", "rouge_l"], "did you mean 'rouge-l'?"),
        (["filter", "data.jsonl", "--out", "o", "--use", "rouge-l:7"], "threshold must be above 0 and at most 1"),
        (["filter", "data.jsonl", "--out", "o", "--use", "output", "--field", "output"], "judges it as the answer"),
        (["filter", "-", "-", "--out", "o", "--use", "wording"], "standard input can be read once"),
        (
            ["filter", "data.jsonl", "--pool", "data.jsonl", "--out", "o", "--use", "wording"],
            "none of wording compares",
        ),
    ],
)
def test_a_mistake_in_the_command_ends_with_2(words: list[str], told: str) -> None:
    """Before anything is read or made."""
    ended = invoke(*words)
    assert (ended.code, ended.out) == (2, "")
    assert told in ended.err
    assert not Path("o").exists()


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (
            b'{"x": "Name a tree."}\n',
            "data.jsonl:1: no field 'instruction'; the row has: x (say --field",
        ),
        (b'{"instruction": "Name a tree."}\n\n{"instruction": \n', "data.jsonl:3: not JSON"),
        (b'{"instruction": ["x"]}\n', "data.jsonl:1: the field 'instruction' is a list, and no text"),
        (b"[1]\n", "data.jsonl:1: a row must be an object, and this is a list"),
    ],
)
def test_a_bad_row_ends_with_65_or_is_refused(data: bytes, told: str) -> None:
    """With its file and line; ``--on-bad-row reject`` goes on."""
    Path("data.jsonl").write_bytes(data)
    ended = filtered("--use", "wording")
    assert (ended.code, ended.out) == (65, "")
    assert told in ended.err
    assert not Path("out").exists()
    assert filtered("--use", "wording", "--on-bad-row", "reject", "-q").code == 0
    last = orjson.loads(Path("out/rejects.jsonl").read_bytes().splitlines()[-1])
    assert last["reason"] == "bad_row"
    assert told in last["detail"]


def test_output_that_is_there_ends_with_2_and_force_replaces_it() -> None:
    """The same command again changes nothing."""
    assert filtered("--use", "rouge-l", "-q").code == 0
    before = {name: Path("out", name).read_bytes() for name in NAMES}
    again = filtered("--use", "wording", "-q")
    assert again.code == 2
    assert "--force" in again.err
    assert {name: Path("out", name).read_bytes() for name in NAMES} == before
    assert filtered("--use", "wording", "-q", "--force").code == 0
    assert Path("out/kept.jsonl").read_bytes() == DATA


def test_a_missing_file_ends_with_65_and_a_full_disk_with_74() -> None:
    """As everywhere."""
    assert invoke("filter", "nothing.jsonl", "--use", "wording", "--out", "o").code == 65
    if Path("/dev/full").exists():
        Path("out").mkdir()
        Path("out/.kept.jsonl.tmp").symlink_to("/dev/full")
        ended = filtered("--use", "wording")
        assert ended.code == 74
        assert "No space left on device" in ended.err
        assert not Path("out/kept.jsonl").exists()


# --- stopped and killed ---------------------------------------------------------------------------------------------


def under_way(number: int) -> Ended:
    """A command that reads from a pipe nobody closes, and gets a signal when it has written something."""
    os.mkfifo("pipe.jsonl")
    process = spawn("filter", "pipe.jsonl", "--use", "wording", "--out", "out")
    with Path("pipe.jsonl").open("wb") as pipe:
        pipe.write(DATA * 1000)
        pipe.flush()
        until(_is_writing, process)
        process.send_signal(number)
        return wait(process)


def _is_writing() -> bool:
    path = Path("out/.kept.jsonl.tmp")
    return path.exists() and path.stat().st_size > 0


@pytest.mark.faults
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_and_leaves_nothing(number: int) -> None:
    """With 128 and the signal's number, and not a file of this try."""
    ended = under_way(number)
    assert (ended.code, ended.out) == (128 + number, "")
    assert "stopped; nothing was written" in ended.err
    assert not Path("out").exists()


@pytest.mark.faults
def test_a_kill_leaves_no_output_and_the_next_try_is_whole() -> None:
    """What lies about out of sight is written over."""
    assert under_way(signal.SIGKILL).code == -signal.SIGKILL
    assert not [name for name in NAMES if Path("out", name).exists()]
    assert Path("out/.kept.jsonl.tmp").stat().st_size > len(DATA)
    assert filtered("--use", "wording", "-q").code == 0
    assert Path("out/kept.jsonl").read_bytes() == DATA
    assert not list(Path("out").glob(".*.tmp"))


def _peak(rows: int, out: str) -> float:
    """MiB that a command over so many rows has needed."""
    row = '{"instruction": "Name tall tree number %d and say where it grows.", "output": "It is an oak."}\n'
    with Path("many.jsonl").open("w") as file:
        file.writelines(row % number for number in range(rows))
    process = spawn("filter", "many.jsonl", "--use", "fences", "--use", "wording", "--out", out, "--json")
    ended = wait(process)
    assert ended.code == 0, ended.err
    summary = orjson.loads(ended.out)
    assert summary["kept"] == summary["rows"] == rows
    return float(summary["peak_memory_mib"])


@pytest.mark.parametrize("rows", [20_000, pytest.param(400_000, marks=pytest.mark.slow)])
def test_memory_does_not_grow_with_the_rows(rows: int) -> None:
    """Filters that compare nothing need as much for many rows as for a few, within 8 MiB."""
    assert _peak(rows, "many") < _peak(2_000, "few") + 8
