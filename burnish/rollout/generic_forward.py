"""Decoding and scoring through transformers' own forward pass and cache, for any causal LM.

Requests with prompts of equal length run together, so no row is ever padded and no model needs to understand padding.
Shared beginnings of different prompts are computed again for each.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from burnish.rollout.engine import Continuations, Request, Scored
from burnish.rollout.scoring import Found, scored_of

# The next tokens of some replies, from the logits after what they have: (token, whether its reply ended with it).
Draw = Callable[[list[int], Tensor], list[tuple[int, bool]]]
# Rows of continuations behind one prompt that are computed together.
ROWS = 16


def generate_generic(model: Any, compute: torch.dtype, requests: Sequence[Request], slots: int, draw: Draw) -> None:
    """Sample every request; `draw(indices, logits)` gives each one's next token and whether its reply ended with it."""
    with _narrow(model, compute):
        for batch in _batches(requests, slots):
            _decode(model, requests, batch, draw)


def score_generic(
    model: Any, compute: torch.dtype, requests: Sequence[Continuations], finish: Callable[[int, Scored], None]
) -> None:
    """`finish(index, scored)` for each request: its prompt once, then its continuations behind the prompt's cache."""
    with _narrow(model, compute):
        for index, request in enumerate(requests):
            finish(index, _score(model, request))


def _narrow(model: Any, compute: torch.dtype) -> Any:
    return torch.autocast(model.device.type, dtype=compute) if compute != model.dtype else nullcontext()


def _score(model: Any, request: Continuations) -> Scored:
    long: dict[int, list[tuple[int, ...]]] = {}
    for tokens in dict.fromkeys(request.continuations):
        if len(tokens) > 1:
            long.setdefault(len(tokens), []).append(tokens)
    prompt = torch.tensor([request.prompt_ids], device=model.device)
    out = model(input_ids=prompt, use_cache=bool(long), logits_to_keep=1)
    first_V = _logprobs(out.logits[0, -1])
    found = {tokens: [_found(first_V, tokens[0])] for tokens in request.continuations}
    for alike in long.values():
        for start in range(0, len(alike), ROWS):
            part = alike[start : start + ROWS]
            # The cache is changed by what goes on from it.
            cache = copy.deepcopy(out.past_key_values)
            cache.batch_repeat_interleave(len(part))
            rows = torch.tensor([tokens[:-1] for tokens in part], device=model.device)
            logits_RTV = model(input_ids=rows, past_key_values=cache, use_cache=True).logits
            for tokens, logits_TV in zip(part, logits_RTV, strict=True):
                rest = zip(_logprobs(logits_TV), tokens[1:], strict=True)
                found[tokens] += [_found(logp_V, token) for logp_V, token in rest]
    return scored_of([found[tokens] for tokens in request.continuations])


def _logprobs(logits: Tensor) -> Tensor:
    """At temperature 1, in float32 or wider."""
    wide = torch.float64 if logits.dtype == torch.float64 else torch.float32
    return logits.to(wide).log_softmax(-1)


def _found(logp_V: Tensor, token: int) -> Found:
    return float(logp_V[token]), bool(logp_V[token] >= logp_V.max())


def _batches(requests: Sequence[Request], slots: int) -> Iterator[list[int]]:
    """Indices of requests with beginnings of one length, at most `slots` at a time, in the order of first appearance."""
    by_length: dict[int, list[int]] = {}
    for index, request in enumerate(requests):
        by_length.setdefault(len(request.begun), []).append(index)
    for indices in by_length.values():
        for start in range(0, len(indices), slots):
            yield indices[start : start + slots]


def _decode(model: Any, requests: Sequence[Request], live: list[int], draw: Draw) -> None:
    tokens = torch.tensor([requests[i].begun for i in live], device=model.device)
    cache: Any = None
    while live:
        out = model(input_ids=tokens, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache = out.past_key_values
        drawn = draw(live, out.logits[:, -1])
        kept = [row for row, (_, ended) in enumerate(drawn) if not ended]
        if kept and len(kept) < len(live):
            cache.batch_select_indices(torch.tensor(kept, device=model.device))
        live = [live[row] for row in kept]
        tokens = torch.tensor([[drawn[row][0]] for row in kept], device=model.device)
