"""An adapter and its base as one folder: told apart from whole models, merged once, and refused with a reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from selfinstruct.errors import ConfigProblem
from selfinstruct.training import merging
from tests.training import tiny

# peft 0.21 uses the old name of activation checkpointing.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")


def _adapter(folder: Path, said: str) -> Path:
    folder.mkdir()
    (folder / "adapter_config.json").write_text(said)
    return folder


def test_a_whole_model_is_taken_as_it_is(tmp_path: Path) -> None:
    """Nothing is written beside it."""
    (tmp_path / "config.json").write_text("{}")
    assert not merging.is_adapter(tmp_path)
    assert merging.whole(tmp_path) == tmp_path
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_an_adapter_says_what_it_was_tuned_on(tmp_path: Path) -> None:
    """By a name or a path."""
    folder = _adapter(tmp_path / "a", '{"base_model_name_or_path": "org/model"}')
    assert merging.is_adapter(folder)
    assert merging.base_of(folder) == "org/model"


@pytest.mark.parametrize("said", ["", "{", "[]", "{}", "null", '{"base_model_name_or_path": null}'])
def test_an_adapter_that_does_not_say_it_is_a_config_problem(tmp_path: Path, said: str) -> None:
    """Which names its file."""
    folder = _adapter(tmp_path / "a", said)
    with pytest.raises(ConfigProblem, match=r"a/adapter_config\.json: "):
        merging.base_of(folder)


def test_what_was_merged_before_is_not_merged_again(tmp_path: Path) -> None:
    """Without a look at the base, which may be gone by then."""
    folder = _adapter(tmp_path / "a", '{"base_model_name_or_path": "/nowhere"}')
    (folder / "merged").mkdir()
    (folder / "merged" / "config.json").write_text("{}")
    assert merging.whole(folder) == folder / "merged"


def _tuned(path: Path, base: Path, kind: str) -> Path:
    """An adapter of the base whose weights are not zero."""
    peft, torch, transformers = (pytest.importorskip(name) for name in ("peft", "torch", "transformers"))
    if kind == "SEQ_CLS":
        model = transformers.AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
    else:
        model = transformers.AutoModelForCausalLM.from_pretrained(base)
    if kind == "adaption":
        config = peft.AdaptionPromptConfig(adapter_len=2, adapter_layers=1, task_type="CAUSAL_LM")
    else:
        config = peft.LoraConfig(r=4, target_modules="all-linear", task_type=kind)
    torch.manual_seed(3)
    adapter = peft.get_peft_model(model, config)
    with torch.no_grad():
        for name, weight in adapter.named_parameters():
            if weight.requires_grad and "lora_B" in name:
                weight.normal_(std=0.1)
    adapter.save_pretrained(path)
    transformers.AutoTokenizer.from_pretrained(base).save_pretrained(path)
    return path


def _scores(model: Any) -> Any:
    torch = pytest.importorskip("torch")
    with torch.no_grad():
        return model.eval()(input_ids=torch.tensor([[5, 6, 7, 8]])).logits


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["CAUSAL_LM", "SEQ_CLS"])
def test_a_merged_model_says_what_adapter_and_base_say_together(tmp_path: Path, kind: str) -> None:
    """Its numbers are the same to the fifth decimal, and it is a model of its own, with its tokenizer."""
    peft, torch, transformers = (pytest.importorskip(name) for name in ("peft", "torch", "transformers"))
    base = tiny.folder(tmp_path / "base")
    folder = _tuned(tmp_path / "adapter", base, kind)
    merged = merging.whole(folder)
    assert merged == folder / "merged"
    if kind == "SEQ_CLS":
        together = peft.AutoPeftModelForSequenceClassification.from_pretrained(folder, num_labels=1)
        alone = transformers.AutoModelForSequenceClassification.from_pretrained(merged)
    else:
        together = peft.AutoPeftModelForCausalLM.from_pretrained(folder)
        alone = transformers.AutoModelForCausalLM.from_pretrained(merged)
        plain = transformers.AutoModelForCausalLM.from_pretrained(base)
        assert not torch.allclose(_scores(alone), _scores(plain), atol=1e-3), "the adapter says something"
    assert torch.allclose(_scores(alone), _scores(together), atol=1e-5)
    assert transformers.AutoTokenizer.from_pretrained(merged).chat_template == tiny.TEMPLATE
    assert not list(folder.glob(".merged.making"))


@pytest.mark.slow
def test_an_adapter_that_cannot_be_merged_says_why(tmp_path: Path) -> None:
    """Its base is gone, its weights are gone, or it is of a kind that is no part of the weights."""
    base = tiny.folder(tmp_path / "base")
    prompts = _tuned(tmp_path / "prompts", base, "adaption")
    with pytest.raises(ConfigProblem, match="such an adapter cannot be merged; peft"):
        merging.whole(prompts)
    folder = _tuned(tmp_path / "adapter", base, "CAUSAL_LM")
    weights = folder / "adapter_model.safetensors"
    weights.rename(tmp_path / "kept")
    with pytest.raises(ConfigProblem, match="adapter: holds an adapter's configuration, and no weights; tune again"):
        merging.whole(folder)
    (tmp_path / "kept").rename(weights)
    said = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**said, "base_model_name_or_path": "/nowhere/at/all"}))
    with pytest.raises(ConfigProblem, match="the model it was tuned on is no longer there: /nowhere/at/all"):
        merging.whole(folder)
    assert not (folder / "merged").exists()
