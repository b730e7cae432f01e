"""A sandbox of workers on this machine: programs in parallel over the cores, sessions, and the second try of starved ones."""

from __future__ import annotations

import os
import select
import socket
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from burnish.errors import VerifierError
from burnish.verify.sandbox import frames
from burnish.verify.sandbox.base import Outcome, Program
from burnish.verify.sandbox.launch import WHY, Kind, Worker
from burnish.verify.sandbox.messages import lost, message_of, outcome_of

_GRACE_S = 30.0  # beyond a program's own limits, before its worker counts as hung
_PERIODS = 10  # of wall_s that a program gets alone, as long as something outside keeps it waiting for a core


class Pool:
    """Runs programs in workers of one kind. `workers`: how many at a time, as many as cores by default."""

    def __init__(self, kind: Kind, workers: int) -> None:
        self.name = kind.name
        self.why = WHY[kind.name]
        self.workers = workers
        self._kind = kind
        self._forget()

    def _forget(self) -> None:
        self._pid = os.getpid()
        self._idle: list[Worker] = []
        self._free = threading.Semaphore(self.workers)
        self._lock = threading.Lock()
        self._traffic = Traffic()

    def run(self, programs: Sequence[Program]) -> list[Outcome]:
        """The outcome of each program, in order."""
        if self._pid != os.getpid():  # a forked child must not talk to its parent's workers
            self._forget()
        requests = [message_of(program) for program in programs]
        if len(requests) < 2:
            return [self._one(*request) for request in requests]
        with ThreadPoolExecutor(min(self.workers, len(requests)), thread_name_prefix="sandbox") as threads:
            return list(threads.map(lambda request: self._one(*request), requests))

    def open(self, program: Program) -> Session:
        """Start a program and stay connected to it."""
        if self._pid != os.getpid():
            self._forget()
        head, blobs = message_of(program)
        return Session(self, self._take(), head, blobs)

    def close(self) -> None:
        """End the idle workers."""
        with self._lock:
            workers, self._idle = self._idle, []
        for worker in workers:
            worker.end()

    def _one(self, head: dict[str, Any], blobs: list[bytes]) -> Outcome:
        with self._free:
            with self._traffic.among_others():
                outcome, starved = self._answer(head, blobs)
            if not starved:
                return outcome
            with self._traffic.alone():
                outcome, _ = self._answer({**head, "periods": _PERIODS}, blobs)
        return replace(outcome, why=f"{outcome.why} (second try, alone)")

    def _answer(self, head: dict[str, Any], blobs: list[bytes]) -> tuple[Outcome, bool]:
        """The outcome, and whether it was kept waiting for a core. A worker that broke is replaced, once."""
        for last in (False, True):
            worker = self._take()
            try:
                worker.link.settimeout(_patience(head))
                frames.send(worker.link, head, blobs)
                report, texts = finish(worker)
            except (OSError, EOFError, ValueError, KeyError) as error:
                worker.end()
                if last:
                    return lost(f"the worker broke twice: {type(error).__name__}: {error}"), False
                continue
            self._give_back(worker)
            return outcome_of(report, texts), bool(report.get("starved"))
        raise AssertionError("unreachable")

    def _take(self) -> Worker:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return self._kind.start()

    def _give_back(self, worker: Worker) -> None:
        with self._lock:
            if len(self._idle) < self.workers:
                self._idle.append(worker)
                return
        worker.end()


class Session:
    """A running program of a Pool, with its standard input and output."""

    def __init__(self, pool: Pool, worker: Worker, head: dict[str, Any], blobs: list[bytes]) -> None:
        self._pool, self._worker = pool, worker
        self._ended: Outcome | None = None
        self._most = head["limits"]["output_kb"] << 10
        self._received = 0
        self._patience = _patience(head)
        source, stdin, *files = blobs
        theirs_in, self._in = os.pipe()
        self._out, theirs_out = os.pipe()
        try:
            frames.send(worker.link, {**head, "session": True}, [source, b"", *files])
            socket.send_fds(worker.link, [b"f"], [theirs_in, theirs_out])
        except OSError as error:
            worker.end()
            raise VerifierError(f"the sandbox's worker broke before the program started: {error}") from error
        finally:
            os.close(theirs_in)
            os.close(theirs_out)
        os.set_blocking(self._in, False)
        self._pipes = weakref.finalize(self, _close, [self._in, self._out])
        with suppress(VerifierError):  # it ended without reading; close() says how
            self.send(stdin)

    def send(self, data: bytes) -> None:
        """Write to the program's standard input. Raises VerifierError when it has ended or reads nothing for the time it has."""
        view = memoryview(data)
        until = time.monotonic() + self._patience
        while view:
            wait = max(0.0, until - time.monotonic())
            if self._ended is not None or not select.select([], [self._in], [], wait)[1]:
                raise VerifierError("the program reads nothing any more; close() says how it ended")
            try:
                view = view[os.write(self._in, view) :]
            except BlockingIOError:
                continue
            except BrokenPipeError as error:
                raise VerifierError("the program has ended; close() says how") from error

    def receive(self, timeout_s: float) -> bytes:
        """What it printed since the last call; b"" when nothing came in time, it ended, or it printed beyond its limit."""
        if self._ended is not None or self._received >= self._most:
            return b""
        if not select.select([self._out], [], [], max(0.0, timeout_s))[0]:
            return b""
        part = os.read(self._out, min(1 << 16, self._most - self._received))
        self._received += len(part)
        return part

    def close(self) -> Outcome:
        """End its input, wait for its end, and say how it ended."""
        if self._ended is not None:
            return self._ended
        self._pipes.detach()
        os.close(self._in)
        rest = bytearray()
        until = time.monotonic() + self._patience
        while time.monotonic() < until and (part := self.receive(until - time.monotonic())):
            rest += part
        flooded = self._received >= self._most
        os.close(self._out)  # whoever still prints now gets a broken pipe
        self._ended = self._finish(bytes(rest), flooded)
        return self._ended

    def _finish(self, rest: bytes, flooded: bool) -> Outcome:
        self._worker.link.settimeout(self._patience)
        try:
            report, texts = finish(self._worker)
        except (OSError, EOFError, ValueError, KeyError) as error:
            self._worker.end()
            return lost(f"the worker broke: {type(error).__name__}: {error}")
        self._pool._give_back(self._worker)
        outcome = outcome_of(report, [rest, texts[1]])
        if flooded and outcome.status in ("ok", "error"):
            return replace(outcome, status="output", exit_code=None, why=f"printed {self._most >> 10} KiB or more")
        return outcome


class Traffic:
    """Many among others, or one alone."""

    def __init__(self) -> None:
        self._change = threading.Condition()
        self._running = 0
        self._single = False

    @contextmanager
    def among_others(self) -> Iterator[None]:
        """Inside, nobody is alone."""
        with self._change:
            self._change.wait_for(lambda: not self._single)
            self._running += 1
        try:
            yield
        finally:
            with self._change:
                self._running -= 1
                self._change.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Inside, nobody else is."""
        with self._change:
            self._change.wait_for(lambda: not self._single)
            self._single = True
            self._change.wait_for(lambda: self._running == 0)
        try:
            yield
        finally:
            with self._change:
                self._single = False
                self._change.notify_all()


def finish(worker: Worker) -> tuple[dict[str, Any], list[bytes]]:
    """The report on a program, once all its processes are gone."""
    report, texts = frames.receive(worker.link)
    if "ended" in report:
        return {"status": "lost", "why": f"its watcher ended with code {report['ended']} and no report"}, [b"", b""]
    if not report.get("unwatched"):
        frames.receive(worker.link)
    return report, texts


def _close(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _patience(head: dict[str, Any]) -> float:
    return float(head["limits"]["wall_s"] * head["periods"] + _GRACE_S)
