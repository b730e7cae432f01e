"""The hand-written pieces of a layer against torch's own gradients, by hand, and the whole against transformers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from burnish.losses.batch import Sequences, TokenBatch
from burnish.losses.sft import SFTLoss
from burnish.model import attention, fused, head
from burnish.model.attention import Documents, attend
from burnish.model.fused import embed, linear, norm, rotate, swiglu
from burnish.model.head import token_logprobs
from burnish.model.llama import supports
from burnish.model.policy import Policy
from burnish.model.toy import make_toy
from burnish.pipeline.machine import Machine
from burnish.text.render import Renderer
from burnish.train.learner import Learner
from burnish.train.optimizer import AdamW

torch.set_num_threads(1)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64, requires_grad=True)


def angles(tokens: int, width: int) -> tuple[Tensor, Tensor]:
    half = torch.outer(torch.arange(tokens).double(), 1.0 / 7 ** torch.arange(width // 2).double())
    both = torch.cat([half, half], 1)
    return both.cos(), both.sin()


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five tokens in chunks of two: the last chunk is short."""
    monkeypatch.setattr(fused, "ROWS", 2)
    monkeypatch.setattr(head, "ROWS", 2)


def _rotated(x: Tensor) -> Tensor:
    return rotate(x, *angles(5, 4))


def _both(x: Tensor, a: Tensor, b: Tensor, bias: Tensor, residual: Tensor) -> Tensor:
    return linear(x, [a, b], torch.cat([a, b]).detach(), bias=bias, residual=residual)


def _embedded(weight: Tensor) -> Tensor:
    return embed(weight, torch.tensor([1, 3, 1, 0, 2]))


PIECES: dict[str, tuple[Callable[..., Tensor], tuple[Tensor, ...]]] = {
    "norm": (lambda x, w: norm(x, w, 1e-3, torch.float64), (draw(5, 6), draw(6, seed=1))),
    "rotate": (_rotated, (draw(5, 8),)),
    "swiglu": (swiglu, (draw(5, 6),)),
    "embed": (_embedded, (draw(4, 3),)),
}


@pytest.mark.parametrize("piece", PIECES)
def test_gradients_by_differences(piece: str) -> None:
    function, inputs = PIECES[piece]
    assert torch.autograd.gradcheck(function, inputs)


def test_stacked_linear_equals_plain_ones() -> None:
    """The copy carries no gradient itself, so finite differences do not apply: torch's own formula is the reference."""
    inputs = (draw(5, 3), draw(2, 3, seed=1), draw(4, 3, seed=2), draw(6, seed=3), draw(5, 6, seed=4))
    x, a, b, bias, residual = inputs
    expected = residual + functional.linear(x, torch.cat([a, b]), bias)
    found = _both(*inputs)
    upstream = draw(5, 6, seed=5).detach()
    assert (found - expected).abs().max() < 1e-14
    pairs = (torch.autograd.grad(y, inputs, upstream) for y in (found, expected))
    for ours, theirs in zip(*pairs, strict=True):
        assert (ours - theirs).abs().max() < 1e-14


@pytest.mark.parametrize("keep", [0, pytest.param(512, marks=pytest.mark.slow)])
@pytest.mark.parametrize("window", [None, pytest.param(3, marks=pytest.mark.slow)])
def test_attention_gradients_by_differences(monkeypatch: pytest.MonkeyPatch, keep: int, window: int | None) -> None:
    """Documents of 5, 4 and 1 tokens, queries in blocks of two, probabilities kept or computed again."""
    monkeypatch.setattr(attention, "BLOCK", 2)
    monkeypatch.setattr(attention, "KEEP", keep)
    documents = Documents.of([5, 1, 4])

    def run(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return attend(q, k, v, (4, 2), documents, 0.7, window)

    inputs = draw(10, 8), draw(10, 4, seed=1), draw(10, 4, seed=2)
    assert torch.autograd.gradcheck(run, inputs)
    monkeypatch.setattr(attention, "BLOCK", 256)
    whole = run(*inputs)
    monkeypatch.setattr(attention, "BLOCK", 2)
    assert (run(*inputs) - whole).abs().max() < 1e-14


@pytest.mark.parametrize("keep", [0, 1 << 20])
def test_head_gradients_by_differences(monkeypatch: pytest.MonkeyPatch, keep: int) -> None:
    monkeypatch.setattr(head, "KEEP", keep)
    target = torch.tensor([0, 3, 3, 1, 2])

    def run(hidden: Tensor, weight: Tensor) -> Tensor:
        # The copy must move with the weight for differences to see the products' part.
        return token_logprobs(hidden, weight, target, temperature=0.7, chunk=3)

    assert torch.autograd.gradcheck(run, (draw(5, 3), draw(4, 3, seed=1)))


def test_head_keeps_the_gradient_of_an_almost_certain_token() -> None:
    """Logits (9, 0): p of the other token is 1/(1+e^9) = 1.234e-4. In bf16 1 - p would round to 1 and its gradient to 0."""
    hidden = torch.ones(1, 1, requires_grad=True)
    weight = torch.tensor([[9.0], [0.0]])
    narrow = weight.to(torch.bfloat16)
    (grad,) = torch.autograd.grad(token_logprobs(hidden, weight, torch.tensor([0]), narrow_VD=narrow), hidden)
    assert grad.item() == pytest.approx(9 * 1.2339e-4, rel=0.01)


def test_by_hand() -> None:
    """x = (3, 4): mean square 12.5, so y = w * (3, 4) / 3.5355 = (0.8485, 2.2627) for w = (1, 2).

    A quarter turn of (1, 2) is (-2, 1). silu(0) * 5 = 0 and silu(2) * 3 = 6 / (1 + e^-2) = 5.2848.
    """
    y = norm(torch.tensor([[3.0, 4.0]]), torch.tensor([1.0, 2.0]), 0.0, torch.float32)
    assert y[0].tolist() == pytest.approx([0.848528, 2.262742], abs=1e-6)
    turned = rotate(torch.tensor([[1.0, 2.0]]), torch.zeros(1, 2), torch.ones(1, 2))
    assert turned[0].tolist() == [-2.0, 1.0]
    assert swiglu(torch.tensor([[0.0, 2.0, 5.0, 3.0]]))[0].tolist() == pytest.approx([0.0, 5.284782], abs=1e-5)


def test_attention_by_hand() -> None:
    """Keys 0 and ln 3, query 1: the second token weighs its values 0 and 4 by 1/4 and 3/4, so it reads 3."""
    key = torch.tensor([[0.0], [3.0]]).log1p() / torch.tensor(4.0).log() * torch.tensor(3.0).log()
    out = attend(torch.ones(2, 1), key, torch.tensor([[0.0], [4.0]]), (1, 1), Documents.of([2]), 1.0)
    assert out.flatten().tolist() == pytest.approx([0.0, 3.0], abs=1e-6)


SIZES: dict[str, Any] = {
    "vocab_size": 422, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
MODELS: dict[str, Callable[[], Any]] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, attention_bias=True, mlp_bias=True)),
    "mistral": lambda: MistralForCausalLM(MistralConfig(**SIZES, sliding_window=5)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SIZES, tie_word_embeddings=True)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**SIZES, head_dim=16)),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_toy(tmp_path_factory.mktemp("toy") / "model", hidden_size=32, intermediate_size=64)


def fixed_rows() -> Sequences:
    tokens = torch.arange(60).view(3, 20) * 31 % 400
    lengths = torch.tensor([20, 9, 17])
    at = torch.arange(20)
    return Sequences(tokens * (at < lengths[:, None]), lengths, (at > 2) & (at < lengths[:, None]))


@pytest.mark.parametrize("kind", MODELS)
def test_families_equal_transformers(folder: Path, kind: str) -> None:
    torch.manual_seed(0)
    model = MODELS[kind]()
    for weight in model.parameters():
        # Biases and norms away from their neutral start.
        torch.nn.init.normal_(weight, std=0.2) if weight.ndim == 2 else torch.nn.init.uniform_(weight, 0.5, 1.5)
    model.set_attn_implementation(attention.register())
    policy = Policy(model, Policy.load(folder, Machine()).renderer, Machine())
    sequences = fixed_rows()
    assert supports(model)
    assert policy.packs
    expected = policy._padded(sequences.tokens_BT, sequences.mask_BT, 1.0)
    found = policy.logprobs(sequences)[sequences.mask_BT]
    assert (found - expected).abs().max() < 1e-4
    weights = list(model.parameters())
    ours, theirs = (torch.autograd.grad(y.sum(), weights) for y in (found, expected))
    for a, b in zip(ours, theirs, strict=True):
        assert (a - b).norm() <= 1e-4 * b.norm() + 1e-6


def test_unknown_parts_are_left_to_transformers(folder: Path) -> None:
    class OtherNorm(torch.nn.Module):
        """Twice the norm: right only in its own forward pass."""

        def __init__(self, inner: torch.nn.Module) -> None:
            super().__init__()
            self.inner, self.weight, self.variance_epsilon = inner, inner.weight, inner.variance_epsilon

        def forward(self, x: Tensor) -> Tensor:
            return 2 * self.inner(x)

    loaded = Policy.load(folder, Machine())
    model = loaded.model
    model.model.norm = OtherNorm(model.model.norm)
    assert not supports(model)
    policy = Policy(model, Renderer(loaded.renderer.tokenizer), Machine())
    sequences = fixed_rows()
    expected = policy._padded(sequences.tokens_BT, sequences.mask_BT, 1.0)
    assert (policy.logprobs(sequences)[sequences.mask_BT] - expected).abs().max() < 1e-5


def _curve(folder: Path, machine: Machine) -> list[float]:
    policy = Policy.load(folder, machine, trainable=True)
    learner = Learner(policy, machine, AdamW())
    losses = []
    for _ in range(20):
        losses.append(learner.forward_backward([TokenBatch(fixed_rows())], SFTLoss())["loss"])
        learner.step(3e-3)
    assert policy.dtype == torch.float32
    return losses


def test_bf16_training_follows_float32(folder: Path) -> None:
    """A twentieth of a nat over twenty steps that halve the loss: products round, weights and sums do not."""
    wide, narrow = _curve(folder, Machine()), _curve(folder, Machine(compute="bf16"))
    assert wide[-1] < wide[0] / 2
    assert wide != narrow
    assert max(abs(a - b) for a, b in zip(wide, narrow, strict=True)) < 0.05


@pytest.mark.parametrize("trainable", [True, False])
def test_changed_weights_are_seen_at_once(folder: Path, trainable: bool) -> None:
    """Copies in the compute type never outlive the weights they were made from, even for a fused optimizer's silent step."""
    policy = Policy.load(folder, Machine(compute="bf16"), trainable=True)
    policy.model.requires_grad_(trainable)
    sequences = fixed_rows()
    before = policy.logprobs(sequences).detach()
    with torch.no_grad():
        for weight in policy.model.model.layers.parameters():
            weight.mul_(1.5)
    after = policy.logprobs(sequences).detach()
    assert not torch.equal(before, after)
    if trainable:
        policy.logprobs(sequences).sum().backward()
        torch.optim.AdamW(policy.model.model.layers.parameters(), lr=0.1, fused=True).step()
        assert (policy.logprobs(sequences).detach() - after).abs().max() > 0.1


def test_two_graphs_of_one_policy_live_together(folder: Path) -> None:
    policy = Policy.load(folder, Machine(compute="bf16"), trainable=True)
    first, second = policy.logprobs(fixed_rows()), policy.logprobs(fixed_rows())
    (first.sum() + second.sum()).backward()
    assert all(weight.grad is not None for weight in policy.model.parameters())
