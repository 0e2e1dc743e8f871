"""Words of scenes: shares by hand, chance, zero-shot by the nearest prompt, and networks that know true scenes."""

import numpy as np
import pytest
import torch

from atoken.evaluation.metrics.scene_judges import load_scene_judges
from atoken.evaluation.metrics.scene_words import ZeroShotWords, chances, rights, shares_right
from atoken.miniature.scenes import COLOURS, FLAT_SHAPES, MOTIONS
from atoken.miniature.world import MiniatureWorld


def test_a_pair_is_right_where_both_words_are():
    shown = [{"colour": color, "shape": "star", "motion": "left"} for color in ("red", "blue", "red", "blue")]
    told = {
        "color": torch.tensor([tuple(COLOURS).index(word) for word in ("red", "blue", "pink", "blue")]),
        "shape": torch.tensor([FLAT_SHAPES.index(word) for word in ("star", "star", "star", "ring")]),
        "motion": torch.tensor([MOTIONS.index(word) for word in ("left", "up", "left", "left")]),
    }
    assert shares_right(shown, told) == {"color": 0.75, "shape": 0.75, "motion": 0.75, "pair": 0.5, "all": 0.25}
    assert rights(shown, told)["all"].tolist() == [True, False, False, False]


def test_chance_is_one_of_the_words():
    assert chances("image") == {"color": 1 / 8, "shape": 1 / 8, "pair": 1 / 64}
    assert chances("video") == {"color": 1 / 8, "shape": 1 / 8, "motion": 1 / 8, "pair": 1 / 64, "all": 1 / 512}


class WordEmbedder:
    """Embeds every sample as something red, and texts by whether they say so."""

    canonical_prompts = True

    def embed(self, samples):
        return torch.tensor([[1.0, 0.0]] * len(samples))

    def embed_texts(self, texts):
        return torch.tensor([[1.0, 0.0] if "red" in text.split() else [0.0, 1.0] for text in texts])


@pytest.mark.parametrize("kind", ["image", "video"])
def test_zero_shot_takes_the_nearest_prompt(kind):
    media = [torch.full((4 if kind == "video" else 1, 3, 64, 64), 200, dtype=torch.uint8)] * 2
    told = ZeroShotWords(WordEmbedder()).told(media, kind)  # pyright: ignore[reportArgumentType]
    assert told["color"].tolist() == [tuple(COLOURS).index("red")] * 2
    assert set(told) == {"color", "shape"} | ({"motion"} if kind == "video" else set())


@pytest.mark.parametrize(("kind", "least"), [("image", 0.9), ("video", 0.95)])
def test_networks_know_true_scenes_that_they_have_not_seen(kind, least):
    world = MiniatureWorld(kind, "held_out", 40, seed=77, frames=16)
    scenes = [world.describe(index)[0].facts() for index in range(40)]
    media = np.stack([np.asarray(world[index]["sample"]) for index in range(40)])
    told = load_scene_judges().judged(media[:, None] if kind == "image" else media, kind)
    assert shares_right(scenes, told)["pair"] >= least


def test_networks_refuse_what_they_do_not_know():
    for kind, shape in (("image", (1, 1, 3, 32, 32)), ("video", (1, 8, 3, 64, 64)), ("video", (1, 1, 3, 64, 64))):
        with pytest.raises(ValueError, match=rf"media must be of 64 x 64 pixels.*judge {kind}s.*got \d"):
            load_scene_judges().judged(np.zeros(shape, dtype=np.uint8), kind)
