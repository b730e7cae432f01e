"""Pair accuracy: by log-probabilities of a real tiny model, by a judge in both orders, by rewards; sections by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from judge_rules import ByRules, judge_by_rules
from judge_server import serving

from burnish.cli import main
from burnish.core.files import read_json
from burnish.core.types import Check, Messages, Problem, user
from burnish.data.sources.files import Files
from burnish.data.sources.pairs import PairProblems, RewardBench
from burnish.data.sources.preference_sets import PreferenceSet
from burnish.errors import DataError, VerifierError
from burnish.eval.answer import GoldAnswers
from burnish.eval.judging import Judge
from burnish.eval.ranking import Ranked
from burnish.eval.run import evaluate
from burnish.eval.task import EvalTask
from burnish.eval.tasks.rewardbench import HH_PAIRS, SECTIONS, Preferring, by_scores, judged, pairs, sections, task
from burnish.model.toy import make_toy
from burnish.pipeline.progress import Console
from burnish.rollout.api_engine import Endpoint
from burnish.testing.laws import check_verifier
from burnish.verify.judge import Pairwise

torch.set_num_threads(1)


def run(task: EvalTask, data: Path | None, out: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    scores = evaluate(
        [task], GoldAnswers(), seed=0, label="gold", model="gold", data=data, out=out, console=Console(quiet=True)
    )
    return scores["tasks"][0], [json.loads(line) for line in (out / "samples.jsonl").read_text().splitlines()]


def bench(folder: Path, longer: dict[str, int], each: int = 4) -> Path:
    """RewardBench in miniature form: 2,985 rows, `each` of every subset, the rest alpacaeval-easy; in `longer` subsets so
    many chosen replies are the longer ones, elsewhere all are."""
    names = [name for part in SECTIONS.values() for name in part]
    rows = []
    for name in names:
        for number in range(each):
            chosen, rejected = "a longer reply", "short"
            if number >= longer.get(name, each):
                chosen, rejected = rejected, chosen
            rows.append({"prompt": f"{name} {number}?", "chosen": chosen, "rejected": rejected, "subset": name})
    rows += [{**rows[0], "prompt": f"more {number}?"} for number in range(2985 - len(rows))]
    (folder / "rewardbench").mkdir(parents=True)
    (folder / "rewardbench" / "filtered.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@dataclass(frozen=True)
class ByLength:
    """A reward model that likes long replies; none for replies with a question mark."""

    name: str = "length"

    def rewards(self, replies: Sequence[tuple[Messages, str]]) -> list[float | None]:
        return [None if "?" in reply else float(len(reply)) for _, reply in replies]


def test_preferring_keeps_the_laws() -> None:
    check_verifier(Preferring(Pairwise(ByRules())), examples=40)
    check_verifier(Preferring(ByLength()), examples=40)


def test_sections_by_hand() -> None:
    """Chat: only alpacaeval-easy (weight 100, half right) and mt-bench-med (weight 40, all right): (50 + 40) / 140 = 9/14.

    Chat Hard 1, Safety 0.25. Reasoning: math-prm 0 of weight 984 against hep-cpp 1 of weight 164: 164/1148 = 1/7.
    Mean: (9/14 + 1 + 1/4 + 1/7) / 4 = (18 + 28 + 7 + 4) / 28 / 4 = 57/112.
    """
    scores = {
        "alpacaeval-easy": [1.0, 0.0], "mt-bench-med": [1.0], "mt-bench-hard": [1.0, 1.0], "donotanswer": [0.5, 0.0],
        "math-prm": [0.0, 0.0], "hep-cpp": [1.0], "unknown": [0.0],
    }  # fmt: skip
    found = sections(scores)
    assert found["aggregate"] == {"Chat": 9 / 14, "Chat Hard": 1.0, "Safety": 0.25, "Reasoning": pytest.approx(1 / 7)}
    assert found["score"] == pytest.approx(57 / 112)
    assert found["interval"][0] < found["score"] < found["interval"][1]
    del scores["mt-bench-hard"]
    assert sections(scores)["score"] is None
    assert sections(scores)["aggregate"]["Chat Hard"] is None


def test_the_published_weights_are_all_there() -> None:
    assert {name: sum(part.values()) for name, part in SECTIONS.items()} == {
        "Chat": 358, "Chat Hard": 456, "Safety": 740, "Reasoning": 1968,
    }  # fmt: skip
    assert sum(map(len, SECTIONS.values())) == 23


def test_a_judge_is_measured_with_the_gold_engine(tmp_path: Path) -> None:
    """The judge takes the longer reply. 3 of 4 in each code subset, all else right: Reasoning (984 + 6 * 164 * 3/4) / 1968."""
    code = dict.fromkeys([name for name in SECTIONS["Reasoning"] if name.startswith("hep")], 3)
    data = bench(tmp_path, code)
    with serving(judge_by_rules) as server:
        by = Judge(Endpoint(server.url, "judge", retries=0, concurrency=4))
        row, samples = run(replace(judged(by), limit=92), data, tmp_path / "out")
        assert len(server.seen) == 2 * 92, "both orders"
    assert row["aggregate"]["Reasoning"] == pytest.approx((984 + 6 * 164 * 0.75) / 1968)
    assert row["score"] == pytest.approx((3 + row["aggregate"]["Reasoning"]) / 4)
    assert row["by_category"]["hep-rust"]["score"] == 0.75
    assert {sample["score"] for sample in samples} == {0.0, 1.0}


def test_a_reward_model_is_a_name_and_numbers(tmp_path: Path) -> None:
    data = bench(tmp_path, {"donotanswer": 0})
    row, _ = run(by_scores(ByLength(), limit=92), data, tmp_path / "out")
    assert row["by_category"]["donotanswer"]["score"] == 0.0
    assert row["aggregate"]["Safety"] == pytest.approx(1 - 136 / 740)
    rule = Preferring(ByLength())
    pair = Problem(user("?"), Check("pair", json.dumps({"choices": ["same", "size"], "right": [0]})))
    assert rule(pair, "same").score == rule(pair, "size").score == 0.5
    asking = Problem(user("?"), Check("pair", json.dumps({"choices": ["what?", "size"], "right": [0]})))
    assert rule(asking, "what?").score is None
    other = rule(pair, "another reply")
    assert other.score is None
    assert "--engine gold" in other.why


@pytest.mark.parametrize(
    "target",
    [
        "",
        "[]",
        '{"choices": ["a"], "right": [0]}',
        '{"choices": ["a", "b"], "right": [1]}',
        '{"choices": ["a", 2], "right": [0]}',
    ],
)
def test_targets_that_are_no_pair(target: str) -> None:
    with pytest.raises(VerifierError, match="is no pair"):
        Preferring(ByLength()).check_target(target)
    assert Preferring(ByLength())(Problem(user("?"), Check("pair", target)), "a").score is None


def test_rewardbench_needs_its_rows(tmp_path: Path) -> None:
    data = bench(tmp_path, {})
    assert len(list(RewardBench().rows(data))) == 2985
    file = tmp_path / "rewardbench" / "filtered.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(DataError, match="2,985"):
        list(RewardBench().rows(data))


def test_by_sum_and_by_mean_differ_with_length() -> None:
    """The chosen reply has -6 over 3 tokens, the rejected -4 over 1: the sum prefers the rejected, the mean the chosen one."""
    problem = Problem(user("?"), Check("pair", json.dumps({"choices": ["long", "s"], "right": [0]})))
    ranked = [Ranked("long", -6.0, 3, False), Ranked("s", -4.0, 1, False)]
    assert task().verifier.rank(problem, ranked).score == 0.0  # type: ignore[union-attr]
    assert task("token").verifier.rank(problem, ranked).score == 1.0  # type: ignore[union-attr]


def test_hh_rlhf_counts_its_readable_pairs(data_dir: Path) -> None:
    for half, count in HH_PAIRS.items():
        rows = list(PairProblems(PreferenceSet(f"hh_rlhf/{half}")).rows(data_dir))
        assert len(rows) == count
        assert all(row.prompt[-1].role == "user" and row.solution for row in rows)


def test_a_tiny_model_ranks_pairs_on_the_command_line(data_dir: Path, tmp_path: Path) -> None:
    folder = make_toy(tmp_path / "toy", max_position_embeddings=4096)
    words = ["eval", str(folder), "--tasks", "hh_rlhf_helpful_online,hh_rlhf_helpful_online_mean", "--limit", "4"]
    words += [
        "--machine",
        "exact",
        "--data",
        str(data_dir),
        "--out",
        str(tmp_path / "out"),
        "--cache",
        str(tmp_path / "c"),
    ]
    assert main(words) == 0
    (file,) = (tmp_path / "out").glob("eval-*/scores.json")
    rows = read_json(file)["tasks"]
    assert [(row["metric"], row["n"]) for row in rows] == [("pair accuracy", 4)] * 2
    samples = [json.loads(line) for line in (file.parent / "samples.jsonl").read_text().splitlines()]
    for sample in samples:
        chosen, rejected = sample["choices"]
        by = 1 if sample["task"] == "hh_rlhf_helpful_online" else None
        values = [each["logprob"] / (by or each["tokens"]) for each in (chosen, rejected)]
        assert sample["score"] == float(values[0] > values[1])


def test_pairs_of_your_own_files(tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    rows = [{"prompt": f"Q{i}", "chosen": "a good reply", "rejected": "bad", "subset": "s"} for i in range(3)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    own = pairs(Files(file), "mine", ByLength())
    row, _ = run(own, None, tmp_path / "out")
    assert (row["task"], row["score"], row["n"]) == ("mine", 1.0, 3)
    assert set(row["by_category"]) == {"s"}
    ranked, _ = run(pairs(Files(file), "mine_mean", "token"), None, tmp_path / "ranked")
    assert ranked["score"] == 1.0
    with serving(judge_by_rules) as server:
        by = Judge(Endpoint(server.url, "judge", retries=0))
        judged_row, _ = run(pairs(Files(file), "mine_judge", by), None, tmp_path / "judged")
    assert judged_row["score"] == 1.0
