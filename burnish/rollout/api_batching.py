"""Questions asked as batches: joined to those that run, planned within the budget, started, waited for, and taken in.

A batch is known by its requests' content keys, so that only a question that stands in it waits for it. Its replies go into the
endpoint's cache and ledger like any other's.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from burnish.pipeline.progress import Console
from burnish.rollout.api_batch import Batch, Batches, BatchLog, Slot
from burnish.rollout.api_batch_http import BatchApi, BatchError, State
from burnish.rollout.api_http import Outcome, outcome_of
from burnish.verify.judge.ask import Answer

if TYPE_CHECKING:
    from burnish.rollout.api_client import Client, Job

_FIRST_LOOK_S = 2.0
_BREATH = 500  # lines taken in before others on the loop have a turn


@dataclass(slots=True, eq=False)
class _Asking:
    """One call. asked: its questions by key. ended: those that get no reply. waits: the batches it waits for, by name."""

    asked: dict[str, Job]
    ended: dict[str, Answer] = field(default_factory=dict)
    tries: Counter[str] = field(default_factory=Counter)
    batches: dict[str, Batch] = field(default_factory=dict)
    waits: dict[str, asyncio.Task[dict[str, Outcome]]] = field(default_factory=dict)

    def held(self) -> set[str]:
        """The keys that are in a batch it waits for."""
        return {key for name in self.waits for key in self.batches[name].requests}


class Batching:
    """Asks an endpoint's questions as batches. The folder holds batches.jsonl, which all processes share."""

    def __init__(self, client: Client, how: Batches, folder: Path) -> None:
        self._client, self._how = client, how
        self._api = BatchApi(client)
        self._log = BatchLog(folder)

    async def answers(self, jobs: Sequence[Job]) -> list[Answer]:
        """One answer a job, in order, when all batches that hold one of them have ended."""
        asking = _Asking({job.key: job for job in jobs})
        try:
            while True:
                await self._begin(asking)
                if not asking.waits:
                    break
                await asyncio.wait(asking.waits.values(), return_when=asyncio.FIRST_COMPLETED)
                for name in [name for name, task in asking.waits.items() if task.done()]:
                    self._ended(asking, asking.batches[name], asking.waits.pop(name))
        finally:
            for task in asking.waits.values():
                task.cancel()
        return [self._client.known(job) or asking.ended[job.key] for job in jobs]

    def open(self) -> list[str]:
        """The endpoint's names of the batches that were started and have not ended."""
        return [batch.id for batch in self._log.open().values() if batch.id]

    def close(self) -> None:
        """Close the file."""
        self._log.close()

    def _left(self, asking: _Asking) -> dict[str, Job]:
        """The questions without an answer that are in no batch yet."""
        held = asking.held()
        return {
            key: job
            for key, job in asking.asked.items()
            if key not in held and key not in asking.ended and self._client.cache.get(key) is None
        }

    async def _begin(self, asking: _Asking) -> None:
        """Join batches that hold what is left, and start further ones; what cannot be asked gets its answer."""
        if not self._left(asking):
            return
        async with self._log.alone():
            try:
                await self._join(asking)
                await self._start_all(asking)
            except BatchError as error:
                why = f"{error}"
                asking.ended.update((key, Answer(None, why, down=True)) for key in self._left(asking))

    async def _join(self, asking: _Asking) -> None:
        for batch in self._log.open().values():
            if batch.name in asking.waits or not batch.requests.keys() & self._left(asking).keys():
                continue
            known = batch if batch.id else await self._settled(batch)
            if known is not None:
                self._tell(f"batch {known.id} of {len(known.requests):,} requests is under way since {_date(known)}")
                self._wait_for(asking, known)

    async def _settled(self, batch: Batch) -> Batch | None:
        """A batch that nobody knows to be started: as the endpoint knows it, or dropped when it does not."""
        state = await self._api.find(batch.file) if batch.file else None
        if state is not None:
            return self._log.started(batch, state.id)
        self._drop(batch, "never started")
        return None

    def _drop(self, batch: Batch, why: str) -> None:
        """Give back what a batch that was not run had reserved."""
        for slot in batch.requests.values():
            self._client.ledger.done(slot.number, why, 0, 0, 0.0)
        self._log.ended(batch, why)

    async def _start_all(self, asking: _Asking) -> None:
        """Start batches of what is left, at most `at_once` beside each other and within the budget."""
        for path, lines in self._groups(asking):
            if len(asking.waits) >= self._how.at_once:
                return
            batch = self._planned(asking, path, lines)
            if batch is not None:
                await self._start(asking, batch, b"".join(lines[key] for key in batch.requests))

    def _groups(self, asking: _Asking) -> Iterator[tuple[str, dict[str, bytes]]]:
        """(path, lines by key) of each batch to be: one path, and no more than a batch may hold."""
        left = self._left(asking)
        most = int(self._how.megabytes * 1e6)
        for tail in ("chat/completions", "completions"):
            lines: dict[str, bytes] = {}
            size, path = 0, f"/v1/{tail}"
            for key, job in left.items():
                if job.url != f"{self._client.endpoint.base}/{tail}":
                    continue
                line = _line(key, path, job.body)
                if len(line) > most:
                    asking.ended[key] = Answer(
                        None, f"this question has {len(line):,} bytes, more than Batches(megabytes={self._how.megabytes})"
                    )  # fmt: skip
                    continue
                if lines and (len(lines) == self._how.requests or size + len(line) > most):
                    yield path, lines
                    lines, size = {}, 0
                lines[key] = line
                size += len(line)
            if lines:
                yield path, lines

    def _planned(self, asking: _Asking, path: str, lines: Mapping[str, bytes]) -> Batch | None:
        """A batch of what the budget allows, on disk; None for nothing, whose questions wait for other batches or end."""
        jobs = [asking.asked[key] for key in lines]
        numbers = self._client.ledger.reserve_all(
            self._client.endpoint.model, [(job.key, job.prompt_tokens, job.reply_tokens) for job in jobs], self._how.price
        )  # fmt: skip
        slots = {
            job.key: Slot(number, job.prompt_tokens, job.reply_tokens)
            for job, number in zip(jobs, numbers, strict=True)
            if number is not None
        }
        if not slots:
            # What runs may use less than is reserved for it; only when nothing does is the budget used up.
            if not asking.waits:
                why = self._client.spent_up(min(jobs, key=lambda job: job.tokens), self._how.price)
                asking.ended.update((job.key, Answer(None, why, down=True)) for job in jobs)
            return None
        batch = Batch(uuid.uuid4().hex[:12], path, time.time(), slots)
        self._log.planned(batch)
        return batch

    async def _start(self, asking: _Asking, batch: Batch, content: bytes) -> None:
        try:
            file = await self._api.upload(f"burnish-{batch.name}.jsonl", content)
            batch = self._log.uploaded(batch, file)
            state = await self._api.start(file, batch.path)
        except BatchError as error:
            if not error.unsure or not batch.file:
                self._drop(batch, "not accepted")
            raise
        batch = self._log.started(batch, state.id)
        self._tell(f"batch {batch.id} of {len(batch.requests):,} requests is started; Ctrl-C leaves it running")
        self._wait_for(asking, batch)

    def _wait_for(self, asking: _Asking, batch: Batch) -> None:
        asking.batches[batch.name] = batch
        asking.waits[batch.name] = asyncio.get_running_loop().create_task(self._results(batch))

    async def _results(self, batch: Batch) -> dict[str, Outcome]:
        """Why requests have no reply, by key, when the batch has ended and all it gave is kept."""
        state = await self._end_of(batch)
        outcomes: dict[str, Outcome] = {}
        for file in state.files:
            for count, line in enumerate(await self._api.lines(file)):
                key = line["custom_id"]
                if key in batch.requests and key not in outcomes:
                    outcomes[key] = self._take(batch, key, line)
                if count % _BREATH == 0:
                    await asyncio.sleep(0)
        for key in batch.requests.keys() - outcomes.keys():
            outcomes[key] = self._without(batch, state, key)
        self._log.ended(batch, state.status)
        replies = sum(outcome.kind == "reply" for outcome in outcomes.values())
        self._tell(f"batch {batch.id} {state.status}: {replies:,} of {len(batch.requests):,} requests have a reply")
        return {key: outcome for key, outcome in outcomes.items() if outcome.kind != "reply"}

    async def _end_of(self, batch: Batch) -> State:
        """How the batch ended; looked at with growing waits, or when the server says."""
        wait, told = min(_FIRST_LOOK_S, self._how.poll_s), ""
        while True:
            state = await self._api.look(batch.id)
            if state.status in ("completed", "expired", "cancelled", "failed"):
                return state
            if state.status != told:
                told = state.status
                self._tell(
                    f"batch {batch.id}: {told.replace('_', ' ')}, {state.counts[1]:,} of {state.counts[0]:,} done"
                )
            pause = wait * random.uniform(0.8, 1.0)
            await asyncio.sleep(pause if state.wait_s is None else min(state.wait_s, self._client.endpoint.patience_s))
            wait = min(1.5 * wait, self._how.poll_s)

    def _take(self, batch: Batch, key: str, line: dict[str, Any]) -> Outcome:
        """What a line of results or errors came to, kept and entered in the ledger."""
        slot = batch.requests[key]
        outcome = _outcome(line, f"{self._client.endpoint.base} (batch {batch.id})")
        outcome = replace(outcome, why=self._client.shown(outcome.why), seconds=time.time() - batch.began)
        self._client.enter(key, slot.number, (slot.prompt_tokens, slot.reply_tokens), outcome, self._how.price)
        return outcome

    def _without(self, batch: Batch, state: State, key: str) -> Outcome:
        """Of a request that no file has. One that a completed batch lacks may have been paid: it stays open in the ledger."""
        if state.status != "completed":
            self._client.ledger.done(batch.requests[key].number, state.status, 0, 0, time.time() - batch.began)
        if state.status == "failed":
            fix = "\n  Set a smaller Batches(requests=...) and at_once=1." if "token_limit" in state.why else ""
            return Outcome("closed", why=self._client.shown(f"batch {batch.id} was not accepted: {state.why}{fix}"))
        if state.status == "cancelled":
            return Outcome("closed", why=f"batch {batch.id} was cancelled")
        return Outcome("again", why=f"batch {batch.id} {state.status} without this question")

    def _ended(self, asking: _Asking, batch: Batch, task: asyncio.Task[dict[str, Outcome]]) -> None:
        """What a batch that is over means for the call's questions in it."""
        mine = batch.requests.keys() & asking.asked.keys()
        error = task.exception()
        if isinstance(error, BatchError):
            why = f"{error}\n  Batch {batch.id} is not lost: ask the same again and it is waited for."
            asking.ended.update((key, Answer(None, why, down=True)) for key in mine)
            return
        outcomes = task.result()
        asking.tries.update(mine)
        for key in mine & outcomes.keys():
            outcome = outcomes[key]
            if outcome.kind != "again":
                asking.ended[key] = Answer(None, outcome.why, down=outcome.kind == "closed")
            elif asking.tries[key] >= self._how.tries:
                times = asking.tries[key]
                why = f"{outcome.why}; given up after {times} batch{'es' * (times > 1)}."
                asking.ended[key] = Answer(None, why, down=True)

    def _tell(self, text: str) -> None:
        Console(sys.stderr).line(f"  {self._client.endpoint.base}: {text}")


def _line(key: str, path: str, body: dict[str, Any]) -> bytes:
    request = {"custom_id": key, "method": "POST", "url": path, "body": body}
    return json.dumps(request).encode() + b"\n"


def _outcome(line: dict[str, Any], url: str) -> Outcome:
    """A line's outcome: its response as if it had been asked alone, or its error."""
    response, error = line.get("response"), line.get("error")
    status = response.get("status_code") if isinstance(response, dict) else None
    if isinstance(response, dict) and isinstance(status, int) and status >= 100:
        return outcome_of(status, response.get("body"), url)
    said = error if isinstance(error, dict) else {}
    code, message = (said.get(name) if isinstance(said.get(name), str) else "" for name in ("code", "message"))
    why = f"{url}: {message or code or 'no response'}"[:300]
    return Outcome("closed" if code == "batch_cancelled" else "again", why=why)


def _date(batch: Batch) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(batch.began))
