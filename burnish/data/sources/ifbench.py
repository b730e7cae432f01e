"""IFBench (Pyatkin et al. 2025, arXiv:2507.02833): 300 prompts under 58 constraints that a program can verify. Evaluation only."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from burnish.core.types import Check, Problem, user
from burnish.data.sources.benchmark import Benchmark, BenchmarkSource, rows_of, text_of
from burnish.data.sources.held_out import TESTS
from burnish.data.sources.ifeval import target_of
from burnish.data.sources.pinned import Pinned, TestSource, one_of, records

_SAMPLE = TESTS["ifbench_sample"].file

FILES = {
    "sample": _SAMPLE,
    "test": Pinned(
        "ifbench/IFBench_test.jsonl", "a2bf7b8e7ed11d39c65b4ec781da8b99663ed0121f97033d70fcecb61f8a9d85",
        300, _SAMPLE.licence, _SAMPLE.url, _SAMPLE.revision,
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class IFBenchPrompts(TestSource):
    """The IFBench prompts as problems for verifier "ifeval": the 300 of the test, or a sample of 10 of them.

    target: JSON list of {"id": instruction id, "kwargs": its arguments}. category: the family of the first instruction.
    """

    split: Literal["test", "sample"] = "test"
    VERSION: ClassVar[int] = 1

    def __post_init__(self) -> None:
        one_of(self.split, FILES, "IFBenchPrompts(split=...)")

    @property
    def name(self) -> str:
        """E.g. "ifbench/test"."""
        return f"ifbench/{self.split}"

    @property
    def file(self) -> Pinned:
        """The prompts' file."""
        return FILES[self.split]

    def rows(self, data: Path | None) -> Iterator[Problem]:
        """The problems in file order; annotations hold the set's own key."""
        for record in records(self.file, data, self.name, ("prompt",)):
            target = [_cleared(entry) for entry in target_of(record)]
            yield Problem(
                user(record["prompt"]),
                Check("ifeval", json.dumps(target)),
                category=target[0]["id"].partition(":")[0],
                source=self.name,
                licence=self.licence,
                annotations={"key": record.get("key")},
            )


OUT_OF_DISTRIBUTION = Benchmark(
    "ifeval_ood/test",
    "allenai/IFBench_test2",
    "",
    "train",
    300,
    "ODC-By-1.0",
    ("prompt", "instruction_id_list", "kwargs"),
)


@dataclass(frozen=True, slots=True)
class IFEvalOODPrompts(BenchmarkSource):
    """The 300 prompts that stand for Tülu 3's IFEval-OOD, for verifier "ifeval"; targets and categories as in IFBenchPrompts."""

    VERSION: ClassVar[int] = 1

    @property
    def name(self) -> str:
        """ifeval_ood/test."""
        return "ifeval_ood/test"

    @property
    def benchmark(self) -> Benchmark:
        """allenai/IFBench_test2."""
        return OUT_OF_DISTRIBUTION

    def rows(self, data: Path | None) -> Iterator[Problem]:
        """The problems in file order; annotations hold the set's own key."""
        for number, row in enumerate(rows_of(self.benchmark, data, self.name)):
            asked = text_of(row, "prompt", self.name, number)
            target = [_cleared(entry) for entry in target_of(row)]
            yield Problem(
                user(asked), Check("ifeval", json.dumps(target)), category=target[0]["id"].partition(":")[0],
                source=self.name, licence=self.licence, annotations={"key": row.get("key")},
            )  # fmt: skip


def _cleared(entry: dict[str, Any]) -> dict[str, Any]:
    """The instruction; one of the family "custom" takes no arguments, and the published code ignores those given."""
    return {**entry, "kwargs": {}} if str(entry["id"]).startswith("custom:") else entry
