"""Takes set phrases out of an instruction: "let the model write a poem" says no more than "write a poem"."""

from __future__ import annotations

import re
from collections.abc import Sequence

# Where a clause begins: the start of the text, the mark that ends the clause before, or a word that only leads in.
_BEGINS = r"(?P<before>^\s*|[。！？!?；;，,：:、\n（(“][^\S\n]*|请|并且?|然后|再)"
# What is left has to be a clause of its own: it goes on with a word, and not with one that leans on the phrase.
_GOES_ON = r"[，,：:、\s]*(?=[^\W\d_]|[“《「\"'])(?![的了吗呢吧之与和或])"


def without_phrases(text: str, phrases: Sequence[str]) -> str:
    """The text without those phrases, and without the comma or colon that followed them; the case does not matter.

    A phrase is taken out only where it begins a clause and the clause goes on behind it. Elsewhere taking it out would
    break the sentence ("how is a GPT model used?"), so it stays, for a word list to find. The result is empty only
    where the text was nothing but phrases and punctuation.
    """
    if not phrases:
        return text
    longest_first = "|".join(map(re.escape, sorted(phrases, key=len, reverse=True)))
    left = re.sub(f"(?:{longest_first})", "", text, flags=re.IGNORECASE)
    if left != text and not re.search(r"\w", left):
        return ""
    # (?>…)+: the longest phrase or none; a shorter one would leave the rest of the longer behind.
    return re.sub(rf"{_BEGINS}(?>(?:{longest_first})+){_GOES_ON}", r"\g<before>", text, flags=re.IGNORECASE)
