"""Refiltering: the parent's candidates in its order, by other filters; never another answer than the recorded one."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import Any

import orjson
import pytest

from selfinstruct import config, identity, launch, ledger_file, refiltering, resources, run_folder, verifying
from selfinstruct.errors import BadData, ConfigProblem, DamagedRun, IdentityChanged, UsageProblem
from selfinstruct.ledger_reader import LedgerReader
from selfinstruct.protocols import Job
from selfinstruct.redrawing import NOT_ASKED, Renumbered, slots_of
from selfinstruct.schema import ClassifiedInstruction, Instruction, Provenance
from selfinstruct.similarity.tokens import tokens
from selfinstruct.store import StageStore
from tests.command import data_files, invoke, spawn, wait
from tests.faults.answer_server import AnswerServer

METHODS = [("alpaca", "en"), ("alpaca", "zh"), ("belle", "zh"), ("self-instruct", "en"), ("self-instruct", "zh")]
STAGES = ("bootstrap", "classify", "instances")
NEW = "threshold=0.95"  # accepts instructions one word away from earlier ones, which the served run refused


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run for each method, and one that a server has answered, with rejects of every kind, all over several shards.

    The scripted ones have a threshold that refuses about half, and prompts that show what was accepted before.
    """
    folder = tmp_path_factory.mktemp("output")
    often = ("--output-dir", folder, "--set", "rounds_per_shard=1", "-q")
    for method, lang in METHODS:
        scripted = ("--api", "fake", "--threshold", "0.45", "--bootstrap", "-n", 40, "--run", f"{method}-{lang}")
        seeds = ("--seed-tasks", few_seeds(folder, lang), "--set", "round_size=4")
        assert invoke("generate", "--method", method, "--lang", lang, *scripted, *seeds, *often).code == 0
    with AnswerServer() as server:
        where = ("--api", "completion", "--base-url", server.url, "--set", "lag=1", "--run", "served")
        few = ("--seed-tasks", few_seeds(folder, "en"), "--set", "round_size=4")
        assert invoke("generate", *where, "-n", 50, *few, *often).code == 0
    return folder


@pytest.fixture(autouse=True)
def parents_are_only_read(output: Path) -> Iterator[None]:
    """Whatever a test does, no parent changes."""
    before = {path.parent: (data_files(path.parent), rows_of(path)) for path in output.glob("*/ledger.sqlite3")}
    yield
    after = {path: (data_files(path), rows_of(path / "ledger.sqlite3")) for path in before}
    assert after == before


def few_seeds(folder: Path, lang: str) -> Path:
    """A file of ten seed tasks."""
    seeds = (resources.seeds_dir() / f"{lang}_seed_tasks.jsonl").read_bytes().splitlines(keepends=True)
    (folder / f"{lang}.jsonl").write_bytes(b"".join(seeds[:10]))
    return folder / f"{lang}.jsonl"


def rows_of(ledger: Path) -> list[Any]:
    """Every row of a ledger."""
    with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as db:
        tables = ("calls", "answers", "attempts", "epoch", "currency")
        return [db.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall() for table in tables]


def refilter(parent: Path, path: Path, *sets: str, pay: bool = False, **settings: Any) -> launch.Account:
    """Refilter in this process; returns the account."""
    prepared = refiltering.prepare(parent, path, sets, config.settings(settings), pay=pay)
    account = launch.Account(path.name, 0)
    refiltering.run(prepared, account, lambda chain: None)
    return account


def data(run: Path) -> dict[str, bytes]:
    """Shards and rejects."""
    return {name: data for name, data in data_files(run).items() if name.endswith(".jsonl")}


def lines(run: Path, stage: str, kind: str = "shard") -> list[dict[str, Any]]:
    """Every record, or reject, of a stage."""
    count = len(list((run / stage).glob(f"{kind}-*.jsonl")))
    files = [run / stage / f"{kind}-{number}.jsonl" for number in range(count)]
    return [json.loads(line) for file in files for line in file.read_text("utf-8").splitlines()]


def place(row: dict[str, Any]) -> tuple[int, ...]:
    """Round, slot and index of a candidate: the order in which they are judged."""
    return tuple(map(int, row["id"].split("-")[1:]))


# --- the same candidates, the same bytes ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*("-".join(each) for each in METHODS), "served"])
def test_with_unchanged_settings_the_shards_are_the_parents(output: Path, tmp_path: Path, name: str) -> None:
    """Byte for byte, rejects and all, over several shards; nobody was asked."""
    account = refilter(output / name, tmp_path / "r2")
    assert data(tmp_path / "r2") == data(output / name)
    assert len(data(output / name)) >= 4
    assert any(b"too_similar" in rejects for rejects in data(output / name).values())
    assert (account.new_calls, account.spending, account.notes) == (0, [], [])


def test_a_setting_to_what_it_was_changes_nothing(output: Path, tmp_path: Path) -> None:
    """And is not told as a change."""
    refilter(output / "alpaca-en", tmp_path / "r2", "threshold=0.45", "alpaca.similar=above:0.5")
    assert data(tmp_path / "r2") == data(output / "alpaca-en")
    assert json.loads((tmp_path / "r2/alpaca/stage.json").read_text())["identity"]["refiltered"]["changed"] == {}


# --- other filters --------------------------------------------------------------------------------------------------


def score(one: list[str], other: list[str]) -> Fraction:
    """ROUGE-L F1 by the textbook's table."""
    row = [0] * (len(other) + 1)
    for a in one:
        before = row
        row = [0]
        for j, b in enumerate(other):
            row.append(before[j] + 1 if a == b else max(row[j], before[j + 1]))
    return Fraction(2 * row[-1], max(1, len(one) + len(other)))


def kept_by_hand(run: Path, stage: str, lang: Any, threshold: Fraction) -> list[str]:
    """The ids that a slow filter keeps of a run's candidates, in their order; other filters judge as they did."""
    told = [*lines(run, stage), *lines(run, stage, "rejects")]
    started = json.loads((run / stage / "stage.json").read_text())
    recipe_seeds = launch.load_seeds(identity.recipe_of(run)[0])
    assert started["identity"]["seeds"].startswith(f"{len(recipe_seeds)} tasks")
    pool = [(seed.instruction.strip(), tokens(seed.instruction, lang)) for seed in recipe_seeds]
    kept = []
    for row in sorted(told, key=place):
        if row.get("reason") not in (None, "too_similar", "duplicate_text"):
            continue
        text = (row.get("candidate") or row)["instruction"]
        words = tokens(text, lang)
        if all(text.strip() != other and score(words, more) <= threshold for other, more in pool):
            kept.append(row["id"])
            pool.append((text.strip(), words))
    return kept


@pytest.mark.parametrize("threshold", ["0.3", "0.6"])
@pytest.mark.parametrize("name", ["alpaca-en", "belle-zh", "self-instruct-en"])
def test_what_is_kept_is_what_a_slow_filter_keeps(output: Path, tmp_path: Path, name: str, threshold: str) -> None:
    """Of the recorded candidates, in job order, at a stricter and at a looser threshold; records keep their ids."""
    method, _, lang = name.rpartition("-")
    stage = "bootstrap" if method == "self-instruct" else method
    refilter(output / name, tmp_path / "r2", f"threshold={threshold}")
    before, after = ([row["id"] for row in lines(run, stage)] for run in (output / name, tmp_path / "r2"))
    assert after == kept_by_hand(output / name, stage, lang, Fraction(threshold))
    assert after != before
    both = [[*lines(run, stage), *lines(run, stage, "rejects")] for run in (output / name, tmp_path / "r2")]
    assert len({tuple(sorted(map(place, rows))) for rows in both}) == 1, "every candidate is kept or refused, once"


def test_rules_and_used_filters_are_changed_alike(output: Path, tmp_path: Path) -> None:
    """One number of a stage's rules; all else is judged as before."""
    refilter(output / "served", tmp_path / "r2", "rules.min_length=11")
    rejects = lines(tmp_path / "r2", "bootstrap", "rejects")
    assert all(len(row["instruction"].split()) >= 11 for row in lines(tmp_path / "r2", "bootstrap"))
    assert {row["reason"] for row in rejects} >= {"too_short", "truncated"}


def test_a_strict_filter_uses_every_round(output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run ends when hardly any of the latest candidates is new; a refiltered one with the parent's rounds."""
    for module in ("runner", "store"):
        monkeypatch.setattr(f"selfinstruct.{module}.WINDOW", 20)
    account = refilter(output / "alpaca-zh", tmp_path / "r2", "threshold=0.01")
    assert account.tallies["alpaca"].accepted == 0
    assert account.tallies["alpaca"].rounds == len({place(row)[0] for row in lines(output / "alpaca-zh", "alpaca")})


# --- later stages ---------------------------------------------------------------------------------------------------


def test_records_that_the_parent_had_keep_their_answers(output: Path, tmp_path: Path) -> None:
    """Through every stage, under their ids; all others are left out, each as a reject that says so."""
    parent, path = output / "served", tmp_path / "r2"
    refilter(parent, path, NEW)
    had = {row["id"] for row in lines(parent, "bootstrap")}
    have = {row["id"]: row for row in lines(path, "bootstrap")}
    left_out = {row["candidate"]["id"] for row in lines(path, "classify", "rejects") if row["reason"] == NOT_ASKED}
    assert left_out == have.keys() - had
    assert len(left_out) > 1
    for stage in STAGES[1:]:
        taken = {row["id"]: row for row in lines(path, stage)}
        before = {row["id"]: row for row in lines(parent, stage)}
        assert {id: texts(row) for id, row in taken.items()} == {id: texts(before[id]) for id in taken}
    with closing(LedgerReader(path / "ledger.sqlite3")) as rows:
        assert rows.spending() == []


def texts(row: dict[str, Any]) -> dict[str, Any]:
    """A record without what its filter measured, which depends on the pool."""
    return {name: value for name, value in row.items() if name != "novelty"}


def test_what_the_parent_had_and_is_refused_now_is_gone_from_later_stages(output: Path, tmp_path: Path) -> None:
    """And what stays keeps its slot, although others before it are gone."""
    parent, path = output / "served", tmp_path / "r2"
    refilter(parent, path, "threshold=0.2")
    kept = [row["instruction"] for row in lines(path, "bootstrap")]
    assert 0 < len(kept) < len(lines(parent, "bootstrap"))
    for stage in STAGES[1:]:
        rows = [row for row in lines(parent, stage) if row["instruction"] in kept]
        assert [texts(row) for row in lines(path, stage)] == [texts(row) for row in rows]
        assert not any(row["reason"] == NOT_ASKED for row in lines(path, stage, "rejects"))


def test_what_is_left_out_is_told_with_the_record(output: Path, tmp_path: Path) -> None:
    """As its stage would read it: that is what a forecast is made of."""
    path = tmp_path / "r2"
    refilter(output / "served", path, NEW)
    prepared = refiltering.prepare(output / "served", path, [NEW], config.settings({}), pay=False)
    told = list(refiltering.waiting(prepared.plan))
    rows = [row for row in lines(path, "classify", "rejects") if row["reason"] == NOT_ASKED]
    assert [(number, record.id) for number, record in told] == [(1, row["candidate"]["id"]) for row in rows]
    assert {type(record) for _, record in told} == {Instruction}


def test_a_record_has_the_slot_it_had_and_others_stand_behind(tmp_path: Path) -> None:
    """Jobs come by slot, so that ids stand in order."""

    def record(id: str) -> Instruction:
        return Instruction(id=id, instruction=id, lang="en", provenance=Provenance())

    fed = StageStore(tmp_path, Instruction, 8)
    fed.add_round([[record("bootstrap-0-0-0"), record("bootstrap-0-0-1")], [record("bootstrap-0-1-0")]])
    stage = Renumbered(_PerRecord(), slots_of(fed), None)
    inputs = [record(f"bootstrap-0-{place}") for place in ("0-1", "0-9", "1-0", "1-9")]
    planned = [(job.slot, job.material.id) for job in stage.plan(0, inputs, ())]
    assert planned == [(1, inputs[0].id), (2, inputs[2].id), (3, inputs[1].id), (4, inputs[3].id)]
    assert [job.slot for job in stage.plan(1, inputs, ())] == [0, 1, 2, 3]  # a round the parent had not screened


class _PerRecord:
    """A stage with a job for each input."""

    name, reads, writes, roles = "classify", Instruction, ClassifiedInstruction, ("teacher",)

    def plan(self, round: int, inputs: Any, accepted: Any) -> list[Job]:
        return [Job(self.name, round, slot, record) for slot, record in enumerate(inputs)]

    async def run(self, job: Job, models: Any) -> list[Any]:
        raise AssertionError("nobody asks it")


# --- --pay ------------------------------------------------------------------------------------------------------------


def test_paying_asks_for_exactly_what_is_missing(output: Path, tmp_path: Path) -> None:
    """Not one body of the parent's is sent again, and afterwards nothing is left out; paying again sends nothing."""
    with AnswerServer() as server:
        parent = of_server(tmp_path, server)
        asked = set(server.asked)
        refilter(parent, tmp_path / "r2", NEW)
        assert set(server.asked) == asked
        missing = [row for row in lines(tmp_path / "r2", "classify", "rejects") if row["reason"] == NOT_ASKED]
        account = refilter(parent, tmp_path / "r2", NEW, pay=True)
        new = set(server.asked) - asked
        assert account.new_calls == len(new) == server.counts.requests - len(asked)
        judged = [row for kind in ("shard", "rejects") for row in lines(tmp_path / "r2", "classify", kind)]
        assert {place(row)[:2] for row in judged} >= {place(row) for row in missing}
        assert not any(row["reason"] == NOT_ASKED for row in judged if "reason" in row)
        assert verifying.check(tmp_path / "r2").findings == []
        before = data_files(tmp_path / "r2")
        assert refilter(parent, tmp_path / "r2", NEW, pay=True).new_calls == 0
        assert refilter(parent, tmp_path / "r2", NEW).new_calls == 0
        assert data_files(tmp_path / "r2") == before
        refilter(parent, tmp_path / "r3", NEW, pay=True)  # at once, not after having left them out
        assert data(tmp_path / "r3") == data(tmp_path / "r2")


def of_server(folder: Path, server: AnswerServer, *args: object, count: int = 8) -> Path:
    """A run at this server, whose filter refuses most of what it says."""
    where = ("--api", "completion", "--base-url", server.url, "--output-dir", folder, "--run", "r", "-n", count)
    few = ("--threshold", "0.15", "--seed-tasks", few_seeds(folder, "en"), "--set", "round_size=2")
    invoke("generate", *where, *few, "--set", "rounds_per_shard=1", *args, "-q")
    return folder / "r"


def test_a_cap_counts_what_is_paid_here_alone(tmp_path: Path) -> None:
    """The parent's calls were the parent's; the run goes on with a larger one."""
    with AnswerServer() as server:
        parent = of_server(tmp_path, server)
        first = invoke("refilter", parent, "--set", NEW, "--out", tmp_path / "r2", "--pay", "--max-calls", 2, "-q")
        assert first.code == 4
        with closing(LedgerReader(tmp_path / "r2/ledger.sqlite3")) as rows:
            assert sum(row.attempts for row in rows.spending()) == 2
        assert refilter(parent, tmp_path / "r2", NEW, pay=True, max_calls=10_000).new_calls > 0
        refilter(parent, tmp_path / "r3", NEW, pay=True)
        assert data(tmp_path / "r3") == data(tmp_path / "r2")


# --- stopped, started again -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nth", [2, 4, 9, 25])
def test_a_kill_anywhere_is_made_good(output: Path, tmp_path: Path, nth: int) -> None:
    """While stage.json is written, while the parent is derived, while shards are: the same bytes in the end."""
    words = ("refilter", output / "served", "--set", NEW, "--out", tmp_path / "r2", "-q")
    killed = wait(spawn(*words, SELFINSTRUCT_FAILPOINTS=f"store.rename=kill@{nth}"))
    assert killed.code == -9
    assert invoke(*words).code == 0
    refilter(output / "served", tmp_path / "whole", NEW)
    assert data_files(tmp_path / "r2") == data_files(tmp_path / "whole")
    assert not (tmp_path / "r2" / ".parent").exists()


@pytest.mark.parametrize("nth", [2, 8])
def test_a_kill_while_paying_is_made_good(tmp_path: Path, nth: int) -> None:
    """No answer is paid for twice, and the bytes are those of a run that was never disturbed."""
    with AnswerServer() as server:
        parent = of_server(tmp_path, server)
        refilter(parent, tmp_path / "r2", NEW)
        words = ("refilter", parent, "--set", NEW, "--out", tmp_path / "r2", "--pay", "--concurrency", 4, "-q")
        before = server.counts.requests
        assert wait(spawn(*words, SELFINSTRUCT_FAILPOINTS=f"ledger.committed=kill@{nth}")).code == -9
        with closing(LedgerReader(tmp_path / "r2/ledger.sqlite3")) as rows:
            open_calls = sum(call.state == "open" for call in rows.calls())
        account = refilter(parent, tmp_path / "r2", NEW, pay=True)
        refilter_calls = server.counts.requests - before
        whole = refilter(parent, tmp_path / "whole", NEW, pay=True)
        assert data_files(tmp_path / "r2") == data_files(tmp_path / "whole")
        assert 0 < account.new_calls <= whole.new_calls <= refilter_calls <= whole.new_calls + open_calls


def test_an_answer_that_is_taken_over_is_taken_over_once(output: Path, tmp_path: Path) -> None:
    """A start that died before it had the parent's answers leaves nothing to protect: another parent may come."""
    path = tmp_path / "r2"
    refilter(output / "alpaca-en", path)
    for file in path.glob("*/*.jsonl"):
        file.unlink()
    (path / "alpaca" / "manifest.json").unlink()
    (path / "ledger.sqlite3").unlink()
    refilter(output / "alpaca-zh", path)
    assert data(path) == data(output / "alpaca-zh")


def test_other_settings_are_refused_with_a_diff(output: Path, tmp_path: Path) -> None:
    """And another parent is."""
    refilter(output / "alpaca-en", tmp_path / "r2", "threshold=0.6")
    before = data_files(tmp_path / "r2")
    with pytest.raises(IdentityChanged, match=r"alpaca\.threshold: '0\.6' -> '0\.5'"):
        refilter(output / "alpaca-en", tmp_path / "r2", "threshold=0.5")
    shutil.copytree(output / "alpaca-en", tmp_path / "twin")
    with pytest.raises(IdentityChanged, match=r"refiltered\.run: 'alpaca-en' -> 'twin'"):
        refilter(tmp_path / "twin", tmp_path / "r2", "threshold=0.6")
    assert data_files(tmp_path / "r2") == before


def test_a_parent_that_cannot_be_found_anew_is_told_before_anything_is_written(tmp_path: Path) -> None:
    """What its filters go by has changed; once that is put back, the same command works."""
    items = tmp_path / "eval.jsonl"
    items.write_text('{"question": "How many legs have seven spiders in a jar?"}\n', "utf-8")
    use = ("--set", f'alpaca.use=["decontaminate:{items}"]')
    scripted = ("--api", "fake", "--method", "alpaca", "-n", 10, "--run", "r", *use)
    assert invoke("generate", *scripted, "--output-dir", tmp_path, "-q").code == 0
    then = items.read_bytes()
    items.write_bytes(then.replace(b"seven", b"eight"))
    with pytest.raises(IdentityChanged, match=r"what it asked by has changed; put it back\n  used\."):
        refilter(tmp_path / "r", tmp_path / "r2", "threshold=0.6")
    assert data_files(tmp_path / "r2") == {}
    items.write_bytes(then)
    assert refilter(tmp_path / "r", tmp_path / "r2", "threshold=0.6").tallies["alpaca"].accepted > 0
    items.write_bytes(then.replace(b"seven", b"eight"))
    with pytest.raises(IdentityChanged, match=f"{tmp_path}/r2: its candidates"):
        refilter(tmp_path / "r2", tmp_path / "r3", "threshold=0.5")


def test_damage_is_found_and_mended(output: Path, tmp_path: Path) -> None:
    """`verify` names the command, and the command derives the files anew."""
    path = tmp_path / "r2"
    refilter(output / "served", path, NEW)
    before = data_files(path)
    assert verifying.check(path).findings == []
    (path / "classify/shard-0.jsonl").write_bytes(b"")
    (path / "bootstrap/rejects-1.jsonl").unlink()
    hints = {finding.hint for finding in verifying.check(path).findings}
    command = f"selfinstruct refilter served --set 'bootstrap.threshold=\"0.95\"' --out {path}"
    assert hints == {f"'{command}' derives it anew from the ledger"}
    refilter(output / "served", path, NEW)
    assert data_files(path) == before


# --- the parent -------------------------------------------------------------------------------------------------------


def test_of_an_interrupted_run_every_screened_round_is_used(tmp_path: Path) -> None:
    """What it had not asked yet is left out; when it goes on, what was taken over stays what it was."""
    with AnswerServer() as server:
        server.fault = lambda path, number: (401, b'{"error": {"message": "bad key"}}') if number >= 40 else None
        more = ("--threshold", "0.7", "--set", "lag=2")
        parent = of_server(tmp_path, server, "--concurrency", 1, *more, count=40)
        account = refilter(parent, tmp_path / "r2")
        assert account.tallies["bootstrap"].rounds > 1
        assert account.tallies["classify"].rejects[NOT_ASKED] > 0
        before = data_files(tmp_path / "r2")
        server.fault = lambda path, number: None
        of_server(tmp_path, server, *more, count=40)
        again = refilter(parent, tmp_path / "r2")
        assert data_files(tmp_path / "r2") == before
        assert again.notes == ["r has gone on since its answers were taken over; another --out filters all it has now"]
    known = {row["id"]: texts(row) for row in lines(parent, "bootstrap")}
    rows = lines(tmp_path / "r2", "bootstrap")
    rounds = account.tallies["bootstrap"].rounds
    assert {row["id"] for row in rows} == {id for id in known if int(id.split("-")[1]) < rounds}
    assert [texts(row) for row in rows] == [known[row["id"]] for row in rows]


def test_of_a_run_at_work_the_committed_part_is_taken(output: Path, tmp_path: Path) -> None:
    """It is not waited for, and the account says so."""
    parent = Path(shutil.copytree(output / "alpaca-en", tmp_path / "busy"))
    with closing(LedgerReader(parent / "ledger.sqlite3")), run_folder.held(parent):
        account = refilter(parent, tmp_path / "r2")
    assert account.notes == [f"{parent} is at work; what it has recorded so far is filtered"]
    assert data(tmp_path / "r2") == data(parent)


def test_a_lost_answer_is_damage_and_no_shorter_run(output: Path, tmp_path: Path) -> None:
    """Naming the call."""
    parent = Path(shutil.copytree(output / "alpaca-en", tmp_path / "lossy"))
    with closing(sqlite3.connect(parent / "ledger.sqlite3")) as db, db:
        db.execute("DELETE FROM answers WHERE call = (SELECT id FROM calls WHERE round = 1 AND slot = 3)")
    with pytest.raises(DamagedRun, match=r"lacks the answer of call alpaca/1/3/0/0"):
        refilter(parent, tmp_path / "r2")


def test_a_run_asked_for_less_than_it_has_is_used_whole(output: Path, tmp_path: Path) -> None:
    """Its last start wanted fewer records than there are."""
    parent = Path(shutil.copytree(output / "alpaca-en", tmp_path / "again"))
    scripted = ("--api", "fake", "--method", "alpaca", "--threshold", "0.45", "--bootstrap", "--set")
    seeds = ("round_size=4", "--seed-tasks", output / "en.jsonl", "--set")
    words = (*seeds, "rounds_per_shard=1", "-n", 5, "--run", "again", "--output-dir", tmp_path, "-q")
    assert invoke("generate", *scripted, *words).code == 0
    refilter(parent, tmp_path / "r2")
    assert data(tmp_path / "r2") == data(output / "alpaca-en")


def test_what_has_no_candidates_is_bad_data(output: Path, tmp_path: Path) -> None:
    """A folder of `complete`; a run before its first answer."""
    (tmp_path / "q.jsonl").write_bytes(
        orjson.dumps(
            {"custom_id": "a", "method": "POST", "url": "/v1/completions", "body": {"prompt": "p", "max_tokens": 3}}
        )
        + b"\n"
    )
    invoke("complete", tmp_path / "q.jsonl", "--out", tmp_path / "c", "--api", "fake", "-q")
    with pytest.raises(BadData, match="holds no run of 'selfinstruct generate'"):
        refilter(tmp_path / "c", tmp_path / "r2")
    with AnswerServer(fault=lambda path, number: (401, b"{}")) as server:
        parent = of_server(tmp_path, server)
    with pytest.raises(BadData, match="no answer is recorded yet"):
        refilter(parent, tmp_path / "r2")
    assert not (tmp_path / "r2").exists()


def test_a_run_is_not_refiltered_into_itself(output: Path) -> None:
    """Its records are not replaced by others."""
    with pytest.raises(UsageProblem, match="is the run itself"):
        refilter(output / "alpaca-en", output / "alpaca-en")


# --- a refiltered run as a parent -------------------------------------------------------------------------------------


def test_a_refiltered_run_can_be_refiltered(output: Path, tmp_path: Path) -> None:
    """Its candidates are its parent's: unchanged it is the same again, and with the first settings the parent."""
    parent = Path(shutil.copytree(output / "served", tmp_path / "served"))
    refilter(parent, tmp_path / "r2", NEW)
    refilter(tmp_path / "r2", tmp_path / "r3")
    assert data(tmp_path / "r3") == data(tmp_path / "r2")
    refilter(tmp_path / "r2", tmp_path / "r4", "threshold=0.7")
    assert data(tmp_path / "r4") == data(parent)
    assert verifying.check(tmp_path / "r4").findings == []


def test_what_a_refiltered_run_has_paid_for_is_not_paid_for_again(tmp_path: Path) -> None:
    """Its answers are found by the slots it gave; what is new still stands behind them."""
    with AnswerServer() as server:
        runs = of_server(tmp_path, server), tmp_path / "r2", tmp_path / "r3"
        refilter(runs[0], runs[1], "threshold=0.2", pay=True)
        before = server.counts.requests
        account = refilter(tmp_path / "r2", tmp_path / "r3", NEW)
        left_out = account.tallies["classify"].rejects[NOT_ASKED]
        first, second, third = ({row["id"] for row in lines(run, "bootstrap")} for run in runs)
        assert third >= first | second
        assert 0 < left_out == len(third - first - second) < len(third - first)
        assert server.counts.requests == before
        paid = refilter(tmp_path / "r2", tmp_path / "r3", NEW, pay=True)
        assert server.counts.requests == before + paid.new_calls
        assert server.counts.most == 1
        finals = [{texts_of(row) for row in lines(run, "instances")} for run in runs]
        assert finals[0] | finals[1] <= finals[2]


def texts_of(row: dict[str, Any]) -> tuple[str, ...]:
    """What a final record says."""
    return row["id"], row["instruction"], row["input"], row["output"]


def test_a_grandparent_that_is_gone_is_bad_data(output: Path, tmp_path: Path) -> None:
    """It alone says how the candidates were drawn."""
    refilter(output / "alpaca-en", tmp_path / "r2")
    with pytest.raises(BadData, match="is 'alpaca-en' refiltered, which is not beside it: put both into one folder"):
        refilter(tmp_path / "r2", tmp_path / "r3")


# --- what may be set --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("temperature=0.5", "decides what was asked, or how"),
        ("alpaca.num_demos=2", "decides what was asked, or how"),
        ("seed=7", "decides what was asked, or how"),
        ("model.name=other", "decides what was asked, or how"),
        ("lag=2", "decides what was asked, or how"),
        ("rules.phrases=['a']", "decides how the answers were read"),
        ("rules={min_length=4}", "set single rules"),
        ("belle.threshold=0.5", "read by another method"),
        ("classify.demos=3", "read by another method"),
    ],
)
def test_only_filters_may_be_changed(output: Path, tmp_path: Path, key: str, why: str) -> None:
    """78, naming the key and the reason; nothing is written."""
    with pytest.raises(ConfigProblem, match=why) as raised:
        refilter(output / "alpaca-en", tmp_path / "r2", key)
    assert f".{key.partition('=')[0]}:".replace("..", ".") in f".{raised.value}".replace(
        "--set alpaca.", "--set ."
    ) or f"--set {key.partition('=')[0]}:" in str(raised.value)
    assert not (tmp_path / "r2").exists()


def test_a_filter_of_a_later_stage_is_set_with_its_table(output: Path, tmp_path: Path) -> None:
    """The stages before it are the parent's."""
    refilter(output / "served", tmp_path / "r2", "instances.min_output_words=4")
    for stage in STAGES[:2]:
        assert {name: bytes for name, bytes in data(tmp_path / "r2").items() if name.startswith(stage)} == {
            name: bytes for name, bytes in data(output / "served").items() if name.startswith(stage)
        }
    reasons = [row["reason"] for row in lines(tmp_path / "r2", "instances", "rejects")]
    assert "too_few_words" in reasons


# --- the ledger -------------------------------------------------------------------------------------------------------


def test_answered_calls_are_copied_under_their_numbers(output: Path, tmp_path: Path) -> None:
    """Up to the number that was told, without attempts; a call without an answer is not."""
    parent = Path(shutil.copytree(output / "alpaca-en", tmp_path / "p")) / "ledger.sqlite3"
    with closing(sqlite3.connect(parent)) as db, db:
        db.execute("DELETE FROM answers WHERE call = 2")
    ledger_file.take_over(tmp_path / "ledger.sqlite3", parent, 5)
    calls, answers, attempts, *_ = rows_of(tmp_path / "ledger.sqlite3")
    before = rows_of(parent)
    assert calls == [row for row in before[0] if row[0] in (1, 3, 4, 5)]
    assert answers == [row for row in before[1] if row[0] in (1, 3, 4, 5)]
    assert attempts == []
