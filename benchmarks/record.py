"""One form for every benchmark's result: medians and spread, versions, hardware, the command."""

from __future__ import annotations

import datetime
import json
import os
import platform
import statistics
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results")


def hardware() -> str:
    """CPU model and the cores this process may use."""
    model = platform.processor() or "CPU"
    info = Path("/proc/cpuinfo")
    if info.exists():
        model = next(
            (line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")),
            model,
        )
    return f"{len(os.sched_getaffinity(0))}-core {model}"


def versions(packages: tuple[str, ...]) -> dict[str, str]:
    """Installed versions, Python's and ours included."""
    found = {"python": platform.python_version()}
    for package in ("burnish", *packages):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "absent"
    return found


def write(
    theme: str,
    *,
    title: str,
    settings: dict[str, Any],
    rates: dict[str, list[float]],
    unit: str,
    baseline: str,
    packages: tuple[str, ...],
    command: str,
    device: str = "",
    details: dict[str, dict[str, Any]] | None = None,
) -> Path:
    """Write results/<theme>_<hardware>_<date>.json. Higher rates are better; ratios are of medians over the baseline's.

    device: the accelerator that was measured, instead of this computer's CPU. details: more about each row, by its name.
    """
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    middle = {name: statistics.median(values) for name, values in rates.items()}
    result = {
        "theme": theme,
        "title": title,
        "date": date,
        "hardware": device or hardware(),
        "versions": versions(packages),
        "command": command,
        "settings": settings,
        "unit": unit,
        "baseline": baseline,
        "rows": [
            {
                "name": name,
                "median": middle[name],
                "min": min(values),
                "max": max(values),
                "runs": values,
                "ratio": middle[name] / middle[baseline],
                **(details or {}).get(name, {}),
            }
            for name, values in rates.items()
        ],
    }
    path = RESULTS / f"{theme}_{(device or hardware()).replace(' ', '-').lower()}_{date}.json"
    RESULTS.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n")
    return path
