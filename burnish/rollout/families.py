"""What differs between families of decoder layers, read from a model of transformers.

Llama's layers norm what goes into attention and feed-forward; OLMo 2's norm what comes out; Gemma 2's do both. Further
differences are numbers: soft caps (Gemma 2), windows of some or all layers, tables of angles for windowed layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

# Rotary kinds whose angles do not depend on how long the sequence is.
_FIXED_ROTARY = ("default", "linear", "llama3", "yarn")
_KINDS = ("full_attention", "sliding_attention")
SILU = ("silu", "swish")


@dataclass(frozen=True, slots=True)
class Family:
    """The names of a layer's norms, "" where it has none, and how their weights are meant.

    one_plus: weights are what is added to 1.
    """

    before_attention: str = "input_layernorm"
    after_attention: str = ""
    before_mlp: str = "post_attention_layernorm"
    after_mlp: str = ""
    one_plus: bool = False

    def weight(self, norm: Any, dtype: torch.dtype) -> Tensor:
        """A norm's factor for each number, as a copy."""
        found: Tensor = norm.weight.detach().to(dtype, copy=True)
        return found.add_(1.0) if self.one_plus else found


LLAMA = Family()
OLMO = Family("", "post_attention_layernorm", "", "post_feedforward_layernorm")
GEMMA = Family(
    "input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm", True
)
FAMILIES: Mapping[str, Family] = {
    "LlamaForCausalLM": LLAMA,
    "MistralForCausalLM": LLAMA,
    "Qwen2ForCausalLM": LLAMA,
    "Qwen3ForCausalLM": LLAMA,
    "Olmo2ForCausalLM": OLMO,
    "Olmo3ForCausalLM": OLMO,
    "Gemma2ForCausalLM": GEMMA,
    "Gemma3ForCausalLM": GEMMA,
}
NAMES = "Llama, Mistral, Qwen2, Qwen3, OLMo 2, OLMo 3, Gemma 2 and Gemma 3"


@dataclass(frozen=True, slots=True)
class Look:
    """How queries look at keys.

    scaling: of their products. cap: a soft cap c on scores, c * tanh(score / c), or None.
    windows: for each layer the number of positions that a token sees, itself included; None is all before it.
    """

    scaling: float
    cap: float | None
    windows: tuple[int | None, ...]

    @property
    def plain(self) -> bool:
        """Whether every layer sees everything, with scores as they are."""
        return self.cap is None and not any(self.windows)

    def capped(self, scores: Tensor) -> Tensor:
        """Scores under the soft cap, in place."""
        return scores if self.cap is None else scores.div_(self.cap).tanh_().mul_(self.cap)


def supports(model: Any) -> bool:
    """Whether the fast forward pass computes exactly what the model does."""
    config = model.config
    if type(model).__name__ not in FAMILIES or activation(config) not in (*SILU, "gelu_pytorch_tanh"):
        return False
    if getattr(config, "use_bidirectional_attention", False) or not set(_kinds(config)) <= set(_KINDS):
        return False
    rotary = model.model.rotary_emb.rope_type
    return set(rotary.values() if isinstance(rotary, dict) else (rotary,)) <= set(_FIXED_ROTARY)


def activation(config: Any) -> str:
    """The name of the gate's function."""
    return str(getattr(config, "hidden_activation", None) or config.hidden_act)


def look(model: Any) -> Look:
    """How the model's queries look at keys."""
    config, attention = model.config, model.model.layers[0].self_attn
    window = getattr(config, "sliding_window", None)
    # A window as long as the context hides nothing.
    seen = window if window is not None and window < config.max_position_embeddings else None
    windows = tuple(seen if kind == "sliding_attention" else None for kind in _kinds(config))
    # Gemma 3 has the number in its configuration and no use for it.
    cap = config.attn_logit_softcapping if type(model).__name__ == "Gemma2ForCausalLM" else None
    return Look(float(attention.scaling), cap, windows)


def angles(rotary: Any, kinds: tuple[str, ...], length: int, dtype: torch.dtype) -> list[tuple[Tensor, Tensor]]:
    """For each layer cos and signed sin [length, 1, E], from the module's own frequencies and scaling.

    sin carries the sign of "rotate half". Layers of one kind share their tables.
    """
    tables = {kind: _table(rotary, kind, length, dtype) for kind in dict.fromkeys(kinds)}
    return [tables[kind] for kind in kinds]


def rotary_kinds(model: Any) -> tuple[str, ...]:
    """For each layer the kind that its angles belong to; "" where all layers share them."""
    kinds = _kinds(model.config)
    return kinds if isinstance(model.model.rotary_emb.rope_type, dict) else ("",) * len(kinds)


def _table(rotary: Any, kind: str, length: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    prefix = f"{kind}_" if kind else ""
    frequencies, scaling = getattr(rotary, f"{prefix}inv_freq"), getattr(rotary, f"{prefix}attention_scaling")
    places = torch.arange(length, device=frequencies.device, dtype=torch.float32)
    # The model rounds its angles in float32 whatever its own type is.
    turned = torch.outer(places, frequencies.float())
    cos, sin = (f(turned) * scaling for f in (torch.cos, torch.sin))
    return torch.cat([cos, cos], -1)[:, None].to(dtype), torch.cat([-sin, sin], -1)[:, None].to(dtype)


def _kinds(config: Any) -> tuple[str, ...]:
    told = getattr(config, "layer_types", None)
    if told:
        return tuple(told)
    # Mistral's window is that of every layer.
    slides = config.model_type == "mistral" and getattr(config, "sliding_window", None) is not None
    return ("sliding_attention" if slides else "full_attention",) * int(config.num_hidden_layers)
