"""A reward model: a policy's body with a head of one number, read at the end of the reply.

Saved as what transformers calls sequence classification with one label, which loads there, in TRL and in vLLM.
Shapes: B rows, T positions, D width.
"""

from __future__ import annotations

import copy
import math
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from burnish.core.files import read_json, write_json
from burnish.core.rng import seed_of
from burnish.errors import ModelError
from burnish.losses.batch import Sequences
from burnish.model.policy import Policy, quiet
from burnish.pipeline.machine import Machine

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

    @classmethod
    def load(cls, folder: Path, machine: Machine, *, trainable: bool = False) -> RewardModel:
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
    def start(cls, policy: Policy, *, seed: int) -> RewardModel:
        """A fresh head on a policy: weights from N(0, 1 / (D + 1)), as in Tülu 3 (arXiv:2411.15124 §6.2, arXiv:2403.17031)."""
        width = int(policy.model.config.get_text_config().hidden_size)
        g = torch.Generator().manual_seed(seed_of(seed, "reward head"))
        return cls(policy, torch.randn(1, width, generator=g) / math.sqrt(width + 1))

    def to(self, dtype: torch.dtype) -> RewardModel:
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
        mask_BT = sequences.mask_BT
        positions = torch.arange(mask_BT.shape[1])
        last_B = (mask_BT * positions).amax(1)
        at_BT = (positions == last_B[:, None]) & mask_BT
        live_B = mask_BT.any(1).to(self.policy.device)
        weight = self.model.score.weight
        out_B = torch.zeros(len(mask_BT), dtype=weight.dtype, device=self.policy.device)
        if not bool(live_B.any()):
            return out_B
        states_KD = self.policy.states(sequences, at_BT)
        return out_B.masked_scatter(live_B, (states_KD.to(weight.dtype) @ weight.T)[:, 0])

    def outputs(self, sequences: Sequences, temperature: float) -> Tensor:
        """What losses take first: the scores, which no temperature divides."""
        return self.scores(sequences)

    def save(self, folder: Path) -> None:
        """Write a plain Hugging Face folder for AutoModelForSequenceClassification, whole or not at all."""
        partial = folder.with_name(f".{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        body, prefix = self.policy.model, self.policy.model.base_model_prefix
        weights = {name: w for name, w in body.state_dict().items() if name.startswith(f"{prefix}.")}
        with quiet():
            body.save_pretrained(partial, state_dict={**weights, WEIGHT: self.model.score.weight.detach()})
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
