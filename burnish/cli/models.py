"""`burnish eval | chat`: models."""

from __future__ import annotations

import dataclasses
import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, cast

from tyro.conf import Positional, arg

from burnish.cli.flags import cache_folder, data_folder, out
from burnish.errors import ArtifactError, RecipeError
from burnish.pipeline.machine import Machine, machine
from burnish.pipeline.progress import Console


@dataclass(frozen=True)
class Served:
    """A model behind an address.

    Attributes:
        url: address of an OpenAI-compatible server for --engine endpoint; BURNISH_ENDPOINT_KEY holds its key.
        model_name: the model's name there.
        batch: ask endpoints, the model's and the judge's, in batches: half the price, up to a day.
    """

    url: str = ""
    model_name: str = ""
    batch: bool = False


@dataclass(frozen=True)
class Eval(Served):
    """Score models on benchmarks.

    Attributes:
        models: bundled, toy, model folders, hub ids, or artifacts with a model, spelled as for `burnish show`.
        tasks: names of benchmarks and suites, separated by commas.
        limit: only the first problems of each.
        engine: torch, hf, gold (the worked solutions: a task's ceiling), replay (--replies), endpoint (--url, --model-name).
        replies: JSON Lines for --engine replay, one {"id" or "prompt": …, "response" or "responses": …} a line.
        judge: a model folder or an address, for tasks whose replies a model judges.
        judge_model: the judge's name at that address.
        judge_form: file with the form that the judge was trained on.
        overlong: prompts over the context: error, shorten_reply or left_truncate.
        unlock: why unseen tasks are asked; counted and logged.
        contamination: folders of `burnish decontaminate`, or datasets of recipes: scores also on clean and contaminated problems.
        machine: laptop, exact or one_gpu.
        data: folder of real data sets.
        runs: folder of the artifacts.
        out: folder for scores and replies; the same question again is answered from there.
        cache: folder of converted models and downloads.
        seed: of sampling, for tasks that sample.
        json: print the scores as JSON.
    """

    models: Positional[Annotated[tuple[str, ...], arg(metavar="MODEL…")]] = ()
    tasks: str = ""
    limit: int | None = None
    engine: str = "torch"
    replies: Path | None = None
    judge: str = ""
    judge_model: str = ""
    judge_form: Path | None = None
    overlong: str = "error"
    unlock: str = ""
    contamination: Annotated[tuple[Path, ...], arg(metavar="DIR…")] = ()
    machine: str = "laptop"
    data: Path | None = None
    runs: Path = Path("runs")
    out: Path = Path("runs/evals")
    cache: Path = dataclasses.field(default_factory=cache_folder)
    seed: int = 0
    json: bool = False

    def __call__(self) -> int:
        """Evaluate and print."""
        from burnish.cli.judges import check_batch, endpoint_of, task_judge
        from burnish.eval.contamination import known_in
        from burnish.eval.models import MODELLESS, Asking, evaluate_models, side_by_side
        from burnish.eval.suites import average_lines
        from burnish.eval.unlock import LOG
        from burnish.report.eval_page import write_page

        check_batch(self.batch, self.engine == "endpoint", self.judge)
        batches = self.out / "endpoint" if self.batch else None
        asking = Asking(
            machine(self.machine), self.out, self.engine, data_folder(self.data), self.cache, self.seed,
            cast(Any, self.overlong), self.unlock, self.replies, endpoint_of(self.url, self.model_name, batches),
            tested=known_in(self.contamination), log=self.runs / LOG,
        )  # fmt: skip
        console = Console(quiet=self.json)
        judge = task_judge(
            self.judge, self.judge_model, self.judge_form, self.machine, self.out / "judge", console, batch=self.batch
        )
        models = self.models if self.engine in MODELLESS else [_model(model, self.runs) for model in self.models]
        names = [task.strip() for task in self.tasks.split(",") if task.strip()]
        found = evaluate_models(models, names, asking, console, limit=self.limit, judge=judge)
        pages = [write_page(Path(scores["folder"])) for scores in found]
        if self.json:
            out(found[0] if len(found) == 1 else {"evaluations": found})
            return 0
        if len(found) > 1:
            out("\n".join(["", *side_by_side(found)]))
        for scores in found:
            for line in average_lines(names, scores["tasks"]):
                out(f"{scores['label']}: {line}")
        for scores, page in zip(found, pages, strict=True):
            out(f"Scores and samples: {scores['folder']}\nReplies to look through: {page}")
        return 0


@dataclass(frozen=True)
class Chat:
    """Talk to a model in the terminal, or to two that answer side by side; /reset starts anew, /quit ends, Ctrl-C stops a reply.

    Attributes:
        models: one or two of bundled, toy, a model folder, a hub id, or an artifact with a model, spelled as for `burnish show`.
        system: a system message that opens the conversation.
        temperature: divides the logits; 0 takes the likeliest token each time.
        top_p: keep the likeliest tokens up to this share of probability.
        min_p: keep tokens at least this times as likely as the likeliest.
        max_tokens: the most tokens a reply may have.
        machine: laptop, exact or one_gpu.
        runs: folder of the artifacts.
        cache: folder of converted models and downloads.
        seed: of sampling.
    """

    models: Positional[Annotated[tuple[str, ...], arg(metavar="MODEL [MODEL]")]] = ()
    system: str = ""
    temperature: float = 0.7
    top_p: float = 0.95
    min_p: float = 0.0
    max_tokens: int = 512
    machine: str = "laptop"
    runs: Path = Path("runs")
    cache: Path = dataclasses.field(default_factory=cache_folder)
    seed: int = 0

    def __call__(self) -> int:
        """Talk until the end of the input."""
        from burnish.rollout.chat import chat
        from burnish.rollout.engine import Sampling
        from burnish.rollout.reply import check_sampling

        if not 1 <= len(self.models) <= 2:
            raise RecipeError(
                f"burnish chat: {len(self.models)} models are named; one or two can be talked to.\n  burnish chat bundled"
            )
        sampling = Sampling(self.temperature, self.top_p, max_tokens=self.max_tokens, min_p=self.min_p)
        check_sampling(sampling)
        chosen, console = machine(self.machine), Console()
        folders = [model_folder(model, self.runs, self.cache, chosen) for model in self.models]
        chat(folders, chosen, console, names=self.models, system=self.system, sampling=sampling, seed=self.seed)
        return 0


def model_folder(spelling: str, runs: Path, cache: Path, where: Machine) -> Path:
    """The plain Hugging Face folder of the model that a person means; a bundled or hub model is made or fetched for it.

    Raises an Error that names the nearest for a spelling that means nothing.
    """
    from burnish.model.base import BaseModel
    from burnish.pipeline.run import run as run_recipe

    folder = Path(_model(spelling, runs))
    if not (folder / "model").is_dir():
        base = BaseModel(str(folder) if folder.is_dir() else spelling)
        folder = run_recipe(base, runs=runs, machine=where, cache=cache, console=Console(quiet=True))
    return folder / "model"


def _model(spelling: str, runs: Path) -> str:
    """The folder of the artifact that a person means; a folder, a hub id, "bundled" and "toy" stay as they are."""
    from burnish.pipeline.store import Store

    if spelling in ("bundled", "toy") or "/" in spelling or Path(spelling).is_dir():
        return spelling
    try:
        return str(Store(runs).find(spelling).folder)
    except ArtifactError as error:
        near = difflib.get_close_matches(spelling, ("bundled", "toy"), n=1)
        meant = f"Did you mean {near[0]!r}? " if near else ""
        raise ArtifactError(
            f"{error}\n  {meant}A model is also bundled, toy, a folder, or org/name@revision."
        ) from None
