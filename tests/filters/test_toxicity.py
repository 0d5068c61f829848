"""Toxicity: what is plainly unacceptable is refused under its reason, and talk about it is kept."""

from __future__ import annotations

import gzip
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from selfinstruct import resources, rules
from selfinstruct.errors import BadData, UsageProblem
from selfinstruct.filters.toxicity import CATEGORIES, LISTED, Toxicity
from selfinstruct.protocols import Drop, Filter
from selfinstruct.schema import Instruction, Provenance, TaskInstance
from tests.filters.records import task_of
from tests.hostile_texts import read_in_time

SENTENCES = Path(__file__).parent / "sentences"
REAL = Path(__file__).resolve().parents[3] / "shared" / "data"
NAMES = ("toxicity.en", "toxicity.zh")
TOXICITY = Toxicity()

READERS = """
from selfinstruct.filters.toxicity import Toxicity
from selfinstruct.schema import Instruction, Provenance
from tests.filters import records
toxicity = Toxicity()
READERS = [lambda text: toxicity.check(Instruction(id="a", provenance=Provenance(), instruction=text, lang="en"))]
"""


def _reason(text: str, toxicity: Toxicity = TOXICITY) -> str | None:
    drop = toxicity.check(task_of(text))
    return drop.reason if drop else None


def _own(tmp_path: Path, name: str, text: str) -> Path:
    path = tmp_path / name
    path.write_text(text, "utf-8")
    return path


# --- sentences ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_every_sentence_has_the_verdict_beside_it(lang: str) -> None:
    """Positives under their reason, and near misses kept; at least 40 of each, and every category among them."""
    rows = [json.loads(line) for line in (SENTENCES / f"toxicity.{lang}.jsonl").read_text("utf-8").splitlines()]
    wrong = [(row["text"], row["reason"], got) for row in rows if (got := _reason(row["text"])) != row["reason"]]
    assert wrong == []
    kept = sum(row["reason"] is None for row in rows)
    assert (kept >= 40, len(rows) - kept >= 40) == (True, True)
    assert {row["reason"] for row in rows} == {*CATEGORIES, None}


@pytest.mark.parametrize(
    "text",
    [
        "You are a pathetic loser.",
        "YOU ARE A PATHETIC LOSER",
        "Ｙｏｕ ａｒｅ ａ ｐａｔｈｅｔｉｃ ｌｏｓｅｒ",
        "You are a path\u200betic lo\u00adser.",
        "You are a p4thet1c l0$er.",
        "You are a pathetiiiic loooooser!",
        "You are a path*tic loser.",
        "You are a p a t h e t i c l.o.s.e.r",
        "You are a раthеtiс lоsеr.",  # some of these letters are Cyrillic
        "You are a páthetïc lóser.",
        "𝐘𝐨𝐮 𝐚𝐫𝐞 𝐚 𝐩𝐚𝐭𝐡𝐞𝐭𝐢𝐜 𝐥𝐨𝐬𝐞𝐫",
    ],
)
def test_disguises_are_seen_through(text: str) -> None:
    """The same sentence in eleven dresses."""
    assert _reason(text) == "toxic_abuse"


@pytest.mark.parametrize(
    "text", ["你就是个废物", "你 就 是 个 废 物", "你*就*是个废-物", "妳就是個廢物", "你就\u200b是个废物"]
)
def test_chinese_disguises_are_seen_through(text: str) -> None:
    """Spaces, stars, traditional characters, invisible characters."""
    assert _reason(text) == "toxic_abuse"


def test_a_disguise_is_not_read_into_honest_text() -> None:
    """Versions, hashes and options hold digits and single letters, too."""
    for text in (
        "Version 4.55 of b1t5h8 runs on k8s.",
        "Choose a, b, c, d, e or f.",
        "sooooo good!!!",
        "5h17 and 455 units",
    ):
        assert _reason(text) is None


# --- strengths and context ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("What a jackass.", None, id="one weak entry"),
        pytest.param("What a jackass, what a prick.", "toxic_abuse", id="two together"),
        pytest.param(f"What a jackass. {'Then we walked on. ' * 6}What a prick.", None, id="two far apart"),
        pytest.param("What a jackass, oh, what a jackass.", None, id="one weak entry twice"),
        pytest.param("I know where you live.", None, id="a weak threat alone"),
        pytest.param("I know where you live; watch your back.", "toxic_violence", id="two weak threats"),
        pytest.param("他是个混蛋。", None, id="one weak entry in Chinese"),
        pytest.param("这个混蛋真是畜生。", "toxic_abuse", id="two weak entries in Chinese"),
    ],
)
def test_weak_entries_need_company(text: str, reason: str | None) -> None:
    """Two different ones, near each other."""
    assert _reason(text) == reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("I will stab you.", "toxic_violence", id="said"),
        pytest.param('"I will stab you," the actor whispered.', None, id="reported"),
        pytest.param('The villain shouted: "I will stab you!"', None, id="reported, before"),
        pytest.param('"I will stab you." "Really?"', "toxic_violence", id="quoted, but nobody is said to speak"),
        pytest.param("「你就是个废物！」他喊道。", None, id="reported in Chinese"),
        pytest.param('"Immigrants are vermin," he said.', "toxic_hate", id="hate is not excused by a speaker"),
        pytest.param("Calling people scum is bullying: you are scum.", None, id="spoken about"),
    ],
)
def test_reported_speech_and_talk_about_it_are_spared(text: str, reason: str | None) -> None:
    """Threats and insults may be quoted in a story; words that speak about an entry excuse it."""
    assert _reason(text) == reason


def test_a_moderation_task_passes_whole() -> None:
    """The data of a task that asks to judge toxic text may be toxic; another task's may not."""
    toxic = "You are a pathetic loser."
    assert TOXICITY.check(task_of("Decide if the comment is offensive.", toxic, "offensive")) is None
    assert TOXICITY.check(task_of("判断下面的评论是否含有侮辱内容。", toxic, "是")) is None
    assert TOXICITY.check(task_of("Translate the comment.", toxic)) == Drop(
        "toxic_abuse", "you are a pa*****c lo**r in the input"
    )


def test_a_drop_names_the_field_and_masks_the_words() -> None:
    """Every text of a record is looked at, and reports need not repeat it."""
    assert TOXICITY.check(task_of("Say hello.", output="Go kill yourself.")) == Drop(
        "toxic_self_harm", "ki*l yo*****f in the output"
    )
    assert TOXICITY.check(task_of("打个招呼", output="你就是个废物")) == Drop(
        "toxic_abuse", "你 * 是 * 废 * in the output"
    )
    plain = Instruction(id="bootstrap-0-0-0", provenance=Provenance(), instruction="You stupid bitch", lang="en")
    assert TOXICITY.check(plain) == Drop("toxic_abuse", "you st***d bi**h in the instruction")


def test_the_filter_remembers_nothing() -> None:
    """It is a filter, and `admit` hands the record back."""
    toxicity: Filter[TaskInstance] = TOXICITY
    record = task_of("Go kill yourself.")
    assert toxicity.admit(record) is record
    assert toxicity.check(record) == toxicity.check(record)


# --- what the user sets ---------------------------------------------------------------------------------------------


def test_only_the_chosen_categories_apply() -> None:
    """What is not chosen is kept."""
    only = Toxicity(categories=["toxic_violence"])
    assert (_reason("I will stab you.", only), _reason("You are a pathetic loser.", only)) == ("toxic_violence", None)


def test_an_unknown_category_is_a_usage_problem() -> None:
    """The message names those there are."""
    with pytest.raises(UsageProblem, match="no category 'hate'; there are: toxic_hate, toxic_sexual"):
        Toxicity(categories=["hate"])


def test_a_plain_list_of_the_user_s_own_is_read_line_by_line(tmp_path: Path) -> None:
    """Each line suffices alone, is no pattern, and is looked for as a whole word and in disguise."""
    extra = _own(tmp_path, "own.txt", "\ufeff# ours\nfrobnicate\n\n  zork (tm)  \n坏苹果\n🖕\n")
    own = Toxicity(categories=[], extra=extra)
    texts = [
        "Fr0bnicate it!",
        "zork TM",
        "那是个坏 苹果",
        "take that 🖕",
        "frobnicated",
        "ours",
        "You are a pathetic loser.",
    ]
    assert [_reason(text, own) for text in texts] == [LISTED] * 4 + [None] * 3


def test_a_toml_list_adds_to_ours(tmp_path: Path) -> None:
    """Entries, strengths, exceptions and classes of its own, beside the classes we ship."""
    extra = _own(
        tmp_path,
        "own.toml",
        """
        exceptions = { value = ["frobnicate the widget"] }
        classes = { value = { toy = ["zork", "plugh"] } }
        toxic_hate = { value = ["frobnicate", "{group} eat {toy}"] }
        [toxic_abuse]
        value = { weak = ["xyzzy", "quux"] }
        """,
    )
    own = Toxicity(extra=extra)
    texts = [
        "frobnicate",
        "Muslims eat plugh",
        "frobnicate the widget",
        "xyzzy",
        "xyzzy quux",
        "You are a pathetic loser.",
    ]
    expected = ["toxic_hate", "toxic_hate", None, None, "toxic_abuse", "toxic_abuse"]
    assert [_reason(text, own) for text in texts] == expected


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        pytest.param("a.txt", "fine\n...\n", r"a\.txt:2: '\.\.\.' holds no letter", id="nothing to find"),
        pytest.param("a.toml", "[toxic_hate]\nvalue = [\n", r"a\.toml:3: not TOML", id="not TOML"),
        pytest.param("a.toml", "[toxic_hate]\nvalue = = 1\n", r"a\.toml:2: not TOML", id="not TOML, in a line"),
        pytest.param("a.toml", "\n\n[hate]\nvalue = []\n", r"a\.toml:3: no table is called 'hate'", id="unknown table"),
        pytest.param("a.toml", "\n[toxic_hate]\nvalue = 3\n", r"a\.toml:2: toxic_hate\.value", id="wrong shape"),
        pytest.param("a.toml", "toxic_hate = 3\n", r"a\.toml:1: toxic_hate\.value", id="no table"),
        pytest.param(
            "a.toml",
            "[toxic_hate]\nvalue = { loud = [] }\n",
            r"a\.toml:1: toxic_hate\.value\.loud",
            id="unknown strength",
        ),
        pytest.param(
            "a.toml", '[toxic_hate]\nvalue = [\n"fine",\n"a {nut}"]\n', r"a\.toml:4: no class 'nut'", id="unknown class"
        ),
        pytest.param("a.toml", '[exceptions]\nvalue = [\n"(a"]\n', r"a\.toml:3: '\(a': '\(' is not", id="not closed"),
    ],
)
def test_a_list_that_cannot_be_read_is_bad_data_with_its_line(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    """File, line and reason."""
    with pytest.raises(BadData, match=message):
        Toxicity(extra=_own(tmp_path, name, text))


def test_a_list_that_is_missing_or_not_utf_8_is_bad_data(tmp_path: Path) -> None:
    """The line of the first wrong byte is named."""
    with pytest.raises(BadData, match=r"none\.txt: cannot read the list of words: No such file"):
        Toxicity(extra=tmp_path / "none.txt")
    (tmp_path / "latin.txt").write_bytes(b"fine\ncaf\xe9\n")
    with pytest.raises(BadData, match=r"latin\.txt:2: not UTF-8"):
        Toxicity(extra=tmp_path / "latin.txt")


# --- the data -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_table_says_where_it_comes_from_and_why(name: str) -> None:
    """In sentences: they end with a full stop; every category has all three strengths."""
    tables = rules.explained(name)
    for key, rule in tables.items():
        assert (rule.source.startswith("Ours"), rule.source[-1], rule.reason[-1]) == (True, ".", "."), key
    assert [set(tables[category].value) for category in CATEGORIES] == [{"strong", "weak", "requests"}] * len(
        CATEGORIES
    )


@pytest.mark.parametrize("name", NAMES)
def test_no_list_names_an_entry_twice(name: str) -> None:
    """A repeated entry hides a slip of the pen."""

    def lists(value: Any) -> list[list[str]]:
        if isinstance(value, dict):
            return [found for each in value.values() for found in lists(each)]
        return [value] if isinstance(value, list) else []

    tables = tomllib.loads((resources.rules_dir() / f"{name}.toml").read_text("utf-8"))
    repeated = [entry for entries in lists(tables) for entry in set(entries) if entries.count(entry) > 1]
    assert repeated == []


def test_hostile_texts_end_at_once() -> None:
    """Linear in the length of the text, also where every word is an entry or half of one."""
    pieces = [
        "kill ",
        "bitch ",
        "you are a stupid ",
        "f u c k ",
        "aaaa b",
        "@$!1",
        "k1ll y0u ",
        "*",
        "1",
        "操",
        "操 ",
        "你是个",
    ]
    pieces += [
        "如何杀",
        "“",
        '"i will kill you" said ',
        "slur bitch ",
        "“你就是个废物”他说",
        "go just ",
        "жук",
        "é",
        "women are all ",
    ]
    read_in_time([*pieces, "a ", "a!", "x*y", "\n", "."], 100_000, [], READERS)


@pytest.mark.parametrize(("lang", "most"), [("en", 0.0005), ("zh", 0.0005)])
def test_real_instruction_data_is_hardly_touched(lang: str, most: float) -> None:
    """Published, filtered data holds next to nothing plainly toxic: what is dropped there is a false alarm."""
    path = REAL / f"instructions_{lang}.jsonl.gz"
    if not path.exists():
        pytest.skip("needs published data that is not shipped")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for _, line in zip(range(4000), lines, strict=False)]
    dropped = sum(TOXICITY.check(task_of(row["instruction"], row["input"], row["output"])) is not None for row in rows)
    assert dropped / len(rows) <= most
