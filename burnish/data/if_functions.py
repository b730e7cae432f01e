"""The checks of the RLVR instruction-following sets (Tülu 3, arXiv:2411.15124, §6; IF-RLVR, arXiv:2507.02833) as targets.

Two forms are known. A row of allenai/RLVR-IFeval holds one check as JSON: the name of a function of open-instruct and its
arguments, those of other functions null; it becomes Tülu 3's own variant of the instruction, "tulu3:" and that name. A row
of allenai/IF_multi_constraints_upto5 holds a Python list with the ids of several instructions and their arguments.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from typing import Any

from burnish.errors import DataError, VerifierError
from burnish.verify.ifeval.target import check_target

_EXPECTED = "ground_truth: expected JSON with func_name and arguments, or a list with instruction_id and kwargs."


def ifeval_target(ground_truth: str) -> str:
    """The target of verifier "ifeval" for the checks of one row: a JSON list of {"id", "kwargs"}.

    Raises DataError for a function or an id that is not known and for arguments that are missing or wrong.
    """
    given = _read(ground_truth)
    if isinstance(given, list) and len(given) == 1:
        given = _read(given[0]) if isinstance(given[0], str) else given[0]
    if not isinstance(given, dict):
        raise DataError(_EXPECTED)
    target = json.dumps(_several(given) if "instruction_id" in given else [_one(given)])
    try:
        check_target(target)
    except VerifierError as error:
        raise DataError(f"ground_truth: {str(error).splitlines()[0]}") from None
    return target


def _read(text: str) -> Any:
    """`text` as JSON, or as a Python literal: the rows of several instructions are printed Python lists."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        try:
            return ast.literal_eval(text)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            raise DataError(_EXPECTED) from None


def _one(given: Mapping[str, Any]) -> dict[str, Any]:
    name = given.get("func_name")
    if not isinstance(name, str):
        raise DataError(_EXPECTED)
    kwargs = {key: value for key, value in given.items() if key != "func_name" and value is not None}
    return {"id": f"tulu3:{name}", "kwargs": kwargs}


def _several(given: Mapping[str, Any]) -> list[dict[str, Any]]:
    names, kwargs = given["instruction_id"], given.get("kwargs")
    if not isinstance(names, list) or not isinstance(kwargs, list) or len(names) != len(kwargs):
        raise DataError("ground_truth: instruction_id and kwargs must be lists of one length.")
    return [{"id": name, "kwargs": arguments or {}} for name, arguments in zip(names, kwargs, strict=True)]
