"""One writer for each artifact. The kernel's file lock decides; the file's text says who holds it, for people.

A file lock ends with the last process that holds it, and a stage's own process inherits it, so a lock left behind
by a killed run is free at once, yet stays held while that run's child is still writing. What the kernel cannot see
is another computer on a network file system without shared locks; there the owner's text decides.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from burnish.core.files import disk_errors, make_folder
from burnish.errors import ArtifactError
from burnish.pipeline.progress import duration

WAIT_S = 5.0


@dataclass(frozen=True, slots=True)
class Owner:
    """Who holds a lock: process, computer, and when it began (seconds since 1970)."""

    pid: int
    host: str
    started: float

    def alive(self) -> bool:
        """Whether that process runs; on another computer nobody can tell, so yes."""
        if self.host != socket.gethostname():
            return True
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True


@contextlib.contextmanager
def lock(path: Path, what: str, flag: str = "--runs") -> Iterator[int]:
    """Hold the lock file `path` for the artifact `what`; gives its file descriptor, for a child to inherit.

    flag: what names another folder on the command line.
    Raises ArtifactError naming owner and age when another process holds it. The file itself stays.
    """
    with disk_errors(path.parent, f"{flag} DIR"):
        make_folder(path.parent, f"{flag} DIR")
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _acquire(handle, path, what, flag)
        owner = _read(handle)
        if owner and owner.host != socket.gethostname():
            raise ArtifactError(_held(owner, path, what, flag))
        with disk_errors(path, f"{flag} DIR"):
            _write(handle, json.dumps(asdict(Owner(os.getpid(), socket.gethostname(), time.time()))))
        try:
            yield handle
        finally:
            with contextlib.suppress(OSError):
                _write(handle, "")
    finally:
        os.close(handle)


def _acquire(handle: int, path: Path, what: str, flag: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise ArtifactError(
                    f"{path.parent} lies on a file system without file locks ({error.strerror}), so two runs could "
                    f"overwrite each other.\n  Choose a folder on another disk with {flag} DIR."
                ) from error
        owner = _read(handle)
        # No owner yet: it has just been taken. A dead owner: its child ends in a moment. Both deserve a short wait.
        if (owner and owner.alive()) or time.monotonic() > deadline:
            raise ArtifactError(_held(owner, path, what, flag))
        time.sleep(0.05)


def _held(owner: Owner | None, path: Path, what: str, flag: str) -> str:
    if owner is None:
        return f"{what} is being made by another run that did not say which.\n  Wait for it and run the same command again."
    here = owner.host == socket.gethostname()
    stop = f"stop it (kill {owner.pid})" if here else f"if that run is gone, delete {path}"
    return (
        f"{what} is being made by another run: process {owner.pid} on {owner.host}, since {_age(owner)}.\n"
        f"  Wait for it, or {stop}; then run the same command again, which goes on from what is there.\n"
        f"  To run beside it, give another folder with {flag} DIR."
    )


def _age(owner: Owner) -> str:
    return duration(max(time.time() - owner.started, 0.0))


def _read(handle: int) -> Owner | None:
    try:
        data = json.loads(os.pread(handle, 4096, 0))
        return Owner(int(data["pid"]), str(data["host"]), float(data["started"]))
    except (ValueError, KeyError, TypeError):
        return None


def _write(handle: int, text: str) -> None:
    os.ftruncate(handle, 0)
    os.pwrite(handle, text.encode(), 0)
