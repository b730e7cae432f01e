"""A whole PPO step, written as plainly as it can be, beside the stage's own: sampling done, several epochs of two models.

One padded batch, transformers' own models, whole logits, GAE by its sum of discounted errors, torch's AdamW. The plain side takes
nothing from Burnish but the streams of random numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import reference as plain
import torch
from reference import Data
from torch import Tensor
from training_runs import DATA, START

from burnish.core.rng import stream
from burnish.core.types import Check, Completion, Finish, Problem, Trajectory, Verdict, user
from burnish.losses.value import ValueLoss
from burnish.model.policy import Policy
from burnish.model.reward import ValueModel
from burnish.pipeline.machine import Machine
from burnish.rollout.engine import Sampling
from burnish.train.advantages import KLInReward
from burnish.train.groups import Taken
from burnish.train.learner import Learner
from burnish.train.moving_reference import Reference
from burnish.train.optimizer import AdamW
from burnish.train.ppo import PPO, ActorCritic
from burnish.train.rollouts import Reward
from burnish.train.schedule import Constant
from burnish.train.values import GAE

STEP, LR, VALUE_LR, CLIP_NORM, EPS, DECAY = 3, 1e-2, 2e-2, 0.5, 1e-3, 0.1
GAMMA, LAM, BETA, SCALE, TEMPERATURE, COEF = 0.97, 0.9, 0.3, 3.0, 0.8, 0.5
EPOCHS, MINIBATCHES = 2, 2
LENGTHS = (9, 17, 6, 12, 5, 20, 8, 11)
# Replies 2 and 5 were cut; reply 4 could not be graded and is not learned from.
GRADES = (1.0, 0.0, 0.4, 1.0, None, 0.0, 0.0, 0.7)
CUT, UNGRADED = (2, 5), 4


@dataclass(frozen=True)
class Ended:
    """The weights after the step: of the policy, and of the value model by the names it is saved under."""

    policy: dict[str, Tensor]
    value: dict[str, Tensor]
    numbers: dict[str, float]


def replies(vocabulary: int) -> Data:
    """Eight rows with random tokens; a tool speaks between sampled tokens, of which the last is always one."""
    g = torch.Generator().manual_seed(5)
    lengths, width = torch.tensor(LENGTHS), max(LENGTHS)
    at = torch.arange(width)
    tokens = torch.randint(3, vocabulary, (len(LENGTHS), width), generator=g) * (at < lengths[:, None])
    mask = (at > 1) & (at < lengths[:, None]) & (torch.rand(len(LENGTHS), width, generator=g) < 0.8)
    mask[torch.arange(len(LENGTHS)), lengths - 1] = True
    return {"tokens": tokens, "lengths": lengths, "mask": mask}


def moved(model: Any, seed: int) -> Any:
    """The model with other weights: a policy that has left its reference."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.02 * torch.randn(weight.shape, generator=g, dtype=torch.float64).to(weight))
    return model


# Plainly ----------------------------------------------------------------------------------------------------------------


def plain_values(model: Any, head: Tensor, data: Data) -> Tensor:
    """[B, T] the head at the state before each token."""
    return torch.nn.functional.pad((plain.states(model, data) @ head.T)[:, :-1, 0], (1, 0))


def plain_advantages(rewards: list[float], values: list[float], after: float) -> list[float]:
    """The sum of discounted errors from each token on (arXiv:1506.02438 eq. 16)."""
    following = [*values[1:], after]
    errors = [r + GAMMA * n - v for r, v, n in zip(rewards, values, following, strict=True)]
    return [sum((GAMMA * LAM) ** k * error for k, error in enumerate(errors[t:])) for t in range(len(errors))]


def plain_step(folder: Path, *, bootstrap: bool) -> Ended:
    """The step, one reply after the other."""
    policy, frozen, body = moved(plain.load(folder), 1), plain.load(folder), moved(plain.load(folder), 2)
    head = _head(folder).double().requires_grad_()
    data = replies(int(policy.config.get_text_config().vocab_size))
    rows = [b for b in range(len(LENGTHS)) if b != UNGRADED]
    with torch.no_grad():
        old, ref = (plain.logprobs(model, data, TEMPERATURE) for model in (policy, frozen))
        values = plain_values(body, head, data)
        after = (plain.states(body, data) @ head.T)[:, :, 0]
    advantages, returns = torch.zeros_like(old), torch.zeros_like(old)
    for b in rows:
        where = data["mask"][b].nonzero()[:, 0].tolist()
        rewards = [-BETA * float(old[b, t] - ref[b, t]) for t in where]
        grade = GRADES[b]
        assert grade is not None
        end = 0.0
        if b in CUT and bootstrap:
            end = float(after[b, LENGTHS[b] - 1])
        else:
            rewards[-1] += SCALE * (-1.0 if b in CUT else grade)
        found = plain_advantages(rewards, [float(values[b, t]) for t in where], end)
        for t, advantage in zip(where, found, strict=True):
            advantages[b, t], returns[b, t] = advantage, advantage + values[b, t]
    every = advantages[rows][data["mask"][rows]]
    advantages = (advantages - every.mean()) / (every.std() + 1e-8)

    weights = dict(policy.named_parameters())
    value_weights = {f"{body.base_model_prefix}.{n}": w for n, w in body.base_model.named_parameters()}
    value_weights["score.weight"] = head
    optimizers = _adam(weights, LR), _adam(value_weights, VALUE_LR)
    firsts: list[float] = []
    for epoch in range(EPOCHS):
        order = list(range(len(rows)))
        stream(0, "ppo minibatches", STEP, epoch).shuffle(order)
        for i in range(MINIBATCHES):
            part = [rows[j] for j in order[i::MINIBATCHES]]
            some = {name: x[part] for name, x in data.items()}
            mask = some["mask"]
            v = plain_values(body, head, some)
            near = values[part] + (v - values[part]).clamp(-0.2, 0.2)
            errors = torch.max((v - returns[part]) ** 2, (near - returns[part]) ** 2)
            _update(COEF * (errors[mask] / 2).mean(), value_weights, optimizers[1])
            ratio = (plain.logprobs(policy, some, TEMPERATURE) - old[part]).exp()
            gain = torch.min(ratio * advantages[part], ratio.clamp(0.8, 1.2) * advantages[part])
            _update(-gain[mask].mean(), weights, optimizers[0])
            firsts += [float(ratio[mask].detach().mean())]
    scores = [SCALE * (-1.0 if b in CUT else GRADES[b] or 0.0) for b in rows]
    numbers = {"first_ratio": firsts[0], "score": sum(scores) / len(scores)} if not bootstrap else {}
    return Ended(_copy(weights), _copy(value_weights), numbers)


def _adam(weights: dict[str, Tensor], lr: float) -> Any:
    groups = [
        {"params": [w for w in weights.values() if (w.ndim > 1) == wide], "weight_decay": DECAY if wide else 0.0}
        for wide in (True, False)
    ]
    return torch.optim.AdamW(groups, lr=lr, eps=EPS, foreach=False)


def _update(loss: Tensor, weights: dict[str, Tensor], optimizer: Any) -> None:
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(weights.values(), CLIP_NORM)
    optimizer.step()


def _copy(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in weights.items()}


def _head(folder: Path) -> Tensor:
    """The fresh head of a value model on this folder's policy."""
    head: Tensor = ValueModel.start(Policy.load(folder, Machine()), seed=0).model.score.weight.detach()
    return head


class Fixed(Reference):
    """A reference that is already loaded."""

    def __init__(self, policy: Policy) -> None:
        self.policy, self._shared = policy, False


# By the stage -----------------------------------------------------------------------------------------------------------


def taken(data: Data) -> Taken:
    """The replies as groups of two, graded as above."""
    made = []
    for b, length in enumerate(LENGTHS):
        tokens, mask = data["tokens"][b, :length].tolist(), data["mask"][b, :length].tolist()
        start = mask.index(True)
        completion = Completion(
            tuple(tokens[start:]), (0.0,) * (length - start), Finish.LENGTH if b in CUT else Finish.STOP, "",
            sampled=tuple(mask[start:]),
        )  # fmt: skip
        problem = Problem(user(str(b)), Check("letters", ""))
        made.append(Trajectory(problem, tuple(tokens[:start]), completion, Verdict(GRADES[b], "")))
    return Taken([made[i : i + 2] for i in range(0, len(made), 2)])


def our_step(folder: Path, *, bootstrap: bool, micro_tokens: int = 40) -> Ended:
    """The step as the stage takes it."""
    machine = Machine(micro_tokens=micro_tokens)
    stage = PPO(
        START, DATA, {}, lr=Constant(LR), value_lr=Constant(VALUE_LR), epochs=EPOCHS, minibatches=MINIBATCHES,
        gae=GAE(GAMMA, LAM, bootstrap=bootstrap), kl_in_reward=KLInReward(BETA, per="token"), scale=SCALE, value_loss=ValueLoss(0.2, COEF),
        sampling=Sampling(temperature=TEMPERATURE), reward=Reward(missing_end=None if bootstrap else -1.0),
        clip_norm=CLIP_NORM, optimizer=AdamW(eps=EPS, weight_decay=DECAY),
    )  # fmt: skip

    def loaded() -> Policy:
        return Policy.load(folder, machine, trainable=True).to(torch.float64)

    policy, reference, body = loaded(), loaded(), loaded()
    moved(policy.model, 1)
    moved(body.model, 2)
    value = ValueModel(body, _head(folder).double())
    learner, critic = (Learner(model, machine, stage.optimizer, stage.clip_norm) for model in (policy, value))
    data = replies(int(policy.model.config.get_text_config().vocab_size))
    learned = ActorCritic(stage, learner, critic, Fixed(reference)).learn(STEP, taken(data), LR)
    numbers = {name: learned.found[name] for name in ("first_ratio", "score")} if not bootstrap else {}
    weights = {name: w.detach() for name, w in policy.model.named_parameters()}
    return Ended(weights, {name: w.detach() for name, w in value.model.named_parameters()}, numbers)


def check_ppo_step(found: Ended, expected: Ended, near: float = 1e-10) -> None:
    """Raise AssertionError unless both models end the step with the same weights, and the metrics say what happened."""
    for kind, ours, theirs in (("policy", found.policy, expected.policy), ("value model", found.value, expected.value)):
        assert ours.keys() >= theirs.keys()
        for name, weight in theirs.items():
            gap = float((ours[name] - weight).abs().max())
            assert gap <= near, f"{name} of the {kind} is {gap:.3g} off"
    for name, number in expected.numbers.items():
        assert abs(found.numbers[name] - number) <= near, f"{name} is {found.numbers[name]}, not {number}"
