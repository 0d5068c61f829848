"""`selfinstruct binarize`, and `export` of a run of feedback: pairs and annotations, as others write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from selfinstruct.feedback_schema import CritiquedInstruction, PreferencePair
from selfinstruct.formats import FORMATS
from selfinstruct.schema import Instruction, Provenance
from selfinstruct.stages.binarize import Binarize
from tests.cli.feedback_runs import SEED, binarized, filled, pairs_in, started
from tests.command import Ended, data_files, invoke
from tests.judged_answers import critiqued, pair, rated

CHAIN = ("instructions", "sample", "rate", "critique", "binarize")
FOUR = ((9.0, (5, 5, 5, 5)), (3.0, (4, 4, 4, 4)), (5.0, (3, "N/A", 3, 3)), (7.0, (2, 2, 2, 2)))


def judged(round: int, slot: int, **changes: Any) -> CritiquedInstruction:
    """The record of a job, its four answers different by the mean and by the overall score."""
    said = changes.pop("said", FOUR)
    instruction = f"Question {round}.{slot}?"
    return critiqued(*said, id=f"critique-{round}-{slot}-0", instruction=instruction, **changes)


ROUNDS = [
    [judged(0, 0), judged(0, 2, source="truthful_qa")],  # the job in between gave a reject
    [judged(1, 0, said=[(6.0, (4, 4, 4, 4))] * 3), judged(1, 1, source="evol_instruct")],
    [judged(2, 0, said=[(None, ()), (8.0, (1, 1, 1, 1))]), judged(2, 1, said=[FOUR[3], FOUR[0]])],
]
OWN = Binarize(score="mean", rejected="random", exclude_source=(), seed=SEED)


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one finished run, ``judged``."""
    folder = tmp_path_factory.mktemp("output")
    started(folder / "judged", *CHAIN)
    ratings = [[rated((1, 1, 1, 1), id=f"rate{record.id[8:]}") for record in round] for round in ROUNDS]
    filled(folder / "judged", "rate", ratings, like=ratings[0][0])
    filled(folder / "judged", "critique", ROUNDS, like=ROUNDS[0][0])
    filled(folder / "judged", "binarize", binarized(OWN, ROUNDS), like=pair())
    return folder


def binarize(output: Path, *options: object) -> Ended:
    """Of the run that is there."""
    return invoke("binarize", "judged", *options, "--output-dir", output)


def lines(text: str) -> list[dict[str, Any]]:
    """JSON Lines."""
    return [json.loads(line) for line in text.splitlines()]


def rows(format: str, records: list[Any]) -> list[dict[str, Any]]:
    """What a format makes of records."""
    return lines(b"".join(FORMATS[format].write(records)).decode())


def test_the_runs_own_choices_make_the_runs_own_pairs(output: Path) -> None:
    """Byte for byte, ids included; and the run is as it was."""
    before = data_files(output / "judged")
    ended = binarize(output, "--format", "jsonl")
    shards = [before[f"binarize/shard-{number}.jsonl"] for number in (0, 1)]
    assert (ended.code, ended.out.encode()) == (0, b"".join(shards))
    told = "pairs 4; ties 1, without two scores 1, of an excluded source 0; instructions 6"
    assert ended.err == f"selfinstruct: {told}\n"
    assert data_files(output / "judged") == before


def test_trl_is_the_default_and_a_row_is_a_pair(output: Path) -> None:
    """The last one, whole: of two answers the second is the better."""
    ended = binarize(output)
    assert lines(ended.out) == rows("trl", pairs_in(binarized(OWN, ROUNDS)))
    assert lines(ended.out)[-1] == {
        "prompt": [{"role": "user", "content": "Question 2.1?"}],
        "chosen": [{"role": "assistant", "content": "answer 1"}],
        "rejected": [{"role": "assistant", "content": "answer 0"}],
        "score_chosen": 5.0,
        "score_rejected": 2.0,
        "margin": 3.0,
    }


@pytest.mark.parametrize("format", ["h4", "argilla"])
def test_other_layouts_hold_the_same_pairs(output: Path, format: str) -> None:
    """As `export` writes those of the run."""
    ended = binarize(output, "--format", format)
    exported = invoke("export", "judged", "--format", format, "--output-dir", output)
    assert (exported.code, exported.err) == (0, "")
    assert lines(ended.out) == lines(exported.out) == rows(format, pairs_in(binarized(OWN, ROUNDS)))


def test_the_overall_score_and_the_lowest(output: Path) -> None:
    """Of the first instruction the third worst by the mean is the worst by the critiques."""
    ended = binarize(output, "--score", "overall", "--rejected", "lowest", "--format", "jsonl")
    pairs = [PreferencePair.model_validate_json(line) for line in ended.out.splitlines()]
    assert [(one.chosen.model, one.rejected.model, one.margin, one.score) for one in pairs] == [
        *[("m0", "m1", 6.0, "overall")] * 3,
        ("m1", "m0", 2.0, "overall"),
    ]
    assert ended.err == (
        "selfinstruct: pairs 4; ties 1, without two scores 1, of an excluded source 0; instructions 6\n"
    )


def test_all_pairs_of_what_is_left(output: Path) -> None:
    """Two sources out: of three instructions one has a pair, one three ties, one no two scores."""
    options = ("--rejected", "all", "--exclude-source", "truthful_qa", "--exclude-source", "evol_instruct")
    ended = binarize(output, *options, "--format", "jsonl")
    records = [PreferencePair.model_validate_json(line) for line in ended.out.splitlines()]
    assert [one.id for one in records] == [*(f"binarize-0-0-{number}" for number in range(6)), "binarize-2-1-0"]
    told = "pairs 7; ties 3, without two scores 1, of an excluded source 2; instructions 6"
    assert ended.err == f"selfinstruct: {told}\n"


def test_another_seed_draws_others(output: Path) -> None:
    """Among twenty, more than one outcome; the run's own seed gives the default's."""
    drawn = [binarize(output, "--seed", seed).out for seed in range(20)]
    assert len(set(drawn)) > 1
    assert binarize(output, "--seed", SEED).out == binarize(output).out


def test_a_limit_counts_instructions(output: Path) -> None:
    """Three of them: two pairs and a tie."""
    ended = binarize(output, "--limit", 3, "--format", "jsonl")
    assert [row["id"] for row in lines(ended.out)] == ["binarize-0-0-0", "binarize-0-1-0"]
    told = "pairs 2; ties 1, without two scores 0, of an excluded source 0; instructions 3"
    assert ended.err == f"selfinstruct: {told}\n"


def test_a_file_is_written_whole(output: Path, tmp_path: Path) -> None:
    """Nothing else beside it."""
    ended = binarize(output, "--out", tmp_path / "pairs.jsonl")
    assert (ended.code, ended.out) == (0, "")
    assert (tmp_path / "pairs.jsonl").read_text() == binarize(output).out
    assert [path.name for path in tmp_path.iterdir()] == ["pairs.jsonl"]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (
            "truthfulqa",
            "--exclude-source truthfulqa: no instruction is from there; did you mean 'truthful_qa'?",
        ),
        ("x", "--exclude-source x: no instruction is from there; sources: evol_instruct, flan, truthful_qa"),
    ],
)
def test_a_source_that_is_not_there_is_an_error_of_use(output: Path, tmp_path: Path, name: str, told: str) -> None:
    """2, before a file is touched: a slip of the pen must not let a benchmark into the data."""
    out = tmp_path / "pairs.jsonl"
    ended = binarize(output, "--exclude-source", "flan", "--exclude-source", name, "--out", out)
    assert (ended.code, ended.out, ended.err) == (2, "", f"selfinstruct: {told}\n")
    assert not out.exists()


def test_an_unfinished_run_gives_the_pairs_of_its_whole_shards(tmp_path: Path) -> None:
    """And says that there will be more; the run has made none yet by itself."""
    started(tmp_path / "judged", *CHAIN)
    filled(tmp_path / "judged", "critique", ROUNDS, "running", like=ROUNDS[0][0])
    ended = binarize(tmp_path, "--format", "jsonl")
    assert [row["id"] for row in lines(ended.out)] == ["binarize-0-0-0", "binarize-0-1-0", "binarize-1-1-0"]
    assert ended.err == (
        "selfinstruct: run 'judged' is not finished; exporting the shards it has\n"
        "selfinstruct: pairs 3; ties 1, without two scores 0, of an excluded source 0; instructions 4\n"
    )
    exported = invoke("export", "judged", "--output-dir", tmp_path)
    told = f"{tmp_path}/judged: no finished records here; 'selfinstruct status' lists the runs"
    assert (exported.code, exported.out, exported.err) == (65, "", f"selfinstruct: {told}\n")


def test_a_run_that_lacks_nothing_but_its_own_pairs_is_finished_here(tmp_path: Path) -> None:
    """All annotations are there, so there is no more to come."""
    started(tmp_path / "judged", *CHAIN)
    filled(tmp_path / "judged", "critique", ROUNDS, like=ROUNDS[0][0])
    told = "pairs 4; ties 1, without two scores 1, of an excluded source 0; instructions 6"
    assert binarize(tmp_path).err == f"selfinstruct: {told}\n"


def test_a_run_without_critiques_has_no_overall_score(tmp_path: Path) -> None:
    """2, one line; by the mean it has pairs."""
    started(tmp_path / "judged", "instructions", "sample", "rate", "binarize")
    record = rated((5, 5, 5, 5), (1, 1, 1, 1))
    filled(tmp_path / "judged", "rate", [[record]], like=record)
    filled(tmp_path / "judged", "binarize", [], like=pair())
    ended = binarize(tmp_path, "--score", "overall")
    told = "--score overall: run 'judged' has no critiques, whose score that is; take --score mean"
    assert (ended.code, ended.out, ended.err) == (2, "", f"selfinstruct: {told}\n")
    assert [row["margin"] for row in lines(binarize(tmp_path).out)] == [4.0]


def test_a_run_of_something_else_holds_nothing_to_pair(tmp_path: Path) -> None:
    """65: no judge has rated anything there."""
    started(tmp_path / "judged", "bootstrap")
    record = Instruction(id="bootstrap-0-0-0", provenance=Provenance(), instruction="Name a tree.", lang="en")
    filled(tmp_path / "judged", "bootstrap", [[record]], like=record)
    ended = binarize(tmp_path)
    told = f"{tmp_path}/judged: holds no answers that a judge has rated; 'selfinstruct feedback' makes them"
    assert (ended.code, ended.out, ended.err) == (65, "", f"selfinstruct: {told}\n")


def test_a_run_that_does_not_say_its_seed_is_damaged(tmp_path: Path) -> None:
    """5, and what to do; with a seed it works."""
    started(tmp_path / "judged", *CHAIN)
    filled(tmp_path / "judged", "critique", ROUNDS, like=ROUNDS[0][0])
    path = tmp_path / "judged" / "binarize" / "stage.json"
    path.write_text(path.read_text().replace(f'"seed": {SEED}', '"seed": null'))
    ended = binarize(tmp_path)
    told = f"{tmp_path}/judged: its stage.json files do not say the run's seed; give --seed"
    assert (ended.code, ended.out, ended.err) == (5, "", f"selfinstruct: {told}\n")
    assert len(binarize(tmp_path, "--seed", 1).out.splitlines()) == 4


# --- export -----------------------------------------------------------------------------------------------------------


def test_an_export_is_of_the_pairs_unless_it_is_of_the_annotations(output: Path) -> None:
    """jsonl and the layouts of pairs take what the chain ends with, ultrafeedback the critiques before that."""

    def exported(format: str) -> list[dict[str, Any]]:
        ended = invoke("export", "judged", "--format", format, "--output-dir", output)
        assert (ended.code, ended.err) == (0, "")
        return lines(ended.out)

    pairs = pairs_in(binarized(OWN, ROUNDS))
    assert [row["id"] for row in exported("jsonl")] == [one.id for one in pairs]
    assert exported("trl") == rows("trl", pairs)
    assert exported("ultrafeedback") == rows("ultrafeedback", [record for round in ROUNDS for record in round])


def test_annotations_of_an_unfinished_run_are_exported_too(tmp_path: Path) -> None:
    """The last stage that has any: here the ratings, since no critique is in a shard."""
    started(tmp_path / "judged", *CHAIN)
    record = rated((5, 5, 5, 5), (1, 1, 1, 1))
    filled(tmp_path / "judged", "rate", [[record]], like=record)
    ended = invoke("export", "judged", "--format", "ultrafeedback", "--output-dir", tmp_path)
    assert lines(ended.out) == rows("ultrafeedback", [record])
    assert ended.err == "selfinstruct: run 'judged' is not finished; exporting the shards it has\n"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            ["--format", "alpaca"],
            "--format alpaca takes tasks, and the run holds preference pairs: choose one of jsonl, trl, h4, argilla",
        ),
        (["--split-long", "9"], "--split-long takes dialogues, and the run holds preference pairs: leave it out"),
    ],
)
def test_what_does_not_fit_a_run_of_feedback_is_said(output: Path, options: list[str], told: str) -> None:
    """2, one line."""
    ended = invoke("export", "judged", *options, "--output-dir", output)
    assert (ended.code, ended.out, ended.err) == (2, "", f"selfinstruct: {told}\n")
