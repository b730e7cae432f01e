"""Grade replies that already exist, without any model: lines of {"id" | "prompt": ..., "response": ...}."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from burnish.core.files import read_jsonl, write_atomic
from burnish.core.rows import messages_from
from burnish.core.types import Problem, Verdict, plain
from burnish.errors import DataError
from burnish.eval.score import check_gold, published, settings, summary
from burnish.eval.stats import is_binary, mean, mean_pass_at_k
from burnish.eval.task import EvalTask
from burnish.verify.base import graded

SHOWN = 10  # names listed of what is missing or unknown


@dataclass(frozen=True, slots=True)
class Reply:
    """One line of the responses file, matched to a problem by its place in the task."""

    number: int
    place: int
    text: str


class Index:
    """Finds a problem's place by content id, by the benchmark's own key, by place, or by prompt."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.ids: dict[str, int] = {}
        self.keys: dict[str, int] = {}
        self.prompts: dict[str, set[int]] = {}
        for place, problem in enumerate(problems):
            first = self.ids.setdefault(problem.id, place)
            key = problem.annotations.get("key")
            if key is not None:
                self.keys.setdefault(str(key), place)
            for text in {problem.prompt[-1].content, json.dumps(plain(problem.prompt))}:
                self.prompts.setdefault(text, set()).add(first)
        if not self.keys:  # a benchmark without keys of its own is counted from 0
            self.keys = {str(place): place for place in range(len(problems))}

    def by_id(self, value: str | int) -> int | None:
        """The place of a content id, a key or an index."""
        text = str(value)
        return self.ids.get(text, self.keys.get(text))

    def by_prompt(self, value: Any, where: str) -> int | None:
        """The place of a prompt: the last user turn's exact text, or the whole list of turns. Raises if several fit."""
        text = value if isinstance(value, str) else json.dumps(plain(messages_from(value, f"{where}, field prompt")))
        places = sorted(self.prompts.get(text, ()))
        if len(places) > 1:
            raise DataError(
                f"{where}, field prompt: {len(places)} problems have this prompt with different targets, so the reply could belong to any of them.\n"
                "  Give the line an id instead."
            )
        return places[0] if places else None


def read_replies(path: Path, index: Index) -> tuple[list[Reply], list[str]]:
    """The matched replies of a JSON Lines file, and the names of lines that match no problem of the task.

    Raises DataError naming file, line and field for a line that is not {"id" | "prompt": ..., "response": text}.
    """
    replies: list[Reply] = []
    unknown: list[str] = []
    for number, row in read_jsonl(path):
        where = f"{path}, line {number}"
        if not isinstance(row, dict):
            raise DataError(f'{where}: expected an object like {{"id": ..., "response": ...}}, got {row!r:.60}.')
        name, place = _match(row, index, where)
        response = row.get("response")
        if not isinstance(response, str):
            got = (
                f"got {response!r:.60}" if "response" in row else f"found only {', '.join(map(repr, row)) or 'nothing'}"
            )
            raise DataError(f"{where}, field response: expected the reply's text, {got}.")
        if place is None:
            unknown.append(name)
        else:
            replies.append(Reply(number, place, response))
    return replies, unknown


def _match(row: dict[str, Any], index: Index, where: str) -> tuple[str, int | None]:
    """How the line names its problem, and that problem's place."""
    found: dict[str, int | None] = {}
    if row.get("id") is not None:
        if not isinstance(row["id"], str | int) or isinstance(row["id"], bool):
            raise DataError(f"{where}, field id: expected text or a whole number, got {row['id']!r:.60}.")
        found["id"] = index.by_id(row["id"])
    if row.get("prompt") is not None:
        found["prompt"] = (
            index.by_prompt(row["prompt"], where) if found.get("id") is None else _agreeing(row, index, where)
        )
    if not found:
        raise DataError(f"{where}: neither an id nor a prompt says which problem the reply answers.")
    name = _printable(str(row.get("id") if row.get("id") is not None else row["prompt"]))
    places = [place for place in found.values() if place is not None]
    if len(set(places)) > 1:
        raise DataError(
            f"{where}: id {name!r} and the prompt belong to different problems.\n  Keep the one that is right."
        )
    return name, places[0] if places else None


def _agreeing(row: dict[str, Any], index: Index, where: str) -> int | None:
    """The prompt's place where it is unambiguous; with a known id an ambiguous prompt is no error."""
    try:
        return index.by_prompt(row["prompt"], where)
    except DataError:
        return index.by_id(row["id"])


def _printable(text: str) -> str:
    return text[:80].encode("utf-8", "backslashreplace").decode()


def grade(task: EvalTask, responses: Path, data: Path | None = None, out: Path | None = None) -> dict[str, Any]:
    """Grade the replies in `responses`; returns the task's numbers and everything that did not fit.

    score: mean over problems with a graded reply; a problem with several replies counts with their mean. With them,
    pass_at_k gives the unbiased estimate for k = 1, 2, 4 ... up to the fewest replies any problem has.
    missing, unknown: problems without a reply, lines that match no problem: count and the first ten.
    score_missing_as_0: the score if every missing problem had failed. repeated_lines: exact repeats, which count as
    samples of their own. `out` gets one verdict a line, in the file's order.
    Raises DataError for a bad line, VerifierError when the verifier rejects the task's own solutions.
    """
    problems = task.problems(data)
    check_gold(task, problems)
    replies, unknown = read_replies(responses, Index(problems))
    if not replies:
        raise DataError(
            f"{responses}: none of its {len(unknown)} lines matches a problem of task {task.name}.\n"
            f"  First ids or prompts: {', '.join(map(repr, unknown[:3])) or 'none'}; the task has e.g. id {problems[0].id!r}, prompt {problems[0].prompt[-1].content!r:.60}."
        )
    verdicts = [graded(task.verifier, problems[r.place], r.text) for r in replies]
    if out is not None:
        _write_verdicts(out, problems, replies, verdicts)
    return _result(task, problems, replies, verdicts, unknown)


def _write_verdicts(
    out: Path, problems: Sequence[Problem], replies: Sequence[Reply], verdicts: Sequence[Verdict]
) -> None:
    lines = [
        json.dumps({
            "line": r.number, "id": problems[r.place].id, "key": problems[r.place].annotations.get("key"),
            "score": v.score, "why": v.why, "category": problems[r.place].category,
        })
        for r, v in zip(replies, verdicts, strict=True)
    ]  # fmt: skip
    write_atomic(out, "".join(text + "\n" for text in lines))


def _result(
    task: EvalTask, problems: Sequence[Problem], replies: Sequence[Reply], verdicts: Sequence[Verdict], unknown: list[str]
) -> dict[str, Any]:  # fmt: skip
    scores: dict[int, list[float]] = {}
    for reply, verdict in zip(replies, verdicts, strict=True):
        scores.setdefault(reply.place, [])
        if verdict.score is not None:
            scores[reply.place].append(verdict.score)
    answered = sorted(scores)
    row = summary(task, [problems[i] for i in answered], [mean(scores[i]) if scores[i] else None for i in answered])
    known = {problem.id for problem in (problems[i] for i in answered)}
    missing = [problem for problem in problems if problem.id not in known]
    total = 0.0 if row["score"] is None else row["score"] * row["n"]
    repeats = Counter((r.place, r.text) for r in replies)
    return {
        **row,
        "responses": len(replies),
        "ungraded": sum(v.score is None for v in verdicts),
        "missing": {"count": len(missing), "first": [_name(p) for p in missing[:SHOWN]]},
        "unknown": {"count": len(unknown), "first": unknown[:SHOWN]},
        "score_missing_as_0": total / (row["n"] + len(missing)) if row["n"] else None,
        "repeated_lines": len(replies) - len(repeats),
        "pass_at_k": _pass_at_k([scores[i] for i in answered if scores[i]]),
        **_instructions(task, problems, replies),
        "settings": settings(task),
        "published": published(task),
    }


def _name(problem: Problem) -> str:
    key = problem.annotations.get("key")
    return problem.id if key is None else f"{problem.id} (key {key})"


def _pass_at_k(groups: Sequence[Sequence[float]]) -> list[dict[str, Any]]:
    """pass@k for right-or-wrong scores; [] for fractional scores or single replies."""
    fewest = min(map(len, groups), default=0)
    if fewest < 2 or not all(is_binary(group) for group in groups):
        return []
    ks = [k for k in (2**i for i in range(fewest.bit_length())) if k < fewest] + [fewest]
    counts = [(len(group), sum(score == 1 for score in group)) for group in groups]
    return [dict(zip(("k", "score", "standard_error"), (k, *mean_pass_at_k(counts, k)), strict=True)) for k in ks]


def _instructions(task: EvalTask, problems: Sequence[Problem], replies: Sequence[Reply]) -> dict[str, Any]:
    """For IFEval: the four numbers of its paper (arXiv:2311.07911 table 3), over all replies."""
    from burnish.verify.ifeval import IFEval

    if not isinstance(task.verifier, IFEval):
        return {}
    numbers: dict[str, float | None] = {}
    for mode in ("strict", "loose"):
        verifier = dataclasses.replace(task.verifier, mode=mode, partial=True)
        followed = asked = whole = count = 0.0
        for reply in replies:
            problem = problems[reply.place]
            share = graded(verifier, problem, reply.text).score
            if share is not None:
                size = len(json.loads(problem.check.target))
                followed, asked = followed + share * size, asked + size
                whole, count = whole + (share == 1.0), count + 1
        numbers[f"prompt_{mode}"] = whole / count if count else None
        numbers[f"instruction_{mode}"] = followed / asked if asked else None
    return {"ifeval": numbers}
