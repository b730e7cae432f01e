"""Tokens drawn from logits, one row a sequence, and the log-probability of each under what it was drawn from.

The random number of token t of a request depends on (seed, t) alone, and a row's token on that number and its own
logits: neighbours, order and batch size cannot change it.

Shapes: B rows, V vocabulary, C blocks of the vocabulary, W tokens in a block. Log-probs in nats, float32.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from burnish.rollout.compiled.steps import compiles, draw
from burnish.rollout.engine import Sampling

# The inverse-CDF search runs over sums of this many tokens first: one pass over the vocabulary instead of a long cumsum.
BLOCK = 256
# Nucleus sampling looks at this many of the likeliest tokens before it sorts the whole vocabulary.
HEAD = 1024


def uniforms(seeds: Sequence[int], steps: Sequence[int]) -> list[float]:
    """A number in [0, 1) for each (seed, step): SplitMix64 of the seed, stepped, in 53 bits.

    Source: Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, OOPSLA 2014.
    """
    seed = np.array([s & 0xFFFFFFFFFFFFFFFF for s in seeds], dtype=np.uint64)
    step = np.array(steps, dtype=np.uint64)
    # Mixing the seed before the counter keeps neighbouring seeds from sharing a shifted stream.
    mixed = _mix(_mix(seed) + (step + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15))
    numbers: list[float] = ((mixed >> np.uint64(11)) * 2.0**-53).tolist()
    return numbers


def _mix(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: npt.NDArray[np.uint64] = x ^ (x >> np.uint64(31))
    return mixed


def sample(
    logits_BV: Tensor,
    samplings: Sequence[Sampling],
    seeds: Sequence[int],
    steps: Sequence[int],
    *,
    seen: Sequence[Collection[int]] = (),
    barred: Sequence[Collection[int]] = (),
) -> tuple[list[int], list[float]]:
    """(tokens, log-probs) of one draw a row.

    Logits get their bias, their repetition penalty and minus infinity for barred tokens. The distribution is
    softmax(logits / temperature), cut to the top k, of those to the top p, and by min_p, and made to sum to 1; the
    log-probability is that of the token under it. Temperature 0 takes the likeliest token (the first of equals) and
    gives its log-probability at temperature 1.

    seen:   for each row the tokens its repetition penalty bears on, or () where no row has one.
    barred: for each row the tokens that must not be drawn, or () for none anywhere.
    """
    plain = _plain_rows(logits_BV, samplings, barred)
    if len(plain) == len(samplings):
        return _draw_plain(logits_BV, samplings, seeds, steps)
    if plain:
        return _sample_apart(plain, logits_BV, samplings, seeds, steps, seen, barred)
    with _running_sums(logits_BV.device):
        x_BV = logits_BV.to(torch.float32, copy=True)
        _bend(x_BV, samplings, seen, barred)
        return _draw(x_BV, samplings, seeds, steps)


def _plain_rows(logits_BV: Tensor, samplings: Sequence[Sampling], barred: Sequence[Collection[int]]) -> list[int]:
    """The rows that ask for a temperature and nothing else, if there is a compiled loop for them: bfloat16 on a CPU. How a
    row is drawn depends on what it asks for alone.
    """
    if logits_BV.dtype != torch.bfloat16 or logits_BV.device.type != "cpu" or not compiles():
        return []
    return [row for row, s in enumerate(samplings) if _plain(s) and not (barred and barred[row])]


def _plain(s: Sampling) -> bool:
    uncut = not s.top_k and s.top_p >= 1.0 and not s.min_p
    return uncut and s.repetition_penalty == 1.0 and not s.logit_bias


def _draw_plain(
    logits_BV: Tensor, samplings: Sequence[Sampling], seeds: Sequence[int], steps: Sequence[int]
) -> tuple[list[int], list[float]]:
    inverses = [1.0 / s.temperature if s.temperature else 0.0 for s in samplings]
    return draw(logits_BV.contiguous(), inverses, uniforms(seeds, steps))


def _sample_apart(
    plain: Sequence[int], logits_BV: Tensor, samplings: Sequence[Sampling], seeds: Sequence[int], steps: Sequence[int],
    seen: Sequence[Collection[int]], barred: Sequence[Collection[int]],
) -> tuple[list[int], list[float]]:  # fmt: skip
    """Plain rows by themselves and the others by themselves."""
    others = sorted(set(range(len(samplings))) - set(plain))
    tokens, logprobs = [0] * len(samplings), [0.0] * len(samplings)
    for rows in (plain, others):
        part = sample(
            logits_BV[list(rows)],
            [samplings[row] for row in rows],
            [seeds[row] for row in rows],
            [steps[row] for row in rows],
            seen=[seen[row] for row in rows] if seen else (),
            barred=[barred[row] for row in rows] if barred else (),
        )
        for row, token, logprob in zip(rows, *part, strict=True):
            tokens[row], logprobs[row] = token, logprob
    return tokens, logprobs


@contextmanager
def _running_sums(device: torch.device) -> Iterator[None]:
    """Inside, running sums are allowed on CUDA where determinism is asked for: torch refuses all of them, because single
    long rows may be summed in any order.
    """
    mode = torch.get_deterministic_debug_mode()
    if device.type != "cuda" or mode == 0:
        yield
        return
    torch.set_deterministic_debug_mode("default")
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(mode)


def _bend(
    x_BV: Tensor, samplings: Sequence[Sampling], seen: Sequence[Collection[int]], barred: Sequence[Collection[int]]
) -> None:
    """Biases, then repetition penalties, then barred tokens, in place (transformers' order and vLLM's)."""
    biases = [(row, token, bias) for row, s in enumerate(samplings) for token, bias in s.logit_bias]
    if biases:
        rows, tokens, numbers = zip(*biases, strict=True)
        x_BV.index_put_(_places(x_BV, rows, tokens), torch.tensor(numbers, device=x_BV.device), accumulate=True)
    if seen:
        penalties = [s.repetition_penalty for s in samplings]
        marks = [(row, token) for row, p in enumerate(penalties) if p != 1.0 for token in seen[row]]
        at = _places(x_BV, [row for row, _ in marks], [token for _, token in marks])
        by = torch.tensor(penalties, device=x_BV.device)[at[0]]
        old = x_BV[at]
        x_BV[at] = torch.where(old < 0, old * by, old / by)
    if barred:
        marks = [(row, token) for row, tokens in enumerate(barred) for token in tokens]
        x_BV[_places(x_BV, [row for row, _ in marks], [token for _, token in marks])] = -torch.inf


def _places(x_BV: Tensor, rows: Sequence[int], tokens: Sequence[int]) -> tuple[Tensor, Tensor]:
    index = torch.tensor([rows, tokens], dtype=torch.long, device=x_BV.device)
    return index[0], index[1]


def _draw(
    x_BV: Tensor, samplings: Sequence[Sampling], seeds: Sequence[int], steps: Sequence[int]
) -> tuple[list[int], list[float]]:
    # The maximum goes first: what is left is at most 0, and no temperature can make it overflow upwards.
    x_BV.sub_(x_BV.amax(1, keepdim=True))
    greedy = [s.temperature == 0.0 for s in samplings]
    if any(not g and s.temperature != 1.0 for g, s in zip(greedy, samplings, strict=True)):
        inverse = [1.0 if g else 1.0 / s.temperature for g, s in zip(greedy, samplings, strict=True)]
        x_BV.mul_(torch.tensor(inverse, device=x_BV.device)[:, None])
    for row, setting in enumerate(samplings):
        if not greedy[row] and (setting.top_k or setting.top_p < 1.0):
            _cut(x_BV[row], setting.top_k, setting.top_p)
    weights_BV = x_BV.exp()
    least = [0.0 if g else s.min_p for g, s in zip(greedy, samplings, strict=True)]
    if any(least):
        # The likeliest token has weight 1, whatever was cut: this keeps p >= min_p * max(p).
        weights_BV = torch.where(weights_BV >= torch.tensor(least, device=x_BV.device)[:, None], weights_BV, 0.0)
    sums_BC = _by_block(weights_BV).double()
    tokens = torch.empty(len(samplings), dtype=torch.long, device=x_BV.device)
    if not all(greedy):
        u_B = torch.tensor(uniforms(seeds, steps), dtype=torch.float64, device=x_BV.device)
        tokens = _invert(weights_BV, sums_BC, u_B)
    if any(greedy):
        rows = [row for row, g in enumerate(greedy) if g]
        tokens[rows] = _likeliest(x_BV if all(greedy) else x_BV[rows])
    logp_B = x_BV.gather(1, tokens[:, None])[:, 0].double() - sums_BC.sum(1).log()
    return tokens.tolist(), logp_B.float().tolist()


def _by_block(weights_BV: Tensor) -> Tensor:
    """[B, C] sums over blocks; the last block may be short."""
    whole_BCW, rest_BW = _blocks(weights_BV)
    sums_BC = whole_BCW.sum(-1)
    return torch.cat([sums_BC, rest_BW.sum(-1, keepdim=True)], 1) if rest_BW.shape[1] else sums_BC


def _blocks(x_BV: Tensor) -> tuple[Tensor, Tensor]:
    """([B, C, W] the whole blocks, [B, less than W] what is left): views."""
    rows, vocabulary = x_BV.shape
    whole = vocabulary // BLOCK
    return x_BV[:, : whole * BLOCK].view(rows, whole, BLOCK), x_BV[:, whole * BLOCK :]


def _block(x_BV: Tensor, block_B: Tensor, fill: float) -> tuple[Tensor, Tensor]:
    """([B, W] entries of each row's block, [B] token id of its first entry); `fill` past the end of the vocabulary."""
    first_B = block_B * BLOCK
    column_BW = first_B[:, None] + torch.arange(BLOCK, device=x_BV.device)
    beyond_BW = column_BW >= x_BV.shape[1]
    return x_BV.gather(1, column_BW.clamp_max(x_BV.shape[1] - 1)).masked_fill(beyond_BW, fill), first_B


def _invert(weights_BV: Tensor, sums_BC: Tensor, u_B: Tensor) -> Tensor:
    """The token at which the running sum of the weights first exceeds u times their total."""
    running_BC = sums_BC.cumsum(1)
    block_B, rest_B = _first_above(running_BC, u_B * running_BC[:, -1])
    inside_BW, first_B = _block(weights_BV, block_B, 0.0)
    place_B, _ = _first_above(inside_BW.double().cumsum(1), rest_B)
    return first_B + place_B


def _first_above(running_BN: Tensor, target_B: Tensor) -> tuple[Tensor, Tensor]:
    """(index at which the running sum first exceeds the target, target less the sum before that index).

    The target is kept below the total: there the running sum still rises, so an entry of weight 0 is never chosen.
    """
    top_B = running_BN[:, -1]
    target_B = torch.minimum(target_B, torch.nextafter(top_B, torch.zeros_like(top_B))).clamp_min(0.0)
    index_B = (running_BN <= target_B[:, None]).sum(1)
    before_B = torch.where(index_B > 0, running_BN.gather(1, (index_B - 1).clamp_min(0)[:, None])[:, 0], 0.0)
    return index_B, target_B - before_B


def _likeliest(x_BV: Tensor) -> Tensor:
    """The first of the likeliest tokens; every row's maximum is 0. A search by block is faster than argmax."""
    whole_BCW, rest_BW = _blocks(x_BV)
    best_BC = whole_BCW.amax(-1)
    if rest_BW.shape[1]:
        best_BC = torch.cat([best_BC, rest_BW.amax(-1, keepdim=True)], 1)
    inside_BW, first_B = _block(x_BV, (best_BC == 0.0).int().argmax(1), -torch.inf)
    return first_B + (inside_BW == 0.0).int().argmax(1)


def _cut(row_V: Tensor, top_k: int, top_p: float) -> None:
    """Set to -inf, in place, what top-k and then top-p leave out of a row of log-weights.

    Top-k keeps tokens equal to the k-th. Top-p keeps the likeliest tokens until their probability reaches p, the one
    that reaches it included (arXiv:1904.09751, section 3.1).
    """
    if 0 < top_k < len(row_V):
        row_V.masked_fill_(row_V < row_V.topk(top_k).values[-1], -torch.inf)
    if top_p >= 1.0:
        return
    goal = top_p * row_V.exp().double().sum()
    for count in (min(HEAD, len(row_V)), len(row_V)):
        values, index = row_V.topk(count)
        weights = values.exp().double()
        inside = weights.cumsum(0) - weights < goal
        if not bool(inside[-1]):
            break
    kept = index[inside]
    best = row_V[kept]
    row_V.fill_(-torch.inf)
    row_V[kept] = best
