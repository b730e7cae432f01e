"""Learning rates by hand and against transformers."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import torch
from transformers import get_cosine_schedule_with_warmup, get_linear_schedule_with_warmup, get_wsd_schedule

from burnish.errors import RecipeError
from burnish.train.schedule import WSD, Constant, Cosine, Linear


def test_linear_by_hand() -> None:
    """100 steps, 10 of warm-up, peak 1: step/10 up, then (100 - step)/90 down."""
    found = [Linear(1.0, warmup=0.1).lr(step, 100) for step in (0, 5, 10, 55, 99)]
    assert found == pytest.approx([0.0, 0.5, 1.0, 0.5, 1 / 90], abs=1e-15)


def test_cosine_by_hand() -> None:
    """Half-way down: cos(pi/2) = 0; with floor 0.1 the middle is 0.55."""
    assert [Cosine(1.0, warmup=0.1).lr(step, 100) for step in (0, 5, 10, 55)] == pytest.approx([0, 0.5, 1, 0.5])
    assert Cosine(1.0, warmup=0.0, floor=0.1).lr(50, 100) == pytest.approx(0.55)


def test_constant_by_hand() -> None:
    assert [Constant(2.0).lr(step, 4) for step in range(4)] == [2.0] * 4
    assert [Constant(2.0, warmup=0.5).lr(step, 4) for step in range(4)] == [0.0, 1.0, 2.0, 2.0]


def test_wsd_by_hand() -> None:
    """100 steps, 10 up, 70 at the peak, 20 down: step 90 is half-way, 1/2 in a line and 1 - sqrt(1/2) by the root."""
    assert [WSD(1.0, warmup=0.1).lr(step, 100) for step in (0, 5, 10, 79, 80, 90, 99)] == pytest.approx(
        [0, 0.5, 1, 1, 1, 0.5, 0.05]
    )
    assert WSD(1.0, shape="sqrt").lr(90, 100) == pytest.approx(1 - 0.5**0.5)
    assert WSD(1.0, floor=0.1).lr(90, 100) == pytest.approx(0.55)


@pytest.mark.parametrize("shape", ["linear", "sqrt"])
def test_wsd_is_that_of_transformers(shape: Literal["linear", "sqrt"]) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2e-5)
    kind = "linear" if shape == "linear" else "1-sqrt"
    scheduler = get_wsd_schedule(
        optimizer, num_warmup_steps=5, num_decay_steps=20, num_training_steps=100, decay_type=kind
    )
    ours = WSD(2e-5, warmup=0.05, decay=0.2, shape=shape)
    for step in range(100):
        assert ours.lr(step, 100) == pytest.approx(scheduler.get_last_lr()[0], abs=1e-18), step
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize("wrong", [{"decay": 0.0}, {"decay": 0.98}, {"shape": "cosine"}])
def test_wsd_refuses_shares_without_meaning(wrong: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match="WSD"):
        WSD(1.0, **wrong)


def test_without_warmup_the_first_step_has_the_peak() -> None:
    assert Linear(3.0, warmup=0.0).lr(0, 7) == 3.0


@pytest.mark.parametrize("steps", [1, 7, 100, 333])
def test_same_as_transformers(steps: int) -> None:
    warm = -(-steps * 3 // 100)
    for ours, theirs in (
        (Linear(2e-5, warmup=0.03), get_linear_schedule_with_warmup),
        (Cosine(2e-5, warmup=0.03), get_cosine_schedule_with_warmup),
    ):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2e-5)
        scheduler = theirs(optimizer, warm, steps)
        for step in range(steps):
            assert ours.lr(step, steps) == pytest.approx(scheduler.get_last_lr()[0], abs=1e-18)
            optimizer.step()
            scheduler.step()


@pytest.mark.parametrize(("peak", "warmup"), [(-1.0, 0.0), (float("nan"), 0.0), (1.0, 1.0), (1.0, -0.1)])
def test_impossible_values_are_refused(peak: float, warmup: float) -> None:
    with pytest.raises(RecipeError):
        Linear(peak, warmup)
