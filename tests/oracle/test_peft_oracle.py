"""LoRA, DoRA and rsLoRA against peft: the same losses, gradients and weights, and adapters that change hands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from burnish.losses.batch import Sequences, TokenBatch
from burnish.losses.sft import SFTLoss
from burnish.model.adapter import save_adapter
from burnish.model.lora import AdaptedLinear, adapters
from burnish.model.policy import Policy
from burnish.model.reward import RewardModel
from burnish.model.toy import make_toy
from burnish.model.trains import LoRA
from burnish.pipeline.machine import Machine
from burnish.train.learner import Learner
from burnish.train.optimizer import AdamW

pytestmark = [
    pytest.mark.oracle,
    # peft 0.21 asks transformers 5 by an older name.
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"),
]
peft = pytest.importorskip("peft")
torch.set_num_threads(1)

KINDS = {
    "lora": LoRA(rank=4, alpha=6.0),
    "two targets": LoRA(rank=3, alpha=8.0, targets=("q_proj", "mlp.down_proj")),
    "rslora": LoRA(rank=4, alpha=6.0, rslora=True),
    "dora": LoRA(rank=4, alpha=6.0, dora=True),
    "dora rslora": LoRA(rank=2, alpha=3.0, targets=("v_proj", "up_proj"), dora=True, rslora=True),
}
LENGTHS = (9, 14, 6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sizes = {"hidden_size": 32, "intermediate_size": 48}
    return make_toy(tmp_path_factory.mktemp("toy") / "model", **sizes)


@pytest.fixture
def _norms_in_their_own_type(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """transformers computes norms in float32 whatever the model's type, which hides differences below 1e-7."""

    def forward(self: LlamaRMSNorm, x: Tensor) -> Tensor:
        scaled: Tensor = self.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)
        return scaled

    with monkeypatch.context() as patch:
        patch.setattr(LlamaRMSNorm, "forward", forward)
        yield


def rows(step: int) -> Sequences:
    found = [torch.arange(n) * (7 * step + i + 3) % 400 for i, n in enumerate(LENGTHS)]
    tokens = torch.nn.utils.rnn.pad_sequence(found, batch_first=True)
    lengths = torch.tensor(LENGTHS)
    at = torch.arange(tokens.shape[1])
    return Sequences(tokens, lengths, (at > 1) & (at < lengths[:, None]) & (at % 3 > 0))


def ours(folder: Path, settings: LoRA, *, fast: bool = True) -> Policy:
    policy = Policy.load(folder, Machine(), trainable=True, trains=settings, seed=3).to(torch.float64)
    if not fast:
        policy._fast = None
    return policy


def theirs(folder: Path, settings: LoRA, start: Policy) -> Any:
    """A peft model whose adapters start as ours do."""
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64)
    names = sorted({name.rpartition(".")[2] for name in adapters(start.model)})
    config = peft.LoraConfig(
        r=settings.rank, lora_alpha=settings.alpha, target_modules=list(settings.targets) or names, use_dora=settings.dora,
        use_rslora=settings.rslora, lora_dropout=0.0, bias="none", task_type="CAUSAL_LM",
    )  # fmt: skip
    model = peft.get_peft_model(base, config, autocast_adapter_dtype=False)
    with torch.no_grad():
        for name, module in adapters(start.model).items():
            layer = model.base_model.model.get_submodule(name)
            layer.lora_A["default"].weight.copy_(module.lora_A)
            assert not layer.lora_B["default"].weight.any()
            if module.lora_magnitude is not None:
                magnitude = layer.lora_magnitude_vector["default"].weight
                magnitude.copy_(module.lora_magnitude)
    return model.eval()


def logprobs(model: Any, sequences: Sequences) -> Tensor:
    """The sum over masked tokens, from full logits of a right-padded batch."""
    tokens, mask = sequences.tokens_BT, sequences.mask_BT
    inside = torch.arange(tokens.shape[1]) < sequences.lengths_B[:, None]
    logits = model(input_ids=tokens, attention_mask=inside.long()).logits
    logp = logits[:, :-1].log_softmax(-1).gather(2, tokens[:, 1:, None])[..., 0]
    picked: Tensor = logp[mask[:, 1:]]
    return picked


def parts(module: AdaptedLinear, layer: Any) -> Iterator[tuple[Any, Any]]:
    yield module.lora_A, layer.lora_A["default"].weight
    yield module.lora_B, layer.lora_B["default"].weight
    if module.lora_magnitude is not None:
        yield module.lora_magnitude, layer.lora_magnitude_vector["default"].weight


@pytest.mark.usefixtures("_norms_in_their_own_type")
@pytest.mark.parametrize("fast", [True, False], ids=["packed", "transformers"])
@pytest.mark.parametrize("kind", KINDS)
def test_steps_against_peft(folder: Path, kind: str, fast: bool) -> None:
    """Five steps of AdamW with decay and clipping: loss, gradients and adapters to 1e-10 in float64."""
    settings = KINDS[kind]
    policy = ours(folder, settings, fast=fast)
    for module in adapters(policy.model).values():
        if module.lora_magnitude is not None:
            assert (module.lora_magnitude - module.weight.norm(dim=1)).abs().max() < 1e-6
    model = theirs(folder, settings, policy)
    learner = Learner(policy, Machine(), AdamW(eps=1e-4, weight_decay=0.1), clip_norm=0.5)
    trained = [w for w in model.parameters() if w.requires_grad]
    assert len(trained) == len([w for w in policy.model.parameters() if w.requires_grad])
    groups = [
        {"params": [w for w in trained if w.ndim > 1], "weight_decay": 0.1},
        {"params": [w for w in trained if w.ndim == 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=1e-2, eps=1e-4)
    for step in range(5):
        batch = TokenBatch(rows(step))
        found = learner.forward_backward([batch], SFTLoss())
        loss = -logprobs(model, batch.sequences).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        assert found["loss"] == pytest.approx(float(loss.detach()), abs=1e-10)
        for name, module in adapters(policy.model).items():
            for mine, other in parts(module, model.base_model.model.get_submodule(name)):
                assert (mine.grad - other.grad).abs().max() < 1e-10, name
        norm = torch.nn.utils.clip_grad_norm_(trained, 0.5)
        assert learner.step(1e-2) == pytest.approx(float(norm), abs=1e-10)
        optimizer.step()
        optimizer.zero_grad()
    for name, module in adapters(policy.model).items():
        for mine, other in parts(module, model.base_model.model.get_submodule(name)):
            assert (mine - other).abs().max() < 1e-10, name
    with torch.no_grad():
        merged = model.merge_and_unload()
        for name, module in adapters(policy.model).items():
            assert (module.merged() - merged.get_submodule(name).weight).abs().max() < 1e-10, name


def moved(folder: Path, settings: LoRA) -> Policy:
    """A float32 policy whose adapters did learn something."""
    policy = Policy.load(folder, Machine(), trainable=True, trains=settings, seed=5)
    learner = Learner(policy, Machine(), AdamW())
    for step in range(3):
        learner.forward_backward([TokenBatch(rows(step))], SFTLoss())
        learner.step(1e-2)
    return policy


@pytest.mark.parametrize("kind", KINDS)
def test_our_adapter_loads_in_peft(folder: Path, tmp_path: Path, kind: str) -> None:
    policy = moved(folder, KINDS[kind])
    save_adapter(policy.model, tmp_path / "adapter")
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model = peft.PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    assert peft.PeftConfig.from_pretrained(tmp_path / "adapter").base_model_name_or_path == str(folder.resolve())
    sequences = rows(9)
    with torch.no_grad():
        mine = policy.logprobs(sequences)[sequences.mask_BT]
        plain = Policy.load(folder, Machine()).logprobs(sequences)[sequences.mask_BT]
        assert (mine - logprobs(model, sequences)).abs().max() < 1e-4
    assert (mine - plain).abs().max() > 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_pefts_adapter_loads_here(folder: Path, tmp_path: Path, kind: str) -> None:
    policy = moved(folder, KINDS[kind])
    model = theirs(folder, KINDS[kind], policy).float()
    with torch.no_grad():
        for name, module in adapters(policy.model).items():
            for mine, other in parts(module, model.base_model.model.get_submodule(name)):
                other.copy_(mine)
    model.save_pretrained(tmp_path / "adapter")
    sequences = rows(9)
    found = Policy.load(tmp_path / "adapter", Machine()).logprobs(sequences)
    with torch.no_grad():
        assert (found - policy.logprobs(sequences)).abs().max() < 1e-4
        assert (found[sequences.mask_BT] - logprobs(model, sequences)).abs().max() < 1e-4


def test_rank_and_alpha_patterns_of_peft_are_merged(folder: Path, tmp_path: Path) -> None:
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    config = peft.LoraConfig(
        r=4, lora_alpha=8, target_modules=["q_proj", "up_proj"], rank_pattern={"q_proj": 2}, alpha_pattern={"q_proj": 5},
        init_lora_weights=False, task_type="CAUSAL_LM",
    )  # fmt: skip
    model = peft.get_peft_model(base, config).eval()
    model.save_pretrained(tmp_path / "adapter")
    sequences = rows(2)
    found = Policy.load(tmp_path / "adapter", Machine()).logprobs(sequences)[sequences.mask_BT]
    with torch.no_grad():
        assert (found - logprobs(model, sequences)).abs().max() < 1e-4


def test_a_reward_models_adapter_loads_in_peft(folder: Path, tmp_path: Path) -> None:
    """Its head is trained whole: peft's modules_to_save. transformers reads the score at the last token."""
    policy = Policy.load(folder, Machine(), trainable=True, trains=LoRA(4), seed=1)
    model = RewardModel.start(policy, seed=2)
    with torch.no_grad():
        for module in adapters(policy.model).values():
            module.lora_B.normal_(std=0.1, generator=torch.Generator().manual_seed(0))
    save_adapter(model.model, tmp_path / "adapter")
    base = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1, dtype=torch.float32)
    other = peft.PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    tokens = torch.arange(3, 12)[None]
    mask = torch.zeros_like(tokens, dtype=torch.bool)
    mask[0, 8] = True
    with torch.no_grad():
        mine = model.scores(Sequences(tokens, torch.tensor([9]), mask))
        assert float(other(input_ids=tokens).logits[0, 0]) == pytest.approx(float(mine[0]), abs=1e-4)
