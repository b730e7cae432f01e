"""The Evaluate stage: every task's prompts through one queue, graded while it runs, each sample on disk as it ends."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, cast, get_args, get_type_hints

from burnish.core.files import JsonlLog, read_json, write_atomic, write_json
from burnish.core.fingerprint import fingerprint
from burnish.core.types import Completion, Finish, Verdict, plain
from burnish.errors import RecipeError, nearest
from burnish.eval.answer import Answers, GoldAnswers, Item, ModelAnswers
from burnish.eval.score import check_gold, line, published, settings, summary
from burnish.eval.task import EvalTask
from burnish.pipeline.machine import Machine
from burnish.pipeline.progress import Console
from burnish.pipeline.stage import Context, Stage
from burnish.verify.base import graded


def evaluate(
    tasks: Sequence[EvalTask], answers: Answers, *, seed: int, label: str, model: str, data: Path | None, out: Path,
    console: Console,
) -> dict[str, Any]:  # fmt: skip
    """Ask every problem of every task and write samples.jsonl, scores.json and timings.json to `out`; returns the scores.

    Samples that an interrupted run left in `out` are kept; only the missing ones are asked. samples.jsonl and
    scores.json depend on the replies alone, so equal runs write equal bytes; timings.json holds what the clock said.
    """
    items = [Item(task, problem) for task in tasks for problem in task.problems(data)]
    with closing(JsonlLog(out / "samples.jsonl")) as log:
        done = {(record["task"], record["id"]): record for record in log.records}
        # A problem that stands twice in a benchmark is asked once and counted twice.
        missing = list({item.key: item for item in items if item.key not in done}.values())
        before, start = len(done), time.monotonic()
        with console.bar("evaluate", len(missing) + before, "samples", done=before) as bar:

            def on_reply(item: Item, completion: Completion) -> None:
                record = _record(item, completion)
                log.append(record)
                done[item.key] = record
                bar.advance(1, item.task.name)

            if missing:
                answers.reply_to(missing, seed, on_reply)
    seconds = time.monotonic() - start
    samples = [done[item.key] for item in items]
    write_atomic(
        out / "samples.jsonl", "".join(json.dumps(s, ensure_ascii=True, allow_nan=False) + "\n" for s in samples)
    )
    write_json(out / "timings.json", _timings(tasks, missing, done, seconds, before))
    scores: dict[str, Any] = {
        "label": label,
        "model": model,
        "seed": seed,
        "tasks": [_scores(task, items, done) for task in tasks],
    }
    write_json(out / "scores.json", scores)
    show(scores, console)
    return scores


def show(scores: dict[str, Any], console: Console) -> None:
    """Print one line a task."""
    for row in scores["tasks"]:
        console.line(f"  {line(row)}")


def _record(item: Item, completion: Completion) -> dict[str, Any]:
    """One line of samples.jsonl."""
    if completion.finish is Finish.ABORT:
        verdict = Verdict(None, "the engine gave this reply up before it ended")
    else:
        verdict = graded(item.task.verifier, item.problem, completion.text)
    return {
        "task": item.task.name, "id": item.problem.id, "prompt": plain(item.problem.prompt), "response": completion.text,
        "score": verdict.score, "why": verdict.why, "finish": completion.finish.value, "category": item.problem.category,
        "tokens": len(completion.token_ids),
    }  # fmt: skip


def _scores(task: EvalTask, items: Sequence[Item], done: dict[tuple[str, str], dict[str, Any]]) -> dict[str, Any]:
    """One task's row of scores.json."""
    asked = [item for item in items if item.task is task]
    samples = [done[item.key] for item in asked]
    cut = sum(sample["finish"] == Finish.LENGTH.value for sample in samples)
    row = summary(task, [item.problem for item in asked], [sample["score"] for sample in samples])
    return {**row, "cut_share": cut / len(samples), "settings": settings(task), "published": published(task)}


def _timings(
    tasks: Sequence[EvalTask], asked: Sequence[Item], done: dict[tuple[str, str], dict[str, Any]], seconds: float,
    before: int,
) -> dict[str, Any]:  # fmt: skip
    """What this session did and how fast; tasks run interleaved, so there is one clock for all of them."""
    made = {task.name: [done[item.key]["tokens"] for item in asked if item.task.name == task.name] for task in tasks}
    tokens = sum(sum(part) for part in made.values())
    return {
        "seconds": round(seconds, 3),
        "samples": len(asked),
        "samples_before": before,
        "tokens": tokens,
        "tokens_per_s": round(tokens / seconds, 1) if seconds > 0 else 0.0,
        "tasks": {name: {"samples": len(part), "tokens": sum(part)} for name, part in made.items()},
    }


@dataclass(frozen=True)
class Evaluate(Stage):
    """Scores of one model on some tasks: scores.json, samples.jsonl, timings.json.

    model: a stage with a model. seed: of sampled replies (greedy ones need none). label: what the report calls it.
    """

    model: Stage
    tasks: tuple[EvalTask, ...]
    seed: int = 0
    label: str = ""
    VERSION: ClassVar[int] = 1
    OWN_PROCESS: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """E.g. "eval-sft" for the scores of the stage "sft"."""
        return f"eval-{self.model.name}"

    def check(self, data: Path | None) -> None:
        """Raise for no or repeated tasks, for problems that cannot be had, and for a verifier that rejects its gold."""
        check_tasks(self.tasks, data)

    def headline(self) -> dict[str, Any]:
        """Tasks with their limits, and the longest reply allowed."""
        names = [task.name if task.limit is None else f"{task.name} (first {task.limit})" for task in self.tasks]
        longest = max((task.sampling.max_tokens for task in self.tasks), default=0)
        return {"tasks": ", ".join(names), "max_tokens": longest, "seed": self.seed}

    def run(self, ctx: Context) -> None:
        """Load the model, answer, grade."""
        source = ctx.path_of(self.model)
        answers = _load(source / "model", ctx.machine, ctx.console)
        evaluate(
            self.tasks, answers, seed=self.seed, label=self.label or self.model.name, model=source.name, data=ctx.data,
            out=ctx.out, console=ctx.console,
        )  # fmt: skip


def check_tasks(tasks: Sequence[EvalTask], data: Path | None) -> None:
    """Raise RecipeError for no or repeated tasks, DataError for missing problems, VerifierError for rejected gold."""
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
    for task in tasks:
        if task.limit is not None and task.limit < 1:
            raise RecipeError(
                f"task {task.name}: limit={task.limit} asks nothing.\n  Write limit=None for all problems."
            )
        check_gold(task, task.problems(data))


def _load(folder: Path, machine: Machine, console: Console) -> ModelAnswers:
    from burnish.model.policy import Policy
    from burnish.rollout.engines import make_engine

    policy = Policy.load(folder, machine)
    return ModelAnswers(make_engine(policy, machine, console), policy.renderer, policy.context)


def evaluate_model(
    model: str, tasks: Sequence[str | EvalTask], *, limit: int | None = None, machine: Machine,
    engine: str = "torch", data: Path | None = None, out: Path, cache: Path | None = None, seed: int = 0,
    console: Console,
) -> dict[str, Any]:  # fmt: skip
    """Evaluate a model outside a recipe: `burnish eval MODEL --tasks a,b`. Returns what scores.json holds and `folder`.

    model:  "bundled", "toy", "org/name@revision", a model folder, or an artifact folder that holds one.
    tasks:  names of the catalogue, or tasks. limit: only the first problems of each.
    engine: "torch", "hf", or "gold": the worked solutions instead of a model, which shows a task's ceiling.
    out:    the scores go to `<out>/eval-<fingerprint>`: the same question again answers from there, and an
            interrupted one goes on. cache: for converted models and downloads, by default `<out>/cache`.
    Raises RecipeError for unknown names and prompts that do not fit, DataError for missing data.
    """
    from burnish.eval.tasks.catalogue import find

    known = (*get_args(get_type_hints(Machine)["engine"]), "gold")
    if engine not in known:
        raise RecipeError(f"--engine {engine}: no such engine. {nearest(engine, known)}")
    chosen = tuple(find(task) if isinstance(task, str) else task for task in tasks)
    chosen = tuple(task if limit is None else replace(task, limit=limit) for task in chosen)
    check_tasks(chosen, data)
    if engine == "gold":
        folder = out / f"eval-{fingerprint(('gold', chosen))}"
        scores = _kept(folder, console) or evaluate(
            chosen, GoldAnswers(), seed=seed, label="gold", model="gold", data=data, out=folder, console=console
        )
        return {**scores, "folder": str(folder)}
    from burnish.model.base import BaseModel

    artifact = Path(model).expanduser()
    inside = (artifact / "model" / "config.json").exists()
    base = BaseModel(str(artifact / "model") if inside else model)
    base.check(data)
    folder = out / f"eval-{fingerprint((base, chosen, seed))}"
    scores = _kept(folder, console)
    if not scores:
        base.run(Context(folder, machine, lambda stage: folder, data, cache or out / "cache", console))
        answers = _load(folder / "model", replace(machine, engine=cast(Any, engine)), console)
        label = artifact.resolve().name if inside else base.model
        scores = evaluate(chosen, answers, seed=seed, label=label, model=model, data=data, out=folder, console=console)
    return {**scores, "folder": str(folder)}


def _kept(folder: Path, console: Console) -> dict[str, Any]:
    """The scores of a finished evaluation, or {}."""
    if not (folder / "scores.json").exists():
        return {}
    scores: dict[str, Any] = read_json(folder / "scores.json")
    console.line(f"  {folder} has these scores already")
    show(scores, console)
    return scores
