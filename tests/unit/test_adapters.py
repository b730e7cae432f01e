"""Adapters and frozen layers: what is trained, what is kept, what is written, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from training_runs import DATA, EVERY_STEP, STAGES, START, context, demos, pairs, prepare, problems

from burnish.core.fingerprint import fingerprint
from burnish.errors import ModelError, RecipeError
from burnish.losses.batch import Sequences, TokenBatch
from burnish.losses.sft import SFTLoss
from burnish.model.adapter import save_adapter
from burnish.model.base import BaseModel
from burnish.model.lora import adapters, adapters_off, plain_weights
from burnish.model.policy import Policy
from burnish.model.reward import RewardModel
from burnish.model.toy import make_toy
from burnish.model.trains import All, Layers, LoRA
from burnish.pipeline.machine import Machine
from burnish.rollout.engine import Request, Sampling
from burnish.rollout.torch_engine import TorchEngine
from burnish.train.learner import Learner
from burnish.train.moving_reference import Reference, RefreshEvery
from burnish.train.optimizer import AdamW
from burnish.train.reward import RewardModeling
from burnish.train.schedule import Constant
from burnish.train.sft import SFT

torch.set_num_threads(1)
EXACT, NARROW = Machine(), Machine(compute="bf16")
KINDS = {
    "lora": LoRA(rank=4, alpha=6.0),
    "some": LoRA(rank=3, alpha=8.0, targets=("k_proj", "mlp.up_proj")),
    "dora": LoRA(rank=4, alpha=6.0, dora=True),
    "some dora": LoRA(rank=2, alpha=3.0, targets=("v_proj", "o_proj", "gate_proj"), dora=True, rslora=True),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_toy(tmp_path_factory.mktemp("toy") / "model", hidden_size=32, intermediate_size=48)


@pytest.fixture(scope="module")
def biased(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose query, key, value and output projections have biases, and whose head is not its embedding table."""
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("biased") / "model"
    make_toy(folder, hidden_size=32, intermediate_size=48, attention_bias=True, tie_word_embeddings=False)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("bias"):
                weight.normal_(generator=torch.Generator().manual_seed(len(name)))
    model.save_pretrained(folder)
    return folder


def rows(seed: int = 0) -> Sequences:
    tokens = torch.randint(3, 400, (3, 12), generator=torch.Generator().manual_seed(seed))
    lengths = torch.tensor([12, 7, 10])
    at = torch.arange(12)
    return Sequences(tokens, lengths, (at > 2) & (at < lengths[:, None]))


def adapted(folder: Path, settings: LoRA, machine: Machine = EXACT, *, moved: bool = True) -> Policy:
    """A policy whose adapters, if moved, do something."""
    policy = Policy.load(folder, machine, trainable=True, trains=settings, seed=3)
    g = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for module in adapters(policy.model).values() if moved else ():
            module.lora_B.normal_(std=0.2, generator=g)
            if module.lora_magnitude is not None:
                module.lora_magnitude.mul_(1 + torch.rand(module.out_features, generator=g))
    return policy


def gradients(policy: Policy, sequences: Sequences) -> dict[str, Any]:
    policy.logprobs(sequences).sum().backward()  # type: ignore[no-untyped-call]
    found = {name: weight.grad for name, weight in policy.model.named_parameters()}
    policy.model.zero_grad()
    return found


def test_adapters_start_at_the_base_bit_for_bit(folder: Path) -> None:
    plain = Policy.load(folder, EXACT)
    for settings in KINDS.values():
        policy = adapted(folder, settings, moved=False)
        assert torch.equal(policy.logprobs(rows()), plain.logprobs(rows()))
        assert policy.checksum() == plain.checksum()


def test_adapters_come_from_the_seed(folder: Path) -> None:
    first, again, other = (Policy.load(folder, EXACT, trainable=True, trains=LoRA(4), seed=s) for s in (1, 1, 2))
    name = "model.layers.1.mlp.up_proj"
    a, b, c = (adapters(policy.model)[name].lora_A.detach() for policy in (first, again, other))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert not torch.equal(a, adapters(first.model)["model.layers.0.mlp.up_proj"].lora_A)
    assert a.abs().max() <= 32**-0.5
    assert a.std() == pytest.approx((32 * 3) ** -0.5, rel=0.2)  # a uniform number in ±b has a deviation of b / sqrt(3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("which", ["folder", "biased"])
def test_the_merged_model_computes_the_same(
    kind: str, which: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    policy = adapted(request.getfixturevalue(which), KINDS[kind])
    assert policy._fast is not None
    policy.save(tmp_path / "model")
    merged = Policy.load(tmp_path / "model", EXACT)
    assert type(merged.model.model.layers[0].self_attn.q_proj) is torch.nn.Linear
    assert (merged.logprobs(rows()) - policy.logprobs(rows())).abs().max() < 1e-4
    assert merged.checksum() == policy.checksum()
    assert [name for name, _ in plain_weights(policy.model)] == [n for n, _ in merged.model.named_parameters()]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("which", ["folder", "biased"])
def test_the_packed_path_against_the_modules_own(kind: str, which: str, request: pytest.FixtureRequest) -> None:
    """Log-probs and every gradient of hand-written backward passes, against autograd through the modules."""
    policy = adapted(request.getfixturevalue(which), KINDS[kind]).to(torch.float64)
    fast, mine = policy.logprobs(rows()), gradients(policy, rows())
    policy._fast = None
    assert (policy.logprobs(rows()) - fast).abs().max() < 1e-5  # transformers computes norms in float32
    for name, other in gradients(policy, rows()).items():
        if other is None:
            assert mine[name] is None, name
        else:
            assert (mine[name] - other).abs().max() < 1e-4 * max(1.0, float(other.abs().max())), name


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_by_the_chain_rule(folder: Path, kind: str, tmp_path: Path) -> None:
    """Of y = x W'^T with W' = W + s B A and G the gradient of W': dA = s B^T G and dB = s G A^T.

    With DoRA W' is diag(m / c) (W + s B A) with c held constant, so G is multiplied by m / c first, and
    dm_o = sum_i G_oi (W + s B A)_oi / c_o.
    """
    policy = adapted(folder, KINDS[kind])
    policy.save(tmp_path / "model")
    full = Policy.load(tmp_path / "model", EXACT, trainable=True)
    whole, found = gradients(full.to(torch.float64), rows()), gradients(policy.to(torch.float64), rows())
    for name, module in adapters(policy.model).items():
        g, scaling = whole[f"{name}.weight"], KINDS[kind].scaling
        if module.lora_magnitude is not None:
            total = module.weight + scaling * module.lora_B @ module.lora_A
            lengths = total.norm(dim=1)
            expected = (g * total).sum(1) / lengths
            assert (found[f"{name}.lora_magnitude"] - expected).abs().max() < 1e-4
            g = g * (module.lora_magnitude / lengths)[:, None]
        assert (found[f"{name}.lora_A"] - scaling * module.lora_B.T @ g).abs().max() < 1e-4
        assert (found[f"{name}.lora_B"] - scaling * g @ module.lora_A.T).abs().max() < 1e-4


def test_bf16_products_stay_near(folder: Path) -> None:
    for settings in KINDS.values():
        wide, narrow = adapted(folder, settings), adapted(folder, settings, NARROW)
        assert (wide.logprobs(rows()) - narrow.logprobs(rows())).abs().max() < 0.2
        exact, rounded = gradients(wide, rows()), gradients(narrow, rows())
        for name, grad in exact.items():
            assert (grad is None) == (rounded[name] is None)
            if grad is not None:
                assert rounded[name].dtype == torch.float32
                assert torch.cosine_similarity(grad.flatten(), rounded[name].flatten(), 0) > 0.98, name


def test_frozen_weights_have_no_gradient_and_no_optimizer_state(folder: Path) -> None:
    policy = adapted(folder, LoRA(2), moved=False)
    learner = Learner(policy, EXACT, AdamW())
    learner.forward_backward([TokenBatch(rows())], SFTLoss())
    for name, weight in policy.model.named_parameters():
        assert (weight.grad is not None) == ("lora_" in name), name
    learner.step(1e-2)
    held = {id(w) for o in learner._optimizers for w in o.state}
    assert held == {id(w) for n, w in policy.model.named_parameters() if "lora_" in n}


def test_frozen_weights_that_are_bf16_numbers_are_held_as_such(folder: Path, tmp_path: Path) -> None:
    """Rounded once, a weight is its own rounding: held in half the bytes, and nothing computed changes."""
    rounded = Policy.load(folder, EXACT)
    with torch.no_grad():
        for weight in rounded.model.parameters():
            weight.copy_(weight.bfloat16().float())
    rounded.save(tmp_path / "rounded")
    settings = LoRA(2, targets=("q_proj", "down_proj"))
    for source, dtype in ((tmp_path / "rounded", torch.bfloat16), (folder, torch.float32)):
        policy = adapted(source, settings, NARROW)
        held = {w.dtype for n, w in policy.model.named_parameters() if "proj" in n and "lora_" not in n}
        assert held == {dtype}
        assert policy.dtype == torch.float32
        policy.save(tmp_path / "merged")
        assert {w.dtype for w in load_file(tmp_path / "merged" / "model.safetensors").values()} == {torch.float32}
        wide = Policy.load(source, NARROW, trainable=True, trains=All())
        with torch.no_grad(), adapters_off(policy.model):
            assert torch.equal(policy.logprobs(rows()), wide.logprobs(rows()))


def test_without_adapters_it_is_the_start(folder: Path) -> None:
    policy, plain = adapted(folder, KINDS["dora"]), Policy.load(folder, EXACT)
    moved = policy.logprobs(rows())
    for fast in (policy._fast, None):
        policy._fast = fast
        with adapters_off(policy.model):
            assert (policy.logprobs(rows()) - plain.logprobs(rows())).abs().max() < 1e-4
        assert (policy.logprobs(rows()) - moved).abs().max() < 1e-4
    assert (moved - plain.logprobs(rows())).abs().max() > 0.1


def test_an_engine_gets_merged_weights(folder: Path, tmp_path: Path) -> None:
    policy = adapted(folder, KINDS["dora"])
    policy.save(tmp_path / "model")
    merged = Policy.load(tmp_path / "model", EXACT)
    request = Request((5, 9, 200), Sampling(max_tokens=12, temperature=1.0), seed=7)
    found, expected, base = (
        TorchEngine(p, EXACT).generate([request])[0].token_ids for p in (policy, merged, Policy.load(folder, EXACT))
    )
    assert found == expected != base
    engine = TorchEngine(Policy.load(folder, EXACT), EXACT)
    engine.load_weights(policy, "1")
    assert engine.generate([request])[0].token_ids == expected


# --- stages ---


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    prepare(folder, [*demos(), *pairs(), *problems()])
    return folder


class PowerCut(BaseException):
    """Not an Error: nothing in the code expects it."""


@pytest.mark.parametrize(
    ("name", "trains"),
    [
        ("sft", LoRA(4, dora=True)),
        ("dpo", LoRA(4)),
        ("rl", LoRA(4)),
        ("sft", Layers(last=1, head=True, embeddings=True)),
    ],
)
def test_a_power_cut_changes_nothing(
    name: str, trains: LoRA | Layers, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut in three steps in a row, with a checkpoint after every step: the same model and adapter, bit for bit."""
    plain: Any = STAGES[name]
    stage = dataclasses.replace(plain, trains=trains)
    straight, cut = (context(root, f"{tmp_path.name}-{part}", EVERY_STEP) for part in ("straight", "cut"))
    stage.run(straight)
    step = Learner.step
    for after in (2, 1, 3):
        left = iter(range(after))

        def stops(self: Learner, lr: float, left: Any = left) -> float:
            if next(left, None) is None:
                raise PowerCut
            return step(self, lr)

        with monkeypatch.context() as patch:
            patch.setattr(Learner, "step", stops)
            with pytest.raises(PowerCut):
                stage.run(cut)
    stage.run(cut)
    files = ["model/model.safetensors"] + (["adapter/adapter_model.safetensors"] if isinstance(trains, LoRA) else [])
    for file in files:
        assert (straight.out / file).read_bytes() == (cut.out / file).read_bytes(), file
    assert (straight.out / "adapter").exists() == isinstance(trains, LoRA)


def test_a_checkpoint_holds_only_what_is_trained(root: Path, tmp_path: Path) -> None:
    sizes = {}
    for label, trains in (("all", All()), ("lora", LoRA(2)), ("layers", Layers(last=1))):
        policy = Policy.load(root / "start" / "model", EXACT, trainable=True, trains=trains)
        learner = Learner(policy, EXACT)
        learner.forward_backward([TokenBatch(rows())], SFTLoss())
        learner.step(1e-3)
        learner.save(tmp_path / label)
        sizes[label] = {f.name: f.stat().st_size for f in (tmp_path / label).iterdir()}
        trained = sum(w.numel() for w in policy.model.parameters() if w.requires_grad)
        assert sizes[label]["optimizer.safetensors"] == pytest.approx(8 * trained, rel=0.4)
    assert (
        sizes["lora"]["weights.safetensors"]
        < sizes["layers"]["weights.safetensors"]
        < sizes["all"]["weights.safetensors"]
    )


def test_what_a_stage_with_adapters_leaves(root: Path) -> None:
    """A plain model, and beside it the adapter, which is the same model once it is merged."""
    plain: Any = STAGES["dpo"]
    stage = dataclasses.replace(plain, trains=LoRA(4, dora=True))
    ctx = context(root, "dpo-lora", EVERY_STEP)
    stage.run(ctx)
    assert {p.name for p in ctx.out.iterdir()} == {"model", "adapter", "metrics.jsonl", "data_report.json"}
    assert {p.name for p in (ctx.out / "adapter").iterdir()} == {
        "adapter_config.json", "adapter_model.safetensors", "base.json",
    }  # fmt: skip
    model, adapter = (Policy.load(ctx.out / part, EXACT) for part in ("model", "adapter"))
    assert model.checksum() == adapter.checksum() != Policy.load(root / "start" / "model", EXACT).checksum()
    first = json.loads((ctx.out / "metrics.jsonl").read_text().splitlines()[0])
    assert first["margin"] == pytest.approx(0, abs=1e-4)  # the reference is the base, where adapters start


def test_rl_with_adapters_keeps_one_model_in_memory(root: Path) -> None:
    """The KL term's reference is the trained policy without its adapters: no second model, the same metrics."""
    whole: Any = STAGES["rl"]
    stage = dataclasses.replace(whole, trains=LoRA(4), steps=2)
    policy = Policy.load(root / "start" / "model", EXACT, trainable=True, trains=stage.trains)
    ctx = context(root, "rl-lora", EVERY_STEP)
    assert Reference(policy, stage.start, ctx, None).policy is policy
    assert Reference(policy, stage.start, ctx, RefreshEvery(2)).policy is not policy  # it moves apart from the start
    stage.run(ctx)
    first = json.loads((ctx.out / "metrics.jsonl").read_text().splitlines()[0])
    assert first["kl"] >= 0
    plain = Policy.load(root / "start" / "model", EXACT)
    assert Reference(plain, stage.start, ctx, None).policy is not plain


def test_a_reward_models_head_is_always_trained(root: Path) -> None:
    for trains in (LoRA(2), Layers(last=1)):
        policy = Policy.load(root / "start" / "model", EXACT, trainable=True, trains=trains)
        model = RewardModel.start(policy, seed=0)
        assert model.model.score.weight.requires_grad
    stage = RewardModeling(START, DATA, global_batch=2, lr=Constant(1e-2), max_tokens=200, trains=LoRA(4))
    ctx = context(root, "reward-lora", EVERY_STEP)
    stage.run(ctx)
    saved = RewardModel.load(ctx.out / "model", EXACT)
    head = load_file(ctx.out / "adapter" / "adapter_model.safetensors")["base_model.model.score.weight"]
    assert torch.equal(saved.model.score.weight, head)
    assert not torch.equal(head, RewardModel.start(policy, seed=0).model.score.weight)
    records = [json.loads(line) for line in (ctx.out / "metrics.jsonl").read_text().splitlines()]
    assert len(records) == 3
    with pytest.raises(ModelError, match="adapter of a reward model"):
        Policy.load(ctx.out / "adapter", EXACT)


def test_training_everything_is_what_stages_did_before() -> None:
    stage = SFT(START, DATA)
    assert fingerprint(stage) == fingerprint(dataclasses.replace(stage, trains=All()))
    others = {
        fingerprint(dataclasses.replace(stage, trains=t)) for t in (LoRA(8), LoRA(9), Layers(last=1), Layers(last=2))
    }
    assert len(others | {fingerprint(stage)}) == 5


# --- layers ---


@pytest.mark.parametrize(
    ("trains", "expected"),
    [
        (Layers(last=1), {"model.layers.1.", "model.norm."}),
        (Layers(these=(0,), norms=False), {"model.layers.0.self_attn", "model.layers.0.mlp"}),
        (Layers(last=1, these=(0,), head=True), {"model.layers.", "model.norm.", "lm_head."}),
        (Layers(embeddings=True, norms=False), {"model.embed_tokens."}),
    ],
)
def test_only_the_named_layers_move(biased: Path, trains: Layers, expected: set[str]) -> None:
    policy = Policy.load(biased, EXACT, trainable=True, trains=trains)
    before = {name: weight.detach().clone() for name, weight in policy.model.named_parameters()}
    learner = Learner(policy, EXACT)
    learner.forward_backward([TokenBatch(rows())], SFTLoss())
    for name, weight in policy.model.named_parameters():
        assert (weight.grad is not None) == name.startswith(tuple(expected)), name
    learner.step(1e-2)
    for name, weight in policy.model.named_parameters():
        assert torch.equal(weight, before[name]) != name.startswith(tuple(expected)), name


def test_frozen_layers_do_not_change_the_gradients_of_others(folder: Path) -> None:
    """Of what is trained, the packed path gives the gradients of full fine-tuning, bit for bit."""
    full = gradients(Policy.load(folder, EXACT, trainable=True), rows())
    for trains in (Layers(last=1), Layers(these=(0,)), Layers(embeddings=True, head=True)):
        found = gradients(Policy.load(folder, EXACT, trainable=True, trains=trains), rows())
        assert any(grad is not None for grad in found.values())
        assert all(grad is None or torch.equal(grad, full[name]) for name, grad in found.items())


# --- refusals ---


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: LoRA(rank=0), r"rank=0.*at least one row"),
        (lambda: LoRA(alpha=0.0), r"alpha=0\.0"),
        (lambda: LoRA(quantize="nf3"), r"nf3.*Did you mean 'nf4'"),  # type: ignore[arg-type]
        (lambda: Layers(), "no layer is named"),
        (lambda: Layers(these=(-1,)), "counted from 0"),
    ],
)
def test_values_that_cannot_work_are_refused_when_written(build: Any, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        build()


@pytest.mark.parametrize(
    ("trains", "said"),
    [
        (LoRA(targets=("q_porj",)), r"'q_porj' names no linear layer.*Did you mean 'q_proj'"),
        (LoRA(targets=("lm_head",)), "head takes no adapter"),
        (LoRA(targets=("proj",)), "'proj' names no linear layer"),
        (Layers(last=3), "has 2 layers"),
        (Layers(these=(2,)), "0 to 1"),
        (Layers(head=True), "one weight"),
    ],
)
def test_what_a_model_does_not_have_is_refused(folder: Path, trains: LoRA | Layers, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        Policy.load(folder, EXACT, trainable=True, trains=trains)


# --- adapters on disk ---


@pytest.fixture
def adapter(folder: Path, tmp_path: Path) -> Path:
    save_adapter(adapted(folder, KINDS["lora"]).model, tmp_path / "adapter")
    return tmp_path / "adapter"


def rewrite(adapter: Path, **changes: Any) -> None:
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_recipe_can_start_from_an_adapter(folder: Path, adapter: Path, tmp_path: Path) -> None:
    base = BaseModel(str(adapter))
    base.check(None)
    ctx = context(tmp_path, "base", EXACT)
    base.run(ctx)
    merged = Policy.load(ctx.out / "model", EXACT)
    assert merged.checksum() == adapted(folder, KINDS["lora"]).checksum()
    assert not (ctx.out / "model" / "adapter_config.json").exists()
    assert (ctx.out / "model" / "chat_template.jinja").exists()


def test_an_adapters_identity_is_its_weights_and_its_base(folder: Path, adapter: Path, tmp_path: Path) -> None:
    first = fingerprint(BaseModel(str(adapter)))
    shutil.copytree(folder, tmp_path / "moved")
    rewrite(adapter, base_model_name_or_path=str(tmp_path / "moved"))
    assert fingerprint(BaseModel(str(adapter))) == first
    rewrite(adapter, lora_alpha=7)
    assert fingerprint(BaseModel(str(adapter))) != first


def test_bf16_policies_are_merged_before_they_are_rounded(folder: Path, adapter: Path, tmp_path: Path) -> None:
    adapted(folder, KINDS["lora"]).save(tmp_path / "model")
    found, expected = (Policy.load(path, NARROW) for path in (adapter, tmp_path / "model"))
    assert found.dtype == torch.bfloat16
    assert found.checksum() == expected.checksum()
    assert torch.equal(found.logprobs(rows()), expected.logprobs(rows()))


def test_an_adapter_whose_base_is_not_here_names_it(adapter: Path) -> None:
    rewrite(adapter, base_model_name_or_path="someone/some-model")
    for use in (lambda: Policy.load(adapter, EXACT), lambda: BaseModel(str(adapter))):
        with pytest.raises(ModelError, match=r"'someone/some-model'.*\n.*base_model_name_or_path"):
            use()


def test_an_adapter_of_another_base_is_refused(folder: Path, adapter: Path, tmp_path: Path) -> None:
    others = {
        "differ": make_toy(tmp_path / "seed", seed=1, hidden_size=32, intermediate_size=48),
        r"its model\.layers\.0\.mlp\.\w+ is": make_toy(tmp_path / "wide", hidden_size=32, intermediate_size=64),
        r"changes model\.layers\.1": make_toy(
            tmp_path / "short", hidden_size=32, intermediate_size=48, num_hidden_layers=1
        ),
    }
    for said, base in others.items():
        rewrite(adapter, base_model_name_or_path=str(base))
        if said == "differ":
            shutil.copy(adapter / "base.json", tmp_path)
        with pytest.raises(ModelError, match="weights that differ"):
            Policy.load(adapter, EXACT)
        if said != "differ":
            # As peft writes it, without a word about the base's weights.
            (adapter / "base.json").unlink()
            with pytest.raises(ModelError, match=said):
                Policy.load(adapter, EXACT)
            shutil.copy(tmp_path / "base.json", adapter)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"peft_type": "IA3"}, "peft_type='IA3'"),
        ({"bias": "all"}, "bias='all'"),
        ({"fan_in_fan_out": True}, "fan_in_fan_out"),
        ({"use_dora": True}, "lacks a part"),
    ],
)
def test_adapters_of_other_kinds_are_refused(adapter: Path, change: dict[str, Any], said: str) -> None:
    rewrite(adapter, **change)
    with pytest.raises(ModelError, match=said):
        Policy.load(adapter, EXACT)


def test_a_damaged_adapter_is_refused(adapter: Path) -> None:
    (adapter / "adapter_model.safetensors").write_bytes(b"nothing")
    with pytest.raises(ModelError, match="cannot be read"):
        Policy.load(adapter, EXACT)
    (adapter / "adapter_model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"no adapter_model\.safetensors"):
        Policy.load(adapter, EXACT)
