"""What comes behind a model's turn when it is answered: the template's own tokens, with nothing before them written anew."""

from __future__ import annotations

import pytest
from chat_models import ENDLESS, MISTRAL, MODELS, SMOLLM2, WINDOW, ChatModel, tokenizer_of
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.core.types import Message, Messages
from burnish.errors import ModelError
from burnish.text.render import Renderer

ASKED: Messages = (Message("user", "What is 6 times 7?"),)
ANSWER = Message("user", "That is not right.\n\nAgain.")
DROPS = (  # as Qwen3: what was thought in earlier replies is left out
    "{% for message in messages %}{% set said = message['content'] %}"
    "{% if message['role'] == 'assistant' and not loop.last %}{% set said = said.split('</think>')[-1].lstrip('\\n') %}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + said + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
RENDERERS = {
    f"{model.name}-{'own' if own else 'ours'}": Renderer(tokenizer_of(model), None if own else model.ours)
    for model in MODELS
    for own in (True, False)
}
words = st.text("abc XYZ.,\n{}<>|é🙂0", min_size=1, max_size=20).map(lambda text: f"a{text}b")


def talk(renderer: Renderer, replies: list[str], answers: list[str]) -> tuple[Messages, tuple[int, ...]]:
    """The conversation and its tokens, each turn behind those of the turns before."""
    messages, tokens = ASKED, renderer.prompt(ASKED)
    for reply, answer in zip(replies, answers, strict=True):
        wrote = renderer.reply(messages, reply).token_ids[len(renderer.prompt(messages)) :]
        messages = (*messages, Message("assistant", reply), Message("user", answer))
        tokens += wrote + renderer.follow(messages, wrote[-1])
    return messages, tokens


@pytest.mark.parametrize("name", RENDERERS)
def test_turn_by_turn_gives_the_tokens_of_the_whole(name: str) -> None:
    """What the model would be asked in one go about the same conversation."""
    renderer = RENDERERS[name]
    messages, tokens = talk(renderer, ["It is 41.", "Sorry: 42"], ["No.", "Why?"])
    assert tokens == renderer.prompt(messages)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(words, words), min_size=1, max_size=3))
def test_any_text(turns: list[tuple[str, str]]) -> None:
    for name in ("smollm2-own", "llama3-ours", "tulu-ours"):
        renderer = RENDERERS[name]
        messages, tokens = talk(renderer, [a for a, _ in turns], [b for _, b in turns])
        assert renderer.decode(tokens) == renderer.decode(renderer.prompt(messages))


def test_by_hand() -> None:
    """ChatML: after the end of turn a newline, the user's turn, and the prompt for the next."""
    renderer = RENDERERS["smollm2-own"]
    (end,) = renderer.tokenizer("<|im_end|>")["input_ids"]
    messages = (*ASKED, Message("assistant", "41"), Message("user", "No."))
    behind = renderer.tokenizer.decode(renderer.follow(messages, end))
    assert behind == "\n<|im_start|>user\nNo.<|im_end|>\n<|im_start|>assistant\n"


def test_a_turn_without_its_end_gets_it() -> None:
    """A stop string ended the turn, or another end token: the template's own end comes first."""
    for renderer in RENDERERS.values():
        messages = (*ASKED, Message("assistant", "41"), ANSWER)
        wrote = renderer.reply(ASKED, "41").token_ids
        ended, cut = renderer.follow(messages, wrote[-1]), renderer.follow(messages, wrote[-2])
        assert cut == (wrote[-1], *ended)


def test_sampled_tokens_have_no_part_in_it() -> None:
    """The same answer behind a reply of other tokens: what follows an end of turn depends on the texts alone."""
    renderer = RENDERERS["smollm2-own"]
    (end,) = renderer.tokenizer("<|im_end|>")["input_ids"]
    found = {
        renderer.follow((*ASKED, Message("assistant", text), ANSWER), end) for text in ("", " ", "\ufffd", "a\n\n")
    }
    assert len(found) == 1


@pytest.mark.parametrize(
    ("model", "jinja", "reply", "said"),
    [
        (SMOLLM2, DROPS, "<think>\nsix sevens\n</think>\n\n41", "changes an earlier turn"),
        (SMOLLM2, WINDOW, "41", "changes an earlier turn"),
        (SMOLLM2, ENDLESS, "41", "no special token"),
    ],
)
def test_a_template_that_writes_earlier_turns_anew_is_named(
    model: ChatModel, jinja: str, reply: str, said: str
) -> None:
    tokenizer = tokenizer_of(model, jinja)
    tokenizer.name_or_path = "some/model"
    renderer = Renderer(tokenizer)
    with pytest.raises(ModelError, match=rf"'some/model' .*{said}[\s\S]*several turns[\s\S]*CHATML"):
        renderer.follow((*ASKED, Message("assistant", reply), ANSWER), 0)


def test_the_same_template_serves_replies_without_thoughts() -> None:
    renderer = Renderer(tokenizer_of(SMOLLM2, DROPS))
    messages, tokens = talk(renderer, ["41"], ["No."])
    assert tokens == renderer.prompt(messages)


def test_sentencepiece_answers_do_not_gain_a_space() -> None:
    renderer = Renderer(tokenizer_of(MISTRAL, style="sentencepiece"))
    messages, tokens = talk(renderer, ["41"], ["No."])
    assert tokens == renderer.prompt(messages)
