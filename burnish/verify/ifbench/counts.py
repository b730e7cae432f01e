"""IFBench's count:* instructions: words, names, numbers, marks, keywords."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from burnish.errors import VerifierError
from burnish.verify.ifbench.lists import CONJUNCTIONS, PERSON_NAMES, PRONOUNS
from burnish.verify.ifbench.words_of import MARKS_AND_SPACE, bare_words, shown, without_marks
from burnish.verify.ifeval.constraints import Finding
from burnish.verify.ifeval.text import count_words
from burnish.verify.ifeval.treebank import words as treebank_words


def at_least(what: str, found: int, wanted: int) -> Finding:
    """Followed when `found` reaches `wanted`."""
    return Finding(found >= wanted, f"{what}: {found}, wanted at least {wanted}")


@dataclass(frozen=True, slots=True)
class WordCountRange:
    """Between so many and so many words; "don't" is two."""

    ID: ClassVar[str] = "count:word_count_range"
    min_words: int
    max_words: int

    def __post_init__(self) -> None:
        if self.min_words > self.max_words:
            raise VerifierError(
                f"min_words={self.min_words} is above max_words={self.max_words}, so no reply could pass."
            )

    def check(self, text: str) -> Finding:
        """Counts runs of letters, digits and underscores."""
        found = count_words(text)
        followed = self.min_words <= found <= self.max_words
        return Finding(followed, f"word count: {found}, wanted {self.min_words} to {self.max_words}")


@dataclass(frozen=True, slots=True)
class UniqueWordCount:
    """At least N different words, in any case."""

    ID: ClassVar[str] = "count:unique_word_count"
    N: int

    def check(self, text: str) -> Finding:
        """Counts different words without the marks at their ends."""
        return at_least("different words", len(set(bare_words(text))), self.N)

    def check_published(self, text: str) -> Finding:
        """Strips ASCII marks only, and counts a run of such marks as one word more."""
        return at_least("different words", len({word.strip(MARKS_AND_SPACE) for word in text.lower().split()}), self.N)


@dataclass(frozen=True, slots=True)
class Conjunctions:
    """At least so many different ones of: and, but, for, nor, or, so, yet."""

    ID: ClassVar[str] = "count:conjunctions"
    small_n: int

    def check(self, text: str) -> Finding:
        """Counts each conjunction once, whatever its case and the marks around it."""
        found = CONJUNCTIONS & set(bare_words(text))
        return self._finding(set(found))

    def check_published(self, text: str) -> Finding:
        """Counts spellings: "and", "And" and "and," are three."""
        return self._finding({word for word in text.split() if word.strip(MARKS_AND_SPACE).lower() in CONJUNCTIONS})

    def _finding(self, found: set[str]) -> Finding:
        seen = f" ({shown(found)})" if found else ""
        return Finding(
            len(found) >= self.small_n,
            f"different coordinating conjunctions: {len(found)}{seen}, wanted at least {self.small_n}",
        )


_NAMES = re.compile(r"\b(?:" + "|".join(PERSON_NAMES) + r")\b")


@dataclass(frozen=True, slots=True)
class PersonNames:
    """At least N different ones of the 50 first names that the instruction lists, spelled with a capital."""

    ID: ClassVar[str] = "count:person_names"
    N: int

    def check(self, text: str) -> Finding:
        """Looks for the names as whole words."""
        return at_least("different names from the list", len(set(_NAMES.findall(text))), self.N)


_NUMBER = re.compile(r"\d+(?:,\d{3}(?!\d))*(?:\.\d+)?")
_DIGITS = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class Numbers:
    """Exactly N numbers in digits."""

    ID: ClassVar[str] = "count:numbers"
    N: int

    def check(self, text: str) -> Finding:
        """Counts numbers; thousands commas and a decimal point belong to them, "3/4" and "1990-2000" are two."""
        return self._finding(len(_NUMBER.findall(text)))

    def check_published(self, text: str) -> Finding:
        """Deletes ASCII marks first, so that "3/4", "1990-2000" and "(1)(2)" are one number each."""
        return self._finding(len(_DIGITS.findall(without_marks(text))))

    def _finding(self, found: int) -> Finding:
        return Finding(found == self.N, f"numbers: {found}, wanted exactly {self.N}")


@dataclass(frozen=True, slots=True)
class Punctuation:
    """Each of . , ! ? ; : occurs, and an interrobang (?!, !? or ‽) besides."""

    ID: ClassVar[str] = "count:punctuation"

    def check(self, text: str) -> Finding:
        """Looks for the marks outside one interrobang."""
        if not ("!?" in text or "?!" in text or "‽" in text):
            return Finding(False, "no interrobang (?!, !? or ‽)")
        rest = text.replace("?!", "", 1)
        if len(rest) == len(text):
            rest = text.replace("!?", "", 1)
        missing = [mark for mark in ".,!?;:" if mark not in rest]
        return Finding(not missing, f"missing marks: {' '.join(missing)}" if missing else "every mark occurs")


_JAPANESE = re.compile("[\u3040-\u30ff\u4e00-\u9fff]")


@dataclass(frozen=True, slots=True)
class WordsJapanese:
    """Every Nth word holds a Japanese character; a number or a mark may stand there as well."""

    ID: ClassVar[str] = "count:words_japanese"
    N: int

    def __post_init__(self) -> None:
        if self.N < 1:
            raise VerifierError("N=0: there is no such thing as every 0th word. Write a number from 1.")

    def check(self, text: str) -> Finding:
        """Asks for at least one Japanese word besides."""
        words = text.split()
        if not any(_JAPANESE.search(word) for word in words[self.N - 1 :: self.N]):
            return Finding(False, f"no Nth word of {len(words)} is in Japanese, wanted every {self.N}th")
        return self.check_published(text)

    def check_published(self, text: str) -> Finding:
        """A reply of fewer than N words follows it."""
        for i, word in enumerate(text.split()[self.N - 1 :: self.N], start=1):
            bare = word.strip(MARKS_AND_SPACE)
            if bare and not bare.isdigit() and not _JAPANESE.search(bare):
                return Finding(False, f"word {i * self.N} is {bare[:30]!r}, wanted it in Japanese")
        return Finding(True, f"every {self.N}th word is in Japanese")


@dataclass(frozen=True, slots=True)
class Pronouns:
    """At least N pronouns from the checker's list of 63, repeats included."""

    ID: ClassVar[str] = "count:pronouns"
    N: int

    def check(self, text: str) -> Finding:
        """Counts by the Treebank rules: the "it" of "it's" counts, and so does each part of "she/her"."""
        found = sum(word in PRONOUNS for word in treebank_words(text.replace("/", " ").lower()))
        return at_least("pronouns", found, self.N)


_TIMES = (1, 2, 3, 5, 7)


@dataclass(frozen=True, slots=True)
class KeywordsMultiple:
    """Five keywords occur exactly 1, 2, 3, 5 and 7 times, in any case."""

    ID: ClassVar[str] = "count:keywords_multiple"
    keyword1: str
    keyword2: str
    keyword3: str
    keyword4: str
    keyword5: str

    def check(self, text: str) -> Finding:
        """Counts whole words."""
        lower = text.lower()
        # What stands before the word is looked at behind it: a pattern that starts with plain text is found faster.
        words = [re.escape(word.lower()) for word in self._keywords()]
        return self._finding([len(re.findall(rf"{word}(?<!\w{word})(?!\w)", lower)) for word in words])

    def check_published(self, text: str) -> Finding:
        """Counts inside other words too: "blue" in "bluebird"."""
        lower = text.lower()
        return self._finding([lower.count(word.lower()) for word in self._keywords()])

    def _keywords(self) -> list[str]:
        given = (self.keyword1, self.keyword2, self.keyword3, self.keyword4, self.keyword5)
        return [word.strip() for word in given]

    def _finding(self, found: list[int]) -> Finding:
        rows = zip(self._keywords(), found, _TIMES, strict=True)
        wrong = [f"{word!r}: {seen}, wanted {times}" for word, seen, times in rows if seen != times]
        return Finding(not wrong, "occurrences of " + "; ".join(wrong) if wrong else "every keyword as often as wanted")
