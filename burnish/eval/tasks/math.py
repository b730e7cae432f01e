"""MATH (arXiv:2103.03874): test split, 5,000 competition problems in seven subjects, as Tülu 3 reports it.

Source: the test split with types and levels (data/sources/math.py names the repository); licence MIT.
Protocol: olmes `minerva_math::tulu` as the paper reads it (arXiv:2411.15124 tables 6 and 24). Four fixed chain-of-thought
examples as turns, "Problem:" line, problem, empty line, "Solution:"; then the problem in the same form. Chat template, no
prefill, no stop strings, greedy, 1,024 new tokens. exact_match_flex: Minerva's phrase, the last box or the last formula equals the
reference by sympy or by Hendrycks' normal form (rule "flex"). Mean over the subjects.
Variants: "plain", the problem and one line that asks for a box, 2,048 new tokens, by the corrected rule, plain mean. "500", MATH-500, the
500 test problems of Lightman et al. (arXiv:2305.20050), in that form.
Traps: the primary metric of the published configuration is the strict one, up to ten points lower; the examples' stray brace and
their two lone backslashes are part of the prompt.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from burnish.core.types import Messages, Problem
from burnish.data.sources.math import MATHProblems
from burnish.eval.task import EvalTask, Published
from burnish.eval.tasks.framing import Framed, OtherSolutions, turns
from burnish.rollout.engine import Sampling
from burnish.verify.math import Math

# The four examples of Minerva (arXiv:2206.14858, appendix D.2): problem, solution, answer. The stray brace that closes
# the first problem is in the published prompt, and so are two line ends of LaTeX with one backslash instead of two.
SHOTS: tuple[tuple[str, str, str], ...] = (
    (
        r"Find the domain of the expression  $\frac{\sqrt{x-2}}{\sqrt{5-x}}$.}",
        r"The expressions inside each square root must be non-negative. Therefore, $x-2 \ge 0$, so $x\ge2$, and $5 - x \ge 0$, so $x \le 5$. Also, the denominator cannot be equal to zero, so $5-x>0$, which gives $x<5$. Therefore, the domain of the expression is $\boxed{[2,5)}$.",
        r"[2,5)",
    ),
    (
        r"If $\det \mathbf{A} = 2$ and $\det \mathbf{B} = 12,$ then find $\det (\mathbf{A} \mathbf{B}).$",
        r"We have that $\det (\mathbf{A} \mathbf{B}) = (\det \mathbf{A})(\det \mathbf{B}) = (2)(12) = \boxed{24}.$",
        r"24",
    ),
    (
        r"Terrell usually lifts two 20-pound weights 12 times. If he uses two 15-pound weights instead, how many times must Terrell lift them in order to lift the same total weight?",
        "If Terrell lifts two 20-pound weights 12 times, he lifts a total of $2\\cdot 12\\cdot20=480$ pounds of weight.  If he lifts two 15-pound weights instead for $n$ times, he will lift a total of $2\\cdot15\\cdot n=30n$ pounds of weight.  Equating this to 480 pounds, we can solve for $n$:\n"
        "\\begin{align*}\n30n&=480\\\n\\Rightarrow\\qquad n&=480/30=\\boxed{16}\n\\end{align*}",
        r"16",
    ),
    (
        "If the system of equations\n\n\\begin{align*}\n6x-4y&=a,\\\n6y-9x &=b.\n\\end{align*}has a solution $(x, y)$ where $x$ and $y$ are both nonzero,\nfind $\\frac{a}{b},$ assuming $b$ is nonzero.",
        "If we multiply the first equation by $-\\frac{3}{2}$, we obtain\n\n$$6y-9x=-\\frac{3}{2}a.$$Since we also know that $6y-9x=b$, we have\n\n$$-\\frac{3}{2}a=b\\Rightarrow\\frac{a}{b}=\\boxed{-\\frac{2}{3}}.$$",
        r"-\frac{2}{3}",
    ),
)
BEFORE, AFTER = "Problem:\n", "\n\nSolution:"
ASK = "\n\nReason step by step, and put your final answer within \\boxed{}."

TULU3 = "https://arxiv.org/abs/2411.15124"
PROTOCOL = "olmes minerva_math::tulu, exact_match_flex: 4-shot CoT as turns, chat template, greedy, 1,024 tokens, mean over 7 subjects (table 6)"
PUBLISHED = (
    Published(0.425, "Llama-3.1-8B-Instruct", TULU3, PROTOCOL),
    Published(0.315, "Llama-3.1-Tulu-3-8B-SFT", TULU3, PROTOCOL),
    Published(0.420, "Llama-3.1-Tulu-3-8B-DPO", TULU3, PROTOCOL),
    Published(0.437, "Llama-3.1-Tulu-3-8B", TULU3, PROTOCOL),
)


def shot_turns() -> Messages:
    """The four examples as user and assistant turns."""
    return turns(
        *(
            (
                f"{BEFORE}{problem}{AFTER}",
                f"{steps}\nFinal Answer: The final answer is ${answer}$. I hope it is correct.",
            )
            for problem, steps, answer in SHOTS
        )
    )


@dataclass(frozen=True, slots=True)
class OneAnswer(OtherSolutions):
    """MATH with the answer alone, in a box, in place of worked solutions that box several: a reply may state only one."""

    problems: MATHProblems
    VERSION: ClassVar[int] = 1

    def solution(self, problem: Problem) -> str:
        """The problem's own where it boxes one answer."""
        several = problem.solution.count("\\boxed") > 1
        return f"\\boxed{{{problem.check.target}}}" if several else problem.solution


def task(form: Literal["4shot", "plain", "500"] = "4shot", limit: int | None = None) -> EvalTask:
    """MATH. form="4shot" is Tülu 3's protocol; "plain" asks all 5,000 without examples; "500" asks MATH-500 so."""
    if form == "4shot":
        return EvalTask(
            "math", Framed(MATHProblems("test"), "4shot", BEFORE, AFTER, shot_turns()), Math("flex"),
            Sampling(temperature=0.0, max_tokens=1024), metric="exact match flex, mean of subjects", limit=limit,
            published=PUBLISHED, average="categories", n=5000, shots=len(SHOTS),
        )  # fmt: skip
    small = form == "500"
    return EvalTask(
        "math_500" if small else "math_plain", Framed(OneAnswer(MATHProblems("500" if small else "test")), "boxed", after=ASK), Math(),
        Sampling(temperature=0.0, max_tokens=2048), limit=limit, n=500 if small else 5000,
    )  # fmt: skip
