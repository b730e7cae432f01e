"""A calculator: exact arithmetic on rational numbers, of bounded size. What the model writes is parsed, never run."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from fractions import Fraction
from types import MappingProxyType
from typing import ClassVar

LONGEST = 500  # characters of an expression, which bounds how deep it can be nested
MAX_BITS = 4096  # of a numerator or denominator: some 1,200 digits
MAX_EXPONENT = 1000  # of a number like 1e6
MAX_PLACES = 20  # decimal places that are written out
_PLAIN = str.maketrans({"×": "*", "·": "*", "÷": "/", "−": "-"})
_EXPONENT = re.compile(r"[eE]([-+]?[0-9_]+)$")
# What Python's parser takes with a warning: texts with odd escapes, and words that stick to a number, as in "1if".
_WARNED = re.compile(r"""["'\\]|(?<=[0-9a-fA-F_.])(?:and|else|for|if|in|is|not|or)""")
_CAN = "numbers, + - * / // % **, parentheses, and abs, ceil, floor, max, min, round, sqrt"


class _Refused(ValueError):
    """The expression has no value here; the message is for the model."""


@dataclass(frozen=True, slots=True)
class Calculator:
    """Answers an expression with its exact value: 0.1 + 0.2 is 0.3, and 2 / 3 is 2/3 (about 0.666666666667)."""

    VERSION: ClassVar[int] = 1
    name: ClassVar[str] = "calculator"
    description: ClassVar[str] = f"Computes an expression exactly: {_CAN}."
    arguments: ClassVar[Mapping[str, str]] = MappingProxyType({"expression": "such as (12 + 3) * 7 / 2"})

    def __call__(self, arguments: Mapping[str, str]) -> str:
        """The value, or "error: " and why there is none."""
        try:
            return written(value_of(arguments["expression"]))
        except _Refused as error:
            return f"error: {error}"


def value_of(expression: str) -> Fraction:
    """The exact value. Raises ValueError, with a message for the model, for anything but arithmetic of bounded size."""
    if len(expression) > LONGEST:
        raise _Refused(f"the expression is longer than {LONGEST} characters")
    source = expression.translate(_PLAIN).strip()
    if _WARNED.search(source):
        raise _Refused(f"there are only {_CAN}")
    try:
        return _value(ast.parse(source, mode="eval").body, source)
    except (SyntaxError, RecursionError, MemoryError, UnicodeError) as error:
        what = error.msg if isinstance(error, SyntaxError) else "too deeply nested"
        raise _Refused(f"this is not an expression: {what}") from None


def written(value: Fraction) -> str:
    """A number as people write it: whole, decimal where that is exact and short, otherwise a fraction with its first digits."""
    top, below = value.numerator, value.denominator
    if below == 1:
        return str(top)
    places = _places(below)
    if places <= MAX_PLACES:
        digits = Decimal(top * 10**places // below)
        return format(digits.scaleb(-places, Context(prec=MAX_BITS)), "f")
    return f"{top}/{below} (about {Context(prec=12).divide(Decimal(top), Decimal(below))})"


def _places(below: int) -> int:
    """How many decimal places 1/below has; more than MAX_PLACES where they are too many or never end."""
    return next((places for places in range(MAX_PLACES + 1) if 10**places % below == 0), MAX_PLACES + 1)


def _value(node: ast.expr, source: str) -> Fraction:
    """The value of a part of the expression."""
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return _number(ast.get_source_segment(source, node) or str(number), number)
        case ast.UnaryOp(op=ast.USub()):
            return -_value(node.operand, source)
        case ast.UnaryOp(op=ast.UAdd()):
            return _value(node.operand, source)
        case ast.BinOp():
            if type(node.op) not in _OPERATIONS:
                raise _Refused("a power is written **" if isinstance(node.op, ast.BitXor) else f"there are only {_CAN}")
            left, right = _value(node.left, source), _value(node.right, source)
            return _bounded(_OPERATIONS[type(node.op)](left, right))
        case ast.Call(func=ast.Name(id=name), keywords=[]) if name in _FUNCTIONS:
            return _bounded(_called(name, [_value(each, source) for each in node.args]))
        case ast.Tuple():
            raise _Refused("numbers are written without commas, and one expression at a time")
    raise _Refused(f"there are only {_CAN}")


def _number(text: str, number: int | float) -> Fraction:
    """The number that was written: 0.1 is a tenth, not the nearest binary fraction."""
    if isinstance(number, int):
        return _bounded(Fraction(number))
    exponent = _EXPONENT.search(text)
    if exponent and abs(int(exponent[1])) > MAX_EXPONENT:
        raise _Refused("the number is too large or too small")
    return _bounded(Fraction(text.replace("_", "")))


def _bounded(value: Fraction) -> Fraction:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_BITS:
        raise _Refused("the number is too large")
    return value


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    if exponent.denominator != 1:
        raise _Refused("the exponent of a power must be a whole number")
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    # Before it is computed: the power of a number of b bits has more than exponent * (b - 1).
    if abs(exponent) * (bits - 1) > MAX_BITS:
        raise _Refused("the number is too large")
    if base == 0 and exponent < 0:
        raise _Refused("division by zero")
    return Fraction(base**exponent.numerator)


def _by(operation: Callable[[Fraction, Fraction], Fraction | int]) -> Callable[[Fraction, Fraction], Fraction]:
    """The operation with a refusal in place of a division by zero."""

    def safely(left: Fraction, right: Fraction) -> Fraction:
        if right == 0:
            raise _Refused("division by zero")
        return Fraction(operation(left, right))

    return safely


def _round(value: Fraction, places: Fraction = Fraction(0)) -> Fraction:
    if places.denominator != 1 or abs(places) > MAX_EXPONENT:
        raise _Refused(f"round takes a whole number of places, up to {MAX_EXPONENT}")
    return Fraction(round(value, places.numerator))


def _root(value: Fraction) -> Fraction:
    if value < 0:
        raise _Refused("the square root of a negative number")
    root = Fraction(math.isqrt(value.numerator), math.isqrt(value.denominator))
    if root * root != value:
        raise _Refused("this square root is no rational number")
    return root


def _called(name: str, values: Sequence[Fraction]) -> Fraction:
    function, least, most = _FUNCTIONS[name]
    if not least <= len(values) <= most:
        raise _Refused(f"{name} takes {least if least == most else f'{least} or more'} numbers, not {len(values)}")
    return Fraction(function(*values))


_OPERATIONS: Mapping[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: lambda left, right: left + right,
    ast.Sub: lambda left, right: left - right,
    ast.Mult: lambda left, right: left * right,
    ast.Div: _by(lambda left, right: left / right),
    ast.FloorDiv: _by(lambda left, right: left // right),
    ast.Mod: _by(lambda left, right: left % right),
    ast.Pow: _power,
}
# By name: the function, and the least and most numbers it takes.
_FUNCTIONS: Mapping[str, tuple[Callable[..., Fraction | int], int, int]] = {
    "abs": (abs, 1, 1),
    "ceil": (math.ceil, 1, 1),
    "floor": (math.floor, 1, 1),
    "max": (lambda *values: max(values), 1, LONGEST),
    "min": (lambda *values: min(values), 1, LONGEST),
    "round": (_round, 1, 2),
    "sqrt": (_root, 1, 1),
}
