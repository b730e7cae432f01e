"""Verifiers and the sandbox beside what others use for the same: checks, replies and programs per second.

    python benchmarks/verify.py --data DIR [--parts instructions,maths,programs] [--rounds 5] [--replies 4]

instructions: IFEval's 541 prompts, each with replies of the Alpaca set, strict, beside the official checkers (the copy in lm-eval;
  needs the oracle extra and NLTK's punkt_tab). A check is one instruction of one reply. Once with every instruction and once
  without the two that detect the reply's language, which both sides give to langdetect. One process each, and ours in two.
maths: MATH test problems with their worked solution, once as it is and once with another answer in its last box, beside
  math-verify as its own page shows it, which uses the main thread's alarm as its deadline.
programs: HumanEval's reference solutions with their tests, beside a fresh interpreter for each without any containment.

Sides run in turns, round by round, so that a change of the machine's load meets all. Every round has texts of its own, so that no
side answers from memory. The first round warms up and is not counted.
"""

from __future__ import annotations

import argparse
import gzip
import importlib
import importlib.util
import json
import os
import subprocess
import sys
import time
import types
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from record import write

from burnish.core.types import Check, Problem, user
from burnish.data.sources.math import MATHProblems
from burnish.pipeline.progress import Console
from burnish.verify.apart import grade_all
from burnish.verify.ifeval import IFEval
from burnish.verify.math import Math
from burnish.verify.sandbox import Program, sandbox

CORES = len(os.sched_getaffinity(0))
Side = Callable[
    [int], tuple[int, int]
]  # does the work of a round; how many units it was, and how many of them were right


def lines(path: Path) -> list[dict[str, Any]]:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8", newline="\n") as file:
        return [json.loads(line) for line in file]


def official_ifeval() -> Any:
    """The module of the official checkers, without lm_eval's own start-up, which imports half of its tasks."""
    spec = importlib.util.find_spec("lm_eval")
    if spec is None or spec.origin is None:
        raise SystemExit("no lm_eval: pip install 'burnish[oracle]'")
    for name in ("lm_eval", "lm_eval.tasks", "lm_eval.tasks.ifeval"):
        shell = types.ModuleType(name)
        shell.__path__ = [str(Path(spec.origin).parent.joinpath(*name.split(".")[1:]))]
        sys.modules[name] = shell
    return importlib.import_module("lm_eval.tasks.ifeval.utils")


def instructions(data: Path, replies: int, rounds: int) -> tuple[dict[str, Side], dict[str, Any]]:
    """Sides, and what the page says about the work. The prompts come again every round, with other replies."""
    official = official_ifeval()
    prompts = lines(data / "ifeval" / "input_data.jsonl")
    plain = [row for row in map(without_language, prompts) if row["instruction_id_list"]]
    texts = [
        row["output"] for row in lines(data / "alpaca" / "alpaca_5000.jsonl.gz") if len(row["output"].split()) >= 40
    ]

    def pairs(rows: list[dict[str, Any]]) -> list[list[tuple[dict[str, Any], str]]]:
        """By round."""
        count = iter(range(10**9))
        return [
            [(row, f"{texts[(number := next(count)) % len(texts)]}\n{number}") for row in rows for _ in range(replies)]
            for _ in range(rounds + 1)
        ]

    def checks(part: list[tuple[dict[str, Any], str]]) -> int:
        return sum(len(row["instruction_id_list"]) for row, _ in part)

    def side(rows: list[dict[str, Any]], grade: Callable[[Any], int], case: Callable[..., Any]) -> Side:
        asked = [([case(row, text) for row, text in part], checks(part)) for part in pairs(rows)]
        return lambda number: (asked[number][1], grade(asked[number][0]))

    verifier = IFEval("strict")
    cases = {"burnish": (lambda asked: sum(verifier(*one).score == 1.0 for one in asked), problem_of)}
    test, example = official.test_instruction_following_strict, official.InputExample
    cases["official code"] = (
        lambda asked: sum(test(one, text).follow_all_instructions for one, text in asked),
        lambda row, text: (example(row["key"], row["instruction_id_list"], row["prompt"], row["kwargs"]), text),
    )
    sides = {name: side(prompts, *how) for name, how in cases.items()}
    sides |= {f"{name}, without language": side(plain, *how) for name, how in cases.items()}
    sides[f"burnish, without language, {CORES} processes"] = side(plain, in_processes, problem_of)
    return sides, {"checks a round": checks(pairs(prompts)[0]), "without language": checks(pairs(plain)[0])}


def without_language(row: dict[str, Any]) -> dict[str, Any]:
    """The prompt with those of its instructions that do not ask for the reply's language."""
    names = row["instruction_id_list"]
    kept = [i for i, name in enumerate(names) if not name.startswith("language:") and "english" not in name]
    return {**row, **{key: [row[key][i] for i in kept] for key in ("instruction_id_list", "kwargs")}}


def in_processes(asked: list[tuple[Problem, str]]) -> int:
    found: list[bool] = []
    grade_all(IFEval("strict"), asked, lambda _, verdict: found.append(verdict.score == 1.0), jobs=CORES)
    return sum(found)


def problem_of(row: dict[str, Any], text: str) -> tuple[Problem, str]:
    return Problem(user(row["prompt"]), Check("ifeval", target(row))), text


def target(row: dict[str, Any]) -> str:
    pairs = zip(row["instruction_id_list"], row["kwargs"], strict=True)
    return json.dumps([{"id": name, "kwargs": kwargs} for name, kwargs in pairs])


def maths(data: Path, rows: int, rounds: int) -> tuple[dict[str, Side], dict[str, Any]]:
    """Sides, and what the page says about the work: other problems every round, each solution as it is and with "x+1+" in its last box."""
    from math_verify import parse, verify

    problems = list(MATHProblems("test").rows(data))
    asked: list[list[tuple[Problem, str]]] = []
    for number in range(rounds + 1):
        asked.append([])
        for problem in problems[number :: rounds + 1][:rows]:
            head, box, tail = problem.solution.rpartition("\\boxed{")
            asked[-1] += [(problem, problem.solution), (problem, f"{head}{box}x+1+{tail}")]

    def ours(rule: Any) -> Side:
        verifier = Math(rule)
        return lambda number: (len(asked[number]), sum(verifier(*case).score == 1.0 for case in asked[number]))

    def theirs(number: int) -> tuple[int, int]:
        cases = asked[number]
        return len(cases), sum(verify(parse(f"${problem.check.target}$"), parse(text)) for problem, text in cases)

    return {"burnish": ours("fixed"), "burnish, rule flex": ours("flex"), "math-verify": theirs}, {
        "replies a round": len(asked[0])
    }


def programs(data: Path, copies: int) -> tuple[dict[str, Side], dict[str, Any]]:
    """Sides, and what the page says about the work."""
    sources = [
        f"{row['prompt']}{row['canonical_solution']}\n{row['test']}\ncheck({row['entry_point']})\n"
        for row in lines(data / "humaneval" / "HumanEval.jsonl.gz")
    ] * copies
    chosen = sandbox()

    def contained(number: int) -> tuple[int, int]:
        asked = [Program(f"{source}# {number}") for source in sources]
        return len(asked), sum(outcome.status == "ok" for outcome in chosen.run(asked))

    def fresh(source: str) -> bool:
        done = subprocess.run([sys.executable, "-I", "-c", source], capture_output=True, timeout=60, check=False)
        return done.returncode == 0

    def uncontained(number: int) -> tuple[int, int]:
        with ThreadPoolExecutor(CORES) as pool:
            return len(sources), sum(pool.map(fresh, sources))

    name = getattr(chosen, "name", type(chosen).__name__)
    sides = {f"burnish sandbox ({name})": contained, "fresh process each, uncontained": uncontained}
    return sides, {"programs a round": len(sources), "at a time": CORES}


def measure(sides: dict[str, Side], rounds: int, console: Console) -> tuple[dict[str, list[float]], dict[str, int]]:
    """Units per second of every side in every round but the first, and how many it found right in the last."""
    rates: dict[str, list[float]] = {name: [] for name in sides}
    right: dict[str, int] = {}
    for number in range(rounds + 1):
        for name, side in sides.items():
            start = time.perf_counter()
            units, right[name] = side(number)
            rate = units / (time.perf_counter() - start)
            console.line(
                f"{'warm-up' if not number else f'round {number}'}  {name}: {rate:,.1f}/s, {right[name]:,} right"
            )
            if number:
                rates[name].append(rate)
    return rates, right


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, required=True, help="folder of the published data sets")
    parser.add_argument("--parts", default="instructions,maths,programs")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--replies", type=int, default=4, help="replies to each of IFEval's prompts")
    parser.add_argument("--rows", type=int, default=250, help="problems of MATH")
    parser.add_argument("--copies", type=int, default=2, help="times HumanEval's programs")
    args = parser.parse_args()
    console = Console()
    command = f"python benchmarks/verify.py --data DIR --rounds {args.rounds} --replies {args.replies} --rows {args.rows} --copies {args.copies}"
    load = round(os.getloadavg()[0], 2)
    parts: dict[str, tuple[str, str, str, tuple[str, ...], Callable[[], tuple[dict[str, Side], dict[str, Any]]]]] = {
        "instructions": (
            "IFEval: instructions checked, strict", "checks/s", "official code", ("lm_eval", "langdetect", "nltk"),
            lambda: instructions(args.data, args.replies, args.rounds),
        ),
        "maths": (
            "MATH: replies graded, half of them right", "replies/s", "math-verify", ("math-verify", "sympy", "latex2sympy2_extended"),
            lambda: maths(args.data, args.rows, args.rounds),
        ),
        "programs": (
            "HumanEval: programs run with their tests", "programs/s", "fresh process each, uncontained", (),
            lambda: programs(args.data, args.copies),
        ),
    }  # fmt: skip
    for name in args.parts.split(","):
        if name not in parts:
            raise SystemExit(f"--parts {name}: there are {', '.join(parts)}")
        title, unit, baseline, packages, make = parts[name]
        sides, about = make()
        rates, right = measure(sides, args.rounds, console)
        about |= {f"right by {side}": found for side, found in right.items()} | {"load average before": load}
        path = write(
            f"verify-{name}", title=title, settings=about, rates=rates, unit=unit, baseline=baseline, packages=packages,
            command=f"{command} --parts {name}",
        )  # fmt: skip
        console.line(f"written to {path}")


if __name__ == "__main__":
    main()
