"""The shipped verifiers keep the laws. That the laws catch verifiers that do not: test_verifier_mutants.py."""

from __future__ import annotations

import json
from typing import Any

import pytest

from burnish.core.types import Check, Problem, user
from burnish.errors import VerifierError
from burnish.testing.laws import check_verifier
from burnish.verify.gsm8k import GSM8K
from burnish.verify.ifeval import IFEval
from burnish.verify.shaping import Every, Form, Length, Thinking, Weighted

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
    check_verifier(GSM8K("tulu3"), SUMS, many_candidates="only last", signed=False)
    with pytest.raises(VerifierError, match="many candidates"):
        check_verifier(GSM8K("tulu3"), SUMS, signed=False)
    with pytest.raises(VerifierError, match="mutations"):
        check_verifier(GSM8K("tulu3"), SUMS, many_candidates="only last")


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


FORM = Form()


def in_form(problem: Problem) -> list[str]:
    return [FORM.write(problem.solution, "Let me see.")]


@pytest.mark.parametrize(
    "verifier",
    [
        Thinking(GSM8K()),
        Thinking(GSM8K("strict"), required=False),
        Every((Thinking(GSM8K()), FORM)),
        Weighted(((Thinking(GSM8K()), 0.9), (FORM, 0.1))),
        Length(Thinking(GSM8K()), most=60, least=1, soft=20),
    ],
    ids=lambda verifier: type(verifier).__name__,
)
def test_wrappers_keep_the_laws_of_what_they_wrap(verifier: Any) -> None:
    check_verifier(verifier, SUMS, gold=in_form)


def test_a_form_and_a_length_keep_the_laws_alone() -> None:
    check_verifier(FORM)
    check_verifier(Length(GSM8K(), most=40, soft=10), SUMS)


def test_parts_with_a_target_each_keep_the_laws() -> None:
    pairs = [
        Problem(user(p.prompt[-1].content), Check("both", json.dumps([p.check.target, p.check.target])), p.solution)
        for p in SUMS
    ]
    check_verifier(
        Every((GSM8K("strict"), GSM8K("flexible")), targets="each"), pairs,
        mutate=lambda problem: ["#### 1", "72", "#### 72 or 73"],
        candidates=lambda problem: (json.loads(problem.check.target)[0], "1", "2", "3"),
    )  # fmt: skip
