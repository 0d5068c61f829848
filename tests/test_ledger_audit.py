"""The audit of a ledger whose stage asks more than one model: each call must be one that was made for one of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from selfinstruct import wire
from selfinstruct.findings import Report
from selfinstruct.ledger import Ledger
from selfinstruct.ledger_audit import LEDGER, LedgerAudit
from selfinstruct.schema import Endpoint
from tests.models.scripted import answer, request

USER, ASSISTANT, STRANGER = (
    Endpoint(identity=f"https://{name}.example.com/v1", model=name) for name in ("user", "assistant", "stranger")
)


@pytest.fixture
async def run(tmp_path: Path) -> Path:
    """A stage in which two models spoke by turns, four times."""
    with Ledger(tmp_path / LEDGER) as ledger:
        for slot, endpoint in enumerate((ASSISTANT, USER, ASSISTANT, USER)):
            asked = request(slot, stage="dialogue")
            key = wire.call_key(endpoint, asked)
            await ledger.reserve(key, asked.draw, wire.path(asked), wire.written(endpoint, asked))
            await ledger.settle(key, answer("fine").raw, 5, 2)
    return tmp_path


@pytest.mark.parametrize(
    ("asked", "damaged"),
    [
        ((USER, ASSISTANT), 0),
        ((STRANGER, ASSISTANT, USER), 0),
        ((USER,), 2),
        ((STRANGER,), 4),
        ((), 0),  # a stage whose stage.json is gone: told elsewhere, and its keys cannot be checked
    ],
    ids=["both", "one more", "one of them", "another", "unknown"],
)
def test_a_call_must_be_made_for_one_of_its_stages_models(run: Path, asked: Sequence[Endpoint], damaged: int) -> None:
    """Whichever of them it was; for none of them, its body, path or draw is not what was written."""
    report = Report(run)
    with LedgerAudit(report) as audit:
        audit.check({"dialogue": asked} if asked else {})
    assert [finding.where.partition(":")[0] for finding in report.findings] == [LEDGER] * damaged
    assert report.counts["calls"] == 4
