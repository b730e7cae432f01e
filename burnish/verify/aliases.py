"""The verifier for short facts with several accepted names (PopQA, arXiv:2212.10511): does the reply give one of them?"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Literal

from burnish.core.types import Problem, Verdict
from burnish.errors import VerifierError
from burnish.verify.statements import agreed, without_thought
from burnish.verify.text_forms import normal

_PARIS = '["Paris", "City of Light"]'
_ACTOR = '["politician", "political leader"]'

# Between candidates of which one must be right: each has to be. Commas and "and" also stand inside one answer
# ("London, England"), so only many of them make a list.
_HARD = re.compile(r"\s*(?:[;|\n]|/|\bor\b|\bmaybe\b|\bperhaps\b|\bpossibly\b|\balternatively\b)\s*", re.IGNORECASE)
_SOFT = re.compile(r"\s*(?:,|\band\b|&)\s*", re.IGNORECASE)
_LIST_FROM = 4
_BESIDE = 3  # words beside a name where an answer is marked: "Paris, in France"
_LEAD = re.compile(r"^\s{0,9}(?:(?:A|Answer)\s{0,3}:|[-*•#>]{1,4}\s|\d{1,2}[.)]\s)\s{0,3}")
_SENTENCE = re.compile(r"(?<=[^\s.]{4})[.!?](?:\s|$)")
_NOT = re.compile(r"(?:\bnot|n['’]t|\bnever|\bisnt|\bwasnt)(?: (?:a|an|the|in|by|actually|really)){0,2} ?$")
_DECLINED = re.compile(
    r"\b(?:i (?:cannot|can ?not|can['’]t|do not know|don['’]t know|am not (?:sure|certain|able)|have no (?:idea|information))"
    r"|i['’]m (?:sorry|not (?:sure|certain|able))|as an? (?:ai |large )?language model|not sure)\b",
    re.IGNORECASE,
)
_READ = 1_000
_SHORT = 3


@dataclass(frozen=True, slots=True)
class Aliases:
    """Grades a reply by whether it gives one of the accepted names; the target is a JSON list of them.

    rule: "words" looks for a name as whole words in what the reply states, else in its first line, in any case (names of up to
          three characters, "US", in their own), and refuses a list of candidates that are not all right.
          "popqa" is Tülu 3's published rule (olmes popqa::tulu): a name, its lower-case form or its capitalised form is
          a substring of the reply, also inside another word and in a list of guesses.
    """

    VERSION: ClassVar[int] = 1
    ACCEPTS: ClassVar[tuple[tuple[str, str], ...]] = (
        (_PARIS, "Paris"),
        (_PARIS, "It is Paris, France."),
        (_ACTOR, " politician"),
        (_ACTOR, "The answer is politician."),
    )
    REJECTS: ClassVar[tuple[tuple[str, str], ...]] = (
        (_PARIS, "London"),
        (_PARIS, ""),
        (_ACTOR, "He was an actor."),
        (_PARIS, "I do not know."),
    )
    rule: Literal["words", "popqa"] = "words"

    def check_target(self, target: str) -> None:
        """Nothing, when `target` can be compared with. Raises VerifierError otherwise; Curate asks before anything runs."""
        accepted_of(target)

    def __call__(self, problem: Problem, text: str) -> Verdict:
        """1 when an accepted name is given, else 0, with the name or what was read."""
        try:
            accepted = accepted_of(problem.check.target)
        except VerifierError as error:
            return Verdict(None, str(error))
        if self.rule == "popqa":
            return _published(text, accepted)
        return _by_words(text, accepted)


@lru_cache(maxsize=65536)
def accepted_of(target: str) -> tuple[str, ...]:
    """The accepted texts of a JSON list. Raises VerifierError, naming what is wrong, for anything else."""
    try:
        data = json.loads(target)
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, list) or not data or not all(isinstance(a, str) and a.strip() for a in data):
        raise VerifierError(
            f"target {target[:80]!r} is no list of accepted answers, so no reply can be compared with it.\n"
            f"  Write a JSON list of texts that are not blank, e.g. {_PARIS}."
        )
    return tuple(data)


def _wanted(accepted: tuple[str, ...]) -> str:
    more = f" or {len(accepted) - 1} more" if len(accepted) > 1 else ""
    return f"wanted {accepted[0]!r}{more}"


def _published(text: str, accepted: tuple[str, ...]) -> Verdict:
    for name in accepted:
        if any(form in text for form in (name, name.lower(), name.capitalize())):
            return Verdict(1.0, f"{name!r} is in the reply")
    return Verdict(0.0, f"no accepted name in {text.strip()[:60]!r}, {_wanted(accepted)}")


def _by_words(text: str, accepted: tuple[str, ...]) -> Verdict:
    candidates, marked = _candidates(without_thought(text), accepted)
    # A box, a tag or #### holds an answer and no sentence: many words beside a name are a list there.
    beside = _BESIDE if marked else _READ
    hits = [(candidate, _given(candidate, accepted, beside)) for candidate in candidates]
    right = [name for _, name in hits if name]
    if not right:
        said = candidates[0][:60] if candidates else ""
        return Verdict(0.0, f"no accepted name in {said!r}, {_wanted(accepted)}")
    if len(right) < len(hits):
        others = ", ".join(repr(candidate[:30]) for candidate, name in hits if not name)
        return Verdict(0.0, f"several answers offered ({right[0]!r} beside {others:.120}), {_wanted(accepted)}")
    return Verdict(1.0, f"gives {right[0]!r}")


def _candidates(text: str, accepted: tuple[str, ...]) -> tuple[list[str], bool]:
    """What the reply offers as its answer, one text or the members of a list; and whether a mark holds it."""
    found = agreed(text, lambda body: tuple(_first_sentence(body)))
    stated = list(found.values) if found is not None else _lines(text)
    whole = {normal(name) for name in accepted}
    parts = (part for answer in stated for part in ([answer] if normal(answer) in whole else _members(answer, whole)))
    return [part for part in parts if part.strip(" .,:*_\"'`")], found is not None and found.marked


def _first_sentence(body: str) -> list[str]:
    line = body.strip(" \t*_:\"'`").strip().split("\n", 1)[0]
    sentence = _SENTENCE.split(line, maxsplit=1)[0].strip()
    return [sentence] if sentence else []


def _lines(text: str) -> list[str]:
    """The first line; all lines of the first paragraph where each is as short as a member of a list."""
    paragraph = re.split(r"\n\s*\n", text.strip()[:_READ], maxsplit=1)[0]
    lines = [_LEAD.sub("", line).strip() for line in paragraph.split("\n") if line.strip()]
    if len(lines) > 1 and all(len(line.split()) <= 6 and not line.endswith((".", "!", "?")) for line in lines):
        return lines
    return lines[:1]


def _members(answer: str, whole: set[str]) -> list[str]:
    members = []
    for part in _HARD.split(answer[:_READ]):
        soft = _SOFT.split(part)
        members += soft if len(soft) >= _LIST_FROM and normal(part) not in whole else [part]
    return members


def _given(candidate: str, accepted: tuple[str, ...], beside: int) -> str:
    """The accepted name that stands in a candidate as whole words, with so many others beside it at most; else ""."""
    said = f" {normal(candidate)} "
    for name in accepted:
        form = normal(name)
        place = said.find(f" {form} ")
        if (
            place == -1
            or _DECLINED.search(candidate)
            or _NOT.search(said[:place])
            or len(said.split()) - len(form.split()) > beside
        ):
            continue
        if len(name) > _SHORT or form == said.strip() or re.search(rf"(?<!\w){re.escape(name)}(?!\w)", candidate):
            return name
    return ""
