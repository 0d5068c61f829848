"""A stand-in for vLLM: as an API server it looks like version 0.32 from outside, and starts in milliseconds.

With this package's folder first on ``PYTHONPATH``, ``python -m vllm.entrypoints.openai.api_server`` starts it. It
stands on the standard library alone, so any interpreter can run it. tests/stub_engine.py is what tests import.
"""

from __future__ import annotations

__version__ = "0.32.0"
