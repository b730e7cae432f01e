"""How long one check of an instruction takes: CPU time on one core, per constraint and on average.

    python benchmarks/verify_instructions.py --data DIR [--replies 21]

IFEval's share: every instruction of the 541 published prompts on real replies (the published answers of a chat model to
AlpacaEval's questions, evenly spaced; about 2,200 characters each). The replies do not belong to the prompts, so most checks
do not end early. Language is counted apart: langdetect, not the checks, decides how long that takes.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from burnish.verify.ifeval import constraints_of
from burnish.verify.ifeval.constraints import Constraint

LANGUAGE = frozenset(("language:response_language", "change_case:english_capital", "change_case:english_lowercase"))
REPLIES = "alpaca_eval/baseline_gpt4_1106_preview.jsonl.gz"


def ifeval_constraints(data: Path) -> list[Constraint]:
    """The 834 instructions of the published prompts."""
    found: list[Constraint] = []
    for line in (data / "ifeval" / "input_data.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        names = zip(row["instruction_id_list"], row["kwargs"], strict=True)
        found += constraints_of(json.dumps([{"id": name, "kwargs": kwargs} for name, kwargs in names]))
    return found


def real_replies(data: Path, n: int) -> list[str]:
    """n of the published answers, evenly spaced."""
    with gzip.open(data / REPLIES, "rt", encoding="utf-8") as lines:
        outputs = [str(json.loads(line)["output"]) for line in lines]
    return outputs[:: max(1, len(outputs) // n)][:n]


def seconds_per_check(constraints: Iterable[Constraint], replies: Sequence[str]) -> dict[str, tuple[int, float]]:
    """For each id: how many checks were made, and the CPU seconds of one on average. Every reply meets every constraint."""
    kinds: dict[str, list[Constraint]] = defaultdict(list)
    for constraint in constraints:
        kinds[constraint.ID].append(constraint)
    found = {}
    for name, asked in kinds.items():
        asked[0].check(replies[0])  # tables are read once, which is not part of a check
        start = time.process_time()
        for reply in replies:
            for constraint in asked:
                constraint.check(reply)
        count = len(asked) * len(replies)
        found[name] = (count, (time.process_time() - start) / count)
    return found


def checks_per_second(measured: dict[str, tuple[int, float]]) -> float:
    """The rate of the constraints that do not ask for a language, on one core, weighted as they were asked."""
    counted = [each for name, each in measured.items() if name not in LANGUAGE]
    return sum(n for n, _ in counted) / sum(n * seconds for n, seconds in counted)


def main() -> None:
    """Print microseconds per check for each of IFEval's constraints and the mean rate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--replies", type=int, default=21)
    args = parser.parse_args()
    measured = seconds_per_check(ifeval_constraints(args.data), real_replies(args.data, args.replies))
    for name, (n, seconds) in sorted(measured.items(), key=lambda item: -item[1][1]):
        print(f"{name:50s} {seconds * 1e6:8.1f} µs  {n:6d} checks")
    print(f"without language: {checks_per_second(measured):,.0f} checks a second on one core")


if __name__ == "__main__":
    main()
