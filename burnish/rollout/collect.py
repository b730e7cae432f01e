"""Groups of graded replies: what a policy says to each problem, n times over, and what the verifiers make of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from burnish.core.rng import seed_of
from burnish.core.types import Completion, Finish, Problem, Trajectory, Verdict
from burnish.errors import RecipeError, nearest
from burnish.rollout.engine import Engine, Request, Sampling
from burnish.text.render import Renderer
from burnish.verify.base import Verifier


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
    """The verifier's verdict on a reply. A verifier that raises gives Verdict(None, reason), never a zero."""
    if completion.finish is Finish.ABORT:
        return Verdict(None, "the engine gave the reply up")
    verifier = verifiers[problem.check.verifier]
    try:
        return verifier(problem, completion.text)
    # A verifier is a stranger's code at the border of a run of hours: whatever it raises costs one grade, not the run.
    except Exception as error:  # noqa: BLE001
        return Verdict(None, f"the verifier {problem.check.verifier!r} raised {type(error).__name__}: {error}")


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
    problems nor on their order. Each reply is graded as it ends; `on_graded` is then called, in the order of ending.
    Raises RecipeError for a problem whose verifier is missing and for prompts that do not fit the context.
    """
    check_verifiers(verifiers, problems)
    prompts = [renderer.prompt(problem.prompt) for problem in problems]
    requests = [
        Request(prompt_ids, sampling, seed_of(seed, purpose, step, problem.id, k))
        for problem, prompt_ids in zip(problems, prompts, strict=True)
        for k in range(n)
    ]
    graded: dict[int, Trajectory] = {}

    def finish(index: int, completion: Completion) -> None:
        problem = problems[index // n]
        verdict = grade(verifiers, problem, completion)
        graded[index] = Trajectory(problem, requests[index].prompt_ids, completion, verdict)
        if on_graded:
            on_graded(graded[index])

    engine.generate(requests, finish)
    return [[graded[i * n + k] for k in range(n)] for i in range(len(problems))]
