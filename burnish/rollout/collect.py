"""Groups of graded replies: what a policy says to each problem, n times over, and what the verifiers make of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from burnish.core.rng import seed_of
from burnish.core.types import Completion, Finish, Problem, Trajectory, Verdict
from burnish.errors import RecipeError, nearest
from burnish.rollout.engine import Engine, Request, Sampling
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
    """

    def __init__(
        self,
        verifiers: Mapping[str, Verifier],
        on_graded: Callable[[int, Completion, Verdict], None],
        at_once: int = 256,
    ) -> None:
        self._verifiers, self._on_graded, self._at_once = verifiers, on_graded, at_once
        self._waiting: dict[str, list[tuple[int, Problem, Completion]]] = {}

    def add(self, index: int, problem: Problem, completion: Completion) -> None:
        """Grade the reply, or let it wait for others."""
        name = problem.check.verifier
        if completion.finish is Finish.ABORT or not isinstance(self._verifiers[name], GradesMany):
            self._on_graded(index, completion, grade(self._verifiers, problem, completion))
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
        verdicts = graded_many(self._verifiers[name], items)
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
    seed: int,
    purpose: str = "rollout",
    step: int = 0,
    on_graded: Callable[[Trajectory], None] | None = None,
) -> list[list[Trajectory]]:
    """One group of `n` graded replies per problem, in the problems' order.

    Reply k to a problem has the seed seed_of(seed, purpose, step, problem.id, k): it depends neither on the other
    problems nor on their order. Each reply is graded as it ends, judges' replies together (`Grading`); `on_graded` is then
    called, in the order of grading.
    Raises RecipeError for a problem whose verifier is missing and for prompts that do not fit the context.
    """
    check_verifiers(verifiers, problems)
    prompts = [renderer.prompt(problem.prompt) for problem in problems]
    requests = [
        Request(prompt_ids, sampling, seed_of(seed, purpose, step, problem.id, k))
        for problem, prompt_ids in zip(problems, prompts, strict=True)
        for k in range(n)
    ]
    done: dict[int, Trajectory] = {}

    def enter(index: int, completion: Completion, verdict: Verdict) -> None:
        done[index] = Trajectory(problems[index // n], requests[index].prompt_ids, completion, verdict)
        if on_graded:
            on_graded(done[index])

    grading = Grading(verifiers, enter)
    engine.generate(requests, lambda index, completion: grading.add(index, problems[index // n], completion))
    grading.rest()
    return [[done[i * n + k] for k in range(n)] for i in range(len(problems))]
