"""Runs unittest classes in the process of the program they test, inside the sandbox, sent as text.

For tests that replace parts of the program or hand it objects (mock, files, figures), which two processes cannot do. A
program that sets out to fool them can: what is here finds the usual ways and makes the others long. The tests and the
secret come only after the program was loaded, the secret is never stored in an object that the program can name, and
what a program would have to replace (unittest, builtins) is compared with what it was.

Lines in: {"load": [source, ...], "entry": name, "trim": bool, "secret": text}, then {"test": code, "secret": text}.
Lines out: {"secret": the first, "e": error | null}, then {"secret": the second, "ran": n, "failed": [[test, why], ...],
"replaced": [name, ...]}.
"""

from __future__ import annotations

import builtins
import json
import os
import sys
import unittest
from types import ModuleType
from typing import Any

from burnish.verify.code.candidate import MODULE, define

_CLASSES = (
    unittest.TestCase, unittest.TestSuite, unittest.TestResult, unittest.TestLoader, unittest.case._Outcome,  # type: ignore[attr-defined]
)  # fmt: skip
_MODULES = (builtins, unittest, unittest.case, unittest.result, unittest.suite, unittest.loader, json)


def _state() -> dict[str, Any]:
    """What the tests stand on, by name."""
    found: dict[str, Any] = {"sys.exit": sys.exit, "os._exit": os._exit}
    for owner in (*_CLASSES, *_MODULES):
        prefix = owner.__name__
        found.update({f"{prefix}.{name}": value for name, value in vars(owner).items() if name not in _CHANGING})
    return found


_CHANGING = ("_", "__warningregistry__", "__abstractmethods__", "_abc_impl")


def _replaced(before: dict[str, Any]) -> list[str]:
    """Names that were replaced or removed, and names added to classes; modules gain names when others are imported."""
    after = _state()
    changed = {name for name in before if before[name] is not after.get(name, before)}
    classes = tuple(f"{owner.__name__}." for owner in _CLASSES)
    return sorted(changed | {name for name in after.keys() - before.keys() if name.startswith(classes)})


class _Result(unittest.TestResult):
    """Failures with the last line of each."""

    def told(self) -> list[list[str]]:
        """The tests that failed, and how."""
        bad = [*self.errors, *self.failures]
        named = [[str(test), text.strip().rpartition("\n")[2][:300]] for test, text in bad]
        return named + [[str(test), "was expected to fail, and passed"] for test in self.unexpectedSuccesses]


def _run(code: str, module: ModuleType) -> _Result:
    """Run the unittest classes of `code`, which sees the program's names as its own."""
    space = module.__dict__
    known = set(space)
    exec(compile(code, "tests.py", "exec"), space)
    made = [space[name] for name in list(space) if name not in known or name == "TestCases"]
    loader, suite = unittest.TestLoader(), unittest.TestSuite()
    for case in made:
        if isinstance(case, type) and issubclass(case, unittest.TestCase):
            suite.addTests(loader.loadTestsFromTestCase(case))
    result = _Result()
    suite.run(result)
    return result


def main() -> None:
    """Load the program, then run the tests, and say what happened with the secrets."""
    incoming, outgoing = os.fdopen(os.dup(0), "rb"), os.dup(1)
    empty = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(empty, number)
    before, dumps, loads, write, end = _state(), json.dumps, json.loads, os.write, os._exit
    order = loads(incoming.readline())
    error = None
    try:
        define(order["load"], order["entry"], order["trim"])
    except BaseException as raised:  # noqa: BLE001 - the program's own exception
        error = f"{type(raised).__name__}: {raised!s:.200}"
    write(outgoing, dumps({"secret": order["secret"], "e": error}).encode("ascii") + b"\n")
    order = loads(incoming.readline() or b'{"test": "", "secret": ""}')
    report: dict[str, Any] = {"ran": 0, "failed": []}
    try:
        result = _run(order["test"], sys.modules[MODULE])
        report = {"ran": result.testsRun, "failed": result.told()}
    except BaseException as raised:  # noqa: BLE001 - the tests' own exception, SystemExit from the program too
        report["failed"] = [["tests", f"{type(raised).__name__}: {raised!s:.200}"]]
    line = dumps({**report, "secret": order["secret"], "replaced": _replaced(before)}).encode("ascii") + b"\n"
    while line:
        line = line[write(outgoing, line) :]
    end(0)
