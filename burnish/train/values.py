"""From a step's replies to what PPO learns of each token: rewards, advantages and returns (Tülu 3, arXiv:2411.15124 §6.2).

All of it is computed once, over the whole step, before its first update; minibatches and micro-batches only cut it into parts.

Shapes: B replies, K sampled tokens of the longest reply, T positions of prompt and reply. [B, K] tensors hold sampled tokens
only, in order, so a tool's tokens between them are passed over; they are 0 off mask_BK, which is True at a reply's own tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from burnish.errors import RecipeError, TrainingError
from burnish.losses.advantage import gae, whiten
from burnish.losses.batch import RolloutBatch, Sequences, ValueBatch
from burnish.losses.kl import ESTIMATORS
from burnish.text.render import Rendered
from burnish.train.learner import Trained
from burnish.train.rows import stack

Estimator = Literal["k1", "k2", "k3"]


@dataclass(frozen=True, slots=True)
class GAE:
    """How the value model's numbers and the rewards of tokens become advantages (arXiv:1506.02438 eq. 16).

    gamma:     discount of a token's reward at the token before it.
    lam:       1: the rewards to come, less the value; 0: the next reward and value only, less the value.
    whiten:    shift and scale the advantages of all tokens of a step to mean 0 and standard deviation 1; returns stay as they are.
    bootstrap: a reply that max_tokens cut gets, in place of a score, the value of the state in which it was cut.

    The defaults are Tülu 3's (table 21), which lets every reply end where it ends.
    """

    gamma: float = 1.0
    lam: float = 0.95
    whiten: bool = True
    bootstrap: bool = False
    VERSION: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if not 0 <= self.gamma <= 1 or not 0 <= self.lam <= 1:
            raise RecipeError(f"GAE(gamma={self.gamma}, lam={self.lam}): both are in [0, 1]; Tülu 3 has 1.0 and 0.95.")


@dataclass(frozen=True, slots=True)
class Observed:
    """What is known of a step's replies before they are judged.

    rows:        prompt and reply of each, the sampled tokens masked.
    old_BK:      log-probs of the policy that is about to learn, ref_BK: of the fixed reference, None without one (nats).
    values_BK:   V of the state in which each token was chosen, in units of the score.
    bootstrap_B: V of the state after the last token, for replies that were cut and are not over; 0 for those that are.
    weight_BK:   what each token's part of the policy's gradient is multiplied by (burnish.train.correction); None: 1.
    """

    rows: Sequence[Rendered]
    mask_BK: Tensor
    old_BK: Tensor
    ref_BK: Tensor | None
    values_BK: Tensor
    bootstrap_B: Tensor
    weight_BK: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Credit:
    """The same, with what is learned of each token.

    rewards_BK:    of each token, the KL penalty included.
    advantages_BK: as the policy takes them, whitened or not; raw_BK: as GAE gives them.
    returns_BK:    what the value model learns to predict: raw advantage + value.
    """

    observed: Observed
    score_B: Tensor
    rewards_BK: Tensor
    raw_BK: Tensor
    advantages_BK: Tensor
    returns_BK: Tensor

    def policy_batch(self, index: Sequence[int]) -> RolloutBatch:
        """The replies at these indices for the policy's loss."""
        sequences, at = self._rows(index)
        known = self.observed
        ref_BT, weight_BT = (None if x is None else at(x) for x in (known.ref_BK, known.weight_BK))
        return RolloutBatch(sequences, at(known.old_BK), ref_BT, at(self.advantages_BK), weight_BT)

    def value_batch(self, index: Sequence[int]) -> ValueBatch:
        """The replies at these indices for the value model's loss."""
        sequences, at = self._rows(index)
        return ValueBatch(sequences, at(self.observed.values_BK), at(self.returns_BK))

    def _rows(self, index: Sequence[int]) -> tuple[Sequences, Callable[[Tensor], Tensor]]:
        sequences, own_BK = stack([self.observed.rows[i] for i in index]), self.observed.mask_BK[list(index)]

        def at(x_BK: Tensor) -> Tensor:
            out_BT = torch.zeros(sequences.mask_BT.shape, dtype=x_BK.dtype)
            return out_BT.masked_scatter(sequences.mask_BT, x_BK[list(index)][own_BK])

        return sequences, at

    def metrics(self) -> dict[str, float]:
        """What the step was like before it was learned.

        Means over replies: score, as it enters the reward; kl_penalty, what the KL takes from it; rlhf_reward, their difference.
        Over tokens, in units of the score and before whitening: value, return, advantage, advantage_sd.
        explained_variance: 1 - Var(return - value) / Var(return); 1 is a perfect value model, 0 a constant, below 0 worse.
        """
        mask_BK, total_B = self.observed.mask_BK, self.rewards_BK.sum(1)
        returns, values, raw = self.returns_BK[mask_BK], self.observed.values_BK[mask_BK], self.raw_BK[mask_BK]
        found = {
            "score": self.score_B.mean(),
            "kl_penalty": (self.score_B - total_B).mean(),
            "rlhf_reward": total_B.mean(),
            "value": values.mean(),
            "return": returns.mean(),
            "advantage": raw.mean(),
            "advantage_sd": raw.std(correction=min(1, len(raw) - 1)),
            "explained_variance": explained_variance(values, returns),
        }
        return {name: float(value) for name, value in found.items()}

    def advantage_of(self, reply: int) -> float:
        """The mean of a reply's advantages, as the policy takes them."""
        return float(self.advantages_BK[reply][self.observed.mask_BK[reply]].mean())


def token_rewards(
    score_B: Tensor,
    old_BK: Tensor,
    ref_BK: Tensor | None,
    mask_BK: Tensor,
    *,
    kl_coef: float,
    estimator: Estimator = "k1",
) -> Tensor:
    """[B, K] the reward of each token: -kl_coef KL of that token, and at the last sampled one the score as well.

    With k1 = log pi - log pi_ref the gradient is that of the score less kl_coef KL(pi || pi_ref) (arXiv:2203.02155 eq. 2);
    the others are for comparison. Neither log-prob is differentiated. Without a reference there is no KL.
    """
    penalty_BK = torch.zeros_like(old_BK) if ref_BK is None else kl_coef * ESTIMATORS[estimator](old_BK, ref_BK)
    left_BK = mask_BK.flip(1).cumsum(1).flip(1)
    last_BK = mask_BK & (left_BK == 1)
    return last_BK * score_B[:, None] - penalty_BK.masked_fill(~mask_BK, 0.0)


def credit(observed: Observed, score_B: Tensor, how: GAE, *, kl_coef: float, estimator: Estimator = "k1") -> Credit:
    """Rewards, advantages and returns of a whole step. score_B: of each reply, in the units that the value model learns."""
    mask_BK = observed.mask_BK
    score_B = score_B.to(observed.values_BK.dtype)
    rewards_BK = token_rewards(
        score_B, observed.old_BK, observed.ref_BK, mask_BK, kl_coef=kl_coef, estimator=estimator
    ).to(observed.values_BK.dtype)  # fmt: skip
    raw_BK = gae(
        rewards_BK, observed.values_BK, mask_BK, gamma=how.gamma, lam=how.lam, bootstrap_B=observed.bootstrap_B
    )  # fmt: skip
    returns_BK = (raw_BK + observed.values_BK).masked_fill(~mask_BK, 0.0)
    advantages_BK = whiten(raw_BK, mask_BK) if how.whiten else raw_BK
    return Credit(observed, score_B, rewards_BK, raw_BK, advantages_BK, returns_BK)


def explained_variance(values: Tensor, returns: Tensor) -> Tensor:
    """1 - Var(returns - values) / Var(returns) over all elements; 0 where the returns do not differ."""
    spread = returns.var(correction=0)
    if float(spread) == 0.0:
        return torch.zeros((), dtype=returns.dtype)
    return 1 - (returns - values).var(correction=0) / spread


@torch.no_grad()
def outputs(
    model: Trained, rows: Sequence[Rendered], parts: Sequence[Sequence[int]], temperature: float, names: Sequence[str]
) -> tuple[Tensor, Tensor]:
    """([B, K], mask_BK): a model's numbers for the masked tokens of each row, without gradient.

    parts: the rows' numbers in micro-batches. A minibatch of the same parts computes the same bits.
    Raises TrainingError, naming the row, for a number that is not finite.
    """
    counts = torch.tensor([sum(row.mask) for row in rows])
    mask_BK = torch.arange(int(counts.max())) < counts[:, None]
    out_BK: Any = None
    for part in parts:
        sequences = stack([rows[i] for i in part])
        found_BT = model.outputs(sequences, temperature).cpu()
        if out_BK is None:
            out_BK = torch.zeros(mask_BK.shape, dtype=found_BT.dtype)
        for b, i in enumerate(part):
            out_BK[i, : counts[i]] = found_BT[b, sequences.mask_BT[b]]
    broken = (~out_BK.isfinite()).any(1).nonzero()[:, 0].tolist()
    if broken:
        raise TrainingError(
            f"A log-prob or value of a reply to the problem {names[broken[0]]} is not a finite number, so the run stopped before "
            "the weights were touched.\n  The last checkpoint is kept. Lower the learning rate, then run again."
        )
    return out_BK, mask_BK
