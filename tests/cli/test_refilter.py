"""`selfinstruct refilter`: what it prints, its exit codes, and what other commands say of a refiltered run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from selfinstruct import run_folder
from tests.command import Ended, data_files, invoke

STRICT = ("--threshold", "0.35", "--set", "round_size=4", "--set", "bootstrap.similar=exact")
MEANING = "the parent's candidates, filtered anew; not a fresh run at these settings"


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two finished runs, ``r`` and ``tasks``; of ``r``, a ``stricter`` and a ``looser`` one, which left records out."""
    folder = tmp_path_factory.mktemp("output")
    for name, method in (("r", "self-instruct"), ("tasks", "alpaca")):
        first = "bootstrap" if name == "r" else "alpaca"
        strict = [word.replace("bootstrap.", f"{first}.") for word in STRICT]
        words = ("--api", "fake", "--method", method, "-n", 15, "--run", name, *strict)
        assert invoke("generate", *words, "--output-dir", folder, "-q").code == 0
    for name, threshold in (("looser", "0.5"), ("stricter", "0.3")):
        assert refilter(folder, "--set", f"threshold={threshold}", "--out", name, "-q") == Ended(0, "", "")
    return folder


@pytest.fixture
def root(output: Path, tmp_path: Path) -> Path:
    """A copy of all of them."""
    return Path(shutil.copytree(output, tmp_path / "output"))


def refilter(output: Path, *args: object, run: str = "r") -> Ended:
    """Refilter a run of the folder."""
    return invoke("refilter", run, *args, "--output-dir", output)


def rows(run: Path, stage: str, kind: str) -> list[dict[str, Any]]:
    """The records, or rejects, of a stage."""
    return [json.loads(line) for line in (run / stage / f"{kind}-0.jsonl").read_text().splitlines()]


# --- what it prints ---------------------------------------------------------------------------------------------------


def test_the_account_says_whose_candidates_these_are_and_what_they_are_not(output: Path, tmp_path: Path) -> None:
    """The table of every run, no new call; the parent; and that it is no fresh run."""
    ended = refilter(output, "--set", "threshold=0.5", "--out", tmp_path / "r2", run="tasks")
    assert (ended.code, ended.err) == (0, "")
    accepted, rejects = (len(rows(tmp_path / "r2", "alpaca", kind)) for kind in ("shard", "rejects"))
    assert f"alpaca      {accepted:>9}{rejects:>9}{0:>8}{0:>11}{0:>11}\n" in ended.out
    assert " s, 0 new calls\n" in ended.out
    assert f"parent   {output}/tasks; {MEANING}: rounds and prompts are the parent's" in ended.out
    assert "left out" not in ended.out
    assert refilter(output, "--set", "threshold=0.5", "--out", tmp_path / "r2", "-q", run="tasks") == Ended(0, "", "")


def test_what_is_left_out_is_told_with_its_price(output: Path, tmp_path: Path) -> None:
    """How many, where, and what --pay would come to, as `plan` says it; nothing is sent."""
    priced = ("--price", "in=1,out=2", "--max-cost", "20usd")
    ended = refilter(output, "--set", "threshold=0.5", "--out", tmp_path / "r2", *priced)
    left_out = rows(tmp_path / "r2", "classify", "rejects")
    assert {row["reason"] for row in left_out} == {"not_asked"}
    assert (
        f"left out {len(left_out)} for which r has no later answers: 'not_asked' in {tmp_path}/r2/classify/"
        in ended.out
    )
    assert "The same command with --pay asks about them:\n" in ended.out
    assert f"classify    calls       {len(left_out):>16}{len(left_out):>16}{3 * len(left_out):>16}\n" in ended.out
    assert f"instances   calls       {len(left_out):>16}{len(left_out):>16}{len(left_out):>16}\n" in ended.out
    assert "            cost        " in ended.out
    assert ended.out.endswith("Nothing was sent.\n")


def test_json_says_it_all(output: Path, tmp_path: Path) -> None:
    """The account of `generate`, the parent, what was changed, the ids that were left out, the forecast."""
    ended = refilter(output, "--set", "threshold=0.5", "--out", tmp_path / "r2", "--json")
    told = json.loads(ended.out)
    records = {row["id"] for row in rows(tmp_path / "r2", "bootstrap", "shard")}
    had = {row["id"] for row in rows(output / "r", "bootstrap", "shard")}
    assert told["parent"] == {"run": "r", "path": f"{output}/r"}
    assert told["changed"] == {"bootstrap.threshold": "0.5"}
    assert told["meaning"].startswith(MEANING)
    assert set(told["left_out"]) == records - had
    assert (told["new_calls"], told["to_pay"]["wanted"]) == (0, len(records - had))
    assert told["to_pay"]["total"]["likely"]["calls"] == 2 * len(records - had)
    assert told["stages"][0]["accepted"] == len(records)


def test_stage_json_names_the_parent(output: Path) -> None:
    """In every stage, with what was changed, and what such a run is not."""
    for stage in ("bootstrap", "classify", "instances"):
        told = json.loads((output / "looser" / stage / "stage.json").read_text())["identity"]["refiltered"]
        assert (told["run"], told["changed"]) == ("r", {"bootstrap.threshold": "0.5"})
        assert told["meaning"].startswith(MEANING)


# --- --pay ------------------------------------------------------------------------------------------------------------


def test_paying_leaves_nothing_out(root: Path) -> None:
    """The same command with --pay, and again without it: nothing more to do."""
    words = ("--set", "threshold=0.5", "--out", "looser", "--json")
    paid = json.loads(refilter(root, *words, "--pay").out)
    assert (paid["left_out"], paid["to_pay"]) == ([], None)
    assert paid["new_calls"] >= 2 * len(rows(root / "looser", "classify", "shard")) - 60
    assert [stage["accepted"] for stage in paid["stages"]] == [len(rows(root / "looser", "bootstrap", "shard"))] * 3
    before = data_files(root / "looser")
    again = json.loads(refilter(root, *words).out)
    assert (again["new_calls"], again["stages"]) == (0, paid["stages"])
    assert data_files(root / "looser") == before
    assert invoke("verify", "looser", "--output-dir", root).code == 0


def test_a_cap_stops_paying_and_a_larger_one_goes_on(root: Path) -> None:
    """4, with what to do; what was paid for is kept."""
    words = ("--set", "threshold=0.5", "--out", "looser", "--pay")
    ended = refilter(root, *words, "--max-calls", 3)
    assert ended.code == 4
    assert "next     raise the cap, and the same command goes on\n" in ended.out
    assert refilter(root, *words, "-q") == Ended(0, "", "")
    assert json.loads(invoke("status", "looser", "--output-dir", root, "--json").out)[0]["stages"][1]["rejects"] == {}


# --- what it refuses --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--set", "temperature=1", "--out", "n"), 78, "--set bootstrap.temperature: decides what was asked, or how"),
        (("--set", "thresold=1", "--out", "n"), 78, "unknown recipe key 'bootstrap.thresold'; did you mean"),
        (("--set", "threshold=7", "--out", "n"), 2, "threshold must be above 0 and at most 1"),
        (("--set", "threshold", "--out", "n"), 2, "expected key=value"),
        (("--out", "a b"), 2, "--out 'a b': a run's name is letters"),
        (("--out", "r"), 2, "is the run itself"),
        (("--out", "tasks"), 78, "tasks: is another run, and none that was refiltered; name another --out"),
        (("--set", "threshold=0.4", "--out", "looser"), 78, "bootstrap.threshold: '0.5' -> '0.4'"),
    ],
)
def test_what_cannot_be_done_is_refused(root: Path, words: tuple[str, ...], code: int, said: str) -> None:
    """By its exit code, in a message that names what is wrong; nothing is changed."""
    before = {path.name: data_files(path) for path in root.iterdir()}
    ended = refilter(root, *words)
    assert (ended.code, ended.out) == (code, "")
    assert said in ended.err
    assert {path.name: data_files(path) for path in root.iterdir()} == before


def test_a_run_that_is_not_there_is_bad_data(tmp_path: Path) -> None:
    """65, and nothing is made."""
    ended = refilter(tmp_path, "--out", "r2", run="gone")
    assert (ended.code, ended.err) == (
        65,
        f"selfinstruct: {tmp_path}/gone: no such run; 'selfinstruct status' lists them\n",
    )
    assert list(tmp_path.iterdir()) == []


def test_two_processes_never_work_on_one_refiltered_run(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """75 at once."""
    monkeypatch.setattr("selfinstruct.run_lock.take", lambda folder: False)
    ended = refilter(root, "--out", "r2")
    assert (ended.code, ended.err.count("another process works on this run")) == (75, 1)


# --- other commands -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [("rebuild", "looser"), ("generate", "--api", "fake", "--run", "looser")])
def test_what_cannot_work_on_a_refiltered_run_names_the_command_that_can(root: Path, words: tuple[str, ...]) -> None:
    """78, one line."""
    before = data_files(root / "looser")
    ended = invoke(*words, "--output-dir", root)
    command = f"selfinstruct refilter {root}/r --set 'bootstrap.threshold=\"0.5\"' --out {root}/looser"
    assert (ended.code, ended.out) == (78, "")
    assert ended.err == (
        f"selfinstruct: {root}/looser: is 'r' refiltered: only its own command goes on with it, or mends it:"
        f" {command}\n"
    )
    assert data_files(root / "looser") == before
    again = invoke("refilter", f"{root}/r", "--set", 'bootstrap.threshold="0.5"', "--out", f"{root}/looser", "-q")
    assert again == Ended(0, "", "")


def test_a_refiltered_run_is_listed_verified_and_exported(output: Path, tmp_path: Path) -> None:
    """As any other, but that its account is not the parent's: it paid for nothing."""
    ended = invoke("status", "looser", "--output-dir", output)
    assert ended.out.startswith("looser  (r refiltered)\n  bootstrap   complete ")
    assert "yield over time" not in ended.out
    (told,) = json.loads(invoke("status", "looser", "--output-dir", output, "--json").out)
    assert (told["parent"], {stage["calls"] for stage in told["stages"]}, told["money"]["spent"]) == ("r", {0}, "0")
    assert invoke("verify", "looser", "--output-dir", output).code == 0
    file = tmp_path / "looser.json"
    assert invoke("export", "looser", "--format", "alpaca", "--out", file, "--output-dir", output).code == 0
    final = rows(output / "looser", "instances", "shard")
    assert [row["output"] for row in json.loads(file.read_text())] == [row["output"] for row in final]


@pytest.mark.parametrize("name", ["r", "stricter"])
def test_a_refused_candidate_is_shown_with_what_refused_it(output: Path, name: str) -> None:
    """Its own text; the reason, the score, the record it is too near to, with that record's text; its prompt."""
    reject = next(row for row in rows(output / name, "bootstrap", "rejects") if row["reason"] == "too_similar")
    texts = {row["id"]: row["instruction"] for row in rows(output / name, "bootstrap", "shard")}
    nearest = next(near for near in reject["nearest"] if near["id"] in texts)
    text = invoke("show", reject["id"], "--run", name, "--output-dir", output).out
    assert f"reason: too_similar\ndetail: {reject['detail']}\n" in text
    assert f"\ninstruction: {reject['candidate']['instruction']}\n" in text
    assert f"\nnearest: {nearest['score']:.4f} {nearest['id']}  {texts[nearest['id']]}\n" in text
    assert "\n--- prompt\n" in text


def test_a_record_that_was_left_out_is_shown_with_what_to_do(output: Path) -> None:
    """Its instruction, and the option that asks about it."""
    reject = rows(output / "looser", "classify", "rejects")[0]
    text = invoke("show", reject["id"], "--run", "looser", "--output-dir", output).out
    assert f"detail: no answer about {reject['candidate']['id']} is recorded; refilter --pay asks for it\n" in text
    assert f"instruction: {reject['candidate']['instruction']}\n" in text


def test_a_parent_that_was_refused_is_spelled_out(root: Path) -> None:
    """A prompt showed a record that the new filters refuse: its text is among the rejects."""
    words = (
        "--api",
        "fake",
        "-n",
        60,
        "--run",
        "chain",
        "--set",
        "lag=1",
        "--set",
        "round_size=4",
        "--threshold",
        "0.9",
    )
    assert invoke("generate", *words, "--output-dir", root, "-q").code == 0
    assert refilter(root, "--set", "threshold=0.3", "--out", "c2", "-q", run="chain").code == 0
    refused = {row["id"]: row["candidate"]["instruction"] for row in rows(root / "c2", "bootstrap", "rejects")}
    judged = [row for kind in ("shard", "rejects") for row in rows(root / "c2", "bootstrap", kind)]
    child, parent = next((row, id) for row in judged for id in row["provenance"]["parents"] if id in refused)
    shown = json.loads(invoke("show", child["id"], "--run", "c2", "--output-dir", root, "--json").out)
    assert shown["relatives"][parent] == refused[parent]


def test_a_parent_at_work_is_noted(root: Path) -> None:
    """On standard error; what it has recorded is filtered."""
    with run_folder.held(root / "tasks"):
        ended = refilter(root, "--out", "r2", run="tasks")
    assert ended.code == 0
    assert ended.err == f"selfinstruct: {root}/tasks is at work; what it has recorded so far is filtered\n"
