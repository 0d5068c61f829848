"""Seed tasks in, instruction data out: resumable, explained record by record, never paid for twice."""

__version__ = "0.1.0"
