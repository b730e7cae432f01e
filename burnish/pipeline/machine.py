"""Where and how fast: the facts of a machine. They may change a result by rounding only, and never its identity."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from burnish.core.cores import cores
from burnish.errors import RecipeError, nearest


@dataclass(frozen=True, slots=True)
class Machine:
    """Where a recipe runs.

    compute:            the type of matrix products; weights, optimizer state and losses stay float32.
    micro_tokens:       tokens per forward pass of the learner; only speed and memory depend on it.
    engine:             "torch"; "vllm" (a process in an environment of its own: `make vllm-env`); "hf", the slow oracle.
    slots:              sequences decoded at once by the engine.
    vllm_python:        the Python that has vLLM; "" looks for .venv-vllm and then for vLLM beside Burnish.
    checkpoint_every_s: seconds between checkpoints inside training; 0 checkpoints after every step.
    """

    name: str = "laptop"
    device: Literal["cpu", "cuda"] = "cpu"
    threads: int = 1
    processes: int = 1
    compute: Literal["bf16", "fp32"] = "fp32"
    micro_tokens: int = 4096
    engine: Literal["torch", "hf", "vllm"] = "torch"
    slots: int = 64
    vllm_python: str = ""
    checkpoint_every_s: float = 120.0

    def environment(self) -> dict[str, str]:
        """The environment variables a stage's own process starts with; the user's shell never has to set them.

        Thread pools are sized before any library starts one. A thread at a barrier spins for some microseconds before
        it sleeps: with no spinning, SFT ran a quarter slower on an idle machine; with 5,000 turns or more, a third
        slower beside one busy process (LOG.md, "Threads that spin"). Freed tensors of up to 32 MiB stay in the process
        (glibc's highest mmap threshold), because handing their pages back and faulting them in again costs more
        than the arithmetic on them. String hashing is fixed, so the order of a set of strings is too.
        """
        return {
            "OMP_NUM_THREADS": str(self.threads),
            "MKL_NUM_THREADS": str(self.threads),
            "OPENBLAS_NUM_THREADS": str(self.threads),
            "GOMP_SPINCOUNT": "1000",
            "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
            "MALLOC_TRIM_THRESHOLD_": str(512 << 20),
            "TOKENIZERS_PARALLELISM": "false",
            "PYTHONHASHSEED": "0",
        }

    def prepare(self) -> None:
        """Set torch's threads and determinism in this process, if it has torch loaded; may be called again."""
        torch = sys.modules.get("torch")
        if torch is None:
            return

        torch.set_num_threads(self.threads)
        if self.device == "cpu":
            # What use_deterministic_algorithms(True, warn_only=True) sets, without importing the compiler: 1 to 2 s a process.
            torch.set_deterministic_debug_mode("warn")
            torch.utils.deterministic.fill_uninitialized_memory = False


def laptop() -> Machine:
    """This computer's CPU: every core the process may use, and bf16 where the CPU multiplies it natively."""
    flags = _cpu_flags()
    bf16 = bool(flags & {"avx512_bf16", "amx_bf16", "bf16"})
    return Machine(
        threads=cores(),
        compute="bf16" if bf16 else "fp32",
    )


def exact() -> Machine:
    """One thread, float32: the machine on which equal seeds give equal bits everywhere."""
    return Machine(name="exact")


def one_gpu() -> Machine:
    """One CUDA device in bf16."""
    return Machine(
        name="one_gpu",
        device="cuda",
        threads=cores(),
        compute="bf16",
        micro_tokens=32768,
        slots=256,
    )


MACHINES = {"laptop": laptop, "exact": exact, "one_gpu": one_gpu}


def machine(name: str) -> Machine:
    """The machine of that name. Raises RecipeError with the nearest known name."""
    if name not in MACHINES:
        raise RecipeError(f"--machine {name}: no such machine. {nearest(name, MACHINES)}")
    return MACHINES[name]()


def _cpu_flags() -> set[str]:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return set()
    lines = (line.partition(":")[2] for line in text.splitlines() if line.startswith(("flags", "Features")))
    return set(next(lines, "").split())
