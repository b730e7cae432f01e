"""Runs a recipe: what is finished stays, what was interrupted goes on, training and generation in processes of their own."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType

from burnish import errors
from burnish.core.files import disk_errors, write_json
from burnish.core.fingerprint import encode
from burnish.errors import ArtifactError, MissingData, TrainingError, nearest
from burnish.pipeline import worker
from burnish.pipeline.cost import Cost
from burnish.pipeline.machine import Machine
from burnish.pipeline.plan import Plan, Step, plan, wanted
from burnish.pipeline.progress import Console, duration
from burnish.pipeline.ranks import Node, alone, machine_of
from burnish.pipeline.stage import Stage
from burnish.pipeline.store import JOB, RANKS, Store
from burnish.pipeline.worker import Place, execute

GUARD_S = 600.0
_LOOK_S = 0.5
GRACE_S = 10.0
_FULL_BYTES = 32 << 20


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or a polite kill, after the stage's process has ended. `signal` is SIGINT or SIGTERM."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.signal = number


def run(
    root: Stage,
    *,
    runs: Path,
    machine: Machine,
    data: Path | None = None,
    cache: Path,
    until: str | None = None,
    rebuild: Sequence[str] = (),
    yes: bool = False,
    console: Console | None = None,
    modules: Sequence[Path] = (),
    own_process: bool = True,
    track: Sequence[str] = (),
) -> Path:
    """Make every stage of a recipe that is not finished; returns the last stage's folder.

    rebuild: names of stages that may be made anew although another version of theirs has hours recorded; yes: all may.
    modules: recipe files that a stage's own process loads first, so that classes defined in them are found.
    own_process: False runs every stage in this process (tests, debuggers).
    track: names of trackers that are shown the numbers of training (burnish.train.trackers).

    Raises the stages' own errors, MissingData before anything is made, ArtifactError for a store that is locked, full, read-only or guards recorded hours,
    TrainingError for a stage whose process crashed, Interrupted on SIGINT or SIGTERM.
    """
    console = console or Console()
    place = Place(runs.absolute(), machine, data and data.absolute(), cache.absolute(), console, tuple(track))
    stages = wanted(root, until)
    store = Store(place.runs)
    todo = plan(root, runs=place.runs, data=place.data, until=until, machine=machine, cache=place.cache)
    if todo.missing:
        raise MissingData(*todo.missing)
    _known(rebuild, [stage.name for stage in stages])
    if (node := Node.here(machine, os.environ)).number:
        with _polite_kill():
            for stage in stages:
                _follow(stage, store, place, modules, node)
        return store.path_of(stages[-1])
    _guard(todo, rebuild, yes)
    if todo.to_run:
        console.line(_first_line(todo))
    else:
        spent = duration(sum(step.cost.wall_s for step in todo.steps))
        console.line(f"Nothing to run: all {len(stages)} stages are finished ({spent} recorded).")
    with _polite_kill():
        for number, (stage, step) in enumerate(zip(stages, todo.steps, strict=True), 1):
            if not store.complete(stage):
                why = f": {step.why}" if step.changes or step.state == "partial" else ""
                title = f"[{number}/{len(stages)}] {stage.name}{why}"
                _make(stage, store, place, modules if own_process else None, title)
    return store.path_of(stages[-1])


def _make(stage: Stage, store: Store, place: Place, modules: Sequence[Path] | None, title: str) -> None:
    with store.lock(stage) as handle:
        # Another run may have finished it between our look and our lock.
        if store.complete(stage):
            return
        partial = store.begin(stage)
        if not worker.done(partial):
            place.console.line(title)
            start = time.monotonic()
            if modules is not None and stage.OWN_PROCESS:
                _in_child(stage, partial, place, modules, handle)
            else:
                execute(stage, replace(place, machine=alone(place.machine)))
            place.console.line(f"  finished in {duration(time.monotonic() - start)}")
        store.publish(stage)


def _follow(stage: Stage, store: Store, place: Place, modules: Sequence[Path], node: Node) -> None:
    """On every node but the first: take part in stages of several processes, wait while the first node makes the others."""
    if stage.RANKS and not store.complete(stage):
        place.console.line(f"{stage.name}: taking part as node {node.number} of {place.machine.nodes}")
        folder = store.begin(stage) / RANKS / f"node-{node.number}"
        folder.mkdir(parents=True, exist_ok=True)
        _in_child(stage, folder, place, modules, None, lambda: store.complete(stage))
    while not store.complete(stage):
        time.sleep(_LOOK_S)


def _in_child(
    stage: Stage, partial: Path, place: Place, modules: Sequence[Path], lock: int | None,
    over: Callable[[], bool] | None = None,
) -> None:  # fmt: skip
    """partial: where its job is written. over: whether the work was finished without the child, which is then ended."""
    reading, writing = os.pipe()
    machine = machine_of(stage, place.machine)
    several = machine.processes * machine.nodes > 1
    try:
        job = {
            "stage": encode(stage, path=stage.name),
            "machine": encode(machine),
            "runs": str(place.runs),
            "data": str(place.data) if place.data else None,
            "cache": str(place.cache),
            "modules": [str(module.absolute()) for module in modules],
            "quiet": place.console.quiet,
            "track": place.track,
            "parent": os.getpid(),
            "pipe": writing,
        } | ({} if lock is None else {"lock": lock})
        write_json(partial / JOB, job)
        # The child sees the modules its parent sees, wherever it was started; -P keeps the current folder out.
        paths = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", f"burnish.pipeline.{'ranks' if several else 'worker'}", str(partial / JOB)],
            env=os.environ | machine.environment() | {"PYTHONPATH": paths},
            pass_fds=(writing,) if lock is None else (writing, lock),
            # A terminal's Ctrl-C would reach torchrun twice, once from the terminal and once from us.
            start_new_session=several,
        )
        code = _wait(child, over)
        os.set_blocking(reading, False)
        try:
            answer = os.read(reading, 1 << 16)
        except BlockingIOError:
            answer = b""
    finally:
        os.close(reading)
        os.close(writing)
    if code == worker.USER_ERROR and answer:
        raise _error(json.loads(answer))
    if code > 0 and shutil.disk_usage(partial).free < _FULL_BYTES:
        # Writers in C++ and Rust (weights) raise errors of their own for a full disk.
        with disk_errors(partial):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if code:
        raise TrainingError(_crash(stage, partial, code))


def _wait(child: subprocess.Popen[bytes], over: Callable[[], bool] | None = None) -> int:
    try:
        while over is not None and child.poll() is None:
            if over():
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(GRACE_S)
                if child.poll() is None:
                    _end(child)
                return 0
            time.sleep(_LOOK_S)
        return child.wait()
    except BaseException:
        _end(child)
        raise


def _end(child: subprocess.Popen[bytes]) -> None:
    """End a child: asked first, then killed; at once when the user asks again."""
    with contextlib.suppress(ProcessLookupError):
        child.send_signal(signal.SIGINT)
    try:
        child.wait(GRACE_S)
    except BaseException as error:
        child.kill()
        child.wait()
        if not isinstance(error, subprocess.TimeoutExpired):
            raise


def _error(answer: dict[str, str]) -> errors.Error:
    kind: type[errors.Error] = getattr(errors, answer["kind"], errors.Error)
    error = kind.__new__(kind)
    # MissingExtra builds its text from parts; the text is complete here.
    Exception.__init__(error, answer["text"])
    return error


def _crash(stage: Stage, partial: Path, code: int) -> str:
    again = f"What it finished is kept in {partial}: run the same command again and it goes on from there."
    if code > 0:
        return f"stage {stage.name!r} stopped with an unexpected exception (its traceback is above).\n  {again}"
    peak = Cost.of_partial(partial).peak_rss_bytes
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    text = f"stage {stage.name!r} was ended by {name}; its memory peaked at {peak / 2**30:.1f} GiB or more."
    if -code == signal.SIGKILL:
        text += "\n  SIGKILL that nobody sent is the system running out of memory: close other programs, or lower"
        text += "\n  micro_tokens (learner) and slots (engine) of the Machine, which change no result."
    return f"{text}\n  {again}"


def _known(rebuild: Sequence[str], names: list[str]) -> None:
    for name in rebuild:
        if name not in names:
            raise errors.RecipeError(f"--rebuild {name}: no such stage. {nearest(name, set(names))}")


def _guard(todo: Plan, rebuild: Sequence[str], yes: bool) -> None:
    """Stop before hours that were paid for are paid again; work in a `.partial` folder was agreed to when it began."""
    at_stake = [
        step
        for step in todo.to_run
        if step.state == "run" and step.before and step.before.cost.wall_s > GUARD_S and step.name not in rebuild
    ]
    if yes or not at_stake:
        return
    lines = [_guarded(step) for step in at_stake]
    names = " ".join(f"--rebuild {step.name}" for step in at_stake)
    raise ArtifactError(
        "\n".join(lines)
        + f"\n  Go ahead with the same command and  {names}  (or --yes for all), or put the old values back to use what is there."
    )


def _guarded(step: Step) -> str:
    old = step.before
    spent = duration(old.cost.wall_s if old else 0.0)
    changed = "; ".join(str(change) for change in step.changes[:5])
    return (
        f"{step.name!r} would be rebuilt: {spent} of recorded compute ({old.folder.name if old else ''} → {step.name}-{step.fingerprint}).\n"
        f"  Changed: {changed}."
    )


def _first_line(todo: Plan) -> str:
    total, left = len(todo.steps), len(todo.to_run)
    going_on = sum(step.state == "partial" for step in todo.steps)
    note = f", {going_on} of them going on where it stopped" if going_on else ""
    return f"{left} of {total} stages to run{note}."


@contextlib.contextmanager
def _polite_kill() -> Iterator[None]:
    """Turn SIGTERM into the same orderly end as Ctrl-C. Only the main thread may set handlers; others keep theirs."""

    def handle(number: int, frame: FrameType | None) -> None:
        raise Interrupted(number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, handle)
    try:
        yield
    except Interrupted:
        raise
    except KeyboardInterrupt:
        raise Interrupted(signal.SIGINT) from None
    finally:
        signal.signal(signal.SIGTERM, before)
