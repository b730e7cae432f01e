"""`burnish watch`: a training run while it goes, or after it, from the numbers it writes."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from burnish.errors import ArtifactError, RecipeError
from burnish.pipeline.progress import Console, duration

if TYPE_CHECKING:
    from burnish.core.follow import Follow

METRICS, RUNNING = "metrics.jsonl", "rollouts.running.jsonl"
# Steps and looks at the model can take minutes; silence that is this much longer than a step means that nobody writes.
_SILENT_S, _SILENT_STEPS = 60.0, 10.0


@dataclass(frozen=True)
class Watch:
    """A training run as `burnish run` shows it, wherever it runs: it may be going on, finished or interrupted.

    On a terminal the view stays until the run has finished; on a pipe there is a line for each step.

    Attributes:
        run: an artifact or unfinished work: a folder, its name or a unique beginning of it, or NAME@FINGERPRINT.
        runs: folder of the artifacts.
        every: seconds between looks.
        once: print the view once and end, whether or not the run has finished.
    """

    run: Positional[Annotated[str, arg(metavar="RUN")]]
    runs: Path = Path("runs")
    every: float = 1.0
    once: bool = False

    def __call__(self) -> int:
        """Show it; 0 once the run has finished or Ctrl-C ended the view."""
        from burnish.pipeline.store import Store

        if not 0.05 <= self.every <= 3600:
            raise RecipeError(f"burnish watch: --every {self.every:g}: give seconds from 0.05 to 3600.")
        return watch(Store(self.runs).folder_of(self.run), self.every, self.once, Console(sys.stdout))


def watch(folder: Path, every: float, once: bool, console: Console) -> int:
    """Show the run in a folder until it has finished. Raises ArtifactError for one that does not train."""
    from burnish.core.follow import Follow

    view = View(folder, console)
    follow = Follow(folder / METRICS)
    try:
        while True:
            follow.path = view.place / METRICS
            follow.new()
            ended = view.finished
            if ended and not follow.records:
                raise ArtifactError(
                    f"{view.place} has no steps in {METRICS}, so there is no training to watch.\n"
                    "  Name a stage that trains, such as sft, dpo or rl; burnish show tells what this one holds."
                )
            view.show(follow, whole=once)
            if ended or once:
                return 0
            time.sleep(every)
    except KeyboardInterrupt:
        return 0
    finally:
        console.rest()


class View:
    """What is on the screen of one run. Its folder loses its `.partial` when it has finished."""

    def __init__(self, folder: Path, console: Console) -> None:
        self._folder, self._console = folder, console
        self._told = self._again = 0

    @property
    def place(self) -> Path:
        """Where the run's files are."""
        from burnish.pipeline.store import PARTIAL

        done = self._folder.with_name(self._folder.name.removesuffix(PARTIAL))
        return done if done != self._folder and not self._folder.exists() and done.exists() else self._folder

    @property
    def finished(self) -> bool:
        """Whether the run is complete; a folder that is gone is, too."""
        from burnish.pipeline.store import PARTIAL

        return not self.place.name.endswith(PARTIAL) or not self.place.exists()

    def show(self, follow: Follow, whole: bool = False) -> None:
        """Draw the view again; on a pipe add a line for each new step, or with `whole` print the view.

        A run that has finished is printed as a view in either case.
        """
        from burnish.train.log import note
        from burnish.train.panel import headline, panel

        title = self.place.name.partition(".")[0].rpartition("-")[0] or self.place.name
        view = [headline(follow.records, title, self.state(follow)), *panel(follow.records, self._console.columns)]
        if self._console.live or whole:
            self._console.show(view, self.finished or whole)
            return
        if follow.again > self._again:
            self._console.line(f"  {title}: going on from an earlier step")
            self._told, self._again = 0, follow.again
        for record in follow.records[self._told :]:
            self._console.line(f"  {title}: {record.get('step', '?')}/{record.get('steps', '?')} steps  {note(record)}")
        self._told = len(follow.records)
        if self.finished:
            self._console.show(view)

    def state(self, follow: Follow) -> str:
        """How long it will take, or what became of it."""
        from burnish.train.panel import pace, time_left

        unread = f"; {follow.unread} lines of {METRICS} cannot be read" if follow.unread else ""
        if self.finished:
            return ("finished" if self.place.exists() else "its folder is gone") + unread
        quiet = self._quiet(follow.path)
        if quiet > max(_SILENT_S, _SILENT_STEPS * (pace(follow.records) or 0.0)):
            return f"nothing new for {duration(quiet)}{unread}"
        left = time_left(follow.records)
        waiting = f", {count} replies on their way" if (count := _lines(self.place / RUNNING)) else ""
        ahead = "going on" if left is None else f"{duration(left)} left" if left else "finishing"
        return ahead + waiting + unread

    def _quiet(self, path: Path) -> float:
        """Seconds since the run last wrote numbers or replies; 0 where it has written nothing."""
        times = [each.stat().st_mtime for each in (path, self.place / RUNNING) if each.exists()]
        return max(time.time() - max(times), 0.0) if times else 0.0


def _lines(path: Path) -> int:
    """How many lines a file has; 0 where there is none."""
    try:
        with path.open("rb") as file:
            return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
    except OSError:
        return 0
