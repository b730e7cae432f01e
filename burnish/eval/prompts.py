"""From a task's item to the token ids an engine is given, and what happens to prompts that are too long.

Chat tasks: the model's chat template with the generation prompt, then the task's prefill. Plain tasks (`chat=False`): the turns'
contents one behind the other and the prefill, as they are, with the start token (BOS) where the tokenizer adds one by default.

Continuations of rankings. After a chat template a choice follows the generation prompt, so the space it begins with is
dropped, unless a prefill stands between (olmes). In plain text the white space at the prompt's end goes to the choice, and the
choice's tokens are those of the whole text after as many tokens as the prompt alone has (lm-evaluation-harness).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

from burnish.core.types import Messages
from burnish.errors import RecipeError, nearest
from burnish.eval.answer import Item
from burnish.eval.ranking import Ranking
from burnish.rollout.engine import Sampling

if TYPE_CHECKING:
    from burnish.text.render import Renderer

Overlong = Literal["error", "shorten_reply", "left_truncate"]


def check_overlong(overlong: str) -> None:
    """Raise RecipeError for a way of handling long prompts that is not known."""
    if overlong not in get_args(Overlong):
        raise RecipeError(f"--overlong {overlong}: no such way. {nearest(overlong, get_args(Overlong))}")


@dataclass(frozen=True, slots=True)
class Asked:
    """An item as an engine takes it. choices: the continuations of a ranking, as token ids; () for a reply.

    flags: "prompt_cut" or "reply_shortened" where the prompt was too long and the evaluation says what to do then.
    """

    prompt_ids: tuple[int, ...]
    sampling: Sampling
    choices: tuple[tuple[int, ...], ...] = ()
    flags: tuple[str, ...] = ()

    @property
    def room(self) -> int:
        """The tokens that may come after the prompt."""
        return max(map(len, self.choices)) if self.choices else self.sampling.max_tokens


class Prompts:
    """Tokenises items for one model.

    context:  the most tokens a prompt and what comes after it may have together.
    overlong: what to do with an item that has more. "error": refuse, before anything is asked. "shorten_reply": the reply may
              get only what is left. "left_truncate": the prompt loses its beginning. Both are flagged and counted.
              (olmes has both; its first one takes the room that the longest prompt of a batch leaves, here it is each prompt's own.)
    """

    def __init__(self, renderer: Renderer, context: int, overlong: Overlong = "error") -> None:
        check_overlong(overlong)
        self._renderer, self._context, self._overlong = renderer, context, overlong
        self._known: dict[tuple[Messages, str, bool, tuple[str, ...]], Asked] = {}
        self._numbers: dict[int, int] = {}

    def asked(self, items: Sequence[Item]) -> list[Asked]:
        """Every item's tokens. Raises RecipeError when some do not fit the context and that is not allowed for."""
        found = [self._fitted(self._asked(item)) for item in items]
        over = [i for i, each in enumerate(found) if len(each.prompt_ids) + each.room > self._context]
        if over:
            raise self._too_long(items, found, over)
        return found

    def _asked(self, item: Item) -> Asked:
        task, problem = item.task, item.problem
        choices = task.verifier.choices(problem) if isinstance(task.verifier, Ranking) else ()
        key = (problem.prompt, task.prefill, task.chat, choices)
        if key not in self._known:
            prompt, parts = (self._chat if task.chat else self._plain)(problem.prompt, task.prefill, choices)
            self._known[key] = Asked(self._shared(prompt), task.sampling, tuple(map(tuple, parts)))
        found = replace(self._known[key], sampling=task.sampling)
        empty = [text for text, ids in zip(choices, found.choices, strict=True) if not ids]
        if empty or not found.prompt_ids:
            what = f"the choice {empty[0]!r}" if empty else "the prompt"
            raise RecipeError(
                f"task {task.name}, problem {problem.id}: {what} has no tokens, so a model cannot be asked about it.\n"
                f"  Mend what source {task.source.name} gives."
            )
        return found

    def _chat(
        self, messages: Messages, prefill: str, choices: tuple[str, ...]
    ) -> tuple[Sequence[int], Sequence[Sequence[int]]]:
        return self._renderer.begun(messages, prefill, [text if prefill else text.lstrip(" ") for text in choices])

    def _plain(
        self, messages: Messages, prefill: str, choices: tuple[str, ...]
    ) -> tuple[Sequence[int], Sequence[Sequence[int]]]:
        text = "".join(message.content for message in messages) + prefill
        if not choices:
            return self._encode([text])[0], ()
        bare = text.rstrip()
        prompt, *wholes = self._encode([bare, *(text + choice for choice in choices)])
        start = prompt or self._start()
        return start, [whole[len(prompt) :] for whole in wholes]

    def _encode(self, texts: list[str]) -> list[list[int]]:
        """Token ids with the special tokens that the tokenizer puts in front by default; never with an end of text behind."""
        tokenizer = self._renderer.tokenizer
        found: list[list[int]] = tokenizer(texts, verbose=False)["input_ids"]
        end = tokenizer.eos_token_id
        plain: list[list[int]] = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
        return [
            ids[:-1] if ids and ids[-1] == end and (not bare or bare[-1] != end) and len(ids) > len(bare) else ids
            for ids, bare in zip(found, plain, strict=True)
        ]

    def _start(self) -> list[int]:
        """What stands before an empty prompt: the start token, or the end-of-text token where there is none."""
        tokenizer = self._renderer.tokenizer
        token = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
        return [] if token is None else [token]

    def _shared(self, ids: Sequence[int]) -> tuple[int, ...]:
        """The ids as a tuple; equal numbers are one object, which takes a quarter of the memory over a whole suite."""
        one = self._numbers.setdefault
        return tuple([one(number, number) for number in ids])

    def _fitted(self, asked: Asked) -> Asked:
        prompt, room = asked.prompt_ids, self._context - len(asked.prompt_ids)
        if asked.room <= room or self._overlong == "error":
            return asked
        if self._overlong == "left_truncate":
            keep = self._context - asked.room
            return replace(asked, prompt_ids=prompt[-keep:], flags=("prompt_cut",)) if keep > 0 else asked
        if room < 1 or asked.choices:
            return asked
        return replace(asked, sampling=replace(asked.sampling, max_tokens=room), flags=("reply_shortened",))

    def _too_long(self, items: Sequence[Item], found: Sequence[Asked], over: Sequence[int]) -> RecipeError:
        worst = max(over, key=lambda i: len(found[i].prompt_ids) + found[i].room)
        item, size, limit = items[worst], len(found[worst].prompt_ids), found[worst].room
        room = self._context - size
        fix = f"Lower the task's max_tokens to {room} or less" if room > 0 else "Use fewer or shorter shots"
        return RecipeError(
            f"task {item.task.name}: problem {item.key[1]} has a prompt of {size} tokens and may get a reply of {limit}, "
            f"but the model's context is {self._context}; {len(over)} of {len(items)} prompts do not fit, and cutting them would change the question.\n"
            f"  It begins {item.problem.prompt[-1].content!r:.70}\n  {fix}, or evaluate a model with a longer context; or say what to do with such "
            "prompts: --overlong shorten_reply (what is left of the context) or left_truncate (the prompt loses its beginning). Both are counted."
        )
