"""Sentence case where English text lacks it, and nowhere else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfinstruct.true_case import in_true_case, true_cased
from tests.formats.dialogues import dialogue

MENDED = [
    ("hello. how are you?", "Hello. How are you?"),
    ("Sure! here is one. it is short.", "Sure! Here is one. It is short."),
    ("Really?! yes. a cat did it.", "Really?! Yes. A cat did it."),
    ("It was built in 1889. the tower is tall.", "It was built in 1889. The tower is tall."),
    (
        "I agree. it's late, don't wait. well-known people left.",
        "I agree. It's late, don't wait. Well-known people left.",
    ),
    ("See example.com. then open main.py. it works.", "See example.com. Then open main.py. It works."),
    ("Run `make all`. then wait. yes.", "Run `make all`. Then wait. Yes."),
    (
        "It rained. (we were tired.) “good night,” we said.",
        "It rained. (We were tired.) “good night,” we said.",
    ),
    ("First part.\n\nthen the second one follows. it ends.", "First part.\n\nThen the second one follows. It ends."),
    ("here are three ideas:\n1. Walk\n2. Swim", "Here are three ideas:\n1. Walk\n2. Swim"),
    ("He left. été in Paris. élan matters.", "He left. Été in Paris. Élan matters."),
    ("Hello.\r\nhow are you? fine.\r\n", "Hello.\r\nHow are you? Fine.\r\n"),
    ("I know i'm late, i’ll run, i've tried and i'd stay.", "I know I'm late, I’ll run, I've tried and I'd stay."),
    ("Yes, and i think so do i.", "Yes, and I think so do I."),
    ("i walked home. i slept.", "I walked home. I slept."),
    ("After dinner, i washed up, as i always do.", "After dinner, I washed up, as I always do."),
]


@pytest.mark.parametrize(("text", "mended"), MENDED, ids=range(len(MENDED)))
def test_what_begins_a_sentence_gets_its_capital(text: str, mended: str) -> None:
    """So does the pronoun, and nothing else."""
    assert true_cased(text) == mended


LEFT_ALONE = [
    "",
    "Everything. Is! Well? Here.",
    # what a full stop follows inside a sentence
    "Fruit, e.g. apples, i.e. pears, etc. and so on vs. others, approx. two kg. or more.",
    "We met at 9 a.m. sharp, in the U.S. army, by J. k. rowling, Ph.D. student of Dr. who and Prof. van Dam.",
    "See Fig. two, no. three, vol. four, p. five, and Smith et al. wrote.",
    "Well... maybe. Hm… so what. Wait.. no.",
    # quotations, interjections, names with a mark
    '"Stop!" he said. "Why?" they asked. Put "It rains." into German.',
    "Yahoo! was a portal. Jeopardy! is a show.",
    # numbers and letters of lists and sections
    "1. open the box\n2. close it\na. one\nb. two\niv. four\n2.1. results of it",
    "Step 2. do it. Version 3.5. the same.",
    # names that are spelled small, words that are no words
    "Use it. iPhone, iPad. eBay is one. git is another. npm too. pandas helps. van Gogh. x is known.",
    "Look. main.py runs. foo_bar is set. foo() is called. http://a.b/c. www.a.b. me@a.b. and/or. key:value. note: x.",
    # words that are no sentence
    "positive",
    "apples, oranges, bananas",
    "Put these in order.\n\nroom, the, paint",
    # code
    "```python\nx = 1. y\nprint. then\n```",
    "Look here: ```\na. b c\n\nd. e\n```",
    "````\n```\na. b\n```\nc. d\n````",
    "~~~\na. b\n~~~",
    "```\nnever closed. so what\n\nmore. of it",
    "Text:\n\n    indented. code here. yes\n\n\tand. this one. too",
    "Type `a. b` and ``c. `d` e. f`` now.",
    "import numpy as np. ok;\nfoo. bar {\nx = a. b = c\nif a. b c. d:\nselect a. b from c. d\n$ cd a. b. c.",
    "<p>hello. how are you?</p>",
    "for i in range(3): print. then",
    # formulas
    "Let $a. b$ and $$c. d\n. e$$ and \\(f. g h\\) hold.",
    # an i that is no pronoun
    "Italian: i ragazzi e i libri. I see.",
    "Let i = 1, so that if i is odd and i think of j, i will stop.",
    "Count until i increases, when i and j meet.",
    "The letter i and the index i can be used.",
    'The vowel "i" and part (i) matter, as does -i for i.',
    # not English
    "你好. hello. how are you? 我用 python. flask 也行.",
    "straße. ßa. ÿb. русский. текст. ελλ. ην.",
]


@pytest.mark.parametrize("text", LEFT_ALONE, ids=range(len(LEFT_ALONE)))
def test_what_may_be_no_fault_is_left_alone(text: str) -> None:
    """A wrong capital is worse than one that is missing."""
    assert true_cased(text) == text


def test_a_user_who_only_writes_small_is_left_as_he_is() -> None:
    """That is how people chat; one capital where a sentence begins shows that the others were meant."""
    assert true_cased("hey. can i ask you something? thx", chatty=True) == "hey. can i ask you something? thx"
    assert true_cased("hey. can you tell me about Rome? it is old", chatty=True).startswith("hey. can")
    assert true_cased("Hey. can i ask you something? thx", chatty=True) == "Hey. Can I ask you something? Thx"


def test_both_sides_of_a_dialogue_are_put_right() -> None:
    """An assistant always, a user where he begins any sentence with a capital; nothing else changes."""
    before = dialogue("hi. who are you?", "a friend. i can help.", "Good. what now?", "let us talk. now.")
    after = in_true_case(before)
    said = [turn.content for turn in after.messages]
    assert said == ["hi. who are you?", "A friend. I can help.", "Good. What now?", "Let us talk. Now."]
    assert after == dialogue(*said)


@pytest.mark.parametrize(
    "about",
    ["Write it in lower case.", "Fix the grammar.", "Any typos?", "Do not capitalize it.", "Check punctuation."],
)
def test_a_dialogue_about_spelling_is_left_alone(about: str) -> None:
    """What looks like a fault may be what was asked for."""
    said = dialogue(about, "as you wish. here it is.")
    assert in_true_case(said) is said


def test_a_chinese_dialogue_is_left_alone() -> None:
    """Also a turn of it that holds no Chinese."""
    said = dialogue("翻译成英文。", "hello. how are you?", lang="zh")
    assert in_true_case(said) is said


def test_a_dialogue_without_a_fault_comes_as_it_is() -> None:
    """The very record."""
    said = dialogue("Hello. How are you?", "I am fine. Thanks.")
    assert in_true_case(said) is said


PIECES = st.sampled_from(
    [
        *(
            "hello",
            "i",
            "i'm",
            "I",
            "a",
            "Go",
            "iPhone",
            "main.py",
            "e.g.",
            "etc",
            "1",
            "x",
            "the",
            "and",
            "think",
            "é",
            "ß",
            "ſ",
        ),
        *(
            ". ",
            "! ",
            "? ",
            "... ",
            ", ",
            ": ",
            " ",
            "  ",
            "\n",
            "\n\n",
            "\r\n",
            "    ",
            "\t",
            '"',
            "”",
            "(",
            ")",
            "—",
            "'",
        ),
        *("`", "``", "```", "~~~", "$", "$$", ";", "{", " = ", "import ", "\0", "你", "<b"),
    ]
)
TEXTS = st.lists(PIECES, max_size=40).map("".join)


@given(TEXTS, st.booleans())
@settings(max_examples=500, deadline=None)
def test_only_the_case_of_letters_changes_and_only_once(text: str, chatty: bool) -> None:
    """Each letter is the old one or its capital, and a second time changes nothing."""
    mended = true_cased(text, chatty=chatty)
    assert len(mended) == len(text)
    assert [new for old, new in zip(text, mended, strict=True) if new not in (old, old.upper())] == []
    assert true_cased(mended, chatty=chatty) == mended


@given(TEXTS, TEXTS.map(lambda code: code.replace("`", "'").replace("~", "-")), TEXTS)
@settings(max_examples=300, deadline=None)
def test_code_is_never_touched(before: str, code: str, after: str) -> None:
    """Whatever stands in a fence, between whatever, comes back as it was."""
    before = before.replace("`", "").replace("~", "").replace("$", "")
    block = f"\n\n```python\n{code}\n```\n\n"
    mended = true_cased(f"{before}{block}{after}")
    assert mended[len(before) : len(before) + len(block)] == block


_HOSTILE = """
import json, resource, sys
from selfinstruct.true_case import true_cased
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
for piece in json.load(sys.stdin):
    true_cased("a. b " + piece * (200_000 // len(piece)))
print("done")
"""


def test_hostile_text_is_read_in_linear_time() -> None:
    """Each of these, 200 000 characters long, in a process that may compute for a minute in all."""
    pieces = ["`", "` ", "``` ", "~~~\n", "\n", "$", "$$ ", "\\(", "\\[", ";", "; ", ". ", ".", "'", "a'", "i ", "a-"]
    pieces += [
        "—",
        "\n>",
        "    \n",
        "if ",
        "import ",
        "select ",
        "x, ",
        "(",
        '"',
        ".\n",
        "i,",
        "{\t",
        "a`b``",
        "$a",
        "é",
    ]
    command = [sys.executable, "-c", _HOSTILE]
    root = Path(__file__).parents[1]
    done = subprocess.run(command, input=json.dumps(pieces), cwd=root, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("done\n", 0), done.stderr
