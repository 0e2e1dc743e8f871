from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from atoken.processing.image_processing_atoken import AtokenImageProcessor
from atoken.processing.packing_atoken import join_packed, pack_media, unpack_media
from atoken.processing.patching_atoken import grid_size, pad_and_patchify, unpatchify
from atoken.processing.video_processing_atoken import AtokenVideoProcessor

GOLDEN = Path(__file__).parents[1] / "golden" / "continuous.tensors.safetensors"


def media(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture(scope="module")
def golden() -> dict[str, torch.Tensor]:
    return load_file(GOLDEN)


def test_values_sit_where_the_definition_says():
    patch, size = (2, 2, 3), (4, 4, 6)
    clip = media(size[0], 3, *size[1:]).numpy()
    pixel_values, coords = pad_and_patchify(torch.from_numpy(clip), patch)
    assert pixel_values.shape == (8, 2 * 2 * 3 * 3)
    tokens = [(t, x, y, 0) for t in range(2) for x in range(2) for y in range(2)]
    assert coords.tolist() == [list(token) for token in tokens]
    for row, (t, x, y, _) in enumerate(tokens):
        for frame, line, column, channel in np.ndindex(2, 2, 3, 3):
            flat = ((frame * 2 + line) * 3 + column) * 3 + channel
            expected = clip[t * 2 + frame, channel, x * 2 + line, y * 3 + column]
            assert pixel_values[row, flat] == expected


def test_sides_are_padded_with_the_edge_and_time_with_grey():
    clip = media(1, 3, 3, 5)
    pixel_values, coords = pad_and_patchify(clip)
    assert pixel_values.shape == (1, 3072) and coords.tolist() == [[0, 0, 0, 0]]
    patch = pixel_values.reshape(4, 16, 16, 3)
    assert torch.equal(patch[0, :3, :5], clip[0].permute(1, 2, 0))
    assert torch.equal(patch[0, 3:, 2], clip[0, :, 2, 2].expand(13, 3))
    assert torch.equal(patch[0, 1, 5:], clip[0, :, 1, 4].expand(11, 3))
    assert torch.equal(patch[0, 15, 15], clip[0, :, 2, 4])
    assert not patch[1:].any()


@pytest.mark.parametrize("size", [(1, 1, 1), (3, 16, 16), (4, 16, 32), (17, 34, 50), (5, 1, 100), (1, 70, 90)])
def test_round_trip_is_exact(size):
    clip = media(size[0], 3, *size[1:])
    pixel_values, coords = pad_and_patchify(clip)
    assert len(coords) == np.prod(grid_size(size)) and coords.dtype == torch.int64
    assert torch.equal(unpatchify(pixel_values, coords, size), clip)


def test_tokens_are_placed_by_coordinates_in_any_order():
    clip = media(8, 3, 40, 40)
    pixel_values, coords = pad_and_patchify(clip)
    order = torch.randperm(len(coords), generator=torch.Generator().manual_seed(1))
    assert torch.equal(unpatchify(pixel_values[order], coords[order].int(), (8, 40, 40)), clip)


def test_unpatchify_keeps_dtype_and_gradient():
    pixel_values, coords = pad_and_patchify(media(1, 3, 20, 20))
    assert unpatchify(pixel_values.bfloat16(), coords, (1, 20, 20)).dtype == torch.bfloat16
    pixel_values.requires_grad_()
    unpatchify(pixel_values, coords, (1, 20, 20)).sum().backward()
    # One for each true pixel, none for the padding.
    assert pixel_values.grad.sum() == 3 * 20 * 20


def test_pack_and_unpack_ragged_batch():
    samples = [media(1, 3, 20, 33), media(9, 3, 16, 16), media(1, 3, 1, 1)]
    packed = pack_media(samples)
    assert packed["cu_seqlens"].tolist() == [0, 6, 9, 10] and packed["cu_seqlens"].dtype == torch.int32
    assert packed["media_sizes"].tolist() == [[1, 20, 33], [9, 16, 16], [1, 1, 1]]
    assert all(torch.equal(a, b) for a, b in zip(unpack_media(**packed), samples, strict=True))
    parts = join_packed([pack_media(samples[:2]), pack_media(samples[2:])])
    assert all(torch.equal(parts[name], packed[name]) and parts[name].dtype == packed[name].dtype for name in packed)


def test_image_tokens_match_golden(golden):
    processor = AtokenImageProcessor()
    batch = processor(golden["image.input"], do_rescale=False, do_normalize=False)
    assert torch.equal(batch.pixel_values, golden["image.patches"])
    assert torch.equal(batch.coords, golden["image.coords"][:, 1:].long())


def test_video_coordinates_match_golden(golden):
    batch = AtokenVideoProcessor()(golden["video.input"], do_rescale=False, do_normalize=False)
    assert torch.equal(batch.coords, golden["video.coords"][:, 1:].long())


def test_golden_reconstruction_becomes_an_image(golden):
    coords = golden["image.coords"][:, 1:]
    sizes = {"cu_seqlens": torch.tensor([0, len(coords)]), "media_sizes": torch.tensor([[1, 48, 64]])}
    image = AtokenImageProcessor().post_process(golden["image.decoded"], coords, **sizes)[0]
    first = golden["image.decoded"].reshape(3, 4, 4, 16, 16, 3)[:, :, 0].permute(4, 0, 2, 1, 3).reshape(3, 48, 64)
    torch.testing.assert_close(image, (first / 2 + 0.5).clamp(0, 1))
