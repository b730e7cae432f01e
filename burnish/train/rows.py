"""From rendered rows to the order, the steps and the micro-batches in which they are trained; which rows are left out.

Shapes: B rows, T positions.
"""

from __future__ import annotations

import hashlib
import math
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from burnish.core.files import write_json
from burnish.core.rng import stream
from burnish.errors import DataError, ModelError, RecipeError
from burnish.losses.batch import Sequences
from burnish.pipeline.stage import Context
from burnish.text.pack import pack
from burnish.text.render import Rendered

Item = TypeVar("Item")


class SingleRow(Protocol):
    """One rendered row."""

    @property
    def id(self) -> str:
        """The id of the dataset's row."""

    @property
    def row(self) -> Rendered:
        """Tokens and train mask."""

    @property
    def tokens(self) -> int:
        """All of its tokens."""


AnySingle = TypeVar("AnySingle", bound=SingleRow)


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


def split(items: Sequence[Item], lengths: Sequence[int], micro_tokens: int, ranks: int = 1) -> list[list[Item]]:
    """The items of one optimizer step as micro-batches of at most `micro_tokens` tokens each (one item at the least).

    ranks: how many processes share them; then as many for each, of like size, where the items allow it.
    """
    if not items:
        return []
    room = max(micro_tokens, *lengths)
    parts = pack(lengths, room)
    if ranks > 1:
        goal = math.ceil(len(parts) / ranks) * ranks
        least = max(*lengths, math.ceil(sum(lengths) / goal), 1)
        # From all equally full to as full as may be, in twenty steps.
        sizes = [least + (room - least) * i // 20 for i in range(21)]
        parts = next((found for found in (pack(lengths, size) for size in sizes) if len(found) <= goal), parts)
    return [[items[i] for i in part] for part in parts]


def digest_of(rows: Iterable[Any]) -> str:
    """16 hex digits over the ids, tokens and train masks of rendered rows, in their order.

    rows: as in `rendered_in`; what else they hold was computed from these.
    """
    found = hashlib.sha256()
    for name, row in rendered_in(rows):
        found.update(name.encode() + array("q", row.token_ids).tobytes() + bytes(row.mask))
    return found.hexdigest()[:16]


def check_vocabulary(rows: Iterable[Any], model: Any) -> None:
    """Raise ModelError for a token that the torch module has no embedding for. rows: as in `rendered_in`."""
    known = int(model.get_input_embeddings().num_embeddings)
    for name, row in rendered_in(rows):
        highest = max(row.token_ids, default=0)
        if highest >= known:
            raise ModelError(
                f"row {name}: its token {highest} is none of the {known} that the model has embeddings for, so model and tokenizer "
                "do not belong together.\n"
                "  Start from a folder whose tokenizer was saved with its weights, or give the weights the missing rows: "
                "model.resize_token_embeddings(len(tokenizer)) in transformers, then save both."
            )


def rendered_in(rows: Iterable[Any]) -> Iterator[tuple[str, Rendered]]:
    """(id, row) of every rendered row inside rows that were made of them: dataclasses with an `id` and such fields."""
    for row in rows:
        for field in fields(row):
            part = getattr(row, field.name)
            if isinstance(part, Rendered):
                yield row.id, part


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


def fitting(ctx: Context, kind: str, rows: Sequence[AnySingle], limit: int) -> list[AnySingle]:
    """The rows of at most `limit` tokens; the others are counted in data_report.json. Raises DataError when none is left."""
    kept = [row for row in rows if row.tokens <= limit]
    report_rows(
        ctx, kind=kind, limit=limit, rows=len(rows), kept=len(kept), too_long=[row.id for row in rows if row.tokens > limit],
        tokens=sum(row.tokens for row in kept), trained=sum(sum(row.row.mask) for row in kept),
    )  # fmt: skip
    return kept


def report_rows(
    ctx: Context, *, kind: str, limit: int, rows: int, kept: int, too_long: Sequence[str], tokens: int, trained: int,
    more: Mapping[str, Any] | None = None,
) -> None:  # fmt: skip
    """Write data_report.json and say what was dropped. Raises DataError when nothing is left.

    more: what else the stage counted, by its names in the report.
    """
    write_json(
        ctx.out / "data_report.json",
        {"kind": kind, "rows": rows, "used": kept, "max_tokens": limit, "too_long": len(too_long),
         "too_long_ids": list(too_long), "tokens": tokens, "trained_tokens": trained, **(more or {})},
    )  # fmt: skip
    if too_long:
        ctx.console.line(
            f"  {len(too_long)} of {rows} {kind} are longer than {limit} tokens and were left out (data_report.json)"
        )
    if not kept:
        why, hint = f"the dataset holds no {kind}", "Look"
        if rows:
            hint = "Raise max_tokens, or look"
            why = (
                f"all {rows} are longer than max_tokens={limit}"
                if len(too_long) == rows
                else f"all {rows} were left out"
            )
        raise DataError(
            f"No {kind} to train on: {why}.\n  {hint} at what the stage before kept and dropped (burnish show)."
        )
