"""SFT on CPU: Burnish's learner beside TRL's SFTTrainer.

    python benchmarks/sft.py --model FOLDER [--data DATASET] [--rows 48] [--rounds 3]

TRL in bf16, packed (its best-fit packing, the best setting here) and padded. All three train whole conversations' assistant
turns, with the same rows an optimizer step; a packed row of TRL holds several conversations, so its steps are made of as many
rows as hold about that many. How rounds, tokens and MFU are taken stands in learning.py.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from learning import Theme, main, ours, parser, rows_of, theirs, worked_rows

from burnish.core.types import Demo, plain
from burnish.pipeline.machine import laptop

MAX_TOKENS = 512
THEME = Theme(
    name="sft",
    title="SFT on CPU: conversations a second, SmolLM2-135M",
    unit="row",
    sides=("burnish", "trl-packed", "trl-padded"),
    baseline="trl-packed",
    settings={"max_tokens": MAX_TOKENS, "compute": "bf16, fp32 masters", "timed": "one epoch after a warm-up"},
)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """One side's epoch."""
    from burnish.model.policy import Policy
    from burnish.train.demos import RenderedDemo, demo_batch, render_demo

    demos = rows_of(args.data, Demo, args.rows) if args.data else worked_rows(args.rows)
    machine = laptop()
    policy = Policy.load(Path(args.model), machine, trainable=True)
    rendered = [RenderedDemo(demo.id, render_demo(policy.renderer, demo)) for demo in demos]
    fitting = [i for i, row in enumerate(rendered) if row.tokens <= MAX_TOKENS]
    rendered, demos = [rendered[i] for i in fitting], [demos[i] for i in fitting]
    if args.side == "burnish":
        from burnish.losses.sft import SFTLoss
        from burnish.train.learner import Learner
        from burnish.train.rows import split

        steps = []
        for at in range(0, len(rendered), args.global_batch):
            part = rendered[at : at + args.global_batch]
            steps.append([demo_batch(rows) for rows in split(part, [row.tokens for row in part], machine.micro_tokens)])
        return ours(Learner(policy, machine), SFTLoss(), steps, len(rendered))
    labels = sum(sum(row.row.mask) for row in rendered)
    return theirs(
        lambda *given: trainer(args, demos, *given), args, [row.row.token_ids for row in rendered], labels, len(demos)
    )


def trainer(args: argparse.Namespace, demos: list[Demo], settings: dict[str, Any], callbacks: list[Any]) -> Any:
    """TRL's, on the same conversations."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    if args.side == "trl-packed":
        # A packed row holds several conversations: fewer rows make an optimizer step of as many conversations.
        settings = {**settings, "gradient_accumulation_steps": 1}
    return SFTTrainer(
        AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32),
        args=SFTConfig(max_length=MAX_TOKENS, packing=args.side == "trl-packed", **settings),
        train_dataset=Dataset.from_list([{"messages": plain(demo.messages)} for demo in demos]),
        processing_class=AutoTokenizer.from_pretrained(args.model),
        callbacks=callbacks,
    )


if __name__ == "__main__":
    main(__file__, THEME, parser(__doc__, THEME, rows=48).parse_args(), run)
