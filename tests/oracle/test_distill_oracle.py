"""Distillation against other people's code: TRL's GKD loss in its forward direction, on full logits."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from burnish.losses.batch import CandidateSequences, TeacherBatch
from burnish.losses.distill import Distillation
from burnish.model.candidates import partition_logprobs, split_logits

torch.set_num_threads(1)
pytestmark = pytest.mark.oracle
B, T, V = 3, 7, 13


@pytest.mark.parametrize("temperature", [1.0, 0.7, 3.0])
def test_forward_kl_is_trls(temperature: float) -> None:
    """TRL's GKDTrainer with beta=0, over the trained tokens; it does not multiply by the square of the temperature.

    With fewer candidates than tokens ours is smaller: it compares a coarser partition.
    """
    gkd = pytest.importorskip("trl.experimental.gkd.gkd_trainer")
    g = torch.Generator().manual_seed(3)
    student = torch.randn(B, T, V, generator=g, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(B, T, V, generator=g, dtype=torch.float64)
    tokens = torch.randint(0, V, (B, T), generator=g)
    mask = torch.rand(B, T, generator=g) < 0.6
    mask[:, 0], mask[:, 1] = False, True
    labels = tokens.masked_fill(~mask, -100)
    theirs = gkd.GKDTrainer.generalized_jsd_loss(
        student, teacher, labels, beta=0, temperature=temperature, num_items_in_batch=mask.sum()
    )
    values = []
    for k in (V, 4):
        order = teacher.argsort(-1, descending=True)[..., :k]
        inputs = torch.zeros(B, T, k + 2, dtype=torch.float64)
        said = torch.zeros(B, T, k + 1, dtype=torch.float64)
        for logits, into in ((teacher, said), (student, None)):
            own, rest = split_logits(logits[mask], order[mask], inverses=(1 / temperature,))
            logp = partition_logprobs(own, rest[:, 0], 1 / temperature)
            if into is None:
                inputs = inputs.index_put((mask,), functional.pad(logp, (1, 0)))
            else:
                into[mask] = logp
        asked = CandidateSequences(tokens, torch.full((B,), T), mask, order * mask[..., None], temperature)
        batch = TeacherBatch(asked, said)
        loss = Distillation()
        values.append(loss.total(inputs, batch) / loss.count(batch) / temperature**2)
    assert float(values[0].detach()) == pytest.approx(float(theirs.detach()), abs=1e-12)
    assert 0 < float(values[1].detach()) < float(values[0].detach())
    ours = torch.autograd.grad(values[0], student)[0]
    torch.testing.assert_close(ours, torch.autograd.grad(theirs, student)[0], rtol=0, atol=1e-12)
