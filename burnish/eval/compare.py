"""Paired comparison of evaluations: the same problems before and after, so their difficulty cancels out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from burnish.core.files import read_json, read_jsonl, write_json
from burnish.errors import ArtifactError, RecipeError
from burnish.eval.run import Evaluate
from burnish.eval.stats import holm, minimum_detectable_effect, paired
from burnish.pipeline.stage import Context, Stage


def compare(folder_a: Path, folder_b: Path) -> list[dict[str, Any]]:
    """The change from evaluation `a` to `b` on every task both have, problem by problem.

    Each entry: task, before, after (labels), n problems graded in both, left_out (problems graded in one only),
    difference (after - before), standard_error, interval (95 %), p, test, detectable (the smallest true change this
    n and spread show with 80 % power). A task without a problem graded in both has no entry: nothing was measured.

    Raises ArtifactError when the evaluations share no task, or asked one with different settings.
    """
    before, after = read_json(folder_a / "scores.json"), read_json(folder_b / "scores.json")
    rows_a, rows_b = ({row["task"]: row for row in scores["tasks"]} for scores in (before, after))
    common = [name for name in rows_a if name in rows_b]
    if not common:
        raise ArtifactError(
            f"{folder_a} has scores of {', '.join(rows_a)} and {folder_b} of {', '.join(rows_b)}: no task in common, so nothing can be compared.\n"
            "  Evaluate both on the same tasks."
        )
    samples_a, samples_b = _samples(folder_a), _samples(folder_b)
    entries: list[dict[str, Any]] = []
    for task in common:
        _same_settings(task, rows_a[task], rows_b[task], folder_a, folder_b)
        entry = _entry(samples_a.get(task, {}), samples_b.get(task, {}))
        if entry:
            entries.append({"task": task, "before": before["label"], "after": after["label"], **entry})
    return entries


def _samples(folder: Path) -> dict[str, dict[str, float]]:
    """Task -> problem id -> score, graded samples only."""
    found: dict[str, dict[str, float]] = {}
    for _, record in read_jsonl(folder / "samples.jsonl"):
        if record["score"] is not None:
            found.setdefault(record["task"], {})[record["id"]] = record["score"]
    return found


def _same_settings(task: str, a: dict[str, Any], b: dict[str, Any], folder_a: Path, folder_b: Path) -> None:
    # Limits may differ: only problems asked in both are compared.
    differ = [k for k in a["settings"] if k != "limit" and a["settings"][k] != b["settings"].get(k)]
    if differ:
        key = differ[0]
        raise ArtifactError(
            f"task {task}: {folder_a.name} asked it with {key} {a['settings'][key]} and {folder_b.name} with {b['settings'].get(key)}, "
            "so a difference could come from that and not from the model.\n  Evaluate both with the same task."
        )


def _entry(a: dict[str, float], b: dict[str, float]) -> dict[str, Any]:
    both = [problem for problem in a if problem in b]
    if not both:
        return {}
    result = paired([a[i] for i in both], [b[i] for i in both])
    return {
        "n": result.n,
        "left_out": len(a.keys() ^ b.keys()),
        "difference": result.difference,
        "standard_error": result.standard_error,
        "interval": list(result.interval),
        "p": result.p,
        "test": result.test,
        "detectable": minimum_detectable_effect(result.standard_error * result.n**0.5, result.n),
    }


@dataclass(frozen=True)
class Compare(Stage):
    """Paired differences between successive evaluations, and from the first to the last: comparisons.json.

    scores: Evaluate stages in the order the models were made.
    """

    scores: tuple[Stage, ...]

    @property
    def name(self) -> str:
        """Always "compare"."""
        return "compare"

    def check(self, data: Path | None) -> None:
        """Raise RecipeError for fewer than two evaluations, or two that the report could not tell apart."""
        if len(self.scores) < 2:
            raise RecipeError(
                f"Compare has {len(self.scores)} evaluations, so there is no change to measure.\n  Give it two or more."
            )
        labels = [stage.label or stage.model.name for stage in self.scores if isinstance(stage, Evaluate)]
        twice = sorted({label for label in labels if labels.count(label) > 1})
        if twice:
            raise RecipeError(
                f"Compare: two evaluations are labelled {twice[0]!r}, so their differences could not be told apart.\n"
                '  Name them: Evaluate(model, tasks, label="sft").'
            )

    def headline(self) -> dict[str, Any]:
        """The evaluations in order."""
        return {"order": " → ".join(stage.name for stage in self.scores)}

    def run(self, ctx: Context) -> None:
        """Compare each pair."""
        folders = [ctx.path_of(stage) for stage in self.scores]
        write_json(ctx.out / "comparisons.json", comparisons(folders))


def comparisons(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """Every successive pair of evaluation folders and, with more than two, the first against the last.

    Entries as `compare` gives them, with p_holm: p corrected over all of them.
    """
    pairs = list(pairwise(folders))
    if len(folders) > 2:
        pairs.append((folders[0], folders[-1]))
    entries = [entry for a, b in pairs for entry in compare(a, b)]
    for entry, p in zip(entries, holm([entry["p"] for entry in entries]), strict=True):
        entry["p_holm"] = p
    return entries
