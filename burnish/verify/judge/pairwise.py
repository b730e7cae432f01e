"""Two replies compared by a judge model, each of them shown first once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from burnish.core.types import Messages, Problem, Verdict
from burnish.errors import VerifierError
from burnish.verify.judge.ask import Answerer, Ask, Said, ask, shown_prompt
from burnish.verify.judge.form import Field, Form, Way
from burnish.verify.judge.rubric import EMPTY, asking, reason_of

Better = Literal["first", "second", "tie"]
_NO_TARGET = "the target is empty, so there is no reply to compare with.\n  Write the other reply as the target."


@dataclass(frozen=True, slots=True)
class Preference:
    """Which of two replies is better: None with the reason when the judge could not be read in one of its orders.

    agreed: whether both orders gave the same verdict; where they do not, the comparison is a tie.
    """

    better: Better | None
    why: str
    agreed: bool = True


@dataclass(frozen=True, slots=True)
class Pairwise:
    """Compares a reply with the target, which is another reply to the same prompt: 1 better, 0 worse, 0.5 a tie.

    Both orders are asked, because judges favour a place; where they disagree, the verdict is a tie and says so.
    Equal replies are a tie and an empty one is worse, without asking.
    """

    VERSION: ClassVar[int] = 1
    ACCEPTS: ClassVar[tuple[tuple[str, str], ...]] = (
        ("I do not know.", "The capital of France is Paris, on the Seine."),
        ("No.", "At sea level water boils at 100 °C, and lower on a mountain."),
        ("Maybe.", "Hello, and welcome to the library; how may I help you?"),
    )
    REJECTS: ClassVar[tuple[tuple[str, str], ...]] = (
        ("The capital of France is Paris, on the Seine.", "I do not know."),
        ("At sea level water boils at 100 °C, and lower on a mountain.", "[[A]] [[B]]"),
        ("The same words.", "The same words."),
    )
    judge: Answerer
    way: Way = "json"
    max_tokens: int = 1024
    tries: int = 2

    def check_target(self, target: str) -> None:
        """Nothing, when there is a reply to compare with. Raises VerifierError for an empty one."""
        if not target.strip():
            raise VerifierError(_NO_TARGET)

    def __call__(self, problem: Problem, text: str) -> Verdict:
        """1, 0 or 0.5, or ungraded when one of the two orders could not be read."""
        return self.grade_many([(problem, text)])[0]

    def grade_many(self, items: Sequence[tuple[Problem, str]]) -> list[Verdict]:
        """One verdict an item; all of them are asked at once, in both orders."""
        able = [i for i, (problem, text) in enumerate(items) if problem.check.target.strip() and text.strip()]
        verdicts = [EMPTY if problem.check.target.strip() else Verdict(None, _NO_TARGET) for problem, _ in items]
        found = self.compare([(items[i][0].prompt, items[i][1], items[i][0].check.target) for i in able])
        for i, preference in zip(able, found, strict=True):
            score = None if preference.better is None else _SCORES[preference.better]
            verdicts[i] = Verdict(score, preference.why)
        return verdicts

    def compare(self, pairs: Sequence[tuple[Messages, str, str]], references: Sequence[str] = ()) -> list[Preference]:
        """Which is better, for each (prompt, first reply, second reply).

        references: one for each pair, a good reply that the judge sees too, "" for none; or none at all.
        """
        references = references or [""] * len(pairs)
        differ = [i for i, (_, first, second) in enumerate(pairs) if first != second]
        asks: list[Ask[dict[str, str]]] = []
        for i in differ:
            prompt, first, second = pairs[i]
            asks += [self._ask(prompt, first, second, references[i]), self._ask(prompt, second, first, references[i])]
        said = ask(self.judge, asks, self.tries)
        found = [Preference("tie", "the two replies are equal")] * len(pairs)
        for place, i in enumerate(differ):
            found[i] = _both(said[2 * place], said[2 * place + 1])
        return found

    def _ask(self, prompt: Messages, first: str, second: str, reference: str = "") -> Ask[dict[str, str]]:
        task = (
            "Two replies to one request follow. Which does better what was asked? Weigh correctness and following the "
            "request first. Neither the order nor the length of the replies is a reason. Say tie when neither is better."
        )
        if reference:
            task += (
                " A good reply written by a person is given as the reference; another way to say the same is as good."
            )
        form = Form(
            (
                Field("reason", "two or three sentences that name what decided"),
                Field("winner", "the better reply", ("A", "B", "tie")),
            ),
            self.way,
        )
        shown = [("REFERENCE", reference)] if reference else []
        texts = [("REQUEST", shown_prompt(prompt)), *shown, ("REPLY A", first), ("REPLY B", second)]
        return asking(form, task, texts, self.max_tokens)


_SCORES: dict[Better, float] = {"first": 1.0, "tie": 0.5, "second": 0.0}
_SHOWN_FIRST: dict[str, Better] = {"A": "first", "B": "second", "tie": "tie"}
_SHOWN_SECOND: dict[str, Better] = {"A": "second", "B": "first", "tie": "tie"}
_WORDS: dict[Better, str] = {"first": "the reply is better", "second": "the other reply is better", "tie": "a tie"}


def _both(one: Said[dict[str, str]], two: Said[dict[str, str]]) -> Preference:
    if one.value is None or two.value is None:
        failed = one if one.value is None else two
        return Preference(None, f"one of the two orders has no verdict: {failed.why}")
    first, second = _SHOWN_FIRST[one.value["winner"]], _SHOWN_SECOND[two.value["winner"]]
    if first != second:
        return Preference(
            "tie",
            f"a tie, because the orders disagree: shown first, {_WORDS[first]}; shown second, {_WORDS[second]}. "
            f"{reason_of(one.value)} | {reason_of(two.value)}",
            agreed=False,
        )
    return Preference(first, f"{_WORDS[first]} in both orders: {reason_of(one.value)}")
