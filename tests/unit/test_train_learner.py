"""The learner: it stops before it can do harm, goes on bit for bit, and its optimizers are torch's (steps: tests/exact)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from burnish.errors import ArtifactError, RecipeError, TrainingError
from burnish.losses.batch import PairBatch, RolloutBatch, Sequences, TokenBatch
from burnish.losses.dpo import DPO
from burnish.losses.policy import GRPO
from burnish.losses.sft import SFTLoss
from burnish.model.policy import Policy
from burnish.model.toy import make_toy
from burnish.pipeline.machine import Machine
from burnish.train.learner import Learner
from burnish.train.optimizer import Adafactor, AdamW, Muon, Optimizer
from burnish.train.rows import rows_of_step, split, steps_in

torch.set_num_threads(1)
LENGTHS = (9, 4, 17, 6, 12, 5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_toy(tmp_path_factory.mktemp("toy") / "model", hidden_size=32, intermediate_size=64)


def learner(folder: Path, optimizer: Optimizer | None = None) -> Learner:
    policy = Policy.load(folder, Machine(), trainable=True).to(torch.float64)
    return Learner(policy, Machine(), optimizer or AdamW(eps=1e-3, weight_decay=0.1))


def take(rows: list[int]) -> Sequences:
    """Some of six fixed rows, whatever company they are in."""
    chosen = [torch.arange(LENGTHS[i]) * (i + 3) % 400 for i in rows]
    tokens = torch.nn.utils.rnn.pad_sequence(chosen, batch_first=True)
    lengths = torch.tensor([LENGTHS[i] for i in rows])
    at = torch.arange(tokens.shape[1])
    mask = (at > 1) & (at < lengths[:, None]) & ((at + lengths[:, None]) % 3 > 0)
    return Sequences(tokens, lengths, mask)


def sft_batch(rows: list[int]) -> TokenBatch:
    return TokenBatch(take(rows))


def pair_batch(pairs: list[int]) -> PairBatch:
    rows = [2 * p for p in pairs] + [2 * p + 1 for p in pairs]
    return PairBatch(take(rows), torch.tensor([-40.0 - row for row in rows], dtype=torch.float64))


def rollout_batch(rows: list[int]) -> RolloutBatch:
    sequences = take(rows)
    mask = sequences.mask_BT.double()
    advantage = torch.tensor([(-1.0) ** row * (1 + row / 5) for row in rows], dtype=torch.float64)[:, None] * mask
    return RolloutBatch(sequences, -6.0 * mask, -6.1 * mask, advantage)


def test_on_policy_grpo_has_ratio_one_and_dpo_starts_at_ln_2(folder: Path) -> None:
    trained = learner(folder)
    batch = rollout_batch([0, 1, 2])
    with torch.no_grad():
        logp = trained.policy.logprobs(batch.sequences)
    found = trained.forward_backward([RolloutBatch(batch.sequences, logp, logp, batch.adv_BT)], GRPO())
    assert found["ratio"] == pytest.approx(1.0, abs=1e-12)
    assert found["clip_fraction"] == 0.0
    assert found["kl"] == pytest.approx(0.0, abs=1e-12)
    pairs = pair_batch([0, 1])
    with torch.no_grad():
        ref = trained.policy.logprobs(pairs.sequences).sum(1)
    found = trained.forward_backward([PairBatch(pairs.sequences, ref)], DPO())
    assert found["loss"] == pytest.approx(0.6931471805599453, abs=1e-12)


def test_nothing_to_train_moves_nothing(folder: Path) -> None:
    """A whole step without a counted token: loss 0, norm 0, weights untouched, weight decay included."""
    trained = learner(folder)
    before = trained.policy.checksum()
    batch = sft_batch([0, 1])
    batch.sequences.mask_BT[:] = False
    assert trained.forward_backward([batch], SFTLoss()) == {"loss": 0.0, "count": 0.0}
    assert trained.step(1.0) == 0.0
    assert trained.policy.checksum() == before


def test_an_all_masked_row_beside_others_changes_nothing(folder: Path) -> None:
    empty = sft_batch([3])
    empty.sequences.mask_BT[:] = False
    a, b = learner(folder), learner(folder)
    assert a.forward_backward([sft_batch([0]), empty], SFTLoss()) == b.forward_backward([sft_batch([0])], SFTLoss())


@dataclass(frozen=True)
class Broken:
    """A loss that is not finite, or whose gradient is not."""

    finite_value: bool

    def count(self, batch: TokenBatch) -> Tensor:
        return batch.sequences.mask_BT.sum()

    def total(self, logp_BT: Tensor, batch: TokenBatch) -> Tensor:
        # sqrt at 0 is finite and has an infinite slope.
        return (logp_BT.sum() * 0).sqrt() if self.finite_value else logp_BT.sum() * torch.nan

    def metrics(self, logp_BT: Tensor, batch: TokenBatch) -> dict[str, Tensor]:
        return {}


def test_a_diverging_step_names_its_rows_and_leaves_the_weights(folder: Path) -> None:
    trained = learner(folder)
    before = trained.policy.checksum()
    trained.forward_backward([sft_batch([0])], SFTLoss())
    trained.step(0.0)
    with pytest.raises(TrainingError, match=r"step 2: the loss is nan on the rows r1, r2.*\n.*checkpoint is kept"):
        trained.forward_backward([sft_batch([1, 2])], Broken(False), names=[["r1", "r2"]])
    trained.forward_backward([sft_batch([1, 2])], Broken(True))
    with pytest.raises(TrainingError, match="step 2: the gradient's norm is nan"):
        trained.step(1.0)
    assert trained.policy.checksum() == before
    assert trained.step(1.0) == 0.0


@pytest.mark.parametrize("optimizer", [AdamW(), Adafactor(), Muon(weight_decay=0.1)], ids=lambda o: type(o).__name__)
def test_save_and_load_go_on_bit_for_bit(optimizer: Optimizer, folder: Path, tmp_path: Path) -> None:
    def walk(trained: Learner, steps: range) -> None:
        for step in steps:
            trained.forward_backward([sft_batch([step % 6, (step + 1) % 6])], SFTLoss())
            trained.step(1e-2)

    straight, first, second = learner(folder, optimizer), learner(folder, optimizer), learner(folder, optimizer)
    walk(straight, range(6))
    walk(first, range(3))
    first.save(tmp_path / "checkpoint", {"mine": [1, "x"]})
    assert second.load(tmp_path / "checkpoint") == {"learner_steps": 3, "mine": [1, "x"]}
    walk(second, range(3, 6))
    assert straight.policy.checksum() == second.policy.checksum() != first.policy.checksum()
    assert straight.steps == second.steps == 6
    assert learner(folder, optimizer).load(tmp_path / "nothing") is None


def test_a_checkpoint_of_another_model_is_refused(folder: Path, tmp_path: Path) -> None:
    learner(folder).save(tmp_path / "checkpoint")
    other = Policy.load(make_toy(tmp_path / "other"), Machine(), trainable=True)
    with pytest.raises(ArtifactError, match="another model"):
        Learner(other, Machine()).load(tmp_path / "checkpoint")


def test_weights_that_are_not_finite_are_never_saved(folder: Path, tmp_path: Path) -> None:
    trained = learner(folder)
    trained.save(tmp_path / "checkpoint")
    with torch.no_grad():
        next(iter(trained.policy.model.parameters()))[0, 0] = torch.nan
    with pytest.raises(TrainingError, match="no longer finite"):
        trained.save(tmp_path / "checkpoint")
    assert learner(folder).load(tmp_path / "checkpoint") == {"learner_steps": 0}


@settings(deadline=None)
@given(lengths=st.lists(st.integers(1, 50), min_size=1, max_size=40), micro=st.integers(1, 120))
def test_micro_batches_hold_every_row_once_within_the_limit(lengths: list[int], micro: int) -> None:
    parts = split(range(len(lengths)), lengths, micro)
    assert sorted(i for part in parts for i in part) == list(range(len(lengths)))
    assert all(sum(lengths[i] for i in part) <= max(micro, max(lengths)) for part in parts)


@settings(deadline=None)
@given(rows=st.integers(1, 40), batch=st.integers(1, 12), epochs=st.integers(1, 3), seed=st.integers(0, 3))
def test_every_row_once_an_epoch(rows: int, batch: int, epochs: int, seed: int) -> None:
    steps = steps_in(rows, batch, epochs)
    seen = [i for step in range(steps) for i in rows_of_step(step, rows, batch, seed)]
    for epoch in range(epochs):
        assert sorted(seen[epoch * rows : (epoch + 1) * rows]) == list(range(rows))
    if epochs > 1 and rows > 20:
        assert seen[:rows] != seen[rows : 2 * rows]


@pytest.mark.parametrize("kind", [Adafactor, Muon])
def test_one_step_is_that_of_torchs_own_optimizer(kind: type[Adafactor | Muon], folder: Path) -> None:
    """The same gradient, clipped to norm 1, given to torch's Adafactor, or to its Muon and AdamW."""
    trained, plain = learner(folder, kind(weight_decay=0.1)), learner(folder).policy.model
    trained.forward_backward([sft_batch([0, 1, 2])], SFTLoss())
    named, weights = dict(trained.policy.model.named_parameters()), dict(plain.named_parameters())
    for name, weight in weights.items():
        weight.grad = None if named[name].grad is None else named[name].grad.clone()
    torch.nn.utils.clip_grad_norm_(weights.values(), 1.0)
    trained.step(1e-2)
    inner = {n: w for n, w in weights.items() if w.ndim == 2 and "embed" not in n and "lm_head" not in n}
    assert len(inner) == 7 * 2
    rest = [{"params": [w for n, w in weights.items() if n not in inner and w.ndim == d], "weight_decay": decay}
            for d, decay in ((2, 0.1), (1, 0.0))]  # fmt: skip
    if kind is Muon:
        torch.optim.Muon(
            list(inner.values()), lr=1e-2, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"
        ).step()  # fmt: skip
        torch.optim.AdamW(rest, lr=1e-2).step()
    else:
        torch.optim.Adafactor([{"params": list(inner.values()), "weight_decay": 0.1}, *rest], lr=1e-2).step()
    for name, weight in weights.items():
        assert (named[name] - weight).abs().max() < 1e-10, name


@pytest.mark.parametrize("optimizer", [AdamW(), Adafactor(), Muon()], ids=lambda o: type(o).__name__)
def test_every_optimizer_learns(optimizer: Optimizer, folder: Path) -> None:
    """Sixty steps on six rows: the loss falls to less than half."""
    trained = learner(folder, optimizer)
    found = []
    for _ in range(60):
        found.append(trained.forward_backward([sft_batch(list(range(6)))], SFTLoss())["loss"])
        trained.step(2e-2)
    assert found[-1] < found[0] / 2


@pytest.mark.parametrize(
    "wrong", [lambda: AdamW(weight_decay=-1), lambda: AdamW(betas=(0.9, 1.0)), lambda: Muon(momentum=2)]
)
def test_optimizers_refuse_numbers_without_meaning(wrong: Any) -> None:
    with pytest.raises(RecipeError):
        wrong()
