"""The laws of an environment, to be called from a test of your own. No model is needed: the replies are given or made up."""

from __future__ import annotations

import pickle
import time
from collections.abc import Iterable, Sequence
from itertools import islice

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from burnish.core.types import Completion, Finish, Message, Problem, Turn
from burnish.rollout.conversation import Conversation
from burnish.rollout.engine import Request, Sampling
from burnish.rollout.environment import AnswersMany, Environment, Response, opening
from burnish.testing.verifier_replies import HOSTILE
from burnish.text.render import Renderer

_CALLS = (
    "<tool_call>", "</tool_call>", "<tool_call></tool_call>", "<tool_call>{}</tool_call>", "<tool_call>[]</tool_call>",
    '<tool_call>{"name": "x", "arguments": 1}</tool_call>', "<tool_call>" * 2_000,
    "<tool_call>" + "[" * 5_000 + "</tool_call>", "<tool_call>" + "9" * 5_000 + "</tool_call>",
    '<tool_call>{"name": ["x"]}</tool_call>', "<tool_call>nul", "<think>", "</think>",
)  # fmt: skip
_ROOM = 1_000_000  # tokens of a conversation: enough for any that the laws allow
_SPOKEN = 1_000  # characters of a turn that are tokenised
Item = tuple[Problem, tuple[Turn, ...]]


def check_environment(
    environment: Environment,
    problems: Iterable[Problem],
    *,
    conversations: Iterable[Sequence[str]] = (),
    renderer: Renderer | None = None,
    examples: int = 60,
    deadline_s: float = 10.0,
    longest: int = 20_000,
) -> None:
    """Nothing, when the environment keeps all of these laws; raises AssertionError naming the law, the problem and the turns.

    - opening: what it says first is the same twice, has turns and does not end with the model's;
    - total: any turns of the model, hypothesis's and hostile ones and `conversations`, get a Response within deadline_s;
    - bounded: a response has at most `longest` characters;
    - ends: a conversation ends after max_turns turns of the model at the latest, whatever it says;
    - deterministic: the same turns again, in another order, of a pickled copy, and together where the environment answers many,
      get the same response;
    - prefix: the tokens of a conversation begin with those before, what was sampled stays as it is, and the log-probs
      of tokens that were not sampled are 0.

    conversations: what the model says turn by turn; the last text is said again where more is asked for. Give those that win,
    lose and misuse the environment. renderer: the toy model's without one.
    """
    rows = list(problems)
    _law(bool(rows), "asked", "check_environment needs a problem")
    renderer = renderer or _toy_renderer()
    lab = _Lab(environment, renderer, deadline_s, longest)
    for problem in rows:
        lab.check_opening(problem)
    told = [tuple(texts) for texts in conversations]
    for i, problem in enumerate(rows):
        for texts in told:
            lab.talk(problem, texts)
        for text in (*HOSTILE, *_CALLS)[i % len(rows) :: len(rows)]:
            lab.respond(problem, (Turn("assistant", text, (0,)),))
            lab.talk(problem, (text,))
    for problem, texts in _made_up(rows, [text for each in told for text in each], examples):
        lab.talk(problem, texts)
    lab.check_deterministic()


def _toy_renderer() -> Renderer:
    from burnish.model.toy import toy_tokenizer

    return Renderer(toy_tokenizer())


def _made_up(problems: Sequence[Problem], told: Sequence[str], examples: int) -> list[tuple[Problem, tuple[str, ...]]]:
    words = sorted({word for text in told for word in text.split()})
    pieces = [*words, *"{}[]<>,.:\"'\n 0123456789", "<tool_call>", "</tool_call>"]
    texts = st.text() | st.lists(st.sampled_from(pieces)).map("".join)
    found: list[tuple[Problem, tuple[str, ...]]] = []

    @settings(
        max_examples=examples, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.sampled_from(problems), st.lists(texts, min_size=1, max_size=3))
    def any_turns(problem: Problem, turns: list[str]) -> None:
        found.append((problem, tuple(turns)))

    any_turns()
    return found


class _Lab:
    """Holds conversations with the environment, and remembers every answer."""

    def __init__(self, environment: Environment, renderer: Renderer, deadline_s: float, longest: int) -> None:
        self.environment, self.renderer = environment, renderer
        self.deadline_s, self.longest = deadline_s, longest
        self.answers: dict[Item, Response] = {}

    def check_opening(self, problem: Problem) -> None:
        """The law `opening`."""
        first, again = (opening({problem.check.verifier: self.environment}, problem) for _ in range(2))
        _law(first == again, "opening", f"problem {problem.id}: {first} and then {again}")
        _law(bool(first) and first[-1].role != "assistant", "opening", f"problem {problem.id}: {first}")

    def talk(self, problem: Problem, texts: Sequence[str]) -> None:
        """One conversation to its end."""
        messages = opening({problem.check.verifier: self.environment}, problem)
        request = Request(self.renderer.prompt(messages), Sampling(max_tokens=_ROOM), 0)
        talk = Conversation(problem, self.environment, messages, request)
        for turn in range(self.environment.max_turns):
            _law(talk.finish is None, "ends", f"{talk.turns}")
            talk.hear(self._completion(texts[min(turn, len(texts) - 1)]))
            said = tuple(talk.turns)
            response = self.respond(problem, said)
            before = talk.request.prompt_ids
            talk.answer(response, self.renderer)
            if talk.finish is not None:
                break
            self._check_prefix(talk, before + said[-1].token_ids)
        where = f"problem {problem.id}, said {[text[:40] for text in texts]}"
        _law(talk.finish is not None, "ends", f"{where}: goes on after {self.environment.max_turns} turns")
        self._check_whole(talk.completion(), where)

    def respond(self, problem: Problem, turns: tuple[Turn, ...]) -> Response:
        """The response to the turns, under the laws `total` and `bounded`."""
        where = f"problem {problem.id}, turns {[turn.text[:80] for turn in turns]}"
        start = time.monotonic()
        try:
            response = self.environment(problem, turns)
        except Exception as error:
            raise AssertionError(f"law total: {where}: raised {type(error).__name__}: {error}") from error
        seconds = time.monotonic() - start
        _law(isinstance(response, Response), "total", f"{where}: answered with {response!r:.80}")
        _law(seconds <= self.deadline_s, "total", f"{where}: {seconds:.1f} s, allowed {self.deadline_s:g} s")
        length = len(response.text or "")
        _law(length <= self.longest, "bounded", f"{where}: {length:,} characters, allowed {self.longest:,}")
        self.answers[problem, turns] = response
        return response

    def check_deterministic(self) -> None:
        """The law `deterministic`, over all that was said."""
        items = list(self.answers)
        copy: Environment = pickle.loads(pickle.dumps(self.environment))
        again = [self.environment(problem, turns) for problem, turns in reversed(items)][::-1]
        self._same("asked again in another order", items, again)
        self._same("a pickled copy", items, [copy(problem, turns) for problem, turns in items])
        if isinstance(self.environment, AnswersMany):
            self._same("answered together", items, self.environment.answer_many(items))

    def _same(self, how: str, items: Sequence[Item], found: Sequence[Response]) -> None:
        _law(len(found) == len(items), "deterministic", f"{how}: {len(found)} responses to {len(items)}")
        for (problem, turns), response in zip(items, found, strict=True):
            wanted = self.answers[problem, turns]
            where = f"{how}: problem {problem.id}, turns {[turn.text[:80] for turn in turns]}"
            _law(response == wanted, "deterministic", f"{where}: {wanted} and then {response}")

    def _completion(self, text: str) -> Completion:
        """A turn as an engine gives it: ended by the template's own end of turn."""
        # What no tokenizer reads no model writes; very long texts take long to tokenise.
        wanted = text.encode("utf-8", "replace").decode()[:_SPOKEN]
        known = self.renderer.prompt((Message("user", "?"),))
        wrote = self.renderer.reply((Message("user", "?"),), wanted).token_ids[len(known) :]
        return Completion(wrote, (-1.0,) * len(wrote), Finish.STOP, self.renderer.decode(wrote))

    def _check_prefix(self, talk: Conversation, before: tuple[int, ...]) -> None:
        after = talk.request.prompt_ids
        where = f"problem {talk.problem.id}, turns {[turn.text[:80] for turn in talk.turns]}"
        _law(after[: len(before)] == before, "prefix", f"{where}: what came before has other tokens")
        _law(after[len(before) :] == talk.turns[-1].token_ids, "prefix", f"{where}: tokens of no turn")

    def _check_whole(self, completion: Completion, where: str) -> None:
        owned = tuple(turn.role == "assistant" for turn in completion.turns for _ in turn.token_ids)
        tokens = tuple(token for turn in completion.turns for token in turn.token_ids)
        _law(completion.token_ids == tokens and completion.mask == owned, "prefix", f"{where}: tokens and turns differ")
        others = [x for x, own in zip(completion.logprobs, completion.mask, strict=True) if not own]
        _law(
            not any(others), "prefix", f"{where}: log-probs of tokens that were not sampled: {list(islice(others, 5))}"
        )


def _law(holds: bool, law: str, found: str) -> None:
    if not holds:
        raise AssertionError(f"law {law}: {found}")
