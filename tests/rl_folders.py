"""Folders of RL runs as the stage leaves them, made of given replies: for tests of what reads such folders."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from burnish.core.fingerprint import content_id


def rollout(step: int, group: int, score: float | None = 1.0, **fields: Any) -> dict[str, Any]:
    """One line of rollouts.jsonl; completion and problem are filled in where fields do not give them."""
    text = fields.pop("text", f"It is {step}.")
    source, verifier = fields.pop("source", "sums"), fields.pop("verifier", "number")
    tokens, finish = fields.pop("tokens", 5), fields.pop("finish", "stop")
    problem = {
        "id": content_id("problem", group), "kind": "problem", "prompt": [{"role": "user", "content": f"What is number {group}?"}],
        "check": {"verifier": verifier, "target": str(group)}, "solution": "", "category": "", "source": source, "licence": "",
        "lineage": [], "annotations": {},
    }  # fmt: skip
    completion = {
        "token_ids": list(range(tokens)), "logprobs": [-0.5] * tokens, "finish": finish, "text": text, "policy_version": f"step {step - 1}",
    }  # fmt: skip
    found = {
        "step": step, "group": group, "reward": score, "advantage": 0.5, "problem": problem, "prompt_ids": [1, 2],
        "completion": completion, "score": score, "why": "no number" if score is None else f"the last number is {step}, wanted {group}",
    }  # fmt: skip
    return found | fields


def write(folder: Path, records: Sequence[Any], *, running: Sequence[Any] = (), metrics: Sequence[Any] = ()) -> Path:
    """The folder with these lines in rollouts.jsonl, rollouts.running.jsonl and metrics.jsonl; a finished artifact unless `.partial`."""
    folder.mkdir(parents=True)
    for name, lines in (("rollouts", records), ("rollouts.running", running), ("metrics", metrics)):
        if lines or name == "rollouts":
            (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if not folder.name.endswith(".partial"):
        name, _, digits = folder.name.rpartition("-")
        record = {
            "name": name, "fingerprint": digits, "stage": {"class": "m:RL", "version": 1, "fields": {}}, "inputs": {},
            "provenance": {"python": "3.11", "finished_utc": "2026-01-01T00:00:00Z"},
            "cost": {"wall_s": 61.0, "cpu_s": 100.0, "peak_rss_bytes": 2**31, "sessions": 2},
        }  # fmt: skip
        (folder / "artifact.json").write_text(json.dumps(record))
    return folder
