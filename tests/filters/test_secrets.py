"""Secrets: what opens something is found in both languages, what only stands for it is kept."""

from __future__ import annotations

import random
import string

import pytest

from selfinstruct import rules
from selfinstruct.errors import UsageProblem
from selfinstruct.filters.secrets import Secrets
from selfinstruct.protocols import Drop, Filter
from selfinstruct.schema import Instruction, Lang, Provenance, TaskInstance
from tests.filters.planted import Sentence, credentials, filled, sentences, task
from tests.hostile_texts import read_in_time

FILTER = Secrets()
LANGS: tuple[Lang, ...] = ("en", "zh")
ALL = [sentence for lang in LANGS for sentence in sentences("secrets", lang)]
KINDS = [name for name, rule in rules.explained("secrets").items() if isinstance(rule.value, dict)]


def _kind(drop: Drop | None) -> str | None:
    return drop.detail.partition(" ")[0] if drop else None


@pytest.mark.parametrize("sentence", [s for s in ALL if s.kind], ids=lambda s: s.text[:40])
def test_a_credential_is_found_wherever_the_sentence_puts_it(sentence: Sentence) -> None:
    """Each sentence with a credential is refused, by the rule of its kind."""
    drop = FILTER.check(task(sentence.text))
    assert (_kind(drop), drop and drop.reason) == (sentence.kind, "secret")


@pytest.mark.parametrize("sentence", [s for s in ALL if not s.kind], ids=lambda s: s.text[:40])
def test_placeholders_lessons_and_code_are_kept(sentence: Sentence) -> None:
    """No sentence without a live credential is refused."""
    assert FILTER.check(task(sentence.text)) is None


@pytest.mark.parametrize("lang", LANGS)
def test_there_are_forty_sentences_of_each_sort(lang: Lang) -> None:
    """At least forty sentences with a credential and forty without, a language."""
    found = [sentence.kind is not None for sentence in sentences("secrets", lang)]
    assert (found.count(True) >= 40, found.count(False) >= 40) == (True, True)


def test_every_kind_of_the_rule_file_has_a_sentence() -> None:
    """No pattern goes untested."""
    assert sorted({s.kind for s in ALL if s.kind}) == sorted(KINDS)


def test_every_pattern_says_where_it_comes_from_and_is_lower_case_in_its_hints() -> None:
    """Hints are compared with the text in small letters: one with a capital would never match."""
    for name in KINDS:
        hints = rules.explained("secrets")[name].value["hints"]
        assert hints == [hint.lower() for hint in hints], name


@pytest.mark.parametrize("gap", ["github", "github_oauth", "github_server", "npm"])
def test_one_changed_character_of_a_checked_token_makes_it_harmless(gap: str) -> None:
    """GitHub's and npm's checksum covers every character behind the prefix."""
    token = filled(f"«{gap}»")
    assert _kind(FILTER.check(task(token))) is not None
    for place in range(4, len(token)):
        other = "b" if token[place] == "a" else "a"
        assert FILTER.check(task(token[:place] + other + token[place + 1 :])) is None, place


@pytest.mark.parametrize("gap", ["aws", "gitlab", "stripe", "google", "openai", "anthropic", "huggingface", "twilio"])
def test_a_hundred_random_tokens_are_all_found(gap: str) -> None:
    """The entropy and placeholder tests lose no random token."""
    lost = [seed for seed in range(100) if FILTER.check(task(credentials(random.Random(seed))[gap])) is None]
    assert lost == []


@pytest.mark.parametrize("gap", ["aws", "gitlab", "stripe", "google", "openai", "huggingface", "telegram"])
def test_the_same_shape_of_one_repeated_letter_is_a_placeholder(gap: str) -> None:
    """A prefix with xxxx… behind it opens nothing."""
    token = filled(f"«{gap}»")
    assert FILTER.check(task(token[:-16] + "x" * 16)) is None


def test_random_passwords_of_twelve_characters_are_found() -> None:
    """At least 97 of 100 drawn from letters, digits and signs; the others lack a class, or spell a word."""
    rng = random.Random(5)
    alphabet = string.ascii_letters + string.digits + "!#%&*+-=?@^_~"
    made = ["".join(rng.choices(alphabet, k=12)) for _ in range(100)]
    assert sum(FILTER.check(task(f"password: {password}")) is not None for password in made) >= 97


def test_what_people_choose_themselves_is_found_too() -> None:
    """A name with four digits that are no year is somebody's password, not a lesson."""
    for password in ("Zhang@8812", "Lao-Zhou!77x", "nK4-Ostsee", "Qwe!8245rt", "wifi8#Kaiser"):
        assert _kind(FILTER.check(task(f"密码：{password}"))) == "assignment", password


def test_names_are_no_tokens() -> None:
    """A long value of words and hyphens is read aloud, not guessed."""
    for name in (
        "weather-service-north-2",
        "deployment/harbour-books/v3",
        "com.fernhill.books.reader2",
        "a_very_long_name_with_7",
    ):
        assert FILTER.check(task(f"api_key: {name}")) is None, name


def test_words_with_a_year_and_a_sign_are_no_secret() -> None:
    """Passwords that a person can guess are lessons."""
    for word in ("Summer2023!", "Liverpool1!", "October99?", "Michael#1", "Fluffy2019!"):
        assert FILTER.check(task(f"password: {word}")) is None, word


@pytest.mark.parametrize(
    "instruction",
    [
        "Generate a strong password.",
        "Create a random password with 12 characters.",
        "Suggest three passwords that are hard to guess",
        "Make up a user name and a password for a bank",
        "生成一个强密码。",
        "请设计一个12位的随机密码",
        "给出五个安全的密码",
    ],
)
def test_a_password_invented_on_request_opens_nothing(instruction: str) -> None:
    """The answer to such a request is kept; a provider's key in it is not."""
    assert FILTER.check(task(filled("Password: «password»"), instruction)) is None
    assert _kind(FILTER.check(task(filled("Password: «password», key: «stripe»"), instruction))) == "stripe_key"


@pytest.mark.parametrize(
    "instruction",
    [
        "Log in with this password and create a report.",
        "创建一个报表，密码：见下文",
        "Write code that decrypts a password.",
    ],
)
def test_a_request_that_only_names_a_password_excuses_none(instruction: str) -> None:
    """Only who asks for a password to be invented may get one."""
    assert _kind(FILTER.check(task(filled("password: «password»"), instruction))) == "assignment"


def test_the_detail_names_the_field_and_shows_no_more_than_the_ends() -> None:
    """Rejects are published, too: six characters of a credential are enough to find it."""
    token = filled("«github»")
    record = task("Done.").model_copy(update={"input": f"Push with {token}."})
    assert FILTER.check(record) == Drop("secret", f"github_token in the input: {token[:4]}…{token[-2:]}")
    assert token[4:-2] not in str(FILTER.check(record))


def test_a_short_password_shows_two_characters() -> None:
    """Four and two of nine would be most of it."""
    drop = FILTER.check(task("password: Xk9#mP2vQ"))
    assert drop == Drop("secret", "assignment in the output: Xk…")


def test_a_kept_kind_is_let_through_and_an_unknown_one_is_an_error() -> None:
    """``keep`` names tables of the rule file."""
    assert Secrets(keep=["stripe_key"]).check(task(filled("«stripe»"))) is None
    with pytest.raises(UsageProblem, match="no kind 'stripe' to look for; there are: aws_access_key"):
        Secrets(keep=["stripe"])


def test_full_width_letters_hide_nothing() -> None:
    """A token typed with a Chinese input method is read as what it is."""
    wide = "".join(chr(ord(char) + 0xFEE0) if char.isalnum() else char for char in filled("«stripe»"))
    assert _kind(FILTER.check(task(f"密钥{wide}"))) == "stripe_key"


def test_it_works_on_instructions_and_changes_nothing() -> None:
    """Bare instructions are looked through as well; admitted records come back as they were."""
    keeps: Filter[Instruction | TaskInstance] = FILTER
    record = Instruction(id="bootstrap-0-0-0", provenance=Provenance(), instruction=filled("Use «aws»."), lang="en")
    assert _kind(keeps.check(record)) == "aws_access_key"
    assert keeps.admit(record) is record


READERS = """
from selfinstruct.filters.secrets import Secrets
from tests.filters.planted import task
check = Secrets().check
READERS = [lambda text: check(task(text))]
"""


def test_hostile_texts_end() -> None:
    """A hundred thousand characters of what the patterns begin with cost no more than their length."""
    pieces = [
        "a",
        "=",
        "-",
        "password=",
        "password is ",
        "密码",
        "密码：",
        "eyJ",
        "eyJ.eyJ",
        ".eyJabcdefghijkl",
        "sk-",
        "sk-proj-",
        "xoxb-12345678-",
    ]
    pieces += [
        "-----BEGIN PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\nA",
        "postgres://a:b",
        "://",
        "http://aaaa:bbbb@",
        "1234567890:AA",
        "hooks.slack.com/services/T",
    ]
    pieces += [
        "create a ",
        "generate a password ",
        "生成",
        "token token=",
        "api key key key ",
        "secret*_`",
        "pypi-AgEIcHlwaS5vcmc",
        "[a-z]{3}(",
        "a.b",
        "bearer bearer ",
    ]
    alone = [
        "-----BEGIN PRIVATE KEY-----" + "a" * 100_000,
        "eyJ" + "a" * 50_000 + ".eyJ" + "b" * 50_000,
        "password=" + "a." * 50_000,
    ]
    alone += ["mysql://" + "a" * 100_000, "generate a " + "b " * 50_000, "-----BEGIN PRIVATE KEY-----" + "a-" * 50_000]
    read_in_time(pieces, 100_000, alone, READERS)
