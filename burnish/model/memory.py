"""The memory of training a model, part by part, from shapes. Sizes in bytes; standard library only, so that plans are quick.

Activations are what the packed forward pass of burnish.model.llama keeps for its backward pass; other families and CUDA keep
more, so for them the other parts are a floor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from burnish.model.flops import Shape, Work
from burnish.pipeline.machine import Machine

# Families whose packed rows run through burnish.model.llama on a CPU.
OWN_LAYERS = ("llama", "mistral", "qwen2", "qwen3")
# Python, torch and transformers, loaded; measured.
PROGRAM = 440 << 20
# As in burnish.model.head and burnish.model.attention, which load torch.
KEPT_LOGITS, KEPT_PROBABILITIES, BLOCK, CHUNK = 512 << 20, 512, 256, 512
# Rows of like length are padded together: documents take a little more than their tokens.
PADDED = 1.1


@dataclass(frozen=True, slots=True)
class Batch:
    """The documents of a micro-batch: their lengths, what each one continues (`before` in Shape.pairs), positions with a label.

    several: whether its optimizer step has more micro-batches.
    """

    lengths: tuple[int, ...]
    before: tuple[int, ...]
    labels: int
    several: bool


def training_memory(work: Work, machine: Machine, batch: Batch, state: int, *, ranks: int = 1) -> dict[str, int]:
    """Bytes of one process at its peak, by part.

    state: bytes the optimizer keeps. ranks: how many processes share weights, gradients and optimizer state in shards.
    """
    shape = work.shape
    # What of the layers' matrices the other ranks of a team have.
    matrices = shape.layers * shape.layer_matrices
    away = matrices - matrices // machine.tensor
    trained = trained_parameters(work)
    state = state * (trained - away) // max(trained, 1)
    trained -= away
    parts = {
        "program": PROGRAM,
        "weights": 4 * (shape.parameters - away + work.adapters) // ranks,
        "weights in the type of products": narrow_weights(shape, machine),
        # With one micro-batch a gradient is made where activations have just gone: half of them is what comes on top.
        "gradients": 4 * trained // (ranks if batch.several else 2 * ranks),
        # With several, gradients stand where activations were, and the room between them is too narrow for the next; measured.
        "heap": 3 * trained // ranks if batch.several else 0,
        "optimizer": state // ranks,
        "activations": activations(shape, machine, batch),
        "head": head_memory(work, machine, -(-batch.labels // machine.context)),
    }
    return {name: size for name, size in parts.items() if size}


def trained_parameters(work: Work) -> int:
    """Parameters with a gradient: those of matrices, embeddings and head, norms left out where anything is frozen."""
    shape = work.shape
    if work.trained is None and work.head_trained and work.first < 0:
        return shape.parameters
    own = shape.layers * shape.layer_matrices if work.trained is None else work.trained
    return (
        own
        + work.adapters
        + (work.head if work.head_trained else 0)
        + (shape.head if work.first < 0 and not shape.tied else 0)
    )


def narrow_weights(shape: Shape, machine: Machine) -> int:
    """Copies of the weights that products read: in bf16 all of them, in float32 those that are stacked."""
    if machine.compute == "bf16":
        return 2 * (shape.layers * shape.layer_matrices // machine.tensor + shape.head)
    stacked = shape.query_width + 2 * shape.key_width + 2 * shape.inner
    return 4 * shape.layers * shape.width * stacked // machine.tensor


def activations(shape: Shape, machine: Machine, batch: Batch) -> int:
    """Bytes that all layers keep for a micro-batch, or for this rank's share of it."""
    narrow = 2 if machine.compute == "bf16" else 4
    tokens = -(-sum(batch.lengths) // machine.context)
    stream, outside = 4 * shape.width * tokens, _outside_attention(shape, narrow, machine.tensor) * tokens
    inside = _attention(shape, narrow, batch, machine)
    if machine.recompute == "layers":
        # The input of each layer, and one layer as a whole while it is computed again.
        return shape.layers * stream + outside + inside
    if machine.recompute == "attention":
        given = narrow * (shape.query_width + 2 * shape.key_width) // machine.tensor * tokens
        return shape.layers * (outside + given) + inside
    return shape.layers * (outside + inside)


def _outside_attention(shape: Shape, narrow: int, tensor: int) -> int:
    """For a token: the stream before both norms in float32; the inputs of the four products; gate and up before their product."""
    return 8 * shape.width + narrow * (2 * shape.width + (shape.query_width + 3 * shape.inner) // tensor)


def _attention(shape: Shape, narrow: int, batch: Batch, machine: Machine) -> int:
    """Queries, keys and values in padded groups, and probabilities of documents that are short enough.

    Every rank that shares a micro-batch has the keys of all its tokens.
    """
    queries = shape.query_width * -(-sum(batch.lengths) // machine.context)
    qkv = queries + 2 * shape.key_width * (sum(batch.lengths) + sum(batch.before))
    shares = sum(_shares(length, start) for length, start in zip(batch.lengths, batch.before, strict=True))
    return int(PADDED * narrow * (qkv + shape.heads * shares // machine.context) / machine.tensor)


def _shares(length: int, before: int) -> int:
    """Probabilities of one head that are kept for a document: queries in blocks, each with the keys up to its end."""
    if length + before > KEPT_PROBABILITIES:
        return 0
    starts = range(0, length, BLOCK)
    return sum((min(start + BLOCK, length) - start) * (before + min(start + BLOCK, length)) for start in starts)


def head_memory(work: Work, machine: Machine, labels: int) -> int:
    """Probabilities over the vocabulary, kept or in chunks, and the head's gradient while it is made."""
    narrow = 2 if machine.compute == "bf16" else 4
    vocabulary = work.head // work.shape.width
    whole = labels * vocabulary * narrow
    logits = whole if whole <= KEPT_LOGITS else 2 * CHUNK * vocabulary * narrow
    return logits + (work.head * (4 + narrow) if work.head_trained else 0)


def own_layers(config: dict[str, Any], machine: Machine) -> bool:
    """Whether the activations are those that this file counts."""
    return machine.device == "cpu" and config.get("model_type") in OWN_LAYERS
