"""A conversation in the terminal, token by token."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TextIO

from burnish.core.rng import seed_of
from burnish.core.types import Message, Messages
from burnish.model.policy import Policy
from burnish.pipeline.machine import Machine
from burnish.pipeline.progress import Console
from burnish.rollout.engine import Request, Sampling
from burnish.rollout.torch_engine import TorchEngine
from burnish.text.render import Renderer

CHAT = Sampling(temperature=0.7, top_p=0.95, max_tokens=512)


class _Stream:
    """Writes a reply as its tokens come. Text that may still change (half a character) waits for the next token."""

    def __init__(self, renderer: Renderer, out: TextIO) -> None:
        self._renderer, self._out = renderer, out
        self._ids: list[int] = []
        self._shown = 0

    def push(self, index: int, token: int) -> None:
        self._ids.append(token)
        text = self._renderer.decode(self._ids)
        whole = text.rstrip("\ufffd")
        if len(whole) > self._shown:
            self._out.write(whole[self._shown :])
            self._out.flush()
            self._shown = len(whole)

    def end(self, text: str) -> None:
        self._out.write(text[self._shown :] + "\n")
        self._out.flush()


def chat(
    folder: Path,
    machine: Machine,
    console: Console,
    *,
    system: str = "",
    sampling: Sampling = CHAT,
    seed: int = 0,
    inp: TextIO | None = None,
    out: TextIO | None = None,
) -> None:
    """Talk to the model in a folder until /quit or the end of the input; /reset forgets the conversation.

    Replies go to `out`, everything else to the console. Without a terminal every line of the input is one turn.
    When the conversation no longer fits the context the oldest turns are left out, and it says so.
    """
    source, target = inp or sys.stdin, out or sys.stdout
    policy = Policy.load(folder, machine)
    engine = TorchEngine(policy, machine, console=console)
    opening: Messages = (Message("system", system),) if system else ()
    turns: Messages = ()
    if source.isatty():
        console.line("  /reset starts anew, /quit ends.")
    count = 0
    while True:
        if source.isatty():
            target.write("> ")
            target.flush()
        line = source.readline()
        text = line.strip()
        if not line or text == "/quit":
            return
        if text == "/reset":
            turns = ()
            console.line("  The conversation is forgotten.")
        elif text:
            turns = _fitting(policy, opening, (*turns, Message("user", text)), sampling, console)
            prompt = policy.renderer.prompt((*opening, *turns))
            if len(prompt) >= policy.context:
                console.line(
                    f"  {len(prompt):,} tokens do not fit the context of {policy.context:,}. Write a shorter message."
                )
                turns = turns[:-1]
                continue
            room = policy.context - len(prompt)
            fitted = Sampling(
                sampling.temperature, sampling.top_p, sampling.top_k, min(sampling.max_tokens, room), sampling.stop
            )
            stream = _Stream(policy.renderer, target)
            request = Request(prompt, fitted, seed_of(seed, "chat", count))
            reply = engine.generate([request], on_token=stream.push)[0]
            stream.end(reply.text)
            turns = (*turns, Message("assistant", reply.text))
            count += 1


def _fitting(policy: Policy, opening: Messages, turns: Messages, sampling: Sampling, console: Console) -> Messages:
    """The latest turns that leave room for a reply; whole exchanges are left out from the start."""
    room = policy.context - min(sampling.max_tokens, policy.context // 2)
    dropped = 0
    while len(turns) > 2 and len(policy.renderer.prompt((*opening, *turns))) > room:
        turns = turns[2:]
        dropped += 1
    if dropped:
        what = "exchange is" if dropped == 1 else f"{dropped} exchanges are"
        console.line(f"  The conversation is longer than the context; its oldest {what} left out.")
    return turns
