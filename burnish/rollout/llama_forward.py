"""Llama and its relatives without padding: fused weights, one row of numbers a token, prompts packed end to end.

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
from burnish.rollout.compiled.steps import CompiledRows, CompiledStep, compiles
from burnish.rollout.decode_attention import DecodeStep
from burnish.rollout.families import FAMILIES, LLAMA, SILU, activation, angles, look, rotary_kinds
from burnish.rollout.linear import Linear
from burnish.rollout.rows import TorchRows
from burnish.rollout.span_attention import Span, Spans

# Matrix products give a row the same bits whatever the number of rows, as long as that is a multiple of this (measured
# for float32 and bfloat16 on x86; smaller float32 products take other kernels).
ROWS = 8


@dataclass(frozen=True, slots=True, eq=False)
class _Layer:
    """One layer's weights. Norms that its family does not have are None; norms: of queries and keys, [E] or [heads, E]."""

    before_attention: Tensor | None
    after_attention: Tensor | None
    before_mlp: Tensor | None
    after_mlp: Tensor | None
    norms: tuple[Tensor, Tensor] | None
    qkv: Linear
    out: Linear
    gate_up: Linear
    down: Linear


Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]


class LlamaForward:
    """The forward pass of one model of the family, for prompts and for single tokens."""

    def __init__(self, model: Any, compute: torch.dtype) -> None:
        config, self.family = model.config, FAMILIES[type(model).__name__]
        self.heads, self.kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.head_width, self.look = int(model.model.layers[0].self_attn.head_dim), look(model)
        self.eps = float(config.rms_norm_eps)
        self._cap: float | None = getattr(config, "final_logit_softcapping", None)
        self.compute = compute
        self.wide = torch.float64 if compute == torch.float64 else torch.float32
        self.device = model.device
        self._layers: list[_Layer] = []
        self._kinds = rotary_kinds(model)
        self._angles: list[tuple[Tensor, Tensor]] = []
        gate = activation(config)
        # The compiled loops know Llama's layers.
        plain = self.family is LLAMA and self.look.plain and gate in SILU
        self.compiled = compute == torch.bfloat16 and self.device.type == "cpu" and plain and compiles()
        self._rows: TorchRows | CompiledRows = TorchRows(self.heads, compute, self.eps, gate)
        if self.compiled:
            self._rows = CompiledRows(self.heads, self.kv_heads, self.eps)
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
        # Gemma's embedding has a factor, in the type of its weights.
        factor = getattr(inner.embed_tokens, "embed_scale", None)
        self._factor: Tensor | None = None if factor is None else factor.to(self._embed.dtype)
        self._norm: Tensor = self.family.weight(inner.norm, self.wide)
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
        layout = Spans(spans, (self.heads, self.kv_heads), self.look, kv)

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
        if self.compiled:
            step: CompiledStep | DecodeStep = CompiledStep(cache, self.heads, self.look.scaling)
        else:
            step = DecodeStep(cache, self.heads, self.look)
        return self.logits(self._hidden([r.last for r in running], [r.length for r in running], step.attend))

    def logits(self, hidden_ND: Tensor) -> Tensor:
        """[N, V] in the compute type."""
        n = hidden_ND.shape[0]
        padded = functional.pad(hidden_ND, (0, 0, 0, -n % ROWS))
        logits_NV: Tensor = self._head(self._rows.normed(padded, self._norm))
        return self._capped(logits_NV[:n])

    def logits_of(self, hidden_ND: Tensor, tokens_N: Tensor) -> Tensor:
        """[N] logit of one token after each state, from the stored weights in the wide type: without the rounding of a
        bfloat16 product, which is as large as the differences between answers.
        """
        rows = self._head_rows[tokens_N].to(self.wide)
        own = (functional.rms_norm(hidden_ND, hidden_ND.shape[-1:], self._norm, self.eps) * rows).sum(-1)
        return self._capped(own if self._head_bias is None else own + self._head_bias[tokens_N].to(self.wide))

    def _capped(self, logits: Tensor) -> Tensor:
        return logits if self._cap is None else (logits / self._cap).tanh() * self._cap

    def _hidden(
        self, tokens: list[int], positions: list[int], attend: Attend, wanted_R: Tensor | None = None
    ) -> Tensor:
        """[N, D] hidden states before the final norm, or [R, D] of the wanted tokens; `attend` gets the layer, rotated
        queries and keys, and values.
        """
        n, pad = len(tokens), -len(tokens) % ROWS
        index = torch.tensor([tokens + [0] * pad, positions + [0] * pad], device=self.device)
        self._extend_angles(max(positions) + 1)
        x_ND = self._embed[index[0]]
        x_ND = (x_ND if self._factor is None else x_ND * self._factor).to(self.wide)
        y = self._rows.normed(x_ND, self._layers[0].before_attention)
        for i, layer in enumerate(self._layers):
            q, k, v = self._rows.rotated(layer.qkv(y), index[1], self._angles[i], layer.norms)
            seen = attend(i, q[:n], k[:n], v[:n])
            if wanted_R is not None and i == len(self._layers) - 1:
                # What follows the last attention is computed for the wanted tokens only.
                x_ND, seen, n = x_ND[wanted_R], seen[wanted_R], len(wanted_R)
                x_ND = functional.pad(x_ND, (0, 0, 0, -n % ROWS))
            if len(x_ND) > n:
                seen = functional.pad(seen, (0, 0, 0, len(x_ND) - n))
            y = self._rows.normed(layer.out(seen), layer.after_attention)
            y = self._rows.added(x_ND, y, layer.before_mlp)
            y = self._rows.normed(layer.down(self._rows.gated(layer.gate_up(y))), layer.after_mlp)
            if i < len(self._layers) - 1:
                y = self._rows.added(x_ND, y, self._layers[i + 1].before_attention)
        return (x_ND + y)[:n]

    def _extend_angles(self, length: int) -> None:
        """Make the rotary tables cover `length` positions, from the module's own frequencies and scaling."""
        if self._angles and length <= len(self._angles[0][0]):
            return
        self._angles = angles(self._rotary, self._kinds, max(256, 1 << (length - 1).bit_length()), self.wide)

    def _layer(self, layer: Any) -> _Layer:
        a, m = layer.self_attn, layer.mlp

        def norm(name: str) -> Tensor | None:
            return self.family.weight(getattr(layer, name), self.wide) if name else None

        def head_norm(module: Any) -> Tensor:
            weight = self.family.weight(module, self.wide)
            # OLMo norms all heads of a token together.
            return weight if weight.numel() == self.head_width else weight.view(-1, self.head_width)

        def joined(*modules: Any) -> Linear:
            return Linear([plain_weight(x) for x in modules], [x.bias for x in modules], self.compute)

        return _Layer(
            before_attention=norm(self.family.before_attention),
            after_attention=norm(self.family.after_attention),
            before_mlp=norm(self.family.before_mlp),
            after_mlp=norm(self.family.after_mlp),
            norms=(head_norm(a.q_norm), head_norm(a.k_norm)) if hasattr(a, "q_norm") else None,
            qkv=joined(a.q_proj, a.k_proj, a.v_proj),
            out=joined(a.o_proj),
            gate_up=joined(m.gate_proj, m.up_proj),
            down=joined(m.down_proj),
        )
