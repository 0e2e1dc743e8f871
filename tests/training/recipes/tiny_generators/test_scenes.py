"""Scenes by class: the same everywhere, none in two sets, and pictures that come back from the file as they were."""

import numpy as np
import pytest

from atoken.miniature.scenes import COLOURS, FLAT_SHAPES
from atoken.training.recipes.tiny_generators.corpora import read_pictures, write_pictures
from atoken.training.recipes.tiny_generators.scenes import (
    CLASS_NAMES,
    SETS,
    draw_scene,
    draw_scenes,
    label_of,
    scene_of,
)


def test_a_class_is_a_color_and_a_shape():
    for index in range(130):
        scene = scene_of("judge", index)
        assert CLASS_NAMES[label_of(index)] == f"{scene.colour} {scene.shape}"
    assert len(set(CLASS_NAMES)) == len(COLOURS) * len(FLAT_SHAPES)
    seen = {(scene_of("judge", index).material, scene_of("judge", index).position) for index in range(2000)}
    assert len(seen) == 5 * 9


def test_sets_share_no_scene():
    scenes = [scene_of(name, index) for name in SETS for index in range(200)]
    assert len(set(scenes)) == len(scenes) == len(SETS) * 200
    assert np.array_equal(draw_scene("ceiling", 7), draw_scene("ceiling", 7))
    with pytest.raises(ValueError, match="set_name must be one of generators, judge, ceiling, reference, got 'test'"):
        scene_of("test", 0)


def test_pictures_come_back_as_they_were_drawn(tmp_path):
    path = tmp_path / "folder/pictures.parquet"
    write_pictures(path, 5)
    assert np.array_equal(read_pictures(path), draw_scenes("generators", 5))
    written = path.stat().st_mtime_ns
    write_pictures(path, 5)
    assert path.stat().st_mtime_ns == written
