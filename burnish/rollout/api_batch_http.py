"""The requests of OpenAI's batch API: upload a file, start a batch, look at it, find it again, read what came of it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from burnish.errors import Error
from burnish.rollout.api_http import Outcome, outcome_of, quoted, said_in, send
from burnish.rollout.api_pace import told_wait

if TYPE_CHECKING:
    from burnish.rollout.api_client import Client

_BYTES_PER_S = 250_000  # a slower connection than this counts as none
_LARGE_S = 1800.0
_ENDS = frozenset({"completed", "expired", "cancelled", "failed"})
_ONGOING = frozenset({"validating", "in_progress", "finalizing", "cancelling"})
_NAME = 200


class BatchError(Error):
    """A request of the batch API came to nothing. unsure: what it should have done may have happened all the same."""

    def __init__(self, why: str, *, unsure: bool = False) -> None:
        super().__init__(why)
        self.unsure = unsure


@dataclass(frozen=True, slots=True)
class State:
    """What an endpoint says of a batch. files: of results and of errors. why: of one that failed as a whole.

    counts: (requests, done, failed). wait_s: what the server asks to wait before the next look.
    """

    id: str
    status: str
    files: tuple[str, ...] = ()
    why: str = ""
    counts: tuple[int, int, int] = (0, 0, 0)
    wait_s: float | None = None


@dataclass(frozen=True, slots=True)
class _Call:
    """One request: what it is for, in words; its method and path; what reads the response, None for what is no answer."""

    what: str
    method: str
    path: str
    read: Callable[[Any], Any]
    raw: bool = False
    timeout_s: float = 0.0


class BatchApi:
    """The endpoint's files and batches. Every method raises BatchError, whose text names the fix."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._endpoint = client.endpoint

    async def upload(self, name: str, content: bytes) -> str:
        """The endpoint's name of a new file of requests. A file costs nothing, so a failed upload is repeated."""
        seconds = len(content) / _BYTES_PER_S
        call = _Call(f"upload {name}", "POST", "files", _id, timeout_s=seconds)
        found = await self._until(
            call, data={"purpose": "batch"}, files={"file": (name, content, "application/jsonl")}
        )  # fmt: skip
        return str(found)

    async def start(self, file: str, path: str) -> State:
        """The new batch of a file. Never starts a second one: after an answer that got lost it looks whether there is one."""
        body = {"input_file_id": file, "endpoint": path, "completion_window": "24h"}
        call = _Call(f"start a batch of {file}", "POST", "batches", _state)
        found: State = await self._until(call, lost=lambda: self.find(file), json=body)
        return found

    async def find(self, file: str) -> State | None:
        """The batch of that file, or None when the endpoint lists none."""
        after, seen = "", set[str]()
        while True:
            path = "batches?limit=100" + (f"&after={quote(after, safe='')}" if after else "")
            rows, more = await self._until(_Call("list the batches", "GET", path, _listed))
            for row in rows:
                state = _state(row)
                if state is not None and row.get("input_file_id") == file:
                    return state
            last = _id(rows[-1]) if rows else None
            if not more or last is None or last in seen:
                return None
            seen.add(last)
            after = last

    async def look(self, number: str) -> State:
        """How a batch stands. Asked until the endpoint's patience ends: an hour without network costs nothing here."""
        call = _Call(f"look at batch {number}", "GET", f"batches/{quote(number, safe='')}", _state)
        found: State = await self._until(call, forever=True)
        return found

    async def lines(self, file: str) -> list[dict[str, Any]]:
        """The objects in a file of results or errors, broken lines passed over."""
        path = f"files/{quote(file, safe='')}/content"
        call = _Call(f"read {file}", "GET", path, _objects, raw=True, timeout_s=_LARGE_S)
        return list(await self._until(call))

    async def _until(
        self, call: _Call, *, lost: Callable[[], Awaitable[Any]] | None = None, forever: bool = False, **sent: Any
    ) -> Any:
        """What `call.read` makes of the response, asked again with growing waits. lost: looks for what may have happened unseen."""
        attempt, waited, unsure = 0, 0.0, False
        while True:
            headers, problem = self._endpoint.headers()
            if problem:
                raise BatchError(problem, unsure=unsure)
            begun = time.monotonic()
            found = await self._once(call, headers, **sent)
            if not isinstance(found, Outcome):
                return found
            if found.kind != "again":
                raise BatchError(self._ended(call, found, bool(headers)), unsure=unsure)
            unsure = unsure or found.paid
            attempt += 1
            wait = self._client.wait(attempt, found)
            waited += time.monotonic() - begun + wait
            if waited > self._endpoint.patience_s or (attempt > self._endpoint.retries and not forever):
                raise BatchError(self._given_up(call, found, attempt, waited - wait), unsure=unsure)
            await asyncio.sleep(wait)
            if lost is not None and unsure:
                there = await self._found(lost, found.why)
                if there is not None:
                    return there

    async def _found(self, lost: Callable[[], Awaitable[Any]], why: str) -> Any:
        try:
            return await lost()
        except BatchError as error:
            raise BatchError(f"{why}, and it cannot be told whether it did: {error}", unsure=True) from None

    async def _once(self, call: _Call, headers: dict[str, str], **sent: Any) -> Any:
        url = f"{self._endpoint.base}/{call.path}"
        timeout_s = self._endpoint.timeout_s + call.timeout_s
        response = await send(self._client.http, call.method, url, headers, timeout_s, **sent)
        if isinstance(response, Outcome):
            return replace(response, why=self._client.shown(response.why))
        status, wait_s = response.status_code, told_wait(response.headers)
        if status not in (200, 201):
            outcome = outcome_of(status, said_in(response), url, wait_s)
            return replace(outcome, why=self._client.shown(outcome.why), paid=status >= 500)
        found = call.read(response.content if call.raw else said_in(response))
        if found is None:
            return Outcome("again", why=f"{url} answered with something else than was asked for", paid=True)
        return replace(found, wait_s=wait_s) if isinstance(found, State) else found

    def _given_up(self, call: _Call, outcome: Outcome, attempts: int, seconds: float) -> str:
        told = f" The server asks to wait {outcome.wait_s:,.0f} s." if outcome.wait_s else ""
        times = f"{attempts} request{'s' * (attempts > 1)} in {seconds:.0f} s"
        return f"{outcome.why}; gave up to {call.what} after {times}.{told}"

    def _ended(self, call: _Call, outcome: Outcome, given: bool) -> str:
        if outcome.status in (401, 403):
            return self._endpoint.refused_key(outcome.status, given)
        if outcome.status in (404, 405) and call.path in ("files", "batches"):
            return no_batches(self._endpoint.url, outcome.status)
        if outcome.status == 404 and call.what.startswith("look at"):
            return (
                f"{outcome.why}: the batch is not known there, or not to this key.\n"
                "  Set the key it was started with; or remove batches.jsonl from the endpoint's folder, and what it holds is asked anew."
            )
        if outcome.status == 413:
            return f"{outcome.why}\n  Set a smaller Batches(megabytes=...)."
        return f"{outcome.why.replace('take this question', f'{call.what}')}"


def no_batches(url: str, status: int) -> str:
    """What to do about an endpoint without a batch API."""
    return (
        f"{url} has no batch API (HTTP {status}).\n"
        "  Leave out batch=Batches() (--batch): questions are then asked one by one."
    )


def _id(said: Any) -> str | None:
    found = said.get("id") if isinstance(said, dict) else None
    good = isinstance(found, str) and 0 < len(found) <= _NAME and found.isprintable()
    return str(found) if good else None


def _state(said: Any) -> State | None:
    number = _id(said)
    status = str(said.get("status")).lower() if number else ""
    if number is None or status not in _ENDS | _ONGOING:
        return None
    files = tuple(
        name for field in ("output_file_id", "error_file_id") if isinstance(name := said.get(field), str) and name
    )
    # Without a file there is nothing to read yet, whatever the status says.
    if status == "completed" and not files:
        return None
    return State(number, status, files, "; ".join(_reasons(said)), _counts(said.get("request_counts")))


def _reasons(said: dict[str, Any]) -> Iterator[str]:
    errors = said.get("errors")
    rows = errors.get("data") if isinstance(errors, dict) else None
    for row in rows[:3] if isinstance(rows, list) else ():
        if isinstance(row, dict):
            code = f" ({row['code']})" if isinstance(row.get("code"), str) else ""
            line = f"line {row['line']}" if isinstance(row.get("line"), int) else ""
            yield f"{line}{quoted(row)}{code}".removeprefix(": ")


def _counts(said: Any) -> tuple[int, int, int]:
    found = [said.get(name) for name in ("total", "completed", "failed")] if isinstance(said, dict) else []
    total, done, failed = (n if isinstance(n, int) else 0 for n in found or (0, 0, 0))
    return total, done, failed


def _listed(said: Any) -> tuple[list[dict[str, Any]], bool] | None:
    rows = said.get("data") if isinstance(said, dict) else None
    if not isinstance(rows, list):
        return None
    return [row for row in rows if isinstance(row, dict)], bool(said.get("has_more"))


def _objects(raw: bytes) -> list[dict[str, Any]] | None:
    """The objects with a custom_id; None for a body that has none, which is no such file."""
    found = []
    for line in raw.split(b"\n"):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict) and isinstance(record.get("custom_id"), str):
            found.append(record)
    return found if found or not raw.strip() else None
