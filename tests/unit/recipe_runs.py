"""Runs of the toy recipe in counting.py, in this process and in processes of their own."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from burnish.core.files import read_json, write_json
from burnish.pipeline.machine import exact
from burnish.pipeline.progress import Console
from burnish.pipeline.recipe import load_module
from burnish.pipeline.run import run
from burnish.pipeline.stage import Stage

RECIPE = Path(__file__).with_name("counting.py")
counting = load_module(RECIPE)
Base, Count, Page, Rate = counting.Base, counting.Count, counting.Page, counting.Rate
QUIET = Console(quiet=True)


def make(root: Stage, runs: Path, **more: Any) -> Path:
    own: dict[str, Any] = {"machine": exact(), "console": QUIET, "modules": (RECIPE,), "own_process": False}
    return run(root, runs=runs, cache=runs.parent / "cache", **{**own, **more})


def pretend_hours(folder: Path, wall_s: float) -> None:
    record = read_json(folder / "artifact.json")
    record["cost"]["wall_s"] = wall_s
    write_json(folder / "artifact.json", record)


def start_run(runs: Path, *flags: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "burnish.cli", "run", str(RECIPE), "--runs", str(runs), *flags]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def until(what: Callable[[], Any], timeout_s: float = 60.0) -> None:
    end = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.01)


def lines_in(runs: Path, label: str) -> int:
    logs = list(runs.glob(f"{label}-*.partial/log.jsonl"))
    return logs[0].read_bytes().count(b"\n") if logs else 0
