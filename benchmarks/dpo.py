"""DPO on CPU: Burnish's learner beside TRL's DPOTrainer.

    python benchmarks/dpo.py --model FOLDER [--data DATASET] [--rows 32] [--rounds 3]

Both in bf16 with float32 weights, beta 0.1, the sum over tokens, and reference log-probs computed before the epoch that is
timed (TRL: precompute_ref_log_probs), so that no side pays for a reference model. TRL pads: its padding_free is switched off in
this version ("temporarily unavailable after a refactor", trl/trainer/dpo_trainer.py), and before that it asked for
FlashAttention. Ours packs, and computes the prompt of a pair once. How rounds, tokens and MFU are taken stands in learning.py.
"""

from __future__ import annotations

import argparse
from typing import Any

from learning import Theme, main, ours, parser, theirs
from pairs import MAX_TOKENS, messages, model_folder, pairs, rendered, steps_of, token_rows

from burnish.core.types import Pair
from burnish.pipeline.machine import laptop

BETA = 0.1
THEME = Theme(
    name="dpo",
    title="DPO on CPU: pairs a second, SmolLM2-135M",
    unit="pair",
    sides=("burnish", "trl"),
    baseline="trl",
    settings={
        "max_tokens": MAX_TOKENS, "beta": BETA, "compute": "bf16, fp32 masters", "timed": "one epoch after a warm-up",
        "reference": "computed before the timed epoch on both sides",
    },
)  # fmt: skip


def run(args: argparse.Namespace) -> dict[str, Any]:
    """One side's epoch."""
    from burnish.model.policy import Policy

    machine = laptop()
    policy = Policy.load(model_folder(args), machine, trainable=True)
    rows, kept = rendered(policy, pairs(args))
    if args.side == "burnish":
        from burnish.losses.dpo import DPO
        from burnish.train.dpo import pair_batch
        from burnish.train.learner import Learner

        steps = steps_of(rows, args.global_batch, machine.micro_tokens, pair_batch)
        return ours(Learner(policy, machine), DPO(beta=BETA, length_normalized=False), steps, len(rows))
    labels = sum(sum(row.chosen.mask) + sum(row.rejected.mask) for row in rows)
    return theirs(lambda *given: trainer(args, kept, *given), args, token_rows(rows), labels, len(rows))


def trainer(args: argparse.Namespace, kept: list[Pair], settings: dict[str, Any], callbacks: list[Any]) -> Any:
    """TRL's, on the same pairs."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOConfig, DPOTrainer

    return DPOTrainer(
        AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32),
        args=DPOConfig(max_length=MAX_TOKENS, beta=BETA, precompute_ref_log_probs=True, **settings),
        train_dataset=Dataset.from_list(messages(kept)),
        processing_class=AutoTokenizer.from_pretrained(args.model),
        callbacks=callbacks,
    )


if __name__ == "__main__":
    main(__file__, THEME, parser(__doc__, THEME, rows=32).parse_args(), run)
