"""A trained model as a folder for other programs, and the checks that it is what was trained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from burnish.core.files import read_json
from burnish.core.types import Message, plain, user
from burnish.errors import ModelError, RecipeError
from burnish.losses.batch import Sequences
from burnish.model.policy import Policy, quiet
from burnish.model.reward import RewardModel
from burnish.pipeline.machine import exact
from burnish.text.render import Rendered

Dtype = Literal["float32", "bfloat16", "float16"]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# How far log-probs may lie from ours, in nats: rounding of the weights to 8 or 11 bits, and of another order of sums.
TOLERANCE = {"float32": 1e-3, "float16": 0.05, "bfloat16": 0.3}
_TALK = (*user("Name three colours."), Message("assistant", "Red, green and blue."))


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at in the written folder. said: what was found, for a person."""

    name: str
    passed: bool
    said: str


def export_model(source: Path, folder: Path, *, dtype: Dtype = "float32", shard_size: str = "5GB") -> list[Check]:
    """Write the model in `source`, a policy or a reward model, into `folder` and check it; adapters are merged first.

    Raises ModelError where a check fails; the folder stays, to be looked at.
    """
    if dtype not in DTYPES:
        raise RecipeError(f'dtype {dtype!r}: write "float32", "bfloat16" or "float16".')
    if is_reward_model(source):
        reward = RewardModel.load(source, exact())
        reward.to(DTYPES[dtype]).save(folder)
        checks = _check_reward(RewardModel.load(source, exact()), folder, TOLERANCE[dtype])
    else:
        Policy.load(source, exact()).to(DTYPES[dtype]).save(folder, shard_size=shard_size)
        checks = check_export(Policy.load(source, exact()), folder, TOLERANCE[dtype])
    if failed := [check for check in checks if not check.passed]:
        said = "\n".join(f"  {check.name}: {check.said}" for check in failed)
        raise ModelError(
            f"{folder} was written, but it does not say what the trained model says, so it should not be passed on:\n{said}\n"
            "  A larger type (--dtype float32) mends rounding; anything else is a fault of this program."
        )
    return checks


def is_reward_model(folder: Path) -> bool:
    """Whether a folder holds a classifier, which scores conversations, and no language model."""
    named = (
        read_json(folder / "config.json").get("architectures") or [""] if (folder / "config.json").exists() else [""]
    )
    return "SequenceClassification" in str(named[0])


def check_export(policy: Policy, folder: Path, tolerance: float) -> list[Check]:
    """What transformers makes of the folder, beside the policy it was written from."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with quiet():
        model, info = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, output_loading_info=True
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    row = policy.renderer.render(_TALK)
    return [
        _whole(info),
        _same_prompt(policy, tokenizer),
        _same_logprobs(policy, model, row, tolerance),
        _same_ends(policy, model.generation_config),
    ]


def _whole(info: dict[str, Any]) -> Check:
    odd = [*info["missing_keys"], *info["unexpected_keys"], *info["mismatched_keys"]]
    return Check(
        "transformers loads every weight", not odd, f"not matched: {odd[:3]}" if odd else "none missing, none left"
    )


def _same_prompt(policy: Policy, tokenizer: Any) -> Check:
    theirs = tokenizer.apply_chat_template(plain(_TALK[:1]), tokenize=True, add_generation_prompt=True)["input_ids"]
    ours = list(policy.renderer.prompt(_TALK[:1]))
    # Where a token could cross the border to a reply we cut it; the text must be the same all the same.
    same = theirs == ours or tokenizer.decode(theirs) == tokenizer.decode(ours)
    return Check("the chat template asks as training did", same, f"{len(theirs)} tokens there, {len(ours)} here")


def _same_logprobs(policy: Policy, model: Any, row: Rendered, tolerance: float) -> Check:
    batch = _alone(row)
    with torch.no_grad():
        ours = policy.logprobs(batch)[batch.mask_BT].double()
        logp = model(input_ids=batch.tokens_BT, use_cache=False).logits.double().log_softmax(-1)
    places = batch.mask_BT[0].nonzero()[:, 0]
    theirs = logp[0, places - 1, batch.tokens_BT[0, places]]
    gap = float((theirs - ours).abs().max())
    return Check(
        "its log-probs are ours", gap <= tolerance, f"largest difference {gap:.1e} nats of {tolerance:g} allowed"
    )


def _same_ends(policy: Policy, settings: Any) -> Check:
    told = settings.eos_token_id
    ends = set(told if isinstance(told, list) else [told])
    said = ", ".join(repr(policy.renderer.tokenizer.decode([token])) for token in sorted(policy.renderer.stop_ids))
    return Check("generation stops at the end of a turn", policy.renderer.stop_ids <= ends, f"stops at {said}")


def _check_reward(model: RewardModel, folder: Path, tolerance: float) -> list[Check]:
    from transformers import AutoModelForSequenceClassification

    with quiet():
        theirs, info = AutoModelForSequenceClassification.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, output_loading_info=True
        )
    batch = _alone(model.renderer.render(_TALK))
    with torch.no_grad():
        # Read where both read it: at the end of the reply's turn, which is the last trained token.
        last = int(batch.mask_BT[0].nonzero()[-1])
        score = float(theirs(input_ids=batch.tokens_BT[:, : last + 1]).logits[0, 0])
        gap = abs(score - float(model.scores(batch)[0]))
    return [
        _whole(info),
        Check("its score is ours", gap <= tolerance, f"difference {gap:.1e} of {tolerance:g} allowed"),
    ]


def _alone(row: Rendered) -> Sequences:
    return Sequences(torch.tensor([row.token_ids]), torch.tensor([len(row.token_ids)]), torch.tensor([row.mask]))
