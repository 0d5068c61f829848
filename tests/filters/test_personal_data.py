"""PersonalData: numbers that check are found in both languages; fiction, tests and look-alikes are kept."""

from __future__ import annotations

import random

import pytest

from selfinstruct import checksums, rules
from selfinstruct.errors import UsageProblem
from selfinstruct.filters.personal_data import PersonalData
from selfinstruct.protocols import Drop, Filter
from selfinstruct.schema import Instruction, Lang, Provenance, TaskInstance
from tests.filters.planted import Sentence, filled, sentences, task
from tests.filters.planted_numbers import numbers
from tests.hostile_texts import read_in_time

FILTER = PersonalData()
LANGS: tuple[Lang, ...] = ("en", "zh")
ALL = [sentence for lang in LANGS for sentence in sentences("personal_data", lang)]
RULES = rules.explained("personal_data")
KINDS = [name for name, rule in RULES.items() if isinstance(rule.value, dict) and "pattern" in rule.value]


def _kind(drop: Drop | None) -> str | None:
    return drop.detail.partition(" ")[0] if drop else None


@pytest.mark.parametrize("sentence", [s for s in ALL if s.kind], ids=lambda s: s.text[:40])
def test_personal_data_is_found_wherever_the_sentence_puts_it(sentence: Sentence) -> None:
    """Each sentence with somebody's number or address is refused, by the rule of its kind."""
    drop = FILTER.check(task(sentence.text))
    assert (_kind(drop), drop and drop.reason) == (sentence.kind, "personal_data")


@pytest.mark.parametrize("sentence", [s for s in ALL if not s.kind], ids=lambda s: s.text[:40])
def test_fiction_placeholders_and_look_alikes_are_kept(sentence: Sentence) -> None:
    """No sentence that is about nobody is refused."""
    assert FILTER.check(task(sentence.text)) is None


@pytest.mark.parametrize("lang", LANGS)
def test_there_are_forty_sentences_of_each_sort(lang: Lang) -> None:
    """At least forty sentences with personal data and forty without, a language."""
    found = [sentence.kind is not None for sentence in sentences("personal_data", lang)]
    assert (found.count(True) >= 40, found.count(False) >= 40) == (True, True)


def test_every_kind_of_the_rule_file_has_a_sentence() -> None:
    """No pattern goes untested; public addresses, off by default, have a test of their own."""
    assert sorted({s.kind for s in ALL if s.kind} | {"ip_address"}) == sorted(KINDS)


@pytest.mark.parametrize(
    "gap",
    [
        "resident",
        "resident_x",
        "mobile",
        "visa",
        "visa_spaced",
        "mastercard",
        "amex",
        "union",
        "union_spaced",
        "american",
        "american_round",
        "british",
        "german_phone",
        "hong_kong",
        "french_phone",
        "iban",
        "iban_spaced",
        "ssn",
        "credit",
        "passport",
    ],
)
def test_a_hundred_random_numbers_are_all_found(gap: str) -> None:
    """The tests for made-up numbers lose no irregular one."""
    lost = [seed for seed in range(100) if FILTER.check(task(numbers(random.Random(seed))[gap])) is None]
    assert lost == []


@pytest.mark.parametrize("gap", ["resident", "union", "mastercard", "iban", "credit"])
def test_one_changed_digit_makes_it_another_thing(gap: str) -> None:
    """A number with a wrong check digit is an order number, or a slip; nobody's card."""
    number = filled(f"«{gap}»", seed=4)
    for place in range(len(number) - 6, len(number)):
        if number[place].isdigit():
            changed = number[:place] + str((int(number[place]) + 1) % 10) + number[place + 1 :]
            assert FILTER.check(task(changed)) is None, changed


@pytest.mark.parametrize("frame", ["{}", "编号{}。", "n° {},", "({})", "「{}」", "{}\n", "是{}吗", '"{}"'])
@pytest.mark.parametrize("gap", ["resident", "mobile", "union", "iban", "american"])
def test_what_stands_beside_a_number_hides_it_only_where_it_is_part_of_it(gap: str, frame: str) -> None:
    """Chinese characters, brackets and full stops are borders; digits and letters are not."""
    number = filled(f"«{gap}»")
    assert _kind(FILTER.check(task(frame.format(number)))) is not None
    assert FILTER.check(task(frame.format(f"7{number}7"))) is None


@pytest.mark.parametrize("name", ["payment_card", "iban", "resident_id", "social_credit_code"])
def test_every_published_example_would_be_found_were_it_not_an_example(name: str) -> None:
    """The lists of examples hold no number that fails its check, and would be kept anyway."""
    right = {"payment_card": checksums.luhn, "iban": checksums.mod_97, "resident_id": checksums.mod_11_2}.get(
        name, checksums.mod_31
    )
    assert [number for number in RULES[name].value["examples"] if not right(number)] == []


def test_public_addresses_are_found_where_asked_for() -> None:
    """Name servers, private and documentation ranges and version numbers are kept all the same."""
    asked = PersonalData(ip_addresses=True)
    for gap in ("ipv4", "ipv6"):
        text = filled(f"The visitor came from «{gap}», twice.")
        assert (_kind(asked.check(task(text))), FILTER.check(task(text))) == ("ip_address", None)
    for kept in (
        "8.8.8.8",
        "10.1.2.3",
        "192.168.0.7",
        "203.0.113.9",
        "2001:db8::1",
        "fe80::1",
        "12:30:45",
        "1.2.3.4.5",
        "300.1.2.3",
    ):
        assert asked.check(task(f"Ping {kept} once.")) is None, kept


def test_the_detail_names_the_field_and_shows_no_more_than_the_ends() -> None:
    """Rejects are published, too."""
    number = filled("«mobile»")
    record = task("Done.").model_copy(update={"instruction": f"Call {number}."})
    assert FILTER.check(record) == Drop("personal_data", f"china_mobile in the instruction: {number[:4]}…{number[-2:]}")


def test_a_kept_kind_is_let_through_and_an_unknown_one_is_an_error() -> None:
    """``keep`` names tables of the rule file."""
    assert PersonalData(keep=["email"]).check(task(filled("«person»@gmail.com"))) is None
    with pytest.raises(UsageProblem, match="no kind 'mail' to look for; there are: email, "):
        PersonalData(keep=["mail"])


def test_it_works_on_instructions_and_changes_nothing() -> None:
    """Bare instructions are looked through as well; admitted records come back as they were."""
    keeps: Filter[Instruction | TaskInstance] = FILTER
    record = Instruction(
        id="bootstrap-0-0-0", provenance=Provenance(), instruction=filled("给«mobile»发短信"), lang="zh"
    )
    assert _kind(keeps.check(record)) == "china_mobile"
    assert keeps.admit(record) is record


READERS = """
from selfinstruct.filters.personal_data import PersonalData
from tests.filters.planted import task
check = PersonalData(ip_addresses=True).check
READERS = [lambda text: check(task(text))]
"""


def test_hostile_texts_end() -> None:
    """A hundred thousand characters of what the patterns begin with cost no more than their length."""
    pieces = [
        "a",
        "1",
        "4",
        "62",
        "1 ",
        "4111 ",
        "4111-",
        "1-",
        "a@",
        "a@a.",
        "@",
        "a.",
        "a@b.c ",
        "+1",
        "+1 ",
        "+44 (",
        "(212) ",
        "212-",
        "1.2.3.",
        "a:",
        "::",
        "1:2:3:4:",
    ]
    pieces += [
        "138",
        "138 1234 ",
        "86 ",
        "DE89 ",
        "DE89",
        "AB12 ABCD ",
        "A1",
        "<",
        "K23456789<",
        "phone ",
        "phone 212 ",
        "ssn ",
        "ssn 123 45 ",
        "+4(",
        "1１",
        "37",
    ]
    alone = [
        "a@" + "b." * 50_000,
        "a" * 100_000 + "@example.com",
        "+1" + " " * 100_000 + "2",
        "phone" + "x" * 100_000,
        "DE89" + " AAAA" * 20_000,
    ]
    read_in_time(pieces, 100_000, alone, READERS)
