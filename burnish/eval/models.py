"""Evaluating models outside a recipe: `burnish eval MODEL… --tasks a,b`."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast, get_args, get_type_hints

from burnish.core.files import write_json
from burnish.core.fingerprint import fingerprint
from burnish.core.rng import seed_of
from burnish.data.decontamination.tested import KnownItems
from burnish.errors import RecipeError, nearest
from burnish.eval.answer import Answers, GoldAnswers
from burnish.eval.contamination import lines, mark
from burnish.eval.local import local_answers
from burnish.eval.prompts import Overlong, check_overlong
from burnish.eval.run import Problems, check_graders, evaluate, problems_of, show
from burnish.eval.score import FORMAT, read_scores
from burnish.eval.suites import MISSING, Missing, choose
from burnish.eval.task import EvalTask
from burnish.eval.unlock import LOG, check_unlocked, record
from burnish.pipeline.machine import Machine
from burnish.pipeline.progress import Console
from burnish.pipeline.stage import Context
from burnish.rollout.api_engine import Endpoint

MODELLESS = ("gold", "replay", "endpoint")
LOCAL = get_args(get_type_hints(Machine)["engine"])


@dataclass(frozen=True, slots=True)
class Asking:
    """How models are asked, whichever they are.

    engine:   one of the machine's engines; "gold": the worked solutions instead of a model, which shows a task's ceiling;
              "replay": the replies in the file `replies`; "endpoint": the model behind `endpoint`.
    out:      scores go to `<out>/eval-<fingerprint>`: the same question again answers from there, and an interrupted one goes on.
              Replies are kept for all evaluations in `<out>/replies`.
    cache:    for converted models and downloads, by default `<out>/cache`.
    jobs:     replies graded at a time in worker processes; None: as many as the machine has threads.
    unlock:   why unseen tasks are asked; needed for those, counted and logged in `log`.
    tested:   what training data were compared with, for scores on clean and contaminated problems.
    log:      of looks at unseen tasks; one for a folder of runs, so None, which is `<out>/unseen.jsonl`, is for looks outside one.
    """

    machine: Machine
    out: Path
    engine: str = "torch"
    data: Path | None = None
    cache: Path | None = None
    seed: int = 0
    overlong: Overlong = "error"
    unlock: str = ""
    replies: Path | None = None
    endpoint: Endpoint | None = None
    jobs: int | None = None
    tested: KnownItems | None = None
    log: Path | None = None

    @property
    def looks(self) -> Path:
        """Where looks at unseen tasks are logged."""
        return self.log or self.out / LOG

    def check(self, models: Sequence[str]) -> None:
        """Raise RecipeError for an engine that is not known, or that lacks what it answers from."""
        known = (*LOCAL, *MODELLESS)
        if self.engine not in known:
            raise RecipeError(f"--engine {self.engine}: no such engine. {nearest(self.engine, known)}")
        for name, value in (("replay", self.replies), ("endpoint", self.endpoint)):
            flags = {"replay": "--replies FILE.jsonl", "endpoint": "--url http://HOST/v1 --model-name NAME"}[name]
            if self.engine == name and value is None:
                raise RecipeError(f"--engine {name}: nothing says where replies come from.\n  Add {flags}.")
            if self.engine != name and value is not None:
                raise RecipeError(
                    f"--engine {self.engine} does not use {flags}.\n  Add --engine {name}, or leave them out."
                )
        if self.engine not in MODELLESS and not models:
            raise RecipeError("burnish eval: no model is named.\n  burnish eval bundled --tasks quick")
        if self.engine in MODELLESS and len(models) > 1:
            raise RecipeError(
                f"--engine {self.engine} asks no model on this machine, so {len(models)} models cannot be told apart.\n"
                "  Name one, or none: it only labels the scores."
            )
        check_overlong(self.overlong)


@dataclass(frozen=True, slots=True)
class _Model:
    """A model that is to be asked. identity: its content. answers: made when its questions are known."""

    label: str
    spelling: str
    identity: str
    answers: Callable[[], Answers]


def evaluate_models(
    models: Sequence[str], tasks: Sequence[str | EvalTask], asking: Asking, console: Console, *, limit: int | None = None,
    judge: Any = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """Ask every model the same; returns what scores.json of each holds, and its `folder`.

    models: "bundled", "toy", "org/name@revision", a model folder, or an artifact folder that holds one.
    tasks:  names of tasks and suites, or tasks. limit: only the first problems of each. judge: for tasks that need one.
    Raises RecipeError for unknown names and prompts that do not fit, MissingData for a named task whose data are not here.
    """
    asking.check(models)
    names = [task for task in tasks if isinstance(task, str)]
    chosen = choose(names, asking.data, judge) if names else None
    given = [task for task in tasks if isinstance(task, EvalTask)]
    own = [*(chosen.tasks if chosen else ()), *given]
    own = [task if limit is None else replace(task, limit=limit) for task in own]
    if asking.engine != "gold":
        check_unlocked(own, asking.unlock, asking.looks)
    problems = problems_of(own, asking.data)
    missing = chosen.missing if chosen else ()
    found: list[dict[str, Any]] = []
    for spelling in models or [asking.engine]:
        if len(models) > 1:
            console.line(f"{spelling}")
        model = _model(spelling, asking, own, problems, console)
        found.append(_evaluated(model, asking, own, problems, missing, console))
        if asking.tested is not None:
            found[-1] |= mark(Path(found[-1]["folder"]), own, problems, asking.tested)
            for said in lines(found[-1]):
                console.line(said)
        del model
        gc.collect()  # weights go before the next model's come
    reasons: dict[str, list[str]] = {}
    for lacking in missing:
        reasons.setdefault(lacking.why, []).append(lacking.task)
    for why, without in reasons.items():
        console.line(f"  missing: {', '.join(without)}: {why}")
    return found


def _evaluated(
    model: _Model, asking: Asking, tasks: Sequence[EvalTask], problems: Problems, missing: Sequence[Missing], console: Console
) -> dict[str, Any]:  # fmt: skip
    """One model's scores: those that are there, or new ones."""
    ids = seed_of(0, "problems", *(problem.id for task in tasks for problem in problems[task.name]))
    what = (FORMAT, model.identity, asking.engine, tuple(tasks), asking.seed, asking.overlong, ids)
    folder = asking.out / f"eval-{fingerprint(what)}"
    if (folder / "scores.json").exists():
        scores = read_scores(folder)
        if not any(row["ungraded_replies"] for row in scores["tasks"]):
            console.line(f"  {folder} has these scores already")
            show(scores, console)
            return _told(scores, folder, missing)
    check_graders(tasks, problems)
    sizes = {name: len(part) for name, part in problems.items()}
    if asking.engine != "gold":
        record(tasks, sizes, reason=asking.unlock, model=model.label, folder=folder, log=asking.looks)
    scores = evaluate(
        tasks, model.answers(), seed=asking.seed, label=model.label, model=model.spelling, data=asking.data, out=folder,
        console=console, kept=asking.out / "replies" / model.identity[:16], overlong=asking.overlong, engine=asking.engine,
        jobs=asking.machine.threads if asking.jobs is None else asking.jobs, problems=problems,
    )  # fmt: skip
    return _told(scores, folder, missing)


def _told(scores: dict[str, Any], folder: Path, missing: Sequence[Missing]) -> dict[str, Any]:
    """The scores with their folder and what was wanted and not to be had, which is kept for tables beside the scores."""
    told = [{"task": each.task, "why": each.why} for each in missing]
    write_json(folder / MISSING, told)
    return {**scores, "missing": told, "folder": str(folder)}


def _model(spelling: str, asking: Asking, tasks: Sequence[EvalTask], problems: Problems, console: Console) -> _Model:
    """The model that a person means."""
    label = spelling if asking.engine in MODELLESS and spelling != asking.engine else asking.engine
    if asking.engine == "gold":
        return _Model(label, "gold", "gold", GoldAnswers)
    if asking.engine == "replay":
        return _replay(label, asking, problems)
    if asking.engine == "endpoint":
        return _endpoint(spelling, asking)
    artifact = Path(spelling).expanduser()
    inside = (artifact / "model" / "config.json").exists()
    folder = artifact / "model" if inside else artifact
    place = artifact.resolve()
    label = place.parent.name if place.name == "model" else place.name
    if not folder.is_dir():
        label, folder = spelling, _placed(spelling, asking, console)
    from burnish.model.folder import check_folder, content_of

    check_folder(folder, template=False)
    identity = content_of(folder)
    machine = replace(asking.machine, engine=cast(Any, asking.engine))

    def answers() -> Answers:
        return local_answers(folder, machine, console, tasks=tasks, overlong=asking.overlong, identity=identity)

    return _Model(label, spelling, identity, answers)


def _placed(spelling: str, asking: Asking, console: Console) -> Path:
    """The folder of a model that is converted, made or downloaded: "bundled", "toy" or one of the hub."""
    from burnish.model.base import BaseModel

    base = BaseModel(spelling)
    base.check(asking.data)
    cache = asking.cache or asking.out / "cache"
    folder = cache / "models" / fingerprint(base)
    folder.mkdir(parents=True, exist_ok=True)
    base.run(Context(folder, asking.machine, lambda stage: folder, asking.data, cache, console))
    return folder / "model"


def _replay(label: str, asking: Asking, problems: Problems) -> _Model:
    from burnish.core.files import sha256_file
    from burnish.eval.replay import ReplayAnswers

    path = asking.replies
    assert path is not None
    answers = ReplayAnswers(path, problems)
    return _Model(path.stem if label == "replay" else label, str(path), sha256_file(path), lambda: answers)


def _endpoint(spelling: str, asking: Asking) -> _Model:
    from burnish.eval.endpoint import EndpointAnswers

    endpoint = asking.endpoint
    assert endpoint is not None
    label = endpoint.model if spelling == "endpoint" else spelling
    return _Model(label, endpoint.name, fingerprint(endpoint), lambda: EndpointAnswers(endpoint))


def side_by_side(found: Sequence[dict[str, Any]]) -> list[str]:
    """A table of several models' scores, a line a task: the score with half its 95 % interval, per cent."""
    tasks = list(dict.fromkeys(row["task"] for scores in found for row in scores["tasks"]))
    rows = [["", *(str(scores["label"])[:24] for scores in found)]]
    for task in tasks:
        rows.append([task, *(_cell(scores, task) for scores in found)])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]).rstrip() for row in rows]  # fmt: skip


def _cell(scores: dict[str, Any], task: str) -> str:
    row = next((row for row in scores["tasks"] if row["task"] == task), None)
    if row is None or row["score"] is None:
        return "–"
    low, high = row["interval"]
    cut = f", {row['cut_share']:.0%} cut" if row["cut_share"] else ""
    return f"{100 * row['score']:.1f} ± {50 * (high - low):.1f}{cut}"
