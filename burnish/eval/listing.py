"""What can be asked: tasks and suites with their size, protocol in a line, and whether their data are on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from burnish.eval.judging import Judge
from burnish.eval.suites import QUICK, SUITES, expand, half_width, lack
from burnish.eval.task import EvalTask
from burnish.eval.tasks.catalogue import JUDGED, TASKS
from burnish.verify.base import Verifier
from burnish.verify.judge.ask import Answer, Question


@dataclass(frozen=True, slots=True)
class Unnamed:
    """Stands for the judge that nobody has named: tasks can be looked at, and nothing is graded."""

    VERSION: ClassVar[int] = 1
    name: ClassVar[str] = "unnamed"

    def answers(self, questions: Sequence[Question]) -> list[Answer]:
        """No answer to any question."""
        return [Answer(None, "no judge is named", down=True)] * len(questions)


def listing(names: Sequence[str], data: Path | None) -> dict[str, list[dict[str, Any]]]:
    """{"suites": […], "tasks": […]} for the names, all for none. Raises RecipeError for an unknown name.

    A task: name, n (None where only reading tells), protocol, metric, licence, unseen, judged (its verdicts are a judge
    model's), missing ("" where the data are here, else how to get them), and for a sample half_width, half the 95 % interval
    at worst. A suite: name, title, tasks, parts.
    """
    suites = [name for name in SUITES if not names or name in names]
    judge = Judge(Unnamed())
    tasks = expand(names or (*TASKS, *JUDGED, *QUICK), judge)
    return {
        "suites": [_suite(name) for name in suites],
        "tasks": [_task(task, data) for task in tasks],
    }


def protocol(task: EvalTask) -> str:
    """How a task is asked, in a line: examples, form of the prompt, sampling, limits, what the score is the mean of."""
    sampling = task.sampling
    parts = [f"{task.shots}-shot" if task.shots else "0-shot", "chat template" if task.chat else "plain text"]
    if isinstance(task.verifier, Verifier):
        parts.append(
            "greedy" if sampling.temperature == 0 else f"temperature {sampling.temperature:g}, top_p {sampling.top_p:g}"
        )
        parts.append(f"{sampling.max_tokens:,} tokens")
    else:
        parts.append("log-probabilities of given answers")
    if task.prefill:
        parts.append(f"reply begun with {task.prefill.split(chr(10))[0]!r}")
    if task.samples > 1:
        parts.append(
            f"pass@{task.pass_at} of {task.samples} replies" if task.pass_at > 1 else f"{task.samples} replies"
        )
    parts.append("mean of categories" if task.average == "categories" else "mean of problems")
    return ", ".join(parts)


def text(found: dict[str, list[dict[str, Any]]]) -> str:
    """The list as a person reads it."""
    lines: list[str] = []
    for suite in found["suites"]:
        lines += [f"{suite['name']}: {suite['title']}, the mean of {len(suite['parts'])}", *_wrapped(suite["tasks"])]
    if lines:
        lines.append("")
    width = max((len(task["name"]) for task in found["tasks"]), default=0)
    lacking = [task for task in found["tasks"] if task["missing"]]
    for task in found["tasks"]:
        n = "?" if task["n"] is None else f"{task['n']:,}"
        marks = [f"to ±{task['half_width'] * 100:.1f} points"] if task["half_width"] is not None else []
        marks += ["unseen: needs --unlock"] if task["unseen"] else []
        marks += ["needs --judge"] if task["judged"] else []
        marks += ["data missing"] if task["missing"] else []
        lines.append(f"{task['name']:<{width}}  {n:>7}  {'; '.join([task['protocol'], *marks])}")
    if lacking:
        lines += ["", f"Data of {len(lacking)} are not here:"]
        reasons: dict[str, list[str]] = {}
        for task in lacking:
            reasons.setdefault(task["missing"], []).append(task["name"])
        lines += [f"{', '.join(names)}\n  {why}" for why, names in reasons.items()]
    return "\n".join(lines)


def _suite(name: str) -> dict[str, Any]:
    suite = SUITES[name]
    return {
        "name": name, "title": suite.title, "tasks": list(suite.tasks),
        "parts": [{"name": part.name, "tasks": list(part.tasks)} for part in suite.parts],
    }  # fmt: skip


def _task(task: EvalTask, data: Path | None) -> dict[str, Any]:
    n = task.n or getattr(task.source, "count", None)
    return {
        "name": task.name, "n": n, "protocol": protocol(task), "metric": task.metric, "licence": task.source.licence,
        "unseen": task.unseen, "judged": task.name in JUDGED, "missing": lack(task, data),
        "half_width": half_width(n) if task.name in QUICK and n else None,
    }  # fmt: skip


def _wrapped(names: Sequence[str], width: int = 110) -> list[str]:
    """Names in lines of at most `width` characters, set in by two."""
    lines = [""]
    for name in names:
        if len(lines[-1]) + len(name) > width:
            lines.append("")
        lines[-1] += f" {name}"
    return [f" {line}" for line in lines]
