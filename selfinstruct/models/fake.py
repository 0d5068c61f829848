"""A model that is a function: for tests, and behind ``--api fake`` for dry runs. Never a default, never data.

`FakeModel` turns what a function says into the bytes a server would send, and reads them like any other answer.
`scripted_answer` is the function we ship: endless, in the language of the prompt, and marked as scripted in every text.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable

import orjson

from selfinstruct import wire
from selfinstruct.schema import Completion, Draw, Endpoint, Request

Answer = Callable[[Request], str | Completion | Exception]

_CHARACTERS_PER_TOKEN = 4  # a rule of thumb for English; no tokenizer is at hand


class FakeModel:
    """Answers with what ``answer`` returns for the request: a text, a whole `Completion`, or an exception to raise.

    A text ends before the request's first stop string, as a real one would.
    """

    def __init__(self, endpoint: Endpoint, answer: Answer) -> None:
        self._endpoint = endpoint
        self._answer = answer

    async def complete(self, request: Request) -> Completion:
        """What the function says; its exceptions, returned or raised, pass."""
        chat = wire.path(request) == wire.CHAT
        request = _readable(request)
        said = self._answer(request)
        if isinstance(said, Exception):
            raise said
        if isinstance(said, str):
            said = self._completion(request, said)
        return wire.completion(_as_sent(said, chat=chat), chat=chat)

    async def aclose(self) -> None:
        """Nothing to let go of."""

    def _completion(self, request: Request, text: str) -> Completion:
        ends = [text.find(stop) for stop in request.stop if stop in text]
        text = text[: min(ends, default=len(text))]
        return Completion(
            text=text,
            finish_reason="stop",
            model=self._endpoint.model,
            prompt_tokens=1 + len(_shown(request)) // _CHARACTERS_PER_TOKEN,
            completion_tokens=1 + len(text) // _CHARACTERS_PER_TOKEN,
        )


def _readable(request: Request) -> Request:
    """A request that came as a body, with the prompt or the messages that stand in it."""
    if request.body is None or request.prompt is not None or request.messages is not None:
        return request
    body = orjson.loads(request.body)
    return Request(draw=request.draw, prompt=str(body.get("prompt", body.get("messages"))))


def _as_sent(said: Completion, *, chat: bool) -> bytes:
    """The body a server would have sent for this completion."""
    message = {"role": "assistant", "content": said.text, "reasoning_content": said.reasoning or None}
    choice = {"message": message} if chat else {"text": said.text}
    usage = {"prompt_tokens": said.prompt_tokens, "completion_tokens": said.completion_tokens}
    answer = {"model": said.model, "choices": [choice | {"finish_reason": said.finish_reason}], "usage": usage}
    return orjson.dumps(answer)


def _shown(request: Request) -> str:
    """Everything the model gets to read."""
    return request.prompt or "\n".join(message.content for message in request.messages or ())


# --- the shipped script -------------------------------------------------------------------------------------------

_NEW_TASKS = 7
_WHOLE_TASKS = 5
_FIRST_NEW = 4  # after the three demos Alpaca shows

# One phrase of each column makes an instruction: 24^5, about eight million. The phrases have hardly a word in common,
# so two instructions are as similar (ROUGE-L) as the share of the phrases they share. In Chinese 20^5, three million.
_COLUMNS = tuple(
    tuple(phrase.strip() for phrase in column.split("/"))
    for column in (
        """Explain briefly/Compare honestly/Summarise fairly/Rank carefully/Question politely/Defend calmly/
        Outline first/Rehearse aloud/Translate loosely/Invent freely/Estimate roughly/Criticise gently/
        Illustrate plainly/Contrast sharply/Predict boldly/Retell slowly/Justify fully/Simplify further/
        Advertise cheerfully/Paraphrase twice/Investigate quietly/Review strictly/Imagine vividly/Narrate backwards""",
        """how lighthouses warned ships/why bread dough rises/what bees remember/three chess openings/
        seven Nordic proverbs/two rival bakeries/ancient tax laws/modern tram tickets/my grandmother's garden/
        compound interest rates/lunar eclipse superstitions/recycled glass bottles/homemade ginger lemonade/
        jury duty excuses/forgotten radio serials/early printing presses/migrating arctic terns/urban noise limits/
        apprentice carpenters' mistakes/silent film comedians/school lunch budgets/volcanic island soils/
        winter bicycle maintenance/county fair pumpkins""",
        """for retired sailors/to curious toddlers/with sceptical accountants/before nervous graduates/
        among night nurses/near stranded tourists/at amateur astronomers/like seasoned beekeepers/
        through busy commuters/facing impatient landlords/beside homesick exchange students/without expert farmers/
        under watchful librarians/toward rookie firefighters/alongside deaf musicians/past weary referees/
        against stubborn neighbours/from novice potters/behind hungry hikers/opposite shy violinists/
        between feuding cousins/inside overworked kitchens/across distant villages/around lonely shepherds""",
        """using only questions/in ninety words/as numbered steps/over four stanzas/by telegram/via dialogue/
        avoiding adjectives entirely/citing imaginary witnesses/mixing humour generously/quoting no celebrities/
        ending each line differently/starting every sentence alike/keeping verbs present/adding one footnote/
        leaving room for doubt/naming five examples/giving both sides/measuring everything twice/
        sounding slightly old-fashioned/staying under budget/rhyming whenever possible/repeating nothing/
        admitting gaps openly/converting metric units""",
        """and close hopefully/then invite replies/plus list risks/but skip introductions/yet remain neutral/
        so children laugh/while dates stay vague/because Monday looms/although evidence conflicts/
        unless someone objects/until patience ends/if weather permits/when asked again/once agreement exists/
        lest trust erodes/since deadlines slipped/though money matters/whereas rivals boast/provided sources exist/
        hence warn readers/otherwise stop early/thus persuade voters/instead praise teamwork/meanwhile thank donors""",
    )
)


_CHINESE_COLUMNS: tuple[tuple[str, ...], ...] = tuple(
    tuple("".join(words.split()).split("/"))
    for words in (
        """趁着开会前的空当，/下班路上，/赶集那天早晨，/等水烧开的工夫，/运动会前一晚，/刚搬完家，/班车晚点的时候，/过了小满，/
        快到重阳节了，/店里没有客人时，/饭后散步时，/值班室里，/晾完衣服，/航班取消以后，/开学第二周，/排队挂号时，/
        在茶馆坐定，/台风过境之后，/年终盘点前，/孩子睡着以后，""",
        """给退休的船长/替刚搬来的邻居/为小区里的孩子们/给值夜班的护士/替备考的表妹/为村口的裁缝/给新来的快递员/替爱下棋的爷爷/
        为早餐店老板娘/给乡镇中学的老师/替守林的老张/为第一次坐高铁的外婆/给养蜂人/替社区图书馆/为夜市摊主/给修自行车的师傅/
        替合唱团团长/为渔港的年轻人/给茶园主人/替城南的木匠""",
        """写一段开场白/拟五条建议/编一个小故事/列一张清单/讲清楚一个道理/起三个名字/写一封短信/设计一份日程/
        比较两种做法/解释一个误会/出一道谜语/改写一段说明/总结一次经历/想几个问题/介绍一件旧物/安排一次聚会/
        写四句顺口溜/算一笔小账/理一份步骤/回复一条留言""",
        """，主题是晒秋的稻谷/，主题是老城墙的砖/，主题是停电的夜晚/，主题是迷路的鸽子/，主题是腌咸菜的坛子/
        ，主题是雨后的操场/，主题是祖传的算盘/，主题是河边的渡口/，主题是第一场雪/，主题是修好的收音机/，主题是菜园里的蜗牛/
        ，主题是断了线的风筝/，主题是凌晨的豆浆/，主题是褪色的年画/，主题是楼顶的月季/，主题是错过的末班车/，主题是山里的回声/
        ，主题是换季的旧毛衣/，主题是门前的枇杷树/，主题是桥下的龙舟""",
        """，语气要俏皮/，别超过九十字/，按时间先后来写/，多用短句/，结尾留个悬念/，不用任何形容词/，最好押韵/，写得郑重一些/
        ，让孩子也听得懂/，正反两面都说到/，开头先道个歉/，顺便提醒注意防潮/，带上两个比喻/，像聊天一样/，每句都用疑问/
        ，分成三小段/，只说最要紧的/，把数字写成汉字/，留出商量的余地/，别提钱的事""",
    )
)
_HAN = re.compile("[\u4e00-\u9fff]")


def scripted_answer(request: Request) -> str:
    """What ``--api fake`` says: a function of the request's draw, and of its prompt only in language and beginning.

    For ``classify`` yes or no, for ``instances`` one worked example, for ``alpaca`` and ``belle`` five whole tasks, for
    ``topics`` and ``openers`` as many items as are asked for, for ``dialogue`` a turn; for any other stage a list of
    seven instructions. In Chinese where the prompt is.
    """
    match request.draw.stage:
        case "classify":
            yes, no = ("是", "否") if _is_chinese(request) else ("Yes", "No")
            return yes if _number(request.draw, "verdict") % 2 else no
        case "instances":
            return _scripted_example(request)
        case "alpaca" | "belle":
            return _scripted_tasks(request)
        case "topics" | "openers":
            return _scripted_items(request)
        case "expand":
            return _instruction(request, 0)
        case "dialogue":
            return _instruction(request, 0) if request.draw.step % 2 else _scripted_texts(request, "turn")[1]
        case _:
            return _scripted_list(request)


def _scripted_list(request: Request) -> str:
    """Seven instructions, numbered on from the last in the prompt; its tag is not said again where it is left open."""
    shown = _shown(request).rstrip()
    last = int((re.findall(r"(?m)^<task (\d+)>", shown) or [0])[-1])
    left_open = shown.endswith(f"<task {last}>")
    first = last if left_open else last + 1
    lines = [f"<task {number}> {_instruction(request, number)}" for number in range(first, first + _NEW_TASKS)]
    return "\n".join(lines).removeprefix(f"<task {first}>" if left_open else "")


def _scripted_items(request: Request) -> str:
    """A numbered list up to the number that is the stop; the first number is not said again where it is left open."""
    count = int((re.findall(r"\d+", " ".join(request.stop)) or [_NEW_TASKS + 1])[-1]) - 1
    words = 2 if request.draw.stage == "topics" else len(_COLUMNS)
    lines = [f"{number}. {_instruction(request, number, words)}" for number in range(1, count + 1)]
    return "\n".join(lines).removeprefix("1." if _shown(request).rstrip().endswith("\n1.") else "")


def _scripted_tasks(request: Request) -> str:
    """Five whole tasks, every second one with an input: as JSON where a schema asks for it, else in Alpaca's blocks."""
    tasks = [_scripted_task(request, number) for number in range(_WHOLE_TASKS)]
    shown = _shown(request).rstrip()
    if request.answer_schema is not None:
        lines = ",\n".join(orjson.dumps(task).decode() for task in tasks)
        return f"{lines}\n]}}" if shown.endswith(",") else f'{{"tasks": [{lines}]}}'
    names, colon = (
        (("指令", "输入", "输出"), "：") if _is_chinese(request) else (("Instruction", "Input", "Output"), ":")
    )
    blocks = []
    for number, task in enumerate(tasks, _FIRST_NEW):
        heads = [f"{number}. {name}{colon}" for name in names]
        parts = (task["instruction"], task["input"] or "<noinput>", task["output"])
        blocks.append("\n".join(f"{head} {part}" for head, part in zip(heads, parts, strict=True)))
    opening = blocks[0].partition(colon)[0] + colon
    return "\n###\n".join(blocks).removeprefix(opening if shown.endswith(opening) else "")


def _scripted_task(request: Request, number: int) -> dict[str, str]:
    given, answer = _scripted_texts(request, str(number))
    return {"instruction": _instruction(request, number), "input": given if number % 2 else "", "output": answer}


def _scripted_example(request: Request) -> str:
    """One example in the order of the prompt's tags, continuing the tag that is left open."""
    shown = _shown(request).rstrip()
    given, answer = _scripted_texts(request, "")
    parts = {"label": "scripted", "input": given} if "<label>" in shown else {"input": given, "output": answer}
    opening = f"<example 1>\n<{next(iter(parts))}>"
    example = "<example 1>\n" + "\n".join(f"<{tag}>\n{text}" for tag, text in parts.items())
    return example.removeprefix(opening if shown.endswith(opening) else "")


def _scripted_texts(request: Request, number: str) -> tuple[str, str]:
    """An input and an output, each with a mark of its draw."""
    mark = f"{_number(request.draw, f'example{number}') % 16**6:06x}"
    if _is_chinese(request):
        return f"这段输入是脚本写的，编号{mark}。", f"这段输出是脚本写的，编号{mark}。"
    return f"This input is scripted, number {mark}.", f"This output is scripted, number {mark}."


def _instruction(request: Request, number: int, columns: int = len(_COLUMNS)) -> str:
    """One phrase of each of the first columns, chosen by the draw."""
    chinese = _is_chinese(request)
    choice = _number(request.draw, str(number))
    phrases = []
    for column in (_CHINESE_COLUMNS if chinese else _COLUMNS)[:columns]:
        choice, place = divmod(choice, len(column))
        phrases.append(column[place])
    return f"{''.join(phrases)}（脚本）。" if chinese else f"{' '.join(phrases)} (scripted)."


def _is_chinese(request: Request) -> bool:
    return _HAN.search(_shown(request)) is not None


def _number(draw: Draw, what: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{draw} {what}".encode()).digest(), "big")
