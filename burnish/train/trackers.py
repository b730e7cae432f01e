"""Trackers that show a run's numbers in a program of their own, beside metrics.jsonl, which every run writes.

`burnish run --track tensorboard,wandb` names them: where numbers go is no part of a result's identity. Each is an extra, imported
when it is asked for. Only numbers and the artifact's name leave the run: no texts, no settings, no environment. A run that goes
on after a kill goes on in the same run of its tracker.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from burnish.core.follow import number
from burnish.errors import MissingExtra, RecipeError, nearest
from burnish.pipeline.stage import Context
from burnish.pipeline.store import PARTIAL

FOLDER = ".trackers"  # beside the artifacts
PROJECT = "burnish"
_PACKAGES = {"tensorboard": "tensorboardX", "wandb": "wandb", "trackio": "trackio"}


class Tracker(Protocol):
    """Where a run's numbers go, step by step."""

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """Take a step's numbers."""

    def close(self) -> None:
        """Write what is left."""


def trackers(text: str) -> tuple[str, ...]:
    """The names in a text, with commas between, each once. Raises RecipeError for one that is no tracker, MissingExtra for one
    that is not installed.
    """
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in names:
        if name not in _PACKAGES:
            raise RecipeError(f"--track {text}: {name!r} is no tracker. {nearest(name, _PACKAGES)}")
        if importlib.util.find_spec(_PACKAGES[name]) is None:
            raise MissingExtra(f"The tracker {name!r}", _PACKAGES[name], name)
    return names


def open_trackers(ctx: Context, before: Sequence[Mapping[str, Any]]) -> list[Tracker]:
    """The trackers of the run. before: the records of the steps that an earlier sitting took."""
    folder, run = ctx.out.parent / FOLDER, ctx.out.name.removesuffix(PARTIAL)
    opened: list[Tracker] = []
    for name in ctx.track:
        match name:
            case "tensorboard":
                opened.append(TensorBoard(folder / name / run, before))
            case "wandb":
                opened.append(WeightsAndBiases(folder, run))
            case _:
                opened.append(Trackio(run))
    return opened


def numbers_of(record: Mapping[str, Any]) -> dict[str, float]:
    """The finite numbers of a record but for its place in the run; they go under the names of metrics.jsonl."""
    return {
        name: value for name, raw in record.items() if name not in ("step", "steps") and (value := number(raw)) is not None
    }  # fmt: skip


class TensorBoard:
    """Event files for TensorBoard, written by tensorboardX: `tensorboard --logdir RUNS/.trackers/tensorboard`.

    Earlier steps are written again from metrics.jsonl, and what an interrupted sitting wrote is purged, so the curves are
    those of metrics.jsonl even where tracking began in the middle of a run.
    """

    def __init__(self, folder: Path, before: Sequence[Mapping[str, Any]]) -> None:
        from tensorboardX import SummaryWriter

        self._writer: Any = SummaryWriter(logdir=str(folder), purge_step=0, flush_secs=10)
        for record in before:
            self.log(record["step"], numbers_of(record))

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """A scalar for each number."""
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush and close the event file."""
        self._writer.close()


class WeightsAndBiases:
    """A W&B run, offline unless WANDB_MODE says otherwise; `wandb sync RUNS/.trackers/wandb/offline-run-…` sends it later.

    The run's id is the artifact's name, so that sittings are one run. Nothing is recorded of the machine, the code or the
    terminal. WANDB_PROJECT and WANDB_ENTITY name where it goes.
    """

    def __init__(self, folder: Path, run: str) -> None:
        import wandb

        folder.mkdir(parents=True, exist_ok=True)
        quiet: Any = wandb.Settings(
            mode=os.environ.get("WANDB_MODE") or "offline", console="off", silent=True, disable_git=True, disable_code=True,
            x_disable_stats=True, x_disable_meta=True, x_disable_machine_info=True, x_save_requirements=False,
        )  # fmt: skip
        try:
            self._run: Any = wandb.init(
                project=os.environ.get("WANDB_PROJECT") or PROJECT, id=run, name=run, dir=str(folder), resume="allow",
                settings=quiet,
            )  # fmt: skip
        except wandb.Error as error:
            raise RecipeError(
                f"the tracker 'wandb' did not begin ({error}), so the run's numbers would not get there.\n"
                "  Mend that, set WANDB_MODE=offline and send the run later, or run without it; metrics.jsonl is always written."
            ) from error
        # Steps that are taken again after a kill would be refused as W&B's own step, which may only grow.
        self._run.define_metric("step", hidden=True)
        self._run.define_metric("*", step_metric="step")

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """One row of history."""
        self._run.log({"step": step, **numbers})

    def close(self) -> None:
        """Finish the sitting."""
        self._run.finish()


class Trackio:
    """A trackio run in its own local store; `trackio show --project burnish` opens it.

    It goes to a server or a Space only where TRACKIO_SERVER_URL or TRACKIO_SPACE_ID asks for that.
    """

    def __init__(self, run: str) -> None:
        import trackio

        # It tells about itself on stdout, where results go.
        with contextlib.redirect_stdout(io.StringIO()):
            self._run: Any = trackio.init(
                project=PROJECT, name=run, resume="allow", embed=False, auto_log_gpu=False, auto_log_cpu=False
            )

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """One row of history."""
        self._run.log(dict(numbers), step=step)

    def close(self) -> None:
        """Write what waits."""
        import trackio

        with contextlib.redirect_stdout(io.StringIO()):
            trackio.finish()
