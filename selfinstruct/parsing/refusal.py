"""Whether a whole answer only declines. Precise rather than broad: a false alarm would throw good data away.

A refusal speaks in the assistant's own voice, opens with not being able or willing to do *what was asked* ("that",
"your request", a harm named), and then only explains, or offers something else. A letter that declines an invitation, a
line of dialogue and a story have the opening words, but not the object, or go on about something else.
"""

from __future__ import annotations

import re
from typing import Final

from selfinstruct.parsing.markup import clean, simplified

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

# --- the same in Chinese --------------------------------------------------------------------------------------------
_SORRY_ZH: Final = (
    r"(?:我?(?:真的|实在|很|非常|十分|感到|深感|深表)*(?:抱歉|对不起|遗憾|不好意思|歉意)(?:地?(?:告诉|告知|通知)(?:您|你))?"
    r"[，,。！!：:…]*(?:但是?|不过)?[，,]?)"
)
_AI_ZH: Final = (
    r"(?:(?:作为|身为)[^，,。]{0,8}?(?:ai|人工智能|人工智慧|语言模型|聊天机器人|虚拟助手|智能助手)(?:语言|大)?(?:模型|助手|助理|程序|系统|机器人)?"
    r"|我(?:只|仅)?是一(?:个|款|名|种)[^，,。]{0,4}?(?:ai|人工智能|人工智慧|语言模型)[^，,。]{0,8})[，,]"
)
_CANNOT_ZH: Final = (
    r"(?:目前|暂时|现在|还|并|也|是|都)*(?:无法|不能|不可以|不会|没有?办法|没有能力|不愿意?|不便|无权|拒绝)(?:直接|继续|够|再)?"
    r"(?:(?:为|给|向|帮|替|对|就)(?:您|你))?(?:直接)?"
)
_ACTS_ZH: Final = (
    r"(?:提供|协助|帮助|帮忙|帮|回答|解答|满足|执行|生成|完成|处理|回应|讨论|谈论"
    r"|编写|撰写|写出|写|创作|给出|遵从|遵守|参与|支持|接受|做|进行|分享|评论)"
)
_THING_ZH: Final = (
    r"(?:(?:您|你|这|该|此|那|任何|相关|有关|上述|涉及|关于)[^，,。；;！!？?]{0,24}?"
    r"(?:请求|要求|问题|提问|内容|任务|信息|资讯|指令|需求|操作|话题|材料|服务|事情|类型的?|忙)"
    r"|(?:个人|私人|实时|最新|医疗|医学|法律|投资|专业)[^，,。]{0,6}?(?:信息|资讯|建议|数据|意见|诊断|看法)"
    r"|(?:您|你)?(?:此事|这件事|这个|这些|此类|这一点|完成它?)?(?=[，,。！!；;]|\Z))"
)
_HARM_ZH: Final = (
    r"[^，,。；;！!？?]{0,30}(?:违法|非法|有害|暴力|色情|歧视|仇恨|危险"
    r"|武器|炸弹|炸药|爆炸|毒品|攻击性|不道德|不当|侵犯|伤害|诈骗|恶意|犯罪|黑客|自杀|木马|病毒程序)"
)
_UNABLE_ZH: Final = (
    r"(?:打开|查看|访问|浏览|看到|看见|读取|识别|播放|听到|获取|生成|绘制|连接)[^，,。]{0,10}?"
    r"(?:链接|网址|网页|网站|互联网|外部|图片|图像|图表|照片|音频|视频|实时|数据库|最新)"
)
_LACKS_ZH: Final = (  # an AI that says so may lack an ability instead of declining an object
    rf"(?:{_CANNOT_ZH}(?:{_ACTS_ZH}|浏览|访问|打开|查看|看|听|感受|感觉|体验|品尝|播放|绘|画|预测|诊断|推荐|获取|识别|拥有|表达|下载|发送|上网|联网|参加|购买|拍)"
    r"|(?:并|本身)?(?:没有|不具有|不拥有|不具备|不存在)(?:个人|自己|真实|真正|情感|感情|情绪|意识|主观|身体|实体|亲身|观点|看法|偏好|喜好|实时|访问|联网|上网|记忆|权限|能力|感官|视觉|味觉|生命|性别|任何))"
)
_DECLINES_ZH: Final = re.compile(
    rf"{_SORRY_ZH}?{_AI_ZH}(?:所以|因此)?我?{_LACKS_ZH}"
    rf"|(?:{_SORRY_ZH}我?|我){_CANNOT_ZH}(?:{_ACTS_ZH}(?:{_THING_ZH}|{_HARM_ZH})|(?:这样|这么|那样)做|{_UNABLE_ZH})"
    rf"|{_SORRY_ZH}?我(?:并|还|目前)?(?:不具备|没有)[^，,。]{{0,4}}"
    r"(?:联网|上网|访问|浏览|绘图|画图|绘画|图像|图片|视觉|识别|实时|生成|执行|处理)[^，,。]{0,12}(?:能力|功能|权限)"
    rf"|{_SORRY_ZH}?(?:这|这个|这类|您的|你的|该)(?:问题|请求|要求|任务|内容)[^，,。]{{0,10}}?[，,]?"
    r"我(?:无法|不能|没法)(?:回答|提供|满足|完成|协助|帮助|处理)(?=[，,。！!]|\Z)"
)
_HANZI: Final = r"[\u3000-\u303f\u4e00-\u9fff\uff00-\uff0f]"
_BESIDE_HANZI: Final = re.compile(rf" (?:(?<={_HANZI} )|(?={_HANZI}))")

# What stands behind the refusal in a refusal: the reason, or an offer.
_TALK: Final = re.compile(
    r"\b(?:your?|please|ai|assistant|model|help|assist|requests?|guidelines|polic(?:y|ies)|harmful|illegal|unethical"
    r"|inappropriate|designed|programmed|trained|legal|law|laws|safety|content|violates?|against)\b|您|你|请|如果"
    r"|(?<![a-z])ai(?![a-z])|人工智能|语言模型|助手|我的(?:能力|职责|功能|设计|程序|原则)|违法|违反|违背|道德|伦理|法律|法规|准则|政策|安全|有害|帮助|训练|能力|不支持"
)
_DELIVERS: Final = re.compile(
    r":\s*\n|\n\s*(?:[-*•]|\d{1,2}[.)])\s|```|\bhere(?:'s| is| are)\b|\bhowever, (?!i\b|if\b|please|feel free|you\b)"
    r"|\bbut (?!i\b|if\b|please|feel free|as\b|we\b)|以下(?:是|为)|如下"
    r"|(?>但是?|不过|然而)(?>[，,]?) ?(?!我|如果|请|您|你|作为)"
    r"|[:：]\s*\n|[:：]\s?[“「]|\n\s*\d{1,2}、|\n[^\n，。：]{1,8}："
    r"|[”」，。！]\s?[^，。！\n”]{0,8}?(?:说道?|(?<!无法)(?<!不能)回答道?|答道|心想|想道|叹道|喊道)(?=[，。：！]|\Z)"
    r"|此致|敬礼|祝好|顺颂|敬上|谨上|尊敬的|亲爱的"
    r"|[,\"”] ?(?:\w+ ){0,2}(?:said|says|thought|replied|whispered|muttered|answered|sighed|explained|told|shouted)\b"
    r"|\n(?:yours|regards|best regards|kind regards|sincerely|best wishes|love|cheers|thanks)\b|\ndear "
)
_SENTENCE_END: Final = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])|\n+")


_AROUND: Final = re.compile(r"[\s*_`\ufeff\u200b\u200e\u200f]*")
FIRST: Final = frozenset("aimrstu我不作你十实对很您感抱歉深真身这遗非该")
"""The characters with which a refusal can begin, so that most answers are told from one at once."""


def is_refusal(text: str) -> bool:
    """True for an answer that as a whole only declines: "I'm sorry, but I can't help with that."

    An answer that declines and then delivers after all is none, nor is a text in which somebody declines something:
    a letter, a dialogue, a story, advice on how to say no.
    """
    if len(text) > _LONGEST or _first(text) not in FIRST:
        return False
    plain = simplified(clean(text)).replace("’", "'").strip(" \n\t*_`").lower()
    said = _BESIDE_HANZI.sub("", " ".join(plain.split()))
    declines = _DECLINES.match(said) or _DECLINES_ZH.match(said)
    if not declines or _DELIVERS.search(plain):
        return False
    further = _SENTENCE_END.split(said[declines.end() :])[1:]
    return all(_TALK.search(sentence) for sentence in further if sentence.strip())


def _first(text: str) -> str:
    """The first character that is neither white space nor a mark around the text, as the patterns have it."""
    lead = _AROUND.match(text)
    start = lead.end() if lead else 0
    return simplified(text[start : start + 1]).lower()[:1]
