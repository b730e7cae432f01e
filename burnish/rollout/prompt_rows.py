"""Prompts to reply to, one a line: {"prompt": ...}, {"messages": ...} or plain text. A line that cannot be read is told, not lost."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from burnish.core.fingerprint import content_id
from burnish.core.rows import messages_from
from burnish.core.types import Message, Messages, plain, user
from burnish.errors import DataError

Form = Literal["json", "text", "either"]
_HOW = '{"prompt": "..."} or {"messages": [{"role": "user", "content": "..."}]}'


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt. row: its line, from 1. id: the line's own, or the content's. prompt: a conversation, or raw text."""

    row: int
    id: str
    prompt: Messages | str


@dataclass(frozen=True, slots=True)
class PromptRows:
    """What a file holds. broken: (line, what is wrong with it). repeated: lines that ask again what one before them asks."""

    prompts: tuple[Prompt, ...]
    broken: tuple[tuple[int, str], ...]
    repeated: tuple[int, ...]


def read_prompts(lines: Iterable[bytes], form: Form = "either", *, raw: bool = False, system: str = "") -> PromptRows:
    """Every prompt of the lines; empty lines are passed over.

    form:   "json": every line is a JSON object (or a string); "text": every line is a prompt; "either": lines that begin as a
            JSON object does are one, all others are prompts.
    raw:    prompts are text that the model goes on from, without a chat template.
    system: a system turn in front of conversations that have none.
    """
    prompts: dict[str, Prompt] = {}
    broken: list[tuple[int, str]] = []
    repeated: list[int] = []
    for row, line in _lines(lines):
        try:
            given, asked = _read(line, form, raw)
        except DataError as error:
            broken.append((row, str(error)))
            continue
        if not isinstance(asked, str) and system and asked[0].role != "system":
            asked = (Message("system", system), *asked)
        name = given or content_id("prompt", asked if isinstance(asked, str) else plain(asked))
        known = prompts.setdefault(name, Prompt(row, name, asked))
        if known.row != row and known.prompt == asked:
            repeated.append(row)
        elif known.row != row:
            broken.append((row, f"the id {name!r} belongs to another prompt, that of row {known.row}"))
    return PromptRows(tuple(prompts.values()), tuple(broken), tuple(repeated))


def _lines(lines: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    for row, line in enumerate(lines, 1):
        line = line.removeprefix(b"\xef\xbb\xbf").strip() if row == 1 else line.strip()
        if line:
            yield row, line


def _read(line: bytes, form: Form, raw: bool) -> tuple[str, Messages | str]:
    """(the line's own id or "", its prompt). Raises DataError."""
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise DataError(f"not UTF-8 ({error.reason} at byte {error.start})") from None
    if form == "text" or (form == "either" and not text.startswith("{")):
        return "", text if raw else user(text)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"not valid JSON ({error})") from None
    if isinstance(value, str):
        value = {"prompt": value}
    if not isinstance(value, dict):
        raise DataError(f"expected {_HOW}, got {text:.60}")
    return _id(value.get("id")), _prompt(value, raw)


def _id(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise DataError(f"id: expected text or a number, got {value!r:.60}")
    return str(value)


def _prompt(value: dict[str, Any], raw: bool) -> Messages | str:
    fields = [name for name in ("prompt", "messages") if value.get(name) is not None]
    if len(fields) != 1:
        found = "both prompt and messages" if fields else f"only {', '.join(map(repr, value)) or 'nothing'}"
        raise DataError(f"expected {_HOW}, found {found}")
    content = value[fields[0]]
    if isinstance(content, str):
        if not content:
            raise DataError(f"{fields[0]} is empty")
        return content if raw else user(content)
    if raw:
        raise DataError(f"{fields[0]}: with --raw a prompt is text, got turns of a conversation")
    if not isinstance(content, list) or not content:
        raise DataError(f"{fields[0]}: expected text or a list of {{role, content}} turns, got {content!r:.60}")
    messages = messages_from(content, fields[0])
    if messages[-1].role == "assistant":
        raise DataError(f"{fields[0]}: the last turn is the assistant's, so there is nothing to reply to")
    return messages
