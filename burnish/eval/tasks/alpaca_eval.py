"""AlpacaEval 2 (arXiv:2404.04475): 805 instructions, a model's reply against that of gpt4_1106_preview, length-controlled.

Source: instructions and the baseline's replies as tatsu-lab/alpaca_eval keeps them; licence CC-BY-NC-4.0.
Protocol: the instruction as the user's message, no system prompt, chat template, greedy, up to 8,192 new tokens (olmes
`alpaca_eval_v2::tulu`). A model whose context is shorter is asked with `--overlong shorten_reply`: the paper's runs had a
context of 4,096, and every reply had what the longest of the 805 prompts left of it.
Judge: one token, "m" or "M", with the five likeliest tokens' log-probabilities; order of the two replies drawn per instruction
as AlpacaEval draws it, seed 0 (`burnish.verify.judge.preferred`). The paper's is weighted_alpaca_eval_gpt4_turbo; with any other
judge or wording the numbers cannot be compared. AlpacaEval's own wording is given as `--judge-form alpaca_eval_clf.txt`.
Metric: the length-controlled win rate over the 805. The published estimator (length_controlled_v1) needs two files of
AlpacaEval's authors (`Weights`); without them a joint fit beside the 30 published models of the shared data takes its
place under another name, lc_winrate_approx (`burnish.eval.winrate`). `alpaca_eval_raw` reports the plain win rate.
Beside it: win_rate with its standard error, discrete_win_rate, counts, average_length in characters.

Traps: the length-controlled standard error takes the fit as given. An empty reply loses without asking; the paper's code asks.
There is no gold reply: a copy of the baseline's is a tie.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from burnish.core.files import sha256_file
from burnish.core.fingerprint import not_identity
from burnish.core.types import Problem, Verdict
from burnish.data.sources.alpaca_eval import AlpacaEval
from burnish.errors import DataError
from burnish.eval.judging import Judge
from burnish.eval.stats import normal_interval
from burnish.eval.task import EvalTask, Published
from burnish.rollout.engine import Sampling
from burnish.verify.base import Examples
from burnish.verify.judge.preferred import Preferred

if TYPE_CHECKING:
    from burnish.eval.winrate import Annotations, Floats, Gamed

TULU3 = "https://arxiv.org/abs/2411.15124"
SETTINGS = "olmes alpaca_eval_v2::tulu: LC win rate, judge weighted_alpaca_eval_gpt4_turbo, greedy (table 6)"
PUBLISHED = (
    Published(0.242, "Llama-3.1-8B-Instruct", TULU3, SETTINGS),
    Published(0.124, "Llama-3.1-Tulu-3-8B-SFT", TULU3, SETTINGS),
    Published(0.335, "Llama-3.1-Tulu-3-8B-DPO", TULU3, SETTINGS),
    Published(0.345, "Llama-3.1-Tulu-3-8B", TULU3, SETTINGS),
)
NOTHING: dict[str, Any] = {"score": None, "standard_error": None, "interval": None}


@dataclass(frozen=True, slots=True)
class Weights:
    """AlpacaEval's files for the published estimator. sha256: of both. difficulty: "" takes it from `gamed`."""

    sha256: tuple[str, ...]
    gamed: str = not_identity(default="")
    difficulty: str = not_identity(default="")
    VERSION: ClassVar[int] = 1

    @classmethod
    def of(cls, gamed: Path, difficulty: Path | None = None) -> Weights:
        """The files as they are: df_gamed.csv and instruction_difficulty.csv."""
        files = [gamed] if difficulty is None else [gamed, difficulty]
        return cls(tuple(map(sha256_file, files)), str(gamed), str(difficulty or ""))


@dataclass(frozen=True, slots=True)
class LengthControlled:
    """A preference a reply (`Preferred`), and over all of them the length-controlled win rate.

    weights: for the published estimator; None for the joint fit with the published models that the problems know.
    """

    preferred: Preferred
    weights: Weights | None = None
    VERSION: ClassVar[int] = 1

    @property
    def ACCEPTS(self) -> Examples:
        """Those of the preference."""
        return self.preferred.ACCEPTS

    @property
    def REJECTS(self) -> Examples:
        """Those of the preference."""
        return self.preferred.REJECTS

    def check_target(self, target: str) -> None:
        """Nothing, when there is a reply to compare with. Raises VerifierError for an empty one."""
        self.preferred.check_target(target)

    def __call__(self, problem: Problem, text: str) -> Verdict:
        """The preference for the reply."""
        return self.preferred(problem, text)

    def grade_many(self, items: Sequence[tuple[Problem, str]]) -> list[Verdict]:
        """One preference an item; all of them are asked at once."""
        return self.preferred.grade_many(items)

    def summarise(self, problems: Sequence[Problem], samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The length-controlled win rate as score, and the plain one with its counts under "aggregate" (per cent)."""
        from burnish.eval.winrate import controlled, joint, plain

        name = "lc_winrate_approx" if self.weights is None else "length_controlled_winrate"
        model = _annotations(problems, samples)
        if all(sample["score"] is None for sample in samples):
            return {"metric": name, **NOTHING, "aggregate": {}}
        aggregate = {**plain(model), "average_length": _length(samples)}
        if self.weights is None:
            models = [model, *_beside(problems)]
            fit = joint(models)[model.model]
            aggregate["models_in_fit"] = len(models)
        else:
            fit = controlled(model, *_files(self.weights))
        score, error = fit.win_rate / 100, fit.standard_error / 100
        return {
            "metric": name, "score": score, "standard_error": error, "interval": list(normal_interval(score, error)),
            "aggregate": {**aggregate, "phi": fit.phi},
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class PlainWinRate(LengthControlled):
    """A preference a reply, whose mean is the score; counts and average length beside it."""

    VERSION: ClassVar[int] = 1

    def summarise(self, problems: Sequence[Problem], samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The counts under "aggregate" (per cent); score, error and interval stay those of the mean."""
        from burnish.eval.winrate import plain

        if all(sample["score"] is None for sample in samples):
            return {"aggregate": {}}
        return {"aggregate": {**plain(_annotations(problems, samples)), "average_length": _length(samples)}}


def _files(weights: Weights) -> tuple[Floats, Gamed]:
    from burnish.eval.annotations import read_difficulty, read_gamed

    found = tuple(sha256_file(Path(path)) for path in (weights.gamed, weights.difficulty) if path)
    if found != weights.sha256:
        raise DataError(
            f"{weights.gamed}: the weights of the length-controlled win rate changed since the task was made, so its score would carry a wrong name.\n"
            "  Restore the files, or evaluate again with the new ones."
        )
    return read_difficulty(Path(weights.difficulty or weights.gamed)), read_gamed(Path(weights.gamed))


def _length(samples: Sequence[Mapping[str, Any]]) -> float:
    return sum(len(sample["response"]) for sample in samples) / len(samples)


def _annotations(problems: Sequence[Problem], samples: Sequence[Mapping[str, Any]]) -> Annotations:
    """The judged replies, the first of each instruction, by the instructions' numbers."""
    import numpy as np

    from burnish.eval.winrate import Annotations

    asked = {problem.id: problem for problem in problems}
    rows = {
        int(problem.annotations["key"]): (
            float("nan") if sample["score"] is None else sample["score"], len(problem.check.target) - len(sample["response"]),
        )
        for problem, sample in ((asked[sample["id"]], sample) for sample in reversed(samples))
    }  # fmt: skip
    places = sorted(rows)
    wins, shorter = (np.array([rows[place][i] for place in places], float) for i in (0, 1))
    return Annotations("(the model asked)", np.array(places, np.int64), wins, shorter)


def _beside(problems: Sequence[Problem]) -> list[Annotations]:
    """The published models, on all instructions that they were judged on among these."""
    import numpy as np

    from burnish.eval.winrate import Annotations

    rows: dict[str, list[tuple[int, float, float]]] = {}
    for problem in problems:
        for model, (preference, baseline, own) in problem.annotations.get("judged", {}).items():
            rows.setdefault(model, []).append((int(problem.annotations["key"]), preference - 1, baseline - own))
    return [
        Annotations(model, *(np.array(column, kind) for column, kind in zip(zip(*part, strict=True), (np.int64, float, float), strict=True)))
        for model, part in rows.items()
    ]  # fmt: skip


def task(judge: Judge, weights: Weights | None = None, limit: int | None = None) -> EvalTask:
    """AlpacaEval 2 by the length-controlled win rate; without `weights` under its approximate name."""
    preferred = Preferred(judge.model, judge.form_with("alpaca_eval", "{instruction}", "{output_1}", "{output_2}"))
    return EvalTask(
        "alpaca_eval", AlpacaEval(beside=weights is None), LengthControlled(preferred, weights),
        Sampling(temperature=0.0, max_tokens=8192),
        metric="lc_winrate_approx" if weights is None else "length_controlled_winrate", limit=limit, published=PUBLISHED, n=805,
    )  # fmt: skip


def raw(judge: Judge, limit: int | None = None) -> EvalTask:
    """AlpacaEval 2 by the plain win rate."""
    form = judge.form_with("alpaca_eval_raw", "{instruction}", "{output_1}", "{output_2}")
    return EvalTask(
        "alpaca_eval_raw", AlpacaEval(), PlainWinRate(Preferred(judge.model, form)), Sampling(temperature=0.0, max_tokens=8192),
        metric="win rate", limit=limit, n=805,
    )  # fmt: skip
