"""Values cross between two processes as they are, and nothing else does."""

from __future__ import annotations

import enum
import json
import math
from collections import Counter, deque, namedtuple
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from burnish.verify.code.wire import EXACT, MANY, Uncrossable, decode, encode

ATOMS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.complex_numbers()
    | st.fractions() | st.decimals(allow_nan=False)
)  # fmt: skip
KEYS = st.integers() | st.text() | st.booleans()
VALUES = st.recursive(
    ATOMS,
    lambda inner: (
        st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(KEYS, inner) | st.sets(KEYS) | st.frozensets(KEYS)
        | st.lists(inner).map(deque)
    ),
)  # fmt: skip


def across(value: Any) -> Any:
    return decode(json.loads(json.dumps(encode(value))))


def written(value: Any) -> Any:
    kind = type(value)
    if kind in (set, frozenset):
        return kind, sorted(map(repr, value))
    if kind in (list, tuple, deque):
        return kind, [written(v) for v in value]
    if kind is dict:
        return kind, [(repr(k), written(v)) for k, v in value.items()]
    return repr(value)


@given(VALUES)
def test_values_cross_unchanged(value: Any):
    """repr tells types, order, nan and negative zero apart; the order of a set is nobody's."""
    assert written(across(value)) == written(value)


@given(st.lists(st.integers(-EXACT - 2, EXACT + 2) | st.floats(), min_size=1, max_size=8))
def test_long_lists_of_numbers_cross_unchanged(values: list[Any]):
    many = values * MANY
    assert repr(across(many)) == repr(many)


def test_subclasses_become_what_they_extend():
    point = namedtuple("point", "x y")

    class Colour(enum.IntEnum):
        RED = 3

    for value, plain in (
        (point(1, 2), (1, 2)),
        (Counter("aa"), {"a": 2}),
        (Colour.RED, 3),
        (np.float64(0.5), 0.5),
        (np.int64(7), 7),
    ):
        found = across(value)
        assert (found, type(found)) == (plain, type(plain))


def test_arrays_cross_as_arrays():
    found = across(np.array([[1, 2], [3, 4]], dtype=np.int32))
    assert found.dtype == np.int32
    assert found.tolist() == [[1, 2], [3, 4]]


def test_an_object_that_equals_everything_does_not_cross():
    class Equal:
        def __eq__(self, other: object) -> bool:
            return True

    class EqualNumber(int):
        def __eq__(self, other: object) -> bool:
            return True

    with pytest.raises(Uncrossable, match="Equal"):
        encode(Equal())
    assert type(across(EqualNumber(5))) is int
    assert encode([Equal()], lambda value: {"o": [1, "Equal"]}) == [{"o": [1, "Equal"]}]


@pytest.mark.parametrize(
    "data",
    [
        {}, {"t": [], "s": []}, {"zz": 1}, {"o": [1, "x"]}, {"s": [[1]]}, {"d": [[1]]}, {"d": [[[1], 2]]}, {"f": "one"},
        {"i": "x"}, {"c": [1]}, {"b": "€"}, {"r": [1, 2, 0]}, {"n": ["Path", "/"]}, {"N": ["", "AA=="]}, {"a": ["object", []]},
        {"y": "type"}, {"n": ["Fraction", "1/" + "9" * 5000]}, {"t": 5},
    ],
)  # fmt: skip
def test_what_encode_cannot_have_written_is_refused(data: Any):
    with pytest.raises((ValueError, TypeError)):
        decode(data)


@given(
    st.recursive(
        st.none() | st.integers() | st.floats() | st.text(),
        lambda x: st.lists(x) | st.dictionaries(st.sampled_from("tszdfibBcrqnayNox"), x, max_size=2),
    )
)
def test_reading_any_json_gives_a_plain_value_or_an_error(data: Any):
    try:
        value = decode(data)
    except (ValueError, TypeError):
        return
    assert type(value).__module__ in ("builtins", "collections", "decimal", "fractions", "numpy")


def test_numbers_of_any_size():
    assert across(10**4000) == 10**4000
    assert across(Decimal("1e-30")) == Decimal("1e-30")
    assert across(Fraction(1, 3)) == Fraction(1, 3)
    assert math.isnan(across(math.nan))
