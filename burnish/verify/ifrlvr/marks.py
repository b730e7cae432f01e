"""IF-RLVR's constraints on marks around words, on punctuation, letters and repeated words."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar

from burnish.errors import VerifierError
from burnish.verify.ifeval.constraints import Finding, LetterFrequency, Relation
from burnish.verify.ifeval.text import count_letters
from burnish.verify.ifeval.treebank import words as treebank_words
from burnish.verify.ifrlvr.words import letter_words


@dataclass(frozen=True, slots=True)
class SquareBrackets:
    """Every word stands in square brackets. Published: "[]" will do, and a mark behind a bracket breaks it."""

    ID: ClassVar[str] = "detectable_format:square_brackets"

    def check(self, text: str) -> Finding:
        """Each part between white space with a letter or digit must be one word in brackets, marks outside allowed."""
        words = False
        for piece in text.split():
            if any(map(str.isalnum, piece)):
                words = True
                if not _in_brackets(piece):
                    return self._found(piece, True)
        return self._found(None, words)

    def check_published(self, text: str) -> Finding:
        """Looks at the first and the last character of each part between white space."""
        bad = next((piece for piece in text.split() if not (piece[0] == "[" and piece[-1] == "]")), None)
        return self._found(bad, True)

    def _found(self, bad: str | None, words: bool) -> Finding:
        if not words:
            return Finding(False, "no words in square brackets")
        return Finding(
            bad is None, "every word in square brackets" if bad is None else f"{bad[:40]!r} is not in brackets"
        )


def _in_brackets(piece: str) -> bool:
    start, stop = piece.find("["), piece.rfind("]")
    inside, outside = piece[start + 1 : stop], piece[:start] + piece[stop + 1 :]
    if not 0 <= start < stop or "[" in inside or "]" in inside:
        return False
    return any(map(str.isalnum, inside)) and not any(map(str.isalnum, outside))


@dataclass(frozen=True, slots=True)
class BigramWrapping:
    """Every two words stand together in <<double angular brackets>>.

    Published: a pair may be longer, as "<<a>> <<b>>", an odd last word is not looked at, and one word alone passes.
    """

    ID: ClassVar[str] = "detectable_format:bigram_wrapping"

    def check(self, text: str) -> Finding:
        """Takes words in pairs; an odd last word stands in brackets alone; marks may follow a bracket."""
        pieces = filter(None, (piece.rstrip(".,;:!?") for piece in text.split()))
        count = 0
        while words := list(islice(pieces, 2)):
            count += 1
            pair = " ".join(words)
            if not (pair[:2] == "<<" and pair[-2:] == ">>") or {"<", ">"} & set(pair[2:-2]) or not pair[2:-2].strip():
                return Finding(False, f"{pair[:40]!r} is no pair in <<…>>")
        return Finding(count > 0, f"pairs in <<…>>: {count}")

    def check_published(self, text: str) -> Finding:
        """Looks at the beginning of each odd word and the end of each even one."""
        words = text.split()
        for one, two in zip(words[::2], words[1::2], strict=False):
            if not (one.startswith("<<") and two.endswith(">>")):
                return Finding(False, f"{one[:40]!r} {two[:40]!r} is no pair in <<…>>")
        return Finding(True, f"pairs in <<…>>: {len(words) // 2}")


@dataclass(frozen=True, slots=True)
class PunctuationDot:
    """No full stop anywhere. Both readings agree."""

    ID: ClassVar[str] = "punctuation:punctuation_dot"

    def check(self, text: str) -> Finding:
        """Counts full stops."""
        found = text.count(".")
        return Finding(found == 0, f"full stops: {found}, wanted none")


@dataclass(frozen=True, slots=True)
class PunctuationExclamation:
    """No exclamation mark anywhere. Both readings agree."""

    ID: ClassVar[str] = "punctuation:punctuation_exclamation"

    def check(self, text: str) -> Finding:
        """Counts exclamation marks."""
        found = text.count("!")
        return Finding(found == 0, f"exclamation marks: {found}, wanted none")


@dataclass(frozen=True, slots=True)
class LowercaseCounting:
    """At most N words in small letters. Published: only words of a to z count, and "don't" is two."""

    ID: ClassVar[str] = "count:lowercase_counting"
    N: int

    def check(self, text: str) -> Finding:
        """Counts runs of letters in any script that has small ones."""
        return self._few(sum(1 for _ in islice(filter(str.islower, letter_words(text)), self.N + 1)))

    def check_published(self, text: str) -> Finding:
        """Counts runs of a to z with nothing else beside them."""
        return self._few(sum(1 for _ in islice(re.finditer(r"\b[a-z]+\b", text), self.N + 1)))

    def _few(self, found: int) -> Finding:
        more = found > self.N
        return Finding(
            not more, f"words in small letters: {'more than ' * more}{found - more}, wanted at most {self.N}"
        )


@dataclass(frozen=True, slots=True)
class LetterCounting:
    """Enough or few enough letters. Published: only A to Z and a to z are letters."""

    ID: ClassVar[str] = "letters:letter_counting"
    N: int
    relation: Relation

    def check(self, text: str) -> Finding:
        """Counts the letters of every script."""
        return self._compare(count_letters(text))

    def check_published(self, text: str) -> Finding:
        """Counts the letters of the English alphabet."""
        return self._compare(count_letters(text.encode("ascii", "ignore").decode("ascii")))

    def _compare(self, found: int) -> Finding:
        followed = found >= self.N if self.relation == "at least" else found < self.N
        return Finding(followed, f"letters: {found}, wanted {self.relation} {self.N}")


@dataclass(frozen=True, slots=True)
class LetterCounting2:
    """A letter occurs often or seldom enough, in any case. Both readings agree; it is IFEval's letter frequency."""

    ID: ClassVar[str] = "letters:letter_counting2"
    letter: str
    let_frequency: int
    let_relation: Relation

    def __post_init__(self) -> None:
        if len(self.letter) != 1:
            raise VerifierError(f"letter={self.letter!r:.60}: expected one character.")

    def check(self, text: str) -> Finding:
        """Counts the character in the lower-cased reply."""
        return LetterFrequency(self.letter, self.let_frequency, self.let_relation).check(text)


@dataclass(frozen=True, slots=True)
class CountUnique:
    """No word is repeated. Published: nor a mark, so a second full stop breaks it; "The" and "the" differ."""

    ID: ClassVar[str] = "count:count_unique"

    def check(self, text: str) -> Finding:
        """Compares runs of letters in any case."""
        return _unique(map(str.casefold, letter_words(text)))

    def check_published(self, text: str) -> Finding:
        """Compares Treebank words, marks included."""
        return _unique(treebank_words(text))


def _unique(words: Iterable[str]) -> Finding:
    seen: set[str] = set()
    for word in words:
        if word in seen:
            return Finding(False, f"{word[:40]!r} is repeated")
        seen.add(word)
    return Finding(True, f"words, all different: {len(seen)}")
