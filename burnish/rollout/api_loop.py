"""One event loop a process, in a thread of its own: so that ordinary code and threads can wait for asynchronous work."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Loop:
    """An event loop that runs until the process ends. `closers` are awaited before it stops."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.closers: list[Callable[[], Awaitable[None]]] = []
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, name="burnish-endpoints", daemon=True)
        self.thread.start()
        atexit.register(self.close)

    def close(self) -> None:
        """Give back connections and stop the thread. In a forked child there is neither."""
        if self.process != os.getpid() or self.loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self._finish(), self.loop).result(timeout=10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(timeout=10)
        self.loop.close()

    async def _finish(self) -> None:
        mine = asyncio.current_task()
        tasks = [task for task in asyncio.all_tasks() if task is not mine]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for closer in self.closers:
            await closer()


_current: list[_Loop] = []
_starting = threading.Lock()


def _loop() -> _Loop:
    with _starting:
        # A forked child has its parent's list and none of its threads; the parent's loop stays listed, so that nothing closes it.
        if not _current or _current[-1].process != os.getpid():
            _current.append(_Loop())
        return _current[-1]


def run(start: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """The result of the coroutine that `start` makes, run on the loop. An interrupt cancels it."""
    waiting = asyncio.run_coroutine_threadsafe(_started(start), _loop().loop)
    try:
        return waiting.result()
    except BaseException:
        waiting.cancel()
        raise


async def _started(start: Callable[[], Coroutine[Any, Any, T]]) -> T:
    return await start()


def at_end(closer: Callable[[], Awaitable[None]]) -> None:
    """Await `closer()` on the loop before the process ends; called on the loop."""
    _current[-1].closers.append(closer)
