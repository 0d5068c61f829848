"""`selfinstruct export`: the records, whole or as trainers want them, to a file or down a pipe."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from selfinstruct import identity
from selfinstruct.identity import StageIdentity
from selfinstruct.schema import Dialogue, Instruction, Provenance
from selfinstruct.store import StageStore
from tests.command import PROGRAM, ROOT, invoke
from tests.formats.dialogues import dialogue
from tests.request_files import numbered, write


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one finished run, ``made``, of 20 instructions."""
    folder = tmp_path_factory.mktemp("output")
    assert invoke("generate", "--api", "fake", "-n", 20, "--run", "made", "--output-dir", folder, "-q").code == 0
    return folder


def shard(output: Path) -> bytes:
    """The final records as they are on disk."""
    return (output / "made" / "instances" / "shard-0.jsonl").read_bytes()


def test_whole_records_go_to_standard_output(output: Path) -> None:
    """The default is the shard's own lines and nothing else."""
    ended = invoke("export", "made", "--output-dir", output)
    assert (ended.code, ended.out.encode(), ended.err) == (0, shard(output), "")
    assert len(shard(output).splitlines()) >= 15


def test_alpaca_is_what_the_shards_hold_in_three_keys(output: Path) -> None:
    """A JSON array on standard output."""
    ended = invoke("export", "made", "--format", "alpaca", "--output-dir", output)
    records = [json.loads(line) for line in shard(output).splitlines()]
    assert json.loads(ended.out) == [
        {key: record[key] for key in ("instruction", "input", "output")} for record in records
    ]


@pytest.mark.parametrize("limit", [0, 1, 7, 10_000])
def test_a_limit_cuts_the_export_and_not_the_run(output: Path, limit: int) -> None:
    """The first ones; more than there are is all of them."""
    ended = invoke("export", "made", "--limit", limit, "--output-dir", output)
    assert ended.out.encode().splitlines() == shard(output).splitlines()[:limit]


def test_a_file_is_written_whole(output: Path, tmp_path: Path) -> None:
    """To --out, replacing what was there, with nothing on the terminal and no temporary file left."""
    target = tmp_path / "data.json"
    target.write_text("old")
    ended = invoke("export", "made", "--format", "alpaca", "--out", target, "--limit", 2, "--output-dir", output)
    assert (ended.code, ended.out, ended.err) == (0, "", "")
    assert len(json.loads(target.read_text())) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["data.json"]


def test_a_link_stays_a_link(output: Path, tmp_path: Path) -> None:
    """What it points to is written."""
    (tmp_path / "real.jsonl").write_text("old")
    (tmp_path / "link.jsonl").symlink_to("real.jsonl")
    assert invoke("export", "made", "--out", tmp_path / "link.jsonl", "--output-dir", output).code == 0
    assert (tmp_path / "link.jsonl").is_symlink()
    assert (tmp_path / "real.jsonl").read_bytes() == shard(output)


def test_a_pipe_is_written_to_and_never_replaced(output: Path, tmp_path: Path) -> None:
    """Nor is a device: `--out /dev/null` as root must not put a file in its place."""
    pipe = tmp_path / "pipe"
    subprocess.run(["mkfifo", pipe], check=True)
    with subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE) as reader:
        ended = invoke("export", "made", "--out", pipe, "--output-dir", output)
        assert reader.stdout is not None
        read = reader.stdout.read()
    assert (ended.code, read) == (0, shard(output))
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@pytest.mark.parametrize("target", ["{tmp}/file/data.json", "{tmp}", "/proc/nowhere/data.json"])
def test_an_export_that_cannot_be_written_is_one_line(output: Path, tmp_path: Path, target: str) -> None:
    """Below a file, in place of a folder, on a file system that takes nothing: 74."""
    (tmp_path / "file").touch()
    path = target.format(tmp=tmp_path)
    ended = invoke("export", "made", "--out", path, "--output-dir", output)
    assert ended.code == 74
    assert ended.err.startswith(f"selfinstruct: {path}: cannot write: ")
    assert ended.err.count("\n") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("redirect", ["--out /dev/full", "> /dev/full"])
def test_a_full_disk_is_one_line(output: Path, redirect: str) -> None:
    """By name or by redirection: 74, no traceback."""
    command = f'"$@" export made --output-dir {output} {redirect}'
    ended = subprocess.run(
        ["/bin/sh", "-c", command, "sh", *PROGRAM], capture_output=True, text=True, cwd=ROOT, timeout=60, check=False
    )
    assert ended.returncode == 74
    assert ended.stderr.count("\n") == 1
    assert "No space left on device" in ended.stderr


def test_a_reader_that_has_enough_is_no_error(output: Path) -> None:
    """``selfinstruct export … | head -1`` ends quietly."""
    command = f'"$@" export made --output-dir {output} | head -c 1; exit ${{PIPESTATUS[0]}}'
    ended = subprocess.run(
        ["bash", "-c", command, "bash", *PROGRAM], capture_output=True, text=True, cwd=ROOT, timeout=60, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "{", "")


@pytest.mark.parametrize("run", ["nothing", "../made"])
def test_a_run_that_is_not_there_is_one_line(output: Path, run: str) -> None:
    """65, for a name as for a path; a path counts from where one is, not from the folder of the runs."""
    ended = invoke("export", run, "--output-dir", output)
    where = run if "/" in run else output / run
    assert (ended.code, ended.out) == (65, "")
    assert ended.err == f"selfinstruct: {where}: no such run; 'selfinstruct status' lists them\n"


def test_a_run_is_found_by_its_folder_too(output: Path) -> None:
    """As every other command finds it."""
    ended = invoke("export", output / "made", "--limit", 1)
    assert (ended.code, ended.out.encode()) == (0, shard(output).splitlines(keepends=True)[0])


def test_a_folder_of_complete_has_its_results_already(tmp_path: Path) -> None:
    """65, and where they are; there is nothing to turn into another layout."""
    requests = tmp_path / "requests.jsonl"
    write(requests, numbered(2))
    out = tmp_path / "out"
    assert invoke("complete", requests, "--out", out, "--api", "fake", "-q").code == 0
    ended = invoke("export", out)
    assert ended.code == 65
    assert (
        ended.err == f"selfinstruct: {out}: a run of 'selfinstruct complete'; its answers are in {out}/results.jsonl\n"
    )
    assert (out / "results.jsonl").is_file()


def test_a_run_without_a_finished_record_is_one_line(tmp_path: Path) -> None:
    """65: it has begun, but its last stage has kept nothing yet."""
    args = ("--api", "fake", "-n", 5, "--run", "r", "--output-dir", tmp_path, "-q")
    assert invoke("generate", *args).code == 0
    (tmp_path / "r" / "instances" / "manifest.json").unlink()
    ended = invoke("export", "r", "--output-dir", tmp_path)
    told = f"selfinstruct: {tmp_path / 'r'}: no finished records here; 'selfinstruct status' lists the runs\n"
    assert (ended.code, ended.err) == (65, told)


def test_an_unfinished_run_gives_what_its_shards_hold_and_says_so(tmp_path: Path) -> None:
    """The note goes to standard error, so a pipe gets records only."""
    args = ("--api", "fake", "--run", "r", "--output-dir", tmp_path, "--set", "rounds_per_shard=1", "-q")
    assert invoke("generate", "-n", 20, *args).code == 0
    manifest = tmp_path / "r" / "instances" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"complete"', '"running"'))
    ended = invoke("export", "r", "--output-dir", tmp_path)
    assert ended.code == 0
    assert ended.out.encode() == (tmp_path / "r" / "instances" / "shard-0.jsonl").read_bytes()
    assert ended.err == "selfinstruct: run 'r' is not finished; exporting the shards it has\n"


def test_an_export_needs_no_heavy_import() -> None:
    """It reads files; the model code is not loaded."""
    code = (
        "import sys; from selfinstruct.cli import app, export; print('aiohttp' in sys.modules, 'openai' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert ended.stdout == "False False\n"


# --- dialogues --------------------------------------------------------------------------------------------------------

TALKS = [
    dialogue("Hello. who are you?", "a friend.", "Thanks. i see.", "Any time.", id="dialogue-0-0-0"),
    dialogue("你好", "你好！", id="dialogue-0-1-0", lang="zh"),
    dialogue("Why? " * 100, "Because. " * 100, "And so?", "So.", id="dialogue-0-2-0", planned=4, ended="farewell"),
]


def end_with(folder: Path, kind: type[Dialogue] | type[Instruction], *records: Dialogue | Instruction) -> Path:
    """A run that ended with these, each a job of one round."""
    stage = folder / "talks" / "dialogue"
    stage.mkdir(parents=True)
    started = StageIdentity(stage="dialogue", selfinstruct="0", target=3, seed_tasks="", identity={}, prompts={})
    identity.write(stage, started)
    store: StageStore[Dialogue | Instruction] = StageStore(stage, kind, rounds_per_shard=8)
    store.add_round([[record] for record in records])
    store.finish("complete")
    return folder


@pytest.fixture(scope="module")
def talks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one finished run of dialogues."""
    return end_with(tmp_path_factory.mktemp("talks"), Dialogue, *TALKS)


def lines(text: str) -> list[dict[str, object]]:
    """JSON Lines."""
    return [json.loads(line) for line in text.splitlines()]


def test_dialogues_are_exported_in_every_format_with_turns(talks: Path) -> None:
    """A line each; without an option nothing in them changes."""

    def exported(format: str) -> str:
        ended = invoke("export", "talks", "--format", format, "--output-dir", talks)
        assert (ended.code, ended.err) == (0, "")
        return ended.out

    assert exported("jsonl").encode() == (talks / "talks" / "dialogue" / "shard-0.jsonl").read_bytes()
    messages = [[turn.model_dump() for turn in talk.messages] for talk in TALKS]
    assert lines(exported("messages")) == [{"messages": turns} for turns in messages]
    texts = [{"id": talk.id, "data": [turn.content for turn in talk.messages]} for talk in TALKS]
    assert lines(exported("ultrachat")) == texts
    assert [list(row) for row in lines(exported("sharegpt"))] == [["id", "conversations"]] * 3


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--format", "alpaca"], "--format alpaca takes tasks, and the run holds dialogues: choose one of jsonl, "),
        (["--format", "belle"], "--format belle takes tasks, and the run holds dialogues: choose one of jsonl, "),
        (["--tokenizer", "t.json"], "--tokenizer counts for --split-long: say --split-long TOKENS too, or "),
        (["--split-long", "0"], "Invalid value for '--split-long': Input should be greater than or equal to 1"),
    ],
    ids=["alpaca", "belle", "tokenizer", "zero"],
)
def test_what_does_not_fit_dialogues_is_said_before_a_file_is_touched(
    talks: Path, tmp_path: Path, options: list[str], told: str
) -> None:
    """2, one line, and what was there stays."""
    out = tmp_path / "out.json"
    out.write_text("old")
    ended = invoke("export", "talks", *options, "--out", out, "--output-dir", talks)
    assert (ended.code, out.read_text()) == (2, "old")
    assert told in ended.err


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            ["--format", "ultrachat"],
            "--format ultrachat takes dialogues, and the run holds tasks: choose one of jsonl, alpaca, belle,"
            " belle-instruction, belle-conversations, messages, sharegpt",
        ),
        (["--split-long", "9"], "--split-long takes dialogues, and the run holds tasks: leave it out"),
        (["--true-case"], "--true-case takes dialogues, and the run holds tasks: leave it out"),
    ],
    ids=["ultrachat", "split", "case"],
)
def test_what_does_not_fit_tasks_is_said_before_a_file_is_touched(
    output: Path, tmp_path: Path, options: list[str], told: str
) -> None:
    """2, one line, and no file appears."""
    ended = invoke("export", "made", *options, "--out", tmp_path / "out.json", "--output-dir", output)
    assert (ended.code, ended.out, ended.err) == (2, "", f"selfinstruct: {told}\n")
    assert list(tmp_path.iterdir()) == []


def test_tasks_are_exported_for_a_chat_trainer(output: Path) -> None:
    """The run of instructions as conversations of one round."""
    ended = invoke("export", "made", "--format", "messages", "--limit", 3, "--output-dir", output)
    records = [json.loads(line) for line in shard(output).splitlines()[:3]]
    assert [[turn["content"] for turn in row["messages"]] for row in map(json.loads, ended.out.splitlines())] == [
        ["\n\n".join(filter(None, [record["instruction"], record["input"]])), record["output"]] for record in records
    ]


def test_long_dialogues_are_cut_and_nothing_is_lost(talks: Path) -> None:
    """By the estimate; rounds that are longer by themselves are told on standard error, once, by their number."""
    ended = invoke("export", "talks", "--format", "ultrachat", "--split-long", 30, "--output-dir", talks)
    assert ended.code == 0
    assert [row["id"] for row in lines(ended.out)] == [
        *("dialogue-0-0-0_0", "dialogue-0-0-0_2", "dialogue-0-1-0", "dialogue-0-2-0_0", "dialogue-0-2-0_2")
    ]
    said = [text for row in map(json.loads, ended.out.splitlines()) for text in row["data"]]
    assert said == [turn.content for talk in TALKS for turn in talk.messages]
    told = "1 round is longer than 30 tokens, and kept whole, each as a piece of its own"
    assert ended.err == f"selfinstruct: {told}\n"


def test_a_split_into_what_fits_says_nothing(talks: Path) -> None:
    """No dialogue is longer: ids stay, standard error stays empty."""
    ended = invoke("export", "talks", "--format", "ultrachat", "--split-long", 2048, "--output-dir", talks)
    assert ([row["id"] for row in lines(ended.out)], ended.err) == ([talk.id for talk in TALKS], "")


def test_a_limit_counts_dialogues_and_not_pieces(talks: Path) -> None:
    """Of the first dialogue, both pieces."""
    ended = invoke(
        *("export", "talks", "--format", "sharegpt", "--split-long", 27, "--limit", 1, "--output-dir", talks)
    )
    assert [row["id"] for row in lines(ended.out)] == ["dialogue-0-0-0_0", "dialogue-0-0-0_2"]


def test_pieces_of_whole_records_are_records(talks: Path) -> None:
    """They can be read back, and say of themselves what the dialogue says."""
    ended = invoke("export", "talks", "--split-long", 30, "--output-dir", talks)
    pieces = [Dialogue.model_validate_json(line) for line in ended.out.splitlines()]
    assert [(piece.rounds, piece.planned, piece.ended) for piece in pieces[-2:]] == [(1, 1, ""), (1, 3, "farewell")]


def test_true_case_puts_english_right_and_leaves_chinese(talks: Path) -> None:
    """Only where it is asked for."""
    ended = invoke("export", "talks", "--format", "ultrachat", "--true-case", "--limit", 2, "--output-dir", talks)
    assert [row["data"] for row in lines(ended.out)] == [
        ["Hello. Who are you?", "A friend.", "Thanks. I see.", "Any time."],
        ["你好", "你好！"],
    ]


def test_a_tokenizer_counts_exactly(talks: Path, tmp_path: Path) -> None:
    """A word or mark a token here: the first dialogue costs 12 + 9 and 11 + 9."""
    pytest.importorskip("tokenizers", reason="the extra tokenizer is not installed")
    model = {"type": "WordLevel", "vocab": {"?": 0}, "unk_token": "?"}
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps({"model": model, "pre_tokenizer": {"type": "Whitespace"}}))

    def pieces(most: int) -> int:
        options = ("--format", "ultrachat", "--limit", 1, "--split-long", most, "--tokenizer", path)
        return len(lines(invoke("export", "talks", *options, "--output-dir", talks).out))

    assert (pieces(40), pieces(41)) == (2, 1)


def test_a_tokenizer_without_its_package_says_what_to_install(talks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """78, one line."""
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    monkeypatch.delitem(sys.modules, "selfinstruct.tokenizer_file", raising=False)
    ended = invoke("export", "talks", "--split-long", 9, "--tokenizer", "t.json", "--output-dir", talks)
    told = "--tokenizer needs the package tokenizers: pip install 'selfinstruct[tokenizer]'"
    assert (ended.code, ended.out, ended.err) == (78, "", f"selfinstruct: {told}\n")


def test_records_that_are_not_final_are_no_export(tmp_path: Path) -> None:
    """65: a chain that so far ends with an earlier stage."""
    record = Instruction(id="bootstrap-0-0-0", provenance=Provenance(), instruction="Name a tree.", lang="en")
    end_with(tmp_path, Instruction, record)
    ended = invoke("export", "talks", "--output-dir", tmp_path)
    told = f"{tmp_path}/talks/dialogue: holds records of an earlier stage (Instruction), and no final ones"
    assert (ended.code, ended.out, ended.err) == (65, "", f"selfinstruct: {told}\n")
