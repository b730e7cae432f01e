"""The same numbers on a CUDA device as on the CPU: float32 tightly, bfloat16 loosely, packed documents apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from gpu_rows import gradients, on, rows, worst
from torch import Tensor

from burnish.model.gpu_attention import layout, layout_attention
from burnish.model.policy import Policy

DOCUMENTS: tuple[list[int], list[int | None]] = ([140, 33, 5, 260, 90, 120], [None, 0, 0, None, 3, 3])
# Narrow numbers have 8 bits of fraction; the layers' roundings add up to a few hundredths of a gradient's size.
BF16, FP32 = 5e-2, 1e-4
KINDS: list[Any] = [
    "sdpa",
    "varlen",
    "flex",
    pytest.param("flash", marks=pytest.mark.skipif("not __import__('importlib').util.find_spec('flash_attn')")),
]


def load(folder: Path, device: str, **settings: Any) -> Policy:
    policy = Policy.load(folder, on(device, **settings), trainable=True)
    assert policy.packs, "the model fell back to padded batches"
    return policy


@pytest.fixture(scope="module")
def expected(toy: Path) -> dict[str, Tensor]:
    return gradients(load(toy, "cpu"), rows())


def test_float32_equals_the_cpu(toy: Path, device: str, expected: dict[str, Tensor]) -> None:
    assert worst(gradients(load(toy, device), rows()), expected) < FP32


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_is_near_the_cpu(toy: Path, cuda: str, kind: str, expected: dict[str, Tensor]) -> None:
    assert worst(gradients(load(toy, cuda, compute="bf16", attention=kind), rows()), expected) < BF16


def test_flex_attention_in_float32_equals_the_cpu(toy: Path, cuda: str, expected: dict[str, Tensor]) -> None:
    assert worst(gradients(load(toy, cuda, attention="flex"), rows()), expected) < 1e-3


@pytest.mark.parametrize("attention", ["sdpa", "varlen", "flex"])
@pytest.mark.parametrize("recompute", ["none", "attention", "layers"])
def test_compiled_layers_are_near_the_cpu(
    toy: Path, cuda: str, attention: str, recompute: str, expected: dict[str, Tensor]
) -> None:
    policy = load(toy, cuda, compute="bf16", attention=attention, recompute=recompute, kernels="compiled")
    assert worst(gradients(policy, rows()), expected) < BF16


def test_lengths_share_compilations(toy: Path, cuda: str) -> None:
    from torch._dynamo.utils import counters

    policy = load(toy, cuda, compute="bf16", attention="varlen", kernels="compiled")
    for seed in range(3):
        gradients(policy, rows((50 + 170 * seed, 20), seed))
    graphs = counters["stats"]["unique_graphs"]
    for seed in range(3, 6):
        gradients(policy, rows((50 + 170 * seed, 20), seed))
    assert counters["stats"]["unique_graphs"] == graphs


def test_liger_is_near_the_cpu(toy: Path, cuda: str, expected: dict[str, Tensor]) -> None:
    pytest.importorskip("liger_kernel")
    assert worst(gradients(load(toy, cuda, compute="bf16", kernels="liger"), rows()), expected) < BF16


@pytest.mark.parametrize("kind", ["sdpa", "varlen", "flex"])
def test_other_documents_are_not_noticed(toy: Path, device: str, kind: str) -> None:
    """Rows 0 to 3 have the same bits, or nearly, whatever the rows beside them say."""
    if device == "cpu" and kind != "sdpa":
        pytest.skip("these kernels need a CUDA device")
    policy = load(toy, device, compute="bf16" if kind != "sdpa" else "fp32", attention=kind)
    one, other = rows(seed=0), rows(seed=0)
    other.tokens_BT[4:] = rows(seed=5).tokens_BT[4:]
    with torch.no_grad():
        a, b = policy.logprobs(one), policy.logprobs(other)
    assert not torch.equal(a[4:], b[4:])
    assert float((a[:4] - b[:4]).abs().max()) < 1e-5


@pytest.mark.parametrize("kind", ["sdpa", "varlen", "flex"])
def test_equal_beginnings_are_computed_once_and_right(toy: Path, device: str, kind: str) -> None:
    if device == "cpu" and kind != "sdpa":
        pytest.skip("these kernels need a CUDA device")
    narrow = kind != "sdpa"
    shared = rows((90, 60, 130, 70), seed=3, shared=50)
    found = gradients(load(toy, device, compute="bf16" if narrow else "fp32", attention=kind), shared)
    alone = load(toy, "cpu")
    with torch.no_grad():
        parts = [alone.logprobs(shared.take(torch.tensor([i]))) for i in range(4)]
    assert float((found["logprobs"] - torch.cat(parts)).abs().max()) < (0.2 if narrow else 1e-4)
    assert worst(found, gradients(alone, shared)) < (BF16 if narrow else FP32)


@pytest.mark.parametrize("window", [None, 50])
@pytest.mark.parametrize(
    ("kind", "dtype"), [("varlen", torch.bfloat16), ("flex", torch.bfloat16), ("flex", torch.float32)]
)
def test_kernels_are_attention_under_the_definition(
    cuda: str, kind: Any, dtype: torch.dtype, window: int | None
) -> None:
    """Values and gradients of documents that continue others, against plain attention in float64 on the CPU."""
    lengths, parents = DOCUMENTS
    g = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, heads, sum(lengths), 64, generator=g).to(dtype) for heads in (4, 2, 2))
    slope = torch.randn(1, sum(lengths), 4, 64, generator=g).to(dtype)

    def outcome(device: str, wide: torch.dtype) -> dict[str, Tensor]:
        query, key, value = inputs = [x.to(device, wide).requires_grad_() for x in (q, k, v)]
        if device == "cuda":
            made = layout(kind, lengths, torch.device(device), parents)
            out = layout_attention(query, key, value, made, None, window)
        else:
            out = plain(query, key, value, _seen(lengths, parents, window))
        grads = torch.autograd.grad((out * slope.to(device, wide)).sum(), inputs)
        return {name: x.detach().double().cpu() for name, x in zip("oqkv", (out, *grads), strict=True)}

    assert worst(outcome("cuda", dtype), outcome("cpu", torch.float64)) < (2e-2 if dtype == torch.bfloat16 else 1e-4)


def plain(q: Tensor, k: Tensor, v: Tensor, seen: Tensor) -> Tensor:
    k, v = k.repeat_interleave(2, 1), v.repeat_interleave(2, 1)
    return ((q @ k.transpose(2, 3) / 8).masked_fill(~seen, -torch.inf).softmax(-1) @ v).transpose(1, 2)


def _seen(lengths: list[int], parents: list[int | None], window: int | None) -> Tensor:
    """[N, N] whether a token sees another: the last `window` tokens of what its document continues and itself."""
    seen = torch.zeros(sum(lengths), sum(lengths), dtype=torch.bool)
    starts = [sum(lengths[:i]) for i in range(len(lengths))]
    for i, length in enumerate(lengths):
        parent = parents[i]
        before = [] if parent is None else list(range(starts[parent], starts[parent] + lengths[parent]))
        for t in range(length):
            sight = before + list(range(starts[i], starts[i] + t + 1))
            seen[starts[i] + t, sight if window is None else sight[-window:]] = True
    return seen


def test_peak_memory_falls_with_recomputation(toy: Path, cuda: str) -> None:
    peaks = []
    for recompute in ("none", "attention", "layers"):
        policy = load(toy, cuda, compute="bf16", recompute=recompute)
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        gradients(policy, rows((1500,) * 8))
        peaks.append(torch.cuda.max_memory_allocated() - before)
        del policy
    assert peaks[2] < peaks[1] < peaks[0]
