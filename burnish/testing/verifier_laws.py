"""The laws of a verifier, to be called from a test of your own."""

from __future__ import annotations

import asyncio
import pickle
import threading
import time
from collections.abc import Callable, Iterable, Sequence

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from burnish.core.types import Check, Problem, Verdict, user
from burnish.errors import VerifierError
from burnish.testing.verifier_replies import (
    BAD_TARGETS,
    HOSTILE,
    NO_ANSWER,
    ManyCandidates,
    Mutate,
    choice_of,
    gold_of,
    lists,
    wrong_numbers,
)
from burnish.verify.apart import Apart, Attempt, Case
from burnish.verify.base import Verifier

FIRST_S = 60.0  # the first call of all may load a library
LOADING = 4  # a call that was late is asked again with this many times its deadline, and then once more within it
THREADS = 4


def check_verifier(
    verifier: Verifier,
    problems: Iterable[Problem] = (),
    *,
    replies: Iterable[str] = (),
    gold: Mutate | None = None,
    mutate: Mutate | None = None,
    candidates: Callable[[Problem], Sequence[str]] | None = None,
    many_candidates: ManyCandidates = "never",
    signed: bool = True,
    examples: int = 100,
    deadline_s: float = 5.0,
) -> None:
    """Nothing, when the verifier keeps all of these laws; raises VerifierError naming the law, the target and the reply.

    - total: any text, hypothesis's and HOSTILE and `replies`, gets a Verdict within deadline_s; nothing is raised;
    - reasons: every verdict says why, above all the ungraded ones;
    - examples: ACCEPTS and REJECTS hold at least three (target, reply) pairs each, and the verifier agrees with them;
    - targets: check_target, where there is one, takes every target here; what it refuses stays ungraded;
    - gold: every problem's gold replies score 1. They are gold(problem), else its solution, else its target;
    - mutations: no reply of mutate(problem) scores 1. Without `mutate`, number targets get wrong numbers, alone and in
      place of the target in the solution; signed=False is for published rules that do not read signs. Wrong candidates
      alone do not score 1 either;
    - many candidates: a reply that lists wrong answers and the right one does not score 1, wherever the right one stands.
      candidates(problem) gives the right answer first and then wrong ones, each as a reply writes it; numbers and single
      letters have their own. "only last" is for rules that by definition read the last answer: the right one must not
      count elsewhere. "anywhere" is for rules that by definition find it anywhere: the law is not asked;
    - no answer: to problems with candidates, a blank reply or a refusal is graded, and does not score 1;
    - deterministic: a second call, another order, a pickled copy and another process give the same verdict;
    - threads, asyncio: so do several threads at once and an event loop.

    What is asked first runs in a worker process, so that a verifier that hangs or ends its process breaks a law instead
    of the test.
    """
    rows = list(problems)
    replies = list(replies)
    lab = _Lab(verifier, deadline_s)
    _check_examples(verifier, lab)
    shown = [_problem(target) for target, _ in (*verifier.ACCEPTS, *verifier.REJECTS)]
    _check_targets(verifier, lab, [*shown, *rows])
    _check_gold(lab, rows, gold)
    _check_mutations(lab, rows, mutate, gold, signed)
    _check_candidates(lab, _distinct(shown, 20), None, many_candidates)
    _check_candidates(lab, _distinct(rows, 20), candidates, many_candidates)
    told = [reply for _, reply in (*verifier.ACCEPTS, *verifier.REJECTS)] + replies
    asked = _distinct([*shown, *rows], 40)
    _check_total(lab, asked, told, examples)
    _check_deterministic(verifier, lab, asked, told)


def _problem(target: str) -> Problem:
    return Problem(user("A question."), Check("under test", target))


def _distinct(problems: Sequence[Problem], limit: int) -> list[Problem]:
    return list({problem.check.target: problem for problem in problems}.values())[:limit]


def _broken(verifier: Verifier, law: str, case: Case, got: object) -> VerifierError:
    problem, reply = case
    return VerifierError(
        f"{type(verifier).__name__} breaks the law '{law}'.\n"
        f"  target {problem.check.target[:200]!r}\n  reply  {reply[:200]!r}\n  got    {got!s:.300}"
    )


class _Lab:
    """Calls the verifier in a worker process; gives verdicts, or raises the law that a call broke."""

    def __init__(self, verifier: Verifier, deadline_s: float) -> None:
        self.verifier, self.deadline_s = verifier, deadline_s
        self._first = True

    def verdicts(self, cases: Sequence[Case]) -> list[Verdict]:
        """One verdict a case."""
        if self._first and cases:
            self._first = False
            apart = Apart(self.verifier, timeout_s=max(FIRST_S, self.deadline_s))
            self._verdict(cases[0], next(apart.attempts(cases[:1])), late_s=None)
        apart = Apart(self.verifier, timeout_s=self.deadline_s)
        found = zip(cases, apart.attempts(cases), strict=True)
        return [
            self._verdict(case, self._asked_again(case, attempt), late_s=self.deadline_s) for case, attempt in found
        ]

    def _asked_again(self, case: Case, attempt: Attempt) -> Attempt:
        """The attempt; for a late one, what comes of a second call in a process that has loaded all that the case needs.

        Some targets load a library or start a worker that no earlier one did, which takes seconds on a busy machine.
        """
        if attempt.end != "late" and attempt.seconds <= self.deadline_s:
            return attempt
        (loaded,) = Apart(self.verifier, timeout_s=LOADING * self.deadline_s).attempts([case])
        if loaded.end == "late":
            return loaded
        (again,) = Apart(self.verifier, timeout_s=self.deadline_s).attempts([case])
        return again

    def refuse(self, law: str, case: Case, got: object) -> VerifierError:
        """The error that names the law."""
        return _broken(self.verifier, law, case, got)

    def _verdict(self, case: Case, attempt: Attempt, *, late_s: float | None) -> Verdict:
        if attempt.end == "raised":
            raise self.refuse("total: never raises", case, attempt.why)
        if attempt.end == "died":
            raise self.refuse("total: never ends its process", case, attempt.why)
        if attempt.end == "late" or (late_s is not None and attempt.seconds > late_s):
            raise self.refuse("total: never hangs", case, f"{attempt.seconds:.1f} s, allowed {self.deadline_s:g} s")
        verdict = attempt.value
        if not isinstance(verdict, Verdict):
            raise self.refuse("total: gives a Verdict", case, verdict)
        if not verdict.why.strip():
            raise self.refuse("reasons: every verdict says why", case, verdict)
        return verdict


def _check_examples(verifier: Verifier, lab: _Lab) -> None:
    for name, pairs, right in (("ACCEPTS", verifier.ACCEPTS, True), ("REJECTS", verifier.REJECTS, False)):
        if len(pairs) < 3:
            raise VerifierError(
                f"{type(verifier).__name__}.{name} holds {len(pairs)} examples; readers and the laws need at least 3.\n"
                "  Add (target, reply) pairs."
            )
        cases = [(_problem(target), reply) for target, reply in pairs]
        for case, verdict in zip(cases, lab.verdicts(cases), strict=True):
            if verdict.score is None or (verdict.score == 1.0) != right:
                raise lab.refuse(f"examples: {name} are as it says", case, verdict)


def _check_targets(verifier: Verifier, lab: _Lab, problems: Sequence[Problem]) -> None:
    """A target that cannot be read is data gone wrong: refused before a run, ungraded within one."""
    check = getattr(verifier, "check_target", None)
    bad = [(_problem(target), "A reply.") for target in BAD_TARGETS]
    verdicts = lab.verdicts(bad)
    if check is None:
        return
    for problem in problems:
        try:
            check(problem.check.target)
        except VerifierError as error:
            raise lab.refuse("targets: check_target takes every target there is", (problem, ""), error) from error
    for case, verdict in zip(bad, verdicts, strict=True):
        try:
            check(case[0].check.target)
        except VerifierError:
            if verdict.score is not None:
                raise lab.refuse("targets: what check_target refuses stays ungraded", case, verdict) from None


def _check_gold(lab: _Lab, problems: Sequence[Problem], gold: Mutate | None) -> None:
    cases = [(problem, reply) for problem in problems for reply in gold_of(problem, gold)]
    for case, verdict in zip(cases, lab.verdicts(cases), strict=True):
        if verdict.score != 1.0:
            raise lab.refuse("gold: accepts every gold reply", case, verdict)


def _check_mutations(
    lab: _Lab, problems: Sequence[Problem], mutate: Mutate | None, gold: Mutate | None, signed: bool
) -> None:
    wrong = mutate or (lambda problem: wrong_numbers(problem, gold, signed=signed))
    cases = [(problem, reply) for problem in problems for reply in wrong(problem)]
    for case, verdict in zip(cases, lab.verdicts(cases), strict=True):
        if verdict.score == 1.0:
            raise lab.refuse("mutations: rejects every mutated gold reply", case, verdict)


def _check_candidates(
    lab: _Lab, problems: Sequence[Problem], candidates: Callable[[Problem], Sequence[str]] | None, rule: ManyCandidates
) -> None:
    for problem in problems:
        choice = choice_of(problem, candidates)
        if choice is None:
            continue
        alone = [(problem, reply) for reply in choice.wrong]
        for case, verdict in zip(alone, lab.verdicts(alone), strict=True):
            if verdict.score == 1.0:
                raise lab.refuse("mutations: a wrong candidate is not right", case, verdict)
        none = [(problem, reply) for reply in NO_ANSWER]
        for case, verdict in zip(none, lab.verdicts(none), strict=True):
            if verdict.score is None or verdict.score == 1.0:
                raise lab.refuse("no answer: is graded and not right", case, verdict)
        if rule == "anywhere":
            continue
        listed = list(lists(choice, problem))
        cases = [(problem, reply) for reply, _ in listed]
        for (_, last), case, verdict in zip(listed, cases, lab.verdicts(cases), strict=True):
            if verdict.score == 1.0 and not (rule == "only last" and last):
                raise lab.refuse("many candidates: one right among many is not right", case, verdict)


def _check_total(lab: _Lab, problems: Sequence[Problem], replies: Sequence[str], examples: int) -> None:
    lab.verdicts([(problem, reply) for problem in problems for reply in (*HOSTILE, *replies)])
    texts = st.text() | st.lists(st.sampled_from(_pieces(replies))).map("".join)
    cases: list[Case] = []

    @settings(
        max_examples=examples, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.sampled_from(problems), texts)
    def any_text(problem: Problem, reply: str) -> None:
        cases.append((problem, reply))

    any_text()
    lab.verdicts(cases)


def _pieces(replies: Sequence[str]) -> list[str]:
    words = {word for reply in replies for word in reply[:500].split()}
    return [*sorted(words), *"#$%*()[]{}<>,.;:!?'\"-+=/\\ \n0123456789", "\n\n", "####", "\\boxed{"]


def _check_deterministic(verifier: Verifier, lab: _Lab, problems: Sequence[Problem], replies: Sequence[str]) -> None:
    # The replies are asked of every problem in turn, so that what one call leaves behind meets another target.
    cases = [(problem, reply) for reply in dict.fromkeys((*replies, "", "1, 2 or 3")) for problem in problems]
    elsewhere = lab.verdicts(cases[::-1])[::-1]  # first where a hang does no harm
    began = time.monotonic()
    first = [_ask(verifier, case) for case in cases]
    allowed_s = lab.deadline_s + 20 * (time.monotonic() - began)
    copy: Verifier = pickle.loads(pickle.dumps(verifier))

    async def loop() -> list[object]:
        return [_ask(verifier, case) for case in cases]

    _same(lab, "deterministic: a second call gives the same", cases, first, [_ask(verifier, case) for case in cases])
    back = [_ask(verifier, case) for case in cases[::-1]][::-1]
    _same(lab, "deterministic: another order gives the same", cases, first, back)
    _same(lab, "deterministic: a pickled copy gives the same", cases, first, [_ask(copy, case) for case in cases])
    _same(lab, "deterministic: another process and order give the same", cases, first, elsewhere)
    count = len(cases)
    orders = [[(i + n * count // THREADS) % count for i in range(count)] for n in range(THREADS)]
    tasks = [lambda order=order: _in_order(verifier, cases, order) for order in orders]
    for law, work in (
        ("threads: works from several at once", tasks),
        ("asyncio: works inside an event loop", [lambda: asyncio.run(loop())]),
    ):
        for answers in _in_threads(work, allowed_s):
            if len(answers) != count:
                raise lab.refuse(law, cases[0], "no answer in time")
            _same(lab, law, cases, first, answers)


def _in_order(verifier: Verifier, cases: Sequence[Case], order: Sequence[int]) -> list[object]:
    answers = {i: _ask(verifier, cases[i]) for i in order}
    return [answers[i] for i in range(len(cases))]


def _in_threads(tasks: Sequence[Callable[[], list[object]]], allowed_s: float) -> list[list[object]]:
    """What every task gives in a thread of its own, all at once; [] for one that is late. The threads are daemons: it is left behind."""
    found: list[list[object]] = [[] for _ in tasks]

    def work(number: int) -> None:
        found[number] = tasks[number]()

    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(len(tasks))]
    end = time.monotonic() + allowed_s
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(end - time.monotonic(), 0.0))
    return found


def _ask(verifier: Verifier, case: Case) -> object:
    """The verdict, or what was raised instead, as something to compare and show."""
    try:
        return verifier(*case)
    except Exception as error:  # noqa: BLE001 - whatever a verifier raises, the law that asked names it
        return f"{type(error).__name__}: {error}"


def _same(lab: _Lab, law: str, cases: Sequence[Case], first: Sequence[object], again: Sequence[object]) -> None:
    for case, one, two in zip(cases, first, again, strict=True):
        if one != two:
            raise lab.refuse(law, case, f"{_shown(one)} and then {_shown(two)}")


def _shown(answer: object) -> str:
    return f"{answer.score} ({answer.why[:100]})" if isinstance(answer, Verdict) else str(answer)
