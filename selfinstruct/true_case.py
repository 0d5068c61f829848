"""Gives English text its sentence case back: "hello. how are you?" becomes "Hello. How are you?".

About one text in twenty of UltraChat's has sentences that begin with a small letter (systems §8.1). A wrong capital is
worse than a missing one, so whatever may be no beginning of a sentence stays as it is: code, names that are spelled
small, and what follows an abbreviation, an ellipsis, the number of a list or section, or the end of quoted speech.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from selfinstruct.schema import Dialogue, Message

# --- the rules' data; all lists are ours ------------------------------------------------------------------------------

_ABBREVIATIONS: Final = frozenset(
    """al am approx apr apt assn assoc aug ave avg b.sc ba bldg blvd bros ca capt cf ch chap cm co col corp ct dec
    def dept dev dist dr ed eds eg eq eqs esp est etc excl ext feb fig figs fl ft gen gov govt hon hr hrs
    ibid ie inc incl jan jr jul jun kg km lb lbs lt ltd m.sc mar max messrs mg mgr mi min misc ml mm mon mr
    mrs ms mt nat natl no nos nov oct op oz para pg ph.d pl pm pp pref prof pt pts rd ref refs reg rep reps
    rev sec secs sect sen sep sept sgt sq sr st subsp supt tbsp tbsps tel temp thu thur thurs tsp tsps tue
    tues univ var viz vol vols vs wed yr yrs""".split()
)
"""What a full stop may follow inside a sentence."""

_EXCLAIMED: Final = frozenset("yahoo jeopardy oklahoma joomla mamma".split())
"""Names that are written with an exclamation mark."""

_SPELLED_SMALL: Final = frozenset(
    """apt awk brew cd chmod cron curl de der ffmpeg git grep iptables jq kubectl la ls matplotlib mkdir mypy nginx npm
    npx numpy pandas pip pytest scipy sed ssh sudo systemd tmux van vim von wget yarn""".split()
)
"""Commands, packages and parts of names that stay small where a sentence begins."""

_BEFORE_I: Final = frozenset(
    """after although am and as because before but can could did do have how if may might must once
    should since so than that though unless until was what when where which while whom why will would""".split()
)
_AFTER_I: Final = frozenset(
    """actually already also always am ask asked believe bought came can can't cannot could couldn't did
    didn't do don't ever feel felt find found get go got guess had hadn't have haven't heard hope just knew know like
    live lived love made make may mean might must need needed never only ought promise read really said saw see should
    shouldn't started still suppose take think thought told took tried try understand understood use used usually want
    wanted was wasn't went will wish won't wonder work worked would wouldn't wrote""".split()
)
"""A lone "i" behind or before one of these is the pronoun; elsewhere it may be a variable, a numeral, or Italian."""

_NUMBERING: Final = re.compile(r"[a-z]|(?:[a-z]\.)+[a-z]|\d{1,2}(?:\.\d{1,2})*|[ivx]{2,4}")
"""Initials ("J. K."), abbreviations with stops inside ("a.m."), and the numbers of lists and sections."""

# --- what they are put together to ------------------------------------------------------------------------------------

_OPENING: Final = "\"'“‘("
_SMALL: Final = "a-zà-öø-þ"  # ß has a longer capital, and that of ÿ is far away

_HAN: Final = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_FAULT: Final = re.compile(rf"(?:\A\s*|[.!?]\s+)[{_OPENING}]*[{_SMALL}]|(?<![\w.-])i(?![\w.-])")
"""A glance that finds whatever may be a fault, and spares most texts the closer look."""

_SENTENCE: Final = re.compile(r".*[.!?:][\"'”’)*]*(?:\s|\Z)")
_TOKEN: Final = re.compile(r"\S+")
_CAPITAL: Final = re.compile(rf"[{_OPENING}]*[A-ZÀ-ÖØ-Þ]")
_WORD: Final = re.compile(
    rf"[{_OPENING}]*(?P<word>[{_SMALL}]+(?:['’-][{_SMALL}]+)*)(?P<rest>[,.;!?…]*[\"'”’)]*(?:[—–].*)?)"
)
"""A token that is a word and nothing else: no name of a file, no address, no identifier, no call of a function."""

_PRONOUN: Final = re.compile(r"[\"“(]?i(?P<short>['’](?:m|ll|ve|d))?(?P<rest>[,.;!?…]*)")
_VARIABLE: Final = re.compile(
    r"\bi\s*(?:[=<>+*/^\[\]:&|]|-\s|-?th\b|,\s*j\b|(?:and\s+j|is|in|increases|goes|runs|ranges|denotes|equals)\b)"
    r"|\b(?:index|indices|variables?|iterator|counter|letters?|vowels?|numerals?|subscript)\s+[\"'“‘]?i\b|\bj\b(?!\.)",
    re.IGNORECASE,
)
"""Where a text speaks of an i that is not the writer."""

_CODE: Final = re.compile(
    r"""
      (?P<fence>`{3,}) (?s:.*?) (?:(?P=fence)`*|\Z)                 # a fence; one that stays open goes to the end
    | ^[ >]*(?P<waves>~{3,}) (?s:.*?) (?:^[ >]*(?P=waves)|\Z)
    | (?P<ticks>`{1,2})(?!`) .{0,500}? (?<!`)(?P=ticks)(?!`)        # inline
    | \$\$ (?s:.{0,1000}?) \$\$ | \\\( .{0,500}? \\\) | \\\[ (?s:.{0,1000}?) \\\]  # formulas
    | \$(?![\s\d$]) [^$\n]{0,200} (?<!\s)\$(?!\d)
    | ^ (?:\ {4}|\ {0,3}\t) .* $                                    # indented
    | ^ .* [;{}] [ \t\r]* $                                         # and lines that no prose looks like:
    | ^ .* (?: \ [+*/%&|:!=<>-]?=\  | == | => | -> | :: | \w\(\) | \brange\( | <[/!]?[a-z] ) .* $
    | ^ [ \t]* (?: import\ [\w.]+(?:\ as\ \w+)?[ \t\r]*$ | from\ \S+\ import\  | (?:def|function)\ \w*\(
        | class\ \w+[(:] | (?:const|let|var)\ \w+\ ?= | select\ .*\ from\  | (?:print|printf|return)\( | [$>%][ ]
        | (?:for|while|if|elif|else|try|with)\b.*:[ \t\r]*$ ) .* $
    """,
    re.VERBOSE | re.MULTILINE | re.IGNORECASE,
)
_HIDDEN: Final = "\0"

_OF_SPELLING: Final = re.compile(
    r"\b(?:lower|upper|sentence|title|camel|snake)[ -]?cased?\b|capitali[sz]|\b(?:capital|small|upper|lower) letters?\b"
    r"|\bgramma(?:r|tical)|punctuat|proof-?read|\btypos?\b|\bmiss?pel|\bspelling\b|\bspell[- ]?check|\bcummings\b",
    re.IGNORECASE,
)
"""What a dialogue in which faulty spelling may be wanted speaks of."""


def in_true_case(dialogue: Dialogue) -> Dialogue:
    """The dialogue with the sentence case that its English turns lack; only the case of letters differs.

    A user who never begins a sentence with a capital writes as people chat, and stays as he is; an assistant is always
    put right. A dialogue that speaks of case, grammar or spelling, or is Chinese, is left alone.
    """
    if dialogue.lang != "en":
        return dialogue
    turns = tuple(_turn_in_true_case(turn) for turn in dialogue.messages)
    if turns == dialogue.messages or any(_OF_SPELLING.search(turn.content) for turn in turns):
        return dialogue
    return dialogue.model_copy(update={"messages": turns})


def true_cased(text: str, *, chatty: bool = False) -> str:
    """The text with the sentence case it lacks; ``chatty`` leaves one alone that has none of it anywhere.

    Capitals are given to a word at the beginning of the text or behind the end of a sentence, and to the pronoun "i".
    A text that holds Chinese comes as it is.
    """
    if not _FAULT.search(text) or _HAN.search(text):
        return text
    masked = _CODE.sub(lambda code: _HIDDEN * len(code[0]), text)
    tokens = list(_TOKEN.finditer(masked))
    beginnings = list(_beginnings(masked, tokens))
    if chatty and not any(_CAPITAL.match(token[0]) for token in beginnings):
        return text
    letters = list(text)
    for place in (*_small_words(beginnings), *(() if _VARIABLE.search(masked) else _pronouns(tokens, beginnings))):
        letters[place] = letters[place].upper()
    return "".join(letters)


def _turn_in_true_case(turn: Message) -> Message:
    text = true_cased(turn.content, chatty=turn.role == "user")
    return turn if text == turn.content else turn.model_copy(update={"content": text})


def _beginnings(masked: str, tokens: Iterable[re.Match[str]]) -> Iterator[re.Match[str]]:
    """The tokens that begin a sentence; the first of a line does only where the line goes on to the end of one."""
    ended, end = True, 0
    for token in tokens:
        is_first = not end or "\n" in masked[end : token.start()]
        if ended and (not is_first or _SENTENCE.match(masked, token.start())):
            yield token
        ended, end = _ends_sentence(token[0]), token.end()


def _ends_sentence(token: str) -> bool:
    """True where nothing but the end of a sentence can be meant; a quotation may be a part of one."""
    stripped = token.rstrip(".!?")
    mark, word = token[len(stripped) :], stripped.lstrip(_OPENING).lower()
    if not mark or not word or ".." in mark:
        return False
    if mark == ".":
        return word not in _ABBREVIATIONS and not _NUMBERING.fullmatch(word)
    return word not in _EXCLAIMED


def _small_words(beginnings: Iterable[re.Match[str]]) -> Iterator[int]:
    """Where the first letters are of those that are small and should not be."""
    for token in beginnings:
        found = _WORD.fullmatch(token[0])
        if not found or found["word"] in _SPELLED_SMALL:
            continue
        if len(found["word"]) > 1 or (found["word"] == "a" and not found["rest"]):  # else a variable, or "a)"
            yield token.start() + found.start("word")


def _pronouns(tokens: Sequence[re.Match[str]], beginnings: Iterable[re.Match[str]]) -> Iterator[int]:
    """Where an "i" is the pronoun."""
    begins = {token.start() for token in beginnings}
    words = ["", *(token[0].lower().rstrip(",.;!?…") for token in tokens), ""]
    for number, token in enumerate(tokens):
        found = _PRONOUN.fullmatch(token[0])
        if not found:
            continue
        before, after = words[number], words[number + 2]
        opens_clause = token.start() in begins or (number > 0 and tokens[number - 1][0].endswith(","))
        acts = opens_clause and not found["rest"] and after.isalpha() and after not in ("and", "or")
        if found["short"] or before in _BEFORE_I or after in _AFTER_I or acts:
            yield token.start() + token[0].index("i")
