"""A policy: a Hugging Face causal LM with the renderer of its chat format, and the log-probabilities of token rows.

Shapes: B rows, T positions, N packed tokens, K counted positions, D width, V vocabulary. Log-probs in nats.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from burnish.errors import ModelError
from burnish.losses.batch import Sequences
from burnish.model.attention import Documents, packing, register
from burnish.model.folder import check_folder
from burnish.model.head import token_logprobs
from burnish.model.llama import NarrowWeights, PackedLlama, supports
from burnish.pipeline.machine import Machine
from burnish.text.render import Renderer
from burnish.text.template import ChatFormat

# Packed documents may differ from the same documents alone by this much (nats), by rounding. transformers computes norms
# in float32 even for float64 models.
_ROUNDING = {torch.float64: 1e-5, torch.float32: 1e-3, torch.bfloat16: 0.2}


class Policy:
    """A causal LM that scores and, through an engine, generates. Dropout is off, always: the same row has one score.

    model:    the transformers model.
    renderer: messages to token ids and back, in the model's own chat format.
    context:  the most tokens a sequence may have.
    machine:  where it runs; `compute` is the type of matrix products.
    """

    def __init__(self, model: Any, renderer: Renderer, machine: Machine) -> None:
        self.model, self.renderer, self.machine = model, renderer, machine
        self.model.eval()
        self._packs: bool | None = None
        self._narrow = NarrowWeights()
        self._fast = PackedLlama(model, self._narrow) if self.device.type == "cpu" and supports(model) else None

    @classmethod
    def load(
        cls, folder: Path, machine: Machine, *, trainable: bool = False, chat_format: ChatFormat | None = None
    ) -> Policy:
        """The policy in a plain Hugging Face folder, with its own chat template or, where one is given, in `chat_format`.

        Trainable policies keep float32 weights and compute in `machine.compute`; others are cast to it once.
        Raises ModelError for a folder without weights, tokenizer or chat template.
        """
        from safetensors import SafetensorError
        from transformers import AutoModelForCausalLM, AutoTokenizer

        check_folder(folder, template=chat_format is None)
        machine.prepare()
        narrow = not trainable and machine.compute == "bf16"
        with quiet():
            try:
                model = AutoModelForCausalLM.from_pretrained(
                    folder,
                    dtype=torch.bfloat16 if narrow else torch.float32,
                    attn_implementation=register(),
                    local_files_only=True,
                )
                tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
                raise ModelError(
                    f"{folder} cannot be loaded as a causal language model: {error}\n"
                    "  The folder must be what `save_pretrained` of transformers writes."
                ) from error
        model.requires_grad_(trainable)
        return cls(model.to(machine.device), Renderer(tokenizer, chat_format), machine)

    @property
    def context(self) -> int:
        """The longest sequence the model was made for, in tokens."""
        return int(getattr(self.model.config, "max_position_embeddings", 0) or 1 << 20)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        device: torch.device = self.model.device
        return device

    @property
    def dtype(self) -> torch.dtype:
        """The type the weights are stored in."""
        dtype: torch.dtype = self.model.dtype
        return dtype

    @property
    def packs(self) -> bool:
        """Whether the model keeps packed documents apart and has a plain linear head: measured once on two documents."""
        if self._packs is None:
            self._packs = self._measure_packing()
        return self._packs

    def to(self, dtype: torch.dtype) -> Policy:
        """The same policy with its weights cast, in place; float64 computes in float64 whatever the machine says."""
        self.model.to(dtype)
        self._packs = None
        return self

    def logprobs(self, sequences: Sequences, temperature: float = 1.0) -> Tensor:
        """[B, T] log-probability of each masked token given the tokens before it; 0 off the mask. Differentiable.

        float32 (float64 for a float64 policy). Rows are packed end to end, so padding costs nothing; models that cannot
        keep packed documents apart are run as right-padded batches instead. `temperature` divides the logits.
        """
        tokens, mask = sequences.tokens_BT, sequences.mask_BT
        if bool(mask[:, :1].any()):
            raise ValueError("mask_BT is True at position 0, which no token precedes")
        wide = torch.float64 if self.dtype == torch.float64 else torch.float32
        out_BT = torch.zeros(tokens.shape, dtype=wide, device=self.device)
        if not bool(mask.any()):
            return out_BT
        tokens, mask = tokens.to(self.device), mask.to(self.device)
        found_K = self._packed(tokens, mask, temperature) if self.packs else self._padded(tokens, mask, temperature)
        return out_BT.masked_scatter(mask, found_K.to(wide))

    def outputs(self, sequences: Sequences, temperature: float) -> Tensor:
        """What losses take first: the log-probs."""
        return self.logprobs(sequences, temperature)

    def save(self, folder: Path) -> None:
        """Write a plain Hugging Face folder, whole or not at all: a temporary neighbour, then a rename."""
        partial = folder.with_name(f".{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        with quiet():
            self.model.save_pretrained(partial)
            self.renderer.tokenizer.save_pretrained(partial)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)

    def checksum(self) -> str:
        """16 hex digits of the SHA-256 over every weight's name and bytes: equal bits, equal checksum."""
        digest = hashlib.sha256()
        for name, weight in self.model.named_parameters():
            digest.update(name.encode())
            digest.update(weight.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()[:16]

    @property
    def _compute(self) -> torch.dtype:
        return torch.bfloat16 if self.machine.compute == "bf16" and self.dtype != torch.float64 else self.dtype

    def _autocast(self) -> Any:
        if self._compute == self.dtype:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self._compute)

    def states(self, sequences: Sequences, at_BT: Tensor) -> Tensor:
        """[K, D] last hidden states at the positions where at_BT is True, in row order; after the final norm. Differentiable.

        float32 (float64 for a float64 policy), computed packed where the model allows it, as log-probs are.
        """
        tokens, at = sequences.tokens_BT.to(self.device), at_BT.to(self.device)
        wide = torch.float64 if self.dtype == torch.float64 else torch.float32
        if self.packs:
            return self._packed_states(tokens, at).to(wide)
        inside_BT = torch.arange(tokens.shape[1], device=self.device) < sequences.lengths_B.to(self.device)[:, None]
        with self._autocast():
            hidden_BTD = self.model.base_model(
                input_ids=tokens, attention_mask=inside_BT.long(), use_cache=False
            ).last_hidden_state
        chosen_KD: Tensor = hidden_BTD[at].to(wide)
        return chosen_KD

    def _packed(self, tokens_BT: Tensor, mask_BT: Tensor, temperature: float) -> Tensor:
        """[K] log-probs at the masked positions in row order, from one packed row."""
        # A token's log-prob comes from the state before it.
        hidden_KD = self._packed_states(tokens_BT, mask_BT.roll(-1, 1))
        weight = self.model.get_output_embeddings().weight
        narrow = self._narrow.of([weight], self._compute)
        return token_logprobs(hidden_KD, weight, tokens_BT[mask_BT], temperature=temperature, narrow_VD=narrow)

    def _packed_states(self, tokens_BT: Tensor, at_BT: Tensor) -> Tensor:
        """[K, D] hidden states where at_BT is True, in row order, from one packed row."""
        positions = torch.arange(tokens_BT.shape[1], device=tokens_BT.device)
        # A row is read up to its last wanted state: what comes later changes nothing before it.
        lengths_B = (at_BT * (positions + 1)).amax(1)
        inside_BT = positions < lengths_B[:, None]
        documents = Documents.of(lengths_B.tolist(), self.device)
        starts_B = lengths_B.cumsum(0) - lengths_B
        rows_K, columns_K = at_BT.nonzero(as_tuple=True)
        places_K = starts_B[rows_K] + columns_K
        place = tokens_BT[inside_BT], positions.expand_as(tokens_BT)[inside_BT], documents
        if self._fast is not None:
            return self._fast.hidden(*place, places_K, self._compute)
        return self._hidden(*place).index_select(0, places_K)

    def _hidden(self, tokens_N: Tensor, positions_N: Tensor, documents: Documents) -> Tensor:
        with packing(), self._autocast():
            hidden: Tensor = self.model.base_model(
                input_ids=tokens_N[None],
                position_ids=positions_N[None],
                # A cache or a 2-D mask would make attention cross documents.
                use_cache=False,
                documents=documents,
            ).last_hidden_state
        return hidden[0]

    def _padded(self, tokens_BT: Tensor, mask_BT: Tensor, temperature: float) -> Tensor:
        """The same from a right-padded batch and the model's own head: slower, right for any causal LM."""
        positions = torch.arange(tokens_BT.shape[1], device=tokens_BT.device)
        lengths_B = (mask_BT * positions).amax(1) + 1
        inside_BT = positions < lengths_B[:, None]
        with self._autocast():
            logits_BTV = self.model(input_ids=tokens_BT, attention_mask=inside_BT.long(), use_cache=False).logits
        rows_K, columns_K = mask_BT.nonzero(as_tuple=True)
        logits_KV = logits_BTV[rows_K, columns_K - 1]
        wide = torch.float64 if self.dtype == torch.float64 else torch.float32
        logp_KV: Tensor = (logits_KV.to(wide) / temperature).log_softmax(-1)
        return logp_KV.gather(1, tokens_BT[mask_BT][:, None])[:, 0]

    @torch.no_grad()
    def _measure_packing(self) -> bool:
        head = self.model.get_output_embeddings()
        if head is None or getattr(head, "bias", None) is not None:
            return False
        top = int(self.model.config.get_text_config().vocab_size)
        rows = [[i * 7919 % top for i in row] for row in (range(3, 10), range(11, 18), range(19, 26))]
        tokens = torch.tensor(rows, device=self.device)
        mask = torch.ones_like(tokens, dtype=torch.bool)
        mask[:, 0] = False
        pairs = (tokens[:2], tokens[[2, 1]])
        try:
            packed, other = (self._packed(pair, mask[:2], 1.0).view(2, -1) for pair in pairs)
        except (TypeError, ValueError, RuntimeError):
            # The model does not take what packing needs; the padded way is right for it.
            return False
        alone = torch.stack([self._padded(tokens[i : i + 1], mask[:1], 1.0) for i in range(2)]).to(packed)
        rounding = _ROUNDING[self._compute]
        # The second document must not notice which document came first.
        isolated = (packed[1] - other[1]).abs().max() <= rounding / 10
        return bool(isolated and (packed - alone).abs().max() <= rounding)


@contextmanager
def quiet() -> Iterator[None]:
    """Inside, transformers prints neither bars nor warnings below errors; its settings come back afterwards."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
