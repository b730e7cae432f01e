"""IFBench's format:* instructions about options, lists, bullets and sections."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from burnish.verify.ifbench.words_of import MARKS_AND_SPACE, shown
from burnish.verify.ifeval.constraints import Finding
from burnish.verify.ifeval.sentences import sentences

_LETTERED = re.compile(r"\W*[aA]\W*[bB]\W*[cC]\W*")
_COMMA_OR = re.compile(r",\s*(?:or\s+)?|\s+or\s+")


@dataclass(frozen=True, slots=True)
class Options:
    """The reply is one of the options and nothing else; lettered options ("a), b), c)") character by character."""

    ID: ClassVar[str] = "format:options"
    options: str

    def check(self, text: str) -> Finding:
        """Cuts the options at "/", else at commas and the word "or"; passes over white space around the reply."""
        parts = self.options.split("/") if "/" in self.options else _COMMA_OR.split(self.options)
        options = [part.strip() for part in parts if part.strip()]
        return self._finding(options, text.strip(), lambda part: part.strip(MARKS_AND_SPACE + "\n\t").lower())

    def check_published(self, text: str) -> Finding:
        """Cuts at "/", else at "or", inside words too, else at commas."""
        mark = "/" if "/" in self.options else "or" if "or" in self.options else ","
        options = [option.strip() for option in self.options.split(mark)]
        return self._finding(options, text, lambda part: part.strip(MARKS_AND_SPACE).lower())

    def _finding(self, options: list[str], reply: str, bare: Callable[[str], str]) -> Finding:
        lettered = _LETTERED.match(self.options)
        followed = reply in options if lettered else bare(reply) in map(bare, options)
        return Finding(followed, f"the reply is {reply[:40]!r}, wanted one of {shown(options)} and nothing else")


@dataclass(frozen=True, slots=True)
class ItemList:
    """A list of at least two items, each behind a mark of the instruction's."""

    ID: ClassVar[str] = "format:list"
    sep: str

    def check(self, text: str) -> Finding:
        """Counts lines that start with the mark and have something behind it."""
        mark = self.sep.strip()
        lines = [line.strip() for line in text.split("\n")]
        return self._finding(sum(line.startswith(mark) and line != mark for line in lines), "lines starting with")

    def check_published(self, text: str) -> Finding:
        """Counts the mark wherever it stands."""
        return self._finding(text.count(self.sep), "occurrences of")

    def _finding(self, found: int, what: str) -> Finding:
        return Finding(found >= 2, f"{what} {self.sep!r}: {found}, wanted at least 2")


_ITALIC = re.compile(r"<(i|em)>")


@dataclass(frozen=True, slots=True)
class Thesis:
    """A thesis in HTML italics, <i> or <em>, with text behind it; sections behind the first are not looked at."""

    ID: ClassVar[str] = "format:thesis"

    def check(self, text: str) -> Finding:
        """Matches the closing tag with the opening one."""
        start = _ITALIC.search(text)
        if start is None:
            return self._finding(None, "")
        thesis, close, rest = text[start.end() :].partition(f"</{start[1]}>")
        return self._finding(thesis if close else None, rest)

    def check_published(self, text: str) -> Finding:
        """Takes three characters for every tag's length but one more for its end, so that <em></em> is not empty."""
        start = text.find("<i>")
        start = text.find("<em>") if start < 0 else start
        if start < 0:
            return self._finding(None, "")
        stop = text.find("</i>", start)
        stop = text.find("</em>", start) if stop < 0 else stop
        return self._finding(text[start + 3 : stop] if stop >= 0 else None, text[stop + 4 :])

    def _finding(self, thesis: str | None, rest: str) -> Finding:
        if thesis is None or not thesis.strip():
            return Finding(False, "no text in italics: wanted <i>…</i> or <em>…</em>")
        followed = bool(rest.strip())
        return Finding(followed, f"text {'stands' if followed else 'is missing'} behind the thesis in italics")


_BULLET = re.compile(r"\*(?!\*)")


@dataclass(frozen=True, slots=True)
class SubBullets:
    """Each bullet point (*) has at least one sub-bullet (-)."""

    ID: ClassVar[str] = "format:sub-bullets"

    def check(self, text: str) -> Finding:
        """Counts lines that start with * and lines behind them that start with -; asks for at least one bullet."""
        subs: list[int] = []
        for line in map(str.strip, text.split("\n")):
            if _BULLET.match(line):
                subs.append(0)
            elif line.startswith("-") and subs:
                subs[-1] += 1
        if not subs:
            return Finding(False, "no line starts with *")
        return Finding(all(subs), f"bullet points: {len(subs)}, without a sub-bullet: {subs.count(0)}")

    def check_published(self, text: str) -> Finding:
        """Looks for a hyphen behind every asterisk, wherever they stand; a reply without asterisks follows it."""
        parts = text.split("*")[1:]
        bare = sum("-" not in part for part in parts)
        return Finding(not bare, f"asterisks: {len(parts)}, without a hyphen behind them: {bare}")


@dataclass(frozen=True, slots=True)
class SentencesThenBullets:
    """At least two sentences that end in a full stop, and behind them at least two bullet points (*)."""

    ID: ClassVar[str] = "format:no_bullets_bullets"

    def check(self, text: str) -> Finding:
        """Counts the sentences before the first bullet that end in a full stop; blank lines and later text may stand."""
        lines = [line.strip() for line in text.split("\n")]
        places = [i for i, line in enumerate(lines) if _BULLET.match(line)]
        before = lines[: places[0]] if places else lines
        return self._finding(sum(one.endswith(".") for line in before for one in sentences(line)), len(places))

    def check_published(self, text: str) -> Finding:
        """Counts every sentence; nothing may stand behind the bullets or between them, and one blank line before them."""
        stated = bullets = 0
        more = True  # sentences may still follow
        for line in map(str.strip, text.split("\n")):
            if line.startswith("*"):
                more = False
                bullets += 1
                if stated < 2:
                    return self._finding(stated, bullets)
            elif more:
                found = len(sentences(line))
                more = found > 0
                stated += found
            else:
                return Finding(False, f"{line[:30]!r} stands where only bullet points may")
        return self._finding(stated, bullets)

    def _finding(self, stated: int, bullets: int) -> Finding:
        return Finding(
            stated >= 2 and bullets >= 2,
            f"sentences before the first bullet point: {stated}, bullet points: {bullets}, wanted at least 2 of each",
        )
