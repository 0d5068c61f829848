"""Refuses records that hold personal data: what names, reaches or pays one person, and may be a real one's.

Numbers are judged by their check digits, dates, prefixes and lengths, so that an order number is not taken for a card.
What is looked for is data, ``rules/personal_data.toml``. Numbers set aside for films, tests and manuals are kept, and
those that anybody would see are made up (123-456-7890).
"""

from __future__ import annotations

import datetime
import ipaddress
import re
import string
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, TypeVar

from selfinstruct import checksums, rules
from selfinstruct.protocols import Drop
from selfinstruct.schema import Instruction, TaskInstance
from selfinstruct.sensitive import Finder, masked

Instructed = TypeVar("Instructed", bound=Instruction | TaskInstance)

_RUNS: Final = frozenset(
    [(row * 2)[i : i + 6] for row in (string.digits, string.digits[::-1]) for i in range(10)]
    + [digit * 6 for digit in string.digits]
)
_NOT_DIGITS: Final = re.compile(r"\D")


class PersonalData:
    """Refuses a record with personal data in any of its texts; the reason is ``personal_data``.

    Found are e-mail addresses of persons, telephone numbers (Chinese mobile, North American, international), Chinese
    resident identity numbers and unified social credit codes, payment cards, IBANs, US social security numbers and the
    machine-readable line of passports. The detail names the kind, the field and no more than the ends of the number.

    ``ip_addresses`` looks for public IPv4 and IPv6 addresses, too. It is off because in instruction data they are
    matter of lessons on networks, name servers above all, and hardly ever somebody's. ``keep`` names kinds, tables of
    the rule file, that are let through; an unknown one raises `UsageProblem`.
    """

    def __init__(self, *, ip_addresses: bool = False, keep: Collection[str] = ()) -> None:
        data = rules.explained("personal_data")
        lists = {name: rule.value for name, rule in data.items()}
        mail, phones, ids = _Mail(lists), _Phones(lists), _Numbers(lists)
        tests: dict[str, Callable[[str], bool]] = {
            "mail": mail.is_personal,
            "china_mobile": phones.is_chinese_mobile,
            "north_america": phones.is_north_american,
            "international": phones.is_international,
            "resident_id": ids.is_resident,
            "credit_code": ids.is_credit_code,
            "card": ids.is_card,
            "iban": ids.is_iban,
            "ssn": _is_ssn,
            "passport": _is_passport_line,
            "public_address": _is_public_address,
        }
        also = ("ip_address",) if ip_addresses else ()
        self._finder = Finder(data, tests, also=also, keep=keep)

    def check(self, record: Instruction | TaskInstance) -> Drop | None:
        """The first finding, with its kind and field, or None."""
        for field, text in record.texts.items():
            if found := self._finder.first(text):
                return Drop("personal_data", f"{found.kind} in the {field}: {masked(found.value)}")
        return None

    def admit(self, record: Instructed) -> Instructed:
        """The record as it came: this filter remembers nothing."""
        return record


class _Mail:
    """Tells the address of a person from a role's, a placeholder, and what only looks like an address."""

    def __init__(self, lists: Mapping[str, Any]) -> None:
        self._endings = frozenset(lists["mail_endings"])
        self._names = frozenset(lists["mail_placeholder_names"]) | frozenset(lists["mail_roles"])
        self._domains = frozenset(lists["mail_placeholder_domains"])
        self._reserved = tuple(lists["mail_reserved_domains"])
        self._beginnings = tuple(lists["mail_placeholder_beginnings"])

    def is_personal(self, address: str) -> bool:
        name, _, domain = address.lower().partition("@")
        labels = domain.split(".")
        if len(labels) < 2 or labels[-1] not in self._endings or not all(map(_is_label, labels)):
            return False
        if f".{domain}".endswith(self._reserved) or not self._domains.isdisjoint(labels[:-1]):
            return False
        bare = re.sub(r"[._+-]|\d+$", "", name)
        if bare in self._names or name.startswith(self._beginnings) or (name.isdigit() and _is_made_up(name)):
            return False
        return len(name) >= 3 or len(labels[-2]) >= 2  # c@x.co is algebra


def _is_label(label: str) -> bool:
    return 0 < len(label) <= 63 and "_" not in label and not (label.startswith("-") or label.endswith("-"))


class _Phones:
    """Tells a number that may ring somewhere from one that cannot, or that is set aside for stories."""

    def __init__(self, lists: Mapping[str, Any]) -> None:
        self._mobile_prefixes = frozenset(lists["china_mobile_prefixes"])
        self._lengths = {str(code): (least, most) for code, least, most in lists["country_codes"]}
        self._toll_free = frozenset(lists["north_american_toll_free"])
        self._fiction = re.compile("|".join(lists["fictional_numbers"]))

    def is_chinese_mobile(self, number: str) -> bool:
        digits = _digits(number)[-11:]
        # A subscriber has 12345678 as well, and paid for it; eight equal digits are what forms are filled in with.
        return digits[:3] in self._mobile_prefixes and len(set(digits[3:])) > 1

    def is_north_american(self, number: str) -> bool:
        digits = _digits(number)[-10:]
        area, exchange = digits[:3], digits[3:6]
        if min(area[0], exchange[0]) < "2" or area[1] == "9" or area[1:] in ("00", "11") or exchange[1:] == "11":
            return False
        return exchange != "555" and area not in self._toll_free and not _is_made_up(digits)

    def is_international(self, number: str) -> bool:
        digits = _digits(number.replace("(0)", ""))
        code = next((digits[:size] for size in (1, 2, 3) if digits[:size] in self._lengths), "")
        if not code:
            return False
        least, most = self._lengths[code]
        national = digits[len(code) :].removeprefix("0" if code != "39" else "")
        if not least <= len(national) <= most or self._fiction.match(code + national):
            return False
        if code == "1":
            return self.is_north_american(national)
        if code == "86" and national[0] == "1" and len(national) == 11:
            return self.is_chinese_mobile(national)
        return not _is_made_up(national)


class _Numbers:
    """Numbers that check themselves, with what the lists say of their first digits and lengths."""

    def __init__(self, lists: Mapping[str, Any]) -> None:
        self._regions = frozenset(lists["china_regions"])
        self._issuers: list[tuple[int, int, list[int]]] = lists["card_issuers"]
        self._iban_lengths = {entry[:2]: int(entry[2:]) for entry in lists["iban_lengths"]}

    def is_resident(self, number: str) -> bool:
        number = number.replace(" ", "")
        return number[:2] in self._regions and _is_birthday(number[6:14]) and checksums.mod_11_2(number)

    def is_credit_code(self, code: str) -> bool:
        named = code[2:4] in self._regions or code[2:4] == "10"  # 10: registered with the state itself
        return named and checksums.mod_31(code) and checksums.organization_code(code[8:17])

    def is_card(self, number: str) -> bool:
        digits = _digits(number)
        issued = any(low <= int(digits[: len(str(low))]) <= high and len(digits) in n for low, high, n in self._issuers)
        return issued and checksums.luhn(digits) and not _is_made_up(digits[:-1])

    def is_iban(self, account: str) -> bool:
        bare = account.replace(" ", "")
        length = self._iban_lengths.get(bare[:2], 0)
        if not length or len(bare) < length or (len(bare) > length and " " not in account):
            return False
        return checksums.mod_97(bare[:length])  # words in capitals may stand behind


def _digits(number: str) -> str:
    return _NOT_DIGITS.sub("", number)


def _is_made_up(number: str) -> bool:
    """True for six digits in a row that count up or down or are equal, for two digits only, for a half said twice."""
    digits = _digits(number)
    if len(digits) >= 6 and (any(run in digits for run in _RUNS) or len(set(digits)) <= 2):
        return True
    half = len(digits) // 2
    return half >= 3 and digits[-half:] == digits[-2 * half : -half]


def _is_birthday(digits: str) -> bool:
    """True for a date of the calendar from 1900 on; the number is given at birth, and the scheme has no end."""
    try:
        return datetime.date(int(digits[:4]), int(digits[4:6]), int(digits[6:])).year >= 1900
    except ValueError:
        return False


def _is_ssn(number: str) -> bool:
    """Areas 000, 666 and 900 to 999, group 00 and serial 0000 are never given (SSA, randomization, 2011)."""
    digits = _digits(number)
    never = digits[:3] in ("000", "666") or digits[0] == "9" or digits[3:5] == "00" or digits[5:] == "0000"
    return not never and not _is_made_up(digits)


def _is_passport_line(line: str) -> bool:
    """The second line of a passport: number, birth, expiry, and all of them together (ICAO Doc 9303 part 4)."""
    parts = (line[:10], line[13:20], line[21:28], line[:10] + line[13:20] + line[21:43] + line[43])
    return line[10:13] != "UTO" and all(map(checksums.mod_10_731, parts))  # Utopia: the manual's own country


def _is_public_address(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).is_global
    except ValueError:
        return False
