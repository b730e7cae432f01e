"""A reward model: a policy's body with a head of one number, read at the end of the reply.

Saved as what transformers calls sequence classification with one label, which loads there, in TRL and in vLLM.
Shapes: B rows, T positions, D width.
"""

from __future__ import annotations

import copy
import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from burnish.core.files import read_json, write_json
from burnish.core.rng import seed_of
from burnish.core.types import Messages
from burnish.errors import ModelError
from burnish.losses.batch import Sequences
from burnish.model.checkpoint import weight_errors
from burnish.model.lora import plain_state
from burnish.model.parallel import Ranks, Sharded, whole_weights
from burnish.model.policy import Policy, quiet
from burnish.model.tensor_parallel import Divided
from burnish.pipeline.machine import Machine
from burnish.text.pack import pack
from burnish.text.render import Rendered

WEIGHT = "score.weight"  # transformers' name of the head


class RewardModel:
    """Scores conversations. `policy` is the body; its own head is not used and not saved.

    model: body and head as one module, for the learner.
    """

    def __init__(self, policy: Policy, head_1D: Tensor) -> None:
        self.policy, self.renderer, self.machine = policy, policy.renderer, policy.machine
        # transformers gives the padding token's embedding no gradient, and many models pad with the token that ends turns,
        # which is where the score is read. Rows are never padded here, so every token is a real one.
        policy.model.get_input_embeddings().padding_idx = None
        self.model = _Scored(policy.model, head_1D.to(policy.device))
        self._sharded: Sharded | None = None

    @classmethod
    def load(cls, folder: Path, machine: Machine, *, trainable: bool = False) -> Self:
        """A saved reward model. Raises ModelError for a folder without a head of one number."""
        from safetensors import safe_open

        for path in sorted(folder.glob("*.safetensors")):
            with safe_open(path, framework="pt") as file:
                if WEIGHT in file.keys():  # noqa: SIM118 - not a mapping
                    head_1D = file.get_tensor(WEIGHT).float()
                    break
        else:
            raise ModelError(
                f"{folder} has no weight {WEIGHT}, so it is no reward model.\n"
                "  Give a folder that stage RewardModeling wrote, or a sequence classification model with one label."
            )
        if head_1D.shape[0] != 1:
            raise ModelError(
                f"{folder} is a classifier with {head_1D.shape[0]} labels; a reward model has one.\n  Give one with num_labels=1."
            )
        made = cls(Policy.load(folder, machine, trainable=trainable), head_1D)
        made.model.score.weight.requires_grad_(trainable)
        return made

    @classmethod
    def start(cls, policy: Policy, *, seed: int) -> Self:
        """A fresh head on a policy: weights from N(0, 1 / (D + 1)), as in Tülu 3 (arXiv:2411.15124 §6.2, arXiv:2403.17031)."""
        width = int(policy.model.config.get_text_config().hidden_size)
        g = torch.Generator().manual_seed(seed_of(seed, "reward head"))
        return cls(policy, torch.randn(1, width, generator=g) / math.sqrt(width + 1))

    def to(self, dtype: torch.dtype) -> Self:
        """The same model with its weights cast, in place."""
        self.policy.to(dtype)
        self.model.score.to(dtype)
        return self

    @property
    def context(self) -> int:
        """The longest sequence the model was made for, in tokens."""
        return self.policy.context

    def scores(self, sequences: Sequences) -> Tensor:
        """[B] one number a row, read at its last trained token, the end of the reply's turn; 0 for rows without one.

        Differentiable. float32 (float64 for a float64 model).
        """
        if self._sharded is not None and not self._sharded.inside:
            return self._sharded.run(self.scores, sequences)
        mask_BT = sequences.mask_BT
        positions = torch.arange(mask_BT.shape[1])
        last_B = (mask_BT * positions).amax(1)
        at_BT = (positions == last_B[:, None]) & mask_BT
        live_B = mask_BT.any(1).to(self.policy.device)
        weight = self.model.score.weight
        out_B = torch.zeros(len(mask_BT), dtype=weight.dtype, device=self.policy.device)
        if not bool(live_B.any()):
            return out_B
        found_K1 = self.policy.states(sequences, at_BT, lambda states: states.to(weight.dtype) @ weight.T)
        return out_B.masked_scatter(live_B, found_K1[:, 0])

    @torch.no_grad()
    def rewards(
        self, replies: Sequence[tuple[Messages, str]], done: Callable[[int], None] | None = None
    ) -> list[float | None]:
        """A number for each (prompt, reply), higher being better; None for one that is longer than the model reads.

        done: called with how many more replies have theirs.
        """
        rows = [self.renderer.reply(prompt, text) for prompt, text in replies]
        fitting = [i for i, row in enumerate(rows) if len(row.token_ids) <= self.context]
        found: list[float | None] = [None] * len(rows)
        lengths = [len(rows[i].token_ids) for i in fitting]
        for part in pack(lengths, max(self.machine.micro_tokens, *lengths)) if fitting else []:
            chosen = [fitting[j] for j in part]
            for i, score in zip(chosen, self.scores(_stacked([rows[i] for i in chosen])).tolist(), strict=True):
                found[i] = score
            if done is not None:
                done(len(chosen))
        return found

    def outputs(self, sequences: Sequences, temperature: float) -> Tensor:
        """What losses take first: the scores, which no temperature divides."""
        return self.scores(sequences)

    def shard(self) -> Sharded:
        """Leave this rank its part of every weight. From then on all ranks call `scores` and `save` together."""
        self._sharded = self.policy.sharded(self.model)
        return self._sharded

    def divide(self) -> Divided:
        """Leave this rank its part of the body's layers, as in `Policy.divide`; the head stays whole."""
        return self.policy.divide()

    def save(self, folder: Path) -> None:
        """Write a plain Hugging Face folder for AutoModelForSequenceClassification, whole or not at all. Only the first rank writes."""
        held = whole_weights(self.model) or {name: w.detach() for name, w in self.model.state_dict().items()}
        if not Ranks.current().first:
            return
        partial = folder.with_name(f".{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        body = self.policy.model
        with quiet(), weight_errors(folder):
            body.save_pretrained(partial, state_dict=plain_state(self.model, held))
            tokenizer = copy.deepcopy(self.renderer.tokenizer)
            tokenizer.pad_token_id = self._pad()
            tokenizer.save_pretrained(partial)
        settings = read_json(partial / "config.json")
        settings["architectures"] = [type(body).__name__.replace("ForCausalLM", "ForSequenceClassification")]
        settings |= {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}, "pad_token_id": self._pad()}
        write_json(partial / "config.json", settings)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)

    def _pad(self) -> int:
        """A padding token that does not end turns: transformers reads the score at the last token that is no padding."""
        tokenizer = self.renderer.tokenizer
        known = [tokenizer.pad_token_id, tokenizer.unk_token_id, *tokenizer.all_special_ids]
        return next((token for token in known if token is not None and token not in self.renderer.stop_ids), 0)


class ValueModel(RewardModel):
    """A model of how much reward is still to come, for PPO: body and head of a reward model, read before every token.

    `ValueModel.load(folder of a reward model, …)` starts it from that model, as Tülu 3's PPO does (arXiv:2411.15124 §6.2);
    `ValueModel.start(policy, seed=…)` gives a policy a fresh head. Saved as a reward model is.
    """

    def values(self, sequences: Sequences) -> Tensor:
        """[B, T] the value of the state in which each masked token was chosen, read at the token before it; 0 off the mask.

        Differentiable; what `burnish.losses.value.ValueLoss` takes in the place of log-probs. float32 (float64 for float64).
        """
        if self._sharded is not None and not self._sharded.inside:
            return self._sharded.run(self.values, sequences)
        weight, mask_BT = self.model.score.weight, sequences.mask_BT.to(self.policy.device)
        out_BT = torch.zeros(mask_BT.shape, dtype=weight.dtype, device=self.policy.device)
        if not bool(mask_BT.any()):
            return out_BT
        at_BT = sequences.mask_BT.roll(-1, 1)
        found_K1 = self.policy.states(sequences, at_BT, lambda states: states.to(weight.dtype) @ weight.T)
        return out_BT.masked_scatter(mask_BT, found_K1[:, 0])

    def outputs(self, sequences: Sequences, temperature: float) -> Tensor:
        """What losses take first: the values, which no temperature divides."""
        return self.values(sequences)


def _stacked(rows: Sequence[Rendered]) -> Sequences:
    """Rows as right-padded tensors."""
    tokens, mask = (
        pad_sequence([torch.tensor(part) for part in parts], batch_first=True)
        for parts in ([row.token_ids for row in rows], [row.mask for row in rows])
    )
    return Sequences(tokens, torch.tensor([len(row.token_ids) for row in rows]), mask)


class _Scored(torch.nn.Module):
    """Body and head, whose parameters have the names they are saved under."""

    def __init__(self, body: Any, head_1D: Tensor) -> None:
        super().__init__()
        self.add_module(body.base_model_prefix, body.base_model)
        self.score = torch.nn.Linear(head_1D.shape[1], 1, bias=False, dtype=head_1D.dtype, device=head_1D.device)
        with torch.no_grad():
            self.score.weight.copy_(head_1D)
        self._inputs, self.config = body.get_input_embeddings, body.config

    def get_input_embeddings(self) -> Any:
        """The table of token embeddings."""
        return self._inputs()

    def get_output_embeddings(self) -> Any:
        """The head."""
        return self.score
