"""An untrained decoder that sees surfaces: its first Gaussians lie under them and have their colors."""

import random

import torch
from safetensors.torch import save_file

from atoken.training.recipes.tiny.surface_loss import DEPTH
from atoken.training.recipes.tiny.surface_start import raw_offsets, see_surfaces
from atoken.training.recipes.tiny.surface_steps import ObjectSurface
from atoken.training.recipes.tiny.train_gaussians import build_decoder, decode

NORMAL = torch.nn.functional.normalize(torch.tensor([0.5, 0.3, 0.8]), dim=0)


def write_slope(path, height, color, generator):
    """Writes a sloping plane so far above the middle of the grid, of one color, as `prepare_objects` does objects."""
    points = torch.rand(200_000, 3, generator=generator) * 20 + 22
    points = points - ((points - 32) @ NORMAL - height)[:, None] * NORMAL
    points = points[((points > 22) & (points < 42)).all(1)]
    coords, owner = points.floor().long().unique(dim=0, return_inverse=True)
    order = owner.sort(stable=True).indices
    counts = torch.bincount(owner)
    chosen = (counts.cumsum(0) - counts)[:, None] + torch.arange(16) % counts[:, None]
    places = points[order[chosen]] - coords[:, None]
    color = torch.tensor(color, dtype=torch.uint8)
    tensors = {
        "coords": coords.to(torch.uint8),
        "rgb": color.repeat(len(coords), 256),
        "surface": (places * 255).round().to(torch.uint8),
        "surface_normals": (NORMAL * 127).round().to(torch.int8).repeat(len(coords), 16, 1),
        "surface_rgb": color.repeat(len(coords), 16, 1),
        "surface_counts": counts.clamp(max=16).to(torch.uint8),
    }
    save_file(tensors, path)
    return path


def test_gaussians_start_under_the_surface_in_its_color(tmp_path):
    torch.manual_seed(0)
    numbers, paths = torch.Generator().manual_seed(0), []
    for i in range(12):
        color = torch.randint(0, 256, (3,), generator=numbers).tolist()
        paths.append(write_slope(tmp_path / f"{i}.safetensors", 0.3 * i, color, numbers))
    decoder = build_decoder(width=128, layers=3, num_gaussians=4)
    see_surfaces(decoder, paths[:10], random.Random(0))
    for i, path in enumerate(paths[10:], start=10):
        item = ObjectSurface.load(path)
        with torch.no_grad():
            gaussians = decode(decoder, item, item.rgb.float() / 127.5 - 1)
        middle = ((gaussians.means + 0.5) * 64).unflatten(0, (len(item.coords), 4)).mean(1)  # (N, 3)
        heights = (middle - 32) @ NORMAL - 0.3 * i
        voxels = (item.coords + 0.5 - 32) @ NORMAL - 0.3 * i
        # Voxels lie on both sides of the surface; what is made of them lies below, and closer to one plane.
        assert abs(float(heights.mean()) + DEPTH) < 0.15
        assert float(heights.std()) < 0.6 * float(voxels.std())
        wanted = item.surface.rgb[0, 0].float() / 255
        assert float((gaussians.rgb.mean(0) - wanted).abs().max()) < 0.15


def test_raw_offsets_bring_the_mean_of_a_voxels_gaussians_to_a_place():
    decoder = build_decoder(width=32, layers=1, num_gaussians=8)
    places = torch.tensor([[0.0, 0.3, -0.5], [0.55, -0.1, 0.2], [2.0, 0.0, 0.0]], dtype=torch.float64)
    perturbation = decoder.offset_perturbation.double()
    found = 0.75 * torch.tanh(raw_offsets(places, perturbation)[:, None] + perturbation).mean(1)
    torch.testing.assert_close(found[:2], places[:2], atol=1e-4, rtol=0)
    assert 0.65 < float(found[2, 0]) < 0.75  # as far as a center reaches
