"""Executed checks of the Chinese seed tasks about code: the output is run, and compared with a plainer solution."""

from __future__ import annotations

import base64
import codecs
import csv
import io
import itertools
import random
import re
import sqlite3
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.seeds.reading import code_of, run_code


def check_suspicious_base64_command(input: str, output: str) -> None:
    """The hidden command is decoded, never run: it deletes the web site, and the answer quotes it and only decodes."""
    parts = re.fullmatch(r'(echo "([A-Za-z0-9+/=]+)" \| base64 -d) \| sudo bash', input)
    assert parts
    hidden = base64.b64decode(parts[2]).decode()
    assert hidden.startswith("rm -rf /var/www")
    assert output.startswith("别跑")
    fenced = re.findall(r"```\n(.*?)\n```", output, re.DOTALL)
    assert fenced == [hidden, parts[1]]


def check_id_card_check_digit(input: str, output: str) -> None:
    """check_code agrees with the recursive method of ISO 7064 MOD 11-2 on 2,000 numbers and refuses bad ones."""
    check_code = run_code(code_of(output))["check_code"]
    rng = random.Random(11643)
    for _ in range(2000):
        digits = "".join(rng.choice("0123456789") for _ in range(17))
        product = 0
        for digit in digits:
            product = (product + int(digit)) * 2 % 11
        assert check_code(digits) == "0123456789X"[(12 - product) % 11]
    for wrong in ("", "1" * 16, "1" * 18, "1" * 16 + "X", "１" * 17):
        with pytest.raises(ValueError):
            check_code(wrong)


def check_late_three_times_sql(input: str, output: str) -> None:
    """One query lists who was late three times in the month, 09:00 sharp and other months left out, in order."""
    late = {"A01": 3, "A02": 5, "A03": 2, "B01": 3, "B02": 0, "B03": 3}
    database = sqlite3.connect(":memory:")
    try:
        database.executescript(input.split("\n\n")[0])
        people = [(number, f"员工{number}", "仓储部" if number[0] == "A" else "客服部") for number in reversed(late)]
        people[1] = (people[1][0], people[0][1], people[1][2])  # two colleagues of the same name
        database.executemany("INSERT INTO 员工 VALUES (?, ?, ?)", people)
        for number, times in late.items():
            days = [1, 30, 15, 2, 29][:times]
            punches = [(number, f"2024-09-{day:02}", "09:01" if day in days else "09:00") for day in range(1, 31)]
            punches += [(number, other, "10:00") for other in ("2024-08-31", "2024-10-01", "2023-09-09")]
            database.executemany("INSERT INTO 打卡 VALUES (?, ?, ?)", punches)
        cursor = database.execute(code_of(output).strip())
        assert [column[0] for column in cursor.description] == ["部门", "姓名", "迟到次数"]
        names = {number: (department, name) for number, name, department in people}
        wanted = sorted((-times, number) for number, times in late.items() if times >= 3)
        assert cursor.fetchall() == [(*names[number], -times) for times, number in wanted]
    finally:
        database.close()


def check_phone_number_regex(input: str, output: str) -> None:
    """The expression finds exactly the 11-digit numbers from 13 to 19 that no further digit touches."""
    try:
        find = re.compile(output).findall
    except re.error as error:
        raise AssertionError(output) from error
    for first, second in itertools.product("0123456789", repeat=2):
        number = f"{first}{second}800138000"
        found = [number] if first == "1" and second in "3456789" else []
        for text in (number, f"电话{number}，微信同号", f"tel:{number}\n", f"a{number}b", f"({number})"):
            assert find(text) == found
        for text in (f"0{number}", f"{number}9", number[:-1], f"{number[:5]} {number[5:]}", f"62284800{number}"):
            assert find(text) == []
    assert find("13800138000/15912345678转19900001111") == ["13800138000", "15912345678", "19900001111"]


def check_csv_garbled_in_excel(input: str, output: str) -> None:
    """The input writes UTF-8 without a BOM, which GBK garbles; the repair changes the encoding alone and adds a BOM."""
    rows = [["姓名", "学号", "宿舍"], ["林小满", "2024001", "三号楼，502"]]
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder, "before.csv"), Path(folder, "after.csv")
        run_code(input)["export"](rows[1:], before)
        run_code(code_of(output))["export"](rows[1:], after)
        garbled, repaired = before.read_bytes(), after.read_bytes()
    assert "姓名" not in garbled.decode("gbk", errors="replace")
    assert repaired == codecs.BOM_UTF8 + garbled
    assert list(csv.reader(io.StringIO(repaired.decode("utf-8-sig")))) == rows
    assert repaired.decode("utf-8").startswith("\ufeff姓名")
    assert code_of(output).strip() == input.replace('"utf-8"', '"utf-8-sig"').strip()


def check_mojibake_restore(input: str, output: str) -> None:
    """Writing the garbled text as GBK and reading it as UTF-8 gives the output, and the way back garbles it again."""
    assert input.encode("gbk").decode("utf-8") == output
    assert output.encode("utf-8").decode("gbk") == input


def check_bytes_utf8_gbk(input: str, output: str) -> None:
    """Both encodings of the sentence are measured."""
    utf8 = sum(1 if ord(char) < 128 else 3 for char in input)
    gbk = sum(1 if ord(char) < 128 else 2 for char in input)
    assert (utf8, gbk) == (len(input.encode("utf-8")), len(input.encode("gbk")))
    assert output == f"UTF-8占{utf8}字节，GBK占{gbk}字节"


def check_sort_wechat_photos_bash(input: str, output: str) -> None:
    """Run in a folder of its own, the script moves each photo to its month, overwrites none and bears having none."""
    script = re.search(r"```bash\n(.*?)```", output, re.DOTALL)
    assert script
    lines = script[1]
    assert f"# 去掉前缀，剩下{input.split('_')[1].splitlines()[0]}\n" in lines
    photos = re.findall(r"(?m)^微信图片_.*\.jpg$", input)
    assert len(photos) == 4
    assert any(" " in photo for photo in photos)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def run() -> None:
            subprocess.run(["bash", "-c", lines], cwd=folder, check=False, capture_output=True, timeout=60)

        run()
        assert list(folder.iterdir()) == []
        wanted = {f"{photo[5:9]}-{photo[9:11]}/{photo}": photo for photo in photos}
        for photo in photos:
            (folder / photo).write_text(photo, encoding="utf-8")
        taken, kept = next(iter(wanted.items()))
        (folder / taken).parent.mkdir()
        (folder / taken).write_text("早就在这里", encoding="utf-8")
        (folder / "备忘.txt").write_text("别动", encoding="utf-8")
        run()
        wanted |= {taken: "早就在这里", kept: kept, "备忘.txt": "别动"}
        files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
        assert {place: path.read_text(encoding="utf-8") for place, path in files.items()} == wanted


def _below_ten_thousand(number: int) -> str:
    """Write a number from 1 to 9,999 in Chinese, without a leading 零."""
    text = ""
    for place, unit in enumerate(("千", "百", "十", "")):
        digit = number // 10 ** (3 - place) % 10
        text += "零一二三四五六七八九"[digit] + (unit if digit else "")
    return re.sub("零+", "零", text).strip("零")


def _in_chinese(number: int) -> str:
    """Write a number from 1 to 999,999,999,999 in Chinese."""
    text, gap = "", False
    for scale, unit in ((10**8, "亿"), (10**4, "万"), (1, "")):
        part = number // scale % 10**4
        if part:
            text += ("零" if text and (gap or part < 1000) else "") + _below_ten_thousand(part) + unit
        gap = part == 0
    return text


def check_chinese_numeral_to_int(input: str, output: str) -> None:
    """cn2int reads all numerals to 20,000 and 3,000 larger ones written by another function, and common short forms."""
    cn2int = run_code(code_of(output))["cn2int"]
    rng = random.Random(305)
    larger = [rng.randrange(10 ** rng.randrange(4, 13)) + 1 for _ in range(3000)]
    for number in itertools.chain(range(1, 20001), (number % 10**12 or 1 for number in larger)):
        text = _in_chinese(number)
        assert cn2int(text) == number, text
        short = re.sub("^一十", "十", text.replace("二千", "两千").replace("零", "〇"))
        assert cn2int(short) == number, short
    spoken = {"三百零五": 305, "一亿二千万": 120_000_000, "二百五": 250, "三万五": 35_000, "两千八": 2_800}
    spoken |= {"零": 0, "二〇二四": 2024, "一万零五": 10_005, "三万五千亿": 3_500_000_000_000, "十万零三": 100_003}
    assert {text: cn2int(text) for text in spoken} == spoken
    for wrong in ("", "三百abc", "约五十"):
        with pytest.raises(ValueError):
            cn2int(wrong)


class _Waybill:
    """A waybill number that counts how often two of them are compared."""

    compared = 0

    def __init__(self, number: int) -> None:
        self.number = number

    def __eq__(self, other: object) -> bool:
        _Waybill.compared += 1
        return isinstance(other, _Waybill) and self.number == other.number

    def __hash__(self) -> int:
        return hash(self.number)


def check_dedup_waybills_faster(input: str, output: str) -> None:
    """Both functions give the same lists; on 2,000 different numbers the old one makes O(n²) comparisons, ours few."""
    slow, fast = run_code(input)["unique"], run_code(code_of(output))["unique"]
    rng = random.Random(16)
    for _ in range(300):
        waybills = [f"SF{rng.randrange(30):04}" for _ in range(rng.randrange(60))]
        assert fast(list(waybills)) == slow(list(waybills))
    counts = []
    for unique in (slow, fast):
        _Waybill.compared = 0
        assert len(unique([_Waybill(number) for number in range(2000)])) == 2000
        counts.append(_Waybill.compared)
    assert counts[0] == 2000 * 1999 // 2
    assert counts[1] < 2000


def check_sql_null_trap_label(input: str, output: str) -> None:
    """Running the statement in SQLite on members of every kind shows whose points it sets to 0."""
    members = list(itertools.product(("金卡", "银卡", "普通"), (None, "2024-12-31", "")))
    database = sqlite3.connect(":memory:")
    try:
        database.execute("CREATE TABLE 会员 (等级 TEXT, 到期日 TEXT, 积分 INTEGER)")
        database.executemany("INSERT INTO 会员 VALUES (?, ?, 100)", members)
        database.execute(input)
        reset = [level for (level,) in database.execute("SELECT 等级 FROM 会员 WHERE 积分 = 0")]
    finally:
        database.close()
    label = "没有会员" if not reset else "仅银卡会员" if set(reset) == {"银卡"} else "全部会员"
    assert output == label


def check_doudizhu_deal(input: str, output: str) -> None:
    """Over 300 deals the 54 cards are shared out 17, 17, 17 and 3, each part from high to low, and deals differ."""
    deal = run_code(code_of(output))["deal"]
    faces = "3 4 5 6 7 8 9 10 J Q K A 2 小王 大王".split()
    pack = sorted([suit + face for suit in "♠♥♣♦" for face in faces[:13]] + faces[13:])
    seen = set()
    for _ in range(300):
        hands, bottom = deal()
        assert [len(part) for part in (*hands, bottom)] == [17, 17, 17, 3]
        assert sorted(itertools.chain(*hands, bottom)) == pack
        for part in (*hands, bottom):
            values = [faces.index(card.lstrip("♠♥♣♦")) for card in part]
            assert values == sorted(values, reverse=True)
        seen.add(tuple(bottom))
    assert len(seen) > 250
    assert deal(random.Random(1)) == deal(random.Random(1))
