"""The stage every recipe starts from: a model that exists already."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from burnish.core.fingerprint import not_identity
from burnish.errors import MissingExtra, ModelError
from burnish.model.bundled import FOLDER, bundled_model, gguf_file
from burnish.model.folder import base_of, check_folder, content_of, is_adapter, place
from burnish.pipeline.estimate import Look
from burnish.pipeline.stage import Context, Stage

_HUB = re.compile(r"[\w.-]+/[\w.-]+@[\w./-]+")


@dataclass(frozen=True)
class BaseModel(Stage):
    """A model to start from, as a plain Hugging Face folder in the artifact's `model`.

    model:  "bundled" (SmolLM2-135M-Instruct), "toy" (from a seed, for tests), a local folder, or "org/name@revision" of
            the hub. A local folder is known by its content: its field becomes the folder's name, with `sha256` beside it.
            One that holds only an adapter in peft's format is merged into the base it names.
    path:   where that folder is; no part of the identity.
    """

    VERSION: ClassVar[int] = 1
    MAKES: ClassVar[str] = "model"
    OWN_PROCESS: ClassVar[bool] = True

    model: str = "bundled"
    sha256: str = ""
    path: str = not_identity(default="")

    def __post_init__(self) -> None:
        folder = Path(self.model).expanduser()
        if self.model in ("bundled", "toy") or self.sha256 or not folder.is_dir():
            return
        folder = folder.resolve()
        check_folder(folder)
        object.__setattr__(self, "path", str(folder))
        object.__setattr__(self, "sha256", content_of(folder))
        object.__setattr__(self, "model", folder.name)

    @property
    def name(self) -> str:
        """Always "base"."""
        return "base"

    def headline(self) -> dict[str, Any]:
        """Which model."""
        return {"model": self.model}

    def check(self, data: Path | None) -> None:
        """Raise ModelError for a model that is not there or lacks a part."""
        if self.sha256:
            check_folder(Path(self.path))
        elif self.model == "bundled":
            gguf_file()
        elif self.model != "toy" and not _HUB.fullmatch(self.model):
            raise ModelError(
                f'model {self.model!r} is neither a folder here nor "bundled", "toy" or "org/name@revision".\n'
                "  Give an existing folder, or name the hub revision too (org/name@main, better a commit): the name alone "
                "can mean other weights tomorrow."
            )

    def model_like(self, look: Look) -> Path | None:
        """The folder itself, an adapter's base, or the bundled model where it has been converted."""
        folder = Path(self.path) if self.sha256 else look.cache / "models" / FOLDER
        if not (self.sha256 or self.model == "bundled") or not folder.is_dir():
            return None
        return base_of(folder) if is_adapter(folder) else folder

    def run(self, ctx: Context) -> None:
        """Write `model`: converted, made, linked or downloaded; an adapter is merged into its base."""
        source = self._source(ctx)
        if is_adapter(source):
            from burnish.model.policy import Policy

            Policy.load(source, ctx.machine, trainable=True).save(ctx.out / "model")
        else:
            place(source, ctx.out / "model")

    def _source(self, ctx: Context) -> Path:
        if self.model == "bundled":
            return bundled_model(ctx.cache, ctx.console)
        if self.model == "toy":
            from burnish.model.toy import make_toy

            return make_toy(ctx.out / ".toy")
        if self.sha256:
            folder = Path(self.path)
            check_folder(folder)
            if content_of(folder) != self.sha256:
                raise ModelError(f"{folder} changed since this run was planned.\n  Run the same command again.")
            return folder
        return _download(self.model, ctx.cache)


def _download(model: str, cache: Path) -> Path:
    """A hub model's files at one revision."""
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ImportError:
        raise MissingExtra(f"Downloading {model}", "huggingface_hub", "hub") from None
    name, _, revision = model.partition("@")
    try:
        folder = Path(
            snapshot_download(
                name,
                revision=revision,
                cache_dir=cache / "hub",
                allow_patterns=["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt", "README.md"],
            )
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ModelError(
            f"{model} could not be downloaded: {error}\n"
            "  Check the name, the revision and the network, or give a local folder."
        ) from error
    check_folder(folder)
    return folder
