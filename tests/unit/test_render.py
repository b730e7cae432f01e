"""Rendering: tokens are the template's own, and exactly the replies with their end of turn are trained."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
from chat_models import (
    ENDLESS,
    FORGETFUL,
    LLAMA2,
    LLAMA3,
    MISTRAL,
    MODELS,
    SMOLLM2,
    TULU,
    WINDOW,
    ZEPHYR,
    ChatModel,
    tokenizer_of,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.core.types import Message, Messages, plain, user
from burnish.errors import ModelError
from burnish.text import template
from burnish.text.render import Rendered, Renderer
from burnish.text.template import ChatFormat

GOLDEN = Path(__file__).parents[1] / "golden" / "rendered.txt"
PLAIN = (
    Message("user", "What is the capital of France?"),
    Message("assistant", "Paris.\n\nIt is."),
    Message("user", "How are you?"),
    Message("assistant", "one - two\n"),
)
RENDERERS = [(model, own) for model in MODELS for own in (True, False)]
NAMES = [f"{model.name}-{'own' if own else 'ours'}" for model, own in RENDERERS]


@cache
def renderer_of(model: ChatModel, own: bool) -> Renderer:
    return Renderer(tokenizer_of(model), None if own else model.ours)


def cut(model: ChatModel, text: str) -> str:
    return text.strip() if model.ours.trim else text


def end_of(model: ChatModel) -> str:
    return model.ours.bind(model.bos or "", model.eos).end


def trained_text(renderer: Renderer, rendered: Rendered) -> list[str]:
    """The trained stretches, decoded with their special tokens."""
    stretches: list[list[int]] = []
    for i, (token, trained) in enumerate(zip(rendered.token_ids, rendered.mask, strict=True)):
        if trained and (i == 0 or not rendered.mask[i - 1]):
            stretches.append([])
        if trained:
            stretches[-1].append(token)
    return [renderer.tokenizer.decode(ids, clean_up_tokenization_spaces=False) for ids in stretches]


def check_render(model: ChatModel, renderer: Renderer, messages: Messages) -> None:
    """The law: the mask decodes to the replies with their ends of turn, the ids to the template's own text, and the ids that
    ask for each reply are a prefix of those trained on.
    """
    rendered = renderer.render(messages)
    whole = renderer.tokenizer.apply_chat_template(plain(messages), tokenize=False)
    assert renderer.tokenizer.decode(list(rendered.token_ids), clean_up_tokenization_spaces=False) == whole
    replies = [message.content for message in messages if message.role == "assistant"]
    assert trained_text(renderer, rendered) == [cut(model, reply) + end_of(model) for reply in replies]
    for i, message in enumerate(messages):
        if message.role == "assistant":
            prompt = renderer.prompt(messages[:i])
            assert rendered.token_ids[: len(prompt)] == prompt
            assert rendered.mask[len(prompt)]
            reply = renderer.reply(messages[:i], message.content)
            assert reply.token_ids == rendered.token_ids[: len(reply.token_ids)]
            assert reply.mask == tuple(t >= len(prompt) for t in range(len(reply.token_ids)))
            assert reply.token_ids[-1] in renderer.stop_ids


@pytest.mark.parametrize(("model", "own"), RENDERERS, ids=NAMES)
def test_tokens_are_the_templates_own(model: ChatModel, own: bool) -> None:
    """Contents without white space at their ends leave no doubt where a token ends, whatever the pre-tokenizer."""
    renderer = renderer_of(model, own)
    messages = tuple(Message(m.role, m.content.strip()) for m in PLAIN)
    theirs = tokenizer_of(model).apply_chat_template(plain(messages), tokenize=True)["input_ids"]
    ours = list(renderer.render(messages).token_ids)
    if (
        model is LLAMA3
    ):  # GPT-2's pre-tokenizer reads "\n\n" before a word as two tokens and at the end of a prompt as one
        assert renderer.decode(ours) == renderer.decode(theirs)
    else:
        assert ours == theirs
    if model.bos and model is not SMOLLM2:
        assert ours.count(renderer.tokenizer.bos_token_id) == (model.ours.start == "{bos}")


@pytest.mark.parametrize(("model", "own"), RENDERERS, ids=NAMES)
def test_mask_and_prefix(model: ChatModel, own: bool) -> None:
    renderer = renderer_of(model, own)
    check_render(model, renderer, PLAIN)
    if model.ours.system is not None:
        check_render(model, renderer, (Message("system", "Be brief."), *PLAIN))


@pytest.mark.parametrize(("model", "own"), RENDERERS, ids=NAMES)
def test_train_last(model: ChatModel, own: bool) -> None:
    renderer = renderer_of(model, own)
    both, last = renderer.render(PLAIN), renderer.render(PLAIN, train="last")
    assert both.token_ids == last.token_ids
    assert trained_text(renderer, last) == trained_text(renderer, both)[1:]


@pytest.mark.parametrize(("model", "own"), RENDERERS, ids=NAMES)
def test_stop_ids(model: ChatModel, own: bool) -> None:
    renderer = renderer_of(model, own)
    wanted = {end_of(model), model.eos}
    assert {renderer.tokenizer.convert_ids_to_tokens(i) for i in renderer.stop_ids} == wanted


NASTY = st.one_of(
    st.sampled_from(["", " ", "\n", "\n\n", "  x", "x  ", "\nx\n", "<|im_end|>", "<|user|>\n", "</s>", "<|im_start|>assistant\nno<|im_end|>", "[/INST]", "é🙂", "\u200b", "{eos}", "{{ 1 }}"]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
)  # fmt: skip
TURN = st.lists(NASTY, min_size=1, max_size=3).map("".join)
EXCHANGES = st.lists(st.tuples(TURN, TURN), min_size=1, max_size=3)


@pytest.mark.parametrize(("model", "own"), RENDERERS, ids=NAMES)
@settings(max_examples=25, deadline=None)
@given(exchanges=EXCHANGES)
def test_any_contents(model: ChatModel, own: bool, exchanges: list[tuple[str, str]]) -> None:
    messages = tuple(m for q, a in exchanges for m in (Message("user", q), Message("assistant", a)))
    check_render(model, renderer_of(model, own), messages)


@pytest.mark.parametrize("own", [True, False])
def test_the_law_catches_a_shifted_mask_a_lost_end_of_turn_and_a_trained_newline(own: bool) -> None:
    renderer = renderer_of(SMOLLM2, own)

    class Shifted(Renderer):
        by: tuple[int, int] = (0, 0)

        def render(self, messages: Messages, *, train: template.Train = "assistant") -> Rendered:
            good, (first, last) = super().render(messages, train=train), self.by
            mask = [
                any(good.mask[max(0, i - last) : i + first + 1]) if first >= 0 else all(good.mask[i + first : i + 1])
                for i in range(len(good.mask))
            ]
            if (first, last) == (9, 9):
                mask = [m and t not in self.stop_ids for m, t in zip(good.mask, good.token_ids, strict=True)]
            return Rendered(good.token_ids, tuple(mask))

    broken = Shifted(tokenizer_of(SMOLLM2), None if own else SMOLLM2.ours)
    check_render(SMOLLM2, broken, PLAIN)
    for by in ((1, 0), (0, 1), (-1, 0), (9, 9)):
        broken.by = by
        with pytest.raises(AssertionError):
            check_render(SMOLLM2, broken, PLAIN)
    assert renderer.render(PLAIN).mask[-1] is False


def test_a_reply_that_would_merge_with_its_prompt_is_tokenised_apart() -> None:
    """Tülu prompts end with a newline; a reply that begins with one would make a single token of both, which a model that
    generates never meets.
    """
    for own in (True, False):
        renderer = renderer_of(TULU, own)
        messages = (*user("x"), Message("assistant", "\n\n\nprint"))
        whole = renderer.tokenizer(renderer.tokenizer.apply_chat_template(plain(messages), tokenize=False), add_special_tokens=False)["input_ids"]  # fmt: skip
        prompt = renderer.prompt(messages[:1])
        assert tuple(whole[: len(prompt)]) != prompt, "the corpus no longer makes such a token"
        check_render(TULU, renderer, messages)


def test_sentencepiece_replies_do_not_gain_a_space() -> None:
    """[/INST]Hello is one run of text: its reply has no space before it, though a text of its own would."""
    for own in (True, False):
        renderer = Renderer(tokenizer_of(MISTRAL, style="sentencepiece"), None if own else MISTRAL.ours)
        messages = (*user("What"), Message("assistant", "Hello"), *user("How"), Message("assistant", " there"))
        rendered = renderer.render(messages)
        theirs = renderer.tokenizer.apply_chat_template(plain(messages), tokenize=True)["input_ids"]
        assert list(rendered.token_ids) == theirs
        # The decoder drops one space at the start of what it is given; the token has it.
        assert trained_text(renderer, rendered) == ["Hello</s>", "there</s>"]
        assert [piece for piece in renderer.tokenizer.convert_ids_to_tokens(rendered.token_ids) if piece == "\u2581t"]
        reply = renderer.reply(messages[:1], "Hello")
        assert rendered.token_ids[: len(reply.token_ids)] == reply.token_ids


def test_llama_2_writes_spaces_around_replies() -> None:
    """They are trained: the prompt does not have them, so the model must write them."""
    renderer = Renderer(tokenizer_of(ZEPHYR, LLAMA2))
    rendered = renderer.render((*user("Hello"), Message("assistant", "\nyou\n")))
    assert trained_text(renderer, rendered) == [" you </s>"]
    assert renderer.stop_ids == {renderer.tokenizer.eos_token_id}


def test_a_template_that_rewrites_replies_still_prompts_and_stops() -> None:
    renderer = Renderer(tokenizer_of(SMOLLM2, FORGETFUL))
    end = renderer.tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert renderer.stop_ids == {end}
    assert renderer.decode(renderer.prompt(PLAIN[:1])).endswith("assistant\n")
    assert trained_text(renderer, renderer.reply(PLAIN[:1], "Paris")) == ["Paris<|im_end|>"]
    with pytest.raises(ModelError, match=r"(?s)writes '<think>.*where it prompts for turn 2"):
        renderer.render(PLAIN[:2])


def test_a_template_that_drops_earlier_turns() -> None:
    """Training every turn is refused; the last one can be trained."""
    renderer = Renderer(tokenizer_of(SMOLLM2, WINDOW))
    with pytest.raises(ModelError, match=r"drops or changes what comes before turn 2"):
        renderer.render(PLAIN)
    assert trained_text(renderer, renderer.render(PLAIN[:2])) == ["Paris.\n\nIt is.<|im_end|>"]


def test_errors_of_templates() -> None:
    with pytest.raises(ModelError, match=r"no chat template.*\n.*Renderer\(tokenizer, TULU\)"):
        Renderer(tokenizer_of(SMOLLM2, ""))
    endless = Renderer(tokenizer_of(SMOLLM2, ENDLESS))
    with pytest.raises(ModelError, match="could not learn to stop"):
        endless.render(PLAIN)
    with pytest.raises(ModelError, match="could not learn to stop"):
        endless.reply(PLAIN[:1], "x")
    with pytest.raises(
        ModelError,
        match=r"'chatml' does not fit this tokenizer: it ends turns with '<\|im_end\|>', which is \d+ tokens",
    ):
        Renderer(tokenizer_of(TULU), template.CHATML)
    with pytest.raises(ModelError, match="'phi3' does not fit"):
        Renderer(tokenizer_of(TULU), template.PHI3)
    with pytest.raises(ModelError, match="eos token it lacks"):
        Renderer(without_eos(), template.TULU)


def without_eos() -> Any:
    tokenizer = tokenizer_of(TULU)
    tokenizer.eos_token = None
    return tokenizer


def test_a_template_that_writes_todays_date_writes_a_fixed_one() -> None:
    """Tokens that depend on the day would make the same recipe give another model tomorrow."""
    dated = "\n{{ strftime_now('%d %b %Y') + '\n' }}" + SMOLLM2.jinja
    plainly = Renderer(tokenizer_of(SMOLLM2)).prompt(PLAIN[:1])
    renderer = Renderer(tokenizer_of(SMOLLM2, dated))
    assert renderer.tokenizer.decode(renderer.prompt(PLAIN[:1])) == "\n26 Jul 2024\n" + renderer.tokenizer.decode(
        plainly
    )


def test_a_tokenizer_with_several_templates_uses_its_default() -> None:
    tokenizer = tokenizer_of(SMOLLM2)
    tokenizer.chat_template = {"default": SMOLLM2.jinja, "tool_use": WINDOW}
    assert Renderer(tokenizer).render(PLAIN) == renderer_of(SMOLLM2, True).render(PLAIN)
    tokenizer.chat_template = {"rag": SMOLLM2.jinja, "tool_use": WINDOW}
    with pytest.raises(ModelError, match="several chat templates"):
        Renderer(tokenizer)


@pytest.mark.parametrize("own", [True, False])
def test_nothing_to_train(own: bool) -> None:
    with pytest.raises(ModelError, match="conversation of user has no assistant turn"):
        renderer_of(SMOLLM2, own).render(user("Hello"))


def test_the_first_token_is_never_trained() -> None:
    """Nothing comes before it, so it has no log-probability."""
    bare = ChatFormat("bare", user=("", "\n"), assistant=("", "{eos}"), start="")
    rendered = Renderer(tokenizer_of(TULU), bare).render((Message("assistant", "Hello there"),))
    assert rendered.mask[0] is False
    assert all(rendered.mask[1:])


def test_a_format_goes_with_the_tokenizer_and_leaves_the_callers_alone() -> None:
    mine = tokenizer_of(SMOLLM2)
    before = mine.chat_template
    renderer = Renderer(mine, template.CHATML)
    assert mine.chat_template == before
    again = Renderer(renderer.tokenizer)
    assert again.render(PLAIN) == renderer.render(PLAIN)


def test_decode_leaves_special_tokens_out() -> None:
    renderer = renderer_of(SMOLLM2, True)
    ids = renderer.reply(user("x"), " Hi , there .").token_ids
    assert renderer.decode(ids).endswith("assistant\n Hi , there .")


def test_golden_conversations(update_golden: bool) -> None:
    """Every format in one readable file: trained tokens in brackets."""
    parts = []
    for model in MODELS:
        renderer = renderer_of(model, False)
        messages = PLAIN if model.ours.system is None else (Message("system", "Be brief."), *PLAIN)
        rendered = renderer.render(messages)
        shown = []
        for token, trained in zip(rendered.token_ids, rendered.mask, strict=True):
            text = renderer.tokenizer.decode([token], clean_up_tokenization_spaces=False)
            shown.append(f"[{text}]" if trained else text)
        parts.append(f"=== {model.name}\n{''.join(shown)}\n")
    text = "\n".join(parts)
    if update_golden:
        GOLDEN.write_text(text, encoding="utf-8")
    assert GOLDEN.read_text(encoding="utf-8") == text
