"""Files and runs become sources of examples, each with its label, its digest and what was left out of it."""

from __future__ import annotations

import gzip
import hashlib
import io
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from selfinstruct import formats
from selfinstruct.errors import BadData, DamagedRun, UsageProblem
from selfinstruct.feedback_schema import CritiquedInstruction, PairSide, PreferencePair, RatedInstruction
from selfinstruct.schema import Dialogue, Instruction, Lang, Lineage, Message, Provenance, Record, TaskInstance
from selfinstruct.stages.binarize import Binarize
from selfinstruct.store_files import line_of
from selfinstruct.training.data import (
    Conversation,
    Critiqued,
    Preference,
    Source,
    read_conversations,
    read_critiques,
    read_preferences,
)
from selfinstruct.training.mixing import Mix, split
from tests.annotated import at_random, record, sample
from tests.runs_on_disk import a_run

NOWHERE = Provenance()
ROWS = [{"prompt": "When?", "completion": "At noon."}, {"instruction": "何时？", "output": "正午。"}]


def task(number: int, instruction: str, input: str, output: str, lang: Lang = "en") -> TaskInstance:
    """A record of `generate`."""
    fields: Any = {
        "instruction": instruction,
        "input": input,
        "output": output,
        "lang": lang,
        "is_classification": None,
    }
    return TaskInstance(id=f"instances-0-{number}-0", provenance=NOWHERE, **fields)


def dialogue(number: int, *texts: str) -> Dialogue:
    """A record of `dialogue`."""
    roles: Any = ("user", "assistant")
    return Dialogue(
        id=f"dialogue-0-{number}-0",
        provenance=NOWHERE,
        messages=tuple(Message(role=roles[n % 2], content=text) for n, text in enumerate(texts)),
        lang="zh",
        sector="world",
        persona="plain",
        opener=Lineage(id="openers-0-0-0", origin="question"),
        rounds=len(texts) // 2,
        planned=3,
    )


def pair(number: int, question: str, chosen: tuple[str, float], rejected: tuple[str, float], **more: Any) -> Record:
    """A record of `feedback`."""
    sides = [PairSide(model="owl-7b", response=text, score=score) for text, score in (chosen, rejected)]
    return PreferencePair(
        id=f"binarize-0-{number}-0",
        provenance=NOWHERE,
        instruction=question,
        lang="en",
        source="sharegpt",
        score="mean",
        chosen=sides[0],
        rejected=sides[1],
        margin=chosen[1] - rejected[1],
        **more,
    )


TASKS = [task(0, "译成中文。", "tide\nebb", "潮\n落潮", "zh"), task(1, "Name a sea.", " ", "The North Sea.")]
DIALOGUES = [dialogue(0, "潮汐是什么？", "海水的涨落。", "为何？", "因为月球。"), dialogue(1, "Hm?", "Hm.")]
PAIRS = [
    pair(0, "When?", ("At noon.", 4.5), ("Never.", 2.0)),
    pair(1, "夜里呢？", ("半夜。", 4.0), ("不知道。", 3.75), history=DIALOGUES[1].messages),
]
CRITIQUED: Any = [
    record(0, [sample("owl-7b", 4, "At six.", overall_score=7), sample("wren-1b", 2, "Soon.", overall_score=None)]),
    record(1, [sample("owl-7b", 3, "六点。", overall_score=8.5)], history=DIALOGUES[0].messages),
]


def written(path: Path, rows: Iterable[Any]) -> str:
    """The name of a file of these rows."""
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return str(path)


def conversations(*names: str, output_dir: Path) -> list[Conversation]:
    """All that is read of these names."""
    return [one for source in read_conversations(names, output_dir) for one in source.rows()]


# --- runs -------------------------------------------------------------------------------------------------------------


def test_a_run_of_generate_is_conversations_of_one_round(tmp_path: Path) -> None:
    """The input behind a blank line, as when the task is asked again; each knows its run and record."""
    first: Sequence[Record] = [Instruction(id="bootstrap-0-0-0", provenance=NOWHERE, instruction="A", lang="en")]
    run = a_run(tmp_path / "sea", {"bootstrap": [first], "instances": [TASKS[:1], [], TASKS[1:]]})
    (source,) = read_conversations(["sea"], tmp_path)
    found = list(source.rows())
    assert [[turn.content for turn in one.messages] for one in found] == [
        ["译成中文。\n\ntide\nebb", "潮\n落潮"],
        ["Name a sea.", "The North Sea."],
    ]
    assert [(one.source, one.place) for one in found] == [("sea", "instances-0-0-0"), ("sea", "instances-0-1-0")]
    shards = b"".join((run / "instances" / f"shard-{n}.jsonl").read_bytes() for n in (0, 1))
    assert source.sha256 == hashlib.sha256(shards).hexdigest()
    assert source.manifest is not None
    assert (source.manifest["kind"], source.manifest["state"], source.skipped) == (
        "TaskInstance",
        "complete",
        Counter(),
    )


def test_a_run_of_dialogue_is_its_dialogues(tmp_path: Path) -> None:
    """Turn by turn, named by the folder's path too."""
    run = a_run(tmp_path / "talk", {"dialogue": [DIALOGUES]})
    found = conversations(str(run), output_dir=tmp_path / "elsewhere")
    assert [one.messages for one in found] == [one.messages for one in DIALOGUES]
    assert {one.source for one in found} == {"talk"}


def test_a_run_of_feedback_is_pairs_critiques_and_the_best_answers(tmp_path: Path) -> None:
    """Each reader takes the stage that has what it reads."""
    a_run(tmp_path / "judged", {"critique": [CRITIQUED], "binarize": [PAIRS]})
    (pairs,) = read_preferences(["judged"], tmp_path)
    assert list(pairs.rows()) == [
        Preference(
            prompt=(Message(role="user", content="When?"),),
            chosen="At noon.",
            rejected="Never.",
            margin=2.5,
            source="judged",
            place="binarize-0-0-0",
        ),
        Preference(
            prompt=(*DIALOGUES[1].messages, Message(role="user", content="夜里呢？")),
            chosen="半夜。",
            rejected="不知道。",
            margin=0.25,
            source="judged",
            place="binarize-0-1-0",
        ),
    ]
    best = conversations("judged", output_dir=tmp_path)
    assert [[turn.content for turn in one.messages] for one in best] == [
        ["When?", "At noon."],
        ["Hm?", "Hm.", "夜里呢？", "半夜。"],
    ]
    (said,) = read_critiques(["judged"], tmp_path)
    assert [(one.place, one.response, one.score, len(one.prompt)) for one in said.rows()] == [
        ("critique-0-0-0/0", "At six.", 7.0, 1),
        ("critique-0-0-0/1", "Soon.", None, 1),
        ("critique-0-1-0/0", "六点。", 8.5, 5),
    ]
    assert said.manifest is not None
    assert said.manifest["stage"] == "critique"


def test_of_several_pairs_with_one_prompt_the_best_chosen_answer_is_imitated(tmp_path: Path) -> None:
    """Every two answers make a pair where the recipe says so, and most chosen ones are not the best."""
    rounds = [at_random(40, seed) for seed in (1, 2)]
    stage = Binarize("mean", "all", (), 0)
    pairs: list[PreferencePair] = []
    for number, records in enumerate(rounds):
        for job in stage.plan(number, records, []):
            pairs += [one for one in stage.pair(job) if isinstance(one, PreferencePair)]
    a_run(tmp_path / "judged", {"critique": rounds, "binarize": [pairs]})
    best = conversations("judged", output_dir=tmp_path)
    by_place = {one.id: one for one in pairs}
    jobs = {one.id.rsplit("-", 1)[0] for one in pairs}
    assert len(pairs) > len(jobs) == len(best)
    for one in best:
        rivals = [rival for rival in pairs if rival.id.rsplit("-", 1)[0] == one.place.rsplit("-", 1)[0]]
        assert by_place[one.place].chosen.score == max(rival.chosen.score for rival in rivals)


def test_a_run_that_is_not_finished_says_so_in_its_manifest(tmp_path: Path) -> None:
    """What it has is taken."""
    a_run(tmp_path / "talk", {"dialogue": [DIALOGUES]}, state="running")
    (source,) = read_conversations(["talk"], tmp_path)
    assert len(list(source.rows())) == 2
    assert source.manifest is not None
    assert source.manifest["state"] == "running"


RATED = [RatedInstruction(**one.model_dump(exclude={"completions"}), completions=()) for one in CRITIQUED]
OTHERS: list[tuple[Callable[..., Any], list[Any], str]] = [
    (
        read_preferences,
        TASKS,
        "its records are conversations (messages, or a prompt and its answer): give them to 'fin",
    ),
    (read_critiques, DIALOGUES, "its records are conversations"),
    (read_critiques, PAIRS, "its records are preference pairs (prompt, chosen, rejected): give them to 'finetune dpo'"),
    (
        read_conversations,
        CRITIQUED,
        "its records are answers with critiques: give them to 'finetune critique'; 'selfin",
    ),
    (read_preferences, CRITIQUED, "'selfinstruct binarize' makes pairs of a run's"),
    (read_conversations, RATED, "without critiques: make pairs of them first: 'selfinstruct binarize' does so for a r"),
    (read_critiques, RATED, "its records are several answers to an instruction, without critiques"),
]


@pytest.mark.parametrize(("read", "records", "message"), OTHERS)
def test_a_run_of_other_records_is_refused_with_what_takes_them(
    tmp_path: Path, read: Callable[..., Any], records: list[Any], message: str
) -> None:
    """Before a row is read."""
    a_run(tmp_path / "other", {"stage": [records]})
    with pytest.raises(BadData) as caught:
        read(["other"], tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / 'other'}: ")
    assert message in str(caught.value)


def test_a_run_of_bare_instructions_is_refused(tmp_path: Path) -> None:
    """Nobody has answered them."""
    asked: Sequence[Record] = [Instruction(id="bootstrap-0-0-0", provenance=NOWHERE, instruction="A", lang="en")]
    a_run(tmp_path / "asked", {"bootstrap": [asked]})
    with pytest.raises(BadData, match="asked: its last records are of the kind Instruction, and nothing can be learnt"):
        read_conversations(["asked"], tmp_path)


def test_a_shard_that_was_changed_is_damage(tmp_path: Path) -> None:
    """And not learnt from."""
    run = a_run(tmp_path / "talk", {"dialogue": [DIALOGUES]})
    shard = run / "dialogue" / "shard-0.jsonl"
    shard.write_bytes(shard.read_bytes().replace("潮".encode(), "湖".encode()))
    with pytest.raises(DamagedRun, match=r"shard-0\.jsonl: is not as its manifest says"):
        conversations("talk", output_dir=tmp_path)


def test_a_run_without_records_holds_no_rows(tmp_path: Path) -> None:
    """Whether it has begun or not."""
    a_run(tmp_path / "none", {"dialogue": []})
    with pytest.raises(BadData, match="none: no finished records here"):
        read_conversations(["none"], tmp_path)
    run = a_run(tmp_path / "empty", {"dialogue": [DIALOGUES]})
    manifest = run / "dialogue" / "manifest.json"
    manifest.write_bytes(orjson.dumps({**orjson.loads(manifest.read_bytes()), "shards": []}))
    with pytest.raises(BadData, match=r"^empty: holds no rows$"):
        conversations("empty", output_dir=tmp_path)


# --- files ------------------------------------------------------------------------------------------------------------


def _packed(folder: Path) -> str:
    path = folder / "sea.jsonl.gz"
    path.write_bytes(gzip.compress(b"".join(orjson.dumps(row) + b"\n" for row in ROWS)))
    return str(path)


def _array(folder: Path) -> str:
    (folder / "sea.json").write_bytes(orjson.dumps(ROWS, option=orjson.OPT_INDENT_2))
    return str(folder / "sea.json")


def _parquet(folder: Path) -> str:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    rows = [{"prompt": "When?", "completion": "At noon."}, {"prompt": "何时？", "completion": "正午。"}]
    pq.write_table(pa.Table.from_pylist(rows), folder / "sea.parquet")
    return str(folder / "sea.parquet")


@pytest.mark.parametrize("write", [lambda folder: written(folder / "sea.jsonl", ROWS), _packed, _array, _parquet])
def test_a_file_is_read_in_whatever_it_is_written(tmp_path: Path, write: Callable[[Path], str]) -> None:
    """JSON Lines, packed or not, one array, Parquet; its digest is of its own bytes, and it can be read again."""
    name = write(tmp_path)
    (source,) = read_conversations([name], tmp_path)
    assert source.sha256 == ""
    found = list(source.rows())
    assert [one.messages[-1].content for one in found] == ["At noon.", "正午。"]
    assert {one.source for one in found} == {source.label} == {Path(name).name}
    assert found[0].place.startswith(f"{Path(name).name}:")
    assert source.sha256 == hashlib.sha256(Path(name).read_bytes()).hexdigest()
    assert source.manifest is None
    assert list(source.rows()) == found


def test_standard_input_is_a_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the name of a dash."""
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(orjson.dumps(ROWS[0]))))
    assert [one.place for one in conversations("-", output_dir=tmp_path)] == ["stdin:1"]


def test_what_was_left_out_is_counted_each_time_anew(tmp_path: Path) -> None:
    """By its reason."""
    rows = [*ROWS, {"prompt": "a", "completion": " "}, {"messages": [{"role": "user", "content": "a"}]}]
    (source,) = read_conversations([written(tmp_path / "sea.jsonl", rows)], tmp_path)
    for _ in range(2):
        assert len(list(source.rows())) == 2
        assert source.skipped == Counter(empty_answer=1, no_answer=1)


def test_two_files_and_runs_of_one_name_are_told_apart_by_their_paths(tmp_path: Path) -> None:
    """Others go by their names."""
    names = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        names.append(written(tmp_path / folder / "sea.jsonl", ROWS))
        names.append(str(a_run(tmp_path / folder / "talk", {"dialogue": [DIALOGUES]})))
    names.append(written(tmp_path / "b" / "land.jsonl", ROWS))
    found = read_conversations(names, tmp_path)
    assert [source.label for source in found] == [*names[:4], "land.jsonl"]
    assert [{one.source for one in source.rows()} for source in found] == [{source.label} for source in found]


def test_the_same_file_or_run_twice_is_refused(tmp_path: Path) -> None:
    """However it is spelled."""
    name = written(tmp_path / "sea.jsonl", ROWS)
    run = a_run(tmp_path / "talk", {"dialogue": [DIALOGUES]})
    for twice in ([name, name], [name, f"{tmp_path}/./sea.jsonl"], ["talk", str(run)], ["-", "-"]):
        with pytest.raises(UsageProblem, match=r"' is given twice: name each file and run once$"):
            read_conversations(twice, tmp_path)


BAD_FILES: list[tuple[bytes, str]] = [
    (b"", r"^bad\.jsonl: holds no rows$"),
    (b"\n \n", r"^bad\.jsonl: holds no rows$"),
    (b'{"prompt": "a", "completion": "b"}\n{"prompt": "a", "comp', r"^bad\.jsonl:2: not JSON"),
    (b"[1]\n", r"^bad\.jsonl:1: a row must be an object, and this is a list$"),
    (b'{"prompt": "\xff"}\n', r"^bad\.jsonl:1: not UTF-8"),
    (b"\xff\xfea\x00", r"^bad\.jsonl: is UTF-16; write it as UTF-8$"),
    (b"\x1f\x8bnot gzip", r"^bad\.jsonl: damaged gzip"),
    (b'\n{"text": "a"}\n', r"^bad\.jsonl:2: nothing to learn from; the row has: text\."),
    (
        b'{"prompt": "a", "completion": ""}\n' * 3 + b'{"messages": [{"role": "user", "content": "a"}]}\n',
        r"^bad\.jsonl: nothing is left to learn from in its 4 rows: 3 empty_answer, 1 no_answer$",
    ),
    (
        b'{"prompt": "a", "chosen": "b", "rejected": "c"}\n',
        r"^bad\.jsonl:1: these rows are preference pairs \(prompt, chosen, rejected\): give them to 'finetune dpo' or"
        r" 'finetune reward'$",
    ),
]


@pytest.mark.parametrize(("data", "message"), BAD_FILES)
def test_a_file_that_nothing_can_be_learnt_from_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    """With the line where there is one, what is wrong, and what to do."""
    (tmp_path / "bad.jsonl").write_bytes(data)
    with pytest.raises(BadData, match=message):
        conversations(str(tmp_path / "bad.jsonl"), output_dir=tmp_path)


def test_conversations_given_to_dpo_and_critique_are_refused(tmp_path: Path) -> None:
    """With what takes them."""
    name = written(tmp_path / "sea.jsonl", ROWS)
    readers: list[Callable[..., list[Source[Any]]]] = [read_preferences, read_critiques]
    for read in readers:
        with pytest.raises(
            BadData, match=r"^sea\.jsonl:1: these rows are conversations.*: give them to 'finetune sft'$"
        ):
            list(read([name], tmp_path)[0].rows())


def test_a_name_that_is_nothing_is_refused(tmp_path: Path) -> None:
    """No file, no run, and a folder that holds neither."""
    with pytest.raises(BadData, match="nothing: no such file, and no run of that name"):
        read_conversations(["nothing"], tmp_path)
    with pytest.raises(BadData, match="a folder that holds no run; name its files"):
        read_conversations([str(tmp_path)], tmp_path)


# --- what the package itself exports ----------------------------------------------------------------------------------


def lines(pieces: Iterator[bytes], path: Path) -> str:
    """The name of a file of these pieces."""
    path.write_bytes(b"".join(pieces))
    return str(path)


@pytest.mark.parametrize(
    ("format", "records"),
    [
        *((name, TASKS) for name in ("jsonl", "alpaca", "belle", "belle-instruction", "belle-conversations")),
        *((name, TASKS) for name in ("sharegpt", "messages")),
        *((name, DIALOGUES) for name in ("jsonl", "ultrachat", "sharegpt", "messages")),
    ],
)
def test_every_export_of_a_run_can_be_learnt_from(tmp_path: Path, format: str, records: Any) -> None:
    """And says the same as the run, but for BELLE's one line end and Alpaca's input of white space."""
    stage = "instances" if records is TASKS else "dialogue"
    a_run(tmp_path / "run", {stage: [records]})
    suffix = "json" if format == "alpaca" else "jsonl"
    name = lines(formats.writer_of(format, type(records[0]))(iter(records)), tmp_path / f"export.{suffix}")
    of_run = [
        [(turn.role, turn.content.split()) for turn in one.messages]
        for one in conversations("run", output_dir=tmp_path)
    ]
    of_file = [
        [(turn.role, turn.content.split()) for turn in one.messages] for one in conversations(name, output_dir=tmp_path)
    ]
    assert of_file == of_run


@pytest.mark.parametrize("format", ["trl", "h4", "jsonl", "argilla"])
def test_every_export_of_pairs_can_be_learnt_from(tmp_path: Path, format: str) -> None:
    """And says the same as the run; Argilla's has no turns before the instruction."""
    pairs: Any = PAIRS[:1] if format == "argilla" else PAIRS
    a_run(tmp_path / "run", {"binarize": [pairs]})
    name = lines(formats.writer_of(format, PreferencePair)(iter(pairs)), tmp_path / "export.jsonl")
    (of_run, of_file) = read_preferences(["run", name], tmp_path)
    told = [(one.prompt, one.chosen, one.rejected, one.margin, one.group) for one in of_run.rows()]
    assert [(one.prompt, one.chosen, one.rejected, one.margin, one.group) for one in of_file.rows()] == told


def test_critiques_exported_as_ultrafeedback_can_be_learnt_from(tmp_path: Path) -> None:
    """As can whole records; what the judge left out is counted."""
    records: list[CritiquedInstruction] = [one for one in at_random(30) if isinstance(one, CritiquedInstruction)]
    found: list[list[Critiqued]] = []
    for name in ("ultrafeedback", "jsonl"):
        (source,) = read_critiques(
            [lines(formats.writer_of(name, CritiquedInstruction)(iter(records)), tmp_path / f"{name}.jsonl")], tmp_path
        )
        found.append(list(source.rows()))
    answers = [one for each in records for one in each.completions]
    for examples in found:
        assert [(one.response, one.critique, one.score) for one in examples] == [
            (one.response, one.critique, one.overall_score) for one in answers
        ]


# --- groups -----------------------------------------------------------------------------------------------------------


def test_conversations_with_the_same_first_prompt_are_of_one_group(tmp_path: Path) -> None:
    """Whatever follows, and wherever they come from; system messages tell them apart."""
    said = [{"role": "user", "content": "When?"}, {"role": "assistant", "content": "Now."}]
    rows: list[dict[str, Any]] = [
        {"messages": said},
        {"prompt": "When?", "completion": "Later."},
        {"messages": [*said, *said]},
        {"messages": said, "system": "You know the sea."},
    ]
    found = conversations(written(tmp_path / "sea.jsonl", rows), output_dir=tmp_path)
    assert [one.group == found[0].group for one in found] == [True, True, True, False]
    assert found[0].group == hashlib.sha256(b'[["user","When?"]]').hexdigest()


def test_answers_to_the_same_prompt_are_of_one_group(tmp_path: Path) -> None:
    """Pairs and critiques: by all that was said before, and who said it."""
    said = [{"role": "user", "content": "When?"}]
    later = [*said, {"role": "assistant", "content": "Now."}, *said]
    pairs = [{"prompt": prompt, "chosen": "a", "rejected": "b"} for prompt in ("When?", said, later)]
    critiques = [{"prompt": prompt, "response": "a", "critique": "b"} for prompt in ("When?", said, later)]
    (source,) = read_preferences([written(tmp_path / "pairs.jsonl", pairs)], tmp_path)
    (judged,) = read_critiques([written(tmp_path / "said.jsonl", critiques)], tmp_path)
    one = hashlib.sha256(b'[["user","When?"]]').hexdigest()
    other = hashlib.sha256(b'[["user","When?"],["assistant","Now."],["user","When?"]]').hexdigest()
    assert [found.group for found in source.rows()] == [one, one, other]
    assert [found.group for found in judged.rows()] == [one, one, other]


def test_held_out_pairs_share_no_prompt_with_those_that_are_learnt(tmp_path: Path) -> None:
    """Of two sources with common prompts; the mix then takes the first of what is learnt."""
    rows = [{"prompt": f"Day {n % 20}?", "chosen": f"{n}", "rejected": "no"} for n in range(60)]
    names = [written(tmp_path / "a.jsonl", rows), written(tmp_path / "b.jsonl", rows[::-1])]
    examples = [one for source in read_preferences(names, tmp_path) for one in source.rows()]
    learnt, held = split(examples, Fraction(1, 10), 42)
    assert (len(learnt), len(held)) == (108, 12)
    assert not {one.prompt for one in learnt} & {one.prompt for one in held}
    taken = Mix.parse("a.jsonl:0.5").take(learnt)
    assert Counter(one.source for one in taken) == {"a.jsonl": 27, "b.jsonl": 54}


def test_whole_records_as_lines_are_their_runs_records(tmp_path: Path) -> None:
    """A shard may be given as the file it is."""
    path = tmp_path / "shard-0.jsonl"
    path.write_bytes(b"".join(map(line_of, TASKS)))
    assert [one.place for one in conversations(str(path), output_dir=tmp_path)] == [
        "shard-0.jsonl:1",
        "shard-0.jsonl:2",
    ]
