"""`burnish generate` on the toy model: what is read, what is written, what a kill costs, and every mistake of a new user."""

from __future__ import annotations

import gzip
import io
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from judge_server import Say, asked, serving

from burnish.cli.main import main
from burnish.core.types import Completion, Message, user
from burnish.errors import ArtifactError
from burnish.model.policy import Policy
from burnish.model.toy import make_toy
from burnish.pipeline.machine import exact
from burnish.pipeline.progress import Console
from burnish.rollout.engine import Sampling
from burnish.rollout.generate import Settings, from_engine, generate, reply_file
from burnish.rollout.prompt_rows import read_prompts
from burnish.rollout.torch_engine import TorchEngine

torch.set_num_threads(1)
MACHINE = replace(exact(), slots=3)
TURNS = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    make_toy(folder / "model")
    return folder


def call(capsys: Any, model: Path | str, *words: Any) -> tuple[int, list[dict[str, Any]], str]:
    """Exit code, the replies on standard output, and what was said besides."""
    code = main(["generate", str(model), *map(str, words), "--machine", "exact"])
    out, err = capsys.readouterr()
    return code, [json.loads(line) for line in out.splitlines()], err


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows))
    return path


def test_rows_are_read_in_every_form() -> None:
    lines = [
        b'\xef\xbb\xbf{"prompt": "one"}\n', b"\n", b'{"id": 7, "messages": ' + json.dumps(TURNS).encode() + b"}\n",
        b'  {"prompt": "one", "answer": 3}\n', b'{"id": "x", "prompt": "two"}', b'"three"',
    ]  # fmt: skip
    found = read_prompts(lines, "json", system="Be brief.")
    assert [(p.row, p.id) for p in found.prompts[1:3]] == [(3, "7"), (5, "x")]
    assert found.prompts[0].prompt == (Message("system", "Be brief."), *user("one"))
    assert found.prompts[3].prompt == (Message("system", "Be brief."), *user("three"))
    assert len(found.prompts[1].prompt) == 4
    assert (found.repeated, found.broken) == ((4,), ())
    system = [{"role": "system", "content": "s"}, *TURNS]
    (own,) = read_prompts([json.dumps({"prompt": system}).encode()], "json", system="Be brief.").prompts
    assert isinstance(own.prompt[0], Message)
    assert own.prompt[0].content == "s"
    assert [p.prompt for p in read_prompts([b"{x", b"y"], "text").prompts] == [user("{x"), user("y")]
    assert [p.prompt for p in read_prompts([b'{"prompt": "x"}', b"y"], "either", raw=True).prompts] == ["x", "y"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"{bad", "not valid JSON"),
        (b"plain", "not valid JSON"),
        (b"[1]", 'expected {"prompt"'),
        (b"{}", "found only nothing"),
        (b'{"text": "x"}', "found only 'text'"),
        (b'{"prompt": "x", "messages": []}', "found both prompt and messages"),
        (b'{"prompt": ""}', "prompt is empty"),
        (b'{"prompt": 3}', "prompt: expected text or a list"),
        (b'{"messages": [{"role": "tool", "content": "x"}]}', "expected system, user or assistant, got 'tool'"),
        (b'{"messages": [{"role": "assistant", "content": "x"}]}', "the last turn is the assistant's"),
        (b'{"id": [1], "prompt": "x"}', "id: expected text or a number"),
        (b'{"id": true, "prompt": "x"}', "id: expected text or a number"),
        (b'{"id": "a", "prompt": "x"}', "the id 'a' belongs to another prompt, that of row 1"),
        (b"\xff", "not UTF-8"),
    ],
)
def test_a_broken_row_is_told_and_the_others_are_read(line: bytes, said: str) -> None:
    found = read_prompts([b'{"id": "a", "prompt": "first"}', line, b'{"prompt": "last"}'], "json")
    assert [p.row for p in found.prompts] == [1, 3]
    ((row, why),) = found.broken
    assert row == 2
    assert said in why


def test_replies_on_standard_output_and_in_a_file(model: Path, tmp_path: Path, capsys: Any) -> None:
    """Three prompts, one asked twice and two rows broken: n replies to each, the broken ones by number, exit code 1."""
    prompts = write(
        tmp_path / "p.jsonl", {"prompt": "How many?", "id": "q"}, {"messages": TURNS}, "{no\n", {"prompt": "a"}, {"prompt": "a"},
        {"prompt": "the " * 3000},
    )  # fmt: skip
    code, found, said = call(capsys, model, prompts, "--n", 2, "--max-tokens", 8)
    assert code == 1
    assert [(r["id"] == "q", r["k"]) for r in sorted(found, key=lambda r: (r["id"] != "q", r["id"], r["k"]))] == [
        (True, 0), (True, 1), (False, 0), (False, 1), (False, 0), (False, 1)
    ]  # fmt: skip
    assert all(set(r) == {"id", "k", "response", "finish", "tokens"} and r["tokens"] <= 8 for r in found)
    assert "6 replies to 4 prompts" in said
    assert "1 row not asked:\n    row 3: not valid JSON" in said
    assert "Repeated, with one set of replies: row 5" in said
    assert "row 6: a prompt of 3,0" in said
    assert "the model's context is 2,048: it alone is too long" in said
    out = tmp_path / "new" / "out.jsonl"
    code, nothing, _ = call(capsys, model, prompts, "--n", 2, "--max-tokens", 8, "--out", out)
    assert (code, nothing) == (1, [])
    assert sorted(records(out), key=str) == sorted(found, key=str)


class Counted(TorchEngine):
    """Counts the requests it gets, and is killed after some replies."""

    asked = 0
    killed_after = 1 << 30

    def generate(self, requests: Any, on_finish: Any = None, on_text: Any = None) -> list[Completion]:
        Counted.asked += len(requests)
        ended = 0

        def finish(index: int, completion: Completion) -> None:
            nonlocal ended
            on_finish(index, completion)
            ended += 1
            if ended == Counted.killed_after:
                raise KeyboardInterrupt

        return super().generate(requests, finish, on_text)


def test_a_kill_costs_what_was_not_written(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after 3 of 8 replies, the fourth's line half written; then 5 are asked and the file is that of a whole run. More
    replies to each prompt later ask for the new ones alone."""
    policy = Policy.load(model / "model", MACHINE)
    settings = Settings("m", "torch", Sampling(max_tokens=9))
    prompts = read_prompts([b'{"prompt": "%d"}' % i for i in range(4)], "json").prompts
    quiet = Console(quiet=True)

    def run(path: Path, n: int) -> None:
        with reply_file(path, settings, io.StringIO()) as file:
            source = from_engine(Counted(policy, MACHINE), policy.renderer, policy.context, settings)
            assert generate(prompts, n, file, lambda: source, quiet) == []

    run(tmp_path / "whole", 2)
    assert Counted.asked == 8
    monkeypatch.setattr(Counted, "killed_after", 3)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", 2)
    monkeypatch.setattr(Counted, "killed_after", 1 << 30)
    assert len(records(tmp_path / "killed")) == 3
    with (tmp_path / "killed").open("a") as file:
        file.write('{"id": "half')
    Counted.asked = 0
    run(tmp_path / "killed", 2)
    assert Counted.asked == 5
    assert sorted(records(tmp_path / "killed"), key=str) == sorted(records(tmp_path / "whole"), key=str)
    run(tmp_path / "killed", 2)
    assert Counted.asked == 5
    run(tmp_path / "killed", 3)
    assert Counted.asked == 5 + 4
    run(tmp_path / "whole", 3)
    assert sorted(records(tmp_path / "killed"), key=str) == sorted(records(tmp_path / "whole"), key=str)
    with reply_file(tmp_path / "whole", settings, io.StringIO()), pytest.raises(ArtifactError, match="another run"):
        run(tmp_path / "whole", 3)


def test_other_settings_in_one_file_are_refused(model: Path, tmp_path: Path, capsys: Any) -> None:
    prompts, out = write(tmp_path / "p.txt", "a\nb\n"), tmp_path / "o.jsonl"
    assert call(capsys, model, prompts, "--max-tokens", 5, "--out", out)[0] == 0
    kept = out.read_bytes()
    code, _, said = call(capsys, model, prompts, "--max-tokens", 5, "--min-p", 0.1, "--seed", 3, "--out", out)
    assert code == 2
    assert "sampling.min_p: 0.0 there, 0.1 here\n  seed: 0 there, 3 here" in said
    code, _, said = call(capsys, model, prompts, "--engine", "hf", "--max-tokens", 5, "--out", out)
    assert "engine: 'torch' there, 'hf' here" in said
    make_toy(tmp_path / "other" / "model", seed=3)
    assert "model: " in call(capsys, tmp_path / "other", prompts, "--max-tokens", 5, "--out", out)[2]
    assert "nothing is overwritten" in call(capsys, model, prompts, "--out", prompts)[2]
    assert out.read_bytes() == kept
    assert call(capsys, model, prompts, "--max-tokens", 5, "--out", out)[0] == 0
    out.write_text("[1]\n")
    assert "a line that is no reply of this command" in call(capsys, model, prompts, "--max-tokens", 5, "--out", out)[2]


def test_every_setting_reaches_the_engine(model: Path, tmp_path: Path, capsys: Any) -> None:
    policy = Policy.load(model / "model", MACHINE)
    prompts = write(tmp_path / "p.jsonl", {"prompt": "How many apples?"})
    words = (prompts, "--max-tokens", 12, "--logprobs")
    (plain,) = call(capsys, model, *words)[1]
    assert policy.renderer.decode(plain["token_ids"]) == plain["response"]
    assert len(plain["logprobs"]) == len(plain["token_ids"]) == plain["tokens"]
    (begun,) = call(capsys, model, *words, "--begin", "Two apples", "--min-tokens", 12)[1]
    assert begun["response"].startswith("Two apples")
    assert begun["tokens"] == 12 < len(begun["token_ids"])
    token = plain["token_ids"][2]
    (biased,) = call(capsys, model, *words, "--logit-bias", f"{token}=100")[1]
    assert set(biased["token_ids"]) == {token}
    (ended,) = call(capsys, model, *words, "--stop-ids", token)[1]
    assert ended["token_ids"] == plain["token_ids"][:3]
    greedy = [call(capsys, model, *words, *more)[1][0]["token_ids"] for more in (("--temperature", 0), ("--min-p", 1))]
    assert greedy[0] == greedy[1]
    penalised = call(capsys, model, *words, "--temperature", 0, "--repetition-penalty", 50)[1][0]["token_ids"]
    assert penalised != greedy[0]
    cut = plain["response"][4]
    assert cut not in call(capsys, model, *words, "--stop", cut)[1][0]["response"]
    texts = {
        tuple(call(capsys, model, *words, *more)[1][0]["token_ids"])
        for more in ((), ("--seed", 5), ("--top-k", 3), ("--top-p", 0.3), ("--system", "Be brief."), ("--raw",))
    }
    assert len(texts) == 6


def test_standard_input_and_compressed_files(model: Path, tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    class Piped:
        def __init__(self, raw: bytes) -> None:
            self.buffer = io.BytesIO(raw)

        def isatty(self) -> bool:
            return False

    answers = []
    for words in ((), ("-",)):
        monkeypatch.setattr(sys, "stdin", Piped(b'hello\n{"prompt": "b", "id": "b"}\n'))
        code, found, _ = call(capsys, model, *words, "--max-tokens", 4)
        assert code == 0
        answers.append(sorted(found, key=str))
    with gzip.open(tmp_path / "p.jsonl.gz", "wb") as file:
        file.write(b'{"prompt": "hello"}\n{"prompt": "b", "id": "b"}\n')
    answers.append(sorted(call(capsys, model, tmp_path / "p.jsonl.gz", "--max-tokens", 4)[1], key=str))
    assert answers[0] == answers[1] == answers[2]
    monkeypatch.setattr(sys, "stdin", Piped(b"\n\n"))
    assert "Standard input has no prompts" in call(capsys, model)[2]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("MODEL", "pp.jsonl"), "pp.jsonl: no such file. Did you mean 'p.jsonl'? Known: broken.jsonl, empty.jsonl, p.jsonl"),
        (("MODEL", "."), ". is a folder, and prompts come from one file"),
        (("MODEL", "p.jsonl", "--out", "p.jsonl/r.jsonl"), "p.jsonl cannot be made (File exists: p.jsonl)"),
        (("MODEL", "empty.jsonl"), "empty.jsonl has no prompts."),
        (("MODEL", "broken.jsonl"), "none of its 2 rows can be asked.\n    row 1: not valid JSON"),
        (("MODEL", "short.jsonl.gz"), "cannot be read"),
        (("tyo", "p.jsonl"), "no artifact 'tyo' in runs. Known: none.\n  Did you mean 'toy'?"),
        (("./tyo", "p.jsonl"), "model './tyo' is neither a folder here"),
        ((), "no model is named"),
        (("MODEL", "p.jsonl", "--engine", "troch"), "Did you mean 'torch'? Known: endpoint, hf, torch, vllm"),
        (("MODEL", "p.jsonl", "--minp", "1"), "'--minp' is not a flag here. Did you mean '--min-p'?"),
        (("MODEL", "p.jsonl", "--min-p", "2"), "sampling.min_p=2.0"),
        (("MODEL", "p.jsonl", "--n", "0"), "--n 0: no replies"),
        (("MODEL", "p.jsonl", "--n", "2", "--temperature", "0"), "the same every time"),
        (("MODEL", "p.jsonl", "--logit-bias", "5"), "--logit-bias 5: expected a token id and a number"),
        (("MODEL", "p.jsonl", "--logit-bias", "5=1000"), "between -100"),
        (("MODEL", "p.jsonl", "--stop-ids", "99999"), "stop_ids holds the token id 99999"),
        (("MODEL", "p.jsonl", "--raw", "--system", "x"), "raw text has no turns"),
        (("MODEL", "p.jsonl", "--out", "."), "--out . is a folder"),
        (("MODEL", "p.jsonl", "--url", "http://127.0.0.1:1/v1"), "--url is about a server"),
        (("p.jsonl", "--engine", "endpoint"), "nothing says where replies come from"),
    ],
)  # fmt: skip
def test_mistakes_are_one_message(
    model: Path, words: tuple[str, ...], said: str, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "p.jsonl", {"prompt": "a"})
    write(tmp_path / "broken.jsonl", "x\ny\n")
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "short.jsonl.gz").write_bytes(gzip.compress(b'{"prompt": "a"}\n' * 99)[:-9])
    code = main(["generate", *(str(model) if word == "MODEL" else word for word in words), "--machine", "exact"])
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert said in err
    assert "Traceback" not in err


def test_an_endpoint_is_paid_once(tmp_path: Path, capsys: Any) -> None:
    """Four replies; one prompt is refused by the server once. The second time only that one is asked."""
    prompts = write(tmp_path / "p.jsonl", *({"prompt": f"say {i}", "id": i} for i in range(4)))
    with serving(lambda body: f"you said {asked(body)}") as server:
        server.script.append(Say(400, {"error": {"message": "too hot"}}))
        words = (prompts, "--engine", "endpoint", "--url", server.url, "--model-name", "judge")
        more = ("--out", tmp_path / "o.jsonl", "--temperature", 0.5, "--top-p", 0.9, "--logit-bias", "5=-3")
        code, _, said = call(capsys, *words, *more)
        assert code == 1
        assert "1 row without all their replies" in said
        assert "too hot" in said
        assert len(server.seen) == 4
        assert {"temperature": 0.5, "top_p": 0.9, "logit_bias": {"5": -3.0}}.items() <= server.seen[0].items()
        assert len({body["seed"] for body in server.seen}) == 4
        assert call(capsys, *words, *more)[0] == 0
        assert len(server.seen) == 5
        for flags, why in (
            (("--min-p", 0.1, "--top-k", 3), "top_k=3, min_p=0.1: OpenAI's protocol has no such setting"),
            (("--stop-ids", 3), "stop_ids=(3,)"),
            (("--begin", "x"), "--begin needs the model's own tokens"),
            (("--logprobs",), "--logprobs needs the model's own tokens"),
        ):
            code, _, said = call(capsys, *words, *flags)
            assert code == 2
            assert why in said
        assert len(server.seen) == 5
    found = {record["id"]: record for record in records(tmp_path / "o.jsonl")}
    assert {name: record["response"] for name, record in found.items()} == {
        str(i): f"you said say {i}" for i in range(4)
    }
    assert {record["tokens"] for record in found.values()} == {None}
