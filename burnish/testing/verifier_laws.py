"""The laws of a verifier, to be called from a test of your own."""

from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from typing import Literal

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from burnish.core.types import Check, Problem, Verdict, user
from burnish.errors import VerifierError
from burnish.verify.base import Verifier
from burnish.verify.numbers import parse_number

Mutate = Callable[[Problem], Iterable[str]]

# Replies that have broken graders: empty, endless, not text, deeply nested, other digits, other minus signs.
HOSTILE = (
    "", " ", "\n", "\x00", "\ud800", "\u202e\u200b", "#### ", "\\boxed{", "nan", "inf", "1e999999999", "-0", "1/0",
    "[" * 5_000, "{" * 5_000, "\n" * 20_000, "*" * 20_000, "-\n" * 10_000, "<" * 20_000, "9" * 20_000, "1," * 10_000,
    "the answer is " * 2_000, "a" * 50_000, "\t " * 10_000, ". " * 10_000, "?!" * 10_000, "“.”" * 5_000, "'" * 20_000,
    "٣٫١٤", "−５", "½", "²", "🙂" * 5_000, '{"a": ' * 2_000,
)  # fmt: skip


def check_verifier(
    verifier: Verifier,
    problems: Iterable[Problem] = (),
    *,
    replies: Iterable[str] = (),
    gold: Mutate | None = None,
    mutate: Mutate | None = None,
    many_candidates: Literal["never", "only last"] = "never",
    examples: int = 100,
    deadline_s: float = 5.0,
) -> None:
    """Nothing, when the verifier keeps all of these laws; raises VerifierError naming the law, the target and the reply.

    - examples: ACCEPTS and REJECTS hold at least three (target, reply) pairs each, and the verifier agrees with them;
    - gold: every problem's gold replies score 1. They are gold(problem), else its solution, else its target;
    - mutations: no reply of mutate(problem) scores 1. Without `mutate`, number targets get wrong numbers, alone and in
      place of the target in the solution; other targets are not mutated;
    - many candidates: a reply that lists wrong numbers and the right one does not score 1, wherever the right one stands.
      "only last" is for rules that by definition read the last number: the right one must not count elsewhere;
    - total: any text, hypothesis's and HOSTILE and `replies`, gets a Verdict within deadline_s, and nothing is raised;
    - reasons: every verdict says why, above all the ungraded ones;
    - deterministic: a second call, a pickled copy and another thread give the same verdict.
    """
    rows = list(problems)
    shown = [_problem(target) for target, _ in (*verifier.ACCEPTS, *verifier.REJECTS)]
    _check_examples(verifier)
    for problem in rows:
        _check_gold(verifier, problem, gold)
        _check_mutations(verifier, problem, mutate, gold)
    for problem in _distinct([*shown, *rows], 20):
        _check_many(verifier, problem, many_candidates)
    given_replies = [reply for _, reply in (*verifier.ACCEPTS, *verifier.REJECTS)] + list(replies)
    asked = _distinct([*shown, *rows], 40)
    _check_total(verifier, asked, given_replies, examples, deadline_s)
    _check_deterministic(verifier, asked, given_replies)


def _problem(target: str) -> Problem:
    return Problem(user("A question."), Check("under test", target))


def _distinct(problems: Sequence[Problem], limit: int) -> list[Problem]:
    return list({problem.check.target: problem for problem in problems}.values())[:limit]


def _broken(verifier: Verifier, law: str, problem: Problem, reply: str, got: object) -> VerifierError:
    return VerifierError(
        f"{type(verifier).__name__} breaks the law '{law}'.\n"
        f"  target {problem.check.target[:200]!r}\n  reply  {reply[:200]!r}\n  got    {got!s:.300}"
    )


def _grade(verifier: Verifier, problem: Problem, reply: str) -> Verdict:
    try:
        verdict = verifier(problem, reply)
    except Exception as error:
        raise _broken(verifier, "total: never raises", problem, reply, f"{type(error).__name__}: {error}") from error
    if not isinstance(verdict, Verdict):
        raise _broken(verifier, "total: gives a Verdict", problem, reply, verdict)
    if not verdict.why.strip():
        raise _broken(verifier, "reasons: every verdict says why", problem, reply, verdict)
    return verdict


def _check_examples(verifier: Verifier) -> None:
    for name, pairs, right in (("ACCEPTS", verifier.ACCEPTS, True), ("REJECTS", verifier.REJECTS, False)):
        if len(pairs) < 3:
            raise VerifierError(
                f"{type(verifier).__name__}.{name} holds {len(pairs)} examples; readers and the laws need at least 3.\n"
                "  Add (target, reply) pairs."
            )
        for target, reply in pairs:
            verdict = _grade(verifier, _problem(target), reply)
            if verdict.score is None or (verdict.score == 1.0) != right:
                raise _broken(verifier, f"examples: {name} are as it says", _problem(target), reply, verdict)


def _gold(problem: Problem, gold: Mutate | None) -> list[str]:
    if gold is not None:
        return list(gold(problem))
    return [problem.solution or problem.check.target]


def _check_gold(verifier: Verifier, problem: Problem, gold: Mutate | None) -> None:
    for reply in _gold(problem, gold):
        verdict = _grade(verifier, problem, reply)
        if verdict.score != 1.0:
            raise _broken(verifier, "gold: accepts every gold reply", problem, reply, verdict)


def _check_mutations(verifier: Verifier, problem: Problem, mutate: Mutate | None, gold: Mutate | None) -> None:
    for reply in mutate(problem) if mutate is not None else _wrong_numbers(problem, gold):
        verdict = _grade(verifier, problem, reply)
        if verdict.score == 1.0:
            raise _broken(verifier, "mutations: rejects every mutated gold reply", problem, reply, verdict)


def _wrong_numbers(problem: Problem, gold: Mutate | None) -> list[str]:
    """Wrong answers near the right one: off by one, a digit too many, a digit lost; alone and inside the gold replies."""
    target = problem.check.target
    value = parse_number(target)
    if value is None:
        return []
    digits = target.strip()
    wrong = [str(value + 1), str(value - 1), f"{digits}7", f"7{digits.lstrip('+-')}", digits[:-1]]
    wrong = [w for w in wrong if parse_number(w) not in (None, value, -value)]
    mutated = list(wrong)
    for reply in _gold(problem, gold):
        head, found, tail = reply.rpartition(digits)
        if found:
            mutated += [f"{head}{w}{tail}" for w in wrong]
    return mutated


def _check_many(verifier: Verifier, problem: Problem, rule: str) -> None:
    value = parse_number(problem.check.target)
    if value is None:
        return
    for form in _LISTS:
        for place in range(5):
            others = [value + k for k in (1, 2, 3, 4)]
            reply = form([*others[:place], value, *others[place:]])
            verdict = _grade(verifier, problem, reply)
            if verdict.score == 1.0 and not (rule == "only last" and place == 4):
                raise _broken(verifier, "many candidates: one right among many is not right", problem, reply, verdict)


_LISTS: tuple[Callable[[list[Fraction]], str], ...] = (
    lambda numbers: ", ".join(map(str, numbers)),
    lambda numbers: "The answer is " + " or ".join(map(str, numbers)) + ".",
    lambda numbers: "\n".join(map(str, numbers)),
    lambda numbers: "\n".join(f"#### {n}" for n in numbers),
    lambda numbers: " ".join(rf"\boxed{{{n}}}" for n in numbers),
    lambda numbers: "#### " + " ".join(map(str, numbers)),
)


def _check_total(
    verifier: Verifier, problems: Sequence[Problem], replies: Sequence[str], examples: int, deadline_s: float
) -> None:
    for problem in problems:
        for reply in (*HOSTILE, *replies):
            start = time.perf_counter()
            _grade(verifier, problem, reply)
            took = time.perf_counter() - start
            if took > deadline_s:
                raise _broken(verifier, "total: never hangs", problem, reply, f"{took:.1f} s, allowed {deadline_s} s")

    texts = st.text() | st.lists(st.sampled_from(_pieces(replies))).map("".join)

    @settings(
        max_examples=examples, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.sampled_from(problems), texts)
    def any_text(problem: Problem, reply: str) -> None:
        _grade(verifier, problem, reply)

    any_text()
    # A target that cannot be read is data gone wrong: it may stay ungraded, but must not end the run.
    for target in ("", "no such target", "[1, 2", '[{"id": 3}]'):
        _grade(verifier, _problem(target), "A reply.")


def _pieces(replies: Sequence[str]) -> list[str]:
    words = {word for reply in replies for word in reply[:500].split()}
    return [*sorted(words), *"#$%*()[]{}<>,.;:!?'\"-+=/\\ \n0123456789", "\n\n", "####", "\\boxed{"]


def _check_deterministic(verifier: Verifier, problems: Sequence[Problem], replies: Sequence[str]) -> None:
    cases = [(problem, reply) for problem in problems for reply in (*replies, "", "1, 2 or 3")]
    first = [_grade(verifier, *case) for case in cases]
    copy: Verifier = pickle.loads(pickle.dumps(verifier))
    elsewhere: list[Verdict] = []
    thread = threading.Thread(target=lambda: elsewhere.extend(verifier(*case) for case in cases))
    thread.start()
    thread.join()
    for how, again in (
        ("a second call", [_grade(verifier, *case) for case in cases]),
        ("a pickled copy", [_grade(copy, *case) for case in cases]),
        ("another thread", elsewhere),
    ):
        if len(again) != len(first):
            raise _broken(verifier, f"deterministic: {how} gives the same", *cases[len(again)], "no verdict")
        for case, one, two in zip(cases, first, again, strict=True):
            if one != two:
                raise _broken(verifier, f"deterministic: {how} gives the same", *case, f"{one} and then {two}")
