"""RL in an environment: its tokens are seen and never trained, exactly, and a kill changes no bit."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from training_runs import DATA, EVERY_STEP, START, Always, Letters, context, prepare, problems

from burnish.core.types import Problem, Trajectory, Turn
from burnish.errors import DataError, RecipeError
from burnish.losses.policy import GRPO
from burnish.model.policy import Policy
from burnish.model.toy import toy_tokenizer
from burnish.pipeline.machine import Machine
from burnish.rollout.collect import collect
from burnish.rollout.engine import Sampling
from burnish.rollout.environment import Response
from burnish.rollout.tools.calculator import Calculator
from burnish.rollout.tools.toolbox import Tools
from burnish.rollout.torch_engine import TorchEngine
from burnish.rollout.try_again import TryAgain
from burnish.text.render import Rendered, Renderer
from burnish.train.grpo import RL
from burnish.train.learner import Learner
from burnish.train.rows import stack
from burnish.train.samples import Sample, rollout_batch
from burnish.train.schedule import Constant

torch.set_num_threads(1)
# The toy writes noise: ending a turn at any of these bytes gives conversations of several turns.
NOISE = Sampling(max_tokens=100, stop_ids=tuple(range(5, 40)))
AGAIN = TryAgain(Always(0.5), max_turns=2, says="Again.")
STAGE = RL(
    START, DATA, {"letters": Letters()}, environments={"letters": AGAIN}, steps=4, problems_per_step=2, group_size=3,
    lr=Constant(1e-2), sampling=NOISE, updates_per_step=2, loss=GRPO(kl_coef=0.05),
)  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    prepare(folder, problems())
    return folder


@pytest.fixture(scope="module")
def talks(root: Path) -> list[Trajectory]:
    """Conversations of two turns, in float32."""
    policy = Policy.load(root / "start" / "model", Machine(compute="fp32"))
    engine = TorchEngine(policy, Machine(compute="fp32", slots=8))
    asked = [problem for problem in problems(3) if isinstance(problem, Problem)]
    groups = collect(
        engine, policy.renderer, asked, n=3, sampling=NOISE, verifiers={"letters": Letters()},
        environments={"letters": AGAIN}, seed=0,
    )  # fmt: skip
    found = [trajectory for group in groups for trajectory in group if trajectory.completion.sampled]
    assert len(found) > 3
    return found


def gradient(root: Path, samples: Sequence[Sample]) -> dict[str, Tensor]:
    """What the learner makes of the samples, in float64."""
    policy = Policy.load(root / "start" / "model", Machine(), trainable=True).to(torch.float64)
    learner = Learner(policy, Machine())
    learner.forward_backward([rollout_batch(samples)], GRPO(kl_coef=0.0, unit="token"))
    return {name: w.grad.clone() for name, w in policy.model.named_parameters() if w.grad is not None}


def by_hand(root: Path, talks: Sequence[Trajectory], worth: Sequence[float]) -> dict[str, Tensor]:
    """The gradient of -sum(advantage * exp(logp - old)) / tokens over the model's own tokens, in float64.

    Every token behind the first is read and scored; the sum picks those that the model sampled, one after the other.
    """
    policy = Policy.load(root / "start" / "model", Machine(), trainable=True).to(torch.float64)
    rows = [talk.prompt_ids + talk.completion.token_ids for talk in talks]
    logp_BT = policy.logprobs(stack([Rendered(row, (False,) + (True,) * (len(row) - 1)) for row in rows]))
    terms = [
        -advantage * (logp_BT[b, len(talk.prompt_ids) + i] - talk.completion.logprobs[i]).exp()
        for b, (talk, advantage) in enumerate(zip(talks, worth, strict=True))
        for i, turn in enumerate(turn for turn in talk.completion.turns for _ in turn.token_ids)
        if turn.role == "assistant"
    ]
    (torch.stack(terms).sum() / len(terms)).backward()  # type: ignore[no-untyped-call]
    return {name: w.grad.clone() for name, w in policy.model.named_parameters() if w.grad is not None}


def furthest(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    """The largest difference of any entry, over the largest entry."""
    assert a.keys() == b.keys()
    return max(float((a[name] - b[name]).abs().max() / a[name].abs().max().clamp(min=1e-300)) for name in a)


def test_the_environments_tokens_have_no_part_in_the_gradient(root: Path, talks: list[Trajectory]) -> None:
    """Exactly the formula over the sampled tokens alone; and a mask that is lost is noticed."""
    worth = [(-1.0) ** i * (1 + i / 4) for i in range(len(talks))]
    samples = [Sample(talk, i, advantage) for i, (talk, advantage) in enumerate(zip(talks, worth, strict=True))]
    wanted = by_hand(root, talks, worth)
    assert furthest(wanted, gradient(root, samples)) < 1e-10
    unmasked = [
        dataclasses.replace(
            sample,
            trajectory=dataclasses.replace(
                sample.trajectory, completion=dataclasses.replace(sample.trajectory.completion, sampled=())
            ),
        )
        for sample in samples
    ]
    assert furthest(wanted, gradient(root, unmasked)) > 1e-2


def test_old_log_probs_and_advantages_lie_on_the_sampled_tokens(talks: list[Trajectory]) -> None:
    batch = rollout_batch([Sample(talk, 0, 2.0) for talk in talks])
    for row, talk in enumerate(talks):
        reply, first = talk.completion, len(talk.prompt_ids)
        inside = slice(first, first + len(reply.token_ids))
        assert batch.sequences.mask_BT[row, inside].tolist() == list(reply.mask)
        assert batch.old_BT[row, inside].tolist() == pytest.approx(list(reply.logprobs))
        assert batch.adv_BT[row, inside].tolist() == [2.0 * own for own in reply.mask]
        assert int(batch.sequences.mask_BT[row].sum()) == reply.length


class Cut(BaseException):
    """What ends a sitting as a kill does: nothing catches it."""


@dataclasses.dataclass(frozen=True)
class Cuts(TryAgain):
    """The same environment; its process dies with answers number `at`, counted over all sittings."""

    def __call__(self, problem: Problem, turns: Sequence[Turn]) -> Response:
        COUNT[0] += 1
        if COUNT[0] in CUTS:
            raise Cut
        return super().__call__(problem, turns)


COUNT, CUTS = [0], {3, 20, 31, 50}


def test_killed_in_the_middle_of_conversations_the_result_is_the_same(root: Path) -> None:
    straight = context(root, "straight", EVERY_STEP)
    STAGE.run(straight)
    cut = context(root, "cut", EVERY_STEP)
    sittings = 0
    while sittings < 9:
        sittings += 1
        try:
            dataclasses.replace(STAGE, environments={"letters": Cuts(AGAIN.verifier, AGAIN.max_turns, AGAIN.says)}).run(
                cut
            )
            break
        except Cut:
            continue
    assert sittings == len(CUTS) + 1
    one, two = (load_file(ctx.out / "model" / "model.safetensors") for ctx in (straight, cut))
    assert all(torch.equal(one[name], two[name]) for name in one)
    lines = [(ctx.out / "rollouts.jsonl").read_text() for ctx in (straight, cut)]
    assert lines[0] == lines[1]
    records = [json.loads(line) for line in lines[0].splitlines()]
    assert {len(record["completion"].get("turns", ())) for record in records} >= {3}
    metrics = [json.loads(line) for line in (straight.out / "metrics.jsonl").read_text().splitlines()]
    for record in metrics:
        mine = [line["completion"] for line in records if line["step"] == record["step"]]
        sampled = sum(each.get("sampled", "1" * len(each["token_ids"])).count("1") for each in mine)
        assert record["tokens"] == sampled < sum(len(each["token_ids"]) for each in mine)
        assert record["engine_gap"] < 1e-4


def test_an_opening_counts_towards_the_context(root: Path) -> None:
    """The problem alone would fit; with the tools' description in front it is one token too long."""
    tools = Tools((Calculator(),))
    problem = problems(1)[0]
    assert isinstance(problem, Problem)
    asked, opened = (len(Renderer(toy_tokenizer()).prompt(each)) for each in (problem.prompt, tools.prompt(problem)))
    sampling = dataclasses.replace(NOISE, max_tokens=2048 - opened + 1)
    assert asked + sampling.max_tokens < 2048
    stage = dataclasses.replace(STAGE, environments={"letters": tools}, sampling=sampling)
    with pytest.raises(DataError, match=f"the shortest prompt has {opened} tokens.*leaves {opened - 1} for it"):
        stage.run(context(root, "long", EVERY_STEP))


def test_an_environment_under_an_unknown_name_is_refused_at_plan_time() -> None:
    stage = dataclasses.replace(STAGE, environments={"leters": AGAIN})
    with pytest.raises(RecipeError, match=r"rl: environments has 'leters'.*Did you mean 'letters'"):
        stage.check(None)


@pytest.mark.slow
def test_the_reward_of_conversations_rises(root: Path) -> None:
    """What is graded is the last of two turns; the environment's tokens between them are never trained."""
    stage = dataclasses.replace(
        STAGE, steps=25, problems_per_step=5, group_size=8, lr=Constant(5e-3), updates_per_step=1, loss=GRPO(kl_coef=0.0),
        sampling=dataclasses.replace(NOISE, max_tokens=60), environments={"letters": dataclasses.replace(AGAIN, says="On.")},
    )  # fmt: skip
    ctx = context(root, "rises", dataclasses.replace(EVERY_STEP, slots=40, micro_tokens=2000, checkpoint_every_s=1e9))
    stage.run(ctx)
    records = [json.loads(line) for line in (ctx.out / "metrics.jsonl").read_text().splitlines()]
    assert all(record["ratio"] == pytest.approx(1.0, abs=1e-6) for record in records if record["informative"])
    early, late = (sum(record["reward"] for record in part) / 5 for part in (records[:5], records[-5:]))
    assert late > early + 0.1
