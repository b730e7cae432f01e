"""The verifier for MGSM (arXiv:2210.03057): a whole number after the word for "answer" in the question's language."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, NamedTuple

from burnish.core.types import Problem, Verdict
from burnish.errors import VerifierError

# The word that the answer follows, by language, as openai/simple-evals asks for it.
PREFIXES: dict[str, str] = {
    "bn": "উত্তর", "de": "Antwort", "en": "Answer", "es": "Respuesta", "fr": "Réponse", "ja": "答え", "ru": "Ответ", "sw": "Jibu",
    "te": "సమాధానం", "th": "คำตอบ", "zh": "答案",
}  # fmt: skip
_NUMBER = re.compile(r"\d+\.?\d*")
_HOW = '  Write {"language": "de", "answer": "18"}.'


class _Target(NamedTuple):
    language: str
    answer: str


@dataclass(frozen=True, slots=True)
class MGSM:
    """Grades as openai/simple-evals does: the last number after the last "Answer" (in the language), compared as text.

    Thousands commas are dropped, and zeros after a decimal point. Signs are not read; no answer of the set is negative.
    The target is {"language": "de", "answer": "18"} as JSON.
    """

    VERSION: ClassVar[int] = 1
    ACCEPTS: ClassVar[tuple[tuple[str, str], ...]] = (
        ('{"language": "en", "answer": "18"}', "16 - 3 - 4 = 9, and 9 * 2 = 18.\nAnswer: 18"),
        ('{"language": "de", "answer": "1080"}', "12 * 90 = 1080.\nAntwort: 1.080, also 1080"),
        ('{"language": "zh", "answer": "72"}', "48 + 24 = 72\n答案：72"),
        ('{"language": "sw", "answer": "5"}', "2 + 3 = 5\nJibu: 5.00"),
    )
    REJECTS: ClassVar[tuple[tuple[str, str], ...]] = (
        ('{"language": "en", "answer": "18"}', "Answer: 17"),
        ('{"language": "de", "answer": "18"}', "Answer: 18"),
        ('{"language": "en", "answer": "18"}', "18"),
        ('{"language": "en", "answer": "18"}', ""),
    )

    def check_target(self, target: str) -> None:
        """Nothing, when `target` can be compared with. Raises VerifierError otherwise."""
        _target(target)

    def __call__(self, problem: Problem, text: str) -> Verdict:
        """1 for the right number, 0 for another or none, with what was read."""
        try:
            wanted = _target(problem.check.target)
        except VerifierError as error:
            return Verdict(None, str(error))
        prefix = PREFIXES[wanted.language]
        _, there, rest = text.rpartition(prefix)
        if not there:
            return Verdict(0.0, f"no {prefix!r} in the reply, wanted {wanted.answer}")
        numbers = _NUMBER.findall(rest.replace(",", ""))
        if not numbers:
            return Verdict(0.0, f"no number after {prefix!r}, wanted {wanted.answer}")
        found = numbers[-1].rstrip(".")
        if "." in found:
            found = found.rstrip("0").rstrip(".")
        return Verdict(float(found == wanted.answer), f"{found[:40]} after {prefix!r}, wanted {wanted.answer}")


@lru_cache(maxsize=4096)
def _target(target: str) -> _Target:
    try:
        spec = json.loads(target)
    except (ValueError, RecursionError):
        raise VerifierError(
            f"target {target[:60]!r} is not JSON, so no reply can be compared with it.\n{_HOW}"
        ) from None
    if not isinstance(spec, dict) or set(spec) != {"language", "answer"}:
        raise VerifierError(f"target {target[:60]!r} is no object of language and answer.\n{_HOW}")
    language, answer = spec["language"], spec["answer"]
    if language not in PREFIXES if isinstance(language, str) else True:
        raise VerifierError(f"target's language {language!r:.20} is none of {', '.join(PREFIXES)}.\n{_HOW}")
    if not isinstance(answer, str) or not answer.isascii() or not answer.isdecimal():
        raise VerifierError(f"target's answer {answer!r:.40} is no whole number of digits alone.\n{_HOW}")
    return _Target(language, answer)
