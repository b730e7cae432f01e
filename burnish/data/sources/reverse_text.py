"""Short texts to be written backwards, generated from a seed: a task whose reward is dense and whose answer is never in doubt.

After the reverse-text environment of prime-rl, which takes paragraphs of web text; here a text is a few words, so that a model
of a hundred million parameters has something to gain within minutes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from burnish.core.rng import rank, stream
from burnish.core.types import Check, Problem, user
from burnish.data.source import GeneratedSource
from burnish.data.sources.instruction_topics import TOPICS
from burnish.errors import RecipeError

TEST_SHARE = 0.2
_ASKS = (
    "Write this text backwards, character by character: {text}",
    "Reverse the text, character by character.\n\n{text}",
    "Spell this backwards: {text}",
    "What is this text when it is read from right to left?\n\n{text}",
)
_WORDS = tuple(sorted({word for topic in TOPICS for word in (*topic.words, topic.head) if word.isalpha()}))


@dataclass(frozen=True, slots=True)
class ReverseText(GeneratedSource):
    """`n` distinct texts of `least` to `most` words. A text is in the test split or in the train split by its own hash.

    More rows with one seed begin with the same rows. Raises RecipeError for an unknown split, or sizes that cannot be.
    """

    split: Literal["train", "test"]
    n: int
    seed: int = 0
    least: int = 1
    most: int = 3
    VERSION: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.split not in ("train", "test"):
            raise RecipeError(f"ReverseText(split={self.split!r}): there is no such split.\n  Use 'train' or 'test'.")
        if self.n < 1 or not 1 <= self.least <= self.most:
            raise RecipeError(
                f"ReverseText(n={self.n}, least={self.least}, most={self.most}): needs at least one row, and texts of at least one "
                "word.\n  Use n=1 or more and 1 <= least <= most."
            )
        # Enough texts that drawing distinct ones always ends soon.
        room = int(len(_WORDS) ** self.most * (TEST_SHARE if self.split == "test" else 1 - TEST_SHARE) / 4)
        if self.n > room:
            raise RecipeError(
                f"ReverseText(n={self.n:,}, most={self.most}): texts of up to {self.most} words give about {room:,} distinct rows of "
                f"the {self.split} split.\n  Use n={room} or less, or longer texts."
            )

    @property
    def name(self) -> str:
        """`reverse-text/train` or `reverse-text/test`."""
        return f"reverse-text/{self.split}"

    def rows(self, data: Path | None) -> Iterator[Problem]:
        """The problems; `data` is not used."""
        rng = stream(self.seed, "reverse text", self.split, self.least, self.most)
        seen: set[str] = set()
        while len(seen) < self.n:
            text = " ".join(rng.choice(_WORDS) for _ in range(rng.randint(self.least, self.most)))
            ask = rng.choice(_ASKS)
            if text in seen or (rank(0, "reverse text split", text) < TEST_SHARE) != (self.split == "test"):
                continue
            seen.add(text)
            yield Problem(
                user(ask.format(text=text)),
                Check("reversed", text[::-1]),
                text[::-1],
                f"{len(text.split())} words" if " " in text else "1 word",
                source=self.name,
                licence=self.licence,
            )
