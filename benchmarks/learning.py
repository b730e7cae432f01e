"""What sft.py, dpo.py and reward.py share: sides in processes of their own, interleaved rounds, MFU and a profile.

Every side trains the same rows from the same start with the same number of rows an optimizer step, first a little to warm
up, then one epoch that is timed. Tokens are the real tokens of the rows: padding is not counted, and a prompt that two replies
share counts twice, however often a side computes it. MFU is model FLOPs (burnish/model/flops.py) over the rate of matrix
products that the same process measures before and after.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from record import write

from burnish.core.types import Demo, Pair
from burnish.pipeline.machine import laptop

Kind = TypeVar("Kind", Demo, Pair)
PACKAGES = ("torch", "transformers", "trl")
# Which part of a step an operation belongs to, by the nearest of these names above it.
PARTS = {
    "_Pad": "attention", "_Unpad": "attention", "_Causal": "attention", "_TokenLogprobs": "head", "_Linear": "matrix products",
    "Optimizer.step": "optimizer",
}  # fmt: skip


@dataclass(frozen=True)
class Theme:
    """A benchmark. unit: what a rate counts (rows of what kind). sides: ours first. baseline: the side that ratios are of."""

    name: str
    title: str
    unit: str
    sides: tuple[str, ...]
    baseline: str
    settings: dict[str, Any]


def parser(text: str | None, theme: Theme, rows: int) -> argparse.ArgumentParser:
    """The options that all three have."""
    made = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--model", required=True, help="folder of a Hugging Face causal LM")
    made.add_argument("--data", type=Path, help="folder of a Burnish dataset; default: rows generated here")
    made.add_argument("--rows", type=int, default=rows, help=f"{theme.unit}s an epoch")
    made.add_argument("--global-batch", type=int, default=16, help=f"{theme.unit}s an optimizer step")
    made.add_argument("--trl-batch", type=int, default=4, help=f"{theme.unit}s of one forward pass of TRL")
    made.add_argument("--rounds", type=int, default=3)
    made.add_argument("--sides", nargs="+", choices=theme.sides, default=list(theme.sides))
    made.add_argument("--side", choices=theme.sides, help="measure one side in this process")
    made.add_argument("--no-write", action="store_true", help="print only")
    return made


def main(
    script: str, theme: Theme, args: argparse.Namespace, run: Callable[[argparse.Namespace], dict[str, Any]]
) -> None:
    """One side in this process, or all of them in turn, round after round, each in its own."""
    if args.side:
        import torch

        torch.set_num_threads(laptop().threads)
        print("RESULT " + json.dumps(run(args)))
        return
    found: dict[str, list[dict[str, Any]]] = {side: [] for side in args.sides}
    for number in range(args.rounds):
        for side in args.sides:
            result = _child([sys.executable, script, *sys.argv[1:], "--side", side])
            found[side].append(result)
            rate, tokens = (result[name] / result["seconds"] for name in ("rows", "tokens"))
            line = f"round {number + 1}: {side:12} {rate:7.2f} {theme.unit}s/s {tokens:7.1f} tokens/s {result['mfu']:6.1%} MFU"
            print(line, flush=True)
    _report(theme, args, found)


def _child(command: Sequence[str]) -> dict[str, Any]:
    environment = {**os.environ, **laptop().environment()}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if not lines:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    result: dict[str, Any] = json.loads(lines[0][7:])
    return result


def _report(theme: Theme, args: argparse.Namespace, found: dict[str, list[dict[str, Any]]]) -> None:
    """Print the profile and write the result file."""
    details: dict[str, dict[str, Any]] = {}
    for side, results in found.items():
        details[side] = {
            "tokens_per_s": statistics.median(r["tokens"] / r["seconds"] for r in results),
            "mfu": statistics.median(r["mfu"] for r in results),
            "matrix_gflops": statistics.median(r["matrix_gflops"] for r in results),
            "computed_tokens": results[0]["computed_tokens"],
            "tokens": results[0]["tokens"],
        }
        if "profile" in results[0]:
            names = results[0]["profile"]
            details[side]["profile"] = {n: statistics.median(r["profile"][n] for r in results) for n in names}
            shares = " · ".join(f"{name} {share:.1%}" for name, share in details[side]["profile"].items())
            print(f"{side}: {shares}")
        print(f"{side}: MFU {details[side]['mfu']:.1%} of {details[side]['matrix_gflops']:.0f} GFLOP/s")
    if args.no_write or theme.baseline not in found:
        return
    options = [f"--rows {args.rows}", f"--global-batch {args.global_batch}", f"--trl-batch {args.trl_batch}"]
    write(
        theme.name,
        title=theme.title,
        settings={
            **theme.settings, "rows": args.rows, "global_batch": args.global_batch, "trl_batch": args.trl_batch,
            "data": args.data.name if args.data else "generated",
        },
        rates={side: [r["rows"] / r["seconds"] for r in results] for side, results in found.items()},
        unit=f"{theme.unit}s/s",
        baseline=theme.baseline,
        packages=PACKAGES,
        command=f"python benchmarks/{theme.name}.py --model FOLDER {' '.join(options)} --rounds {args.rounds}",
        details=details,
    )  # fmt: skip


def worked_rows(count: int) -> list[Demo]:
    """Word problems and instruction prompts with worked replies, half of each; the same rows every time."""
    from burnish.data.sources.arithmetic import Arithmetic
    from burnish.data.sources.instructions import Instructions
    from burnish.data.sources.worked import Worked

    sources = (Worked(Arithmetic("train", n=count // 2)), Worked(Instructions("train", n=count - count // 2)))
    return [row for source in sources for row in source.rows(None) if isinstance(row, Demo)]


def rows_of(folder: Path, kind: type[Kind], count: int) -> list[Kind]:
    """The first rows of that kind in a dataset."""
    from burnish.data.dataset import Dataset

    return list(islice((row for row in Dataset.open(folder).rows() if isinstance(row, kind)), count))


def matrix_flops() -> float:
    """FLOP/s of matrix products in bf16 on all threads, measured now."""
    from burnish.model.rates import matrix_rate

    with tempfile.TemporaryDirectory() as folder:
        return matrix_rate(Path(folder), laptop()).flops


def measured(epoch: Callable[[], float], rows: int, tokens: int, flops: Callable[[], float]) -> dict[str, Any]:
    """The epoch's seconds with what they are made of. flops: model FLOPs of the epoch, asked for when it is over."""
    before = matrix_flops()
    seconds = epoch()
    rate = statistics.mean([before, matrix_flops()])
    return {
        "seconds": seconds, "rows": rows, "tokens": tokens, "computed_tokens": tokens, "mfu": flops() / seconds / rate,
        "matrix_gflops": rate / 1e9,
    }  # fmt: skip


def ours(learner: Any, loss: Any, steps: Sequence[Sequence[Any]], rows: int) -> dict[str, Any]:
    """Our side: one epoch timed, warmed by its first micro-batch, then one step profiled."""
    from burnish.model.sharing import computed_tokens

    counted = [0.0, 0.0]

    def epoch() -> float:
        take(learner, loss, steps[0][:1])
        counted[0], began = learner.flops, time.perf_counter()
        for batches in steps:
            take(learner, loss, batches)
        counted[1] = learner.flops
        return time.perf_counter() - began

    sequences = [batch.sequences for batches in steps for batch in batches]
    tokens = [
        [row[:n] for row, n in zip(s.tokens_BT.tolist(), s.lengths_B.tolist(), strict=True)] for s in sequences
    ]  # fmt: skip
    real = sum(len(row) for batch in tokens for row in batch)
    result = measured(epoch, rows, real, lambda: counted[1] - counted[0])
    result["computed_tokens"] = sum(map(computed_tokens, tokens))
    return result | {"profile": profile_of(lambda: take(learner, loss, steps[0]))}


def theirs(
    make: Callable[[dict[str, Any], list[Any]], Any], args: argparse.Namespace, rows: Sequence[Sequence[int]], labels: int,
    units: int,
) -> dict[str, Any]:  # fmt: skip
    """TRL's side. make: a trainer from settings that its configuration takes and callbacks. rows: all rows of tokens.

    labels: the positions whose log-probs the loss needs. units: rows or pairs.
    """
    from transformers import AutoConfig

    from burnish.model.flops import Shape, Work

    shape = Shape.of(AutoConfig.from_pretrained(args.model).to_dict())
    work = Work.of_shape(shape) if shape else None
    lengths = [len(row) for row in rows]
    flops = work.training(lengths, labels) if work else 0.0
    return measured(trl_epoch(make, args), units, sum(lengths), lambda: flops)


def take(learner: Any, loss: Any, batches: Sequence[Any]) -> None:
    """One optimizer step."""
    learner.forward_backward(batches, loss)
    learner.step(1e-6)


def profile_of(step: Callable[[], object]) -> dict[str, float]:
    """The share of one step's time in each of its parts."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as found:
        step()
    times: dict[str, float] = dict.fromkeys(("matrix products", "attention", "head", "optimizer", "rest"), 0.0)
    for event in found.events() or ():
        times[_part(event)] += event.self_cpu_time_total
    total = sum(times.values())
    return {name: round(time / total, 4) for name, time in times.items()}


def _part(event: Any) -> str:
    products = event.name in ("aten::mm", "aten::addmm")
    while event is not None:
        for name, part in PARTS.items():
            if event.name.startswith(name):
                return "rest" if part == "matrix products" and not products else part
        event = event.cpu_parent
    return "rest"


def trl_epoch(make: Callable[[dict[str, Any], list[Any]], Any], args: argparse.Namespace) -> Callable[[], float]:
    """Seconds of one epoch of a TRL trainer, warmed by one forward and backward pass and step.

    make: a trainer from settings that its configuration takes and callbacks.
    """
    from transformers import TrainerCallback

    clock: list[float] = []

    class Clock(TrainerCallback):
        def on_epoch_begin(self, *args: Any, **kwargs: Any) -> None:
            clock.append(time.perf_counter())

        def on_epoch_end(self, *args: Any, **kwargs: Any) -> None:
            clock.append(time.perf_counter())

    def settings(out: str) -> dict[str, Any]:
        return {
            "output_dir": out, "num_train_epochs": 1, "learning_rate": 1e-6, "bf16": True, "use_cpu": True,
            "per_device_train_batch_size": args.trl_batch, "gradient_checkpointing": False, "save_strategy": "no",
            "report_to": [], "logging_steps": 1000, "disable_tqdm": True, "dataloader_pin_memory": False, "seed": 0,
        }  # fmt: skip

    def run() -> float:
        with tempfile.TemporaryDirectory() as out:
            make({**settings(out), "max_steps": 1}, []).train()
            steps = max(1, args.global_batch // args.trl_batch)
            make({**settings(out), "gradient_accumulation_steps": steps}, [Clock()]).train()
        return clock[1] - clock[0]

    return run
