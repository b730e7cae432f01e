"""Random streams that never collide: a stream is SHA-256(seed, purpose, indices), never `seed + i`."""

from __future__ import annotations

import hashlib
import random


def seed_of(seed: int, purpose: str, *indices: int | str) -> int:
    """A 63-bit seed for one purpose. Different (seed, purpose, indices) give unrelated streams."""
    key = "\x1f".join([str(seed), purpose, *(f"{type(i).__name__}:{i}" for i in indices)])
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") >> 1


def stream(seed: int, purpose: str, *indices: int | str) -> random.Random:
    """A standard-library generator for one purpose."""
    return random.Random(seed_of(seed, purpose, *indices))


def rank(seed: int, purpose: str, row_id: str) -> float:
    """A number in [0, 1) for a row: sorting or cutting by it is stable when other rows come or go."""
    return seed_of(seed, purpose, row_id) / 2**63
