"""Counts tokens exactly, as a Hugging Face ``tokenizer.json`` says; the one module that needs the extra for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from selfinstruct.errors import BadData, ConfigProblem

try:
    from tokenizers import Tokenizer
except ImportError as error:
    raise ConfigProblem("--tokenizer needs the package tokenizers: pip install 'selfinstruct[tokenizer]'") from error


def counter(path: Path) -> Callable[[str], int]:
    """The number of tokens of a text, without those that a template or the tokenizer puts around it.

    Raises `BadData` for a file that is missing, or no ``tokenizer.json``.
    """
    try:
        tokenizer = Tokenizer.from_buffer(path.read_bytes())
    except OSError as error:
        raise BadData(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise BadData(f"{path}: is not the tokenizer.json of a Hugging Face model: {error}") from error
    tokenizer.no_truncation()  # a file may ask for either, and a count of what was cut or filled up would be wrong
    tokenizer.no_padding()
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)
