r"""The two published normal forms of LaTeX answers, kept as published: for scores that can be set beside published ones.

Minerva: Lewkowycz et al. 2022 (arXiv:2206.14858), appendix D. Hendrycks: the evaluation of MATH (arXiv:2103.03874).
"""

from __future__ import annotations

import re

from burnish.verify.math.extract import LONGEST

# Appendix D: what is replaced, in this order, and what is deleted, in this order. "ft" also turns \infty into \iny.
_REPLACED = (
    ("an ", ""), ("a ", ""), (".$", "$"), ("\\$", ""), ("\\ ", ""), (" ", ""), ("mbox", "text"),
    (",\\text{and}", ","), ("\\text{and}", ","), ("\\text{m}", "\\text{}"),
)  # fmt: skip
_DELETED = (
    "square", "ways", "integers", "dollars", "mph", "inches", "ft", "hours", "km", "units", "\\ldots", "sue", "points",
    "feet", "minutes", "digits", "cents", "degrees", "cm", "gm", "pounds", "meters", "meals", "edges", "students",
    "childrentickets", "multiples", "\\text{s}", "\\text{.}", "\\text{\ns}", "\\text{}^2", "\\text{}^3", "\\text{\n}",
    "\\text{}", r"\mathrm{th}", r"^\circ", r"^{\circ}", r"\;", r",\!", "{,}", '"', "\\dots",
)  # fmt: skip
_MINERVA_STEPS = (
    (re.compile(r"(.*?)(\$)(.*?)(\$)(.*)"), r"$\3$"),
    (re.compile(r"\\text\{(.*?)\}"), r"\1"),
    (re.compile(r"\\textbf\{(.*?)\}"), r"\1"),
    (re.compile(r"\\overline\{(.*?)\}"), r"\1"),
    (re.compile(r"\\boxed\{(.*)\}"), r"\1"),
    (re.compile(r"(frac)([^{])(.)"), r"frac{\2}{\3}"),
    (re.compile(r"(sqrt)([^{])"), r"sqrt{\2}"),
)


def minerva(text: str) -> str:
    """The Minerva normal form: what stands behind the last "=", without units, wrappers, spaces and thousands commas.

    Texts of more than LONGEST characters behind the last "=" give "": no answer is that long.
    """
    text = text.rpartition("=")[2]
    if len(text) > LONGEST:
        return ""
    for old, new in _REPLACED:
        text = text.replace(old, new)
    for old in _DELETED:
        text = text.replace(old, "")
    for pattern, new in _MINERVA_STEPS:
        text = pattern.sub(new, text)
    text = text.replace("$", "")
    bare = text.replace(",", "")
    return bare if bare.isdigit() else text


def hendrycks_equal(one: str, other: str) -> bool:
    """True when the Hendrycks normal forms are equal; where one has none, the texts are compared as they are."""
    try:
        return hendrycks(one) == hendrycks(other)
    except ValueError:
        return one == other


def hendrycks(text: str) -> str:
    r"""The Hendrycks normal form: layout, degree and currency marks, units and short left sides of "=" gone, fractions
    written \frac{a}{b}. Raises ValueError for what the published code cannot take: two "\text{ ", a \sqrt or \frac with
    nothing behind it, one "/" between other things than integers.
    """
    for old, new in (
        ("\n", ""), ("\\!", ""), ("\\\\", "\\"), ("tfrac", "frac"), ("dfrac", "frac"), ("\\left", ""), ("\\right", ""),
        ("^{\\circ}", ""), ("^\\circ", ""), ("\\$", ""),
    ):  # fmt: skip
        text = text.replace(old, new)
    text = _without_units(text).replace("\\%", "").replace(" .", " 0.").replace("{.", "{0.")
    if text.startswith("."):
        text = "0" + text
    left, equals, right = text.partition("=")
    if equals and "=" not in right and len(left) <= 2:
        text = right
    text = _braced_fractions(_braced_roots(text).replace(" ", ""))
    if text == "0.5":
        text = "\\frac{1}{2}"
    return _slash_to_fraction(text)


def _without_units(text: str) -> str:
    head, *units = text.split("\\text{ ")
    if len(units) > 1:
        raise ValueError("two texts that begin with a space")
    return head


def _braced_roots(text: str) -> str:
    head, *parts = text.split("\\sqrt")
    if not all(parts):
        raise ValueError("a root of nothing")
    return head + "".join("\\sqrt" + (p if p[0] == "{" else f"{{{p[0]}}}{p[1:]}") for p in parts)


def _braced_fractions(text: str) -> str:
    head, *parts = text.split("\\frac")
    made = [head]
    for part in parts:
        if not part:
            raise ValueError("a fraction of nothing")
        if part[0] == "{":
            made.append(part)
        elif len(part) < 2:
            return text
        elif part[1] == "{":
            made.append(f"{{{part[0]}}}{part[1:]}")
        else:
            made.append(f"{{{part[0]}}}{{{part[1]}}}{part[2:]}")
    return "\\frac".join(made)


def _slash_to_fraction(text: str) -> str:
    """a/b of two integers as a fraction. Raises ValueError when one of two parts is not an integer: published so."""
    parts = text.split("/")
    if len(parts) != 2:
        return text
    over, under = map(int, parts)
    return f"\\frac{{{over}}}{{{under}}}" if f"{over}/{under}" == text else text
