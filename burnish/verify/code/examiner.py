"""Runs a problem's tests against a candidate program that lives in another process. Runs inside the sandbox, as text.

Lines in: {"exam": key, "keep": n, "worth_s": seconds, "spec": ...} prepares tests and keeps the last n, {"run": key, "program": ...} runs them against a fresh candidate.
The reply to "exam" holds the reference's outputs where they took at least `worth_s`; given as "known", they are not made again.
Lines out: ">" and a request for the candidate, answered by a line of its own or "!" and a reason why there is none;
"=" and a result.
"""

from __future__ import annotations

import ast
import builtins
import copy
import itertools
import json
import os
import random
import sys
import time
import unittest
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from burnish.verify.code.oracles import ORACLES
from burnish.verify.code.remote import Entry, Gone, Link, Remote, brief
from burnish.verify.code.wire import decode, encode

MOST = 4_000_000  # values inside one expected output; an input with a larger one is left out (one of Mbpp/255: 128 million)
TOO_LARGE = {"too large": True}
_BATCH = 128  # calls asked for at once, at most


@dataclass
class Result:
    """One test: passed or not, and what happened."""

    passed: bool
    why: str = ""


class CodeExam:
    """Test code: a list of snippets, or one text that defines check(candidate), unittest classes or plain asserts."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.entry: str = spec.get("entry", "")
        self.texts: list[str] = [spec["test"]] if "test" in spec else list(spec["tests"])
        setup = spec.get("setup", "")
        self.setup = compile(setup, "setup", "exec")
        self.programs = [compile(text, f"test {i}", "exec") for i, text in enumerate(self.texts, 1)]
        trees = [ast.parse(text) for text in (setup, *self.texts)]
        given = spec.get("names")
        self.names = [self.entry] if self.entry else []
        self.names += given if given is not None else sorted(_free(trees) - {self.entry, "candidate"})
        self.required = {self.entry} if self.entry else set(given or ())
        changed = spec.get("in_place")
        self.changed = _discards(trees, {*self.names, "candidate"}) if changed is None else bool(changed)
        self.seconds = 0.0

    def run(self, link: Link, names: set[str]) -> Iterator[Result]:
        """Each test's result. Setup that fails is one failed test."""
        space: dict[str, Any] = {"__name__": "tests"}

        def begin() -> None:
            space.update({name: self.bound(link, name) for name in self.names if name in names})
            if self.entry:
                space["candidate"] = space[self.entry]
            exec(self.setup, space)

        begun = attempt(link, "setup", [], begin)
        if not begun.passed:
            yield begun
            return
        for text, program in zip(self.texts, self.programs, strict=True):
            yield from self.one(link, text.splitlines(), program, space)

    def bound(self, link: Link, name: str) -> Any:
        """A function or class to call over there, or the value itself where it is a constant."""
        if name == self.entry:
            return Entry(link, name, self.changed)
        found = link.call(name, "itself", (), {})
        return Entry(link, name, self.changed) if isinstance(found, Remote) else found

    def one(self, link: Link, lines: list[str], program: Any, space: dict[str, Any]) -> Iterator[Result]:
        """The results of one text: of check(candidate), of its unittest classes, or of running it."""
        known = set(space)
        defined = attempt(link, program.co_filename, lines, lambda: exec(program, space))
        made = [space[name] for name in space if name not in known]
        check = space.get("check")
        cases = [c for c in made if isinstance(c, type) and issubclass(c, unittest.TestCase)]
        if not defined.passed:
            yield defined
        elif "check" not in known and callable(check) and "candidate" in space:
            yield attempt(link, program.co_filename, lines, lambda: check(space["candidate"]))
        elif cases:
            for case in cases:
                yield from _cases(link, program.co_filename, lines, case)
        else:
            yield defined


def _cases(link: Link, name: str, lines: list[str], case: type[unittest.TestCase]) -> Iterator[Result]:
    for test in unittest.defaultTestLoader.loadTestsFromTestCase(case):
        yield attempt(link, name, lines, test.debug)


def attempt(link: Link, name: str, lines: list[str], step: Callable[[], Any]) -> Result:
    """Run one step of the tests. Passed when it returns, and the candidate was there to the end."""
    link.last = ""
    try:
        step()
    except Gone as gone:
        return Result(False, str(gone))
    except BaseException as error:  # noqa: BLE001 - the tests' own exceptions and the candidate's, SystemExit too
        return Result(False, link.gone or _told(error, name, lines, link))
    return Result(not link.gone, link.gone)


def _told(error: BaseException, name: str, lines: list[str], link: Link) -> str:
    """Which line of the tests failed, how, and what the last call gave."""
    line, trace = "", error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == name and 0 < trace.tb_lineno <= len(lines):
            line = lines[trace.tb_lineno - 1].strip()[:200]
        trace = trace.tb_next
    what = "" if isinstance(error, AssertionError) else f" raised {kind_of(error)}"
    return f"{line or name}{what or ' does not hold'}{link.last}"


def kind_of(error: BaseException) -> str:
    """The exception as Python shows it; leaving the process is called what it is."""
    told = f"{type(error).__name__}: {error!s:.200}"
    return f"early exit: {told}" if isinstance(error, SystemExit) else told


def _free(trees: list[ast.Module]) -> set[str]:
    """Names that the tests use and do not define, builtins aside."""
    used: set[str] = set()
    made: set[str] = set(dir(builtins)) | {"__name__"}
    for node in itertools.chain.from_iterable(map(ast.walk, trees)):
        if isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else made).add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            made.add(node.name)
        elif isinstance(node, ast.arg):
            made.add(node.arg)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            made.update((a.asname or a.name).partition(".")[0] for a in node.names)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            made.add(node.name)
    return used - made


def _discards(trees: list[ast.Module], names: set[str]) -> bool:
    """True if a call of the program stands as a statement of its own: its effect on the arguments is what counts."""
    for node in itertools.chain.from_iterable(map(ast.walk, trees)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            function = node.value.func
            if isinstance(function, ast.Name) and function.id in names:
                return True
    return False


class InputExam:
    """Inputs whose expected outputs are what the reference solution gives for them (EvalPlus)."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.entry: str = spec["entry"]
        self.required = {self.entry}
        self.atol, self.oracle = float(spec.get("atol", 0)), ORACLES[spec.get("oracle", "")]
        self.inputs = [tuple(decode(i)) for i in spec["inputs"]]
        self.sent = [encode(i) for i in self.inputs]
        known = spec.get("known")
        if known is None:
            self.seconds, self.outputs = self.reference(spec["solution"], spec.get("oracle") == "given")
        else:
            self.seconds, self.outputs = known["seconds"], known["outputs"]
        kept = [i for i, out in enumerate(self.outputs) if out != TOO_LARGE]
        self.inputs, self.sent = [self.inputs[i] for i in kept], [self.sent[i] for i in kept]
        # Read back from the form in which the candidate's outputs come: a namedtuple as a tuple, a Counter as a dict.
        self.expected = [decode(self.outputs[i]) for i in kept]

    def reference(self, solution: str, given: bool) -> tuple[float, list[Any]]:
        """Processor seconds of the reference solution, and its outputs as they cross. given: only whether there is one."""
        space: dict[str, Any] = {"__name__": "reference"}
        exec(compile(solution, "reference", "exec"), space)
        function = space[self.entry]
        begun = time.process_time()
        sent = []
        for arguments in self.inputs:
            out = function(*copy.deepcopy(arguments))
            out = out is not None if given else out
            sent.append(encode(out) if is_moderate(out) else TOO_LARGE)
            json.dumps(sent[-1])  # a candidate's time holds the same
        return time.process_time() - begun, sent

    def run(self, link: Link, names: set[str]) -> Iterator[Result]:
        """One result an input, asked for in batches that grow, so that a wrong program costs little."""
        start, size = 0, 1
        while start < len(self.inputs):
            calls = [[sent, {"d": []}] for sent in self.sent[start : start + size]]
            try:
                replies = link.replies(link.request({"on": self.entry, "do": "call", "calls": calls}), len(calls))
            except Gone as gone:
                yield from (Result(False, str(gone)) for _ in self.inputs[start:])
                return
            for number, one in enumerate(replies, start):
                yield self.judge(link, number, one)
            start += len(replies)
            size = min(size * 4, _BATCH)

    def judge(self, link: Link, number: int, one: dict[str, Any]) -> Result:
        """The result for one input."""

        def fits() -> bool:
            return bool(self.oracle(self.inputs[number], link.outcome(one), self.expected[number], self.atol))

        called = f"{self.entry}({', '.join(map(brief, self.inputs[number]))})"
        try:
            passed = fits()
        except Gone as gone:
            return Result(False, str(gone))
        except BaseException as error:  # noqa: BLE001 - the candidate's exception, or a comparison its value breaks
            return Result(False, f"{called} raised {kind_of(error)}")
        if passed:
            return Result(True)
        return Result(False, f"{called} gave {brief(link.outcome(one))}, wanted {brief(self.expected[number])}")


def is_moderate(value: Any) -> bool:
    """True for a value of at most MOST values, those inside it included."""
    count, rest = 0, [value]
    while rest and count <= MOST:
        one = rest.pop()
        count += len(one) if isinstance(one, str | list | tuple | dict | set | frozenset) else 1
        if isinstance(one, list | tuple) and count <= MOST:
            rest += (v for v in one if isinstance(v, list | tuple | dict | str))
        elif isinstance(one, dict) and count <= MOST:
            rest += (v for v in one.values() if isinstance(v, list | tuple | dict | str))
    return count <= MOST


class Examiner:
    """Prepared exams by key, and the pipes."""

    def __init__(self, read: Callable[[], bytes], write: Callable[[bytes], Any]) -> None:
        self.read, self.write = read, write
        self.exams: dict[str, CodeExam | InputExam] = {}

    def serve(self) -> None:
        """Answer until the pipe is closed."""
        while line := self.read():
            message = json.loads(line)
            try:
                result = self.run(message) if "run" in message else self.prepare(message)
            except Exception as error:  # noqa: BLE001 - the data set's own code: told, so that the row stays ungraded
                result = {"bad": f"{type(error).__name__}: {error!s:.300}"}
            self.write(b"=" + json.dumps(result).encode("ascii") + b"\n")

    def ask(self, line: bytes) -> bytes:
        """The candidate's line for this one."""
        self.write(b">" + line + b"\n")
        return self.read()

    def prepare(self, message: dict[str, Any]) -> dict[str, Any]:
        """Keep an exam for later runs."""
        spec = message["spec"]
        exam = (InputExam if "inputs" in spec else CodeExam)(spec)
        self.exams.pop(message["exam"], None)
        while len(self.exams) >= message["keep"]:
            del self.exams[next(iter(self.exams))]
        self.exams[message["exam"]] = exam
        made = isinstance(exam, InputExam) and "known" not in spec and exam.seconds >= message["worth_s"]
        return {"seconds": exam.seconds, "outputs": exam.outputs if made and isinstance(exam, InputExam) else None}

    def run(self, message: dict[str, Any]) -> dict[str, Any]:
        """Hold an exam with the candidate that waits."""
        exam = self.exams[message["run"]]
        program, link = message["program"], Link(self.ask)
        try:
            names = link.load(program["sources"], exam.entry, program["trim"])
        except BaseException as error:  # noqa: BLE001 - whatever the program raised when it was loaded
            why = str(error) if isinstance(error, Gone) else kind_of(error)
            return {"passed": 0, "total": 0, "why": f"the program does not load: {why}"}
        if missing := sorted(exam.required - names):
            return {"passed": 0, "total": 0, "why": f"the program defines no {missing[0]!r}"}
        random.seed(0)
        return _tally(exam.run(link, names), message["partial"])


def _tally(results: Iterator[Result], partial: bool) -> dict[str, Any]:
    passed = total = 0
    first = ""
    for result in results:
        total += 1
        passed += result.passed
        first = first or ("" if result.passed else f"test {total}: {result.why}")
        if first and not partial:
            break
    return {"passed": passed, "total": total, "why": first}


def main() -> None:
    """Serve on the process's own pipes; what the tests print goes nowhere."""
    sys.set_int_max_str_digits(5000)
    incoming, outgoing = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    empty = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(empty, number)

    def write(line: bytes) -> None:
        outgoing.write(line)
        outgoing.flush()

    Examiner(incoming.readline, write).serve()
