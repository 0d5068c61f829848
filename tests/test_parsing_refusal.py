"""Refusals: an answer that only declines is told from one in which somebody declines something."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfinstruct.parsing import is_refusal

REFUSALS = [
    "I'm sorry, but I can't help with that.",
    "I’m sorry, but I can’t assist with that request.",
    "I am very sorry, but I cannot fulfill your request.",
    "Sorry, I can't help you with that.",
    "Sorry, but I am unable to comply with this request.",
    "I cannot assist with requests that put people in danger.",
    "I can't answer that.",
    "I cannot provide that kind of content.",
    "I won't do that because it would hurt people.",
    "I'm unable to complete this task.",
    "I am not able to help with that at this time.",
    "I apologize, but I cannot write content that is hateful towards a group of people.",
    "I cannot provide instructions for building a bomb.",
    "Unfortunately, I can't generate this type of content.",
    "As an AI language model, I cannot browse the internet.",
    "As an AI language model, I cannot give you my personal view. Please ask an expert.",
    "As an AI, I don't have feelings of my own.",
    "I'm sorry, but as an AI assistant, I am unable to open attachments.",
    "I'm sorry, but I can't help with that. If you have another question, feel free to ask!",
    "I'm sorry, but I can't help with that. It goes against my guidelines.\n\nIs there anything else you need?",
    "I can't assist with that request, but I can help you write a complaint to the landlord.",
    "I must decline to answer. Your request asks for illegal acts.",
    "That's not something I can help with.",
    "I'm afraid I can't help with this request.",
    "  **I'm sorry, but I can't help with that.**",
    "抱歉，我无法回答这个问题。",
    "作为一个人工智能语言模型，我无法浏览网页。",
    "对不起，我不能提供这类内容。如果您有其他问题，请告诉我。",
]
ANSWERS = [
    "",
    "Sorry!",
    "No.",
    "I'm sorry.",
    "I'm sorry for your loss.",
    "I'm sorry I missed your call yesterday. I was on the train and had no signal.",
    "I'm sorry, but I can't come to the party on Saturday.",
    "I'm sorry, but I can't help with the move on Saturday, since my back hurts.",
    "Dear Ms Holm,\n\nI'm sorry, but I can't help with that.\n\nKind regards,\nPeter",
    "I'm sorry, but I can't help with that.\n\nRegards,\nPeter",
    "\"I'm sorry, but I can't help with that,\" said the clerk.",
    "I'm sorry, but I can't help with that, said the clerk and closed the window.",
    "I can't help with that. The clerk closed the window and went home.",
    "Sorry, the baker said, I cannot help you today.",
    "Sorry was the first word that she wrote, and the last that she crossed out.",
    "Clerk: I'm sorry, but I can't help with that.\nGuest: Who can?",
    "I can't help falling asleep on trains.",
    "I cannot provide a reference for a tenant whom I never met.",
    "I cannot thank you enough for the flowers.",
    "I won't give up on the garden this year.",
    "I must decline your invitation to the wedding.",
    "I am unable to attend the meeting on Monday.",
    "I can't do the dishes tonight.",
    "Unfortunately, I can't find my keys.",
    "Unfortunately, the shop closes at noon.",
    "To refuse politely, say: I'm sorry, but I can't help with that.",
    'Saying no takes practice. A plain "I can\'t help with that" is often enough.',
    "As an AI language model grows, it needs more memory.",
    "As an AI, I was built in a small laboratory near the sea.",
    "As an AI, I cannot feel the rain, thought the robot, and opened the window.",
    "As an AI language model, I don't have a favourite colour, but many people like blue.",
    "As an AI language model, I cannot taste soup. However, the recipe sounds well balanced.",
    "I'm sorry, but I can't help with that. Here is a poem instead.",
    "I cannot answer that question fully. These are the main points:\n1. Rain\n2. Wind",
    "We are sorry, but we cannot process your refund.",
    "The assistant replied that it could not help with that request.",
    "I can help with that.",
    "我很抱歉昨天没有来。",
    "对不起，我不能参加你的婚礼。",
    "I'm sorry, but I can't help with that. " + "You know the rest. " * 60,
]


@pytest.mark.parametrize("text", REFUSALS)
def test_an_answer_that_only_declines_is_a_refusal(text: str) -> None:
    """Apology or not, with a reason or an offer behind it, in English or Chinese."""
    assert is_refusal(text) is True


@pytest.mark.parametrize("text", ANSWERS)
def test_an_answer_that_says_something_is_no_refusal(text: str) -> None:
    """Letters, dialogue, stories, advice, and refusals that deliver after all are answers."""
    assert is_refusal(text) is False


@given(st.text())
def test_a_quoted_refusal_is_never_one(text: str) -> None:
    """Somebody who quotes a refusal does not refuse, whatever follows."""
    assert is_refusal(f"\"I'm sorry, but I can't help with that.\" {text}") is False
