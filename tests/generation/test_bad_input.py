"""Bad input of generators: each is an error that names the argument."""

import pytest
import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler

from atoken.generation import (
    LightningDiTPipeline,
    LightningDiTTransformer2DModel,
    TokenBridgeModel,
    TokenBridgePipeline,
    convert_lightning_dit,
    convert_token_bridge,
)

from .conftest import Golden
from .helpers import autoencoder, lightning_dit, lightning_pipeline, token_bridge, token_pipeline

LATENTS, TIME, LABELS = torch.zeros(2, 4, 4, 4), torch.zeros(2), torch.tensor([0, 1])
CODES, MASK = torch.zeros(2, 9, 2, dtype=torch.int64), torch.ones(2, 9, dtype=torch.bool)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sample_size": 0}, "sample_size must be at least 1"),
        ({"patch_size": 3}, "sample_size must be a multiple of patch_size"),
        ({"attention_head_dim": 6}, "attention_head_dim must be a multiple of 4"),
        ({"latents_std": None}, "latents_mean and latents_std must be given together"),
        ({"latents_mean": [0.0]}, "latents_mean must have in_channels = 4 values, got 1"),
        ({"latents_std": [1.0, 1.0, 0.0, 1.0]}, "latents_std must be above 0"),
        ({"latents_mean": [0.0, float("nan"), 0.0, 0.0]}, "latents_mean must be finite"),
        ({"latents_multiplier": 0.0}, "latents_multiplier must be above 0"),
        ({"mlp_ratio": -1.0}, "mlp_ratio must be above 0"),
        ({"id2label": {3: "fourth"}}, "id2label must have numbers from 0 to 2 as keys, got 3"),
        ({"id2label": {"first": "red star"}}, "id2label must have numbers from 0 to 2 as keys, got 'first'"),
    ],
)
def test_configurations_of_lightning_dit(options, message):
    with pytest.raises(ValueError, match=message):
        lightning_dit(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_codes": 0}, "num_codes must be at least 1"),
        ({"codebook_size": 17}, r"codebook_size must be code_levels \*\* code_channels = 16, got 17"),
        ({"code_levels": None}, "code_levels must be given where code_channels is not 1"),
        ({"code_order": [0, 0]}, "code_order must have each of 0 to 1 once"),
        ({"head_num_attention_heads": 3}, "head_hidden_size must be a multiple of 3 heads"),
        ({"dropout": 1.0}, "dropout must be from 0 to below 1"),
        ({"id2label": {-1: "none"}}, "id2label must have numbers from 0 to 2 as keys, got -1"),
    ],
)
def test_configurations_of_token_bridge(options, message):
    with pytest.raises(ValueError, match=message):
        token_bridge(**options)


@pytest.mark.parametrize(
    ("latents", "time", "labels", "message"),
    [
        (torch.zeros(2, 5, 4, 4), TIME, LABELS, r"hidden_states must be \(B, 4, 4, 4\), got \(2, 5, 4, 4\)"),
        (torch.zeros(2, 4, 4, 8), TIME, LABELS, "hidden_states must be"),
        (LATENTS, torch.zeros(1), LABELS, r"timestep must be \(2,\)"),
        (LATENTS, torch.tensor([0, 999]), LABELS, r"timestep must be \(2,\) and floating point in \[0, 1\]"),
        (LATENTS, TIME, torch.tensor([0.0, 1.0]), r"class_labels must be \(2,\) integers"),
        (LATENTS, TIME, torch.tensor([0]), r"class_labels must be \(2,\) integers"),
        (LATENTS, TIME + 999, LABELS, "timestep must be from 0 to 1, got 999.0 to 999.0"),
        (LATENTS, TIME * torch.nan, LABELS, "timestep must be from 0 to 1"),
        (LATENTS, TIME, torch.tensor([0, 4]), "class_labels must be from 0 to 3, got 0 to 4"),
        (LATENTS, TIME, torch.tensor([-1, 0]), "class_labels must be from 0 to 3, got -1 to 0"),
    ],
)
def test_inputs_of_lightning_dit(latents, time, labels, message):
    with pytest.raises(ValueError, match=message):
        lightning_dit()(latents, time, labels)


@pytest.mark.parametrize(
    ("codes", "labels", "mask", "message"),
    [
        (CODES[:, :8], LABELS, MASK, r"codes must be \(B, 9, 2\) int64, got \(2, 8, 2\)"),
        (CODES.float(), LABELS, MASK, "codes must be .* int64, got .* torch.float32"),
        (CODES, LABELS[:1], MASK, r"class_labels must be \(2,\) int64"),
        (CODES, LABELS, MASK.float(), r"mask must be \(2, 9\) bool"),
        (CODES, LABELS, ~MASK, "mask must have at least one True value"),
        (CODES - 1, LABELS, MASK, "codes must be from 0 to 15, got -1 to -1"),
        (CODES + 16, LABELS, MASK, "codes must be from 0 to 15, got 16 to 16"),
        (CODES, LABELS + 3, MASK, "class_labels must be from 0 to 3, got 3 to 4"),
        (
            CODES,
            LABELS,
            torch.tensor([[True] * 9, [False] + [True] * 8]),
            r"mask must have as many True values in each image, got \[9, 8\]",
        ),
    ],
)
def test_inputs_of_token_bridge(codes, labels, mask, message):
    with pytest.raises(ValueError, match=message):
        token_bridge()(codes, labels, mask)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"class_labels": 3}, "class_labels must be from 0 to 2, or names, got 3"),
        ({"class_labels": -1}, "class_labels must be from 0 to 2"),
        ({"class_labels": "red stat"}, "class_labels must be among .* near are red star"),
        ({"class_labels": []}, "class_labels must have at least one class"),
        ({"class_labels": [1.5]}, "class_labels must be from 0 to 2"),
        ({"class_labels": torch.tensor([[0, 1]])}, r"class_labels must be from 0 to 2, or names, got \[0, 1\]"),
        ({"num_inference_steps": 2.5}, "num_inference_steps must be an integer of at least 1, got 2.5"),
        ({"guidance_scale": float("nan")}, "guidance_scale must be at least 0, got nan"),
        ({"guidance_channels": 1.5}, "guidance_channels must be from 1 to 4"),
        ({"generator": [torch.Generator()] * 2}, "generator must be one, or a list of 1, one for each image, got 2"),
        ({"generator": 7}, "generator must be one, or a list of 1, one for each image, got 7"),
        ({"latents": torch.zeros(1, 4, 4, 4, dtype=torch.int64)}, "latents must be .* floating point"),
        ({"num_inference_steps": 0}, "num_inference_steps must be an integer of at least 1, got 0"),
        ({"guidance_scale": -1.0}, "guidance_scale must be at least 0, got -1.0"),
        ({"guidance_channels": 5}, "guidance_channels must be from 1 to 4"),
        ({"guidance_start": 1.5}, "guidance_start must be from 0"),
        ({"shift": 0.0}, "shift must be above 0"),
        ({"output_type": "jpeg"}, "output_type must be"),
        ({"latents": torch.zeros(2, 4, 4, 4)}, r"latents must be \(1, 4, 4, 4\) and floating point"),
        (
            {"callback_on_step_end_tensor_inputs": ("noise",)},
            r"must be a list of names among latents, got \('noise',\)",
        ),
    ],
)
def test_arguments_of_the_pipeline_of_latents(options, message):
    with pytest.raises(ValueError, match=message):
        lightning_pipeline()(**{"class_labels": 0, "num_inference_steps": 2, **options})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"class_labels": 3}, "class_labels must be from 0 to 2"),
        ({"num_inference_steps": 0}, "num_inference_steps must be an integer from 1 to 9 positions, got 0"),
        ({"num_inference_steps": 10}, "num_inference_steps must be an integer from 1 to 9 positions, got 10"),
        ({"guidance_scale": -1.0}, "guidance_scale must be at least 0"),
        ({"guidance_schedule": "cosine"}, "guidance_schedule must be"),
        ({"temperature": -0.1}, "temperature must be at least 0"),
        ({"temperature": float("nan")}, "temperature must be at least 0, got nan"),
        ({"num_inference_steps": 2.0}, "num_inference_steps must be an integer from 1 to 9 positions, got 2.0"),
        ({"order": torch.zeros(1, 9, dtype=torch.int64)}, "order must have each of the 9 positions once"),
        ({"order": torch.arange(9)}, r"order must be \(1, 9\) int64"),
        ({"first_element": "mine"}, "first_element must be"),
        ({"generator": [torch.Generator()] * 2}, "generator must be one, or a list of 1"),
        ({"output_type": "jpeg"}, "output_type must be"),
    ],
)
def test_arguments_of_the_pipeline_of_codes(options, message):
    with pytest.raises(ValueError, match=message):
        token_pipeline()(**{"class_labels": 0, "num_inference_steps": 2, **options})


def test_a_number_of_masked_positions_that_is_not_the_masks():
    with pytest.raises(ValueError, match="the number of True values of mask in each image must be from 8 to 8, got 9"):
        token_bridge()(CODES, LABELS, MASK, num_masked=8)


def test_a_name_of_two_classes():
    with pytest.raises(ValueError, match=r"class_labels: 'crane' is the name of classes \[0, 1\]; give the number"):
        lightning_pipeline(id2label={0: "crane", 1: "drake, crane"})("crane")


def test_names_without_a_list_of_names():
    with pytest.raises(ValueError, match="class_labels must be numbers, as this model's config has no id2label"):
        lightning_pipeline(id2label=None)("crane")


def test_a_model_without_statistics():
    with pytest.raises(ValueError, match="transformer must have latents_mean and latents_std in its config, got none"):
        lightning_pipeline(latents_mean=None, latents_std=None)(0, num_inference_steps=2)


def test_another_autoencoder():
    noted = {"vae_latents_mean": [0.0] * 4, "vae_latents_std": [2.0] * 4}
    with pytest.raises(ValueError, match="vae must be the autoencoder that the transformer was trained on"):
        LightningDiTPipeline(lightning_dit(**noted), autoencoder(), FlowMatchEulerDiscreteScheduler())
    with pytest.raises(ValueError, match="vae must be the autoencoder that the transformer was trained on"):
        TokenBridgePipeline(token_bridge(**noted), autoencoder(discrete=True))
    own = {"latents_mean": [0.0] * 4, "latents_std": [2.0] * 4}
    LightningDiTPipeline(lightning_dit(**noted), autoencoder(**own), FlowMatchEulerDiscreteScheduler())


def test_autoencoders_with_other_latents_or_codes():
    with pytest.raises(ValueError, match="vae must have the transformer's 4 latent channels, got 6"):
        LightningDiTPipeline(lightning_dit(), autoencoder(channels=6), FlowMatchEulerDiscreteScheduler())
    with pytest.raises(ValueError, match="vae must have codes"):
        TokenBridgePipeline(token_bridge(), autoencoder())
    with pytest.raises(ValueError, match="vae must have the transformer's codes"):
        TokenBridgePipeline(token_bridge(), autoencoder(discrete=True, channels=6))


def test_a_scheduler_that_is_not_for_flows():
    with pytest.raises(ValueError, match="scheduler must be for flow matching, .* got DDIMScheduler"):
        LightningDiTPipeline(lightning_dit(), autoencoder(), DDIMScheduler())


@pytest.mark.parametrize("model", [LightningDiTTransformer2DModel, TokenBridgeModel])
def test_presets_that_do_not_exist(model):
    with pytest.raises(ValueError, match="name must be one of .* got 'XXL'"):
        model.from_preset("XXL")


def test_files_to_convert(tmp_path):
    with pytest.raises(FileNotFoundError, match="path: there is no file"):
        convert_lightning_dit(tmp_path / "none.pt")
    (tmp_path / "text.pt").write_text("no checkpoint")
    with pytest.raises(ValueError, match="cannot be read as a checkpoint of tensors"):
        convert_lightning_dit(tmp_path / "text.pt")
    with pytest.raises(ValueError, match="this is no checkpoint of this generator, it lacks x_embedder.proj.weight"):
        convert_lightning_dit({"weight": torch.zeros(1)})
    with pytest.raises(ValueError, match="path must hold a state dict of tensors"):
        convert_lightning_dit({"ema": {"step": 3}})


def test_keys_to_convert():
    weights = Golden("lightning_dit", "plain").weights
    with pytest.raises(ValueError, match=r"keys without a place: \['extra'\]; and lacks keys: none"):
        convert_lightning_dit({**weights, "extra": torch.zeros(1)})
    cut = {name: value for name, value in weights.items() if name != "blocks.1.mlp.w3.bias"}
    with pytest.raises(ValueError, match=r"lacks keys: \['blocks.1.mlp.w3.bias'\]"):
        convert_lightning_dit(cut)
    with pytest.raises(ValueError, match="blocks.0.norm1.weight must have shape"):
        convert_lightning_dit({**weights, "blocks.0.norm1.weight": torch.zeros(3)})
    silent = {name: value for name, value in weights.items() if not name.startswith("feat_rope.")}
    with pytest.raises(ValueError, match="num_attention_heads must be given"):
        convert_lightning_dit(silent)
    with pytest.raises(ValueError, match="num_attention_heads must divide the width 64"):
        convert_lightning_dit(weights, num_attention_heads=7)


def test_tables_to_convert():
    golden = Golden("tokenbridge", "tokenbridge")
    heads = {"encoder_num_heads": 3, "decoder_num_heads": 3}
    with pytest.raises(ValueError, match=r"code_values must be \(16, 1\), got \(4, 1\)"):
        convert_token_bridge(golden.weights, code_values=torch.zeros(4, 1), **heads)
    with pytest.raises(ValueError, match="code_order must have each of 0 to 5 once"):
        convert_token_bridge(golden.weights, code_order=[0, 1, 2], **heads)
