"""BigCodeBench-Hard (Zhuo et al. 2024, arXiv:2406.15877): 148 tasks with many libraries, for verifier UnitTests. Evaluation only."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from burnish.core.types import Check, Problem, user
from burnish.data.sources.benchmark import Benchmark, BenchmarkSource, rows_of, text_of

_COLUMNS = ("task_id", "instruct_prompt", "canonical_solution", "code_prompt", "test", "entry_point")
_HARD = Benchmark("bigcodebench_hard/v0.1.2", "bigcode/bigcodebench-hard", "", "v0.1.2", 148, "Apache-2.0", _COLUMNS)


@dataclass(frozen=True, slots=True)
class BigCodeBenchHardProblems(BenchmarkSource):
    """Version 0.1.2 in its "instruct" form: the task in words, with the code it has to begin with."""

    VERSION: ClassVar[int] = 1

    @property
    def name(self) -> str:
        """bigcodebench_hard/instruct."""
        return "bigcodebench_hard/instruct"

    @property
    def benchmark(self) -> Benchmark:
        """bigcode/bigcodebench-hard."""
        return _HARD

    def rows(self, data: Path | None) -> Iterator[Problem]:
        """The problems in file order; the target's prompt makes the tests "calibrated". annotations["libs"]: what they import."""
        for number, row in enumerate(rows_of(self.benchmark, data, self.name)):
            task, asked, solution, head, test, entry = (text_of(row, column, self.name, number) for column in _COLUMNS)
            target = {"entry": entry, "prompt": head, "test": test}
            yield Problem(
                user(asked.strip()), Check("code", json.dumps(target, sort_keys=True)), f"```python\n{head}{solution}\n```",
                source=self.name, licence=self.licence, annotations={"key": task, "libs": libraries(row.get("libs"))},
            )  # fmt: skip


def libraries(value: Any) -> list[str]:
    """The column `libs`, which is published as a Python list written as text; [] for anything else."""
    if isinstance(value, str):
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return []
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
