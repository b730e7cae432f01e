"""From text to windows that may stand in the tests: the compiled kernels that look at every byte.

    fold    bytes to lower case, everything between tokens to one marker byte
    cut     marker bytes, 64 at a time as a bit mask, to the starts and lengths of tokens
    probe   a hash per token (a multiplication per 8 bytes), a hash for one in three parts of windows, the filter, and the hashes
            of the windows around the parts that passed
    listed  of these windows, those of which the table holds half of the hash

Importing this module needs numba, so it is imported inside functions alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numba import njit
from numba.extending import intrinsic

from burnish.data.decontamination.index import (
    ALONE,
    APART,
    APART_BYTES,
    BASE,
    LENGTH,
    MIX,
    SEPARATOR,
    UPPER,
    Bytes,
    Folding,
    Grams,
    Ints32,
    Words,
)  # fmt: skip

F = TypeVar("F", bound=Callable[..., Any])
Int = Any  # a Python int to read; a 64-bit integer once compiled

_POINT = np.uint32((1 << 21) - 1)
_ONE = np.uint64(1)
_EIGHT = np.uint64(8)


def compiled(function: F) -> F:
    """A function that only compiled ones call: without the wrappers for Python, whose compilation costs most of all.

    Nothing is allocated in here, so arrays are handed on without counting references (`_nrt`): with forty arrays to an index,
    counting took a quarter of the time.
    """
    made: F = njit(nogil=True, no_cpython_wrapper=True, no_cfunc_wrapper=True, forceinline=True, _nrt=False)(function)
    return made


def entry(function: F) -> F:
    """A function that Python calls. Its machine code, with all that it calls, is kept in numba's cache folder.

    Numba takes kept code for current as long as the function's own file is, whatever became of the functions it calls. So the
    contents of all the files that its code comes from are part of the name that it is kept under.
    """
    files = (Path(__file__).with_name(name) for name in ("index.py", "kernel.py", "kernel_tokens.py"))
    stamp = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]
    function.__qualname__ = f"{function.__qualname__}_{stamp}"
    make = partial(njit, nogil=True, no_cfunc_wrapper=True, _nrt=False)
    try:
        made: F = make(cache=True)(function)
    except RuntimeError:  # no folder to keep machine code in
        made = make()(function)
    return made


@intrinsic  # type: ignore[untyped-decorator]
def _lowest_bit(typing: Any, word: Any) -> Any:
    """The number of zero bits below the lowest one bit of a word that is not 0."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], context.get_constant(_types().boolean, True))

    return word(word), build


@intrinsic  # type: ignore[untyped-decorator]
def prefetch(typing: Any, array: Any, at: Any) -> Any:
    """Have the processor fetch a place of a one-dimensional array, or the row of a matrix, into its first cache."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        from llvmlite import ir

        made = context.make_array(signature.args[0])(context, builder, arguments[0])
        stride = builder.extract_value(made.strides, 0)
        byte, number = ir.IntType(8), ir.IntType(32)
        place = builder.gep(builder.bitcast(made.data, byte.as_pointer()), [builder.mul(stride, arguments[1])])
        kind = ir.FunctionType(ir.VoidType(), [byte.as_pointer(), number, number, number])
        called = builder.module.declare_intrinsic("llvm.prefetch", [byte.as_pointer()], kind)
        builder.call(called, [place, number(0), number(3), number(1)])
        return context.get_dummy_value()

    return _types().void(array, _types().int64), build


@intrinsic  # type: ignore[untyped-decorator]
def _marks(typing: Any, low: Any, at: Any) -> Any:
    """A bit for each of 64 folded bytes from `at` on: whether it is the marker."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        block, lanes = _block(context, builder, signature, arguments)
        marks = builder.icmp_unsigned("==", builder.load(block, align=1), lanes(SEPARATOR))
        return builder.bitcast(marks, _word())

    return _types().uint64(low, at), build


@intrinsic  # type: ignore[untyped-decorator]
def _fold(typing: Any, data: Any, at: Any, low: Any, size: Any, apart: Any) -> Any:
    """Fold 64 bytes as ASCII from `at` in the data to `size` in `low`. A bit for each of them: whether it is not ASCII.

    apart: the bytes between tokens, `index.APART_BYTES` of them.
    """

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source, lanes = _block(context, builder, signature, arguments)
        into, _ = _block(context, builder, signature, arguments, 2)
        block = builder.load(source, align=1)
        upper = builder.icmp_unsigned("<", builder.sub(block, lanes(ord("A"))), lanes(26))
        folded = builder.select(upper, builder.or_(block, lanes(0x20)), block)
        marks = _byte_of(context, builder, signature, arguments, 0, block)
        for number in range(1, APART_BYTES):
            marks = builder.or_(marks, _byte_of(context, builder, signature, arguments, number, block))
        builder.store(builder.select(marks, lanes(SEPARATOR), folded), into, align=1)
        return builder.bitcast(builder.icmp_signed("<", block, lanes(0)), _word())

    return _types().uint64(data, at, low, size, apart), build


def _types() -> Any:
    from numba import types

    return types


def _word() -> Any:
    from llvmlite import ir

    return ir.IntType(64)


def _block(
    context: Any, builder: Any, signature: Any, arguments: Any, first: int = 0
) -> tuple[Any, Callable[[int], Any]]:
    """(pointer to 64 bytes of the array that is argument `first`, at the place that is the next one; 64 times a byte)."""
    from llvmlite import ir

    block = ir.VectorType(ir.IntType(8), 64)
    array = context.make_array(signature.args[first])(context, builder, arguments[first])
    place = builder.gep(array.data, [arguments[first + 1]])
    return builder.bitcast(place, block.as_pointer()), lambda byte: ir.Constant(block, [byte] * 64)


def _byte_of(context: Any, builder: Any, signature: Any, arguments: Any, number: int, block: Any) -> Any:
    """Which bytes of a block are the one that stands at a place in the last argument."""
    from llvmlite import ir

    array = context.make_array(signature.args[4])(context, builder, arguments[4])
    byte = builder.load(builder.gep(array.data, [ir.Constant(ir.IntType(64), number)]))
    one = builder.insert_element(ir.Constant(block.type, ir.Undefined), byte, ir.Constant(ir.IntType(32), 0))
    every = ir.Constant(ir.VectorType(ir.IntType(32), 64), [0] * 64)
    return builder.icmp_unsigned("==", block, builder.shuffle_vector(one, one, every))


@compiled
def fold(data: Bytes, start: Int, stop: Int, folding: Folding, low: Bytes) -> Int:
    """Fold a text: 64 bytes at a time where they are ASCII, else code point by code point. Returns the folded length.

    A character that is a token alone gets markers around it.
    """
    at, size = start, np.int64(0)
    while at < stop:
        if not folding.wide and at + 64 <= len(data):
            foreign = _fold(data, at, low, size, folding.apart)
            plain = min(np.int64(_lowest_bit(foreign)) if foreign else np.int64(64), stop - at)
            at += plain
            size += plain
            if at >= stop or not foreign:
                continue
        while at < stop:
            byte = np.uint32(data[at])
            if byte < 0x80 and not folding.wide:
                if at + 64 <= len(data):
                    break
                low[size] = folding.lower[byte]
                size += 1
                at += 1
                continue
            more = 0 if byte < 0xC0 else 1 if byte < 0xE0 else 2 if byte < 0xF0 else 3
            point = byte if byte < 0x80 else byte & (np.uint32(0x3F) >> np.uint32(more))
            for step in range(1, more + 1):
                point = (point << np.uint32(6)) | (np.uint32(data[min(at + step, stop - 1)]) & np.uint32(0x3F))
            at += more + 1
            size = _put_point(folding.points[point], low, size)
    return size


@compiled
def _put_point(into: np.uint32, low: Bytes, size: Int) -> Int:
    """Append what a code point folds to. Returns the new length."""
    if into & APART:
        low[size] = SEPARATOR
        return size + 1
    if into & ALONE:
        low[size] = SEPARATOR
        size += 1
    size = _put(into & _POINT, low, size)
    if into & ALONE:
        low[size] = SEPARATOR
        size += 1
    return size


@compiled
def _put(point: np.uint32, low: Bytes, size: Int) -> Int:
    """Append a code point as UTF-8. Returns the new length."""
    if point < 0x80:
        low[size] = np.uint8(point)
        return size + 1
    more = 1 if point < 0x800 else 2 if point < 0x10000 else 3
    low[size] = np.uint8((np.uint32(0xFF00) >> np.uint32(more + 1)) & np.uint32(0xFF)) | np.uint8(
        point >> np.uint32(6 * more)
    )
    for step in range(1, more + 1):
        low[size + step] = np.uint8(0x80) | np.uint8((point >> np.uint32(6 * (more - step))) & np.uint32(0x3F))
    return size + more + 1


@compiled
def cut(low: Bytes, at: Int, begun: Int, size: Int, starts: Ints32, sizes: Ints32, have: Int) -> tuple[Int, Int, Int]:
    """Tokens from byte `at` on, until the text or the room ends. `begun`: where the token in hand began.

    A marker byte stands behind the last byte, at `size`. Returns (next byte, where the token in hand began, tokens).
    """
    limit = len(starts) - 128
    while at <= size and have < limit:
        mask = _marks(low, at)
        if size - at < 63:
            mask &= (_ONE << np.uint64(size - at + 1)) - _ONE
        while mask:
            stop = at + np.int64(_lowest_bit(mask))
            starts[have] = begun
            sizes[have] = stop - begun
            have += np.int64(stop > begun)
            begun = stop + 1
            mask &= mask - _ONE
        at += 64
    return at, begun, have


@compiled
def hash_tokens(words: Words, starts: Ints32, sizes: Ints32, first: Int, count: Int, hashes: Words) -> None:
    """The hashes of tokens from `first` on, as `index.token_hashes`; most tokens are one word, and go without a loop."""
    for t in range(first, count):
        start, size = np.uint64(starts[t]), np.uint64(sizes[t])
        total = size * LENGTH
        while size > _EIGHT:
            total = (total ^ words[start]) * MIX
            total ^= total >> np.uint64(32)
            start += _EIGHT
            size -= _EIGHT
        total = (total ^ (words[start] & (~np.uint64(0) >> (np.uint64(64) - (size << np.uint64(3)))))) * MIX
        hashes[t] = total ^ (total >> np.uint64(32))


@compiled
def finish(total: np.uint64, length: Int, keep: np.uint64) -> np.uint64:
    """The hash of a window, as `index.finish`."""
    return (total + np.uint64(length) * LENGTH) & keep


@compiled
def probe(
    grams: Grams, keep: np.uint64, level: Int, hashes: Words, fresh: Int, count: Int, samples: Ints32, place: Ints32,
    found: Words,
) -> Int:  # fmt: skip
    """Windows of one length that end at token `fresh` or later and may stand in the tests: first token and hash. Returns how many.

    Of the parts of windows, one in `step` is looked up in the filter; every window holds one of these.
    """
    length, step = np.int64(grams.lengths[level]), np.int64(grams.steps[level])
    part = length - step + 1
    bits = grams.bits
    shift = np.uint64(65)
    words = len(bits)
    while words:
        words >>= 1
        shift -= _ONE
    first = max(np.int64(0), fresh - length + 1)
    asked = max(np.int64(0), (count - part - first) // step + 1)
    added = np.uint64(part) * LENGTH
    for sample in range(asked):
        at = first + sample * step
        total = np.uint64(0)
        for t in range(at, at + part):
            total = total * BASE + hashes[t]
        hashed = (total + added) & keep
        prefetch(bits, np.int64(hashed >> shift))
        found[sample] = hashed
    passed: Any = 0
    for sample in range(asked):  # a second loop, so that the filter's answers are not waited for
        hashed = found[sample]
        word = bits[hashed >> shift]
        both = (word >> ((hashed >> np.uint64(24)) & np.uint64(63))) & (
            word >> ((hashed >> np.uint64(30)) & np.uint64(63))
        )
        samples[passed] = first + sample * step
        passed += np.int64(both & _ONE)
    windows: Any = 0
    for sample in range(passed):
        at = np.int64(samples[sample])
        for start in range(max(first, at - step + 1), min(at, count - length) + 1):
            total = np.uint64(0)
            for t in range(start, start + length):
                total = total * BASE + hashes[t]
            place[windows] = start
            found[windows] = finish(total, length, keep)
            windows += 1
    return windows


@compiled
def listed(slots: Words, place: Ints32, found: Words, count: Int, held: Ints32) -> Int:
    """Keep the windows of which the table holds the upper half of the hash, with the slot. Returns how many; nearly all are hits.

    The processor fetches all slots first, because a table beyond the caches is asked several times as fast when no answer is
    waited for.
    """
    size = np.uint64(len(slots) - 1)
    kept: Any = 0
    for at in range(count):
        prefetch(slots, np.int64(found[at] & size))
    for at in range(count):
        hashed = found[at]
        slot = hashed & size
        while slots[slot] and (slots[slot] ^ hashed) & UPPER:
            slot = (slot + _ONE) & size
        place[kept] = place[at]
        found[kept] = hashed
        held[kept] = slot
        kept += np.int64(slots[slot] != 0)
    return kept
