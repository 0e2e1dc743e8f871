"""With RoPE off, the encoder is a SigLIP2 vision tower (paper, section 3.2)."""

import pytest
import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import Siglip2VisionConfig, Siglip2VisionModel

from atoken.conversion_atoken import vision_model_from_siglip2

from .helpers import as_tokens, assert_close, media, pack, randomize

TOLERANCE = 1e-5
# Rows and columns of patches: one patch, flat and tall, the table's own size, and larger than it in one or both axes.
GRIDS = [(1, 1), (2, 5), (7, 3), (16, 16), (3, 20), (18, 17)]


def make_siglip2(**options) -> Siglip2VisionModel:
    size = {"hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 3, "num_attention_heads": 2}
    return randomize(Siglip2VisionModel(Siglip2VisionConfig(**{**size, **options})), seed=1)


def images(grids):
    return [media(3, 16 * rows, 16 * columns, seed=index) for index, (rows, columns) in enumerate(grids)]


def siglip2_patches(image):
    """(C, H, W) -> (L, 768), each patch flattened row, column, channel."""
    channels, height, width = image.shape
    patches = image.reshape(channels, height // 16, 16, width // 16, 16).permute(1, 3, 2, 4, 0)
    return patches.reshape(-1, 16 * 16 * channels)


@torch.no_grad()
def run_siglip2(model, batch):
    """SigLIP2 on images of different sizes, which it pads to one length."""
    patches = [siglip2_patches(image) for image in batch]
    mask = pad_sequence([torch.ones(len(one), dtype=torch.long) for one in patches], batch_first=True)
    shapes = torch.tensor([[image.shape[1] // 16, image.shape[2] // 16] for image in batch])
    values = pad_sequence(patches, batch_first=True)
    output = model(values, pixel_attention_mask=mask, spatial_shapes=shapes, output_hidden_states=True)
    # Every token that is not padding, packed.
    states = [state[mask.bool()] for state in [*output.hidden_states, output.last_hidden_state]]
    return states, output.pooler_output


@pytest.fixture(scope="module")
def towers():
    siglip2 = make_siglip2()
    ours = vision_model_from_siglip2(siglip2)
    ours.config.use_rope = False
    return siglip2, ours


def check(output, states, pooled):
    ours = [*output.hidden_states, output.last_hidden_state]
    assert len(ours) == len(states)
    for mine, theirs in zip(ours, states, strict=True):
        assert_close(mine.reshape(theirs.shape), theirs, TOLERANCE)
    if pooled is not None:
        assert_close(output.pooler_output, pooled, TOLERANCE)


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_an_image(towers, grid, implementation):
    siglip2, ours = towers
    ours.set_attn_implementation(implementation)
    batch = images([grid])
    with torch.no_grad():
        output = ours(batch[0][None], output_hidden_states=True)
    check(output, *run_siglip2(siglip2, batch))


def test_images_of_different_sizes_in_one_batch(towers):
    siglip2, ours = towers
    batch = images(GRIDS)
    features, coords, cu_seqlens = pack([as_tokens(image[None]) for image in batch])
    with torch.no_grad():
        output = ours(features, coords, cu_seqlens, output_hidden_states=True)
    check(output, *run_siglip2(siglip2, batch))


@pytest.mark.parametrize(
    "options", [{"num_patches": 49}, {"vision_use_head": False}, {"layer_norm_eps": 1e-3}], ids=str
)
def test_other_towers(options):
    siglip2 = make_siglip2(**options)
    ours = vision_model_from_siglip2(siglip2)
    ours.config.use_rope = False
    batch = images([(5, 9)])
    with torch.no_grad():
        output = ours(batch[0][None], output_hidden_states=True)
    check(output, *run_siglip2(siglip2, batch))


def test_only_the_first_frame_is_seen(towers):
    """The patch embedding's columns for frames 2 to 4 are zero, so the start does not depend on them."""
    _, ours = towers
    clip = media(1, 4, 3, 32, 48)
    with torch.no_grad():
        assert_close(ours(clip).pooler_output, ours(clip[:, 0]).pooler_output, TOLERANCE)


def test_rope_is_on_by_default_and_matters(towers):
    siglip2, ours = towers
    start = vision_model_from_siglip2(siglip2)
    assert start.config.use_rope
    image = images([(4, 4)])[0][None]
    with torch.no_grad():
        assert (start(image).last_hidden_state - ours(image).last_hidden_state).abs().max() > 1e-2


def test_the_type_of_the_weights_is_kept():
    assert vision_model_from_siglip2(make_siglip2().to(torch.bfloat16)).dtype == torch.bfloat16


@pytest.mark.parametrize("options,message", [({"patch_size": 14}, "16 x 16, got 14"), ({"num_patches": 50}, "square")])
def test_towers_that_do_not_fit(options, message):
    with pytest.raises(ValueError, match=f"siglip2_vision_model .*{message}"):
        vision_model_from_siglip2(make_siglip2(**options))


def test_the_source_is_left_alone():
    """The new encoder has copies: training it must not change the SigLIP2 model."""
    siglip2 = make_siglip2()
    before = {name: value.clone() for name, value in siglip2.state_dict().items()}
    ours = vision_model_from_siglip2(siglip2)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.add_(1)
    for name, value in siglip2.state_dict().items():
        assert torch.equal(value, before[name]), name
