"""Clusters and seeds from problems and samples to the rows of scores.json."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from burnish.core.files import read_jsonl
from burnish.core.types import Check, Problem, Row, Verdict, user
from burnish.data.sources.code_problems import HumanEvalPlusProblems, HumanEvalProblems
from burnish.data.sources.short_answers import DROPQuestions, PopQAQuestions
from burnish.eval.answer import GoldAnswers
from burnish.eval.run import evaluate
from burnish.eval.score import cluster_of, line, problem_scores, seeds_of, summary
from burnish.eval.task import EvalTask
from burnish.eval.tasks.catalogue import find
from burnish.pipeline.progress import Console
from burnish.rollout.engine import Sampling


@dataclass(frozen=True, slots=True)
class Passages:
    """Six questions, two to a passage."""

    VERSION: ClassVar[int] = 1
    name: ClassVar[str] = "passages"
    licence: ClassVar[str] = "CC0-1.0"
    url: ClassVar[str] = ""
    revision: ClassVar[str] = "generated"

    def rows(self, data: Path | None) -> Iterator[Row]:
        for i in range(6):
            category = "xy"[i // 4]
            yield Problem(user(f"{i}?"), Check("same", str(i)), str(i), category, annotations={"cluster": f"p{i // 2}"})


@dataclass(frozen=True, slots=True)
class Same:
    """Right when the reply is the target."""

    VERSION: ClassVar[int] = 1
    ACCEPTS: ClassVar[tuple[tuple[str, str], ...]] = ()
    REJECTS: ClassVar[tuple[tuple[str, str], ...]] = ()

    def __call__(self, problem: Problem, text: str) -> Verdict:
        return Verdict(float(text == problem.check.target), "compared")


TASK = EvalTask("passages", Passages(), Same())


def test_a_row_counts_clusters():
    """Passages score (1, 1), (0, 0), (1, 1): residual sums 2/3, -4/3, 2/3, so sqrt(3/2 * 24/9)/6 = 1/3; alone sqrt(8/30/6)."""
    problems = TASK.problems(None)
    row = summary(TASK, problems, [1, 1, 0, 0, 1, 1])
    assert (row["n"], row["clusters"], row["standard_error"]) == (6, 3, pytest.approx(1 / 3))
    assert row["by_category"]["x"]["standard_error"] == pytest.approx(0.5)
    assert "(n 6 in 3 clusters)" in line(row)
    empty = summary(TASK, problems, [None] * 6)
    assert (empty["n"], empty["clusters"], empty["score"], empty["interval"], empty["ungraded"]) == (
        0,
        0,
        None,
        None,
        6,
    )


def test_samples_name_their_cluster(tmp_path: Path):
    quiet = Console(io.StringIO(), quiet=True)
    scores = evaluate([TASK], GoldAnswers(), seed=0, label="g", model="g", data=None, out=tmp_path, console=quiet)
    assert [record["cluster"] for _, record in read_jsonl(tmp_path / "samples.jsonl")] == [
        "p0",
        "p0",
        "p1",
        "p1",
        "p2",
        "p2",
    ]
    assert (scores["tasks"][0]["seeds"], scores["tasks"][0]["clusters"]) == (None, 3)


def sampled(task: EvalTask, scores: list[list[float | None]]) -> tuple[list[Problem], list[dict[str, Any]]]:
    problems = task.problems(None)[: len(scores)]
    return problems, [
        {"task": task.name, "id": problem.id, "sample": i, "turn": 0, "score": score}
        for problem, own in zip(problems, scores, strict=True)
        for i, score in enumerate(own)
    ]


def test_seeds_of_a_sampling_task():
    """Samples (1, 0) and (1, 1): new seeds move the mean by 1/4, as in test_eval_stats. An ungraded problem is left out."""
    task = EvalTask("passages", Passages(), Same(), Sampling(temperature=1.0), samples=2)
    problems, lines = sampled(task, [[1.0, 0.0], [1.0, 1.0], [None, None]])
    found = seeds_of(task, problems, lines)
    assert found is not None
    assert (found["samples"], found["scores"]) == (2, (1.0, 0.5))
    assert found["standard_error"] == pytest.approx(0.25)
    row = {**summary(task, problems, list(problem_scores(task, lines).values())), "seeds": found}
    assert "other seeds move it by 0.250" in line(row)
    assert seeds_of(task, problems[2:], lines[4:]) is None
    assert seeds_of(TASK, problems, lines) is None


def test_seeds_of_pass_at_k():
    """pass@2 of 4 samples with 2 right: variance 1/36; two such problems: sqrt(2/36)/2."""
    task = EvalTask("passages", Passages(), Same(), Sampling(temperature=1.0), samples=4, pass_at=2)
    problems, lines = sampled(task, [[1.0, 0.0, 1.0, 0.0], [0.0, 0.0, 1.0, 1.0]])
    found = seeds_of(task, problems, lines)
    assert found is not None
    assert found["standard_error"] == pytest.approx(math.sqrt(2 / 36) / 2)
    assert problem_scores(task, lines) == {problem.id: pytest.approx(5 / 6) for problem in problems}


def test_what_the_benchmarks_problems_share(data_dir: Path):
    """DROP's passages and PopQA's wordings; HumanEval and HumanEval+ ask the same; a framed problem keeps its cluster."""
    assert len({cluster_of(row) for row in DROPQuestions().rows(data_dir)}) == 579
    assert len({cluster_of(row) for row in PopQAQuestions().rows(data_dir)}) == 13_068
    both = [
        [cluster_of(row) for row in source.rows(data_dir)] for source in (HumanEvalProblems(), HumanEvalPlusProblems())
    ]
    assert both[0] == both[1]
    assert len(set(both[0])) == 164
    framed = next(iter(find("popqa").source.rows(data_dir)))
    assert isinstance(framed, Problem)
    assert cluster_of(framed) == cluster_of(next(PopQAQuestions().rows(data_dir)))
