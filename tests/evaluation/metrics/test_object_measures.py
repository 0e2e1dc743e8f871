"""Measures of generated objects, by hand and by formulas in float64, and what they are compared with."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from atoken import Gaussians, render
from atoken.evaluation.metrics.known_objects import NearestObject, mean_object
from atoken.evaluation.metrics.object_measures import (
    TrueObject,
    color_error,
    mean_of,
    measured_nothing,
    structure_iou,
    views_psnr,
)
from atoken.processing.cameras_atoken import hammersley_cameras

COLOR = (0.8, 0.2, 0.4)


def ball(color: tuple[float, float, float] = COLOR) -> Gaussians:
    """One opaque Gaussian in the middle."""
    gaussians = Gaussians(
        means=torch.zeros(1, 3),
        quats=torch.tensor([[1.0, 0, 0, 0]]),
        scales=torch.full((1, 3), 0.15),
        opacities=torch.tensor([0.999]),
        sh0=torch.zeros(1, 3),
    )
    # rgb is 0.5 + C0 sh0, the constant spherical harmonic.
    return Gaussians(**{**vars_of(gaussians), "sh0": (torch.tensor([color]) - 0.5) * 2 * math.sqrt(math.pi)})


def vars_of(gaussians: Gaussians) -> dict[str, torch.Tensor]:
    return {name: getattr(gaussians, name) for name in ("means", "quats", "scales", "opacities", "sh0")}


def true_object(picture: Image.Image | None = None, views: torch.Tensor | None = None) -> TrueObject:
    cameras = hammersley_cameras(2)
    if picture is None:
        pixels = np.zeros((64, 64, 4), np.uint8)
        pixels[20:44, 20:44] = [round(255 * value) for value in COLOR] + [255]
        picture = Image.fromarray(pixels)
    views = torch.zeros(2, 3, 16, 16, dtype=torch.uint8) if views is None else views
    return TrueObject(torch.zeros(1, 3, dtype=torch.int64), views, cameras, picture, cameras[0])


def test_structures_are_compared_as_sets():
    one = torch.tensor([[0, 0, 0], [0, 0, 1], [3, 2, 1]])
    other = torch.tensor([[3, 2, 1], [0, 0, 1], [1, 2, 3], [0, 1, 0]])
    assert structure_iou(one, other, 4) == pytest.approx(2 / 5)
    assert structure_iou(one, one[[2, 0, 1]], 4) == 1.0
    assert structure_iou(one[:1], other[:1], 4) == 0.0


def test_psnr_is_the_mean_over_views():
    with torch.no_grad():
        drawn = (render(ball(), hammersley_cameras(2), 16).clamp(0, 1) * 255).round()
    views = (drawn + torch.tensor([3.0, 6.0])[:, None, None, None] * (drawn < 128)).to(torch.uint8)
    errors = (views.double() - drawn.double()).square().flatten(1).mean(1)
    expected = (10 * torch.log10(255**2 / errors)).mean()
    assert views_psnr(ball(), true_object(views=views)) == pytest.approx(float(expected), rel=1e-6)


def test_colors_are_compared_where_the_object_is():
    assert color_error(ball(), true_object()) < 1.0
    # A tenth darker in red alone: a third of that in the mean.
    assert color_error(ball((0.7, 0.2, 0.4)), true_object()) == pytest.approx(25.5 / 3, abs=0.5)


def test_an_object_that_is_not_seen_has_the_largest_error():
    unseen = Gaussians(**{**vars_of(ball()), "opacities": torch.tensor([0.1])})
    assert color_error(unseen, true_object()) == 255.0


def test_means_over_objects():
    assert mean_of([{"iou": 0.5, "psnr": 10.0}, {"iou": 1.0, "psnr": 20.0}]) == {"iou": 0.75, "psnr": 15.0}


def test_the_nearest_object_has_the_nearest_picture():
    seen = [torch.stack([torch.full((3, 2), float(row + 10 * view)) for view in range(2)]) for row in range(4)]
    assert NearestObject(seen).row(torch.full((3, 2), 12.3)) == 2


# Three objects, latents and voxels: one voxel in all of them, one in two, one in one.
OBJECTS = [
    ([[1.0, 2], [5, 5]], [[1, 1, 1], [0, 0, 1]]),
    ([[2.0, 4], [7, 1]], [[1, 1, 1], [0, 0, 1]]),
    ([[6.0, 0], [9, 9]], [[1, 1, 1], [3, 3, 3]]),
]


def known(objects):
    return ((torch.tensor(latents), torch.tensor(coords)) for latents, coords in objects)


def test_the_mean_object_has_what_half_of_the_objects_have():
    coords, latents = mean_object(known(OBJECTS), 4, 2)
    assert coords.tolist() == [[0, 0, 1], [1, 1, 1]]
    assert latents.tolist() == [[6.0, 3.0], [3.0, 2.0]]


def test_the_mean_of_objects_that_have_nothing_in_common():
    coords, _ = mean_object(known([([[1.0, 1.0]], [[0, 0, row]]) for row in range(3)]), 4, 2)
    assert len(coords) == 1


def test_nothing_is_black_from_all_sides():
    views = torch.full((2, 3, 16, 16), 51, dtype=torch.uint8)
    assert measured_nothing(true_object(views=views)) == {
        "iou": 0.0,
        "psnr": pytest.approx(20 * math.log10(5)),
        "color": 255.0,
    }
