"""Wrong programs made from right ones: one small change each, in an order that depends on the program alone."""

from __future__ import annotations

import ast
import copy
import warnings
from collections.abc import Iterator

_SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Mod: ast.Mult, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip


def _changes(node: ast.AST) -> Iterator[tuple[str, object]]:
    """(field, new value) of each change to one node."""
    if isinstance(node, ast.Return) and node.value is not None:
        yield "value", ast.Constant(None)
    elif isinstance(node, ast.Constant) and type(node.value) is int:
        yield "value", node.value + 1
    elif isinstance(node, ast.BinOp | ast.BoolOp | ast.AugAssign) and type(node.op) in _SWAPS:
        yield "op", _SWAPS[type(node.op)]()
    elif isinstance(node, ast.Compare) and type(node.ops[0]) in _SWAPS:
        yield "ops", [_SWAPS[type(node.ops[0])](), *node.ops[1:]]


def mutants(source: str) -> list[str]:
    """Programs with one change each: a result dropped, a number one too large, an operator or comparison exchanged."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some reference programs hold invalid escapes
        tree = ast.parse(source)
    found = []
    for place, node in enumerate(ast.walk(tree)):
        for field, value in _changes(node):
            other = copy.deepcopy(tree)
            setattr(list(ast.walk(other))[place], field, value)
            found.append(ast.unparse(ast.fix_missing_locations(other)))
    return found


def some(source: str, count: int) -> list[tuple[int, str]]:
    """`count` of the mutants, spread over the program, with their numbers."""
    every = mutants(source)
    step = max(1, len(every) // count)
    return [(number, every[number]) for number in range(0, len(every), step)][:count]
