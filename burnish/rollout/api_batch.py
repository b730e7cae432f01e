"""Batches as a setting, and what is known of them on disk: which requests are in which, and whether it was started.

OpenAI's batch API (platform.openai.com/docs/guides/batch, API reference "Create batch") takes requests as a file of JSON
Lines, answers within 24 hours, and charges half.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from burnish.core.files import disk_errors
from burnish.errors import RecipeError
from burnish.rollout.shared_log import SharedLog

FILE = "batches.jsonl"


@dataclass(frozen=True, slots=True)
class Batches:
    """How questions are asked as batches.

    price:    what a token costs in a batch, as a share of `Price`: OpenAI charges half.
    requests, megabytes: the most that one batch holds (1 MB is 1,000,000 bytes): OpenAI's limits. More become several.
    at_once:  how many batches wait together. OpenAI also limits the tokens that an account's batches hold together.
    tries:    in how many batches a question may be in all, when it fails or a batch expires before it.
    poll_s:   the longest time between two looks at a batch, in seconds; a wait that the server tells goes first.
    """

    price: float = 0.5
    requests: int = 50_000
    megabytes: float = 200.0
    at_once: int = 4
    tries: int = 2
    poll_s: float = 60.0

    def __post_init__(self) -> None:
        for name in ("requests", "at_once", "tries"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise RecipeError(f"Batches({name}={value!r}): expected a whole number of at least 1.")
        for name in ("megabytes", "poll_s"):
            if not 0 < getattr(self, name) < float("inf"):
                raise RecipeError(f"Batches({name}={getattr(self, name)!r}): expected a number above 0.")
        if not 0 <= self.price < float("inf"):
            raise RecipeError(f"Batches(price={self.price!r}): expected a share from 0 up, e.g. 0.5 for half.")


@dataclass(frozen=True, slots=True)
class Slot:
    """A request of a batch: its number in the ledger, and the most tokens of prompt and reply."""

    number: str
    prompt_tokens: int
    reply_tokens: int


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch that was planned here. requests: by their content's key. began: seconds since 1970.

    file: the uploaded requests, "" before. id: the endpoint's name of the started batch, "" before.
    """

    name: str
    path: str
    began: float
    requests: Mapping[str, Slot]
    file: str = ""
    id: str = ""


class BatchLog:
    """The batches in batches.jsonl of a folder, over all processes: planned, uploaded, started, ended.

    Every step is on disk before the next begins, so that whoever comes after a kill knows the last certain one.
    """

    def __init__(self, folder: Path) -> None:
        self._lock_path = folder / "batches.lock"
        self._log = SharedLog(folder / FILE)
        self._open: dict[str, Batch] = {}
        self._here = asyncio.Lock()

    def open(self) -> dict[str, Batch]:
        """Those without an end, by name."""
        for _, record in self._log.new():
            name = str(record.get("batch"))
            match record.get("event"):
                case "planned":
                    slots = {key: Slot(*slot) for key, *slot in record["requests"]}
                    self._open[name] = Batch(name, record["path"], record["began"], slots)
                case "uploaded" if name in self._open:
                    self._open[name] = replace(self._open[name], file=record["file"])
                case "started" if name in self._open:
                    self._open[name] = replace(self._open[name], id=record["id"])
                case "ended":
                    self._open.pop(name, None)
        return dict(self._open)

    def planned(self, batch: Batch) -> None:
        """Enter a batch whose requests are reserved in the ledger."""
        slots = [
            [key, slot.number, slot.prompt_tokens, slot.reply_tokens] for key, slot in batch.requests.items()
        ]  # fmt: skip
        self._log.append(
            {"event": "planned", "batch": batch.name, "path": batch.path, "began": batch.began, "requests": slots}
        )  # fmt: skip

    def uploaded(self, batch: Batch, file: str) -> Batch:
        """Enter the endpoint's name of the file with its requests."""
        self._log.append({"event": "uploaded", "batch": batch.name, "file": file})
        return replace(batch, file=file)

    def started(self, batch: Batch, number: str) -> Batch:
        """Enter the endpoint's name of the batch."""
        self._log.append({"event": "started", "batch": batch.name, "id": number})
        return replace(batch, id=number)

    def ended(self, batch: Batch, status: str) -> None:
        """Enter that nothing more comes from it."""
        self._log.append({
            "event": "ended", "batch": batch.name, "id": batch.id, "status": status,
            "requests": len(batch.requests), "seconds": round(time.time() - batch.began, 3),
        })  # fmt: skip

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Nobody else, in any process, starts batches inside; a kill ends it."""
        async with self._here:
            with disk_errors(self._lock_path):
                handle = os.open(self._lock_path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                while not _taken(handle):
                    await asyncio.sleep(0.2)
                yield
            finally:
                fcntl.flock(handle, fcntl.LOCK_UN)
                os.close(handle)

    def close(self) -> None:
        """Close the file."""
        self._log.close()


def _taken(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
