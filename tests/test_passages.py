"""A text is cut where it hurts least: between blocks, else between items, sentences, lines; and nothing is lost."""

from __future__ import annotations

import io
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfinstruct import passages, text_lines
from selfinstruct.passages import SHORT, Cut
from selfinstruct.token_estimate import estimate
from tests.hostile_texts import read_in_time


def cuts(text: str, tokens: int) -> list[Cut]:
    """The passages of a text none of whose sentences is too long."""

    def refuse(line: int, size: int) -> None:
        raise AssertionError((line, size))

    return list(passages.pack(text_lines.of_file(io.BytesIO(text.encode()), "a.md"), tokens, refuse))


def texts(text: str, tokens: int) -> list[str]:
    """Their texts."""
    return [cut.text for cut in cuts(text, tokens)]


FOX = "The quick fox ran off."  # 22 bytes: 6 tokens


# --- where cuts are made ----------------------------------------------------------------------------------------------


def test_paragraphs_are_packed_as_many_as_fit() -> None:
    """Three of 22 bytes and two blank lines are 70 bytes: 18 tokens."""
    text = "\n\n".join([FOX] * 4)
    assert texts(text, 18) == ["\n\n".join([FOX] * 3), FOX]
    assert texts(text, 17) == ["\n\n".join([FOX] * 2)] * 2
    assert texts(text, 10) == [FOX] * 4


def test_a_heading_stays_with_what_follows() -> None:
    """Also two of them in a row, an underlined one, and one without a blank line behind it."""
    for heading in ("# Foxes", "# Animals\n\n## Foxes", "Foxes\n=====", "Foxes\n-----"):
        assert texts(f"{FOX}\n\n{heading}\n\n{FOX}", 13) == [FOX, f"{heading}\n\n{FOX}"]
    assert texts(f"{FOX}\n# Foxes\n{FOX}", 13) == [FOX, f"# Foxes\n{FOX}"]


@pytest.mark.parametrize(
    "block",
    [
        "```python\nx = 1.\n\ny = 2.\n\n# not a heading\n```",
        "~~~~\n```\n\n~~~\n\nx\n~~~~",
        "- one. Two.\n- three\n\n- four\n\n  more of four\n",
        "1. one\n2) two\n\n3. three",
        "一些说明：\n1、先洗菜。\n2、再切菜。\n3、下锅炒。",
        "| a | b |\n|---|:-:|\n| 1 | 2 |\n| 3 | 4 |",
    ],
)
def test_code_lists_and_tables_are_not_torn_apart(block: str) -> None:
    """Where one fits into a passage, it is in one; blank lines within it are no ends of paragraphs."""
    block = block.rstrip()
    size = estimate(block)
    assert texts(f"{FOX}\n\n{block}\n\n{FOX}", max(size, 6)) == [FOX, block, FOX]


def test_a_large_list_is_cut_between_items() -> None:
    """Rather than between the sentences of one."""
    item = f"- {FOX} {FOX}"
    assert texts("\n".join([item] * 3), 30) == [f"{item}\n{item}", item]


def test_a_large_table_keeps_its_header_together() -> None:
    """The rule below the header goes with it; rows are where it is cut."""
    table = ["| animal | sound |", "|---|---|", *["| the quick fox | none at all |"] * 3]
    assert texts("\n".join(table), 15) == ["\n".join(table[:3]), *table[3:]]


def test_large_code_is_cut_at_blank_lines_before_others() -> None:
    """And keeps its indents."""
    part = "def f():\n    return 1  # a number. Small.\n    # nothing more"
    assert texts(f"```\n{part}\n\n\n{part}\n```", 19) == [f"```\n{part}", f"{part}\n```"]
    assert texts(f"```\n{part}\n```", 14) == [
        "```\ndef f():\n    return 1  # a number. Small.",
        "    # nothing more\n```",
    ]


def test_code_that_never_ends_is_code_to_the_end() -> None:
    """A stray fence costs nothing but better places to cut."""
    assert texts(f"```\n{FOX}\n\n{FOX}", 8) == [f"```\n{FOX}", FOX]


@pytest.mark.parametrize(
    ("text", "tokens", "expected"),
    [
        ("It rained. We left! Did you? Yes.", 5, ["It rained. We left!", "Did you? Yes."]),
        ('He said "No." She left (late). Then rain.', 5, ['He said "No."', "She left (late).", "Then rain."]),
        ("Version 3.14 is out... At last!", 6, ["Version 3.14 is out...", "At last!"]),
        ("天黑了。我们走吧！你来吗？好；走。", 8, ["天黑了。", "我们走吧！", "你来吗？好；走。"]),
        ("他说：“走吧！”大家都站起来。", 8, ["他说：“走吧！”", "大家都站起来。"]),
        ("好!真的吗?真的.", 4, ["好!", "真的吗?", "真的."]),
    ],
)
def test_a_large_paragraph_is_cut_at_the_ends_of_sentences(text: str, tokens: int, expected: list[str]) -> None:
    """With the quotes and brackets that close them; both languages' marks count in either."""
    assert texts(text, tokens) == expected


def test_what_may_be_no_end_of_a_sentence_is_used_last() -> None:
    """A title, an initial, a number, or a small letter behind the mark."""
    text = "We saw Dr. Lee at noon. He met J. Smith."
    assert texts(text, 7) == ["We saw Dr. Lee at noon.", "He met J. Smith."]
    assert texts("no capitals here. none at all. really none.", 8) == [
        "no capitals here. none at all.",
        "really none.",
    ]


def test_sentences_over_several_lines_are_kept_whole_where_they_fit() -> None:
    """Text that was wrapped by hand; only a sentence larger than a passage is cut where its lines end."""
    wrapped = "The quick fox\nran off. The slow\none did not."
    assert texts(wrapped, 7) == ["The quick fox\nran off.", "The slow\none did not."]
    assert texts("the moon\nthe sea\nthe wind\nthe rain", 5) == ["the moon\nthe sea", "the wind\nthe rain"]


def test_the_rest_of_a_large_paragraph_goes_on_with_the_next() -> None:
    """If it fits whole."""
    assert texts(f"{FOX} {FOX} {FOX}\n\nEnd.", 12) == [f"{FOX} {FOX}", f"{FOX}\n\nEnd."]


def test_a_short_passage_before_a_large_paragraph_begins_its_first() -> None:
    """A title alone is nothing to ask about; it does not fit with the whole paragraph, but with the start of it."""
    assert texts(f"Foxes\n\n{FOX} {FOX} {FOX}", 15) == [f"Foxes\n\n{FOX} {FOX}", FOX]
    assert texts(f"Foxes\n\n{FOX} {FOX}", 12) == ["Foxes", f"{FOX} {FOX}"]


def test_lines_and_bytes_are_those_of_the_passage() -> None:
    """The number of the line its first sentence stands on, and the bytes from its first character to its last."""
    text = f"\ufeff\r\n{FOX} {FOX}\r\n茶。\r\n\r\n\r\n  {FOX}\r\n"
    found = cuts(text, 11)
    assert [(cut.text, cut.line) for cut in found] == [(FOX, 2), (f"{FOX}\n茶。", 2), (f"  {FOX}", 6)]
    raw = text.encode()
    assert [passages.tidy(raw[cut.start : cut.end].decode()) for cut in found] == [cut.text for cut in found]


def test_a_sentence_that_is_too_long_is_told_and_left_out() -> None:
    """What stands before and behind it are passages of their own."""
    told: list[tuple[int, int]] = []
    text = f"{FOX}\n\n{FOX} {'long ' * 20}end. {FOX}\n"
    lines = text_lines.of_file(io.BytesIO(text.encode()), "a.md")
    found = list(passages.pack(lines, 14, lambda line, size: told.append((line, size))))
    assert [cut.text for cut in found] == [f"{FOX}\n\n{FOX}", FOX]
    assert told == [(3, 26)]


# --- for any text -----------------------------------------------------------------------------------------------------

LINES = st.one_of(
    st.sampled_from(
        ["", "", "  ", "```", "~~~", "# Foxes", "- item", "2. item", "| a |", "|---|", "---", "\t", FOX, "“茶。”好。"]
    ),
    st.text("ab .!?。”\r\t#|-`\u3000字é", max_size=24),
    st.text(max_size=8),
)
DOCUMENTS = st.builds(
    lambda lines, end, mark: mark + end.join(lines),
    st.lists(LINES, max_size=20),
    st.sampled_from(["\n", "\r\n", "\n\n"]),
    st.sampled_from(["", "\ufeff"]),
)


@given(DOCUMENTS, st.integers(24, 60))
def test_passages_hold_all_of_the_text_in_order_and_fit(text: str, tokens: int) -> None:
    """Every line's characters, white space apart, none twice; each passage is what the bytes it names hold."""
    raw = text.encode("utf-8", "replace")
    too_long: list[int] = []
    lines = text_lines.of_file(io.BytesIO(raw), "a.md")
    found = list(passages.pack(lines, tokens, lambda line, _: too_long.append(line)))
    assert all(0 < estimate(cut.text) <= tokens for cut in found)
    assert [passages.tidy(raw[cut.start : cut.end].decode()) for cut in found] == [cut.text for cut in found]
    assert [cut.text.strip() != "" for cut in found] == [True] * len(found)
    assert [raw[: cut.start].count(b"\n") + 1 for cut in found] == [cut.line for cut in found]
    if not too_long:
        assert "".join("".join(cut.text.split()) for cut in found) == "".join(
            raw.decode().removeprefix("\ufeff").split()
        )


ENGLISH = st.lists(
    st.sampled_from(["", "", "# Foxes", "- item", FOX, f"{FOX} {FOX}", "no end in", "```", f"{FOX} " * 9]), max_size=30
)


@given(ENGLISH, st.integers(24, 60))
def test_a_short_passage_is_joined_to_its_neighbour_where_both_fit(lines: list[str], tokens: int) -> None:
    """Of two neighbours that would fit into one, neither is short."""
    raw = "\n".join(lines).encode()
    found = cuts(raw.decode(), tokens)
    for left, right in pairwise(found):
        if estimate(passages.tidy(raw[left.start : right.end].decode())) <= tokens:
            assert min(estimate(left.text), estimate(right.text)) >= SHORT


def test_hostile_texts_are_cut_in_linear_time() -> None:
    """Marks, quotes, fences and rows without end, in one line and in many."""
    pieces = [
        *'!.。`|-#~ \n"”',
        "a. ",
        "a.\n",
        "- x\n",
        "a\n\n",
        "|-",
        "!)",
        "`a",
        "1",
        "1.",
        "```\n",
        "\r",
        "。”",
        "A.",
    ]
    readers = (
        "import io\nfrom selfinstruct import passages, text_lines\n"
        "READERS = [lambda text: list(passages.pack(text_lines.of_file(io.BytesIO(text.encode()), 'a'), 600,"
        " lambda *_: None))]"
    )
    read_in_time(pieces, 200_000, ["!" * 200_000 + "x", "(" * 100_000 + "." + ")" * 100_000 + "x"], readers)
