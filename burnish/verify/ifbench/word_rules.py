"""IFBench's words:* instructions: what every word, or the word at some place, must look like."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import ClassVar

from burnish.errors import MissingExtra
from burnish.verify.ifbench.sentence_rules import position
from burnish.verify.ifbench.speech import reads_as_verb, tagged_as_verb
from burnish.verify.ifbench.words_of import MARKS_AND_SPACE, bare_words, letters, shown, without_marks
from burnish.verify.ifeval.constraints import Finding
from burnish.verify.ifeval.sentences import sentences
from burnish.verify.ifeval.treebank import words as treebank_words


@dataclass(frozen=True, slots=True)
class Alphabet:
    """Each word starts with the next letter of the alphabet, with A after Z; the first word with any."""

    ID: ClassVar[str] = "words:alphabet"

    def check(self, text: str) -> Finding:
        """Names the first word that breaks the order."""
        return self._finding(bare_words(text))

    def check_published(self, text: str) -> Finding:
        """Takes a lone mark that is not ASCII, such as a dash, for a word."""
        return self._finding(without_marks(text).lower().split())

    def _finding(self, words: list[str]) -> Finding:
        alphabet = string.ascii_lowercase
        if not words or words[0][0] not in alphabet:
            return Finding(False, f"the first word is {words[0][:30]!r}, wanted a letter" if words else "no words")
        start = alphabet.index(words[0][0])
        for i, word in enumerate(words):
            wanted = alphabet[(start + i) % 26]
            if word[0] != wanted:
                return Finding(False, f"word {i + 1} is {word[:30]!r}, wanted it to start with {wanted.upper()!r}")
        return Finding(True, f"{len(words)} words in alphabetical order")


@dataclass(frozen=True, slots=True)
class Vowel:
    """One paragraph in which at most three of the vowels a, e, i, o, u occur."""

    ID: ClassVar[str] = "words:vowel"

    def check(self, text: str) -> Finding:
        """Names the vowels that occur; a line break starts a new paragraph."""
        body = text.strip()
        if "\n" in body:
            return Finding(False, f"lines: {body.count(chr(10)) + 1}, wanted one paragraph")
        lower = body.lower()
        found = [vowel for vowel in "aeiou" if vowel in lower]
        return Finding(len(found) <= 3, f"vowels used: {' '.join(found) or 'none'}, wanted at most three kinds")


_CLUSTER = re.compile("[bcdfghjklmnpqrstvwxyz]{2}")


@dataclass(frozen=True, slots=True)
class Consonants:
    """Each word has two consonants in a row; y counts as a consonant."""

    ID: ClassVar[str] = "words:consonants"

    def check(self, text: str) -> Finding:
        """Passes over marks and numbers that stand alone; asks for at least one word."""
        words = [word for word in bare_words(text) if not word.isdigit()]
        return self._finding(words) if words else Finding(False, "no words")

    def check_published(self, text: str) -> Finding:
        """Takes lone marks and numbers for words, which have no consonants."""
        return self._finding(text.lower().split())

    def _finding(self, words: list[str]) -> Finding:
        for i, word in enumerate(words, start=1):
            if not _CLUSTER.search(word):
                return Finding(False, f"word {i}, {word[:30]!r}, has no two consonants in a row")
        return Finding(True, f"each of {len(words)} words has two consonants in a row")


@dataclass(frozen=True, slots=True)
class Palindromes:
    """At least ten palindromes of five or more characters, each a single word."""

    ID: ClassVar[str] = "words:palindrome"

    def check(self, text: str) -> Finding:
        """Counts different palindromes made of letters."""
        found = {word for word in map(letters, bare_words(text)) if word.isalpha() and _palindrome(word)}
        return Finding(len(found) >= 10, f"different palindromes: {len(found)} ({shown(found)}), wanted at least 10")

    def check_published(self, text: str) -> Finding:
        """Counts repeats, and numbers such as 12321."""
        found = [word for word in without_marks(text).lower().split() if _palindrome(word)]
        return Finding(len(found) >= 10, f"palindromes: {len(found)} ({shown(found)}), wanted at least 10")


def _palindrome(word: str) -> bool:
    return len(word) >= 5 and word == word[::-1]


_PRIMES = frozenset(n for n in range(2, 98) if all(n % d for d in range(2, n)))


@dataclass(frozen=True, slots=True)
class PrimeLengths:
    """Each word's length is a prime number, below 100."""

    ID: ClassVar[str] = "words:prime_lengths"

    def check(self, text: str) -> Finding:
        """Counts letters and digits only; asks for at least one word."""
        words = [letters(word) for word in bare_words(text)]
        return self._finding(words) if words else Finding(False, "no words")

    def check_published(self, text: str) -> Finding:
        """Counts marks that are not ASCII as characters of the word."""
        return self._finding(without_marks(text).split())

    def _finding(self, words: list[str]) -> Finding:
        for word in words:
            if len(word) not in _PRIMES:
                return Finding(False, f"{word[:30]!r} has {len(word)} characters, which is not a prime below 100")
        return Finding(True, f"each of {len(words)} words has a prime length")


@dataclass(frozen=True, slots=True)
class StartVerb:
    """The first word is a verb.

    Raises MissingExtra or, by the published rule, MissingData where the tables for it are not on this machine; the verifier
    then leaves the reply ungraded.
    """

    ID: ClassVar[str] = "words:start_verb"

    def check(self, text: str) -> Finding:
        """Looks the word up in a lexicon; passes over marks and numbers before it."""
        words = treebank_words(text[:500])
        start = next((i for i, word in enumerate(words) if any(map(str.isalpha, word))), len(words))
        return self._finding(words[start:], reads_as_verb)

    def check_published(self, text: str) -> Finding:
        """Asks a tagger about the first token, a mark too. It takes many a verb with a capital for a name."""
        # The tag of the first token hangs on the two tokens behind it, and on nothing further.
        head = treebank_words(text[:500])
        words = head if len(head) > 20 or len(text) <= 500 else treebank_words(text)
        return self._finding(words[:3], tagged_as_verb)

    def _finding(self, words: list[str], is_verb: Callable[[list[str]], bool]) -> Finding:
        if not words:
            return Finding(False, "no words")
        followed = is_verb(words)
        return Finding(followed, f"starts with {words[0][:30]!r}, {'a verb' if followed else 'which is no verb here'}")


@dataclass(frozen=True, slots=True)
class Repeats:
    """No word occurs more than so many times, in any case."""

    ID: ClassVar[str] = "words:repeats"
    small_n: int

    def check(self, text: str) -> Finding:
        """Names the word that occurs most."""
        return self._finding(bare_words(text))

    def check_published(self, text: str) -> Finding:
        """Takes lone marks that are not ASCII for words, and “word for another word than word."""
        return self._finding(without_marks(text.lower()).split())

    def _finding(self, words: list[str]) -> Finding:
        word, found = Counter(words).most_common(1)[0] if words else ("", 0)
        return Finding(
            found <= self.small_n,
            f"the most frequent word, {word[:30]!r}, occurs {found} times, wanted at most {self.small_n}",
        )


_DASH = re.compile("[-–—]")


@lru_cache(maxsize=1)
def _syllable_counter() -> Callable[[str], int]:
    try:
        import syllapy  # type: ignore[import-untyped,import-not-found,unused-ignore]
    except ImportError:
        raise MissingExtra("Counting syllables (words:odd_even_syllables)", "syllapy", "ifbench") from None
    counter: Callable[[str], int] = syllapy.count
    return counter


@dataclass(frozen=True, slots=True)
class OddEvenSyllables:
    """Words with odd and even numbers of syllables alternate, as the library syllapy counts them; a number has none.

    Raises MissingExtra where syllapy is not installed; the verifier then leaves the reply ungraded.
    """

    ID: ClassVar[str] = "words:odd_even_syllables"

    def check(self, text: str) -> Finding:
        """Counts the parts of "well-known" one by one."""
        count = _syllable_counter()
        words = [word.replace("'", "") for word in bare_words(text)]
        return self._finding(words, [sum(map(count, _DASH.split(word))) for word in words])

    def check_published(self, text: str) -> Finding:
        """Takes a lone mark that is not ASCII for a word, and "well-known" for "wellknown"."""
        words = without_marks(text).lower().split()
        return self._finding(words, list(map(_syllable_counter(), words)))

    def _finding(self, words: list[str], counts: list[int]) -> Finding:
        for (one, two), (m, n) in zip(pairwise(words), pairwise(counts), strict=True):
            if m % 2 == n % 2:
                return Finding(
                    False, f"{one[:30]!r} has {m} syllables and {two[:30]!r} has {n}, wanted odd beside even"
                )
        return Finding(True, f"{len(words)} words with odd and even numbers of syllables in turn")


@dataclass(frozen=True, slots=True)
class LastFirst:
    """Each sentence starts with the last word of the one before it, in any case."""

    ID: ClassVar[str] = "words:last_first"

    def check(self, text: str) -> Finding:
        """Compares words without the marks at their ends."""
        return self._finding([(words[:1], words[-1:]) for words in map(bare_words, sentences(text))])

    def check_published(self, text: str) -> Finding:
        """Takes the marks behind a sentence's first word, and before its last, for parts of the word."""
        return self._finding([
            (one.lstrip(MARKS_AND_SPACE).lower().split()[:1], one.rstrip(MARKS_AND_SPACE).lower().split()[-1:])
            for one in sentences(text)
        ])  # fmt: skip

    def _finding(self, ends: list[tuple[list[str], list[str]]]) -> Finding:
        for i, ((_, last), (first, _)) in enumerate(pairwise(ends), start=2):
            if not last or last != first:
                return Finding(
                    False,
                    f"sentence {i} starts with {shown(first) or 'no word'}, wanted {shown(last) or 'a word before it'}",
                )
        return Finding(True, "each sentence starts with the last word of the one before it")


@dataclass(frozen=True, slots=True)
class ParagraphLastFirst:
    """Each paragraph ends with the word it starts with, in any case; paragraphs are lines."""

    ID: ClassVar[str] = "words:paragraph_last_first"

    def check(self, text: str) -> Finding:
        """Compares words without the marks at their ends."""
        return self._finding([bare_words(line) for line in text.split("\n")])

    def check_published(self, text: str) -> Finding:
        """Takes the mark behind a paragraph's first word, and before its last, for part of the word."""
        return self._finding([line.strip().lower().strip(MARKS_AND_SPACE).split() for line in text.split("\n")])

    def _finding(self, paragraphs: list[list[str]]) -> Finding:
        for words in filter(None, paragraphs):
            if words[0] != words[-1]:
                return Finding(False, f"a paragraph starts with {words[0][:30]!r} and ends with {words[-1][:30]!r}")
        return Finding(True, "each paragraph ends with the word it starts with")


@dataclass(frozen=True, slots=True)
class NoConsecutive:
    """No two words in a row start with the same letter."""

    ID: ClassVar[str] = "words:no_consecutive"

    def check(self, text: str) -> Finding:
        """Names the first two that do."""
        return self._finding(bare_words(text))

    def check_published(self, text: str) -> Finding:
        """Takes a lone mark that is not ASCII for a word."""
        return self._finding(without_marks(text.lower()).split())

    def _finding(self, words: list[str]) -> Finding:
        for one, two in pairwise(words):
            if one[0] == two[0]:
                return Finding(False, f"{one[:30]!r} and {two[:30]!r} start with the same letter")
        return Finding(True, "no two words in a row start with the same letter")


@dataclass(frozen=True, slots=True)
class KeywordPosition:
    """The mth word of the nth sentence is a keyword, in any case."""

    ID: ClassVar[str] = "words:keywords_specific_position"
    keyword: str
    n: int
    m: int

    def __post_init__(self) -> None:
        position("n", self.n)
        position("m", self.m)

    def check(self, text: str) -> Finding:
        """Counts runs without white space that hold a letter or digit: "don't" is one word."""
        return self._finding([bare_words(one) for one in sentences(text)[: self.n]])

    def check_published(self, text: str) -> Finding:
        """Counts by the Treebank rules, without marks: "don't" is "do" and "n't"."""
        found = sentences(text)[: self.n]
        return self._finding([[word for word in treebank_words(one) if any(map(str.isalnum, word))] for one in found])

    def _finding(self, found: list[list[str]]) -> Finding:
        wanted = f"wanted {self.keyword.strip()!r} as word {self.m} of sentence {self.n}"
        if len(found) < self.n:
            return Finding(False, f"sentence count: {len(found)}, {wanted}")
        words = found[self.n - 1]
        if len(words) < self.m:
            return Finding(False, f"words in sentence {self.n}: {len(words)}, {wanted}")
        there = words[self.m - 1]
        return Finding(there.lower() == self.keyword.strip().lower(), f"found {there[:30]!r}, {wanted}")


@dataclass(frozen=True, slots=True)
class WordsPosition:
    """The second word and the second to last word are a keyword, in any case."""

    ID: ClassVar[str] = "words:words_position"
    keyword: str

    def check(self, text: str) -> Finding:
        """Counts runs without white space that hold a letter or digit."""
        words = bare_words(text)
        return self._finding(words[1:2], words[-2:-1])

    def check_published(self, text: str) -> Finding:
        """Counts by the Treebank rules: a mark is a word, but for one ASCII mark at the end."""
        words = [word.lower() for word in treebank_words(text)]
        mark = bool(words) and words[-1] in string.punctuation
        return self._finding(words[1:2], words[-3:-2] if mark else words[-2:-1])

    def _finding(self, second: list[str], last: list[str]) -> Finding:
        wanted = self.keyword.strip().lower()
        return Finding(
            second == last == [wanted],
            f"second word {shown(second) or 'missing'}, second to last {shown(last) or 'missing'}, wanted {wanted!r}",
        )
