"""The torch engine on a CUDA device: the CPU's greedy tokens and scores, and the settings that keep it safe."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from gpu_rows import on

from burnish.core.types import Completion
from burnish.model.policy import Policy
from burnish.rollout.engine import Continuations, Request, Sampling
from burnish.rollout.torch_engine import TorchEngine


def engine(folder: Path, device: str, compute: str = "fp32", slots: int = 4) -> TorchEngine:
    machine = on(device, compute=compute, slots=slots)
    return TorchEngine(Policy.load(folder, machine), machine)


def requests(temperature: float) -> list[Request]:
    g = torch.Generator().manual_seed(0)
    shared = torch.randint(3, 300, (300,), generator=g).tolist()
    own = [torch.randint(3, 300, (n,), generator=g).tolist() for n in (3, 20, 70, 5, 40, 9)]
    prompts = [tuple(shared + part) if i % 2 else tuple(part) for i, part in enumerate(own)]
    return [
        Request(prompt, Sampling(max_tokens=40, temperature=temperature), seed=i) for i, prompt in enumerate(prompts)
    ]


def replies(found: list[Completion]) -> list[tuple[int, ...]]:
    return [tuple(one.token_ids) for one in found]


def test_greedy_tokens_equal_the_cpu(toy: Path, device: str) -> None:
    found, expected = (engine(toy, where).generate(requests(0.0)) for where in (device, "cpu"))
    assert replies(found) == replies(expected)
    for mine, other in zip(found, expected, strict=True):
        assert mine.logprobs == pytest.approx(other.logprobs, abs=1e-3)


def test_samples_do_not_depend_on_neighbours(toy: Path, device: str) -> None:
    """A reply's random numbers are its own; float32 rounding moves a draw only at the edge of a token's share."""
    together = replies(engine(toy, device, slots=8).generate(requests(1.0)))
    alone = [replies(engine(toy, device, slots=1).generate([one]))[0] for one in requests(1.0)]
    assert sum(a == b for a, b in zip(together, alone, strict=True)) >= len(alone) - 1


def test_bfloat16_log_probs_are_near_float32(toy: Path, device: str) -> None:
    """The narrow engine's own replies, scored by the learner in float32."""
    from burnish.losses.batch import Sequences

    asked = requests(1.0)
    found = engine(toy, device, compute="bf16").generate(asked)
    policy = Policy.load(toy, on(device))
    for request, reply in zip(asked, found, strict=True):
        tokens = torch.tensor([[*request.prompt_ids, *reply.token_ids]])
        mask = torch.arange(tokens.shape[1])[None] >= len(request.prompt_ids)
        with torch.no_grad():
            logp_BT = policy.logprobs(Sequences(tokens, torch.tensor([tokens.shape[1]]), mask)).cpu()
        assert logp_BT[mask].tolist() == pytest.approx(reply.logprobs, abs=0.25)


def test_scores_equal_the_cpu(toy: Path, device: str) -> None:
    asked = [Continuations(request.prompt_ids, ((5, 6, 7), (8,), tuple(range(20, 40)))) for request in requests(0.0)]
    found, expected = (engine(toy, where).score(asked) for where in (device, "cpu"))
    for mine, other in zip(found, expected, strict=True):
        assert [x for row in mine.logprobs for x in row] == pytest.approx(
            [x for row in other.logprobs for x in row], abs=1e-3
        )


def test_new_weights_are_taken(toy: Path, device: str) -> None:
    one = engine(toy, device)
    changed = Policy.load(toy, on(device))
    with torch.no_grad():
        changed.model.base_model.norm.weight.mul_(-1)
    before = replies(one.generate(requests(0.0)))
    one.load_weights(changed, "1")
    after = one.generate(requests(0.0))
    assert replies(after) != before
    assert {reply.policy_version for reply in after} == {"1"}
