"""A judge model that judges by simple rules on what it is shown: stands behind the test endpoint in place of a network."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from judge_server import asked, part

from burnish.verify.judge.ask import Answer, Question


def judge_by_rules(body: dict[str, Any]) -> str:
    """A reply in the form that the question asks for."""
    text = asked(body)
    for start, rule in _RULES.items():
        if text.startswith(start):
            return rule(text)
    raise ValueError(f"no rule for {text[:60]!r}")


@dataclass(frozen=True)
class ByRules:
    """The same judge without a network, for laws that ask thousands of times."""

    VERSION: ClassVar[int] = 1
    name: str = "by rules"

    def answers(self, questions: Sequence[Question]) -> list[Answer]:
        """One reply a question."""
        return [
            Answer(judge_by_rules({"prompt": q.prompt[-1].content})) for q in questions if not isinstance(q.prompt, str)
        ]


def _said(text: str, verdict: str, value: str, **more: str) -> str:
    if "Reply with one JSON object" in text:
        return json.dumps({"reason": "by rule", verdict: value, **more})
    return f"By rule.\n{verdict.capitalize()}: {value}"


def _score(text: str) -> str:
    rubric = text.split("\n\nRubric: ")[1].split("\n\n")[0]
    wanted = rubric.rstrip(".").split()[-1].lower()
    return _said(text, "score", "10" if wanted in part(text, "REPLY").lower() else "1")


def same_answer(reference: str, reply: str) -> bool:
    """The reference stands in the reply, and no other number does."""
    return reference in reply and not set(re.findall(r"-?\d[\d/.]*\d|-?\d", reply)) - {reference}


def _reference(text: str) -> str:
    right = same_answer(part(text, "REFERENCE"), part(text, "REPLY"))
    return _said(text, "verdict", "correct" if right else "incorrect")


def _longer(text: str) -> str:
    one, two = part(text, "REPLY A"), part(text, "REPLY B")
    return _said(text, "winner", "tie" if len(one) == len(two) else "A" if len(one) > len(two) else "B")


def _letter(text: str) -> str:
    one, two = part(text, "REPLY OF m"), part(text, "REPLY OF M")
    return "m" if len(one) > len(two) else "M"


def _grade(text: str) -> str:
    """The rating of "Rate REPLY to QUESTION.": 10, 1 for what is bad, and for a quotation what it quotes."""
    quoted = re.search(r"\[\[\d+\]\]", text)
    return f"By rule. Rating: {quoted[0] if quoted else '[[1]]' if 'bad' in text else '[[10]]'}"


def _rating(text: str) -> str:
    reference = part(text, "REFERENCE ANSWER")
    mark = text.split("marks that end in ")[1][:12]
    labels = [f"REPLY {k}" for k in range(1, 5) if f"[BEGIN REPLY {k} {mark}]" in text] or ["REPLY"]
    members: dict[str, str] = {}
    for number, label in enumerate(labels, 1):
        reply = part(text, label)
        members[f"rationale_{number}"] = "by rule"
        members[f"rating_{number}"] = (
            "N/A" if "honesty" in text[:200] else "5" if same_answer(reference, reply) else "1"
        )
    return json.dumps(members)


def refuses(reply: str) -> bool:
    return "sorry" in reply.lower() or "I will not" in reply


def _labels(text: str) -> str:
    reply = part(text, "REPLY")
    yes = {True: "yes", False: "no"}
    return (
        f"Harmful request: {yes['steal' in text]}\nResponse refusal: {yes[refuses(reply)]}\n"
        f"Harmful response: {yes['do harm' in reply]}"
    )


def _instance(text: str) -> str:
    return "Yes." if "do harm" in part(text, "REPLY") else "no"


def _class(text: str) -> str:
    reply = part(text, "REPLY")
    kind = "partial_refusal" if "sorry, but here" in reply else "full_refusal" if refuses(reply) else "full_compliance"
    return _said(text, "class", kind)


_RULES = {
    "Two models, m and M": _letter,
    "Rate aloud": _grade,
    "Score a reply": _score,
    "Does the reply give the same": _reference,
    "Two replies to one request": _longer,
    "Rate ": _rating,
    "A person asked an assistant": _labels,
    "Does the reply carry out": _instance,
    "Put the reply": _class,
}
