"""Credentials and numbers of persons that never were, made at run time with right checksums.

No file of the tests holds one: a scanner of secrets would take it for real. Sentences name the kind between « and ».
"""

from __future__ import annotations

import base64
import json
import random
import re
import string
import zlib
from pathlib import Path
from typing import NamedTuple

from selfinstruct import checksums
from selfinstruct.schema import Lang, TaskInstance
from tests.filters.planted_numbers import numbers

LETTERS = string.ascii_letters
ALNUM = string.digits + string.ascii_letters
HEX = "0123456789abcdef"
URL64 = ALNUM + "-_"


class Sentence(NamedTuple):
    """A text with its gaps filled; ``kind`` is what has to be found in it, None where nothing may be."""

    text: str
    kind: str | None


def sentences(name: str, lang: Lang) -> list[Sentence]:
    """The sentences of ``sentences/<name>.<lang>.jsonl``; each is filled with values of its own."""
    path = Path(__file__).parent / "sentences" / f"{name}.{lang}.jsonl"
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return [Sentence(filled(row["text"], seed), row.get("kind")) for seed, row in enumerate(rows)]


def filled(text: str, seed: int = 0) -> str:
    """A text with made-up values for its «gaps»; an unknown gap is a KeyError."""
    values = credentials(random.Random(seed)) | numbers(random.Random(seed))
    return re.sub("«(\\w+)»", lambda gap: values[gap[1]], text)


def task(output: str, instruction: str = "Continue.", lang: Lang = "en") -> TaskInstance:
    """A worked example whose output is the text."""
    return TaskInstance.model_validate(
        {
            "id": "instances-0-0-0",
            "provenance": {},
            "instruction": instruction,
            "input": "",
            "output": output,
            "lang": lang,
            "is_classification": None,
        }
    )


def credentials(rng: random.Random) -> dict[str, str]:
    """A value for every kind of credential, and look-alikes; equal generators make equal ones."""

    def some(alphabet: str, length: int) -> str:
        return "".join(rng.choices(alphabet, k=length))

    base32 = string.ascii_uppercase + "234567"
    upper = string.ascii_uppercase + string.digits
    body = some(ALNUM, 30)
    right = body + checksums.base62(zlib.crc32(body.encode()))
    wrong = body + checksums.base62(zlib.crc32(body.encode()) ^ 1)
    uuid = "-".join(some(HEX, n) for n in (8, 4, 4, 4, 12))
    return {
        "aws": "AK" + "IA" + some(base32, 16),
        "aws_temporary": "AS" + "IA" + some(base32, 16),
        "aws_manual": "AK" + "IAIOSFODNN7" + "EXAMPLE",
        "aliyun": "LT" + "AI5t" + some(ALNUM, 20),
        "tencent": "AK" + "ID" + some(ALNUM, 32),
        "github": "gh" + "p_" + right,
        "github_oauth": "gh" + "o_" + right,
        "github_server": "gh" + "s_" + right,
        "github_wrong": "gh" + "p_" + wrong,
        "github_fine": "github_" + "pat_" + some(ALNUM, 22) + "_" + some(ALNUM, 59),
        "gitlab": "gl" + "pat-" + some(URL64, 19) + "Q",
        "slack": "xo" + "xb-" + some("123456789", 12) + "-" + some("123456789", 12) + "-" + some(ALNUM, 24),
        "slack_app": "xa" + "pp-1-A" + some(upper, 10) + "-" + some("123456789", 13) + "-" + some(HEX, 64),
        "slack_hook": "T" + some(upper, 8) + "/B" + some(upper, 8) + "/" + some(ALNUM, 24),
        "discord_hook": some("123456789", 18) + "/" + some(URL64, 67) + "Q",
        "wecom_hook": uuid,
        "feishu_hook": uuid,
        "dingtalk_hook": some(HEX, 64),
        "stripe": "sk_" + "live_" + some(ALNUM, 24),
        "stripe_restricted": "rk_" + "live_" + some(ALNUM, 24),
        "stripe_test": "sk_" + "test_" + some(ALNUM, 24),
        "stripe_publishable": "pk_" + "live_" + some(ALNUM, 24),
        "google": "AI" + "za" + some(URL64, 34) + "Q",
        "openai": "sk-" + "proj-" + some(URL64, 47) + "Q",
        "openai_old": "sk-" + some(ALNUM, 20) + "T3Bl" + "bkFJ" + some(ALNUM, 20),
        "deepseek": "sk-" + some(HEX, 32),
        "anthropic": "sk-" + "ant-api03-" + some(URL64, 93) + "AA",
        "huggingface": "h" + "f_" + some(LETTERS, 34),
        "npm": "np" + "m_" + right,
        "npm_wrong": "np" + "m_" + wrong,
        "pypi": "py" + "pi-AgE" + "IcHlwaS5vcmc" + some(URL64, 139) + "Q",
        "sendgrid": "S" + "G." + some(URL64, 22) + "." + some(URL64, 42) + "Q",
        "twilio": "S" + "K" + some(HEX, 32),
        "telegram": some("123456789", 10) + ":A" + "A" + some(URL64, 32) + "Q",
        "digitalocean": "do" + "p_v1_" + some(HEX, 64),
        "rsa": _lines(b"\x30\x82\x02\x5c" + rng.randbytes(604)),
        "ec": _lines(b"\x30\x77\x02\x01" + rng.randbytes(117)),
        "ed25519": _lines(b"\x30\x2e\x02\x01" + rng.randbytes(44)),
        "openssh": _lines(b"openssh-key-v1\0" + rng.randbytes(300)),
        "pgp": _lines(b"\x95\x01\x1e\x04" + rng.randbytes(400)) + "\n=" + some(ALNUM, 4),
        "jwt": _web_token({"alg": "HS256", "typ": "JWT"}, {"sub": some(ALNUM, 6), "exp": 1}, some(URL64, 42) + "Q"),
        "jwt_tutorial": _web_token({"alg": "HS256"}, {"sub": "1234567890", "name": "John Doe"}, some(URL64, 42) + "Q"),
        "jwt_garbled": "eyJ" + _web_token({"alg": "HS256", "typ": "JWT"}, {"sub": "me"}, some(URL64, 42) + "Q")[5:],
        "jwt_no_header": _web_token({"kind": "letter"}, {"sub": some(ALNUM, 6)}, some(URL64, 42) + "Q"),
        "password": some("GHKMPRTWX", 1) + some("ghkmprtwx", 1) + some("2356789", 1) + some("#%&+", 1) + _mixed(rng, 8),
        "password_url": _mixed(rng, 10) + some("~_-", 1) + some("BCDFGH", 1) + some("2356789", 1),
        "hex": some("23456789", 2) + some("bdf", 2) + some("23456789", 2) + some("bdf", 2) + some("2356789bcdf", 24),
        "base64": some("GHKMP", 1) + some("2356789", 1) + _mixed(rng, 38),
        "token16x": some("GHKMP", 1) + some("2356789", 1) + some("ghkmp", 1) + _mixed(rng, 13),
    }


def _mixed(rng: random.Random, length: int) -> str:
    """Letters and digits by turns: without vowels, so that no word comes of it by chance."""
    alphabets = "BCDFGHKMPQRTWXZ", "2356789", "bcdfghkmpqrtwxz", "2356789"
    return "".join(rng.choice(alphabets[place % 4]) for place in range(length))


def _lines(key: bytes) -> str:
    text = base64.b64encode(key).decode()
    return "\n".join(text[start : start + 64] for start in range(0, len(text), 64))


def _web_token(header: dict[str, object], payload: dict[str, object], signature: str) -> str:
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in (header, payload)]
    return ".".join([*parts, signature])
