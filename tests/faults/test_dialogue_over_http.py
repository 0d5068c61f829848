"""Dialogues over a real socket: what goes wrong in one lands in its reason and nowhere else; killed, the same bytes."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest

from selfinstruct.ledger_reader import LedgerReader
from selfinstruct.money import parse_price
from tests.command import Ended, data_files, invoke, spawn, until, wait
from tests.faults.answer_server import body_hash
from tests.faults.dialogue_server import DialogueServer, Misdeed, openers
from tests.talking import file_of, rows, talk, words

pytestmark = pytest.mark.faults

OF_THE_USER = {
    "goodbye": "farewell",
    "swap": "role_inversion",
    "again": "repeated",
    "foreign": "language",
    "nothing": "empty",
    "answers": "answers",
    "declines": "refusal",
    "cut": "truncated",
    "filtered": "content_filter",
    "refused": "request_refused",
    "context": "request_refused",
}
"""What a user does in round 2, and the reason it lands in."""

OF_THE_ASSISTANT = {
    "feelings": "as_an_ai",
    "refuses": "refusal",
    "cut": "truncated",
    "nothing": "empty",
    "again": "repeated",
    "script": "role_inversion",
    "foreign": "language",
    "filtered": "content_filter",
    "refused": "request_refused",
    "context": "request_refused",
}
"""What an assistant answers, and the reason it lands in."""


def quick(rng: Random) -> float:
    """Up to 10 ms, every tenth answer six times that: turns of different dialogues overtake each other."""
    return rng.uniform(0, 0.01) * (6 if rng.random() < 0.1 else 1)


def seeded(server: DialogueServer, output: Path, *args: object, run: str = "run") -> Ended:
    """A run in which each draw's seed is sent, so that no two have the same body; small shards."""
    return talk(server, output, *SEEDED, *args, run=run)


SEEDED = ("--set", "model.send_seed=true", "--set", "rounds_per_shard=4")


# --- what goes wrong ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize(
    ("side", "turn"), [("user", 2), ("user", 4), ("assistant", 1), ("assistant", 3), ("assistant", 5)]
)
def test_each_misdeed_lands_in_its_reason_and_the_dialogues_beside_it_are_whole(
    tmp_path: Path, lang: str, side: str, turn: int
) -> None:
    """The rounds before it are kept, the turn is a reject with its text; without a first answer nothing is left."""
    reasons = OF_THE_USER if side == "user" else OF_THE_ASSISTANT
    kinds = [kind for kind in reasons if not (kind == "again" and turn < 3)]
    texts = openers(lang, 2 * len(kinds))
    bad, good = texts[::2], texts[1::2]
    misdeeds = {text: Misdeed(turn, kind) for text, kind in zip(bad, kinds, strict=True)}
    options = ("--lang", lang, "--rounds", 4, "--set", "dialogue.resamples=0", "--max-unusable", 1)
    with DialogueServer(misdeeds, latency=quick) as server:
        ended = talk(server, tmp_path, "--openers", file_of(tmp_path / "openers.txt", texts), *options)
        assert ended.code == 0, ended.err
        assert server.counts.most == 1
    kept = {row["messages"][0]["content"]: row for row in rows(tmp_path / "run")}
    for text in good:
        assert (kept[text]["rounds"], kept[text]["planned"], kept[text]["ended"]) == (4, 4, "")
    reasons_found = Counter(row["reason"] for row in rows(tmp_path / "run", kind="rejects"))
    assert reasons_found == Counter(reasons[kind] for kind in kinds)
    for text, kind in zip(bad, kinds, strict=True):
        if turn == 1:
            assert text not in kept
        else:
            assert (kept[text]["rounds"], kept[text]["ended"]) == (turn // 2, reasons[kind]), kind
    for row in kept.values():
        assert [message["role"] for message in row["messages"]] == ["user", "assistant"] * row["rounds"]
        assert all(message["content"].strip() for message in row["messages"])


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_a_turn_that_is_asked_again_and_good_goes_on_beside_its_reject(tmp_path: Path, lang: str) -> None:
    """Half of the askings go wrong: some dialogues go on with a reject beside them, some end; no turn is bad."""
    texts = openers(lang, 24)
    misdeeds = {text: Misdeed(2, kind, 0.5) for text, kind in zip(texts, [*OF_THE_USER, *OF_THE_USER], strict=False)}
    with DialogueServer(misdeeds) as server:
        asked = file_of(tmp_path / "openers.txt", texts)
        ended = seeded(server, tmp_path, "--lang", lang, "--openers", asked, "--rounds", 3, "--max-unusable", 1)
        assert ended.code == 0, ended.err
    kept, rejects = rows(tmp_path / "run"), rows(tmp_path / "run", kind="rejects")
    again = {row["id"].rpartition("-")[0] for row in rejects}
    went_on = [row for row in kept if row["id"].rpartition("-")[0] in again and not row["ended"]]
    assert went_on
    assert all(row["rounds"] == 3 for row in kept if not row["ended"])
    assert all(row["rounds"] == 1 for row in kept if row["ended"])
    assert len(kept) == 24
    assert not [row for row in rejects if row["unusable"]]
    said = {turn["content"] for row in kept for turn in row["messages"]}
    told = [row["candidate"]["text"] for row in rejects if row["candidate"] and row["reason"] != "repeated"]
    assert not said & set(told)


@pytest.mark.parametrize(
    ("lang", "text"),
    [
        ("en", "As an AI, I have no feelings."),
        ("en", "As an AI, I don't have feelings or emotions."),
        ("en", "As an AI language model, I don't have personal feelings or opinions about the lighthouse."),
        ("zh", "作为一个AI，我没有情感。"),
        ("zh", "作为一个人工智能语言模型，我没有个人的感受，也不会有自己的看法。"),
    ],
    ids=lambda value: value if len(value) == 2 else "",
)
def test_a_model_without_feelings_is_as_an_ai(tmp_path: Path, lang: str, text: str) -> None:
    """And no refusal: nothing was asked of it that it declines."""
    [bad, good] = texts = openers(lang, 2)
    asked = file_of(tmp_path / "openers.txt", texts)
    with DialogueServer({bad: Misdeed(3, text)}) as server:
        options = ("--lang", lang, "--rounds", 3, "--set", "dialogue.resamples=0")
        assert talk(server, tmp_path, "--openers", asked, *options).code == 0
    assert {row["messages"][0]["content"]: row["ended"] for row in rows(tmp_path / "run")} == {
        bad: "as_an_ai",
        good: "",
    }


@pytest.mark.parametrize("kind", ["refuses", "nothing", "cut", "refused"])
def test_a_model_that_never_answers_stops_the_run_after_twenty(tmp_path: Path, kind: str) -> None:
    """Code 78 with its words; not sixty dialogues asked in vain."""
    texts = openers("en", 60)
    with DialogueServer({text: Misdeed(1, kind) for text in texts}) as server:
        asked = file_of(tmp_path / "openers.txt", texts)
        ended = talk(server, tmp_path, "--openers", asked, "--concurrency", 2)
    assert (ended.code, "none of the first" in ended.err) == (78, True)
    assert server.counts.requests <= 2 * 24


def test_a_user_s_model_that_refuses_everything_stops_the_run_after_twenty(tmp_path: Path) -> None:
    """Code 78; the assistant's answers are not asked for in vain."""
    texts = openers("en", 60)
    with DialogueServer({text: Misdeed(2, "refused") for text in texts}) as server:
        asked = file_of(tmp_path / "openers.txt", texts)
        ended = talk(server, tmp_path, "--openers", asked, "--rounds", 3, "--concurrency", 2)
    assert (ended.code, "safety system" in ended.err) == (78, True)
    assert server.counts.requests <= 2 * 24


# --- killed, in any order -------------------------------------------------------------------------------------------

MIXED = {1: "feelings", 2: "goodbye", 3: "cut", 4: "swap", 5: "nothing"}


def mixed(texts: list[str]) -> dict[str, Misdeed]:
    """Every third dialogue goes wrong somewhere, half of the time it is asked."""
    return {text: Misdeed(turn, MIXED[turn], 0.5) for turn, text in zip([1, 2, 3, 4, 5] * 99, texts[::3], strict=False)}


def recorded(run: Path) -> list[str]:
    """The hash of the body of every call that the ledger holds an answer for."""
    reader = LedgerReader(run / "ledger.sqlite3")
    hashes = [body_hash(call.body) for call in reader.calls() if call.state == "settled"]
    reader.close()
    return hashes


def attempts(run: Path, state: str) -> int:
    """How many attempts of a run are in a state."""
    reader = LedgerReader(run / "ledger.sqlite3")
    count = reader.attempts(state)
    reader.close()
    return count


def killed(folder: Path, concurrency: int, dialogues: int, kills: int, lang: str = "en") -> None:
    """A run with all kinds of dialogues, killed so often, ends as if undisturbed; nothing recorded is asked again."""
    texts = openers(lang, dialogues)
    asked = file_of(folder / "openers.txt", texts)
    options = ("--openers", asked, "--lang", lang, "--rounds", "2-5", "--concurrency", concurrency)
    with DialogueServer(mixed(texts), latency=quick) as server:
        whole = seeded(server, folder, *options, run="whole")
        total = server.counts.requests
        server.asked.clear()
        seen: list[tuple[list[str], Counter[str]]] = []
        for moment in sorted(Random(concurrency).sample(range(3, total - concurrency), kills)):
            process = spawn(*words(server, folder, *SEEDED, *options))
            until(lambda moment=moment: server.counts.bodies >= moment, process)  # type: ignore[misc]
            process.kill()
            assert wait(process).code == -signal.SIGKILL
            seen.append((recorded(folder / "run"), server.asked.copy()))
        last = seeded(server, folder, *options)
        assert (whole.code, last.code) == (0, 0), whole.err + last.err
        assert data_files(folder / "run") == data_files(folder / "whole")
        for settled, asked_then in seen:
            assert [server.asked[body] for body in settled] == [asked_then[body] for body in settled]
        repeats = server.counts.requests - server.counts.bodies
        assert repeats <= attempts(folder / "run", "ambiguous") <= kills * (concurrency + concurrency // 8 + 8)
    reasons = Counter(row["reason"] for row in rows(folder / "run", kind="rejects"))
    assert set(reasons) & {"farewell", "truncated", "as_an_ai"}


@pytest.mark.parametrize(
    ("concurrency", "dialogues"),
    [pytest.param(1, 12, marks=pytest.mark.slow), pytest.param(7, 24, marks=pytest.mark.slow), (64, 40)],
)
def test_dialogues_killed_at_random_moments_end_with_the_same_bytes(
    tmp_path: Path, concurrency: int, dialogues: int
) -> None:
    """SIGKILL twice; at most the calls in flight and a group reserved ahead are lost."""
    killed(tmp_path, concurrency, dialogues, kills=2)


@pytest.mark.slow
@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("concurrency", [1, 7, 64])
def test_many_dialogues_killed_eight_times_end_with_the_same_bytes(tmp_path: Path, concurrency: int, lang: str) -> None:
    """SIGKILL at eight random moments of 150 dialogues."""
    killed(tmp_path, concurrency, dialogues=150, kills=8, lang=lang)


def test_the_chain_of_topics_killed_ends_with_the_same_bytes(tmp_path: Path) -> None:
    """In any of its stages: topics, openers, which wait for all of them, and dialogues."""
    options = ("-n", 12, "--set", "topics.subtopics=2", "--rounds", 2, "--concurrency", 7)
    with DialogueServer(latency=quick) as server:
        assert seeded(server, tmp_path, *options, run="whole").code == 0
        total = server.counts.requests
        server.asked.clear()
        for moment in (9, 32, total - 20):
            process = spawn(*words(server, tmp_path, *SEEDED, *options))
            until(lambda moment=moment: server.counts.bodies >= moment, process)  # type: ignore[misc]
            process.kill()
            assert wait(process).code == -signal.SIGKILL
        assert seeded(server, tmp_path, *options).code == 0
    files = data_files(tmp_path / "run")
    assert files == data_files(tmp_path / "whole")
    assert {name.partition("/")[0] for name in files} == {"topics", "openers", "dialogue"}


def test_concurrency_never_reaches_dialogues(tmp_path: Path) -> None:
    """One call at a time, 7 and 64: identical files, each call once."""
    texts = openers("en", 16)
    asked = file_of(tmp_path / "openers.txt", texts)
    written = []
    with DialogueServer(mixed(texts), latency=quick) as server:
        for concurrency in (1, 7, 64):
            server.asked.clear()
            options = ("--openers", asked, "--rounds", "1-4", "--concurrency", concurrency)
            assert seeded(server, tmp_path / str(concurrency), *options).code == 0
            assert server.counts.most == 1
            written.append(data_files(tmp_path / str(concurrency) / "run"))
    assert written[0] == written[1] == written[2]


# --- a server in trouble --------------------------------------------------------------------------------------------


def stormy(number: int) -> tuple[int, bytes] | None:
    """Of the first fifty requests every fifth comes too soon, and two meet an error of the server's."""
    if number in (10, 33):
        return 500, b'{"error": {"message": "internal error"}}'
    return (429, b'{"error": {"message": "slow down"}}') if number < 50 and number % 5 == 2 else None


def test_a_storm_of_refusals_changes_no_byte(tmp_path: Path) -> None:
    """429 and 500 are nobody's verdict on a dialogue: all are whole, as without them."""
    texts = openers("en", 12)
    asked = file_of(tmp_path / "openers.txt", texts)
    options = ("--openers", asked, "--rounds", "2-3", "--concurrency", 8)
    with DialogueServer(latency=quick) as server:
        assert seeded(server, tmp_path, *options, run="whole").code == 0
        server.fault = lambda path, number: stormy(number)
        ended = seeded(server, tmp_path, *options)
    assert ended.code == 0, ended.err
    assert data_files(tmp_path / "run") == data_files(tmp_path / "whole")
    assert not rows(tmp_path / "run", kind="rejects")


@pytest.mark.parametrize("cap", ["0.011", "0.03", "0.0601"])
def test_a_cap_over_both_models_is_not_overshot_and_the_run_goes_on_above_it(tmp_path: Path, cap: str) -> None:
    """By what both servers count, at the price of each; code 4; with a higher cap the bytes are those of one run."""
    texts = openers("en", 30)
    asked = file_of(tmp_path / "openers.txt", texts)
    prices = {"small": "in=1,out=2", "played": "in=2,out=8"}
    with DialogueServer(latency=quick) as user, DialogueServer(latency=quick) as assistant:
        options: list[Any] = ["--openers", asked, "--rounds", "2-3", "--user-api", "chat", "--user-base-url", user.url]
        options += ["--user-model", "small", "--user-price", prices["small"], "--assistant-price", prices["played"]]
        ended = talk(assistant, tmp_path, *options, "--max-cost", f"{cap}usd", "--json")
        assert ended.code == 4, ended.err
        assert 0 < spent(prices, user, assistant) <= round(float(cap) * 10**12)
        assert talk(assistant, tmp_path, *options, "--max-cost", "10usd", "-q").code == 0
        assert (user.counts.most, assistant.counts.most) == (1, 1)
        assert talk(assistant, tmp_path, *options, "-q", run="whole").code == 0
    assert data_files(tmp_path / "run") == data_files(tmp_path / "whole")


def spent(prices: dict[str, str], *servers: DialogueServer) -> int:
    """What the servers have counted, at these prices, in pico-units."""
    counted: Counter[tuple[str, str]] = sum((server.used for server in servers), Counter())
    return sum(
        parse_price(price).cost(counted[model, "prompt_tokens"], counted[model, "completion_tokens"])
        for model, price in prices.items()
    )


# --- what does not fit ----------------------------------------------------------------------------------------------


def test_an_opener_larger_than_the_context_is_a_reject_and_nobody_is_asked(tmp_path: Path) -> None:
    """The reason is its size; the dialogues beside it are whole."""
    huge = "Please sum this up: " + " ".join(f"word{n} and" for n in range(6000)) + " the end."
    asked = file_of(tmp_path / "openers.txt", [*openers("en", 3), huge])
    options = ("--openers", asked, "--set", "dialogue.assistant_context=4000", "--max-unusable", 1)
    with DialogueServer() as server:
        assert talk(server, tmp_path, *options).code == 0
        assert all(len(str(body)) < 40_000 for body in server.bodies)
    assert len(rows(tmp_path / "run")) == 3
    assert [(row["reason"], row["unusable"]) for row in rows(tmp_path / "run", kind="rejects")] == [("context", True)]


def test_history_is_left_out_by_whole_rounds_and_never_the_opener(tmp_path: Path) -> None:
    """A small context: each request fits, begins with the opener, and goes on with the latest turns, each whole."""
    asked = file_of(tmp_path / "openers.txt", openers("en", 4))
    sets = ("dialogue.assistant_context=1400", "dialogue.user_context=1400", "dialogue.max_tokens=400")
    options = [word for key in sets for word in ("--set", key)]
    with DialogueServer() as server:
        assert talk(server, tmp_path, "--openers", asked, "--rounds", 12, *options).code == 0
    said = {row["messages"][0]["content"]: [t["content"] for t in row["messages"]] for row in rows(tmp_path / "run")}
    assert max(len(turns) for turns in said.values()) == 24
    shortened = 0
    for body in server.bodies:
        shown = [message["content"] for message in body["messages"] if message["role"] != "system"]
        shown = shown[:-1] if shown[-1].startswith("Switch sides") else shown
        turns = said[shown[0]]
        end = max(place for place, text in enumerate(turns) if text == shown[-1]) + 1
        assert shown[2:] == turns[end - len(shown) + 2 : end] if len(shown) > 2 else shown == turns[: len(shown)]
        shortened += len(shown) < end
        assert (end - len(shown)) % 2 == 0
    assert shortened > 20


def test_a_finished_run_of_dialogues_is_sound(tmp_path: Path) -> None:
    """verify after all kinds of ends, in both languages."""
    for lang in ("en", "zh"):
        texts = openers(lang, 20)
        asked = file_of(tmp_path / f"{lang}.txt", texts)
        with DialogueServer(mixed(texts)) as server:
            assert seeded(server, tmp_path, "--lang", lang, "--openers", asked, "--rounds", "2-4", run=lang).code == 0
        ended = invoke("verify", lang, "--output-dir", tmp_path)
        assert ended.code == 0, ended.out + ended.err
