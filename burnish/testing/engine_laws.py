"""The laws of an engine: what generates, and what scores continuations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from burnish.core.types import Completion, Finish
from burnish.rollout.engine import Continuations, Engine, Request, Sampling, Scored, Scorer


def check_engine(engine: Engine, requests: Sequence[Request], *, tolerance: float = 0.0) -> None:
    """Raise AssertionError, naming the law and the request, unless the engine keeps all of these:

    - shape: one completion per request, in order; as many log-probs as tokens, none above 0; at most max_tokens tokens,
      and exactly as many where the reply was cut; `on_finish` is called once for each, with that completion;
    - stream: the pieces that `on_text` gets for a reply make up its text, and come before its `on_finish`;
    - repeat: the same requests give the same tokens, and log-probs within `tolerance` (nats);
    - neighbours: so does each request alone, and all of them in reverse order;
    - limit: at temperature 0 a smaller max_tokens gives the beginning of the same reply;
    - nothing: no requests give no completions.

    requests: at least three, with prompts and max_tokens (2 or more) of several lengths.
    """
    if len(requests) < 3 or len({len(r.prompt_ids) for r in requests}) < 2:
        raise ValueError("check_engine needs at least 3 requests, with prompts of at least two lengths")
    ended: dict[int, list[Completion]] = {}
    pieces: dict[int, list[str]] = {}

    def hear(i: int, piece: str) -> None:
        _law(i not in ended, "stream", f"request {i}: {piece!r} came after on_finish")
        pieces.setdefault(i, []).append(piece)

    found = engine.generate(requests, lambda i, completion: ended.setdefault(i, []).append(completion), hear)
    _law(len(found) == len(requests), "shape", f"{len(requests)} requests gave {len(found)} completions")
    for i, (request, completion) in enumerate(zip(requests, found, strict=True)):
        _check_shape(i, request, completion)
        heard = "".join(pieces.get(i, []))
        _law(heard == completion.text, "stream", f"request {i}: heard {heard!r} of {completion.text!r}")
        _law(ended.get(i) == [completion], "shape", f"request {i}: on_finish was called with {ended.get(i)}")
    _same("repeat", found, engine.generate(requests), tolerance)
    _same("neighbours", found, engine.generate(requests[::-1])[::-1], tolerance)
    for i, request in enumerate(requests):
        _same("neighbours", [found[i]], engine.generate([request]), tolerance, i)
        greedy = replace(request, sampling=replace(request.sampling, temperature=0.0, stop=()))
        shorter = replace(greedy, sampling=replace(greedy.sampling, max_tokens=request.sampling.max_tokens // 2))
        long, short = (engine.generate([r])[0].token_ids for r in (greedy, shorter))
        _law(long[: len(short)] == short, "limit", f"request {i}: {short} does not begin {long}")
    _law(engine.generate([]) == [], "nothing", "no requests gave completions")


def check_settings(engine: Engine, requests: Sequence[Request], *, tolerance: float = 1e-4) -> None:
    """Raise AssertionError, naming the law and the request, unless the engine keeps all of these, with log-probs within
    `tolerance` nats:

    - bias: a token with a bias of 100 is the only one drawn, and the tokens of a reply with one of -100 are not drawn;
    - min_p: with min_p=1 a reply is the greedy one, and each of its log-probs 0;
    - min_tokens: a reply that would end at once draws so many other tokens first, and ends then;
    - stop_ids: a reply that is stopped by one of its tokens is the free reply up to the first of those;
    - stop: one that is stopped by a part of its text is the free reply up to the token that completes it, its text cut before;
    - forced: a reply that is forced to begin as it did is the same again, its beginning not sampled;
    - penalty: with a repetition penalty of 1,000 no greedy reply repeats itself while unseen tokens with positive logits are
      left, so it differs from the free one; a penalty of 1 changes nothing.

    requests: with max_tokens of 8 or more, of a model whose logits lie within 50 of each other.
    """
    for i, request in enumerate(requests):
        plain = replace(request, sampling=Sampling(max_tokens=request.sampling.max_tokens))
        free = engine.generate([plain])[0]
        _check_bias(engine, i, plain, free, tolerance)
        greedy, likely = (engine.generate([_with(plain, **s)])[0] for s in ({"temperature": 0.0}, {"min_p": 1.0}))
        _law(likely.token_ids == greedy.token_ids, "min_p", f"request {i}: {likely.text!r}, greedy {greedy.text!r}")
        _law(max(map(abs, likely.logprobs)) <= tolerance, "min_p", f"request {i}: log-probs {likely.logprobs}")
        _check_ends(engine, i, plain, free)
        _check_forced(engine, i, plain, free, tolerance)
        _same("penalty", [free], engine.generate([_with(plain, repetition_penalty=1.0)]), tolerance, i)
        other = engine.generate([_with(plain, temperature=0.0, repetition_penalty=1000.0)])[0]
        _law(other.token_ids != greedy.token_ids, "penalty", f"request {i}: {greedy.text!r} with and without")


def _check_bias(engine: Engine, i: int, request: Request, free: Completion, tolerance: float) -> None:
    token = free.token_ids[0]
    only = engine.generate([_with(request, logit_bias=((token, 100.0),))])[0]
    _law(set(only.token_ids) == {token}, "bias", f"request {i}: {token} was not the only token in {only.token_ids}")
    _law(max(map(abs, only.logprobs)) <= tolerance, "bias", f"request {i}: log-probs {only.logprobs}")
    never = tuple((token, -100.0) for token in sorted(set(free.token_ids)))
    other = engine.generate([_with(request, logit_bias=never)])[0]
    both = set(other.token_ids) & set(free.token_ids)
    _law(not both, "bias", f"request {i}: {both} were drawn in spite of a bias of -100")


def _check_ends(engine: Engine, i: int, request: Request, free: Completion) -> None:
    least, end = request.sampling.max_tokens // 2, free.token_ids[0]
    long = engine.generate([_with(request, min_tokens=least, stop_ids=(end,), logit_bias=((end, 100.0),))])[0]
    late = len(long.token_ids) == least + 1 and long.token_ids.index(end) == least
    _law(late, "min_tokens", f"request {i}: {long.token_ids} should end with {end} after {least} others")
    middle = free.token_ids[len(free.token_ids) // 2]
    wanted = free.token_ids[: free.token_ids.index(middle) + 1]
    found = engine.generate([_with(request, stop_ids=(middle,))])[0]
    same = found.token_ids == wanted and found.finish is Finish.STOP
    _law(same, "stop_ids", f"request {i}: {found.token_ids} ended as {found.finish}, expected {wanted}")
    stop = free.text[len(free.text) // 2 :][:2]
    if not stop:
        return
    pieces: list[str] = []
    cut = engine.generate([_with(request, stop=(stop,))], None, lambda _, piece: pieces.append(piece))[0]
    _law(cut.token_ids == free.token_ids[: len(cut.token_ids)], "stop", f"request {i}: {cut.text!r} of {free.text!r}")
    _law(cut.text == free.text[: free.text.find(stop)], "stop", f"request {i}: {cut.text!r} before {stop!r}")
    _law("".join(pieces) == cut.text, "stop", f"request {i}: told {pieces} of {cut.text!r}")


def _check_forced(engine: Engine, i: int, request: Request, free: Completion, tolerance: float) -> None:
    count = len(free.token_ids) // 2
    begun = replace(request, forced=free.token_ids[:count])
    found = engine.generate([_with(begun, max_tokens=request.sampling.max_tokens - count)])[0]
    _same("forced", [free], [found], tolerance, i)
    wanted = (False,) * count + (True,) * (len(free.token_ids) - count)
    _law(found.mask == wanted, "forced", f"request {i}: sampled {found.mask}")
    _law(found.text == free.text, "forced", f"request {i}: {found.text!r} and {free.text!r}")


def _with(request: Request, **settings: Any) -> Request:
    return replace(request, sampling=replace(request.sampling, **settings))


def check_scorer(scorer: Scorer, requests: Sequence[Continuations], *, tolerance: float = 1e-4) -> None:
    """Raise AssertionError, naming the law and the request, unless the engine keeps all of these, within `tolerance` nats:

    - shape: one Scored per request, in order; one log-prob a token, none above 0; `on_scored` is called once for each;
    - repeat, neighbours: the same requests again, in reverse order, and each alone give the same;
    - chain: a continuation's log-probs are those of its first tokens after the prompt, and of the others after the prompt
      and those first tokens;
    - equal: a continuation given twice has the same log-probs twice;
    - nothing: no requests, and no continuations, give nothing.

    requests: at least two, one of them with a continuation of two tokens or more.
    """
    if len(requests) < 2 or not any(len(tokens) > 1 for r in requests for tokens in r.continuations):
        raise ValueError("check_scorer needs at least 2 requests, one with a continuation of two tokens or more")
    ended: dict[int, list[Scored]] = {}
    found = scorer.score(requests, lambda i, scored: ended.setdefault(i, []).append(scored))
    _law(len(found) == len(requests), "shape", f"{len(requests)} requests gave {len(found)} results")
    for i, (request, scored) in enumerate(zip(requests, found, strict=True)):
        lengths = [len(tokens) for tokens in request.continuations]
        _law(list(map(len, scored.logprobs)) == lengths, "shape", f"request {i}: lengths {lengths}, got {scored}")
        _law(len(scored.greedy) == len(lengths), "shape", f"request {i}: {len(scored.greedy)} greedy flags")
        _law(all(x <= tolerance for row in scored.logprobs for x in row), "shape", f"request {i}: above 0: {scored}")
        _law(ended.get(i) == [scored], "shape", f"request {i}: on_scored was called with {ended.get(i)}")
    _same_scores("repeat", found, scorer.score(requests), tolerance)
    _same_scores("neighbours", found, scorer.score(requests[::-1])[::-1], tolerance)
    for i, request in enumerate(requests):
        _same_scores("neighbours", [found[i]], scorer.score([request]), tolerance, i)
        _check_chain(scorer, i, request, found[i], tolerance)
        twice = scorer.score([Continuations(request.prompt_ids, request.continuations * 2)])[0]
        _same_scores("equal", [found[i]], [_part(twice, slice(0, len(request.continuations)))], tolerance, i)
        _same_scores("equal", [found[i]], [_part(twice, slice(len(request.continuations), None))], tolerance, i)
    _law(scorer.score([]) == [], "nothing", "no requests gave results")
    none = scorer.score([Continuations(requests[0].prompt_ids, ())])
    _law(none == [Scored((), ())], "nothing", f"no continuations gave {none}")


def _check_shape(i: int, request: Request, completion: Completion) -> None:
    count, most = len(completion.token_ids), request.sampling.max_tokens + len(request.forced)
    _law(1 <= count <= most, "shape", f"request {i}: {count} tokens, max_tokens {most}")
    _law(
        len(completion.logprobs) == count, "shape", f"request {i}: {len(completion.logprobs)} log-probs, {count} tokens"
    )
    _law(all(x <= 0.0 for x in completion.logprobs), "shape", f"request {i}: log-probs {completion.logprobs}")
    cut = completion.finish is Finish.LENGTH
    _law(not cut or count == most, "shape", f"request {i}: cut at {count} tokens, max_tokens {most}")


def _check_chain(scorer: Scorer, i: int, request: Continuations, scored: Scored, tolerance: float) -> None:
    for tokens, logprobs in zip(request.continuations, scored.logprobs, strict=True):
        cut = len(tokens) // 2
        if not cut:
            continue
        first = Continuations(request.prompt_ids, (tokens[:cut],))
        rest = Continuations(request.prompt_ids + tokens[:cut], (tokens[cut:],))
        parts = tuple(x for part in scorer.score([first, rest]) for x in part.logprobs[0])
        _law(_close(parts, logprobs, tolerance), "chain", f"request {i}: {logprobs} whole, {parts} in two parts")


def _part(scored: Scored, part: slice) -> Scored:
    return Scored(scored.logprobs[part], scored.greedy[part])


def _same(
    law: str, wanted: Sequence[Completion], found: Sequence[Completion], tolerance: float, first: int = 0
) -> None:
    for i, (a, b) in enumerate(zip(wanted, found, strict=True), first):
        _law(a.token_ids == b.token_ids and a.finish == b.finish, law, f"request {i}: {a.text!r} and {b.text!r}")
        _law(_close(a.logprobs, b.logprobs, tolerance), law, f"request {i}: log-probs {a.logprobs} and {b.logprobs}")


def _same_scores(law: str, wanted: Sequence[Scored], found: Sequence[Scored], tolerance: float, first: int = 0) -> None:
    for i, (a, b) in enumerate(zip(wanted, found, strict=True), first):
        alike = all(_close(x, y, tolerance) for x, y in zip(a.logprobs, b.logprobs, strict=True))
        _law(alike, law, f"request {i}: {a} and {b}")


def _close(a: Sequence[float], b: Sequence[float], tolerance: float) -> bool:
    return len(a) == len(b) and all(abs(x - y) <= tolerance for x, y in zip(a, b, strict=True))


def _law(holds: bool, law: str, found: str) -> None:
    if not holds:
        raise AssertionError(f"law {law}: {found}")
