"""Online DPO: which pair a group gives, that a step is DPO's own step on those pairs, kills, and that it learns."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from training_runs import DATA, EVERY_STEP, START, Always, Letters, context, prepare, problems

from burnish.core.rows import trajectory_from_json
from burnish.core.types import Check, Completion, Finish, Problem, Trajectory, Verdict, user
from burnish.errors import RecipeError, TrainingError
from burnish.losses.dpo import DPO
from burnish.losses.reference_free import SimPO
from burnish.model.policy import Policy
from burnish.pipeline.machine import exact
from burnish.rollout.engine import Sampling
from burnish.rollout.tools.calculator import Calculator
from burnish.rollout.tools.toolbox import Tools
from burnish.train.learner import Learner
from burnish.train.online_dpo import OnlineDPO, best_and_worst, pair_batch
from burnish.train.rollouts import Reward
from burnish.train.samples import Sample, with_logprobs
from burnish.train.schedule import Constant

torch.set_num_threads(1)
STAGE = OnlineDPO(
    START, DATA, {"letters": Letters()}, steps=4, problems_per_step=2, group_size=4, lr=Constant(1e-2),
    sampling=Sampling(max_tokens=12),
)  # fmt: skip
TIMES = {"tokens_per_s", "wall_s", "rollout_s", "grade_s", "learn_s", "tflops", "mfu"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    prepare(folder, problems())
    return folder


def records(folder: Path, name: str = "metrics.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def reply(score: float | None, finish: Finish = Finish.STOP, tokens: int = 2) -> Trajectory:
    problem = Problem(user("?"), Check("letters", ""))
    completion = Completion((5,) * tokens, (-1.0,) * tokens, finish, "x")
    return Trajectory(problem, (1, 2), completion, Verdict(score, "by hand"))


def test_the_pair_of_a_group_by_hand() -> None:
    """Rewards 0.5, 1, 0, 1, 0: the first 1 (reply 1) against the first 0 (reply 2). Ungraded and aborted replies are in no pair."""
    worth = [reply(score) for score in (0.5, 1.0, 0.0, 1.0, 0.0)]
    assert best_and_worst(worth, Reward()) == (1, 2)
    assert best_and_worst([reply(None), *worth[:1], reply(0.0, Finish.ABORT), reply(0.25)], Reward()) == (1, 3)
    assert best_and_worst([reply(1.0), reply(1.0)], Reward()) is None
    assert best_and_worst([reply(None), reply(0.3)], Reward()) is None
    assert best_and_worst([reply(None)] * 3, Reward()) is None
    # A reply without an end is worth less than any other where the rule says so, whatever its grade.
    assert best_and_worst([reply(0.2), reply(0.9, Finish.LENGTH)], Reward(missing_end=-1.0)) == (0, 1)


def test_a_step_is_the_dpo_step_on_its_pairs(root: Path, tmp_path: Path) -> None:
    """The first step's weights, from rollouts.jsonl alone: marks of 1 and -1 say which replies were the pairs."""
    machine = dataclasses.replace(exact(), checkpoint_every_s=0.0)
    ctx = context(root, tmp_path.name, machine)
    dataclasses.replace(STAGE, steps=1).run(ctx)
    policy = Policy.load(root / "start" / "model", machine, trainable=True)
    learner = Learner(policy, machine, STAGE.optimizer, STAGE.clip_norm)
    marked = [
        (record["group"], record["advantage"], trajectory_from_json(record))
        for record in records(ctx.out, "rollouts.jsonl")
    ]
    pairs = []
    for group in sorted({g for g, _, _ in marked}):
        both = [Sample(t, g) for wanted in (1.0, -1.0) for g, mark, t in marked if g == group and mark == wanted]
        if both:
            chosen, rejected = with_logprobs(both, policy, "ref", 10_000, 1.0)
            pairs.append((chosen, rejected))
    assert pairs
    learner.forward_backward([pair_batch(pairs)], DPO(beta=0.1, length_normalized=False))
    learner.step(1e-2)
    found = load_file(ctx.out / "model" / "model.safetensors")
    for name, weight in policy.model.state_dict().items():
        if name in found:
            torch.testing.assert_close(found[name], weight.float(), rtol=0, atol=1e-6)


def test_the_first_step_starts_at_the_reference(root: Path, tmp_path: Path) -> None:
    """At the start policy and reference are equal: the loss is log 2 and the margin 0, whatever the replies."""
    ctx = context(root, tmp_path.name, EVERY_STEP)
    dataclasses.replace(STAGE, steps=1).run(ctx)
    (record,) = records(ctx.out)
    assert record["loss"] == pytest.approx(0.693147, abs=1e-4)
    assert record["informative"] >= 1


def test_killed_again_and_again_gives_the_same_bits(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class PowerCut(BaseException):
        """Nothing in the code expects it."""

    straight, cut = (
        context(root, f"{tmp_path.name}-straight", EVERY_STEP),
        context(root, f"{tmp_path.name}-cut", EVERY_STEP),
    )
    STAGE.run(straight)
    update, left = Learner.step, 0

    def step(learner: Learner, lr: float) -> float:
        nonlocal left
        left -= 1
        if left == 0:
            raise PowerCut
        return update(learner, lr)

    with monkeypatch.context() as patched:
        patched.setattr(Learner, "step", step)
        for after in (2, 1, 2):
            left = after
            with pytest.raises(PowerCut):
                STAGE.run(cut)
    STAGE.run(cut)
    first, second = (load_file(ctx.out / "model" / "model.safetensors") for ctx in (straight, cut))
    assert all(torch.equal(weight, second[name]) for name, weight in first.items())
    assert (straight.out / "rollouts.jsonl").read_bytes() == (cut.out / "rollouts.jsonl").read_bytes()
    kept = [[{k: v for k, v in r.items() if k not in TIMES} for r in records(ctx.out)] for ctx in (straight, cut)]
    assert kept[0] == kept[1]


def test_it_learns_to_write_early_letters(root: Path, tmp_path: Path) -> None:
    ctx = context(root, tmp_path.name, EVERY_STEP)
    dataclasses.replace(STAGE, steps=16, problems_per_step=5, loss=SimPO(beta=2.0, gamma=1.0)).run(ctx)
    rewards = [record["reward"] for record in records(ctx.out)]
    assert sum(rewards[-4:]) > sum(rewards[:4]) + 0.4


def test_what_cannot_work_is_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"environments=\['letters'\].*two replies to one prompt"):
        dataclasses.replace(STAGE, environments={"letters": Tools((Calculator(),))}).check(None)
    with pytest.raises(RecipeError, match="group_size=1"):
        dataclasses.replace(STAGE, group_size=1).check(None)
    same = dataclasses.replace(STAGE, verifiers={"letters": Always(1.0)}, patience=2)
    with pytest.raises(TrainingError, match="for 2 steps in a row"):
        same.run(context(root, tmp_path.name, EVERY_STEP))
