"""The reference page of examples: what every verifier of the library accepts and rejects, from the classes themselves."""

from __future__ import annotations

import dataclasses
import html
import importlib
import inspect
import pkgutil
from collections.abc import Iterator

import burnish.verify
from burnish.verify.base import Examples, Verifier
from burnish.verify.gsm8k import GSM8K
from burnish.verify.shaping import Every, Form, Length, Thinking, Weighted

LONGEST = 160  # characters shown of one text

# Wrappers make their examples from those of what they wrap.
WRAPPED: tuple[tuple[str, Verifier], ...] = (
    ("Thinking(GSM8K())", Thinking(GSM8K())),
    ("Length(GSM8K(), most=40, soft=10)", Length(GSM8K(), most=40, soft=10)),
    ("Weighted(((Thinking(GSM8K()), 0.9), (Form(), 0.1)))", Weighted(((Thinking(GSM8K()), 0.9), (Form(), 0.1)))),
    ("Every((Thinking(GSM8K()), Form()))", Every((Thinking(GSM8K()), Form()))),
)


def verifiers() -> Iterator[type]:
    """Every verifier class of burnish.verify, by module and name; a verifier has examples and grades (problem, text)."""
    found = set()
    for module in pkgutil.walk_packages(burnish.verify.__path__, "burnish.verify."):
        if "worker" in module.name:  # what runs inside a sandbox's worker is no part of this process
            continue
        for value in vars(importlib.import_module(module.name)).values():
            own = isinstance(value, type) and value.__module__ == module.name and dataclasses.is_dataclass(value)
            if own and hasattr(value, "ACCEPTS") and "__call__" in vars(value):
                found.add(value)
    yield from sorted(found, key=lambda cls: (cls.__module__, cls.__name__))


def page() -> str:
    """The tables as Markdown: one a verifier, its first sentence above."""
    parts = []
    for cls in verifiers():
        accepts, rejects = cls.__dict__.get("ACCEPTS"), cls.__dict__.get("REJECTS")
        if isinstance(accepts, tuple) and isinstance(rejects, tuple):
            parts.append(_section(f"{cls.__name__}", cls, accepts, rejects))
    for written, verifier in WRAPPED:
        parts.append(_section(written, type(verifier), verifier.ACCEPTS, verifier.REJECTS))
    return "\n".join(parts)


def _section(title: str, cls: type, accepts: Examples, rejects: Examples) -> str:
    first = inspect.cleandoc(cls.__doc__ or "").split("\n\n")[0].replace("\n", " ")
    rows = [("accepted", pair) for pair in accepts] + [("rejected", pair) for pair in rejects]
    table = [f"| {_code(target)} | {_code(reply)} | {said} |" for said, (target, reply) in rows]
    return "\n".join([
        f"## `{title}`", "", f"`{cls.__module__}`: {first}", "", "| target | reply | |", "|---|---|---|", *table, "",
    ])  # fmt: skip


def _code(text: str) -> str:
    """A text as code in a table's cell: line breaks as ⏎, long ones cut."""
    shown = text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
    shown = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in shown.replace("\n", "⏎").replace("\t", "⇥"))
    if not shown.strip():
        return "(blank)"
    if any(c in shown for c in "`|\\") or shown != shown.strip():
        escaped = html.escape(shown, quote=False).replace("|", "&#124;").replace("\\", "&#92;").replace("`", "&#96;")
        return f"<code>{escaped.replace('*', '&#42;').replace('_', '&#95;').replace('$', '&#36;')}</code>"
    return f"`{shown}`"
