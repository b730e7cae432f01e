"""Scores of continuations, and shared beginnings, on real tiny models: against the oracle, and bit for bit among themselves."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from burnish.errors import RecipeError
from burnish.model.policy import Policy
from burnish.model.toy import make_toy
from burnish.pipeline.machine import Machine, exact
from burnish.rollout.engine import Continuations, Request, Sampling, Scored
from burnish.rollout.hf_engine import HFEngine
from burnish.rollout.llama_forward import LlamaForward
from burnish.rollout.memory import free_bytes
from burnish.rollout.torch_engine import TorchEngine
from burnish.testing.laws import check_engine, check_scorer

torch.set_num_threads(1)
MACHINE = replace(exact(), slots=6)
BF16 = replace(MACHINE, compute="bf16")
MACHINES = pytest.mark.parametrize("machine", [MACHINE, BF16], ids=["fp32", "bf16"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_toy(tmp_path_factory.mktemp("toy") / "model")


@pytest.fixture(scope="module")
def policy(folder: Path) -> Policy:
    return Policy.load(folder, MACHINE)


def prompts(count: int, seed: int = 0) -> list[tuple[int, ...]]:
    """A header of 70 tokens behind which two blocks of 190 and 310 tokens go on, and short prompts; ends of their own."""
    rng = random.Random(seed)

    def ids(n: int) -> tuple[int, ...]:
        return tuple(rng.randrange(5, 250) for _ in range(n))

    header = ids(70)
    starts = (header + ids(190), header + ids(310), header, ())
    return [starts[i % 4] + ids(1 + rng.randrange(70)) for i in range(count)]


def questions(count: int) -> list[Continuations]:
    """Continuations of one to five tokens; every third prompt has letters only."""
    rng = random.Random(1)
    rows = []
    for i, prompt in enumerate(prompts(count)):
        sizes = [1] * 4 if i % 3 == 0 else [1 + rng.randrange(5) for _ in range(4)]
        rows.append(Continuations(prompt, tuple(tuple(rng.randrange(5, 250) for _ in range(n)) for n in sizes)))
    return rows


def requests(count: int, most: int = 90) -> list[Request]:
    return [Request(p, Sampling(max_tokens=2 + i * 37 % most), 50 + i) for i, p in enumerate(prompts(count))]


def gap(left: list[Scored], right: list[Scored]) -> float:
    assert [s.greedy for s in left] == [s.greedy for s in right]
    return max(
        abs(x - y)
        for a, b in zip(left, right, strict=True)
        for row, other in zip(a.logprobs, b.logprobs, strict=True)
        for x, y in zip(row, other, strict=True)
    )


def test_scores_equal_the_oracle(policy: Policy) -> None:
    asked = questions(13)
    assert gap(TorchEngine(policy, MACHINE).score(asked), HFEngine(policy, MACHINE).score(asked)) < 1e-4


def test_bf16_scores_are_close(policy: Policy) -> None:
    """Within the rounding of bf16 activations; a wanted token's own logit is not rounded."""
    asked = questions(13)
    exactly = TorchEngine(policy, MACHINE).score(asked)
    rounded = TorchEngine(policy, BF16).score(asked)
    pairs = [
        (x, y)
        for a, b in zip(exactly, rounded, strict=True)
        for row, other in zip(a.logprobs, b.logprobs, strict=True)
        for x, y in zip(row, other, strict=True)
    ]
    assert max(abs(x - y) for x, y in pairs) < 0.1
    # A bf16 logit near 4 is a multiple of 1/64: the differences between two letters would be too.
    letters = [[x for (x,) in s.logprobs] for s in rounded[::3]]
    assert len({round((row[0] - row[1]) * 64 % 1, 3) for row in letters}) > 1


def _norms_in_float64(model: Any) -> None:
    """transformers computes norms in float32 whatever the model's type; torch's own in the type of the weights."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child).__name__ == "LlamaRMSNorm":
                plain = torch.nn.RMSNorm(child.weight.shape, eps=child.variance_epsilon, dtype=torch.float64)
                plain.weight = child.weight
                setattr(module, name, plain)


def test_float64_to_ten_digits(folder: Path) -> None:
    policy = Policy.load(folder, MACHINE).to(torch.float64)
    _norms_in_float64(policy.model)
    asked = questions(8)
    assert gap(TorchEngine(policy, MACHINE).score(asked), HFEngine(policy, MACHINE).score(asked)) < 1e-10


@pytest.mark.parametrize(("name", "more"), [("GPT2", {"n_positions": 512}), ("Mistral", {"sliding_window": 8})])
def test_other_families_score_through_transformers(policy: Policy, name: str, more: dict[str, Any]) -> None:
    import transformers

    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 333}
    if name == "Mistral":
        size |= {"intermediate_size": 64, "num_key_value_heads": 2, "max_position_embeddings": 512}
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**size, **more)
    model = transformers.AutoModelForCausalLM.from_config(config).to(torch.float64)
    other = Policy(model, policy.renderer, MACHINE)
    asked = questions(6)
    tolerance = 1e-10 if name == "GPT2" else 1e-5
    assert gap(TorchEngine(other, MACHINE).score(asked), HFEngine(other, MACHINE).score(asked)) < tolerance


@MACHINES
def test_laws_of_engine_and_scorer(policy: Policy, machine: Machine) -> None:
    """Tolerance 0: not a bit depends on the neighbours, though prompts share beginnings with them and not when alone."""
    check_engine(TorchEngine(policy, machine), requests(7, 20))
    # The chain law compares tokens computed behind a prompt with tokens computed in it: equal to rounding.
    check_scorer(TorchEngine(policy, machine), questions(7), tolerance=1e-4 if machine is MACHINE else 0.1)
    asked = questions(13)
    together = TorchEngine(policy, machine).score(asked)
    assert TorchEngine(policy, machine).score(asked[::-1])[::-1] == together
    assert [TorchEngine(policy, machine).score([one])[0] for one in asked] == together


@MACHINES
def test_trunks_change_no_bit(policy: Policy, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sequences that read a shared trunk while they are decoded, and those that do not, with rows that outgrow shelves."""
    asked = requests(12, 100)
    found = []
    for positions, slots in ((1, 3), (1, 12), (1 << 40, 12)):
        monkeypatch.setattr("burnish.rollout.prompts.TRUNK_POSITIONS", positions)
        found.append(TorchEngine(policy, replace(machine, slots=slots)).generate(asked))
    assert found[0] == found[1] == found[2]


def count_tokens(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many tokens each later forward pass over prompts computes."""
    counts: list[int] = []
    run = LlamaForward.run

    def counted(self: LlamaForward, spans: Any, *args: Any, **kwargs: Any) -> Any:
        counts.append(sum(len(span.tokens) for span in spans))
        return run(self, spans, *args, **kwargs)

    monkeypatch.setattr(LlamaForward, "run", counted)
    return counts


def test_a_shared_beginning_is_computed_once(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    """20 prompts of 320 + 5 tokens: 320 + 20 x 5 = 420 instead of 6,500; four letters need nothing more, and three tokens
    two more for each of two continuations: 80.
    """
    counts = count_tokens(monkeypatch)
    block = tuple(i * 7 % 240 + 5 for i in range(320))
    asked = [(*block, 5 + i, 6 + i, 7, 8, 9) for i in range(20)]
    engine = TorchEngine(policy, MACHINE)
    letters = engine.score([Continuations(p, ((5,), (6,), (7,), (8,))) for p in asked])
    assert sum(counts) == 420
    counts.clear()
    engine.score([Continuations(p, ((5, 6, 7), (6, 7, 8))) for p in asked] * 2)
    assert sum(counts) == 420 + 80
    counts.clear()
    engine.generate([Request(p, Sampling(max_tokens=1), 0) for p in asked] * 2)
    assert sum(counts) == 420
    assert len(letters) == 20


@MACHINES
def test_little_memory_costs_time_and_changes_no_bit(policy: Policy, machine: Machine) -> None:
    """With room for almost nothing one sequence runs at a time and prompts are forgotten; rounds of equal prompts too."""
    asked, scored = requests(10, 20) * 2, questions(10)
    plenty, little = TorchEngine(policy, machine), TorchEngine(policy, machine, room=1000)
    assert little.generate(asked) == plenty.generate(asked)
    assert little.score(scored) == plenty.score(scored)


def test_what_is_kept_stays_in_its_room(policy: Policy) -> None:
    """60 prompts of 40 tokens, wanted twice each in rounds: what is kept after the first round fits into the room."""
    from burnish.rollout.prompts import Prompts

    forward = LlamaForward(policy.model, torch.float32)
    queue = [tuple((i * 11 + j) % 240 + 5 for j in range(40)) for i in range(60)]
    one = 40 * forward.shape.position_bytes + 4 * policy.model.config.vocab_size
    with torch.inference_mode():
        store = Prompts(forward, queue * 2, 4, room=2 * 20 * one)
        held = []
        for i, prompt in enumerate(queue * 2):
            computed = store.take(prompt, (queue * 2)[i + 1 : i + 5])
            assert computed.bytes == one
            held.append(store.held)
    assert max(held) <= 20 * one
    assert max(held) >= 15 * one
    assert held[-1] == 0


def test_greedy_says_whether_each_token_is_the_likeliest(policy: Policy) -> None:
    prompt = prompts(1)[0]
    engine = TorchEngine(policy, MACHINE)
    (reply,) = engine.generate([Request(prompt, Sampling(temperature=0.0, max_tokens=6), 0)])
    wrong = (*reply.token_ids[:-1], reply.token_ids[-1] + 1)
    (scored,) = engine.score([Continuations(prompt, (reply.token_ids, wrong, reply.token_ids[:1]))])
    assert scored.greedy == (True, False, True)
    assert scored.logprobs[0] == pytest.approx(reply.logprobs, abs=1e-5)
    assert scored.logprobs[2] == scored.logprobs[0][:1]


@pytest.mark.parametrize("engine", [TorchEngine, HFEngine])
@pytest.mark.parametrize(
    ("prompt", "continuations", "said"),
    [
        ((), ((5,),), "request 1: the prompt has no tokens"),
        ((5,), ((5,), ()), "request 1: continuation 1 has no tokens"),
        ((5,) * 2040, ((5,), (6,) * 9), r"2,040 tokens and a continuation of 9 need 2,049 positions.*context is 2,048"),
    ],
)
def test_impossible_continuations_are_refused(
    policy: Policy, engine: Any, prompt: tuple[int, ...], continuations: tuple[tuple[int, ...], ...], said: str
) -> None:
    with pytest.raises(RecipeError, match=said):
        engine(policy, MACHINE).score([Continuations((5,), ((6,),)), Continuations(prompt, continuations)])


def test_free_bytes_by_hand(tmp_path: Path) -> None:
    """3,000 kB free in the system and 5,000,000 - 4,500,000 bytes in the container: 500,000; without a limit, the system's."""
    cpu = torch.device("cpu")
    assert free_bytes(cpu, tmp_path) == 4 << 30
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:    3000 kB\n")
    assert free_bytes(cpu, tmp_path) == 3000 * 1024
    group = tmp_path / "sys/fs/cgroup"
    group.mkdir(parents=True)
    (group / "memory.current").write_text("4500000\n")
    (group / "memory.max").write_text("5000000\n")
    assert free_bytes(cpu, tmp_path) == 500_000
    (group / "memory.max").write_text("max\n")
    assert free_bytes(cpu, tmp_path) == 3000 * 1024


def test_the_laws_catch_engines_that_break_them(policy: Policy) -> None:
    class Forgetful(TorchEngine):
        """Its replies depend on how many requests there are."""

        def generate(self, requests: Any, *args: Any) -> Any:
            return super().generate([replace(r, seed=r.seed + len(requests)) for r in requests], *args)

        def score(self, requests: Any, *args: Any) -> Any:
            cut = [replace(r, prompt_ids=r.prompt_ids[len(requests) - 1 :] or (5,)) for r in requests]
            return super().score(cut, *args)

    with pytest.raises(AssertionError, match="law neighbours"):
        check_engine(Forgetful(policy, MACHINE), requests(3, 20))
    with pytest.raises(AssertionError, match="law neighbours"):
        check_scorer(Forgetful(policy, MACHINE), questions(3))
    with pytest.raises(ValueError, match="at least 3"):
        check_engine(TorchEngine(policy, MACHINE), requests(2))
