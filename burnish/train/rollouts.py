"""Groups of graded replies: what a reply is worth, and what a step's replies were like."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from burnish.core.fingerprint import later
from burnish.core.types import Finish, Problem, Trajectory
from burnish.errors import RecipeError, nearest
from burnish.verify.monitors import Monitor, flags, rates
from burnish.verify.shaping import SoftOverlong

Group = list[Trajectory]


@dataclass(frozen=True, slots=True)
class Reward:
    """How the verdict on a reply becomes its reward. Verdicts are in [0, 1]; penalties for what only the sampler knows may go below.

    missing_end: the reward of a reply that max_tokens cut before its end-of-turn, in place of its grade; None: it is graded
                 as it is. 0 is the rule of Tülu 3.1. -1 is that of Tülu 3, in units of a right answer: -10, where a
                 right one is worth 10 (arXiv:2411.15124 table 21).
    overlong:    DAPO's penalty for long replies, in tokens, added to the grade.
    scale:       what a right answer is worth, by the problem's source; 1 for sources that are not named. It multiplies the
                 whole reward, `missing_end` and `overlong` too: Reward(missing_end=-1.0, scale={"gsm8k/train": 10.0}) is Tülu 3's.
    """

    missing_end: float | None = None
    overlong: SoftOverlong | None = None
    scale: dict[str, float] = later(default_factory=dict)
    VERSION: ClassVar[int] = 1

    def __post_init__(self) -> None:
        """Raise RecipeError for a scale that turns right into wrong."""
        for source, scale in self.scale.items():
            if not 0 < scale < float("inf"):
                raise RecipeError(
                    f"Reward(scale={{{source!r}: {scale}}}): a right answer has to be worth something.\n"
                    "  Give a number above 0; a source that should not be trained is left out with RL(weights=…)."
                )

    def of(self, trajectory: Trajectory) -> float | None:
        """The reward of a reply; None for one that could not be graded or that the engine gave up."""
        if trajectory.completion.finish is Finish.ABORT:
            return None
        scale = self.scale.get(trajectory.problem.source, 1.0)
        if self.missing_end is not None and trajectory.completion.finish is Finish.LENGTH:
            return scale * self.missing_end
        score = trajectory.verdict.score
        if score is None:
            return None
        penalty = self.overlong.penalty(trajectory.completion.length) if self.overlong else 0.0
        return scale * (score + penalty)

    def passed(self, trajectory: Trajectory) -> bool:
        """Whether the reply has the full score, and an end where one is asked for."""
        cut = self.missing_end is not None and trajectory.completion.finish is Finish.LENGTH
        return trajectory.verdict.score == 1.0 and not cut

    def differ(self, group: Group) -> bool:
        """Whether two graded replies of the group got different rewards: one reply is better than another."""
        return len({value for trajectory in group if (value := self.of(trajectory)) is not None}) > 1


def check_sources(stage: str, field: str, named: Iterable[str], problems: Sequence[Problem]) -> None:
    """Raise RecipeError for a source that no problem has; the message names those there are."""
    known = {problem.source for problem in problems}
    for source in named:
        if source not in known:
            raise RecipeError(
                f"{stage}: {field} names the source {source!r}, which none of the {len(problems):,} problems has, so it would "
                f"decide nothing.\n  {nearest(source, known)}"
            )


def flags_of(groups: Sequence[Group], monitors: Sequence[Monitor]) -> list[list[dict[str, str]]]:
    """What the monitors see in every reply."""
    return [[flags(monitors, t.problem, t.completion.text) for t in group] for group in groups]


def group_metrics(
    groups: Sequence[Group], flags_PG: Sequence[Sequence[dict[str, str]]], *, reward: Reward, monitors: Sequence[Monitor]
) -> dict[str, float]:  # fmt: skip
    """What a step's replies were like: reward (mean over graded replies, by source too), pass_rate, length, counts, flags.

    informative: groups whose graded replies got different rewards.
    entropy:     the mean of -log-prob over all sampled tokens (nats), as the engine gives it: an unbiased estimate of the
                 entropy of the policy's next-token distribution along its own replies.
    flag/<name>: the share of replies in which a monitor sees something; flagged_passes: the share of those with the full
                 score in which any of them does.
    """
    every = [trajectory for group in groups for trajectory in group]
    seen = [flagged for row in flags_PG for flagged in row]
    scored = [(t, value) for t in every if (value := reward.of(t)) is not None]
    found: dict[str, float] = {
        "reward": _mean([value for _, value in scored]),
        "pass_rate": _mean([float(reward.passed(t)) for t, _ in scored]),
        "length": _mean([float(t.completion.length) for t in every]),
        "cut_share": _mean([float(t.completion.finish is Finish.LENGTH) for t in every]),
        "entropy": -_mean([value for t in every for value in t.completion.sampled_logprobs]),
        "groups": len(groups),
        "informative": sum(reward.differ(group) for group in groups),
        "ungraded": len(every) - len(scored),
    }
    for source in sorted({t.problem.source for t, _ in scored}):
        found[f"reward/{source}"] = _mean([value for t, value in scored if t.problem.source == source])
    if monitors:
        found |= {f"flag/{name}": rate for name, rate in rates(monitors, seen).items()}
        found["flagged_passes"] = _mean(
            [float(bool(flagged)) for t, flagged in zip(every, seen, strict=True) if reward.passed(t)]
        )
    return found


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
