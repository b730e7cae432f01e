"""Short texts: aliases, exact match and its published kin, DROP by hand, BIG-Bench Hard by form, patterns, JSON."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.core.types import Check, Problem, Verdict, user
from burnish.errors import VerifierError
from burnish.verify.aliases import Aliases
from burnish.verify.bbh import BBH, FORMS
from burnish.verify.bbh.published import extract
from burnish.verify.drop import DROP, drop_score
from burnish.verify.json_schema import JSONSchema
from burnish.verify.pattern import Pattern
from burnish.verify.text_forms import lowered, normal, squad
from burnish.verify.text_match import TextMatch

PARIS = '["Paris"]'
US = '["United States of America", "US", "U.S."]'
NAMES = '[["Tony Romo", "Shaun Hill"]]'


def verdict(verifier: Any, target: str, reply: str) -> Verdict:
    found = verifier(Problem(user("?"), Check("under test", target)), reply)
    assert isinstance(found, Verdict)
    return found


def score(verifier: Any, target: str, reply: str) -> float | None:
    return verdict(verifier, target, reply).score


def test_forms_by_hand() -> None:
    assert squad("The  Cat, a dog!") == "cat dog"
    assert lowered("The Cat, a") == "the cat a"
    assert normal("The “Cat”!") == "cat"
    assert normal("ＡＢＣ") == "abc"
    assert normal("STRASSE") == normal("straße")
    assert normal("1,080") == "1080"
    assert normal("-5") == "-5"
    assert normal("3.5 %") == "3.5 %"
    assert normal("ten-year") == "ten year"
    assert normal("+") == "+"


@pytest.mark.parametrize(
    ("target", "reply", "words", "published"),
    [
        (PARIS, "Paris", 1, 1), (PARIS, "paris", 1, 1), (PARIS, "PARIS", 1, 0), (PARIS, "It is Paris, France.", 1, 1),
        (PARIS, "Parisian", 0, 1), (PARIS, "Paris or London", 0, 1), (PARIS, "London\nParis\nRome", 0, 1),
        (PARIS, "It is not Paris.", 0, 1), (PARIS, "London; Paris", 0, 1), (PARIS, "London, Rome, Paris, Berlin", 0, 1),
        (PARIS, "A: Paris\n\nQ: more", 1, 1), (PARIS, "The answer is **Paris**.", 1, 1), (PARIS, "", 0, 0),
        (PARIS, "London", 0, 0), (PARIS, "Paris\nIt is the capital of France, which is a country.", 1, 1),
        (US, "Let us know", 0, 1), (US, "the US", 1, 1), (US, "the u.s.", 1, 1), (US, "BUS", 0, 1),
        ('["é"]', "E", 0, 0), ('["Élysée"]', "élysée", 1, 1), ('["model"]', "As a language model I cannot answer.", 0, 1),
        ('["rock and roll"]', "Rock and Roll", 1, 0), ('["a, b, c, d"]', "a, b, c, d", 1, 1),
    ],
)  # fmt: skip
def test_aliases_by_hand(target: str, reply: str, words: int, published: int) -> None:
    """capitalize() lowers the rest: "rock and roll" is found as itself and as "Rock and roll", not as "Rock and Roll"."""
    assert score(Aliases(), target, reply) == words
    assert score(Aliases("popqa"), target, reply) == published


def test_aliases_say_what_they_found() -> None:
    assert verdict(Aliases(), US, "the US").why == "gives 'US'"
    assert (
        verdict(Aliases(), PARIS, "Paris or Rome").why
        == "several answers offered ('Paris' beside 'Rome'), wanted 'Paris'"
    )
    assert (
        verdict(Aliases(), US, "Canada").why
        == "no accepted name in 'Canada', wanted 'United States of America' or 2 more"
    )


@pytest.mark.parametrize("target", ["", "Paris", "[]", '[""]', '["Paris", 1]', '{"a": 1}', "[" * 5_000])
def test_targets_of_aliases_are_lists_of_texts(target: str) -> None:
    with pytest.raises(VerifierError, match="no list of accepted answers"):
        Aliases().check_target(target)
    assert score(Aliases(), target, "Paris") is None


@pytest.mark.parametrize(
    ("rule", "target", "reply", "wanted"),
    [
        ("stated", "blue", "Blue!", 1), ("stated", "blue", "The answer is blue.", 1), ("stated", "blue", "<answer>the blue</answer>", 1),
        ("stated", "blue", "blue or red", 0), ("stated", "blue", "The answer is blue. The answer is red.", 0),
        ("stated", "blue", "<think>red</think>blue", 1), ("stated", "a b", "a  B", 1), ("stated", '["x", "y"]', "y", 1),
        ("stated", "The answer is 42.", "The answer is 42.", 1), ("stated", "blue", "The answer is blue. It is a colour.", 1),
        ("exact", "blue", " blue\n", 1), ("exact", "blue", "Blue", 0), ("exact", "[1, 2]", "[1, 2]", 1),
        ("olmes", "A-B", "ab", 1), ("olmes", "a b", "a  b", 0),
        ("flan", "yes", "No. The answer is: Yes.", 1), ("flan", "yes", "The answer is: no", 0), ("flan", "yes", "yes", 1),
        ("string_match", "blue", "<answer>The Blue</answer>", 1), ("string_match", "blue", "blue", 0),
        ("string_match", "blue", "<answer>red</answer><answer>blue</answer> x", 1),
        ("puzzle", "3 2 1", "<think>1</think><answer>3 2 1</answer>", 1), ("puzzle", "3 2 1", "It is 3 2 1", 0),
    ],
)  # fmt: skip
def test_text_match_by_hand(rule: Any, target: str, reply: str, wanted: int) -> None:
    assert score(TextMatch(rule), target, reply) == wanted


def test_a_blank_target_is_none() -> None:
    with pytest.raises(VerifierError, match="a blank reply would be right"):
        TextMatch().check_target(" ")


def test_drop_f1_by_hand() -> None:
    """ "the 5 red cars" is {5.0, red, cars}. Against "5 cars": precision 2/2, recall 2/3, F1 = 2·1·(2/3)/(5/3) = 0.8."""
    assert drop_score(["5 cars"], ["the 5 red cars"]) == (0.0, pytest.approx(0.8))
    assert drop_score(["six red cars"], ["5 red cars"]) == (0.0, 0.0)  # the gold's number is missing
    assert drop_score(["5.0"], ["5"]) == (1.0, 1.0)
    assert drop_score(["ten-year-old"], ["ten year old"]) == (1.0, 1.0)
    assert drop_score([""], ["x"]) == (0.0, 0.0)
    assert drop_score(["the"], ["a"]) == (1.0, 1.0)  # both bags are empty


def test_drop_alignment_by_hand() -> None:
    """Golds a b, c d; replies c d, a: aligned crosswise 1 + 2/3, over two spans. A third reply makes it three."""
    assert drop_score(["c d", "a"], ["a b", "c d"]).f1 == 0.5  # "a" is an article: its bag is empty, and gets 0
    assert drop_score(["x y", "z"], ["z w", "x y"]).f1 == pytest.approx((1 + 2 / 3) / 2)
    assert drop_score(["x y", "z", "q"], ["z w", "x y"]).f1 == pytest.approx((1 + 2 / 3) / 3)
    assert drop_score(["x", "y"], ["y", "x"]) == (1.0, 1.0)
    assert drop_score(["x", "x"], ["x"]) == (0.0, 0.5)


@pytest.mark.parametrize(
    ("target", "reply", "spans", "official"),
    [
        (NAMES, "Tony Romo and Shaun Hill", 1.0, 0.29), (NAMES, "Shaun Hill, Tony Romo", 1.0, 0.33),
        (NAMES, "- Tony Romo\n- Shaun Hill", 1.0, 0.33), (NAMES, "Tony Romo", 0.5, 0.5),
        ('[["72"]]', "72", 1.0, 1.0), ('[["72"]]', "The answer is 72.", 1.0, 0.5), ('[["72"]]', "71 or 72", 0.0, 0.5),
        ('[["72"]]', " 72 yards", 2 / 3, 0.67), ('[["1"], ["2"]]', "2", 1.0, 1.0), ('[[" "], ["2"]]', " ", 0.0, 0.0),
        ('[["Wisconsin", "New Jersey and Ohio"]]', "Wisconsin, New Jersey and Ohio", 1.0, 0.44),
    ],
)  # fmt: skip
def test_drop_by_hand(target: str, reply: str, spans: float, official: float) -> None:
    """The official rule reads one span. "Tony Romo and Shaun Hill" has 5 tokens, 2 of "Tony Romo": F1 = 2·(2/5)·1/(7/5) = 4/7,
    over two golds 0.2857."""  # fmt: skip
    assert score(DROP(), target, reply) == pytest.approx(spans)
    assert score(DROP("official"), target, reply) == pytest.approx(official)


@pytest.mark.parametrize("target", ["", "72", '["72"]', "[]", "[[]]", '[[""]]', "[[1]]"])
def test_targets_of_drop_are_lists_of_spans(target: str) -> None:
    with pytest.raises(VerifierError, match="gold answer"):
        DROP().check_target(target)
    assert score(DROP(), target, "72") is None


def bbh(task: str, answer: str) -> str:
    return json.dumps({"task": task, "answer": answer})


@pytest.mark.parametrize(
    ("task", "answer", "reply", "stated", "tulu3"),
    [
        ("boolean_expressions", "True", "So the answer is True.", 1, 1), ("boolean_expressions", "True", "So the answer is true.", 1, 1),
        ("boolean_expressions", "True", "not False is True", 0, 1), ("navigate", "No", "I know the road. So the answer is yes.", 0, 0),
        ("navigate", "No", "I know the road.", 0, 1), ("navigate", "No", "So the answer is No.", 1, 1), ("navigate", "No", "No.", 1, 1),
        ("navigate", "No", "No answer.", 0, 1), ("web_of_lies", "Yes", "The answer is yes or no.", 0, 1),
        ("formal_fallacies", "valid", "The argument is invalid", 0, 0), ("formal_fallacies", "invalid", "So the answer is invalid.", 1, 1),
        ("dyck_languages", "] ) }", "So the answer is ] ) }.", 1, 1), ("dyck_languages", "] ) }", "So the answer is ])}.", 1, 0),
        ("multistep_arithmetic_two", "-5", "So the answer is 5.", 0, 1), ("multistep_arithmetic_two", "-5", "So the answer is -5.", 1, 1),
        ("object_counting", "12", "So the answer is 12.", 1, 1), ("object_counting", "12", "So the answer is 11 or 12.", 0, 0),
        ("word_sorting", "can't dog", "So the answer is can't dog.", 1, 0), ("word_sorting", "cat dog", "So the answer is cat, dog", 1, 0),
        ("word_sorting", "cat dog", "The answer is:\n1. cat\n2. dog", 1, 0), ("word_sorting", "cat dog", "So the answer is dog cat", 0, 0),
        ("snarks", "(A)", "So the answer is (A).", 1, 1), ("snarks", "(A)", "So the answer is A.", 1, 0), ("snarks", "(A)", "(B) or (A)", 0, 1),
        ("ruin_names", "rita, sue", "So the answer is rita, sue.", 1, 0),
    ],
)  # fmt: skip
def test_bbh_by_hand(task: str, answer: str, reply: str, stated: int, tulu3: int) -> None:
    assert score(BBH(), bbh(task, answer), reply) == stated
    assert score(BBH("tulu3"), bbh(task, answer), reply) == tulu3


def test_the_bbh_ladder_takes_the_last_match_of_the_first_pattern_that_fires() -> None:
    assert extract("snarks", "So the answer is (A). So the answer is (B). Answer: (C)") == ("(B)", "'So the answer is'")
    assert extract("snarks", "Answer is (A), answer: maybe (C)") == ("(A)", "'answer is'")
    assert extract("snarks", "answer: first (A), then (B)\nanswer: x (C) (D)") == ("(C)", "'answer:'")
    assert extract("snarks", "my answer would be (A)") == ("(A)", "'answer'")
    assert extract("snarks", "(A) (B)") == ("(B)", "last answer form")
    assert extract("snarks", "(a)") == ("(a)", "last answer form in any case")
    assert extract("snarks", "none") == ("", "nothing")
    assert extract("dyck_languages", "x: ) ") == (")", "last answer form")


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("x", "does not name a task"), (bbh("snark", "(A)"), "Did you mean 'snarks'"), (bbh("snarks", "A"), "not of the form 'letter'"),
        (bbh("object_counting", "12.5"), "not of the form 'integer'"), (bbh("navigate", "maybe"), "not of the form 'yes or no'"),
    ],
)  # fmt: skip
def test_targets_of_bbh_name_a_task_and_an_answer_of_its_form(target: str, words: str) -> None:
    with pytest.raises(VerifierError, match=words):
        BBH().check_target(target)
    assert score(BBH(), target, "(A)") is None


def test_there_are_27_tasks() -> None:
    assert len(FORMS) == 27


def test_a_pattern_that_backtracks_without_end_leaves_the_reply_ungraded() -> None:
    found = verdict(Pattern(), r"(?:(a|a)|(a|a)|b)*c", "a" * 60)
    assert found.score in (0.0, None)
    with pytest.raises(VerifierError, match="is no regular expression"):
        Pattern().check_target("(")
    with pytest.raises(VerifierError, match="is blank"):
        Pattern().check_target("")


def test_where_a_pattern_is_looked_for() -> None:
    reply = "Let us see.\nAnswer: B\n"
    assert [score(Pattern(where), "Answer: [A-D]", reply) for where in ("whole", "last line", "anywhere")] == [0, 1, 1]


@settings(max_examples=50, deadline=None, derandomize=True, database=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda v: st.lists(v) | st.dictionaries(st.text(), v),
        max_leaves=8,
    )
)
def test_what_json_writes_the_empty_schema_accepts(value: Any) -> None:
    for text in (json.dumps(value), f"Here:\n```json\n{json.dumps(value, indent=1)}\n```\nDone."):
        assert score(JSONSchema(), "{}", text) == 1.0


@pytest.mark.parametrize(
    ("schema", "reply", "wanted", "words"),
    [
        ('{"type": "integer"}', "3", 1, "accepts"), ('{"type": "integer"}', "3.5", 0, "is not of type 'integer'"),
        ('{"required": ["a"]}', '{"a": 1, "a": 2}', 0, "repeats a key"), ("{}", "Infinity", 0, "Infinity is not JSON"),
        ("{}", "```json\n1\n```\n```json\n2\n```", 0, "2 JSON blocks"), ("{}", "[" * 100_000, 0, "nested too deeply"),
        ('{"properties": {"a": {"items": {"type": "string"}}}}', '{"a": ["x", 1]}', 0, r"at \$.a\[1\]: 1 is not of type"),
        ('{"properties": {"a": {"$ref": "http://127.0.0.1:9/x"}}}', '{"a": 1}', None, "refers to what is not in it"),
        ('{"$ref": "#"}', "1", None, "refers to itself without end"), ('{"type": "int"}', "1", None, "is no schema"),
        ("[]", "1", None, "is no schema object"), ("{", "1", None, "is not JSON"), ("{}", "1" * 200_001, 0, "more than the 200,000"),
        ('{"pattern": "^x+$"}', '"xx"', 1, "accepts"), ('{"pattern": "^(x+)+$"}', '"' + "x" * 50 + 'y"', None, "took longer"),
    ],
)  # fmt: skip
def test_json_schema_by_hand(schema: str, reply: str, wanted: float | None, words: str) -> None:
    found = verdict(JSONSchema(), schema, reply)
    assert found.score == wanted
    assert re.search(words, found.why), found.why


def test_json_alone() -> None:
    assert score(JSONSchema(fenced=False), "{}", "```json\n1\n```") == 0.0
    assert score(JSONSchema(fenced=False), "{}", "1") == 1.0
