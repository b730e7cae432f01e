"""The verifier for unittest classes that need the program in their own process (BigCodeBench, arXiv:2406.15877)."""

from __future__ import annotations

import ast
import json
import secrets
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple

from burnish.core.fingerprint import not_identity
from burnish.core.types import Problem, Verdict
from burnish.errors import VerifierError, nearest
from burnish.verify.code.exams import Lines, Place, bundle, told
from burnish.verify.code.extraction import RULES, Extraction, Reading, read
from burnish.verify.code.function_tests import verdict
from burnish.verify.code.parallel import side_by_side
from burnish.verify.sandbox import Limits, Outcome, Program

_TARGET = json.dumps({
    "entry": "task_func",
    "prompt": "import os\ndef task_func(name):\n",
    "test": (
        "import unittest\nfrom unittest.mock import patch\n"
        "class TestCases(unittest.TestCase):\n"
        "    def test_there(self):\n"
        "        with patch('os.path.exists', return_value=True):\n"
        "            self.assertTrue(task_func('a'))\n"
        "    def test_missing(self):\n"
        "        self.assertFalse(task_func('a'))\n"
    ),
})  # fmt: skip
_FIELDS = ("entry", "prompt", "test")
_HOW = '  Write {"entry": "task_func", "test": "import unittest\\nclass TestCases(unittest.TestCase): ..."}.'


class _Target(NamedTuple):
    entry: str
    prompt: str
    test: str
    methods: int  # test methods that the text has


@dataclass(frozen=True, slots=True)
class UnitTests:
    """Grades a program by unittest classes that run in its own process, as BigCodeBench does.

    extract, partial, cpu_s, memory_mb, packages, sandbox: as in FunctionTests. A target's prompt, its imports and the head of the
    function, is put before the program with "pass" as its body, so that a program may leave the imports out.

    The promise is weaker than that of FunctionTests: program and tests share a process, so a program written to defeat
    them can. The usual ways are found and score 0: ending early, replacing parts of unittest or of Python, printing a
    result, tests that never ran. Use FunctionTests for whatever can be said by calls and values.
    """

    VERSION: ClassVar[int] = 1
    ACCEPTS: ClassVar[tuple[tuple[str, str], ...]] = (
        (_TARGET, "```python\nimport os\ndef task_func(name):\n    return os.path.exists(name)\n```"),
        (_TARGET, "```python\ndef task_func(name):\n    return os.path.exists(name)\n```"),
        (_TARGET, "import os.path\n\ndef task_func(name):\n    return bool(os.path.exists(name))"),
    )
    REJECTS: ClassVar[tuple[tuple[str, str], ...]] = (
        (_TARGET, "```python\ndef task_func(name):\n    return True\n```"),
        (_TARGET, "```python\nimport os\ndef task_func(name):\n    os._exit(0)\n```"),
        (_TARGET, "```python\nimport unittest\nunittest.TestCase.assertTrue = unittest.TestCase.assertFalse = print\ndef task_func(name): 0\n```"),
        (_TARGET, ""),
    )  # fmt: skip
    extract: Extraction = "flexible"
    partial: bool = False
    cpu_s: float = 30.0
    memory_mb: int = 2048
    packages: tuple[str, ...] = ()
    sandbox: str = not_identity(default="auto")

    def __post_init__(self) -> None:
        if self.extract not in RULES:
            raise VerifierError(f"UnitTests(extract={self.extract!r}): {nearest(self.extract, RULES)}")

    def check_target(self, target: str) -> None:
        """Nothing, when `target` can be compared with. Raises VerifierError otherwise; Curate asks before anything runs."""
        _target(target)

    def __call__(self, problem: Problem, text: str) -> Verdict:
        """1 when every test passes (or their share), else 0, with the first that failed and how."""
        try:
            return self._graded(_target(problem.check.target), text)
        except VerifierError as error:  # a target that cannot be read, or a machine without any sandbox
            return Verdict(None, str(error))

    def grade_many(self, items: Sequence[tuple[Problem, str]]) -> list[Verdict]:
        """The verdict on each (problem, reply), in order, on all cores."""
        return side_by_side(self, items)

    def _graded(self, target: _Target, text: str) -> Verdict:
        reading = read(text, self.extract, target.entry)
        if reading is None:
            return Verdict(0.0, "the reply has no program")
        if target.prompt:
            stub = f"{target.prompt.rstrip()}\n    pass\n\n"
            reading = Reading(tuple(stub + source for source in reading.sources), reading.trim)
        report, ended = self._report(target, reading)
        if ended.status == "lost":
            return Verdict(None, f"the sandbox failed: {ended.why}")
        if isinstance(report, dict):
            return self._judged(report, target.methods)
        return Verdict(0.0, told(ended) if report is None else report)

    def _report(self, target: _Target, reading: Reading) -> tuple[dict[str, Any] | str | None, Outcome]:
        """What the process reported, or why it was not asked further, or None where it ended; and how it ended."""
        limits = Limits(cpu_s=self.cpu_s, wall_s=2 * self.cpu_s + 5, memory_mb=self.memory_mb, output_kb=4096)
        source = bundle("beside", "wire", "candidate", "beside")
        lines = Lines(Place(self.sandbox, self.packages).box().open(Program(source, limits=limits)))
        first, second = secrets.token_hex(16), secrets.token_hex(16)
        order = {"load": reading.sources, "entry": target.entry, "trim": reading.trim, "secret": first}
        loaded = _signed(_asked(lines, order, limits.wall_s), first)
        report: dict[str, Any] | str | None = loaded
        if isinstance(loaded, dict):
            if loaded.get("e"):
                report = f"the program does not load: {loaded['e']}"
            else:
                report = _signed(_asked(lines, {"test": target.test, "secret": second}, limits.wall_s), second)
        return report, lines.session.close()

    def _judged(self, report: dict[str, Any], count: int) -> Verdict:
        if report["replaced"]:
            names = ", ".join(report["replaced"][:5])
            return Verdict(0.0, f"tampering: the program replaced {names}, which its tests stand on")
        failed = report["failed"]
        if report["ran"] < count and not failed:
            return Verdict(0.0, f"only {report['ran']} of {count} tests ran")
        total = max(count, report["ran"])
        why = f"{failed[0][0]}: {failed[0][1]}" if failed else ""
        missed = total - report["ran"]
        return verdict(max(0, total - missed - len(failed)), total, why, self.partial)


def _asked(lines: Lines, order: dict[str, Any], timeout_s: float) -> bytes | None:
    return lines.receive(timeout_s) if lines.send(json.dumps(order).encode("ascii")) else None


def _signed(line: bytes | None, secret: str) -> dict[str, Any] | str | None:
    """The line as an object, None where there was none, or what is wrong with a line that does not hold the secret."""
    if line is None:
        return None
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or found.get("secret") != secret:
        return "tampering: the program wrote into the pipe of its own tests"
    return found


@lru_cache(maxsize=256)
def _target(target: str) -> _Target:
    """The target's parts. Raises VerifierError naming the one that is wrong."""
    try:
        spec = json.loads(target)
    except (ValueError, RecursionError):
        raise VerifierError(f"target {target[:60]!r} is not JSON, so no program can be tested.\n{_HOW}") from None
    if not isinstance(spec, dict):
        raise VerifierError(f"target {target[:60]!r} is not a JSON object, so no program can be tested.\n{_HOW}")
    for name, value in spec.items():
        if name not in _FIELDS:
            raise VerifierError(f"target field {name!r} is not known. {nearest(name, _FIELDS)}")
        if not isinstance(value, str):
            raise VerifierError(f"target field {name!r} must be text, not {value!r:.60}.\n{_HOW}")
    if not spec.get("entry") or not spec.get("test"):
        raise VerifierError(
            f"target needs 'entry' and 'test', and has {', '.join(map(repr, spec)) or 'nothing'}.\n{_HOW}"
        )
    count = _methods(spec["test"])
    if not count:
        raise VerifierError(f"target's 'test' has no class with a method named test...\n{_HOW}")
    return _Target(spec["entry"], spec.get("prompt", ""), spec["test"], count)


def _methods(code: str) -> int:
    """Methods named test... in the classes of `code`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an invalid escape in somebody's test is not our warning
            tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError) as error:
        raise VerifierError(f"target's 'test' is not Python: {error}.\n{_HOW}") from None
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    return sum(isinstance(n, ast.FunctionDef) and n.name.startswith("test") for c in classes for n in c.body)
