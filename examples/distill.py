"""A student learns a teacher's probabilities: the teacher is asked once, its answers stay on disk for any number of students.

python examples/distill.py                             what would run
burnish run  examples/distill.py --teacher bundled     (toy models by default: half a minute)
"""

from __future__ import annotations

from burnish.data.curate import Curate, Take
from burnish.data.mix import All
from burnish.data.sources.arithmetic import Arithmetic
from burnish.data.sources.worked import Worked
from burnish.losses.distill import Distillation
from burnish.model.base import BaseModel
from burnish.train.distill import Distill, TeacherLogprobs
from burnish.train.schedule import Linear
from burnish.train.sft import SFT


def recipe(*, teacher: str = "toy", student: str = "toy", rows: int = 40, seed: int = 0) -> Distill:
    """A teacher that was tuned on worked sums, and a student that never sees more of it than its log-probs."""
    demos = Curate((Take(Worked(Arithmetic("train", n=rows, seed=seed)), All()),), label="sums")
    tuned = SFT(
        start=BaseModel(teacher), data=demos, epochs=2, global_batch=8, lr=Linear(1e-3), max_tokens=512, seed=seed
    )
    said = TeacherLogprobs(teacher=tuned, data=demos, k=16, max_tokens=512)
    return Distill(
        start=BaseModel(student), data=said, loss=Distillation(nll=0.1), epochs=2, global_batch=8, lr=Linear(1e-3),
        max_tokens=512, seed=seed,
    )  # fmt: skip


if __name__ == "__main__":
    from pathlib import Path

    from burnish.pipeline.plan import plan

    print(plan(recipe(), runs=Path("runs")).text())
