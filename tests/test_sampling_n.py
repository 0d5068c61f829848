"""Best-of-n's requests: their order only grows at its end, so that no answer is asked for twice."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfinstruct.errors import BadData
from selfinstruct.sampling_n import Prompts, continued
from selfinstruct.schema import Message


def wanted(prompts: str, n: int) -> list[str]:
    """The names of n requests for each prompt, a letter each."""
    return [f"{prompt}-{k}" for k in range(n) for prompt in prompts]


def test_every_prompt_is_asked_once_before_any_is_asked_twice() -> None:
    """So that a run which is cut short has something of each."""
    assert continued([], wanted("ab", 2)) == ["a-0", "b-0", "a-1", "b-1"]


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=6))
def test_whoever_grows_moves_no_request(steps: list[tuple[int, int]]) -> None:
    """More prompts or a larger n put new requests behind those there are."""
    order: list[str] = []
    prompts = n = 0
    for more_prompts, more in steps:
        prompts, n = max(prompts, more_prompts), max(n, more)
        now = wanted("abcd"[:prompts], n)
        grown = continued(order, now)
        assert grown[: len(order)] == order
        assert sorted(grown) == sorted(now)
        order = grown


def test_a_smaller_n_leaves_out_what_stands_last() -> None:
    """And the larger one finds its requests where they were."""
    order = continued([], wanted("ab", 3))
    fewer = continued(order, wanted("ab", 1))
    assert fewer == ["a-0", "b-0"]
    assert continued(fewer, wanted("ab", 3)) == order


def test_a_request_that_would_have_to_move_is_refused() -> None:
    """Its place is part of its call's key: moved, it would be paid for again."""
    with pytest.raises(ValueError, match="a-0"):
        continued(wanted("ab", 2), wanted("b", 2), {1, 2, 3})


def test_what_is_answered_stays_where_it_is() -> None:
    """Wanted or not: it costs nothing, and is found again when it is wanted."""
    order = continued(wanted("ab", 2), wanted("bc", 2), range(4))
    assert order == ["a-0", "b-0", "a-1", "b-1", "c-0", "c-1"]
    assert continued(order, wanted("abc", 1), range(4)) == ["a-0", "b-0", "a-1", "b-1", "c-0"]


def test_the_prompts_of_a_file_are_asked_once_each(tmp_path: Path) -> None:
    """Those that stand there again are counted; a dialogue's last turn is what is asked, after what was said before."""
    file = tmp_path / "mine.jsonl"
    file.write_text(
        '{"instruction": "Name a tree."}\n'
        '{"messages": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hello!"},'
        ' {"role": "user", "content": "Name a tree."}, {"role": "assistant", "content": "An oak."}]}\n'
        '{"prompt": "Name a tree."}\n'
    )
    prompts = Prompts.open(str(file), tmp_path)
    first, second = prompts.ids
    assert (len(prompts), prompts.repeated) == (2, 1)
    assert prompts.messages(first) == (Message(role="user", content="Name a tree."),)
    assert [one.content for one in prompts.messages(second)] == ["Hello", "Hello!", "Name a tree."]
    assert (prompts.source(first), prompts.source(second)) == ("mine.jsonl:1", "mine.jsonl:2")


def test_a_prompt_is_known_by_its_words(tmp_path: Path) -> None:
    """Not by where it stands: lines may be put in front of it."""
    for name, text in (("a.txt", "Name a tree.\n"), ("b.txt", "Name a bird.\nName a tree.\n")):
        (tmp_path / name).write_text(text)
    [tree] = Prompts.open(str(tmp_path / "a.txt"), tmp_path).ids
    assert Prompts.open(str(tmp_path / "b.txt"), tmp_path).ids[1] == tree


def test_prompts_that_are_nowhere_are_named(tmp_path: Path) -> None:
    """Neither file nor run."""
    with pytest.raises(BadData, match=r"nothing: no such file, and no run of that name below"):
        Prompts.open("nothing", tmp_path)
