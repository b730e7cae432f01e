"""What a training run says while it runs and leaves behind: metrics.jsonl, a progress bar, and how fast it was."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from burnish.core.files import JsonlLog
from burnish.core.follow import number
from burnish.model.rates import MatrixRate
from burnish.train.trackers import Tracker, numbers_of

FORMULA = "6 × matrix parameters × tokens (the head only at labels) + attention"


class MetricsLog:
    """metrics.jsonl: one object per optimizer step, cut back to the checkpoint when a run goes on."""

    def __init__(self, path: Path, *, done: int = 0) -> None:
        """Keep the records of the first `done` steps; steps after the checkpoint will be taken again."""
        self._log = JsonlLog(path)
        self._log.keep(sum(1 for record in self._log.records if record["step"] <= done))
        self._trackers: Sequence[Tracker] = ()

    def track(self, trackers: Sequence[Tracker]) -> None:
        """Give the steps from here on to trackers too; they are closed with the file."""
        self._trackers = trackers

    @property
    def records(self) -> list[dict[str, Any]]:
        """The steps so far."""
        return self._log.records

    def write(self, record: dict[str, Any]) -> None:
        """Add a step; numbers are rounded to 8 significant digits, and one that is not finite becomes null."""
        self._log.append({name: _plain(value) for name, value in record.items()})
        for tracker in self._trackers:
            tracker.log(record["step"], numbers_of(record))

    def close(self) -> None:
        """Close the file and the trackers."""
        self._log.close()
        for tracker in self._trackers:
            tracker.close()


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.8g}") if math.isfinite(value) else None
    return value


def note(record: Mapping[str, Any]) -> str:
    """A step's numbers in the few words that fit beside a bar."""
    shown = [
        f"{name} {value:{form}}"
        for name, form in (("loss", ".4f"), ("accuracy", ".2f"), ("reward", ".3f"), ("lr", ".1e"))
        if (value := number(record.get(name))) is not None
    ]
    if (rate := number(record.get("tokens_per_s"))) is not None:
        shown.append(f"{rate:,.0f} tokens/s")
    if (mfu := number(record.get("mfu"))) is not None:
        shown.append(f"{mfu:.0%} MFU")
    return "  ".join(shown)


@dataclass(slots=True)
class Speed:
    """Model FLOPs against the clock and against what the machine's matrix products reach; sums over this sitting.

    rate:    of one process. devices: how many of them train together.
    wall_s:  seconds of all steps; flops: their model FLOPs; update_s: the part of wall_s that was spent in optimizer updates.
    """

    rate: MatrixRate
    devices: int
    steps: int = 0
    flops: float = 0.0
    wall_s: float = 0.0
    update_s: float = 0.0

    def step(self, flops: float, wall_s: float, update_s: float) -> dict[str, float]:
        """Count a step; returns its `tflops` and `mfu`, and `mfu_published` where the device's published rate is known."""
        self.steps += 1
        self.flops += flops
        self.wall_s += wall_s
        self.update_s += update_s
        per_s = flops / max(wall_s, 1e-9)
        found = {"tflops": per_s / 1e12, "mfu": per_s / (self.rate.flops * self.devices)}
        if self.rate.published:
            found["mfu_published"] = per_s / (self.rate.published * self.devices)
        return found

    @property
    def passes(self) -> float:
        """FLOP/s of the forward and backward passes alone."""
        return self.flops / max(self.wall_s - self.update_s, 1e-9)

    def told(self, title: str) -> str:
        """The sitting's speed in a line, with the formula; "" before the first step."""
        if not self.flops:
            return ""
        per_s, peak = self.flops / max(self.wall_s, 1e-9), self.rate.flops * self.devices
        return (
            f"  {title}: {per_s / 1e12:.3g} TFLOP/s, {per_s / peak:.1%} MFU: model FLOPs a second, {FORMULA}, of the "
            f"{peak / 1e12:.3g} TFLOP/s that matrix products reach here (measured {self.rate.measured})"
        )
