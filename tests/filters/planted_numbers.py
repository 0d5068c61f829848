"""Numbers of persons that never were, with right check digits, made at run time."""

from __future__ import annotations

import random
import string

CREDIT = "0123456789ABCDEFGHJKLMNPQRTUWXY"


def numbers(rng: random.Random) -> dict[str, str]:
    """A value for every kind of personal number, and look-alikes; equal generators make equal ones."""
    resident = resident_id("330106" + _date(rng) + "27" + rng.choice("13579"))
    mobile = rng.choice(("135", "158", "177", "186", "199")) + _irregular(rng, 8)
    visa, union = card("4929" + _irregular(rng, 11)), card("622848" + _irregular(rng, 12))
    amex = card("3717" + _irregular(rng, 10))
    line = _irregular(rng, 6)
    american = f"{rng.choice((212, 303, 415, 617))}-{rng.choice('3467')}{line[:2]}-{line[2:]}"
    german = iban("DE", _irregular(rng, 18))
    person = (
        rng.choice(("q", "w", "v"))
        + "".join(rng.choices("aeiou", k=1))
        + "zk"
        + "".join(rng.choices("aeiou", k=2))
        + "rth"
    )
    ssn = f"{rng.choice((214, 416, 527, 602))}-{rng.choice((27, 39, 58))}-{_irregular(rng, 4)}"
    return {
        "resident": resident,
        "resident_x": _ending_in_x(rng),
        "resident_lower": _ending_in_x(rng).lower(),
        "resident_wrong": resident[:-1] + ("1" if resident[-1] != "1" else "2"),
        "resident_date": resident_id("33010619900231" + _irregular(rng, 3)),
        "resident_region": resident_id("990106" + _date(rng) + _irregular(rng, 3)),
        "mobile": mobile,
        "mobile_spaced": f"{mobile[:3]} {mobile[3:7]} {mobile[7:]}",
        "mobile_dashed": f"{mobile[:3]}-{mobile[3:7]}-{mobile[7:]}",
        "mobile_wide": mobile.translate({ord("0") + n: 0xFF10 + n for n in range(10)}),
        "visa": visa,
        "visa_spaced": " ".join(visa[i : i + 4] for i in range(0, 16, 4)),
        "visa_dashed": "-".join(visa[i : i + 4] for i in range(0, 16, 4)),
        "visa_wrong": visa[:-1] + str((int(visa[-1]) + 1) % 10),
        "mastercard": card("5287" + _irregular(rng, 11)),
        "amex": f"{amex[:4]} {amex[4:10]} {amex[10:]}",
        "union": union,
        "union_spaced": " ".join(union[i : i + 4] for i in range(0, len(union), 4)),
        "union_wrong": union[:-1] + str((int(union[-1]) + 1) % 10),
        "no_issuer": card("9929" + _irregular(rng, 11)),
        "american": american,
        "american_round": f"({american[:3]}) {american[4:]}",
        "american_spaced": american.replace("-", " "),
        "american_plain": american.replace("-", ""),
        "american_bad_area": f"{rng.choice((111, 911, 123, 297))}-{american[4:]}",
        "british": f"+44 20 8{_irregular(rng, 3)} {_irregular(rng, 4)}",
        "german_phone": f"+49 30 {_irregular(rng, 8)}",
        "hong_kong": f"+852 2{_irregular(rng, 3)} {_irregular(rng, 4)}",
        "australian": f"+61 2 9{_irregular(rng, 3)} {_irregular(rng, 4)}",
        "french_phone": f"+33 (0)6 {_irregular(rng, 8)}",
        "iban": german,
        "iban_spaced": " ".join(german[i : i + 4] for i in range(0, 22, 4)),
        "iban_wrong": german[:-1] + str((int(german[-1]) + 1) % 10),
        "iban_short": german[:-1],
        "ssn": ssn,
        "ssn_plain": ssn.replace("-", ""),
        "ssn_bad_area": f"{rng.choice(('000', '666', '932'))}{ssn[3:]}",
        "credit": credit_code("91330106" + organization("MA" + _irregular(rng, 6))),
        "credit_wrong": credit_code("91330106" + organization("MA" + _irregular(rng, 6)))[:-1] + "I",
        "passport": passport("K" + _irregular(rng, 8), "D<<", "640812", "F", "270528"),
        "passport_manual": passport("L898902C3", "UTO", "740812", "F", "120415"),
        "person": person,
        "qq": "8" + _irregular(rng, 8),
        "ipv4": f"{rng.choice((81, 93, 141))}.{rng.randint(2, 250)}.{rng.randint(2, 250)}.{rng.randint(2, 250)}",
        "ipv6": f"2a02:8{rng.randint(100, 999)}:{rng.randint(1000, 9999)}::{rng.randint(10, 99)}",
    }


def _irregular(rng: random.Random, length: int) -> str:
    """Digits that nobody would take for made up: none equals the one before it, or follows it up or down."""
    digits = rng.choice("23456789")
    while len(digits) < length:
        last = int(digits[-1])
        digits += rng.choice([digit for digit in string.digits if abs(int(digit) - last) > 1])
    return digits


def _date(rng: random.Random) -> str:
    return f"{rng.randint(1950, 2005)}{rng.randint(1, 12):02}{rng.randint(1, 28):02}"


def _ending_in_x(rng: random.Random) -> str:
    while True:
        number = resident_id("510104" + _date(rng) + _irregular(rng, 3))
        if number.endswith("X"):
            return number


def resident_id(body: str) -> str:
    """Seventeen digits and their check character, by the table printed in GB 11643-1999."""
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    return body + "10X98765432"[sum(w * int(d) for w, d in zip(weights, body, strict=True)) % 11]


def card(body: str) -> str:
    """Digits and the one that makes Luhn's sum a multiple of ten."""
    doubled = "0246813579"
    total = sum(int(doubled[int(d)]) if i % 2 == 0 else int(d) for i, d in enumerate(reversed(body)))
    return body + str(-total % 10)


def iban(country: str, account: str) -> str:
    """An account with its two check digits, which are 98 less the remainder by 97."""
    digits = "".join(str(string.ascii_uppercase.index(c) + 10) if c.isalpha() else c for c in f"{account}{country}00")
    return f"{country}{98 - int(digits) % 97:02}{account}"


def organization(body: str) -> str:
    """Eight characters and their check character, GB 11714-1997."""
    values = string.digits + string.ascii_uppercase
    rest = 11 - sum(w * values.index(c) for w, c in zip((3, 7, 9, 10, 5, 8, 4, 2), body, strict=True)) % 11
    return body + {10: "X", 11: "0"}.get(rest, str(rest))


def credit_code(body: str) -> str:
    """Seventeen characters and their check character, by the weights printed in GB 32100-2015."""
    weights = (1, 3, 9, 27, 19, 26, 16, 17, 20, 29, 25, 13, 8, 24, 10, 30, 28)
    return body + CREDIT[-sum(w * CREDIT.index(c) for w, c in zip(weights, body, strict=True)) % 31]


def passport(number: str, state: str, born: str, sex: str, expires: str) -> str:
    """The second line of a passport, every field with its check digit."""
    parts = [_checked(number), _checked(born), _checked(expires), _checked("<" * 14)]
    return f"{parts[0]}{state}{parts[1]}{sex}{parts[2]}{parts[3]}" + _checked("".join(parts))[-1]


def _checked(field: str) -> str:
    values = string.digits + string.ascii_uppercase
    total = sum((7, 3, 1)[i % 3] * (0 if c == "<" else values.index(c)) for i, c in enumerate(field))
    return field + str(total % 10)
