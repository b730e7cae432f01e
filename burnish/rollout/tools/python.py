"""A Python tool: runs the model's program in the sandbox, and answers with what it prints."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

from burnish.core.fingerprint import not_identity
from burnish.errors import VerifierError
from burnish.verify.sandbox import Limits, Outcome, Program, sandbox

LIMITS = Limits(cpu_s=5.0, wall_s=15.0, output_kb=256)
NOTHING = "(the program printed nothing; print what you want to see)"
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_TRACE = 1000  # characters of an error's end that are shown


@dataclass(frozen=True, slots=True)
class Python:
    """Runs a program that nobody has read, in the sandbox only; every call starts anew, with nothing of the calls before.

    limits:   what one program may use.
    packages: distributions that programs may import beside the standard library.
    sandbox:  which sandbox (`burnish.verify.sandbox`): "auto", a kind by name, or "HOST:PORT".
    """

    VERSION: ClassVar[int] = 1
    name: ClassVar[str] = "python"
    description: ClassVar[str] = "Runs a Python program and answers with what it prints."
    arguments: ClassVar[Mapping[str, str]] = MappingProxyType({"code": "the program; print what you want to see"})
    limits: Limits = LIMITS
    packages: tuple[str, ...] = ()
    sandbox: str = not_identity(default="auto")

    def __call__(self, arguments: Mapping[str, str]) -> str:
        """What the program prints, then its error where it has one. Raises VerifierError when the sandbox fails."""
        return self.call_many([arguments])[0]

    def call_many(self, calls: Sequence[Mapping[str, str]]) -> list[str]:
        """One answer a call; as many programs run at a time as there are cores. Raises VerifierError as above."""
        programs = [Program(call["code"], limits=self.limits) for call in calls]
        return [self._said(outcome) for outcome in sandbox(self.sandbox, self.packages).run(programs)]

    def _said(self, outcome: Outcome) -> str:
        """The same text for the same program: no times, and nothing of output that a limit cut wherever it was."""
        limits = self.limits
        stopped = {
            "timeout": f"error: the program ran longer than {limits.cpu_s:g} s",
            "memory": f"error: the program needed more than {limits.memory_mb} MiB of memory",
            "output": f"error: the program printed more than {limits.output_kb} KiB",
        }
        if outcome.status == "lost":
            raise VerifierError(f"the sandbox could not run the model's program: {outcome.why}")
        if outcome.status in stopped:
            return stopped[outcome.status]
        shown = outcome.stdout.rstrip("\n")
        if outcome.status == "error":
            trace = outcome.stderr.rstrip("\n")[-_TRACE:] or f"the program ended with exit code {outcome.exit_code}"
            shown += f"{shown and chr(10)}error: {trace}"
        return _ADDRESS.sub(" at 0x0", shown) or NOTHING
