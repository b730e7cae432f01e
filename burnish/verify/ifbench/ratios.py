"""IFBench's ratio:* instructions: shares and balances of words and sentences."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

from burnish.verify.ifbench.lists import STOP_WORDS
from burnish.verify.ifbench.words_of import bare_words, shown
from burnish.verify.ifeval.constraints import Finding
from burnish.verify.ifeval.sentences import sentences

_WORD = re.compile(r"\w+")
_CLOSERS = "\"'”’»)]}*_ "


@dataclass(frozen=True, slots=True)
class StopWords:
    """At most so many per cent of the words are stop words."""

    ID: ClassVar[str] = "ratio:stop_words"
    percentage: int

    def check(self, text: str) -> Finding:
        """Counts runs of letters, digits and underscores; without any the share is not defined, and not followed."""
        words = _WORD.findall(text)
        if not words:
            return Finding(False, "no words")
        found = sum(word.lower() in STOP_WORDS for word in words)
        share = found / len(words) * 100
        return Finding(
            share <= self.percentage,
            f"stop words: {found} of {len(words)} words ({share:.1f} %), wanted at most {self.percentage} %",
        )


def _ends(text: str, closers: str) -> tuple[int, int, int]:
    """How many sentences end in a full stop, a question mark and an exclamation mark, looked for before `closers`."""
    last = Counter(sentence.rstrip(closers)[-1:] for sentence in sentences(text))
    return last["."], last["?"], last["!"]


@dataclass(frozen=True, slots=True)
class SentenceType:
    """Twice as many sentences end in a full stop as in a question mark."""

    ID: ClassVar[str] = "ratio:sentence_type"

    def check(self, text: str) -> Finding:
        """Looks for the mark before closing quotes, brackets and asterisks; asks for at least one question."""
        stated, asked, _ = _ends(text, _CLOSERS)
        return Finding(stated == 2 * asked and asked > 0, self._why(stated, asked))

    def check_published(self, text: str) -> Finding:
        """Looks at the last character only; no statement and no question is 2:1."""
        stated, asked, _ = _ends(text, "")
        return Finding(stated == 2 * asked, self._why(stated, asked))

    def _why(self, stated: int, asked: int) -> str:
        return f"sentences ending in a full stop: {stated}, in a question mark: {asked}, wanted 2 to 1"


@dataclass(frozen=True, slots=True)
class SentenceBalance:
    """As many sentences end in a full stop as in a question mark and in an exclamation mark."""

    ID: ClassVar[str] = "ratio:sentence_balance"

    def check(self, text: str) -> Finding:
        """Looks for the mark before closing quotes, brackets and asterisks; asks for at least one of each."""
        ends = _ends(text, _CLOSERS)
        return Finding(len(set(ends)) == 1 and ends[0] > 0, self._why(ends))

    def check_published(self, text: str) -> Finding:
        """Looks at the last character only; none of each is balanced."""
        ends = _ends(text, "")
        return Finding(len(set(ends)) == 1, self._why(ends))

    def _why(self, ends: tuple[int, int, int]) -> str:
        return f"sentences ending in . ? !: {ends[0]}, {ends[1]} and {ends[2]}, wanted equally many"


@dataclass(frozen=True, slots=True)
class Overlap:
    """So many per cent, two more or less, of the reply's different trigrams occur in a reference text.

    A trigram is three characters in a row, as the published checker takes it; the instruction does not say.
    """

    ID: ClassVar[str] = "ratio:overlap"
    reference_text: str
    percentage: int

    def check(self, text: str) -> Finding:
        """Compares sets of three characters, case and spaces included."""
        ours = _trigrams(text)
        if not ours:
            return Finding(False, "fewer than three characters")
        share = len(ours & _trigrams(self.reference_text)) / len(ours) * 100
        low, high = self.percentage - 2, self.percentage + 2
        return Finding(
            low <= share <= high, f"trigrams shared with the reference: {share:.1f} %, wanted {low} to {high} %"
        )


def _trigrams(text: str) -> set[str]:
    return {text[i : i + 3] for i in range(len(text) - 2)}


@dataclass(frozen=True, slots=True)
class SentenceWords:
    """Three sentences of equally many characters that share no word."""

    ID: ClassVar[str] = "ratio:sentence_words"

    def check(self, text: str) -> Finding:
        """Compares lengths, and looks for words that occur twice."""
        found = self.check_published(text)
        twice = [word for word, n in Counter(bare_words(text)).items() if n > 1]
        if found.followed and twice:
            return Finding(False, f"words used twice: {shown(twice)}; wanted all different")
        return found

    def check_published(self, text: str) -> Finding:
        """Compares lengths only."""
        lengths = [len(sentence.strip()) for sentence in sentences(text)]
        if len(lengths) != 3:
            return Finding(False, f"sentence count: {len(lengths)}, wanted exactly 3")
        return Finding(
            len(set(lengths)) == 1, f"characters in the sentences: {', '.join(map(str, lengths))}, wanted equally many"
        )
