"""Distillation: log-probs of candidates without keeping logits, the loss, and the two stages."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from training_runs import DATA, EVERY_STEP, START, Given, context, demos, prepare

from burnish.core.types import Demo
from burnish.errors import ArtifactError, ModelError, RecipeError
from burnish.losses.batch import CandidateSequences, TeacherBatch
from burnish.losses.distill import Distillation
from burnish.model import candidates
from burnish.model.base import BaseModel
from burnish.model.candidates import candidate_logits, likeliest_of, partition_logprobs, split_logits
from burnish.model.policy import Policy
from burnish.model.toy import make_toy
from burnish.pipeline.machine import Machine
from burnish.train.demos import RenderedDemo, render_demo
from burnish.train.distill import Distill, TeacherLogprobs
from burnish.train.rows import stack
from burnish.train.schedule import Constant
from burnish.train.teacher import Asked, Teacher, ask_teacher

torch.set_num_threads(1)
K, D, V, N = 9, 6, 11, 4


def head(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Hidden states [K, D], a head [V, D], and N different ids for each state."""
    g = torch.Generator().manual_seed(seed)
    hidden = torch.randn(K, D, generator=g, dtype=torch.float64)
    weight = torch.randn(V, D, generator=g, dtype=torch.float64)
    ids = torch.stack([torch.randperm(V, generator=g)[:N] for _ in range(K)])
    return hidden.requires_grad_(True), weight.requires_grad_(True), ids


@pytest.mark.parametrize("keep", [0, 1 << 20])
def test_candidate_logits_and_their_gradient_are_autograds(keep: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two temperatures, chunks that do not divide, logits kept or computed again."""
    monkeypatch.setattr(candidates, "KEEP", keep)
    hidden, weight, ids = head()
    assert torch.autograd.gradcheck(
        lambda h, w: candidate_logits(h, w, ids, inverses=(1.0, 0.5), chunk=4), (hidden, weight)
    )
    for ours, plain in zip(
        candidate_logits(hidden, weight, ids, inverses=(1.0, 0.5)),
        split_logits(hidden @ weight.T, ids, inverses=(1.0, 0.5)), strict=True,
    ):  # fmt: skip
        torch.testing.assert_close(ours, plain, rtol=0, atol=1e-12)


def test_where_every_token_is_a_candidate_the_rest_is_nothing() -> None:
    hidden, weight, _ = head()
    ids = torch.arange(V).expand(K, V).contiguous()
    own, rest = candidate_logits(hidden, weight, ids)
    assert bool((rest == -math.inf).all())
    logp = partition_logprobs(own, rest[:, 0], 1.0)
    torch.testing.assert_close(logp[:, :V], (hidden @ weight.T).log_softmax(1))
    (gradient,) = torch.autograd.grad((logp[:, :V] * torch.arange(V)).sum(), hidden)
    assert bool(gradient.isfinite().all())
    assert bool((split_logits((hidden @ weight.T), ids)[1] == -math.inf).all())


def test_the_likeliest_begin_with_the_token_itself() -> None:
    hidden, weight, _ = head()
    target = torch.arange(K) % V
    ids, logp = likeliest_of(hidden, weight, weight, target, 3, V, 0.5)
    full = (hidden @ weight.T * 0.5).log_softmax(1)
    assert torch.equal(ids[:, 0], target)
    for row, order in enumerate(full.argsort(1, descending=True).tolist()):
        assert ids[row, 1:].tolist() == [v for v in order if v != target[row]][:2]
    torch.testing.assert_close(logp[:, :3], full.gather(1, ids))
    torch.testing.assert_close(logp.exp().sum(1), torch.ones(K, dtype=torch.float64))


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    folder = make_toy(tmp_path_factory.mktemp("toy") / "model")
    return Policy.load(folder, Machine(), trainable=True).to(torch.float64)


def rows_of(toy: Policy) -> list[RenderedDemo]:
    return [RenderedDemo(row.id, render_demo(toy.renderer, row)) for row in demos() if isinstance(row, Demo)]


def asked(toy: Policy, k: int, temperature: float) -> tuple[CandidateSequences, Tensor]:
    """Candidates of the toy itself, and its log-probs of them [B, T, k + 1]."""
    plain = stack([row.row for row in rows_of(toy)])
    ids, logp = toy.likeliest(plain, k, temperature)
    ids_BTk = torch.zeros(*plain.mask_BT.shape, k, dtype=torch.long)
    ids_BTk[plain.mask_BT] = ids
    logp_BTk1 = torch.zeros(*plain.mask_BT.shape, k + 1, dtype=torch.float64)
    logp_BTk1[plain.mask_BT] = logp
    sequences = CandidateSequences(plain.tokens_BT, plain.lengths_B, plain.mask_BT, ids_BTk, temperature)
    return sequences, logp_BTk1


@pytest.mark.parametrize("packs", [True, False])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_candidates_of_a_policy_are_those_of_its_full_logits(
    toy: Policy, packs: bool, temperature: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toy, "_packs", packs)
    sequences, _ = asked(toy, 5, temperature)
    found = toy.outputs(sequences, 1.0)
    with torch.no_grad():
        logits = toy.model(input_ids=sequences.tokens_BT, use_cache=False).logits.double()
    full = functional.pad(logits[:, :-1], (0, 0, 1, 0))
    mask = sequences.mask_BT
    assert bool((found[~mask] == 0).all())
    plain, soft = full.log_softmax(-1)[mask], (full / temperature).log_softmax(-1)[mask]
    ids = sequences.candidates_BTk[mask]
    torch.testing.assert_close(
        found[mask][:, 0], plain.gather(1, sequences.tokens_BT[mask][:, None])[:, 0], rtol=0, atol=2e-6
    )
    torch.testing.assert_close(found[mask][:, 1:-1], soft.gather(1, ids), rtol=0, atol=2e-6)
    rest = torch.log1p(-soft.gather(1, ids).exp().sum(1))
    torch.testing.assert_close(found[mask][:, -1], rest, rtol=0, atol=1e-5)


@pytest.mark.parametrize("rest", ["bucket", "renormalized"])
def test_a_student_that_is_its_teacher_has_no_gradient(toy: Policy, rest: Any) -> None:
    sequences, logp = asked(toy, 5, 2.0)
    loss = Distillation(rest)
    batch = TeacherBatch(sequences, logp)
    total = loss.total(toy.outputs(sequences, 1.0), batch)
    assert float(total.detach()) == pytest.approx(0, abs=1e-10)
    gradients = torch.autograd.grad(total, [w for w in toy.model.parameters() if w.requires_grad])
    assert max(float(g.abs().max()) for g in gradients) < 1e-10
    assert float(loss.metrics(toy.outputs(sequences, 1.0), batch)["agreement"]) == float(loss.count(batch))


def outcomes(logits: Tensor, ids: Tensor, temperature: float) -> Tensor:
    """[.., k + 2] as a policy gives it, from full logits; the token itself is the first candidate."""
    full = logits.log_softmax(-1)
    own, rest = split_logits(logits, ids, inverses=(1 / temperature,))
    return torch.cat([full.gather(1, ids[:, :1]), partition_logprobs(own, rest[:, 0], 1 / temperature)], 1)


def one_row(logp: Tensor, ids: Tensor, temperature: float) -> TeacherBatch:
    """All tokens in one row, behind one that is not trained."""
    count = len(ids) + 1
    mask = torch.arange(count)[None] > 0
    pad = (0, 0, 1, 0)
    return TeacherBatch(
        CandidateSequences(
            torch.zeros(1, count, dtype=torch.long),
            torch.tensor([count]),
            mask,
            functional.pad(ids, pad)[None],
            temperature,
        ),
        functional.pad(logp, pad)[None],
    )


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_with_the_whole_vocabulary_it_is_torchs_kl(temperature: float) -> None:
    """And with fewer candidates the KL of the coarser partition, which is never larger; the gradient is autograd's own."""
    g = torch.Generator().manual_seed(1)
    student = torch.randn(K, V, generator=g, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(K, V, generator=g, dtype=torch.float64)
    log_p, log_q = (teacher / temperature).log_softmax(1), (student / temperature).log_softmax(1)
    exact = functional.kl_div(log_q, log_p, reduction="sum", log_target=True) * temperature**2
    (wanted,) = torch.autograd.grad(exact, student)
    before = 0.0
    for k in (2, 5, V):
        ids = teacher.argsort(1, descending=True)[:, :k]
        batch = one_row(outcomes(teacher, ids, temperature)[:, 1:], ids, temperature)
        inputs = functional.pad(outcomes(student, ids, temperature), (0, 0, 1, 0))[None]
        total = Distillation().total(inputs, batch)
        assert before - 1e-12 <= float(total.detach()) <= float(exact.detach()) + 1e-12
        before = float(total.detach())
        if k == V:
            assert before == pytest.approx(float(exact.detach()), abs=1e-12)
            torch.testing.assert_close(torch.autograd.grad(total, student)[0], wanted, rtol=0, atol=1e-12)
            same = Distillation("renormalized").total(inputs, batch)
            assert float(same.detach()) == pytest.approx(float(exact.detach()), abs=1e-12)


def test_by_hand() -> None:
    """One token, two candidates. Teacher 1/2, 1/4, rest 1/4; student 1/4, 1/4, rest 1/2.

    Bucket: 1/2 ln 2 + 1/4 ln 1 + 1/4 ln(1/2) = 1/4 ln 2. Renormalised: teacher 2/3, 1/3; student 1/2, 1/2:
    2/3 ln(4/3) + 1/3 ln(2/3). With nll = 0.25: 3/4 of the bucket's + 1/4 ln 4.
    """
    teacher = torch.tensor([[0.5, 0.25, 0.25]], dtype=torch.float64).log()
    student = torch.tensor([[0.25, 0.25, 0.25, 0.5]], dtype=torch.float64).log()
    batch = one_row(teacher, torch.tensor([[3, 4]]), 1.0)
    inputs = functional.pad(student, (0, 0, 1, 0))[None]
    bucket = 0.25 * math.log(2)
    assert float(Distillation().total(inputs, batch)) == pytest.approx(bucket)
    scaled = 2 / 3 * math.log(4 / 3) + 1 / 3 * math.log(2 / 3)
    assert float(Distillation("renormalized").total(inputs, batch)) == pytest.approx(scaled)
    mixed = 0.75 * bucket + 0.25 * math.log(4)
    assert float(Distillation(nll=0.25).total(inputs, batch)) == pytest.approx(mixed)
    heavy = dataclasses.replace(batch, weight_B=torch.tensor([3.0]))
    assert float(Distillation().total(inputs, heavy)) == pytest.approx(3 * bucket)
    assert float(Distillation().count(heavy)) == 3
    hot = dataclasses.replace(batch, sequences=dataclasses.replace(batch.sequences, temperature=2.0))
    assert float(Distillation().total(inputs, hot)) == pytest.approx(4 * bucket)
    found = Distillation().metrics(inputs, batch)
    assert {name: float(value) for name, value in found.items()} == pytest.approx(
        {"kl": bucket, "nll": math.log(4), "agreement": 1.0, "rest": 0.25}
    )


def test_losses_that_mean_nothing_are_refused() -> None:
    with pytest.raises(RecipeError, match="at 1 the teacher says nothing"):
        Distillation(nll=1.0)
    with pytest.raises(RecipeError, match=r"rest='drop'"):
        Distillation("drop")  # type: ignore[arg-type]


TEACHER = TeacherLogprobs(Given("big"), DATA, k=6, max_tokens=200)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student, a teacher of other weights, and what the teacher said."""
    folder = tmp_path_factory.mktemp("runs")
    prepare(folder, demos())
    make_toy(folder / "big" / "model", seed=7)
    TEACHER.run(context(folder, "teacher", EVERY_STEP))
    return folder


def test_a_student_comes_nearer_to_its_teacher(root: Path) -> None:
    ctx = context(root, "student", EVERY_STEP)
    Distill(START, TEACHER, epochs=8, global_batch=7, lr=Constant(2e-2), max_tokens=200).run(ctx)
    records = [json.loads(line) for line in (ctx.out / "metrics.jsonl").read_text().splitlines()]
    assert records[-1]["kl"] < records[0]["kl"] / 3
    assert all(record["loss"] == pytest.approx(record["kl"]) for record in records)
    assert {path.name for path in ctx.out.iterdir()} == {"model", "metrics.jsonl", "data_report.json"}


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_what_is_on_disk_is_what_the_teacher_says(root: Path, dtype: Any) -> None:
    stage = dataclasses.replace(TEACHER, dtype=dtype, temperature=2.0)
    ctx = context(root, f"teacher-{dtype}", EVERY_STEP)
    stage.run(ctx)
    teacher = Teacher(ctx.out)
    policy = Policy.load(root / "big" / "model", Machine())
    rows = teacher.rows()
    assert [row.id for row in rows] == [row.id for row in demos()]
    # Rows in another order than on disk, so that each has to find its own.
    batch = teacher.batch(rows[::-1])
    assert batch.weight_B is None
    found = policy.candidate_logprobs(batch.sequences)[batch.sequences.mask_BT]
    near = 2e-5 if dtype == "float32" else 0.01
    torch.testing.assert_close(batch.teacher_BTk1[batch.sequences.mask_BT], found[:, 1:], rtol=0, atol=near)
    assert torch.equal(batch.sequences.candidates_BTk[..., 0], batch.sequences.tokens_BT * batch.sequences.mask_BT)


def test_a_teacher_that_was_interrupted_goes_on(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shard a row; the power fails at the fourth. Shards of the same content stay, a damaged one is written anew."""
    monkeypatch.setattr("burnish.train.teacher.SHARD_TOKENS", 1)
    policy = Policy.load(root / "big" / "model", Machine())
    rows, ctx = rows_of(policy), context(tmp_path, "out", EVERY_STEP)
    plain, calls = policy.likeliest, []

    def fails(*given: Any) -> Any:
        calls.append(given)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return plain(*given)

    monkeypatch.setattr(policy, "likeliest", fails)
    asked = Asked(6, 1.0, "float32")
    with pytest.raises(KeyboardInterrupt):
        ask_teacher(policy, rows, asked, ctx)
    assert len(list(ctx.out.glob("teacher-*.safetensors"))) == 3
    assert not (ctx.out / "teacher.json").exists()
    ask_teacher(policy, rows, asked, ctx)
    assert len(calls) == 4 + 4
    (ctx.out / "teacher-00002.safetensors").write_bytes(b"damaged")
    ask_teacher(policy, rows, asked, ctx)
    assert len(calls) == 9
    whole = {path.name: path.read_bytes() for path in ctx.out.glob("teacher-*.safetensors")}
    other = context(tmp_path, "other", EVERY_STEP)
    ask_teacher(policy, rows, asked, other)
    assert whole == {path.name: path.read_bytes() for path in other.out.glob("teacher-*.safetensors")}
    ask_teacher(policy, rows, Asked(6, 2.0, "float32"), ctx)
    assert len(calls) == 9 + 7 + 7
    (ctx.out / "teacher-00002.safetensors").write_bytes(b"damaged")
    with pytest.raises(ArtifactError, match=r"cannot be read.*\n.*the teacher is asked anew"):
        Teacher(ctx.out)


def test_other_vocabularies_and_formats_are_refused_by_name(root: Path, tmp_path: Path) -> None:
    policy = Policy.load(root / "start" / "model", Machine())
    teacher = Teacher(root / "teacher")
    teacher.check_student(policy.renderer, "big", "start")
    policy.renderer.tokenizer.add_tokens(["<extra>"])
    with pytest.raises(
        ModelError, match=r"(?s)teacher 'big' and the student 'start' have different vocabularies \(\d+ tokens.*SFT"
    ):
        teacher.check_student(policy.renderer, "big", "start")
    folder = make_toy(tmp_path / "model")
    template = folder / "chat_template.jinja"
    template.write_text("A talk. " + template.read_text())
    with pytest.raises(ModelError, match="write conversations differently"):
        teacher.check_student(Policy.load(folder, Machine()).renderer, "big", "start")


def test_what_can_be_seen_before_a_run_is_refused_before_it(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"data is a Given.*\n.*TeacherLogprobs"):
        Distill(START, DATA).check(None)
    for change, said in (
        ({"k": 1}, "k=1"),
        ({"temperature": 0.0}, "temperature=0.0"),
        ({"dtype": "int8"}, "dtype='int8'"),
    ):
        with pytest.raises(RecipeError, match=said):
            dataclasses.replace(TEACHER, **change).check(None)
    one, two = make_toy(tmp_path / "one"), make_toy(tmp_path / "two")
    Distill(BaseModel(str(one)), TeacherLogprobs(BaseModel(str(two)), DATA)).check(None)
    settings = json.loads((two / "tokenizer.json").read_text())
    settings["added_tokens"].append({**settings["added_tokens"][0], "id": 9999, "content": "<extra>"})
    (two / "tokenizer.json").write_text(json.dumps(settings))
    with pytest.raises(RecipeError, match=r"the teacher .*two has .* tokens and the student .*one"):
        Distill(BaseModel(str(one)), TeacherLogprobs(BaseModel(str(two)), DATA)).check(None)
