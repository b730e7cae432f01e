"""What a sandbox is asked and what it answers: programs in, outcomes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from burnish.errors import VerifierError

Status = Literal["ok", "error", "timeout", "memory", "output", "lost"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What one program may use, its child processes included. None of them depends on how busy the machine is but wall_s.

    cpu_s:      seconds of processor time of all its processes together.
    wall_s:     seconds from start to end. A program that reaches it while it waited for a core is run again, alone,
                and then gets up to ten times as long as long as something outside the sandbox keeps it waiting.
    memory_mb:  MiB beyond the bare interpreter: of each process by RLIMIT_AS, of all together by measuring (every 50 ms).
    disk_mb:    MiB of all files it writes.
    files:      files and folders it may have at a time.
    open_files: file descriptors of each process.
    processes:  processes and threads at a time.
    output_kb:  KiB of standard output, and of standard error; one byte more ends the program.
    """

    cpu_s: float = 5.0
    wall_s: float = 15.0
    memory_mb: int = 512
    disk_mb: int = 32
    files: int = 256
    open_files: int = 128
    processes: int = 16
    output_kb: int = 1024

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            if getattr(self, name) <= 0:
                raise VerifierError(
                    f"Limits({name}={getattr(self, name)!r}): a limit is above 0, or nothing could run.\n"
                    f"  The default is {name}={type(self).__dataclass_fields__[name].default}."
                )


@dataclass(frozen=True, slots=True)
class Program:
    """A Python program to run as `__main__` in an empty folder.

    stdin: what it can read from standard input. files: text of the files that lie in its folder, by relative path.
    argv: sys.argv after the program's name.
    """

    source: str
    stdin: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    argv: Sequence[str] = ()
    limits: Limits = Limits()


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a program ended.

    status: "ok"      it ended with exit code 0. That is all it says: what it printed decides whether it did its work.
            "error"   an exception, another exit code, or a signal
            "timeout" more than cpu_s of processor time, or more than wall_s while it was not kept waiting for a core
            "memory"  MemoryError, or more than memory_mb over all its processes
            "output"  more than output_kb printed
            "lost"    the sandbox failed, not the program: it says nothing about the program, so nothing is graded by it
    exit_code: negative for a signal, as in subprocess; None where it was stopped or lost.
    seconds: processor time of all its processes. wall_s: time on the clock.
    why: a sentence a person understands.
    """

    status: Status
    exit_code: int | None
    stdout: str
    stderr: str
    seconds: float
    why: str
    wall_s: float = 0.0


class Session(Protocol):
    """A contained program that runs while its standard input and output are connected to this process."""

    def send(self, data: bytes) -> None:
        """Write to the program's standard input. Raises VerifierError when the program has ended or reads nothing."""

    def receive(self, timeout_s: float) -> bytes:
        """What it printed since the last call, waiting at most timeout_s for the first byte; b"" when nothing came or it ended."""

    def close(self) -> Outcome:
        """End its input, wait until it ends or meets a limit, and say how it ended; stdout holds what was not received."""


class Sandbox(Protocol):
    """Runs programs that nobody has read. `name` is the kind that is active, `why` what it protects from and what not."""

    name: str
    why: str

    def run(self, programs: Sequence[Program]) -> list[Outcome]:
        """The outcome of each, in order. Runs as many at a time as there are cores; safe to call from any thread."""

    def open(self, program: Program) -> Session:
        """Start a program to talk to; its `stdin` is sent first."""

    def close(self) -> None:
        """End all workers. A sandbox that was closed starts new ones when it is used again."""
