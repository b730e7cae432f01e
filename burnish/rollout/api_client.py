"""The client of one endpoint: cache, budget, pace, repetition with growing waits, and a rest when the server is down.

Everything here runs on the one event loop of `api_loop`, so plain attributes are enough to share state.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from burnish.errors import Error
from burnish.rollout.api_http import Outcome, among, models, post, unknown
from burnish.rollout.api_ledger import Ledger
from burnish.rollout.api_loop import at_end
from burnish.rollout.api_pace import Pace
from burnish.rollout.shared_log import ReplyCache
from burnish.verify.judge.ask import Answer

if TYPE_CHECKING:
    import httpx2

    from burnish.rollout.api_batching import Batching
    from burnish.rollout.api_engine import Endpoint

# While a server is down, questions fail at once for so many seconds instead of each waiting through its own repetitions.
_REST_S = 30.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 60.0
_clients: dict[tuple[int, str], Client] = {}


@dataclass(frozen=True, slots=True)
class Job:
    """A request: address, body, the key its reply is kept under, the most tokens it can use, and the options asked about."""

    url: str
    body: dict[str, Any]
    key: str
    prompt_tokens: int
    reply_tokens: int
    options: tuple[str, ...] = ()

    @property
    def tokens(self) -> int:
        """The most tokens of prompt and reply together."""
        return self.prompt_tokens + self.reply_tokens


@dataclass(slots=True, eq=False)
class Client:
    """What all questions to one endpoint share.

    running:  answers on their way, by key, so that equal questions wait for one request.
    rest:     when to ask again after the server was found down, and why it was.
    worked:   when a request last had a reply; one question that fails alone does not mean that the server is down.
    batching: asks all questions as batches, where that is wanted.
    """

    http: httpx2.AsyncClient
    cache: ReplyCache
    ledger: Ledger
    pace: Pace
    slots: asyncio.Semaphore
    endpoint: Endpoint
    running: dict[str, asyncio.Future[Answer]] = field(default_factory=dict)
    reserved: int = 0
    freed: asyncio.Event = field(default_factory=asyncio.Event)
    rest: tuple[float, str] = (0.0, "")
    worked: float = 0.0
    batching: Batching | None = None

    @classmethod
    def of(cls, identity: str, new: Callable[[], Client]) -> Client:
        """This process's client of an endpoint, made at the first call."""
        key = (os.getpid(), identity)
        if key not in _clients:
            _clients[key] = new()
            at_end(_clients[key].close)
        return _clients[key]

    async def close(self) -> None:
        """Give back connections and files."""
        await self.http.aclose()
        if self.batching is not None:
            self.batching.close()
        self.cache.close()
        self.ledger.close()

    async def answers(self, jobs: Sequence[Job]) -> list[Answer]:
        """One answer a job, in order."""
        if self.batching is not None:
            return await self.batching.answers(jobs)
        return list(await asyncio.gather(*(self._once(job) for job in jobs)))

    async def _once(self, job: Job) -> Answer:
        """The kept reply, the one on its way, or a new one."""
        if job.key in self.running:
            return await asyncio.shield(self.running[job.key])
        known = self.known(job)
        if known is not None:
            return known
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.running[job.key] = future
        answer = Answer(None, "the question was broken off", down=True)
        try:
            answer = await self._asked(job)
        except Error as error:
            answer = Answer(None, str(error), down=True)
        finally:
            # Those who wait for this one get an answer, also when it is cancelled.
            del self.running[job.key]
            future.set_result(answer)
        return answer

    def known(self, job: Job) -> Answer | None:
        """The kept answer."""
        kept = self.cache.get(job.key)
        if kept is None:
            return None
        return Answer(kept["text"], kept.get("why", ""), kept["cut"], logprobs=among(job.options, kept.get("top")))

    async def _asked(self, job: Job) -> Answer:
        """Ask until there is a reply, an end, or no patience left."""
        headers, problem = self.endpoint.headers()
        if problem:
            return Answer(None, problem, down=True)
        attempt, begun, waited = 0, 0.0, 0.0
        while True:
            outcome = await self._request(job, headers)
            if outcome.kind != "again":
                return await self._ended(outcome, headers, job.options)
            attempt, begun = attempt + 1, begun or time.monotonic() - outcome.seconds
            wait = self.wait(attempt, outcome)
            waited += outcome.seconds
            if attempt > self.endpoint.retries or waited + wait > self.endpoint.patience_s:
                return self._given_up(outcome, attempt, begun, waited)
            if outcome.wait_s is not None:
                self.pace.pause(outcome.wait_s)
            waited += wait
            await asyncio.sleep(wait)

    def _given_up(self, outcome: Outcome, attempt: int, begun: float, waited: float) -> Answer:
        told = f" The server asks to wait {outcome.wait_s:,.0f} s." if outcome.wait_s else ""
        why = f"{outcome.why}; given up after {attempt} request{'s' * (attempt > 1)} in {waited:.0f} s.{told}"
        if self.worked < begun:
            self.rest = (time.monotonic() + _REST_S, why)
        return Answer(None, why, down=True)

    def wait(self, attempt: int, outcome: Outcome) -> float:
        """Seconds before the next request: what the server asks, or doubling, both with chance so that not all return at once."""
        if outcome.wait_s is not None:
            return outcome.wait_s + random.uniform(0.0, 0.1 * min(outcome.wait_s, 10.0))
        return min(_FIRST_WAIT_S * 2.0 ** (attempt - 1), _LONGEST_WAIT_S) * random.uniform(0.5, 1.0)

    async def _ended(self, outcome: Outcome, headers: dict[str, str], options: tuple[str, ...]) -> Answer:
        if outcome.kind == "reply":
            return Answer(outcome.text, cut=outcome.cut, logprobs=among(options, outcome.top))
        why = outcome.why
        if outcome.kind == "closed":
            if outcome.status == 404:
                _, names = await models(self.http, self.endpoint.base, headers)
                why = unknown(self.endpoint.url, self.endpoint.model, names)
            elif outcome.status in (401, 403):
                why = self.endpoint.refused_key(outcome.status, bool(headers))
            self.rest = (time.monotonic() + _REST_S, why)
        return Answer(None, why, down=outcome.kind in ("closed", "unsent"))

    def shown(self, why: str) -> str:
        """The reason without the key, which a server may have repeated."""
        headers, _ = self.endpoint.headers()
        value = headers.get("Authorization", "").removeprefix("Bearer ")
        return why.replace(value, "[key]") if value else why

    async def _request(self, job: Job, headers: dict[str, str]) -> Outcome:
        """One request within the limits, entered in the ledger; a reply is kept before it is handed on."""
        async with self.slots:
            await self.pace.wait(job.tokens)
            until, reason = self.rest
            if time.monotonic() < until:
                return Outcome("unsent", why=reason)
            number = await self._reserve(job)
            if number is None:
                return Outcome("unsent", why=self.spent_up(job))
            begun = time.monotonic()
            self.reserved += 1
            try:
                outcome = await post(self.http, job.url, headers, job.body, self.endpoint.timeout_s)
                outcome = replace(outcome, why=self.shown(outcome.why), seconds=time.monotonic() - begun)
                used = self.enter(job.key, number, (job.prompt_tokens, job.reply_tokens), outcome)
                if used is not None:
                    self.pace.give_back(job.tokens - used)
            finally:
                self.reserved -= 1
                self.freed.set()
        return outcome

    async def _reserve(self, job: Job) -> str | None:
        """The ledger's number; None when the budget is too small even when all running requests are over."""
        while True:
            self.freed.clear()
            number = self.ledger.reserve(self.endpoint.model, job.key, job.prompt_tokens, job.reply_tokens)
            if number is not None or not self.reserved:
                return number
            await self.freed.wait()

    def enter(self, key: str, number: str, most: tuple[int, int], outcome: Outcome, share: float = 1.0) -> int | None:
        """Write what the request cost, and keep what it gave; the tokens used. What may have been paid unseen stays open: None.

        most: tokens of prompt and reply that count where a reply comes without its usage. share: of the usual price.
        """
        # The reply first: a kill between the two lines leaves the request open, and its reply is not paid again.
        if outcome.kind == "reply":
            self.worked = time.monotonic()
        if self.cache.get(key) is not None:  # by another process that waits for the same batch
            pass
        elif outcome.kind == "reply":
            top = {} if outcome.top is None else {"top": outcome.top}
            self.cache.put(key, {"text": outcome.text, "cut": outcome.cut, "model": self.endpoint.model, **top})
        elif outcome.kind == "refused" and outcome.paid:
            self.cache.put(key, {"text": None, "cut": False, "why": outcome.why, "model": self.endpoint.model})
        if outcome.usage is None and outcome.kind != "reply" and outcome.paid:
            return None
        used = outcome.usage or (most if outcome.kind == "reply" else (0, 0))
        status = "answered" if outcome.kind == "reply" else outcome.why
        self.ledger.done(number, status, *used, outcome.seconds, share)
        return sum(used)

    def spent_up(self, job: Job, share: float = 1.0) -> str:
        """Why a question is not asked when the budget could be exceeded. share: of the usual price."""
        spent = self.ledger.spent()
        return (
            f"the budget of {self.endpoint.name} is used up: {spent.tokens:,} tokens and {spent.money:.4f} of money are spent or "
            f"on their way, and this question may cost {job.tokens:,} tokens and "
            f"{share * self.ledger.cost(job.prompt_tokens, job.reply_tokens):.4f}.\n"
            "  Raise the budget; what was answered is kept and not asked again."
        )
