"""The reference pages of benchmarks say what the tasks say: one a benchmark, and the index of all."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from burnish.eval.tasks.catalogue import JUDGED, TASKS
from burnish.testing.benchmark_page import benchmarks, home, index, page, settings, task_of, title

FOLDER = Path(__file__).parents[2] / "docs" / "reference" / "benchmarks"
MARK = "<!-- From here on the code's own words: pytest tests/unit/test_benchmark_pages.py --update-golden rewrites them -->\n"
CHANGED = "tasks changed: pytest --update-golden rewrites the page; the diff is the review"


def check(name: str, head: str, expected: str, update: bool) -> None:
    """What stands above the mark is written by hand; a page that is not there begins with `head`."""
    path = FOLDER / f"{name}.md"
    if update:
        written = path.read_text() if path.exists() else f"{head}\n"
        path.write_text(written.partition(MARK)[0].rstrip() + f"\n\n{MARK}\n{expected}")
    assert path.exists(), f"no page {path.name}: {CHANGED}"
    _, mark, found = path.read_text().partition(MARK)
    assert mark
    assert found == f"\n{expected}", f"{path.name}: {CHANGED}"


@pytest.mark.parametrize("module", benchmarks())
def test_a_benchmarks_page_is_the_tasks(module: str, update_golden: bool) -> None:
    check(module, f"# {title(module)}", page(module), update_golden)


def test_the_index_names_every_page(update_golden: bool) -> None:
    check(
        "index",
        "# Benchmarks\n\nA page each: protocol, traps, published numbers, data. Suites: [suites](../suites.md).",
        index(),
        update_golden,
    )
    pages = {path.stem for path in FOLDER.glob("*.md")} - {"index", "safety"}
    assert pages == set(benchmarks())


def test_every_task_stands_on_the_page_of_its_own_module() -> None:
    assert home("mmlu_pro_validation_stated") == "mmlu_pro"
    assert home("mmlu_lm_eval") == "lm_eval"
    assert home("ifeval_ood_fixed") == "ifbench"
    assert home("humanevalplus_pass1") == "humaneval"
    placed = benchmarks()
    assert sorted(name for names in placed.values() for name in names) == sorted((*TASKS, *JUDGED))
    for module, names in placed.items():
        text = page(module)
        assert all(f"| `{name}` |" in text for name in names)


def test_published_scores_and_settings_stand_on_the_page() -> None:
    text = page("gsm8k")
    assert "| `gsm8k` | Llama-3.1-Tulu-3-8B | 87.6 |" in text
    assert "| stop strings | `Question:`, `</s>`, `<\\|im_end\\|>` |" in text
    assert "| reply begun with | `Answer:` |" in text
    assert "`DIR/gsm8k/test.jsonl.gz`: 1,319 rows" in text
    assert "needs `--unlock`" in page("gpqa")
    assert settings(task_of("mmlu_mc"))["sampling"].startswith("none")
    assert "None is quoted" in page("svamp")


def test_links_between_the_pages_lead_somewhere() -> None:
    for path in FOLDER.glob("*.md"):
        for link in re.findall(r"\]\(((?!https?:)[^)#]+)[^)]*\)", path.read_text()):
            assert (path.parent / link).exists(), f"{path.name} links to {link}"
