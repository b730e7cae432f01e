"""Conversations: turns, limits, masks and failures, with an engine that says what it is told and with the real one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from training_runs import Always, Letters, problems

from burnish.core.rng import seed_of
from burnish.core.rows import trajectory_from_json, trajectory_to_json
from burnish.core.types import Check, Completion, Finish, Message, Messages, Problem, Trajectory, Turn, user
from burnish.errors import RecipeError
from burnish.model.policy import Policy
from burnish.model.toy import make_toy, toy_tokenizer
from burnish.pipeline.machine import Machine
from burnish.rollout.collect import collect
from burnish.rollout.engine import Request, Sampling
from burnish.rollout.environment import Environment, Response, check_environments
from burnish.rollout.torch_engine import TorchEngine
from burnish.rollout.try_again import TryAgain
from burnish.text.render import Renderer
from burnish.train.rows import stack
from burnish.train.samples import Sample
from burnish.verify.gsm8k import GSM8K

torch.set_num_threads(1)
RENDERER = Renderer(toy_tokenizer())
(END,) = RENDERER.tokenizer("<|im_end|>")["input_ids"]
SIX = Problem(user("What is 6 times 7?"), Check("gsm8k", "42"))
TEN = Problem(user("What is 10 - 3?"), Check("gsm8k", "7"))
GRADED = {"gsm8k": GSM8K()}


class Says:
    """An engine that gives fixed replies: those of a prompt's text, one a turn. It records what it was asked."""

    policy_version = "v1"

    def __init__(self, replies: Mapping[str, Sequence[str]]) -> None:
        self.replies, self.calls = replies, list[list[Request]]()

    def generate(
        self,
        requests: Sequence[Request],
        on_finish: Callable[[int, Completion], None] | None = None,
        on_text: Callable[[int, str], None] | None = None,
    ) -> list[Completion]:
        self.calls.append(list(requests))
        found = [self._completion(request) for request in requests]
        for i in reversed(range(len(found))):
            if on_finish:
                on_finish(i, found[i])
        return found

    def _completion(self, request: Request) -> Completion:
        asked = RENDERER.decode(request.prompt_ids)
        replies = next(replies for question, replies in self.replies.items() if question in asked)
        text = replies[min(asked.count("assistant\n") - 1, len(replies) - 1)]
        ids = (*RENDERER.tokenizer(text)["input_ids"], END)
        finish = Finish.STOP if len(ids) <= request.sampling.max_tokens else Finish.LENGTH
        ids = ids[: request.sampling.max_tokens]
        return Completion(ids, (-0.5,) * len(ids), finish, RENDERER.decode(ids), self.policy_version)

    def load_weights(self, policy: Policy, version: str) -> None:
        raise NotImplementedError


def solve(
    engine: Says, environment: Environment, asked: Sequence[Problem] = (SIX,), n: int = 1, max_tokens: int = 300
) -> list[Trajectory]:
    groups = collect(
        engine, RENDERER, asked, n=n, sampling=Sampling(max_tokens=max_tokens), verifiers=GRADED,
        environments={"gsm8k": environment}, seed=3,
    )  # fmt: skip
    return [trajectory for group in groups for trajectory in group]


def texts(completion: Completion) -> list[tuple[str, str]]:
    return [(turn.role, turn.text) for turn in completion.turns]


def test_a_conversation_by_hand() -> None:
    """Two turns: the tokens are those of the one conversation, the model's are sampled, and the last turn is graded."""
    engine = Says({"6 times 7": ["The answer is 41.", "The answer is 42."]})
    (found,) = solve(engine, TryAgain(GSM8K(), says="Wrong."))
    reply = found.completion
    assert texts(reply) == [("assistant", "The answer is 41."), ("user", "Wrong."), ("assistant", "The answer is 42.")]
    assert (reply.text, reply.finish, found.verdict.score) == ("The answer is 42.", Finish.STOP, 1.0)
    written = RENDERER.tokenizer.decode(found.prompt_ids + reply.token_ids)
    assert written.endswith(
        "<|im_start|>assistant\nThe answer is 41.<|im_end|>\n<|im_start|>user\nWrong.<|im_end|>\n"
        "<|im_start|>assistant\nThe answer is 42.<|im_end|>"
    )
    first, _, last = reply.turns
    between = len(reply.token_ids) - len(first.token_ids) - len(last.token_ids)
    assert reply.mask == (True,) * len(first.token_ids) + (False,) * between + (True,) * len(last.token_ids)
    assert reply.logprobs == tuple(-0.5 if own else 0.0 for own in reply.mask)
    assert reply.length == len(reply.sampled_logprobs) == len(first.token_ids) + len(last.token_ids)
    assert [turn.note[:8] for turn in reply.turns] == ["", "answer 1", "answer 2"]


def test_turns_go_round_by_round_with_seeds_of_their_own() -> None:
    """Three conversations end after one, two and three turns: three calls of the engine, of three, two and one request."""
    third = Problem(user("What is 1 + 1?"), Check("gsm8k", "2"))
    engine = Says({
        "6 times 7": ["42"], "10 - 3": ["The answer is 8.", "The answer is 7."], "1 + 1": ["3", "4", "5"],
    })  # fmt: skip
    solve(engine, TryAgain(GSM8K(), max_turns=3), (SIX, TEN, third))
    assert [len(call) for call in engine.calls] == [3, 2, 1]
    first = seed_of(3, "rollout", 0, third.id, 0)
    assert [call[-1].seed for call in engine.calls] == [first, seed_of(first, "turn", 1), seed_of(first, "turn", 2)]
    assert engine.calls[1][-1].prompt_ids[: len(engine.calls[0][-1].prompt_ids)] == engine.calls[0][-1].prompt_ids


def test_max_tokens_is_over_everything_behind_the_prompt() -> None:
    engine = Says({"6 times 7": ["The answer is 41.", "The answer is 42."]})
    (whole,) = solve(engine, TryAgain(GSM8K()))
    tokens, first = len(whole.completion.token_ids), len(whole.completion.turns[0].token_ids)
    answer = len(whole.completion.turns[1].token_ids)
    for room in range(1, tokens + 1):
        (found,) = solve(engine, TryAgain(GSM8K()), max_tokens=room)
        reply = found.completion
        assert reply.token_ids == whole.completion.token_ids[: len(reply.token_ids)]
        assert len(reply.token_ids) == (room if room <= first or room > first + answer else first)
        assert reply.finish is (Finish.STOP if room >= tokens else Finish.LENGTH)
        assert reply.mask[-1], "a reply ends with what the model sampled"
    assert "does not fit" in solve(engine, TryAgain(GSM8K()), max_tokens=first + 3)[0].completion.turns[-1].note


@dataclass(frozen=True)
class Goes:
    """Never has enough."""

    max_turns: int = 3
    VERSION: ClassVar[int] = 1

    def __call__(self, problem: Problem, turns: Sequence[Turn]) -> Response:
        return Response("Go on.")


def test_max_turns_cuts_a_conversation() -> None:
    (found,) = solve(Says({"6 times 7": ["The answer is 42."]}), Goes())
    assert [role for role, _ in texts(found.completion)] == ["assistant", "user"] * 2 + ["assistant"]
    assert found.completion.finish is Finish.LENGTH
    assert "max_turns=3" in found.completion.turns[-1].note
    (one,) = solve(Says({"6 times 7": ["The answer is 42."]}), Goes(1))
    assert (one.completion.sampled, one.completion.finish) == ((), Finish.LENGTH)


@dataclass(frozen=True)
class Breaks:
    """Raises, or answers what is no response, to replies that say so."""

    together: bool
    max_turns: int = 3
    VERSION: ClassVar[int] = 1

    def __call__(self, problem: Problem, turns: Sequence[Turn]) -> Response:
        if "raise" in turns[-1].text:
            raise ZeroDivisionError("division by zero")
        if "none" in turns[-1].text:
            return None  # type: ignore[return-value]
        return Response(None)


@dataclass(frozen=True)
class BreaksTogether(Breaks):
    """The same, asked about many at once."""

    def answer_many(self, items: Sequence[tuple[Problem, Sequence[Turn]]]) -> list[Response]:
        return [self(problem, turns) for problem, turns in items]


@pytest.mark.parametrize("environment", [Breaks(False), BreaksTogether(True)])
def test_a_crash_is_ungraded_and_hurts_no_other(environment: Environment) -> None:
    others = [Problem(user(f"Question {i}"), Check("gsm8k", "42")) for i in range(3)]
    engine = Says({"Question 0": ["raise 42"], "Question 1": ["none 42"], "Question 2": ["The answer is 42."]})
    raised, none, fine = solve(engine, environment, others)
    assert raised.verdict.score is None
    assert f"{type(environment).__name__} raised ZeroDivisionError: division by zero" in raised.verdict.why
    assert none.verdict.score is None
    assert "NoneType, not a Response" in none.verdict.why
    assert (raised.completion.finish, none.completion.finish) == (Finish.ABORT, Finish.ABORT)
    assert (fine.verdict.score, fine.completion.finish) == (1.0, Finish.STOP)


@pytest.mark.parametrize("bad", [{"text": 5}, {"text": "a", "note": None}])
def test_a_response_is_text(bad: dict[str, object]) -> None:
    with pytest.raises(TypeError, match="a response is a text or None"):
        Response(**bad)  # type: ignore[arg-type]


def test_problems_without_an_environment_take_one_turn() -> None:
    engine = Says({"6 times 7": ["The answer is 41.", "The answer is 42."]})
    with_it, without = (
        collect(
            engine, RENDERER, [SIX], n=1, sampling=Sampling(max_tokens=300), verifiers={**GRADED, "other": GSM8K()},
            environments=given, seed=3,
        )[0][0]
        for given in ({"other": Goes()}, None)
    )  # fmt: skip
    assert with_it == without
    assert (without.completion.turns, without.completion.sampled, without.verdict.score) == ((), (), 0.0)


@dataclass(frozen=True)
class Hints(Goes):
    """Says something before the first turn."""

    def prompt(self, problem: Problem) -> Messages:
        return (*problem.prompt[:-1], Message("user", f"Hint: it is even. {problem.prompt[-1].content}"))


def test_an_opening_takes_the_place_of_the_prompt() -> None:
    (found,) = solve(Says({"Hint: it is even. What is 6 times 7?": ["42"]}), Hints(1))
    assert found.prompt_ids == RENDERER.prompt(user("Hint: it is even. What is 6 times 7?"))
    assert found.problem == SIX


def test_lone_surrogates_of_an_environment_reach_no_tokenizer() -> None:
    @dataclass(frozen=True)
    class Odd(Goes):
        def __call__(self, problem: Problem, turns: Sequence[Turn]) -> Response:
            return Response("a\ud800b")

    (found,) = solve(Says({"6 times 7": ["42"]}), Odd(2))
    assert found.completion.turns[1].text == "a?b"


def test_bad_names_and_limits_are_errors() -> None:
    with pytest.raises(RecipeError, match=r"rl: environments has 'gsm8'.*Did you mean 'gsm8k'"):
        check_environments("rl", {"gsm8": Goes()}, GRADED)
    with pytest.raises(RecipeError, match=r"environments\['gsm8k'\]: max_turns=0"):
        check_environments("rl", {"gsm8k": Goes(0)}, GRADED)
    check_environments("rl", {"gsm8k": Goes()}, GRADED)


def test_trajectories_come_back_and_old_files_are_read() -> None:
    (found,) = solve(Says({"6 times 7": ["The answer is 41.", "The answer is 42."]}), TryAgain(GSM8K()))
    written = json.loads(json.dumps(trajectory_to_json(found)))
    assert trajectory_from_json(written) == found
    assert written["completion"]["sampled"] == "".join("01"[own] for own in found.completion.mask)
    del written["completion"]["sampled"], written["completion"]["turns"]
    old = trajectory_from_json(written).completion
    assert (old.sampled, old.turns, all(old.mask)) == ((), (), True)
    plain = replace(found, completion=replace(found.completion, sampled=(), turns=()))
    assert not {"sampled", "turns"} & set(trajectory_to_json(plain)["completion"])


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_toy(tmp_path_factory.mktemp("toy") / "model")


# The toy writes noise: ending a turn at any of these bytes gives conversations of several turns.
NOISE = Sampling(max_tokens=160, stop_ids=tuple(range(5, 25)))


@pytest.mark.parametrize("engine_type", [TorchEngine])
def test_with_a_real_engine_sampled_tokens_stay_and_log_probs_are_the_learners(
    toy: Path, engine_type: type[TorchEngine]
) -> None:
    """Each turn is what the engine says to the tokens before it, and the learner scores the whole at once alike."""
    policy = Policy.load(toy, Machine(compute="fp32"))
    engine = engine_type(policy, Machine(compute="fp32", slots=4))
    asked = [problem for problem in problems(2) if isinstance(problem, Problem)]
    environment = TryAgain(Always(0.5), max_turns=3)

    def groups(chosen: Sequence[Problem]) -> list[list[Trajectory]]:
        return collect(
            engine, policy.renderer, chosen, n=3, sampling=NOISE, verifiers={"letters": Letters()},
            environments={"letters": environment}, seed=0,
        )  # fmt: skip

    found = groups(asked)
    assert groups(asked[::-1]) == found[::-1], "a conversation depends on no other"
    assert {len(t.completion.turns) for group in found for t in group} & {3, 5}
    for trajectory in (t for group in found for t in group):
        reply, known, seed = trajectory.completion, trajectory.prompt_ids, None
        left = NOISE.max_tokens
        for number, turn in enumerate(reply.turns):
            if turn.role == "assistant":
                k = found[asked.index(trajectory.problem)].index(trajectory)
                first = seed_of(0, "rollout", 0, trajectory.problem.id, k)
                seed = first if number == 0 else seed_of(first, "turn", number // 2)
                again = engine.generate([Request(known, replace(NOISE, max_tokens=left), seed)])[0]
                assert again.token_ids == turn.token_ids
            known, left = known + turn.token_ids, left - len(turn.token_ids)
        assert known == trajectory.prompt_ids + reply.token_ids
        sequences = stack([Sample(trajectory, 0).row])
        with torch.no_grad():
            logp_BT = policy.logprobs(sequences)
        learners = logp_BT[0, sequences.mask_BT[0]].tolist()
        assert learners == pytest.approx(list(reply.sampled_logprobs), abs=1e-4)
        assert len(learners) == reply.length < len(reply.token_ids) or len(reply.turns) == 1
