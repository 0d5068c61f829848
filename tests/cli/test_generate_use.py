"""The suite's filters in a recipe: ``use`` in the table of a stage adds them to its chain, and to a run's identity."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
import pytest

from selfinstruct import resources, seed_tasks
from selfinstruct.config import resolve
from selfinstruct.filters import rouge_l
from selfinstruct.filters.rouge_l import RougeLNovelty
from selfinstruct.links import Parts
from selfinstruct.methods import METHODS
from selfinstruct.schema import Instruction, Provenance
from tests.command import Ended, data_files, invoke


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of its own."""
    monkeypatch.chdir(tmp_path)


def generate(run: str, *words: object, count: object = 30, method: str = "alpaca") -> Ended:
    """A run by the script."""
    return invoke("generate", "--api", "fake", "--method", method, "--run", run, "-n", count, "-q", *words)


def used(table: str, *uses: str) -> tuple[str, str]:
    """The words that set a table's filters."""
    return "--set", f"{table}.use={json.dumps(uses)}"


def rows(run: str, stage: str, kind: str = "shard") -> list[dict[str, Any]]:
    """The records or rejects of a stage."""
    files = sorted(Path("output", run, stage).glob(f"{kind}-*.jsonl"))
    return [orjson.loads(line) for file in files for line in file.read_bytes().splitlines()]


def test_an_evaluation_set_stays_out_of_a_run() -> None:
    """What the run without it kept is refused in the run with it, and the reject names the item."""
    assert generate("plain").code == 0
    item = rows("plain", "alpaca")[3]["instruction"]
    Path("eval.jsonl").write_text(json.dumps({"question": item}) + "\n", "utf-8")
    assert generate("clean", *used("alpaca", "secrets", "decontaminate:eval.jsonl")).code == 0
    assert item not in [row["instruction"] for row in rows("clean", "alpaca")]
    (reject,) = [row for row in rows("clean", "alpaca", "rejects") if row["reason"].startswith("contaminated")]
    assert reject["candidate"]["instruction"] == item
    assert reject["nearest"] == [{"id": "eval.jsonl:1", "score": 1.0}]


def test_a_run_with_filters_that_compare_is_extended_to_what_a_direct_run_gives() -> None:
    """They are given back what earlier starts kept."""
    words = used("bootstrap", "exact", "jaccard:0.3", "minhash:0.3")
    assert generate("long", *words, count=60, method="self-instruct").code == 0
    for count in (20, "+40"):
        assert generate("grown", *words, count=count, method="self-instruct").code == 0
    long, grown = (data_files(Path("output", run)) for run in ("long", "grown"))
    shards = [name for name in long if "shard" in name or "rejects" in name]
    assert len(shards) == 6
    assert {name: grown[name] for name in shards} == {name: long[name] for name in shards}
    assert "near_duplicate" in {row["reason"] for row in rows("long", "bootstrap", "rejects")}


def test_what_the_filters_go_by_is_part_of_the_runs_identity() -> None:
    """Rules, and the items of a file, not its name alone: another set does not go on with the run."""
    Path("eval.jsonl").write_text('{"question": "How many legs have seven spiders in a jar?"}\n', "utf-8")
    words = used("alpaca", "secrets", "decontaminate:eval.jsonl")
    assert generate("r", *words).code == 0
    started = orjson.loads(Path("output/r/alpaca/stage.json").read_bytes())["identity"]
    assert started["alpaca"]["use"] == ["secrets", "decontaminate:eval.jsonl"]
    assert started["used"].keys() == {"rules secrets", "eval.jsonl"}
    assert generate("r", *words).code == 0
    Path("eval.jsonl").write_text('{"question": "How many legs have eight spiders in a jar?"}\n', "utf-8")
    changed = generate("r", *words)
    assert changed.code == 78
    assert "used.eval.jsonl: 'sha256 " in changed.err
    assert generate("r", *used("alpaca", "secrets")).code == 78


def test_a_run_without_them_is_identified_as_before() -> None:
    """No key of its identity tells of them, so that an older run goes on."""
    assert generate("r").code == 0
    started = orjson.loads(Path("output/r/alpaca/stage.json").read_bytes())["identity"]
    assert "use" not in started["alpaca"]
    assert "used" not in started


@pytest.mark.parametrize(
    ("method", "table", "use", "told"),
    [
        ("alpaca", "alpaca", "secret", "alpaca.use: 'secret': no filter of that name; did you mean 'secrets'?"),
        ("alpaca", "alpaca", "rouge-l:7", "alpaca.use: 'rouge-l:7': threshold must be above 0 and at most 1, not 7"),
        ("alpaca", "alpaca", "decontaminate:no.jsonl", "alpaca.use: no.jsonl: cannot read the evaluation set"),
        ("self-instruct", "bootstrap", "output", "bootstrap.use: 'output' judges an output, and this stage has none"),
        ("self-instruct", "instances", "exact", "instances.use: 'exact' compares instructions"),
        ("belle", "belle", "wording:3", "belle.use: 'wording:3': wording takes no parameter"),
    ],
)
def test_a_bad_entry_ends_with_78_before_anything_is_made(method: str, table: str, use: str, told: str) -> None:
    """With the table, the entry and what is wrong with it."""
    ended = generate("r", *used(table, use), method=method)
    assert (ended.code, ended.out) == (78, "")
    assert told in ended.err
    assert not Path("output/r").exists()


@pytest.mark.parametrize("use", ["exact", "jaccard:0.9", "minhash:0.9", "rouge-l:0.9"])
def test_filters_that_compare_know_the_seeds_and_novelty_comes_last(use: str) -> None:
    """A seed of the run, written again by the model, is refused by the recipe's filter already."""
    recipe = resolve(None, [f'bootstrap.use=["{use}"]'], {})
    seeds = seed_tasks.load(resources.seeds_dir() / "en_seed_tasks.jsonl")
    bootstrap, *_ = METHODS["self-instruct"](Parts(recipe, seeds, "chat", resources.prompts_dir()))
    *_, added, novelty = bootstrap.filters
    record = Instruction(id="x", instruction=seeds[7].instruction, lang="en", provenance=Provenance())
    drop = added.check(record)
    assert drop is not None
    assert [one.id for one in drop.nearest][:1] == [seeds[7].id]
    assert isinstance(novelty, RougeLNovelty)
    assert len(bootstrap.filters) == 4


def test_a_run_whose_texts_are_slow_to_tell_apart_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, at the end; an ordinary run says nothing of it."""
    told = "texts of so few different tokens are slow to tell apart"
    assert told not in invoke("generate", "--api", "fake", "--run", "plain", "-n", "20").err
    monkeypatch.setattr(rouge_l, "_STRAIN", 0)
    monkeypatch.setattr(rouge_l, "_STRAIN_SHARE", 0)
    assert invoke("generate", "--api", "fake", "--run", "slow", "-n", "20").err.count(told) == 1
