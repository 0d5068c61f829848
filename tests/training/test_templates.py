"""The chat templates we ship, and dressing a tokenizer and a model in one."""

from __future__ import annotations

from typing import Any

import pytest

from selfinstruct.errors import ConfigProblem
from selfinstruct.training import templates
from tests.training.letters import Letters

SHORT = [{"role": "user", "content": "1+1?"}, {"role": "assistant", "content": "2"}]
LONG = [{"role": "system", "content": "Be brief."}, *SHORT, *SHORT]
ALPACA = "Below is an instruction that describes a task. Write a response that appropriately completes the request."


def dressed(name: str, *, begins: bool = True) -> Letters:
    """A tokenizer with the template of that name."""
    tokenizer = Letters(None, begins=begins)
    templates.dress(tokenizer, name)
    return tokenizer


def test_there_are_five_templates() -> None:
    """The names are those the documentation lists, in alphabetical order."""
    assert templates.names() == ("alpaca", "belle", "chatml", "openchat", "zephyr")


@pytest.mark.parametrize(
    ("name", "short", "long"),
    [
        (
            "alpaca",
            f"<s>{ALPACA}\n\n### Instruction:\n1+1?\n\n### Response:2</s>",
            "<s>Be brief." + 2 * "\n\n### Instruction:\n1+1?\n\n### Response:2</s>",
        ),
        (
            "belle",
            "<s>Human: \n1+1?\n\nAssistant: \n2</s>",
            "<s>Be brief.\n\n" + 2 * "Human: \n1+1?\n\nAssistant: \n2</s>",
        ),
        (
            "chatml",
            "<s><|im_start|>user\n1+1?<|im_end|>\n<|im_start|>assistant\n2<|im_end|>\n",
            "<s><|im_start|>system\nBe brief.<|im_end|>\n"
            + 2 * "<|im_start|>user\n1+1?<|im_end|>\n<|im_start|>assistant\n2<|im_end|>\n",
        ),
        (
            "openchat",
            "<s>Human: 1+1?<|end_of_turn|>Assistant: 2<|end_of_turn|>",
            "<s>Be brief.<|end_of_turn|>" + 2 * "Human: 1+1?<|end_of_turn|>Assistant: 2<|end_of_turn|>",
        ),
        (
            "zephyr",
            "<s><|system|>\n</s>\n<|user|>\n1+1?</s>\n<|assistant|>\n2</s>\n",
            "<s><|system|>\nBe brief.</s>\n" + 2 * "<|user|>\n1+1?</s>\n<|assistant|>\n2</s>\n",
        ),
    ],
)
def test_a_template_writes_the_published_format(name: str, short: str, long: str) -> None:
    """One exchange, and two with a system message, are written to the letter as the format has it."""
    tokenizer = dressed(name)
    assert (tokenizer.apply_chat_template(SHORT), tokenizer.apply_chat_template(LONG)) == (short, long)


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("alpaca", "\n\n### Response:"),
        ("belle", "Assistant: \n"),
        ("chatml", "<|im_start|>assistant\n"),
        ("openchat", "Assistant:"),
        ("zephyr", "<|assistant|>\n"),
    ],
)
def test_a_prompt_ends_with_the_header_of_the_answer(name: str, header: str) -> None:
    """The line that asks for an answer comes last, and an answered conversation goes on just as it does."""
    tokenizer = dressed(name)
    asked = tokenizer.apply_chat_template(SHORT[:1], add_generation_prompt=True)
    assert asked == tokenizer.apply_chat_template(SHORT[:1]) + header
    assert tokenizer.apply_chat_template(SHORT).startswith(asked)


def test_openchat_shows_the_class_on_both_roles() -> None:
    """With a condition the headers are "GPT4 User: " and "GPT4 Assistant: ", also where the answer is asked for."""
    text = dressed("openchat").apply_chat_template(SHORT, condition="GPT4", add_generation_prompt=True)
    assert text == "<s>GPT4 User: 1+1?<|end_of_turn|>GPT4 Assistant: 2<|end_of_turn|>GPT4 Assistant:"


@pytest.mark.parametrize("name", templates.names())
def test_the_beginning_of_a_sequence_stands_only_where_the_tokenizer_puts_it(name: str) -> None:
    """A tokenizer that has a bos token, but puts it before no text, gets a template without it."""
    without, begun = (dressed(name, begins=begins).apply_chat_template(LONG) for begins in (False, True))
    assert begun == "<s>" + without


@pytest.mark.parametrize(
    ("name", "added", "end"),
    [
        ("alpaca", ["[PAD]"], "</s>"),
        ("belle", ["[PAD]"], "</s>"),
        ("chatml", ["<|im_start|>", "<|im_end|>"], "<|im_end|>"),
        ("openchat", ["<|end_of_turn|>"], "<|end_of_turn|>"),
        ("zephyr", ["[PAD]"], "</s>"),
    ],
)
def test_dressing_adds_what_is_missing_and_ends_with_the_end(name: str, added: list[str], end: str) -> None:
    """The missing special tokens are added and named, the end token becomes eos, and padding is never eos."""
    tokenizer = Letters(None)
    assert templates.dress(tokenizer, name) == added
    assert (tokenizer.special[2:], tokenizer.eos_token) == (added, end)
    assert tokenizer.pad_token == ("[PAD]" if "[PAD]" in added else "</s>")


def test_tokens_that_are_there_are_not_added() -> None:
    """A tokenizer that knows ChatML's tokens keeps its size, and dressing it twice adds nothing the second time."""
    tokenizer = Letters(None, ("<|endoftext|>", "<|im_end|>", "<|im_start|>"))
    assert templates.dress(tokenizer, "chatml") == ["[PAD]"]
    assert templates.dress(tokenizer, "chatml") == []
    assert tokenizer.special == ["<|endoftext|>", "<|im_end|>", "<|im_start|>", "[PAD]"]


def test_the_unknown_token_pads_where_there_is_one() -> None:
    """A tokenizer whose padding is its end pads with its unknown token, so that it need not grow."""
    tokenizer = Letters(None)
    tokenizer.unk_token = "<unk>"
    assert (templates.pad_apart(tokenizer), tokenizer.pad_token) == ([], "<unk>")


def test_padding_of_its_own_is_left_alone() -> None:
    """A padding token that is neither end nor beginning stays."""
    tokenizer = Letters(None, ("<s>", "</s>", "<pad>"))
    tokenizer.pad_token = "<pad>"
    assert (templates.pad_apart(tokenizer), tokenizer.pad_token) == ([], "<pad>")


def test_an_unknown_name_is_refused_with_the_names_there_are() -> None:
    """The message names all five."""
    with pytest.raises(
        ConfigProblem, match="no chat template 'llama'; there are alpaca, belle, chatml, openchat, zephyr"
    ):
        templates.load("llama")


def test_a_tokenizer_without_an_end_is_refused_where_it_is_needed() -> None:
    """Zephyr ends answers with eos: without one the message says so."""
    with pytest.raises(ConfigProblem, match="'zephyr' ends answers with the tokenizer's eos_token, which has none"):
        templates.dress(Letters(None, ()), "zephyr")


# --- with torch and transformers --------------------------------------------------------------------------------------


class Grown:
    """As much of a tokenizer as `start_at_mean` asks for: ``size`` tokens, of which the last are ``added``."""

    def __init__(self, size: int, added: list[str]) -> None:
        self._size, self._first = size, {token: size - len(added) + place for place, token in enumerate(added)}

    def __len__(self) -> int:
        return self._size

    def convert_tokens_to_ids(self, token: str) -> int:
        """Its id."""
        return self._first[token]


def tiny_llama(rows: int, *, tied: bool, dtype: str = "float32") -> Any:
    """A random model with so many rows in its embeddings."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(5)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = transformers.LlamaConfig(vocab_size=rows, tie_word_embeddings=tied, **sizes)
    return transformers.LlamaForCausalLM(config).to(getattr(torch, dtype))


@pytest.mark.slow
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(("rows", "spare"), [(20, 0), (20, 12)])
def test_new_tokens_start_as_the_mean_of_the_old(tied: bool, dtype: str, rows: int, spare: int) -> None:
    """New rows are exactly the mean of the old tokens' rows, and no other row changes; spare rows count for nothing."""
    torch = pytest.importorskip("torch")
    model = tiny_llama(rows + spare, tied=tied, dtype=dtype)
    tables = [model.get_input_embeddings, model.get_output_embeddings]
    before = [table().weight.detach().clone() for table in tables]
    templates.start_at_mean(model, Grown(rows + 2, ["<|a|>", "<|b|>"]), ["<|a|>", "<|b|>"])
    for table, old in zip(tables, before, strict=True):
        now = table().weight.detach()
        assert len(now) == max(rows + 2, rows + spare)
        mean = old[:rows].double().mean(dim=0).to(now.dtype)
        assert torch.equal(now[rows : rows + 2], torch.stack([mean, mean]))
        assert torch.equal(now[:rows], old[:rows])
        assert torch.equal(now[rows + 2 :], old[rows + 2 :])
    assert tied == (model.get_input_embeddings().weight is model.get_output_embeddings().weight)


@pytest.mark.slow
def test_nothing_added_changes_nothing() -> None:
    """Without new tokens the model keeps its size and its rows."""
    torch = pytest.importorskip("torch")
    model = tiny_llama(20, tied=False)
    before = model.get_input_embeddings().weight.detach().clone()
    templates.start_at_mean(model, Grown(18, []), [])
    assert torch.equal(model.get_input_embeddings().weight, before)


@pytest.mark.slow
def test_a_reward_model_has_no_output_row_to_set() -> None:
    """A model with a score in place of a head over the vocabulary gets its input rows alone."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = transformers.LlamaConfig(vocab_size=20, num_labels=1, **sizes)
    model = transformers.LlamaForSequenceClassification(config)
    score = model.score.weight.detach().clone()
    templates.start_at_mean(model, Grown(21, ["[PAD]"]), ["[PAD]"])
    rows = model.get_input_embeddings().weight.detach()
    assert torch.equal(rows[20], rows[:20].double().mean(dim=0).float())
    assert torch.equal(model.score.weight, score)
