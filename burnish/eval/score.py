"""From verdicts to one row of scores.json: the mean with its interval, what was not graded, and every setting."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from burnish.core.fingerprint import encode
from burnish.core.types import Problem
from burnish.errors import VerifierError
from burnish.eval.stats import interval, mean, normal_interval, standard_error, wilson
from burnish.eval.task import EvalTask
from burnish.verify.base import graded

GOLD_TRIED = 20  # worked solutions a verifier must accept before anything is asked


def settings(task: EvalTask) -> dict[str, Any]:
    """Everything besides the model that decides a task's score, as JSON."""
    return {
        "sampling": {**dataclasses.asdict(task.sampling), "stop": list(task.sampling.stop)},
        "prefill": task.prefill,
        "verifier": encode(task.verifier),
        "version": task.VERSION,
        "source": task.source.name,
        "source_version": task.source.VERSION,
        "revision": task.source.revision,
        "licence": task.source.licence,
        "limit": task.limit,
        "average": task.average,
    }


def summary(task: EvalTask, problems: Sequence[Problem], scores: Sequence[float | None]) -> dict[str, Any]:
    """A task's numbers: n graded, mean, standard error, 95 % interval, ungraded, by category.

    problems, scores: one each, in the same order; None is ungraded and left out of the mean. With no graded score at
    all, score, standard error and interval are None. A problem that stands twice in a benchmark is one cluster.
    Where task.average is "categories", the score is the mean of the categories' means; its standard error is that of k
    independent means, sqrt(sum of their squared errors) / k.
    """
    kept = [(p, s) for p, s in zip(problems, scores, strict=True) if s is not None]
    values = [s for _, s in kept]
    by_category: dict[str, dict[str, Any]] = {}
    for category in sorted({p.category for p in problems} - {""}):
        part = [s for p, s in kept if p.category == category]
        whole = sum(p.category == category for p in problems)
        by_category[category] = {
            "n": len(part), "score": mean(part) if part else None,
            "standard_error": standard_error(part) if part else None, "ungraded": whole - len(part),
        }  # fmt: skip
    return {
        "task": task.name,
        "metric": task.metric,
        "n": len(values),
        **(_averaged(task, kept) if values else {"score": None, "standard_error": None, "interval": None}),
        "ungraded": len(problems) - len(values),
        "by_category": by_category,
    }


def average(task: EvalTask, kept: Sequence[tuple[Problem, float]]) -> float:
    """The task's score over (problem, score) pairs, one or more: the mean over problems, or over the means of categories."""
    return mean([mean([score for _, score in part]) for part in _parts(task, kept)])


def _parts(task: EvalTask, kept: Sequence[tuple[Problem, float]]) -> list[list[tuple[Problem, float]]]:
    """What the score is the mean of: all of the pairs, or those of each category."""
    parts: dict[str, list[tuple[Problem, float]]] = {}
    for problem, score in kept:
        parts.setdefault(problem.category if task.average == "categories" else "", []).append((problem, score))
    return list(parts.values())


def _averaged(task: EvalTask, kept: Sequence[tuple[Problem, float]]) -> dict[str, Any]:
    """Score, standard error and interval of the graded problems."""
    parts = _parts(task, kept)
    values, ids = [score for _, score in kept], [problem.id for problem, _ in kept]
    if len(parts) == 1:
        return {
            "score": mean(values), "standard_error": standard_error(values, ids), "interval": list(interval(values, ids)),
        }  # fmt: skip
    centre = average(task, kept)
    errors = [standard_error([score for _, score in part], [problem.id for problem, _ in part]) for part in parts]
    error = math.sqrt(math.fsum(e * e for e in errors)) / len(parts)
    low, high = normal_interval(centre, error) if error > 0 else wilson(centre * len(values), len(values))
    return {"score": centre, "standard_error": error, "interval": [low, high]}


def published(task: EvalTask) -> list[dict[str, Any]]:
    """The task's published scores as JSON."""
    return [dataclasses.asdict(p) for p in task.published]


def check_gold(task: EvalTask, problems: Sequence[Problem]) -> None:
    """Grade an empty reply to every problem and the first worked solutions.

    Raises VerifierError when a problem cannot be graded whatever the reply, or a solution does not get the full score:
    scores would be wrong.
    """
    blank = [(p, graded(task.verifier, p, "")) for p in problems]
    hopeless = [(p, v) for p, v in blank if v.score is None]
    if hopeless:
        problem, verdict = hopeless[0]
        raise VerifierError(
            f"task {task.name}: {len(hopeless)} of {len(problems)} problems cannot be graded, so no reply to them would count.\n"
            f"  First: problem {problem.id}, target {problem.check.target!r:.60}: {verdict.why}\n"
            f"  Mend the targets that source {task.source.name} gives, or name the verifier they are meant for."
        )
    tried = [p for p in problems if p.solution][:GOLD_TRIED]
    verdicts = [graded(task.verifier, p, p.solution) for p in tried]
    wrong = [(p, v) for p, v in zip(tried, verdicts, strict=True) if v.score != 1.0]
    if wrong:
        problem, verdict = wrong[0]
        raise VerifierError(
            f"task {task.name}: verifier {type(task.verifier).__name__} rejects {len(wrong)} of the first {len(tried)} worked solutions, so right replies would score 0.\n"
            f"  First: problem {problem.id}, target {problem.check.target!r:.60}, solution {problem.solution!r:.80}: {verdict.why}\n"
            f"  Mend the verifier, or the source's targets and solutions."
        )


def line(row: dict[str, Any]) -> str:
    """One row of scores.json as a person reads it."""
    notes = f"n {row['n']}" + (f", {row['ungraded']} ungraded" if row["ungraded"] else "")
    if row.get("cut_share"):
        notes += f", {row['cut_share']:.1%} cut at the token limit"
    if row["score"] is None:
        return f"{row['task']:<16} {row['metric']} not measured ({notes})"
    low, high = row["interval"]
    return f"{row['task']:<16} {row['metric']} {row['score']:.3f}  95 % {low:.3f} to {high:.3f}  ({notes})"
