"""Layouts of packed documents for the kernels of accelerators, computed here by plain attention over the same layout."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from burnish.errors import MissingExtra, RecipeError
from burnish.model.attention import Documents, packed_attention
from burnish.model.gpu_attention import BLOCK, Blocks, Ragged, Spans, flash_kernel, layout_attention
from burnish.pipeline.machine import Machine, one_gpu

# flex_attention says once a process that it is slow without a compiler.
pytestmark = pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")


def plain_kernel(
    query_NHE: Tensor, key_MKE: Tensor, value_MKE: Tensor, spans: Spans, scaling: float, window: int | None
) -> Tensor:
    """What FlashAttention computes over documents of any length, one document and one matrix at a time."""
    out = torch.empty_like(query_NHE)
    group = query_NHE.shape[1] // key_MKE.shape[1]
    q_bounds, k_bounds = spans.query_starts.tolist(), spans.key_starts.tolist()
    for i in range(len(q_bounds) - 1):
        q = query_NHE[q_bounds[i] : q_bounds[i + 1]].transpose(0, 1)
        k, v = (
            x[k_bounds[i] : k_bounds[i + 1]].transpose(0, 1).repeat_interleave(group, 0) for x in (key_MKE, value_MKE)
        )
        assert q.shape[1] <= spans.longest_query
        assert k.shape[1] <= spans.longest_key
        row = torch.arange(q.shape[1])[:, None] + k.shape[1] - q.shape[1]
        column = torch.arange(k.shape[1])
        seen = (column <= row) if window is None else (column <= row) & (row - column < window)
        scores = (q @ k.transpose(1, 2) * scaling).masked_fill(~seen, -torch.inf)
        out[q_bounds[i] : q_bounds[i + 1]] = (scores.softmax(-1) @ v).transpose(0, 1)
    return out


def seen_pairs(lengths: list[int], parents: list[int | None], window: int | None) -> Tensor:
    """[N, N] whether a token sees another, from the definition, token by token."""
    tokens = [(i, t) for i, length in enumerate(lengths) for t in range(length)]
    seen = torch.zeros(len(tokens), len(tokens), dtype=torch.bool)
    for row, (i, t) in enumerate(tokens):
        path = [i]
        while (parent := parents[path[0]]) is not None:
            path.insert(0, parent)
        # What the token sees, in order: the documents continued, then its own up to itself; the last `window` of them.
        sight = [(j, s) for j in path for s in range(t + 1 if j == i else lengths[j])]
        for pair in sight if window is None else sight[-window:]:
            seen[row, tokens.index(pair)] = True
    return seen


def states(tokens: int, gradients: bool = True) -> tuple[Tensor, Tensor, Tensor]:
    """Queries of 4 heads, keys and values of 2, 16 wide."""
    g = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, heads, tokens, 16, generator=g, dtype=torch.float64) for heads in (4, 2, 2))
    return q.requires_grad_(gradients), k.requires_grad_(gradients), v.requires_grad_(gradients)


def reference(q: Tensor, k: Tensor, v: Tensor, seen: Tensor) -> Tensor:
    group = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
    scores = (q @ k.transpose(2, 3) / 4).masked_fill(~seen, -torch.inf)
    return (scores.softmax(-1) @ v).transpose(1, 2)


def made(kind: str, lengths: list[int], parents: list[int | None]) -> Ragged | Blocks:
    return Ragged.of(lengths, "cpu", plain_kernel, parents) if kind == "ragged" else Blocks.of(lengths, "cpu", parents)


CASES: list[tuple[list[int], list[int | None]]] = [
    ([5, 3, 9], [None, None, None]),
    ([1], [None]),
    ([6, 4, 3, 8, 5, 2], [None, 0, 0, None, 3, 3]),  # prompt, chosen, rejected; twice
    ([0, 4, 3], [None, None, 1]),
    ([4, 3, 5, 2, 6], [None, 0, 1, 1, 0]),  # a reply that two others continue
    ([3, 0, 4], [None, 0, 0]),
]


@pytest.mark.parametrize("window", [None, 1, 4])
@pytest.mark.parametrize(("lengths", "parents"), CASES, ids=lambda x: str(x))
@pytest.mark.parametrize("kind", ["ragged", "blocks"])
def test_every_layout_is_attention_under_the_definition(
    kind: str, lengths: list[int], parents: list[int | None], window: int | None
) -> None:
    """Values, and gradients of queries, keys and values: flex attention has those on CUDA only (tests/gpu)."""
    q, k, v = states(sum(lengths), gradients=kind == "ragged")
    found = layout_attention(q, k, v, made(kind, lengths, parents), None, window)
    expected = reference(q, k, v, seen_pairs(lengths, parents, window))
    assert torch.allclose(found, expected, atol=1e-12, rtol=0)
    if kind == "blocks":
        return
    slope = torch.linspace(-1, 1, found.numel(), dtype=torch.float64).view(found.shape)
    ours = torch.autograd.grad((found * slope).sum(), (q, k, v))
    theirs = torch.autograd.grad((expected * slope).sum(), (q, k, v))
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.allclose(mine, other, atol=1e-12, rtol=0)


@given(
    st.lists(st.integers(0, 300), min_size=1, max_size=5),
    st.lists(st.booleans(), min_size=5, max_size=5),
    st.sampled_from([None, 1, 50, 200]),
)
@settings(max_examples=25, deadline=None)
def test_blocks_are_those_of_the_dense_mask(lengths: list[int], continues: list[bool], window: int | None) -> None:
    """A block is read whole only where every pair is seen, is skipped only where none is, and the rule fills the rest."""
    parents: list[int | None] = [i // 2 if i and continues[i] else None for i in range(len(lengths))]
    tokens = sum(lengths)
    if not tokens:
        return
    blocks = Blocks.of(lengths, "cpu", parents)
    mask, count = blocks.mask(window), -(-tokens // BLOCK)
    query, key = torch.arange(tokens)[:, None], torch.arange(tokens)
    rule = blocks.sees(window)(torch.tensor(0), torch.tensor(0), query, key)
    padded = torch.zeros(count * BLOCK, count * BLOCK, dtype=torch.bool)
    padded[:tokens, :tokens] = rule
    tiles = padded.view(count, BLOCK, count, BLOCK).transpose(1, 2)
    partial, full = (
        _dense(*pair, count) for pair in ((mask.kv_num_blocks, mask.kv_indices), (mask.full_kv_num_blocks, mask.full_kv_indices))
    )  # fmt: skip
    assert not bool((partial & full).any())
    assert not bool((tiles.any(-1).any(-1) & ~(partial | full)).any())
    assert bool(tiles.all(-1).all(-1)[full].all())
    if window is None and not any(parent is not None for parent in parents):
        # No block is asked pair by pair that could be read whole, nor read for nothing.
        assert torch.equal(full, tiles.all(-1).all(-1))
        assert torch.equal(partial | full, tiles.any(-1).any(-1))


def _dense(numbers: Tensor, indices: Tensor, count: int) -> Tensor:
    found = torch.zeros(count, count, dtype=torch.bool)
    for row in range(count):
        found[row, indices[0, 0, row, : numbers[0, 0, row]].long()] = True
    return found


@pytest.mark.parametrize("kind", ["ragged", "blocks"])
def test_layouts_agree_with_grouped_attention(kind: str) -> None:
    lengths = [140, 7, 90, 33]
    q, k, v = states(sum(lengths), gradients=False)
    grouped = packed_attention(q, k, v, Documents.of(lengths))
    found = layout_attention(q, k, v, made(kind, lengths, [None] * 4), None, None)
    assert torch.allclose(found, grouped, atol=1e-12, rtol=0)


def test_other_documents_are_not_noticed() -> None:
    """Changing everything in a document leaves the others' bits alone, in values and gradients."""
    lengths = [20, 30, 10]

    def outcome(noise: float) -> list[Tensor]:
        q, k, v = states(60)
        with torch.no_grad():
            for x in (q, k, v):
                x[:, :, 20:50] += noise
        out = layout_attention(q, k, v, made("ragged", lengths, [None] * 3), None, None)
        grads = torch.autograd.grad(out[:, 50:].sum() + out[:, :20].sum(), (q, k, v))
        return [out[:, :20], out[:, 50:], *(g[:, :, :20] for g in grads), *(g[:, :, 50:] for g in grads)]

    for before, after in zip(outcome(0.0), outcome(3.0), strict=True):
        assert torch.equal(before, after)


def test_a_document_may_not_continue_a_later_one_or_itself() -> None:
    for parents in ([1, None, None], [0, None, None], [None, 2, None]):
        with pytest.raises(ValueError, match="must come before"):
            Blocks.of([2, 2, 2], "cpu", parents)


def test_machine_names_the_attention_it_means(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Machine().packed_attention == "sdpa"
    assert Machine(device="cuda").packed_attention == "sdpa"  # float32 has no FlashAttention
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert one_gpu().packed_attention == "varlen"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name == "flash_attn" or None)
    assert one_gpu().packed_attention == "flash"


def test_missing_flash_attention_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    flash_kernel.cache_clear()
    with pytest.raises(MissingExtra, match=r"burnish\[flash\]"):
        flash_kernel()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"attention": "varlen"}, "bf16 on CUDA"),
        ({"attention": "flash", "device": "cuda"}, "attention='auto'"),
        ({"attention": "flex"}, "no backward pass"),
        ({"kernels": "liger"}, "device='cpu'"),
        ({"offload": "activations"}, "recompute='layers'"),
        ({"offload": "both", "recompute": "attention"}, "recompute='layers'"),
    ],
)
def test_settings_that_exclude_each_other_are_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        Machine(**wrong)
