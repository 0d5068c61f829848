"""Weights as a ``.safetensors`` holds them, of any length from 64 bytes on."""

from __future__ import annotations

import json


def safetensors(size: int = 64) -> bytes:
    """A whole file of so many bytes: the length of the header, the header, and one tensor of zeros."""
    header = json.dumps({"__metadata__": {}, "w": {"data_offsets": [0, size - 64]}}, separators=(",", ":"))
    return (56).to_bytes(8, "little") + header.encode().ljust(56) + bytes(size - 64)
