"""From verdicts to one row of scores.json: the mean with its interval, what was not graded, and every setting."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from burnish.core.files import read_json
from burnish.core.fingerprint import encode
from burnish.core.types import Problem, Verdict
from burnish.errors import ArtifactError, VerifierError
from burnish.eval.choices import perfect, ranked_verdict
from burnish.eval.ranking import Ranking
from burnish.eval.stats import Estimate, estimate, mean, pass_at_k, seeds
from burnish.eval.task import EvalTask
from burnish.rollout.engine import Sampling
from burnish.verify.base import GradesMany, graded

GOLD_TRIED = 20  # worked solutions a verifier must accept before anything is asked
FULL = 1 - 1e-9  # rankings give shares of probability, which rounding may keep from 1
FORMAT = 2  # of scores.json and samples.jsonl


_NOTHING = {"n": 0, "clusters": 0, "score": None, "standard_error": None, "interval": None}


def _sampling(sampling: Sampling) -> dict[str, Any]:
    """The settings as JSON, without newer ones at their defaults: scores from before they existed are no others."""
    kept = {
        field.name: getattr(sampling, field.name)
        for field in dataclasses.fields(sampling)
        if field.metadata.get("identity") != "unless default" or getattr(sampling, field.name) != field.default
    }
    found: dict[str, Any] = json.loads(json.dumps(kept))
    return found


def settings(task: EvalTask) -> dict[str, Any]:
    """Everything besides the model that decides a task's score, as JSON."""
    return {
        "sampling": _sampling(task.sampling),
        "prefill": task.prefill,
        "verifier": encode(task.verifier),
        "version": task.VERSION,
        "source": task.source.name,
        "source_version": task.source.VERSION,
        "revision": task.source.revision,
        "licence": task.source.licence,
        "limit": task.limit,
        "average": task.average,
        "samples": task.samples,
        "pass_at": task.pass_at,
        "chat": task.chat,
        "shots": task.shots,
        "follow_up": encode(task.follow_up),
        "unseen": task.unseen,
    }


def summary(task: EvalTask, problems: Sequence[Problem], scores: Sequence[float | None]) -> dict[str, Any]:
    """A task's numbers: n graded, mean, standard error, 95 % interval, clusters, ungraded, and the same by category.

    problems, scores: one each, in the same order; None is ungraded and left out of the mean. With no graded score at
    all, score, standard error and interval are None. Problems of one `cluster_of`, and one that stands twice in a benchmark,
    may depend on each other. Where task.average is "categories", the score is the mean of the categories' means; its standard
    error is that of k independent means, sqrt(sum of their squared errors) / k.
    """
    kept = [(p, s) for p, s in zip(problems, scores, strict=True) if s is not None]
    by_category: dict[str, dict[str, Any]] = {}
    for category in sorted({p.category for p in problems} - {""}):
        part = [(p, s) for p, s in kept if p.category == category]
        whole = sum(p.category == category for p in problems)
        by_category[category] = {**(told(measured(task, part)) if part else _NOTHING), "ungraded": whole - len(part)}
    return {
        "task": task.name,
        "metric": task.metric,
        **(told(measured(task, kept)) if kept else _NOTHING),
        "ungraded": len(problems) - len(kept),
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


def cluster_of(problem: Problem) -> str:
    """What the problem's score may depend on: the passage or question it shares with others, else the problem itself."""
    return str(problem.annotations.get("cluster") or problem.id)


def measured(task: EvalTask, kept: Sequence[tuple[Problem, float]]) -> Estimate:
    """The score over (problem, score) pairs, one or more, as the task averages them, and how sure it is."""
    return estimate(
        [score for _, score in kept],
        [cluster_of(problem) for problem, _ in kept],
        [problem.category for problem, _ in kept] if task.average == "categories" else None,
    )


def told(found: Estimate) -> dict[str, Any]:
    """An estimate as JSON."""
    return {**dataclasses.asdict(found), "interval": list(found.interval)}


def published(task: EvalTask) -> list[dict[str, Any]]:
    """The task's published scores as JSON."""
    return [dataclasses.asdict(p) for p in task.published]


def check_gold(task: EvalTask, problems: Sequence[Problem]) -> None:
    """Grade an empty reply to every problem and the first worked solutions; of a ranking, certainty of the right choices.

    A judge (GradesMany) is asked about nothing: it would be paid, and its opinion of a solution proves nothing. Raises
    VerifierError when a problem cannot be graded whatever the reply, or a solution does not get the full score: scores would be
    wrong.
    """
    rule = task.verifier
    if isinstance(rule, GradesMany):
        return
    if isinstance(rule, Ranking):
        tried = list(problems)
        verdicts = [_certain(rule, problem) for problem in tried]
        blank = list(zip(tried, verdicts, strict=True))
    else:
        tried = [problem for problem in problems if problem.solution][:GOLD_TRIED]
        verdicts = [graded(rule, problem, problem.solution) for problem in tried]
        blank = [(problem, graded(rule, problem, "")) for problem in problems]
    hopeless = [(p, v) for p, v in blank if v.score is None]
    if hopeless:
        problem, verdict = hopeless[0]
        raise VerifierError(
            f"task {task.name}: {len(hopeless)} of {len(problems)} problems cannot be graded, so no reply to them would count.\n"
            f"  First: problem {problem.id}, target {problem.check.target!r:.60}: {verdict.why}\n"
            f"  Mend the targets that source {task.source.name} gives, or name the verifier they are meant for."
        )
    wrong = [(p, v) for p, v in zip(tried, verdicts, strict=True) if v.score is None or v.score < FULL]
    if wrong:
        problem, verdict = wrong[0]
        raise VerifierError(
            f"task {task.name}: verifier {type(rule).__name__} rejects {len(wrong)} of the first {len(tried)} worked solutions, so right replies would score 0.\n"
            f"  First: problem {problem.id}, target {problem.check.target!r:.60}, solution {problem.solution!r:.80}: {verdict.why}\n"
            f"  Mend the verifier, or the source's targets and solutions."
        )


def _certain(ranking: Ranking, problem: Problem) -> Verdict:
    """The verdict on a model that is sure of the right choices."""
    try:
        choices, right = perfect(ranking, problem), ranking.right(problem)
    except VerifierError as error:
        return Verdict(None, str(error))
    if not choices or not right:
        return Verdict(None, "its target calls no choice right" if choices else "it has no choices")
    return ranked_verdict(ranking, problem, choices)


def problem_scores(task: EvalTask, samples: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Each problem's score from lines of samples.jsonl (those of other tasks are passed over), in the order of the lines."""
    own = [line for line in samples if line["task"] == task.name]
    return {name: of_samples(values, task.pass_at) for name, values in sample_scores(own).items()}


def sample_scores(samples: Iterable[Mapping[str, Any]]) -> dict[str, list[float]]:
    """Problem id -> the scores of its graded samples, from one task's lines of samples.jsonl, in the order of the lines.

    A sample's score is the mean of its graded turns. A problem that stands twice in a benchmark was asked once, and its lines
    count once.
    """
    found: dict[str, dict[tuple[int, int], float | None]] = {}
    for line in samples:
        found.setdefault(line["id"], {})[line.get("sample", 0), line.get("turn", 0)] = line["score"]
    graded_ones: dict[str, list[float]] = {}
    for name, scores in found.items():
        turns: dict[int, list[float]] = {}
        for (sample, _), score in scores.items():
            if score is not None:
                turns.setdefault(sample, []).append(score)
        graded_ones[name] = [mean(part) for part in turns.values()]
    return graded_ones


def of_samples(values: Sequence[float], pass_at: int) -> float | None:
    """A problem's score from its samples' scores: their mean, or with `pass_at` = k > 1 the unbiased pass@k.

    A sample is right when its score is 1. None: nothing was graded, or fewer samples than k.
    """
    if len(values) < pass_at:
        return None
    return pass_at_k(len(values), list(values).count(1.0), pass_at) if pass_at > 1 else mean(values)


def seeds_of(
    task: EvalTask, problems: Sequence[Problem], samples: Iterable[Mapping[str, Any]]
) -> dict[str, Any] | None:
    """What drawing replies adds to the score's uncertainty (`stats.Seeds`), as JSON; None for one sample a problem."""
    if task.samples < 2:
        return None
    values = sample_scores(samples)
    kept = [problem for problem in problems if len(values[problem.id]) >= task.pass_at]
    if not kept:
        return None
    categories = [problem.category for problem in kept] if task.average == "categories" else None
    return dataclasses.asdict(seeds([values[problem.id] for problem in kept], task.pass_at, categories))


def line(row: Mapping[str, Any]) -> str:
    """One row of scores.json as a person reads it."""
    notes = f"n {row['n']}" + (f" in {row['clusters']} clusters" if row["clusters"] < row["n"] else "")
    notes += f", {row['ungraded']} ungraded" if row["ungraded"] else ""
    if (row.get("seeds") or {}).get("standard_error"):
        notes += f", other seeds move it by {row['seeds']['standard_error']:.3f}"
    if row.get("ungraded_replies", 0) > row["ungraded"]:
        notes += f", {row['ungraded_replies']} of {row['replies']} replies ungraded"
    if row.get("cut_share"):
        notes += f", {row['cut_share']:.1%} cut at the token limit"
    if row.get("overlong"):
        notes += f", {row['overlong']} prompts over the context ({row['settings']['overlong']})"
    if row["score"] is None:
        return f"{row['task']:<16} {row['metric']} not measured ({notes})"
    low, high = row["interval"]
    return f"{row['task']:<16} {row['metric']} {row['score']:.3f}  95 % {low:.3f} to {high:.3f}  ({notes})"


def read_scores(folder: Path) -> dict[str, Any]:
    """What scores.json of an evaluation holds.

    Raises DataError where there is none, ArtifactError for one that another version of burnish wrote.
    """
    scores: dict[str, Any] = read_json(folder / "scores.json")
    known = scores.get("format") if isinstance(scores, dict) else None
    if known != FORMAT:
        raise ArtifactError(
            f"{folder / 'scores.json'} was written by another version of burnish (format {known or 1}, this one reads {FORMAT}), so its "
            "numbers could be read wrongly.\n  Evaluate again: burnish eval writes a new folder. Or read this one with the version that made it."
        )
    return scores
