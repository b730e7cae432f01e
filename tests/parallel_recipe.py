"""A small recipe, SFT then DPO on the toy model, for tests that run it in several processes: python parallel_recipe.py RUNS …"""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import training_runs
from torch import Tensor

from burnish.data.dataset import write_dataset
from burnish.errors import DataError
from burnish.losses.batch import TokenBatch
from burnish.losses.sft import SFTLoss
from burnish.model.parallel import Ranks
from burnish.model.toy import make_toy
from burnish.pipeline.machine import Machine
from burnish.pipeline.run import run
from burnish.pipeline.stage import Context, Stage
from burnish.train.dpo import Preference
from burnish.train.schedule import Linear
from burnish.train.sft import SFT

# FAULT="kill 1 4": rank 1 does that at its fourth batch, once; with "kill", "raise", "mistake" or "wait".
FAULT, MARK = "TEST_FAULT", "TEST_FAULT_MARK"


@dataclass(frozen=True)
class Toy(Stage):
    @property
    def name(self) -> str:
        return "toy"

    def run(self, ctx: Context) -> None:
        make_toy(ctx.out / "model", hidden_size=32, intermediate_size=64)


@dataclass(frozen=True)
class Rows(Stage):
    kind: str

    @property
    def name(self) -> str:
        return f"rows-{self.kind}"

    def run(self, ctx: Context) -> None:
        rows = training_runs.demos() if self.kind == "demos" else training_runs.pairs()
        write_dataset(ctx.out, rows, card={}, dropped=[])


_seen = 0


@dataclass(frozen=True)
class Faulty(SFTLoss):
    """The loss, during which one rank may come to grief."""

    def total(self, logp_BT: Tensor, batch: TokenBatch) -> Tensor:
        global _seen
        _seen += 1
        what, rank, when = (os.environ.get(FAULT) or "nothing 0 0").split()
        mark = Path(os.environ.get(MARK, ""))
        if what != "nothing" and (int(rank), int(when)) == (Ranks.current().rank, _seen) and not mark.exists():
            mark.write_text(str(os.getpid()))
            _fault(what)
        return SFTLoss.total(self, logp_BT, batch)


def _fault(what: str) -> None:
    if what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "raise":
        raise ZeroDivisionError("nobody expects it")
    if what == "mistake":
        raise DataError("row 7 cannot be used.\n  Drop it.")
    signal.pause()


SFT_STAGE = SFT(
    Toy(), Rows("demos"), epochs=4, global_batch=3, lr=Linear(1e-2, 0.1), max_tokens=200, loss=Faulty(),
)  # fmt: skip
ROOT = Preference(SFT_STAGE, Rows("pairs"), epochs=3, global_batch=2, lr=Linear(1e-3, 0.0), max_tokens=200)


def make(runs: Path, until: str | None = None, **where: Any) -> Path:
    """Run it; `where` are fields of the Machine."""
    machine = dataclasses.replace(Machine(threads=2, micro_tokens=80, checkpoint_every_s=0.0), **where)
    return run(ROOT, runs=runs, machine=machine, cache=runs / "cache", until=until, modules=(Path(__file__),))


def main() -> None:
    """RUNS PROCESSES NODES SHARDING: run up to the first training stage."""
    import parallel_recipe

    parallel_recipe.make(
        Path(sys.argv[1]), "sft", processes=int(sys.argv[2]), nodes=int(sys.argv[3]), sharding=sys.argv[4]
    )


if __name__ == "__main__":
    main()
