"""Training speed on one CUDA device: tokens/s, MFU and peak memory of the learner, by model shape and Machine settings.

    python benchmarks/gpu.py [--quick] [--minutes 8] [--models 135m 0.6b 8b-slice] [--tokens 16384 32768]
    python benchmarks/gpu.py --device cpu --tiny        # the same code on a toy, to see that it runs

Needs no network and no files: weights and rows come from a seed. A step is forward and backward passes of micro-batches of
whole rows (lengths log-normal, median 400, at most 2048 tokens; the second half of each row is trained), then clipping and
AdamW. MFU is model FLOPs (burnish/model/flops.py: recomputation is not work) over the device's published dense rate, or over
the measured rate of matrix products where none is published.
"""

from __future__ import annotations

import argparse
import gc
import math
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from burnish.pipeline.machine import Machine, one_gpu

# Published shapes: HuggingFaceTB/SmolLM2-135M, Qwen/Qwen3-0.6B, and 4 of the 32 layers of meta-llama/Llama-3.1-8B.
MODELS: dict[str, dict[str, Any]] = {
    "toy": {
        "model_type": "llama", "hidden_size": 64, "intermediate_size": 192, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "vocab_size": 512, "tie_word_embeddings": True, "max_position_embeddings": 2048,
    },
    "135m": {
        "model_type": "llama", "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
        "num_attention_heads": 9, "num_key_value_heads": 3, "vocab_size": 49152, "tie_word_embeddings": True,
        "max_position_embeddings": 8192,
    },
    "0.6b": {
        "model_type": "qwen3", "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28,
        "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936,
        "tie_word_embeddings": True, "max_position_embeddings": 40960,
    },
    "8b-slice": {
        "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 4,
        "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256, "tie_word_embeddings": False,
        "max_position_embeddings": 131072,
    },
}  # fmt: skip
STEPS, MICRO_BATCHES, LONGEST, MEDIAN = 5, 2, 2048, 400


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    model: str
    label: str
    machine: Machine

    @property
    def name(self) -> str:
        return f"{self.model}, {self.label}, {self.machine.micro_tokens} tokens"


@dataclass
class Found:
    """What a case reached: tokens/s of each step, model FLOP/s over all of them, bytes at the peak."""

    rates: list[float]
    flops: float
    peak_bytes: int
    start_s: float


def variants(device: str, quick: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    """(label, Machine settings), the most telling first."""
    import importlib.util

    if device == "cpu":
        yield "plain", {}
        yield "recompute attention", {"recompute": "attention"}
        yield "recompute layers", {"recompute": "layers"}
        yield "recompute layers, offload both", {"recompute": "layers", "offload": "both"}
        return
    best: dict[str, Any] = {"kernels": "compiled", "attention": "varlen"}
    yield "compiled, varlen", best
    yield "eager, sdpa", {"kernels": "torch", "attention": "sdpa"}
    yield "compiled, varlen, recompute layers", {**best, "recompute": "layers"}
    if quick:
        return
    yield "eager, varlen", {"kernels": "torch", "attention": "varlen"}
    yield "compiled, flex", {"kernels": "compiled", "attention": "flex"}
    yield "compiled, varlen, recompute attention", {**best, "recompute": "attention"}
    yield "compiled, varlen, recompute layers, offload both", {**best, "recompute": "layers", "offload": "both"}
    yield "compiled, varlen, deterministic", {**best, "deterministic": True}
    if any(importlib.util.find_spec(name) for name in ("flash_attn_interface", "flash_attn")):
        yield "compiled, flash", {"kernels": "compiled", "attention": "flash"}
    if importlib.util.find_spec("liger_kernel"):
        yield "liger, varlen", {"kernels": "liger", "attention": "varlen"}


def cases(args: argparse.Namespace) -> list[Case]:
    """Every model at the first number of tokens, then its best settings at the others."""
    base = replace(one_gpu(), kernels="torch") if args.device == "cuda" else Machine(threads=2)
    found = [
        Case(model, label, replace(base, micro_tokens=args.tokens[0], **settings))
        for model in args.models
        for label, settings in variants(args.device, args.quick)
    ]
    label, settings = next(variants(args.device, args.quick))
    for tokens in args.tokens[1:]:
        found += [Case(model, label, replace(base, micro_tokens=tokens, **settings)) for model in args.models]
    return found


def batches(vocabulary: int, tokens: int, longest: int, seed: int) -> list[Any]:
    """A step's micro-batches: whole rows of random tokens, about `tokens` of them each."""
    import torch

    from burnish.losses.batch import Sequences, TokenBatch

    rng, g = random.Random(seed), torch.Generator().manual_seed(seed)
    made = []
    for _ in range(MICRO_BATCHES):
        lengths: list[int] = []
        # The last row takes what is left, so that every micro-batch has as many tokens as it may.
        while tokens - sum(lengths) >= 8:
            drawn = int(rng.lognormvariate(math.log(min(MEDIAN, longest / 4)), 0.8))
            lengths.append(min(max(8, min(longest, drawn)), tokens - sum(lengths)))
        rows = torch.randint(0, vocabulary, (len(lengths), max(lengths)), generator=g)
        column, ends = torch.arange(max(lengths)), torch.tensor(lengths)[:, None]
        mask = (column < ends) & (column >= ends // 2)
        made.append(TokenBatch(Sequences(rows * (column < ends), torch.tensor(lengths), mask)))
    return made


def make_policy(shape: dict[str, Any], machine: Machine, toy: Path) -> Any:
    """A policy of this shape with random weights, made on the device. The tokenizer is the toy's: no text is read."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    from burnish.model.attention import register
    from burnish.model.policy import Policy
    from burnish.text.render import Renderer

    machine.prepare()
    config = AutoConfig.for_model(**shape)
    torch.manual_seed(0)
    with torch.device(machine.device):
        model = AutoModelForCausalLM.from_config(config, attn_implementation=register(), dtype=torch.float32)
    policy = Policy(model, Renderer(AutoTokenizer.from_pretrained(toy)), machine)
    if not policy.packs:
        raise SystemExit(f"{machine} does not keep packed documents apart on this device: run make gpu-check")
    return policy


def measure(case: Case, toy: Path, longest: int, steps: int) -> Found:
    """Train some steps, the first two not timed: they compile and allocate."""
    import torch

    from burnish.losses.sft import SFTLoss
    from burnish.train.learner import Learner

    cuda = case.machine.device == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    began = time.perf_counter()
    shape = MODELS[case.model]
    learner = Learner(make_policy(shape, case.machine, toy), case.machine)
    rates: list[float] = []
    flops = spent = 0.0
    start_s = 0.0
    for step in range(-2, steps):
        parts = batches(shape["vocab_size"], case.machine.micro_tokens, longest, seed=step % 3)
        before, at = learner.flops, time.perf_counter()
        learner.forward_backward(parts, SFTLoss())
        learner.step(1e-6)
        if cuda:
            torch.cuda.synchronize()
        if step < 0:
            start_s = time.perf_counter() - began
            continue
        seconds = time.perf_counter() - at
        rates.append(sum(part.sequences.size for part in parts) / seconds)
        flops, spent = flops + learner.flops - before, spent + seconds
    peak = torch.cuda.max_memory_allocated() if cuda else _peak_rss()
    return Found(rates, flops / spent, peak, start_s)


def _peak_rss() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def free() -> None:
    """Give back what the case before held."""
    import torch

    gc.collect()
    torch.set_deterministic_debug_mode("default")
    if "torch._dynamo" in sys.modules:
        torch._dynamo.reset()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--models", nargs="+", choices=tuple(MODELS), default=["0.6b", "135m", "8b-slice"])
    parser.add_argument("--tokens", nargs="+", type=int, default=[16384, 32768], help="tokens a forward pass")
    parser.add_argument("--quick", action="store_true", help="three settings a model instead of all")
    parser.add_argument("--minutes", type=float, default=8.0, help="start no case after this long")
    parser.add_argument("--tiny", action="store_true", help="a toy model and 256 tokens")
    args = parser.parse_args()
    if args.tiny:
        args.models, args.tokens = ["toy"], [256]
    everything = cases(args)
    # Before torch starts: it reads its allocator's settings once.
    for case in everything:
        os.environ.update(case.machine.environment())
    import torch

    if args.device == "cuda" and not torch.cuda.is_available():
        print("No CUDA device: nothing measured. Run this where one is, or see that it runs: --device cpu --tiny")
        return 1
    results = run(everything, args)
    if results and args.device == "cuda":
        write_result(results, args)
    return 0 if results else 1


def run(everything: list[Case], args: argparse.Namespace) -> dict[str, tuple[Found, float]]:
    """(what was found, its MFU) of every case that ran; prints the table as it grows."""
    import torch

    from burnish.model.rates import matrix_rate
    from burnish.model.toy import make_toy

    print(f"{'':64} {'tokens/s':>10} {'TFLOP/s':>8} {'MFU':>6} {'GiB':>6} {'start s':>8}", flush=True)
    results: dict[str, tuple[Found, float]] = {}
    deadline = time.monotonic() + 60 * args.minutes
    with tempfile.TemporaryDirectory() as folder:
        toy = make_toy(Path(folder) / "toy")
        rate = matrix_rate(Path(folder), everything[0].machine)
        full = rate.published or rate.flops
        for case in everything:
            if time.monotonic() > deadline:
                print(f"{case.name:64} not run: {args.minutes:g} minutes are over")
                continue
            try:
                found = measure(case, toy, 64 if args.tiny else LONGEST, 2 if args.tiny else STEPS)
            except torch.OutOfMemoryError:
                print(f"{case.name:64} out of memory", flush=True)
                continue
            finally:
                free()
            results[case.name] = found, found.flops / full
            middle = sorted(found.rates)[len(found.rates) // 2]
            print(
                f"{case.name:64} {middle:10,.0f} {found.flops / 1e12:8.3g} {found.flops / full:6.1%} "
                f"{found.peak_bytes / 2**30:6.1f} {found.start_s:8.1f}",
                flush=True,
            )
        print(f"MFU over {full / 1e12:.3g} TFLOP/s ({'published' if rate.published else 'measured'}).")
    return results


def write_result(results: dict[str, tuple[Found, float]], args: argparse.Namespace) -> None:
    """One file for this device, with MFU and memory beside the rates."""
    import torch
    from record import write

    path = write(
        "gpu",
        title="Training on one CUDA device: tokens/s of real tokens",
        settings={
            "micro_batches": MICRO_BATCHES, "longest": LONGEST, "median": MEDIAN, "steps": STEPS,
            "compute": "bf16, fp32 masters", "optimizer": "AdamW", "peak": "published dense bf16 rate",
        },
        rates={name: found.rates for name, (found, _) in results.items()},
        unit="tokens/s",
        baseline=next(iter(results)),
        packages=("torch", "transformers", "triton", "flash-attn", "liger-kernel"),
        command="python benchmarks/gpu.py" + (" --quick" if args.quick else ""),
        device=torch.cuda.get_device_name(),
        details={
            name: {"mfu": round(mfu, 4), "tflops": round(found.flops / 1e12, 2),
                   "peak_gib": round(found.peak_bytes / 2**30, 2), "start_s": round(found.start_s, 1)}
            for name, (found, mfu) in results.items()
        },
    )  # fmt: skip
    print(f"Written to {path}; `make benchmarks` puts it into RESULTS.md.")


if __name__ == "__main__":
    sys.exit(main())
