"""The page of an evaluation as text: what is in the file, what is not, and what is refused."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from eval_folders import record, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from burnish.cli.main import main
from burnish.errors import ArtifactError, DataError
from burnish.report.eval_folder import load
from burnish.report.eval_pack import Collected, flags_of, rules_of
from burnish.report.eval_page import write_comparison, write_page

HOSTILE = (
    "</script><script>window.hacked=1</script><img src=https://evil.example/x onerror=window.hacked=1>'\"&{{7*7}}<!--"
)


def unpacked(page: Path, name: str) -> str:
    found = re.search(rf'<script type="text/plain" id="{name}">([^<]*)</script>', page.read_text())
    assert found, f"the page has no {name}"
    return zlib.decompress(base64.b64decode(found[1])).decode()


def problems(page: Path) -> list[list[Any]]:
    """Every problem's texts, from all parts."""
    count = len(json.loads(unpacked(page, "index"))["parts"])
    return [json.loads(line) for number in range(count) for line in unpacked(page, f"part{number}").split("\n")]


@pytest.mark.parametrize(
    ("why", "kinds"),
    [
        ("the last number is 18, wanted 24", ("the last number is …",)),
        ("the answer after '####' is 21, wanted 9", ("the answer after … is …",)),
        ("no number in the reply", ("no number in the reply",)),
        ("B read by the answer is (plain form), wanted C", ("… read by the answer is …",)),
        ("'Paris' is not 'Rome'", ("… is not …",)),
        (
            "1 of 3 followed; keywords:existence: missing keywords: lesson; detectable_format:title: title missing",
            ("keywords:existence", "detectable_format:title"),
        ),
        ("", ("…",)),
        ("score 4 of 5: the reply is about as helpful as the other but says less of it", ("score … of …",)),
    ],
)
def test_reasons_have_kinds(why: str, kinds: tuple[str, ...]) -> None:
    assert rules_of(why) == kinds


def test_what_is_flagged() -> None:
    assert flags_of(record("t", 1)) == ()
    assert flags_of(record("t", 1, finish="length", flags=["answer_list"])) == ("answer_list", "cut")
    assert flags_of(record("t", 1, response=" \n")) == ("empty",)
    assert flags_of(record("t", 1, response="", choices=[{"text": "a", "logprob": -1.0, "tokens": 1}])) == ()
    assert flags_of(record("t", 1, flags={"prompt_echo": "half of it"})) == ("prompt_echo",)


class Reader(HTMLParser):
    """Elements and attributes of a page; scripts that a browser would run."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def hostile(folder: Path) -> Path:
    fields = {
        "response": HOSTILE,
        "why": HOSTILE,
        "target": HOSTILE,
        "solution": HOSTILE,
        "flags": [HOSTILE],
        "category": HOSTILE,
    }
    turns = [{"role": HOSTILE, "content": HOSTILE}, {"role": "user", "content": HOSTILE}]
    settings = {"prefill": HOSTILE, "source": HOSTILE}
    found = [
        record(HOSTILE, 1, prompt=turns, **fields),
        record(HOSTILE, 2, choices=[{"text": HOSTILE, "logprob": -1.0, "tokens": 1}]),
    ]
    published = [{"score": 0.5, "model": HOSTILE, "url": "javascript:alert(1)", "settings": HOSTILE}]
    return write(folder, found, label=HOSTILE, settings=settings, published=published, metric=HOSTILE)


def test_texts_of_models_are_nowhere_markup(tmp_path: Path) -> None:
    a, b = hostile(tmp_path / "a"), hostile(tmp_path / "b")
    for page in (write_page(a), write_comparison(a, b, tmp_path / "both.html")):
        text = page.read_text()
        reader = Reader()
        reader.feed(text)
        names = [name for name, _ in reader.tags]
        assert "img" not in names
        assert not [
            value for _, attributes in reader.tags for name, value in attributes.items() if name.startswith("on")
        ]
        assert sum(name == "script" and "type" not in attributes for name, attributes in reader.tags) == 1
        assert "evil.example" not in re.sub(r"&lt;img src=https://evil.example", "", text)
        links = [attributes.get("href") for name, attributes in reader.tags if name == "a"]
        assert not any(link and link.startswith("javascript") for link in links)
        assert HOSTILE in json.dumps(problems(page)[0][5], ensure_ascii=False).replace('\\"', '"')


def test_the_policy_allows_the_pages_own_script_and_style_and_nothing_else(tmp_path: Path) -> None:
    text = write_page(write(tmp_path / "run", [record("sums", 1)])).read_text()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy
    for kind in ("script", "style"):
        body = re.search(rf"<{kind}>(.*?)</{kind}>", text, re.DOTALL)
        assert body
        digest = base64.b64encode(hashlib.sha256(body[1].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy[1]
    assert "default-src 'none'" in policy[1]
    assert "unsafe" not in policy[1]
    assert not re.findall(r'(?:src|href)="(?!#)[^"]*"', text)


TEXTS = st.text(st.characters(codec=None), max_size=60)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(replies=st.lists(st.tuples(TEXTS, TEXTS, st.sampled_from([None, 0.0, 0.5, 1.0])), min_size=1, max_size=6))
def test_every_text_comes_back(
    tmp_path_factory: pytest.TempPathFactory, replies: list[tuple[str, str, float | None]]
) -> None:
    """Whatever the characters, half surrogate pairs included: a browser reads `\\ud800` in JSON as the code unit it is."""
    records = [
        record("t", i, response=text, why=why, score=score, prompt=[{"role": "user", "content": why}])
        for i, (text, why, score) in enumerate(replies)
    ]
    collected = Collected([load(write(tmp_path_factory.mktemp("x") / "run", records))], ["t"])
    found = [json.loads(line) for part in collected.parts() for line in part.encode().decode().split("\n")]
    assert [(p[5][0][0], p[5][0][1], p[1][0][1]) for p in found] == [(text, why, why) for text, why, _ in replies]
    assert collected.index()["replies"]["score"] == [score for *_, score in replies]


def test_samples_and_turns_of_a_problem_stand_together_and_repeats_once(tmp_path: Path) -> None:
    """A problem that the benchmark has twice comes twice in samples.jsonl; the second turn has a prompt of its own."""
    later = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    some = [
        record("t", 1),
        record("t", 1, sample=1),
        record("t", 1, sample=1, turn=1, prompt=later),
        record("t", 2),
        record("t", 1),
    ]
    page = write_page(write(tmp_path / "run", some))
    index = json.loads(unpacked(page, "index"))
    assert index["problems"]["replies"] == [3, 1]
    assert (index["replies"]["sample"], index["replies"]["turn"]) == ([0, 1, 1, 0], [0, 0, 1, 0])
    assert [reply[2] for reply in problems(page)[0][5]] == [None, None, [[1, "a"], [2, "b"], [1, "c"]]]
    assert "1 reply stands for a problem that the benchmark has twice" in page.read_text()


def test_the_table_has_every_number(tmp_path: Path) -> None:
    """Two right of three graded: 66.7 with the interval ± 10."""
    some = [record("t", i, score=score, category="even") for i, score in enumerate([1.0, 0.0, 1.0, None])]
    published = [{"score": 0.8, "model": "someone", "url": "https://example.org/x", "settings": "5-shot"}]
    text = write_page(write(tmp_path / "run", some, cut_share=0.25, published=published, clusters=2)).read_text()
    for shown in (
        "66.7",
        "56.7 to 76.7",
        "25.0",
        "30.4 to 69.6",
        'href="https://example.org/x"',
        "5-shot",
        "in 2 clusters",
    ):
        assert shown in text, shown
    assert re.search(r'<td class="n warn">1</td>', text)
    assert "0 shots · in the chat template · greedy · at most 64 tokens · made r1" in text


def test_nothing_graded_is_no_zero(tmp_path: Path) -> None:
    text = write_page(write(tmp_path / "run", [record("t", 1, score=None, why="the judge did not answer")])).read_text()
    assert '<td class="n big">–</td>' in text
    assert '<rect class="fill"' not in text


def test_numbers_of_another_version_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "run", [record("t", 1, category="x")], by_category={"x": {"n": 1, "score": 0.5}})
    with pytest.raises(ArtifactError, match=r"run lacks a number .*another version of burnish wrote it"):
        write_page(folder)
    assert not list(folder.glob("*page.html*"))


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (lambda folder: (folder / "scores.json").unlink(), ArtifactError, "holds neither scores.json nor summary.json"),
        (lambda folder: (folder / "samples.jsonl").unlink(), ArtifactError, "has scores.json but no samples.jsonl"),
        (lambda folder: (folder / "samples.jsonl").write_text('{"task": "t", "id": "x"}\n'), ArtifactError, "line 1: no field 'prompt'.*another version"),
        (lambda folder: (folder / "samples.jsonl").write_text('{"task": \n'), DataError, "samples.jsonl, line 1: not valid JSON"),
        (lambda folder: (folder / "scores.json").write_text('{"rows": []}'), ArtifactError, "no rows of tasks; another version"),
    ],
)  # fmt: skip
def test_a_folder_that_is_no_evaluation_is_refused(
    tmp_path: Path, change: Any, error: type[Exception], said: str
) -> None:
    folder = write(tmp_path / "run", [record("t", 1)])
    change(folder)
    with pytest.raises(error, match=said):
        write_page(folder)
    assert not (folder / "page.html").exists()


def test_two_evaluations_without_a_common_task_are_refused(tmp_path: Path) -> None:
    a, b = write(tmp_path / "a", [record("sums", 1)]), write(tmp_path / "b", [record("words", 1)])
    with pytest.raises(ArtifactError, match="no task in common"):
        write_comparison(a, b, tmp_path / "both.html")


def test_the_page_is_the_same_each_time(tmp_path: Path) -> None:
    folder = write(tmp_path / "run", [record("t", i) for i in range(30)])
    assert write_page(folder).read_bytes() == write_page(folder, tmp_path / "again.html").read_bytes()


def test_burnish_eval_compare_writes_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Right are 0, 2 ... 10 against 0, 3, 6, 9: 2, 4, 8 and 10 lost, 3 and 9 gained; exact McNemar of 2 in 6: 44/64."""
    folders = [
        write(tmp_path / name, [record("t", i, score=float(i % step == 0)) for i in range(12)], label="same")
        for name, step in (("one", 2), ("two", 3))
    ]
    page = tmp_path / "both.html"
    assert main(["eval", "compare", *map(str, folders), "--page", str(page)]) == 0
    assert str(page) in capsys.readouterr().out
    assert "no difference shown (p 0.69)" in page.read_text()
    index = json.loads(unpacked(page, "index"))
    assert [side["label"] for side in index["sides"]] == ["same (one)", "same (two)"]


def test_clean_and_contaminated_problems_are_told_apart(tmp_path: Path) -> None:
    part = {"n": 2, "score": 0.25, "standard_error": 0.1, "interval": [0.05, 0.45], "clusters": 2}
    found = {"from": ["web"], "clean": part, "contaminated": None, "unknown": 7, "difference": None}
    text = write_page(
        write(tmp_path / "run", [record("t", 1, flags=["contaminated"])], contamination=found)
    ).read_text()
    assert "<b>25.0</b><br><small>5.0 to 45.0, n 2</small>" in text
    assert '<td class="n">7</td>' in text


def test_burnish_show_writes_the_page_of_a_recipes_evaluation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write(tmp_path / "runs" / "eval-sft-0123456789ab", [record("t", 1)])
    stage = {"class": "m:Evaluate", "version": 2, "fields": {}}
    cost = {"wall_s": 1.0, "cpu_s": 1.0, "peak_rss_bytes": 1, "sessions": 1}
    named = {
        "name": "eval-sft",
        "fingerprint": "0123456789ab",
        "stage": stage,
        "inputs": {},
        "provenance": {},
        "cost": cost,
    }
    (folder / "artifact.json").write_text(json.dumps(named))
    page = tmp_path / "sft.html"
    assert main(["show", "eval-sft", "--runs", str(tmp_path / "runs"), "--page", str(page)]) == 0, (
        capsys.readouterr().err
    )
    assert len(problems(page)) == 1


def test_burnish_eval_leaves_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "--engine", "gold", "--tasks", "arithmetic", "--limit", "3", "--out", str(tmp_path)]) == 0
    said = re.search(r"^Replies to look through: (.*page\.html)$", capsys.readouterr().out, re.MULTILINE)
    assert said
    assert len(problems(Path(said[1]))) == 3
