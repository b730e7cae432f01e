"""Averages of models that have the same shape (model soups, arXiv:2203.05482), one weight at a time."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from burnish.core.files import disk_errors, read_json, sha256_file
from burnish.errors import ModelError
from burnish.model.folder import check_folder, tokenizer_folder, weight_files

# Facts about how a folder was written, which say nothing about the model.
_NO_MATTER = {"transformers_version", "_name_or_path", "dtype", "torch_dtype", "use_cache"}
_COPIED = (".json", ".jinja", ".model", ".txt")


def average(folders: Sequence[Path], weights: Sequence[float], target: Path) -> None:
    """Write the weighted mean of some model folders to `target`, whole or not at all.

    weights: above 0; only their ratios count. Means are taken in float32 (float64 of float64 weights) and rounded once to the
    type the first model stores; equal models give that model bit for bit. No more than two weights are in memory at a time.
    Everything besides the weights is the first model's. Raises ModelError, naming the difference, for models that cannot be averaged.
    """
    first = folders[0]
    for folder in folders:
        check_folder(folder, template=False)
    for other in folders[1:]:
        _check_alike(first, other)
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    with disk_errors(target), ExitStack() as stack:
        parts = [_Weights(folder, stack) for folder in folders]
        for other, found in zip(folders[1:], parts[1:], strict=True):
            _check_weights(first, parts[0], other, found)
        for path in sorted(first.iterdir()):
            if path.suffix in _COPIED and path.is_file() and not path.name.startswith("."):
                shutil.copyfile(path, partial / path.name)
        for path in weight_files(first):
            _write(path, partial / path.name, parts, weights)
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)


def running_mean(values: Iterator[Tensor], weights: Sequence[float]) -> Tensor:
    """The weighted mean of tensors of one shape, which are read one after the other."""
    mean = next(values)
    mean = mean.to(torch.promote_types(mean.dtype, torch.float32), copy=True)
    done = weights[0]
    for value, weight in zip(values, weights[1:], strict=True):
        done += weight
        # By differences, so that equal values have a mean of exactly that value.
        mean += (value.to(mean.dtype) - mean) * (weight / done)
    return mean


class _Weights:
    """The weights of a folder by name, read when they are asked for."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        from safetensors import safe_open

        self._files: dict[str, Any] = {}
        for path in weight_files(folder):
            if path.suffix != ".safetensors":
                raise ModelError(
                    f"{path} is no safetensors file, so its weights cannot be read one by one.\n"
                    "  Load and save the model with transformers 5, which writes safetensors."
                )
            file: Any = stack.enter_context(safe_open(path, framework="pt"))
            self._files |= dict.fromkeys(file.keys(), file)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of every weight."""
        return {name: tuple(file.get_slice(name).get_shape()) for name, file in self._files.items()}

    def of(self, name: str) -> Tensor:
        """One weight."""
        found: Tensor = self._files[name].get_tensor(name)
        return found


def _write(source: Path, target: Path, parts: Sequence[_Weights], weights: Sequence[float]) -> None:
    """One file of weights, laid out as the first model's: a length, a JSON header, and the weights in the header's order."""
    with source.open("rb") as read, target.open("wb") as out:
        header = _header(read)
        raw = json.dumps(header, separators=(",", ":")).encode()
        raw += b" " * (-len(raw) % 8)
        out.write(len(raw).to_bytes(8, "little") + raw)
        order = sorted((name for name in header if name != "__metadata__"), key=lambda n: header[n]["data_offsets"][0])
        for name in order:
            values = (part.of(name) for part in parts)
            if header[name]["dtype"][0] not in "FB" or header[name]["dtype"] == "BOOL":
                whole = _one(name, values)
            else:
                whole = running_mean(values, weights).to(parts[0].of(name).dtype)
            out.write(whole.contiguous().view(-1).view(torch.uint8).numpy().tobytes())


def _header(file: BinaryIO) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return found


def _one(name: str, values: Iterator[Tensor]) -> Tensor:
    """The value that all models have of something that is no number to average."""
    value = next(values)
    if not all(torch.equal(value, other) for other in values):
        raise ModelError(
            f"{name} holds whole numbers that differ between the models, and they have no average.\n  Average others."
        )
    return value


def _check_alike(first: Path, other: Path) -> None:
    """Raise ModelError for another kind of model, another tokenizer or another chat template."""
    mine, theirs = (
        {k: v for k, v in read_json(f / "config.json").items() if k not in _NO_MATTER} for f in (first, other)
    )
    keys = [key for key in sorted(mine.keys() | theirs.keys()) if mine.get(key) != theirs.get(key)]
    if keys:
        told = ", ".join(f"{key} ({mine.get(key)} and {theirs.get(key)})" for key in keys[:4])
        raise ModelError(_unlike(first, other, f"their config.json differs in {told}"))
    for name in ("tokenizer.json", "tokenizer.model", "vocab.json"):
        files = [tokenizer_folder(folder) / name for folder in (first, other)]
        sums = [sha256_file(file) if file.exists() else "" for file in files]
        if sums[0] != sums[1]:
            raise ModelError(
                _unlike(first, other, f"their tokenizers differ ({name}), so one token id means two things")
            )
    if _template(first) != _template(other):
        raise ModelError(
            _unlike(first, other, "their chat templates differ, so they were taught to reply in two formats")
        )


def _check_weights(first: Path, mine: _Weights, other: Path, theirs: _Weights) -> None:
    a, b = mine.shapes, theirs.shapes
    if a == b:
        return
    name = next(name for name in sorted(a.keys() | b.keys()) if a.get(name) != b.get(name))
    sizes = [str(list(shapes[name])) if name in shapes else "absent" for shapes in (a, b)]
    raise ModelError(_unlike(first, other, f"{name} is {sizes[0]} in the one and {sizes[1]} in the other"))


def _template(folder: Path) -> str:
    path = folder / "chat_template.jinja"
    if path.exists():
        return path.read_text(encoding="utf-8")
    settings = folder / "tokenizer_config.json"
    return str(read_json(settings).get("chat_template", "")) if settings.exists() else ""


def _unlike(first: Path, other: Path, why: str) -> str:
    return (
        f"{first} and {other} cannot be averaged: {why}.\n"
        "  Average models that were trained from one start with one tokenizer and template, such as runs with several seeds."
    )
