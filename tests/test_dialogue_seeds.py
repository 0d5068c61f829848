"""What dialogues start from: the files we ship read well in both languages; a user's own names what is wrong in it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import get_args

import pytest
from pydantic import ValidationError

from selfinstruct import dialogue_seeds, resources
from selfinstruct.dialogue_seeds import Entity, Join, MetaTopic, Persona, Seed, TextType
from selfinstruct.errors import BadData
from selfinstruct.schema import Lang
from selfinstruct.similarity.tokens import tokens
from tests.seeds.seed_files import alike

LANGS: tuple[Lang, ...] = get_args(Lang)
KINDS: dict[str, tuple[Callable[[Lang], Sequence[Seed]], str, int]] = {
    "topics": (dialogue_seeds.topics, "topic", 30),  # UltraChat's number of meta topics (systems §5.1)
    "text_types": (dialogue_seeds.text_types, "type", 20),  # UltraChat's number of types of text
    "personas": (dialogue_seeds.personas, "persona", 72),
    "joins": (dialogue_seeds.joins, "join", 10),
}
HAN = "\u4e00-\u9fff"
PERSONA = {"id": "p", "expertise": "knits", "mood": "calm", "goal": "wants a hat", "style": "writes little"}

every_lang = pytest.mark.parametrize("lang", LANGS)
every_kind = pytest.mark.parametrize("kind", KINDS)


def shipped(lang: Lang, kind: str) -> Sequence[Seed]:
    """Our items of that kind."""
    return KINDS[kind][0](lang)


def said(item: Seed) -> dict[str, str]:
    """What an item says, by key; its id says nothing."""
    return {key: text for key, text in item.model_dump().items() if key != "id"}


def written(path: Path, content: str | bytes) -> Path:
    """The path, with this content in its file."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def rows(*objects: object) -> str:
    """Those objects as JSON Lines."""
    return "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in objects)


# --- what we ship ---------------------------------------------------------------------------------------------------


@every_lang
@every_kind
def test_there_are_as_many_as_promised_with_ids_that_count_up(lang: Lang, kind: str) -> None:
    """30 meta topics, 20 types of text, 72 personas, 10 templates: ``en-topic-01`` and so on."""
    _, name, count = KINDS[kind]
    assert [item.id for item in shipped(lang, kind)] == [f"{lang}-{name}-{n:02}" for n in range(1, count + 1)]


@every_lang
@every_kind
def test_every_line_is_plain_json_that_the_package_reads_whole(lang: Lang, kind: str) -> None:
    """Written back without escapes, the items are the file, byte for byte: no key is unknown, no text is padded."""
    content = (resources.seeds_dir() / "dialogue" / f"{lang}_{kind}.jsonl").read_text("utf-8")
    assert content == rows(*(item.model_dump() for item in shipped(lang, kind)))


@every_lang
@pytest.mark.parametrize("kind", ["topics", "text_types", "personas"])
def test_no_two_are_alike(lang: Lang, kind: str) -> None:
    """No pair has a ROUGE-L F1 of 0.6 or more, neither over the whole items nor in any one of their values."""
    items = shipped(lang, kind)
    for key in said(items[0]):
        read = {said(item)[key]: tokens(said(item)[key], lang) for item in items}
        assert (key, len(read), alike(read)) == (key, len(items), [])
    assert alike({item.id: tokens(" ".join(said(item).values()), lang) for item in items}) == []


@every_lang
def test_topics_and_types_are_short_names_with_a_phrase_each(lang: Lang) -> None:
    """A name has one to five words (ten characters in Chinese); its phrase is longer and ends without a full stop."""
    longest = {"en": r"\S+( \S+){0,4}", "zh": r"\S{2,10}"}[lang]
    named = [tuple(said(item).values()) for kind in ("topics", "text_types") for item in shipped(lang, kind)]
    assert [name for name, _ in named if not re.fullmatch(longest, name)] == []
    assert [phrase for _, phrase in named if len(phrase) < 20 or phrase[-1] in ".。;；"] == []


@every_lang
def test_what_a_persona_is_fits_into_a_sentence(lang: Lang) -> None:
    """No value is a sentence of its own, and none holds the semicolon that stands between them in a prompt."""
    values = [value for persona in dialogue_seeds.personas(lang) for value in said(persona).values()]
    assert [value for value in values if value[-1] in ".。!！?？" or re.search(r"[;；\n]", value)] == []


def test_english_personas_are_predicates() -> None:
    """``wants``, ``writes``: what the user does comes in the third person, and moods are no sentences."""
    people = dialogue_seeds.personas("en")
    verbs = r"(is|has|\w+ed|\w+s|drove|left|lost) .+"
    assert [person.id for person in people if not re.fullmatch(verbs, person.expertise)] == []
    assert [person.goal for person in people if not person.goal.startswith("wants ")] == []
    assert [person.style for person in people if not re.fullmatch(r"[a-z]+s .+", person.style)] == []
    assert [person.mood for person in people if person.mood.startswith(("is ", "wants ", "feels "))] == []


@every_lang
def test_no_persona_thanks_or_leaves(lang: Lang) -> None:
    """It would end its dialogues early."""
    leaving = re.compile(r"thank|grateful|goodbye|farewell|\bbye\b|谢|告别|再见|拜拜|告辞")
    values = [value for persona in dialogue_seeds.personas(lang) for value in said(persona).values()]
    assert [value for value in values if leaving.search(value)] == []


@every_kind
def test_chinese_is_chinese_with_full_width_punctuation(kind: str) -> None:
    """Every value holds Chinese; no comma is ASCII, no other mark beside a Chinese character, no space between."""
    half = re.compile(rf",|[{HAN}][:;?!()]|[:;?!()][{HAN}]|[{HAN}] +[{HAN}A-Za-z0-9]|[A-Za-z0-9] +[{HAN}]")
    values = [value for item in shipped("zh", kind) for value in said(item).values()]
    assert [value for value in values if half.search(value)] == []
    # The bare templates hold nothing but their two places.
    bare = ["{passage}\n\n{request}", "{request}\n\n{passage}"] if kind == "joins" else []
    assert [value for value in values if not re.search(f"[{HAN}]", value)] == bare


@every_kind
def test_english_is_ascii(kind: str) -> None:
    """No typographic quotes or dashes: what a prompt shows, a model writes."""
    values = [value for item in shipped("en", kind) for value in said(item).values()]
    assert [value for value in values if not value.isascii()] == []


@every_lang
def test_half_of_the_templates_put_the_passage_first(lang: Lang) -> None:
    """Five before the request, five after it; no two are the same, and each language has a bare one of both."""
    texts = [join.text for join in dialogue_seeds.joins(lang)]
    assert [text.index("{passage}") < text.index("{request}") for text in texts] == [True] * 5 + [False] * 5
    assert len(set(texts)) == 10
    assert {"{passage}\n\n{request}", "{request}\n\n{passage}"} < set(texts)


# --- templates ------------------------------------------------------------------------------------------------------


def test_fill_puts_both_texts_where_they_belong() -> None:
    """And keeps what stands around them."""
    assert Join(id="a", text="T:\n{passage}\n--\n{request}!").fill("p\nq", "Why?") == "T:\np\nq\n--\nWhy?!"


def test_braces_and_backslashes_in_the_texts_do_no_harm() -> None:
    """A passage may be code, a format string, or the very template."""
    join = Join(id="a", text="{request}|{passage}")
    assert join.fill("{request} {0} {{x}} \\1 \\g<0>", "{passage} %s") == "{passage} %s|{request} {0} {{x}} \\1 \\g<0>"


@pytest.mark.parametrize("text", ["{passage}", "{request} {passage} {passage}", "{Passage} {request}", "passage"])
def test_a_template_has_each_place_exactly_once(text: str) -> None:
    """Otherwise a turn would lack the material, or its request."""
    with pytest.raises(ValidationError, match="each exactly once"):
        Join(id="a", text=text)


# --- a user's own files ---------------------------------------------------------------------------------------------


def test_a_file_of_ones_own_takes_the_place_of_ours(tmp_path: Path) -> None:
    """In its order; what is optional may be left out, keys we do not know are ignored, padding is taken off."""
    path = tmp_path / "own.jsonl"
    written(path, rows({"id": "b", "topic": " Kites "}, {"id": "a", "topic": "风筝", "scope": "做法", "note": [1]}))
    assert dialogue_seeds.topics("en", path) == (
        MetaTopic(id="b", topic="Kites"),
        MetaTopic(id="a", topic="风筝", scope="做法"),
    )
    written(path, rows({"id": "a", "type": "haiku"}))
    assert dialogue_seeds.text_types("zh", path) == (TextType(id="a", type="haiku", purpose=""),)
    written(path, "\ufeff\r\n" + rows(PERSONA | {"age": 7}).replace("\n", "\r\n"))
    assert dialogue_seeds.personas("en", path) == (Persona.model_validate(PERSONA),)


def test_a_text_file_has_a_topic_or_a_type_a_line(tmp_path: Path) -> None:
    """Ids are the numbers of the lines; blank lines are skipped, what stands there twice is taken once."""
    path = written(tmp_path / "own.TXT", "\ufeffKites\r\n\r\n  放风筝 \r\nKites\r\nkites")
    named = [("line-1", "Kites"), ("line-3", "放风筝"), ("line-5", "kites")]
    assert dialogue_seeds.topics("en", path) == tuple(MetaTopic(id=line, topic=name) for line, name in named)
    assert dialogue_seeds.text_types("en", path) == tuple(TextType(id=line, type=name) for line, name in named)


def test_entities_come_one_a_line_or_as_json_lines(tmp_path: Path) -> None:
    """Either way each is kept once, under the number of its line; whatever else a row has, an id too, is not read."""
    expected = (Entity(id="entity-1", entity="Lake Baikal"), Entity(id="entity-3", entity="荔枝"))
    text = written(tmp_path / "a.txt", "Lake Baikal\n\n荔枝\n Lake Baikal\n")
    assert dialogue_seeds.entities(text) == expected
    row = {"id": 7, "entity": "Lake Baikal", "count": 3}
    lines = written(tmp_path / "a.jsonl", rows(row) + "\n" + rows({"entity": "荔枝"}, row))
    assert dialogue_seeds.entities(lines) == expected


LINE_3: dict[str, tuple[str, str]] = {
    "no JSON": ("Kites\n", "not a JSON object: line contains invalid json"),
    "a list": ('["Kites"]\n', "not a JSON object but list; one JSON object a line"),
    "no id": (rows({"topic": "Kites"}), "'id': Field required; mend or drop the line"),
    "no topic": (rows({"id": "b", "Topic": "Kites"}), "'topic': Field required; mend or drop the line"),
    "an empty topic": (rows({"id": "b", "topic": " \t"}), "'topic': String should have at least 1 character"),
    "a number": (rows({"id": "b", "topic": 7}), "'topic': Input should be a valid string"),
    "an id twice": (rows({"id": "a", "topic": "Kites"}), "the id 'a' stands in line 1 already; records tell"),
}


@pytest.mark.parametrize("wrong", LINE_3)
def test_what_is_wrong_in_json_lines_names_file_and_line(tmp_path: Path, wrong: str) -> None:
    """Counted as editors count, blank lines too."""
    line, why = LINE_3[wrong]
    path = written(tmp_path / "own.jsonl", rows({"id": "a", "topic": "Owls"}) + "\n" + line)
    with pytest.raises(BadData) as problem:
        dialogue_seeds.topics("en", path)
    assert str(problem.value).startswith(f"{path}:3: {why}")


@pytest.mark.parametrize("key", sorted(PERSONA))
def test_a_persona_needs_every_key(tmp_path: Path, key: str) -> None:
    """A user without a goal, or a way to write, is not one of many kinds of user."""
    path = written(tmp_path / "own.jsonl", rows({name: value for name, value in PERSONA.items() if name != key}))
    with pytest.raises(BadData, match=re.escape(f"{path}:1: '{key}': Field required")):
        dialogue_seeds.personas("en", path)


OWN: dict[str, Callable[[Path], object]] = {
    "topic": lambda path: dialogue_seeds.topics("zh", path),
    "text type": lambda path: dialogue_seeds.text_types("zh", path),
    "entity": dialogue_seeds.entities,
}


@pytest.mark.parametrize("one", OWN)
@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("放风筝\n".encode() + "荔枝".encode("gb18030"), ":2: not UTF-8; convert the file, for instance with iconv"),
        (b"\xef\xbb\xbf \r\n", ": holds no {one}; expected one a line"),
        (rows({"topic": "Kites"}).encode(), ":1: a .txt file holds one {one} a line; name a file of JSON Lines .jsonl"),
    ],
    ids=["GB 18030", "empty", "JSON Lines"],
)
def test_a_text_file_that_is_none_says_so(tmp_path: Path, one: str, content: bytes, why: str) -> None:
    """Another encoding, nothing in it, or another format under this name."""
    path = written(tmp_path / "own.txt", content)
    with pytest.raises(BadData) as problem:
        OWN[one](path)
    assert str(problem.value).startswith(f"{path}{why.format(one=one)}")


@pytest.mark.parametrize("one", OWN)
def test_a_file_that_is_empty_or_gone_says_so(tmp_path: Path, one: str) -> None:
    """A run that has nothing to begin with must not begin."""
    empty = written(tmp_path / "own.jsonl", "\n\n")
    with pytest.raises(BadData, match=re.escape(f"{empty}: holds no {one}; expected one")):
        OWN[one](empty)
    for gone in (tmp_path / "gone.jsonl", tmp_path / "gone.txt"):
        with pytest.raises(BadData, match=re.escape(f"{gone}: cannot read the {one} list: No such file")):
            OWN[one](gone)


# --- the identity of a run ------------------------------------------------------------------------------------------


def test_the_digest_counts_and_tells_every_difference() -> None:
    """A word, an id, the order: whatever may change a draw changes the digest; equal content has an equal one."""
    one, other = MetaTopic(id="a", topic="Kites"), MetaTopic(id="b", topic="Owls", scope="eyes")
    plain = dialogue_seeds.digest([one, other])
    assert re.fullmatch("2, sha256 [0-9a-f]{64}", plain)
    assert dialogue_seeds.digest((one.model_copy(), other)) == plain
    changed = [other.model_copy(update={key: "c"}) for key in ("id", "topic", "scope")]
    found = {dialogue_seeds.digest(items) for items in [[other, one], *([one, item] for item in changed), [one, other]]}
    assert len(found) == 5


def test_the_digest_of_nothing_is_the_hash_of_an_empty_list() -> None:
    """The sha256 of ``[]``, so that it can be checked by hand."""
    empty = "4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945"
    assert dialogue_seeds.digest([]) == f"0, sha256 {empty}"
