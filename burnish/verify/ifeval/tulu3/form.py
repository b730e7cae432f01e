"""Tülu 3's instructions on the form of a reply: paragraphs, sections, marks, beginning and end."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import ClassVar

from burnish.errors import VerifierError
from burnish.verify.ifeval import constraints as ifeval
from burnish.verify.ifeval import text as count
from burnish.verify.ifeval.constraints import Finding
from burnish.verify.ifeval.tulu3.bounds import at_least, exactly

_DIVIDER = re.compile(r"\* \* \*|^[ \t]*\*\*\*[ \t]*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class VerifyParagraphCount:
    """Exactly N paragraphs, divided by "* * *". Published: a divider at the beginning or the end makes a blank paragraph,
    which fails, and the divider "***" is not known.
    """

    ID: ClassVar[str] = "tulu3:verify_paragraph_count"
    N: int

    def check(self, text: str) -> Finding:
        """Counts paragraphs between "* * *", or "***" on a line of its own; blank only before the first, after the last."""
        parts = _DIVIDER.split(text) if "***" in text or "* * *" in text else [text]
        if any(not part.strip() for part in parts[1:-1]):
            return Finding(False, "an empty paragraph between two dividers")
        return exactly("paragraph count", sum(1 for part in parts if part.strip()), self.N)

    def check_published(self, text: str) -> Finding:
        """Counts the parts, none of which may be blank."""
        parts = "\n".join(line.strip() for line in text.splitlines()).strip().split("* * *")
        if any(not part.strip() for part in parts):
            return Finding(False, "an empty paragraph before, between or after the dividers")
        return exactly("paragraph count", len(parts), self.N)


@dataclass(frozen=True, slots=True)
class ValidateParagraphs:
    """Exactly N paragraphs, divided by blank lines, and the i-th starts with a word. Published: blank paragraphs count,
    the case must match, and "The" is also the beginning of "Then".
    """

    ID: ClassVar[str] = "tulu3:validate_paragraphs"
    N: int
    first_word: str
    i: int

    def __post_init__(self) -> None:
        if not 1 <= self.i <= self.N:
            raise VerifierError(f"i={self.i} is outside the {self.N} paragraphs asked for, so no reply could pass.")

    def check(self, text: str) -> Finding:
        """Counts and compares as IFEval does."""
        return ifeval.NthParagraphFirstWord(self.N, self.i, self.first_word).check(text)

    def check_published(self, text: str) -> Finding:
        """Compares the beginning of the i-th part between empty lines."""
        parts = text.strip().split("\n\n")
        if len(parts) != self.N:
            return exactly("paragraph count", len(parts), self.N)
        starts = parts[self.i - 1].strip().startswith(self.first_word)
        return Finding(
            starts, f"paragraph {self.i} {'starts' if starts else 'does not start'} with {self.first_word!r}"
        )


@dataclass(frozen=True, slots=True)
class VerifyPostscript:
    """A postscript marker with something behind it. Published: the case and the spaces must match."""

    ID: ClassVar[str] = "tulu3:verify_postscript"
    postscript_marker: str

    def check(self, text: str) -> Finding:
        """Looks for the marker as IFEval does, and for something behind it."""
        marker, lower = self.postscript_marker.strip(), text.strip().lower()
        if lower.endswith(marker.lower()) and lower.count(marker.lower()) == 1:
            return Finding(False, f"nothing behind postscript {marker!r}")
        return ifeval.Postscript(marker).check(text)

    def check_published(self, text: str) -> Finding:
        """Looks for the marker as it is written, and for something behind it."""
        _, found, behind = text.strip().partition(self.postscript_marker)
        followed = bool(found and behind)
        return Finding(followed, f"postscript {self.postscript_marker!r} {'present' if followed else 'missing'}")


@dataclass(frozen=True, slots=True)
class ValidatePlaceholders:
    """At least N [placeholders]. Published: always followed, because the function returned a pair, which counts as true."""

    ID: ClassVar[str] = "tulu3:validate_placeholders"
    N: int

    def check(self, text: str) -> Finding:
        """Counts parts in square brackets on one line."""
        return at_least("placeholder count", count.count_placeholders(text), self.N)

    def check_published(self, text: str) -> Finding:
        """Follows whatever the reply."""
        return Finding(True, f"placeholder count: {count.count_placeholders(text)}, which was not looked at")


@dataclass(frozen=True, slots=True)
class VerifyBulletPoints:
    """Exactly N bullet points. Published: every line that starts with * or - is one, also "**bold**" and "---"."""

    ID: ClassVar[str] = "tulu3:verify_bullet_points"
    N: int

    def check(self, text: str) -> Finding:
        """Counts lines that start with one * or with -."""
        return exactly("bullet count", count.count_bullets(text), self.N)

    def check_published(self, text: str) -> Finding:
        """Counts lines that start with * or -."""
        found = sum(line.strip().startswith(("*", "-")) for line in text.split("\n"))
        return exactly("bullet count", found, self.N)


@dataclass(frozen=True, slots=True)
class ValidateTitle:
    """A title in <<double angle brackets>>. Published: it may be blank."""

    ID: ClassVar[str] = "tulu3:validate_title"

    def check(self, text: str) -> Finding:
        """Looks for a title that is not blank."""
        return ifeval.Title().check(text)

    def check_published(self, text: str) -> Finding:
        """Looks for the brackets on one line."""
        found = any((start := line.find("<<")) >= 0 and line.find(">>", start + 2) >= 0 for line in text.split("\n"))
        return Finding(found, f"title in <<…>> {'present' if found else 'missing'}")


@dataclass(frozen=True, slots=True)
class ValidateHighlightedSections:
    """At least N *highlighted* parts. Published: a **bold** part counts twice, for the blank parts between its stars."""

    ID: ClassVar[str] = "tulu3:validate_highlighted_sections"
    N: int

    def check(self, text: str) -> Finding:
        """Counts parts that are not blank."""
        return at_least("highlight count", count.count_highlights(text), self.N)

    def check_published(self, text: str) -> Finding:
        """Counts pairs of stars on one line."""
        return at_least("highlight count", sum(line.count("*") // 2 for line in text.split("\n")), self.N)


@dataclass(frozen=True, slots=True)
class ValidateSections:
    """N sections, each marked by the splitter and a number, at least. Published: exactly N parts, with what stands before
    the first mark as one, and a mark needs no number.
    """

    ID: ClassVar[str] = "tulu3:validate_sections"
    N: int
    section_splitter: str

    def check(self, text: str) -> Finding:
        """Counts "Section 1"-like marks."""
        return ifeval.MultipleSections(self.section_splitter, self.N).check(text)

    def check_published(self, text: str) -> Finding:
        """Counts the parts between splitters."""
        parts = text.strip().split(self.section_splitter)
        return exactly("sections", len(parts) - (parts[0] == ""), self.N)


@dataclass(frozen=True, slots=True)
class ValidateJsonFormat:
    """The whole reply is JSON. Published: a Markdown code block is not."""

    ID: ClassVar[str] = "tulu3:validate_json_format"

    def check(self, text: str) -> Finding:
        """Reads the reply with or without its code block."""
        return ifeval.JsonFormat().check(text)

    def check_published(self, text: str) -> Finding:
        """Reads the reply as it is."""
        try:
            json.loads(text.strip())
        except (ValueError, RecursionError) as error:
            return Finding(False, f"not JSON: {error}")
        return Finding(True, "valid JSON")


@dataclass(frozen=True, slots=True)
class ValidateTwoResponses:
    """Two different replies, separated by ******. Published: either may be empty, and a separator at the end fails."""

    ID: ClassVar[str] = "tulu3:validate_two_responses"

    def check(self, text: str) -> Finding:
        """Counts replies that are not blank."""
        return ifeval.TwoResponses().check(text)

    def check_published(self, text: str) -> Finding:
        """Compares what stands on both sides of the only separator."""
        parts = text.split("******")
        if len(parts) != 2:
            return exactly("separators ******", len(parts) - 1, 1)
        same = parts[0].strip() == parts[1].strip()
        return Finding(not same, "both responses equal" if same else "two different responses")


@dataclass(frozen=True, slots=True)
class ValidateEnd:
    """The reply ends with a phrase. Published: in its very case, and a quotation mark behind it fails."""

    ID: ClassVar[str] = "tulu3:validate_end"
    end_phrase: str

    def check(self, text: str) -> Finding:
        """Compares the end of the reply in any case, without white space and double quotes around the reply."""
        return ifeval.EndChecker(self.end_phrase).check(text)

    def check_published(self, text: str) -> Finding:
        """Compares the end of the reply."""
        body = text.strip()
        return Finding(body.endswith(self.end_phrase), f"ends with {body[-30:]!r}, wanted {self.end_phrase[-60:]!r}")


@dataclass(frozen=True, slots=True)
class ValidateQuotation:
    """The whole reply stands in double quotes. Published: a single quotation mark alone passes."""

    ID: ClassVar[str] = "tulu3:validate_quotation"

    def check(self, text: str) -> Finding:
        """Looks at the first and the last character."""
        return ifeval.Quotation().check(text)

    def check_published(self, text: str) -> Finding:
        """Looks at the first and the last character, which may be one."""
        body = text.strip()
        wrapped = body.startswith('"') and body.endswith('"')
        return Finding(wrapped, f"{'wrapped' if wrapped else 'not wrapped'} in double quotation marks")
