"""IFBench's sentence:* instructions."""

from __future__ import annotations

import re
import string
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from burnish.errors import VerifierError
from burnish.verify.ifbench.words_of import MARKS_AND_SPACE, bare_words, without_marks
from burnish.verify.ifeval.constraints import Finding
from burnish.verify.ifeval.sentences import sentences


def position(name: str, value: int) -> None:
    """Raise VerifierError unless `value` counts something from 1."""
    if value < 1:
        raise VerifierError(f"{name}={value}: sentences and words are counted from 1.")


@dataclass(frozen=True, slots=True)
class AlliterationIncrement:
    """Each sentence has more alliteration, words in a row with the same first letter, than the one before it."""

    ID: ClassVar[str] = "sentence:alliteration_increment"

    def check(self, text: str) -> Finding:
        """Compares the longest run of each sentence; a sentence without alliteration counts 0."""
        return _growing([_longest_run([word[0] for word in bare_words(one)]) for one in sentences(text)])

    def check_published(self, text: str) -> Finding:
        """Compares the number of words in all runs of a sentence together."""
        found = []
        for sentence in sentences(text):
            bare = (word.lstrip(MARKS_AND_SPACE) for word in sentence.lower().split())
            found.append(_words_in_runs([word[0] for word in bare if word]))
        return _growing(found)


def _growing(counts: list[int]) -> Finding:
    for i, (one, two) in enumerate(pairwise(counts), start=2):
        if two <= one:
            return Finding(False, f"alliterative words: {two} in sentence {i}, wanted more than {one}")
    return Finding(True, "each sentence has more alliteration than the one before it")


def _longest_run(initials: list[str]) -> int:
    best = run = 1
    for one, two in pairwise(initials):
        run = run + 1 if one == two else 1
        best = max(best, run)
    return best if best > 1 else 0


def _words_in_runs(initials: list[str]) -> int:
    count, inside = 0, False
    for one, two in pairwise(initials):
        same = one == two
        count += same * (1 if inside else 2)
        inside = same
    return count


@dataclass(frozen=True, slots=True)
class SentenceKeyword:
    """The Nth sentence holds a keyword as a whole word, in any case."""

    ID: ClassVar[str] = "sentence:keyword"
    word: str
    N: int

    def __post_init__(self) -> None:
        position("N", self.N)

    def check(self, text: str) -> Finding:
        """Names the sentence that should hold it."""
        found = sentences(text)
        if len(found) < self.N:
            return Finding(False, f"sentence count: {len(found)}, wanted {self.word!r} in sentence {self.N}")
        followed = re.search(rf"\b{re.escape(self.word)}\b", found[self.N - 1], re.IGNORECASE) is not None
        return Finding(followed, f"sentence {self.N} {'holds' if followed else 'does not hold'} {self.word!r}")


@dataclass(frozen=True, slots=True)
class SentenceIncrement:
    """Each sentence has exactly so many words more than the one before it."""

    ID: ClassVar[str] = "sentence:increment"
    small_n: int

    def check(self, text: str) -> Finding:
        """Counts runs without white space that hold a letter or digit."""
        return self._finding([len(bare_words(sentence)) for sentence in sentences(text)])

    def check_published(self, text: str) -> Finding:
        """Takes a lone mark that is not ASCII, such as a dash, for a word."""
        return self._finding([len(without_marks(sentence).split()) for sentence in sentences(text)])

    def _finding(self, counts: list[int]) -> Finding:
        if not counts:
            return Finding(False, "no sentences")
        for i, (one, two) in enumerate(pairwise(counts), start=2):
            if two != one + self.small_n:
                return Finding(False, f"words in sentence {i}: {two}, wanted {one + self.small_n}")
        return Finding(True, f"each sentence has {self.small_n} words more than the one before it")


@dataclass(frozen=True, slots=True)
class SentenceAlphabet:
    """A story of 26 sentences that start with the letters of the alphabet in order."""

    ID: ClassVar[str] = "custom:sentence_alphabet"

    def check(self, text: str) -> Finding:
        """Looks at the first letter of each sentence, behind quotes and other marks."""
        return self._finding([next(filter(str.isalnum, one), "") for one in sentences(text)])

    def check_published(self, text: str) -> Finding:
        """Looks at the first character."""
        return self._finding([one.lstrip()[:1] for one in sentences(text)])

    def _finding(self, initials: list[str]) -> Finding:
        if len(initials) != 26:
            return Finding(False, f"sentence count: {len(initials)}, wanted exactly 26")
        for i, (found, wanted) in enumerate(zip(initials, string.ascii_lowercase, strict=True), start=1):
            if found.lower()[:1] != wanted:
                return Finding(False, f"sentence {i} starts with {found!r}, wanted {wanted.upper()!r}")
        return Finding(True, "26 sentences from A to Z")
