"""Decoding through transformers' own forward pass and cache, for any causal LM.

Requests with prompts of equal length run together, so no row is ever padded and no model needs to understand padding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import torch

from burnish.rollout.engine import Request
from burnish.rollout.sampler import sample


def generate_generic(
    model: Any, compute: torch.dtype, requests: Sequence[Request], slots: int, push: Callable[[int, int, float], bool]
) -> None:
    """Sample every request; `push(index, token, logprob)` takes each token and says whether the reply ended with it."""
    narrow = torch.autocast(model.device.type, dtype=compute) if compute != model.dtype else nullcontext()
    with narrow:
        for batch in _batches(requests, slots):
            _decode(model, requests, batch, push)


def _batches(requests: Sequence[Request], slots: int) -> Iterator[list[int]]:
    """Indices of requests with prompts of one length, at most `slots` at a time, in the order of first appearance."""
    by_length: dict[int, list[int]] = {}
    for index, request in enumerate(requests):
        by_length.setdefault(len(request.prompt_ids), []).append(index)
    for indices in by_length.values():
        for start in range(0, len(indices), slots):
            yield indices[start : start + slots]


def _decode(model: Any, requests: Sequence[Request], live: list[int], push: Callable[[int, int, float], bool]) -> None:
    tokens = torch.tensor([requests[i].prompt_ids for i in live], device=model.device)
    cache: Any = None
    step = 0
    while live:
        out = model(input_ids=tokens, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache = out.past_key_values
        asked = [requests[i] for i in live]
        drawn, logprobs = sample(
            out.logits[:, -1], [r.sampling for r in asked], [r.seed for r in asked], [step] * len(live)
        )
        ended = [push(i, token, logp) for i, token, logp in zip(live, drawn, logprobs, strict=True)]
        kept = [row for row, end in enumerate(ended) if not end]
        if kept and len(kept) < len(live):
            cache.batch_select_indices(torch.tensor(kept, device=model.device))
        live = [live[row] for row in kept]
        tokens = torch.tensor([[drawn[row]] for row in kept], device=model.device)
        step += 1
