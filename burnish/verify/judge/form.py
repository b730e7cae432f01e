"""The form of a judge's reply, and the strict reading of it: one JSON object, or a verdict in the last line."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

from burnish.verify.judge.ask import Unread

Way = Literal["json", "line"]
QUOTED = "its verdict stands in a judged text word for word, so it may be a quotation"

_FENCE = re.compile(r"```(?:json)?[ \t]*\n(.*)\n[ \t]*```", re.DOTALL)
_LINE = re.compile(r"[*_`\s]*([A-Za-z][A-Za-z_ ]{0,30})[*_`\s]*[:=][*_`\s]*([^\n]{0,60}?)[*_`\s.]*")
_DEPTH = 20_000


@dataclass(frozen=True, slots=True)
class Field:
    """One member of the reply. options: the values it may have, as text; () is free text."""

    name: str
    about: str
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Form:
    """The members of a reply, in order; those with options are verdicts.

    way: "json" is one JSON object with exactly these members and nothing around it; the strict form, and the default.
         "line" is free text whose last line is "name: option" for the one verdict; for small models that cannot keep to JSON.

    A verdict that stands in a judged text word for word (the JSON object, the last line) is not read: it may be a quotation.
    """

    fields: tuple[Field, ...]
    way: Way = "json"

    @property
    def schema(self) -> str:
        """The JSON Schema, as text; "" for a verdict in the last line."""
        if self.way == "line":
            return ""
        members: dict[str, Any] = {
            field.name: {"type": "string", **({"enum": list(field.options)} if field.options else {})}
            for field in self.fields
        }
        whole = {
            "type": "object", "properties": members, "required": list(members), "additionalProperties": False,
        }  # fmt: skip
        return json.dumps(whole)

    def wanted(self) -> str:
        """The sentences that tell a model how to reply."""
        if self.way == "line":
            field = self._verdict()
            return (
                f"Give your reasons in a few sentences. Then end with one line and nothing after it:\n"
                f"{field.name.capitalize()}: {' | '.join(field.options)}\nwith one of these values ({field.about})."
            )
        members = "\n".join(
            f'- "{field.name}": {field.about}' + (f"; one of {', '.join(map(json.dumps, field.options))}" if field.options else "")
            for field in self.fields
        )  # fmt: skip
        return f"Reply with one JSON object and nothing else. Its members, all of them text:\n{members}"

    def read(self, text: str, judged: Sequence[str] = ()) -> dict[str, str] | Unread:
        """The members by name, or why the reply has none. judged: the texts that the judge was shown."""
        if self.way == "line":
            return self._line(text.strip(), judged)
        found: dict[str, str] | Unread = Unread("it is empty")
        for own in without_thoughts(text):
            found = Unread(QUOTED) if own and any(own in body for body in judged) else self._json(own)
            if isinstance(found, dict):
                break
        return found

    def _verdict(self) -> Field:
        return next(field for field in self.fields if field.options)

    def _json(self, text: str) -> dict[str, str] | Unread:
        inside = _FENCE.fullmatch(text)
        found = _object(inside[1] if inside else text)
        if isinstance(found, Unread):
            return found
        names = [field.name for field in self.fields]
        if set(found) != set(names):
            lacks, more = sorted(set(names) - set(found)), sorted(set(found) - set(names))
            return Unread(
                f"members are not {', '.join(names)}"
                + (f"; {', '.join(lacks)} is missing" if lacks else "")
                + (f"; {len(more)} more than asked" if more else "")
            )
        values: dict[str, str] = {}
        for field in self.fields:
            value = _value(field, found[field.name])
            if value is None:
                return Unread(f'"{field.name}" is not {_expected(field)}')
            values[field.name] = value
        return values

    def _line(self, text: str, judged: Sequence[str]) -> dict[str, str] | Unread:
        field = self._verdict()
        last = text.rpartition("\n")[2].strip()
        match = _LINE.fullmatch(last) if len(last) <= 200 else None
        if match is None or match[1].strip().lower() != field.name:
            return Unread(f'the last line is not "{field.name.capitalize()}: …"')
        value = _value(field, match[2].strip())
        if value is None:
            return Unread(f"the {field.name} in the last line is not {_expected(field)}")
        if any(last == line.strip() for body in judged for line in body.splitlines()):
            return Unread(QUOTED)
        return {field.name: value, "reason": text.rpartition("\n")[0].strip()}


def without_thoughts(text: str) -> tuple[str, ...]:
    """The texts that may be a reply's own words: all of it and, where it thinks aloud, what follows the first "</think>".

    Never what follows a later one: that may be a quotation of what is judged.
    """
    head, ended, rest = text.partition("</think>")
    return (text.strip(), rest.strip()) if ended else (head.strip(),)


def _expected(field: Field) -> str:
    return f"one of {', '.join(field.options)}" if field.options else "text"


def _value(field: Field, value: object) -> str | None:
    """The option that is meant, or the free text; numbers count as their digits. None for anything else."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        return None
    if not field.options:
        return value
    return next((option for option in field.options if option.lower() == value.strip().lower()), None)


def _object(text: str) -> dict[str, Any] | Unread:
    if len(text) > _DEPTH:
        return Unread(f"it has more than {_DEPTH:,} characters")
    try:
        found = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return Unread("it is not one JSON object")
    return found if isinstance(found, dict) else Unread("it is not one JSON object")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a member stands twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
