"""Fixtures of the exactness suite."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

_NORMS = {
    "llama": "Llama",
    "mistral": "Mistral",
    "qwen2": "Qwen2",
    "qwen3": "Qwen3",
    "olmo2": "Olmo2",
    "gemma2": "Gemma2",
}


def _norm(self: Any, x: Tensor) -> Tensor:
    gemma = hasattr(self, "eps")
    eps = self.eps if gemma else self.variance_epsilon
    weight = 1.0 + self.weight if gemma else self.weight
    scaled: Tensor = weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps)
    return scaled


@pytest.fixture(scope="package", autouse=True)
def _norms_in_their_own_type() -> Iterator[None]:
    """transformers computes norms in float32 whatever the model's type, which hides differences below 1e-7."""
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        for module, name in _NORMS.items():
            home = importlib.import_module(f"transformers.models.{module}.modeling_{module}")
            patch.setattr(getattr(home, f"{name}RMSNorm"), "forward", _norm)
        yield


_SHOWN = {
    "exact/test_one_step": "one optimizer step is the plainly written one",
    "exact/test_ppo_step": "one PPO step of two models is the plainly written one",
    "exact/test_runs": "whole runs are the plainly written ones",
    "exact/test_mutations": "bugs put back, all noticed",
    "exact/test_kills": "stages killed twenty times each, ended with the same bits",
    "laws/test_loss_laws": "laws of the losses",
    "laws/test_sharing": "prompts computed once for both replies",
    "unit/test_losses": "losses by hand",
    "unit/test_train_learner": "micro-batches, checkpoints, optimizers, stops",
    "unit/test_parallel": "one, two and four ranks, replicated and sharded",
    "unit/test_model_layers": "activation checkpointing and compiling",
}


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """What `make exact` ends with: how many checks of each sort held."""
    held = Counter(
        title
        for report in terminalreporter.stats.get("passed", [])
        for part, title in _SHOWN.items()
        if report.nodeid.startswith(f"tests/{part}") and report.when == "call"
    )
    if held:
        terminalreporter.section("what was compared")
        for title in dict.fromkeys(_SHOWN.values()):
            if held[title]:
                terminalreporter.write_line(f"{held[title]:5}  {title}")
