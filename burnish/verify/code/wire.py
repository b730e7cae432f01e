"""Python values as JSON and back, for crossing between two processes that do not trust each other.

JSON's own values stand for themselves; everything else is an object with one key, its tag. Nothing is executed on
reading: no class outside the table below is ever made. This file is also sent into the sandbox as text, so it imports
the standard library only.

    {"t": [...]} tuple      {"s": [...]} set        {"z": [...]} frozenset   {"d": [[key, value], ...]} dict
    {"f": "inf"} float      {"i": "ff"} large int   {"b": "..."} bytes       {"B": "..."} bytearray
    {"c": [re, im]} complex {"r": [a, b, c]} range  {"q": [...]} deque       {"n": ["Decimal" | "Fraction", text]}
    {"y": name} a type of Python's own, such as int
    {"a": [dtype, [...]]} numpy array               {"o": [number, kind]} an object that stays where it is
    {"x": number} the same, given back to the side it lives on
    {"N": [doubles, which are floats]} a list of MANY or more numbers, packed: writing a million of them as text takes a second
"""

from __future__ import annotations

import binascii
import math
from array import array
from collections import deque
from collections.abc import Callable
from typing import Any

MANY = 512
TYPES = {kind.__name__: kind for kind in (int, float, str, bool, list, tuple, dict, set, frozenset, bytes, complex)}
EXACT = 2**53  # integers below this are exact as doubles
LARGE = 10**18  # integers from here on travel as hex digits: reading long decimals takes quadratic time
_PLAIN = frozenset({str, bool, type(None)})
_NUMBERS = frozenset({int, float})
_OWN = _PLAIN | _NUMBERS


class Uncrossable(TypeError):
    """A value that has no form outside its own process."""


def encode(value: Any, keep: Callable[[Any], Any] | None = None) -> Any:
    """`value` as JSON. Subclasses become what they extend: a Counter a dict, a namedtuple a tuple, an IntEnum an int.

    keep: gives the JSON form of an object that has none of its own; without it such an object raises Uncrossable.
    """
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is int:
        return value if -LARGE < value < LARGE else {"i": format(value, "x")}
    if kind is float:
        return value if math.isfinite(value) else {"f": repr(value)}
    if kind is list:
        if len(value) >= MANY and (packed := _packed(value)) is not None:
            return packed
        return value if set(map(type, value)) <= _PLAIN else [encode(v, keep) for v in value]
    return _tagged(value, keep)


def _packed(values: list[Any]) -> Any:
    """A list of floats and of integers that doubles hold exactly, packed; None for any other list."""
    kinds = set(map(type, values))
    if not kinds <= _NUMBERS or (int in kinds and not max(map(abs, values)) < EXACT):
        return None
    floats = (
        "f" if int not in kinds else "i" if float not in kinds else _base64(bytes([type(v) is float for v in values]))
    )
    return {"N": [_base64(array("d", values).tobytes()), floats]}


def _base64(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode("ascii")


def _unpacked(body: Any) -> list[Any]:
    numbers = array("d")
    numbers.frombytes(binascii.a2b_base64(body[0]))
    if body[1] == "f":
        return numbers.tolist()
    if body[1] == "i":
        return list(map(int, numbers))
    return [v if real else int(v) for v, real in zip(numbers, binascii.a2b_base64(body[1]), strict=True)]


def _tagged(value: Any, keep: Callable[[Any], Any] | None) -> Any:
    for kind, write in _WRITERS:
        if isinstance(value, kind):
            return write(value, keep)
    if hasattr(value, "dtype") and hasattr(value, "tolist"):  # numpy, which is not imported for this
        plain = value.tolist()
        if not getattr(value, "shape", ()):
            return encode(plain, keep)
        return {"a": [str(value.dtype), encode(plain, keep)]}
    name = type(value).__name__
    if name in ("Decimal", "Fraction"):
        return {"n": [name, str(value)]}
    if isinstance(value, type) and TYPES.get(name := value.__name__) is value:
        return {"y": name}
    if keep is None:
        raise Uncrossable(f"a {name} has no form outside its process")
    return keep(value)


def _items(values: Any, keep: Callable[[Any], Any] | None) -> list[Any]:
    return [encode(v, keep) for v in values]


_WRITERS: tuple[tuple[type, Callable[[Any, Any], Any]], ...] = (
    (tuple, lambda v, keep: {"t": _items(v, keep)}),
    (dict, lambda v, keep: {"d": [[encode(k, keep), encode(x, keep)] for k, x in v.items()]}),
    (set, lambda v, keep: {"s": _items(v, keep)}),
    (frozenset, lambda v, keep: {"z": _items(v, keep)}),
    (list, _items),
    (bool, lambda v, keep: bool(v)),
    (int, lambda v, keep: encode(int(v))),
    (float, lambda v, keep: encode(float(v))),
    (str, lambda v, keep: str(v)),
    (complex, lambda v, keep: {"c": [encode(v.real), encode(v.imag)]}),
    (bytes, lambda v, keep: {"b": v.decode("latin-1")}),
    (bytearray, lambda v, keep: {"B": v.decode("latin-1")}),
    (range, lambda v, keep: {"r": [v.start, v.stop, v.step]}),
    (deque, lambda v, keep: {"q": _items(v, keep)}),
)


def decode(data: Any, thing: Callable[[str, Any], Any] | None = None) -> Any:
    """The value that `encode` was given. thing(tag, what): the object meant by the tags "o" and "x".

    Raises ValueError or TypeError for JSON that `encode` cannot have written.
    """
    kind = type(data)
    if kind is list:
        return list(data) if _OWN.issuperset(map(type, data)) else [decode(v, thing) for v in data]
    if kind is not dict:
        return data
    if len(data) != 1:
        raise ValueError("a value has one tag")
    ((tag, body),) = data.items()
    if tag in _READERS:
        try:
            return _READERS[tag](body, thing)
        except (LookupError, AttributeError, ArithmeticError) as error:
            raise ValueError(f"no value is written {tag!r}: {body!r:.60}") from error
    if tag in ("o", "x") and thing is not None:
        return thing(tag, body)
    raise ValueError(f"no value has the tag {tag!r}")


def _number(body: Any) -> Any:
    name, text = body
    if name == "Decimal":
        from decimal import Decimal

        return Decimal(text)
    if len(text) > 4000:
        raise ValueError("a fraction of more than 4000 digits")
    from fractions import Fraction

    return Fraction(text)


def _array(body: Any, thing: Any) -> Any:
    """A numpy array where numpy is there, else the nested list."""
    dtype, nested = body[0], decode(body[1], thing)
    if not isinstance(dtype, str) or dtype[:4] not in ("int8", "int1", "int3", "int6", "uint", "floa", "bool", "comp"):
        raise ValueError(f"arrays of {dtype!r:.40} do not cross")
    try:
        import numpy
    except ImportError:
        return nested
    return numpy.array(nested, dtype=dtype)


_READERS: dict[str, Callable[[Any, Any], Any]] = {
    "t": lambda b, thing: tuple(decode(v, thing) for v in b),
    "d": lambda b, thing: {decode(k, thing): decode(v, thing) for k, v in b},
    "s": lambda b, thing: {decode(v, thing) for v in b},
    "z": lambda b, thing: frozenset(decode(v, thing) for v in b),
    "f": lambda b, thing: {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}[b],
    "i": lambda b, thing: int(b, 16),
    "c": lambda b, thing: complex(float(decode(b[0])), float(decode(b[1]))),
    "b": lambda b, thing: b.encode("latin-1"),
    "B": lambda b, thing: bytearray(b.encode("latin-1")),
    "r": lambda b, thing: range(*map(int, b)),
    "q": lambda b, thing: deque(decode(v, thing) for v in b),
    "n": lambda b, thing: _number(b),
    "a": _array,
    "N": lambda b, thing: _unpacked(b),
    "y": lambda b, thing: TYPES[b],
}
