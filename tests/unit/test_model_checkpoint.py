"""Checkpoints: whole or absent, and never silently damaged."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from burnish.errors import ArtifactError
from burnish.model.checkpoint import Checkpoint, load_checkpoint, remove_checkpoint, save_checkpoint


def made(value: float) -> Checkpoint:
    return Checkpoint({"w": torch.full((3, 2), value)}, {"w/step": torch.tensor(value)}, {"step": int(value)})


def test_comes_back_bit_for_bit_and_replaces_the_one_before(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    assert load_checkpoint(folder) is None
    for value in (1.0, 0.1):
        save_checkpoint(folder, made(value))
        found = load_checkpoint(folder)
        assert found is not None
        assert torch.equal(found.weights["w"], torch.full((3, 2), value))
        assert found.counters == {"step": int(value)}
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_a_kill_between_the_two_renames_keeps_the_old_one(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    save_checkpoint(folder, made(1.0))
    folder.rename(tmp_path / ".checkpoint.old")
    (tmp_path / ".checkpoint.partial").mkdir()
    found = load_checkpoint(folder)
    assert found is not None
    assert found.counters == {"step": 1}
    save_checkpoint(folder, made(2.0))
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]
    remove_checkpoint(folder)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["weights.safetensors", "optimizer.safetensors", "state.json"])
def test_damage_is_noticed(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "checkpoint"
    save_checkpoint(folder, made(1.0))
    raw = bytearray((folder / name).read_bytes())
    raw[len(raw) // 2] ^= 1
    raw[-3] ^= 0xFF
    (folder / name).write_bytes(raw)
    with pytest.raises(ArtifactError, match="damaged"):
        load_checkpoint(folder)
