"""The verifier for answers that are JSON of a given form (JSON Schema, https://json-schema.org)."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

from burnish.core.types import Problem, Verdict
from burnish.errors import MissingExtra, VerifierError
from burnish.verify.deadline import Crashed, TimedOut, within
from burnish.verify.statements import without_thought

_FENCE = re.compile(r"```[ \t]{0,3}(?:json|JSON)?[ \t]{0,9}\n(.*?)\n?[ \t]{0,9}```", re.DOTALL)
_LONGEST = 200_000
_DEADLINE_S = 2.0
_PATTERNS = re.compile(r'"(?:pattern|patternProperties)"\s*:')
_PERSON = (
    '{"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},'
    ' "required": ["name", "age"], "additionalProperties": false}'
)
_NUMBERS = '{"type": "array", "items": {"type": "number"}, "minItems": 1}'


class _Invalid(ValueError):
    """The reply's JSON is not what the standard allows."""


@dataclass(frozen=True, slots=True)
class JSONSchema:
    """Grades a reply by whether it is JSON that a schema accepts; the target is the schema as JSON.

    The reply is the JSON alone, or one fenced block with text around it; two blocks are no answer. Strict JSON: no NaN
    and no repeated keys. Drafts by "$schema", else 2020-12. References outside the schema are never loaded.

    fenced: False accepts the JSON alone only.
    """

    VERSION: ClassVar[int] = 1
    ACCEPTS: ClassVar[tuple[tuple[str, str], ...]] = (
        (_PERSON, '{"name": "Ada", "age": 36}'),
        (_PERSON, 'Here it is:\n```json\n{"name": "Ada", "age": 36}\n```'),
        (_NUMBERS, "[1, 2.5]"),
    )
    REJECTS: ClassVar[tuple[tuple[str, str], ...]] = (
        (_PERSON, '{"name": "Ada"}'),
        (_PERSON, '{"name": "Ada", "age": "36"}'),
        (_PERSON, "Ada is 36."),
        (_NUMBERS, "[]"),
        (_NUMBERS, "[NaN]"),
    )
    fenced: bool = True

    def check_target(self, target: str) -> None:
        """Nothing, when `target` is a schema. Raises VerifierError otherwise; Curate asks before anything runs."""
        _validator(target)

    def __call__(self, problem: Problem, text: str) -> Verdict:
        """1 when the schema accepts the reply's JSON, else 0, with the first place where it does not."""
        try:
            _validator(problem.check.target)
        except VerifierError as error:
            return Verdict(None, str(error))
        text = without_thought(text).strip()
        if len(text) > _LONGEST:
            return Verdict(0.0, f"the reply has {len(text):,} characters, more than the {_LONGEST:,} that are read")
        blocks = _FENCE.findall(text) if self.fenced else []
        if len(blocks) > 1:
            return Verdict(0.0, f"{len(blocks)} JSON blocks offered, wanted one")
        try:
            value = json.loads(
                blocks[0] if blocks else text, parse_constant=_no_constant, object_pairs_hook=_no_repeats
            )
        except RecursionError:
            return Verdict(0.0, "the reply's JSON is nested too deeply to be read")
        except ValueError as error:
            return Verdict(0.0, f"the reply is not JSON: {error}")
        return _verdict(problem.check.target, value)


def _verdict(target: str, value: Any) -> Verdict:
    if not _PATTERNS.search(target):
        return _compared(target, value)
    try:  # a pattern that backtracks without end cannot be stopped in this process
        return within(_compared, target, value, timeout_s=_DEADLINE_S)
    except TimedOut:
        return Verdict(
            None, f"the schema's patterns took longer than {_DEADLINE_S:g} s; write them without nested repeats"
        )
    except Crashed as crashed:
        return Verdict(None, f"the comparison with the schema ended its process: {crashed}"[:300])


def _compared(target: str, value: Any) -> Verdict:
    from jsonschema.exceptions import best_match
    from referencing.exceptions import Unresolvable

    try:
        error = best_match(_validator(target).iter_errors(value))
    except RecursionError:
        return Verdict(0.0, "the reply's JSON is nested too deeply to be compared")
    except Unresolvable as unresolvable:
        return Verdict(None, f"the schema refers to what is not in it: {unresolvable}"[:300])
    if error is None:
        return Verdict(1.0, "the schema accepts the reply's JSON")
    return Verdict(0.0, f"at {error.json_path[:80]}: {error.message[:200]}")


def _no_constant(name: str) -> Any:
    raise _Invalid(f"{name} is not JSON")


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _Invalid("an object repeats a key")
    return found


@lru_cache(maxsize=1024)
def _validator(target: str) -> Any:
    """The validator of a schema. Raises VerifierError for what is none, MissingExtra without the library."""
    try:
        from jsonschema import validators
        from jsonschema.exceptions import SchemaError
        from referencing import Registry
        from referencing.exceptions import Unresolvable
    except ModuleNotFoundError:
        raise MissingExtra("JSONSchema", "jsonschema", "schema") from None
    try:
        schema = json.loads(target)
    except (ValueError, RecursionError) as error:
        raise VerifierError(_bad(target, f"is not JSON ({error})")) from None
    if not isinstance(schema, dict):
        raise VerifierError(_bad(target, "is no schema object"))
    kind = validators.validator_for(schema, default=validators.Draft202012Validator)
    try:
        kind.check_schema(schema)
    except (SchemaError, RecursionError) as error:
        raise VerifierError(_bad(target, f"is no schema ({getattr(error, 'message', error)!s:.120})")) from None
    validator = kind(schema, registry=Registry())
    try:
        next(iter(validator.iter_errors(None)), None)
    except RecursionError:
        raise VerifierError(_bad(target, "refers to itself without end")) from None
    except Unresolvable as error:
        raise VerifierError(_bad(target, f"refers to what is not in it ({error})"[:300])) from None
    return validator


def _bad(target: str, what: str) -> str:
    return f"target {target[:80]!r} {what}, so no reply can be compared with it.\n  Write a JSON Schema such as {_NUMBERS}."
