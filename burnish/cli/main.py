"""The command line: one word chooses the command, the rest are its flags."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Sequence

from burnish.cli.artifacts import Diff, Show, Trace
from burnish.cli.data import data_command
from burnish.cli.decontaminate import Decontaminate
from burnish.cli.evals import EVAL_COMMANDS, eval_command
from burnish.cli.export import Export
from burnish.cli.flags import Command, out, parse
from burnish.cli.generate import Generate
from burnish.cli.grade import Grade
from burnish.cli.models import Chat, Eval
from burnish.cli.paraphrases import Paraphrases
from burnish.cli.recipes import RECIPE_COMMANDS, recipe_command
from burnish.cli.watch import Watch
from burnish.cli.winrate import Winrate
from burnish.errors import Error, RecipeError, nearest
from burnish.pipeline.progress import Console

HELP = """\
burnish: from a base model to a better one, with every number traceable

  burnish plan   RECIPE [flags]       what would run, and why
  burnish run    RECIPE [flags]       run it, or go on where it stopped
  burnish report RECIPE [flags]       build the report from finished stages only
  burnish watch  RUN                  a training run while it goes
  burnish show   ARTIFACT             what it is, holds and cost; --rollouts
  burnish diff   A B                  what differs: fields, inputs, rows, scores
  burnish trace  ROW_ID               where a row came from and where it went
  burnish eval   MODEL… --tasks a,b   score models on benchmarks
  burnish eval   tasks | table        what can be asked; scores beside the paper
  burnish eval   compare A B…         models on the same problems, with tests
  burnish grade  TASK FILE.jsonl      score replies that are already there
  burnish winrate FILE…               win rates from judge preferences
  burnish generate MODEL PROMPTS      replies to a file of prompts
  burnish chat   MODEL [MODEL]        talk to a model, or to two side by side
  burnish export ARTIFACT FOLDER      a model to pass on, with its card
  burnish data   show WHAT            look at rows; also stats, diff, search
  burnish decontaminate TRAIN… --against TESTS…  test items in training files
  burnish paraphrases DIR             … and those in other words

RECIPE is a .py file with a function `recipe`, or the name of one in recipes/.
`burnish COMMAND --help` lists flags, `burnish run RECIPE --help` a recipe's."""

COMMANDS: dict[str, Callable[..., Command]] = {
    "show": Show,
    "watch": Watch,
    "diff": Diff,
    "trace": Trace,
    "eval": Eval,
    "grade": Grade,
    "winrate": Winrate,
    "generate": Generate,
    "chat": Chat,
    "export": Export,
    "decontaminate": Decontaminate,
    "paraphrases": Paraphrases,
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
        out(HELP)
        return 0
    command, rest = words[0], words[1:]
    if command == "--version":
        import burnish

        out(burnish.__version__)
        return 0
    if command in RECIPE_COMMANDS:
        return recipe_command(command, rest)
    if command == "data":
        return data_command(rest)
    if command == "eval" and rest[:1] and rest[0] in EVAL_COMMANDS:
        return eval_command(rest)
    if command in COMMANDS:
        act: Command = parse(COMMANDS[command], command, rest)
        return act()
    raise RecipeError(f"burnish {command}: no such command. {nearest(command, {*RECIPE_COMMANDS, *COMMANDS, 'data'})}")
