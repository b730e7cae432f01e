"""The replies that the laws of a verifier try: hostile ones, wrong answers near right ones, lists of answers, no answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from burnish.core.types import Problem
from burnish.verify.numbers import parse_number

Mutate = Callable[[Problem], Iterable[str]]
ManyCandidates = Literal["never", "only last", "anywhere"]

# Replies that have broken graders: empty, endless, not text, deeply nested, other digits, other minus signs.
HOSTILE = (
    "", " ", "\n", "\x00", "\ud800", "\u202e\u200b", "#### ", "\\boxed{", "nan", "inf", "1e999999999", "-0", "1/0",
    "[" * 5_000, "{" * 5_000, "\n" * 20_000, "*" * 20_000, "-\n" * 10_000, "<" * 20_000, "9" * 20_000, "1," * 10_000,
    "the answer is " * 2_000, "a" * 50_000, "\t " * 10_000, ". " * 10_000, "?!" * 10_000, "“.”" * 5_000, "'" * 20_000,
    "٣٫١٤", "−５", "½", "²", "🙂" * 5_000, '{"a": ' * 2_000, "```python\n" * 1_000, "<think>" * 2_000, "\\frac{" * 2_000,
)  # fmt: skip

# What a reply says that has no answer.
NO_ANSWER = (
    "", " \n", "I do not know.", "I'm sorry, but I can't help with that.", "As a language model I cannot answer.",
    "The answer is", "No answer.", "...",
)  # fmt: skip

BAD_TARGETS = ("", "no such target", "[1, 2", '[{"id": 3}]', "null", "\x00")


@dataclass(frozen=True, slots=True)
class Choice:
    """The right answer to a problem and wrong ones, each as a reply would write it."""

    right: str
    wrong: tuple[str, ...]


def choice_of(problem: Problem, candidates: Callable[[Problem], Sequence[str]] | None) -> Choice | None:
    """What `candidates` says (the right answer first); else of a number its neighbours, of a letter other letters; else None."""
    if candidates is not None:
        right, *wrong = candidates(problem)
        return Choice(right, tuple(wrong))
    target = problem.check.target
    value = parse_number(target)
    if value is not None:
        return Choice(str(value), tuple(str(value + k) for k in (1, 2, 3, 4)))
    if len(target) == 1 and "A" <= target <= "Z":
        letters = "ABCDE" if target <= "E" else "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
        return Choice(target, tuple(letter for letter in letters if letter != target)[:4])
    return None


def lists(choice: Choice, problem: Problem) -> Iterable[tuple[str, bool]]:
    """(reply, whether the right answer stands last) for replies that offer all of the candidates, in every form and order."""
    for form in LISTS:
        for place in range(len(choice.wrong) + 1):
            yield form([*choice.wrong[:place], choice.right, *choice.wrong[place:]]), place == len(choice.wrong)


LISTS: tuple[Callable[[list[str]], str], ...] = (
    ", ".join,
    lambda answers: "The answer is " + " or ".join(answers) + ".",
    "\n".join,
    lambda answers: "\n".join(f"#### {answer}" for answer in answers),
    lambda answers: " ".join(rf"\boxed{{{answer}}}" for answer in answers),
    lambda answers: "#### " + " ".join(answers),
    lambda answers: "\n".join(f"The answer is {answer}." for answer in answers),
    lambda answers: "Answer: " + " / ".join(answers),
)


def gold_of(problem: Problem, gold: Mutate | None) -> list[str]:
    """What the verifier must accept: gold(problem), else the problem's solution, else its target."""
    if gold is not None:
        return list(gold(problem))
    return [problem.solution or problem.check.target]


def wrong_numbers(problem: Problem, gold: Mutate | None, *, signed: bool) -> list[str]:
    """Wrong answers near the right number: off by one, a digit too many, a digit lost, the other sign; alone and inside the gold replies."""
    target = problem.check.target
    value = parse_number(target)
    if value is None:
        return []
    digits = target.strip()
    wrong = [str(value + 1), str(value - 1), f"{digits}7", f"7{digits.lstrip('+-')}", digits[:-1]]
    same: set[Fraction | None] = {None, value} if signed else {None, value, -value}
    wrong = [reply for reply in [*wrong, str(-value)] if parse_number(reply) not in same]
    mutated = list(wrong)
    for reply in gold_of(problem, gold):
        head, found, tail = reply.rpartition(digits)
        if found:
            mutated += [f"{head}{other}{tail}" for other in wrong]
    return mutated
