"""Weights that are stored in another dtype than they compute in: inputs get the compute dtype, never the storage's."""

import warnings

import pytest
import torch
from transformers import BitsAndBytesConfig, TorchAoConfig

from atoken import AtokenModel

from ...modeling.helpers import TEXT, make_model, media, pack, voxel_tokens

# bitsandbytes has a scale for 64 weights in a row. On CPUs with AVX-512 it unpacks rows of other lengths to wrong
# values, and with the bf16 instructions it refuses numbers of rows that are no multiple of 32.
WIDTH = 64
SIZE = {"hidden_size": WIDTH, "intermediate_size": 2 * WIDTH, "num_hidden_layers": 2, "num_attention_heads": 2}
GAUSSIANS = {**SIZE, "num_gaussians": 16, "resolution": 16}
SIZES = {
    "vision": SIZE,
    "decoder": SIZE,
    "text_config": {**TEXT, **SIZE, "projection_size": WIDTH},
    "latent_channels": WIDTH,
    "gaussian_config": GAUSSIANS,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    make_model(**SIZES).save_pretrained(folder)
    return folder


def load(folder, dtype=torch.float32, **options) -> AtokenModel:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return AtokenModel.from_pretrained(folder, dtype=dtype, **options).eval()


def bitsandbytes(bits: int, dtype: torch.dtype):
    def build(folder):
        pytest.importorskip("bitsandbytes", reason="needs bitsandbytes")
        scheme = {"load_in_8bit": True} if bits == 8 else {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
        # The default leaves the last layer alone; here it is one of all.
        model = load(folder, dtype, quantization_config=BitsAndBytesConfig(**scheme, llm_int8_skip_modules=["none"]))
        stored = torch.int8 if bits == 8 else torch.uint8
        assert model.vision_model.input_layer.weight.dtype == stored
        assert model.gaussian_decoder.input_layer.weight.dtype == stored
        return model

    return build


def for_adapters(folder):
    """PEFT brings all that is not quantized to fp32."""
    peft = pytest.importorskip("peft")
    model = bitsandbytes(4, torch.bfloat16)(folder)
    return peft.prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)


def torchao(dtype: torch.dtype):
    def build(folder):
        configs = pytest.importorskip("torchao.quantization")
        scheme = TorchAoConfig(configs.Int8WeightOnlyConfig(), modules_to_not_convert=[])
        return load(folder, dtype, quantization_config=scheme)

    return build


def dynamic(folder):
    """Here `weight` is no tensor, but a method."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(load(folder), {torch.nn.Linear})


def layerwise(dtype: torch.dtype):
    def build(folder):
        hooks = pytest.importorskip("diffusers.hooks")
        model = load(folder, dtype)
        hooks.apply_layerwise_casting(model, storage_dtype=torch.float8_e4m3fn, compute_dtype=dtype)
        assert model.vision_model.input_layer.weight.dtype == torch.float8_e4m3fn
        return model

    return build


WAYS = {
    "bitsandbytes 8": (bitsandbytes(8, torch.float32), 0.99),
    "bitsandbytes 8, fp16": (bitsandbytes(8, torch.float16), 0.99),
    "bitsandbytes 4": (bitsandbytes(4, torch.float32), 0.95),
    "bitsandbytes 4, bf16": (bitsandbytes(4, torch.bfloat16), 0.95),
    "bitsandbytes 4 for adapters": (for_adapters, 0.95),
    "torchao": (torchao(torch.float32), 0.99),
    "torchao, bf16": (torchao(torch.bfloat16), 0.99),
    "dynamic": (dynamic, 0.99),
    "layerwise": (layerwise(torch.float32), 0.99),
    "layerwise, bf16": (layerwise(torch.bfloat16), 0.99),
}


def cosine(one: torch.Tensor, other: torch.Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(one.flatten().float(), other.flatten().float(), dim=0))


@pytest.mark.parametrize("way", WAYS)
@torch.no_grad()
def test_results_stay_near_those_of_fp32(folder, way):
    build, least = WAYS[way]
    model, plain = build(folder), load(folder)
    images = media(2, 3, 32, 48)
    actual, expected = model(images), plain(images)
    assert not torch.equal(*actual.latent_dist.mean.chunk(2))
    for name in ("image_embeds", "last_hidden_state", "reconstruction"):
        assert cosine(getattr(actual, name), getattr(expected, name)) > least, name
    assert cosine(actual.latent_dist.mean, expected.latent_dist.mean) > least
    ids = torch.tensor([[2, 5, 7, 1]])
    assert cosine(model.get_text_features(ids).pooler_output, plain.get_text_features(ids).pooler_output) > least


@pytest.mark.parametrize("way", WAYS)
@torch.no_grad()
def test_gaussians_stay_near_those_of_fp32(folder, way):
    build, _ = WAYS[way]
    _, coords, cu_seqlens = pack([voxel_tokens(20)])
    latents = media(20, WIDTH)
    (actual,), (expected,) = (
        model.decode_gaussians(latents, coords, cu_seqlens) for model in (build(folder), load(folder))
    )
    assert (actual.means - expected.means).abs().mean() < 0.01
    assert cosine(actual.sh0, expected.sh0) > 0.9


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.no_grad()
def test_half_models_take_inputs_of_any_dtype(folder, dtype):
    model, images = load(folder, dtype), media(1, 3, 32, 48)
    outputs = [model(images.to(given)).reconstruction for given in (torch.float32, torch.float64, dtype)]
    assert {output.dtype for output in outputs} == {dtype}
    assert torch.equal(outputs[0], outputs[1]) and torch.equal(outputs[0], outputs[2])
