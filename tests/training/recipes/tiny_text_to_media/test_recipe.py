"""The tiny text-to-media recipe: its scenes, its files, its judges and its shares."""

import numpy as np
import pytest
import torch

from atoken.evaluation.metrics.motion_judge import load_motion_judge
from atoken.evaluation.metrics.scene_judge import load_judge
from atoken.evaluation.metrics.scene_judges import judge_clips, load_scene_judges
from atoken.miniature.scenes import COLOURS, FLAT_SHAPES, MOTIONS, Scene, is_held_out, is_pair_held_out
from atoken.tokenizing.clips import read_frames
from atoken.training.recipes.tiny_text_to_media.clip_judge import train_clip_judge
from atoken.training.recipes.tiny_text_to_media.corpora import _png
from atoken.training.recipes.tiny_text_to_media.measures import right_in, share_of
from atoken.training.recipes.tiny_text_to_media.motion_judge import judged_scene, train_motion_judge
from atoken.training.recipes.tiny_text_to_media.worlds import (
    FRAMES,
    KINDS,
    caption_of,
    drawn,
    learned_world,
    measured_scenes,
)


@pytest.mark.parametrize("kind", KINDS)
def test_measured_pairs_are_in_no_caption_of_training(kind):
    world = learned_world(kind, 300)
    learned = [world.describe(index)[0] for index in range(300)]
    assert not any(is_held_out(scene.colour, scene.shape, scene.motion) for scene in learned)
    held_out, new = (measured_scenes(kind, split, 100) for split in ("held_out", "train"))
    assert all(is_pair_held_out(scene.colour, scene.shape) for scene in held_out)
    assert not {scene.jitter for scene in learned} & {scene.jitter for scene in [*held_out, *new]}
    assert all(scene.shape in caption_of(scene) and scene.colour in caption_of(scene) for scene in held_out)


@pytest.mark.parametrize("motion", ["still", "left"])
def test_clips_are_written_without_loss_and_with_all_frames(motion):
    scene = Scene("video", "red", "star", "plain", motion, None, 3)
    (clip,) = drawn([scene])
    assert clip.shape == (FRAMES, 3, 64, 64)
    assert np.array_equal(read_frames(_png(clip), lambda total, fps: range(total)).numpy(), clip)


def test_shares_that_are_right():
    scenes = [Scene("video", color, "star", "plain", "left") for color in ("red", "blue", "red", "blue")]
    color = torch.tensor([tuple(COLOURS).index(word) for word in ("red", "blue", "pink", "blue")])
    shape = torch.tensor([FLAT_SHAPES.index(word) for word in ("star", "star", "star", "ring")])
    motion = torch.tensor([MOTIONS.index(word) for word in ("left", "up", "left", "left")])
    found = right_in(scenes, {"color": color, "shape": shape, "motion": motion})
    assert found == {"color": 0.75, "shape": 0.75, "motion": 0.75, "pair": 0.5, "all": 0.25}
    assert share_of(found, {**found, "pair": 1.0})["pair"] == 0.5


def test_the_judge_of_pictures_also_knows_images_of_this_world():
    scenes = measured_scenes("image", "held_out", 64)
    found = load_scene_judges().judged(drawn(scenes), "image")
    assert set(found) == {"color", "shape"} and right_in(scenes, found)["pair"] >= 0.9


def test_a_judge_of_clips_learns_and_sums_over_every_second_frame(tmp_path):
    losses = list(train_clip_judge(tmp_path / "judge.safetensors", 32, 3))
    assert losses[-1] < losses[0]
    judge, clips = load_judge(tmp_path / "judge.safetensors"), drawn([judged_scene(index) for index in range(3)])
    color, shape = judge_clips(judge, clips)
    with torch.no_grad():
        logits = [judge(torch.from_numpy(clips[:, frame])) for frame in range(0, FRAMES, 2)]
    for found, which in ((color, 0), (shape, 1)):
        chances = torch.stack([each[which].double().softmax(1) for each in logits]).log().sum(0)
        assert torch.equal(found, chances.argmax(1))


def test_the_judges_of_clips_know_held_out_ones():
    scenes = measured_scenes("video", "held_out", 48)
    assert right_in(scenes, load_scene_judges().judged(drawn(scenes), "video"))["all"] >= 0.97


def test_a_judge_of_motion_learns_and_is_read_again(tmp_path):
    losses = list(train_motion_judge(tmp_path / "judge.safetensors", 64, 6))
    assert losses[-1] < losses[0]
    clips = drawn([judged_scene(index) for index in range(8)])
    first, second = (load_motion_judge(tmp_path / "judge.safetensors").judged(clips) for _ in range(2))
    assert torch.equal(first, second) and first.shape == (8,)
