"""A whole GRPO step on CPU, sampling, grading and learning: Burnish's RL stage beside TRL's GRPOTrainer.

    python benchmarks/grpo.py --model FOLDER [--rows 128] [--new-tokens 128] [--kl 0.04] [--rounds 3]

The same problems, the same number of replies to each, and every reply of exactly --new-tokens tokens on all sides, which is the
best case of `generate`: nothing is padded but the prompts. Replies are graded by the parity of their bytes, so that nearly every
group has something to teach and Burnish, which skips those that have not, saves nothing by it. One optimizer step on each
batch of replies, one warm-up before the clock. The stage is timed whole, its logs and the engine's new weights included;
the trainer between the begin and the end of its epoch.

TRL generates by transformers' `generate` and trains in bf16: with its weights in bf16 ("trl", its fastest here, whose optimizer
steps below bf16's precision are lost), and with float32 weights under autocast ("trl-masters"), as ours are.

MFU counts a forward pass over prompts and replies for sampling and a training pass over them for learning, for all sides alike,
however often a prompt is computed.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import itertools
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from learning import Theme, main, measured, parser, trl_epoch

from burnish.core.types import Check, Problem, Verdict, plain
from burnish.pipeline.machine import laptop
from burnish.pipeline.progress import Console
from burnish.pipeline.stage import Context, Stage

MODEL, PROBLEMS = "model", "problems"
THEME = Theme(
    name="grpo",
    title="A GRPO step on CPU: replies sampled, graded and learned from a second, SmolLM2-135M",
    unit="rollout",
    sides=("burnish", "trl", "trl-masters"),
    baseline="trl",
    settings={"compute": "bf16", "timed": "whole steps after a warm-up"},
)


@dataclasses.dataclass(frozen=True)
class Given(Stage):
    """A stage whose artifact is there."""

    label: str

    @property
    def name(self) -> str:
        """Its label."""
        return self.label


@dataclasses.dataclass(frozen=True)
class Parity:
    """1 or 0 by the parity of a reply's bytes."""

    VERSION: ClassVar[int] = 1
    ACCEPTS: ClassVar[tuple[tuple[str, str], ...]] = ()
    REJECTS: ClassVar[tuple[tuple[str, str], ...]] = ()

    def __call__(self, problem: Problem, text: str) -> Verdict:
        """No reply is refused."""
        return Verdict(grade(text), "parity")


def grade(text: str) -> float:
    """The sum of its bytes, modulo 2."""
    return float(sum(text.encode("utf-8", "surrogatepass")) % 2)


def problems(args: argparse.Namespace, more: int = 0) -> list[Problem]:
    """Word problems, one for each group of the timed steps and `more` before them."""
    from burnish.data.sources.arithmetic import Arithmetic

    rows = itertools.cycle(row for row in Arithmetic("train", n=64).rows(None) if isinstance(row, Problem))
    count = args.rows // args.group_size + more
    # No two prompts are equal: an engine could compute equal ones once.
    return [
        dataclasses.replace(row, prompt=numbered(row, i), check=Check("parity", ""))
        for i, row in enumerate(itertools.islice(rows, count))
    ]


def numbered(row: Problem, i: int) -> Any:
    """The problem's messages with a number before the last."""
    *before, last = row.prompt
    return (*before, dataclasses.replace(last, content=f"Problem {i}. {last.content}"))


def run(args: argparse.Namespace) -> dict[str, Any]:
    """One side's steps."""
    step = args.global_batch // args.group_size
    if args.rows % args.global_batch or args.global_batch % args.group_size or args.trl_batch % args.group_size:
        raise SystemExit("--rows must be a multiple of --global-batch, it and --trl-batch multiples of --group-size")
    tokens = args.rows * args.new_tokens
    if args.side == "burnish":
        split: dict[str, float] = {}
        result = measured(lambda: ours(args, step, split), args.rows, tokens, lambda: model_flops(args))
    else:
        split = {"sampling": 0.0, "grading and reference": 0.0}
        epoch = trl_epoch(lambda *given: trainer(args, split, *given), args)
        result = measured(epoch, args.rows, tokens, lambda: model_flops(args))
    shares = {name: round(seconds / result["seconds"], 4) for name, seconds in split.items()}
    return result | {"profile": shares | {"learning and the rest": round(1 - sum(shares.values()), 4)}}


def ours(args: argparse.Namespace, step: int, split: dict[str, float]) -> float:
    """Seconds of the RL stage from the end of its first step to the end of its last."""
    from burnish.data.dataset import write_dataset
    from burnish.losses.policy import GRPO
    from burnish.rollout.engine import Sampling
    from burnish.train.grpo import RL
    from burnish.train.schedule import Constant

    with tempfile.TemporaryDirectory() as folder:
        root, out = Path(folder), Path(folder) / "rl"
        for name in (MODEL, PROBLEMS, "rl"):
            (root / name).mkdir()
        (root / MODEL / "model").symlink_to(Path(args.model).resolve())
        write_dataset(root / PROBLEMS, problems(args, more=step), card={}, dropped=[])
        RL(
            Given(MODEL), Given(PROBLEMS), {"parity": Parity()}, steps=1 + args.rows // args.global_batch,
            problems_per_step=step, group_size=args.group_size, loss=GRPO(kl_coef=args.kl), lr=Constant(1e-6),
            sampling=Sampling(max_tokens=args.new_tokens, min_tokens=args.new_tokens),
        ).run(
            Context(
                out, dataclasses.replace(laptop(), checkpoint_every_s=1e9), lambda stage: root / stage.name, None,
                root / "cache", Console(io.StringIO(), quiet=True),
            )
        )  # fmt: skip
        records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    wanted, found = args.global_batch * args.new_tokens, [record["tokens"] for record in records]
    if found != [wanted] * len(records):
        raise SystemExit(f"burnish sampled {found} tokens in its steps, not {wanted}")
    split["sampling and grading"] = sum(record["rollout_s"] for record in records[1:])
    return float(records[-1]["wall_s"] - records[0]["wall_s"])


def trainer(args: argparse.Namespace, split: dict[str, float], settings: dict[str, Any], callbacks: list[Any]) -> Any:
    """TRL's, on the same problems; adds the seconds of its parts to `split`, anew for each trainer."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import GRPOConfig, GRPOTrainer

    split.update(dict.fromkeys(split, 0.0))

    class Timed(GRPOTrainer):  # type: ignore[misc, no-any-unimported]
        def _generate_single_turn(self, *given: Any, **more: Any) -> Any:
            return timed(split, "sampling", super()._generate_single_turn, *given, **more)

        def _generate_and_score_completions(self, *given: Any, **more: Any) -> Any:
            sampling = split["sampling"]
            found = timed(split, "grading and reference", super()._generate_and_score_completions, *given, **more)
            split["grading and reference"] -= split["sampling"] - sampling
            return found

    def parity(completions: list[list[dict[str, str]]], **more: Any) -> list[float]:
        return [grade(messages[0]["content"]) for messages in completions]

    weights = torch.float32 if args.side == "trl-masters" else torch.bfloat16
    return Timed(
        AutoModelForCausalLM.from_pretrained(args.model, dtype=weights),
        reward_funcs=parity,
        args=GRPOConfig(
            num_generations=args.group_size, max_completion_length=args.new_tokens, beta=args.kl, loss_type="grpo",
            use_bias_correction_kl=False, generation_kwargs={"min_new_tokens": args.new_tokens}, shuffle_dataset=False,
            **settings,
        ),
        train_dataset=Dataset.from_list([{"prompt": plain(problem.prompt)} for problem in problems(args)]),
        processing_class=AutoTokenizer.from_pretrained(args.model),
        callbacks=[*callbacks, _Lengths(args.new_tokens)],
    )  # fmt: skip


def _Lengths(wanted: int) -> Any:
    """A callback that stops a trainer whose replies have another length."""
    from transformers import TrainerCallback

    class Lengths(TrainerCallback):
        def on_log(self, *given: Any, logs: dict[str, float] | None = None, **more: Any) -> None:
            found = (logs or {}).get("completions/mean_length", wanted)
            if found != wanted:
                raise SystemExit(f"TRL sampled {found} tokens a reply, not {wanted}")

    return Lengths()


def timed(split: dict[str, float], name: str, work: Callable[..., Any], *given: Any, **more: Any) -> Any:
    """What work returns, its seconds added to split[name]."""
    began = time.perf_counter()
    found = work(*given, **more)
    split[name] += time.perf_counter() - began
    return found


def model_flops(args: argparse.Namespace) -> float:
    """Of the timed replies with their prompts: a forward pass for sampling, a training pass for learning."""
    from transformers import AutoConfig, AutoTokenizer

    from burnish.model.flops import Shape, Work

    shape = Shape.of(AutoConfig.from_pretrained(args.model).to_dict())
    if shape is None:
        return 0.0
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    prompts = [
        len(tokenizer.apply_chat_template(plain(problem.prompt), add_generation_prompt=True)["input_ids"])
        for problem in problems(args)
    ]
    lengths = [length + args.new_tokens for length in prompts for _ in range(args.group_size)]
    work, labels = Work.of_shape(shape), args.new_tokens * len(lengths)
    return work.forward(lengths, labels) + work.training(lengths, labels)


if __name__ == "__main__":
    made = parser(__doc__, THEME, rows=128)
    made.set_defaults(global_batch=64, trl_batch=16)
    made.add_argument("--group-size", type=int, default=8, help="replies to each problem")
    made.add_argument("--new-tokens", type=int, default=128, help="tokens of every reply")
    made.add_argument("--kl", type=float, default=0.04, help="coefficient of the KL term; 0 leaves out the reference")
    given = made.parse_args()
    asked = {"group size": given.group_size, "new tokens": given.new_tokens, "kl": given.kl}
    main(__file__, dataclasses.replace(THEME, settings=THEME.settings | asked), given, run)
