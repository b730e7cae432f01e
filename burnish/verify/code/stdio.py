"""The verifier for whole programs: what they print for a given input."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import zip_longest
from typing import ClassVar, Literal, NamedTuple

from burnish.core.fingerprint import not_identity
from burnish.core.types import Problem, Verdict
from burnish.errors import VerifierError, nearest
from burnish.verify.code.exams import Place
from burnish.verify.code.extraction import RULES, Extraction, read
from burnish.verify.code.function_tests import verdict
from burnish.verify.code.parallel import side_by_side
from burnish.verify.sandbox import Limits, Outcome, Program

_SUM = '{"tests": [{"input": "2 3\\n", "output": "5\\n"}, {"input": "10 -4\\n", "output": "6\\n"}]}'
_ROOT = '{"inputs": ["2\\n"], "outputs": ["1.41421356\\n"]}'
_HELLO = '{"tests": [{"input": "", "output": "Hello\\nworld"}]}'
_HOW = '  Write {"tests": [{"input": "2 3\\n", "output": "5\\n"}]} or {"inputs": [...], "outputs": [...]}.'
_FIRST = 4  # cases run before the others, so that a wrong program costs little


class Case(NamedTuple):
    """What goes in, and what must come out."""

    given: str
    wanted: str


@dataclass(frozen=True, slots=True)
class StdioTests:
    """Grades a program by what it prints for each input. It is run anew for each, and must end with exit code 0.

    compare: "lines"   line by line, spaces at the ends of lines and empty lines at the end aside.
             "tokens"  word by word, however they are spaced.
             "numbers" as tokens, and two numbers are equal within 1e-6, absolutely or relatively.
    extract, partial, memory_mb, packages, sandbox: as in FunctionTests. cpu_s: seconds of processor time for one input.

    The expected output is never inside the sandbox.
    """

    VERSION: ClassVar[int] = 1
    ACCEPTS: ClassVar[tuple[tuple[str, str], ...]] = (
        (_SUM, "```python\nprint(sum(map(int, input().split())))\n```"),
        (_SUM, "```python\nimport sys\na, b = map(int, sys.stdin.read().split())\nprint(a + b)\nsys.exit(0)\n```"),
        (_HELLO, "print('Hello ')\nprint('world')"),
    )
    REJECTS: ClassVar[tuple[tuple[str, str], ...]] = (
        (_SUM, "```python\nprint(5)\n```"),
        (_SUM, "```python\nprint(sum(map(int, input().split())))\nraise SystemExit(1)\n```"),
        (_SUM, "```python\na, b = map(int, input().split())\nfor n in range(-100, 100):\n    print(n)\n```"),
        (_ROOT, "```python\nprint(2 ** 0.5)\n```"),
        (_HELLO, "Hello\nworld"),
    )
    extract: Extraction = "flexible"
    compare: Literal["lines", "tokens", "numbers"] = "lines"
    partial: bool = False
    cpu_s: float = 4.0
    memory_mb: int = 1024
    packages: tuple[str, ...] = ()
    sandbox: str = not_identity(default="auto")

    def __post_init__(self) -> None:
        if self.extract not in RULES:
            raise VerifierError(f"StdioTests(extract={self.extract!r}): {nearest(self.extract, RULES)}")
        if self.compare not in _COMPARE:
            raise VerifierError(f"StdioTests(compare={self.compare!r}): {nearest(self.compare, _COMPARE)}")

    def check_target(self, target: str) -> None:
        """Nothing, when `target` can be compared with. Raises VerifierError otherwise; Curate asks before anything runs."""
        cases_of(target)

    def __call__(self, problem: Problem, text: str) -> Verdict:
        """1 when every output is right (or the share that is), else 0, with the first input that failed and how."""
        try:
            cases = cases_of(problem.check.target)
            reading = read(text, self.extract)
            if reading is None:
                return Verdict(0.0, "the reply has no program")
            return self._graded(reading.sources[0], cases)
        except VerifierError as error:  # a target that cannot be read, or a machine without any sandbox
            return Verdict(None, str(error))

    def grade_many(self, items: Sequence[tuple[Problem, str]]) -> list[Verdict]:
        """The verdict on each (problem, reply), in order, on all cores."""
        return side_by_side(self, items)

    def _graded(self, source: str, cases: Sequence[Case]) -> Verdict:
        passed, why = 0, ""
        for number, (case, outcome) in enumerate(self._outcomes(source, cases), 1):
            if outcome.status == "lost":
                return Verdict(None, f"the sandbox failed: {outcome.why}")
            wrong = self._wrong(case, outcome)
            passed += not wrong
            why = why or (wrong and f"test {number}: {wrong}")
        return verdict(passed, len(cases), why, self.partial)

    def _outcomes(self, source: str, cases: Sequence[Case]) -> Iterator[tuple[Case, Outcome]]:
        """What the program did for each input; without `partial`, up to the batch with the first wrong one."""
        limits = Limits(cpu_s=self.cpu_s, wall_s=2 * self.cpu_s + 5, memory_mb=self.memory_mb)
        box = Place(self.sandbox, self.packages).box()
        for batch in (cases[:_FIRST], cases[_FIRST:]):
            outcomes = box.run([Program(source, stdin=case.given, limits=limits) for case in batch])
            yield from zip(batch, outcomes, strict=True)
            if not self.partial and any(map(self._wrong, batch, outcomes)):
                return

    def _wrong(self, case: Case, outcome: Outcome) -> str:
        """What is wrong with what the program did for one input, or ""."""
        if outcome.status != "ok":
            return f"for input {_brief(case.given)}: {outcome.status}: {outcome.why}"
        if _COMPARE[self.compare](outcome.stdout, case.wanted):
            return ""
        return f"for input {_brief(case.given)} it printed {_brief(outcome.stdout)}, wanted {_brief(case.wanted)}"


def _brief(text: str) -> str:
    return repr(text if len(text) <= 100 else f"{text[:70]}...{text[-20:]}")


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().split("\n")]


def _near(out: str | None, wanted: str | None) -> bool:
    if out == wanted:
        return True
    try:
        one, two = float(out or ""), float(wanted or "")
    except ValueError:
        return False
    return abs(one - two) <= 1e-6 * max(1.0, abs(two))


_COMPARE: dict[str, Callable[[str, str], bool]] = {
    "lines": lambda out, wanted: _lines(out) == _lines(wanted),
    "tokens": lambda out, wanted: out.split() == wanted.split(),
    "numbers": lambda out, wanted: all(_near(o, w) for o, w in zip_longest(out.split(), wanted.split())),
}


@lru_cache(maxsize=256)
def cases_of(target: str) -> tuple[Case, ...]:
    """The target's inputs with their outputs. Raises VerifierError naming what is wrong."""
    try:
        data = json.loads(target)
    except (ValueError, RecursionError):
        raise VerifierError(f"target {target[:60]!r} is not JSON, so no program can be tested.\n{_HOW}") from None
    pairs: list[object] = []
    if isinstance(data, dict) and isinstance(data.get("tests"), list):
        pairs = [(t.get("input"), t.get("output")) if isinstance(t, dict) else t for t in data["tests"]]
    elif isinstance(data, dict) and isinstance(data.get("inputs"), list) and isinstance(data.get("outputs"), list):
        pairs = list(zip_longest(data["inputs"], data["outputs"]))
    if not pairs:
        raise VerifierError(f"target {target[:60]!r} has no inputs with outputs.\n{_HOW}")
    cases = []
    for number, pair in enumerate(pairs, 1):
        if not (isinstance(pair, tuple) and isinstance(pair[0], str) and isinstance(pair[1], str)):
            raise VerifierError(f"target test {number} is {pair!r:.60}, not an input text and an output text.\n{_HOW}")
        cases.append(Case(*pair))
    return tuple(cases)
