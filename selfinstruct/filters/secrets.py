"""Refuses records that hold a credential: a key, a token, a password that opens something.

Models repeat what they have read, and people paste what they should not; whoever publishes instruction data publishes
its credentials, too. What a credential looks like is data, ``rules/secrets.toml``: a provider's prefix and length and,
where the provider gives one, a checksum. What everybody writes in place of one is kept.
"""

from __future__ import annotations

import base64
import binascii
import itertools
import json
import re
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final, TypeVar

from selfinstruct import checksums, rules
from selfinstruct.protocols import Drop
from selfinstruct.schema import Instruction, TaskInstance
from selfinstruct.sensitive import Finder, entropy, masked

Instructed = TypeVar("Instructed", bound=Instruction | TaskInstance)

_CODE: Final = re.compile(
    r"[A-Za-z_]{3}\w*\(|://|\(\?|\[[\w^]|\\[dwsDWS]"  # a call, an address, a regular expression
    r"|^[\[{(\\]|^/[a-z]+(?:/|$)|^\$\w|^\$?\{|^%\w+%$|^\w+(?:\.[A-Za-z_]\w*)+$"  # a list, path, variable, attribute
)
_WORD_AND_YEAR: Final = re.compile(r"[A-Z]?[a-z]{3,}[^A-Za-z\d]?(?:\d{1,2}|(?:19|20)\d\d)[^A-Za-z\d]?")  # Summer2023!
_KEY_BEGINS: Final = (b"\x30", b"\x94", b"\x95", b"\xc5")  # a DER sequence; OpenPGP secret key packets, old and new

LONG: Final = 20
"""From so many characters on a value may be a token; shorter ones are judged as passwords (Ours)."""

CHANGES: Final = 3
"""A password goes from one class of characters to another at least so often: Zhang@8812 does thrice (Ours)."""


class Secrets:
    """Refuses a record that holds a live-looking credential in any of its texts; the reason is ``secret``.

    Found are the tokens and keys of the providers in ``rules/secrets.toml``, private keys, JSON web tokens, addresses
    with a password in them, and a random-looking value that is said to be a password or key (``api_key = …``,
    密码：…). The detail names the kind, the field and no more than the ends of what was found. Kept are placeholders
    (``YOUR_API_KEY``, ``sk-xxxx``), the examples of the providers' manuals, passwords anybody can guess, what code
    reads from elsewhere, and tokens whose checksum is wrong. A password is kept as well where the instruction asks to
    invent one.

    ``keep`` names kinds, tables of the rule file, that are let through; an unknown one raises `UsageProblem`.
    """

    def __init__(self, keep: Collection[str] = ()) -> None:
        data = rules.explained("secrets")
        self._placeholder = re.compile("|".join(map(re.escape, data["placeholders"].value)))
        self._guessable = re.compile("|".join(map(re.escape, data["guessable"].value)))
        self._judged = tuple(data["judged_by_their_own_kind"].value)
        self._invites = re.compile("|".join(data["asks_for_a_password"].value), re.IGNORECASE)
        self._hosts = re.compile("|".join(data["example_hosts"].value), re.IGNORECASE)
        tests: dict[str, Callable[[str], bool]] = {
            "random": lambda value: not self._placeholder.search(value.lower()),
            "crc32_base62": _crc32_base62,
            "json_web_token": _is_web_token,
            "private_key": _is_private_key,
            "address": self._opens,
            "assigned": self._is_random,
        }
        self._finder = Finder(data, tests, keep=keep)

    def check(self, record: Instruction | TaskInstance) -> Drop | None:
        """The first credential found, with its kind and field, or None."""
        for field, text in record.texts.items():
            found = self._finder.first(text)
            if found and found.kind == "assignment" and self._invites.search(record.instruction):
                found = self._finder.first(text, keep=("assignment",))
            if found:
                return Drop("secret", f"{found.kind} in the {field}: {masked(found.value)}")
        return None

    def admit(self, record: Instructed) -> Instructed:
        """The record as it came: this filter remembers nothing."""
        return record

    def _opens(self, address: str) -> bool:
        """True for ``user:password@host`` with a password that is no mere example, at a host that may exist."""
        account, _, host = address.rpartition("@")
        user, _, password = account.partition(":")
        if password.lower() in (user.lower(), "") or self._hosts.match(host):
            return False
        return not (_CODE.search(password) or self._is_common(password)) and len(set(password)) >= 4

    def _is_random(self, value: str) -> bool:
        """True for a value that a person or a program made to be hard to guess."""
        value = re.split(r"[&;,](?=\w+=)", value)[0].rstrip(".,;:!?*_")
        if len(value) < 8 or value.startswith(self._judged) or _CODE.search(value) or self._is_common(value):
            return False
        if len(value) >= LONG and entropy(value) >= 3:  # a token: letters and digits, well mixed
            classes = [_class_of(char) for char in value if char.isalnum()]
            return "digit" in classes and _changes(classes) >= len(value) / 8
        classes = [_class_of(char) for char in value]
        return len(set(classes)) >= 3 and _changes(classes) >= CHANGES and len(set(value)) >= 6

    def _is_common(self, value: str) -> bool:
        """True for a placeholder, and for what is nothing but guessable words, digits and signs."""
        small = value.lower()
        if self._placeholder.search(small) or _WORD_AND_YEAR.fullmatch(value):
            return True
        left = self._guessable.sub("", small)
        return left != small and sum(map(str.isalpha, left)) <= 2


def _changes(classes: Sequence[str]) -> int:
    return sum(a != b for a, b in itertools.pairwise(classes))


def _class_of(char: str) -> str:
    if char.isalpha():
        return "upper" if char.isupper() else "lower"
    return "digit" if char.isdigit() else "other"


def _crc32_base62(token: str) -> bool:
    """True for ``prefix_`` and letters and digits whose checksum is right."""
    return checksums.crc32_base62(token.partition("_")[2])


def _is_web_token(token: str) -> bool:
    """True where the first part is JSON with an algorithm, and the second is not the subject every tutorial shows."""
    header, payload, _ = token.split(".")
    algorithm, claims = _decoded(header), _decoded(payload)
    return "alg" in algorithm and claims.get("sub") != "1234567890"


def _decoded(part: str) -> dict[str, Any]:
    try:
        value = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, RecursionError):  # not base 64, not UTF-8, not JSON, or nested beyond reason
        return {}
    return value if isinstance(value, dict) else {}


def _is_private_key(body: str) -> bool:
    """True where the lines between the marks decode to a key: DER, OpenSSH's own format, or an OpenPGP packet."""
    lines = re.sub(r"\\n|\s|[\w-]+: [^\n]*\n", "", body)
    try:
        key = base64.b64decode(re.sub(r"=[\w+/]{4}$", "", lines), validate=True)  # OpenPGP adds a CRC-24
    except binascii.Error:
        return False
    known = key[:1] in _KEY_BEGINS or key.startswith(b"openssh-key-v1") or "ENCRYPTED" in body
    return known and len(key) >= 40 and len(set(key)) >= 16
