"""The verifier for answers that are short texts: exact match, string match and puzzle match."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from burnish.core.types import Problem, Verdict
from burnish.errors import VerifierError
from burnish.verify.aliases import accepted_of
from burnish.verify.statements import agreed, without_thought
from burnish.verify.text_forms import lowered, normal, squad

_OPEN, _CLOSE = "<answer>", "</answer>"
_CUE = "The answer is: "
_SLACK = 100  # a reply this many times longer than every accepted text is not one of them


@dataclass(frozen=True, slots=True)
class TextMatch:
    """Grades a reply by whether its answer is the target; the target is a text, or a JSON list of accepted texts.

    rule: "stated" reads what the reply states (<answer> tags, a box, "the answer is"), else all of it, and compares
          normal forms: case, punctuation, leading articles and spacing do not count. Several different statements are
          no answer.
          "exact" compares the reply, without the white space around it, character by character.
          "olmes" compares after lower-casing and deleting ASCII punctuation, as olmes' exact_match does.
          "flan", "string_match" and "puzzle" are open-instruct's rules, with SQuAD's normal form: what follows the last
          "The answer is: "; what stands in the last <answer> tags, and nothing else counts; the reply without its
          thoughts and its tags.
    """

    VERSION: ClassVar[int] = 1
    ACCEPTS: ClassVar[tuple[tuple[str, str], ...]] = (
        ("blue", "blue"),
        ("New York", "New York"),
        ('["four", "4"]', "4"),
    )
    REJECTS: ClassVar[tuple[tuple[str, str], ...]] = (
        ("blue", "red"),
        ("blue", "blue or red or green"),
        ("New York", ""),
        ('["four", "4"]', "5"),
    )
    rule: Literal["stated", "exact", "olmes", "flan", "string_match", "puzzle"] = "stated"

    def check_target(self, target: str) -> None:
        """Nothing, when `target` can be compared with. Raises VerifierError otherwise; Curate asks before anything runs."""
        _accepted(target)

    def __call__(self, problem: Problem, text: str) -> Verdict:
        """1 when the answer is one of the accepted texts, else 0, with what was read."""
        try:
            accepted = _accepted(problem.check.target)
        except VerifierError as error:
            return Verdict(None, str(error))
        wanted = " or ".join(repr(answer[:60]) for answer in accepted[:3])
        if self.rule == "stated":
            return _stated(text, accepted, wanted)
        said = _READ[self.rule](text)
        if said is None:
            return Verdict(0.0, f"no {_OPEN}…{_CLOSE} in the reply, wanted {wanted}")
        form = _FORM[self.rule]
        right = form(said) in {form(answer) for answer in accepted}
        return Verdict(float(right), f"{said.strip()[:60]!r} {'is' if right else 'is not'} {wanted}")


def _accepted(target: str) -> tuple[str, ...]:
    """The accepted texts: those of a JSON list, else the target itself."""
    if not target.strip():
        raise VerifierError(
            f"target {target!r} is blank, so a blank reply would be right.\n"
            '  Write the answer, or a JSON list of accepted answers such as ["four", "4"].'
        )
    return accepted_of(target) if target.lstrip().startswith('["') else (target,)


def _stated(text: str, accepted: tuple[str, ...], wanted: str) -> Verdict:
    text = without_thought(text)
    forms = {normal(answer): answer for answer in accepted}
    longest = max(map(len, accepted))
    if len(text) <= _SLACK * longest + _SLACK and normal(text) in forms:
        return Verdict(1.0, f"{text.strip()[:60]!r} is {wanted}")
    found = agreed(text, lambda body: _short(body, forms))
    if found is None:
        return Verdict(0.0, f"{text.strip()[:60]!r} is not {wanted}")
    if len(found.values) > 1:
        offered = ", ".join(repr(value[:30]) for value in found.values[:5])
        return Verdict(0.0, f"several answers stated ({offered}), wanted {wanted}")
    right = found.values[0] in forms
    return Verdict(float(right), f"stated after {found.how!r}: {found.values[0][:60]!r}, wanted {wanted}")


def _short(body: str, forms: Mapping[str, str]) -> tuple[str, ...]:
    """The normal form of a statement: of all of it where that is accepted, else of its first line without a final sentence."""
    line = body.strip().split("\n", 1)[0]
    for part in (body, line, line.partition(". ")[0]):
        if normal(part) in forms:
            return (normal(part),)
    return (normal(line),) if line.strip() else ()


def _flan(text: str) -> str:
    return text.rpartition(_CUE)[2]


def _tagged(text: str) -> str | None:
    if _OPEN not in text or _CLOSE not in text:
        return None
    return text.rpartition(_OPEN)[2].partition(_CLOSE)[0]


def _puzzle(text: str) -> str:
    text = without_thought(text.replace("<|assistant|>", "").strip())
    return text.replace(_OPEN, "").replace(_CLOSE, "").strip()


_READ: Mapping[str, Callable[[str], str | None]] = {
    "exact": str.strip, "olmes": str, "flan": _flan, "string_match": _tagged, "puzzle": _puzzle,
}  # fmt: skip
_FORM: Mapping[str, Callable[[str], str]] = {
    "exact": str.strip, "olmes": lowered, "flan": squad, "string_match": squad, "puzzle": squad,
}  # fmt: skip
