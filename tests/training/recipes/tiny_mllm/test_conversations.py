"""Conversations of the tiny model: what is asked, what is answered, and that held-out scenes stay unseen."""

import json
from collections import Counter

import numpy as np
import pytest

from atoken.miniature.questions import OPEN_QUESTIONS
from atoken.miniature.scenes import is_held_out
from atoken.training.mllm.collator import ConversationCollator
from atoken.training.recipes.tiny_mllm.conversations import (
    ATTRIBUTES,
    WORDS,
    conversation,
    conversations,
    for_the_other,
    questions_about,
    statement,
)
from atoken.training.recipes.tiny_mllm.subjects import KINDS, subject_of
from atoken.training.recipes.tiny_mllm.words import CONTEXT, every_word

from .conftest import COUNTS


@pytest.mark.parametrize("kind", KINDS)
def test_scenes_and_words_of_training_are_none_that_are_held_out(kind):
    for index in range(50):
        subject = subject_of(kind, index)
        for scene in subject.scenes:
            assert not is_held_out(scene.colour, scene.shape, scene.motion)
        for question in questions_about(subject, "all", 0):
            if question.kind == "yes_no":
                colour, shape = question.text.removeprefix("Is it ").removesuffix("?").split()[1:]
                assert not is_held_out(colour, shape)


def test_a_picture_is_asked_about_everything_in_an_order_of_its_own():
    subject = subject_of("pictures", 0)
    asked = questions_about(subject, "all", 0)
    kinds = Counter(question.kind for question in asked)
    assert kinds["open"] == 4 and kinds["caption"] == 1 and kinds["choice"] == 3 and 1 <= kinds["yes_no"] <= 3
    assert len({question.text for question in asked}) == len(asked)
    for attribute in ATTRIBUTES["image"]:
        answers = [question.answer for question in asked if question.text == OPEN_QUESTIONS[attribute]]
        assert answers == [getattr(subject.scenes[0], attribute)]
    assert asked == questions_about(subject, "all", 0) != questions_about(subject, "all", 1)
    assert {question.kind for question in questions_about(subject, "open", 0)} == {"open", "caption"}


def test_statements_are_true_in_half_of_the_cases():
    said = Counter()
    rng = np.random.default_rng(0)
    for index in range(100):
        for kind, medium in (("pictures", "image"), ("clips", "video")):
            scene = subject_of(kind, index).scenes[0]
            for about in ATTRIBUTES[medium]:
                question = statement(scene, rng, about)
                true = [words for word, words in WORDS[about].items() if word == getattr(scene, about)][0]
                assert (question.text.removeprefix("Is it ").removesuffix("?").split()[-1:] == true.split()[-1:]) or (
                    question.answer == "no"
                )
                said[question.answer] += 1
    assert abs(said["yes"] - said["no"]) < 100


def test_the_other_one_of_two_pictures():
    for index in range(20):
        question = subject_of("pairs", index).question
        other = for_the_other(question)
        assert {question.answer, other.answer} == {"first", "second"}
        for each in (question, other):
            scene = each.scenes[("first", "second").index(each.answer)]
            assert each.text == f"Which is the {scene.shape}, the first or the second?"


def test_media_stand_before_the_first_question():
    subject = subject_of("orders", 1)
    messages = conversation(subject, questions_about(subject, "all", 0))
    assert [message["role"] for message in messages] == ["user", "assistant"] * 4
    assert messages[0]["content"][0] == {"type": "video", "video": "orders-1-0"}
    assert all(part["type"] == "text" for message in messages[1:] for part in message["content"])


def test_batches_have_all_answers_and_known_words(parts, features):
    model, processor = parts
    dataset = conversations(COUNTS, "all", dict.fromkeys(COUNTS, 2), processor, features)
    assert len(dataset) == 2 * sum(COUNTS.values()) and max(dataset["length"]) <= CONTEXT
    batch = ConversationCollator(processor, features)(list(dataset))
    assert dataset["length"] == batch["attention_mask"].sum(1).tolist()
    assert not (batch["input_ids"] == processor.tokenizer.unk_token_id).any()
    for row, labels in zip(dataset, batch["labels"], strict=True):
        answers = [message["content"][0]["text"] for message in json.loads(row["messages"])[1::2]]
        said = processor.tokenizer.decode(labels[labels != -100]).split("<|im_end|>")
        assert [text.strip() for text in said] == [*(answer.lower() for answer in answers), ""]
    assert model(**batch).loss.isfinite()


def test_words():
    assert {"a", "b", "c", "d", "checkered", "yes", "centre", "assistant", "helpful"} <= every_word()
