"""Turns of a conversation as files write them, and the order of roles a conversation must have.

Order: at most one system turn, first; then user and assistant in turn, beginning with the user. A blank system turn says
nothing and is left out; any other blank turn is an error. Roles have many spellings; tool calls and their results have
no place in a conversation of system, user and assistant, so such a row is an error with that reason.
"""

from __future__ import annotations

import json
from typing import Any

from burnish.core.types import Message, Messages, Role
from burnish.errors import DataError

_ROLES: dict[str, Role] = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "model", "bot", "bing", "bard"), "assistant"),
}
_TOOLS = {"tool", "tools", "function", "function_call", "function_response", "tool_call", "tool_response", "observation", "ipython"}  # fmt: skip
_CONTENT = ("content", "value", "text")
_MARKS = ("weight", "train", "training")


def text_of(value: Any, where: str) -> str:
    """The value itself where it is text that can be encoded. Raises DataError."""
    if not isinstance(value, str):
        raise DataError(f"{where}: expected text, got {_short(value)}.")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"{where}: half of a surrogate pair at character {error.start}; no tokenizer can read it."
        ) from None
    return value


def turn_of(value: Any, where: str, *, marks: bool = False) -> Message:
    """One turn from {role, content} or {from, value}. Raises DataError naming the field that is wrong.

    marks: whether a turn may say that it is not to be learned; the caller then asks `unlearned`.
    """
    if not isinstance(value, dict):
        raise DataError(f"{where}: expected a turn with role and content, got {_short(value)}.")
    # In a table with the columns of both forms, those of the other are null.
    key = "from" if value.get("role") is None and "from" in value else "role"
    given = value.get(key)
    spelled = given.strip().lower() if isinstance(given, str) else ""
    if spelled in _TOOLS or value.get("tool_calls") or value.get("function_call"):
        raise DataError(f"{where}: a tool call or its result, which a conversation here cannot hold.")
    if spelled not in _ROLES:
        raise DataError(f"{where}.{key}: expected system, user or assistant, got {_short(given)}.")
    role = _ROLES[spelled]
    if role == "assistant" and (mark := _mark(value, where)) and not marks:
        raise DataError(f"{where}.{mark}: marked as not to be learned, which only a demonstration can say.")
    name = next((name for name in _CONTENT if value.get(name) is not None), "content")
    return Message(role, _content(value.get(name), f"{where}.{name}"))


def turns_of(value: Any, where: str, *, marks: bool = False) -> Messages:
    """Turns from a list, or from JSON text of one (as in a CSV file). Raises DataError; the order is not checked."""
    turns = tuple(turn_of(each, f"{where}[{i}]", marks=marks) for i, each in enumerate(_listed(value, where)))
    return tuple(turn for turn in turns if turn.role != "system" or turn.content.strip())


def unlearned(value: Any, where: str) -> list[int]:
    """The numbers of the assistant turns (the first is 0) that are marked as not to be learned.

    Marks are OpenAI's `"weight": 0`, and `"train": false` or `"training": false` as axolotl reads them.
    """
    listed = _listed(value, where)
    marked = [
        _mark(each, f"{where}[{i}]")
        for i, each in enumerate(listed)
        if turn_of(each, f"{where}[{i}]", marks=True).role == "assistant"
    ]
    return [number for number, mark in enumerate(marked) if mark]


def in_order(turns: Messages, where: str, last: Role) -> Messages:
    """The turns themselves, where their roles are in order and the last is `last`'s. Raises DataError with the reason."""
    if last == "assistant" and all(turn.role != "assistant" for turn in turns):
        raise DataError(f"{where}: no assistant turn, so there is no reply to learn.")
    expected: Role = "user"
    for i, turn in enumerate(turns):
        if turn.role == "system":
            if i:
                raise DataError(f"{where}: a system turn after the first turn.")
            continue
        if turn.role != expected:
            again = i and turns[i - 1].role == turn.role
            raise DataError(
                f"{where}: {f'two {turn.role} turns in a row' if again else f'begins with the {turn.role}'}."
            )
        if not turn.content.strip():
            raise DataError(f"{where}: an empty {turn.role} turn.")
        expected = "assistant" if turn.role == "user" else "user"
    if not turns or turns[-1].role != last:
        raise DataError(f"{where}: the last turn must be the {last}'s.")
    return turns


def _listed(value: Any, where: str) -> list[Any] | tuple[Any, ...]:
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise DataError(f"{where}: expected a list of turns, got text that is not JSON.") from None
    if not isinstance(value, list | tuple) or not value:
        raise DataError(f"{where}: expected a list of turns, got {_short(value)}.")
    return value


def _mark(turn: dict[str, Any], where: str) -> str:
    """The field that says that a turn is not to be learned, or "". Raises DataError for one that says neither yes nor no."""
    found = ""
    for name in _MARKS:
        given = turn.get(name)
        if given is None:
            continue
        if not isinstance(given, bool | int | float) or given not in (0, 1):
            kinds = "0 or 1; weights of whole rows go beside the turns" if name == "weight" else "true or false"
            raise DataError(f"{where}.{name}: expected {kinds}, got {_short(given)}.")
        found = found or ("" if given else name)
    return found


def _content(value: Any, where: str) -> str:
    """Text, or the texts of a list of {type: "text", text} parts one after the other."""
    if not isinstance(value, list | tuple):
        return text_of(value, where)
    texts = []
    for i, part in enumerate(value):
        kind = part.get("type", "text") if isinstance(part, dict) else None
        if kind != "text":
            raise DataError(f"{where}[{i}]: expected a part of type 'text', got {_short(kind if kind else part)}.")
        texts.append(text_of(part.get("text"), f"{where}[{i}].text"))
    return "".join(texts)


def _short(value: Any) -> str:
    if isinstance(value, dict | list | tuple):
        return f"a {type(value).__name__}" + ("" if value else " of nothing")
    return f"{value!r:.60}"
