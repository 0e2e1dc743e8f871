"""Gaussians as a value: covariances under movement, selection and bad values."""

import math

import numpy as np
import pytest
import torch

from atoken import Gaussians
from atoken.gaussians_atoken import rotation_matrices

from .helpers import assert_close


def some(count: int = 6) -> Gaussians:
    generator = torch.Generator().manual_seed(0)
    draw = [torch.rand(count, n, generator=generator, dtype=torch.float64) for n in (3, 4, 3, 1, 3)]
    return Gaussians(draw[0] - 0.5, draw[1] - 0.5, draw[2], draw[3][:, 0], draw[4])


@pytest.mark.parametrize("angle", [0.0, 0.7, math.pi])
@pytest.mark.parametrize("as_matrix", [False, True])
def test_transform_turns_covariances(angle, as_matrix):
    cos, sin = math.cos(angle), math.sin(angle)
    matrix = torch.tensor([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    quat = torch.tensor([math.cos(angle / 2), 0.0, 0.0, math.sin(angle / 2)], dtype=torch.float64)
    before = some()
    after = before.transform(matrix if as_matrix else quat, [1.0, 2.0, 3.0], 2.0)
    moved = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    assert_close(after.covariances(), 4 * matrix @ before.covariances() @ matrix.T, 1e-12)
    assert_close(after.means, 2 * before.means @ matrix.T + moved, 1e-12)


def test_rotations_about_any_axis():
    """Against the exponential of the axis' cross-product matrix."""
    generator = torch.Generator().manual_seed(1)
    vectors = 2 * torch.randn(20, 3, generator=generator, dtype=torch.float64)
    before = some()
    for x, y, z in vectors:
        matrix = torch.linalg.matrix_exp(torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64))
        angle = torch.stack([x, y, z]).norm()
        quat = torch.cat([(angle / 2).cos()[None], (angle / 2).sin() / angle * torch.stack([x, y, z])])
        assert_close(rotation_matrices(-3 * quat), matrix, 1e-12)
        for rotation in (matrix, quat):
            after = before.transform(rotation)
            assert_close(after.covariances(), matrix @ before.covariances() @ matrix.T, 1e-12)
            assert_close(after.means, before.means @ matrix.T, 1e-12)


def test_colors_and_moves():
    gaussians = some()
    assert_close(gaussians.rgb, 0.5 + 0.28209479177387814 * gaussians.sh0, 1e-15)
    means = gaussians.means.clone().requires_grad_()
    moved = Gaussians(means, gaussians.quats, gaussians.scales, gaussians.opacities, gaussians.sh0)
    moved = moved.to("cpu", torch.float32).transform(translation=[1, 2, 3], scale=2.0)
    moved.means.sum().backward()
    assert_close(means.grad, torch.full_like(means, 2.0), 0)
    assert moved.dtype == torch.float32 and moved.device.type == "cpu" and not moved.detach().means.requires_grad


def test_selection_and_concatenation():
    gaussians = some()
    both = Gaussians.concatenate([gaussians[:2], gaussians[torch.arange(2, 6)]])
    assert len(gaussians[-1]) == 1 and torch.equal(both.means, gaussians.means)
    cropped = gaussians.crop(-0.5, [0.0, 0.5, 0.5])
    assert torch.equal(cropped.means, gaussians.means[gaussians.means[:, 0] <= 0])
    assert gaussians.to(dtype=torch.float32).dtype == torch.float32
    for index in (np.int64(1), torch.tensor(1)):
        assert len(gaussians[index]) == 1 and torch.equal(gaussians[index].means, gaussians.means[1:2])
    assert gaussians == gaussians and gaussians != both and both not in [gaussians]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("means", torch.full((6, 3), math.nan)),
        ("means", [1, 2, 3]),
        ("quats", torch.zeros(6, 4)),
        ("quats", torch.ones(6, 3)),
        ("scales", -torch.ones(6, 3)),
        ("opacities", torch.full((6,), 1.5)),
        ("opacities", torch.ones(6, 1)),
        ("sh0", torch.ones(5, 3)),
    ],
)
def test_bad_fields(name, value):
    fields = {n: getattr(some(), n) for n in ("means", "quats", "scales", "opacities", "sh0")}
    with pytest.raises(ValueError, match=f"^{name} "):
        Gaussians(**{**fields, name: value})


def test_bad_movement():
    with pytest.raises(ValueError, match="rotation"):
        some().transform(-torch.eye(3))
    with pytest.raises(ValueError, match="scale"):
        some().transform(scale=0)
    with pytest.raises(ValueError, match="low"):
        some().crop(1, 0)
