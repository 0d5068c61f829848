"""`selfinstruct finetune` against TRL's own scripts: the same rows, model and settings, in turns, one process each.

    PYTHONPATH=. OMP_NUM_THREADS=1 python tests/benchmarks/bench_training.py

Prints tokens a second of both, all and those that are learned, and their ratio; for a model drawn by chance and for
SmolLM2-135M, where `selfinstruct models` has made its folder. Only steps count, from the end of the first to the end of
the last: neither loading nor saving. On a machine that others use, the ratio of the processor times says more than
that of the clock's. The losses have to be the same, or other work was done, and that is printed, too.
Rows are our seed tasks, English and Chinese.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from selfinstruct import resources, seed_tasks  # noqa: E402
from selfinstruct.models import conversion  # noqa: E402
from tests.training import tiny  # noqa: E402

STAMPED = """
import json, runpy, sys, time
from pathlib import Path
from transformers import TrainerCallback, trainer

class Stamps(TrainerCallback):
    ends = []

    def on_step_end(self, args, state, control, **more):
        self.ends.append((time.perf_counter(), time.process_time()))

    def on_train_end(self, args, state, control, **more):
        Path(sys.argv[0]).write_text(json.dumps({"ends": self.ends, "log": state.log_history}))

trainer.DEFAULT_CALLBACKS.append(Stamps)
written, module, *words = sys.argv[1:]
sys.argv = [written, *words]
runpy.run_module(module, run_name="__main__", alter_sys=False)
"""
"""What both run in: it notes when each step ended, and then runs a module as ``python -m`` does."""


def main() -> None:
    """Measure both, in turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=60, help="of the tiny model")
    parser.add_argument("--smollm2-steps", type=int, default=6, help="by sft only")
    parser.add_argument("--kinds", nargs="*", default=["sft", "dpo", "reward"], help="of the tiny model")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        _write_rows(scratch)
        base = tiny.folder(scratch / "tiny")
        for kind in asked.kinds:
            _compare(scratch, base, kind, asked.steps, asked)
        real = conversion.default_folder()
        if conversion.is_whole(real):
            _compare(scratch, _with_marks(real, scratch / "smollm2"), "sft", asked.smollm2_steps, asked)
        else:
            print(f"SmolLM2 left out: {real} is not there")


def _write_rows(scratch: Path) -> None:
    """As TRL reads them, and we, too: a folder for ``sft``, one for pairs, whose rejected answer is another's."""
    tasks = [
        task for lang in ("en", "zh") for task in seed_tasks.load(resources.seeds_dir() / f"{lang}_seed_tasks.jsonl")
    ]
    asked = [[{"role": "user", "content": _request(task)}] for task in tasks]
    answers = [[{"role": "assistant", "content": task.instances[0].output}] for task in tasks]
    pairs = [
        {"prompt": prompt, "chosen": chosen, "rejected": rejected}
        for prompt, chosen, rejected in zip(asked, answers, [*answers[1:], answers[0]], strict=True)
        if chosen != rejected
    ]
    whole = [{"messages": prompt + answer} for prompt, answer in zip(asked, answers, strict=True)]
    for kind, rows in (("sft", whole), ("dpo", pairs), ("reward", pairs)):
        (scratch / kind).mkdir()
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (scratch / kind / "train.jsonl").write_text(text)


def _request(task: Any) -> str:
    return f"{task.instruction}\n\n{task.instances[0].input}".strip()


def _with_marks(folder: Path, to: Path) -> Path:
    """The model with a chat template whose marks TRL can read; its weights are linked."""
    shutil.copytree(folder, to, copy_function=os.symlink)
    for name in ("chat_template.jinja", "tokenizer_config.json"):
        (to / name).unlink(missing_ok=True)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings.pop("chat_template", None)
    (to / "tokenizer_config.json").write_text(json.dumps(settings))
    (to / "chat_template.jinja").write_text(tiny.TEMPLATE)
    return to


def _compare(scratch: Path, base: Path, kind: str, steps: int, asked: argparse.Namespace) -> None:
    """Ours and theirs, in turns, and what came of it."""
    speeds: dict[str, list[tuple[float, float]]] = {"ours": [], "TRL": []}
    losses: dict[str, list[float]] = {}
    for _ in range(asked.rounds):
        for name, words in (
            ("ours", _ours(scratch, base, kind, steps, asked.batch)),
            ("TRL", _theirs(scratch, base, kind, steps, asked.batch)),
        ):
            speed, losses[name] = _run(scratch, words)
            speeds[name].append(speed)
    share = _share_learned(scratch / "ours")
    print(f"\n{base.name}, {kind}, {steps} steps of {asked.batch}, {asked.rounds} rounds in turns")
    for name, found in speeds.items():
        middle = statistics.median(wall for wall, _ in found)
        spread = ", ".join(f"{wall:.0f}" for wall, _ in found)
        print(f"  {name:<5}{middle:>9.0f} tokens/s, {middle * share:>8.0f} learned tokens/s   ({spread})")
    clock, processor = (
        statistics.median(one[which] for one in speeds["ours"]) / statistics.median(one[which] for one in speeds["TRL"])
        for which in (0, 1)
    )
    apart = max(abs(one - other) for one, other in zip(losses["ours"], losses["TRL"], strict=True))
    print(f"  ours ÷ TRL {clock:.3f}, by processor time {processor:.3f}; losses differ by {apart:.1e}", flush=True)


def _share_learned(out: Path) -> float:
    training = json.loads((out / "training.json").read_bytes())
    return float(training["supervised"] / training["tokens"])


def _ours(scratch: Path, base: Path, kind: str, steps: int, batch: int) -> list[str]:
    made = f"selfinstruct finetune {kind} {scratch / kind / 'train.jsonl'} --model {base} --out {scratch / 'ours'}"
    same = f"--max-steps {steps} --global-batch {batch} --batch {batch} --lr 2e-5 --restart"
    return f"{made} {same} {'--max-prompt 0' if kind == 'dpo' else ''}".split()


def _theirs(scratch: Path, base: Path, kind: str, steps: int, batch: int) -> list[str]:
    """The settings that ours have: 32 bits, no checkpointing of activations, every step logged."""
    made = (
        f"trl.scripts.{kind} --model_name_or_path {base} --dataset_name {scratch / kind} --output_dir {scratch / 'trl'}"
    )
    same = f"--max_steps {steps} --per_device_train_batch_size {batch} --learning_rate 2e-5 --max_length 1024"
    cpu = "--bf16 False --use_cpu True --gradient_checkpointing False --dataloader_pin_memory False --dtype float32"
    rest = "--optim adamw_torch --logging_steps 1 --report_to none --seed 42"
    own = "--assistant_only_loss True" if kind == "sft" else ""
    return f"{made} {same} {cpu} {rest} {own}".split()


def _run(scratch: Path, words: Sequence[str]) -> tuple[tuple[float, float], list[float]]:
    """Tokens a second, of the clock's and of the processor's, after the first step; and all losses."""
    written = scratch / "stamps.json"
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "HF_HOME": str(scratch / "hub"),
        "HF_HUB_OFFLINE": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    ended = subprocess.run(
        [sys.executable, "-c", STAMPED, str(written), *words], capture_output=True, text=True, env=environment
    )
    if ended.returncode:
        sys.exit(f"{' '.join(words)}: ended with {ended.returncode}\n{ended.stderr[-2000:]}")
    stamps = json.loads(written.read_text())
    steps = [entry for entry in stamps["log"] if "loss" in entry]
    tokens = steps[-1]["num_tokens"] - steps[0]["num_tokens"]
    clock, processor = (last - first for first, last in zip(stamps["ends"][0], stamps["ends"][-1], strict=True))
    return (tokens / clock, tokens / processor), [entry["loss"] for entry in steps]


if __name__ == "__main__":
    main()
