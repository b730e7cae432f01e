"""The compiled loops against float64 arithmetic and torch's operations, and what they must not depend on."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from burnish.core.types import Completion, user
from burnish.model.policy import Policy
from burnish.model.toy import make_toy
from burnish.pipeline.machine import exact
from burnish.rollout import llama_forward, sampler
from burnish.rollout.cache import Cache, Running, Shape
from burnish.rollout.compiled.steps import CompiledRows, CompiledStep, compiles, draw
from burnish.rollout.engine import Request, Sampling
from burnish.rollout.rows import TorchRows
from burnish.rollout.torch_engine import TorchEngine
from burnish.testing.engine_laws import check_engine

pytestmark = pytest.mark.skipif(not compiles(), reason="needs numba (extra `fast`) and torch with OpenMP")
MACHINE = replace(exact(), slots=5, compute="bf16")
BF16 = torch.bfloat16
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def close(found: Tensor, wanted: Tensor) -> bool:
    """Equal but for the rounding to bfloat16, 2^-8 of the number, and what cancels in sums near 0."""
    return bool(((found.double() - wanted.double()).abs() <= 2**-8 * wanted.double().abs() + 2e-3).all())


def angles(width: int) -> tuple[Tensor, Tensor]:
    """Cos and signed sin [64, 1, E], each half twice, as the forward pass lays them out."""
    turn = randn(64, 1, width // 2, seed=7)
    return torch.cat([turn.cos(), turn.cos()], -1), torch.cat([-turn.sin(), turn.sin()], -1)


@pytest.mark.parametrize("width", [16, 24, 64, 128])
@pytest.mark.parametrize("normed", [False, True])
def test_rows_equal_torchs_operations(width: int, normed: bool) -> None:
    """Rows 1 to 9 of three widths: sums, norms, rotation and gates as torch makes them, but for rounding."""
    heads, kv_heads, eps = 3, 1, 1e-5
    ours, torchs = CompiledRows(heads, kv_heads, eps), TorchRows(heads, BF16, eps)
    norms = (randn(width, seed=5), randn(width, seed=6)) if normed else None
    for n in (1, 4, 9):
        x, y, weight = randn(n, 40), randn(n, 40, seed=1).to(BF16), randn(40, seed=2)
        assert close(ours.normed(x, weight), torchs.normed(x, weight))
        left, right = x.clone(), x.clone()
        assert close(ours.added(left, y, weight), torchs.added(right, y, weight))
        assert torch.equal(left, right)
        fused, places = randn(n, 5 * width, seed=3).to(BF16), torch.arange(n) * 7 % 64
        found = ours.rotated(fused, places, angles(width), norms)
        wanted = torchs.rotated(fused, places, angles(width), norms)
        assert all(close(a, b) for a, b in zip(found, wanted, strict=True))
        both = randn(n, 2 * 24, seed=4).to(BF16) * 8
        gate, up = both.double().chunk(2, -1)
        assert close(ours.gated(both), torch.nn.functional.silu(gate) * up)


def filled(lengths: list[int], width: int, kv_heads: int, cut: int = 0) -> Cache:
    """A cache with these sequences, two layers; with `cut` their first positions lie outside, in pieces."""
    cache = Cache(Shape(2, kv_heads, width, BF16, CPU), slots=len(lengths), apart=False)
    for i, length in enumerate(lengths):
        kv = randn(2, 2, kv_heads, length, width, seed=i).to(BF16)
        trunk = (kv[..., : cut // 3, :].contiguous(), kv[..., cut // 3 : cut, :].contiguous()) if cut else ()
        cache.add(Running(i, length, 0, trunk), [kv[..., cut:, :]])
    return cache


def attended(cache: Cache, q: Tensor, k: Tensor, v: Tensor) -> dict[int, Tensor]:
    """Attention in layer 1 by sequence; q, k and v are given by sequence too."""
    order = [r.index for r in cache.order]
    step = CompiledStep(cache, q.shape[1], 0.3)
    out = step.attend(1, q[order], k[order], v[order])
    return dict(zip(order, out.clone(), strict=True))


@pytest.mark.parametrize(("heads", "kv_heads", "width"), [(9, 3, 64), (2, 2, 128), (4, 1, 24), (5, 1, 64)])
def test_attention_equals_float64_and_no_bit_depends_on_place(heads: int, kv_heads: int, width: int) -> None:
    """Softmax over a sequence's own positions and the new one; cut in pieces, alone, or by two threads: the same bits."""
    lengths = [30, 61, 64, 131, 300, 517]
    q, k, v = (randn(6, n, width, seed=20 + n).to(BF16) for n in (heads, kv_heads, kv_heads + 10))
    v = v[:, :kv_heads].contiguous()
    found = attended(filled(lengths, width, kv_heads), q, k, v)
    for i, length in enumerate(lengths):
        kv = randn(2, 2, kv_heads, length, width, seed=i).to(BF16)[1].double()
        keys, values = (torch.cat([kv[j], new[i].double()[:, None]], 1) for j, new in enumerate((k, v)))
        grouped = q[i].double().view(kv_heads, -1, width)
        shares = (torch.einsum("kge,kte->kgt", grouped, keys) * 0.3).softmax(-1)
        assert close(found[i], torch.einsum("kgt,kte->kge", shares, values).flatten())
    cut = attended(filled(lengths, width, kv_heads, cut=29), q, k, v)
    torch.set_num_threads(2)
    both = attended(filled(lengths, width, kv_heads), q, k, v)
    torch.set_num_threads(1)
    for i, length in enumerate(lengths):
        assert torch.equal(cut[i], found[i])
        assert torch.equal(both[i], found[i])
        alone = filled(lengths[: i + 1], width, kv_heads)
        for other in alone.order:
            if other.index != i:
                alone.remove(other)
        assert torch.equal(attended(alone, q, k, v)[i], found[i]), length


def test_new_keys_and_values_are_kept() -> None:
    """After a step the cache holds them at the next position, and nothing else has changed."""
    cache = filled([5, 63], 64, 1)
    q, k, v = randn(2, 1, 64).to(BF16), randn(2, 1, 64, seed=1).to(BF16), randn(2, 1, 64, seed=2).to(BF16)
    attended(cache, q, k, v)
    for running in cache.order:
        assert running.shelf is not None
        held = torch.cat(running.shelf.read(running.row, running.length + 1), 3)
        before = randn(2, 2, 1, running.length, 64, seed=running.index).to(BF16)
        assert torch.equal(held[..., :-1, :], before)
        assert torch.equal(held[1, 0, :, -1], k[running.index])
        assert torch.equal(held[1, 1, :, -1], v[running.index])
        assert not held[0, :, :, -1].any()


def test_draw_by_hand() -> None:
    """Logits 0, ln 2, 0 (bfloat16 0.6914: 2 within 0.2 %): shares 1/4, 1/2, 1/4. Numbers 0.2, 0.3, 0.7, 0.8 fall on tokens 0, 1,
    1, 2. The likeliest is token 1; of equals the first.
    """
    logits = torch.tensor([[0.0, math.log(2), 0.0]]).to(BF16)
    tokens, logps = draw(logits.repeat(5, 1), [1.0, 1.0, 1.0, 1.0, 0.0], [0.2, 0.3, 0.7, 0.8, 0.9])
    assert tokens == [0, 1, 1, 2, 1]
    assert logps == pytest.approx(
        [math.log(0.25), math.log(0.5), math.log(0.5), math.log(0.25), math.log(0.5)], abs=2e-3
    )
    tokens, logps = draw(torch.zeros(1, 700, dtype=BF16), [0.0], [0.0])
    assert tokens == [0]
    assert logps == pytest.approx([-math.log(700)], abs=1e-5)


def test_a_logit_that_is_not_a_number_shows() -> None:
    """In the log-prob of its own row, wherever it stands, and in no other's."""
    logits = randn(3, 600).to(BF16)
    logits[1, 599] = torch.nan
    _, logps = draw(logits, [1.0, 1.0, 0.0], [0.5] * 3)
    assert [math.isnan(x) for x in logps] == [False, True, False]


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 900), st.integers(0, 10**6), st.sampled_from([0.0, 0.5, 1.0, 1.7]), st.floats(0.1, 30.0))
def test_draws_equal_the_samplers(vocabulary: int, seed: int, temperature: float, spread: float) -> None:
    """The token torch's sampler draws, except within 1e-5 of a boundary between two; its log-prob within 1e-5."""
    logits = (randn(4, vocabulary, seed=seed) * spread).to(BF16)
    asked, seeds = [Sampling(temperature=temperature)] * 4, list(range(seed, seed + 4))
    tokens, logps = sampler.sample(logits, asked, seeds, [3] * 4)
    shares = (logits.double() / (temperature or 1.0)).softmax(-1)
    for row, (token, logp) in enumerate(zip(tokens, logps, strict=True)):
        assert logp == pytest.approx(float(shares[row, token].log()), abs=1e-5)
        number = sampler.uniforms([seeds[row]], [3])[0]
        above = float(shares[row, : token + 1].sum())
        if temperature:
            assert above - float(shares[row, token]) - 1e-5 <= number <= above + 1e-5
        else:
            assert token == int(logits[row].float().argmax())


def test_a_row_is_drawn_the_same_beside_any_other() -> None:
    """Plain rows take the compiled loop, one with top-p does not: neither changes beside the other."""
    logits = (randn(6, 3000) * 3).to(BF16)
    asked = [
        Sampling(temperature=0.8),
        Sampling(top_p=0.7),
        Sampling(),
        Sampling(top_k=9),
        Sampling(min_p=0.1),
        Sampling(),
    ]
    seeds = list(range(6))
    tokens, logps = sampler.sample(logits, asked, seeds, seeds)
    for row in range(6):
        part = slice(row, row + 1)
        alone = sampler.sample(logits[part], asked[part], seeds[part], seeds[part])
        assert alone == (tokens[part], logps[part])


@pytest.fixture(scope="module", params=[16, 64], ids=["any-width", "width-64"])
def policy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Policy:
    folder = make_toy(tmp_path_factory.mktemp("toy") / "model", head_dim=request.param)
    return Policy.load(folder, MACHINE)


def asked_of(policy: Policy, count: int, tokens: int) -> list[Request]:
    """Groups of three samples of a prompt; two of the prompts begin alike."""
    begin = "A long beginning that two of the prompts share, word for word, before they part. " * 4
    prompts = [policy.renderer.prompt(user(text)) for text in ("a", begin + "One?", begin + "Two?")]
    return [Request(prompts[i // 3 % 3], Sampling(max_tokens=2 + i * 37 % tokens), 100 + i) for i in range(count)]


def test_engine_keeps_its_laws_to_the_bit(policy: Policy) -> None:
    check_engine(TorchEngine(policy, MACHINE), asked_of(policy, 9, 70), tolerance=0.0)


def logprob_gap(left: list[Completion], right: list[Completion]) -> float:
    """The largest difference before two replies part."""
    gaps = [0.0]
    for a, b in zip(left, right, strict=True):
        for s, t, x, y in zip(a.token_ids, b.token_ids, a.logprobs, b.logprobs, strict=False):
            if s != t:
                break
            gaps.append(abs(x - y))
    return max(gaps)


def test_without_numba_the_engine_says_the_same_to_rounding(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine without the extra: torch's operations, bfloat16's rounding apart."""
    asked = asked_of(policy, 6, 40)
    found = TorchEngine(policy, MACHINE).generate(asked)
    monkeypatch.setattr(llama_forward, "compiles", lambda: False)
    monkeypatch.setattr(sampler, "compiles", lambda: False)
    plain = TorchEngine(policy, MACHINE).generate(asked)
    assert logprob_gap(found, plain) < 0.05
    assert sum(a.token_ids[0] == b.token_ids[0] for a, b in zip(found, plain, strict=True)) >= 4
