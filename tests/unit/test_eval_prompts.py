"""From items to token ids: chat and plain prompts, prefills, continuations of rankings, prompts that are too long; the queue's order."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest

from burnish.core.types import Check, Message, Problem, Row, user
from burnish.errors import RecipeError
from burnish.eval.answer import Item
from burnish.eval.model_answers import SHARED, in_order
from burnish.eval.prompts import Asked, Overlong, Prompts
from burnish.eval.ranking import BestChoice
from burnish.eval.task import EvalTask
from burnish.model.toy import make_toy
from burnish.rollout.engine import GREEDY, Sampling
from burnish.text.render import Renderer
from burnish.verify.text_match import TextMatch


@dataclass(frozen=True, slots=True)
class Nothing:
    """A source that is never read."""

    VERSION: ClassVar[int] = 1
    name: ClassVar[str] = "nothing"
    licence: ClassVar[str] = ""
    url: ClassVar[str] = ""
    revision: ClassVar[str] = "generated"

    def rows(self, data: Path | None) -> Iterator[Row]:
        yield from ()


TARGET = '{"choices": [" Paris", " Rome\\n"], "right": [0]}'
CHAT = EvalTask("chat", Nothing(), TextMatch(), GREEDY)
PLAIN = replace(CHAT, name="plain", chat=False)
RANKED = EvalTask("ranked", Nothing(), BestChoice())


@pytest.fixture(scope="module")
def renderer(tmp_path_factory: pytest.TempPathFactory) -> Renderer:
    from transformers import AutoTokenizer

    folder = make_toy(tmp_path_factory.mktemp("toy") / "model")
    return Renderer(AutoTokenizer.from_pretrained(folder, local_files_only=True))


def asked(
    renderer: Renderer, task: EvalTask, *turns: str, context: int = 10_000, overlong: Overlong = "error"
) -> Asked:
    roles = ("user", "assistant")
    messages = tuple(Message(roles[i % 2], text) for i, text in enumerate(turns))
    item = Item(task, Problem(messages, Check("x", TARGET)))
    return Prompts(renderer, context, overlong).asked([item])[0]


def plain_ids(renderer: Renderer, text: str) -> list[int]:
    ids: list[int] = renderer.tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def test_chat_prompt_and_prefill(renderer: Renderer):
    question = user("Where is the Louvre?")
    assert asked(renderer, CHAT, question[0].content).prompt_ids == renderer.prompt(question)
    begun = asked(renderer, replace(CHAT, prefill="Answer:"), question[0].content)
    assert begun.prompt_ids == (*renderer.prompt(question), *plain_ids(renderer, "Answer:"))
    assert begun.choices == ()


def test_plain_prompt_is_the_text_itself_with_the_start_token_the_tokenizer_adds(renderer: Renderer):
    """Turns stand one behind the other with nothing between them."""
    text = "Passage: It rains.\nQuestion: What falls?\nAnswer:"
    ids = asked(
        renderer, replace(PLAIN, prefill="Answer:"), "Passage: It rains.\n", "Question: What falls?\n"
    ).prompt_ids
    assert list(ids) == renderer.tokenizer(text)["input_ids"]
    assert renderer.decode(ids) == text


def test_choices_after_a_chat_prompt_lose_their_first_space(renderer: Renderer):
    found = asked(renderer, RANKED, "Capital of France?")
    assert [renderer.decode(ids) for ids in found.choices] == ["Paris", "Rome\n"]
    assert found.prompt_ids == renderer.prompt(user("Capital of France?"))
    assert found.room == max(map(len, found.choices))


def test_choices_after_a_prefill_keep_it(renderer: Renderer):
    found = asked(renderer, replace(RANKED, prefill="Answer:"), "Capital of France?")
    assert [renderer.decode(ids) for ids in found.choices] == [" Paris", " Rome\n"]
    assert renderer.decode(found.prompt_ids).endswith("Answer:")


@pytest.mark.parametrize(
    "prompt", ["Q: Capital of France?\nA:", "Q: Capital of France?\nA: ", "Q: Capital?\nA:\n\n", ""]
)
def test_plain_choices_as_the_harness_cuts_them(renderer: Renderer, prompt: str):
    """lm-evaluation-harness, TemplateLM._encode_pair: trailing white space of the context goes to the continuation; the
    continuation's tokens are those of the whole after as many as the context alone has."""
    bare = prompt.rstrip()
    context = plain_ids(renderer, bare)
    expected = [tuple(plain_ids(renderer, prompt + choice)[len(context) :]) for choice in (" Paris", " Rome\n")]
    found = asked(renderer, replace(RANKED, chat=False), prompt)
    added = len(found.prompt_ids) - len(context)
    assert list(found.prompt_ids[added:]) == context
    assert found.choices == tuple(expected)
    assert found.prompt_ids


def test_too_long(renderer: Renderer):
    """40 tokens of context, replies of up to 16: a prompt of 30 leaves 10."""
    task = replace(PLAIN, sampling=Sampling(temperature=0.0, max_tokens=16))
    text = "x" * 200
    whole = asked(renderer, task, text).prompt_ids
    context = len(whole) + 10
    with pytest.raises(
        RecipeError, match=r"1 of 1 prompts do not fit[\s\S]*max_tokens to 10 or less[\s\S]*--overlong shorten_reply"
    ):
        asked(renderer, task, text, context=context)
    short = asked(renderer, task, text, context=context, overlong="shorten_reply")
    assert (short.prompt_ids, short.sampling.max_tokens, short.flags) == (whole, 10, ("reply_shortened",))
    cut = asked(renderer, task, text, context=context, overlong="left_truncate")
    assert (cut.prompt_ids, cut.sampling.max_tokens, cut.flags) == (whole[6:], 16, ("prompt_cut",))
    fits = asked(renderer, task, text, context=len(whole) + 16, overlong="left_truncate")
    assert (fits.prompt_ids, fits.flags) == (whole, ())
    for how in ("shorten_reply", "left_truncate"):
        with pytest.raises(RecipeError, match="fewer or shorter shots"):
            asked(renderer, task, text, context=10 if how == "left_truncate" else len(whole), overlong=how)
    with pytest.raises(RecipeError, match="do not fit"):
        asked(renderer, RANKED, text, context=len(whole) - 20, overlong="shorten_reply")


def test_a_prompt_without_tokens_is_refused(renderer: Renderer):
    if not renderer.tokenizer("")["input_ids"]:
        with pytest.raises(RecipeError, match="the prompt has no tokens"):
            asked(renderer, PLAIN, "")
    with pytest.raises(RecipeError, match=r"no such way.*left_truncate"):
        Prompts(renderer, 10, "left_trunc")  # type: ignore[arg-type]


def test_the_queue_keeps_shared_beginnings_together_and_long_replies_first():
    """Three blocks of shots, replies of 8, 99 and 16 tokens: the block with 99 comes first, and in it the longest."""
    heads = {name: tuple(range(start, start + SHARED)) for name, start in (("a", 0), ("b", 1000), ("c", 2000))}
    queue: list[tuple[Item, Asked]] = []
    for number, (name, room) in enumerate([("a", 8), ("b", 16), ("c", 8), ("b", 99), ("a", 8), ("b", 16), ("c", 16)]):
        task = replace(CHAT, name=name, sampling=Sampling(temperature=0.0, max_tokens=room))
        item = Item(task, Problem(user(f"{name}{number}"), Check("x", "1")))
        queue += [(replace(item, sample=sample), Asked((*heads[name], number), task.sampling)) for sample in range(3)]
    random.Random(0).shuffle(queue)
    ordered = in_order(queue)
    assert sorted(map(repr, ordered)) == sorted(map(repr, queue))
    blocks = [item.task.name for item, _ in ordered]
    assert list(dict.fromkeys(blocks)) == ["b", "c", "a"]
    assert blocks == sorted(blocks, key=["b", "c", "a"].index)
    assert [each.room for item, each in ordered if item.task.name == "b"] == [99] * 3 + [16] * 6
    prompts = [each.prompt_ids for _, each in ordered]
    assert prompts == [
        prompt for prompt in dict.fromkeys(prompts) for _ in range(3)
    ]  # a prompt's samples stand together
