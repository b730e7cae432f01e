"""`burnish export`: a trained model as a folder to pass on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, cast

from tyro.conf import Positional, arg

from burnish.cli.flags import out
from burnish.errors import ArtifactError, RecipeError
from burnish.pipeline.progress import Console


@dataclass(frozen=True)
class Export:
    """Write a trained model as a plain Hugging Face folder with a model card, and check it.

    Attributes:
        artifact: a folder of a run, its name or a unique beginning of it, or NAME@FINGERPRINT.
        folder: where to write; must not exist or be empty.
        dtype: float32 (as trained), bfloat16 or float16.
        shard_size: the largest a file of weights may be, e.g. 5GB.
        title: the model's name in its card; the folder's name where left out.
        licence: the model's licence in its card, as the hub spells it; worked out where left out.
        runs: folder of the artifacts.
        json: print what was checked as JSON.
    """

    artifact: Positional[Annotated[str, arg(metavar="ARTIFACT")]]
    folder: Positional[Annotated[Path, arg(metavar="FOLDER")]]
    dtype: str = "float32"
    shard_size: str = "5GB"
    title: str = ""
    licence: str = ""
    runs: Path = Path("runs")
    json: bool = False

    def __call__(self) -> int:
        """Write, check, tell."""
        from burnish.core.files import write_atomic
        from burnish.data.frontmatter import front_matter
        from burnish.model.export import DTYPES, export_model
        from burnish.pipeline.store import Store
        from burnish.report.model_card import body, header, lineage

        if self.dtype not in DTYPES:
            raise RecipeError(f"--dtype {self.dtype}: write {', '.join(DTYPES)}.")
        if self.folder.exists() and (not self.folder.is_dir() or any(self.folder.iterdir())):
            raise ArtifactError(
                f"{self.folder} is there already, and nothing is overwritten.\n  Give another folder, or remove it."
            )
        found = Store(self.runs).find(self.artifact)
        if not (found.folder / "model").is_dir():
            raise ArtifactError(
                f"{found.folder} holds no model, so there is nothing to export.\n  Give an artifact of a training stage (burnish show)."
            )
        console = Console(quiet=self.json)
        console.line(f"  {found.folder.name} → {self.folder}, {self.dtype}")
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        checks = export_model(
            found.folder / "model", self.folder, dtype=cast(Any, self.dtype), shard_size=self.shard_size
        )
        known = lineage(Store(found.folder.parent), found)
        licence, conditions = _licence(known, self.licence)
        said = {check.name: check.said for check in checks}
        text = body(
            known, title=self.title or self.folder.resolve().name, licence=licence, conditions=conditions, checks=said
        )
        write_atomic(self.folder / "README.md", (front_matter(header(known, licence)) + "\n" + text).encode())
        if self.json:
            out({"folder": str(self.folder), "licence": licence, "checks": said})
            return 0
        for name, what in said.items():
            out(f"  {name}: {what}")
        out(f"Model: {self.folder}\nCard: {self.folder / 'README.md'}")
        return 0


def _licence(known: Any, given: str) -> tuple[str, dict[str, str]]:
    """The licence of the card, and what the licences of the data ask for, with who asks.

    The base model's licence is taken over only where the data ask for no more than to name their authors.
    """
    from burnish.data.licences import CONDITIONS, hub_name, whole
    from burnish.report.model_card import base_of

    asked = whole(known.licences).conditions
    conditions = {
        CONDITIONS[name]: ", ".join(f"{licence}: {rows:,} rows" for licence, rows in rows_of.items())
        for name, rows_of in asked.items()
    }
    base = base_of(known).licence
    inherited = hub_name({base: 1}) if base and not set(asked) - {"attribution"} else "other"
    return given or inherited, conditions
