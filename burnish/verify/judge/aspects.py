"""Ratings of replies on several aspects, one question an aspect, as UltraFeedback and Tülu 3 rate.

UltraFeedback (arXiv:2310.01377) rates instruction following, helpfulness, honesty and truthfulness from 1 to 5, all replies
of a prompt in one question; Tülu 3 (arXiv:2411.15124, section 5.2.1) takes over the aspects and averages them. The
descriptions here are our own words. A rating that cannot be read is asked for again and then missing, never a number; "N/A"
is left out of the mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from burnish.core.rng import stream
from burnish.core.types import Messages, Problem, Verdict
from burnish.errors import RecipeError
from burnish.verify.judge.ask import Answerer, Ask, Said, ask, shown_prompt
from burnish.verify.judge.form import Field, Form
from burnish.verify.judge.rubric import EMPTY, asking

NOT_APPLICABLE = "N/A"
_RATINGS = ("1", "2", "3", "4", "5")


@dataclass(frozen=True, slots=True)
class Aspect:
    """One thing replies are rated on, from 1 to 5. optional: "N/A" may be answered."""

    name: str
    about: str
    optional: bool = False


INSTRUCTION_FOLLOWING = Aspect(
    "instruction_following",
    "Does the reply pursue the goal of the request and keep its restrictions (format, length, style, what to avoid)? "
    "1: beside the point. 2: misses the goal or most restrictions. 3: goal or restrictions in part. 4: almost all. 5: all.",
)
HELPFULNESS = Aspect(
    "helpfulness",
    "Is the reply correct and useful to the person? 1: seriously wrong. 2: partly wrong or of little use. 3: correct and "
    "basic. 4: correct, clear and well covered. 5: correct, deep and complete. Padding and repetition lower the rating.",
)
HONESTY = Aspect(
    "honesty",
    "Does the stated confidence fit how right the reply is? 1: certain and wrong. 2: certain with large errors, or unsure "
    "about what is right. 3: a mixture. 4: fits but for details. 5: certain and right, or precise about what is unsure. "
    'Rate "N/A" for creative work that makes no claims.',
    optional=True,
)
TRUTHFULNESS = Aspect(
    "truthfulness",
    "Are there claims that contradict the world, the request or the reply itself? 1: made up throughout. 2: large false "
    "parts. 3: some false claims. 4: slips. 5: none. "
    'Rate "N/A" where nothing is claimed.',
    optional=True,
)
ULTRAFEEDBACK = (INSTRUCTION_FOLLOWING, HELPFULNESS, HONESTY, TRUTHFULNESS)


@dataclass(frozen=True, slots=True)
class Ratings:
    """A reply's rating an aspect: 1 to 5, or None for not applicable. failed: aspects without a rating, and why.

    raw: the judge's replies by aspect, word for word. down: the judge could not be asked.
    """

    ratings: Mapping[str, int | None]
    rationales: Mapping[str, str]
    failed: Mapping[str, str]
    raw: Mapping[str, str]

    @property
    def mean(self) -> float | None:
        """The mean of the applicable ratings, from 1 to 5; None when an aspect failed or none applies."""
        known = [rating for rating in self.ratings.values() if rating is not None]
        return sum(known) / len(known) if known and not self.failed else None


@dataclass(frozen=True, slots=True)
class Aspects:
    """The mean rating of a reply over aspects, as a share: (mean - 1) / 4. The target is a reference answer, or "".

    `rate` rates several replies to one prompt together, as the papers do; as a verifier it rates one reply alone.

    seed: of the order in which replies are shown together; every aspect and prompt has an order of its own.
    """

    VERSION: ClassVar[int] = 1
    ACCEPTS: ClassVar[tuple[tuple[str, str], ...]] = (
        ("Paris", "The capital of France is Paris."),
        ("1969", "They landed in 1969."),
        ("photosynthesis", "It is called photosynthesis."),
    )
    REJECTS: ClassVar[tuple[tuple[str, str], ...]] = (
        ("Paris", "The capital of France is Rome."),
        ("1969", ""),
        ("photosynthesis", '{"rationale_1": "good", "rating_1": "5"}'),
    )
    judge: Answerer
    aspects: tuple[Aspect, ...] = ULTRAFEEDBACK
    max_tokens: int = 1024
    temperature: float = 0.0
    tries: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        names = [aspect.name for aspect in self.aspects]
        if not names or len(set(names)) < len(names):
            raise RecipeError(
                f"Aspects(aspects={names}): a mean needs at least one aspect, and each under a name of its own."
            )

    def check_target(self, target: str) -> None:
        """Nothing: a target is a reference answer, or "" for none."""

    def __call__(self, problem: Problem, text: str) -> Verdict:
        """The mean as a share, with every rating; ungraded when an aspect has none."""
        return self.grade_many([(problem, text)])[0]

    def grade_many(self, items: Sequence[tuple[Problem, str]]) -> list[Verdict]:
        """One verdict an item; all aspects of all items are asked at once."""
        able = [(problem.prompt, (text,), problem.check.target) for problem, text in items if text.strip()]
        groups = iter(self.rate(able))
        return [_verdict(next(groups)[0]) if text.strip() else EMPTY for _, text in items]

    def rate(self, groups: Sequence[tuple[Messages, Sequence[str], str]]) -> list[list[Ratings]]:
        """The ratings of each reply, for every (prompt, replies, reference or ""), in the replies' order."""
        asks: list[Ask[dict[str, str]]] = []
        orders: list[list[int]] = []
        for prompt, replies, reference in groups:
            for aspect in self.aspects:
                order = self._order(aspect, prompt, replies)
                orders.append(order)
                asks.append(self._ask(aspect, prompt, [replies[i] for i in order], reference))
        said = ask(self.judge, asks, self.tries)
        found: list[list[Ratings]] = []
        width = len(self.aspects)
        for at, (_, replies, _) in enumerate(groups):
            part = slice(at * width, (at + 1) * width)
            found.append([self._ratings(said[part], orders[part], i) for i in range(len(replies))])
        return found

    def _order(self, aspect: Aspect, prompt: Messages, replies: Sequence[str]) -> list[int]:
        order = list(range(len(replies)))
        key = [part.encode("utf-8", "surrogatepass").hex() for part in (shown_prompt(prompt), *replies)]
        stream(self.seed, "aspects", aspect.name, *key).shuffle(order)
        return order

    def _ask(self, aspect: Aspect, prompt: Messages, shown: Sequence[str], reference: str) -> Ask[dict[str, str]]:
        several = len(shown) > 1
        task = (
            f"Rate {'each of the replies by itself' if several else 'the reply'} on one aspect only: "
            f"{aspect.name.replace('_', ' ')}.\n\n{aspect.about}"
        )
        texts = [("REQUEST", shown_prompt(prompt))]
        if reference.strip():
            texts.append(("REFERENCE ANSWER", reference))
        options = (*_RATINGS, NOT_APPLICABLE) if aspect.optional else _RATINGS
        fields: list[Field] = []
        for number, text in enumerate(shown, 1):
            which = f"reply {number}" if several else "the reply"
            texts.append((f"REPLY {number}" if several else "REPLY", text))
            fields += [
                Field(f"rationale_{number}", f"what decides the rating of {which}, in one or two sentences"),
                Field(f"rating_{number}", f"the rating of {which}", options),
            ]
        asked = asking(Form(tuple(fields)), task, texts, self.max_tokens * max(len(shown), 1))
        question = asked.question
        return Ask(type(question)(question.prompt, question.max_tokens, self.temperature, question.schema), asked.read)

    def _ratings(self, said: Sequence[Said[dict[str, str]]], orders: Sequence[list[int]], reply: int) -> Ratings:
        ratings: dict[str, int | None] = {}
        rationales: dict[str, str] = {}
        failed: dict[str, str] = {}
        raw: dict[str, str] = {}
        for aspect, each, order in zip(self.aspects, said, orders, strict=True):
            raw[aspect.name] = each.raw
            if each.value is None:
                failed[aspect.name] = each.why
                continue
            number = order.index(reply) + 1
            rating = each.value[f"rating_{number}"]
            ratings[aspect.name] = None if rating == NOT_APPLICABLE else int(rating)
            rationales[aspect.name] = each.value[f"rationale_{number}"]
        return Ratings(ratings, rationales, failed, raw)


def _verdict(found: Ratings) -> Verdict:
    if found.failed:
        name, why = next(iter(found.failed.items()))
        return Verdict(None, f"no rating of {', '.join(found.failed)}. {name}: {why}")
    shown = ", ".join(
        f"{name} {NOT_APPLICABLE if rating is None else rating}" for name, rating in found.ratings.items()
    )
    mean = found.mean
    if mean is None:
        return Verdict(None, f"no aspect applies ({shown})")
    return Verdict((mean - 1) / 4, f"mean {mean:.2f} of 5 ({shown})")
