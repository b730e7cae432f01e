"""PPO as a stage on the toy model: what it leaves, what it logs, what it refuses, and that a cut changes nothing."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from safetensors.torch import load_file
from training_runs import DATA, EVERY_STEP, KILLED, START, Always, Given, Letters, context, prepare, problems

from burnish.core.rows import trajectory_from_json
from burnish.core.types import Check, Finish, Problem, Verdict, user
from burnish.errors import ArtifactError, ModelError, RecipeError, TrainingError
from burnish.losses.policy import GRPO, PolicyLoss
from burnish.losses.value import ValueLoss
from burnish.model.policy import Policy
from burnish.model.reward import RewardModel, ValueModel
from burnish.model.toy import make_toy
from burnish.model.trains import LoRA
from burnish.pipeline.machine import Machine
from burnish.rollout.engine import Sampling
from burnish.train.advantages import KLInReward
from burnish.train.correction import Refuse, Truncate
from burnish.train.groups import Refill
from burnish.train.grpo import RL
from burnish.train.learner import Learner
from burnish.train.optimizer import AdamW
from burnish.train.ppo import PPO
from burnish.train.reward import RewardModeling
from burnish.train.rollouts import Reward
from burnish.train.schedule import Constant, Linear
from burnish.train.sft import SFT
from burnish.train.values import GAE

torch.set_num_threads(1)
STAGE: Any = KILLED["ppo"]
JUDGE = Given("judge")
TIMES = {"tokens_per_s", "wall_s", "rollout_s", "learn_s", "grade_s", "tflops", "mfu"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A start, problems, and a reward model with a fresh head."""
    folder = tmp_path_factory.mktemp("runs")
    prepare(folder, problems())
    RewardModel.start(Policy.load(folder / "start" / "model", Machine()), seed=1).save(folder / "judge" / "model")
    return folder


@pytest.fixture(scope="module")
def straight(root: Path) -> Path:
    STAGE.run(context(root, "straight", EVERY_STEP))
    return root / "straight"


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def ran(root: Path, out: str, machine: Machine = EVERY_STEP, **changes: Any) -> list[dict[str, Any]]:
    """The records of the stage with other fields."""
    replace(STAGE, **changes).run(context(root, out, machine))
    return records(root / out)


def same(a: Path, b: Path) -> None:
    """Weights of both models, records and replies, to the bit."""
    for part in ("model", "value"):
        first, second = (load_file(folder / part / "model.safetensors") for folder in (a, b))
        assert first.keys() == second.keys()
        assert all(torch.equal(weight, second[name]) for name, weight in first.items()), part
    assert [{k: v for k, v in r.items() if k not in TIMES} for r in records(a)] == [
        {k: v for k, v in r.items() if k not in TIMES} for r in records(b)
    ]
    assert (a / "rollouts.jsonl").read_bytes() == (b / "rollouts.jsonl").read_bytes()


def test_what_it_leaves(root: Path, straight: Path) -> None:
    """Both models, moved and loadable; no checkpoint; each reply in rollouts.jsonl with its mean advantage."""
    assert {path.name for path in straight.iterdir()} == {
        "model", "value", "metrics.jsonl", "rollouts.jsonl", "data_report.json"
    }  # fmt: skip
    start = load_file(root / "start" / "model" / "model.safetensors")
    for part in ("model", "value"):
        after = load_file(straight / part / "model.safetensors")
        assert not torch.equal(start["model.embed_tokens.weight"], after["model.embed_tokens.weight"])
    assert ValueModel.load(straight / "value", Machine()).model.score.weight.shape == (1, 64)
    lines = [json.loads(line) for line in (straight / "rollouts.jsonl").read_text().splitlines()]
    assert len(lines) == sum(int(r["groups"]) * 3 for r in records(straight))
    assert any(line["advantage"] for line in lines)


def test_the_first_minibatch_is_on_policy_to_the_bit(straight: Path, root: Path) -> None:
    """Ratio 1 and KL 0 before the first update of every step, in packed micro-batches of any size; later ones have moved."""
    for found in (records(straight), ran(root, "roomy", Machine(micro_tokens=100_000), steps=2)):
        for record in found:
            assert record["first_ratio"] == 1.0
            assert record["first_old_kl"] == 0.0
        assert any(record["ratio"] != 1.0 for record in found)


def test_the_metrics_agree_with_each_other(straight: Path) -> None:
    """The reward of a reply is its score less what the KL takes; the score is the frame's reward at its scale; a return is value
    and advantage. Before the first step the policy is its reference.
    """
    for record in records(straight):
        assert record["rlhf_reward"] == pytest.approx(record["score"] - record["kl_penalty"], rel=1e-6)
        assert record["score"] == pytest.approx(10 * record["reward"], rel=1e-6)
        assert record["return"] == pytest.approx(record["value"] + record["advantage"], abs=1e-5)
        assert record["explained_variance"] <= 1.0
        assert record["engine_gap"] < 1e-4
        assert record["value_lr"] == record["lr"]
        assert all(
            math.isfinite(record[name]) for name in ("value_loss", "value_error", "grad_norm", "value_grad_norm")
        )
        assert 0 <= record["value_clip_fraction"] <= 1
    assert records(straight)[0]["kl_penalty"] == 0.0


def test_micro_batches_change_nothing_but_rounding(straight: Path, root: Path) -> None:
    found = ran(root, "large", Machine(micro_tokens=100_000, slots=EVERY_STEP.slots))
    for ours, theirs in zip(found, records(straight), strict=True):
        for name in ("score", "loss", "value_loss", "explained_variance", "advantage"):
            assert ours[name] == pytest.approx(theirs[name], abs=2e-3), name


_left = 0


@dataclass(frozen=True)
class Cut(PolicyLoss):
    """The loss during whose n-th evaluation the power fails."""

    def total(self, logp_BT: torch.Tensor, batch: Any) -> torch.Tensor:
        _count_down()
        return PolicyLoss.total(self, logp_BT, batch)


@dataclass(frozen=True)
class CutValue(ValueLoss):
    def total(self, values_BT: torch.Tensor, batch: Any) -> torch.Tensor:
        _count_down()
        return ValueLoss.total(self, values_BT, batch)


class PowerCut(BaseException):
    """Nothing in the code expects it."""


def _count_down() -> None:
    global _left
    _left -= 1
    if _left == 0:
        raise PowerCut


@pytest.mark.parametrize("where", ["policy", "value model"])
def test_cut_anywhere_both_models_end_with_the_same_bits(where: str, root: Path, straight: Path) -> None:
    """Three power cuts in the middle of steps, in either model's loss, with a checkpoint after every step."""
    global _left
    stage = replace(
        STAGE,
        loss=Cut(**_fields(STAGE.loss)) if where == "policy" else STAGE.loss,
        value_loss=CutValue(**_fields(STAGE.value_loss)) if where == "value model" else STAGE.value_loss,
    )
    ctx = context(root, f"cut {where}", EVERY_STEP)
    for after in (3, 9, 5):
        _left = after
        with pytest.raises(PowerCut):
            stage.run(ctx)
    _left = 0
    stage.run(ctx)
    same(straight, ctx.out)


def _fields(value: Any) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


def test_ctrl_c_keeps_both_models_of_the_last_step(root: Path, straight: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped while the value model has learned from the third step and the policy has not: goes back to nothing. Stopped before
    both: to step 2.
    """
    machine = replace(EVERY_STEP, checkpoint_every_s=1e9)
    for moment, kept in (("step", False), ("forward_backward", True)):
        ctx = context(root, f"stopped in {moment}", machine)
        with monkeypatch.context() as patch:
            _stop(patch, moment, ctx.out / "metrics.jsonl")
            with pytest.raises(KeyboardInterrupt):
                STAGE.run(ctx)
        assert (ctx.out / "checkpoint").exists() == kept
        assert (ctx.out / "checkpoint-value-000002").exists() == kept
        STAGE.run(ctx)
        same(straight, ctx.out)


def _stop(patch: pytest.MonkeyPatch, moment: str, log: Path) -> None:
    """Ctrl-C at the end of a method of a learner, once two steps are in the log."""
    whole = getattr(Learner, moment)

    def stopped(self: Learner, *given: Any, **more: Any) -> Any:
        found = whole(self, *given, **more)
        if log.read_text().count("\n") == 2:
            raise KeyboardInterrupt
        return found

    patch.setattr(Learner, moment, stopped)


def test_a_lost_value_model_is_no_silent_restart(root: Path) -> None:
    global _left
    stage = replace(STAGE, loss=Cut(**_fields(STAGE.loss)))
    ctx = context(root, "lost", EVERY_STEP)
    _left = 9
    with pytest.raises(PowerCut):
        stage.run(ctx)
    (beside,) = ctx.out.glob("checkpoint-value-*")
    beside.rename(ctx.out / "elsewhere")
    with pytest.raises(ArtifactError, match="the value model of this run is lost"):
        stage.run(ctx)


# Where the value model starts -------------------------------------------------------------------------------------------


def test_the_value_model_starts_from_a_reward_model_or_another_run(root: Path, straight: Path) -> None:
    """With a rate of 0 what is left is what it started from."""
    still: dict[str, Any] = {"value_lr": Constant(0.0), "steps": 1, "value_optimizer": AdamW()}
    for value, folder in ((JUDGE, root / "judge" / "model"), (Given("straight"), straight / "value")):
        out = f"from {value.name}"
        ran(root, out, value=value, **still)
        first, second = (load_file(f / "model.safetensors") for f in (folder, root / out / "value"))
        assert all(torch.equal(weight, second[name]) for name, weight in first.items())
    ran(root, "from policy", value=None, **still)
    start = load_file(root / "start" / "model" / "model.safetensors")
    body = load_file(root / "from policy" / "value" / "model.safetensors")
    assert torch.equal(start["model.embed_tokens.weight"], body["model.embed_tokens.weight"])


@pytest.mark.parametrize("missing_end", [None, -1.0])
def test_a_reward_models_score_is_added(root: Path, missing_end: float | None) -> None:
    """Score = 10 x 0.5 + 2 x the reward model's score of the reply; a reply that is cut has the penalty alone, where there is one."""
    out = f"both {missing_end}"
    (record,) = ran(
        root, out, steps=1, reward_model=JUDGE, reward_model_weight=2.0, reward=Reward(missing_end=missing_end),
        verifiers={"letters": Always(0.5)},
    )  # fmt: skip
    judge = RewardModel.load(root / "judge" / "model", Machine())
    scores = []
    for line in (root / out / "rollouts.jsonl").read_text().splitlines():
        reply = trajectory_from_json(json.loads(line))
        (score,) = judge.rewards([(reply.problem.prompt, reply.completion.text)])
        assert score is not None
        cut = missing_end is not None and reply.completion.finish is Finish.LENGTH
        scores.append(-10.0 if cut else 5.0 + 2.0 * score)
    assert record["score"] == pytest.approx(sum(scores) / len(scores), rel=1e-4)


def test_another_vocabulary_is_refused(root: Path) -> None:
    other = make_toy(root / "other toy" / "model")
    words = json.loads((other / "tokenizer.json").read_text())
    words["added_tokens"].append({**words["added_tokens"][-1], "id": 900, "content": "<|extra|>"})
    (other / "tokenizer.json").write_text(json.dumps(words))
    RewardModel.start(Policy.load(other, Machine()), seed=0).save(root / "stranger" / "model")
    with pytest.raises(ModelError, match="different vocabularies"):
        ran(root, "stranger run", value=Given("stranger"))
    with pytest.raises(ModelError, match="no reward model"):
        ran(root, "no head", value=Given("start"))


# Choices ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ungraded:
    """Cannot grade anything."""

    VERSION: ClassVar[int] = 1
    ACCEPTS: ClassVar[tuple[tuple[str, str], ...]] = ()
    REJECTS: ClassVar[tuple[tuple[str, str], ...]] = ()

    def __call__(self, problem: Problem, text: str) -> Verdict:
        return Verdict(None, "away")


def test_ungraded_replies_teach_nothing(root: Path) -> None:
    (record,) = ran(root, "ungraded", steps=1, verifiers={"letters": Ungraded()})
    assert (record["ungraded"], record["informative"], record["loss"]) == (6, 0, 0.0)


@pytest.mark.slow
def test_equal_scores_are_no_information_but_the_value_model_still_learns(root: Path) -> None:
    found = ran(root, "equal", steps=3, verifiers={"letters": Always(1.0)}, value_lr=Constant(3e-3), epochs=4)
    assert all(record["informative"] == 0 for record in found)
    assert found[-1]["value_error"] < found[0]["value_error"]


@pytest.mark.parametrize(
    "changes",
    [
        {"kl_in_reward": None},
        {"gae": GAE(bootstrap=True)},
        {"gae": GAE(whiten=False)},
        {"correction": Truncate(cap=1.5)},
        {"trains": LoRA(rank=2)},
        {"minibatches": 1, "epochs": 1, "group_size": 1, "problems_per_step": 4},
        {"sampling": Sampling(max_tokens=8, temperature=0.7)},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_choices_run(changes: dict[str, Any], root: Path) -> None:
    out = f"choice {'-'.join(changes)} {hash(repr(changes))}"
    for record in ran(root, out, steps=2, **changes):
        assert math.isfinite(record["loss"])
        assert record["first_ratio"] == 1.0
        if "kl_in_reward" in changes:
            assert record["kl_penalty"] == 0.0
            assert "kl" not in record


def test_a_gap_to_the_engine_can_be_refused(root: Path) -> None:
    with pytest.raises(TrainingError, match="allows no more"):
        ran(root, "refused", steps=1, correction=Refuse(gap=1e-12))


def test_replies_of_older_weights_are_corrected_for(root: Path) -> None:
    """With staleness the second step's replies are of the weights before the first update. Uncorrected, the ratio is to those;
    with a weight, it is to the learner's own log-probs of before the step, 1 at first. The gap is measured either way.
    """
    plain = ran(root, "stale", steps=2, staleness=1)
    weighed = ran(root, "stale-weighed", steps=2, staleness=1, correction=Truncate(cap=1.5))
    assert plain[1]["first_ratio"] != 1.0
    assert weighed[1]["first_ratio"] == 1.0
    assert plain[1]["engine_gap"] > 1e-3 > plain[0]["engine_gap"]
    assert weighed[1]["loss"] != plain[1]["loss"]
    with pytest.raises(TrainingError, match=r"Step 2: .*allows no more"):
        ran(root, "stale-refused", steps=2, staleness=1, correction=Refuse(gap=1e-3))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"epochs": 0}, "epochs=0"),
        ({"minibatches": 7}, "a step has 6 replies"),
        ({"scale": 0.0}, "Tülu 3 has 10"),
        ({"kl_in_reward": KLInReward(0.1)}, 'per="token"'),
        ({"refill": Refill(), "group_size": 1}, "a value model judges single replies"),
        ({"gae": GAE(bootstrap=True), "reward": Reward(missing_end=-1.0)}, "both cannot be"),
        ({"value": SFT(START, DATA)}, "makes no reward model"),
        ({"value": STAGE, "reward_model": STAGE}, "reward_model is the stage ppo"),
        ({"group_size": 0}, "group_size=0"),
    ],
)
def test_what_cannot_work_is_refused_at_plan_time(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        replace(STAGE, **changes).check(None)


def test_good_stages_pass_the_plan() -> None:
    for value in (None, JUDGE, RewardModeling(START, DATA), STAGE):
        replace(STAGE, value=value).check(None)


def test_the_defaults_are_tulu_3s() -> None:
    """Table 21 for 8B, and the implementation details of §6.2."""
    stage = PPO(START, DATA, {"letters": Letters()}, value=JUDGE)
    stage.check(None)
    assert stage.steps * stage.problems_per_step * stage.group_size == pytest.approx(100_000, rel=0.002)
    assert (stage.gae.gamma, stage.gae.lam, stage.gae.whiten, stage.gae.bootstrap) == (1.0, 0.95, True, False)
    assert (stage.minibatches, stage.epochs) == (1, 4)
    assert stage.loss.surrogate == PolicyLoss().surrogate
    assert (stage.value_loss.clip, stage.value_loss.coef, stage.clip_norm) == (0.2, 0.1, 1.0)
    assert stage.lr == Linear(3e-7, warmup=0.0)
    assert stage.sampling == Sampling(max_tokens=2048, temperature=1.0)
    assert stage.kl_in_reward == KLInReward(0.05, "k1", per="token")
    assert stage.scale * (stage.reward.missing_end or 0.0) == -10.0
    assert isinstance(stage.optimizer, AdamW)
    assert stage.optimizer.eps == 1e-5
    problem = Problem(user("?"), Check("letters", ""))
    assert stage.scale * Verdict(1.0, "right").score == 10.0  # type: ignore[operator]
    assert problem.check.verifier in stage.verifiers


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_it_learns_as_rl_does(root: Path, seed: int) -> None:
    """Twenty steps of 30 replies lift the share of early letters well above the start's, and so does GRPO on as many tokens."""
    machine = Machine(micro_tokens=4000, checkpoint_every_s=1e9, slots=32)
    shared: dict[str, Any] = {
        "steps": 20, "problems_per_step": 5, "group_size": 6, "sampling": Sampling(max_tokens=12), "seed": seed,
    }  # fmt: skip
    by_ppo = PPO(START, DATA, {"letters": Letters()}, lr=Linear(3e-3, 0.0), epochs=1, reward=Reward(), **shared)
    by_rl = RL(START, DATA, {"letters": Letters()}, lr=Constant(3e-3), loss=GRPO(kl_coef=0.01), **shared)
    found = []
    for stage in (by_ppo, by_rl):
        ctx = context(root, f"{stage.name} {seed}", machine)
        stage.run(ctx)
        found.append(records(ctx.out))
    for run in found:
        rewards = [record["reward"] for record in run]
        assert sum(rewards[-4:]) / 4 > sum(rewards[:4]) / 4 + 0.1
    assert found[0][-1]["explained_variance"] > found[0][0]["explained_variance"]
    assert sum(r["tokens"] for r in found[0]) == pytest.approx(sum(r["tokens"] for r in found[1]), rel=0.1)
