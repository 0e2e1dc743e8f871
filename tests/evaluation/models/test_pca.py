"""Linear coding: patches, agreement with scikit-learn, bits, and what more of them bring."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from atoken.evaluation.models.pca import COMPONENTS, PcaTokenizer, quantized, to_media, to_patches
from atoken.tokenizing.quality import psnr

from ...processing.samples import photo


def _image(height: int, width: int, seed: int) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(photo(height, width, seed))).permute(2, 0, 1)[None]


def _clip(frames: int, height: int, width: int) -> torch.Tensor:
    """Pans over a photo."""
    return torch.cat([_image(height, width + 2 * frames, 0)[..., 2 * t : 2 * t + width] for t in range(frames)])


@pytest.fixture(scope="module")
def media() -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    return [_image(160, 160, seed) for seed in range(5)], [_clip(16, 160, 160)]


@pytest.fixture(scope="module")
def saved(media, tmp_path_factory):
    path = tmp_path_factory.mktemp("pca") / "pca.safetensors"
    PcaTokenizer.fit(*media, num_components=8).save(path)
    return path


@pytest.mark.parametrize("shape", [(1, 3, 16, 32), (1, 3, 37, 50), (4, 3, 16, 16), (6, 3, 20, 35)])
def test_patches_hold_everything_in_the_order_frame_row_column_channel(shape):
    media = torch.randint(0, 256, shape, dtype=torch.uint8)
    patches, grid = to_patches(media)
    torch.testing.assert_close(to_media(patches, grid, (shape[0], *shape[2:])), media, rtol=0, atol=0)
    first = media[: 1 if shape[0] == 1 else 4, :, :16, :16].permute(0, 2, 3, 1).flatten().float() / 127.5 - 1
    torch.testing.assert_close(patches[0], first)


def test_components_are_those_of_scikit_learn(media, saved):
    patches = torch.cat([to_patches(image)[0] for image in media[0]])
    expected = PCA(8, svd_solver="full").fit(patches.double().numpy())
    ours = PcaTokenizer.load(saved, num_components=8)
    result = ours.decode(ours.encode(media[0][0]))
    rows = to_patches(media[0][0])[0].numpy()
    target = to_media(
        torch.from_numpy(expected.inverse_transform(expected.transform(rows))).float(), (1, 10, 10), (1, 160, 160)
    )
    # Ours are stored as bfloat16, with 8 bits of precision.
    assert psnr(result, target) > 40
    assert psnr(result, media[0][0]) == pytest.approx(psnr(target, media[0][0]), abs=0.05)


def test_a_uniform_quantizer_by_hand():
    values = torch.tensor([[-9.0, 7.0], [-0.1, 0.2], [0.9, -3.0], [2.0, 0.0]])
    codes, found = quantized(values, torch.tensor([1.0, 5.0]), torch.tensor([2, 0]))
    assert codes[:, 0].tolist() == [0, 1, 3, 3] and codes[:, 1].tolist() == [0] * 4
    assert found[:, 0].tolist() == [-0.75, -0.25, 0.75, 0.75] and found[:, 1].tolist() == [0.0] * 4


def test_bits_go_where_they_lower_the_error_most(saved):
    tokenizer = PcaTokenizer.load(saved, bits_per_token=96)
    for kind, basis in tokenizer.bases.items():
        given = tokenizer.allocations[kind]
        assert given.sum() == 96 and given[0] >= given[20]
        rows = torch.arange(COMPONENTS)
        saved_by_last = (basis.errors[rows, (given - 1).clamp(min=0)] - basis.errors[rows, given])[given > 0].min()
        offered_by_next = (basis.errors[rows, given] - basis.errors[rows, (given + 1).clamp(max=12)]).max()
        # Errors are nearly convex in bits, as spans are chosen from a short list.
        assert offered_by_next <= 1.5 * saved_by_last


@pytest.mark.parametrize("sample", [_image(37, 50, 9), _clip(6, 37, 50)], ids=["image", "video"])
def test_round_trips_of_odd_sizes_with_their_bits(sample, saved):
    tokens = 3 * 4 * (1 if len(sample) == 1 else 2)
    values = []
    for options, bits in (({"bits_per_token": 24}, 24), ({"bits_per_token": 768}, 768), ({"num_components": 48}, 768)):
        tokenizer = PcaTokenizer.load(saved, **options)
        encoded = tokenizer.encode(sample)
        assert encoded.bits == tokens * bits
        result = tokenizer.decode(encoded)
        assert result.shape == sample.shape and result.dtype == torch.uint8
        values.append(psnr(result, sample))
    assert values[0] < values[1] and values[2] < values[1]


@pytest.mark.parametrize(
    ("options", "name"),
    [({}, "exactly one"), ({"bits_per_token": 0}, "bits_per_token"), ({"num_components": 999}, "num_components")],
)
def test_bad_options_are_named(options, name, saved):
    with pytest.raises(ValueError, match=name):
        PcaTokenizer.load(saved, **options)


def test_a_missing_file_says_how_to_make_one(tmp_path):
    with pytest.raises(FileNotFoundError, match="python -m atoken.training.recipes.tiny.fit_pca"):
        PcaTokenizer.load(str(tmp_path / "none.safetensors"), bits_per_token=96)
