"""MGSM (arXiv:2210.03057): 250 of GSM8K's test questions, translated by people, in eleven languages. Beyond Tülu 3's suites.

Source: mgsm/*.tsv of google-research/url-nlp; licence CC-BY-4.0. Languages: bn de en es fr ja ru sw te th zh, 2,750 problems.
Protocol: that of openai/simple-evals, which most reports follow: no examples, one user turn, instructions in the question's
own language, an empty line, the question. Chat template, no prefill, greedy (there temperature 0.5), 2,048 new tokens, no
stop strings. The last number after the last "Answer" of that language, compared as text (burnish.verify.mgsm). Mean over the
languages. No published score is quoted: those of simple-evals sample.
Variants: one language alone, mgsm_de and so on.
Traps: a German "1.080" is read as 1.08; a reply in another language than the question's has no answer word and scores 0;
the Japanese instructions are published without their first character.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from burnish.core.types import Problem, user
from burnish.data.source import DerivedSource, reworded
from burnish.data.sources.number_sets import MGSMProblems
from burnish.eval.task import EvalTask
from burnish.rollout.engine import Sampling
from burnish.verify.mgsm import MGSM

# What openai/simple-evals says before a question, by language.
INSTRUCTIONS: dict[str, str] = {
    "bn": 'এই গণিতের সমস্যাটি সমাধান করুন। চূড়ান্ত উত্তর দেওয়ার আগে যুক্তিসম্পন্ন পদক্ষেপ প্রদান করুন। চূড়ান্ত উত্তরটি একক সংখ্যা হিসাবে "উত্তর:" এর পরে শেষ লাইনে দিন। "উত্তর:" এর পরে অন্য কিছু যুক্ত করবেন না।.',
    "de": 'Löse dieses Mathematikproblem. Gib die Schritte zur Begründung an, bevor du die endgültige Antwort in der letzten Zeile alleine im Format "Antwort:" gibst. Füge nichts anderes als die ganzzahlige Antwort nach "Antwort:" hinzu.',
    "en": 'Solve this math problem. Give the reasoning steps before giving the final answer on the last line by itself in the format of "Answer:". Do not add anything other than the integer answer after "Answer:".',
    "es": 'Resuelve este problema matemático. Proporciona los pasos de razonamiento antes de dar la respuesta final en la última línea por sí misma en el formato de "Respuesta:". No añadas nada más que la respuesta entera después de "Respuesta:".',
    "fr": 'Résolvez ce problème de mathématiques. Donnez les étapes de raisonnement avant de fournir la réponse finale sur la dernière ligne elle-même dans le format de "Réponse:". N\'ajoutez rien d\'autre que la réponse entière après "Réponse:".',
    "ja": 'の数学の問題を解いてください。最終的な答えを出す前に、解答の推論過程を記述してください。そして最後の行には "答え:" の形式で答えを記述し、その後には整数の答え以外何も追加しないでください。',
    "ru": 'Решите эту математическую задачу. Объясните шаги рассуждения перед тем, как дать окончательный ответ в последней строке сам по себе в формате "Ответ:". Не добавляйте ничего, кроме целочисленного ответа после "Ответ:".',
    "sw": 'Suluhisha tatizo hili la hesabu. Toa hatua za mantiki kabla ya kutoa jibu la mwisho kwenye mstari wa mwisho peke yake katika muundo wa "Jibu:". Usiongeze chochote kingine isipokuwa jibu la integer baada ya "Jibu:".',
    "te": "ఈ గణిత సమస్యను పరిష్కరించండి. చివరి సమాధానాన్ని ఇవ్వదానికి ముందు తర్కాత్మక అదుగులను ఇవ్వండి. చివరి పంక్తిలో మాత్రమే 'సమాధానం:' అనే ఆకారంలో చివరి సమాధానాద్ని ఇవ్వండి సమాధానం: తర్వాత పూర్ణాంక సమాధానానికి తప్పించి ఎదేనా చేర్చవద్దు.",
    "th": 'แก้ปัญหาคณิตศาสตร์นี้ ให้ให้ขั้นตอนการใช้เหตุผลก่อนที่จะให้คำตอบสุดท้ายในบรรทัดสุดท้ายโดยอยู่ในรูปแบบ "คำตอบ:" ไม่ควรเพิ่มอะไรนอกจากคำตอบที่เป็นจำนวนเต็มหลังจาก "คำตอบ:"',
    "zh": '解决这个数学问题。在最后一行给出答案前，请提供推理步骤。最后一行应该以 "答案: " 的形式独立给出答案。在 "答案：" 后不要添加除整数答案之外的任何内容。',
}


@dataclass(frozen=True, slots=True)
class Instructed(DerivedSource):
    """MGSM's questions behind the instructions of their language."""

    problems: MGSMProblems
    VERSION: ClassVar[int] = 1

    @property
    def name(self) -> str:
        """mgsm/native, or mgsm/<language>/native."""
        return f"{self.problems.name}/native"

    def rows(self, data: Path | None) -> Iterator[Problem]:
        """Each problem with its instructions; lineage names the plain problem."""
        for row in self.problems.rows(data):
            yield reworded(row, user(f"{INSTRUCTIONS[row.category]}\n\n{row.prompt[-1].content}"), self.name)


def task(language: str = "", limit: int | None = None) -> EvalTask:
    """MGSM in all its languages, or in one of them. Raises RecipeError for a language it does not have."""
    return EvalTask(
        f"mgsm_{language}" if language else "mgsm", Instructed(MGSMProblems(language)), MGSM(),
        Sampling(temperature=0.0, max_tokens=2048), metric="accuracy" if language else "accuracy, mean of languages",
        limit=limit, average="categories", n=250 if language else 2750,
    )  # fmt: skip
