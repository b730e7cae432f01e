"""Checkpoints from which a run goes on bit for bit: weights, optimizer state and counters, whole or absent.

However a run's weights are spread over its ranks, a checkpoint holds whole tensors, so that any other number of ranks can go
on from it; they are put together and written one at a time.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from burnish.core.files import disk_errors, read_json, sha256_file, write_json
from burnish.errors import ArtifactError, DataError
from burnish.model.parallel import Ranks, whole

_DTYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16",
    torch.int64: "I64", torch.int32: "I32", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip
WEIGHTS, OPTIMIZER, STATE = "weights.safetensors", "optimizer.safetensors", "state.json"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What was saved. counters: any JSON object, e.g. {"step": 12}. Tensors to save may be shards."""

    weights: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    counters: dict[str, Any]


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint folder in place of the one before, which goes only when the new one is complete.

    All ranks call it; the first one writes.
    """
    partial, old = _partial(folder), _old(folder)
    files = ((WEIGHTS, checkpoint.weights), (OPTIMIZER, checkpoint.optimizer))
    if not Ranks.current().first:
        for _, tensors in files:
            for tensor in tensors.values():
                whole(tensor.detach())
        return
    with disk_errors(folder):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for name, tensors in files:
            _write(partial / name, tensors)
        sums = {name: sha256_file(partial / name) for name in (WEIGHTS, OPTIMIZER)}
        write_json(partial / STATE, {"counters": checkpoint.counters, "sha256": sums})
        if folder.exists():
            shutil.rmtree(old, ignore_errors=True)
            folder.rename(old)
        partial.rename(folder)
        shutil.rmtree(old, ignore_errors=True)


@contextmanager
def weight_errors(folder: Path) -> Iterator[None]:
    """`disk_errors`, for safetensors too: its writer raises an error of its own, with the system's number in its text."""
    from safetensors import SafetensorError

    with disk_errors(folder):
        try:
            yield
        except SafetensorError as error:
            number = re.search(r"os error (\d+)", str(error))
            if number is None:
                raise
            raise OSError(int(number[1]), os.strerror(int(number[1])), str(folder)) from error


def _write(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """A safetensors file, of which one tensor at a time is in memory: a header of 8 bytes and JSON, then the bytes of each."""
    places: dict[str, Any] = {}
    end = 0
    for name, tensor in tensors.items():
        begin, end = end, end + tensor.numel() * tensor.element_size()
        places[name] = {"dtype": _DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    header = json.dumps(places).encode()
    header += b" " * (-len(header) % 8)
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for tensor in tensors.values():
            full = whole(tensor.detach()).cpu().contiguous().reshape(-1)
            file.write(full.view(torch.uint8).numpy().data)


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
