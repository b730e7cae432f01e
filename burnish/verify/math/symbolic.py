"""Equality of expressions by sympy and math-verify, in worker processes with a deadline.

The functions without a leading underscore run in the process that grades; the others run in workers, which import the
libraries. Those read text as mathematics and may run for ever on it, hence the deadline.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
import re
import warnings
from fractions import Fraction
from functools import lru_cache

from burnish.errors import MissingExtra
from burnish.verify.deadline import within
from burnish.verify.math.answers import compare

PROOF_S = 2.0  # for one comparison by math-verify
PUBLISHED_S = 5.0  # for one comparison by sympy: the published evaluation's alarm
_LONGEST = 400  # characters of an expression that is given to the libraries
_DEEPEST = 40  # brackets inside one another
_SIMPLE = re.compile(r"(-?)(?:\\frac\{(-?\d{1,12})\}\{(\d{1,12})\}|(\d{1,12}(?:\.\d{1,3})?))")


def require(user: str, *, published: bool) -> None:
    """Nothing when the libraries are there. Raises MissingExtra naming the pip line.

    published: sympy's own LaTeX parser is needed, which works with one version of its runtime only.
    """
    for package, module in (("math-verify", "math_verify"), ("sympy", "sympy")):
        if importlib.util.find_spec(module) is None:
            raise MissingExtra(user, package, "math")
    if published:
        try:
            fits = importlib.metadata.version("antlr4-python3-runtime").startswith("4.11")
        except importlib.metadata.PackageNotFoundError:
            fits = False
        if not fits:
            raise MissingExtra(f"{user} (sympy's LaTeX parser)", "antlr4-python3-runtime 4.11", "math")


@lru_cache(maxsize=65536)
def proved_equal(gold: str, answer: str) -> bool:
    """Whether math-verify finds the answers equal, structure by structure. Raises TimedOut, Crashed, MissingExtra."""
    if not (_readable(gold) and _readable(answer)):
        return False
    require("comparing expressions", published=False)
    return within(_proved, gold, answer, timeout_s=PROOF_S, prepare=_load_math_verify)


@lru_cache(maxsize=65536)
def sympy_equal(gold: str, answer: str) -> bool:
    """The published equivalence: both parsed as LaTeX, their difference simplified to 0. Raises as `proved_equal`."""
    quick = _simple_equal(gold, answer)
    if quick is not None:
        return quick
    if not (_readable(gold, balanced=False) and _readable(answer, balanced=False)):
        return False
    require("comparing expressions", published=True)
    return within(_difference_is_zero, gold, answer, timeout_s=PUBLISHED_S, prepare=_load_sympy)


@lru_cache(maxsize=65536)
def python_equal(gold: str, answer: str) -> bool:
    """Whether two expressions in Python's notation are equal. sympy evaluates them: pass arithmetic only."""
    if not (_readable(gold) and _readable(answer)):
        return False
    require("comparing expressions", published=False)
    return within(_evaluated_equal, gold, answer, timeout_s=PROOF_S, prepare=_load_sympy_expressions)


def _readable(text: str, *, balanced: bool = True) -> bool:
    """False for what no parser of expressions takes, or takes for ever: too long, too deep, brackets left open."""
    depth = deepest = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
        if depth < 0 and balanced:
            return False
    return len(text) <= _LONGEST and deepest <= _DEEPEST and (depth == 0 or not balanced)


def _simple_equal(gold: str, answer: str) -> bool | None:
    """For two short plain numbers or fractions: what sympy finds, without it."""
    values = []
    for text in (gold, answer):
        match = _SIMPLE.fullmatch(text)
        if match is None or (match[3] and int(match[3]) == 0):
            return None
        value = Fraction(int(match[2]), int(match[3])) if match[3] else Fraction(match[4])
        values.append(-value if match[1] else value)
    return values[0] == values[1]


def _load_sympy() -> None:
    from sympy import simplify
    from sympy.parsing.latex import parse_latex

    simplify(parse_latex(r"\frac{1}{2} - x + \sqrt{2}"))


def _load_math_verify() -> None:
    _verified("\\frac{\\sqrt{3}}{3}", "\\frac{1}{\\sqrt{3}}")


def _load_sympy_expressions() -> None:
    _evaluated_equal("2*x - 1", "-1 + 2*x")


def _evaluated_equal(gold: str, answer: str) -> bool:
    from string import ascii_letters

    from sympy import Symbol
    from sympy.parsing.sympy_parser import parse_expr

    warnings.simplefilter("ignore")
    letters = {letter: Symbol(letter) for letter in ascii_letters}
    try:
        one, two = (parse_expr(text, local_dict=letters) for text in (gold, answer))
        if isinstance(one, tuple) or isinstance(two, tuple):
            return bool(one == two)
        return bool(one.free_symbols == two.free_symbols and one.equals(two))
    except Exception:  # noqa: BLE001 - what is no expression raises errors of any kind; published as "not equal"
        return False


def _difference_is_zero(gold: str, answer: str) -> bool:
    from sympy import simplify
    from sympy.parsing.latex import parse_latex

    warnings.simplefilter("ignore")
    try:
        return bool(simplify(parse_latex(answer) - parse_latex(gold)) == 0)
    except Exception:  # noqa: BLE001 - sympy raises errors of any kind on foreign text; published as "not equal"
        return False


def _proved(gold: str, answer: str) -> bool:
    return bool(compare(gold, answer, _verified))


def _verified(gold: str, answer: str) -> bool:
    """math-verify's word on two expressions; exact: a decimal equals a root or a fraction only to 12 places."""
    from math_verify import LatexExtractionConfig, verify
    from math_verify import parse as parse_latex

    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    config = [LatexExtractionConfig()]
    sides = [parse_latex(f"${side}$", config, parsing_timeout=None) for side in (gold, answer)]
    if not all(sides):
        return False
    return bool(verify(sides[0], sides[1], float_rounding=12, allow_set_relation_comp=True, timeout_seconds=None))
