"""Planted bugs: each verifier here breaks one law, and check_verifier names that law."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import re
import signal
import threading
import time
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from burnish.core.types import Check, Problem, Verdict, user
from burnish.errors import VerifierError
from burnish.testing.laws import check_verifier

READABLE = re.compile(r"-?\d+|[A-E]")
Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Exact:
    """A verifier that keeps every law: the whole reply is the target, a number or a letter."""

    VERSION: ClassVar[int] = 1
    ACCEPTS: ClassVar[Pairs] = (("7", "7"), ("-8", " -8\n"), ("B", "B"))
    REJECTS: ClassVar[Pairs] = (("7", "8"), ("7", ""), ("7", "71"), ("B", "A"))

    def check_target(self, target: str) -> None:
        if not READABLE.fullmatch(target):
            raise VerifierError(f"target {target!r} is neither a number nor a letter")

    def __call__(self, problem: Problem, text: str) -> Verdict:
        target = problem.check.target
        if not READABLE.fullmatch(target):
            return Verdict(None, f"target {target!r} is neither a number nor a letter")
        return Verdict(float(self.right(target, text)), f"said {text[:20]!r}, wanted {target}")

    def right(self, target: str, text: str) -> bool:
        return text.strip() == target


class AnyNumberInTheText(Exact):
    def right(self, target: str, text: str) -> bool:
        return target in re.findall(r"-?\d+|[A-E]\b", text)


class DropsTheSign(Exact):
    def right(self, target: str, text: str) -> bool:
        return text.strip().lstrip("-") == target.lstrip("-")


class SubstringOfTheReply(Exact):
    REJECTS = (("7", "8"), ("7", ""), ("7", "x"))

    def right(self, target: str, text: str) -> bool:
        return target in text


class LetterAnywhere(Exact):
    """Right for numbers; of letters it takes any word that starts with the right one."""

    def right(self, target: str, text: str) -> bool:
        return text.strip() == target or (target.isalpha() and re.search(rf"\b{target}", text) is not None)


class LowercasesTheReplyOnly(Exact):
    ACCEPTS = (("7", "7"), ("-8", " -8\n"), ("9", "9"))

    def right(self, target: str, text: str) -> bool:
        return text.strip().lower() == target


class FirstInsteadOfLast(Exact):
    """Accepts what it should where the reply is the answer alone; reads the first number of worked solutions."""

    def right(self, target: str, text: str) -> bool:
        return (re.findall(r"-?\d+|[A-E]", text) or [""])[0] == target and len(text) < 6 + 40 * ("=" in text)


class LastOfAList(Exact):
    def right(self, target: str, text: str) -> bool:
        return (re.findall(r"-?\d+|\b[A-E]\b", text) or [""])[-1] == target


class TenTimesTooFar(Exact):
    """Compares up to the last digit."""

    REJECTS = (("7", "8"), ("7", ""), ("B", "A"))

    def right(self, target: str, text: str) -> bool:
        return text.strip() == target or (len(text.strip()) > 1 and text.strip()[:-1] == target)


class RaisesOnEmpty(Exact):
    REJECTS = (("7", "8"), ("7", "x"), ("7", "71"))

    def right(self, target: str, text: str) -> bool:
        return text.split()[0] == target and len(text.split()) == 1


class RaisesOnSurrogates(Exact):
    def right(self, target: str, text: str) -> bool:
        return text.encode().strip() == target.encode()


class RaisesOnBadTarget(Exact):
    def __call__(self, problem: Problem, text: str) -> Verdict:
        self.check_target(problem.check.target)
        return super().__call__(problem, text)


class RecursesOnBrackets(Exact):
    def right(self, target: str, text: str) -> bool:
        return self.inside(text.strip()) == target

    def inside(self, text: str) -> str:
        return self.inside(text[1:]) if text[:1] in ("[", "{") else text


class HangsOnBrackets(Exact):
    """An exponential regular expression: it holds the interpreter's lock, so that no thread could stop it."""

    def right(self, target: str, text: str) -> bool:
        if re.match(r"(\[+)+$", text[:64].replace("[", "[", 64) + ("x" if text.startswith("[") else "")):
            return False
        return text.strip() == target


class SleepsOnLongText(Exact):
    def right(self, target: str, text: str) -> bool:
        if len(text) > 10_000:
            time.sleep(3600)
        return text.strip() == target


class EndsItsProcess(Exact):
    def right(self, target: str, text: str) -> bool:
        if text.startswith("{"):
            os._exit(3)
        return text.strip() == target


class Random(Exact):
    def __call__(self, problem: Problem, text: str) -> Verdict:
        found = super().__call__(problem, text)
        return Verdict(found.score, f"{found.why}, {random.random()}")


class CountsItsCalls(Exact):
    calls: ClassVar[itertools.count[int]] = itertools.count()

    def __call__(self, problem: Problem, text: str) -> Verdict:
        found = super().__call__(problem, text)
        return Verdict(found.score, f"call {next(self.calls)}")


class RemembersTheTarget(Exact):
    """Keeps the last reply's verdict by its text alone: asked of another target, it is the verdict of the first."""

    kept: ClassVar[dict[str, Verdict]] = {}

    def __call__(self, problem: Problem, text: str) -> Verdict:
        verdict = super().__call__(problem, text)
        if text != "1, 2 or 3" or verdict.score is None:
            return verdict
        return self.kept.setdefault(text, verdict)


class DependsOnHashSeed(Exact):
    def __call__(self, problem: Problem, text: str) -> Verdict:
        found = super().__call__(problem, text)
        return Verdict(found.score, f"{found.why}, {''.join(set('abcdefghijklm'))}")


class NoneWithoutReason(Exact):
    def __call__(self, problem: Problem, text: str) -> Verdict:
        return super().__call__(problem, text) if len(text) < 40 else Verdict(None, " ")


class ZeroForABadTarget(Exact):
    def __call__(self, problem: Problem, text: str) -> Verdict:
        found = super().__call__(problem, text)
        return Verdict(found.score or 0.0, found.why)


class RefusesGoodTargets(Exact):
    def check_target(self, target: str) -> None:
        if not target.isdigit():
            raise VerifierError(f"target {target!r} is not a number")


class UngradedWithoutAnAnswer(Exact):
    """A reply without an answer escapes its zero."""

    REJECTS = (("7", "8"), ("7", "9"), ("7", "71"))

    def __call__(self, problem: Problem, text: str) -> Verdict:
        found = super().__call__(problem, text)
        return found if found.score is None or re.search(r"\d|[A-E]", text) else Verdict(None, "no answer was found")


class ScoresRefusals(Exact):
    def right(self, target: str, text: str) -> bool:
        return text.strip() == target or "can't help" in text


class ScoresNumbers(Exact):
    def __call__(self, problem: Problem, text: str) -> Any:
        return super().__call__(problem, text).score


class AlwaysRight(Exact):
    def right(self, target: str, text: str) -> bool:
        return True


class TwoExamples(Exact):
    ACCEPTS = (("7", "7"), ("8", "8"))


class RejectsLongGold(Exact):
    def right(self, target: str, text: str) -> bool:
        return text.strip() == target and len(target) < 3


class AlarmFromSignal(Exact):
    """The deadline that works in a main thread only, as in math-verify."""

    def right(self, target: str, text: str) -> bool:
        signal.signal(signal.SIGALRM, lambda *_: None)
        signal.alarm(5)
        found = text.strip() == target
        signal.alarm(0)
        return found


class SharesABuffer(Exact):
    """Two threads write into one list between its filling and its reading."""

    buffer: ClassVar[list[str]] = []

    def right(self, target: str, text: str) -> bool:
        self.buffer[:] = [text.strip()]
        time.sleep(1e-4)
        return self.buffer[0] == target


class LocksItselfOut(Exact):
    """A lock for the thread that made the verifier; any other waits for ever."""

    owner: ClassVar[int] = threading.get_ident()

    def right(self, target: str, text: str) -> bool:
        while threading.get_ident() != self.owner and threading.current_thread() is not threading.main_thread():
            time.sleep(60)
        return text.strip() == target


class RunsALoop(Exact):
    """asyncio.run inside: an event loop of the caller's is in the way."""

    def right(self, target: str, text: str) -> bool:
        async def compare() -> bool:
            return text.strip() == target

        coroutine = compare()
        try:
            return asyncio.run(coroutine)
        finally:
            coroutine.close()


@dataclass(frozen=True)
class RemembersItself(Exact):
    """Its verdicts depend on an object that a pickled copy does not share."""

    def __call__(self, problem: Problem, text: str) -> Verdict:
        found = super().__call__(problem, text)
        return Verdict(found.score, f"{found.why}{id(self) == OWNER.get('id', id(self))}")


OWNER: dict[str, int] = {}
GOLD = [
    Problem(user("7?"), Check("exact", "7")),
    Problem(user("72?"), Check("exact", "72")),
    Problem(user("-5?"), Check("exact", "-5")),
    Problem(user("Which?"), Check("exact", "B")),
]
WORKED = [Problem(user("3 + 4?"), Check("exact", "7"), "3 + 4 = 7")]
LONG = [Problem(user("?"), Check("exact", "1080"))]


def test_a_lawful_verifier_passes() -> None:
    check_verifier(Exact(), GOLD)


@pytest.mark.parametrize(
    ("verifier", "law"),
    [
        (AnyNumberInTheText(), "many candidates"),
        (DropsTheSign(), "mutations: rejects"),
        (SubstringOfTheReply(), "mutations: rejects"),
        (LetterAnywhere(), "many candidates"),
        (LowercasesTheReplyOnly(), "gold"),
        (LastOfAList(), "many candidates"),
        (TenTimesTooFar(), "mutations"),
        (RaisesOnEmpty(), "total: never raises"),
        (RaisesOnSurrogates(), "total: never raises"),
        (RaisesOnBadTarget(), "total: never raises"),
        (RecursesOnBrackets(), "total: never raises"),
        (HangsOnBrackets(), "total: never hangs"),
        (SleepsOnLongText(), "total: never hangs"),
        (EndsItsProcess(), "total: never ends its process"),
        (Random(), "deterministic: a second call"),
        (CountsItsCalls(), "deterministic: a second call"),
        (RemembersTheTarget(), "deterministic: another process and order"),
        (DependsOnHashSeed(), "deterministic: another process"),
        (NoneWithoutReason(), "reasons"),
        (ZeroForABadTarget(), "targets: what check_target refuses"),
        (RefusesGoodTargets(), "targets: check_target takes"),
        (UngradedWithoutAnAnswer(), "no answer"),
        (ScoresRefusals(), "no answer"),
        (ScoresNumbers(), "total: gives a Verdict"),
        (AlwaysRight(), "REJECTS are as it says"),
        (TwoExamples(), "need at least 3"),
        (AlarmFromSignal(), "threads"),
        (SharesABuffer(), "threads"),
        (LocksItselfOut(), "threads"),
        (RunsALoop(), "asyncio"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exact) else "",
)
def test_planted_bugs_are_caught_by_the_law_that_names_them(verifier: Exact, law: str) -> None:
    with pytest.raises(VerifierError, match=law):
        check_verifier(verifier, GOLD, deadline_s=0.5)


@pytest.mark.parametrize(
    ("verifier", "problems"), [(FirstInsteadOfLast(), WORKED), (RejectsLongGold(), LONG)], ids=["first", "long"]
)
def test_gold_that_is_rejected_is_caught(verifier: Exact, problems: list[Problem]) -> None:
    with pytest.raises(VerifierError, match="gold: accepts every gold reply"):
        check_verifier(verifier, problems)


def test_a_pickled_copy_that_grades_differently_is_caught() -> None:
    verifier = RemembersItself()
    OWNER["id"] = id(verifier)
    try:
        with pytest.raises(VerifierError, match="pickled copy"):
            check_verifier(verifier, GOLD)
    finally:
        OWNER.clear()


def test_a_verifier_that_no_other_process_can_have_is_refused() -> None:
    class Local(Exact):
        pass

    with pytest.raises(VerifierError, match="Local cannot be sent to another process"):
        check_verifier(Local(), GOLD)


class Words(Exact):
    """Targets are words. The bug: the first letter decides."""

    ACCEPTS = (("moon", "moon"), ("sea", "sea"), ("sky", "sky"))
    REJECTS = (("moon", "sea"), ("moon", ""), ("moon", "the moon"))

    def check_target(self, target: str) -> None:
        if target not in ("moon", "sea", "sky", "sun"):
            raise VerifierError("not a word that is known")

    def __call__(self, problem: Problem, text: str) -> Verdict:
        if problem.check.target not in ("moon", "sea", "sky", "sun"):
            return Verdict(None, "not a word that is known")
        return Verdict(float(self.right(problem.check.target, text)), f"said {text[:20]!r}")


class FirstLetter(Words):
    def right(self, target: str, text: str) -> bool:
        return text[:1] == target[:1] and len(text) < 5


class WordAnywhere(Words):
    REJECTS = (("moon", "sea"), ("moon", ""), ("moon", "sun"))

    def right(self, target: str, text: str) -> bool:
        return target in text.replace(",", " ").split()


WORDS = [Problem(user("?"), Check("words", "moon"))]


def test_candidates_make_the_laws_ask_about_texts_too() -> None:
    offered = {"candidates": lambda problem: (problem.check.target, "mood", "sun", "star")}
    check_verifier(Words(), WORDS, **offered)
    with pytest.raises(VerifierError, match="mutations: a wrong candidate"):
        check_verifier(FirstLetter(), WORDS, **offered)
    with pytest.raises(VerifierError, match="many candidates"):
        check_verifier(WordAnywhere(), WORDS, **offered)
    check_verifier(WordAnywhere(), WORDS, many_candidates="anywhere", **offered)
    with pytest.raises(VerifierError, match="mutations: rejects"):
        check_verifier(FirstLetter(), WORDS, mutate=lambda problem: ["mood"])
