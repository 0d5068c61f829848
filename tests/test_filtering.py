"""From files to files: everything is in one of the two, in order, byte for byte, whole or not there at all."""

from __future__ import annotations

import gzip
import hashlib
import resource
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfinstruct import filtering, run_lock, store_files
from selfinstruct.errors import BadData, OutputFailed, RunLocked, UsageProblem
from selfinstruct.filtering import Order, filter_into
from selfinstruct.rows import open_sources
from selfinstruct.screening import Counts, Reading
from selfinstruct.suite import choose

DATA = (
    '{"instruction": "Name a tall tree.",  "id": 1}\r\n'
    '{"instruction": "Name a tall tree!", "note": 1.0}\n'
    "\n"
    '{"instruction": "说出一种高大的树的名字。"}\n'
    '{"instruction": "Sing.", "x": "\\u00e9"}\n'
    '{"instruction": "Bake two loaves of bread."}'
).encode()
"""The second is like the first, the fourth too short; the last line has no end."""

USES = ["wording", "rouge-l:0.7"]


def order_of(paths: Sequence[Path], uses: Sequence[str] = USES, **more: Any) -> Order:
    """An order over these files, in both languages."""
    sources = open_sources([str(path) for path in paths], Path("output"))
    return Order(sources, choose(uses, "auto"), more.pop("reading", Reading()), **more)


def seen(_: Counts) -> None:
    """Nobody watches."""


def lines(path: Path) -> list[Any]:
    """The objects of a file of lines."""
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A file of five rows, two of which are refused."""
    path = tmp_path / "data.jsonl"
    path.write_bytes(DATA)
    return path


def test_what_is_kept_is_kept_byte_for_byte(data: Path, tmp_path: Path) -> None:
    """Spaces, escapes and line ends are the author's; only a missing last line end is added."""
    filter_into(tmp_path / "out", order_of([data]), seen)
    given = DATA.splitlines(keepends=True)
    assert (tmp_path / "out/kept.jsonl").read_bytes() == given[0] + given[3] + given[5] + b"\n"


def test_what_is_refused_says_why_by_what_and_against_what(data: Path, tmp_path: Path) -> None:
    """With the score, the place of the row, and the row itself, whole."""
    filter_into(tmp_path / "out", order_of([data]), seen)
    alike, short = lines(tmp_path / "out/rejects.jsonl")
    assert alike == {
        "reason": "too_similar",
        "detail": "1.0000 with 1",
        "score": 1.0,
        "against": "1",
        "filter": "rouge-l:0.7",
        "line": "data.jsonl:2",
        "record": {"instruction": "Name a tall tree!", "note": 1.0},
    }
    assert short == {
        "reason": "too_short",
        "detail": "1 words, at least 4",
        "score": None,
        "against": None,
        "filter": "wording",
        "line": "data.jsonl:5",
        "record": {"instruction": "Sing.", "x": "é"},
    }
    assert list(alike) == ["reason", "detail", "score", "against", "filter", "line", "record"]
    assert b'"record":{"instruction": "Sing.", "x": "\\u00e9"}}' in (tmp_path / "out/rejects.jsonl").read_bytes()


def test_the_summary_counts_everything_and_knows_what_was_read(data: Path, tmp_path: Path) -> None:
    """It is what the function returns, and stands beside the files it tells of."""
    pool = tmp_path / "pool.jsonl.gz"
    pool.write_bytes(gzip.compress(b'{"id": "own", "instruction": "Bake two loaves of bread."}\n'))
    order = order_of([data], pool=open_sources([str(pool)], Path("output")))
    summary = filter_into(tmp_path / "out", order, seen)
    assert summary == orjson.loads((tmp_path / "out/summary.json").read_bytes())
    assert (summary["rows"], summary["kept"], summary["refused"]) == (5, 2, 3)
    assert summary["reasons"] == {"duplicate_text": 1, "too_similar": 1, "too_short": 1}
    assert summary["languages"] == {"en": 4, "zh": 1}
    assert [(one["use"], one["refused"]) for one in summary["chain"]] == [("wording", 1), ("rouge-l:0.7", 2)]
    assert summary["chain"][0]["data"].keys() == {"rules bootstrap.en", "rules bootstrap.zh"}
    (read,) = summary["inputs"]
    assert read == {
        "path": str(data), "bytes": len(DATA), "sha256": hashlib.sha256(DATA).hexdigest(), "rows": 5
    }  # fmt: skip
    assert summary["pool"][0]["sha256"] == hashlib.sha256(pool.read_bytes()).hexdigest()
    for name, digest in summary["outputs"].items():
        assert hashlib.sha256((tmp_path / "out" / name).read_bytes()).hexdigest() == digest
    assert summary["outputs"].keys() == {"kept.jsonl", "rejects.jsonl"}
    assert {"selfinstruct", "python", "numpy", "rapidfuzz"} == summary["versions"].keys()
    assert (summary["fields"], summary["lang"], summary["on_bad_row"]) == (["instruction"], "auto", "stop")
    assert summary["seconds"] > 0
    assert summary["peak_memory_mib"] > 10


def test_several_files_are_one_stream_compared_across(tmp_path: Path) -> None:
    """The second file's twin is refused against the first file's row, which is named by its file."""
    first, second = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    first.write_bytes(b'{"instruction": "Name a tall tree."}')
    second.write_bytes(b'{"instruction": "Name a tall tree."}\n{"instruction": "Bake two loaves of bread."}\n')
    summary = filter_into(tmp_path / "out", order_of([first, second]), seen)
    assert [one["against"] for one in lines(tmp_path / "out/rejects.jsonl")] == ["a.jsonl:1"]
    assert [one["rows"] for one in summary["inputs"]] == [1, 2]
    assert len((tmp_path / "out/kept.jsonl").read_bytes().splitlines()) == 2


ROW = st.fixed_dictionaries(
    {"instruction": st.text(max_size=30) | st.sampled_from(["Name a tall tree.", "说出一种高大的树。", "Sing."])},
    optional={"id": st.text(max_size=3) | st.integers(0, 9), "output": st.text(max_size=5) | st.none()},
)
LINE = st.one_of(
    ROW.map(orjson.dumps),
    st.binary(max_size=20).map(lambda line: b"?" + line.replace(b"\n", b"")),  # what a file begins with tells its kind
    st.sampled_from([b"", b" ", b"[]"]),
)


@settings(max_examples=40)
@given(st.lists(st.tuples(LINE, st.sampled_from([b"\n", b"\r\n"])), max_size=20), st.booleans())
def test_kept_and_rejects_are_all_rows_in_order(parts: list[tuple[bytes, bytes]], packed: bool) -> None:
    """Whatever stands in a file: nothing is lost, added, changed or moved."""
    text = b"".join(line + end for line, end in parts)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "t.jsonl").write_bytes(gzip.compress(text) if packed else text)
        order = order_of([folder / "t.jsonl"], reject_bad_rows=True)
        (source,) = open_sources([str(folder / "t.jsonl")], folder)
        rows = {row.place: row for row in source}
        summary = filter_into(folder / "out", order, seen)
        kept = (folder / "out/kept.jsonl").read_bytes()
        rejects = lines(folder / "out/rejects.jsonl")
    refused = [one["line"] for one in rejects]
    assert [place for place in rows if place in refused] == refused
    assert b"".join(row.raw for place, row in rows.items() if place not in refused) == kept
    assert summary["kept"] + len(refused) == summary["rows"] == len(rows)
    for one in rejects:
        row = rows[one["line"]]
        whole = row.raw.strip().decode("utf-8", "replace") if row.value is None else row.value
        assert one["record"] == whole


# --- whole or not at all ----------------------------------------------------------------------------------------------


def test_a_bad_row_leaves_nothing_behind(data: Path, tmp_path: Path) -> None:
    """Not even the folder, where it was not there before."""
    data.write_bytes(DATA + b"\n{broken")
    with pytest.raises(BadData, match=r"data.jsonl:7: not JSON"):
        filter_into(tmp_path / "deep/out", order_of([data]), seen)
    assert not (tmp_path / "deep").exists()


def test_a_folder_with_output_is_not_written_to_unless_forced(data: Path, tmp_path: Path) -> None:
    """One file is enough to stop; by force all three are replaced."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "kept.jsonl").write_bytes(b"precious\n")
    with pytest.raises(UsageProblem, match=r"has a kept.jsonl already; choose another --out, or replace it: --force"):
        filter_into(out, order_of([data]), seen)
    assert (out / "kept.jsonl").read_bytes() == b"precious\n"
    filter_into(out, order_of([data]), seen, force=True)
    assert len((out / "kept.jsonl").read_bytes().splitlines()) == 3
    assert {path.name for path in out.iterdir()} == {"kept.jsonl", "rejects.jsonl", "summary.json", ".lock"}


@pytest.mark.parametrize("name", ["kept.jsonl", "rejects.jsonl"])
@pytest.mark.parametrize("as_pool", [False, True])
def test_an_input_is_never_written_to(tmp_path: Path, name: str, as_pool: bool) -> None:
    """Not by force, not through a link, not where it is only compared with."""
    (tmp_path / name).write_bytes(DATA)
    (tmp_path / "other.jsonl").write_bytes(DATA)
    (tmp_path / "link.jsonl").symlink_to(tmp_path / name)
    pool = open_sources([str(tmp_path / "link.jsonl")], tmp_path) if as_pool else ()
    order = order_of([tmp_path / ("other.jsonl" if as_pool else "link.jsonl")], pool=pool)
    with pytest.raises(UsageProblem, match="is read from, so it cannot be written to"):
        filter_into(tmp_path, order, seen, force=True)
    assert (tmp_path / name).read_bytes() == DATA


def test_two_cannot_filter_into_one_folder(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second is told to wait."""
    monkeypatch.setattr(run_lock, "take", lambda _: False)
    with pytest.raises(RunLocked, match="another process filters into it"):
        filter_into(tmp_path / "out", order_of([data]), seen)


def test_a_full_disk_ends_it_and_leaves_the_old_output(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was there before is there still, whole."""
    out = tmp_path / "out"
    before = filter_into(out, order_of([data]), seen)

    def full(where: str) -> None:
        if where == "store.flush":
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(store_files, "failpoint", full)
    with pytest.raises(OutputFailed, match="No space left on device"):
        filter_into(out, order_of([data], ["rouge-l:0.1"]), seen, force=True)
    assert hashlib.sha256((out / "kept.jsonl").read_bytes()).hexdigest() == before["outputs"]["kept.jsonl"]
    assert not list(out.glob(".*.tmp"))


def test_a_folder_that_cannot_be_made_is_told(data: Path) -> None:
    """A file stands where it would be."""
    with pytest.raises(OutputFailed, match="cannot write here"):
        filter_into(data / "out", order_of([data]), seen)


def test_the_summary_goes_before_the_files_it_tells_of_are_replaced(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between two renames, the folder holds no summary of other files."""
    out = tmp_path / "out"
    filter_into(out, order_of([data]), seen)

    def killed(where: str) -> None:
        if where == "store.renamed":
            raise KeyboardInterrupt

    monkeypatch.setattr(store_files, "failpoint", killed)
    with pytest.raises(KeyboardInterrupt):
        filter_into(out, order_of([data]), seen, force=True)
    assert not (out / "summary.json").exists()
    assert (out / "rejects.jsonl").exists()


def test_memory_is_what_the_kernel_says_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """In bytes; where there is no /proc, what it says of the process and those it came from."""
    monkeypatch.setattr(Path, "read_text", lambda *_: "Name:\tpython\nVmHWM:\t   61234 kB\nVmRSS:\t    1 kB\n")
    assert filtering.peak_memory() == 61234 * 1024

    def no_proc(*_: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", no_proc)
    assert filtering.peak_memory() == resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
