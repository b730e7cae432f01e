"""Programs graded by running them: right ones pass, wrong ones fail with a reason, and none gets by on a trick."""

from __future__ import annotations

import json
import os
import re
import time
from typing import Any

import pytest

from burnish.core.types import Check, Problem, Verdict, user
from burnish.errors import VerifierError
from burnish.verify.base import graded_many
from burnish.verify.code import FunctionTests, StdioTests, UnitTests
from burnish.verify.code.function_tests import spec_of

TESTS = {
    "entry": "f",
    "test": (
        "def check(candidate):\n"
        "    assert candidate(1) == 2\n"
        "    assert candidate([3, 1]) == [1, 3]\n"
        "    assert 5 in candidate('x')\n"
        "    assert abs(candidate(0.5) - 0.25) < 1e-6\n"
        "    assert not candidate(None) != 7\n"
    ),
}
RIGHT = (
    "def f(x):\n"
    "    if x is None: return 7\n"
    "    if isinstance(x, list): return sorted(x)\n"
    "    if isinstance(x, str): return {5}\n"
    "    return x * 2 if isinstance(x, int) else x * x"
)
EQUAL = (
    "class E{base}:\n"
    "    def __eq__(s, o): return True\n"
    "    def __ne__(s, o): return False\n"
    "    def __sub__(s, o): return s\n"
    "    def __abs__(s): return 0\n"
    "    def __lt__(s, o): return True\n"
    "    def __contains__(s, o): return True\n"
    "    def __hash__(s): return 1\n"
    "def f(x): return E()"
)
FORGED = '{"passed": 1, "total": 1, "why": ""}'
# name: (program, what the reason says)
ATTACKS: dict[str, tuple[str, str]] = {
    "exit when loaded": ("import sys\nsys.exit(0)", "early exit"),
    "exit when called": ("def f(x): raise SystemExit(0)", "early exit"),
    "end the process when loaded": ("import os\nos._exit(0)", "early exit"),
    "end the process when called": ("import os\ndef f(x): os._exit(0)", "early exit"),
    "an object that equals everything": (EQUAL.format(base=""), r"gave <E>"),
    "a number that equals everything": (EQUAL.format(base="(int)"), "gave 0"),
    "a list that equals everything": (EQUAL.format(base="(list)"), r"gave \[\]"),
    "patch builtins": ("import builtins\nbuiltins.abs = lambda x: 0\nbuiltins.AssertionError = KeyError\ndef f(x): return 0", "does not hold"),
    "patch the wire": (f"import json\njson.dumps = lambda *a, **k: '{FORGED}'\ndef f(x): return 0", "pipe of its own process"),
    "write results to every pipe": (f"import os\nfor n in range(1, 64):\n    try: os.write(n, b'={FORGED}\\n')\n    except OSError: pass\ndef f(x): return 0", "pipe of its own process"),
    "print a marker": ("print('passed')\ndef f(x): print('=', 1)", "gave None"),
    "look for the tests": (
        "import gc, sys\ndef f(x):\n    found = [o for o in gc.get_objects() if isinstance(o, dict) and 'check' in o]\n"
        "    frame = sys._getframe()\n    while frame:\n        found += [1 for t in frame.f_globals if t == 'check']\n        frame = frame.f_back\n"
        "    return 2 if found else 'no tests here'", "no tests here",
    ),
    "an exception of its own": ("class X(BaseException): pass\ndef f(x): raise X('!')", "raised X"),
    "close the pipes": ("import os\ndef f(x): os.closerange(0, 100)", "early exit"),
    "kill everything": ("import os, signal\ndef f(x):\n    os.kill(os.getppid(), 9)\n    os.kill(0, 9)", "early exit|lost|raised"),
    "crash": ("import ctypes\ndef f(x): ctypes.string_at(0)", "early exit|raised"),
    "more memory than there is": ("def f(x): return [0] * 10**11", "MemoryError"),
    "a value that contains itself": ("def f(x):\n    a = []\n    a.append(a)\n    return a", "RecursionError"),
    "a number of a million digits": ("def f(x): return 10**1000000", "does not hold"),
    "every number there is": ("import itertools\ndef f(x): return itertools.count()", "does not hold"),
    "forked children": ("import os\ndef f(x):\n    while True: os.fork()", "."),
    "answers from a thread": ("import os, threading\ndef g():\n    while True:\n        for n in range(3, 9):\n            try: os.write(n, b'{\"r\": [{\"v\": 2}]}\\n')\n            except OSError: pass\nthreading.Thread(target=g, daemon=True).start()\ndef f(x): return 0", "."),
}  # fmt: skip
SLOW = {
    "loop when called": "def f(x):\n    while True: pass",
    "loop when loaded": "while True: pass",
    "sleep": "import time\ndef f(x): time.sleep(1000)",
    "print for ever": "def f(x):\n    while True: print('x' * 100000)",
}


def problem(target: Any) -> Problem:
    return Problem(user("Write it."), Check("code", target if isinstance(target, str) else json.dumps(target)))


def grade(program: str, target: Any = TESTS, verifier: Any = None) -> Verdict:
    return (verifier or FunctionTests(cpu_s=1.0))(problem(target), f"```python\n{program}\n```")  # type: ignore[no-any-return]


def test_the_right_program_passes():
    assert grade(RIGHT) == Verdict(1.0, "passes the test")


@pytest.mark.parametrize("name", ATTACKS)
def test_no_trick_passes(name: str):
    program, reason = ATTACKS[name]
    verdict = grade(program)
    assert verdict.score == 0.0, verdict
    assert re.search(reason, verdict.why), verdict.why
    assert grade(RIGHT).score == 1.0, "the next program is graded as if nothing had been"


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_no_program_holds_the_grading_up(name: str):
    verifier, begun = FunctionTests(cpu_s=0.5), time.monotonic()
    verdict = grade(SLOW[name], verifier=verifier)
    assert verdict.score == 0.0
    assert "timeout" in verdict.why or "output" in verdict.why
    assert time.monotonic() - begun < 30


def test_a_program_cannot_change_what_the_tests_compare_with():
    """In one process `values.clear()` would empty what the test sorts afterwards."""
    target = {"tests": ["values = [3, 1]\nassert f(values) == sorted(values)"]}
    assert grade("def f(v):\n    v.clear()\n    return []", target).score == 0.0
    assert grade("def f(v): return sorted(v)", target).score == 1.0


def test_a_program_cannot_replace_the_helpers_of_the_tests():
    target = {"entry": "f", "setup": "def near(a, b): return abs(a - b) < 0.1", "tests": ["assert near(f(2), 4)"]}
    assert grade("def near(a, b): return True\ndef f(x): return 0", target).score == 0.0
    assert grade("def f(x): return 4.01", target).score == 1.0


def test_changes_of_arguments_count_where_the_result_is_not_used():
    target = {"tests": ["values = [3, 1]\nf(values)\nassert values == [1, 3]"]}
    assert grade("def f(v): v.sort()", target).score == 1.0
    assert grade("def f(v): return sorted(v)", target).score == 0.0
    given = {"in_place": True, "tests": ["values = [3, 1]\ncount = f(values)\nassert (count, values) == (2, [1, 3])"]}
    assert grade("def f(v):\n    v.sort()\n    return len(v)", given).score == 1.0


def test_classes_generators_exceptions_and_functions_cross():
    target = {
        "tests": [
            "s = Stack()\ns.push(1)\ns.push([2])\nassert s.pop() == [2] and len(s) == 1 and s.items == [1]",
            "assert list(squares(3)) == [0, 1, 4]",
            "try:\n    Stack().pop()\n    assert False\nexcept IndexError as error:\n    assert 'empty' in str(error)",
            "assert apply(lambda x: x + 1, 4) == 5",
            "assert str(Stack()) == 'Stack of 0'",
            "assert Stack() != 3",
        ]
    }
    program = (
        "class Stack:\n"
        "    def __init__(self): self.items = []\n"
        "    def push(self, x): self.items.append(x)\n"
        "    def pop(self):\n"
        "        if not self.items: raise IndexError('empty')\n"
        "        return self.items.pop()\n"
        "    def __len__(self): return len(self.items)\n"
        "    def __str__(self): return f'Stack of {len(self)}'\n"
        "def squares(n):\n"
        "    for i in range(n): yield i * i\n"
        "def apply(g, x): return g(x)\n"
    )
    assert grade(program, target) == Verdict(1.0, "passes all 6 tests")
    assert grade(program.replace("empty", "full"), target).score == 0.0


def test_partial_scores_are_the_share_of_tests():
    target = {"tests": ["assert f(1) == 1", "assert f(2) == 4", "assert f(3) == 9", "assert f(0) == 0"]}
    verdict = grade("def f(x): return x", target, FunctionTests(partial=True))
    assert verdict == Verdict(0.5, "passes 2 of 4 tests; test 2: assert f(2) == 4 does not hold; f(2) gave 2")
    assert grade("def f(x): return x", target).score == 0.0
    ended = grade("import os\ndef f(x): return 1 if x == 1 else os._exit(0)", target, FunctionTests(partial=True))
    assert ended.score == 0.25


def test_unittest_classes_run_against_the_separate_program():
    code = "import unittest\nclass T(unittest.TestCase):\n    def test_a(self): self.assertEqual(f(2), 4)\n    def test_b(self):\n        with self.assertRaises(ValueError): f('x')\n"
    assert grade("def f(x):\n    if x == 'x': raise ValueError\n    return x * 2", {"test": code}) == Verdict(
        1.0, "passes all 2 tests"
    )
    assert grade("def f(x): return x * 2", {"test": code}).score == 0.0


def test_inputs_are_compared_with_the_reference():
    target = {"entry": "f", "inputs": [[0], [2], [10]], "solution": "def f(x): return [x / 3, float(x)]"}
    assert grade("def f(x): return [x * (1 / 3), float(x)]", target).score == 1.0
    assert (
        grade("def f(x): return [x / 3 + (x == 10), float(x)]", target).why
        == "test 3: f(10) gave [4.333333333333334, 10.0], wanted [3.3333333333333335, 10.0]"
    )
    assert grade("def f(x): return (x / 3, float(x))", target).score == 0.0


def test_many_are_graded_as_one_by_one():
    items = [
        (problem(TESTS), f"```python\n{program}\n```") for program in (RIGHT, "def f(x): return 0", RIGHT, "x", "")
    ] * 3
    verifier = FunctionTests()
    assert graded_many(verifier, items) == [verifier(*item) for item in items]


def test_tests_that_do_not_run_leave_the_reply_ungraded():
    for target, why in (
        ({"tests": ["assert f(1) ="]}, "SyntaxError"),
        ({"entry": "f", "inputs": [[1]], "solution": "def f(x): return 1 / 0"}, "ZeroDivisionError"),
        ({"entry": "f", "inputs": [[1]], "solution": "def g(x): return 1"}, "KeyError"),
    ):
        verdict = grade(RIGHT, target)
        assert verdict.score is None
        assert why in verdict.why


def test_packages_are_there_when_they_are_named():
    target = {"setup": "import numpy as np", "names": ["f"], "tests": ["assert np.allclose(f(3), [0, 2, 4])"]}
    program = "import numpy as np\ndef f(n): return 2 * np.arange(n)"
    assert grade(program, target, FunctionTests(packages=("numpy",))) == Verdict(1.0, "passes the test")
    assert grade(program.replace("2 *", "3 *"), target, FunctionTests(packages=("numpy",))).score == 0.0
    without = grade(program, {"tests": ["assert list(f(1)) == [0]"]})
    assert without.score == 0.0
    assert "ModuleNotFoundError" in without.why


def test_an_unknown_sandbox_leaves_the_reply_ungraded():
    verdict = grade(RIGHT, verifier=FunctionTests(sandbox="no such kind"))
    assert verdict.score is None
    assert "no such kind" in verdict.why


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("[]", "not a JSON object"),
        ('{"test": "x"', "not JSON"),
        ('{"asserts": []}', "Did you mean 'tests'"),
        ('{"tests": []}', "tested by one of"),
        ('{"tests": ["a"], "test": "b"}', "tested by one of"),
        ('{"tests": [1]}', "'tests' cannot be"),
        ('{"inputs": [[1]]}', "without 'entry' and 'solution'"),
        ('{"inputs": [[1]], "entry": "f", "solution": "f = 1", "oracle": "near"}', "'oracle' cannot be"),
        ('{"tests": ["a"], "atol": -1}', "'atol' cannot be"),
    ],
)
def test_bad_targets_are_named(target: str, why: str):
    with pytest.raises(VerifierError, match=why):
        FunctionTests().check_target(target)
    assert spec_of(json.dumps(TESTS)) == TESTS


def test_fields_are_checked():
    with pytest.raises(VerifierError, match="Did you mean 'flexible'"):
        FunctionTests("flexibel")  # type: ignore[arg-type]
    with pytest.raises(VerifierError, match="Did you mean 'tokens'"):
        StdioTests(compare="token")  # type: ignore[arg-type]


def test_stdio_by_hand():
    target = {"inputs": ["1\n", "2\n"], "outputs": ["0.333333333\n", "0.666666667\n"]}
    program = "print(int(input()) / 3)"
    assert grade(program, target, StdioTests(compare="numbers")).score == 1.0
    assert grade(program, target, StdioTests(compare="tokens")).score == 0.0
    half = grade("print(0.333333333)\ninput()", target, StdioTests(partial=True))
    assert half == Verdict(
        0.5, "passes 1 of 2 tests; test 2: for input '2\\n' it printed '0.333333333\\n', wanted '0.666666667\\n'"
    )
    assert "timeout" in grade("while True: pass", target, StdioTests(cpu_s=0.5)).why
    assert "output" in grade("while True: print('x' * 9999)", target, StdioTests()).why
    assert "ZeroDivisionError" in grade("1 / 0", target, StdioTests()).why


@pytest.mark.parametrize(
    "target", ['{"tests": []}', "[]", "x", '{"tests": [{"input": "a"}]}', '{"inputs": ["a"], "outputs": []}']
)
def test_bad_stdio_targets_are_refused(target: str):
    with pytest.raises(VerifierError):
        StdioTests().check_target(target)
    assert grade("1", target, StdioTests()).score is None


UNIT = {
    "entry": "task_func",
    "test": "import unittest\nclass T(unittest.TestCase):\n    def test_a(self): self.assertEqual(task_func(2), 4)\n    def test_b(self): self.assertEqual(task_func(3), 9)\n",
}


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("def task_func(x): return x", "AssertionError"),
        ("import sys\nsys.exit(0)", "does not load"),
        ("import os\nos._exit(0)", "early exit"),
        ("import os\ndef task_func(x): os._exit(0)", "early exit"),
        ("def task_func(x): raise SystemExit(0)", "SystemExit"),
        ("import unittest\nunittest.TestCase.assertEqual = lambda *a: None\ndef task_func(x): 0", "tampering"),
        ("import unittest\ndef task_func(x):\n    unittest.TestCase.assertEqual = lambda *a: None", "tampering"),
        ("import unittest\nunittest.TestCase.run = lambda s, r: None\ndef task_func(x): 0", "tampering"),
        ("import unittest\nunittest.TestCase.__call__ = lambda s, r: r.startTest(s)\ndef task_func(x): 0", "tampering"),
        ("import unittest\nunittest.TestLoader.loadTestsFromTestCase = lambda *a: []\ndef task_func(x): 0", "tampering"),
        ("import builtins\nbuiltins.isinstance = lambda *a: False\ndef task_func(x): 0", "tampering|raised|exit"),
        ("import os\nfor n in range(1, 64):\n    try: os.write(n, b'{\"secret\": \"\", \"e\": null}\\n')\n    except OSError: pass\ndef task_func(x): 0", "tampering"),
        ("class E:\n    def __eq__(s, o): return False\ndef task_func(x): return E()", "AssertionError"),
        ("while True: pass", "timeout"),
    ],
)  # fmt: skip
def test_unit_tests_find_the_usual_tricks(program: str, why: str):
    verdict = grade(program, UNIT, UnitTests(cpu_s=1.0))
    assert verdict.score == 0.0, verdict
    assert re.search(why, verdict.why), verdict.why


def test_unit_tests_by_hand():
    assert grade("def task_func(x): return x * x", UNIT, UnitTests()) == Verdict(1.0, "passes all 2 tests")
    verdict = grade("def task_func(x): return 4", UNIT, UnitTests(partial=True))
    assert verdict.score == 0.5
    assert "test_b" in verdict.why
    assert grade("x = 1", {"entry": "task_func", "test": "x = 2"}, UnitTests()).score is None


def test_examiners_belong_to_one_process():
    """A forked child starts its own, and the parent's go on."""
    assert grade(RIGHT).score == 1.0
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(write, b"%d" % int(grade(RIGHT).score or 0))
        finally:
            os._exit(0)
    os.close(write)
    assert os.read(read, 10) == b"1"
    os.close(read)
    assert os.waitpid(child, 0)[1] == 0
    assert grade(RIGHT).score == 1.0
