"""Questions of the miniature world: answers are true of what is drawn, chance is what guessing gives."""

from collections import Counter

import numpy as np
import pytest
import torch

from atoken.miniature.questions import OPEN_QUESTIONS, QUESTION_KINDS, MiniatureQuestions, as_messages, ask, is_right
from atoken.miniature.scenes import COLOURS, MOTIONS, is_held_out, random_scene
from atoken.miniature.world import draw

from .test_miniature import nearest_colour, saturated


def described(medium: str, kind: str, length: int = 400, **options):
    questions = MiniatureQuestions(medium, length=length, kinds=(kind,), **options)
    return [questions.describe(index) for index in range(length)]


@pytest.mark.parametrize("medium", QUESTION_KINDS)
def test_open_answers_are_the_scenes_words_and_all_of_them_come_up(medium):
    asked = described(medium, "open", 1500)
    answers: dict[str, set[str]] = {}
    for question in asked:
        assert question.text == OPEN_QUESTIONS[question.about]
        assert question.answer == question.scenes[0].facts()[question.about]
        answers.setdefault(question.about, set()).add(question.answer)
    for question in asked:
        assert question.chance == 1 / len(answers[question.about])
    last = "position" if medium == "image" else "motion"
    assert set(answers) == {"colour", "shape", "material", last}


def test_the_color_asked_for_is_to_be_seen():
    questions = MiniatureQuestions("image", length=40, kinds=("open",), about="colour", seed=5)
    right = 0
    for index in range(40):
        item = questions[index]
        picture = item["media"][0].numpy()
        right += nearest_colour(picture[:, saturated(picture)].T) == item["question"].answer
    assert right >= 36


@pytest.mark.parametrize("medium", QUESTION_KINDS)
def test_choices_hold_the_right_word_once_at_any_letter(medium):
    asked = described(medium, "choice", 800)
    for question in asked:
        lines = question.text.splitlines()
        offered = dict(line.split(". ") for line in lines[1:5])
        assert list(offered) == ["A", "B", "C", "D"] and len(set(offered.values())) == 4
        assert offered[question.answer] == getattr(question.scenes[0], question.about)
    letters = Counter(question.answer for question in asked)
    assert all(abs(count / 800 - 1 / 4) < 0.06 for count in letters.values())


def test_half_of_the_statements_are_true_and_false_ones_are_wrong_in_one_word():
    asked = described("image", "yes_no", 800)
    for question in asked:
        scene = question.scenes[0]
        colour, shape = question.text.removeprefix("Is it ").removesuffix("?").split()[1:]
        wrong = (colour != scene.colour) + (shape != scene.shape)
        assert wrong == (question.answer == "no")
    assert abs(sum(question.answer == "yes" for question in asked) / 800 - 1 / 2) < 0.06


@pytest.mark.parametrize("medium", QUESTION_KINDS)
def test_statements_of_training_never_name_a_held_out_pair(medium):
    asked = described(medium, "yes_no", 800)
    named = [question.text.removeprefix("Is it ").removesuffix("?").split()[1:] for question in asked]
    assert not any(is_held_out(colour, shape) for colour, shape in named)
    assert {"yes", "no"} == {question.answer for question in asked}


def test_two_pictures_have_two_shapes():
    asked = described("image", "two_pictures")
    for question in asked:
        shape = question.text.removeprefix("Which is the ").partition(",")[0]
        assert [scene.shape == shape for scene in question.scenes] == [
            question.answer == "first",
            question.answer == "second",
        ]
    assert {question.answer for question in asked} == {"first", "second"}


def test_clips_in_order_are_joined_halves_of_one_thing():
    questions = MiniatureQuestions("video", length=30, kinds=("order",), size=32, frames=8)
    for index in range(30):
        item = questions[index]
        first, second = item["question"].scenes
        assert first.motion == item["question"].answer != second.motion and second.motion in MOTIONS
        assert first.facts() | {"motion": 0} == second.facts() | {"motion": 0} and first.jitter == second.jitter
        assert torch.equal(item["media"][0], torch.cat([draw(first, 32, 4), draw(second, 32, 4)]))


@pytest.mark.parametrize("medium", QUESTION_KINDS)
def test_splits_share_no_combination(medium):
    for kind in QUESTION_KINDS[medium]:
        for split in ("train", "held_out"):
            for question in described(medium, kind, 60, split=split):
                for scene in question.scenes:
                    held_out = is_held_out(scene.colour, scene.shape, scene.motion)
                    assert held_out == (split == "held_out")


def test_order_and_instance_do_not_matter_and_blind_media_are_gray():
    forward = [MiniatureQuestions("image", length=9, seed=3)[index] for index in range(9)]
    again = MiniatureQuestions("image", length=50, seed=3)
    for index in (7, 2, 8, 0):
        assert again[index]["question"] == forward[index]["question"]
        assert all(torch.equal(a, b) for a, b in zip(again[index]["media"], forward[index]["media"], strict=True))
    assert [item["question"].kind for item in forward[:5]] == list(QUESTION_KINDS["image"])
    blind = MiniatureQuestions("image", length=9, seed=3, blind=True)[2]
    assert blind["question"] == forward[2]["question"] and (blind["media"][0] == 127).all()


def test_conversations_and_answers():
    item = MiniatureQuestions("image", length=5, seed=1)[4]
    user, assistant = as_messages(item["question"], item["media"])
    assert [part["type"] for part in user["content"]] == ["image", "image", "text"]
    assert assistant["content"][0]["text"] == item["question"].answer
    assert is_right(" Red\n", "red") and not is_right("red star", "red")


def test_bad_arguments():
    scene = random_scene("image", "train", np.random.default_rng(0))
    with pytest.raises(ValueError, match="kind must be one of"):
        ask(scene, "order", np.random.default_rng(0), "train")
    with pytest.raises(ValueError, match="about must be one of"):
        ask(scene, "open", np.random.default_rng(0), "train", about="motion")
    for options, message in (
        ({"medium": "object"}, "medium must be one of"),
        ({"medium": "image", "kinds": ()}, "kinds must name"),
        ({"medium": "image", "kinds": ("order",)}, "kinds must be one of"),
        ({"medium": "video", "frames": 6}, "frames must be an integer of at least 8"),
        ({"medium": "image", "about": "colour"}, "about goes with"),
    ):
        with pytest.raises(ValueError, match=message):
            MiniatureQuestions(**options)
    with pytest.raises(IndexError):
        MiniatureQuestions("image", length=2).describe(2)
    assert COLOURS
