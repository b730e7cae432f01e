"""The reference pages of benchmarks: what each asks and how it is scored, from the task values and their modules' own words."""

from __future__ import annotations

import dataclasses
import html
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import burnish.eval.tasks
from burnish.data.sources.pinned import Pinned
from burnish.eval.judging import Judge
from burnish.eval.listing import Unnamed, protocol
from burnish.eval.ranking import Ranking
from burnish.eval.suites import SUITES
from burnish.eval.task import EvalTask
from burnish.eval.tasks.catalogue import JUDGED, TASKS, find

# Tasks whose names do not begin with the name of the module that has them.
ELSEWHERE = {"hh_rlhf": "rewardbench", "ifeval_ood": "ifbench"}
_LABEL = re.compile(r"^([A-Z][A-Za-z ]{2,40}): ")
_SET_IN = "    "


def home(task: str) -> str:
    """The module of burnish.eval.tasks that has a task of the catalogue."""
    if "_lm_eval" in task:
        return "lm_eval"
    for start, module in ELSEWHERE.items():
        if task.startswith(start):
            return module
    modules = [module.name for module in pkgutil.iter_modules(burnish.eval.tasks.__path__)]
    return max((module for module in modules if task.startswith(module)), key=len)


def benchmarks() -> dict[str, list[str]]:
    """Module of burnish.eval.tasks -> the names of its tasks in the catalogue, both sorted."""
    found: dict[str, list[str]] = {}
    for name in (*TASKS, *JUDGED):
        found.setdefault(home(name), []).append(name)
    return {module: found[module] for module in sorted(found)}


def statement(module: str) -> str:
    """The text in which a benchmark's module states its protocol, with that of the modules it refers to ("see gsm8k.py")."""
    own = _text(module)
    others = re.findall(r"\b([a-z_0-9]+)\.py\b", own)
    known = {each.name for each in pkgutil.iter_modules(burnish.eval.tasks.__path__)}
    return "\n".join([own, *(_text(other) for other in others if other in known)])


def _text(module: str) -> str:
    return inspect.getdoc(importlib.import_module(f"burnish.eval.tasks.{module}")) or ""


def task_of(name: str) -> EvalTask:
    """The task of that name; of those that need a judge, with one that nobody has named."""
    return find(name, Judge(Unnamed()))


def title(module: str) -> str:
    """The benchmark's name: the first words of its module's text."""
    return re.split(r" \(|:| as a task|, ", _text(module).split("\n")[0])[0].rstrip(".")


def page(module: str) -> str:
    """A benchmark's page as Markdown, without its title: its module's text, every setting of its tasks, scores, data, commands."""
    names = benchmarks()[module]
    tasks = [task_of(name) for name in names]
    parts = [
        *_prose(_text(module)), "", "## Tasks", "", *_table(tasks), "", f"## Settings of `{names[0]}`", "",
        *_rows(settings(tasks[0])),
    ]  # fmt: skip
    differs = [(task.name, _changes(settings(tasks[0]), settings(task))) for task in tasks[1:]]
    if differs:
        parts += ["", "The others differ from it in:", "", "| task | |", "|---|---|"]
        parts += [f"| `{name}` | {what} |" for name, what in differs]
    parts += [
        "",
        *_published(tasks),
        "## Data",
        "",
        *_data(module, tasks),
        "",
        "## Asking it",
        "",
        "```",
        *_commands(tasks[0]),
        "```",
        "",
    ]
    return "\n".join(parts)


def index() -> str:
    """The table of all benchmarks as Markdown."""
    lines = ["| benchmark | tasks | problems | suites |", "|---|---|---:|---|"]
    for module, names in benchmarks().items():
        suites = [suite.name for suite in SUITES.values() if set(names) & set(suite.tasks)]
        shown = ", ".join(f"`{name}`" for name in names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
        number = _number(task_of(names[0]))
        lines.append(f"| [{title(module)}]({module}.md) | {shown} | {number} | {', '.join(suites)} |")
    return "\n".join([*lines, ""])


def settings(task: EvalTask) -> dict[str, str]:
    """Everything that decides a task's score, by a word a reader knows, as Markdown."""
    sampling, source = task.sampling, task.source
    found = {
        "problems": _number(task),
        "source": f"`{source.name}`, version {source.VERSION}",
        "licence": source.licence,
        "prompt": "chat template" if task.chat else "plain text, no chat template",
        "examples": str(task.shots),
        "reply begun with": _code(task.prefill) if task.prefill else "nothing",
    }
    if isinstance(task.verifier, Ranking):
        found["sampling"] = "none: log-probabilities of given continuations"
    else:
        drawn = f"temperature {sampling.temperature:g}, top_p {sampling.top_p:g}"
        found["sampling"] = "greedy" if sampling.temperature == 0 else drawn
        found["new tokens"] = f"{sampling.max_tokens:,} at most"
        found["stop strings"] = ", ".join(map(_code, sampling.stop)) or "none"
        found["replies a problem"] = f"{task.samples}" + (
            f", scored by pass@{task.pass_at}" if task.pass_at > 1 else ""
        )
    found["turns"] = "one" if task.follow_up is None else f"several ({type(task.follow_up).__name__})"
    found["graded by"] = f"`{_written(task.verifier)}`, version {task.verifier.VERSION}"
    found["metric"] = task.metric
    found["score"] = (
        "mean of the categories, each with the mean of its problems"
        if task.average == "categories"
        else "mean of the problems"
    )
    found["unseen"] = "yes: needs `--unlock`, and every look is logged" if task.unseen else "no"
    return found  # fmt: skip


def _number(task: EvalTask) -> str:
    number = task.n or getattr(task.source, "count", None)
    return f"{number:,}" if number else "not known"


def _written(value: Any) -> str:
    """A verifier as it is written, its judge left out."""
    fields = [field for field in dataclasses.fields(value) if field.init]
    shown = [(field, getattr(value, field.name)) for field in fields]
    told = [
        f"{field.name}={_short(each)}"
        for field, each in shown
        if each != field.default and not isinstance(each, Unnamed) and each not in ("", ())
    ]
    return f"{type(value).__name__}({', '.join(told)})"


def _short(value: Any) -> str:
    if dataclasses.is_dataclass(value):
        return type(value).__name__
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _code(text: str) -> str:
    r"""A text as code, with line breaks as \n."""
    shown = text.replace("\n", "\\n")
    if "`" not in shown:
        return f"`{shown}`"
    return f"``` {shown} ```" if "```" not in shown else f"<code>{html.escape(shown, quote=False)}</code>"


def _cell(text: str) -> str:
    """Markdown that stands in a table's cell."""
    return text.replace("|", "\\|")


def _escaped(text: str) -> str:
    """Text that Markdown shows as it is, code between backticks staying code."""
    parts = text.replace("```", "\0").split("`")
    shown = [part if i % 2 else html.escape(part, quote=False).replace("*", "\\*") for i, part in enumerate(parts)]
    return "`".join(shown).replace("\0", "\\`\\`\\`")


def _prose(text: str) -> Iterator[str]:
    """A module's text as Markdown: labelled sentences as paragraphs, tables and what is set in as they are."""
    before = ""
    for line in text.splitlines():
        label = _LABEL.match(line)
        if line.startswith("|"):
            shown = _escaped(line.replace("<|im_end|>", "<\\|im_end\\|>"))
        elif line.startswith(_SET_IN):
            shown = line
        elif label:
            rest = line[label.end() :]
            start = re.match(r"(?!olmes)[a-z]+ ", rest)
            shown = f"**{label[1]}.** {_escaped(rest[:1].upper() + rest[1:] if start else rest)}"
        else:
            shown = _escaped(line)
        if before.strip() and (label or line.startswith(_SET_IN) != before.startswith(_SET_IN)):
            yield ""
        yield shown
        before = line


def _table(tasks: Sequence[EvalTask]) -> list[str]:
    rows = ["| task | problems | how it is asked | metric | verdicts |", "|---|---:|---|---|---|"]
    for task in tasks:
        judged = (
            "a judge's"
            if task.name in JUDGED
            else "log-probabilities"
            if isinstance(task.verifier, Ranking)
            else "by rule"
        )
        how = _cell(_escaped(protocol(task)))
        rows.append(f"| `{task.name}` | {_number(task)} | {how} | {task.metric} | {judged} |")
    return rows


def _rows(found: Mapping[str, str]) -> list[str]:
    return ["| | |", "|---|---|", *(f"| {name} | {_cell(value)} |" for name, value in found.items())]


def _changes(first: Mapping[str, str], other: Mapping[str, str]) -> str:
    changed = [f"{name}: {value}" for name, value in other.items() if first.get(name) != value]
    return _cell("; ".join(changed)) or "nothing but its name"


def _published(tasks: Sequence[EvalTask]) -> list[str]:
    lines = [
        f"| `{task.name}` | {each.model} | {100 * each.score:.1f} | {_cell(_escaped(each.settings))} | [{each.url.removeprefix('https://')}]({each.url}) |"
        for task in tasks
        for each in task.published
    ]
    if not lines:
        return ["## Published scores", "", "None is quoted: no published number that we know was made this way.", ""]
    head = ["| task | model | per cent | settings | where |", "|---|---|---:|---|---|"]
    return ["## Published scores", "", *head, *lines, ""]


def _data(module: str, tasks: Sequence[EvalTask]) -> list[str]:
    """Where the rows are published and where they are looked for; the module's own files are those of worked examples."""
    seen: dict[str, None] = {}
    for task in tasks:
        files, source = list(_files(task.source)), task.source
        seen |= dict.fromkeys(map(_listed, files))
        if not files and source.url:
            seen[f"- `{source.name}`: [{source.url.removeprefix('https://')}]({source.url}), {source.licence}"] = None
    own = vars(importlib.import_module(f"burnish.eval.tasks.{module}")).values()
    seen |= dict.fromkeys(_listed(file) for file in own if isinstance(file, Pinned))
    if not seen:
        return ["None is needed: the problems are generated."]
    lines = list(seen)
    more = [f"- and {len(lines) - 8} more of the same kind"] if len(lines) > 8 else []
    places = "`DIR` is that of `--data DIR`; the cache and the hub, and what a set needs beside: [benchmark data](../benchmark-data.md), [sources](../sources.md)."
    return [*lines[:8], *more, "", places]  # fmt: skip


def _listed(file: Pinned) -> str:
    where = f"[{file.url.removeprefix('https://')}]({file.url}) at {file.revision[:12]}"
    return f"- `DIR/{file.path}`: {file.rows:,} rows, {where}, {file.licence}"


def _files(source: Any) -> Iterator[Pinned]:
    """The pinned files of a source and of those it is made from."""
    one, many = getattr(source, "file", None), getattr(source, "files", ())
    if isinstance(one, Pinned):
        yield one
    if isinstance(many, Sequence | Mapping):
        yield from (file for file in (many.values() if isinstance(many, Mapping) else many) if isinstance(file, Pinned))
    if (problems := getattr(source, "problems", None)) is not None:
        yield from _files(problems)


def _commands(task: EvalTask) -> list[str]:
    judge = " --judge FOLDER" if task.name in JUDGED else ""
    unlock = ' --unlock "why"' if task.unseen else ""
    asked = [f"burnish eval MODEL --tasks {task.name} --data DIR{judge}{unlock}"]
    if isinstance(task.verifier, Ranking):
        return asked
    return [*asked, f"burnish grade {task.name} replies.jsonl --data DIR{judge}"]
