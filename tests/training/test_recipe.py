"""What a tuning is started with: who has the last word, what is refused and in which words, and the presets' values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from selfinstruct.errors import ConfigProblem, UsageProblem
from selfinstruct.training import recipe, templates
from selfinstruct.training.recipe import KINDS, OPERATIONAL, Kind, Tuning, resolve

MISTRAL = "mistralai/Mistral-7B-v0.1"
QKVO = ("q_proj", "k_proj", "v_proj", "o_proj")

PUBLISHED: dict[tuple[str, Kind], dict[str, Any]] = {
    ("alpaca-7b", "sft"): {  # systems §2.4
        "chat_template": "alpaca",
        "max_length": 512,
        "learning_rate": 2e-5,
        "epochs": 3,
        "global_batch": 128,
        "weight_decay": 0,
        "warmup": 0.03,
        "schedule": "cosine",
        "loss_on": "assistant",
        "sharding": "fsdp",
    },
    ("belle-7b", "sft"): {  # §3.3
        "chat_template": "belle",
        "learning_rate": 8e-6,
        "epochs": 2,
        "warmup": 0.05,
        "schedule": "cosine",
        "weight_decay": 1e-5,
        "batch": 2,
        "global_batch": 2 * 4 * 8,
        "loss_on": "assistant",
    },
    ("belle-7b", "reward"): {
        "chat_template": "belle",
        "learning_rate": 1e-5,
        "epochs": 2,
        "peft": "lora",
        "lora_r": 16,
        "lora_alpha": 16,
    },
    ("belle-7b", "dpo"): {
        "chat_template": "belle",
        "epochs": 3,
        "weight_decay": 1e-4,
        "warmup": 0.03,
        "seed": 3407,
    },
    ("ultralm-13b", "sft"): {  # §5.4
        "max_length": 2048,
        "learning_rate": 1e-5,
        "schedule": "cosine",
        "warmup": 0.03,
        "epochs": 5,
        "max_grad_norm": 1.0,
        "save_steps": 20,
        "too_long": "cut",
        "loss_on": "assistant",
    },
    ("ultrarm-13b", "reward"): {"learning_rate": 1e-5, "global_batch": 512, "epochs": 1, "max_length": 2048},  # §6.9
    ("ultracm-13b", "critique"): {"learning_rate": 1e-5, "epochs": 5, "max_length": 2048, "warmup": 0.03},
    ("openchat-13b", "sft"): {  # §7.1, §7.3
        "chat_template": "openchat",
        "max_length": 2048,
        "global_batch": 128,
        "learning_rate": 2e-5,
        "epochs": 5,
        "warmup": 0.03,
        "weight_decay": 0,
        "schedule": "cosine",
        "group_by_length": True,
        "seed": 42,
        "class_weights": {"GPT4": 1.0, "GPT3": 0.1},
    },
    ("zephyr-7b", "sft"): {  # §8.2, the left column
        "base": MISTRAL,
        "chat_template": "zephyr",
        "learning_rate": 2e-5,
        "schedule": "cosine",
        "epochs": 1,
        "warmup": 0,
        "max_length": 2048,
        "packing": True,
        "loss_on": "all",
        "batch": 32,
        "global_batch": 512,
        "lora_r": 64,
        "lora_alpha": 16,
        "lora_dropout": 0.1,
        "lora_targets": QKVO,
    },
    ("zephyr-7b", "dpo"): {
        "base": MISTRAL,
        "learning_rate": 5e-7,
        "schedule": "linear",
        "warmup": 0.1,
        "beta": 0.1,
        "epochs": 3,
        "optimizer": "rmsprop",
        "max_length": 1024,
        "max_prompt": 512,
        "batch": 8,
        "global_batch": 64,
    },
    ("zephyr-7b-2024", "sft"): {  # the right column
        "base": MISTRAL,
        "chat_template": "zephyr",
        "learning_rate": 2e-5,
        "schedule": "cosine",
        "warmup": 0.1,
        "epochs": 1,
        "max_length": 2048,
        "packing": True,
        "loss_on": "all",
        "batch": 16,
        "global_batch": 128,
    },
    ("zephyr-7b-2024", "dpo"): {
        "base": MISTRAL,
        "learning_rate": 5e-7,
        "schedule": "cosine",
        "warmup": 0.1,
        "beta": 0.01,
        "epochs": 1,
        "optimizer": "adamw_torch",
        "max_length": 1024,
        "max_prompt": 512,
        "batch": 8,
        "global_batch": 128,
    },
    ("zephyr-7b-qlora", "sft"): {
        "peft": "qlora",
        "lora_r": 16,
        "lora_alpha": 16,
        "learning_rate": 2e-4,
        "lora_targets": (*QKVO, "gate_proj", "up_proj", "down_proj"),
    },
    ("zephyr-7b-qlora", "dpo"): {
        "peft": "qlora",
        "lora_r": 128,
        "lora_alpha": 128,
        "learning_rate": 5e-6,
        "beta": 0.01,
        "optimizer": "paged_adamw_32bit",
        "lora_targets": (*QKVO, "gate_proj", "up_proj", "down_proj"),
    },
}
"""What the papers' code says of each preset, typed from its sources and not from our files."""


def _file(folder: Path, text: str) -> str:
    path = folder / "own.toml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(("preset", "kind"), PUBLISHED)
def test_a_preset_has_the_published_values(preset: str, kind: Kind) -> None:
    """Value by value."""
    said = resolve(kind, preset, [], {}).model_dump()
    wanted = PUBLISHED[preset, kind]
    assert {key: said[key] for key in wanted} == wanted


def test_every_preset_of_a_published_model_is_compared() -> None:
    """There is none without its published values above, but the one that is ours."""
    there = {(name, kind) for name in recipe.names() for kind in recipe.kinds_of(name) if name != "tiny-cpu"}
    assert there == PUBLISHED.keys()


@pytest.mark.parametrize("name", recipe.names())
def test_every_preset_can_be_used_as_it_is(name: str) -> None:
    """It says where it comes from and what model it is for, its template is there, and its global batch adds up."""
    for kind in recipe.kinds_of(name):
        tuning = resolve(kind, name, [], {})
        assert tuning.source != ""
        assert tuning.base or tuning.made_for
        assert tuning.chat_template in ("", *templates.names())
        assert tuning.global_batch % (tuning.batch or 1) == 0


def test_a_preset_for_a_laptop_is_small() -> None:
    """The one of ours tunes an adapter of the embedded model for 20 steps, whatever the kind."""
    for kind in KINDS:
        tuning = resolve(kind, "tiny-cpu", [], {})
        assert (tuning.base, tuning.peft, tuning.max_steps) == ("smollm2", "lora", 20)


def test_defaults_are_those_of_trl() -> None:
    """Where nothing is said: each kind has its trainer's learning rate, and all else is common."""
    rates = {kind: resolve(kind, None, [], {}).learning_rate for kind in KINDS}
    assert rates == {"sft": 2e-5, "dpo": 1e-6, "reward": 1e-4, "critique": 2e-5}
    tuning = resolve("sft", None, [], {})
    assert (tuning.epochs, tuning.global_batch, tuning.max_length, tuning.seed) == (3, 8, 1024, 42)
    assert (tuning.beta, tuning.optimizer, tuning.schedule) == (0.1, "adamw_torch", "linear")


def test_a_flag_goes_before_set_before_the_preset_before_the_default(tmp_path: Path) -> None:
    """Value by value."""
    preset = _file(tmp_path, "epochs = 7\nseed = 1\n[sft]\nseed = 2\nmax_length = 300\nlearning_rate = 0.5\n")
    sets = ["seed=3", "max_length=400"]
    tuning = resolve("sft", preset, sets, {"max_length": 500, "learning_rate": None})
    assert (tuning.epochs, tuning.seed, tuning.max_length, tuning.learning_rate) == (7, 3, 500, 0.5)
    assert resolve("dpo", _file(tmp_path, "beta = 0.3\n"), [], {}).beta == 0.3


def test_a_value_of_set_is_toml_or_a_bare_word() -> None:
    """Numbers, tables and texts; blanks around them do not count."""
    sets = ["learning_rate = 1e-3", "schedule=cosine", "class_weights={GPT4=1, GPT3=0.1}", "packing=true"]
    tuning = resolve("sft", None, sets, {})
    assert (tuning.learning_rate, tuning.schedule, tuning.packing) == (1e-3, "cosine", True)
    assert tuning.class_weights == {"GPT4": 1.0, "GPT3": 0.1}


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ("learning_rat=1", "--set 'learning_rat=1': unknown key 'learning_rat'; did you mean 'learning_rate'?"),
        ("zzzz=1", "--set 'zzzz=1': unknown key 'zzzz'"),
        ("=1", "--set '=1': unknown key ''"),
        ("epochs", "--set 'epochs': expected key=value, such as learning_rate=1e-5"),
        ("kind=dpo", "--set 'kind=dpo': the kind of a tuning is its command, such as  finetune sft"),
        ("beta=0.2", "--set 'beta=0.2': 'beta' is for dpo, and this is sft"),
        ("epochs=0", "--set 'epochs=0': epochs: Input should be greater than 0 (got 0)"),
        ("epochs=nan", "--set 'epochs=nan': epochs: Input should be a finite number (got nan)"),
        ("learning_rate=inf", "learning_rate: Input should be a finite number (got inf)"),
        ("keep_checkpoints=1", "keep_checkpoints: Input should be greater than or equal to 2 (got 1)"),
        ("seed=-1", "seed: Input should be greater than or equal to 0 (got -1)"),
        ("schedule=cosin", "schedule: Input should be 'linear', 'cosine', 'constant' or 'constant_with_warmup'"),
        ("class_weights={GPT4=-1}", "class_weights.GPT4: Input should be greater than or equal to 0 (got -1)"),
        ("class_weights={GPT4=nan}", "class_weights.GPT4: Input should be a finite number (got nan)"),
        ("weighting=class", "weighting by class needs weights: --set 'class_weights="),
    ],
)
def test_what_is_wrong_in_set_is_a_usage_error_of_one_line(item: str, said: str) -> None:
    """It names the option, the key, and what was meant."""
    with pytest.raises(UsageProblem) as caught:
        resolve("sft", None, [item], {})
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_bad_flag_is_called_by_its_name() -> None:
    """As the user wrote it, not as the value is called."""
    with pytest.raises(UsageProblem, match=r"^--learning-rate: Input should be greater than 0 \(got 0\)$"):
        resolve("sft", None, [], {"learning_rate": 0})
    with pytest.raises(UsageProblem, match="--max-prompt 512 leaves no room for an answer within --max-length 256"):
        resolve("dpo", None, [], {"max_length": 256})
    assert resolve("sft", None, [], {"max_length": 256}).max_length == 256, "max_prompt is dpo's alone"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("learning_rat = 1\n", "unknown key 'learning_rat'; did you mean 'learning_rate'?"),
        ("[stf]\nepochs = 1\n", "unknown key 'stf'"),
        ("epochs = 'many'\n", "epochs: Input should be a valid number"),
        ("sft = 3\n", "'sft' is a table of values: write  [sft]"),
        ("kind = 'dpo'\n", "the kind of a tuning is its command"),
        ("beta = 0.2\n", "'beta' is for dpo, and this is sft"),
        ("[dpo]\nbeta = 0.2\n", "a preset for finetune dpo, not sft"),
        ("epochs = \n", "not TOML"),
    ],
)
def test_what_is_wrong_in_a_file_is_a_config_problem_that_names_it(tmp_path: Path, text: str, said: str) -> None:
    """With the file's path before it."""
    path = _file(tmp_path, text)
    with pytest.raises(ConfigProblem) as caught:
        resolve("sft", path, [], {})
    assert str(caught.value).startswith(f"{path}: ")
    assert said in str(caught.value)


def test_a_table_of_another_kind_is_not_read(tmp_path: Path) -> None:
    """What is wrong in it is found by whoever uses it."""
    path = _file(tmp_path, "[sft]\nepochs = 1\n[dpo]\nwrong = 1\n")
    assert resolve("sft", path, [], {}).epochs == 1
    assert recipe.kinds_of(path) == ("sft", "dpo")


def test_a_preset_that_is_not_there_is_told_with_those_that_are(tmp_path: Path) -> None:
    """And the one that is nearest in name; a folder is none either."""
    with pytest.raises(ConfigProblem, match=r"did you mean 'zephyr-7b'\?; there are alpaca-7b, belle-7b, "):
        resolve("sft", "zephyr-7", [], {})
    with pytest.raises(ConfigProblem, match="cannot read the preset: Is a directory"):
        resolve("sft", str(tmp_path), [], {})


def test_operational_values_are_values() -> None:
    """A misspelt one would be compared for ever."""
    values = Tuning.model_fields.keys()
    assert values >= OPERATIONAL
    assert values >= recipe._OF.keys()
    assert not {"learning_rate", "seed", "global_batch", "max_length", "peft"} & OPERATIONAL
