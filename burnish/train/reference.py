"""Log-probs of the reference policy, computed once before training and kept through kills.

Shapes: P pairs.
"""

from __future__ import annotations

import functools
import hashlib
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from burnish.core.files import write_atomic
from burnish.model.parallel import Ranks, deal, either, padding
from burnish.model.policy import Policy
from burnish.model.sharing import computed_tokens
from burnish.pipeline.stage import Context
from burnish.text.render import Rendered
from burnish.train.rows import split, stack

FILE = "reference.safetensors"


def reference_logprobs(policy: Policy, rows: Sequence[Rendered], ctx: Context, *, together: int = 1) -> Tensor:
    """[len(rows)] summed log-prob (nats) of each row's trained tokens under `policy`, which has not been trained yet.

    together: so many neighbouring rows share a prompt, which is computed once for them.

    Kept in ctx.out by content (weights, tokens, masks): other content is computed anew, an interrupted pass goes on.
    Several ranks share the work, each keeps what it has found, and all return everything.
    """
    path, ranks = ctx.out / FILE, Ranks.current(ctx.machine)
    key = _key(policy, rows, ctx)
    known = [value for value in (_read(ctx.kept / FILE, key), _read(path, key)) if value is not None]
    found = ranks.merged(functools.reduce(either, known, torch.full((len(rows),), torch.nan)))
    groups = [range(i, i + together) for i in range(0, len(rows), together)]
    missing = [group for group in groups if bool(found[list(group)].isnan().any())]
    costs = [computed_tokens([rows[i].token_ids for i in group]) for group in missing]
    parts = [
        [i for group in part for i in group] for part in split(missing, costs, ctx.machine.micro_tokens, ranks.teams)
    ]
    turns = deal([sum(len(rows[i].token_ids) for i in part) for part in parts], ranks)
    left = together * len(missing)
    saved_at = time.monotonic()
    with ctx.console.bar("reference log-probs", len(rows), "rows", done=len(rows) - left) as bar:
        for turn in turns:
            part = [] if turn is None else parts[turn]
            with torch.no_grad():
                logp_BT = policy.logprobs(stack([rows[i] for i in part]) if part else padding())
            if not part:
                continue
            found[part] = logp_BT.sum(1).float().cpu()
            others = min(len(part) * ranks.teams, left)
            left -= others
            bar.advance(others)
            if time.monotonic() - saved_at >= ctx.machine.checkpoint_every_s:
                _write(path, key, found)
                saved_at = time.monotonic()
    found = ranks.merged(found)
    if parts:
        _write(path, key, found)
    return found


def _key(policy: Policy, rows: Sequence[Rendered], ctx: Context) -> str:
    digest = hashlib.sha256(f"{policy.checksum()} {ctx.machine.compute}".encode())
    for row in rows:
        digest.update(repr((row.token_ids, row.mask)).encode())
    return digest.hexdigest()


def _read(path: Path, key: str) -> Tensor | None:
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            if (file.metadata() or {}).get("key") != key:
                return None
            tensor: Tensor = file.get_tensor("logp")
            return tensor.clone()
    except SafetensorError:
        # Written by something else, or damaged: it is only a cache.
        return None


def _write(path: Path, key: str, logp: Tensor) -> None:
    from safetensors.torch import save

    write_atomic(path, save({"logp": logp}, metadata={"key": key}))
