"""Holds an exam: an examiner process and a candidate process, both contained, and this process carrying lines between.

The examiner has the tests and does all comparing; the candidate has the program, and sees only arguments of calls.
Examiners are kept for the next exam, a candidate process serves one program.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import marshal
import os
import re
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from burnish.errors import VerifierError
from burnish.verify.code import references
from burnish.verify.sandbox import Limits, Outcome, Program, Sandbox, Session, sandbox

PREPARE_S = 180.0  # to run a reference solution on all inputs
EXAMINE_S = 60.0  # between two lines of the examiner; comparing values takes milliseconds
REFERENCE_FACTOR = 4.0  # a program gets at least this many times the reference's processor time,
LONGEST_S = 60.0  # up to this much
WORTH_S = 0.5  # outputs of references that take at least this long are kept on disk
PATIENCE_S = 5.0  # on the clock, beyond twice its processor time, that a program may sleep
KEPT = 64  # prepared exams an examiner holds
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_EXAMINER = Limits(cpu_s=7200.0, wall_s=86400.0, memory_mb=2048, output_kb=1 << 30)


class Tally(NamedTuple):
    """How many tests passed of all that ran; why tells of the first that failed."""

    passed: int
    total: int
    why: str


class Place(NamedTuple):
    """Which sandbox programs run in: its kind, and the packages they may import beside the standard library."""

    kind: str = "auto"
    packages: tuple[str, ...] = ()

    def box(self) -> Sandbox:
        """The sandbox, started before or new. Raises VerifierError where there is none."""
        return sandbox(self.kind, self.packages)


class Ungraded(VerifierError):
    """The exam says nothing about the program: its tests cannot be used, or the sandbox failed."""


class Lost(Ungraded):
    """The examiner or the sandbox failed before the program had any part in it: worth a second try."""


class Lines:
    """A session's output as lines."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.rest = b""

    def send(self, line: bytes) -> bool:
        """False when the program has ended."""
        try:
            self.session.send(line + b"\n")
        except VerifierError:
            return False
        return True

    def receive(self, timeout_s: float) -> bytes | None:
        """The next line without its end, or None: the program ended or was silent for `timeout_s` seconds."""
        parts, until = [self.rest], time.monotonic() + timeout_s
        while b"\n" not in parts[-1]:
            left = until - time.monotonic()
            chunk = self.session.receive(left) if left > 0 else b""
            if not chunk:
                self.rest = b"".join(parts)
                return None
            parts.append(chunk)
        line, _, self.rest = b"".join(parts).partition(b"\n")
        return line


@lru_cache(maxsize=8)
def bundle(main: str, *modules: str) -> str:
    """One program text that defines `modules` of this package and runs the last one's `main`.

    It holds their compiled code too, for a sandbox with this very interpreter: compiling takes longer than most programs.
    """
    folder = Path(__file__).parent
    parts = {}
    for module in modules:
        name, text = f"burnish.verify.code.{module}", (folder / f"{module}.py").read_text(encoding="utf-8")
        parts[name] = (text, marshal.dumps(compile(text, name, "exec", dont_inherit=True, optimize=2)))
    return (
        "import marshal, sys, types\n"
        f"same = (sys.hexversion, sys.implementation.cache_tag) == {(sys.hexversion, sys.implementation.cache_tag)!r}\n"
        "for name in ('burnish', 'burnish.verify', 'burnish.verify.code'):\n"
        "    sys.modules[name] = types.ModuleType(name)\n"
        f"for name, (text, code) in {parts!r}.items():\n"
        "    module = sys.modules[name] = types.ModuleType(name)\n"
        "    exec(marshal.loads(code) if same else compile(text, name, 'exec'), module.__dict__)\n"
        f"sys.modules['burnish.verify.code.{main}'].main()\n"
    )


class Examiner:
    """An examiner process, and the exams it has prepared with their references' processor seconds."""

    def __init__(self, box: Sandbox) -> None:
        source = bundle("examiner", "wire", "oracles", "remote", "examiner")
        self.lines = Lines(box.open(Program(source, limits=_EXAMINER)))
        self.seconds: dict[str, float] = {}
        self.healthy = True

    def prepare(self, key: str, spec: dict[str, Any]) -> float:
        """The reference's processor seconds. Raises Ungraded when the tests themselves cannot be used."""
        if key in self.seconds:
            return self.seconds[key]
        order = {"exam": key, "keep": KEPT, "worth_s": WORTH_S, "spec": {**spec, **references.known(key)}}
        reply = self.lines.receive(PREPARE_S) if self.lines.send(json.dumps(order).encode("ascii")) else None
        if reply is None:
            raise Lost(f"the tests could not be prepared: {self.end().why}")
        result = json.loads(reply[1:])
        if "bad" in result:
            raise Ungraded(f"the target's tests or reference solution do not run: {result['bad']}")
        if result["outputs"] is not None:
            references.keep(key, result)
        while len(self.seconds) >= KEPT:  # the examiner dropped its oldest exam in the same way
            del self.seconds[next(iter(self.seconds))]
        self.seconds[key] = float(result["seconds"])
        return self.seconds[key]

    def end(self) -> Outcome:
        """End the process; how it ended."""
        self.healthy = False
        return self.lines.session.close()


# Examiners that wait for work, by process (a forked child must not use its parent's) and sandbox.
# Deques, because their append and pop need no lock that a fork could copy while it is held.
_waiting: dict[tuple[int, Place], deque[Examiner]] = {}


@contextlib.contextmanager
def _examiner(place: Place, fresh: bool) -> Iterator[Examiner]:
    """An examiner of this process, kept afterwards unless its exam broke it. fresh: start one, whatever waits."""
    waiting = _waiting.setdefault((os.getpid(), place), deque())
    try:
        examiner = Examiner(place.box()) if fresh else waiting.pop()
    except IndexError:
        examiner = Examiner(place.box())
    try:
        yield examiner
    except VerifierError:
        if examiner.healthy:
            waiting.append(examiner)
        raise
    except BaseException:
        examiner.end()
        raise
    if examiner.healthy:
        waiting.append(examiner)


def examine(
    spec: dict[str, Any], sources: Sequence[str], *, entry: str, trim: bool, partial: bool, limits: Limits, place: Place
) -> Tally:
    """Run the tests of `spec` against the program in `sources`.

    partial: run every test, where otherwise the first that fails ends the exam.
    Raises Ungraded when the tests cannot be used or the sandbox fails.
    """
    text = json.dumps(spec, sort_keys=True)
    key = hashlib.sha256(text.encode("ascii")).hexdigest()[:24]
    program = {"sources": list(sources), "trim": trim}
    order = json.dumps({"run": key, "program": program, "partial": partial}).encode("ascii")
    for fresh in (False, True):
        try:
            with _examiner(place, fresh) as examiner:
                seconds = examiner.prepare(key, spec)
                cpu = max(limits.cpu_s, min(REFERENCE_FACTOR * seconds, LONGEST_S))
                return _hold(
                    examiner, order, dataclasses.replace(limits, cpu_s=cpu, wall_s=PATIENCE_S + 2 * cpu), place
                )
        except Lost:  # one that waited may have ended meanwhile
            if fresh:
                raise
    raise AssertionError("unreachable")


def _hold(examiner: Examiner, order: bytes, limits: Limits, place: Place) -> Tally:
    """Carry lines between the two until the examiner has a result."""
    candidate = Lines(place.box().open(Program(bundle("candidate", "wire", "candidate"), limits=limits)))
    ended: Outcome | None = None
    asked = False
    try:
        examiner.lines.send(order)
        while (line := examiner.lines.receive(EXAMINE_S)) is not None:
            if line[:1] == b"=":
                return _tally(json.loads(line[1:]))
            reply, asked = None, True
            if ended is None and candidate.send(line[1:]):
                reply = candidate.receive(limits.wall_s)
            if reply is None:
                ended = ended or candidate.session.close()
                if ended.status == "lost":
                    examiner.end()
                    raise Lost(f"the sandbox failed: {ended.why}")
                examiner.lines.send(b"!" + told(ended).encode("utf-8", "replace"))
            else:
                examiner.lines.send(b"<" + reply)
        # The examiner runs the data set's code and compares values that the program made: a value can hold it up.
        outcome = examiner.end()
        if outcome.status == "lost" or not asked:
            raise Lost(f"the sandbox failed: {outcome.why}")
        return Tally(0, 1, f"the tests did not end with this program's values: {outcome.why}")
    finally:
        if ended is None:
            candidate.session.close()


def told(ended: Outcome) -> str:
    """Why a program that should have gone on answering did not."""
    if ended.status in ("ok", "error") and ended.exit_code is not None:
        return f"early exit: the program's process ended before its tests were done (exit code {ended.exit_code})"
    return f"{ended.status}: {ended.why}".replace("\n", " ")


def _tally(result: dict[str, Any]) -> Tally:
    if "bad" in result:
        raise Ungraded(f"the tests cannot be run: {result['bad']}")
    return Tally(result["passed"], result["total"], _ADDRESS.sub("", result["why"]))
