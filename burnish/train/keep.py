"""Which of a run's models the stage leaves: the last one, or the best ones.

best/step-000050/model   a plain model folder, as the stage's own; `burnish eval RUNS/sft-…/best/step-000050` asks it
best.json                what is kept, with its values and the SHA-256 of its weights

Which models are kept is part of the checkpoint. A folder goes only once a checkpoint without it is on the disk, so a run that
is killed anywhere goes back to a state whose folders are all there.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from burnish.core.files import sha256_file, write_json
from burnish.errors import ArtifactError, RecipeError, nearest
from burnish.model.folder import place, weight_files
from burnish.train.ema import check_decay

if TYPE_CHECKING:
    from burnish.train.session import Probe

FOLDER, LIST = "best", "best.json"
_TIMES = {"step", "steps", "wall_s", "tokens_per_s", "probe_s", "dev_s"}


@dataclass(frozen=True, slots=True)
class Last:
    """The stage's model is the last one.

    ema: above 0, the moving average of the weights with this decay takes the place of the weights (burnish.train.ema). One
         more copy of the trained weights is then held in float32, and a second one while a model is written or probed.
    """

    ema: float = 0.0
    VERSION: ClassVar[int] = 1

    def check(self, stage: str, data: Path | None) -> None:
        """Raise RecipeError for values that cannot work."""
        check_decay(stage, self.ema)


@dataclass(frozen=True, slots=True)
class Best:
    """Keep the n best models by a number of metrics.jsonl: Best("probe/gsm8k", probe=Probe((gsm8k.task(),)), n=2).

    metric: a step without it is passed over: a probe's or a dev set's number names the steps at which it was asked. With a
            number that every step has, such as "loss", a model is written whenever that improves.
    probe:  what to ask, in place of the stage's own probe: what it asks decides the result, so it is part of the identity.
    model:  "best": the stage's model is the best of them, the earliest among equals. "last": it is the last one.
    ema:    as that of Last: the models are those of the averaged weights, and so are the probe's and the dev set's numbers.
    """

    metric: str
    n: int = 1
    higher: bool = True
    model: Literal["best", "last"] = "best"
    ema: float = 0.0
    probe: Probe | None = None
    VERSION: ClassVar[int] = 1

    def check(self, stage: str, data: Path | None) -> None:
        """Raise RecipeError for values that cannot work, and what the probe raises."""
        check_decay(stage, self.ema)
        if self.probe is not None:
            self.probe.check(data)
        elif self.metric.startswith("probe/"):
            raise RecipeError(
                f"{stage}: keep=Best({self.metric!r}) goes by a probe, which then decides the result and must be part of it.\n"
                f"  Give it there: keep=Best({self.metric!r}, probe=Probe(…)), in place of probe=…"
            )
        if self.n < 1 or self.model not in ("best", "last"):
            raise RecipeError(
                f"{stage}: keep=Best(n={self.n}, model={self.model!r}) keeps nothing that can be used.\n"
                '  Give n from 1 up, and model="best" or "last".'
            )


Keep = Last | Best
LAST = Last()


class Keeper:
    """The folders of the best models. Every rank calls every method; only the `first` writes.

    kept: step, value and checksums of each, the best first; a part of the checkpoint.
    """

    def __init__(self, best: Best, out: Path, kept: list[dict[str, Any]], first: bool) -> None:
        self.best, self.kept, self._out, self._first = best, kept, out, first

    def offer(self, step: int, record: Mapping[str, Any], looked: bool, save: Callable[[Path], None]) -> bool:
        """Consider the model after `step` steps; returns whether one that was kept before is given up.

        looked: whether the metric must be in the record by now: this was a look, or the run has none.
        Raises RecipeError when the metric should be there and is not.
        """
        value = record.get(self.best.metric)
        if value is None and looked and not self.kept:
            self._unknown(record)
        if not isinstance(value, int | float) or not math.isfinite(value):
            return False
        better = [one for one in self.kept if (one["value"] >= value if self.best.higher else one["value"] <= value)]
        if len(better) >= self.best.n:
            return False
        folder = self._folder(step)
        save(folder)
        sums = _sums(folder) if self._first else {}
        new = {"step": step, "value": float(value), "folder": f"{FOLDER}/{folder.name}", "sha256": sums}
        left = [*better, new, *self.kept[len(better) :]]
        self.kept[:], gone = left[: self.best.n], left[self.best.n :]
        self._write()
        return bool(gone)

    @property
    def first_folder(self) -> Path | None:
        """The folder of the best model where that will be the stage's."""
        return self._folder(self.kept[0]["step"]) if self.kept and self.best.model == "best" else None

    def prune(self) -> None:
        """Remove every folder that is not kept, and what an interrupted save left behind."""
        names = {self._folder(one["step"]).name for one in self.kept}
        for path in (self._out / FOLDER).glob("*"):
            if path.name not in names and self._first:
                shutil.rmtree(path, ignore_errors=True)

    def finish(self) -> bool:
        """Leave only what is kept, and its list; with model="best" make the best one the stage's model and return True.

        Raises ArtifactError when its weights are not those that were written.
        """
        self.prune()
        self._write()
        if self.best.model == "last":
            return False
        if not self._first:
            return True
        folder = self._folder(self.kept[0]["step"])
        if _sums(folder) != self.kept[0]["sha256"]:
            raise ArtifactError(
                f"{folder} is not what was written there, so the best model is lost.\n"
                f"  Delete {self._out} and run again: this stage starts over, finished stages are kept."
            )
        for part in ("adapter", "model"):
            if (folder / part).exists():
                place(folder / part, self._out / part)
        return True

    def _folder(self, step: int) -> Path:
        return self._out / FOLDER / f"step-{step:06d}"

    def _write(self) -> None:
        best = self.best
        told = {"metric": best.metric, "higher": best.higher, "model": best.model, "kept": self.kept}
        if self._first:
            write_json(self._out / LIST, told)

    def _unknown(self, record: Mapping[str, Any]) -> None:
        known = [name for name, value in record.items() if isinstance(value, float) and name not in _TIMES]
        raise RecipeError(
            f"keep=Best({self.best.metric!r}): the first step that should have that number has none, so no model is the best.\n"
            f"  {nearest(self.best.metric, known)} A benchmark of which no reply could be graded has no score."
        )


def _sums(folder: Path) -> dict[str, str]:
    """The SHA-256 of a kept folder's weights; {} where there are none."""
    model = folder / "model"
    return {path.name: sha256_file(path) for path in weight_files(model)} if model.exists() else {}
