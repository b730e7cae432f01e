"""The engine against transformers' own generate."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from burnish.core.types import user
from burnish.model.policy import Policy
from burnish.model.toy import make_toy
from burnish.pipeline.machine import exact
from burnish.rollout.engine import GREEDY, Request
from burnish.rollout.hf_engine import HFEngine
from burnish.rollout.torch_engine import TorchEngine

torch.set_num_threads(1)


@pytest.mark.parametrize("engine", [TorchEngine, HFEngine])
def test_greedy_equals_generate(tmp_path: Path, engine: type[TorchEngine] | type[HFEngine]) -> None:
    """Tokens equal; log-probs equal those of generate's own logits to 1e-4."""
    policy = Policy.load(make_toy(tmp_path / "model", seed=4), exact())
    prompts = [policy.renderer.prompt(user(text)) for text in ("How many apples?", "a", "Write two words.")]
    found = engine(policy, replace(exact(), slots=2)).generate(
        [Request(p, replace(GREEDY, max_tokens=50), 0) for p in prompts]
    )
    for prompt, reply in zip(prompts, found, strict=True):
        out = policy.model.generate(
            torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt), dtype=torch.long), max_new_tokens=50,
            do_sample=False, eos_token_id=sorted(policy.renderer.stop_ids), output_logits=True,
            return_dict_in_generate=True,
        )  # fmt: skip
        assert tuple(out.sequences[0, len(prompt) :].tolist()) == reply.token_ids
        logp = torch.stack([step[0].float().log_softmax(-1).max() for step in out.logits])
        assert torch.allclose(logp, torch.tensor(reply.logprobs), atol=1e-4)
