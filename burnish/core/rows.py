"""Rows as plain JSON objects and back: the one form in which rows, samples and rollouts are stored."""

from __future__ import annotations

from typing import Any, cast

from burnish.core.types import (
    Check,
    Completion,
    Demo,
    Finish,
    Message,
    Messages,
    Pair,
    Problem,
    Rated,
    Role,
    Row,
    Trajectory,
    Turn,
    Verdict,
    plain,
)
from burnish.errors import DataError


def messages_from(data: Any, where: str = "messages") -> Messages:
    """Messages from a list of {role, content}. Raises DataError naming the turn and field that is wrong."""
    if not isinstance(data, list | tuple) or not data:
        raise DataError(f"{where}: expected a list of {{role, content}} turns, got {data!r:.60}.")
    turns: list[Message] = []
    for i, turn in enumerate(data):
        if not isinstance(turn, dict) or not isinstance(turn.get("content"), str):
            raise DataError(f"{where}[{i}].content: expected text, got {turn!r:.60}.")
        if turn.get("role") not in ("system", "user", "assistant"):
            raise DataError(f"{where}[{i}].role: expected system, user or assistant, got {turn.get('role')!r}.")
        turns.append(Message(cast(Role, turn["role"]), turn["content"]))
    return tuple(turns)


def to_json(row: Row) -> dict[str, Any]:
    """A row as a JSON object with its id, kind and everything needed to read it back."""
    shared = {
        "source": row.source,
        "licence": row.licence,
        "lineage": list(row.lineage),
        "annotations": dict(row.annotations),
    }
    match row:
        case Demo():
            return {"id": row.id, "kind": "demo", "messages": plain(row.messages), **shared}
        case Pair():
            return {
                "id": row.id,
                "kind": "pair",
                "prompt": plain(row.prompt),
                "chosen": row.chosen,
                "rejected": row.rejected,
                **shared,
            }
        case Rated():
            return {
                "id": row.id,
                "kind": "rated",
                "prompt": plain(row.prompt),
                "reply": row.reply,
                "good": row.good,
                **shared,
            }
        case Problem():
            check = {"verifier": row.check.verifier, "target": row.check.target}
            return {
                "id": row.id,
                "kind": "problem",
                "prompt": plain(row.prompt),
                "check": check,
                "solution": row.solution,
                "category": row.category,
                **shared,
            }


def from_json(data: dict[str, Any]) -> Row:
    """The row that `to_json` wrote. Raises DataError naming the field that is missing or wrong."""
    try:
        shared = {
            "source": data["source"],
            "licence": data["licence"],
            "lineage": tuple(data["lineage"]),
            "annotations": data["annotations"],
        }
        match data["kind"]:
            case "demo":
                return Demo(messages_from(data["messages"]), **shared)
            case "pair":
                return Pair(messages_from(data["prompt"], "prompt"), data["chosen"], data["rejected"], **shared)
            case "rated":
                return Rated(messages_from(data["prompt"], "prompt"), data["reply"], data["good"], **shared)
            case "problem":
                check = Check(data["check"]["verifier"], data["check"]["target"])
                return Problem(
                    messages_from(data["prompt"], "prompt"), check, data["solution"], data["category"], **shared
                )
            case other:
                raise DataError(f"kind: expected demo, pair, rated or problem, got {other!r}.")
    except KeyError as error:
        raise DataError(f"field {error.args[0]!r} is missing.") from None


def completion_to_json(completion: Completion) -> dict[str, Any]:
    """A completion as a JSON object; log-probs keep every bit.

    Only a conversation with an environment has `sampled`, a string of a 1 or 0 per token, and `turns`, each with the number
    of its tokens.
    """
    found = {
        "token_ids": list(completion.token_ids), "logprobs": list(completion.logprobs), "finish": completion.finish.value,
        "text": completion.text, "policy_version": completion.policy_version,
    }  # fmt: skip
    if completion.sampled:
        found["sampled"] = "".join("01"[own] for own in completion.sampled)
    if completion.turns:
        found["turns"] = [
            {"role": turn.role, "text": turn.text, "tokens": len(turn.token_ids), "note": turn.note}
            for turn in completion.turns
        ]
    return found


def completion_from_json(data: dict[str, Any]) -> Completion:
    """The completion that `completion_to_json` wrote."""
    token_ids = tuple(data["token_ids"])
    turns, at = [], 0
    for turn in data.get("turns", ()):
        turns.append(Turn(turn["role"], turn["text"], token_ids[at : at + turn["tokens"]], turn["note"]))
        at += turn["tokens"]
    return Completion(
        token_ids, tuple(data["logprobs"]), Finish(data["finish"]), data["text"], data["policy_version"],
        sampled=tuple(own == "1" for own in data.get("sampled", "")), turns=tuple(turns),
    )  # fmt: skip


def trajectory_to_json(trajectory: Trajectory) -> dict[str, Any]:
    """A trajectory as a JSON object."""
    return {
        "problem": to_json(trajectory.problem), "prompt_ids": list(trajectory.prompt_ids),
        "completion": completion_to_json(trajectory.completion), "score": trajectory.verdict.score, "why": trajectory.verdict.why,
    }  # fmt: skip


def trajectory_from_json(data: dict[str, Any]) -> Trajectory:
    """The trajectory that `trajectory_to_json` wrote."""
    problem = from_json(data["problem"])
    if not isinstance(problem, Problem):
        raise DataError(f"problem.kind: expected problem, got {type(problem).__name__.lower()}.")
    return Trajectory(
        problem,
        tuple(data["prompt_ids"]),
        completion_from_json(data["completion"]),
        Verdict(data["score"], data["why"]),
    )
