"""Whole small runs of the SFT and preference stages beside the same runs written plainly.

The plain ones write the chat format by hand, find the trained tokens by the characters they come from, take each step on one
padded float64 batch (reference.py) and use transformers' own schedule. From Burnish they have the rows and their order.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import reference as plain
import torch
from reference import Data
from torch import Tensor
from training_runs import DATA, START, context

from burnish.core.types import Demo, Message, Pair, Role, Row, user
from burnish.losses.dpo import DPO
from burnish.model.policy import Policy
from burnish.pipeline.machine import Machine
from burnish.train.dpo import Preference
from burnish.train.optimizer import AdamW
from burnish.train.rows import rows_of_step
from burnish.train.schedule import Linear
from burnish.train.sft import SFT

PEAK, WARMUP, EPOCHS, BATCH, LONGEST = 1e-2, 0.25, 2, 3, 60
COMMON: dict[str, Any] = {
    "epochs": EPOCHS, "global_batch": BATCH, "max_tokens": LONGEST, "lr": Linear(PEAK, WARMUP), "clip_norm": 0.5,
    "optimizer": AdamW(eps=1e-3, weight_decay=0.1),
}  # fmt: skip
PARTS = Machine(micro_tokens=70, checkpoint_every_s=1e9)
DPO_BETA = 0.5
ORDER = rows_of_step  # kept apart from anything a test does to it


def demos() -> list[Row]:
    """Eight conversations, some of several turns; the last is too long to be trained, so that 7 are left for steps of 3."""
    talks: list[list[tuple[Role, str]]] = [
        [("user", f"How many apples has she? {i}"), ("assistant", "The answer is " + "two " * (i + 1))] for i in range(5)
    ]  # fmt: skip
    talks.append([("system", "Write one word"), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d e")])
    talks.append([("user", "x"), ("assistant", "yes"), ("user", "and?")])
    talks.append([("user", "Write"), ("assistant", "one " * LONGEST)])
    return [Demo(tuple(Message(role, text) for role, text in talk)) for talk in talks]


def pairs() -> list[Row]:
    """Five pairs; the last has a reply that is too long."""
    made = [Pair(user(f"What is {i} and {i}?"), f"It is {2 * i}.", "I do not" + " at all" * i) for i in range(4)]
    return [*made, Pair(user("Write"), "one", "two " * LONGEST)]


def tokenized(tokenizer: Any, turns: Sequence[tuple[str, str]]) -> tuple[list[int], list[bool]]:
    """The tokens of a conversation in ChatML, and whether each belongs to an assistant's text or to the end of its turn."""
    text, spans = "", []
    for role, content in turns:
        text += f"<|im_start|>{role}\n"
        begin = len(text)
        text += f"{content}<|im_end|>"
        if role == "assistant":
            spans.append((begin, len(text)))
        text += "\n"
    found = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    mask = [any(a <= start < b for a, b in spans) for start, _ in found["offset_mapping"]]
    return found["input_ids"], mask


def batch(rows: list[tuple[list[int], list[bool]]]) -> Data:
    """Rows as one right-padded batch."""
    width = max(len(ids) for ids, _ in rows)
    tokens = torch.tensor([ids + [0] * (width - len(ids)) for ids, _ in rows])
    mask = torch.tensor([marks + [False] * (width - len(marks)) for _, marks in rows])
    return {"tokens": tokens, "mask": mask, "lengths": torch.tensor([len(ids) for ids, _ in rows])}


@dataclass(frozen=True)
class Ran:
    """A run: (learning rate, loss, norm of the gradient) of each step, and the weights it ended with."""

    steps: list[tuple[float, float, float]]
    weights: dict[str, Tensor]


def plain_run(folder: Path, kind: str) -> Ran:
    """The run written plainly."""
    from transformers import AutoTokenizer, get_linear_schedule_with_warmup

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model, frozen = plain.load(folder), plain.load(folder)
    units: list[list[tuple[list[int], list[bool]]]] = []
    for row in demos() if kind == "sft" else pairs():
        if isinstance(row, Demo):
            unit = [tokenized(tokenizer, [(m.role, m.content) for m in row.messages])]
        else:
            assert isinstance(row, Pair)
            unit = []
            for reply in (row.chosen, row.rejected):
                ids, mask = tokenized(tokenizer, [("user", row.prompt[0].content), ("assistant", reply)])
                unit.append((ids[:-1], mask[:-1]))  # without the newline that follows a turn
        if all(len(ids) <= LONGEST for ids, _ in unit):
            units.append(unit)

    per_epoch = -(-len(units) // BATCH)
    weights = dict(model.named_parameters())
    matrices, others = ([w for w in weights.values() if (w.ndim > 1) == wide] for wide in (True, False))
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=PEAK, eps=1e-3, foreach=False)
    total = per_epoch * EPOCHS
    schedule = get_linear_schedule_with_warmup(optimizer, -(-total * WARMUP // 1), total)
    steps = []
    for step in range(total):
        chosen = [units[i] for i in ORDER(step, len(units), BATCH, 0)]
        data = batch([unit[side] for side in range(len(units[0])) for unit in chosen])
        logp = plain.logprobs(model, data)
        if kind == "sft":
            loss = plain.imitation(logp, data, "token")
        else:
            with torch.no_grad():
                data["reference"] = plain.logprobs(frozen, data)
            loss = plain.pairs(logp, data, plain.dpo(DPO_BETA), mean=True, reference=True)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(weights.values(), 0.5)
        steps.append((float(optimizer.param_groups[0]["lr"]), float(loss.detach()), float(norm)))
        optimizer.step()
        schedule.step()
    return Ran(steps, {name: w.detach() for name, w in weights.items()})


def our_run(root: Path, out: str, kind: str) -> Ran:
    """The same through the stage; root/start and root/data are there."""
    stage = SFT(START, DATA, **COMMON) if kind == "sft" else Preference(START, DATA, loss=DPO(DPO_BETA), **COMMON)
    ctx = context(root, out, PARTS)
    stage.run(ctx)
    records = [json.loads(line) for line in (ctx.out / "metrics.jsonl").read_text().splitlines()]
    weights = Policy.load(ctx.out / "model", Machine()).model.named_parameters()
    return Ran([(r["lr"], r["loss"], r["grad_norm"]) for r in records], {name: w.detach() for name, w in weights})


def check_run(found: Ran, expected: Ran) -> None:
    """Raise AssertionError unless two runs are the same to 1e-5."""
    assert len(found.steps) == len(expected.steps), f"{len(found.steps)} steps, not {len(expected.steps)}"
    for number, (ours, theirs) in enumerate(zip(found.steps, expected.steps, strict=True), 1):
        for what, a, b in zip(("learning rate", "loss", "norm"), ours, theirs, strict=True):
            assert abs(a - b) <= 1e-5 * max(1.0, abs(b)), f"step {number}: the {what} is {a}, not {b}"
    for name, weight in expected.weights.items():
        gap = float((found.weights[name].double() - weight).abs().max())
        assert gap <= 1e-5, f"{name} is {gap:.3g} off"
