r"""The published extraction ladders for answer letters, each the first pattern that fires.

mmlu_cot, mmlu_0shot_cot, mmlu_pro, gpqa and agieval are those of Tülu 3's evaluation (arXiv:2411.15124; olmes
mmlu:cot::summarize, mmlu:0shot_cot::tulu3, mmlu_pro:0shot_cot::tulu3, gpqa:0shot_cot::tulu3 and
agi_eval_english:0shot_cot::tulu3); mmlu_pro_official is the three-step extraction of the MMLU-Pro repository, and
lm_eval_mmlu_pro the single pattern of lm-evaluation-harness. Quirks are kept: they are what published scores were made with.

Patterns that begin with ".*" take time quadratic in the length of a line; here they are walked line by line, with the
same result.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Literal

from burnish.verify.choice.reading import NONE, Reading

Rule = Literal[
    "mmlu_cot", "mmlu_0shot_cot", "mmlu_pro", "gpqa", "agieval", "mmlu_pro_official", "lm_eval_mmlu_pro"
]  # fmt: skip

_MMLU: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("'therefore, the answer is'", re.compile(r"(?i)therefore,?\s*the\s*answer\s*is:?\s*\(?([A-D])\b")),
    ("'answer is'", re.compile(r"(?i)answer\s*is:?\s*\(?([A-D])\b")),
    ("'X is correct'", re.compile(r"(?i)([A-D])\)?\s+is\s+correct")),
    ("'(X)'", re.compile(r"\(([A-D])\)")),
)
_THEREFORE = {letters: re.compile(rf"Therefore, the answer is \(([{letters}])\)") for letters in ("A-D", "A-F", "A-J")}
_ALONE = {letters: re.compile(rf"\b([{letters}])\b") for letters in ("A-D", "A-J")}
_IN_PARENTHESES = {letters: re.compile(rf"\(([{letters}])\)") for letters in ("A-D", "A-E")}
_ANSWER_IS = re.compile(r"(?i)answer is:?\s*\(?([A-J])\)?")
_ANSWER_COLON = re.compile(r"[aA]nswer:\s*([A-J])")
_OFFICIAL = re.compile(r"answer is \(?([A-J])\)?")
_CORRECT_IS = re.compile(r"The correct answer is: ([A-D])")
_CAPITAL = re.compile(r"[A-E]")
_THE_ANSWER_IS = "the answer is "


def mmlu_cot(text: str) -> Reading:
    """MMLU as Tülu 3 reports it: the first occurrence of the first of five patterns; the last is a letter standing alone."""
    for step, (how, pattern) in enumerate(_MMLU):
        if match := pattern.search(text):
            return Reading(match[1].upper(), how, step == 0)
    if letter := _last_on_first_line(_ALONE["A-D"], text):
        return Reading(letter, "letter alone")
    return NONE


def mmlu_0shot_cot(text: str) -> Reading:
    """MMLU's second form: the last "Therefore, the answer is (X)", else as `mmlu_cot`."""
    return _concluded(text, "A-D") or mmlu_cot(text)._replace(format_correct=False)


def mmlu_pro(text: str) -> Reading:
    """MMLU-Pro: the last conclusion, the first "answer is X", the first line with "Answer: X", the last letter alone."""
    if reading := _concluded(text, "A-J"):
        return reading
    if match := _ANSWER_IS.search(text):
        return Reading(match[1].upper(), "'answer is'")
    if letter := _last_on_first_line(_ANSWER_COLON, text):
        return Reading(letter, "'Answer:'")
    return _last(_ALONE["A-J"], text, "last letter alone") or NONE


def gpqa(text: str) -> Reading:
    """GPQA: the last conclusion, the last "(X)", the last "The correct answer is: X", the last letter alone."""
    return (
        _concluded(text, "A-D")
        or _last(_IN_PARENTHESES["A-D"], text, "last '(X)'")
        or _last(_CORRECT_IS, text, "'The correct answer is:'")
        or _last(_ALONE["A-D"], text, "last letter alone")
        or NONE
    )


def agieval(text: str) -> Reading:
    """AGIEval: the last conclusion, the last "(X)" in the last "the answer is …." or anywhere, the last capital A to E."""
    if reading := _concluded(text, "A-F"):
        return reading
    said = _last_said(text)
    if reading := _last(_IN_PARENTHESES["A-E"], text if said is None else said, "last '(X)'"):
        return reading
    return _last(_CAPITAL, text, "last capital letter") or NONE


def mmlu_pro_official(text: str) -> Reading:
    """The MMLU-Pro repository: first "answer is X", else first line with "Answer: X", else the last letter alone."""
    if match := _OFFICIAL.search(text):
        return Reading(match[1], "'answer is'", format_correct=True)
    if letter := _last_on_first_line(_ANSWER_COLON, text):
        return Reading(letter, "'Answer:'")
    return _last(_ALONE["A-J"], text, "last letter alone") or NONE


def lm_eval_mmlu_pro(text: str) -> Reading:
    """lm-evaluation-harness: the first "answer is X", nothing else."""
    match = _OFFICIAL.search(text)
    return Reading(match[1], "'answer is'", format_correct=True) if match else NONE


LADDERS: Mapping[Rule, Callable[[str], Reading]] = {
    "mmlu_cot": mmlu_cot,
    "mmlu_0shot_cot": mmlu_0shot_cot,
    "mmlu_pro": mmlu_pro,
    "gpqa": gpqa,
    "agieval": agieval,
    "mmlu_pro_official": mmlu_pro_official,
    "lm_eval_mmlu_pro": lm_eval_mmlu_pro,
}


def _concluded(text: str, letters: str) -> Reading | None:
    reading = _last(_THEREFORE[letters], text, "'Therefore, the answer is (X)'")
    return reading and reading._replace(format_correct=True)


def _last(pattern: re.Pattern[str], text: str, how: str) -> Reading | None:
    found = pattern.findall(text)
    return Reading(found[-1], how) if found else None


def _last_on_first_line(pattern: re.Pattern[str], text: str) -> str:
    """What `.*pattern` finds: on the first line where a match starts, the last match that starts there."""
    letter, line_end = "", -1
    for match in pattern.finditer(text):
        if not letter:
            line_end = text.find("\n", match.start())
        elif line_end != -1 and match.start() > line_end:
            break
        letter = match[1]
    return letter


def _last_said(text: str) -> str | None:
    r"""The last match of (?<=the answer is )(.*?)(?=\.), each line walked once."""
    said, place = None, text.find(_THE_ANSWER_IS)
    while place != -1:
        start = place + len(_THE_ANSWER_IS)
        line_end = text.find("\n", start)
        line_end = len(text) if line_end == -1 else line_end
        stop = text.find(".", start, line_end)
        if stop == -1:
            place = text.find(_THE_ANSWER_IS, line_end)
        else:
            said = text[start:stop]
            place = text.find(_THE_ANSWER_IS, stop)
    return said
