"""The verifier for DROP (arXiv:1903.00161): F1 of token bags under the best one-to-one alignment of answer spans."""

from __future__ import annotations

import json
import re
import string
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Literal, NamedTuple

from burnish.core.types import Problem, Verdict
from burnish.errors import VerifierError
from burnish.verify.statements import agreed, without_thought

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = dict.fromkeys(map(ord, string.punctuation))
# What parts the spans of a reply, the surest first. "Salt and Pepper" and "Albany, New York" may be one span.
_BETWEEN = tuple(
    re.compile(rf"\s*(?:{marks})\s*(?:and\b\s*)?(?:[-*•]\s)?")
    for marks in (r"\n|;", r"\n|;|,(?=\s)", r"\n|;|,(?=\s)|\band\b")
)
_READ = 2_000
_MOST_SPANS = 64
_EXAMPLE = '[["72"], ["seventy-two"]]'
_NAMES = '[["Tony Romo", "Shaun Hill"], ["Terrell Owens"]]'


class Score(NamedTuple):
    """Exact match (0 or 1) and F1 (0 to 1) of a prediction."""

    em: float
    f1: float


@dataclass(frozen=True, slots=True)
class DROP:
    """Grades a reply with DROP's metric; the target is a JSON list of gold answers, each a list of one or more spans.

    metric: "f1" (what Tülu 3 reports) or "em".
    rule:   "spans" reads what the reply states, else its first line, divides it into spans where a gold answer has
            several (at ";" and line ends, at commas too, or at "and" too, whichever fits best), and refuses several
            numbers for one.
            "official" takes the whole reply as one span and rounds F1 to two decimals (olmes drop::llama3 and
            lm-evaluation-harness, with the alignment of the official script). A gold answer of k spans then gives at most 1/k.

    The best gold answer counts; golds whose first span is blank do not.
    """

    VERSION: ClassVar[int] = 1
    ACCEPTS: ClassVar[tuple[tuple[str, str], ...]] = (
        (_EXAMPLE, "72"),
        (_EXAMPLE, " seventy-two"),
        (_NAMES, "Terrell Owens"),
        ('[["30 September 1686"]]', "30 September 1686"),
    )
    REJECTS: ClassVar[tuple[tuple[str, str], ...]] = (
        (_EXAMPLE, "73"),
        (_EXAMPLE, "70, 71, 72, 73"),
        (_NAMES, "Shaun Hill"),
        (_EXAMPLE, ""),
    )
    rule: Literal["spans", "official"] = "spans"
    metric: Literal["f1", "em"] = "f1"

    def check_target(self, target: str) -> None:
        """Nothing, when `target` can be compared with. Raises VerifierError otherwise; Curate asks before anything runs."""
        golds_of(target)

    def __call__(self, problem: Problem, text: str) -> Verdict:
        """The metric in [0, 1], with the spans read and the gold that fits best."""
        try:
            golds = golds_of(problem.check.target)
        except VerifierError as error:
            return Verdict(None, str(error))
        scored = [(self._score(text, gold), gold) for gold in golds if gold[0].strip()]
        (score, read, why), gold = max(scored, key=lambda pair: (getattr(pair[0][0], self.metric), pair[0][0].f1))
        value = score.f1 if self.metric == "f1" else score.em
        said = " | ".join(read)[:80]
        note = f"; {why}" if why else ""
        return Verdict(value, f"F1 {score.f1:.2f}, EM {score.em:.0f}: {said!r} against {' | '.join(gold)[:80]!r}{note}")

    def _score(self, text: str, gold: tuple[str, ...]) -> tuple[Score, list[str], str]:
        """The score of a reply against one gold answer, the spans read in it, and what is to be said about them."""
        if self.rule == "official":
            score = drop_score([text], gold)
            return Score(score.em, round(score.f1, 2)), [text.strip()], ""
        answer = _answer(text)
        if len(gold) == 1:
            if several := _several_numbers(answer, gold[0]):
                return Score(0.0, 0.0), [answer], f"several numbers offered ({several})"
            return drop_score([answer], gold), [answer], ""
        readings = ([part for part in between.split(answer) if part.strip()][:_MOST_SPANS] for between in _BETWEEN)
        return max(((drop_score(spans or [""], gold), spans, "") for spans in readings), key=lambda found: found[0].f1)


@lru_cache(maxsize=65536)
def golds_of(target: str) -> tuple[tuple[str, ...], ...]:
    """The gold answers of a target. Raises VerifierError, naming what is wrong."""
    try:
        data = json.loads(target)
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, list) or not data or not all(_spans(gold) for gold in data):
        raise VerifierError(
            f"target {target[:80]!r} is no list of gold answers, each a list of spans, so no reply can be compared with it.\n"
            f"  Write e.g. {_NAMES}: two accepted answers, the first of two spans."
        )
    if not any(gold[0].strip() for gold in data):
        raise VerifierError(
            f"target {target[:80]!r} has no gold answer that begins with something, so no reply could be right.\n"
            f"  Write e.g. {_EXAMPLE}."
        )
    return tuple(tuple(gold) for gold in data)


def _spans(gold: object) -> bool:
    return isinstance(gold, list) and bool(gold) and all(isinstance(span, str) for span in gold)


def drop_score(predicted: Sequence[str], gold: Sequence[str]) -> Score:
    """Exact match and F1 of predicted against gold spans, as the official DROP script computes them; F1 is not rounded."""
    said, wanted = [_normal(span) for span in predicted], [_normal(span) for span in gold]
    em = float(set(said) == set(wanted) and len(said) == len(wanted))
    return Score(em, _aligned([set(span.split()) for span in said], [set(span.split()) for span in wanted]))


def _aligned(predicted: list[set[str]], gold: list[set[str]]) -> float:
    """The mean F1 of the best one-to-one alignment; spans without a partner count 0."""
    table = [[_pair(said, wanted) for said in predicted] for wanted in gold]
    if len(predicted) == 1 or len(gold) == 1:
        total = max(value for row in table for value in row)
    else:
        from scipy.optimize import linear_sum_assignment

        rows, columns = linear_sum_assignment(table, maximize=True)
        total = sum(table[row][column] for row, column in zip(rows, columns, strict=True))
    return float(total) / max(len(gold), len(predicted))


def _pair(said: set[str], wanted: set[str]) -> float:
    """F1 of two bags of distinct tokens; 0 where the gold has a number and the prediction none of its numbers."""
    numbers = {word for word in wanted if _is_number(word)}
    if numbers and not numbers & said:
        return 0.0
    shared = len(said & wanted)
    precision = shared / len(said) if said else 1.0
    recall = shared / len(wanted) if wanted else 1.0
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _normal(span: str) -> str:
    return " ".join(token for token in map(_token, re.split("[ -]", span)) if token)


def _token(token: str) -> str:
    token = token.lower()
    if not _is_number(token):
        token = token.translate(_PUNCTUATION)
    if _is_number(token):
        token = str(float(token))
    return " ".join(_ARTICLES.sub(" ", token).split())


def _is_number(token: str) -> bool:
    try:
        float(token)
    except ValueError:
        return False
    return True


def _answer(text: str) -> str:
    """What a reply states as its answer, else its first line."""
    text = without_thought(text)
    found = agreed(text, lambda body: tuple(_said(body)))
    if found is not None:
        return "; ".join(found.values)
    paragraph = re.split(r"\n\s*\n", text.strip()[:_READ], maxsplit=1)[0]
    lines = [line.strip() for line in paragraph.split("\n") if line.strip()]
    listed = len(lines) > 1 and all(len(line.split()) <= 8 for line in lines)
    return "; ".join(lines) if listed else next(iter(lines), "")


def _said(body: str) -> list[str]:
    line = body.strip(" \t*_:").strip().split("\n", 1)[0]
    return [line] if line else []


def _several_numbers(answer: str, gold: str) -> str:
    """The different numbers of a reply to a question whose answer is one number; "" where there is at most one."""
    if not _is_number(_normal(gold)):
        return ""
    numbers = list(dict.fromkeys(token for token in _normal(answer.replace(";", " ")).split() if _is_number(token)))
    return ", ".join(numbers[:5]) if len(numbers) > 1 else ""
