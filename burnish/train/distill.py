"""Distillation: a student imitates a teacher's probabilities, token by token (arXiv:1503.02531; arXiv:2408.00118 §3).

teacher = TeacherLogprobs(big, demos, k=32)
small = Distill(start=student, data=teacher, loss=Distillation(nll=0.1))
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from burnish.core.files import read_json
from burnish.core.types import Demo
from burnish.errors import DataError, RecipeError
from burnish.losses.distill import Distillation
from burnish.model.base import BaseModel
from burnish.model.policy import Policy
from burnish.pipeline.stage import Context, Stage
from burnish.train.demos import CutTurns, DemoRules, LeaveOut, Turns
from burnish.train.epochs import PolicyEpochs, train_epochs
from burnish.train.kinds import rows_of
from burnish.train.rows import check_numbers, fit_context, fitting
from burnish.train.schedule import Linear, Schedule
from burnish.train.session import finished
from burnish.train.teacher import Asked, Teacher, ask_teacher


@dataclass(frozen=True)
class TeacherLogprobs(Stage):
    """Writes what `teacher` says about every trained token of the demonstrations of `data`, once for any number of students.

    k:           candidates a token: the token itself and the k - 1 likeliest others. The rest is kept as one number.
    temperature: divides the teacher's logits, and later the student's.
    dtype:       "float32", or "float16" for half the space: log-probs are then off by up to 0.1 %.
    max_tokens, turns, long, weights: which rows and turns, as in SFT.

    The folder takes (8 k + 4) bytes a trained token, with float16 (6 k + 2).
    """

    VERSION: ClassVar[int] = 1
    OWN_PROCESS: ClassVar[bool] = True

    teacher: Stage
    data: Stage
    k: int = 32
    temperature: float = 1.0
    dtype: Literal["float32", "float16"] = "float32"
    max_tokens: int = 4096
    turns: Turns = "all"
    long: LeaveOut | CutTurns = field(default_factory=LeaveOut)
    weights: Mapping[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Always "teacher"."""
        return "teacher"

    def headline(self) -> dict[str, Any]:
        """Candidates, temperature and longest row."""
        return {"k": self.k, "temperature": self.temperature, "max_tokens": self.max_tokens}

    def check(self, data: Path | None) -> None:
        """Raise RecipeError for numbers that cannot work."""
        check_numbers(self.name, max_tokens=self.max_tokens)
        if self.k < 2:
            raise RecipeError(
                f"{self.name}: k={self.k}, which is the token alone: nothing to learn from.\n  Write k=32."
            )
        if not self.temperature > 0:
            raise RecipeError(
                f"{self.name}: temperature={self.temperature}, by which logits cannot be divided.\n  Write 1.0."
            )
        if self.dtype not in ("float32", "float16"):
            raise RecipeError(f'{self.name}: dtype={self.dtype!r}: write "float32" or "float16".')
        self._rules.check(self.name)

    def run(self, ctx: Context) -> None:
        """Ask; writes teacher-….safetensors, teacher.json and data_report.json."""
        policy = Policy.load(ctx.path_of(self.teacher) / "model", ctx.machine)
        known = len(policy.renderer.tokenizer)
        if self.k > known:
            raise RecipeError(
                f"{self.name}: k={self.k}, but the teacher has {known} tokens.\n  Write k={known} or less."
            )
        fit_context(self.name, self.max_tokens, policy.context)
        demos = rows_of(self.name, ctx, self.data, Demo)
        rows = self._rules.rows(demos, policy.renderer, ctx)
        ask_teacher(policy, rows, Asked(self.k, self.temperature, self.dtype), ctx)

    @property
    def _rules(self) -> DemoRules:
        return DemoRules(self.max_tokens, self.turns, self.long, self.weights)


@dataclass(frozen=True)
class Distill(PolicyEpochs):
    """Trains `start` towards what a teacher said: `data` is a TeacherLogprobs stage, whose rows and weights it uses.

    global_batch: conversations an optimizer step; an epoch's last step takes what is left.
    max_tokens:   rows that are longer are left out and counted; the teacher's own limit comes first.
    loss:         Distillation(rest, nll); the temperature is the teacher stage's.
    probe:        what to ask while training; it changes no weight, so it is no part of the identity.
    """

    VERSION: ClassVar[int] = 1

    epochs: int = 2
    lr: Schedule = field(default_factory=lambda: Linear(2e-5))
    max_tokens: int = 4096
    loss: Distillation = field(default_factory=Distillation)

    @property
    def name(self) -> str:
        """Always "distill"."""
        return "distill"

    def check(self, data: Path | None) -> None:
        """Raise RecipeError for data that no teacher wrote, numbers that cannot work, and folders of different vocabularies."""
        super().check(data)
        teacher = self.data
        if not isinstance(teacher, TeacherLogprobs):
            raise RecipeError(
                f"{self.name}: data is a {type(teacher).__name__}, which holds no log-probs of a teacher.\n"
                "  Write data=TeacherLogprobs(teacher, data)."
            )
        _check_folders(teacher.teacher, self.start)

    def run(self, ctx: Context) -> None:
        """Train; writes model, metrics.jsonl and data_report.json."""
        if finished(ctx):
            return
        policy = self.policy(ctx)
        fit_context(self.name, self.max_tokens, policy.context)
        teacher = Teacher(ctx.path_of(self.data))
        said = self.data.teacher.name if isinstance(self.data, TeacherLogprobs) else self.data.name
        teacher.check_student(policy.renderer, said, self.start.name)
        kept = fitting(ctx, "rows of a teacher", teacher.rows(), self.max_tokens)
        learner = self.learner(policy, ctx)
        train_epochs(self, ctx, learner, kept, self.loss, teacher.batch).finish()


def _check_folders(teacher: Stage, student: Stage) -> None:
    """Raise RecipeError, before anything runs, where both models descend from folders here whose vocabularies differ."""
    folders = [Path(base.path) for base in map(_base_of, (teacher, student)) if base is not None and base.path]
    if len(folders) != 2:
        return
    try:
        own, others = (_tokens_in(folder / "tokenizer.json") for folder in folders)
    except (DataError, OSError, KeyError, TypeError):
        # Some other form of tokenizer: both are compared once they are loaded.
        return
    if own != others:
        raise RecipeError(
            f"distill: the teacher {folders[0]} has {len(own):,} tokens and the student {folders[1]} {len(others):,}, not the same "
            "ones, so the teacher's log-probs would be about other tokens.\n"
            "  Distil between models of one tokenizer, or sample replies from the teacher and train on them with SFT."
        )


def _base_of(stage: Any) -> BaseModel | None:
    """The model that a stage's model was trained from."""
    while stage is not None and not isinstance(stage, BaseModel):
        stage = getattr(stage, "start", None)
    return stage


def _tokens_in(path: Path) -> dict[str, int]:
    """Token ids by their texts."""
    settings = read_json(path)
    listed = settings["model"]["vocab"]
    known = listed if isinstance(listed, dict) else {piece[0]: i for i, piece in enumerate(listed)}
    return {**known, **{token["content"]: token["id"] for token in settings["added_tokens"]}}
