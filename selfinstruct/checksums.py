"""Check digits: what tells a card number, an identity number or a token from a row of digits that looks like one.

Each function says whether the last characters agree with those before them. They take the bare characters, without
spaces or hyphens, and answer False, never an error, for anything of another shape.
"""

from __future__ import annotations

import zlib
from typing import Final

_BASE62: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_CREDIT_CODE: Final = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_DIGITS: Final = frozenset("0123456789")
_LETTERS_AND_DIGITS: Final = frozenset(_BASE62[:36])


def luhn(digits: str) -> bool:
    """Payment cards: ISO/IEC 7812-1, annex B. Finds any one wrong digit and most exchanged neighbours."""
    if not digits or not _DIGITS.issuperset(digits):
        return False
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (sum(map(int, digits[-1::-2])) + sum(doubled)) % 10 == 0


def mod_11_2(number: str) -> bool:
    """Chinese resident identity numbers: ISO 7064 MOD 11-2 (GB 11643-1999); the last character may be X, for 10."""
    body, check = number[:-1], number[-1:].upper()
    if not body or not _DIGITS.issuperset(body) or not (check == "X" or check in _DIGITS):
        return False
    total = 0
    for digit in body:
        total = (total + int(digit)) * 2 % 11
    return (total + (10 if check == "X" else int(check))) % 11 == 1


def mod_97(account: str) -> bool:
    """International bank account numbers: ISO 7064 MOD 97-10 (ISO 13616-1), country and check digits first."""
    if len(account) < 5 or not _LETTERS_AND_DIGITS.issuperset(account):
        return False
    return int("".join(str(int(char, 36)) for char in account[4:] + account[:4])) % 97 == 1


def mod_31(code: str) -> bool:
    """Chinese unified social credit codes: GB 32100-2015, weighted by powers of 3; no I, O, S, V, Z."""
    values = [_CREDIT_CODE.find(char) for char in code]
    if len(values) != 18 or -1 in values:
        return False
    return (sum(value * pow(3, place, 31) for place, value in enumerate(values[:17])) + values[17]) % 31 == 0


def organization_code(code: str) -> bool:
    """The nine characters that name an organization within a unified social credit code: GB 11714-1997, mod 11."""
    weights = (3, 7, 9, 10, 5, 8, 4, 2)
    if len(code) != 9 or not _LETTERS_AND_DIGITS.issuperset(code):
        return False
    remainder = -sum(weight * int(char, 36) for weight, char in zip(weights, code, strict=False)) % 11
    return code[8] == ("X" if remainder == 10 else str(remainder))


def mod_10_731(field: str) -> bool:
    """Fields of machine-readable passports: ICAO Doc 9303 part 3, weights 7 3 1, check digit last; < counts as 0."""
    if len(field) < 2 or field[-1] not in _DIGITS or not _LETTERS_AND_DIGITS.issuperset(field.replace("<", "")):
        return False
    values = [0 if char == "<" else int(char, 36) for char in field[:-1]]
    return sum(value * (7, 3, 1)[place % 3] for place, value in enumerate(values)) % 10 == int(field[-1])


def crc32_base62(token: str) -> bool:
    """Tokens of GitHub and npm: the last six characters are the CRC-32 of all before them, in base 62."""
    body, check = token[:-6], token[-6:]
    return len(token) > 6 and token.isascii() and check == base62(zlib.crc32(body.encode("ascii")))


def base62(number: int, width: int = 6) -> str:
    """A number in digits, capital and small letters, in this order; filled up with zeros on the left."""
    digits = ""
    while number:
        number, digit = divmod(number, 62)
        digits = _BASE62[digit] + digits
    return digits.rjust(width, "0")
