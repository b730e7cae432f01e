"""Whether the values of a stage's fields are of the types that the fields declare: what a slip of the pen would break hours later."""

from __future__ import annotations

import dataclasses
import inspect
import sys
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from burnish.errors import RecipeError, nearest
from burnish.pipeline.stage import Stage

# What may stand in for a plain type; whole numbers are numbers too, but True is no number.
_PLAIN: dict[type, tuple[type, ...]] = {bool: (bool,), int: (int,), float: (int, float), str: (str, Path)}
_WORDS: dict[Any, str] = {
    bool: "True or False", int: "a whole number", float: "a number", str: "text", dict: "a dict", tuple: "a tuple", type(None): "None",
}  # fmt: skip


def check_types(stage: Stage) -> None:
    """Raise RecipeError for the first field, of the stage or of a value in it, whose value is of another type than it declares.

    Only what is certainly wrong is: a type that is not understood, or not importable at run time, fits everything. Other stages in the
    fields are looked at by themselves.
    """
    for said in _wrong_fields(stage, stage.name + ": "):
        raise RecipeError(said)


def _wrong_fields(value: Any, path: str) -> Iterator[str]:
    try:
        hints = typing.get_type_hints(type(value))
    except (NameError, TypeError, AttributeError):
        return
    for field in dataclasses.fields(value):
        if field.name in hints:
            yield from _wrong(getattr(value, field.name), hints[field.name], path + field.name)


def _wrong(value: Any, hint: Any, path: str) -> Iterator[str]:
    """One text for each misfit at or below `path`."""
    if not _fits(value, hint):
        yield f"{path}={value!r:.80} is not what the field takes: {_name(hint)}.\n  {_write(value, hint)}"
        return
    if dataclasses.is_dataclass(value) and not isinstance(value, Stage | type):
        yield from _wrong_fields(value, path + ".")
    elif isinstance(value, Mapping) and len(args := _arguments(hint, dict)) == 2:
        for key, part in value.items():
            yield from _wrong(part, args[1], f"{path}[{key!r}]")
    elif isinstance(value, tuple | list) and len(args := _arguments(hint, tuple)) == 2 and args[1] is Ellipsis:
        for i, part in enumerate(value):
            yield from _wrong(part, args[0], f"{path}[{i}]")


def _choices(hint: Any) -> tuple[Any, ...]:
    """The alternatives of a union, or the type itself."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return tuple(choice for part in typing.get_args(hint) for choice in _choices(part))
    return (hint,)


def _arguments(hint: Any, kind: type) -> tuple[Any, ...]:
    """K and V of dict[K, V], or what is in tuple[…], where exactly one alternative is such a type."""
    found = [typing.get_args(choice) for choice in _choices(hint) if typing.get_origin(choice) is kind]
    return found[0] if len(found) == 1 else ()


def _fits(value: Any, hint: Any) -> bool:
    return any(_fits_one(value, choice) for choice in _choices(hint))


def _fits_one(value: Any, hint: Any) -> bool:
    origin = typing.get_origin(hint)
    if hint is None or hint is type(None):
        return value is None
    if origin is typing.Literal:
        return value in typing.get_args(hint)
    if origin is dict:
        return isinstance(value, Mapping)
    if origin is tuple:
        return isinstance(value, tuple | list)
    if hint in _PLAIN:
        return isinstance(value, _PLAIN[hint]) and (hint is bool or not isinstance(value, bool))
    if not isinstance(hint, type) or origin is not None:
        return True
    if getattr(hint, "_is_protocol", False):
        return all(hasattr(value, name) for name in _members(hint))
    # Two classes of one name are one that was loaded twice, as recipes are.
    return isinstance(value, hint) or any(part.__qualname__ == hint.__qualname__ for part in type(value).__mro__)


def _members(protocol: type) -> set[str]:
    """What a protocol asks for; `__call__` counts, other names with underscores do not."""
    found = {name for part in protocol.__mro__ for name in (*vars(part), *vars(part).get("__annotations__", {}))}
    called = any("__call__" in vars(part) for part in protocol.__mro__)
    return {name for name in found if not name.startswith("_")} | ({"__call__"} if called else set())


def _name(hint: Any) -> str:
    names = [
        " or ".join(map(repr, typing.get_args(choice)))
        if typing.get_origin(choice) is typing.Literal
        else _WORDS.get(kind := typing.get_origin(choice) or choice) or getattr(kind, "__name__", str(choice))
        for choice in _choices(hint)
    ]  # fmt: skip
    return " or ".join(names)


def _write(value: Any, hint: Any) -> str:
    """What to do: a literal, a class by its call, or for a protocol the classes beside it that fulfil it."""
    choices = [choice for choice in _choices(hint) if choice is not type(None)]
    words = [
        str(word)
        for choice in choices
        if typing.get_origin(choice) is typing.Literal
        for word in typing.get_args(choice)
    ]
    if words:
        return nearest(str(value), words)
    classes = [choice for choice in choices if isinstance(choice, type) and choice not in _PLAIN]
    found = [f"{name}(…)" for choice in classes for name in _known(choice)]
    if found:
        return f"Write {', '.join(found)}{' or None' if type(None) in _choices(hint) else ''}."
    if Stage in classes:
        return "Give a stage of the recipe, not its name or what it is made of."
    described = [f"{choice.__module__}.{choice.__name__}" for choice in classes if choice.__module__ != "builtins"]
    return f"Give what {' or '.join(described)} describes." if described else f"Give {_name(hint)}."


def _known(hint: type) -> list[str]:
    """The class itself; of a protocol the classes in its file that fulfil it, by the names and parameters of its members."""
    if not getattr(hint, "_is_protocol", False):
        return [hint.__name__] if dataclasses.is_dataclass(hint) and hint is not Stage else []
    beside = [part for part in vars(sys.modules[hint.__module__]).values() if dataclasses.is_dataclass(part)]
    return sorted(
        part.__name__ for part in beside
        if isinstance(part, type) and part.__module__ == hint.__module__ and not part.__name__.startswith("_")
        and all(_alike(part, hint, member) for member in _members(hint))
    )  # fmt: skip


def _alike(part: type, protocol: type, member: str) -> bool:
    """Whether a class has a member, with the protocol's parameters where it is a method."""
    wanted, found = getattr(protocol, member, None), getattr(part, member, None)
    if not (inspect.isfunction(wanted) and inspect.isfunction(found)):
        return found is not None or member in part.__annotations__
    return list(inspect.signature(wanted).parameters) == list(inspect.signature(found).parameters)
