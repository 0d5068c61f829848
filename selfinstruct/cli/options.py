"""Options that several commands share: their types here, their meaning once for all."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from selfinstruct.config import Settings
    from selfinstruct.model_recipe import ModelRecipe

OutputDir = Annotated[
    Path | None,
    typer.Option("--output-dir", help="Where runs are kept. [default: $SELFINSTRUCT_OUTPUT_DIR, or output]"),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]


class Api(StrEnum):
    """Who answers."""

    local = "local"
    vllm = "vllm"
    chat = "chat"
    completion = "completion"
    fake = "fake"
    replay = "replay"


class Lang(StrEnum):
    """What is written."""

    en = "en"
    zh = "zh"


class Score(StrEnum):
    """What tells which answer is better."""

    mean = "mean"
    overall = "overall"


class Rejected(StrEnum):
    """Which answers lose against the best one."""

    random = "random"
    lowest = "lowest"
    all = "all"


class LogFormat(StrEnum):
    """How progress is written where no terminal is."""

    text = "text"
    json = "json"


BaseUrl = Annotated[str | None, typer.Option(help="The API's address. [default: $OPENAI_BASE_URL, or OpenAI's own]")]
EndpointOption = Annotated[
    str | None,
    typer.Option(
        "--endpoint",
        metavar="NAME",
        help="A provider we know: its address, its key's variable and its models' oddities. 'selfinstruct models"
        " endpoints' lists them.",
    ),
]
PoolOption = Annotated[
    str | None,
    typer.Option(
        "--pool",
        metavar="NAME|FILE.toml[:MODEL,…]",
        help="Several models, one drawn for each job: ultrafeedback-17, modern-17 or a file of yours; ':a,b' takes"
        " some of it, ':-a,-b' all but those. 'selfinstruct models check' says which can be asked here.",
    ),
]
EngineOption = Annotated[
    list[str] | None,
    typer.Option(
        "--engine",
        metavar="KEY=VALUE",
        help="For --api vllm, or for all of a --pool: an engine option of vLLM's, such as tensor_parallel_size=2.",
    ),
]
VllmPython = Annotated[
    str | None,
    typer.Option(
        help="For --api vllm: the interpreter that has vLLM."
        " [default: $SELFINSTRUCT_VLLM_PYTHON, .venv-vllm/bin/python, or this one]"
    ),
]
Gpus = Annotated[
    list[str] | None,
    typer.Option(
        metavar="N[,N…]",
        help="For --api vllm: GPUs for one server, by number; given several times, one server on each set."
        " [default: what vLLM takes]",
    ),
]
Seed = Annotated[int | None, typer.Option(help="Seed of every draw. [default: 42]")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Set one recipe key, such as lag=8.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print the first prompt, and calls, tokens, cost and disk; send nothing.")
]
ReplayFrom = Annotated[Path | None, typer.Option(help="For --api replay: the folder of the recorded run.")]

# --- how fast ---------------------------------------------------------------------------------------------------------

Concurrency = Annotated[
    int | None,
    typer.Option(min=1, help="Calls in flight; never changes the data. [default: 32 for an API, 1 local]"),
]
Rpm = Annotated[
    float | None, typer.Option(help="Requests a minute, at most. [default: found out from the server's refusals]")
]
Tpm = Annotated[float | None, typer.Option(help="Tokens a minute, at most, a call counted with its max_tokens.")]
Timeout = Annotated[
    float | None, typer.Option(help="Seconds one attempt may take, its answer's body included. [default: 600]")
]
GiveUpAfter = Annotated[
    str | None,
    typer.Option(
        metavar="DURATION",
        help="Exit 75 when the provider has not answered for so long, such as 20m. [default: 15m; 15s at the start]",
    ),
]

# --- how much ---------------------------------------------------------------------------------------------------------

MaxCost = Annotated[
    str | None,
    typer.Option(
        metavar="AMOUNT",
        help="Never spend more on this run, over all its stages and starts: 20usd, 100cny. Each call is set aside at"
        " the most it can cost before it is sent.",
    ),
]
MaxCalls = Annotated[int | None, typer.Option(min=1, help="Never make more calls for this run.")]
MaxTokensTotal = Annotated[int | None, typer.Option(min=1, help="Never use more tokens, in and out, for this run.")]
PriceOption = Annotated[
    str | None,
    typer.Option(
        "--price",
        metavar="in=…,out=…",
        help="The model's price per million tokens, where the table has none: in=0.5,out=1.5[,currency=cny].",
    ),
]
Deadline = Annotated[
    str | None,
    typer.Option(metavar="DURATION", help="Stop sending after so long, such as 6h; exit 4, running again goes on."),
]
MaxUnusable = Annotated[
    float | None,
    typer.Option(min=0, max=1, help="Exit 3 when a larger share of answers is unusable. [default: 0.2]"),
]
LogFormatOption = Annotated[
    LogFormat, typer.Option("--log-format", help="Progress without a terminal: plain lines, or a JSON object each.")
]


def offered(recipe: ModelRecipe, settings: Settings) -> str:
    """What a server offers instead of an unknown model, where it tells."""
    import asyncio
    import difflib

    from selfinstruct.models.listing import served_models
    from selfinstruct.naming import key_for

    if not recipe.base_url:
        return ""
    names = asyncio.run(served_models(recipe.base_url, key_for(recipe, settings)))
    close = difflib.get_close_matches(recipe.name, names, n=5) or names[:5]
    return f"; the server offers {', '.join(close)}" if close else ""


def settings_of(context: typer.Context) -> Settings:
    """The settings: the command's options that are named as one is, where they are given, over the environment."""
    from selfinstruct import config

    given = {name: value for name, value in context.params.items() if name in config.Settings.model_fields}
    # A list option that is not given is an empty one, which must not hide the variable.
    return config.settings({name: value for name, value in given.items() if value not in ([], ())})
