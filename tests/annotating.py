"""What tests of `selfinstruct feedback` share: a pool and a judge on one server, and what must hold of a run.

The checks know what `tests.judges` answers, and what the ledger says was asked and answered; none of them asks a stage
of ours what it would have made of it.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, NamedTuple

from selfinstruct.feedback_schema import ASPECTS
from tests.command import Ended, invoke
from tests.judges import JUDGE, asked, judge_pool, rating_of, score_of
from tests.pools_at_work import Voices

NAMES: Final = tuple(f"m{number:02}" for number in range(17))
FIVE: Final = ("ash", "birch", "cedar", "elm", "fir")
SOURCES: Final = ("evol_instruct", "sharegpt", "flan_v2_cot", "truthful_qa", "false_qa", "ultrachat")
STAGES: Final = ("instructions", "sample", "rate", "critique", "binarize")

_QUESTION: Final = {
    "en": "What is behind door number {}, and how do you know?",
    "zh": "请说明第{}号门后面有什么，并讲讲你是怎么知道的。",
}


def instructions(path: Path, many: int, lang: str = "en", sources: Sequence[str] = SOURCES) -> Path:
    """A file of so many instructions, from each source in turn."""
    lines = (
        {
            "instruction": _QUESTION[lang].format(number),
            "source": sources[number % len(sources)],
            "correct_answers": ["a door"],
            "incorrect_answers": ["none"],
        }
        for number in range(many)
    )
    path.write_text("".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines))
    return path


def words(server: Voices, place: Path, *args: object, names: Sequence[str] = FIVE, run: str = "run") -> list[object]:
    """The command over ``in.jsonl`` and ``pool.toml`` of a place, which are made where they are not there yet."""
    if not (place / "in.jsonl").exists():
        instructions(place / "in.jsonl", 12)
    if not (place / "pool.toml").exists():
        judge_pool(server, place / "pool.toml", tuple(names))
    said: list[object] = [] if "--from" in args else ["--instructions", place / "in.jsonl"]
    said += ["--pool", place / "pool.toml", "--judge-base-url", server.url, "--judge-model", JUDGE]
    return ["feedback", *said, "--output-dir", place / "output", "--run", run, *args]


def feedback(
    server: Voices, place: Path, *args: object, names: Sequence[str] = FIVE, run: str = "run", **environment: str
) -> Ended:
    """The same, in this process."""
    return invoke(*words(server, place, *args, names=names, run=run), **environment)


def again(place: Path, command: str, *args: object, run: str = "run") -> Ended:
    """Another command about the run."""
    return invoke(command, run, *args, "--output-dir", place / "output")


def rows(run: Path, stage: str, kind: str = "shard") -> list[dict[str, Any]]:
    """The records or rejects of a stage. Lines end with a line feed alone: a text may hold what else ends lines."""
    paths = sorted((run / stage).glob(f"{kind}-*.jsonl"), key=lambda path: int(path.stem.rpartition("-")[2]))
    return [json.loads(line) for path in paths for line in path.read_bytes().removesuffix(b"\n").split(b"\n") if line]


# --- what was asked ---------------------------------------------------------------------------------------------------


class Call(NamedTuple):
    """A call of the ledger: its draw, what it said to whom, and what came back; ``text`` is "" where nothing did."""

    stage: str
    round: int
    slot: int
    step: int
    k: int
    model: str
    body: Mapping[str, Any]
    state: str
    text: str

    @property
    def draw(self) -> tuple[str, int, int, int, int]:
        """Which sample of the run it is."""
        return self[:5]

    @property
    def prompt(self) -> str:
        """All that it says."""
        return asked(dict(self.body))


def calls(run: Path, only: str = "") -> list[Call]:
    """The calls of a run, or of one stage, by draw."""
    sql = (
        "SELECT stage, round, slot, step, k, body, coalesce(state, 'open'), answer FROM calls LEFT JOIN answers"
        " ON call = id WHERE stage = ? OR ? = '' ORDER BY stage, round, slot, step, k, id"
    )
    with closing(sqlite3.connect(run / "ledger.sqlite3")) as ledger:
        found = ledger.execute(sql, (only, only)).fetchall()
    return [
        Call(stage, round, slot, step, k, *_read(body), state, _text(state, answer))
        for stage, round, slot, step, k, body, state, answer in found
    ]


def tried(run: Path) -> Counter[str]:
    """How many attempts ended in which state."""
    with closing(sqlite3.connect(run / "ledger.sqlite3")) as ledger:
        return Counter(state for (state,) in ledger.execute("SELECT state FROM attempts"))


def job(record: Mapping[str, Any]) -> tuple[int, int]:
    """The round and slot that made a record."""
    _, round, slot, _ = record["id"].rsplit("-", 3)
    return int(round), int(slot)


def by_job(found: Iterable[Call]) -> Mapping[tuple[int, int], list[Call]]:
    """The calls of each job."""
    jobs: defaultdict[tuple[int, int], list[Call]] = defaultdict(list)
    for call in found:
        jobs[call.round, call.slot].append(call)
    return jobs


def _read(body: bytes) -> tuple[str, dict[str, Any]]:
    read: dict[str, Any] = json.loads(body)
    return read["model"], read


def _text(state: str, answer: bytes | None) -> str:
    if state != "settled" or answer is None:
        return ""
    choice = json.loads(answer)["choices"][0]
    return str(choice["message"]["content"] if "message" in choice else choice["text"])


# --- what must hold of it ---------------------------------------------------------------------------------------------


def check_whole(run: Path, excluded: Sequence[str] = ()) -> None:
    """All that a run has written is what its ledger says was asked and answered; nothing is missing."""
    check_answers(run)
    check_ratings(run)
    check_scores(run)
    check_pairs(run, excluded)


def check_answers(run: Path) -> None:
    """Each completion is the answer of its model at its seat, which was told its principle and nothing else."""
    jobs = by_job(calls(run, "sample"))
    for record in rows(run, "sample"):
        for seat, completion in enumerate(record["completions"]):
            mine = [call for call in jobs[job(record)] if (call.step, call.model) == (seat, completion["model"])]
            assert mine[-1].text.strip() == completion["response"]
            told = [one["content"] for one in mine[-1].body["messages"]]
            principle = completion["custom_system_prompt"]
            assert told == [*([principle] if principle else ()), record["instruction"]]
        models = [completion["model"] for completion in record["completions"]]
        assert len(set(models)) == len(models) == 4
        missing = {call.model for call in jobs[job(record)]} - set(models)
        assert {one["model"] for one in record["replaced"]} == missing


def check_ratings(run: Path, missing: frozenset[tuple[str, int, str]] = frozenset()) -> None:
    """Each rating stands at the text that it was given to, and each order is that of the prompt.

    ``missing`` are the annotations that must not be there, by id, completion and aspect.
    """
    jobs = by_job(calls(run, "rate"))
    for record in rows(run, "rate"):
        responses = [completion["response"] for completion in record["completions"]]
        first = {call.step: call.prompt for call in jobs[job(record)] if call.k == 0}
        for number, aspect in enumerate(ASPECTS):
            assert record["orders"][aspect] == _order(first[number], responses)
            found = [completion["annotations"][aspect] for completion in record["completions"]]
            wanted = [
                (False, None) if (record["id"], index, aspect) in missing else (True, rating_of(text, aspect))
                for index, text in enumerate(responses)
            ]
            assert [(one is not None, one and one["rating"]) for one in found] == wanted
            if 4 + number in first:
                assert record["second_orders"][aspect] == record["orders"][aspect][::-1]
                assert record["second_orders"][aspect] == _order(first[4 + number], responses)
                second = [completion["second_ratings"][aspect] for completion in record["completions"]]
                assert second == [rating_of(text, aspect) for text in responses]
        assert (4 in first) == bool(record["second_orders"])


def check_scores(run: Path) -> None:
    """Each score is its text's; one that is 4 or more from twice the mean was asked for again, and is marked."""
    jobs = by_job(calls(run, "critique"))
    for record in rows(run, "critique"):
        asked_again = {call.step - 4 for call in jobs[job(record)] if call.step >= 4}
        far = set()
        for index, completion in enumerate(record["completions"]):
            score = score_of(completion["response"])
            mean = mean_of(completion)
            disagrees = mean is not None and abs(score - 2 * mean) >= 4
            far |= {index} if disagrees else set()
            assert completion["overall_score"] == score
            assert completion["first_score"] == (score if disagrees else None)
            assert completion["disagrees"] is disagrees
            assert completion["critique"] in ("Say what you mean, and say it once.", "答非所问的地方要改。")
        assert asked_again == far


def check_pairs(run: Path, excluded: Sequence[str] = ()) -> None:
    """Of each instruction the best answer, the first of equals, and a worse one; none where all are equally good.

    An answer of which an annotation is missing is in none: 5, 5 and 5 are no better than 5, 5, 5 and 1.
    """
    pairs = {job(pair): pair for pair in rows(run, "binarize")}
    unpaired = {job(reject): reject["reason"] for reject in rows(run, "binarize", "rejects")}
    for record in rows(run, "critique"):
        means = {one["response"]: mean_of(one) for one in record["completions"] if None not in _annotations(one)}
        scored = {text: mean for text, mean in means.items() if mean is not None}
        if record["source"] in excluded:
            assert unpaired.pop(job(record)) == "excluded_source"
        elif len(set(scored.values())) < 2:
            assert unpaired.pop(job(record)) == ("tie" if len(scored) > 1 else "no_score")
        else:
            pair = pairs.pop(job(record))
            chosen, rejected = pair["chosen"], pair["rejected"]
            assert chosen["response"] == max(scored, key=lambda text: scored[text])
            assert scored[rejected["response"]] < scored[chosen["response"]]
            for side in (chosen, rejected):
                assert side["score"] == float(scored[side["response"]])
                assert (side["model"], side["flags"]) in [
                    (one["model"], one["flags"]) for one in record["completions"] if one["response"] == side["response"]
                ]
            assert pair["margin"] == float(scored[chosen["response"]] - scored[rejected["response"]])
            assert pair["instruction"] == record["instruction"]
    assert (pairs, unpaired) == ({}, {})


def mean_of(completion: Mapping[str, Any]) -> Fraction | None:
    """The mean of the ratings there are."""
    found = [one["rating"] for one in _annotations(completion) if one and one["rating"] is not None]
    return Fraction(sum(found), len(found)) if found else None


def _annotations(completion: Mapping[str, Any]) -> list[Mapping[str, Any] | None]:
    return [completion["annotations"][aspect] for aspect in ASPECTS]


def _order(prompt: str, responses: Sequence[str]) -> list[int]:
    """Which completion stands at each slot: by where they are in the prompt."""
    places = [max(prompt.find(f"\n{text}\n["), prompt.find(f"\n{text}\n【")) for text in responses]
    assert min(places) > 0, "a text does not stand in the prompt"
    return sorted(range(len(responses)), key=places.__getitem__)
