"""Every trap of post-training code that applies: the bug put back, and the check that must notice.

The numbers are those of the table in docs/explanation/exactness.md, which names where each bug was reported.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import bugs
import checks
import ppo_bugs
import pytest
import torch
from checks import World


@dataclass(frozen=True)
class Mutation:
    """trap: its number in docs/explanation/exactness.md. bug: in words. put_back: the bug. check: what must raise."""

    trap: int
    bug: str
    put_back: Callable[[pytest.MonkeyPatch], None]
    check: Callable[[World], None]


SFT_MEAN, DPO_MEAN = checks.one_step("sft, mean over tokens"), checks.one_step("dpo, length-normalised")
GRPO_ROWS, GRPO_TOKENS = checks.one_step("grpo"), checks.one_step("grpo, mean over tokens, clip higher")
SCORES = checks.one_step("bradley-terry")
RUN_SFT, RUN_DPO = checks.run("sft"), checks.run("dpo")
PPO_STEP, PPO_GOES_ON = checks.ppo_step(), checks.ppo_step(bootstrap=True)

PPO_MUTATIONS = [
    Mutation(15, "PPO: old log-probs taken anew before every update", ppo_bugs.ratio_always_one, PPO_STEP),
    Mutation(15, "PPO: old values taken anew before every update", ppo_bugs.old_values_move, PPO_STEP),
    Mutation(19, "PPO: advantages whitened in each micro-batch", ppo_bugs.whitened_in_parts, PPO_STEP),
    Mutation(19, "PPO: padding whitened too", ppo_bugs.credited(ppo_bugs.whitened_with_padding), PPO_STEP),
    Mutation(21, "PPO: values read one token late", ppo_bugs.value_a_token_late, PPO_STEP),
    Mutation(21, "PPO: returns of whitened advantages", ppo_bugs.credited(ppo_bugs.returns_of_whitened), PPO_STEP),
    Mutation(21, "PPO: cut replies worth nothing from the cut on", ppo_bugs.never_bootstrapped, PPO_GOES_ON),
    Mutation(21, "PPO: replies that ended go on", ppo_bugs.always_bootstrapped, PPO_STEP),
    Mutation(21, "PPO: values divided by the temperature", ppo_bugs.values_at_the_temperature, PPO_STEP),
    Mutation(22, "PPO: the smaller error of the value model", ppo_bugs.better_of_two_values, PPO_STEP),
    Mutation(24, "PPO: the KL paid instead of charged", ppo_bugs.kl_sign, PPO_STEP),
    Mutation(31, "PPO: score at the first token", ppo_bugs.rewards(ppo_bugs.score_at_the_first_token), PPO_STEP),
    Mutation(31, "PPO: score before the last token", ppo_bugs.rewards(ppo_bugs.score_before_the_last_token), PPO_STEP),
    Mutation(31, "PPO: score at every token", ppo_bugs.rewards(ppo_bugs.score_at_every_token), PPO_STEP),
    Mutation(
        31,
        "PPO: score where the longest reply ends",
        ppo_bugs.rewards(ppo_bugs.score_at_the_end_of_the_padding),
        PPO_STEP,
    ),
    Mutation(31, "PPO: penalty beside the grade", ppo_bugs.penalty_added, PPO_STEP),
    Mutation(36, "PPO: one order for all epochs", ppo_bugs.one_order_for_all_epochs, PPO_STEP),
]

MUTATIONS = [
    Mutation(1, "mean of the micro-batches' means", bugs.each_alone(lambda n: 1 / n), SFT_MEAN),
    Mutation(1, "mean of the micro-batches' means, pairs", bugs.each_alone(lambda n: 1 / n), DPO_MEAN),
    Mutation(1, "micro-batches' means added up", bugs.each_alone(lambda n: 1.0), SFT_MEAN),
    Mutation(1, "divided by the accumulation steps once more", bugs.divided_again, SFT_MEAN),
    Mutation(1, "clipped by the norm of each micro-batch", bugs.clipped_in_parts, SFT_MEAN),
    Mutation(1, "gradients not dropped after a step", bugs.gradients_stay, RUN_SFT),
    Mutation(2, "tokens of the generation batch counted for each of its steps", bugs.another_window, GRPO_TOKENS),
    Mutation(3, "packed documents see each other", bugs.one_document, SFT_MEAN),
    Mutation(3, "an attention mask given to a packed batch", bugs.mask_given_to_a_packed_row, SFT_MEAN),
    Mutation(4, "first token of each document trained across the border", bugs.own_logprobs(bugs.across_the_border), SFT_MEAN),
    Mutation(4, "labels not shifted", bugs.own_logprobs(bugs.not_shifted), SFT_MEAN),
    Mutation(5, "doubled BOS", bugs.special_tokens_added, checks.bos_once),
    Mutation(6, "end-of-turn token not trained", bugs.rendered(
        lambda r, ids, mask: (ids, [m and i not in r.stop_ids for i, m in zip(ids, mask, strict=True)])), RUN_SFT),
    Mutation(6, "end-of-turn token not there", bugs.rendered(bugs.no_end), RUN_SFT),
    Mutation(6, "newline after the turn trained", bugs.rendered(bugs.newline_too), RUN_SFT),
    Mutation(7, "mask one token late", bugs.rendered(lambda r, ids, mask: (ids, [False, *mask[:-1]])), RUN_SFT),
    Mutation(7, "mask one token early", bugs.rendered(lambda r, ids, mask: (ids, [*mask[1:], False])), RUN_SFT),
    Mutation(7, "prompts trained too", bugs.rendered(lambda r, ids, mask: (ids, [i > 0 for i in range(len(ids))])), RUN_SFT),
    Mutation(7, "prompts compared too", bugs.rendered(lambda r, ids, mask: (ids, [i > 0 for i in range(len(ids))])), RUN_DPO),
    Mutation(7, "only the last turn trained", bugs.last_turn_only, RUN_SFT),
    Mutation(8, "0 / 0 where a micro-batch has nothing to train", bugs.zero_over_zero, SFT_MEAN),
    Mutation(9, "left padding without position ids", bugs.left_padded, checks.one_step_of_gpt2),
    Mutation(10, "a token across the border of prompt and reply", bugs.merged_border, checks.prompt_is_prefix),
    Mutation(11, "long rows cut, answers with them", bugs.rendered(lambda r, ids, mask: (ids[:60], mask[:60])), RUN_SFT),
    Mutation(13, "temperature forgotten", bugs.before_logprobs(lambda p, rows, t: (rows, 1.0)),
             checks.one_step("grpo, temperature 0.7")),
    Mutation(14, "importance weights dropped", bugs.weights_dropped, checks.one_step("ppo, importance weights")),
    Mutation(17, "dropout left on", bugs.before_logprobs(bugs.training_mode), checks.one_step_of_gpt2),
    Mutation(18, "advantages divided by a deviation of 0", bugs.advantages(
        lambda r: (r - r.mean(1, keepdim=True)) / r.std(1, keepdim=True)), checks.advantages),
    Mutation(19, "advantages over the whole batch", bugs.advantages(lambda r: (r - r.mean()) / (r.std() + 1e-6)), checks.advantages),
    Mutation(20, "deviation of the population", bugs.advantages(
        lambda r: (r - r.mean(1, keepdim=True)) / (r.std(1, keepdim=True, correction=0) + 1e-6)), checks.advantages),
    Mutation(21, "values one token off", bugs.off_by_one, checks.advantages),
    Mutation(22, "the better of the two objectives", bugs.worse_of_two, GRPO_ROWS),
    Mutation(22, "the dual clip for gains too", bugs.dual_clip_for_all, checks.one_step("grpo, dual clip")),
    Mutation(23, "GSPO's ratio without its length", bugs.geometric_mean_over(lambda mask: 1), checks.one_step("gspo")),
    Mutation(23, "GSPO's length with padding and prompt", bugs.geometric_mean_over(lambda mask: mask.shape[1]), checks.one_step("gspo")),
    Mutation(23, "CISPO's weight differentiated", bugs.truncated(lambda s, r: r.clamp(1 - s.low, 1 + s.high)), checks.one_step("cispo")),
    Mutation(23, "CISPO's bound one too low", bugs.truncated(lambda s, r: r.detach().clamp(0, s.high)), checks.one_step("cispo")),
    Mutation(23, "CISPO's token dropped where its weight is clipped", bugs.truncated(
        lambda s, r: r.detach() * (r.detach() <= 1 + s.high)), checks.one_step("cispo")),
    Mutation(24, "the estimate's own gradient", bugs.gradient_of_the_estimate, checks.one_step("ppo, k3 with k2's gradient")),
    Mutation(24, "policy and reference swapped in the KL", bugs.kl_swapped, GRPO_ROWS),
    Mutation(25, "mean over tokens instead of replies", bugs.length_bias, GRPO_ROWS),
    Mutation(25, "the reply's length instead of a constant", bugs.length_of_the_reply, checks.one_step("dr. grpo")),
    Mutation(26, "log-probs rounded to bf16", bugs.narrow_logprobs, checks.one_step("sft, mean over tokens", torch.float32)),
    Mutation(26, "bf16 master weights", bugs.narrow_masters, RUN_SFT),
    Mutation(28, "summed where it should be averaged", bugs.ratios(lambda f, x, b, per: f(x, b, per_token=False)), DPO_MEAN),
    Mutation(28, "averaged where it should be summed", bugs.ratios(lambda f, x, b, per: f(x, b, per_token=True)),
             checks.one_step("dpo")),
    Mutation(28, "chosen and rejected paired in another order", bugs.ratios(bugs.interleaved), DPO_MEAN),
    Mutation(28, "the reference is trained too", bugs.reference_moves, RUN_DPO),
    Mutation(28, "no reference", bugs.no_reference, RUN_DPO),
    Mutation(29, "reference log-probs of another model kept", bugs.stale_key, checks.fresh_reference),
    Mutation(30, "rows without trained tokens in the denominator", bugs.silent_rows_count, GRPO_ROWS),
    Mutation(31, "score read at the first trained token", bugs.score_read_at(lambda s: s.mask_BT.long().argmax(1)), SCORES),
    Mutation(31, "score read before the last token", bugs.score_read_at(lambda s: s.lengths_B - 2), SCORES),
    Mutation(34, "moments not restored", bugs.after_load(bugs.moments_lost), checks.resumed),
    Mutation(34, "a step taken twice", bugs.after_load(bugs.a_step_again), checks.resumed),
    Mutation(34, "order of rows kept in the process", bugs.order_of_the_process, checks.resumed),
    Mutation(34, "metrics of lost steps kept", bugs.log_not_cut, checks.resumed),
    Mutation(36, "order of rows from the process, not from the seed", bugs.order_of_the_process, RUN_SFT),
    Mutation(37, "a tied head without gradient", bugs.head_without_gradient, SFT_MEAN),
    Mutation(40, "learning rate one step ahead", bugs.shifted_rate, RUN_SFT),
    Mutation(40, "weight decay on norms", bugs.decay_everywhere, SFT_MEAN),
    Mutation(40, "an epoch's last, smaller batch dropped", bugs.last_batch_dropped, RUN_SFT),
    Mutation(40, "tokens of padding in the denominator", bugs.padding_counts, SFT_MEAN),
    *PPO_MUTATIONS,
]  # fmt: skip
