"""The compiled loops: what a layer does to rows between its matrix products, and attention of one new token a sequence.

Each loop is a C function of one argument, the address of its block (`pool.Region`): threads take tasks from the block's
counter until none is left. A row, and a head of a sequence, is computed by one thread in one order, so that its bits depend
neither on the other rows nor on the number of threads.

Importing this module needs numba, so it is imported inside functions alone.

Shapes: N rows, D width, H query heads, K key heads, G = H/K, E head width, F width of the feed-forward block, T positions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numba import cfunc, types

from burnish.rollout.compiled.pool import FREE, NEXT, TASKS, WORKERS
from burnish.rollout.compiled.vectors import (
    KEYS_FETCH,
    ONE,
    VALUE_FETCH,
    ZERO,
    Int,
    Real,
    compiled,
    double,
    exp,
    fma,
    half,
    joined_64,
    joined_128,
    mixture_64,
    mixture_128,
    products_64,
    products_128,
    put_double,
    put_half,
    put_real,
    put_word,
    real,
    scaled_64,
    scaled_128,
    summing,
    taken,
    word,
)

# Rows that a thread takes at a time.
ROWS = 4
# A piece of a sequence's keys and values: address, positions, and how many bfloat16 numbers lie between its layers,
# between keys and values, between heads. Positions lie side by side.
SEGMENT = 5
ADDRESS, COUNT, LAYER_STEP, VALUES_STEP, HEAD_STEP = range(SEGMENT)

# Tokens whose weights are summed at a time, and the greatest number below 1.
PART, BELOW_ONE = 256, 1.0 - 2.0**-53

# The blocks' words.
X, Y, WEIGHT, OUT, N, D, EPS = range(FREE, FREE + 7)
FUSED, TURNED, NORM_Q, NORM_K, R_ROWS, PLACES, COS, SIN, R_H, R_K, R_E, R_EPS = range(FREE, FREE + 12)
LAYER, Q, NEW_K, NEW_V, SEEN, ORDER, FIRST, SEGMENTS, Q_STEP, K_STEP, V_STEP = range(FREE, FREE + 11)
A_G, A_K, A_E, SCALE, SCRATCH, SCRATCH_SIZE, ROOM = range(FREE + 11, FREE + 18)
LOGITS, VOCABULARY, D_ROWS, INVERSES, NUMBERS, TOKENS, LOGPS, SUMS, SUMS_SIZE = range(FREE, FREE + 9)
WORDS = 32


def entry(function: Callable[[Any], None]) -> Any:
    """A C function that threads call, its machine code kept in numba's cache folder.

    Numba takes kept code for current as long as the function's own file is, so the contents of all the files that its code
    comes from are part of the name that it is kept under.
    """
    files = (Path(__file__).with_name(name) for name in ("kernels.py", "pool.py", "vectors.py"))
    stamp = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]
    function.__qualname__ = f"{function.__qualname__}_{stamp}"
    kind = types.void(types.int64)
    try:
        return cfunc(kind, cache=True, error_model="numpy")(function)
    except RuntimeError:  # no folder to keep machine code in
        return cfunc(kind, error_model="numpy")(function)


@summing
def _square_sum(x: Int, count: Int) -> Real:
    total = ZERO
    for d in range(count):
        total += real(x, d) * real(x, d)
    return total


@entry
def added(block: Int) -> None:
    """X + y in x (float32 and bfloat16 [N, D]; y may be absent), and in bfloat16 the root-mean-square norm of it."""
    n, width, eps = word(block, N), word(block, D), np.float32(double(block, EPS))
    while True:
        first = taken(block + 8 * NEXT) * ROWS
        if first >= n:
            break
        for row in range(first, min(first + ROWS, n)):
            x = word(block, X) + 4 * row * width
            if word(block, Y):
                y = word(block, Y) + 2 * row * width
                for d in range(width):
                    put_real(x, d, real(x, d) + half(y, d))
            weight, out = word(block, WEIGHT), word(block, OUT) + 2 * row * width
            scale = ONE / np.sqrt(_square_sum(x, width) / np.float32(width) + eps)
            for d in range(width):
                put_half(out, d, real(x, d) * scale * real(weight, d))


@compiled
def _turn(x: Int, cos: Int, sin: Int, out: Int, middle: Int) -> None:
    """Rotary position embedding: each half with the other; sin carries the sign."""
    for e in range(middle):
        put_half(out, e, half(x, e) * real(cos, e) + half(x, e + middle) * real(sin, e))
    for e in range(middle, 2 * middle):
        put_half(out, e, half(x, e) * real(cos, e) + half(x, e - middle) * real(sin, e))


@compiled
def _turn_normed(x: Int, weight: Int, scale: Real, cos: Int, sin: Int, out: Int, middle: Int) -> None:
    """The same of x times `scale` times a norm's weight."""
    for e in range(middle):
        a, b = half(x, e) * scale * real(weight, e), half(x, e + middle) * scale * real(weight, e + middle)
        put_half(out, e, a * real(cos, e) + b * real(sin, e))
    for e in range(middle, 2 * middle):
        a, b = half(x, e) * scale * real(weight, e), half(x, e - middle) * scale * real(weight, e - middle)
        put_half(out, e, a * real(cos, e) + b * real(sin, e))


@summing
def _half_square_sum(x: Int, count: Int) -> Real:
    total = ZERO
    for e in range(count):
        total += half(x, e) * half(x, e)
    return total


@compiled
def _rotate_row(block: Int, row: Int) -> None:
    heads, width, eps = word(block, R_H), word(block, R_E), np.float32(double(block, R_EPS))
    turning = heads + word(block, R_K)
    place = word(word(block, PLACES), row)
    cos, sin = word(block, COS) + 4 * place * width, word(block, SIN) + 4 * place * width
    for head in range(turning):
        x = word(block, FUSED) + 2 * (row * (turning + word(block, R_K)) + head) * width
        out = word(block, TURNED) + 2 * (row * turning + head) * width
        weight = word(block, NORM_Q) if head < heads else word(block, NORM_K)
        if weight:
            scale = ONE / np.sqrt(_half_square_sum(x, width) / np.float32(width) + eps)
            _turn_normed(x, weight, scale, cos, sin, out, width // 2)
        else:
            _turn(x, cos, sin, out, width // 2)


@entry
def rotated(block: Int) -> None:
    """Queries and keys [N, H+K, E] turned by the angles of their places, from fused projections [N, (H+2K)*E]; each head
    normed first, if weights are given.
    """
    n = word(block, R_ROWS)
    while True:
        first = taken(block + 8 * NEXT) * ROWS
        if first >= n:
            break
        for row in range(first, min(first + ROWS, n)):
            _rotate_row(block, row)


@entry
def gated(block: Int) -> None:
    """silu(gate) * up [N, F] in bfloat16, from both side by side [N, 2F]."""
    n, width = word(block, N), word(block, D)
    while True:
        first = taken(block + 8 * NEXT) * ROWS
        if first >= n:
            break
        for row in range(first, min(first + ROWS, n)):
            gate = word(block, X) + 4 * row * width
            up, out = gate + 2 * width, word(block, OUT) + 2 * row * width
            for f in range(width):
                x = half(gate, f)
                put_half(out, f, x / (ONE + exp(-x)) * half(up, f))


@summing
def _product(q: Int, k: Int, width: Int) -> Real:
    total = ZERO
    for e in range(width):
        total += real(q, e) * half(k, e)
    return total


@compiled
def _products(q: Int, k: Int, out: Int, count: Int, width: Int, soon: Int) -> None:
    """As `products_64`, for any head width."""
    if width == 64:
        products_64(q, k, out, count, soon)
    elif width == 128:
        products_128(q, k, out, count, soon)
    else:
        for t in range(count):
            put_real(out, t, _product(q, k + 2 * t * width, width))


@compiled
def _mixture(shares: Int, v: Int, out: Int, count: Int, width: Int, soon: Int) -> None:
    """As `mixture_64`, for any head width."""
    if width == 64:
        mixture_64(shares, v, out, count, soon)
    elif width == 128:
        mixture_128(shares, v, out, count, soon)
    else:
        for t in range(count):
            share = real(shares, t)
            for e in range(width):
                put_real(out, e, fma(share, half(v + 2 * t * width, e), real(out, e)))


@compiled
def _scale(x: Int, factor: Real, out: Int, width: Int) -> None:
    """As `scaled_64`, for any head width."""
    if width == 64:
        scaled_64(x, factor, out)
    elif width == 128:
        scaled_128(x, factor, out)
    else:
        for e in range(width):
            put_real(out, e, half(x, e) * factor)


@compiled
def _join(x: Int, factor: Real, out: Int, width: Int) -> None:
    """As `joined_64`, for any head width."""
    if width == 64:
        joined_64(x, factor, out)
    elif width == 128:
        joined_128(x, factor, out)
    else:
        for e in range(width):
            put_half(out, e, real(x, e) * factor)


@summing
def _weigh(scores: Int, count: Int) -> Real:
    """exp(score - the highest) in place of scores; returns 1 / their sum."""
    highest = real(scores, 0)
    for t in range(count):
        highest = max(highest, real(scores, t))
    total = ZERO
    for t in range(count):
        weight = exp(real(scores, t) - highest)
        put_real(scores, t, weight)
        total += weight
    return ONE / total


@compiled
def _keep(block: Int, last: Int, row: Int, head: Int) -> None:
    """Write the row's new key and value behind the others, into the last place of its last segment."""
    width = word(block, A_E)
    place = _keys(block, last, head) + 2 * (word(last, COUNT) - 1) * width
    k = word(block, NEW_K) + 2 * (row * word(block, K_STEP) + head * width)
    v = word(block, NEW_V) + 2 * (row * word(block, V_STEP) + head * width)
    for e in range(width):
        put_half(place, e, half(k, e))
        put_half(place + 2 * word(last, VALUES_STEP), e, half(v, e))


@compiled
def _keys(block: Int, segment: Int, head: Int) -> Int:
    """The address of one head's first key in a segment."""
    steps = word(block, LAYER) * word(segment, LAYER_STEP) + head * word(segment, HEAD_STEP)
    return word(segment, ADDRESS) + 2 * steps


@compiled
def _soon(first: Int, pass_: Int, lines: Int, bytes_of_all: Int, otherwise: Int) -> Int:
    """From where on pass `pass_` over an array is to fetch, if each fetches `lines` bytes; `otherwise` when all is asked for."""
    done = pass_ * lines
    return first + done if done < bytes_of_all else otherwise


@compiled
def _attend(block: Int, scale: Real, row: Int, head: Int, scratch: Int, soon: Int) -> None:
    """One key head of one row. scratch: float32 numbers: G scaled queries and G sums [E], then G rows of scores. soon: the
    keys that this thread wants next.
    """
    width, group, room = word(block, A_E), word(block, A_G), word(block, ROOM)
    begin, end = _segments(block, row)
    _keep(block, end - 8 * SEGMENT, row, head)
    q = word(block, Q) + 2 * (row * word(block, Q_STEP) + head * group * width)
    sums, scores = scratch + 4 * group * width, scratch + 8 * group * width
    for g in range(group):
        _scale(q + 2 * g * width, scale, scratch + 4 * g * width, width)
    for i in range(group * width):
        put_real(sums, i, ZERO)
    length = 0
    for segment in range(begin, end, 8 * SEGMENT):
        k, count = _keys(block, segment, head), word(segment, COUNT)
        v = k + 2 * word(segment, VALUES_STEP)
        for g in range(group):
            fetched = _soon(v, g, count // 4 * KEYS_FETCH, 2 * count * width, scratch)
            _products(scratch + 4 * g * width, k, scores + 4 * (g * room + length), count, width, fetched)
        length += count
    for g in range(group):
        put_real(scratch, g, _weigh(scores + 4 * g * room, length))
    length = 0
    for segment in range(begin, end, 8 * SEGMENT):
        v, count = _keys(block, segment, head) + 2 * word(segment, VALUES_STEP), word(segment, COUNT)
        for g in range(group):
            fetched = _soon(soon, g, count * VALUE_FETCH, 2 * count * width, scratch)
            _mixture(scores + 4 * (g * room + length), v, sums + 4 * g * width, count, width, fetched)
        length += count
    out = word(block, SEEN) + 2 * (row * word(block, A_K) + head) * group * width
    for g in range(group):
        _join(sums + 4 * g * width, real(scratch, g), out + 2 * g * width, width)


@compiled
def _segments(block: Int, row: Int) -> tuple[Int, Int]:
    """The addresses of a row's first segment and of the end of its last."""
    first, all_segments = word(block, FIRST), word(block, SEGMENTS)
    return all_segments + 8 * SEGMENT * word(first, row), all_segments + 8 * SEGMENT * word(first, row + 1)


@entry
def attended(block: Int) -> None:
    """[N, H*E] attention of each row's new token; its key and value are written to the cache first. ORDER: the (row, key
    head) of each task.
    """
    tasks, order, scale = word(block, TASKS), word(block, ORDER), np.float32(double(block, SCALE))
    scratch = word(block, SCRATCH) + 4 * taken(block + 8 * WORKERS) * word(block, SCRATCH_SIZE)
    task = taken(block + 8 * NEXT)
    while task < tasks:
        row, head, soon = word(order, 2 * task), word(order, 2 * task + 1), scratch
        task = taken(block + 8 * NEXT)
        if task < tasks:
            _, end = _segments(block, word(order, 2 * task))
            # What a row alone has; what it shares was read for the row before.
            soon = _keys(block, end - 8 * SEGMENT, word(order, 2 * task + 1))
        _attend(block, scale, row, head, scratch, soon)


@summing
def _highest(x: Int, count: Int) -> Real:
    """The highest of bfloat16 numbers, or not-a-number if one is."""
    highest, broken = half(x, 0), 0
    for v in range(count):
        number = half(x, v)
        highest = max(highest, number)
        broken += number != number
    return np.float32(np.nan) if broken else highest


@summing
def _weights(x: Int, count: Int, highest: Real, inverse: Real) -> Real:
    total = ZERO
    for v in range(count):
        total += exp((half(x, v) - highest) * inverse)
    return total


@compiled
def _first_over(x: Int, count: Int, highest: Real, inverse: Real, share: np.float64) -> Int:
    """The first number at which the running sum of weights exceeds `share` (below 1) of their total."""
    total = np.float64(0.0)
    for v in range(count):
        total += np.float64(exp((half(x, v) - highest) * inverse))
    target, running = total * min(share, BELOW_ONE), np.float64(0.0)
    for v in range(count):
        running += np.float64(exp((half(x, v) - highest) * inverse))
        if running > target:
            return v
    return count - 1


@compiled
def _first_equal(x: Int, count: Int, highest: Real) -> Int:
    for v in range(count):
        if half(x, v) == highest:
            return v
    return 0


@compiled
def _draw(block: Int, row: Int, sums: Int) -> None:
    """One row: its token, and the log-prob of that."""
    count, greedy = word(block, VOCABULARY), double(word(block, INVERSES), row) == 0.0
    x = word(block, LOGITS) + 2 * row * count
    inverse = ONE if greedy else np.float32(double(word(block, INVERSES), row))
    highest, total = _highest(x, count), np.float64(0.0)
    for first in range(0, count, PART):
        part = np.float64(_weights(x + 2 * first, min(PART, count - first), highest, inverse))
        put_double(sums, first // PART, part)
        total += part
    token = 0
    if greedy:
        token = _first_equal(x, count, highest)
    else:
        target, first = total * double(word(block, NUMBERS), row), 0
        while first + PART < count and double(sums, first // PART) <= target:
            target -= double(sums, first // PART)
            first += PART
        share = target / double(sums, first // PART)
        token = first + _first_over(x + 2 * first, min(PART, count - first), highest, inverse, share)
    put_word(word(block, TOKENS), row, token)
    put_double(word(block, LOGPS), row, np.float64((half(x, token) - highest) * inverse) - np.log(total))


@entry
def drawn(block: Int) -> None:
    """A token of each row of bfloat16 logits [N, V] and its log-prob under softmax(logits * inverse temperature); inverse 0
    stands for the likeliest token at temperature 1. NUMBERS: [N] in [0, 1), where each row's distribution is cut.
    """
    rows, sums = word(block, D_ROWS), word(block, SUMS)
    sums += 8 * taken(block + 8 * WORKERS) * word(block, SUMS_SIZE)
    row = taken(block + 8 * NEXT)
    while row < rows:
        _draw(block, row, sums)
        row = taken(block + 8 * NEXT)
