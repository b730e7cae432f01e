"""What a plain Hugging Face model folder must hold, and its identity. Standard library only, so that plans are quick."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from burnish.core.files import read_json, sha256_file
from burnish.errors import DataError, ModelError


def weight_files(folder: Path) -> list[Path]:
    """The safetensors (or older .bin) weight files, sorted by name."""
    found = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))
    return [path for path in found if not path.name.startswith(("adapter_", "."))]


def check_folder(folder: Path, *, template: bool = True) -> None:
    """Raise ModelError naming the first thing the folder lacks: config, weights, tokenizer or, unless False, chat template."""
    if not folder.is_dir():
        raise ModelError(
            f"{folder} is not a folder, so there is no model to start from.\n"
            '  Give a folder that holds config.json and *.safetensors, "bundled", or "toy".'
        )
    if not (folder / "config.json").exists():
        raise ModelError(_lacks(folder, "config.json, which says what the model is"))
    if not weight_files(folder):
        hint = (
            " It holds a LoRA adapter only: merge it into its base model first."
            if (folder / "adapter_config.json").exists()
            else ""
        )
        raise ModelError(_lacks(folder, f"weights (*.safetensors).{hint}"))
    if not any((folder / name).exists() for name in ("tokenizer.json", "tokenizer.model", "vocab.json")):
        raise ModelError(_lacks(folder, "a tokenizer (tokenizer.json)"))
    if template and not has_template(folder):
        raise ModelError(
            f"{folder} has no chat template, so conversations cannot be turned into tokens.\n"
            "  Write one to chat_template.jinja in that folder (a base model can borrow its instruct sibling's)."
        )


def _lacks(folder: Path, what: str) -> str:
    names = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
    return (
        f"{folder} has no {what}, so it cannot be loaded. It holds: {names}.\n"
        "  Give a folder written by save_pretrained of transformers (model and tokenizer)."
    )


def has_template(folder: Path) -> bool:
    """Whether the model comes with a chat template."""
    if (folder / "chat_template.jinja").exists() or (folder / "chat_template.json").exists():
        return True
    try:
        settings = read_json(folder / "tokenizer_config.json")
    except DataError:
        return False
    return bool(settings.get("chat_template"))


def content_of(folder: Path) -> str:
    """The SHA-256, in hex, over the names and bytes of everything that decides what the model says."""
    digest = hashlib.sha256()
    settings = [
        path for path in sorted(folder.iterdir())
        if path.suffix in (".json", ".jinja", ".model", ".txt") and path.is_file() and not path.name.startswith(".")
    ]  # fmt: skip
    for path in [*weight_files(folder), *settings]:
        digest.update(f"{path.name}\0{sha256_file(path)}\n".encode())
    return digest.hexdigest()


def place(source: Path, target: Path) -> None:
    """Put a copy of a finished model folder at `target`, whole or not at all; files are hard-linked where possible."""
    if target.exists():
        return
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(source, partial, copy_function=_link)
    partial.rename(target)


def _link(source: str, target: str) -> str:
    real = os.path.realpath(source)
    try:
        os.link(real, target)
    except OSError:
        # Another disk, or a file system without hard links.
        shutil.copyfile(real, target)
    return target
