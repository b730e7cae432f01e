"""The extraction ladder of Tülu 3's evaluation for BIG-Bench Hard (olmes bbh:cot-v1::tulu), with its quirks.

The last match of the first pattern that fires, with the task's answer pattern A in it: "So the answer is A", "answer is
A", "answer:…A", "answer…A", A, and A in any case. Then comparison without case and, but for brackets, without
punctuation: -5 and 5 are equal. A yes or no, a true, false or valid is also found inside other words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from burnish.verify.bbh.forms import FORMS, Form
from burnish.verify.text_forms import lowered

_ANSWERS: Mapping[str, str] = {
    "true or false": "[tT]rue|[fF]alse",
    "yes or no": "[yY]es|[nN]o",
    "valid or invalid": "[iI]nvalid|[vV]alid",
    "brackets": r"[\]\)\}\> ]+",
    "words": "[a-z ]+",
    "letter": r"\([A-Z]\)",
}
_INTEGERS = {"multistep_arithmetic_two": r"-?\d+", "object_counting": r"\d+"}

# What is stripped around an answer, one layer each, in this order.
_LAYERS = (
    ("$", "$"), ("\\(", "\\)"), ("(", ")"), ("**", "**"), ("***", "***"), ("\\[", "\\]"), ("'", "'"), ("`", "`"), ('"', '"'),
)  # fmt: skip


class _Patterns(NamedTuple):
    direct: tuple[tuple[str, re.Pattern[str]], ...]
    later: tuple[tuple[str, re.Pattern[str]], ...]
    answer: re.Pattern[str]
    any_case: re.Pattern[str]


def _patterns(answer: str) -> _Patterns:
    return _Patterns(
        (
            ("'So the answer is'", re.compile(rf"(?i)So the answer is ({answer})\.?")),
            ("'answer is'", re.compile(rf"(?i)answer is ({answer})")),
        ),
        (("'answer:'", re.compile(r"(?i)answer:")), ("'answer'", re.compile(r"(?i)answer\b"))),
        re.compile(f"({answer})"),
        re.compile(f"(?i)({answer})"),
    )


_BY_TASK = {task: _patterns(_INTEGERS.get(task) or _ANSWERS[form]) for task, form in FORMS.items()}


def extract(task: str, text: str) -> tuple[str, str]:
    """The answer the ladder reads in a reply, "" for none, and the pattern that fired."""
    patterns = _BY_TASK[task]
    for how, pattern in patterns.direct:
        if found := pattern.findall(text):
            return _stripped(found[-1].strip(), task), how
    for how, cue in patterns.later:
        if said := _last_behind(cue, patterns.any_case, text):
            return _stripped(said.strip(), task), how
    for how, pattern in (("last answer form", patterns.answer), ("last answer form in any case", patterns.any_case)):
        if found := pattern.findall(text):
            return _stripped(found[-1].strip(), task), how
    return "", "nothing"


def equal(task: str, answer: str, target: str) -> bool:
    """Olmes' exact match: without case and, but for brackets, without ASCII punctuation."""
    if FORMS[task] == "brackets":
        return answer.lower() == target.lower()
    return lowered(answer) == lowered(target)


def _last_behind(cue: re.Pattern[str], answer: re.Pattern[str], text: str) -> str:
    """What the last match of `cue.*?(answer)` captures, each line walked once."""
    said, place = "", 0
    while match := cue.search(text, place):
        line_end = text.find("\n", match.end())
        line_end = len(text) if line_end == -1 else line_end
        if found := answer.search(text, match.end(), line_end):
            said, place = found[1], found.end()
        else:
            place = line_end
    return said


def _stripped(answer: str, task: str) -> str:
    form: Form = FORMS[task]
    pattern = _BY_TASK[task].answer
    for left, right in _LAYERS:
        inner = len(answer) > len(left) + len(right) and answer.startswith(left) and answer.endswith(right)
        if inner and not pattern.match(left):
            answer = answer[len(left) : -len(right)]
    return f"({answer})" if form == "letter" and re.fullmatch("[A-Z]", answer, re.IGNORECASE) else answer
