"""Rows from the columns of one record: how each layout's columns become a Demo, Pair, Rated or Problem.

Every function takes the record as `Fields` and raises a DataError that names the field in the file's own spelling.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from burnish.core.rng import stream
from burnish.core.types import Check, Demo, Message, Messages, Pair, Problem, Rated, user
from burnish.data.if_functions import ifeval_target
from burnish.data.turns import in_order, text_of, turn_of, turns_of, unlearned
from burnish.errors import DataError

_SPEAKER = re.compile(r"\n\n(Human|Assistant):")
# 1 and 0 are equal to True and False, and so are found too.
_LABELS: dict[Any, bool] = {True: True, False: False, "true": True, "false": False, "1": True, "0": False}
# The verifier for each value of `dataset` in Tülu 3's RLVR sets (arXiv:2411.15124, §6).
VERIFIERS = {"gsm8k": "gsm8k", "math": "math", "ifeval": "ifeval"}


class Fields:
    """A record under the names the layouts use. columns: the file's spelling of each name that it spells differently."""

    __slots__ = ("_columns", "_record", "verifier")

    def __init__(self, record: Mapping[str, Any], columns: Mapping[str, str], verifier: str = "") -> None:
        self._record = record
        self._columns = columns
        self.verifier = verifier

    def where(self, name: str) -> str:
        """The field as a message names it."""
        return f"field {self._columns.get(name, name)!r}"

    def get(self, name: str) -> Any:
        """The value, or None where there is none."""
        return self._record.get(self._columns.get(name, name))

    def there(self, name: str) -> bool:
        """Whether the record has the column, null or not."""
        return self._columns.get(name, name) in self._record

    def text(self, name: str, default: str | None = None) -> str:
        """The text; `default` where the value is missing or null."""
        value = self.get(name)
        return default if value is None and default is not None else text_of(value, self.where(name))

    def text_or_number(self, name: str) -> str:
        """The text, or a number as it is written in JSON."""
        value = self.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return self.text(name)
        if not math.isfinite(value):
            raise DataError(f"{self.where(name)}: expected text or a number, got {value}.")
        return json.dumps(value)

    def filled(self, name: str) -> str:
        """The text, which must not be blank."""
        return _filled(self.text(name), self.where(name))

    def turns(self, name: str) -> Messages:
        """Turns in any order."""
        return turns_of(self.get(name), self.where(name))

    def prompt(self, name: str) -> Messages:
        """A prompt from text, or from turns that end with the user's."""
        value = self.get(name)
        if isinstance(value, str):
            return user(self.filled(name))
        return in_order(turns_of(value, self.where(name)), self.where(name), "user")


def with_input(instruction: str, given: str) -> str:
    """The user turn of an Alpaca row: the instruction, and its input after an empty line where there is one."""
    return f"{instruction}\n\n{given}" if given.strip() else instruction


def conversation(fields: Fields, name: str, system: str = "", *, marks: bool = False) -> Messages:
    """A conversation that ends with the assistant, in a file that offers no tools."""
    if fields.get("tools") not in (None, "", [], "[]"):
        raise DataError(
            f"{fields.where('tools')}: the reply may depend on tools, which a conversation here cannot offer."
        )
    turns = turns_of(fields.get(name), fields.where(name), marks=marks)
    if system.strip() and turns and turns[0].role != "system":
        turns = (Message("system", system), *turns)
    return in_order(turns, fields.where(name), "assistant")


def _demo(fields: Fields, name: str, system: str = "") -> Demo:
    """A conversation, with the numbers of the turns that are not to be learned as annotation `untrained`."""
    marked = unlearned(fields.get(name), fields.where(name))
    turns = conversation(fields, name, system, marks=True)
    if len(marked) == sum(turn.role == "assistant" for turn in turns):
        raise DataError(f"{fields.where(name)}: every assistant turn is marked as not to be learned.")
    return Demo(turns, annotations={"untrained": marked} if marked else {})


def messages(fields: Fields) -> Demo:
    """OpenAI's form: a list of {role, content}."""
    return _demo(fields, "messages")


def sharegpt(fields: Fields) -> Demo:
    """ShareGPT's form: a list of {from, value}, with the system prompt inside or in a column of its own."""
    return _demo(fields, "conversations", fields.text("system", ""))


def alpaca(fields: Fields) -> Demo:
    """Alpaca's form. history: earlier turns as pairs of texts; system: a system prompt."""
    turns: list[Message] = []
    if (system := fields.text("system", "")).strip():
        turns.append(Message("system", system))
    where = fields.where("history")
    history = fields.get("history") or []
    if not isinstance(history, list | tuple):
        raise DataError(f"{where}: expected a list of [instruction, output] pairs.")
    for i, pair in enumerate(history):
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise DataError(f"{where}[{i}]: expected [instruction, output].")
        turns += [
            Message("user", _filled(text_of(pair[0], f"{where}[{i}]"), where)),
            Message("assistant", _filled(text_of(pair[1], f"{where}[{i}]"), where)),
        ]
    instruction, given = fields.text("instruction"), fields.text("input", "")
    asked = with_input(instruction, given) if instruction.strip() else given
    turns += [
        Message("user", _filled(asked, fields.where("instruction"))),
        Message("assistant", fields.filled("output")),
    ]
    return Demo(tuple(turns))


def prompt_completion(fields: Fields) -> Demo:
    """A prompt and its completion, each as text or as turns."""
    return Demo((*fields.prompt("prompt"), Message("assistant", _only_reply(fields, "completion"))))


def self_instruct(fields: Fields) -> Demo:
    """A task with one instance {input, output}."""
    where, found = fields.where("instances"), fields.get("instances")
    if not isinstance(found, list | tuple) or len(found) != 1 or not isinstance(found[0], dict):
        raise DataError(f"{where}: expected a list of one {{input, output}}.")
    given = text_of(found[0].get("input") or "", f"{where}[0].input")
    reply = _filled(text_of(found[0].get("output"), f"{where}[0].output"), f"{where}[0].output")
    return Demo((*user(with_input(fields.filled("instruction"), given)), Message("assistant", reply)))


def flan_cot(fields: Fields) -> Demo:
    """A question answered by its rationale and then the answer (FLAN's chain-of-thought sets, arXiv:2210.11416)."""
    answer = fields.filled("answer").strip().rstrip(".")
    reply = f"{fields.filled('rationale').strip()}\nThe answer is {answer}."
    return Demo((*user(fields.filled("question").strip()), Message("assistant", reply)))


def preference(fields: Fields) -> Pair:
    """A prompt as text or turns, and two replies as text, turns without the prompt, or turns with it."""
    chosen_head, chosen = _reply(fields, "chosen")
    rejected_head, rejected = _reply(fields, "rejected")
    head = chosen_head or rejected_head
    apart = chosen_head and rejected_head and chosen_head != rejected_head
    prompt = fields.prompt("prompt")
    if not isinstance(fields.get("prompt"), str):
        apart = apart or (head and head != prompt)
    elif chosen_head and rejected_head:
        prompt = head  # where both lists hold the conversation they decide: the text beside them is a copy of one turn
    elif head:
        apart = prompt[0] not in head
        prompt = head
    if apart:
        raise _different_prompts(fields)
    return _pair(fields, prompt, chosen, rejected)


def scored_preference(fields: Fields) -> Pair:
    """A preference with the scores it was made from; the chosen reply must be scored higher."""
    scores = {name: _number(fields.get(name), fields.where(name)) for name in ("score_chosen", "score_rejected")}
    if scores["score_chosen"] <= scores["score_rejected"]:
        raise DataError("score_chosen is not above score_rejected, so nothing is preferred.")
    pair = preference(fields)
    return Pair(pair.prompt, pair.chosen, pair.rejected, annotations=scores)


def implicit_preference(fields: Fields) -> Pair:
    """Two conversations of turns that are the same up to the last, the assistant's."""
    chosen_head, chosen = _reply(fields, "chosen")
    rejected_head, rejected = _reply(fields, "rejected")
    if chosen_head != rejected_head or not chosen_head:
        raise _different_prompts(fields)
    return _pair(fields, chosen_head, chosen, rejected)


def hh_rlhf(fields: Fields) -> Pair:
    """Two dialogues in one text each, alike up to the last turn; an empty line and "Human:" or "Assistant:" begins a turn."""
    dialogues = [_dialogue(fields.text(name), fields.where(name)) for name in ("chosen", "rejected")]
    heads = [dialogue[:-1] for dialogue in dialogues]
    if heads[0] != heads[1]:
        raise _different_prompts(fields)
    return _pair(fields, heads[0], dialogues[0][-1].content, dialogues[1][-1].content)


def sharegpt_preference(fields: Fields) -> Pair:
    """A conversation of {from, value} turns and two turns that could follow it."""
    prompt = in_order(fields.turns("conversations"), fields.where("conversations"), "user")
    return _pair(fields, prompt, _only_reply(fields, "chosen"), _only_reply(fields, "rejected"))


def ultrafeedback(fields: Fields) -> Pair:
    """The completion with the best overall score, and one drawn among those scored lower.

    A completion without `overall_score` is scored by the mean of its aspects' ratings; one without any is left out. The
    draw depends on the instruction alone.
    """
    where, found = fields.where("completions"), fields.get("completions")
    if not isinstance(found, list | tuple):
        raise DataError(f"{where}: expected a list of completions with ratings.")
    scored = []
    for i, each in enumerate(found):
        if not isinstance(each, dict):
            raise DataError(f"{where}[{i}]: expected a completion with response and overall_score.")
        score = _overall(each, f"{where}[{i}]")
        if score is not None:
            scored.append((score, _filled(text_of(each.get("response"), f"{where}[{i}].response"), where)))
    if not scored:
        raise DataError(f"{where}: no completion has a score.")
    best = max(scored, key=lambda each: each[0])
    lower = [each for each in scored if each[0] < best[0]]
    if not lower:
        raise DataError(f"{where}: all completions have the same score, so nothing is preferred.")
    instruction = fields.filled("instruction")
    worse = lower[stream(0, "ultrafeedback", instruction).randrange(len(lower))]
    pair = _pair(fields, user(instruction), best[1], worse[1])
    return Pair(
        pair.prompt, pair.chosen, pair.rejected, annotations={"score_chosen": best[0], "score_rejected": worse[0]}
    )


def kto(fields: Fields) -> Rated:
    """A prompt, a completion, and whether it was good."""
    return Rated(fields.prompt("prompt"), _only_reply(fields, "completion"), _label(fields))


def kto_messages(fields: Fields) -> Rated:
    """A conversation whose last turn is rated."""
    turns = conversation(fields, "messages")
    return Rated(turns[:-1], turns[-1].content, _label(fields))


def problem(fields: Fields) -> Problem:
    """A prompt, as text or turns, and the answer that the verifier compares with."""
    return _problem(fields, "prompt")


def problem_messages(fields: Fields) -> Problem:
    """Turns that end with the user's, and the answer that the verifier compares with."""
    return _problem(fields, "messages")


def _problem(fields: Fields, prompt: str) -> Problem:
    if not fields.verifier:
        raise DataError("a problem needs the name of a verifier: verifier='gsm8k'.")
    check = Check(fields.verifier, _filled(fields.text_or_number("answer"), fields.where("answer")))
    category = "" if fields.get("category") is None else fields.text_or_number("category")
    return Problem(fields.prompt(prompt), check, fields.text("solution", ""), category)


def gsm8k(fields: Fields) -> Problem:
    """A question whose worked answer ends with "#### number" (GSM8K, arXiv:2110.14168)."""
    solution = fields.filled("answer")
    answer = solution.rpartition("####")[2].strip() if "####" in solution else ""
    if not answer:
        raise DataError(f"{fields.where('answer')}: expected '#### number' at its end.")
    return Problem(fields.prompt("question"), Check(fields.verifier or "gsm8k", answer), solution)


def tulu_rlvr(fields: Fields) -> Problem:
    """Tülu 3's RLVR rows: turns up to the user's, the ground truth, and the set that says how it is compared."""
    named = fields.filled("dataset")
    verifier = VERIFIERS.get(named.lower())
    if verifier is None:
        raise DataError(
            f"{fields.where('dataset')}: no verifier is known for {named!r:.60}. Known: {', '.join(VERIFIERS)}."
        )
    truth = fields.get("ground_truth")
    if isinstance(truth, list) and len(truth) == 1:
        truth = truth[0]
    truth = _filled(text_of(truth, fields.where("ground_truth")), fields.where("ground_truth"))
    target = ifeval_target(truth) if verifier == "ifeval" else truth
    notes = {"constraint": fields.text("constraint", "")} if fields.get("constraint") else {}
    category = fields.text("constraint_type", "") or named
    return Problem(fields.prompt("messages"), Check(verifier, target), category=category, annotations=notes)


def is_label(fields: Fields) -> bool:
    """Whether the column `label` says good or not."""
    value = fields.get("label")
    return isinstance(value, bool | int | str) and _spelled(value) in _LABELS


def is_dialogue(fields: Fields) -> bool:
    """Whether both replies are texts with marked turns."""
    texts = (fields.get("chosen"), fields.get("rejected"))
    return all(isinstance(text, str) and _SPEAKER.match(text) is not None for text in texts)


def has_turns(fields: Fields) -> bool:
    """Whether both replies are lists of turns."""
    return all(isinstance(fields.get(name), list | tuple) for name in ("chosen", "rejected"))


def has_whole_conversations(fields: Fields) -> bool:
    """Whether the chosen side is more than a reply: turns with the prompt among them."""
    value = fields.get("chosen")
    return isinstance(value, list | tuple) and len(value) > 1


def is_open(fields: Fields) -> bool:
    """Whether the messages end with the user's turn, so that the reply is still to come."""
    value = fields.get("messages")
    last = value[-1] if isinstance(value, list | tuple) and value else None
    return isinstance(last, dict) and last.get("role") == "user"


def is_worked(fields: Fields) -> bool:
    """Whether the answer is worked out in GSM8K's form."""
    value = fields.get("answer")
    return isinstance(value, str) and "####" in value


def _filled(text: str, where: str) -> str:
    if not text.strip():
        raise DataError(f"{where}: empty.")
    return text


def _reply(fields: Fields, name: str) -> tuple[Messages, str]:
    """(the turns before the last, the last turn's text) of a reply as text, one turn, or a list of turns."""
    value, where = fields.get(name), fields.where(name)
    if isinstance(value, str):
        return (), fields.filled(name)
    turns = (turn_of(value, where),) if isinstance(value, dict) else turns_of(value, where)
    if turns[-1:] and turns[-1].role != "assistant":
        raise DataError(f"{where}: the last turn must be the assistant's.")
    if not turns:
        raise DataError(f"{where}: empty.")
    return turns[:-1], _filled(turns[-1].content, where)


def _only_reply(fields: Fields, name: str) -> str:
    head, reply = _reply(fields, name)
    if head:
        raise DataError(f"{fields.where(name)}: expected the assistant's turn alone, got {len(head) + 1} turns.")
    return reply


def _pair(fields: Fields, prompt: Messages, chosen: str, rejected: str) -> Pair:
    in_order(prompt, "the prompt", "user")
    if _filled(chosen, fields.where("chosen")) == _filled(rejected, fields.where("rejected")):
        raise DataError("chosen and rejected are the same text, so nothing is preferred.")
    return Pair(prompt, chosen, rejected)


def _different_prompts(fields: Fields) -> DataError:
    return DataError(
        f"{fields.where('chosen').replace('field', 'fields', 1)} and {fields.where('rejected').removeprefix('field ')}: "
        "both must continue the same prompt."
    )


def _dialogue(text: str, where: str) -> Messages:
    before, *parts = _SPEAKER.split(text)
    if before.strip() or not parts:
        raise DataError(f"{where}: expected a dialogue that begins with '\\n\\nHuman:'.")
    turns = tuple(
        Message("user" if speaker == "Human" else "assistant", said.removeprefix(" "))
        for speaker, said in zip(parts[::2], parts[1::2], strict=True)
    )
    return in_order(turns, where, "assistant")


def _overall(completion: Mapping[str, Any], where: str) -> float | None:
    given = completion.get("overall_score")
    if given is not None:
        return _number(given, f"{where}.overall_score")
    aspects = completion.get("annotations")
    ratings = []
    for aspect in aspects.values() if isinstance(aspects, dict) else ():
        rating = (aspect.get("Rating") or aspect.get("rating")) if isinstance(aspect, dict) else None
        if rating not in (None, "N/A"):
            ratings.append(_number(rating, f"{where}.annotations"))
    return sum(ratings) / len(ratings) if ratings else None


def _number(value: Any, where: str) -> float:
    try:
        number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else float("nan")
    except (ValueError, OverflowError):
        number = float("nan")
    if not math.isfinite(number):
        raise DataError(f"{where}: expected a number, got {str(value)[:60]!r}.")
    return number


def _label(fields: Fields) -> bool:
    value = fields.get("label")
    if not is_label(fields):
        raise DataError(f"{fields.where('label')}: expected true or false, got {str(value)[:60]!r}.")
    return _LABELS[_spelled(value)]


def _spelled(value: bool | int | str) -> bool | int | str:
    return value.strip().lower() if isinstance(value, str) else value
