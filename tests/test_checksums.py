"""Checksums: the standards' own numbers are right, and no slip of one character passes."""

from __future__ import annotations

import string
import zlib

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from selfinstruct import checksums
from tests.filters import planted_numbers

DIGITS = st.text(string.digits, min_size=2, max_size=30)
ALNUM = st.text(string.digits + string.ascii_uppercase, min_size=6, max_size=30)
CREDIT = st.text(planted_numbers.CREDIT, min_size=17, max_size=17)


@pytest.mark.parametrize("number", ["79927398713", "4111111111111111", "378282246310005", "0", "00"])
def test_luhn_knows_published_numbers(number: str) -> None:
    """The example of the patent's article, and test cards of the networks."""
    assert checksums.luhn(number) is True


@pytest.mark.parametrize("number", ["11010519491231002X", "440524188001010014", "11010519491231002x"])
def test_mod_11_2_knows_the_examples_of_the_standard(number: str) -> None:
    """GB 11643-1999 prints two; the X may be small."""
    assert checksums.mod_11_2(number) is True


@pytest.mark.parametrize("account", ["GB82WEST12345698765432", "DE89370400440532013000", "NO9386011117947"])
def test_mod_97_knows_the_examples_of_the_registry(account: str) -> None:
    """SWIFT's registry gives one for each country."""
    assert checksums.mod_97(account) is True


def test_the_codes_of_the_chinese_standards_are_right() -> None:
    """GB 32100-2015 prints one, and its characters 9 to 17 are a code of GB 11714-1997."""
    assert (checksums.mod_31("91350100M000100Y43"), checksums.organization_code("M000100Y4")) == (True, True)


@pytest.mark.parametrize("field", ["L898902C36", "7408122", "1204159", "ZE184226B<<<<<1", "<<<<<<<<<<<<<<0"])
def test_the_fields_of_the_passport_of_utopia_are_right(field: str) -> None:
    """The specimen of ICAO Doc 9303 part 4."""
    assert checksums.mod_10_731(field) is True


@pytest.mark.parametrize("text", ["", "x", "１１", "12a4", "-1", " 18", "⁵5", "١١"])
def test_what_is_no_number_has_no_right_check_digit(text: str) -> None:
    """Other characters, also digits of other scripts, are False and never an error."""
    checks = checksums.luhn, checksums.mod_11_2, checksums.mod_97, checksums.mod_31
    others = checksums.organization_code, checksums.mod_10_731, checksums.crc32_base62
    assert [check(text) for check in checks + others] == [False] * 7


@given(DIGITS, st.data())
def test_one_changed_digit_always_breaks_luhn(body: str, data: st.DataObject) -> None:
    """Doubling permutes the digits, so that every digit has a sum of its own."""
    number = planted_numbers.card(body)
    assert checksums.luhn(number) is True
    assert checksums.luhn(_slip(number, data, string.digits)) is False


@given(st.text(string.digits, min_size=17, max_size=17), st.data())
def test_one_changed_digit_always_breaks_mod_11_2(body: str, data: st.DataObject) -> None:
    """No weight is a multiple of 11."""
    number = planted_numbers.resident_id(body)
    assert checksums.mod_11_2(number) is True
    assert checksums.mod_11_2(_slip(number, data, string.digits)) is False


@given(st.text(string.digits, min_size=17, max_size=17), st.integers(0, 15))
def test_two_exchanged_neighbours_always_break_mod_11_2(body: str, place: int) -> None:
    """Neighbours differ in weight by other than a multiple of 11."""
    number = planted_numbers.resident_id(body)
    assume(number[place] != number[place + 1])
    assert checksums.mod_11_2(number[:place] + number[place + 1] + number[place] + number[place + 2 :]) is False


@given(ALNUM, st.data())
def test_one_changed_character_always_breaks_mod_97(account: str, data: st.DataObject) -> None:
    """A digit for a digit, a letter for a letter: no power of ten is a multiple of 97, and no letter counts so much."""
    number = planted_numbers.iban("DE", account)
    assert checksums.mod_97(number) is True
    place = data.draw(st.integers(0, len(number) - 1))
    same = string.digits if number[place].isdigit() else string.ascii_uppercase
    other = data.draw(st.sampled_from([char for char in same if char != number[place]]))
    assert checksums.mod_97(number[:place] + other + number[place + 1 :]) is False


@given(CREDIT, st.data())
def test_one_changed_character_always_breaks_mod_31(body: str, data: st.DataObject) -> None:
    """31 is a prime, and there are 31 characters."""
    code = planted_numbers.credit_code(body)
    assert checksums.mod_31(code) is True
    assert checksums.mod_31(_slip(code, data, planted_numbers.CREDIT)) is False


@given(st.text(string.digits + string.ascii_letters, min_size=1, max_size=40), st.data())
def test_one_changed_character_always_breaks_a_token(body: str, data: st.DataObject) -> None:
    """A CRC of 32 bits finds every burst of up to 32."""
    token = body + checksums.base62(zlib.crc32(body.encode()))
    assert checksums.crc32_base62(token) is True
    assert checksums.crc32_base62(_slip(token, data, string.digits + string.ascii_letters)) is False


def test_base_62_counts_digits_then_capitals_then_small_letters() -> None:
    """The order GitHub uses; six characters hold any CRC-32."""
    assert [checksums.base62(n) for n in (0, 10, 36, 61, 62)] == ["000000", "00000A", "00000a", "00000z", "000010"]
    assert len(checksums.base62(2**32 - 1)) == 6


def _slip(number: str, data: st.DataObject, alphabet: str) -> str:
    """The number with one character changed to another of the alphabet."""
    place = data.draw(st.integers(0, len(number) - 1))
    other = data.draw(st.sampled_from([char for char in alphabet if char != number[place]]))
    return number[:place] + other + number[place + 1 :]
