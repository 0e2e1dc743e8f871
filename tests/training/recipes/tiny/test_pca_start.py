"""Step 0 of training is PCA: of frames for images, and of four frames for videos."""

import pytest
import torch

from atoken import AtokenConfig, AtokenModel
from atoken.tokens_atoken import patchify, unpatchify
from atoken.training.recipes.tiny.pca_start import NULL, Pca, protected_rows, start_from_pca

PATCH = (4, 16, 16)


def smooth_media(frames: int, count: int, seed: int) -> torch.Tensor:
    """Draws (count, frames, 3, 64, 64): coarse noise made large, which moves a little from frame to frame."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, 3, 3, 9, 9, generator=generator)
    still, detail = coarse[:, 0], coarse[:, 1]
    time = torch.linspace(-1, 1, frames)[None, :, None, None, None]
    coarse = still[:, None] * 0.4 + time * detail[:, None] * 0.1
    video = torch.nn.functional.interpolate(coarse.flatten(0, 1), size=(64, 64), mode="bicubic", align_corners=True)
    return video.unflatten(0, (count, frames)) + 0.02 * torch.randn(count, frames, 3, 64, 64, generator=generator)


def patches_of(video: torch.Tensor) -> torch.Tensor:
    return patchify(video, PATCH).flatten(0, 3)


@pytest.fixture(scope="module")
def pcas() -> tuple[Pca, Pca]:
    image = Pca.fit(patches_of(smooth_media(1, 150, 0))[:, :768], 128)
    video = Pca.fit(patches_of(smooth_media(4, 250, 1)), 128)
    return image, video


def through(model: AtokenModel, video: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        latents = model.encode(video, pool=False).latents
        grid = (video.shape[0], -(-video.shape[1] // 4), video.shape[3] // 16, video.shape[4] // 16)
        return model.decode(latents.unflatten(0, grid)).pixel_values[:, : video.shape[1]]


def linear(pca: Pca, video: torch.Tensor, num_components: int) -> torch.Tensor:
    frames = pca.mean.shape[0] // 768
    return unpatchify(pca.reconstruct(patchify(video, (frames, 16, 16)), num_components), (frames, 16, 16))


def decibels(reconstruction: torch.Tensor, original: torch.Tensor) -> float:
    return float(10 * torch.log10(4 / (reconstruction - original).square().mean()))


def test_components_are_those_of_the_covariance(pcas):
    image, _ = pcas
    samples = patches_of(smooth_media(1, 150, 0))[:, :768].double()
    covariance = torch.cov(samples.T, correction=0)
    basis = image.components.double()
    torch.testing.assert_close(basis.T @ basis, torch.eye(128, dtype=torch.float64), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        torch.diag(basis.T @ covariance @ basis).sqrt(), image.deviations.double(), atol=1e-4, rtol=1e-3
    )


@pytest.mark.parametrize("frames", [1, 4, 16, 20])
def test_continuous_start_is_pca(pcas, frames):
    model = AtokenModel(AtokenConfig.from_preset("tiny")).eval()
    start_from_pca(model, *pcas)
    media = smooth_media(frames, 4, 2)
    pca = pcas[0] if frames == 1 else pcas[1]
    ours, theirs = decibels(through(model, media), media), decibels(linear(pca, media, 47), media)
    assert theirs > 25  # the baseline itself must mean something
    assert abs(ours - theirs) < 0.1


def test_images_and_videos_of_one_batch_do_not_disturb_each_other(pcas):
    model = AtokenModel(AtokenConfig.from_preset("tiny")).eval()
    start_from_pca(model, *pcas)
    photo, clip = smooth_media(1, 1, 3), smooth_media(8, 1, 4)
    patches = [patchify(media, PATCH).flatten(0, 3) for media in (photo, clip)]
    alone = [model.encode(media, pool=False) for media in (photo, clip)]
    together = model.encode(
        torch.cat(patches),
        torch.cat([item.coords for item in alone]),
        torch.tensor([0, len(patches[0]), len(patches[0]) + len(patches[1])]),
        pool=False,
    )
    torch.testing.assert_close(together.latents, torch.cat([item.latents for item in alone]), atol=1e-4, rtol=0)
    assert (alone[0].latents[:, 47] < 0).all() and (alone[1].latents[:, 47] > 0).all()


def test_protected_rows_hold_the_constants_and_switches(pcas):
    model = AtokenModel(AtokenConfig.from_preset("tiny"))
    start_from_pca(model, *pcas)
    rows = {id(parameter): rows.tolist() for parameter, rows in protected_rows(model)}
    encoder, decoder = model.vision_model, model.decoder
    assert rows[id(encoder.input_layer.bias)] == list(range(NULL + 1))
    assert rows[id(decoder.blocks[0].mlp.fc2.weight)] == list(range(4))
    # Two neurons for each of four detectors; four for each of 47 components and both media.
    assert rows[id(encoder.blocks[0].mlp.fc1.weight)] == list(range(8))
    assert rows[id(encoder.blocks[2].mlp.fc1.weight)] == list(range(188))
    assert rows[id(decoder.blocks[3].mlp.fc1.weight)] == []
    averaging = rows[id(encoder.blocks[1].attn.qkv.weight)]
    assert averaging == [*range(32), *range(192, 224), 384]
