"""What a tuning is started with: one table of values, whose defaults are TRL's own, and presets of published models.

Precedence, per value: flag, then ``--set``, then preset or file, then default. A file has values for all kinds at its
top, and tables ``[sft]``, ``[dpo]``, ``[reward]``, ``[critique]`` for one kind. Unknown keys are errors.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import Field, FiniteFloat, ValidationError

from selfinstruct import resources
from selfinstruct.errors import ConfigProblem, UsageProblem
from selfinstruct.schema import Noun

Kind = Literal["sft", "dpo", "reward", "critique"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)


class Tuning(Noun):
    """How a model is tuned. Defaults are TRL 1.16's (``SFTConfig``, ``ModelConfig``), but for those explained here.

    ``base`` is a folder, a Hub id at ``revision``, or ``smollm2``, the embedded model; ``made_for`` what a preset was
    published for where that has no one name. ``global_batch`` is records per optimizer step over all processes; of it
    ``batch`` are in memory at once, per process. Lengths are in tokens. ``warmup`` is a share of all steps. 0 means
    none for ``max_steps`` (then ``epochs`` count), ``max_prompt`` and ``weight_decay``.
    """

    kind: Kind
    base: str = ""
    revision: str = "main"
    made_for: str = ""
    preset: str = ""
    source: str = ""
    seed: int = Field(default=42, ge=0)
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"

    # The data.
    chat_template: str = ""  # of ours, by name; empty is the model's own
    mix: dict[str, float] = {}
    held_out: float = Field(default=0.0, ge=0)  # a share below 1, else a number of rows
    max_length: int = Field(default=1024, ge=8)
    too_long: Literal["cut", "drop"] = "cut"
    loss_on: Literal["assistant", "all"] = "assistant"  # TRL's own default is all
    packing: bool = False
    group_by_length: bool = False
    weighting: Literal["none", "class", "balanced", "given"] = "given"  # systems §7.3
    class_weights: dict[str, Annotated[FiniteFloat, Field(ge=0)]] = {}
    rationale_alpha: float | None = Field(default=None, ge=0, le=1)  # systems §13

    # The optimizer.
    learning_rate: float = Field(default=2e-5, gt=0, allow_inf_nan=False)
    schedule: Literal["linear", "cosine", "constant", "constant_with_warmup"] = "linear"
    warmup: float = Field(default=0.0, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    optimizer: Literal["adamw_torch", "rmsprop", "paged_adamw_32bit", "adafactor", "adamw_torch_fused"] = "adamw_torch"
    max_grad_norm: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    epochs: float = Field(default=3.0, gt=0, allow_inf_nan=False)
    max_steps: int = Field(default=0, ge=0)
    global_batch: int = Field(default=8, ge=1)

    # What is tuned: everything, or an adapter.
    peft: Literal["none", "lora", "qlora", "adaption-prompt"] = "none"
    lora_r: int = Field(default=16, ge=1)
    lora_alpha: int = Field(default=32, ge=1)
    lora_dropout: float = Field(default=0.05, ge=0, lt=1)
    lora_targets: tuple[str, ...] = ("all-linear",)
    adapter_len: int = Field(default=10, ge=1)  # LLaMA-Adapter, systems §14
    adapter_layers: int = Field(default=30, ge=1)  # the topmost; of a smaller model all but its first

    # Preferences.
    beta: float = Field(default=0.1, gt=0, allow_inf_nan=False)
    max_prompt: int = Field(default=512, ge=0)  # of dpo, cut from the left (systems §8.2)
    margin: bool = False
    center_rewards: float = Field(default=0.0, ge=0, allow_inf_nan=False)

    # How, and how often: none of these decides what is learned.
    batch: int = Field(default=0, ge=0)  # 0: the global batch, at most 8, TRL's own
    gradient_checkpointing: bool | None = None  # None: on a GPU
    sharding: Literal["none", "fsdp"] = "none"
    log_steps: int = Field(default=1, ge=1)
    save_steps: int = Field(default=100, ge=1)
    eval_steps: int = Field(default=100, ge=1)
    keep_checkpoints: int = Field(default=2, ge=2)  # while the second is written the first must stay


OPERATIONAL: Final = frozenset(
    """batch gradient_checkpointing sharding log_steps save_steps eval_steps keep_checkpoints
    made_for preset source""".split()
)
"""Values that may differ when a tuning goes on: the same is learned, but for the order floating point adds in."""

_OF: Final[dict[str, frozenset[Kind]]] = {
    "loss_on": frozenset({"sft", "critique"}),
    "too_long": frozenset({"sft", "dpo", "critique"}),  # of a reward nothing is cut
    "packing": frozenset({"sft", "critique"}),
    "group_by_length": frozenset({"sft", "critique"}),
    "weighting": frozenset({"sft"}),
    "class_weights": frozenset({"sft"}),
    "rationale_alpha": frozenset({"sft"}),
    "beta": frozenset({"dpo"}),
    "max_prompt": frozenset({"dpo"}),
    "margin": frozenset({"reward"}),
    "center_rewards": frozenset({"reward"}),
}
"""The kinds that read a value, where not all do."""

_DEFAULTS: Final[dict[Kind, dict[str, FiniteFloat]]] = {
    "sft": {},
    "dpo": {"learning_rate": 1e-6},  # TRL's DPOConfig
    "reward": {"learning_rate": 1e-4},  # TRL's RewardConfig
    "critique": {},
}


def names() -> list[str]:
    """The presets we ship."""
    return sorted(path.stem for path in _folder().glob("*.toml"))


def kinds_of(preset: str) -> tuple[Kind, ...]:
    """The kinds that a preset has a table for; all of them where it has none."""
    data = _read(preset)
    return tuple(kind for kind in KINDS if kind in data) or KINDS


def resolve(kind: Kind, preset: str | None, sets: Iterable[str], flags: Mapping[str, Any]) -> Tuning:
    """The values of a tuning; ``flags`` that are None were not given.

    Raises `ConfigProblem` for a preset that cannot be read, is made for another kind, or has an unknown key or a bad
    value, and `UsageProblem` for what is wrong in ``--set`` or a flag.
    """
    data: dict[str, Any] = dict(_DEFAULTS[kind])
    if preset:
        data |= {"preset": Path(preset).stem, **_table(preset, kind)}
        _check(data, kind, preset)
    for item in sets:
        key, equals, text = item.partition("=")
        if not equals:
            raise UsageProblem(f"--set '{item}': expected key=value, such as learning_rate=1e-5")
        data[key.strip()] = _value(text.strip())
        _check(data, kind, f"--set '{item}'")
    for key, value in flags.items():
        if value is not None:
            data[key] = value
            _check(data, kind, f"--{key.replace('_', '-')}")
    return _together(Tuning.model_validate(data | {"kind": kind}))


def _table(preset: str, kind: Kind) -> dict[str, Any]:
    """What a preset says of a kind."""
    data = _read(preset)
    kinds = [name for name in KINDS if name in data]
    if kinds and kind not in kinds:
        raise ConfigProblem(f"{preset}: a preset for {' and '.join(f'finetune {name}' for name in kinds)}, not {kind}")
    own = data.get(kind, {})
    if not isinstance(own, dict):
        raise ConfigProblem(f"{preset}: '{kind}' is a table of values: write  [{kind}]")
    return {key: value for key, value in data.items() if key not in KINDS} | own


def _read(preset: str) -> dict[str, Any]:
    path = Path(preset)
    if not path.suffix and not path.exists():
        path = _folder() / f"{preset}.toml"
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigProblem(
            f"{preset}: cannot read the preset: {error.strerror}{_meant(preset, names())}; there are"
            f" {', '.join(names())}"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigProblem(f"{path}: not TOML: {error}") from error


def _folder() -> Path:
    return resources.recipes_dir() / "finetune"


def _check(data: dict[str, Any], kind: Kind, where: str) -> None:
    """Raise one clear line for the first thing that is wrong."""
    wrong = UsageProblem if where.startswith("--") else ConfigProblem
    if "kind" in data:
        raise wrong(f"{where}: the kind of a tuning is its command, such as  finetune {kind}")
    try:
        Tuning.model_validate(data | {"kind": kind})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise wrong(f"{where}: unknown key '{key}'{_meant(key, Tuning.model_fields)}") from error
        said = "" if where.endswith(key.replace("_", "-")) else f"{key}: "
        raise wrong(f"{where}: {said}{first['msg']} (got {first['input']!r})") from error
    for key in data.keys() & _OF.keys():
        if kind not in _OF[key]:
            raise wrong(f"{where}: '{key}' is for {' and '.join(sorted(_OF[key]))}, and this is {kind}")


def _meant(word: str, words: Iterable[str]) -> str:
    """A guess at what was meant, where one is near."""
    close = difflib.get_close_matches(word, list(words), n=1)
    return f"; did you mean '{close[0]}'?" if close else ""


def _together(tuning: Tuning) -> Tuning:
    """What several values say together. Raises `UsageProblem`."""
    if tuning.kind == "dpo" and tuning.max_prompt >= tuning.max_length:
        raise UsageProblem(
            f"--max-prompt {tuning.max_prompt} leaves no room for an answer within --max-length {tuning.max_length}:"
            " lower the one or raise the other"
        )
    if tuning.weighting == "class" and not tuning.class_weights:
        raise UsageProblem("weighting by class needs weights: --set 'class_weights={GPT4=1.0, GPT3=0.1}'")
    if tuning.rationale_alpha is not None and tuning.weighting == "none":
        raise UsageProblem("rationale_alpha weighs two tasks: leave --set weighting=none out")
    return tuning


def _value(text: str) -> Any:
    """A TOML value; a bare word is a string."""
    try:
        return tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        return text
