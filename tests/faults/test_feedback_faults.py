"""Models and judges that go away, err or never follow the form: who takes a place, what is missing, what is paid."""

from __future__ import annotations

import hashlib
import re
import signal
import socket
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest

from selfinstruct.feedback_schema import ASPECTS
from selfinstruct.models import retrying
from tests.annotating import (
    FIVE,
    again,
    calls,
    check_pairs,
    check_ratings,
    check_scores,
    check_whole,
    feedback,
    instructions,
    job,
    rows,
    tried,
    words,
)
from tests.command import data_files, spawn, until, wait
from tests.faults.campaign import digest
from tests.faults.campaign import rows as committed
from tests.judges import JUDGE, asked, judge_pool, score_of, speak
from tests.pools_at_work import USED, Voices, at_home, hurry, local, pool_file, remote, settled
from tests.stub_engine import starts

pytestmark = pytest.mark.faults

PATIENCE = ("--give-up-after", "1s")
IN_FLIGHT = 8
"""Calls that are under way at once, unless it is said otherwise; a quarter of it is reserved ahead."""


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries come at once."""
    monkeypatch.setattr(retrying, "FIRST_WAIT", 0.0)


@pytest.fixture
def server() -> Iterator[Voices]:
    """The pool's models and the judge, who answer at once."""
    with Voices(speak) as started:
        yield started


@contextmanager
def nobody() -> Iterator[str]:
    """The address of a port where every connection is refused."""
    with closing(socket.socket()) as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}/v1"


def check_stands(place: Path, server: Voices, *args: object) -> None:
    """The run is sound, is derived anew to the same bytes, and the same command asks nothing more and changes none."""
    run = place / "output" / "run"
    before, asked = data_files(run), server.asked.total()
    assert again(place, "verify").code == 0
    ended = feedback(server, place, *args)
    assert ended.code == 0, ended.err
    for path in run.glob("*/shard-*.jsonl"):
        path.unlink()
    rebuilt = again(place, "rebuild")
    assert rebuilt.code == 0, rebuilt.err
    assert data_files(run) == before
    assert again(place, "verify").code == 0
    assert server.asked.total() == asked


# --- a model of the pool that is away ---------------------------------------------------------------------------------


def check_replaced(place: Path, server: Voices, who: str, reason: str) -> int:
    """Beside a run in which all answer: one model's seats are taken by the fifth of the design, and only these.

    Returns how many.
    """
    judge_pool(server, place / "all.toml", FIVE)
    server.fault = lambda model, number: None
    whole = feedback(server, place, "--pool", place / "all.toml", "--until", "sample", run="whole")
    assert whole.code == 0, whole.err
    found = 0
    for record, meant in zip(
        rows(place / "output" / "run", "sample"), rows(place / "output" / "whole", "sample"), strict=True
    ):
        asked = [one["model"] for one in meant["completions"]]
        (fifth,) = set(FIVE) - set(asked)
        replaced = [one["model"] for one in record["replaced"]]
        assert replaced in ([], [who])
        assert {one["reason"] for one in record["replaced"]} <= {reason}
        wanted = [fifth if one in replaced else one for one in asked]
        assert [one["model"] for one in record["completions"]] == wanted
        for one, other in zip(record["completions"], meant["completions"], strict=True):
            assert (one["principle"], one["custom_system_prompt"]) == (
                other["principle"],
                other["custom_system_prompt"],
            )
        found += len(replaced)
    return found


def test_a_model_that_refuses_connections_is_replaced_by_the_designs_next(server: Voices, tmp_path: Path) -> None:
    """From the start: none of its seats is its own, each is marked, the run ends with 0 and stays what it is."""
    with nobody() as address:
        models = [{**remote(server, name), **({"base_url": address} if name == "cedar" else {})} for name in FIVE]
        pool_file(tmp_path / "pool.toml", *models)
        ended = feedback(server, tmp_path, *PATIENCE)
        assert ended.code == 0, ended.err
        check_stands(tmp_path, server, *PATIENCE)
    run = tmp_path / "output" / "run"
    check_whole(run)
    assert not [call for call in calls(run, "sample") if call.model == "cedar" and call.state != "replaced"]
    assert check_replaced(tmp_path, server, "cedar", "down") == 9


@pytest.mark.parametrize(
    ("what", "reason", "seats"),
    [
        pytest.param("500", "down", [9], marks=pytest.mark.slow),
        ("dies", "down", range(1, 9)),
        ("refuses", "request_refused", [1]),
        ("empty", "empty", [9]),
    ],
)
def test_a_model_that_fails_is_replaced_and_the_reason_told(
    tmp_path: Path, what: str, reason: str, seats: Collection[int]
) -> None:
    """Errors for ever, from the middle on, a refusal of one request, answers without text: one model's seats alone."""
    answers = Answers("cedar" if what == "empty" else "")
    with Voices(answers) as server:
        server.fault = lambda model, number: {
            "500": 500,
            "dies": 503 if number >= 20 else None,
            "refuses": 400 if "door number 7," in str(server.bodies[-1]) else None,
            "empty": None,
        }[what if model == "cedar" else "empty"]
        ended = feedback(server, tmp_path, *PATIENCE)
        assert ended.code == 0, ended.err
        check_stands(tmp_path, server, *PATIENCE)
        run = tmp_path / "output" / "run"
        check_whole(run)
        if what == "empty":
            assert Counter(call.k for call in calls(run, "sample") if call.model == "cedar") == {0: 9, 1: 9}
            answers.silent = ""
        assert check_replaced(tmp_path, server, "cedar", reason) in seats


class Answers:
    """What everybody says, but for one model, which says nothing."""

    def __init__(self, silent: str) -> None:
        self.silent = silent

    def __call__(self, body: dict[str, Any], rng: Random) -> tuple[str, str]:
        """An answer, as a server of `Voices` asks for it."""
        return (" \n", "stop") if body["model"] == self.silent else speak(body, rng)


def test_a_local_model_that_does_not_start_is_replaced_like_one_that_is_away(server: Voices, tmp_path: Path) -> None:
    """A vLLM of ours without enough memory: started once, its seats are the next model's, the run ends with 0."""
    others = [remote(server, name) for name in FIVE if name != "cedar"]
    pool_file(tmp_path / "pool.toml", *others, local(tmp_path / "cedar", start="oom"))
    ended = feedback(server, tmp_path, **at_home(tmp_path))
    assert ended.code == 0, ended.err
    run = tmp_path / "output" / "run"
    check_whole(run)
    assert {call.state for call in calls(run, "sample") if call.model == "cedar"} == {"replaced"}
    assert check_replaced(tmp_path, server, "cedar", "down") == 9
    assert len(starts(tmp_path / "starts")) == 1


def test_local_models_are_asked_one_after_the_other_each_started_once(
    server: Voices, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four vLLMs of ours at one place, and more instructions than are ever under way at once. Then all else goes on.

    Stopped in between and run again, whoever was through is not started any more, and the bytes are the same.
    """
    hurry(monkeypatch)
    instructions(tmp_path / "in.jsonl", 240)
    homely = [local(tmp_path / name) for name in ("ash", "birch", "cedar", "elm")]
    pool_file(tmp_path / "pool.toml", *homely, remote(server, "fir"))
    ended = feedback(server, tmp_path, "--until", "sample", **at_home(tmp_path))
    assert ended.code == 0, ended.err
    assert len(rows(tmp_path / "output" / "run", "sample")) == 240
    names = [Path(start.arguments[1]).name for start in starts(tmp_path / "starts")]
    assert sorted(names) == ["ash", "birch", "cedar", "elm"]
    half = feedback(server, tmp_path, "--until", "sample", "--max-calls", 300, run="halted", **at_home(tmp_path))
    assert half.code == 4, half.err
    assert feedback(server, tmp_path, "--until", "sample", run="halted", **at_home(tmp_path)).code == 0
    assert data_files(tmp_path / "output" / "halted") == data_files(tmp_path / "output" / "run")
    later = [Path(start.arguments[1]).name for start in starts(tmp_path / "starts")[4:]]
    assert len(later) <= 5, "all four, and once more the one that was stopped"


@pytest.mark.parametrize(("status", "code"), [(401, 77), (402, 77), (404, 78)])
def test_what_a_person_has_to_mend_about_one_model_stops_the_run_and_poisons_nothing(
    server: Voices, tmp_path: Path, status: int, code: int
) -> None:
    """A wrong key, an empty account, a wrong address are no outage: nobody takes the model's place."""
    server.fault = lambda model, number: status if model == "cedar" else None
    assert feedback(server, tmp_path, "--until", "sample").code == code
    assert {call.state for call in calls(tmp_path / "output" / "run")} == {"settled", "open"}
    server.fault = lambda model, number: None
    for run in ("run", "undisturbed"):
        assert feedback(server, tmp_path, "--until", "sample", run=run).code == 0
    assert data_files(tmp_path / "output" / "run") == data_files(tmp_path / "output" / "undisturbed")


def test_too_few_models_are_a_reason_to_come_back_later_and_are_named(server: Voices, tmp_path: Path) -> None:
    """Three of five are away and four are wanted: 75 with their names, no verdict, and all is well when they return."""
    server.fault = lambda model, number: 500 if model in ("ash", "cedar", "fir") else None
    ended = feedback(server, tmp_path, *PATIENCE)
    assert ended.code == 75
    assert sum(f"{name} (down)" in ended.err for name in ("ash", "cedar", "fir")) >= 2
    assert "birch (down)" not in ended.err
    assert "4 models are to answer, and too few of the pool can be asked" in ended.err
    run = tmp_path / "output" / "run"
    assert {call.state for call in calls(run)} <= {"settled", "open"}
    check_undisturbed(tmp_path, server)


# --- the network is down ----------------------------------------------------------------------------------------------


def check_undisturbed(place: Path, server: Voices, *args: object) -> None:
    """Now that all answer, the command ends with the bytes of a run that was never disturbed."""
    server.fault = lambda model, number: None
    for run in ("run", "undisturbed"):
        ended = feedback(server, place, *args, run=run)
        assert ended.code == 0, ended.err
    assert data_files(place / "output" / "run") == data_files(place / "output" / "undisturbed")
    check_whole(place / "output" / "run")
    assert again(place, "verify").code == 0


def test_a_network_that_is_down_from_the_start_poisons_nothing(tmp_path: Path) -> None:
    """Nobody can be connected to, judge and models: 75, no verdict; when they are back, all is as if nothing was."""
    with Voices(speak) as gone:
        port = int(gone.url.removesuffix("/v1").rpartition(":")[2])
    ended = feedback(gone, tmp_path, *PATIENCE)
    assert ended.code == 75
    assert {call.state for call in calls(tmp_path / "output" / "run")} <= {"open"}
    with Voices(speak, port=port) as server:
        assert server.url == gone.url
        check_undisturbed(tmp_path, server)


@pytest.mark.parametrize(
    "after", [pytest.param(20, marks=pytest.mark.slow), 60, pytest.param(120, marks=pytest.mark.slow)]
)
def test_a_network_that_goes_down_on_the_way_poisons_nothing(server: Voices, tmp_path: Path, after: int) -> None:
    """In the middle of sampling, of rating, of the critiques: the same."""
    server.fault = lambda model, number: 503 if number >= after else None
    assert feedback(server, tmp_path, *PATIENCE).code == 75
    assert set(Counter(call.state for call in calls(tmp_path / "output" / "run"))) == {"settled", "open"}
    check_undisturbed(tmp_path, server)


def test_calls_that_fail_once_change_nothing(server: Voices, tmp_path: Path) -> None:
    """A quarter of all bodies meets an error of the server first: the bytes are the same, and nobody is replaced."""
    struck: set[bytes] = set()

    def strikes(model: str, number: int) -> int | None:
        body = hashlib.sha256(str(server.bodies[-1]).encode()).digest()
        if body[0] % 4 or body in struck:
            return None
        struck.add(body)
        return (500, 503, 502)[body[1] % 3]

    server.fault = strikes
    ended = feedback(server, tmp_path, "--swap-check", "0.3")
    assert ended.code == 0, ended.err
    assert len(struck) > 20
    assert all(record["replaced"] == [] for record in rows(tmp_path / "output" / "run", "sample"))
    check_undisturbed(tmp_path, server, "--swap-check", "0.3")


def test_a_judge_that_is_away_stops_the_run_and_nothing_else(server: Voices, tmp_path: Path) -> None:
    """Nobody takes a judge's place: the samples are there, the run ends with 75, and goes on when it is back."""
    server.fault = lambda model, number: 500 if model == JUDGE else None
    assert feedback(server, tmp_path, *PATIENCE).code == 75
    assert {call.state for call in calls(tmp_path / "output" / "run", "rate")} == {"open"}
    check_undisturbed(tmp_path, server)


def test_a_judge_whose_key_is_wrong_stops_the_run_at_once(server: Voices, tmp_path: Path) -> None:
    """401 is for a person to mend: 77, no call of the judge's has a verdict."""
    server.fault = lambda model, number: 401 if model == JUDGE else None
    assert feedback(server, tmp_path).code == 77
    assert {call.state for call in calls(tmp_path / "output" / "run", "rate")} <= {"open"}
    check_undisturbed(tmp_path, server)


# --- killed -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_a_run_that_is_killed_three_times_ends_with_the_same_bytes(tmp_path: Path, seed: int) -> None:
    """SIGKILL at random moments: what was recorded is not asked again, and few calls are left in doubt."""
    check_killed(tmp_path, 40, seed, 3)


def test_a_run_that_is_killed_ends_with_the_same_bytes(tmp_path: Path) -> None:
    """The same, smaller."""
    check_killed(tmp_path, 12, 8, 2)


def check_killed(place: Path, many: int, seed: int, kills: int) -> None:
    """So many instructions, and so many times SIGKILL."""
    options = ("--swap-check", "0.3", "--concurrency", "4", "--set", "rounds_per_shard=2")
    instructions(place / "in.jsonl", many)
    run, whole = place / "output" / "run", place / "output" / "whole"
    with Voices(speak, latency=lambda rng: rng.uniform(0, 0.02)) as server:
        assert feedback(server, place, *options, run="whole").code == 0
        total = settled(whole)
        server.asked.clear()
        at_rest: list[tuple[list[bytes], Counter[str]]] = []
        for moment in sorted(Random(seed).sample(range(10, total - 40), kills)):
            process = spawn(*words(server, place, *options))
            until(lambda moment=moment: settled(run) >= moment, process)  # type: ignore[misc]
            process.kill()
            assert wait(process).code == -signal.SIGKILL
            answered = committed(run, "SELECT c.body FROM calls c JOIN answers a ON a.call = c.id")
            at_rest.append(([body for (body,) in answered], server.by_body()))
            assert len(answered) >= moment
        ended = feedback(server, place, *options)
        assert ended.code == 0, ended.err
        for bodies, then in at_rest:
            assert {digest(body): server.by_body()[digest(body)] for body in bodies} == {
                digest(body): then[digest(body)] for body in bodies
            }
    assert data_files(run) == data_files(whole)
    check_whole(run)
    states = tried(run)
    assert states["settled"] == total
    assert set(states) <= {"settled", "ambiguous"}
    in_doubt = kills * (len(FIVE) + 1) * (4 + 1)  # of each queue those in flight, and one that is reserved ahead
    assert server.asked.total() <= states.total() <= total + in_doubt
    assert again(place, "verify").code == 0


@pytest.mark.slow
def test_a_run_that_is_killed_while_a_model_is_away_stays_sound(tmp_path: Path) -> None:
    """Whether its seats were given away or not at the kill: what is settled stays, and the rest follows the design."""
    instructions(tmp_path / "in.jsonl", 24)
    run = tmp_path / "output" / "run"
    with Voices(speak, latency=lambda rng: rng.uniform(0, 0.02)) as server:
        server.fault = lambda model, number: 500 if model == "cedar" else None
        for moment in (5, 40, 100):
            process = spawn(*words(server, tmp_path, *PATIENCE))
            until(lambda moment=moment: settled(run) >= moment, process)  # type: ignore[misc]
            process.kill()
            assert wait(process).code == -signal.SIGKILL
        ended = feedback(server, tmp_path, *PATIENCE)
        assert ended.code == 0, ended.err
        check_stands(tmp_path, server, *PATIENCE)
        check_whole(run)
        assert check_replaced(tmp_path, server, "cedar", "down") > 10


# --- a judge that errs ------------------------------------------------------------------------------------------------


class Judge:
    """Says what `tests.judges` says, as ``erring`` turns it: that is given the body and the answer."""

    def __init__(self, erring: Callable[[dict[str, Any], str], str]) -> None:
        self._erring = erring

    def __call__(self, body: dict[str, Any], rng: Random) -> tuple[str, str]:
        """An answer, as a server of `Voices` asks for it."""
        text, why = speak(body, rng)
        return (self._erring(body, text) if body["model"] == JUDGE else text), why


def is_reask(body: dict[str, Any]) -> bool:
    """Whether an answer of the judge's own is before it."""
    return any(message["role"] == "assistant" for message in body["messages"])


def is_critique(body: dict[str, Any]) -> bool:
    """Whether feedback is asked for, and no rating."""
    return bool(re.search(r"end of answer\]|：回答结束】", body["messages"][1]["content"]))


def broken(text: str, kind: int, lang: str) -> str:
    """The ratings of four texts, with what goes wrong in one of seven ways; no text of it can be read as it is."""
    heading, rating = {"en": ("#### Output for Text {}", "Rating: "), "zh": ("#### 文本{}的输出", "评分：")}[lang]
    first, second, *others = sections = text.split("\n\n")
    wrong = [
        [first, *others],
        [first, second, second, *others],
        [re.sub(f"^{rating}.*", f"{rating}6", one, flags=re.MULTILINE) for one in sections],
        [*sections, first.replace(heading.format(1), heading.format(5))],
        [re.sub(f"^{rating}.*\\n", "", one, flags=re.MULTILINE) for one in sections],
        [one.replace(rating, f"{rating}3\n{rating}") for one in sections],
        [re.sub(f"^{rating}.*", f"{rating}good", one, flags=re.MULTILINE) for one in sections],
    ]
    return "\n\n".join(wrong[kind])


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_what_cannot_be_read_is_asked_again_and_every_rating_is_right(tmp_path: Path, lang: str) -> None:
    """Half of the first answers lack a section, have one twice or too many, a 6, no rating, two, a word: all mended."""
    erred: set[str] = set()

    def erring(body: dict[str, Any], text: str) -> str:
        kind = int.from_bytes(hashlib.sha256(body["messages"][1]["content"].encode()).digest()[:2], "big") % 14
        if is_reask(body) or is_critique(body) or kind > 6:
            return text
        erred.add(f"{kind}/{body['messages'][1]['content']}")
        return broken(text, kind, lang)

    instructions(tmp_path / "in.jsonl", 12, lang)
    with Voices(Judge(erring)) as server:
        ended = feedback(server, tmp_path, "--lang", lang, "--swap-check", "0.3")
    assert ended.code == 0, ended.err
    run = tmp_path / "output" / "run"
    check_whole(run)
    assert rows(run, "rate", "rejects") == []
    found = calls(run, "rate")
    assert Counter(call.k for call in found) == {0: len(found) - len(erred), 1: len(erred)}
    assert {kind.partition("/")[0] for kind in erred} == set("0123456")
    for call in found:
        roles = [message["role"] for message in call.body["messages"]]
        assert roles == ["system", "user", *(["assistant", "user"] if call.k else [])]


def test_na_where_it_is_no_answer_is_asked_again(tmp_path: Path) -> None:
    """The first ratings of helpfulness are all N/A, in JSON as in text; those of honesty may be."""

    def erring(body: dict[str, Any], text: str) -> str:
        if is_reask(body) or "# Criterion: helpfulness" not in str(body["messages"][1]["content"]):
            return text
        return re.sub(
            r"(Rating: |\"rating\": )\d", lambda match: match[1] + ("N/A" if "R" in match[1] else '"N/A"'), text
        )

    with Voices(Judge(erring)) as server:
        for form in ("text", "json"):
            assert feedback(server, tmp_path, "--format", form, run=form).code == 0
            check_whole(tmp_path / "output" / form)
            found = Counter((call.step, call.k) for call in calls(tmp_path / "output" / form, "rate"))
            assert found == {(0, 0): 12, (1, 0): 12, (2, 0): 12, (3, 0): 12, (3, 1): 12}


def test_what_stays_unread_is_missing_and_nothing_stands_in_for_it(tmp_path: Path) -> None:
    """A third never says a word of helpfulness, another third gives its second text a 6: the rest is kept as it is."""

    def erring(body: dict[str, Any], text: str) -> str:
        prompt = str(body["messages"][1]["content"])
        number = int(re.search(r"door number (\d+)", prompt)[1])  # type: ignore[index]
        if "# Criterion: helpfulness" not in prompt or number % 3 == 2:
            return text
        if number % 3 == 0:
            return "I would rather not."
        sections = text.split("\n\n")
        return "\n\n".join([sections[0], re.sub(r"Rating: \d", "Rating: 6", sections[1]), *sections[2:]])

    with Voices(Judge(erring)) as server:
        ended = feedback(server, tmp_path)
        assert ended.code == 3
        assert "22% of the answers could not be used" in ended.err
        assert feedback(server, tmp_path, "--max-unusable", "1").code == 0
    run = tmp_path / "output" / "run"
    records = rows(run, "rate")
    missing = set()
    for number, record in enumerate(records):
        lost = {0: range(4), 1: [record["orders"]["helpfulness"][1]], 2: []}[number % 3]
        missing |= {(record["id"], index, "helpfulness") for index in lost}
    check_ratings(run, frozenset(missing))
    check_scores(run)
    check_pairs(run)
    rejects = rows(run, "rate", "rejects")
    assert Counter(reject["reason"] for reject in rejects) == {"no_sections": 4, "rating_out_of_range": 4}
    assert all(reject["unusable"] for reject in rejects)
    assert all(len(reject["candidate"]["answers"]) == 3 for reject in rejects), "one answer and two more"
    assert Counter(call.k for call in calls(run, "rate") if call.step == 3) == {0: 12, 1: 8, 2: 8}
    audit = again(tmp_path, "audit")
    assert "missing: 20" in audit.out


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_critique_without_a_score_is_asked_again_and_missing_where_it_stays_so(tmp_path: Path, form: str) -> None:
    """Of a third the score never comes, of another third at the second asking; no score is made up."""

    def erring(body: dict[str, Any], text: str) -> str:
        number = int(re.search(r"door number (\d+)", str(body))[1])  # type: ignore[index]
        if not is_critique(body) or number % 3 == 2 or (number % 3 == 1 and is_reask(body)):
            return text
        return '{"feedback": "So so."}' if form == "json" else "Feedback: So so."

    with Voices(Judge(erring)) as server:
        assert feedback(server, tmp_path, "--format", form, "--max-unusable", "0.5").code == 0
    run = tmp_path / "output" / "run"
    check_ratings(run)
    check_pairs(run)
    for number, record in enumerate(rows(run, "critique")):
        for completion in record["completions"]:
            wanted = None if number % 3 == 0 else score_of(completion["response"])
            assert completion["overall_score"] == wanted
            assert (completion["critique"] is None) == (wanted is None)
    rejects = rows(run, "critique", "rejects")
    assert Counter(reject["reason"] for reject in rejects) == {"missing_score": 16}
    assert Counter(reject["unusable"] for reject in rejects) == {True: 4, False: 12}


def test_a_judge_that_refuses_one_instruction_leaves_that_one_without_ratings(server: Voices, tmp_path: Path) -> None:
    """400 to all that is asked of it: nothing is made up, no pair is made, all others are whole; once more, no call."""

    def refuses(model: str, number: int) -> int | None:
        return 400 if model == JUDGE and "door number 7," in str(server.bodies[-1]) else None

    server.fault = refuses
    ended = feedback(server, tmp_path)
    assert ended.code == 0, ended.err
    check_stands(tmp_path, server)
    run = tmp_path / "output" / "run"
    lost = rows(run, "critique")[7]
    assert all(one["annotations"] == dict.fromkeys(ASPECTS) for one in lost["completions"])
    assert all(one["overall_score"] is one["critique"] is None for one in lost["completions"])
    assert Counter(one["reason"] for one in rows(run, "rate", "rejects")) == {"request_refused": 4}
    assert Counter(one["reason"] for one in rows(run, "critique", "rejects")) == {"request_refused": 4}
    check_pairs(run)
    assert [one["reason"] for one in rows(run, "binarize", "rejects") if job(one) == job(lost)] == ["no_score"]


@pytest.mark.parametrize(
    ("answers", "reason", "stage", "options"),
    [
        ("I would rather not rate these.", "no_sections", "rate", ""),
        ("我不想给这些文本打分。", "no_sections", "rate", "--lang zh"),
        ("I would rather not rate these.", "not_json", "rate", "--format json"),
        ("NA", "", "rate", ""),
        ("Nice.", "missing_score", "critique", ""),
    ],
    ids=["text", "chinese", "json", "always-na", "critique"],
)
def test_a_judge_that_never_follows_the_form_ends_the_run_before_it_costs_much(
    tmp_path: Path, answers: str, reason: str, stage: str, options: str
) -> None:
    """78 after some twenty answers, with the first of them; the same command stops again after what was on its way."""

    def erring(body: dict[str, Any], text: str) -> str:
        if (stage == "critique") != is_critique(body):
            return text
        return re.sub(r"Rating: \d", "Rating: N/A", text) if answers == "NA" else answers

    instructions(tmp_path / "in.jsonl", 30, "zh" if "zh" in options else "en")
    with Voices(Judge(erring)) as server:
        ended = feedback(server, tmp_path, *options.split())
        assert ended.code == 78
        assert (answers if answers != "NA" else "Rating: N/A") in ended.err
        assert f"{stage}: none of the judge's first " in ended.err
        assert f"says what was asked for ({reason}" in ended.err
        assert "--judge-model" in ended.err
        asked = _answered(tmp_path / "output" / "run", stage)
        assert 20 <= asked <= 20 + 2 * IN_FLIGHT
        assert feedback(server, tmp_path, *options.split()).code == 78
        assert _answered(tmp_path / "output" / "run", stage) <= asked + 2 * IN_FLIGHT


def test_a_judge_that_fails_every_instruction_in_one_aspect_ends_the_run_too(tmp_path: Path) -> None:
    """Three readable aspects of four are no reason to pay for thousands that lack the fourth."""
    instructions(tmp_path / "in.jsonl", 60)

    def erring(body: dict[str, Any], text: str) -> str:
        return "I would rather not." if "# Criterion: honesty" in asked(body) else text

    with Voices(Judge(erring)) as server:
        ended = feedback(server, tmp_path)
    assert ended.code == 78
    said = re.search(r"rate: each of the first (\d+) instructions has an answer that could not be read", ended.err)
    assert said is not None and 20 <= int(said[1]) < 60, ended.err
    assert "no_sections" in ended.err


def test_another_judge_may_begin_where_one_never_followed_the_form(tmp_path: Path) -> None:
    """Over the answers that were sampled; with what the first one said, nothing is lost but that."""
    instructions(tmp_path / "in.jsonl", 30)
    with Voices(Judge(lambda body, text: "I would rather not.")) as server:
        assert feedback(server, tmp_path).code == 78
        with Voices(speak) as better:
            asked = server.posts.total()
            ended = feedback(server, tmp_path, "--judge-base-url", better.url)
            assert ended.code == 0, ended.err
            assert "rate: begins anew with other settings" in ended.err
            assert server.posts.total() - asked <= 120
            check_whole(tmp_path / "output" / "run")
            refused = feedback(server, tmp_path)
            assert (refused.code, "this run was started with other settings" in refused.err) == (78, True)
            assert feedback(server, tmp_path, "--judge-base-url", better.url, run="direct").code == 0
    judged = ("rate", "critique", "binarize")
    files = [
        {name: data for name, data in data_files(tmp_path / "output" / run).items() if name.startswith(judged)}
        for run in ("run", "direct")
    ]
    assert files[0] == files[1]


def _answered(run: Path, stage: str) -> int:
    return sum(call.state == "settled" for call in calls(run, stage))


# --- caps -------------------------------------------------------------------------------------------------------------


def test_one_cap_on_calls_holds_for_all_stages_and_goes_on_to_the_same_bytes(server: Voices, tmp_path: Path) -> None:
    """Reached among the samples, in the middle of an aspect, among the critiques: exit 4, never a call too many."""
    assert feedback(server, tmp_path, run="whole").code == 0
    total = server.asked.total()
    server.asked.clear()
    for cap in (17, 71, 123):
        ended = feedback(server, tmp_path, "--max-calls", cap)
        assert ended.code == 4
        assert f"--max-calls {cap} is reached" in ended.err
        assert server.asked.total() == cap == settled(tmp_path / "output" / "run")
    ended = feedback(server, tmp_path, "--max-calls", total)
    assert ended.code == 0, ended.err
    assert server.asked.total() == total
    assert data_files(tmp_path / "output" / "run") == data_files(tmp_path / "output" / "whole")


def test_one_cap_on_cost_holds_for_models_and_judge_together(server: Voices, tmp_path: Path) -> None:
    """By the server's account the run never costs more than allowed, and stops only when no further call fits."""
    prices = ("--price", "in=0,out=50", "--judge-price", "in=0,out=100")
    short = ("--max-tokens", "64", "--judge-max-tokens", "64", "--set", "critique.max_tokens=64", *prices)
    assert feedback(server, tmp_path, *short, run="whole").code == 0
    server.asked.clear()

    def billed() -> Decimal:
        judged = server.posts[JUDGE]
        return Decimal(USED[1] * (50 * (server.posts.total() - judged) + 100 * judged)).scaleb(-6)

    largest = Decimal(64 * 100).scaleb(-6)
    for cap in (Decimal("0.01"), Decimal("0.025"), Decimal("0.04")):
        ended = feedback(server, tmp_path, *short, "--max-cost", f"{cap}usd")
        assert ended.code == 4
        assert f"--max-cost {cap}" in ended.err
        assert cap - largest < billed() <= cap
    assert feedback(server, tmp_path, *short, "--max-cost", "1usd").code == 0
    assert data_files(tmp_path / "output" / "run") == data_files(tmp_path / "output" / "whole")
