"""The command line. A recipe's flags are the keyword arguments of its function `recipe`, nothing else."""

from __future__ import annotations

import dataclasses
import inspect
import json as json_module
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol, get_type_hints

import tyro
from tyro.conf import Positional, UseAppendAction, arg

from burnish.errors import ArtifactError, DataError, Error, RecipeError, nearest
from burnish.pipeline.machine import machine
from burnish.pipeline.progress import Console
from burnish.pipeline.stage import Stage

HELP = """\
burnish: from a base model to a better one, with every number traceable

  burnish plan   RECIPE [flags]       what would run, and why
  burnish run    RECIPE [flags]       run it, or go on where it stopped
  burnish report RECIPE [flags]       build the report from finished stages only
  burnish show   ARTIFACT             what an artifact is, holds and cost
  burnish diff   A B                  what differs: fields, inputs, rows, scores
  burnish trace  ROW_ID               where a row came from and where it went
  burnish eval   MODEL --tasks a,b    score a model
  burnish grade  TASK FILE.jsonl      score replies that are already there
  burnish chat   MODEL                talk to a model

RECIPE is a .py file with a function `recipe`, or the name of one in recipes/.
`burnish COMMAND --help` lists the flags of a command,
`burnish run RECIPE --help` those of the recipe too."""


class Command(Protocol):
    """A command's flags, which know how to carry it out."""

    def __call__(self) -> int:
        """Do it; the exit code."""


def _cache() -> Path:
    """The cache folder of the XDG base directory specification."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "burnish"


@dataclass(frozen=True)
class Where:
    """Where a recipe runs; none of it changes a result.

    Attributes:
        machine: laptop, exact (one thread, float32: the same bits everywhere) or one_gpu.
        data: folder of real data sets.
        runs: folder of the artifacts.
        cache: folder of converted models and downloads.
        json: print JSON.
    """

    machine: str = "laptop"
    data: Path | None = None
    runs: Path = Path("runs")
    cache: Path = dataclasses.field(default_factory=_cache)
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
    """

    rebuild: Annotated[tuple[str, ...], UseAppendAction] = ()
    yes: bool = False


def plan(file: Path, root: Stage, flags: WhereAndWhat) -> int:
    """`burnish plan`."""
    from burnish.pipeline.plan import plan as planned

    found = planned(root, runs=flags.runs, data=flags.data, until=flags.until)
    _out(found.to_json() if flags.json else found.text())
    return 0


def run(file: Path, root: Stage, flags: WhereAndWhether) -> int:
    """`burnish run`."""
    from burnish.pipeline.run import run as run_recipe

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
    )
    _tell_end(folder, flags.json)
    return 0


def report(file: Path, root: Stage, flags: Where) -> int:
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


@dataclass(frozen=True)
class Show:
    """What an artifact is, what made it, what it cost.

    Attributes:
        artifact: a folder, its name or a unique beginning of it, or NAME@FINGERPRINT.
        runs: folder of the artifacts.
        json: print its artifact.json.
    """

    artifact: Positional[Annotated[str, arg(metavar="ARTIFACT")]]
    runs: Path = Path("runs")
    json: bool = False

    def __call__(self) -> int:
        """Print it."""
        from burnish.core.files import read_json
        from burnish.pipeline.compare import described
        from burnish.pipeline.store import RECORD, Store

        found = Store(self.runs).find(self.artifact)
        _out(read_json(found.folder / RECORD) if self.json else described(found))
        return 0


@dataclass(frozen=True)
class Diff:
    """What differs between two artifacts: fields, inputs, rows, scores.

    Attributes:
        a: an artifact, spelled as for `burnish show`.
        b: another.
        runs: folder of the artifacts.
        json: print JSON.
    """

    a: Positional[Annotated[str, arg(metavar="A")]]
    b: Positional[Annotated[str, arg(metavar="B")]]
    runs: Path = Path("runs")
    json: bool = False

    def __call__(self) -> int:
        """Print it."""
        from burnish.pipeline.compare import compare
        from burnish.pipeline.store import Store

        store = Store(self.runs)
        found = compare(store.find(self.a), store.find(self.b))
        _out(found.to_json() if self.json else found.text())
        return 0


@dataclass(frozen=True)
class Trace:
    """Where a row came from and where it went.

    Attributes:
        row_id: 16 hex digits, as reports and logs print them.
        runs: folder of the artifacts.
        json: print JSON.
    """

    row_id: Positional[Annotated[str, arg(metavar="ROW_ID")]]
    runs: Path = Path("runs")
    json: bool = False

    def __call__(self) -> int:
        """Print it. Raises DataError when no artifact knows the row."""
        from burnish.data.dataset import find
        from burnish.pipeline import trace
        from burnish.pipeline.store import Store

        found = trace.trace(self.row_id, Store(self.runs), find)
        if not found:
            raise DataError(
                f"row {self.row_id!r} is in no artifact under {self.runs}.\n"
                "  A row's id is 16 hex digits; give the store it was made in with --runs DIR."
            )
        _out([one.to_json() for one in found] if self.json else trace.text(self.row_id, found))
        return 0


@dataclass(frozen=True)
class Eval:
    """Score a model on benchmarks.

    Attributes:
        model: bundled, toy, a model folder, a hub id, or an artifact with a model, spelled as for `burnish show`.
        tasks: names of benchmarks, separated by commas.
        limit: only the first problems of each.
        engine: torch, hf, or gold (the worked solutions instead of a model: a task's ceiling).
        machine: laptop, exact or one_gpu.
        data: folder of real data sets.
        runs: folder of the artifacts.
        out: folder for scores and samples; the same question again is answered from there.
        cache: folder of converted models and downloads.
        seed: of sampling, for tasks that sample.
        json: print the scores as JSON.
    """

    model: Positional[Annotated[str, arg(metavar="MODEL")]]
    tasks: str
    limit: int | None = None
    engine: str = "torch"
    machine: str = "laptop"
    data: Path | None = None
    runs: Path = Path("runs")
    out: Path = Path("runs/evals")
    cache: Path = dataclasses.field(default_factory=_cache)
    seed: int = 0
    json: bool = False

    def __call__(self) -> int:
        """Evaluate and print."""
        from burnish.eval.run import evaluate_model

        scores = evaluate_model(
            _model(self.model, self.runs),
            [task.strip() for task in self.tasks.split(",") if task.strip()],
            limit=self.limit,
            machine=machine(self.machine),
            engine=self.engine,
            data=_data(self.data),
            out=self.out,
            cache=self.cache,
            seed=self.seed,
            console=Console(quiet=self.json),
        )
        if self.json:
            _out(scores)
        else:
            _out(f"Scores and samples: {scores['folder']}")
        return 0


@dataclass(frozen=True)
class Grade:
    """Score replies that are already there; no model is needed.

    Attributes:
        task: the name of a benchmark.
        responses: JSON Lines, one {"id" or "prompt": …, "response": …} a line.
        data: folder of real data sets.
        out: a file for one verdict a line.
        json: print the whole result as JSON.
    """

    task: Positional[Annotated[str, arg(metavar="TASK")]]
    responses: Positional[Annotated[Path, arg(metavar="FILE.jsonl")]]
    data: Path | None = None
    out: Path | None = None
    json: bool = False

    def __call__(self) -> int:
        """Grade and print."""
        from burnish.eval.grade import grade
        from burnish.eval.tasks.catalogue import find

        result = grade(find(self.task), self.responses, _data(self.data), self.out)
        _out(result if self.json else "\n".join(f"{key}  {_plain(value)}" for key, value in result.items()))
        return 0


@dataclass(frozen=True)
class Chat:
    """Talk to a model in the terminal; /reset starts anew, /quit ends.

    Attributes:
        model: bundled, toy, a model folder, a hub id, or an artifact with a model, spelled as for `burnish show`.
        system: a system message that opens the conversation.
        machine: laptop, exact or one_gpu.
        runs: folder of the artifacts.
        cache: folder of converted models and downloads.
        seed: of sampling.
    """

    model: Positional[Annotated[str, arg(metavar="MODEL")]]
    system: str = ""
    machine: str = "laptop"
    runs: Path = Path("runs")
    cache: Path = dataclasses.field(default_factory=_cache)
    seed: int = 0

    def __call__(self) -> int:
        """Talk until the end of the input."""
        from burnish.model.base import BaseModel
        from burnish.pipeline.run import run as run_recipe
        from burnish.rollout.chat import chat

        chosen, console = machine(self.machine), Console()
        folder = Path(_model(self.model, self.runs))
        if not (folder / "model").is_dir():
            base = BaseModel(str(folder) if folder.is_dir() else self.model)
            folder = run_recipe(base, runs=self.runs, machine=chosen, cache=self.cache, console=Console(quiet=True))
        chat(folder / "model", chosen, console, system=self.system, seed=self.seed)
        return 0


COMMANDS: dict[str, Callable[..., Command]] = {
    "show": Show,
    "diff": Diff,
    "trace": Trace,
    "eval": Eval,
    "grade": Grade,
    "chat": Chat,
}
RECIPE_COMMANDS: dict[str, tuple[type[Where], Callable[[Path, Stage, Any], int]]] = {
    "plan": (WhereAndWhat, plan),
    "run": (WhereAndWhether, run),
    "report": (Where, report),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out one command line; the exit code: 0 done, 2 a user's error (its text on stderr), 130 Ctrl-C, 143 SIGTERM."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        return _dispatch(words)
    except Error as error:
        Console(sys.stderr).line(f"{type(error).__name__}: {error}")
        return 2
    except KeyboardInterrupt as stop:
        number = getattr(stop, "signal", 2)
        kept = f" What is finished is kept; go on with:  {shlex.join(['burnish', *words])}"
        Console(sys.stderr).line("\nStopped." + ("" if words[:1] == ["chat"] else kept))
        return 128 + int(number)
    except BrokenPipeError:
        # The reader (head, less) has enough. Python would complain once more when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        _out(HELP)
        return 0
    command, rest = words[0], words[1:]
    if command == "--version":
        import burnish

        _out(burnish.__version__)
        return 0
    if command in RECIPE_COMMANDS:
        return _recipe_command(command, rest)
    if command in COMMANDS:
        act: Command = _parse(COMMANDS[command], command, rest)
        return act()
    raise RecipeError(f"burnish {command}: no such command. {nearest(command, {*RECIPE_COMMANDS, *COMMANDS})}")


def _recipe_command(command: str, words: list[str]) -> int:
    from burnish.pipeline.recipe import build, find_recipe, flags, recipe_function

    options, act = RECIPE_COMMANDS[command]
    if words[:1] in (["-h"], ["--help"]):
        _parse(options, f"{command} RECIPE", words)
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
    chosen = _parse(shape, f"{command} {words[0]}", words[1:])
    machine(chosen.machine)  # a wrong name fails here, for plan too
    root = build(function, {p.name: getattr(chosen, p.name) for p in own}, _data(chosen.data))
    return int(act(file, root, chosen))


def _field(parameter: inspect.Parameter, hints: dict[str, Any]) -> Any:
    kind = hints.get(parameter.name, str)
    if parameter.default is inspect.Parameter.empty:
        return parameter.name, kind
    default = parameter.default
    # A frozen dataclass is a safe default; the dataclass machinery asks for a factory when it has no hash.
    return parameter.name, kind, dataclasses.field(default_factory=lambda: default)


def _parse(shape: Callable[..., Any], command: str, words: list[str]) -> Any:
    """The flags as a value of `shape`. Raises RecipeError for a flag that does not exist, with the nearest."""
    value, unknown = tyro.cli(
        shape,
        prog=f"burnish {command}",
        args=words,
        return_unknown_args=True,
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    if unknown:
        known = {"--" + f.name.replace("_", "-") for f in dataclasses.fields(value)}
        flag = unknown[0].partition("=")[0]
        hint = nearest(flag, known) if flag.startswith("-") else f"Flags begin with --: {', '.join(sorted(known))}."
        raise RecipeError(f"burnish {command}: {flag!r} is not a flag here. {hint}")
    return value


def _data(folder: Path | None) -> Path | None:
    if folder is not None and not folder.is_dir():
        raise DataError(
            f"--data {folder}: no such folder.\n  It holds data sets as <name>/…, for example gsm8k/train.jsonl.gz."
        )
    return folder


def _model(spelling: str, runs: Path) -> str:
    """The folder of the artifact that a person means; a folder, a hub id, "bundled" and "toy" stay as they are."""
    from burnish.pipeline.store import Store

    if spelling in ("bundled", "toy") or "/" in spelling or Path(spelling).is_dir():
        return spelling
    return str(Store(runs).find(spelling).folder)


def _tell_end(folder: Path, as_json: bool) -> None:
    page = folder / "report.html"
    if as_json:
        _out({"folder": str(folder), "report": str(page) if page.exists() else None})
        return
    if (folder / "summary.txt").exists():
        _out("\n" + (folder / "summary.txt").read_text())
    _out(f"Report: {page}" if page.exists() else f"Result: {folder}")


def _plain(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else json_module.dumps(value, ensure_ascii=False)


def _out(value: Any) -> None:
    """A result goes to stdout, as JSON unless it is text; progress and errors go to stderr."""
    text = value if isinstance(value, str) else json_module.dumps(value, indent=2, ensure_ascii=False)
    Console(sys.stdout).line(text)


if __name__ == "__main__":
    sys.exit(main())
