"""TorchEngine against transformers' `generate`, a plain loop over a static cache, and vLLM, on CPU and on RL traffic.

    python benchmarks/rollout.py [--model FOLDER] [--vllm-python PYTHON]

Ragged: groups of 8 samples of one prompt, 64 sequences at a time, every reply with its own forced length between 8 and 256
tokens. `generate` and the loop run left-padded batches of 64 until the longest reply of the batch ends, which is the simple
way to use them; only the tokens asked for count, for all. Equal: every reply has 64 new tokens, which is their best case.
The engine and vLLM sample and return log-probs; `generate` and the loop are greedy and return none, which is in their favour.
Of three settings of `generate` the fastest in a short trial is taken. Runs alternate, so that a change of the machine's load
meets all. The roofline's rates are measured between the runs, its formula stands in the result.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from record import write

from burnish.core.types import user
from burnish.model.bundled import bundled_model
from burnish.model.policy import Policy
from burnish.pipeline.machine import Machine, laptop
from burnish.pipeline.progress import Console
from burnish.rollout.engine import Engine, Request, Sampling
from burnish.rollout.engines import make_engine
from burnish.rollout.torch_engine import TorchEngine

QUESTIONS = (
    "Mia has 12 apples and buys 30 more. She gives half of them to Tom. How many apples does Mia have left?",
    "Write three sentences about the sea.",
    "A train travels 60 km in an hour. How far does it travel in 3 hours and 20 minutes? Explain each step.",
    "List five animals that live in the forest. Separate them with commas.",
)
SETTINGS = (("sdpa", "dynamic"), ("sdpa", "static"), ("eager", "dynamic"))
GROUP = 8


class NeverStops:
    """A renderer whose replies end at max_tokens only."""

    stop_ids: frozenset[int] = frozenset()

    def __init__(self, renderer: Any) -> None:
        self._renderer = renderer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._renderer, name)


def batches(requests: Sequence[Request], rows: int) -> Iterator[tuple[torch.Tensor, torch.Tensor, int]]:
    """(left-padded ids, mask, longest reply) of as many requests at a time."""
    for first in range(0, len(requests), rows):
        part = requests[first : first + rows]
        width = max(len(r.prompt_ids) for r in part)
        ids = torch.tensor([[0] * (width - len(r.prompt_ids)) + list(r.prompt_ids) for r in part])
        mask = torch.tensor([[0] * (width - len(r.prompt_ids)) + [1] * len(r.prompt_ids) for r in part])
        yield ids, mask, max(r.sampling.max_tokens for r in part)


def load(folder: Path, attention: str) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.bfloat16, attn_implementation=attention, local_files_only=True
    )


class Generate:
    """transformers' generate in left-padded batches."""

    def __init__(self, folder: Path, requests: Sequence[Request], rows: int) -> None:
        self._folder, self._rows = folder, rows
        self.trial: dict[str, float] = {}
        some = [replace(r, sampling=Sampling(max_tokens=16)) for r in requests[:rows]]
        for attention, cache in SETTINGS:
            self._use(attention, cache)
            self([replace(r, sampling=Sampling(max_tokens=4)) for r in some])
            self.trial[f"{attention}, {cache} cache"] = min(seconds(lambda: self(some)) for _ in range(2))
        self.chosen = min(self.trial, key=self.trial.__getitem__)
        self._use(*SETTINGS[list(self.trial).index(self.chosen)])

    def _use(self, attention: str, cache: str) -> None:
        self._cache, self._model = cache, load(self._folder, attention)

    @torch.inference_mode()
    def __call__(self, requests: Sequence[Request]) -> None:
        for ids, mask, longest in batches(requests, self._rows):
            out = self._model.generate(
                input_ids=ids, attention_mask=mask, max_new_tokens=longest, min_new_tokens=longest, do_sample=False,
                pad_token_id=0, cache_implementation=None if self._cache == "dynamic" else self._cache,
            )  # fmt: skip
            if out.shape[1] != ids.shape[1] + longest:
                raise SystemExit(f"generate made {out.shape[1] - ids.shape[1]} tokens, not {longest}")


class StaticLoop:
    """The model's forward pass over a static cache, without what `generate` does between two tokens."""

    def __init__(self, folder: Path, rows: int) -> None:
        self._model, self._rows = load(folder, "sdpa"), rows

    @torch.inference_mode()
    def __call__(self, requests: Sequence[Request]) -> None:
        from transformers import StaticCache

        for ids, mask, longest in batches(requests, self._rows):
            width = ids.shape[1]
            cache = StaticCache(config=self._model.config, max_cache_len=width + longest)
            whole = torch.nn.functional.pad(mask, (0, longest), value=1)
            places = (mask.cumsum(1) - 1).clamp_min(0)
            tokens, place = ids, places
            for step in range(longest):
                seen = whole[:, : width + step]
                logits = self._model(
                    input_ids=tokens, attention_mask=seen, position_ids=place, past_key_values=cache, logits_to_keep=1
                ).logits
                tokens, place = logits[:, -1].argmax(-1, keepdim=True), place[:, -1:] + 1


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


@dataclass(frozen=True, slots=True)
class Rates:
    """What the machine does: bf16 multiply-adds (counted as two) and bytes, a second."""

    products: float
    copied: float

    @staticmethod
    def measured() -> Rates:
        """The best of a few: a product of 2048 x 2048 matrices, and a copy of 256 MiB, which reads and writes as much."""
        a = torch.randn(2048, 2048).bfloat16()
        x, y = torch.zeros(1 << 26), torch.zeros(1 << 26)
        product = min(seconds(lambda: a @ a) for _ in range(6))
        copy = min(seconds(lambda: y.copy_(x)) for _ in range(4))
        return Rates(2 * 2048**3 / product, 2 * x.nbytes / copy)


@dataclass(frozen=True, slots=True)
class Work:
    """What a queue needs at least. A step's products either compute or read all weights, whichever takes longer.

    steps: how many rows run in each step. positions: keys and values read, those of a shared prompt once a step.
    """

    steps: tuple[int, ...]
    positions: int
    prompt_tokens: int
    weights: int
    position_bytes: int

    FORMULA = (
        "sum over steps of max(2 * weights * rows / products, 2 bytes * weights / copied) + positions * bytes of a position "
        "/ copied + 2 * weights * prompt tokens / products; copied counts bytes read and written"
    )

    @staticmethod
    def of(requests: Sequence[Request], slots: int, forward: Any, weights: int) -> Work:
        """Slots are refilled at once; a reply's first token needs no step of its own."""
        queue, running = deque(requests), list[list[Any]]()
        steps, positions = [], 0
        while queue or running:
            while queue and len(running) < slots:
                r = queue.popleft()
                running.append([r.prompt_ids, 0, r.sampling.max_tokens - 1])
            running = [row for row in running if row[2] > 0]
            if not running:
                continue
            steps.append(len(running))
            positions += sum(map(len, {row[0] for row in running}))
            for row in running:
                row[1], row[2] = row[1] + 1, row[2] - 1
                positions += row[1]
        prompts = sum(map(len, {r.prompt_ids for r in requests}))
        return Work(tuple(steps), positions, prompts, weights, forward.shape.position_bytes)

    def seconds(self, rates: Rates) -> dict[str, float]:
        """Least time of each part."""
        read = 2 * self.weights / rates.copied
        return {
            "products": sum(max(2 * self.weights * rows / rates.products, read) for rows in self.steps),
            "keys and values": self.positions * self.position_bytes / rates.copied,
            "prompts": 2 * self.weights * self.prompt_tokens / rates.products,
        }


def traffic(policy: Policy, groups: int, ragged: bool) -> list[Request]:
    prompts = [policy.renderer.prompt(user(f"Question {i}. {QUESTIONS[i % 4]}")) for i in range(groups)]
    rng = random.Random(0)
    return [
        Request(prompt, Sampling(max_tokens=rng.randint(8, 256) if ragged else 64), GROUP * i + j)
        for i, prompt in enumerate(prompts)
        for j in range(GROUP)
    ]


def vllm_engine(policy: Policy, machine: Machine, python: str) -> Engine:
    return make_engine(policy, replace(machine, engine="vllm", engine_place=f"inside(python={python!r})"))


def multiplied(model: Any) -> int:
    """Numbers in the weights that every token is multiplied by; a table of embeddings is only looked up."""
    table, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    return sum(p.numel() for p in model.parameters() if p.dim() == 2 and (p is head or p is not table))


Side = Callable[[Sequence[Request]], object]


def compare(sides: dict[str, Side], requests: list[Request], rounds: int) -> tuple[dict[str, list[float]], list[Rates]]:
    """Tokens asked for per second of all, run in turns, and the machine's rates before each round."""
    asked = sum(request.sampling.max_tokens for request in requests)
    rates: dict[str, list[float]] = {name: [] for name in sides}
    machine = []
    for _ in range(rounds):
        machine.append(Rates.measured())
        for name, side in sides.items():
            rates[name].append(asked / seconds(partial(side, requests)))
    return rates, machine


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--model", type=Path, help="a Hugging Face folder (default: the bundled model)")
    parser.add_argument(
        "--cache", type=Path, default=Path("runs/cache"), help="where the bundled model is converted to"
    )
    parser.add_argument("--vllm-python", default="", help="the Python of an environment with vLLM (make vllm-env)")
    parser.add_argument("--groups", type=int, default=16, help=f"prompts, each with {GROUP} replies")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=("ragged", "equal"), help="one of the two kinds of traffic")
    return parser.parse_args()


def prepared(machine: Machine) -> None:
    """Start again with the environment in which a stage's own process starts (threads, memory), for all sides."""
    if any(os.environ.get(name) != value for name, value in machine.environment().items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **machine.environment()})


def main() -> None:
    args, console, machine = arguments(), Console(), laptop()
    prepared(machine)
    folder = args.model or bundled_model(args.cache, console)
    torch.set_num_threads(machine.threads)
    policy = Policy.load(folder, machine)
    queues = {name: traffic(policy, args.groups, name == "ragged") for name in ("ragged", "equal")}
    policy.renderer = NeverStops(policy.renderer)  # type: ignore[assignment]
    engine = TorchEngine(policy, machine)
    generate = Generate(folder, queues["equal"], machine.slots)
    console.line(f"generate: {generate.chosen} of {generate.trial}")
    sides: dict[str, Side] = {
        "TorchEngine": engine.generate, "generate": generate, "static-cache loop": StaticLoop(folder, machine.slots),
    }  # fmt: skip
    if args.vllm_python:
        sides["vLLM"] = vllm_engine(policy, machine, args.vllm_python).generate
    few = [replace(r, sampling=Sampling(max_tokens=8)) for r in queues["equal"][: machine.slots]]
    for side in sides.values():
        side(few)
    for name, requests in queues.items():
        if args.only in (None, name):
            before = os.getloadavg()[0]
            found, rates = compare(sides, requests, args.rounds)
            report(name, requests, found, rates, engine, policy, machine, generate.chosen, before, args, console)


def report(
    name: str, requests: list[Request], found: dict[str, list[float]], rates: list[Rates], engine: TorchEngine,
    policy: Policy, machine: Machine, chosen: str, before: float, args: argparse.Namespace, console: Console,
) -> None:  # fmt: skip
    forward: Any = engine._forward
    weights = multiplied(policy.model)
    asked = sum(r.sampling.max_tokens for r in requests)
    work = Work.of(requests, machine.slots, forward, weights)
    best = Rates(max(r.products for r in rates), max(r.copied for r in rates))
    parts = work.seconds(best)
    middle = {side: statistics.median(values) for side, values in found.items()}
    bound = asked / sum(parts.values())
    lengths = {len(r.prompt_ids) for r in requests}
    console.line(
        f"{name}: { ({k: round(v) for k, v in middle.items()}) } tokens/s; {middle['TorchEngine'] / middle['generate']:.2f} times "
        f"generate; {middle['TorchEngine'] / bound:.0%} of the roofline of {bound:.0f} tokens/s"
    )
    path = write(
        f"rollout-{name}",
        title=f"Generation: {len(requests)} replies of {'8 to 256' if name == 'ragged' else '64'} tokens, {machine.slots} at a time",
        settings={
            "parameters": sum(p.numel() for p in policy.model.parameters()), "compute": machine.compute,
            "threads": machine.threads, "slots": machine.slots, "replies a prompt": GROUP, "new tokens asked for": asked,
            "prompt tokens": f"{min(lengths)} to {max(lengths)}", "compiled loops": forward.compiled,
            "TorchEngine": "temperature 1 with log-probs", "vLLM": "temperature 1 with log-probs, prefix caching",
            "generate": f"greedy, bf16, left-padded batches, {chosen}", "static-cache loop": "greedy, bf16, left-padded batches",
            "load average before": round(before, 2), "environment": machine.environment(),
            "roofline": {
                "formula": Work.FORMULA, "weights": weights, "bf16 products, GFLOP/s": round(best.products / 1e9, 1),
                "copied, GB/s": round(best.copied / 1e9, 1), "steps": len(work.steps), "positions": work.positions,
                "seconds": parts, "bound by": max(parts, key=parts.__getitem__), "tokens/s": bound,
                "share reached": middle["TorchEngine"] / bound,
            },
        },
        rates=found, unit="tokens/s", baseline="generate", packages=("torch", "transformers", "numba"),
        command="python benchmarks/rollout.py" + (" --model FOLDER" if args.model else "")
        + (" --vllm-python PYTHON" if args.vllm_python else ""),
    )  # fmt: skip
    console.line(f"written to {path}")


if __name__ == "__main__":
    main()
