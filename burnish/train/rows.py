"""From rendered rows to the order, the steps and the micro-batches in which they are trained; which rows are left out.

Shapes: B rows, T positions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor

from burnish.core.files import write_json
from burnish.core.rng import stream
from burnish.errors import DataError, RecipeError
from burnish.losses.batch import Sequences
from burnish.pipeline.stage import Context
from burnish.text.pack import pack
from burnish.text.render import Rendered

Item = TypeVar("Item")


def stack(rows: Sequence[Rendered]) -> Sequences:
    """Rows as right-padded tensors: tokens 0 and mask False beyond each row's end."""
    longest = max(len(row.token_ids) for row in rows)
    tokens_BT = torch.zeros(len(rows), longest, dtype=torch.long)
    mask_BT = torch.zeros(len(rows), longest, dtype=torch.bool)
    for i, row in enumerate(rows):
        tokens_BT[i, : len(row.token_ids)] = torch.tensor(row.token_ids)
        mask_BT[i, : len(row.mask)] = torch.tensor(row.mask)
    return Sequences(tokens_BT, torch.tensor([len(row.token_ids) for row in rows]), mask_BT)


def spread(rows: Sequence[Sequence[float]], like: Sequences) -> Tensor:
    """[B, T] with each row's numbers at its masked tokens, in order, and 0 elsewhere."""
    out_BT = torch.zeros(like.mask_BT.shape)
    for i, row in enumerate(rows):
        out_BT[i, like.mask_BT[i]] = torch.tensor(row, dtype=out_BT.dtype)
    return out_BT


def split(items: Sequence[Item], lengths: Sequence[int], micro_tokens: int) -> list[list[Item]]:
    """The items of one optimizer step as micro-batches of at most `micro_tokens` tokens each (one item at the least)."""
    return [[items[i] for i in part] for part in pack(lengths, max(micro_tokens, *lengths))] if items else []


def steps_in(rows: int, global_batch: int, epochs: int) -> int:
    """Optimizer steps of a run. No row is left out: an epoch's last batch is smaller where rows do not divide."""
    return math.ceil(rows / global_batch) * epochs


def rows_of_step(step: int, rows: int, global_batch: int, seed: int) -> list[int]:
    """The row numbers of optimizer step `step` (from 0): a new order every epoch, from (seed, epoch) alone."""
    per_epoch = math.ceil(rows / global_batch)
    epoch, batch = divmod(step, per_epoch)
    order = list(range(rows))
    stream(seed, "row order", epoch).shuffle(order)
    return order[batch * global_batch : (batch + 1) * global_batch]


def fit_context(stage: str, max_tokens: int, context: int) -> None:
    """Raise RecipeError when max_tokens is past what the model reads."""
    if max_tokens > context:
        raise RecipeError(
            f"{stage}: max_tokens={max_tokens}, but the model reads {context} tokens, so longer rows would be garbage to it.\n"
            f"  Set max_tokens={context} or less."
        )


def check_numbers(stage: str, **numbers: int) -> None:
    """Raise RecipeError for a number below 1."""
    for name, value in numbers.items():
        if value < 1:
            raise RecipeError(f"{stage}: {name}={value}, which would train nothing.\n  Give a whole number from 1 up.")


def report_rows(
    ctx: Context, *, kind: str, limit: int, rows: int, kept: int, too_long: Sequence[str], tokens: int, trained: int
) -> None:
    """Write data_report.json and say what was dropped. Raises DataError when nothing is left."""
    write_json(
        ctx.out / "data_report.json",
        {"kind": kind, "rows": rows, "used": kept, "max_tokens": limit, "too_long": len(too_long),
         "too_long_ids": list(too_long), "tokens": tokens, "trained_tokens": trained},
    )  # fmt: skip
    if too_long:
        ctx.console.line(
            f"  {len(too_long)} of {rows} {kind} are longer than {limit} tokens and were left out (data_report.json)"
        )
    if not kept:
        why = f"all {rows} are longer than max_tokens={limit}" if rows else f"the dataset holds no {kind}"
        raise DataError(
            f"No {kind} to train on: {why}.\n"
            "  Raise max_tokens, or look at what the stage before kept and dropped (burnish show)."
        )
