"""Option types that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

OutputDir = Annotated[
    Path | None,
    typer.Option("--output-dir", help="Where runs are kept. [default: $SELFINSTRUCT_OUTPUT_DIR, or output]"),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
