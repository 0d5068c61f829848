"""What decides a run's bytes is written down first and compared on every start; the rest may change freely."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import orjson
import pytest

from selfinstruct import __version__, identity, prompts
from selfinstruct.changes import CLASSES
from selfinstruct.config import resolve
from selfinstruct.errors import BadData, DamagedRun, IdentityChanged, OutputFailed
from selfinstruct.identity import StageIdentity
from selfinstruct.links import Link
from selfinstruct.protocols import Stage
from selfinstruct.recipe import STAGES, Recipe
from selfinstruct.schema import Endpoint, Instance, Rendering, SeedTask

PROMPT = (
    "+++\nversion = 1\n+++\n{% block completion %}\nName a tree.\n{% endblock %}\n{% block user %}Go.{% endblock %}\n"
)
SEEDS = [SeedTask(id="a", instruction="Name a tree.", instances=(Instance(input="", output="Oak."),))]
ENDPOINT = Endpoint(identity="https://api.example/v1", model="m-7b")


class Run:
    """A bootstrap stage about to start; each part can be set to something else."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sets: list[str] = []
        self.prompt = PROMPT
        self.seeds = SEEDS
        self.endpoint = ENDPOINT
        self.rendering: Rendering = "chat"
        self.upstream: StageIdentity | None = None
        self.target = 100

    def identity(self, stage: str = "bootstrap") -> StageIdentity:
        """What it would be started with."""
        path = self.folder / "prompts" / "bootstrap/en/list.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.prompt, "utf-8")
        prompt = prompts.load(self.folder / "prompts", "bootstrap/en/list")
        link = Link(cast(Stage, SimpleNamespace(name=stage, roles=("teacher",))), (prompt,), ())
        asked = {"teacher": (self.endpoint, self.rendering)}
        return identity.of_stage(link, resolve(None, self.sets, {}), self.seeds, asked, self.upstream, self.target)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A stage that was started and is started again."""
    return Run(tmp_path)


def differences(run: Run, before: StageIdentity) -> list[str]:
    """The lines that starting ``run`` over ``before`` shows; none when it may go on."""
    try:
        identity.compare(run.folder, before, run.identity())
    except IdentityChanged as change:
        first, *lines = str(change).splitlines()
        assert first.startswith(f"{run.folder}: this run was started with other settings")
        assert "--run NAME" in first
        return lines
    return []


# --- compared -------------------------------------------------------------------------------------------------------


def test_the_same_settings_go_on(run: Run) -> None:
    """Also after a detour over the disk, which turns tuples into lists."""
    run.sets = ['model.extra_body={a = [1, 2.5, {b = "c"}]}', "instances.keep=3"]
    run.endpoint = ENDPOINT.model_copy(update={"omit": ("top_p",), "extra_body": {"a": [1, 2.5, {"b": "c"}]}})
    before = run.identity()
    identity.write(run.folder, before)
    read = identity.read(run.folder)
    assert read is not None
    assert read.digest == before.digest
    assert differences(run, read) == []


@pytest.mark.parametrize(
    ("sets", "line"),
    [
        ("seed=7", "  seed: 42 -> 7"),
        ("lag=2", "  lag: 4 -> 2"),
        ("round_size=9", "  round_size: 8 -> 9"),
        ("rounds_per_shard=4", "  rounds_per_shard: 128 -> 4"),
        ("bootstrap.temperature=1.0", "  bootstrap.temperature: 0.7 -> 1.0"),
        ("bootstrap.threshold=0.8", "  bootstrap.threshold: '0.7' -> '0.8'"),
        ("bootstrap.rules.blacklist=[]", None),
        ("model.reproducible=true", "  model.reproducible: False -> True"),
        ("model.context=8192", "  model.context: 4096 -> 8192"),
    ],
)
def test_a_changed_recipe_is_shown(run: Run, sets: str, line: str | None) -> None:
    """Whatever may change a byte: one line, with before and after."""
    before = run.identity()
    run.sets = [sets]
    lines = differences(run, before)
    assert len(lines) == 1
    assert line is None or lines == [line]


@pytest.mark.parametrize(
    ("part", "value", "line"),
    [
        ("endpoint", ENDPOINT.model_copy(update={"model": "m-8b"}), "  model.model: 'm-7b' -> 'm-8b'"),
        (
            "endpoint",
            ENDPOINT.model_copy(update={"identity": "gguf:00"}),
            "  model.identity: 'https://api.example/v1' -> 'gguf:00'",
        ),
        ("endpoint", ENDPOINT.model_copy(update={"send_seed": True}), "  model.send_seed: False -> True"),
        ("endpoint", ENDPOINT.model_copy(update={"omit": ("stop",)}), "  model.omit: [] -> ['stop']"),
        ("rendering", "completion", "  model.rendering: 'chat' -> 'completion'"),
    ],
)
def test_a_changed_model_is_shown(run: Run, part: str, value: Any, line: str) -> None:
    """Its name, where it is, and how it is asked."""
    before = run.identity()
    setattr(run, part, value)
    assert differences(run, before) == [line]


@pytest.mark.parametrize(
    "seeds",
    [
        [SEEDS[0].model_copy(update={"instruction": "Name a bird."})],
        [SEEDS[0].model_copy(update={"instances": (Instance(input="", output="Elm."),)})],
        [SEEDS[0].model_copy(update={"id": "b"})],
        [*SEEDS, SEEDS[0].model_copy(update={"id": "b"})],
        [],
    ],
)
def test_changed_seeds_are_shown(run: Run, seeds: list[SeedTask]) -> None:
    """By number and hash of their content."""
    before = run.identity()
    run.seeds = seeds
    (line,) = differences(run, before)
    assert line.startswith("  seeds: '1 tasks, sha256 ")
    assert f"-> '{len(seeds)} tasks, sha256 " in line


def test_a_changed_prompt_is_shown_as_a_difference(run: Run) -> None:
    """Line by line, so that one sees what the earlier records were made with."""
    before = run.identity()
    run.prompt = PROMPT.replace("a tree", "two trees")
    digest = run.identity().identity["prompts"]["bootstrap/en/list"]
    assert differences(run, before) == [
        f"  prompts.bootstrap/en/list: {before.identity['prompts']['bootstrap/en/list']!r} -> {digest!r}",
        "  --- bootstrap/en/list then",
        "  +++ bootstrap/en/list now",
        "  @@ -5 +5 @@",
        "  -Name a tree.",
        "  +Name two trees.",
    ]


def test_a_changed_upstream_is_shown(run: Run) -> None:
    """A stage stands on the one before it, and so does its identity."""
    run.upstream = run.identity()
    before = run.identity()
    run.sets, run.upstream = ["seed=7"], run.upstream.model_copy(update={"identity": {"seed": 7}})
    lines = differences(run, before)
    assert lines[0] == "  seed: 42 -> 7"
    assert lines[1].startswith(f"  upstream: '{before.identity['upstream']}' -> '")


def test_every_difference_is_shown_at_once(run: Run) -> None:
    """Nobody mends settings one error at a time; a key that is new or gone counts too."""
    before = run.identity()
    identity_then = {key: value for key, value in before.identity.items() if key != "lag"} | {"batch": 5}
    run.sets = ["seed=7", "bootstrap.top_p=1.0"]
    assert differences(run, before.model_copy(update={"identity": identity_then})) == [
        "  seed: 42 -> 7",
        "  bootstrap.top_p: 0.5 -> 1.0",
        "  batch: 5 -> None",
        "  lag: None -> 4",
    ]


@pytest.mark.parametrize(
    ("then", "now", "lines"),
    [
        ({}, {"a": 1, "b": {"c": 2}}, ["  model.extra_body.a: None -> 1", "  model.extra_body.b.c: None -> 2"]),
        ({"a": 1}, {}, ["  model.extra_body.a: 1 -> None"]),
        ({"a": {}}, {"a": {"b": 1}}, ["  model.extra_body.a.b: None -> 1"]),
        ({"a": 5}, {"a": {"b": 1}}, ["  model.extra_body.a: 5 -> None", "  model.extra_body.a.b: None -> 1"]),
        ({"a": {}}, {"a": 5}, ["  model.extra_body.a: {} -> 5"]),
        ({"a": 1, "b": {}}, {"a": 1}, ["  model.extra_body.b: {} -> None"]),
    ],
)
def test_a_table_is_told_by_the_keys_it_gained_or_lost(
    run: Run, then: dict[str, Any], now: dict[str, Any], lines: list[str]
) -> None:
    """An empty one that was filled has not gone; one that has gone, empty as it was, is a change."""
    run.endpoint = ENDPOINT.model_copy(update={"extra_body": then})
    before = run.identity()
    run.endpoint = ENDPOINT.model_copy(update={"extra_body": now})
    assert differences(run, before) == lines


def test_a_larger_target_goes_on(run: Run) -> None:
    """How many records are wanted decides where a run ends, not what it is."""
    before = run.identity()
    run.target = 200
    assert run.identity().target == 200
    assert run.identity().digest == before.digest
    assert differences(run, before) == []


def test_where_the_seeds_lie_and_what_other_stages_do_goes_on(run: Run) -> None:
    """Seeds count by content; a stage's own table is its own."""
    before = run.identity()
    run.sets = ["seed_tasks=elsewhere/seeds.jsonl", "instances.keep=1", "classify.demos=3"]
    assert differences(run, before) == []
    before = run.identity("instances")
    run.sets = ["instances.keep=2"]
    with pytest.raises(IdentityChanged, match=r"instances\.keep: 1 -> 2"):
        identity.compare(run.folder, before, run.identity("instances"))


def test_no_field_of_the_recipe_is_forgotten(run: Run) -> None:
    """Every field is in the identity of some stage, or is known to change no byte that is not already counted."""
    flat = {key for stage in ("bootstrap", "classify", "instances") for key in run.identity(stage).identity}
    other_methods = {name for name in Recipe.model_fields if name in set(chain(*STAGES.values())) - flat}
    by_content = {
        "seed_tasks",
        "user",
        "assistant",
        "judge",
        "pool",
    }  # seeds under "seeds", who plays a role under "roles"
    assert set(Recipe.model_fields) - flat == by_content | other_methods
    counted = set(run.identity().identity["model"])
    named_otherwise = {"name", "alias", "base_url", "engine"}  # the endpoint's `model` and `identity`
    where = {name.removeprefix("model.") for name in CLASSES["operational"] if name.startswith("model.")}
    assert set(Recipe().model.model_dump()) - counted == named_otherwise | where


# --- on disk --------------------------------------------------------------------------------------------------------


def test_stage_json_says_what_the_stage_was_started_with(run: Run) -> None:
    """For people too: the version that wrote it, and the prompts' full texts."""
    identity.write(run.folder, run.identity())
    written = orjson.loads((run.folder / "stage.json").read_bytes())
    assert list(written) == ["stage", "selfinstruct", "target", "seed_tasks", "identity", "prompts", "sha256"]
    assert (written["stage"], written["selfinstruct"], written["target"]) == ("bootstrap", __version__, 100)
    assert written["prompts"] == {"bootstrap/en/list": PROMPT}
    assert written["identity"]["bootstrap"]["presence_penalty"] == 2.0
    assert identity.read(run.folder) == run.identity()


def test_a_stage_json_that_was_changed_shows(run: Run) -> None:
    """Any byte of it; it is still read, since what it says may be compared."""
    identity.write(run.folder, run.identity())
    assert identity.is_intact(run.folder)
    path = run.folder / "stage.json"
    path.write_bytes(path.read_bytes().replace(b'"target": 100', b'"target": 101'))
    assert not identity.is_intact(run.folder)
    assert identity.read(run.folder) == run.identity().model_copy(update={"target": 101})


def test_the_recipe_of_a_run_is_put_together_from_its_stages(tmp_path: Path) -> None:
    """Each stage's own table from its own file; the target beside it."""
    recipe = resolve(None, ["seed=7", "classify.demos=3", "instances.keep=2"], {"model.api": "chat", "model.name": "m"})
    model = {"base_url": "https://a.example/v1", "token_field": "max_tokens", "json_mode": "json_schema"}
    recipe = recipe.model_copy(update={"model": recipe.model.model_copy(update=model)})
    upstream = None
    for name in ("bootstrap", "classify", "instances"):
        link = Link(cast(Stage, SimpleNamespace(name=name, roles=("teacher",))), (), ())
        endpoint = Endpoint(identity="https://a.example/v1", model="m")
        upstream = identity.of_stage(link, recipe, SEEDS, {"teacher": (endpoint, "chat")}, upstream, 100)
        (tmp_path / name).mkdir()
        identity.write(tmp_path / name, upstream)
    assert identity.recipe_of(tmp_path) == (recipe, 100)
    with pytest.raises(BadData, match="no run was started here"):
        identity.recipe_of(tmp_path / "nowhere")


def test_the_stages_of_a_run_come_in_the_order_of_the_chain(tmp_path: Path) -> None:
    """Each names the digest of the one before; neither names of folders nor times of files decide."""
    upstream: str | None = None
    for name in ("mid", "a", "zoo"):
        started = identity.StageIdentity(
            stage=name, selfinstruct="1", target=5, seed_tasks="", identity={"upstream": upstream}, prompts={}
        )
        (tmp_path / name).mkdir()
        identity.write(tmp_path / name, started)
        upstream = started.digest
    assert [started.stage for started in identity.of_run(tmp_path)] == ["mid", "a", "zoo"]
    assert identity.of_run(tmp_path / "nowhere") == []


def test_a_stage_that_never_started_has_no_identity(tmp_path: Path) -> None:
    """Neither in an empty folder nor in none."""
    assert [identity.read(tmp_path), identity.read(tmp_path / "nowhere")] == [None, None]


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b'{"stage": "bootstrap"', b"\xff"])
def test_a_stage_json_that_cannot_be_read_is_damage(tmp_path: Path, content: bytes) -> None:
    """To guess the settings would mix two kinds of records."""
    (tmp_path / "stage.json").write_bytes(content)
    with pytest.raises(DamagedRun, match=r"stage\.json: cannot be read, so the run's recipe is not known"):
        identity.read(tmp_path)


def test_a_stage_json_that_cannot_be_written_is_an_io_failure(run: Run) -> None:
    """Before anything is spent."""
    with pytest.raises(OutputFailed, match=r"stage\.json: cannot write"):
        identity.write(run.folder / "nowhere", run.identity())
