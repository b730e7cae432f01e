"""Bugs of post-training code, as code: each takes a MonkeyPatch and replaces one function of Burnish by the wrong one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from burnish.losses import advantage, dpo, kl, policy
from burnish.losses import pairs as pair_losses
from burnish.losses.batch import PairBatch, Sequences
from burnish.losses.policy import (
    KL,
    Clip,
    ConstantLength,
    PolicyLoss,
    ReplyMean,
    SequenceRatio,
    Truncated,
    clipped_objective,
)
from burnish.losses.sft import SFTLoss
from burnish.model import head
from burnish.model import policy as policy_module
from burnish.model.attention import Documents
from burnish.model.policy import Policy
from burnish.model.reward import RewardModel
from burnish.text.render import Rendered, Renderer
from burnish.train import epochs, optimizer, reference
from burnish.train.dpo import Preference
from burnish.train.learner import Learner
from burnish.train.log import MetricsLog
from burnish.train.schedule import Linear

Patch = pytest.MonkeyPatch
Batches = Sequence[Any]


# Sums and counts --------------------------------------------------------------------------------------------------------


def each_alone(divide: Callable[[int], float]) -> Callable[[Patch], None]:
    """Every micro-batch divided by its own count; the gradient of all of them then multiplied by divide(how many)."""

    def put_back(patch: Patch) -> None:
        whole = Learner.forward_backward

        def forward_backward(self: Learner, batches: Batches, loss: Any, **more: Any) -> dict[str, float]:
            found = {}
            for batch in batches:
                found = whole(self, [batch], loss, **{**more, "names": ()})
            _scale(self, divide(len(batches)))
            return found

        patch.setattr(Learner, "forward_backward", forward_backward)

    return put_back


def _scale(learner: Learner, by: float) -> None:
    for weight in learner.policy.model.parameters():
        if weight.grad is not None:
            weight.grad.mul_(by)


def divided_again(patch: Patch) -> None:
    whole = Learner.forward_backward

    def forward_backward(self: Learner, batches: Batches, loss: Any, **more: Any) -> dict[str, float]:
        found = whole(self, batches, loss, **more)
        _scale(self, 1 / len(batches))
        return found

    patch.setattr(Learner, "forward_backward", forward_backward)


def another_window(patch: Patch) -> None:
    """The count of the batch that was generated, which is trained in two steps."""
    count = PolicyLoss.count
    patch.setattr(PolicyLoss, "count", lambda self, batch: 2 * count(self, batch))


def clipped_in_parts(patch: Patch) -> None:
    whole = Learner.forward_backward

    def forward_backward(self: Learner, batches: Batches, loss: Any, **more: Any) -> dict[str, float]:
        weights = list(self.policy.model.parameters())
        found, kept = whole(self, batches, loss, **more), [torch.zeros_like(w) for w in weights]
        for weight in weights:
            weight.grad = None
        for batch in batches:
            alone = whole(self, [batch], loss, **{**more, "names": ()})
            _scale(self, alone["count"] / found["count"])
            torch.nn.utils.clip_grad_norm_(weights, self.clip_norm)
            for sum_, weight in zip(kept, weights, strict=True):
                if weight.grad is not None:
                    sum_.add_(weight.grad)
                weight.grad = None
        for sum_, weight in zip(kept, weights, strict=True):
            weight.grad = sum_
        return found

    patch.setattr(Learner, "forward_backward", forward_backward)


def zero_over_zero(patch: Patch) -> None:
    """The mean over a micro-batch's tokens, whether it has any or not."""

    def forward_backward(self: Learner, batches: Batches, loss: Any, **more: Any) -> dict[str, float]:
        for batch in batches:
            mask = batch.sequences.mask_BT
            logp = self.policy.outputs(replace(batch.sequences, mask_BT=mask | _second(mask)), 1.0)
            (-(logp * mask).sum() / mask.sum() / len(batches)).backward()
        return {"loss": 0.0, "count": 1.0}

    patch.setattr(Learner, "forward_backward", forward_backward)


def _second(mask: Tensor) -> Tensor:
    """The second token of every row: a policy gives no gradient to a batch in which nothing is asked for."""
    return torch.arange(mask.shape[1]) == torch.ones(len(mask), 1)


# Packing ----------------------------------------------------------------------------------------------------------------


def one_document(patch: Patch) -> None:
    whole = Documents.of.__func__  # type: ignore[attr-defined]
    patch.setattr(Policy, "packs", True)
    patch.setattr(
        Documents, "of", classmethod(lambda cls, lengths, device="cpu", *more: whole(cls, [sum(lengths)], device))
    )  # fmt: skip


def mask_given_to_a_packed_row(patch: Patch) -> None:
    """Position ids that start again and a mask of ones: transformers drops the documents without a word."""

    def logprobs(self: Policy, sequences: Sequences, temperature: float = 1.0) -> Tensor:
        inside = torch.arange(sequences.tokens_BT.shape[1]) < sequences.lengths_B[:, None]
        tokens, places = sequences.tokens_BT[inside], inside.long().cumsum(1)[inside] - 1
        logits = self.model(
            input_ids=tokens[None], position_ids=places[None], attention_mask=torch.ones_like(tokens)[None], use_cache=False
        ).logits[0] / temperature  # fmt: skip
        found = logits[:-1].log_softmax(-1).gather(1, tokens[1:, None])[:, 0]
        out = torch.zeros(inside.shape, dtype=found.dtype).masked_scatter(
            inside, torch.nn.functional.pad(found, (1, 0))
        )
        return out * sequences.mask_BT

    patch.setattr(Policy, "logprobs", logprobs)


def own_logprobs(change: Callable[[Tensor, Sequences], Tensor]) -> Callable[[Patch], None]:
    """Policy.logprobs computed from the whole logits [B, T, V] of a padded batch by `change`."""

    def put_back(patch: Patch) -> None:
        def logprobs(self: Policy, sequences: Sequences, temperature: float = 1.0) -> Tensor:
            inside = torch.arange(sequences.tokens_BT.shape[1]) < sequences.lengths_B[:, None]
            logits = self.model(input_ids=sequences.tokens_BT, attention_mask=inside.long(), use_cache=False).logits
            return change((logits / temperature).log_softmax(-1), sequences) * sequences.mask_BT

        patch.setattr(Policy, "logprobs", logprobs)

    return put_back


def _right(logp_BTV: Tensor, rows: Sequences) -> Tensor:
    found = logp_BTV[:, :-1].gather(2, rows.tokens_BT[:, 1:, None])[:, :, 0]
    return torch.nn.functional.pad(found, (1, 0))


def not_shifted(logp_BTV: Tensor, rows: Sequences) -> Tensor:
    return logp_BTV.gather(2, rows.tokens_BT[:, :, None])[:, :, 0]


def across_the_border(logp_BTV: Tensor, rows: Sequences) -> Tensor:
    """The last token of each row is asked for the first token of the next one."""
    found = _right(logp_BTV, rows)
    ends = logp_BTV[torch.arange(len(logp_BTV)), rows.lengths_B - 1]
    extra = ends[:-1].gather(1, rows.tokens_BT[1:, :1])[:, 0]
    at = rows.mask_BT.long().argmax(1)[1:]
    return found.index_put((torch.arange(1, len(found)), at), extra, accumulate=True)


def left_padded(patch: Patch) -> None:
    """Rows moved to the right, and no position ids: the model counts positions from the padding on."""

    def logprobs(self: Policy, sequences: Sequences, temperature: float = 1.0) -> Tensor:
        width = sequences.tokens_BT.shape[1]
        moved = (torch.arange(width) - (width - sequences.lengths_B)[:, None]) % width
        tokens = sequences.tokens_BT.gather(1, moved)
        inside = (torch.arange(width) >= width - sequences.lengths_B[:, None]).long()
        logits = self.model(input_ids=tokens, attention_mask=inside, use_cache=False).logits / temperature
        found = _right(logits.log_softmax(-1), replace(sequences, tokens_BT=tokens))
        back = (torch.arange(width) + (width - sequences.lengths_B)[:, None]) % width
        return found.gather(1, back) * sequences.mask_BT

    patch.setattr(Policy, "logprobs", logprobs)


# Chat formats and masks -------------------------------------------------------------------------------------------------


def rendered(
    change: Callable[[Renderer, list[int], list[bool]], tuple[list[int], list[bool]]],
) -> Callable[[Patch], None]:
    """What Renderer.render and Renderer.reply return, changed."""

    def put_back(patch: Patch) -> None:
        for name in ("render", "reply"):
            _wrap_rendered(patch, name, change)

    return put_back


def _wrap_rendered(patch: Patch, name: str, change: Callable[..., tuple[list[int], list[bool]]]) -> None:
    whole = getattr(Renderer, name)

    def wrapped(self: Renderer, *given: Any, **more: Any) -> Rendered:
        found = whole(self, *given, **more)
        ids, mask = change(self, list(found.token_ids), list(found.mask))
        return Rendered(tuple(ids), tuple(mask))

    patch.setattr(Renderer, name, wrapped)


def no_end(r: Renderer, ids: list[int], mask: list[bool]) -> tuple[list[int], list[bool]]:
    kept = [i for i in range(len(ids)) if not (mask[i] and ids[i] in r.stop_ids)]
    return [ids[i] for i in kept], [mask[i] for i in kept]


def newline_too(r: Renderer, ids: list[int], mask: list[bool]) -> tuple[list[int], list[bool]]:
    return ids, [m or (i > 0 and mask[i - 1]) for i, m in enumerate(mask)]


def last_turn_only(patch: Patch) -> None:
    whole = Renderer.render
    patch.setattr(Renderer, "render", lambda self, messages, *, train="assistant": whole(self, messages, train="last"))


def special_tokens_added(patch: Patch) -> None:
    patch.setattr(
        Renderer, "_encode", lambda self, texts: self.tokenizer(texts, add_special_tokens=True)["input_ids"] if texts else []
    )  # fmt: skip


def merged_border(patch: Patch) -> None:
    patch.setattr(Renderer, "_extend", lambda self, ids, done, text: self._encode([done + text])[0])


# Numbers ----------------------------------------------------------------------------------------------------------------


def narrow_masters(patch: Patch) -> None:
    load = Policy.load.__func__  # type: ignore[attr-defined]

    def narrow(cls: type[Policy], *given: Any, **more: Any) -> Policy:
        found: Policy = load(cls, *given, **more)
        return found.to(torch.bfloat16) if more.get("trainable") else found

    patch.setattr(Policy, "load", classmethod(narrow))


def narrow_logprobs(patch: Patch) -> None:
    whole = head.token_logprobs

    def rounded(hidden: Tensor, weight: Tensor, target: Tensor, **more: Any) -> Tensor:
        return whole(hidden, weight, target, **{**more, "narrow_VD": None}).bfloat16().to(hidden.dtype)

    # A policy that finds its packed log-probs off runs padded; the bug's authors had no such check.
    patch.setattr(Policy, "packs", True)
    patch.setattr(policy_module, "token_logprobs", rounded)


def head_without_gradient(patch: Patch) -> None:
    whole = head.token_logprobs
    patch.setattr(
        policy_module, "token_logprobs", lambda hidden, weight, *a, **k: whole(hidden, weight.detach(), *a, **k)
    )


def before_logprobs(change: Callable[[Policy, Sequences, float], tuple[Sequences, float]]) -> Callable[[Patch], None]:
    def put_back(patch: Patch) -> None:
        whole = Policy.logprobs

        def logprobs(self: Policy, sequences: Sequences, temperature: float = 1.0) -> Tensor:
            return whole(self, *change(self, sequences, temperature))

        patch.setattr(Policy, "logprobs", logprobs)

    return put_back


def training_mode(p: Policy, rows: Sequences, temperature: float) -> tuple[Sequences, float]:
    p.model.train()
    return rows, temperature


def shifted_rate(patch: Patch) -> None:
    whole = Linear.lr
    patch.setattr(Linear, "lr", lambda self, step, steps: whole(self, step + 1, steps))


def decay_everywhere(patch: Patch) -> None:
    patch.setattr(
        optimizer, "_groups", lambda weights, decay: [{"params": list(weights.values()), "weight_decay": decay}]
    )


def gradients_stay(patch: Patch) -> None:
    patch.setattr(Learner, "_drop_gradients", lambda self: None)


def last_batch_dropped(patch: Patch) -> None:
    patch.setattr(epochs, "steps_in", lambda rows, batch, passes: rows // batch * passes)


# Preferences and scores -------------------------------------------------------------------------------------------------


def ratios(change: Callable[[Callable[..., Any], Tensor, PairBatch, bool], Any]) -> Callable[[Patch], None]:
    def put_back(patch: Patch) -> None:
        whole = pair_losses.log_ratios
        patch.setattr(dpo, "log_ratios", lambda logp, batch, *, per_token: change(whole, logp, batch, per_token))

    return put_back


def interleaved(whole: Callable[..., Any], logp: Tensor, batch: PairBatch, per_token: bool) -> Any:
    chosen, rejected = whole(logp, batch, per_token=per_token)
    both = torch.cat([chosen, rejected])
    return both[::2], both[1::2]


def reference_moves(patch: Patch) -> None:
    whole = Learner.forward_backward

    def forward_backward(self: Learner, batches: Batches, loss: Any, **more: Any) -> dict[str, float]:
        with torch.no_grad():
            moved = [replace(b, ref_2P=self.policy.outputs(b.sequences, 1.0).sum(1)) for b in batches]
        return whole(self, moved, loss, **more)

    patch.setattr(Learner, "forward_backward", forward_backward)


def no_reference(patch: Patch) -> None:
    patch.setattr(Preference, "_with_reference", lambda self, rows, policy, ctx: list(rows))


def stale_key(patch: Patch) -> None:
    patch.setattr(reference, "_key", lambda policy, rows, ctx: f"{len(rows)} rows")


def score_read_at(place: Callable[[Sequences], Tensor]) -> Callable[[Patch], None]:
    def put_back(patch: Patch) -> None:
        whole = RewardModel.scores

        def scores(self: RewardModel, sequences: Sequences) -> Tensor:
            at = torch.arange(sequences.mask_BT.shape[1]) == place(sequences)[:, None]
            return whole(self, replace(sequences, mask_BT=at))

        patch.setattr(RewardModel, "scores", scores)

    return put_back


# Policy gradients -------------------------------------------------------------------------------------------------------


def worse_of_two(patch: Patch) -> None:
    def objective(ratio: Tensor, adv: Tensor, low: float, high: float) -> Tensor:
        return torch.maximum(ratio * adv, ratio.clamp(1 - low, 1 + high) * adv)

    patch.setattr(policy, "clipped_objective", objective)


def kl_swapped(patch: Patch) -> None:
    whole = kl.k3
    patch.setitem(kl.ESTIMATORS, "k3", lambda logp, ref: whole(ref, logp))


def length_bias(patch: Patch) -> None:
    patch.setattr(ReplyMean, "total", lambda self, value_BT, mask_BT: value_BT.sum() * len(mask_BT) / mask_BT.sum())


def length_of_the_reply(patch: Patch) -> None:
    patch.setattr(ConstantLength, "total", lambda self, value_BT, mask_BT: ReplyMean().total(value_BT, mask_BT))


def dual_clip_for_all(patch: Patch) -> None:
    def loss(self: Clip, logp: Tensor, ratio: Tensor, adv: Tensor) -> Tensor:
        return -torch.maximum(clipped_objective(ratio, adv, self.low, self.high), (self.dual or 1.0) * adv)

    patch.setattr(Clip, "loss", loss)


def geometric_mean_over(length: Callable[[Tensor], Any]) -> Callable[[Patch], None]:
    """GSPO's ratio, with the log-ratios of a reply divided by length(mask)."""

    def put_back(patch: Patch) -> None:
        def of(self: SequenceRatio, logp: Tensor, old: Tensor, mask: Tensor) -> Tensor:
            return ((logp - old).sum(1, keepdim=True) / length(mask)).exp().expand_as(logp)

        patch.setattr(SequenceRatio, "of", of)

    return put_back


def truncated(weight: Callable[[Truncated, Tensor], Tensor]) -> Callable[[Patch], None]:
    """CISPO with weight(self, ratio) beside the log-prob."""

    def put_back(patch: Patch) -> None:
        patch.setattr(Truncated, "loss", lambda self, logp, ratio, adv: -weight(self, ratio) * adv * logp)

    return put_back


def gradient_of_the_estimate(patch: Patch) -> None:
    patch.setattr(KL, "loss", lambda self, logp, ref, old: self.coef * kl.ESTIMATORS[self.estimate](logp, ref))


def weights_dropped(patch: Patch) -> None:
    whole = PolicyLoss.total
    patch.setattr(PolicyLoss, "total", lambda self, logp, batch: whole(self, logp, replace(batch, weight_BT=None)))


def silent_rows_count(patch: Patch) -> None:
    patch.setattr(PolicyLoss, "count", lambda self, batch: torch.tensor(len(batch.sequences.lengths_B)))


def padding_counts(patch: Patch) -> None:
    patch.setattr(SFTLoss, "count", lambda self, batch: torch.tensor(batch.sequences.mask_BT.numel()))


def advantages(change: Callable[[Tensor], Tensor]) -> Callable[[Patch], None]:
    def put_back(patch: Patch) -> None:
        patch.setattr(advantage, "group_relative", lambda rewards, graded=None, **more: change(rewards))

    return put_back


def off_by_one(patch: Patch) -> None:
    """The value after a token taken to be the value before it."""
    whole = advantage.gae
    patch.setattr(
        advantage, "gae", lambda rewards, values, mask, **more: whole(rewards, values.roll(-1, 1), mask, **more)
    )


# Resuming ---------------------------------------------------------------------------------------------------------------


def after_load(change: Callable[[Learner, dict[str, Any]], None]) -> Callable[[Patch], None]:
    def put_back(patch: Patch) -> None:
        load = Learner.load

        def wrapped(self: Learner, folder: Any, *more: Any) -> dict[str, Any] | None:
            counters = load(self, folder, *more)
            if counters is not None:
                change(self, counters)
            return counters

        patch.setattr(Learner, "load", wrapped)

    return put_back


def moments_lost(learner: Learner, counters: dict[str, Any]) -> None:
    for held in learner._optimizers:
        held.state.clear()


def a_step_again(learner: Learner, counters: dict[str, Any]) -> None:
    counters["step"] -= 1


def order_of_the_process(patch: Patch) -> None:
    """The order comes from a generator that a new process starts anew, and not from the step."""
    g = torch.Generator().manual_seed(0)
    patch.setattr(
        epochs, "rows_of_step", lambda step, rows, batch, seed: torch.randperm(rows, generator=g)[:batch].tolist()
    )  # fmt: skip


def log_not_cut(patch: Patch) -> None:
    whole = MetricsLog.__init__
    patch.setattr(MetricsLog, "__init__", lambda self, path, *, done=0: whole(self, path, done=1 << 30))
