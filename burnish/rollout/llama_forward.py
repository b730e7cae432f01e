"""The Llama family without padding: fused weights, one row of numbers a token, prompts packed end to end.

Weights are copies in the compute type, taken from the learner's module. Norms, rotary angles and the residual stream
stay float32 (as under the learner's autocast); matrix products and the cache use the compute type.

Shapes: N tokens, R rows wanted of them, Y layers, D width, H query heads, K key-value heads, E head width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from burnish.model.lora import plain_weight
from burnish.rollout.cache import Cache, Shape
from burnish.rollout.decode_attention import DecodeStep
from burnish.rollout.linear import Linear
from burnish.rollout.span_attention import Span, Spans

FAMILY = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")
# Rotary kinds whose angles do not depend on how long the sequence is.
_FIXED_ROTARY = ("default", "linear", "llama3", "yarn")
# Matrix products give a row the same bits whatever the number of rows, as long as that is a multiple of this (measured
# for float32 and bfloat16 on x86; smaller float32 products take other kernels).
ROWS = 8


def supports(model: Any) -> bool:
    """Whether this file's forward pass computes exactly what the model does."""
    config = model.config
    if type(model).__name__ not in FAMILY or config.hidden_act not in ("silu", "swish"):
        return False
    window = getattr(config, "sliding_window", None)
    layers = getattr(config, "layer_types", None) or ["full_attention"]
    slides = "sliding_attention" in layers or (
        type(model).__name__ == "MistralForCausalLM" and window is not None and window < config.max_position_embeddings
    )
    return not slides and model.model.rotary_emb.rope_type in _FIXED_ROTARY


@dataclass(frozen=True, slots=True, eq=False)
class _Layer:
    norm_in: Tensor
    norm_mlp: Tensor
    norm_q: Tensor | None
    norm_k: Tensor | None
    qkv: Linear
    out: Linear
    gate_up: Linear
    down: Linear


Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]


class LlamaForward:
    """The forward pass of one model of the family, for prompts and for single tokens."""

    def __init__(self, model: Any, compute: torch.dtype) -> None:
        config = model.config
        attention = model.model.layers[0].self_attn
        self.heads, self.kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.head_width, self.scaling = int(attention.head_dim), float(attention.scaling)
        self.eps = float(config.rms_norm_eps)
        self.compute = compute
        self.wide = torch.float64 if compute == torch.float64 else torch.float32
        self.device = model.device
        self._layers: list[_Layer] = []
        self._cos = self._sin = torch.empty(0, 1, self.head_width, dtype=self.wide, device=self.device)
        self.load(model)

    @property
    def shape(self) -> Shape:
        """What the cache holds for a position."""
        return Shape(len(self._layers), self.kv_heads, self.head_width, self.compute, self.device)

    @torch.no_grad()
    def load(self, model: Any) -> None:
        """Take copies of the module's current weights; the old copies are given back layer by layer."""
        inner, head = model.model, model.get_output_embeddings()
        # The lookup keeps the stored precision: rounding it would add to every layer's input.
        self._embed: Tensor = inner.embed_tokens.weight.detach().clone()
        self._norm: Tensor = inner.norm.weight.to(self.wide, copy=True)
        self._head = Linear([head.weight], [head.bias], self.compute)
        tied = head.weight is inner.embed_tokens.weight
        self._head_rows: Tensor = self._embed if tied else head.weight.detach().clone()
        self._head_bias: Tensor | None = None if head.bias is None else head.bias.detach().clone()
        for i, layer in enumerate(inner.layers):
            self._layers[i : i + 1] = [self._layer(layer)]
        self._rotary = inner.rotary_emb

    def run(self, spans: Sequence[Span], wanted: Sequence[int], *, keep: bool = True) -> tuple[list[Tensor], Tensor]:
        """(keys and values of each span [Y, 2, K, its length, E], hidden states [R, D] of the wanted tokens), packed.

        wanted: indices of tokens in the pack. keep=False gives no keys and values.
        """
        lengths = [len(span.tokens) for span in spans]
        tokens = [token for span in spans for token in span.tokens]
        positions = [span.start + i for span in spans for i in range(len(span.tokens))]
        width = (len(self._layers), 2, self.kv_heads, len(tokens) if keep else 0, self.head_width)
        kv = torch.empty(width, dtype=self.compute, device=self.device)
        layout = Spans(spans, (self.heads, self.kv_heads), self.scaling, kv)

        def attend(layer: int, q_NHE: Tensor, k_NKE: Tensor, v_NKE: Tensor) -> Tensor:
            if keep:
                kv[layer, 0], kv[layer, 1] = k_NKE.transpose(0, 1), v_NKE.transpose(0, 1)
            return layout.attend(layer, q_NHE, k_NKE, v_NKE)

        hidden_RD = self._hidden(tokens, positions, attend, torch.tensor(wanted, device=self.device))
        # Each span gets its own memory, so that the pack is freed with the last of them.
        return [part.clone() for part in torch.split(kv, lengths, dim=3)] if keep else [], hidden_RD

    def prefill(self, spans: Sequence[Span]) -> tuple[list[Tensor], Tensor]:
        """(keys and values of each span [Y, 2, K, its length, E], logits [spans, V] after each), packed."""
        ends = accumulate(len(span.tokens) for span in spans)
        kvs, hidden_RD = self.run(spans, [end - 1 for end in ends])
        return kvs, self.logits(hidden_RD)

    def decode(self, cache: Cache) -> Tensor:
        """[N, V] logits after the last token of every running sequence, in the cache's order; the cache grows by it."""
        running = cache.order
        step = DecodeStep(cache, self.heads, self.scaling)
        return self.logits(self._hidden([r.last for r in running], [r.length for r in running], step.attend))

    def logits(self, hidden_ND: Tensor) -> Tensor:
        """[N, V] in the compute type."""
        n = hidden_ND.shape[0]
        padded = functional.pad(hidden_ND, (0, 0, 0, -n % ROWS))
        logits_NV: Tensor = self._head(self._normed(padded, self._norm).to(self.compute))
        return logits_NV[:n]

    def logits_of(self, hidden_ND: Tensor, tokens_N: Tensor) -> Tensor:
        """[N] logit of one token after each state, from the stored weights in the wide type: without the rounding of a
        bfloat16 product, which is as large as the differences between answers.
        """
        rows = self._head_rows[tokens_N].to(self.wide)
        own = (self._normed(hidden_ND, self._norm) * rows).sum(-1)
        return own if self._head_bias is None else own + self._head_bias[tokens_N].to(self.wide)

    def _hidden(
        self, tokens: list[int], positions: list[int], attend: Attend, wanted_R: Tensor | None = None
    ) -> Tensor:
        """[N, D] hidden states before the final norm, or [R, D] of the wanted tokens; `attend` gets the layer, rotated
        queries and keys, and values.
        """
        n, pad = len(tokens), -len(tokens) % ROWS
        index = torch.tensor([tokens + [0] * pad, positions + [0] * pad], device=self.device)
        self._extend_angles(max(positions) + 1)
        cos_N1E, sin_N1E = self._cos[index[1]], self._sin[index[1]]
        x_ND = self._embed[index[0]].to(self.wide)
        for i, layer in enumerate(self._layers):
            q, k, v = self._project(layer, x_ND, cos_N1E, sin_N1E)
            seen = attend(i, q[:n], k[:n], v[:n])
            if wanted_R is not None and i == len(self._layers) - 1:
                # What follows the last attention is computed for the wanted tokens only.
                x_ND, seen, n = x_ND[wanted_R], seen[wanted_R], len(wanted_R)
                x_ND = functional.pad(x_ND, (0, 0, 0, -n % ROWS))
            if len(x_ND) > n:
                seen = functional.pad(seen, (0, 0, 0, len(x_ND) - n))
            x_ND = x_ND + layer.out(seen)
            y = self._normed(x_ND, layer.norm_mlp).to(self.compute)
            gate, up = layer.gate_up(y).chunk(2, -1)
            x_ND = x_ND + layer.down(functional.silu(gate) * up)
        return x_ND[:n]

    def _project(self, layer: _Layer, x_ND: Tensor, cos_N1E: Tensor, sin_N1E: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Rotated queries [N, H, E] and keys [N, K, E], and values [N, K, E], in the compute type."""
        fused = layer.qkv(self._normed(x_ND, layer.norm_in).to(self.compute))
        heads = fused.view(len(fused), -1, self.head_width)
        turned, v = heads[:, : self.heads + self.kv_heads], heads[:, self.heads + self.kv_heads :]
        turned = turned.to(self.wide)
        if layer.norm_q is not None and layer.norm_k is not None:
            parts = ((turned[:, : self.heads], layer.norm_q), (turned[:, self.heads :], layer.norm_k))
            turned = torch.cat([functional.rms_norm(p, p.shape[-1:], w, self.eps) for p, w in parts], 1)
        # sin carries the sign of "rotate half", so that a roll replaces the negate-and-join.
        turned = torch.addcmul(turned * cos_N1E, turned.roll(self.head_width // 2, -1), sin_N1E).to(self.compute)
        return turned[:, : self.heads], turned[:, self.heads :], v

    def _normed(self, x_ND: Tensor, weight_D: Tensor) -> Tensor:
        return functional.rms_norm(x_ND, x_ND.shape[-1:], weight_D, self.eps)

    def _extend_angles(self, length: int) -> None:
        """Make the rotary tables cover `length` positions, from the module's own frequencies and scaling."""
        if length <= len(self._cos):
            return
        room = max(256, 1 << (length - 1).bit_length())
        places = torch.arange(room, device=self.device, dtype=torch.float32)
        # The model rounds its angles in float32 whatever its own type is.
        angles = torch.outer(places, self._rotary.inv_freq.to(self.device, torch.float32))
        cos, sin = (f(angles) * self._rotary.attention_scaling for f in (torch.cos, torch.sin))
        self._cos = torch.cat([cos, cos], -1)[:, None].to(self.wide)
        self._sin = torch.cat([-sin, sin], -1)[:, None].to(self.wide)

    def _layer(self, layer: Any) -> _Layer:
        a, m = layer.self_attn, layer.mlp

        def norm(module: Any) -> Tensor:
            copy: Tensor = module.weight.to(self.wide, copy=True)
            return copy

        def joined(*modules: Any) -> Linear:
            return Linear([plain_weight(x) for x in modules], [x.bias for x in modules], self.compute)

        return _Layer(
            norm_in=norm(layer.input_layernorm),
            norm_mlp=norm(layer.post_attention_layernorm),
            norm_q=norm(a.q_norm) if hasattr(a, "q_norm") else None,
            norm_k=norm(a.k_norm) if hasattr(a, "k_norm") else None,
            qkv=joined(a.q_proj, a.k_proj, a.v_proj),
            out=joined(a.o_proj),
            gate_up=joined(m.gate_proj, m.up_proj),
            down=joined(m.down_proj),
        )
