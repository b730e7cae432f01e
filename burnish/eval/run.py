"""Evaluation: every task's questions through one queue, graded while it runs, and everything kept as it comes.

While it runs, replies and verdicts go to two append-only files (`burnish.eval.records`), below the content of what was asked.
A run that was killed anywhere asks only for what these do not hold, and so does a later one with other tasks or verifiers.
"""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from burnish.core.files import write_atomic, write_json
from burnish.core.fingerprint import not_identity
from burnish.core.types import Finish, Problem, Verdict, plain
from burnish.errors import RecipeError, VerifierError
from burnish.eval.answer import Answers, Given, Item, ItemKey
from burnish.eval.contamination import mark, trained_on
from burnish.eval.grading import Grader
from burnish.eval.local import local_answers
from burnish.eval.progress import Progress
from burnish.eval.prompts import Overlong, check_overlong
from burnish.eval.ranking import Ranking
from burnish.eval.records import KeptReplies, KeptVerdicts
from burnish.eval.score import (
    FORMAT,
    check_gold,
    cluster_of,
    line,
    problem_scores,
    published,
    seeds_of,
    settings,
    summary,
)
from burnish.eval.task import EvalTask, Summarises
from burnish.eval.unlock import LOG, check_unlocked, record
from burnish.pipeline.progress import Console
from burnish.pipeline.stage import Context, Stage
from burnish.verify.monitors import MONITORS, flags

Problems = Mapping[str, Sequence[Problem]]
REPLIES, VERDICTS = "replies.jsonl", "verdicts.jsonl"


def evaluate(
    tasks: Sequence[EvalTask], answers: Answers, *, seed: int, label: str, model: str, data: Path | None, out: Path,
    console: Console, kept: Path | None = None, jobs: int = 1, overlong: Overlong = "error", engine: str = "",
    problems: Problems | None = None, judged: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Ask every problem of every task and write samples.jsonl, scores.json and timings.json to `out`; returns the scores.

    kept:     folder of replies.jsonl and verdicts.jsonl; None keeps them in `out/asked`. What it holds is not asked again.
    jobs:     replies graded at a time, in worker processes; 1 grades in this process. overlong: for the record; `answers` acts on it.
    engine:   who answered, for the record. problems: of each task, where they are read already.
    judged:   raise VerifierError, before any scores are written, for replies whose judge could not be asked.

    samples.jsonl and scores.json depend on the replies alone, so equal runs write equal bytes; timings.json holds what the clock said.
    """
    asked = problems or problems_of(tasks, data)
    folder = kept or out / "asked"
    with ExitStack() as stack:
        replies = stack.enter_context(closing(KeptReplies(folder / REPLIES)))
        verdicts = stack.enter_context(closing(KeptVerdicts(folder / VERDICTS)))
        run = Run(answers, replies, verdicts, seed=seed, jobs=jobs, console=console)
        run.ask(items_of(tasks, asked))
    samples = [sample for task in tasks for sample in run.samples(task, asked[task.name])]
    write_atomic(
        out / "samples.jsonl", "".join(json.dumps(s, ensure_ascii=True, allow_nan=False) + "\n" for s in samples)
    )
    write_json(out / "timings.json", run.timings(tasks))
    if judged:
        _check_judged(samples)
    scores: dict[str, Any] = {
        "format": FORMAT,
        "label": label,
        "model": model,
        "engine": engine,
        "seed": seed,
        "notes": list(answers.notes),
        "tasks": [_row(task, asked[task.name], samples, overlong) for task in tasks],
    }
    write_json(out / "scores.json", scores)
    show(scores, console)
    return scores


def show(scores: Mapping[str, Any], console: Console) -> None:
    """Print one line a task, and what a reader must know besides."""
    for row in scores["tasks"]:
        console.line(f"  {line(row)}")
        if row.get("ungraded_why"):
            console.line(f"    ungraded, most often: {row['ungraded_why']}")
    for note in scores.get("notes", ()):
        console.line(f"  note: {note}")


def items_of(tasks: Iterable[EvalTask], problems: Problems) -> list[Item]:
    """The first turn of every sample of every problem. A problem that stands twice in a benchmark is asked once."""
    found: dict[ItemKey, Item] = {}
    for task in tasks:
        for problem in problems[task.name]:
            root = problem.id
            for sample in range(task.samples):
                found.setdefault((task.name, root, sample, 0), Item(task, problem, sample, 0, root))
    return list(found.values())


class Run:
    """One evaluation under way: what was given and how it was graded, by task, problem, sample and turn."""

    def __init__(
        self, answers: Answers, replies: KeptReplies, verdicts: KeptVerdicts, *, seed: int, jobs: int, console: Console
    ) -> None:  # fmt: skip
        self.given: dict[ItemKey, Given] = {}
        self.verdicts: dict[ItemKey, Verdict] = {}
        self._items: dict[ItemKey, Item] = {}
        self._turns: dict[tuple[str, str, int], int] = {}
        self._new: list[ItemKey] = []
        self._answers, self._replies, self._kept = answers, replies, verdicts
        self._seed, self._jobs, self._console = seed, jobs, console
        self._seconds = 0.0
        self._turn = threading.Lock()

    def ask(self, items: Sequence[Item]) -> None:
        """Ask the items and every turn that follows from their replies; returns when all are graded."""
        start = time.monotonic()
        grader = Grader(self._kept, self._graded, jobs=self._jobs)
        with Progress(self._console, items) as self._progress, grader:
            waiting = list(items)
            while waiting:
                waiting = self._round(waiting, grader)
            left = len(self.given) - len(self.verdicts)
            if left:
                self._console.line(f"  grading the last {left} replies")
        self._seconds = time.monotonic() - start

    def _round(self, items: Sequence[Item], grader: Grader) -> list[Item]:
        """One turn of every conversation; returns the items of the next."""
        later: list[Item] = []
        by_key: dict[str, list[Item]] = {}

        def finished(item: Item, given: Given) -> None:
            self._items[item.key], self.given[item.key] = item, given
            following = item.next(given.text) if given.finish is not Finish.ABORT else None
            if following is not None:
                later.append(following)
            grader.add(item, given)

        def replied(item: Item, given: Given) -> None:
            key = keys[item.key]
            self._replies.put(key, given)
            for each in by_key.get(key, [item]):
                self._new.append(each.key)
                self._progress.done(each)
                finished(each, given)

        found = self._answers.keys(items, self._seed)
        keys = dict(zip((item.key for item in items), found, strict=True))
        missing: list[Item] = []
        for item, key in zip(items, found, strict=True):
            known = self._replies.get(key) if key not in by_key else None
            if known is not None:
                self._progress.known(item)
                finished(item, known)
            elif not key or key not in by_key:
                missing.append(item)
                if key:
                    by_key[key] = [item]
            else:
                by_key[key].append(item)
        if missing:
            self._answers.reply_to(missing, self._seed, replied)
        return later

    def _graded(self, item: Item, verdict: Verdict) -> None:
        with self._turn:
            self.verdicts[item.key] = verdict

    def samples(self, task: EvalTask, problems: Sequence[Problem]) -> list[dict[str, Any]]:
        """The task's lines of samples.jsonl: by problem as the task has them, then by sample and turn."""
        found: list[dict[str, Any]] = []
        for problem in problems:
            root = problem.id
            for sample in range(task.samples):
                turn = 0
                while (key := (task.name, root, sample, turn)) in self.given:
                    found.append(_sample(self._items[key], self.given[key], self.verdicts[key], problem))
                    turn += 1
        return found

    def timings(self, tasks: Sequence[EvalTask]) -> dict[str, Any]:
        """What this session did and how fast; tasks run interleaved, so there is one clock for all of them."""
        made = {task.name: [self.given[key].tokens for key in self._new if key[0] == task.name] for task in tasks}
        tokens = sum(sum(part) for part in made.values())
        return {
            "seconds": round(self._seconds, 3),
            "samples": len(self._new),
            "samples_before": len(self.given) - len(self._new),
            "tokens": tokens,
            "tokens_per_s": round(tokens / self._seconds, 1) if self._seconds > 0 else 0.0,
            "tasks": {name: {"samples": len(part), "tokens": sum(part)} for name, part in made.items()},
        }


def _sample(item: Item, given: Given, verdict: Verdict, problem: Problem) -> dict[str, Any]:
    """One line of samples.jsonl. problem: the one that opened the conversation, whose category and id the line has."""
    asked = item.problem
    seen = [] if given.ranked else sorted(flags(MONITORS, asked, given.text))
    found: dict[str, Any] = {
        "task": item.task.name, "id": item.key[1], "sample": item.sample, "turn": item.turn, "prompt": plain(asked.prompt),
        "response": given.text, "score": verdict.score, "why": verdict.why, "finish": given.finish.value,
        "category": problem.category, "cluster": cluster_of(problem), "tokens": given.tokens, "target": asked.check.target, "solution": asked.solution,
        "flags": [*given.flags, *verdict.flags, *seen],
    }  # fmt: skip
    if given.ranked:
        found["choices"] = [
            {"text": each.text, "logprob": each.logprob, "tokens": each.tokens, "greedy": each.greedy}
            for each in given.ranked
        ]
    return found


def _row(
    task: EvalTask, problems: Sequence[Problem], samples: Sequence[Mapping[str, Any]], overlong: Overlong
) -> dict[str, Any]:
    """One task's row of scores.json."""
    own = {(s["id"], s["sample"], s["turn"]): s for s in samples if s["task"] == task.name}
    lines = list(own.values())
    scores = problem_scores(task, lines)
    row = summary(task, problems, [scores[problem.id] for problem in problems])
    if isinstance(task.verifier, Summarises):
        row |= task.verifier.summarise(problems, [s for s in samples if s["task"] == task.name])
    # A problem that stands twice counts twice here too, as it does in the score.
    every = [s for s in samples if s["task"] == task.name]
    return {
        **row,
        "seeds": seeds_of(task, problems, lines),
        "replies": len(lines),
        "ungraded_replies": sum(s["score"] is None for s in lines),
        "ungraded_why": _commonest(s["why"] for s in lines if s["score"] is None),
        "cut_share": sum(s["finish"] == Finish.LENGTH.value for s in every) / len(every),
        "overlong": sum(bool({"prompt_cut", "reply_shortened"} & set(s["flags"])) for s in lines),
        "settings": {**settings(task), "overlong": overlong},
        "published": published(task),
    }


def _commonest(reasons: Iterable[str]) -> str:
    """The most frequent reason; "" for none."""
    counted = Counter(reasons).most_common(1)
    return counted[0][0] if counted else ""


@dataclass(frozen=True)
class Evaluate(Stage):
    """Scores of one model on some tasks: scores.json, samples.jsonl, timings.json.

    Where datasets that the model was made from were kept away from tests, scores also stand for the problems that are in the
    training data and for those that are not (`contamination` of a row).

    model:    a stage with a model. seed: of sampled replies (greedy ones need none). label: what the report calls it.
    overlong: what to do with prompts over the model's context: "error", "shorten_reply" or "left_truncate".
    unlock:   why unseen tasks are asked; needed for those, counted and logged (`burnish.eval.unlock`).
    """

    model: Stage
    tasks: tuple[EvalTask, ...]
    seed: int = 0
    label: str = ""
    overlong: Overlong = "error"
    unlock: str = not_identity(default="")
    VERSION: ClassVar[int] = 2
    OWN_PROCESS: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """E.g. "eval-sft" for the scores of the stage "sft"."""
        return f"eval-{self.model.name}"

    def check(self, data: Path | None) -> None:
        """Raise for no or repeated tasks, for problems that cannot be had, and for a verifier that rejects its gold."""
        check_overlong(self.overlong)
        check_unlocked(self.tasks, self.unlock)
        check_tasks(self.tasks, data)

    def headline(self) -> dict[str, Any]:
        """Tasks with their limits, and the longest reply allowed."""
        names = [task.name if task.limit is None else f"{task.name} (first {task.limit})" for task in self.tasks]
        longest = max((task.sampling.max_tokens for task in self.tasks), default=0)
        return {"tasks": ", ".join(names), "max_tokens": longest, "seed": self.seed}

    def run(self, ctx: Context) -> None:
        """Load the model, answer, grade."""
        source = ctx.path_of(self.model)
        problems = problems_of(self.tasks, ctx.data)
        record(
            self.tasks, {name: len(part) for name, part in problems.items()}, reason=self.unlock,
            model=self.label or self.model.name, folder=ctx.out, log=ctx.out.parent / LOG,
        )  # fmt: skip
        if not (ctx.out / "scores.json").exists():
            answers = local_answers(
                source / "model",
                ctx.machine,
                ctx.console,
                tasks=self.tasks,
                overlong=self.overlong,
                identity=source.name,
            )
            evaluate(
                self.tasks, answers, seed=self.seed, label=self.label or self.model.name, model=source.name, data=ctx.data,
                out=ctx.out, console=ctx.console, jobs=ctx.machine.threads, overlong=self.overlong,
                engine=ctx.machine.engine, problems=problems, judged=True,
            )  # fmt: skip
        tested = trained_on(self.model, ctx)
        if tested is not None:
            mark(ctx.out, self.tasks, problems, tested)
        shutil.rmtree(ctx.out / "asked", ignore_errors=True)


def _check_judged(samples: Sequence[Mapping[str, Any]]) -> None:
    """Raise VerifierError for replies whose judge could not be asked."""
    waiting = [sample for sample in samples if "judge_down" in sample["flags"]]
    if waiting:
        raise VerifierError(
            f"{len(waiting)} of {len(samples)} replies wait for a judge that could not be asked: {_commonest(s['why'] for s in waiting)}.\n"
            "  Replies and other verdicts are kept. Make the judge reachable, then run the same command again: nothing is asked twice."
        )


def problems_of(tasks: Sequence[EvalTask], data: Path | None) -> dict[str, list[Problem]]:
    """Each task's problems, by its name. Raises RecipeError for no or repeated tasks, DataError for problems that cannot be had."""
    check_names(tasks)
    for task in tasks:
        _check_numbers(task)
    return {task.name: task.problems(data) for task in tasks}


def check_tasks(tasks: Sequence[EvalTask], data: Path | None) -> None:
    """Raise for no or repeated tasks, for problems that cannot be had, and for a verifier that rejects its gold."""
    check_graders(tasks, problems_of(tasks, data))


def check_graders(tasks: Sequence[EvalTask], problems: Problems) -> None:
    """Raise VerifierError for a verifier that rejects its gold, or a problem that it cannot grade."""
    for task in tasks:
        check_gold(task, problems[task.name])


def check_names(tasks: Sequence[EvalTask]) -> None:
    """Raise for no or repeated tasks."""
    if not tasks:
        raise RecipeError(
            "Evaluate has no tasks, so it would measure nothing.\n  Give it tasks=(arithmetic.task(), ...)."
        )
    names = [task.name for task in tasks]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise RecipeError(
            f"tasks: {', '.join(twice)} stands twice, so its samples could not be told apart.\n  Name each task once; give variants names of their own."
        )


def _check_numbers(task: EvalTask) -> None:
    wrong = ""
    if task.limit is not None and task.limit < 1:
        wrong = f"limit={task.limit} asks nothing.\n  Write limit=None for all problems."
    elif task.samples < 1:
        wrong = f"samples={task.samples} asks nothing.\n  Give 1 or more."
    elif not 1 <= task.pass_at <= task.samples:
        wrong = f"pass_at={task.pass_at} of samples={task.samples}: pass@k needs k replies.\n  Give pass_at from 1 to samples."
    elif task.samples > 1 and task.sampling.temperature == 0 and not isinstance(task.verifier, Ranking):
        wrong = (
            f"samples={task.samples} greedy replies would all be the same.\n  Give a temperature above 0, or samples=1."
        )
    elif isinstance(task.verifier, Ranking) and (task.samples > 1 or task.follow_up):
        wrong = "a ranking draws no replies, so it has neither samples nor follow-ups.\n  Leave them out."
    if wrong:
        raise RecipeError(f"task {task.name}: {wrong}")
