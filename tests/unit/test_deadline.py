"""Calls with a deadline: what hangs is killed, what crashes is survived, from anywhere, and nothing is left behind."""

from __future__ import annotations

import asyncio
import ctypes
import multiprocessing
import operator
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from burnish.errors import MissingExtra, VerifierError
from burnish.verify.deadline import RENEW_CALLS, Crashed, TimedOut, within

ROOT = Path(__file__).parents[2]
HANG = (r"(a+)+", "a" * 60 + "b")  # native code that holds the interpreter's lock for ages


def burn(seconds: float) -> float:
    """Use that much processor time."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
    return seconds


def missing() -> None:
    raise MissingExtra("this", "nothing", "none")


def unsendable() -> Callable[[], int]:
    return lambda: 1


def ask(queue: Any) -> None:
    """What a child process does: a call, a hang, a call."""
    try:
        within(re.fullmatch, *HANG, timeout_s=0.2)
    except TimedOut:
        queue.put(within(operator.add, 1, 2, timeout_s=5))


def test_the_result_comes_back_and_workers_are_used_again() -> None:
    assert within(operator.add, 1, 2, timeout_s=5) == 3
    assert within(os.getpid, timeout_s=5) == within(os.getpid, timeout_s=5) != os.getpid()


def test_the_functions_own_exception_comes_back() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        within(int, "x", timeout_s=5)
    with pytest.raises(VerifierError, match="MissingExtra: this needs nothing"):
        within(missing, timeout_s=5)
    with pytest.raises(VerifierError, match="cannot be sent back"):
        within(unsendable, timeout_s=5)


@pytest.mark.parametrize(("function", "args"), [(re.fullmatch, HANG), (time.sleep, (1_000,)), (signal.pause, ())])
def test_what_hangs_is_killed_in_time(function: Callable[..., object], args: tuple[object, ...]) -> None:
    pid = within(os.getpid, timeout_s=5)
    start = time.monotonic()
    with pytest.raises(TimedOut, match=r"was not done within 0\.3 s"):
        within(function, *args, timeout_s=0.3)
    assert time.monotonic() - start < 60
    assert not alive(pid)
    assert within(operator.add, 1, 2, timeout_s=5) == 3


@pytest.mark.parametrize(
    ("function", "args", "how"),
    [(os._exit, (3,), "exit code 3"), (ctypes.string_at, (0,), "SIGSEGV"), (os.abort, (), "SIGABRT"), (sys.exit, (), "exit code 0")],
)  # fmt: skip
def test_what_crashes_is_survived(function: Callable[..., object], args: tuple[object, ...], how: str) -> None:
    with pytest.raises(Crashed, match=how):
        within(function, *args, timeout_s=5)
    assert within(operator.add, 1, 2, timeout_s=5) == 3


def test_a_worker_that_died_while_idle_is_replaced() -> None:
    os.kill(within(os.getpid, timeout_s=5), signal.SIGKILL)
    assert within(operator.add, 1, 2, timeout_s=5) == 3


def test_memory_is_limited() -> None:
    with pytest.raises(MemoryError):
        within(bytearray, 1 << 40, timeout_s=5)


def test_from_threads_and_asyncio() -> None:
    def one(n: int) -> int:
        if n % 5:
            return within(operator.mul, n, n, timeout_s=10)
        with pytest.raises(TimedOut):
            within(time.sleep, 100, timeout_s=0.05)
        return n * n

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(one, range(30))) == [n * n for n in range(30)]

    async def several() -> list[int]:
        return await asyncio.gather(*(asyncio.to_thread(one, n) for n in range(12)))

    assert asyncio.run(several()) == [n * n for n in range(12)]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_from_child_processes(method: str) -> None:
    within(operator.add, 1, 2, timeout_s=5)  # the parent has workers already
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    children = [context.Process(target=ask, args=(queue,), daemon=True) for _ in range(2)]  # type: ignore[attr-defined]
    for child in children:
        child.start()
    assert [queue.get(timeout=60) for _ in children] == [3, 3]
    for child in children:
        child.join()
    assert within(operator.add, 1, 2, timeout_s=5) == 3


def test_a_busy_machine_does_not_shorten_deadlines() -> None:
    """Half a second of work with a deadline of 0.8 s, beside four times as many busy processes as processors."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(4 * (os.cpu_count() or 1))]
    try:
        assert within(burn, 0.5, timeout_s=0.8) == 0.5
    finally:
        for process in busy:
            process.kill()
            process.wait()


def test_preparing_is_done_once_and_outside_the_deadline() -> None:
    for _ in range(3):
        start = time.monotonic()
        assert within(operator.add, 1, 2, timeout_s=0.2, prepare=slow_start) == 3
    assert time.monotonic() - start < 1.9


def slow_start() -> None:
    time.sleep(2)


@pytest.mark.slow
def test_workers_are_renewed() -> None:
    first = within(os.getpid, timeout_s=5)
    pids = {within(os.getpid, timeout_s=5) for _ in range(RENEW_CALLS)}
    assert first in pids
    assert len(pids) == 2
    assert not alive(first)


def test_a_worker_of_a_large_process_is_used_again() -> None:
    """A child begins with its parent's peak of memory on Linux, which says nothing of its own."""
    done = script(
        "from burnish.verify.deadline import RENEW_BYTES\n"
        "held = b'x' * (RENEW_BYTES + (64 << 20))\ndel held\n"
        "print(len({within(os.getpid, timeout_s=5) for _ in range(5)}))"
    )
    assert done.communicate(timeout=60)[0].strip() == "1"


def test_mistakes_are_named() -> None:
    with pytest.raises(VerifierError, match="seconds above 0"):
        within(operator.add, 1, 2, timeout_s=0)
    done = script("def f(): pass\nwithin(f, timeout_s=1)")
    assert "Move it to a module that can be imported" in done.communicate()[1]


@pytest.mark.parametrize("ending", ["pass", "raise ValueError", "os._exit(1)", "os.kill(os.getpid(), 9)"])
def test_nothing_is_left_when_the_process_ends(ending: str) -> None:
    """One worker idle, one hanging in native code with the lock held, and then the end, however it comes."""
    done = script(
        "pid = within(os.getpid, timeout_s=5)\n"
        f"threading.Thread(target=lambda: within(re.fullmatch, *{HANG!r}, timeout_s=1000), daemon=True).start()\n"
        "time.sleep(0.5)\n"
        "other = within(os.getpid, timeout_s=5)\n"
        "print(pid, other, os.getpid(), flush=True)\n" + ending
    )
    out, _ = done.communicate(timeout=60)
    pid, other, parent = map(int, out.split())
    assert pid != other
    wait_until(lambda: not alive(pid) and not alive(other))
    assert not alive(parent)


def script(text: str) -> subprocess.Popen[str]:
    head = "import os, re, threading, time\nfrom burnish.verify.deadline import within\n"
    return subprocess.Popen(
        [sys.executable, "-c", head + text], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


def wait_until(true: Callable[[], bool]) -> None:
    for _ in range(100):
        if true():
            return
        time.sleep(0.05)
    raise AssertionError("processes are left")
