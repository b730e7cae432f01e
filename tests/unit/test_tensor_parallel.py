"""What tensor parallelism refuses, and what it asks of a model. Steps on ranks are in test_parallel.py."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from training_runs import DATA, START
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, Olmo2Config, Olmo2ForCausalLM

from burnish.errors import ModelError, RecipeError
from burnish.model.tensor_parallel import alike, divide, total_norm
from burnish.model.trains import LoRA
from burnish.pipeline.machine import Machine
from burnish.train.optimizer import Muon
from burnish.train.sft import SFT

SIZES: dict[str, Any] = {
    "vocab_size": 50, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4,
    "num_key_value_heads": 2, "pad_token_id": 0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("model", "size", "words"),
    [
        (lambda: GPT2LMHeadModel(GPT2Config(n_layer=1, n_embd=32, n_head=4, vocab_size=50)), 2, "no plan for dividing a GPT2"),
        (lambda: Olmo2ForCausalLM(Olmo2Config(**SIZES)), 2, "plan for dividing a Olmo2ForCausalLM has layers"),
        (lambda: LlamaForCausalLM(LlamaConfig(**SIZES)), 4, "num_key_value_heads=2 cannot be divided among the 4 processes"),
        (lambda: LlamaForCausalLM(LlamaConfig(**SIZES)), 3, "num_attention_heads=4 cannot be divided among the 3 processes"),
    ],
)  # fmt: skip
def test_models_that_cannot_be_divided_are_named(model: Any, size: int, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        divide(model(), Machine(processes=size, tensor=size))


@pytest.mark.parametrize(
    "fields",
    [
        {"sharding": "full"},
        {"kernels": "compiled"},
        {"offload": "optimizer"},
        {"kernels": "liger", "device": "cuda"},
    ],
)
def test_what_excludes_divided_matrices_is_said(fields: dict[str, Any]) -> None:
    Machine(processes=2, **fields)
    name = next(iter(fields))
    with pytest.raises(RecipeError, match=rf"Machine\(tensor=2, {name}=(.|\n)*Set {name}="):
        Machine(processes=2, tensor=2, **fields)


@pytest.mark.parametrize(
    ("change", "words"), [({"optimizer": Muon()}, "Muon needs whole ones"), ({"trains": LoRA()}, "frozen and trained")]
)
def test_what_divided_weights_cannot_do_is_said_before_anything_runs(change: dict[str, Any], words: str) -> None:
    stage = dataclasses.replace(SFT(START, DATA), **change)
    stage.check_on(Machine(processes=2, context=2))
    with pytest.raises(RecipeError, match=rf"Machine\(tensor=2\)(.|\n)*{words}(.|\n)*Set tensor=1"):
        stage.check_on(Machine(processes=2, tensor=2))


def test_whole_tensors_are_one_group_and_their_norm_is_the_usual_one() -> None:
    """3, 4 and 12: 13."""
    tensors = [torch.tensor([3.0]), torch.tensor([4.0, 12.0])]
    assert alike(tensors) == [tensors]
    assert alike([]) == []
    assert float(total_norm(tensors)) == 13.0
