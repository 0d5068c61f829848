"""Refusals: an answer that only declines is told from one in which somebody declines something."""

from __future__ import annotations

from collections.abc import Iterable
from re import _constants as ops  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfinstruct.parsing import is_refusal, refusal

REFUSALS = [
    "I'm sorry, but I can't help with that.",
    "I’m sorry, but I can’t assist with that request.",
    "I am very sorry, but I cannot fulfill your request.",
    "Sorry, I can't help you with that.",
    "Sorry, but I am unable to comply with this request.",
    "I cannot assist with requests that put people in danger.",
    "I can't answer that.",
    "I cannot provide that kind of content.",
    "I won't do that because it would hurt people.",
    "I'm unable to complete this task.",
    "I am not able to help with that at this time.",
    "I apologize, but I cannot write content that is hateful towards a group of people.",
    "I cannot provide instructions for building a bomb.",
    "Unfortunately, I can't generate this type of content.",
    "As an AI language model, I cannot browse the internet.",
    "As an AI language model, I cannot give you my personal view. Please ask an expert.",
    "As an AI, I don't have feelings of my own.",
    "I'm sorry, but as an AI assistant, I am unable to open attachments.",
    "I'm sorry, but I can't help with that. If you have another question, feel free to ask!",
    "I'm sorry, but I can't help with that. It goes against my guidelines.\n\nIs there anything else you need?",
    "I can't assist with that request, but I can help you write a complaint to the landlord.",
    "I must decline to answer. Your request asks for illegal acts.",
    "That's not something I can help with.",
    "I'm afraid I can't help with this request.",
    "  **I'm sorry, but I can't help with that.**",
    "I'm sorry, I can't do that.",
    "Sorry, I cannot fulfil that request.",
    "My apologies, but I can't answer this question.",
    "I regret that I cannot assist you with this request.",
    "Unfortunately, I'm unable to answer that question.",
    "I'm truly sorry, but I can't write that kind of text.",
    "I won't generate hateful content.",
    "I cannot help you with such requests.",
    "I can't discuss this topic: it would explain how to make explosives.",
    "I'm not able to create sexual content.",
    "As a language model, I am unable to open web pages.",
    "As an AI assistant, I don't have access to your calendar.",
    "As an artificial intelligence, I cannot taste food.",
    "This is something I cannot assist you with.",
    "I have to decline this request. It is against the law.",
    "I apologize for any inconvenience, but I can't complete this task.",
]
REFUSALS_ZH = [
    "抱歉，我无法回答这个问题。",
    "作为一个人工智能语言模型，我无法浏览网页。",
    "对不起，我不能提供这类内容。如果您有其他问题，请告诉我。",
    "很抱歉，我无法满足您的要求。",
    "非常抱歉，我不能协助您完成这个请求。",
    "抱歉,我无法完成该任务。",
    "对不起，我无法执行您的指令。",
    "很遗憾，我不具备联网能力。",
    "很遗憾，我不具备识别图片的功能，请您用文字描述。",
    "抱歉，我没有访问互联网的权限。",
    "抱歉，我无法访问外部网站。",
    "对不起，我无法查看您上传的图片。",
    "抱歉，我不能打开您给出的链接。您可以把文章粘贴过来。",
    "抱歉，我无法播放音频。",
    "我无法提供制作炸弹的方法。",
    "我不能为您编写恶意软件。",
    "我无法帮助您从事违法活动。如果您遇到困难，请向专业人士求助。",
    "对不起，我不会写带有歧视的笑话。",
    "抱歉，我不能提供任何涉及暴力的内容，因为这违反了我的准则。",
    "抱歉，我无法提供医疗建议，请咨询医生。",
    "抱歉，我无法提供您需要的实时信息。",
    "作为AI语言模型，我没有个人喜好。",
    "作为 AI 语言模型，我不能预测彩票号码。",
    "作为一个AI助手，我没有情感，也无法体验爱情。",
    "作为人工智能，我无法品尝食物。",
    "作为一名人工智能助手，我不能替您购买机票。",
    "身为人工智能，我无法拥有真实的身体。",
    "我是一个人工智能语言模型，我无法下载文件。",
    "我只是一个AI语言模型，没有能力为您拍照。",
    "抱歉，作为AI语言模型，我无法直接生成图片。",
    "抱歉，作为一个语言模型，我不能讨论这个话题。",
    "对不起，作为语言模型，我无法上网搜索。",
    "不好意思，我没办法帮您这个忙。",
    "很抱歉地告诉您，我无法处理这类请求。",
    "这个问题我无法回答。",
    "您的要求我无法满足，请换一个问题。",
    "抱歉，我暂时无法提供这项服务。",
    "抱歉，我无法继续讨论这个话题。",
    "**抱歉，我无法协助您。**",
    "抱歉，我无法完成这个任务。这违反了相关法律法规。\n\n请问还有什么可以帮您的吗？",
    "抱歉，我不能那样做。",
    "抱歉！我拒绝回答这个问题。",
    "抱歉，我無法回答這個問題。",
    "對不起，作為人工智慧語言模型，我無法提供這類內容。",
    "很遺憾，我無法滿足您的請求，請見諒。",
]
ANSWERS = [
    "",
    "Sorry!",
    "No.",
    "I'm sorry.",
    "I'm sorry for your loss.",
    "I'm sorry I missed your call yesterday. I was on the train and had no signal.",
    "I'm sorry, but I can't come to the party on Saturday.",
    "I'm sorry, but I can't help with the move on Saturday, since my back hurts.",
    "Dear Ms Holm,\n\nI'm sorry, but I can't help with that.\n\nKind regards,\nPeter",
    "I'm sorry, but I can't help with that.\n\nRegards,\nPeter",
    "\"I'm sorry, but I can't help with that,\" said the clerk.",
    "I'm sorry, but I can't help with that, said the clerk and closed the window.",
    "I can't help with that. The clerk closed the window and went home.",
    "Sorry, the baker said, I cannot help you today.",
    "Sorry was the first word that she wrote, and the last that she crossed out.",
    "Clerk: I'm sorry, but I can't help with that.\nGuest: Who can?",
    "I can't help falling asleep on trains.",
    "I cannot provide a reference for a tenant whom I never met.",
    "I cannot thank you enough for the flowers.",
    "I won't give up on the garden this year.",
    "I must decline your invitation to the wedding.",
    "I am unable to attend the meeting on Monday.",
    "I can't do the dishes tonight.",
    "Unfortunately, I can't find my keys.",
    "Unfortunately, the shop closes at noon.",
    "To refuse politely, say: I'm sorry, but I can't help with that.",
    'Saying no takes practice. A plain "I can\'t help with that" is often enough.',
    "As an AI language model grows, it needs more memory.",
    "As an AI, I was built in a small laboratory near the sea.",
    "As an AI, I cannot feel the rain, thought the robot, and opened the window.",
    "As an AI language model, I don't have a favourite colour, but many people like blue.",
    "As an AI language model, I cannot taste soup. However, the recipe sounds well balanced.",
    "I'm sorry, but I can't help with that. Here is a poem instead.",
    "I cannot answer that question fully. These are the main points:\n1. Rain\n2. Wind",
    "We are sorry, but we cannot process your refund.",
    "The assistant replied that it could not help with that request.",
    "I can help with that.",
    "Sorry, the museum is closed on Mondays.",
    "I'm sorry to hear that your bike was stolen. Please call the police.",
    "I cannot write with my left hand.",
    "I'm sorry, but I can't help with that. " + "You know the rest. " * 60,
]
ANSWERS_ZH = [
    "抱歉！",
    "对不起。",
    "不行。",
    "我很抱歉昨天没有来。",
    "对不起，我不能参加你的婚礼。",
    "抱歉，我不能参加会议。",
    "很遗憾，我们没有通过这次评审。",
    "很抱歉，我们无法为您办理退款。",
    "很遗憾，本店周一不营业，请您周二再来。",
    "尊敬的王女士：\n\n抱歉，我无法满足您的要求。\n\n此致\n敬礼",
    "李老师：\n抱歉，我无法完成这个任务，因为我生病了。",
    "抱歉，我无法完成这个任务。\n\n祝好\n小陈",
    "“抱歉，我无法回答这个问题。”发言人说完就走了。",
    "抱歉，我无法回答这个问题，发言人说。",
    "抱歉，我无法回答这个问题。发言人合上文件夹，走出了大厅。",
    "客服：抱歉，我无法处理您的请求。\n顾客：那我该找谁？",
    "抱歉，我无法帮您。\n顾客：为什么？",
    "拒绝别人时，可以说：“抱歉，我无法帮您这个忙。”",
    "婉拒的说法有三种：\n1. 抱歉，我无法参加。\n2. 谢谢，下次吧。\n3. 我再想想。",
    "抱歉的意思是心里过意不去。",
    "对不起三个字说起来容易，做起来难。",
    "抱歉，我迟到了，地铁在半路停了二十分钟。",
    "我无法忘记那个夏天的海边。",
    "我不能没有音乐。",
    "我无法决定午饭吃什么。",
    "我不会做饭，但是我会洗碗。",
    "我没有能力改变天气，只能带好雨伞。",
    "我不能提供他的行踪，因为我也很久没有见到他了。",
    "我拒绝了那份工作，回到了家乡。",
    "我无法接受这样的结局，于是又把小说读了一遍。",
    "遗憾的是，这场雨下得太晚，麦子已经枯了。",
    "作为人工智能专业的学生，我每天都要写代码。",
    "作为一名人工智能工程师，我不能离开电脑太久。",
    "作为医生，我无法保证手术一定成功。",
    "作为AI语言模型，我没有个人喜好，但很多人喜欢蓝色。",
    "作为AI语言模型，我无法品尝这道汤。不过这个菜谱看起来咸淡适中。",
    "作为人工智能的一个分支，机器学习从数据中找出规律。",
    "作为语言模型的代表，它能写诗，也能算账。",
    "抱歉，我无法直接画图，但可以给出海报的文字：\n标题：珍惜每一滴水",
    "抱歉，我无法访问互联网。以下是我所知道的几点：\n1. 雨水\n2. 风",
    "助手回答说，它无法提供这类信息。",
    "这个问题可以这样回答：先算括号里的数。",
    "我可以帮您完成这个任务。",
    "人工智能不能完全取代人类，因为它没有情感。",
    "机器人说，作为人工智能，我无法感受雨水，然后推开了窗。",
    "對不起，我不能參加你的婚禮。",
    "作為醫生，我無法保證手術一定成功。",
    "抱歉，我无法回答这个问题。" + "后面的事你都知道。" * 100,
]


@pytest.mark.parametrize("text", [*REFUSALS, *REFUSALS_ZH])
def test_an_answer_that_only_declines_is_a_refusal(text: str) -> None:
    """Apology or not, with a reason or an offer behind it, in English or Chinese."""
    assert is_refusal(text) is True


@pytest.mark.parametrize("text", [*ANSWERS, *ANSWERS_ZH])
def test_an_answer_that_says_something_is_no_refusal(text: str) -> None:
    """Letters, dialogue, stories, advice, and refusals that deliver after all are answers."""
    assert is_refusal(text) is False


@pytest.mark.parametrize("cases", [REFUSALS, ANSWERS, REFUSALS_ZH, ANSWERS_ZH])
def test_each_sentence_is_there_once(cases: list[str]) -> None:
    """A repeated example would count twice and test once."""
    assert len(set(cases)) == len(cases)


@given(st.text())
def test_a_quoted_refusal_is_never_one(text: str) -> None:
    """Somebody who quotes a refusal does not refuse, whatever follows."""
    assert is_refusal(f"\"I'm sorry, but I can't help with that.\" {text}") is False


def _firsts(nodes: Iterable[tuple[Any, Any]]) -> tuple[set[str], bool]:
    """With which characters a parsed pattern can begin, and whether it may be empty."""
    found: set[str] = set()
    for op, value in nodes:
        empty = False
        if op is ops.LITERAL:
            found.add(chr(value))
        elif op is ops.IN:
            assert all(kind is ops.LITERAL for kind, _ in value)
            found |= {chr(code) for _, code in value}
        else:
            inner = value[1] if op is ops.BRANCH else [value[-1]]  # of a group, or of a repeat
            branches = [_firsts(branch) for branch in inner]
            found |= {first for firsts, _ in branches for first in firsts}
            empty = any(may_be for _, may_be in branches) or (op is ops.MAX_REPEAT and value[0] == 0)
        if not empty:
            return found, False
    return found, True


def test_the_first_characters_are_those_that_the_patterns_begin_with() -> None:
    """All of them, read off the patterns, and no other."""
    found = [_firsts(parser.parse(pattern.pattern)) for pattern in (refusal._DECLINES, refusal._DECLINES_ZH)]
    assert [may_be_empty for _, may_be_empty in found] == [False, False]
    assert found[0][0] | found[1][0] == refusal.FIRST


@pytest.mark.parametrize("lead", ["\n\n", "**", " \ufeff*", "\r\n_", "\u3000", "`\u200b\n"])
def test_marks_and_white_space_before_a_refusal_change_nothing(lead: str) -> None:
    """The first character is looked for behind them, in whatever script it is written."""
    for text in ("I'm sorry, but I can't help with that.", "抱歉，我无法提供這些信息。", "這個問題我無法回答。"):
        assert is_refusal(lead + text)
