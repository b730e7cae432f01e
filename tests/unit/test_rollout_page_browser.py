"""The page of an RL run's replies in a real browser."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import Chromium
from rl_folders import rollout, write

from burnish.report.rollout_page import write_rollouts

HOSTILE = "</script><script>window.hacked=1</script><img src=https://evil.example/x onerror=window.hacked=1>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    found = Chromium()
    yield found
    found.close()


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """Thirty steps of two groups of four; the second source is ungraded now and then; hostile texts."""
    replies = [
        rollout(
            step, group, None if group and k == 3 else float(k < step // 8), text=f"reply {k} of {step} {HOSTILE}",
            source=f"source {group}", verifier="number" if group == 0 else "first", advantage=k - 1.5, tokens=step,
            finish="length" if k == 2 else "stop", flags={"prompt_echo": "half of it"} if k == 1 else {},
        )
        for step in range(1, 31) for group in range(2) for k in range(4)
    ]  # fmt: skip
    return write_rollouts(write(tmp_path / "rl-0123456789ab", replies), tmp_path / "p.html")


def choose(browser: Chromium, field: str, value: str) -> None:
    browser.run(
        f"(() => {{ const s = document.getElementById({field!r}); s.value = {value!r};"
        " s.dispatchEvent(new Event('change')); })()"
    )


def told(browser: Chromium) -> str:
    return str(browser.run("document.getElementById('count').textContent"))


def test_steps_sources_and_verifiers_choose(browser: Chromium, page: Path) -> None:
    browser.size(1280, 900)
    browser.open(page)
    assert told(browser) == "60 problems, 240 replies"
    labels = "[...document.querySelectorAll('#tools label')].filter((l) => l.checkVisibility()).map((l) => l.firstChild.textContent)"
    assert browser.run(labels)[:6] == ["Verifier", "Source", "Steps", "Verdict", "Reason", "Flag"]
    choose(browser, "step", "26 to 30")
    assert told(browser) == "10 of 60 problems, 40 replies"
    choose(browser, "category", "source 1")
    choose(browser, "verdict", "ungraded")
    assert told(browser) == "5 of 60 problems"
    assert browser.run("[...document.getElementById('task').options].map((o) => o.value)") == ["", "first"]
    assert "step=26+to+30" in browser.run("location.hash")


def test_a_group_has_a_button_for_each_reply_and_what_it_is_worth(browser: Chromium, page: Path) -> None:
    browser.open(page, "#step=26+to+30&category=source+0")
    browser.run("document.querySelector('#rows a').click()")
    browser.wait("document.querySelector('#detail h3') !== null")
    shown = browser.run("document.getElementById('detail').innerText")
    assert "3 of 4 right" in shown
    assert "step 26 · advantage -1.500 · 26 tokens" in shown
    assert HOSTILE in browser.run("document.querySelector('pre[aria-label=reply]').textContent")
    browser.run("document.querySelectorAll('.pip')[1].click()")
    browser.wait("document.getElementById('detail').innerText.includes('advantage -0.500')")
    assert "half of it" in browser.run("document.getElementById('detail').innerText")
    assert browser.run("window.hacked === undefined")
    assert browser.requests == [page.resolve().as_uri()]
    assert browser.complaints == []


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [400, 1280])
def test_it_fits_the_screen(browser: Chromium, page: Path, width: int, dark: bool) -> None:
    browser.size(width, 900, dark=dark)
    browser.open(page)
    assert browser.run("document.documentElement.scrollWidth") <= width


@pytest.mark.slow
def test_fifty_thousand_replies_open_at_once(browser: Chromium, tmp_path: Path) -> None:
    """The limits are wide, for busy machines; docs/howto/watch-a-run.md has what was measured."""
    replies = [
        rollout(step, group, float(k % 3 == 0), text=f"words {step * 7919 + k} " * 40 + ("needle" if (step, group, k) == (300, 3, 3) else ""))
        for step in range(1, 392) for group in range(16) for k in range(8)
    ]  # fmt: skip
    assert len(replies) > 50_000
    page = write_rollouts(write(tmp_path / "rl-0123456789ab", replies), tmp_path / "p.html")
    start = time.monotonic()
    browser.size(1280, 900)
    browser.open(page)
    browser.wait("[...document.querySelectorAll('#rows .reason')].every((row) => row.textContent.trim())")
    assert time.monotonic() - start < 10
    took = browser.run(
        "(async () => { const start = performance.now(); location.hash = '#verdict=right&step=351+to+400';"
        " while (!document.getElementById('count').textContent.startsWith('656 of')) await new Promise((go) => setTimeout(go));"
        " return performance.now() - start; })()"
    )
    assert took < 2_000
    browser.run("location.hash = '#find=needle'")
    browser.wait(
        "document.getElementById('count').textContent.startsWith('1 of') && !document.getElementById('progress').textContent",
        60,
    )
