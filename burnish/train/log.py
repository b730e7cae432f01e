"""What a training run says while it runs and leaves behind: metrics.jsonl and a progress bar."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from burnish.core.files import JsonlLog


class MetricsLog:
    """metrics.jsonl: one object per optimizer step, cut back to the checkpoint when a run goes on."""

    def __init__(self, path: Path, *, done: int = 0) -> None:
        """Keep the records of the first `done` steps; steps after the checkpoint will be taken again."""
        self._log = JsonlLog(path)
        self._log.keep(sum(1 for record in self._log.records if record["step"] <= done))

    @property
    def records(self) -> list[dict[str, Any]]:
        """The steps so far."""
        return self._log.records

    def write(self, record: dict[str, Any]) -> None:
        """Add a step; numbers are rounded to 8 significant digits, and one that is not finite becomes null."""
        self._log.append({name: _plain(value) for name, value in record.items()})

    def close(self) -> None:
        """Close the file."""
        self._log.close()


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.8g}") if math.isfinite(value) else None
    return value


def note(record: dict[str, Any]) -> str:
    """A step's numbers in the few words that fit beside a bar."""
    shown = [
        f"{name} {record[name]:{form}}"
        for name, form in (("loss", ".4f"), ("accuracy", ".2f"), ("reward", ".3f"), ("lr", ".1e"))
        if isinstance(record.get(name), float)
    ]
    return "  ".join([*shown, f"{record['tokens_per_s']:,.0f} tokens/s"])
