"""Evaluation folders as `burnish eval` leaves them, made of given replies: for tests of what reads such folders."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from burnish.core.fingerprint import content_id
from burnish.eval.score import FORMAT

SETTINGS = {
    "sampling": {"max_tokens": 64, "temperature": 0.0, "top_p": 1.0, "stop": []}, "prefill": "", "average": "problems",
    "source": "made", "revision": "r1", "limit": None, "samples": 1, "pass_at": 1, "chat": True, "shots": 0,
}  # fmt: skip

CATEGORY = {"n": 1, "clusters": 1, "score": 0.5, "standard_error": 0.1, "interval": [0.304, 0.696], "ungraded": 0}


def record(task: str, number: int, **fields: Any) -> dict[str, Any]:
    """One line of samples.jsonl: problem `number` of a task, right unless told otherwise."""
    name = content_id(task, number)
    found = {
        "task": task, "id": name, "sample": 0, "turn": 0, "prompt": [{"role": "user", "content": f"What is number {number}?"}],
        "response": f"It is {number}.", "score": 1.0, "why": f"the last number is {number}, wanted {number}",
        "finish": "stop", "category": "", "cluster": name, "tokens": 5, "target": str(number), "solution": "", "flags": [],
    }  # fmt: skip
    return found | fields


def write(
    folder: Path, records: Sequence[dict[str, Any]], *, label: str = "model", settings: Mapping[str, Any] | None = None, **row: Any
) -> Path:  # fmt: skip
    """The folder, with these replies and rows of scores that count them; settings and row go over every task's."""
    folder.mkdir(parents=True)
    rows = []
    for task in dict.fromkeys(each["task"] for each in records):
        own = [each["score"] for each in records if each["task"] == task]
        scores = [score for score in own if score is not None]
        mean = sum(scores) / len(scores) if scores else None
        categories = sorted({each["category"] for each in records if each["task"] == task} - {""})
        rows.append({
            "task": task, "metric": "accuracy", "n": len(scores), "score": mean, "standard_error": 0.05,
            "interval": None if mean is None else [max(0.0, mean - 0.1), min(1.0, mean + 0.1)], "clusters": len(scores),
            "ungraded": len(own) - len(scores), "cut_share": 0.0, "published": [], "settings": SETTINGS | dict(settings or {}),
            "by_category": {name: CATEGORY for name in categories},
            "replies": len(own), **row,
        })  # fmt: skip
    (folder / "samples.jsonl").write_text("".join(json.dumps(each) + "\n" for each in records))
    scores_json = {"format": FORMAT, "label": label, "model": f"{label}-folder", "seed": 0, "notes": [], "tasks": rows}
    (folder / "scores.json").write_text(json.dumps(scores_json))
    return folder
