"""IF-RLVR's constraints on sentences and paragraphs. Sentences are split by rules, as the published checkers do."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar, TypeVar

from burnish.errors import VerifierError
from burnish.verify.ifeval import text as count
from burnish.verify.ifeval.constraints import Finding, NumberParagraphs
from burnish.verify.ifeval.rule_sentences import rule_sentences
from burnish.verify.ifeval.treebank import words as treebank_words
from burnish.verify.ifrlvr.words import bare, first_word, last_word, spoken_sentences

S = TypeVar("S")

_MARKS = re.compile(r"[^\w\s]")
_DIVIDER = re.compile(r"\* \* \*|\*\*\*")
_JOINT = re.compile(r"(?<=[.?!])-|(?<=[.?!][\"')”’])-")


@dataclass(frozen=True, slots=True)
class SentenceHyphens:
    """All sentences are connected by hyphens, with no space between them.

    Published: a hyphen inside a word breaks it, and what stands behind the last sentence is not looked at.
    """

    ID: ClassVar[str] = "detectable_format:sentence_hyphens"

    def check(self, text: str) -> Finding:
        """Every part between hyphens that stand behind an end mark must be one sentence without spaces around it."""
        for part in _JOINT.split(text.strip()):
            if part != part.strip() or len(rule_sentences(part)) != 1:
                return Finding(False, f"{part[:40]!r} is not one sentence between hyphens")
        return Finding(True, "sentences joined by hyphens")

    def check_published(self, text: str) -> Finding:
        """Compares the parts between hyphens with the sentences of the reply without hyphens."""
        for part, sentence in zip(text.split("-"), rule_sentences(text.replace("-", " ")), strict=False):
            if part != sentence:
                return Finding(False, f"{part[:40]!r} is not one sentence between hyphens")
        return Finding(True, "sentences joined by hyphens")


@dataclass(frozen=True, slots=True)
class FirstWordSent:
    """Every sentence starts with a word, in any case. Published: marks beside the word, as in "Well,", break it."""

    ID: ClassVar[str] = "first_word:first_word_sent"
    first_word: str

    def check(self, text: str) -> Finding:
        """Compares the first word of every sentence that has words."""
        if (first := first_word(text)) != bare(self.first_word):
            return _all_are([first], bare(self.first_word), "start")
        firsts = filter(None, map(first_word, rule_sentences(text)))
        return _all_are(firsts, bare(self.first_word), "start")

    def check_published(self, text: str) -> Finding:
        """Compares the first part before white space of every sentence."""
        firsts = ("".join(sentence.split(None, 1)[:1]).lower() for sentence in rule_sentences(text))
        return _all_are(firsts, self.first_word.strip().lower(), "start")


@dataclass(frozen=True, slots=True)
class LastWordSent:
    """Every sentence ends with a word, in any case, marks left out. Published: a word with a mark inside is never right."""

    ID: ClassVar[str] = "last_word:last_word_sent"
    last_word: str

    def check(self, text: str) -> Finding:
        """Compares the last word of every sentence that has words."""
        if (last := last_word(text)) != bare(self.last_word):
            return Finding(False, f"the last sentence ends with {last[:40]!r}, wanted {bare(self.last_word)!r}")
        lasts = filter(None, map(last_word, rule_sentences(text)))
        return _all_are(lasts, bare(self.last_word), "end")

    def check_published(self, text: str) -> Finding:
        """Compares the last part behind white space of every sentence, all marks deleted."""
        lasts = map(_unmarked, rule_sentences(text))
        return _all_are(lasts, self.last_word.strip().lower(), "end")


def _unmarked(text: str) -> str:
    pieces = text.split()
    return _MARKS.sub("", pieces[-1]).lower() if pieces else ""


def _all_are(words: Iterable[str], wanted: str, what: str) -> Finding:
    count = 0
    for count, word in enumerate(words, 1):
        if word != wanted:
            return Finding(False, f"sentence {count} {what}s with {word[:40]!r}, wanted {wanted!r}")
    return Finding(count > 0, f"sentences that {what} with {wanted!r}: {count}")


@dataclass(frozen=True, slots=True)
class FirstWordAnswer:
    """The reply starts with a word, in any case. Published: marks beside the word break it."""

    ID: ClassVar[str] = "first_word:first_word_answer"
    first_word: str

    def check(self, text: str) -> Finding:
        """Compares the first word."""
        return _is("first", first_word(text), bare(self.first_word))

    def check_published(self, text: str) -> Finding:
        """Compares the first part before white space."""
        return _is("first", "".join(text.split(None, 1)[:1]).lower(), self.first_word.strip().lower())


@dataclass(frozen=True, slots=True)
class LastWordAnswer:
    """The reply ends with a word, in any case, marks left out. Published: a word with a mark inside is never right."""

    ID: ClassVar[str] = "last_word:last_word_answer"
    last_word: str

    def check(self, text: str) -> Finding:
        """Compares the last word."""
        return _is("last", last_word(text), bare(self.last_word))

    def check_published(self, text: str) -> Finding:
        """Compares the last part behind white space, all marks deleted."""
        return _is("last", _unmarked(text), self.last_word.strip().lower())


def _is(place: str, found: str, wanted: str) -> Finding:
    return Finding(found == wanted, f"{place} word {found[:40]!r}, wanted {wanted!r}")


@dataclass(frozen=True, slots=True)
class Paragraphs:
    """Two paragraphs, divided by ***. Both readings agree."""

    ID: ClassVar[str] = "paragraphs:paragraphs"

    def check(self, text: str) -> Finding:
        """Counts as IFEval does."""
        return NumberParagraphs(2).check(text)


@dataclass(frozen=True, slots=True)
class Paragraphs2:
    """Two paragraphs, divided by blank lines. Published: by exactly two line breaks; two blank lines break it."""

    ID: ClassVar[str] = "paragraphs:paragraphs2"

    def check(self, text: str) -> Finding:
        """Counts runs of lines that are not blank."""
        filled = [bool(line.strip()) for line in text.split("\n")]
        found = sum(line and not before for line, before in zip(filled, [False, *filled], strict=False))
        return Finding(found == 2, f"paragraph count: {found}, wanted exactly 2")

    def check_published(self, text: str) -> Finding:
        """Counts parts between two line breaks; a blank one is allowed only before the first and after the last."""
        parts = text.split("\n\n")
        if any(not part.strip() for part in parts[1:-1]):
            return Finding(False, "an empty paragraph between two others")
        found = sum(1 for part in parts if part.strip())
        return Finding(found == 2, f"paragraph count: {found}, wanted exactly 2")


@dataclass(frozen=True, slots=True)
class CountingComposition:
    """Three paragraphs, divided by "* * *", of so many sentences each, of so many words each.

    Published: only "***" divides, with none before the first or after the last paragraph, and marks count as words.
    """

    ID: ClassVar[str] = "count:counting_composition"
    n_sent: int
    n_words: int

    def __post_init__(self) -> None:
        if self.n_sent < 1 or self.n_words < 1:
            raise VerifierError(f"n_sent={self.n_sent}, n_words={self.n_words}: both must be at least 1.")

    def check(self, text: str) -> Finding:
        """Counts sentences that have words, and words without marks; "* * *" and "***" divide."""
        parts = _DIVIDER.split(text)
        filled = [part for i, part in enumerate(parts) if part.strip() or 0 < i < len(parts) - 1]
        return self._counted(filled, spoken_sentences, len)

    def check_published(self, text: str) -> Finding:
        """Counts sentences and Treebank words, marks included."""
        return self._counted(
            count.divided_paragraphs(text), rule_sentences, lambda sentence: len(treebank_words(sentence))
        )

    def _counted(self, paragraphs: list[str], split: Callable[[str], list[S]], size: Callable[[S], int]) -> Finding:
        """split: the sentences of a paragraph; size: the number of words of a sentence."""
        if len(paragraphs) != 3:
            return Finding(False, f"paragraph count: {len(paragraphs)}, wanted exactly 3")
        for i, sentences in enumerate(map(split, paragraphs), 1):
            if len(sentences) != self.n_sent:
                return Finding(False, f"paragraph {i}: sentences {len(sentences)}, wanted exactly {self.n_sent}")
            other = next((n for n in map(size, sentences) if n != self.n_words), None)
            if other is not None:
                return Finding(False, f"paragraph {i}: a sentence of {other} words, wanted exactly {self.n_words}")
        return Finding(True, f"three paragraphs of {self.n_sent} sentences of {self.n_words} words")
