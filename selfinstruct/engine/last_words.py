"""What the end of a server's log means, and what a person can do about it.

vLLM ends with exit code 1 whatever was wrong; the cause stands in its log, mostly above a traceback of another process.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from selfinstruct.errors import AccessDenied, ConfigProblem, ModelError, OutputFailed, SelfinstructError, UnknownModel
from selfinstruct.wire_errors import one_line

TAIL_BYTES = 200_000
"""So much of the end of a log is looked at: a start writes some 30 kB."""

_SHOWN_LINES = 3
_LEAST_ROOM = 2**16  # bytes on the disk of the log: below that its last words may be missing
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
# "(EngineCore pid=17) ERROR 11-22 15:34:21 [core.py:1510] ", or a part of it; the indent of what follows is kept.
_PREFIX = re.compile(
    r"^(?:\([\w -]+ pid=\d+\) ?)?(?:(?P<level>INFO|WARNING|ERROR|DEBUG|CRITICAL):? +)?"
    r"(?:\d\d-\d\d \d\d:\d\d:\d\d(?:[.,]\d+)? )?(?:\[[\w./]+:\d+\] ?)?"
)
# Where a traceback has been, and not what went wrong; a usage, and what pydantic says after the error.
_NO_WORDS = re.compile(r"^(?:    |  File \"|Traceback \(|During handling|The above exception|usage:|\W*$)")
_NO_NEWS = re.compile(r"GET /health|POST /v1/|^\s*(?:\*|█|▄|▀)|warnings\.warn")
_NEWS = re.compile(
    r"Starting to load|Load(ing|ed) (weights|safetensors|model)|[Dd]ownload|compil|Capturing|KV cache size|init engine",
)
_EXCEPTION = re.compile(r"^(?!.*validation errors? for)(?:[\w.]+\.)?\w*(?:Error|Exception)\b|^  Value error, ")
_ONLY_REPEATS = re.compile(r"Engine core initialization failed|WorkerProc initialization failed")
_BEHIND = re.compile(r" \[type=\w+, input_value=.*")


class PortTaken(Exception):
    """Somebody else listens on the port that the server was given."""


class _Cause(NamedTuple):
    """Words in a log, the error they stand for, and what to do."""

    words: re.Pattern[str]
    error: type[SelfinstructError]
    what: str
    remedy: str
    quoted: bool = True  # whether the line with the words is shown


def _cause(words: str, error: type[SelfinstructError], what: str, remedy: str, *, quoted: bool = True) -> _Cause:
    return _Cause(re.compile(words, re.I), error, what, remedy, quoted)


_SMALLER = (
    "choose a smaller model or a quantized one, give it more GPUs (--gpus 0,1), or lower max_model_len or max_num_seqs"
    " by --engine"
)
# The first that is found holds, so what is special stands before what is general.
_CAUSES = (
    _cause(r"No space left on device|Errno 28\b", OutputFailed, "the disk is full", "make room, and run again"),
    _cause(
        r"RepositoryNotFoundError|is not a valid model identifier|RevisionNotFoundError|Repo id must be|"
        r"404 Client Error",
        UnknownModel,
        "there is no such model, here or at the Hub",
        "look at --model, where a folder's path starts with ./ or /; a private model needs HF_TOKEN",
    ),
    _cause(
        r"GatedRepoError|access(ing)? (a )?gated repo|401 Client Error|403 Client Error|awaiting a review",
        AccessDenied,
        "the Hub does not hand this model out without a login",
        "agree to its licence there, and set HF_TOKEN",
    ),
    _cause(
        r"unrecognized arguments|invalid choice:|error: argument --|expected (one|at least one) argument",
        ConfigProblem,
        "it does not take an option",
        "look at --engine, and at the model's engine options in the pool",
    ),
    _cause(
        r"custom code (contained in|which must)|requires you to execute|setting `trust_remote_code",
        ConfigProblem,
        "the model comes with code of its own, which is never run here",
        "choose one that vLLM knows by itself",
        quoted=False,  # for it says how to run the code
    ),
    _cause(
        r"Free memory on device|less than desired (GPU|CPU) memory",
        ModelError,
        "other programs hold the memory",
        "end them, or take less by --engine gpu_memory_utilization=0.5",
    ),
    _cause(
        r"KV cache (is needed|memory)|larger than the (available|maximum number of tokens)|estimated maximum model len|"
        r"No available memory for the cache blocks",
        ConfigProblem,
        "beside the weights there is no memory for a context of that length",
        "lower it, such as --engine max_model_len=4096, give it more memory (--engine gpu_memory_utilization=0.95), or"
        " more GPUs (--gpus 0,1)",
    ),
    _cause(
        r"CUDA out of memory|OutOfMemoryError|HIP out of memory|not enough memory|Cannot allocate memory|MemoryError",
        ConfigProblem,
        "it does not fit into memory",
        _SMALLER,
    ),
    _cause(
        r"max_model_len .{0,80}(is )?greater than the derived",
        ConfigProblem,
        "the model does not reach that far back",
        "lower max_model_len (--engine, or context in the pool)",
    ),
    _cause(
        r"Failed to infer device type|no (CUDA-capable|NVIDIA) (device|driver)|No CUDA GPUs are available|"
        r"Found no NVIDIA driver|libcuda\.so",
        ConfigProblem,
        "this build of vLLM finds no device to work on",
        "make setup-vllm BUILD=cpu  makes an environment for machines without GPU",
    ),
    _cause(
        r"invalid device ordinal|CUDA_VISIBLE_DEVICES|World size \(\d+\) is larger than",
        ConfigProblem,
        "there are not so many GPUs",
        "look at --gpus and at --engine tensor_parallel_size",
    ),
    _cause(
        r"must be divisible by tensor parallel size|not divisible by .{0,40}(tensor|tp)",
        ConfigProblem,
        "the model cannot be shared out over that many GPUs",
        "look at --gpus and at --engine tensor_parallel_size: 1, 2, 4 and 8 mostly do",
    ),
    _cause(
        r"architectures .{0,120}(not supported|failed to be inspected)|does not recognize this architecture|"
        r"no vLLM implementation",
        ConfigProblem,
        "this vLLM does not know the model's architecture",
        "choose another model, or another vLLM (--vllm-python)",
    ),
    _cause(
        r"chat template .{0,300}(failed to be opened|looks like a file path)",
        ConfigProblem,
        "its chat template cannot be read",
        "look at --engine chat_template, and at template in the pool",
    ),
    _cause(
        r"Cannot find any model weights|does not appear to have a file named|Error no file named|"
        r"No such file or directory: .{0,200}\.(safetensors|bin|json)|safetensors_rust|SafetensorError|HeaderTooSmall|"
        r"InvalidHeader|MetadataIncompleteBuffer|weights were not initialized|Can't load tokenizer|"
        r"Unrecognized model in|not a valid JSON|Invalid repository ID",
        ConfigProblem,
        "files of the model are missing or broken",
        "fetch them again",
    ),
    _cause(
        r"LocalEntryNotFoundError|offline mode|couldn't connect to|Connection error.{0,80}hub|Name or service not|"
        r"Temporary failure in name resolution|Max retries exceeded|MaxRetryError|ConnectError|"
        r"cannot find .{0,80}cache",
        ConfigProblem,
        "the model is not on this machine, and the Hub cannot be reached",
        "download it where there is a network, and give its folder as --model; HF_ENDPOINT names a mirror",
    ),
    _cause(
        r"No module named '?vllm\b(?!\.)",
        ConfigProblem,
        "this interpreter has no vLLM",
        "make setup-vllm, or another --vllm-python",
    ),
    _cause(
        r"quantization (method|config).{0,120}(not supported|does not match|unknown)|Unknown quantization",
        ConfigProblem,
        "this quantization does not fit the model or the device",
        "look at --engine quantization",
    ),
    _cause(
        r"torchvision::nms|undefined symbol|cannot open shared object file|cannot import name|No module named",
        ConfigProblem,
        "this installation of vLLM is broken",
        "make setup-vllm, or another --vllm-python",
    ),
)
_TAKEN = re.compile(r"Address already in use|Errno 98\b|address is already in use", re.I)
_KILLED = re.compile(r"Failed core proc\(s\): \{.*: -9\b|died unexpectedly \(exit code: -9\)")
_ENGINE_DIED = re.compile(r"engine core exited unexpectedly|EngineCore encountered|EngineDeadError|died unexpectedly")


def size(log: Path) -> int:
    """Where the next words of a log will begin, in bytes; 0 where there is none."""
    try:
        return log.stat().st_size
    except OSError:
        return 0


def tail(log: Path, begins_at: int = 0) -> str:
    """The end of a log, from ``begins_at`` on at most `TAIL_BYTES`; empty where there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(begins_at, log.stat().st_size - TAIL_BYTES))
            return _ANSI.sub("", file.read().decode("utf-8", "replace"))
    except OSError:
        return ""


def last_line(text: str) -> str:
    """The last line that says something to people, without time stamp, process and module; empty for none."""
    return next(_telling(text), "")


def news(text: str) -> str:
    """The last line that says how a start gets on: of hundreds, those that people wait for; empty for none."""
    return next((line for line in _telling(text, ("WARNING",)) if _NEWS.search(line)), "")


def of_end(status: int | None, text: str) -> str:
    """How a server that was running ended, and why where its log tells."""
    if status == -9:
        how = "it was killed (SIGKILL), mostly by the system when memory runs out"
    elif status is not None and status < 0:
        how = f"it was ended by signal {-status}"
    else:
        how = "its engine died" if _ENGINE_DIED.search(text) else f"it ended with exit code {status}"
    return how + why(text)


def why(text: str) -> str:
    """The cause of an end, to be put behind it; empty where the log does not tell."""
    cause, line = _cause_in(_complaints(text))
    return f": {cause.what} ({line})" if cause else ""


def of_start(model: str, status: int, text: str, log: Path) -> SelfinstructError | PortTaken:
    """The error for a server that ended while it started: its cause where its log tells, else its last words."""
    complaints = _complaints(text)
    if any(_TAKEN.search(line) for line in complaints):
        return PortTaken(f"the port was taken by another program; its log is {log}")
    about, where = f"{model}: vLLM did not start", f"its log is {log}"
    cause, line = _cause_in(complaints)
    if cause is not None:
        quote = f" ({line})" if cause.quoted else ""
        return cause.error(f"{about}: {cause.what}{quote}; {cause.remedy}; {where}")
    if status == -9 or _KILLED.search(text):
        return ModelError(f"{about}: {of_end(-9, '')}; {_SMALLER}; {where}")
    if not _has_room(log):
        return OutputFailed(f"{about}: the disk of its log is full; make room, and run again; {where}")
    words = f"its last words: {_last_words(complaints, text) or 'none'}; {where}"
    if status <= 0:
        return ModelError(f"{about}: {of_end(status, text)}; {words}")
    return ConfigProblem(f"{about} (exit code {status}); {words}")


def _cause_in(complaints: list[str]) -> tuple[_Cause | None, str]:
    """The first cause of the table that any line tells, and that line."""
    for cause in _CAUSES:
        for line in complaints:
            if cause.words.search(line):
                return cause, one_line(_BEHIND.sub("", line), 200)
    return None, ""


def _last_words(complaints: list[str], text: str) -> str:
    """The first error, which is the engine's, and the last, which is the server's; without errors the last lines."""
    errors = [line for line in complaints if _EXCEPTION.search(line) and not _ONLY_REPEATS.search(line)]
    shown = errors[:1] + errors[-1:] if errors else list(_telling(text))[:_SHOWN_LINES][::-1]
    return " | ".join(dict.fromkeys(one_line(_BEHIND.sub("", line), 200) for line in shown))


def _complaints(text: str) -> list[str]:
    """The lines that may say what went wrong, in order: no news and warnings, no frames of tracebacks."""
    return [line for level, line in _lines(text) if level not in ("INFO", "WARNING", "DEBUG")]


def _telling(text: str, but: Collection[str] = ()) -> Iterator[str]:
    """Lines that say something to people, the last first, but for those of some levels."""
    for level, line in reversed(_lines(text)):
        if level not in but and not _NO_NEWS.search(line) and not _ONLY_REPEATS.search(line):
            yield one_line(line, 160)


def _lines(text: str) -> list[tuple[str, str]]:
    """Level, empty for none, and words of each line, but for those that have no words."""
    found = []
    for whole in text.splitlines():
        prefix = _PREFIX.match(whole)
        assert prefix is not None  # each of its parts may be missing
        line = whole[prefix.end() :].rstrip()
        if line and not _NO_WORDS.search(line):
            found.append((prefix["level"] or "", line))
    return found


def _has_room(log: Path) -> bool:
    try:
        return shutil.disk_usage(log.parent).free >= _LEAST_ROOM
    except OSError:
        return True
