"""The embedded model's file, made into a folder vLLM can serve."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from selfinstruct import run_lock
from selfinstruct.errors import BadData, ConfigProblem, OutputFailed, RunLocked
from selfinstruct.models import conversion, gguf_to_folder, weights

FILES = ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")

# Stands in for vLLM's interpreter: does what the script would, or goes wrong where a test tells it to.
INTERPRETER = """#!{python}
import hashlib, json, os, signal, sys
from pathlib import Path

with open({log!r}, "a") as log:
    log.write("asked\\n")
script, gguf, folder = map(Path, sys.argv[1:])
def say(line):
    print(line, file=sys.stderr, flush=True)
say(f"{{script.stem}}: one step")
say("a package's warning")
for name in {files!r}:
    (folder / name).write_bytes(gguf.read_bytes())
{goes_wrong}
source = gguf.read_bytes()
record = {{"format": 1, "source_sha256": hashlib.sha256(source).hexdigest(), "dtype": "bfloat16", "versions": {{}},
          "files": {{name: len(source) for name in {files!r}}}}}
(folder / "selfinstruct.json").write_text(json.dumps(record))
"""


@pytest.fixture
def gguf(tmp_path: Path) -> Path:
    """A file that begins like a GGUF."""
    path = tmp_path / "small.gguf"
    path.write_bytes(b"GGUF, and weights")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the model is to be; neither it nor the folder above is there yet."""
    return tmp_path / "kept" / "model"


def interpreter(tmp_path: Path, goes_wrong: str = "") -> Path:
    """A program to be run as vLLM's Python."""
    path = tmp_path / "python"
    log = str(tmp_path / "log")
    path.write_text(INTERPRETER.format(python=sys.executable, log=log, files=FILES, goes_wrong=goes_wrong))
    path.chmod(0o755)
    return path


def times_asked(tmp_path: Path) -> int:
    """How often the interpreter was run."""
    log = tmp_path / "log"
    return log.read_text().count("asked") if log.exists() else 0


def test_a_finished_folder_appears_under_its_name_and_nothing_else_does(
    tmp_path: Path, gguf: Path, folder: Path
) -> None:
    """With the folders above it; the place it was made in is gone."""
    assert not conversion.is_whole(folder)
    assert conversion.convert(gguf, folder, interpreter(tmp_path)) == folder
    assert conversion.is_whole(folder)
    assert os.listdir(folder.parent) == ["model"]
    assert sorted(os.listdir(folder)) == sorted([*FILES, "selfinstruct.json"])
    assert folder.stat().st_mode & 0o777 == 0o755


def test_only_the_scripts_own_lines_are_handed_on(tmp_path: Path, gguf: Path, folder: Path) -> None:
    """What its packages warn of is none of the user's business while all is well."""
    told: list[str] = []
    conversion.convert(gguf, folder, interpreter(tmp_path), tell=told.append)
    assert told == ["one step"]


def test_a_whole_folder_is_not_made_again(tmp_path: Path, gguf: Path, folder: Path) -> None:
    """The second time costs a look: the interpreter need not even be there."""
    conversion.convert(gguf, folder, interpreter(tmp_path))
    conversion.convert(gguf, folder, tmp_path / "no-such-python")
    assert times_asked(tmp_path) == 1


def test_another_file_is_converted_anew_in_place_of_the_first(tmp_path: Path, gguf: Path, folder: Path) -> None:
    """The folder is always that of the file it was asked for."""
    conversion.convert(gguf, folder, interpreter(tmp_path))
    (folder / "left-over").touch()
    gguf.write_bytes(b"GGUF, other weights")
    conversion.convert(gguf, folder, interpreter(tmp_path))
    assert times_asked(tmp_path) == 2
    assert (folder / "model.safetensors").read_bytes() == b"GGUF, other weights"
    assert not (folder / "left-over").exists()
    assert os.listdir(folder.parent) == ["model"]


@pytest.mark.parametrize("name", FILES)
def test_a_folder_that_lost_bytes_is_made_again(tmp_path: Path, gguf: Path, folder: Path, name: str) -> None:
    """A file cut short, as by a full disk behind our back, is seen by its length."""
    conversion.convert(gguf, folder, interpreter(tmp_path))
    (folder / name).write_bytes(b"GG")
    assert not conversion.is_whole(folder)
    conversion.convert(gguf, folder, interpreter(tmp_path))
    assert conversion.is_whole(folder)
    assert times_asked(tmp_path) == 2


@pytest.mark.parametrize("change", [{"format": 0}, {"files": {}}, {"files": {"config.json": 17}}, {"more": 1}])
def test_a_record_of_another_shape_is_of_no_whole_folder(
    tmp_path: Path, gguf: Path, folder: Path, change: dict[str, object]
) -> None:
    """Of another version of ours, or naming fewer files than a model has."""
    conversion.convert(gguf, folder, interpreter(tmp_path))
    record = folder / "selfinstruct.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | change))
    assert not conversion.is_whole(folder)
    record.write_text("{")
    assert not conversion.is_whole(folder)


@pytest.mark.parametrize(
    ("goes_wrong", "error", "message"),
    [
        ("raise ValueError('no such thing')", ConfigProblem, r"exit code 1\): ValueError: no such thing"),
        ("os.kill(os.getpid(), signal.SIGKILL)", ConfigProblem, r"signal 9\): a package's warning"),
        ("sys.exit(0)", ConfigProblem, "made no whole folder"),
        ("say('lacks gguf, torch'); sys.exit(78)", ConfigProblem, "python lacks gguf, torch: run  make setup-vllm BU"),
        ("say('it has a tensor x'); sys.exit(65)", BadData, r"small\.gguf: it has a tensor x"),
        ("say('No space left on device'); sys.exit(74)", OutputFailed, "written: No space left on device"),
    ],
)
def test_half_a_folder_never_has_the_name(
    tmp_path: Path, gguf: Path, folder: Path, goes_wrong: str, error: type[Exception], message: str
) -> None:
    """However the interpreter ends half way, the reason is told once, nothing is left, the next attempt is free."""
    told: list[str] = []
    with pytest.raises(error, match=message):
        conversion.convert(gguf, folder, interpreter(tmp_path, goes_wrong), tell=told.append)
    assert told == ["one step"]
    assert not folder.exists()
    assert not folder.parent.exists()
    conversion.convert(gguf, folder, interpreter(tmp_path))
    assert conversion.is_whole(folder)


def test_an_attempt_that_fails_leaves_the_folder_of_another_file_alone(
    tmp_path: Path, gguf: Path, folder: Path
) -> None:
    """It is replaced when its successor is whole, not before."""
    conversion.convert(gguf, folder, interpreter(tmp_path))
    gguf.write_bytes(b"GGUF, other weights")
    with pytest.raises(ConfigProblem):
        conversion.convert(gguf, folder, interpreter(tmp_path, "sys.exit(1)"))
    assert conversion.is_whole(folder)
    assert (folder / "model.safetensors").read_bytes() == b"GGUF, and weights"


def test_being_interrupted_ends_the_interpreter_and_leaves_nothing(tmp_path: Path, gguf: Path, folder: Path) -> None:
    """Ctrl-C while it works."""
    note = tmp_path / "pid"
    wrong = f"Path({str(note)!r}).write_text(str(os.getpid())); say(f'{{script.stem}}: now'); signal.pause()"

    def interrupt(line: str) -> None:
        if line == "now":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        conversion.convert(gguf, folder, interpreter(tmp_path, wrong), tell=interrupt)
    with pytest.raises(ProcessLookupError):
        os.kill(int(note.read_text()), 0)
    assert not folder.parent.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_no_signal_that_ends_us_leaves_the_script_at_work(
    tmp_path: Path, gguf: Path, folder: Path, number: signal.Signals
) -> None:
    """The script itself, with packages that take for ever; it lets go of a pipe only when it ends."""
    site, pipe = tmp_path / "site", tmp_path / "pipe"
    site.mkdir()
    os.mkfifo(pipe)
    for name in gguf_to_folder.NEEDS:
        (site / f"{name}.py").touch()
    (site / "gguf.py").write_text(
        f"import time\ndef GGUFReader(path):\n    held = open({str(pipe)!r}, 'wb', 0)\n    held.write(b'!')\n"
        "    time.sleep(600)\n"
    )
    converting = f"""
import sys; sys.path[:] = {sys.path!r}
from pathlib import Path
from selfinstruct.models import conversion
conversion.convert(Path({str(gguf)!r}), Path({str(folder)!r}), Path(sys.executable))
"""
    environment = {**os.environ, "PYTHONPATH": str(site)}
    held = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with subprocess.Popen([sys.executable, "-c", converting], env=environment) as ours:
        select.select([held], [], [], 60)
        assert os.read(held, 1) == b"!"
        ours.send_signal(number)
        assert ours.wait(60) == -number
    assert select.select([held], [], [], 60)[0] == [held]
    assert os.read(held, 1) == b""
    os.close(held)


def test_what_a_killed_conversion_left_is_removed_by_the_next(tmp_path: Path, gguf: Path, folder: Path) -> None:
    """As after SIGKILL, which nobody can tidy up after."""
    left = folder.parent / ".model.making" / "0123456789abcdef"
    left.mkdir(parents=True)
    (left / "model.safetensors").write_bytes(b"half")
    conversion.convert(gguf, folder, interpreter(tmp_path))
    assert conversion.is_whole(folder)
    assert os.listdir(folder.parent) == ["model"]


def test_two_processes_do_not_make_the_same_folder(tmp_path: Path, gguf: Path, folder: Path) -> None:
    """The second is told to come back; another process's lock is not waited for."""
    place = folder.parent / ".model.making"
    holder = f"""
import sys; sys.path[:] = {sys.path!r}
from selfinstruct import run_lock
print(run_lock.take({str(place)!r}), flush=True); input()
"""
    with subprocess.Popen(
        [sys.executable, "-c", holder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "True\n"
        with pytest.raises(RunLocked, match="is being made by another process"):
            conversion.convert(gguf, folder, interpreter(tmp_path))
        other.communicate("\n")
    assert times_asked(tmp_path) == 0
    assert run_lock.take(str(place))
    run_lock.release(str(place))


def test_what_another_process_made_meanwhile_is_taken_as_it_is(
    tmp_path: Path, gguf: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It finished between our look and our lock."""
    take = run_lock.take

    def just_too_late(place: str) -> bool:
        monkeypatch.setattr(run_lock, "take", take)
        conversion.convert(gguf, folder, interpreter(tmp_path))
        return take(place)

    monkeypatch.setattr(run_lock, "take", just_too_late)
    assert conversion.convert(gguf, folder, interpreter(tmp_path)) == folder
    assert times_asked(tmp_path) == 1


def test_a_folder_we_did_not_make_is_never_replaced(tmp_path: Path, gguf: Path, folder: Path) -> None:
    """Somebody named their home folder; an empty folder may be filled."""
    folder.mkdir(parents=True)
    (folder / "thesis.tex").write_text("years of work")
    with pytest.raises(OutputFailed, match="holds no model we made; name another folder"):
        conversion.convert(gguf, folder, interpreter(tmp_path))
    assert os.listdir(folder) == ["thesis.tex"]
    (folder / "thesis.tex").unlink()
    conversion.convert(gguf, folder, interpreter(tmp_path))
    assert conversion.is_whole(folder)


def test_a_link_to_a_folder_stays_a_link(tmp_path: Path, gguf: Path) -> None:
    """The model goes where the link points: somebody keeps models on another disk."""
    (tmp_path / "disk").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "disk")
    assert conversion.convert(gguf, link, interpreter(tmp_path)) == tmp_path / "disk"
    assert link.is_symlink()
    assert conversion.is_whole(link)


def test_a_file_that_is_no_gguf_is_refused_before_anything_runs(tmp_path: Path, gguf: Path, folder: Path) -> None:
    """Nor one that is not there; both by name."""
    gguf.write_bytes(b"GGML")
    with pytest.raises(BadData, match=r"small\.gguf: not a GGUF file"):
        conversion.convert(gguf, folder, interpreter(tmp_path))
    with pytest.raises(BadData, match="missing: No such file"):
        conversion.convert(tmp_path / "missing", folder, interpreter(tmp_path))
    assert times_asked(tmp_path) == 0


def test_a_place_that_cannot_be_written_fails_as_output(tmp_path: Path, gguf: Path) -> None:
    """A file stands where a folder should be."""
    (tmp_path / "file").touch()
    with pytest.raises(OutputFailed, match="file"):
        conversion.convert(gguf, tmp_path / "file" / "model", interpreter(tmp_path))
    with pytest.raises(OutputFailed, match="holds no model we made"):
        conversion.convert(gguf, tmp_path / "file", interpreter(tmp_path))


def test_an_interpreter_that_is_not_there_is_named_with_the_setup_command(
    tmp_path: Path, gguf: Path, folder: Path
) -> None:
    """The user has not made vLLM's environment yet."""
    with pytest.raises(ConfigProblem, match=r"no-python cannot be run \(No such file.*run  make setup-vllm BUILD=cpu"):
        conversion.convert(gguf, folder, tmp_path / "no-python")
    assert not folder.parent.exists()


def test_the_packages_an_interpreter_lacks_are_named(tmp_path: Path, gguf: Path, folder: Path) -> None:
    """The script itself, in a Python with nothing installed."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    python.chmod(0o755)
    with pytest.raises(ConfigProblem, match="python lacks gguf, safetensors, tokenizers, torch: run  make setup-vllm"):
        conversion.convert(gguf, folder, python)


def test_a_neighbour_of_the_script_does_not_pass_for_a_package(tmp_path: Path) -> None:
    """Python looks beside a script first, and modules of ours have names that packages have too."""
    script = tmp_path / "gguf_to_folder.py"
    script.write_bytes(Path(gguf_to_folder.__file__).read_bytes())
    (tmp_path / "torch.py").touch()
    command = [sys.executable, "-S", str(script), "in", "out"]
    pipe = subprocess.PIPE  # as stdin, too: it ends when that does
    with subprocess.Popen(command, stdin=pipe, stderr=pipe, text=True, env={}) as run:
        assert run.stderr is not None
        assert (run.stderr.read(), run.wait()) == ("lacks gguf, safetensors, tokenizers, torch\n", 78)


def test_the_default_folder_is_in_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's own, or the one XDG names."""
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert conversion.default_folder() == Path("/cache/selfinstruct/models/smollm2-135m-instruct")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", "/home/me")
    assert conversion.default_folder() == Path("/home/me/.cache/selfinstruct/models/smollm2-135m-instruct")


# --- the script, as far as it goes without vLLM's packages ----------------------------------------------------------


def reader(tensors: tuple[str, ...] = (), **header: object) -> Any:
    """A GGUF file as the package of that name shows it."""
    fields = {
        "general.architecture": "llama",
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": ["<s>", "</s>", "a"],
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 1,
        "tokenizer.ggml.padding_token_id": 1,
        "tokenizer.ggml.unknown_token_id": 0,
        "llama.embedding_length": 12,
        "llama.feed_forward_length": 48,
        "llama.block_count": 2,
        "llama.attention.head_count": 3,
        "llama.attention.head_count_kv": 1,
        "llama.rope.dimension_count": 4,
        "llama.context_length": 64,
        "llama.attention.layer_norm_rms_epsilon": float(np.float32(1e-05)),
        "llama.rope.freq_base": 100000.0,
        **{key.replace("__", "."): value for key, value in header.items()},
    }
    return SimpleNamespace(
        fields={key: SimpleNamespace(contents=lambda value=value: value) for key, value in fields.items()},
        tensors=[SimpleNamespace(name=name) for name in tensors],
    )


def test_both_sides_agree_on_what_they_cannot_import_from_each_other() -> None:
    """The script runs where this package is not."""
    exits = {"source": BadData.exit_code, "output": OutputFailed.exit_code, "lacking": ConfigProblem.exit_code}
    assert exits == gguf_to_folder.EXITS
    assert gguf_to_folder.RECORD == conversion.RECORD


def test_rows_of_a_head_are_put_into_two_halves() -> None:
    """llama.cpp rotates neighbours, transformers the rows half a head apart; heads stay where they are."""
    rows = np.arange(8)[:, None]
    assert gguf_to_folder._halved(rows, 1)[:, 0].tolist() == [0, 2, 4, 6, 1, 3, 5, 7]
    assert gguf_to_folder._halved(rows, 2)[:, 0].tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


@pytest.mark.parametrize(
    ("name", "renamed"),
    [
        ("token_embd.weight", ("model.embed_tokens.weight", "")),
        ("output.weight", ("lm_head.weight", "")),
        ("blk.12.attn_q.weight", ("model.layers.12.self_attn.q_proj.weight", "attn_q")),
        ("blk.0.ffn_norm.weight", ("model.layers.0.post_attention_layernorm.weight", "ffn_norm")),
    ],
)
def test_tensors_get_the_names_transformers_has_for_them(name: str, renamed: tuple[str, str]) -> None:
    """Inside and outside the layers."""
    assert gguf_to_folder._renamed(name) == renamed


@pytest.mark.parametrize("name", ["blk.0.attn_q.bias", "rope_freqs.weight", "blk.0.ffn_gate_inp.weight"])
def test_a_tensor_nobody_knows_is_refused(name: str) -> None:
    """Leaving it out would make another model of it."""
    with pytest.raises(ValueError, match=f"it has a tensor {name}, which"):
        gguf_to_folder._renamed(name)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"general__architecture": "qwen2"}, r"general\.architecture is qwen2; only llama can"),
        ({"tokenizer__ggml__model": "llama"}, r"tokenizer\.ggml\.model is llama; only gpt2 can"),
        ({"tokenizer__ggml__pre": "llama-bpe"}, r"tokenizer\.ggml\.pre is llama-bpe; only smollm can"),
        ({"llama__rope__scaling__type": "yarn"}, "rotary embedding is scaled"),
    ],
)
def test_a_model_of_another_kind_is_refused(header: dict[str, Any], message: str) -> None:
    """It would load, and answer worse, and nobody would know why."""
    gguf_to_folder._check(reader())
    with pytest.raises(ValueError, match=message):
        gguf_to_folder._check(reader(**header))


def test_the_configuration_is_the_files_header_in_transformers_words(tmp_path: Path) -> None:
    """Numbers as they were before they became 32-bit floats; a missing output matrix is the embedding's own."""
    gguf_to_folder._write_config(reader(tensors=("token_embd.weight",)), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert (config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"]) == (12, 48, 2)
    assert (config["num_attention_heads"], config["num_key_value_heads"], config["head_dim"]) == (3, 1, 4)
    assert (config["rms_norm_eps"], config["rope_theta"], config["vocab_size"]) == (1e-05, 100000.0, 3)
    assert (config["tie_word_embeddings"], config["max_position_embeddings"]) == (True, 64)
    ends = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    assert json.loads((tmp_path / "generation_config.json").read_text()) == ends
    gguf_to_folder._write_config(reader(tensors=("output.weight",)), tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["tie_word_embeddings"] is False


# --- the real thing -------------------------------------------------------------------------------------------------

# Looked up before the environment is cleaned for the tests.
VLLM_PYTHON = Path(os.environ.get("SELFINSTRUCT_VLLM_PYTHON") or ".venv-vllm/bin/python").absolute()

# Asked in vLLM's interpreter of the folder it made: what a pool or a trainer would do with it.
QUESTION = """
import hashlib, json, sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer

torch.set_num_threads(1)
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
model, found = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype="auto", output_loading_info=True)
asked = tokenizer.apply_chat_template([{"role": "user", "content": "What is the capital of France?"}],
                                      add_generation_prompt=True, return_tensors="pt", return_dict=True)
answer = model.generate(**asked, max_new_tokens=20, do_sample=False)[0, asked["input_ids"].shape[1]:]
digest = hashlib.sha256()
for _, weights in sorted(model.named_parameters()):
    digest.update(weights.detach().view(torch.int16).numpy().tobytes())
print(json.dumps({
    "weights": digest.hexdigest(),
    "answer": tokenizer.decode(answer), "dtype": str(model.dtype), "lost": [*map(str, found["missing_keys"])],
    "longest": tokenizer.model_max_length, "side": tokenizer.padding_side, "pad": tokenizer.pad_token,
    "tokens": tokenizer("In 2024 ½ cup.<|im_end|>")["input_ids"],
}))
"""


@pytest.mark.vllm
def test_the_embedded_model_answers_from_its_folder(tmp_path: Path) -> None:
    """Converted by vLLM's interpreter, loaded by transformers there, and its tokens are those of llama.cpp."""
    gguf = weights.find()
    if gguf is None or not VLLM_PYTHON.exists():
        pytest.skip("needs vLLM's environment (make setup-vllm) and the embedded weights (models fetch)")
    folder = conversion.convert(gguf, tmp_path / "model", VLLM_PYTHON)
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o644}
    assert json.loads((folder / "selfinstruct.json").read_text())["source_sha256"] == weights.SHA256
    offline = os.environ | {"HF_HUB_OFFLINE": "1"}
    run = subprocess.run([VLLM_PYTHON, "-c", QUESTION, folder], capture_output=True, text=True, env=offline, check=True)
    assert json.loads(run.stdout.splitlines()[-1]) == {
        # What transformers 5.19 has in memory when it dequantizes the same file itself, with accelerate installed.
        "weights": "5d9bacfb6e704b2142088ab0e2548bc0de0a6b3a3179fcde6595ff2a6b30c1ec",
        "answer": "The capital of France is Paris.<|im_end|>",
        "dtype": "torch.bfloat16",
        "lost": [],
        "longest": 8192,
        "side": "right",
        "pad": "<|im_end|>",
        "tokens": [788, 216, 34, 32, 34, 36, 216, 16738, 7118, 30, 2],
    }
