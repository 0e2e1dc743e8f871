"""Zero-shot and retrieval sets of the miniature world."""

from collections import Counter

import pytest
import torch

from atoken.evaluation.interface import KINDS
from atoken.evaluation.sets.miniature_sets import miniature_classification, miniature_retrieval
from atoken.miniature.scenes import COLOURS, MATERIALS, is_held_out, is_pair_held_out, shapes_of
from atoken.processing.mesh_reading_atoken import ColoredMesh


def words_of(caption: str, kind: str) -> tuple[str, str, str]:
    """Gives material, color and shape of "a striped red star in the top left"."""
    material, color, shape = caption.split()[1:4]
    assert material in MATERIALS and color in COLOURS and shape in shapes_of(kind)
    return material, color, shape


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("attribute", ["shape", "colour", "material", "colour shape"])
def test_classes_are_balanced_true_and_held_out(kind, attribute):
    found = miniature_classification(kind, attribute, count=120)
    assert found.kind == kind and len({sample.name for sample in found.samples}) == 120
    counts = Counter(sample.label for sample in found.samples)
    assert set(counts) == set(range(len(found.class_names))) and max(counts.values()) - min(counts.values()) <= 1
    for sample in found.samples:
        material, color, shape = words_of(sample.captions[0], kind)
        assert is_held_out(color, shape)
        true = {"shape": shape, "colour": color, "material": material}.get(attribute, f"{color} {shape}")
        said = found.class_names[sample.label]
        assert said == true or said.split(" ", 1)[-1] == true
    assert len(found.class_names) == {"material": 5, "colour shape": 12}.get(attribute, 8)


def test_motion_is_held_out_twice():
    found = miniature_classification("video", "motion", count=80)
    words = {"moving left": "left", "going round": "circling", "growing": "growing", "standing still": "still"}
    for sample in found.samples:
        phrase = found.class_names[sample.label]
        _, color, shape = words_of(sample.captions[0], "video")
        assert sample.captions[0].endswith(phrase) and is_pair_held_out(color, shape)
        assert phrase not in words or is_pair_held_out(words[phrase], shape)


def test_prompts_are_sentences():
    prompts = {
        attribute: [
            template.format(found.class_names[0])
            for found in [miniature_classification("video", attribute, count=16)]
            for template in found.templates
        ]
        for attribute in ("shape", "colour", "motion")
    }
    assert prompts == {
        "shape": ["a circle", "a clip of a circle"],
        "colour": ["something red", "a clip of something red"],
        "motion": ["something moving left", "a clip of something moving left"],
    }
    found = miniature_classification("object", "colour shape", count=16)
    assert "a 3D model of an orange " in " ".join(found.templates[1].format(name) for name in found.class_names)


@pytest.mark.parametrize(("kind", "count"), [("image", 540), ("video", 480), ("object", 60)])
def test_retrieval_captions_differ(kind, count):
    found = miniature_retrieval(kind, count=count)
    assert len({sample.captions[0] for sample in found.samples}) == len(found.samples) == count
    assert all(len(sample.captions) == 1 for sample in found.samples)
    assert all(is_held_out(*words_of(sample.captions[0], kind)[1:]) for sample in found.samples)
    with pytest.raises(ValueError, match=f"count must be at most {count}, .*, got {count + 1}"):
        miniature_retrieval(kind, count=count + 1)


def test_samples_load():
    image = miniature_classification("image", size=32, count=8).samples[3].load()
    assert image.shape == (1, 3, 32, 32) and image.dtype == torch.uint8
    assert miniature_retrieval("video", size=32, frames=5).samples[0].load().shape == (5, 3, 32, 32)
    assert isinstance(miniature_retrieval("object").samples[0].load(), ColoredMesh)


def test_the_same_options_give_the_same_set():
    first, second = (miniature_classification("image", seed=4, count=8) for _ in range(2))
    assert first.checksum == second.checksum and first.protocol == second.protocol
    assert [sample.captions for sample in first.samples] == [sample.captions for sample in second.samples]
    for index in (7, 0):
        assert torch.equal(first.samples[index].load(), second.samples[index].load())


def test_options_are_in_the_checksum(monkeypatch):
    options = [{}, {"seed": 1}, {"count": 8}, {"size": 32}, {"frames": 4}, {"attribute": "colour"}]
    sets = [miniature_classification("video", **option) for option in options]
    assert len({found.checksum for found in sets}) == len(options)
    assert sets[0].protocol["frames"] == 8 and sets[0].protocol["split"] == "held_out"
    monkeypatch.setattr("atoken.evaluation.sets.miniature_sets.VERSION", -1)
    assert miniature_classification("video").checksum != sets[0].checksum
    assert len(sets[0].checksum) == 64


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("kind", {"kind": "text"}),
        ("attribute", {"attribute": "size"}),
        ("attribute", {"attribute": "motion"}),
        ("count", {"count": 0}),
        ("seed", {"seed": -1}),
        ("size", {"size": 4}),
        ("frames", {"frames": 2}),
    ],
)
def test_bad_options(name, options):
    with pytest.raises(ValueError, match=f"^{name} must be .*, got"):
        miniature_classification(**{"kind": "image", **options})
