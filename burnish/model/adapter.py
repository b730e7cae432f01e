"""Adapters on disk, in the format of the peft library: adapter_config.json and adapter_model.safetensors.

An adapter written here loads in peft, one written by peft is merged into its base when it is loaded here.
"""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from burnish.core.files import read_json, write_json
from burnish.errors import DataError, ModelError, nearest
from burnish.model.folder import ADAPTER_CONFIG, ADAPTER_WEIGHTS, weights_of
from burnish.model.lora import AdaptedLinear, adapters, merged
from burnish.model.parallel import Ranks, whole

ROOT = "base_model.model."  # what peft's names begin with
HEAD = "score"  # the head of a reward model, which is trained whole
BASE = "base.json"  # beside peft's files: the SHA-256 of the base's weight files, by which another base is told


def save_adapter(model: Any, folder: Path) -> None:
    """Write the model's adapters, whole or not at all; nothing for a model without any. All ranks call it, the first one writes."""
    from safetensors.torch import save_file

    held = adapters(model)
    if not held:
        return
    head = getattr(model, HEAD, None)
    tensors = dict(_tensors(held))
    if head is not None:
        tensors[f"{ROOT}{HEAD}.weight"] = head.weight
    tensors = {name: whole(tensor.detach()).cpu().contiguous() for name, tensor in tensors.items()}
    if not Ranks.current().first:
        return
    base = Path(model.config.name_or_path).resolve()
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    save_file(tensors, partial / ADAPTER_WEIGHTS, metadata={"format": "pt"})
    write_json(partial / BASE, {"sha256": weights_of(base)})
    write_json(partial / ADAPTER_CONFIG, _config(held, str(base), head=head is not None))
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def _tensors(held: dict[str, AdaptedLinear]) -> Iterator[tuple[str, Tensor]]:
    for name, module in held.items():
        yield f"{ROOT}{name}.lora_A.weight", module.lora_A
        yield f"{ROOT}{name}.lora_B.weight", module.lora_B
        if module.lora_magnitude is not None:
            yield f"{ROOT}{name}.lora_magnitude_vector", module.lora_magnitude


def _config(held: dict[str, AdaptedLinear], base: str, *, head: bool) -> dict[str, Any]:
    settings = next(iter(held.values())).settings
    last = {name.rpartition(".")[2] for name in held}
    alpha = int(settings.alpha) if settings.alpha == int(settings.alpha) else settings.alpha
    return {
        "peft_type": "LORA",
        "task_type": "SEQ_CLS" if head else "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": settings.rank,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "target_modules": sorted(settings.targets or last),
        "use_dora": settings.dora,
        "use_rslora": settings.rslora,
        "bias": "none",
        "fan_in_fan_out": False,
        "init_lora_weights": True,
        "modules_to_save": [HEAD] if head else None,
        "inference_mode": True,
    }


@dataclass(frozen=True, slots=True)
class _Found:
    """An adapter that was read: its configuration and its tensors without `ROOT`."""

    folder: Path
    config: dict[str, Any]
    tensors: dict[str, Tensor]


@torch.no_grad()
def merge_adapter(model: Any, folder: Path, base: Path) -> None:
    """Add the adapter in `folder` to the weights of its base, a plain model in float32 loaded from the folder `base`.

    Raises ModelError, before any weight is changed, for an adapter of another base or of a kind that is not known here.
    """
    found = _read(folder, base)
    layers: dict[str, dict[str, Tensor]] = {}
    others: dict[str, Tensor] = {}
    for name, tensor in found.tensors.items():
        layer, part = _part(name)
        if part:
            layers.setdefault(layer, {})[part] = tensor.float()
        else:
            others[name] = tensor.float()
    weights = dict(model.named_parameters())
    added = {f"{name}.weight": _merged(found, name, parts, weights, base) for name, parts in layers.items()}
    for name, tensor in others.items():
        if name not in weights or weights[name].shape != tensor.shape:
            raise ModelError(_foreign(found, base, f"it replaces {name}, which that model does not have in this shape"))
    for name, tensor in (added | others).items():
        weights[name].copy_(tensor)


def _read(folder: Path, base: Path) -> _Found:
    from safetensors import SafetensorError, safe_open

    try:
        config = read_json(folder / ADAPTER_CONFIG)
        known = read_json(folder / BASE)["sha256"] if (folder / BASE).exists() else ""
        with safe_open(folder / ADAPTER_WEIGHTS, framework="pt") as file:
            tensors = {name.removeprefix(ROOT): file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (DataError, SafetensorError, OSError, KeyError, TypeError) as error:
        raise ModelError(
            f"The adapter {folder} cannot be read: {error}\n  It must be what peft's save_pretrained writes."
        ) from error
    found = _Found(folder, config, tensors)
    _check_kind(found)
    if known and known != weights_of(base):
        raise ModelError(_foreign(found, base, "it was trained beside weights that differ from those"))
    return found


def _check_kind(found: _Found) -> None:
    kind = found.config.get("peft_type")
    odd = [name for name in ("fan_in_fan_out", "lora_bias", "trainable_token_indices", "alora_invocation_tokens")
           if found.config.get(name)]  # fmt: skip
    if kind != "LORA" or odd or found.config.get("bias", "none") != "none":
        what = f"peft_type={kind!r}" if kind != "LORA" else ", ".join(odd) or f"bias={found.config['bias']!r}"
        raise ModelError(
            f"The adapter {found.folder} is of a kind that cannot be merged here ({what}); LoRA, DoRA and rsLoRA of linear "
            "layers can.\n  Merge it with peft (merge_and_unload, save_pretrained) and give that folder."
        )
    if found.config.get("task_type") == "SEQ_CLS":
        raise ModelError(
            f"{found.folder} is the adapter of a reward model or classifier, whose scores a language model does not have.\n"
            "  Give the folder `model` beside it, which holds the whole reward model."
        )


def _part(name: str) -> tuple[str, str]:
    """(layer, "A", "B" or "magnitude") of an adapter's tensor; (name, "") of a whole weight."""
    for ending, part in ((".lora_A.weight", "A"), (".lora_B.weight", "B"), (".lora_magnitude_vector", "magnitude")):
        if name.endswith(ending):
            return name.removesuffix(ending), part
    return name, ""


def _merged(found: _Found, name: str, parts: dict[str, Tensor], weights: dict[str, Any], base: Path) -> Tensor:
    """The layer's weight with the adapter's difference. Raises ModelError for a layer that the base does not have so."""
    weight = weights.get(f"{name}.weight")
    if weight is None:
        known = [other.removesuffix(".weight") for other in weights]
        raise ModelError(
            _foreign(found, base, f"it changes {name}, which that model does not have. {nearest(name, known)}")
        )
    down, up = parts.get("A"), parts.get("B")
    if down is None or up is None or bool(found.config.get("use_dora")) != ("magnitude" in parts):
        raise ModelError(
            f"The adapter {found.folder} lacks a part of {name}.\n  Save it again with peft's save_pretrained."
        )
    rank = len(down)
    if (len(up), *down.shape[1:]) != tuple(weight.shape) or up.shape[1] != rank:
        shape = "x".join(map(str, (len(up), *down.shape[1:])))
        held = "x".join(map(str, weight.shape))
        raise ModelError(_foreign(found, base, f"its {name} is {shape}, that model's is {held}"))
    alpha = _alpha(found.config, name)
    scaling = alpha / (math.sqrt(rank) if found.config.get("use_rslora") else rank)
    return merged(weight, down, up, scaling, parts.get("magnitude"))


def _alpha(config: dict[str, Any], name: str) -> float:
    """The layer's own alpha where peft's alpha_pattern, regular expressions for ends of names, has one."""
    for pattern, alpha in (config.get("alpha_pattern") or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", name):
            return float(alpha)
    return float(config.get("lora_alpha", 8))


def _foreign(found: _Found, base: Path, why: str) -> str:
    return (
        f"The adapter {found.folder} belongs to another model than {base}: {why}.\n"
        f"  Set base_model_name_or_path in {found.folder / ADAPTER_CONFIG} to a folder with the model it was trained on."
    )
