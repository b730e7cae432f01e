"""IF-RLVR's constraints on repeating a given text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from burnish.errors import VerifierError
from burnish.verify.ifeval.constraints import Finding
from burnish.verify.ifrlvr.words import bare


def _same(reply: str, wanted: str) -> bool:
    return reply.strip().lower() == wanted.strip().lower()


def _copied(reply: str, wanted: str, what: str) -> Finding:
    same = _same(reply, wanted)
    return Finding(same, f"the reply is {'' if same else 'not '}{what} and nothing else")


@dataclass(frozen=True, slots=True)
class RepeatPhrase:
    """A phrase is repeated exactly so many times, each time with one word other than its first and last replaced.

    Published: a repetition may begin or end inside a word, and marks and letter case must match.
    """

    ID: ClassVar[str] = "copy:repeat_phrase"
    phrase: str
    small_n: int

    def __post_init__(self) -> None:
        if len(self.phrase.split()) < 3:
            raise VerifierError(f"phrase={self.phrase!r:.60} has no word inside to replace, so no reply could pass.")

    def check(self, text: str) -> Finding:
        """Looks at every stretch of as many words that begins and ends as the phrase does."""
        wanted = [bare(piece) for piece in self.phrase.split()]
        size = len(wanted)
        # Few words are spelled like the first of the phrase: without any there is nothing to compare.
        words = [bare(piece) for piece in text.split()] if wanted[0] in text.casefold() else []
        changed = [
            sum(one != two for one, two in zip(words[i : i + size], wanted, strict=True))
            for i in range(len(words) - size + 1)
            if words[i] == wanted[0] and words[i + size - 1] == wanted[-1]
        ]
        return self._count(changed)

    def check_published(self, text: str) -> Finding:
        """Looks from each beginning for the nearest end on the same line."""
        wanted = self.phrase.split()
        changed = []
        for words in _from_to(text, wanted[0], wanted[-1]):
            if len(words) != len(wanted):
                return Finding(False, f"a repetition of {len(words)} words, wanted {len(wanted)}")
            changed.append(sum(one != two for one, two in zip(words, wanted, strict=True)))
        if any(n > 1 for n in changed):
            return Finding(False, f"a repetition with {max(changed)} words replaced, wanted 1")
        return self._count(changed, total=True)

    def _count(self, changed: list[int], total: bool = False) -> Finding:
        right, plain = changed.count(1), changed.count(0)
        followed = right == self.small_n and plain == 0 and (not total or len(changed) == self.small_n)
        return Finding(
            followed, f"repetitions with one word replaced: {right}, unchanged: {plain}, wanted {self.small_n} and none"
        )


def _from_to(text: str, first: str, last: str) -> list[list[str]]:
    """The words of each stretch from `first` and a space to the nearest space and `last`, line by line."""
    found = []
    for line in text.split("\n"):
        start = line.find(first + " ")
        while start >= 0:
            stop = line.find(" " + last, start + len(first) + 1)
            if stop < 0:
                break
            stop += 1 + len(last)
            found.append(line[start:stop].split())
            start = line.find(first + " ", stop)
    return found


@dataclass(frozen=True, slots=True)
class Copy:
    """The reply is the request, in any case. Both readings agree."""

    ID: ClassVar[str] = "copy:copy"
    prompt_to_repeat: str

    def check(self, text: str) -> Finding:
        """Compares the whole reply."""
        return _copied(text, self.prompt_to_repeat, "the request")


@dataclass(frozen=True, slots=True)
class CopyingSimple:
    """The reply is the request, in any case. Both readings agree."""

    ID: ClassVar[str] = "copy:copying_simple"
    prompt_to_repeat: str

    def check(self, text: str) -> Finding:
        """Compares the whole reply."""
        return _copied(text, self.prompt_to_repeat, "the request")


@dataclass(frozen=True, slots=True)
class CopyingMultiple:
    """The reply is the request so many times, separated by ******. Both readings agree."""

    ID: ClassVar[str] = "copy:copying_multiple"
    prompt_to_repeat: str
    N: int

    def check(self, text: str) -> Finding:
        """Compares every part between separators."""
        parts = text.split("******")
        wrong = sum(not _same(part, self.prompt_to_repeat) for part in parts)
        return Finding(
            wrong == 0 and len(parts) == self.N,
            f"parts: {len(parts)}, wanted {self.N}; {wrong} of them are not the request",
        )


@dataclass(frozen=True, slots=True)
class CopySpanIdx:
    """The reply is the part of the request between two character indices, in any case.

    The sentence says that the last index is included. Published: it is not.
    """

    ID: ClassVar[str] = "new:copy_span_idx"
    prompt_to_repeat: str
    n_start: int
    n_end: int

    def __post_init__(self) -> None:
        if not self.prompt_to_repeat[self.n_start : self.n_end + 1].strip():
            raise VerifierError(
                f"characters {self.n_start} to {self.n_end} of prompt_to_repeat are blank, so no reply could pass."
            )

    def check(self, text: str) -> Finding:
        """Compares the whole reply with the part up to the last index."""
        wanted = self.prompt_to_repeat[self.n_start : self.n_end + 1]
        return _copied(text, wanted, f"characters {self.n_start} to {self.n_end} of the request")

    def check_published(self, text: str) -> Finding:
        """Compares the whole reply with the part before the last index."""
        wanted = self.prompt_to_repeat[self.n_start : self.n_end]
        return _copied(text, wanted, f"characters {self.n_start} to {self.n_end - 1} of the request")
