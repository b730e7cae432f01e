"""A target, the JSON list of {"id", "kwargs"} in a problem's check, as typed constraints.

Ids of four tables may be mixed: the 25 of IFEval, Tülu 3's own variants of them ("tulu3:verify_keywords", …), the 29
training constraints of IF-RLVR and the 58 of IFBench. The other tables are imported when an id is not one of IFEval's.

A constraint is a frozen dataclass whose fields are the official arguments. A field is an `int` (from 0), a `float`, a
`str` that is not blank, a Literal, `tuple[T, ...]` of those, or `T | None`; a field with a default may be left
out. What must hold between fields is checked in `__post_init__`, which raises VerifierError saying what is wrong.
"""

from __future__ import annotations

import json
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields
from functools import lru_cache
from typing import Any, Literal, cast

from burnish.errors import VerifierError, nearest
from burnish.verify.ifeval.constraints import CONSTRAINTS, Constraint

_IFEVAL = {kind.ID: kind for kind in CONSTRAINTS}


def check_target(target: str) -> None:
    """Nothing, when every instruction of `target` can be graded. For plan time, before any compute.

    Raises VerifierError naming the instruction, the argument and its value, with the nearest known spelling.
    """
    constraints_of(target)


@lru_cache(maxsize=65536)
def constraints_of(target: str) -> tuple[Constraint, ...]:
    """The constraints of a target. Raises VerifierError as `check_target` does."""
    try:
        data = json.loads(target)
    except (ValueError, RecursionError) as error:
        raise VerifierError(
            f"target {target[:80]!r} is not JSON ({error}), so nothing can be graded.\n"
            '  Write a list such as [{"id": "punctuation:no_comma", "kwargs": {}}].'
        ) from None
    if not isinstance(data, list) or not data:
        raise VerifierError(
            f"target {target[:80]!r} is no list of instructions, so nothing can be graded.\n"
            '  Write a list such as [{"id": "punctuation:no_comma", "kwargs": {}}].'
        )
    return tuple(_constraint(entry, i) for i, entry in enumerate(data))


@lru_cache(maxsize=1)
def all_constraints() -> Mapping[str, type[Constraint]]:
    """Every constraint of the four tables by its id."""
    from burnish.verify import ifbench, ifrlvr
    from burnish.verify.ifeval import tulu3

    tables = (CONSTRAINTS, tulu3.CONSTRAINTS, ifrlvr.CONSTRAINTS, ifbench.CONSTRAINTS)
    return {kind.ID: kind for table in tables for kind in table}


def _constraint(entry: Any, index: int) -> Constraint:
    where = f"target[{index}]"
    if not isinstance(entry, dict) or not isinstance(entry.get("id"), str):
        raise VerifierError(f'{where}: expected {{"id": …, "kwargs": {{…}}}}, got {str(entry)[:80]}.')
    name = entry["id"]
    kind = _IFEVAL.get(name) or all_constraints().get(name)
    if kind is None:
        raise VerifierError(f"{where}: no instruction is called {name!r:.80}. {nearest(name[:80], all_constraints())}")
    where = f"{where} ({name})"
    given = entry.get("kwargs") or {}
    if not isinstance(given, dict):
        raise VerifierError(f"{where}: kwargs must be an object of named values, got {str(given)[:80]}.")
    # Tables with one column per argument fill the arguments of other instructions with null.
    given = {key: value for key, value in given.items() if value is not None}
    wanted, needed = _arguments(kind)
    for key in given:
        if key not in wanted:
            raise VerifierError(f"{where}: no argument is called {key!r:.80}. {nearest(key[:80], wanted)}")
    missing = sorted(needed - set(given))
    if missing:
        raise VerifierError(f"{where}: missing {', '.join(missing)}; without it the instruction says nothing.")
    values = {key: _value(given[key], wanted[key], f"{where}.{key}") for key in given}
    try:
        return kind(**values)
    except VerifierError as error:
        raise VerifierError(f"{where}: {error}") from None


@lru_cache(maxsize=256)
def _arguments(kind: type[Constraint]) -> tuple[Mapping[str, Any], frozenset[str]]:
    """The arguments of a constraint with their types, and the names of those that must be given."""
    hints = typing.get_type_hints(kind)
    found = fields(cast(Any, kind))
    needed = frozenset(f.name for f in found if f.default is MISSING and f.default_factory is MISSING)
    return {f.name: hints[f.name] for f in found}, needed


def _value(value: Any, kind: Any, where: str) -> Any:
    """`value` as a `kind`. Raises VerifierError naming `where`."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return _value(value, next(arg for arg in inner if arg is not type(None)), where)
    if origin is Literal:
        if not isinstance(value, str) or value not in inner:
            raise VerifierError(f"{where}: {value!r:.60} is not one of {', '.join(map(repr, inner))}.")
        return value
    if origin is tuple:
        if not isinstance(value, list) or not value:
            what = "words" if inner[0] is str else "numbers"
            raise VerifierError(f"{where}: expected a list of {what}, got {value!r:.60}.")
        return tuple(_value(each, inner[0], f"{where}[{i}]") for i, each in enumerate(value))
    return _text(value, where) if kind is str else _number(value, kind, where)


def _text(value: Any, where: str) -> str:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]  # some published rows wrap a single word in a list
    if not isinstance(value, str) or not value.strip():
        raise VerifierError(f"{where}: expected text, got {value!r:.60}.")
    return value


def _number(value: Any, kind: Any, where: str) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        what = "a whole number from 0" if kind is int else "a number"
        raise VerifierError(f"{where}: expected {what}, got {value!r:.60}.")
    if kind is float:
        return float(value)
    # Tables with empty cells turn whole numbers into floats.
    if value < 0 or value != int(value):
        raise VerifierError(f"{where}: expected a whole number from 0, got {value!r:.60}.")
    return int(value)
