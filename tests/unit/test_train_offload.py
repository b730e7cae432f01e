"""Optimizer state that waits elsewhere: the update piece by piece equals the update of everything at once."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from burnish.train import offload
from burnish.train.offload import StateAway
from burnish.train.optimizer import Adafactor, AdamW, Muon, Optimizer


def weights() -> dict[str, torch.nn.Parameter]:
    g = torch.Generator().manual_seed(0)
    shapes = {"embed": (9, 4), "layer.w": (6, 4), "layer.v": (4, 6), "norm": (4,), "bias": (6,), "unused": (3, 3)}
    return {name: torch.nn.Parameter(torch.randn(shape, generator=g)) for name, shape in shapes.items()}


@pytest.mark.parametrize("piece", [1, 100, 1 << 30])
@pytest.mark.parametrize("optimizer", [AdamW(weight_decay=0.1), Adafactor(), Muon(weight_decay=0.1)])
def test_pieces_change_no_bit(optimizer: Optimizer, piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offload, "PIECE", piece)

    def trained(away: StateAway | None) -> tuple[dict[str, torch.nn.Parameter], list[Any]]:
        held = weights()
        made = optimizer.make(held, frozenset(["embed"]))
        groups = [list(one.param_groups) for one in made]
        g = torch.Generator().manual_seed(1)
        for _ in range(3):
            for name, weight in held.items():
                weight.grad = None if name == "unused" else torch.randn(weight.shape, generator=g)
            for one in made:
                for group in one.param_groups:
                    group["lr"] = 0.1
                if away:
                    away.update(one)
                else:
                    one.step()
        assert [one.param_groups for one in made] == groups
        return held, [one.state[w] for one in made for group in one.param_groups for w in group["params"]]

    plain, state = trained(None)
    found, other = trained(StateAway())
    assert all(torch.equal(weight, found[name]) for name, weight in plain.items())
    assert [sorted(fields) for fields in state] == [sorted(fields) for fields in other]
    for fields, same in zip(state, other, strict=True):
        assert all(torch.equal(torch.as_tensor(value), torch.as_tensor(same[key])) for key, value in fields.items())


def test_a_failed_update_leaves_the_groups_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offload, "PIECE", 1)
    held = weights()
    (made,) = AdamW().make(held, frozenset())
    groups = list(made.param_groups)
    for weight in held.values():
        weight.grad = torch.zeros_like(weight)
    made.register_step_post_hook(_fail)
    with pytest.raises(KeyError, match="third"):
        StateAway().update(made)
    assert made.param_groups == groups


def _fail(*args: Any) -> None:
    raise KeyError("third")
