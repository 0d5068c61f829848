"""What a vLLM of ours could load on machines that are made up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from selfinstruct import fitting, gpus
from selfinstruct.config import Settings
from selfinstruct.engine import interpreter
from selfinstruct.errors import UsageProblem
from selfinstruct.fitting import Here, Verdict
from selfinstruct.gpus import Build, Gpu, Memory
from selfinstruct.model_recipe import ModelRecipe
from selfinstruct.pools import PoolModel
from tests.safetensors_bytes import safetensors

GB = 10**9
CUDA, CPU = Build("0.32.0", cpu=False), Build("0.32.0", cpu=True)
LARGE = tuple(Gpu(str(number), "H100", 80 * GB, 0) for number in range(4))
SMALL = Gpu("0", "L4", 24 * GB, 0)


@pytest.fixture
def bare(tmp_path: Path) -> Here:
    """16 GB of memory, and nothing else."""
    return Here(None, (), Memory(16 * GB, 16 * GB), tmp_path / "hub")


def entry(billions: float = 6.7, **more: Any) -> PoolModel:
    """A model with the shape of Llama 2 7B: a context of 4,096 is 2.1 GB."""
    shape = {"layers": 32, "kv_heads": 32, "head_dim": 128}
    return PoolModel(**{"name": "m", "hub": "maker/M", "parameters": billions, **shape, **more})


def seen(model: PoolModel, here: Here) -> Verdict:
    """The verdict, of the recipe that a run would be given."""
    engine = {"max_model_len": model.context, **model.engine}
    return fitting.of_vllm(model, ModelRecipe(api="vllm", name=model.asked_as, alias=model.name, engine=engine), here)


def told(verdict: Verdict) -> tuple[str, str]:
    """Its state, and what to do."""
    return verdict.state, verdict.fix


def cached(here: Here, size: int = 1000) -> Here:
    """With the model whole in the Hub's cache."""
    model = here.cache / "models--maker--M"
    (model / "snapshots" / "abc").mkdir(parents=True)
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text("abc")
    (model / "snapshots" / "abc" / "config.json").write_text('{"model_type": "llama"}')
    (model / "snapshots" / "abc" / "model.safetensors").write_bytes(safetensors(size))
    return here


# --- without vLLM ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("billions", "fix"),
    [
        (3, "make setup-vllm BUILD=cpu"),
        (6.7, "make setup-vllm BUILD=cuda, and a GPU of 24 GB"),
        (32.5, "make setup-vllm BUILD=cuda, and a GPU of 80 GB"),
        (69, "make setup-vllm BUILD=cuda, and 2 GPUs of 80 GB"),
    ],
)
def test_a_machine_without_anything_is_told_what_a_model_wants(bare: Here, billions: float, fix: str) -> None:
    """A small one no more than the build for CPUs."""
    assert told(seen(entry(billions), bare)) == ("no vLLM", fix)


def test_a_machine_with_gpus_is_told_the_build_for_them(bare: Here) -> None:
    """Also where others use them now."""
    busy = SMALL._replace(used=20 * GB)
    for gpu in (SMALL, busy):
        verdict = seen(entry(), replace(bare, gpus=(gpu,)))
        assert told(verdict) == ("no vLLM", "make setup-vllm BUILD=cuda")
        assert verdict.why == "would fit on the GPUs here; 13 GB of weights, 2.1 GB for a context of 4,096"


def test_a_vllm_that_sees_no_gpu_is_none(bare: Here) -> None:
    """Its torch is the wrong one."""
    here = replace(bare, gpus=(SMALL,), build=Build("0.32.0", cpu=False, blind="its torch has no CUDA"))
    assert told(seen(entry(), here)) == ("no vLLM", "make setup-vllm BUILD=cuda")


def test_what_is_gated_is_said_at_once(bare: Here) -> None:
    """It will be the next thing to do; not where the files are there, or a token is."""
    assert seen(entry(gated=True), bare).why.endswith("; gated")
    assert not seen(entry(gated=True), replace(bare, token=True)).why.endswith("gated")
    assert not seen(entry(gated=True), cached(bare)).why.endswith("gated")


# --- on GPUs --------------------------------------------------------------------------------------------------------


def test_a_model_that_fits_is_downloaded_first(bare: Here) -> None:
    """(24 · 0.92 - 2 - 13.4) / 2.147 = 3.1 contexts beside the weights."""
    verdict = seen(entry(), replace(bare, build=CUDA, gpus=(SMALL,)))
    assert (verdict.state, verdict.download, verdict.billed) == ("servable", 13_400_000_000, False)
    assert verdict.why == "13 GB of weights, 2.1 GB for a context of 4,096; 3 such contexts fit on GPU 0"


def test_a_model_in_the_cache_is_loadable_and_weighs_what_its_files_do(bare: Here) -> None:
    """Gated or not, with the Hub or without."""
    here = replace(cached(bare, size=5_000_000), build=CUDA, gpus=(SMALL,), offline=True)
    verdict = seen(entry(gated=True), here)
    assert (verdict.state, verdict.weights, verdict.download) == ("loadable", 5_000_000, 0)
    assert verdict.why.startswith("0.0 GB of weights on disk, ")


def test_part_of_a_model_in_the_cache_is_not_downloaded_again(bare: Here) -> None:
    """vLLM fetches what is missing."""
    here = replace(cached(bare, size=1000), build=CUDA, gpus=(SMALL,))
    (here.cache / "models--maker--M/snapshots/abc/config.json").unlink()
    verdict = seen(entry(), here)
    assert (verdict.state, verdict.download) == ("servable", 13_400_000_000 - 1000)


def test_without_a_gpu_the_other_build_is_named_where_it_helps(bare: Here) -> None:
    """And else the GPU."""
    here = replace(bare, build=CUDA)
    assert told(seen(entry(3), here)) == ("no GPU", "make setup-vllm BUILD=cpu")
    assert told(seen(entry(), here)) == ("no GPU", "a GPU of 24 GB")


@pytest.mark.parametrize(
    ("model", "fix"),
    [
        (entry(110), "--gpus 0,1,2,3"),
        (entry(32.5, context=65536), "--gpus 0,1"),
        (entry(400), "more than 8 GPUs of 80 GB"),
        (entry(32.5, context=524288), "--engine max_model_len=8192"),
    ],
)
def test_a_model_that_is_too_large_is_told_the_least_that_holds_it(bare: Here, model: PoolModel, fix: str) -> None:
    """The GPUs that are there, a shorter context, or others."""
    assert told(seen(model, replace(bare, build=CUDA, gpus=LARGE))) == ("too large", fix)


def test_a_set_of_gpus_adds_up(bare: Here) -> None:
    """Two of 80 GB hold what one does not."""
    here = replace(bare, build=CUDA, gpus=LARGE, sets=(LARGE[:2], LARGE[2:]))
    verdict = seen(entry(65), here)
    assert verdict.state == "servable"
    assert "contexts fit on GPU 0,1" in verdict.why


def test_the_least_of_several_sets_decides(bare: Here) -> None:
    """A run puts a model on whichever is free."""
    here = replace(bare, build=CUDA, gpus=LARGE, sets=(LARGE[:3], LARGE[3:]))
    verdict = seen(entry(65), here)
    assert verdict.state == "too large"
    assert verdict.why.startswith("room for 72 GB on GPU 3; ")


def test_the_options_of_a_model_say_how_many_gpus_it_takes(bare: Here) -> None:
    """Those first, without --gpus; and more than a set has are not there."""
    model = entry(65, engine={"tensor_parallel_size": 2})
    assert seen(model, replace(bare, build=CUDA, gpus=LARGE)).why.endswith(" on GPU 0,1")
    verdict = seen(model, replace(bare, build=CUDA, gpus=LARGE, sets=((LARGE[0],),)))
    assert (verdict.state, verdict.why.partition(";")[0]) == ("too large", "its options ask for 2 GPUs")


def test_copies_of_a_model_have_a_gpu_each(bare: Here) -> None:
    """Data parallel: a set of two holds no more than one does."""
    here = replace(bare, build=CUDA, gpus=LARGE, sets=(LARGE[:2],))
    assert seen(entry(65, engine={"data_parallel_size": 2}), here).state == "too large"
    assert seen(entry(32.5, engine={"data_parallel_size": 2}), here).state == "servable"


def test_a_gpu_that_others_use_is_busy_until_the_option_asks_for_less(bare: Here) -> None:
    """vLLM refuses to start where its share is not free."""
    here = replace(bare, build=CUDA, gpus=(Gpu("0", "H100", 80 * GB, 20 * GB),))
    verdict = seen(entry(), here)
    assert told(verdict) == ("busy", "end what else uses GPU 0")
    assert verdict.why.startswith("vLLM wants 92% of GPU 0, 75% is free; ")
    assert seen(entry(engine={"gpu_memory_utilization": 0.5}), here).state == "servable"


def test_a_small_cache_and_a_context_that_is_made_to_fit(bare: Here) -> None:
    """fp8 takes half; without a length of its own vLLM takes what there is."""
    here = replace(bare, build=CUDA, gpus=(SMALL,))
    assert "1.1 GB for a context" in seen(entry(engine={"kv_cache_dtype": "fp8"}), here).why
    assert "context of" not in seen(entry(engine={"max_model_len": "auto"}), here).why


def test_a_model_of_unknown_size_is_neither_refused_nor_said_to_fit(bare: Here) -> None:
    """A pool may say no more than its Hub id; then no machine is named that would hold it."""
    model = PoolModel(name="m", hub="maker/M")
    verdict = seen(model, replace(bare, build=CUDA, gpus=(SMALL,)))
    unknown = "weights of unknown size"
    assert (verdict.state, verdict.why) == ("servable", f"{unknown}; only a start shows whether it fits")
    for here in (bare, replace(bare, gpus=(SMALL,)), replace(bare, build=CUDA)):
        assert seen(model, here).why == unknown
    refused = seen(model, replace(bare, build=CUDA, memory=Memory(0, 0)))
    assert told(refused) == ("no GPU", "a GPU large enough for it")


# --- on the CPU -----------------------------------------------------------------------------------------------------


def test_a_build_for_cpus_takes_memory(bare: Here) -> None:
    """(16 · 0.92 - 2 - 6) / 2.147 = 3.1 contexts; GPUs are nothing to it."""
    for here in (bare, replace(bare, gpus=LARGE)):
        verdict = seen(entry(3), replace(here, build=CPU))
        assert (verdict.state, verdict.why.rpartition("; ")[2]) == ("servable", "3 such contexts fit on the CPU")


@pytest.mark.parametrize(
    ("model", "state", "fix"),
    [
        (entry(32.5), "too large", "a GPU of 80 GB"),
        (entry(3, context=32768), "too large", "--engine max_model_len=8192"),
        (entry(3, bits=8), "no GPU", "a GPU of 16 GB"),
        (entry(3, bits=4, engine={"quantization": "awq"}), "servable", ""),
    ],
)
def test_not_all_weights_are_for_cpus(bare: Here, model: PoolModel, state: str, fix: str) -> None:
    """Nor those published in 8 bits, unless the pool says how they are packed."""
    assert told(seen(model, replace(bare, build=CPU))) == (state, fix)


@pytest.mark.parametrize("bits", [8, 4])
def test_few_bits_are_for_cpus_with_amx(bare: Here, bits: int) -> None:
    """Of fp8 and mxfp4, which is how weights are published."""
    here = replace(bare, build=CPU, amx=True)
    assert seen(entry(3, bits=bits), here).state == "servable"
    refused = seen(entry(3, bits=bits), replace(here, amx=False))
    assert refused.why.startswith(f"weights of {bits} bits want a GPU or a CPU with AMX; ")


def test_memory_in_use_is_busy_unless_the_cache_is_given(bare: Here) -> None:
    """With VLLM_CPU_KVCACHE_SPACE no share is wanted, and the cache has that much."""
    here = replace(bare, build=CPU, memory=Memory(16 * GB, 12 * GB))
    verdict = seen(entry(3), here)
    assert verdict.state == "busy"
    assert verdict.fix.startswith("export VLLM_CPU_KVCACHE_SPACE=4, ")
    assert seen(entry(3), replace(here, cpu_cache=4 * GB)).why.endswith("; fits on the CPU")
    assert seen(entry(3), replace(here, cpu_cache=2 * GB)).state == "too large"


# --- files ----------------------------------------------------------------------------------------------------------


def test_gated_weights_want_a_token(bare: Here) -> None:
    """Only once all else is there."""
    here = replace(bare, build=CUDA, gpus=(SMALL,))
    assert told(seen(entry(gated=True), here)) == ("gated", "agree to its licence on the Hub, and set HF_TOKEN")
    assert seen(entry(gated=True), replace(here, token=True)).state == "servable"


def test_offline_nothing_is_downloaded(bare: Here) -> None:
    """As the user wants it."""
    here = replace(bare, build=CUDA, gpus=(SMALL,), offline=True)
    assert told(seen(entry(), here)) == ("incomplete", "unset HF_HUB_OFFLINE")


def test_a_folder_is_whole_or_its_missing_file_is_named(bare: Here, tmp_path: Path) -> None:
    """Its shape is read from it where the pool tells none: 2 · 2 layers · 2 heads · 64 · 4,096 · 2 bytes."""
    here = replace(bare, build=CUDA, gpus=(SMALL,))
    model = PoolModel(name="m", model=str(tmp_path / "model"))
    assert seen(model, here).why == f"{tmp_path}/model is not there"
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_bytes(safetensors(1000))
    verdict = seen(model, here)
    assert (verdict.state, verdict.why) == ("incomplete", f"{tmp_path}/model has no config.json")
    assert verdict.fix == f"put all its files into {tmp_path}/model"
    config = '{"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64}'
    (tmp_path / "model" / "config.json").write_text(config)
    verdict = seen(model, here)
    room = int(24 * GB * gpus.SHARE) - gpus.RESERVE - 1000
    assert verdict.state == "loadable"
    assert verdict.why.endswith(f"; {room // (2 * 2 * 2 * 64 * 4096 * 2):,} such contexts fit on GPU 0")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_broken_file_is_named_in_a_folder_and_in_the_cache(bare: Here, tmp_path: Path, name: str) -> None:
    """An empty configuration, weights cut short. What is in the cache has to go before it is downloaded again."""
    here = replace(cached(bare), build=CUDA, gpus=(SMALL,))
    kept = here.cache / "models--maker--M"
    folder = kept / "snapshots" / "abc"
    (folder / name).write_bytes((folder / name).read_bytes()[:10])
    verdict = seen(entry(), here)
    assert (verdict.state, verdict.why) == ("incomplete", f"{folder} has a broken {name}")
    assert verdict.fix == f"remove {kept}, so that it is downloaded again"
    verdict = seen(PoolModel(name="m", model=str(folder)), here)
    assert (verdict.state, verdict.why) == ("incomplete", f"{folder} has a broken {name}")
    assert verdict.fix == f"put all its files into {folder}"


def test_the_embedded_model_is_converted_first(bare: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under its own name."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    model = PoolModel(name="m", model="smollm2-135m-instruct")
    assert told(seen(model, bare)) == ("incomplete", "selfinstruct models convert")


# --- looking around -------------------------------------------------------------------------------------------------


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Two GPUs, no vLLM."""
    monkeypatch.setattr(gpus, "listed", lambda: [SMALL, replace_number(SMALL, "1")])
    monkeypatch.setattr(gpus, "memory", lambda: Memory(7, 5))
    monkeypatch.setattr(gpus, "has_amx", lambda: True)
    monkeypatch.setattr(interpreter, "find", lambda given: None)
    return monkeypatch


def replace_number(gpu: Gpu, number: str) -> Gpu:
    """The same under another number."""
    return gpu._replace(number=number)


def test_what_is_here_is_put_together(machine: pytest.MonkeyPatch) -> None:
    """The sets in the order in which they are asked for."""
    environment = {"HF_HUB_CACHE": "/c", "HF_TOKEN": "x", "HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "2"}
    here = fitting.look_around(Settings(gpus=("1", "0")), environment)
    second = replace_number(SMALL, "1")
    assert here == Here(
        None, (SMALL, second), Memory(7, 5), Path("/c"), "", ((second,), (SMALL,)), 2 * 2**30, True, True, True
    )


def test_gpus_that_are_not_there_are_a_wrong_option(machine: pytest.MonkeyPatch) -> None:
    """The message says which are; on a machine without any, the report does."""
    with pytest.raises(UsageProblem, match=r"--gpus 0,7: there is no 7; nvidia-smi lists 0, 1"):
        fitting.look_around(Settings(gpus=("0,7",)), {})
    machine.setattr(gpus, "listed", list)
    assert fitting.look_around(Settings(gpus=("0,7",)), {}).sets == ()


def test_an_interpreter_that_is_no_program_is_told_not_raised(tmp_path: Path) -> None:
    """A check is a report; one without vLLM is named, too."""
    here = fitting.look_around(Settings(vllm_python="/no/such/python"), {})
    assert here.build is None
    assert "/no/such/python: no such program" in here.problem
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    assert fitting.look_around(Settings(vllm_python=str(python)), {}).problem == f"{python} has no vLLM"
