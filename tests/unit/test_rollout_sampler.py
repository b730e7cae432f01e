"""Draws and log-probabilities against arithmetic done by hand and against the plain formulas."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.rollout.engine import GREEDY, Sampling
from burnish.rollout.sampler import BLOCK, sample, uniforms

torch.set_num_threads(1)
ONE = Sampling()


def splitmix(seed: int, step: int) -> float:
    """The same number in plain integers."""
    top = (1 << 64) - 1

    def mix(x: int) -> int:
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & top
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB & top
        return x ^ (x >> 31)

    return (mix((mix(seed & top) + (step + 1) * 0x9E3779B97F4A7C15) & top) >> 11) / 2**53


@given(st.integers(-(2**70), 2**70), st.integers(0, 10_000))
def test_uniform_depends_on_seed_and_step_alone(seed: int, step: int) -> None:
    alone = uniforms([seed], [step])
    among = uniforms([3, seed, 5], [0, step, 9])
    assert alone == [among[1]] == [splitmix(seed, step)]
    assert 0.0 <= alone[0] < 1.0


def test_uniforms_are_uniform() -> None:
    """Mean 1/2 and variance 1/12 over 40,000 draws, to five standard errors; neighbouring seeds are not correlated."""
    draws = torch.tensor(uniforms([s for s in range(200) for _ in range(200)], list(range(200)) * 200)).view(200, 200)
    assert abs(float(draws.mean()) - 0.5) < 5 * math.sqrt(1 / 12 / 40_000)
    assert abs(float(draws.var()) - 1 / 12) < 0.002
    assert float(torch.corrcoef(torch.stack([draws[:-1].flatten(), draws[1:].flatten()]))[0, 1]) < 5 / math.sqrt(39_800)


def test_logprob_by_hand() -> None:
    """Logits (log 1, log 3) at temperature 1: p = (1/4, 3/4). At temperature 1/2: (1/10, 9/10). Greedy: 3/4."""
    logits = torch.tensor([[0.0, math.log(3.0)]])
    for setting, share in ((ONE, (0.25, 0.75)), (Sampling(temperature=0.5), (0.1, 0.9))):
        seen = set()
        for seed in range(40):
            (token,), (logp,) = sample(logits, [setting], [seed], [0])
            assert logp == pytest.approx(math.log(share[token]), abs=1e-6)
            assert token == (uniforms([seed], [0])[0] >= share[0])
            seen.add(token)
        assert seen == {0, 1}
    assert sample(logits, [GREEDY], [0], [0]) == ([1], [pytest.approx(math.log(0.75), abs=1e-6)])


def test_cuts_by_hand() -> None:
    """p = (0.4, 0.3, 0.2, 0.1). Top-k 2 leaves (4/7, 3/7). Top-p 0.5 leaves 0.4 and 0.3 (0.4 < 0.5), 0.69 the same,
    0.71 three: (4/9, 3/9, 2/9). Top-k 2, then top-p 0.5: 4/7 > 0.5, so one token, log-prob 0."""
    logits = torch.tensor([[0.4, 0.3, 0.2, 0.1]]).log()

    def distribution(setting: Sampling) -> dict[int, float]:
        found: dict[int, float] = {}
        for seed in range(200):
            (token,), (logp,) = sample(logits, [setting], [seed], [3])
            found[token] = round(math.exp(logp), 5)
        return found

    assert distribution(Sampling(top_k=2)) == {0: round(4 / 7, 5), 1: round(3 / 7, 5)}
    assert distribution(Sampling(top_p=0.5)) == {0: round(4 / 7, 5), 1: round(3 / 7, 5)}
    assert distribution(Sampling(top_p=0.69)) == {0: round(4 / 7, 5), 1: round(3 / 7, 5)}
    assert distribution(Sampling(top_p=0.71)) == {0: round(4 / 9, 5), 1: round(3 / 9, 5), 2: round(2 / 9, 5)}
    assert distribution(Sampling(top_k=2, top_p=0.5)) == {0: 1.0}


def test_top_p_of_equals_keeps_its_share() -> None:
    """Ties must not widen the nucleus: of 3,000 equal tokens top-p 0.5 keeps 1,500, more than its first look."""
    logits = torch.zeros(1, 3000)
    _, (logp,) = sample(logits, [Sampling(top_p=0.5)], [1], [0])
    assert logp == pytest.approx(-math.log(1500), abs=1e-5)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 3 * BLOCK + 5), st.integers(0, 10**6), st.sampled_from([0.0, 0.3, 1.0, 1.7]), st.integers(0, 9),
    st.sampled_from([1.0, 0.9, 0.2]), st.booleans(),
)  # fmt: skip
def test_a_row_is_drawn_as_if_alone(
    vocabulary: int, seed: int, temperature: float, top_k: int, top_p: float, narrow: bool
) -> None:
    """Against the plain formula, and with other rows around; vocabularies that are no multiple of the block included."""
    generator = torch.Generator().manual_seed(seed)
    logits = 4 * torch.randn(3, vocabulary, generator=generator)
    if narrow:
        logits = logits.bfloat16()
    before = logits.clone()
    setting = Sampling(temperature=temperature, top_k=top_k, top_p=top_p)
    together = sample(logits, [GREEDY, setting, ONE], [1, seed, 2], [0, 5, 7])
    alone = sample(logits[1:2], [setting], [seed], [5])
    assert torch.equal(logits, before)
    assert (together[0][1], together[1][1]) == (alone[0][0], alone[1][0])
    token, logp = alone[0][0], alone[1][0]
    row = logits[1].float()
    if temperature == 0.0:
        assert token == int(row.argmax())
        assert logp == pytest.approx(float(row.log_softmax(-1)[token]), abs=1e-5)
    elif not top_k and top_p == 1.0:
        plain = (row.double() / temperature).softmax(-1)
        assert logp == pytest.approx(float(plain[token].log()), abs=1e-4)
        u = uniforms([seed], [5])[0]
        assert float(plain[:token].sum()) - 1e-5 <= u <= float(plain[: token + 1].sum()) + 1e-5
    elif top_k:
        assert float(row[token]) >= float(row.sort(descending=True).values[min(top_k, vocabulary) - 1])


def test_a_token_of_probability_zero_is_never_drawn() -> None:
    """Only token 700 is possible, in the third block of a vocabulary whose last block is short."""
    logits = torch.full((1, 2 * BLOCK + 200), -torch.inf)
    logits[0, 700] = 3.0
    for seed in range(50):
        assert sample(logits, [ONE], [seed], [0]) == ([700], [0.0])


def test_draws_follow_the_distribution() -> None:
    """Chi-square of 20,000 draws over 6 tokens in 3 blocks: 5 degrees of freedom, 99.99 % quantile 25.7."""
    shares = torch.tensor([0.05, 0.1, 0.15, 0.2, 0.25, 0.25])
    places = torch.tensor([0, 5, BLOCK - 1, BLOCK, 2 * BLOCK, 2 * BLOCK + 9])
    logits = torch.full((1, 2 * BLOCK + 10), -torch.inf)
    logits[0, places] = shares.log()
    tokens, _ = sample(logits.expand(20_000, -1), [ONE] * 20_000, list(range(20_000)), [0] * 20_000)
    counts = torch.bincount(torch.tensor(tokens), minlength=2 * BLOCK + 10)[places]
    expected = shares * 20_000
    assert int(counts.sum()) == 20_000
    assert float(((counts - expected) ** 2 / expected).sum()) < 25.7
