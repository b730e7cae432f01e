"""One optimizer step on several gloo ranks: python parallel_ranks.py FOLDER SIZE…; writes FOLDER/<size>-<sharding>.pt each,
and FOLDER/<size>-<sharding>-context<n>-tensor<n>.pt where n ranks compute a micro-batch together.

One interpreter loads torch, then forks the ranks of each size in turn: a fork costs nothing, an import seconds.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed

from burnish.core.types import Message
from burnish.errors import TrainingError
from burnish.losses.batch import PairBatch, ScoredPairBatch, Sequences, TokenBatch
from burnish.losses.dpo import DPO
from burnish.losses.reward import BradleyTerry
from burnish.losses.sft import SFTLoss
from burnish.model.parallel import Ranks, held_here, whole
from burnish.model.policy import Policy
from burnish.model.reward import RewardModel
from burnish.model.toy import make_toy
from burnish.model.trains import LoRA
from burnish.pipeline.machine import Machine
from burnish.train.learner import Learner
from burnish.train.optimizer import AdamW
from burnish.train.reference import reference_logprobs

LENGTHS = (9, 4, 17, 6, 12, 5, 23, 7)
# Uneven micro-batches; the last one of SFT has no trained token, and four ranks outnumber the pairs' batches.
ROWS = ((0, 3, 4), (1,), (2, 5, 6))
PAIRS = ((0, 2), (1,), (3,))


def sequences(rows: Sequence[int]) -> Sequences:
    chosen = [torch.arange(LENGTHS[i]) * (i + 3) % 400 for i in rows]
    tokens = torch.nn.utils.rnn.pad_sequence(chosen, batch_first=True)
    lengths = torch.tensor([LENGTHS[i] for i in rows])
    at = torch.arange(tokens.shape[1])
    mask = (at > 1) & (at < lengths[:, None]) & ((at + lengths[:, None]) % 3 > 0)
    return Sequences(tokens, lengths, mask)


def demo_batches(parts: Sequence[Sequence[int]]) -> list[TokenBatch]:
    silent = sequences([7])
    return [TokenBatch(sequences(part)) for part in parts] + [
        TokenBatch(Sequences(silent.tokens_BT, silent.lengths_B, torch.zeros_like(silent.mask_BT)))
    ]


def _halves(pairs: Sequence[int]) -> list[int]:
    return [2 * p for p in pairs] + [2 * p + 1 for p in pairs]


def pair_batches(parts: Sequence[Sequence[int]]) -> list[PairBatch]:
    return [
        PairBatch(sequences(_halves(p)), torch.tensor([-40.0 - row for row in _halves(p)], dtype=torch.float64))
        for p in parts
    ]


def scored_batches(parts: Sequence[Sequence[int]]) -> list[ScoredPairBatch]:
    return [ScoredPairBatch(sequences(_halves(p)), torch.tensor([0.5 * i for i in p])) for p in parts]


def long_batches(parts: Sequence[Sequence[int]]) -> list[TokenBatch]:
    """Rows of hundreds of tokens that share beginnings; one is longer than a rank's share of its batch."""
    rows = [torch.cat([torch.arange(60) % 17, torch.arange(30 + 140 * i) * (i + 3) % 400]) for i in range(5)]
    found = []
    for part in parts:
        tokens = torch.nn.utils.rnn.pad_sequence([rows[i] for i in part], batch_first=True)
        lengths = torch.tensor([len(rows[i]) for i in part])
        at = torch.arange(tokens.shape[1])
        found.append(TokenBatch(Sequences(tokens, lengths, (at > 50) & (at < lengths[:, None]))))
    return found


CASES: dict[str, tuple[Any, Callable[[Any], list[Any]], Any]] = {
    "sft mean": (SFTLoss("mean"), demo_batches, ROWS),
    "sft sum": (SFTLoss("sum"), demo_batches, ROWS),
    "long": (SFTLoss("mean"), long_batches, ((0, 1, 2), (4,), (3, 1))),
    "dpo": (DPO(), pair_batches, PAIRS),
    "bradley-terry": (BradleyTerry(use_margin=True), scored_batches, PAIRS),
}


@dataclass(frozen=True, slots=True)
class Broken(SFTLoss):
    """Infinite on every batch that holds the longest row."""

    def total(self, logp_BT: Tensor, batch: TokenBatch) -> Tensor:
        scale = torch.inf if int(batch.sequences.lengths_B.max()) == max(LENGTHS) else 1.0
        return SFTLoss.total(self, logp_BT, batch) * scale


# Each number of ranks, with how they hold the weights and how many compute a micro-batch together.
MACHINES: dict[int, list[dict[str, Any]]] = {
    1: [{}],
    2: [{}, {"sharding": "full"}, {"context": 2}, {"sharding": "full", "context": 2}, {"tensor": 2}],
    4: [
        {}, {"sharding": "full"}, {"sharding": "hybrid"}, {"context": 2}, {"sharding": "full", "context": 4},
        {"sharding": "hybrid", "context": 2}, {"tensor": 2}, {"context": 2, "tensor": 2},
    ],
}  # fmt: skip


def machine(size: int, **fields: Any) -> Machine:
    nodes = 2 if fields.get("sharding") == "hybrid" else 1
    return Machine(processes=size // nodes, nodes=nodes, **fields)


def label_of(size: int, where: Machine) -> str:
    teams = [f"{name}{getattr(where, name)}" for name in ("context", "tensor") if getattr(where, name) > 1]
    return "-".join([str(size), where.sharding, *teams])


# Other models than the toy, and what of them is trained or computed again: (transformers' name, configuration, machine).
SIZES: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "max_position_embeddings": 2048, "initializer_range": 0.1, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2,
}  # fmt: skip
FAMILIES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "biases": ("Llama", {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": False}, {}),
    "windows": ("Mistral", {"sliding_window": 20}, {"recompute": "attention"}),
    "norms of heads": ("Qwen3", {"head_dim": 16}, {"recompute": "layers"}),
    "transformers' layers": ("Granite", {}, {}),
    "adapters": ("Llama", {}, {}),
}


def make_family(folder: Path, name: str) -> None:
    """A model of random numbers, biases and norms too, with the toy's tokenizer."""
    import transformers

    kind, settings, _ = FAMILIES[name]
    shutil.copytree(folder / "toy", folder / name)
    vocabulary = len(transformers.AutoTokenizer.from_pretrained(folder / "toy"))
    config = getattr(transformers, f"{kind}Config")(**SIZES, vocab_size=vocabulary, **settings)
    torch.manual_seed(0)
    model = getattr(transformers, f"{kind}ForCausalLM")(config)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape) * 0.1)
    model.save_pretrained(folder / name)


def family(folder: Path, where: Machine, name: str) -> dict[str, Any]:
    """The numbers and the weights of a family's model after a step of SFT on short and long rows."""
    trains = LoRA(rank=4, alpha=8.0) if name == "adapters" else None
    where = dataclasses.replace(where, **FAMILIES[name][2])
    policy = Policy.load(folder / name, where, trainable=True, trains=trains).to(torch.float64)
    if trains is not None:
        # Adapters start from a product of 0, of which half would have no gradient.
        for weight in policy.model.parameters():
            if weight.requires_grad:
                weight.data.add_(torch.linspace(0.01, 0.02, weight.numel(), dtype=weight.dtype).view_as(weight))
    made = Learner(policy, where, AdamW(eps=1e-3, weight_decay=0.1))
    found = made.forward_backward([*demo_batches(ROWS), *long_batches([(0, 1)])], SFTLoss())
    norm = made.step(1e-2)
    held = sum(held_here(weight).numel() for weight in policy.model.parameters())
    return {"found": found, "norm": norm, "weights": state(made), "held": held}


def learner(folder: Path, where: Machine, dtype: torch.dtype, *, reward: bool = False) -> Learner:
    policy = Policy.load(folder / "toy", where, trainable=True)
    trained = RewardModel.start(policy, seed=3) if reward else policy
    return Learner(trained.to(dtype), where, AdamW(eps=1e-3, weight_decay=0.1))


def state(made: Learner) -> dict[str, Tensor]:
    return {name: whole(weight.detach()).clone() for name, weight in made.policy.model.named_parameters()}


def step(folder: Path, where: Machine, case: str, dtype: torch.dtype, *, joined: bool = False) -> dict[str, Any]:
    """The numbers and the weights after one step; joined: all rows in one batch."""
    loss, batches_of, parts = CASES[case]
    made = learner(folder, where, dtype, reward=case == "bradley-terry")
    given = batches_of([sum(parts, ())] if joined else parts)
    found = made.forward_backward(given, loss)
    norm = made.step(1e-2)
    return {"found": found, "norm": norm, "weights": state(made)}


def broken(folder: Path, where: Machine) -> dict[str, Any]:
    """What every rank says of a row whose loss is infinite, and that the next step is as if nothing had been."""
    made = learner(folder, where, torch.float64)
    said = ""
    try:
        made.forward_backward(demo_batches(ROWS), Broken(), names=[*([str(i) for i in part] for part in ROWS), ["7"]])
    except TrainingError as error:
        said = str(error)
    made.forward_backward(demo_batches(ROWS), SFTLoss())
    made.step(1e-2)
    return {"said": Ranks.current().gather(said), "weights": state(made)}


def resumed(folder: Path, where: Machine, label: str) -> dict[str, Any]:
    """Two steps with a checkpoint between; the second one again from the checkpoint; and from each other size's."""
    made = learner(folder, where, torch.float64)
    for _ in range(2):
        made.forward_backward(demo_batches(ROWS), SFTLoss())
        made.step(1e-2)
        if made.steps == 1:
            made.save(folder / f"checkpoint-{label}", {"mark": 1})
    found = {"through": state(made)}
    Ranks.current().agree(0)
    for other in sorted(folder.glob("checkpoint-*")):
        again = learner(folder, where, torch.float64)
        assert again.load(other) == {"learner_steps": 1, "mark": 1}
        again.forward_backward(demo_batches(ROWS), SFTLoss())
        again.step(1e-2)
        found[other.name] = state(again)
    made.policy.save(folder / f"model-{label}")
    return found


def reference(folder: Path, where: Machine, label: str) -> Tensor:
    """The reference's log-probs, computed by a learner's policy: in shards where the machine says so."""
    from training_runs import context

    made = learner(folder, where, torch.float64)
    policy: Any = made.policy
    rows = [
        policy.renderer.render((Message("user", "How many?"), Message("assistant", "two " * (i + 1)))) for i in range(7)
    ]
    rank = Ranks.current().rank
    return reference_logprobs(policy, rows, context(folder, f"reference-{label}-{rank}", where))


def everything(folder: Path, where: Machine, label: str) -> dict[str, Any]:
    size = where.processes * where.nodes
    found: dict[str, Any] = {}
    for dtype in (torch.float64, torch.float32):
        for case in CASES:
            found[f"{case} {dtype}"] = step(folder, where, case, dtype)
            if size == 1:
                found[f"{case} {dtype} joined"] = step(folder, where, case, dtype, joined=True)
    if size == 1 or (size == where.team and where.sharding == "replicated"):
        for name in FAMILIES:
            if where.tensor == 1 or name != "adapters":
                found[f"family {name}"] = family(folder, where, name)
    found["broken"] = broken(folder, where)
    found["resumed"] = resumed(folder, where, label)
    found["reference"] = reference(folder, where, label)
    return found


def run(folder: Path, rank: int, size: int, store: str) -> None:
    if size > 1:
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"
        made: Any = distributed
        distributed.init_process_group("gloo", store=made.FileStore(store, size), rank=rank, world_size=size)
    for fields in MACHINES[size]:
        where = machine(size, **fields)
        label = label_of(size, where)
        found = everything(folder, where, label)
        if rank == 0:
            torch.save(found, folder / f"{label}.pt")
    if size > 1:
        distributed.destroy_process_group()


def main(folder: Path, sizes: Sequence[int]) -> int:
    torch.set_num_threads(1)
    if not (folder / "toy").exists():
        make_toy(folder / "toy", hidden_size=32, intermediate_size=64)
        for name in FAMILIES:
            make_family(folder, name)
    from torch.distributed import fsdp, tensor  # noqa: F401 - loaded once, before the forks

    failed = 0
    for size in sizes:
        with tempfile.TemporaryDirectory() as place:
            children: list[int] = []
            for rank in range(size):
                child = os.fork()
                if child == 0:
                    run(folder, rank, size, f"{place}/store")
                    sys.stdout.flush()
                    os._exit(0)
                children.append(child)
            failed += sum(os.waitpid(child, 0)[1] != 0 for child in children)
    return failed


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), [int(size) for size in sys.argv[2:]]))
