"""The checks that must notice a bug which is put back: each raises AssertionError and takes well under a second."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import chat_models
import torch
from cases import CASES, Models, check_one_step, ragged
from plain_runs import COMMON, PARTS, Ran, check_run, demos, our_run, pairs, plain_run
from ppo_step import Ended, check_ppo_step, our_step, plain_step
from safetensors.torch import load_file
from training_runs import DATA, START, context, prepare

from burnish.core.types import Message, plain, user
from burnish.losses import advantage
from burnish.losses.sft import SFTLoss
from burnish.model.policy import Policy
from burnish.model.toy import make_toy
from burnish.pipeline.machine import Machine
from burnish.text.render import Renderer
from burnish.train.reference import reference_logprobs
from burnish.train.rows import stack
from burnish.train.sft import SFT

Check = Callable[["World"], None]


@dataclass
class World:
    """What the checks start from: models, a root folder for runs, and the plain runs, which are made once."""

    root: Path
    toy: Models
    gpt2: Models
    plain: dict[str, Ran] = field(default_factory=dict)
    plain_ppo: dict[bool, Ended] = field(default_factory=dict)
    numbers: Any = field(default_factory=itertools.count)

    @classmethod
    def make(cls, root: Path) -> World:
        """A world in an empty folder."""
        small = make_toy(root / "small" / "model", hidden_size=32, intermediate_size=64)
        prepare(root, [*demos(), *pairs()])
        return cls(root, Models(small), Models(make_gpt2(root / "gpt2")))

    def folder(self) -> str:
        """A new name for a run."""
        return f"run-{next(self.numbers)}"


def make_gpt2(folder: Path) -> Path:
    """A tiny GPT-2 with dropout: learned positions, layer norms, biases, a model that cannot be packed."""
    from transformers import GPT2Config, GPT2LMHeadModel

    make_toy(folder)
    size = len(Policy.load(folder, Machine()).renderer.tokenizer)
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=size, n_positions=64, n_embd=32, n_layer=2, n_head=4, initializer_range=0.1, resid_pdrop=0.5,
        embd_pdrop=0.5, attn_pdrop=0.5, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


def one_step(name: str, dtype: torch.dtype = torch.float64) -> Check:
    """A step of this loss over four units in three micro-batches, one of which has nothing to train."""
    return lambda world: _one_step(world.toy, name, dtype)


def one_step_of_gpt2(world: World) -> None:
    """The same on a model with learned positions and dropout."""
    _one_step(world.gpt2, "sft, mean over tokens", torch.float64)


def _one_step(models: Models, name: str, dtype: torch.dtype) -> None:
    case = CASES[name]
    lengths = (9, 17, 4, 12, 6, 20, 5, 11) if case.pairs else (9, 17, 4, 12)
    check_one_step(models, case, ragged(case, lengths, (1,), 0, models.vocabulary), [[2], [0, 3], [1]], dtype)


def run(kind: str) -> Check:
    """A whole run of a stage against the plain one."""

    def check(world: World) -> None:
        if kind not in world.plain:
            world.plain[kind] = plain_run(world.root / "start" / "model", kind)
        check_run(our_run(world.root, world.folder(), kind), world.plain[kind])

    return check


def ppo_step(*, bootstrap: bool = False) -> Check:
    """A whole PPO step of two models against the plain one."""

    def check(world: World) -> None:
        folder = world.root / "small" / "model"
        if bootstrap not in world.plain_ppo:
            world.plain_ppo[bootstrap] = plain_step(folder, bootstrap=bootstrap)
        check_ppo_step(our_step(folder, bootstrap=bootstrap), world.plain_ppo[bootstrap])

    return check


def bos_once(world: World) -> None:
    """A tokenizer that puts a BOS before every text, and a template that writes one: still one BOS."""
    from tokenizers.processors import TemplateProcessing

    tokenizer = chat_models.tokenizer_of(chat_models.LLAMA3)
    bos = tokenizer.bos_token
    tokenizer._tokenizer.post_processor = TemplateProcessing(
        single=f"{bos} $A", special_tokens=[(bos, tokenizer.bos_token_id)]
    )  # fmt: skip
    asked, renderer = user("How many?"), Renderer(tokenizer)
    for ids in (renderer.prompt(asked), renderer.render((*asked, Message("assistant", "Two."))).token_ids):
        assert ids.count(tokenizer.bos_token_id) == 1, "not one BOS"
    text = tokenizer.apply_chat_template(plain(asked), tokenize=False, add_generation_prompt=True)
    assert list(renderer.prompt(asked)) == tokenizer(text, add_special_tokens=False)["input_ids"]


def prompt_is_prefix(world: World) -> None:
    """A reply that begins with a newline, after a prompt that ends with one."""
    renderer = Renderer(chat_models.tokenizer_of(chat_models.TULU))
    asked = user("x")
    prompt, reply = renderer.prompt(asked), renderer.reply(asked, "\n\n\nprint")
    assert reply.token_ids[: len(prompt)] == prompt, "the prompt's tokens depend on the reply"


def advantages(world: World) -> None:
    """By hand: [1, 0] is ±0.7071, equal rewards are exactly 0, groups do not mix; GAE by its definition.

    gamma = lambda = 1, so an advantage is the sum of the rewards to come - V: [2 + 3 + 5 - 7, 3 + 5 - 11, 5 - 13].
    """
    found = advantage.group_relative(torch.tensor([[1.0, 0.0], [5.0, 5.0], [9.0, 8.0]]))
    half = 0.5**0.5
    expected = torch.tensor([[half, -half], [0.0, 0.0], [half, -half]])
    assert bool(((found - expected).abs() < 1e-4).all()), f"advantages {found.tolist()}"
    assert found[1].tolist() == [0.0, 0.0]
    rewards, values = torch.tensor([[2.0, 3.0, 5.0]]), torch.tensor([[7.0, 11.0, 13.0]])
    found = advantage.gae(rewards, values, torch.ones(1, 3, dtype=torch.bool), gamma=1.0, lam=1.0)
    assert found.tolist() == [[3.0, -3.0, -8.0]], f"GAE {found.tolist()}"


def fresh_reference(world: World) -> None:
    """Another model in the same folder gets log-probs of its own."""
    ctx = context(world.root, world.folder(), PARTS)
    for model in ("start", "small"):
        policy = Policy.load(world.root / model / "model", Machine())
        rows = [policy.renderer.reply(user("How many?"), text) for text in ("Two.", "Three of them.")]
        found = reference_logprobs(policy, rows, ctx)
        with torch.no_grad():
            expected = policy.logprobs(stack(rows)).sum(1)
        assert torch.allclose(found, expected, atol=1e-4), (
            f"the reference is off by {(found - expected).abs().max():.3g}"
        )


class PowerCut(BaseException):
    """Nothing in the code expects it."""


@dataclasses.dataclass(frozen=True)
class Cut(SFTLoss):
    """The loss during whose n-th evaluation the power fails: `left` is counted down, and 0 never fails."""

    left: ClassVar[list[int]] = [0]

    def total(self, logp_BT: torch.Tensor, batch: Any) -> torch.Tensor:
        self.left[0] -= 1
        if self.left[0] == 0:
            raise PowerCut
        return SFTLoss.total(self, logp_BT, batch)


def resumed(world: World) -> None:
    """A run cut twice, with checkpoints after every step and with none, ends with the bits of one that was not."""
    straight = context(world.root, world.folder(), PARTS)
    SFT(START, DATA, **COMMON).run(straight)
    for every_s in (0.0, 1e9):
        ctx = context(world.root, world.folder(), dataclasses.replace(PARTS, checkpoint_every_s=every_s))
        for after in (9, 6, 0):
            Cut.left[0] = after
            try:
                SFT(START, DATA, **COMMON, loss=Cut()).run(ctx)
            except PowerCut:
                continue
        first, second = (load_file(c.out / "model" / "model.safetensors") for c in (straight, ctx))
        assert _timeless(straight.out) == _timeless(ctx.out), "the records differ"
        assert all(torch.equal(w, second[name]) for name, w in first.items()), "the weights differ"


def _timeless(out: Path) -> list[dict[str, Any]]:
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{k: r[k] for k in ("step", "steps", "lr", "loss", "grad_norm", "tokens", "count")} for r in records]
