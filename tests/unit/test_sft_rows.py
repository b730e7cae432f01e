"""Which turns of a conversation are trained, how much each row counts, and what happens to rows that are too long."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from chat_models import FORGETFUL, MODELS, SMOLLM2, ChatModel, tokenizer_of
from safetensors.torch import load_file
from training_runs import DATA, EVERY_STEP, START, context, demos, prepare

from burnish.core.fingerprint import fingerprint
from burnish.core.types import Demo, Message
from burnish.errors import DataError, RecipeError
from burnish.losses.batch import Sequences, TokenBatch
from burnish.losses.sft import SFTLoss
from burnish.text.render import Rendered, Renderer
from burnish.train.demos import CutTurns, DemoRules, LeaveOut, demo_batch, render_demo, weight_of
from burnish.train.schedule import Constant
from burnish.train.sft import SFT

torch.set_num_threads(1)
TALK = (
    Message("user", "What is the capital of France?"),
    Message("assistant", "Paris."),
    Message("user", "How are you?"),
    Message("assistant", "one"),
    Message("user", "And today?"),
    Message("assistant", "two three"),
)
RENDERERS = [(model, own) for model in MODELS for own in (True, False)]
NAMES = [f"{model.name}-{'own' if own else 'ours'}" for model, own in RENDERERS]


def renderer_of(model: ChatModel, own: bool) -> Renderer:
    return Renderer(tokenizer_of(model), None if own else model.ours)


def trained(renderer: Renderer, row: Rendered) -> list[str]:
    """The trained stretches with their special tokens."""
    found: list[list[int]] = []
    for i, (token, is_trained) in enumerate(zip(row.token_ids, row.mask, strict=True)):
        if is_trained and not row.mask[i - 1]:
            found.append([])
        if is_trained:
            found[-1].append(token)
    return [renderer.tokenizer.decode(ids, clean_up_tokenization_spaces=False) for ids in found]


def ends(model: ChatModel) -> str:
    return model.ours.bind(model.bos or "", model.eos).end


def marked(*numbers: int, **notes: Any) -> Demo:
    return Demo(TALK, source="s", annotations={"untrained": list(numbers), **notes} if numbers else notes)


@pytest.mark.parametrize(("model", "own"), RENDERERS, ids=NAMES)
def test_chosen_turns_are_exact_to_the_token(model: ChatModel, own: bool) -> None:
    """Whichever turns are chosen, the tokens are those of the whole conversation and only the mask differs."""
    renderer, end = renderer_of(model, own), ends(model)
    whole = renderer.render(TALK)
    for untrained, turns, expected in [
        ((), "all", ["Paris.", "one", "two three"]),
        ((), "last", ["two three"]),
        ((1,), "all", ["Paris.", "two three"]),
        ((0, 2), "all", ["one"]),
        ((0,), "last", ["two three"]),
    ]:
        row = render_demo(renderer, marked(*untrained), turns)  # type: ignore[arg-type]
        assert row.token_ids == whole.token_ids
        assert trained(renderer, row) == [text + end for text in expected]
        assert all(is_trained <= there for is_trained, there in zip(row.mask, whole.mask, strict=True))


@pytest.mark.parametrize(("model", "own"), RENDERERS, ids=NAMES)
@pytest.mark.parametrize("drop", ["last", "first"])
def test_cut_turns_keep_whole_replies(model: ChatModel, own: bool, drop: Any, tmp_path: Path) -> None:
    """At every limit: the longest run of exchanges that fits, each reply whole with its end of turn, or nothing."""
    renderer, end = renderer_of(model, own), ends(model)
    texts = ["Paris.", "one", "two three"]
    parts = [TALK[: 2 * n] if drop == "last" else TALK[6 - 2 * n :] for n in (3, 2, 1)]
    sizes = [len(renderer.render(part).token_ids) for part in parts]
    for limit in (sizes[0], sizes[0] - 1, sizes[1], sizes[1] - 1, sizes[2], sizes[2] - 1):
        ctx = context(tmp_path, f"{model.name}{own}{drop}{limit}", EVERY_STEP)
        rules = DemoRules(limit, long=CutTurns(drop))
        fits = next((part for part, size in zip(parts, sizes, strict=True) if size <= limit), None)
        if fits is None:
            with pytest.raises(DataError, match="No demonstrations to train on"):
                rules.rows([marked()], renderer, ctx)
            continue
        (row,) = rules.rows([marked()], renderer, ctx)
        assert row.row == renderer.render(fits)
        replies = len(fits) // 2
        kept = texts[:replies] if drop == "last" else texts[3 - replies :]
        assert trained(renderer, row.row) == [text + end for text in kept]
        report = json.loads((ctx.out / "data_report.json").read_text())
        assert (report["cut"], report["too_long"], report["used"]) == (int(replies < 3), 0, 1)


def test_cut_turns_keep_the_system_turn_and_the_marks(tmp_path: Path) -> None:
    """Three exchanges behind a system turn; the second reply is not to be learned. Cut from the front, its number goes along."""
    renderer = renderer_of(SMOLLM2, True)
    talk = (Message("system", "Be brief."), *TALK)
    demo = Demo(talk, annotations={"untrained": [1]})
    tail = (talk[0], *talk[3:])
    limit = len(renderer.render(tail).token_ids)
    (row,) = DemoRules(limit, long=CutTurns("first")).rows([demo], renderer, context(tmp_path, "front", EVERY_STEP))
    assert row.row.token_ids == renderer.render(tail).token_ids
    assert trained(renderer, row.row) == ["two three<|im_end|>"]
    # From the back only the second reply would be left to train; at the size of one exchange the first is.
    (row,) = DemoRules(limit, long=CutTurns("last")).rows([demo], renderer, context(tmp_path, "back", EVERY_STEP))
    assert trained(renderer, row.row) == ["Paris.<|im_end|>"]
    only = Demo(talk, annotations={"untrained": [0, 1]})
    with pytest.raises(DataError, match="No demonstrations"):
        DemoRules(limit, long=CutTurns("last")).rows([only], renderer, context(tmp_path, "none", EVERY_STEP))


def test_a_template_that_cannot_be_masked_names_the_row() -> None:
    """One that writes replies otherwise than it asks for them."""
    renderer = Renderer(tokenizer_of(SMOLLM2, FORGETFUL))
    with pytest.raises(DataError, match=r"row [0-9a-f]{16} \(source s\): The tokenizer's chat template"):
        render_demo(renderer, marked())


def test_a_row_with_every_turn_marked_is_named() -> None:
    with pytest.raises(DataError, match=r"row [0-9a-f]{16} \(source s\): no token of it would be trained"):
        render_demo(renderer_of(SMOLLM2, True), marked(0, 1, 2))


def batch(weights: list[float] | None) -> TokenBatch:
    mask_BT = torch.tensor([[0, 1, 1], [0, 0, 1]], dtype=torch.bool)
    rows = Sequences(torch.zeros(2, 3, dtype=torch.long), torch.tensor([3, 3]), mask_BT)
    return TokenBatch(rows, None if weights is None else torch.tensor(weights))


def test_weights_by_hand() -> None:
    """Log-probs -1, -2 in the first row and -4 in the second; weights 3 and 0.5.

    "mean": (3 x 3 + 0.5 x 4) / (3 x 2 + 0.5 x 1) = 11 / 6.5. "sum": 11 / (3 + 0.5), with (3 x 2 + 0.5 x 1) / 3.5 tokens a row.
    """
    logp_BT = torch.tensor([[0.0, -1.0, -2.0], [0.0, 0.0, -4.0]])
    for reduction, count in (("mean", 6.5), ("sum", 3.5)):
        loss = SFTLoss(reduction)  # type: ignore[arg-type]
        assert float(loss.total(logp_BT, batch([3.0, 0.5]))) == 11.0
        assert float(loss.count(batch([3.0, 0.5]))) == count
        assert float(loss.metrics(logp_BT, batch([3.0, 0.5]))["nll"]) == 11.0
        assert float(loss.total(logp_BT, batch([1.0, 1.0]))) == float(loss.total(logp_BT, batch(None))) == 7.0
    assert float(SFTLoss("sum").metrics(logp_BT, batch([3.0, 0.5]))["length"]) == 6.5
    assert float(SFTLoss("sum").count(batch(None))) == 2


def test_weight_of_a_row_is_checked() -> None:
    assert weight_of(marked(weight=2)) == 2.0
    assert weight_of(marked()) == 1.0
    for wrong in (-1, float("nan"), float("inf"), "2", True, None):
        with pytest.raises(DataError, match="a weight is a number from 0 up"):
            weight_of(marked(weight=wrong))


def test_batches_without_weights_carry_none(tmp_path: Path) -> None:
    renderer = renderer_of(SMOLLM2, True)
    rules = DemoRules(500, weights={"s": 2.0})
    rows = rules.rows([marked(weight=1.5), marked(weight=0)], renderer, context(tmp_path, "w", EVERY_STEP))
    assert [row.weight for row in rows] == [3.0]
    report = json.loads((tmp_path / "w" / "data_report.json").read_text())
    assert (report["rows"], report["used"], report["weight_0"], len(report["weight_0_ids"])) == (2, 1, 1, 1)
    weight_B = demo_batch(rows).weight_B
    assert weight_B is not None
    assert weight_B.tolist() == [3.0]
    assert demo_batch([dataclasses.replace(rows[0], weight=1.0)]).weight_B is None


def test_one_weight_for_all_rows_is_no_weight(tmp_path: Path) -> None:
    """Bit for bit, because doubling is exact; a row of weight 0 is the same as a dataset without it."""
    rows = demos()
    heavy = [dataclasses.replace(row, annotations={"weight": 2.0}) for row in rows]
    none = [*rows, dataclasses.replace(demos(8)[-1], annotations={"weight": 0})]
    found = []
    for name, given in {"plain": rows, "heavy": heavy, "none": none}.items():
        prepare(tmp_path / name, given)
        SFT(START, DATA, epochs=1, global_batch=3, lr=Constant(1e-2), max_tokens=200).run(
            context(tmp_path / name, "sft", EVERY_STEP)
        )
        found.append(load_file(tmp_path / name / "sft" / "model" / "model.safetensors"))
    for other in found[1:]:
        assert all(torch.equal(weight, other[key]) for key, weight in found[0].items())


def test_rules_that_contradict_are_refused_at_plan_time() -> None:
    with pytest.raises(RecipeError, match=r'turns="last" trains only the last reply.*\n.*CutTurns\("first"\)'):
        SFT(START, DATA, turns="last", long=CutTurns()).check(None)
    SFT(START, DATA, turns="last", long=CutTurns("first")).check(None)
    with pytest.raises(RecipeError, match=r"weights=\{'gsm8k': -1\}"):
        SFT(START, DATA, weights={"gsm8k": -1}).check(None)
    with pytest.raises(RecipeError, match=r"turns='first': write"):
        SFT(START, DATA, turns="first").check(None)  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match=r"CutTurns\(drop='middle'\)"):
        CutTurns("middle")  # type: ignore[arg-type]


def test_a_weight_for_a_source_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"weights=\{'gsm': …\}: no row has that source.*\n.*Sources of the data: s"):
        DemoRules(500, weights={"gsm": 2.0}).rows(
            [marked()], renderer_of(SMOLLM2, True), context(tmp_path, "x", EVERY_STEP)
        )


def test_fields_that_came_later_leave_the_identity_of_what_was_made_before() -> None:
    plain = fingerprint(SFT(START, DATA))
    assert fingerprint(SFT(START, DATA, turns="all", long=LeaveOut(), weights={})) == plain
    others = [SFT(START, DATA, turns="last"), SFT(START, DATA, long=CutTurns()), SFT(START, DATA, weights={"s": 2.0})]
    assert len({plain, *map(fingerprint, others)}) == 4
