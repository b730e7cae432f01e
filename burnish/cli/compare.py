"""`burnish eval compare`: models on the same problems, with intervals, tests and what the tests could see."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from burnish.cli.flags import out
from burnish.errors import ArtifactError, RecipeError

_IDS_SHOWN = 5


@dataclass(frozen=True)
class CompareEvals:
    """Compare evaluations problem by problem, each with the first.

    Attributes:
        evaluations: two or more: folders that `burnish eval` wrote, or artifacts of a recipe's evaluations, spelled as for
            `burnish show`. The first is the baseline.
        force: compare also where the tasks were asked with different settings.
        page: write both side by side, reply by reply, to this HTML file; for two evaluations.
        runs: folder of the artifacts.
        json: print everything as JSON, with the ids of the problems gained and lost.
    """

    evaluations: Positional[Annotated[tuple[str, ...], arg(metavar="A B…")]] = ()
    force: bool = False
    page: Path | None = None
    runs: Path = Path("runs")
    json: bool = False

    def __call__(self) -> int:
        """Compare and print."""
        from burnish.eval.compare import against

        if len(self.evaluations) < 2:
            raise RecipeError(
                f"burnish eval compare names {len(self.evaluations)} evaluations, so there is nothing to compare.\n"
                "  burnish eval compare A B"
            )
        folders = [evaluation(each, self.runs) for each in self.evaluations]
        for place, folder in enumerate(folders):
            if folder.resolve() in [other.resolve() for other in folders[:place]]:
                raise RecipeError(
                    f"burnish eval compare: {self.evaluations[place]} is named twice, and an evaluation does not differ from itself.\n"
                    "  Name another, or leave it out."
                )
        if self.page is not None and len(folders) > 2:
            raise RecipeError(
                f"--page {self.page}: a page shows two evaluations side by side, and {len(folders)} are named.\n"
                "  Write one page for each pair."
            )
        found = against(folders[0], folders[1:], force=self.force)
        if self.page is not None:
            from burnish.report.eval_page import write_comparison

            write_comparison(folders[0], folders[1], self.page, found)
        out(found if self.json else text(found))
        if self.page is not None and not self.json:
            out(f"Side by side: {self.page}")
        return 0


def evaluation(spelling: str, runs: Path) -> Path:
    """The folder a person means: one that `burnish eval` wrote, its name in runs/evals or a unique beginning of that, or an artifact.

    Raises ArtifactError for what is none of these, or not an evaluation.
    """
    from burnish.pipeline.store import Store

    path = Path(spelling).expanduser()
    if path.is_dir():
        return _with_scores(path, runs)
    written = sorted(folder.name for folder in (runs / "evals").glob("*/") if (folder / "scores.json").is_file())
    matches = [name for name in written if name == spelling] or [name for name in written if name.startswith(spelling)]
    if len(matches) > 1:
        raise ArtifactError(
            f"{spelling!r} could mean {len(matches)} evaluations in {runs / 'evals'}: {', '.join(matches)}."
        )
    if matches:
        return runs / "evals" / matches[0]
    if "/" in spelling:
        raise ArtifactError(f"{spelling}: there is no such folder, so there are no scores to read.")
    return _with_scores(Store(runs).find(spelling).folder, runs)


def _with_scores(folder: Path, runs: Path) -> Path:
    """The folder itself, if it is an evaluation."""
    if (folder / "scores.json").is_file():
        return folder
    near = sorted(f for f in [*folder.glob("*/"), *runs.glob(f"eval-{folder.name.rpartition('-')[0]}-*/")])
    known = [str(each) for each in near if (each / "scores.json").is_file()]
    unfinished = (folder / "asked").is_dir() or (folder / "samples.jsonl").is_file()
    fix = "Evaluate the model: burnish eval MODEL --tasks …"
    if unfinished:
        fix = "It is unfinished: run its command again, which goes on from there."
    elif known:
        fix = f"Evaluations near it: {', '.join(known[:_IDS_SHOWN])}."
    raise ArtifactError(f"{folder} holds no scores.json, so it is not an evaluation that could be compared.\n  {fix}")


def text(found: dict[str, Any]) -> str:
    """The comparison as a person reads it: a table, a sentence an entry, what was left out."""
    baseline, *others = found["evaluations"]
    lines = [f"baseline  {baseline['name']}  {baseline['folder']}"]
    lines += [f"against   {other['name']}  {other['folder']}" for other in others]
    for other in others:
        entries, overall = (
            [e for e in found[kind] if e["after"] == other["name"]] for kind in ("comparisons", "averages")
        )
        lines += ["", *_table(baseline["name"], other["name"], entries, overall)]
        lines += [f"  {e['task']}: {e['words']}" for e in entries]
        lines += [f"  {e['name']}: {e['words']}" for e in overall]
        lines += [f"  {note}" for e in entries for note in _notes(e)]
    lines += ["", *(f"only in {each['evaluation']}: {', '.join(each['tasks'])}" for each in found["only"])]
    tests = len(found["comparisons"])
    lines.append(
        f"Points of 100, paired by problem; brackets are 95 % intervals. p Holm is corrected over all {tests} comparisons of a task."
        if tests
        else "No problem was graded in both, so nothing was measured."
    )
    return "\n".join(lines)


def _notes(entry: dict[str, Any]) -> list[str]:
    notes = []
    if entry["left_out"]:
        notes.append(f"{entry['task']}: {entry['left_out']:,} problems were graded in one only and are left out")
    if entry["differing"]:
        notes.append(f"{entry['task']}: asked with different settings ({', '.join(entry['differing'])})")
    return notes


def _table(before: str, after: str, entries: list[dict[str, Any]], overall: list[dict[str, Any]]) -> list[str]:
    """The rows of one model against the baseline, padded."""
    head = ["task", before, after, "difference", "p", "p Holm", "sees", "gained", "lost", "n"]
    rows = [head]
    for entry in [*entries, *overall]:
        low, high = entry["interval"]
        changed = [f"{len(entry[kind]):,}" for kind in ("gained", "lost")] if "gained" in entry else ["", ""]
        count = f"{entry['n']:,}"
        if entry["clusters"] < entry["n"]:
            count += f" in {entry['clusters']:,} clusters"
        rows.append([
            entry.get("task") or entry["name"], f"{100 * entry['score_before']:.1f}", f"{100 * entry['score_after']:.1f}",
            f"{100 * entry['difference']:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]", f"{entry['p']:.2g}",
            f"{entry['p_holm']:.2g}" if "p_holm" in entry else "", f"{100 * entry['detectable']:.1f}", *changed, count,
        ])  # fmt: skip
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    return [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        ).rstrip()
        for row in rows
    ]
