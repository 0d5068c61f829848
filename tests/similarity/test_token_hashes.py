"""TokenHashes: the same tokens as `tokens`, as numbers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from selfinstruct.similarity.token_hashes import TokenHashes
from selfinstruct.similarity.tokens import Tokenizer, tokens

HASHES = {tokenizer: TokenHashes(tokenizer) for tokenizer in get_args(Tokenizer)}
TEXTS = st.lists(
    st.text() | st.text(st.sampled_from("aZ09 _-'.é\u0301İſK中ａ１ｶﾞ。한각각\u1100\u1161\U00020000\ud800\n")), max_size=6
)


@pytest.mark.parametrize("tokenizer", get_args(Tokenizer))
@given(texts=TEXTS)
@example(texts=[])
@example(texts=["", " " * 300 + "a", "", "b1", "中"])
@example(texts=["a", "b"])
@example(texts=["x" * 5000, "x" * 5001])
def test_equal_tokens_and_no_others_have_equal_hashes(tokenizer: Tokenizer, texts: list[str]) -> None:
    """Counts are those of `tokens`, text by text, and hash and token determine each other."""
    hashes, counts = HASHES[tokenizer](texts)
    words = [tokens(text, tokenizer) for text in texts]
    assert counts.tolist() == [len(each) for each in words]
    flat = [word for each in words for word in each]
    pairs = set(zip(flat, hashes.tolist(), strict=True))
    assert len(pairs) == len(set(flat)) == len(set(hashes.tolist()))


def test_every_character_is_read_as_tokens_reads_it() -> None:
    """All code points alone, and doubled, so that what joins and what stands alone shows."""
    for tokenizer in get_args(Tokenizer):
        texts = [chr(code) * 2 for code in range(0x30000)]
        _, counts = HASHES[tokenizer](texts)
        assert counts.tolist() == [len(tokens(text, tokenizer)) for text in texts]


def test_hashes_are_the_same_in_every_process() -> None:
    """Nothing depends on Python's salted hash; these values may stand in files."""
    script = (
        "from selfinstruct.similarity.token_hashes import TokenHashes; print(TokenHashes('zh')(['fox 狐'])[0].tolist())"
    )
    root = Path(__file__).parents[2]
    runs = [
        subprocess.run(
            [sys.executable, "-c", script],
            cwd=root,
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert (
        runs[0]
        == runs[1]
        == f"{TokenHashes('zh')(['fox 狐'])[0].tolist()}\n"
        == "[2993473102740141850, 3856524482303477065]\n"
    )


def test_an_unknown_tokenizer_is_refused() -> None:
    """The message names those there are."""
    with pytest.raises(ValueError, match="tokenizer must be en, zh or auto, not 'fr'"):
        TokenHashes("fr")  # type: ignore[arg-type]
