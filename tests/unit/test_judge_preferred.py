"""Preferences by the chances of one token, over a real endpoint and a real tiny model: arithmetic, order, what is missing."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from judge_rules import ByRules, judge_by_rules
from judge_server import JudgeServer, Say, asked, completion, serving

from burnish.core.types import Check, Message, Problem, user
from burnish.errors import RecipeError, VerifierError
from burnish.model.toy import make_toy
from burnish.rollout.api_engine import Endpoint
from burnish.rollout.local_answers import LocalModel
from burnish.testing.laws import check_verifier
from burnish.verify.judge.ask import Question
from burnish.verify.judge.preferred import Preferred

torch.set_num_threads(1)
FIRST = "Name a lake."  # its reply is shown second; that of the next one first
SWITCHED = "Name a river."


def chances(top: dict[str, float], raw: bool = False) -> dict[str, Any]:
    """An answer of one token with the likeliest tokens' log-probabilities, as OpenAI's servers write it."""
    found = completion(max(top, key=lambda token: top[token]), "length", (50, 1))
    listed = {token: math.log(p) for token, p in top.items()}
    chat = {"content": [{"token": "x", "top_logprobs": [{"token": t, "logprob": v} for t, v in listed.items()]}]}
    found["choices"][0]["logprobs"] = {"top_logprobs": [listed]} if raw else chat
    return found


def endpoint(server: JudgeServer, folder: Path | None = None) -> Endpoint:
    return Endpoint(server.url, "judge", retries=0, timeout_s=10.0, folder=str(folder) if folder else "")


def problem(instruction: str, baseline: str = "The baseline's reply.") -> Problem:
    return Problem(user(instruction), Check("alpaca_eval", baseline))


def test_preferred_keeps_the_laws() -> None:
    check_verifier(Preferred(ByRules()), examples=40)


def test_the_order_is_alpaca_evals() -> None:
    judge = Preferred(ByRules())
    assert not judge.switched(problem(FIRST))
    assert judge.switched(problem(SWITCHED))
    many = [problem(f"Instruction {n}") for n in range(400)]
    for each in many[:50]:
        text = "is_switched_outputs" + each.prompt[0].content + "0"
        assert judge.switched(each) == random.Random(text).choices([False, True], k=1)[0]
    assert 150 < sum(map(judge.switched, many)) < 250
    assert [judge.switched(each) for each in many] != [Preferred(ByRules(), seed=1).switched(each) for each in many]


@pytest.mark.parametrize("raw", [False, True])
def test_the_score_is_the_share_of_the_replys_token(raw: bool) -> None:
    """p(m) 0.6, p(M) 0.2: the first shown wins with 0.75. The reply is second to FIRST (0.25) and first to SWITCHED (0.75)."""
    with serving(lambda body: chances({"m": 0.6, "M": 0.2, "The": 0.1}, raw)) as server:
        verdicts = Preferred(endpoint(server)).grade_many(
            [(problem(FIRST), "My reply."), (problem(SWITCHED), "My reply.")]
        )
        assert [verdict.score for verdict in verdicts] == [pytest.approx(0.25), pytest.approx(0.75)]
        assert [verdict.flags for verdict in verdicts] == [("shown_second",), ("shown_first",)]
        bodies = sorted(server.seen, key=asked)
        assert all(body["max_tokens"] == 1 and body["temperature"] == 0 for body in bodies)
        assert all(body["logprobs"] is True and body["top_logprobs"] == 5 for body in bodies)
        for body in bodies:
            text = asked(body)
            assert (text.index("My reply.") < text.index("The baseline's reply.")) == ("river" in text)


def test_a_missing_token_counts_zero_and_two_missing_ones_are_no_verdict() -> None:
    with serving(lambda body: "unused") as server:
        server.script += [Say(body=chances({"M": 0.9, "The": 0.05})), Say(body=chances({"The": 0.9, "A": 0.05}))]
        judge = Preferred(endpoint(server))
        assert judge(problem(FIRST), "My reply.").score == 1.0
        verdict = judge(problem(SWITCHED), "My reply.")
    assert verdict.score is None
    assert verdict.flags == ("parse_error", "shown_first")


def test_spaces_around_a_token_and_odd_numbers_are_borne() -> None:
    odd = chances({" M": 0.3, "m": 0.1})
    listed = odd["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
    listed += [{"token": "m", "logprob": None}, {"token": None, "logprob": -1.0}, {"logprob": "x"}, 7]
    with serving(lambda body: odd) as server:
        assert Preferred(endpoint(server))(problem(FIRST), "My reply.").score == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("said", "score", "flags"),
    [
        ("M", 1.0, ("shown_second", "no_logprobs")), ("m", 0.0, ("shown_second", "no_logprobs")),
        ("Both", None, ("parse_error", "shown_second")), ("", None, ("parse_error", "shown_second")),
    ],
)  # fmt: skip
def test_without_chances_the_written_token_decides(said: str, score: float | None, flags: tuple[str, ...]) -> None:
    with serving(lambda body: completion(said, "length")) as server:
        verdict = Preferred(endpoint(server))(problem(FIRST), "My reply.")
    assert (verdict.score, verdict.flags) == (score, flags)


def test_equal_and_empty_replies_need_no_judge() -> None:
    with serving(judge_by_rules) as server:
        judge = Preferred(endpoint(server))
        assert judge(problem(FIRST), "The baseline's reply.").score == 0.5
        assert judge(problem(FIRST), " \n").score == 0.0
        assert judge(problem(FIRST, ""), "My reply.").score is None
        assert not server.seen
        with pytest.raises(VerifierError, match="baseline"):
            judge.check_target(" ")


def test_chances_are_kept_with_the_reply(tmp_path: Path) -> None:
    with serving(lambda body: chances({"m": 0.5, "M": 0.5})) as server:
        first = Preferred(endpoint(server, tmp_path))(problem(FIRST), "My reply.")
        count = len(server.seen)
        kept = [json.loads(line) for line in (tmp_path / "replies.jsonl").read_text().splitlines()]
        assert Preferred(endpoint(server, tmp_path))(problem(FIRST), "My reply.") == first
        assert len(server.seen) == count == 1
    assert set(kept[0]["top"]) == {"m", "M"}


def test_a_judge_that_is_down_leaves_the_row_ungraded() -> None:
    with serving(judge_by_rules) as server:
        gone = endpoint(server)
    verdict = Preferred(gone)(problem(FIRST), "My reply.")
    assert (verdict.score, verdict.flags) == (None, ("judge_down",))


def test_the_published_form_is_sent_in_its_turns() -> None:
    form = (
        "<|im_start|>system\nYou rank models.\n<|im_end|>\n<|im_start|>user\nTask: {instruction}\nm: {output_1}\nM: {output_2}\n"
        "<|im_end|>"
    )
    with serving(lambda body: chances({"M": 1.0})) as server:
        assert Preferred(endpoint(server), form)(problem(SWITCHED), "Mine {output_2}").score == 0.0
        Preferred(endpoint(server), "{instruction}|{output_1}|{output_2}")(problem(FIRST), "Mine")
    assert server.seen[0]["messages"] == [
        {"role": "system", "content": "You rank models."},
        {"role": "user", "content": f"Task: {SWITCHED}\nm: Mine {{output_2}}\nM: The baseline's reply."},
    ]
    assert asked(server.seen[1]) == f"{FIRST}|The baseline's reply.|Mine"
    with pytest.raises(RecipeError, match="output_2"):
        Preferred(ByRules(), "{instruction} {output_1}")


def test_a_local_model_tells_its_own_chances(tmp_path: Path) -> None:
    """The shares come from the model's probabilities of the two letters after the prompt, checked with transformers."""
    folder = make_toy(tmp_path / "toy", max_position_embeddings=1200)
    judge = LocalModel.of(folder, "exact", str(tmp_path / "kept"))
    question = Question((Message("user", "m or M?"),), 1, options=("m", "M"))
    answer = judge.answers([question])[0]
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": "m or M?"}], add_generation_prompt=True, return_dict=False
    )
    with torch.no_grad():
        last = torch.log_softmax(model(torch.tensor([ids])).logits[0, -1].double(), -1)
    wanted = [float(last[tokenizer.encode(letter, add_special_tokens=False)[0]]) for letter in ("m", "M")]
    assert answer.logprobs == pytest.approx(wanted, abs=1e-4)
    assert answer.text == ("m" if wanted[0] > wanted[1] else "M")
    verdict = Preferred(judge)(problem(FIRST, "Short."), "A longer reply.")
    assert verdict.score is not None
    assert 0 < verdict.score < 1
    kept = [json.loads(line) for line in (tmp_path / "kept" / "replies.jsonl").read_text().splitlines()]
    assert len(kept) == 2
    assert all(len(record["logprobs"]) == 2 for record in kept)
    assert judge.answers([question])[0].logprobs == answer.logprobs
