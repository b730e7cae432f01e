"""Evaluation beside lm-evaluation-harness: the same items, prompts and token limits, wall time in turns, agreement item by item.

    python benchmarks/eval.py --data DIR [--families gsm8k,gsm8k_cot,ifeval,bbh,truthfulqa,mmlu] [--items 4] [--tokens 64] [--rounds 3]

Both are asked the same texts (lm-eval's own task files; ours in its form), greedy, on the processor. lm-eval runs its Hugging Face
backend with the batch size that was fastest in a trial on a part of the items; ours the torch engine; both in bf16, in which both are
faster. A round's time is from the items to their scores: prompts, tokens, model, grading, and files on our side. Loading weights and data
sets is outside, for both. Sides run in turns, round by round, so that a change of the machine's load meets both; nothing is kept from
round to round. Then both are asked once in float32 for the agreement of every item: equal scores, and equal replies (or
log-probabilities within 0.01 nats).
Needs the oracle extra and NLTK's punkt_tab.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from harness import PARTS, Part, ask, hf, ours, theirs
from record import write

from burnish.core.types import Problem
from burnish.eval.local import local_answers
from burnish.eval.model_answers import ModelAnswers
from burnish.eval.run import evaluate, problems_of
from burnish.eval.task import EvalTask
from burnish.model.bundled import bundled_model
from burnish.pipeline.machine import Machine, laptop
from burnish.pipeline.progress import Console

# What is timed of each family: for one of --items, so many of every task. IFEval's prompts are short and without examples.
TIMED: dict[str, tuple[float, tuple[str, ...]]] = {
    "gsm8k": (1, ("gsm8k_lm_eval",)),
    "gsm8k_cot": (1, ("gsm8k_cot_lm_eval",)),
    "ifeval": (2, ("ifeval_lm_eval", "ifeval_lm_eval_loose")),
    "bbh": (0.5, ("bbh_lm_eval",)),
    "truthfulqa": (1, ("truthfulqa_mc2_lm_eval",)),
    "mmlu": (1.5, ("mmlu_lm_eval",)),
}
BATCHES = (8, 32)
TYPES = {"bf16": "bfloat16", "fp32": "float32"}
CLOSE = 0.01  # nats


class Ours:
    """Our engine over a loaded model; a call evaluates the tasks anew and returns their samples by task."""

    def __init__(
        self, folder: Path, machine: Machine, tasks: Sequence[EvalTask], problems: dict[str, list[Problem]]
    ) -> None:
        self._tasks, self._problems, self._console = tasks, problems, Console(io.StringIO())
        # identity "": replies are not kept, so that no round answers from another's.
        self._answers: ModelAnswers = local_answers(
            folder, machine, self._console, tasks=tasks, overlong="error", identity=""
        )

    def __call__(self) -> dict[str, list[dict[str, Any]]]:
        with tempfile.TemporaryDirectory() as out:
            evaluate(
                self._tasks, self._answers, seed=0, label="", model="", data=None, out=Path(out), console=self._console,
                problems=self._problems,
            )  # fmt: skip
            samples: dict[str, list[dict[str, Any]]] = {task.name: [] for task in self._tasks}
            for line in (Path(out) / "samples.jsonl").read_text().splitlines():
                sample = json.loads(line)
                samples[sample["task"]].append(sample)
        return samples


class Theirs:
    """lm-eval's Hugging Face backend over a loaded model; a call evaluates its tasks and returns its samples."""

    def __init__(self, folder: Path, dtype: str, tasks: dict[str, Any], items: int) -> None:
        self._folder, self._dtype, self._tasks, self._items = folder, dtype, tasks, items
        self.trial: dict[int, float] = {}
        self._model: Any = None

    def choose(self, batches: Sequence[int]) -> int:
        """Take the batch size that is fastest on half of the items."""
        for batch in batches:
            self._model = hf(self._folder, self._dtype, batch)
            self.trial[batch] = round(timed(lambda: self._ask(max(1, self._items // 2)))[0], 1)
        best = min(self.trial, key=self.trial.__getitem__)
        self.load(best)
        return best

    def load(self, batch: int) -> None:
        """Load the model for batches of this size."""
        self._model = hf(self._folder, self._dtype, batch)

    def _ask(self, items: int) -> dict[tuple[str, str], list[dict[str, Any]]]:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            return ask(self._model, self._tasks, items)

    def __call__(self) -> dict[tuple[str, str], list[dict[str, Any]]]:
        return self._ask(self._items)


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    found = work()
    return time.perf_counter() - start, found


def agreement(
    parts: Sequence[Part], mine: dict[str, Any], other: dict[tuple[str, str], Any], console: Console
) -> dict[str, str]:
    """Items with equal scores, and with equal replies or close log-probabilities; every other one is printed."""
    items = scores = replies = 0
    for part in parts:
        for one, two in zip(mine[part.name], other[part.theirs, part.filter], strict=True):
            equal = abs(one["score"] - float(two[part.metric])) < 1e-3
            if one.get("choices"):
                pairs = zip(one["choices"], two["resps"], strict=True)
                alike = all(abs(choice["logprob"] - value) < CLOSE for choice, ((value, _),) in pairs)
            else:
                alike = one["response"] == two["resps"][0][0]
            items, scores, replies = items + 1, scores + equal, replies + alike
            if not (equal and alike):
                console.line(f"  {part.name}, {one['id']}: ours {one['score']}, lm-eval {float(two[part.metric])}")
                console.line(f"    {one['response']!r:.200}\n    {two['resps'][0][0]!r:.200}")
    return {"equal scores, fp32": f"{scores} of {items}", "equal replies, fp32": f"{replies} of {items}"}


def measure(family: str, folder: Path, args: argparse.Namespace, console: Console) -> None:
    """One family's rounds, and its result file."""
    share, names = TIMED[family]
    parts = [part for part in PARTS if part.ours in names]
    items = max(1, int(args.items * share))
    tasks = [ours(part, items, args.tokens) for part in parts]
    problems = problems_of(tasks, args.data)
    load = round(os.getloadavg()[0], 2)
    chosen, trial = 0, {}
    sides: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {}
    for compute, dtype in TYPES.items():
        machine = dataclasses.replace(laptop(), compute=compute)
        other = Theirs(folder, dtype, theirs(parts, args.data, args.tokens), items)
        if not chosen:
            chosen, trial = other.choose([int(batch) for batch in args.batches.split(",")]), other.trial
            console.line(f"{family}, lm-eval: batch size {chosen} of {trial}")
        else:
            other.load(chosen)
        sides[compute] = Ours(folder, machine, tasks, problems), other
    timed(sides["bf16"][0])  # loads the weights, and what grading needs
    asked = sum(len(problems[part.name]) for part in {part.theirs: part for part in parts}.values())
    rates: dict[str, list[float]] = {"burnish": [], "lm-eval": []}
    for number in range(args.rounds):
        for name, side in zip(rates, sides["bf16"], strict=True):
            seconds, _ = timed(side)
            rates[name].append(asked / seconds)
            console.line(f"{family}, round {number + 1}, {name}: {seconds:.1f} s")
    same = agreement(parts, *(side() for side in sides["fp32"]), console)
    path = write(
        f"eval-{family}", title=f"Evaluation beside lm-eval: {', '.join(part.name for part in parts)}",
        settings={
            "items": asked, **same, "most new tokens": args.tokens, "threads": torch.get_num_threads(),
            "compute": "bf16", "lm-eval's batch": f"{chosen} of {', '.join(map(str, trial))}", "load average before": load,
        },
        rates=rates, unit="items/s", baseline="lm-eval", packages=("lm_eval", "torch", "transformers"),
        command=f"python benchmarks/eval.py --data DIR --families {family} --items {args.items} --tokens {args.tokens} --rounds {args.rounds}",
    )  # fmt: skip
    console.line(f"{same}; written to {path}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, required=True, help="folder of the published data sets")
    parser.add_argument("--model", type=Path, help="a Hugging Face folder (default: the bundled model)")
    parser.add_argument(
        "--cache", type=Path, default=Path("runs/cache"), help="where the bundled model is converted to"
    )
    parser.add_argument("--families", default=",".join(TIMED))
    parser.add_argument(
        "--items",
        type=int,
        default=4,
        help="items a task: twice as many of IFEval, half again of a subject of MMLU, half of each of BIG-Bench Hard's",
    )
    parser.add_argument("--tokens", type=int, default=64, help="at most so many new tokens a reply, on both sides")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batches", default=",".join(map(str, BATCHES)), help="batch sizes that lm-eval is tried with")
    args = parser.parse_args()
    console = Console()
    for family in args.families.split(","):
        if family not in TIMED:
            raise SystemExit(f"--families {family}: there are {', '.join(TIMED)}")
    folder = args.model or bundled_model(args.cache, console)
    laptop().prepare()
    torch.set_num_threads(laptop().threads)
    for family in args.families.split(","):
        measure(family, folder, args, console)


if __name__ == "__main__":
    main()
