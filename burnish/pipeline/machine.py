"""Where and how fast: the facts of a machine. They may change a result by rounding only, and never its identity."""

from __future__ import annotations

import ast
import importlib.util
import os
import shutil
import sys
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_type_hints

from burnish.core.cores import cores
from burnish.errors import RecipeError, nearest

if TYPE_CHECKING:
    from burnish.pipeline.place import EnginePlace

Chosen = TypeVar("Chosen", bound=Any)

# cuBLAS sums in one order only with workspaces of a fixed size.
_FIXED_WORKSPACES = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}


@dataclass(frozen=True, slots=True)
class Machine:
    """Where a recipe runs.

    processes:          processes a node in which one training stage runs, a CUDA device each; they share `threads`.
    nodes:              computers that run the same command over one folder of runs (docs/howto/multi-gpu.md).
    sharding:           what each process holds of a model in training: "replicated" (all of it), "full" (its part of every
                        weight), "hybrid" (a node's processes share one replica).
    context:            neighbouring processes that compute one micro-batch together, each a share of its tokens: long rows take
                        less memory of each (docs/howto/multi-gpu.md).
    tensor:             neighbouring processes that hold one model together, each a part of every layer's matrices.
    compute:            the type of matrix products; weights, optimizer state and losses stay float32.
    micro_tokens:       tokens per forward pass of the learner; only speed and memory depend on it.
    engine:             "torch"; "vllm" (a process in an environment of its own: `make vllm-env`); "hf", the slow oracle.
    engine_place:       where the engine runs: "inside" the learner's process, or elsewhere, so that it generates while the
                        learner trains: "process", "process(engines=2, threads=1)", "ray(engines=4)" (burnish.pipeline.place).
    slots:              sequences decoded at once by the engine.
    checkpoint_every_s: seconds between checkpoints inside training; 0 checkpoints after every step.
    recompute:          what the learner computes again in the backward pass instead of keeping it: the "attention" of each
                        layer, whole "layers", or nothing. The same numbers for less memory.
    offload:            what waits in the CPU's memory: "activations" (the inputs of layers; with recompute "layers"), the
                        state of the "optimizer" between steps, "both" or nothing. The same numbers, slower.
    attention:          packed attention on CUDA. "auto": "flash" where FlashAttention is installed, else torch's "varlen"
                        (both bf16 only), else "sdpa"; "flex" is torch's flex attention.
    kernels:            "compiled": each decoder layer by torch.compile where the learner runs transformers' layers, as on CUDA;
                        "liger": norms and feed-forward blocks by Liger's kernels (CUDA, its own extra); "torch": as they are.
    deterministic:      on CUDA, equal seeds give equal bits, some kernels being slower; a CPU always does.
    """

    name: str = "laptop"
    device: Literal["cpu", "cuda"] = "cpu"
    threads: int = 1
    processes: int = 1
    nodes: int = 1
    sharding: Literal["replicated", "full", "hybrid"] = "replicated"
    context: int = 1
    tensor: int = 1
    compute: Literal["bf16", "fp32"] = "fp32"
    micro_tokens: int = 4096
    engine: Literal["torch", "hf", "vllm"] = "torch"
    engine_place: str = "inside"
    slots: int = 64
    checkpoint_every_s: float = 120.0
    recompute: Literal["none", "attention", "layers"] = "none"
    offload: Literal["none", "activations", "optimizer", "both"] = "none"
    attention: Literal["auto", "sdpa", "varlen", "flex", "flash"] = "auto"
    kernels: Literal["torch", "compiled", "liger"] = "torch"
    deterministic: bool = False

    def __post_init__(self) -> None:
        """Raise RecipeError for settings that exclude each other."""
        if self.processes < 1 or self.nodes < 1:
            raise RecipeError(f"Machine(processes={self.processes}, nodes={self.nodes}): give whole numbers from 1 up.")
        self._check_teams()
        if self.sharding == "hybrid" and self.nodes == 1:
            raise RecipeError(
                "Machine(sharding='hybrid', nodes=1): one node has nothing to replicate over.\n  Set sharding='full'."
            )
        if self.offload in ("activations", "both") and self.recompute != "layers":
            raise RecipeError(
                f"Machine(offload={self.offload!r}, recompute={self.recompute!r}): only the inputs of layers are worth moving.\n"
                "  Set recompute='layers', which keeps nothing else between forward and backward pass."
            )
        if self.offload in ("optimizer", "both") and self.sharding != "replicated":
            raise RecipeError(
                f"Machine(offload={self.offload!r}, sharding={self.sharding!r}): each process holds only its part of the "
                "optimizer's state, and that part cannot be moved.\n  Set offload='none' or 'activations', or sharding='replicated'."
            )
        self.place.check(self)
        if self.attention in ("varlen", "flash") and (self.device == "cpu" or self.compute != "bf16"):
            raise RecipeError(
                f"Machine(attention={self.attention!r}, device={self.device!r}, compute={self.compute!r}): its kernels are for "
                "bf16 on CUDA.\n  Set attention='auto', which takes what the device and the type have."
            )
        if self.attention == "flex" and self.device == "cpu":
            raise RecipeError(
                "Machine(attention='flex', device='cpu'): torch's flex attention has no backward pass on a CPU.\n"
                "  Set attention='auto'."
            )
        if self.kernels == "liger" and self.device == "cpu":
            raise RecipeError(
                "Machine(kernels='liger', device='cpu'): Liger's kernels are for CUDA.\n  Set kernels='torch' or 'compiled'."
            )

    def _check_teams(self) -> None:
        """Raise RecipeError for processes that cannot form teams, and for what teams cannot do."""
        told = f"Machine(processes={self.processes}, context={self.context}, tensor={self.tensor})"
        if self.context < 1 or self.tensor < 1 or self.processes % self.team:
            raise RecipeError(
                f"{told}: each micro-batch is computed by context × tensor = {self.team} neighbouring processes of a node, and "
                f"{self.processes} are no multiple of that.\n  Set processes to a multiple, or context and tensor to less, from 1 up."
            )
        if self.context > 1 and self.attention == "flex":
            raise RecipeError(
                f"Machine(attention='flex', context={self.context}): flex attention knows no keys of other processes.\n"
                "  Set attention='auto', or context=1."
            )
        exclude = [
            ("sharding", self.sharding, "replicated"), ("kernels", self.kernels, "torch"),
            ("offload", self.offload, "activations" if self.offload == "activations" else "none"),
        ]  # fmt: skip
        for name, value, usual in exclude if self.tensor > 1 else ():
            if value != usual:
                raise RecipeError(
                    f"Machine(tensor={self.tensor}, {name}={value!r}): a model whose matrices are divided among processes cannot "
                    f"have that too.\n  Set {name}={usual!r}, or tensor=1."
                )

    @property
    def team(self) -> int:
        """How many neighbouring processes compute a micro-batch together."""
        return self.context * self.tensor

    @property
    def compile(self) -> bool:
        """Whether decoder layers are compiled."""
        return self.kernels == "compiled"

    @property
    def place(self) -> EnginePlace:
        """What `engine_place` says."""
        from burnish.pipeline.place import EnginePlace

        return EnginePlace.of(self.engine_place)

    @property
    def elsewhere(self) -> bool:
        """Whether engines run outside the learner's process, and can generate while it trains."""
        return self.engine == "vllm" or self.place.name != "inside"

    @property
    def packed_attention(self) -> Literal["sdpa", "varlen", "flex", "flash"]:
        """What `attention` stands for: for "auto", what the device, the type and the installed packages allow."""
        if self.attention != "auto":
            return self.attention
        if self.device == "cpu" or self.compute != "bf16":
            return "sdpa"
        installed = any(importlib.util.find_spec(name) for name in ("flash_attn_interface", "flash_attn"))
        return "flash" if installed else "varlen"

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
            # Segments that grow leave no holes between packed batches of many lengths.
            "PYTORCH_ALLOC_CONF": "expandable_segments:True",
            "TOKENIZERS_PARALLELISM": "false",
            "PYTHONHASHSEED": "0",
            **(_FIXED_WORKSPACES if self.deterministic else {}),
        }

    def prepare(self) -> None:
        """Set torch's threads and determinism in this process, if it has torch loaded; may be called again."""
        torch = sys.modules.get("torch")
        if torch is None:
            return

        torch.set_num_threads(self.threads)
        # What use_deterministic_algorithms sets, without importing the compiler: 1 to 2 s a process. Attention on CUDA sums
        # in one order only where errors are asked for.
        strict = "error" if self.deterministic else "default"
        torch.set_deterministic_debug_mode(strict if self.device == "cuda" else "warn")
        torch.utils.deterministic.fill_uninitialized_memory = False
        if self.device == "cuda" and self.deterministic:
            os.environ.update(_FIXED_WORKSPACES)


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
    """One CUDA device in bf16, its layers compiled where there is a C compiler.

    Nothing is computed again, which is fastest; where memory is short, "one_gpu(recompute=layers)" keeps of each layer only
    its input, for a third more arithmetic.
    """
    return Machine(
        name="one_gpu",
        device="cuda",
        threads=cores(),
        compute="bf16",
        micro_tokens=16384,
        slots=256,
        kernels="compiled" if shutil.which("cc") else "torch",
    )


MACHINES = {"laptop": laptop, "exact": exact, "one_gpu": one_gpu}


def machine(text: str) -> Machine:
    """The machine that a text means: a name, "laptop", or a name with other settings, "laptop(micro_tokens=2048)".

    "cluster(nodes=4, gpus=8)" is a node of that cluster (burnish.pipeline.cluster). Raises RecipeError, with the nearest known
    name, for names and settings that are not known, and for anything that is not a plain value.
    """
    from burnish.pipeline.cluster import cluster

    if computers := cluster(text):
        return computers.machine
    name, settings = spelled(text)
    if name not in MACHINES:
        raise RecipeError(f"--machine {text}: no such machine. {nearest(name, {*MACHINES, 'cluster'})}")
    return chosen(MACHINES[name](), settings, text)


def spelled(text: str) -> tuple[str, dict[str, Any]]:
    """A --machine text as its name and settings. Nothing is evaluated: settings are plain numbers, words and True or False."""
    try:
        found = ast.parse(text.strip(), mode="eval").body
        if isinstance(found, ast.Name):
            return found.id, {}
        if isinstance(found, ast.Call) and isinstance(found.func, ast.Name) and not found.args:
            settings = {part.arg: ast.literal_eval(part.value) for part in found.keywords if part.arg}
            if len(settings) == len(found.keywords):
                return found.func.id, settings
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        pass
    raise RecipeError(
        f"--machine {text}: this is neither a name nor a name with settings.\n"
        f"  Write a name ({', '.join([*MACHINES, 'cluster'])}), or one with settings in quotes: "
        '--machine "laptop(micro_tokens=2048)".'
    )


def chosen(value: Chosen, settings: dict[str, Any], text: str) -> Chosen:
    """The value with these fields in place of its own. Raises RecipeError for a field it lacks, or one of another type."""
    for name, setting in settings.items():
        if name not in {field.name for field in fields(value)}:
            raise RecipeError(
                f"--machine {text}: it has no setting {name!r}. {nearest(name, (field.name for field in fields(value)))}"
            )
        usual, words = getattr(value, name), get_args(get_type_hints(type(value))[name])
        if words and setting not in words:
            raise RecipeError(f"--machine {text}: {name}={setting!r} is not known. {nearest(str(setting), words)}")
        fits = type(setting) is type(usual) or (isinstance(usual, float) and type(setting) is int)
        if not fits:
            raise RecipeError(
                f"--machine {text}: {name}={setting!r} is a {type(setting).__name__}; {name} is a {type(usual).__name__}, e.g. {name}={usual!r}."
            )
    return replace(value, **settings)


def _cpu_flags() -> set[str]:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return set()
    lines = (line.partition(":")[2] for line in text.splitlines() if line.startswith(("flags", "Features")))
    return set(next(lines, "").split())
