"""IFBench's other custom:* instructions: multiples, quiz questions, and answers turned round."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from burnish.verify.ifbench.words_of import bare_words, without_marks
from burnish.verify.ifeval.constraints import Finding

_MULTIPLES = ["14", "21", "28", "35", "42", "49"]


@dataclass(frozen=True, slots=True)
class Multiples:
    """The multiples of seven from 10 to 50, in order, and no other number."""

    ID: ClassVar[str] = "custom:multiples"

    def check(self, text: str) -> Finding:
        """Reads every run of digits."""
        found = re.findall(r"\d+", text)
        return Finding(
            found == _MULTIPLES, f"numbers {', '.join(found)[:60] or 'none'}, wanted {', '.join(_MULTIPLES)}"
        )


_QUESTION = re.compile(r"Question \d+[.|):;]?\s*")
_OPTION = re.compile(r"[A-Ea-e][.|)]\s*\w")
_ANY_QUESTION = re.compile(r"^[^\S\n]*Question\b(?:[^\S\n]*\d+)?[.|):;]?", re.MULTILINE)
_ANY_OPTION = re.compile(r"[-*•]?\s*\(?([A-Ea-e])[.):|]\s*\w")


@dataclass(frozen=True, slots=True)
class QuizQuestions:
    """Four questions with five options each; each starts with the label Question, and is longer than the one before."""

    ID: ClassVar[str] = "custom:mcq_count_length"

    def check(self, text: str) -> Finding:
        """Takes "Question", with a number or without, at the start of a line, and options like "A." or "(a)" from A to E."""
        body = text.strip().replace("*", "")
        if not _ANY_QUESTION.match(body):
            return Finding(False, 'the reply does not start with "Question"')
        found = [_options(part, lettered=True) for part in _ANY_QUESTION.split(body)[1:]]
        return self._finding(found)

    def check_published(self, text: str) -> Finding:
        """Cuts at "Question" and a number wherever they stand, and takes any five options of A to E."""
        if len(text) > 1 and not text.startswith("Question"):
            return Finding(False, 'the reply does not start with "Question"')
        parts = [part.strip() for part in _QUESTION.split(text)]
        return self._finding([_options(part, lettered=False) for part in parts if part])

    def _finding(self, found: list[tuple[int, int]]) -> Finding:
        if len(found) != 4:
            return Finding(False, f"questions: {len(found)}, wanted 4")
        for i, (_, options) in enumerate(found, start=1):
            if options != 5:
                return Finding(False, f"question {i} has {options} options, wanted 5")
        lengths = [length for length, _ in found]
        longer = all(one < two for one, two in pairwise(lengths))
        return Finding(longer, f"characters in the questions: {', '.join(map(str, lengths))}, wanted each longer")


def _options(part: str, lettered: bool) -> tuple[int, int]:
    """How long a question is, up to its first option, and how many options it has; lettered: different letters."""
    question = []
    options: list[str] = []
    for line in map(str.strip, part.strip().split("\n")):
        match = _ANY_OPTION.match(line) if lettered else _OPTION.match(line)
        if match:
            options.append(match[1].lower() if lettered else line)
        elif not options:
            question.append(line)
    return len(" ".join(question).strip()), len(set(options)) if lettered else len(options)


@dataclass(frozen=True, slots=True)
class WordReverse:
    """A sentence with its words in reverse order, which names the bald eagle: "eagle bald"."""

    ID: ClassVar[str] = "custom:word_reverse"

    def check(self, text: str) -> Finding:
        """Looks for the two words, one after the other."""
        words = bare_words(text)
        return self._finding(any(pair == ("eagle", "bald") for pair in pairwise(words)))

    def check_published(self, text: str) -> Finding:
        """Looks for them inside other words too."""
        return self._finding("bald eagle" in " ".join(without_marks(text.lower()).split()[::-1]))

    def _finding(self, followed: bool) -> Finding:
        return Finding(followed, f"read backwards, the reply {'names' if followed else 'does not name'} the bald eagle")


@dataclass(frozen=True, slots=True)
class CharacterReverse:
    """A sentence with its letters in reverse order, which names the bald eagle: "elgae dlab"."""

    ID: ClassVar[str] = "custom:character_reverse"

    def check(self, text: str) -> Finding:
        """Looks for the two words in any case."""
        followed = "elgae dlab" in text.lower()
        return Finding(followed, f'"elgae dlab" {"is" if followed else "is not"} in the reply')
