"""`burnish eval | chat`: models."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from burnish.cli.flags import cache_folder, data_folder, out
from burnish.pipeline.machine import machine
from burnish.pipeline.progress import Console


@dataclass(frozen=True)
class Eval:
    """Score a model on benchmarks.

    Attributes:
        model: bundled, toy, a model folder, a hub id, or an artifact with a model, spelled as for `burnish show`.
        tasks: names of benchmarks, separated by commas.
        limit: only the first problems of each.
        engine: torch, hf, or gold (the worked solutions instead of a model: a task's ceiling).
        machine: laptop, exact or one_gpu.
        data: folder of real data sets.
        runs: folder of the artifacts.
        out: folder for scores and samples; the same question again is answered from there.
        cache: folder of converted models and downloads.
        seed: of sampling, for tasks that sample.
        json: print the scores as JSON.
    """

    model: Positional[Annotated[str, arg(metavar="MODEL")]]
    tasks: str
    limit: int | None = None
    engine: str = "torch"
    machine: str = "laptop"
    data: Path | None = None
    runs: Path = Path("runs")
    out: Path = Path("runs/evals")
    cache: Path = dataclasses.field(default_factory=cache_folder)
    seed: int = 0
    json: bool = False

    def __call__(self) -> int:
        """Evaluate and print."""
        from burnish.eval.run import evaluate_model

        scores = evaluate_model(
            _model(self.model, self.runs),
            [task.strip() for task in self.tasks.split(",") if task.strip()],
            limit=self.limit,
            machine=machine(self.machine),
            engine=self.engine,
            data=data_folder(self.data),
            out=self.out,
            cache=self.cache,
            seed=self.seed,
            console=Console(quiet=self.json),
        )
        if self.json:
            out(scores)
        else:
            out(f"Scores and samples: {scores['folder']}")
        return 0


@dataclass(frozen=True)
class Chat:
    """Talk to a model in the terminal; /reset starts anew, /quit ends.

    Attributes:
        model: bundled, toy, a model folder, a hub id, or an artifact with a model, spelled as for `burnish show`.
        system: a system message that opens the conversation.
        machine: laptop, exact or one_gpu.
        runs: folder of the artifacts.
        cache: folder of converted models and downloads.
        seed: of sampling.
    """

    model: Positional[Annotated[str, arg(metavar="MODEL")]]
    system: str = ""
    machine: str = "laptop"
    runs: Path = Path("runs")
    cache: Path = dataclasses.field(default_factory=cache_folder)
    seed: int = 0

    def __call__(self) -> int:
        """Talk until the end of the input."""
        from burnish.model.base import BaseModel
        from burnish.pipeline.run import run as run_recipe
        from burnish.rollout.chat import chat

        chosen, console = machine(self.machine), Console()
        folder = Path(_model(self.model, self.runs))
        if not (folder / "model").is_dir():
            base = BaseModel(str(folder) if folder.is_dir() else self.model)
            folder = run_recipe(base, runs=self.runs, machine=chosen, cache=self.cache, console=Console(quiet=True))
        chat(folder / "model", chosen, console, system=self.system, seed=self.seed)
        return 0


def _model(spelling: str, runs: Path) -> str:
    """The folder of the artifact that a person means; a folder, a hub id, "bundled" and "toy" stay as they are."""
    from burnish.pipeline.store import Store

    if spelling in ("bundled", "toy") or "/" in spelling or Path(spelling).is_dir():
        return spelling
    return str(Store(runs).find(spelling).folder)
