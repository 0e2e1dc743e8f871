"""Objects for training a Gaussian decoder: the baseline's cubes, scores over views, and that steps help."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

from atoken import render
from atoken.processing.cameras_atoken import hammersley_cameras
from atoken.training.recipes.tiny.prepared_objects import PreparedObject, decoded_voxels, flat_voxels, measure_views
from atoken.training.recipes.tiny.train_gaussians import build_decoder, build_optimizers, decode, loss_of

from ....modeling.helpers import make_model


@pytest.fixture
def prepared(tmp_path):
    """Writes a file with a red plate of 8x8x2 voxels and pictures of its own cubes."""
    coords = torch.cartesian_prod(torch.arange(28, 36), torch.arange(28, 36), torch.arange(31, 33))
    red = torch.tensor([255, 0, 0], dtype=torch.uint8).repeat(len(coords), 256)
    cameras = hammersley_cameras(3, offset=(0.3, 0.6))
    path = tmp_path / "plate.safetensors"
    tensors = {
        "coords": coords.to(torch.uint8),
        "rgb": red,
        "images": torch.zeros(3, 3, 192, 192, dtype=torch.uint8),
        "world_to_camera": cameras.world_to_camera,
        "intrinsics": cameras.intrinsics,
    }
    save_file(tensors, path)
    tensors["images"] = (flat_voxels(PreparedObject.load(path)) * 255).round().to(torch.uint8)
    save_file(tensors, path)
    return path


def test_flat_voxels_cover_the_silhouette_of_their_box(prepared):
    item = PreparedObject.load(prepared)
    picture = flat_voxels(item)
    corners = torch.cartesian_prod(*[torch.tensor([-4.0, 4.0])] * 2, torch.tensor([-1.0, 1.0])) / 64
    camera = item.cameras[0]
    seen = corners @ camera.world_to_camera[0, :3, :3].T + camera.world_to_camera[0, :3, 3]
    uv = (seen @ camera.intrinsics[0].T)[:, :2] / seen[:, 2:]
    hull_low, hull_high = (uv.amin(0) * 192).floor().long(), (uv.amax(0) * 192).ceil().long()
    rows, columns = np.nonzero(picture[0, 0].numpy() > 0)
    assert abs(rows.min() - hull_low[1]) <= 1 and abs(rows.max() + 1 - hull_high[1]) <= 1
    assert abs(columns.min() - hull_low[0]) <= 1 and abs(columns.max() + 1 - hull_high[0]) <= 1
    assert not picture[:, 1:].any()


def test_scores_are_means_over_pictures(prepared):
    black = measure_views(lambda item: torch.zeros(3, 3, 192, 192), [prepared])
    images = PreparedObject.load(prepared).images.double()
    expected = (10 * torch.log10(255**2 / images.square().mean((1, 2, 3)))).mean()
    assert black["psnr"] == pytest.approx(float(expected), abs=1e-6)
    assert (black["objects"], black["views"]) == (1, 3)


def test_decoded_voxels_are_what_the_model_makes_of_the_patches(prepared):
    item, model = PreparedObject.load(prepared), make_model()
    coords = torch.nn.functional.pad(item.coords, (1, 0), value=0)
    lengths = torch.tensor([0, len(coords)], dtype=torch.int32)
    tokens = torch.cat([item.rgb.float() / 127.5 - 1, torch.zeros(len(coords), 3072 - 768)], dim=1)
    with torch.no_grad():
        latents = model.encode(tokens, coords, lengths).latent_dist.mean
        expected = model.decode(latents, coords, lengths).pixel_values[:, :768]
    torch.testing.assert_close(decoded_voxels(model, item), expected)


def test_an_untrained_decoder_is_solid_and_steps_lower_the_loss(prepared):
    torch.manual_seed(0)
    item = PreparedObject.load(prepared)
    decoder = build_decoder(width=32, layers=2, num_gaussians=4)
    features = item.rgb.float() / 127.5 - 1
    gaussians = decode(decoder, item, features).detach()
    assert float(gaussians.opacities.median()) == pytest.approx(0.5, abs=0.05)
    assert float(gaussians.scales.median()) == pytest.approx((0.006**2 + 0.0009**2) ** 0.5, rel=0.05)
    optimizers, errors, originals = build_optimizers(decoder, 5e-3), [], item.images.float() / 255
    for _ in range(12):
        pictures = render(decode(decoder, item, features), item.cameras, 192)
        loss = loss_of(pictures, originals, log_mse=0.2)
        decoder.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        errors.append((pictures - originals).abs().mean().item())
    assert errors[-1] < 0.7 * errors[0]


def test_the_loss_has_l1_ms_ssim_and_log_mse():
    pictures, originals = torch.rand(2, 2, 3, 192, 192, generator=torch.Generator().manual_seed(0))
    errors = (pictures - originals).double()
    similarity = multiscale_structural_similarity_index_measure(
        pictures.double(), originals.double(), data_range=1.0, normalize="relu"
    )
    expected = errors.abs().mean() + 0.2 * (1 - similarity)
    assert float(loss_of(pictures, originals, 0.0)) == pytest.approx(float(expected), rel=1e-5)
    expected += 0.5 * (4 * errors.square().mean((1, 2, 3)) + 1e-5).log().mean()
    assert float(loss_of(pictures, originals, 0.5)) == pytest.approx(float(expected), rel=1e-5)
