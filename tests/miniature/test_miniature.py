"""The miniature world: what is held out, that captions are true, and that pictures show what captions say."""

import gc
from collections import Counter

import numpy as np
import pytest
import torch

from atoken.miniature.captions import MOTION_WORDS, captions, full_caption
from atoken.miniature.scenes import (
    COLOURS,
    FLAT_SHAPES,
    KINDS,
    MATERIALS,
    MOTIONS,
    POSITIONS,
    SOLID_SHAPES,
    random_scene,
    shapes_of,
)
from atoken.miniature.world import MiniatureWorld, Scene, draw, is_held_out
from atoken.processing.mesh_reading_atoken import ColoredMesh

SIZE = 64


def same(first: torch.Tensor | ColoredMesh, second: torch.Tensor | ColoredMesh) -> bool:
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    return all(np.array_equal(getattr(first, name), getattr(second, name)) for name in ("vertices", "corner_colors"))


def saturated(picture: np.ndarray) -> np.ndarray:
    """(H, W) bool: colours far from grey, which no background has."""
    picture = picture.astype(np.int64)
    return picture.max(axis=0) - picture.min(axis=0) > 75


def nearest_colour(pixels: np.ndarray, weights: np.ndarray | None = None) -> str:
    """The colour that most of (N, 3) bytes are nearest to, dark tones of patterns left out."""
    bright = pixels.max(axis=1) > 90
    pixels, weights = pixels[bright], None if weights is None else weights[bright]
    names = list(COLOURS)
    table = np.array([COLOURS[name] for name in names]) * 255
    votes = np.linalg.norm(pixels[:, None].astype(np.float64) - table, axis=2).argmin(axis=1)
    return names[np.bincount(votes, weights, minlength=len(names)).argmax()]


class TestDeterminism:
    @pytest.mark.parametrize("kind", KINDS)
    def test_order_and_instance_do_not_matter(self, kind):
        forward = [MiniatureWorld(kind, length=6, seed=3)[index] for index in range(6)]
        world = MiniatureWorld(kind, length=50, seed=3)
        np.random.seed(1)
        for index in (5, 2, 0, 4, 3, 1):
            item = world[index]
            assert item["caption"] == forward[index]["caption"]
            assert item["scene"] == forward[index]["scene"]
            assert same(item["sample"], forward[index]["sample"])

    def test_worker_processes_draw_the_same(self):
        world = MiniatureWorld("image", length=8, seed=5)
        # What other tests have left may hold threads, which a fork has not: it must not be cleared away there.
        gc.collect()
        loader = torch.utils.data.DataLoader(world, batch_size=4, num_workers=2)
        batches = torch.cat([batch["sample"] for batch in loader])
        assert torch.equal(batches, torch.stack([item["sample"] for item in world]))

    def test_seeds_and_samples_differ(self):
        first, other = MiniatureWorld("image", seed=0), MiniatureWorld("image", seed=1)
        assert not torch.equal(first[0]["sample"], other[0]["sample"])
        assert not torch.equal(first[0]["sample"], first[1]["sample"])

    def test_shapes_and_types(self):
        assert MiniatureWorld("image", size=48)[0]["sample"].shape == (3, 48, 48)
        clip = MiniatureWorld("video", size=32, frames=5)[0]["sample"]
        assert clip.shape == (5, 3, 32, 32) and clip.dtype == torch.uint8
        assert isinstance(MiniatureWorld("object")[0]["sample"], ColoredMesh)


class TestHeldOut:
    def test_about_one_pair_in_six_and_every_word_keeps_partners(self):
        for words, colour in ((COLOURS, None), (MOTIONS, "red")):
            shapes = [shape for shape in FLAT_SHAPES if colour is None or not is_held_out(colour, shape)]
            pairs = [
                (word, shape)
                for word in words
                for shape in shapes
                if (is_held_out(word, shape) if colour is None else is_held_out(colour, shape, word))
            ]
            assert len(words) * len(shapes) / 8 < len(pairs) < len(words) * len(shapes) / 4
            assert {word for word, _ in pairs} == set(words) or colour
            assert max(Counter(word for word, _ in pairs).values()) <= 2
            assert max(Counter(shape for _, shape in pairs).values()) <= 2

    def test_solids_follow_their_flat_shapes(self):
        for flat, solid in zip(FLAT_SHAPES, SOLID_SHAPES, strict=True):
            assert all(is_held_out(colour, flat) == is_held_out(colour, solid) for colour in COLOURS)

    @pytest.mark.parametrize("kind", KINDS)
    def test_training_never_has_them_and_has_every_word(self, kind):
        world = MiniatureWorld(kind, length=4000)
        scenes = [world.describe(index)[0] for index in range(4000)]
        assert not any(is_held_out(scene.colour, scene.shape) for scene in scenes)
        assert not any(is_held_out(scene.colour, scene.shape, scene.motion) for scene in scenes)
        assert {scene.colour for scene in scenes} == set(COLOURS)
        assert {scene.shape for scene in scenes} == set(shapes_of(kind))
        assert {scene.material for scene in scenes} == set(MATERIALS)
        assert {scene.motion for scene in scenes} == (set(MOTIONS) if kind == "video" else {None})
        assert {scene.position for scene in scenes} == (set(POSITIONS) if kind == "image" else {None})

    @pytest.mark.parametrize("kind", KINDS)
    def test_the_other_split_has_nothing_else(self, kind):
        world = MiniatureWorld(kind, "held_out", length=1000)
        pairs = {(scene.colour, scene.shape) for scene, _ in map(world.describe, range(1000))}
        assert len(pairs) == 12 and all(is_held_out(*pair) for pair in pairs)


class TestCaptions:
    @pytest.mark.parametrize("kind", KINDS)
    def test_say_the_truth_and_nothing_else(self, kind):
        world = MiniatureWorld(kind, length=500)
        vocabulary = set(COLOURS) | set(shapes_of(kind)) | set(MATERIALS)
        for scene, caption in map(world.describe, range(500)):
            own = {scene.colour, scene.shape, scene.material}
            assert set(caption.split()) & vocabulary <= own
            assert own <= set(full_caption(scene).split())
            assert caption in captions(scene)
            said = [word for word, phrase in MOTION_WORDS.items() if caption.endswith(phrase)]
            assert said in ([], [scene.motion])

    def test_wording(self):
        scene = Scene("image", "orange", "star", "striped", position="top left")
        assert full_caption(scene) == "a striped orange star in the top left"
        assert {"an orange star", "a picture of an orange star", "something striped"} <= set(captions(scene))
        assert "in the top left there is a striped orange star" in captions(scene)
        scene = Scene("video", "red", "heart", "plain", motion="circling")
        assert full_caption(scene) == "a plain red heart going round"
        assert full_caption(Scene("object", "blue", "ball", "shiny")) == "a shiny blue ball"


class TestPictures:
    def test_colour_and_place_are_those_named(self):
        for colour in COLOURS:
            for position, (column, row) in POSITIONS.items():
                for jitter, material in enumerate(MATERIALS):
                    shape = FLAT_SHAPES[(jitter + column + 3 * row) % 8]
                    scene = Scene("image", colour, shape, material, position=position, jitter=jitter)
                    picture = draw(scene, SIZE).numpy()
                    mask = saturated(picture)
                    rows, columns = np.nonzero(mask)
                    third = np.array([np.median(columns), np.median(rows)]) / SIZE * 3
                    assert tuple(third.astype(int) - 1) == (column, row), scene
                    assert nearest_colour(picture[:, mask].T) == colour, scene

    def test_area_follows_the_radius(self):
        # A circle of radius r, which is 0.95 of the outline's unit, that lies between 0.17 and 0.22 of the side.
        scenes = [Scene("image", "red", "circle", "plain", position="centre", jitter=jitter) for jitter in range(12)]
        areas = [saturated(draw(scene, 128).numpy()).mean() for scene in scenes]
        assert np.pi * (0.95 * 0.165) ** 2 < min(areas) < max(areas) < np.pi * (0.95 * 0.225) ** 2

    def test_ring_has_a_hole_and_circle_has_none(self):
        for shape, expected in (("ring", False), ("circle", True)):
            scene = Scene("image", "red", shape, "plain", position="centre", jitter=4)
            mask = saturated(draw(scene, SIZE).numpy())
            middle = np.argwhere(mask).mean(axis=0).round().astype(int)
            assert mask[tuple(middle)] == expected

    @pytest.mark.parametrize("material", MATERIALS)
    def test_materials_differ_from_plain_within_the_shape(self, material):
        scene = Scene("image", "green", "square", material, position="centre", jitter=2)
        plain = draw(Scene("image", "green", "square", "plain", position="centre", jitter=2), SIZE).numpy()
        changed = (draw(scene, SIZE).numpy() != plain).any(axis=0)
        assert changed.any() == (material != "plain")
        assert not (changed & ~saturated(plain)).sum() > 0.2 * max(changed.sum(), 1)

    def test_colour_is_learnt_by_a_linear_classifier(self):
        linear_model = pytest.importorskip("sklearn.linear_model")
        features, labels = [], []
        for split, count in (("train", 400), ("held_out", 160)):
            for item in MiniatureWorld("image", split, length=count, seed=11):
                pixels = item["sample"].reshape(3, -1).T.numpy() // 64  # (H W, 3) in 0..3
                features.append(np.bincount(pixels @ [16, 4, 1], minlength=64) / len(pixels))
                labels.append(item["scene"]["colour"])
        features = np.sqrt(features)
        model = linear_model.LogisticRegression(C=100, max_iter=2000).fit(features[:400], labels[:400])
        assert model.score(features[400:], labels[400:]) > 0.6  # chance is 1 in 8


class TestClips:
    @pytest.mark.parametrize("motion", ["left", "right", "up", "down"])
    def test_the_middle_moves_as_named(self, motion):
        expected = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}[motion]
        for jitter, shape in enumerate(FLAT_SHAPES):
            clip = draw(Scene("video", "red", shape, "plain", motion, jitter=jitter), SIZE).numpy()
            middles = np.array([np.argwhere(saturated(frame))[:, ::-1].mean(axis=0) / SIZE for frame in clip])
            steps = np.diff(middles, axis=0)
            assert (steps @ expected > 0.03).all()
            assert (np.abs(steps @ expected[::-1]) < 0.02).all()

    @pytest.mark.parametrize("motion", ["still", "growing", "shrinking", "circling"])
    def test_other_motions(self, motion):
        for jitter, shape in enumerate(FLAT_SHAPES):
            clip = draw(Scene("video", "blue", shape, "plain", motion, jitter=jitter), SIZE).numpy()
            masks = [saturated(frame) for frame in clip]
            areas = np.array([mask.mean() for mask in masks])
            middles = np.array([np.argwhere(mask).mean(axis=0) / SIZE for mask in masks])
            if motion == "still":
                assert (clip == clip[0]).all()
            elif motion == "circling":
                distances = np.linalg.norm(middles - middles[:7].mean(axis=0), axis=1)
                assert distances.min() > 0.1 and areas.std() < 0.1 * areas.mean()
            else:
                assert (np.diff(areas) * (1 if motion == "growing" else -1) > 0).all()
                assert np.abs(middles - middles[3]).max() < 0.04

    def test_background_stands_still(self):
        clip = draw(Scene("video", "red", "star", "plain", "left", jitter=1), SIZE).numpy()
        assert (clip[:, :, 0] == clip[0, :, 0]).all()

    def test_any_number_of_frames_has_the_whole_motion(self):
        scene = Scene("video", "red", "star", "plain", "right", jitter=1)
        short, long = draw(scene, SIZE, 4), draw(scene, SIZE, 12)
        assert torch.equal(short[0], long[0]) and torch.equal(short[-1], long[-1])


class TestObjects:
    @pytest.mark.parametrize("shape", SOLID_SHAPES)
    def test_mesh_is_normalised_closed_and_outside_out(self, shape):
        mesh = draw(Scene("object", "green", shape, "plain", jitter=7))
        low, high = mesh.vertices[np.unique(mesh.faces)].min(axis=0), mesh.vertices[np.unique(mesh.faces)].max(axis=0)
        np.testing.assert_allclose(low + high, 0, atol=1e-9)
        np.testing.assert_allclose((high - low).max(), 1, atol=1e-9)
        corners = mesh.vertices[mesh.faces]
        # Of a closed surface, the areas' vectors add up to nothing; the volume is positive if they point outwards.
        areas = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]) / 2
        np.testing.assert_allclose(areas.sum(axis=0), 0, atol=1e-9)
        volume = np.einsum("fi,fi->", corners[:, 0], areas) / 3
        assert 0.05 < volume < 1

    def test_volumes_are_those_of_the_solids(self):
        """Parts of the smallest upright box, for solids seen along their own axes."""
        from atoken.miniature.solids import solid

        for shape, expected in (("ball", np.pi / 6), ("cube", 1.0), ("cone", np.pi / 12), ("diamond", 1 / 3)):
            vertices, faces = solid(shape)
            corners = vertices[faces]
            volume = np.einsum("fi,fi->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6
            assert volume / np.ptp(vertices, axis=0).prod() == pytest.approx(expected, rel=0.01), shape

    def test_ring_has_its_hole_and_number_of_handles(self):
        from atoken.miniature.solids import solid

        for shape in SOLID_SHAPES:
            _, faces = solid(shape)
            edges = np.unique(np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1), axis=0)
            # The ends of a profile on the axis are many vertices at one place, each end counts as one.
            used = len({tuple(place) for place in solid(shape)[0][np.unique(faces)].round(9)})
            places, joined = np.unique(solid(shape)[0].round(9) + 0.0, axis=0, return_inverse=True)
            edges = np.unique(np.sort(joined.reshape(-1)[edges], axis=1), axis=0)
            assert used - len(edges) + len(faces) == (0 if shape == "ring" else 2), shape

    @pytest.mark.parametrize("colour", COLOURS)
    def test_colours_are_those_named(self, colour):
        for jitter, material in enumerate(MATERIALS):
            shape = SOLID_SHAPES[(jitter + len(colour)) % 8]
            mesh = draw(Scene("object", colour, shape, material, jitter=jitter))
            colors, corners = mesh.corner_colors, mesh.vertices[mesh.faces]
            areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
            assert colors.min() >= 0 and colors.max() <= 1
            assert nearest_colour(colors.reshape(-1, 3) * 255, areas.repeat(3)) == colour, (shape, material)

    def test_materials_change_colours_only(self):
        plain = draw(Scene("object", "pink", "star", "plain", jitter=3))
        for material in MATERIALS[1:]:
            other = draw(Scene("object", "pink", "star", material, jitter=3))
            assert np.array_equal(other.vertices, plain.vertices)
            assert 0.1 < (np.abs(other.corner_colors - plain.corner_colors).max(axis=-1) > 0.1).mean() < 0.95

    def test_without_the_turn_solids_of_a_shape_face_the_same_way(self):
        from atoken.miniature.solids import draw_object, solid

        for jitter in range(3):
            scene = Scene("object", "pink", "star", "dotted", jitter=jitter)
            mesh, turned = draw_object(scene, turned=False), draw_object(scene)
            assert np.array_equal(mesh.corner_colors, turned.corner_colors)
            # A solid leans about x and is stretched along x, so that only a factor is between it and its shape there.
            factors = np.polyfit(solid("star")[0][:, 0], mesh.vertices[:, 0], 1)
            np.testing.assert_allclose(np.polyval(factors, solid("star")[0][:, 0]), mesh.vertices[:, 0], atol=1e-9)
            # It is the same solid as the turned one, but for its size.
            one, other = (np.linalg.norm(each.vertices - each.vertices.mean(0), axis=1) for each in (mesh, turned))
            np.testing.assert_allclose(one / one.max(), other / other.max(), atol=1e-9)


class TestBadInput:
    @pytest.mark.parametrize(
        ("name", "options"),
        [
            ("kind", {"kind": "sound"}),
            ("split", {"split": "test"}),
            ("length", {"length": 0}),
            ("seed", {"seed": -1}),
            ("seed", {"seed": 1.0}),
            ("size", {"size": 8}),
            ("frames", {"frames": 1}),
        ],
    )
    def test_world(self, name, options):
        with pytest.raises(ValueError, match=f"^{name} must be .*got"):
            MiniatureWorld(**{"kind": "image", **options})

    def test_index(self):
        with pytest.raises(IndexError, match="index must .*got 10000"):
            MiniatureWorld("image")[10000]

    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("colour", {"colour": "grey"}),
            ("shape", {"shape": "ball"}),
            ("material", {"material": "wooden"}),
            ("motion", {"motion": "left"}),
            ("position", {"position": None}),
            ("jitter", {"jitter": -1}),
        ],
    )
    def test_scene(self, name, words):
        with pytest.raises(ValueError, match=f"^{name} must be .*got"):
            Scene(
                **{"kind": "image", "colour": "red", "shape": "star", "material": "plain", "position": "top", **words}
            )

    def test_combination_that_the_split_has_not(self):
        pair = next((c, s) for c in COLOURS for s in FLAT_SHAPES if is_held_out(c, s))
        with pytest.raises(ValueError, match="^fixed must be .*got"):
            random_scene("image", "train", np.random.default_rng(0), colour=pair[0], shape=pair[1])

    def test_unknown_words_of_the_rule(self):
        with pytest.raises(ValueError, match="^shape must .*got 'sock'"):
            is_held_out("red", "sock")
        with pytest.raises(ValueError, match="^word must .*got 'grey'"):
            is_held_out("grey", "star")
