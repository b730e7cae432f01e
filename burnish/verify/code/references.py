"""Outputs of slow reference solutions, kept on disk by content: MBPP+ alone has references that run for half a minute."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

from burnish.core.files import write_atomic

FORMAT = 1  # raised when values are written another way
LARGEST = 32_000_000  # bytes of a file that is written


def folder() -> Path:
    """Where they are kept: ~/.cache/burnish/references. A file's name holds the target's hash, FORMAT and Python's version."""
    return Path.home() / ".cache" / "burnish" / "references"


def _place(key: str) -> Path:
    return folder() / f"{key}-{FORMAT}-{sys.version_info[0]}.{sys.version_info[1]}.json"


def known(key: str) -> dict[str, Any]:
    """{"known": {"seconds": ..., "outputs": [...]}} for the target of that hash, or {} where nothing is kept or readable."""
    try:
        found = json.loads(_place(key).read_text(encoding="ascii"))
        return {"known": {"seconds": float(found["seconds"]), "outputs": list(found["outputs"])}}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def keep(key: str, made: dict[str, Any]) -> None:
    """Keep outputs and seconds for next time. A folder that cannot be written is no error: it only costs time."""
    text = json.dumps({"seconds": made["seconds"], "outputs": made["outputs"]})
    if len(text) <= LARGEST:
        with contextlib.suppress(OSError):
            folder().mkdir(parents=True, exist_ok=True)
            write_atomic(_place(key), text)
