"""What numba has no words for: bfloat16, fused multiply-add, bit patterns of floats, tasks taken from a counter, and the
two vector loops of attention.

bfloat16 numbers are the upper 16 bits of float32 numbers; here they are uint16.

Importing this module needs numba, so it is imported inside functions alone.

Shapes: E head width, T positions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

F = TypeVar("F", bound=Callable[..., Any])
Int = Any  # a Python int to read; a 64-bit integer once compiled
Real = Any  # a float32 once compiled

_SUMS_ANY_WAY = {"reassoc", "contract", "nsz"}


def compiled(function: F) -> F:
    """A function that only compiled ones call. Sums are made in the order written."""
    made: F = njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True, _nrt=False)(
        function
    )
    return made


def summing(function: F) -> F:
    """As `compiled`, where the compiler may choose one order of summation for good."""
    made: F = njit(
        nogil=True, error_model="numpy", fastmath=_SUMS_ANY_WAY, no_cpython_wrapper=True, no_cfunc_wrapper=True, _nrt=False
    )(function)  # fmt: skip
    return made


def _i16() -> Any:
    return ir.IntType(16)


def _i32() -> Any:
    return ir.IntType(32)


def _f32() -> Any:
    return ir.FloatType()


@intrinsic  # type: ignore[untyped-decorator]
def _wide(typing: Any, half: Any) -> Any:
    """A bfloat16 as a float32, exactly."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(builder.shl(builder.zext(arguments[0], _i32()), _i32()(16)), _f32())

    return types.float32(types.uint16), build


@intrinsic  # type: ignore[untyped-decorator]
def _narrow(typing: Any, real: Any) -> Any:
    """A float32 as the nearest bfloat16, ties to even, as torch rounds; not-a-number stays so."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        bits = builder.bitcast(arguments[0], _i32())
        odd = builder.and_(builder.lshr(bits, _i32()(16)), _i32()(1))
        rounded = builder.lshr(builder.add(builder.add(bits, _i32()(0x7FFF)), odd), _i32()(16))
        nan = builder.fcmp_unordered("uno", arguments[0], arguments[0])
        return builder.trunc(builder.select(nan, _i32()(0x7FC0), rounded), _i16())

    return types.uint16(types.float32), build


@intrinsic  # type: ignore[untyped-decorator]
def fma(typing: Any, a: Any, b: Any, c: Any) -> Any:
    """A times b plus c, rounded once."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    return types.float32(types.float32, types.float32, types.float32), build


@intrinsic  # type: ignore[untyped-decorator]
def _whole(typing: Any, real: Any) -> Any:
    """The nearest whole number, as a float32."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.call(builder.module.declare_intrinsic("llvm.rint", [_f32()]), arguments)

    return types.float32(types.float32), build


@intrinsic  # type: ignore[untyped-decorator]
def _power_of_two(typing: Any, real: Any) -> Any:
    """2 to a whole number between -126 and 127."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        exponent = builder.add(builder.fptosi(arguments[0], _i32()), _i32()(127))
        return builder.bitcast(builder.shl(exponent, _i32()(23)), _f32())

    return types.float32(types.float32), build


def _reads(kind: Any, bits: Callable[[], Any]) -> Any:
    @intrinsic  # type: ignore[untyped-decorator]
    def read(typing: Any, address: Any, place: Any) -> Any:
        """The number at a place of an array that begins at an address."""

        def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            first = builder.inttoptr(arguments[0], bits().as_pointer())
            return builder.load(builder.gep(first, [arguments[1]]))

        return kind(types.int64, types.int64), build

    return read


def _writes(kind: Any, bits: Callable[[], Any]) -> Any:
    @intrinsic  # type: ignore[untyped-decorator]
    def write(typing: Any, address: Any, place: Any, number: Any) -> Any:
        """Put a number at a place of an array that begins at an address."""

        def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            first = builder.inttoptr(arguments[0], bits().as_pointer())
            builder.store(arguments[2], builder.gep(first, [arguments[1]]))
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, kind), build

    return write


# Arrays are their addresses: numba's own would be counted, checked and wrapped at every step of a loop.
word, double = _reads(types.int64, lambda: ir.IntType(64)), _reads(types.float64, ir.DoubleType)
put_word, put_double = _writes(types.int64, lambda: ir.IntType(64)), _writes(types.float64, ir.DoubleType)
real, put_real = _reads(types.float32, _f32), _writes(types.float32, _f32)
_raw, _put_raw = _reads(types.uint16, _i16), _writes(types.uint16, _i16)


@intrinsic  # type: ignore[untyped-decorator]
def taken(typing: Any, address: Any) -> Any:
    """The number at an address, which becomes one more: no two threads get the same."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word = ir.IntType(64)
        return builder.atomic_rmw("add", builder.inttoptr(arguments[0], word.as_pointer()), word(1), "monotonic")

    return types.int64(types.int64), build


@compiled
def half(address: Int, place: Int) -> Real:
    """A bfloat16 number as a float32."""
    return _wide(_raw(address, place))


@compiled
def put_half(address: Int, place: Int, number: Real) -> None:
    """Put a float32 number as a bfloat16."""
    _put_raw(address, place, _narrow(number))


ZERO, ONE = np.float32(0.0), np.float32(1.0)
_LOW, _HIGH = np.float32(-87.0), np.float32(88.0)
_LOG2_E = np.float32(1.44269504)
# ln 2 in two parts: the first has few bits, so its product with a whole number is exact.
_LN2_HIGH, _LN2_LOW = np.float32(-0.693359375), np.float32(2.12194440e-4)
# exp(r) = 1 + r + r^2 (C5 + r (C4 + …)) for |r| <= ln(2) / 2: the near-minimax coefficients of Cephes' expf.
_C0, _C1, _C2 = np.float32(1.9875691500e-4), np.float32(1.3981999507e-3), np.float32(8.3334519073e-3)
_C3, _C4, _C5 = np.float32(4.1665795894e-2), np.float32(1.6666665459e-1), np.float32(5.0000001201e-1)


@compiled
def exp(x: Real) -> Real:
    """E to the x within 2 units in the last place, x taken between -87 and 88; loops over it become vector code.

    Source: S. Moshier, Cephes Math Library 2.2 (1992), expf.
    """
    x = min(max(x, _LOW), _HIGH)
    k = _whole(x * _LOG2_E)
    r = fma(k, _LN2_LOW, fma(k, _LN2_HIGH, x))
    p = fma(fma(fma(fma(fma(_C0, r, _C1), r, _C2), r, _C3), r, _C4), r, _C5)
    return fma(p, r * r, r + ONE) * _power_of_two(k)


LANES = 16  # float32 numbers worked on at once: one register of AVX-512, or several of less


class _Lanes:
    """Rows of bfloat16 numbers as vectors of LANES float32 numbers, those of even and of odd place by turns: two bfloat16
    numbers lie in 32 bits, and one instruction takes out either.
    """

    def __init__(self, builder: Any, width: int) -> None:
        self.builder, self.width = builder, width
        self.words, self.reals = ir.VectorType(_i32(), LANES), ir.VectorType(_f32(), LANES)
        fused = ir.FunctionType(self.reals, [self.reals] * 3)
        self._fused = cgutils.get_or_insert_function(builder.module, fused, f"llvm.fma.v{LANES}f32")

    def row(self, base: Any, number: Any) -> list[Any]:
        """Row `number` [T, E] at an address."""
        b, found = self.builder, []
        first = b.inttoptr(b.add(base, b.mul(number, number.type(2 * self.width))), self.words.as_pointer())
        for piece in range(self.width // (2 * LANES)):
            pairs = b.load(b.gep(first, [_i32()(piece)]), align=2)
            even = b.shl(pairs, self._all(16))
            odd = b.and_(pairs, self._all(0xFFFF0000))
            found += [b.bitcast(even, self.reals), b.bitcast(odd, self.reals)]
        return found

    def put_row(self, numbers: list[Any], address: Any) -> None:
        """[E] bfloat16 numbers, rounded as `_narrow` does; not-a-number becomes infinite or stays so."""
        b = self.builder
        first = b.inttoptr(address, self.words.as_pointer())
        for piece in range(0, len(numbers), 2):
            bits = []
            for number in numbers[piece : piece + 2]:
                raw = b.bitcast(number, self.words)
                odd = b.and_(b.lshr(raw, self._all(16)), self._all(1))
                bits.append(b.add(b.add(raw, self._all(0x7FFF)), odd))
            pairs = b.or_(b.lshr(bits[0], self._all(16)), b.and_(bits[1], self._all(0xFFFF0000)))
            b.store(pairs, b.gep(first, [_i32()(piece // 2)]), align=2)

    def _all(self, word: int) -> Any:
        return ir.Constant(self.words, [word] * LANES)

    def read(self, address: Any) -> list[Any]:
        """[E] float32 numbers."""
        first = self.builder.inttoptr(address, self.reals.as_pointer())
        pieces = range(self.width // LANES)
        return [self.builder.load(self.builder.gep(first, [_i32()(piece)]), align=4) for piece in pieces]

    def write(self, numbers: list[Any], address: Any) -> None:
        """[E] float32 numbers."""
        first = self.builder.inttoptr(address, self.reals.as_pointer())
        for piece, number in enumerate(numbers):
            self.builder.store(number, self.builder.gep(first, [_i32()(piece)]), align=4)

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        """A times b plus c, rounded once."""
        return self.builder.call(self._fused, [a, b, c])

    def product(self, a: list[Any], b: list[Any]) -> Any:
        """Products lane by lane, those of one lane summed in order."""
        total = self.builder.fmul(a[0], b[0])
        for one, other in zip(a[1:], b[1:], strict=True):
            total = self.fma(one, other, total)
        return total

    def repeated(self, number: Any) -> Any:
        """One number in every lane."""
        first = self.builder.insert_element(ir.Constant(self.reals, ir.Undefined), number, _i32()(0))
        return self._picked(first, first, [0] * LANES)

    def _picked(self, a: Any, b: Any, lanes: list[int]) -> Any:
        """Lanes of two vectors put side by side."""
        return self.builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(_i32(), len(lanes)), lanes))

    def sum(self, x: Any) -> Any:
        """The sum of the lanes: upper half added to lower half until one is left."""
        for half in (8, 4, 2, 1):
            lower, upper = (self._picked(x, x, list(range(first, first + half))) for first in (0, half))
            x = self.builder.fadd(lower, upper)
        return self.builder.extract_element(x, _i32()(0))

    def four_sums(self, x: list[Any]) -> Any:
        """[4] the sums of four vectors, each made as `sum` makes it, together in half the additions."""
        lower, upper = [*range(8), *range(16, 24)], [*range(8, 16), *range(24, 32)]
        pairs = [(x[0], x[1]), (x[2], x[3])]
        a, b = (self.builder.fadd(self._picked(p, q, lower), self._picked(p, q, upper)) for p, q in pairs)
        for half in (4, 2, 1):
            # The vectors' remaining lanes lie side by side, 2 * half of each.
            firsts = [first + i for first in range(0, 8 * half, 2 * half) for i in range(half)]
            a = self.builder.fadd(self._picked(a, b, firsts), self._picked(a, b, [i + half for i in firsts]))
            b = a
        return a

    def fetch(self, address: Any, lines: int) -> None:
        """Ask for lines of 64 bytes that are wanted soon."""
        b, line = self.builder, ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [line, _i32(), _i32(), _i32()])
        ask = cgutils.get_or_insert_function(b.module, kind, "llvm.prefetch.p0")
        for number in range(lines):
            place = b.inttoptr(b.add(address, address.type(64 * number)), line)
            b.call(ask, [place, _i32()(0), _i32()(3), _i32()(1)])


# Bytes fetched with four keys, and with one value. Spread so, memory is read while numbers are worked on.
KEYS_FETCH, VALUE_FETCH = 3 * 64, 64


def _scaled(width: int) -> Any:
    @intrinsic  # type: ignore[untyped-decorator]
    def scaled(typing: Any, x: Any, scale: Any, out: Any) -> Any:
        """A bfloat16 query [E] times a float32 number, in the order of places that the loops below work in."""

        def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            x, scale, out = arguments
            lanes = _Lanes(builder, width)
            factor = lanes.repeated(scale)
            lanes.write([builder.fmul(number, factor) for number in lanes.row(x, x.type(0))], out)
            return context.get_dummy_value()

        return types.void(types.int64, types.float32, types.int64), build

    return scaled


def _joined(width: int) -> Any:
    @intrinsic  # type: ignore[untyped-decorator]
    def joined(typing: Any, x: Any, scale: Any, out: Any) -> Any:
        """Float32 sums [E] in that order times a number, as bfloat16 in the usual one."""

        def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            x, scale, out = arguments
            lanes = _Lanes(builder, width)
            factor = lanes.repeated(scale)
            lanes.put_row([builder.fmul(number, factor) for number in lanes.read(x)], out)
            return context.get_dummy_value()

        return types.void(types.int64, types.float32, types.int64), build

    return joined


def _products(width: int) -> Any:
    @intrinsic  # type: ignore[untyped-decorator]
    def products(typing: Any, q: Any, k: Any, out: Any, count: Any, soon: Any) -> Any:
        """Products of one float32 query [E] with `count` bfloat16 keys [T, E], four at a time. soon: an address from which on
        KEYS_FETCH bytes are fetched for every four keys.
        """

        def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            q, k, out, count, soon = arguments
            lanes, index = _Lanes(builder, width), count.type
            query = lanes.read(q)
            out = builder.inttoptr(out, _f32().as_pointer())
            fours = builder.lshr(count, index(2))
            with cgutils.for_range(builder, fours, intp=index) as loop:
                first = builder.shl(loop.index, index(2))
                lanes.fetch(builder.add(soon, builder.mul(loop.index, index(KEYS_FETCH))), KEYS_FETCH // 64)
                rows = (builder.add(first, index(i)) for i in range(4))
                sums = lanes.four_sums([lanes.product(query, lanes.row(k, row)) for row in rows])
                place = builder.bitcast(builder.gep(out, [first]), ir.VectorType(_f32(), 4).as_pointer())
                builder.store(sums, place, align=4)
            with cgutils.for_range_slice(builder, builder.shl(fours, index(2)), count, index(1), index) as (row, _):
                builder.store(lanes.sum(lanes.product(query, lanes.row(k, row))), builder.gep(out, [row]))
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, types.int64, types.int64, types.int64), build

    return products


def _mixture(width: int) -> Any:
    @intrinsic  # type: ignore[untyped-decorator]
    def mixture(typing: Any, shares: Any, v: Any, out: Any, count: Any, soon: Any) -> Any:
        """Add `count` bfloat16 values [T, E], times their float32 shares [T], to float32 sums [E], in order. soon: an address
        from which on VALUE_FETCH bytes are fetched for every value.
        """

        def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            shares, v, out, count, soon = arguments
            lanes, index = _Lanes(builder, width), count.type
            shares = builder.inttoptr(shares, _f32().as_pointer())
            sums = [cgutils.alloca_once(builder, lanes.reals) for _ in range(width // LANES)]
            for number, place in zip(lanes.read(out), sums, strict=True):
                builder.store(number, place)
            with cgutils.for_range(builder, count, intp=index) as loop:
                lanes.fetch(builder.add(soon, builder.mul(loop.index, index(VALUE_FETCH))), VALUE_FETCH // 64)
                share = lanes.repeated(builder.load(builder.gep(shares, [loop.index])))
                for numbers, place in zip(lanes.row(v, loop.index), sums, strict=True):
                    builder.store(lanes.fma(share, numbers, builder.load(place)), place)
            lanes.write([builder.load(place) for place in sums], out)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, types.int64, types.int64, types.int64), build

    return mixture


# The head widths of nearly all models have loops of their own.
products_64, products_128 = _products(64), _products(128)
mixture_64, mixture_128 = _mixture(64), _mixture(128)
scaled_64, scaled_128 = _scaled(64), _scaled(128)
joined_64, joined_128 = _joined(64), _joined(128)
