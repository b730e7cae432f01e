r"""Where a reply to a mathematics problem states its answer: \boxed{}, the Minerva phrase, "the answer is", $...$."""

from __future__ import annotations

import re
from collections.abc import Iterator

from burnish.verify.gsm8k import standing

LONGEST = 1_000  # characters of an answer that is read; the longest reference answer of MATH has 159
_TRIES = 12  # statements of one kind that are read, counted from the end
_TAIL = 20_000  # characters at the end of a reply in which statements in prose are looked for

_BOX = re.compile(r"\\f?box(?:ed)?(?=\s{0,3}\{|\s)")
_BARE = re.compile(r"\s{1,3}([-+]?[\d.]*\d|[A-Za-z])(?![\w{])")  # "\boxed 9" puts the box around one sign or number
_BRACES = re.compile(r"\\.|[{}]", re.DOTALL)
_EVERY_BRACE = re.compile(r"[{}]")
# Minerva's phrase, as evaluations in its line read it: the dots match anything, and the first one in the reply counts.
_MINERVA = re.compile(r"Final Answer: The final answer is(.*?). I hope it is correct.")
_PHRASE = re.compile(
    r"\banswers?\b[*_`\"']*\s*(?:is|are|was|equals|would be|will be|=|:)[\s:*_]{0,8}(?=\S)", re.IGNORECASE
)
_PHRASE_END = re.compile(r"\.?\s*I hope it is correct|[.!?](?:\s|\**$)|\n\s*\n|(?<=[^\s:])\n", re.IGNORECASE)
_IS = re.compile(r"\s(?:is|are|equals)\s(?=[^$]*(?:\$[^$]*\$[^$]*)*$)")  # "the largest $n$ is 34", outside formulas
_HASHES = re.compile(r"^####[ \t]*(\S[^\n]*)", re.MULTILINE)
_MATHS = re.compile(
    r"\$\$(?P<a>[^$]{1,1000})\$\$|(?<!\\)\$(?P<b>(?:\\[$]|[^$]){1,1000}?)(?<!\\)\$|\\\((?P<c>[^\n]{1,1000}?)\\\)|\\\[(?P<d>[^$]{1,1000}?)\\\]"
)
_JOINS = re.compile(
    r"[\s,;|/&*_()\[\].-]*(?:(?:or|and|maybe|perhaps|possibly|probably|either|also|even|to|vs|could be|it is)\b[\s,;*_]*)*",
    re.IGNORECASE,
)


def boxes(text: str) -> Iterator[str]:
    r"""The contents of every closed \boxed{...} and \fbox{...}, outermost only, in order."""
    end = 0
    for match in _BOX.finditer(text):
        if match.start() < end:
            continue
        start = text.find("{", match.end(), match.end() + 4)
        if start < 0 or text[match.end() : start].strip():
            if bare := _BARE.match(text, match.end()):
                yield bare[1]
            continue
        close = _closing(text, start)
        if close is None:
            return  # an open brace that nothing closes: neither do the ones behind it count
        end = close + 1
        yield text[start + 1 : close]


def _closing(text: str, start: int) -> int | None:
    """The place of the brace that closes the one at `start`; escaped braces do not count."""
    depth = 0
    for match in _BRACES.finditer(text, start):
        if match[0] in "{}":
            depth += 1 if match[0] == "{" else -1
            if depth == 0:
                return match.start()
    return None


def last_box(text: str) -> str | None:
    r"""The content of the last \boxed (or else \fbox), as Hendrycks' evaluation reads it: "\boxed x" ends at the next "$".

    None when there is none, or its brace is not closed. Braces are counted whether escaped or not.
    """
    if "\\boxed " in text:
        return text.rpartition("\\boxed ")[2].partition("$")[0]
    command = "\\boxed" if "\\boxed" in text else "\\fbox"
    start = text.rfind(command)
    opened = start + len(command)
    if start < 0 or text[opened : opened + 1] != "{":
        return None
    depth = 0
    for match in _EVERY_BRACE.finditer(text, opened):
        depth += 1 if match[0] == "{" else -1
        if depth == 0:
            return text[opened + 1 : match.start()]
    return None


def minerva_phrase(text: str) -> str | None:
    """What stands between "Final Answer: The final answer is" and ". I hope it is correct.", the first time.

    The closing words are added to the reply first, so that one which ends in "$X$. " counts.
    """
    if "Final Answer: The final answer is" not in text:
        return None
    match = _MINERVA.search(text + "I hope it is correct.")
    return match[1].strip() if match else None


def between_last_dollars(text: str) -> str | None:
    """The text between the last two dollar signs, escaped or not."""
    head, last, _ = text.rpartition("$")
    _, first, inner = head.rpartition("$")
    return inner if last and first else None


def stated(text: str) -> list[str]:
    """What follows "the answer is", or a line's "####": the formulas in it, else its words. One for each statement.

    Of several, those count that `burnish.verify.gsm8k.standing` takes.
    """
    marked = [match[1] for match in _HASHES.finditer(text)][-_TRIES:]
    if marked:
        return list(dict.fromkeys(_formulas(part[:LONGEST]) or part[:LONGEST] for part in marked))
    tail = text[-_TAIL:]
    matches = standing(tail, list(_PHRASE.finditer(tail))[-_TRIES:])
    found = (_statement(tail[match.end() : match.end() + LONGEST]) for match in matches)
    return list(dict.fromkeys(part for part in found if part.strip(" .*_")))


def _statement(text: str) -> str:
    """The answer at the beginning of a text: "$4$. I hope" gives "4", "the largest $n$ is 34." gives "34"."""
    formula = _MATHS.match(text)
    end = _PHRASE_END.search(text, formula.end() if formula else 0)
    part = _IS.split(text[: end.start()] if end else text)[-1]
    return _formulas(part) or part


def _formulas(part: str) -> str:
    """The formulas of a short statement, as a list where there are several; "" where there are none."""
    found = [_inner(match) for match in _MATHS.finditer(part)]
    return ", ".join(found)


def last_formula(text: str) -> str | None:
    """The last formula of a reply, with those it stands in one list with: "$1$, $2$ or $3$" gives "1, 2, 3"."""
    tail = text[-_TAIL:]
    found = list(_MATHS.finditer(tail))
    if not found:
        return None
    group = [found[-1]]
    for match in reversed(found[-_TRIES:-1]):
        if not _JOINS.fullmatch(tail[match.end() : group[0].start()][:200]):
            break
        group.insert(0, match)
    return ", ".join(dict.fromkeys(_inner(match) for match in group))


def _inner(match: re.Match[str]) -> str:
    return (match["a"] or match["b"] or match["c"] or match["d"]).strip()
