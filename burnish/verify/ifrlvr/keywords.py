"""IF-RLVR's constraints on keywords and on where they stand."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice, pairwise
from typing import ClassVar

from burnish.errors import VerifierError
from burnish.verify.ifeval.constraints import Finding, Relation
from burnish.verify.ifeval.rule_sentences import rule_sentences
from burnish.verify.ifeval.text import occurrences, whole_occurrences
from burnish.verify.ifeval.treebank import words as treebank_words
from burnish.verify.ifrlvr.words import bare_words, last_word, spoken_sentences


@dataclass(frozen=True, slots=True)
class WordOnce:
    """A keyword occurs exactly once, in any case. Published: also inside other words."""

    ID: ClassVar[str] = "keywords:word_once"
    keyword: str

    def check(self, text: str) -> Finding:
        """Counts whole words."""
        return self._once(whole_occurrences(self.keyword.strip(), text))

    def check_published(self, text: str) -> Finding:
        """Counts occurrences anywhere."""
        return self._once(occurrences(self.keyword.strip(), text))

    def _once(self, found: int) -> Finding:
        return Finding(found == 1, f"occurrences of {self.keyword!r}: {found}, wanted exactly 1")


@dataclass(frozen=True, slots=True)
class WordCountDifferentNumbers:
    """A word occurs often or seldom enough, in any case. Published: also inside other words."""

    ID: ClassVar[str] = "keywords:word_count_different_numbers"
    keyword: str
    frequency: int
    relation: Relation

    def check(self, text: str) -> Finding:
        """Counts whole words."""
        return self._compare(whole_occurrences(self.keyword.strip(), text))

    def check_published(self, text: str) -> Finding:
        """Counts occurrences anywhere."""
        return self._compare(occurrences(self.keyword.strip(), text))

    def _compare(self, found: int) -> Finding:
        followed = found >= self.frequency if self.relation == "at least" else found < self.frequency
        return Finding(followed, f"occurrences of {self.keyword!r}: {found}, wanted {self.relation} {self.frequency}")


@dataclass(frozen=True, slots=True)
class ExcludeWordHarder:
    """A keyword does not occur. Published: only where a space stands on both sides of it, and in its very case."""

    ID: ClassVar[str] = "keywords:exclude_word_harder"
    keyword: str

    def check(self, text: str) -> Finding:
        """Looks for the whole word in any case."""
        return self._absent(whole_occurrences(self.keyword.strip(), text) > 0)

    def check_published(self, text: str) -> Finding:
        """Looks for the word between spaces."""
        return self._absent(f" {self.keyword.strip()} " in text)

    def _absent(self, used: bool) -> Finding:
        return Finding(not used, f"keyword {self.keyword!r} {'used' if used else 'not used'}")


@dataclass(frozen=True, slots=True)
class CountIncrementWord:
    """One keyword occurs once and another twice, in any case. Published: also inside other words."""

    ID: ClassVar[str] = "count:count_increment_word"
    keyword1: str
    keyword2: str

    def check(self, text: str) -> Finding:
        """Counts whole words."""
        return self._counted(
            whole_occurrences(self.keyword1.strip(), text), whole_occurrences(self.keyword2.strip(), text)
        )

    def check_published(self, text: str) -> Finding:
        """Counts occurrences anywhere."""
        return self._counted(occurrences(self.keyword1.strip(), text), occurrences(self.keyword2.strip(), text))

    def _counted(self, one: int, two: int) -> Finding:
        return Finding(
            one == 1 and two == 2,
            f"occurrences of {self.keyword1!r}: {one}, wanted 1; of {self.keyword2!r}: {two}, wanted 2",
        )


@dataclass(frozen=True, slots=True)
class NoAdjacentConsecutive:
    """No two adjacent words start with consecutive letters of the alphabet, such as "a big".

    Published: marks and digits are compared as well, so that "1 2" breaks it and '"a" big' does not.
    """

    ID: ClassVar[str] = "keywords:no_adjacent_consecutive"

    def check(self, text: str) -> Finding:
        """Compares the first letters a to z of neighbouring words, in any case."""
        for one, two in pairwise(bare_words(text)):
            if "a" <= one[0] <= "y" and ord(two[0]) - ord(one[0]) == 1:
                return self._found(one, two)
        return Finding(True, "no neighbours start with consecutive letters")

    def check_published(self, text: str) -> Finding:
        """Compares the first characters of neighbouring words by their code points."""
        words = text.split()
        for one, two in pairwise(words):
            first, second = one[0].lower(), two[0].lower()
            if len(first) != 1 or len(second) != 1 or ord(second) - ord(first) == 1:
                return self._found(one, two)
        return Finding(True, "no neighbours start with consecutive characters")

    def _found(self, one: str, two: str) -> Finding:
        return Finding(False, f"{one[:30]!r} and {two[:30]!r} stand side by side")


@dataclass(frozen=True, slots=True)
class Palindrome:
    """A palindrome occurs. Published: "a" and "I" are palindromes, "Level" and "level." are not."""

    ID: ClassVar[str] = "keywords:palindrome"

    def check(self, text: str) -> Finding:
        """Looks for a word of at least three letters or digits, in any case, marks left out."""
        words = bare_words(text)
        found = next((w for w in words if len(w) > 2 and w[0] == w[-1] and w == w[::-1]), None)
        return Finding(found is not None, f"palindrome {found[:40]!r}" if found else "no palindrome of three letters")

    def check_published(self, text: str) -> Finding:
        """Looks for a part between white space that reads the same backwards."""
        found = next((word for word in text.split() if word[0] == word[-1] and word == word[::-1]), None)
        return Finding(found is not None, f"palindrome {found[:40]!r}" if found else "no palindrome")


@dataclass(frozen=True, slots=True)
class KeywordSpecificPosition:
    """A keyword is the m-th word of the n-th sentence.

    Published: marks count as words, the case must match, and a keyword of several words is never found.
    """

    ID: ClassVar[str] = "keywords:keyword_specific_position"
    keyword: str
    n: int
    m: int

    def __post_init__(self) -> None:
        if self.n < 1 or self.m < 1:
            raise VerifierError(f"n={self.n}, m={self.m}: both count from 1, so no reply could pass.")

    def check(self, text: str) -> Finding:
        """Compares the words from the m-th on, in any case, marks left out."""
        wanted = list(bare_words(self.keyword)) or [self.keyword]
        if wanted[0] not in text.casefold():
            return Finding(False, f"keyword {self.keyword!r} does not occur")
        sentences = spoken_sentences(text)
        words = sentences[self.n - 1] if self.n <= len(sentences) else []
        there = words[self.m - 1 : self.m - 1 + len(wanted)]
        return self._there(len(sentences), " ".join(there), there == wanted)

    def check_published(self, text: str) -> Finding:
        """Compares the m-th Treebank word."""
        sentences = rule_sentences(text)
        words = treebank_words(sentences[self.n - 1]) if self.n <= len(sentences) else []
        there = words[self.m - 1] if self.m <= len(words) else ""
        return self._there(len(sentences), there, there == self.keyword.strip())

    def _there(self, sentences: int, there: str, followed: bool) -> Finding:
        if self.n > sentences:
            return Finding(False, f"sentence count: {sentences}, wanted {self.keyword!r} in sentence {self.n}")
        return Finding(followed, f"word {self.m} of sentence {self.n}: {there[:40]!r}, wanted {self.keyword!r}")


@dataclass(frozen=True, slots=True)
class StartEnd:
    """The reply starts and ends with the same word, with no mark behind it. Published: the "word" may be a mark."""

    ID: ClassVar[str] = "keywords:start_end"

    def check(self, text: str) -> Finding:
        """Compares the first and the last word in any case; there must be two, and the last character be of a word."""
        words = list(islice(bare_words(text), 2))
        if len(words) < 2:
            return Finding(False, f"words: {len(words)}, wanted at least 2")
        if not text.rstrip()[-1].isalnum():
            return Finding(False, f"ends with {text.rstrip()[-1]!r}, which is no word")
        return self._same(words[0], last_word(text))

    def check_published(self, text: str) -> Finding:
        """Compares the first and the last Treebank word."""
        words = treebank_words(text)
        if len(words) < 2:
            return Finding(False, f"words: {len(words)}, wanted at least 2")
        return self._same(words[0].lower(), words[-1].lower())

    def _same(self, first: str, last: str) -> Finding:
        return Finding(first == last, f"starts with {first[:40]!r}, ends with {last[:40]!r}")
