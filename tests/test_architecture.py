"""The rules of the house that a machine can check, read from the source by ``ast``; each is first seen to fail."""

from __future__ import annotations

import ast
import os
import re
import socket
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, get_args

import pytest

from selfinstruct import model_recipe, recipe, schema

PACKAGE = Path(__file__).resolve().parents[1] / "selfinstruct"
PROJECT = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text("utf-8"))["project"]

# --- the rules' data: who may import whom ---------------------------------------------------------------------------

NOUNS_AND_VERBS = {"schema", "feedback_schema", "protocols"}
LEAVES = {
    *("errors", "base_url", "batch_file", "checksums", "eval_items", "failpoints", "json_array", "lexicon", "money"),
    *("dialogue_seeds", "jsonl_file", "languages", "materials", "opener_file", "passages", "self_reference"),
    *("gated_pattern", "pairing", "sources", "text_lines", "token_estimate", "turn_text"),
    *(
        "parsing",
        "prompts",
        "resources",
        "rules",
        "run_folder",
        "run_lock",
        "seed_tasks",
        "sensitive",
        "similarity",
        "wire",
    ),
    "wire_errors",
}

# schema ← protocols ← {models, stages, filters, store, ledger} ← runner ← cli. A module not listed here has no place
# yet: give it a line. Every module may import itself and __version__.
MAY_IMPORT: dict[str, set[str]] = {
    "__init__": set(),
    "errors": set(),
    "resources": set(),
    "schema": set(),
    "feedback_schema": {"schema"},
    "base_url": {"errors"},
    "parsing": {"errors", "schema"},
    "prompts": {"errors", "resources", "schema"},
    "run_folder": {"errors", "run_lock"},
    "run_lock": set(),
    "similarity": set(),
    "seed_tasks": {"errors", "jsonl_file", "schema"},
    "jsonl_file": {"errors", "schema", "text_lines"},
    "text_lines": {"errors"},
    "token_estimate": set(),
    "wire": {"errors", "schema", "wire_errors"},
    "wire_errors": {"errors"},
    "batch_file": {"errors", "wire", "wire_errors"},
    "failpoints": set(),
    "money": {"errors", "schema", "token_estimate"},
    "pricing": {"errors", "money", "resources"},
    "rules": {"errors", "resources", "schema"},
    "endpoints": {"base_url", "errors", "resources", "schema"},
    "model_recipe": {"schema"},
    "pools": {"base_url", "errors", "money", "resources", "schema"},
    "pool_recipes": {"errors", "model_recipe", "pools"},
    "engine": {"base_url", "errors", "model_digest", "resources", "wire_errors"},
    "model_digest": {"errors"},
    "stage_recipes": {"feedback_schema", "rules", "schema"},
    "recipe": {"model_recipe", "schema", "stage_recipes"},
    "changes": set(),
    "naming": {"base_url", "config", "endpoints", "errors", "model_recipe", "recipe", "schema"},
    "config": {"errors", "money", "pool_recipes", "recipe", "resources"},
    "yields": {"errors", "identity", "ledger_reader", "store", "store_files", "schema"},
    "protocols": {"schema"},
    "ledger": NOUNS_AND_VERBS | LEAVES | {"ledger_file", "ledger_reader"},
    "ledger_reader": NOUNS_AND_VERBS | LEAVES | {"ledger_file"},
    "ledger_file": {"errors"},
    "admission": {"errors", "money", "schema"},
    "store": NOUNS_AND_VERBS | LEAVES | {"store_files", "store_manifest"},
    "store_files": {"errors", "failpoints", "schema"},
    "models": NOUNS_AND_VERBS | LEAVES,  # and the engine, by the table below
    "stages": NOUNS_AND_VERBS | LEAVES,
    "filters": NOUNS_AND_VERBS | LEAVES,
    "guards": NOUNS_AND_VERBS | LEAVES,
    "formats": LEAVES | {"feedback_schema", "schema", "store", "store_files"},
    # Reads what others wrote as `filter` does, and runs of ours.
    "training": LEAVES | {"identity", "model_digest", "rows", "schema", "store", "store_files"},
    "evaluation": LEAVES | {"schema", "store"},
    "links": NOUNS_AND_VERBS | LEAVES | {"recipe"},
    "methods": NOUNS_AND_VERBS  # which stages and filters make a method
    | LEAVES
    | {"config", "recipe", "filters", "links", "stage_recipes", "stages", "suite", "ultrachat", "ultrafeedback"},
    "identity": NOUNS_AND_VERBS | LEAVES | {"changes", "links", "model_recipe", "recipe", "store", "store_files"},
    "runner_filters": NOUNS_AND_VERBS,
    "runner": NOUNS_AND_VERBS
    | {"runner_filters"}
    | LEAVES
    | {"admission", "config", "recipe", "filters", "ledger", "models", "stages", "store"},
}
# What dialogues are made of, and how they are handed on.
MAY_IMPORT["dialogue_seeds"] = {"errors", "jsonl_file", "resources", "schema"}
MAY_IMPORT["languages"] = {"rules"}
MAY_IMPORT["turn_text"] = set()
MAY_IMPORT["gated_pattern"] = {"turn_text"}
MAY_IMPORT["self_reference"] = {"gated_pattern", "rules", "turn_text"}
MAY_IMPORT["passages"] = {"text_lines", "token_estimate"}
MAY_IMPORT["materials"] = {"errors", "passages", "text_lines"}
MAY_IMPORT["opener_file"] = {"errors", "text_lines"}
MAY_IMPORT["kept_records"] = {"errors", "identity", "schema", "store"}
MAY_IMPORT["opener_run"] = {"kept_records", "opener_file", "schema"}
MAY_IMPORT["ultrachat"] = (
    NOUNS_AND_VERBS | LEAVES | {"filters", "guards", "links", "opener_run", "stage_recipes", "stages", "suite"}
)
MAY_IMPORT["ultrachat"] |= {"instruction_language"}
MAY_IMPORT["dialogue_cuts"] = {"schema"}
MAY_IMPORT["true_case"] = {"schema"}
MAY_IMPORT["tokenizer_file"] = {"errors"}
# What several models are asked, which of them, and what a judge's ratings are made into.
MAY_IMPORT["instruction_file"] = {"errors", "schema", "text_lines"}
MAY_IMPORT["instruction_run"] = {"errors", "identity", "instruction_file", "kept_records", "schema"}
MAY_IMPORT["instruction_language"] = {"errors", "filters", "schema"}
MAY_IMPORT["sampling_design"] = {"errors"}
MAY_IMPORT["principles"] = {"errors", "feedback_schema", "sources"}
MAY_IMPORT["pairing"] = {"feedback_schema"}
MAY_IMPORT["sources"] = set()
MAY_IMPORT["judge_baiting"] = {"gated_pattern", "lexicon", "turn_text"}
MAY_IMPORT["audit"] = {"audit_lines", "audit_sums", "feedback_schema", "judge_baiting", "sources"}
MAY_IMPORT["audit_sums"] = set()
MAY_IMPORT["audit_lines"] = {"sources"}
MAY_IMPORT["ultrafeedback"] = NOUNS_AND_VERBS | LEAVES | {"audit", "filters", "instruction_file", "instruction_run"}
MAY_IMPORT["ultrafeedback"] |= {"instruction_language", "links", "principles", "recipe", "sampling_design", "stages"}
# Screening rows of anybody's data.
MAY_IMPORT["suite"] = {
    "errors",
    "filters",
    "protocols",
    "rules",
    "schema",
    "similarity",
}  # which filters there are, by name
MAY_IMPORT["json_array"] = {"errors"}
MAY_IMPORT["eval_items"] = {"errors", "json_array"}  # the items of evaluation sets
MAY_IMPORT["checksums"] = set()
MAY_IMPORT["lexicon"] = set()  # lists of words, found in text as people spell them
MAY_IMPORT["sensitive"] = {"errors", "rules", "schema"}  # patterns of what must not be in a text
MAY_IMPORT["parquet_file"] = {"errors"}
MAY_IMPORT["rows"] = {"errors", "identity", "json_array", "parquet_file", "run_folder", "store"}
MAY_IMPORT["screening"] = {"errors", "filters", "protocols", "rows", "schema", "suite"}
MAY_IMPORT["filtering"] = {"errors", "rows", "run_lock", "screening", "store_files", "suite"}
MAY_IMPORT["call_path"] = NOUNS_AND_VERBS | LEAVES | {"admission", "config", "recipe", "models", "pricing"}
MAY_IMPORT["call_path"] |= {"ledger", "ledger_reader"}
MAY_IMPORT["batch"] = LEAVES | {"call_path", "config", "model_recipe", "ledger_reader", "models", "schema"}
MAY_IMPORT["results"] = LEAVES | {"batch", "ledger_reader", "schema", "store_files"}
MAY_IMPORT["completing"] = MAY_IMPORT["call_path"] | {"batch", "call_path", "identity", "results", "store_files"}
MAY_IMPORT["completing"] |= {"model_recipe"}
MAY_IMPORT["settling"] = {"errors", "identity", "launch", "ledger_reader", "store"}
MAY_IMPORT["passes"] = NOUNS_AND_VERBS | {"admission", "call_path", "errors", "models", "runner", "stages", "store"}
MAY_IMPORT["launch"] = set(MAY_IMPORT) - {"formats", "training", "evaluation", "batch", "completing", "results"}
MAY_IMPORT["forecast"] = LEAVES | {"admission", "batch", "call_path", "config", "recipe", "ledger_reader"}
MAY_IMPORT["dialogue_forecast"] = NOUNS_AND_VERBS | LEAVES | {"forecast", "launch", "ledger_reader", "stages"}
MAY_IMPORT["dialogue_forecast"] |= {"store"}
MAY_IMPORT["role_prices"] = {"call_path", "config", "launch", "models", "money", "pricing"}
MAY_IMPORT["left_to_do"] = {"forecast", "launch", "links", "store"}
MAY_IMPORT["feedback_stand_ins"] = NOUNS_AND_VERBS | LEAVES | {"launch", "stages"}
MAY_IMPORT["feedback_forecast"] = MAY_IMPORT["dialogue_forecast"] | {"dialogue_forecast", "feedback_stand_ins", "links"}
MAY_IMPORT["feedback_forecast"] |= {"pricing", "role_prices"}
MAY_IMPORT["estimating"] = MAY_IMPORT["launch"] | {"dialogue_forecast", "left_to_do", "role_prices"}
MAY_IMPORT["estimating"] |= {"feedback_forecast", "feedback_stand_ins"}
MAY_IMPORT["estimating"] |= MAY_IMPORT["launch"] | {"batch", "forecast", "launch"}  # what a run would cost
# Does everything on disk fit together, and how is it mended?
MAY_IMPORT["findings"] = set()
MAY_IMPORT["ledger_audit"] = {"errors", "findings", "ledger_file", "schema", "wire"}
MAY_IMPORT["shard_audit"] = {"findings", "identity", "ledger_audit", "store", "store_files"} | NOUNS_AND_VERBS
# What `doctor` looks at.
MAY_IMPORT["machine_checks"] = {"config", "errors", "run_folder"}
MAY_IMPORT["checkup"] = LEAVES | {"call_path", "config", "endpoints", "engine", "machine_checks", "model_recipe"}
MAY_IMPORT["checkup"] |= {"gpus", "models", "naming", "pricing", "schema"}
MAY_IMPORT["verifying"] = LEAVES | {"batch", "config", "recipe", "findings", "identity", "models", "results", "schema"}
MAY_IMPORT["verifying"] |= {"model_recipe", "ledger_audit", "ledger_reader", "shard_audit"}
# A run derived anew from its ledger, to mend its files or to filter its candidates anew.
MAY_IMPORT["deriving"] = MAY_IMPORT["launch"] | {"launch", "verifying"}
MAY_IMPORT["repairing"] = LEAVES | MAY_IMPORT["verifying"] | {"deriving", "ledger", "store", "verifying"}
MAY_IMPORT["redrawing"] = {"errors", "protocols", "schema", "store"}
MAY_IMPORT["refiltering"] = MAY_IMPORT["launch"] | {"batch", "deriving", "launch", "ledger_file", "redrawing"}
# Which models of a pool can be asked from here.
MAY_IMPORT["gpus"] = set()
MAY_IMPORT["hub_cache"] = set()
MAY_IMPORT["fitting"] = {"config", "engine", "errors", "gpus", "hub_cache", "model_digest", "model_recipe", "models"}
MAY_IMPORT["fitting"] |= {"money", "pools"}
MAY_IMPORT["pool_check"] = {"base_url", "config", "engine", "errors", "fitting", "model_recipe", "models", "money"}
MAY_IMPORT["pool_check"] |= {"naming", "pool_recipes", "pools", "pricing", "recipe"}
# Models that were tuned: asked for several answers, served, and asked for new data.
MAY_IMPORT["sampling_n"] = MAY_IMPORT["completing"] | {"completing", "instruction_file", "instruction_run", "ledger"}
MAY_IMPORT["sampling_n"] |= {"ledger_reader", "run_folder", "training"}
MAY_IMPORT["served_model"] = {"errors", "models", "training", "wire_errors"}
MAY_IMPORT["serving"] = {"base_url", "engine", "errors", "gpus", "models", "served_model", "wire_errors"}
MAY_IMPORT["looping"] = {"errors", "identity", "run_folder", "schema", "serving", "store_files", "store_manifest"}
MAY_IMPORT["store_manifest"] = {"schema", "store_files"}
for allowed in MAY_IMPORT.values():
    allowed |= {"store_manifest"} if "store" in allowed else set()
MAY_IMPORT["cli"] = set(MAY_IMPORT)
MAY_IMPORT["__main__"] = {"cli"}

# What single modules may import beyond their folder's line.
MAY_ALSO_IMPORT: dict[str, set[str]] = {
    "models/admitted.py": {"admission", "ledger"},  # waits for a turn, reserves each attempt before it is sent
    "models/recorded.py": {"ledger"},  # looks each call up, and settles it
    "models/replay.py": {"ledger_reader"},  # answers from a recorded one
    # Makes a model of what a run is started with.
    "models/opening.py": {"model_digest", "config", "engine", "ledger_reader", "model_recipe", "naming", "recipe"},
    "models/vllm_server.py": {"engine"},  # which it starts and asks
    "models/seated.py": {"admission"},
    "models/conversion.py": {"store_files"},  # sees a folder on disk before it has its name
}

# Siblings in these folders know nothing of each other, except the modules named here, which all of them may import.
SHARED_BY_SIBLINGS: dict[str, set[str]] = {
    "models": set(),
    "stages": {"demos", "judging", "lists", "together"},  # what a prompt shows, how lists and judges are asked for
    "filters": set(),
    "guards": set(),
    "formats": {"transcript"},
    "training": {  # what the five ways of tuning stand on
        *(
            "adapters",
            "answers",
            "arguments",
            "base_model",
            "card",
            "checkpoints",
            "curves",
            "data",
            "encoding",
            "examples",
        ),
        *("extra", "merging", "mixing", "progress", "record", "recipe", "rendering", "running", "scoring", "shapes"),
        *("supervised", "templates", "turns", "weighted"),
    },
    "parsing": {  # what the readers stand on
        *("markup", "chatter", "markers", "outline", "item_text", "fields"),
        *("whole_task", "block_headers", "block_layout", "block_style", "block_tails", "json_nodes"),
        *("rating_sections", "rating_lines", "rating_order", "rating_places", "rating_values", "one_value"),
    },
    "cli": {
        "estimates",
        "exporting",
        "figures",
        "options",
        "report",
        "running",
        "servers",
        "tuning_options",
        "tuning_report",
    },  # the option types that commands share, and what each of their stops prints
}
# The one module of each folder that lists the others, so the only one to import them.
TABLES = {
    "models/opening.py",
    "stages/__init__.py",
    "filters/__init__.py",
    "guards/__init__.py",
    "formats/__init__.py",
    "parsing/__init__.py",
    "training/dry_run.py",  # says of each way what it would do
    "cli/app.py",
    "cli/start.py",  # the console script: hands over to app.py
}

# --- the rules' data: budgets and bans ------------------------------------------------------------------------------

FUNCTION_LINES, MODULE_LINES, PARAMETERS = 60, 500, 6
PROMPT_CHARACTERS = 200  # a string longer than this in a stage is a prompt that should be a file
NAMELESS = {"utils", "common", "helpers", "base", "misc"}
BROAD = {"Exception", "BaseException"}
OUTERMOST_FRAME = "cli/app.py"  # here alone an error nobody foresaw is caught, and becomes exit code 1
UNSAFE_MODULES = {"pickle", "cPickle", "cloudpickle", "dill", "marshal", "shelve"}
HEAVY = {
    *("aiohttp", "datasets", "datasketch", "httpx", "nltk", "numpy", "openai", "pyarrow", "rapidfuzz", "rouge_score"),
    *("scipy", "torch", "transformers", "trl", "uvloop", "vllm", "xllamacpp"),
}


class Module(NamedTuple):
    """A source file: its path below ``selfinstruct/`` and what it says."""

    path: str
    text: str

    @property
    def parts(self) -> list[str]:
        """``stages/alpaca.py`` → ``["stages", "alpaca"]``."""
        return self.path.removesuffix(".py").split("/")

    def nodes(self) -> Iterator[ast.AST]:
        """Every node of its syntax tree."""
        return ast.walk(ast.parse(self.text))

    def imports(self) -> Iterator[tuple[int, str]]:
        """Line and dotted name of each import, relative ones resolved; ``from a import b`` is ``a.b``."""
        here = ["selfinstruct", *self.parts[:-1]]
        for node in self.nodes():
            if isinstance(node, ast.Import):
                yield from ((node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                start = here[: len(here) - node.level + 1] if node.level else []
                source = [*start, *([node.module] if node.module else [])]
                yield from ((node.lineno, ".".join([*source, alias.name])) for alias in node.names)

    def own_imports(self) -> Iterator[tuple[int, list[str]]]:
        """Those of them that are ours, split at the dots, ``selfinstruct`` left off."""
        for line, name in self.imports():
            root, *rest = name.split(".")
            if root == "selfinstruct":
                yield line, rest or ["selfinstruct"]


Finding = tuple[int, str]  # line, what is wrong there
Rule = Callable[[Module], Iterator[Finding]]

# --- the rules ------------------------------------------------------------------------------------------------------


def imports_point_one_way(module: Module) -> Iterator[Finding]:
    """Each module imports only what the two tables allow it."""
    area = module.parts[0]
    if area not in MAY_IMPORT:
        yield 1, f"{area} has no line in MAY_IMPORT"
        return
    allowed = {area, "__version__"} | MAY_IMPORT[area] | MAY_ALSO_IMPORT.get(module.path, set())
    for line, (target, *_) in module.own_imports():
        if target not in allowed:
            yield line, f"{area} may not import {target}"


def siblings_never_import_each_other(module: Module) -> Iterator[Finding]:
    """A stage knows no other stage, a filter no other filter; tables list them, shared modules are named."""
    folder = module.parts[0]
    if folder not in SHARED_BY_SIBLINGS or module.path in TABLES:
        return
    allowed = {module.parts[-1]} | SHARED_BY_SIBLINGS[folder]
    for line, name in module.own_imports():
        if name[0] == folder and (len(name) == 1 or name[1] not in allowed):
            yield line, f"imports its sibling {'.'.join(name)}"


def functions_and_modules_are_small(module: Module) -> Iterator[Finding]:
    """The budgets of the design, which are what can be read aloud."""
    lines = len(module.text.splitlines())
    if lines > MODULE_LINES:
        yield lines, f"{lines} lines; a module has at most {MODULE_LINES}"
    for node in module.nodes():
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        # A public function of cli/ is a command: its parameters are the command's options, which Typer reads.
        is_command = module.parts[0] == "cli" and not node.name.startswith("_")
        first_line = node.body[0].lineno if is_command else node.lineno
        length = (node.end_lineno or node.lineno) - first_line + 1
        if length > FUNCTION_LINES:
            yield node.lineno, f"{node.name} has {length} lines; a function has at most {FUNCTION_LINES}"
        count = len(_parameters(node.args))
        if count > PARAMETERS and not is_command:
            yield node.lineno, f"{node.name} has {count} parameters; a function has at most {PARAMETERS}"


def _parameters(arguments: ast.arguments) -> list[str]:
    every = [*arguments.posonlyargs, *arguments.args, arguments.vararg, *arguments.kwonlyargs, arguments.kwarg]
    names = [argument.arg for argument in every if argument]
    return names[1:] if names[:1] in (["self"], ["cls"]) else names


def module_names_say_what_is_inside(module: Module) -> Iterator[Finding]:
    """No drawer for odds and ends."""
    for part in module.parts:
        if part.strip("_") in NAMELESS:
            yield 1, f"no module is called {part}"


def excepts_are_narrow(module: Module) -> Iterator[Finding]:
    """Only the outermost frame catches what it did not foresee."""
    if module.path == OUTERMOST_FRAME:
        return
    for node in module.nodes():
        if isinstance(node, ast.ExceptHandler):
            caught = _names(node.type) if node.type else BROAD
        elif isinstance(node, ast.Call) and _dotted(node.func) in {"suppress", "contextlib.suppress"}:
            caught = {name for argument in node.args for name in _names(argument)}
        else:
            continue
        if caught & BROAD:
            yield node.lineno, "catches everything"


def only_the_cli_prints(module: Module) -> Iterator[Finding]:
    """A library that prints cannot be used by a program."""
    for node in module.nodes():
        if module.parts[0] != "cli" and isinstance(node, ast.Call) and _dotted(node.func) == "print":
            yield node.lineno, "prints"


def prompts_live_in_files(module: Module) -> Iterator[Finding]:
    """No stage holds a long text, docstrings excepted: what we send is data under ``prompts/``."""
    if module.parts[0] != "stages":
        return
    tree = list(module.nodes())
    documentation = {id(node.value) for node in tree if isinstance(node, ast.Expr)}
    for node in tree:
        pieces = node.values if isinstance(node, ast.JoinedStr) else [node]
        texts = [piece.value for piece in pieces if isinstance(piece, ast.Constant) and isinstance(piece.value, str)]
        if sum(map(len, texts)) > PROMPT_CHARACTERS and id(node) not in documentation:
            yield getattr(node, "lineno", 0), "holds a text as long as a prompt"


def nothing_ambient_nothing_executed(module: Module) -> Iterator[Finding]:
    """No global random state, no format that runs code when it is read, no code made at run time."""
    for line, name in module.imports():
        if name.split(".")[0] in UNSAFE_MODULES or name == "random.seed":
            yield line, f"imports {name}"
    for node in module.nodes():
        if isinstance(node, ast.Call) and _dotted(node.func) in {"eval", "exec", "random.seed", "np.random.seed"}:
            yield node.lineno, f"calls {_dotted(node.func)}"


def third_party_imports_are_declared(module: Module) -> Iterator[Finding]:
    """What we import we name in pyproject.toml: what another package happens to bring is gone with its next release."""
    extras = [needs for extra, needs in PROJECT["optional-dependencies"].items() if extra != "test"]
    every = [need for needs in [PROJECT["dependencies"], *extras] for need in needs]
    declared = {re.split(r"[^\w.-]", need)[0].replace("-", "_") for need in every}
    for line, name in module.imports():
        root = name.split(".")[0]
        if root not in declared | sys.stdlib_module_names | {"selfinstruct"}:
            yield line, f"{root} is not among the dependencies"


def _dotted(node: ast.AST) -> str:
    """``a.b.c`` as text; anything else is empty."""
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def _names(node: ast.AST) -> set[str]:
    return {name.id for name in ast.walk(node) if isinstance(name, ast.Name)}


RULES: list[Rule] = [
    imports_point_one_way,
    siblings_never_import_each_other,
    functions_and_modules_are_small,
    module_names_say_what_is_inside,
    excepts_are_narrow,
    only_the_cli_prints,
    prompts_live_in_files,
    nothing_ambient_nothing_executed,
    third_party_imports_are_declared,
]

# --- the rules can fail: a source, and the lines they must find in it ------------------------------------------------

SIX, SEVEN = "a, b, c, d, e, f", "a, b, c, d, e, f, g"
LONG = "x" * (PROMPT_CHARACTERS + 1)

EXAMPLES: list[tuple[Rule, str, str, list[int]]] = [
    (imports_point_one_way, "schema.py", "from selfinstruct.errors import BadData", [1]),
    (imports_point_one_way, "stages/a.py", "import json\nfrom selfinstruct import filters", [2]),
    (imports_point_one_way, "stages/a.py", "def f():\n    import selfinstruct.models.fake", [2]),
    (imports_point_one_way, "filters/a.py", "from ..runner import run", [1]),
    (imports_point_one_way, "formats/a.py", "from selfinstruct.protocols import Stage", [1]),
    (imports_point_one_way, "errors.py", "import selfinstruct", [1]),
    (imports_point_one_way, "models/openai_api.py", "from selfinstruct.ledger import Ledger", [1]),
    (imports_point_one_way, "newcomer.py", "", [1]),
    (imports_point_one_way, "stages/a.py", "from selfinstruct.schema import Noun\nfrom selfinstruct import wire", []),
    (imports_point_one_way, "models/recorded.py", "from selfinstruct.ledger import Ledger", []),
    (imports_point_one_way, "wire.py", "from selfinstruct import __version__", []),
    (siblings_never_import_each_other, "stages/a.py", "from selfinstruct.stages.b import prompt", [1]),
    (siblings_never_import_each_other, "filters/a.py", "from . import b", [1]),
    (siblings_never_import_each_other, "models/a.py", "from selfinstruct.models import opening", [1]),
    (siblings_never_import_each_other, "formats/a.py", "from selfinstruct.formats import FORMATS", [1]),
    (siblings_never_import_each_other, "cli/a.py", "from selfinstruct.cli import b", [1]),
    (siblings_never_import_each_other, "cli/a.py", "from selfinstruct.cli.options import Out", []),
    (siblings_never_import_each_other, "stages/__init__.py", "from selfinstruct.stages import a", []),
    (functions_and_modules_are_small, "a.py", "\n" * (MODULE_LINES + 1), [MODULE_LINES + 1]),
    (functions_and_modules_are_small, "a.py", "\n" * MODULE_LINES, []),
    (functions_and_modules_are_small, "a.py", "def f():\n" + "    0\n" * FUNCTION_LINES, [1]),
    (functions_and_modules_are_small, "a.py", "def f():\n" + "    0\n" * (FUNCTION_LINES - 1), []),
    (functions_and_modules_are_small, "a.py", f"async def f({SEVEN}): ...", [1]),
    (functions_and_modules_are_small, "a.py", "def f(a, b, /, c, *d, e, f, **g): ...", [1]),
    (functions_and_modules_are_small, "a.py", f"class C:\n    def f(self, {SIX}): ...", []),
    (functions_and_modules_are_small, "cli/a.py", f"def f({SEVEN}): ...", []),
    (functions_and_modules_are_small, "cli/a.py", f"def _f({SEVEN}): ...", [1]),
    (module_names_say_what_is_inside, "stages/utils.py", "", [1]),
    (module_names_say_what_is_inside, "_common/a.py", "", [1]),
    (module_names_say_what_is_inside, "stages/alpaca.py", "", []),
    (excepts_are_narrow, "a.py", "try: f()\nexcept: pass", [2]),
    (excepts_are_narrow, "a.py", "try: f()\nexcept Exception: pass", [2]),
    (excepts_are_narrow, "a.py", "try: f()\nexcept (OSError, BaseException): pass", [2]),
    (excepts_are_narrow, "a.py", "with contextlib.suppress(Exception): f()", [1]),
    (excepts_are_narrow, "a.py", "try: f()\nexcept (OSError, ValueError): pass\nwith suppress(KeyError): f()", []),
    (excepts_are_narrow, "cli/app.py", "try: f()\nexcept Exception: pass", []),
    (excepts_are_narrow, "cli/runs.py", "try: f()\nexcept Exception: pass", [2]),
    (only_the_cli_prints, "store.py", "def f():\n    print(1)", [2]),
    (only_the_cli_prints, "cli/a.py", "print(1)", []),
    (prompts_live_in_files, "stages/a.py", f"x = '{LONG}'", [1]),
    (prompts_live_in_files, "stages/a.py", f"x = f'{LONG[:150]}{{y}}{LONG[:150]}'", [1]),
    (prompts_live_in_files, "stages/a.py", f"def f():\n    '''{LONG}'''\n    return 'short'", []),
    (prompts_live_in_files, "filters/a.py", f"x = '{LONG}'", []),
    (nothing_ambient_nothing_executed, "a.py", "import random\nrandom.seed(1)", [2]),
    (nothing_ambient_nothing_executed, "a.py", "from random import seed", [1]),
    (nothing_ambient_nothing_executed, "a.py", "from pickle import loads", [1]),
    (nothing_ambient_nothing_executed, "a.py", "eval('1')\nexec('1')", [1, 2]),
    (nothing_ambient_nothing_executed, "a.py", "import random\nre.compile('x')\nrandom.Random(1)", []),
    (third_party_imports_are_declared, "a.py", "import attrs\nfrom hypothesis import given", [1, 2]),
    (third_party_imports_are_declared, "a.py", "import os.path, pydantic_settings, rapidfuzz\nfrom . import b", []),
]


@pytest.mark.parametrize(
    ("rule", "path", "source", "lines"),
    EXAMPLES,
    ids=[f"{rule.__name__}-{number}" for number, (rule, *_) in enumerate(EXAMPLES)],
)
def test_a_rule_finds_what_it_forbids_and_nothing_else(rule: Rule, path: str, source: str, lines: list[int]) -> None:
    """On a source made for it, a rule points at exactly the bad lines."""
    assert [line for line, _ in rule(Module(path, source))] == lines


def test_every_rule_is_seen_to_fail() -> None:
    """A rule without a bad example could be one that never finds anything."""
    assert {rule for rule, _, _, lines in EXAMPLES if lines} == set(RULES)


@pytest.fixture(scope="module")
def package() -> list[Module]:
    """Every source file of the package."""
    files = sorted(PACKAGE.rglob("*.py"))
    return [Module(file.relative_to(PACKAGE).as_posix(), file.read_text("utf-8")) for file in files]


@pytest.mark.parametrize("rule", RULES)
def test_the_package_keeps_the_rule(rule: Rule, package: list[Module]) -> None:
    """No file of the package breaks it; what is found is a list of places to click on."""
    assert "schema.py" in {module.path for module in package}
    assert [f"selfinstruct/{m.path}:{line}: {what}" for m in package for line, what in rule(m)] == []


# --- what cannot be read from the source ----------------------------------------------------------------------------


def loaded(statement: str, names: set[str]) -> set[str]:
    """Which of these top-level modules a fresh interpreter holds once it has run the statement with ``--help``."""
    probe = f"import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr)); {statement}"
    environment = os.environ | {"PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run([sys.executable, "-c", probe, "--help"], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {name.partition(".")[0] for name in done.stderr.split()} & names


def test_the_probe_sees_what_is_loaded() -> None:
    """A module that the statement imports is found, one that it does not is not."""
    assert loaded("import json.decoder", {"json", "zipapp"}) == {"json"}


def test_help_loads_nothing_heavy() -> None:
    """``selfinstruct --help`` answers at once, since commands import what they need when they run."""
    assert loaded("from selfinstruct.cli.app import main; main()", HEAVY | {"selfinstruct"}) == {"selfinstruct"}


def test_no_test_reaches_beyond_this_machine() -> None:
    """The suite's own guard refuses a foreign address and lets loopback through to the (closed) socket."""
    closed = socket.socket()
    closed.close()
    with pytest.raises(pytest.fail.Exception, match=r"192\.0\.2\.1"):
        closed.connect(("192.0.2.1", 443))
    with pytest.raises(OSError, match="Bad file descriptor"):
        closed.connect(("127.0.0.1", 443))


def test_the_commands_offer_what_the_recipe_and_the_tables_know() -> None:
    """Option values are spelled out in cli/ so that --help stays light; they may not drift from what is there."""
    from selfinstruct import feedback_schema, pairing, principles, sampling_design
    from selfinstruct.cli import binarize, dialogue, export, feedback, generate, options
    from selfinstruct.config import COMMANDS
    from selfinstruct.formats import FORMATS
    from selfinstruct.methods import METHODS

    assert [api.value for api in options.Api] == list(get_args(model_recipe.Api)) == list(model_recipe.DEFAULT_MODELS)
    assert [method.value for method in generate.Method] == [name for name in METHODS if name not in COMMANDS]
    assert list(get_args(recipe.Method)) == list(METHODS)
    assert [sector.value for sector in dialogue.Sector] == list(get_args(schema.Sector)) == list(recipe.ENTRIES)
    assert [format.value for format in export.Format] == list(FORMATS)
    assert {format.value for format in binarize.Format} <= set(FORMATS)
    for offered, known in (
        (feedback.Design, sampling_design.Kind),
        (feedback.Principles, principles.Table),
        (feedback.Format, schema.AnswerForm),
        (options.Score, feedback_schema.ScoreOf),
        (options.Rejected, pairing.Rejected),
    ):
        assert [choice.value for choice in offered] == list(get_args(known))
