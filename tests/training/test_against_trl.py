"""The loss, step by step: that of TRL's own trainers, however a batch is made up, and with weights that of plain torch.

TRL is called as its own scripts call it: a model by its folder, and rows as people write them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from tests.training import tiny, tunings
from tests.training.tunings import Row

pytestmark = pytest.mark.slow
torch = pytest.importorskip("torch")
pytest.importorskip("trl")

STEPS: Final = 6
SAME: Final = 1e-4  # the fourth decimal
ROWS: Final[dict[str, Callable[[int], list[Row]]]] = {
    "sft": tunings.dialogues,
    "dpo": tunings.pairs,
    "reward": tunings.pairs,
    "weighted": tunings.classed,
}
WEIGHTS: Final = {"GPT4": 1.0, "GPT3": 0.1}
WEIGHTED: Final = ("--set", "weighting=class", "--set", "class_weights={GPT4=1.0, GPT3=0.1}")
LORA: Final = ("--peft", "lora", "--set", "lora_dropout=0.1")
PACKED: Final = ("--packing", "--max-length", 128)

Tune = Callable[..., Path]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model to tune."""
    return tiny.folder(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def tune(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Tune:
    """Our tuning of a kind of rows, done once for each set of words; its folder."""
    folder = tmp_path_factory.mktemp("ours")
    done: dict[tuple[object, ...], Path] = {}

    def tuned(rows: str, *more: object) -> Path:
        if (rows, *more) not in done:
            data = tunings.written(folder / f"{rows}.jsonl", ROWS[rows](20))
            out, kind = folder / f"out{len(done)}", "sft" if rows == "weighted" else rows
            own = WEIGHTED if rows == "weighted" else ()
            tunings.tune(kind, data, base, out, "--max-steps", STEPS, *own, *more)
            done[rows, *more] = out
        return done[rows, *more]

    return tuned


def theirs(kind: str, base: Path, out: Path, **more: Any) -> dict[int, float]:
    """The losses of TRL's trainer of that kind, on the same rows with the same settings."""
    import trl
    from datasets import Dataset

    peft_config = more.pop("peft_config", None)
    name = {"sft": "SFT", "dpo": "DPO", "reward": "Reward"}[kind]
    own = {"assistant_only_loss": True} if kind == "sft" else {}
    settings = getattr(trl, f"{name}Config")(
        output_dir=str(out),
        learning_rate=5e-3,
        max_steps=STEPS,
        **{"per_device_train_batch_size": 4, "max_length": 1024, **own, **more},
        logging_steps=1,
        gradient_checkpointing=False,
        optim="adamw_torch",
        use_cpu=True,
        bf16=False,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
    )
    rows = [row if kind == "sft" else conversational(row) for row in ROWS[kind](20)]
    trainer = getattr(trl, f"{name}Trainer")(
        model=str(base), args=settings, train_dataset=Dataset.from_list(rows), peft_config=peft_config
    )
    trainer.train()
    return {entry["step"]: entry["loss"] for entry in trainer.state.log_history if "loss" in entry}


def conversational(pair: Row) -> Row:
    """A pair as TRL has it of chat models."""
    answers = {side: [{"role": "assistant", "content": pair[side]}] for side in ("chosen", "rejected")}
    return {"prompt": [{"role": "user", "content": pair["prompt"]}], **answers}


@pytest.mark.parametrize("kind", ["sft", "dpo", "reward"])
def test_the_loss_is_that_of_trl(tmp_path: Path, base: Path, tune: Tune, kind: str) -> None:
    """To the fourth decimal, at each step."""
    assert tunings.apart(tunings.curve(tune(kind, "--batch", 4)), theirs(kind, base, tmp_path)) < SAME


def test_the_loss_of_an_adapter_is_that_of_trl(tmp_path: Path, base: Path, tune: Tune) -> None:
    """Drawn weights and dropout included."""
    from peft import LoraConfig

    config = LoraConfig(r=16, lora_alpha=32, lora_dropout=0.1, target_modules="all-linear", task_type="CAUSAL_LM")
    ours = tunings.curve(tune("sft", "--batch", 4, *LORA))
    assert tunings.apart(ours, theirs("sft", base, tmp_path, peft_config=config)) < SAME


def test_the_loss_of_packed_rows_is_that_of_trl(tmp_path: Path, base: Path, tune: Tune) -> None:
    """The same rows in the same packs."""
    ours = tunings.curve(tune("sft", "--batch", 4, *PACKED))
    assert tunings.apart(ours, theirs("sft", base, tmp_path, packing=True, max_length=128)) < SAME


@pytest.mark.parametrize("rows", ROWS)
def test_a_batch_of_four_is_four_of_one_accumulated(tune: Tune, rows: str) -> None:
    """Loss and gradient, with records of different lengths: each token counts the same, whoever its neighbours are."""
    at_once, one_by_one = tune(rows, "--batch", 4), tune(rows, "--batch", 1)
    assert tunings.apart(tunings.curve(at_once), tunings.curve(one_by_one)) < SAME
    assert tunings.apart(tunings.curve(at_once, "grad_norm"), tunings.curve(one_by_one, "grad_norm")) < 1e-3


def test_the_weighted_loss_is_the_weighted_mean_over_all_tokens_of_a_step(base: Path, tune: Tune) -> None:
    """Σ w·CE / Σ w, here from the definition: all rows in each step, one at a time, and no trainer."""
    rows = ROWS["weighted"](20)
    ours = tunings.curve(tune("weighted", "--batch", 2, "--global-batch", len(rows)))
    assert {row["condition"] for row in rows} == set(WEIGHTS)
    assert tunings.apart(ours, by_definition(base, rows)) < SAME


def by_definition(base: Path, rows: list[Row]) -> dict[int, float]:
    """The losses of full-batch AdamW with TRL's defaults: a rate that falls to nothing, gradients of norm 1 at most."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.0)
    losses = {}
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = 5e-3 * (1 - step / STEPS)
        spoken = [weighed(model, row) for row in rows]
        loss = sum(loss for loss, _ in spoken) / sum(weight for _, weight in spoken)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses[step + 1] = loss.item()
    return losses


def weighed(model: Any, row: Row) -> tuple[Any, float]:
    """Σ w·CE and Σ w of a row: its answer and the end of it, as transformers marks them, weighed by its class."""
    said = tiny.tokenizer().apply_chat_template(row["items"], return_dict=True, return_assistant_tokens_mask=True)
    ids, learned = (torch.tensor(said[key])[1:] for key in ("input_ids", "assistant_masks"))
    logits = model(input_ids=torch.tensor([said["input_ids"]])).logits[0, :-1]
    weight = WEIGHTS[row["condition"]] * learned
    loss = torch.nn.functional.cross_entropy(logits, ids, reduction="none")
    return (weight * loss).sum(), float(weight.sum())


def test_weights_of_one_give_the_loss_without_weights(tmp_path: Path, base: Path) -> None:
    """In training and of what is held out: a class of its own weighs as much as all."""
    rows = [row | {"condition": "GPT4"} for row in tunings.classed(20)]
    data = tunings.written(tmp_path / "one.jsonl", rows)
    few = ("--max-steps", STEPS, "--held-out", 4, "--set", "eval_steps=3", "--batch", 2)
    for weighting in ("balanced", "none"):
        tunings.tune("sft", data, base, tmp_path / weighting, *few, "--set", f"weighting={weighting}")
    weighted, plain = tmp_path / "balanced", tmp_path / "none"
    assert "entropy" not in json.dumps(tunings.logged(weighted))  # it was the other trainer
    assert "entropy" in json.dumps(tunings.logged(plain))
    for key in ("loss", "eval_loss"):
        assert tunings.apart(tunings.curve(weighted, key), tunings.curve(plain, key)) < 1e-5
