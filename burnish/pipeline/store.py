"""The artifact store: a folder of folders `<name>-<fingerprint>`. One without the suffix `.partial` is complete, always."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from burnish.core.files import disk_errors, read_json
from burnish.core.fingerprint import fingerprint
from burnish.errors import ArtifactError, DataError, nearest
from burnish.pipeline import cost
from burnish.pipeline.cost import Cost
from burnish.pipeline.lock import lock
from burnish.pipeline.stage import Stage, folder_name

RECORD = "artifact.json"
JOB = "job.json"
RANKS = ".ranks"
PARTIAL = ".partial"


@dataclass(frozen=True, slots=True)
class Artifact:
    """A finished artifact: where it lies and what its artifact.json says.

    stage:  the encoding of the stage that made it (burnish.core.fingerprint.encode).
    inputs: fingerprints by stage name; where two inputs share a name, by folder name.
    """

    folder: Path
    name: str
    fingerprint: str
    stage: dict[str, Any]
    inputs: dict[str, str]
    provenance: dict[str, Any]
    cost: Cost

    @staticmethod
    def open(folder: Path) -> Artifact:
        """The artifact in a folder. Raises ArtifactError when it is unfinished, or not an artifact."""
        if folder.name.endswith(PARTIAL):
            raise ArtifactError(f"{folder} is unfinished.\n  Run its recipe again: it goes on from there.")
        try:
            data = read_json(folder / RECORD)
            return Artifact(
                folder=folder,
                name=data["name"],
                fingerprint=data["fingerprint"],
                stage=data["stage"],
                inputs=data["inputs"],
                provenance=data["provenance"],
                cost=Cost.from_json(data["cost"]),
            )
        except (DataError, KeyError, TypeError, NotADirectoryError) as error:
            raise ArtifactError(
                f"{folder} is not a burnish artifact: its {RECORD} cannot be read ({error}).\n"
                "  Move the folder away; the recipe that made it can make it again."
            ) from error

    @property
    def finished(self) -> str:
        """When it was finished: UTC, ISO 8601, which sorts by time."""
        return str(self.provenance.get("finished_utc", ""))

    def input_folders(self) -> dict[str, Path]:
        """The folders of the inputs, in the same store, under the keys of `inputs`."""
        return {
            key: self.folder.parent / (key if key.endswith(f"-{value}") else f"{key}-{value}")
            for key, value in self.inputs.items()
        }


class Store:
    """The artifacts under one folder. Reading never changes it; writing an artifact needs its lock."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, stage: Stage) -> Path:
        """Where a stage's finished artifact lies or would lie."""
        return self.root / folder_name(stage)

    def partial(self, stage: Stage) -> Path:
        """Where a stage's unfinished work lies or would lie."""
        return self.root / (folder_name(stage) + PARTIAL)

    def complete(self, stage: Stage) -> bool:
        """Whether a stage's artifact is finished. Raises ArtifactError when the store cannot be looked into."""
        with disk_errors(self.root):
            return self.folder(stage).is_dir()

    def path_of(self, stage: Stage) -> Path:
        """The folder of a finished stage. Raises ArtifactError when it is not finished."""
        folder = self.folder(stage)
        if not folder.is_dir():
            raise ArtifactError(f"{stage.name} has not been made: {folder} does not exist.\n  Run its recipe first.")
        return folder

    def artifacts(self, name: str | None = None) -> list[Artifact]:
        """The finished artifacts, newest first, all or those of one stage name. Foreign folders are passed over."""
        found: list[Artifact] = []
        for folder in self._folders():
            if not folder.name.endswith(PARTIAL) and (name is None or folder.name.rpartition("-")[0] == name):
                with contextlib.suppress(ArtifactError):
                    found.append(Artifact.open(folder))
        return sorted(found, key=lambda a: (a.finished, a.folder.name), reverse=True)

    def find(self, spelling: str) -> Artifact:
        """The artifact that a person means by "sft@3f9a", a folder, a name, or a unique beginning of either part.

        Raises ArtifactError when there is none (nearest named), several (all named), or only unfinished work.
        """
        as_path = Path(spelling)
        if os.sep in spelling and as_path.is_dir():
            return Artifact.open(as_path)
        wanted = as_path.name.replace("@", "-", 1)
        names = [f.name for f in self._folders()]
        done = [n for n in names if not n.endswith(PARTIAL) and (self.root / n / RECORD).exists()]
        exact = [n for n in done if wanted in (n, n.rpartition("-")[0])]
        matches = exact or [n for n in done if n.startswith(wanted) or n.rpartition("-")[2].startswith(wanted)]
        if len(matches) == 1:
            return Artifact.open(self.root / matches[0])
        if matches:
            lines = [f"  {a.folder.name}  finished {a.finished}" for a in self.artifacts() if a.folder.name in matches]
            raise ArtifactError(f"{spelling!r} could mean {len(matches)} artifacts. Name one:\n" + "\n".join(lines))
        if unfinished := [n for n in names if n.endswith(PARTIAL) and n.startswith(wanted)]:
            raise ArtifactError(
                f"{spelling!r} is unfinished: {self.root / unfinished[0]}.\n  Run its recipe again: it goes on from there."
            )
        known = {n.rpartition("-")[0] for n in done}
        raise ArtifactError(f"no artifact {spelling!r} in {self.root}. {nearest(wanted.partition('-')[0], known)}")

    def folder_of(self, spelling: str) -> Path:
        """The folder that a person means, spelled as for `find`: of unfinished work where nothing finished has that name.

        Raises ArtifactError when there is none, or several.
        """
        as_path = Path(spelling)
        if os.sep in spelling and as_path.is_dir():
            return as_path
        wanted = as_path.name.replace("@", "-", 1)
        unfinished = [f for f in self._folders() if f.name.endswith(PARTIAL)]
        begun = [f for f in unfinished if f.name == wanted or f.name.startswith(wanted)]
        try:
            found = self.find(spelling).folder
        except ArtifactError:
            if len(begun) != 1:
                raise
            return begun[0]
        return begun[0] if [f.name for f in begun] == [wanted] else found

    @contextlib.contextmanager
    def lock(self, stage: Stage) -> Iterator[int]:
        """Hold a stage's artifact for writing; gives the lock's file descriptor, for a child to inherit.

        Raises ArtifactError when another process holds it, or the store cannot be written.
        """
        name = folder_name(stage)
        with lock(self.root / ".locks" / name, str(self.root / name)) as handle:
            yield handle

    def begin(self, stage: Stage) -> Path:
        """The stage's `.partial` folder, made or as an interrupted run left it. Call under the lock."""
        folder = self.partial(stage)
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def publish(self, stage: Stage) -> Path:
        """Make a stage's `.partial` folder its artifact: every file on disk first, then one rename. Call under the lock."""
        partial, folder = self.partial(stage), self.folder(stage)
        with disk_errors(folder):
            for extra in (cost.FILE, JOB):
                (partial / extra).unlink(missing_ok=True)
            shutil.rmtree(partial / RANKS, ignore_errors=True)
            for base, _, files in os.walk(partial):
                for name in files:
                    if not (Path(base) / name).is_symlink():
                        _flush(Path(base) / name)
                _flush(Path(base))
            os.rename(partial, folder)
            _flush(self.root)
        return folder

    def _folders(self) -> list[Path]:
        if not self.root.is_dir():
            return []
        with disk_errors(self.root):
            return sorted(f for f in self.root.iterdir() if f.is_dir() and not f.name.startswith("."))


def input_fingerprints(stages: list[Stage]) -> dict[str, str]:
    """`inputs` of artifact.json: fingerprints by name, or by folder name where two inputs share a name."""
    names = [stage.name for stage in stages]
    return {s.name if names.count(s.name) == 1 else folder_name(s): fingerprint(s) for s in stages}


def now_utc() -> str:
    """The time, ISO 8601 in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
