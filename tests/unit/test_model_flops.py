"""Model FLOPs: by hand, and against what torch counts while a model runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM, Gemma2Config, LlamaConfig, MistralConfig, Olmo2Config, Qwen3Config

from burnish.model.bundled import bundled_model
from burnish.model.flops import Shape, Work
from burnish.pipeline.progress import Console

torch.set_num_threads(1)
SIZES = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 60, "head_dim": 16, "max_position_embeddings": 64, "pad_token_id": 0,
}  # fmt: skip
CONFIGS: dict[str, Any] = {
    "llama": LlamaConfig(**SIZES),
    "mistral": MistralConfig(**SIZES, sliding_window=None),
    "qwen3": Qwen3Config(**SIZES, tie_word_embeddings=True),
    "gemma2": Gemma2Config(**SIZES, sliding_window=64),
    "olmo2": Olmo2Config(**SIZES),
}


def made(config: Any) -> Any:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config, attn_implementation="eager")


def counted(model: Any, length: int, *, backward: bool) -> float:
    """What torch counts for one document: attention over the whole square, the head at every position."""
    tokens = torch.arange(length)[None] % 50
    with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(backward):
        logits = model(input_ids=tokens, use_cache=False).logits
        if backward:
            logits.sum().backward()
    return float(counter.get_total_flops())


def square(work: Work, length: int, share: float) -> float:
    """The triangle above the diagonal, which a causal model does not need: L (L - 1) / 2 pairs a layer, `share` passes of it."""
    pairs = work.shape.layers * length * (length - 1) / 2
    return 4.0 * work.shape.query_width * pairs * share


@pytest.mark.parametrize("name", CONFIGS)
def test_torch_counts_the_same(name: str) -> None:
    """Forward, and a step whose embeddings are trained, so that every product has both its gradients."""
    model, length = made(CONFIGS[name]), 21
    work = Work.of_model(model)
    assert work is not None
    assert work == Work.of_shape(work.shape)
    forward = work.forward([length], length) + square(work, length, 1)
    assert counted(model, length, backward=False) == forward
    step = work.training([length], length) + square(work, length, 3)
    assert counted(model, length, backward=True) == step


@pytest.mark.parametrize("lowest", [0, 1, 2])
def test_torch_counts_the_same_with_frozen_layers(lowest: int) -> None:
    """Layers from `lowest` up are trained; below, no gradient is computed, and the frozen head hands its gradient through."""
    model, length = made(CONFIGS["llama"]), 13
    model.requires_grad_(False)
    for layer in model.model.layers[lowest:]:
        layer.requires_grad_(True)
    work = Work.of_model(model)
    assert work is not None
    assert (work.first, work.head_trained) == (lowest, False)
    # Three passes in the layers that are trained, the forward pass alone below.
    share = 1 + 2 * (3 - lowest) / 3
    expected = work.training([length], length) + square(work, length, share)
    assert counted(model, length, backward=True) == expected


def test_by_hand() -> None:
    """One layer of width 4, 2 query heads and 1 key head of width 2, feed-forward width 6, vocabulary 10, untied.

    Matrices: q 4x4 = 16, k 4x2 = 8, v 8, o 16, gate, up, down 3 x 24 = 72: 120. Head: 40. Parameters: 120 + 3 norms of 4
    + embeddings 40 + head 40 = 212.
    Documents of 3 and 2 tokens with 2 labels: pairs 6 + 3 = 9; attention 4 x 4 x 9 = 144.
    Forward: 2 x (120 x 5 + 40 x 2) + 144 = 1504. Training: 3 x 1504 = 4512 = 6 x (600 + 80) + 432.
    """
    shape = Shape(1, 4, 2, 1, 2, 6, 10, tied=False, windows=(0,))
    work = Work.of_shape(shape)
    assert (shape.layer_matrices, shape.head, shape.parameters) == (120, 40, 212)
    assert work.forward([3, 2], 2) == 1504
    assert work.training([3, 2], 2) == 4512


def test_a_shared_beginning_counts_once() -> None:
    """The model above; rows of 5 and 4 tokens that begin with the same 3: documents of 3, 2 and 1 tokens, 6 in all.

    Pairs: 6 + (4 + 5) + 4 = 19, where the rows alone have 15 + 10 = 25.
    """
    shape = Shape(1, 4, 2, 1, 2, 6, 10, tied=False, windows=(0,))
    assert shape.pairs([3, 2, 1], [0, 3, 3]) == 19
    assert shape.pairs([5, 4]) == 25
    assert Work.of_shape(shape).training([3, 2, 1], 0, [0, 3, 3]) == 3 * (2 * 120 * 6 + 16 * 19)


def test_frozen_and_added_matrices_by_hand() -> None:
    """The model above with adapters of 30 parameters on a frozen body, embeddings frozen, one document of 3, 2 labels.

    Forward: 2 x (120 x 3 + 30 x 3 + 40 x 2) + 4 x 4 x 6 = 1060 + 96 = 1156.
    Inputs' gradients: 2 x (120 + 30) x 3 + 2 x 80 + 192 = 900 + 160 + 192 = 1252.
    Weights' gradients: 2 x 30 x 3 = 180.
    """
    shape = Shape(1, 4, 2, 1, 2, 6, 10, tied=False, windows=(0,))
    work = Work(shape, shape.head, trained=0, adapters=30, first=0, head_trained=False)
    assert work.forward([3], 2) == 1156
    assert work.training([3], 2) == 1156 + 1252 + 180


def test_sliding_windows_by_hand() -> None:
    """A window of 3 over 5 positions sees 1 + 2 + 3 + 3 + 3 = 12 pairs; the full layer beside it 15."""
    config = {
        "model_type": "gemma2", "hidden_size": 4, "num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 6,
        "vocab_size": 10, "sliding_window": 3, "layer_types": ["sliding_attention", "full_attention"],
    }  # fmt: skip
    shape = Shape.of(config)
    assert shape is not None
    assert shape.pairs([5]) == 27
    mistral = Shape.of({**config, "model_type": "mistral", "layer_types": None})
    assert mistral is not None
    assert mistral.pairs([5]) == 24


def test_a_family_that_is_not_known_has_no_shape() -> None:
    assert Shape.of({"model_type": "mixtral", "hidden_size": 4}) is None


@given(st.lists(st.integers(1, 60), min_size=1, max_size=8), st.integers(0, 40))
def test_cutting_a_batch_changes_no_sum(lengths: list[int], labels: int) -> None:
    """FLOPs are sums over documents and labels, so micro-batches do not change a step's."""
    shape = Shape.of(CONFIGS["gemma2"].to_dict())
    assert shape is not None
    work = Work.of_shape(shape)
    cut = len(lengths) // 2
    parts = work.training(lengths[:cut], labels // 2) + work.training(lengths[cut:], labels - labels // 2)
    assert parts == work.training(lengths, labels)
    assert work.training(lengths, labels) == pytest.approx(3 * work.forward(lengths, labels))


@pytest.mark.real
def test_the_bundled_model(tmp_path: Path) -> None:
    """134.5 M parameters, of which 106.2 M are in matrices of layers and 28.3 M in the head it shares with the embeddings."""
    model: Any = AutoModelForCausalLM.from_pretrained(
        bundled_model(tmp_path, Console(quiet=True)), attn_implementation="eager"
    )
    work = Work.of_model(model)
    assert work is not None
    assert work.shape.parameters == sum(weight.numel() for weight in model.parameters())
    found = counted(model, 32, backward=True)
    assert found == work.training([32], 32) + square(work, 32, 3)
