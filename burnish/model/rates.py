"""How fast this machine multiplies matrices and how fast it trained, measured here and kept with the date in `rates.json`.

Rates belong to a processor, a number of threads, a type of matrix products and a version of torch; each has its own entry.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import platform
import re
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from burnish.core.files import read_json, write_json
from burnish.errors import DataError, Error
from burnish.pipeline.machine import Machine

FILE = "rates.json"
_SECONDS = 0.4  # of measuring, at most about that
# Published dense bf16 rates, FLOP/s, of the makers' data sheets; the first name found in the device's decides.
PUBLISHED = {
    "H200": 989e12, "H100 PCIe": 756e12, "H100 NVL": 835e12, "H100": 989e12, "B200": 2250e12, "A100": 312e12,
    "L40S": 362e12, "A10": 125e12, "L4": 121e12, "4090": 165e12, "3090": 71e12,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class MatrixRate:
    """flops: the best of several products, FLOP/s. measured: the day, UTC. published: the device's bf16 rate, 0 if unknown."""

    flops: float
    measured: str
    published: float = 0.0


@dataclass(frozen=True, slots=True)
class TrainedRate:
    """What a training run reached: FLOP/s of a process in forward and backward passes, seconds of one update, when, over how many steps."""

    flops: float
    update_s: float
    measured: str
    steps: int


def matrix_rate(cache: Path, machine: Machine) -> MatrixRate:
    """The machine's rate of matrix products in `machine.compute`: the highest of those in `cache` and of one taken now (about half
    a second, once a process), because other work on the machine only ever makes it lower.
    """
    kept = kept_matrix_rate(cache, machine)
    found = _products(key(machine), machine.device, machine.compute)
    if kept is not None and kept.flops >= found.flops:
        return kept
    _keep(cache, "matrix", key(machine), asdict(found))
    return found


def kept_matrix_rate(cache: Path, machine: Machine) -> MatrixRate | None:
    """The rate in `cache`, or None."""
    entry = _entries(cache, "matrix").get(key(machine))
    return MatrixRate(**entry) if entry else None


def kept_trained_rate(cache: Path, machine: Machine, what: str) -> TrainedRate | None:
    """What training reached on this machine before, or None. what: the kind of training and the model's shape."""
    entry = _entries(cache, "trained").get(f"{key(machine)} · {what}")
    return TrainedRate(**entry) if entry else None


def keep_trained_rate(cache: Path, machine: Machine, what: str, rate: TrainedRate) -> None:
    """Keep what a run reached in place of what the one before did; runs of a few steps leave no rate."""
    _keep(cache, "trained", f"{key(machine)} · {what}", asdict(rate))


def today() -> str:
    """The day, UTC."""
    return datetime.now(UTC).strftime("%Y-%m-%d")


def key(machine: Machine) -> str:
    """What a rate belongs to, in words."""
    where = _gpu() if machine.device == "cuda" else f"{_cpu()} · {machine.threads} threads"
    return f"{where} · {machine.compute} · torch {importlib.metadata.version('torch')}"


@functools.cache
def _products(where: str, device: str, compute: str) -> MatrixRate:
    """The best of several products of a training step's size; one measurement a process is enough."""
    import torch

    dtype = torch.bfloat16 if compute == "bf16" else torch.float32
    size = 1024 if device == "cpu" else 8192
    x, weight = (torch.ones(shape, dtype=dtype, device=device) for shape in ((2 * size, size), (2 * size, size)))
    out = torch.empty(2 * size, 2 * size, dtype=dtype, device=device)

    def once() -> float:
        began = time.perf_counter()
        with torch.no_grad():
            torch.mm(x, weight.T, out=out)
        if device != "cpu":
            torch.cuda.synchronize()
        return time.perf_counter() - began

    once()  # the first one starts threads and compiles kernels
    best, ends = once(), time.perf_counter() + _SECONDS
    while time.perf_counter() < ends:
        best = min(best, once())
    published = next((rate for name, rate in PUBLISHED.items() if name in where), 0.0) if compute == "bf16" else 0.0
    return MatrixRate(8.0 * size**3 / best, today(), published)


def _entries(cache: Path, kind: str) -> dict[str, Any]:
    # A cache: what cannot be read is measured again.
    with contextlib.suppress(DataError, OSError, AttributeError):
        return dict(read_json(cache / FILE).get(kind, {}))
    return {}


def _keep(cache: Path, kind: str, name: str, entry: dict[str, Any]) -> None:
    everything = {part: _entries(cache, part) for part in ("matrix", "trained")}
    everything[kind][name] = entry
    # A cache on a full or read-only disk is no reason to stop a run.
    with contextlib.suppress(Error, OSError):
        write_json(cache / FILE, everything)


def _cpu() -> str:
    with contextlib.suppress(OSError):
        found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        if found:
            return found[1].strip()
    return platform.processor() or platform.machine()


def _gpu() -> str:
    for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        with contextlib.suppress(OSError):
            found = re.search(r"^Model:\s*(.+)$", path.read_text(), re.MULTILINE)
            if found:
                return found[1].strip()
    return "GPU"
