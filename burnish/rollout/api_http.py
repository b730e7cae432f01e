"""One request to an OpenAI-compatible endpoint, and what its answer means: a reply, a reason to ask again, or an end."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from burnish.errors import MissingExtra, nearest
from burnish.rollout.api_pace import told_wait

if TYPE_CHECKING:
    import httpx2

_AGAIN = frozenset({408, 409, 425, 429})
_SHOWN = 300


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one request came to.

    kind:   "reply"; "again" (may work later); "refused" (this question cannot be answered); "closed" (none can be);
            "unsent" (the budget is used up, or the server was found down a moment ago).
    paid:   tokens may have been used although no usage was told.
    wait_s: what the server asks to wait before the next request. seconds: how long the request took. status: of HTTP.
    top:    log-probabilities (nats) of the likeliest first tokens, where they were asked for and told.
    """

    kind: Literal["reply", "again", "refused", "closed", "unsent"]
    text: str = ""
    why: str = ""
    cut: bool = False
    paid: bool = False
    usage: tuple[int, int] | None = None
    wait_s: float | None = None
    seconds: float = 0.0
    status: int = 0
    top: dict[str, float] | None = None


def new_client(concurrency: int, timeout_s: float) -> httpx2.AsyncClient:
    """A client with a pool of connections. Raises MissingExtra without httpx2."""
    try:
        import httpx2
    except ModuleNotFoundError:
        raise MissingExtra("Asking an endpoint", "httpx2", "api") from None
    limits = httpx2.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
    return httpx2.AsyncClient(limits=limits, timeout=httpx2.Timeout(timeout_s), follow_redirects=False)


async def post(
    client: httpx2.AsyncClient, url: str, headers: Mapping[str, str], body: dict[str, Any], timeout_s: float
) -> Outcome:
    """The outcome of one POST; never raises for what a server or a network does."""
    content = json.dumps(body).encode()
    headers = {**headers, "Content-Type": "application/json"}
    response = await send(client, "POST", url, headers, timeout_s, content=content)
    if isinstance(response, Outcome):
        return response
    return outcome_of(response.status_code, said_in(response), url, told_wait(response.headers))


async def send(
    client: httpx2.AsyncClient, method: str, url: str, headers: Mapping[str, str], timeout_s: float, **sent: Any
) -> httpx2.Response | Outcome:
    """The response to one request, or why there is none; never raises for what a server or a network does."""
    import httpx2

    try:
        # httpx's time-outs are between bytes; a server that trickles would never meet them.
        async with asyncio.timeout(timeout_s):
            return await client.request(method, url, headers=dict(headers), **sent)
    except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
        return Outcome(
            "again", why=f"{url} cannot be reached ({_named(error)}). Is the server running, and the address right?"
        )
    except (TimeoutError, httpx2.TimeoutException):
        return Outcome("again", why=f"{url} did not answer within {timeout_s:g} s", paid=True)
    except (httpx2.InvalidURL, httpx2.UnsupportedProtocol) as error:
        return Outcome("closed", why=f"{url!r} is no address that can be asked ({error}).")
    except (httpx2.TransportError, httpx2.DecodingError) as error:
        return Outcome("again", why=f"{url} broke off the connection ({_named(error)})", paid=True)


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def outcome_of(status: int, said: Any, url: str, wait_s: float | None = None) -> Outcome:
    """What a completion's HTTP status and body come to. wait_s: what the server asks to wait."""
    if status == 200:
        return _reply(said, url)
    code = _error(said).get("code")
    if status == 402 or (status == 429 and code == "insufficient_quota"):
        return Outcome("closed", why=f"{url}: the account has no credit left (HTTP {status}).")
    if status in _AGAIN or status >= 500:
        return Outcome("again", why=f"{url} answered HTTP {status}{quoted(said)}", wait_s=wait_s, status=status)
    if status in (401, 403):
        # Servers repeat the key here, in part or in full: their words are not shown.
        return Outcome("closed", why=f"{url} does not accept the key", status=status)
    if status == 404:
        return Outcome("closed", why=f"{url} answered HTTP 404{quoted(said)}", status=status)
    if 300 <= status < 400:
        return Outcome("closed", why=f"{url} sends elsewhere (HTTP {status}). Write the address it moved to.")
    return Outcome("refused", why=f"{url} does not take this question (HTTP {status}){quoted(said)}", status=status)


def said_in(response: httpx2.Response) -> Any:
    """The JSON in a response, or None where it is none."""
    try:
        return response.json()
    except (ValueError, RecursionError):
        return None


def _error(said: Any) -> dict[str, Any]:
    error = said.get("error", said) if isinstance(said, dict) else {}
    return error if isinstance(error, dict) else {"message": error}


def quoted(said: Any) -> str:
    """A server's reason, to stand behind a sentence, or ""."""
    message = _error(said).get("message")
    return f": {message[:_SHOWN]}" if isinstance(message, str) and message else ""


def _reply(said: Any, url: str) -> Outcome:
    """The reply in a chat completion or a plain one."""
    choices = said.get("choices") if isinstance(said, dict) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(choice, dict):
        return Outcome("again", why=f"{url} answered with something that is no completion", paid=True)
    usage = _usage(said.get("usage"))
    finish, message = choice.get("finish_reason"), choice.get("message")
    text = message.get("content") if isinstance(message, dict) else choice.get("text")
    if finish == "content_filter":
        return Outcome("refused", why=f"{url}: the provider's content filter stopped the reply", usage=usage, paid=True)
    if isinstance(text, str):
        return Outcome("reply", text, cut=finish == "length", usage=usage, paid=True, top=_top(choice.get("logprobs")))
    refusal = message.get("refusal") if isinstance(message, dict) else None
    if isinstance(refusal, str):
        return Outcome("refused", why=f"the model refuses to answer: {refusal[:_SHOWN]}", usage=usage, paid=True)
    if finish == "length":
        return Outcome("reply", "", cut=True, usage=usage, paid=True)
    return Outcome("again", why=f"{url} answered with a completion that has no text", usage=usage, paid=True)


def _top(said: Any) -> dict[str, float] | None:
    """The likeliest first tokens in a chat completion's `logprobs`, or in a plain one's; None where there are none."""
    said = said if isinstance(said, dict) else {}
    chat, plain = said.get("content"), said.get("top_logprobs")
    first = chat[0] if isinstance(chat, list) and chat else None
    listed = first.get("top_logprobs") if isinstance(first, dict) else None
    if isinstance(listed, list):
        pairs = [(each.get("token"), each.get("logprob")) for each in listed if isinstance(each, dict)]
    elif isinstance(plain, list) and plain and isinstance(plain[0], dict):
        pairs = list(plain[0].items())
    else:
        return None
    # Some servers write null or minus infinity for a token that cannot come.
    return {
        token: float(value)
        for token, value in pairs
        if isinstance(token, str)
        and isinstance(value, int | float)
        and not isinstance(value, bool)
        and -math.inf < value <= 1e-3
    }


def among(options: Sequence[str], top: Mapping[str, float] | None) -> tuple[float | None, ...]:
    """The log-probability of each option among the likeliest tokens, spaces around a token aside; () where none are told."""
    if top is None:
        return ()
    found = [[value for token, value in top.items() if token.strip() == option] for option in options]
    return tuple(max(values, default=None) for values in found)


def _usage(said: Any) -> tuple[int, int] | None:
    """(prompt tokens, reply tokens), or None where the server does not tell."""
    if not isinstance(said, dict):
        return None
    counts = said.get("prompt_tokens"), said.get("completion_tokens", 0)
    if not all(isinstance(count, int) and not isinstance(count, bool) and count >= 0 for count in counts):
        return None
    prompt, reply = counts
    return int(prompt or 0), int(reply or 0)


async def models(client: httpx2.AsyncClient, base: str, headers: Mapping[str, str]) -> tuple[int, list[str]]:
    """(HTTP status, names) of GET {base}/models; status 0 when it could not be asked."""
    import httpx2

    try:
        async with asyncio.timeout(30):
            response = await client.get(f"{base}/models", headers=dict(headers))
    except (httpx2.HTTPError, httpx2.InvalidURL, TimeoutError):
        return 0, []
    said = said_in(response)
    listed = said.get("data") if isinstance(said, dict) else None
    rows = listed if isinstance(listed, list) else []
    return response.status_code, [str(row["id"]) for row in rows if isinstance(row, dict) and "id" in row]


def unknown(url: str, model: str, names: list[str]) -> str:
    """What to do about HTTP 404, by the names the endpoint lists."""
    if names and model not in names:
        return f"model {model!r} is not known at {url}. {nearest(model, names)}"
    return f"{url} has nothing at this path (HTTP 404). The address usually ends in /v1, e.g. http://127.0.0.1:8000/v1."
