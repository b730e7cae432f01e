"""Runs compiled loops on torch's own threads.

A second pool of threads beside torch's would fight for the same cores: a thread that leaves a parallel region spins for
a while before it sleeps. So the loops are started through the OpenMP library that torch itself is linked to.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

# The first words of every region's block: the next task to take, threads that came, how many tasks there are.
NEXT, WORKERS, TASKS = range(3)
FREE = 3

Start = Callable[[int, int, int, int], Any]


@cache
def starter() -> Start | None:
    """`GOMP_parallel(function, data, threads, flags)` of the OpenMP library that torch uses; None if it has none."""
    for name in ("libtorch_cpu.so", "libtorch_cpu.dylib"):
        path = Path(torch.__file__).parent / "lib" / name
        if not path.is_file():
            continue
        # The dynamic linker looks the name up in the library and in what the library was linked to.
        start = getattr(ctypes.CDLL(str(path)), "GOMP_parallel", None)
        if start is not None:
            start.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
            start.restype = None
            return start  # type: ignore[no-any-return]
    return None


class Region:
    """One compiled loop and the block of 64-bit numbers that it reads: addresses, sizes, settings."""

    def __init__(self, address: int, words: int) -> None:
        """address: of a function (int64 block) that takes tasks until none is left. words: how many the block has."""
        start = starter()
        if start is None:
            raise RuntimeError("torch was built without OpenMP")
        self._start, self._address = start, address
        self._block = np.zeros(words, dtype=np.int64)
        self._reals = self._block.view(np.float64)
        self._where = self._block.ctypes.data

    def real(self, place: int, value: float) -> None:
        """Put a float64 into the block."""
        self._reals[place] = value

    def fill(self, place: int, *numbers: int) -> None:
        """Put whole numbers into the block, from a place on."""
        self._block[place : place + len(numbers)] = numbers

    def __call__(self, tasks: int, *numbers: int) -> None:
        """Run all tasks with these numbers from `FREE` on, by as many threads as torch uses."""
        self._block[: FREE + len(numbers)] = (0, 0, tasks, *numbers)
        self._start(self._address, self._where, min(tasks, torch.get_num_threads()), 0)
