"""IFBench's format:* instructions about marks, brackets, quotes and lines."""

from __future__ import annotations

import re
import string
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from burnish.verify.ifbench.lists import MINOR_WORDS, is_emoji
from burnish.verify.ifbench.words_of import MARKS_AND_SPACE, bare_words, shown, without_marks
from burnish.verify.ifeval.constraints import Finding
from burnish.verify.ifeval.sentences import sentences
from burnish.verify.ifeval.treebank import words as treebank_words

_BRACKET = re.compile(r"[()\[\]{}]")
_PAIRS = {")": "(", "]": "[", "}": "{"}


@dataclass(frozen=True, slots=True)
class Parentheses:
    """Brackets, of any of three kinds, nested five deep and closed in order."""

    ID: ClassVar[str] = "format:parentheses"

    def check(self, text: str) -> Finding:
        """Measures the deepest nest that is closed wholly; a bracket closed by another kind starts afresh."""
        deepest = 0
        open_: list[tuple[str, int]] = []  # a bracket, and how deep the nests inside it are
        for bracket in _BRACKET.findall(text):
            if bracket not in _PAIRS:
                open_.append((bracket, 0))
            elif open_ and open_[-1][0] == _PAIRS[bracket]:
                depth = open_.pop()[1] + 1
                deepest = max(deepest, depth)
                if open_:
                    open_[-1] = (open_[-1][0], max(open_[-1][1], depth))
            else:
                open_ = []
        return Finding(deepest >= 5, f"brackets nested and closed: {deepest} deep, wanted at least 5")

    def check_published(self, text: str) -> Finding:
        """Is content when five are open and the first of them is closed."""
        open_: list[str] = []
        deepest = 0
        for bracket in _BRACKET.findall(text):
            if bracket not in _PAIRS:
                open_.append(bracket)
                deepest = max(deepest, len(open_))
            elif open_ and open_[-1] == _PAIRS[bracket]:
                open_.pop()
                if deepest >= 5:
                    return Finding(True, f"brackets nested: {deepest} deep")
            else:
                open_, deepest = [], 0
        return Finding(False, f"brackets nested: {deepest} deep at the last try, wanted at least 5")


_QUOTE = re.compile("[\"']")
_STRAIGHT = str.maketrans("“”„«»‘’", '"""""\'\'')


@dataclass(frozen=True, slots=True)
class NestedQuotes:
    """Quotes inside quotes inside quotes, double and single in turn, three deep and closed."""

    ID: ClassVar[str] = "format:quotes"

    def check(self, text: str) -> Finding:
        """Takes curly quotes too, and passes over apostrophes inside and behind words."""
        text = text.translate(_STRAIGHT)
        quotes = []
        for match in _QUOTE.finditer(text):
            i, mark = match.start(), match[0]
            single, before, after = mark == "'", text[i - 1 : i].isalnum(), text[i + 1 : i + 2].isalnum()
            if not (single and before and after):
                quotes.append((mark, single and before))
        return self._finding(quotes)

    def check_published(self, text: str) -> Finding:
        """Takes every straight quote for a quote, the one of "don't" as well."""
        return self._finding([(mark, False) for mark in _QUOTE.findall(text)])

    def _finding(self, quotes: list[tuple[str, bool]]) -> Finding:
        open_: list[str] = []
        deepest = 0
        for mark, only_closes in quotes:
            if open_ and open_[-1] == mark:
                open_.pop()
                if deepest - len(open_) >= 3:
                    return Finding(True, "quotes nested at least 3 deep")
            elif not only_closes:
                open_.append(mark)
                deepest = max(deepest, len(open_))
        return Finding(
            False, f"quotes nested {deepest} deep and not closed three times, wanted at least 3 deep and closed"
        )


@dataclass(frozen=True, slots=True)
class Newline:
    """Each word stands on a line of its own."""

    ID: ClassVar[str] = "format:newline"

    def check(self, text: str) -> Finding:
        """Names the first line with several words."""
        lines = [words for line in text.split("\n") if (words := bare_words(line))]
        crowded = [words for words in lines if len(words) > 1]
        if crowded or not lines:
            return Finding(False, f"a line has {len(crowded[0])} words: {shown(crowded[0])}" if crowded else "no words")
        return Finding(True, f"{len(lines)} lines of one word")

    def check_published(self, text: str) -> Finding:
        """Compares the number of lines that are not empty with the number of words."""
        body = without_marks(text).strip()
        lines = sum(line != "" for line in body.split("\n"))
        words = len(body.split())
        return Finding(lines == words, f"lines: {lines}, words: {words}, wanted one word a line")


# What may follow an emoji as a part of it: joiners, variation selectors, keycaps, tags; and flags are letter pairs.
_PARTS = re.compile("[\u200d\ufe0e\ufe0f\u20e3\U000e0020-\U000e007f]")
_FLAG = re.compile("[\U0001f1e6-\U0001f1ff]")


@dataclass(frozen=True, slots=True)
class Emoji:
    """Each sentence ends in an emoji, before or behind its last mark."""

    ID: ClassVar[str] = "format:emoji"

    def check(self, text: str) -> Finding:
        """Takes flags, keycaps and joined emoji too; an emoji between two sentences belongs to the first."""
        found = [_strip_marks(sentence) for sentence in sentences(text)]
        found = [sentence for sentence in found if sentence]
        if not found:
            return Finding(False, "no sentences")
        for one, two in pairwise([*found, ""]):
            if not _is_sign(one[-1:]) and not _is_sign(two[:1]):
                return Finding(False, f"a sentence ends in {one[-30:]!r}, without an emoji")
        return Finding(True, f"{len(found)} sentences end in an emoji")

    def check_published(self, text: str) -> Finding:
        """Looks at the last two characters, and knows emoji of one code point only."""
        found = [without_marks(sentence).strip() for sentence in sentences(text)]
        for one, two in pairwise([*found, ""]):
            if not one or not (any(map(is_emoji, one[-2:])) or is_emoji(two[:1])):
                return Finding(False, f"a sentence ends in {one[-30:]!r}, without an emoji")
        return Finding(True, f"{len(found)} sentences end in an emoji")


def _strip_marks(sentence: str) -> str:
    """The sentence without marks and spaces at its ends; an emoji of several code points becomes one at the end."""
    keycaps = re.sub("[0-9#*]\ufe0f?\u20e3", "🔢", sentence)
    return _PARTS.sub("", keycaps).strip(MARKS_AND_SPACE + "\n\t…“”‘’«»–—")


def _is_sign(character: str) -> bool:
    return is_emoji(character) or _FLAG.match(character) is not None


@dataclass(frozen=True, slots=True)
class LineIndent:
    """Each line is indented more than the one before it; blank lines do not count."""

    ID: ClassVar[str] = "format:line_indent"

    def check(self, text: str) -> Finding:
        """Counts spaces, and tabs as 8 columns; asks for at least two lines."""
        lines = [line.expandtabs() for line in text.split("\n") if line.strip()]
        return self._finding(lines) if len(lines) > 1 else Finding(False, "fewer than two lines, so no stairs")

    def check_published(self, text: str) -> Finding:
        """Counts spaces only, and takes the second of two blank lines in a row for a step."""
        lines = text.split("\n")
        # Half of the lines at least are compared. So many steps need more spaces than there are characters.
        if (steps := len(lines) // 2) * (steps - 1) // 2 > len(text):
            return Finding(False, f"{len(lines)} lines are not all indented more than the one before")
        for line in lines:
            if not line.strip():
                lines.remove(line)  # the published loop: the line behind a removed one is passed over
        return self._finding(lines)

    def _finding(self, lines: list[str]) -> Finding:
        indents = [len(line) - len(line.lstrip(" ")) for line in lines]
        for i, (one, two) in enumerate(pairwise(indents), start=2):
            if two <= one:
                return Finding(False, f"line {i} is indented by {two} spaces, wanted more than {one}")
        return Finding(True, f"{len(lines)} lines, each indented more than the one before it")


_NOT_QUOTE = string.digits + string.punctuation.replace('"', "")


@dataclass(frozen=True, slots=True)
class QuoteUnquote:
    """No quoted phrase is followed by another at once, and the reply does not end with one."""

    ID: ClassVar[str] = "format:quote_unquote"

    def check(self, text: str) -> Finding:
        """Takes curly double quotes for quotes."""
        return self.check_published(text.translate(_STRAIGHT))

    def check_published(self, text: str) -> Finding:
        """Takes straight double quotes only; a reply without any follows it."""
        body = "".join(text.replace("'\"'", "").split())
        if '""' in body:
            return Finding(False, "two quoted phrases stand side by side, without an explanation between them")
        if body.strip(_NOT_QUOTE)[-1:] == '"':
            return Finding(False, "the reply ends with a quoted phrase, without an explanation behind it")
        return Finding(True, "an explanation follows every quoted phrase")


@dataclass(frozen=True, slots=True)
class TitleCase:
    """Each major word starts with a capital."""

    ID: ClassVar[str] = "format:title_case"

    def check(self, text: str) -> Finding:
        """Lets articles, conjunctions and short prepositions be small, except as the first word."""
        words = re.findall(r"[^\W_](?:\S*[^\W_])?", text)
        small = [word for i, word in enumerate(words) if word[0].islower() and not (i and word.lower() in MINOR_WORDS)]
        if not words:
            return Finding(False, "no words")
        return Finding(
            not small, f"words without a capital: {shown(small)}" if small else "every major word has a capital"
        )

    def check_published(self, text: str) -> Finding:
        """Asks for a capital on articles too, and takes the "n't" of "Don't" for a word without one."""
        for word in treebank_words(text):
            lone, rest = len(word) == 1, word[1:]
            if word[0].isalpha() and word[0].islower() and (lone or rest.islower() or rest.isupper()):
                return Finding(False, f"{word[:30]!r} has no capital")
        return Finding(True, "every word has a capital")


_LABELS = ("My Answer:", "My Conclusion:", "Future Outlook:")


@dataclass(frozen=True, slots=True)
class OutputTemplate:
    """The reply fills the template My Answer: … My Conclusion: … Future Outlook: …"""

    ID: ClassVar[str] = "format:output_template"

    def check(self, text: str) -> Finding:
        """Asks for the labels in this order, the first at the start, with text behind each."""
        missing = self.check_published(text)
        if not missing.followed:
            return missing
        head, rest = text.split(_LABELS[0], 1)
        parts = re.split("My Conclusion:|Future Outlook:", rest)
        in_order = len(parts) == 3 and rest.find(_LABELS[1]) < rest.find(_LABELS[2])
        if any(map(str.isalnum, head)) or not in_order:
            return Finding(
                False, f"the labels {' '.join(_LABELS)} do not stand in this order from the start, once each"
            )
        filled = all(any(map(str.isalnum, part)) for part in parts)
        return Finding(filled, "the template is filled in" if filled else "a label has no text behind it")

    def check_published(self, text: str) -> Finding:
        """Asks for the three labels somewhere."""
        missing = [label for label in _LABELS if label not in text]
        return Finding(not missing, f"missing: {' '.join(missing)}" if missing else "the three labels are there")


@dataclass(frozen=True, slots=True)
class NoWhitespace:
    """The reply has no white space."""

    ID: ClassVar[str] = "format:no_whitespace"

    def check(self, text: str) -> Finding:
        """Counts characters of white space."""
        found = len(text) - sum(map(len, text.split()))
        return Finding(not found, f"white space: {found} characters, wanted none")
