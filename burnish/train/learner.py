"""The learner: forward_backward, step, save, load. Every algorithm is a loop over these.

A loss returns a sum and a count; the count is taken over all batches of a call before any gradient is computed, so how a
step is cut into micro-batches cannot change the gradient.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from burnish.errors import ArtifactError, TrainingError
from burnish.losses.batch import Batch, Loss, Sequences
from burnish.model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from burnish.pipeline.machine import Machine
from burnish.train.optimizer import AdamW, Optimizer

AnyBatch = TypeVar("AnyBatch", bound=Batch)


class Trained(Protocol):
    """What a learner trains: a policy, or a reward model."""

    @property
    def model(self) -> Any:
        """The torch module, with the parameters' names that checkpoints use."""

    def outputs(self, sequences: Sequences, temperature: float) -> Tensor:
        """What losses take first: log-probs [B, T] of a policy, scores [B] of a reward model."""

    def save(self, folder: Path) -> None:
        """Write a plain Hugging Face folder."""


class Learner:
    """Holds the optimizer of a trainable policy or reward model. Gradients add up over forward_backward calls until step."""

    def __init__(
        self, policy: Trained, machine: Machine, optimizer: Optimizer | None = None, clip_norm: float = 1.0
    ) -> None:
        self.policy, self.machine, self.clip_norm = policy, machine, clip_norm
        self._weights: dict[str, Any] = {n: w for n, w in policy.model.named_parameters() if w.requires_grad}
        ends = {id(e.weight) for e in (policy.model.get_input_embeddings(), policy.model.get_output_embeddings()) if e}
        outer = frozenset(name for name, weight in self._weights.items() if id(weight) in ends)
        self._optimizers = (optimizer or AdamW()).make(self._weights, outer)
        self.steps = 0

    def forward_backward(
        self,
        batches: Sequence[AnyBatch],
        loss: Loss[AnyBatch],
        *,
        names: Sequence[Sequence[str]] = (),
        temperature: float = 1.0,
    ) -> dict[str, float]:
        """Add the gradient of sum(loss) / sum(count) over all batches; returns `loss`, `count` and the loss's metrics, each a mean.

        names: the row ids of each batch, for the message of a loss that is not finite.
        Without any unit to count there is no gradient and the loss is 0.
        Raises TrainingError for a loss that is not finite; no gradient is kept then.
        """
        count = float(sum(float(loss.count(batch)) for batch in batches))
        if count == 0:
            return {"loss": 0.0, "count": 0.0}
        sums: dict[str, float] = {"loss": 0.0}
        for i, batch in enumerate(batches):
            if not bool(batch.sequences.mask_BT.any()):
                continue
            found = self.policy.outputs(batch.sequences, temperature)
            total = loss.total(found, batch)
            value = float(total.detach())
            if not math.isfinite(value):
                self._drop_gradients()
                raise TrainingError(self._diverged(f"the loss is {value}", names[i] if names else ()))
            (total / count).backward()  # type: ignore[no-untyped-call]
            sums["loss"] += value
            for name, part in loss.metrics(found.detach(), batch).items():
                sums[name] = sums.get(name, 0.0) + float(part)
        return {"count": count} | {name: value / count for name, value in sums.items()}

    def step(self, lr: float) -> float:
        """Clip by the global norm, update the weights, drop the gradients; returns the norm before clipping.

        Without gradients nothing moves and the norm is 0. Raises TrainingError, the weights untouched, for a norm that is
        not finite.
        """
        gradients = [w.grad for w in self._weights.values() if w.grad is not None]
        if not gradients:
            self.steps += 1
            return 0.0
        norm = torch.nn.utils.get_total_norm(gradients)
        if not math.isfinite(float(norm)):
            self._drop_gradients()
            raise TrainingError(self._diverged(f"the gradient's norm is {float(norm)}", ()))
        torch.nn.utils.clip_grads_with_norm_(self._weights.values(), self.clip_norm, norm)
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = lr
            optimizer.step()
        self._drop_gradients()
        self.steps += 1
        return float(norm)

    def save(self, folder: Path, counters: dict[str, Any] | None = None) -> None:
        """Write a checkpoint: weights, optimizer state, the number of steps and the caller's counters."""
        broken = [n for n, w in self._weights.items() if not bool(w.detach().isfinite().all())]
        if broken:
            raise TrainingError(self._diverged(f"the weights {broken[0]} are no longer finite", ()))
        held = self._states()
        state = {f"{name}/{key}": value for name in self._weights for key, value in held[name].items()}
        weights = {name: weight.detach() for name, weight in self._weights.items()}
        save_checkpoint(folder, Checkpoint(weights, state, {"learner_steps": self.steps, **(counters or {})}))

    def load(self, folder: Path) -> dict[str, Any] | None:
        """Go back to a checkpoint; returns its counters, or None where there is none.

        Raises ArtifactError for a damaged checkpoint or one of another model.
        """
        checkpoint = load_checkpoint(folder)
        if checkpoint is None:
            return None
        same = {n: w.shape for n, w in self._weights.items()} == {n: w.shape for n, w in checkpoint.weights.items()}
        if not same:
            raise ArtifactError(
                f"The checkpoint {folder} belongs to another model: its weights have other names or shapes.\n"
                "  Delete that folder and run again: this stage starts over."
            )
        with torch.no_grad():
            for name, weight in self._weights.items():
                weight.copy_(checkpoint.weights[name])
        held = self._states()
        for fields in held.values():
            fields.clear()
        for key, value in checkpoint.optimizer.items():
            name, _, field = key.rpartition("/")
            weight = self._weights[name]
            # Steps are counted in float32 on the CPU; moments live beside their weights.
            where = "cpu" if field == "step" and weight.device.type == "cpu" else weight.device
            held[name][field] = value.to(where)
        self.steps = int(checkpoint.counters["learner_steps"])
        return checkpoint.counters

    def _states(self) -> dict[str, dict[str, Tensor]]:
        """What the optimizers hold of each weight, to be read and changed in place."""
        held: dict[str, dict[str, Tensor]] = {}
        for name, weight in self._weights.items():
            for optimizer in self._optimizers:
                if any(weight is other for group in optimizer.param_groups for other in group["params"]):
                    held[name] = optimizer.state[weight]
        return held

    def _drop_gradients(self) -> None:
        for weight in self._weights.values():
            weight.grad = None

    def _diverged(self, what: str, rows: Sequence[str]) -> str:
        shown = ", ".join(rows[:8]) + (f" and {len(rows) - 8} more" if len(rows) > 8 else "")
        where = f" on the rows {shown}" if rows else ""
        return (
            f"Optimizer step {self.steps + 1}: {what}{where}, so the run stopped before the weights were touched.\n"
            "  The last checkpoint is kept. Lower the learning rate or look at those rows (burnish trace ROW_ID), then run again."
        )
