"""The laws of a benchmark task, to be called from a test of your own."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from burnish.core.fingerprint import fingerprint
from burnish.core.types import Problem, Verdict
from burnish.errors import DataError, VerifierError
from burnish.eval.choices import perfect, ranked_verdict
from burnish.eval.ranking import Ranked, Ranking
from burnish.eval.score import FULL, cluster_of
from burnish.eval.stats import mean
from burnish.eval.task import EvalTask
from burnish.verify.base import graded_many

_NAME = re.compile(r"[a-z0-9]+(?:_[a-z0-9]+)*")
_LIMIT = 1_000_000  # new tokens
_SAME = 1e-9


@dataclasses.dataclass(frozen=True, slots=True)
class Checked:
    """What a task's check saw.

    problems: those the task asks. repeated: how many of them have the id of an earlier one. tried: those graded. gold: of them,
    those with a known right reply. floor: the mean score of empty replies (of a ranking: of a model without preference), and
    ceiling: of the right ones; None where nothing was graded.
    """

    problems: int
    repeated: int
    tried: int
    gold: int
    floor: float | None
    ceiling: float | None


def check_task(
    task: EvalTask,
    data: Path | None = None,
    *,
    statement: str = "",
    most: int = 20,
    floor: float | None = None,
    lost: int = 0,
    grade: bool = True,
) -> Checked:
    """What was seen, when the task keeps all of these laws; raises VerifierError naming the law, the task and the problem.

    statement: the text that states the protocol, such as the module's docstring; "" leaves that law out. most: problems
    graded, spread over the set; 0 for all. floor: the highest mean score that empty replies, or a model without preference, may
    get; None is 0 for replies, and less than certainty gets for a ranking. lost: right replies that a published protocol's stop strings cut off. grade: False where a judge model gives the verdicts,
    and nothing is to be paid.

    - settings: a plain name, a metric; limits, stop strings, samples and pass_at that can be meant together; source and
      verifier can be fingerprinted;
    - published: a share in [0, 1], of a model, with the page and the settings; none beside a part of the set;
    - deterministic: reading the source twice gives equal problems;
    - number: as many problems as `n` says (unless `limit` cuts them), repeated ones being equal in what they ask;
    - prompts: every problem has one, it ends in a user's turn that says something, and source and licence are named;
    - statement: it names the number of problems, examples, the form of the prompt, sampling, limit, stop strings, metric and licence;
    - ceiling: known right replies get the full score, also after the stop strings have cut them; of a ranking, certainty does;
    - floor: empty replies, or of a ranking equal log-probabilities, get at most `floor`.
    """
    check_protocol(task)
    problems, repeated = _check_problems(task, data)
    if statement:
        _check_statement(task, statement, len(problems))
    if not grade:
        return Checked(len(problems), repeated, 0, 0, None, None)
    tried = _spread(problems, most)
    if isinstance(task.verifier, Ranking):
        return _check_ranking(task, task.verifier, tried, floor, len(problems), repeated)
    return _check_replies(task, tried, (floor or 0.0, lost), len(problems), repeated)


def check_protocol(task: EvalTask, statement: str = "") -> None:
    """Nothing, when the task keeps those laws of `check_task` that need no data: settings, published, statement."""
    _check_settings(task)
    _check_published(task)
    if statement:
        _check_statement(task, statement, getattr(task.source, "count", None) or 0)


def _broken(task: EvalTask, law: str, what: str) -> VerifierError:
    return VerifierError(f"task {task.name} breaks the law of {law}: {what}")


def _check_settings(task: EvalTask) -> None:
    sampling = task.sampling
    faults = {
        f"its name {task.name!r} is not lower-case words joined by _": not _NAME.fullmatch(task.name),
        "it names no metric": not task.metric.strip(),
        f"{sampling.max_tokens:,} new tokens are allowed, expected 1 to {_LIMIT:,}": not 1 <= sampling.max_tokens <= _LIMIT,
        f"one of its stop strings {sampling.stop!r} is empty or stands twice": (
            not all(sampling.stop) or len(set(sampling.stop)) < len(sampling.stop)
        ),
        f"it draws {task.samples} greedy replies to each problem, which are all the same": (
            task.samples > 1 and sampling.temperature == 0
        ),
        f"pass@{task.pass_at} of {task.samples} replies cannot be told": not 1 <= task.pass_at <= task.samples,
        f"n is {task.n}, shots {task.shots}": task.n < 0 or task.shots < 0,
        "it ranks given continuations, so that samples, follow-ups and stop strings mean nothing": (
            isinstance(task.verifier, Ranking) and (task.samples > 1 or task.follow_up is not None or bool(sampling.stop))
        ),
    }  # fmt: skip
    if found := [what for what, broken in faults.items() if broken]:
        raise _broken(task, "settings", found[0])
    fingerprint([task.source, task.verifier, task.follow_up])


def _check_published(task: EvalTask) -> None:
    for each in task.published:
        whole = each.url.startswith("https://") and each.settings.strip() and each.model.strip()
        if not (whole and 0 <= each.score <= 1):
            raise _broken(task, "published scores", f"{each} is no share in [0, 1] with model, https page and settings")
    if task.published and task.limit is not None:
        raise _broken(task, "published scores", f"they stand beside the first {task.limit} problems only")


def _check_problems(task: EvalTask, data: Path | None) -> tuple[list[Problem], int]:
    try:
        problems = task.problems(data)
    except DataError as error:
        if task.n and f"has {task.n:,}" in str(error):
            raise _broken(task, "number", str(error)) from None
        raise
    again = task.problems(data)
    for first, second in zip(problems, again, strict=True):
        if first != second or first.annotations != second.annotations:
            raise _broken(task, "determinism", f"problem {first.id} is {second.id} when the source is read again")
    asked: dict[str, Problem] = {}
    for problem in problems:
        _check_prompt(task, problem)
        earlier = asked.setdefault(problem.id, problem)
        if cluster_of(earlier) != cluster_of(problem):
            raise _broken(task, "number", f"problem {problem.id} stands twice, in two clusters")
    return problems, len(problems) - len(asked)


def _check_prompt(task: EvalTask, problem: Problem) -> None:
    turns = problem.prompt
    faults = {
        "has no prompt": not turns,
        "does not end in a user's turn": bool(turns) and turns[-1].role != "user",
        "has a turn that says nothing": not all(turn.content.strip() for turn in turns),
        "names no source or no licence": not (problem.source and problem.licence),
    }
    if found := [what for what, broken in faults.items() if broken]:
        raise _broken(task, "prompts", f"problem {problem.id} {found[0]}")


def _check_statement(task: EvalTask, statement: str, found: int) -> None:
    for what, accepted in protocol_words(task, found):
        if not any(re.search(pattern, statement, re.IGNORECASE) for pattern in accepted):
            raise _broken(task, "statement", f"its text does not state {what} (none of {', '.join(accepted)})")


def protocol_words(task: EvalTask, found: int = 0) -> list[tuple[str, tuple[str, ...]]]:
    """What a task's text has to state, each with the patterns of which one must occur, in any case.

    found: how many problems there are, where the task itself does not say.
    """
    number = task.n or found
    words: list[tuple[str, tuple[str, ...]]] = [("the number of problems", (rf"\b{number:,}\b", rf"\b{number}\b"))]
    words.append(("whether a chat template is used", ("chat template", "chat") if task.chat else ("plain text",)))
    if task.shots:
        words.append(("worked examples", ("example", "shot", "question-answer\\s+pairs")))
    if not isinstance(task.verifier, Ranking):
        tokens = task.sampling.max_tokens
        words.append(("the limit of new tokens", (rf"\b{tokens:,}\b", rf"\b{tokens}\b")))
        words.append(
            ("sampling", ("greedy", "greedily"))
            if task.sampling.temperature == 0
            else ("sampling", (f"temperature {task.sampling.temperature:g}",))
        )
    if task.sampling.stop:
        words.append(("stop strings", ("stop",)))
    if task.prefill:
        words.append(("what the reply is begun with", ("prefill", "begun with", "begin the reply")))
    if task.samples > 1:
        words.append(("the number of replies", (rf"\b{task.samples}\b",)))
    words.append(("what the score is", ("mean", "metric", "score", "accuracy", "share")))
    words.append(("source and licence", ("licen[cs]e", "source", r"\((?:MIT|Apache|CC)")))
    return words


def _spread(problems: Sequence[Problem], most: int) -> list[Problem]:
    """At most `most` of the problems, at equal distances, the first and the last among them; all for 0."""
    if not most or len(problems) <= most:
        return list(problems)
    last = len(problems) - 1
    return [problems[round(place * last / max(most - 1, 1))] for place in range(most)]


def _check_ranking(
    task: EvalTask, rule: Ranking, tried: Sequence[Problem], floor: float | None, problems: int, repeated: int
) -> Checked:
    tied = [[Ranked(text, -5.0, 1, False) for text in rule.choices(problem)] for problem in tried]
    floors = _scores(task, tried, [ranked_verdict(rule, *pair) for pair in zip(tried, tied, strict=True)])
    certain = [ranked_verdict(rule, problem, perfect(rule, problem)) for problem in tried]
    ceilings = _scores(task, tried, certain)
    _check_full(task, tried, certain, "the model is certain of the right choices")
    low, high = mean(floors), mean(ceilings)
    if floor is None and low >= high - _SAME:
        raise _broken(task, "floor", f"a model without preference scores {low:.3f}, as one that is certain")
    if floor is not None and low > floor + _SAME:
        raise _broken(task, "floor", f"a model without preference scores {low:.3f}, expected at most {floor:g}")
    return Checked(problems, repeated, len(tried), len(tried), low, high)


def _check_replies(
    task: EvalTask, tried: Sequence[Problem], allowed: tuple[float, int], problems: int, repeated: int
) -> Checked:
    """allowed: the mean score of empty replies, and how many right ones the stop strings may cut off."""
    rule, (floor, lost) = task.of_replies, allowed
    low = mean(_scores(task, tried, graded_many(rule, [(problem, "") for problem in tried])))
    if low > floor + _SAME:
        raise _broken(task, "floor", f"empty replies score {low:.3f}, expected at most {floor:g}")
    known = [problem for problem in tried if problem.solution]
    high = None
    if known:
        replies = [problem.solution for problem in known]
        verdicts = graded_many(rule, list(zip(known, replies, strict=True)))
        _check_full(task, known, verdicts, "the reply is the known right one")
        high = mean(_scores(task, known, verdicts))
        _check_cut(task, known, lost)
    return Checked(problems, repeated, len(tried), len(known), low, high)


def _check_cut(task: EvalTask, known: Sequence[Problem], lost: int) -> None:
    cut = [(problem, shortened(problem.solution, task.sampling.stop)) for problem in known]
    changed = [pair for pair in cut if pair[1] != pair[0].solution]
    verdicts = graded_many(task.of_replies, changed)
    if sum(verdict.score is None or verdict.score < FULL for verdict in verdicts) > lost:
        what = "the reply is the known right one, cut at the stop strings"
        _check_full(task, [problem for problem, _ in changed], verdicts, what)


def shortened(reply: str, stop: Sequence[str]) -> str:
    """The reply as an engine would give it: up to the first of the stop strings."""
    places = [place for text in stop if (place := reply.find(text)) >= 0]
    return reply[: min(places, default=len(reply))]


def _scores(task: EvalTask, problems: Sequence[Problem], verdicts: Sequence[Verdict]) -> list[float]:
    """The scores. Raises VerifierError for one that could not be graded, or is no share."""
    scores = []
    for problem, verdict in zip(problems, verdicts, strict=True):
        if verdict.score is None or not 0 <= verdict.score <= 1:
            raise _broken(task, "verdicts", f"problem {problem.id} scores {verdict.score}: {verdict.why}")
        scores.append(verdict.score)
    return scores


def _check_full(task: EvalTask, problems: Sequence[Problem], verdicts: Sequence[Verdict], when: str) -> None:
    for problem, verdict in zip(problems, verdicts, strict=True):
        if verdict.score is None or verdict.score < FULL:
            counts = Counter(each.score for each in verdicts)
            raise _broken(
                task, "ceiling", f"problem {problem.id} scores {verdict.score} where {when}: {verdict.why} (all scores: {dict(counts)})"
            )  # fmt: skip
