"""Grade replies that already exist, without any model."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from burnish.core.files import write_atomic, write_json
from burnish.core.types import Problem, Verdict, plain
from burnish.errors import DataError, RecipeError
from burnish.eval.replies import Index, Reply, read_replies
from burnish.eval.score import average, check_gold, published, settings, summary
from burnish.eval.stats import is_binary, mean, mean_pass_at_k
from burnish.eval.task import EvalTask, Summarises
from burnish.eval.verdicts import Verdicts
from burnish.pipeline.progress import Console
from burnish.verify.monitors import MONITORS, flags, rates

SHOWN = 10  # names listed of what is missing or unknown


def grade(
    task: EvalTask,
    responses: Path,
    data: Path | None = None,
    out: Path | None = None,
    *,
    jobs: int = 1,
    console: Console | None = None,
) -> dict[str, Any]:
    """Grade the replies in `responses`; returns the task's numbers and everything that did not fit.

    score: mean over problems with a graded reply; a problem with several replies counts with their mean. With them,
    pass_at_k gives the unbiased estimate for k = 1, 2, 4 ... and 10, up to the fewest replies any problem has.
    missing, unknown: problems without a reply, lines that match no problem: count and the first ten.
    score_missing_as_0: the score if every missing problem had failed. repeated_lines: exact repeats, which count as
    samples of their own. flags: the share of replies in which each monitor sees something.

    out: a folder for verdicts.jsonl (one reply a line, in the file's order, as samples.jsonl of an evaluation has them),
    summary.json (what this returns) and graded.jsonl (verdicts as they came, for going on after a kill).
    jobs: replies graded at a time, in worker processes.

    Raises DataError for a bad line, VerifierError when the verifier rejects the task's own solutions, RecipeError for
    an `out` that is a file and for jobs below 1.
    """
    _check(out, jobs)
    verifier = task.of_replies
    problems = task.problems(data)
    check_gold(task, problems)
    found_replies, unknown = read_replies(responses, Index(problems), task.name)
    # A later turn is graded with the conversation before it, which only an evaluation has.
    unknown += [f"{problems[r.place].id}, turn {r.turn}" for r in found_replies if r.turn]
    replies = [reply for reply in found_replies if not reply.turn]
    if not replies:
        raise DataError(
            f"{responses}: none of its {len(unknown)} lines matches a problem of task {task.name}.\n"
            f"  First ids or prompts: {', '.join(map(repr, unknown[:3])) or 'none'}; the task has e.g. id {problems[0].id!r}, prompt {problems[0].prompt[-1].content!r:.60}."
        )
    cases = [(problems[reply.place], reply.text) for reply in replies]
    verdicts = Verdicts(out, jobs=jobs, console=console or Console(quiet=True))
    try:
        found = verdicts.of(verifier, cases, f"grade {task.name}")
        more = _instructions(task, cases, verdicts)
    finally:
        verdicts.close()
    seen = [flags(MONITORS, problem, text) for problem, text in cases]
    result = _result(task, problems, replies, found, unknown) | {"flags": rates(MONITORS, seen), **more}
    result |= {"settings": settings(task), "published": published(task)}
    rows = [
        _row(task.name, *each) for each in zip(replies, (problem for problem, _ in cases), found, seen, strict=True)
    ]
    if isinstance(verifier, Summarises):
        result |= verifier.summarise(problems, rows)
    if out is not None:
        write_atomic(out / "verdicts.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        write_json(out / "summary.json", result)
    return result


def _check(out: Path | None, jobs: int) -> None:
    if out is not None and out.exists() and not out.is_dir():
        raise RecipeError(
            f"--out {out} is a file, but grading writes several: verdicts.jsonl and summary.json.\n"
            f"  Name a folder, e.g. --out {out.with_suffix('') if out.suffix else f'{out}-graded'}."
        )
    if jobs < 1:
        raise RecipeError(
            f"--jobs {jobs}: nothing would be graded.\n  Give 1 or more; without it every processor is used."
        )


def _row(task: str, reply: Reply, problem: Problem, verdict: Verdict, seen: dict[str, str]) -> dict[str, Any]:
    """One line of verdicts.jsonl. flags: what the verifier and the monitors saw, with the monitors' sentences."""
    return {
        "task": task, "line": reply.number, "sample": reply.sample, "turn": reply.turn, "id": problem.id, "key": problem.annotations.get("key"),
        "category": problem.category, "prompt": plain(problem.prompt), "response": reply.text, "score": verdict.score,
        "why": verdict.why, "target": problem.check.target, "solution": problem.solution,
        "flags": {**dict.fromkeys(verdict.flags, ""), **seen},
    }  # fmt: skip


def _result(
    task: EvalTask, problems: Sequence[Problem], replies: Sequence[Reply], verdicts: Sequence[Verdict], unknown: list[str]
) -> dict[str, Any]:  # fmt: skip
    scores: dict[int, list[float]] = {}
    for reply, verdict in zip(replies, verdicts, strict=True):
        scores.setdefault(reply.place, [])
        if verdict.score is not None:
            scores[reply.place].append(verdict.score)
    answered = sorted(scores)
    row = summary(task, [problems[i] for i in answered], [mean(scores[i]) if scores[i] else None for i in answered])
    known = {problem.id for problem in (problems[i] for i in answered)}
    missing = [problem for problem in problems if problem.id not in known]
    graded_here = [(problems[i], mean(scores[i])) for i in answered if scores[i]]
    repeats = Counter((r.place, r.text) for r in replies)
    return {
        **row,
        "responses": len(replies),
        "ungraded": sum(v.score is None for v in verdicts),
        "missing": {"count": len(missing), "first": [_name(p) for p in missing[:SHOWN]]},
        "unknown": {"count": len(unknown), "first": unknown[:SHOWN]},
        "score_missing_as_0": average(task, [*graded_here, *((p, 0.0) for p in missing)]) if graded_here else None,
        "repeated_lines": len(replies) - len(repeats),
        "pass_at_k": _pass_at_k([scores[i] for i in answered if scores[i]]),
    }


def _name(problem: Problem) -> str:
    key = problem.annotations.get("key")
    return problem.id if key is None else f"{problem.id} (key {key})"


def _pass_at_k(groups: Sequence[Sequence[float]]) -> list[dict[str, Any]]:
    """pass@k for right-or-wrong scores; [] for fractional scores or single replies."""
    fewest = min(map(len, groups), default=0)
    if fewest < 2 or not all(is_binary(group) for group in groups):
        return []
    # 10 is what code benchmarks report (of 20 replies, arXiv:2411.15124).
    ks = sorted({k for k in (10, *(2**i for i in range(fewest.bit_length()))) if k < fewest} | {fewest})
    counts = [(len(group), sum(score == 1 for score in group)) for group in groups]
    return [dict(zip(("k", "score", "standard_error"), (k, *mean_pass_at_k(counts, k)), strict=True)) for k in ks]


def _instructions(task: EvalTask, cases: Sequence[tuple[Problem, str]], verdicts: Verdicts) -> dict[str, Any]:
    """For IFEval: the four numbers of its paper (arXiv:2311.07911 table 3), over all replies."""
    from burnish.verify.ifeval import IFEval

    if not isinstance(task.verifier, IFEval):
        return {}
    numbers: dict[str, float | None] = {}
    for mode in ("strict", "loose"):
        verifier = dataclasses.replace(task.verifier, mode=mode, partial=True)
        followed = asked = whole = count = 0.0
        found = verdicts.of(verifier, cases, f"grade {task.name}, {mode} by instruction")
        for (problem, _), verdict in zip(cases, found, strict=True):
            if verdict.score is not None:
                size = len(json.loads(problem.check.target))
                followed, asked = followed + verdict.score * size, asked + size
                whole, count = whole + (verdict.score == 1.0), count + 1
        numbers[f"prompt_{mode}"] = whole / count if count else None
        numbers[f"instruction_{mode}"] = followed / asked if asked else None
    return {"ifeval": numbers}
