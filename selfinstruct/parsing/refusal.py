"""Whether a whole answer only declines. Precise rather than broad: a false alarm would throw good data away.

A refusal speaks in the assistant's own voice, opens with not being able or willing to do *what was asked* ("that",
"your request", a harm named), and then only explains, or offers something else. A letter that declines an invitation, a
line of dialogue and a story have the opening words, but not the object, or go on about something else.
"""

from __future__ import annotations

import re
from typing import Final

from selfinstruct.parsing.markup import clean

_LONGEST: Final = 800  # characters; whoever writes more than that has answered something
_SORRY: Final = (
    r"(?:i(?:'m| am) (?:(?:really|very|so|truly) )?sorry|sorry|(?:my )?apologies|i apologi[sz]e(?: for [^.,]{1,40})?"
    r"|unfortunately|regrettably|i regret(?: to say)?(?: that)?|i(?:'m| am) afraid(?: that)?)"
    r"(?: but| however|[,.;:!—–-]{1,2}(?: ?but| however,?)?)? "
)
_AS_AI: Final = (
    r"as an? (?:[\w-]+ ){0,3}?(?:ai|artificial intelligence|language model|chatbot|assistant)\b[^.,]{0,60}, "
)
_CANNOT: Final = r"i(?: cannot| can't| can not| won't| will not|(?:'m| am) (?:unable|not (?:able|allowed)) to) "
_THING: Final = (
    r"(?:(?:that|this|it)(?= ?(?:[.!,;—–]|\Z|because|since|as\b|at this time|right now|due to))"
    r"|(?:with )?(?:(?:your|this|that|the|these|those|any|such|an?) )?(?:[\w-]+ ){0,2}?"
    r"(?:requests?|quer(?:y|ies)|prompts?|(?:kind|type|sort)s? of (?:\w+ )?"
    r"(?:task|request|content|question|material|text|information)s?)\b"
    r"|(?:this|that|your|these|such) (?:[\w-]+ )?(?:tasks?|questions?|instructions?|content)\b)"
)
_SERVES: Final = (
    r"(?:help|assist|provide|give|offer|share|create|generate|write|produce|discuss|answer|complete|do|support|explain"
    r"|fulfil+|comply|carry out|respond|address|accommodate|perform|engage|continue|participate)"
)
_ACTS: Final = (
    rf"(?:(?:help|assist)(?: you)?(?: (?:with|in|on) {_THING}|(?= ?(?:[.!;]|\Z)))"
    rf"|comply(?: with {_THING}|(?= ?(?:[.!;]|\Z)))|(?:respond|engage|participate|continue)(?: (?:to|in|with)) {_THING}"
    rf"|(?:fulfil+|complete|carry out|answer|address|accommodate|perform|do|support|provide|give|offer|share|create"
    rf"|generate|write|produce|discuss)(?: you)? {_THING}"
    rf"|{_SERVES}\b[^.\n\"]{{0,120}}\b(?:harm(?:s|ful|ing)?|hat(?:e|eful)|violen(?:t|ce)|illegal|offensive|explicit"
    r"|discriminat\w+|sexual|weapons?|bombs?|explosives|dangerous|malware|inappropriate|unethical)\b)"
)
# An AI that says so may lack an ability instead of declining an object.
_LACKS: Final = (
    rf"(?:{_CANNOT}(?:{_SERVES}|access|browse|open|see|view|hear|feel|taste|experience|have|form|express|engage|make"
    r"|perform|draw|play|watch|listen|send|recommend|predict|diagnose|prescribe)\b"
    r"|i (?:do not|don't) (?:have|possess|experience)\b)"
)
_DECLINES: Final = re.compile(
    rf"(?:{_SORRY})?(?:{_AS_AI}{_LACKS}|{_CANNOT}{_ACTS}"
    rf"|i (?:must|have to|need to) (?:respectfully |politely )?decline (?:to {_SERVES}|{_THING})"
    r"|(?:that|this|it)(?:'s| is) (?:not )?something i (?:cannot|can't|can|am not able to) (?:help|assist)"
    r"(?: you)? with)"
)
_DECLINES_ZH: Final = re.compile(
    r"(?:(?:我)?(?:很|非常)?(?:抱歉|对不起|遗憾)[，,。]?\s?(?:但是?)?(?:作为.{2,20}[，,])?|作为.{0,8}(?:ai|人工智能|语言模型).{0,16}?[，,]?)"
    r"我(?:无法|不能|没有办法|没有能力)(?:为您|为你|向您|向你)?"
    r"(?:提供|协助|回答|满足|执行|生成|完成(?:这|该|此|您|你)|(?:帮助|帮)(?:您|你)?(?:这|解决|完成|[。！]|\Z)|浏览|访问)"
)
# What stands behind the refusal in a refusal: the reason, or an offer.
_TALK: Final = re.compile(
    r"\b(?:your?|please|ai|assistant|model|help|assist|requests?|guidelines|polic(?:y|ies)|harmful|illegal|unethical"
    r"|inappropriate|designed|programmed|trained|legal|law|laws|safety|content|violates?|against)\b|您|你|请|如果"
)
_DELIVERS: Final = re.compile(
    r":\s*\n|\n\s*(?:[-*•]|\d{1,2}[.)])\s|```|\bhere(?:'s| is| are)\b|\bhowever, (?!i\b|if\b|please|feel free|you\b)"
    r"|\bbut (?!i\b|if\b|please|feel free|as\b|we\b)|以下|但是?(?!我|如果|请|您|你)"
    r"|[,\"”] ?(?:\w+ ){0,2}(?:said|says|thought|replied|whispered|muttered|answered|sighed|explained|told|shouted)\b"
    r"|\n(?:yours|regards|best regards|kind regards|sincerely|best wishes|love|cheers|thanks)\b|\ndear "
)
_SENTENCE_END: Final = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])|\n+")


def is_refusal(text: str) -> bool:
    """True for an answer that as a whole only declines: "I'm sorry, but I can't help with that."

    An answer that declines and then delivers after all is none, nor is a text in which somebody declines something:
    a letter, a dialogue, a story, advice on how to say no.
    """
    if len(text) > _LONGEST:
        return False
    plain = clean(text).replace("’", "'").strip(" \n\t*_`").lower()
    said = " ".join(plain.split())
    declines = _DECLINES.match(said) or _DECLINES_ZH.match(said)
    if not declines or _DELIVERS.search(plain):
        return False
    further = _SENTENCE_END.split(said[declines.end() :])[1:]
    return all(_TALK.search(sentence) for sentence in further if sentence.strip())
