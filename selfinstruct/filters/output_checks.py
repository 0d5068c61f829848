"""Refuses a worked example whose output is no answer: empty, a placeholder, a copy of the task, or a loop.

Published instruction data holds all of these, because its makers filtered instructions only; AlpacaDataCleaned lists
what was found. English and Chinese are treated alike. A truncated answer is none of this filter's business: the stage
sees it in the finish reason.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence

from selfinstruct import parsing
from selfinstruct.protocols import Drop
from selfinstruct.schema import TaskInstance
from selfinstruct.similarity import loops
from selfinstruct.similarity.loops import CJK, GRAM, HANZI, WORD, grams

_PIECE = re.compile(rf"[{CJK}]|[^\W_{CJK}]+")
_EMPTY_FENCE = re.compile(r"```(?:\S+\n)?\s*```")
_STRAY = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffd]|\r(?!\n)")

# These three are held against the folded output: letters and digits only, without case.
_NO_ANSWER = re.compile("na|none(?:given)?|not(?:applicable|available)|[无無]|不[适適]用|[暂暫][无無]|未提供")
_PLACEHOLDER = re.compile(
    "no(?:output|input|answer)(?:given|provided|required|needed|available)?"
    "|(?:[无無][需须須]?|[没沒]有|不需要|[暂暫][无無])(?:[输輸][出入]|回?答案?|[内內]容|[数數][据據]|信息|[资資][讯訊])"
    "|(?:[内內]容|答案|此[处處]|以下)?(?:省略|略去?)(?:若干字|[内內]容)?"
    "|[请請]?在?此[处處]?(?:[填输輸][写寫入]|插入|粘[贴貼]|添加|[写寫]下?)(?:[您你]的?|相[关關]|具[体體])?"
    "(?:[输輸]出|答案|回答|[内內]容|文[字本]|信息|正文)?"
)
_IN_BRACKETS = re.compile(
    "(?:insert)?(?:your)?(?:output|answer|response)(?:here)?|placeholder|blank|empty|[请請]?(?:在此)?(?:[输輸]入)?(?:[输輸]出|答案|回答)"
    "|待[补補]充|待填[写寫]?|待定|空白?|[您你]的(?:答案|回答)"
)
_BRACKETS = re.compile(r"[\[<({【《（].*[\])}>】》）][.:。：]?")
_LEFT_OUT = re.compile(r"[（(【\[][^（()）【\]]{0,6}此[处處]省略[^（()）【\]]{0,12}[）)】\]]")
_TAGGED_NONE = re.compile(r"[<＜]\s?(?:no\s?output\b|[无無][输輸]出)", re.IGNORECASE)  # and then why
_LONGEST_PLACEHOLDER = 60

COPIED = 8
"""So many words in a row are not found twice by chance; in 74 outputs of the embedded model they meant a copy."""

COPIED_CHARACTERS = 12
"""So many Chinese characters say as much: 30 random outputs shared 8 in a row with 44 of 8 000 others, 12 with 3."""


class OutputChecks:
    """Refuses an example by its output; the first rule that fails is the reason.

    * ``empty_output``: nothing visible, or a code fence with nothing in it.
    * ``control_characters``: NUL and other control characters except tab and line ends, or U+FFFD, the mark of broken
      decoding. These are looked for in the input as well.
    * ``not_available``: the whole output, whatever its case and punctuation, is "N/A", "none", "no output",
      "[your answer]", 略, 无需输出, 请在此处填写答案 and the like; or a part of it, in brackets, is said to be left out
      (此处省略). Where the task is a classification, "none", "N/A" and 无 may be labels and are kept.
    * ``echo``: the output is the input again, letter for letter, or the instruction again, whatever the case and
      punctuation. The input is compared strictly because of tasks such as "add the missing commas". A single word is
      never an echo.
    * ``refusal``: the whole output declines, in the words assistants use.
    * ``demo_copy``: `COPIED` words in a row, or `COPIED_CHARACTERS` characters of Chinese, are those of one of the
      ``worked_examples`` that the prompts show, and the task does not hold them itself. Small models hand their
      examples back.
    * ``too_few_words``: fewer than ``min_words`` words, where a Chinese character, kana or hangul syllable is a word.
      Labels count too: leave it at 0, the default, where classification tasks are wanted.
    * ``ngram_loop``: a phrase is said over and over, see `loops.phrase_loop`, whose rule keeps tables, code and
      refrains. With ``max_ngram_repeats`` set, also any four words in a row that occur more often than that (1: none
      may occur twice), wherever they stand; this is meant for small models and costs honest texts.
    """

    def __init__(
        self, min_words: int = 0, max_ngram_repeats: int | None = None, worked_examples: Sequence[str] = ()
    ) -> None:
        self.min_words = min_words
        self.max_ngram_repeats = max_ngram_repeats
        self._shown = {run for text in worked_examples for run in _copyable(text)}

    def check(self, record: TaskInstance) -> Drop | None:
        """Why the output is no answer, or None."""
        return (
            _unreadable(record)
            or _no_answer(record)
            or _declined(record)
            or self._copy(record)
            or self._too_few(record)
            or self._loop(record)
        )

    def admit(self, record: TaskInstance) -> TaskInstance:
        """The record as it came: these rules remember nothing."""
        return record

    def _copy(self, record: TaskInstance) -> Drop | None:
        if not self._shown:
            return None
        copied = self._shown.intersection(_copyable(record.output))
        given = set(_copyable(f"{record.instruction} {record.input}")) if copied else set()
        return Drop("demo_copy", " ".join(min(copied - given))) if copied - given else None

    def _too_few(self, record: TaskInstance) -> Drop | None:
        count = len(WORD.findall(record.output)) if self.min_words else 0
        if count < self.min_words:
            return Drop("too_few_words", f"{count} words, at least {self.min_words}")
        return None

    def _loop(self, record: TaskInstance) -> Drop | None:
        if loop := loops.phrase_loop(record.output):
            return Drop("ngram_loop", f"{loop.times} times: {loop.said}")
        pieces = _PIECE.findall(
            loops.unlisted(record.output)
        )  # finer than words, so that "that's" and "that is" do not hide a repeat
        if self.max_ngram_repeats is not None and len(pieces) >= GRAM:
            gram, count = Counter(grams(pieces, GRAM)).most_common(1)[0]
            if count > self.max_ngram_repeats:
                return Drop("ngram_loop", f"{count} times: {' '.join(gram)}")
        return None


def _unreadable(record: TaskInstance) -> Drop | None:
    visible = "".join(char for char in record.output if unicodedata.category(char) != "Cf").strip()
    if not visible or _EMPTY_FENCE.fullmatch(visible):
        return Drop("empty_output")
    for field in ("output", "input"):
        if stray := _STRAY.search(getattr(record, field)):
            return Drop("control_characters", f"U+{ord(stray.group()):04X} in the {field}")
    return None


def _no_answer(record: TaskInstance) -> Drop | None:
    output = html.unescape(record.output.strip())  # a page's "&lt;noinput&gt;" is a tag, too
    if left_out := _LEFT_OUT.search(output):
        return Drop("not_available", left_out.group())
    if output == record.input.strip() and len(WORD.findall(output)) > 1:
        return Drop("echo", "of the input")
    if len(output) > max(_LONGEST_PLACEHOLDER, 2 * len(record.instruction)):
        return None
    if _TAGGED_NONE.match(output):
        return Drop("not_available", output)
    folded = _folded(output)
    if _PLACEHOLDER.fullmatch(folded) or (_BRACKETS.fullmatch(output) and _IN_BRACKETS.fullmatch(folded)):
        return Drop("not_available", output)
    sodium = output.strip(".") == "Na"
    if _NO_ANSWER.fullmatch(folded) and not record.is_classification and not sodium:
        return Drop("not_available", output)
    if len(WORD.findall(output)) > 1 and folded == _folded(record.instruction):
        return Drop("echo", "of the instruction")
    return None


def _declined(record: TaskInstance) -> Drop | None:
    return Drop("refusal", record.output.strip()[:80]) if parsing.is_refusal(record.output) else None


def _folded(text: str) -> str:
    """Letters and digits only, without case: "N/A." and "n a" are the same."""
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", text).casefold())


def _copyable(text: str) -> Iterator[tuple[str, ...]]:
    """Every run of words, or of characters where most are Chinese, that is long enough to show a copy."""
    words = _words(text)
    for length, in_chinese in ((COPIED, False), (COPIED_CHARACTERS, True)):
        for run in grams(words, length):
            if (2 * sum(map(bool, map(HANZI.match, run))) >= length) is in_chinese:
                yield run


def _words(text: str) -> list[str]:
    return WORD.findall(text.casefold())
