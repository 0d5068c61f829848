"""What feedback would come to: calls by instruction, lengths by rule or as recorded, and what runs then come to."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web

from selfinstruct import feedback_stand_ins
from selfinstruct.instruction_file import InstructionFile
from selfinstruct.prompts import Prompt
from selfinstruct.token_estimate import estimate
from tests.command import invoke
from tests.pools_at_work import pool_file
from tests.serving import Api

NAMES = ("ash", "birch", "cedar", "elm", "fir")
NOWHERE = "http://127.0.0.1:1/v1"
SAID = {
    "en": "The river rises in the hills, and runs to the sea in the west. " * 12,
    "zh": "这条河发源于西边的山里，一路流向大海，沿岸有许多小城。" * 8,
}
LABELS = {
    "en": ("#### Output for Text {}", "Type: ", "Rating: ", "Rationale: ", "Feedback: ", "Overall Score: "),
    "zh": ("#### 文本{}的输出", "类型：", "评分：", "理由：", "反馈：", "总分："),
}
Row = dict[str, Any]


class Panel(Api):
    """Models that all say the same, and a judge that keeps to the form; usage by the rule that plans go by.

    Of the first times it is asked something the judge only mumbles every ``mumbles``-th time.
    """

    def __init__(self, lang: str = "en") -> None:
        super().__init__()
        self.lang, self.mumbles, self._firsts = lang, 0, 0

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        sent = await request.read()
        if request.method != "POST":
            return web.json_response({"data": []})
        body = orjson.loads(sent)
        asked = [message["content"] for message in body["messages"]]
        text = self._judged(asked) if body["model"] == "judge" else SAID[self.lang]
        usage = {"prompt_tokens": sum(estimate(one) + 4 for one in asked), "completion_tokens": estimate(text)}
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        said = {"model": body["model"], "choices": [choice], "usage": usage}
        return web.Response(body=orjson.dumps(said), content_type="application/json")

    def _judged(self, asked: list[str]) -> str:
        self._firsts += len(asked) == 2  # a system prompt and a user's
        if self.mumbles and len(asked) == 2 and self._firsts % self.mumbles == 0:
            return "I would rather not say."
        section, type_is, rating, rationale, feedback, score = LABELS[self.lang]
        texts = len(re.findall(r": text \d+\]|：文本\d+】", asked[1]))
        if not texts:
            return f"{feedback}{SAID[self.lang]}\n{score}8"
        why = rationale + SAID[self.lang][:200].strip()
        parts = [why, *([type_is + "1", why] if type_is in asked[1] else [])]
        lines = "\n".join([*parts[1:], rating + "4", why])
        return "\n\n".join(f"{section.format(n)}\n{lines}" for n in range(1, texts + 1))


@pytest.fixture
def panel() -> Iterator[Panel]:
    """The models and the judge, at work."""
    with Panel() as started:
        yield started


def asked(folder: Path, count: int, **more: Any) -> Path:
    """A file of so many instructions; ``more`` is in each of its rows."""
    rows = ({"instruction": f"Name {n} rivers, and say where each begins.", **more} for n in range(count))
    file = folder / "asked.jsonl"
    file.write_bytes(b"".join(orjson.dumps({"source": "sharegpt"} | row) + b"\n" for row in rows))
    return file


def words(folder: Path, url: str = NOWHERE, pool: list[Row] | None = None) -> list[object]:
    """The words of ``feedback`` over the file `asked` wrote, with a pool of five, and a judge, at one address."""
    models = pool or [{"name": name, "price": "in=1,out=2"} for name in NAMES]
    file = pool_file(folder / "pool.toml", *({"base_url": url, **model} for model in models))
    judge = ("--judge-model", "judge", "--judge-base-url", url)
    return ["feedback", "--instructions", folder / "asked.jsonl", "--pool", file, *judge, "--output-dir", folder]


def dear(folder: Path, *more: object, **known: Any) -> list[object]:
    """The same, with a price for the judge, and more."""
    return [*words(folder, **known), "--run", "r", "--judge-price", "in=30,out=60", *more]


def planned(command: list[object], *more: object) -> Row:
    """What ``--dry-run`` says."""
    ended = invoke(*command, "--dry-run", "--json", *more)
    assert ended.code == 0, ended.err
    told: Row = orjson.loads(ended.out)
    return told


def three(told: Row, stage: str, what: str = "calls") -> tuple[int, ...]:
    """A number of a stage, low, likely and high."""
    return tuple(told["stages"][stage][how][what] for how in ("low", "likely", "high"))


def used(run: Path, stage: str) -> tuple[int, int, int]:
    """Calls, tokens in and out of a stage, as the ledger counts them."""
    with closing(sqlite3.connect(run / "ledger.sqlite3")) as db:
        sql = "SELECT count(*), sum(prompt_tokens), sum(completion_tokens) FROM attempts WHERE stage = ?"
        [row] = db.execute(sql, (stage,))
    return row[0], row[1], row[2]


# --- how many calls -------------------------------------------------------------------------------------------------


def test_calls_are_four_a_stage_and_instruction_and_high_asks_all_of_it_again(tmp_path: Path) -> None:
    """A resample of an answer; two repairs of a rating; two repairs and the score anew of a critique."""
    asked(tmp_path, 30)
    told = planned(dear(tmp_path))
    assert (told["unit"], told["wanted"], list(told["stages"])) == ("instructions", 30, ["sample", "rate", "critique"])
    assert three(told, "sample") == (120, 120, 240)
    assert three(told, "rate") == (120, 120, 360)
    assert three(told, "critique") == (120, 120, 480)
    fewer = planned(dear(tmp_path, "--models", 3, "--max-reasks", 0, "--set", "sample.resamples=0"))
    assert [three(fewer, stage) for stage in ("sample", "rate", "critique")] == [(90,) * 3, (120,) * 3, (90, 90, 180)]


@pytest.mark.parametrize(("words", "stages"), [(["--no-critique"], 2), (["--until", "sample"], 1)], ids=str)
def test_stages_that_are_left_out_cost_nothing(tmp_path: Path, words: list[str], stages: int) -> None:
    """And are not spoken of."""
    asked(tmp_path, 8)
    told = planned(dear(tmp_path, *words))
    assert list(told["stages"]) == ["sample", "rate", "critique"][:stages]
    assert told["total"]["likely"]["calls"] == stages * 32


@pytest.mark.parametrize(("number", "instructions"), [("10", 16), ("16", 16), ("29", 30), ("99", 30)])
def test_a_number_of_instructions_is_reached_in_whole_rounds(tmp_path: Path, number: str, instructions: int) -> None:
    """Of eight each; more than there are cannot be asked."""
    asked(tmp_path, 30)
    told = planned(dear(tmp_path, "-n", number))
    assert (told["wanted"], three(told, "rate")[1]) == (instructions, 4 * instructions)


def test_of_few_instructions_it_is_known_which_are_rated_twice(tmp_path: Path, panel: Panel) -> None:
    """The run rates just as many; of many it is the share."""
    asked(tmp_path, 40)
    command = dear(tmp_path, "--swap-check", 0.2, "--no-critique", url=panel.url)
    told = planned(command)
    assert invoke(*command, "-q").code == 0
    calls, _, _ = used(tmp_path / "r", "rate")
    assert three(told, "rate")[:2] == (calls, calls)
    assert 160 < calls < 320
    asked(tmp_path, 2000)
    assert three(planned(dear(tmp_path, "--swap-check", 0.2, "--run", "s")), "rate")[1] == 2000 * 4 * 1.2


# --- how many tokens ------------------------------------------------------------------------------------------------


def test_what_a_model_reads_is_what_would_be_sent(tmp_path: Path) -> None:
    """Every message of every first request, by the rule of thumb; what was said before an instruction is in it."""
    said = [{"role": "user", "content": "Good day. " * 50}, {"role": "assistant", "content": "Good day to you."}]
    asked(tmp_path, 5, history=said)
    command = dear(tmp_path)
    told = planned(command)
    messages = told["request"]["messages"]
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user"]
    assert [message["content"] for message in messages[1:3]] == [one["content"] for one in said]
    principles = [estimate(messages[0]["content"]), 10, 80]  # of the first one; and about how long they are
    rest = sum(estimate(message["content"]) for message in messages[1:]) + 4 * 4
    assert 20 * (rest + principles[1]) < three(told, "sample", "prompt_tokens")[1] < 20 * (rest + principles[2])
    assert three(told, "sample", "completion_tokens") == (20 * 50, 20 * 400, 40 * 1024)


def test_an_answer_is_read_by_the_judge_in_each_aspect_and_once_for_its_critique(tmp_path: Path) -> None:
    """Tokens told for answers stand four times in each prompt of a rating, and once in that of a critique."""
    asked(tmp_path, 10)
    short, long = (planned(dear(tmp_path, "--answer-tokens", tokens)) for tokens in (100, 300))
    more = {
        stage: three(long, stage, "prompt_tokens")[1] - three(short, stage, "prompt_tokens")[1]
        for stage in short["stages"]
    }
    assert more == {"sample": 0, "rate": 40 * 4 * 200, "critique": 40 * 200}
    assert three(long, "sample", "completion_tokens")[:2] == (40 * 300, 40 * 300)
    assert three(long, "rate", "completion_tokens") == (40 * 50, 40 * 400, 120 * 2048)
    assert three(long, "critique", "completion_tokens") == (40 * 31, 40 * 250, 160 * 1024)


def test_sixty_thousand_instructions_are_not_all_read_nor_rendered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand are looked up again, and two dozen rendered."""
    asked(tmp_path, 60_000)
    counts = {"read": 0, "rendered": 0}
    read, render = InstructionFile.__getitem__, Prompt.render

    def reading(self: InstructionFile, index: Any) -> Any:
        counts["read"] += 1
        return read(self, index)

    def rendering(self: Prompt, *args: Any, **variables: Any) -> Any:
        counts["rendered"] += 1
        return render(self, *args, **variables)

    monkeypatch.setattr(InstructionFile, "__getitem__", reading)
    monkeypatch.setattr(Prompt, "render", rendering)
    told = planned(dear(tmp_path, "--design", "balanced"))
    assert told["total"]["likely"]["calls"] == 60_000 * 12
    assert counts["rendered"] == 1 + 24 * (4 + 4 + 1)
    assert counts["read"] <= feedback_stand_ins.LOOKED_AT + 201  # the first one, and some to see their language


def test_long_instructions_count_where_none_of_them_is_rendered(tmp_path: Path) -> None:
    """One in ten is very long: the mean of all is what is reckoned with."""
    lengths = [4000 if n % 10 == 7 else 40 for n in range(900)]
    rows = ({"instruction": f"{n} " + "x" * length} for n, length in enumerate(lengths))
    (tmp_path / "asked.jsonl").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    long = three(planned(dear(tmp_path)), "sample", "prompt_tokens")[1]
    rows = ({"instruction": f"{n} " + "x" * 40} for n in range(900))
    (tmp_path / "asked.jsonl").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    short = three(planned(dear(tmp_path)), "sample", "prompt_tokens")[1]
    assert long - short == pytest.approx(4 * 90 * 990, rel=0.01)


# --- against real runs ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_a_run_comes_to_what_was_likely(tmp_path: Path, lang: str) -> None:
    """Calls to the number; what is read to three hundredths; what is kept on disk to a quarter."""
    asked(tmp_path, 20) if lang == "en" else (tmp_path / "asked.jsonl").write_bytes(
        b"".join(orjson.dumps({"instruction": f"请列出{n}条河流，并说明各自的源头。"}) + b"\n" for n in range(20))
    )
    with Panel(lang) as panel:
        command = dear(tmp_path, "--lang", lang, url=panel.url)
        told = planned(command, "--answer-tokens", estimate(SAID[lang]))
        ended = invoke(*command, "-q")
    assert ended.code == 0, ended.err
    for stage in told["stages"]:
        calls, read, written = used(tmp_path / "r", stage)
        assert three(told, stage)[1] == calls
        assert three(told, stage, "prompt_tokens")[1] == pytest.approx(read, rel=0.03)
        low, _, high = three(told, stage, "completion_tokens")
        assert low <= written <= high
    kept = sum(file.stat().st_size for file in (tmp_path / "r").rglob("*") if file.is_file())
    assert told["total"]["likely"]["disk_bytes"] == pytest.approx(kept, rel=0.25)


def test_a_resumed_run_is_planned_without_what_is_recorded_and_as_long_as_that_was(
    tmp_path: Path, panel: Panel
) -> None:
    """What is left is what the run then does, tokens and all, once fifty answers of each stage are there."""
    asked(tmp_path, 60)
    command = dear(tmp_path, url=panel.url)
    assert invoke(*command, "-q", "--max-calls", 500).code == 4
    before = {stage: used(tmp_path / "r", stage) for stage in ("sample", "rate", "critique")}
    assert sum(calls for calls, _, _ in before.values()) == 500
    assert min(calls for calls, _, _ in before.values()) > 50
    told = planned(command)
    assert told["recorded_calls"] == {stage: calls for stage, (calls, _, _) in before.items()}
    assert f"answers of {estimate(SAID['en'].strip())} tokens: as measured in this run" in told["assumptions"]
    assert invoke(*command, "-q").code == 0
    for stage, known in before.items():
        calls, read, written = (now - then for now, then in zip(used(tmp_path / "r", stage), known, strict=True))
        assert three(told, stage)[:2] == (calls, calls)
        assert three(told, stage, "prompt_tokens")[1] == pytest.approx(read, rel=0.02)
        assert three(told, stage, "completion_tokens")[1] == pytest.approx(written, rel=0.02)


def test_a_judge_that_has_to_be_asked_again_is_reckoned_to_need_it_on(tmp_path: Path, panel: Panel) -> None:
    """One first answer in four was of no use, so a quarter more calls are to come; none is subtracted for it."""
    panel.mumbles = 4
    asked(tmp_path, 60)
    command = dear(tmp_path, "--no-critique", url=panel.url)
    assert invoke(*command, "-q", "--max-calls", 350).code == 4
    told = planned(command)
    calls = used(tmp_path / "r", "rate")[0]
    assert invoke(*command, "-q").code == 0
    more = used(tmp_path / "r", "rate")[0] - calls
    assert used(tmp_path / "r", "rate")[0] == pytest.approx(300, abs=2)
    assert three(told, "rate")[1] == pytest.approx(more, rel=0.1)


def test_a_finished_run_sends_nothing(tmp_path: Path, panel: Panel) -> None:
    """Whatever it would take for more; a larger number would be more."""
    asked(tmp_path, 24)
    command = dear(tmp_path, url=panel.url)
    assert invoke(*command, "-q", "-n", 8).code == 0
    told = planned(command, "-n", 8, "--max-calls", 1000)
    assert (told["wanted"], told["total"]["high"]["calls"], told["notes"]) == (
        0,
        0,
        ["this run is done: nothing would be sent"],
    )
    assert list(told["stages"]) == ["sample", "rate", "critique"]
    assert planned(command, "-n", "+8")["wanted"] == 8
    assert planned(command)["wanted"] == 16


def test_instructions_that_were_dropped_are_not_waited_for(tmp_path: Path, panel: Panel) -> None:
    """Half of the lines are the same: once that is known nothing is left for them, however far the run has come."""
    rows = ({"instruction": f"Name {n // 2} rivers."} for n in range(40))
    (tmp_path / "asked.jsonl").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    command = dear(tmp_path, "--set", "rounds_per_shard=1", url=panel.url)
    assert planned(command)["wanted"] == 40
    assert invoke(*command, "-q", "--max-calls", 130).code == 4
    told = planned(command)
    assert told["wanted"] <= 20
    assert three(told, "critique")[1] == 80 - used(tmp_path / "r", "critique")[0]


# --- prices and caps ------------------------------------------------------------------------------------------------


def test_answers_cost_the_mean_of_the_pool_and_judgements_what_the_judge_costs(tmp_path: Path) -> None:
    """Each model's own price is shown once, the mean is no model's."""
    asked(tmp_path, 10)
    prices = (("ash", 1, 2), ("birch", 3, 4), ("cedar", 5, 12), ("elm", 0, 0))
    pool = [{"name": name, "price": f"in={into},out={out}"} for name, into, out in prices]
    told = planned(dear(tmp_path, pool=pool))
    assert {name: price["in"] for name, price in told["prices"].items()} == {
        **{name: str(into) for name, into, _ in prices},
        "judge": "30",
    }
    for stage, into, out in (("sample", 2.25, 4.5), ("rate", 30, 60), ("critique", 30, 60)):
        likely = told["stages"][stage]["likely"]
        cost = (likely["prompt_tokens"] * into + likely["completion_tokens"] * out) / 10**6
        assert float(likely["cost"]) == pytest.approx(cost)
    assert told["unpriced_calls"] == 0


def test_calls_without_a_known_price_are_those_of_the_models_that_have_none(tmp_path: Path) -> None:
    """Of one in four of the pool, a quarter of the answers; of the judge, all it says."""
    asked(tmp_path, 10)
    pool = [{"name": name, **({"price": "in=4,out=8"} if name != "elm" else {})} for name in NAMES[:4]]
    told = planned(dear(tmp_path, pool=pool))
    assert told["unpriced_calls"] == 10
    likely = told["stages"]["sample"]["likely"]
    assert float(likely["cost"]) == pytest.approx(
        (likely["prompt_tokens"] * 3 + likely["completion_tokens"] * 6) / 10**6
    )
    assert planned([*words(tmp_path, pool=pool), "--run", "r"])["unpriced_calls"] == 10 + 80


def test_a_model_of_the_pool_that_is_the_judge_too_is_shown_at_both_prices(tmp_path: Path) -> None:
    """Where they differ."""
    asked(tmp_path, 10)
    pool = [{"name": name, "price": "in=1,out=2"} for name in (*NAMES[:3], "judge")]
    prices = planned(dear(tmp_path, pool=pool))["prices"]
    assert {name: price["in"] for name, price in prices.items() if "judge" in name} == {
        "judge": "1",
        "judge as judge": "30",
    }


def test_prices_in_several_currencies_are_named_and_not_added(tmp_path: Path) -> None:
    """As the run would stop for them."""
    asked(tmp_path, 10)
    told = planned([*words(tmp_path), "--run", "r", "--judge-price", "in=30,out=60,currency=cny"])
    assert told["notes"] == ["prices in cny and usd do not add up: give all of them in one currency"]
    assert (told["prices"], told["total"]["likely"]["cost"]) == ({}, None)


def test_a_cap_on_cost_needs_every_price_as_the_run_does(tmp_path: Path) -> None:
    """The same words, and the same code."""
    asked(tmp_path, 10)
    for command in (words(tmp_path), dear(tmp_path, pool=[{"name": name} for name in NAMES])):
        ended, run = (invoke(*command, "--max-cost", "5usd", *more) for more in (["--dry-run"], []))
        assert (ended.code, run.code) == (78, 78)
        assert ended.err == run.err
        assert "price" in ended.err


def test_caps_reach_so_many_instructions(tmp_path: Path) -> None:
    """All calls for one going together: 12 likely, 36 at most; cost and tokens likewise."""
    asked(tmp_path, 100)
    assert planned(dear(tmp_path))["reach"] is None
    assert planned(dear(tmp_path, "--max-calls", 360))["reach"] == {"low": 30, "likely": 30, "high": 10}
    told = planned(dear(tmp_path))["total"]
    half = float(told["likely"]["cost"]) / 2
    reach = planned(dear(tmp_path, "--max-cost", f"{half:.6f}usd"))["reach"]
    assert reach["likely"] == pytest.approx(50, abs=1)
    assert reach["high"] < 50 < reach["low"]


# --- the first request ----------------------------------------------------------------------------------------------


def test_the_first_request_is_that_of_the_first_seat_as_its_model_is_asked(tmp_path: Path, panel: Panel) -> None:
    """A model that continues text gets a prompt; and the run sends just that."""
    asked(tmp_path, 1)
    command = dear(tmp_path, "--until", "sample", url=panel.url)
    first = planned(command)["request"]
    assert invoke(*command, "-q").code == 0
    with closing(sqlite3.connect(tmp_path / "r" / "ledger.sqlite3")) as db:
        [[body]] = db.execute("SELECT body FROM calls WHERE stage = 'sample' AND step = 0")
    assert orjson.loads(body) == first
    pool = [{"name": name, "price": "in=1,out=2", "rendering": "completion"} for name in NAMES]
    continued = planned(dear(tmp_path, "--run", "s", pool=pool))["request"]
    assert continued["model"] == first["model"]
    assert continued["prompt"].endswith("User: Name 0 rivers, and say where each begins.\n\nAssistant:")
