"""When an output is as good as the expected one: equality, tolerance for floats, and EvalPlus's special cases.

The rules are those of EvalPlus 0.3.1 (arXiv:2305.01210) but for one point: there a tolerance that one float output
brings in stays for all later inputs, here every input has its own. Runs in the examiner's process, sent as text.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

RELATIVE = 1e-7
FLOATS = 1e-6  # the absolute tolerance of float outputs where the problem names none


def agree(out: Any, expected: Any, atol: float) -> bool:
    """True for equal values, and for floats of the same shape within atol + 1e-7 times the expected size."""
    if out == expected:
        return True
    atol = FLOATS if atol == 0 and _floats(expected) else atol
    return atol != 0 and type(out) is type(expected) and near(out, expected, atol)


def _floats(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return bool(value) and all(isinstance(v, float) for v in value)
    return isinstance(value, float)


def near(out: Any, expected: Any, atol: float) -> bool:
    """Numbers within the tolerance, lists and tuples of them element by element; anything else is not near."""
    if isinstance(expected, list | tuple) and isinstance(out, list | tuple):
        return len(out) == len(expected) and all(near(o, e, atol) for o, e in zip(out, expected, strict=True))
    if not isinstance(expected, int | float | complex) or not isinstance(out, int | float | complex):
        return False
    if out == expected:  # infinities
        return True
    gap = abs(out - expected)
    return math.isfinite(gap) and gap <= atol + RELATIVE * abs(expected)


def _root(inputs: Sequence[Any], out: Any, expected: Any, atol: float) -> bool:
    """HumanEval/32: any root of the polynomial with coefficients inputs[0], lowest power first."""
    value = sum(c * math.pow(out, power) for power, c in enumerate(inputs[0]))
    return bool(abs(value) <= atol)


def _same_members(inputs: Sequence[Any], out: Any, expected: Any, atol: float) -> bool:
    """The members count, neither their order nor repeats."""
    return bool(set(out) == set(expected))


def _given(inputs: Sequence[Any], out: Any, expected: Any, atol: float) -> bool:
    """A match object or none: whether there is an output; a program that says True or False says the same."""
    return bool(expected) == (out if isinstance(out, bool) else out is not None)


def _pyramid(inputs: Sequence[Any], out: Any, expected: Any, atol: float) -> bool:
    """Mbpp/581: the second number may be read as the slant height (the reference) or as the height of the apex."""
    base, height = inputs
    apex = round(base**2 + 2 * base * math.sqrt((base / 2) ** 2 + height**2))
    return bool(agree(out, expected, atol) or abs(out - apex) <= atol)


def _digit_distance(inputs: Sequence[Any], out: Any, expected: Any, atol: float) -> bool:
    """Mbpp/558: digits of the difference (the reference), or differences of the digits, the shorter number padded."""
    one, two = map(str, inputs)
    width = max(len(one), len(two))
    digits = zip(one.zfill(width), two.zfill(width), strict=True)
    return bool(out == expected or out == sum(abs(int(a) - int(b)) for a, b in digits))


ORACLES: dict[str, Callable[[Sequence[Any], Any, Any, float], bool]] = {
    "": lambda inputs, out, expected, atol: agree(out, expected, atol),
    "root": _root,
    "same members": _same_members,
    "given": _given,
    "pyramid": _pyramid,
    "digit distance": _digit_distance,
}
