"""What of a model is trained, as values: all of it, some of its layers, or adapters of low rank beside frozen weights.

A stage's field `trains` holds one. Whatever is trained, the artifact's `model` is a plain Hugging Face folder.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

from burnish.errors import RecipeError, nearest
from burnish.pipeline.machine import Machine


class Trains(Protocol):
    """A frozen dataclass that makes some weights of a loaded model trainable and freezes the others."""

    def attach(self, model: Any, *, seed: int, machine: Machine) -> None:
        """Set requires_grad of every parameter; may put modules with parameters of their own in place of the model's.

        model: a transformers model in float32 on the CPU, before it moves to the machine's device.
        """


@dataclass(frozen=True, slots=True)
class All:
    """Every weight: full fine-tuning."""

    VERSION: ClassVar[int] = 1

    def attach(self, model: Any, *, seed: int, machine: Machine) -> None:
        """Nothing is frozen."""
        model.requires_grad_(True)


@dataclass(frozen=True, slots=True)
class Layers:
    """Some layers of the model as they are; all others stay frozen, without gradients and without optimizer state.

    last:       so many of the last decoder layers.
    these:      decoder layers by number, the first is 0; in addition to `last`.
    embeddings: the table of token embeddings.
    head:       the output head; where it is the same weight as the embeddings, both or neither.
    norms:      the norms of the trained layers and the one after the last layer.
    """

    VERSION: ClassVar[int] = 1

    last: int = 0
    these: tuple[int, ...] = ()
    embeddings: bool = False
    head: bool = False
    norms: bool = True

    def __post_init__(self) -> None:
        if self.last < 0 or any(i < 0 for i in self.these):
            raise RecipeError(
                f"{self}: layers are counted from 0 up.\n  Give last=2 for the last two, or these=(0, 1)."
            )
        if not (self.last or self.these or self.embeddings or self.head):
            raise RecipeError(
                "Layers(): no layer is named, so nothing could learn.\n"
                "  Give last=2 for the last two layers, these=(0, 1), embeddings=True or head=True."
            )

    def attach(self, model: Any, *, seed: int, machine: Machine) -> None:
        """Freeze what is not named. Raises RecipeError for layers that the model does not have."""
        from burnish.model.layers import decoder_layers

        prefix, layers = decoder_layers(model)
        count = len(layers)
        if not count:
            raise RecipeError(
                f"{type(model).__name__} does not keep its layers in one list, so they cannot be frozen by number.\n"
                "  Use LoRA(…) or All()."
            )
        if max(self.last, *(i + 1 for i in self.these), 0) > count:
            raise RecipeError(
                f"{self}: the model has {count} layers, 0 to {count - 1}.\n  Name layers that it has, or last={count}."
            )
        tables, head = model.get_input_embeddings(), model.get_output_embeddings()
        tied = head is not None and head.weight is tables.weight
        if tied and self.embeddings != self.head:
            raise RecipeError(
                f"{self}: this model's head is its table of embeddings, one weight, so it cannot train one without the other.\n"
                "  Give embeddings=True, head=True, or neither."
            )
        chosen = {*range(count - self.last, count), *self.these}
        inside = tuple(f"{prefix}.{i}." for i in chosen)
        norms = {id(weight) for weight in _norm_weights(model)}
        ends = {id(w): self.embeddings for w in tables.parameters()}
        ends |= {id(w): self.head for w in (head.parameters() if head is not None else ())}
        for name, weight in model.named_parameters():
            if id(weight) in ends:
                trained = ends[id(weight)]
            elif id(weight) in norms:
                trained = self.norms and (name.startswith(inside) or not name.startswith(f"{prefix}."))
            else:
                trained = name.startswith(inside)
            weight.requires_grad_(trained)


@dataclass(frozen=True, slots=True)
class LoRA:
    """Adapters of low rank: W + alpha / rank * B A, of which only A and B are trained (arXiv:2106.09685, §4.1).

    rank:     rows of A; the paper finds that 1 to 8 suffice for its tasks, QLoRA takes 64 (arXiv:2305.14314).
    alpha:    with the rank, what the difference is scaled by.
    targets:  ends of the names of the linear layers that get one, e.g. ("q_proj", "v_proj"); () is every linear layer but
              the head, which QLoRA found needed to match full fine-tuning (§4).
    dora:     the length of each row of W is trained by itself (arXiv:2402.09353); its norm counts as a constant (§4.3).
    rslora:   scale by alpha / sqrt(rank), so that high ranks learn as fast as low ones (arXiv:2312.03732).
    quantize: "nf4" holds the frozen linear layers in 4 bits, scales quantized too (QLoRA, §3); needs bitsandbytes.

    A starts uniform in ±1 / sqrt(width) and B at 0, so training starts at the base model. There is no dropout.
    """

    VERSION: ClassVar[int] = 1

    rank: int = 16
    alpha: float = 32.0
    targets: tuple[str, ...] = ()
    dora: bool = False
    rslora: bool = False
    quantize: Literal["", "nf4"] = ""

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise RecipeError(f"LoRA(rank={self.rank}): an adapter needs at least one row.\n  Give 8, 16 or 64.")
        if not 0 < self.alpha < math.inf:
            raise RecipeError(
                f"LoRA(alpha={self.alpha}): the adapter would be scaled by it.\n  Give a number above 0, e.g. 32."
            )
        if self.quantize not in ("", "nf4"):
            raise RecipeError(f"LoRA(quantize={self.quantize!r}): no such format. {nearest(self.quantize, ('nf4',))}")

    @property
    def scaling(self) -> float:
        """What B A is multiplied by."""
        return self.alpha / (math.sqrt(self.rank) if self.rslora else self.rank)

    def attach(self, model: Any, *, seed: int, machine: Machine) -> None:
        """Freeze the model and put adapters at the targets. Raises RecipeError for targets that it does not have."""
        from burnish.model.lora import attach_adapters

        attach_adapters(model, self, seed=seed, machine=machine)


def _norm_weights(model: Any) -> list[Any]:
    return [
        weight for module in model.modules() if "norm" in type(module).__name__.lower()
        for weight in module.parameters(recurse=False)
    ]  # fmt: skip
