"""A chat model behind an OpenAI-compatible endpoint, as an answerer: asked many questions at once, and never twice for one.

The official client (openai 3.x) repeats a failed request up to 8 s later and heeds Retry-After up to two minutes, but keeps
no limits, budget, ledger or cache, and hides its own repetitions from them. All of these hang on the single request, so
requests are made here, over httpx2, which transformers brings along.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

from burnish.core.fingerprint import encode, not_identity
from burnish.errors import Error, RecipeError
from burnish.pipeline.progress import Console
from burnish.rollout.api_batch import Batches
from burnish.rollout.api_batch_http import no_batches
from burnish.rollout.api_batching import Batching
from burnish.rollout.api_client import Client, Job
from burnish.rollout.api_http import Outcome, models, new_client, send, unknown
from burnish.rollout.api_ledger import UNLIMITED, Budget, Ledger, Price, Spent
from burnish.rollout.api_loop import run
from burnish.rollout.api_pace import Pace
from burnish.rollout.engine import Sampling
from burnish.rollout.shared_log import ReplyCache
from burnish.verify.judge.ask import Answer, Question, encodable

TOP = 5  # how many of the likeliest first tokens an endpoint is asked for: OpenAI's limit was 5 when AlpacaEval 2 was made


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A model behind POST {url}/chat/completions (raw prompts: {url}/completions). It is an `Answerer` for judges.

    url, model: e.g. "http://127.0.0.1:8000/v1" and the name the server lists.
    key:        name of the environment variable that holds the key, or "" for none. The key itself is read when a request
                is made and stands nowhere else.
    structured: send a judge's JSON Schema as `response_format`. False for servers that refuse it.
    extra:      further members of every request as JSON, e.g. '{"seed": 1}'; null takes a member out, so that
                '{"max_tokens": null, "max_completion_tokens": 2000, "temperature": null}' suits reasoning models.
    folder:     where replies.jsonl (each reply is paid once, also after a kill) and ledger.jsonl are; "" keeps both in memory.
    price, budget: what tokens cost and what may be spent in all. A request that could exceed the budget is not sent.
    concurrency, requests_per_minute, tokens_per_minute: limits; 0 is none. They hold in each process that asks.
    timeout_s:  of one request. retries: further requests after one that failed.
    patience_s: a question that has no reply after this time is given up.
    batch:      ask as batches, which may take a day and cost half; None asks question by question. Needs a folder. The limits
                of speed are not for batches, and patience_s is for how long the server of a batch may be away.
    """

    url: str
    model: str
    key: str = not_identity(default="")
    structured: bool = True
    extra: str = ""
    folder: str = not_identity(default="")
    price: Price | None = field(default=None, metadata={"identity": False})
    budget: Budget = field(default=UNLIMITED, metadata={"identity": False})
    concurrency: int = not_identity(default=8)
    requests_per_minute: float = not_identity(default=0.0)
    tokens_per_minute: float = not_identity(default=0.0)
    timeout_s: float = not_identity(default=120.0)
    retries: int = not_identity(default=6)
    patience_s: float = not_identity(default=600.0)
    batch: Batches | None = field(default=None, metadata={"identity": False})
    VERSION: ClassVar[int] = 1

    def __post_init__(self) -> None:
        _check_url(self.url)
        if not self.model:
            raise RecipeError(f"Endpoint(url={self.url!r}): the name of the endpoint's model is missing: model=NAME.")
        for name, least in (("concurrency", 1), ("retries", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise RecipeError(f"Endpoint({name}={value!r}): expected a whole number of at least {least}.")
        for name in ("timeout_s", "patience_s", "requests_per_minute", "tokens_per_minute"):
            value = getattr(self, name)
            if not 0 <= value < float("inf") or (value == 0 and name.endswith("_s")):
                raise RecipeError(
                    f"Endpoint({name}={value!r}): expected a number above 0"
                    + (", or 0 for no limit." if "per" in name else ".")
                )
        if self.budget.money is not None and self.price is None:
            raise RecipeError(
                f"Endpoint(budget=Budget(money={self.budget.money})) has no price, so nothing tells what a request costs.\n"
                "  Add price=Price(input=..., output=...) per million tokens, or give Budget(tokens=...)."
            )
        if self.batch is not None and not self.folder:
            raise RecipeError(
                "Endpoint(batch=...) has no folder, so a process that is killed would forget its batches and pay them again.\n"
                '  Add folder="...".'
            )
        self._extras()

    @property
    def waits_long(self) -> bool:
        """Whether answers take hours however few are asked, so that all there are should be asked together."""
        return self.batch is not None

    @property
    def name(self) -> str:
        """Address and model, and the extra members where there are some."""
        return f"endpoint {self.url} {self.model}" + (f" {self.extra}" if self.extra else "")

    def answers(self, questions: Sequence[Question]) -> list[Answer]:
        """One answer a question, in order; equal questions are asked once, known ones not at all.

        May be called from any thread, also beside other calls. What cannot be answered has its reason in the answer.
        """
        jobs = [self._job(question) for question in questions]
        try:
            return run(lambda: self._client().answers(jobs)) if jobs else []
        except KeyboardInterrupt:
            self._tell_open()
            raise
        except Error as error:  # no httpx2, or a folder that cannot be written
            return [Answer(None, str(error), down=True)] * len(jobs)

    def each(self, questions: Sequence[Question], told: Callable[[int, Answer], None]) -> None:
        """Hand every answer to `told`, with its question's place, as it comes; those of batches together, at their end."""
        if self.batch is not None:
            for place, answer in enumerate(self.answers(questions)):
                told(place, answer)
            return
        pool = ThreadPoolExecutor(self.concurrency)  # its threads only wait
        try:
            asked = {pool.submit(self.answers, [question]): place for place, question in enumerate(questions)}
            for done in as_completed(asked):
                told(asked[done], done.result()[0])
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def check(self) -> None:
        """Raise RecipeError when the key is missing or not accepted, the model is unknown, or nothing answers. Costs nothing."""
        headers, problem = self.headers()
        if problem:
            raise RecipeError(problem)
        status, names = run(self._models)
        if status == 0:
            raise RecipeError(f"{self.url} cannot be reached. Is the server running, and the address right?")
        if status in (401, 403):
            raise RecipeError(self.refused_key(status, bool(headers)))
        if names and self.model not in names:
            raise RecipeError(unknown(self.url, self.model, names))
        if self.batch is not None and (refused := run(self._without_batches)):
            raise RecipeError(no_batches(self.url, refused))

    def spent(self) -> Spent:
        """What was spent so far by everybody who uses the folder."""
        return run(self._spent)

    async def _spent(self) -> Spent:
        return self._client().ledger.spent()

    async def _models(self) -> tuple[int, list[str]]:
        headers, _ = self.headers()
        async with new_client(1, 30.0) as client:
            return await models(client, self.base, headers)

    async def _without_batches(self) -> int:
        """HTTP's status where there is no batch API, else 0."""
        headers, _ = self.headers()
        async with new_client(1, 30.0) as client:
            response = await send(client, "GET", f"{self.base}/batches?limit=1", headers, 30.0)
        return response.status_code if not isinstance(response, Outcome) and response.status_code in (404, 405) else 0

    def _tell_open(self) -> None:
        """After an interrupt: which batches go on, and how to cancel them."""
        going = run(self._open) if self.batch is not None else []
        if going:
            key = f' -H "Authorization: Bearer ${self.key}"' if self.key else ""
            Console(sys.stderr).line(
                f"\n{self.base}: {', '.join(going)} go{'es' * (len(going) == 1)} on there, and what is done is paid. Ask the same again "
                f"to wait for it, or cancel:\n  curl -X POST{key} {self.base}/batches/{going[0]}/cancel"
            )

    async def _open(self) -> list[str]:
        batching = self._client().batching
        return batching.open() if batching is not None else []

    @property
    def base(self) -> str:
        """The address without a slash at its end."""
        return self.url.rstrip("/")

    def _job(self, question: Question) -> Job:
        """The request that asks the question, and the key its reply is kept under."""
        raw = isinstance(question.prompt, str)
        body: dict[str, Any] = {
            "model": self.model, "max_tokens": question.max_tokens, "temperature": question.temperature,
        }  # fmt: skip
        if isinstance(question.prompt, str):
            body["prompt"] = encodable(question.prompt)
        else:
            body["messages"] = [{"role": turn.role, "content": encodable(turn.content)} for turn in question.prompt]
        if question.schema and self.structured:
            schema = {"name": "reply", "strict": True, "schema": json.loads(question.schema)}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        if question.options:
            body |= {"logprobs": TOP} if raw else {"logprobs": True, "top_logprobs": TOP}
        body |= {"stop": list(question.stop)} if question.stop else {}
        body |= {"top_p": question.top_p} if question.top_p < 1 else {}
        body |= {"seed": question.seed} if question.seed is not None else {}
        body.update(self._extras())
        body = {name: value for name, value in body.items() if value is not None}
        text = json.dumps([self.url, body], sort_keys=True, ensure_ascii=True)
        # A token of a byte-level vocabulary holds at least one byte; templates add a few tokens a turn.
        prompt = len(
            json.dumps(body.get("messages", body.get("prompt")), ensure_ascii=False).encode("utf-8", "replace")
        )
        prompt += 64 + 16 * len(body.get("messages", ())) + (len(question.schema) if "response_format" in body else 0)
        limits = [body[name] for name in ("max_tokens", "max_completion_tokens") if name in body]
        return Job(
            f"{self.base}/{'completions' if raw else 'chat/completions'}", body,
            hashlib.sha256(text.encode()).hexdigest(), prompt, max(limits, default=question.max_tokens), question.options,
        )  # fmt: skip

    def _extras(self) -> dict[str, Any]:
        try:
            found = json.loads(self.extra or "{}")
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise RecipeError(f"Endpoint(extra={self.extra[:60]!r}): expected a JSON object, e.g. '{{\"seed\": 1}}'.")
        limited = isinstance(found.get("max_tokens", 1), int) or isinstance(found.get("max_completion_tokens"), int)
        if not limited and self.budget != UNLIMITED:
            raise RecipeError(
                f"Endpoint(extra={self.extra[:60]!r}) takes out the limit on a reply, so no budget could hold.\n"
                '  Add "max_completion_tokens".'
            )
        return found

    def headers(self) -> tuple[dict[str, str], str]:
        """The request's headers, and what is wrong with the key or ""; the key's value is in no message."""
        if not self.key:
            return {}, ""
        value = os.environ.get(self.key, "").strip()
        if not value:
            return {}, f"Endpoint(key={self.key!r}): no such environment variable is set.\n  export {self.key}=..."
        if not (value.isascii() and value.isprintable()) or " " in value:
            return (
                {},
                f"The environment variable {self.key} holds characters that no key has; set it again without them.",
            )
        return {"Authorization": f"Bearer {value}"}, ""

    def refused_key(self, status: int, given: bool) -> str:
        """What to do about HTTP 401 and 403."""
        how = f"the one in {self.key}" if given else "none was sent"
        fix = f"  Set {self.key} to a valid key." if given else '  Give its variable: key="MY_KEY".'
        return f"{self.url} does not accept the key (HTTP {status}; {how}).\n{fix}"

    def _client(self) -> Client:
        """This process's client for equal endpoints; called on the event loop only."""
        identity = json.dumps(encode(self), sort_keys=True)
        return Client.of(identity, self._new_client)

    def _new_client(self) -> Client:
        folder = Path(self.folder) if self.folder else None
        client = Client(
            http=new_client(self.concurrency, self.timeout_s),
            cache=ReplyCache(folder),
            ledger=Ledger(folder, self.budget, self.price),
            pace=Pace(self.requests_per_minute, self.tokens_per_minute),
            slots=asyncio.Semaphore(self.concurrency),
            endpoint=self,
        )
        if self.batch is not None and folder is not None:
            client.batching = Batching(client, self.batch, folder)
        return client


def check_protocol(sampling: Sampling) -> None:
    """Raise RecipeError for settings that OpenAI's protocol does not have: a server may pass over what it does not know."""
    known = ("top_p=", "logit_bias=")
    odd = [each for each in sampling.bent if not each.startswith(known)]
    odd += [f"stop_ids={sampling.stop_ids}"] if sampling.stop_ids else []
    if odd:
        example = json.dumps(
            {name: json.loads(value) for name, _, value in (each.partition("=") for each in odd) if "(" not in value}
        )
        raise RecipeError(
            f"{', '.join(odd)}: OpenAI's protocol has no such setting, and a server may pass over what it does not know.\n"
            f"  For a server that has it, leave it out here and name it as the server does, in extra: '{example}'."
        )


def _check_url(url: str) -> None:
    """Raise RecipeError for what is no plain address; the message shows nothing that could be a secret."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise RecipeError("Endpoint(url=...): expected an address such as http://127.0.0.1:8000/v1 or https://host/v1.")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise RecipeError(
            f"Endpoint(url=...) for {parts.hostname}: a name, password or query in an address would stand in logs and "
            'artifacts.\n  Put the key into an environment variable and give its name: key="MY_KEY".'
        )
