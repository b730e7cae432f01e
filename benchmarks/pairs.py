"""What dpo.py and reward.py share: preference pairs, ours rendered and TRL's as messages."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from learning import rows_of, worked_rows

from burnish.core.types import Pair, plain

MAX_TOKENS = 512


def pairs(args: argparse.Namespace) -> list[Pair]:
    """The pairs of a dataset; or word problems and instructions whose rejected reply is the one to the next prompt."""
    if args.data:
        return rows_of(args.data, Pair, args.rows)
    demos = worked_rows(args.rows + 1)
    return [
        Pair(demo.messages[:-1], demo.messages[-1].content, other.messages[-1].content)
        for demo, other in pairwise(demos)
    ]


def rendered(policy: Any, found: Sequence[Pair]) -> tuple[list[Any], list[Pair]]:
    """The pairs that fit, ours and as they were."""
    from burnish.train.dpo import render_pair

    both = [(render_pair(policy.renderer, pair), pair) for pair in found]
    fits = [
        (row, pair) for row, pair in both if max(len(row.chosen.token_ids), len(row.rejected.token_ids)) <= MAX_TOKENS
    ]
    return [row for row, _ in fits], [pair for _, pair in fits]


def steps_of(
    rows: Sequence[Any], batch: int, micro_tokens: int, batch_of: Callable[[Sequence[Any]], Any]
) -> list[list[Any]]:
    """Optimizer steps of micro-batches."""
    from burnish.train.rows import split

    parts = [rows[at : at + batch] for at in range(0, len(rows), batch)]
    return [[batch_of(some) for some in split(part, [row.computed for row in part], micro_tokens)] for part in parts]


def token_rows(rows: Sequence[Any]) -> list[Sequence[int]]:
    """Every row of tokens, two a pair."""
    return [reply.token_ids for row in rows for reply in (row.chosen, row.rejected)]


def messages(found: Sequence[Pair]) -> list[dict[str, Any]]:
    """TRL's conversational preference rows."""
    return [
        {
            "prompt": plain(pair.prompt),
            "chosen": [{"role": "assistant", "content": pair.chosen}],
            "rejected": [{"role": "assistant", "content": pair.rejected}],
        }
        for pair in found
    ]


def model_folder(args: argparse.Namespace) -> Path:
    """The start of both sides."""
    return Path(args.model)
