"""Tools: what a call looks like, exact arithmetic against an oracle, programs in the sandbox only, and the environment of them."""

from __future__ import annotations

import json
import math
import operator
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.core.fingerprint import fingerprint
from burnish.core.types import Check, Message, Problem, Turn, user
from burnish.data.sources.tool_calls import ToolCalls
from burnish.errors import RecipeError, VerifierError
from burnish.rollout.environment import Response
from burnish.rollout.tools.calculator import LONGEST, MAX_BITS, Calculator, value_of
from burnish.rollout.tools.calculator import written as number
from burnish.rollout.tools.calls import Call, calls_in, written
from burnish.rollout.tools.python import NOTHING, Python
from burnish.rollout.tools.toolbox import Tools
from burnish.rollout.try_again import TryAgain
from burnish.verify.gsm8k import GSM8K

PROBLEM = Problem(user("What is 6 times 7?"), Check("gsm8k", "42"))
CALCULATE = Calculator()


def said(expression: str) -> str:
    return CALCULATE({"expression": expression})


def turn(text: str) -> tuple[Turn, ...]:
    return (Turn("assistant", text, (1,)),)


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("12 * 7", "84"),
        ("0.1 + 0.2", "0.3"),
        ("2 / 3", "2/3 (about 0.666666666667)"),
        ("-2 ** 2", "-4"),
        ("2 ** -2", "0.25"),
        ("7 // 2 + 7 % 2", "4"),
        ("-7 // 2", "-4"),
        ("12 × 7 ÷ 2 − 1", "41"),
        ("1e3 + 1_000", "2000"),
        ("(\n1 +\n2)", "3"),
        ("round(2.5) + round(3.14159, 2)", "5.14"),
        ("max(1, 2, 3/2) - min(4, 5)", "-2"),
        ("sqrt(9/4) + abs(-1) + floor(1.5) + ceil(1.5)", "5.5"),
        ("1 / 8 ** 8", "1/16777216 (about 5.96046447754E-8)"),
        ("1 / 2 ** 20", "0.00000095367431640625"),
        ("10 ** 30", "1" + "0" * 30),
        ("0 ** 0", "1"),
        ("0x10 + 0b11", "19"),
    ],
)
def test_values_by_hand(expression: str, value: str) -> None:
    assert said(expression) == value


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("", "not an expression"),
        ("2 +", "not an expression"),
        ("2 = 2", "not an expression"),
        ("1,234 * 2", "without commas"),
        ("2 ^ 3", r"a power is written \*\*"),
        ("1 / 0", "division by zero"),
        ("1 % 0", "division by zero"),
        ("0 ** -1", "division by zero"),
        ("2 ** 0.5", "a whole number"),
        ("9 ** 9 ** 9", "too large"),
        ("2 ** 2 ** 2 ** 2 ** 2 ** 2", "too large"),
        ("0.5 ** 99999", "too large"),
        ("1e999999999", "too large or too small"),
        ("1e-999999999", "too large or too small"),
        ("sqrt(2)", "no rational number"),
        ("sqrt(-4)", "negative"),
        ("round(1, 1e5)", "up to 1000"),
        ("round(1, 2, 3)", "takes 1 or more numbers, not 3"),
        ("abs(1, 2)", "takes 1 numbers, not 2"),
        ("min()", "takes 1 or more numbers, not 0"),
        ("x + 1", "there are only"),
        ("True + 1", "there are only"),
        ("2j", "there are only"),
        ("'a' * 3", "there are only"),
        ("1 if 1 else 2", "there are only"),
        ("1 < 2", "there are only"),
        ("~1", "there are only"),
        ("1 << 9", "there are only"),
        ("max(*[1])", "there are only"),
        ("max(1, key=2)", "there are only"),
        ("__import__('os').system('true')", "there are only"),
        ("(lambda: 1)()", "there are only"),
        ("print(1)", "there are only"),
        ("(1).real", "there are only"),
        ("[1][0]", "there are only"),
        ("1if 1else 2", "there are only"),
        ("0xfor 1", "there are only"),
        ("1 + \x00", "not an expression"),
        ("\ud800", "not an expression"),
        ("1" * (LONGEST + 1), f"longer than {LONGEST}"),
        ("(" * 240 + "1" + ")" * 240, "not an expression"),
    ],
)
def test_what_has_no_value_is_an_error_in_text(expression: str, why: str) -> None:
    text = said(expression)
    assert text.startswith("error: ")
    assert re.search(why, text), text


Tree = tuple[str, Any, Any]
OPERATIONS: dict[str, Callable[[Fraction, Fraction], Any]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "//": operator.floordiv, "%": operator.mod,
}  # fmt: skip
numbers = st.integers(0, 10**6).map(str) | st.decimals(0, 1000, allow_nan=False, places=3).map(str)
trees = st.recursive(numbers, lambda inner: st.tuples(st.sampled_from(list(OPERATIONS)), inner, inner), max_leaves=12)


def spelled(tree: str | Tree) -> str:
    return tree if isinstance(tree, str) else f"({spelled(tree[1])} {tree[0]} {spelled(tree[2])})"


def oracle(tree: str | Tree) -> Fraction:
    if isinstance(tree, str):
        return Fraction(tree)
    return Fraction(OPERATIONS[tree[0]](oracle(tree[1]), oracle(tree[2])))


@settings(max_examples=200, deadline=None)
@given(trees)
def test_arithmetic_is_that_of_fractions(tree: str | Tree) -> None:
    """Against Python's own exact fractions, on the tree that was written and not on its text."""
    text = spelled(tree)
    try:
        wanted = oracle(tree)
    except ZeroDivisionError:
        assert said(text) in ("error: division by zero", f"error: the expression is longer than {LONGEST} characters")
        return
    if len(text) <= LONGEST:
        assert value_of(text) == wanted
        assert Fraction(number(wanted).split(" ")[0]) == wanted


CHARACTERS = "0123456789.,+-*/%()^=!<>[]{}:;@~&|\\ \n'\"_"
WORDS = ("**", "//", "e9", "1e1000", "sqrt(", "round(", "max(", "9" * 40, "abs", "not ", "lambda:", "\u0660")
pieces = st.sampled_from([*CHARACTERS, *WORDS])


@settings(max_examples=300, deadline=None)
@given(st.text() | st.lists(pieces, max_size=80).map("".join))
def test_any_text_gets_a_bounded_answer_soon(expression: str) -> None:
    start = time.monotonic()
    text = said(expression)
    assert text
    assert len(text) < 3 * MAX_BITS
    assert time.monotonic() - start < 5.0
    if not text.startswith("error: "):
        value = value_of(expression)
        assert max(value.numerator.bit_length(), value.denominator.bit_length()) <= MAX_BITS
        assert text == number(value)


@settings(max_examples=100, deadline=None)
@given(st.fractions())
def test_a_number_is_written_exactly(value: Fraction) -> None:
    text = number(value)
    assert Fraction(text.split(" ")[0]) == value
    if "about" in text:
        about = Fraction(text.split("about ")[1].rstrip(")"))
        assert math.isclose(about, value, rel_tol=1e-11)


def test_calls_are_those_of_the_tool_data(data_dir: Path) -> None:
    """Every call of the Glaive sample is read back, with name and arguments."""
    found = 0
    for demo in ToolCalls().rows(data_dir):
        for message in demo.messages:
            if message.role == "assistant" and "<tool_call>" in message.content:
                (call,) = calls_in(message.content)
                assert isinstance(call, Call), call
                assert json.loads(message.content[len("<tool_call>") : -len("</tool_call>")])["name"] == call.name
                assert calls_in(written(call)) == [call]
                found += 1
    assert found > 50


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("No call.", []),
        ('a <tool_call>{"name": "f", "arguments": {"x": 1}}</tool_call> b', [Call("f", {"x": 1})]),
        ('<tool_call>\n{"name": "f"}\n</tool_call>', [Call("f", {})]),
        ('<tool_call>[{"name": "f"}, {"name": "g"}]</tool_call>', [Call("f", {}), Call("g", {})]),
        ('<think><tool_call>{"name": "f"}</tool_call></think>Done.', []),
        ('<tool_call>{"name": "f", "arguments": {"code": "a\nb"}}</tool_call>', [Call("f", {"code": "a\nb"})]),
        ('<tool_call>{"name": "f"}', ["error: the call is not closed with </tool_call>"]),
        ("<tool_call>[]</tool_call>", ["error: the list of calls is empty"]),
        ("<tool_call>f(1)</tool_call>", ["error: the call is not JSON: Expecting value: line 1 column 1 (char 0)"]),
        ('<tool_call>{"name": 1}</tool_call>', ['error: a call is {"name": ..., "arguments": {...}}']),
        ('<tool_call>{"name": "f", "arguments": []}</tool_call>', ['error: "arguments" is an object with the arguments by name']),
    ],
)  # fmt: skip
def test_calls(text: str, wanted: list[Call | str]) -> None:
    assert calls_in(text) == wanted


def test_an_overlong_call_is_not_parsed() -> None:
    (found,) = calls_in("<tool_call>" + "9" * 30_000 + "</tool_call>")
    assert found == "error: the call is longer than 20000 characters"


def test_the_environment_of_tools_by_hand() -> None:
    tools = Tools((CALCULATE,))
    call = written(Call("calculator", {"expression": "6 * 7"}))
    assert tools(PROBLEM, turn(f"Let me see. {call}")) == Response("<tool_response>\n42\n</tool_response>", "42")
    assert tools(PROBLEM, turn("It is 42.")) == Response(None, "no call")
    two = tools(PROBLEM, turn(call + written(Call("calculator", {"expression": "1/0"}))))
    assert (
        two.text == "<tool_response>\n42\n</tool_response>\n<tool_response>\nerror: division by zero\n</tool_response>"
    )
    (system, asked) = tools.prompt(PROBLEM)
    assert system.role == "system"
    assert json.loads(system.content.split("\n")[1])[0]["parameters"]["required"] == ["expression"]
    (shown,) = calls_in(system.content)
    assert shown == Call("calculator", {"expression": "..."})
    assert asked == PROBLEM.prompt[0]


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (Call("calculater", {}), "error: there is no tool 'calculater'. Did you mean 'calculator'? Known: calculator."),
        (Call("calculator", {}), "error: calculator takes expression, all as text"),
        (Call("calculator", {"expression": 1}), "error: calculator takes expression, all as text"),
        (Call("calculator", {"expression": "1", "more": "2"}), "error: calculator takes expression, all as text"),
    ],
)
def test_wrong_calls_are_told_the_model(call: Call, text: str) -> None:
    assert Tools((CALCULATE,))(PROBLEM, turn(written(call))).text == f"<tool_response>\n{text}\n</tool_response>"


def test_too_many_calls_and_long_answers_are_cut() -> None:
    call = written(Call("calculator", {"expression": "10 ** 99"}))
    text = Tools((CALCULATE,), max_calls=2, max_chars=20)(PROBLEM, turn(call * 5)).text or ""
    assert text.count("<tool_response>") == 3
    assert text.count("1000000000\n(80 characters left out)\n0000000000") == 2
    assert "error: at " in text


def test_where_the_tools_are_announced() -> None:
    both = (Message("system", "Be short."), *PROBLEM.prompt)
    problem = Problem(both, PROBLEM.check)
    system, asked = Tools((CALCULATE,)).prompt(problem)
    assert system.content.endswith("</tool_call>\n\nBe short.")
    assert asked == both[1]
    kept, told = Tools((CALCULATE,), announce="user").prompt(problem)
    assert kept == both[0]
    assert told.content.startswith("You can call")
    assert told.content.endswith("What is 6 times 7?")
    assert Tools((CALCULATE,), announce="no").prompt(problem) == both


@pytest.mark.parametrize("wrong", [{"tools": ()}, {"tools": (CALCULATE, Calculator())}])
def test_tools_that_could_not_be_told_apart(wrong: Mapping[str, Any]) -> None:
    with pytest.raises(RecipeError, match="each has another name"):
        Tools(**wrong)


def test_numbers_without_sense() -> None:
    with pytest.raises(RecipeError, match=r"max_calls=0[\s\S]*no tool could be"):
        Tools((CALCULATE,), max_calls=0)


@dataclass(frozen=True)
class Broken:
    """A tool that cannot work."""

    VERSION: ClassVar[int] = 1
    name: ClassVar[str] = "broken"
    description: ClassVar[str] = "Breaks."
    arguments: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, arguments: Mapping[str, str]) -> str:
        raise OSError("no network")


def test_a_tool_that_breaks_raises() -> None:
    with pytest.raises(OSError, match="no network"):
        Tools((CALCULATE, Broken()))(PROBLEM, turn(written(Call("broken", {}))))


def test_the_sandbox_a_program_runs_in_is_no_part_of_the_identity() -> None:
    assert fingerprint(Tools((Python(sandbox="user"),))) == fingerprint(Tools((Python(),)))
    assert fingerprint(Tools((Python(packages=("numpy",)),))) != fingerprint(Tools((Python(),)))


def run(*programs: str) -> Sequence[str]:
    return Python().call_many([{"code": code} for code in programs])


def test_programs_run_and_say_what_they_print() -> None:
    fine, silent, wrong, exits, address, syntax = run(
        "print(6 * 7)", "x = 1", "print('a')\n1 / 0", "raise SystemExit(3)", "print(object())", "print("
    )
    assert fine == "42"
    assert silent == NOTHING
    assert wrong.startswith("a\nerror: Traceback")
    assert wrong.endswith("ZeroDivisionError: division by zero")
    assert exits == "error: the program ended with exit code 3"
    assert address == "<object object at 0x0>"
    assert syntax.endswith("SyntaxError: '(' was never closed")


def test_programs_meet_limits_and_keep_nothing() -> None:
    from burnish.verify.sandbox import Limits

    tool = Python(Limits(cpu_s=0.5, wall_s=5.0, memory_mb=256, output_kb=4))
    codes = ["while True: pass", "x = [0] * 10**9", "print('x' * 10000)", "open('kept', 'w').write('1')", "print(open('kept').read())"]  # fmt: skip
    slow, large, much, wrote, read = tool.call_many([{"code": code} for code in codes])
    assert slow == "error: the program ran longer than 0.5 s"
    assert large.endswith("256 MiB of memory") or "MemoryError" in large
    assert much == "error: the program printed more than 4 KiB"
    assert wrote == NOTHING
    assert "FileNotFoundError" in read


def test_programs_reach_neither_this_machine_nor_the_network(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("swordfish")
    read, net, parent = run(
        f"print(open({str(secret)!r}).read())",
        "import socket; socket.socket().connect(('127.0.0.1', 9))",
        "import burnish",
    )
    assert "swordfish" not in read
    assert "error: " in read
    assert "PermissionError" in net
    assert "error: " in parent


def test_a_sandbox_that_fails_raises() -> None:
    """Nothing listens there: it says nothing about the program."""
    with pytest.raises(VerifierError):
        Python(sandbox="127.0.0.1:9")({"code": "print(1)"})


def test_trying_again() -> None:
    again = TryAgain(GSM8K(), max_turns=2, says="No. {why}")
    wrong = Turn("assistant", "The answer is 41.", (1,))
    first = again(PROBLEM, (wrong,))
    assert first.text is not None
    assert first.text.startswith("No. ")
    assert "41" in first.text
    assert again(PROBLEM, (wrong, Turn("user", "No.", (2,)), wrong)).text is None
    assert again(PROBLEM, turn("The answer is 42.")).text is None
    with pytest.raises(VerifierError, match="target"):
        again(Problem(user("?"), Check("gsm8k", "no number")), (wrong,))
