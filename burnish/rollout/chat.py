"""A conversation in the terminal, as it is written: with one model, or with two that answer the same turns side by side."""

from __future__ import annotations

import queue
import signal
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TextIO

from burnish.core.rng import seed_of
from burnish.core.types import Message, Messages
from burnish.model.policy import Policy
from burnish.pipeline.machine import Machine
from burnish.pipeline.progress import Console
from burnish.rollout.engine import OnText, Request, Sampling
from burnish.rollout.side_by_side import Columns, InTurn, View
from burnish.rollout.torch_engine import TorchEngine

CHAT = Sampling(temperature=0.7, top_p=0.95, max_tokens=512)


class _Stopped(Exception):
    """The person has heard enough of this reply."""


@dataclass(slots=True, eq=False)
class _Speaker:
    """A model, and the conversation as it has been with it."""

    name: str
    policy: Policy
    engine: TorchEngine
    opening: Messages
    turns: Messages = ()
    _heard: list[str] = field(default_factory=list)

    def hear(self, text: str, sampling: Sampling, console: Console) -> bool:
        """Take the person's turn; False, and said, when it alone does not fit the context.

        When the conversation no longer fits the context the oldest exchanges are left out, and that is said too.
        """
        turns = _fitting(self, (*self.turns, Message("user", text)), sampling, console)
        length = len(self.policy.renderer.prompt((*self.opening, *turns)))
        if length >= self.policy.context:
            console.line(
                f"  {length:,} tokens do not fit the context of {self.policy.context:,}. Write a shorter message."
            )
            return False
        self.turns = turns
        return True

    def reply(self, sampling: Sampling, seed: int, on_text: OnText) -> None:
        """Reply to the last turn."""
        prompt = self.policy.renderer.prompt((*self.opening, *self.turns))
        room = self.policy.context - len(prompt)
        fitted = replace(sampling, max_tokens=min(sampling.max_tokens, room))
        self._heard.clear()

        def hear(index: int, piece: str) -> None:
            self._heard.append(piece)
            on_text(index, piece)

        self.engine.generate([Request(prompt, fitted, seed)], on_text=hear)

    def remember(self) -> None:
        """Make what was said the model's turn, a reply that was stopped included."""
        self.turns = (*self.turns, Message("assistant", "".join(self._heard)))


def chat(
    folders: Sequence[Path],
    machine: Machine,
    console: Console,
    *,
    names: Sequence[str] = (),
    system: str = "",
    sampling: Sampling = CHAT,
    seed: int = 0,
    inp: TextIO | None = None,
    out: TextIO | None = None,
) -> None:
    """Talk to the models in some folders until /quit or the end of the input; /reset forgets the conversation.

    Several models reply to the same turns, each with its own history: in columns on a wide terminal, otherwise one below the
    other. Ctrl-C ends the replies that are being written. Replies go to `out`, everything else to the console. Without a
    terminal every line of the input is one turn.
    """
    source, target = inp or sys.stdin, out or sys.stdout
    opening: Messages = (Message("system", system),) if system else ()
    speakers = []
    for folder, name in zip(folders, names or map(str, folders), strict=True):
        policy = Policy.load(folder, machine)
        speakers.append(_Speaker(name, policy, TorchEngine(policy, machine, console=console), opening))
    if source.isatty():
        console.line("  /reset starts anew, /quit ends, Ctrl-C stops a reply.")
    count = 0
    while True:
        text = _turn(source, target, console)
        if text is None or text == "/quit":
            return
        if text == "/reset":
            for speaker in speakers:
                speaker.turns = ()
            console.line("  The conversation is forgotten.")
        elif text:
            before = [speaker.turns for speaker in speakers]
            if not all([speaker.hear(text, sampling, console) for speaker in speakers]):
                # All or none: the models must have heard the same turns.
                for speaker, turns in zip(speakers, before, strict=True):
                    speaker.turns = turns
                continue
            _replies(speakers, sampling, seed_of(seed, "chat", count), target, console)
            count += 1


def _turn(source: TextIO, target: TextIO, console: Console) -> str | None:
    """What the person says, or None at the end of the input."""
    while True:
        if source.isatty():
            target.write("> ")
            target.flush()
        try:
            line = source.readline()
        except KeyboardInterrupt as stop:
            _end_if_told(stop)
            console.line("\n  /quit or Ctrl-D ends.")
            continue
        return line.strip() if line else None


def _replies(speakers: Sequence[_Speaker], sampling: Sampling, seed: int, target: TextIO, console: Console) -> None:
    """All replies to the last turn, shown while they are written."""
    names = [speaker.name for speaker in speakers]
    view: View = Columns.on(target, names) or InTurn(target, names if len(names) > 1 else ())
    told: queue.SimpleQueue[tuple[int, str | None]] = queue.SimpleQueue()
    stop = threading.Event()

    def work(number: int, speaker: _Speaker) -> None:
        def tell(_: int, piece: str) -> None:
            if stop.is_set():
                raise _Stopped
            told.put((number, piece))

        try:
            speaker.reply(sampling, seed, tell)
        except _Stopped:
            pass
        finally:
            told.put((number, None))

    with ThreadPoolExecutor(len(speakers)) as pool:
        working = [pool.submit(work, *each) for each in enumerate(speakers)]
        try:
            _show(view, len(speakers), told)
        except KeyboardInterrupt as interrupt:
            _end_if_told(interrupt)
            console.line("\n  Stopped.")
        finally:
            stop.set()
        for each in working:
            each.result()
    for speaker in speakers:
        speaker.remember()


def _show(view: View, running: int, told: queue.SimpleQueue[tuple[int, str | None]]) -> None:
    while running:
        number, piece = told.get()
        if piece is None:
            view.end(number)
            running -= 1
        else:
            view.text(number, piece)


def _end_if_told(stop: KeyboardInterrupt) -> None:
    """A SIGTERM ends the program, whatever it is doing; Ctrl-C only what it is doing."""
    if getattr(stop, "signal", signal.SIGINT) != signal.SIGINT:
        raise stop


def _fitting(speaker: _Speaker, turns: Messages, sampling: Sampling, console: Console) -> Messages:
    """The latest turns that leave room for a reply; whole exchanges are left out from the start."""
    policy = speaker.policy
    room = policy.context - min(sampling.max_tokens, policy.context // 2)
    dropped = 0
    while len(turns) > 2 and len(policy.renderer.prompt((*speaker.opening, *turns))) > room:
        turns = turns[2:]
        dropped += 1
    if dropped:
        what = "exchange is" if dropped == 1 else f"{dropped} exchanges are"
        console.line(f"  The conversation is longer than the context; its oldest {what} left out.")
    return turns
