"""Tokens counted exactly, where the extra is installed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from selfinstruct.errors import BadData, ConfigProblem


def write(path: Path, **changes: Any) -> Path:
    """A tokenizer.json that knows two words and splits at white space and marks."""
    model = {"type": "WordLevel", "vocab": {"[UNK]": 0, "a": 1, "b": 2}, "unk_token": "[UNK]"}
    table = {"version": "1.0", "model": model, "pre_tokenizer": {"type": "Whitespace"}, "added_tokens": []}
    empty = dict.fromkeys(("truncation", "padding", "normalizer", "post_processor", "decoder"))
    path.write_text(json.dumps({**empty, **table, **changes}), "utf-8")
    return path


def test_tokens_are_those_of_the_file(tmp_path: Path) -> None:
    """No more and no fewer, whatever the file says of cutting off, filling up and marks around a text."""
    pytest.importorskip("tokenizers", reason="the extra tokenizer is not installed")
    from selfinstruct.tokenizer_file import counter

    ends = {"type": "BertProcessing", "sep": ["b", 2], "cls": ["a", 1]}
    cut = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
    filled = {"strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0}
    filled |= {"pad_type_id": 0, "pad_token": "[UNK]"}
    for changes in ({}, {"truncation": cut}, {"padding": filled}, {"post_processor": ends}):
        tokens = counter(write(tmp_path / "tokenizer.json", **changes))
        assert [tokens(text) for text in ("", "a", "a b c, d!", "你 好")] == [0, 1, 6, 2], changes


@pytest.mark.parametrize("content", ["", "{}", "no", "[1]", '{"model": 3}'])
def test_a_file_that_is_no_tokenizer_is_one_clear_line(tmp_path: Path, content: str) -> None:
    """The reason is the package's own."""
    pytest.importorskip("tokenizers", reason="the extra tokenizer is not installed")
    from selfinstruct.tokenizer_file import counter

    path = tmp_path / "tokenizer.json"
    path.write_text(content)
    with pytest.raises(BadData, match=r"tokenizer\.json: is not the tokenizer\.json of a Hugging Face model: "):
        counter(path)


def test_a_missing_file_is_one_clear_line(tmp_path: Path) -> None:
    """As is a folder."""
    pytest.importorskip("tokenizers", reason="the extra tokenizer is not installed")
    from selfinstruct.tokenizer_file import counter

    with pytest.raises(BadData, match=r"nothing: cannot be read: No such file or directory"):
        counter(tmp_path / "nothing")
    with pytest.raises(BadData, match=r"cannot be read: Is a directory"):
        counter(tmp_path)


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra's name, ready to be copied."""
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    monkeypatch.delitem(sys.modules, "selfinstruct.tokenizer_file", raising=False)
    with pytest.raises(ConfigProblem) as raised:
        import selfinstruct.tokenizer_file  # noqa: F401
    assert str(raised.value) == "--tokenizer needs the package tokenizers: pip install 'selfinstruct[tokenizer]'"
