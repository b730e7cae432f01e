"""A policy: a Hugging Face causal LM with the renderer of its chat format, and the log-probabilities of token rows.

Shapes: B rows, T positions, N packed tokens, K counted positions, D width, V vocabulary. Log-probs in nats.
"""

from __future__ import annotations

import functools
import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from burnish.errors import ModelError
from burnish.losses.batch import CandidateSequences, Sequences
from burnish.model.adapter import merge_adapter
from burnish.model.attention import Documents, packing, register
from burnish.model.candidates import candidate_logits, likeliest, likeliest_of, partition_logprobs, split_logits
from burnish.model.checkpoint import weight_errors
from burnish.model.context_parallel import Share, Team, cut
from burnish.model.folder import base_of, check_folder, is_adapter, tokenizer_folder
from burnish.model.gpu_attention import BLOCK, Layout, kernel_of, layout
from burnish.model.head import token_logprobs
from burnish.model.layers import arrange, waiting
from burnish.model.llama import NarrowWeights, PackedLlama, supports
from burnish.model.lora import plain_state, plain_weights
from burnish.model.parallel import Ranks, Sharded, whole, whole_weights
from burnish.model.sharing import LEAST, pack_rows
from burnish.model.tensor_parallel import Divided, divide
from burnish.model.trains import Trains
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
        self._team = Team.of(machine)
        self._sharded: Sharded | None = None
        self._narrow = NarrowWeights()
        own_layers = self.device.type == "cpu" and machine.packed_attention == "sdpa" and not machine.compile
        self._fast = PackedLlama(model, self._narrow, machine) if own_layers and supports(model) else None
        if self._fast is None:
            arrange(model, machine)

    @classmethod
    def load(
        cls, folder: Path, machine: Machine, *, trainable: bool = False, chat_format: ChatFormat | None = None,
        trains: Trains | None = None, seed: int = 0,
    ) -> Policy:  # fmt: skip
        """The policy in a plain Hugging Face folder, with its own chat template or, where one is given, in `chat_format`.

        A folder that holds only an adapter in peft's format is merged into its base.
        Trainable policies keep float32 weights and compute in `machine.compute`; others are cast to it once.
        trains: of a trainable policy, what is trained (default: all of it); `seed` is what new weights start from.
        Raises ModelError for a folder without weights, tokenizer or chat template, or with an adapter of another base.
        """
        from safetensors import SafetensorError
        from transformers import AutoModelForCausalLM, AutoTokenizer

        check_folder(folder, template=chat_format is None)
        machine.prepare()
        base = base_of(folder) if is_adapter(folder) else folder
        narrow = not trainable and machine.compute == "bf16"
        with quiet():
            try:
                model = AutoModelForCausalLM.from_pretrained(
                    base,
                    dtype=torch.bfloat16 if narrow and base is folder else torch.float32,
                    attn_implementation=register(),
                    local_files_only=True,
                )
                tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder(folder), local_files_only=True)
            except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
                raise ModelError(
                    f"{folder} cannot be loaded as a causal language model: {error}\n"
                    "  The folder must be what `save_pretrained` of transformers writes."
                ) from error
        if base is not folder:
            merge_adapter(model, folder, base)
            for weight in model.parameters() if narrow else ():
                weight.data = weight.data.bfloat16()
        if trainable:
            check_finite(model, folder)
        model.requires_grad_(trainable)
        if trainable and trains is not None:
            trains.attach(model, seed=seed, machine=machine)
        made = cls(model.to(machine.device), Renderer(tokenizer, chat_format), machine)
        if made._team:
            made._packs = made.packs
        return made

    @property
    def context(self) -> int:
        """The longest sequence the model was made for, in tokens."""
        return int(getattr(self.model.config, "max_position_embeddings", 0) or 1 << 20)

    @property
    def vocabulary(self) -> int:
        """How many tokens it has logits for."""
        return int(self.model.config.get_text_config().vocab_size)

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
        """Whether the model keeps packed documents apart and has a plain linear head: measured once on two documents.

        Raises ModelError where it does not and several ranks are to share its rows.
        """
        if self._packs is None:
            packs = self._measure_packing()
            if self._team and not packs:
                raise ModelError(
                    f"{type(self.model).__name__} does not keep packed documents apart, so its rows cannot be shared by the "
                    f"{self._team.size} processes of Machine(context={self._team.size}).\n  Set context=1, or train another model."
                )
            self._packs = packs
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
        if self._sharded is not None and not self._sharded.inside:
            return self._sharded.run(self.logprobs, sequences, temperature)
        tokens, mask = sequences.tokens_BT, sequences.mask_BT
        if bool(mask[:, :1].any()):
            raise ValueError("mask_BT is True at position 0, which no token precedes")
        out_BT = torch.zeros(tokens.shape, dtype=self._wide, device=self.device)
        if not bool(mask.any()):
            return out_BT
        tokens, mask = tokens.to(self.device), mask.to(self.device)
        found_K = self._packed(tokens, mask, temperature) if self.packs else self._padded(tokens, mask, temperature)
        return out_BT.masked_scatter(mask, found_K.to(self._wide))

    def candidate_logprobs(self, sequences: CandidateSequences) -> Tensor:
        """[B, T, k + 2] at each masked token: its log-prob; then, at the sequences' temperature, that of each of its k
        candidates and of all other tokens together. 0 off the mask. Differentiable.

        No logits over the vocabulary are kept. float32 (float64 for a float64 policy).
        """
        if self._sharded is not None and not self._sharded.inside:
            return self._sharded.run(self.candidate_logprobs, sequences)
        tokens, mask = sequences.tokens_BT.to(self.device), sequences.mask_BT.to(self.device)
        ids_Kk = sequences.candidates_BTk.to(self.device)[mask]
        inverses = list(dict.fromkeys((1.0, 1 / sequences.temperature)))
        out = torch.zeros(*tokens.shape, ids_Kk.shape[1] + 2, dtype=self._wide, device=self.device)
        if not len(ids_Kk):
            return out
        if self.packs:
            weight, narrow = self._head()
            own_Kk, rest_KM = self._read(
                tokens,
                mask.roll(-1, 1),
                lambda hidden_RD, index_R: candidate_logits(
                    hidden_RD, weight, ids_Kk[index_R], inverses=inverses, narrow_VD=narrow
                ),
            )
        else:
            own_Kk, rest_KM = split_logits(self._padded_logits(tokens, mask), ids_Kk, inverses=inverses)
        plain = partition_logprobs(own_Kk, rest_KM[:, 0], 1.0)
        soft = plain if len(inverses) == 1 else partition_logprobs(own_Kk, rest_KM[:, 1], inverses[1])
        return out.index_put((mask,), torch.cat([plain[:, :1], soft], 1).to(self._wide))

    @torch.no_grad()
    def likeliest(self, sequences: Sequences, k: int, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
        """For each masked token, in row order: ids [K, k] of the token and of the k - 1 likeliest others, and log-probs
        [K, k + 1] of these and of all other tokens together, the logits divided by `temperature`.
        """
        tokens, mask = sequences.tokens_BT.to(self.device), sequences.mask_BT.to(self.device)
        known, target_K = len(self.renderer.tokenizer), tokens[mask]
        if self.packs:
            head, inverse = self._head(), 1 / temperature
            ids_Kk, logp_Kk1 = self._read(
                tokens,
                mask.roll(-1, 1),
                lambda hidden_RD, index_R: likeliest_of(hidden_RD, *head, target_K[index_R], k, known, inverse),
            )
            return ids_Kk, logp_Kk1
        logits_KV = self._padded_logits(tokens, mask)
        ids_Kk = likeliest(logits_KV, target_K, k, known)
        own_Kk, rest_K1 = split_logits(logits_KV, ids_Kk, inverses=[1 / temperature])
        return ids_Kk, partition_logprobs(own_Kk, rest_K1[:, 0], 1 / temperature)

    def outputs(self, sequences: Sequences, temperature: float) -> Tensor:
        """What losses take first: the log-probs, of candidates too where the sequences name some (at their temperature)."""
        if isinstance(sequences, CandidateSequences):
            return self.candidate_logprobs(sequences)
        return self.logprobs(sequences, temperature)

    def shard(self) -> Sharded:
        """Leave this rank its part of every weight. From then on all ranks call `logprobs`, `save` and `checksum` together."""
        self._sharded = self.sharded(self.model)
        return self._sharded

    def sharded(self, model: Any) -> Sharded:
        """Shard a module that holds this policy's body: the policy's own, or a reward model's."""
        self._packs = self.packs  # measured while the weights are whole
        if self._fast is not None:
            return Sharded(model, self.machine, None, self._fast.layer)
        # Layers put together in the type of their matrix products halve what travels.
        return Sharded(model, self.machine, None if self._compute == self.dtype else self._compute)

    def divide(self) -> Divided:
        """Leave this rank its part of each layer's matrices (`Machine.tensor`). From then on the ranks of a team call
        `logprobs` together, and all of them `save` and `checksum`.
        """
        self._packs = self.packs  # measured while the weights are whole
        tokens = torch.arange(3, 19)[None] * 7919 % self.vocabulary
        row = Sequences(tokens, torch.tensor([16]), torch.arange(16)[None] > 0)
        with torch.no_grad():
            before = self.logprobs(row)
            divided = divide(self.model, self.machine)
            if self._fast is not None:
                self._fast.divided = divided
            apart = float((self.logprobs(row) - before).abs().max())
        if not apart <= _ROUNDING[self._compute]:
            raise ModelError(
                f"{type(self.model).__name__}: divided by transformers' plan, its log-probs differ by {apart:.2g} nats from those of the "
                "whole model.\n  Set tensor=1 on the Machine; sharding='full' divides every model."
            )
        return divided

    def save(self, folder: Path, *, shard_size: str = "50GB") -> None:
        """Write a plain Hugging Face folder, whole or not at all: a temporary neighbour, then a rename. Only the first rank writes.

        shard_size: the largest a file of weights may be, as transformers spells it: "5GB".
        """
        weights = whole_weights(self.model)
        if not Ranks.current().first:
            return
        partial = folder.with_name(f".{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        self._tell_ends()
        with quiet(), weight_errors(folder):
            self.model.save_pretrained(partial, state_dict=plain_state(self.model, weights), max_shard_size=shard_size)
            self.renderer.tokenizer.save_pretrained(partial)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)

    def _tell_ends(self) -> None:
        """Name every token that ends a reply in the generation config, so that other programs stop where ours do."""
        settings = getattr(self.model, "generation_config", None)
        if settings is not None:
            ends = sorted(self.renderer.stop_ids)
            settings.eos_token_id = ends[0] if len(ends) == 1 else ends

    def checksum(self) -> str:
        """16 hex digits of the SHA-256 over every plain weight's name and bytes: equal bits, equal checksum."""
        digest = hashlib.sha256()
        for name, weight in plain_weights(self.model):
            digest.update(name.encode())
            digest.update(whole(weight.detach()).cpu().contiguous().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()[:16]

    @property
    def _wide(self) -> torch.dtype:
        """The type of log-probs."""
        return torch.float64 if self.dtype == torch.float64 else torch.float32

    @property
    def _compute(self) -> torch.dtype:
        return torch.bfloat16 if self.machine.compute == "bf16" and self.dtype != torch.float64 else self.dtype

    def _autocast(self) -> Any:
        if self._compute == self.dtype:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self._compute)

    def states(
        self, sequences: Sequences, at_BT: Tensor, read: Callable[[Tensor], Tensor] = lambda states: states
    ) -> Tensor:
        """[K, …] what `read` makes of the last hidden states [R, D] at the positions where at_BT is True, in row order; after
        the final norm. Differentiable. Without `read` the states themselves.

        read: looks at each state alone, and at any weight. Where ranks share a row, each reads the states it has.
        float32 (float64 for a float64 policy), computed packed where the model allows it, as log-probs are.
        """
        tokens, at = sequences.tokens_BT.to(self.device), at_BT.to(self.device)
        if self.packs:
            return self._read(tokens, at, lambda hidden_RD, _: (read(hidden_RD.to(self._wide)),))[0]
        inside_BT = torch.arange(tokens.shape[1], device=self.device) < sequences.lengths_B.to(self.device)[:, None]
        with self._autocast():
            hidden_BTD = self.model.base_model(
                input_ids=tokens, attention_mask=inside_BT.long(), use_cache=False
            ).last_hidden_state
        chosen_KD: Tensor = hidden_BTD[at].to(self._wide)
        return read(chosen_KD)

    def _packed(self, tokens_BT: Tensor, mask_BT: Tensor, temperature: float) -> Tensor:
        """[K] log-probs at the masked positions in row order, from one packed row."""
        weight, narrow = self._head()
        target_K = tokens_BT[mask_BT]

        def read(hidden_RD: Tensor, index_R: Tensor) -> tuple[Tensor]:
            return (token_logprobs(hidden_RD, weight, target_K[index_R], temperature=temperature, narrow_VD=narrow),)

        # A token's log-prob comes from the state before it.
        return self._read(tokens_BT, mask_BT.roll(-1, 1), read)[0]

    def _head(self) -> tuple[Tensor, Tensor]:
        """The head's weight [V, D], and the same in the type of the matrix products."""
        weight = self.model.get_output_embeddings().weight
        return weight, self._narrow.of([weight], self._compute)

    def _read(
        self, tokens_BT: Tensor, at_BT: Tensor, read: Callable[[Tensor, Tensor], tuple[Tensor, ...]]
    ) -> tuple[Tensor, ...]:
        """[K, …] what `read` makes of the hidden states where at_BT is True, in row order, from one packed row.

        read: takes states [R, D] and which of all K they are [R], and looks at each state alone. Where ranks share the row,
        each reads the states it has, and all get everything.
        """
        rows = pack_rows(tokens_BT, at_BT)
        # Whether the model packs is measured on whole rows.
        if self._team is None or not self._packs:
            layout_of = functools.partial(self._layout, rows.lengths, rows.parents)
            hidden_KD = self._states(rows.tokens_N, rows.positions_N, rows.places_K, layout_of)
            return read(hidden_KD, torch.arange(len(hidden_KD), device=self.device))
        share = cut(rows, self._team, BLOCK if self.machine.compile else 1)
        layout_of = functools.partial(self._share_layout, share)
        hidden_RD = self._states(share.tokens_S, share.positions_S, share.places_R, layout_of)
        return tuple(share.joined(found) for found in read(hidden_RD, share.index_R))

    def _states(
        self, tokens_N: Tensor, positions_N: Tensor, places_R: Tensor, layout_of: Callable[[int], Documents | Layout]
    ) -> Tensor:
        """[R, D] hidden states of packed tokens at these places; layout_of: so many tokens of padding to where documents lie."""
        if self._fast is not None:
            documents: Any = layout_of(0)
            return self._fast.hidden(tokens_N, positions_N, documents, places_R, self._compute)
        short = 0
        if self.machine.compile or self.machine.packed_attention == "flex":
            # Kernels like round numbers, and one document of padding changes nothing for the others.
            short = -len(tokens_N) % BLOCK
            tokens_N, positions_N = (functional.pad(x, (0, short)) for x in (tokens_N, positions_N))
        documents = layout_of(short)
        with packing(), waiting(self.machine), self._autocast():
            hidden: Tensor = self.model.base_model(
                input_ids=tokens_N[None],
                position_ids=positions_N[None],
                # A cache or a 2-D mask would make attention cross documents.
                use_cache=False,
                documents=documents,
            ).last_hidden_state
        return hidden[0].index_select(0, places_R)

    def _layout(self, lengths: list[int], parents: list[int | None], padding: int) -> Documents | Layout:
        """Where documents lie, in the form of the attention that runs here, with one of padding behind them."""
        lengths, parents = [*lengths, padding], [*parents, None]
        if self._attention == "sdpa":
            return Documents.of(lengths, self.device, parents)
        return layout(self._attention, lengths, self.device, parents)

    def _share_layout(self, share: Share, padding: int) -> Documents | Layout:
        """The same for a rank's share of a row, which has its padding already."""
        kind = self._attention
        return share.layout(kernel_of(kind) if kind in ("varlen", "flash") else None)

    @property
    def _attention(self) -> Literal["sdpa", "varlen", "flex", "flash"]:
        """The packed attention of this machine and this type."""
        kind = self.machine.packed_attention
        return "sdpa" if kind in ("varlen", "flash") and not _has_flash(self.device, self._compute) else kind

    def _padded(self, tokens_BT: Tensor, mask_BT: Tensor, temperature: float) -> Tensor:
        """The same from a right-padded batch and the model's own head: slower, right for any causal LM."""
        logp_KV: Tensor = (self._padded_logits(tokens_BT, mask_BT) / temperature).log_softmax(-1)
        return logp_KV.gather(1, tokens_BT[mask_BT][:, None])[:, 0]

    def _padded_logits(self, tokens_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """[K, V] logits of the masked tokens, in row order, in the wide type."""
        positions = torch.arange(tokens_BT.shape[1], device=tokens_BT.device)
        lengths_B = (mask_BT * positions).amax(1) + 1
        inside_BT = positions < lengths_B[:, None]
        with self._autocast():
            logits_BTV = self.model(input_ids=tokens_BT, attention_mask=inside_BT.long(), use_cache=False).logits
        rows_K, columns_K = mask_BT.nonzero(as_tuple=True)
        logits_KV: Tensor = logits_BTV[rows_K, columns_K - 1].to(self._wide)
        return logits_KV

    @torch.no_grad()
    def _measure_packing(self) -> bool:
        head = self.model.get_output_embeddings()
        if head is None or getattr(head, "bias", None) is not None:
            return False
        top = self.vocabulary
        rows = [[i * 7919 % top for i in row] for row in (range(3, 10), range(11, 18), range(19, 26))]
        tokens = torch.tensor(rows, device=self.device)
        mask = torch.ones_like(tokens, dtype=torch.bool)
        mask[:, 0] = False
        pairs = (tokens[:2], tokens[[2, 1]])
        # Two rows with one beginning, which is computed once.
        beginning = (torch.arange(LEAST, device=self.device) * 6131 % top).expand(2, -1)
        forked = torch.cat([beginning, tokens[:2]], 1)
        ends = torch.cat([torch.zeros_like(beginning, dtype=torch.bool), mask[:2]], 1)
        try:
            packed, other = (self._packed(pair, mask[:2], 1.0).view(2, -1) for pair in pairs)
            shared = self._packed(forked, ends, 1.0)
        except (TypeError, ValueError, RuntimeError):
            # The model does not take what packing needs; the padded way is right for it.
            return False
        alone = torch.stack([self._padded(tokens[i : i + 1], mask[:1], 1.0) for i in range(2)]).to(packed)
        rounding = _ROUNDING[self._compute]
        # The second document must not notice which document came first.
        isolated = (packed[1] - other[1]).abs().max() <= rounding / 10
        continued = (shared - self._padded(forked, ends, 1.0).to(shared)).abs().max() <= rounding
        return bool(isolated and continued and (packed - alone).abs().max() <= rounding)


def _has_flash(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether FlashAttention's kernels run here: 16-bit numbers on Ampere (8.0) or newer."""
    return device.type == "cuda" and dtype == torch.bfloat16 and torch.cuda.get_device_capability(device) >= (8, 0)


def check_finite(model: Any, folder: Path) -> None:
    """Raise ModelError for a weight that is not finite: every log-prob after it would be NaN."""
    for name, weight in model.named_parameters():
        if not bool(weight.isfinite().all()):
            wrong = int((~weight.isfinite()).sum())
            raise ModelError(
                f"{folder}: {wrong:,} of {weight.numel():,} numbers of the weight {name} are not finite, so nothing can be trained "
                "from it.\n  Start from another checkpoint: the run that wrote this one diverged, or its file is damaged."
            )


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
