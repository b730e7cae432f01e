"""Log-probs of the reference policy, computed once before training and kept through kills.

Shapes: P pairs.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from burnish.core.files import write_atomic
from burnish.model.policy import Policy
from burnish.pipeline.stage import Context
from burnish.text.render import Rendered
from burnish.train.rows import split, stack

FILE = "reference.safetensors"


def reference_logprobs(policy: Policy, rows: Sequence[Rendered], ctx: Context) -> Tensor:
    """[len(rows)] summed log-prob (nats) of each row's trained tokens under `policy`, which has not been trained yet.

    Kept in ctx.out by content (weights, tokens, masks): other content is computed anew, an interrupted pass goes on.
    """
    path = ctx.out / FILE
    key = _key(policy, rows, ctx)
    found = _read(path, key)
    if found is None:
        found = torch.full((len(rows),), torch.nan)
    missing = [i for i in range(len(rows)) if bool(found[i].isnan())]
    parts = split(missing, [len(rows[i].token_ids) for i in missing], ctx.machine.micro_tokens)
    saved_at = time.monotonic()
    with ctx.console.bar("reference log-probs", len(rows), "rows", done=len(rows) - len(missing)) as bar:
        for part in parts:
            with torch.no_grad():
                logp_BT = policy.logprobs(stack([rows[i] for i in part]))
            found[part] = logp_BT.sum(1).float().cpu()
            bar.advance(len(part))
            if time.monotonic() - saved_at >= ctx.machine.checkpoint_every_s:
                _write(path, key, found)
                saved_at = time.monotonic()
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
