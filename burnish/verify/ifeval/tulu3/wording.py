"""Tülu 3's instructions on words, sentences, case and language."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from burnish.errors import VerifierError
from burnish.verify.ifeval import constraints as ifeval
from burnish.verify.ifeval import text as count
from burnish.verify.ifeval.constraints import Finding
from burnish.verify.ifeval.language import check_code, language_of
from burnish.verify.ifeval.sentences import count_sentences
from burnish.verify.ifeval.tulu3.bounds import Quantifier, bounded, exactly, tenth

_STOPS = re.compile(r"(?<!\w\.\w.)(?<![A-Z][a-z]\.)(?<=[.?])\s")


@dataclass(frozen=True, slots=True)
class VerifyKeywords:
    """Every keyword occurs, in any case, also inside other words. Both readings agree."""

    ID: ClassVar[str] = "tulu3:verify_keywords"
    keyword_list: tuple[str, ...]

    def check(self, text: str) -> Finding:
        """Names the keywords that are missing."""
        return ifeval.KeywordsExistence(self.keyword_list).check(text)


@dataclass(frozen=True, slots=True)
class VerifyKeywordFrequency:
    """A word occurs exactly N times, in any case. Published: a word with a mark or a space in it is never found."""

    ID: ClassVar[str] = "tulu3:verify_keyword_frequency"
    word: str
    N: int

    def check(self, text: str) -> Finding:
        """Counts the word where no letter, digit or underscore stands beside it."""
        word = self.word.strip()
        return exactly(f"occurrences of {word!r}", count.whole_occurrences(word, text), self.N)

    def check_published(self, text: str) -> Finding:
        """Counts equal runs of letters, digits and underscores."""
        found = re.findall(r"\w+", text.lower()).count(self.word.lower())
        return exactly(f"occurrences of {self.word!r}", found, self.N)


@dataclass(frozen=True, slots=True)
class ValidateForbiddenWords:
    """None of the words occurs. Published: not inside other words either, so "art" forbids "party"."""

    ID: ClassVar[str] = "tulu3:validate_forbidden_words"
    forbidden_words: tuple[str, ...]

    def check(self, text: str) -> Finding:
        """Names the forbidden words that were used as whole words."""
        return ifeval.ForbiddenWords(self.forbidden_words).check(text)

    def check_published(self, text: str) -> Finding:
        """Names the forbidden words that were used anywhere."""
        lower = text.lower()
        used = [word for word in self.forbidden_words if word.lower() in lower]
        return Finding(not used, f"forbidden words used: {', '.join(used)}" if used else "no forbidden word used")


@dataclass(frozen=True, slots=True)
class VerifyLetterFrequency:
    """A letter occurs exactly N times. Published: only in the case in which it is written."""

    ID: ClassVar[str] = "tulu3:verify_letter_frequency"
    letter: str
    N: int

    def __post_init__(self) -> None:
        if len(self.letter) != 1:
            raise VerifierError(f"letter={self.letter!r:.60}: expected one character.")

    def check(self, text: str) -> Finding:
        """Counts the letter in either case."""
        letter = self.letter.lower()
        return exactly(f"occurrences of {letter!r}", text.lower().count(letter), self.N)

    def check_published(self, text: str) -> Finding:
        """Counts the very character."""
        return exactly(f"occurrences of {self.letter!r}", text.count(self.letter), self.N)


@dataclass(frozen=True, slots=True)
class ValidateResponseLanguage:
    """The reply is in one language. A reply without letters is not: there langdetect raises. Both readings agree."""

    ID: ClassVar[str] = "tulu3:validate_response_language"
    language: str

    def __post_init__(self) -> None:
        check_code(self.language)

    def check(self, text: str) -> Finding:
        """Names the language that was detected."""
        body = text.strip()  # langdetect's random sampling also sees the white space
        if language_of(body) is None:
            return Finding(False, f"language cannot be told, wanted {self.language}")
        return ifeval.ResponseLanguage(self.language).check(body)


@dataclass(frozen=True, slots=True)
class ValidateWordConstraint:
    """At least, at most or around (±10 %) N words. Published: whatever stands between spaces is a word, also "-"."""

    ID: ClassVar[str] = "tulu3:validate_word_constraint"
    N: int
    quantifier: Quantifier

    def check(self, text: str) -> Finding:
        """Counts runs of letters, digits and underscores."""
        return bounded("word count", count.count_words(text), self.quantifier, self.N, tenth(self.N))

    def check_published(self, text: str) -> Finding:
        """Counts what stands between white space."""
        return bounded("word count", len(text.split()), self.quantifier, self.N, tenth(self.N))


@dataclass(frozen=True, slots=True)
class VerifySentenceConstraint:
    """At least, at most or around (±1) N sentences. Published: "!" ends no sentence, "No. 5" is one."""

    ID: ClassVar[str] = "tulu3:verify_sentence_constraint"
    N: int
    quantifier: Quantifier

    def check(self, text: str) -> Finding:
        """Counts sentences with Punkt."""
        return bounded("sentence count", count_sentences(text), self.quantifier, self.N, 1)

    def check_published(self, text: str) -> Finding:
        """Splits at white space behind a full stop or question mark, unless an abbreviation seems to end there."""
        return bounded("sentence count", len(_STOPS.split(text.strip())), self.quantifier, self.N, 1)


@dataclass(frozen=True, slots=True)
class ValidateUppercase:
    """English, all letters capital. Published: no letter is small; any language, also none."""

    ID: ClassVar[str] = "tulu3:validate_uppercase"

    def check(self, text: str) -> Finding:
        """Case first, then the language."""
        return ifeval.EnglishCapital().check(text)

    def check_published(self, text: str) -> Finding:
        """Compares the reply with itself in capitals."""
        same = text == text.upper()
        return Finding(same, "no small letter" if same else "contains small letters")


@dataclass(frozen=True, slots=True)
class ValidateLowercase:
    """English, no capital letter. Published: any language, also none."""

    ID: ClassVar[str] = "tulu3:validate_lowercase"

    def check(self, text: str) -> Finding:
        """Case first, then the language."""
        return ifeval.EnglishLowercase().check(text)

    def check_published(self, text: str) -> Finding:
        """Compares the reply with itself in small letters."""
        same = text == text.lower()
        return Finding(same, "no capital letter" if same else "contains capital letters")


@dataclass(frozen=True, slots=True)
class ValidateFrequencyCapitalWords:
    """At least, at most or around (±10 %) N words in capitals. Published: "around" means exactly, only A to Z count, and
    "A-B" is two words.
    """

    ID: ClassVar[str] = "tulu3:validate_frequency_capital_words"
    N: int
    quantifier: Quantifier

    def check(self, text: str) -> Finding:
        """Counts words by the Treebank rules."""
        return bounded("words in capitals", count.count_capital_words(text), self.quantifier, self.N, tenth(self.N))

    def check_published(self, text: str) -> Finding:
        """Counts runs of A to Z with nothing else beside them."""
        found = len(re.findall(r"\b[A-Z]+\b", text))
        return bounded("words in capitals", found, self.quantifier, self.N, 0)


@dataclass(frozen=True, slots=True)
class ValidateNoCommas:
    """No comma anywhere. Both readings agree."""

    ID: ClassVar[str] = "tulu3:validate_no_commas"

    def check(self, text: str) -> Finding:
        """Counts commas."""
        return ifeval.NoComma().check(text)


@dataclass(frozen=True, slots=True)
class ValidateRepeatPrompt:
    """The reply starts with the request, word for word. Published: the case and the white space around it must match."""

    ID: ClassVar[str] = "tulu3:validate_repeat_prompt"
    original_prompt: str

    def check(self, text: str) -> Finding:
        """Compares the beginning of the reply in any case."""
        return ifeval.RepeatPrompt(self.original_prompt).check(text)

    def check_published(self, text: str) -> Finding:
        """Compares the beginning of the reply."""
        same = text.strip().startswith(self.original_prompt)
        return Finding(same, f"{'starts' if same else 'does not start'} with the request, letter for letter")


@dataclass(frozen=True, slots=True)
class ValidateChoice:
    """One of the options is given. Published: the other way round, the whole reply must occur in an option, so that "a"
    is right for "maybe".
    """

    ID: ClassVar[str] = "tulu3:validate_choice"
    options: tuple[str, ...]

    def check(self, text: str) -> Finding:
        """Looks for exactly one of the options, each a whole word or phrase; one inside a longer one does not count."""
        found = []
        for option in sorted(set(self.options), key=lambda option: (-len(option), option)):
            pattern = re.compile(rf"(?<!\w){re.escape(option)}(?!\w)")
            if option in text and pattern.search(text):
                found.append(option)
                text = pattern.sub(" ", text)
        return Finding(len(found) == 1, f"options given: {' | '.join(found)[:200] or 'none'}, wanted exactly one")

    def check_published(self, text: str) -> Finding:
        """Looks for the reply in the options."""
        reply = text.strip()
        found = any(reply in option for option in self.options)
        return Finding(found, f"reply {reply[:60]!r} {'occurs' if found else 'does not occur'} in an option")
