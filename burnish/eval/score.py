"""From verdicts to one row of scores.json: the mean with its interval, what was not graded, and every setting."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from burnish.core.fingerprint import encode
from burnish.core.types import Problem
from burnish.errors import VerifierError
from burnish.eval.stats import interval, mean, standard_error
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
    }


def summary(task: EvalTask, problems: Sequence[Problem], scores: Sequence[float | None]) -> dict[str, Any]:
    """A task's numbers: n graded, mean, standard error, 95 % interval, ungraded, by category.

    problems, scores: one each, in the same order; None is ungraded and left out of the mean. With no graded score at
    all, score, standard error and interval are None. A problem that stands twice in a benchmark is one cluster.
    """
    kept = [(p, s) for p, s in zip(problems, scores, strict=True) if s is not None]
    values = [s for _, s in kept]
    ids = [p.id for p, _ in kept]
    by_category: dict[str, dict[str, Any]] = {}
    for category in sorted({p.category for p in problems} - {""}):
        part = [s for p, s in kept if p.category == category]
        by_category[category] = {"n": len(part), "score": mean(part) if part else None}
    return {
        "task": task.name,
        "metric": task.metric,
        "n": len(values),
        "score": mean(values) if values else None,
        "standard_error": standard_error(values, ids) if values else None,
        "interval": list(interval(values, ids)) if values else None,
        "ungraded": len(problems) - len(values),
        "by_category": by_category,
    }


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
