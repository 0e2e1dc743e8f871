"""Weights in int8 and int4 through torchao, on random models and on the embedded checkpoints."""

import warnings
from pathlib import Path

import pytest
import torch
from transformers import TorchAoConfig

from atoken import AtokenModel, AtokenVisionModel
from atoken.processing import AtokenProcessor

from ...modeling.helpers import as_tokens, make_model, media, pack

pytest.importorskip("torchao")
from torchao.quantization import Int8WeightOnlyConfig, IntxWeightOnlyConfig  # noqa: E402
from torchao.quantization.granularity import PerGroup  # noqa: E402

ROOT = Path(__file__).resolve().parents[3]
PHOTOS = sorted((ROOT / "examples/media").glob("*.jpg"))
MLPS = [".*mlp"]
ALL_BUT_ATTENTION = [".*mlp", ".*input_layer", "latent_proj", ".*out_layer"]


def int8() -> Int8WeightOnlyConfig:
    return Int8WeightOnlyConfig()


def in_groups(dtype: torch.dtype, size: int = 16) -> IntxWeightOnlyConfig:
    return IntxWeightOnlyConfig(weight_dtype=dtype, granularity=PerGroup(size))


def load(folder, scheme=None, kept=None, model_class=AtokenModel):
    options = {}
    if scheme is not None:
        options["quantization_config"] = TorchAoConfig(scheme, modules_to_not_convert=kept or [])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model_class.from_pretrained(folder, dtype=torch.float32, **options).eval()


def is_quantized(model: torch.nn.Module) -> dict[str, bool]:
    return {
        name: type(module.weight.data) is not torch.Tensor
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear)
    }


def batch():
    return pack([as_tokens(media(1, 3, 48, 32)), as_tokens(media(20, 3, 32, 32, seed=1))])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A random model on disk; its widths, 48 and 96, and its 12 latent channels are multiples of 12."""
    folder = tmp_path_factory.mktemp("model")
    make_model(discrete=True).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("scheme,error", [(int8(), 0.02), (in_groups(torch.int4, 12), 0.25)])
def test_every_linear_layer(folder, scheme, error):
    model, plain = load(folder, scheme), load(folder)
    assert all(is_quantized(model).values())
    with torch.no_grad():
        actual = model.vision_model(*batch()).last_hidden_state
        expected = plain.vision_model(*batch()).last_hidden_state
        latents = media(len(expected), 12)
        decoded = model.decode(latents, *batch()[1:]).pixel_values
        expected_decoded = plain.decode(latents, *batch()[1:]).pixel_values
    assert 0 < (actual - expected).norm() / expected.norm() < error
    assert 0 < (decoded - expected_decoded).norm() / expected_decoded.norm() < error


def test_layers_that_stay(folder):
    quantized = is_quantized(load(folder, int8(), ALL_BUT_ATTENTION))
    for name, is_so in quantized.items():
        assert is_so == ("attn" in name or "head.attention" in name), name


def test_saved_and_reloaded(folder, tmp_path):
    """The tower. torchao cannot read files with parameters at the top level, such as the whole model's logit_scale."""
    load(folder, model_class=AtokenVisionModel).save_pretrained(tmp_path / "fp32")
    model = load(tmp_path / "fp32", int8(), MLPS, AtokenVisionModel)
    model.save_pretrained(tmp_path / "int8")
    again = load(tmp_path / "int8", model_class=AtokenVisionModel)
    assert is_quantized(again) == is_quantized(model)
    with torch.no_grad():
        actual, expected = again(*batch()).last_hidden_state, model(*batch()).last_hidden_state
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=0)
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("int8", "fp32")]
    assert sizes[0] < sizes[1]


@torch.no_grad()
def mean_psnr(model: AtokenModel, processor: AtokenProcessor) -> float:
    inputs = processor(images=PHOTOS)
    packing = (inputs.coords, inputs.cu_seqlens)
    encoded = model.encode(inputs.pixel_values, *packing, pool=False)
    decoded = model.decode(encoded.latents, *packing).pixel_values
    images = processor.post_process(decoded, *packing, inputs.media_sizes)
    originals = processor.post_process(inputs.pixel_values, *packing, inputs.media_sizes)
    errors = [(image - original).square().mean() for image, original in zip(images, originals, strict=True)]
    return float(-10 * torch.stack(errors).log10().mean())


@pytest.mark.parametrize(("name", "int4_loss"), [("atoken-tiny", 0.3), ("atoken-tiny-d", 0.65)])
def test_photos_of_the_embedded_checkpoints(name, int4_loss):
    """docs/low-precision.md has the figures; the MLPs of these two hold large constants and stay in fp32."""
    checkpoint = ROOT / "checkpoints" / name
    processor = AtokenProcessor.from_pretrained(checkpoint)
    expected = mean_psnr(load(checkpoint), processor)
    assert expected - mean_psnr(load(checkpoint, in_groups(torch.int8), MLPS), processor) < 0.1
    assert expected - mean_psnr(load(checkpoint, in_groups(torch.int4), ALL_BUT_ATTENTION), processor) < int4_loss
