"""Paired comparison of evaluations: the same problems before and after, so their difficulty cancels out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

from burnish.core.files import read_jsonl, write_json
from burnish.errors import ArtifactError, DataError, RecipeError
from burnish.eval.paired import Pair, Paired, holm, paired_average
from burnish.eval.run import Evaluate
from burnish.eval.score import of_samples, read_scores, sample_scores
from burnish.eval.stats import average as average_of
from burnish.eval.suites import SUITES
from burnish.pipeline.stage import Context, Stage

LEVEL = 0.05
# Only problems that both were asked are compared, so one may have been asked fewer.
_MAY_DIFFER = ("limit",)


@dataclass(frozen=True, slots=True)
class Asked:
    """One task of an evaluation: its row of scores.json, and of each problem, in order, score, cluster and category."""

    row: dict[str, Any]
    scores: Mapping[str, float | None]
    order: list[str] = field(default_factory=list)
    clusters: dict[str, str] = field(default_factory=dict)
    categories: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A finished evaluation as it lies on disk."""

    folder: Path
    name: str
    tasks: dict[str, Asked]


def read(folder: Path, name: str = "") -> Evaluation:
    """The evaluation in a folder; called by its label unless it is given a name.

    Raises ArtifactError for a folder without one, or one that another version wrote.
    """
    if not (folder / "scores.json").is_file():
        unfinished = (folder / "samples.jsonl").exists() or (folder / "replies.jsonl").exists()
        raise ArtifactError(
            f"{folder} holds no scores.json, so it is not "
            + (
                "a finished evaluation.\n  Run its command again: it goes on from there."
                if unfinished
                else "an evaluation.\n  Name a folder that  burnish eval MODEL --tasks …  has written, or an Evaluate stage of a recipe."
            )
        )
    try:
        scores = read_scores(folder)
        lines: dict[str, list[dict[str, Any]]] = {row["task"]: [] for row in scores["tasks"]}
        for _, record in read_jsonl(folder / "samples.jsonl"):
            lines[record["task"]].append(record)
        tasks = {row["task"]: _asked(row, lines[row["task"]]) for row in scores["tasks"]}
        return Evaluation(folder, name or str(scores["label"]), tasks)
    except (KeyError, TypeError, AttributeError, DataError) as error:
        raise ArtifactError(
            f"{folder}: its scores.json and samples.jsonl cannot be read together ({type(error).__name__}: {error}), "
            "so nothing can be compared.\n  Was it written by another version of burnish? Evaluate the model again."
        ) from error


def _asked(row: dict[str, Any], records: Sequence[Mapping[str, Any]]) -> Asked:
    pass_at = int(row["settings"]["pass_at"])
    asked = Asked(row, {name: of_samples(values, pass_at) for name, values in sample_scores(records).items()})
    for record in records:
        if not record["sample"] and not record["turn"]:
            # A problem that stands twice in a benchmark counts twice.
            asked.order.append(record["id"])
            asked.clusters[record["id"]] = record["cluster"]
            asked.categories[record["id"]] = record["category"]
    return asked


def compare(folder_a: Path, folder_b: Path, *, force: bool = False) -> list[dict[str, Any]]:
    """The change from evaluation `a` to `b` on every task both have, problem by problem.

    Each entry: task, metric, before, after (names), n problems graded in both, clusters of them, left_out (problems graded
    in one only), score_before, score_after (of those n), difference (after - before), standard_error, interval (95 %), p,
    test, detectable (the smallest true change this test finds in 80 of 100 studies), gained, lost (ids of problems that
    went up or down), differing (settings that differ, with force). A task without a problem graded in both has no entry:
    nothing was measured.

    Raises ArtifactError when the evaluations share no task, or asked one with different settings and not `force`.
    """
    return list(_entries(read(folder_a), read(folder_b), force=force))


def _entries(a: Evaluation, b: Evaluation, *, force: bool) -> Iterator[dict[str, Any]]:
    common = [task for task in a.tasks if task in b.tasks]
    if not common:
        raise ArtifactError(
            f"{a.folder} has scores of {', '.join(a.tasks)} and {b.folder} of {', '.join(b.tasks)}: no task in common, so nothing can be compared.\n"
            "  Evaluate both on the same tasks."
        )
    for task in common:
        differing = _differing(a.tasks[task].row["settings"], b.tasks[task].row["settings"])
        if differing and not force:
            field_, one, other = differing[0]
            more = f" ({len(differing) - 1} more differ)" if len(differing) > 1 else ""
            raise ArtifactError(
                f"task {task}: {a.folder.name} asked it with {field_} {one!r:.80} and {b.folder.name} with {other!r:.80}{more}, "
                "so a difference could come from that and not from the model.\n"
                "  Evaluate both with the same task, or compare on purpose with --force."
            )
        entry = _entry(a, b, task)
        if entry:
            yield {**entry, "differing": [name for name, _, _ in differing]}


def _differing(a: Any, b: Any, path: str = "") -> list[tuple[str, Any, Any]]:
    """The settings that differ, each with its path and both values; what one lacks counts as None."""
    if isinstance(a, dict) and isinstance(b, dict):
        keys = [key for key in {**a, **b} if f"{path}{key}" not in _MAY_DIFFER]
        return [found for key in keys for found in _differing(a.get(key), b.get(key), f"{path}{key}.")]
    return [] if a == b else [(path.rstrip("."), a, b)]


def _both(a: Asked, b: Asked) -> list[str]:
    """The problems graded in both."""
    return [i for i in a.order if a.scores[i] is not None and b.scores.get(i) is not None]


def _pair(a: Asked, b: Asked) -> Pair:
    """The scores of both on the problems they share, as `paired_average` takes them."""
    ids = _both(a, b)
    categories = [a.categories[i] for i in ids] if a.row["settings"].get("average") == "categories" else None
    before, after = ([_known(asked.scores[i]) for i in ids] for asked in (a, b))
    return before, after, [a.clusters[i] for i in ids], categories


def _known(score: float | None) -> float:
    assert score is not None
    return score


def _entry(a: Evaluation, b: Evaluation, task: str) -> dict[str, Any]:
    one, other = a.tasks[task], b.tasks[task]
    pair = _pair(one, other)
    if not pair[0]:
        return {}
    changes = dict(zip(_both(one, other), (y - x for x, y in zip(pair[0], pair[1], strict=True)), strict=True))
    graded = [{i for i, score in asked.scores.items() if score is not None} for asked in (one, other)]
    return {
        "task": task, "metric": one.row.get("metric", ""), "before": a.name, "after": b.name,
        "left_out": len(graded[0] ^ graded[1]), **_numbers([pair]),
        "gained": [i for i, change in changes.items() if change > 0],
        "lost": [i for i, change in changes.items() if change < 0],
    }  # fmt: skip


def _numbers(pairs: Sequence[Pair], weights: Sequence[float] | None = None) -> dict[str, Any]:
    """What one paired comparison says, as JSON."""
    found: Paired = paired_average(pairs, weights)
    before = average_of([(a, clusters, categories) for a, _, clusters, categories in pairs], weights)
    after = average_of([(b, clusters, categories) for _, b, clusters, categories in pairs], weights)
    return {
        "n": found.n, "clusters": found.clusters, "score_before": before.score, "score_after": after.score,
        "difference": found.difference, "standard_error": found.standard_error, "interval": list(found.interval),
        "p": found.p, "test": found.test, "detectable": found.detectable,
    }  # fmt: skip


def averages(a: Evaluation, b: Evaluation) -> list[dict[str, Any]]:
    """The change of the average over all tasks that both have, and of each suite's own of which both have every part.

    Each entry as from `compare`, with `name` and `tasks` in place of task and metric. Problems that several tasks ask (the
    same cluster) move together. The clusters of a suite's average are those of all its tasks.
    """
    usable = [task for task in a.tasks if task in b.tasks and _both(a.tasks[task], b.tasks[task])]
    wanted = {f"average of {len(usable)} tasks": {task: 1.0 for task in usable}} if len(usable) > 1 else {}
    for suite in SUITES.values():
        shares = {task: 1 / len(part.tasks) for part in suite.parts for task in part.tasks}
        if len(suite.parts) > 1 and all(task in usable for task in shares):
            wanted[f"average of {suite.name}"] = shares
    return [
        {
            "name": name, "tasks": list(shares), "before": a.name, "after": b.name,
            **_numbers([_pair(a.tasks[task], b.tasks[task]) for task in shares], list(shares.values())),
        }
        for name, shares in wanted.items()
    ]  # fmt: skip


def comparison(pairs: Sequence[tuple[Evaluation, Evaluation]], *, force: bool = False) -> dict[str, Any]:
    """Every pair compared: {"comparisons": entries of `compare`, "averages": entries of `averages`, "only": …}.

    Entries have p_holm besides, p corrected over all of them, and `words`. only: tasks that one side of a pair lacks.
    """
    entries = [entry for a, b in pairs for entry in _entries(a, b, force=force)]
    for entry, p in zip(entries, holm([entry["p"] for entry in entries]), strict=True):
        entry["p_holm"] = p
        entry["words"] = words(entry)
    overall = [entry for a, b in pairs for entry in averages(a, b)]
    for entry in overall:
        entry["words"] = words(entry)
    only = [
        {"evaluation": one.name, "tasks": [task for task in one.tasks if task not in other.tasks]}
        for a, b in pairs
        for one, other in ((a, b), (b, a))
        if set(one.tasks) - set(other.tasks)
    ]
    return {"comparisons": entries, "averages": overall, "only": only}


def words(entry: Mapping[str, Any]) -> str:
    """What an entry of `comparison` says, in a sentence with the smallest change its test could see."""
    p = entry.get("p_holm", entry["p"])
    sees = f"this test could see {100 * entry['detectable']:.1f} points"
    if p > LEVEL:
        return f"no difference shown (p {p:.2g}); {sees}"
    better = "better" if entry["difference"] > 0 else "worse"
    return f"{entry['after']} is {better} than {entry['before']} by {100 * abs(entry['difference']):.1f} points (p {p:.2g}); {sees}"


def named(folders: Sequence[Path]) -> list[Evaluation]:
    """The evaluations in these folders; where two have one label, the folder's name is added."""
    found = [read(folder) for folder in folders]
    labels = [one.name for one in found]
    return [
        Evaluation(one.folder, f"{one.name} ({one.folder.name})" if labels.count(one.name) > 1 else one.name, one.tasks)
        for one in found
    ]


def against(baseline: Path, others: Sequence[Path], *, force: bool = False) -> dict[str, Any]:
    """Each of the others against the baseline, as `comparison` gives it, with `evaluations`: names and folders."""
    found = named([baseline, *others])
    told = [{"name": one.name, "folder": str(one.folder)} for one in found]
    return {"evaluations": told, **comparison([(found[0], other) for other in found[1:]], force=force)}


def chain(folders: Sequence[Path]) -> dict[str, Any]:
    """Every successive pair of evaluations and, with more than two, the first against the last, as `comparison` gives it."""
    found = [read(folder) for folder in folders]
    pairs = list(pairwise(found))
    if len(found) > 2:
        pairs.append((found[0], found[-1]))
    return comparison(pairs)


@dataclass(frozen=True)
class Compare(Stage):
    """Paired differences between successive evaluations, and from the first to the last: comparisons.json.

    scores: Evaluate stages in the order the models were made.
    """

    scores: tuple[Stage, ...]
    VERSION: ClassVar[int] = 2

    @property
    def name(self) -> str:
        """Always "compare"."""
        return "compare"

    def check(self, data: Path | None) -> None:
        """Raise RecipeError for fewer than two evaluations, or two that the report could not tell apart."""
        if len(self.scores) < 2:
            raise RecipeError(
                f"Compare has {len(self.scores)} evaluations, so there is no change to measure.\n  Give it two or more."
            )
        labels = [stage.label or stage.model.name for stage in self.scores if isinstance(stage, Evaluate)]
        twice = sorted({label for label in labels if labels.count(label) > 1})
        if twice:
            raise RecipeError(
                f"Compare: two evaluations are labelled {twice[0]!r}, so their differences could not be told apart.\n"
                '  Name them: Evaluate(model, tasks, label="sft").'
            )

    def headline(self) -> dict[str, Any]:
        """The evaluations in order."""
        return {"order": " → ".join(stage.name for stage in self.scores)}

    def run(self, ctx: Context) -> None:
        """Compare each pair."""
        write_json(ctx.out / "comparisons.json", chain([ctx.path_of(stage) for stage in self.scores]))
