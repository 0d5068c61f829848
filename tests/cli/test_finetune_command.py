"""`selfinstruct finetune`: what is refused, and with which code; what is printed, and where; and real tiny tunings."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from selfinstruct.cli import finetune
from selfinstruct.training import extra, recipe, sft
from selfinstruct.training.recipe import Tuning
from selfinstruct.training.record import Training
from selfinstruct.training.running import Order
from tests.command import ROOT, Ended, invoke, spawn, until, wait
from tests.training import tiny

TALK = [{"prompt": f"Say {letter} twice.", "completion": letter * 2} for letter in "abcdefghijkl"]
PAIRS = [{"prompt": f"Say {letter}.", "chosen": letter, "rejected": f"{letter}?"} for letter in "abcdefgh"]


def _file(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    """Twelve conversations."""
    return _file(tmp_path / "talk.jsonl", TALK)


# --- without any of the packages that training needs ------------------------------------------------------------------


@pytest.fixture
def orders(monkeypatch: pytest.MonkeyPatch) -> list[Order]:
    """What a tuning would have been asked for; none is begun."""
    asked: list[Order] = []

    def tune(order: Order) -> Training:
        asked.append(order)
        results = {"steps": 3, "seconds": 1.0, "loss": {"first": 2.0, "last": 1.0}}
        order.tell("told")
        return Training(
            state="complete",
            tuning=order.tuning,
            base="sha256:0",
            sources=(),
            records=12,
            held_out=0,
            tokens=99,
            supervised=33,
            global_batch="8 = 8 × 1 accumulated × 1 process",
            versions={},
            results=results,
        )

    monkeypatch.setattr(sft, "tune", tune)
    monkeypatch.setattr(extra, "required", lambda *more: None)
    monkeypatch.setattr(finetune, "_calm", lambda: None)
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    return asked


def test_options_reach_the_tuning(orders: list[Order], tmp_path: Path) -> None:
    """Each under its own name, over what the preset says."""
    options = "--learning-rate 0.001 --epochs 2 --max-steps 7 --max-length 99 --global-batch 6 --batch 3 --seed 5"
    more = "--save-steps 4 --held-out 0.25 --mix talk.jsonl:0.5 --peft lora --packing --chat-template chatml"
    words = f"{options} {more} --preset alpaca-7b --set lora_r=3 --model m --restart".split()
    ended = invoke("finetune", "sft", "talk.jsonl", *words, "--out", tmp_path / "o")
    assert ended.code == 0
    (order,) = orders
    said = order.tuning.model_dump(exclude_defaults=True)
    assert said == {
        **resolved("alpaca-7b"),
        "base": "m",
        "learning_rate": 0.001,
        "epochs": 2.0,
        "max_steps": 7,
        "max_length": 99,
        "global_batch": 6,
        "batch": 3,
        "seed": 5,
        "save_steps": 4,
        "held_out": 0.25,
        "mix": {"talk.jsonl": 0.5},
        "peft": "lora",
        "packing": True,
        "chat_template": "chatml",
        "lora_r": 3,
    }
    assert (order.data, order.out, order.restart, order.rank) == (("talk.jsonl",), tmp_path / "o", True, 0)


def resolved(preset: str) -> dict[str, Any]:
    """What a preset says."""
    return recipe.resolve("sft", preset, [], {}).model_dump(exclude_defaults=True)


def test_without_options_nothing_is_said(orders: list[Order], tmp_path: Path) -> None:
    """All values are the defaults, a tuning goes on, and its folder is named after kind and model."""
    assert invoke("finetune", "sft", "a", "b", "--model", "org/My Model", "--output-dir", tmp_path).code == 0
    (order,) = orders
    assert order.tuning == Tuning(kind="sft", base="org/My Model")
    assert (order.data, order.out, order.restart) == (("a", "b"), tmp_path / "sft-org-my-model", False)


def test_figures_are_printed_and_all_else_is_told_on_stderr(orders: list[Order], tmp_path: Path) -> None:
    """So that the figures can be kept."""
    ended = invoke("finetune", "sft", "a", "--model", "m", "--out", tmp_path / "o")
    assert ended.err == "selfinstruct: told\n"
    assert ended.out.splitlines()[:2] == [
        "loss                            2.0000 →    1.0000",
        "3 optimizer steps in 1 s; global batch 8 = 8 × 1 accumulated × 1 process",
    ]
    assert ended.out.splitlines()[-1] == f"next: selfinstruct serve {tmp_path / 'o'}"


def test_quiet_prints_nothing(orders: list[Order], tmp_path: Path) -> None:
    """Neither here nor there."""
    assert invoke("finetune", "sft", "a", "--model", "m", "--out", tmp_path / "o", "-q") == (0, "", "")


def test_json_is_one_document_and_nothing_else(orders: list[Order], tmp_path: Path) -> None:
    """The one that lies beside the weights."""
    ended = invoke("finetune", "sft", "a", "--model", "m", "--out", tmp_path / "o", "--json")
    said = json.loads(ended.out)
    assert (said["state"], said["results"]["steps"]) == ("complete", 3)
    assert ended.err == "selfinstruct: told\n"


def test_only_the_first_of_several_processes_speaks(
    orders: list[Order], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And only it holds the folder."""
    monkeypatch.setenv("RANK", "1")
    assert invoke("finetune", "sft", "a", "--model", "m", "--out", tmp_path / "o") == (0, "", "")
    assert orders[0].rank == 1
    assert not (tmp_path / "o").exists()


def test_a_folder_that_another_process_tunes_in_is_left_to_it(orders: list[Order], tmp_path: Path) -> None:
    """At once, with the code of what may go well later."""
    out = tmp_path / "o"
    out.mkdir()
    with (out / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ended = invoke("finetune", "sft", "a", "--model", "m", "--out", out)
    assert ended.code == 75
    assert ended.err.startswith(f"selfinstruct: {out}: another process ")
    assert orders == []


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--set", "learning_rat=1"], 2, "unknown key 'learning_rat'; did you mean 'learning_rate'?"),
        (["--set", "kind=dpo"], 2, "the kind of a tuning is its command"),
        (["--lr", "0"], 2, "--learning-rate: Input should be greater than 0"),
        (["--mix", "a"], 2, "--mix 'a': expected a source and its fraction"),
        (["--mix", "a:2"], 2, "--mix 'a:2': at most 1"),
        (["--mix", "a:-1"], 2, "--mix 'a:-1': a fraction is a number from 0 to 1, and never negative"),
        (["--mix", "a:nan"], 2, "--mix 'a:nan': a fraction is a number from 0 to 1"),
        (["--preset", "zephyr-8b"], 78, "zephyr-8b: cannot read the preset: No such file or directory; did you mean"),
        (["--preset", "ultrarm-13b"], 78, "ultrarm-13b: a preset for finetune reward, not sft"),
        (["--peft", "all"], 2, "--peft"),
        (["--beta", "1"], 2, "--beta"),
        (["--print-launch", "0"], 2, "--print-launch"),
        (["--print-launch", "3"], 2, "--global-batch 8 cannot be shared by 3 processes: take a multiple of 3"),
    ],
)
def test_a_wrong_option_ends_at_once_with_one_line(
    orders: list[Order], tmp_path: Path, words: list[str], code: int, said: str
) -> None:
    """Nothing is begun, and nothing written."""
    ended = invoke("finetune", "sft", "a", "--model", "m", "--out", tmp_path / "o", *words)
    assert (ended.code, ended.out) == (code, "")
    assert said in ended.err
    assert ended.err.count("\n") == 1
    assert orders == []
    assert not (tmp_path / "o").exists()


def test_without_data_there_is_nothing_to_learn_from(orders: list[Order]) -> None:
    """A usage error with an example."""
    ended = invoke("finetune", "sft", "--model", "m")
    assert ended.code == 2
    assert "say what to learn from: runs and files, such as  finetune sft first talk.jsonl" in ended.err


def test_without_the_extra_the_command_that_installs_it_is_told(
    talk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is read or written, of every kind."""
    monkeypatch.setattr(extra, "find_spec", lambda name: None if name in ("torch", "trl") else object())
    for kind in recipe.KINDS:
        ended = invoke("finetune", kind, talk, "--model", "m", "--out", tmp_path / "o")
        assert ended.code == 78
        assert ended.err == (
            "selfinstruct: training needs the extra 'train' (missing: torch, trl): run  pip install"
            " 'selfinstruct[train]'\n"
        )
    assert not (tmp_path / "o").exists()


def test_presets_are_listed_with_their_kinds_and_sources() -> None:
    """For people, and as JSON."""
    listed = invoke("finetune", "presets")
    rows = json.loads(invoke("finetune", "presets", "--json").out)
    assert [line.split()[0] for line in listed.out.splitlines()] == recipe.names() == [row["name"] for row in rows]
    by_name = {row["name"]: row for row in rows}
    assert by_name["belle-7b"]["kinds"] == ["sft", "dpo", "reward"]
    assert by_name["zephyr-7b"]["for"] == "mistralai/Mistral-7B-v0.1"


def test_the_command_for_several_gpus_is_printed_and_nothing_done(tmp_path: Path) -> None:
    """One line for the shell, with what was typed behind a launcher."""
    out = tmp_path / "a b"
    ended = invoke("finetune", "sft", "a", "--model", "m", "--out", out, "--print-launch", "4")
    assert (ended.code, ended.err, ended.out.count("\n")) == (0, "", 1)
    words = shlex.split(ended.out)
    assert words[:4] == ["accelerate", "launch", "--num_processes", "4"]
    assert words[-8:] == ["-m", "selfinstruct", "finetune", "sft", "a", "--model", "m", "--out", str(out)][-8:]
    assert not out.exists()


LOADS = """
import sys
from contextlib import redirect_stdout
from io import StringIO
from selfinstruct.cli import app
for words in (["--help"], ["finetune", "-h"], ["finetune", "sft", "-h"], ["finetune", "presets"],
              ["finetune", "dpo", "x", "--model", "m", "--print-launch", "2"]):
    sys.argv = ["selfinstruct", *words]
    with redirect_stdout(StringIO()):
        assert app._run() == 0
heavy = "torch transformers trl peft datasets accelerate matplotlib numpy".split()
print([name for name in heavy if name in sys.modules])
"""


def test_help_and_presets_load_nothing_large() -> None:
    """Where they are installed they would take seconds."""
    ended = subprocess.run(
        [sys.executable, "-c", LOADS],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (ended.returncode, ended.stdout) == (0, "[]\n"), ended.stderr


# --- with them: a model of two layers, tuned for a few steps ----------------------------------------------------------


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model; without the packages its tests are skipped."""
    for name in (*extra.PACKAGES, "matplotlib"):
        pytest.importorskip(name)
    return tiny.folder(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def tuned(model: Path, tmp_path: Path) -> Callable[..., Ended]:
    """The command, on the tiny model, for two steps, into ``out``."""

    def tune(kind: str, *words: object) -> Ended:
        place = [] if "--out" in words else ["--out", tmp_path / "out"]
        base = [] if "--model" in words else ["--model", model]
        return invoke("finetune", kind, *words, *base, *place, "--max-steps", "2")

    return tune


SMALL = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")


@SMALL
@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "rows", "words", "said"),
    [
        ("sft", [], [], "data.jsonl: holds no rows"),
        ("sft", PAIRS, [], "data.jsonl:1: these rows are preference pairs (prompt, chosen, rejected): give them to"),
        ("dpo", TALK, [], "data.jsonl:1: these rows are conversations (messages, or a prompt and its answer): give"),
        ("reward", TALK, [], "give them to 'finetune sft'"),
        ("critique", TALK, [], "give them to 'finetune sft'"),
        ("sft", TALK, ["--max-length", "16"], "within --max-length 16"),
        ("reward", PAIRS, ["--max-length", "16"], "8 records left out, too long: data.jsonl:"),
        ("reward", PAIRS, ["--margin"], "has no 'margin'; leave --margin out"),
    ],
)
def test_bad_data_ends_with_one_line_and_no_folder(
    tuned: Callable[..., Ended], tmp_path: Path, kind: str, rows: list[dict[str, Any]], words: list[str], said: str
) -> None:
    """And says what to do with them."""
    ended = tuned(kind, _file(tmp_path / "data.jsonl", rows), *words)
    assert (ended.code, ended.out) == (65, "")
    assert said in ended.err
    assert ended.err.count("\n") == 1
    assert not (tmp_path / "out" / "training.json").exists()


@SMALL
@pytest.mark.slow
def test_some_records_that_are_too_long_are_counted_and_named(tuned: Callable[..., Ended], tmp_path: Path) -> None:
    """The others are learned."""
    rows = [*TALK, {"prompt": "x" * 300, "completion": "y"}, {"prompt": "Say much.", "completion": "z" * 300}]
    ended = tuned("sft", _file(tmp_path / "data.jsonl", rows), "--max-length", "100", "--json")
    assert ended.code == 0
    assert "selfinstruct: 1 record cut to fit --max-length\n" in ended.err
    assert "1 record left out, the prompt alone is longer than --max-length: data.jsonl:13\n" in ended.err
    assert json.loads(ended.out)["records"] == 13


@SMALL
@pytest.mark.slow
def test_a_model_that_is_not_there_is_one_line(tuned: Callable[..., Ended], talk: Path, tmp_path: Path) -> None:
    """No folder, an empty one, and one without weights, which only the tuning itself would miss."""
    (tmp_path / "empty").mkdir()
    for name in ("./nowhere", str(tmp_path / "empty")):
        ended = tuned("sft", talk, "--model", name)
        assert (ended.code, ended.out, ended.err.count("\n")) == (78, "", 1)
        assert not (tmp_path / "out").exists()


@SMALL
@pytest.mark.slow
def test_a_dry_run_needs_no_weights_and_counts_right(
    tuned: Callable[..., Ended], model: Path, talk: Path, tmp_path: Path
) -> None:
    """Tokens counted again by the tokenizer alone; nothing is written."""
    import transformers

    bare = tmp_path / "bare"
    shutil.copytree(model, bare, ignore=shutil.ignore_patterns("*.safetensors"))
    ended = tuned("sft", talk, "--model", bare, "--dry-run", "--global-batch", "5")
    assert (ended.code, ended.err) == (0, "")
    numbers = {line[:20].strip(): line[20:].split() for line in ended.out.splitlines()[:5]}
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    tokens = learned = 0
    for row in TALK:
        turns = [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["completion"]}]
        shown = tokenizer.apply_chat_template(turns, return_assistant_tokens_mask=True, return_dict=True)
        tokens += len(shown["input_ids"])
        learned += sum(shown["assistant_masks"])
    assert (numbers["records"][0], numbers["tokens"][:2]) == ("12", [str(tokens), str(learned)])
    assert (numbers["global batch"][0], numbers["optimizer steps"][0]) == ("5", "2")
    every = transformers.AutoModelForCausalLM.from_pretrained(model).num_parameters()
    assert numbers["numbers"][0] == str(every)
    assert "⟦aa<|im_end|>⟧" in ended.out or any(f"⟦{letter * 2}<|im_end|>⟧" in ended.out for letter in "bcdefghijkl")
    assert not (tmp_path / "out").exists()


@SMALL
@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "peft", "file"),
    [
        ("sft", "none", "model.safetensors"),
        ("sft", "lora", "adapter_model.safetensors"),
        ("sft", "adaption-prompt", "adapter_model.safetensors"),
        ("dpo", "lora", "adapter_model.safetensors"),
        ("reward", "none", "model.safetensors"),
        ("reward", "lora", "adapter_model.safetensors"),
    ],
)
def test_a_dry_run_knows_how_much_is_tuned(
    tuned: Callable[..., Ended], tmp_path: Path, kind: str, peft: str, file: str
) -> None:
    """As many numbers as the file then holds."""
    from safetensors import safe_open

    data = _file(tmp_path / "data.jsonl", TALK if kind == "sft" else PAIRS)
    said = tuned(kind, data, "--dry-run", "--peft", peft).out
    assert tuned(kind, data, "--peft", peft).code == 0
    with safe_open(tmp_path / "out" / file, "pt") as weights:
        there = sum(weights.get_tensor(name).numel() for name in weights.keys())  # noqa: SIM118  # it is no dict
    line = next(line for line in said.splitlines() if line.startswith("numbers"))
    assert line.endswith(f"   {there} of them tuned")


@SMALL
@pytest.mark.slow
def test_a_dry_run_tells_what_is_left_out(tuned: Callable[..., Ended], tmp_path: Path) -> None:
    """Also what was left out while it was read."""
    data = _file(tmp_path / "data.jsonl", [*TALK, {"prompt": "Say nothing.", "completion": ""}])
    ended = tuned("sft", data, "--dry-run", "--held-out", "2")
    assert ended.out.splitlines()[:2] == ["data.jsonl: 1 empty answer", f"{'records':<20}{10:>12}   2 held out"]


@SMALL
@pytest.mark.slow
def test_a_tuning_that_has_learned_nothing_yet_may_begin_otherwise(
    tuned: Callable[..., Ended], talk: Path, tmp_path: Path
) -> None:
    """A mistake that ended it at once is no reason to throw the folder away."""
    wrong = tuned("sft", talk, "--peft", "lora", "--set", 'lora_targets=["none_of_these"]')
    assert (wrong.code, wrong.err.count("Traceback")) == (78, 0)
    assert "lora_targets: the model has none of none_of_these" in wrong.err
    assert tuned("sft", talk, "--peft", "lora").code == 0


@SMALL
@pytest.mark.slow
def test_a_second_start_finds_what_is_there(tuned: Callable[..., Ended], talk: Path, tmp_path: Path) -> None:
    """Complete, whatever the operational values; with other values it is refused with each; anew if that is wanted."""
    assert tuned("sft", talk).code == 0
    again = tuned("sft", talk, "--batch", "2", "--save-steps", "1")
    out = tmp_path / "out"
    assert again == (0, "", f"selfinstruct: {out}: is complete already; --restart tunes anew\n")
    assert json.loads(tuned("sft", talk, "--json").out) == json.loads((out / "training.json").read_bytes())
    other = tuned("sft", talk, "--seed", "5", "--lr", "0.5")
    assert (other.code, other.out) == (78, "")
    assert other.err.splitlines()[1:3] == ["  seed: 42 → 5", "  learning_rate: 2e-05 → 0.5"]
    anew = tuned("sft", talk, "--seed", "5", "--restart", "--json")
    assert json.loads(anew.out)["tuning"]["seed"] == 5


@SMALL
@pytest.mark.slow
def test_a_whole_model_takes_the_place_of_an_adapter(tuned: Callable[..., Ended], talk: Path, tmp_path: Path) -> None:
    """Nothing of it is left that would be loaded instead."""
    out = tmp_path / "out"
    assert tuned("sft", talk, "--peft", "lora").code == 0
    assert (out / "adapter_config.json").is_file()
    assert tuned("sft", talk, "--restart").code == 0
    assert (out / "model.safetensors").is_file()
    assert list(out.glob("adapter*")) == []


@SMALL
@pytest.mark.slow
@pytest.mark.parametrize("words", [[], ["--restart"]])
def test_somebody_elses_folder_stays_as_it_is(
    tuned: Callable[..., Ended], talk: Path, tmp_path: Path, words: list[str]
) -> None:
    """To the last file, also where it looks like a checkpoint and everything is to begin anew."""
    out = tmp_path / "out"
    (out / "checkpoint-7").mkdir(parents=True)
    (out / "checkpoint-7" / "weights").write_text("dear")
    ended = tuned("sft", talk, *words)
    assert ended.code == 74
    assert ended.err == f"selfinstruct: {out}: holds files, and no tuning of ours; name another --out\n"
    assert [path.relative_to(out).as_posix() for path in out.rglob("*")] == ["checkpoint-7", "checkpoint-7/weights"]


@SMALL
@pytest.mark.slow
def test_weights_on_one_side_only_are_no_harm(tuned: Callable[..., Ended], tmp_path: Path) -> None:
    """One row of all weighs less; whether it is learned or held out, the others weigh one."""
    rows: list[dict[str, Any]] = [
        {"messages": [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["completion"]}]}
        for row in TALK
    ]
    for place in range(len(rows)):
        weighed = [{**row, "weight": 0.5} if at == place else row for at, row in enumerate(rows[:4])]
        if place < len(weighed):
            data = _file(tmp_path / f"data{place}.jsonl", weighed)
            assert tuned("sft", data, "--held-out", "2", "--out", tmp_path / f"out{place}").code == 0


@pytest.mark.slow
def test_a_signal_while_data_are_read_ends_it_with_nothing_written(model: Path, tmp_path: Path) -> None:
    """By the signal, without a traceback. It is SIGTERM, as whoever runs the tests may have SIGINT ignored."""
    pipe = tmp_path / "endless.jsonl"
    os.mkfifo(pipe)
    process = spawn("finetune", "sft", pipe, "--model", model, "--out", tmp_path / "out")
    writers: list[int] = []

    def is_read() -> bool:
        try:
            writers.append(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
        except OSError:
            return False
        return True

    until(is_read, process)
    os.write(writers[0], json.dumps(TALK[0]).encode() + b"\n")
    process.send_signal(signal.SIGTERM)
    ended = wait(process)
    os.close(writers[0])
    assert ended.code == -signal.SIGTERM
    assert "Traceback" not in ended.err
    assert not (tmp_path / "out" / "training.json").exists()


def test_a_preset_is_written_down_by_its_name_and_never_by_its_path(tmp_path: Path) -> None:
    """Of a file, too: a path tells of somebody's machine."""
    (tmp_path / "own.toml").write_text("learning_rate = 1e-3\n")
    given = {"model": "x", "preset": str(tmp_path / "own.toml"), "peft": None, "mix": None, "set_": None}
    tuning = finetune._tuning("sft", given)
    assert (tuning.preset, tuning.learning_rate) == ("own", 1e-3)
