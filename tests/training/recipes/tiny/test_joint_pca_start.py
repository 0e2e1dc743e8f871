"""Step 0 of the half-size sibling is one PCA of pictures and clips together."""

import pytest
import torch

from atoken import AtokenModel
from atoken.tokens_atoken import patchify, unpatchify
from atoken.training.recipes.tiny.joint_pca_start import start_from_joint_pca
from atoken.training.recipes.tiny.pca_start import Pca
from atoken.training.recipes.tiny.sizes import SIZES

from .test_pca_start import PATCH, decibels, patches_of, smooth_media, through


def padded(video: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.pad(video, (0, 0) * 3 + (0, -video.shape[1] % 4))


@pytest.fixture(scope="module")
def started() -> tuple[AtokenModel, Pca]:
    samples = [patches_of(padded(smooth_media(frames, 150, frames))) for frames in (1, 4)]
    joint = Pca.fit(torch.cat(samples), 96)
    torch.manual_seed(0)
    model = AtokenModel(SIZES["half"].config(latent_channels=48)).eval()
    start_from_joint_pca(model, joint)
    return model, joint


@pytest.mark.parametrize("frames", [1, 4, 8])
def test_step_0_equals_the_joint_pca(started, frames):
    model, joint = started
    media = smooth_media(frames, 3, seed=20 + frames)
    linear = unpatchify(joint.reconstruct(patchify(padded(media), PATCH), 48), PATCH)[:, :frames]
    assert decibels(through(model, media), linear) > decibels(linear, media) + 15


def test_what_does_not_fit_is_refused(started):
    model, joint = started
    few = Pca(joint.mean, joint.components[:, :50], joint.deviations[:50], joint.units[:50])
    with pytest.raises(ValueError, match="joint must have at least 93 components, got 50"):
        start_from_joint_pca(model, few)
    wide = AtokenModel(SIZES["half"].config(latent_channels=94))
    with pytest.raises(ValueError, match="model must have a width of at least 97, got 96"):
        start_from_joint_pca(wide, joint)


def test_sizes():
    assert [SIZES[name].has_two_bases for name in ("tiny", "half", "large")] == [True, False, True]
    config = SIZES["large"].config()
    assert (config.vision_config.hidden_size, config.decoder_config.num_hidden_layers) == (384, 8)
    assert config.vision_config.num_attention_heads == 12 and config.decoder_config.intermediate_size == 1536
