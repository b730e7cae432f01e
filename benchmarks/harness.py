"""lm-evaluation-harness beside our tasks: its own task files over the data of --data, asked the same items, compared item by item.

Its YAML files, prompts, filters and metrics are used as they are installed; only where the rows come from (no network) and, on both
sides, how many items are asked and how many tokens a reply may have, are set here.
"""

from __future__ import annotations

import dataclasses
import gzip
import importlib.util
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from burnish.core.types import Problem
from burnish.data.source import DerivedSource, Source
from burnish.eval.task import EvalTask
from burnish.eval.tasks.catalogue import find
from burnish.eval.tasks.lm_eval import SEED

BBH_TASKS = ("boolean_expressions", "navigate", "object_counting")
SUBJECTS = ("abstract_algebra", "high_school_geography", "philosophy")


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """One task of ours and what it is compared with.

    ours: name in our catalogue; category: only its problems, or "" for all. theirs: YAML file below lm_eval/tasks; the metric
    and the filter whose value of every item is compared.
    """

    ours: str
    theirs: str
    metric: str
    filter: str = "none"
    category: str = ""

    @property
    def name(self) -> str:
        """E.g. "bbh_lm_eval/navigate"."""
        return f"{self.ours}/{self.category}" if self.category else self.ours


PARTS = (
    Part("gsm8k_lm_eval", "gsm8k/gsm8k.yaml", "exact_match", "flexible-extract"),
    Part("gsm8k_lm_eval_strict", "gsm8k/gsm8k.yaml", "exact_match", "strict-match"),
    Part("gsm8k_cot_lm_eval", "gsm8k/gsm8k-cot.yaml", "exact_match", "flexible-extract"),
    Part("gsm8k_cot_lm_eval_strict", "gsm8k/gsm8k-cot.yaml", "exact_match", "strict-match"),
    Part("ifeval_lm_eval", "ifeval/ifeval.yaml", "prompt_level_strict_acc"),
    Part("ifeval_lm_eval_loose", "ifeval/ifeval.yaml", "prompt_level_loose_acc"),
    *(
        Part("bbh_lm_eval", f"bbh/cot_fewshot/{task}.yaml", "exact_match", "get-answer", task)
        for task in BBH_TASKS
    ),
    Part("truthfulqa_mc1_lm_eval", "truthfulqa/truthfulqa_mc1.yaml", "acc"),
    Part("truthfulqa_mc2_lm_eval", "truthfulqa/truthfulqa_mc2.yaml", "acc"),
    *(
        Part("mmlu_lm_eval", f"mmlu/default/mmlu_{subject}.yaml", "acc", category=subject)
        for subject in SUBJECTS
    ),
)  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True)
class Only(DerivedSource):
    """The problems of one category."""

    problems: Source
    category: str
    VERSION: ClassVar[int] = 1

    @property
    def name(self) -> str:
        """E.g. "bbh/lm_eval/navigate"."""
        return f"{self.problems.name}/{self.category}"

    def rows(self, data: Path | None) -> Iterator[Problem]:
        """The rows as they are."""
        for row in self.problems.rows(data):
            if isinstance(row, Problem) and row.category == self.category:
                yield row


def ours(part: Part, items: int, tokens: int | None = None) -> EvalTask:
    """Our task, asking the first `items` of its problems, with replies of at most `tokens`."""
    task = find(part.ours)
    source = Only(task.source, part.category) if part.category else task.source
    sampling = dataclasses.replace(task.sampling, max_tokens=min(tokens or 10**9, task.sampling.max_tokens))
    # The set is not asked whole, so its size is not checked.
    return dataclasses.replace(task, name=part.name, source=source, limit=items, sampling=sampling, n=0)


def theirs(parts: Sequence[Part], data: Path, tokens: int | None = None) -> dict[str, Any]:
    """The harness's tasks by their YAML file, over our rows. Raises ImportError without lm_eval and what it needs."""
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.tasks._yaml_loader import load_yaml

    spec = importlib.util.find_spec("lm_eval")
    if spec is None or spec.origin is None:
        raise ImportError("lm_eval")
    folder = Path(spec.origin).parent / "tasks"
    made = {}
    for part in parts:
        if part.theirs in made:
            continue
        config = load_yaml(folder / part.theirs)
        # Names like that of the published MMLU are looked up on the hub; this one is not.
        config |= {"custom_dataset": _dataset(part, data), "dataset_path": None, "dataset_name": None}
        if part.ours == "mmlu_lm_eval":
            config["num_fewshot"] = 5
        if tokens is not None and config["output_type"] == "generate_until":
            kwargs = config["generation_kwargs"]
            kwargs["max_gen_toks"] = min(tokens, kwargs.get("max_gen_toks", 256))
        made[part.theirs] = ConfigurableTask(config=config)
    return made


def ask(model: Any, tasks: dict[str, Any], items: int) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """The harness's samples in the order of the items, by YAML file and filter. model: an instance of lm_eval's LM."""
    # What simple_evaluate does around this, reading every task file installed and asking the machine for its state, is no part of
    # asking these, and would be counted against the harness.
    from lm_eval.evaluator import evaluate

    for task in tasks.values():
        task.set_fewshot_seed(seed=SEED)
    found = evaluate(
        model, {"tasks": {task.config.task: task for task in tasks.values()}, "groups": {}}, limit=items, bootstrap_iters=0,
        log_samples=True, verbosity="ERROR",
    )  # fmt: skip
    names = {task.config.task: file for file, task in tasks.items()}
    samples: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for name, rows in found["samples"].items():
        for row in sorted(rows, key=lambda row: row["doc_id"]):
            samples.setdefault((names[name], row["filter"]), []).append(row)
    return samples


def hf(folder: Path, dtype: str, batch: int) -> Any:
    """The harness's Hugging Face backend on the processor."""
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=str(folder), dtype=dtype, device="cpu", batch_size=batch)


def _dataset(part: Part, data: Path) -> Callable[..., Any]:
    def load(**_: Any) -> Any:
        from datasets import Dataset, DatasetDict

        splits = _ROWS[part.ours.partition("_")[0]](data, part.category)
        return DatasetDict({name: Dataset.from_list(rows) for name, rows in splits.items()})

    return load


def _lines(path: Path) -> list[dict[str, Any]]:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8", newline="\n") as file:
        return [json.loads(line) for line in file]


def _gsm8k(data: Path, category: str) -> dict[str, list[dict[str, Any]]]:
    return {split: _lines(data / "gsm8k" / f"{split}.jsonl.gz") for split in ("train", "test")}


def _ifeval(data: Path, category: str) -> dict[str, list[dict[str, Any]]]:
    return {"train": _lines(data / "ifeval" / "input_data.jsonl")}


def _bbh(data: Path, category: str) -> dict[str, list[dict[str, Any]]]:
    return {"test": [row for row in _lines(data / "bbh" / "bbh.jsonl.gz") if row["task"] == category]}


def _truthfulqa(data: Path, category: str) -> dict[str, list[dict[str, Any]]]:
    fields = ("mc1_targets", "mc2_targets")
    rows = _lines(data / "truthfulqa" / "mc_817.jsonl")
    return {
        "validation": [
            {"question": row["question"]}
            | {field: {"choices": list(row[field]), "labels": list(row[field].values())} for field in fields}
            for row in rows
        ]
    }


def _mmlu(data: Path, category: str) -> dict[str, list[dict[str, Any]]]:
    return {
        split: [
            {"question": row["question"], "choices": [row[c] for c in "ABCD"], "answer": "ABCD".index(row["answer"])}
            for row in _lines(data / "mmlu" / f"{split}.jsonl.gz")
            if row["subject"] == category
        ]
        for split in ("dev", "test")
    }


_ROWS: dict[str, Callable[[Path, str], dict[str, list[dict[str, Any]]]]] = {
    "gsm8k": _gsm8k, "ifeval": _ifeval, "bbh": _bbh, "truthfulqa": _truthfulqa, "mmlu": _mmlu,
}  # fmt: skip
