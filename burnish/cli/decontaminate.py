"""`burnish decontaminate`: training files of any kind against test sets of any kind."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from burnish.cli.flags import data_folder, out
from burnish.core.cores import cores
from burnish.errors import DataError, RecipeError, nearest
from burnish.pipeline.progress import Console

if TYPE_CHECKING:
    from burnish.data.decontamination.against import Against
    from burnish.data.decontamination.formats import TrainFile
    from burnish.data.decontamination.results import Decided
    from burnish.data.decontamination.rule import Overlap

_SHOWN = 10


@dataclass(frozen=True)
class Decontaminate:
    """Find test items in training files, and write the files without them.

    Attributes:
        train: files, folders or patterns of training rows, of any format.
        against: tests that development looks at: files, folders, patterns, or names of benchmarks.
        unseen: tests kept for the end; a source flagged for one of them goes as a whole.
        ngram: tokens of a window.
        coverage: a row overlaps an item when it holds more than this share of the item's tokens.
        dataset_rate: a source is flagged for a test when more than this share of its items overlap.
        fields: the columns of the tests that are compared; by default the question.
        column: columns of plain text in the training files; by default the turns of a conversation.
        role: user, or all: whose turns are compared.
        by: a column of the training rows that names each row's source; by default each file is a source.
        normal: compare regardless of Unicode forms (unicode), of how formulas are typeset (latex), of code's layout (code).
        char_ngram: characters of a window for scripts without spaces; 0 treats all scripts alike.
        remove: rows, sets or none.
        from_: decide anew from the findings in this folder, without reading the training files again.
        out: folder of the results; the same command again goes on where it stopped.
        data: folder of real data sets, for tests given by name.
        threads: how many shards are scanned at a time; 0 for one per core.
        max_broken: stop when more than this share of the rows cannot be read.
        json: print the decision as JSON.
    """

    train: Positional[Annotated[tuple[str, ...], arg(metavar="TRAIN…")]] = ()
    against: Annotated[tuple[str, ...], arg(metavar="TESTS…")] = ()
    unseen: Annotated[tuple[str, ...], arg(metavar="TESTS…")] = ()
    ngram: int = 8
    coverage: float = 0.5
    dataset_rate: float = 0.02
    fields: Annotated[tuple[str, ...], arg(metavar="NAME…")] = ()
    column: Annotated[tuple[str, ...], arg(metavar="NAME…")] = ()
    role: Literal["user", "all"] = "user"
    by: str = ""
    normal: tuple[Literal["unicode", "latex", "code"], ...] = ()
    char_ngram: int = 0
    remove: Literal["rows", "sets", "none"] = "rows"
    from_: Annotated[Path | None, arg(name="from", metavar="DIR")] = None
    out: Path | None = None
    data: Path | None = None
    threads: int = 0
    max_broken: float = 0.01
    json: bool = False

    def __call__(self) -> int:
        """Scan, decide, write, and say what was found."""
        from burnish.data.decontamination.results import write

        folder = self.out or self.from_ or Path("decontaminated")
        console = Console(quiet=self.json)
        decided = self._again(self.from_, console) if self.from_ else self._scanned(folder, console)
        with _alone(folder):
            decision = write(folder, decided, _page, console, findings=folder != self.from_)
        if self.json:
            out({**decision, "out": str(folder), "table": list(decided.verdict.table)})
        else:
            out("\n".join([*_lines(decided), *_written(folder, decision)]))
        return 0

    def rule(self) -> Overlap:
        """The rule of the flags. Raises RecipeError naming the flag that cannot work."""
        from burnish.data.decontamination.rule import Overlap

        for flag, value, least in (
            ("--ngram", self.ngram, 1),
            ("--char-ngram", self.char_ngram, 0),
            ("--threads", self.threads, 0),
        ):
            if value < least:
                raise RecipeError(
                    f"{flag} {value}: expected a whole number of at least {least}. Tülu 3 uses --ngram 8."
                )
        for flag, share in (("--coverage", self.coverage), ("--dataset-rate", self.dataset_rate)):
            if not 0.0 <= share < 1.0:
                raise RecipeError(
                    f"{flag} {share}: expected a share of at least 0 and below 1, because the question is 'more than'.\n"
                    "  Tülu 3 uses --coverage 0.5 --dataset-rate 0.02."
                )
        return Overlap(
            ngram=self.ngram, coverage=self.coverage, rate=self.dataset_rate, char_ngram=self.char_ngram,
            unicode="unicode" in self.normal, latex="latex" in self.normal, code="code" in self.normal,
        )  # fmt: skip

    def _again(self, earlier: Path, console: Console) -> Decided:
        from burnish.data.decontamination.results import Decided, read_findings
        from burnish.data.decontamination.verdict import Policy, decide

        if self.train or self.against or self.unseen:
            raise RecipeError(
                f"--from {earlier} decides from findings that are there, so it takes no TRAIN, --against or --unseen.\n"
                "  Leave them out, or leave --from out to scan."
            )
        thresholds = self.rule()
        question, scan = read_findings(earlier)
        rule = dataclasses.replace(question.rule, coverage=thresholds.coverage, rate=thresholds.rate)
        policy = Policy(self.remove, tuple(test.name for test in question.tests if test.unseen))
        items = [item for test in question.tests for item in test.items]
        console.line(f"decided from {earlier}: {len(scan.files):,} files, {len(items):,} test items")
        return Decided(question, scan, policy, decide(scan.findings, items, rule, policy), rule)

    def _scanned(self, folder: Path, console: Console) -> Decided:
        from burnish.data.decontamination.results import Decided
        from burnish.data.decontamination.scanning import Question, scan_files
        from burnish.data.decontamination.texts import Reading
        from burnish.data.decontamination.verdict import Policy, decide

        if not self.train or not (self.against or self.unseen):
            missing = "TRAIN" if not self.train else "--against"
            raise RecipeError(
                f"burnish decontaminate: {missing} names nothing, so there is nothing to compare.\n"
                "  burnish decontaminate train.jsonl --against test.jsonl --out DIR"
            )
        rule = self.rule()
        policy = Policy(self.remove)
        files = _train_files(self.train)
        tests = _tests(self.against, self.unseen, self.fields, data_folder(self.data))
        question = Question(tests, rule, Reading(self.column, self.role, self.by))
        for test in tests:
            console.line(
                f"  {test.name}: {len(test.items):,} items, {test.compared}{' (unseen)' if test.unseen else ''}"
            )
        with _alone(folder):
            scan = scan_files(files, question, folder / ".scan", threads=self.threads or cores(), console=console)
        _check_broken(scan, self.max_broken)
        for how in dict.fromkeys(each.compared for each in scan.files):
            names = [each.file.source for each in scan.files if each.compared == how]
            console.line(f"  compared {how} of {', '.join(names[:4])}{' …' if len(names) > 4 else ''}")
        items = [item for test in tests for item in test.items]
        policy = dataclasses.replace(policy, unseen=tuple(test.name for test in tests if test.unseen))
        return Decided(question, scan, policy, decide(scan.findings, items, rule, policy), rule)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """No other run writes to the folder meanwhile."""
    from burnish.pipeline.lock import lock

    with lock(folder / ".lock", str(folder), "--out"):
        yield


def _train_files(given: Sequence[str]) -> list[TrainFile]:
    """Every training file once, with the name tables give its source."""
    from burnish.data.decontamination.against import short_name
    from burnish.data.decontamination.formats import TrainFile
    from burnish.data.readers import files_of

    found = dict.fromkeys(file for text in given for file in files_of(Path(text)))
    # Files of equal short names in different folders are told apart by the folder; parts of one set keep one name.
    names = {path: short_name(path) for path in found}
    folders: dict[str, set[Path]] = {}
    for path, name in names.items():
        folders.setdefault(name, set()).add(path.resolve().parent)
    return [
        TrainFile(path, name if len(folders[name]) == 1 or "/" in name else f"{path.parent.name}/{name}")
        for path, name in names.items()
    ]


def _tests(
    against: Sequence[str], unseen: Sequence[str], fields: Sequence[str], data: Path | None
) -> tuple[Against, ...]:
    found = [
        test
        for given, kept in ((against, False), (unseen, True))
        for text in given
        for test in _resolved(text, fields, data, unseen=kept)
    ]
    names = [test.name for test in found]
    for name in names:
        if names.count(name) > 1:
            raise RecipeError(
                f"two tests are called {name!r}, so their counts could not be told apart.\n  Name it once, or rename one file."
            )
    return tuple(found)


def _resolved(text: str, fields: Sequence[str], data: Path | None, *, unseen: bool) -> list[Against]:
    """The tests of a file, folder or pattern; else the benchmark of that name."""
    from burnish.data.decontamination.against import Against, against_file, short_name
    from burnish.data.decontamination.items import item_of
    from burnish.data.readers import files_of

    path = Path(text)
    if path.exists() or any(mark in text for mark in "*?["):
        return [against_file(file, short_name(file), fields, unseen=unseen) for file in files_of(path)]
    folder = data / text if data is not None and text not in _benchmarks() else None
    if folder is not None and folder.is_dir():
        files = [file for file in files_of(folder) if "test" in file.name] or files_of(folder)
        return [against_file(f, text if len(files) == 1 else short_name(f), fields, unseen=unseen) for f in files]
    problems = _benchmark(text, data)
    if fields:
        raise RecipeError(
            f"--fields chooses columns of test files, and {text!r} is the name of a benchmark.\n  Leave one of them out."
        )
    return [Against(text, tuple(item_of(text, problem) for problem in problems), "last user turn", unseen)]


def _benchmarks() -> set[str]:
    from burnish.eval.tasks.catalogue import TASKS

    return {*TASKS, "math"}


def _benchmark(name: str, data: Path | None) -> Sequence[Any]:
    from burnish.data.decontamination.items import HeldOut
    from burnish.data.sources.math import MATHProblems
    from burnish.eval.tasks.catalogue import TASKS, find

    if name in TASKS:
        return find(name).problems(data)
    if name == "math":
        return HeldOut("math", MATHProblems("test")).problems(data)
    raise DataError(
        f"--against {name}: there is no such file, and no benchmark of that name. {nearest(name, _benchmarks())}\n"
        "  Give a file, folder or pattern of the test set, or one of these names with --data DIR."
    )


def _check_broken(scan: Any, most: float) -> None:
    rows = sum(each.rows for each in scan.files)
    if not rows:
        raise DataError("the training files hold no rows, so there is nothing to compare.")
    broken = scan.broken.to_pylist()
    if len(broken) <= most * rows:
        return
    first = []
    for record in broken[:_SHOWN]:
        file = max((each for each in scan.files if each.first <= record["row"]), key=lambda each: each.first)
        first.append(f"{file.file.path}, row {record['row'] - file.first + 1}: {record['problem']}")
    raise DataError(
        f"{len(broken):,} of {rows:,} rows ({len(broken) / rows:.1%}) cannot be read, more than --max-broken {most}; "
        "what they hold could not be compared.\n  "
        + "\n  ".join(first)
        + "\n  Mend the files, or allow it: such rows are written to unreadable/, never to clean/."
    )


def _page(decided: Decided) -> str:
    from burnish.data.decontamination.page import render

    return render(decided)


def _lines(decided: Decided) -> list[str]:
    """What was found, the worst first."""
    verdict, rule = decided.verdict, decided.rule
    hits = [cell for cell in verdict.table if cell["overlapping"] or cell["short_overlapping"]]
    said = []
    for cell in sorted(hits, key=lambda c: (-c["rate"], -c["overlapping"], c["source"])):
        mark = "CONTAMINATED" if cell["flagged"] else "overlap"
        short = f", {cell['short_overlapping']:,} short items equal" if cell["short_overlapping"] else ""
        said.append(
            f"  {mark:<12}  {cell['source']} ~ {cell['test']}: {cell['overlapping']:,} of {cell['items']:,} items "
            f"({cell['rate']:.1%}){short}; {cell['rows']:,} rows"
        )
    quiet = len(verdict.table) - len(hits)
    said.append(f"  {quiet:,} of {len(verdict.table):,} pairs of source and test do not overlap.")
    return [*said, decided.policy.says(rule)]


def _written(folder: Path, decision: dict[str, Any]) -> list[str]:
    clean = sum(each["clean"] for each in decision["files"])
    gone = f", {len(decision['gone'])} sources whole ({', '.join(decision['gone'])})" if decision["gone"] else ""
    unread = f", {decision['unreadable']:,} unreadable" if decision["unreadable"] else ""
    counted = f"{decision['rows']:,} rows: {clean:,} clean, {decision['removed']:,} removed{gone}{unread}"
    if decision["remove"] == "none":
        counted = f"{decision['rows']:,} rows, nothing removed{unread}"
    return [counted, f"Results: {folder}  (report.html, contamination.md, findings/)"]
