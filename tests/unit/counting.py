"""A recipe of tiny stages for the tests of the pipeline: no model, no torch, a fraction of a second each."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from burnish.core.files import JsonlLog, write_json
from burnish.core.fingerprint import not_identity
from burnish.errors import DataError, RecipeError, TrainingError
from burnish.pipeline.stage import Context, Stage


@dataclass(frozen=True)
class Rate:
    peak: float
    warmup: float = 0.03


@dataclass(frozen=True)
class Base(Stage):
    """Writes one number."""

    value: int = 1
    where: str = not_identity(default="")

    @property
    def name(self) -> str:
        return "base"

    def check(self, data: Path | None) -> None:
        if self.value < 0:
            raise RecipeError(f"base.value={self.value} is negative.\n  Use 0 or more.")

    def run(self, ctx: Context) -> None:
        (ctx.out / "number.txt").write_text(str(self.value))


@dataclass(frozen=True)
class Count(Stage):
    """Adds 1 to its input `steps` times, a line of a log for each; goes on from the log's end after a kill."""

    OWN_PROCESS: ClassVar[bool] = True

    start: Stage
    steps: int = 5
    rate: Rate = Rate(1e-5)
    nap_s: float = 0.0
    fail: Literal["", "error", "bug", "kill", "data", "full"] = ""
    label: str = "count"

    @property
    def name(self) -> str:
        return self.label

    def headline(self) -> dict[str, Any]:
        return {"steps": self.steps, "peak": self.rate.peak}

    def check(self, data: Path | None) -> None:
        if self.fail == "data" and data is None:
            raise DataError("numbers/train.jsonl is not there.\n  Give its folder with --data DIR.")

    def run(self, ctx: Context) -> None:
        number = int((ctx.path_of(self.start) / "number.txt").read_text())
        with contextlib.closing(JsonlLog(ctx.out / "log.jsonl")) as log:
            for step in range(len(log.records) + 1, self.steps + 1):
                if step == self.steps:
                    self._fail(step)
                time.sleep(self.nap_s)
                log.append({"step": step, "number": number + step})
        (ctx.out / "number.txt").write_text(str(number + self.steps))

    def _fail(self, step: int) -> None:
        match self.fail:
            case "error":
                raise TrainingError(f"step {step}: the loss is not finite.\n  Lower rate.peak.")
            case "full":
                Path("/dev/full").write_text("x")
            case "bug":
                raise ZeroDivisionError("a bug in a stage")
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Page(Stage):
    """Puts its inputs' numbers on a page."""

    parts: tuple[Stage, ...]

    @property
    def name(self) -> str:
        return "page"

    def run(self, ctx: Context) -> None:
        numbers = [int((ctx.path_of(part) / "number.txt").read_text()) for part in self.parts]
        write_json(ctx.out / "numbers.json", numbers)
        (ctx.out / "report.html").write_text(f"<p>{numbers}</p>")


def recipe(
    *, seed: int = 1, steps: int = 5, peak: float = 1e-5, nap_s: float = 0.0, fail: str = "", data: Path | None = None
) -> Page:
    """Counting as a recipe.

    Args:
        seed: the first number.
    """
    base = Base(seed)
    first = Count(base, steps, Rate(peak), nap_s=nap_s, label="first")
    return Page((base, first, Count(first, steps, nap_s=nap_s, fail=fail, label="second")))
