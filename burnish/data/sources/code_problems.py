"""Programming problems with tests: HumanEval (arXiv:2107.03374), and HumanEval+ and MBPP+ of EvalPlus (arXiv:2305.01210)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from burnish.core.types import Check, Problem, user
from burnish.data.sources.pinned import Pinned, TestSource, records
from burnish.errors import DataError
from burnish.verify.code.wire import encode

_HUMANEVAL = Pinned(
    "humaneval/HumanEval.jsonl.gz", "b796127e635a67f93fb35c04f4cb03cf06f38c8072ee7cee8833d7bee06979ef",
    164, "MIT", "https://github.com/openai/human-eval", "6d43fb980f9fee3c892a914eda09951f772ad10d",
)  # fmt: skip
_HUMANEVAL_PLUS = Pinned(
    "humanevalplus/HumanEvalPlus.jsonl.gz", "272720b90ac375502c8ed23cd791c2a93dfb22a911641a494da74a426c09f101",
    164, "Apache-2.0", "https://github.com/evalplus/humanevalplus_release", "200defce9e3429d28ca215b6dd061c0f7f31c18b",
)  # fmt: skip
_MBPP_PLUS = Pinned(
    "mbpp/MbppPlus.jsonl.gz", "af43697e8791c4c149bdfd6b489d8b5412507551ac20e28a439f650b8225db63",
    378, "Apache-2.0", "https://github.com/evalplus/mbppplus_release", "dadf43da556a00f7bacd71cb154f2932757d9144",
)  # fmt: skip
_TEXTS = ("task_id", "prompt", "entry_point", "canonical_solution")


@dataclass(frozen=True, slots=True)
class HumanEvalProblems(TestSource):
    """HumanEval's 164 functions to complete, for verifier "code". Evaluation only."""

    VERSION: ClassVar[int] = 1

    @property
    def name(self) -> str:
        """Humaneval."""
        return "humaneval"

    @property
    def file(self) -> Pinned:
        """The published file."""
        return _HUMANEVAL

    def rows(self, data: Path | None) -> Iterator[Problem]:
        """The prompt is the function's head and docstring; the solution is its body. annotations["key"] is the task id."""
        for record in records(self.file, data, self.name, (*_TEXTS, "test")):
            target = {
                "entry": record["entry_point"],
                "names": [],
                "prompt": record["prompt"],
                # Helpers of the prompt that the tests use too, so that a program cannot replace them there.
                "setup": record["prompt"].partition(f"def {record['entry_point']}(")[0],
                "test": record["test"],
            }
            yield _completion(self, record, target)


@dataclass(frozen=True, slots=True)
class HumanEvalPlusProblems(TestSource):
    """HumanEval's problems with about 750 inputs each, compared with the reference's outputs. Evaluation only."""

    VERSION: ClassVar[int] = 1

    @property
    def name(self) -> str:
        """Humanevalplus."""
        return "humanevalplus"

    @property
    def file(self) -> Pinned:
        """EvalPlus's release."""
        return _HUMANEVAL_PLUS

    def rows(self, data: Path | None) -> Iterator[Problem]:
        """As HumanEvalProblems, with inputs in place of the test."""
        for record in records(self.file, data, self.name, _TEXTS):
            target = _inputs(self.name, record, list)
            target["prompt"] = record["prompt"]
            yield _completion(self, record, target)


@dataclass(frozen=True, slots=True)
class MBPPPlusProblems(TestSource):
    """EvalPlus's 378 problems of MBPP with about 105 inputs each. Evaluation only."""

    VERSION: ClassVar[int] = 1

    @property
    def name(self) -> str:
        """Mbppplus."""
        return "mbppplus"

    @property
    def file(self) -> Pinned:
        """EvalPlus's release."""
        return _MBPP_PLUS

    def rows(self, data: Path | None) -> Iterator[Problem]:
        """The prompt is a docstring with the task and one assert; the solution is a whole program."""
        for record in records(self.file, data, self.name, _TEXTS):
            target = _inputs(self.name, record, _arguments(int(record["task_id"].rpartition("/")[2])))
            yield _problem(self, record, target, f"```python\n{record['canonical_solution'].strip()}\n```")


def _completion(source: TestSource, record: dict[str, Any], target: dict[str, Any]) -> Problem:
    """HumanEval and HumanEval+ ask the same questions, so a problem of one and its twin are one annotations["cluster"]."""
    problem = _problem(source, record, target, record["canonical_solution"])
    return replace(problem, annotations={**problem.annotations, "cluster": f"humaneval/{record['task_id']}"})


def _problem(source: TestSource, record: dict[str, Any], target: dict[str, Any], solution: str) -> Problem:
    return Problem(
        user(record["prompt"]),
        Check("code", json.dumps(target, sort_keys=True)),
        solution,
        source=source.name,
        licence=source.licence,
        annotations={"key": record["task_id"]},
    )


def _inputs(name: str, record: dict[str, Any], arguments: Callable[[list[Any]], list[Any]]) -> dict[str, Any]:
    """The target of a problem of EvalPlus. Raises DataError where the inputs are not lists of arguments."""
    # One problem (Mbpp/793) has {} for no further inputs.
    inputs = [*(record.get("base_input") or []), *(record.get("plus_input") or [])]
    if not inputs or not all(isinstance(i, list) for i in inputs):
        raise DataError(f"{name}, {record['task_id']}: base_input and plus_input must hold lists of arguments.")
    return {
        "entry": record["entry_point"],
        "solution": record["prompt"] + record["canonical_solution"],
        "inputs": [encode(arguments(i)) for i in inputs],
        "atol": record.get("atol", 0),
        "oracle": ORACLES.get(record["task_id"], ""),
    }


# Problems whose outputs are not simply compared (EvalPlus 0.3.1): see burnish/verify/code/oracles.py.
ORACLES = {
    "HumanEval/32": "root",
    **dict.fromkeys(map("Mbpp/{}".format, (2, 7, 111, 140, 232, 579, 769)), "same members"),
    **dict.fromkeys(map("Mbpp/{}".format, (737, 787, 794)), "given"),
    "Mbpp/558": "digit distance",
    "Mbpp/581": "pyramid",
}


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _tuples(value: list[Any]) -> list[Any]:
    return [_tuple(v) for v in value]


def _every(value: Any) -> Any:
    """Every list inside, however deep, as a tuple."""
    return tuple(_every(v) for v in value) if isinstance(value, list) else value


# JSON has no tuples and no complex numbers: which arguments of MBPP+ were what, by task number (EvalPlus's loader).
_FORMS: tuple[tuple[tuple[int, ...], Callable[[list[Any]], list[Any]]], ...] = (
    (
        (2, 116, 132, 222, 261, 273, 394, 421, 424, 429, 470, 560, 579, 596, 616, 630, 726, 740, 744, 809),
        _tuples,
    ),
    ((63, 64, 70, 94, 120, 237, 272, 299, 409, 473, 614, 780), lambda args: [_tuples(arg) for arg in args]),
    ((75, 413, 753), lambda args: [_tuples(args[0]), args[1]]),
    ((106, 750), lambda args: [args[0], tuple(args[1])]),
    ((250, 405, 446, 720, 763, 808), lambda args: [tuple(args[0]), args[1]]),
    ((259, 278, 445), lambda args: [tuple(_tuples(arg)) for arg in args]),
    ((580, 615, 791), lambda args: [_every(arg) for arg in args]),
    ((124,), lambda args: [float(args[0]), complex(args[1])]),
    ((252,), lambda args: [complex(args[0])]),
    ((722,), lambda args: [{name: tuple(value) for name, value in args[0].items()}, *args[1:]]),
)


def _arguments(number: int) -> Callable[[list[Any]], list[Any]]:
    return next((form for numbers, form in _FORMS if number in numbers), list)
