"""What a report shows, read from artifacts' files alone: nothing is recomputed and no number is written by hand."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from burnish.core.files import read_json, read_jsonl
from burnish.errors import ArtifactError
from burnish.pipeline.progress import duration


@dataclass(frozen=True, slots=True)
class StageFiles:
    """One finished artifact: its record and whatever of the known files it holds."""

    folder: Path
    record: dict[str, Any]
    card: dict[str, Any] | None = None
    metrics: list[dict[str, Any]] = field(default_factory=list)
    scores: dict[str, Any] | None = None
    comparisons: list[dict[str, Any]] = field(default_factory=list)
    averages: list[dict[str, Any]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The artifact's first name, e.g. "sft"."""
        return str(self.record["name"])

    @property
    def fingerprint(self) -> str:
        """Its twelve digits."""
        return str(self.record["fingerprint"])


def load(folder: Path) -> StageFiles:
    """The report's view of one artifact. Raises ArtifactError when the folder is not a finished artifact."""
    if not (folder / "artifact.json").exists():
        raise ArtifactError(
            f"{folder} holds no artifact.json, so it is not a finished artifact.\n  Run the recipe first."
        )
    compared = read_json(folder / "comparisons.json") if (folder / "comparisons.json").exists() else {}
    return StageFiles(
        folder=folder,
        record=read_json(folder / "artifact.json"),
        card=read_json(folder / "card.json") if (folder / "card.json").exists() else None,
        metrics=[row for _, row in read_jsonl(folder / "metrics.jsonl")] if (folder / "metrics.jsonl").exists() else [],
        scores=read_json(folder / "scores.json") if (folder / "scores.json").exists() else None,
        comparisons=compared.get("comparisons", []),
        averages=compared.get("averages", []),
    )


def score_table(evaluations: list[StageFiles], comparisons: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row a task: its score after each stage, and the paired change from the first stage to the last."""
    labels = [str(e.scores["label"]) for e in evaluations if e.scores]
    rows: dict[str, dict[str, Any]] = {}
    for evaluation in evaluations:
        assert evaluation.scores is not None
        for task in evaluation.scores["tasks"]:
            row = rows.setdefault(task["task"], {"task": task["task"], "metric": task["metric"], "cells": {}})
            row["cells"][str(evaluation.scores["label"])] = task
    for row in rows.values():
        shown = [label for label in labels if label in row["cells"]]
        row["change"] = _change(comparisons, row["task"], shown[0], shown[-1]) if len(shown) > 1 else None
        row["cells"] = [row["cells"].get(label) for label in labels]
        row["published"] = next((cell["published"] for cell in row["cells"] if cell and cell.get("published")), [])
    return list(rows.values())


def _change(comparisons: list[dict[str, Any]], task: str, before: str, after: str) -> dict[str, Any] | None:
    for row in comparisons:
        if (row["task"], row["before"], row["after"]) == (task, before, after):
            return row
    return None


def conversations(evaluations: list[StageFiles], per_task: int = 6) -> list[dict[str, Any]]:
    """Replies of every stage to the same problems: those that the last stage gained first, then lost, then the rest."""
    by_problem: dict[tuple[str, str], dict[str, Any]] = {}
    labels = [str(e.scores["label"]) for e in evaluations if e.scores]
    for evaluation, label in zip(evaluations, labels, strict=True):
        for _, sample in read_jsonl(evaluation.folder / "samples.jsonl"):
            key = (sample["task"], sample["id"])
            entry = by_problem.setdefault(key, {"task": sample["task"], "id": sample["id"], "prompt": sample["prompt"]})
            entry.setdefault("replies", []).append(
                {"label": label, "text": sample["response"], "score": sample["score"], "why": sample["why"]}
            )
    chosen: list[dict[str, Any]] = []
    for task in dict.fromkeys(key[0] for key in by_problem):
        entries = [e for key, e in by_problem.items() if key[0] == task and len(e["replies"]) > 1]
        gained = [e for e in entries if _move(e) > 0]
        lost = [e for e in entries if _move(e) < 0]
        same = [e for e in entries if _move(e) == 0]
        half, quarter = per_task // 2, max(per_task // 4, 1)
        chosen += gained[:half] + lost[:quarter] + same[: per_task - half - quarter]
    return chosen


def _move(entry: dict[str, Any]) -> float:
    first, last = entry["replies"][0]["score"], entry["replies"][-1]["score"]
    return 0.0 if first is None or last is None else float(last) - float(first)


def cost_table(stages: list[StageFiles]) -> list[dict[str, Any]]:
    """Time, tokens and peak memory by stage, from the records that the runs wrote."""
    rows = []
    for stage in stages:
        cost = stage.record.get("cost", {})
        tokens = sum(int(m.get("tokens", 0)) for m in stage.metrics)
        if stage.scores:
            tokens += sum(int(t.get("tokens", 0)) for t in stage.scores["tasks"])
        rows.append(
            {
                "name": stage.name,
                "label": stage.scores["label"] if stage.scores else "",
                "fingerprint": stage.fingerprint,
                "seconds": float(cost.get("wall_s", 0.0)),
                "time": duration(float(cost.get("wall_s", 0.0))),
                "tokens": tokens,
                "peak_gib": float(cost.get("peak_rss_bytes", 0)) / 2**30,
                "sessions": int(cost.get("sessions", 1)),
            }
        )
    return rows


def recipe_tree(encoded: Any, depth: int = 0) -> Any:
    """An encoded stage as plain nested values for reading: class names, readable floats, input stages by name."""
    if isinstance(encoded, list):
        return [recipe_tree(v, depth) for v in encoded]
    if not isinstance(encoded, dict):
        return encoded
    if "float" in encoded:
        return float.fromhex(encoded["float"])
    if "map" in encoded:
        return {k: recipe_tree(v, depth) for k, v in encoded["map"].items()}
    if "enum" in encoded:
        return encoded["name"]
    name = encoded["class"].partition(":")[2]
    return {name: {k: recipe_tree(v, depth + 1) for k, v in encoded["fields"].items()}}


def stage_settings(stage: StageFiles, inputs: set[str]) -> str:
    """A stage's own settings as indented JSON; the stages it starts from are shown by class name alone."""

    def shorten(value: Any, top: bool) -> Any:
        if isinstance(value, list):
            return [shorten(v, False) for v in value]
        if isinstance(value, dict):
            if not top and len(value) == 1 and next(iter(value)) in inputs:
                return f"<{next(iter(value))}>"
            return {k: shorten(v, False) for k, v in value.items()}
        return value

    tree = recipe_tree(stage.record["stage"])
    name = next(iter(tree))
    return json.dumps({name: {k: shorten(v, False) for k, v in tree[name].items()}}, indent=1, ensure_ascii=False)
