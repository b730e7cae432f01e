"""The forward pass of a packed row through a Llama-like model, from the pieces in burnish.model.fused.

It reads the parameters of the transformers module and leaves the module alone. A policy compares it with the module's
own forward pass before it uses it.

Shapes: N packed tokens, D width, E head width, H query heads, K key heads, R chosen rows.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from burnish.model.attention import Documents, attend
from burnish.model.fused import embed, linear, norm, rotate, swiglu, wide_type
from burnish.model.layers import again, waiting
from burnish.model.lora import AdaptedLinear, adapted_linear
from burnish.model.parallel import PACKED, held_here
from burnish.model.tensor_parallel import Divided
from burnish.pipeline.machine import Machine

_FAMILY = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")
_NORMS = ("LlamaRMSNorm", "MistralRMSNorm", "Qwen2RMSNorm", "Qwen3RMSNorm")


def supports(model: Any) -> bool:
    """Whether this file knows every part of the model: classes by their exact name, SwiGLU, plain projections."""
    config = model.config
    if type(model).__name__ not in _FAMILY or config.hidden_act not in ("silu", "swish"):
        return False
    inner = model.base_model
    norms = [inner.norm] + [
        n for layer in inner.layers for n in (layer.input_layernorm, layer.post_attention_layernorm)
    ]
    projections = [p for layer in inner.layers for p in (*_attention_linears(layer), *_mlp_linears(layer))]
    return all(type(n).__name__ in _NORMS for n in norms) and all(
        type(getattr(p, "base", p)) is torch.nn.Linear for p in projections
    )


class NarrowWeights:
    """Weights in the compute type, stacked along their rows as matrix products want them.

    Copies of frozen weights are kept until the weights change. Trainable weights are copied at every call: torch's fused
    optimizers change them without a trace, and a copy costs a hundredth of a training step.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[int, ...], tuple[list[tuple[int, int]], Tensor]] = {}

    @torch.no_grad()
    def of(self, weights: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
        """The weights stacked along their rows in `dtype`; one weight of that type is returned as it is."""
        if len(weights) == 1 and weights[0].dtype == dtype:
            return held_here(weights[0]).detach()
        if any(weight.requires_grad for weight in weights):
            return _stacked([held_here(weight) for weight in weights], dtype)
        key = tuple(id(weight) for weight in weights)
        state = [(weight.data_ptr(), weight._version) for weight in weights]
        known = self._kept.get(key)
        if known is None or known[0] != state or known[1].dtype != dtype:
            known = self._kept[key] = (state, _stacked(weights, dtype))
        return known[1]


def _stacked(weights: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
    out = torch.empty(sum(map(len, weights)), *weights[0].shape[1:], dtype=dtype, device=weights[0].device)
    start = 0
    for weight in weights:
        out[start : start + len(weight)] = weight
        start += len(weight)
    return out


@dataclass(frozen=True, slots=True, eq=False)
class _Place:
    """What every layer of one pass is given: the angles of each token, the documents and the type of matrix products."""

    cos_NE: Tensor
    sin_NE: Tensor
    documents: Documents
    compute: torch.dtype


class PackedLlama:
    """Hidden states of packed documents; gradients flow into the module's parameters.

    divided: whose part of each layer's matrices the module has, where several ranks hold it together.
    """

    def __init__(self, model: Any, narrow: NarrowWeights, machine: Machine) -> None:
        self._inner, self._config, self._narrow, self._machine = model.base_model, model.config, narrow, machine
        self.divided: Divided | None = None

    def hidden(
        self, tokens_N: Tensor, positions_N: Tensor, documents: Documents, rows_R: Tensor, compute: torch.dtype
    ) -> Tensor:
        """[R, D] states after the final norm at the rows asked for, in the wide type."""
        inner = self._inner
        x_ND = embed(inner.embed_tokens.weight, tokens_N, inner.embed_tokens.padding_idx)
        cos_NE, sin_NE = (part[0] for part in inner.rotary_emb(x_ND, position_ids=positions_N[None]))
        place = _Place(cos_NE, sin_NE, documents, compute)
        with waiting(self._machine):
            for layer in inner.layers:
                # Past the last attention nothing depends on rows that nobody reads.
                rows = rows_R if layer is inner.layers[-1] else None
                run = functools.partial(getattr(layer, PACKED, None) or self.layer(layer), place, rows)
                x_ND = again(run, x_ND) if self._machine.recompute == "layers" else run(x_ND)
        return norm(x_ND, *_norm_of(inner.norm), wide_type(compute))

    def layer(self, layer: Any) -> Callable[[_Place, Tensor | None, Tensor], Tensor]:
        """The forward pass of one layer. Shards of weights are put together around a method PACKED of the layer."""
        return functools.partial(self._layer, layer)

    def _layer(self, layer: Any, place: _Place, rows_R: Tensor | None, x_ND: Tensor) -> Tensor:
        """[N, D], or [R, D] at the rows asked for."""
        seen = self._attention(layer, x_ND, place)
        if rows_R is not None:
            x_ND, seen = x_ND.index_select(0, rows_R), seen.index_select(0, rows_R)
        x_ND = self._onto(x_ND, seen, layer.self_attn.o_proj)
        y = norm(x_ND, *_norm_of(layer.post_attention_layernorm), place.compute)
        both = self._linear(self._spread(y), [layer.mlp.gate_proj, layer.mlp.up_proj])
        return self._onto(x_ND, swiglu(both), layer.mlp.down_proj)

    def _spread(self, x_ND: Tensor) -> Tensor:
        """The input of matrices that ranks have some rows of."""
        return x_ND if self.divided is None else self.divided.spread(x_ND)

    def _onto(self, x_ND: Tensor, y: Tensor, projection: Any) -> Tensor:
        """The stream and what a projection adds to it, from all ranks that have some columns of it."""
        if self.divided is None:
            return self._linear(y, [projection], residual=x_ND)
        weight, bias = projection.weight, projection.bias
        found = self.divided.summed(linear(y, [held_here(weight)], self._narrow.of([weight], y.dtype)))
        return x_ND + (found if bias is None else found + held_here(bias))

    def _attention(self, layer: Any, x_ND: Tensor, place: _Place) -> Tensor:
        module, compute = layer.self_attn, place.compute
        y = norm(x_ND, *_norm_of(layer.input_layernorm), compute)
        width = int(module.head_dim)
        projections = [module.q_proj, module.k_proj, module.v_proj]
        parts = 1 if self.divided is None else self.divided.size
        sizes = [projection.out_features // parts for projection in projections]
        fused = self._linear(self._spread(y), projections)
        query, key, value = torch.split(fused, sizes, 1)
        if hasattr(module, "q_norm"):
            query, key = (
                norm(part.reshape(-1, width).to(x_ND.dtype), *_norm_of(n), compute).view(len(part), -1)
                for part, n in ((query, module.q_norm), (key, module.k_norm))
            )
        query, key = (rotate(part, place.cos_NE, place.sin_NE) for part in (query, key))
        heads = sizes[0] // width, sizes[1] // width
        # Mistral's layers all slide and read it from the configuration.
        source = self._config if self._config.model_type == "mistral" else module
        window = getattr(source, "sliding_window", None)
        rest = heads, place.documents, float(module.scaling), window
        keeps_less = self._machine.recompute == "attention"
        found: Tensor = again(attend, query, key, value, *rest) if keeps_less else attend(query, key, value, *rest)
        return found

    def _linear(self, x: Tensor, projections: Sequence[Any], *, residual: Tensor | None = None) -> Tensor:
        weights = [projection.weight for projection in projections]
        biases = [held_here(projection.bias) for projection in projections if projection.bias is not None]
        bias = torch.cat(biases) if biases else None
        narrow = self._narrow.of(weights, x.dtype)
        if any(isinstance(projection, AdaptedLinear) for projection in projections):
            return adapted_linear(x, projections, narrow, bias=bias, residual=residual)
        return linear(x, [held_here(weight) for weight in weights], narrow, bias=bias, residual=residual)


def _attention_linears(layer: Any) -> tuple[Any, ...]:
    a = layer.self_attn
    return a.q_proj, a.k_proj, a.v_proj, a.o_proj


def _mlp_linears(layer: Any) -> tuple[Any, ...]:
    return layer.mlp.gate_proj, layer.mlp.up_proj, layer.mlp.down_proj


def _norm_of(module: Any) -> tuple[Tensor, float]:
    return module.weight, float(module.variance_epsilon)
