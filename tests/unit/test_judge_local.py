"""A judge model on this machine: a real tiny model's replies, kept, cut, refused for their length, and as a recipe value."""

from __future__ import annotations

import json
import pickle
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from tokenizers.processors import TemplateProcessing

from burnish.core.fingerprint import decode, encode, fingerprint
from burnish.core.types import Check, Completion, Finish, Problem, Verdict, user
from burnish.errors import ModelError
from burnish.model.policy import Policy
from burnish.model.toy import make_toy
from burnish.pipeline.machine import exact
from burnish.rollout.collect import Grading, collect
from burnish.rollout.engine import GREEDY, Request, Sampling
from burnish.rollout.engines import make_engine
from burnish.rollout.local_answers import EngineAnswers, LocalModel
from burnish.verify.gsm8k import GSM8K
from burnish.verify.judge import Rubric
from burnish.verify.judge.ask import Question

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_toy(tmp_path_factory.mktemp("judge") / "toy", max_position_embeddings=800)


def test_replies_are_the_engines_and_are_kept(folder: Path, tmp_path: Path) -> None:
    policy = Policy.load(folder, exact())
    engine = make_engine(policy, exact())
    asked = [Question(user(text), 12) for text in ("a", "b", "a")]
    found = EngineAnswers(engine, policy.renderer, policy.context, "toy", tmp_path).answers(asked)
    wanted = engine.generate([Request(policy.renderer.prompt(user("a")), replace(GREEDY, max_tokens=12), 0)])[0]
    assert found[0] == found[2]
    assert found[0].text == wanted.text
    assert len((tmp_path / "replies.jsonl").read_text().splitlines()) == 2
    (tmp_path / "replies.jsonl").write_text(
        "".join(
            json.dumps({**json.loads(line), "text": "kept"}) + "\n"
            for line in (tmp_path / "replies.jsonl").read_text().splitlines()
        )
    )
    again = EngineAnswers(engine, policy.renderer, policy.context, "toy", tmp_path).answers(asked)
    assert {answer.text for answer in again} == {"kept"}, "what is kept is not asked again"


def test_cut_too_long_raw_and_half_characters(folder: Path) -> None:
    judge = LocalModel.of(folder, "exact")
    cut, long, raw, odd = judge.answers(
        [
            Question(user("a"), 1),
            Question(user("a " * 1000), 8),
            Question("<|im_start|>a", 4),
            Question(user("\ud800"), 4),
        ]
    )
    assert cut.text is not None
    assert cut.cut
    assert long.text is None
    assert not long.down
    assert "context of 800" in long.why
    assert raw.text is not None
    assert odd.text is not None


def test_raw_text_gets_one_start_token_whether_it_writes_it_or_not(folder: Path) -> None:
    """The tokenizer puts its start token before every text, as Llama's and Mistral's do."""
    policy = Policy.load(folder, exact())
    tokenizer = policy.renderer.tokenizer
    start, number = tokenizer.bos_token, tokenizer.bos_token_id
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{start} $A", pair=None, special_tokens=[(start, number)]
    )
    assert tokenizer("form")["input_ids"][0] == number
    answers = EngineAnswers(make_engine(policy, exact()), policy.renderer, policy.context, "toy")
    for text in ("form", f"{start}form"):
        ids = answers._prompt(Question(text))
        assert ids[0] == number
        assert ids.count(number) == 1


def test_a_local_model_is_a_recipe_value_whose_identity_is_its_weights(folder: Path, tmp_path: Path) -> None:
    judge = LocalModel.of(folder, "exact")
    assert decode(encode(judge)) == judge
    assert pickle.loads(pickle.dumps(judge)) == judge
    assert fingerprint(replace(judge, folder="elsewhere", cache="kept")) == fingerprint(judge)
    other = make_toy(tmp_path / "other", seed=1)
    assert fingerprint(LocalModel.of(other)) != fingerprint(judge)
    moved = replace(judge, folder=str(other))
    with pytest.raises(ModelError, match=r"Write LocalModel\.of"):
        moved.check()
    (answer,) = moved.answers([Question(user("a"), 4)])
    assert answer.down
    assert "Write LocalModel.of" in answer.why
    assert Rubric(moved)(Problem(user("q"), Check("rubric", "")), "A reply.").score is None
    with pytest.raises(ModelError, match="no model"):
        LocalModel.of(tmp_path)


def test_threads_share_a_model(folder: Path) -> None:
    judge = LocalModel.of(folder, "exact")
    found: dict[int, str | None] = {}
    threads = [
        threading.Thread(target=lambda i=i: found.update({i: judge.answers([Question(user(str(i)), 6)])[0].text}))
        for i in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {i: judge.answers([Question(user(str(i)), 6)])[0].text for i in range(6)}


def test_a_policys_replies_are_judged_together_in_rollout(folder: Path) -> None:
    """The toy model says nothing that can be read: every reply is ungraded with a reason, none is a zero."""
    policy = Policy.load(folder, exact())
    problems = [Problem(user(text), Check("rubric", "")) for text in ("one", "two")]
    seen: list[str] = []
    groups = collect(
        make_engine(policy, exact()), policy.renderer, problems, n=2, sampling=Sampling(max_tokens=8),
        verifiers={"rubric": Rubric(LocalModel.of(folder, "exact"), max_tokens=16, tries=1)}, seed=0,
        on_graded=lambda _g, _k, trajectory: seen.append(trajectory.verdict.why),
    )  # fmt: skip
    verdicts = [trajectory.verdict for group in groups for trajectory in group]
    assert len(seen) == 4
    assert all(verdict.score is None for verdict in verdicts)
    assert all(any(word in verdict.why for word in ("context", "cut", "read")) for verdict in verdicts)


@dataclass(frozen=True)
class Lengths:
    """Grades many at once by length, and says how many it was given together."""

    VERSION: ClassVar[int] = 1
    ACCEPTS: ClassVar[tuple[tuple[str, str], ...]] = ()
    REJECTS: ClassVar[tuple[tuple[str, str], ...]] = ()

    def __call__(self, problem: Problem, text: str) -> Verdict:
        return self.grade_many([(problem, text)])[0]

    def grade_many(self, items: Sequence[tuple[Problem, str]]) -> list[Verdict]:
        return [Verdict(float(len(text) > 3), f"of {len(items)}") for _, text in items]


def test_replies_wait_for_others_of_their_judge_only() -> None:
    found: dict[int, Verdict] = {}
    grading = Grading(
        {"judge": Lengths(), "gsm8k": GSM8K()}, lambda index, _, verdict: found.update({index: verdict}), at_once=3
    )
    ended = [Completion((1,), (0.0,), Finish.STOP, text) for text in ("long", "no", "5", "longer", "long", "x")]
    for index, completion in enumerate(ended):
        grading.add(index, Problem(user("q"), Check("gsm8k" if index == 2 else "judge", "5")), completion)
        assert sorted(found) == ([] if index < 2 else [2] if index == 2 else [0, 1, 2, 3])
    grading.add(6, Problem(user("q"), Check("judge", "5")), replace(ended[0], finish=Finish.ABORT))
    assert found[6].score is None
    grading.rest()
    assert [found[i].score for i in range(6)] == [1.0, 0.0, 1.0, 1.0, 1.0, 0.0]
    assert [found[i].why for i in (0, 1, 3, 4, 5)] == ["of 3", "of 3", "of 3", "of 2", "of 2"]
