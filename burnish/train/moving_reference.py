"""The reference policy of RL: the start as it came, or one that follows the trained policy from afar."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch

from burnish.errors import ArtifactError, RecipeError
from burnish.model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from burnish.model.lora import adapters, adapters_off, plain_weights
from burnish.model.policy import Policy
from burnish.pipeline.stage import Context, Stage


@dataclass(frozen=True, slots=True)
class RefreshEvery:
    """After every `steps` steps the reference becomes mix * policy + (1 - mix) * reference.

    mix 1 takes the policy over (ProRL, arXiv:2505.24864, resets its reference so); below 1 it is a moving
    average of the weights (TR-DPO, arXiv:2404.09656: soft and hard updates).
    """

    steps: int
    mix: float = 1.0
    VERSION: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.steps < 1 or not 0 < self.mix <= 1:
            raise RecipeError(
                f"RefreshEvery(steps={self.steps}, mix={self.mix}): steps are counted from 1, and the share of the policy in the new "
                "reference lies above 0 and not above 1.\n"
                "  Give mix=1.0 to take the policy over; leave refresh_reference out for one that stays."
            )


def frozen(start: Stage, ctx: Context) -> Policy:
    """The policy that `start` made, frozen, in the learner's own precision."""
    policy = Policy.load(ctx.path_of(start) / "model", ctx.machine, trainable=True)
    policy.model.requires_grad_(False)
    return policy


class Reference:
    """A frozen policy. With adapters and no refresh it is the trained policy itself, which without them is still the start."""

    def __init__(self, trained: Policy, start: Stage, ctx: Context, refresh: RefreshEvery | None) -> None:
        self._trained, self._refresh = trained, refresh
        self._shared = refresh is None and bool(adapters(trained.model))
        self.policy = trained if self._shared else frozen(start, ctx)

    def active(self) -> AbstractContextManager[None]:
        """Inside, `policy` is the reference."""
        return adapters_off(self.policy.model) if self._shared else nullcontext()

    @torch.no_grad()
    def after(self, step: int) -> bool:
        """Follow the trained policy where it is time after step `step`, counted from 0; returns whether it did."""
        if self._refresh is None or (step + 1) % self._refresh.steps:
            return False
        new = dict(plain_weights(self._trained.model))
        for name, weight in self.policy.model.named_parameters():
            weight.lerp_(new[name].detach().to(weight.dtype), self._refresh.mix)
        return True

    def save(self, folder: Path) -> None:
        """Write the weights."""
        weights = {name: weight.detach() for name, weight in self.policy.model.named_parameters()}
        save_checkpoint(folder, Checkpoint(weights, {}, {}))

    @torch.no_grad()
    def load(self, folder: Path) -> None:
        """Go back to written weights. Raises ArtifactError where there are none."""
        found = load_checkpoint(folder)
        if found is None:
            raise ArtifactError(
                f"The checkpoint has no {folder.name} beside it, so the reference of this run is lost.\n"
                "  Delete the stage's folder and run again: this stage starts over."
            )
        for name, weight in self.policy.model.named_parameters():
            weight.copy_(found.weights[name])
