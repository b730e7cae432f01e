"""What questions to an endpoint cost: the price table, the budget, and the ledger that both are kept in.

A ledger has two lines a request: `sent` with the most it can cost, written before it leaves, and `done` with what it cost.
What was sent and never done (a kill, a connection that broke) counts with the most it can cost, so a budget holds whatever
happens, also over restarts and over several processes with one folder.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from burnish.errors import RecipeError
from burnish.rollout.shared_log import SharedLog


@dataclass(frozen=True, slots=True)
class Price:
    """What a million tokens cost, in a currency of your choice: `input` of the prompt, `output` of the reply."""

    input: float
    output: float

    def __post_init__(self) -> None:
        if not (0 <= self.input < float("inf") and 0 <= self.output < float("inf")):
            raise RecipeError(f"Price(input={self.input}, output={self.output}): a price is a number from 0 up.")

    def of(self, prompt_tokens: int, reply_tokens: int) -> float:
        """The cost of one request."""
        return (prompt_tokens * self.input + reply_tokens * self.output) / 1e6


@dataclass(frozen=True, slots=True)
class Budget:
    """What may be spent in all, of the price's currency or of tokens (prompts and replies together). None is no limit."""

    money: float | None = None
    tokens: int | None = None

    def fits(self, tokens: int, money: float) -> bool:
        """Whether that much is within it."""
        return (self.tokens is None or tokens <= self.tokens) and (self.money is None or money <= self.money)


UNLIMITED = Budget()


@dataclass(frozen=True, slots=True)
class Spent:
    """Sums over a ledger. open: requests that were sent and whose cost is not known, counted with the most it can be."""

    requests: int
    tokens: int
    money: float
    open: int


class Ledger:
    """The costs in ledger.jsonl of a folder, or of this process for None."""

    def __init__(self, folder: Path | None, budget: Budget, price: Price | None) -> None:
        self._log = SharedLog(folder / "ledger.jsonl" if folder else None)
        self._budget, self._price = budget, price
        self._open: dict[str, tuple[int, float]] = {}
        self._requests, self._tokens, self._money = 0, 0, 0.0

    def cost(self, prompt_tokens: int, reply_tokens: int) -> float:
        """What that many tokens cost; 0 without a price."""
        return self._price.of(prompt_tokens, reply_tokens) if self._price else 0.0

    def spent(self) -> Spent:
        """The sums at this moment, other processes' lines included."""
        for _, record in self._log.new():
            self._add(record)
        tokens = self._tokens + sum(tokens for tokens, _ in self._open.values())
        money = self._money + sum(money for _, money in self._open.values())
        return Spent(self._requests, tokens, money, len(self._open))

    def reserve(self, model: str, key: str, prompt_tokens: int, reply_tokens: int) -> str | None:
        """The id of a request that may cost up to that much, entered as sent; None when the budget could be exceeded."""
        (number,) = self.reserve_all(model, [(key, prompt_tokens, reply_tokens)])
        return number

    def reserve_all(
        self, model: str, requests: Sequence[tuple[str, int, int]], share: float = 1.0
    ) -> list[str | None]:  # fmt: skip
        """As `reserve` for each (key, prompt tokens, reply tokens), in order. share: of the usual price."""
        numbers: list[str | None] = []
        with self._log.locked():
            so_far = self.spent()
            all_tokens, all_money = so_far.tokens, so_far.money
            for key, prompt_tokens, reply_tokens in requests:
                tokens, money = prompt_tokens + reply_tokens, share * self.cost(prompt_tokens, reply_tokens)
                if not self._budget.fits(all_tokens + tokens, all_money + money):
                    numbers.append(None)
                    continue
                all_tokens, all_money = all_tokens + tokens, all_money + money
                number = uuid.uuid4().hex[:12]
                self._log.append(
                    {"event": "sent", "id": number, "at": _now(), "model": model, "key": key[:16], "tokens": tokens, "cost": money}
                )  # fmt: skip
                numbers.append(number)
        return numbers

    def done(
        self, number: str, status: str, prompt_tokens: int, reply_tokens: int, seconds: float, share: float = 1.0
    ) -> None:
        """Enter what a request cost. status: "answered", or why there is no reply. share: of the usual price."""
        self._log.append({
            "event": "done", "id": number, "at": _now(), "status": status, "prompt_tokens": prompt_tokens,
            "reply_tokens": reply_tokens, "cost": share * self.cost(prompt_tokens, reply_tokens), "seconds": round(seconds, 3),
        })  # fmt: skip

    def close(self) -> None:
        """Close the file."""
        self._log.close()

    def _add(self, record: dict[str, Any]) -> None:
        if record.get("event") == "sent":
            self._open[record["id"]] = (record["tokens"], record["cost"])
            self._requests += 1
        elif record.get("event") == "done" and self._open.pop(record["id"], None) is not None:
            self._tokens += record["prompt_tokens"] + record["reply_tokens"]
            self._money += record["cost"]


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
