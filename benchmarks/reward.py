"""Reward models on CPU: Burnish's learner beside TRL's RewardTrainer.

    python benchmarks/reward.py --model FOLDER [--data DATASET] [--rows 32] [--rounds 3]

Both train a Bradley-Terry head on the same pairs, bf16 with float32 weights. TRL pads; ours packs and computes the prompt of a
pair once. How rounds, tokens and MFU are taken stands in learning.py.
"""

from __future__ import annotations

import argparse
from typing import Any

from learning import Theme, main, ours, parser, theirs
from pairs import MAX_TOKENS, messages, model_folder, pairs, rendered, steps_of, token_rows

from burnish.core.types import Pair
from burnish.pipeline.machine import laptop

THEME = Theme(
    name="reward",
    title="Reward model on CPU: pairs a second, SmolLM2-135M",
    unit="pair",
    sides=("burnish", "trl"),
    baseline="trl",
    settings={"max_tokens": MAX_TOKENS, "compute": "bf16, fp32 masters", "timed": "one epoch after a warm-up"},
)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """One side's epoch."""
    from burnish.model.policy import Policy

    machine = laptop()
    policy = Policy.load(model_folder(args), machine, trainable=True)
    rows, kept = rendered(policy, pairs(args))
    if args.side == "burnish":
        from functools import partial

        from burnish.losses.reward import BradleyTerry
        from burnish.model.reward import RewardModel
        from burnish.train.learner import Learner
        from burnish.train.reward import scored_pairs

        learner = Learner(RewardModel.start(policy, seed=0), machine)
        batch_of = partial(scored_pairs, margins={row.id: 0.0 for row in rows})
        return ours(
            learner, BradleyTerry(), steps_of(rows, args.global_batch, machine.micro_tokens, batch_of), len(rows)
        )
    # A reward model has no head over the vocabulary: its own costs nothing.
    return theirs(lambda *given: trainer(args, kept, *given), args, token_rows(rows), 0, len(rows))


def trainer(args: argparse.Namespace, kept: list[Pair], settings: dict[str, Any], callbacks: list[Any]) -> Any:
    """TRL's, on the same pairs."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    from trl import RewardConfig, RewardTrainer

    return RewardTrainer(
        AutoModelForSequenceClassification.from_pretrained(args.model, dtype=torch.float32, num_labels=1),
        args=RewardConfig(max_length=MAX_TOKENS, **settings),
        train_dataset=Dataset.from_list(messages(kept)),
        processing_class=AutoTokenizer.from_pretrained(args.model),
        callbacks=callbacks,
    )


if __name__ == "__main__":
    main(__file__, THEME, parser(__doc__, THEME, rows=32).parse_args(), run)
