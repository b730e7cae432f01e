"""Calls with a deadline, in worker processes that may hang or crash without harm.

`within(function, *args, timeout_s=5)` runs a module-level function in a worker and gives its result. A worker that is
late is killed, also one that hangs in native code with the interpreter's lock held; the next call starts another.
It uses no signals of this process, so it works from any thread, from asyncio (`await asyncio.to_thread(within, ...)`)
and from child processes, forked or spawned, which get workers of their own. Workers are plain child interpreters that
import only what is asked of them; they end with the process that started them, however that ends.

The function is trusted code: this keeps time, it is not a sandbox (see burnish.verify.sandbox for that).
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from burnish.core.cores import cores
from burnish.errors import VerifierError

R = TypeVar("R")

# A deadline counts seconds in which the worker could run, so that a busy machine does not change verdicts: a worker
# that waits for a processor gets up to this many times its wall time.
STARVED = 10
START_S = 120.0  # to start, to import the function's module and to prepare; not part of a call's deadline
RENEW_CALLS = 5_000  # a worker is replaced after this many calls, and when it holds this much memory,
RENEW_BYTES = 1 << 30
MEMORY_BYTES = 4 << 30  # and cannot hold more than this: a larger allocation raises MemoryError in it

_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]);"
    "from burnish.verify.deadline import serve; serve(int(sys.argv[2]), int(sys.argv[3]))"
)
_BEGUN = b""


class TimedOut(VerifierError):
    """A call that was not done in time; its worker was killed."""


class Crashed(VerifierError):
    """A call whose worker process ended without an answer."""


def within(function: Callable[..., R], *args: Any, timeout_s: float, prepare: Callable[[], object] | None = None) -> R:
    """`function(*args)`, computed in a worker process within `timeout_s` seconds. Calls wait for a free worker first.

    function: a function at the top of an importable module; it, its arguments and its result are pickled.
    prepare:  called once in each worker before the clock of its first call starts, e.g. to import a heavy library.

    Raises what the function raises, TimedOut, or Crashed (the worker died: a signal, out of memory, os._exit).
    """
    if not timeout_s > 0:
        raise VerifierError(f"within(..., timeout_s={timeout_s!r}): a deadline is a number of seconds above 0.")
    if getattr(function, "__module__", None) == "__main__":
        raise VerifierError(
            f"within({_name(function)}): a function of the script that runs cannot be found by a worker process.\n"
            "  Move it to a module that can be imported."
        )
    request = pickle.dumps((_path(), pickle.dumps((function, args, prepare, timeout_s))))
    answer = _pool().run(request, _name(function), timeout_s)
    if answer.error is not None:
        raise answer.error
    result: R = answer.result
    return result


class _Answer(NamedTuple):
    """What a worker sends back; `renew` says that it wants to be replaced."""

    result: Any
    error: Exception | None
    renew: bool = False


# ------------------------------------------------------------------------------------------- in the asking process


_POOLS: dict[int, _Pool] = {}


def _pool() -> _Pool:
    """This process's workers. A forked child finds none under its own id, and starts its own."""
    pid = os.getpid()
    pool = _POOLS.get(pid)
    if pool is None:
        made = _Pool(pid)
        pool = _POOLS.setdefault(pid, made)
        if pool is made:
            atexit.register(pool.close)
    return pool


class _Pool:
    """As many workers as processors, started when asked for and used again, the last used first."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.slots = threading.BoundedSemaphore(cores())
        self.idle: list[_Worker] = []

    def run(self, request: bytes, name: str, timeout_s: float) -> _Answer:
        with self.slots:
            worker = self._begun(request, name)
            try:
                answer = worker.answer(timeout_s)
                if answer is None:
                    raise TimedOut(f"{name} was not done within {timeout_s:g} s")
            except (EOFError, OSError) as error:
                raise Crashed(f"{name} ended its worker process: {worker.kill()}") from error
            except BaseException:
                worker.kill()
                raise
            if answer.renew:
                worker.kill()
            else:
                self.idle.append(worker)
            return answer

    def _begun(self, request: bytes, name: str) -> _Worker:
        """A worker that has begun the call. One that died while it lay idle is replaced."""
        while True:
            reused = bool(self.idle)
            try:
                worker = self.idle.pop()
            except IndexError:
                worker, reused = _Worker(), False
            try:
                if worker.begin(request):
                    return worker
                raise TimedOut(f"{name}: its worker process was not ready within {START_S:g} s")
            except (EOFError, OSError) as error:
                how = worker.kill()
                if not reused:
                    raise Crashed(f"{name}: its worker process did not get ready: {how}") from error
            except BaseException:
                worker.kill()
                raise

    def close(self) -> None:
        """End the idle workers; busy ones end with this process."""
        if os.getpid() == self.pid:
            while self.idle:
                self.idle.pop().kill()


class _Worker:
    """A child interpreter, a socket to it, and a pipe whose closing kills it when this process is gone."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        life, self.life = os.pipe()
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-c", _START, json.dumps(_path()), str(theirs.fileno()), str(life)],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), life), start_new_session=True,
            )  # fmt: skip
        except BaseException:
            ours.close()
            os.close(self.life)
            raise
        finally:
            theirs.close()
            os.close(life)
        self.line = Connection(ours.detach())
        self.first: bytes = _BEGUN

    def begin(self, request: bytes) -> bool:
        """True once the worker works on the request, or has answered it; False when it does not get there in time."""
        self.line.send_bytes(request)
        if not self.line.poll(START_S):
            return False
        self.first = self.line.recv_bytes()
        return True

    def answer(self, timeout_s: float) -> _Answer | None:
        """The answer to the request begun, or None when it is late."""
        message = self.first
        if message == _BEGUN:
            if not self._ready(timeout_s):
                return None
            message = self.line.recv_bytes()
        answer: _Answer = pickle.loads(message)
        return answer

    def _ready(self, timeout_s: float) -> bool:
        began, before = time.monotonic(), _ran(self.process.pid).seconds
        wait = timeout_s
        while not self.line.poll(wait):
            now = _ran(self.process.pid)
            left = timeout_s - (now.seconds - before)
            if not now.runnable or left <= 0 or time.monotonic() - began >= STARVED * timeout_s:
                return False
            wait = max(left, 0.01)
        return True

    def kill(self) -> str:
        """End the worker with all it started; says how it had ended."""
        self.line.close()
        with contextlib.suppress(subprocess.TimeoutExpired):  # a worker that is ending by itself: how is worth knowing
            self.process.wait(0.05)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        code = self.process.wait()
        with contextlib.suppress(OSError):
            os.close(self.life)
        if code >= 0:
            return f"exit code {code}"
        with contextlib.suppress(ValueError):
            return f"killed by {signal.Signals(-code).name}"
        return f"killed by signal {-code}"


class _Ran(NamedTuple):
    """How long a process has run on a processor, in seconds, and whether it runs or waits for one."""

    seconds: float
    runnable: bool


def _ran(pid: int) -> _Ran:
    """From /proc; where there is none, deadlines are plain wall time."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return _Ran(0.0, False)
    return _Ran((int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), fields[0] == "R")


def _path() -> list[str]:
    """Where this process imports from, for another one."""
    return [entry or str(Path.cwd()) for entry in sys.path]


def _name(function: Callable[..., object]) -> str:
    return str(getattr(function, "__qualname__", function))


# --------------------------------------------------------------------------------------------------- in the worker


def serve(line_fd: int, life_fd: int) -> None:
    """Answer requests until the other side is gone. What a worker runs; nothing else calls it."""
    _die_with(life_fd)
    _limit_memory()
    line = Connection(line_fd)
    prepared: set[Callable[[], object]] = set()
    calls = 0
    while True:
        try:
            request = line.recv_bytes()
        except (EOFError, OSError):
            return
        calls += 1
        answer = _answer(line, request, prepared)
        if calls >= RENEW_CALLS or _memory() > RENEW_BYTES:
            answer = answer._replace(renew=True)
        line.send_bytes(_packed(answer))


def _answer(line: Connection, request: bytes, prepared: set[Callable[[], object]]) -> _Answer:
    try:
        path, call = pickle.loads(request)
        if path != sys.path:  # the asking process can import more by now than when this one was started
            sys.path[:] = path
        function, args, prepare, timeout_s = pickle.loads(call)
        if prepare is not None and prepare not in prepared:
            prepare()
            prepared.add(prepare)
        _limit_seconds(timeout_s)
        line.send_bytes(_BEGUN)
        return _Answer(function(*args), None)
    except Exception as error:  # noqa: BLE001 - the caller's exception goes to the caller
        return _Answer(None, _portable(error))


def _portable(error: Exception) -> Exception:
    """The exception, or where it cannot be pickled and read again, one that says the same."""
    error = error.with_traceback(None)
    error.__cause__ = error.__context__ = None
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001 - any class of exception, and pickling runs its code
        return VerifierError(f"{type(error).__name__}: {error}")
    return error


def _packed(answer: _Answer) -> bytes:
    try:
        return pickle.dumps(answer)
    except Exception as error:  # noqa: BLE001 - the result is any object, and pickling runs its code
        return pickle.dumps(_Answer(None, VerifierError(f"the result cannot be sent back: {error}"), answer.renew))


def _die_with(life_fd: int) -> None:
    """Have the system kill this process once no one holds the other end of the pipe, whatever this process is doing.

    Where the system cannot (F_SETSIG is Linux), an idle worker sees its socket close, and a busy one has its CPU limit.
    """
    import fcntl

    if hasattr(fcntl, "F_SETSIG"):
        fcntl.fcntl(life_fd, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(life_fd, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(life_fd, fcntl.F_SETFL, os.O_RDONLY | os.O_ASYNC)
    if select.select([life_fd], [], [], 0)[0]:  # it closed before this
        os._exit(0)


def _limit_memory() -> None:
    import resource

    for kind, most in ((resource.RLIMIT_AS, MEMORY_BYTES), (resource.RLIMIT_CORE, 0)):
        with contextlib.suppress(ValueError, OSError):
            hard = resource.getrlimit(kind)[1]
            resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def _limit_seconds(timeout_s: float) -> None:
    import resource

    with contextlib.suppress(ValueError, OSError, OverflowError):
        hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
        resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time() + timeout_s) + 60, hard))


def _memory() -> int:
    """What this process holds, in bytes. Not its highest, which on Linux a child takes over from the process that started it."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
