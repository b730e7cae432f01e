"""A batch follows the log-probs to their device: every tensor of it, whatever its kind."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from burnish.losses import batch as kinds
from burnish.losses.batch import Sequences, TokenBatch, moved

META = torch.device("meta")


def some(kind: type[Any]) -> Any:
    """A value of that kind, its tensors with a few numbers each."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(kind):
        if "Sequences" in str(field.type):
            found[field.name] = some(getattr(kinds, str(field.type)))
        elif field.name == "temperature":
            found[field.name] = 2.0
        else:
            found[field.name] = torch.ones(4, 3)
    return kind(**found)


def tensors(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    if not dataclasses.is_dataclass(value):
        return []
    return [x for field in dataclasses.fields(value) for x in tensors(getattr(value, field.name))]


BATCHES = [x for x in vars(kinds).values() if isinstance(x, type) and dataclasses.is_dataclass(x)]


@pytest.mark.parametrize("kind", BATCHES, ids=lambda kind: kind.__name__)
def test_every_tensor_moves_and_nothing_else_changes(kind: type[Any]) -> None:
    here = some(kind)
    there = moved(here, META)
    assert type(there) is kind
    assert len(tensors(there)) == len(tensors(here)) >= 3
    assert all(x.device == META for x in tensors(there))
    assert all(x.device.type == "cpu" for x in tensors(here))


def test_what_lies_there_keeps_its_memory() -> None:
    here = TokenBatch(some(Sequences))
    same = moved(here, torch.device("cpu"))
    assert same.weight_B is None
    assert same.sequences.tokens_BT is here.sequences.tokens_BT
