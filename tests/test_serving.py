"""Serving a model: which server it is, what that is started with, that it answers, and that nothing of it is left."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from selfinstruct import served_model, serving
from selfinstruct.engine.launch import state_folder
from selfinstruct.errors import ConfigProblem, Interrupted, ModelError, UnknownModel, UsageProblem
from selfinstruct.gpus import Gpu
from selfinstruct.models import weights
from selfinstruct.serving import Wish
from tests.safetensors_bytes import safetensors
from tests.stub_engine import model_folder, stands_in, starts

TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant: "

# Stands in for transformers' command line: pinned to one name, it answers with how it was told to sample.
TRANSFORMERS = """
import http.server, json, os, sys
def main():
    serve, name, _, host, _, port = sys.argv[1:]
    told = json.load(open(name + "/generation_config.json"))
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            right = body["model"] == name and "die" not in os.listdir(name)
            answer = json.dumps({"choices": [{"text": json.dumps(told)}], "offline": os.environ["HF_HUB_OFFLINE"],
                                 "keys": [key for key in os.environ if key.endswith("_KEY")]}).encode()
            self.send_response(200 if right else 400)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)
            if body["prompt"] == "end": os._exit(3)
    if "die" in os.listdir(name): sys.exit("ValueError: no such thing as these weights")
    http.server.HTTPServer((host, int(port)), Handler).serve_forever()
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Logs and records below the test's folder, looks often, no GPU, and no Hub."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(serving, "LOOK_EVERY", 0.05)
    monkeypatch.setattr("selfinstruct.gpus.listed", list)


@pytest.fixture
def transformers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in for transformers is what the server's process finds."""
    package = tmp_path / "stand-in" / "transformers" / "cli"
    package.mkdir(parents=True)
    for folder in (package.parent, package):  # else the real one would be found before it, where it is installed
        (folder / "__init__.py").touch()
    (package / "transformers.py").write_text(TRANSFORMERS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "stand-in"))
    monkeypatch.setattr(served_model, "require", lambda *packages: None)


def a_model(folder: Path, **files: Any) -> Path:
    """A folder with a configuration, a template and weights; ``files`` are others, as JSON, by their names' stems."""
    folder.mkdir(parents=True)
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}
    for name, content in {"config": config, "tokenizer_config": {"chat_template": TEMPLATE}, **files}.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    (folder / "model.safetensors").write_bytes(safetensors())
    return folder


def an_adapter(folder: Path, tensors: list[str], **config: Any) -> Path:
    """An adapter's folder, whose weights have these names."""
    folder.mkdir(parents=True)
    written = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 6, "base_model_name_or_path": "/a/base", **config}
    (folder / "adapter_config.json").write_text(json.dumps(written))
    header = json.dumps({name: {"data_offsets": [0, 0]} for name in tensors}).encode()
    (folder / "adapter_model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder


def ask(base_url: str, model: str, prompt: str = "hello") -> Mapping[str, Any]:
    """One answer, parsed."""
    body = {"model": model, "prompt": prompt, "max_tokens": 1}
    answer = httpx.post(f"{base_url}/completions", json=body, timeout=30, trust_env=False)
    assert answer.status_code == 200, answer.text
    parsed: Mapping[str, Any] = answer.json()
    return parsed


def listens(base_url: str) -> bool:
    """Whether somebody is at that address."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(base_url.split(":")[2].partition("/")[0]))) == 0


# --- what a folder holds --------------------------------------------------------------------------------------------


def test_a_folder_a_gguf_file_and_an_adapter_are_told_apart(tmp_path: Path) -> None:
    """Each is served under its own name, never its path."""
    adapter = an_adapter(tmp_path / "tuned", ["a.lora_A.weight"])
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "small-Q4.gguf").write_bytes(b"GGUF")
    found = [served_model.find(str(path)) for path in (a_model(tmp_path / "whole"), adapter, tmp_path / "one")]
    assert [(one.kind, one.name) for one in found] == [("model", "whole"), ("adapter", "tuned"), ("gguf", "one")]
    assert served_model.find(str(tmp_path / "one" / "small-Q4.gguf")).name == "small-Q4"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"config": {"architectures": ["LlamaForSequenceClassification"]}}, "is a reward model.*best-of-n"),
        ({"config": {}, "adapter_config": {"task_type": "SEQ_CLS"}}, "is a reward model"),
    ],
)
def test_a_reward_model_is_not_served(tmp_path: Path, files: dict[str, Any], message: str) -> None:
    """It gives no answers; the message names the command that uses it."""
    with pytest.raises(ConfigProblem, match=message):
        served_model.find(str(a_model(tmp_path / "reward", **files)))


def test_a_training_that_is_not_finished_is_not_served(tmp_path: Path) -> None:
    """The message says how to finish it, or what else can be served."""
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "training.json").write_text('{"state": "running"}')
    with pytest.raises(ConfigProblem, match=r"training is not finished: run the same.*checkpoint"):
        served_model.find(str(tmp_path / "half"))


@pytest.mark.parametrize("name", ["./none", "/no/such/model", "a/b/c"])
def test_a_folder_that_is_not_there_is_an_unknown_model(name: str) -> None:
    """A path is never taken for a name on the Hub."""
    with pytest.raises(UnknownModel, match=r"no such model folder$"):
        served_model.find(name)


def test_a_folder_without_a_model_and_a_file_that_is_none_are_refused(tmp_path: Path) -> None:
    """The message says what was looked for."""
    (tmp_path / "notes.txt").write_text("no model")
    with pytest.raises(ConfigProblem, match=r"holds no model: neither weights .* nor one \.gguf file"):
        served_model.find(str(tmp_path))
    with pytest.raises(ConfigProblem, match="is a file"):
        served_model.find(str(tmp_path / "notes.txt"))


@pytest.mark.parametrize(
    ("tensors", "config", "plain"),
    [
        (["l.q_proj.lora_A.weight", "l.q_proj.lora_B.weight"], {}, True),
        (["l.q_proj.lora_A.weight", "embed_tokens.token_adapter.trainable_tokens_delta"], {}, False),
        (["l.q_proj.lora_A.weight", "lm_head.weight"], {}, False),
        (["l.q_proj.lora_A.weight"], {"use_dora": True}, False),
        (["adaption_prompt"], {"peft_type": "ADAPTION_PROMPT"}, False),
        ([], {}, False),
    ],
)
def test_only_low_rank_matrices_alone_are_left_to_vllm(
    tmp_path: Path, tensors: list[str], config: dict[str, Any], plain: bool
) -> None:
    """What has more, as new tokens have, is merged first."""
    found = served_model.find(str(an_adapter(tmp_path / "a", tensors, **config)))
    assert served_model.is_plain_lora(found) is plain


@pytest.mark.parametrize(
    ("known", "expected"),
    [(7, [7, 9]), ([7, 8], [7, 8, 9]), (9, 9), (None, [9])],
)
def test_answers_end_with_the_token_of_the_template_too(tmp_path: Path, known: Any, expected: Any) -> None:
    """The settings that came from the base know only the base's."""
    files = {
        "generation_config": {"eos_token_id": known},
        "tokenizer_config": {"eos_token": {"content": "<|im_end|>"}},
        "tokenizer": {"added_tokens": [{"id": 8, "content": "</s>"}, {"id": 9, "content": "<|im_end|>"}]},
    }
    folder = a_model(tmp_path / "whole", **files)
    assert served_model.generation_of(folder) == {"eos_token_id": expected}
    (folder / "tokenizer.json").unlink()
    assert served_model.generation_of(folder) == {"eos_token_id": known}


# --- which server ---------------------------------------------------------------------------------------------------


def test_without_a_gpu_a_folder_goes_to_transformers_and_a_gguf_file_to_llama_cpp(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a GPU and a vLLM, a folder goes to vLLM; without a vLLM it does not."""
    monkeypatch.setattr(served_model, "require", lambda *packages: None)
    folder = served_model.find(str(a_model(tmp_path / "whole")))
    file = folder._replace(kind="gguf")
    assert [serving.choose(one, Wish()) for one in (folder, file)] == ["transformers", "llama-cpp"]
    monkeypatch.setattr("selfinstruct.gpus.listed", lambda: [Gpu("0", "card", 10, 0)])
    assert serving.choose(folder, Wish(vllm_python=sys.executable)) == "vllm"
    monkeypatch.chdir(tmp_path)  # no .venv-vllm here
    assert serving.choose(folder, Wish()) == "transformers"


def test_a_server_that_cannot_load_the_model_is_refused(tmp_path: Path) -> None:
    """The message names one that can."""
    folder = served_model.find(str(a_model(tmp_path / "whole")))
    with pytest.raises(ConfigProblem, match="--backend vllm and transformers would"):
        serving.choose(folder, Wish(backend="llama-cpp"))
    with pytest.raises(ConfigProblem, match="--backend llama-cpp would"):
        serving.choose(folder._replace(kind="gguf"), Wish(backend="transformers"))
    with pytest.raises(UsageProblem, match="--engine is vLLM's"):
        serving.choose(folder, Wish(engine={"dtype": "half"}))


def test_a_missing_package_comes_with_the_command_that_installs_it() -> None:
    """By the extra it belongs to."""
    with pytest.raises(
        ConfigProblem, match=r"^no_such_thing: not installed; run  pip install 'selfinstruct\[train\]'$"
    ):
        served_model.require("json", "no_such_thing")


# --- transformers, stood in for -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("transformers")
def test_transformers_serves_the_folder_by_its_name_and_samples_as_a_request_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own settings are kept but for those that would make it deaf; it sees no key, and asks no Hub."""
    monkeypatch.setenv("OTHER_API_KEY", "sk-of-another-service")
    folder = a_model(tmp_path / "whole", generation_config={"eos_token_id": 7, "do_sample": False})
    told: list[str] = []
    with serving.started(str(folder), Wish(port=0), told.append) as server:
        served = server.served
        answer = ask(served.base_url, "whole")
        assert json.loads(answer["choices"][0]["text"]) == {"top_k": 0, "eos_token_id": 7, "do_sample": True}
        assert (answer["offline"], answer["keys"]) == ("1", [])
        assert served.words == [
            *("--api", "chat", "--base-url", served.base_url, "--model", "whole"),
            *("--concurrency", "1"),
        ]
    assert told == [f"whole: starting transformers; its log is {served.log}"]
    assert not listens(served.base_url)
    assert list(state_folder().glob("*.json")) == []
    assert json.loads((folder / "generation_config.json").read_text()) == {"eos_token_id": 7, "do_sample": False}


@pytest.mark.usefixtures("transformers")
def test_a_model_without_a_chat_template_is_asked_to_continue_prompts(tmp_path: Path) -> None:
    """The words that ask it say so."""
    folder = a_model(tmp_path / "whole", tokenizer_config={})
    with serving.started(str(folder), Wish(port=0, name="other")) as server:
        assert server.served.words[:2] == ["--api", "completion"]
        assert ask(server.served.base_url, "other")["choices"]


@pytest.mark.usefixtures("transformers")
def test_a_server_that_does_not_start_says_why_in_its_last_words(tmp_path: Path) -> None:
    """A person reads them without looking for the log."""
    folder = a_model(tmp_path / "whole", die={})
    (folder / "die.json").rename(folder / "die")
    with (
        pytest.raises(ConfigProblem, match=r"did not start \(exit code 1\); its last words: ValueError: no such thing"),
        serving.started(str(folder), Wish(port=0)),
    ):
        raise AssertionError("it did start")


@pytest.mark.usefixtures("transformers")
def test_a_server_that_goes_away_while_it_is_wanted_is_missed(tmp_path: Path) -> None:
    """`wait` raises how it ended; running the command again starts it again."""
    with serving.started(str(a_model(tmp_path / "whole")), Wish(port=0)) as server:
        ask(server.served.base_url, "whole", "end")
        with pytest.raises(ModelError, match="whole: transformers is gone: it ended with exit code 3"):
            server.wait()


@pytest.mark.usefixtures("transformers")
def test_a_port_that_is_taken_is_told_before_anything_starts(tmp_path: Path) -> None:
    """Nothing is started that would fail minutes later."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            pytest.raises(ConfigProblem, match=f"127.0.0.1:{port}: cannot listen there.*choose another --port"),
            serving.started(str(a_model(tmp_path / "whole")), Wish(port=port)),
        ):
            raise AssertionError("it did start")
    assert not state_folder().exists()


@pytest.mark.usefixtures("transformers")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_server_in_order(tmp_path: Path, number: signal.Signals) -> None:
    """It raises, with the exit code a shell expects, and the handlers are as they were."""
    before = signal.getsignal(number)
    with (
        pytest.raises(Interrupted) as why,
        serving.started(str(a_model(tmp_path / "whole")), Wish(port=0)) as server,
    ):
        os.kill(os.getpid(), number)
        server.wait()
    assert why.value.exit_code == 128 + number
    assert not listens(server.served.base_url)
    assert signal.getsignal(number) == before


@pytest.mark.usefixtures("transformers")
def test_a_name_that_transformers_would_read_otherwise_is_refused(tmp_path: Path) -> None:
    """It takes what stands behind an @ for a revision."""
    with (
        pytest.raises(UsageProblem, match="no model whose name has an '@'"),
        serving.started(str(a_model(tmp_path / "whole")), Wish(port=0, name="a@b")),
    ):
        raise AssertionError("it did start")


# --- vLLM, stood in for ---------------------------------------------------------------------------------------------


def test_vllm_listens_where_it_is_told_to_and_asks_for_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Engine options reach it; how many requests it works on at once is its own affair."""
    stands_in(monkeypatch, tmp_path / "state")
    folder = model_folder(tmp_path / "small", starts=str(tmp_path / "starts"))
    wish = Wish(backend="vllm", port=0, vllm_python=sys.executable, engine={"max_num_seqs": 4})
    with serving.started(str(folder), wish) as server:
        assert ask(server.served.base_url, "small")["choices"]
        assert server.served.words[-2:] == ["--model", "small"]
    arguments = starts(tmp_path / "starts")[0].arguments
    assert "--max-num-seqs=4" in arguments
    assert not listens(server.served.base_url)


def test_vllm_adds_a_plain_adapter_to_its_base_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The base is what is loaded, the adapter's folder gives the name, the tokenizer and the template."""
    (base := tmp_path / "base").mkdir()
    adapter = an_adapter(tmp_path / "tuned", ["a.lora_A.weight"], base_model_name_or_path=str(base))
    found = served_model.find(str(adapter))
    words, _ = serving.vllm_command(found, "tuned", Wish(vllm_python=sys.executable, host="0.0.0.0"), 8000)
    assert words[words.index("--model") + 1] == str(base)
    assert words[words.index("--served-model-name") + 1] == "tuned-base"
    assert words[words.index("--host") + 1] == "0.0.0.0"
    assert words[words.index("--lora-modules") + 1] == f"tuned={adapter}"
    assert {"--enable-lora", "--max-lora-rank=8", f"--tokenizer={adapter}"} <= set(words)


# --- real servers ---------------------------------------------------------------------------------------------------


@pytest.mark.model
def test_the_embedded_models_file_is_served_by_llama_cpp(tmp_path: Path) -> None:
    """A real answer to a real request, over HTTP."""
    pytest.importorskip("xllamacpp")
    file = weights.find()
    if file is None:
        pytest.skip("the embedded model's weights are not installed")
    with serving.started(str(file), Wish(port=0, name="small")) as server:
        answer = ask(server.served.base_url, "small", "Once upon a")
        assert (answer["model"], answer["usage"]["completion_tokens"]) == ("small", 1)
    assert not listens(server.served.base_url)


@pytest.mark.model
def test_a_file_that_is_no_gguf_is_told_by_llama_cpp(tmp_path: Path) -> None:
    """The message guesses what is wrong, and has the server's last words."""
    pytest.importorskip("xllamacpp")
    (tmp_path / "broken.gguf").write_bytes(b"nothing of the kind")
    with (
        pytest.raises(
            ConfigProblem, match=r"broken: llama-cpp did not start \(exit code 1\): is it a whole GGUF file\?"
        ),
        serving.started(str(tmp_path / "broken.gguf"), Wish(port=0)),
    ):
        raise AssertionError("it did start")


def a_tiny_llama(folder: Path) -> Path:
    """A real model of random weights, with a tokenizer of single bytes and a chat template."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    for package in ("fastapi", "uvicorn", "openai"):
        pytest.importorskip(package)
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate(["<s>", "</s>", *letters])}
    plain = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    plain.pre_tokenizer, plain.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=plain, bos_token="<s>", eos_token="</s>")
    tokenizer.chat_template = TEMPLATE
    torch.manual_seed(7)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.LlamaConfig(vocab_size=len(vocabulary), bos_token_id=0, eos_token_id=1, **sizes)
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write(base_url: str, model: str, temperature: float, seed: int) -> str:
    """An answer of up to 12 tokens to a message."""
    body = {"model": model, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 12}
    asked = {**body, "temperature": temperature, "seed": seed}
    answer = httpx.post(f"{base_url}/chat/completions", json=asked, timeout=60, trust_env=False)
    assert answer.status_code == 200, answer.text
    text: str = answer.json()["choices"][0]["message"]["content"]
    return text


@pytest.mark.slow
def test_a_real_transformers_samples_by_the_temperature_and_seed_of_a_request(tmp_path: Path) -> None:
    """Without what we write into its generation settings it would give one and the same answer to all of them."""
    with serving.started(str(a_tiny_llama(tmp_path / "tiny")), Wish(backend="transformers", port=0)) as server:
        sampled = {seed: write(server.served.base_url, "tiny", 1.0, seed) for seed in (1, 2, 3)}
        assert len(set(sampled.values())) == 3
        assert write(server.served.base_url, "tiny", 1.0, 2) == sampled[2]
        assert write(server.served.base_url, "tiny", 0.0, 1) == write(server.served.base_url, "tiny", 0.0, 2)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning")  # peft speaks to transformers in old words
def test_an_adapter_is_merged_once_and_served_under_its_own_name(tmp_path: Path) -> None:
    """It answers otherwise than its base does."""
    base = a_tiny_llama(tmp_path / "tiny")
    peft = pytest.importorskip("peft")
    transformers = pytest.importorskip("transformers")
    model = transformers.AutoModelForCausalLM.from_pretrained(base)
    settings = peft.LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    peft.get_peft_model(model, settings).save_pretrained(tmp_path / "tuned")
    transformers.AutoTokenizer.from_pretrained(base).save_pretrained(tmp_path / "tuned")
    told: list[str] = []
    answers = {}
    for folder in (base, tmp_path / "tuned", tmp_path / "tuned"):
        with serving.started(str(folder), Wish(backend="transformers", port=0), told.append) as server:
            answers[folder.name] = write(server.served.base_url, folder.name, 0.0, 1)
    assert answers["tiny"] != answers["tuned"]
    assert [line for line in told if "merging" in line] == [
        f"tuned: merging the adapter into {base}; this happens once"
    ]
