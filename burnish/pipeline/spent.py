"""Where the seconds of a training step went, from its record in metrics.jsonl."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from burnish.core.follow import number

PARTS = ("rollout", "grading", "learning", "looks")


def spent(record: Mapping[str, Any]) -> dict[str, float]:
    """Seconds of a step by PARTS; {} for a step that waited for no replies.

    rollout_s holds sampling and grading, because replies are graded while others are sampled. Where they were sampled ahead of
    the step (sampled_s), grading's share of that is its share of the wait.
    """
    waited = number(record.get("rollout_s"))
    if waited is None:
        return {}
    graded, learned = (_seconds(record, name) for name in ("grade_s", "learn_s"))
    waited = max(waited, 0.0)
    took = _seconds(record, "sampled_s") if "sampled_s" in record else waited
    graded = waited * min(graded / took, 1.0) if took > 0 else 0.0
    looked = _seconds(record, "probe_s") + _seconds(record, "dev_s")
    return dict(zip(PARTS, (waited - graded, graded, learned, looked), strict=True))


def spent_by(records: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """The same, summed over steps; parts that took no time are left out."""
    sums = dict.fromkeys(PARTS, 0.0)
    for record in records:
        for name, seconds in spent(record).items():
            sums[name] += seconds
    return {name: seconds for name, seconds in sums.items() if seconds > 0}


def _seconds(record: Mapping[str, Any], name: str) -> float:
    return max(number(record.get(name)) or 0.0, 0.0)
