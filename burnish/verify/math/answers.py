r"""Answers to mathematics problems as trees, compared exactly: lists, sets, tuples, intervals, unions, matrices, units.

`equal` decides what it can without any library: structure, exact numbers, words, normal forms. What is left are pairs of
expressions, and those it asks `prove` about; without one the comparison says None: not decided.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from burnish.verify.math.latex import split_at, split_unit, tidy, units_differ
from burnish.verify.math.normal_forms import hendrycks_equal
from burnish.verify.numbers import Found, one_number

Prove = Callable[[str, str], bool | None]

_MOST = 50  # parts of one answer; more are not an answer
_NAME = re.compile(
    r"(?:\\?[A-Za-z]+(?:_\{?\w{1,9}\}?)?'?(?:\([A-Za-z](?:,[A-Za-z])*\))?|\\text\{[^{}]{1,60}\}(?:_\{?\w{1,9}\}?)?"
    r"|(?:\\frac|[A-Z]|[|:/{} ']|_\{?[A-Za-z\d]{1,9}\}?){2,40})"
)
_MEMBER = re.compile(r"\\?[A-Za-z]+\s*\\in(?![a-z])\s*")
_REPEATING = re.compile(r"(-?)(\d{0,20})\.(\d{0,20})\\(?:overline|bar)\{?(\d{1,20})\}?")
_MATRIX = re.compile(r"\\begin\{([bp]?matrix|array)\}(?:\{[clr|]*\})?(.*)\\end\{\1\}", re.DOTALL)
_WORDS = re.compile(r"[^\W\d_](?:[^\W\d_]|[ .'-])*")
_BASED = re.compile(r"([0-9A-F]+)_\{?(?:\\text\{)?(\w+)\}{0,2}")
_RELATED = re.compile(
    r"[<>∈≤≥≠=]|\\(?:le|ge|ne|leq|geq|neq|in|notin|lt|gt)(?![a-z])|\\(?:mathbb|begin|emptyset|varnothing|setminus|backslash)"
)
_LISTED_WORDS = re.compile(r"\\text\{([^{}]*,[^{}]*)\}")
_SPACED_NUMBERS = re.compile(r"[-+]?[\d.]+(?:\s+[-+]?[\d./]+){1,60}")


@dataclass(frozen=True, slots=True)
class Node:
    """A part of an answer. kind: "leaf", "equation", "list", "set", "union", "matrix", or a pair of brackets: "(]"."""

    kind: str
    text: str
    items: tuple[Node, ...] = ()


def compare(gold: str, answer: str, prove: Prove | None = None) -> bool | None:
    """`equal` on two texts. "81,256" is two numbers where the reference answer is a list, else one."""
    wanted = parse(gold)
    return equal(wanted, parse(answer, grouped=wanted.kind not in ("list", "set")), prove)


def parse(text: str, *, grouped: bool = True) -> Node:
    """The tree of an answer in LaTeX or plain text. grouped: "81,256" is one number, not two."""
    return _parse(tidy(text, grouped=grouped), 0)


def _parse(text: str, depth: int) -> Node:
    text = _MEMBER.sub("", text, count=1) if _MEMBER.match(text) else text
    if depth > 8:
        return Node("leaf", text)
    for read in (_equation, _union, _list, _matrix, _bracketed):
        node = read(text, depth + 1)
        if node is not None:
            return node
    return Node("leaf", text)


def _equation(text: str, depth: int) -> Node | None:
    left, *rest = split_at(text, "=")
    if not rest or len(split_at(text, ",;\n")) > 1:
        return None
    named = _NAME.fullmatch(left.strip())
    if named or not re.search(r"[A-Za-z]", re.sub(r"\\[A-Za-z]+", "", text)):
        return Node("equation", text, (Node("leaf", _squeezed(left)), _parse(rest[-1].strip(), depth)))
    return None


def _union(text: str, depth: int) -> Node | None:
    parts = split_at(text, "∪")
    return Node("union", text, tuple(_parse(p.strip(), depth) for p in parts[:_MOST])) if len(parts) > 1 else None


def _list(text: str, depth: int) -> Node | None:
    words = _LISTED_WORDS.fullmatch(text)
    parts = [part.strip() for part in split_at(words[1] if words else text, ",;\n") if part.strip()]
    if len(parts) == 1 and _SPACED_NUMBERS.fullmatch(parts[0]) and one_number(parts[0]) is None:
        parts = parts[0].split()
    parts = [half for part in parts[:_MOST] for half in _both_signs(part)]
    if len(parts) == 1:
        return _parse(parts[0], depth) if parts[0] != text else None
    kept = list({_squeezed(part): part for part in parts}.values())  # a solution written twice is one
    if len(kept) == 1:
        return _parse(kept[0], depth)
    return Node("list", text, tuple(_parse(part, depth) for part in kept)) if parts else None


def _both_signs(part: str) -> list[str]:
    if part.count("±") != 1:
        return [part]
    head, _, tail = part.partition("±")
    return [f"{head}+{tail}" if head.strip() else tail, f"{head}-{tail}"]


def _matrix(text: str, depth: int) -> Node | None:
    match = _MATRIX.fullmatch(text)
    if match is None or "\\begin" in match[2]:
        return None
    rows = [row for row in match[2].split("\\\\") if row.strip()][:_MOST]
    cells = [tuple(_parse(tidy(cell), depth) for cell in row.split("&")[:_MOST]) for row in rows]
    return Node("matrix", text, tuple(Node("row", "", row) for row in cells))


def _bracketed(text: str, depth: int) -> Node | None:
    """A set, tuple or interval: brackets around the whole that hold several parts."""
    for opening, closing, width in (("\\{", "\\}", 2), ("([", ")]", 1)):
        if len(text) > 2 * width and text[:width] in _ends(opening, width) and text[-width:] in _ends(closing, width):
            inner = text[width:-width]
            parts = split_at(inner, ",;")
            if parts is not None and _closed(inner):
                items = tuple(_parse(part.strip(), depth) for part in parts[:_MOST])
                if width == 2:
                    return Node("set", text, items)
                if len(items) > 1:
                    return Node(text[0] + text[-1], text, items)
                if text[0] + text[-1] == "()" or items[0].kind == "matrix":
                    return items[0]
    return None


def _ends(brackets: str, width: int) -> tuple[str, ...]:
    return tuple(brackets) if width == 1 else (brackets,)


def _closed(inner: str) -> bool:
    """True if no bracket inside closes one outside: "(1)(2)" is not a bracketed "1)(2"."""
    depth = 0
    for character in inner.replace("\\{", "(").replace("\\}", ")"):
        depth += (character in "([") - (character in ")]")
        if depth < 0:
            return False
    return depth == 0


def equal(gold: Node, answer: Node, prove: Prove | None = None) -> bool | None:
    """True or False where that can be decided, else None. `prove` is asked about pairs of expressions as text."""
    if "equation" in (gold.kind, answer.kind):
        return _equations_equal(gold, answer, prove)
    if gold.kind == answer.kind == "leaf":
        found = leaves_equal(gold.text, answer.text)
        return _asked(prove, gold, answer) if found is None else found
    return _structures_equal(gold, answer, prove)


def _equations_equal(gold: Node, answer: Node, prove: Prove | None) -> bool | None:
    """Names of the value do not count: "x=5" and "5" are equal, "x=5" and "y=5" are not. Others may be forms of one another."""
    if gold.kind != "equation":
        return _asked(prove, gold, answer) if "=" in gold.text else equal(gold, answer.items[1], prove)
    if answer.kind != "equation":
        return _asked(prove, gold, answer) if "=" in answer.text else equal(gold.items[1], answer, prove)
    if gold.items[0].text.lower() == answer.items[0].text.lower():
        return equal(gold.items[1], answer.items[1], prove)
    return _asked(prove, gold, answer)


def _structures_equal(gold: Node, answer: Node, prove: Prove | None) -> bool | None:
    kinds = {gold.kind, answer.kind}
    if kinds <= {"list", "set"} or kinds == {"union"}:
        return _unordered(gold.items, answer.items, prove)
    if kinds == {"matrix"}:
        return _rows_equal(gold, answer, prove)
    if gold.kind == answer.kind or kinds == {"()", "list"}:
        return _ordered(gold.items, answer.items, prove)
    if kinds == {"leaf", "set"} and len(gold.items or answer.items) == 1:
        return equal(gold.items[0] if gold.items else gold, answer.items[0] if answer.items else answer, prove)
    if "matrix" in kinds and kinds & {"()", "list"}:
        return _vector_equal(gold, answer, prove)
    if "leaf" in kinds and not _RELATED.search(gold.text if gold.kind == "leaf" else answer.text):
        return False
    if "leaf" in kinds or "union" in kinds:
        return _asked(prove, gold, answer)
    return False


def _asked(prove: Prove | None, gold: Node, answer: Node) -> bool | None:
    return prove(gold.text, answer.text) if prove else None


def _rows_equal(gold: Node, answer: Node, prove: Prove | None) -> bool | None:
    if [len(row.items) for row in gold.items] != [len(row.items) for row in answer.items]:
        return False
    return _all(_ordered(g.items, a.items, prove) for g, a in zip(gold.items, answer.items, strict=True))


def _vector_equal(gold: Node, answer: Node, prove: Prove | None) -> bool | None:
    """A matrix of one column or row, and the tuple of its entries."""
    sides = [_entries(side) if side.kind == "matrix" else side.items for side in (gold, answer)]
    return _ordered(sides[0], sides[1], prove)


def _entries(matrix: Node) -> tuple[Node, ...]:
    if len(matrix.items) == 1 or all(len(row.items) == 1 for row in matrix.items):
        return tuple(entry for row in matrix.items for entry in row.items)
    return ()


def _ordered(gold: Sequence[Node], answer: Sequence[Node], prove: Prove | None) -> bool | None:
    if len(gold) != len(answer):
        return False
    return _all(equal(g, a, prove) for g, a in zip(gold, answer, strict=True))


def _all(found: object) -> bool | None:
    result: bool | None = True
    for one in found:  # type: ignore[attr-defined]
        if one is False:
            return False
        result = None if one is None else result
    return result


def _unordered(gold: Sequence[Node], answer: Sequence[Node], prove: Prove | None) -> bool | None:
    """Whether the parts can be paired off: for sure, not at all, or perhaps."""
    if len(gold) != len(answer):
        return False
    table = [[equal(g, a, prove) for a in answer] for g in gold]
    if _pairs([[cell is True for cell in row] for row in table]):
        return True
    return None if _pairs([[cell is not False for cell in row] for row in table]) else False


def _pairs(table: Sequence[Sequence[bool]]) -> bool:
    """True if every row has a column of its own: a perfect matching, by augmenting paths."""
    owner: dict[int, int] = {}

    def place(row: int, tried: set[int]) -> bool:
        for column, fits in enumerate(table[row]):
            if fits and column not in tried:
                tried.add(column)
                if column not in owner or place(owner[column], tried):
                    owner[column] = row
                    return True
        return False

    return all(place(row, set()) for row in range(len(table)))


def leaves_equal(gold: str, answer: str) -> bool | None:
    """Whether two single expressions are equal, by exact numbers, words and normal forms; None when that cannot tell."""
    if _squeezed(gold) == _squeezed(answer):
        return True
    if ("=" in gold) != ("=" in answer):
        return False  # an equation that does not just name the answer
    (gold, unit), (answer, other) = split_unit(gold), split_unit(answer)
    if units_differ(unit, other):
        return False
    one, two = number(gold), number(answer)
    if one is not None and two is not None:
        return one.equals(two)
    based = _bases_equal(gold, answer)
    if based is not None:
        return based
    words = [_words(text) for text in (gold, answer)]
    if words[0] and words[1]:
        loose = "\\text" in gold + answer
        return words[0] == words[1] or (loose and words[0].casefold() == words[1].casefold())
    if (words[0] and two is not None) or (words[1] and one is not None):
        return False
    return hendrycks_equal(gold, answer) or None


def number(text: str) -> Found | None:
    """The text as one exact number."""
    if len(text) > 200:
        return None
    repeating = _REPEATING.fullmatch(text.replace(" ", ""))
    if repeating is None:
        return one_number(text.replace("{}", ""))
    sign, whole, fixed, period = repeating.groups()
    value = int(whole or 0) + Fraction(
        int(fixed + period) - int(fixed or 0), 10 ** len(fixed) * (10 ** len(period) - 1)
    )
    return Found(-value if sign else value, 0, len(text))


def _squeezed(text: str) -> str:
    return re.sub(r"\s+", "", text)


def _words(text: str) -> str:
    """A text answer in a form that can be compared, or a single letter; "" for anything else."""
    inner = re.sub(r"\\text\{([^{}]*)\}", r"\1", text).strip(" ().")
    if _WORDS.fullmatch(inner) and (len(inner) > 1 or "\\text" in text):
        return re.sub(r"[\W_]+", "", inner).casefold()
    return inner if len(inner) == 1 and inner.isascii() and inner.isalpha() else ""


def _bases_equal(gold: str, answer: str) -> bool | None:
    """For digits with a base written below: equal digits, and equal bases where both are written."""
    found = [_BASED.fullmatch(text.strip()) for text in (gold, answer)]
    if not any(found):
        return None
    digits = [match[1] if match else _squeezed(text) for match, text in zip(found, (gold, answer), strict=True)]
    if not all(re.fullmatch(r"[0-9A-F]+", d) for d in digits):
        return None
    bases = {_BASE_NAMES.get(match[2].lower(), match[2]) for match in found if match}
    return digits[0] == digits[1] and len(bases) == 1


_BASE_NAMES = {
    name: str(base)
    for base, name in enumerate(("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"), 2)
}


def distinct(answers: Sequence[str], prove: Prove | None = None) -> list[str]:
    """The answers without repeats, as far as that can be decided."""
    kept: list[tuple[str, Node]] = []
    for answer in answers:
        node = parse(answer)
        if not any(equal(node, other, prove) for _, other in kept):
            kept.append((answer, node))
    return [answer for answer, _ in kept]
