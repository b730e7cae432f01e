"""Which program a reply gives: code blocks, unfenced code, and continuations of a prompt, by rule name.

Nothing is parsed or run here: where only compiling tells (is this the body or the whole function?), several readings
are handed to the sandbox, which takes the first that compiles.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

Extraction = Literal["flexible", "tulu3", "first_block", "last_block", "begin_done", "whole"]
RULES: tuple[str, ...] = ("flexible", "tulu3", "first_block", "last_block", "begin_done", "whole")
LONGEST = 200_000  # characters of a reply that are read

_FENCE = re.compile(r"([ \t]*)(`{3,}|~{3,})[ \t]*([\w+#.-]*)[^`\n]*$")
_PYTHON = ("", "python", "python3", "py", "python2", "py3", "sage")
_STARTS = re.compile(r"^(?:def |class |import |from \w[\w.]* import |async def |@\w)", re.MULTILINE)
_INDENT = "    "


class Block(NamedTuple):
    """A fenced block: its language in lower case, and its text without the fence's own indentation."""

    language: str
    text: str


class Reading(NamedTuple):
    """Programs that the reply may mean, likeliest first; the first that compiles is the one.

    trim: lines after the code are cut off where nothing compiles.
    """

    sources: tuple[str, ...]
    trim: bool = False


def blocks(text: str) -> list[Block]:
    """The fenced blocks in order. A block that is never closed goes to the end.

    Where the number of fences is odd and the first is bare, the reply began inside a block that the prompt had opened:
    what stands before it is the first block.
    """
    lines = text.split("\n")
    fences = [(i, m) for i, line in enumerate(lines) if (m := _FENCE.match(line.rstrip("\r")))]
    found: list[Block] = []
    if len(fences) % 2 and not fences[0][1][3]:
        before = "\n".join(lines[: fences[0][0]])
        if _STARTS.search(before) or before.startswith((" ", "\t")):
            found.append(Block("", before))
            fences = fences[1:]
    place = 0
    while place < len(fences):
        start, opening = fences[place]
        close = next((k for k in range(place + 1, len(fences)) if _closes(opening, fences[k][1])), len(fences))
        end = fences[close][0] if close < len(fences) else len(lines)
        found.append(Block(opening[3].lower(), _dedented(lines[start + 1 : end], opening[1])))
        place = close + 1
    return found


def _closes(opening: re.Match[str], line: re.Match[str]) -> bool:
    return line[2].startswith(opening[2]) and not line[3]


def _dedented(lines: list[str], indent: str) -> str:
    return "\n".join(line.removeprefix(indent) for line in lines)


def answer(text: str) -> str:
    """The reply without its reasoning: what stands after </think>, or nothing where thinking never ended."""
    if "</think>" in text:
        return text.rpartition("</think>")[2]
    return "" if text.lstrip().startswith("<think>") else text


def defines(text: str, entry: str) -> bool:
    """True if a line without indentation defines or assigns `entry`."""
    return bool(entry) and bool(
        re.search(rf"^(?:(?:async )?def|class)\s+{re.escape(entry)}\b|^{re.escape(entry)}\s*=", text, re.MULTILINE)
    )


def read(text: str, rule: str, entry: str = "", prompt: str = "") -> Reading | None:
    """The program in `text`, or None where it has none.

    rule: "flexible"    without reasoning; the last code block that defines `entry`, else the last Python block, else the
                        unfenced code. Behind a `prompt` it may go on with the function's body or begin anew.
          "tulu3"       prompt and reply joined as they are (olmes codex_humaneval).
          "first_block", "last_block"  that fenced block, or nothing.
          "begin_done"  between [BEGIN] and [DONE] (arXiv:2108.07732); either mark may be missing.
          "whole"       the reply is the program.
    entry: the function wanted, "" where there is none. prompt: code that the reply may continue.
    """
    text = text[:LONGEST].replace("\r\n", "\n")
    if rule == "tulu3":
        return Reading((prompt + text,))
    if rule == "flexible":
        return _flexible(answer(text), entry, prompt)
    code: str | None = text
    if rule in ("first_block", "last_block"):
        found = blocks(text)
        code = None if not found else found[0 if rule == "first_block" else -1].text
    elif rule == "begin_done":
        code = text.partition("[BEGIN]")[2] if "[BEGIN]" in text else text
        code = code.partition("[DONE]")[0]
    return Reading(_behind(code, entry, prompt)) if code and code.strip() else None


def _flexible(text: str, entry: str, prompt: str) -> Reading | None:
    found = [block for block in blocks(text) if block.language in _PYTHON and block.text.strip()]
    if found:
        chosen = next((block for block in reversed(found) if defines(block.text, entry)), found[-1])
        return Reading(_behind(chosen.text, entry, prompt), trim=True)
    if not text.strip():
        return None
    start = _STARTS.search(text)
    if start and (not prompt or defines(text, entry)):
        text = text[start.start() :]
    return Reading(_behind(text, entry, prompt), trim=True)


def _behind(code: str, entry: str, prompt: str) -> tuple[str, ...]:
    """The code behind its prompt: as a definition of its own, or as the function's body in three states of indentation."""
    if not prompt:
        return (code,)
    if defines(code, entry):
        return (f"{prompt}\n\n{code}", code)
    body = code.strip("\n")
    every = "\n".join(_INDENT + line if line.strip() else line for line in body.split("\n"))
    return (prompt + body, prompt + _INDENT + body.lstrip(), prompt + every)
