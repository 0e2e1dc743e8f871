"""AToken and the baseline of flat voxels behind the harness's interface, against the model called by hand."""

import numpy as np
import pytest
import torch

from atoken import AtokenModel
from atoken.evaluation.models.atoken_tokenizers import AtokenEmbedder, AtokenMedia, AtokenObjects
from atoken.evaluation.models.object_baselines import FlatVoxels
from atoken.processing import AtokenProcessor
from atoken.processing.mesh_reading_atoken import read_mesh
from atoken.tokenizing.objects import compared_cameras

from ...cli_samples import save_model
from ...processing.samples import photo

trimesh = pytest.importorskip("trimesh", reason="meshes need trimesh")


def _media(frames: int, height: int = 37, width: int = 50) -> torch.Tensor:
    pictures = [photo(height, width, seed) for seed in range(frames)]
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()


@pytest.fixture(scope="module", params=[False, True], ids=["latents", "codes"])
def folder(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    save_model(path, discrete=request.param)
    return path


@pytest.mark.parametrize("frames", [1, 6])
def test_media_round_trip_is_the_models_own(folder, frames):
    media = _media(frames)
    tokenizer = AtokenMedia(str(folder), latent_dtype="float32")
    encoded = tokenizer.encode(media)
    result = tokenizer.decode(encoded)
    assert result.shape == media.shape and result.dtype == torch.uint8
    model, processor = AtokenModel.from_pretrained(folder).eval(), AtokenProcessor.from_pretrained(folder)
    if frames == 1:
        inputs = processor(images=[media[0].permute(1, 2, 0).numpy()])
    else:
        inputs = processor(videos=[media.permute(0, 2, 3, 1).numpy()], videos_kwargs={"do_sample_frames": False})
    with torch.no_grad():
        latents = model.encode(inputs.pixel_values, inputs.coords, inputs.cu_seqlens).latents
        decoded = model.decode(latents, inputs.coords, inputs.cu_seqlens).pixel_values
    (expected,) = processor.post_process(decoded, inputs.coords, inputs.cu_seqlens, inputs.media_sizes)
    expected = (torch.as_tensor(expected).reshape(result.shape) * 255).round().clamp(0, 255)
    assert (expected - result.float()).abs().max() <= 1  # rounding of values that differ by 1e-6


@pytest.mark.parametrize("frames", [1, 6])
def test_bits_are_those_of_the_tokens(folder, frames):
    encoded = AtokenMedia(str(folder)).encode(_media(frames))
    tokens = 3 * 4 * (1 if frames == 1 else 2)
    config = AtokenModel.from_pretrained(folder).config
    if encoded.codes is None:
        assert encoded.bits == tokens * config.latent_channels * 16
        assert encoded.payload[0].dtype == torch.bfloat16
    else:
        size = config.quantizer_config.codebook_size
        assert encoded.bits == round(tokens * config.quantizer_config.num_codebooks * np.log2(size))
        assert encoded.codes.shape[-1] == config.quantizer_config.num_codebooks and encoded.codes.max() < size
    assert np.prod(encoded.latent_shape[:3]) == tokens


@pytest.fixture
def mesh(tmp_path):
    trimesh.creation.box((1, 0.6, 0.3)).export(tmp_path / "box.obj")
    return read_mesh(tmp_path / "box.obj")


def test_objects_round_trip(mesh):
    tokenizer = AtokenObjects("atoken-tiny")
    encoded = tokenizer.encode(mesh)
    latents, coords = encoded.payload
    assert encoded.bits == len(coords) * (48 * 16 + 18)
    pictures = tokenizer.render(encoded, compared_cameras(), 64)
    assert pictures.shape == (8, 3, 64, 64) and pictures.dtype == torch.uint8 and pictures.any()


def test_flat_voxels_keep_the_color(mesh):
    tokenizer = FlatVoxels()
    encoded = tokenizer.encode(mesh)
    coords, colors = encoded.payload
    assert encoded.bits == len(coords) * 42
    pictures = tokenizer.render(encoded, compared_cameras(), 64)
    assert pictures.shape == (8, 3, 64, 64) and pictures.dtype == torch.uint8
    # A gray box stays gray.
    assert (pictures.float().amax(1) - pictures.float().amin(1)).max() <= 1


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda folder: AtokenMedia(folder, latent_dtype="int8"), "latent_dtype"),
        (lambda folder: AtokenObjects(folder), "Gaussian decoder"),
        (lambda folder: AtokenEmbedder(folder), "text tower"),
        (lambda folder: AtokenEmbedder(folder, video="mean"), "video"),
    ],
)
def test_what_a_model_cannot_do_is_said_at_once(folder, call, name):
    with pytest.raises(ValueError, match=name):
        call(str(folder))
