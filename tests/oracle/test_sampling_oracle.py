"""Sampling settings against transformers' own logits processors, in float32, and a whole reply against `generate`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from burnish.core.types import user
from burnish.model.policy import Policy
from burnish.model.toy import make_toy
from burnish.pipeline.machine import exact
from burnish.rollout.engine import GREEDY, Request, Sampling
from burnish.rollout.hf_engine import HFEngine
from burnish.rollout.sampler import sample
from burnish.rollout.torch_engine import TorchEngine

pytestmark = pytest.mark.oracle
torch.set_num_threads(1)
SETTINGS = (
    Sampling(min_p=0.05),
    Sampling(min_p=0.3, temperature=0.6),
    Sampling(repetition_penalty=1.3),
    Sampling(repetition_penalty=0.7, temperature=1.4, top_k=30),
    Sampling(top_k=25, top_p=0.8, min_p=0.1, temperature=1.2),
    Sampling(logit_bias=((3, 5.0), (17, -100.0)), repetition_penalty=1.5, top_p=0.6),
)


def processed(logits_V: Tensor, setting: Sampling, seen: list[int], barred: list[int]) -> Tensor:
    """Log-probs after transformers' processors, in the order of its own `generate`."""
    from transformers.generation import logits_process as hf

    found: list[hf.LogitsProcessor] = []
    if setting.logit_bias:
        found.append(hf.SequenceBiasLogitsProcessor([[[token], bias] for token, bias in setting.logit_bias]))
    if setting.repetition_penalty != 1.0:
        found.append(hf.RepetitionPenaltyLogitsProcessor(setting.repetition_penalty))
    if barred:
        found.append(hf.SuppressTokensLogitsProcessor(barred))
    found.append(hf.TemperatureLogitsWarper(setting.temperature))
    if setting.top_k:
        found.append(hf.TopKLogitsWarper(setting.top_k))
    if setting.top_p < 1.0:
        found.append(hf.TopPLogitsWarper(setting.top_p))
    if setting.min_p:
        found.append(hf.MinPLogitsWarper(setting.min_p))
    scores = logits_V[None].clone()
    for processor in found:
        scores = processor(torch.tensor([seen]), scores)
    return scores[0].log_softmax(-1)


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: "+".join(s.bent) or "plain")
def test_distributions_equal_transformers(setting: Sampling) -> None:
    """60 draws from each of 20 rows have transformers' log-probs to 1e-5. A token of probability q cut or left by one alone
    would shift the log-probs of all others by about q."""
    generator = torch.Generator().manual_seed(5)
    for row in range(20):
        logits = 3 * torch.randn(700, generator=generator)
        seen = torch.randint(0, 700, (50,), generator=generator).tolist()
        barred = [4, 9] if row % 2 else []
        wanted = processed(logits, setting, seen, barred)
        tokens, logps = sample(
            logits.expand(60, -1), [setting] * 60, list(range(60)), [row] * 60, seen=[seen] * 60, barred=[barred] * 60
        )
        assert torch.allclose(wanted[tokens], torch.tensor(logps), atol=1e-5, rtol=0)


@pytest.mark.parametrize("engine", [TorchEngine, HFEngine])
@pytest.mark.parametrize("penalty", [1.0, 1.4])
def test_greedy_replies_with_penalty_and_bias_equal_generate(
    tmp_path: Path, engine: type[TorchEngine] | type[HFEngine], penalty: float
) -> None:
    """transformers counts the prompt's tokens too; min_new_tokens and sequence_bias as well."""
    policy = Policy.load(make_toy(tmp_path / "model", seed=4), exact())
    biases = ((70, 3.0), (101, -4.0))
    setting = replace(GREEDY, max_tokens=40, repetition_penalty=penalty, logit_bias=biases, min_tokens=12)
    prompts = [policy.renderer.prompt(user(text)) for text in ("How many apples?", "a", "Write two words.")]
    found = engine(policy, replace(exact(), slots=2)).generate([Request(p, setting, 0) for p in prompts])
    for prompt, reply in zip(prompts, found, strict=True):
        out = policy.model.generate(
            torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt), dtype=torch.long), max_new_tokens=40,
            do_sample=False, eos_token_id=sorted(policy.renderer.stop_ids), output_scores=True,
            return_dict_in_generate=True, repetition_penalty=penalty, min_new_tokens=12,
            sequence_bias=[[[token], bias] for token, bias in biases],
        )  # fmt: skip
        assert tuple(out.sequences[0, len(prompt) :].tolist()) == reply.token_ids
        logp = torch.stack([step[0].float().log_softmax(-1).max() for step in out.scores])
        assert torch.allclose(logp, torch.tensor(reply.logprobs), atol=1e-4)
