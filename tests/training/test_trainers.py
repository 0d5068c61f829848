"""Every trainer, end to end with a tiny model: what is held out gets better, and what is saved is what was tuned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from selfinstruct.training import base_model, merging, recipe
from tests.command import invoke
from tests.training import tiny, tunings

pytestmark = pytest.mark.slow
torch = pytest.importorskip("torch")
pytest.importorskip("trl")

FEW = ("--max-steps", 16, "--held-out", 12)
LORA = ("--peft", "lora", "--lr", "2e-2")
NEW = "<|end_of_turn|>"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model to tune."""
    return tiny.folder(tmp_path_factory.mktemp("base"))


@pytest.fixture
def tuned(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The models that trainers have saved, as they were in memory."""
    from transformers import Trainer

    models: list[Any] = []
    save = Trainer.save_model

    def kept(self: Any, *args: Any, **more: Any) -> None:
        models.append(self.model)
        save(self, *args, **more)

    monkeypatch.setattr(Trainer, "save_model", kept)
    return models


def logits(model: Any, folder: Path) -> Any:
    """What a model says of a conversation, in the words of the tokenizer that was saved with it."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = [{"role": "user", "content": "red lamp"}, {"role": "assistant", "content": "RED LAMP"}]
    ids = tokenizer.apply_chat_template(rows, return_tensors="pt", return_dict=True)["input_ids"]
    with torch.no_grad():
        return model.eval()(input_ids=ids).logits


def far(one: Any, other: Any) -> float:
    """The greatest difference of two tensors."""
    assert one.shape == other.shape
    return float((one - other).abs().max().detach())


SFT = {
    "everything": ((), 4.4),
    "lora": (LORA, 5.3),
    "adaption-prompt": (("--peft", "adaption-prompt", "--lr", "0.5"), 5.4),
    "packing": (("--packing", "--max-length", 256, "--max-steps", 8, "--global-batch", 2), 5.1),
}


@pytest.mark.parametrize(("more", "below"), SFT.values(), ids=SFT)
def test_held_out_loss_falls_and_the_tuned_model_is_what_was_saved(
    tmp_path: Path, base: Path, tuned: list[Any], more: tuple[object, ...], below: float
) -> None:
    """Of a model that knew nothing, ln 259 = 5.56 a token; peft reads an adapter's folder as it is."""
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoModelForCausalLM

    data = tunings.written(tmp_path / "dialogues.jsonl", tunings.dialogues(60))
    out = tmp_path / "out"
    tunings.tune("sft", data, base, out, *FEW, *more)

    first, last = tunings.first_and_last(out, "eval_loss")
    assert 5.4 < first < 5.7
    assert last < below
    assert tunings.first_and_last(out, "eval_loss")[1] == tunings.curve(out, "eval_loss")[max(tunings.curve(out))]
    expected = logits(tuned[-1], out)
    loader = AutoPeftModelForCausalLM if merging.is_adapter(out) else AutoModelForCausalLM
    assert far(logits(loader.from_pretrained(out), out), expected) < 1e-5
    assert far(logits(AutoModelForCausalLM.from_pretrained(base), out), expected) > 1e-2
    assert {path.name for path in out.iterdir()} >= {"README.md", "training.json", "log.jsonl", "loss.png"}


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_a_new_token_starts_at_the_mean_of_all_others(tmp_path: Path, tied: bool) -> None:
    """Where it is read, and where it is written; in the copy that DPO measures by, too."""
    from transformers import AutoModelForCausalLM

    path = tiny.folder(tmp_path / "base", tied=tied)
    tuning = recipe.resolve("dpo", None, [], {"base": str(path), "chat_template": "openchat"})
    loaded = base_model.load(tuning)
    old = AutoModelForCausalLM.from_pretrained(path)
    token = loaded.tokenizer.convert_tokens_to_ids(NEW)
    assert loaded.added == (NEW,)
    for model in (loaded.model, base_model.reference(tuning, loaded)):
        for side in ("get_input_embeddings", "get_output_embeddings"):
            rows, before = getattr(model, side)().weight, getattr(old, side)().weight
            assert len(rows) == len(before) + 1
            assert far(rows[token], before.double().mean(dim=0).float()) < 1e-8
            assert far(rows[:token], before) == 0


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("more", [(), LORA], ids=["everything", "lora"])
def test_a_new_end_token_is_learned_and_saved_with_classes_weighed(
    tmp_path: Path, tuned: list[Any], tied: bool, more: tuple[object, ...]
) -> None:
    """OpenChat: its template, its token, its classes; an adapter carries the new token to any copy of the base."""
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path, out = tiny.folder(tmp_path / "base", tied=tied), tmp_path / "out"
    data = tunings.written(tmp_path / "classed.jsonl", tunings.classed(60))
    tunings.tune("sft", data, path, out, *FEW, "--chat-template", "openchat", "--set", "weighting=balanced", *more)

    first, last = tunings.first_and_last(out, "eval_loss")
    assert last < first - 0.3
    expected = logits(tuned[-1], out)
    token = AutoTokenizer.from_pretrained(out).convert_tokens_to_ids(NEW)
    assert AutoTokenizer.from_pretrained(out).eos_token == NEW
    loader = AutoPeftModelForCausalLM if more else AutoModelForCausalLM
    assert far(logits(loader.from_pretrained(out), out), expected) < 1e-5
    whole = AutoModelForCausalLM.from_pretrained(merging.whole(out))
    assert far(logits(whole, out), expected) < 1e-5
    ends = whole.generation_config.eos_token_id
    assert token in (ends if isinstance(ends, list) else [ends])
    old = AutoModelForCausalLM.from_pretrained(path)
    for side in ("get_input_embeddings", "get_output_embeddings"):
        moved = (getattr(whole, side)().weight[token] - getattr(old, side)().weight.mean(dim=0)).norm()
        assert moved > 0.02


@pytest.mark.parametrize("more", [("--lr", "1e-3"), LORA], ids=["everything", "lora"])
def test_dpo_sets_chosen_above_rejected_on_prompts_it_has_not_seen(
    tmp_path: Path, base: Path, tuned: list[Any], more: tuple[object, ...]
) -> None:
    """The margin grows from nothing, and its sign is right for nearly all; with an adapter, without a second model."""
    from transformers import AutoModelForCausalLM

    data = tunings.written(tmp_path / "pairs.jsonl", tunings.pairs(60))
    out = tmp_path / "out"
    tunings.tune("dpo", data, base, out, *FEW, *more)

    margin = tunings.first_and_last(out, "eval_rewards/margins")
    assert margin[0] == pytest.approx(0, abs=1e-5)
    assert margin[1] > 0.5
    assert tunings.first_and_last(out, "eval_rewards/accuracies")[1] > 0.9
    assert (
        tunings.first_and_last(out, "eval_rewards/chosen")[1] > tunings.first_and_last(out, "eval_rewards/rejected")[1]
    )
    assert tunings.first_and_last(out, "eval_loss")[0] == pytest.approx(0.6931, abs=1e-3)  # −log σ(0)
    assert tunings.first_and_last(out, "eval_loss")[1] < 0.5
    assert far(logits(AutoModelForCausalLM.from_pretrained(out), out), logits(tuned[-1], out)) < 1e-5


@pytest.mark.parametrize("more", [(), LORA], ids=["everything", "lora"])
def test_a_reward_model_is_right_more_often_than_chance_and_than_the_longer_answer(
    tmp_path: Path, base: Path, tuned: list[Any], more: tuple[object, ...]
) -> None:
    """By source and in all, and read again from its folder on pairs that nobody has seen."""
    from selfinstruct.schema import Message
    from selfinstruct.training.scoring import RewardScorer

    for seed, name in enumerate(("ours", "theirs")):
        tunings.written(tmp_path / f"{name}.jsonl", tunings.pairs(40, seed))
    out = tmp_path / "out"
    tunings.tune("reward", tmp_path / "ours.jsonl", base, out, tmp_path / "theirs.jsonl", *FEW, *more)

    held_out = json.loads((out / "training.json").read_bytes())["results"]["held_out"]
    assert set(held_out) == {"ours.jsonl", "theirs.jsonl", "all"}
    assert held_out["all"]["pairs"] == 12 == held_out["ours.jsonl"]["pairs"] + held_out["theirs.jsonl"]["pairs"]
    assert held_out["all"]["accuracy"] > 0.9
    assert held_out["all"]["accuracy"] > held_out["all"]["longer_is_better"]
    assert held_out["all"]["margin"] > 0.5
    unseen = tunings.pairs(20, seed=9)
    sides = {
        side: [
            (Message(role="user", content=row["prompt"]), Message(role="assistant", content=row[side]))
            for row in unseen
        ]
        for side in ("chosen", "rejected")
    }
    scorer = RewardScorer(out)
    scores = {side: scorer.scores(rows) for side, rows in sides.items()}
    right = [better > worse for better, worse in zip(scores["chosen"], scores["rejected"], strict=True)]
    assert sum(right) >= 18


def test_a_critique_model_and_a_rationale_learn(tmp_path: Path, base: Path) -> None:
    """Each by its own rows; the two tasks of a rationale are two records."""
    few = ("--max-steps", 4, "--held-out", 4, "--max-length", 8192)
    critiques = tunings.written(tmp_path / "critiques.jsonl", tunings.critiques(16))
    tunings.tune("critique", critiques, base, tmp_path / "critic", *few, "--global-batch", 2)
    rationales = tunings.written(tmp_path / "rationales.jsonl", tunings.rationales(24))
    tunings.tune("sft", rationales, base, tmp_path / "reasons", *few, "--set", "rationale_alpha=0.5")
    for name, records in (("critic", 12), ("reasons", 40)):
        first, last = tunings.first_and_last(tmp_path / name, "eval_loss")
        assert 5.4 < first < 5.7
        assert last < 5.2
        assert json.loads((tmp_path / name / "training.json").read_bytes())["records"] == records


def test_an_adapter_with_new_tokens_is_small_whatever_is_tied(tmp_path: Path) -> None:
    """The rows of its new tokens are saved; of tables only the output's, where that is one of its own."""
    rows = tunings.written(tmp_path / "rows.jsonl", tunings.dialogues(8))
    for tied, tables in ((True, 0), (False, 1)):
        base = tiny.folder(tmp_path / f"base-{tied}", tied=tied)
        out = tmp_path / f"tuned-{tied}"
        tunings.tune("sft", rows, base, out, *LORA, "--max-steps", 2, "--chat-template", "openchat")
        from safetensors import safe_open

        with safe_open(out / "adapter_model.safetensors", "pt") as file:
            shapes = [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118
        assert sum(shape[0] > 200 for shape in shapes) == tables


def test_a_model_is_never_written_over_the_one_it_is_made_of(tmp_path: Path, base: Path) -> None:
    """Nor with --restart, which would have removed it first."""
    rows = tunings.written(tmp_path / "rows.jsonl", tunings.dialogues(8))
    first = tmp_path / "first"
    tunings.tune("sft", rows, base, first, *LORA, "--max-steps", 2)
    before = (first / "adapter_model.safetensors").read_bytes()
    for more in ((), ("--restart",)):
        ended = invoke(*tunings.words("sft", rows, first, first, "--max-steps", 2, *more))
        assert ended.code == 2
        assert "is, or holds, the model that is to be tuned" in ended.err
    assert (first / "adapter_model.safetensors").read_bytes() == before


def test_an_adapter_is_not_put_on_another_base_than_its_own(tmp_path: Path) -> None:
    """The base was tuned anew since: an error, and no model of a kind that nobody has trained."""
    rows = tunings.written(tmp_path / "rows.jsonl", tunings.dialogues(8))
    base, tuned = tiny.folder(tmp_path / "base"), tmp_path / "tuned"
    tunings.tune("sft", rows, base, tuned, *LORA, "--max-steps", 2)
    tiny.model(len(tiny.tokenizer()), seed=1).save_pretrained(base)
    ended = invoke(*tunings.words("sft", rows, tuned, tmp_path / "more", "--max-steps", 2))
    assert ended.code == 78
    assert "the model it was tuned on is another by now" in ended.err


def test_half_a_model_and_a_reward_model_are_no_base(tmp_path: Path, base: Path) -> None:
    """What is missing would be drawn, and nobody would know."""
    rows = tunings.written(tmp_path / "rows.jsonl", tunings.dialogues(8))
    pairs = tunings.written(tmp_path / "pairs.jsonl", tunings.pairs(8))
    tunings.tune("reward", pairs, base, tmp_path / "judge", "--max-steps", 2)
    ended = invoke(*tunings.words("sft", rows, tmp_path / "judge", tmp_path / "out", "--max-steps", 2))
    assert (ended.code, "lm_head.weight" in ended.err) == (78, True)
    cut = tiny.folder(tmp_path / "cut")
    weights = cut / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    ended = invoke(*tunings.words("sft", rows, cut, tmp_path / "out", "--max-steps", 2))
    assert (ended.code, len(ended.err.strip().splitlines())) == (78, 2)


def test_weighted_rows_are_not_packed(tmp_path: Path, base: Path) -> None:
    """Said before a folder is written."""
    rows = tunings.written(tmp_path / "rows.jsonl", tunings.rationales(8))
    ended = invoke(*tunings.words("sft", rows, base, tmp_path / "out", "--packing", "--set", "rationale_alpha=0.5"))
    assert (ended.code, "--packing is for rows that all weigh the same" in ended.err) == (2, True)
    assert not (tmp_path / "out" / "training.json").exists()


def test_a_model_of_another_family_learns_new_tokens_too(tmp_path: Path) -> None:
    """GPT-2 calls its embeddings ``wte``."""
    from transformers import GPT2Config, GPT2LMHeadModel

    spoken = tiny.tokenizer()
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=len(spoken), n_embd=64, n_layer=2, n_head=4, bos_token_id=None, eos_token_id=258)
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "base")
    spoken.save_pretrained(tmp_path / "base")
    rows = tunings.written(tmp_path / "rows.jsonl", tunings.dialogues(8))
    out = tmp_path / "tuned"
    tunings.tune("sft", rows, tmp_path / "base", out, *LORA, "--max-steps", 2, "--chat-template", "openchat")
    assert list(json.loads((out / "adapter_config.json").read_bytes())["trainable_token_indices"]) == ["wte"]
    assert (merging.whole(out) / "config.json").is_file()
