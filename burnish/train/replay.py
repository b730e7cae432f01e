"""Groups from a file of recorded replies in place of an engine: train again on what another run sampled and graded."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Literal

from burnish.core.files import sha256_file
from burnish.core.rows import trajectory_from_json
from burnish.core.types import Problem, Trajectory
from burnish.errors import DataError, RecipeError
from burnish.model.policy import Policy
from burnish.pipeline.stage import Context, Stage
from burnish.rollout.engine import Engine
from burnish.rollout.environment import Environments, opening
from burnish.train.groups import Taken
from burnish.train.rollout_log import FILE
from burnish.train.rollouts import Group
from burnish.train.rows import rows_of_step


@dataclass(frozen=True, slots=True)
class RolloutFile:
    """A rollouts.jsonl of one's own. Its content is its identity; sha256 is computed when left out."""

    path: str | Path = field(metadata={"identity": False}, repr=False)
    sha256: str = ""
    VERSION: ClassVar[int] = 1

    def __post_init__(self) -> None:
        """Raise DataError for a file that is not there."""
        object.__setattr__(self, "path", str(self.path))
        if not Path(self.path).is_file():
            raise DataError(
                f"RolloutFile({self.path!r}): there is no such file.\n"
                "  Give the rollouts.jsonl in the folder of a finished RL stage, or that stage itself: Replayed(stage)."
            )
        if not self.sha256:
            object.__setattr__(self, "sha256", sha256_file(Path(self.path)))

    def check(self) -> None:
        """Raise DataError for a file whose content is no longer, or never was, the one that `sha256` names."""
        found = sha256_file(Path(self.path))
        if found != self.sha256:
            raise DataError(
                f"{self.path} has the SHA-256 {found}, not {self.sha256}, so this would not be the run that the recipe names.\n"
                "  Give the file that was meant, or leave sha256 out."
            )


@dataclass(frozen=True, slots=True)
class Replayed:
    """Learn from the replies that another run sampled and graded; none is sampled.

    run:   an RL stage, or RolloutFile(path). The log-probs in its file are the old ones of the loss: give the same `sampling`
           temperature that they were sampled with.
    order: "recorded": each step has the groups that this step of the run had. "shuffled": `problems_per_step` groups a step, each
           group once an epoch in a new order; there may be any number of steps.

    Groups of problems that the stage's own `problems` lack are left out.
    """

    run: Stage | RolloutFile
    order: Literal["recorded", "shuffled"] = "recorded"
    VERSION: ClassVar[int] = 1

    def __post_init__(self) -> None:
        """Raise RecipeError for an unknown order."""
        if self.order not in ("recorded", "shuffled"):
            raise RecipeError(f'Replayed(order={self.order!r}): write "recorded" or "shuffled".')

    def path(self, ctx: Context) -> Path:
        """The file."""
        return Path(self.run.path) if isinstance(self.run, RolloutFile) else ctx.path_of(self.run) / FILE


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a group is recorded: its step, and the bytes at which its lines begin."""

    step: int
    at: tuple[int, ...]


class Replay:
    """The groups of a file, read when their step comes; everything in it is checked before the first step."""

    engine: Engine | None = None

    def __init__(
        self, replayed: Replayed, ctx: Context, policy: Policy, problems: Sequence[Problem], environments: Environments, *,
        steps: int, a_step: int, seed: int, least: int,
    ) -> None:  # fmt: skip
        self._order, self._a_step, self._seed = replayed.order, a_step, seed
        self._path = replayed.path(ctx)
        if isinstance(replayed.run, RolloutFile):
            replayed.run.check()
        known = {problem.id for problem in problems}
        check = _Check(self._path, policy, environments)
        places: dict[tuple[int, int], list[int]] = {}
        with self._opened() as file:
            at = found = 0
            for found, line in enumerate(file, 1):
                record = check.read(line, found)
                trajectory = check.fits(record, found)
                if trajectory.problem.id in known:
                    places.setdefault((record["step"], record["group"]), []).append(at)
                at += len(line)
        self._places = [_Place(step, tuple(at)) for (step, _), at in sorted(places.items()) if len(at) >= least]
        used = sum(len(place.at) for place in self._places)
        if used < found:
            ctx.console.line(
                f"  {found - used:,} of {found:,} recorded replies are of other problems and were left out"
            )
        self._check_enough(steps, found)

    def groups(self, step: int) -> Taken:
        """The groups of step `step`, counted from 0, with the log-probs of the policy that sampled them."""
        if self._order == "shuffled":
            chosen = [self._places[i] for i in rows_of_step(step, len(self._places), self._a_step, self._seed)]
        else:
            chosen = [place for place in self._places if place.step == step + 1]
        with self._opened() as file:
            return Taken([_group(file, place) for place in chosen], recorded=True)

    def learned(self, step: int, updated: bool) -> None:
        """Nothing waits for the weights."""

    def close(self) -> None:
        """Nothing is held."""

    def _opened(self) -> BinaryIO:
        try:
            return self._path.open("rb")
        except FileNotFoundError:
            raise DataError(
                f"{self._path} does not exist, so there is nothing to replay.\n  Is the stage in Replayed(…) an RL stage?"
            ) from None

    def _check_enough(self, steps: int, found: int) -> None:
        if not self._places:
            raise DataError(
                f"{self._path}: none of its {found:,} replies is to one of the stage's problems, so there is nothing to learn from.\n"
                "  Give the problems that were sampled for."
            )
        recorded = {place.step for place in self._places}
        if self._order == "recorded" and not recorded >= set(range(1, steps + 1)):
            missing = min(set(range(1, steps + 1)) - recorded)
            raise RecipeError(
                f"steps={steps}, but {self._path} has nothing of step {missing}: it has {len(recorded)} steps of these problems.\n"
                f'  Set steps={missing - 1 or 1} or less, or Replayed(order="shuffled"), which may go round more than once.'
            )


def _group(file: BinaryIO, place: _Place) -> Group:
    group: Group = []
    for at in place.at:
        file.seek(at)
        group.append(trajectory_from_json(json.loads(file.readline())))
    return group


class _Check:
    """Whether recorded replies are what this model would have been asked and could have said."""

    def __init__(self, path: Path, policy: Policy, environments: Environments) -> None:
        self._path, self._policy, self._environments = path, policy, environments
        self._vocabulary = int(policy.model.get_input_embeddings().num_embeddings)
        self._prompts: dict[str, tuple[int, ...]] = {}

    def read(self, line: bytes, number: int) -> dict[str, Any]:
        """The record of a line. Raises DataError for what is none."""
        try:
            record = json.loads(line)
        except ValueError as error:
            raise DataError(f"{self._path}, line {number}: not valid JSON ({error}).") from error
        if (
            not isinstance(record, dict)
            or not {"step", "group", "problem", "prompt_ids", "completion"} <= record.keys()
        ):
            raise DataError(
                f"{self._path}, line {number}: not a recorded reply, which has step, group, problem, prompt_ids and completion.\n"
                "  Give the rollouts.jsonl of an RL stage."
            )
        return record

    def fits(self, record: Mapping[str, Any], number: int) -> Trajectory:
        """The reply. Raises DataError, naming the line, for one that this model could not have been asked for or have given."""
        where = f"{self._path}, line {number}"
        try:
            trajectory = trajectory_from_json(dict(record))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{where}: not a recorded reply ({type(error).__name__}: {error}).") from error
        problem, completion = trajectory.problem, trajectory.completion
        if problem.id not in self._prompts:
            self._prompts[problem.id] = self._policy.renderer.prompt(opening(self._environments, problem))
        if trajectory.prompt_ids != self._prompts[problem.id]:
            raise DataError(
                f"{where}: the prompt of problem {problem.id} was recorded as {len(trajectory.prompt_ids)} tokens that are not the "
                f"{len(self._prompts[problem.id])} which this model's template and tokenizer make of it, so its log-probs are those "
                "of another question.\n  Replay with a model of the same tokenizer and chat template, and the same environments."
            )
        tokens = trajectory.prompt_ids + completion.token_ids
        if max(tokens) >= self._vocabulary or min(tokens) < 0 or len(tokens) > self._policy.context:
            raise DataError(
                f"{where}: tokens up to {max(tokens)} in a row of {len(tokens)}, but this model knows {self._vocabulary} tokens and "
                f"reads {self._policy.context}.\n  Replay with the model family that sampled them."
            )
        same = len(completion.logprobs) == len(completion.token_ids)
        if not same or not all(
            isinstance(value, float | int) and math.isfinite(value) for value in completion.logprobs
        ):
            raise DataError(
                f"{where}: a recorded reply needs one finite log-prob for each of its {len(completion.token_ids)} tokens, because "
                "they are the old ones of the loss."
            )
        return trajectory
