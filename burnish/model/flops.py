"""Model FLOPs: the floating-point operations that a step's mathematics needs, from the shapes of the model and the rows.

    forward  = 2 × (matrix parameters × positions + head × positions with a label) + attention
    attention = 4 × heads × head width × pairs, in each layer: two products (query·key, share·value) of two operations
    training = forward + gradients of inputs + gradients of weights = 3 × forward where everything is trained
so a training step costs 6 × matrix parameters × tokens, the head counted only where there is a label, and 3 × attention.

pairs: position t of a document sees itself and the t before it (a sliding window: at most so many), so a document of L
positions has L (L + 1) / 2 pairs, half of the square: what a causal kernel may skip is not counted. Nor are padding, the
second copy of a beginning that rows share, recomputation, norms, rotations, softmax and the optimizer. Frozen matrices need no gradient of their own, and no input needs one
below the lowest thing that is trained. The convention is that of PaLM (arXiv:2204.02311, appendix B), with labels and causality
counted as they are. Standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

# Decoders of attention and a gated feed-forward block whose shapes stand in these fields of their config.json.
FAMILIES = frozenset(
    [
        "llama",
        "mistral",
        "qwen2",
        "qwen3",
        "gemma",
        "gemma2",
        "gemma3_text",
        "olmo",
        "olmo2",
        "olmo3",
        "phi3",
        "smollm3",
        "granite",
        "ministral",
        "cohere",
    ]
)
_LAYER = re.compile(r"(?:^|\.)layers\.(\d+)\.")


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a decoder.

    inner:   width of the feed-forward block, which has three matrices (gate, up, down).
    windows: for each layer the most positions a query sees; 0 for all of them.
    """

    layers: int
    width: int
    heads: int
    key_heads: int
    head_width: int
    inner: int
    vocabulary: int
    tied: bool
    windows: tuple[int, ...]

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Self | None:
        """The shape that a config.json describes; None for a family that this file does not know (mixtures of experts …)."""
        told = config.get("text_config") or config
        if told.get("model_type") not in FAMILIES:
            return None
        width, heads, layers = (int(told[n]) for n in ("hidden_size", "num_attention_heads", "num_hidden_layers"))
        return cls(
            layers=layers,
            width=width,
            heads=heads,
            key_heads=int(told.get("num_key_value_heads") or heads),
            head_width=int(told.get("head_dim") or width // heads),
            inner=int(told["intermediate_size"]),
            vocabulary=int(told["vocab_size"]),
            tied=bool(told.get("tie_word_embeddings", config.get("tie_word_embeddings", False))),
            windows=_windows(told, layers),
        )

    @property
    def query_width(self) -> int:
        """Numbers a position has for its queries, all heads together."""
        return self.heads * self.head_width

    @property
    def key_width(self) -> int:
        """The same for keys, and for values."""
        return self.key_heads * self.head_width

    @property
    def layer_matrices(self) -> int:
        """Parameters of one layer's matrices: queries, keys, values, output, gate, up and down."""
        return self.width * (2 * self.query_width + 2 * self.key_width + 3 * self.inner)

    @property
    def head(self) -> int:
        """Parameters of the head."""
        return self.width * self.vocabulary

    @property
    def parameters(self) -> int:
        """All matrices and embeddings, a shared one once, and two norms a layer."""
        outer = self.head * (1 if self.tied else 2)
        return self.layers * (self.layer_matrices + 2 * self.width) + outer + self.width

    def pairs(self, lengths: Sequence[int], before: Sequence[int] = ()) -> float:
        """(query, key) pairs of documents of these lengths, summed over the layers.

        before: tokens of an earlier document that each one continues, and sees too; none where it is left out.
        """
        kinds = {window: self.windows.count(window) for window in set(self.windows)}
        ahead = before or [0] * len(lengths)
        return float(
            sum(
                (_pairs(start + length, window) - _pairs(start, window)) * n
                for start, length in zip(ahead, lengths, strict=True)
                for window, n in kinds.items()
            )
        )


def _windows(told: Mapping[str, Any], layers: int) -> tuple[int, ...]:
    window = int(told.get("sliding_window") or 0)
    kinds: Sequence[str] | None = told.get("layer_types")
    if kinds:
        return tuple(window if kind == "sliding_attention" else 0 for kind in kinds)
    # Without a list, Mistral's layers all slide; other families say so in a field of their own, and older ones not at all.
    return (window if told.get("model_type") == "mistral" or told.get("use_sliding_window") else 0,) * layers


def _pairs(length: int, window: int) -> int:
    if not window or window >= length:
        return length * (length + 1) // 2
    return window * (window + 1) // 2 + (length - window) * window


@dataclass(frozen=True, slots=True)
class Work:
    """The FLOPs of passes over documents through one model, some of which may be frozen.

    head:     parameters of what reads the labelled positions: the vocabulary's head, or a reward model's one row.
    trained:  parameters of the layers' own matrices that get a gradient; None for all of them.
    adapters: parameters of matrices that adapters add beside them, all trained.
    first:    the lowest layer with anything trained; inputs below it get no gradient. -1 where the embeddings are trained too.
              Its own inputs are counted: the norm before its first products is trained with it.
    head_trained: whether the head gets a gradient.
    """

    shape: Shape
    head: int
    trained: int | None = None
    adapters: int = 0
    first: int = -1
    head_trained: bool = True

    @classmethod
    def of_shape(cls, shape: Shape) -> Self:
        """A causal LM of which everything is trained."""
        return cls(shape, shape.head)

    @classmethod
    def of_model(cls, model: Any) -> Self | None:
        """The work of a transformers model as it stands, frozen and added matrices seen; None where its shape is unknown."""
        shape = Shape.of(model.config.to_dict())
        outer = model.get_output_embeddings()
        if shape is None or outer is None:
            return None
        seen = _seen(model)
        adapters = max(0, seen.matrices - shape.layers * shape.layer_matrices)
        first = -1 if model.get_input_embeddings().weight.requires_grad else min(seen.layers, default=shape.layers)
        return cls(
            shape,
            head=int(outer.weight.shape[0]) * shape.width,
            trained=None if seen.trained == shape.layers * shape.layer_matrices else max(0, seen.trained - adapters),
            adapters=adapters,
            first=first,
            head_trained=bool(outer.weight.requires_grad),
        )

    def what(self, title: str) -> str:
        """A name for training of this kind on a model of these sizes: runs of the same name are equally fast."""
        s = self.shape
        sizes = f"{s.layers}x{s.width}, heads {s.heads}/{s.key_heads}x{s.head_width}, inner {s.inner}, head {self.head}"
        part = (
            ""
            if self.trained is None and self.head_trained
            else f", trained {self.trained}+{self.adapters} from {self.first}"
        )
        return f"{title}: {sizes}{part}"

    def forward(self, lengths: Sequence[int], labels: int, before: Sequence[int] = ()) -> float:
        """FLOPs of scoring documents of these lengths, `labels` of whose positions are read. before: as in Shape.pairs."""
        inside = self.shape.layers * self.shape.layer_matrices + self.adapters
        pairs = self.shape.pairs(lengths, before)
        return 2.0 * (inside * sum(lengths) + self.head * labels) + self._attention(pairs, self.shape.layers)

    def training(self, lengths: Sequence[int], labels: int, before: Sequence[int] = ()) -> float:
        """FLOPs of the same with its backward pass."""
        tokens, pairs = sum(lengths), self.shape.pairs(lengths, before)
        return (
            self.forward(lengths, labels, before) + self._inputs(tokens, labels, pairs) + self._weights(tokens, labels)
        )

    def _inputs(self, tokens: int, labels: int, pairs: float) -> float:
        """Gradients of what goes into each product: from the head down to the lowest thing trained."""
        shape = self.shape
        above = shape.layers - max(self.first, 0)
        matrices = above * shape.layer_matrices + self.adapters
        head = 2.0 * self.head * labels if above or self.first < 0 else 0.0
        return 2.0 * matrices * tokens + head + 2 * self._attention(pairs, above)

    def _weights(self, tokens: int, labels: int) -> float:
        """Gradients of the weights themselves."""
        own = self.shape.layers * self.shape.layer_matrices if self.trained is None else self.trained
        return 2.0 * (own + self.adapters) * tokens + (2.0 * self.head * labels if self.head_trained else 0.0)

    def _attention(self, pairs: float, layers: int) -> float:
        return 4.0 * self.shape.query_width * pairs * layers / self.shape.layers


@dataclass(slots=True)
class _Seen:
    """What a live model's layers hold: parameters of matrices, those that are trained, and the layers with any."""

    matrices: int = 0
    trained: int = 0
    layers: set[int] = field(default_factory=set)


def _seen(model: Any) -> _Seen:
    found = _Seen()
    for name, weight in model.named_parameters():
        layer = _LAYER.search(name)
        if layer is None:
            continue
        if weight.requires_grad:
            found.layers.add(int(layer[1]))
        if weight.ndim == 2:
            found.matrices += weight.numel()
            found.trained += weight.numel() if weight.requires_grad else 0
    return found
