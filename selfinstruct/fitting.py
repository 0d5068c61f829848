"""Whether a vLLM of ours could load a model here, and what keeps it from that: reckoned, and from files that are there.

Only a start shows it for certain: what a vLLM's version knows of a model, and how much its layers take while they
work, is not looked at.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from selfinstruct import gpus, hub_cache, model_digest
from selfinstruct.config import Settings
from selfinstruct.engine import interpreter
from selfinstruct.engine.launch import CPU_CACHE_GB
from selfinstruct.errors import ConfigProblem, UsageProblem
from selfinstruct.gpus import Build, Gpu, Memory, Need, Place
from selfinstruct.hub_cache import OnDisk
from selfinstruct.model_recipe import DEFAULT_MODELS, ModelRecipe
from selfinstruct.models import conversion
from selfinstruct.money import Price
from selfinstruct.pools import PoolModel

USABLE = ("reachable", "loadable", "servable")
STATES = (
    *USABLE,
    *("gated", "no key", "no answer", "not listed", "no vLLM", "no GPU", "busy", "too large", "incomplete"),
    *("mistaken", "retired"),
)
"""What a model may be found as, in the order in which a person would look at them."""

_CUDA, _CPU = "make setup-vllm BUILD=cuda", "make setup-vllm BUILD=cpu"
_PARALLEL = ("tensor_parallel_size", "pipeline_parallel_size")
_CONTEXTS = (16384, 8192, 4096)  # in tokens; a prompt with examples and a long answer take no more


@dataclass(frozen=True)
class Verdict:
    """What is found of a model: its state (one of `STATES`), why, and what to do about it.

    ``weights`` and ``download`` are bytes, 0 for none or not known; ``billed`` is set where somebody takes money, at
    ``price`` where that is known.
    """

    name: str
    state: str
    why: str
    fix: str = ""
    weights: int = 0
    download: int = 0
    billed: bool = False
    price: Price | None = None

    @property
    def usable(self) -> bool:
        """Whether a run may ask it."""
        return self.state in USABLE


@dataclass(frozen=True)
class Here:
    """What this machine has for models of its own.

    ``problem`` says why there is no vLLM, where that is not plain. ``sets`` are the GPUs of each server that a run
    would be given; none where vLLM is to choose. ``cpu_cache`` is VLLM_CPU_KVCACHE_SPACE in bytes: with it, vLLM takes
    no share of the memory. ``token`` and ``offline`` are said of the Hub, ``cache`` is its folder; ``amx`` of the CPU.
    """

    build: Build | None
    gpus: tuple[Gpu, ...]
    memory: Memory
    cache: Path
    problem: str = ""
    sets: tuple[tuple[Gpu, ...], ...] = ()
    cpu_cache: int = 0
    token: bool = False
    offline: bool = False
    amx: bool = False


class _Fit(NamedTuple):
    """Where a model would be loaded, and how many full contexts it could hold there (0: not known).

    Or what keeps it from that: a state that is not empty, why, and what to do.
    """

    state: str = ""
    why: str = ""
    fix: str = ""
    place: str = ""
    contexts: int = 0

    @property
    def has_room(self) -> bool:
        """Whether it fits, or will once others have ended."""
        return self.state in ("", "busy")


# --- this machine -------------------------------------------------------------------------------------------------


def look_around(settings: Settings, environment: Mapping[str, str]) -> Here:
    """What is here. Raises `UsageProblem` for GPUs that are asked for and not there."""
    build, problem = _build(settings, environment)
    seen = tuple(gpus.visible(gpus.listed(), environment))
    space = environment.get("VLLM_CPU_KVCACHE_SPACE", CPU_CACHE_GB)
    return Here(
        build,
        seen,
        gpus.memory(),
        hub_cache.root(environment),
        problem,
        sets=tuple(_set_of(one, seen) for one in settings.gpus) if seen else (),
        cpu_cache=int(space) * 2**30 if space.isdigit() else 0,
        token=hub_cache.has_token(environment),
        offline=hub_cache.is_offline(environment),
        amx=gpus.has_amx(),
    )


def _build(settings: Settings, environment: Mapping[str, str]) -> tuple[Build | None, str]:
    try:
        python = interpreter.find(settings.vllm_python)
    except ConfigProblem as error:
        return None, str(error)
    if python is None:
        return None, ""
    build = gpus.build_of(python, environment)
    return build, "" if build else f"{python} has no vLLM"


def _set_of(numbers: str, seen: Sequence[Gpu]) -> tuple[Gpu, ...]:
    by_number = {gpu.number: gpu for gpu in seen}
    wanted = numbers.split(",")
    if missing := [number for number in wanted if number not in by_number]:
        raise UsageProblem(f"--gpus {numbers}: there is no {missing[0]}; nvidia-smi lists {', '.join(by_number)}")
    return tuple(by_number[number] for number in wanted)


# --- a model ------------------------------------------------------------------------------------------------------


def of_vllm(model: PoolModel, recipe: ModelRecipe, here: Here) -> Verdict:
    """What is to be said of a model of a pool that is asked through a vLLM of ours, as this recipe."""
    folder, from_hub = _folder(recipe, here.cache)
    there = folder is not None and folder.is_dir()
    disk = hub_cache.weights_in(folder) if folder and there else OnDisk(0, ("config.json",))
    need = _need(model, recipe, folder, disk)
    found = Verdict(model.name, "loadable", _told(need, whole=disk.whole), weights=need.weights)
    if disk.broken or (disk.missing and not from_hub):
        why = f"{folder} {_lacking(disk) if there else 'is not there'}"
        return replace(found, state="incomplete", why=why, fix=_completed(recipe, folder, from_hub=from_hub))
    gated = bool(model.gated and disk.missing and not here.token)
    fit = _fit(need, model.bits, recipe, here)
    if fit.state:
        why = "; ".join(filter(None, (fit.why, found.why, "gated" if gated else "")))
        return replace(found, state=fit.state, why=why, fix=fit.fix)
    many = f"{fit.contexts:,} such contexts fit" if fit.contexts > 1 else "fits"
    told = f"{many} on {fit.place}" if need.weights else "only a start shows whether it fits"
    found = replace(found, why=f"{found.why}; {told}")
    if not disk.missing:
        return found
    if here.offline:
        why = f"{recipe.name} is not whole in the Hub's cache, and HF_HUB_OFFLINE is set"
        return replace(found, state="incomplete", why=why, fix="unset HF_HUB_OFFLINE")
    if gated:
        return replace(found, state="gated", fix="agree to its licence on the Hub, and set HF_TOKEN")
    return replace(found, state="servable", download=max(0, need.weights - disk.size))


def _folder(recipe: ModelRecipe, cache: Path) -> tuple[Path | None, bool]:
    """Where its files are, if they are, and whether the Hub has those that are not."""
    if recipe.name == DEFAULT_MODELS["local"]:
        return conversion.default_folder(), False
    if model_digest.is_folder(recipe.name):
        return Path(recipe.name).expanduser(), False
    return hub_cache.snapshot(cache, recipe.name, str(recipe.engine.get("revision", ""))), True


def _lacking(disk: OnDisk) -> str:
    return f"has a broken {disk.broken[0]}" if disk.broken else f"has no {disk.missing[0]}"


def _completed(recipe: ModelRecipe, folder: Path | None, *, from_hub: bool) -> str:
    """What to do about a folder that is not whole."""
    if from_hub and folder is not None:  # what is in the cache is not downloaded again, whole or not
        return f"remove {folder.parent.parent}, so that it is downloaded again"
    converted = recipe.name == DEFAULT_MODELS["local"]
    return "selfinstruct models convert" if converted else f"put all its files into {folder}"


def _need(model: PoolModel, recipe: ModelRecipe, folder: Path | None, disk: OnDisk) -> Need:
    """By the files where they are whole; by the pool's figures else."""
    weights = int(model.parameters * 10**9) * model.bits // 8
    shape = hub_cache.Geometry(model.layers, model.kv_heads, model.head_dim)
    if folder is not None and not all(shape):
        shape = hub_cache.geometry(folder)
    small = str(recipe.engine.get("kv_cache_dtype", "auto")).startswith(("fp8", "int8"))
    longest = recipe.engine.get("max_model_len")
    return Need(
        disk.size if disk.whole else weights,
        gpus.cache_of_token(*shape, bytes_of_value=1 if small else 2),
        longest if isinstance(longest, int) and longest > 0 else 0,  # else it is made to fit
        max(1, shape.kv_heads),
    )


def _told(need: Need, *, whole: bool) -> str:
    weights = f"{gigabytes(need.weights)} of weights" if need.weights else "weights of unknown size"
    cache = f", {gigabytes(need.cache())} for a context of {need.context:,}" if need.cache() else ""
    return f"{weights}{' on disk' if whole else ''}{cache}"


def gigabytes(size: int) -> str:
    """Bytes for people: ``0.3 GB``, ``13 GB``; a GB is 10⁹ bytes."""
    return f"{size / 10**9:.1f} GB" if size < 10**10 else f"{size / 10**9:,.0f} GB"


# --- where it would be loaded -------------------------------------------------------------------------------------


def _fit(need: Need, bits: int, recipe: ModelRecipe, here: Here) -> _Fit:
    on_gpus = _on_gpus(need, recipe.engine, here)
    if bits >= 16 or here.amx or "quantization" in recipe.engine:
        on_cpu = _on_cpu(need, _share(recipe.engine), here)
    else:  # vLLM 0.32: fp8 (``kernels/linear/scaled_mm/cpu.py``), mxfp4 (``fused_moe/experts/cpu_moe.py``)
        why = f"weights of {bits} bits want a GPU or a CPU with AMX"
        on_cpu = _Fit("no GPU", why, gpus.smallest_for(need, _share(recipe.engine)))
    if here.build is None or here.build.blind:
        if on_gpus.has_room or on_cpu.has_room:
            fix, where = (_CUDA, "the GPUs") if on_gpus.has_room else (_CPU, "the CPU")
            return _Fit("no vLLM", f"would fit on {where} here" if need.weights else "", fix)
        return _Fit("no vLLM", fix=f"{_CUDA}, and {on_gpus.fix}")
    if here.build.cpu:
        return on_cpu
    if on_gpus.state == "no GPU" and on_cpu.has_room:
        return on_gpus._replace(why="would fit on the CPU" if need.weights else "", fix=_CPU)
    return on_gpus


def _on_cpu(need: Need, share: float, here: Here) -> _Fit:
    memory = here.memory
    room = Place("", 1, memory.total, memory.available).room(share)
    if here.cpu_cache:
        room = min(memory.available - gpus.RESERVE, need.weights + here.cpu_cache)
    if need.whole() > room:
        why = f"room for {gigabytes(max(0, room))} in memory"
        return _Fit("too large", why, _shorter(need, room) or gpus.smallest_for(need, share))
    if not here.cpu_cache and memory.available < memory.total * share:
        why = f"vLLM wants {share:.0%} of the memory, {memory.available / memory.total:.0%} is free"
        return _Fit(
            "busy", why, f"export VLLM_CPU_KVCACHE_SPACE={CPU_CACHE_GB}, for so many GB beside the weights instead"
        )
    return _Fit(place="the CPU", contexts=need.contexts(room))


def _on_gpus(need: Need, engine: Mapping[str, Any], here: Here) -> _Fit:
    """On any of the sets, since a run puts a model on whichever is free; so the least of them decides."""
    share = _share(engine)
    larger = gpus.smallest_for(need, share)
    if not here.gpus:
        return _Fit("no GPU", fix=larger)
    places = []
    for given in here.sets or (here.gpus[: _parallel(engine) or 1],):
        count = _parallel(engine) or len(given)
        if count > len(given):
            return _Fit("too large", f"its options ask for {count} GPUs", f"{count} GPUs for one server (--gpus 0,1,…)")
        places.append(gpus.place_of(given[:count]))
    place = min(places, key=lambda place: place.room(share) - need.whole(place.devices))
    room = place.room(share)
    if need.whole(place.devices) > room:
        fix = _enough(need, share, here.gpus) or _shorter(need, room, place.devices) or larger
        return _Fit("too large", f"room for {gigabytes(max(0, room))} on {place.name}", fix)
    for one in places:
        if one.free < one.total * share:
            why = f"vLLM wants {share:.0%} of {one.name}, {one.free / one.total:.0%} is free"
            return _Fit("busy", why, f"end what else uses {one.name}")
    return _Fit(place=place.name, contexts=need.contexts(room, place.devices))


def _enough(need: Need, share: float, seen: Sequence[Gpu]) -> str:
    """The option that takes as many of the GPUs that are there as it needs, or nothing."""
    for count in (1, 2, 4, 8):
        if count <= len(seen) and need.whole(count) <= gpus.place_of(seen[:count]).room(share):
            return f"--gpus {','.join(gpu.number for gpu in seen[:count])}"
    return ""


def _shorter(need: Need, room: int, devices: int = 1) -> str:
    """A context that fits where the weights do, or nothing."""
    for tokens in _CONTEXTS if need.weights else ():
        if tokens < need.context and need._replace(context=tokens).whole(devices) <= room:
            return f"--engine max_model_len={tokens}"
    return ""


def _parallel(engine: Mapping[str, Any]) -> int:
    """The devices that its options spread one copy of it over; 0 where they leave that to the set of GPUs."""
    if not any(name in engine for name in (*_PARALLEL, "data_parallel_size")):
        return 0
    return math.prod(size for name in _PARALLEL if isinstance(size := engine.get(name), int))


def _share(engine: Mapping[str, Any]) -> float:
    given = engine.get("gpu_memory_utilization")
    return float(given) if isinstance(given, int | float) else gpus.SHARE
