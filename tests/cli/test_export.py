"""`selfinstruct export`: the records, whole or as trainers want them, to a file or down a pipe."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command import PROGRAM, ROOT, invoke
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
