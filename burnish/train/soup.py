"""Model soups: the average of several runs' models as a model (arXiv:2203.05482; Tülu 3's best of several seeds, averaged)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from burnish.core.files import write_json
from burnish.errors import RecipeError
from burnish.pipeline.stage import Context, Stage, folder_name

if TYPE_CHECKING:
    from burnish.train.session import Probe


@dataclass(frozen=True)
class Greedy:
    """Add only models that help (arXiv:2203.05482, recipe 1): the best by `metric` first, then each next one, in the order of
    their own scores, is kept if the average with it scores at least as much.

    probe: what to ask; metric: its number, e.g. "probe/gsm8k", higher being better.
    """

    probe: Probe
    metric: str
    VERSION: ClassVar[int] = 1


@dataclass(frozen=True)
class Soup(Stage):
    """The mean of the weights of `models`: Soup(tuple(SFT(base, demos, seed=s) for s in range(3))).

    weights: one a model, above 0; only their ratios count. () weighs all alike.
    greedy:  Greedy(probe, metric) tries which models help; all of them are in otherwise.
    """

    VERSION: ClassVar[int] = 1
    MAKES: ClassVar[str] = "model"
    OWN_PROCESS: ClassVar[bool] = True

    models: tuple[Stage, ...]
    weights: tuple[float, ...] = ()
    greedy: Greedy | None = None

    @property
    def name(self) -> str:
        """Always "soup"."""
        return "soup"

    def headline(self) -> dict[str, Any]:
        """How many models, and their weights."""
        weights = ", ".join(f"{weight:g}" for weight in self.weights) or "all alike"
        return {"models": len(self.models), "weights": weights} | (
            {"greedy": self.greedy.metric} if self.greedy else {}
        )

    def check(self, data: Path | None) -> None:
        """Raise RecipeError for what cannot be averaged, and what the probe raises."""
        if len(self.models) < 2:
            raise RecipeError(
                f"soup: {len(self.models)} model, and an average needs two.\n"
                "  Give a tuple of stages: models=tuple(SFT(base, demos, seed=s) for s in range(3))."
            )
        if len({folder_name(model) for model in self.models}) < len(self.models):
            raise RecipeError(
                "soup: two of the models are the same stage with the same settings, so they are one model.\n"
                "  Give them different seeds, or one of them a larger weight."
            )
        if self.weights and (len(self.weights) != len(self.models) or min(self.weights) <= 0):
            raise RecipeError(
                f"soup: weights={self.weights} for {len(self.models)} models: one number above 0 each.\n"
                "  Leave weights out to weigh all alike, and a model out that shall not count."
            )
        if self.greedy is not None:
            self.greedy.probe.check(data)

    def run(self, ctx: Context) -> None:
        """Average; writes model and soup.json, which says what is in it. Raises ModelError for models that are not alike."""
        from burnish.model.soup import average

        folders = [ctx.path_of(model) / "model" for model in self.models]
        weights = self.weights or (1.0,) * len(folders)
        chosen, scores = list(range(len(folders))), list[float]()
        if self.greedy is not None:
            chosen, scores = self._choose(self.greedy, folders, weights, ctx)
        told = {"models": [folders[i].parent.name for i in chosen], "weights": [weights[i] for i in chosen]}
        left = [folder.parent.name for i, folder in enumerate(folders) if i not in chosen]
        write_json(ctx.out / "soup.json", told | ({"left_out": left, "scores": scores} if self.greedy else {}))
        if not (ctx.out / "model").exists():
            average([folders[i] for i in chosen], [weights[i] for i in chosen], ctx.out / "model")

    def _choose(
        self, greedy: Greedy, folders: list[Path], weights: tuple[float, ...], ctx: Context
    ) -> tuple[list[int], list[float]]:
        """Which models help, in the order they were added, and the average's score after each."""
        import shutil

        from burnish.model.soup import average

        alone = [self._score(greedy, folder, ctx) for folder in folders]
        order = sorted(range(len(folders)), key=lambda i: -alone[i])
        chosen, scores, tried = order[:1], [alone[order[0]]], ctx.out / "tried"
        for i in order[1:]:
            average([folders[j] for j in [*chosen, i]], [weights[j] for j in [*chosen, i]], tried)
            score = self._score(greedy, tried, ctx)
            ctx.console.line(f"  with {folders[i].parent.name}: {greedy.metric} {scores[-1]:.4f} -> {score:.4f}")
            if score >= scores[-1]:
                chosen, scores = [*chosen, i], [*scores, score]
        shutil.rmtree(tried, ignore_errors=True)
        return chosen, scores

    def _score(self, greedy: Greedy, folder: Path, ctx: Context) -> float:
        from burnish.errors import nearest
        from burnish.model.policy import Policy
        from burnish.rollout.engines import make_engine

        policy = Policy.load(folder, ctx.machine)
        found = greedy.probe.scores(make_engine(policy, ctx.machine, ctx.console), policy, ctx.data)
        if greedy.metric not in found:
            raise RecipeError(
                f"soup: Greedy(metric={greedy.metric!r}): no such number. {nearest(greedy.metric, found)}"
            )
        return found[greedy.metric]
