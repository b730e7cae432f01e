"""The checks of published RLVR rows as targets: Tülu 3's functions by name and IF-RLVR's lists of instructions."""

from __future__ import annotations

import json
from typing import Any

import pytest

from burnish.core.types import Check, Problem, user
from burnish.data.if_functions import ifeval_target
from burnish.errors import DataError
from burnish.verify.ifeval import IFEval
from burnish.verify.ifeval.tulu3 import CONSTRAINTS
from tests.instruction_cases import TULU3, Case

ARGUMENTS = (
    "N",
    "quantifier",
    "options",
    "keyword_list",
    "word",
    "forbidden_words",
    "letter",
    "language",
    "i",
    "first_word",
)


def blob(name: str, **arguments: Any) -> str:
    """As in the sets: arguments of other functions are null."""
    return json.dumps({"func_name": name, **dict.fromkeys(ARGUMENTS), **arguments})


def score(target: str, reply: str, rule: Any) -> float | None:
    return IFEval(rule=rule)(Problem(user("q"), Check("ifeval", target)), reply).score


@pytest.mark.parametrize("case", TULU3, ids=lambda case: case.id)
def test_a_function_becomes_tulu_3s_own_variant(case: Case) -> None:
    target = ifeval_target(blob(case.id.removeprefix("tulu3:"), **case.kwargs))
    assert json.loads(target) == [{"id": case.id, "kwargs": case.kwargs}]
    for reply, fixed, published in case.replies:
        assert score(target, reply, "fixed") == float(fixed), reply
        assert score(target, reply, "published") == float(published), reply


def test_every_function_has_its_variant() -> None:
    assert {case.id for case in TULU3} == {kind.ID for kind in CONSTRAINTS}
    assert len(CONSTRAINTS) == 25


def test_whole_numbers_may_be_floats_as_tables_with_empty_cells_have_them() -> None:
    target = ifeval_target(blob("validate_sections", N=2.0, section_splitter="Section"))
    assert score(target, "Section 1 a Section 2 b", "fixed") == 1.0


@pytest.mark.parametrize(
    "truth",
    [
        # A printed Python list, as published; JSON; a list of JSON text.
        "[{'instruction_id': ['count:count_unique', 'keywords:existence'], 'kwargs': [None, {'keywords': ['sea'], 'N': None}]}]",
        '[{"instruction_id": ["count:count_unique", "keywords:existence"], "kwargs": [null, {"keywords": ["sea"]}]}]',
        json.dumps([json.dumps({"instruction_id": ["count:count_unique", "keywords:existence"], "kwargs": [None, {"keywords": ["sea"]}]})]),
        '{"instruction_id": ["count:count_unique", "keywords:existence"], "kwargs": [{}, {"keywords": ["sea"]}]}',
    ],
)  # fmt: skip
def test_several_instructions_of_one_row(truth: str) -> None:
    target = ifeval_target(truth)
    assert [each["id"] for each in json.loads(target)] == ["count:count_unique", "keywords:existence"]
    assert score(target, "The sea rose", "fixed") == 1.0
    assert IFEval(partial=True)(Problem(user("q"), Check("ifeval", target)), "The the sea").score == 0.5


@pytest.mark.parametrize(
    ("ground_truth", "reason"),
    [
        ("[]", "expected JSON with func_name"),
        ("(", "expected JSON with func_name"),
        ("[" * 10_000, "expected JSON with func_name"),
        ("3", "expected JSON with func_name"),
        ('{"N": 3}', "expected JSON with func_name"),
        (
            blob("validate_title_case"),
            "no instruction is called 'tulu3:validate_title_case'. Did you mean 'tulu3:validate_title'",
        ),
        (blob("validate_choice", options=[["a", "b"]]), "(tulu3:validate_choice).options[0]: expected text"),
        (blob("validate_end"), "(tulu3:validate_end): missing end_phrase"),
        (blob("verify_bullet_points"), "(tulu3:verify_bullet_points): missing N"),
        (
            blob("validate_word_constraint", N=3, quantifier="roughly"),
            "quantifier: 'roughly' is not one of 'at least', 'at most', 'around'",
        ),
        (
            blob("validate_word_constraint", N="3", quantifier="around"),
            "N: expected a whole number from 0, got '3'",
        ),
        (blob("validate_paragraphs", N=2, i=3, first_word="a"), "i=3 is outside the 2 paragraphs"),
        (blob("verify_letter_frequency", N=2, letter="ab"), "letter='ab': expected one character"),
        (blob("validate_response_language", language="german"), "language='german': langdetect never answers this"),
        ('{"instruction_id": ["a", "b"], "kwargs": [{}]}', "must be lists of one length"),
        ('{"instruction_id": "a", "kwargs": [{}]}', "must be lists of one length"),
    ],
)
def test_checks_that_cannot_be_graded_are_broken(ground_truth: str, reason: str) -> None:
    with pytest.raises(DataError) as caught:
        ifeval_target(ground_truth)
    assert reason in str(caught.value)
