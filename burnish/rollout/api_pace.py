"""How fast an endpoint may be asked: requests and tokens per minute, and pauses that the server asks for."""

from __future__ import annotations

import asyncio
import email.utils
import math
import time
from collections.abc import Callable, Mapping


class Pace:
    """Spaces requests evenly, so that no minute has more of them, or of their tokens, than its limit. 0 is no limit."""

    def __init__(
        self, requests_per_minute: float, tokens_per_minute: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._each = 60.0 / requests_per_minute if requests_per_minute else 0.0
        self._token = 60.0 / tokens_per_minute if tokens_per_minute else 0.0
        self._clock = clock
        self._requests_free = self._tokens_free = self._paused = 0.0

    def turn(self, tokens: int) -> float:
        """Seconds until a request of that many tokens may start; its place is taken."""
        now = self._clock()
        start = max(now, self._requests_free, self._tokens_free, self._paused)
        self._requests_free = start + self._each
        self._tokens_free = start + tokens * self._token
        return start - now

    def give_back(self, tokens: int) -> None:
        """A request used that many tokens fewer than it was given."""
        self._tokens_free -= max(tokens, 0) * self._token

    def pause(self, seconds: float) -> None:
        """Nothing starts before that many seconds have passed."""
        self._paused = max(self._paused, self._clock() + seconds)

    async def wait(self, tokens: int) -> None:
        """Return when a request of that many tokens may start; a pause that began meanwhile is waited for, too."""
        delay = self.turn(tokens)
        while delay > 0:
            await asyncio.sleep(delay)
            delay = self._paused - self._clock()


def told_wait(headers: Mapping[str, str], now: Callable[[], float] = time.time) -> float | None:
    """Seconds the server asks to wait: retry-after-ms, or Retry-After in seconds or as a date (RFC 9110 section 10.2.3)."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) / unit
        except ValueError:
            continue
        return max(seconds, 0.0) if math.isfinite(seconds) else None
    parsed = email.utils.parsedate_tz(headers.get("retry-after", ""))
    return None if parsed is None else max(email.utils.mktime_tz(parsed) - now(), 0.0)
