"""What SFT, preference tuning and reward modelling share: passes over the rows of a dataset, a new order each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from burnish.core.fingerprint import later, not_identity
from burnish.core.types import Row
from burnish.errors import RecipeError
from burnish.losses.batch import Batch, Loss
from burnish.model.policy import Policy
from burnish.model.trains import All, Trains
from burnish.pipeline.estimate import Estimate, Look
from burnish.pipeline.machine import Machine
from burnish.pipeline.stage import Context, Stage
from burnish.train.estimate import Job, estimate
from burnish.train.keep import Keep, Last
from burnish.train.learner import Learner, Trained
from burnish.train.optimizer import AdamW, Optimizer
from burnish.train.rows import check_numbers, check_vocabulary, digest_of, rows_of_step, split, steps_in
from burnish.train.schedule import Linear, Schedule
from burnish.train.session import HeldOut, Probe, Session


class TrainRow(Protocol):
    """A row, or a pair of rows, ready to be trained."""

    @property
    def id(self) -> str:
        """The id of the dataset's row."""

    @property
    def tokens(self) -> int:
        """Its tokens, prompts included."""


# What a checkpoint was made with beside its rows; it cannot go on with other values.
MADE_OF = ("epochs", "global_batch", "lr", "optimizer", "clip_norm", "seed")

_MADE = {"model": "a model", "rows": "a dataset"}
AnyRow = TypeVar("AnyRow", bound=TrainRow)
AnyBatch = TypeVar("AnyBatch", bound=Batch)


@dataclass(frozen=True)
class Epochs(Stage):
    """Abstract: trains `start` on the rows of `data`, whole epochs of them.

    global_batch: rows an optimizer step; an epoch's last step takes what is left.
    max_tokens:   longer rows are dropped and counted, never cut: a cut one would teach an ending that is none.
    keep:         Last() model, or Best(metric, n) of the run; with ema, of the weights' moving average (burnish.train.keep).
    trains:       All() weights, some Layers(…), or adapters beside frozen weights, LoRA(…).

    READS is the kind of row it trains on, None where a plan cannot count them; SCORES says that the model gives a number a row.
    """

    OWN_PROCESS: ClassVar[bool] = True
    MAKES: ClassVar[str] = "model"
    RANKS: ClassVar[bool] = True
    READS: ClassVar[type[Row] | None] = None
    SCORES: ClassVar[bool] = False

    start: Stage
    data: Stage
    epochs: int = 1
    global_batch: int = 128
    lr: Schedule = field(default_factory=lambda: Linear(5e-6))
    max_tokens: int = 2048
    optimizer: Optimizer = field(default_factory=AdamW)
    clip_norm: float = 1.0
    seed: int = 0
    trains: Trains = later(default_factory=All)
    keep: Keep = later(default_factory=Last)

    def headline(self) -> dict[str, Any]:
        """Epochs, batch, learning rate and longest row."""
        return {
            "epochs": self.epochs, "global_batch": self.global_batch, "lr": self.lr.peak, "max_tokens": self.max_tokens,
        }  # fmt: skip

    def check(self, data: Path | None) -> None:
        """Raise RecipeError for numbers that cannot work."""
        check_numbers(self.name, epochs=self.epochs, global_batch=self.global_batch, max_tokens=self.max_tokens)
        self.keep.check(self.name, data)
        for role, wanted in (("start", "model"), ("data", "rows")):
            given: Stage = getattr(self, role)
            if given.MAKES not in ("", wanted):
                raise RecipeError(
                    f"{self.name}: {role} is the stage {given.name} ({type(given).__name__}), which makes {_MADE[given.MAKES]}, but "
                    f"has to be {_MADE[wanted]}.\n"
                    f"  Write {type(self).__name__}(start, data): the model to begin with, and the dataset to learn from."
                )

    def check_on(self, machine: Machine) -> None:
        """Raise RecipeError for what cannot be trained on parts of the weights."""
        if machine.processes * machine.nodes == 1 or (machine.sharding == "replicated" and machine.tensor == 1):
            return
        divided = f"tensor={machine.tensor}" if machine.tensor > 1 else f"sharding={machine.sharding!r}"
        whole = "tensor=1" if machine.tensor > 1 else "sharding='replicated'"
        where = f"{self.name}: Machine({divided})"
        if not self.optimizer.SHARDS:
            raise RecipeError(
                f"{where} leaves each process its part of every weight, and {type(self.optimizer).__name__} needs whole ones.\n"
                f"  Set {whole}, or optimizer=AdamW()."
            )
        if not isinstance(self.trains, All):
            raise RecipeError(
                f"{where} with trains={self.trains!r}: frozen and trained weights cannot be parts of one layer.\n"
                f"  Set {whole}: frozen weights have no optimizer state, so whole copies cost little."
            )
        if getattr(self, "probe", None) is not None or getattr(self.keep, "probe", None) is not None:
            raise RecipeError(
                f"{where} leaves no process the whole model, so a probe has nothing to ask while it is trained.\n"
                f"  Set {whole}, or probe=None and evaluate the finished model."
            )

    def estimate(self, look: Look) -> Estimate:
        """Memory and time, as far as they can be known."""
        reference = bool(getattr(getattr(self, "loss", None), "REFERENCE", False))
        job = Job(
            self.name, self.start, self.data, self.trains, self.optimizer, self.epochs, self.global_batch, self.max_tokens,
            self.READS, reference=reference, scores=self.SCORES,
        )  # fmt: skip
        return estimate(job, look)

    def model_like(self, look: Look) -> Path | None:
        """What it starts from: training changes no size."""
        return look.model_like(self.start)

    def policy(self, ctx: Context) -> Policy:
        """The start model, ready to be trained."""
        folder = ctx.path_of(self.start) / "model"
        return Policy.load(folder, ctx.machine, trainable=True, trains=self.trains, seed=self.seed)

    def learner(self, model: Trained, ctx: Context) -> Learner:
        """A learner of the model with the stage's optimizer, clipping and average."""
        return Learner(model, ctx.machine, self.optimizer, self.clip_norm, self.keep.ema)


@dataclass(frozen=True)
class PolicyEpochs(Epochs):
    """Abstract: epochs that train a policy, which may be asked meanwhile.

    probe: what to ask while training; it changes no weight, so it is no part of the identity.
    """

    probe: Probe | None = not_identity(default=None)

    def check(self, data: Path | None) -> None:
        """Raise RecipeError for numbers that cannot work, and what the probe raises."""
        super().check(data)
        if self.probe is not None:
            self.probe.check(data)


def train_epochs(
    stage: Epochs, ctx: Context, learner: Learner, rows: Sequence[AnyRow], loss: Loss[AnyBatch],
    batch_of: Callable[[Sequence[AnyRow]], AnyBatch], *,
    prepare: Callable[[int, Sequence[AnyRow]], Sequence[AnyRow]] | None = None,
    readable: Callable[[dict[str, float]], dict[str, float]] | None = None,
    cost: Callable[[AnyRow], int] | None = None, dev: HeldOut | None = None,
) -> Session:  # fmt: skip
    """The loop over all steps that are left; returns the session, which the caller finishes.

    batch_of: some rows as one micro-batch.
    prepare:  a step's number and rows to those rows with what belongs to the whole step, before it is cut into micro-batches.
    readable: a step's metrics, means over its units, to those that are logged.
    cost:     tokens that a forward pass computes for a row, where they are fewer than its tokens.
    dev:      numbers of rows that are not trained on, logged as dev/….
    """
    check_vocabulary(rows, learner.policy.model)
    steps = steps_in(len(rows), stage.global_batch, stage.epochs)
    probe = stage.probe if isinstance(stage, PolicyEpochs) else None
    made_of = {name: repr(getattr(stage, name)) for name in MADE_OF} | {"rows": digest_of(rows)}
    with Session.open(
        ctx, learner, title=stage.name, steps=steps, made_of=made_of, probe=probe, keep=stage.keep, dev=dev
    ) as session:
        for step in session.remaining():
            chosen: Sequence[AnyRow] = [rows[i] for i in rows_of_step(step, len(rows), stage.global_batch, stage.seed)]
            if prepare is not None:
                chosen = prepare(step, chosen)
            parts = split(
                chosen,
                [cost(row) if cost else row.tokens for row in chosen],
                ctx.machine.micro_tokens,
                learner.ranks.teams,
            )
            names = [[row.id for row in part] for part in parts]
            batches = [batch_of(part) for part in parts]
            session.fits(batches)
            found = learner.forward_backward(batches, loss, names=names)
            if readable is not None:
                found = readable(found)
            lr = stage.lr.lr(step, steps)
            norm = learner.step(lr)
            session.done(step, {"lr": lr, "grad_norm": norm, "tokens": sum(row.tokens for row in chosen), **found})
    return session
