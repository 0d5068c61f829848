"""The main job on the real embedded model: what `make demo` does, a little smaller."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from selfinstruct.models import weights
from selfinstruct.schema import Dialogue, TaskInstance
from selfinstruct.store import lines_of
from tests.command import data_files, invoke

pytestmark = [
    pytest.mark.model,
    pytest.mark.skipif(weights.find() is None, reason="the embedded model is not installed: selfinstruct models fetch"),
]


def test_a_real_model_goes_all_the_way_and_coming_back_costs_nothing(tmp_path: Path) -> None:
    """Instructions, verdicts, instances and dialogues from real completions; the same command again asks nobody."""
    pytest.importorskip("xllamacpp")
    command = (
        "generate",
        "--recipe",
        "demo",
        "-n",
        8,
        "--set",
        "round_size=4",
        "--run",
        "demo",
        "--output-dir",
        tmp_path,
    )
    first = invoke(*command, "--max-unusable", 1, "--json")
    assert first.code == 0
    stages = {stage["stage"]: stage for stage in orjson.loads(first.out)["stages"]}
    assert stages["bootstrap"]["accepted"] >= 8
    assert stages["classify"]["calls"] >= stages["bootstrap"]["accepted"]
    records = [TaskInstance.model_validate_json(line) for line in lines_of(tmp_path / "demo" / "instances", "shard")]
    assert len(records) >= 2
    assert len({record.instruction for record in records}) >= 2
    assert {name for record in records for name in record.provenance.models} == {"smollm2-135m-instruct"}
    assert min(len(record.output.split()) for record in records) >= 3

    before = data_files(tmp_path / "demo")
    again = invoke(*command, "--max-unusable", 1, "--json")
    assert (again.code, orjson.loads(again.out)["new_calls"]) == (0, 0)
    assert data_files(tmp_path / "demo") == before

    began = ("dialogue", "--recipe", "demo-dialogue", "--from", "demo", "-n", 2)
    talk = (*began, "--run", "talk", "--output-dir", tmp_path)
    talked = invoke(*talk, "--max-unusable", 1, "--json")
    assert talked.code == 0, talked.err
    stages = {stage["stage"]: stage for stage in orjson.loads(talked.out)["stages"]}
    assert (stages["openers"]["accepted"], stages["dialogue"]["jobs"]) == (2, 2)
    assert stages["dialogue"]["calls"] >= 2
    for line in lines_of(tmp_path / "talk" / "dialogue", "shard"):
        roles = [message.role for message in Dialogue.model_validate_json(line).messages]
        assert roles == ["user", "assistant"] * (len(roles) // 2)
    before = data_files(tmp_path / "talk")
    assert orjson.loads(invoke(*talk, "--max-unusable", 1, "--json").out)["new_calls"] == 0
    assert data_files(tmp_path / "talk") == before
