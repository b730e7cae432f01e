"""The IFEval instructions: what is counted, how targets are read, what verdicts say."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from burnish.core.types import Check, Problem, user
from burnish.errors import VerifierError
from burnish.verify import ifbench, ifrlvr
from burnish.verify.ifeval import IFEval, check_target, constraints_of, target, tulu3
from burnish.verify.ifeval import text as count
from burnish.verify.ifeval.constraints import CONSTRAINTS, Finding
from burnish.verify.ifeval.language import language_of
from burnish.verify.ifeval.rule_sentences import rule_sentences
from burnish.verify.ifeval.sentences import sentences
from burnish.verify.ifeval.target import all_constraints
from burnish.verify.ifeval.treebank import words


def grade(kind: str, kwargs: dict[str, Any], reply: str, mode: Any = "strict") -> bool:
    target = json.dumps([{"id": kind, "kwargs": kwargs}])
    score = IFEval(mode)(Problem(user("?"), Check("ifeval", target)), reply).score
    assert score is not None
    return score == 1.0


def test_there_are_25_instructions_with_names_of_their_own() -> None:
    assert len({kind.ID for kind in CONSTRAINTS}) == 25


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        # The word before a mark decides: abbreviation, initial, number; NLTK 3.9 gives the same lists.
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ("I met Dr. Smith there. He left.", ["I met Dr. Smith there.", "He left."]),
        ("J. Smith came. See fig. 3 here.", ["J. Smith came.", "See fig.", "3 here."]),
        ('"Yes." (No.) So.', ['"Yes."', "(No.)", "So."]),
        ("He said... no. Wait... Then", ["He said... no.", "Wait... Then"]),
        ("It costs 3.5 dollars. Fine.", ["It costs 3.5 dollars.", "Fine."]),
        ("No end", ["No end"]),
        ("", []),
    ],
)
def test_sentences(reply: str, found: list[str]) -> None:
    assert sentences(reply) == found


@pytest.mark.parametrize(
    ("reply", "capitals"),
    [
        ("THE CAT sat", 2), ("A-B", 1), ("IT'S", 2), ("CAN'T", 2), ("CANNOT", 2), ("I am", 1), ("U.S. and 3D", 2), ("a1 $5A", 1),
        ("(ONE)\"TWO\"", 2), ("THIS,THAT", 2), ("1,000", 0), ("YES. It's NOT.", 2), ("IT'S. Good", 2), ("", 0), ("Ⅷ ÉTÉ", 2),
    ],
)  # fmt: skip
def test_words_in_capitals(reply: str, capitals: int) -> None:
    assert count.count_capital_words(reply) == capitals


@pytest.mark.parametrize(
    ("reply", "bullets"),
    [
        ("* a\n- b\n  * c", 3), ("** a", 0), ("*\n* a", 1), ("*", 0), ("-", 1), ("*a\ntext - b", 1), ("\n\n * a\n\n", 1), ("*\n- a", 2),
        ("* \n", 1), ("***", 0),
    ],
)  # fmt: skip
def test_bullets(reply: str, bullets: int) -> None:
    # By the official patterns ^\s*\*[^\*].*$ and ^\s*-.*$: a lone star swallows the next line for the first, not the second.
    assert count.count_bullets(reply) == bullets


@pytest.mark.parametrize(
    ("reply", "highlights"),
    [("*a* and *b*", 2), ("**a**", 1), ("* *", 0), ("**", 0), ("*a\nb*", 0), ("*a* **b**", 2), ("**a** **b**", 2)],
)
def test_highlights(reply: str, highlights: int) -> None:
    # Pairs of stars are taken from the left, so in "**a**" the pairs are blank, and the pattern for bold adds the one.
    assert count.count_highlights(reply) == highlights


@pytest.mark.parametrize(("reply", "n"), [("[a][b]", 2), ("[a\nb]", 0), ("[[a]]", 1), ("]a[", 0), ("[]", 1)])
def test_placeholders(reply: str, n: int) -> None:
    assert count.count_placeholders(reply) == n


@pytest.mark.parametrize(
    ("reply", "title"),
    [("<<a>>", True), ("<<>>", False), ("<< >>", False), ("<<a\n>>", False), ("<<<>>>", False), ("x <<a> >>", True)],
)
def test_title(reply: str, title: bool) -> None:
    assert count.has_title(reply) is title


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        ('He said: "No, it\'s mine."', ["He", "said", ":", "``", "No", ",", "it", "'s", "mine", ".", "''"]),
        ("I cannot; they'll go...", ["I", "can", "not", ";", "they", "'ll", "go", "..."]),
        (
            "Dr. A. Smith paid $3.50, 1,000 times.",
            ["Dr.", "A.", "Smith", "paid", "$", "3.50", ",", "1,000", "times", "."],
        ),
        ("(a)--[b]", ["(", "a", ")", "--", "[", "b", "]"]),
        ("", []),
    ],
)
def test_treebank_words(reply: str, found: list[str]) -> None:
    # NLTK 3.9's word_tokenize gives the same lists.
    assert words(reply) == found


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        ("Dr. Smith paid 3.50. He left!", ["Dr. Smith paid 3.50.", "He left!"]),
        ('He said "no." Then\nhe left', ['He said "no".', "Then he left"]),
        ("See x.com or J. Smith. What?!", ["See x.com or J. Smith.", "What?", "!"]),
        ("Wait... yes", ["Wait...", "yes"]),
        ("The U.S. But we came. Ph.D. here", ["The U.S.", "But we came.", "Ph.D. here"]),
        (" ", []),
    ],
)
def test_sentences_by_rules(reply: str, found: list[str]) -> None:
    # The splitter of the official code gives the same lists, with the full stop moved behind the quotation mark.
    assert rule_sentences(reply) == found


@pytest.mark.parametrize(
    ("word", "reply", "anywhere", "whole", "bounded"),
    [
        ("sea", "The SEA, the seaside, a sea", 3, 2, True), ("sea", "overseas", 1, 0, False), ("c++", "C++ and c++x", 2, 1, True),
        ("is", "İs is ıs", 3, 3, True), ("s", "ſ", 1, 1, True), ("aa", "aaa", 1, 0, False), ("über", "ÜBER über.", 2, 2, True),
        ("c#", "c#", 1, 1, False), ("well-known", "a Well-Known sea", 1, 1, True), ("x", "", 0, 0, False),
    ],
)  # fmt: skip
def test_words_are_found_in_any_case(word: str, reply: str, anywhere: int, whole: int, bounded: bool) -> None:
    """As the expressions find them: "C#" ends in a mark, behind which a word bound wants a letter; ſ is an s."""
    assert count.occurrences(word, reply) == anywhere == len(re.findall(re.escape(word), reply, re.IGNORECASE))
    alone = rf"(?<!\w){re.escape(word)}(?!\w)"
    assert count.whole_occurrences(word, reply) == whole == len(re.findall(alone, reply, re.IGNORECASE))
    found = re.search(rf"\b{re.escape(word)}\b", reply, re.IGNORECASE)
    assert count.stands_between_bounds(word, reply) == bounded == (found is not None)


TEXTS = st.text(st.sampled_from("aAsSkKiIİıſ\u212aé+_-. ’9"), max_size=40)


@given(st.text(st.sampled_from("aAsSkKiIİé+_-9"), min_size=1, max_size=3), TEXTS)
def test_counts_equal_those_of_the_expressions(word: str, reply: str) -> None:
    assert count.occurrences(word, reply) == len(re.findall(re.escape(word), reply, re.IGNORECASE))
    alone = rf"(?<!\w){re.escape(word)}(?!\w)"
    assert count.whole_occurrences(word, reply) == len(re.findall(alone, reply, re.IGNORECASE))
    found = re.search(rf"\b{re.escape(word)}\b", reply, re.IGNORECASE)
    assert count.stands_between_bounds(word, reply) == (found is not None)
    assert count.count_words(reply) == len(re.findall(r"\w+", reply))
    assert count.count_letters(reply) == sum(map(str.isalpha, reply))


def test_words_are_runs_of_letters_digits_and_underscores() -> None:
    assert count.count_words("don't stop_me, 3.5 times") == 6


def test_loose_variants_are_eight_without_repeats_and_blanks() -> None:
    labels = [label for label, _ in count.loose_variants("*one*\ntwo\n*three*")]
    assert labels == [
        "", "without asterisks", "without its first line", "without its first line without asterisks", "without its last line",
        "without its last line without asterisks", "without its first and last line",
    ]  # fmt: skip
    assert count.loose_variants("one") == [("", "one")]
    assert count.loose_variants(" \n") == []


@pytest.mark.parametrize(
    ("kind", "kwargs", "reply", "strict", "loose"),
    [
        ("punctuation:no_comma", {}, "Sure, here:\nThe moon rose.", False, True),
        ("startend:end_checker", {"end_phrase": "The end."}, "It rose. The end.\nBye", False, True),
        ("length_constraints:number_words", {"num_words": 2, "relation": "less than"}, "a\nb\nc", False, True),
        ("startend:quotation", {}, '*"It rose."*', False, True),
        ("punctuation:no_comma", {}, "a, b\nc, d\ne, f", False, False),
    ],
)
def test_loose_forgives_first_and_last_lines_and_asterisks(
    kind: str, kwargs: dict[str, Any], reply: str, strict: bool, loose: bool
) -> None:
    assert grade(kind, kwargs, reply) is strict
    assert grade(kind, kwargs, reply, "loose") is loose


@pytest.mark.parametrize(
    ("kind", "kwargs", "reply", "followed"),
    [
        ("keywords:existence", {"keywords": ["moon"]}, "HONEYMOON", True),
        ("keywords:forbidden_words", {"forbidden_words": ["moon"]}, "HONEYMOON", True),
        ("keywords:forbidden_words", {"forbidden_words": ["moon"]}, "the Moon!", False),
        ("keywords:existence", {"keywords": ["C++ (x"]}, "c++ (x", True),
        ("keywords:existence", {"keywords": ["a.c"]}, "abc", False),
        ("keywords:frequency", {"keyword": "aa", "frequency": 2, "relation": "at least"}, "aaa", False),
        ("keywords:letter_frequency", {"letter": "A", "let_frequency": 3, "let_relation": "less than"}, "aA b", True),
        ("keywords:letter_frequency", {"letter": "#", "let_frequency": 2, "let_relation": "at least"}, "# #", True),
        ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "***\na\n***\nb\n***", True),
        ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "a\n***\n \n***\nb", False),
        ("length_constraints:nth_paragraph_first_word", {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "Then"}, "a\n\n'\"then, b", True),
        ("length_constraints:nth_paragraph_first_word", {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "b"}, "a\n\n\n\nb", False),
        ("length_constraints:nth_paragraph_first_word", {"num_paragraphs": 1, "nth_paragraph": 1, "first_word": "well"}, "well-known", False),
        ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, "p. p. s more", True),
        ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, "P.S. more", False),
        ("detectable_content:postscript", {"postscript_marker": "Note:"}, "NOTE: x", True),
        ("detectable_format:multiple_sections", {"section_spliter": "Day", "num_sections": 2}, "Day 1 x Day2", True),
        ("detectable_format:json_format", {}, "[" * 100_000, False),
        ("detectable_format:json_format", {}, "3", True),
        ("detectable_format:json_format", {}, "9" * 5_000, False),
        ("combination:two_responses", {}, "a******b******", True),
        ("combination:two_responses", {}, "a******  ******b", False),
        ("combination:two_responses", {}, "a", False),
        ("startend:end_checker", {"end_phrase": "Bye."}, ' "so bye."" ', True),
        ("startend:quotation", {}, '"', False),
        ("change_case:english_capital", {}, "DER MOND GING ÜBER DEM MEER AUF", False),
        ("change_case:english_lowercase", {}, "...", False),
        ("language:response_language", {"language": "fr"}, "123 !!!", True),
        ("detectable_format:number_bullet_lists", {"num_bullets": 0}, "none", True),
    ],
)  # fmt: skip
def test_corners_of_the_official_rules(kind: str, kwargs: dict[str, Any], reply: str, followed: bool) -> None:
    assert grade(kind, kwargs, reply) is followed


def test_language_is_the_same_every_time_and_leaves_langdetect_alone() -> None:
    import langdetect

    before = langdetect.DetectorFactory.seed
    language_of.cache_clear()
    assert language_of("Der Mond ging über dem Meer auf.") == "de"
    assert language_of("") is None
    assert langdetect.DetectorFactory.seed == before


TWO = json.dumps(
    [
        {"id": "length_constraints:number_words", "kwargs": {"num_words": 300, "relation": "at least"}},
        {"id": "punctuation:no_comma", "kwargs": {}},
    ]
)


def test_language_is_the_same_in_every_thread_and_process() -> None:
    """langdetect draws at random; a short text in two languages is where it would show."""
    texts = [
        f"{a} {b}" for a in ("le chat noir", "the black cat", "die Katze") for b in ("und der Hund", "la casa", "on it")
    ]
    language_of.cache_clear()
    here = [language_of(text) for text in texts]
    language_of.cache_clear()
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(language_of, texts)) == here
    code = f"from burnish.verify.ifeval.language import language_of; print([language_of(t) for t in {texts!r}])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(here)


def test_ids_of_ifeval_need_no_other_table() -> None:
    code = """import json, sys
from burnish.verify.ifeval import check_target
check_target(json.dumps([{"id": "punctuation:no_comma", "kwargs": {}}]))
print([name for name in sys.modules if "ifrlvr" in name or "ifbench" in name or "tulu3" in name])"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_id_names_one_constraint() -> None:
    tables = (CONSTRAINTS, tulu3.CONSTRAINTS, ifrlvr.CONSTRAINTS, ifbench.CONSTRAINTS)
    names = [kind.ID for table in tables for kind in table]
    assert len(names) == len(set(names)) == len(all_constraints()) == 25 + 25 + 29 + 58


@dataclass(frozen=True)
class Every:
    """A constraint with every kind of argument."""

    ID: ClassVar[str] = "test:every"
    share: float
    numbers: tuple[int, ...]
    how: Literal["up", "down"]
    name: str = "sea"
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.share > 1:
            raise VerifierError(f"share={self.share} is more than all.")

    def check(self, text: str) -> Finding:
        return Finding(True, "fine")


@pytest.mark.parametrize(
    ("kwargs", "found"),
    [
        ({"share": 1, "numbers": [1, 2.0], "how": "up"}, Every(1.0, (1, 2), "up")),
        (
            {"share": 0.5, "numbers": [1], "how": "down", "name": ["moon"], "limit": 3},
            Every(0.5, (1,), "down", "moon", 3),
        ),
        ({"share": "1", "numbers": [1], "how": "up"}, "share: expected a number, got '1'"),
        ({"share": float("nan"), "numbers": [1], "how": "up"}, "share: expected a number, got nan"),
        ({"share": 2, "numbers": [1], "how": "up"}, "share=2.0 is more than all"),
        ({"share": 1, "numbers": 1, "how": "up"}, "numbers: expected a list of numbers, got 1"),
        ({"share": 1, "numbers": [1.5], "how": "up"}, r"numbers\[0\]: expected a whole number from 0, got 1.5"),
        ({"share": 1, "numbers": [1], "how": ["up"]}, r"how: \['up'\] is not one of 'up', 'down'"),
        ({"share": 1, "numbers": [1], "how": "up", "name": ["a", "b"]}, "name: expected text"),
        ({"numbers": [1]}, "missing how, share"),
    ],
)
def test_arguments_of_every_kind(kwargs: dict[str, Any], found: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target, "_IFEVAL", {"test:every": Every})
    text = json.dumps([{"id": "test:every", "kwargs": kwargs}])
    if isinstance(found, Every):
        assert constraints_of(text) == (found,)
    else:
        with pytest.raises(VerifierError, match=found):
            constraints_of(text)


def test_a_verdict_says_what_was_seen_and_wanted_failures_first() -> None:
    problem = Problem(user("?"), Check("ifeval", TWO))
    verdict = IFEval()(problem, "word " * 212)
    assert verdict.score == 0.0
    assert verdict.why == (
        "1 of 2 followed; length_constraints:number_words: word count: 212, wanted at least 300; "
        "punctuation:no_comma: commas: 0, wanted exactly 0"
    )
    assert IFEval(partial=True)(problem, "word " * 212).score == 0.5
    assert IFEval(partial=True)(problem, "word " * 300).score == 1.0
    assert IFEval()(problem, " \n").why == "the reply is blank"
    assert "(without its first line)" in IFEval("loose")(problem, "Sure, so:\n" + "word " * 300).why


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("", "is not JSON"),
        ("[" * 50_000, "is not JSON"),
        ("{}", "is no list of instructions"),
        ("[]", "is no list of instructions"),
        ('["x"]', r"target\[0\]: expected"),
        ('[{"id": "punctuation:no_coma"}]', r"no instruction is called 'punctuation:no_coma'. Did you mean 'punctuation:no_comma'\?"),
        ('[{"id": "punctuation:no_comma", "kwargs": [1]}]', "kwargs must be an object"),
        ('[{"id": "punctuation:no_comma", "kwargs": {"n": 1}}]', "no argument is called 'n'"),
        ('[{"id": "length_constraints:number_words", "kwargs": {"num_words": 3}}]', "missing relation"),
        ('[{"id": "length_constraints:number_words", "kwargs": {"num_words": "3", "relation": "at least"}}]', "whole number"),
        ('[{"id": "length_constraints:number_words", "kwargs": {"num_words": true, "relation": "at least"}}]', "whole number"),
        ('[{"id": "length_constraints:number_words", "kwargs": {"num_words": -1, "relation": "at least"}}]', "whole number"),
        ('[{"id": "length_constraints:number_words", "kwargs": {"num_words": 3, "relation": "at most"}}]', "is not one of"),
        ('[{"id": "keywords:existence", "kwargs": {"keywords": []}}]', "list of words"),
        ('[{"id": "keywords:existence", "kwargs": {"keywords": "moon"}}]', "list of words"),
        ('[{"id": "startend:end_checker", "kwargs": {"end_phrase": " "}}]', "expected text"),
        ('[{"id": "language:response_language", "kwargs": {"language": "english"}}]', "langdetect never answers this"),
        ('[{"id": "keywords:letter_frequency", "kwargs": {"letter": "ab", "let_frequency": 1, "let_relation": "at least"}}]', "one character"),
        (
            '[{"id": "length_constraints:nth_paragraph_first_word", "kwargs": {"num_paragraphs": 2, "nth_paragraph": 3, "first_word": "a"}}]',
            "outside the 2 paragraphs",
        ),
    ],
)  # fmt: skip
def test_bad_targets_are_errors_at_plan_time_and_ungraded_later(target: str, says: str) -> None:
    with pytest.raises(VerifierError, match=says):
        check_target(target)
    verdict = IFEval()(Problem(user("?"), Check("ifeval", target)), "A reply.")
    assert verdict.score is None
    assert verdict.why


def test_tables_with_a_column_for_every_argument_are_read() -> None:
    (found,) = constraints_of(
        '[{"id": "length_constraints:number_words", "kwargs": {"num_words": 3.0, "relation": "at least", "keywords": null}}]'
    )
    assert repr(found) == "NumberWords(num_words=3, relation='at least')"


@pytest.mark.parametrize("reply", ["\n" * 300_000, "[" * 300_000, "<<" * 150_000, "*" * 300_000, "- \n" * 100_000, ". " * 100_000, "A'S." * 50_000, "!?" * 100_000, "\t" * 300_000 + "p"])  # fmt: skip
def test_time_is_linear_in_hostile_replies(reply: str) -> None:
    # langdetect reads the first 10,000 characters only, so the two case checks and the language check are bounded.
    kinds = [
        {"id": "length_constraints:number_sentences", "kwargs": {"num_sentences": 1, "relation": "at least"}},
        {
            "id": "change_case:capital_word_frequency",
            "kwargs": {"capital_frequency": 1, "capital_relation": "at least"},
        },
        {"id": "detectable_format:number_bullet_lists", "kwargs": {"num_bullets": 3}},
        {"id": "detectable_format:title", "kwargs": {}},
        {"id": "detectable_content:number_placeholders", "kwargs": {"num_placeholders": 1}},
        {"id": "detectable_content:postscript", "kwargs": {"postscript_marker": "P.S."}},
        {"id": "detectable_format:number_highlighted_sections", "kwargs": {"num_highlights": 1}},
        {"id": "language:response_language", "kwargs": {"language": "en"}},
    ]
    start = time.perf_counter()
    IFEval("loose")(Problem(user("?"), Check("ifeval", json.dumps(kinds))), "x" + reply)
    assert time.perf_counter() - start < 20


def test_every_real_row_can_be_graded(data_dir: Path) -> None:
    lines = (data_dir / "ifeval" / "input_data.jsonl").read_text().splitlines()
    seen: set[str] = set()
    for line in lines:
        row = json.loads(line)
        instructions = [
            {"id": name, "kwargs": kwargs}
            for name, kwargs in zip(row["instruction_id_list"], row["kwargs"], strict=True)
        ]
        found = constraints_of(json.dumps(instructions))
        seen |= {constraint.ID for constraint in found}
        verdict = IFEval(partial=True)(
            Problem(user(row["prompt"]), Check("ifeval", json.dumps(instructions))), row["prompt"]
        )
        assert verdict.score is not None
    assert len(lines) == 541
    assert seen == {kind.ID for kind in CONSTRAINTS}
