"""The verifier for functions and classes with tests: asserts, check(candidate), unittest classes, inputs with a reference."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

from burnish.core.fingerprint import not_identity
from burnish.core.types import Problem, Verdict
from burnish.errors import VerifierError, nearest
from burnish.verify.code.exams import Place, examine
from burnish.verify.code.extraction import RULES, Extraction, read
from burnish.verify.code.oracles import ORACLES
from burnish.verify.code.parallel import side_by_side
from burnish.verify.sandbox import Limits

_ASSERTS = '{"tests": ["assert add(2, 3) == 5", "assert add(-1, 1) == 0"]}'
_CHECK = (
    '{"entry": "half", "prompt": "def half(n: int) -> int:\\n    \\"\\"\\"Half of n.\\"\\"\\"\\n",'
    ' "test": "def check(candidate):\\n    assert candidate(8) == 4\\n    assert candidate(7) == 3\\n"}'
)
_INPUTS = '{"entry": "root", "inputs": [[4], [2]], "solution": "def root(x):\\n    return x ** 0.5"}'

_TEXTS = ("entry", "prompt", "setup", "solution", "oracle", "test")
_LISTS = ("tests", "names", "inputs")
_FIELDS = (*_TEXTS, *_LISTS, "atol", "in_place")
_HOW = (
    '  Write {"tests": ["assert f(1) == 2"]}, {"test": "def check(candidate): ...", "entry": "f"} or\n'
    '  {"inputs": [[1], [2]], "solution": "def f(x): ...", "entry": "f"}; see docs/reference/verifiers/code.md.'
)


@dataclass(frozen=True, slots=True)
class FunctionTests:
    """Grades a program by tests that call what it defines.

    extract:   which part of the reply is the program; see burnish.verify.code.extraction.read.
    partial:   False scores 1 only when every test passes; True scores the share that passes.
    cpu_s:     seconds of processor time for all calls of a program together. With a reference solution it gets at least
               four times that one's time, up to 60 s.
    memory_mb: MiB it may use.
    packages:  distributions that programs and tests may import, e.g. ("numpy",); the standard library is always there.
    sandbox:   which kind contains it; says where it runs, not what is graded.

    Program and tests run in two contained processes. The program's holds no test and no expected value, and only plain
    values come back from it, so it can gain nothing by ending early, by printing, by patching or by objects that equal
    everything. A program that crashes, hangs or breaks a limit scores 0 and the reason; tests that do not run by
    themselves, and a sandbox that fails, give Verdict(None, reason).
    """

    VERSION: ClassVar[int] = 1
    ACCEPTS: ClassVar[tuple[tuple[str, str], ...]] = (
        (_ASSERTS, "```python\ndef add(a, b):\n    return a + b\n```"),
        (_CHECK, "    return n // 2\n"),
        (_INPUTS, "Here it is:\n\nimport math\n\ndef root(x):\n    return math.sqrt(x)\n\nIt uses the square root."),
    )
    REJECTS: ClassVar[tuple[tuple[str, str], ...]] = (
        (_ASSERTS, "```python\ndef add(a, b):\n    return a - b\n```"),
        (_ASSERTS, "```python\nimport os\nprint('all tests passed')\nos._exit(0)\n```"),
        (_CHECK, "    return n / 2\n"),
        (_INPUTS, "The square root of 4 is 2."),
        (_ASSERTS, ""),
    )
    extract: Extraction = "flexible"
    partial: bool = False
    cpu_s: float = 10.0
    memory_mb: int = 2048
    packages: tuple[str, ...] = ()
    sandbox: str = not_identity(default="auto")

    def __post_init__(self) -> None:
        if self.extract not in RULES:
            raise VerifierError(f"FunctionTests(extract={self.extract!r}): {nearest(self.extract, RULES)}")

    def check_target(self, target: str) -> None:
        """Nothing, when `target` can be compared with. Raises VerifierError otherwise; Curate asks before anything runs."""
        spec_of(target)

    def __call__(self, problem: Problem, text: str) -> Verdict:
        """1 when the tests pass (or their share), else 0, with the first test that failed and how."""
        try:
            spec = spec_of(problem.check.target)
        except VerifierError as error:
            return Verdict(None, str(error))
        prompt, entry = spec.get("prompt", ""), spec.get("entry", "")
        reading = read(text, self.extract, entry, prompt)
        if reading is None:
            return Verdict(0.0, "the reply has no program")
        limits = Limits(cpu_s=self.cpu_s, memory_mb=self.memory_mb, output_kb=1 << 20)
        exam = {name: value for name, value in spec.items() if name != "prompt"}
        try:
            passed, total, why = examine(
                exam, reading.sources, entry=entry, trim=reading.trim, partial=self.partial, limits=limits,
                place=Place(self.sandbox, self.packages),
            )  # fmt: skip
        except VerifierError as error:  # Ungraded, or a machine without any sandbox
            return Verdict(None, str(error))
        return verdict(passed, total, why, self.partial)

    def grade_many(self, items: Sequence[tuple[Problem, str]]) -> list[Verdict]:
        """The verdict on each (problem, reply), in order, on all cores."""
        return side_by_side(self, items)


def verdict(passed: int, total: int, why: str, partial: bool) -> Verdict:
    """The score of `passed` tests of `total`: their share, or all or nothing; `why` tells of the first that failed."""
    if total and passed == total:
        return Verdict(1.0, f"passes {'the test' if total == 1 else f'all {total} tests'}")
    if not total:
        return Verdict(0.0, why or "no test ran")
    share = passed / total if partial else 0.0
    return Verdict(share, f"passes {passed} of {total} tests; {why}" if partial else why)


@lru_cache(maxsize=256)
def spec_of(target: str) -> dict[str, Any]:
    """The target as an object whose fields have their kinds. Raises VerifierError naming the field that is wrong."""
    try:
        spec = json.loads(target)
    except (ValueError, RecursionError):
        raise VerifierError(f"target {target[:60]!r} is not JSON, so no program can be tested.\n{_HOW}") from None
    if not isinstance(spec, dict):
        raise VerifierError(f"target {target[:60]!r} is not a JSON object, so no program can be tested.\n{_HOW}")
    for name, value in spec.items():
        if name not in _FIELDS:
            raise VerifierError(f"target field {name!r} is not known. {nearest(name, _FIELDS)}")
        if not _KINDS[name](value):
            raise VerifierError(f"target field {name!r} cannot be {value!r:.60}.\n{_HOW}")
    kinds = [name for name in ("tests", "test", "inputs") if name in spec]
    if len(kinds) != 1 or not spec[kinds[0]]:
        found = " and ".join(map(repr, kinds)) or f"{', '.join(map(repr, spec)) or 'nothing'}"
        raise VerifierError(
            f"target has {found}, but a program is tested by one of 'tests', 'test' and 'inputs'.\n{_HOW}"
        )
    if "inputs" in spec and not (spec.get("entry") and spec.get("solution")):
        raise VerifierError(f"target has 'inputs' without 'entry' and 'solution', so no output is known.\n{_HOW}")
    return spec


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(v, str) for v in value)


_KINDS: dict[str, Callable[[Any], bool]] = {
    **{name: lambda value: isinstance(value, str) for name in _TEXTS},
    "oracle": lambda value: isinstance(value, str) and value in ORACLES,
    "tests": _texts,
    "names": _texts,
    "inputs": lambda value: isinstance(value, list),
    "atol": lambda value: isinstance(value, int | float) and not isinstance(value, bool) and value >= 0,
    "in_place": lambda value: isinstance(value, bool),
}
