"""Grading in worker processes: what a reply or a verifier does there, hang and crash included, costs that reply only."""

from __future__ import annotations

import pickle
import runpy
import sys
import time
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.pool import ThreadPool
from queue import SimpleQueue
from typing import Any, Literal

from burnish.core.types import Problem, Verdict
from burnish.errors import VerifierError
from burnish.verify.base import GradesMany, Verifier, graded, graded_many
from burnish.verify.deadline import Crashed, TimedOut, within

Case = tuple[Problem, str]

CHUNK = 64  # replies sent to a worker at once
PAUSE_S = 1.0  # a worker answers after this long with what it has done of a chunk


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of one call. value: what the verifier gave, a Verdict if it keeps its protocol; seconds: how long it took."""

    end: Literal["given", "raised", "late", "died"]
    value: Any
    why: str
    seconds: float


class Apart:
    """A verifier in worker processes. Raises VerifierError when it cannot be sent to one.

    timeout_s: how long one reply may take; workers start, and import what the verifier's own module needs, before that.
    """

    def __init__(self, verifier: Verifier, *, timeout_s: float) -> None:
        try:
            self._packed = pickle.dumps(verifier)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise VerifierError(
                f"{type(verifier).__name__} cannot be sent to another process ({error}), so it could not be graded with in parallel.\n"
                "  Define its class at the top of a module, with fields of plain values."
            ) from error
        # A class of the script that runs is found by the script's file.
        self._script = str(getattr(sys.modules["__main__"], "__file__", "")) if b"__main__" in self._packed else ""
        self._timeout_s = timeout_s

    def attempts(self, cases: Sequence[Case]) -> Iterator[Attempt]:
        """What comes of every case, in order, from one worker after another."""
        done = 0
        while done < len(cases):
            part = cases[done : done + CHUNK]
            try:
                found = self._call(part, self._timeout_s + PAUSE_S)
            except (TimedOut, Crashed):
                yield from self._alone(part)
                done += len(part)
            else:
                yield from found
                done += len(found)

    def _alone(self, cases: Sequence[Case]) -> Iterator[Attempt]:
        """The cases of a chunk that hung or crashed, each by itself, so that it is known which one it was."""
        for case in cases:
            try:
                yield from self._call([case], self._timeout_s)
            except TimedOut:
                yield Attempt("late", None, f"no verdict within {self._timeout_s:g} s", self._timeout_s)
            except Crashed as error:
                yield Attempt("died", None, str(error), 0.0)

    def _call(self, cases: Sequence[Case], timeout_s: float) -> list[Attempt]:
        return within(_attempts, self._packed, self._script, list(cases), timeout_s=timeout_s)


def _attempts(packed: bytes, script: str, cases: list[Case]) -> list[Attempt]:
    """The first cases' attempts: as many as fit in PAUSE_S, and at least one. Runs in a worker."""
    verifier = _load(packed, script)
    began = time.perf_counter()
    done: list[Attempt] = []
    for problem, text in cases:
        start = time.perf_counter()
        if done and start - began > PAUSE_S:
            break
        try:
            value: Any = verifier(problem, text)
        except Exception as error:  # noqa: BLE001 - a verifier is foreign code; what it raises is the result here
            done.append(Attempt("raised", None, f"{type(error).__name__}: {error}", time.perf_counter() - start))
        else:
            done.append(Attempt("given", value, "", time.perf_counter() - start))
    return done


_LOADED: dict[bytes, Verifier] = {}


def _load(packed: bytes, script: str) -> Verifier:
    if packed not in _LOADED:
        if script and getattr(sys.modules["__main__"], "__file__", None) != script:
            module = types.ModuleType("__main__")
            module.__dict__.update(runpy.run_path(script, run_name="__mp_main__"))
            module.__file__ = script
            sys.modules["__main__"] = module
        _LOADED.clear()
        _LOADED[packed] = pickle.loads(packed)
    return _LOADED[packed]


def as_verdict(verifier: Verifier, attempt: Attempt) -> Verdict:
    """The verdict that an attempt gave; ungraded with the reason where it gave none."""
    if attempt.end == "given" and isinstance(attempt.value, Verdict):
        return attempt.value
    name = type(verifier).__name__
    if attempt.end == "raised":
        return Verdict(None, f"verifier {name} raised {attempt.why}"[:300])
    if attempt.end == "given":
        return Verdict(None, f"verifier {name} gave {attempt.value!r}, which is no Verdict"[:300])
    return Verdict(None, f"verifier {name}: {attempt.why}"[:300])


def grade_all(
    verifier: Verifier,
    cases: Sequence[Case],
    on_graded: Callable[[int, Verdict], None],
    *,
    jobs: int,
    timeout_s: float = 600.0,
) -> None:
    """Grade the cases, `jobs` at a time in worker processes; on_graded(number, verdict) is called in this thread, as they end.

    The verdicts are those of grading one after another. jobs=1 grades in this process, without workers and deadline; so are
    verifiers that grade many at once (judges: they ask a model, at a concurrency and with time-outs of their own).
    timeout_s: a backstop for verifiers that break their own protocol; a reply that takes longer stays ungraded.
    """
    if isinstance(verifier, GradesMany):
        # A judge whose model answers in batches takes hours for any number: one time for all.
        together = len(cases) if getattr(getattr(verifier, "judge", None), "waits_long", False) else 4 * CHUNK
        for start in range(0, len(cases), max(together, 1)):
            for offset, verdict in enumerate(graded_many(verifier, cases[start : start + together])):
                on_graded(start + offset, verdict)
        return
    if jobs == 1:
        for number, (problem, text) in enumerate(cases):
            on_graded(number, graded(verifier, problem, text))
        return
    apart = Apart(verifier, timeout_s=timeout_s)
    # Small chunks, so that the last worker is not waited for, and a kill loses little.
    size = max(1, min(CHUNK, len(cases) // (4 * jobs)))
    done: SimpleQueue[tuple[int, Attempt] | BaseException] = SimpleQueue()

    def part(start: int) -> None:
        for offset, attempt in enumerate(apart.attempts(cases[start : start + size])):
            done.put((start + offset, attempt))

    with ThreadPool(jobs) as pool:  # its threads only wait for workers
        pool.map_async(part, range(0, len(cases), size), chunksize=1, error_callback=done.put)
        for _ in cases:
            found = done.get()
            if isinstance(found, BaseException):
                raise found
            number, attempt = found
            on_graded(number, as_verdict(verifier, attempt))
