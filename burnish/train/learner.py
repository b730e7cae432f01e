"""The learner: forward_backward, step, save, load. Every algorithm is a loop over these.

A loss returns a sum and a count; the count is taken over all batches of a call before any gradient is computed, so how a
step is cut into micro-batches cannot change the gradient.

With several ranks every one is given the same batches, takes its share of them, and gradients are summed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from burnish.errors import ArtifactError, TrainingError
from burnish.losses.batch import Batch, Loss, Sequences, moved
from burnish.model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from burnish.model.flops import Work
from burnish.model.parallel import Ranks, Sharded, deal, held_here, padding, placed, same_start, sum_gradients
from burnish.model.sharing import computed_spans
from burnish.model.tensor_parallel import Divided, alike, total_norm
from burnish.pipeline.machine import Machine
from burnish.train.ema import WeightAverage
from burnish.train.offload import StateAway
from burnish.train.optimizer import AdamW, Optimizer

AnyBatch = TypeVar("AnyBatch", bound=Batch)
AVERAGE = "ema"  # in a checkpoint, beside the optimizer's fields of a weight


class Trained(Protocol):
    """What a learner trains: a policy, or a reward model."""

    @property
    def model(self) -> Any:
        """The torch module, with the parameters' names that checkpoints use."""

    def outputs(self, sequences: Sequences, temperature: float) -> Tensor:
        """What losses take first: log-probs [B, T] of a policy, scores [B] of a reward model."""

    def shard(self) -> Sharded:
        """Leave this rank only its part of each weight; `outputs` then works when all ranks call it together."""

    def divide(self) -> Divided:
        """Leave this rank only its part of each layer's matrices; its team's ranks then call `outputs` together."""

    def save(self, folder: Path) -> None:
        """Write a plain Hugging Face folder."""


class Learner:
    """Holds the optimizer of a trainable policy or reward model. Gradients add up over forward_backward calls until step.

    average:  of the weights after every step so far (burnish.train.ema), where there is one.
    flops:    model FLOPs until now, those of all ranks (burnish.model.flops); 0 for a model whose shape is not known.
    update_s: seconds spent in `step` until now.
    torn:     whether the weights were being changed when an exception came: they are then neither old nor new.
    """

    def __init__(
        self, policy: Trained, machine: Machine, optimizer: Optimizer | None = None, clip_norm: float = 1.0, ema: float = 0.0
    ) -> None:  # fmt: skip
        self.policy, self.machine, self.clip_norm = policy, machine, clip_norm
        self.ranks = Ranks.current(machine)
        self._sharded = policy.shard() if self.ranks.size > 1 and machine.sharding != "replicated" else None
        if self._sharded is None:
            same_start((w for w in policy.model.parameters() if w.requires_grad), self.ranks)
        self._divided = policy.divide() if self.ranks.size > 1 and machine.tensor > 1 else None
        self._weights: dict[str, Any] = {n: w for n, w in policy.model.named_parameters() if w.requires_grad}
        ends = {id(e.weight) for e in (policy.model.get_input_embeddings(), policy.model.get_output_embeddings()) if e}
        outer = frozenset(name for name, weight in self._weights.items() if id(weight) in ends)
        self.optimizer = optimizer or AdamW()
        self._optimizers = self.optimizer.make(self._weights, outer)
        self._away = StateAway() if machine.offload in ("optimizer", "both") else None
        self.average = WeightAverage(ema, self._weights) if ema else None
        self.steps = 0
        self.work = Work.of_model(policy.model)
        self.flops = self.update_s = 0.0
        self.torn = False

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
        Every rank gives the same batches and gets the same numbers back.
        Raises TrainingError, on all ranks, for a loss that is not finite; no gradient is kept then.
        """
        counted = batches[self.ranks.rank :: self.ranks.size]
        count = self.ranks.total(float(sum(float(loss.count(batch)) for batch in counted)))
        if count == 0:
            return {"loss": 0.0, "count": 0.0}
        live = [i for i, batch in enumerate(batches) if bool(batch.sequences.mask_BT.any())]
        if self.work is not None:
            for i in live:
                self.flops += self._cost(batches[i].sequences, self.work)
        sums: dict[str, float] = {"loss": 0.0}
        broken = ""
        for turn in deal([batches[i].sequences.size for i in live], self.ranks):
            if broken or turn is None:
                self._keep_pace(temperature)
                continue
            batch = batches[live[turn]]
            found = self.policy.outputs(batch.sequences, temperature)
            # Log-probs are where the weights are; losses work there.
            batch = moved(batch, found.device)
            total = loss.total(found, batch)
            value = float(total.detach())
            if not math.isfinite(value):
                broken = self._diverged(f"the loss is {value}", names[live[turn]] if names else ())
            if not broken or self._sharded:
                (total / count).backward()  # type: ignore[no-untyped-call]
            sums["loss"] += value
            for name, part in loss.metrics(found.detach(), batch).items():
                sums[name] = sums.get(name, 0.0) + float(part)
        return {"count": count} | {name: value / count for name, value in self._joined(sums, broken).items()}

    @staticmethod
    def _cost(rows: Sequences, work: Work) -> float:
        """Model FLOPs of a batch, beginnings that its rows share counted once."""
        tokens = [row[:n] for row, n in zip(rows.tokens_BT.tolist(), rows.lengths_B.tolist(), strict=True)]
        spans = computed_spans(tokens)
        lengths, before = [stop - start for start, stop in spans], [start for start, _ in spans]
        return work.training(lengths, int(rows.mask_BT.sum()), before)

    def _keep_pace(self, temperature: float) -> None:
        """A pass that counts for nothing: whoever holds shards must take part in every other rank's pass."""
        if self._sharded:
            (self.policy.outputs(padding(), temperature).sum() * 0.0).backward()  # type: ignore[no-untyped-call]

    def _joined(self, sums: dict[str, float], broken: str) -> dict[str, float]:
        """The sums over all teams. Raises TrainingError when one of them is broken, with what it says."""
        joined: dict[str, float] = {}
        stops: list[str] = []
        # The ranks of a team have found the same.
        for part, stop in self.ranks.gather((sums, broken))[:: self.ranks.team]:
            stops += [stop] if stop else []
            for name, value in part.items():
                joined[name] = joined.get(name, 0.0) + value
        if stops:
            self._drop_gradients()
            raise TrainingError(stops[0])
        return joined

    def step(self, lr: float) -> float:
        """Clip by the global norm, update the weights, drop the gradients; returns the norm before clipping.

        Without gradients nothing moves and the norm is 0. Raises TrainingError, the weights untouched, for a norm that is
        not finite.
        """
        began = time.monotonic()
        if self._divided is not None:
            self._divided.sum_gradients(self._weights.values(), self.ranks)
        elif self._sharded is None:
            sum_gradients(self._weights.values(), self.ranks)
        gradients = [w.grad for w in self._weights.values() if w.grad is not None]
        if not gradients:
            self._counted()
            return 0.0
        norm = total_norm(gradients)
        if not math.isfinite(float(norm)):
            self._drop_gradients()
            raise TrainingError(self._diverged(f"the gradient's norm is {float(norm)}", ()))
        for weights in alike(self._weights.values()):
            torch.nn.utils.clip_grads_with_norm_(weights, self.clip_norm, norm)
        self.torn = True
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = lr
            if self._away:
                self._away.update(optimizer)
            else:
                optimizer.step()
        self._drop_gradients()
        self._counted()
        self.torn = False
        self.update_s += time.monotonic() - began
        return float(norm)

    @contextmanager
    def result(self) -> Iterator[None]:
        """Inside, the weights are those a run that ended here would leave: their average where there is one."""
        if self.average is None:
            yield
            return
        self.torn = True
        with self.average.shown():
            yield
        self.torn = False

    def _counted(self) -> None:
        self.steps += 1
        if self.average:
            self.average.update(self.steps)

    def save(self, folder: Path, counters: dict[str, Any] | None = None) -> None:
        """Write a checkpoint: weights, optimizer state, the number of steps and the caller's counters; all ranks call it."""
        broken = [n for n, w in self._weights.items() if not bool(held_here(w.detach()).isfinite().all())]
        found = [name for names in self.ranks.gather(broken[:1]) for name in names]
        if found:
            raise TrainingError(self._diverged(f"the weights {found[0]} are no longer finite", ()))
        held = self._states()
        state = {f"{name}/{key}": value for name in self._weights for key, value in held[name].items()}
        if self.average:
            state |= {f"{name}/{AVERAGE}": value for name, value in self.average.state().items()}
        weights = {name: weight.detach() for name, weight in self._weights.items()}
        save_checkpoint(folder, Checkpoint(weights, state, {**(counters or {}), "learner_steps": self.steps}))

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
                weight.copy_(placed(checkpoint.weights[name], weight))
        held = self._states()
        for fields in held.values():
            fields.clear()
        for key, value in checkpoint.optimizer.items():
            name, _, field = key.rpartition("/")
            weight = self._weights[name]
            if field == AVERAGE and self.average:
                self.average.load(name, placed(value, weight))
                continue
            # Steps are counted in float32 on the CPU; moments live beside their weights.
            where = "cpu" if field == "step" and weight.device.type == "cpu" else weight.device
            held[name][field] = placed(value, weight) if value.shape == weight.shape and value.ndim else value.to(where)
            if self._away:
                self._away.send(weight, held[name])
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
