r"""PopQA (arXiv:2212.10511): 14,267 questions for facts, as Tülu 3 reports it.

Protocol: olmes `popqa::tulu` (arXiv:2411.15124 tables 6 and 24). Fifteen fixed examples as turns, one a relation, "Q: … A:"
answered with the object's name; then the question in the same form. Chat template, no prefill, greedy, 15 new tokens, stop
"\n\n". Right when an accepted name is a substring of the reply (rule "popqa"). Mean over the questions.

Source: the set's test split (data/sources/held_out.py names the repository); licence MIT.
Variants: "words" grades the same replies by the corrected rule.
Traps: the examples are questions of the set itself, so 15 of the 14,267 are asked with their answers in view; questions about
things of one name have one wording (13,068 wordings) and are one cluster.
"""

from __future__ import annotations

from typing import Literal

from burnish.data.sources.short_answers import PopQAQuestions
from burnish.eval.task import EvalTask, Published
from burnish.eval.tasks.framing import Framed, turns
from burnish.rollout.engine import Sampling
from burnish.verify.aliases import Aliases

SHOTS: tuple[tuple[str, str], ...] = (
    ("What is Thomas Widdrington's occupation?", "politician"),
    ("In what city was Glover Morrill Allen born?", "Walpole"),
    ("What genre is The Arab?", "adventure film"),
    ("Who is the father of Qasim ibn Muhammad ibn Abi Bakr?", "Muhammad ibn Abi Bakr"),
    ("In what country is Cora?", "United States of America"),
    ("Who was the producer of Genre?", "Don Hertzfeldt"),
    ("Who was the director of Up in the Air?", "Howard Bretherton"),
    ("What is Lima the capital of?", "Peru"),
    ("Who was the screenwriter for Trivandrum Lodge?", "Anoop Menon"),
    ("Who was the composer of 1983?", "Gopi Sundar"),
    ("What color is chalk?", "white"),
    ("What is the religion of Spring Arbor University?", "Free Methodist Church"),
    ("What sport does Harry Clay play?", "association football"),
    ("Who is the author of B²FH paper?", "William Alfred Fowler"),
    ("Who is the mother of Terry Fox?", "Betty Fox"),
)
TULU3 = "https://arxiv.org/abs/2411.15124"
PROTOCOL = "olmes popqa::tulu: 15-shot as turns, chat template, greedy, 15 tokens, alias in the reply (table 6)"
PUBLISHED = (
    Published(0.202, "Llama-3.1-8B-Instruct", TULU3, PROTOCOL),
    Published(0.293, "Llama-3.1-Tulu-3-8B-SFT", TULU3, PROTOCOL),
    Published(0.293, "Llama-3.1-Tulu-3-8B-DPO", TULU3, PROTOCOL),
    Published(0.291, "Llama-3.1-Tulu-3-8B", TULU3, PROTOCOL),
)


def task(rule: Literal["popqa", "words"] = "popqa", limit: int | None = None) -> EvalTask:
    """PopQA. rule="popqa" is Tülu 3's protocol; rule="words" grades the same replies by the corrected rule."""
    examples = turns(*((f"Q: {question} A:", answer) for question, answer in SHOTS))
    return EvalTask(
        "popqa" if rule == "popqa" else "popqa_words",
        Framed(PopQAQuestions(), "15shot", before="Q: ", after=" A:", examples=examples), Aliases(rule),
        Sampling(temperature=0.0, max_tokens=15, stop=("\n\n",)), limit=limit, published=PUBLISHED if rule == "popqa" else (),
        n=14_267, shots=len(SHOTS),
    )  # fmt: skip
