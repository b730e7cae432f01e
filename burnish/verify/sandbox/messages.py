"""Programs and outcomes as messages, for the way to a worker and to an executor on another machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import PurePosixPath
from typing import Any

from burnish.errors import VerifierError
from burnish.verify.sandbox.base import Limits, Outcome, Program


def message_of(program: Program) -> tuple[dict[str, Any], list[bytes]]:
    """The program as a message. Raises VerifierError for a file whose path leaves the folder."""
    for name in program.files:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in name:
            raise VerifierError(
                f"Program(files={{{name!r}: ...}}): a file lies in the program's own folder.\n"
                "  Give a relative path without '..', such as 'data/input.txt'."
            )
    limits = asdict(program.limits)
    head = {"files": list(program.files), "argv": list(program.argv), "limits": limits, "session": False, "periods": 1}
    texts = (program.source, program.stdin, *program.files.values())
    return head, [text.encode("utf-8", "surrogatepass") for text in texts]


def program_of(head: dict[str, Any], blobs: Sequence[bytes]) -> Program:
    """The program of a message."""
    source, stdin, *texts = (blob.decode("utf-8", "surrogatepass") for blob in blobs)
    files = dict(zip(head["files"], texts, strict=True))
    return Program(source, stdin, files, tuple(head["argv"]), Limits(**head["limits"]))


def outcome_of(report: dict[str, Any], texts: Sequence[bytes]) -> Outcome:
    """The report in the form that callers get. Bytes that are not UTF-8 are shown as U+FFFD."""
    stdout, stderr = (text.decode("utf-8", "replace") for text in texts)
    return Outcome(
        status=report["status"],
        exit_code=report.get("exit_code"),
        stdout=stdout,
        stderr=stderr,
        seconds=report.get("seconds", 0.0),
        why=report["why"],
        wall_s=report.get("wall_s", 0.0),
    )


def report_of(outcome: Outcome) -> tuple[dict[str, Any], list[bytes]]:
    """The outcome as a message."""
    report = asdict(outcome)
    return report, [report.pop("stdout").encode(), report.pop("stderr").encode()]


def lost(why: str) -> Outcome:
    """The outcome of a program that the sandbox could not run."""
    return Outcome("lost", None, "", "", 0.0, why)
