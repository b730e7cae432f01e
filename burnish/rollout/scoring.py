"""Log-probabilities of continuations: a prompt once, then its continuations as short runs behind its keys and values.

Prompts that begin alike are taken side by side and their beginning is computed once. A continuation of one token needs
the prompt's last state only. The vocabulary is looked at for the wanted places and no other, a few rows at a time.

Shapes: R places, D width, V vocabulary, W wanted tokens. Log-probs in nats.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import torch
from torch import Tensor

from burnish.rollout.engine import Continuations, Scored
from burnish.rollout.llama_forward import LlamaForward
from burnish.rollout.prefix import Prefix, beginnings
from burnish.rollout.prompts import PREFILL_TOKENS, Trunks
from burnish.rollout.span_attention import Span

# Positions that the runs of one pack may have behind them: each run reads a copy.
PAST_POSITIONS = 1 << 16
# Rows whose logits are held at once, and rows worked on at a time: wide logits of these stay in the processor's cache.
ROWS, FEW = 64, 8
# In bf16 the likeliest tokens' logits are computed again in float32, so that rounding does not choose among them.
NEAR = 8

# Log-probability of a token, and whether no other is more probable.
Found = tuple[float, bool]


@dataclass(slots=True, eq=False)
class _Context:
    """One prompt and what is wanted after it. found: for each continuation the tokens' results, in order."""

    prompt: tuple[int, ...]
    prefix: Prefix | None
    requests: list[int]
    found: dict[tuple[int, ...], list[Found]] = field(default_factory=dict)

    @property
    def own(self) -> tuple[int, ...]:
        """The tokens after the shared beginning."""
        return self.prompt[self.prefix.length if self.prefix else 0 :]

    @property
    def goes_on(self) -> bool:
        """Whether a continuation has more than one token."""
        return any(len(tokens) > 1 for tokens in self.found)


def score_llama(
    forward: LlamaForward, requests: Sequence[Continuations], room: int, finish: Callable[[int, Scored], None]
) -> None:
    """`finish(index, scored)` for each request, in the order in which beginnings are shared. room: bytes for those."""
    by_prompt: dict[tuple[int, ...], list[int]] = {}
    for index, request in enumerate(requests):
        by_prompt.setdefault(request.prompt_ids, []).append(index)
    prompts = list(by_prompt)
    shared = beginnings(prompts)
    trunks = Trunks(forward, room, shared.prefix)
    # A context is made when its turn comes: a long queue holds token ids only.
    queue = (_Context(prompts[i], shared.prefix[i], by_prompt[prompts[i]]) for i in shared.order)
    for pack in _packs(queue):
        for context in pack:
            context.found = {tokens: [] for i in context.requests for tokens in requests[i].continuations}
        _score_pack(forward, trunks, pack)
        for context in pack:
            trunks.done(context.prefix)
            for i in context.requests:
                rows = [context.found[tokens] for tokens in requests[i].continuations]
                finish(i, scored_of(rows))


def scored_of(rows: Sequence[Sequence[Found]]) -> Scored:
    """Results token by token as one Scored."""
    return Scored(
        tuple(tuple(logprob for logprob, _ in row) for row in rows), tuple(all(best for _, best in row) for row in rows)
    )


def _packs(contexts: Iterator[_Context]) -> Iterator[list[_Context]]:
    """Contexts in order, together while they have at most PREFILL_TOKENS tokens of their own."""
    pack: list[_Context] = []
    tokens = 0
    for context in contexts:
        tokens += len(context.own)
        if pack and tokens > PREFILL_TOKENS:
            yield pack
            pack, tokens = [], len(context.own)
        pack.append(context)
    if pack:
        yield pack


def _score_pack(forward: LlamaForward, trunks: Trunks, pack: Sequence[_Context]) -> None:
    spans = [Span(context.own, trunks.pieces(context.prefix)) for context in pack]
    ends = [end - 1 for end in accumulate(len(span.tokens) for span in spans)]
    keep = any(context.goes_on for context in pack)
    kvs, hidden_PD = forward.run(spans, ends, keep=keep)
    firsts = [list({tokens[0]: None for tokens in context.found}) for context in pack]
    for context, tokens, results in zip(pack, firsts, token_scores(forward, hidden_PD, firsts), strict=True):
        first = dict(zip(tokens, results, strict=True))
        for continuation, found in context.found.items():
            found.append(first[continuation[0]])
    if keep:
        _go_on(forward, [(context, (*span.past, kv)) for context, span, kv in zip(pack, spans, kvs, strict=True)])


def _go_on(forward: LlamaForward, contexts: Sequence[tuple[_Context, tuple[Tensor, ...]]]) -> None:
    """The tokens after the first of every continuation."""
    runs: list[tuple[Span, tuple[int, ...], list[Found]]] = []
    tokens = past = 0
    for context, pieces in contexts:
        for continuation, found in context.found.items():
            if len(continuation) == 1:
                continue
            tokens += len(continuation) - 1
            past += len(context.prompt)
            if runs and (tokens > PREFILL_TOKENS or past > PAST_POSITIONS):
                _score_runs(forward, runs)
                runs, tokens, past = [], len(continuation) - 1, len(context.prompt)
            runs.append((Span(continuation[:-1], pieces), continuation, found))
    if runs:
        _score_runs(forward, runs)


def _score_runs(forward: LlamaForward, runs: Sequence[tuple[Span, tuple[int, ...], list[Found]]]) -> None:
    next_tokens = [token for _, continuation, _ in runs for token in continuation[1:]]
    _, hidden_RD = forward.run([span for span, _, _ in runs], range(len(next_tokens)), keep=False)
    results = iter(token_scores(forward, hidden_RD, [[token] for token in next_tokens]))
    for _, continuation, found in runs:
        found += [next(results)[0] for _ in continuation[1:]]


def token_scores(forward: LlamaForward, hidden_RD: Tensor, wanted: Sequence[Sequence[int]]) -> list[list[Found]]:
    """For each place the results of its wanted tokens, at temperature 1. hidden_RD: before the final norm."""
    found: list[list[Found]] = []
    for start in range(0, len(wanted), ROWS):
        found += _few_scores(forward, hidden_RD[start : start + ROWS], wanted[start : start + ROWS])
    return found


def _few_scores(forward: LlamaForward, hidden_RD: Tensor, wanted: Sequence[Sequence[int]]) -> list[list[Found]]:
    device, rows = hidden_RD.device, len(wanted)
    logits_RV = forward.logits(hidden_RD)
    row_W = torch.tensor([row for row, tokens in enumerate(wanted) for _ in tokens], dtype=torch.long, device=device)
    token_W = torch.tensor([token for tokens in wanted for token in tokens], dtype=torch.long, device=device)
    own_W = forward.logits_of(hidden_RD[row_W], token_W)
    near_R8 = logits_RV.topk(min(NEAR, logits_RV.shape[1])).indices
    top_R8 = forward.logits_of(hidden_RD.repeat_interleave(near_R8.shape[1], 0), near_R8.flatten()).view_as(near_R8)
    log_sum_R, best_R = own_W.new_empty(rows), own_W.new_empty(rows)
    for start in range(0, rows, FEW):
        part = slice(start, start + FEW)
        wide = logits_RV[part].to(own_W.dtype).scatter_(1, near_R8[part], top_R8[part])
        here = (row_W >= start) & (row_W < start + FEW)
        wide[row_W[here] - start, token_W[here]] = own_W[here]
        best_R[part] = wide.amax(1)
        log_sum_R[part] = wide.logsumexp(1)
    logprobs = (own_W - log_sum_R[row_W]).tolist()
    greedy = (own_W >= best_R[row_W]).tolist()
    results = iter(zip(logprobs, greedy, strict=True))
    return [[next(results) for _ in tokens] for tokens in wanted]
