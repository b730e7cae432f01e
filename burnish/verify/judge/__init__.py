"""Judges: verifiers that ask a model. Scores by a rubric, right and wrong, comparison, aspects, and safety labels."""

from burnish.verify.judge.ask import Answer, Answerer, Question
from burnish.verify.judge.aspects import Aspects
from burnish.verify.judge.pairwise import Pairwise
from burnish.verify.judge.preferred import Preferred
from burnish.verify.judge.rating import Rating
from burnish.verify.judge.rubric import Reference, Rubric
from burnish.verify.judge.safety import HarmBench, WildGuard, XSTestRefusal

__all__ = [
    "Answer", "Answerer", "Aspects", "HarmBench", "Pairwise", "Preferred", "Question", "Rating", "Reference",
    "Rubric", "WildGuard", "XSTestRefusal",
]  # fmt: skip
