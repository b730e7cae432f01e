"""Two artifacts side by side, and one artifact on its own: read from their files, nothing recomputed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from burnish.core.files import read_json
from burnish.pipeline.changes import Change, changes, spelled
from burnish.pipeline.progress import duration
from burnish.pipeline.store import Artifact


@dataclass(frozen=True, slots=True)
class Difference:
    """What differs between two artifacts.

    fields: of the stages; inputs: fingerprints; rows: numbers of the dataset cards; scores: by task.
    """

    a: Artifact
    b: Artifact
    fields: tuple[Change, ...]
    inputs: tuple[Change, ...]
    rows: tuple[Change, ...]
    scores: tuple[Change, ...]

    def to_json(self) -> dict[str, Any]:
        """The difference as `burnish diff --json` prints it."""
        parts = {"fields": self.fields, "inputs": self.inputs, "rows": self.rows, "scores": self.scores}
        return {
            "a": self.a.folder.name,
            "b": self.b.folder.name,
            **{k: [{"path": c.path, "a": c.old, "b": c.new} for c in v] for k, v in parts.items()},
        }

    def text(self) -> str:
        """The difference for a person, one part after the other."""
        lines = [f"{self.a.folder.name} → {self.b.folder.name}"]
        for title, found in (
            ("fields", self.fields),
            ("inputs", self.inputs),
            ("rows", self.rows),
            ("scores", self.scores),
        ):
            lines += ["", title, *(f"  {change}" for change in found)] if found else []
        return "\n".join(lines) if len(lines) > 1 else f"{lines[0]}\n\nNo difference."


def compare(a: Artifact, b: Artifact) -> Difference:
    """The difference between two finished artifacts."""
    return Difference(
        a=a,
        b=b,
        fields=tuple(changes(a.stage, b.stage)),
        inputs=_pairs(a.inputs, b.inputs),
        rows=_pairs(_card_numbers(a.folder), _card_numbers(b.folder)),
        scores=_pairs(_scores(a.folder), _scores(b.folder)),
    )


def described(artifact: Artifact) -> str:
    """One artifact for a person: what it is, what made it, what it cost, what it holds."""
    cost, made = artifact.cost, artifact.provenance
    lines = [
        f"{artifact.name}@{artifact.fingerprint}",
        f"  folder    {artifact.folder}",
        f"  finished  {artifact.finished}",
        f"  cost      {duration(cost.wall_s)} wall, {duration(cost.cpu_s)} CPU, {cost.peak_rss_bytes / 2**30:.2f} GiB peak, "
        f"{cost.sessions} session{'s' if cost.sessions != 1 else ''}",
        "  made by   "
        + ", ".join(f"{k} {made[k]}" for k in ("burnish", "python", "torch", "transformers") if k in made),
        f"  stage     {artifact.stage['class'].replace(':', '.')}, version {artifact.stage['version']}",
    ]
    lines += [f"    {key} = {spelled(value, 100)}" for key, value in artifact.stage["fields"].items()]
    lines += ["  inputs", *(f"    {key}  {value}" for key, value in artifact.inputs.items())] if artifact.inputs else []
    files = sorted(f for f in artifact.folder.rglob("*") if f.is_file())
    lines += ["  files", *(f"    {f.relative_to(artifact.folder)}  {f.stat().st_size:,} bytes" for f in files)]
    if rows := _card_numbers(artifact.folder):
        lines += ["  rows", *(f"    {key}  {value}" for key, value in rows.items())]
    if scores := _scores(artifact.folder):
        lines += ["  scores", *(f"    {key}  {value}" for key, value in scores.items())]
    return "\n".join(lines)


def _pairs(a: dict[str, str], b: dict[str, str]) -> tuple[Change, ...]:
    keys = [*a, *(key for key in b if key not in a)]
    return tuple(Change(k, a.get(k, "absent"), b.get(k, "absent")) for k in keys if a.get(k) != b.get(k))


def _card_numbers(folder: Path) -> dict[str, str]:
    if not (folder / "card.json").exists():
        return {}
    card = read_json(folder / "card.json")
    found = {key: f"{card[key]:,}" for key in ("rows", "tokens") if isinstance(card.get(key), int)}
    found |= {f"rows from {s['source']}": f"{s['rows_kept']:,}" for s in card.get("by_source", [])}
    return found | {f"dropped: {reason}": f"{count:,}" for reason, count in card.get("dropped", {}).items()}


def _scores(folder: Path) -> dict[str, str]:
    if not (folder / "scores.json").exists():
        return {}
    return {
        task["task"]: f"{task['score']:.3f} ± {task['standard_error']:.3f} (n {task['n']:,})"
        if task["score"] is not None and task["standard_error"] is not None
        else f"{task['score']} (n {task['n']:,})"
        for task in read_json(folder / "scores.json")["tasks"]
    }
