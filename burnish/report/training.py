"""What a report says of a training run beside its curves: monitors of reward hacking, ungraded replies, where the time went, and
which models were kept. All of it from the run's own files; what other versions did not write is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from burnish.core.files import read_json
from burnish.core.follow import number
from burnish.errors import DataError
from burnish.pipeline.progress import duration
from burnish.pipeline.spent import spent_by

BEST = "best.json"


def facts(folder: Path, metrics: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The values that the page prints under a run's name; parts the run does not have are empty."""
    return {
        "replies": _replies(metrics), "monitors": _monitors(metrics), "split": _split(metrics), "best": _best(folder),
    }  # fmt: skip


def _values(metrics: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    return [value for record in metrics if (value := number(record.get(name))) is not None]


def _replies(metrics: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Ungraded replies and steps without anything to learn from; {} where no replies were sampled."""
    ungraded, groups, informative = (_values(metrics, name) for name in ("ungraded", "groups", "informative"))
    if not groups:
        return {}
    return {
        "steps": len(groups), "groups": int(sum(groups)), "informative": int(sum(informative)), "ungraded": int(sum(ungraded)),
        "ungraded_steps": sum(value > 0 for value in ungraded), "idle": sum(value == 0 for value in informative),
    }  # fmt: skip


def _monitors(metrics: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """How often each monitor saw something: in the first and the last fifth of the run, and at most; passes with a flag last."""
    names = sorted({name for record in metrics for name in record if name.startswith("flag/")})
    rows = []
    for name in [*names, "flagged_passes"]:
        values = _values(metrics, name)
        if not values:
            continue
        part = max(len(values) // 5, 1)
        steps = [record.get("step") for record in metrics if number(record.get(name)) is not None]
        most = max(values)
        rows.append(
            {
                "name": "right replies with a flag" if name == "flagged_passes" else name.removeprefix("flag/").replace("_", " "),
                "first": sum(values[:part]) / part, "last": sum(values[-part:]) / part, "most": most,
                "at": number(steps[values.index(most)]),
            }
        )  # fmt: skip
    return rows


def _split(metrics: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each part's time and share over the whole run."""
    found = spent_by(metrics)
    total = sum(found.values())
    return [{"name": name, "time": duration(seconds), "share": seconds / total} for name, seconds in found.items()]


def _best(folder: Path) -> dict[str, Any]:
    """What best.json says of the models that were kept; {} where none were, or the file cannot be read."""
    if not (folder / BEST).exists():
        return {}
    try:
        found = read_json(folder / BEST)
    except DataError:
        return {}
    kept = found.get("kept") if isinstance(found, dict) else None
    rows = [
        {"step": step, "value": value, "folder": str(one.get("folder", ""))}
        for one in (kept if isinstance(kept, list) else [])
        if isinstance(one, dict) and (step := number(one.get("step"))) is not None and (value := number(one.get("value"))) is not None
    ]  # fmt: skip
    return {"metric": str(found.get("metric", "")), "model": str(found.get("model", "")), "kept": rows} if rows else {}
