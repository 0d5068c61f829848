"""The records of another run are openers: read from its shards, checked by their hashes, each found by its id."""

from __future__ import annotations

import tracemalloc
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from selfinstruct.errors import BadData, DamagedRun
from selfinstruct.opener_file import Given
from selfinstruct.opener_run import OpenerRun
from selfinstruct.schema import (
    Dialogue,
    Instruction,
    Lineage,
    Message,
    Provenance,
    Record,
    TaskInstance,
)
from tests.runs_on_disk import a_run

NOWHERE = Provenance()


def instruction(id: str, text: str = "Name a tree.") -> Instruction:
    """A record of a first stage."""
    return Instruction(id=id, provenance=NOWHERE, instruction=text, lang="en")


def instance(id: str, text: str, input: str) -> TaskInstance:
    """A record of a last stage."""
    return TaskInstance(
        id=id, provenance=NOWHERE, instruction=text, input=input, output="Oak.", lang="zh", is_classification=None
    )


TREES: Mapping[str, Sequence[Sequence[Record]]] = {
    "bootstrap": [[instruction("bootstrap-0-0-0")], [instruction("bootstrap-1-0-0")]],
    "instances": [
        [instance("instances-0-0-0", "说出一种树。", "")],
        [],
        [
            instance("instances-2-0-0", "把下面的词译成中文。", "oak\ntree"),
            instance("instances-2-1-0", "写诗。", " \n"),
        ],
    ],
}


def test_the_records_of_the_last_stage_are_openers(tmp_path: Path) -> None:
    """Over all of its shards; an input stands behind a blank line, one of white space does not."""
    openers = OpenerRun.open(a_run(tmp_path / "trees", TREES))
    assert list(openers) == [
        Given("说出一种树。", "trees:instances-0-0-0"),
        Given("把下面的词译成中文。\n\noak\ntree", "trees:instances-2-0-0"),
        Given("写诗。", "trees:instances-2-1-0"),
    ]
    assert (openers[-1], openers[1:2]) == (openers[2], [openers[1]])
    with pytest.raises(IndexError):
        openers[3]


def test_instructions_alone_are_openers(tmp_path: Path) -> None:
    """Of a run that has no more than its first stage."""
    stages = {"bootstrap": [[instruction("bootstrap-0-0-0", "Name a bird.")]]}
    openers = OpenerRun.open(a_run(tmp_path / "birds", stages))
    assert list(openers) == [Given("Name a bird.", "birds:bootstrap-0-0-0")]


def test_a_run_that_is_not_finished_is_refused(tmp_path: Path) -> None:
    """Its records are going to be others, and dialogues that began with some of them could not go on."""
    stages = {"bootstrap": [[instruction("bootstrap-0-0-0", "Name a bird.")]]}
    with pytest.raises(BadData, match=r"birds: is not finished.*finish it first, or export"):
        OpenerRun.open(a_run(tmp_path / "birds", stages, state="running"))


def test_the_digest_names_the_run_and_what_is_in_its_shards(tmp_path: Path) -> None:
    """The same run gives the same, also through another path; another name or record does not."""
    first = OpenerRun.open(a_run(tmp_path / "trees", TREES)).digest
    assert first.startswith("3 records of trees/instances, sha256 ")
    assert OpenerRun.open(tmp_path / "trees" / "instances" / "..").digest == first
    others = [
        OpenerRun.open(a_run(tmp_path / "others", TREES)).digest,
        OpenerRun.open(
            a_run(tmp_path / "a/trees", {"instances": [[instance("instances-0-0-0", "唱歌。", "")]]})
        ).digest,
    ]
    assert first not in others


def test_a_run_without_records_is_refused(tmp_path: Path) -> None:
    """None there, none started in its last stage, none in its shards."""
    none_kept = a_run(tmp_path / "none", {"bootstrap": [[instruction("bootstrap-0-0-0")]]})
    manifest = none_kept / "bootstrap" / "manifest.json"
    manifest.write_text('{"stage": "bootstrap", "kind": "Instruction", "rounds_per_shard": 2, "shards": []}', "utf-8")
    not_begun = a_run(tmp_path / "early", {"bootstrap": TREES["bootstrap"], "instances": []})
    for path in (tmp_path / "missing", tmp_path, not_begun, none_kept):
        with pytest.raises(BadData, match=rf"^{path}: no finished records here; 'selfinstruct status' lists the runs$"):
            OpenerRun.open(path)


def test_dialogues_are_no_openers(tmp_path: Path) -> None:
    """A dialogue's first turn began one already."""
    dialogue = Dialogue(
        id="dialogue-0-0-0",
        provenance=NOWHERE,
        messages=(Message(role="user", content="Hi."), Message(role="assistant", content="Hello.")),
        lang="en",
        sector="world",
        persona="p",
        opener=Lineage(id="openers-0-0-0", origin="question"),
        rounds=1,
        planned=1,
    )
    path = a_run(tmp_path / "talk", {"dialogue": [[dialogue]]})
    with pytest.raises(
        BadData, match=r"talk: its records are of the kind Dialogue, and no instructions; name a run of"
    ):
        OpenerRun.open(path)


def test_a_shard_that_is_not_as_it_was_written_is_refused(tmp_path: Path) -> None:
    """At the start by its hash, later by that of the record; and one that is gone."""
    path = a_run(tmp_path / "trees", TREES)
    openers = OpenerRun.open(path)
    shard = path / "instances" / "shard-1.jsonl"
    shard.write_bytes(shard.read_bytes().replace(b"oak", b"ash"))
    with pytest.raises(DamagedRun, match=r"shard-1\.jsonl: is not as its manifest says; run again to derive it anew"):
        OpenerRun.open(path)
    with pytest.raises(DamagedRun, match=r"shard-1\.jsonl: was changed while it was in use; run again"):
        openers[1]
    shard.unlink()
    with pytest.raises(DamagedRun, match=r"shard-1\.jsonl: cannot be read: No such file or directory; run again"):
        openers[2]
    assert openers[0].text == "说出一种树。"


def test_records_of_another_kind_than_the_manifest_says_are_damage(tmp_path: Path) -> None:
    """The manifest has no hash of its own."""
    path = a_run(tmp_path / "birds", {"bootstrap": [[instruction("bootstrap-0-0-0")]]})
    manifest = path / "bootstrap" / "manifest.json"
    manifest.write_text(manifest.read_text("utf-8").replace('"Instruction"', '"TaskInstance"'), "utf-8")
    with pytest.raises(DamagedRun, match=r"shard-0\.jsonl: holds no TaskInstance: Field required"):
        OpenerRun.open(path)[0]


def test_an_extended_run_gives_the_openers_it_gave(tmp_path: Path) -> None:
    """Its last shard is replaced by a longer one that begins the same."""
    few, more = ([[instruction(f"bootstrap-{n}-0-0")] for n in range(count)] for count in (1, 2))
    path = a_run(tmp_path / "birds", {"bootstrap": few})
    openers = OpenerRun.open(path)
    longer = a_run(tmp_path / "longer", {"bootstrap": more}) / "bootstrap"
    for name in ("shard-0.jsonl", "manifest.json"):
        (longer / name).replace(path / "bootstrap" / name)
    assert (len(openers), openers[0].where) == (1, "birds:bootstrap-0-0-0")
    assert len(OpenerRun.open(path)) == 2


def test_memory_is_a_few_bytes_a_record(tmp_path: Path) -> None:
    """9 MB of records are indexed and read in less than 1 MB."""
    rounds = [[instruction(f"bootstrap-{n}-0-0", "Name it. " * 1000)] for n in range(1000)]
    path = a_run(tmp_path / "long", {"bootstrap": rounds}, rounds_per_shard=100)
    tracemalloc.start()
    try:
        openers = OpenerRun.open(path)
        read = sum(len(given.text) for given in openers)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert read == 9_000_000
    assert peak < 1_000_000
