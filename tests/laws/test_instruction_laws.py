"""The verifier's laws on Tülu 3's own variants and the constraints of IF-RLVR, strict and loose, by both rules."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from burnish.core.types import Check, Problem, user
from burnish.testing.verifier_laws import HOSTILE, check_verifier
from burnish.verify import ifrlvr
from burnish.verify.ifeval import IFEval, constraints_of, tulu3
from burnish.verify.ifeval.constraints import Constraint, PublishedRule
from tests.instruction_cases import CASES, Case

GOLDEN = Path(__file__).parents[1] / "golden"
RULES: list[Any] = ["fixed", "published"]
KINDS = (*tulu3.CONSTRAINTS, *ifrlvr.CONSTRAINTS)


def constraint(name: str, kwargs: dict[str, Any]) -> Constraint:
    return constraints_of(json.dumps([{"id": name, "kwargs": kwargs}]))[0]


def followed(of: Constraint, reply: str, rule: str) -> bool:
    published = rule == "published" and isinstance(of, PublishedRule)
    return (of.check_published if published else of.check)(reply).followed  # type: ignore[attr-defined, no-any-return]


def test_every_constraint_has_replies_by_hand_that_follow_and_that_do_not_by_both_rules() -> None:
    found: dict[str, set[tuple[str, bool]]] = defaultdict(set)
    for case in CASES:
        for _, fixed, published in case.replies:
            found[case.id] |= {("fixed", fixed), ("published", published)}
    wanted = {(rule, sign) for rule in RULES for sign in (True, False)}
    always = {("published", False)}  # the published placeholder check follows whatever the reply
    assert set(found) == {kind.ID for kind in KINDS}
    assert len(KINDS) == 25 + 29
    for name, signs in found.items():
        assert signs == (wanted - always if name == "tulu3:validate_placeholders" else wanted), name


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_verdicts_are_as_by_hand(case: Case, rule: str) -> None:
    of = constraint(case.id, case.kwargs)
    for reply, fixed, published in case.replies:
        assert followed(of, reply, rule) is (fixed if rule == "fixed" else published), reply


@pytest.mark.parametrize("name", ["tulu3_functions", "ifrlvr"])
def test_published_verdicts_are_those_recorded_from_the_official_code(name: str) -> None:
    """tests/oracle/test_open_instruct_oracle.py records them; at least 8 replies for each function, some of them followed."""
    count: dict[str, int] = defaultdict(int)
    for line in (GOLDEN / f"{name}.jsonl").read_text().splitlines():
        row = json.loads(line)
        of = constraint(row["id"], row["kwargs"])
        assert followed(of, row["reply"], "published") is row["followed"], row
        count[row["id"]] += 1
    kinds = tulu3.CONSTRAINTS if name == "tulu3_functions" else ifrlvr.CONSTRAINTS
    assert set(count) == {kind.ID for kind in kinds}
    assert min(count.values()) >= 8


@pytest.mark.parametrize(
    ("mode", "rule"),
    [
        pytest.param(mode, rule, marks=() if (mode, rule) == ("strict", "fixed") else pytest.mark.slow)
        for mode in ("strict", "loose")
        for rule in RULES
    ],
)
def test_the_instruction_verifier_keeps_the_laws(mode: Any, rule: Any) -> None:
    follows: dict[str, list[str]] = {}
    breaks: dict[str, list[str]] = {}
    for case in CASES:
        target = json.dumps([{"id": case.id, "kwargs": case.kwargs}])
        follows[target] = [r for r, fixed, published in case.replies if (fixed if rule == "fixed" else published)]
        bad = [r for r, fixed, published in case.replies if not (fixed if rule == "fixed" else published)]
        # Without a line or its asterisks a reply may follow what it did not: the loose form asks less.
        breaks[target] = ["", " \n", *(bad if mode == "strict" else [])]
    problems = [Problem(user("A question."), Check("ifeval", target)) for target in follows]
    for start in range(0, len(problems), 20):  # the laws try arbitrary text on so many problems at a time
        check_verifier(
            IFEval(mode, rule=rule),
            problems[start : start + 20],
            gold=lambda problem: follows[problem.check.target],
            mutate=lambda problem: breaks[problem.check.target],
            replies=[reply for case in CASES[start : start + 20] for reply, _, _ in case.replies[:2]],
            examples=150,
        )


def test_partial_scores_and_verdicts_mix_the_tables() -> None:
    """Of four instructions of four tables two are followed: no comma, and no word twice; not two paragraphs, not "sea"."""
    target = json.dumps(
        [
            {"id": "punctuation:no_comma", "kwargs": {}},
            {"id": "tulu3:verify_keywords", "kwargs": {"keyword_list": ["sea"]}},
            {"id": "count:count_unique", "kwargs": {}},
            {"id": "paragraphs:paragraphs", "kwargs": {"N": None}},
        ]
    )
    problem = Problem(user("?"), Check("ifeval", target))
    verdict = IFEval(partial=True)(problem, "The moon rose.")
    assert verdict.score == 0.5
    assert verdict.why == (
        "2 of 4 followed; tulu3:verify_keywords: missing keywords: sea; paragraphs:paragraphs: paragraph count: 1, wanted "
        "exactly 2; punctuation:no_comma: commas: 0, wanted exactly 0; count:count_unique: words, all different: 3"
    )
    assert IFEval()(problem, "The moon rose.").score == 0.0


@pytest.mark.parametrize("case", {case.id: case for case in CASES}.values(), ids=lambda case: case.id)
def test_hostile_replies_take_milliseconds(case: Case) -> None:
    """Every published expression that goes quadratic is written out. langdetect reads 10,000 characters at most."""
    words = [w for w in " ".join(r for r, _, _ in case.replies).split() if w]
    long = [
        *HOSTILE,
        ". " * 25_000, "!" * 50_000, "*" * 50_000, "<<a " * 12_500, "[a " * 16_000, "A.B." * 12_500, "a-" * 25_000, "'" * 50_000,
        "\u00a0" * 50_000, "ſ" * 50_000, *((word + " ") * (50_000 // (len(word) + 1)) for word in words[:3]),
        *(word * (50_000 // len(word)) for word in words[:3]),
    ]  # fmt: skip
    of = constraint(case.id, case.kwargs)
    for rule in RULES:
        for reply in long:
            start = time.process_time()
            followed(of, reply, rule)
            assert time.process_time() - start < 20, (rule, reply[:30])
