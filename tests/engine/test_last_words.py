"""What the end of a log means: each way a start can fail, in the words of the real engine and amid its other words."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from selfinstruct.engine import last_words
from selfinstruct.engine.last_words import PortTaken
from selfinstruct.errors import AccessDenied, ConfigProblem, ModelError, OutputFailed, SelfinstructError, UnknownModel
from tests.stub_engine import environment, model_folder
from tests.vllm_stub.vllm.start_failures import FAILURES

LOG = Path("engine.log")

# What an uneventful start says above, some of it in words that other logs have as the cause of a failure.
BEFORE = """\
Triton is installed, but doesn't include CPU backend. Disabling Triton.
  warnings.warn(
(APIServer pid=17) INFO 11-22 15:34:20 [api_utils.py:347]    █▄█▀ █     █     █     █  model   /models/no-such
(APIServer pid=17) INFO 11-22 15:34:20 [api_utils.py:286] non-default args: {'model': 'm', 'quantization': None}
(APIServer pid=17) WARNING 11-22 15:34:20 [system_utils.py:255] Found ulimit of 20000 and failed to automatically \
increase. This can cause fd limit errors like `OSError: [Errno 24] Too many open files`
(APIServer pid=17) INFO 11-22 15:34:20 [config.py:9] HF_HUB_OFFLINE is on: offline mode
(Worker pid=19) WARNING 11-22 15:34:21 [cuda.py:1] CUDA_VISIBLE_DEVICES is set; the KV cache memory is a guess
(Worker pid=19) WARNING 11-22 15:34:21 [vllm.py:1703] Enforce eager set, disabling torch.compile and CUDAGraphs.
"""


class Failed(NamedTuple):
    """A server that ended while it started: its exit code, and its log."""

    code: int
    text: str
    folder: Path

    def error(self) -> SelfinstructError | PortTaken:
        """What it means."""
        return last_words.of_start("tiny", self.code, BEFORE + self.text, LOG)


def failed(tmp_path: Path, **modes: Any) -> Failed:
    """The stand-in's end, of a model with these modes."""
    folder = model_folder(tmp_path / "m", **modes)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder)]
    ended = subprocess.run(
        [*command, "--host", "127.0.0.1", "--port", str(port)],
        env={**os.environ, **environment()},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return Failed(ended.returncode, ended.stdout, folder)


class Disk(NamedTuple):
    """What `shutil.disk_usage` gives, as far as it matters."""

    free: int


class Meant(NamedTuple):
    """What a failure must be read as: the error, words of its cause, words of what to do."""

    error: type[SelfinstructError]
    code: int
    cause: str
    remedy: str


MEANT = {
    "bad-option": Meant(ConfigProblem, 78, "unrecognized arguments: --no-such-option", "look at --engine"),
    "no-device": Meant(ConfigProblem, 78, "finds no device", "make setup-vllm BUILD=cpu"),
    "no-such-folder": Meant(UnknownModel, 78, "there is no such model", "starts with ./ or /"),
    "hub-missing": Meant(UnknownModel, 78, "there is no such model", "look at --model"),
    "hub-gated": Meant(
        AccessDenied, 77, "does not hand this model out", "agree to its licence there, and set HF_TOKEN"
    ),
    "hub-unreachable": Meant(ConfigProblem, 78, "the Hub cannot be reached", "HF_ENDPOINT names a mirror"),
    "hub-offline": Meant(ConfigProblem, 78, "the model is not on this machine", "give its folder as --model"),
    "missing-config": Meant(ConfigProblem, 78, "files of the model are missing", "fetch them again"),
    "unknown-architecture": Meant(ConfigProblem, 78, "Model architectures ['LlamaFor", "choose another model"),
    "unknown-model-type": Meant(ConfigProblem, 78, "has model type `flying`", "another vLLM (--vllm-python)"),
    "too-long": Meant(ConfigProblem, 78, "max_model_len (2048) is greater", "lower max_model_len"),
    "unknown-quantization": Meant(ConfigProblem, 78, "Unknown quantization method: int3", "--engine quantization"),
    "quantization-too-new": Meant(ConfigProblem, 78, "Minimum capability: 80", "--engine quantization"),
    "uneven-heads": Meant(ConfigProblem, 78, "heads (4) must be divisible", "--engine tensor_parallel_size"),
    "missing-template": Meant(ConfigProblem, 78, "chat template cannot be read", "--engine chat_template"),
    "missing-weights": Meant(ConfigProblem, 78, "Cannot find any model weights", "fetch them again"),
    "broken-weights": Meant(ConfigProblem, 78, "incomplete metadata", "fetch them again"),
    "disk-full": Meant(OutputFailed, 74, "No space left on device", "make room"),
    "oom": Meant(
        ConfigProblem, 78, "CUDA out of memory. Tried to allocate 224.00 MiB", "give it more GPUs (--gpus 0,1)"
    ),
    "device-busy": Meant(ModelError, 75, "(3.22/23.64 GiB)", "--engine gpu_memory_utilization=0.5"),
    "cpu-busy": Meant(ModelError, 75, "(3.22/23.5 GiB)", "--engine gpu_memory_utilization=0.5"),
    "no-kv-cache": Meant(ConfigProblem, 78, "no memory for a context", "gpu_memory_utilization=0.95"),
    "kv-too-small": Meant(ConfigProblem, 78, "no memory for a context", "--engine max_model_len=4096"),
    "killed": Meant(ModelError, 75, "it was killed (SIGKILL)", "choose a smaller model"),
}


# --- starts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MEANT)
def test_each_failing_start_tells_its_cause_and_what_to_do(tmp_path: Path, name: str) -> None:
    """In one line that can be read, with the model, the cause, the remedy and the log, under the exit code it is."""
    error = failed(tmp_path, start=name).error()
    meant = MEANT[name]
    assert isinstance(error, SelfinstructError)
    assert (type(error), error.exit_code) == (meant.error, meant.code)
    said = str(error)
    assert said.startswith("tiny: vLLM did not start: ")
    assert meant.cause in said
    assert meant.remedy in said.partition(meant.cause)[2]
    assert said.endswith("; its log is engine.log")
    assert "\n" not in said
    assert len(said) < 600


def test_every_failure_of_the_stand_in_is_looked_at() -> None:
    """But the port's, which is no error yet, and the end without a word."""
    assert {*FAILURES} - {*MEANT} == {"port-taken"}


def test_a_port_that_is_taken_is_no_error_yet(tmp_path: Path) -> None:
    """Another port is taken for the next try."""
    assert isinstance(failed(tmp_path, start="port-taken").error(), PortTaken)


def test_a_server_that_ends_without_a_word_leaves_its_exit_code(tmp_path: Path) -> None:
    """As a configuration that is wrong, since the next start would end the same way."""
    error = last_words.of_start("tiny", failed(tmp_path, start="exit").code, "", LOG)
    assert type(error) is ConfigProblem
    assert str(error) == "tiny: vLLM did not start (exit code 1); its last words: none; its log is engine.log"


def test_a_missing_model_is_not_taken_for_a_gated_one() -> None:
    """The Hub answers 401 to both, and speaks of gated repositories to both."""
    text = (
        "huggingface_hub.errors.RepositoryNotFoundError: 401 Client Error. Repository Not Found for url: "
        "https://hub.invalid/a/b. If you are trying to access a private or gated repo, make sure you are authenticated."
    )
    error = last_words.of_start("tiny", 1, text, LOG)
    assert type(error) is UnknownModel
    assert "a private model needs HF_TOKEN" in str(error)


@pytest.mark.parametrize(
    "text",
    [
        "ValueError: The repository a/b contains custom code which must be executed to correctly load the model. You "
        "can inspect it.\nPlease pass the argument `trust_remote_code=True` to allow custom code to be run.",
        "RuntimeError: Failed to load the tokenizer. If the tokenizer is a custom tokenizer not yet available in the "
        "HuggingFace transformers library, consider setting `trust_remote_code=True` in LLM or using the "
        "`--trust-remote-code` flag in the CLI.",
    ],
)
def test_advice_to_run_a_models_own_code_is_not_handed_on(text: str) -> None:
    """We refuse to do it; so it is said instead."""
    error = last_words.of_start("tiny", 1, text, LOG)
    assert type(error) is ConfigProblem
    assert "comes with code of its own, which is never run here" in str(error)
    assert "trust" not in str(error)


def test_a_long_usage_and_a_long_list_are_cut() -> None:
    """Of 300 lines of usage the last one tells; of hundreds of architectures nobody reads the names."""
    usage = "".join(
        f"                     [--option-{number} {{auto,no-device,gated repo}}]\n" for number in range(300)
    )
    error = last_words.of_start(
        "tiny", 2, f"usage: api_server.py [-h]\n{usage}api_server.py: error: argument --dtype: invalid choice: 'x'", LOG
    )
    assert "(api_server.py: error: argument --dtype: invalid choice: 'x'); look at --engine" in str(error)
    names = ", ".join(f"'Number{number}ForCausalLM'" for number in range(300))
    text = f"  Value error, Model architectures ['Flying'] are not supported for now. Supported: dict_keys([{names}])"
    error = last_words.of_start("tiny", 1, text, LOG)
    assert "['Flying'] are not supported" in str(error)
    assert len(str(error)) < 450


def test_what_is_not_known_is_quoted_from_the_first_error_on() -> None:
    """Which is the engine's: below it the server only repeats that the engine failed."""
    text = """\
(EngineCore pid=18) ERROR 11-22 15:34:21 [core.py:1510] EngineCore failed to start.
(EngineCore pid=18) ERROR 11-22 15:34:21 [core.py:1510] Traceback (most recent call last):
(EngineCore pid=18) ERROR 11-22 15:34:21 [core.py:1510]   File "/site-packages/vllm/core.py", line 1, in run
(EngineCore pid=18) ERROR 11-22 15:34:21 [core.py:1510]     raise ValueError("something new")
(EngineCore pid=18) ERROR 11-22 15:34:21 [core.py:1510] ValueError: something new
Traceback (most recent call last):
  File "/site-packages/vllm/api_server.py", line 1, in main
RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore': 1}
/python/resource_tracker.py:254: UserWarning: resource_tracker: There appear to be 1 leaked shared_memory objects
  warnings.warn('resource_tracker: There appear to be %d '
"""
    error = last_words.of_start("tiny", 1, BEFORE + text, LOG)
    assert type(error) is ConfigProblem
    assert str(error) == (
        "tiny: vLLM did not start (exit code 1); its last words: ValueError: something new; its log is engine.log"
    )


def test_without_any_error_the_last_lines_are_quoted() -> None:
    """In their order, without who and when."""
    text = "(EngineCore pid=18) INFO 11-22 15:34:21 [core.py:1510] one\n(Worker_TP0 pid=19) INFO two\nthree\nfour\n\n"
    error = last_words.of_start("tiny", 3, text, LOG)
    assert "exit code 3); its last words: two | three | four; its log" in str(error)


def test_a_disk_without_room_is_the_cause_of_a_silent_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log itself could not be written."""
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Disk(free=4096))
    error = last_words.of_start("tiny", 1, "", LOG)
    assert type(error) is OutputFailed
    assert "the disk of its log is full; make room" in str(error)


@pytest.mark.parametrize(
    ("status", "said"), [(-15, "ended by signal 15"), (-9, "killed (SIGKILL)"), (0, "ended with exit code 0")]
)
def test_a_start_that_somebody_ended_is_no_fault_of_the_configuration(status: int, said: str) -> None:
    """75: running again may well go on."""
    error = last_words.of_start("tiny", status, BEFORE, LOG)
    assert type(error) is ModelError
    assert said in str(error)


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("python: Error while finding module specification for 'vllm.entrypoints.openai.api_server' "
         "(ModuleNotFoundError: No module named 'vllm')", "this interpreter has no vLLM"),
        ("ModuleNotFoundError: No module named 'vllm._C'", "this installation of vLLM is broken"),
        ("RuntimeError: operator torchvision::nms does not exist", "this installation of vLLM is broken"),
        ("RuntimeError: World size (4) is larger than the number of available GPUs (2)", "there are not so many GPUs"),
    ],
)  # fmt: skip
def test_an_installation_that_does_not_fit_is_told_from_a_model_that_does_not(line: str, what: str) -> None:
    """Each with its cure."""
    error = last_words.of_start("tiny", 1, line, LOG)
    assert type(error) is ConfigProblem
    assert f"vLLM did not start: {what} (" in str(error)


# --- an end while it works --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "text", "said"),
    [
        (-9, "", "it was killed (SIGKILL), mostly by the system when memory runs out"),
        (-11, "", "it was ended by signal 11"),
        (0, BEFORE, "it ended with exit code 0"),
        (0, "(APIServer pid=1) WARNING [core_client.py:817] engine core exited unexpectedly", "its engine died"),
        (
            0,
            "(EngineCore pid=18) ERROR 11-22 15:34:21 [core.py:1512] EngineCore encountered a fatal error.\n"
            "(EngineCore pid=18) ERROR 11-22 15:34:21 [core.py:1512] torch.OutOfMemoryError: CUDA out of memory.",
            "its engine died: it does not fit into memory (torch.OutOfMemoryError: CUDA out of memory.)",
        ),
    ],
)
def test_the_end_of_a_running_server_is_told_with_its_cause(status: int, text: str, said: str) -> None:
    """A server whose engine died ends with exit code 0, which says nothing."""
    assert last_words.of_end(status, text) == said


# --- lines ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "(EngineCore pid=18) INFO 11-22 15:34:21 [core.py:402] init engine took 5.82 s",
        "(VllmWorker-0 pid=18) INFO 11-22 15:34:21 [core.py:402] init engine took 5.82 s",
        "(EngineCore_DP0 pid=18) init engine took 5.82 s",
        "INFO 11-22 15:34:21.123 [v1/core.py:402] init engine took 5.82 s",
        "INFO:     init engine took 5.82 s",
        "\x1b[36m(Worker pid=18)\x1b[0;0m INFO 11-22 15:34:21 [core.py:402] init engine took 5.82 s\r",
    ],
)
def test_who_and_when_are_taken_off_a_line(tmp_path: Path, line: str) -> None:
    """Colours, too; what is left is for people."""
    (tmp_path / "log").write_text(line + "\n")
    assert last_words.last_line(last_words.tail(tmp_path / "log")) == "init engine took 5.82 s"


def test_news_are_the_steps_of_a_start() -> None:
    """Each as it comes, and no warning that only has a word of theirs; a bar that is redrawn is its last state."""
    steps = [
        "Starting to load model /models/tiny...",
        "Loading safetensors checkpoint shards: 0% Completed | 0/2 [00:00<?, ?it/s]",
        "Loading safetensors checkpoint shards: 50% Completed | 1/2 [00:01<00:01, 1.00it/s]",
        "Loading weights took 0.20 seconds",
        "GPU KV cache size: 21,840 tokens, Maximum concurrency for 512 tokens per request: 42.66x",
        "init engine (profile, create kv cache, warmup model) took 5.82 s",
    ]
    text, heard = BEFORE, [last_words.news(BEFORE)]
    for step in steps:
        text += f"\r{step}" if "shards" in step else f"\n(Worker pid=19) INFO 11-22 15:34:21 [worker.py:1] {step}"
        text += '\nINFO:     127.0.0.1:36878 - "GET /health HTTP/1.1" 200 OK'
        heard.append(last_words.news(text))
    assert heard == ["", *steps]


def test_of_a_log_only_the_end_of_the_present_start_is_read(tmp_path: Path) -> None:
    """From where it begins, and no more than the bound; a log that is not there is empty."""
    log = tmp_path / "log"
    log.write_text("old words\n")
    begins_at = last_words.size(log)
    with log.open("a") as file:
        file.write("new words\n")
    assert last_words.tail(log, begins_at) == "new words\n"
    log.write_text("x" * (last_words.TAIL_BYTES + 10) + "end")
    assert len(last_words.tail(log)) == last_words.TAIL_BYTES
    assert (last_words.tail(tmp_path / "none"), last_words.size(tmp_path / "none")) == ("", 0)
    assert last_words.last_line("") == last_words.news("") == ""
