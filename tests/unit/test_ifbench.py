"""The 58 IFBench constraints: by hand, a reply that follows each and one that does not, and where the two rules differ."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.core.types import Check, Problem, user
from burnish.errors import MissingData, MissingExtra, VerifierError
from burnish.eval.score import check_gold
from burnish.eval.tasks import ifbench
from burnish.testing.verifier_laws import HOSTILE
from burnish.verify.ifbench import CONSTRAINTS, speech, word_rules
from burnish.verify.ifbench.lists import PERSON_NAMES, PRONOUNS, STOP_WORDS, emoji, is_emoji
from burnish.verify.ifbench.words_of import bare_words
from burnish.verify.ifeval import IFEval, check_target, constraints_of
from burnish.verify.ifeval.constraints import Finding, PublishedRule
from tests.ifbench_cases import ALPHABET, CASES, CITY, DIFFERENCES, QUOTED

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "verifiers" / "ifbench.md"
KINDS = {kind.ID: kind for kind in CONSTRAINTS}
ARGUMENTS = {name: kwargs for name, kwargs, _, _ in CASES}
NEEDS = {"words:odd_even_syllables": "syllapy", "words:start_verb": "lemminflect"}


def needs(name: str) -> None:
    """Skip where the constraint's library is missing; lemminflect is looked for, since importing it imports spaCy."""
    if name in NEEDS and importlib.util.find_spec(NEEDS[name]) is None:
        pytest.skip(f"no {NEEDS[name]}: pip install 'burnish[ifbench]'")


def has_tagger() -> bool:
    try:
        speech.tables()
    except MissingData:
        return False
    return True


def find(name: str, kwargs: dict[str, Any], reply: str, rule: str = "fixed") -> Finding:
    needs(name)
    if name == "words:start_verb" and rule == "published" and not has_tagger():
        pytest.skip("no tagger tables in an NLTK data folder")
    constraint = KINDS[name](**kwargs)
    published = rule == "published" and isinstance(constraint, PublishedRule)
    return constraint.check_published(reply) if published else constraint.check(reply)


def grade(name: str, kwargs: dict[str, Any], reply: str, **fields: Any) -> float | None:
    target = json.dumps([{"id": name, "kwargs": kwargs}])
    return IFEval(**fields)(Problem(user("?"), Check("ifeval", target)), reply).score


def test_there_are_58_constraints_in_seven_families() -> None:
    families = [name.partition(":")[0] for name in KINDS]
    assert len(KINDS) == len(CONSTRAINTS) == 58
    assert {family: families.count(family) for family in families} == {
        "count": 9, "custom": 11, "format": 14, "ratio": 5, "repeat": 3, "sentence": 3, "words": 13,
    }  # fmt: skip
    assert sorted(KINDS) == sorted(name for name, _, _, _ in CASES)


@pytest.mark.parametrize("rule", ["fixed", "published"])
@pytest.mark.parametrize(("name", "kwargs", "good", "bad"), CASES, ids=[case[0] for case in CASES])
def test_by_hand(name: str, kwargs: dict[str, Any], good: str, bad: str, rule: str) -> None:
    if name == "custom:european_capitals_sort" and rule == "published":
        good = good.replace("Kyiv, ", "")  # the published list leaves it out
    accepted, rejected = find(name, kwargs, good, rule), find(name, kwargs, bad, rule)
    assert accepted.followed, accepted
    assert not rejected.followed, rejected
    assert accepted.why != rejected.why
    assert len(rejected.why) < 300


@pytest.mark.parametrize(("name", "kwargs", "reply", "fixed", "published"), DIFFERENCES)
def test_where_the_rules_differ(name: str, kwargs: dict[str, Any], reply: str, fixed: bool, published: bool) -> None:
    assert find(name, kwargs, reply, "fixed").followed == fixed
    assert find(name, kwargs, reply, "published").followed == published


def test_every_constraint_with_two_rules_has_a_reply_that_shows_the_difference() -> None:
    shown = {name for name, _, _, fixed, published in DIFFERENCES if fixed != published}
    both = {name for name, kind in KINDS.items() if hasattr(kind, "check_published")}
    assert both - shown == set()
    assert shown - both == set()


def test_the_page_lists_every_constraint_with_its_arguments_and_where_the_rules_differ() -> None:
    lines = [line.split("|") for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    rows = {cells[1].strip(" `"): (cells[2], cells[4]) for cells in lines if len(cells) == 6}
    assert sorted(rows) == sorted(KINDS)
    for name, (arguments, published) in rows.items():
        shown = re.findall(r"`(\w+)`", arguments)
        wanted = [field.name for field in dataclasses.fields(KINDS[name])]  # type: ignore[arg-type]
        assert shown == ([wanted[0], wanted[-1]] if "…" in arguments else wanted), name
        assert bool(published.strip()) == hasattr(KINDS[name], "check_published"), name


@pytest.mark.parametrize("rule", ["fixed", "published"])
def test_where_the_published_code_stops_the_reply_is_not_followed(rule: str) -> None:
    """An empty field without quotes is indexed there; a lone carriage return is no CSV; a blank text has no sentence 1."""
    assert not find("custom:csv_quotes", {}, QUOTED.replace('"95"', ""), rule).followed
    assert not find("custom:csv_city", {}, CITY.replace("Lyon", "Ly\ron"), rule).followed
    assert not find("sentence:increment", {"small_n": 1}, " ", rule).followed


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("“Don’t” — stop!", ["don't", "stop"]),
        ("(a) well-known, 3.5 …", ["a", "well-known", "3.5"]),
        ("_snake_ __x__", ["snake", "x"]),
        ("... ?!", []),
    ],
)
def test_bare_words(text: str, words: list[str]) -> None:
    assert bare_words(text) == words


def test_lists() -> None:
    """198 stop words, of which 45 have an apostrophe; 63 pronouns; 50 names; 1,400 emoji of one code point."""
    assert len(STOP_WORDS) == 198 - 45
    assert len(PRONOUNS) == 63
    assert len(set(PERSON_NAMES)) == 50
    assert len(emoji()) == 1400
    assert is_emoji("😀")
    assert is_emoji("\U0001fac8")
    assert not is_emoji("a")
    assert not is_emoji("")


@pytest.mark.parametrize(
    ("reply", "verb"),
    [
        ("Run to the hills.", True), ("Water the plants.", True), ("Water is wet.", False), ("Dogs bark.", False),
        ("1. **Preheat** the oven.", True), ("Well, I think so.", False), ("Let's go.", True), ("Don't go.", True),
        ("Is it true?", True), ("Can you help?", True), ("Glass of milk.", False), ("Running is fun.", True), ("Sure!", False),
        ("", False), ("!!", False),
    ],
)  # fmt: skip
def test_a_verb_first(reply: str, verb: bool) -> None:
    needs("words:start_verb")
    assert find("words:start_verb", {}, reply).followed == verb


def test_a_missing_library_leaves_the_reply_ungraded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def missing() -> None:
        raise MissingExtra("Counting syllables", "syllapy", "ifbench")

    monkeypatch.setattr(word_rules, "_syllable_counter", missing)
    assert grade("words:odd_even_syllables", {}, "The table") is None
    speech.tables.cache_clear()
    monkeypatch.setattr(speech, "data_folders", lambda: [tmp_path])
    assert grade("words:start_verb", {}, "Go there.", rule="published") is None
    monkeypatch.undo()
    speech.tables.cache_clear()


def test_the_tagger_reads_its_tables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Three features decide by hand: "go" before "to" weighs 2 for VB, 1 for NN; a word of one tag is looked up."""
    folder = tmp_path / "taggers" / speech.NAME
    folder.mkdir(parents=True)
    parts = {
        "weights": {"i word go": {"VB": 1.0, "NN": 1.0}, "i+1 word to": {"VB": 1.0}, "i word !HYPHEN": {"NN": 1.0}},
        "tagdict": {"The": "DT"},
        "classes": ["NN", "VB", "DT"],
    }
    for name, value in parts.items():
        (folder / f"{speech.NAME}.{name}.json").write_text(json.dumps(value))
    monkeypatch.setenv("NLTK_DATA", str(tmp_path))
    speech.tables.cache_clear()
    try:
        assert speech.tagged_as_verb(["Go", "to"])
        assert not speech.tagged_as_verb(["well-known"])
        assert not speech.tagged_as_verb(["The", "dog"])
        assert find("words:start_verb", {}, "Go to bed.", "published").followed
    finally:
        speech.tables.cache_clear()


@pytest.mark.parametrize(
    ("name", "kwargs", "message"),
    [
        ("count:number", {"N": 1}, "Did you mean 'count:numbers'"),
        ("count:numbers", {"n": 1}, "Did you mean 'N'|Known: N"),
        ("count:numbers", {}, "missing N"),
        ("count:numbers", {"N": 1.5}, "whole number"),
        ("count:numbers", {"N": "1"}, "whole number"),
        ("count:words_japanese", {"N": 0}, "every 0th word"),
        ("sentence:keyword", {"word": "a", "N": 0}, "counted from 1"),
        ("words:keywords_specific_position", {"keyword": "a", "n": 1, "m": 0}, "m=0"),
        ("count:word_count_range", {"min_words": 9, "max_words": 3}, "no reply could pass"),
        ("format:options", {"options": " "}, "expected text"),
    ],
)
def test_arguments_are_checked_before_anything_runs(name: str, kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(VerifierError, match=message):
        check_target(json.dumps([{"id": name, "kwargs": kwargs}]))


def test_published_rows_with_floats_and_nulls_are_read() -> None:
    target = json.dumps([{"id": "count:conjunctions", "kwargs": {"small_n": 5.0, "N": None, "keywords": None}}])
    assert constraints_of(target) == (KINDS["count:conjunctions"](small_n=5),)


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(
    st.text() | st.lists(st.sampled_from([*"aAzZ .,;:!?'\"()[]{}<>*-\n\t1😀日“”’—", "Question 1", "<i>"])).map("".join)
)
def test_total_on_any_text(text: str) -> None:
    for name, kind in KINDS.items():
        constraint = kind(**ARGUMENTS[name])
        if name in NEEDS:
            continue
        for finding in (constraint.check(text), getattr(constraint, "check_published", constraint.check)(text)):
            assert isinstance(finding.followed, bool)
            assert finding.why


@pytest.mark.parametrize("name", sorted(KINDS))
def test_hostile_replies_are_answered_at_once(name: str) -> None:
    """Linear time: 50,000 characters in under a second even on a busy machine."""
    texts = [
        *HOSTILE,
        "\ud800a" * 10_000,
        "Question" + "\n" * 50_000,
        '"' * 50_000,
        "a-" * 25_000,
        "ID," + '"' * 50_000,
    ]
    needs(name)
    constraint = KINDS[name](**ARGUMENTS[name])
    checks = [constraint.check]
    if isinstance(constraint, PublishedRule) and (name != "words:start_verb" or has_tagger()):
        checks.append(constraint.check_published)
    for text in texts:
        for check in checks:
            start = time.process_time()
            check(text)
            assert time.process_time() - start < 20, text[:20]


def test_modes_and_rules_through_the_verifier() -> None:
    assert grade("format:no_whitespace", {}, "Sure:\nnospace") == 0.0
    assert grade("format:no_whitespace", {}, "Sure:\nnospace", mode="loose") == 1.0
    assert grade("ratio:sentence_type", {}, "Hello", rule="published") == 1.0
    assert grade("ratio:sentence_type", {}, "Hello", rule="fixed") == 0.0
    assert grade("custom:sentence_alphabet", {}, ALPHABET, rule="published") == 1.0


def test_the_sample_can_be_graded(data_dir: Path) -> None:
    """By hand: three replies to rows that ask for 5, 2 and 3 different conjunctions."""
    task = ifbench.task("sample")
    problems = task.problems(data_dir)
    check_gold(task, problems)
    assert len(problems) == 10
    assert {problem.category for problem in problems} == {"count"}
    replies = {5: ("and but for nor or", 1.0), 6: ("And, and", 1.0), 7: ("so yet", 0.0)}
    for place, (reply, score) in replies.items():
        assert task.verifier(problems[place], reply).score == score
    assert ifbench.task("sample", "fixed").verifier(problems[6], "And, and").score == 0.0
