"""The table of filters: every name makes a filter, every mistake in a name or parameter is told, data are digested."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import pytest

from selfinstruct import guards, resources, rules, suite
from selfinstruct.errors import BadData, ConfigProblem, UsageProblem
from selfinstruct.schema import Lang, Provenance, TaskInstance
from selfinstruct.suite import SUITE, ByLanguage, choose


def task(instruction: str, output: str = "An oak.", lang: Lang = "en") -> TaskInstance:
    """A record as a row of data becomes one."""
    return TaskInstance(
        id="t",
        provenance=Provenance(),
        instruction=instruction,
        input="",
        output=output,
        lang=lang,
        is_classification=None,
    )


def reasons(use: str, records: list[TaskInstance], lang: suite.Spoken = "auto") -> list[str | None]:
    """What a filter says of each record, those it keeps taken into its memory."""
    (chosen,) = choose([use], lang)
    found: list[str | None] = []
    for record in records:
        drop = chosen.filter.check(record)
        found.append(drop.reason if drop else None)
        if drop is None:
            chosen.filter.admit(record)
    return found


@pytest.fixture
def parameters(tmp_path: Path) -> dict[str, str]:
    """A parameter for each filter that has no default one."""
    items = tmp_path / "eval.jsonl"
    items.write_text('{"question": "How many legs have seven spiders that lost one leg each?"}\n', "utf-8")
    return {"decontaminate": f":{items}"}


REFUSED: dict[str, TaskInstance] = {
    "wording": task("Draw."),
    "language": task(
        "请用三句话说明橡树怎样过冬。", "It sheds its leaves and then it rests until the spring comes.", "zh"
    ),
    "language-id": task("Expliquez en trois phrases comment le chêne passe l'hiver dans la forêt."),
    "fences": task("Name a tree.", "```\noak"),
    "repetition": task("Name a tree.", "ha" * 200),
    "output": task("Name a tree.", ""),
    "refusal": task("Name a tree.", "As an AI language model, I have never seen a tree, but an oak is one."),
    "secrets": task("Mend this call.", "client = Client(api_key='9f8Qx2LmZt7Kc4VbR1sWnY6pHd3G')"),
    "personal-data": task("Write to the author.", "Her address is margit.sommerfeld@sommerfeld-holz.de, write soon."),
    "decontaminate": task("Answer this: How many legs have seven spiders that lost one leg each?"),
    "toxicity": task("Answer the neighbour.", "Go kill yourself, nobody wants you here."),
    "links": task("Summarise the page at https://example.org/oaks in three sentences."),
    **{name: task("Name a tree that grows in the south of the country.") for name in ("exact", "jaccard", "minhash")},
    "rouge-l": task("Name a tree."),
}
"""For each filter a record that it refuses, at the latest when it comes a second time."""


@pytest.mark.parametrize("name", SUITE)
def test_every_filter_refuses_what_it_says_and_keeps_what_is_fine(name: str, parameters: dict[str, str]) -> None:
    """Made by its name, it lets a plain task pass and refuses one made for it."""
    fine = task("Explain in three sentences how an oak gets through the winter.", "It sheds its leaves, and rests.")
    refused = REFUSED[name]
    first, *others = reasons(name + parameters.get(name, ""), [fine, refused, refused])
    assert first is None
    assert others[-1] is not None
    assert (others[0] is None) == SUITE[name].compares


def test_every_entry_says_in_a_line_what_it_refuses(parameters: dict[str, str]) -> None:
    """The table names each parameter, with its default where there is one."""
    lines = dict(suite.table())
    assert lines["rouge-l:0.7"] == "ROUGE-L F1 above the threshold with a row kept before"
    assert [re.split(r"\W*:", takes)[0] for takes in lines] == list(SUITE)
    assert {takes for takes in lines if takes.endswith("FILE")} == {f"{name}:FILE" for name in parameters}
    assert max(map(len, lines.values())) <= 90


@pytest.mark.parametrize(
    ("use", "told"),
    [
        ("rouge", "'rouge': no filter of that name; did you mean 'rouge-l'?"),
        ("Wording", "'Wording': no filter of that name; did you mean 'wording'?"),
        ("", f"'': no filter of that name; there are: {', '.join(SUITE)}"),
        ("wording:3", "'wording:3': wording takes no parameter"),
        ("decontaminate", "'decontaminate': decontaminate needs FILE: decontaminate:FILE"),
        ("rouge-l:1.5", "'rouge-l:1.5': threshold must be above 0 and at most 1, not 1.5"),
        ("exact:loose", "'exact:loose': the parameter is 'folded', or none"),
        ("jaccard:1/0", "'jaccard:1/0': threshold must be a number such as '0.7' or '7/10', not '1/0'"),
        ("rouge-l:x", "'rouge-l:x': threshold must be a number such as '0.7' or '7/10', not 'x'"),
        (
            "language-id:english",
            "'language-id:english': 'english' is no language code of two letters, such as en, zh or fr",
        ),
    ],
)
def test_a_wrong_name_or_parameter_is_told(use: str, told: str) -> None:
    """With the nearest name, or what the parameter has to be."""
    with pytest.raises(UsageProblem) as caught:
        choose([use], "en")
    assert str(caught.value) == told


def test_a_file_that_is_not_there_is_bad_data(tmp_path: Path) -> None:
    """Told when the chain is made, not at the first row."""
    with pytest.raises(BadData, match="cannot read"):
        choose([f"decontaminate:{tmp_path / 'eval.jsonl'}"], "en")


def test_a_missing_package_is_told_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the name of the package."""

    def make(*_: object) -> Any:
        raise ModuleNotFoundError("No module named 'nothing'", name="nothing")

    monkeypatch.setitem(SUITE, "wording", suite.Entry("x", make))
    with pytest.raises(ConfigProblem, match="'wording' needs nothing: pip install nothing"):
        choose(["wording"], "en")


def test_the_default_parameter_is_told_with_the_name() -> None:
    """So that a summary says what was used."""
    assert [chosen.use for chosen in choose(["rouge-l", "wording", "rouge-l:0.5"], "en")] == [
        "rouge-l:0.7",
        "wording",
        "rouge-l:0.5",
    ]


def test_the_threshold_is_the_one_that_was_given() -> None:
    """The same two texts, at F1 0.8: refused above 0.7, kept above 0.8."""
    pair = [task("Name one tall tree now."), task("Name one old tree now.")]
    assert reasons("rouge-l:0.7", pair) == [None, "too_similar"]
    assert reasons("rouge-l:0.8", pair) == [None, None]
    assert reasons("rouge-l:1", [*pair, pair[0]]) == [None, None, "duplicate_text"]


def test_parameters_that_may_be_left_out_are_heard(tmp_path: Path) -> None:
    """Folded, full width and case are one; a list of one's own is added to ours."""
    pair = [task("Name a tree."), task("NAME A TREE！")]
    assert reasons("exact", pair) == [None, None]
    assert reasons("exact:folded", pair) == [None, "duplicate_text"]
    (tmp_path / "own.txt").write_text("plumbus\n", "utf-8")
    assert reasons("toxicity", [task("Name a plumbus.")]) == [None]
    assert reasons(f"toxicity:{tmp_path / 'own.txt'}", [task("Name a plumbus.")]) == ["toxic_listed"]


def test_auto_judges_each_record_by_the_rules_of_its_language() -> None:
    """Two words are too short in English; in Chinese characters count."""
    short, chinese = task("Name trees."), task("说出一种树的名字。", lang="zh")
    assert reasons("wording", [short, chinese], "auto") == ["too_short", None]
    assert reasons("wording", [chinese], "en") == ["too_short"]
    assert reasons("language", [task("说出一种树的名字。", lang="zh")], "auto") == [None]
    assert reasons("language", [task("说出一种树的名字。", lang="zh")], "en") == ["wrong_language"]
    assert isinstance(choose(["wording"], "auto")[0].filter, ByLanguage)


def test_the_tokenizer_is_that_of_the_language() -> None:
    """A Chinese text has no English tokens, so nothing of it is alike for them."""
    pair = [task("请写一首关于秋天的诗歌"), task("请写一首关于春天的诗歌")]
    assert reasons("rouge-l:0.7", pair, "zh") == reasons("rouge-l:0.7", pair, "auto") == [None, "too_similar"]
    assert reasons("rouge-l:0.7", pair, "en") == [None, None]


def test_what_verdicts_rest_on_is_digested(tmp_path: Path) -> None:
    """The rule files of the languages at work, the items of a file, the version of a model."""
    both = {f"rules bootstrap.{lang}": f"sha256 {rules.digest(f'bootstrap.{lang}')}" for lang in ("en", "zh")}
    assert choose(["wording"], "auto")[0].data == both
    assert choose(["wording"], "zh")[0].data == {"rules bootstrap.zh": both["rules bootstrap.zh"]}
    assert choose(["rouge-l", "fences"], "en")[0].data == {}
    assert choose(["language-id"], "en")[0].data.keys() == {
        *("rules language_id", "rules languages"),
        "py3langid",
    }
    path = tmp_path / "eval.jsonl"
    digests = []
    for item in ("How many legs has a spider in the spring?", "How many legs has an ant in the spring?"):
        path.write_text(f'{{"question": "{item}"}}\n', "utf-8")
        digests.append(choose([f"decontaminate:{path}"], "en")[0].data[str(path)])
    assert digests[0] != digests[1]
    path.write_text("plumbus\n", "utf-8")
    own = choose([f"toxicity:{path}"], "en")[0]
    assert own.data.keys() == {"rules toxicity.en", "rules toxicity.zh", str(path)}
    assert own.data[str(path)] == f"sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}"


def test_every_rule_file_belongs_to_a_filter_or_a_stage() -> None:
    """None is read in secret: a new one is named in the table, so that the identity of runs holds it."""
    named = {name.format(lang=lang) for entry in SUITE.values() for name in entry.rules for lang in ("en", "zh")}
    stages = {"alpaca.en", "alpaca.zh", "belle.zh"}  # whose values are in the recipe
    guarding = set(guards.RULES)
    assert {path.stem for path in resources.rules_dir().glob("*.toml")} <= named | stages | guarding
    assert {path for path in named if not (resources.rules_dir() / f"{path}.toml").is_file()} == set()
