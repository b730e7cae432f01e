"""Suites: named lists of benchmarks whose plain mean is a number people quote. A suite is data; tasks come from the catalogue.

tulu3_dev          the 12 scores of Tülu 3's tables 5 and 6 (arXiv:2411.15124), as the paper measured them; Safety is the mean
                   of six sets and counts once
tulu3_unseen       the 7 scores of its table 33, which need an unlock (burnish.eval.unlock)
tulu3_dev_olmes, tulu3_unseen_olmes
                   what the published evaluation code lists under those names instead: MMLU by log-likelihood after 5 examples
                   and no Safety; DeepMind Mathematics in its earlier wording, and neither IFEval-OOD nor HREF
safety             the six sets behind that score, one by one; safety_rules asks no judge, and stands beside no published score
quick              nine of the development tasks on fixed samples: minutes on two processor cores with a 135M model

The average is the paper's: the plain mean over the suite's parts. One that lacks parts is never called the average.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from burnish.errors import MissingData, RecipeError, nearest
from burnish.eval import paper
from burnish.eval.judging import Judge
from burnish.eval.sampled import Sampled
from burnish.eval.stats import Z95, mean, normal_interval, wilson
from burnish.eval.task import EvalTask
from burnish.eval.tasks import catalogue


@dataclass(frozen=True, slots=True)
class Part:
    """One score of a suite.

    tasks: names of the catalogue; of several, the score is the plain mean.
    row:   the row of the paper's tables it stands beside; "" where no published number was measured so.
    note:  what keeps our number and the published one from being the same measurement, for the reader of a table.
    """

    name: str
    tasks: tuple[str, ...]
    row: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Suite:
    """Parts whose plain mean is the suite's average.

    together: names of parts that grade the same replies to the same questions. Their errors are taken to move as one, which
              can only widen the average's interval; all other parts are independent.
    """

    name: str
    title: str
    parts: tuple[Part, ...]
    together: tuple[tuple[str, ...], ...] = ()

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks of all parts, in order."""
        return tuple(task for part in self.parts for task in part.tasks)


# In the paper's order (burnish.eval.paper.SAFETY). Of two sets the paper asked a sample, which its authors publish as such.
SAFETY = ("harmbench", "xstest", "wildguardtest", "jailbreaktrigger_tulu3", "do_anything_now_tulu3", "wildjailbreak")
SAFETY_RULES = tuple(f"{task.removesuffix('_tulu3')}_rules" for task in SAFETY)
CODE = (("HumanEval", "HumanEval+"),)
_DEV = (
    Part("PopQA", ("popqa",), "PopQA"),
    Part("TruthfulQA", ("truthfulqa",), "TruthfulQA"),
    Part("BBH", ("bbh",), "BBH"),
    Part("DROP", ("drop",), "DROP"),
    Part("MATH", ("math",), "MATH"),
    Part("GSM8K", ("gsm8k",), "GSM8K"),
    Part("HumanEval", ("humaneval",), "HumanEval"),
    Part("HumanEval+", ("humanevalplus",), "HumanEval+"),
    Part("IFEval", ("ifeval",), "IFEval"),
    Part(
        "AlpacaEval 2",
        ("alpaca_eval",),
        "AlpacaEval 2",
        "the published judge is GPT-4 Turbo; with another the numbers cannot be compared",
    ),
)
_SAFETY = Part(
    "Safety", SAFETY, "Safety", "the published judge is WildGuard; with another the numbers cannot be compared"
)
_UNSEEN = (
    Part("GPQA", ("gpqa",), "GPQA"),
    Part("MMLU-Pro", ("mmlu_pro",), "MMLU-Pro"),
    Part("AGIEval", ("agieval",), "AGIEval"),
    Part("BigCodeBench-Hard", ("bigcodebench_hard",), "BigCodeBench-Hard"),
)


@dataclass(frozen=True, slots=True)
class Quick:
    """A task on a sample of n problems; by category where its score is a mean of categories."""

    task: str
    n: int


# About 100 problems each, so that a share is known to about 10 points; where one costs seconds, fewer, and where many share
# one long prefix and need a few tokens, more. By category: at least two of each, or nothing could be said of its spread.
QUICK: Mapping[str, Quick] = {
    f"{quick.task}_quick": quick
    for quick in (
        Quick("mmlu_mc", 171),
        Quick("popqa", 300),
        Quick("truthfulqa", 100),
        Quick("bbh", 108),
        Quick("drop_dev_shots", 100),
        Quick("math", 70),
        Quick("gsm8k", 100),
        Quick("humaneval_pass1", 60),
        Quick("ifeval", 60),
    )
}

SUITES: Mapping[str, Suite] = {
    suite.name: suite
    for suite in (
        Suite(
            "tulu3_dev", "Tülu 3 development suite",
            (Part("MMLU", ("mmlu",), "MMLU"), *_DEV, _SAFETY), CODE,
        ),
        Suite(
            "tulu3_unseen", "Tülu 3 unseen suite",
            (
                *_UNSEEN[:3],
                Part("DeepMind Math", ("deepmind_math",), "DeepMind Math"),
                *_UNSEEN[3:],
                Part("IFEval-OOD", ("ifeval_ood",), "IFEval-OOD", "the published set had other prompts"),
                Part("HREF", ("href",), "HREF", "the public development set of 430; the published scores are of 4,258 hidden instructions"),
            ),
        ),
        Suite("tulu3_dev_olmes", "tulu_3_dev as olmes lists it", (Part("MMLU 5-shot", ("mmlu_mc",)), *_DEV), CODE),
        Suite(
            "tulu3_unseen_olmes", "tulu_3_unseen as olmes lists it",
            (*_UNSEEN, Part("DeepMind Math, earlier wording", ("deepmind_math_v0",))),
        ),
        Suite("safety", "Safety", tuple(Part(name, (task,), name) for name, task in zip(paper.SAFETY, SAFETY, strict=True))),
        Suite(
            "safety_rules", "Safety by refusals in words",
            tuple(Part(name, (task,)) for name, task in zip(paper.SAFETY, SAFETY_RULES, strict=True)),
        ),
        Suite("quick", "Quick look, on samples", tuple(Part(quick.task, (name,)) for name, quick in QUICK.items())),
    )
}  # fmt: skip


MISSING = "missing.json"  # in an evaluation's folder: what a suite wanted and could not have
NO_JUDGE = (
    "its verdicts are a judge model's, and no judge is given.\n"
    "  Name one: --judge FOLDER, or --judge http://HOST/v1 --judge-model NAME (in a recipe expand([…], Judge(…)))."
)


def names() -> set[str]:
    """Every task there is."""
    return {*catalogue.TASKS, *catalogue.JUDGED, *QUICK}


def find(name: str, judge: Judge | None = None) -> EvalTask:
    """The task of the catalogue, or of the quick suite, by name. judge: for the tasks that need one.

    Raises RecipeError with the nearest known name, and for a task that needs a judge where none is given.
    """
    if name not in names():
        raise RecipeError(
            f"{name!r} is neither a task nor a suite. {nearest(name, {*names(), *SUITES})}\n"
            "  `burnish eval tasks` lists them. Benchmarks of your own are passed as values: see docs/howto/task.md."
        )
    return _sampled(name, QUICK[name]) if name in QUICK else catalogue.find(name, judge)


def members(wanted: Iterable[str]) -> dict[str, str]:
    """The tasks that names of tasks and suites stand for, in order, each once, with the name that asked for it.

    A task asked by its own name and by a suite's counts as asked by its own.
    """
    found: dict[str, str] = {}
    for name in wanted:
        for task in SUITES[name].tasks if name in SUITES else (name,):
            if task not in found or task == name:
                found[task] = name
    return found


def expand(wanted: Iterable[str], judge: Judge | None = None) -> list[EvalTask]:
    """The tasks that names of tasks and suites stand for, in order, each once. judge: for those that need one.

    Raises RecipeError for an unknown name, and where a task needs a judge and none is given.
    """
    return [find(name, judge) for name in members(wanted)]


@dataclass(frozen=True, slots=True)
class Missing:
    """A task that cannot be asked here. why: what is not there and how to get it."""

    task: str
    why: str


@dataclass(frozen=True, slots=True)
class Chosen:
    """What `choose` found: tasks to ask, and those of suites that cannot be asked here."""

    tasks: tuple[EvalTask, ...]
    missing: tuple[Missing, ...] = ()


def choose(wanted: Sequence[str], data: Path | None, judge: Judge | None = None) -> Chosen:
    """The tasks that can be asked here. A suite goes on without a set whose data are not here, or that needs a judge where
    none is given; each is listed with how to get it.

    Raises RecipeError for no or an unknown name, and for a task asked by its own name without the judge it needs; MissingData
    for a task asked by its own name whose data are not here, and where nothing is left; DataError for data of another revision.
    """
    asked = members(wanted)
    if not asked:
        raise RecipeError(
            "--tasks names nothing to ask.\n  E.g. --tasks quick, or --tasks gsm8k,ifeval; `burnish eval tasks` lists them."
        )
    tasks: list[EvalTask] = []
    missing: list[Missing] = []
    for name, by in asked.items():
        if judge is None and name in catalogue.JUDGED and by != name:
            missing.append(Missing(name, NO_JUDGE))
            continue
        task = find(name, judge)
        if why := lack(task, data):
            missing.append(Missing(name, why))
        else:
            tasks.append(task)
    needed = [each.why for each in missing if asked[each.task] == each.task]
    if needed or not tasks:
        raise MissingData(*(needed or [f"{each.task}: {each.why}" for each in missing]))
    return Chosen(tuple(tasks), tuple(missing))


def lack(task: EvalTask, data: Path | None) -> str:
    """What is missing of a task's data and how to get it; "" where they can be had. Raises DataError for another revision."""
    check: Callable[[Path | None], None] | None = getattr(task.source, "check", None)
    try:
        if check is not None:
            check(data)
    except MissingData as missing:
        return "\n".join(missing.texts)
    return ""


def _sampled(name: str, quick: Quick) -> EvalTask:
    """A catalogue task on its sample. No published score stands beside it: those are of whole sets."""
    task = catalogue.find(quick.task)
    source = Sampled(task.source, quick.n, by_category=task.average == "categories")
    return dataclasses.replace(task, name=name, source=source, published=(), n=quick.n)


def half_width(n: int) -> float:
    """Half the 95 % interval of a share measured on n problems, at worst: Wilson's at one half. 9.6 points for n = 100."""
    low, high = wilson(n / 2, n)
    return (high - low) / 2


@dataclass(frozen=True, slots=True)
class Score:
    """One part of a suite as measured. score: in [0, 1]. n: graded problems. cut_share: of replies, at the token limit."""

    name: str
    score: float
    standard_error: float
    interval: tuple[float, float]
    n: int
    ungraded: int
    cut_share: float


def score_of(part: Part, rows: Mapping[str, Mapping[str, Any]]) -> Score | str:
    """A part's score from rows of scores.json by task; a sentence where it was not measured, or not all of it."""
    lacking = [task for task in part.tasks if task not in rows]
    blank = [task for task in part.tasks if task in rows and rows[task]["score"] is None]
    if lacking or blank:
        told = [f"{_some(lacking, part)} not measured"] if lacking else []
        told += [f"{task}: none of {rows[task]['ungraded']} problems could be graded" for task in blank]
        return "; ".join(told)
    own = [rows[task] for task in part.tasks]
    replies = [row["n"] + row["ungraded"] for row in own]
    centre = mean([row["score"] for row in own])
    error = math.sqrt(math.fsum(row["standard_error"] ** 2 for row in own)) / len(own)
    low, high = own[0]["interval"] if len(own) == 1 else normal_interval(centre, error)
    cut = math.fsum((row.get("cut_share") or 0.0) * n for row, n in zip(own, replies, strict=True)) / max(
        sum(replies), 1
    )
    return Score(part.name, centre, error, (low, high), sum(r["n"] for r in own), sum(r["ungraded"] for r in own), cut)


def _some(lacking: Sequence[str], part: Part) -> str:
    """The lacking tasks, with how many of how many where a part has several."""
    listed = ", ".join(lacking)
    return listed if len(part.tasks) == 1 else f"{len(lacking)} of {len(part.tasks)} ({listed})"


@dataclass(frozen=True, slots=True)
class Average:
    """The plain mean over a suite's parts. score is None where no part was measured.

    over:    the parts it is the mean of. missing: the other parts, and why each is missing.
    limited: parts of which only the first problems were asked.
    """

    suite: str
    score: float | None
    standard_error: float | None
    interval: tuple[float, float] | None
    over: tuple[str, ...]
    missing: Mapping[str, str]
    limited: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether all parts are there, with all of their problems: only then is it the suite's average."""
        return not self.missing and not self.limited

    @property
    def title(self) -> str:
        """Average; of less than the suite, e.g. Average of 10 of 12 (missing: PopQA, Safety), first problems only."""
        first = ", first problems only" if self.limited else ""
        if not self.missing:
            return f"Average{first}"
        lacking = ", ".join(self.missing)
        return f"Average of {len(self.over)} of {len(self.over) + len(self.missing)} (missing: {lacking}){first}"


def average(rows: Iterable[Mapping[str, Any]], suite: Suite, only: Iterable[str] | None = None) -> Average:
    """The mean over the suite's parts found in `rows` (of scores.json), each part counting once.

    only: names of parts to average over, for models measured on different ones; the others count as missing.
    Standard error: sqrt(sum of squares) / k over the k parts, where parts that grade the same replies (`Suite.together`)
    enter as one with the sum of their errors. Interval: 1.96 of such errors, where a part whose own is 0 (everything right, or
    everything wrong) has that of its interval.
    """
    by_task = {row["task"]: row for row in rows}
    wanted = {part.name for part in suite.parts} if only is None else set(only)
    found: dict[str, Score] = {}
    missing: dict[str, str] = {}
    for part in suite.parts:
        score = score_of(part, by_task)
        if isinstance(score, str):
            missing[part.name] = score
        elif part.name not in wanted:
            missing[part.name] = "not measured for every model"
        else:
            found[part.name] = score
    if not found:
        return Average(suite.name, None, None, None, (), missing)
    centre = mean([score.score for score in found.values()])
    error = _propagated({name: score.standard_error for name, score in found.items()}, suite)
    wide = {
        name: score.standard_error or (score.interval[1] - score.interval[0]) / (2 * Z95)
        for name, score in found.items()
    }
    bounds = normal_interval(centre, _propagated(wide, suite))
    limited = [
        part.name for part in suite.parts if part.name in found and any(_limit(by_task[task]) for task in part.tasks)
    ]
    return Average(suite.name, centre, error, bounds, tuple(found), missing, tuple(limited))


def _propagated(errors: Mapping[str, float], suite: Suite) -> float:
    """The standard error of the mean of parts, from theirs."""
    groups = [[name for name in group if name in errors] for group in suite.together]
    alone = [[name] for name in errors if not any(name in group for group in groups)]
    sums = [math.fsum(errors[name] for name in group) for group in (*groups, *alone)]
    return math.sqrt(math.fsum(each * each for each in sums)) / len(errors)


def _limit(row: Mapping[str, Any]) -> int | None:
    return (row.get("settings") or {}).get("limit")


def average_lines(wanted: Iterable[str], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The averages of the suites among `wanted`, a line each, in per cent with their 95 % intervals."""
    lines: list[str] = []
    for suite in (SUITES[name] for name in dict.fromkeys(wanted) if name in SUITES):
        found = average(rows, suite)
        if found.score is not None and found.interval is not None:
            low, high = found.interval
            lines.append(
                f"{suite.name}: {found.title} {found.score * 100:.1f}  95 % {low * 100:.1f} to {high * 100:.1f}"
            )
    return lines
