"""The Llama family without padding: fused weights, one row of numbers a token, prompts packed end to end.

Weights are copies in the compute type, taken from the learner's module. Norms, rotary angles and the residual stream
stay float32 (as under the learner's autocast); matrix products and the cache use the compute type.

Shapes: N tokens, D width, H query heads, K key-value heads, G = H/K, E head width, V vocabulary, L cached positions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from burnish.model.attention import Documents, packed_attention
from burnish.rollout.cache import Cache, Running, Shape
from burnish.rollout.linear import Linear

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
        for i, layer in enumerate(inner.layers):
            self._layers[i : i + 1] = [self._layer(layer)]
        self._rotary = inner.rotary_emb

    def prefill(self, prompts: Sequence[Sequence[int]]) -> tuple[list[Tensor], Tensor]:
        """(keys and values of each prompt [Y, 2, K, length, E], logits [prompts, V] after each), prompts packed."""
        lengths = [len(prompt) for prompt in prompts]
        total = sum(lengths)
        tokens = [token for prompt in prompts for token in prompt]
        positions = [place for length in lengths for place in range(length)]
        documents = Documents.of(lengths, self.device)
        kv = torch.empty(
            len(self._layers), 2, self.kv_heads, total, self.head_width, dtype=self.compute, device=self.device
        )

        def attend(layer: int, q_NHE: Tensor, k_NKE: Tensor, v_NKE: Tensor) -> Tensor:
            q, k, v = (x.transpose(0, 1) for x in (q_NHE, k_NKE, v_NKE))
            kv[layer, 0], kv[layer, 1] = k, v
            return packed_attention(q[None], k[None], v[None], documents, self.scaling)[0].flatten(1)

        hidden_ND = self._hidden(tokens, positions, attend)
        ends = torch.tensor(lengths, device=self.device).cumsum(0)
        logits = self._logits(hidden_ND[ends - 1])
        # Each prompt gets its own memory, so that the pack is freed with the last of them.
        return [part.clone() for part in torch.split(kv, lengths, dim=3)], logits

    def decode(self, cache: Cache) -> Tensor:
        """[N, V] logits after the last token of every running sequence, in the cache's order; the cache grows by it."""
        running = cache.order
        shelves = [_ShelfStep(shelf.kv, shelf.rows, self) for shelf in cache.shelves]

        def attend(layer: int, q_NHE: Tensor, k_NKE: Tensor, v_NKE: Tensor) -> Tensor:
            start, outputs = 0, []
            for shelf in shelves:
                part = slice(start, start + shelf.n)
                outputs.append(shelf.attend(layer, q_NHE[part], k_NKE[part], v_NKE[part]))
                start += shelf.n
            return torch.cat(outputs)

        hidden_ND = self._hidden([r.last for r in running], [r.length for r in running], attend)
        return self._logits(hidden_ND)

    def _hidden(self, tokens: list[int], positions: list[int], attend: Attend) -> Tensor:
        """[N, D] hidden states before the final norm; `attend` gets the layer, rotated queries and keys, and values."""
        n, pad = len(tokens), -len(tokens) % ROWS
        index = torch.tensor([tokens + [0] * pad, positions + [0] * pad], device=self.device)
        self._extend_angles(max(positions) + 1)
        cos_N1E, sin_N1E = self._cos[index[1]], self._sin[index[1]]
        x_ND = self._embed[index[0]].to(self.wide)
        width = self.heads * self.head_width
        for i, layer in enumerate(self._layers):
            q, k, v = self._project(layer, x_ND, cos_N1E, sin_N1E)
            mixed = x_ND.new_zeros(n + pad, width, dtype=self.compute) if pad else None
            seen = attend(i, q[:n], k[:n], v[:n])
            if mixed is not None:
                mixed[:n] = seen
                seen = mixed
            x_ND = x_ND + layer.out(seen)
            y = self._normed(x_ND, layer.norm_mlp)
            gate, up = layer.gate_up(y).chunk(2, -1)
            x_ND = x_ND + layer.down(functional.silu(gate) * up)
        return x_ND[:n]

    def _project(self, layer: _Layer, x_ND: Tensor, cos_N1E: Tensor, sin_N1E: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Rotated queries [N, H, E] and keys [N, K, E], and values [N, K, E], in the compute type."""
        fused = layer.qkv(self._normed(x_ND, layer.norm_in))
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
        return functional.rms_norm(x_ND, x_ND.shape[-1:], weight_D, self.eps).to(self.compute)

    def _logits(self, x_ND: Tensor) -> Tensor:
        n = x_ND.shape[0]
        x_ND = functional.pad(x_ND, (0, 0, 0, -n % ROWS))
        logits_NV: Tensor = self._head(self._normed(x_ND, self._norm))
        return logits_NV[:n]

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
            return Linear([x.weight for x in modules], [x.bias for x in modules], self.compute)

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


class _ShelfStep:
    """One shelf during one decode step: where new keys go and which positions each row sees, shared by all layers."""

    def __init__(self, kv: Tensor, rows: Sequence[Running], forward: LlamaForward) -> None:
        self.n, self.kv, self.scaling = len(rows), kv, forward.scaling
        self.kv_heads, self.width, self.head_width = kv.shape[3:]
        lengths = torch.tensor([r.length for r in rows], device=kv.device)
        heads = torch.arange(self.n * self.kv_heads, device=kv.device)
        self.place = heads * self.width + lengths.repeat_interleave(self.kv_heads)
        beyond = torch.arange(self.width, device=kv.device) > lengths[:, None]
        mask = torch.zeros(self.n, self.width, dtype=kv.dtype, device=kv.device).masked_fill_(beyond, -torch.inf)
        group = forward.heads // self.kv_heads
        self.mask = mask[:, None, None].expand(-1, self.kv_heads, group, -1).reshape(-1, group, self.width)

    def attend(self, layer: int, q_NHE: Tensor, k_NKE: Tensor, v_NKE: Tensor) -> Tensor:
        """[N, H*E]: attention of one new token a row over its cached positions, the new one included.

        Query heads that share a key head are the rows of one small matrix product: the cache is read once for all.
        """
        rows = self.n * self.kv_heads
        k, v = (self.kv[layer, i, : self.n].view(rows, self.width, self.head_width) for i in range(2))
        k.view(-1, self.head_width).index_copy_(0, self.place, k_NKE.reshape(rows, -1))
        v.view(-1, self.head_width).index_copy_(0, self.place, v_NKE.reshape(rows, -1))
        q = q_NHE.reshape(rows, -1, self.head_width)
        scores = torch.baddbmm(self.mask, q, k.transpose(1, 2), alpha=self.scaling)
        return torch.bmm(scores.softmax(-1), v).view(self.n, -1)
