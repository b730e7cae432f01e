"""All replies a sampling stage paid for, in completions.jsonl: written as they end, read back after a kill.

A line is {"problem_id", "k", "score", "why", "finish", "tokens", "text"}.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from burnish.core.files import JsonlLog, write_atomic
from burnish.core.rng import seed_of
from burnish.core.types import Completion, Finish, Problem, Verdict
from burnish.data.dataset import Dataset
from burnish.errors import DataError, RecipeError
from burnish.pipeline.stage import Context, Stage
from burnish.rollout.collect import Grading, check_verifiers
from burnish.rollout.engine import Request, Sampling
from burnish.rollout.reply import check_sampling
from burnish.verify.base import Verifier

LOG = "completions.jsonl"


@dataclass(frozen=True, slots=True)
class Graded:
    """One reply to a problem with its verdict. tokens: how many were sampled. score None: could not be graded."""

    k: int
    text: str
    finish: Finish
    tokens: int
    score: float | None
    why: str


def check_settings(stage: str, k: int, sampling: Sampling, verifiers: Mapping[str, Verifier]) -> None:
    """Raise RecipeError for settings under which k replies to a prompt make no sense."""
    check_sampling(sampling)
    if k < 1:
        raise RecipeError(f"{stage}.k={k}: no replies would be sampled.\n  Use 1 or more.")
    if k > 1 and sampling.temperature == 0.0:
        raise RecipeError(
            f"{stage}: k={k} replies at temperature=0 are {k} times the same reply.\n  Use temperature=1.0, or k=1."
        )
    if not verifiers:
        raise RecipeError(
            f"{stage}.verifiers is empty, so no reply could be graded.\n  Write verifiers={{'gsm8k': GSM8K()}}."
        )


def read_problems(ctx: Context, stage: Stage) -> list[Problem]:
    """The problems of a dataset stage, each once, in order. Raises DataError for rows of another kind or none."""
    found: dict[str, Problem] = {}
    folder = ctx.path_of(stage)
    for row in Dataset.open(folder).stream():
        if not isinstance(row, Problem):
            raise DataError(
                f"{folder.name}: row {row.id} is a {type(row).__name__}, but replies can be sampled and graded for "
                "Problems only.\n  Give a dataset of problems (prompts with a check)."
            )
        found.setdefault(row.id, row)
    if not found:
        raise DataError(f"{folder.name} has no rows, so there is nothing to sample.\n  Look at its card.json for why.")
    return list(found.values())


def sample_problems(
    ctx: Context,
    policy: Stage,
    problems: Sequence[Problem],
    *,
    k: int,
    sampling: Sampling,
    verifiers: Mapping[str, Verifier],
    purpose: str,
    seed: int,
) -> list[list[Graded]]:
    """K graded replies to each problem, in the problems' order.

    Replies that an interrupted run kept are not sampled again. A reply depends on its own seed and prompt only, so what is
    sampled later is what would have been sampled then. When all are there the log is put in the problems' order.
    """
    check_verifiers(verifiers, problems)
    log = JsonlLog(ctx.out / LOG)
    done = {(record["problem_id"], record["k"]): record for record in log.records}
    missing = [(problem, i) for problem in problems for i in range(k) if (problem.id, i) not in done]
    with ctx.console.bar("sample", len(problems) * k, "replies", done=len(problems) * k - len(missing)) as bar:
        if missing:
            engine, prompts = _engine(ctx, policy, problems)
            requests = [
                Request(prompts[problem.id], sampling, seed_of(seed, purpose, problem.id, i)) for problem, i in missing
            ]

            def enter(index: int, completion: Completion, verdict: Verdict) -> None:
                problem, i = missing[index]
                record = _record(problem, i, completion, verdict)
                log.append(record)
                done[problem.id, i] = record
                bar.advance()

            grading = Grading(verifiers, enter)
            engine.generate(requests, lambda index, completion: grading.add(index, missing[index][0], completion))
            grading.rest()
    log.close()
    ordered = [[done[problem.id, i] for i in range(k)] for problem in problems]
    lines = (json.dumps(record, ensure_ascii=True, allow_nan=False) + "\n" for group in ordered for record in group)
    write_atomic(ctx.out / LOG, "".join(lines))
    return [[_graded(record) for record in group] for group in ordered]


def _engine(ctx: Context, policy: Stage, problems: Sequence[Problem]) -> tuple[Any, dict[str, tuple[int, ...]]]:
    from burnish.model.policy import Policy
    from burnish.rollout.engines import make_engine

    loaded = Policy.load(ctx.path_of(policy) / "model", ctx.machine)
    prompts = {problem.id: loaded.renderer.prompt(problem.prompt) for problem in problems}
    return make_engine(loaded, ctx.machine, ctx.console), prompts


def _record(problem: Problem, k: int, completion: Completion, verdict: Verdict) -> dict[str, Any]:
    return {
        "problem_id": problem.id, "k": k, "score": verdict.score, "why": verdict.why, "finish": completion.finish.value,
        "tokens": len(completion.token_ids), "text": completion.text,
    }  # fmt: skip


def _graded(record: dict[str, Any]) -> Graded:
    return Graded(
        record["k"], record["text"], Finish(record["finish"]), record["tokens"], record["score"], record["why"]
    )


def judge_scores(
    ctx: Context, judge: Stage, problems: Sequence[Problem], groups: Sequence[Sequence[Graded]]
) -> list[list[float | None]]:
    """What a stage's reward model gives every reply, in its own units; None for a reply that it cannot read whole."""
    from burnish.model.reward import RewardModel

    model = RewardModel.load(ctx.path_of(judge) / "model", ctx.machine)
    asked = [(problem.prompt, reply.text) for problem, group in zip(problems, groups, strict=True) for reply in group]
    with ctx.console.bar("score replies", len(asked), "replies") as bar:
        found = iter(model.rewards(asked, bar.advance))
    return [[next(found) for _ in group] for group in groups]


def pass_rates(problems: Sequence[Problem], groups: Sequence[Sequence[Graded]]) -> list[dict[str, Any]]:
    """For each source: problems, replies, how many were ungraded or cut, and the mean score of the graded ones."""
    by_source: dict[str, list[Graded]] = {}
    counts: dict[str, int] = {}
    for problem, group in zip(problems, groups, strict=True):
        by_source.setdefault(problem.source, []).extend(group)
        counts[problem.source] = counts.get(problem.source, 0) + 1
    table: list[dict[str, Any]] = []
    for source, replies in by_source.items():
        scores = [reply.score for reply in replies if reply.score is not None]
        table.append({
            "source": source, "problems": counts[source], "replies": len(replies),
            "ungraded": len(replies) - len(scores), "cut": sum(reply.finish is Finish.LENGTH for reply in replies),
            "score": sum(scores) / len(scores) if scores else None,
            "pass_rate": sum(score == 1.0 for score in scores) / len(scores) if scores else None,
        })  # fmt: skip
    return table


def origins(problems: Sequence[Problem], kept: Mapping[str, int], prefix: str) -> list[dict[str, Any]]:
    """The card's by_source: a record per source of problems, with the rows made from it (`kept`, by source)."""
    records: dict[tuple[str, str], dict[str, Any]] = {}
    for problem in problems:
        record = records.setdefault(
            (problem.source, problem.licence),
            {
                "source": prefix + problem.source, "licence": problem.licence, "url": "", "revision": "generated",
                "rows_in": 0, "rows_kept": kept.get(problem.source, 0),
            },
        )  # fmt: skip
        record["rows_in"] += 1
    return list(records.values())
