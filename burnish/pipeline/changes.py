"""How two stages differ, in words a person knows from the recipe: field paths and values."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from burnish.core.fingerprint import ABSENT, diff, encode, fingerprint
from burnish.pipeline.stage import Stage


@dataclass(frozen=True, slots=True)
class Change:
    """One field that differs: its path ("lr.peak") and both values as a person writes them ("absent" where there is none)."""

    path: str
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.path} {self.old} → {self.new}"


def changes(old: Any, new: Any) -> list[Change]:
    """The differences between two encodings, field by field, in the order of their paths."""
    return [Change(path or "class", spelled(a), spelled(b)) for path, a, b in diff(old, new)]


def changes_of(stage: Stage, made: dict[str, Any], made_inputs: dict[str, str]) -> list[Change]:
    """What decides that `stage` is not the stage encoded in `made`, whose inputs had the fingerprints `made_inputs`.

    All differences inside one input are one change, "input NAME", from fingerprint to fingerprint.
    """
    new = encode(stage)
    # Fields outside the identity are in the encoding for reading back; they cannot be why a stage runs.
    silent = {path for path, _, _ in diff(encode(stage, identity=True), new)}
    inside = [pair for field in dataclasses.fields(stage) for pair in _inputs(stage, field.name)]
    found: list[Change] = []
    for change in changes(made, new):
        if any(_within(change.path, path) for path in silent):
            continue
        part = next((part for path, part in inside if _within(change.path, path)), None)
        if part is not None:
            old = made_inputs.get(part.name, "absent")
            change = Change(f"input {part.name}", old, fingerprint(part))
        found.append(change)
    return list(dict.fromkeys(found))


def told(found: list[Change], limit: int = 3) -> str:
    """Changes as one sentence part: "lr.peak 5e-06 → 1e-05, input base changed"; at most `limit` of them."""
    inputs = [c.path for c in found if c.path.startswith("input ")]
    own = [str(c) for c in found if not c.path.startswith("input ")]
    parts = own + [f"{path} changed" for path in inputs]
    more = f", and {len(parts) - limit} more" if len(parts) > limit else ""
    return ", ".join(parts[:limit]) + more


def spelled(data: Any, width: int = 80) -> str:
    """An encoded value (or a part that `diff` gave) as Python spells it: SFT(lr=Linear(peak=1e-05), epochs=2)."""
    text = _spell(data)
    return text if len(text) <= width else text[: width - 1] + "…"


def _spell(data: Any) -> str:
    if data is ABSENT:
        return "absent"
    if isinstance(data, list):
        return "(" + ", ".join(_spell(v) for v in data) + ("," if len(data) == 1 else "") + ")"
    if not isinstance(data, dict):
        return repr(data)
    if "float" in data:
        return repr(float.fromhex(data["float"]))
    if "enum" in data:
        return f"{_short(data['enum'])}.{data['name']}"
    if "map" in data:
        return "{" + ", ".join(f"{k!r}: {_spell(v)}" for k, v in data["map"].items()) + "}"
    if "class" in data:
        return f"{_short(data['class'])}(" + ", ".join(f"{k}={_spell(v)}" for k, v in data["fields"].items()) + ")"
    return repr(data)


def _short(spec: str) -> str:
    return spec.rpartition(":")[2]


def _within(path: str, outer: str) -> bool:
    return path == outer or path.startswith((f"{outer}.", f"{outer}["))


def _inputs(value: Any, field: str) -> Iterator[tuple[str, Stage]]:
    """(path as `diff` spells it, stage) for the stages directly inside one field."""

    def walk(item: Any, path: str) -> Iterator[tuple[str, Stage]]:
        if isinstance(item, Stage):
            yield path, item
        elif isinstance(item, tuple | list):
            for i, part in enumerate(item):
                yield from walk(part, f"{path}[{i}]")
        elif isinstance(item, dict):
            for key, part in item.items():
                yield from walk(part, f"{path}.{key}")
        elif dataclasses.is_dataclass(item) and not isinstance(item, type):
            for inner in dataclasses.fields(item):
                yield from walk(getattr(item, inner.name), f"{path}.{inner.name}")

    yield from walk(getattr(value, field), field)
