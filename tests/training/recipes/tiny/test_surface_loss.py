"""The loss of Gaussians by points of the surface: its formula, the way inward, and what minimizes it."""

import pytest
import torch
from torch.distributions import MultivariateNormal

from atoken import Gaussians
from atoken.gaussians_atoken import SH_C0
from atoken.training.data.surface_samples import SurfaceSamples
from atoken.training.recipes.tiny.surface_loss import (
    COLOR_WEIGHT,
    DEPTH,
    OPACITY,
    OPACITY_WEIGHT,
    inward,
    surface_loss,
)

RESOLUTION = 8


def random_case():
    numbers = torch.Generator().manual_seed(0)
    coords = torch.tensor([[1, 2, 3], [4, 4, 4], [7, 0, 5]])
    count, each = 3 * 4, 4
    centers = ((coords + 0.5) / RESOLUTION - 0.5).repeat_interleave(each, 0)
    gaussians = Gaussians(
        means=centers + 0.05 * torch.randn(count, 3, generator=numbers),
        quats=torch.randn(count, 4, generator=numbers),
        scales=0.02 + 0.03 * torch.rand(count, 3, generator=numbers),
        opacities=torch.rand(count, generator=numbers),
        sh0=torch.randn(count, 3, generator=numbers),
    )
    places, colors = torch.randint(0, 256, (2, 3, 5, 3), generator=numbers, dtype=torch.uint8)
    normals = torch.nn.functional.normalize(torch.randn(3, 5, 3, generator=numbers), dim=-1)
    normals = (127 * normals).round().to(torch.int8)
    return gaussians, coords, SurfaceSamples(places, normals, colors, torch.tensor([5, 0, 2], dtype=torch.uint8))


def test_the_loss_is_the_likelihood_of_a_mixture_and_distances_of_colors_and_opacities():
    gaussians, coords, surface = random_case()
    rotations = gaussians.rotations().double()
    covariances = rotations @ torch.diag_embed((gaussians.scales.double() * RESOLUTION) ** 2) @ rotations.mT
    values = []
    for voxel in (0, 2):
        own = slice(4 * voxel, 4 * voxel + 4)
        normals = surface.normals[voxel].double() / 127
        # The least of sum (m n + 1)^2 + m^2, as rows of a least-squares problem.
        rows, wanted = torch.cat([normals, torch.eye(3)]), torch.cat([-torch.ones(5), torch.zeros(3)]).double()
        way = torch.linalg.lstsq(rows, wanted[:, None]).solution[:, 0]
        parts = MultivariateNormal((gaussians.means[own].double() + 0.5) * RESOLUTION, covariances[own])
        for point, color in zip(surface.places[voxel], surface.rgb[voxel], strict=True):
            density = parts.log_prob(point.double() / 255 + coords[voxel] + DEPTH * way).exp() * (2 * torch.pi) ** 1.5
            distance = (0.5 + SH_C0 * gaussians.sh0[own].double() - color.double() / 255).abs().sum(-1)
            values.append(-density.sum().log() + COLOR_WEIGHT * (density * distance).sum() / density.sum())
    expected = torch.stack(values).mean() + OPACITY_WEIGHT * (gaussians.opacities - OPACITY).square().mean()
    assert float(surface_loss(gaussians, coords, surface, RESOLUTION)) == pytest.approx(float(expected), rel=1e-4)


def test_no_point_at_all_leaves_opacities():
    gaussians, coords, surface = random_case()
    none = SurfaceSamples(surface.places, surface.normals, surface.rgb, 0 * surface.counts)
    expected = OPACITY_WEIGHT * (gaussians.opacities - OPACITY).square().mean()
    assert float(surface_loss(gaussians, coords, none, RESOLUTION)) == pytest.approx(float(expected))


def test_the_way_inward_leads_away_from_faces_and_nowhere_in_a_sheet():
    up, right = torch.tensor([0.0, 0, 1]), torch.tensor([1.0, 0, 0])
    face, edge, sheet = up.repeat(8, 1), torch.stack([up, right] * 4), torch.stack([up, -up] * 4)
    expected = torch.tensor([[0, 0, -8 / 9], [-4 / 5, 0, -4 / 5], [0, 0, 0]])
    torch.testing.assert_close(inward(torch.stack([face, edge, sheet])), expected)
    assert not inward(torch.zeros(1, 8, 3)).any()


def test_a_low_loss_is_a_thin_layer_under_the_surface_in_its_color():
    """Points on z = 0.8 of a voxel: free Gaussians come to lie below, flat along z, opaque, and take the color."""
    numbers = torch.Generator().manual_seed(1)
    places = torch.randint(0, 256, (1, 64, 3), generator=numbers, dtype=torch.uint8)
    places[..., 2] = 204
    up, colors = torch.tensor([0, 0, 127], dtype=torch.int8), torch.tensor([255, 0, 51], dtype=torch.uint8)
    surface = SurfaceSamples(places, up.expand(1, 64, 3), colors.expand(1, 64, 3), torch.tensor([64]))
    coords = torch.tensor([[4, 4, 4]])
    offsets = (torch.rand(8, 3, generator=numbers) - 0.5).requires_grad_()
    logs, sh0, opacities = (torch.zeros(8, *shape, requires_grad=True) for shape in ((3,), (3,), ()))
    optimizer = torch.optim.Adam([offsets, logs, sh0, opacities], lr=0.03)

    def gaussians():
        return Gaussians(
            means=(coords + 0.5 + offsets) / RESOLUTION - 0.5,
            quats=torch.tensor([[1.0, 0, 0, 0]]).expand(8, 4),
            scales=(logs - 1).exp() / RESOLUTION + 1e-3,
            opacities=opacities.sigmoid(),
            sh0=sh0,
        )

    for _ in range(200):
        optimizer.zero_grad()
        surface_loss(gaussians(), coords, surface, RESOLUTION).backward()
        optimizer.step()
    found = gaussians().detach()
    height = (found.means[:, 2] + 0.5) * RESOLUTION - 4
    assert (height - (0.8 - DEPTH * 64 / 65)).abs().max() < 0.02
    assert 4 * found.scales[:, 2].max() < found.scales[:, :2].mean()
    assert (found.opacities - OPACITY).abs().max() < 0.05
    torch.testing.assert_close(found.rgb, torch.tensor([[1.0, 0, 0.2]]).expand(8, 3), atol=0.05, rtol=0)
