"""How long do 52 000 accepted tasks take where the model is instant? What is measured is everything but the model.

    make bench-alpaca

A server in a process of its own answers every call with 17 whole tasks in Alpaca's form (7 in Chinese), of words drawn
from the seed tasks, so lengths and word frequencies are those of real instructions. 52 000 is the size of Alpaca's set;
the novelty filter decides each candidate against everything accepted before, and tells its neighbours above 0.5.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
from aiohttp import web

from selfinstruct import resources, seed_tasks

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
FORMS = {"en": (17, "Instruction:", "Input:", "Output:"), "zh": (7, "指令：", "输入：", "输出：")}
OUTPUT = {"en": "One answer of some length, here only numbered: ", "zh": "一段有些长度的回答，编号："}


def serve(lang: str) -> None:
    """Answer until stdin closes; the answer is a function of the request."""
    seeds = [task.instruction for task in seed_tasks.load(resources.seeds_dir() / f"{lang}_seed_tasks.jsonl")]
    parts = [part for seed in seeds for part in (seed.split() if lang == "en" else seed)]
    between = " " if lang == "en" else ""
    new, *heads = FORMS[lang]

    async def answer(request: web.Request) -> web.Response:
        drawn = random.Random(hashlib.sha256(await request.read()).digest())
        blocks = []
        for number in range(4, 4 + new):
            seed = drawn.choice(seeds)
            length = len(seed.split() if lang == "en" else seed)
            text = between.join(drawn.choices(parts, k=length))
            values = (text, "<noinput>", f"{OUTPUT[lang]}{drawn.random()}")
            blocks.append("\n".join(f"{number}. {head} {value}" for head, value in zip(heads, values, strict=True)))
        message = {"role": "assistant", "content": "\n###\n".join(blocks)}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 700, "completion_tokens": 1500}
        body = orjson.dumps({"model": "instant", "choices": [choice], "usage": usage})
        return web.Response(body=body, content_type="application/json")

    app = web.Application()
    app.router.add_post("/v1/chat/completions", answer)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[3]), print=None)


@contextmanager
def server(lang: str, port: int) -> Iterator[str]:
    """The server as a process; yields its address."""
    words = [sys.executable, "-m", "tests.benchmarks.bench_alpaca", "serve", lang, str(port)]
    with subprocess.Popen(words, env=ENVIRONMENT) as process:
        time.sleep(2)
        try:
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()


PROGRAM = """
import atexit, time
from selfinstruct.cli.start import main
from selfinstruct.filters.rouge_l import RougeLNovelty as Novelty

spent, inside, started = [0.0], [0], time.perf_counter()

def timed(method):
    def call(*arguments):
        start = time.perf_counter()
        inside[0] += 1
        try:
            return method(*arguments)
        finally:
            inside[0] -= 1
            spent[0] += 0 if inside[0] else time.perf_counter() - start
    return call

for name in ("add", "foresee", "check", "admit"):
    setattr(Novelty, name, timed(getattr(Novelty, name)))
seconds = lambda: time.perf_counter() - started
atexit.register(lambda: print(f"novelty filter: {spent[0]:.1f} s, {spent[0] / seconds():.1%} of the time"))
main()
"""
"""The command line with a watch on the novelty filter."""


def measure(lang: str, count: int, port: int) -> None:
    """Run once and print wall seconds, CPU seconds and the peak of memory."""
    with server(lang, port) as url, tempfile.TemporaryDirectory() as folder:
        words = ["generate", "--method", "alpaca", "--lang", lang, "--api", "chat", "--model", "instant"]
        words += ["--base-url", url, "-n", str(count), "--output-dir", folder, "--quiet"]
        program = [sys.executable, "-c", PROGRAM, *words]
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        subprocess.run(program, check=True, env=ENVIRONMENT)
        after, seconds = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic() - started
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        print(f"{lang}: {count} accepted in {seconds:.0f} s, {cpu:.0f} s of CPU, {after.ru_maxrss / 1024:.0f} MiB")


def main() -> None:
    """Both languages, one after the other."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=52_000)
    parser.add_argument("--port", type=int, default=8953)
    given = parser.parse_args()
    for lang in FORMS:
        measure(lang, given.count, given.port)


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(sys.argv[2])
    else:
        main()
