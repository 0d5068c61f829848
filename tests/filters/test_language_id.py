"""LanguageId: foreign instructions are refused, English and Chinese ones around foreign words are not, code is none."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from selfinstruct.filters import language_id
from selfinstruct.filters.language import LanguageMatch
from selfinstruct.filters.language_id import LanguageId, detect, languages
from selfinstruct.protocols import Drop, Filter
from selfinstruct.schema import Instruction
from tests.filters.records import instruction_of, task_of
from tests.hostile_texts import read_in_time

HERE = Path(__file__).parent
FRENCH = "La mer se retire chaque soir et laisse derrière elle des coquillages que les enfants ramassent."


def _sentences(name: str) -> list[tuple[str, str | None]]:
    """Text and language of each line; the file's own name is the language where a line gives none."""
    rows = map(json.loads, (HERE / "sentences" / f"language_id.{name}.jsonl").read_text("utf-8").splitlines())
    return [(row["text"], row.get("lang", name)) for row in rows]


ENGLISH, CHINESE, FOREIGN, NONE = (_sentences(name) for name in ("en", "zh", "other", "none"))


# --- the instruction ------------------------------------------------------------------------------------------------


def test_there_are_forty_sentences_of_each_sort() -> None:
    """At least forty English, Chinese, foreign and languageless texts, the foreign ones in twenty languages."""
    assert min(map(len, (ENGLISH, CHINESE, FOREIGN, NONE))) >= 40
    assert len({lang for _, lang in FOREIGN}) >= 20


@pytest.mark.parametrize("text", [text for text, _ in FOREIGN])
def test_a_foreign_instruction_is_refused(text: str) -> None:
    """Whatever English terms, code or quotations it holds."""
    drop = LanguageId().check(instruction_of(text))
    assert drop is not None
    assert drop.reason == "language_not_allowed"
    assert drop.detail.startswith("the instruction is ")


@pytest.mark.parametrize("text", [text for text, _ in ENGLISH + CHINESE + NONE])
def test_an_english_or_chinese_instruction_passes_and_so_does_code(text: str) -> None:
    """Also one full of foreign names, one that quotes, one to translate, one in pinyin, numbers and programs."""
    assert LanguageId().check(instruction_of(text)) is None


def test_the_allowed_languages_are_the_caller_s() -> None:
    """French passes where French is allowed, and English does not."""
    french = LanguageId(["fr"])
    assert french.check(instruction_of(FRENCH)) is None
    english = "Describe what the tide leaves on the beach."
    assert french.check(instruction_of(english)) == Drop("language_not_allowed", "the instruction is en (1.00)")


def test_a_doubtful_instruction_passes_until_less_confidence_is_asked_for() -> None:
    """Three Spanish words of which the first is an English one too."""
    doubtful = instruction_of("Describe el mar")
    assert LanguageId().check(doubtful) is None
    assert LanguageId(min_confidence=0.6).check(doubtful) is not None


@pytest.mark.parametrize(("allowed", "named"), [(["english"], "english cannot"), ([], "nothing cannot")])
def test_a_language_nobody_knows_cannot_be_allowed(allowed: list[str], named: str) -> None:
    """A code that the model does not know, or none at all, is an error that lists the codes."""
    with pytest.raises(ValueError, match=rf"{named} be allowed; languages known: .*\ben\b.*\bzh\b"):
        LanguageId(allowed)


def test_it_is_a_filter_without_memory() -> None:
    """What is admitted comes back as it was, and is refused or kept as before."""
    check: Filter[Instruction] = LanguageId()
    record = instruction_of(FRENCH)
    before = check.check(record)
    assert check.admit(record) is record
    assert check.check(record) == before


# --- the record -----------------------------------------------------------------------------------------------------


def test_an_instruction_without_language_is_judged_by_the_whole_record() -> None:
    """A number says nothing; what stands beside it does."""
    drop = LanguageId().check(task_of("12345", "", FRENCH))
    assert drop is not None
    assert drop.detail.startswith("the record is fr")
    assert LanguageId().check(task_of("12345", "", "The sum of these digits is fifteen.")) is None


@pytest.mark.parametrize("instruction", ["Describe the sea in the evening.", "描写傍晚的大海。"])
def test_an_output_in_a_language_nobody_asked_for_is_refused(instruction: str) -> None:
    """Neither instruction names a language."""
    drop = LanguageId().check(task_of(instruction, "", FRENCH))
    assert drop is not None
    assert drop.detail.startswith("the output is fr")


@pytest.mark.parametrize(
    ("instruction", "input"),
    [
        ("Translate the sentence into French.", "The tide goes out every evening."),
        ("把这句话翻译成法语。", "潮水每天傍晚退去。"),
        ("Describe the sea the way a child from Brittany, France, would.", ""),
        ("Correct the mistakes in the text.", "La mer se retirent chaque soirs et laissent des coquillage."),
        ("Write a program that prints a greeting.", ""),
    ],
)
def test_an_output_in_a_language_that_the_task_asks_for_passes(instruction: str, input: str) -> None:
    """It names the language or the country, hands over a text in it, or wants code."""
    assert LanguageId().check(task_of(instruction, input, FRENCH)) is None


@pytest.mark.parametrize(
    "output",
    [
        "Aurélie Lefèvre, Jean-Baptiste Gauthier, Élodie Marchand, Thérèse Delacroix, Benoît Fournier",
        "bonjour",
        "1. Staphylococcus aureus\n2. Escherichia coli\n3. Lactobacillus acidophilus",
        "def somme(liste):\n    total = 0\n    for nombre in liste:\n        total += nombre\n    return total",
    ],
)
def test_an_output_of_names_terms_or_code_passes(output: str) -> None:
    """Only prose counts."""
    assert LanguageId().check(task_of("Give examples.", "", output)) is None


# --- detect ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "lang"), FOREIGN)
def test_detect_names_the_language(text: str, lang: str) -> None:
    """By its two letters, with more than even odds."""
    found = detect(text)
    assert found is not None
    assert found[0] == lang
    assert 0.5 <= found[1] <= 1


@pytest.mark.parametrize(("texts", "lang", "least"), [(ENGLISH, "en", 0.9), (CHINESE, "zh", 0.98)])
def test_detect_tells_english_from_chinese(texts: list[tuple[str, str]], lang: str, least: float) -> None:
    """Nearly every one of these near misses; the rest, of formulas and pinyin, is left open, one kana phrase aside."""
    found = [detect(text) for text, _ in texts]
    assert sum(one is not None and one[0] == lang for one in found) / len(found) >= least
    assert [one[0] for one in found if one is not None and one[0] not in (lang, "ja")] == []


@pytest.mark.parametrize("text", [text for text, _ in NONE])
def test_detect_says_nothing_of_texts_without_language(text: str) -> None:
    """Numbers, formulas, programs, addresses, single names, pinyin: None rather than a guess."""
    assert detect(text) is None


@pytest.mark.parametrize("simplified, traditional", [("请用三句话说明什么是潮汐。", "請用三句話說明什麼是潮汐。")])
def test_traditional_characters_are_chinese_alike(simplified: str, traditional: str) -> None:
    """Both are zh, without a doubt."""
    assert detect(simplified) == detect(traditional) == ("zh", 1.0)


def test_what_stands_before_a_colon_decides() -> None:
    """A translation task is in the language that asks for it, not in that of the longer text."""
    english = "The tide goes out every evening and leaves a line of shells behind."
    assert (detect(f"翻译：{english}") or ("",))[0] == "zh"
    assert (detect(f"Traduisez la phrase en chinois : {english}") or ("",))[0] == "fr"
    assert (detect(f"Translate into English: {FRENCH}") or ("",))[0] == "en"


def test_a_colon_does_not_make_japanese_chinese() -> None:
    """A heading of kanji alone, then a sentence with kana."""
    assert (detect("質問：潮の満ち引きはなぜ起こるのですか") or ("",))[0] == "ja"


def test_probabilities_add_up_to_one() -> None:
    """In one script, in several, and nothing where nothing tells."""
    for text in (FRENCH, "Translate ありがとうございます into English", "что такое 画蛇添足 и откуда это выражение"):
        assert sum(languages(text).values()) == pytest.approx(1.0)
    assert languages("2 + 2") == {}


# --- the house ------------------------------------------------------------------------------------------------------


def test_nothing_refused_here_is_what_the_language_filter_takes_for_the_run_s() -> None:
    """Where `LanguageMatch` tells scripts apart, both say the same: Japanese is refused in any run, Chinese in none."""
    for text, lang in FOREIGN:
        if lang in ("ja", "ko", "ru", "ar", "th", "he", "hi"):
            assert LanguageMatch("en").check(instruction_of(text)) is not None
            assert LanguageMatch("zh").check(instruction_of(text)) is not None
    for text, _ in CHINESE:
        assert LanguageMatch("zh").check(instruction_of(text)) is None


def test_the_model_is_loaded_only_where_scripts_and_words_leave_a_doubt() -> None:
    """A process that sees plain English and Chinese never imports it; French does, once for two filters."""
    program = f"""
import sys
from selfinstruct.filters.language_id import LanguageId, detect, _ranker
print(detect("What is the name of the sea?"), detect("海的名字是什么？"), LanguageId().allowed - {{"en", "zh"}})
print("py3langid" in sys.modules)
print(detect({FRENCH!r})[0], LanguageId(["fr"]).allowed, detect({FRENCH!r})[0], _ranker.cache_info().misses)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=HERE.parents[1], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [
        "('en', 1.0) ('zh', 1.0) frozenset()",
        "False",
        "fr frozenset({'fr'}) fr 1",
    ]


REPEATED = [
    *(
        "a",
        "a ",
        "qing ",
        "ao",
        "é",
        "é ",
        "a'",
        "“",
        "„",
        "'",
        '"',
        "`",
        "```",
        "$",
        "<",
        "@",
        "a@",
        "https://",
        "www.",
    ),
    *(
        "(",
        "a(",
        "f(x",
        "{",
        "\\",
        ";",
        "; ",
        "for ",
        "for:",
        "SELECT ",
        "from a import ",
        "//",
        ":",
        "a: ",
        "\n",
        "a\n",
    ),
    *("的", "の", "説", "ก", "가", "ж ", "α", "ﷺ", "😀", "\u0301", "\u200d", "\ud800", "１", "ａ", "indi", "german1 "),
]
READERS = """
from selfinstruct.filters.language_id import LanguageId, detect
from selfinstruct.schema import Provenance, TaskInstance
from tests.filters import records
check = LanguageId().check
def whole(text):
    task = {"instruction": "Describe it. " + text, "input": text, "output": text}
    return check(TaskInstance(id="a-0-0-0", provenance=Provenance(), lang="en", is_classification=None, **task))
READERS = [detect, whole]
"""


def test_hostile_texts_end_at_once() -> None:
    """A hundred thousand times the same few characters, whatever a pattern would stumble over."""
    read_in_time(REPEATED, 100_000, [], READERS)


def test_the_same_text_has_the_same_language_however_much_follows() -> None:
    """Only so much is read: a long text is what its beginning is."""
    long = FRENCH * 40
    assert detect(long) == detect(long[: language_id.READ])
