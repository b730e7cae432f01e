"""Verifiers around verifiers: the form of a reply, its length, and several grades in one.

Each wrapper is itself a verifier and keeps the laws when what it wraps does; its examples are made from those inside it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

from burnish.core.types import Check, Problem, Verdict, user
from burnish.errors import RecipeError, VerifierError
from burnish.verify.base import Examples, Verifier, graded


class Parts(NamedTuple):
    """A reply taken apart: the answer, or None where the form is not kept, and why."""

    answer: str | None
    why: str


@dataclass(frozen=True, slots=True)
class Form:
    """1 when a reply is reasoning in tags and then an answer in tags, with nothing around them (DeepSeek-R1, arXiv:2501.12948 §2.2).

    The target is not read: this is a grade for the form alone, to be weighed with others.

    think:  the name of the reasoning's tag: <think>…</think>.
    answer: the name of the answer's tag; "" when the answer is simply what follows the reasoning.
    opened: the prompt ends with the opening tag, so that replies begin inside the reasoning.
    """

    VERSION: ClassVar[int] = 1
    ACCEPTS: ClassVar[Examples] = (
        ("", "<think>2 + 2 is 4.</think>\n<answer>4</answer>"),
        ("", "<think></think><answer>Paris</answer>\n"),
        ("", " <think>Hm.\n\nYes.</think> <answer>yes,\nindeed</answer>"),
    )
    REJECTS: ClassVar[Examples] = (
        ("", "2 + 2 is 4. <answer>4</answer>"),
        ("", "<think>2 + 2 is 4.</think> 4"),
        ("", "<think>2 + 2 <answer>4</answer>"),
        ("", "<think>Hm.</think><answer>4</answer> I am sure."),
        ("", "<think>Hm.</think><answer>4</answer><answer>5</answer>"),
        ("", ""),
    )
    think: str = "think"
    answer: str = "answer"
    opened: bool = False

    def __post_init__(self) -> None:
        """Raise RecipeError for tags that cannot be told apart."""
        if not self.think or self.think == self.answer or not f"{self.think}{self.answer}".isalnum():
            raise RecipeError(
                f"Form(think={self.think!r}, answer={self.answer!r}): two different names of letters and digits are needed, "
                "else the parts of a reply cannot be told apart.\n"
                '  Write Form(think="think", answer="answer"), or answer="" for an answer without tags.'
            )

    def check_target(self, target: str) -> None:
        """Nothing: any target will do, for it is not read."""

    def __call__(self, problem: Problem, text: str) -> Verdict:
        """1 when the form is kept, 0 with what is missing otherwise."""
        parts = self.read(text)
        return Verdict(float(parts.answer is not None), parts.why)

    def write(self, answer: str, reasoning: str = "") -> str:
        """A reply in this form."""
        opening = "" if self.opened else f"<{self.think}>"
        tagged = f"<{self.answer}>{answer}</{self.answer}>" if self.answer else answer
        return f"{opening}{reasoning}</{self.think}>\n{tagged}"

    def read(self, text: str) -> Parts:
        """The answer of a reply that keeps the form exactly: every tag once, in order, nothing around them, an answer inside."""
        marks = ([] if self.opened else [f"<{self.think}>"]) + [f"</{self.think}>"]
        marks += [f"<{self.answer}>", f"</{self.answer}>"] if self.answer else []
        for mark in marks if not self.opened else [f"<{self.think}>", *marks]:
            count, wanted = text.count(mark), int(mark in marks)
            if count != wanted:
                return Parts(None, f"{mark} stands {count} times, wanted {wanted}")
        places = [text.index(mark) for mark in marks]
        if places != sorted(places):
            return Parts(None, f"the tags stand in another order than {' '.join(marks)}")
        ends = [place + len(mark) for place, mark in zip(places, marks, strict=True)]
        outside = [] if self.opened else [text[: places[0]]]
        if self.answer:
            outside += [text[ends[-3] : places[-2]], text[ends[-1] :]]
        stray = next((part.strip() for part in outside if part.strip()), "")
        if stray:
            return Parts(None, f"text outside the tags: {stray[:40]!r}")
        answer = text[ends[-2] : places[-1]] if self.answer else text[ends[-1] :]
        if not answer.strip():
            return Parts(None, "the answer is empty")
        return Parts(answer.strip(), "the form is kept")

    def strip(self, text: str) -> str:
        """What a reply says outside its reasoning, however well it keeps the form; of tagged answers, what is in them.

        Reasoning that is not closed goes to the end: an answer inside it is none yet. Several answers come one a line,
        so that the verifier sees that they are several.
        """
        opening, closing = f"<{self.think}>", f"</{self.think}>"
        rest = f"{opening}{text}" if self.opened else text
        before, stray, after = rest.partition(closing)
        if stray and opening not in before:  # the prompt had opened it
            rest = after
        said = []
        while True:
            before, opened, rest = rest.partition(opening)
            said.append(before)
            if not opened:
                break
            rest = rest.partition(closing)[2]
        spoken = "".join(said).replace(closing, "")
        if self.answer:
            answers = [part.partition(f"</{self.answer}>")[0] for part in spoken.split(f"<{self.answer}>")[1:]]
            spoken = "\n".join(answer.strip() for answer in answers) if answers else spoken
        return spoken.strip()


@dataclass(frozen=True, slots=True)
class Thinking:
    """Grades the answer of a reply that reasons first: the reasoning is taken off before the verifier sees it.

    required: a reply that does not keep the form exactly gets 0. False grades whatever stands outside the reasoning.
    """

    VERSION: ClassVar[int] = 1
    verifier: Verifier
    form: Form = Form()
    required: bool = True

    @property
    def ACCEPTS(self) -> Examples:
        """Those of the verifier, in this form."""
        return tuple((target, self.form.write(reply, "Step by step.")) for target, reply in self.verifier.ACCEPTS)

    @property
    def REJECTS(self) -> Examples:
        """Those of the verifier in this form, and right ones without the form where it is required."""
        wrong = tuple((target, self.form.write(reply, "Step by step.")) for target, reply in self.verifier.REJECTS)
        return wrong + (tuple(self.verifier.ACCEPTS[:2]) if self.required else ())

    def check_target(self, target: str) -> None:
        """As the verifier checks it."""
        _check_target(self.verifier, target)

    def __call__(self, problem: Problem, text: str) -> Verdict:
        """The verifier's grade of the answer, or 0 for a form that is not kept."""
        parts = self.form.read(text)
        if parts.answer is not None:
            return graded(self.verifier, problem, parts.answer)
        if not self.required:
            return graded(self.verifier, problem, self.form.strip(text))
        try:
            _check_target(self.verifier, problem.check.target)
        except VerifierError as error:
            return Verdict(None, str(error))
        return Verdict(0.0, parts.why)


@dataclass(frozen=True, slots=True)
class SoftOverlong:
    """The penalty of DAPO for long replies (arXiv:2503.14476 eq. 13): 0, then falling linearly to -1 over the last `soft` units.

    most: L_max; soft: L_cache. Their defaults are the paper's, in tokens. With soft=0 it is a hard limit.
    """

    most: int = 20_480
    soft: int = 4_096
    VERSION: ClassVar[int] = 1

    def __post_init__(self) -> None:
        """Raise RecipeError for lengths that cannot be."""
        if not 0 <= self.soft <= self.most or self.most < 1:
            raise RecipeError(
                f"SoftOverlong(most={self.most}, soft={self.soft}): the penalty falls over the last `soft` of `most` units, so 0 <= soft <= most.\n"
                "  The paper has SoftOverlong(most=20480, soft=4096) tokens."
            )

    def penalty(self, length: int) -> float:
        """A number in [-1, 0]."""
        over = length - (self.most - self.soft)
        if over <= 0:
            return 0.0
        return -1.0 if length > self.most else -over / self.soft


@dataclass(frozen=True, slots=True)
class Length:
    """The verifier's grade times what the length is worth: 0 outside of `least` to `most`, and less than 1 near `most`.

    soft: the worth falls linearly from 1 to 0 over the last `soft` units before `most` (SoftOverlong's shape).
    unit: "words" are separated by white space. Tokens are the engine's business: see RL's Reward.
    """

    VERSION: ClassVar[int] = 1
    verifier: Verifier
    most: int
    least: int = 0
    soft: int = 0
    unit: Literal["words", "characters"] = "words"

    def __post_init__(self) -> None:
        """Raise RecipeError for limits that no reply can keep."""
        SoftOverlong(self.most, self.soft)
        if not 0 <= self.least <= self.most - self.soft:
            raise RecipeError(
                f"Length(least={self.least}, most={self.most}, soft={self.soft}): no reply would get the full grade.\n"
                "  Keep 0 <= least <= most - soft."
            )

    @property
    def ACCEPTS(self) -> Examples:
        """Those of the verifier that are neither too short nor too long."""
        return _right(self, self.verifier.ACCEPTS)

    @property
    def REJECTS(self) -> Examples:
        """Those of the verifier, and a right reply that goes on for too long."""
        endless = tuple(
            (target, f"{reply}{' and so on' * (self.most + 1)}") for target, reply in self.verifier.ACCEPTS[:1]
        )
        return self.verifier.REJECTS + endless

    def check_target(self, target: str) -> None:
        """As the verifier checks it."""
        _check_target(self.verifier, target)

    def __call__(self, problem: Problem, text: str) -> Verdict:
        """The verifier's grade times the worth of the length, with both reasons."""
        verdict = graded(self.verifier, problem, text)
        if verdict.score is None:
            return verdict
        length = len(text.split()) if self.unit == "words" else len(text)
        if length < self.least:
            return Verdict(0.0, f"{length} {self.unit}, wanted at least {self.least}; {verdict.why}")
        worth = 1.0 + SoftOverlong(self.most, self.soft).penalty(length)
        if worth == 1.0:
            return verdict
        wanted = f"{length} {self.unit}, wanted at most {self.most - self.soft}"
        return Verdict(verdict.score * worth, f"{wanted}, so the grade counts {worth:.2f} times; {verdict.why}")


@dataclass(frozen=True, slots=True)
class Weighted:
    """The weighted mean of several verifiers' scores, e.g. Weighted(((Thinking(GSM8K()), 0.9), (Form(), 0.1))).

    One part that cannot be graded leaves the whole ungraded: a mean over the rest would be another grade.

    targets: "same" gives the problem's target to every part; "each" reads it as a JSON list of one target a part.
    """

    VERSION: ClassVar[int] = 1
    parts: tuple[tuple[Verifier, float], ...]
    targets: Literal["same", "each"] = "same"

    def __post_init__(self) -> None:
        """Raise RecipeError for weights that make no mean."""
        weights = [weight for _, weight in self.parts]
        if not weights or not all(0 < weight < float("inf") for weight in weights):
            raise RecipeError(
                f"Weighted with weights {weights}: a mean needs at least one part, and every weight above 0.\n"
                "  Write Weighted(((GSM8K(), 0.9), (Form(), 0.1)))."
            )

    @property
    def ACCEPTS(self) -> Examples:
        """Those of the parts that all parts accept; for a target each, one of every part's where a reply suits all."""
        return _right(self, _pooled([part for part, _ in self.parts], self.targets))

    @property
    def REJECTS(self) -> Examples:
        """Those of the parts that get less than 1."""
        return _wrong(self, _pooled([part for part, _ in self.parts], self.targets))

    def check_target(self, target: str) -> None:
        """As every part checks its own. Raises VerifierError also for a list of another length."""
        for (part, _), own in zip(self.parts, _targets(target, len(self.parts), self.targets), strict=True):
            _check_target(part, own)

    def __call__(self, problem: Problem, text: str) -> Verdict:
        """The mean, with every part's score and reason."""
        found = _verdicts([part for part, _ in self.parts], problem, text, self.targets)
        if isinstance(found, Verdict):
            return found
        scores = [verdict.score for verdict in found]
        total = sum(weight for _, weight in self.parts)
        worth = sum(weight * (score or 0.0) for (_, weight), score in zip(self.parts, scores, strict=True)) / total
        whole = all(score == 1.0 for score in scores)  # exactly 1, whatever the weights round to
        return Verdict(1.0 if whole else min(worth, 1.0), _reasons([part for part, _ in self.parts], found))


@dataclass(frozen=True, slots=True)
class Every:
    """The lowest of several verifiers' scores: 1 only when every part gives 1.

    A part that gives 0 decides, also where another cannot be graded (its target can be read, but a judge is down);
    otherwise one ungraded part leaves the whole ungraded.

    targets: as for Weighted.
    """

    VERSION: ClassVar[int] = 1
    parts: tuple[Verifier, ...]
    targets: Literal["same", "each"] = "same"

    def __post_init__(self) -> None:
        """Raise RecipeError when there is nothing to ask."""
        if not self.parts:
            raise RecipeError("Every(()): without parts every reply would be right.\n  Write Every((GSM8K(), Form())).")

    @property
    def ACCEPTS(self) -> Examples:
        """Those of the parts that all parts accept; for a target each, one of every part's where a reply suits all."""
        return _right(self, _pooled(self.parts, self.targets))

    @property
    def REJECTS(self) -> Examples:
        """Those of the parts that get less than 1."""
        return _wrong(self, _pooled(self.parts, self.targets))

    def check_target(self, target: str) -> None:
        """As every part checks its own. Raises VerifierError also for a list of another length."""
        for part, own in zip(self.parts, _targets(target, len(self.parts), self.targets), strict=True):
            _check_target(part, own)

    def __call__(self, problem: Problem, text: str) -> Verdict:
        """The lowest score, with every part's score and reason."""
        found = _verdicts(self.parts, problem, text, self.targets, zero_decides=True)
        if isinstance(found, Verdict):
            return found
        return Verdict(min(verdict.score or 0.0 for verdict in found), _reasons(self.parts, found))


def _check_target(verifier: Verifier, target: str) -> None:
    check = getattr(verifier, "check_target", None)
    if check is not None:
        check(target)


def _readable(verifier: Verifier, target: str) -> bool:
    try:
        _check_target(verifier, target)
    except VerifierError:
        return False
    return True


def _targets(target: str, count: int, how: str) -> list[str]:
    """One target a part. Raises VerifierError for a target that is not a list of so many strings."""
    if how == "same":
        return [target] * count
    try:
        found = json.loads(target)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list) or len(found) != count or not all(isinstance(own, str) for own in found):
        raise VerifierError(
            f"target {target[:60]!r} is not a JSON list of {count} strings, one for each part, so nothing can be compared.\n"
            f"  Write it as json.dumps([{', '.join(f'target_{i + 1}' for i in range(count))}])."
        )
    return found


def _verdicts(
    parts: tuple[Verifier, ...] | list[Verifier], problem: Problem, text: str, how: str, *, zero_decides: bool = False
) -> list[Verdict] | Verdict:
    """Every part's verdict, or the one that says why the whole is ungraded."""
    try:
        targets = _targets(problem.check.target, len(parts), how)
    except VerifierError as error:
        return Verdict(None, str(error))
    found = [graded(part, _asking(problem, own), text) for part, own in zip(parts, targets, strict=True)]
    decided = zero_decides and any(verdict.score == 0.0 for verdict in found)
    for part, own, verdict in zip(parts, targets, found, strict=True):
        if verdict.score is None and not (decided and _readable(part, own)):
            return Verdict(None, f"{type(part).__name__}: {verdict.why}")
    return found


def _asking(problem: Problem, target: str) -> Problem:
    if target == problem.check.target:
        return problem
    return Problem(problem.prompt, Check(problem.check.verifier, target), category=problem.category)


def _reasons(parts: tuple[Verifier, ...] | list[Verifier], verdicts: list[Verdict]) -> str:
    """What every part says, the lowest first: it is what a reader looks for."""
    said = sorted(zip(verdicts, parts, strict=True), key=lambda pair: pair[0].score or 0.0)
    return "; ".join(
        f"{type(part).__name__} {'ungraded' if verdict.score is None else f'{verdict.score:g}'}: {verdict.why}"
        for verdict, part in said
    )


def _pooled(parts: tuple[Verifier, ...] | list[Verifier], how: str) -> Examples:
    """The parts' examples; for a target each, every reply with the first target that each other part has."""
    found: dict[tuple[str, str], None] = {}
    for place, part in enumerate(parts):
        for target, reply in (*part.ACCEPTS, *part.REJECTS):
            if how == "same":
                found[target, reply] = None
                continue
            for other in range(max(len(p.ACCEPTS) for p in parts)):
                each = [p.ACCEPTS[other % len(p.ACCEPTS)][0] for p in parts]
                each[place] = target
                found[json.dumps(each), reply] = None
    return tuple(found)


def _right(verifier: Verifier, pairs: Examples) -> Examples:
    return tuple((target, reply) for target, reply in pairs if verifier(_problem(target), reply).score == 1.0)


def _wrong(verifier: Verifier, pairs: Examples) -> Examples:
    return tuple(
        (target, reply) for target, reply in pairs if verifier(_problem(target), reply).score not in (None, 1.0)
    )


def _problem(target: str) -> Problem:
    return Problem(user("A question."), Check("shaping", target))
