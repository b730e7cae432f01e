"""The lock on unseen suites: nobody asks one by accident, and every look is written down where it stays.

A suite that is looked at while choices are still made stops being a test of those choices (arXiv:2411.15124 §7.1 keeps
its unseen suite for the end). So a task with `unseen=True` needs a reason, and each look becomes one line of an append-only
log beside the runs. A line holds the hash of the line before it: an edited, removed or inserted line breaks the chain, and
`read_log` says where. What a chain cannot show is a log cut at its end; the evaluations themselves keep their own line
(`unseen.json`), so `missing_from` finds that too, as long as one of them is left.

Lines: {"number", "time" (UTC), "model", "reason", "evaluation", "tasks": {name: {"problems", "count"}}, "before", "hash"};
count is how often that task had been asked with this look included. hash = SHA-256 of the line without "hash" as canonical JSON.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from burnish.core.files import disk_errors, read_json, write_json
from burnish.errors import ArtifactError, RecipeError
from burnish.eval.task import EvalTask

LOG = "unseen.jsonl"
TICKET = "unseen.json"
START = "0" * 64


@dataclass(frozen=True, slots=True)
class Look:
    """One line of the log. asked: problems asked of each task; counts: how often the task had been asked by then."""

    number: int
    time: str
    model: str
    reason: str
    evaluation: str
    asked: Mapping[str, int]
    counts: Mapping[str, int]
    hash: str


@dataclass(frozen=True, slots=True)
class Looks:
    """What a log says. damage: "" or a sentence on the first line that does not belong where it stands."""

    looks: tuple[Look, ...] = ()
    damage: str = ""

    def times(self, task: str) -> int:
        """How often a task was asked."""
        return sum(task in look.asked for look in self.looks)

    @property
    def head(self) -> str:
        """The last line's hash: two logs with one head tell the same story."""
        return self.looks[-1].hash if self.looks else START


def check_unlocked(tasks: Iterable[EvalTask], reason: str, log: Path | None = None) -> None:
    """Raise RecipeError when an unseen task is among `tasks` and no reason is given. Nothing is written.

    log: where looks are counted, if that is known, for the message.
    """
    locked = sorted({task.name for task in tasks if task.unseen})
    if not locked or reason.strip():
        return
    seen = read_log(log) if log is not None else Looks()
    before = max((seen.times(name) for name in locked), default=0)
    history = f", asked {times(before)} so far" if log is not None else ""
    verb = "belongs" if len(locked) == 1 else "belong"
    raise RecipeError(
        f"tasks: {', '.join(locked)} {verb} to an unseen suite{history}, and no reason to look is given. Looking while choices are "
        "still made fits them to the test that should judge them.\n"
        '  Develop on tulu3_dev. For a final look say why: --unlock "why", or Evaluate(..., unlock="why") in a recipe. '
        f"The look is counted and logged{'' if log is None else f' in {log}'}."
    )


def record(
    tasks: Sequence[EvalTask], asked: Mapping[str, int], *, reason: str, model: str, folder: Path | None, log: Path
) -> Look | None:  # fmt: skip
    """Write a look into `log` before anything is asked; returns it, or None when no task is unseen.

    asked:  problems of each task, by name.
    folder: the evaluation's own; a look it has begun already (its unseen.json, a line of the log) is not counted again,
            so an interrupted evaluation goes on as the same look, and one that was deleted and is made again is another.
            None: there is no folder, and every look counts.
    Raises RecipeError without a reason, ArtifactError for a log whose chain is broken and for a full disk.
    """
    check_unlocked(tasks, reason, log)
    unseen = {task.name: int(asked.get(task.name, 0)) for task in tasks if task.unseen}
    if not unseen:
        return None
    with _locked(log) as handle:
        raw = _whole_lines(handle)
        seen = _read(raw, log)
        if seen.damage:
            raise ArtifactError(
                f"{log}: {seen.damage} So the count of looks at unseen tests cannot be trusted, and another would hide that.\n"
                f"  Restore the file from a copy, or move it to {log.name}.damaged: the count then begins anew, for all to see."
            )
        known = "" if folder is None else _ticket(folder)
        for look in seen.looks:
            if look.hash == known and look.model == model and set(look.asked) == set(unseen):
                return look
        number = len(seen.looks) + 1
        line: dict[str, Any] = {
            "number": number,
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "model": model,
            "reason": reason.strip(),
            "evaluation": "" if folder is None else folder.name.removesuffix(".partial"),
            "tasks": {name: {"problems": n, "count": seen.times(name) + 1} for name, n in sorted(unseen.items())},
            "before": seen.head,
        }
        line["hash"] = _hash(line)
        with disk_errors(log):
            os.lseek(handle, len(raw), os.SEEK_SET)
            _write(handle, json.dumps(line, ensure_ascii=True).encode() + b"\n")
            os.fsync(handle)
    if folder is not None:
        write_json(folder / TICKET, {"log": LOG, **line})
    return _look(line)


def read_log(log: Path) -> Looks:
    """The looks in a log, oldest first, up to the first line that breaks the chain; none where there is no log.

    A last line that a kill cut short is passed over: it is written before anything is asked, so nothing was.
    """
    try:
        raw = log.read_bytes()
    except FileNotFoundError:
        return Looks()
    return _read(raw[: raw.rfind(b"\n") + 1], log)


def log_of(folder: Path) -> Path | None:
    """The log that counts an evaluation's looks: the nearest unseen.jsonl above its folder, within two levels."""
    places = folder.resolve().parents[:2]
    return next((place / LOG for place in places if (place / LOG).is_file()), None)


def missing_from(log: Looks, folder: Path) -> str:
    """A sentence where the evaluation in `folder` carries a look that the log does not have: lines were taken away; else ""."""
    known = _ticket(folder)
    if not known or log.damage or any(look.hash == known for look in log.looks):
        return ""
    return f"{folder.name} is look {known[:12]}, which the log does not have: lines were taken from it."


def times(count: int) -> str:
    """A count of looks in words: never, once, 3 times."""
    return {0: "never", 1: "once"}.get(count, f"{count} times")


def _read(raw: bytes, log: Path) -> Looks:
    found: list[Look] = []
    before = START
    for number, text in enumerate(raw.split(b"\n")[:-1], start=1):
        try:
            line = json.loads(text)
            look = _look(line)
            whole = line["before"] == before and look.number == number and look.hash == _hash(line)
        except (ValueError, KeyError, TypeError, AttributeError):
            return Looks(tuple(found), f"line {number} cannot be read.")
        if not whole:
            return Looks(
                tuple(found), f"line {number} does not follow from the line before it: one of them was changed."
            )
        found.append(look)
        before = look.hash
    return Looks(tuple(found))


def _look(line: dict[str, Any]) -> Look:
    tasks = line["tasks"]
    return Look(
        number=line["number"], time=line["time"], model=line["model"], reason=line["reason"], evaluation=line["evaluation"],
        asked={name: part["problems"] for name, part in tasks.items()},
        counts={name: part["count"] for name, part in tasks.items()}, hash=line["hash"],
    )  # fmt: skip


def _hash(line: Mapping[str, Any]) -> str:
    """The SHA-256 of a line without its own hash: sorted keys, no spaces, ASCII."""
    body = {key: value for key, value in line.items() if key != "hash"}
    return hashlib.sha256(
        json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()
    ).hexdigest()


def _ticket(folder: Path) -> str:
    """The hash of the look that an evaluation's folder carries; "" where it carries none."""
    path = folder / TICKET
    if not path.is_file():
        return ""
    ticket = read_json(path)
    return str(ticket.get("hash", "")) if isinstance(ticket, dict) else ""


@contextlib.contextmanager
def _locked(log: Path) -> Iterator[int]:
    """The log opened for reading and writing, with other processes waiting until it is closed."""
    with disk_errors(log):
        log.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(log, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:
            raise ArtifactError(
                f"{log} lies on a file system without file locks ({error.strerror}), so two looks could overwrite each other.\n"
                "  Choose a folder on another disk with --runs DIR."
            ) from error
        yield handle
    finally:
        os.close(handle)


def _whole_lines(handle: int) -> bytes:
    """The log's finished lines; what follows the last line end is cut away."""
    parts: list[bytes] = []
    os.lseek(handle, 0, os.SEEK_SET)
    while block := os.read(handle, 1 << 20):
        parts.append(block)
    raw = b"".join(parts)
    whole = raw[: raw.rfind(b"\n") + 1]
    if len(whole) < len(raw):
        os.ftruncate(handle, len(whole))
    return whole


def _write(handle: int, data: bytes) -> None:
    while data:
        data = data[os.write(handle, data) :]
