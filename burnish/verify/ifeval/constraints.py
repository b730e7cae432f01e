"""The 25 IFEval instructions as values (Zhou et al., arXiv:2311.07911). Field names are the official argument names.

`check(text)` gives a Finding; it never raises. Keywords, markers and splitters are read as plain text, not as regular
expressions: for every value in the published data set the two readings agree, and plain text cannot hang or be invalid.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

from burnish.errors import VerifierError
from burnish.verify.ifeval import text as count
from burnish.verify.ifeval.language import NAMES, check_code, language_of
from burnish.verify.ifeval.sentences import count_sentences

Relation = Literal["at least", "less than"]
CHOICES = ("My answer is yes.", "My answer is no.", "My answer is maybe.")


class Finding(NamedTuple):
    """Whether an instruction was followed, and what was seen against what was wanted."""

    followed: bool
    why: str


class Constraint(Protocol):
    """One instruction with its arguments: a frozen dataclass."""

    ID: ClassVar[str]

    def check(self, text: str) -> Finding:
        """Whether `text` follows the instruction, and why."""


@runtime_checkable
class PublishedRule(Protocol):
    """A constraint whose published checker has quirks that `check` does not have."""

    def check_published(self, text: str) -> Finding:
        """Whether `text` follows the instruction as the published checker sees it, quirks included."""


def _compare(what: str, found: int, relation: Relation, wanted: int) -> Finding:
    followed = found >= wanted if relation == "at least" else found < wanted
    return Finding(followed, f"{what}: {found}, wanted {relation} {wanted}")


def _exactly(what: str, found: int, wanted: int) -> Finding:
    return Finding(found == wanted, f"{what}: {found}, wanted exactly {wanted}")


@dataclass(frozen=True, slots=True)
class KeywordsExistence:
    """Every keyword occurs, in any case, also inside other words."""

    ID: ClassVar[str] = "keywords:existence"
    keywords: tuple[str, ...]

    def check(self, text: str) -> Finding:
        """Names the keywords that are missing."""
        missing = [word for word in self.keywords if not count.occurrences(word, text)]
        return Finding(not missing, f"missing keywords: {', '.join(missing)}" if missing else "all keywords present")


@dataclass(frozen=True, slots=True)
class KeywordFrequency:
    """A keyword occurs often or seldom enough, in any case, also inside other words."""

    ID: ClassVar[str] = "keywords:frequency"
    keyword: str
    frequency: int
    relation: Relation

    def check(self, text: str) -> Finding:
        """Counts occurrences that do not overlap."""
        found = count.occurrences(self.keyword.strip(), text)
        return _compare(f"occurrences of {self.keyword.strip()!r}", found, self.relation, self.frequency)


@dataclass(frozen=True, slots=True)
class ForbiddenWords:
    """None of the words occurs as a whole word, in any case."""

    ID: ClassVar[str] = "keywords:forbidden_words"
    forbidden_words: tuple[str, ...]

    def check(self, text: str) -> Finding:
        """Names the forbidden words that were used."""
        used = [word for word in self.forbidden_words if count.stands_between_bounds(word, text)]
        return Finding(not used, f"forbidden words used: {', '.join(used)}" if used else "no forbidden word used")


@dataclass(frozen=True, slots=True)
class LetterFrequency:
    """A letter, or another single character, occurs often or seldom enough, in any case."""

    ID: ClassVar[str] = "keywords:letter_frequency"
    letter: str
    let_frequency: int
    let_relation: Relation

    def __post_init__(self) -> None:
        if len(self.letter) != 1:
            raise VerifierError(f"letter={self.letter!r:.60}: expected one character.")

    def check(self, text: str) -> Finding:
        """Counts the character in the lower-cased reply."""
        found = text.lower().count(self.letter.lower())
        return _compare(f"occurrences of {self.letter.lower()!r}", found, self.let_relation, self.let_frequency)


@dataclass(frozen=True, slots=True)
class ResponseLanguage:
    """The reply is in one language, as langdetect sees it; a reply without letters counts as followed."""

    ID: ClassVar[str] = "language:response_language"
    language: str

    def __post_init__(self) -> None:
        check_code(self.language)

    def check(self, text: str) -> Finding:
        """Names the language that was detected."""
        found = language_of(text)
        wanted = NAMES.get(self.language, self.language)
        if found is None:
            return Finding(True, f"language cannot be told, which counts as {wanted}")
        return Finding(found == self.language, f"language: {NAMES.get(found, found)}, wanted {wanted}")


@dataclass(frozen=True, slots=True)
class NumberSentences:
    """Enough or few enough sentences."""

    ID: ClassVar[str] = "length_constraints:number_sentences"
    num_sentences: int
    relation: Relation

    def check(self, text: str) -> Finding:
        """Counts sentences with Punkt."""
        return _compare("sentence count", count_sentences(text), self.relation, self.num_sentences)


@dataclass(frozen=True, slots=True)
class NumberParagraphs:
    """Exactly so many paragraphs, divided by ***; a blank one is allowed only before the first or after the last divider."""

    ID: ClassVar[str] = "length_constraints:number_paragraphs"
    num_paragraphs: int

    def check(self, text: str) -> Finding:
        """Counts paragraphs that are not blank."""
        parts = count.divided_paragraphs(text)
        if any(not part.strip() for part in parts[1:-1]):
            return Finding(False, "an empty paragraph between two *** dividers")
        found = sum(1 for part in parts if part.strip())
        return _exactly("paragraph count", found, self.num_paragraphs)


@dataclass(frozen=True, slots=True)
class NumberWords:
    """Enough or few enough words."""

    ID: ClassVar[str] = "length_constraints:number_words"
    num_words: int
    relation: Relation

    def check(self, text: str) -> Finding:
        """Counts runs of letters, digits and underscores."""
        return _compare("word count", count.count_words(text), self.relation, self.num_words)


@dataclass(frozen=True, slots=True)
class NthParagraphFirstWord:
    """Exactly so many paragraphs, divided by blank lines, and the nth starts with a word.

    The nth is looked up with blank paragraphs counted, the number of paragraphs without them, as officially.
    """

    ID: ClassVar[str] = "length_constraints:nth_paragraph_first_word"
    num_paragraphs: int
    nth_paragraph: int
    first_word: str

    def __post_init__(self) -> None:
        if not 1 <= self.nth_paragraph <= self.num_paragraphs:
            raise VerifierError(
                f"nth_paragraph={self.nth_paragraph} is outside the {self.num_paragraphs} paragraphs asked for, "
                "so no reply could pass."
            )

    def check(self, text: str) -> Finding:
        """Compares the word, lower-cased, up to its first punctuation mark."""
        parts = text.split("\n\n")
        found = sum(1 for part in parts if part.strip())
        if found != self.num_paragraphs:
            return _exactly("paragraph count", found, self.num_paragraphs)
        words = parts[self.nth_paragraph - 1].split(None, 1) if self.nth_paragraph <= len(parts) else []
        if not words:
            return Finding(
                False, f"paragraph {self.nth_paragraph} is empty, wanted it to start with {self.first_word!r}"
            )
        head = re.split(r"[.,?!'\"]", words[0].lstrip("'").lstrip('"'), maxsplit=1)[0].lower()
        return Finding(
            head == self.first_word.lower(),
            f"paragraph {self.nth_paragraph} starts with {head[:40]!r}, wanted {self.first_word.lower()!r}",
        )


@dataclass(frozen=True, slots=True)
class NumberPlaceholders:
    """At least so many [placeholders]."""

    ID: ClassVar[str] = "detectable_content:number_placeholders"
    num_placeholders: int

    def check(self, text: str) -> Finding:
        """Counts parts in square brackets."""
        return _compare("placeholder count", count.count_placeholders(text), "at least", self.num_placeholders)


_POSTSCRIPTS = {"P.P.S": re.compile(r"p\.\s?p\.\s?s"), "P.S.": re.compile(r"p\.\s?s\.")}


@dataclass(frozen=True, slots=True)
class Postscript:
    """A postscript marker occurs somewhere, in any case; "P.S." and "P.P.S" may have a space after each full stop."""

    ID: ClassVar[str] = "detectable_content:postscript"
    postscript_marker: str

    def check(self, text: str) -> Finding:
        """Looks for the marker."""
        marker = self.postscript_marker.strip()
        pattern = _POSTSCRIPTS.get(marker)
        found = bool(pattern.search(text.lower())) if pattern else marker.lower() in text.lower()
        return Finding(found, f"postscript {marker!r} {'present' if found else 'missing'}")


@dataclass(frozen=True, slots=True)
class NumberBulletLists:
    """Exactly so many bullet points."""

    ID: ClassVar[str] = "detectable_format:number_bullet_lists"
    num_bullets: int

    def check(self, text: str) -> Finding:
        """Counts lines that start with one * or with -."""
        return _exactly("bullet count", count.count_bullets(text), self.num_bullets)


@dataclass(frozen=True, slots=True)
class ConstrainedResponse:
    """One of three fixed answers occurs."""

    ID: ClassVar[str] = "detectable_format:constrained_response"

    def check(self, text: str) -> Finding:
        """Looks for "My answer is yes.", "… no." or "… maybe."."""
        for choice in CHOICES:
            if choice in text:
                return Finding(True, f"contains {choice!r}")
        return Finding(False, f"contains none of: {' | '.join(CHOICES)}")


@dataclass(frozen=True, slots=True)
class NumberHighlightedSections:
    """At least so many *highlighted* parts."""

    ID: ClassVar[str] = "detectable_format:number_highlighted_sections"
    num_highlights: int

    def check(self, text: str) -> Finding:
        """Counts parts in asterisks; a **bold** part counts as the official pair of patterns counts it."""
        return _compare("highlight count", count.count_highlights(text), "at least", self.num_highlights)


@dataclass(frozen=True, slots=True)
class MultipleSections:
    """At least so many sections, each marked by the splitter and a number."""

    ID: ClassVar[str] = "detectable_format:multiple_sections"
    section_spliter: str
    num_sections: int

    def check(self, text: str) -> Finding:
        """Counts "Section 1"-like marks."""
        splitter = self.section_spliter.strip()
        found = len(re.findall(rf"{re.escape(splitter)}\s?\d+", text)) if splitter in text else 0
        return _compare(f"sections marked {splitter!r}", found, "at least", self.num_sections)


@dataclass(frozen=True, slots=True)
class JsonFormat:
    """The whole reply is JSON, possibly in a Markdown code block."""

    ID: ClassVar[str] = "detectable_format:json_format"

    def check(self, text: str) -> Finding:
        """Names the place where the JSON breaks."""
        body = text.strip()
        for fence in ("```json", "```Json", "```JSON", "```"):
            body = body.removeprefix(fence)
        body = body.removesuffix("```").strip()
        try:
            json.loads(body)
        except json.JSONDecodeError as error:
            return Finding(False, f"not JSON: {error.msg} at line {error.lineno}, column {error.colno}")
        except (ValueError, RecursionError) as error:
            return Finding(False, f"not JSON: {error}")
        return Finding(True, "valid JSON")


@dataclass(frozen=True, slots=True)
class Title:
    """A title in <<double angle brackets>> occurs."""

    ID: ClassVar[str] = "detectable_format:title"

    def check(self, text: str) -> Finding:
        """Looks for a title that is not blank."""
        found = count.has_title(text)
        return Finding(found, f"title in <<…>> {'present' if found else 'missing'}")


@dataclass(frozen=True, slots=True)
class TwoResponses:
    """Exactly two different replies, separated by ******."""

    ID: ClassVar[str] = "combination:two_responses"

    def check(self, text: str) -> Finding:
        """Counts replies that are not blank."""
        parts = [part.strip() for part in text.split("******")]
        if any(not part for part in parts[1:-1]):
            return Finding(False, "an empty response between two ****** separators")
        given = [part for part in parts if part]
        if len(given) != 2:
            return _exactly("responses separated by ******", len(given), 2)
        return Finding(
            given[0] != given[1], "two different responses" if given[0] != given[1] else "both responses equal"
        )


@dataclass(frozen=True, slots=True)
class RepeatPrompt:
    """The reply starts with the request, word for word, in any case."""

    ID: ClassVar[str] = "combination:repeat_prompt"
    prompt_to_repeat: str

    def check(self, text: str) -> Finding:
        """Compares the beginning of the reply."""
        same = text.strip().lower().startswith(self.prompt_to_repeat.strip().lower())
        return Finding(same, f"{'starts' if same else 'does not start'} with the request word for word")


@dataclass(frozen=True, slots=True)
class EndChecker:
    """The reply ends with a phrase, in any case; white space and double quotes around the reply do not count."""

    ID: ClassVar[str] = "startend:end_checker"
    end_phrase: str

    def check(self, text: str) -> Finding:
        """Compares the end of the reply."""
        body = text.strip().strip('"').lower()
        same = body.endswith(self.end_phrase.strip().lower())
        return Finding(same, f"ends with {body[-30:]!r}, wanted {self.end_phrase.strip()[-60:]!r}")


@dataclass(frozen=True, slots=True)
class CapitalWordFrequency:
    """Enough or few enough words in all capitals."""

    ID: ClassVar[str] = "change_case:capital_word_frequency"
    capital_frequency: int
    capital_relation: Relation

    def check(self, text: str) -> Finding:
        """Counts words by the Treebank rules; "A-B" is one word."""
        found = count.count_capital_words(text)
        return _compare("words in capitals", found, self.capital_relation, self.capital_frequency)


@dataclass(frozen=True, slots=True)
class EnglishCapital:
    """English, all letters capital."""

    ID: ClassVar[str] = "change_case:english_capital"

    def check(self, text: str) -> Finding:
        """Case first, then the language."""
        if not text.isupper():
            return Finding(False, "not all letters are capital")
        return _english(text)


@dataclass(frozen=True, slots=True)
class EnglishLowercase:
    """English, no capital letter."""

    ID: ClassVar[str] = "change_case:english_lowercase"

    def check(self, text: str) -> Finding:
        """Case first, then the language."""
        if not text.islower():
            return Finding(False, "contains capital letters, or no letters at all")
        return _english(text)


@dataclass(frozen=True, slots=True)
class NoComma:
    """No comma anywhere."""

    ID: ClassVar[str] = "punctuation:no_comma"

    def check(self, text: str) -> Finding:
        """Counts commas."""
        return _exactly("commas", text.count(","), 0)


@dataclass(frozen=True, slots=True)
class Quotation:
    """The whole reply stands in double quotes."""

    ID: ClassVar[str] = "startend:quotation"

    def check(self, text: str) -> Finding:
        """Looks at the first and the last character."""
        body = text.strip()
        wrapped = len(body) > 1 and body[0] == '"' == body[-1]
        return Finding(wrapped, f"{'wrapped' if wrapped else 'not wrapped'} in double quotation marks")


def _english(text: str) -> Finding:
    found = language_of(text)
    return Finding(
        found in ("en", None), f"letter case as wanted, language: {NAMES.get(found or 'en', found)}, wanted English"
    )


CONSTRAINTS: tuple[type[Constraint], ...] = (
    KeywordsExistence, KeywordFrequency, ForbiddenWords, LetterFrequency, ResponseLanguage, NumberSentences,
    NumberParagraphs, NumberWords, NthParagraphFirstWord, NumberPlaceholders, Postscript, NumberBulletLists,
    ConstrainedResponse, NumberHighlightedSections, MultipleSections, JsonFormat, Title, TwoResponses, RepeatPrompt,
    EndChecker, CapitalWordFrequency, EnglishCapital, EnglishLowercase, NoComma, Quotation,
)  # fmt: skip
