"""`completing`: which lines are asked, when results are derived, and what a file that moves under a run does to it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from selfinstruct import completing, config, results, run_lock, wire
from selfinstruct.batch import Batch, draw_of
from selfinstruct.batch_file import RequestLine
from selfinstruct.completing import Account
from selfinstruct.errors import BadData, LimitReached, ModelError, OutputFailed, RunLocked
from selfinstruct.ledger import Ledger
from selfinstruct.ledger_reader import LedgerReader
from selfinstruct.model_recipe import ModelRecipe
from selfinstruct.models.opening import Opened
from selfinstruct.protocols import Model
from selfinstruct.schema import Completion, Endpoint, Request
from tests.models.loopback import chat
from tests.request_files import answers, errors, mark, numbered, request, rows, write

ROOT = Path(__file__).resolve().parents[1]
ENDPOINT = Endpoint(identity="https://api.example/v1", model="")


class Marker:
    """A model that marks each answer with its body and remembers what it was asked; ``before`` sees each body first."""

    def __init__(self, before: Callable[[dict[str, Any]], object] = lambda body: None, seconds: float = 0) -> None:
        self.asked: list[str] = []
        self.closed = False
        self._before = before
        self._seconds = seconds

    async def complete(self, request: Request) -> Completion:
        """The answer, after a while."""
        body = orjson.loads(request.body or b"")
        self.asked.append(body["messages"][0]["content"])
        self._before(body)
        await asyncio.sleep(self._seconds)
        return wire.completion(chat(mark(body)), chat=True)

    async def aclose(self) -> None:
        """Remember that it was let go of."""
        self.closed = True


def batch(path: Path, model: Model | None = None, *, max_tokens: int | None = None, **settings: Any) -> Batch:
    """The requests of ``path/requests.jsonl``, answered into ``path/out``, 4 at a time."""
    recipe = ModelRecipe(api="chat", base_url=ENDPOINT.identity)
    opened = Opened(model or Marker(), ENDPOINT, "chat", 4)
    return Batch(path / "requests.jsonl", path / "out", recipe, max_tokens, config.settings(settings), opened)


def run(one: Batch) -> Account:
    """Run it to its end; what it came to."""
    account = Account(one.out)
    completing.run(one, account, lambda: None)
    return account


@pytest.fixture
def derived(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows by one whenever results are derived."""
    times: list[str] = []
    derive = results.derive

    def counting(batch: Batch, *args: Any, **kwargs: Any) -> Any:
        times.append(batch.requests.name)
        return derive(batch, *args, **kwargs)

    monkeypatch.setattr(results, "derive", counting)
    return times


# --- the account ----------------------------------------------------------------------------------------------------


def test_the_account_tells_what_this_start_did_and_what_there_is(tmp_path: Path) -> None:
    """Of the file and of the start; the model is let go of at the end of each."""
    write(tmp_path / "requests.jsonl", numbered(5))
    models = [Marker(), Marker()]
    first = run(batch(tmp_path, models[0]))
    write(tmp_path / "requests.jsonl", numbered(7))
    second = run(batch(tmp_path, models[1]))
    counts = [(one.total, one.done, one.answered, one.failed, one.new_calls) for one in (first, second)]
    assert counts == [(5, 5, 5, 0, 5), (7, 7, 7, 0, 2)]
    assert [(one.new_tokens, one.new_failures, one.unanswered, one.stopping) for one in (first, second)] == [
        (50, 0, 0, False),
        (20, 0, 0, False),
    ]
    assert [row.attempts for row in second.spending] == [7]
    assert [model.closed for model in models] == [True, True]


def test_who_watches_is_told_of_every_answer(tmp_path: Path) -> None:
    """With the account as it is then."""
    write(tmp_path / "requests.jsonl", numbered(5))
    one, seen = batch(tmp_path), []
    account = Account(one.out)
    completing.run(one, account, lambda: seen.append((account.total, account.new_calls)))
    assert seen == [(5, n) for n in range(1, 6)]


def test_the_seconds_hold_the_writing_of_the_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A million lines are not written in no time."""
    now = [1000.0]
    monkeypatch.setattr(completing, "time", SimpleNamespace(monotonic=lambda: now[0]))
    derive = results.derive

    def slow(*args: Any, **kwargs: Any) -> Any:
        now[0] += 100
        return derive(*args, **kwargs)

    monkeypatch.setattr(results, "derive", slow)
    write(tmp_path / "requests.jsonl", numbered(1))
    assert run(batch(tmp_path)).seconds == 100


def test_a_run_that_is_stopped_still_writes_what_it_has(tmp_path: Path) -> None:
    """And its account says so."""
    write(tmp_path / "requests.jsonl", numbered(9))
    one = batch(tmp_path, max_calls=3)
    account = Account(one.out)
    with pytest.raises(LimitReached, match="3 calls made"):
        completing.run(one, account, lambda: None)
    assert (account.answered, account.done, account.total) == (3, 3, 9)
    assert len(answers(one.out)) == 3


def test_requests_that_failed_on_the_way_stay_open(tmp_path: Path) -> None:
    """They are counted, the last of them is named, and the next start asks them, and no other."""

    def trouble(body: dict[str, Any]) -> None:
        if body["messages"][0]["content"] in ("Question 2?", "Question 6?"):
            raise ModelErrorOfOneRequest("no")

    write(tmp_path / "requests.jsonl", numbered(9))
    one = batch(tmp_path, Marker(trouble))
    account = Account(one.out)
    with pytest.raises(ModelError, match=r"2 requests have no answer yet; line [37]: no; run the same command again"):
        completing.run(one, account, lambda: None)
    assert (account.answered, account.unanswered, account.failed) == (7, 2, 0)
    again = Marker()
    assert run(batch(tmp_path, again)).new_calls == 2
    assert sorted(again.asked) == ["Question 2?", "Question 6?"]


class ModelErrorOfOneRequest(ModelError):
    """Not the whole provider's: those are plain `ModelError`."""


def test_a_provider_that_stays_away_ends_the_run(tmp_path: Path) -> None:
    """Nobody else is asked, and nobody's request is blamed."""

    def away(body: dict[str, Any]) -> None:
        raise ModelError("gone for good")

    write(tmp_path / "requests.jsonl", numbered(200))
    model = Marker(away)
    one = batch(tmp_path, model)
    account = Account(one.out)
    with pytest.raises(ModelError, match=r"^gone for good$"):
        completing.run(one, account, lambda: None)
    assert len(model.asked) <= 2 * 4
    assert account.unanswered == 0


def test_a_folder_another_process_works_in_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the file of requests is read."""
    monkeypatch.setattr(run_lock, "take", lambda folder: False)
    with pytest.raises(RunLocked, match="another process works on this run"):
        run(batch(tmp_path))
    assert list(tmp_path.iterdir()) == []


# --- keys -----------------------------------------------------------------------------------------------------------


def line_of(one: dict[str, Any], number: int = 0) -> RequestLine:
    """A request as a line of a file."""
    return RequestLine(number, number + 1, one["custom_id"], one["url"], one["body"], 0)


def sent(one: Batch, line: RequestLine) -> str:
    """The key a line is sent and recorded under."""
    return wire.call_key(ENDPOINT, one.request(line))


def test_a_line_is_found_with_and_without_the_limit_a_cap_adds(tmp_path: Path) -> None:
    """What one start sent with a cap the other finds without, and the other way round; first what would be sent now."""
    line = line_of(request())
    free, capped = batch(tmp_path), batch(tmp_path, max_calls=5)
    assert sent(free, line) != sent(capped, line)
    assert list(free.keys(line)) == [sent(free, line), sent(capped, line)]
    assert list(capped.keys(line)) == [sent(capped, line), sent(free, line)]


def test_a_limit_of_one_s_own_is_one_key(tmp_path: Path) -> None:
    """In the body, both ways are the same request; as an option, it is part of the folder's settings."""
    own = line_of(request(max_tokens=7))
    assert len(set(batch(tmp_path).keys(own))) == 1
    limited = batch(tmp_path, max_tokens=50)
    assert list(limited.keys(line_of(request()))) == [sent(limited, line_of(request(max_tokens=50)))]


def test_each_line_is_a_draw_of_its_own(tmp_path: Path) -> None:
    """The same request twice is two calls: whoever asks five times wants five answers."""
    write(tmp_path / "requests.jsonl", [request(f"r-{n}") for n in range(5)])
    model = Marker()
    assert run(batch(tmp_path, model)).new_calls == 5
    assert model.asked == ["Name a tree."] * 5
    assert len({row["id"] for row in rows(tmp_path / "out" / "results.jsonl")}) == 5
    assert [str(draw_of(n)) for n in (0, 10**6)] == ["complete/0/0/0/0", "complete/0/1000000/0/0"]


# --- when results are derived ---------------------------------------------------------------------------------------


def test_results_are_derived_once_while_nothing_is_new(tmp_path: Path, derived: list[str]) -> None:
    """A second start with nothing to ask leaves them alone, however many lines there are; it knows their counts."""
    write(tmp_path / "requests.jsonl", numbered(5))
    for _ in range(3):
        account = run(batch(tmp_path))
        assert (account.answered, account.failed, account.done) == (5, 0, 5)
    assert len(derived) == 1


def changed(path: Path) -> None:
    """Change one byte of a file in place, its size as it was."""
    data = path.read_bytes()
    path.write_bytes(data.replace(b"chat", b"Chat", 1))


@pytest.mark.parametrize(
    "happening",
    [
        lambda folder: (folder / "out" / "results.jsonl").unlink(),
        lambda folder: changed(folder / "out" / "results.jsonl"),
        lambda folder: (folder / "out" / "results.jsonl").write_bytes(b""),
        lambda folder: (folder / "out" / "errors.jsonl").write_bytes(b"{}\n"),
        lambda folder: (folder / "out" / "complete" / "results.json").unlink(),
        lambda folder: (folder / "out" / "complete" / "results.json").write_bytes(b"{"),
        lambda folder: (folder / "out" / "complete" / "results.json").write_bytes(b"{}"),
        lambda folder: (folder / "requests.jsonl").write_bytes((folder / "requests.jsonl").read_bytes() + b"\n"),
    ],
    ids=["lost", "changed", "emptied", "errors out of nowhere", "record lost", "record cut", "no record", "file grown"],
)
def test_results_are_derived_again_when_they_may_not_be_the_same(
    tmp_path: Path, derived: list[str], happening: Callable[[Path], object]
) -> None:
    """And then they are what they were, without a call."""
    write(tmp_path / "requests.jsonl", numbered(5))
    run(batch(tmp_path))
    before = (tmp_path / "out" / "results.jsonl").read_bytes()
    happening(tmp_path)
    assert run(batch(tmp_path)).new_calls == 0
    assert len(derived) == 2
    assert (tmp_path / "out" / "results.jsonl").read_bytes() == before
    assert not (tmp_path / "out" / "errors.jsonl").exists()


def test_another_version_derives_the_results_its_own_way(
    tmp_path: Path, derived: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They may look different after an upgrade, all of them or none."""
    write(tmp_path / "requests.jsonl", numbered(2))
    run(batch(tmp_path))
    monkeypatch.setattr(results, "__version__", "9.9")
    run(batch(tmp_path))
    assert len(derived) == 2


def test_a_renamed_request_changes_the_results_without_a_call(tmp_path: Path, derived: list[str]) -> None:
    """Its id is no part of the call, and yet of the result."""
    write(tmp_path / "requests.jsonl", numbered(2))
    run(batch(tmp_path))
    write(tmp_path / "requests.jsonl", [one | {"custom_id": f"x-{n}"} for n, one in enumerate(numbered(2))])
    assert run(batch(tmp_path)).new_calls == 0
    assert (len(derived), list(answers(tmp_path / "out"))) == (2, ["x-0", "x-1"])


def test_a_verdict_by_hand_shows_in_the_results(tmp_path: Path, derived: list[str]) -> None:
    """Though no call was made since: the request that was given up is an error now."""

    def trouble(body: dict[str, Any]) -> None:
        if body["messages"][0]["content"] == "Question 1?":
            raise ModelErrorOfOneRequest("no")

    write(tmp_path / "requests.jsonl", numbered(6))
    one = batch(tmp_path, Marker(trouble))
    with pytest.raises(ModelError):
        run(one)
    key = sent(one, line_of(numbered(6)[1], 1))
    asyncio.run(give_up(tmp_path / "out" / "ledger.sqlite3", key))
    account = run(batch(tmp_path))
    assert (account.new_calls, account.answered, account.failed, len(derived)) == (0, 5, 1, 2)
    assert errors(tmp_path / "out") == {"r-1": ("skipped", None)}


async def give_up(path: Path, key: str) -> None:
    """Record that a person gave a call up."""
    with Ledger(path) as ledger:
        assert ledger.find(draw_of(1), key) is None
        await ledger.refuse(key, "given up by hand", None, "skipped")


def test_what_a_kill_left_behind_is_not_in_the_way(tmp_path: Path) -> None:
    """Half-written files of an earlier start are replaced, and are as private as new ones."""
    write(tmp_path / "requests.jsonl", numbered(3))
    (tmp_path / "out").mkdir()
    for name in (".results.jsonl.tmp", ".errors.jsonl.tmp"):
        (tmp_path / "out" / name).write_bytes(b"half a li")
    run(batch(tmp_path))
    assert len(answers(tmp_path / "out")) == 3
    assert not list((tmp_path / "out").glob(".*.tmp"))
    assert (tmp_path / "out" / "results.jsonl").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", [".results.jsonl.tmp", "errors.jsonl"])
def test_a_folder_in_the_place_of_a_file_is_an_io_failure(tmp_path: Path, name: str) -> None:
    """Named, and nothing recorded is lost."""
    write(tmp_path / "requests.jsonl", numbered(3))
    (tmp_path / "out" / name).mkdir(parents=True)
    with pytest.raises(OutputFailed, match=r"(results|errors)\.jsonl: cannot write: Is a directory; nothing recorded"):
        run(batch(tmp_path))
    (tmp_path / "out" / name).rmdir()
    assert run(batch(tmp_path)).new_calls == 0
    assert len(answers(tmp_path / "out")) == 3


# --- the file of requests -------------------------------------------------------------------------------------------


def test_a_file_that_was_edited_once_is_looked_up_line_by_line_for_good(tmp_path: Path) -> None:
    """Numbers alone no longer say whose answer is whose; also after lines were appended, or the file was put back."""
    first = numbered(4)
    second = [*first[:1], request("r-1", "edited"), *first[2:]]
    for requests, expected in ((first, 4), (second, 1), ([*second, request("r-4")], 1), (first, 0), (second, 0)):
        write(tmp_path / "requests.jsonl", requests)
        assert run(batch(tmp_path)).new_calls == expected
        assert answers(tmp_path / "out") == {one["custom_id"]: mark(one["body"]) for one in requests}
    assert orjson.loads((tmp_path / "out" / "complete" / "requests.json").read_bytes())["edited"] is True


def test_lines_that_are_moved_are_other_calls(tmp_path: Path) -> None:
    """A request's number is its draw: one taken out at the top moves all below it, and they are asked anew."""
    write(tmp_path / "requests.jsonl", numbered(4))
    run(batch(tmp_path))
    write(tmp_path / "requests.jsonl", numbered(4)[1:])
    account = run(batch(tmp_path))
    assert (account.new_calls, account.answered) == (3, 3)
    assert answers(tmp_path / "out") == {one["custom_id"]: mark(one["body"]) for one in numbered(4)[1:]}


def test_a_shorter_file_has_fewer_results(tmp_path: Path) -> None:
    """Lines cut off at the end leave the results, not the ledger: put back, they cost nothing."""
    for count, new in ((4, 4), (2, 0), (4, 0)):
        write(tmp_path / "requests.jsonl", numbered(count))
        account = run(batch(tmp_path))
        assert (account.new_calls, account.total, len(answers(tmp_path / "out"))) == (new, count, count)


def test_names_of_a_pool_are_looked_up_again_only_where_file_or_pool_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start that finds both as they were reads no line; what an older version has written down is read."""
    write(tmp_path / "requests.jsonl", [request(f"r-{n}", model="ash") for n in range(3)])
    one = batch(tmp_path)
    ash, birch = (
        one.opened._replace(endpoint=ENDPOINT.model_copy(update={"model": name})) for name in ("ash", "birch")
    )
    looked: list[int] = []
    role_of = Batch.role_of

    def counted(of: Batch, line: RequestLine) -> str:
        looked.append(line.number)
        return role_of(of, line)

    run(replace(one, pool={"ash": ash}))
    monkeypatch.setattr(Batch, "role_of", counted)
    run(replace(one, pool={"ash": ash}))
    assert looked == []
    checked = tmp_path / "out" / "complete" / "requests.json"
    older = orjson.loads(checked.read_bytes())
    assert older.pop("pool") == ["ash"]
    checked.write_bytes(orjson.dumps(older))
    run(replace(one, pool={"ash": ash}))
    assert looked == [0, 1, 2]
    with pytest.raises(BadData, match="the pool has no model 'ash'"):
        run(replace(one, pool={"birch": birch}))


@pytest.mark.parametrize("edited", [False, True])
def test_lines_that_are_added_while_it_runs_wait_for_the_next_start(tmp_path: Path, edited: bool) -> None:
    """Half a line, as a program writes it that is still at it, harms neither the run nor its results."""
    file = write(tmp_path / "requests.jsonl", [request("other"), *numbered(3)[1:]] if edited else numbered(2))
    if edited:
        run(batch(tmp_path))
        write(file, numbered(3))
    grown: list[bytes] = []

    def grow(body: dict[str, Any]) -> None:
        if not grown:
            grown.append(orjson.dumps(request("late", "Late?")))
            with file.open("ab") as more:
                more.write(grown[0][:30])

    account = run(batch(tmp_path, Marker(grow)))
    assert (account.total, account.done, account.answered) == (2 + edited, 2 + edited, 2 + edited)
    with file.open("ab") as more:
        more.write(grown[0][30:])
    model = Marker()
    assert run(batch(tmp_path, model)).new_calls == 1
    assert model.asked == ["Late?"]
    assert list(answers(tmp_path / "out"))[-1] == "late"


def test_a_file_that_is_spoilt_while_it_runs_loses_no_answer(tmp_path: Path) -> None:
    """The run ends, 65 with file and line; the calls in flight come home and are recorded."""
    requests = [request(f"r-{n}", f"{n} " + "long " * 500) for n in range(1000)]
    file = write(tmp_path / "requests.jsonl", requests)

    def spoil(body: dict[str, Any]) -> None:
        with file.open("r+b") as inside:
            inside.seek(-9, 2)
            inside.write(b"}" * 8)

    model = Marker(spoil, seconds=0.002)
    with pytest.raises(BadData, match=r"requests\.jsonl:1000: not JSON"):
        run(batch(tmp_path, model))
    reader = LedgerReader(tmp_path / "out" / "ledger.sqlite3")
    states = {state: reader.attempts(state) for state in ("settled", "ambiguous", "reserved")}
    reader.close()
    assert states == {"settled": len(model.asked), "ambiguous": 0, "reserved": 0}
    write(file, requests)
    assert run(batch(tmp_path)).new_calls == 1000 - len(model.asked)


def test_a_file_that_is_gone_at_the_end_leaves_the_old_results(tmp_path: Path) -> None:
    """65; put back, it costs nothing."""
    file = write(tmp_path / "requests.jsonl", numbered(2))
    run(batch(tmp_path))
    before = (tmp_path / "out" / "results.jsonl").read_bytes()
    write(file, numbered(3))
    with pytest.raises(BadData, match="cannot read the requests"):
        run(batch(tmp_path, Marker(lambda body: file.unlink())))
    assert (tmp_path / "out" / "results.jsonl").read_bytes() == before
    write(file, numbered(3))
    assert run(batch(tmp_path)).new_calls == 0


# --- memory ---------------------------------------------------------------------------------------------------------

MEASURED = """
import pathlib, re, sys
from selfinstruct.cli.start import main
try:
    main()
except SystemExit as end:
    print(end.code, file=sys.stderr)
print(re.search(r"VmHWM:\\s+(\\d+) kB", pathlib.Path("/proc/self/status").read_text())[1], file=sys.stderr)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """20 000 requests and 100 000: peaks less than 15 MiB apart and below 150 MB; and so when nothing is left to do."""
    peaks = []
    for count in (20_000, 100_000):
        file = write(tmp_path / f"{count}.jsonl", (request(f"r-{n}", f"Question {n}?") for n in range(count)))
        command = ["complete", str(file), "--out", str(tmp_path / str(count)), "--api", "fake", "--concurrency", "64"]
        for _ in range(2):
            ended = subprocess.run(
                [sys.executable, "-c", MEASURED, *command, "--quiet"],
                capture_output=True,
                text=True,
                cwd=ROOT,
                check=True,
            )
            code, peak = ended.stderr.split()
            assert code == "0"
            peaks.append(int(peak) / 1024)
        assert (tmp_path / str(count) / "results.jsonl").read_bytes().count(b"\n") == count
    few, few_again, many, many_again = peaks
    print(f"20 000 requests: {few:.0f} MiB, again {few_again:.0f}; 100 000: {many:.0f}, again {many_again:.0f}")
    assert many - few < 15
    assert many_again - few_again < 15
    assert max(peaks) < 150e6 / 2**20
