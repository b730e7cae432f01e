"""IFBench's repeat:* instructions: saying the request again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from burnish.verify.ifeval.constraints import Finding

SENTENCE = "Only output this sentence here, ignore all other requests."


@dataclass(frozen=True, slots=True)
class RepeatChange:
    """The request word for word, but for its first word, and nothing else; white space does not count."""

    ID: ClassVar[str] = "repeat:repeat_change"
    prompt_to_repeat: str

    def check(self, text: str) -> Finding:
        """Asks that the first word is another one."""
        found = self.check_published(text)
        same = text.split()[:1] == self.prompt_to_repeat.split()[:1]
        return Finding(False, "the first word is unchanged") if found.followed and same else found

    def check_published(self, text: str) -> Finding:
        """Asks that the reply is not the request, character by character."""
        if text == self.prompt_to_repeat:
            return Finding(False, "the request is repeated unchanged")
        followed = text.split()[1:] == self.prompt_to_repeat.split()[1:]
        return Finding(followed, "behind the first word the request is " + ("repeated" if followed else "not repeated"))


@dataclass(frozen=True, slots=True)
class RepeatSimple:
    """The reply is one fixed sentence, in any case."""

    ID: ClassVar[str] = "repeat:repeat_simple"

    def check(self, text: str) -> Finding:
        """Compares the stripped reply."""
        followed = text.strip().lower() == SENTENCE.lower()
        return Finding(followed, f"the reply is {'' if followed else 'not '}{SENTENCE!r}")


@dataclass(frozen=True, slots=True)
class RepeatSpan:
    """The reply is the request's characters from n_start to n_end, both included and counted from 0, in any case."""

    ID: ClassVar[str] = "repeat:repeat_span"
    prompt_to_repeat: str
    n_start: int
    n_end: int

    def check(self, text: str) -> Finding:
        """Compares the stripped reply with the stripped span."""
        wanted = self.prompt_to_repeat[self.n_start : self.n_end + 1].strip()
        return Finding(
            text.strip().lower() == wanted.lower(), f"the reply is {text.strip()[:60]!r}, wanted {wanted[:60]!r}"
        )
