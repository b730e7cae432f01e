"""Multiple choice: what each published ladder reads, and what the corrected rule makes of the same replies."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.core.types import Check, Problem, user
from burnish.errors import VerifierError
from burnish.verify.choice import Choice
from burnish.verify.choice.ladders import LADDERS
from burnish.verify.statements import statements


def read(rule: Any, reply: str, choices: tuple[str, ...] = ()) -> str:
    """The letter, with "!" behind it where the reply has the form asked for."""
    reading = Choice(rule).read(reply, choices)
    return reading.letter + ("!" if reading.format_correct else "")


# (rule, reply, letter): the quirks by hand, each from the published patterns.
LADDER_CASES = (
    ("mmlu_cot", "Therefore, the answer is: B", "B!"),
    ("mmlu_cot", "Therefore the answer is (c).", "C!"),
    ("mmlu_cot", "therefore, the answer is A. Therefore, the answer is B.", "A!"),  # the first, not the last
    ("mmlu_cot", "Answer is: (D) for sure", "D"),
    ("mmlu_cot", "So C is correct.", "C"),
    ("mmlu_cot", "The claim and is correct", "D"),  # pattern 3 has no left boundary: the d of "and"
    ("mmlu_cot", "(B) or (C)", "B"),
    ("mmlu_cot", "the answer is: **B**", "B"),  # bold breaks patterns 1 to 4; B stands alone
    ("mmlu_cot", "I see A here\nand B", "A"),  # the first line that has one
    ("mmlu_cot", "A or B\nC", "B"),  # the last of that line
    ("mmlu_cot", "nothing", ""),
    ("mmlu_0shot_cot", "Therefore, the answer is (A). Therefore, the answer is (B).", "B!"),
    ("mmlu_0shot_cot", "Therefore, the answer is: B", "B"),
    ("mmlu_pro", "Therefore, the answer is (A). Therefore, the answer is (J).", "J!"),
    ("mmlu_pro", "The answer is: g. The answer is H.", "G"),
    ("mmlu_pro", "Answer: C\nAnswer: D", "C"),
    ("mmlu_pro", "Answer: C, or answer: D", "D"),
    ("mmlu_pro", "I think so", "I"),  # the pronoun stands alone
    ("mmlu_pro_official", "the answer is (B). The answer is (C)", "B!"),
    ("mmlu_pro_official", "The answer is: B", "B"),  # the colon breaks the first pattern
    ("lm_eval_mmlu_pro", "Answer: B", ""),
    ("gpqa", "Between (A) and (C).", "C"),
    ("gpqa", "The correct answer is: B", "B"),
    ("agieval", "Therefore, the answer is (F)", "F!"),
    ("agieval", "So the answer is (B) here. But (C)?", "B"),
    ("agieval", "Yes, Because", "B"),  # any capital letter from A to E
    ("agieval", "the answer is B. Done", "D"),  # no parentheses: the last capital of the whole reply
)


@pytest.mark.parametrize(("rule", "reply", "letter"), LADDER_CASES)
def test_published_ladders_by_hand(rule: str, reply: str, letter: str) -> None:
    assert read(rule, reply) == letter


STATED = (
    ("B", "B"), ("B)", "B"), ("(b)", "B"), ("**B**", "B"), ("B. Paris", "B"), ("(B) Paris", "B"), ("B: Paris", "B"),
    ("Therefore, the answer is (B)", "B!"), ("Therefore, the answer is: B", "B!"), ("Therefore the answer is **B**.", "B!"),
    ("So the answer is (B).", "B"), ("The answer is B because A is wrong.", "B"), ("**Answer:** B", "B"),
    ("Answer: (b)", "B"), ("ANSWER: B", "B"), ("The correct option is (B) Paris.", "B"), ("The best answer is B.", "B"),
    (r"\boxed{B}", "B"), (r"$\boxed{\text{B}}$", "B"), (r"The final answer is $\boxed{(B)}$.", "B"), ("<answer>B</answer>", "B"),
    ("#### B", "B"), ("Option B is the correct answer.", "B"), ("(B) is correct", "B"), ("Hence B is correct.", "B"),
    ("Let us see.\n\nB", "B"), ("B\n\nA. is wrong because it is London.\nC. is wrong too.", "B"),
    ("<think>The answer is A.</think>The answer is B.", "B"), ("The answer is not A. The answer is B.", "B"),
    ("The answer is A. Wait, no: the answer is B.", "B"), ("One may say the answer is A. Therefore, the answer is (B).", "B!"),
    ("The answer is Paris.", "B"), ("Paris", "B"),
    # Several answers, or none.
    ("A or B", ""), ("A, B, C, D", ""), ("A\nB\nC", ""), ("(A) (B)", ""), ("The answer is A or B.", ""),
    ("The answer is (A) and (B).", ""), ("The answer is A. The answer is B.", ""), (r"\boxed{A} \boxed{B}", ""),
    ("The answer is either A or B", ""), ("#### A B C", ""), ("Answer: A / B / C", ""), ("A) x\nB) y\nC) z", ""),
    ("The correct option is (B) Paris or (C) Rome", ""), ("Therefore, the answer is (A) or (B)", ""),
    ("A is correct. B is correct.", ""), ("The answer is a car", ""), ("I is correct", ""), ("I think so", ""), ("", ""),
    ("The answer is Z.", ""), ("The answer is not B.", ""), ("As a language model I cannot answer.", ""), ("London or Paris", ""),
)  # fmt: skip


@pytest.mark.parametrize(("reply", "letter"), STATED)
def test_the_corrected_rule_by_hand(reply: str, letter: str) -> None:
    assert read("stated", reply, ("London", "Paris", "Rome", "Madrid")) == letter


def test_verdicts_say_what_was_read_and_whether_it_had_the_form() -> None:
    def why(reply: str) -> str:
        return Choice()(Problem(user("?"), Check("choice", "B")), reply).why

    assert why("Therefore, the answer is (B)") == "B read by 'Therefore, the answer is' (format-correct), wanted B"
    assert why("Answer: C") == "C read by 'Answer:' (fallback), wanted B"
    assert why("A or B") == "several answers offered (A, B), wanted B"
    assert why("Hm.") == "no answer letter found, wanted B"


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("b", "is no capital letter"), ("", "is no capital letter"), ('{"letter": "B"}', "no object of letter and choices"),
        ('{"letter": "C", "choices": ["x", "y"]}', "names the letter 'C'"), ('{"letter": "A", "choices": ["x"]}', "2 to 26 choices"),
        ('{"letter": "A", "choices": [1, 2]}', "each a text"), ('{"letter": 1, "choices": ["x", "y"]}', "names the letter 1"),
    ],
)  # fmt: skip
def test_targets_that_cannot_be_compared_are_named(target: str, words: str) -> None:
    with pytest.raises(VerifierError, match=words) as error:
        Choice().check_target(target)
    verdict = Choice()(Problem(user("?"), Check("choice", target)), "B")
    assert verdict.score is None
    assert verdict.why == str(error.value)


# The ladders as published, in the form they were published in; slow on long lines.
PLAIN: dict[str, Any] = {
    "mmlu_cot": lambda text: first(
        text, r"(?i)therefore,?\s*the\s*answer\s*is:?\s*\(?([A-D])\b", r"(?i)answer\s*is:?\s*\(?([A-D])\b",
        r"(?i)([A-D])\)?\s+is\s+correct", r"\(([A-D])\)", r".*\b([A-D])\b",
    ),
    "mmlu_pro": lambda text: (
        last(text, r"Therefore, the answer is \(([A-J])\)")
        or first(text, r"(?i)answer is:?\s*\(?([A-J])\)?", r".*[aA]nswer:\s*([A-J])")
        or last(text, r".*\b([A-J])\b")
    ),
    "agieval": lambda text: (
        last(text, r"Therefore, the answer is \(([A-F])\)")
        or last((re.findall(r"(?<=the answer is )(.*?)(?=\.)", text) or [text])[-1], r"\(([A-E])\)")
        or last(text, "([A-E])")
    ),
}  # fmt: skip


def first(text: str, *patterns: str) -> str:
    found = next((match for pattern in patterns if (match := re.search(pattern, text))), None)
    return found[1].upper() if found else ""


def last(text: str, pattern: str) -> str:
    found = re.findall(pattern, text)
    return found[-1] if found else ""


PIECES = st.lists(
    st.sampled_from(
        ["the answer is ", "Therefore, ", "answer is", "Answer:", "answer: ", "(A)", "(B)", "A", "b", "C ", "D", "F", " J", "and", " is correct",
         ".", "\n", " ", ": ", "(", ")", "x"]
    )
).map("".join)  # fmt: skip


@settings(max_examples=500, deadline=None, derandomize=True, database=None)
@given(st.sampled_from(sorted(PLAIN)), PIECES)
def test_walked_line_by_line_the_ladders_read_the_same(rule: Any, text: str) -> None:
    assert LADDERS[rule](text).letter == PLAIN[rule](text)


def test_statements_are_found_with_their_standing() -> None:
    text = "The answer is A. \\boxed{B {c}} d <answer>E</answer>\n#### F\nHence, the final answer is G. The answer isn't H."
    found = [(s.body[:5].strip(), s.final, s.marked) for s in statements(text)]
    assert found == [
        ("A. \\", False, False),
        ("B {c}", True, True),
        ("E", True, True),
        ("F\nHe", True, True),
        ("G. T", True, False),
    ]
