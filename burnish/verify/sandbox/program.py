"""The last steps of a contained process: give up every right, then run the program as `__main__`. Runs inside."""

from __future__ import annotations

import atexit
import io
import linecache
import os
import resource
import signal
import sys
import threading
import traceback
import types
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from burnish.verify.sandbox import kernel

NAME = "main.py"
_STACK = 64 << 20


def limit(limits: dict[str, Any], base_mb: int, processes: int) -> None:
    """Set the kernel's limits on this process; children inherit them and nobody can raise them again."""
    seconds = int(limits["cpu_s"]) + 2  # the supervisor measures exactly; this stops what it could not
    hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
    stack = _STACK if hard == resource.RLIM_INFINITY else min(_STACK, hard)
    for what, value in (
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, limits["disk_mb"] << 20),
        (resource.RLIMIT_NOFILE, limits["open_files"]),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_STACK, stack),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
        (resource.RLIMIT_NPROC, processes),
        (resource.RLIMIT_AS, (limits["memory_mb"] + base_mb) << 20),
    ):
        allowed = resource.getrlimit(what)[1]
        value = value if allowed == resource.RLIM_INFINITY else min(value, allowed)
        resource.setrlimit(what, (value, value))


def give_up(setup: dict[str, Any]) -> None:
    """Drop the user, the capabilities, the file system and the system calls that `setup` names."""
    rules = kernel.file_rules(setup["read"], [os.getcwd(), *setup["write"]]) if setup["read"] else None
    if setup["uid"] is not None and not setup["namespaces"]:
        os.setgroups([])
        os.setresgid(*[setup["uid"]] * 3)
        os.setresuid(*[setup["uid"]] * 3)
    if setup["filter"]:
        kernel.drop_capabilities()
        if rules is not None:
            kernel.confine_files(rules)
        kernel.filter_calls(setup["calls"])


def run(source: str, main: types.ModuleType) -> NoReturn:
    """Run the source as a fresh interpreter would, and end the process with its exit code."""
    frame, ours = sys._getframe(), 0
    while frame := frame.f_back:  # type: ignore[assignment]
        ours += 1
    sys.setrecursionlimit(
        sys.getrecursionlimit() + ours + 2
    )  # our frames do not count: as deep as under `python main.py`
    try:
        exec(compile(source, NAME, "exec", dont_inherit=True), main.__dict__)
        code = 0
    except SystemExit as end:
        code = _code_of(end)
    except BaseException as error:  # noqa: BLE001 - the boundary: the program's own exception, shown as Python shows it
        code = 130 if isinstance(error, KeyboardInterrupt) else 1
        _quietly(_shown(error))
    _quietly(threading._shutdown)  # type: ignore[attr-defined]
    _quietly(atexit._run_exitfuncs)
    for stream in (sys.stdout, sys.stderr):
        if not _quietly(stream.flush) and stream is sys.stdout and code == 0:
            code = 120  # what Python answers when its output cannot be written
    os._exit(code)


def clean(source: str, argv: Sequence[str], setup: dict[str, Any]) -> types.ModuleType:
    """A `__main__` that is like a fresh interpreter's; nothing of the worker is left to import."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in setup["hidden_modules"]:
        sys.modules.pop(name, None)
    if not setup["namespaces"]:
        os.environ.update(HOME=os.getcwd(), TMPDIR=os.getcwd())
    main = types.ModuleType("__main__")
    main.__dict__.update(__builtins__=sys.modules["builtins"], __file__=NAME)
    sys.modules["__main__"] = main
    sys.argv = [NAME, *argv]
    sys.orig_argv = [sys.executable, NAME, *argv]
    sys.path = [os.getcwd(), *setup["path"]]
    sys.stdin = io.TextIOWrapper(
        io.BufferedReader(io.FileIO(0, closefd=False)), encoding="utf-8", errors="surrogateescape"
    )
    linecache.cache[NAME] = (len(source), None, [line + "\n" for line in source.split("\n")], NAME)
    if "random" in sys.modules:
        sys.modules["random"].seed(0)
    return main


def _shown(error: BaseException) -> Callable[[], object]:
    """What prints the exception: the program's own hook, or Python's form with the program's lines."""
    error = error.with_traceback(error.__traceback__.tb_next if error.__traceback__ else None)
    if sys.excepthook is sys.__excepthook__:
        return lambda: traceback.print_exception(error)
    return lambda: sys.excepthook(type(error), error, error.__traceback__)


def _code_of(end: SystemExit) -> int:
    if end.code is None:
        return 0
    if isinstance(end.code, int):
        return end.code & 0xFF
    _quietly(lambda: sys.stderr.write(f"{end.code}\n"))
    return 1


def _quietly(action: Callable[[], object]) -> bool:
    """Whether the action went through; what it calls belongs to the program, so anything may be raised."""
    try:
        action()
    except BaseException:  # noqa: BLE001 - the boundary: hooks and streams that the program has replaced
        return False
    return True
