"""How a model calls tools, and how their answers come back: the form of this project's tool data (`data/sources/tool_calls.py`).

    <tool_call>
    {"name": "calculator", "arguments": {"expression": "12 * 7"}}
    </tool_call>

What stands between the marks is one such object or a list of them. A turn may have several. What is thought aloud, up to
</think>, calls nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from burnish.verify.statements import without_thought

OPEN, CLOSE = "<tool_call>", "</tool_call>"
LONGEST = 20_000


@dataclass(frozen=True, slots=True)
class Call:
    """A tool's name and its arguments by name."""

    name: str
    arguments: Mapping[str, Any]


def calls_in(text: str) -> list[Call | str]:
    """The calls of a turn, in order; a text in place of one that cannot be read: what is wrong with it, for the model."""
    found: list[Call | str] = []
    for part in without_thought(text).split(OPEN)[1:]:
        body, mark, _ = part.partition(CLOSE)
        if not mark:
            found.append(f"error: the call is not closed with {CLOSE}")
        elif len(body) > LONGEST:
            found.append(f"error: the call is longer than {LONGEST} characters")
        else:
            found += _read(body)
    return found


def written(call: Call) -> str:
    """The call as a model writes it."""
    return f"{OPEN}\n{json.dumps({'name': call.name, 'arguments': dict(call.arguments)}, ensure_ascii=False)}\n{CLOSE}"


def responses(texts: Sequence[str]) -> str:
    """The answers to the calls of one turn, in their order, as the model reads them."""
    return "\n".join(f"<tool_response>\n{text}\n</tool_response>" for text in texts)


def _read(body: str) -> list[Call | str]:
    try:
        # Programs are written with plain line breaks in their strings, which strict JSON does not have.
        data = json.loads(body, strict=False)
    except (ValueError, RecursionError) as error:
        return [f"error: the call is not JSON: {error}"]
    items = data if isinstance(data, list) else [data]
    return [_call(item) for item in items] or ["error: the list of calls is empty"]


def _call(item: Any) -> Call | str:
    if not isinstance(item, dict) or not isinstance(item.get("name"), str):
        return 'error: a call is {"name": ..., "arguments": {...}}'
    arguments = item.get("arguments", {})
    if not isinstance(arguments, dict):
        return 'error: "arguments" is an object with the arguments by name'
    return Call(item["name"], arguments)
