"""`burnish grade`: score replies that are already there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from burnish.cli.flags import data_folder, out
from burnish.pipeline.progress import Console


@dataclass(frozen=True)
class Grade:
    """Score replies that are already there; no model is needed.

    Attributes:
        task: the name of a benchmark.
        responses: JSON Lines, one {"id" or "prompt": …, "response" or "responses": …} a line.
        data: folder of real data sets.
        out: folder for verdicts, summary and a page to look through; a grading that was killed goes on from there.
        judge: a model folder or the address of an OpenAI-compatible endpoint, for tasks whose replies a model judges.
        judge_model: the judge's name at that address; BURNISH_JUDGE_KEY holds the key.
        judge_form: file with the text that the judge was trained on.
        batch: ask the judge's endpoint in batches: half the price, up to a day.
        jobs: replies graded at a time; as many as there are processors unless given.
        unlock: why replies to an unseen task are scored; counted and logged.
        runs: folder of the artifacts, where looks at unseen tasks are logged.
        json: print the whole result as JSON.
    """

    task: Positional[Annotated[str, arg(metavar="TASK")]]
    responses: Positional[Annotated[Path, arg(metavar="FILE.jsonl")]]
    data: Path | None = None
    out: Path | None = None
    judge: str = ""
    judge_model: str = ""
    judge_form: Path | None = None
    batch: bool = False
    jobs: int | None = None
    unlock: str = ""
    runs: Path = Path("runs")
    json: bool = False

    def __call__(self) -> int:
        """Grade and print."""
        from burnish.cli.judges import check_batch, task_judge
        from burnish.core.cores import cores
        from burnish.eval.grade import grade
        from burnish.eval.tasks.catalogue import find
        from burnish.eval.unlock import LOG, check_unlocked, record
        from burnish.report.eval_page import write_page

        console = Console(quiet=self.json)
        check_batch(self.batch, False, self.judge)
        judge = task_judge(
            self.judge, self.judge_model, self.judge_form, "laptop", self.out, console, batch=self.batch
        )  # fmt: skip
        task, folder = find(self.task, judge), data_folder(self.data)
        if task.unseen:
            check_unlocked([task], self.unlock, self.runs / LOG)
            asked = {task.name: len(task.problems(folder))}
            model = f"replies in {self.responses.name}"
            record([task], asked, reason=self.unlock, model=model, folder=self.out, log=self.runs / LOG)
        result = grade(
            task, self.responses, folder, self.out,
            jobs=cores() if self.jobs is None else self.jobs, console=console,
        )  # fmt: skip
        page = write_page(self.out) if self.out is not None else None
        out(result if self.json else _text(result, page))
        return 0


def _text(result: dict[str, Any], page: Path | None) -> str:
    """The result as a person reads it: totals, categories, monitors, what did not fit, and where the files are."""
    from burnish.eval.score import line

    parts = [line(result)]
    if result["score"] is not None:
        parts.append(f"standard error {result['standard_error']:.4f}, {_many(result['responses'], 'reply', 'replies')}")
    parts += [f"pass@{row['k']}  {row['score']:.4f} ± {row['standard_error']:.4f}" for row in result["pass_at_k"]]
    parts += [f"{name}  {_share(value)}" for name, value in result.get("ifeval", {}).items()]
    if result["by_category"]:
        rows = [["category", "score", "± s. e.", "n", "ungraded"]]
        rows += [
            [name, _share(row["score"]), _share(row["standard_error"]), f"{row['n']:,}", f"{row['ungraded']:,}"]
            for name, row in result["by_category"].items()
        ]
        parts += ["", *_table(rows)]
    seen = {name: rate for name, rate in result["flags"].items() if rate}
    if seen:
        parts += ["", "monitors: " + ", ".join(f"{name.replace('_', ' ')} {rate:.1%}" for name, rate in seen.items())]
    parts += _unfitting(result)
    for row in result["published"]:
        parts.append(f"published: {row['score']:.3f} {row['model']} ({row['settings']})")
    if page is not None:
        parts += ["", f"Replies to look through: {page}", f"Every verdict: {page.parent / 'verdicts.jsonl'}"]
    return "\n".join(parts)


def _unfitting(result: dict[str, Any]) -> list[str]:
    parts = []
    for name, meaning in (("missing", "problems without a reply"), ("unknown", "lines that match no problem")):
        found = result[name]
        if found["count"]:
            more = " …" if found["count"] > len(found["first"]) else ""
            parts.append(f"{found['count']:,} {meaning}: {', '.join(found['first'])}{more}")
    if result["missing"]["count"] and result["score_missing_as_0"] is not None:
        parts.append(f"score with the missing ones as 0: {result['score_missing_as_0']:.3f}")
    if result["repeated_lines"]:
        parts.append(
            f"{_many(result['repeated_lines'], 'reply repeats', 'replies repeat')} another of the same problem"
        )
    return parts


def _table(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _many(count: int, one: str, more: str) -> str:
    return f"{count:,} {one if count == 1 else more}"
