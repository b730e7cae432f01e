"""What a plain Hugging Face model folder must hold, and its identity. Standard library only, so that plans are quick."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from burnish.core.files import read_json, sha256_file
from burnish.core.fingerprint import canonical
from burnish.errors import DataError, ModelError

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")


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
    if is_adapter(folder):
        if not (folder / ADAPTER_WEIGHTS).exists():
            raise ModelError(_lacks(folder, f"{ADAPTER_WEIGHTS}, the adapter's weights"))
        check_folder(base_of(folder), template=template and not has_template(folder))
        return
    if not (folder / "config.json").exists():
        raise ModelError(_lacks(folder, "config.json, which says what the model is"))
    if not weight_files(folder):
        raise ModelError(_lacks(folder, "weights (*.safetensors)"))
    if not any((folder / name).exists() for name in _TOKENIZERS):
        raise ModelError(_lacks(folder, "a tokenizer (tokenizer.json)"))
    if template and not has_template(folder):
        raise ModelError(
            f"{folder} has no chat template, so conversations cannot be turned into tokens.\n"
            "  Write one to chat_template.jinja in that folder (a base model can borrow its instruct sibling's)."
        )


def is_adapter(folder: Path) -> bool:
    """Whether the folder holds an adapter in peft's format and no whole model."""
    return (folder / ADAPTER_CONFIG).exists() and not weight_files(folder)


def is_reward_model(folder: Path) -> bool:
    """Whether the folder holds a model that scores replies and writes none, by its config.json."""
    if not (folder / "config.json").exists():
        return False
    kinds = read_json(folder / "config.json").get("architectures") or ()
    return any(str(kind).endswith("ForSequenceClassification") for kind in kinds)


def base_of(folder: Path) -> Path:
    """The model folder beside whose weights an adapter was trained. Raises ModelError where it is not on this machine."""
    wanted = str(read_json(folder / ADAPTER_CONFIG).get("base_model_name_or_path") or "")
    base = Path(wanted).expanduser()
    if not wanted or not base.is_dir():
        raise ModelError(
            f"{folder} holds an adapter for the model {wanted!r}, which is no folder on this machine, so there is nothing to "
            f"add it to.\n  Set base_model_name_or_path in {folder / ADAPTER_CONFIG} to a folder with that model."
        )
    if is_adapter(base):
        raise ModelError(
            f"{folder} holds an adapter for {base}, which is an adapter itself.\n"
            "  Merge that one first: Policy.load(folder, Machine()).save(target)."
        )
    return base.resolve()


def tokenizer_folder(folder: Path) -> Path:
    """Where a model's tokenizer is: an adapter may come with one or leave it to its base."""
    if is_adapter(folder) and not any((folder / name).exists() for name in _TOKENIZERS):
        return base_of(folder)
    return folder


def weights_of(folder: Path) -> str:
    """The SHA-256, in hex, over the bytes of a whole model's weight files."""
    digest = hashlib.sha256()
    for path in weight_files(folder):
        digest.update(f"{path.name}\0{sha256_file(path)}\n".encode())
    return digest.hexdigest()


def _lacks(folder: Path, what: str) -> str:
    names = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
    return (
        f"{folder} has no {what}, so it cannot be loaded. It holds: {names}.\n"
        "  Give a folder written by save_pretrained of transformers (model and tokenizer)."
    )


def has_template(folder: Path) -> bool:
    """Whether the model comes with a chat template; an adapter without a tokenizer has its base's."""
    folder = tokenizer_folder(folder)
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
    if is_adapter(folder):
        # Where the base lies says nothing about the model.
        config = read_json(folder / ADAPTER_CONFIG) | {"base_model_name_or_path": content_of(base_of(folder))}
        digest.update(f"{canonical(config)}\0{sha256_file(folder / ADAPTER_WEIGHTS)}\n".encode())
    settings = [
        path for path in sorted(folder.iterdir())
        if path.suffix in (".json", ".jinja", ".model", ".txt") and path.is_file()
        and not path.name.startswith((".", "adapter_"))
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
