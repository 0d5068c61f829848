"""Options of the engine: read as typed, handed on as vLLM takes them, and never those that are ours."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from selfinstruct.engine import options
from selfinstruct.errors import ConfigProblem, UsageProblem

TYPED = {
    "tensor_parallel_size=2": ("tensor_parallel_size", 2),
    "--tensor-parallel-size=2": ("tensor_parallel_size", 2),
    " dtype = bfloat16 ": ("dtype", "bfloat16"),
    "gpu_memory_utilization=0.5": ("gpu_memory_utilization", 0.5),
    "enforce_eager": ("enforce_eager", True),
    "enforce_eager=true": ("enforce_eager", True),
    "enforce_eager=True": ("enforce_eager", True),
    "enable_prefix_caching=False": ("enable_prefix_caching", False),
    'revision="0123"': ("revision", "0123"),
    "hf_overrides={rope_theta = 1.0}": ("hf_overrides", {"rope_theta": 1.0}),
    'lora_modules=["a=x", "b=y"]': ("lora_modules", ["a=x", "b=y"]),
    "chat_template=a=b.jinja": ("chat_template", "a=b.jinja"),
    "load_format=": ("load_format", ""),
}


@pytest.mark.parametrize("item", TYPED)
def test_an_option_is_read_as_it_is_meant(item: str) -> None:
    """Numbers, truths, tables and lists as TOML has them; all else is text."""
    name, value = TYPED[item]
    assert options.parse([item]) == {name: value}


def test_of_an_option_given_twice_the_last_holds() -> None:
    """As on most command lines."""
    assert options.parse(["dtype=half", "max_num_seqs=8", "dtype=float16"]) == {"dtype": "float16", "max_num_seqs": 8}


@pytest.mark.parametrize("item", ["=2", "Dtype=half", "-O3", "a b=1", "", "max.len=2", "0=1"])
def test_what_is_no_option_is_named(item: str) -> None:
    """With an example of one."""
    with pytest.raises(UsageProblem, match=r"expected KEY=VALUE, such as tensor_parallel_size=2") as stop:
        options.parse([item])
    assert f"'{item}'" in str(stop.value)


def test_options_become_words_as_vllm_takes_them() -> None:
    """A truth is a flag or its negation, a table JSON, a list several words; order is kept."""
    engine = {
        "enforce_eager": True,
        "enable_prefix_caching": False,
        "gpu_memory_utilization": 0.5,
        "dtype": "bfloat16",
        "compilation_config": {"level": 3},
        "lora_modules": ["a=x", "b=y"],
    }
    assert options.argv(engine) == [
        *("--enforce-eager", "--no-enable-prefix-caching", "--gpu-memory-utilization=0.5", "--dtype=bfloat16"),
        *('--compilation-config={"level":3}', "--lora-modules", "a=x", "b=y"),
    ]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("trust_remote_code", "it would run code that comes with the weights"),
        ("trust_remote", "it would run code that comes with the weights"),
        ("trust", "it would run code that comes with the weights"),
        ("config", "a file of options could hold any of those above"),
        ("api_key", "it is made for each start"),
        ("port", "it is chosen for each start"),
        ("host", "the server listens on this machine alone"),
        ("model", "--model names it"),
        ("served_model_name", "it is the model's name"),
        ("hf_token", "every user of the machine could read it"),
        ("ssl_keyfile", "the server is local"),
        ("Trust-Remote-Code", "a name is written like tensor_parallel_size"),
    ],
)
def test_what_is_ours_or_would_run_foreign_code_is_refused(name: str, why: str) -> None:
    """Also by a part of its name, which is enough for vLLM, and by the way of a file of options."""
    with pytest.raises(ConfigProblem, match=why) as stop:
        options.check({"dtype": "half", name: True})
    assert f"'{name}'" in str(stop.value)


@pytest.mark.parametrize("name", ["reasoning_parser_plugin", "worker_cls", "logits_processors", "middleware"])
def test_what_loads_code_by_its_name_is_refused(name: str) -> None:
    """A pool's file is handed from one person to the next."""
    with pytest.raises(ConfigProblem, match="it would run code of its own"):
        options.check({name: "mine.Thing"})


@pytest.mark.parametrize("value", ["--trust-remote-code", "--host=0.0.0.0", ["a=x", "--api-key=abc"], "-O3"])
def test_a_value_is_no_way_to_another_option(value: Any) -> None:
    """Neither that of a flag, which takes none, nor one of several; a number below zero is one."""
    with pytest.raises(ConfigProblem, match="is no value, but another option"):
        options.check({"enforce_eager": value})
    options.check({"max_model_len": -1, "seed": "-1"})
    assert options.argv({"enforce_eager": "yes"}) == ["--enforce-eager=yes"]  # which vLLM refuses


def test_options_of_vllms_own_are_let_through() -> None:
    """All that are said to be operational, and others that only begin like one of ours."""
    options.check(dict.fromkeys(options.OPERATIONAL, 1))
    options.check({"model_impl": "auto", "hf_overrides": {}, "config_format": "auto", "api_server_count": 1})


def test_only_what_may_change_a_text_is_part_of_the_identity() -> None:
    """In order of names, whatever order they were given in, tables in the order of their keys."""
    given: dict[str, Any] = {
        "max_num_seqs": 8,
        "quantization": "awq",
        "dtype": "bfloat16",
        "hf_overrides": {"b": 1, "a": [2]},
        "tensor_parallel_size": 2,
        "max_model_len": 4096,
    }
    said = {"dtype": "bfloat16", "hf_overrides": '{"a":[2],"b":1}', "max_model_len": "4096", "quantization": "awq"}
    assert list(options.of_text(given).items()) == list(said.items())
    assert options.of_text(dict(reversed(given.items()))) == said


def test_a_chat_template_counts_by_its_bytes(tmp_path: Path) -> None:
    """Not by its path; one that is written out counts as it is, and one that is not there is told."""
    template = tmp_path / "t.jinja"
    template.write_text("{{ messages }}")
    digest = hashlib.sha256(b"{{ messages }}").hexdigest()
    assert options.of_text({"chat_template": str(template)}) == {"chat_template": f"sha256:{digest}"}
    assert options.of_text({"chat_template": "{{ messages }}"}) == {"chat_template": "{{ messages }}"}
    with pytest.raises(ConfigProblem, match=r"'chat_template': .*none\.jinja: No such file or directory"):
        options.of_text({"chat_template": str(tmp_path / "none.jinja")})


def test_a_table_survives_the_way_to_the_command_line() -> None:
    """vLLM reads it with a JSON parser."""
    table = {"method": "ngram", "num": 3, "text": "值 \" '", "on": False}
    (word,) = options.argv({"speculative_config": table})
    assert json.loads(word.removeprefix("--speculative-config=")) == table
