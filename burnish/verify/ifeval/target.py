"""A target, the JSON list of {"id", "kwargs"} in a problem's check, as typed constraints."""

from __future__ import annotations

import json
from dataclasses import fields
from functools import lru_cache
from typing import Any

from burnish.errors import VerifierError, nearest
from burnish.verify.ifeval.constraints import CONSTRAINTS, Constraint, NthParagraphFirstWord

_BY_ID = {kind.ID: kind for kind in CONSTRAINTS}


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


def _constraint(entry: Any, index: int) -> Constraint:
    where = f"target[{index}]"
    if not isinstance(entry, dict) or not isinstance(entry.get("id"), str):
        raise VerifierError(f'{where}: expected {{"id": …, "kwargs": {{…}}}}, got {str(entry)[:80]}.')
    name = entry["id"]
    if name not in _BY_ID:
        raise VerifierError(f"{where}: no instruction is called {name!r}. {nearest(name, _BY_ID)}")
    given = entry.get("kwargs") or {}
    if not isinstance(given, dict):
        raise VerifierError(f"{where} ({name}): kwargs must be an object of named values, got {str(given)[:80]}.")
    # Tables with one column per argument fill the arguments of other instructions with null.
    given = {key: value for key, value in given.items() if value is not None}
    kind = _BY_ID[name]
    wanted = {field.name: str(field.type) for field in fields(kind)}  # type: ignore[arg-type]
    for key in given:
        if key not in wanted:
            raise VerifierError(f"{where} ({name}): no argument is called {key!r}. {nearest(key, wanted)}")
    missing = sorted(set(wanted) - set(given))
    if missing:
        raise VerifierError(f"{where} ({name}): missing {', '.join(missing)}; without it the instruction says nothing.")
    constraint = kind(**{key: _value(given[key], wanted[key], f"{where} ({name}).{key}") for key in given})
    if isinstance(constraint, NthParagraphFirstWord) and not 1 <= constraint.nth_paragraph <= constraint.num_paragraphs:
        raise VerifierError(
            f"{where} ({name}): nth_paragraph={constraint.nth_paragraph} is outside the {constraint.num_paragraphs} "
            "paragraphs asked for, so no reply could pass."
        )
    return constraint


def _value(value: Any, kind: str, where: str) -> Any:
    if kind == "int":
        if isinstance(value, float) and value.is_integer():
            value = int(value)  # tables with empty cells turn whole numbers into floats
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise VerifierError(f"{where}: expected a whole number from 0, got {value!r:.60}.")
    elif kind == "Relation":
        if value not in ("at least", "less than"):
            raise VerifierError(f"{where}: {value!r:.60} is no relation. Known: 'at least', 'less than'.")
    elif kind == "str":
        if not isinstance(value, str) or not value.strip():
            raise VerifierError(f"{where}: expected text, got {value!r:.60}.")
        if where.endswith(".letter") and len(value) != 1:
            raise VerifierError(f"{where}: expected one character, got {value!r:.60}.")
    else:
        if not isinstance(value, list) or not value or not all(isinstance(w, str) and w.strip() for w in value):
            raise VerifierError(f"{where}: expected a list of words, got {value!r:.60}.")
        value = tuple(value)
    return value
