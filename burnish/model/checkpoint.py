"""Checkpoints from which a run goes on bit for bit: weights, optimizer state and counters, whole or absent."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from burnish.core.files import disk_errors, read_json, sha256_file, write_json
from burnish.errors import ArtifactError, DataError

WEIGHTS, OPTIMIZER, STATE = "weights.safetensors", "optimizer.safetensors", "state.json"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What was saved. counters: any JSON object, e.g. {"step": 12}."""

    weights: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    counters: dict[str, Any]


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint folder in place of the one before, which goes only when the new one is complete."""
    from safetensors.torch import save_file

    partial, old = _partial(folder), _old(folder)
    with disk_errors(folder):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for name, tensors in ((WEIGHTS, checkpoint.weights), (OPTIMIZER, checkpoint.optimizer)):
            save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, partial / name)
        sums = {name: sha256_file(partial / name) for name in (WEIGHTS, OPTIMIZER)}
        write_json(partial / STATE, {"counters": checkpoint.counters, "sha256": sums})
        if folder.exists():
            shutil.rmtree(old, ignore_errors=True)
            folder.rename(old)
        partial.rename(folder)
        shutil.rmtree(old, ignore_errors=True)


def load_checkpoint(folder: Path) -> Checkpoint | None:
    """The last complete checkpoint, or None. Raises ArtifactError when its files are not the ones that were written."""
    from safetensors.torch import load_file

    # A kill between the two renames of a save leaves the checkpoint before under its other name.
    where = folder if folder.exists() else _old(folder)
    if not where.exists():
        return None
    try:
        state = read_json(where / STATE)
        damaged = [name for name, digest in state["sha256"].items() if sha256_file(where / name) != digest]
    except (DataError, OSError, KeyError) as error:
        raise ArtifactError(_damaged(where, str(error))) from error
    if damaged:
        raise ArtifactError(_damaged(where, f"{' and '.join(damaged)} differ from what was written"))
    return Checkpoint(load_file(where / WEIGHTS), load_file(where / OPTIMIZER), state["counters"])


def remove_checkpoint(folder: Path) -> None:
    """Remove the checkpoint and anything an interrupted save left beside it."""
    for path in (folder, _partial(folder), _old(folder)):
        shutil.rmtree(path, ignore_errors=True)


def _partial(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.partial")


def _old(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")


def _damaged(folder: Path, why: str) -> str:
    return (
        f"The checkpoint {folder} is damaged ({why}), so the run cannot go on from it.\n"
        f"  Delete that folder and run again: this stage starts over, finished stages are kept."
    )
