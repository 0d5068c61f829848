"""Executed checks of the Chinese seed tasks about tables and formats: outputs are parsed, not looked at."""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from datetime import datetime, timedelta, timezone

from tests.seeds.reading import cells_of


def check_group_buy_table(input: str, output: str) -> None:
    """The orders are added up by flat, notes are kept, money is bags times price, and the last row is the total."""
    title, *lines = input.split("\n")
    price = re.search(r"(\d+)元一袋", title)
    assert price
    bags: dict[tuple[str, str], int] = {}
    notes: dict[tuple[str, str], str] = {}
    for line in lines:
        order = re.fullmatch(r"\d+\. (\S+) (\S+) (?:再加)?(\d+)袋(?: (.+))?", line)
        assert order
        flat = (order[1], order[2])
        notes[flat] = "两次接龙合并" if flat in bags else order[4] or ""
        bags[flat] = bags.get(flat, 0) + int(order[3])
    header, rule, *rows, total = cells_of(output)
    assert header == ["序号", "房号", "称呼", "袋数", "金额（元）", "备注"]
    assert len(rule) == 6
    assert all(re.fullmatch(r"-{3,}:?", cell) for cell in rule)
    assert rows == [
        [str(number), *flat, str(count), str(count * int(price[1])), notes[flat]]
        for number, (flat, count) in enumerate(bags.items(), 1)
    ]
    everything = sum(bags.values())
    assert total == ["合计", "", "", str(everything), str(everything * int(price[1])), ""]


def check_excel_birthdate_formula(input: str, output: str) -> None:
    """Worked out as Excel does, the MID inside the TEXT turns an ID in A2 into its date of birth."""
    formula = re.fullmatch(r'=TEXT\(MID\(A2,(\d+),(\d+)\),"([-0]+)"\)', output)
    assert formula
    start, length, pattern = int(formula[1]), int(formula[2]), formula[3]
    for born in ("1990-05-01", "2008-12-31", "1969-10-20"):
        number = f"110101{born.replace('-', '')}001X"
        digits = iter(number[start - 1 : start - 1 + length].rjust(pattern.count("0"), "0"))
        shown = "".join(next(digits) if place == "0" else place for place in pattern)
        assert shown + "".join(digits) == born


def check_address_to_json(input: str, output: str) -> None:
    """The parsed values, put together again in order, are the message, and the keys are those asked for."""
    parcel = json.loads(output)
    assert list(parcel) == ["name", "phone", "province", "city", "district", "detail", "note"]
    assert "{name} {phone} {province}{city}{district}{detail}，{note}".format_map(parcel) == input
    assert re.fullmatch(r"1\d{10}", parcel["phone"])
    for key, ending in (("province", "省"), ("city", "市"), ("district", "区"), ("detail", "室")):
        assert parcel[key].endswith(ending)
        assert parcel[key].count(ending) == 1


def _menu_of(yaml: str) -> dict[str, dict[str, str | list[str]]]:
    """Read the small part of YAML that a menu needs: days, their keys, quoted texts and lists of plain words."""
    menu: dict[str, dict[str, str | list[str]]] = {}
    meals: dict[str, str | list[str]] = {}
    dishes: list[str] = []
    for line in yaml.split("\n"):
        if day := re.fullmatch(r"(\w+):", line):
            assert day[1] not in menu
            meals = menu[day[1]] = {}
        elif entry := re.fullmatch(r'  (\w+): (?:"([^"\\]*)"|\[\])', line):
            meals[entry[1]] = entry[2] if entry[2] is not None else []
        elif opened := re.fullmatch(r"  (\w+):", line):
            meals[opened[1]] = dishes = []
        else:
            dish = re.fullmatch(r"    - (\w+)", line)
            assert dish, line
            dishes.append(dish[1])
    return menu


def check_canteen_menu_yaml(input: str, output: str) -> None:
    """The YAML holds each day's dishes and its opening time as quoted text, which YAML 1.1 would read as a number."""
    wanted = {}
    for line in input.split("\n"):
        day = re.fullmatch(r"(周.) (\d\d:\d\d)开餐。荤：(.+)。素：(.+)。", line)
        assert day
        meat, greens = ([] if dishes == "无" else dishes.split("、") for dishes in (day[3], day[4]))
        wanted[day[1]] = {"开餐": day[2], "荤菜": meat, "素菜": greens}
    assert len(wanted) == 3
    assert _menu_of(output) == wanted


def _capitals(amount: str) -> str:
    """Write an amount below 100,000 yuan with jiao and fen as cheques do, digit by digit, runs of zeros as one 零."""
    yuan, cents = amount.split(".")
    text = ""
    for place, digit in zip(range(len(yuan) - 1, -1, -1), yuan, strict=True):
        text += "零壹贰叁肆伍陆柒捌玖"[int(digit)] + (" 拾佰仟万"[place].strip() if digit != "0" else "")
    text = re.sub("零+", "零", text).rstrip("零") + "元"
    jiao, fen = ("零壹贰叁肆伍陆柒捌玖"[int(digit)] for digit in cents)
    if cents == "00":
        return text + "整"
    return text + (jiao if jiao == "零" else f"{jiao}角") + ("" if fen == "零" else f"{fen}分")


def check_amount_in_capitals(input: str, output: str) -> None:
    """The amount is written out by rule, and reading the capitals digit by digit gives it back."""
    assert output == _capitals(input.removeprefix("￥"))
    places = {"万": 10**6, "仟": 10**5, "佰": 10**4, "拾": 1000, "元": 100, "角": 10, "分": 1}
    digits = re.findall("([壹贰叁肆伍陆柒捌玖])([万仟佰拾元角分])", output)
    fen = sum(("零壹贰叁肆伍陆柒捌玖".index(digit) * places[unit]) for digit, unit in digits)
    assert f"￥{fen / 100:.2f}" == input


_READINGS = {
    "银行": "yin2 hang2",
    "行李": "xing2 li5",
    "重复": "chong2 fu4",
    "长辈": "zhang3 bei4",
    "角色": "jue2 se4",
    "便宜": "pian2 yi5",
    "供给": "gong1 ji3",
    "处理": "chu3 li3",
}


def _marked(syllable: str) -> str:
    """Put the tone of a numbered syllable on its main vowel: a or e, the o of ou, else the last vowel."""
    letters, tone = syllable[:-1], int(syllable[-1])
    if tone == 5:
        return letters
    main = re.search("[ae]", letters) or re.search("o(?=u)", letters) or re.search("[aeiou](?=[^aeiou]*$)", letters)
    assert main
    combining = "\u0304\u0301\u030c\u0300"[tone - 1]
    return unicodedata.normalize("NFC", letters[: main.end()] + combining + letters[main.end() :])


def check_polyphone_pinyin(input: str, output: str) -> None:
    """Each word stands on a line with one syllable a character, toned as its reading in that word demands."""
    words = input.split("、")
    assert words == list(_READINGS)
    wanted = [f"{word} {' '.join(map(_marked, reading.split()))}" for word, reading in _READINGS.items()]
    assert output.split("\n") == wanted
    assert all(len(line.split(" ")) == len(word) + 1 for line, word in zip(wanted, words, strict=True))


def check_business_card_vcard(input: str, output: str) -> None:
    """The vCard has the properties version 3.0 demands, and its values, put together, are those of the card."""
    lines = output.split("\n")
    assert (lines[0], lines[1], lines[-1]) == ("BEGIN:VCARD", "VERSION:3.0", "END:VCARD")
    card = dict(line.split(":", 1) for line in lines[2:-1])
    assert len(card) == len(lines) - 3 == 8
    family, given, *rest = card["N"].split(";")
    assert (family + given, rest) == (card["FN"], ["", "", ""])
    box, extended, street, city, province, code, country = card["ADR;TYPE=WORK"].split(";")
    assert (box, extended, country) == ("", "", "")  # the card names no country
    assert input.split("\n") == [
        card["ORG"],
        f"{card['FN']}　{card['TITLE']}",
        f"手机：{card['TEL;TYPE=CELL']}",
        f"座机：{card['TEL;TYPE=WORK,VOICE']}",
        f"邮箱：{card['EMAIL;TYPE=INTERNET']}",
        f"地址：{province}{city}{street}（{code}）",
    ]
    assert family == "陈"


def check_unix_time_to_beijing(input: str, output: str) -> None:
    """The seconds since 1970, counted eight hours ahead of UTC, give the time."""
    beijing = timezone(timedelta(hours=8))
    shown = datetime(1970, 1, 1, 8, tzinfo=beijing) + timedelta(seconds=int(input))
    assert output == f"{shown:%Y-%m-%d %H:%M:%S}"


def check_csv_fullwidth_comma(input: str, output: str) -> None:
    """One row has too few cells, because of a full-width comma that the repair replaces."""
    rows = list(csv.reader(io.StringIO(input)))
    (bad,) = [number for number, row in enumerate(rows, 1) if len(row) != len(rows[0])]
    assert "".join(rows[bad - 1]).count("，") == input.count("，") == 1
    assert {len(row) for row in csv.reader(io.StringIO(input.replace("，", ",")))} == {len(rows[0])}
    assert output == f"第{bad}行（含表头）有个全角逗号，应改成半角。"
