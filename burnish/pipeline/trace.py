"""Where a row came from and where it went, found in the files of the artifacts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from burnish.core.files import read_jsonl
from burnish.pipeline.store import Artifact, Store

LOGS = ("completions.jsonl", "rollouts.jsonl", "samples.jsonl")
Find = Callable[[Path, str], dict[str, Any] | None]


@dataclass(frozen=True, slots=True)
class Sighting:
    """One artifact that knows the row.

    kind:  "kept" or "dropped" (a dataset), "child" (a dataset with rows made from it), "log" (samples, rollouts).
    facts: what the artifact says, one short line each.
    into:  folder names of the artifacts that took this one as an input.
    """

    artifact: str
    kind: str
    facts: tuple[str, ...]
    into: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The sighting as `burnish trace --json` prints it."""
        return {"artifact": self.artifact, "kind": self.kind, "facts": list(self.facts), "into": list(self.into)}


def trace(row_id: str, store: Store, find: Find) -> list[Sighting]:
    """Every finished artifact that holds, dropped, used or descends from a row, oldest first.

    find: how a dataset folder is asked for a row (burnish.data.dataset.find).
    """
    artifacts = store.artifacts()[::-1]
    used_by: dict[str, list[str]] = {}
    for artifact in artifacts:
        for folder in artifact.input_folders().values():
            used_by.setdefault(folder.name, []).append(artifact.folder.name)
    found: list[Sighting] = []
    for artifact in artifacts:
        into = tuple(used_by.get(artifact.folder.name, ()))
        for kind, facts in _seen(row_id, artifact, find):
            found.append(Sighting(artifact.folder.name, kind, tuple(facts), into))
    return found


def text(row_id: str, found: list[Sighting]) -> str:
    """The sightings for a person."""
    lines = [f"row {row_id}"]
    for one in found:
        lines.append(f"  {one.kind:<8}{one.artifact}")
        lines += [f"          {fact}" for fact in one.facts]
        if one.into:
            lines.append(f"          went into {', '.join(one.into)}")
    return "\n".join(lines)


def _seen(row_id: str, artifact: Artifact, find: Find) -> Iterator[tuple[str, list[str]]]:
    rows = artifact.folder / "rows.parquet"
    if rows.exists():
        row = find(artifact.folder, row_id)
        if row is not None:
            yield row["state"], list(_row_facts(row))
        children = _children(rows, row_id)
        if children:
            yield "child", [f"{_counted(len(children), 'row')} made from it, first {children[0]}"]
    for name in LOGS:
        if (artifact.folder / name).exists():
            lines = _log_lines(artifact.folder / name, row_id)
            if lines:
                yield "log", [f"{name}: {_counted(len(lines), 'line')}", *(_log_fact(n, line) for n, line in lines[:4])]


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _row_facts(row: dict[str, Any]) -> Iterator[str]:
    yield f"{row['kind']} from {row['source'] or 'no named source'}, licence {row['licence'] or 'not given'}"
    if row["lineage"]:
        yield f"made from {', '.join(row['lineage'])}"
    for drop in row["drops"]:
        span = f", span {drop['span']!r:.80}" if drop["span"] else ""
        see = f", see {drop['see']}" if drop["see"] else ""
        yield f"dropped by {drop['rule']}: {drop['reason']}{span}{see}"


def _children(rows: Path, row_id: str) -> list[str]:
    """Ids of the rows whose lineage names this one."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    with pq.ParquetFile(rows) as file:
        found: list[str] = []
        for batch in file.iter_batches(4096, columns=["id", "lineage"]):
            found += batch.filter(pc.match_substring(batch.column("lineage"), row_id)).column("id").to_pylist()
    return found


def _log_lines(path: Path, row_id: str) -> list[tuple[int, dict[str, Any]]]:
    """(line number, object) of the lines about a row: its id under "id", "problem_id" or "problem"."""
    found: list[tuple[int, dict[str, Any]]] = []
    if row_id.encode() not in path.read_bytes():
        return found
    for number, line in read_jsonl(path):
        problem = line.get("problem")
        ids = (line.get("id"), line.get("problem_id"), problem.get("id") if isinstance(problem, dict) else None)
        if row_id in ids:
            found.append((number, line))
    return found


def _log_fact(number: int, line: dict[str, Any]) -> str:
    reply = line.get("response", line.get("text", line.get("completion", {})))
    words = json.dumps(reply["text"] if isinstance(reply, dict) and "text" in reply else reply, ensure_ascii=False)
    where = f"step {line['step']}, " if "step" in line else f"{line['task']}, " if "task" in line else ""
    return f"line {number}: {where}score {line.get('score')}, {words:.100}"
