"""The shipped verifiers keep the laws, and the laws catch verifiers that do not."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from burnish.core.types import Check, Problem, Verdict, user
from burnish.errors import VerifierError
from burnish.testing.laws import check_verifier
from burnish.verify.gsm8k import GSM8K
from burnish.verify.ifeval import IFEval

SUMS = [
    Problem(user("48 + 24?"), Check("gsm8k", "72"), "48 / 2 = 24, and 48 + 24 = 72.\n#### 72"),
    Problem(user("12 * 90?"), Check("gsm8k", "1,080"), "12 * 90 = 1080\n#### 1,080"),
    Problem(user("3 - 8?"), Check("gsm8k", "-5"), "3 - 8 = -5\n#### -5"),
    Problem(user("7?"), Check("gsm8k", "7"), "#### 7"),
]

# Every instruction once: (id, kwargs, a reply that follows it, a reply that does not).
TEXT = "The moon rose over the sea."
CASES: tuple[tuple[str, dict[str, Any], str, str], ...] = (
    ("keywords:existence", {"keywords": ["moon", "sea"]}, TEXT, "The moon rose."),
    ("keywords:frequency", {"keyword": "moon", "frequency": 2, "relation": "less than"}, TEXT, "moon moon"),
    ("keywords:forbidden_words", {"forbidden_words": ["sun"]}, TEXT + " Sunny.", "The sun rose."),
    ("keywords:letter_frequency", {"letter": "q", "let_frequency": 1, "let_relation": "at least"}, "Queen", TEXT),
    ("language:response_language", {"language": "de"}, "Der Mond ging über dem Meer auf und schien hell.", TEXT),
    ("length_constraints:number_sentences", {"num_sentences": 2, "relation": "at least"}, "One. Two.", TEXT),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "One\n***\nTwo", "One\n\nTwo"),
    ("length_constraints:number_words", {"num_words": 6, "relation": "at least"}, TEXT, "The moon rose."),
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "then"},
        "One.\n\nThen two.",
        "Then one.\n\nTwo.",
    ),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[name] at [address]", "[name]"),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, TEXT + "\nP. S. More.", TEXT),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* One\n- Two", "* One"),
    ("detectable_format:constrained_response", {}, "My answer is no.", "No."),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 1}, "The *moon* rose.", TEXT),
    ("detectable_format:multiple_sections", {"section_spliter": "SECTION", "num_sections": 2}, "SECTION 1 a SECTION 2 b", "SECTION 1"),
    ("detectable_format:json_format", {}, '```json\n{"moon": 1}\n```', TEXT),
    ("detectable_format:title", {}, "<<Moon>>\nIt rose.", "<< >>"),
    ("combination:two_responses", {}, "One.******Two.", "One.******One."),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Tell me of the moon."}, "Tell me of the moon. It rose.", TEXT),
    ("startend:end_checker", {"end_phrase": "The end."}, "It rose. The end.", TEXT),
    ("change_case:capital_word_frequency", {"capital_frequency": 1, "capital_relation": "at least"}, "The MOON", TEXT),
    ("change_case:english_capital", {}, TEXT.upper(), TEXT),
    ("change_case:english_lowercase", {}, TEXT.lower(), TEXT),
    ("punctuation:no_comma", {}, TEXT, "The moon, rising"),
    ("startend:quotation", {}, f'"{TEXT}"', f'"{TEXT}'),
)  # fmt: skip
FOLLOWS = {kind: reply for kind, _, reply, _ in CASES}
BREAKS = {kind: reply for kind, _, _, reply in CASES}
INSTRUCTED = [Problem(user(k), Check("ifeval", json.dumps([{"id": k, "kwargs": kwargs}]))) for k, kwargs, _, _ in CASES]


def kind_of(problem: Problem) -> str:
    return str(json.loads(problem.check.target)[0]["id"])


@pytest.mark.parametrize("rule", ["flexible", "strict"])
def test_number_verifiers_keep_the_laws(rule: Any) -> None:
    check_verifier(GSM8K(rule), SUMS)


def test_the_published_number_rule_keeps_the_laws_of_a_last_number_rule() -> None:
    check_verifier(GSM8K("tulu3"), SUMS, many_candidates="only last")
    with pytest.raises(VerifierError, match="many candidates"):
        check_verifier(GSM8K("tulu3"), SUMS)


@pytest.mark.parametrize("partial", [False, True])
@pytest.mark.parametrize("mode", ["strict", "loose"])
def test_the_instruction_verifier_keeps_the_laws_on_every_instruction(mode: Any, partial: bool) -> None:
    check_verifier(
        IFEval(mode, partial),
        INSTRUCTED,
        gold=lambda problem: [FOLLOWS[kind_of(problem)]],
        mutate=lambda problem: [BREAKS[kind_of(problem)], "", "\n \n"],
        examples=300,
        replies=[*FOLLOWS.values(), *BREAKS.values()],
    )


@dataclass(frozen=True)
class Exact:
    """A verifier that keeps every law: the whole reply is the target. What the planted bugs below start from."""

    VERSION: ClassVar[int] = 1
    ACCEPTS: ClassVar[tuple[tuple[str, str], ...]] = (("7", "7"), ("8", "8"), ("9", "9"))
    REJECTS: ClassVar[tuple[tuple[str, str], ...]] = (("7", "8"), ("7", ""), ("7", "71"))

    def __call__(self, problem: Problem, text: str) -> Verdict:
        return Verdict(float(text.strip() == problem.check.target), f"{text[:20]!r}")


class Contains(Exact):
    REJECTS = (("7", "8"), ("7", ""), ("7", "x"))

    def __call__(self, problem: Problem, text: str) -> Verdict:
        return Verdict(float(problem.check.target in text), "looked for it")


class AnyWord(Contains):
    def __call__(self, problem: Problem, text: str) -> Verdict:
        return Verdict(float(problem.check.target in text.replace(",", " ").split()), "looked for the word")


class RaisesOnEmpty(Exact):
    def __call__(self, problem: Problem, text: str) -> Verdict:
        return Verdict(float(text.split()[0] == problem.check.target and len(text) < 3), "first word")


class AlwaysPasses(Exact):
    def __call__(self, problem: Problem, text: str) -> Verdict:
        return Verdict(1.0, "fine")


class NeverPasses(Exact):
    ACCEPTS = (("7", "7"), ("8", "8"))


class RejectsLargeGold(Exact):
    def __call__(self, problem: Problem, text: str) -> Verdict:
        return Verdict(float(text == problem.check.target and len(text) < 2), "short ones only")


class Silent(Exact):
    def __call__(self, problem: Problem, text: str) -> Verdict:
        found = super().__call__(problem, text)
        return found if len(text) < 40 else Verdict(None, " ")


class Scores(Exact):
    def __call__(self, problem: Problem, text: str) -> Any:
        return float(text == problem.check.target)


class Changes(Exact):
    calls: ClassVar[itertools.count[int]] = itertools.count()

    def __call__(self, problem: Problem, text: str) -> Verdict:
        found = super().__call__(problem, text)
        return Verdict(found.score, f"call {next(self.calls)}")


class Slow(Exact):
    def __call__(self, problem: Problem, text: str) -> Verdict:
        for _ in range(len(text) // 5_000):
            sorted(text * 4)
        return super().__call__(problem, text)


@dataclass(frozen=True)
class Remembers(Exact):
    """Its answer depends on an object that a pickled copy does not share."""

    seen: object = Exact

    def __call__(self, problem: Problem, text: str) -> Verdict:
        return Verdict(super().__call__(problem, text).score, f"{id(self) == OWNER.get('id', id(self))}")


OWNER: dict[str, int] = {}
GOLD = [Problem(user("?"), Check("exact", n)) for n in ("7", "72")]


def test_a_lawful_verifier_passes() -> None:
    check_verifier(Exact(), GOLD)


@pytest.mark.parametrize(
    ("verifier", "law"),
    [
        (Contains(), "mutations"),
        (AnyWord(), "many candidates"),
        (RaisesOnEmpty(), "never raises"),
        (AlwaysPasses(), "REJECTS are as it says"),
        (NeverPasses(), "at least 3"),
        (RejectsLargeGold(), "gold: accepts"),
        (Silent(), "reasons"),
        (Scores(), "gives a Verdict"),
        (Changes(), "deterministic: a second call"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exact) else "",
)
def test_planted_bugs_are_caught_by_the_law_that_names_them(verifier: Exact, law: str) -> None:
    with pytest.raises(VerifierError, match=law):
        check_verifier(verifier, GOLD)


def test_a_verifier_that_takes_too_long_is_caught() -> None:
    with pytest.raises(VerifierError, match="never hangs"):
        check_verifier(Slow(), GOLD, deadline_s=1e-3)


def test_a_pickled_copy_that_grades_differently_is_caught() -> None:
    verifier = Remembers()
    OWNER["id"] = id(verifier)
    try:
        with pytest.raises(VerifierError, match="pickled copy"):
            check_verifier(verifier, GOLD)
    finally:
        OWNER.clear()


def test_without_examples_of_its_own_mutations_must_be_given_for_targets_that_are_not_numbers() -> None:
    words = [Problem(user("?"), Check("exact", "moon"))]

    class Prefix(Exact):
        def __call__(self, problem: Problem, text: str) -> Verdict:
            return Verdict(float(text[:1] == problem.check.target[:1] and text != "71"), "first letter")

    with pytest.raises(VerifierError, match="mutations"):
        check_verifier(Prefix(), words, mutate=lambda problem: ["mood"])
