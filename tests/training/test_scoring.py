"""The reward model: what is one, and that its scores are those of its weights, however texts are batched."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from selfinstruct.errors import ConfigProblem
from selfinstruct.schema import Message
from selfinstruct.training import extra, scoring

TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SIZE = 16


def folder(path: Path, **files: Any) -> Path:
    """A folder with these JSON files."""
    path.mkdir()
    for name, value in files.items():
        (path / f"{name}.json").write_text(json.dumps(value))
    return path


ADAPTER = {"task_type": "SEQ_CLS", "base_model_name_or_path": "maker/base"}
REWARD = {"architectures": ["LlamaForSequenceClassification"], "id2label": {"0": "LABEL_0"}}
NONE_OF_OURS = [
    ({"config": {"architectures": ["LlamaForCausalLM"]}}, "holds LlamaForCausalLM, and no reward model"),
    ({"config": {"architectures": ["LlamaForSequenceClassification"]}}, "of 2 outputs, and no reward model"),
    ({"config": REWARD | {"id2label": {"0": "a", "1": "b", "2": "c"}}}, "of 3 outputs, and no reward model"),
    ({"config": []}, "holds no JSON object"),
    ({"adapter_config": {"task_type": "CAUSAL_LM"}}, "is an adapter for CAUSAL_LM, and no reward model"),
    ({"config": REWARD, "training": {"state": "running"}}, "its training is not finished"),
    ({}, "cannot be read"),
]


@pytest.mark.parametrize(("files", "told"), NONE_OF_OURS)
def test_what_is_no_reward_model_is_named_before_anything_is_loaded(
    tmp_path: Path, files: dict[str, Any], told: str
) -> None:
    """A model that writes, one of several outputs, an unfinished one, a folder of something else."""
    with pytest.raises(ConfigProblem, match=told):
        scoring.check(folder(tmp_path / "rm", **files))


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    """With what would make one."""
    with pytest.raises(ConfigProblem, match=r"no such folder; name the folder .* 'selfinstruct finetune reward'"):
        scoring.check(tmp_path / "rm")


@pytest.mark.parametrize("files", [{"config": REWARD}, {"adapter_config": ADAPTER}])
def test_a_reward_model_asks_for_the_extra_that_it_needs(
    tmp_path: Path, files: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole or an adapter: what is in the folder will do, and the command that installs the rest is told."""
    monkeypatch.setattr(extra, "find_spec", lambda name: None)
    with pytest.raises(ConfigProblem, match=r"selfinstruct\[train\]"):
        scoring.check(folder(tmp_path / "rm", **files))
    monkeypatch.setattr(extra, "find_spec", lambda name: name)
    scoring.check(tmp_path / "rm")


def test_a_fingerprint_is_that_of_weights_and_tokenizer(tmp_path: Path) -> None:
    """Not of logs, checkpoints and cards, which may change while the model does not."""
    path = folder(tmp_path / "rm", config=REWARD, tokenizer={"a": 1})
    (path / "model.safetensors").write_bytes(b"weights")
    before = scoring.fingerprint(path)
    (path / "README.md").write_text("A card.")
    (path / "training_args.bin").write_bytes(b"arguments")
    (path / "checkpoint-1").mkdir()
    assert scoring.fingerprint(path) == before
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        (path / name).write_bytes((path / name).read_bytes() + b" ")
        assert scoring.fingerprint(path) != before
        before = scoring.fingerprint(path)


# --- with torch -------------------------------------------------------------------------------------------------------


def tokenizer_of(max_length: int = 1000) -> Any:
    """A tokenizer of bytes with a chat template and an end token."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    plain = Tokenizer(models.BPE(vocab={letter: place for place, letter in enumerate(letters)}, merges=[]))
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.decoder = decoders.ByteLevel()
    special = {"eos_token": "</s>", "pad_token": "<pad>", "model_max_length": max_length}
    return PreTrainedTokenizerFast(tokenizer_object=plain, chat_template=TEMPLATE, **special)


def averaging(path: Path, tokenizer: Any) -> Path:
    """A reward model whose weights are set by hand: one layer that adds the mean of all tokens so far to the last."""
    import torch
    from transformers import LlamaConfig, LlamaForSequenceClassification

    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=SIZE, num_hidden_layers=1, num_attention_heads=2, num_labels=1,
        intermediate_size=8, max_position_embeddings=512, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    torch.manual_seed(7)
    model = LlamaForSequenceClassification(config)
    layer = model.model.layers[0]
    with torch.no_grad():
        model.model.embed_tokens.weight.normal_()
        for zero in (layer.self_attn.q_proj, layer.self_attn.k_proj, layer.mlp.down_proj):
            zero.weight.zero_()  # every earlier token is looked at alike, and nothing is added behind that
        for same in (layer.self_attn.v_proj, layer.self_attn.o_proj):
            same.weight.copy_(torch.eye(SIZE))
        model.score.weight.copy_(torch.linspace(-1, 1, SIZE)[None])
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def by_hand(path: Path, tokenizer: Any, conversation: Sequence[Message], longest: int = 512) -> float:
    """The score that such a model has to give, from its embeddings and pencil work."""
    import numpy as np
    from safetensors.numpy import load_file

    told = "".join(f"<|{one.role}|>{one.content}</s>" for one in conversation)
    words = tokenizer(told, add_special_tokens=False)["input_ids"][-longest:]
    embedded = load_file(path / "model.safetensors")["model.embed_tokens.weight"].astype(np.float64)[words]

    def normed(rows: Any) -> Any:
        return rows / np.sqrt((rows**2).mean(-1, keepdims=True) + 1e-6)

    last = embedded[-1] + normed(embedded).mean(0)
    return float(normed(last) @ np.linspace(-1, 1, SIZE))


def talk(*turns: str) -> tuple[Message, ...]:
    """A conversation, the user first."""
    return tuple(Message(role="assistant" if place % 2 else "user", content=text) for place, text in enumerate(turns))


TALKS = [
    talk("Name a tree.", "An oak."),
    talk("Name a tree.", "A willow, which stands with its feet in the water."),
    talk("Hello", "Hello to you.", "And how are you?", "Well."),
    talk("说一种树。", "柳树。"),
    talk("Name a tree.", ""),
    talk("Name a tree.", "An oak."),
]


@pytest.mark.slow
def test_a_score_is_that_of_the_weights(tmp_path: Path) -> None:
    """As computed from the embeddings alone; equal conversations have equal scores, whoever stands beside them."""
    pytest.importorskip("torch")
    tokenizer = tokenizer_of()
    path = averaging(tmp_path / "rm", tokenizer)
    expected = [by_hand(path, tokenizer, one) for one in TALKS]
    together = scoring.RewardScorer(path).scores(TALKS)
    assert together == pytest.approx(expected, abs=1e-5)
    assert together[0] == together[-1]
    assert len(set(together)) == len(TALKS) - 1
    alone = scoring.RewardScorer(path, batch=1)
    assert [alone.scores([one])[0] for one in TALKS] == pytest.approx(expected, abs=1e-5)


@pytest.mark.slow
def test_scoring_twice_gives_the_same_scores_in_any_order(tmp_path: Path) -> None:
    """To the last bit: batches are made by length, not by arrival."""
    pytest.importorskip("torch")
    scorer = scoring.RewardScorer(averaging(tmp_path / "rm", tokenizer_of()), batch=2)
    forwards = scorer.scores(TALKS)
    assert scorer.scores(TALKS[::-1]) == forwards[::-1]
    assert scorer.scores([]) == []


@pytest.mark.slow
def test_a_conversation_that_is_too_long_loses_its_beginning(tmp_path: Path) -> None:
    """The answer, behind which the score is read, stays; the tokenizer's limit counts as well as the model's."""
    pytest.importorskip("torch")
    long = talk("x" * 600 + "Name a tree.", "An oak.")
    for limit, longest in ((1000, 512), (100, 100)):
        tokenizer = tokenizer_of(limit)
        path = averaging(tmp_path / f"rm-{limit}", tokenizer)
        expected = by_hand(path, tokenizer, long, longest)
        assert scoring.RewardScorer(path).scores([long]) == [pytest.approx(expected, abs=1e-5)]
    assert by_hand(path, tokenizer, long, 100) != pytest.approx(by_hand(path, tokenizer, long, 512), abs=1e-3)


def test_an_adapter_over_a_base_that_is_gone_is_told_before_anything_is_paid(tmp_path: Path) -> None:
    """Its scores would be those of no model that anybody has trained."""
    adapter = {**ADAPTER, "base_model_name_or_path": str(tmp_path / "gone")}
    (tmp_path / "adapter_config.json").write_text(json.dumps(adapter))
    with pytest.raises(ConfigProblem, match="the model it was tuned on is no longer there"):
        scoring.check(tmp_path)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning")  # peft's, of transformers' old names
def test_an_adapter_is_loaded_with_the_layer_that_scores(tmp_path: Path) -> None:
    """Over a base model that writes, which has no such layer: the scores are those from before it was saved."""
    torch = pytest.importorskip("torch")
    peft = pytest.importorskip("peft")
    from transformers import AutoModelForSequenceClassification, LlamaConfig, LlamaForCausalLM

    tokenizer = tokenizer_of()
    sizes = {"hidden_size": SIZE, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **sizes)).save_pretrained(tmp_path / "base")
    base = AutoModelForSequenceClassification.from_pretrained(tmp_path / "base", num_labels=1)
    base.config.pad_token_id = tokenizer.pad_token_id
    lora = peft.LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["q_proj", "v_proj"], modules_to_save=["score"])
    tuned = peft.get_peft_model(base, lora).eval()
    with torch.no_grad():
        for name, weights in tuned.named_parameters():
            if "lora" in name or "score" in name:
                weights.normal_(std=0.3)
        ids = [tokenizer.apply_chat_template([m.model_dump() for m in one], return_dict=False) for one in TALKS]
        expected = [tuned(input_ids=torch.tensor([row])).logits.item() for row in ids]
    tuned.save_pretrained(tmp_path / "adapter")
    tokenizer.save_pretrained(tmp_path / "adapter")
    assert scoring.RewardScorer(tmp_path / "adapter").scores(TALKS) == pytest.approx(expected, abs=1e-5)


@pytest.mark.slow
def test_weights_without_a_layer_that_scores_are_refused(tmp_path: Path) -> None:
    """Transformers would make that layer up by chance, and every start would score otherwise."""
    pytest.importorskip("torch")
    from safetensors.torch import load_file, save_file

    path = averaging(tmp_path / "rm", tokenizer_of())
    weights = load_file(path / "model.safetensors")
    del weights["score.weight"]
    save_file(weights, path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConfigProblem, match=r"its weights lack score\.weight"):
        scoring.RewardScorer(path)


@pytest.mark.slow
def test_scores_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    """As a training that has diverged leaves them."""
    pytest.importorskip("torch")
    from safetensors.torch import load_file, save_file

    path = averaging(tmp_path / "rm", tokenizer_of())
    weights = load_file(path / "model.safetensors")
    weights["score.weight"] *= float("nan")
    save_file(weights, path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConfigProblem, match="scores that are no numbers"):
        scoring.RewardScorer(path).scores(TALKS)
