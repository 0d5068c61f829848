"""A model small enough to be tuned in a test: a Llama of two layers with drawn weights, and a tokenizer of bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.role == 'assistant' %}{% generation %}{{ message.content }}<|im_end|>{% endgeneration %}"
    "{% else %}{{ message.content }}<|im_end|>{% endif %}\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""A chat template as a model has it, with marks that transformers reads, too."""

SPECIAL = ("<|pad|>", "<|im_start|>", "<|im_end|>")


def tokenizer() -> Any:
    """Every byte is a token, so any text comes back as it was; the three special tokens come last."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={letter: number for number, letter in enumerate(letters)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in SPECIAL])
    made = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<|pad|>", eos_token="<|im_end|>")
    made.chat_template = TEMPLATE
    return made


def model(vocabulary: int, seed: int = 0, *, tied: bool = False) -> Any:
    """The weights, drawn by the seed."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=2048,
            tie_word_embeddings=tied,
            pad_token_id=vocabulary - 3,
            bos_token_id=None,
            eos_token_id=vocabulary - 1,
        )
    )


def folder(path: Path, *, tied: bool = False) -> Path:
    """Model and tokenizer, saved as any other."""
    spoken = tokenizer()
    spoken.save_pretrained(path)
    model(len(spoken), tied=tied).save_pretrained(path)
    return path
