"""Parts out of the folder of a whole model: their dtypes and attention, and scalars without a dimension in files."""

import json

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors.torch import load_file, save_file

from atoken import AtokenDecoder, AtokenGaussianDecoder, AtokenModel, AtokenVisionModel
from atoken.configuration_atoken import AtokenDecoderConfig, AtokenVisionConfig

from .helpers import LATENTS, make_model, media

GAUSSIANS = {"hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
PARTS = {"vision_model": AtokenVisionModel, "decoder": AtokenDecoder, "gaussian_decoder": AtokenGaussianDecoder}


def make_full() -> AtokenModel:
    return make_model(text=True, gaussian_config={**GAUSSIANS, "num_gaussians": 2, "resolution": 16})


@pytest.fixture
def folder(tmp_path):
    make_full().to(torch.bfloat16).save_pretrained(tmp_path / "whole")
    return tmp_path / "whole"


@pytest.fixture
def old_folder(folder):
    """As older versions wrote it: parts in fp32, whatever the weights are, and scalars without a dimension."""
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    for part in config.values():
        if isinstance(part, dict) and "dtype" in part:
            part["dtype"] = "float32"
    config["decoder_config"].pop("latent_channels")
    path.write_text(json.dumps(config), encoding="utf-8")
    state = load_file(folder / "model.safetensors")
    state |= {name: state[name].reshape(()) for name in ("logit_scale", "logit_bias")}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize("which", ["folder", "old_folder"])
@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("options", [{}, {"dtype": "auto"}, {"dtype": torch.float32}])
def test_a_part_comes_as_the_whole_does(request, which, part, options):
    folder = request.getfixturevalue(which)
    whole = AtokenModel.from_pretrained(folder, **options)
    alone, info = PARTS[part].from_pretrained(folder, **options, output_loading_info=True)
    assert whole.dtype == alone.dtype == options.get("dtype" if options != {"dtype": "auto"} else "", torch.bfloat16)
    if part != "gaussian_decoder":
        assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    expected = getattr(whole, part).state_dict()
    assert alone.state_dict().keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in alone.state_dict().items())


def test_the_folder_says_the_dtype_of_each_part(folder):
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    names = ("vision_config", "decoder_config", "text_config", "gaussian_config")
    assert {config["dtype"], *(config[name]["dtype"] for name in names)} == {"bfloat16"}


@torch.no_grad()
def test_the_decoder_alone(folder, tmp_path):
    whole = AtokenModel.from_pretrained(folder, dtype=torch.float32)
    decoder = AtokenDecoder.from_pretrained(folder, dtype=torch.float32)
    assert decoder.config.latent_channels == LATENTS
    latents = media(1, 2, 2, 3, LATENTS)
    assert torch.equal(decoder(latents).pixel_values, whole.decode(latents).pixel_values)
    decoder.save_pretrained(tmp_path / "decoder")
    again = AtokenDecoder.from_pretrained(tmp_path / "decoder")
    assert torch.equal(again(latents).pixel_values, decoder(latents).pixel_values)


def test_latent_channels_of_the_decoder():
    assert AtokenDecoder(AtokenDecoderConfig(**GAUSSIANS | {"hidden_size": 32}, latent_channels=5)).in_features == 5
    with pytest.raises(StrictDataclassError, match="latent_channels must be positive, got 0"):
        AtokenDecoderConfig(latent_channels=0)


def test_a_configuration_of_its_own_stays(tmp_path):
    AtokenVisionConfig(**GAUSSIANS | {"hidden_size": 32}, dtype="float16").save_pretrained(tmp_path)
    assert AtokenVisionConfig.from_pretrained(tmp_path).dtype == torch.float16


def test_scalars_without_a_dimension(old_folder, tmp_path):
    model, info = AtokenModel.from_pretrained(old_folder, output_loading_info=True)
    assert not info["missing_keys"] and not info["mismatched_keys"] and not info["unexpected_keys"]
    state = load_file(old_folder / "model.safetensors")
    assert state["logit_scale"].shape == () and model.logit_scale.shape == (1,)
    assert torch.equal(model.logit_scale.detach(), state["logit_scale"].reshape(1))
    fresh = make_full().to(torch.bfloat16)
    fresh.logit_scale.data.zero_()
    fresh.load_state_dict(state)
    assert torch.equal(fresh.logit_scale, model.logit_scale) and torch.equal(fresh.logit_bias, model.logit_bias)
    model.save_pretrained(tmp_path / "again")
    saved = load_file(tmp_path / "again/model.safetensors")
    assert saved["logit_scale"].shape == (1,) and saved.keys() == state.keys()
    assert torch.equal(AtokenModel.from_pretrained(tmp_path / "again").logit_bias, model.logit_bias)


@torch.no_grad()
def test_flex_attention_where_it_is_supported(folder):
    """SigLIP2's text tower does not support it; encoder and decoder need not do without."""

    def backends(model):
        parts = (model, model.vision_model, model.decoder, model.text_model)
        return [part.config._attn_implementation for part in parts]

    expected = ["flex_attention"] * 3 + ["sdpa"]
    model = AtokenModel.from_pretrained(folder, attn_implementation="flex_attention")
    assert backends(model) == expected
    other = AtokenModel.from_pretrained(folder)
    assert backends(other) == ["sdpa"] * 4
    other.set_attn_implementation("flex_attention")
    assert backends(other) == expected
    other.set_attn_implementation("eager")
    assert backends(other) == ["eager"] * 4
    other.set_attn_implementation({"vision_config": "flex_attention"})
    assert backends(other) == ["eager", "flex_attention", "eager", "eager"]
    with pytest.raises(ValueError, match="foo"):
        other.set_attn_implementation("foo")
    assert backends(other) == ["eager", "flex_attention", "eager", "eager"]
