"""`burnish plan | run | report RECIPE`. A recipe's flags are the keyword arguments of its function `recipe`, nothing else."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_type_hints

from tyro.conf import UseAppendAction

from burnish.cli.flags import cache_folder, data_folder, out, parse
from burnish.errors import ArtifactError, RecipeError
from burnish.pipeline.machine import machine
from burnish.pipeline.stage import Stage


@dataclass(frozen=True)
class Where:
    """Where a recipe runs; none of it changes a result.

    Attributes:
        machine: laptop, exact (one thread, float32: the same bits everywhere), one_gpu or "cluster(nodes=…, gpus=…)"; any of
            them with other settings, "laptop(micro_tokens=2048)".
        data: folder of real data sets.
        runs: folder of the artifacts.
        cache: folder of converted models and downloads.
        json: print JSON.
    """

    machine: str = "laptop"
    data: Path | None = None
    runs: Path = Path("runs")
    cache: Path = dataclasses.field(default_factory=cache_folder)
    json: bool = False


@dataclass(frozen=True)
class WhereAndWhat(Where):
    """Where a recipe runs, and how far.

    Attributes:
        until: only this stage and what it needs.
    """

    until: str | None = None


@dataclass(frozen=True)
class WhereAndWhether(WhereAndWhat):
    """Where a recipe runs, how far, and what may be made anew.

    Attributes:
        rebuild: let this stage be made anew although hours are recorded for another version of it. May be repeated.
        yes: let every stage be made anew.
        track: where training shows its numbers too: tensorboard, wandb, trackio; several between commas.
    """

    rebuild: Annotated[tuple[str, ...], UseAppendAction] = ()
    yes: bool = False
    track: str = ""


def plan(file: Path, root: Stage, flags: WhereAndWhat, words: Sequence[str]) -> int:
    """`burnish plan`; for a cluster, the script for sbatch too."""
    from burnish.pipeline.cluster import cluster
    from burnish.pipeline.plan import plan as planned

    found = planned(
        root, runs=flags.runs, data=flags.data, until=flags.until, machine=machine(flags.machine), cache=flags.cache
    )
    computers = cluster(flags.machine)
    script = computers.script([word for word in words if word != "--json"]) if computers else ""
    if flags.json:
        out(found.to_json() | ({"sbatch": script} if script else {}))
    else:
        out(found.text() + (f"\n\nThe script for sbatch:\n\n{script}" if script else ""))
    return 0


def run(file: Path, root: Stage, flags: WhereAndWhether, words: Sequence[str]) -> int:
    """`burnish run`."""
    from burnish.pipeline.run import run as run_recipe
    from burnish.train.trackers import trackers

    track = trackers(flags.track)
    folder = run_recipe(
        root,
        runs=flags.runs,
        machine=machine(flags.machine),
        data=flags.data,
        cache=flags.cache,
        until=flags.until,
        rebuild=flags.rebuild,
        yes=flags.yes,
        modules=(file,),
        track=track,
    )
    _tell_end(folder, flags.json)
    return 0


def report(file: Path, root: Stage, flags: Where, words: Sequence[str]) -> int:
    """`burnish report`: the last stage alone, from inputs that are all there."""
    from burnish.pipeline.plan import plan as planned
    from burnish.pipeline.run import run as run_recipe

    if root.OWN_PROCESS:
        raise RecipeError(
            f"{file}: its last stage is {root.name}, a {type(root).__name__}, which is not a report.\n"
            "  Return Report(…) from recipe()."
        )
    steps = planned(root, runs=flags.runs, data=flags.data).steps
    missing = [step for step in steps[:-1] if step.state != "cached"]
    if missing:
        names = ", ".join(f"{step.name} ({step.why})" for step in missing)
        raise ArtifactError(
            f"the report needs {len(missing)} stages that are not finished: {names}.\n  Run them first:  burnish run {file}"
        )
    folder = run_recipe(
        root,
        runs=flags.runs,
        machine=machine(flags.machine),
        data=flags.data,
        cache=flags.cache,
        yes=True,
        modules=(file,),
    )
    _tell_end(folder, flags.json)
    return 0


RECIPE_COMMANDS: dict[str, tuple[type[Where], Callable[[Path, Stage, Any, Sequence[str]], int]]] = {
    "plan": (WhereAndWhat, plan),
    "run": (WhereAndWhether, run),
    "report": (Where, report),
}


def recipe_command(command: str, words: list[str]) -> int:
    """Carry out plan, run or report on the recipe that the first word names."""
    from burnish.pipeline.recipe import build, find_recipe, flags, recipe_function

    options, act = RECIPE_COMMANDS[command]
    if words[:1] in (["-h"], ["--help"]):
        parse(options, f"{command} RECIPE", words)
    if not words or words[0].startswith("-"):
        raise RecipeError(f"burnish {command} needs a recipe first:  burnish {command} RECIPE.py [flags]")
    file = find_recipe(words[0])
    function = recipe_function(file)
    hints = get_type_hints(function, include_extras=True)
    own = flags(function)
    for parameter in own:
        if parameter.name in {field.name for field in dataclasses.fields(WhereAndWhether)}:
            raise RecipeError(
                f"{file}: recipe's parameter {parameter.name!r} has the name of a flag of burnish itself.\n  Give it another name."
            )
    shape: Any = dataclasses.make_dataclass(
        "Flags", [_field(p, hints) for p in own], bases=(options,), frozen=True, kw_only=True
    )
    shape.__doc__ = inspect.getdoc(function) or ""
    chosen = parse(shape, f"{command} {words[0]}", words[1:])
    machine(chosen.machine)  # a wrong name fails here, for plan too
    root = build(function, {p.name: getattr(chosen, p.name) for p in own}, data_folder(chosen.data))
    return int(act(file, root, chosen, words))


def _field(parameter: inspect.Parameter, hints: dict[str, Any]) -> Any:
    kind = hints.get(parameter.name, str)
    if parameter.default is inspect.Parameter.empty:
        return parameter.name, kind
    default = parameter.default
    # A frozen dataclass is a safe default; the dataclass machinery asks for a factory when it has no hash.
    return parameter.name, kind, dataclasses.field(default_factory=lambda: default)


def _tell_end(folder: Path, as_json: bool) -> None:
    page = folder / "report.html"
    if as_json:
        out({"folder": str(folder), "report": str(page) if page.exists() else None})
        return
    if (folder / "summary.txt").exists():
        out("\n" + (folder / "summary.txt").read_text())
    out(f"Report: {page}" if page.exists() else f"Result: {folder}")
