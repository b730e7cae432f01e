"""A benchmark as a value: source, prompt, sampling, verifier, metric, published score."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from burnish.core.types import Problem
from burnish.data.source import Source
from burnish.errors import DataError
from burnish.rollout.engine import GREEDY, Sampling
from burnish.verify.base import Verifier


@dataclass(frozen=True, slots=True)
class Published:
    """A score somebody published, with where and how, to stand beside ours. `score` is a share in [0, 1]."""

    score: float
    model: str
    url: str
    settings: str


@dataclass(frozen=True, slots=True)
class EvalTask:
    """A benchmark.

    source:   yields Problems whose prompts are complete (shots and instructions included).
    verifier: grades a reply; the mean of its scores over graded replies is the metric.
    limit:    only the first n problems, or None for all of them.
    average:  what the score is the mean of: "problems", or "categories", each with the mean of its problems, as suites of
              many subjects report it.
    prefill:  text put at the start of the reply; the model goes on from there, and only what it adds is graded.
    """

    name: str
    source: Source
    verifier: Verifier
    sampling: Sampling = GREEDY
    metric: str = "accuracy"
    limit: int | None = None
    published: tuple[Published, ...] = ()
    prefill: str = ""
    average: Literal["problems", "categories"] = "problems"
    VERSION: ClassVar[int] = 1

    def problems(self, data: Path | None) -> list[Problem]:
        """The problems asked, in order. Raises DataError when the source yields anything else or nothing."""
        found: list[Problem] = []
        for row in self.source.rows(data):
            if self.limit is not None and len(found) >= self.limit:
                break
            if not isinstance(row, Problem):
                raise DataError(
                    f"task {self.name}: source {self.source.name} yields {type(row).__name__} rows, but a task needs Problems."
                )
            found.append(row)
        if not found:
            raise DataError(f"task {self.name}: source {self.source.name} yields no problems.")
        return found
