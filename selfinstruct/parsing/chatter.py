"""What models say around the thing they were asked for: greetings, announcements, apologies, good wishes.

Every function judges one line (or one paragraph) by how it begins. They are asked only about text that stands where
chatter stands, before the first marker or after the last one: a task may well begin "Here is a list of words".
"""

from __future__ import annotations

import re
from typing import Final

from selfinstruct.parsing.markup import bare

_READY: Final = re.compile(
    r"(?:sure(?: thing)?|certainly|of course|absolutely|definitely|ok(?:ay)?|all ?right|got it|no problem|great"
    r"|(?:i(?:'m| am|'d be) )?(?:happy|glad) to help)\s*(?:[!,.:—–]|$)"
    r"|(?:好(?:的|呀|嘞)?|当然(?:可以|没问题)?|没问题|可以|收到|明白了?)\s*(?:[，,！!。：:]|$)"
)
_THINGS: Final = r"(?:tasks?|instructions?|prompts?|assignments|activities|examples?|instances?|requests)"
_ANNOUNCES: Final = re.compile(
    rf"(?:here(?:'s| is| are)?|below|these|the (?:following|next|remaining)|following|as requested|continuing"
    rf"|i(?:'ve|'ll| have| will| can)|let me|let's)\b.{{0,120}}\b{_THINGS}\b.{{0,120}}[:：]"
    rf"|(?:here|below|these) are\b.{{0,120}}\b{_THINGS}\b.{{0,120}}[.!]"
    r"|(?:以下|下面|这里|这些|这是(?:新|补充|接下来|我?为)|接下来|我(?:来|再|继续)|为[您你](?:准备|补充|生成)).{0,60}(?:任务|指令|题目|例子|示例|样例).{0,30}[：:。]"
    r"|.{0,20}(?:任务|指令|题目|例子|示例|样例)如下\s?[：:。]?"
)
_HEADER: Final = re.compile(
    r"(?:(?:new|more|additional|further|next|remaining|generated|other|list of|series of) )*"
    rf"{_THINGS}(?: list)?\s?[:：]?"
    r"|(?:新增?的?|更多的?|补充的?|其他)?(?:任务|指令|示例|例子)(?:列表|清单)?\s?[：:]?"
)
_ECHO: Final = re.compile(
    r"(?:come up with|generate|create|write|give|provide|list|brainstorm|continue|想出|生成|写出|列出|继续)"
    r".{0,120}(?:tasks|instructions|prompts|任务|指令).{0,120}[:：]"
)
_APOLOGISES: Final = re.compile(
    r"i(?:'m| am) (?:really |very |so )?sorry|sorry\b|i apologi[sz]e|i (?:cannot|can't|won't)\b"
    r"|i(?:'m| am) (?:unable|not able)\b|(?:i appreciate|thank you for|thanks for)\b[^.!?]{0,80}\bbut "
    r"i(?: cannot| can't| won't|(?:'m| am) (?:unable|not able))\b|unfortunately, i\b"
    r"|as an ai\b.{0,60}\bi\b|the next task\b"
    r"|(?:很|非常)?抱歉|对不起|作为.{0,6}(?:ai|人工智能)"
)
_LEAVES: Final = re.compile(
    r"(?:please )?let me know\b|(?:i |we )?hope (?:this|these|that|it|you)\b|(?:please )?feel free\b|would you like\b"
    r"|do you (?:want|need)\b|is there anything\b|please note\b|note(?: that)?[*_]{0,3}\s?[:：]|disclaimer\b"
    r"|good luck\b"
    r"|if you(?:'d| would)? (?:need|like|want|have)\b.{0,120}\b(?:let me know|feel free|ask|tell me|help)\b"
    r"|(?:these|all (?:of )?these|the above|each of these) (?:are\b.{0,60}\b)?(?:tasks|instructions|prompts)\b"
    r"|(?:that|this) should (?:give|be|cover)\b.{0,80}\b(?:tasks|instructions|prompts|variety)\b|enjoy\s?[!.]*\Z"
    r"|i(?:'ve| have)? tried to (?:vary|mix|cover|include)\b|these (?:cover|span|vary)\b"
    r"|all of (?:them|these) can be\b.{0,80}\bmodel\b"
    r"|希望(?:这|以上|能|对)|如果(?:(?:你|您)(?:需要|还|想|有)|还需要)|如(?:有|需|还)|若(?:你|您)?(?:需要|还)|请注意|注意\s?[：:]"
    r"|以上(?:是|就是|这些|任务|指令)|(?:上述|这些)(?:任务|指令)|需要我(?:再|继续|为)|欢迎(?:随时|继续|告诉|补充)|祝(?:你|您)"
)
_SPEAKS_OF_EXAMPLES: Final = re.compile(
    r"(?:these|those|both|all|each|every|the (?:above|examples|labels|inputs)|this|i(?:'ve| have)?)\b"
    r".{0,120}\b(?:labels|classes|categories|examples|instances|inputs)\b|(?:以上|这些).{0,60}(?:标签|类别|示例|样例|例子)"
)
_OFFERS_EXAMPLES: Final = re.compile(
    r"(?:(?:please )?(?:let me know|feel free)|would you like|do you want|(?:i )?hope (?:this|these|the)|if you)\b"
    r".{0,120}\b(?:examples?|instances?)\b|(?:希望|如果|如需).{0,60}(?:示例|样例|例子)"
)


def _plain(line: str) -> str:
    """What the patterns are written for: no marks, one kind of apostrophe, lower case; the start is enough."""
    return bare(line[:400]).replace("’", "'").lower()


def is_greeting(line: str) -> bool:
    """True for a line that greets or announces ("Sure! Here are ten tasks:")."""
    plain = _plain(line)
    return bool(_READY.match(plain) or _ANNOUNCES.fullmatch(plain))


def is_opening(line: str) -> bool:
    """True for a line that leads to a list without being of it: a greeting, a bare heading ("Tasks:"), an apology."""
    return is_greeting(line) or is_apology(line) or _HEADER.fullmatch(_plain(line)) is not None


def is_echo(line: str) -> bool:
    """True for the header of a list of tasks, asked for anew ("Come up with a series of tasks:")."""
    return _ECHO.fullmatch(_plain(line)) is not None


def is_apology(line: str) -> bool:
    """True for a line that talks about not answering, or about the question instead of answering it."""
    return _APOLOGISES.match(_plain(line)) is not None


def is_closing(line: str) -> bool:
    """True for a line that takes leave ("Let me know if …", "I hope these help", "Note: …")."""
    return _LEAVES.match(_plain(line)) is not None


def is_closing_examples(line: str) -> bool:
    """True for a line that takes leave from examples in so many words ("Let me know if you want more examples!")."""
    return _OFFERS_EXAMPLES.match(_plain(line)) is not None


def speaks_of_examples(line: str) -> bool:
    """True for a line that takes leave, or that speaks of the examples above it ("These cover both labels.")."""
    return is_closing(line) or _SPEAKS_OF_EXAMPLES.match(_plain(line)) is not None
