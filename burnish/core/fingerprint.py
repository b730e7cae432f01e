"""What a value is, as canonical JSON and as a hash. Values without a stable meaning are refused, never guessed.

A frozen dataclass becomes {"class": "module:Name", "version": VERSION, "fields": {...}}. Floats are written as
`float.hex()`, so 0.1 and its neighbours never collide. Fields declared with `metadata={"identity": False}` say
where something is, not what it is: they are left out of the identity and kept in the encoding. Fields made by `later` enter
the identity only where their value is not the default, so that a class may gain a field and old results keep their names.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import json
import types
from enum import Enum
from typing import Any

from burnish.errors import RecipeError


def not_identity(**kwargs: Any) -> Any:
    """A dataclass field that says where a thing is, not what it is."""
    return dataclasses.field(metadata={"identity": False}, **kwargs)


def later(**kwargs: Any) -> Any:
    """A dataclass field whose default means what happened before there was such a field: then it is no part of the identity."""
    return dataclasses.field(metadata={"identity": "unless default"}, **kwargs)


def encode(value: Any, *, identity: bool = False, path: str = "value") -> Any:
    """A JSON-able form of a recipe value. With `identity`, only what decides the result.

    Raises RecipeError, naming the field, for callables, paths, open files and other values without stable meaning.
    """
    if value is None or (isinstance(value, bool | int | str) and not isinstance(value, Enum)):
        return value
    if isinstance(value, float):
        return {"float": value.hex()}
    if isinstance(value, Enum):
        return {"enum": f"{type(value).__module__}:{type(value).__qualname__}", "name": value.name}
    if isinstance(value, tuple | list):
        return [encode(v, identity=identity, path=f"{path}[{i}]") for i, v in enumerate(value)]
    if isinstance(value, dict):
        bad = [k for k in value if not isinstance(k, str)]
        if bad:
            raise RecipeError(
                f"{path}: the key {bad[0]!r} is not a string, so it has no stable spelling.\n  Use string keys."
            )
        return {"map": {k: encode(v, identity=identity, path=f"{path}[{k!r}]") for k, v in sorted(value.items())}}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _encode_dataclass(value, identity=identity, path=path)
    if isinstance(value, type | types.FunctionType):
        raise RecipeError(
            f"{path}: {value.__name__} is a {type(value).__name__}, not a value made by it, so it has no stable identity.\n"
            f"  Call it: {value.__name__}(…)."
        )
    raise RecipeError(
        f"{path}: a {type(value).__name__} ({value!r:.60}) has no stable identity, so results made with it could not be "
        "told apart.\n  Use numbers, strings, tuples and frozen dataclasses; give a file's content, not its path."
    )


def _encode_dataclass(value: Any, *, identity: bool, path: str) -> dict[str, Any]:
    cls = type(value)
    if not cls.__dataclass_params__.frozen:
        raise RecipeError(
            f"{path}: {cls.__name__} is not frozen, so it could change after it was hashed.\n  Write @dataclass(frozen=True)."
        )
    if "<locals>" in cls.__qualname__:
        raise RecipeError(
            f"{path}: {cls.__name__} is defined inside a function and cannot be found again.\n  Define it at module level."
        )
    if cls.__module__ == "__main__":
        raise RecipeError(
            f"{path}: {cls.__name__} is defined in the script that is running, so no other process can find it.\n"
            "  Move it to a file of its own and import it, or put it in a recipe file and use `burnish run`."
        )
    fields = {
        f.name: encode(getattr(value, f.name), identity=identity, path=f"{path}.{f.name}")
        for f in dataclasses.fields(value)
        if f.init and not (identity and _left_out(f, value))
    }
    return {"class": f"{cls.__module__}:{cls.__qualname__}", "version": getattr(cls, "VERSION", 0), "fields": fields}


def _left_out(field: dataclasses.Field[Any], value: Any) -> bool:
    """Whether a field is no part of the identity of the value that has it."""
    kind = field.metadata.get("identity")
    if kind != "unless default":
        return kind is False
    default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
    # By their canonical forms: to Python, 0 == 0.0 == False.
    return canonical(getattr(value, field.name)) == canonical(default)


def decode(data: Any) -> Any:
    """The value that `encode` was given. Lists come back as tuples. Raises RecipeError for unknown classes."""
    if isinstance(data, list):
        return tuple(decode(v) for v in data)
    if not isinstance(data, dict):
        return data
    if "float" in data:
        return float.fromhex(data["float"])
    if "map" in data:
        return {k: decode(v) for k, v in data["map"].items()}
    cls = _find(data["enum"] if "enum" in data else data["class"])
    if "enum" in data:
        return cls[data["name"]]
    if not (isinstance(cls, type) and dataclasses.is_dataclass(cls)):
        raise RecipeError(f"{data['class']} is not a dataclass, so it is not a recipe value.")
    build: Any = cls
    return build(**{k: decode(v) for k, v in data["fields"].items()})


def _find(spec: str) -> Any:
    module, _, name = spec.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise RecipeError(
            f"{spec} cannot be found ({error}).\n  Is the file that defines it still importable?"
        ) from error
    return found


def canonical(value: Any, path: str = "value") -> str:
    """The identity of a value as canonical JSON: sorted keys, no spaces, ASCII. `path` names the value in errors."""
    data = encode(value, identity=True, path=path)
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def fingerprint(value: Any, path: str = "value") -> str:
    """The first 12 hex digits of the SHA-256 of the canonical JSON. `path` names the value in errors."""
    return hashlib.sha256(canonical(value, path).encode()).hexdigest()[:12]


def content_id(kind: str, payload: Any) -> str:
    """A row's id: 16 hex digits of the SHA-256 of its JSON content. Lone surrogates are kept apart, not merged."""
    text = json.dumps([kind, payload], sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Absent(Enum):
    """What `diff` gives for a side that has nothing there; None is a value."""

    ABSENT = "absent"


ABSENT = Absent.ABSENT


def diff(old: Any, new: Any, path: str = "") -> list[tuple[str, Any, Any]]:
    """Where two encodings differ: (field path, old, new), leaf by leaf, in the order of the paths' names.

    A side that has nothing at a path is ABSENT. Values of another class differ as a whole.
    """
    if isinstance(old, list) and isinstance(new, list):
        rows: list[tuple[str, Any, Any]] = []
        for i in range(max(len(old), len(new))):
            rows += diff(old[i] if i < len(old) else ABSENT, new[i] if i < len(new) else ABSENT, f"{path}[{i}]")
        return rows
    if isinstance(old, dict) and isinstance(new, dict):
        if "map" in old and "map" in new:
            return _diff_named(old["map"], new["map"], path)
        if "class" in old and old.get("class") == new.get("class"):
            version = diff(old["version"], new["version"], f"{path}.version".lstrip("."))
            return version + _diff_named(old["fields"], new["fields"], path)
    # 1 == True in Python, and both are other results.
    if type(old) is type(new) and old == new:
        return []
    return [(path, _readable(old), _readable(new))]


def _diff_named(old: dict[str, Any], new: dict[str, Any], path: str) -> list[tuple[str, Any, Any]]:
    rows: list[tuple[str, Any, Any]] = []
    for key in sorted(set(old) | set(new)):
        rows += diff(old.get(key, ABSENT), new.get(key, ABSENT), f"{path}.{key}" if path else key)
    return rows


def _readable(data: Any) -> Any:
    if isinstance(data, dict) and "float" in data:
        return float.fromhex(data["float"])
    return data
