"""A stage is a value that knows how to run. Every field decides the result; where it runs comes from the Context."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from burnish.core.fingerprint import fingerprint
from burnish.errors import RecipeError
from burnish.pipeline.estimate import Estimate, Look
from burnish.pipeline.machine import Machine
from burnish.pipeline.progress import Console

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


@dataclass(frozen=True, slots=True)
class Context:
    """What a running stage may ask for; none of it bears on identity.

    out:     the stage's own folder (`….partial` until it is complete); whatever is in it survives a kill. Of several
             processes only the first writes there; the others write into folders of their own, which are thrown away.
    path_of: the finished artifact folder of an input stage.
    data:    the folder given with --data, or None.
    cache:   a folder for converted models and downloads, shared by all runs.
    first:   the first process's `out`, for the others; None in the first or only one.
    track:   names of trackers that are shown the numbers of training (burnish.train.trackers).
    """

    out: Path
    machine: Machine
    path_of: Callable[[Stage], Path]
    data: Path | None
    cache: Path
    console: Console
    first: Path | None = None
    track: tuple[str, ...] = ()

    @property
    def kept(self) -> Path:
        """The stage's own folder, to read in every process what an earlier sitting left."""
        return self.first or self.out


@dataclass(frozen=True)
class Stage:
    """Abstract: a frozen dataclass whose fields decide its result. Concrete stages are final.

    VERSION is raised whenever the same fields would give another result.
    OWN_PROCESS stages train or generate: they run in a process of their own, so that memory returns and a crash is contained.
    RANKS stages run in all processes of the Machine, each of which calls `run`; others run in one whatever it has.
    MAKES: "model" or "rows" where the artifact is one, so that a recipe that mixes them up is refused before it runs.
    """

    VERSION: ClassVar[int] = 1
    OWN_PROCESS: ClassVar[bool] = False
    RANKS: ClassVar[bool] = False
    MAKES: ClassVar[str] = ""

    @property
    def name(self) -> str:
        """The artifact's first name, e.g. "sft"."""
        raise NotImplementedError

    def check(self, data: Path | None) -> None:
        """Raise RecipeError or DataError for values that cannot work, MissingData for data that are not on this machine.

        Called by plan, before anything runs.
        """

    def check_on(self, machine: Machine) -> None:
        """Raise RecipeError for what this stage cannot do on this machine. Called before anything runs."""

    def headline(self) -> dict[str, Any]:
        """The numbers `burnish plan` prints for this stage: batch, steps, learning rate, rows asked for …"""
        return {}

    def estimate(self, look: Look) -> Estimate | None:
        """What the stage would need of the machine; None for stages of which that is not said. Quick; loads no torch."""
        return None

    def model_like(self, look: Look) -> Path | None:
        """A folder with the sizes and the tokenizer of the model this stage makes, before it has run; None where none is known."""
        return None

    def run(self, ctx: Context) -> None:
        """Write the artifact's files into ctx.out; go on from whatever an interrupted run left there."""
        raise NotImplementedError


def inputs(value: Any) -> Iterator[Stage]:
    """The stages directly inside a value's fields, in field order, each once; not the stages inside those."""
    seen: set[str] = set()
    for field in dataclasses.fields(value):
        for stage in _stages_in(getattr(value, field.name)):
            key = folder_name(stage)
            if key not in seen:
                seen.add(key)
                yield stage


def _stages_in(item: Any) -> Iterator[Stage]:
    if isinstance(item, Stage):
        yield item
    elif isinstance(item, tuple | list):
        for part in item:
            yield from _stages_in(part)
    elif isinstance(item, dict):
        yield from _stages_in(list(item.values()))
    elif dataclasses.is_dataclass(item) and not isinstance(item, type):
        yield from _stages_in([getattr(item, field.name) for field in dataclasses.fields(item)])


def folder_name(stage: Stage) -> str:
    """The name of a stage's artifact folder, `<name>-<fingerprint>`: what tells two stages apart.

    Equality of Python values would not do: 1 == 1.0 == True, and their fingerprints differ.
    Raises RecipeError for a name that cannot be a folder's, or a field without stable identity.
    """
    name = stage.name
    if not _NAME.fullmatch(name):
        raise RecipeError(
            f"{type(stage).__name__}: the stage name {name!r} cannot name a folder.\n"
            "  Use letters, digits and . _ + -, beginning with a letter or digit."
        )
    return f"{name}-{fingerprint(stage, name)}"


def ordered(root: Stage) -> list[Stage]:
    """Every stage below `root` and `root` itself, inputs before the stages that need them, each once."""
    done: dict[str, Stage] = {}

    def visit(stage: Stage) -> None:
        for part in inputs(stage):
            visit(part)
        done.setdefault(folder_name(stage), stage)

    visit(root)
    return list(done.values())
