"""Latents of unit size: the same autoencoder with another unit."""

import torch

from atoken.training.recipes.tiny_image_to_object.unit_latents import scale_latents

from ....generation.object_helpers import structure_vae


@torch.no_grad()
def test_latents_change_their_size_and_nothing_else():
    vae = structure_vae(latent_channels=3)
    grids = [(torch.rand(1, 8, 8, 8, generator=torch.Generator().manual_seed(seed)) < 0.1).float() for seed in range(3)]
    data = torch.stack(grids)
    before, logits = vae.encode(data).latent_dist, vae(data).sample
    sizes = scale_latents(vae, grids)
    after = vae.encode(data).latent_dist
    # By the formulas, in float64.
    expected = before.mean.double().square().mean((0, 2, 3, 4)).sqrt()
    torch.testing.assert_close(sizes.double(), expected, rtol=1e-5, atol=0)
    spread = sizes.view(1, -1, 1, 1, 1)
    torch.testing.assert_close(after.mean * spread, before.mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(after.std * spread, before.std, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(after.mean.square().mean((0, 2, 3, 4)), torch.ones(3), rtol=1e-4, atol=0)
    torch.testing.assert_close(vae(data).sample, logits, rtol=1e-4, atol=1e-5)
