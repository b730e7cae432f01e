"""`burnish data …`: what is meant, what is shown, what is said about mistakes."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.cli import main
from burnish.cli.data import HELP
from burnish.core.types import Check, Demo, Message, Pair, Problem, Rated, Row, user
from burnish.data.dataset import Dropped, write_dataset
from burnish.data.differences import COPIES, NOT_THERE, Side, differences
from burnish.data.search import pattern, search
from burnish.data.shown import around, block, one_line, parts, short, visible
from burnish.data.source import Source
from burnish.data.sources.catalogue import sources
from burnish.errors import RecipeError


def demo(question: str, answer: str = "yes", **kwargs: Any) -> Demo:
    return Demo((*user(question), Message("assistant", answer)), **{"source": "talks", "licence": "MIT", **kwargs})


def call(capsys: Any, *words: object) -> tuple[int, str, str]:
    code = main([str(word) for word in ("data", *words)])
    return code, *capsys.readouterr()


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """old: 5 rows. new: one of them mended, one dropped, one left out, one with a note, one as it was; and one more."""
    monkeypatch.chdir(tmp_path)
    one, two, three, four, five = (demo(f"question {i}?", f"answer number {i}") for i in "12345")
    write_dataset(tmp_path / "old", [one, two, three, four, five])
    mended = demo("question 2?", "a better answer", lineage=("talks@1", f"mended:{two.id}"))
    noted = demo("question 4?", "answer number 4", annotations={"score": 3})
    new = [one, mended, noted, demo("question 6?")]
    write_dataset(tmp_path / "new", new, dropped=[Dropped(three, "MaxWords", "longer than 2 words", "answer number 3")])
    return tmp_path


def test_help_and_unknown_commands(capsys: Any) -> None:
    for words in ((), ("--help",), ("-h",)):
        assert call(capsys, *words) == (0, HELP + "\n", "")
    assert max(map(len, HELP.splitlines())) <= 80
    code, _, err = call(capsys, "serch", "x")
    assert code == 2
    assert "burnish data serch: no such command. Did you mean 'search'? Known: card, diff, search, show, stats." in err
    for command in ("show", "stats", "diff", "search", "card"):
        assert f"burnish data {command}" in HELP
        with pytest.raises(SystemExit) as end:
            main(["data", command, "--help"])
        assert end.value.code == 0
        assert f"usage: burnish data {command}" in capsys.readouterr().out


def test_looking_loads_no_model_library() -> None:
    code = "import sys; from burnish.cli import main; main(['data', 'stats', 'instructions/train', '--languages', '0']); print({'torch', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith("set()")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("show", "gsm8k/trian"), "no file or folder, no artifact in runs, and no named source. Did you mean 'gsm8k/train'?"),
        (("show", "rows.jsonl"), "'rows.jsonl' is no file or folder, no artifact in runs, and no named source."),
        (("show", "old", "0"), "0 rows cannot be shown."),
        (("show", "old", "--row", "0" * 16), f"row '{'0' * 16}' is not in dataset old."),
        (("show", "old", "--rwo", "x"), "'--rwo' is not a flag here. Did you mean '--row'?"),
        (("show", "new", "--dropped", "Maxword"), "no row of dataset new was dropped by 'Maxword'. Did you mean 'MaxWords'?"),
        (("show", "some.jsonl", "--dropped"), "some.jsonl is no dataset, so nothing was dropped from it."),
        (("show", "some.jsonl", "--columns", "prompt"), "--columns 'prompt': 'prompt' does not say which column is meant."),
        (("show", "half"), "half is not a finished dataset: card.json missing"),
        (("card", "some.jsonl"), "some.jsonl: a card tells how a dataset was made"),
        (("search", "old", "(", "--regex"), "'(' is not a regular expression: missing )"),
        (("search", "old", ""), "the text to look for is empty."),
        (("stats", "old", "--tokenizer", "nowhere"), "there is no nowhere, so tokens cannot be counted."),
        (("diff", "old", "nwe"), "'nwe' is no file or folder"),
        (("show", "gsm8k/train", "--data", "nowhere"), "--data nowhere: no such folder."),
        (("show", "broken.jsonl.gz"), "broken.jsonl.gz"),
        (("show", "strange.jsonl"), "strange.jsonl"),
        (("show", "none*.jsonl"), "none*.jsonl"),
    ],
)  # fmt: skip
def test_mistakes_are_one_message(words: tuple[str, ...], text: str, capsys: Any, folders: Path) -> None:
    Path("some.jsonl").write_text('{"prompt": "p", "completion": "c"}\n')
    Path("broken.jsonl.gz").write_bytes(b"not gzip")
    Path("strange.jsonl").write_text('{"x": 1}\n')
    Path("half").mkdir()
    Path("half/rows.parquet").write_bytes(Path("old/rows.parquet").read_bytes())
    code, out, err = call(capsys, *words)
    assert (code, out) == (2, "")
    assert text in err
    assert "Traceback" not in err


def test_files_say_how_they_are_read_and_which_records_are_broken(capsys: Any, folders: Path) -> None:
    lines = [json.dumps({"instruction": f"do {i}", "input": "", "output": f"done {i}"}) for i in range(5)]
    lines.insert(2, '{"instruction": "x", "output": 5}')
    lines.insert(4, "not json")
    Path("own.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    code, out, _ = call(capsys, "show", "own.jsonl.gz", "2")
    assert code == 0
    assert out.splitlines()[1].startswith("read as alpaca")
    assert ("do 0" in out, "do 1" in out, "do 2" in out) == (True, True, False)
    code, out, _ = call(capsys, "stats", "own.jsonl.gz", "--languages", "0")
    assert "2 records could not be read as rows:" in out
    code, out, _ = call(capsys, "stats", "own.jsonl.gz", "--languages", "0", "--json")
    found = json.loads(out)
    assert (found["all"]["rows"], sum(found["broken"].values())) == (5, 2)
    assert found["files"][0]["layout"] == "alpaca"
    code, out, _ = call(capsys, "show", "own.jsonl.gz", "9", "--json")
    assert len(json.loads(out)["rows"]) == 5


def test_rows_of_a_dataset(capsys: Any, folders: Path) -> None:
    _, out, _ = call(capsys, "show", "new", "1")
    assert "4 rows" in out
    assert "1  dropped: longer than 2 words" in out
    assert "    answer number 1" in out
    assert "question 6?" not in out
    three = demo("question 3?", "answer number 3")
    _, out, _ = call(capsys, "show", "new", "--row", three.id)
    assert "dropped in dataset new" in out
    assert "  dropped by MaxWords: longer than 2 words  [answer number 3]" in out
    _, out, _ = call(capsys, "show", "old", "--row", three.id, "--json")
    assert json.loads(out)["state"] == "kept"
    for words in (("--dropped",), ("--dropped", "MaxWords")):
        _, out, _ = call(capsys, "show", "new", *words)
        assert "MaxWords: longer than 2 words  [answer number 3]" in out
    _, out, _ = call(capsys, "show", "new", "--dropped", "--json")
    assert [each["rule"] for each in json.loads(out)] == ["MaxWords"]
    assert "no row was dropped from dataset old" in call(capsys, "show", "old", "--dropped")[1]
    drawn = [json.loads(call(capsys, "show", "old", "2", "--seed", seed, "--json")[1])["rows"] for seed in (0, 0, 1, 2)]
    assert drawn[0] == drawn[1]
    assert any(drawn[0] != other for other in drawn[2:])


def test_what_came_and_went(capsys: Any, folders: Path) -> None:
    """Of 5 rows 2 are as they were (one with a note), 3 went: mended, dropped, left out. 2 came: the mended one and the sixth."""
    one, two, three, four, five = (demo(f"question {i}?", f"answer number {i}") for i in "12345")
    code, out, _ = call(capsys, "diff", "old", "new", "--json")
    assert code == 0
    found = json.loads(out)
    assert (found["rows_a"], found["rows_b"], found["same"]) == (5, 4, 2)
    went = {group["why"]: [example["id"] for example in group["examples"]] for group in found["went"]}
    assert went == {"mended": [two.id], "MaxWords: longer than 2 words": [three.id], NOT_THERE: [five.id]}
    came = {group["why"]: group["examples"][0] for group in found["came"]}
    assert set(came) == {"mended", NOT_THERE}
    assert came["mended"]["other"] == two.id
    assert [(g["source"], g["why"], g["rows"], g["examples"][0]["id"]) for g in found["noted"]] == [
        ("talks", "annotation score", 1, four.id)
    ]
    assert one.id not in out
    text = call(capsys, "diff", "old", "new")[1]
    assert "3 went (in A, not in B)" in text
    assert "[answer number 3]  question 3? / answer number 3" in text
    same = call(capsys, "diff", "old", "old")[1]
    assert "0 went" in same
    assert "5 rows in both" in same


ROWS = st.lists(st.sampled_from("abcdef"), max_size=12)


@settings(max_examples=100, deadline=None)
@given(ROWS, ROWS)
def test_differences_add_up(old: list[str], new: list[str]) -> None:
    """|A| = same + went and |B| = same + came, copies counted; the other way round went and came change places."""

    def side(texts: list[str]) -> Side:
        return Side("x", lambda: iter([demo(text) for text in texts]))

    found, back = differences(side(old), side(new)), differences(side(new), side(old))
    went, came = (sum(group.rows for group in groups) for groups in (found.went, found.came))
    assert found.same + went == len(old)
    assert found.same + came == len(new)
    assert {(g.source, g.why, g.rows) for g in found.went} == {(g.source, g.why, g.rows) for g in back.came}
    assert any(g.why == COPIES for g in found.went) == any(0 < new.count(t) < old.count(t) for t in set(old))
    assert found.noted == ()


def test_search_shows_matches_in_their_turn(capsys: Any, folders: Path) -> None:
    code, out, _ = call(capsys, "search", "old", "NUMBER 3")
    assert code == 0
    assert "  2 assistant: answer [number 3]" in out
    assert "1 matches in 1 of 5 rows of old" in out
    assert "0 matches in 0 of 5 rows" in call(capsys, "search", "old", "NUMBER 3", "--case")[1]
    assert "0 matches" in call(capsys, "search", "old", "number .")[1]
    code, out, _ = call(capsys, "search", "old", "number .|question", "--regex", "--limit", "1", "--json")
    found = json.loads(out)
    assert (found["rows"], found["matches"], len(found["shown"])) == (5, 10, 1)
    assert [(h["turn"], h["part"], h["match"]) for h in found["shown"][0]["hits"]] == [
        (1, "user", "question"),
        (2, "assistant", "number 1"),
    ]
    assert "(4 rows not shown: --limit)" in call(capsys, "search", "old", "number", "--limit", "1")[1]


def test_search_reaches_every_part_of_every_kind() -> None:
    rows: list[Row] = [
        Pair(user("x"), "a needle", "b needle"), Rated(user("needle"), "r", False),
        Problem(user("p"), Check("v", "needle 7"), "the needle"),
    ]  # fmt: skip
    found = [[(hit.part, hit.turn) for hit in hits] for _, hits in search(rows, pattern("needle"))]
    assert found == [[("chosen", 2), ("rejected", 3)], [("user", 1)], [("solution", 2), ("target for v", 3)]]
    assert list(search(rows, pattern("z*", regex=True))) == []
    with pytest.raises(RecipeError, match="is not a regular expression"):
        pattern("a{99999999999}", regex=True)


ANY = st.text(st.characters(codec=None), max_size=60)


@settings(max_examples=200, deadline=None)
@given(ANY, ANY, st.integers(0, 30))
def test_nothing_that_is_shown_can_play_tricks(text: str, note: str, most: int) -> None:
    """No escape sequence, no turned direction, nothing that UTF-8 cannot hold; every line of a part is indented."""
    row = demo(text, note, source=note, annotations={note: [text]})
    shown = block(row, 60, most)
    shown.encode()
    assert not any(c in shown for c in "\x1b\x07\r\x00\u202e\u2028\u2066\x9b")
    body = shown.split("\n  user\n")[1].split("\n  assistant\n")[0]
    assert all(line.startswith("    ") for line in body.split("\n"))
    assert "\n" not in one_line(text, 20)
    assert len(one_line(text, 20)) <= 20
    assert visible(visible(text)) == visible(text)


@given(ANY, st.data())
def test_a_match_is_shown_in_its_place(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    before, match, after = around(text, start, end, 5)
    assert (before.startswith("… "), after.endswith(" …")) == (
        start > 5 or text[:start].startswith("… "),
        end + 5 < len(text) or text[end:].endswith(" …"),
    )
    assert "\n" not in before + match + after


def test_long_texts_are_cut_in_the_middle_and_say_so() -> None:
    text = "a" * 1000 + "b" * 1000
    cut = short(text, 300)
    assert cut == "a" * 200 + " … 1,700 characters … " + "b" * 100
    assert short("a" * 330, 300) == "a" * 330
    assert "1,700 characters" in block(demo(text), most=300)
    assert "1,700 characters" not in block(demo(text), most=0)
    assert [name for name, _ in parts(Rated(user("q"), "r", True))] == ["user", "assistant, good"]


def test_lone_surrogates_do_not_stop_json(capsys: Any, folders: Path) -> None:
    write_dataset(folders / "odd", [demo("a \ud800 b")])
    code, out, _ = call(capsys, "show", "odd", "--json")
    assert code == 0
    assert json.loads(out)["rows"][0]["messages"][0]["content"] == "a \ud800 b"
    assert "a \\ud800 b" in call(capsys, "show", "odd")[1]


def test_cards_are_printed_or_written(capsys: Any, folders: Path) -> None:
    _, out, _ = call(capsys, "card", "new", "--languages", "0")
    assert out.startswith('---\npretty_name: "new"\nlicense: "mit"\n')
    assert call(capsys, "card", "new", "--languages", "0", "--out", "README.md")[1] == ""
    assert Path("README.md").read_text() == out
    _, printed, _ = call(capsys, "card", "new", "--languages", "0", "--json")
    call(capsys, "card", "new", "--languages", "0", "--json", "--out", "card.json")
    assert json.loads(Path("card.json").read_text()) == json.loads(printed)


def test_every_named_source_is_one(data_dir: Path, capsys: Any) -> None:
    every = sources()
    assert len(every) > 40
    assert all(isinstance(source, Source) for source in every.values())
    assert every["gsm8k/train/demos"] != every["gsm8k/train"]
    _, out, _ = call(capsys, "show", "gsm8k/train", "1", "--data", data_dir)
    assert "Natalia sold clips to 48 of her friends" in out
    assert "    #### 72\n" in out
    _, out, _ = call(capsys, "search", "hh_rlhf/helpful-base", "turkeys", "--data", data_dir, "--json")
    found = json.loads(out)
    assert found["rows_read"] + sum(found["broken"].values()) == 2354


def test_artifacts_are_found_as_show_finds_them(capsys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    Path("mixed.py").write_text(
        "from burnish.data.curate import Curate, Take\nfrom burnish.data.sources.instructions import Instructions\n"
        "from burnish.data.sources.worked import Worked\n\n\ndef recipe(*, n: int = 5) -> Curate:\n"
        '    return Curate((Take(Worked(Instructions("train", n))),), label="mix")\n'
    )
    for n in ("5", "6"):
        assert main(["run", "mixed.py", "--n", n]) == 0
    capsys.readouterr()
    code, out, err = call(capsys, "show", "mix")
    assert (code, out) == (2, "")
    assert "'mix' could mean 2 artifacts. Name one:" in err
    names = sorted(folder.name for folder in Path("runs").iterdir() if folder.name.startswith("mix-"))
    first, second = sorted(names, key=lambda name: json.loads((Path("runs") / name / "card.json").read_text())["rows"])
    code, out, _ = call(capsys, "diff", first.replace("mix-", "mix@"), f"runs/{second}", "--json")
    found = json.loads(out)
    assert (found["same"], found["went"], [g["rows"] for g in found["came"]]) == (5, [], [1])
    card = call(capsys, "card", first)[1]
    assert f"Artifact `{first.replace('mix-', 'mix@')}`" in card
    assert '"class": "burnish.data.curate:Curate"' in card


def test_every_file_of_a_folder_is_a_source_of_its_own(capsys: Any, folders: Path) -> None:
    for name, n in (("set/a/part.jsonl", 2), ("set/b/part.jsonl", 3)):
        Path(name).parent.mkdir(parents=True)
        lines = [json.dumps({"prompt": f"{name} {i}", "completion": "c"}) for i in range(n)]
        Path(name).write_text("\n".join([*lines, "broken"]) + "\n")
    for what in ("set", "set/*/part.jsonl"):
        code, out, _ = call(capsys, "stats", what, "--languages", "0")
        assert code == 0
        assert re.search(r"^a/part\.jsonl +2 ", out, re.MULTILINE)
        assert re.search(r"^b/part\.jsonl +3 ", out, re.MULTILINE)
        assert "  b/part.jsonl, line 4, character 1: not valid JSON" in out
    assert "2 records could not be read as rows" in call(capsys, "search", "set", "a/")[1]
