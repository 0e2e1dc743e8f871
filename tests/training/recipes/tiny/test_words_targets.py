"""The teacher's targets: crops that lie in their photo, opinions as sums of words, and components of its map."""

import io
import random
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

from atoken.evaluation.metrics.efficientnet_lite import EfficientNetLite0
from atoken.training.recipes.tiny.words_targets import (
    LIKELIEST,
    MAP_CHANNELS,
    SHORT_SIDE,
    SOFTENED,
    caption_of,
    cut,
    draw_boxes,
    fit_components,
    fit_spaces,
    read_photo,
    small_photo,
    targets_of,
    words_seen,
)

from ....processing.samples import photo
from .word_samples import NAMES, word_vectors


def test_captions_are_read_out_of_names_where_they_are_captions():
    assert caption_of(Path("gcompris-qt-data/gcompris_world_polar_bear.jpg")) == "polar bear"
    assert caption_of(Path("tabler-preview/tabler_cup-of-coffee-on-a-table-2.jpg")) == "cup coffee table"
    assert caption_of(Path("scratch/scratch_hall2.jpg")) == "hall"
    assert caption_of(Path("krank/krank_level-02.jpg")) is None and caption_of(Path("scratch/scratch_a1.jpg")) is None


def test_crops_are_squares_within_the_photo_and_the_first_is_the_largest():
    boxes = draw_boxes(50, 90, 40, random.Random(0))
    assert boxes[0] == (0, 20, 50, 50)
    for top, left, height, width in boxes:
        assert height == width and 27 <= height <= 50
        assert 0 <= top <= 50 - height and 0 <= left <= 90 - width
    assert len(set(boxes)) > 30 and boxes == draw_boxes(50, 90, 40, random.Random(0))


def test_opinions_are_sums_of_the_likeliest_classes():
    logits, classes = torch.randn(3, 30, dtype=torch.float64) * 3, torch.randn(30, 7)
    probabilities = (np.exp(logits.numpy()).T / np.exp(logits.numpy()).sum(1)).T
    for row, found in zip(probabilities, words_seen(logits, classes).numpy(), strict=True):
        likeliest = np.argsort(row)[-LIKELIEST:]
        expected = sum(row[index] ** SOFTENED * classes[index].double().numpy() for index in likeliest)
        np.testing.assert_allclose(found, expected / np.linalg.norm(expected), atol=1e-5)


def test_components_are_principal_and_one_on_average_squared():
    scales = torch.linspace(3, 0.1, 12)
    features = torch.randn(500, 12, generator=torch.Generator().manual_seed(0)) * scales + 2
    mean, projection = fit_components(features, 5)
    projected = (features - mean) @ projection.T
    assert abs(float(projected.square().mean()) - 1) < 0.01
    _, values, directions = np.linalg.svd((features - mean).double().numpy(), full_matrices=False)
    scale = float(np.sqrt((values[:5] ** 2).mean() / 499))
    np.testing.assert_allclose(np.abs(projection.numpy() * scale), np.abs(directions[:5]), atol=1e-3)


def test_targets_say_what_the_teacher_sees_in_each_crop(tmp_path):
    Image.fromarray(photo(60, 80)).resize((800, 600)).save(tmp_path / "a.png")
    content = small_photo(tmp_path / "a.png")
    assert read_photo(content).shape == (3, SHORT_SIDE, SHORT_SIDE * 4 // 3)
    torch.manual_seed(0)
    teacher, classes = EfficientNetLite0(), torch.randn(1000, 16)
    spaces = {"map_mean": torch.rand(1280), "map_components": torch.randn(MAP_CHANNELS, 1280)}
    found = targets_of(teacher, classes, spaces, content, 2, random.Random(0))
    assert found["boxes"].shape == (2, 4) and found["vectors"].shape == (2, 16)
    picture = Image.open(io.BytesIO(found["photo"].numpy().tobytes()))
    assert picture.size == (SHORT_SIDE * 4 // 3, SHORT_SIDE)
    crop = cut(read_photo(content), [found["boxes"][1].tolist()], 224)
    expected = teacher.features(crop)[0]
    at = (expected[:, 2, 5] - spaces["map_mean"]) @ spaces["map_components"].T
    torch.testing.assert_close(found["maps"][1, :, 2, 5].float(), at, rtol=2e-3, atol=2e-2)
    seen = words_seen(teacher.logits(crop), classes)[0]
    torch.testing.assert_close(found["vectors"][1].float(), seen, atol=1e-3, rtol=0)
    caption = torch.randn(16)
    named = targets_of(teacher, classes, spaces, content, 2, random.Random(0), caption)["vectors"][1].float()
    expected = (seen + caption).double().numpy()
    np.testing.assert_allclose(named.numpy(), expected / np.linalg.norm(expected), atol=1e-3)


def test_the_middle_of_what_is_seen_goes_beside_the_targets(tmp_path):
    paths = [tmp_path / f"{index}.png" for index in range(3)]
    for index, path in enumerate(paths):
        Image.fromarray(photo(40, 40, index)).resize((230, 230)).save(path)
    torch.manual_seed(0)
    teacher, words = EfficientNetLite0(), word_vectors()
    classes = torch.randn(1000, 256)
    words.classes = lambda: classes
    fit_spaces(teacher, words, paths, tmp_path / "spaces.safetensors")
    found = load_file(tmp_path / "spaces.safetensors")
    crops = torch.cat([cut(read_photo(small_photo(path)), [(0, 0, 230, 230)], 224) for path in paths])
    seen = words_seen(teacher.logits(crops), classes)
    torch.testing.assert_close(found["center"], seen.mean(0), atol=1e-4, rtol=0)
    features = teacher.features(crops).permute(0, 2, 3, 1).flatten(0, 2)
    projected = (features - found["map_mean"]) @ found["map_components"].T
    assert abs(float(projected.square().mean()) - 1) < 0.02 and abs(float(projected.mean())) < 1e-3
    assert found["names"].shape == (len(NAMES), 256)
