"""`selfinstruct complete --api vllm` against vLLM's own `LLM.generate`: the same prompts, options and engine, one run.

Prints tokens a second of both, engine start excluded, their ratio, and how many greedy texts agree. vLLM's own texts
depend on what else is in a batch, so its two runs, in order and in reverse, say how far it agrees with itself.

    python tests/benchmarks/bench_vllm.py [--prompts 128] [--tokens 128] [--model FOLDER]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import orjson

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from selfinstruct import completing, config, naming, resources, seed_tasks  # noqa: E402
from selfinstruct.batch import Batch  # noqa: E402
from selfinstruct.engine import interpreter  # noqa: E402
from selfinstruct.model_recipe import ModelRecipe  # noqa: E402
from selfinstruct.models import conversion, opening, weights  # noqa: E402

ENGINE = {
    "dtype": "bfloat16",
    "max_model_len": 2048,
    "max_num_seqs": 128,
    "max_num_batched_tokens": 2048,  # whose default differs between server and class
    "enforce_eager": True,
}

PEER = """
import json, sys, time
from vllm import LLM, SamplingParams
asked = json.load(sys.stdin)
engine = LLM(model=asked["model"], **asked["engine"])
sampling = SamplingParams(temperature=0, max_tokens=asked["tokens"], ignore_eos=True)
engine.generate(asked["prompts"][:1], SamplingParams(max_tokens=1), use_tqdm=False)
runs = []
for prompts in (asked["prompts"], asked["prompts"][::-1]):
    started = time.perf_counter()
    outputs = engine.generate(prompts, sampling, use_tqdm=False)
    seconds = time.perf_counter() - started
    texts = {output.prompt: output.outputs[0].text for output in outputs}
    runs.append({"seconds": seconds, "tokens": sum(len(o.outputs[0].token_ids) for o in outputs), "texts": texts})
print("RESULT " + json.dumps(runs))
"""


def main() -> None:
    """Measure both, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=128)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--model", type=Path, default=conversion.default_folder())
    asked = parser.parse_args()
    settings = config.settings({"concurrency": asked.prompts})
    python = interpreter.required(settings.vllm_python)
    if asked.model == conversion.default_folder():
        conversion.convert(weights.fetch(), asked.model, python)
    seeds = seed_tasks.load(resources.seeds_dir() / "en_seed_tasks.jsonl")
    prompts = [f"Task: {seed.instruction}\nAnswer:" for seed in seeds[: asked.prompts]]
    theirs, again = _peer(python, asked.model, prompts, asked.tokens)
    ours = _ours(asked.model, prompts, asked.tokens, settings)
    print(f"{len(prompts)} prompts, {asked.tokens} tokens each, {ENGINE}")
    for name, run in (("LLM.generate", theirs), ("the same in reverse", again), ("selfinstruct complete", ours)):
        print(f"{name:<22}{run['tokens'] / run['seconds']:>8.1f} tokens/s  ({run['tokens']} in {run['seconds']:.1f} s)")
    ratio = ours["tokens"] / ours["seconds"] / (theirs["tokens"] / theirs["seconds"])
    print(f"ratio {ratio:.3f}")
    same = [prompt for prompt in prompts if theirs["texts"][prompt] == again["texts"][prompt]]
    agreed = sum(ours["texts"][prompt] == theirs["texts"][prompt] for prompt in same)
    print(f"vLLM agrees with itself on {len(same)} of {len(prompts)} texts; on {agreed} of those ours is the same")


def _peer(python: Path, model: Path, prompts: list[str], tokens: int) -> list[dict[str, Any]]:
    asked = orjson.dumps({"model": str(model), "prompts": prompts, "tokens": tokens, "engine": ENGINE})
    quiet = {
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "VLLM_HOST_IP": "127.0.0.1",
        "VLLM_LOGGING_LEVEL": "ERROR",
    }
    done = subprocess.run(
        [str(python), "-c", PEER], input=asked, stdout=subprocess.PIPE, env={**os.environ, **quiet}, check=True
    )
    line = next(line for line in done.stdout.decode().splitlines() if line.startswith("RESULT "))
    runs: list[dict[str, Any]] = orjson.loads(line.removeprefix("RESULT "))
    return runs


def _ours(model: Path, prompts: list[str], tokens: int, settings: config.Settings) -> dict[str, Any]:
    """From the moment the server answers to the last answer, the ledger's commits included."""
    recipe = naming.named(ModelRecipe(api="vllm", name=str(model), engine=ENGINE))
    opened = opening.open_model(recipe, settings)
    assert opened.guest is not None
    marks: dict[str, float] = {}

    def tell(line: str) -> None:
        marks["ready"] = time.perf_counter()

    opened.guest.tell = tell
    with tempfile.TemporaryDirectory() as folder:
        requests, out = Path(folder) / "requests.jsonl", Path(folder) / "out"
        requests.write_bytes(b"\n".join(_line(number, prompt, tokens) for number, prompt in enumerate(prompts)))
        account = completing.Account(out)

        def watch() -> None:
            marks["last"] = time.perf_counter()

        completing.run(Batch(requests, out, recipe, None, settings, opened), account, watch)
        answers = [orjson.loads(line)["response"]["body"] for line in (out / "results.jsonl").open("rb")]
    texts = {prompt: answer["choices"][0]["text"] for prompt, answer in zip(prompts, answers, strict=True)}
    used = sum(answer["usage"]["completion_tokens"] for answer in answers)
    return {"seconds": marks["last"] - marks["ready"], "tokens": used, "texts": texts}


def _line(number: int, prompt: str, tokens: int) -> bytes:
    body = {"model": "m", "prompt": prompt, "max_tokens": tokens, "temperature": 0, "ignore_eos": True}
    return orjson.dumps({"custom_id": str(number), "method": "POST", "url": "/v1/completions", "body": body})


if __name__ == "__main__":
    main()
