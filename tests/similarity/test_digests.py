"""Digests and Names: a dict and a list, in less memory."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from selfinstruct.similarity.digests import DIGEST, Digests, Names, digest_of


@given(st.lists(st.integers(0, 40)))
def test_a_digest_is_known_by_its_first_number(drawn: list[int]) -> None:
    """Like ``dict.setdefault``, also where digests begin alike and share a slot."""
    known, plain = Digests(), dict[bytes, int]()
    for number, one in enumerate(drawn):
        digest = bytes(8) + one.to_bytes(8)
        assert known.number_of(digest) == plain.get(digest)
        known.add(digest, number)
        plain.setdefault(digest, number)
        assert known.number_of(digest) == plain[digest]


def test_it_grows() -> None:
    """Thousands of digests are all found again, and no other."""
    known = Digests()
    for number in range(5000):
        known.add(digest_of(f"text {number}"), number)
    assert [known.number_of(digest_of(f" text {number}\n")) for number in range(5000)] == list(range(5000))
    assert known.number_of(digest_of("text 5000")) is None


def test_a_digest_is_of_the_text_without_white_space_at_its_ends() -> None:
    """And of any text that Python can hold, lone surrogates too."""
    assert digest_of("  a b\n") == digest_of("a b") != digest_of("ab")
    assert len(digest_of("\ud800")) == DIGEST


@given(st.lists(st.text()))
def test_names_are_a_list_of_texts(names: list[str]) -> None:
    """In the order they were appended."""
    kept = Names()
    for name in names:
        kept.append(name)
    assert [kept[number] for number in range(len(kept))] == names
