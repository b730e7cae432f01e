"""Every sampling setting on real engines: the laws, by hand, and what is refused."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from burnish.core.fingerprint import canonical
from burnish.core.types import Completion, Finish, user
from burnish.errors import ModelError, RecipeError
from burnish.model.policy import Policy
from burnish.model.toy import make_toy
from burnish.pipeline.machine import Machine, exact
from burnish.pipeline.progress import Console
from burnish.rollout.engine import GREEDY, Engine, Request, Sampling
from burnish.rollout.hf_engine import HFEngine
from burnish.rollout.reply import Reply
from burnish.rollout.sampler import sample
from burnish.rollout.torch_engine import TorchEngine
from burnish.rollout.vllm_engine import VLLMEngine
from burnish.testing.laws import check_engine, check_settings

torch.set_num_threads(1)
MACHINE = replace(exact(), slots=5)
TEXTS = ("How many apples?", "Write one sentence about the book.", "a")


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    return Policy.load(make_toy(tmp_path_factory.mktemp("toy") / "model"), MACHINE)


@pytest.fixture(scope="module")
def generic(policy: Policy) -> Policy:
    """A model outside the fused families, with the toy's tokens."""
    import transformers

    torch.manual_seed(2)
    config = transformers.GPT2Config(
        n_embd=48, n_layer=2, n_head=4, n_positions=256, vocab_size=policy.vocabulary, bos_token_id=1, eos_token_id=2,
        initializer_range=0.3,
    )  # fmt: skip
    return Policy(transformers.GPT2LMHeadModel(config).eval(), policy.renderer, MACHINE)


def engine_of(kind: str, policy: Policy, generic: Policy) -> Engine:
    if kind == "hf":
        return HFEngine(policy, MACHINE)
    return TorchEngine(policy if kind == "torch" else generic, MACHINE, console=Console(quiet=True))


def requests(policy: Policy, sampling: Sampling, count: int) -> list[Request]:
    prompts = [policy.renderer.prompt(user(text)) for text in TEXTS]
    return [Request(prompts[i % 3], replace(sampling, max_tokens=10 + 3 * i), 100 + i) for i in range(count)]


@pytest.mark.parametrize("kind", ["torch", "hf", "generic"])
def test_every_engine_keeps_the_laws_of_settings(policy: Policy, generic: Policy, kind: str) -> None:
    check_settings(engine_of(kind, policy, generic), requests(policy, Sampling(), 3))


@pytest.mark.parametrize("kind", ["torch", "hf", "generic"])
def test_neighbours_change_nothing_when_everything_is_set(policy: Policy, generic: Policy, kind: str) -> None:
    """Each row with settings of its own beside rows without any; tolerance 0 where the engine is batch-invariant."""
    several = (
        Sampling(min_p=0.05, temperature=1.3), Sampling(repetition_penalty=1.3, temperature=0.0), Sampling(),
        Sampling(logit_bias=((70, 4.0), (80, -100.0)), top_p=0.9), Sampling(min_tokens=6, top_k=40), GREEDY,
        Sampling(repetition_penalty=0.8, min_p=0.1, stop=("a", "th")),
    )  # fmt: skip
    asked = [
        replace(request, sampling=replace(setting, max_tokens=request.sampling.max_tokens), forced=tuple(range(60, 60 + i % 3)))
        for i, (setting, request) in enumerate(zip(several, requests(policy, Sampling(), 7), strict=True))
    ]  # fmt: skip
    check_engine(engine_of(kind, policy, generic), asked, tolerance=1e-4 if kind == "generic" else 0.0)


@pytest.mark.parametrize(
    ("law", "forgets"),
    [
        ("bias", {"logit_bias": ()}), ("min_p", {"min_p": 0.0}), ("min_tokens", {"min_tokens": 0}),
        ("min_tokens", {"stop_ids": ()}), ("stop", {"stop": ()}), ("penalty", {"repetition_penalty": 1.0}), ("forced", {}),
    ],
)  # fmt: skip
def test_the_laws_catch_an_engine_that_forgets_a_setting(policy: Policy, law: str, forgets: dict[str, Any]) -> None:
    class Forgetful(TorchEngine):
        def generate(self, requests: Any, *args: Any) -> Any:
            forced = {"forced": ()} if law == "forced" else {}
            return super().generate(
                [replace(r, sampling=replace(r.sampling, **forgets), **forced) for r in requests], *args
            )

    with pytest.raises(AssertionError, match=f"law {law}"):
        check_settings(Forgetful(policy, MACHINE), requests(policy, Sampling(), 1))


def test_bias_penalty_and_bars_by_hand() -> None:
    """Logits (2, -1, 0, 1) at temperature 1.

    Bias +1 on token 1 and -2 on token 3: (2, 0, 0, -1). Penalty 2 over tokens 0 and 1: (1, -2, 0, 1). Bias first, then
    penalty over tokens 0, 1 and 3: (2, 0, 0, -1) -> (1, 0, 0, -2). Barred token 0: (-inf, -1, 0, 1).
    """
    logits = torch.tensor([[2.0, -1.0, 0.0, 1.0]])
    bias = ((1, 1.0), (3, -2.0))

    def check(
        setting: Sampling, wanted: tuple[float, ...], seen: tuple[int, ...] = (), barred: tuple[int, ...] = ()
    ) -> None:
        total = math.log(sum(math.exp(x) for x in wanted))
        drawn = set()
        for seed in range(60):
            # A plain row before and after: settings of one row must not leak into another.
            tokens, logps = sample(
                logits.expand(3, -1), [Sampling(), setting, GREEDY], [1, seed, 2], [0, 0, 0],
                seen=[(0, 1, 2, 3), seen, (3,)], barred=[(), barred, ()],
            )  # fmt: skip
            assert logps[1] == pytest.approx(wanted[tokens[1]] - total, abs=1e-6)
            assert tokens[2] == 0
            assert logps[2] == pytest.approx(2 - math.log(sum(map(math.exp, (2, -1, 0, 1)))), abs=1e-6)
            drawn.add(tokens[1])
        assert drawn <= {i for i, x in enumerate(wanted) if x > -math.inf}
        assert len(drawn) >= 2

    check(Sampling(logit_bias=bias), (2, 0, 0, -1))
    check(Sampling(repetition_penalty=2.0), (1, -2, 0, 1), seen=(0, 1))
    check(Sampling(repetition_penalty=2.0, logit_bias=bias), (1, 0, 0, -2), seen=(0, 1, 3))
    check(Sampling(), (-math.inf, -1, 0, 1), barred=(0,))
    assert sample(logits, [replace(GREEDY, repetition_penalty=4.0)], [0], [0], seen=[(0,)])[0] == [3]


def test_min_p_by_hand() -> None:
    """p = (0.4, 0.3, 0.2, 0.1). min_p 0.6 keeps what has at least 0.24: (4/7, 3/7). At temperature 1/2 the shares are
    (16, 9, 4, 1)/30, so 0.6 keeps the first alone and 0.5 two: (16/25, 9/25). It cuts after top-k and top-p."""
    logits = torch.tensor([[0.4, 0.3, 0.2, 0.1]]).log()

    def distribution(setting: Sampling) -> dict[int, float]:
        found: dict[int, float] = {}
        for seed in range(200):
            tokens, logps = sample(logits.expand(2, -1), [Sampling(), setting], [seed, seed], [3, 3])
            found[tokens[1]] = round(math.exp(logps[1]), 5)
        return dict(sorted(found.items()))

    assert distribution(Sampling(min_p=0.6)) == {0: round(4 / 7, 5), 1: round(3 / 7, 5)}
    assert distribution(Sampling(min_p=0.6, temperature=0.5)) == {0: 1.0}
    assert distribution(Sampling(min_p=0.5, temperature=0.5)) == {0: 0.64, 1: 0.36}
    assert distribution(Sampling(min_p=0.2, top_p=0.8)) == {0: round(4 / 9, 5), 1: round(3 / 9, 5), 2: round(2 / 9, 5)}
    assert distribution(Sampling(min_p=0.2, top_k=2)) == {0: round(4 / 7, 5), 1: round(3 / 7, 5)}
    assert distribution(Sampling(min_p=1.0)) == {0: 1.0}


def told(
    policy: Policy, ids: list[int], sampling: Sampling, forced: tuple[int, ...] = ()
) -> tuple[list[str], Completion]:
    reply = Reply(Request((5,), sampling, 0, forced), policy.renderer)
    reply.begin([0.0] * len(forced))
    pieces = []
    for token in ids:
        ended = reply.push(token, 0.0)
        pieces.append(reply.news())
        if ended:
            break
    return pieces, reply.completion("")


def test_text_is_told_when_it_is_sure(policy: Policy) -> None:
    """Half of an e with accent waits for its other half; "the" waits while "then" may come; what follows a stop string is
    never told; a reply that ends by length tells what it held back."""
    encode = policy.renderer.tokenizer.encode
    accent = encode("é")
    assert len(accent) == 2
    ids = [*encode("a"), *accent, *encode("b")]
    assert told(policy, ids, Sampling(max_tokens=4))[0] == ["a", "", "é", "b"]
    letters = [encode(c)[0] for c in "xthen!"]
    assert told(policy, letters, Sampling(max_tokens=6, stop=("then",)))[0] == ["x", "", "", "", ""]
    assert told(policy, letters, Sampling(max_tokens=6, stop=("them",)))[0] == ["x", "", "", "", "then", "!"]
    assert told(policy, letters[:3], Sampling(max_tokens=3, stop=("them",)))[0] == ["x", "", "th"]
    pieces, reply = told(policy, [*accent[:1]], Sampling(max_tokens=1))
    assert "".join(pieces) == reply.text == "\ufffd"


def test_stop_strings_count_from_where_the_reply_may_end(policy: Policy) -> None:
    """Those inside a forced beginning, or before min_tokens, end nothing; one that goes across the border does."""
    ids = {c: policy.renderer.tokenizer.encode(c)[0] for c in "abcd"}
    forced = (ids["a"], ids["b"])

    def ended(text: str, **settings: Any) -> tuple[int, str]:
        reply = told(policy, [ids[c] for c in text], Sampling(max_tokens=len(text), **settings), forced)[1]
        return len(reply.token_ids), reply.text

    assert ended("cdcd", stop=("ab",)) == (6, "abcdcd")
    assert ended("cabd", stop=("ab",)) == (5, "abc")
    assert ended("cabd", stop=("bc",)) == (3, "a")
    assert ended("cdabcd", stop=("cd",), min_tokens=3) == (8, "abcdab")
    assert ended("cdabcd", stop=("cd",), min_tokens=2) == (4, "ab")
    assert ended("cdabcd", stop=("cd",)) == (4, "ab")


def test_forced_tokens_have_the_policys_log_probs(policy: Policy) -> None:
    """At temperature 1 whatever the reply is drawn with, even where its cuts would leave such a token no chance."""
    prompt = policy.renderer.prompt(user("a"))
    forced = (70, 90, 110)
    sampling = Sampling(temperature=0.3, top_k=1, logit_bias=((70, -100.0),), max_tokens=5)
    (reply,) = TorchEngine(policy, MACHINE).generate([Request(prompt, sampling, 0, forced)])
    logits_TV = policy.model(torch.tensor([[*prompt, *forced]])).logits[0, len(prompt) - 1 : -1]
    wanted = logits_TV.log_softmax(-1).gather(1, torch.tensor(forced)[:, None])[:, 0]
    assert reply.logprobs[:3] == pytest.approx(wanted.tolist(), abs=1e-5)
    assert reply.token_ids[:3] == forced
    assert reply.mask == (False,) * 3 + (True,) * 5
    assert reply.text.startswith(policy.renderer.decode(forced))


def test_an_end_token_of_ones_own(policy: Policy) -> None:
    prompt = policy.renderer.prompt(user("a"))
    engine = TorchEngine(policy, MACHINE)
    free = engine.generate([Request(prompt, Sampling(max_tokens=30), 7)])[0]
    (found,) = engine.generate([Request(prompt, Sampling(max_tokens=30, stop_ids=(free.token_ids[9],)), 7)])
    assert found.token_ids == free.token_ids[: free.token_ids.index(free.token_ids[9]) + 1]
    assert found.finish is Finish.STOP


def test_new_settings_are_no_part_of_old_identities() -> None:
    plain = canonical(Sampling())
    assert all(name not in plain for name in ("min_p", "repetition", "logit_bias", "min_tokens", "stop_ids"))
    assert '"min_p":{"float":"0x1' in canonical(Sampling(min_p=0.1))
    assert len({canonical(s) for s in (Sampling(), Sampling(min_tokens=1), Sampling(stop_ids=(1,)))}) == 3


def test_what_bends_the_distribution_is_named() -> None:
    assert Sampling(temperature=0.7, max_tokens=9, stop=("a",), stop_ids=(3,)).bent == ()
    assert Sampling(min_p=0.1, top_k=3, logit_bias=((1, 2.0),)).bent == (
        "top_k=3",
        "min_p=0.1",
        "logit_bias=((1, 2.0),)",
    )


@pytest.mark.parametrize(
    ("sampling", "forced", "said"),
    [
        (Sampling(min_p=1.5), (), "min_p=1.5"),
        (Sampling(min_p=float("nan")), (), "min_p=nan"),
        (Sampling(repetition_penalty=0.0), (), "repetition_penalty=0.0"),
        (Sampling(repetition_penalty=float("inf")), (), "repetition_penalty=inf"),
        (Sampling(logit_bias=((3, 101.0),)), (), "between -100"),
        (Sampling(logit_bias=((3, float("nan")),)), (), "between -100"),
        (Sampling(logit_bias=((3, 1.0), (3, 2.0))), (), "named twice"),
        (Sampling(logit_bias=((9999, 1.0),)), (), "request 0: logit_bias holds the token id 9999"),
        (Sampling(min_tokens=300), (), "min_tokens=300: no more can be asked for than max_tokens=256"),
        (Sampling(min_tokens=-1), (), "min_tokens=-1"),
        (Sampling(stop_ids=(-1,)), (), "stop_ids holds the token id -1"),
        (Sampling(), (9999,), "forced holds the token id 9999"),
        (Sampling(), (70, 2), "a token that ends a reply"),
        (Sampling(stop_ids=(70,)), (70,), "a token that ends a reply"),
        (Sampling(max_tokens=2000), (70,) * 100, r"a forced beginning of 100 and max_tokens=2,000 need"),
    ],
)
@pytest.mark.parametrize("engine", [TorchEngine, HFEngine])
def test_settings_without_meaning_are_refused(
    policy: Policy, engine: type[TorchEngine] | type[HFEngine], sampling: Sampling, forced: tuple[int, ...], said: str
) -> None:
    with pytest.raises(RecipeError, match=said):
        engine(policy, MACHINE).generate([Request(policy.renderer.prompt(user("a")), sampling, 0, forced)])


def test_numbers_that_are_not_finite_stop_the_reply(tmp_path: Path) -> None:
    policy = Policy.load(make_toy(tmp_path / "model"), MACHINE)
    with torch.no_grad():
        policy.model.model.norm.weight.fill_(float("nan"))
    for engine in (TorchEngine(policy, MACHINE), HFEngine(policy, MACHINE)):
        with pytest.raises(ModelError, match=r"request 0: token 0 was drawn with the log-prob nan"):
            engine.generate(requests(policy, Sampling(), 2))


def test_vllm_refuses_what_it_would_do_otherwise(policy: Policy, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.touch()
    machine: Machine = replace(MACHINE, engine="vllm", engine_place=f"inside(python={str(python)!r})")
    asked = requests(policy, Sampling(min_p=0.1, top_p=0.9), 1)
    with pytest.raises(RecipeError, match=r"request 0: min_p=0.1 with top_p=0.9: vLLM cuts by min_p before top_p"):
        VLLMEngine(policy, machine).generate(asked)
