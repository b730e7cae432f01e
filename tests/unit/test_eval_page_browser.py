"""The page of an evaluation in a real browser: what a person sees and does, and that it asks the network for nothing."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import Chromium
from eval_folders import record, write

from burnish.core.fingerprint import content_id
from burnish.eval.compare import against
from burnish.report.eval_page import write_comparison, write_page


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    found = Chromium()
    yield found
    found.close()


@pytest.fixture(autouse=True)
def plain_window(browser: Chromium) -> None:
    browser.size(1280, 900)


def some(count: int = 120) -> list[dict[str, Any]]:
    """Two tasks; of each four replies one is right, one partly, one wrong and one ungraded; every tenth was cut."""
    kinds = [1.0, 0.5, 0.0, None]
    return [
        record(
            "sums" if i < count // 2 else "words", i, score=kinds[i % 4], category="even" if i % 2 == 0 else "odd",
            why=f"the last number is {i}, wanted {i}" if i % 3 else "no number in the reply", tokens=i,
            finish="length" if i % 10 == 0 else "stop", flags=["answer_list"] if i % 7 == 0 else [],
        )
        for i in range(count)
    ]  # fmt: skip


def listed(browser: Chromium) -> list[str]:
    """What the rows ask, once their texts are there."""
    browser.wait("[...document.querySelectorAll('#rows .reason')].every((row) => row.textContent.trim())")
    return list(browser.run("[...document.querySelectorAll('#rows .asked')].map((row) => row.textContent)"))


def shown(browser: Chromium) -> str:
    return str(browser.run("document.getElementById('detail').innerText"))


def told(browser: Chromium) -> str:
    return str(browser.run("document.getElementById('count').textContent"))


def open_problem(browser: Chromium, page: Path, task: str, number: int, more: str = "") -> None:
    browser.open(page, f"#open={task}%2F{content_id(task, number)}{more}")
    browser.wait("document.querySelector('#detail h3') !== null")


def choose(browser: Chromium, field: str, value: str) -> None:
    browser.run(
        f"(() => {{ const s = document.getElementById({field!r}); s.value = {value!r};"
        " s.dispatchEvent(new Event('change')); })()"
    )


def test_the_list_opens_sorted_in_pages_and_asks_the_network_for_nothing(browser: Chromium, tmp_path: Path) -> None:
    page = write_page(write(tmp_path / "run", some()))
    browser.open(page)
    assert told(browser) == "120 problems"
    rows = listed(browser)
    assert (len(rows), rows[0], rows[-1]) == (50, "What is number 0?", "What is number 49?")
    assert browser.run("document.getElementById('page').textContent") == "page 1 of 3"
    browser.run("document.getElementById('next').click()")
    browser.wait("document.getElementById('page').textContent === 'page 2 of 3'")
    assert listed(browser)[0] == "What is number 50?"
    choose(browser, "sort", "long")
    browser.wait("location.hash === '#sort=long'")
    assert listed(browser)[:2] == ["What is number 119?", "What is number 118?"]
    assert browser.requests == [page.resolve().as_uri()]
    assert browser.complaints == []


@pytest.mark.parametrize(
    ("fragment", "fits"),
    [
        ("verdict=right", lambda r: r["score"] == 1.0),
        ("verdict=ungraded", lambda r: r["score"] is None),
        ("task=words&verdict=partly", lambda r: r["task"] == "words" and r["score"] == 0.5),
        ("category=odd&flag=cut", lambda r: r["category"] == "odd" and r["finish"] == "length"),
        ("flag=answer_list", lambda r: bool(r["flags"])),
        ("rule=no+number+in+the+reply", lambda r: r["why"].startswith("no number")),
        (
            "find=number+11",
            lambda r: "number 11" in r["prompt"][0]["content"] or ("number is 11" in r["why"] and False),
        ),
        ("find=IT+IS+7", lambda r: "It is 7" in r["response"]),
        ("task=nothing&verdict=green&page=x", lambda r: True),
    ],
)
def test_filters_leave_what_fits(browser: Chromium, tmp_path: Path, fragment: str, fits: Any) -> None:
    """The address alone sets them, as in a link that somebody shared; names that the page does not know change nothing."""
    records = some()
    browser.open(write_page(write(tmp_path / "run", records)), f"#{fragment}")
    browser.wait("document.getElementById('progress').textContent === ''")
    wanted = [f"What is number {r['target']}?" for r in records if fits(r)]
    assert told(browser).startswith(f"{len(wanted)} ")
    assert listed(browser) == wanted[:50]


def test_a_choice_says_how_many_it_would_leave(browser: Chromium, tmp_path: Path) -> None:
    """Of 120, 60 are of the task sums; of those 15 are right; 6 were cut: 0, 10 ... 50; of these 0, 20 and 40 are right."""
    browser.open(write_page(write(tmp_path / "run", some())), "#task=sums")
    offered = "Object.fromEntries([...document.getElementById({!r}).options].map((o) => [o.value, o.textContent]))"
    assert browser.run(offered.format("verdict"))["right"] == "right (15)"
    assert browser.run(offered.format("task")) == {"": "all", "sums": "sums (60)", "words": "words (60)"}
    choose(browser, "flag", "cut")
    browser.wait("location.hash.includes('flag=cut')")
    assert told(browser) == "6 of 120 problems"
    assert browser.run(offered.format("verdict")) == {"": "all", "right": "right (3)", "wrong": "wrong (3)"}
    browser.run("document.getElementById('clear').click()")
    browser.wait("document.getElementById('count').textContent === '120 problems'")


def test_keys_walk_through_the_list_and_over_its_pages(browser: Chromium, tmp_path: Path) -> None:
    browser.open(write_page(write(tmp_path / "run", some())), "#page=1")
    for _ in range(3):
        browser.press("j")
    browser.wait("document.getElementById('detail').innerText.includes('number 2?')")
    browser.press("k")
    browser.wait("document.getElementById('detail').innerText.includes('number 1?')")
    assert browser.run("document.querySelectorAll('#rows [aria-current]').length") == 1
    browser.run(f"location.hash = '#open=sums%2F{content_id('sums', 49)}'")
    browser.wait("document.getElementById('detail').innerText.includes('number 49?')")
    browser.press("j")
    browser.wait("document.getElementById('page').textContent === 'page 2 of 3'")
    browser.wait("document.getElementById('detail').innerText.includes('number 50?')")
    browser.press("/")
    assert browser.run("document.activeElement.id") == "find"
    browser.press("j")  # a letter of what is looked for
    browser.wait("document.getElementById('find').value === 'j'")
    browser.press("Escape")
    browser.press("Escape")
    browser.wait("document.getElementById('detail').children.length === 0")


def test_a_problem_has_prompt_reply_mark_why_and_target(browser: Chromium, tmp_path: Path) -> None:
    turns = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "5 + 7?"}]
    one = record(
        "sums",
        1,
        prompt=turns,
        response="5 is not 12.\nSo 12, I say",
        why="the answer given is 12, wanted 12",
        target="12",
        solution="5 + 7 = 12",
    )
    page = write_page(write(tmp_path / "run", [one, record("sums", 2)], settings={"prefill": "Answer: "}))
    open_problem(browser, page, "sums", 1)
    text = shown(browser)
    for part in (
        "system",
        "Be short.",
        "5 + 7?",
        "✓ right",
        "5 tokens",
        "the answer given is 12, wanted 12",
        "Answer: 5 is not 12.",
        "Target",
    ):
        assert part in text, part
    marked = "[...document.querySelectorAll('#detail mark')].map((m) => [m.textContent, m.previousSibling.textContent])"
    assert browser.run(marked) == [["12", "5 is not 12.\nSo "]]
    assert browser.run("document.querySelector('#detail details pre').textContent") == "5 + 7 = 12"


@pytest.mark.parametrize(
    ("why", "reply", "mark"),
    [
        ("B read by the last letter (plain form), wanted C", "A or B? I say (B). About B-movies?", (25, 26)),
        ("'the end' read by the last line, wanted 'x'", "the end? the\nend", (9, 16)),
        ("stated after 'answer:': 'Paris', wanted 'Rome'", "Paris. answer: Paris!", (15, 20)),
        ("the last number is 1234, wanted 5", "1,234 or 91234", (0, 5)),
        ("the last number is 3, wanted 5", "3 and 13 and 3.5", (0, 1)),
        ("the last box holds '\\\\frac{1}{2}', wanted '2'", "\\boxed{\\frac{1}{2}}", (7, 18)),
        ("no number in the reply", "none", None),
        ("the reply is not JSON: line 1", "line 1", None),
    ],
)
def test_what_was_extracted_is_marked(
    browser: Chromium, tmp_path: Path, why: str, reply: str, mark: tuple[int, int] | None
) -> None:
    page = write_page(write(tmp_path / "run", [record("t", 1, why=why, response=reply)]))
    open_problem(browser, page, "t", 1)
    found = browser.run(
        "(() => { const m = document.querySelector('pre[aria-label=reply] mark');"
        " return m && [m.previousSibling ? m.previousSibling.textContent.length : 0, m.textContent.length]; })()"
    )
    assert found == (None if mark is None else [mark[0], mark[1] - mark[0]])


def test_a_verdict_that_names_the_place_is_believed(browser: Chromium, tmp_path: Path) -> None:
    page = write_page(write(tmp_path / "run", [record("t", 1, why="'7' it is", response="7 and 7", span=[0, 1])]))
    open_problem(browser, page, "t", 1)
    assert browser.run("document.querySelector('#detail mark').nextSibling.textContent") == " and 7"


HOSTILE = "</script><script>window.hacked=1</script><img src=https://evil.example/x onerror=window.hacked=1>\"'&"
STRANGE = "a\x1b[31mred\x1b[0m\u202eevil\u202c\x00\ud800z\u2028\u200b"


def test_hostile_texts_are_shown_as_texts(browser: Chromium, tmp_path: Path) -> None:
    fields: dict[str, Any] = {
        "prompt": [{"role": HOSTILE, "content": HOSTILE}, {"role": "user", "content": STRANGE}], "response": HOSTILE + STRANGE,
        "why": HOSTILE + STRANGE, "target": HOSTILE, "solution": HOSTILE, "category": HOSTILE + STRANGE, "flags": [HOSTILE],
    }  # fmt: skip
    page = write_page(write(tmp_path / "run", [record("t", 1, **fields), record("t", 2, **fields)], label=HOSTILE))
    browser.open(page, f"#open=t%2F{content_id('t', 1)}")
    browser.wait("document.querySelector('#detail h3') !== null")
    assert len(listed(browser)) == 2
    assert browser.run("document.querySelector('h1').textContent") == HOSTILE
    reply = "document.querySelector('pre[aria-label=reply]').textContent"
    names = "aESC[31mredESC[0mRLOevilPDFNULU+D800zU+2028ZWSP"
    assert browser.run(reply) == HOSTILE + names
    assert browser.run("document.querySelectorAll('img, main script, iframe').length") == 0
    assert browser.run("typeof window.hacked") == "undefined"
    assert browser.run(r"/[\u0000-\u0008\u001b\u202a-\u202e]/.test(document.body.innerText)") is False
    assert browser.requests == [page.resolve().as_uri()]
    assert browser.complaints == []


def test_samples_of_a_problem_stand_together_with_pass_at_k(browser: Chromium, tmp_path: Path) -> None:
    """4 samples, one right: pass@1 is 1/4, pass@2 is 1 - C(3,2)/C(4,2) = 1/2, pass@4 is 1."""
    samples = [record("code", 1, sample=i, score=float(i == 2), response=f"try {i}") for i in range(4)]
    page = write_page(write(tmp_path / "run", [*samples, record("code", 2)], settings={"samples": 4, "pass_at": 2}))
    open_problem(browser, page, "code", 1)
    assert told(browser) == "2 problems, 5 replies"
    assert "1 of 4 right · pass@1 25.0 % · pass@2 50.0 % · pass@4 100.0 %" in shown(browser)
    assert browser.run("[...document.querySelectorAll('.pip')].map((b) => b.textContent)") == [
        "✗ 1",
        "✗ 2",
        "✓ 3",
        "✗ 4",
    ]
    browser.run("document.querySelectorAll('.pip')[2].click()")
    browser.wait("document.querySelector('pre[aria-label=reply]').textContent === 'try 2'")
    assert browser.run("location.hash").endswith("reply=2")
    assert browser.run("document.querySelector('#rows .sign').textContent") == "1/4"


def test_later_turns_stand_below_with_what_was_asked(browser: Chromium, tmp_path: Path) -> None:
    first = [{"role": "user", "content": "Write a poem."}]
    second = [*first, {"role": "assistant", "content": "Roses."}, {"role": "user", "content": "Shorter!"}]
    turns = [
        record("mt", 1, prompt=first, response="Roses.", why="score 8"),
        record("mt", 1, turn=1, prompt=second, response="Rose.", why="score 9", score=0.5),
    ]
    open_problem(browser, write_page(write(tmp_path / "run", turns)), "mt", 1)
    blocks = browser.run("[...document.querySelectorAll('#detail pre')].map((pre) => pre.textContent)")
    assert blocks == ["Write a poem.", "Roses.", "Shorter!", "Rose.", "1"]


def test_choices_have_bars(browser: Chromium, tmp_path: Path) -> None:
    """Log-probabilities -1, -2 and -3: shares e^0, e^-1 and e^-2 of their sum."""
    choices = [{"text": f" {name}", "logprob": -1.0 - i, "tokens": 1, "greedy": i == 0} for i, name in enumerate("ABC")]
    target = json.dumps({"choices": ["A", "B", "C"], "right": [1]})
    one = record("mc", 1, response="", choices=choices, target=target, score=0.0, why="' A' is likeliest, wanted ' B'")
    open_problem(browser, write_page(write(tmp_path / "run", [one])), "mc", 1)
    total = sum(math.exp(-i) for i in range(3))
    rows = browser.run(
        "[...document.querySelectorAll('.choices tbody tr')].map((row) => row.innerText.replace(/\\s+/g, ' '))"
    )
    assert rows == [
        f"A ← likeliest -1.00 1 {100 / total:.1f}", f"B ✓ right -2.00 1 {100 * math.exp(-1) / total:.1f}", f"C -3.00 1 {100 * math.exp(-2) / total:.1f}",
    ]  # fmt: skip
    widths = browser.run("[...document.querySelectorAll('.bar-fill')].map((bar) => bar.getBoundingClientRect().width)")
    assert widths[0] / widths[1] == pytest.approx(math.e, rel=0.02)


def two(tmp_path: Path) -> tuple[Path, Path]:
    """Problems by i % 5: gained, lost, right in both, wrong in both, ungraded in the second; the second lacks problem 50."""
    before, after = [0.0, 1.0, 1.0, 0.0, 1.0], [1.0, 0.0, 1.0, 0.0, None]
    a = [record("sums", i, score=before[i % 5], response=f"It is old {i}.") for i in range(51)]
    b = [record("sums", i, score=after[i % 5], response=f"It is new and {i}.") for i in range(50)]
    return write(tmp_path / "a", a, label="before"), write(tmp_path / "b", [*b, record("more", 1)], label="after")


def test_two_models_stand_side_by_side(browser: Chromium, tmp_path: Path) -> None:
    a, b = two(tmp_path)
    found = against(a, [b])
    page = write_comparison(a, b, tmp_path / "both.html", found)
    text = page.read_text()
    (entry,) = found["comparisons"]
    assert f"{100 * entry['difference']:+.1f}" in text
    assert "Only one of the two has more." in text
    browser.open(page)
    cell = browser.run("document.querySelector('[data-moved]').textContent")
    assert cell == "10 gained · 10 lost · 10 both right · 10 neither · 11 not in both"
    for outcome in ("gained", "lost"):
        browser.run(f"location.hash = '#outcome={outcome}'")
        browser.wait(f"document.getElementById('outcome').value === {outcome!r}")
        ids = browser.run(
            "[...document.querySelectorAll('#rows a')].map((a) => new URLSearchParams(a.hash.slice(1)).get('open').slice(5))"
        )
        assert sorted(ids) == sorted(entry[outcome])
    open_problem(browser, page, "sums", 0)
    replies = "[...document.querySelectorAll('.side')].map((side) => side.innerText.replace(/\\s+/g, ' '))"
    first, second = browser.run(replies)
    assert first.startswith("before ✗ wrong 5 tokens")
    assert first.endswith("It is old 0.")
    assert second.startswith("after ✓ right 5 tokens")
    assert second.endswith("It is new and 0.")
    browser.run("document.getElementById('words').click()")
    browser.wait("document.querySelector('.changed') !== null")
    assert browser.run("[...document.querySelectorAll('.changed')].map((span) => span.textContent)") == ["new", "and"]
    assert browser.requests == [page.resolve().as_uri()]
    assert browser.complaints == []


def test_a_prompt_that_only_begins_like_the_others_shows_what_differs(browser: Chromium, tmp_path: Path) -> None:
    shots = "Question: one?\nAnswer: 1\n\n" * 40
    prompts = [[{"role": "user", "content": f"{shots}Question: {word}?"}] for word in ("apples", "pears")]
    page = write_page(write(tmp_path / "run", [record("t", i, prompt=prompt) for i, prompt in enumerate(prompts)]))
    browser.open(page)
    assert listed(browser) == ["…Question: apples?", "…Question: pears?"]
    open_problem(browser, page, "t", 0)
    assert browser.run("document.querySelector('.shared').textContent") == shots


# The least ratio of the luminances of text and its ground, over all texts on the page (WCAG 2 asks for 4.5).
CONTRAST = """(() => {
  const parts = (c) => c.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255).map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)).reduce((s, v, i) => s + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (e) => { for (; e; e = e.parentElement) { const c = parts(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] > 0) return c; } };
  let least = [99, ""];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const e = walk.currentNode.parentElement;
    if (!walk.currentNode.textContent.trim() || !e.checkVisibility() || e.closest("script, [disabled]")) continue;
    const [a, b] = [light(parts(getComputedStyle(e).color)), light(ground(e))].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < least[0]) least = [(a + 0.05) / (b + 0.05), e.outerHTML.slice(0, 120)];
  }
  return least;
})()"""


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [400, 1280])
def test_it_fits_the_screen_and_can_be_read(browser: Chromium, tmp_path: Path, width: int, dark: bool) -> None:
    long = record(
        "sums", 1, response="w" * 3000 + "\x1b", why="x" * 500, category="c" * 90, score=0.5, flags=["answer_list"]
    )
    a = write(tmp_path / "a", [long, *(record("sums", i, score=0.0) for i in range(2, 60))], label="m" * 80)
    b = write(tmp_path / "b", [record("sums", i, score=None) for i in range(1, 60)], label="other")
    for page in (write_page(a), write_comparison(a, b, tmp_path / "both.html", against(a, [b]))):
        browser.size(width, 900, dark=dark)
        open_problem(browser, page, "sums", 1)
        assert browser.run("document.documentElement.scrollWidth") <= width
        ratio, where = browser.run(CONTRAST)
        assert ratio >= 4.5, where
        fields = "[...document.querySelectorAll('select, input')].filter((f) => f.checkVisibility() && !f.labels.length).length"
        assert browser.run(fields) == 0
        listing = browser.run("document.querySelector('.list').checkVisibility()")
        assert listing is (width == 1280)  # on a narrow screen the problem takes the list's place


def test_a_file_cut_short_says_so(browser: Chromium, tmp_path: Path) -> None:
    page = write_page(write(tmp_path / "run", some()))
    text = page.read_text()
    at = text.index('id="index">') + 40
    page.write_text(text[:at] + "AAAA" + text[at + 4 :])
    browser._ask("Page.navigate", url=page.resolve().as_uri())
    browser.wait("document.getElementById('count')?.textContent.includes('cannot be read')")


@pytest.mark.slow
def test_fifty_thousand_replies_open_at_once(browser: Chromium, tmp_path: Path) -> None:
    """The limits are wide, for busy machines; docs/howto/look-at-evaluations.md has what was measured."""
    shots = "Question: what is it?\nAnswer: It is what it is.\n\n" * 60
    many = [
        record(f"task {i % 4}", i, prompt=[{"role": "user", "content": f"{shots}Question: {i}?"}], score=float(i % 3 == 0), response=f"words {i * 7919} " * 40 + ("needle" if i == 40_000 else ""))
        for i in range(50_000)
    ]  # fmt: skip
    page = write_page(write(tmp_path / "run", many))
    assert page.stat().st_size < (tmp_path / "run" / "samples.jsonl").stat().st_size / 4
    start = time.monotonic()
    browser.open(page)
    assert len(listed(browser)) == 50
    assert time.monotonic() - start < 10
    took = browser.run(
        "(async () => { const start = performance.now(); location.hash = '#verdict=right';"
        " while (!document.getElementById('count').textContent.startsWith('16,667 of')) await new Promise((go) => setTimeout(go));"
        " return performance.now() - start; })()"
    )
    assert took < 2_000
    browser.run("location.hash = '#find=needle'")
    browser.wait(
        "document.getElementById('count').textContent.startsWith('1 of') && !document.getElementById('progress').textContent",
        60,
    )
    assert listed(browser) == ["…Question: 40000?"]
