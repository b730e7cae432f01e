"""Groups of graded replies: what a policy says to each problem, n times over, and what the verifiers make of it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from burnish.core.rng import seed_of
from burnish.core.types import Completion, Finish, Problem, Trajectory, Verdict
from burnish.errors import RecipeError, nearest
from burnish.rollout.conversation import converse
from burnish.rollout.engine import Engine, Request, Sampling
from burnish.rollout.environment import Environments, opening
from burnish.text.render import Renderer
from burnish.verify.base import GradesMany, Verifier, graded, graded_many


def check_verifiers(verifiers: Mapping[str, Verifier], problems: Iterable[Problem]) -> None:
    """Raise RecipeError for the first problem whose verifier the recipe does not give."""
    for problem in problems:
        name = problem.check.verifier
        if name not in verifiers:
            raise RecipeError(
                f"problem {problem.id} of {problem.source or 'an unnamed source'} asks for the verifier {name!r}, which the "
                f"recipe does not give, so its replies could not be graded. {nearest(name, verifiers)}\n"
                f"  Add it: verifiers={{..., {name!r}: ...}}."
            )


def grade(verifiers: Mapping[str, Verifier], problem: Problem, completion: Completion) -> Verdict:
    """The verdict of the problem's own verifier on a reply; ungraded when the engine gave the reply up."""
    if completion.finish is Finish.ABORT:
        return Verdict(None, "the engine gave the reply up")
    return graded(verifiers[problem.check.verifier], problem, completion.text)


class Grading:
    """Grades replies while they are sampled; `on_graded(index, completion, verdict)` is called for each.

    A reply is graded as it ends. Those of verifiers that grade many at once (judges) wait until there are `at_once` of them,
    or for `rest`.

    seconds: what grading has taken so far.
    """

    def __init__(
        self,
        verifiers: Mapping[str, Verifier],
        on_graded: Callable[[int, Completion, Verdict], None],
        at_once: int = 256,
    ) -> None:
        self._verifiers, self._on_graded, self._at_once = verifiers, on_graded, at_once
        self.seconds = 0.0
        self._waiting: dict[str, list[tuple[int, Problem, Completion]]] = {}

    def add(self, index: int, problem: Problem, completion: Completion, why: str = "") -> None:
        """Grade the reply, or let it wait for others. why: a reason known already for which it cannot be graded."""
        if why:
            self._on_graded(index, completion, Verdict(None, why))
            return
        name = problem.check.verifier
        if completion.finish is Finish.ABORT or not isinstance(self._verifiers[name], GradesMany):
            began = time.monotonic()
            verdict = grade(self._verifiers, problem, completion)
            self.seconds += time.monotonic() - began
            self._on_graded(index, completion, verdict)
            return
        self._waiting.setdefault(name, []).append((index, problem, completion))
        if len(self._waiting[name]) >= self._at_once:
            self._together(name)

    def rest(self) -> None:
        """Grade those that wait."""
        for name in list(self._waiting):
            self._together(name)

    def _together(self, name: str) -> None:
        waiting = self._waiting.pop(name)
        items = [(problem, completion.text) for _, problem, completion in waiting]
        began = time.monotonic()
        verdicts = graded_many(self._verifiers[name], items)
        self.seconds += time.monotonic() - began
        for (index, _, completion), verdict in zip(waiting, verdicts, strict=True):
            self._on_graded(index, completion, verdict)


def collect(
    engine: Engine,
    renderer: Renderer,
    problems: Sequence[Problem],
    *,
    n: int,
    sampling: Sampling,
    verifiers: Mapping[str, Verifier],
    environments: Environments | None = None,
    seed: int,
    purpose: str = "rollout",
    step: int = 0,
    on_graded: Callable[[int, int, Trajectory], None] | None = None,
    kept: Mapping[tuple[int, int], Trajectory] | None = None,
    on_seconds: Callable[[float], None] | None = None,
) -> list[list[Trajectory]]:
    """One group of `n` graded replies per problem, in the problems' order.

    Reply k to a problem has the seed seed_of(seed, purpose, step, problem.id, k): it depends neither on the other
    problems nor on their order. A problem that is asked again in the same call goes on counting: its second group has the
    seeds of k = n to 2n - 1, or its replies would be those of the first. Each reply is graded as it ends, judges' replies together (`Grading`);
    `on_graded(group, k, trajectory)` is then called, in the order of grading.

    environments: by the name of the verifier that a problem asks for; such a problem is solved in a conversation
                (`burnish.rollout.conversation`), whose last turn is graded.
    kept:       replies by (group, k) that an interrupted run has graded already: they are not sampled again, if their problem
                and prompt are those that would be asked now.
    on_seconds: called once with the seconds that grading took.

    Raises RecipeError for a problem whose verifier is missing and for prompts that do not fit the context.
    """
    check_verifiers(verifiers, problems)
    environments = environments or {}
    prompts = [renderer.prompt(opening(environments, problem)) for problem in problems]
    done = {(g, k): old for (g, k), old in (kept or {}).items() if 0 <= g < len(problems) and 0 <= k < n}
    done = {
        (g, k): old for (g, k), old in done.items() if (old.problem.id, old.prompt_ids) == (problems[g].id, prompts[g])
    }
    wanted = [(g, k) for g in range(len(problems)) for k in range(n) if (g, k) not in done]
    first = [n * times for times in _times_before(problems)]
    requests = [
        Request(prompts[g], sampling, seed_of(seed, purpose, step, problems[g].id, first[g] + k)) for g, k in wanted
    ]

    def enter(index: int, completion: Completion, verdict: Verdict) -> None:
        group, k = wanted[index]
        done[group, k] = Trajectory(problems[group], requests[index].prompt_ids, completion, verdict)
        if on_graded:
            on_graded(group, k, done[group, k])

    grading = Grading(verifiers, enter)
    asked = [problems[g] for g, _ in wanted]
    if requests:
        converse(engine, renderer, asked, requests, environments, lambda i, *ended: grading.add(i, asked[i], *ended))
    grading.rest()
    if on_seconds:
        on_seconds(grading.seconds)
    return [[done[g, k] for k in range(n)] for g in range(len(problems))]


def _times_before(problems: Sequence[Problem]) -> list[int]:
    """How often each problem stands among those before it."""
    seen: Counter[str] = Counter()
    found: list[int] = []
    for problem in problems:
        found.append(seen[problem.id])
        seen[problem.id] += 1
    return found
