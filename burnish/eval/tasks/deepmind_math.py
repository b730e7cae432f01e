"""DeepMind Mathematics (arXiv:1904.01557): 56 modules of 100 questions each, as Tülu 3's unseen suite asks them.

Source: the 5,600 questions that olmes samples from the test split of deepmind/math_dataset; licence Apache-2.0.
Protocol: olmes `deepmind_math:0shot_cot-v3::tulu3` (arXiv:2411.15124 section 7, table 33), which made the published numbers.
No examples; one user turn: "Solve the following math problem efficiently:", the question, how to conclude with three example
answers of the module (two where it has two), and four notes on form. Chat template, no prefill, greedy, 2,048 new tokens, no
stop strings. The last "Therefore, the final answer is …. I hope it is correct." (else what follows "the final answer is" or
"answer is"), cleaned, equal to the target in any case, yes for True, or equal by sympy. Mean over the modules.
Variants: "v0", the prompt that the suite `tulu_3_unseen` lists, with one fixed example answer and three notes. "fixed" grades the
replies of v3 by the corrected rule: lists in any order, and no reply that states several answers.
Traps: questions with an apostrophe keep the b"…" that the published rows have; olmes evaluates the reply as Python to compare
it, which is not done here; the published rule draws its random test point without a seed, here two exact proofs stand for it;
v0's pattern has an unescaped dot, which only matters for replies without a full stop.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from burnish.core.types import Problem, user
from burnish.data.source import DerivedSource, reworded
from burnish.data.sources.deepmind_math import DeepMindMathQuestions
from burnish.eval.task import EvalTask, Published
from burnish.rollout.engine import Sampling
from burnish.verify.math import DeepMindMath

# Three example answers of each module, two of those with two answers: picked by the protocol's authors from training rows.
EXAMPLES: dict[str, tuple[str, ...]] = {
    "algebra__linear_1d": ("4", "68", "-8"),
    "algebra__linear_1d_composed": ("-1", "2", "-5"),
    "algebra__linear_2d": ("-1", "0", "-7"),
    "algebra__linear_2d_composed": ("3", "5", "2"),
    "algebra__polynomial_roots": ("1, 5, 156", "-5/4, 0, 3/8, 1", "-2*(h - 2)*(h + 203426)**2/3"),
    "algebra__polynomial_roots_composed": ("4*(g - 2)**5", "1, 2", "2*(g - 3)*(g - 1)*(g + 1)**2/3"),
    "algebra__sequence_next_term": ("120998303", "110", "-1143"),
    "algebra__sequence_nth_term": ("-1993*o + 6", "2*k**3 + 2*k**2 + 615*k - 72", "-b**3 - 2*b**2 - 6"),
    "arithmetic__add_or_sub": ("67570686", "15237.9144", "-9021"),
    "arithmetic__add_or_sub_in_base": ("645", "-1a58071", "-a037bbb"),
    "arithmetic__add_sub_multiple": ("53", "0", "-27"),
    "arithmetic__div": ("-215738968", "256", "35/3"),
    "arithmetic__mixed": ("-106", "6/5", "-2/7"),
    "arithmetic__mul": ("109953701", "202.4", "461.950704"),
    "arithmetic__mul_div_multiple": ("-2", "-5/3", "2/21"),
    "arithmetic__nearest_integer_root": ("10", "64", "52"),
    "arithmetic__simplify_surd": ("-2580 + 400*sqrt(5)", "-5*sqrt(13)", "-4 + sqrt(2)"),
    "calculus__differentiate": ("19604320", "17381146*t - 2", "-648*k*l*q**2 + 6*k*q - 2832*l"),
    "calculus__differentiate_composed": ("-23520", "-48*t", "-60*m**3 - 204*m**2"),
    "comparison__closest": ("c", "-0.138", "a"),
    "comparison__closest_composed": ("2", "-0.2", "a"),
    "comparison__kth_biggest": ("f", "-3", "g"),
    "comparison__kth_biggest_composed": ("p", "2", "0"),
    "comparison__pair": ("False", "-1", "2894"),
    "comparison__pair_composed": ("-5/117", "t", "False"),
    "comparison__sort": ("55, 3, -3, -5, -29", "37, 1/7, 0, -0.1, -2", "-6, -47, -108"),
    "comparison__sort_composed": ("0.4, z, -2", "j, -3, w", "-2/3, g, h"),
    "measurement__conversion": ("200", "50.55786", "0.000539861875"),
    "measurement__time": ("1:58 AM", "6:38 PM", "588"),
    "numbers__base_conversion": ("-1", "223000121", "-772779"),
    "numbers__div_remainder": ("52", "11", "7"),
    "numbers__div_remainder_composed": ("17", "8", "5"),
    "numbers__gcd": ("1", "1601", "15"),
    "numbers__gcd_composed": ("1", "26", "5"),
    "numbers__is_factor": ("False", "True"),
    "numbers__is_factor_composed": ("True", "False"),
    "numbers__is_prime": ("True", "False"),
    "numbers__is_prime_composed": ("False", "True"),
    "numbers__lcm": ("28004262", "10860", "5759271"),
    "numbers__lcm_composed": ("4", "8396", "27"),
    "numbers__list_prime_factors": ("3, 17, 71", "3, 301813", "47, 643"),
    "numbers__list_prime_factors_composed": ("3, 79", "757", "2, 7, 11"),
    "numbers__place_value": ("1", "8", "5"),
    "numbers__place_value_composed": ("5", "2", "7"),
    "numbers__round_number": ("0.1", "122620000", "-0.888"),
    "numbers__round_number_composed": ("130000", "0.00043", "0.0053"),
    "polynomials__add": ("2*n + 2", "3*c**3 + 339*c - 2", "-22*a**3 + 1"),
    "polynomials__coefficient_named": ("-3", "533", "-250"),
    "polynomials__collect": ("-3*p**2 + 416", "k", "-8*c"),
    "polynomials__compose": ("-578*g**4", "-8*s**2 + 2", "x**2"),
    "polynomials__evaluate": ("-2477", "-95", "23"),
    "polynomials__evaluate_composed": ("5", "24", "-1"),
    "polynomials__expand": ("7*r**5 + 7*r**4", "60*u**2 + 4*u", "-11*q**4"),
    "polynomials__simplify_power": ("t**(-594/5)", "x**(4895/399)", "d**(-228)"),
    "probability__swr_p_level_set": ("1/35", "1/120", "35/51"),
    "probability__swr_p_sequence": ("1/840", "14/323", "1/60"),
}
BEFORE = "Solve the following math problem efficiently:\n"
_CONCLUDE = (
    '\n\nShow your work and conclude with the exact phrasing "Therefore, the final answer is [answer]. I hope it is correct." '
    "where [answer] is just the final number"
)
_NOTES = (
    "Note the formatting for the following answer types:\n"
    "- If the answer is a list (e.g., when there are two solutions to an equation), unless otherwise specified, present the "
    "solutions in a list separated by commas ordering them from the smallest to biggest  e.g.: 2, 10\n"
    "- Powers should be written with **, for instance x to the power of 2 should be written as x**2\n"
    "- Use * for multiplication, e.g.: 2*x"
)
_FRACTIONS = "\n- For fractions, separate the numerator and denominator with a slash (/) e.g.: -2/7"

TULU3 = "https://arxiv.org/abs/2411.15124"
PROTOCOL = "olmes deepmind_math:0shot_cot-v3::tulu3: 0-shot CoT, chat template, greedy, 2,048 tokens, mean over 56 modules (table 33)"
PUBLISHED = (
    Published(0.393, "Llama-3.1-8B-Instruct", TULU3, PROTOCOL),
    Published(0.323, "Llama-3.1-Tulu-3-8B-SFT", TULU3, PROTOCOL.replace("table 33", "table 31")),
    Published(0.330, "Llama-3.1-Tulu-3-8B-DPO", TULU3, PROTOCOL.replace("table 33", "table 31")),
    Published(0.354, "Llama-3.1-Tulu-3-8B", TULU3, PROTOCOL),
)


def ending(module: str, form: Literal["v3", "v0"]) -> str:
    """What stands after a question of that module."""
    if form == "v0":
        return f"{_CONCLUDE} or expression that solves the problem. E.g., {_example('6', 'if')}\n{_NOTES}"
    examples = "\n".join(f"- {_example(answer, 'If')}" for answer in EXAMPLES[module])
    return (
        f"{_CONCLUDE}, expression, or answer label representing the solution.  Some example answers from this question category:\n"
        f"{examples}\n\n{_NOTES}{_FRACTIONS}"
    )


def _example(answer: str, begin: str) -> str:
    return f'{begin} the answer is {answer}, conclude with "Therefore, the final answer is {answer}. I hope it is correct."'


@dataclass(frozen=True, slots=True)
class Instructed(DerivedSource):
    """DeepMind Mathematics between its instructions, which depend on the module."""

    problems: DeepMindMathQuestions
    form: Literal["v3", "v0"] = "v3"
    VERSION: ClassVar[int] = 1

    @property
    def name(self) -> str:
        """E.g. "deepmind_math/sample100/v3"."""
        return f"{self.problems.name}/{self.form}"

    def rows(self, data: Path | None) -> Iterator[Problem]:
        """Each problem with its question framed; lineage names the plain problem."""
        for row in self.problems.rows(data):
            asked = f"{BEFORE}{row.prompt[-1].content}{ending(row.category, self.form)}"
            yield reworded(row, user(asked), self.name)


def task(
    form: Literal["v3", "v0"] = "v3", rule: Literal["olmes", "fixed"] = "olmes", limit: int | None = None
) -> EvalTask:
    """DeepMind Mathematics. form="v3" and rule="olmes" are the paper's protocol."""
    variant = ("" if form == "v3" else "_v0") + ("" if rule == "olmes" else "_fixed")
    return EvalTask(
        f"deepmind_math{variant}", Instructed(DeepMindMathQuestions(), form), DeepMindMath(rule),
        Sampling(temperature=0.0, max_tokens=2048), metric="accuracy, mean of modules", limit=limit,
        published=() if variant else PUBLISHED, average="categories", unseen=True, n=5600,
    )  # fmt: skip
