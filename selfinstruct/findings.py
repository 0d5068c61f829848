"""What a check of a run found: damage, each with what to do about it, and what is merely worth knowing."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

MOST = 20
"""Findings kept of one file: a thousand lines of the same kind tell nothing more. The others are counted."""


class Finding(NamedTuple):
    """A place that is damaged: a file below the run's folder (and a line or call in it), what is wrong, what to do."""

    where: str
    what: str
    hint: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}; {self.hint}"


@dataclass
class Report:
    """What a check of the run at ``path`` has found so far. ``counts`` says how much was looked at.

    ``in_use``: a process works on the run, so what moves (open rounds, results, temporary files) was left out.
    ``command`` is the one that derives this run's files anew, where that is not `rebuild`.
    """

    path: Path
    in_use: bool = False
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    command: str = ""
    counts: Counter[str] = field(default_factory=Counter)
    _of_file: Counter[str] = field(default_factory=Counter)

    @property
    def sound(self) -> bool:
        """True when nothing is damaged."""
        return not self.findings

    @property
    def rebuild(self) -> str:
        """The hint for what can be derived anew."""
        return f"'{self.command or f'selfinstruct rebuild {self.path}'}' derives it anew from the ledger"

    def found(self, file: str, what: str, hint: str, place: object = None) -> None:
        """Damage in a file of the run, at a line or call of it where that is known."""
        self._of_file[file] += 1
        if self._of_file[file] <= MOST:
            self.findings.append(Finding(file if place is None else f"{file}:{place}", what, hint))

    def close(self) -> None:
        """Say of which files more was found than is listed."""
        self.notes += [
            f"{file}: {count - MOST} more findings of this file are not listed"
            for file, count in self._of_file.items()
            if count > MOST
        ]
