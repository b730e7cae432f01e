"""Our verdicts on public outputs of models beside the verdicts published with them, item by item.

    python benchmarks/public_outputs.py --outputs FOLDER --data DIR

The outputs are not part of this repository. FOLDER holds what each of SETS names, copied from its repository at its commit; a set
that is not there is left as the committed result has it. Writes agreement/public_outputs.json and AGREEMENT.md.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import gzip
import json
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from burnish.core.types import Check, Problem, user
from burnish.data.sources.ifeval import IFEvalPrompts
from burnish.eval.winrate import Annotations, plain
from burnish.verify.base import Verifier
from burnish.verify.bbh import BBH, FORMS
from burnish.verify.choice import Choice
from burnish.verify.gsm8k import GSM8K
from burnish.verify.ifeval import IFEval
from burnish.verify.refusal import Refusal

HERE = Path(__file__).parent
RESULT = HERE / "agreement" / "public_outputs.json"
PAGE = HERE / "AGREEMENT.md"
TOLERANCE = 1e-6  # points; the annotations keep ten decimals
SHOWN = 8  # items named of each class of differences
VERIFIERS: tuple[type, ...] = (BBH, Choice, GSM8K, IFEval, Refusal)


@dataclass
class Row:
    """One comparison. published, ours: right answers by either; agree: items on which both say the same, None where only
    totals are published. classes: why items differ -> their names.
    """

    what: str
    n: int
    published: float
    ours: float
    agree: int | None = None
    classes: dict[str, list[str]] = field(default_factory=dict)

    def told(self) -> dict[str, Any]:
        """As JSON, with a few items of each class."""
        differ = [{"why": why, "n": len(items), "items": items[:SHOWN]} for why, items in self.classes.items()]
        return {
            "what": self.what, "n": self.n, "published": self.published, "ours": self.ours, "agree": self.agree, "differences": differ,
        }  # fmt: skip


def ask(kind: str, target: str) -> Problem:
    """A problem of which only the target matters."""
    return Problem(user("?"), Check(kind, target))


def right(verifier: Verifier, problem: Problem, text: str) -> bool:
    """Whether the reply gets the full score."""
    return verifier(problem, text).score == 1.0


def compared(what: str, items: Iterable[tuple[str, bool, bool, str]]) -> Row:
    """From (name, published verdict, ours, why they differ) of every item."""
    row = Row(what, 0, 0, 0, 0)
    for name, published, ours, why in items:
        row.n += 1
        row.published += published
        row.ours += ours
        if published == ours:
            row.agree = (row.agree or 0) + 1
        else:
            row.classes.setdefault(why, []).append(name)
    return row


def bbh(folder: Path, data: Path) -> list[Row]:
    """Outputs are cut at the first blank line. Only accuracies by task are published; the rule "stated" gives all of them, so its
    verdicts stand for the published ones item by item.
    """
    rows: list[Row] = []
    items: list[tuple[str, bool, bool, str]] = []
    exact: Counter[str] = Counter()
    for task in sorted(FORMS):
        stem = folder / "code-davinci-002-cot" / f"{task}_few_shot_template_0-255000"
        outputs = json.loads(stem.with_suffix(".json").read_text())["outputs"]
        accuracy = json.loads(Path(f"{stem}_eval_metrics.jsonl").read_text().splitlines()[0])["accuracy"]
        published = round(accuracy * len(outputs) / 100)
        own = [_bbh(f"{task}/{i}", output) for i, output in enumerate(outputs)]
        stated, tulu3 = sum(item[1] for item in own), sum(item[2] for item in own)
        exact.update(stated=stated == published, tulu3=tulu3 == published)
        rows.append(Row(f"{task}: rule stated; tulu3 gives {tulu3}", len(outputs), published, stated))
        items += own
    total = Row(
        f"all: stated is exact on {exact['stated']} of 27 tasks, tulu3 on {exact['tulu3']}",
        sum(row.n for row in rows), sum(int(row.published) for row in rows), sum(int(row.ours) for row in rows),
    )  # fmt: skip
    return [total, compared("all: rule tulu3 beside stated", items), *rows]


def _bbh(name: str, output: Mapping[str, str]) -> tuple[str, bool, bool, str]:
    task = name.partition("/")[0]
    problem = ask("bbh", json.dumps({"task": task, "answer": output["target"]}))
    text = output["prediction"].split("\n\n")[0]
    stated, tulu3 = BBH("stated")(problem, text), BBH("tulu3")(problem, text)
    if stated.score == 1.0:
        why = "the published ladder stops at a mark inside a word (o'connell)"
    elif "several" in stated.why:
        why = "the output offers several answers ('(A) or (B)'); the published ladder takes the first"
    elif stated.why.startswith("no answer"):
        why = "the output never says what the answer is; the published ladder takes the last words that look like one"
    else:
        why = "the published ladder drops the sign of the answer"
    return name, stated.score == 1.0, tulu3.score == 1.0, why


def mmlu_pro(folder: Path, data: Path) -> list[Row]:
    """5-shot. For outputs in which its three steps find no letter, the repository stores one drawn at random: these count above and are
    left out below, where agreement is on the letter itself.
    """
    with zipfile.ZipFile(folder / "Meta-Llama-3_1-8B-Instruct_5shots.zip") as archive:
        outputs = json.loads(archive.read(archive.namelist()[0]))
    official = Choice("mmlu_pro_official")
    answered = [output for output in outputs if official.read(output["generated_text"]).letter]
    rows = [
        Row("right letters of all outputs", len(outputs),
            sum(output["pred"] == output["answer"] for output in outputs),
            sum(official.read(output["generated_text"]).letter == output["answer"] for output in outputs)),
    ]  # fmt: skip
    rules = ("mmlu_pro_official", "lm_eval_mmlu_pro", "mmlu_pro", "stated")
    rows += [compared(f"the letter, rule {rule}", (_letters(output, rule) for output in answered)) for rule in rules]
    return rows


def _letters(output: Mapping[str, Any], rule: Any) -> tuple[str, bool, bool, str]:
    """Agreement on the letter itself, not only on whether it is right."""
    reading = Choice(rule).read(output["generated_text"], tuple(output["options"]) if rule == "stated" else ())
    if reading.several:
        why = "the output offers several letters; the official steps take the first"
    elif not reading.letter:
        why = "no 'answer is X': the official steps take 'Answer: X' or the last capital letter that stands alone"
    else:
        why = {
            "mmlu_pro": "the ladder ignores case and reads a word's first letter behind an earlier 'answer is' ('the answer is found by': F)",
            "stated": "the official steps read a letter inside another word or the last capital of a formula; ours reads the answer that is stated",
        }.get(rule, "other")
    return str(output["question_id"]), True, reading.letter == output["pred"], why


def gsm8k(folder: Path, data: Path) -> list[Row]:
    """Solutions end in "A: N"; the published verdict compares that number."""
    lines = [json.loads(line) for line in (folder / "example_model_solutions.jsonl").read_text().splitlines()]
    rows = []
    for model in ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification"):
        for rule in ("tulu3", "flexible"):
            rows.append(
                compared(f"{model}, rule {rule}", (_solution(i, line, model, rule) for i, line in enumerate(lines)))
            )
    return rows


def _solution(place: int, line: Mapping[str, Any], model: str, rule: Any) -> tuple[str, bool, bool, str]:
    target = line["ground_truth"].rpartition("A:")[2].strip().replace(",", "")
    said = line[model]["solution"]
    verdict = GSM8K(rule)(ask("gsm8k", target), said)
    if "several" in verdict.why:
        why = "the output calls two numbers the answer; ours refuses it, the published check reads its last line"
    elif said.rstrip().rpartition("A:")[2].strip(" $").startswith("-") or said.rstrip().endswith(f"-{target}%"):
        why = "the answer given is negative, and the published rule of Tülu 3 drops the sign"
    else:
        why = "other"
    return str(place), line[model]["is_correct"], verdict.score == 1.0, why


def ifeval(folder: Path, data: Path) -> list[Row]:
    """The paper's percentages, as counts of 541 prompts and 834 instructions. One prompt (2785) was reworded after the replies were made and
    has none; prompts 1122 and 1129 name no letter to count, and the published program draws one at random. Item by item: another run
    of that program on the same replies.
    """
    lines = (folder / "input_response_data_gpt4_20231107_145030.jsonl").read_text().splitlines()
    replies = {line["prompt"]: line["response"] for line in map(json.loads, lines)}
    problems = [p for p in IFEvalPrompts().rows(data) if p.prompt[0].content in replies]
    paper = {("strict", False): 76.89, ("strict", True): 83.57, ("loose", False): 79.30, ("loose", True): 85.37}
    rows = []
    for (mode, by_instruction), percent in paper.items():
        sizes = [len(json.loads(p.check.target)) if by_instruction else 1 for p in problems]
        grade = IFEval(mode, partial=by_instruction)  # type: ignore[arg-type]
        scores = [grade(p, replies[p.prompt[0].content]).score or 0.0 for p in problems]
        ours = round(sum(score * size for score, size in zip(scores, sizes, strict=True)))
        published = round(percent / 100 * (834 if by_instruction else 541))
        rows.append(Row(f"{'instructions' if by_instruction else 'prompts'}, {mode}", sum(sizes), published, ours))
    return [*rows, *_ifeval_items(folder, problems, replies)]


def _ifeval_items(folder: Path, problems: list[Problem], replies: Mapping[str, str]) -> list[Row]:
    """The verdicts of that other run, where they are at hand."""
    rows = []
    for mode in ("strict", "loose"):
        path = folder / f"eval_results_{mode}.jsonl"
        if not path.exists():
            continue
        theirs = {
            line["prompt"]: line["follow_all_instructions"] for line in map(json.loads, path.read_text().splitlines())
        }
        asked = [p for p in problems if p.prompt[0].content in theirs]
        items = [
            (str(p.annotations.get("key")), theirs[p.prompt[0].content], right(IFEval(mode), p, replies[p.prompt[0].content]),  # type: ignore[arg-type]
             "the letter to count is drawn at random by the published program where the prompt names none")
            for p in asked
        ]  # fmt: skip
        rows.append(compared(f"prompts, {mode}, item by item", items))
    return rows


def xstest(folder: Path, data: Path) -> list[Row]:
    """The rule "xstest" is the published string match; people's labels, partial refusals left out, show what rules without a model
    cannot see.
    """
    rows = []
    for model in ("gpt4", "llama2orig", "llama2new", "mistralinstruct", "mistralguard"):
        with (folder / f"xstest_v2_completions_{model}_streval.csv").open(newline="", encoding="utf-8") as file:
            lines = list(csv.DictReader(file))
        rows.append(
            compared(
                f"{model}, rule xstest beside the published string match", _refusals(lines, "xstest", "strmatch_label")
            )
        )
        sure = [line for line in lines if not line["final_label"].startswith("3")]
        for rule in ("phrases", "xstest"):
            rows.append(compared(f"{model}, rule {rule} beside people", _refusals(sure, rule, "final_label")))
    return rows


def _refusals(lines: list[dict[str, str]], rule: Any, label: str) -> Iterable[tuple[str, bool, bool, str]]:
    for line in lines:
        theirs, ours = line[label].startswith("2"), right(Refusal(rule), ask("refusal", "refuse"), line["completion"])
        why = (
            "it refuses in other words, or later than in its opening"
            if theirs
            else "it opens like a refusal and answers, or says that something is no good"
        )
        yield line["id"], theirs, ours, why


def alpaca_eval(folder: Path, data: Path) -> list[Row]:
    """From the preferences by item; equal to a millionth of a point counts as agreeing."""
    lines = (folder / "published_win_rates.jsonl").read_text().splitlines()
    published = {line["model"]: line for line in map(json.loads, lines)}
    found: dict[str, list[tuple[int, float, float]]] = {}
    with gzip.open(folder / "preferences.jsonl.gz", "rt", encoding="utf-8") as file:
        for line in map(json.loads, file):
            wins = float("nan") if line["preference"] is None else line["preference"] - 1
            found.setdefault(line["model"], []).append((line["index"], wins, line["len_1"] - line["len_2"]))
    rows = []
    for name in ("win_rate", "standard_error"):
        off = {}
        for model, part in found.items():
            place, wins, shorter = (np.array(column) for column in zip(*part, strict=True))
            off[model] = abs(plain(Annotations(model, place, wins, shorter))[name] - float(published[model][name]))
        agree = sum(each < TOLERANCE for each in off.values())
        far = [model for model, each in off.items() if each >= TOLERANCE]
        classes = {"further apart": far} if far else {}
        rows.append(
            Row(
                f"{name} of {len(off)} models, largest difference {max(off.values()):.1e} points",
                len(off),
                len(off),
                agree,
                agree,
                classes,
            )
        )
    return rows


@dataclass(frozen=True)
class Set:
    """Outputs in a folder of their own below --outputs, or of data shared with other tools, below --data. files: what the folder
    holds, as the repository has it.
    """

    compare: Callable[[Path, Path], list[Row]]
    title: str
    url: str
    commit: str
    licence: str
    files: str
    shared: bool = False


SETS: dict[str, Set] = {
    "bbh": Set(
        bbh, "BIG-Bench Hard: code-davinci-002", "https://github.com/suzgunmirac/BIG-Bench-Hard",
        "9ee07bd481feebf959a6b59d61ea57bdcf30964d", "MIT", "code-davinci-002-outputs/code-davinci-002-cot",
    ),
    "mmlu_pro": Set(
        mmlu_pro, "MMLU-Pro: Llama-3.1-8B-Instruct", "https://github.com/TIGER-AI-Lab/MMLU-Pro",
        "f418b116db00b065c2aea046518d8fcf74d39872", "Apache-2.0",
        "eval_results/model_outputs_Meta-Llama-3_1-8B-Instruct_5shots.zip as Meta-Llama-3_1-8B-Instruct_5shots.zip",
    ),
    "gsm8k": Set(
        gsm8k, "GSM8K: four models of its paper", "https://github.com/openai/grade-school-math",
        "3101c7d5072418e28b9008a6636bde82a006892c", "MIT", "grade_school_math/data/example_model_solutions.jsonl",
    ),
    "ifeval": Set(
        ifeval, "IFEval: GPT-4 of November 2023", "https://github.com/mlfoundations/evalchemy",
        "6ed674159b37f740f2353a86f596f49f6ac13c19", "Apache-2.0",
        "eval/chat_benchmarks/IFEval/data/input_response_data_gpt4_20231107_145030.jsonl; for verdicts by item, "
        "data/test_output/eval_results_{strict,loose}.jsonl of Podtech-AI/IFEval",
    ),
    "xstest": Set(
        xstest, "XSTest: five models", "https://github.com/paul-rottger/exaggerated-safety",
        "d7bb5bd738c1fcbc36edd83d5e7d1b71a3e2d84d", "CC-BY-4.0", "evaluation/automated_evaluation_labels/*_streval.csv",
    ),
    "alpaca_eval_preferences": Set(
        alpaca_eval, "AlpacaEval 2: the leaderboard's plain win rates", "https://github.com/tatsu-lab/alpaca_eval",
        "cd543a149df89434d8a54582c0151c0b945c3d20", "CC-BY-NC-4.0", "results and leaderboard, as alpaca_eval_preferences below --data has them", shared=True,
    ),
}  # fmt: skip


def measure(outputs: Path, data: Path, kept: Mapping[str, Any]) -> dict[str, Any]:
    """Every set whose outputs are there; the others as they were."""
    sets = dict(kept.get("sets", {}))
    for name, each in SETS.items():
        folder = data / name if each.shared else outputs / name
        if folder.exists():
            known = {
                "title": each.title,
                "url": each.url,
                "commit": each.commit,
                "licence": each.licence,
                "files": each.files,
            }
            note = " ".join((each.compare.__doc__ or "").split())
            sets[name] = {**known, "note": note, "rows": [row.told() for row in each.compare(folder, data)]}
    return {
        "title": "Our verdicts beside published ones", "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "command": "python benchmarks/public_outputs.py --outputs FOLDER --data DIR",
        "verifiers": {verifier.__name__: verifier.VERSION for verifier in VERIFIERS},  # type: ignore[attr-defined]
        "sets": {name: sets[name] for name in SETS if name in sets},
    }  # fmt: skip


def render(result: Mapping[str, Any]) -> str:
    """The page: a table a set, the classes of differences below it."""
    versions = ", ".join(f"{name} {number}" for name, number in result["verifiers"].items())
    parts = [
        f"# Our verdicts beside published ones\n\nGenerated by `{result['command']}` ({result['date']}; versions of the verifiers: {versions}). "
        "The outputs are other people's and not part of this repository.\n"
    ]
    for each in result["sets"].values():
        where = f"[{each['url'].removeprefix('https://')}]({each['url']}) at {each['commit'][:12]}, {each['licence']}. Files: {each['files']}. {each['note']}"
        parts.append(
            f"\n## {each['title']}\n\n{where}\n\n| | n | published | ours | agree by item |\n|---|---:|---:|---:|---:|\n"
        )
        for row in each["rows"]:
            agree = "" if row["agree"] is None else f"{row['agree']:,} ({100 * row['agree'] / row['n']:.2f} %)"
            parts.append(f"| {row['what']} | {row['n']:,} | {row['published']:,} | {row['ours']:,} | {agree} |\n")
        notes = [
            f"- {row['what']}: {part['n']}, {part['why']} ({', '.join(part['items'])}{', …' if part['n'] > len(part['items']) else ''})\n"
            for row in each["rows"]
            for part in row["differences"]
        ]
        parts += ["\nDifferences:\n\n", *notes] if notes else []
    return "".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--outputs", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    given = parser.parse_args()
    kept = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    result = measure(given.outputs, given.data, kept)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    PAGE.write_text(render(result))


if __name__ == "__main__":
    main()
