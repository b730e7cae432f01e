"""MBPP (Austin et al. 2021, arXiv:2108.07732): 974 short Python tasks with tests, split by task id."""

from __future__ import annotations

import ast
import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from burnish.core.types import Check, Demo, Message, Problem, user
from burnish.data.sources.pinned import Pinned, PinnedSource, one_of, records
from burnish.errors import DataError

FILE = Pinned(
    "mbpp/mbpp.jsonl.gz",
    "29845b0dc86965fbbab7505194f48ab10913fb473fe1c8283672002d2cd7ee94",
    974,
    "CC-BY-4.0",
    "https://github.com/OckBench/OckBench",
    "b72752a0ba5989d3c212675ec60d3eedcd838628",
)
# First and last task id of each split.
SPLITS: dict[str, tuple[int, int]] = {
    "prompt": (1, 10),
    "test": (11, 510),
    "validation": (511, 600),
    "train": (601, 974),
}


class _Split(PinnedSource):
    """Abstract: one split of MBPP. Subclasses have the field `split`."""

    __slots__ = ()
    split: Literal["train", "validation", "test", "prompt"]

    def __post_init__(self) -> None:
        one_of(self.split, SPLITS, f"{type(self).__name__}(split=...)")

    @property
    def name(self) -> str:
        """mbpp/<split>."""
        return f"mbpp/{self.split}"

    @property
    def file(self) -> Pinned:
        """The file of all splits."""
        return FILE

    @property
    def count(self) -> int:
        """The tasks of the split."""
        first, last = SPLITS[self.split]
        return last - first + 1

    @property
    def evaluation_only(self) -> bool:
        """True for the test split, and for the worked examples that are shown before its questions."""
        return self.split in ("test", "prompt")


@dataclass(frozen=True, slots=True)
class MBPPDemos(_Split):
    """MBPP tasks with their tests, answered by the reference program. Only train and validation may be trained on."""

    split: Literal["train", "validation", "test", "prompt"] = "train"
    VERSION: ClassVar[int] = 1

    def rows(self, data: Path | None) -> Iterator[Demo]:
        """One demo a task; the program stands in a code block, with Unix line ends."""
        for record in _tasks(self.name, self.split, data):
            turns = (*user(_asked(record)), Message("assistant", _fenced(record)))
            yield Demo(turns, source=self.name, licence=self.licence, annotations={"task_id": record["task_id"]})


@dataclass(frozen=True, slots=True)
class MBPPProblems(_Split):
    """MBPP tasks to be answered by a program that passes their tests, for verifier "code"."""

    split: Literal["train", "validation", "test", "prompt"] = "train"
    VERSION: ClassVar[int] = 1

    def rows(self, data: Path | None) -> Iterator[Problem]:
        """The task with its tests as the question, the reference program as the solution; the challenge tests count too."""
        for record in _tasks(self.name, self.split, data):
            tests = [*map(str, record["test_list"]), *map(str, record.get("challenge_test_list") or [])]
            setup = str(record.get("test_setup_code") or "").replace("\r\n", "\n")
            used = _used("\n".join((setup, *tests)))
            target: dict[str, Any] = {"names": sorted(_defined(record["code"]) & used), "tests": tests}
            # Some tests use modules that only the reference program imports (task 596: sys).
            if setup := "\n".join((*_imports(record["code"], used), setup)).strip():
                target["setup"] = setup
            yield Problem(
                user(_asked(record)), Check("code", json.dumps(target, sort_keys=True)), _fenced(record),
                source=self.name, licence=self.licence,
                annotations={"key": record["task_id"], "fields": [record["text"].strip()]},
            )  # fmt: skip


def _tasks(name: str, split: str, data: Path | None) -> Iterator[dict[str, Any]]:
    first, last = SPLITS[split]
    for record in records(FILE, data, name, ("text", "code")):
        number, tests = record.get("task_id"), record.get("test_list")
        if not isinstance(number, int) or not isinstance(tests, list):
            raise DataError(f"{name}: task {number!r} needs the fields task_id and test_list.")
        if first <= number <= last:
            yield record


def _asked(record: dict[str, Any]) -> str:
    tests = "\n".join(map(str, record["test_list"]))
    return f"{record['text'].strip()}\n\nThe code must pass these tests:\n{tests}"


def _fenced(record: dict[str, Any]) -> str:
    code = record["code"].replace("\r\n", "\n").strip()
    return f"```python\n{code}\n```"


def _tree(code: str) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some reference programs hold invalid escapes
        return ast.parse(code)


def _defined(code: str) -> set[str]:
    """Functions and classes at the top level of a program."""
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    return {node.name for node in _tree(code).body if isinstance(node, kinds)}


def _imports(code: str, names: set[str]) -> list[str]:
    """The program's import statements that bind one of `names`."""
    nodes = [node for node in _tree(code).body if isinstance(node, ast.Import | ast.ImportFrom)]
    return [ast.unparse(n) for n in nodes if names & {(a.asname or a.name).partition(".")[0] for a in n.names}]


def _used(code: str) -> set[str]:
    return {node.id for node in ast.walk(_tree(code)) if isinstance(node, ast.Name)}
