"""Collecting, preference pairs, verified samples and chat, on the toy model with real verifiers and by hand."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from burnish.core.types import Check, Demo, Finish, Message, Pair, Problem, Verdict, user
from burnish.data.dataset import Dataset, write_dataset
from burnish.errors import DataError, RecipeError
from burnish.model.policy import Policy
from burnish.model.toy import make_toy
from burnish.pipeline.machine import exact
from burnish.pipeline.progress import Console
from burnish.pipeline.stage import Context, Stage
from burnish.rollout.aspects import ASPECTS, NotRepetitive, Verified, mean_score
from burnish.rollout.chat import chat
from burnish.rollout.collect import collect
from burnish.rollout.completions import LOG, Graded
from burnish.rollout.engine import Sampling
from burnish.rollout.engines import make_engine
from burnish.rollout.prefer import CLOSE, CUT, SAME, TIE, UNGRADED, Prefer, choose
from burnish.rollout.synthesize import VerifiedSamples, best_first, right
from burnish.verify.base import Verifier

torch.set_num_threads(1)
MACHINE = replace(exact(), slots=4)
SHORT = Sampling(max_tokens=24)


@dataclass(frozen=True, slots=True)
class Letters:
    """The share of the reply's characters that are letters, in fifths: a random model scores anything."""

    VERSION: ClassVar[int] = 1
    ACCEPTS: ClassVar[tuple[tuple[str, str], ...]] = (("", "a"), ("", "bc"), ("", "dEf"))
    REJECTS: ClassVar[tuple[tuple[str, str], ...]] = (("", "1"), ("", "2 2"), ("", ""))

    def __call__(self, problem: Problem, text: str) -> Verdict:
        letters = sum(c.isalpha() for c in text)
        return Verdict(int(5 * letters / max(len(text), 1)) / 5, f"{letters} letters")


@dataclass(frozen=True, slots=True)
class Even:
    """Right when the reply has an even number of characters."""

    VERSION: ClassVar[int] = 1
    ACCEPTS: ClassVar[tuple[tuple[str, str], ...]] = (("", ""), ("", "ab"), ("", "abcd"))
    REJECTS: ClassVar[tuple[tuple[str, str], ...]] = (("", "a"), ("", "abc"), ("", "abcde"))

    def __call__(self, problem: Problem, text: str) -> Verdict:
        return Verdict(float(len(text) % 2 == 0), "length")


@dataclass(frozen=True, slots=True)
class Broken:
    """A stranger's verifier with a bug."""

    VERSION: ClassVar[int] = 1
    ACCEPTS: ClassVar[tuple[tuple[str, str], ...]] = ()
    REJECTS: ClassVar[tuple[tuple[str, str], ...]] = ()

    def __call__(self, problem: Problem, text: str) -> Verdict:
        raise KeyError("target")


VERIFIERS: dict[str, Verifier] = {"letters": Letters(), "even": Even(), "broken": Broken()}


@dataclass(frozen=True)
class Given(Stage):
    """A stage that stands for a finished one."""

    label: str

    @property
    def name(self) -> str:
        return self.label


def problem(text: str, verifier: str = "letters") -> Problem:
    return Problem(user(text), Check(verifier, ""), source=f"made/{verifier}", licence="CC0-1.0", lineage=("seed",))


PROBLEMS = [problem(f"Write the word {w}.") for w in ("one", "two", "three", "four", "five")] + [
    problem(f"Say {n}.", "even") for n in range(3)
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`policy/model` and `problems`, as a store would hold them."""
    root = tmp_path_factory.mktemp("store")
    make_toy(root / "policy" / "model")
    write_dataset(root / "problems", PROBLEMS)
    write_dataset(root / "demos", [Demo((*user("a"), Message("assistant", "b")))])
    write_dataset(root / "empty", [])
    return root


def context(folders: Path, out: Path, heard: io.StringIO | None = None) -> Context:
    out.mkdir(parents=True, exist_ok=True)
    return Context(out, MACHINE, lambda stage: folders / stage.name, None, out, Console(heard or io.StringIO()))


POLICY, ASKED = Given("policy"), Given("problems")


def test_collect_groups_and_seeds(folders: Path) -> None:
    """A reply depends on (seed, step, problem, k) alone: other problems, their order and the group's size do not matter."""
    policy = Policy.load(folders / "policy" / "model", MACHINE)
    engine = make_engine(policy, MACHINE)

    def run(problems: list[Problem], n: int = 3, seed: int = 0, step: int = 0) -> list[list[tuple[int, ...]]]:
        groups = collect(
            engine, policy.renderer, problems, n=n, sampling=SHORT, verifiers=VERIFIERS, seed=seed, step=step
        )
        for asked, group in zip(problems, groups, strict=True):
            for t in group:
                assert t.problem is asked
                assert t.prompt_ids == policy.renderer.prompt(asked.prompt)
                assert t.verdict == VERIFIERS[asked.check.verifier](asked, t.completion.text)
        return [[t.completion.token_ids for t in group] for group in groups]

    whole = run(PROBLEMS[:4])
    assert run(PROBLEMS[3:1:-1]) == [whole[3], whole[2]]
    assert run(PROBLEMS[:1], n=2) == [whole[0][:2]]
    assert run(PROBLEMS[:4], step=1) != whole != run(PROBLEMS[:4], seed=1)
    assert len({ids for group in whole for ids in group}) == 12


def test_a_verifier_that_raises_is_ungraded_not_zero(folders: Path) -> None:
    policy = Policy.load(folders / "policy" / "model", MACHINE)
    seen: list[float | None] = []
    groups = collect(
        make_engine(policy, MACHINE), policy.renderer, [problem("a", "broken")], n=2, sampling=SHORT,
        verifiers=VERIFIERS, seed=0, on_graded=lambda _g, _k, t: seen.append(t.verdict.score),
    )  # fmt: skip
    assert seen == [None, None]
    assert groups[0][0].verdict.why == "verifier Broken raised KeyError: 'target'"


def test_a_missing_verifier_names_the_nearest(folders: Path) -> None:
    policy = Policy.load(folders / "policy" / "model", MACHINE)
    with pytest.raises(RecipeError, match=r"'letter', which the recipe does not give.*Did you mean 'letters'"):
        collect(
            make_engine(policy, MACHINE), policy.renderer, [problem("a", "letter")], n=2, sampling=SHORT,
            verifiers=VERIFIERS, seed=0,
        )  # fmt: skip


def graded(*scores: float | None, texts: str = "abcdefgh", finish: Finish = Finish.STOP) -> list[Graded]:
    return [Graded(k, texts[k], finish, 1, score, "") for k, score in enumerate(scores)]


def test_choose_by_hand() -> None:
    """One-word replies that stopped have 1 on both minor aspects: mean = (4 s + 1 + 1) / 6."""
    asked = problem("a")

    def pick(replies: list[Graded], margin: float = 0.05, seed: int = 0) -> Pair | str:
        return choose(asked, replies, [mean_score(ASPECTS, reply) for reply in replies], margin=margin, seed=seed)

    pair = pick(graded(0.0, 1.0, 0.5))
    assert isinstance(pair, Pair)
    assert pair.chosen == "b"
    assert pair.rejected in ("a", "c")
    assert pair.annotations["chosen_score"] == pytest.approx(1.0)
    assert pair.annotations["rejected_score"] == pytest.approx({"a": 1 / 3, "c": 2 / 3}[pair.rejected])
    assert pair.annotations["scores"] == pytest.approx([1 / 3, 1.0, 2 / 3])
    assert pair.lineage == ("seed", asked.id)
    found = [pick(graded(0.0, 1.0, 0.5), seed=seed) for seed in range(300)]
    lost = [p.rejected for p in found if isinstance(p, Pair)]
    # Uniform: 150 expected of 300, standard deviation 8.7.
    assert 105 < lost.count("a") < 195
    assert pick(graded(0.0, 1.0, 0.5), margin=0.4) == replace(pair, rejected="a")
    assert pick(graded(0.5, 1.0), margin=1 / 3) != CLOSE
    assert pick(graded(0.5, 1.0), margin=0.34) == CLOSE
    assert pick(graded(1.0, 1.0, 0.0)) == TIE
    assert pick(graded(1.0, None, None)) == UNGRADED
    assert pick(graded(1.0, 0.0, texts="aa")) == SAME
    # Two equal texts are one reply, so they do not tie.
    assert isinstance(pick(graded(1.0, 1.0, 0.0, texts="aab")), Pair)
    assert pick(graded(1.0, 0.0, finish=Finish.LENGTH)) == CUT
    # Equal verdicts: the reply that came to its end wins, by 1/6.
    pair = pick([*graded(1.0), Graded(1, "b", Finish.LENGTH, 1, 1.0, "")])
    assert isinstance(pair, Pair)
    assert pair.chosen == "a"


def test_aspects_by_hand() -> None:
    """'x y z w' three times: 9 four-grams, 4 distinct: 4/9 over 0.8 = 0.5556. Mean (4·1 + 1 + 0.5556) / 6."""
    reply = Graded(0, "x y z w " * 3, Finish.STOP, 12, 1.0, "")
    assert NotRepetitive()(reply) == pytest.approx(4 / 9 / 0.8)
    assert mean_score(ASPECTS, reply) == pytest.approx((4 + 1 + 4 / 9 / 0.8) / 6)
    assert NotRepetitive()(replace(reply, text=" ")) == 0.0
    assert mean_score((Verified(weight=2.5),), replace(reply, score=0.25)) == pytest.approx(0.25)
    assert mean_score(ASPECTS, replace(reply, score=None)) is None


def test_prefer_writes_pairs_drops_and_every_reply(folders: Path, tmp_path: Path) -> None:
    heard = io.StringIO()
    stage = Prefer(POLICY, ASKED, VERIFIERS, k=4, sampling=SHORT, seed=3)
    stage.check(None)
    stage.run(context(folders, tmp_path / "a", heard))
    data = Dataset.open(tmp_path / "a")
    pairs, dropped = data.rows(), list(data.dropped())
    assert len(pairs) + len(dropped) == len(PROBLEMS)
    assert pairs
    lines = [json.loads(line) for line in (tmp_path / "a" / LOG).read_text().splitlines()]
    assert [(r["problem_id"], r["k"]) for r in lines] == [(p.id, k) for p in PROBLEMS for k in range(4)]
    texts = {p.prompt: [r["text"] for r in lines if r["problem_id"] == p.id] for p in PROBLEMS}
    for pair in pairs:
        assert isinstance(pair, Pair)
        scores = pair.annotations["scores"]
        assert scores[texts[pair.prompt].index(pair.chosen)] == max(scores) == pair.annotations["chosen_score"]
        assert scores[texts[pair.prompt].index(pair.rejected)] <= max(scores) - stage.margin + 1e-9
    assert sum(data.card["dropped"].values()) == len(dropped)
    assert [o["source"] for o in data.card["by_source"]] == ["prefer/made/letters", "prefer/made/even"]
    assert sum(o["rows_kept"] for o in data.card["by_source"]) == len(pairs)
    assert [c["replies"] for c in data.card["completions"]] == [20, 12]
    assert f"{len(pairs)} pairs from 8 prompts" in heard.getvalue()


@pytest.mark.parametrize("lines", [0, 1, 7, 32])
def test_a_killed_run_goes_on_to_the_same_bits(folders: Path, tmp_path: Path, lines: int) -> None:
    """The log is cut after some replies, as a kill would: in the order of ending, the next line torn."""
    for stage in (
        Prefer(POLICY, ASKED, VERIFIERS, k=4, sampling=SHORT, seed=3),
        VerifiedSamples(POLICY, ASKED, VERIFIERS, k=4, sampling=SHORT),
    ):
        whole, cut = tmp_path / f"{stage.name}-whole", tmp_path / f"{stage.name}-cut"
        stage.run(context(folders, whole))
        log = (whole / LOG).read_bytes().splitlines(keepends=True)
        paid = sorted(log, key=lambda line: json.loads(line)["tokens"])[:lines]
        cut.mkdir()
        (cut / LOG).write_bytes(b"".join(paid) + log[0][: 9 * (lines < 32)])
        stage.run(context(folders, cut))
        assert (cut / LOG).read_bytes() == b"".join(log)
        assert Dataset.open(cut).rows() == Dataset.open(whole).rows()
        assert (cut / "card.json").read_bytes() == (whole / "card.json").read_bytes()


@pytest.mark.slow
def test_verified_samples_keeps_only_right_replies(folders: Path, tmp_path: Path) -> None:
    stage = VerifiedSamples(
        POLICY, ASKED, {"letters": Even(), "even": Even()}, k=6, keep_per_problem=2, sampling=Sampling(max_tokens=200)
    )
    stage.check(None)
    stage.run(context(folders, tmp_path))
    data = Dataset.open(tmp_path)
    lines = [json.loads(line) for line in (tmp_path / LOG).read_text().splitlines()]
    good = {
        p.id: list(dict.fromkeys(
            r["text"].strip() for r in lines
            if r["problem_id"] == p.id and r["score"] == 1.0 and r["finish"] == "stop" and r["text"].strip()
        ))[:2]
        for p in PROBLEMS
    }  # fmt: skip
    assert any(good.values())
    assert [(d.lineage[-1], d.messages[-1].content) for d in data.stream() if isinstance(d, Demo)] == [
        (p.id, text) for p in PROBLEMS for text in good[p.id]
    ]
    assert {row.source for row in data.stream()} <= {"verified-samples/made/letters", "verified-samples/made/even"}
    assert {d.row.id for d in data.dropped()} == {p.id for p in PROBLEMS if not good[p.id]}


def test_right_by_hand() -> None:
    replies = [*graded(1.0, 0.5, 1.0, 1.0, None, texts="abacd"), Graded(5, "z", Finish.LENGTH, 1, 1.0, "")]
    assert [d.messages[-1].content for d in right(problem("q"), replies, 3)] == ["a", "c"]
    assert [d.messages[-1].content for d in right(problem("q"), replies, 1)] == ["a"]
    assert [d.messages[-1].content for d in right(problem("q"), replies, 3, least=0.5)] == ["a", "b", "c"]


def test_the_judge_orders_the_right_replies_by_hand() -> None:
    """Rewards 1, 3, none, 3, 2 of replies 0 to 4: 1 and 3 are equal and keep their order, 2 has no place."""
    replies = graded(1.0, 1.0, 1.0, 0.0, 1.0, texts="abcde")
    ordered = best_first(replies, [1.0, 3.0, None, 3.0, 2.0])
    assert [reply.text for reply in ordered] == ["b", "d", "e", "a"]
    assert [d.messages[-1].content for d in right(problem("q"), ordered, 2)] == ["b", "e"]
    assert [d.messages[-1].content for d in right(problem("q"), ordered, 2, least=0.0)] == ["b", "d"]


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        (Prefer(POLICY, ASKED, VERIFIERS, k=1), "prefer.k=1: a pair needs two"),
        (Prefer(POLICY, ASKED, VERIFIERS, margin=0.0), "prefer.margin=0.0"),
        (Prefer(POLICY, ASKED, {}), "prefer.verifiers is empty"),
        (Prefer(POLICY, ASKED, VERIFIERS, aspects=()), "prefer.aspects"),
        (Prefer(POLICY, ASKED, VERIFIERS, sampling=Sampling(temperature=0.0)), "4 times the same reply"),
        (VerifiedSamples(POLICY, ASKED, VERIFIERS, k=0), "verified-samples.k=0"),
        (VerifiedSamples(POLICY, ASKED, VERIFIERS, k=2, keep_per_problem=3), "keep_per_problem=3: of k=2"),
        (VerifiedSamples(POLICY, ASKED, VERIFIERS, sampling=Sampling(top_p=2.0)), "top_p=2.0"),
        (VerifiedSamples(POLICY, ASKED, VERIFIERS, least=1.5), "least=1.5: verifiers give"),
    ],
)
def test_impossible_settings_are_refused_at_plan_time(stage: Stage, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        stage.check(None)


@pytest.mark.parametrize(("name", "said"), [("demos", "is a Demo"), ("empty", "has no rows")])
def test_rows_that_are_no_problems_are_refused(folders: Path, tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        Prefer(POLICY, Given(name), VERIFIERS).run(context(folders, tmp_path))


class Terminal(io.StringIO):
    """A text stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def lines_of(*lines: str) -> Iterator[str]:
    return iter(f"{line}\n" for line in lines)


@pytest.mark.parametrize("terminal", [False, True])
def test_chat_line_by_line(folders: Path, terminal: bool) -> None:
    """The streamed text is the reply's; /reset makes the second answer independent of the first turn."""

    def talk(*lines: str, length: int = 30) -> tuple[str, str]:
        out, heard = io.StringIO(), io.StringIO()
        source = (Terminal if terminal else io.StringIO)("".join(lines_of(*lines)))
        chat(
            [folders / "policy" / "model"],
            MACHINE,
            Console(heard),
            sampling=Sampling(max_tokens=length),
            inp=source,
            out=out,
        )
        return out.getvalue(), heard.getvalue()

    said, heard = talk("How many apples?", "", "/reset", "Write.", "/quit", "never read")
    assert "forgotten" in heard
    assert ("> " in said) is terminal
    assert said.startswith(talk("How many apples?")[0].rstrip("> "))
    assert talk("How many apples?", "Write.")[0] != said
    assert talk("Write.", "/reset", "Write.")[0] != talk("Write.")[0]


def test_chat_leaves_out_what_no_longer_fits(tmp_path: Path) -> None:
    folder = make_toy(tmp_path / "model", max_position_embeddings=96)
    heard, out = io.StringIO(), io.StringIO()
    turns = io.StringIO("".join(lines_of("Write one.", "Write two.", "Write three.", "the " * 200, "Write four.")))
    chat([folder], MACHINE, Console(heard), sampling=Sampling(max_tokens=40), inp=turns, out=out)
    assert "oldest exchange is left out" in heard.getvalue()
    assert "do not fit the context of 96" in heard.getvalue()
